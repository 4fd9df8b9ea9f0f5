# SPDX-License-Identifier: BSD-2-Clause
"""P8: a process that stands still holds up nobody else."""
import os
import signal
import time

import pytest

from harness import Client, Node, make_message, wait_until

SESSIONS = 24
QUICK_ENOUGH = 1.5  # seconds; a session of a stopped worker waits until it is replaced


@pytest.fixture
def busy(world_of, backend):
    node = world_of(Node(settings={"workers": 3}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    node.relayctl("customer", "set", "acme", "--max-connections-per-hour", "none", check=False)
    return node


def timed(client, line):
    """Seconds until the answer, or None: none in time, or the connection is gone."""
    began = time.monotonic()
    client.socket.settimeout(QUICK_ENOUGH)
    try:
        client.cmd(line)
        return time.monotonic() - began
    except (OSError, ConnectionError, ValueError):
        return None


def test_P8_a_stopped_worker_slows_no_other_and_is_replaced(busy, backend):
    clients = [Client(busy.port) for _ in range(SESSIONS)]
    for client in clients:
        client.ehlo()
    workers = busy.relayd.workers()
    assert len(workers) == 3
    os.kill(workers[0], signal.SIGSTOP)
    times = [timed(client, "NOOP") for client in clients]
    alive = [client for client, t in zip(clients, times) if t is not None]
    assert len(alive) >= SESSIONS / 3, "most sessions stand still with one of three workers stopped"
    for client in alive:
        client.socket.settimeout(QUICK_ENOUGH)
        began = time.monotonic()
        assert client.send(make_message()).code == 250
        assert time.monotonic() - began < QUICK_ENOUGH
    wait_until(lambda: workers[0] not in busy.relayd.workers() and len(busy.relayd.workers()) == 3, 20, "it has been replaced")
    assert busy.relayd.log_lines("worker-silent")
    for _ in range(SESSIONS):
        assert busy.send(make_message()).code == 250
    for client in clients:
        client.close()


@pytest.mark.parametrize("name", ["state", "control"])
def test_P8_mail_passes_while_a_helper_process_stands_still(busy, backend, name):
    assert busy.send(make_message()).code == 250
    pid = busy.relayd.child(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(10):
            began = time.monotonic()
            assert busy.send(make_message()).code == 250
            assert time.monotonic() - began < QUICK_ENOUGH
    finally:
        if pid in busy.relayd.children():
            os.kill(pid, signal.SIGCONT)


def test_P1_mail_is_accepted_while_spoolmgr_stands_still(busy, backend):
    backend.stop()
    pids = busy.spoolmgr.tree()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for n in range(20):
            reply = busy.send(make_message(test_id=n))
            assert reply.code == 250 and "queued until" in reply.text
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    backend.start()
    wait_until(lambda: len(backend.taken) >= 20, 60, "all are delivered")
