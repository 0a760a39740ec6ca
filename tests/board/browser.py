"""A real browser: Debian's Chromium, driven over plain WebDriver, and asked by its DevTools."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TIMEOUT = 20

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars",
]


def missing():
    """What is not there of it, if anything."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return f"needs {program}"
    return None


def call(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url}: {error.read().decode()[:500]}") from None


def eventually(what, look, seconds=TIMEOUT):
    """Waits, in short steps, until there is a value; returns it."""
    end = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


class Driver:
    """chromedriver, on a port that it chooses."""

    def __init__(self):
        self.process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "started successfully on port" in line:
                self.url = f"http://127.0.0.1:{line.split()[-1].rstrip('.')}"
                return
        raise RuntimeError("chromedriver does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Browser:
    """A session with a profile of its own."""

    def __init__(self, driver, script=True):
        self.profile = tempfile.mkdtemp(prefix="board-browser-")
        options = {"args": [*OPTIONS, f"--user-data-dir={self.profile}"]}
        if not script:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        session = call(f"{driver.url}/session", {"capabilities": {"alwaysMatch": wanted}})
        self.url = f"{driver.url}/session/{session['sessionId']}"
        self.size(1200, 800)
        self.open("about:blank")
        self.requested()  # what the browser's own first page asks for is no matter

    def stop(self):
        try:
            call(self.url, method="DELETE")
        finally:
            shutil.rmtree(self.profile, ignore_errors=True)

    def devtools(self, command, **parameters):
        return call(f"{self.url}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=width < 500)

    def dark(self):
        scheme = {"name": "prefers-color-scheme", "value": "dark"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        call(f"{self.url}/url", {"url": url})

    def run(self, script, *arguments):
        """What a function with this body returns."""
        return call(f"{self.url}/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script, *arguments):
        return call(f"{self.url}/execute/async", {"script": script, "args": list(arguments)})

    def find(self, selector):
        return call(f"{self.url}/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        call(f"{self.url}/element/{self.find(selector)}/click", {})

    def keys(self, text):
        """Types, whatever has the focus."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        call(f"{self.url}/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def back(self):
        call(f"{self.url}/back", {})

    def log(self, kind):
        return call(f"{self.url}/se/log", {"type": kind})

    def requested(self):
        """The URLs that were asked for since this was called last."""
        messages = (json.loads(entry["message"])["message"] for entry in self.log("performance"))
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def picture(self, path, **clip):
        options = {"clip": {**clip, "scale": 1}} if clip else {}
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", format="png", **options)["data"]))
