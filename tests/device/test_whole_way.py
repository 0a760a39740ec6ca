"""From a fresh box to ready, and what its hardware may lack."""

import contextlib
import shutil
import subprocess

from support import EVERY_STAGE, MAC, Case, needs


class WholeWay(Case):
    def test_whole_way_to_ready(self):
        self.set_up()
        self.box.run()
        self.assertEqual(EVERY_STAGE, self.in_short())
        self.told("network", "done", f"enP7s7: 10 Gb/s, driver r8127, {MAC}")
        self.told("network", "done", "ConnectX: 2 interfaces, 1 with a link; the server sees this box as 127.0.0.1")
        self.told("storage", "done", "nvme0 (SAMSUNG MZALC4T0HBL1-00B07, firmware NXA74W1Q); nvme0n1 4096 GB;")
        self.told("driver", "done", "nvidia-smi: NVIDIA GB10, 580.95.05; kernel module 580.95.05; PCI 000f:01:00.0")
        self.told("container_runtime", "done", "docker 28.3.3; runtimes: io.containerd.runc.v2 nvidia runc")
        self.told("payload", "done", "no payloads in the manifest")
        self.told("verify", "done", "GPU container: not run, no image is staged")
        self.told("verify", "done", "1 checks passed; not judged: load, power-limited, throttle, baseline-bios")
        self.told("ready", "done", "12 checks passed; not judged: nvme-model, rdma-devices")
        self.told("ready", "done", "6 stages before this one; failed units: fwupd.service")
        self.assertNotIn("memory", (self.box.root / "nvidia-smi.asked").read_text())
        self.no_process_is_left()

        # Once: a second run finds the stamp.
        self.box.run()
        self.assertEqual(14, len(self.story()))

    def test_whole_way_under_busybox(self):
        needs("busybox")
        self.set_up()
        self.box.tools("busybox")
        file = self.payload("x.tar", 300_000, "/opt/x.tar")
        self.box.run()
        self.assertEqual(EVERY_STAGE, self.in_short())
        self.assertEqual(file.read_bytes(), (self.box.root / "opt/x.tar").read_bytes())
        self.no_process_is_left()

    def test_drop_in_is_added_and_replaced(self):
        self.set_up()
        (self.onboard / "site").mkdir()
        (self.onboard / "site/15-rack.sh").write_text('echo "rack 7, position 3"\n')
        (self.onboard / "site/storage.sh").write_text('echo "our own check of the disk"\n')
        with self.manifest() as m:
            m["stages"].insert(1, dict(stage="network", script="site/15-rack.sh", timeout=5))
            m["stages"][2]["script"] = "site/storage.sh"
            m["site"] = {"unknown": ["fields", "are", {"left": "alone"}]}
        self.box.run()
        self.assertEqual(
            EVERY_STAGE.replace("network done", "network done|network start|network done"), self.in_short()
        )
        self.told("network", "done", "rack 7, position 3")
        self.told("storage", "done", "our own check of the disk")

    # --- hardware

    def absent(self, stage, text):
        """The run fails there, and says so, and goes no further."""
        self.box.run(1)
        self.told(stage, "fail", f"absent: {text}")
        self.assertEqual(f"{stage} fail", self.story()[-1])

    def test_absent_port(self):
        self.set_up()
        self.box.remove(
            "sys/devices/pci/0007:01:00.0", "sys/bus/pci/devices/0007:01:00.0", "sys/class/net/enP7s7"
        )  # fmt: skip
        self.absent("network", "no RTL8127 (RJ45 port, enP7s7) on the PCI bus")

    def test_absent_disk(self):
        self.set_up()
        self.box.remove("sys/class/nvme")
        self.absent("storage", "no NVMe disk")

    def test_absent_gpu(self):
        self.set_up()
        self.box.remove("sys/devices/pci/000f:01:00.0", "sys/bus/pci/devices/000f:01:00.0", "bin/nvidia-smi")
        self.absent("driver", "no NVIDIA GPU on the PCI bus, and no nvidia-smi")

    def test_absent_container_runtime(self):
        self.set_up()
        self.box.remove("bin/docker")
        self.absent("container_runtime", "neither docker nor containerd is installed")

    def test_optional_hardware_is_skipped(self):
        self.set_up()
        self.box.remove("sys/class/nvme", "bin/docker")
        with self.manifest() as m:
            m["stages"][1]["optional"] = m["stages"][3]["optional"] = True
        self.box.run()
        self.assertEqual(EVERY_STAGE, self.in_short())
        self.told("storage", "done", "skipped: no NVMe disk")
        self.told("container_runtime", "done", "skipped: neither docker nor containerd")
        self.told("verify", "done", "GPU container: not run, there is no docker")

    def test_optional_hardware_that_is_broken_fails(self):
        """Optional is for what is absent: what is there and broken fails all the same."""
        self.set_up()
        with self.manifest() as m:
            m["stages"][1]["optional"] = True
        self.box.write("sys/class/nvme/nvme0/state", "dead")
        self.box.run(1)
        self.told("storage", "fail", "nvme0 (SAMSUNG MZALC4T0HBL1-00B07): its state is dead, not live")

    def fails(self, stage, text, **variables):
        self.box.run(1, **variables)
        self.told(stage, "fail", text)

    def test_faults_of_the_hardware_are_named(self):
        """Each fault is repaired before the next run, which goes on at the stage that failed."""
        self.set_up()
        box, port = self.box, self.box.sys / "devices/pci/0007:01:00.0"
        kept = self.folder / "kept"
        kept.mkdir()
        shutil.move(port / "net", kept / "net")
        self.fails("network", "RTL8127 at 0007:01:00.0: driver r8127 is bound, but there is no network interface")
        (port / "driver").rename(kept / "driver")
        self.fails("network", "RTL8127 at 0007:01:00.0: no driver is bound to it")
        (kept / "net").rename(port / "net")
        (kept / "driver").rename(port / "driver")
        box.write(port / "net/enP7s7/address", "00:00:00:00:00:00")
        self.fails("network", "enP7s7 (r8127): its MAC is all zero, a fault of the driver")
        box.port("enP7s7", "0007:01:00.0", MAC, 0, -1)
        self.fails("network", f"enP7s7 (r8127, {MAC}): no link (operstate down)")
        box.port("enP7s7", "0007:01:00.0", MAC, 1, 1000)

        self.fails("storage", "MiB free on", GB10_LEAST_FREE_MIB="999999999")
        self.told("network", "done", "enP7s7: 1000 Mb/s, of the 10000 that the port can do")
        box.write("sys/block/nvme0n1/ro", "1")
        self.fails("storage", "nvme0n1: the disk has become read-only")
        box.write("sys/block/nvme0n1/ro", "0")

        nvidia_smi = (box.bin / "nvidia-smi").rename(kept / "nvidia-smi")
        self.fails("driver", "PCI 000f:01:00.0 (0x10de/0x2e12) is there, but nvidia-smi is not")
        box.command("nvidia-smi", 'echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18')
        self.fails("driver", "nvidia-smi does not answer for PCI 000f:01:00.0 (0x10de/0x2e12): Failed to initialize NVML")
        nvidia_smi.rename(box.bin / "nvidia-smi")

        docker = (box.bin / "docker").rename(kept / "docker")
        box.command("docker", 'echo "Cannot connect to the Docker daemon"; exit 1')
        self.fails("container_runtime", "docker does not answer: Cannot connect to the Docker daemon")
        box.command("docker", "echo runc")
        self.fails("container_runtime", "the NVIDIA runtime is not registered (registered: runc)")
        box.remove("bin/docker")
        box.command(
            "containerd", "case $1 in config) echo nothing ;; *) echo containerd github.com/containerd 1.7.28 ;; esac"
        )
        self.fails("container_runtime", "containerd 1.7.28: the NVIDIA runtime is not registered")
        docker.rename(box.bin / "docker")
        box.run()
        done = [line.split()[0] for line in self.story() if line.endswith(" done")]
        self.assertEqual("network storage driver container_runtime payload verify ready", " ".join(done))

    def test_gpu_container_is_run_where_an_image_is_staged(self):
        self.set_up()
        self.payload("gpu-check.tar", 5000, "/opt/gb10/images/gpu-check.tar")
        self.box.run()
        self.told("verify", "done", "GPU container (site/gpu-check:7): GPU 0: NVIDIA GB10")
        asked = (self.box.root / "docker.asked").read_text()
        self.assertRegex(asked, r"(?m)^run .*--gpus all .*site/gpu-check:7 nvidia-smi -L")

        self.box.command(
            "docker",
            'case $1 in load) echo "Loaded image: x" ;; run) echo "could not select device driver"; exit 125 ;; esac',
        )
        self.box.remove(self.box.state / "done", self.box.state / "stamps/stages%60-verify.sh")
        self.fails("verify", "GPU container (x): could not select device driver")

    # --- the configuration

    def test_wrong_configuration_is_named(self):
        self.set_up()
        conf = self.box.root / "etc/gb10-onboard.conf"
        conf.unlink()
        self.box.run(1)
        self.assertIn('gb10-onboard.conf: PROVISION_URL is "": expected one like http://', self.box.said())
        # Quotes, spaces and a slash at the end do no harm.
        conf.write_bytes(f'# by hand\nPROVISION_URL="{self.server.url}/"  \r\n MAC=\'{MAC}\'\n'.encode())
        self.box.run()
        self.told("ready", "done", "")

    def test_two_at_once_are_not_possible(self):
        self.set_up()
        self.only(a="network")
        self.stage("a", self.gate("a"))
        self.box.start()
        first = self.box.process
        self.reached("a")
        self.box.run(1)
        self.assertIn("another gb10-onboard is running", self.box.said())
        self.open("a")
        self.assertEqual(0, first.wait(60))

    def test_every_installed_python_walks_the_whole_way(self):
        """What is shown for the system's own Python holds for the others that Ubuntu has had since."""
        self.set_up()
        file = self.payload("x.tar", 300_000, "/opt/x.tar")
        pythons = []
        for minor in range(10, 15):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ask = [f"python3.{minor}", "-c", "import sys; print(sys.executable)"]
                pythons.append(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
        if not pythons:
            self.skipTest("no Python 3.10 to 3.14 is installed")
        program = self.box.program.read_text()
        self.box.program = self.folder / "gb10-onboard"
        for python in pythons:
            self.box.program.write_text(program.replace("/usr/bin/python3", python, 1))
            self.box.program.chmod(0o755)
            events = len(self.events())
            self.box.run()
            story = [line for line in self.story()[events:] if not line.endswith(" progress")]
            self.assertEqual(EVERY_STAGE, "|".join(story), python)
            self.assertEqual(file.read_bytes(), (self.box.root / "opt/x.tar").read_bytes())
            self.box.remove("opt", self.box.state)
