"""The checks. Each returns why it trips, in words for whoever stands before the box, or nothing; its first line
of documentation is what it trips for. What cannot be known is NotJudged, and passes: facts.py has how it is known.
"""
import fnmatch, json, os, re, time
import facts
from fabric import FabricFailed, figures_of_before, figures_with_pair, in_words
from facts import ROOT, STATE, SYS, read, run
from load import LoadFailed, figures, measure, programs_on_the_gpu
from wanted import LOAD, expected

BASELINE = STATE / "tmp/baseline.json"  # that of the server, where it has one
TIME_WAIT = int(os.environ.get("GB10_TIME_WAIT", 20))  # seconds that the clock gets to be set after a boot

CHECKS = {}  # by name: its stage, what is made of a reason by default, its function

class NotJudged(Exception):
    """There is nothing to judge, or no way to know."""

def check(stage, default):
    """Makes a function a check."""
    def add(function):
        CHECKS[function.__name__.replace("_", "-")] = stage, default, function
        return function
    return add

def known_or_not(value, what):
    if value in (None, "", [], {}):
        raise NotJudged(what)
    return value

def fits(text, patterns):
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)

# --- network

def rj45():
    """The RJ45 port: by what it is, since names can change, else by the name that it has on a GB10."""
    ports = facts.ports()
    return ([port for port in ports if facts.identity(port) == facts.REALTEK_RTL8127]
            or [port for port in ports if port.name == "enP7s7"])

@check("network", "warn")
def nic_driver():
    """r8169 drives the RTL8127: it may lose the port at a warm reboot"""
    for port in rj45():
        if facts.link(port / "device/driver") == "r8169":
            return (f"{port.name}: r8169 drives the RTL8127, and may lose it at a warm reboot until the box is "
                    "disconnected from power: install r8127, and blacklist r8169")

@check("network", "warn")
def nic_speed():
    """the RJ45 port has a link slower than `link_mbps`"""
    if not rj45():
        return "the RJ45 port (RTL8127) is not there: disconnect the box from power for a moment"
    speeds = [(port.name, speed) for port in rj45() if (speed := facts.number(read(port / "speed"), 1))]
    for name, speed in known_or_not(speeds, "no speed"):
        if speed < expected("link_mbps"):
            return f"{name}: a link of {speed} Mb/s, expected {expected('link_mbps')}: look at the cable and the switch"

@check("network", "fail")
def connectx_speed():
    """a ConnectX cage with a cable has a link slower than `connectx_mbps`"""
    cages = known_or_not([cage for cage in facts.connectx() if cage["is_cabled"]], "no cage has a cable")
    slow = [f"{cage['port_name']} ({'+'.join(cage['nics'])}): {cage['speed_mbps'] or 'unknown'} Mb/s"
            for cage in cages if (cage["speed_mbps"] or 0) < expected("connectx_mbps")]
    if slow:
        return f"ConnectX {', '.join(slow)}, expected {expected('connectx_mbps')}"

@check("network", "warn")
def time_sync():
    """the clock is not synchronised"""
    end = time.monotonic() + TIME_WAIT
    while (is_set := facts.time_synchronized()) is False and time.monotonic() < end:
        time.sleep(1)
    if is_set is None:
        raise NotJudged("timedatectl does not say")
    if not is_set:
        return "the clock is not synchronised: does timedatectl timesync-status name a server?"

# --- storage

@check("storage", "fail")
def nvme_health():
    """SMART says that an NVMe disk is failing"""
    disks = facts.nvme()
    if not disks:
        return "no NVMe disk is there"
    known = [disk for disk in disks if disk["health"]]
    for disk in known_or_not(known, "neither smartctl nor nvme-cli says"):
        if disk["health"] == "failing":
            return f"{disk['name']} ({disk['model']}): SMART says that it is failing: replace it"

@check("storage", "fail")
def nvme_wear():
    """an NVMe disk is worn by more than `wear_percent`"""
    known, most = [disk for disk in facts.nvme() if disk["wear_percent"] is not None], expected("wear_percent")
    for disk in known_or_not(known, "neither smartctl nor nvme-cli says"):
        if disk["wear_percent"] > most:
            return f"{disk['name']} ({disk['model']}): worn by {disk['wear_percent']} %, at most {most} are accepted"

@check("storage", "fail")
def nvme_model():
    """an NVMe disk is none of `nvme_models`"""
    models = known_or_not(expected("nvme_models"), "any model will do")
    for disk in facts.nvme():
        if not fits(disk["model"], models):
            return f"{disk['name']}: the model {disk['model'] or 'unknown'} is none of {', '.join(models)}"

