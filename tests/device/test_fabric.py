"""The fabric between two boxes that are cabled to one another. Both are boxes as in the other tests, and talk to one
another by loopback. What measures is a stand-in that prints the figure which the test has written down: there is no
ConnectX here.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import unittest

from support import DIRECT, MAC, ONBOARD, SOURCE, Box, Case, Server, eventually, free_port, needs

OTHER = "3c:6d:66:0a:1b:5c"
FIRST, SECOND = f"spark-1 ({MAC})", f"spark-2 ({OTHER})"


class Lan:
    """A LAN of network namespaces: of the server, and of two boxes at 10.88.0.11 and 10.88.0.12."""

    def __init__(self, case):
        self.ip = shutil.which("ip")
        self.names = [f"gb10-{os.getpid()}-{name}" for name in ("server", "first", "second")]
        server, *boxes = self.names
        for name in self.names:
            self.run("netns", "add", name)
            case.addCleanup(self.run, "netns", "del", name)
            self.run("-n", name, "link", "set", "lo", "up")
        self.run("-n", server, "link", "add", "lan", "type", "bridge")
        self.run("-n", server, "addr", "add", "10.88.0.1/24", "dev", "lan")
        self.run("-n", server, "link", "set", "lan", "up")
        for n, (name, mac) in enumerate(zip(boxes, (MAC, OTHER)), 1):
            port = ["lan0", "address", mac, "type", "veth", "peer", f"to{n}", "netns", server]
            self.run("-n", name, "link", "add", *port)
            self.run("-n", name, "addr", "add", f"10.88.0.1{n}/24", "dev", "lan0")
            self.run("-n", name, "link", "set", "lan0", "up")
            self.run("-n", server, "link", "set", f"to{n}", "master", "lan", "up")

    def run(self, *arguments):
        subprocess.run([self.ip, *arguments], check=True)

    def within(self, which):
        """What stands before a command that is to run there."""
        return [self.ip, "netns", "exec", self.names[which]]


class ServerOnLan(Server):
    """The real server, in its own namespace of a LAN."""

    def __init__(self, folder, lan):
        self.under, self.host, self.port, self.url = lan.within(0), "10.88.0.1", 8088, "http://10.88.0.1:8088"
        self.data, self.log = folder / "data", folder / "server.log"
        shutil.copytree(ONBOARD, self.data / "onboard")
        self.start(self.under, ARP_TABLE="/proc/self/net/arp")

    def get(self, path):
        get = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
        run = subprocess.run([*self.under, sys.executable, "-c", get, self.url + path], capture_output=True)
        if run.returncode:
            raise OSError(run.stderr.decode())
        return run.stdout


class Fabric(Case):
    def set_up_pair(self, lan=None, **expect):
        """A server that knows the two, and both of them."""
        if lan:
            self.server = ServerOnLan(self.folder, lan)
            self.addCleanup(self.server.stop)
            self.onboard = self.server.data / "onboard"
        else:
            self.start_server()
        devices = {MAC: {"hostname": "spark-1"}, OTHER: {"hostname": "spark-2", "pair": MAC}}
        (self.server.data / "devices.json").write_text(json.dumps(devices))
        self.port = free_port()
        with self.manifest() as m:
            m["stages"] = [{**stage, "timeout": 120} for stage in m["stages"] if stage["stage"] in ("verify", "ready")]
            m["expect"] = {
                "fabric_serve": '. "$GB10_ROOT/serve"', "fabric_measure": '. "$GB10_ROOT/measure"',
                "fabric_port": self.port, "fabric_seconds": 60, **expect,
            }  # fmt: skip
        self.first, self.second = self.another("first", MAC, 186.2), self.another("second", OTHER, 92.41)
        self.first.under, self.second.under = (lan.within(1), lan.within(2)) if lan else ((), ())
        if lan:
            for box in self.first, self.second:
                box.configure(self.server.url, "")

    def another(self, name, mac, gbps):
        """A box, and stand-ins for what serves and measures there."""
        folder = self.folder / name
        folder.mkdir()
        box = Box(folder, self.server.url)
        self.addCleanup(box.cut_power)
        box.configure(self.server.url, mac)
        box.mac = mac
        self.does(box, "serve", f"echo {name} serves $GB10_PEER >>'{self.folder}/turns'; sleep 300 & wait")
        self.does(box, "measure", f"echo {name} measures $GB10_PEER >>'{self.folder}/turns'; echo 1 of 1: {gbps} Gb/s")
        return box

    def does(self, box, what, script):
        box.write(what, script)

    def both(self, code=0, **variables):
        """Both run to their end, at the same time."""
        for box in self.first, self.second:
            box.start(box.under, **variables)
        for box in self.first, self.second:
            box.ends(code)

    def was_heard_of(self, mac):
        """The server knows its address from a report, as it has those of boxes that are at this stage."""
        report = json.dumps({"mac": mac, "stage": "verify", "phase": "start"}).encode()
        DIRECT.open(self.server.url + "/heartbeat", report, 10).close()

    def events_of(self, box):
        with contextlib.suppress(OSError):
            return json.loads(self.server.get(f"/clients/{box.mac}"))["stages"]
        return []

    def tells_of(self, box, phase, text):
        return any(event["phase"] == phase and text in event.get("detail", "") for event in self.events_of(box))

    def told_of(self, box, phase, *texts):
        for text in texts:
            self.assertTrue(self.tells_of(box, phase, text), (text, self.events_of(box)))

    def waits_until_told(self, box, phase, text):
        eventually(lambda: self.tells_of(box, phase, text), lambda: f"{text}: {box.said()[-2000:]}")

    def figures(self, box):
        return json.loads(self.server.get(f"/clients/{box.mac}"))["facts"]["fabric"]

    def turns(self):
        return (self.folder / "turns").read_text().splitlines()

    def nothing_is_left(self):
        for box in self.first, self.second:
            eventually(box.is_quiet, "the end of every process of the box", 5)

    # --- together

    def test_two_boxes_measure_the_fabric_between_them_and_have_both_figures(self):
        self.set_up_pair()
        self.both()
        for box, to, back, name in (self.first, 186.2, 92.41, SECOND), (self.second, 92.41, 186.2, FIRST):
            figures = self.figures(box)
            self.assertRegex(figures.pop("at"), r"^20..-..-..T..:..:..Z$")
            peer = OTHER if box is self.first else MAC
            self.assertEqual({"peer": peer, "gbps": [to, back]}, figures)
            self.told_of(box, "progress", f"fabric: {to} Gb/s to {name}, {back} Gb/s from it")
            self.told_of(box, "done", "2 checks passed")
        # In turn, each with the address of the other.
        self.assertEqual(
            ["first serves 127.0.0.1", "second measures 127.0.0.1", "second serves 127.0.0.1",
             "first measures 127.0.0.1"],
            self.turns(),
        )  # fmt: skip
        self.nothing_is_left()

    def test_the_slower_figure_fails_both_and_is_measured_again(self):
        self.set_up_pair(fabric_gbps=180)
        self.both(1)
        self.told_of(self.first, "fail", f"fabric: 186.2 Gb/s to {SECOND}, 92.41 Gb/s from it, expected at least 180")
        self.told_of(self.second, "fail", f"fabric: 92.41 Gb/s to {FIRST}, 186.2 Gb/s from it, expected at least 180")
        self.assertEqual([92.41, 186.2], self.figures(self.second)["gbps"])
        # Somebody changes the cable.
        self.does(self.second, "measure", "echo 180")
        self.both()
        self.assertEqual([186.2, 180], self.figures(self.first)["gbps"])

    def test_a_box_that_has_measured_well_goes_on_without_the_other(self):
        """What fails it then is something else: the other is done, and comes no more."""
        self.set_up_pair(fabric_gbps=90)
        self.first.write("sys/class/nvme/nvme0/firmware_rev", "OLD")
        (self.server.data / "baseline.json").write_text('{"nvme_firmware": ["NXA*"]}')
        for box in self.first, self.second:
            box.start()
        self.second.ends(0)
        self.first.ends(1)
        self.told_of(self.first, "fail", "baseline-nvme: OLD: the baseline allows")
        self.first.write("sys/class/nvme/nvme0/firmware_rev", "NXA74W1Q")
        self.first.run()
        self.assertEqual([186.2, 92.41], self.figures(self.first)["gbps"])
        # With another pair it measures.
        devices = {MAC: {"pair": "3c:6d:66:0a:1b:6c"}}
        (self.server.data / "devices.json").write_text(json.dumps(devices))
        with self.manifest() as m:
            m["expect"]["fabric_seconds"] = 1
        self.first.remove(self.first.state / "done", self.first.state / "stamps/stages%60-verify.sh")
        self.first.run(1)
        self.told_of(self.first, "fail", "nothing was measured with gb10-pxe-3c-6d-66-0a-1b-6c (3c:6d:66:0a:1b:6c)")

    def test_two_boxes_on_a_lan_know_one_another_by_their_addresses(self):
        """Each in a network namespace of its own, without a MAC in its configuration: the server knows it by ARP."""
        needs("ip")
        if os.geteuid():
            raise unittest.SkipTest("network namespaces need root")
        lan = Lan(self)
        self.set_up_pair(lan)
        self.both()
        self.assertEqual(
            ["first serves 10.88.0.12", "second measures 10.88.0.11", "second serves 10.88.0.11",
             "first measures 10.88.0.12"],
            self.turns(),
        )  # fmt: skip
        for box, to, back in (self.first, 186.2, 92.41), (self.second, 92.41, 186.2):
            self.assertEqual([to, back], self.figures(box)["gbps"])

    def test_a_box_that_is_installed_again_measures_with_one_that_is_ready(self):
        """By what docs/acceptance.md says to do on that one."""
        self.set_up_pair()
        self.both()
        self.second.remove(self.second.state)
        self.does(self.second, "measure", "echo 210")
        self.second.start()
        self.waits_until_told(self.second, "progress", f"fabric: waiting for {FIRST}")
        docs = (SOURCE / "docs/acceptance.md").read_text()
        command = re.search(r"cd /var/lib/gb10-onboard && (rm -f .*)", docs)[1]
        subprocess.run(["sh", "-c", command], cwd=self.first.state, check=True)
        self.first.run()
        self.second.ends()
        for box in self.first, self.second:
            self.assertEqual("ready done", "{stage} {phase}".format(**self.events_of(box)[-1]))
            self.assertIn(210, self.figures(box)["gbps"])
        self.assertEqual(2, json.loads(self.server.get("/healthz"))["ready"])

    # --- the other is not there

    def test_a_pair_that_never_comes_is_waited_for_with_a_limit(self):
        self.set_up_pair(fabric_seconds=3)
        self.first.run(1)
        self.told_of(self.first, "fail", f"fabric: nothing was measured with {SECOND} within 3 s: it has not called")
        # The first has reported by now, and is there no more.
        self.second.run(1)
        self.told_of(self.second, "fail", f"with {FIRST} within 3 s: it does not answer at port {self.port}: ")
        self.told_of(self.second, "progress", f"fabric: waiting for {FIRST}, 0 of 3 s")
        self.nothing_is_left()

    def test_a_pair_that_the_server_has_not_heard_of_is_waited_for(self):
        self.set_up_pair()
        self.second.start()
        self.waits_until_told(self.second, "progress", "the server has not heard of it")
        self.first.run()
        self.second.ends()

    def test_a_pair_that_comes_late_is_measured_with(self):
        self.set_up_pair()
        self.first.start()
        self.waits_until_told(self.first, "progress", f"fabric: waiting for {SECOND}, ")
        self.second.run()
        self.first.ends()
        self.assertEqual([92.41, 186.2], self.figures(self.second)["gbps"])

    def test_a_server_that_is_away_is_waited_for(self):
        self.set_up_pair()
        self.stage("gate", self.gate("verify"))
        with self.manifest() as m:
            m["stages"].insert(0, dict(stage="driver", script="stages/gate.sh", timeout=60))
        for box in self.first, self.second:
            box.start()
        self.reached("verify")
        for box in self.first, self.second:
            eventually((box.state / "tmp/stages%60-verify.sh").exists, "its stages")
        self.server.stop()
        self.open("verify")
        for box in self.first, self.second:
            eventually(lambda: "fabric: waiting for the pair, 0 of 60 s" in box.said(), lambda: box.said()[-3000:])
        self.server.start()
        for box in self.first, self.second:
            box.ends()

    def test_a_pair_that_loses_its_power_meanwhile_may_come_again(self):
        self.set_up_pair()
        self.does(self.second, "measure", f"{self.gate('measure')} echo 200")
        for box in self.first, self.second:
            box.start()
        self.reached("measure")
        self.second.cut_power()
        self.does(self.second, "measure", "echo 200")
        self.second.run()
        self.first.ends()
        self.assertEqual([186.2, 200], self.figures(self.first)["gbps"])
        self.nothing_is_left()

    # --- something else is there: a stand-in of the test

    def answers_at_port(self, talk):
        """What is at the port of the first box, in place of that. Ends it when called."""
        listener = socket.create_server(("127.0.0.1", self.port))
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                with contextlib.suppress(OSError), listener.accept()[0] as connection:
                    connection.settimeout(20)
                    talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def end():
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(25)

        return end

    def test_another_box_at_the_port_is_refused(self):
        self.set_up_pair()
        self.was_heard_of(MAC)

        def talk(connection):
            connection.sendall(b'{"mac": "3c:6d:66:00:00:01\\u001b[2J"}\n')
            connection.recv(1000)

        end = self.answers_at_port(talk)
        self.second.start()
        self.waits_until_told(self.second, "progress", "what is there calls itself 3c:6d:66:00:00:01 [2J")
        end()
        self.first.run()
        self.second.ends()
        self.assertEqual([186.2, 92.41], self.figures(self.first)["gbps"])

    def test_another_box_that_calls_is_refused(self):
        self.set_up_pair()
        self.was_heard_of(OTHER)
        self.first.start()
        self.waits_until_told(self.first, "progress", "it has not called")
        for said in b'{"mac": "3c:6d:66:00:00:01"}\n', b"GET / HTTP/1.1\n", b"[" * 4000 + b"\n", b"\xff\n", b"":
            with socket.create_connection(("127.0.0.1", self.port), 10) as caller:
                caller.settimeout(20)
                caller.sendall(said)
                caller.shutdown(socket.SHUT_WR)
                heard = b""
                with contextlib.suppress(ConnectionResetError):
                    while piece := caller.recv(1000):
                        heard += piece
                self.assertEqual({"mac": MAC}, json.loads(heard), said)
        self.second.run()
        self.first.ends()

    def test_a_caller_from_another_address_is_not_listened_to(self):
        self.set_up_pair()
        self.was_heard_of(OTHER)
        self.first.start()
        self.waits_until_told(self.first, "progress", "it has not called")
        # More of them than could wait for their turn.
        with contextlib.ExitStack() as callers:
            for _ in range(30):
                caller = socket.create_connection(("127.0.0.1", self.port), 10, ("127.0.0.7", 0))
                callers.enter_context(caller).settimeout(20)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(b"", caller.recv(100))
            self.second.run()
            self.first.ends()

    def test_a_peer_that_says_nothing_or_does_not_stop_is_given_up(self):
        self.set_up_pair(fabric_seconds=1)
        self.was_heard_of(MAC)

        def endless(connection):
            while True:
                connection.sendall(b"x" * 65536)

        for talk, why in (
            (lambda connection: connection.recv(1000) and connection.recv(1000), "it said no whole line for 10 s"),
            (endless, "it says too much"),
        ):  # fmt: skip
            end = self.answers_at_port(talk)
            self.second.run(1)
            end()
            self.told_of(self.second, "fail", why)
        self.nothing_is_left()

    def test_figures_that_are_none_count_as_none(self):
        """The pair says that it measured, and no number."""
        self.set_up_pair(fabric_seconds=1)
        self.was_heard_of(MAC)
        for figure in '"fast"', "true", "-1", "NaN", "1e999", "[7]", "{}", "null":

            def talk(connection):
                lines = connection.makefile("rb")
                lines.readline()
                connection.sendall(f'{{"mac": "{MAC}"}}\n{{"go": true}}\n'.encode())
                lines.readline()
                lines.readline()
                connection.sendall(f'{{"gbps": {figure}}}\n'.encode())
                lines.readline()

            end = self.answers_at_port(talk)
            self.second.run(1)
            end()
            detail = self.events_of(self.second)[-1]["detail"]
            self.assertIn(f"92.41 Gb/s to {FIRST}, no figure (spark-1: None)", detail)
        self.assertNotIn("fabric", json.loads(self.server.get(f"/clients/{OTHER}"))["facts"])

    # --- what is run

    def test_what_goes_wrong_with_the_commands_is_told_by_both(self):
        self.set_up_pair()
        for what, script, why in (
            ("measure", "echo no device mlx5_9 >&2; exit 3", "measure failed with status 3: no device mlx5_9"),
            ("measure", "echo 'it is fast, v1.2.3, mlx5_0'", "measure printed no number: it is fast, v1.2.3, mlx5_0"),
            ("measure", "kill -9 $$", "measure failed with status -9: it said nothing"),
            # What it starts ends with it, also where it has gone its own way.
            ("measure", "setsid sleep 500 & sleep 500 & echo 7; sleep 500", "measure did not end within 3 s: 7"),
            ("measure", "while :; do echo 7777777777777777; done", "measure did not end within 3 s: "),
            ("serve", "echo port in use >&2; exit 1", "serve failed with status 1: port in use"),
        ):  # fmt: skip
            self.does(self.second, "serve", "sleep 500")
            self.does(self.second, "measure", "echo 200")
            self.does(self.second, what, script)
            self.both(1, GB10_FABRIC_MEASURE="3")
            own, others = self.events_of(self.second)[-1]["detail"], self.events_of(self.first)[-1]["detail"]
            if what == "measure":
                self.assertIn(f"fabric: no figure (fabric_{why}", own)
                self.assertIn(f"186.2 Gb/s to {SECOND}, no figure (spark-2: fabric_{why}", others)
            else:
                self.assertIn(f"fabric: 200 Gb/s to {FIRST}, no figure (fabric_{why}", own)
                self.assertIn(f"no figure (spark-2: fabric_{why}) to {SECOND}, 200 Gb/s from it", others)
            self.nothing_is_left()
        self.assertFalse((self.first.state / "fabric.json").exists())

    def test_a_server_process_that_goes_its_own_way_is_ended_too(self):
        self.set_up_pair()
        for box in self.first, self.second:
            self.does(box, "serve", "setsid sleep 500 &")
        self.both()
        self.nothing_is_left()

    def test_the_last_number_counts_however_it_is_written(self):
        self.set_up_pair()
        table = " #bytes     BW average[Gb/sec]\n 65536      1.0e2\n"
        self.does(self.first, "measure", f"printf '{table}'; echo warning 9 >&2")
        self.does(self.second, "measure", "echo 250; echo on mlx5_0 in v2.1.0; for n in 1 2 250.125; do echo $n; done")
        self.both()
        self.assertEqual([100, 250.12], self.figures(self.first)["gbps"])

    # --- not judged

    def not_judged(self, why):
        checked = json.loads((self.first.state / "checked.json").read_text())
        self.assertEqual(["not judged", why], checked["fabric"])

    def test_without_commands_or_a_pair_there_is_nothing_to_judge(self):
        self.set_up_pair()
        (self.server.data / "devices.json").write_text("{}")
        self.first.run()
        self.not_judged("devices.json names no pair")
        with self.manifest() as m:
            m["expect"] = {}
        self.first.remove(self.first.state / "done", self.first.state / "stamps/stages%60-verify.sh")
        self.first.run()
        self.not_judged("no command is given")

    def test_a_box_that_is_checked_again_is_judged_by_what_it_has(self):
        self.set_up_pair()
        self.both()
        before = self.turns()

        def again(code, text, **choices):
            with self.manifest() as m:
                m["expect"].update(fabric_gbps=100)
                m.update(choices)
            run = subprocess.run(
                [self.first.program, "--recheck"], env=self.first.environment(), capture_output=True, timeout=60
            )
            self.assertEqual(code, run.returncode, run.stderr)
            self.told_of(self.first, "fail" if code else "done", text)
            return json.loads(self.server.get(f"/clients/{MAC}")).get("warnings", {}).get("verify", [])

        slow = f"fabric: 186.2 Gb/s to {SECOND}, 92.41 Gb/s from it, expected at least 100"
        again(1, slow)
        # What is waived stays waived.
        for _ in range(2):
            [warning] = again(0, f"warning: {slow.replace(':', ' (waived):', 1)}", checks={"fabric": "warn"})
            self.assertEqual(("fabric", True), (warning["check"], warning["waived"]))
        self.first.remove(self.first.state / "fabric.json")
        self.assertEqual([], again(0, "not judged: "))
        self.not_judged("nothing was measured before")
        self.assertEqual(before, self.turns())

    def test_wishes_that_make_no_sense_are_refused_at_once(self):
        self.set_up_pair()
        for wrong, why in (
            ({"fabric_serve": "ib_write_bw"}, "expect.fabric_serve stands there alone"),
            ({"fabric_measure": "ib_write_bw"}, "expect.fabric_measure stands there alone"),
            ({"fabric_port": 65536}, "expect.fabric_port must be a port, from 1 to 65535"),
            ({"fabric_port": 0}, "expect.fabric_port must be a port, from 1 to 65535"),
            ({"fabric_gbps": "fast"}, "expect.fabric_gbps must be a whole number"),
            ({"fabric_gpbs": 180}, "expect.fabric_gpbs is nothing that a check looks at: did you mean fabric_gbps?"),
        ):  # fmt: skip
            with self.manifest() as m:
                m["expect"] = wrong
            self.first.run(1)
            self.assertIn(why, self.events_of(self.first)[-1]["detail"])

    def test_a_port_that_is_taken_is_named(self):
        self.set_up_pair()
        with socket.create_server(("127.0.0.1", self.port)):
            self.first.run(1)
        self.told_of(self.first, "fail", f"fabric: fabric_port {self.port}: ")
