"""Payloads: downloads that break, files that are not as they should be."""

import os
import re

from support import Case, eventually, needs


class Payloads(Case):
    def is_in_place(self, file, target):
        self.assertEqual(file.read_bytes(), (self.box.root / target).read_bytes())

    def test_payload_cut_twice_is_resumed(self):
        self.set_up()
        file = self.payload("model v1 #2 %41 ü.tar", 3_000_000, "/opt/models/model.tar", "0600")
        network = self.misbehave(cut=(2, 1_000_000))
        self.box.run()
        self.is_in_place(file, "opt/models/model.tar")
        self.assertEqual(0o600, (self.box.root / "opt/models/model.tar").stat().st_mode & 0o7777)
        wanted = [wanted for _, wanted in network.requests]
        self.assertEqual((3, "all"), (len(wanted), wanted[0]))
        first, second = (int(part.removeprefix("bytes=").removesuffix("-")) for part in wanted[1:])
        self.assertTrue(0 < first < second, wanted)
        self.told("payload", "progress", "the download broke")
        self.told("payload", "done", "1 payloads: 1 fetched (3,000,000 bytes in")
        self.assertEqual(["model.tar"], os.listdir(self.box.root / "opt/models"), "what is left beside it")

    def test_payload_is_resumed_after_a_power_cut(self):
        self.set_up()
        self.only(**{"50-payload": "payload"})
        file = self.payload("x.tar", 2_000_000, "/opt/x.tar")
        network = self.misbehave(rate=400_000)
        self.box.start()
        self.waits_for("payload", "progress", " %, ")
        self.box.cut_power()
        self.assertGreater((self.box.root / "opt/.x.tar.gb10-part").stat().st_size, 0, "nothing is kept")
        self.box.run()
        self.assertTrue(any(wanted.startswith("bytes=") for _, wanted in network.requests), network.requests)
        self.is_in_place(file, "opt/x.tar")
        self.assertRegex("\n".join(self.progress()), r"(?m)^\d+ %, [\d,]+ of 2,000,000 bytes, at payload/x.tar$")
        # Every 10 %: it is not told more often than that.
        percents = [int(text.split()[0]) for text in self.progress() if " %, " in text]
        self.assertLessEqual(len(percents), 12, percents)

    def test_payload_is_resumed_after_a_stop(self):
        self.set_up()
        self.only(**{"50-payload": "payload"})
        file = self.payload("x.tar", 2_000_000, "/opt/x.tar")
        network = self.misbehave(rate=400_000)
        self.box.start()
        self.waits_for("payload", "progress", " %, ")
        self.box.process.terminate()
        self.box.ends(143, 30)
        self.assertEqual([], self.box.processes())
        self.box.run()
        self.assertRegex(network.requests[-1][1], "^bytes=[1-9]")
        self.is_in_place(file, "opt/x.tar")
        self.assertEqual("payload start|payload start|payload done", self.in_short())

    def test_power_cut_between_the_checksum_and_the_rename(self):
        needs("strace")
        self.set_up()
        self.only(**{"50-payload": "payload"})
        file = self.payload("x.tar", 300_000, "/opt/x.tar", "0640")
        renames = "rename,renameat,renameat2" if os.uname().machine == "x86_64" else "renameat,renameat2"
        self.box.link("/usr/bin/strace", self.box.bin / "strace")
        self.box.start(under=["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={renames}",
                              "-e", f"inject={renames}:delay_enter=60000000"])  # fmt: skip
        part, place = self.box.root / "opt/.x.tar.gb10-part", self.box.root / "opt/x.tar"
        eventually(lambda: part.exists() and part.stat().st_mode & 0o777 == 0o640, "the part's mode")
        self.box.cut_power()
        self.assertEqual((True, False), (part.exists(), place.exists()))
        self.box.run()
        self.is_in_place(file, "opt/x.tar")
        self.assertEqual(0o640, place.stat().st_mode & 0o777)
        self.assertEqual(1, self.server.served("payload/x.tar"), "it was fetched again")
        self.assertEqual(["x.tar"], os.listdir(self.box.root / "opt"))

    def test_what_must_survive_a_power_cut_is_synced(self):
        needs("strace")
        self.set_up()
        self.only(**{"50-payload": "payload"})
        self.payload("x.tar", 1000, "/opt/deep/x.tar")
        self.box.link("/usr/bin/strace", self.box.bin / "strace")
        trace, calls = self.folder / "trace", "trace=/^(fsync|link(at)?|mkdir(at)?|rename(at2?)?)$"
        self.box.start(under=["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", calls])
        self.box.ends()
        state = "/var/lib/gb10-onboard"
        for steps in (
            ["mkdir.*/opt/deep", "fsync.*/opt>"],
            ["fsync.*/opt/deep/.x.tar.gb10-part>", "rename.*/opt/deep/x.tar", "fsync.*/opt/deep>"],
            [f"fsync.*{state}/tmp/heartbeat", f"link.*{state}/spool/0000", f"fsync.*{state}/spool>"],
            [f"fsync.*{state}/stamps/stages%50-payload.sh>", f"fsync.*{state}/stamps>"],
            [f"fsync.*{state}/done>", f"fsync.*{state}>"],
        ):
            lines = iter(trace.read_text().splitlines())
            for step in steps:  # each in a line after the one before
                self.assertTrue(any(re.search(step, line) for line in lines), step)

    def test_payload_corrupted_on_its_way_is_fetched_again(self):
        self.set_up()
        file = self.payload("x.tar", 500_000, "/opt/x.tar")
        network = self.misbehave(flip=1)
        self.box.run()
        self.told("payload", "progress", "payload/x.tar: refused and deleted: its sha256 is")
        self.is_in_place(file, "opt/x.tar")
        self.assertEqual(2, len(network.requests))

    def test_payload_corrupted_on_the_server_is_refused(self):
        self.set_up()
        file = self.payload("x.tar", 500_000, "/opt/x.tar")
        content = file.read_bytes()
        file.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
        self.box.run(1)
        self.told("payload", "fail", "payload/x.tar: refused 3 times and not put in place: its sha256 is")
        self.assertEqual([], os.listdir(self.box.root / "opt"), "what is in place")
        self.assertEqual(3, self.server.served("payload/x.tar"))

        # Shorter and longer than it should be, and gone.
        for change, text in (
            (lambda: file.write_bytes(content[:400_000]), "the server has 400000 bytes, not 500000"),
            (lambda: file.write_bytes(content + content[:100_000]), "the server has 600000 bytes, not 500000"),
            (file.unlink, "no such file (404)"),
        ):
            change()
            self.box.run(1)
            self.told("payload", "fail", text)
            self.assertFalse((self.box.root / "opt/x.tar").exists())

        # The stage is tried again as a whole, and goes well once the server has the right file.
        with self.manifest() as m:
            m["payloads"] = []
        file = self.payload("x.tar", 700_000, "/opt/x.tar")
        self.box.run()
        self.is_in_place(file, "opt/x.tar")

    def test_part_of_another_version_is_not_put_in_place(self):
        """What lies there from an earlier manifest: longer, of the same size, and a beginning."""
        self.set_up()
        (self.box.root / "opt").mkdir()
        for name, size in (("longer", 30_000), ("same", 20_000), ("beginning", 10_000)):
            (self.box.root / f"opt/.{name}.gb10-part").write_bytes(os.urandom(size))
        files = {name: self.payload(name, 20_000, f"/opt/{name}") for name in ("longer", "same", "beginning")}
        self.box.run()
        for name, file in files.items():
            self.is_in_place(file, f"opt/{name}")
        self.assertEqual(sorted(files), sorted(os.listdir(self.box.root / "opt")))

    def test_payload_in_place_is_not_fetched_again(self):
        self.set_up()
        a = self.payload("a.tar", 10_000, "/opt/a", "0640")
        b = self.payload("b.tar", 20_000, "/srv/deep/er/b", "755")
        self.payload("empty", 0, "/opt/empty")
        (self.box.root / "opt").mkdir()
        (self.box.root / "opt/a").write_bytes(a.read_bytes())
        self.box.run()
        self.told("payload", "done", "3 payloads: 2 fetched (20,000 bytes in")
        self.assertEqual(0, self.server.served("a.tar"))
        self.is_in_place(b, "srv/deep/er/b")
        modes = [(self.box.root / path).stat().st_mode & 0o7777 for path in ("opt/a", "srv/deep/er/b", "opt/empty")]
        self.assertEqual([0o640, 0o755, 0o644], modes)

    def test_payload_without_space_is_not_begun(self):
        self.set_up()
        self.payload("x.tar", 1000, "/opt/x.tar", size=900_000_000_000_000)
        self.box.run(1)
        self.told("payload", "fail", "not enough space at ")
        self.assertEqual(0, self.server.served("x.tar"))

    def test_payload_that_cannot_be_written_says_why(self):
        self.set_up()
        self.payload("x.tar", 1000, "/opt/x.tar/below/a/file")
        (self.box.root / "opt").mkdir()
        (self.box.root / "opt/x.tar").write_text("in the way")
        self.box.run(1)
        self.told("payload", "fail", "x.tar")

    def test_payload_waits_for_the_server(self):
        self.set_up()
        self.only(**{"wait": "network", "50-payload": "payload"})
        file = self.payload("x.tar", 10_000, "/opt/x.tar")
        self.stage("wait", self.gate("wait") + "echo a")
        self.box.start()
        self.reached("wait")
        self.server.stop()
        self.open("wait")
        eventually(
            lambda: "payload progress: payload/x.tar: the download broke" in self.box.said(), "the complaint"
        )
        self.server.start()
        self.box.ends()
        self.is_in_place(file, "opt/x.tar")
