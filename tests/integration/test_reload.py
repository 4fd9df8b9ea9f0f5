# SPDX-License-Identifier: BSD-2-Clause
"""P8, P1: SIGHUP under load: nobody is refused, reset or made to wait, and no message is lost."""
import signal
import time

import pytest

from crowd import Crowd
from harness import QUICK, Client, Node, SinkBackend, make_message, process_gone, wait_until
from world import release_build

TIMES = 3 if QUICK else 20  # each is 8 -> 2 -> 8
RATE = 200  # connections a second, one message each
MANY, FEW = 8, 2
OLD_END_WITHIN = 30 + 5  # seconds: RETIRE_MS of parent_reload.c, and what a busy machine takes


def make_relay(world_of, build=None):
    sink = world_of(SinkBackend())
    node = world_of(Node(build=build, settings={"workers": MANY, "backend-connections": 64}))
    node.add_customer("acme", "acme.example", sink.endpoint, "--max-connections-per-hour", "none")
    return node, sink


@pytest.fixture
def relay(world_of):
    """A node of MANY workers, its customer, and the sink behind it."""
    return make_relay(world_of)


@pytest.fixture
def quick_relay(world_of):
    """The same, without sanitizers if there is such a build: a client that the machine is too slow for hears 421 in the end."""
    return make_relay(world_of, release_build())


def reload(node, **settings):
    """SIGHUP with another file. Returns the workers of before, when only new ones are there."""
    before = node.relayd.workers()
    node.write_config(**settings)
    node.relayd.signal(signal.SIGHUP)

    def only_new_ones():
        now = node.relayd.workers()
        return len(now) == node.settings["workers"] and not set(now) & set(before)
    wait_until(only_new_ones, OLD_END_WITHIN, f"{node.settings['workers']} new workers, the old ones gone", pause=0.05)
    return before


def all_served(counts, crowd, sink):
    """Each client had its 250, in time; and each message is at the backend, once."""
    assert counts["accepted"] == counts["begun"] and not counts["losses"], str(counts)
    assert set(counts["replies"]) == {"banner 220", "ehlo 250", "mail 250", "rcpt 250", "data 354", "dot 250", "quit 221"}, counts
    ids = sorted(m.test_id for m in sink.messages() if m.test_id)
    assert ids == sorted(crowd.accepted_ids), "lost or doubled messages"


@pytest.mark.slow
def test_P8_workers_change_under_load_and_no_client_notices(quick_relay):
    node, sink = quick_relay
    crowd = Crowd(node.port, clients=2000, total=10 ** 6, rate=RATE, sources=200, timeout=30, limit=600)
    with crowd:
        wait_until(lambda: crowd.count()["accepted"] > RATE, 30, "the load runs")
        for _ in range(TIMES):
            for workers in (FEW, MANY):
                before = crowd.count()
                reload(node, workers=workers)
                wait_until(lambda: crowd.count()["begun"] > before["begun"] + RATE // 2, 30, "clients come", pause=0.1)
        counts = crowd.stop()
    print(f"{2 * TIMES} reloads, {counts['begun']} connections, p99 {counts['p99_ms']} ms, the slowest {counts['max_ms']} ms")
    all_served(counts, crowd, sink)
    assert not node.relayd.log_lines("child-overdue") and not node.relayd.log_lines("stopped-late")
    assert not [line for line in node.relayd.log_lines("child-ended") if " alarm " in line]


@pytest.mark.slow
def test_P8_reloads_in_a_hurry(quick_relay):
    """A reload before the last one has come to its end waits for it, and the last file wins."""
    node, sink = quick_relay
    with Crowd(node.port, clients=2000, total=10 ** 6, rate=RATE, sources=200, timeout=30, limit=300) as crowd:
        wait_until(lambda: crowd.count()["accepted"] > RATE, 30, "the load runs")
        before = set(node.relayd.workers())
        for n in range(3 * TIMES):
            node.write_config(workers=FEW + n % 3)
            node.relayd.signal(signal.SIGHUP)
            begun = crowd.count()["begun"]
            wait_until(lambda: crowd.count()["begun"] > begun + RATE // 10, 30, "clients come")
        node.write_config(workers=5)
        node.relayd.signal(signal.SIGHUP)
        wait_until(lambda: len(node.relayd.workers()) == 5 and not before & set(node.relayd.workers()), OLD_END_WITHIN,
                   "five workers", pause=0.05)
        counts = crowd.stop()
    all_served(counts, crowd, sink)


def test_P8_a_bad_file_changes_nothing_and_is_explained(relay):
    node, sink = relay
    workers = node.relayd.workers()
    good = node.config_file.read_text()
    for text, said in [(good.replace('workers = "8"', 'workers = "eight"'), "workers"), (good + "nonsense = 1\n", "nonsense"),
                       (good.replace("listen = {", 'listen = {"127.0.0.1:1", '), "listen"), (good + "hostname = \n", "line")]:
        assert text != good
        seen = len(node.relayd.log_lines("reload-refused"))
        node.config_file.write_text(text)
        node.relayd.signal(signal.SIGHUP)
        line = wait_until(lambda: node.relayd.log_lines("reload-refused")[seen:], 10, "it is refused")[0]
        assert said in line and "nothing has changed" in line, line
    node.config_file.unlink()
    seen = len(node.relayd.log_lines("reload-refused"))
    node.relayd.signal(signal.SIGHUP)
    line = wait_until(lambda: node.relayd.log_lines("reload-refused")[seen:], 10, "it is refused")[0]
    assert str(node.config_file) in line, line
    assert node.relayd.workers() == workers and node.send(make_message()).code == 250
    node.config_file.write_text(good)
    reload(node)


def test_P8_an_old_worker_ends_within_its_time_whatever_its_clients_do(relay):
    """One client between messages hears 421; one in the middle of its message may end it; one that stalls in it does not
    keep the worker for ever."""
    node, sink = relay
    with Client(node.port, timeout=60) as idle, Client(node.port, timeout=60) as busy, Client(node.port, timeout=60) as stalled:
        idle.ehlo()
        for client in (busy, stalled):
            client.ehlo()
            for line in ("MAIL FROM:<sender@origin.example>", "RCPT TO:<user@acme.example>", "DATA"):
                assert client.cmd(line).code // 100 in (2, 3)
            client.write("X-Test-Id: 7\r\n")
        before = node.relayd.workers()
        node.write_config(workers=FEW)
        began = time.monotonic()
        node.relayd.signal(signal.SIGHUP)
        assert idle.reply().code == 421
        assert busy.content(make_message()).code == 250
        assert busy.reply().code == 421
        assert stalled.reply().code == 421
        wait_until(lambda: all(process_gone(pid) for pid in before), OLD_END_WITHIN, "the old workers have ended", pause=0.1)
        print(f"the old workers ended after {time.monotonic() - began:.1f} s")
    assert node.send(make_message()).code == 250


def test_P8_a_stop_in_the_middle_of_a_reload_ends_at_once(world_of):
    """The reload has told the state process to go; the stop must still tell the spf process, which the parent waits for."""
    node = world_of(Node(settings={"workers": 1}))
    with Client(node.port) as client:
        client.ehlo()
        node.relayd.signal(signal.SIGHUP)
        wait_until(lambda: node.relayd.log_lines("reloading"), 10, "it reloads", pause=0.02)
        began = time.monotonic()
        node.relayd.signal(signal.SIGTERM)
        wait_until(lambda: not node.relayd.alive, 60, "it has ended")
    assert time.monotonic() - began < 20, "not only when its children are killed for being late"
    assert not [line for line in node.relayd.log_lines("child-ended") if "signal=9" in line]
