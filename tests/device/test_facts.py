"""What a box says that it is, from fixtures: trees of files, and commands that say what real ones do."""

import json
import random
import subprocess
import sys
import time

from support import ONBOARD, Case

FACTS = {
    "product": "NVIDIA_DGX_Spark", "serial": "1984025000123", "uuid": "5d1a4c0e-0000-4000-8000-3c6d660a1b2c",
    "bios": "5.36_0ACUM018", "ec": "2.75", "secure_boot": True, "os": "Ubuntu", "os_release": "Ubuntu 24.04.3 LTS",
    "dgx_release": "7.2.3", "dgx_ota": "7.3.1", "kernel": "6.14.0-1015-nvidia",
    "cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.14.0-1015-nvidia root=UUID=5d1a ro quiet", "driver": "580.95.05",
    "cuda": "13.0", "container_runtime": "docker 28.3.3", "container_toolkit": "1.17.8",
    "nics": [
        {"name": "enP7s7", "mac": "3c:6d:66:0a:1b:2c", "driver": "r8127", "speed_mbps": 10000, "pci": "0007:01:00.0",
         "firmware": "rtl8127a-1_0.0.12", "is_up": True},
        {"name": "enp1s0f0np0", "mac": "3c:6d:66:0a:1b:30", "driver": "mlx5_core", "port_name": "p0",
         "speed_mbps": 200000, "pci": "0000:01:00.0", "firmware": "28.45.4028 (NVD0000000087)", "is_up": True},
        {"name": "enp1s0f1np1", "mac": "3c:6d:66:0a:1b:31", "driver": "mlx5_core", "port_name": "p1",
         "pci": "0000:01:00.1", "firmware": "28.45.4028 (NVD0000000087)", "is_up": False},
    ],
    "connectx": [
        {"port_name": "p0", "nics": ["enp1s0f0np0"], "speed_mbps": 200000, "is_cabled": True},
        {"port_name": "p1", "nics": ["enp1s0f1np1"], "is_cabled": False},
    ],
    "nvme": [
        {"name": "nvme0", "model": "SAMSUNG MZALC4T0HBL1-00B07", "firmware": "NXA74W1Q", "size_gb": 4096,
         "health": "passed", "wear_percent": 1, "temperature_c": 41},
    ],
    "memory_gib": 119.7,
    "gpu": {"name": "NVIDIA GB10", "uuid": "GPU-5d1a4c0e", "clock_mhz": 208, "clock_max_mhz": 3003, "power_w": 4.11,
            "temperature_c": 38, "throttle": []},
    "time_synchronized": True, "failed_units": ["fwupd.service"],
    "fwupd": [{"name": "Embedded Controller", "version": "0x02004b03"}],
}  # fmt: skip

# By what is taken away: the facts that are gone then. Everything else stays as it is.
GONE = {
    "bin/check_ota_status.py": set(),
    "bin/docker": {"container_runtime"},
    "bin/ethtool": {"nics.firmware"},
    "bin/fwupdmgr": {"fwupd"},
    "bin/journalctl": set(),
    "bin/nvidia-ctk": {"container_toolkit"},
    "bin/nvidia-smi": {"cuda", "gpu"},
    "bin/smartctl": {"nvme.health", "nvme.wear_percent", "nvme.temperature_c"},
    "bin/systemctl": {"failed_units"},
    "bin/timedatectl": {"time_synchronized"},
    "etc/dgx-release": {"dgx_release", "dgx_ota"},
    "etc/os-release": {"os", "os_release"},
    "proc/cmdline": {"cmdline"},
    "proc/meminfo": {"memory_gib"},
    "proc/self/mountinfo": set(),
    "proc/sys/kernel/osrelease": {"kernel"},
    "sys/block": {"nvme.size_gb"},
    "sys/class/dmi": {"product", "serial", "uuid", "bios", "ec"},
    "sys/class/net": {"nics", "connectx"},
    "sys/class/nvme": {"nvme"},
    "sys/firmware": {"secure_boot"},
    "sys/module": set(),
}


