# SPDX-License-Identifier: BSD-2-Clause
"""What the node knows behind a reboot (an empty run-dir), and what it knows of messages that kill its workers."""
import os
import shutil
import signal
import subprocess

import pytest

from harness import ADDRESS, Client, Node, make_message, program, wait_until

SHARED_PROBE = "tests/integration/shared_probe"


def refused_connection(node):
    """Until the hour's connections are used up: how many there were, and the refusal."""
    for n in range(250):
        with Client(node.port) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<a@origin.example>")
            reply = client.cmd("RCPT TO:<user@acme.example>")
            if reply.code != 250:
                return n, reply
            client.cmd("QUIT")
    raise AssertionError("250 connections in an hour, and no limit")


def as_a_reboot_does(node):
    for path in node.dirs["run-dir"].iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def snapshot(node):
    return node.dirs["state-dir"] / "shared.snapshot"


def written_at(node):
    return snapshot(node).stat().st_mtime_ns if snapshot(node).exists() else 0


def events(daemon, event):
    return [line for line in daemon.log_lines(event) if f" {event} " in line]


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_P9_the_hours_connections_are_still_used(acme, end):
    count, reply = refused_connection(acme)
    assert 100 < count <= 200 and (reply.code, reply.enhanced) == (451, "4.7.1"), (count, str(reply))
    if end == "stopped":
        acme.stop()
    else:
        for _ in range(2):  # the first may have been begun before the last one was counted
            written = written_at(acme)
            refused_connection(acme)  # is counted as a refusal, and so makes for another snapshot
            wait_until(lambda: written_at(acme) > written, 10, "the second is over")
        acme.relayd.kill_all()
        acme.spoolmgr.stop()
    as_a_reboot_does(acme)
    acme.relayd.start()
    acme.spoolmgr.start()
    assert events(acme.relayd, "snapshot-restored")
    count, reply = refused_connection(acme)
    assert count == 0 and (reply.code, reply.enhanced) == (451, "4.7.1"), (count, str(reply))


def test_a_restart_within_a_boot_needs_no_snapshot(acme):
    refused_connection(acme)
    acme.relayd.stop()
    snapshot(acme).unlink()
    acme.relayd.start()
    assert refused_connection(acme)[0] == 0
    assert not events(acme.relayd, "snapshot-restored") and not events(acme.relayd, "snapshot-ignored")
    wait_until(lambda: snapshot(acme).exists(), 10, "and there is one again")


def test_P5_a_damaged_snapshot_is_ignored_and_said(acme, backend):
    assert acme.send(make_message(test_id=0)).code == 250
    acme.stop()
    content = bytearray(snapshot(acme).read_bytes())
    for name, damaged in (("torn", content[:-3]), ("empty", b""), ("foreign", b"x" * 5000), ("zeroes", bytes(len(content)))):
        said = len(events(acme.relayd, "snapshot-ignored"))
        as_a_reboot_does(acme)
        snapshot(acme).write_bytes(damaged)
        acme.relayd.start()
        assert len(events(acme.relayd, "snapshot-ignored")) == said + 1, name
        assert acme.send(make_message(test_id=1)).code == 250, name
        acme.relayd.stop()
    assert len(snapshot(acme).read_bytes()) > 36, "and a good one has taken its place"


def test_P8_a_message_at_which_two_workers_die_is_answered_in_advance(world_of, backend):
    node = world_of(Node(settings={"workers": 1}))
    node.add_customer("acme", "acme.example", backend.endpoint)

    def answer(rcpt="user@acme.example", sender="killer@origin.example"):
        with Client(node.port, source=ADDRESS) as client:
            client.ehlo()
            client.cmd(f"MAIL FROM:<{sender}>")
            return client.cmd(f"RCPT TO:<{rcpt}>")

    def die(signo):
        (worker,) = node.relayd.workers()
        subprocess.run([program(SHARED_PROBE), node.dirs["run-dir"] / "shared", "0", ADDRESS, "killer@origin.example",
                        "user@acme.example"], check=True)
        os.kill(worker, signo)
        wait_until(lambda: node.relayd.workers() not in ([worker], []), 20, "another one")
        wait_until(lambda: node.serves("acme.example"), 20, "that serves")

    assert answer().code == 250
    die(signal.SIGKILL)  # by somebody's hand: no fault
    die(signal.SIGABRT)
    assert answer().code == 250 and not events(node.relayd, "suspect-message")
    die(signal.SIGSTOP)  # silent, and killed for it
    assert len(events(node.relayd, "suspect-message")) == 1
    reply = answer()
    assert (reply.code, reply.enhanced) == (451, "4.3.0"), reply
    assert answer(rcpt="other@acme.example").code == 250
    assert answer(sender="another@origin.example").code == 250
