# SPDX-License-Identifier: BSD-2-Clause
"""P1, P2: each process ends at each of its named points (base/crash_point.h) once, under load, while the backend comes and
goes. The oracle is that of test_kill.py: every message with a 250 is at the backend, and no duplicate is silent."""
import itertools
import json
import random
import re
import threading
import time
from collections import defaultdict

from harness import ADDRESS, LOADGEN, QUICK, Client, Node, make_message, our_received, program, reference_in, wait_until
from test_kill import journal_of, judge
from world import Process

# The n-th time that a point is reached, in quick form and full.
OFTEN, SOMETIMES, SELDOM = (20, 200), (4, 12), (1, 1)
POINTS = {
    "worker-before-dot": OFTEN, "worker-behind-dot": OFTEN, "worker-heard-backend": OFTEN, "worker-answered": OFTEN,
    "worker-commit-asked": OFTEN, "worker-committed": OFTEN, "worker-prepared": SOMETIMES, "worker-resolved": SELDOM,
    "lane-before-write": OFTEN, "lane-written": OFTEN, "lane-synced": OFTEN, "lane-published": OFTEN,
    "large-written": SELDOM, "large-synced": SELDOM,
    "segment-made": SOMETIMES, "segment-given": SOMETIMES, "segment-before-footer": SELDOM, "segment-sealed": SELDOM,
    "parent-before-giving": SOMETIMES, "parent-behind-giving": SOMETIMES,
    "state-before-commit": SOMETIMES, "state-behind-commit": SOMETIMES,
    "control-before-rename": SELDOM, "control-behind-rename": SELDOM,
    "keeper-offered": SOMETIMES, "keeper-before-dot": SOMETIMES, "keeper-behind-dot": SOMETIMES,
    "keeper-heard-deliverer": SOMETIMES, "keeper-synced": SOMETIMES,
    "keeper-before-removal": SELDOM, "keeper-behind-removal": SELDOM,
    "ledger-before-write": SOMETIMES, "ledger-written": SOMETIMES, "checkpoint-written": SELDOM, "checkpoint-named": SELDOM,
    "deliverer-before-dot": SOMETIMES, "deliverer-heard-backend": SOMETIMES, "deliverer-before-telling": SOMETIMES,
}
MESSAGES, RATE = (1500, 60) if QUICK else (24000, 200)
ORDER_S = 150  # relayctl itself waits for 70 s at most for each 500 messages
SIDE_IDS = 10_000_000  # X-Test-Id of messages that are not the load generator's


class CrashNode(Node):
    """Its daemons are started again whenever they have ended, without the points that were reached."""

    def __init__(self):
        super().__init__(settings={"backend-connect-timeout": "2s"}, start=False)
        self.rnd = random.Random(20261130)
        self.start_database()
        self.keep_up()

    def reached(self):
        return {line.rpartition("name=")[2] for line in self.log_text().splitlines() if " crash-point " in line}

    def keep_up(self):
        for daemon in (self.relayd, self.spoolmgr):
            if daemon.alive:
                continue
            left = sorted(set(POINTS) - self.reached())
            daemon._forget()
            daemon.env.update(POSTERN_TEST_CHECKPOINT_BYTES="20000", POSTERN_TEST_CRASH=",".join(
                f"{name}:{self.rnd.randint(1, POINTS[name][not QUICK])}" for name in left))
            Process.start(daemon)  # it may end before it is ready


class Side(threading.Thread):
    """Beside the load: messages with one recipient whom the backend defers, for prepared records, and large ones."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ends, self.journal = port, threading.Event(), {}

    def run(self):
        number = SIDE_IDS
        while not self.ends.wait(0.05):
            number += 1
            body = b"large" * 60 + b"\r\n"
            content = make_message(test_id=number, body=body * 4000 if number % 9 == 0 else b"Hello.\r\n")
            try:
                with Client(self.port, timeout=60) as client:
                    client.ehlo()
                    reply = client.send(content, rcpts=("user1@acme.example", "later@acme.example"))
                    self.journal[number] = (reply.code, reply.text, 1)
            except (OSError, ValueError):  # a process has died
                pass


class Tide(threading.Thread):
    """The backend goes away and comes back."""

    def __init__(self, backend):
        super().__init__(daemon=True)
        self.backend, self.ends = backend, threading.Event()

    def run(self):
        while not self.ends.wait(2):
            self.backend.stop()
            self.ends.wait(1)
            self.backend.start()


class Retries(threading.Thread):
    """Some wait for an hour behind an unanswered dot. A keeper may end with the order, which waits for the next one."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.ends = node, threading.Event()

    def run(self):
        while not self.ends.wait(3):
            self.node.relayctl("spool", "retry", "--all", check=False, timeout=ORDER_S)


