"""The real service with a rack on record, and reports to it."""

import datetime
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from browser import eventually

STAGES = ["install", "first_boot", "network", "storage", "driver", "container_runtime", "payload", "verify", "ready"]


def mac(n):
    return f"3c:6d:66:0a:{n >> 8:02x}:{n & 255:02x}"


def path(n):
    return "/board/" + mac(n).replace(":", "")


def records(count, now):
    """A rack in the middle of its work: most boxes are ready, some under way, few need somebody."""
    all_boxes = {}
    for n in range(1, count + 1):
        far = {3: 4, 40: 6, 77: 0}.get(n, 6 if n % 9 == 4 else 2 if n % 31 == 7 else 8)
        began = now - datetime.timedelta(minutes=25, seconds=n % 60)

        def event(stage, phase, seconds, detail="", began=began):
            at = began + datetime.timedelta(seconds=seconds)
            return {"stage": STAGES[stage], "phase": phase, "timestamp": at.isoformat(timespec="milliseconds"), "detail": detail}

        events = []
        for stage in range(far):
            events += [event(stage, "start", 150 * stage), event(stage, "done", 150 * stage + 20 * stage + 30)]
        end = min(150 * far + 60, 1400)
        last = {
            3: event(far, "fail", end, "no GPU was found: nvidia-smi says No devices were found"),
            77: event(far, "fail", end, "curtin: could not wipe /dev/nvme0n1: device is busy"),
        }.get(n)
        if last is None and far == 6:
            last = event(far, "progress", end, f"{n % 100} %, {417_112_064 * (n % 100) // 100:,} of 417,112,064 bytes, at 94 MB/s")
        events.append(last or event(far, "done", end, "10 Gb/s" if far == 2 else ""))
        heard = events[-1]["timestamp"]
        box = {
            "mac": mac(n), "ip": f"10.88.0.{n}", "hostname": f"gb10-{n:03}", "current_stage": events[-1]["stage"],
            "last_heartbeat": heard, "stages": events,
            "seed": {"count": 1, "first": (seed := {"timestamp": events[0]["timestamp"], "ip": f"10.88.0.{n}", "template": "fallback" if n == 77 else "staged", "mac_source": "path"}), "last": seed},
        }
        if n == 40:
            box["stalled"] = heard
        all_boxes[mac(n)] = box
    return all_boxes


class Rack:
    """A service on a port of its own, which stays the same over a restart."""

    def __init__(self, count=254):
        self.data = Path(tempfile.mkdtemp(prefix="board-rack-"))
        now = datetime.datetime.now(datetime.timezone.utc)
        (self.data / "state").mkdir()
        (self.data / "state/clients.json").write_text(json.dumps(records(count, now)))
        roles = {mac(n): {"hostname": f"gb10-{n:03}", "role": "head" if n % 16 == 1 else "worker"} for n in range(1, count + 1)}
        (self.data / "devices.json").write_text(json.dumps(roles))
        self.listen = "127.0.0.1:0"
        self.start()

    def start(self):
        environment = {**os.environ, "DATA_PATH": str(self.data), "LISTEN": self.listen, "STALL_AFTER": "24h"}
        environment.pop("JOURNAL_STREAM", None)
        log = self.data / "log"
        with open(log, "wb") as to:
            self.process = subprocess.Popen([os.environ["SERVER"]], env=environment, stdout=subprocess.DEVNULL, stderr=to)

        def listening():
            if self.process.poll() is not None:
                raise AssertionError(log.read_text())
            lines = [line for line in log.read_text().splitlines(True) if "listening on http://" in line and line.endswith("\n")]
            return lines and lines[0].split("http://")[1].split()[0]

        self.listen = eventually("the service", listening)
        self.url = f"http://{self.listen}"

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)

    def remove(self):
        self.stop()
        shutil.rmtree(self.data)

    def report(self, n, stage, phase, detail=""):
        body = json.dumps({"mac": mac(n), "stage": stage, "phase": phase, "detail": detail}).encode()
        with urllib.request.urlopen(f"{self.url}/heartbeat", body, timeout=20) as answer:
            assert answer.status == 200
