"""The checks: each passes on a box that is well, and trips for the fault that it is there for.

Boxes are fixtures: trees of files, and commands that say what the documentation of the real ones has.
Each check has a mutation here that it must catch; one without fails the suite.
"""

import json
import subprocess
import sys

from support import NVIDIA_SMI, ONBOARD, SYSTEMCTL, Case

JUDGE = ONBOARD / "judge.py"

# All that a site can ask for, so that every check has something to judge.
EXPECT = {
    "nvme_models": ["SAMSUNG MZALC4T0*", "ESL04TBTLCZ*"],
    "rdma": True,
    # Until it was looked at four times.
    "load": """
        : >"$GB10_ROOT/under-load"; : >"$GB10_ROOT/nvidia-smi.asked"
        until awk '/clocks_/ { n++ } END { exit n < 4 }' "$GB10_ROOT/nvidia-smi.asked"; do sleep 0.1; done
        rm "$GB10_ROOT/under-load"
    """,
    "load_seconds": 1,
    "clock_mhz": 2000,
    "watts": 50,
}
BASELINE = {
    "kernel": ["6.14.0-*-nvidia"], "driver": ["580.95.*", "581.*"], "bios": ["5.36_*"], "ec": ["2.7[0-9]"],
    "nic_firmware": ["rtl8127a*", "28.45.*"], "nvme_firmware": ["NXA74W1Q"], "os_release": ["Ubuntu 24.04.? LTS"],
    "dgx_release": ["7.3.*"],
}  # fmt: skip


def smartctl(**fields):
    """One that says so."""
    log = {"temperature": 41, "percentage_used": 1, **fields}
    passed = log.pop("passed", True)
    said = {"smart_status": {"passed": passed}, "nvme_smart_health_information_log": log}
    return lambda box: box.command("smartctl", f"echo '{json.dumps(said)}'\nexit 8")


def nvidia_smi(old, new):
    assert old in NVIDIA_SMI, old
    return lambda box: box.command("nvidia-smi", NVIDIA_SMI.replace(old, new))


def write(path, text):
    return lambda box: box.write(path, text)


def command(name, script):
    return lambda box: box.command(name, script)


def r8169(box):
    box.remove("bin/ethtool")
    box.pci("0007:01:00.0", "0x10ec", "0x8127", "0x020000", "r8169")


def on_a_stick(box):
    box.disk("sda", "8:0", size="60000000")
    box.partition("sda", "sda2", "8:2")
    box.write("proc/self/mountinfo", "28 1 8:2 / / rw - ext4 /dev/sda2 rw")


XID = "[ $6 = --lines=1000 ] && echo '[ 12.3] NVRM: Xid (PCI:000f:01:00): 79, GPU has fallen off the bus.'"
PORT, CAGE = "sys/devices/pci/0007:01:00.0/net/enP7s7", "sys/devices/pci/0000:01:00.0/net/enp1s0f0np0"
UNDER_LOAD = "2418, 3003, 71.30, 68, 0x0"

