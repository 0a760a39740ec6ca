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

# It notes what it is asked, and knows no memory.total, as on a GB10. Clock, watts and throttle reasons are
# those under load while $GB10_ROOT/under-load is there.
NVIDIA_SMI = """
trap 'echo "$*" >>"$GB10_ROOT/nvidia-smi.asked"' EXIT
if [ -e "$GB10_ROOT/under-load" ]; then now='2418, 3003, 71.30, 68, 0x0'; else now='208, 3003, 4.11, 38, 0x1'; fi
case $* in
    *memory*) echo '[N/A]' ;;
    *name,driver_version*) echo 'NVIDIA GB10, 580.95.05' ;;
    *persistence_mode*) echo Enabled ;;
    *compute-apps*) ;;
    *clocks_event_reasons.active*) printf '%s, ' 'NVIDIA GB10' GPU-5d1a4c0e; echo "$now" ;;
    *driver_version*) echo 580.95.05 ;;
    --version) printf '%s\n' 'NVIDIA-SMI version  : 580.95.05' 'CUDA Version        : 13.0' ;;
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
SYSTEMCTL = """
case $* in
    *LimitMEMLOCK*) printf '%s\n' LoadState=loaded LimitMEMLOCK=infinity ;;
    *state=failed*) echo 'fwupd.service loaded failed failed Firmware update daemon' ;;
    *) echo "$*" >>"$GB10_ROOT/systemctl.asked" ;;
esac
"""
# In the forms of smartmontools 7.4, ethtool 6.7, fwupd 1.9 and nvidia-ctk 1.17, as their manuals have them.
SMARTCTL = """
cat <<'X'
{"json_format_version": [1, 0], "smartctl": {"exit_status": 0}, "smart_status": {"passed": true},
 "nvme_smart_health_information_log": {"critical_warning": 0, "temperature": 41, "percentage_used": 1}}
X
"""
ETHTOOL = """
case $2 in
    enP7s7) printf '%s\n' 'driver: r8127' 'firmware-version: rtl8127a-1_0.0.12' ;;
    *) printf '%s\n' 'driver: mlx5_core' 'firmware-version: 28.45.4028 (NVD0000000087)' ;;
esac
"""
FWUPDMGR = """
echo '{"Devices": [{"Name": "Embedded Controller", "Version": "0x02004b03"}, {"Name": "No version"}]}'
"""
# Nobody here has seen one: what is known is that "torn" must be 0.
CHECK_OTA_STATUS = "[ $1 = summary ] && printf '%s\\n' 'OTA updates: 3' 'complete: 3' 'torn: 0'"

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

    def start(self, under=(), **variables):
        environment = {
            **os.environ, "DATA_PATH": str(self.data), "LISTEN": f"{self.host}:{self.port}", "ARP_TABLE": "/dev/null",
            "LOG": "info", **variables,
        }  # fmt: skip
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*under, SERVER], stdout=log, stderr=log, env=environment)
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
        self.write("etc/os-release", 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nNAME="Ubuntu"')
        self.write(
            "etc/dgx-release", 'DGX_SWBUILD_VERSION="7.2.3"\nDGX_OTA_VERSION="7.3.0"\nDGX_OTA_VERSION="7.3.1"'
        )
        self.write("proc/sys/kernel/osrelease", "6.14.0-1015-nvidia")
        self.write("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz-6.14.0-1015-nvidia root=UUID=5d1a ro quiet")
        self.write("proc/meminfo", "MemTotal:       125536260 kB\nMemFree:        101234567 kB")
        self.write(
            "proc/self/mountinfo", "28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n"
            "30 28 0:26 / /run rw - tmpfs tmpfs rw"
        )

        self.pci("0007:01:00.0", "0x10ec", "0x8127", "0x020000", "r8127")
        self.port("enP7s7", "0007:01:00.0", MAC, 1, 10000)
        self.pci("0000:01:00.0", "0x15b3", "0x1021", "0x020000", "mlx5_core")
        self.port("enp1s0f0np0", "0000:01:00.0", "3c:6d:66:0a:1b:30", 1, 200000, "p0")
        self.pci("0000:01:00.1", "0x15b3", "0x1021", "0x020000", "mlx5_core")
        self.port("enp1s0f1np1", "0000:01:00.1", "3c:6d:66:0a:1b:31", 0, -1, "p1")
        self.pci("000f:01:00.0", "0x10de", "0x2e12", "0x030000", "nvidia")
        self.write("sys/class/nvme/nvme0/model", "SAMSUNG MZALC4T0HBL1-00B07   ")
        self.write("sys/class/nvme/nvme0/state", "live")
        self.write("sys/class/nvme/nvme0/firmware_rev", "NXA74W1Q ")
        self.disk("nvme0n1", "259:0", size="8001573552")
        self.partition("nvme0n1", "nvme0n1p2", "259:2")
        self.write("sys/module/nvidia/version", "580.95.05")
        for name, value in (
            ("product_name", "NVIDIA_DGX_Spark"), ("product_serial", "1984025000123"),
            ("product_uuid", "5d1a4c0e-0000-4000-8000-3c6d660a1b2c"), ("bios_version", "5.36_0ACUM018"),
            ("ec_firmware_release", "2.75"),
        ):  # fmt: skip
            self.write(f"sys/class/dmi/id/{name}", value)
        secure_boot = self.sys / "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
        secure_boot.parent.mkdir(parents=True)
        secure_boot.write_bytes(b"\x06\0\0\0\x01")
        self.write("dev/infiniband/uverbs0", "")
        for name, script in dict(
            docker=DOCKER, ethtool=ETHTOOL, fwupdmgr=FWUPDMGR, smartctl=SMARTCTL, systemctl=SYSTEMCTL,
            timedatectl="echo yes", journalctl="",
        ).items():  # fmt: skip
            self.command(name, script)
        self.command("nvidia-smi", NVIDIA_SMI)
        self.command("nvidia-ctk", "echo 'NVIDIA Container Toolkit CLI version 1.17.8'")
        self.command("check_ota_status.py", CHECK_OTA_STATUS)

    def disk(self, name, number, size):
        self.write(f"sys/block/{name}/size", size)
        self.write(f"sys/block/{name}/ro", "0")
        self.numbered(number, f"../../block/{name}")

    def partition(self, disk, name, number):
        self.write(f"sys/block/{disk}/{name}/partition", "2")
        self.numbered(number, f"../../block/{disk}/{name}")

    def numbered(self, number, place):
        """A block device by its number."""
        folder = self.sys / "dev/block"
        folder.mkdir(parents=True, exist_ok=True)
        self.link(place, folder / number)

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

    def port(self, name, address, mac, carrier, speed, port_name=""):
        """A network port of that PCI device."""
        folder = self.sys / "devices/pci" / address / "net" / name
        state = "up" if carrier else "down"
        for key, value in (
            ("address", mac), ("carrier", carrier), ("speed", speed), ("operstate", state),
            ("phys_port_name", port_name),
        ):  # fmt: skip
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
            "GB10_GRACE": "2", "GB10_PAUSE_LONGEST": "2", "GB10_LEAST_FREE_MIB": "1",
            "GB10_TIME_WAIT": "0", "GB10_COMMAND_SECONDS": "20", **variables,
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
