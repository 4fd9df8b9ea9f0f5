# SPDX-License-Identifier: BSD-2-Clause
"""P1, P2: every process is killed with SIGKILL, several times, under load. The oracle is the sink's file, not a program of ours:

  every message with a 250 is at the backend;
  of the copies of a message, at most one carries a reference that is not logged as possible-duplicate.
"""
import json
import os
import random
import signal
import time
from collections import defaultdict

import pytest

from harness import ADDRESS, LOADGEN, QUICK, Node, SinkBackend, program, wait_until
from world import Process

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it

MESSAGES = 1500 if QUICK else 10000
TIMES = 2 if QUICK else 4
RATE = 60 if QUICK else 120  # so that the load outlasts the kills, and
REPLY_DELAY_MS = 12 if QUICK else 6  # so slow a backend that messages are behind the dot at any moment


def kill_pid(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_child(daemon, name, rnd):
    """One child; the parent starts another."""
    found = daemon.children_named(name)
    if found:
        kill_pid(rnd.choice(found))


def restart(daemon, kill):
    kill()
    daemon.start()


def victims(node, sink):
    """Name and deed of each process that dies."""
    return {
        "worker": lambda rnd: kill_child(node.relayd, "worker", rnd),
        "state": lambda rnd: kill_child(node.relayd, "state", rnd),
        "spf": lambda rnd: kill_child(node.relayd, "relayd-spf", rnd),
        "control": lambda rnd: kill_child(node.relayd, "control", rnd),
        "relayd-parent": lambda rnd: restart(node.relayd, node.relayd.kill),
        "relayd-all": lambda rnd: restart(node.relayd, node.relayd.kill_all),
        "deliverer": lambda rnd: kill_child(node.spoolmgr, "dlv", rnd),
        "keeper": lambda rnd: restart(node.spoolmgr, node.spoolmgr.kill),
        "spoolmgr-all": lambda rnd: restart(node.spoolmgr, node.spoolmgr.kill_all),
        "postgres": lambda rnd: restart(node.postgres, node.postgres.kill),
        "backend": lambda rnd: (sink.kill(), time.sleep(rnd.uniform(0, 1.0)), sink.start()),
    }


def journal_of(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(r[0]): (int(r[1]), r[2], int(r[3])) for r in rows}


def judge(journal, copies, possible):
    """The oracle. copies: X-Test-Id -> references of the copies at the backend. Returns what is wrong."""
    lost = sorted(n for n, (code, _, _) in journal.items() if code // 100 == 2 and n not in copies)
    silent = {n: refs for n, refs in copies.items() if sum(ref not in possible for ref in refs) > 1}
    return lost, silent


@pytest.mark.parametrize("journal, copies, possible, lost, silent", [
    ({1: (250, "A", 1)}, {1: ["A"]}, set(), [], []),
    ({1: (250, "A", 1)}, {}, set(), [1], []),
    ({1: (451, "A", 1)}, {}, set(), [], []),
    ({1: (250, "B", 2)}, {1: ["A", "B"]}, set(), [], [1]),
    ({1: (250, "B", 2)}, {1: ["A", "B"]}, {"A"}, [], []),
    ({1: (250, "A", 1)}, {1: ["A", "A"]}, set(), [], [1]),
    ({1: (250, "A", 1)}, {1: ["A", "A"]}, {"A"}, [], []),
    ({1: (250, "C", 3)}, {1: ["A", "B", "C"]}, {"A"}, [], [1]),
], ids=["one", "lost", "refused", "silent-duplicate", "logged-duplicate", "same-twice", "same-twice-logged", "two-silent"])
def test_the_oracle_sees(journal, copies, possible, lost, silent):
    found_lost, found_silent = judge(journal, copies, possible)
    assert (found_lost, sorted(found_silent)) == (lost, silent)


@pytest.mark.slow
def test_P1_P2_nothing_is_lost_and_no_duplicate_is_silent(world_of, tmp_path):
    rnd = random.Random(20261122)
    sink = world_of(SinkBackend(delay_ms=REPLY_DELAY_MS))
    node = world_of(Node(settings={"backend-connect-timeout": "2s"}))
    node.add_customer("acme", "acme.example", sink.endpoint)
    for limit in ("--max-connections-per-hour", "--max-messages-per-connection"):
        node.relayctl("customer", "set", "acme", limit, "none", check=False)
    journal_file = tmp_path / "journal"
    load = Process([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", MESSAGES, "--connections", 30,
                    "--per-connection", 5, "--recipients", 40, "--size", 4000, "--retry", 2000, "--retry-pause", 200,
                    "--timeout", 60, "--rate", RATE, "--journal", journal_file], tmp_path / "loadgen.log").start()
    deeds = victims(node, sink)
    plan = [name for _ in range(TIMES) for name in rnd.sample(sorted(deeds), len(deeds))]
    killed = defaultdict(int)
    for name in plan:
        time.sleep(rnd.uniform(0.05, 0.6))
        if not load.alive:
            break
        deeds[name](rnd)
        killed[name] += 1
    wait_until(lambda: not load.alive, 600, "the load generator is done", pause=0.2)
    result = json.loads(load.text().splitlines()[-1])
    assert min(killed[name] for name in deeds) >= max(1, TIMES - 1), f"the load was too short: {dict(killed)}, {result}"
    assert result["accepted"] == MESSAGES, result
    assert node.spoolmgr.log_lines("deliverer-died"), "its name is what it was"

    wait_until(lambda: waiting(node) == 0, 300, "the spool has drained", pause=0.5)
    wait_until(quiet(sink), 30, "nothing more arrives", pause=0.5)
    copies = defaultdict(list)
    for message in sink.messages():
        copies[message.test_id].append(message.reference)
    lost, silent = judge(journal_of(journal_file), copies, node.possible_duplicates())
    extra = sum(len(refs) - 1 for refs in copies.values())
    print(f"killed {dict(killed)}; {result['retries']} retries; {extra} duplicates, all logged: {not silent}")
    assert not lost, f"{len(lost)} messages with a 250 are not at the backend: {lost[:10]}"
    assert not silent, f"{len(silent)} messages have duplicates that nobody logged: {dict(list(silent.items())[:10])}"


def waiting(node):
    return sum(1 for row in node.spool() if row.get("open_recipients", 1))


def quiet(sink):
    """True once nothing has come for two seconds."""
    last = {"size": -1, "at": time.monotonic()}

    def check():
        size = sink.file.stat().st_size
        if size != last["size"]:
            last.update(size=size, at=time.monotonic())
        return time.monotonic() - last["at"] > 2
    return check
