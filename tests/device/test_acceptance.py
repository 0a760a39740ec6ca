"""What checks find, from the box to its record: facts, warnings, and a box that is checked again."""

import json
import re
import subprocess

from support import EVERY_STAGE, MAC, NVIDIA_SMI, ONBOARD, PROGRAM, Answers, Case

BASELINE = {"driver": ["580.*"], "kernel": ["6.14.*"]}


class Acceptance(Case):
    def record(self):
        return json.loads(self.server.get(f"/clients/{MAC}"))

    def standing(self):
        """How the server counts its only box."""
        health = json.loads(self.server.get("/healthz"))
        return {name: health[name] for name in ("ready", "on_their_way", "failed", "stalled") if health[name]}

    def choose(self, **choices):
        with self.manifest() as m:
            m.update(choices)

    def keep(self, baseline):
        (self.server.data / "baseline.json").write_text(baseline if isinstance(baseline, str) else json.dumps(baseline))

    def driver(self, version):
        self.box.command("nvidia-smi", NVIDIA_SMI.replace("echo 580.95.05", f"echo {version}"))

    def test_ready_carries_what_was_checked_what_was_waived_and_what_the_box_is(self):
        self.set_up()
        self.box.pci("0007:01:00.0", "0x10ec", "0x8127", "0x020000", "r8169")
        self.box.write("sys/class/nvme/nvme0/model", "FAKE 4T")
        self.choose(checks={"nvme-model": "warn", "xid": "off"}, expect={"nvme_models": ["SAMSUNG *"]})
        self.keep(BASELINE)
        self.box.run()
        self.told("network", "done", "\nwarning: nic-driver: enP7s7: r8169 drives the RTL8127")
        self.told("storage", "done", "\nwarning: nvme-model (waived): nvme0: the model FAKE 4T is none of SAMSUNG *\n4 checks passed; waived: nvme-model")
        self.told("driver", "done", "\n4 checks passed; off: xid")
        self.told("ready", "done", "\n12 checks passed; warned: nic-driver; waived: nvme-model; not judged: rdma-devices")
        record = self.record()
        self.assertEqual(["nic-driver"], [warning["check"] for warning in record["warnings"]["network"]])
        self.assertTrue(record["warnings"]["storage"][0]["waived"])
        self.assertEqual("1984025000123", record["facts"]["serial"])
        self.assertEqual(["r8169", "mlx5_core", "mlx5_core"], [nic["driver"] for nic in record["facts"]["nics"]])

    def test_a_failing_check_ends_its_stage_with_the_reason_first(self):
        self.set_up()
        self.box.command("timedatectl", "echo no")
        self.box.write("sys/devices/pci/0000:01:00.0/net/enp1s0f0np0/speed", "100000")
        self.box.run(1)
        self.assertEqual("network fail", self.story()[-1])
        self.assertTrue(self.events()[-1]["detail"].startswith("connectx-speed: ConnectX p0"), self.events()[-1])
        # Its warnings are on record all the same, and the next run's replace them.
        self.assertEqual(["time-sync"], [warning["check"] for warning in self.record()["warnings"]["network"]])
        self.box.write("sys/devices/pci/0000:01:00.0/net/enp1s0f0np0/speed", "200000")
        self.box.command("timedatectl", "echo yes")
        self.box.run()
        self.assertNotIn("network", self.record().get("warnings", {}))
        self.assertEqual({"ready": 1}, self.standing())

    def test_scripts_of_one_stage_report_their_warnings_together(self):
        """Also over a reboot between them."""
        self.set_up()
        self.only(a="storage", b="storage")
        self.stage("a", "judge site-a 'no label' && echo fine")
        self.stage("b", self.gate("b") + "judge site-b 'wrong place'; echo fine")
        self.choose(checks={"site-a": "warn", "site-b": "warn"})
        self.box.start()
        self.reached("b")
        self.waits_for("storage", "done", "warning: site-a (waived): no label")
        self.box.cut_power()
        self.open("b")
        self.box.run()
        self.assertEqual(["site-a", "site-b"], [warning["check"] for warning in self.record()["warnings"]["storage"]])

    def test_a_stage_of_the_site_fails_by_its_own_check(self):
        self.set_up()
        self.only(a="storage")
        self.stage("a", "echo looked; judge site-a 'no label'; echo no further")
        self.box.run(1)
        self.told("storage", "fail", "site-a: no label")
        self.assertNotIn("no further", self.events()[-1]["detail"])

    def test_gpu_container_is_a_check(self):
        self.set_up()
        self.only(a="verify")
        with self.manifest() as m:
            m["stages"][0]["script"] = "stages/60-verify.sh"
        image = "case $* in 'image inspect '*) exit 0 ;; 'run '*) %s ;; esac"
        for says, choice, phase, text in (
            ("echo 'no GPU'", "fail", "fail", "gpu-container: GPU container (gb10-gpu-check) sees no GPU: no GPU"),
            ("echo broken; exit 125", "fail", "fail", "gpu-container: GPU container (gb10-gpu-check): broken"),
            ("echo broken; exit 125", "warn", "done", "warning: gpu-container (waived): GPU container (gb10"),
        ):
            self.box.command("docker", image % says)
            self.choose(checks={"gpu-container": choice})
            self.box.run(1 if phase == "fail" else 0)
            self.told("verify", phase, text)
        self.assertEqual(["gpu-container"], [warning["check"] for warning in self.record()["warnings"]["verify"]])

    def test_wrong_wishes_are_told_before_any_stage(self):
        self.set_up()
        for choices, text in (
            (dict(checks={"nic-drivr": "warn"}), "manifest.json: checks.nic-drivr is no check: did you mean nic-driver?"),
            (dict(checks={}, expect={"watt": 5}), "expect.watt is nothing that a check looks at: did you mean watts?"),
            (dict(expect=[]), "expect must be an object"),
        ):
            self.choose(**choices)
            self.box.run(1)
            self.told("network", "fail", text)
        self.assertEqual({"network fail"}, set(self.story()))
        self.choose(checks={}, expect={})
        self.box.run()

    # --- the server

    def test_a_server_of_before_gets_the_report_without_what_it_refuses(self):
        answers = Answers(self, "200", "413", "422", "200", "200", "413")
        files = {path: text for path, text in self.files().items()}
        answers.files = files
        self.make_box(f"http://127.0.0.1:{answers.port}")
        self.box.command("timedatectl", "echo no")
        self.box.run()
        sent = [(status, body["stage"], body["phase"], "facts" in body, "warnings" in body) for status, body in answers.log]
        self.assertEqual(
            [
                ("200", "verify", "start", False, False),
                ("413", "verify", "done", True, True),
                ("422", "verify", "done", False, True),
                ("200", "verify", "done", False, False),
                ("200", "ready", "start", False, False),
                ("413", "ready", "done", True, False),
                ("200", "ready", "done", False, False),
            ],
            sent,
        )

    def files(self):
        """The onboarding files, with a manifest of what is judged last, and that with a warning."""
        files = {file.name: file.read_text() for file in [*ONBOARD.glob("*.py"), *ONBOARD.glob("gb10-onboard-*")]}
        for name in ("stages/60-verify.sh", "stages/70-ready.sh"):
            files[name] = (ONBOARD / name).read_text()
        files["stages/60-verify.sh"] = files["stages/60-verify.sh"].replace("$(checks)", '$(GB10_RECHECK="network verify" checks)')
        stages = [dict(stage="verify", script="stages/60-verify.sh"), dict(stage="ready", script="stages/70-ready.sh")]
        files["manifest.json"] = json.dumps({"version": 1, "stages": stages})
        return files

    def test_a_server_without_judges_has_its_own_stages_run(self):
        """As after a downgrade: the box's program is newer than the server."""
        answers = Answers(self)
        answers.files = {
            "manifest.json": json.dumps({"version": 1, "stages": [{"stage": "network", "script": "a.sh"}]}),
            "a.sh": "echo as before",
        }
        self.make_box(f"http://127.0.0.1:{answers.port}")
        self.box.run()
        self.assertEqual("as before", answers.log[-1][1]["detail"])
        self.assertIn("going on without judge.py", self.box.said())

    def test_a_box_from_before_the_checks_walks_the_stages_of_a_newer_server(self):
        """As where the server is upgraded between the installation of a box and its first start."""
        program = self.folder / "gb10-onboard"
        text = re.sub(r"(?m)^(checks|judge)\(\) \{[^\0]*?\}\"?; \}\n", "", PROGRAM.read_text())
        program.write_text(text.replace("GB10_JUDGE=", "OF_ANOTHER_NAME="))
        program.chmod(0o755)
        self.assertNotRegex(program.read_text(), r"(?m)^(checks|judge)\(\)|GB10_JUDGE=")
        self.set_up(program=program)
        self.payload("gpu-check.tar", b"an image", "/opt/gb10/images/gpu-check.tar")
        self.box.run()
        self.assertEqual(EVERY_STAGE, self.in_short())
        self.told("network", "done", "\nnot checked: the gb10-onboard of this box is from before the checks")
        self.told("verify", "done", "GPU container (site/gpu-check:7): GPU 0: NVIDIA GB10")

    def test_no_box_passes_for_want_of_a_baseline_that_is_there(self):
        self.set_up()
        self.keep("{")
        self.server.stop()
        self.server.start()
        self.box.run(1)
        self.assertEqual(["network fail"], self.story())
        self.told("network", "fail", "baseline.json cannot be had: baseline.json:")
        self.keep(BASELINE)
        self.box.run()
        self.assertEqual({"ready": 1}, self.standing())

    # --- checked again

    def test_recheck_reports_verify_and_ready_alone(self):
        self.set_up()
        self.box.run()
        before = len(self.story())
        for _ in range(2):
            self.run_again()
        self.assertEqual(["verify start", "verify done", "ready start", "ready done"] * 2, self.story()[before:])
        self.told("verify", "start", "stages/60-verify.sh, at most 900 s")
        self.assertNotIn("attempt", self.events()[-4]["detail"])
        # All that is judged at all.
        self.told("verify", "done", "12 checks passed; not judged: nvme-model, rdma-devices")
        self.assertEqual({"ready": 1}, self.standing())

    def run_again(self, code=0):
        with open(self.box.log, "ab") as log:
            run = subprocess.run([self.box.program, "--recheck"], env=self.box.environment(), stdout=log, stderr=log, timeout=60)
        self.assertEqual(code, run.returncode, self.box.said()[-2000:])

    def test_a_baseline_that_a_box_leaves_by_an_upgrade_is_told(self):
        self.set_up()
        self.keep(BASELINE)
        self.box.run()
        self.assertEqual({"ready": 1}, self.standing())
        self.driver("590.44.01")
        self.run_again(1)
        self.assertEqual("verify fail", self.story()[-1])
        self.told("verify", "fail", "baseline-driver: 590.44.01: the baseline allows driver 580.*")
        self.assertEqual("590.44.01", self.record()["facts"]["driver"])
        self.assertEqual({"failed": 1}, self.standing())
        metrics = self.server.get("/metrics").decode()
        self.assertIn('gb10_drift_devices{field="driver"} 1', metrics, re.findall("gb10_drift.*", metrics))
        self.assertIn("outside the baseline", self.server.log.read_text())
        # The upgrade is accepted: then so is the box.
        self.keep({"driver": ["580.*", "590.*"]})
        self.run_again()
        self.assertEqual({"ready": 1}, self.standing())

    def test_every_stages_checks_are_judged_again(self):
        self.set_up()
        self.box.run()
        for path, text, said in (
            ("sys/devices/pci/0000:01:00.0/net/enp1s0f0np0/speed", "50000", "connectx-speed: "),
            ("proc/self/mountinfo", "1 1 0:9 / / rw - overlay overlay rw", "root-disk: "),
        ):
            was = (self.box.root / path).read_text()
            self.box.write(path, text)
            self.run_again(1)
            self.told("verify", "fail", said)
            self.assertEqual({"failed": 1}, self.standing())
            self.box.write(path, was.strip())
        self.box.remove("bin/nvidia-smi")
        self.run_again(1)
        self.told("verify", "fail", "gpu-model: nvidia-smi names no GPU")

    def test_a_warning_is_over_when_its_check_passes_again(self):
        self.set_up()
        self.only(a="network", b="network", c="verify", d="ready")
        with self.manifest() as m:
            for n, script in enumerate(("10-network", None, "60-verify", "70-ready")):
                if script:
                    m["stages"][n]["script"] = f"stages/{script}.sh"
            m["checks"] = {"site-rack": "warn"}
        self.stage("b", "judge site-rack 'no label'")
        self.box.command("timedatectl", "echo no")
        self.box.pci("0007:01:00.0", "0x10ec", "0x8127", "0x020000", "r8169")
        self.box.run()
        self.assertEqual("network: nic-driver time-sync site-rack", self.warned())
        # What cannot be judged again is as it was.
        self.box.remove("bin/timedatectl")
        self.run_again()
        self.assertEqual("network: time-sync site-rack; verify: nic-driver", self.warned())
        self.box.command("timedatectl", "echo yes")
        self.run_again()
        # The one that is still so is of verify now; the site's own was not made again.
        self.assertEqual("network: site-rack; verify: nic-driver", self.warned())
        self.assertEqual({"ready": 1}, self.standing())

    def warned(self):
        lists = self.record()["warnings"]
        return "; ".join(f"{stage}: " + " ".join(w["check"] for w in lists[stage]) for stage in sorted(lists))

    def test_a_box_that_is_not_ready_is_not_checked_again(self):
        self.set_up()
        self.run_again(1)
        self.assertIn("this box is not ready yet: gb10-onboard takes it there", self.box.said())
        self.assertFalse((self.box.state / "tmp").exists())

    def test_a_wrong_manifest_fails_a_recheck_in_verify(self):
        self.set_up()
        self.box.run()
        (self.onboard / "manifest.json").write_text("{")
        self.run_again(1)
        self.assertEqual("verify fail", self.story()[-1])
        self.told("verify", "fail", "manifest.json: not JSON")

    def test_the_timer_is_in_place_and_not_enabled(self):
        self.set_up()
        units = self.box.root / "etc/systemd/system"
        units.mkdir(parents=True)
        self.box.run()
        self.assertEqual(["gb10-onboard-recheck.service", "gb10-onboard-recheck.timer"], sorted(p.name for p in units.iterdir()))
        for unit in units.iterdir():
            self.assertEqual((self.onboard / unit.name).read_text(), unit.read_text())
        self.assertEqual("daemon-reload\ndaemon-reload\n", (self.box.root / "systemctl.asked").read_text())
