"""What the tests of the box's side share: a server, a box, and a network between them.

The server is the real binary. A box is a folder: its configuration and state are real files in it.
Its hardware is made up, as plain files: a sysfs tree, and the commands nvidia-smi, docker,
containerd and systemctl are small scripts. Its PATH has those and a list of tools, and nothing
else, so that no script can come to need what a box may lack.
"""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
ONBOARD = SOURCE / "packaging/onboard"
PROGRAM = ONBOARD / "gb10-onboard"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", SOURCE / "target"))
SERVER = Path(os.environ.get("SERVER", TARGET / "debug/gb10-provision-api"))
MAC = "3c:6d:66:0a:1b:2c"

# What the stages of this suite and of the package may use; every Ubuntu has them.
TOOLS = "awk cat df head readlink rm sed seq setsid sh sleep tail tr uname".split()

EVERY_STAGE = (
    "network start|network done|storage start|storage done|driver start|driver done|"
    "container_runtime start|container_runtime done|payload start|payload done|"
    "verify start|verify done|ready start|ready done"
)

# It notes what it is asked, and knows no memory.total, as on a GB10.
NVIDIA_SMI = """
echo "$*" >>"$GB10_ROOT/nvidia-smi.asked"
case $* in
    *memory*) echo '[N/A]' ;;
    *name,driver_version*) echo 'NVIDIA GB10, 580.95.05' ;;
    *driver_version*) echo 580.95.05 ;;
    -L) echo 'GPU 0: NVIDIA GB10 (UUID: GPU-5d1a)' ;;
esac
"""
DOCKER = """
echo "$*" >>"$GB10_ROOT/docker.asked"
case $* in
    'info --format {{.ServerVersion}}') echo 28.3.3 ;;
    'info --format '*Runtimes*) echo 'io.containerd.runc.v2 nvidia runc ' ;;
    --version) echo 'Docker version 28.3.3, build 980b856' ;;
    'load -i '*) echo 'Loaded image: site/gpu-check:7' ;;
    'image inspect '*) exit 1 ;;
    'run '*) echo 'GPU 0: NVIDIA GB10 (UUID: GPU-5d1a)' ;;
esac
"""

# The tests themselves talk to loopback only.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def eventually(condition, what, seconds=30):
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what() if callable(what) else what}")
        time.sleep(0.05)


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


def can_connect(host, port):
    try:
        socket.create_connection((host, port), 5).close()
        return True
    except OSError:
        return False