class Facts(Case):
    def setUp(self):
        super().setUp()
        self.make_box("http://127.0.0.1:9")
        self.box.state.mkdir(parents=True)

    def text(self, **variables):
        box = self.box
        environment = box.environment(GB10_SYS=str(box.sys), GB10_STATE=str(box.state), **variables)
        run = subprocess.run(
            [sys.executable, "-I", ONBOARD / "facts.py"], env=environment, capture_output=True, text=True, timeout=60
        )
        self.assertEqual((0, ""), (run.returncode, run.stderr))
        self.assertLessEqual(len(run.stdout.strip()), 32768)
        return run.stdout

    def facts(self, **variables):
        return json.loads(self.text(**variables))

    def test_the_whole_of_a_box(self):
        self.assertEqual(FACTS, self.facts())
        self.assertEqual(json.dumps(FACTS, separators=(",", ":")) + "\n", self.text())

    def test_what_is_absent_is_absent_and_everything_else_stays(self):
        for path, gone in GONE.items():
            with self.subTest(path):
                expected = json.loads(json.dumps(FACTS))
                for name in gone:
                    name, _, inner = name.partition(".")
                    if inner:
                        for thing in expected[name]:
                            del thing[inner]
                    else:
                        del expected[name]
                aside = self.folder / "aside"
                (self.box.root / path).rename(aside)
                self.assertEqual(expected, self.facts())
                aside.rename(self.box.root / path)

    def test_commands_that_fail_or_say_nothing_of_use_tell_nothing(self):
        tools = "nvidia-smi docker ethtool fwupdmgr smartctl systemctl timedatectl nvidia-ctk".split()
        expected = {name: FACTS[name] for name in FACTS if name not in (
            "cuda container_runtime container_toolkit nics nvme gpu time_synchronized failed_units fwupd").split()}
        for script in ("exit 1", "echo; echo", "echo '[N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]'", "echo '[]'", "echo '{\"Devices\": 5}'"):
            for tool in tools:
                self.box.command(tool, script)
            found = self.facts()
            self.assertLessEqual(expected.items(), found.items(), script)
            self.assertLessEqual(set(found) - set(expected), {"nics", "nvme", "failed_units", "gpu"}, script)
            self.assertNotIn("clock_mhz", found.get("gpu", {}))

    def test_no_command_takes_longer_than_its_time(self):
        """Also one whose child holds its output, and one that never stops talking."""
        for script in ("exec sleep 300", "sleep 300 & sleep 300", "exec >&-; exec sleep 300", "while :; do echo x; done"):
            for tool in ("nvidia-smi", "fwupdmgr", "smartctl", "docker"):
                self.box.command(tool, script)
            began = time.monotonic()
            found = self.facts(GB10_COMMAND_SECONDS="0.2")
            self.assertLess(time.monotonic() - began, 20, script)
            self.assertEqual(FACTS["product"], found["product"])
            self.assertNotIn("gpu", found)
            self.box.cut_power()

    def test_whatever_a_box_says_the_document_is_json_that_the_server_takes(self):
        random.seed(20261201)
        box, was = self.box, {}
        files = [path for path in box.root.rglob("*") if path.is_file() and not path.is_symlink() and path.parent != box.bin]
        files = [path for path in files if "etc/gb10-onboard.conf" not in str(path)]
        commands = [path for path in box.bin.iterdir() if not path.is_symlink()]
        was = {path: path.read_bytes() for path in files + commands}
        for n in range(30):
            for path in random.sample(files, 12):
                path.write_bytes(random.choice((noise(60), noise(3000), "🦀€\u2028".encode() * 4000, b"\xff" * 500, b"")))
            for path in random.sample(commands, 6):
                said = random.choice((noise(60), noise(5000), b"[" * 100_000, b'{"Devices": [{"Version": {"a": 1}}]}', b"{" * 9))
                (self.folder / path.name).write_bytes(said)
                path.write_text(f"#!/bin/sh\ncat '{self.folder}/{path.name}'\n")
            found = json.loads(self.text())
            self.assertIsInstance(found, dict)
            for path, content in was.items():
                path.write_bytes(content)

    def test_where_there_is_too_much_the_least_needed_goes_first(self):
        for n in range(80):
            self.box.pci(f"0100:01:{n % 32:02x}.{n // 32}", "0x15b3", "0x1021", "0x020000", "mlx5_core")
            self.box.port(f"port{n}", f"0100:01:{n % 32:02x}.{n // 32}", "3c:6d:66:00:00:01", 1, 200000, f"x{n}" * 40)
        many = [{"Name": "n" * 300, "Version": "v" * 300} for _ in range(200)]
        (self.folder / "many").write_text(json.dumps({"Devices": many}))
        self.box.command("fwupdmgr", f"cat '{self.folder}/many'")
        found = self.facts()
        self.assertNotIn("fwupd", found)
        self.assertEqual((FACTS["serial"], FACTS["nvme"], FACTS["gpu"]), (found["serial"], found["nvme"], found["gpu"]))

    def test_cages_are_one_whichever_path_their_interfaces_take(self):
        self.box.pci("0002:01:00.0", "0x15b3", "0x1021", "0x020000", "mlx5_core")
        self.box.port("enP2p1s0f0np0", "0002:01:00.0", "3c:6d:66:0a:1b:40", 1, 200000, "p0")
        self.assertEqual(["enP2p1s0f0np0", "enp1s0f0np0"], self.facts()["connectx"][0]["nics"])


def noise(length):
    return bytes(random.choice(b'\0\n\r\t "\\{}[]:,0123456789abc\x1b\xc3\xa9') for _ in range(random.randrange(1, length)))
