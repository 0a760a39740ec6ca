"""A load for the GPU, and what clocks, watts and temperature are meanwhile: only there it shows whether the box gets
the power that it needs."""
import json, os, statistics, subprocess, time
import facts
from facts import ROOT, STATE, replace, run

GRACE = int(os.environ.get("GB10_LOAD_GRACE", 60))  # seconds more than its own that a load may take
TOLD_EVERY = 15  # seconds

class LoadFailed(Exception):
    """The command failed, or did not end; `measured` is what was sampled until then."""
    def __init__(self, why, measured):
        super().__init__(why)
        self.measured = measured

def measure(command, seconds):
    """Runs the command, and returns the seconds that it took, and what the samples beside it have in common. What
    begins is left out: clocks take some seconds to rise."""
    samples, began, told = [], time.monotonic(), 0
    passed = lambda: time.monotonic() - began
    with open(STATE / "tmp/load", "w+b") as out:
        # It stays in the process group of its stage, and ends with that at the latest.
        process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT,
            env={**os.environ, "GB10_LOAD_SECONDS": str(seconds)})
        while process.poll() is None and passed() < seconds + GRACE:
            samples.append((passed(), facts.gpu()))
            if passed() - told >= TOLD_EVERY:
                told = passed()
                progress(f"load: {told:.0f} of {seconds} s, {figures(samples[-1][1])}")
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                pass
        is_over = process.poll() is not None
        if not is_over:
            process.kill()
            process.wait()
        out.seek(max(0, out.seek(0, os.SEEK_END) - 300))
        said = out.read().decode("utf-8", "replace").strip() or "it said nothing"
    risen = min(10, seconds / 3)
    at = time.strftime("%FT%TZ", time.gmtime())
    measured = {"at": at, "seconds": round(passed()), **in_common([sample for at, sample in samples if at >= risen])}
    replace(STATE / "load.json", json.dumps(measured))
    if not is_over:
        raise LoadFailed(f"the load did not end within {seconds + GRACE} s: {said}", measured)
    if process.returncode:
        raise LoadFailed(f"the load failed with status {process.returncode}: {said}", measured)
    return measured

def in_common(samples):
    """The medians, the highest temperature, and every throttle reason."""
    values = lambda name: [sample[name] for sample in samples if sample.get(name) is not None]
    middle = lambda name: round(statistics.median(values(name))) if values(name) else None
    reasons = values("throttle")
    whole = dict(
        clock_mhz=middle("clock_mhz"), power_w=middle("power_w"),
        temperature_c=max(values("temperature_c"), default=None),
        throttle=sorted(set().union(*reasons)) if reasons else None)
    return {name: value for name, value in whole.items() if value is not None}

def figures(sample):
    """A sample in words."""
    units = ("clock_mhz", "MHz"), ("power_w", "W"), ("temperature_c", "°C")
    words = ", ".join(f"{sample[name]} {unit}" for name, unit in units if sample.get(name) is not None) or "no figures"
    return words + ("; slowed down by " + ", ".join(sample["throttle"]) if sample.get("throttle") else "")

def programs_on_the_gpu():
    """How many use it for computing."""
    said = run("nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader") or ""
    return sum(line.strip().isdigit() for line in said.splitlines())

def progress(text):
    if "GB10_ONBOARD" in os.environ:
        # With the journal, which is descriptor 3.
        subprocess.run([os.environ["GB10_ONBOARD"], "--progress", text], check=False, close_fds=False)