# By the name of a check: what is done to a box that is well, and what the check says then.
MUTATIONS = {
    "nic-driver": (r8169, "enP7s7: r8169 drives the RTL8127"),
    "nic-speed": (write(f"{PORT}/speed", "2500"), "enP7s7: a link of 2500 Mb/s, expected 10000"),
    "connectx-speed": (write(f"{CAGE}/speed", "100000"), "ConnectX p0 (enp1s0f0np0): 100000 Mb/s, expected 200000"),
    "time-sync": (command("timedatectl", "echo no"), "the clock is not synchronised"),
    "nvme-health": (smartctl(passed=False), "nvme0 (SAMSUNG MZALC4T0HBL1-00B07): SMART says that it is failing"),
    "nvme-wear": (smartctl(percentage_used=91), "worn by 91 %, at most 90 are accepted"),
    "nvme-model": (write("sys/class/nvme/nvme0/model", "FAKE 4T"), "nvme0: the model FAKE 4T is none of SAMSUNG"),
    "free-space": ({"GB10_LEAST_FREE_MIB": "999999999"}, "MiB free on"),
    "root-disk": (on_a_stick, "/ is on sda+sda2, expected nvme*"),
    "gpu-model": (nvidia_smi("'NVIDIA GB10' GPU", "'NVIDIA RTX 6000' GPU"), "the GPU is NVIDIA RTX 6000, expected *GB10*"),
    "xid": (command("journalctl", XID), "the last: Xid (PCI:000f:01:00): 79, GPU has fallen off the bus."),
    "persistence-mode": (nvidia_smi("Enabled", "Disabled"), "the persistence mode is off"),
    "rdma-devices": (lambda box: box.remove("dev/infiniband/uverbs0"), "no /dev/infiniband/uverbs*"),
    "rdma-memlock": (command("systemctl", SYSTEMCTL.replace("infinity", "8388608")), "docker.service has no LimitMEMLOCK"),
    "load": ({"load": "echo burnt down; exit 7"}, "the load failed with status 7: burnt down"),
    "power-limited": (nvidia_smi(UNDER_LOAD, "850, 3003, 29.8, 51, 0x0"), "850 MHz, 30 W, 51 °C under load, expected at"),
    "throttle": (nvidia_smi(UNDER_LOAD, "2418, 3003, 71, 96, 0x48"), "slowed down by hw_slowdown, hw_thermal_slowdown"),
    "ota": (command("check_ota_status.py", "echo 'Torn updates: 1'"), "an update is torn (1)"),
    "baseline-kernel": (write("proc/sys/kernel/osrelease", "6.17.0-1-generic"), "6.17.0-1-generic: the baseline allows kernel"),
    "baseline-driver": (nvidia_smi("echo 580.95.05", "echo 590.1"), "590.1: the baseline allows driver 580.95.*, 581.*"),
    "baseline-bios": (write("sys/class/dmi/id/bios_version", "5.40"), "5.40: the baseline allows bios"),
    "baseline-ec": (write("sys/class/dmi/id/ec_firmware_release", "2.6"), "2.6: the baseline allows ec 2.7[0-9]"),
    "baseline-nic": (command("ethtool", "echo 'firmware-version: 1.0'"), "1.0: the baseline allows nic_firmware"),
    "baseline-nvme": (write("sys/class/nvme/nvme0/firmware_rev", "OLD"), "OLD: the baseline allows nvme_firmware NXA"),
    "baseline-os": (write("etc/os-release", 'PRETTY_NAME="Ubuntu 26.04 LTS"'), "Ubuntu 26.04 LTS: the baseline allows"),
    "baseline-dgx": (write("etc/dgx-release", 'DGX_SWBUILD_VERSION="7.2.3"'), "7.2.3: the baseline allows dgx_release"),
}  # fmt: skip


def listed(kind):
    """What judge.py knows: of checks stage, default and words by name, of `expect` kind, default and words."""
    run = subprocess.run([sys.executable, "-I", JUDGE, "--list"], capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in run.stdout.splitlines()]
    return {name: rest for this, name, *rest in rows if this == kind}


CHECKS = listed("check")
BY_SCRIPT = {"gpu-container", "fabric"}  # test_gpu_container… and test_fabric.py have their mutations


