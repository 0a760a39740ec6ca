"""The form of what a box is given: scripts, program and unit."""

import ast
import re
import subprocess
import sys

from support import ONBOARD, PROGRAM, Case, needs

SCRIPTS = sorted((ONBOARD / "stages").glob("*.sh"))
MODULES = sorted(ONBOARD.glob("*.py"))


class Form(Case):
    def clean(self, *command):
        run = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((0, ""), (run.returncode, run.stdout + run.stderr), command)

    def test_stages_are_clean(self):
        needs("shellcheck")
        self.clean("shellcheck", *SCRIPTS)

    def test_stages_are_read_by_dash_and_busybox(self):
        needs("dash", "busybox")
        for script in SCRIPTS:
            self.clean("dash", "-n", script)
            self.clean("busybox", "sh", "-n", script)

    def test_programs_are_short(self):
        for file in (PROGRAM, *MODULES):
            lines = file.read_text().splitlines()
            self.assertLessEqual(len(lines), 600 if file == PROGRAM else 320, file)
            self.assertLessEqual(max(map(len, lines)), 120, file)

    def test_programs_are_python_3_10_and_need_nothing_else(self):
        own = {file.stem for file in MODULES}
        self.assertFalse(own & sys.stdlib_module_names, "a module hides one of Python's own")
        for file in (PROGRAM, *MODULES):
            tree = ast.parse(file.read_text(), feature_version=(3, 10))
            modules = set()
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    modules.add(node.module.split(".")[0])
            self.assertLessEqual(modules, sys.stdlib_module_names | (own if file != PROGRAM else set()), file)
        self.assertEqual("#!/usr/bin/python3 -I", PROGRAM.read_text().splitlines()[0])

    def test_what_is_fetched_is_there(self):
        listed = ast.literal_eval(re.search(r"JUDGES = (\([^)]+\))", PROGRAM.read_text())[1]).split()
        there = [file.name for file in MODULES] + [file.name for file in ONBOARD.glob("gb10-onboard-*")]
        self.assertEqual(sorted(there), sorted(listed))

    def test_help_says_how_it_is_called(self):
        for arguments, code in ((["--help"], 0), (["--no-such"], 1), (["--manifest"], 1)):
            run = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
            self.assertEqual(code, run.returncode, arguments)
            self.assertIn("gb10-onboard --manifest FILE", run.stderr if code else run.stdout)

    def test_box_needs_no_curl(self):
        for file in (PROGRAM, ONBOARD / "README.md", *SCRIPTS, *MODULES):
            self.assertNotRegex(file.read_text(), r"\bcurl\b", file)

    def test_units_are_valid(self):
        needs("systemd-analyze")
        for name in ("gb10-onboard.service", "gb10-onboard-recheck.service", "gb10-onboard-recheck.timer"):
            text = (ONBOARD / name).read_text()
            (self.folder / name).write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", text))
        for name in ("gb10-onboard.service", "gb10-onboard-recheck.timer"):
            run = subprocess.run(
                ["systemd-analyze", "verify", self.folder / name], capture_output=True, text=True,
                env={"SYSTEMD_UNIT_PATH": f"{self.folder}:", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
            # The two keys that only systemd 254 and later know.
            known = "Unknown key( name)? 'Restart(Steps|MaxDelaySec)'"
            self.assertEqual([], [line for line in run.stderr.splitlines() if not re.search(known, line)])
