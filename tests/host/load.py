#!/usr/bin/env python3
"""Heartbeats at a steady rate, each over a new connection, until SIGTERM.

    load.py URL RATE RESULT

Each heartbeat has a detail of its own and is sent until it is acknowledged, as a
device does. RESULT gets, as JSON, how many connections were tried and refused,
when others broke, the acknowledged details, and the longest wait for one.
"""

import http.client
import json
import os
import signal
import sys
import time
import urllib.parse

PATIENCE_SECONDS = 30


class Load:
    def __init__(self, url):
        self.server = urllib.parse.urlsplit(url).netloc
        self.acknowledged = []
        self.connections = self.refused = self.unavailable = 0
        self.broken = []
        self.longest_wait = 0.0

    def beat(self, detail):
        body = json.dumps({"stage": "payload", "phase": "progress", "detail": detail})
        began = time.monotonic()
        while not self.send(body):
            time.sleep(0.01)
        self.acknowledged.append(detail)
        self.longest_wait = max(self.longest_wait, time.monotonic() - began)

    def send(self, body):
        """One attempt, on a new connection: whether it was acknowledged."""
        self.connections += 1
        connection = http.client.HTTPConnection(self.server, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", "/heartbeat", body, {"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
        except ConnectionRefusedError:
            self.refused += 1
            return False
        except (OSError, http.client.HTTPException) as reason:
            self.broken.append((time.time(), str(reason)))
            return False
        finally:
            connection.close()
        if answer.status == 503:
            self.unavailable += 1
        elif answer.status != 200:
            sys.exit(f"unexpected status {answer.status}")
        return answer.status == 200


def main():
    url, rate, result = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    load = Load(url)
    name = os.path.basename(result)
    due = time.monotonic()
    number = 0
    while not stop:
        load.beat(f"{name}-{number}")
        number += 1
        due = max(due + 1 / rate, time.monotonic() - 1)
        time.sleep(max(0, due - time.monotonic()))
    with open(result, "w", encoding="utf-8") as file:
        json.dump(vars(load), file)


main()