class Checks(Case):
    def setUp(self):
        super().setUp()
        self.make_box("http://127.0.0.1:9")
        (self.box.state / "tmp").mkdir(parents=True)
        self.warnings = self.box.state / "warnings"

    def judge(self, *arguments, checks={}, expect=EXPECT, baseline=BASELINE, **variables):
        """The status and output of judge.py."""
        box, tmp = self.box, self.box.state / "tmp"
        (tmp / "choices.json").write_text(json.dumps({"checks": checks, "expect": expect}))
        (tmp / "baseline.json").write_text(baseline if isinstance(baseline, str) else json.dumps(baseline))
        self.warnings.unlink(missing_ok=True)
        environment = box.environment(
            GB10_SYS=str(box.sys), GB10_STATE=str(box.state), GB10_WARNINGS=str(self.warnings),
            GB10_STAGE=arguments[0], **{"GB10_LOAD_GRACE": "60", **variables},
        )  # fmt: skip
        run = subprocess.run([sys.executable, "-I", JUDGE, *arguments], env=environment, capture_output=True, text=True)
        self.assertEqual("", run.stderr)
        return run.returncode, run.stdout

    def result(self, name):
        return json.loads((self.box.state / "checked.json").read_text())[name][0]

    def warned(self):
        if not self.warnings.exists():
            return []
        checks = [json.loads(line) for line in self.warnings.read_text().splitlines()]
        return [check for check in checks if "reason" in check]

    def test_every_check_has_a_mutation_that_it_must_catch(self):
        self.assertEqual(set(CHECKS), set(MUTATIONS) | BY_SCRIPT)

    def is_caught(self, name):
        stage, default, _ = CHECKS[name]
        mutation, reason = MUTATIONS[name]
        # A box that is well passes it, having been looked at.
        self.assertEqual(0, self.judge(stage)[0])
        self.assertEqual("passed", self.result(name))
        others = {other for other in CHECKS if CHECKS[other][0] == stage} - {name} - BY_SCRIPT

        more, expect = {}, EXPECT
        if callable(mutation):
            mutation(self.box)
        elif next(iter(mutation)).isupper():
            more = mutation
        else:
            expect = {**EXPECT, **mutation}
        if name == "load":
            others -= {"power-limited", "throttle"}  # of a load that is over at once nothing is known

        # By default.
        status, said = self.judge(stage, expect=expect, **more)
        first = said.splitlines()[0]
        self.assertEqual((1, "failed") if default == "fail" else (0, "warned"), (status, self.result(name)), said)
        self.assertIn(reason, said)
        self.assertTrue(first.startswith(f"{name}: " if default == "fail" else f"warning: {name}: "), said)
        self.assertEqual({"passed"}, {self.result(other) for other in others} | {"passed"}, said)
        # By the choice of the site: the other two.
        status, said = self.judge(stage, checks={name: "warn"}, expect=expect, **more)
        waived = {"waived": True} if default == "fail" else {}
        warned = [warning for warning in self.warned() if warning["check"] == name]
        self.assertEqual([{"check": name, "reason": warned[0]["reason"], **waived}], warned)
        self.assertIn(reason, warned[0]["reason"])
        if others == {other for other in CHECKS if CHECKS[other][0] == stage} - {name} - BY_SCRIPT:
            self.assertEqual(0, status, said)
        if default == "warn":
            self.assertEqual(1, self.judge(stage, checks={name: "fail"}, expect=expect, **more)[0])
        status, said = self.judge(stage, checks={name: "off"}, expect=expect, **more)
        self.assertEqual("off", self.result(name))
        self.assertIn(f"off: {name}", said)

    # --- what one mutation does not show

    def trips(self, name, reason, **options):
        _, said = self.judge(CHECKS[name][0], **options)
        self.assertIn(self.result(name), ("failed", "warned"), said)
        self.assertIn(reason, said)

    def passes(self, name, result="passed", **options):
        _, said = self.judge(CHECKS[name][0], **options)
        self.assertEqual(result, self.result(name), said)

    def test_what_cannot_be_known_is_not_judged(self):
        for tool in "smartctl timedatectl ethtool journalctl check_ota_status.py systemctl".split():
            self.box.remove(f"bin/{tool}")
        self.box.remove("sys/class/dmi/id/bios_version", "etc/dgx-release", "proc/self/mountinfo")
        for name in "nvme-health nvme-wear time-sync xid root-disk rdma-memlock".split():
            self.passes(name, "not judged")
        self.judge("verify", expect={})
        for name in "ota baseline-bios baseline-nic baseline-dgx load power-limited throttle gpu-container".split()[:-1]:
            self.assertEqual("not judged", self.result(name), name)

    def test_what_has_vanished_does_not_pass(self):
        """As a recheck looks at it, where no stage has looked before."""
        self.box.remove("sys/class/nvme", "sys/class/net/enP7s7", "bin/nvidia-smi")
        self.trips("nvme-health", "no NVMe disk is there")
        self.trips("nic-speed", "the RJ45 port (RTL8127) is not there")
        self.trips("gpu-model", "nvidia-smi names no GPU")
        self.trips("power-limited", "no figures under load, expected at least 2000 MHz and 50 W", expect={**EXPECT, "load": "sleep 1.5"})

    def test_nothing_passes_for_a_fault_of_its_check(self):
        for broken in ("{", "[]", "nul", '{"kernel": 5}', '{"kernel": [5]}'):
            self.trips("baseline-kernel", "baseline-kernel: could not be judged: ", baseline=broken)
        self.box.command("check_ota_status.py", "echo everything is fine")
        self.trips("ota", "does not say whether an update is torn: everything is fine")

    def test_without_a_baseline_or_wishes_a_good_box_passes(self):
        for stage in "network storage driver container_runtime verify".split():
            self.assertEqual(0, self.judge(stage, expect={}, baseline={})[0])
        self.assertEqual([], self.warned())

    def test_root_is_found_through_what_lies_on_the_disk(self):
        box = self.box
        # A logical volume on a partition.
        box.disk("dm-0", "252:0", size="100")
        (box.sys / "block/dm-0/slaves").mkdir()
        box.link("../../nvme0n1/nvme0n1p2", box.sys / "block/dm-0/slaves/nvme0n1p2")
        box.write("proc/self/mountinfo", "28 1 252:0 / / rw - ext4 /dev/mapper/root rw")
        self.passes("root-disk")
        # btrfs, whose number is of no device.
        (box.sys / "class/block").mkdir()
        box.link("../../block/nvme0n1/nvme0n1p2", box.sys / "class/block/nvme0n1p2")
        box.write("proc/self/mountinfo", "28 1 0:31 /@ / rw - btrfs /dev/nvme0n1p2 rw,subvol=/@")
        self.passes("root-disk")
        # What was mounted over it last counts.
        box.write("proc/self/mountinfo", "1 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n2 1 0:9 / / rw - overlay overlay rw")
        self.trips("root-disk", "/ is on overlay, expected nvme*")
        self.passes("root-disk", expect={**EXPECT, "root": "*"}, checks={"root-disk": "off"}, result="off")

    def test_health_by_nvme_cli_where_there_is_no_smartctl(self):
        self.box.remove("bin/smartctl")
        log = {"critical_warning": 0, "temperature": 314, "percent_used": 1}
        for said, name, result in (
            (log, "nvme-health", "passed"),
            ({**log, "critical_warning": 4}, "nvme-health", "failed"),
            ({**log, "critical_warning": {"value": 0, "spare": 0}}, "nvme-health", "passed"),
            ({**log, "critical_warning": {"value": 1}}, "nvme-health", "failed"),
            ({**log, "percent_used": 99}, "nvme-wear", "failed"),
            ({"temperature": 314, "percentage_used": 99}, "nvme-wear", "failed"),
            ({"temperature": 314}, "nvme-health", "not judged"),
        ):
            self.box.command("nvme", f"[ \"$1 $2\" = 'smart-log /dev/nvme0' ] && echo '{json.dumps(said)}'")
            self.passes(name, result)

    def test_xid_errors_that_programs_cause_are_let_pass(self):
        line = "echo 'kernel: NVRM: Xid (PCI:000f:01:00): 31, pid=812, name=python3, MMU Fault'"
        self.box.command("journalctl", line)
        self.passes("xid")
        self.trips("xid", "Xid (PCI:000f:01:00): 31", expect={**EXPECT, "xid_ignored": [13]})

    def test_a_load_that_hangs_is_ended(self):
        status, said = self.judge("verify", expect={**EXPECT, "load": "echo begun; exec sleep 600"}, GB10_LOAD_GRACE="3")
        self.assertEqual(1, status)
        self.assertIn("load: the load did not end within 4 s: begun", said)
        self.no_process_is_left()

    def test_a_load_is_a_payload_at_its_place(self):
        expect = {name: value for name, value in EXPECT.items() if name != "load"}
        self.passes("load", "not judged", expect=expect)
        self.box.write("opt/gb10/load", "#!/bin/sh\necho $GB10_LOAD_SECONDS >$GB10_ROOT/asked\n" + EXPECT["load"])
        (self.box.root / "opt/gb10/load").chmod(0o755)
        self.passes("power-limited", expect=expect)
        self.assertEqual("1\n", (self.box.root / "asked").read_text())
        facts = json.loads((self.box.state / "facts.json").read_text())
        self.assertLessEqual({"clock_mhz": 2418, "power_w": 71, "temperature_c": 68}.items(), facts["load"].items())

    def test_a_box_that_is_at_work_is_put_under_no_load_again(self):
        self.box.command("nvidia-smi", NVIDIA_SMI.replace("*compute-apps*) ;;", "*compute-apps*) echo 812 ;;"))
        again = dict(GB10_RECHECK="network storage driver container_runtime verify")
        self.passes("load", "not judged", **again)
        self.passes("load")  # at the first time it is nobody's yet

    def test_a_floor_that_nobody_can_read_is_no_pass(self):
        old, new = "*clocks_event_reasons.active*)", "*clocks_event_reasons.active*) echo 'NVIDIA GB10, x, [N/A], [N/A], [N/A], [N/A], [N/A]'; exit ;; *nothing*)"
        self.box.command("nvidia-smi", NVIDIA_SMI.replace(old, new))
        self.trips("power-limited", "no figures under load, expected at least 2000 MHz and 50 W")
        self.assertEqual("not judged", self.result("throttle"))

    def test_drivers_of_before_name_throttle_reasons_otherwise(self):
        script = NVIDIA_SMI.replace("clocks_event_reasons", "clocks_throttle_reasons")
        self.box.command("nvidia-smi", script.replace(UNDER_LOAD, "900, 3003, 30, 60, 0x84"))
        self.trips("throttle", "sw_power_cap")
        self.assertEqual("failed", self.result("power-limited"))

    def test_a_site_has_checks_of_its_own(self):
        self.assertEqual((1, "site-rack: no label\n0 checks passed; failed: site-rack\n"), self.judge("--say", "site-rack", "no label"))
        status, said = self.judge("--say", "site-rack", "no label", checks={"site-rack": "warn"})
        self.assertEqual((0, "warning: site-rack (waived): no label"), (status, said.splitlines()[0]))
        self.assertEqual([{"check": "site-rack", "reason": "no label", "waived": True}], self.warned())
        self.assertEqual((0, ""), self.judge("--say", "site-rack", ""))
        status, said = self.judge("--say", "rack", "x")
        self.assertEqual(1, status)
        self.assertIn("checks.rack is no check", said)

    def test_reasons_are_short_and_of_one_line(self):
        self.judge("--say", "site-a", "line\nline \t " + "€" * 400, checks={"site-a": "warn"})
        reason = self.warned()[0]["reason"]
        self.assertTrue(reason.startswith("line line €"))
        self.assertLessEqual(len(reason.encode()), 500)

    def test_wrong_wishes_are_told_with_what_was_meant(self):
        self.assertEqual((0, ""), self.judge("--try"))
        for checks, expect, said in (
            ({"nic-drivr": "warn"}, {}, "checks.nic-drivr is no check: did you mean nic-driver?"),
            ({"nic-driver": "ignore"}, {}, "checks.nic-driver must be fail, warn or off"),
            ({"site-": "warn"}, {}, "checks.site- is no check"),
            ({"nic-driver": ["warn"]}, {}, "checks.nic-driver must be"),
            ({}, {"clock_mgz": 5}, "expect.clock_mgz is nothing that a check looks at: did you mean clock_mhz?"),
            ({}, {"clock_mhz": "5"}, "expect.clock_mhz must be a whole number"),
            ({}, {"clock_mhz": 5.5}, "expect.clock_mhz must be a whole number"),
            ({}, {"clock_mhz": -1}, "expect.clock_mhz must be a whole number"),
            ({}, {"clock_mhz": True}, "expect.clock_mhz must be a whole number"),
            ({}, {"nvme_models": "SAMSUNG*"}, "expect.nvme_models must be a list of 1 to 64 texts"),
            ({}, {"nvme_models": []}, "expect.nvme_models must be a list of 1 to 64 texts"),
            ({}, {"rdma": 1}, "expect.rdma must be true or false"),
            ({}, {"xid_ignored": [True]}, "expect.xid_ignored must be a list of 1 to 64 whole numbers"),
            ({}, {"gpu": ""}, "expect.gpu must be a text of 1 to 1000 characters"),
        ):
            status, told = self.judge("--try", checks=checks, expect=expect)
            self.assertEqual((1, True), (status, said in told), told)

    def test_the_readme_has_every_check_and_every_wish(self):
        text = (ONBOARD / "README.md").read_text()
        for name, (stage, default, words) in CHECKS.items():
            self.assertIn(f"| `{name}` | {stage} | {default} | {words} |", text)
        for name, (_, default, words) in listed("expect").items():
            shown = f"`{default}`" if default != "null" else ""
            self.assertIn(f"| `{name}` | {words} | {shown} |", text)


for check in MUTATIONS:
    method = f"test_{check.replace('-', '_')}_is_caught"
    setattr(Checks, method, lambda self, check=check: self.is_caught(check))
