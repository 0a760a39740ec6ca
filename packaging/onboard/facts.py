#!/usr/bin/python3 -I
"""What this box is, as one JSON object on standard output: at most 32 KiB, without white space.

What cannot be known is left out, never guessed: without smartctl and nvme-cli nothing is said of a disk's
health, and of what nvidia-smi answers with [N/A] nothing either. No command may take longer than its time.

Python 3.10 with its standard library. Everything is a function of its own, so that checks.py asks for what it
judges alone. GB10_ROOT is put before absolute paths, GB10_SYS is the place of /sys: README.md has both.
"""
import json, os, re, selectors, subprocess, time
from pathlib import Path

ROOT = Path(os.environ.get("GB10_ROOT", "") + "/")
SYS = Path(os.environ.get("GB10_SYS") or f"{ROOT}/sys")
STATE = Path(os.environ.get("GB10_STATE") or f"{ROOT}/var/lib/gb10-onboard")

FACTS_BYTES = 32768  # the most that the server takes
TEXT, COMMAND_LINE = 200, 2000  # the most characters of a text, and of the kernel's command line
THINGS = 64  # the most of a list
COMMAND_SECONDS = float(os.environ.get("GB10_COMMAND_SECONDS", 10))
COMMAND_BYTES = 1 << 20  # the most that is read of what a command says
# What is left out first where there is too much.
LEAST_NEEDED = "fwupd failed_units cmdline load fabric connectx nvme nics".split()

