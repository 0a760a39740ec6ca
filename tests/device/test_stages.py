"""What a stage may expect, and how it is ended."""

import json
import random
import time

from support import Case, eventually


class Stages(Case):
    def test_stage_gets_what_the_readme_promises(self):
        self.set_up()
        self.only(a="storage")
        self.payload("x", b"abc", "/opt/x")
        self.stage(
            "a",
            """
            echo "$GB10_STAGE/$#/$(umask)/$LC_ALL/$PROVISION_URL/$MAC/$GB10_ROOT/$GB10_SYS/$GB10_STATE"
            echo "empty: $(ls -A "$GB10_TMP"); stdin: $(cat)"
            for fd in /proc/$$/fd/*; do printf '%s ' "$(readlink "$fd")"; done; echo
            read -r pid _ _ _ group session _ </proc/self/stat
            echo "$(($$ == group)) $(($$ == session))"
            cat "$GB10_PAYLOADS"
            progress -n two "  words"
            """,
        )
        self.box.link("/bin/ls", self.box.bin / "ls")
        self.box.run()
        box = self.box
        first, second, third, fourth, fifth = self.events()[-1]["detail"].split("\n")
        self.assertEqual(
            f"storage/0/0022/C/{self.server.url}/3c:6d:66:0a:1b:2c/{box.root}/{box.sys}/{box.state}", first
        )
        self.assertEqual("empty: ; stdin: ", second)
        # Standard input, output and error, the journal, and what the shell itself has open.
        tmp = box.state / "tmp"
        expected = {"/dev/null", str(tmp / "out"), str(tmp / "err"), str(box.log), str(tmp / "stages%a.sh")}
        self.assertLessEqual({name for name in third.split() if not name.startswith(("pipe:", "/proc/"))}, expected)
        self.assertEqual("1 1", fourth)
        path, size, sha256, target, mode, url = fifth.split("\t")
        self.assertEqual(("payload/x", "3", "/opt/x", "0644", "payload/x"), (path, size, target, mode, url))
        self.assertTrue(sha256.startswith("ba7816bf"))
        self.assertEqual(["-n two   words"], self.progress())

    def test_failing_stage_tells_why(self):
        """What a stage says when it fails, by whichever way it says it."""
        self.set_up()
        self.only(a="network")
        for script, text in (
            ("echo the reason; echo noise >&2; exit 3", "the reason"),
            ("fail the reason in words; echo no further", "the reason in words"),
            ("absent no such thing", "absent: no such thing"),
            ("echo only here >&2; exit 3", "only here"),
            ("exit 9", "exit code 9, and no output"),
            ("if", "yntax error"),
            ("kill -KILL $$; sleep 5", "exit code 137"),
        ):
            self.stage("a", script)
            self.box.run(1)
            self.told("network", "fail", text)
            self.assertNotIn("no further", self.events()[-1]["detail"])

    def test_time_limit_kills_a_hung_stage_with_its_children(self):
        self.set_up()
        self.only(hung="driver", after="verify")
        with self.manifest() as m:
            m["stages"][0]["timeout"] = 2
        self.stage(
            "hung",
            """
            echo 'halfway there'
            sh -c 'trap "" TERM; while :; do sleep 1; done' &
            trap '' TERM
            while :; do sleep 1; done
            """,
        )
        self.stage("after", "echo fine")
        began = time.monotonic()
        self.box.run(1)
        self.assertLess(time.monotonic() - began, 15)
        self.told("driver", "fail", "killed after its limit of 2 s; it had said: halfway there")
        self.no_process_is_left()

        # One that ends leaves nothing behind either.
        self.stage("hung", "sh -c 'trap \"\" TERM; while :; do sleep 1; done' &")
        self.box.run()
        self.no_process_is_left()
        self.told("driver", "start", "stages/hung.sh, at most 2 s, attempt 2")

    def test_time_limit_ends_a_stage_in_good_order(self):
        """SIGTERM comes first, and there is time for what has to be put right."""
        self.set_up()
        self.only(a="driver")
        with self.manifest() as m:
            m["stages"][0]["timeout"] = 1
        self.stage("a", "trap 'echo put right; exit 1' TERM; while :; do sleep 0.1; done")
        self.box.run(1)
        self.told("driver", "fail", "killed after its limit of 1 s; it had said: put right")

    def test_daemon_that_holds_standard_output_does_not_hold_up_the_run(self):
        self.set_up()
        self.only(a="network")
        self.stage("a", "setsid sh -c 'sleep 300' & echo left behind")
        began = time.monotonic()
        self.box.run()
        self.assertLess(time.monotonic() - began, 30)
        self.told("network", "done", "left behind")
        # It left the process group, so it is systemd that ends it, with the unit.
        self.box.cut_power()

    def test_stop_ends_the_stage_and_is_no_failure(self):
        self.set_up()
        self.only(a="network")
        asked = self.folder / "asked"
        self.stage("a", f"trap ': >{asked}; exit 1' TERM\n" + self.gate("a"))
        self.box.start()
        self.reached("a")
        self.waits_for("network", "start")
        self.box.process.terminate()
        self.box.ends(143, 30)
        self.assertTrue(asked.exists(), "the stage was not asked to end")
        self.assertEqual([], self.box.processes())
        self.assertEqual("network start", self.in_short())

    def test_stop_in_the_middle_leaves_no_process_and_the_next_run_goes_on(self):
        self.set_up()
        self.only(a="network", b="storage")
        ran = self.folder / "ran"
        self.stage("a", f"echo x >>'{ran}'")
        # One child that ends when it is asked to, one that does not, and one that takes its time.
        late = self.folder / "late"
        self.stage(
            "b",
            f"""
            sleep 300 & sh -c 'trap "" TERM; while :; do sleep 1; done' &
            sh -c 'trap "sleep 1; : >{late}; exit" TERM; while :; do sleep 0.1; done' &
            {self.gate("b")} echo b""",
        )
        self.box.start()
        self.reached("b")
        self.waits_for("storage", "start")
        self.box.process.terminate()
        self.box.process.terminate()
        self.box.ends(143, 30)
        self.assertEqual([], self.box.processes())
        self.assertTrue(late.exists(), "there was no time to end in good order")
        self.open("b")
        self.box.run()
        self.assertEqual("network start|network done|storage start|storage start|storage done", self.in_short())
        self.told("storage", "start", "attempt 2")
        self.assertEqual("x\n", ran.read_text())

    def test_stop_while_the_server_is_away(self):
        self.set_up()
        self.server.stop()
        self.box.start()
        eventually(lambda: "waiting for manifest.json" in self.box.said(), "the complaint")
        self.box.process.terminate()
        self.box.ends(143, 10)
        self.assertEqual([], self.box.processes())

    def test_failed_stage_is_tried_again(self):
        self.set_up()
        self.only(a="network", b="storage")
        ran = self.folder / "ran"
        self.stage("a", f"echo x >>'{ran}'")
        self.stage("b", "echo broken; exit 1")
        self.box.run(1)
        self.box.run(1)
        self.stage("b", "echo fine")
        self.box.run()
        self.assertEqual(
            "network start|network done|storage start|storage fail|storage start|storage fail|"
            "storage start|storage done",
            self.in_short(),
        )
        self.assertEqual("x\n", ran.read_text(), "how often the stage ran that was done")

    def test_reboot_in_the_middle_resumes(self):
        self.set_up()
        self.only(a="network", b="storage", c="ready")
        ran = self.folder / "ran"
        self.stage("a", f"echo x >>'{ran}'")
        self.stage("b", self.gate("b") + "echo b")
        self.stage("c", "echo c")
        self.box.start()
        self.reached("b")
        self.waits_for("storage", "start")
        self.box.cut_power()
        self.open("b")
        self.box.run()
        self.assertEqual(
            "network start|network done|storage start|storage start|storage done|ready start|ready done",
            self.in_short(),
        )
        self.told("storage", "start", "stages/b.sh, at most 60 s, attempt 2")
        self.assertEqual("x\n", ran.read_text(), "how often the stage ran that was done")

    # --- what a stage says

    def says(self, texts):
        """Stages that write these bytes; the details that are on record for them."""
        stages = []
        for n, text in enumerate(texts):
            (self.folder / f"detail-{n}").write_bytes(text)
            self.stage(f"d{n}", f"cat '{self.folder}/detail-{n}'")
            stages.append(dict(stage="verify", script=f"stages/d{n}.sh", timeout=20))
        with self.manifest() as m:
            m["stages"] = stages
        self.box.run()
        return [event["detail"] for event in self.events() if event["phase"] == "done"][-len(texts) :]

    def test_hostile_detail_arrives_intact(self):
        self.set_up()
        random.seed(4)
        texts = [
            b"quotes \" \\ ' / $(reboot) `reboot` ${x} %s %n \\n \\u0041",
            b"control \x00\x01\x08\x09\x0b\x0c\x1b[31m\x1f\x7f end",
            b"lines\n\n  and\r\nmore\ttabs",
            "ünïcödé € 🦀 \u2028 \ufeff".encode(),
            b"broken \xff\xfe \xc3( \xe2\x82 \xf0\x9f\xa6 \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 \x80\x80 \xf0",
            b'</script><script>alert(1)</script>","phase":"done"}',
            "€".encode() * 3000,
            b"x" + "🦀".encode() * 2000,
            b"a" * 4096,
            b"a" * 4097,
            b"\x01" * 4096,
            b"\xff" * 9000,
            bytes(range(256)) * 3,
        ]
        for _ in range(12):
            kinds = (lambda: random.randrange(256), lambda: 128 + random.randrange(128), lambda: 34, lambda: 92)
            texts.append(bytes(random.choice(kinds)() for _ in range(random.randrange(2000))))
        for n, (text, got) in enumerate(zip(texts, self.says(texts))):
            expected = text.decode("utf-8", "replace").rstrip("\r\n")
            size = len(got.encode())
            self.assertLessEqual(size, 4096, n)
            if got != expected:
                # Cut: the end of the text, as much of it as fits.
                self.assertEqual("…", got[0], n)
                self.assertTrue(expected.endswith(got[1:]), n)
                if expected[-1] >= " ":
                    self.assertGreater(len(expected.encode()), 4096, n)
                    self.assertGreaterEqual(size, 4090, n)
                else:  # of control characters, whose JSON is six times as long, fewer fit
                    self.assertGreaterEqual(len(json.dumps(got)), 14_900, n)

    def test_detail_is_cut_between_characters(self):
        self.set_up()
        euros, crabs, prefixed = "€".encode() * 4000, b"ab" + "🦀".encode() * 3000, "é".encode() * 4000
        got = self.says([euros, crabs, prefixed])
        self.assertEqual(["…" + "€" * 1364, "…" + "🦀" * 1023, "…" + "é" * 2046], got)
        # What is put before a text is kept.
        self.only(a="network")
        with self.manifest() as m:
            m["stages"][0]["optional"] = True
        self.stage("a", f"cat '{self.folder}/detail-0'; exit 77")
        self.box.remove(self.box.state / "done")
        self.box.run()
        self.assertEqual("skipped: …" + "€" * 1361, self.events()[-1]["detail"])

    def test_endless_output_is_read_from_its_end(self):
        self.set_up()
        self.only(a="network")
        self.stage("a", "seq 1 2000000; echo the end")
        self.box.run()
        self.assertTrue(self.events()[-1]["detail"].endswith("1999999\n2000000\nthe end"))
