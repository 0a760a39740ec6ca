#!/usr/bin/env python3
"""Stands in for subiquity, in the installer's system, after cloud-init's work there.

    installer.py EVENTS

EVENTS has what a real subiquity posted to its webhook, an event a line. They are
posted, one after the other, as subiquity does, to the endpoint that the user-data
of this boot names. The late commands of that user-data are run where the recorded
run had its own. What is installed is in /target already; it gets its host name.
"""

import json
import pathlib
import subprocess
import sys
import time
import urllib.request

import yaml

USER_DATA = pathlib.Path("/var/lib/cloud/instance/user-data.txt")
LATE = "subiquity/Late/run_user_supplied"


def post(endpoint, event):
    event = {**event, "timestamp": time.time()}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(endpoint, json.dumps(event).encode(), headers)
    with urllib.request.urlopen(request, timeout=15) as answer:
        if answer.status != 204:
            sys.exit(f"{event['name']}: answered with {answer.status}")


def run(command):
    """As subiquity does: a string is for the shell; a failure aborts the install."""
    command = ["sh", "-c", command] if isinstance(command, str) else command
    subprocess.run(command, check=True)


def main():
    autoinstall = yaml.safe_load(USER_DATA.read_text())["autoinstall"]
    (reporting,) = autoinstall["reporting"].values()
    if reporting["type"] != "webhook":
        sys.exit(f"reporting: {reporting}")
    endpoint = reporting["endpoint"]

    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        event = json.loads(line)
        if event["name"].startswith(f"{LATE}/"):
            continue
        post(endpoint, event)
        if (event["name"], event["event_type"]) != (LATE, "start"):
            continue
        pathlib.Path("/target/etc/hostname").write_text(autoinstall["identity"]["hostname"] + "\n")
        for number, command in enumerate(autoinstall["late-commands"]):
            step = {"origin": "curtin", "level": "DEBUG", "name": f"{LATE}/command_{number}", "description": str(command)}
            post(endpoint, {**step, "event_type": "start"})
            run(command)
            post(endpoint, {**step, "event_type": "finish", "result": "SUCCESS"})


main()