REALTEK_RTL8127, MELLANOX, NVIDIA = ("0x10ec", "0x8127"), "0x15b3", "0x10de"
# The bits of clocks_event_reasons.active.
THROTTLE = {
    0x2: "applications_clocks_setting", 0x4: "sw_power_cap", 0x8: "hw_slowdown", 0x10: "sync_boost",
    0x20: "sw_thermal_slowdown", 0x40: "hw_thermal_slowdown", 0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting"}

# --- What files and commands say

def read(path):
    """The text of a file; empty where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip("\0 \t\r\n")
    except OSError:
        return ""

def number(text, least=0):
    """A number of at least that; None for anything else, such as [N/A] and the speed -1 of a port that is down."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return None if not least <= value < 1e15 else int(value) if value == int(value) else round(value, 2)

def run(*command, seconds=None, whatever_exit=False):
    """What a command prints; None where it is not there, fails, or does not end in its time.

    It stays in the process group of its stage, so that it ends with that.
    """
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    end, said = time.monotonic() + (seconds or COMMAND_SECONDS), b""
    with process.stdout as out, selectors.DefaultSelector() as ready:
        ready.register(out, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0 and len(said) < COMMAND_BYTES:
            if ready.select(left):
                if not (piece := os.read(out.fileno(), 65536)):
                    break
                said += piece
    # One that has closed its output may still be at work.
    try:
        process.wait(max(end - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    return said.decode("utf-8", "replace") if process.returncode == 0 or whatever_exit else None

def read_json(text):
    """A JSON object; an empty one where the text is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

def found(pattern, text):
    """What the group of a pattern finds in a text; the last, where there are several."""
    return next(reversed(re.findall(pattern, text or "", re.MULTILINE)), None)

def folders(path):
    return sorted(path.iterdir()) if path.is_dir() else []

def replace(path, text):
    """Writes a file whole or not at all, and puts it on the disk."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with open(part, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)

def link(path):
    """The last part of what a link points to."""
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else None

# --- The parts of a box

def firmware():
    dmi = SYS / "class/dmi/id"
    variable = SYS / "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    try:
        secure_boot = variable.read_bytes()[4:5] == b"\x01"  # four bytes of attributes come first
    except OSError:
        secure_boot = None
    return dict(
        product=read(dmi / "product_name"), serial=read(dmi / "product_serial"), uuid=read(dmi / "product_uuid"),
        bios=read(dmi / "bios_version"), ec=read(dmi / "ec_firmware_release"), secure_boot=secure_boot)

def system():
    os_release, dgx_release = read(ROOT / "etc/os-release"), read(ROOT / "etc/dgx-release")
    value = lambda name, text: found(rf"^{name}=[\"']?([^\"'\n]+)", text)
    return dict(
        os=value("NAME", os_release), os_release=value("PRETTY_NAME", os_release),
        # What the factory installed, and the last update: the file has a line for each of those.
        dgx_release=value("DGX_SWBUILD_VERSION", dgx_release), dgx_ota=value("DGX_OTA_VERSION", dgx_release),
        kernel=kernel(), cmdline=read(ROOT / "proc/cmdline"))

def kernel():
    return read(ROOT / "proc/sys/kernel/osrelease")

def driver():
    """The version of the GPU's driver."""
    said = (run("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "").split("\n")[0].strip()
    return said if re.fullmatch(r"[0-9][0-9.]*", said) else read(SYS / "module/nvidia/version")

def software():
    runtime = None
    for name, pattern in ("docker", r"version ([^\s,]+)"), ("containerd", r" v?([0-9]\S*)"):
        runtime = runtime or (version := found(pattern, run(name, "--version"))) and f"{name} {version}"
    return dict(
        driver=driver(), cuda=found(r"CUDA Version *: *([0-9.]+)", run("nvidia-smi", "--version")),
        container_runtime=runtime, container_toolkit=found(r"version ([0-9]\S*)", run("nvidia-ctk", "--version")))

def identity(port):
    """The PCI vendor and device of a network port."""
    return read(port / "device/vendor"), read(port / "device/device")

def ports():
    """The network ports that are hardware."""
    return [port for port in folders(SYS / "class/net") if (port / "device").exists()]

def nics():
    def nic(port):
        address = os.path.basename(os.path.realpath(port / "device"))
        return dict(
            name=port.name, mac=read(port / "address"), driver=link(port / "device/driver"),
            port_name=read(port / "phys_port_name"), speed_mbps=number(read(port / "speed"), 1),
            pci=address if re.fullmatch(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", address) else None,
            firmware=found(r"^firmware-version: (.*\S)", run("ethtool", "-i", port.name)),
            is_up=read(port / "carrier") == "1")
    return [nic(port) for port in ports()]

def connectx():
    """The cages, each of which has an interface for each of its PCI paths."""
    cages = {}
    for port in ports():
        if identity(port)[0] == MELLANOX:
            cages.setdefault(read(port / "phys_port_name") or port.name, []).append(port)
    def cage(name, ports):
        speeds = [number(read(port / "speed"), 1) or 0 for port in ports if read(port / "carrier") == "1"]
        return dict(
            port_name=name, nics=[port.name for port in ports], speed_mbps=max(speeds, default=0) or None,
            is_cabled=bool(speeds))
    return [cage(*item) for item in cages.items()]

def nvme():
    def disk(controller):
        name = controller.name
        sectors = [number(read(space / "size")) or 0 for space in folders(SYS / "block")
                   if re.fullmatch(name + "n[0-9]+", space.name)]  # of 512 bytes, whatever the disk's own are
        return dict(
            name=name, model=read(controller / "model"), firmware=read(controller / "firmware_rev"),
            size_gb=sum(sectors) * 512 // 10**9 or None, **health(f"/dev/{name}"))
    controllers = folders(SYS / "class/nvme")
    return [disk(controller) for controller in controllers if re.fullmatch("nvme[0-9]+", controller.name)]

def health(device):
    """By smartctl, else by nvme-cli."""
    # What smartctl exits with tells of the disk's past, too.
    said = read_json(run("smartctl", "--json", "--health", "--attributes", device, whatever_exit=True))
    log, passed = said.get("nvme_smart_health_information_log"), said.get("smart_status")
    if isinstance(log, dict) and isinstance(passed, dict) and isinstance(passed.get("passed"), bool):
        is_well, wear, celsius = passed["passed"], log.get("percentage_used"), log.get("temperature")
    else:
        log = read_json(run("nvme", "smart-log", device, "--output-format=json"))
        warning, kelvin = log.get("critical_warning"), number(log.get("temperature"), 1)
        if isinstance(warning, dict):  # newer ones take it apart
            warning = warning.get("value")
        is_well = None if number(warning) is None else number(warning) == 0
        wear = log.get("percent_used", log.get("percentage_used"))
        celsius = kelvin and kelvin - 273
    return dict(
        health=None if is_well is None else "passed" if is_well else "failing", wear_percent=number(wear),
        temperature_c=number(celsius, -99))

def gpu():
    """The GPU now. Older drivers call the last column by another name."""
    columns = "name,uuid,clocks.sm,clocks.max.sm,power.draw,temperature.gpu"
    for reasons in "clocks_event_reasons.active", "clocks_throttle_reasons.active":
        said = run("nvidia-smi", f"--query-gpu={columns},{reasons}", "--format=csv,noheader,nounits")
        values = [value.strip() for value in (said or "").split("\n")[0].split(",")]
        if len(values) == 7:
            name, uuid, clock, most, watts, celsius, bits = values
            known = re.fullmatch("0x[0-9a-fA-F]{1,16}", bits)
            return dict(
                name=name, uuid=uuid if uuid.startswith("GPU-") else None, clock_mhz=number(clock),
                clock_max_mhz=number(most), power_w=number(watts), temperature_c=number(celsius, -99),
                throttle=[word for bit, word in THROTTLE.items() if int(bits, 16) & bit] if known else None)
    return {}

def memory_gib():
    kib = number(found(r"^MemTotal: *([0-9]+) kB", read(ROOT / "proc/meminfo")))
    return kib and round(kib / 2**20, 1)

def time_synchronized():
    said = run("timedatectl", "show", "--property=NTPSynchronized", "--value") or ""
    return {"yes": True, "no": False}.get(said.strip())

def failed_units():
    said = run("systemctl", "list-units", "--state=failed", "--no-legend", "--plain")
    return said if said is None else [line.split()[0] for line in said.splitlines() if line.strip()]

def fwupd():
    devices = read_json(run("fwupdmgr", "get-devices", "--json", seconds=3 * COMMAND_SECONDS)).get("Devices")
    devices = [device for device in devices if isinstance(device, dict)] if isinstance(devices, list) else []
    return [dict(name=device.get("Name"), version=device["Version"]) for device in devices if device.get("Version")]

def load():
    """What the last load showed: see checks.py."""
    return read_json(read(STATE / "load.json"))

def fabric():
    """What was measured between this box and its pair: see fabric.py."""
    return read_json(read(STATE / "fabric.json"))

# --- The document

def known(value, most=TEXT):
    """What is known of a value: texts and lists of a bounded length, nothing that is empty."""
    if isinstance(value, dict):
        pairs = ((name, known(value, COMMAND_LINE if name == "cmdline" else TEXT)) for name, value in value.items())
        return {name: value for name, value in pairs if value is not None and value != ""}
    if isinstance(value, list):
        return [known(value) for value in value[:THINGS]]
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value[:most]).strip()
    return value

def facts():
    whole = known(dict(
        **firmware(), **system(), **software(), nics=nics(), connectx=connectx(), nvme=nvme(), memory_gib=memory_gib(),
        gpu=gpu(), load=load(), fabric=fabric(), time_synchronized=time_synchronized(), failed_units=failed_units(),
        fwupd=fwupd()))
    # That no unit has failed is known; of the rest an empty one says nothing.
    return {name: value for name, value in whole.items() if value not in ({}, []) or name == "failed_units"}

def document(whole):
    """The facts as JSON that the server takes."""
    text = json.dumps(whole, separators=(",", ":"))
    for name in LEAST_NEEDED + list(whole):
        if len(text) > FACTS_BYTES:
            whole = {other: value for other, value in whole.items() if other != name}
            text = json.dumps(whole, separators=(",", ":"))
    return text

if __name__ == "__main__":
    print(document(facts()))
