"""Heartbeats: the spool, the server that is away, and how it is reached."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading

from support import MAC, Answers, Case, eventually, needs

ONE_STAGE = json.dumps({"version": 1, "stages": [{"stage": "network", "script": "a.sh"}]})


class Heartbeats(Case):
    # --- the server is away

    def test_server_away_in_the_middle_loses_nothing(self):
        self.set_up()
        stages = dict(a="network", b="storage", c="driver", d="ready")
        self.only(**stages)
        for n in stages:
            self.stage(n, f'for i in 1 2 3; do progress "{n} $i"; done\n{self.gate(n)} echo {n}')
        self.box.start()
        self.open("a")
        self.waits_for("storage", "progress", "b 3")
        self.server.stop()
        self.open("b", "c", "d")
        # The onboarding does not wait for the server: the last stage is done without it.
        eventually(lambda: self.box.stamped("stages/d.sh"), "the last stage")
        self.assertFalse((self.box.state / "done").exists(), "it is done before the server knows")
        self.server.start()
        self.box.ends()
        expected = []
        for n, stage in stages.items():
            expected += [f"{stage} start stages/{n}.sh, at most 60 s"]
            expected += [f"{stage} progress {n} {i}" for i in (1, 2, 3)] + [f"{stage} done {n}"]
        self.assertEqual(expected, self.story("{stage} {phase} {detail}"))

    def test_server_away_and_power_cut_lose_nothing(self):
        self.set_up()
        self.only(a="network", b="storage")
        self.stage("a", "echo a")
        self.stage("b", self.gate("b") + "echo b")
        self.box.start()
        self.reached("b")
        self.waits_for("storage", "start")
        self.server.stop()
        self.open("b")
        eventually(lambda: self.box.stamped("stages/b.sh"), "the last stage")
        self.box.cut_power()
        self.server.start()
        self.box.run()
        self.assertEqual("network start|network done|storage start|storage done", self.in_short())

    def test_failure_while_the_server_is_away_is_told_later(self):
        """The fail of a run during an outage reaches the server by the next run, in its place."""
        self.set_up()
        self.only(a="network")
        self.stage("a", self.gate("a") + "echo broken; exit 3")
        self.box.start(GB10_SETTLE="1")
        self.reached("a")
        self.waits_for("network", "start")
        self.server.stop()
        self.open("a")
        self.box.ends(1)
        self.stage("a", "echo fine")
        self.box.start()
        eventually(lambda: "waiting for manifest.json" in self.box.said(), "the complaint")
        self.server.start()
        self.box.ends()
        self.assertEqual("network start|network fail|network start|network done", self.in_short())
        self.told("network", "fail", "broken")

    # --- the spool

    def test_spool_is_bounded(self):
        self.set_up()
        self.only(a="network", b="storage")
        self.stage("a", self.gate("a") + 'for i in $(seq 191 210); do progress "$i"; done; echo a')
        self.stage("b", "echo b")
        self.box.start()
        self.reached("a")
        self.waits_for("network", "start")
        eventually(lambda: not os.listdir(self.box.spool), "an empty spool")
        self.server.stop()
        for number in range(1, 191):
            heartbeat = dict(mac=MAC, stage="network", phase="progress", detail=str(number))
            (self.box.spool / f"{number:010}").write_text(json.dumps(heartbeat))
        self.open("a")
        eventually(lambda: self.box.stamped("stages/b.sh"), "the last stage", 120)
        self.assertEqual(203, len(list(self.box.spool.iterdir())))
        self.server.start()
        self.box.ends()
        self.assertEqual("network start|network done|storage start|storage done", self.in_short())
        self.assertEqual([str(n) for n in range(1, 201)], self.progress())
        self.assertIn("network progress is not queued: 200 heartbeats wait already", self.box.said())

    def test_spool_drops_the_oldest(self):
        answers = Answers(self, then="503", files={"manifest.json": ONE_STAGE, "a.sh": "echo a"})
        self.make_box(f"http://127.0.0.1:{answers.port}")
        self.box.spool.mkdir(parents=True)
        for number in range(1, 2001):
            (self.box.spool / f"{number:010}").write_text("{}")
        self.box.start()
        eventually(lambda: self.box.stamped("a.sh"), "the stage")
        self.box.cut_power()
        names = sorted(int(file.name) for file in self.box.spool.iterdir())
        self.assertEqual((3, 2002, 2000), (names[0], names[-1], len(names)))
        self.assertEqual(2, self.box.said().count("2000 heartbeats wait: the oldest is dropped"))

    def test_progress_of_many_processes_is_whole(self):
        self.set_up()
        self.only(a="network")
        self.stage("a", 'for n in 1 2 3 4 5 6 7 8; do { progress "$n a"; progress "$n b"; } & done\nwait')
        self.box.run()
        expected = [f"{n} {part}" for n in range(1, 9) for part in "ab"]
        self.assertEqual(expected, sorted(self.progress(), key=lambda text: text[0]))

    # --- answers of the server. A stand-in gives them, as the real one cannot be made to.

    def test_answers_that_are_retried_and_that_are_not(self):
        answers = Answers(self, "503", "408", "drop", "429", "500")
        self.make_box(f"http://127.0.0.1:{answers.port}")
        self.box.run(1)
        self.assertEqual("503 408 drop 429 500 200", " ".join(status for status, _ in answers.log))
        self.assertEqual([answers.log[0][1]] * 6, [body for _, body in answers.log])
        body = {"mac": MAC, "stage": "network", "phase": "fail"}
        self.assertEqual(body, {name: answers.log[0][1][name] for name in body})
        self.assertEqual("manifest.json: Not Found (404)", answers.log[0][1]["detail"])

        answers.log.clear()
        answers.statuses = ["422"]
        self.box.run(1)
        self.assertEqual(["422"], [status for status, _ in answers.log])
        self.assertRegex(self.box.said(), r'refused a heartbeat for good: /heartbeat: .* \(422\): {"mac"')

    def test_mac_of_zeros_is_not_sent(self):
        """A driver fault can leave an all-zero MAC: better none, since then the server looks for it in
        its neighbour table. (That has no loopback addresses: so a stand-in shows what is sent.)"""
        answers = Answers(self)
        self.make_box(f"http://127.0.0.1:{answers.port}")
        self.box.configure(f"http://127.0.0.1:{answers.port}", "00:00:00:00:00:00")
        self.box.run(1)
        status, body = answers.log[0]
        self.assertEqual(("200", "network", "fail", ""), (status, body["stage"], body["phase"], body["mac"]))

    # --- how the server is reached

    def test_proxies_of_the_environment_are_not_used(self):
        self.set_up()
        file = self.payload("x.tar", 10_000, "/opt/x.tar")
        asked = []
        proxy = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(proxy.close)

        def listen():
            while True:
                try:
                    asked.append(proxy.accept()[0].close())
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        self.box.run(**dict.fromkeys(names, url), no_proxy="", REQUEST_METHOD="")
        self.assertEqual(file.read_bytes(), (self.box.root / "opt/x.tar").read_bytes())
        self.told("network", "done", "the server sees this box as 127.0.0.1")
        self.assertEqual([], asked)

    def test_modules_beside_the_program_and_in_the_environment_are_not_used(self):
        """It runs as root: what somebody else may write must not become part of it."""
        self.set_up()
        self.only(a="network")
        self.stage("a", "progress one; echo a")
        program = self.folder / "program/gb10-onboard"
        program.parent.mkdir()
        shutil.copy(self.box.program, program)
        (program.parent / "json.py").write_text("raise SystemExit('beside')")
        self.box.program = program
        self.box.run(PYTHONPATH=str(program.parent), PYTHONHOME="/nowhere", PYTHONSTARTUP="/nowhere")
        self.told("network", "done", "a")

    def test_url_with_a_path_and_an_ipv6_address(self):
        if not socket.has_ipv6:
            self.skipTest("no IPv6")
        answers = Answers(self, files={"manifest.json": ONE_STAGE, "a.sh": "echo a"}, prefix="/gb10", host="::1")
        self.make_box(f"http://[::1]:{answers.port}/gb10/")
        self.box.run()
        self.assertEqual(["start", "done"], [body["phase"] for _, body in answers.log])

    def test_https_and_a_certificate_that_is_not_trusted(self):
        needs("openssl")
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=gb10",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )  # fmt: skip
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        answers = Answers(self, files={"manifest.json": ONE_STAGE, "a.sh": "echo a"}, tls=tls)
        self.make_box(f"https://127.0.0.1:{answers.port}")
        self.box.run(SSL_CERT_FILE=str(cert))
        self.assertEqual(["start", "done"], [body["phase"] for _, body in answers.log])

        self.box.remove(self.box.state)
        self.box.start()
        eventually(lambda: re.search("waiting for manifest.json: .*certificate", self.box.said()), "the complaint")
        self.box.process.terminate()
        self.box.ends(143)
        self.assertEqual(2, len(answers.log), "what is told to a server that nobody knows")
