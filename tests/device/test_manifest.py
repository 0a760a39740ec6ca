"""The manifest: what a box takes, and how it says what is wrong."""

import contextlib
import copy
import io
import json
import os
import random
import re
import runpy
import subprocess
import sys

import test_checks
from support import ONBOARD, PROGRAM, SERVER, Case

SUM = "0" * 64
STAGES = [{"stage": "network", "script": "stages/10-network.sh"}]


def text_of(stages=STAGES, **others):
    return json.dumps({"version": 1, "stages": stages, **others})


def with_stage(**fields):
    return text_of([{"stage": "network", "script": "a.sh", **fields}])


def with_payload(**fields):
    payload = {"path": "b", "size": 1, "sha256": SUM, "target": "/b", **fields}
    return text_of(payloads=[{name: value for name, value in payload.items() if value is not None}])


# What is told, and by which stage.
WRONG = [
    ("<html>", "network", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ('{\n"version": 1\n', "network", "not JSON: Expecting ',' delimiter: line 3 column 1 (char 15)"),
    ('{"version": 1}}', "network", "not JSON: Extra data: line 1 column 15 (char 14)"),
    ('{"version": NaN}', "network", "not JSON: NaN is no number: line 1 column 13 (char 12)"),
    ('{"version": 1,\n "a": 5, "a": 5}', "network", 'not JSON: line 2: the name "a" comes twice'),
    ('{"x":\n"\\ud800"}', "network", "not JSON: 'utf-8' codec can't encode character '\\ud800'"),
    ('{"\\ud800": 1}', "network", "not JSON: 'utf-8' codec can't encode character '\\ud800'"),
    ("\n" + "[" * 18 + "]" * 18, "network", "not JSON: nested deeper than 16 levels: line 2 column 18 (char 18)"),
    ("[" * 100_000, "network", "not JSON: nested deeper than 16 levels"),
    ("[]", "network", "line 1: the manifest must be an object"),
    (text_of(version=2), "network", "line 1: version must be 1, the only one that this gb10-onboard reads"),
    (text_of(version="1"), "network", "line 1: version must be 1"),
    ('{"stages": []}', "network", "line 1: version is missing"),
    ('{"version": 1}', "network", "line 1: stages is missing"),
    (text_of([]), "network", "line 1: stages must be a list that is not empty"),
    (text_of({}), "network", "line 1: stages must be a list that is not empty"),
    (
        '{"version": 1, "stages": [\n{"stage": "network", "script": "stages/10-network.sh"},\n{"stage": "storage"}]}',
        "network",
        "line 3: stages[1].script is missing",
    ),
    (
        '{"version": 1, "stages": [\n{"stage": "network",\n"script":\n"a.sh", "timeout":\n"5"}]}',
        "network",
        "line 5: stages[0].timeout must be a whole number from 1 on",
    ),
    (text_of([5]), "network", "line 1: stages[0] must be an object"),
    (with_stage(stage="net"), "network", "stages[0].stage must be one of network, storage, driver"),
    (with_stage(stage=None), "network", "stages[0].stage must be one of network, storage, driver"),
    (with_stage(script="../../etc/x.sh"), "network", "stages[0].script must be a relative path"),
    (with_stage(script="/a.sh"), "network", "stages[0].script must be a relative path"),
    (with_stage(script="a.sh\n"), "network", "stages[0].script must be a relative path"),
    (with_stage(script="a b.sh"), "network", "stages[0].script must be a relative path"),
    (with_stage(script=".sh"), "network", "stages[0].script must be a relative path"),
    (text_of(STAGES * 2), "network", "stages[1].script is listed twice"),
    (with_stage(timeout=1.5), "network", "stages[0].timeout must be a whole number from 1 on"),
    (with_stage(timeout=0), "network", "stages[0].timeout must be a whole number from 1 on"),
    (with_stage(timeout=10**15), "network", "stages[0].timeout must be a whole number from 1 on"),
    (with_stage(optional="yes"), "network", "stages[0].optional must be true or false"),
    (text_of(checks=[]), "network", "checks must be an object"),
    (text_of(expect=5), "network", "expect must be an object"),
    (text_of(payloads={}), "payload", "payloads must be a list"),
    (text_of(payloads=[[]]), "payload", "payloads[0] must be an object"),
    (with_payload(path="a/../../b"), "payload", "payloads[0].path must be a relative path"),
    (with_payload(path="a//b"), "payload", "payloads[0].path must be a relative path"),
    (with_payload(path="a\x7fb"), "payload", "payloads[0].path must be a relative path"),
    (with_payload(path="a\\b"), "payload", "payloads[0].path must be a relative path"),
    (with_payload(path="a\0b"), "payload", "payloads[0].path must be a relative path"),
    (with_payload(target="/opt/../etc/shadow"), "payload", "payloads[0].target must be an absolute path"),
    (with_payload(target="opt/b"), "payload", "payloads[0].target must be an absolute path"),
    (with_payload(target="/"), "payload", "payloads[0].target must be an absolute path"),
    (with_payload(sha256=None), "payload", "payloads[0].sha256 is missing"),
    (with_payload(sha256="0" * 63 + "g"), "payload", "payloads[0].sha256 must be 64 hexadecimal digits"),
    (with_payload(mode="4755"), "payload", 'payloads[0].mode must be three octal digits, like "0644"'),
    (with_payload(size=-1), "payload", "payloads[0].size must be a whole number"),
    (
        text_of(payloads=[dict(path=path, size=1, sha256=SUM, target="/b") for path in "ab"]),
        "payload",
        "payloads[1].target is listed twice",
    ),
]


# Of each field of `expect`, a value that is right; and values that are of no right kind for some of them.
WISHES = {
    "link_mbps": 1000, "connectx_mbps": 100000, "free_gib": 0, "root": "sda", "nvme_models": ["a", "b*"],
    "wear_percent": 50, "gpu": "*", "xid_ignored": [1], "rdma": True, "load": "true", "load_seconds": 5, "clock_mhz": 1,
    "watts": 999999999999999, "fabric_serve": "a", "fabric_measure": "b", "fabric_gbps": 1, "fabric_seconds": 0,
    "fabric_port": 65535,
}  # fmt: skip
OTHERS = (-1, 0, 65536, 1.5, 10**15, "", "x", "x" * 1001, "é" * 1000, [], ["x"], [""], [1, "x"], ["x"] * 65, [1] * 64, True, None, {})


def judge_says(manifest, folder):
    """What judge.py says of the wishes in a manifest."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    choices = {name: manifest[name] for name in ("checks", "expect") if name in manifest}
    (folder / "tmp/choices.json").write_text(json.dumps(choices))
    run = subprocess.run(
        [sys.executable, "-I", ONBOARD / "judge.py", "--try"], env={"GB10_STATE": str(folder)}, capture_output=True,
        text=True,
    )  # fmt: skip
    return run.returncode, run.stdout


def box_says(file):
    """`gb10-onboard --manifest FILE`, in this process: its exit code and standard output."""
    out, arguments = io.StringIO(), sys.argv
    sys.argv = [str(PROGRAM), "--manifest", str(file)]
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(str(PROGRAM), run_name="__main__")
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
    finally:
        sys.argv = arguments
    return code, out.getvalue()


class Manifest(Case):
    def check(self, text):
        file = self.folder / "manifest.json"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return box_says(file)

    def test_every_fault_is_named_with_its_line(self):
        for text, stage, what in WRONG:
            code, said = self.check(text)
            self.assertRegex(said, f"^fault\t{stage}\tmanifest.json: (not JSON|line [1-9])", text[:200])
            self.assertIn(what, said, text[:200])
            self.assertEqual((1, 1), (code, said.count("\n")), said)

    def test_manifest_that_is_not_utf8_is_refused(self):
        code, said = self.check(text_of().replace("network", "n\nä").encode("latin-1"))
        self.assertEqual(1, code)
        self.assertRegex(said, r"^fault\tnetwork\tmanifest.json: not JSON: not UTF-8: line 2 column 1 ")

    def test_manifest_of_the_package_is_listed(self):
        code, said = box_says(ONBOARD / "manifest.json")
        self.assertEqual(0, code)
        self.assertEqual("stage\tnetwork\tstages/10-network.sh\t120\tfalse", said.splitlines()[0])
        self.assertEqual(7, said.count("\n"))

    def test_checking_a_manifest_needs_no_root_and_no_configuration(self):
        run = subprocess.run(
            [PROGRAM, "--manifest", ONBOARD / "manifest.json"], env={}, cwd="/", capture_output=True, text=True
        )
        self.assertEqual((0, ""), (run.returncode, run.stderr))
        run = subprocess.run([PROGRAM, "--manifest", "/nowhere"], capture_output=True, text=True)
        self.assertEqual((1, ""), (run.returncode, run.stdout))
        self.assertIn("No such file or directory: '/nowhere'", run.stderr)

    def test_wrong_manifest_is_a_named_failure(self):
        self.set_up()
        file = self.onboard / "manifest.json"
        largest = text_of().encode() + b" " * (256 * 1024)
        for text, stage, what in (
            WRONG[1],
            next(wrong for wrong in WRONG if wrong[1] == "payload"),
            ("\xff", "network", "not JSON"),
            (largest, "network", f"the server has {len(largest)} bytes, not at most 262144"),
            # A script that is listed, but not staged, is told by its own stage.
            (text_of([{"stage": "driver", "script": "stages/none.sh"}]), "driver", "stages/none.sh: no such file"),
        ):
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
            self.box.run(1)
            self.told(stage, "fail", what)
            self.assertEqual(f"{stage} fail", self.story()[-1])
        self.stage("large", "#" * (1024 * 1024 + 1))
        file.write_text(text_of([{"stage": "verify", "script": "stages/large.sh"}]))
        self.box.run(1)
        self.told("verify", "fail", "stages/large.sh: the server has 1048577 bytes, not at most 1048576")
        self.assertFalse([line for line in self.story() if not line.endswith(" fail")], "a stage was begun")

        # Once it is right the box goes on by itself.
        file.write_bytes(largest[: 256 * 1024])
        self.box.run()

    def test_manifest_cut_on_its_way_is_fetched_again(self):
        self.set_up()
        self.only(a="network")
        self.stage("a", "echo a; echo b")
        network = self.misbehave(path="/onboard/", cut=(2, 260))
        self.box.run()
        self.assertEqual("network start|network done", self.in_short())
        self.assertGreater(len(network.requests), 2)
        self.assertIn("waiting for manifest.json: the connection was closed early", self.box.said())

    # --- against other readers

    def test_reader_agrees_with_python_in_many_layouts(self):
        random.seed(20261122)
        for n in range(100):
            whole, expected = manifest()
            text = layout(whole)
            code, said = self.check(text)
            self.assertEqual((0, expected), (code, said), f"manifest {n}: {text!r}")

    def test_reader_agrees_with_the_servers(self):
        """What `gb10-provision-api manifest check` passes, a box takes, and nothing else."""
        random.seed(20261125)
        checked = [text for text, _, _ in WRONG]
        for _ in range(100):
            whole, _ = manifest()
            checked.append(layout(whole))
            checked.append(layout(with_other_value(whole)))
            checked.append(with_other_byte(layout(whole).encode()))
        checked += [
            b"", b" ", b"01", b"[1,]", b"[,1]", b'{"a":1,}', b"{'a':1}", b"nul", b"nulll", b"truefalse", b"+1", b".5",
            b"1.", b"1e", b"-", b"NaN", b'"\t"', b'"\\x"', b'"\\u12"', b'"\\ud800"', b'"\\udc00"', b'"abc', b"[1] 2",
            b"\xef\xbb\xbf{}", b"[" * 40 + b"]" * 40, b"// x\n{}", b"{} \x00", b"-0.5e+10", b"null", b"[]",
            b'"\\ud83e\\udd80"', b"{}\r\n\r\n", b"\n\n\t[[]]", text_of().encode("utf-16"), b'{"a": 1' + b"0" * 5000 + b"}",
        ]  # fmt: skip
        for text in checked:
            code, said = self.check(text)
            refused, reasons = self.server_refuses(text)
            self.assertEqual(refused, code != 0, f"{text!r}: the box says {said!r}, the server {reasons!r}")

    def test_judges_agree_with_the_server_on_every_wish(self):
        """No wish that the server lets pass is one that nobody heeds, or that a box refuses."""
        names = set(test_checks.CHECKS) | {"site-a", "site-" + "a" * 35}
        wishes = [dict(checks={name: choice}) for name in names for choice in ("fail", "warn", "off")]
        wishes += [
            dict(checks={name: choice})
            for name, choice in (
                ("site-", "fail"), ("site-" + "a" * 36, "fail"), ("site-A", "fail"), ("site-a\n", "fail"), ("xyz", "off"),
                ("", "off"), ("load", "no"), ("load", ""), ("load", None), ("load", True), ("load", ["fail"]),
            )
        ]  # fmt: skip
        self.assertEqual(set(WISHES), set(test_checks.listed("expect")))
        wishes += [dict(expect={name: value}) for name, value in WISHES.items()]
        wishes += [dict(expect={name: value}) for name in WISHES for value in random.sample(OTHERS, 6)]
        wishes += [dict(expect={"fabric_port": port}) for port in (0, 1, 65535, 65536)]
        wishes += [dict(expect={**WISHES, name: ""}) for name in WISHES]
        wishes += [dict(expect=WISHES)]
        wishes += [dict(expect={name: 1}) for name in ("", "clock", "Watts", "x" * 99)]
        right = 0
        for wish in wishes:
            text = text_of(**wish)
            code, said = self.check(text)
            self.assertEqual(0, code, said)
            code, said = judge_says(wish, self.folder / "state")
            refused, reasons = self.server_refuses(text)
            self.assertEqual(refused, code != 0, f"{wish}: the box says {said!r}, the server {reasons!r}")
            right += code == 0
        # All but one of the two commands of the fabric alone.
        self.assertGreaterEqual(right, 3 * len(names) + len(WISHES) - 2 + 1)

    def server_refuses(self, text):
        """What the server finds wrong in it, besides files that are not staged."""
        file = self.folder / "data/onboard/manifest.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        environment = dict(os.environ, DATA_PATH=str(self.folder / "data"))
        run = subprocess.run([SERVER, "manifest", "check"], env=environment, capture_output=True)
        reasons = run.stderr.decode("utf-8", "replace").splitlines()
        reasons = [reason for reason in reasons if not re.search(r'" is (not there|a link to nothing|neither staged nor)', reason)]
        return bool(reasons), reasons


def name():
    """A name with something in it that JSON, a shell or a URL minds."""
    letters = 'abcXYZ019._- "%#?&+\'$`€ü🦀~=:;<>[]{}|*!'
    return "".join(random.choice(letters) for _ in range(random.randrange(1, 12))).strip(".") or "x"


def escaped(text):
    """A JSON string, with escapes where none are needed."""
    out = ""
    for c in text:
        kind = random.random()
        if kind < 0.15 or c < " ":
            units = c.encode("utf-16-be")
            for at in range(0, len(units), 2):
                out += f"\\u{int.from_bytes(units[at : at + 2], 'big'):04{random.choice('xX')}}"
        elif c in '"\\' or kind < 0.3 and c == "/":
            out += "\\" + c
        else:
            out += c
    return '"' + out + '"'


def blank():
    return "".join(random.choice(" \t\n\r") for _ in range(random.choice([0, 0, 0, 1, 1, 5])))


def layout(value):
    if isinstance(value, dict):
        pairs = list(value.items())
        random.shuffle(pairs)
        inside = ",".join(blank() + escaped(k) + blank() + ":" + layout(v) for k, v in pairs)
        return blank() + "{" + inside + blank() + "}" + blank()
    if isinstance(value, list):
        return blank() + "[" + ",".join(layout(v) for v in value) + blank() + "]" + blank()
    if isinstance(value, str):
        return blank() + escaped(value) + blank()
    return blank() + json.dumps(value) + blank()


def whatever(depth=0):
    """A value of a field that nobody knows."""
    return random.choice(
        [
            lambda: None,
            lambda: True,
            lambda: random.randrange(-99, 99),
            lambda: random.choice([0.5, -1e30, 1.25e-7]),
            lambda: name() + "\n\t\\\x7f\u2028",
            lambda: [whatever(depth + 1) for _ in range(random.randrange(3))] if depth < 4 else [],
            lambda: {name(): whatever(depth + 1) for _ in range(random.randrange(3))} if depth < 4 else {},
        ]
    )()


def url(path):
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~/-"
    return "".join(chr(b) if chr(b) in plain else f"%{b:02X}" for b in path.encode())


def manifest():
    """A manifest, and what a box says of it."""
    stages, payloads, expected = [], [], []
    for n in range(random.randrange(1, 5)):
        stage = random.choice("network storage driver container_runtime payload verify ready".split())
        entry = {"stage": stage, "script": f"stages/{n}.sh", "x" + name(): whatever()}
        seconds, optional = random.choice([None, 1, 86400]), random.choice([None, True, False])
        if seconds:
            entry["timeout"] = seconds
        if optional is not None:
            entry["optional"] = optional
        stages.append(entry)
        expected.append(f"stage\t{stage}\tstages/{n}.sh\t{seconds or 600}\t{str(bool(optional)).lower()}\n")
    for n in range(random.randrange(4)):
        path, size, mode = f"p/{n}{name()}", random.choice([0, 1, 123456789012345]), random.choice(["0644", "755"])
        sha = "".join(random.choice("0123456789abcdefABCDEF") for _ in range(64))
        target = f"/opt/{n}{name()}"
        payloads.append({"path": path, "size": size, "sha256": sha, "target": target, "mode": mode})
        expected.append(f"payload\t{path}\t{size}\t{sha.lower()}\t{target}\t{mode}\t{url(path)}\n")
    whole = {"version": 1, "stages": stages, "x" + name(): whatever()}
    if payloads or random.random() < 0.5:
        whole["payloads"] = payloads
    return whole, "".join(expected)


def with_other_value(whole):
    """The manifest with one field changed, or gone."""
    whole = copy.deepcopy(whole)
    node = random.choice([whole, *whole["stages"], *whole.get("payloads", [])])
    key = random.choice(list(node))
    other = random.choice(
        [whatever(), "", "a", "/a", "a/../b", "stages/0.sh", "0600", "888", 0, 1, 2, -1, 1.0, 10**15, [], {}, None, True]
    )
    if random.random() < 0.2:
        del node[key]
    else:
        node[key] = other
    return whole


def with_other_byte(text):
    """One byte changed, taken away or put in, or all from there on gone."""
    at = random.randrange(len(text))
    other = random.choice([bytes([c]) for c in b'"\\{}[],:0-e\n\x00\x01ut \xff'])
    return random.choice(
        [text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + other + text[at:], text[:at]]
    )
