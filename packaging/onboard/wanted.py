"""What a site wants of its boxes: `checks` and `expect` of the manifest. README.md has both in tables."""
import difflib, re
from facts import STATE, read, read_json

CHOICES = STATE / "tmp/choices.json"  # gb10-onboard writes it
LOAD = "/opt/gb10/load"  # the command that is a load, where a payload has put it there

# Of each field of `expect`: its kind, its default, and what it is.
EXPECT = {
    "link_mbps": ("number", 10000, "speed of the RJ45 port"),
    "connectx_mbps": ("number", 200000, "speed of each ConnectX cage that has a cable"),
    "free_gib": ("number", 10, "free space on `/`"),
    "root": ("text", "nvme*", "disk of `/`, a pattern"),
    "nvme_models": ("texts", None, "models of NVMe disks, patterns"),
    "wear_percent": ("number", 90, "most wear of an NVMe disk"),
    "gpu": ("text", "*GB10*", "name of the GPU, a pattern"),
    "xid_ignored": ("numbers", [13, 31, 43, 45], "Xid errors that programs cause"),
    "rdma": ("flag", False, "whether containers need RDMA"),
    "load": ("text", None, f"shell command that is the load; `{LOAD}` where that is there"),
    "load_seconds": ("number", 60, "how long it takes; it gets this as `GB10_LOAD_SECONDS`"),
    "clock_mhz": ("number", 1000, "least clock of the GPU under load"),
    "watts": ("number", None, "least power of the GPU under load"),
    "fabric_serve": ("text", None, "shell command that serves while the pair of the box measures"),
    "fabric_measure": ("text", None, "shell command that measures the way to `GB10_PEER`; the last number is Gb/s"),
    "fabric_gbps": ("number", None, "least speed between the box and its pair, in the slower direction"),
    "fabric_seconds": ("number", 600, "how long the box waits for its pair"),
    "fabric_port": ("port", 8089, "TCP port by which the two meet, on the provisioning LAN"),
}
KINDS = {
    "number": ("a whole number", lambda value: type(value) is int and 0 <= value < 10**15),
    "port": ("a port, from 1 to 65535", lambda value: type(value) is int and 0 < value < 65536),
    "text": ("a text of 1 to 1000 characters", lambda value: isinstance(value, str) and 0 < len(value) <= 1000),
    "texts": ("a list of 1 to 64 texts", lambda value: is_list(value, "text")),
    "numbers": ("a list of 1 to 64 whole numbers", lambda value: is_list(value, "number")),
    "flag": ("true or false", lambda value: type(value) is bool),
}
SITES_OWN = "site-[a-z0-9-]{1,35}"  # the names of checks that a site's own stages make

class Wrong(Exception):
    """The manifest asks for what there is not."""

def is_list(value, kind):
    return isinstance(value, list) and 0 < len(value) <= 64 and all(map(KINDS[kind][1], value))

def choices():
    """What the site makes of a check that trips, by the name of the check."""
    return read_json(read(CHOICES)).get("checks", {})

def expected(name):
    return read_json(read(CHOICES)).get("expect", {}).get(name, EXPECT[name][1])

def near(name, names):
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}"

def try_name(name, checks):
    if name not in checks and not re.fullmatch(SITES_OWN, name):
        raise Wrong(f"checks.{name} is no check: {near(name, list(checks))} A site's own begins with site-")

def try_choices(checks):
    """Raises Wrong for what there is not: it would be a wish that nobody heeds."""
    for name, choice in choices().items():
        try_name(name, checks)
        if choice not in ("fail", "warn", "off"):
            raise Wrong(f"checks.{name} must be fail, warn or off")
    for name, value in read_json(read(CHOICES)).get("expect", {}).items():
        if name not in EXPECT:
            raise Wrong(f"expect.{name} is nothing that a check looks at: {near(name, list(EXPECT))}")
        words, is_right = KINDS[EXPECT[name][0]]
        if not is_right(value):
            raise Wrong(f"expect.{name} must be {words}")
    given = [name for name in ("fabric_serve", "fabric_measure") if expected(name)]
    if len(given) == 1:
        raise Wrong(f"expect.{given[0]} stands there alone: fabric_serve and fabric_measure need one another")
