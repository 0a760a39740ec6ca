"""The fabric between two boxes that are cabled to one another: both wait until the other is there, too, and measure in
both directions, one after the other.

They meet on the provisioning LAN, where the first of them listens. Each message is a line with a JSON object:

    both             {"mac": …}                           who they are
    then, twice      {"go": true} or {"fault": …}         of whoever serves; the first serves first
                     {"gbps": …} or {"fault": …}          of whoever measures
    the second       {"bye": true}                        it has both figures
"""
import contextlib, http.client, json, os, re, signal, socket, subprocess, threading, time
import urllib.error, urllib.parse, urllib.request
from pathlib import Path
import facts
from facts import ROOT, STATE, read, read_json, replace
from load import progress

KEPT = STATE / "fabric.json"  # what was measured: facts.py reads it, too
MEASURE_SECONDS = int(os.environ.get("GB10_FABRIC_MEASURE", 120))  # the longest measurement
SERVE_FIRST = 2  # seconds that what serves gets to begin
ANSWER_SECONDS = 10  # for what takes no work
PAUSE, TOLD_EVERY = 2, 60  # seconds between tries, and between reports of waiting
LINE_BYTES, SAID_BYTES = 4096, 4096  # the longest message, and what is kept of what a command says
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

class FabricFailed(Exception):
    """No figures, and waiting longer does not help."""

class Lost(Exception):
    """The other box is not there, or not any more: it may come yet."""

def ask_for_pair():
    """The other box as the server knows it; None where this box has none."""
    url = f"{os.environ['PROVISION_URL']}/onboard/pair.json?{urllib.parse.urlencode({'mac': os.environ['MAC']})}"
    try:
        with DIRECT.open(url, timeout=ANSWER_SECONDS) as answer:
            if pair := read_json(answer.read(LINE_BYTES).decode("utf-8", "replace")):
                return pair
        raise Lost("the server does not name the pair: what it answers is no object")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        detail = read_json(error.read(LINE_BYTES).decode("utf-8", "replace")).get("detail") or error.reason
        is_final = error.code < 500 and error.code not in (408, 429)
        raise (FabricFailed if is_final else Lost)(f"the server does not name the pair: {detail} ({error.code})")
    except (OSError, http.client.HTTPException) as why:
        raise Lost(f"the server does not name the pair: {why}") from None

