"""The form of what a box is given: scripts, program and unit."""

import ast
import re
import subprocess
import sys

from support import ONBOARD, PROGRAM, Case, needs

SCRIPTS = sorted((ONBOARD / "stages").glob("*.sh"))


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

    def test_program_is_short(self):
        text = PROGRAM.read_text()
        self.assertLessEqual(len(text.splitlines()), 580)
        self.assertLessEqual(max(map(len, text.splitlines())), 120)

    def test_program_is_python_3_10_and_needs_nothing_else(self):
        tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 10))
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
        self.assertLessEqual(modules, sys.stdlib_module_names)
        self.assertEqual("#!/usr/bin/python3 -I", PROGRAM.read_text().splitlines()[0])

    def test_help_says_how_it_is_called(self):
        for arguments, code in ((["--help"], 0), (["--no-such"], 1), (["--manifest"], 1)):
            run = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
            self.assertEqual(code, run.returncode, arguments)
            self.assertIn("gb10-onboard --manifest FILE", run.stderr if code else run.stdout)

    def test_box_needs_no_curl(self):
        for file in (PROGRAM, ONBOARD / "README.md", *SCRIPTS):
            self.assertNotRegex(file.read_text(), r"\bcurl\b", file)

    def test_unit_is_valid(self):
        needs("systemd-analyze")
        unit = self.folder / "gb10-onboard.service"
        text = (ONBOARD / "gb10-onboard.service").read_text()
        unit.write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", text))
        run = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        # The two keys that only systemd 254 and later know.
        known = "Unknown key( name)? 'Restart(Steps|MaxDelaySec)'"
        self.assertEqual([], [line for line in run.stderr.splitlines() if not re.search(known, line)])