@check("storage", "fail")
def free_space():
    """less than `free_gib` are free on `/`"""
    disk, least = os.statvfs(ROOT), expected("free_gib") * 1024
    free, least = disk.f_bavail * disk.f_frsize >> 20, int(os.environ.get("GB10_LEAST_FREE_MIB", least))
    if free < least:
        return f"only {free} MiB free on {ROOT}, at least {least} are needed"

@check("storage", "fail")
def root_disk():
    """`/` is not on the disk that `root` names"""
    kind, device, source = known_or_not(root_mount(), "/proc/self/mountinfo does not say")
    names = disks_of(SYS / "dev/block" / device) or disks_of(SYS / "class/block" / os.path.basename(source))
    if not any(fits(name, [expected("root")]) for name in names):
        return f"/ is on {'+'.join(sorted(names)) or kind}, expected {expected('root')}"

def root_mount():
    """File system, device number and source of what is mounted at `/` last."""
    found = None
    for line in read(ROOT / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if len(before.split()) > 4 and before.split()[4] == "/" and len(after.split()) > 1:
            found = after.split()[0], before.split()[2], after.split()[1]
    return found

def disks_of(device, depth=0):
    """The names of the block devices that one is made of, and those that these are partitions of."""
    if not device.exists() or depth > 8:
        return set()
    device = device.resolve()
    names = {device.name, device.parent.name} if (device / "partition").exists() else {device.name}
    return names.union(*(disks_of(below, depth + 1) for below in facts.folders(device / "slaves")))

# --- driver

@check("driver", "fail")
def gpu_model():
    """the GPU is not the one that `gpu` names"""
    name = facts.gpu().get("name")
    if not name:
        return "nvidia-smi names no GPU"
    if not fits(name, [expected("gpu")]):
        return f"the GPU is {name}, expected {expected('gpu')}"

@check("driver", "fail")
def xid():
    """the kernel's log of this boot has Xid errors of the GPU, other than `xid_ignored`"""
    said = run("journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=cat", "--lines=1000",
               "--grep=NVRM: Xid", whatever_exit=True)
    if said is None:
        raise NotJudged("journalctl does not say")
    errors = re.findall(r"NVRM: (Xid \([^)]*\): *([0-9]+).*)", said)
    bad = [text for text, code in errors if int(code) not in expected("xid_ignored")]
    if bad:
        return f"the GPU has reported {len(bad)} errors since the boot, the last: {bad[-1][:200]}"

@check("driver", "warn")
def persistence_mode():
    """the persistence mode of the GPU's driver is off"""
    said = (run("nvidia-smi", "--query-gpu=persistence_mode", "--format=csv,noheader") or "").strip().split("\n")[0]
    if said not in ("Enabled", "Disabled"):
        raise NotJudged("nvidia-smi does not say")
    if said == "Disabled":
        return "the persistence mode is off: systemctl enable --now nvidia-persistenced"

# --- container_runtime

def site_wants_rdma():
    if not expected("rdma"):
        raise NotJudged("rdma is not asked for")

@check("container_runtime", "fail")
def rdma_devices():
    """there is no /dev/infiniband, where `rdma` is asked for"""
    site_wants_rdma()
    if not list((ROOT / "dev/infiniband").glob("uverbs*")):
        return "no /dev/infiniband/uverbs*: is mlx5_ib loaded, and rdma-core installed?"

@check("container_runtime", "fail")
def rdma_memlock():
    """containers cannot lock all their memory, where `rdma` is asked for"""
    site_wants_rdma()
    for unit in "docker.service", "containerd.service":
        said = (run("systemctl", "show", unit, "--property=LoadState,LimitMEMLOCK") or "").splitlines()
        if "LoadState=loaded" in said:
            if "LimitMEMLOCK=infinity" not in said:
                return f"{unit} has no LimitMEMLOCK=infinity, which RDMA in containers needs"
            return
    raise NotJudged("neither docker.service nor containerd.service is there")

# --- verify

@check("verify", "fail")
def gpu_container():
    """a container does not see the GPU, where an image is staged"""
    raise NotJudged("stages/60-verify.sh has not looked")  # which says what it found with `judge`

def measured():
    """What the load showed, which is run once, and then asked for by each check."""
    if not hasattr(measured, "of_the_load"):
        command = expected("load") or (f"{ROOT}{LOAD}" if os.access(f"{ROOT}{LOAD}", os.X_OK) else None)
        known_or_not(command, "no load is staged")
        # A box that is checked again may be at work.
        if os.environ.get("GB10_RECHECK") and (programs := programs_on_the_gpu()):
            raise NotJudged(f"{programs} programs use the GPU")
        try:
            measured.of_the_load, measured.fault = measure(command, expected("load_seconds")), None
        except LoadFailed as why:
            measured.of_the_load, measured.fault = why.measured, str(why)
    return measured.of_the_load

@check("verify", "fail")
def load():
    """the load fails, or does not end"""
    return measured() and measured.fault

@check("verify", "fail")
def power_limited():
    """under load the GPU is slower than `clock_mhz`, or takes less than `watts`"""
    found, low = measured(), []
    if measured.fault and "clock_mhz" not in found:
        raise NotJudged("the load has failed")
    for name, floor, unit in ("clock_mhz", expected("clock_mhz"), "MHz"), ("power_w", expected("watts"), "W"):
        if floor is not None and found.get(name, -1) < floor:
            low.append(f"{floor} {unit}")
    if low:
        return (f"{figures(found)} under load, expected at least {' and '.join(low)}: a failed USB-PD negotiation does "
                "this: disconnect the box from power for a minute, and use its own power supply")

@check("verify", "warn")
def throttle():
    """under load the hardware slows the GPU down"""
    if "throttle" not in measured():
        raise NotJudged("nvidia-smi does not say")
    bad = [reason for reason in measured()["throttle"] if reason.startswith("hw_") or "thermal" in reason]
    if bad:
        return f"under load the GPU was slowed down by {', '.join(bad)}: {figures(measured())}"

@check("verify", "fail")
def ota():
    """an update of DGX OS is torn"""
    # Only `summary`: `is-ota-available` may install.
    said = run("check_ota_status.py", "summary", seconds=6 * facts.COMMAND_SECONDS, whatever_exit=True)
    if said is None:
        raise NotJudged("there is no check_ota_status.py")
    torn = facts.number(facts.found(r"(?i)\btorn\b[^0-9\n]*([0-9]+)", said))
    if torn is None:
        return f"check_ota_status.py summary does not say whether an update is torn: {said[-200:]}"
    if torn:
        return f"check_ota_status.py summary: an update is torn ({torn}): finish it, or install the box again"

# --- the baseline

def outside(part, values):
    """What of a part the baseline does not allow."""
    patterns = known_or_not(baseline().get(part), "the baseline does not say" if baseline() else "no baseline")
    values = known_or_not([value for value in values if value], "it is not known")
    if bad := sorted({value for value in values if not fits(value, patterns)}):
        return f"{', '.join(bad)}: the baseline allows {part} {', '.join(patterns)}"

def baseline():
    if not BASELINE.exists():
        return {}
    found = json.loads(BASELINE.read_text())
    if not isinstance(found, dict):
        raise ValueError("the server's baseline is no object")
    return found

def one(name, source, part=None):
    """A check of a version of the box."""
    def outside_it():
        return outside(part or name, source())
    outside_it.__name__, outside_it.__doc__ = f"baseline_{name}", f"the baseline does not allow {part or name}"
    return outside_it

for stage, name, source, part in (
    ("driver", "kernel", lambda: [facts.kernel()], None),
    ("driver", "driver", lambda: [facts.driver()], None),
    ("verify", "bios", lambda: [facts.firmware()["bios"]], None),
    ("verify", "ec", lambda: [facts.firmware()["ec"]], None),
    ("verify", "nic", lambda: [nic["firmware"] for nic in facts.nics()], "nic_firmware"),
    ("verify", "nvme", lambda: [disk["firmware"] for disk in facts.nvme()], "nvme_firmware"),
    ("verify", "os", lambda: [facts.system()["os_release"]], "os_release"),
    ("verify", "dgx", lambda: [facts.system()["dgx_ota"] or facts.system()["dgx_release"]], "dgx_release"),
):
    check(stage, "fail")(one(name, source, part))

# --- the fabric: last, as it waits for the other box

@check("verify", "fail")
def fabric():
    """the slower way between this box and its pair is below `fabric_gbps`, or could not be measured"""
    commands, floor = [expected("fabric_serve"), expected("fabric_measure")], expected("fabric_gbps")
    if None in commands:
        raise NotJudged("no command is given")
    try:
        if os.environ.get("GB10_RECHECK"):  # the pair may be at work
            found = known_or_not(figures_of_before(), "nothing was measured before")
        else:
            found = figures_with_pair(commands, expected("fabric_port"), expected("fabric_seconds"), floor)
    except FabricFailed as why:
        return str(why)
    pair, *figures = known_or_not(found, "devices.json names no pair")
    if any(isinstance(figure, str) for figure in figures):
        return in_words(pair, *figures)
    if floor is not None and min(figures) < floor:
        return f"{in_words(pair, *figures)}, expected at least {floor}: look at the cable, and at the cages of both"