def own_address():
    """The address of this box on the provisioning LAN: the one that the server sees. Empty where that is not known."""
    server = urllib.parse.urlsplit(os.environ["PROVISION_URL"])
    with contextlib.suppress(OSError):
        family, kind, *_, place = socket.getaddrinfo(server.hostname, server.port or 80, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as unused:
            unused.connect(place)  # sends nothing
            return unused.getsockname()[0]
    return ""

# --- The two boxes talk

class Line:
    """The connection with the other box."""
    def __init__(self, connection):
        self.connection, self.heard = connection, b""

    def say(self, **message):
        try:
            self.connection.settimeout(ANSWER_SECONDS)
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as why:
            raise Lost(f"the connection broke: {why}") from None

    def hear(self, seconds):
        """Its next message."""
        end = time.monotonic() + seconds
        while b"\n" not in self.heard:
            left = end - time.monotonic()
            if left <= 0:
                raise Lost(f"it said no whole line for {seconds} s")
            if len(self.heard) > LINE_BYTES:
                raise Lost("what is there is no box: it says too much")
            self.connection.settimeout(left)
            try:
                piece = self.connection.recv(LINE_BYTES)
            except TimeoutError:
                continue
            except OSError as why:
                raise Lost(f"the connection broke: {why}") from None
            if not piece:
                raise Lost("it closed the connection")
            self.heard += piece
        line, _, self.heard = self.heard.partition(b"\n")
        return read_json(line.decode("utf-8", "replace"))

def listen(address, port):
    try:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except (OSError, OverflowError) as why:
        raise FabricFailed(f"fabric_port {port}: {why}") from None

def called(listener, pair):
    """The connection that the pair has made. Whatever comes from another address is no pair."""
    end = time.monotonic() + 2 * PAUSE
    while (left := end - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            connection, (address, *_) = listener.accept()
        except TimeoutError:
            break
        if address == pair.get("ip"):
            return connection
        connection.close()
    raise Lost("it has not called")

def call(pair, own, port):
    """A connection to the pair, from the address that it knows."""
    if not pair.get("ip"):
        raise Lost("the server has not heard of it")
    try:
        return socket.create_connection((pair["ip"], port), ANSWER_SECONDS, (own, 0) if own else None)
    except OSError as why:
        raise Lost(f"it does not answer at port {port}: {why}") from None

def greet(line, pair):
    """Makes sure that it is the pair at the other end, for both."""
    line.say(mac=pair["own_mac"])
    mac = line.hear(ANSWER_SECONDS).get("mac")
    if mac != pair["mac"]:
        raise Lost(f"what is there calls itself {facts.known(str(mac), 40)}")

# --- They measure

class Command:
    """A shell command and all that it starts. Of what it says the end is kept."""
    def __init__(self, command, peer):
        mark = f"{os.getpid()}.{time.monotonic_ns()}"
        # It stays in the process group of its stage, and ends with that at the latest.
        self.process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "GB10_PEER": peer, "GB10_FABRIC": mark})
        self.mark, self.said = f"GB10_FABRIC={mark}".encode(), {"stdout": b"", "stderr": b""}
        self.readers = [threading.Thread(target=self.read, args=[name], daemon=True) for name in self.said]
        for reader in self.readers:
            reader.start()

    def read(self, name):
        with getattr(self.process, name) as pipe:
            while piece := os.read(pipe.fileno(), 65536):
                self.said[name] = (self.said[name] + piece)[-SAID_BYTES:]

    def status(self, seconds):
        """What it exits with; None where it goes on for longer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll()

    def end(self):
        """Kills all that is left of it, whoever its parent is by now."""
        for _ in range(50):
            left = [folder for folder in Path("/proc").glob("[0-9]*") if self.mark in self.environment(folder)]
            for folder in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(folder.name), signal.SIGKILL)
            if not left:
                break
            time.sleep(0.1)
        self.process.wait()
        for reader in self.readers:
            reader.join(1)

    @staticmethod
    def environment(process):
        with contextlib.suppress(OSError):
            return (process / "environ").read_bytes().split(b"\0")
        return []

    def words(self):
        """The end of what it said, for a fault."""
        said = self.said["stderr"].strip() or self.said["stdout"].strip()
        return " ".join(facts.known(said[-150:].decode("utf-8", "replace")).split()) or "it said nothing"

def serve(line, command, peer):
    """Serves while the other measures. Returns the fault of what serves, if any, and what the other tells."""
    served = Command(command, peer)
    try:
        fault = None
        if status := served.status(SERVE_FIRST):
            served.end()
            fault = f"fabric_serve failed with status {status}: {served.words()}"
        line.say(**({"fault": fault} if fault else {"go": True}))
        return fault, line.hear(MEASURE_SECONDS + SERVE_FIRST + 2 * ANSWER_SECONDS)
    finally:
        served.end()

def measure(command, peer):
    """The last number that the command prints, in Gb/s; or why there is none, as text."""
    measuring = Command(command, peer)
    try:
        status = measuring.status(MEASURE_SECONDS)
    finally:
        measuring.end()
    if status is None:
        return f"fabric_measure did not end within {MEASURE_SECONDS} s: {measuring.words()}"
    if status:
        return f"fabric_measure failed with status {status}: {measuring.words()}"
    numbers = re.findall(r"(?<![\w.])[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])",
                         measuring.said["stdout"].decode("utf-8", "replace"))
    figure = facts.number(numbers[-1]) if numbers else None
    return f"fabric_measure printed no number: {measuring.words()}" if figure is None else figure

def told_by(pair, message):
    """The figure that the other tells, or why it has none."""
    figure = message.get("gbps")
    figure = facts.number(figure) if type(figure) in (int, float) else None
    return f"{pair['hostname']}: {facts.known(str(message.get('fault')))}" if figure is None else figure

def exchange(line, pair, commands):
    """What is measured to the other and from it: a number, or a text that says why there is none."""
    peer, figures = line.connection.getpeername()[0], {}
    for serves in (True, False) if pair["is_first"] else (False, True):
        if serves:
            fault, answer = serve(line, commands[0], peer)
            figures["from"] = fault or told_by(pair, answer)
        else:
            answer = line.hear(SERVE_FIRST + 2 * ANSWER_SECONDS)
            is_served = answer.get("go") is True
            figures["to"] = measure(commands[1], peer) if is_served else told_by(pair, answer)
            is_known = not isinstance(figures["to"], str)
            line.say(**{"gbps" if is_known else "fault": figures["to"]})
    # So that none of them is done while the other has to measure again.
    if pair["is_first"]:
        line.hear(ANSWER_SECONDS)
    else:
        line.say(bye=True)
    return figures["to"], figures["from"]

def name_of(pair):
    return f"{pair['hostname']} ({pair['mac']})"

class Wait:
    """A wait with a limit, of which is reported."""
    def __init__(self, seconds):
        self.seconds, self.began, self.told = seconds, time.monotonic(), -TOLD_EVERY

    def go_on(self, name, why):
        """Waits for a moment; fails where the time is over."""
        passed = time.monotonic() - self.began
        if passed >= self.seconds:
            raise FabricFailed(f"nothing was measured with {name} within {self.seconds} s: {why}")
        if passed - self.told >= TOLD_EVERY:
            self.told = passed
            progress(f"fabric: waiting for {name}, {passed:.0f} of {self.seconds} s: {why}")
        time.sleep(PAUSE)

def measure_with(pair, commands, port, wait):
    """Waits for the pair, and measures with it."""
    own = own_address()
    with listen(own, port) if pair["is_first"] else contextlib.nullcontext() as listener:
        while True:
            try:
                with called(listener, pair) if listener else call(pair, own, port) as connection:
                    line = Line(connection)
                    greet(line, pair)
                    progress(f"fabric: {name_of(pair)} is there, measuring")
                    return exchange(line, pair, commands)
            except Lost as why:
                wait.go_on(name_of(pair), why)
            # Its address may be known by now, or be another one.
            with contextlib.suppress(Lost):
                pair = {**pair, "ip": (ask_for_pair() or pair).get("ip")}

def kept_of(pair):
    """The figures that were measured with it last."""
    kept = read_json(read(KEPT))
    return kept["gbps"] if kept.get("peer") == pair["mac"] else None

def figures_of_before():
    """The pair, and the figures that are kept; None where there are none."""
    try:
        pair = ask_for_pair()
    except Lost:
        return None
    figures = pair and kept_of(pair)
    return figures and (pair, *figures)

def figures_with_pair(commands, port, seconds, floor):
    """The pair, and the figures to it and from it; None where this box has no pair.

    What was measured with it before is not measured again as long as it is good enough: the other may be done.
    """
    wait = Wait(seconds)
    while True:
        try:
            pair = ask_for_pair()
            break
        except Lost as why:
            wait.go_on("the pair", why)
    if pair is None:
        return None
    kept = kept_of(pair)
    if kept and min(kept) >= (floor or 0):
        return pair, *kept
    KEPT.unlink(missing_ok=True)
    figures = measure_with(pair, commands, port, wait)
    if not any(isinstance(figure, str) for figure in figures):
        at = time.strftime("%FT%TZ", time.gmtime())
        replace(KEPT, json.dumps({"at": at, "peer": pair["mac"], "gbps": figures}))
    progress(f"fabric: {in_words(pair, *figures)}")
    return pair, *figures

def in_words(pair, to, back):
    words = lambda figure: f"no figure ({figure})" if isinstance(figure, str) else f"{figure} Gb/s"
    return f"{words(to)} to {name_of(pair)}, {words(back)} from it"