def id_in(content):
    return int(re.search(rb"X-Test-Id: (\d+)", content).group(1))


def is_refused(content):
    """Half of those beside the load, so that prepared records are cancelled."""
    return bool(content) and id_in(content) > SIDE_IDS and id_in(content) % 2 == 0


def copies_at(backend):
    copies = defaultdict(list)
    for message in backend.taken:
        if message.rcpts:
            copies[id_in(message.content), tuple(message.rcpts)].append(reference_in(our_received(message.content)))
    return copies


def test_P1_P2_nothing_is_lost_at_any_point(world_of, backend, tmp_path):
    node = world_of(CrashNode())
    node.add_customer("acme", "acme.example", backend.endpoint, "--max-connections-per-hour", "none",
                      "--max-messages-per-connection", "none")
    node.postgres.sql("UPDATE postern.customers SET live_4xx = 'keep'")
    # Known valid, and so kept when deferred, whatever is lost with the state process.
    node.relayctl("recipient", "add", "later@acme.example")
    turn, defer = itertools.count(), [True]
    backend.script["rcpt"] = lambda s, line: "450 4.2.0 later" if defer[0] and "<later@" in line and next(turn) % 2 else None
    backend.script["dot"] = lambda s, content: "554 5.6.0 no" if is_refused(content) else None
    wait_until(lambda: node.send(make_message(test_id=0), rcpts="user1@acme.example").code == 250, 30)
    node.wait_until_probed()
    journal_file = tmp_path / "journal"
    load = Process([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", MESSAGES, "--connections", 20,
                    "--per-connection", 5, "--recipients", 20, "--size", 4000, "--retry", 2000, "--retry-pause", 200,
                    "--timeout", 60, "--rate", RATE, "--journal", journal_file], tmp_path / "loadgen.log").start()
    helpers = Side(node.port), Tide(backend), Retries(node)
    side = helpers[0]
    for thread in helpers:
        thread.start()
    began = time.monotonic()
    while load.alive or (set(POINTS) - node.reached() and time.monotonic() - began < (60 if QUICK else 180)):
        node.keep_up()
        time.sleep(0.1)
    for thread in helpers:
        thread.ends.set()
    while any(thread.is_alive() for thread in helpers):
        node.keep_up()
        time.sleep(0.1)
    defer[0] = False
    result = json.loads(load.text().splitlines()[-1])
    assert result["accepted"] == MESSAGES, result
    for daemon in (node.relayd, node.spoolmgr):
        daemon.env["POSTERN_TEST_CRASH"] = ""
        daemon.stop()
        daemon.start()
    node.relayctl("spool", "retry", "--all", check=False, timeout=ORDER_S)  # some wait for an hour behind an unanswered dot
    wait_until(lambda: not node.spool(), 100, "the spool has drained", pause=0.5)
    copies, rcpts_of = copies_at(backend), defaultdict(list)
    for (number, rcpts), refs in copies.items():
        rcpts_of[number] += rcpts
    possible, load_journal = node.possible_duplicates(), journal_of(journal_file)
    lost, silent = judge(load_journal, {n: refs for (n, _), refs in copies.items() if 0 < n < SIDE_IDS}, possible)
    assert not lost, f"{len(lost)} with a 250 are not at the backend: {lost[:10]}"
    assert not silent, f"{len(silent)} have duplicates that nobody logged: {dict(list(silent.items())[:10])}"
    half = {n: rcpts_of[n] for n, (code, _, _) in side.journal.items()
            if code == 250 and n % 2 and set(rcpts_of[n]) != {"user1@acme.example", "later@acme.example"}}
    assert not half, f"of {len(half)} recipients are missing: {dict(list(half.items())[:10])}"
    missed = set(POINTS) - node.reached()
    print(f"{len(node.reached())} points; {result['retries']} retries; {len(side.journal)} beside; "
          f"{sum(len(refs) - 1 for refs in copies.values())} further copies, all logged")
    assert not missed, f"not reached: {sorted(missed)}"