class Server:
    """The real server, on loopback."""

    def __init__(self, folder, host="127.0.0.1"):
        self.port = free_port(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        self.host = f"[{host}]" if ":" in host else host
        self.url = f"http://{self.host}:{self.port}"
        self.data, self.log = folder / "data", folder / "server.log"
        shutil.copytree(ONBOARD, self.data / "onboard")
        self.start()

    def start(self):
        environment = dict(
            os.environ, DATA_PATH=str(self.data), LISTEN=f"{self.host}:{self.port}", ARP_TABLE="/dev/null", LOG="info"
        )
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([SERVER], stdout=log, stderr=log, env=environment)
        eventually(self.is_healthy, "the server")

    def is_healthy(self):
        with contextlib.suppress(OSError):
            return self.get("/healthz")
        assert self.process.poll() is None, self.log.read_text()
        return False

    def get(self, path):
        with DIRECT.open(self.url + path, timeout=10) as answer:
            return answer.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()

    def served(self, path):
        """How often the file was served."""
        return len(re.findall(f"onboarding file served.*{re.escape(path)}", self.log.read_text()))


class Threaded(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def start(self, case):
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        case.addCleanup(self.server_close)
        case.addCleanup(self.shutdown)
        self.port = self.server_address[1]
        return self


class Answers(Threaded):
    """A stand-in for the server, for answers that the real one cannot be made to give at will.

    The Nth heartbeat is answered with the Nth of `statuses`, all further ones with `then`; `drop`
    closes the connection without an answer. `log` has a pair for each: status and body. `files`
    are the onboarding files.
    """

    def __init__(self, case, *statuses, then="200", files=(), prefix="", host="127.0.0.1", tls=None):
        self.statuses, self.then, self.log = list(statuses), then, []
        self.files, self.prefix = dict(files), prefix
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), self.Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.start(case)

    def handle_error(self, *_):
        pass  # a client that hangs up, or does not like a certificate

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.files.get(self.path.removeprefix(self.server.prefix + "/onboard/"))
            if not self.path.startswith(self.server.prefix) or content is None:
                self.send_error(404)
            else:
                self.answer(200, content.encode())

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != self.server.prefix + "/heartbeat":
                return self.send_error(404)
            status = self.server.statuses.pop(0) if self.server.statuses else self.server.then
            self.server.log.append((status, json.loads(body)))
            if status == "drop":
                self.close_connection = True
            else:
                self.answer(int(status), b"")

        def answer(self, status, content):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass


class Network(Threaded):
    """A network that misbehaves, between a box and the server.

    Of the requests for paths that begin with `path`, the first `cut[0]` are cut off after `cut[1]`
    bytes of the answer, and the first `flip` have the last byte of their first piece changed;
    `rate` slows all of them down to so many bytes a second. `requests` has a pair for each of
    them: the path, and what it asked for with Range.
    """

    def __init__(self, case, server, path="/onboard/payload/", cut=(0, 0), flip=0, rate=0):
        self.server, self.path, self.cuts, self.flips, self.rate = server, path, cut, flip, rate
        self.requests, self.lock = [], threading.Lock()
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.start(case)

    def what_to_do(self, head):
        """Whether the answer is to be cut, flipped, and slow."""
        line = re.match(rb"GET (\S+)", head)
        if not line or not line[1].decode().startswith(self.path):
            return False, False, False
        wanted = re.search(rb"\r\nRange: (\S+)", head, re.I)
        with self.lock:
            self.requests.append((line[1].decode(), wanted[1].decode() if wanted else "all"))
            cut, self.cuts = self.cuts[0] > 0, (max(self.cuts[0] - 1, 0), self.cuts[1])
            flip, self.flips = self.flips > 0, max(self.flips - 1, 0)
        return cut, flip, self.rate

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            head = b""
            while b"\r\n\r\n" not in head:
                got = self.request.recv(65536)
                if not got:
                    return
                head += got
            cut, flip, rate = self.server.what_to_do(head)
            with contextlib.suppress(OSError), socket.create_connection(
                ("127.0.0.1", self.server.server.port)
            ) as upstream:
                # One request a connection, so that the answer's end is the connection's end.
                upstream.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                threading.Thread(target=self.forward, args=[upstream], daemon=True).start()
                passed = 0
                while got := upstream.recv(16384):
                    if cut and passed + len(got) >= self.server.cuts[1]:
                        self.request.sendall(got[: self.server.cuts[1] - passed])
                        return
                    if flip and passed == 0:
                        got = got[:-1] + bytes([got[-1] ^ 1])
                    self.request.sendall(got)
                    passed += len(got)
                    if rate:
                        time.sleep(len(got) / rate)

        def forward(self, upstream):
            """The rest of a request's body."""
            with contextlib.suppress(OSError):
                while got := self.request.recv(65536):
                    upstream.sendall(got)


class Box:
    """A box with all the hardware that a GB10 has."""

    def __init__(self, folder, url, program=PROGRAM):
        self.test, self.root, self.program, self.process = folder, folder / "box", program, None
        self.bin, self.sys, self.state = self.root / "bin", self.root / "sys", self.root / "var/lib/gb10-onboard"
        self.spool, self.log = self.state / "spool", folder / "box.log"
        for path in ("etc", "bin", "sys/class/net/lo", "sys/class/dmi/id"):
            (self.root / path).mkdir(parents=True)
        self.configure(url)
        self.tools("dash")
        self.write("etc/os-release", 'PRETTY_NAME="Ubuntu 24.04.3 LTS"')

        self.pci("0007:01:00.0", "0x10ec", "0x8127", "0x020000", "r8127")
        self.port("enP7s7", "0007:01:00.0", MAC, 1, 10000)
        self.pci("0000:01:00.0", "0x15b3", "0x1021", "0x020000", "mlx5_core")
        self.port("enp1s0f0np0", "0000:01:00.0", "3c:6d:66:0a:1b:30", 1, 200000)
        self.pci("0000:01:00.1", "0x15b3", "0x1021", "0x020000", "mlx5_core")
        self.port("enp1s0f1np1", "0000:01:00.1", "3c:6d:66:0a:1b:31", 0, -1)
        self.pci("000f:01:00.0", "0x10de", "0x2e12", "0x030000", "nvidia")
        self.write("sys/class/nvme/nvme0/model", "SAMSUNG MZALC4T0HBL1-00B07   ")
        self.write("sys/class/nvme/nvme0/state", "live")
        self.write("sys/class/nvme/nvme0/firmware_rev", "NXA74W1Q ")
        self.write("sys/block/nvme0n1/size", "8001573552")
        self.write("sys/block/nvme0n1/ro", "0")
        self.write("sys/module/nvidia/version", "580.95.05")
        self.write("sys/class/dmi/id/product_name", "NVIDIA_DGX_Spark")
        self.write("sys/class/dmi/id/bios_version", "5.36_0ACUM018")
        self.command("nvidia-smi", NVIDIA_SMI)
        self.command("docker", DOCKER)
        self.command("systemctl", "echo fwupd.service loaded failed failed Firmware update daemon")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def configure(self, url, mac=MAC):
        self.write("etc/gb10-onboard.conf", f"PROVISION_URL={url}\nMAC={mac}")

    def tools(self, shell):
        """The tools of the box; with `busybox` as the shell, all that it has are busybox."""
        applets = ()
        if shell == "busybox":
            applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
        for tool in TOOLS:
            target = shutil.which(shell if tool == "sh" else "busybox" if tool in applets else tool)
            self.link(target, self.bin / tool)
        self.link(sys.executable, self.bin / "python3")

    def link(self, target, path):
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def command(self, name, script):
        """One of the box's own commands."""
        (self.bin / name).write_text("#!/bin/sh\n" + script)
        (self.bin / name).chmod(0o755)

    def pci(self, address, vendor, device, kind, driver):
        folder = self.sys / "devices/pci" / address
        for name, value in (("vendor", vendor), ("device", device), ("class", kind)):
            self.write(folder / name, value)
        devices = self.sys / "bus/pci/devices"
        devices.mkdir(parents=True, exist_ok=True)
        self.link(f"../../../devices/pci/{address}", devices / address)
        (self.sys / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        self.link(f"../../../bus/pci/drivers/{driver}", folder / "driver")

    def port(self, name, address, mac, carrier, speed):
        """A network port of that PCI device."""
        folder = self.sys / "devices/pci" / address / "net" / name
        state = "up" if carrier else "down"
        for key, value in (("address", mac), ("carrier", carrier), ("speed", speed), ("operstate", state)):
            self.write(folder / key, str(value))
        self.link("../..", folder / "device")
        self.link(f"../../devices/pci/{address}/net/{name}", self.sys / "class/net" / name)

    def remove(self, *paths):
        for path in paths:
            path = self.root / path
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    # --- running it

    def environment(self, **variables):
        """Waits are made short. GB10_TEST_OF marks every process of this box."""
        return {
            "PATH": str(self.bin), "GB10_ROOT": str(self.root), "GB10_TEST_OF": str(self.test),
            "GB10_LINK_WAIT": "0", "GB10_DRIVER_WAIT": "0", "GB10_DAEMON_WAIT": "0", "GB10_SETTLE": "20",
            "GB10_GRACE": "2", "GB10_PAUSE_LONGEST": "2", "GB10_LEAST_FREE_MIB": "1", **variables,
        }  # fmt: skip

    def start(self, under=(), **variables):
        """gb10-onboard in the background, `under` another command."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*under, self.program], env=self.environment(**variables), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip

    def ends(self, code=0, seconds=120):
        got = self.process.wait(seconds)
        if got != code:
            raise AssertionError(f"gb10-onboard ended with {got}, not {code}: {self.said()[-2000:]}")

    def run(self, code=0, **variables):
        self.start(**variables)
        self.ends(code)

    def said(self):
        return self.log.read_text(errors="replace")

    def processes(self):
        """Every process of the box, by the mark in its environment."""
        mark, found = f"GB10_TEST_OF={self.test}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def cut_power(self):
        """As power does it: nothing of the box gets to say a word."""
        while pids := self.processes():
            for pid in sorted(pids, reverse=True):  # what is traced goes before its tracer
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.process:
                self.process.poll()
        if self.process:
            self.process.wait()

    def is_quiet(self):
        return not self.processes()

    def stamped(self, script):
        return (self.state / "stamps" / script.replace("/", "%")).exists()


class Case(unittest.TestCase):
    """A test has a folder of its own, and a box and a server if it asks for them."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="gb10-device-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.box = self.server = None

    def set_up(self, **options):
        """A server with the onboarding files staged, and a box."""
        self.start_server()
        self.make_box(self.server.url, **options)

    def start_server(self, **options):
        self.server = Server(self.folder, **options)
        self.addCleanup(self.server.stop)
        self.onboard = self.server.data / "onboard"

    def make_box(self, url, **options):
        self.box = Box(self.folder, url, **options)
        self.addCleanup(self.box.cut_power)

    def misbehave(self, **how):
        """Puts a network in between that does."""
        network = Network(self, self.server, **how)
        self.box.configure(f"http://127.0.0.1:{network.port}")
        return network

    # --- what is staged

    @contextlib.contextmanager
    def manifest(self):
        """The staged manifest, to be changed."""
        file = self.onboard / "manifest.json"
        manifest = json.loads(file.read_text())
        yield manifest
        file.write_text(json.dumps(manifest))

    def only(self, **stages):
        """A manifest of stages of this test: only(a="network") is stages/a.sh."""
        with self.manifest() as m:
            m["stages"] = [
                dict(stage=stage, script=f"stages/{name}.sh", timeout=60) for name, stage in stages.items()
            ]

    def stage(self, name, script):
        (self.onboard / f"stages/{name}.sh").write_text(script)

    def payload(self, name, content, target, mode="0644", **other):
        """Stages a payload, and adds it to the manifest; of so many random bytes, or with that content."""
        file = self.onboard / "payload" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(os.urandom(content) if isinstance(content, int) else content)
        entry = dict(path=f"payload/{name}", size=file.stat().st_size, sha256=sha256(file), target=target, mode=mode)
        with self.manifest() as m:
            m["payloads"].append({**entry, **other})
        return file

    def gate(self, name):
        """Shell code that says it was reached, and waits until it is opened."""
        return f": >'{self.folder}/{name}.reached'; until [ -e '{self.folder}/{name}.open' ]; do sleep 0.1; done\n"

    def reached(self, name):
        eventually((self.folder / f"{name}.reached").exists, lambda: f"the gate {name}: {self.box.said()[-2000:]}")

    def open(self, *names):
        for name in names:
            (self.folder / f"{name}.open").touch()

    # --- what is on record

    def events(self):
        with contextlib.suppress(OSError):
            return json.loads(self.server.get(f"/clients/{MAC}"))["stages"]
        return []

    def story(self, form="{stage} {phase}"):
        """The events of the box in the order of its record."""
        return [form.format(**{"detail": "", **event}) for event in self.events()]

    def in_short(self):
        return "|".join(line for line in self.story() if not line.endswith(" progress"))

    def tells(self, stage, phase, text=""):
        return any((e["stage"], e["phase"]) == (stage, phase) and text in e.get("detail", "") for e in self.events())

    def told(self, stage, phase, text):
        if not self.tells(stage, phase, text):
            self.fail(f"not on record: {stage} {phase} {text}. The record: {self.story('{stage} {phase} {detail}')}")

    def waits_for(self, stage, phase, text=""):
        eventually(lambda: self.tells(stage, phase, text), lambda: f"{stage} {phase} {text}: {self.box.said()[-2000:]}")

    def progress(self, form="{detail}"):
        return [form.format(**event) for event in self.events() if event["phase"] == "progress"]

    def no_process_is_left(self):
        eventually(self.box.is_quiet, "the end of every process of the box", 5)


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def needs(*commands):
    """Skips the test where one of these is not installed."""
    for command in commands:
        if not shutil.which(command):
            raise unittest.SkipTest(f"{command} is not installed")
