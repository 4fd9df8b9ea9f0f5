# SPDX-License-Identifier: BSD-2-Clause
"""A spool that is an older copy of itself: what has been delivered since the copy was made must not go out again unasked."""
import shutil

import pytest

from harness import Node, make_message, wait_until

OWN_POSTGRES = True  # it is stopped here


MESSAGES = 5


@pytest.fixture
def restored(world_of, backend):
    """Five messages waited when a copy was made, and were delivered behind it; then the copy was brought back. The keeper is away."""
    node = world_of(Node(settings={"workers": 1, "probe-interval-min": "1s"}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    backend.stop()
    for number in range(MESSAGES):
        assert node.send(make_message(test_id=number)).code == 250
    wait_until(lambda: seen(node), 10, "PostgreSQL has seen the log")
    node.stop()
    copy = node.folder / "copy"
    shutil.copytree(node.dirs["spool-dir"], copy)
    node.relayd.start()
    node.spoolmgr.start()
    before = seen(node)
    backend.start()
    wait_until(lambda: len(backend.taken) == MESSAGES, 30, "all are delivered")
    wait_until(lambda: seen(node) != before, 10, "PostgreSQL has seen that")
    node.stop()
    bring_back(node, copy)
    node.relayd.start()
    return node


def bring_back(node, copy):
    spool = node.dirs["spool-dir"]
    for path in spool.iterdir():
        path.unlink()
    for path in copy.iterdir():
        shutil.copy2(path, spool)
        shutil.chown(spool / path.name, node.user.pw_name if node.user else None)


def seen(node):
    return node.postgres.sql("SELECT ledger, octets FROM postern.spool_logs")


def alarms(node):
    return node.spoolmgr.log_lines("spool-older")


def test_P2_an_older_copy_delivers_nothing_until_it_is_accepted(restored, backend):
    node = restored
    node.spoolmgr.start()
    wait_until(lambda: alarms(node), 10, "the keeper has noticed")
    assert node.send(make_message(test_id=6)).code == 250  # live mail goes on
    assert len(backend.taken) == 6
    shown = node.relayctl("node", "show", check=False)
    assert shown.returncode == 1 and "accept-spool" in shown.stderr and "refused" in shown.stdout
    assert len(node.relayctl_json("spool", "list")) == 5
    assert "older copy" in node.relayctl("status", check=False).stdout

    # A restart without PostgreSQL knows it still; so does one pass.
    node.spoolmgr.stop()
    node.postgres.stop()
    once = node.spoolmgr.once()
    assert once.returncode == 1
    node.spoolmgr.start()
    node.postgres.start()
    assert len(backend.taken) == 6 and len(node.relayctl_json("spool", "list")) == 5

    assert node.relayctl("node", "accept-spool", check=False).returncode == 2  # no reason
    assert node.relayctl("node", "accept-spool", "--node", "7", "--reason", "x", check=False).returncode == 3
    assert node.relayctl("node", "accept-spool", "--node", "all", "--reason", "x", check=False).returncode == 2

    # Nor does a PostgreSQL that has forgotten it make it good.
    node.spoolmgr.stop()
    node.postgres.sql("DELETE FROM postern.spool_logs")
    node.spoolmgr.start()
    wait_until(lambda: seen(node), 10, "it is known again, as refused")
    assert len(backend.taken) == 6
    node.relayctl("node", "accept-spool", "--reason", "the disk was lost")
    wait_until(lambda: len(backend.taken) == 11, 30, "it is delivered")
    assert len(node.spoolmgr.log_lines("possible-duplicate")) == 5
    assert node.postgres.sql("SELECT reason FROM postern.audit WHERE table_name = 'spool_logs'") == [("the disk was lost",)]
    wait_until(lambda: not node.relayctl_json("spool", "list"), 10, "nothing waits")
    assert node.relayctl("node", "show").returncode == 0
    assert node.relayctl("node", "accept-spool", "--reason", "again", check=False).returncode == 3


def test_P5_without_PostgreSQL_an_older_copy_is_delivered_and_noticed_when_it_is_back(restored, backend):
    node = restored
    node.postgres.stop()
    node.spoolmgr.start()
    wait_until(lambda: len(backend.taken) == 2 * MESSAGES, 30, "nobody knows better")
    backend.stop()
    assert node.send(make_message(test_id=6)).code == 250
    node.postgres.start()
    wait_until(lambda: alarms(node), 20, "it is noticed")
    backend.start()
    node.spoolmgr.once()
    assert len(backend.taken) == 2 * MESSAGES


def test_P5_a_log_that_PostgreSQL_has_not_seen_is_good_and_so_is_an_empty_disk(world_of, backend):
    node = world_of(Node(settings={"workers": 1, "probe-interval-min": "1s"}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    backend.stop()
    assert node.send(make_message(test_id=1)).code == 250
    node.spoolmgr.stop()
    node.postgres.stop()
    node.spoolmgr.start()
    backend.start()
    wait_until(lambda: len(backend.taken) == 1, 30, "it is delivered without PostgreSQL")
    node.postgres.start()
    wait_until(lambda: seen(node), 10, "PostgreSQL has seen the log")
    node.postgres.stop()
    backend.stop()
    node.postgres.start()
    assert node.send(make_message(test_id=3)).code == 250
    wait_until(lambda: node.postgres.sql("SELECT ref FROM postern.spool_index"), 10, "what it has been told itself is not older")
    assert not alarms(node)
    node.stop()
    for path in node.dirs["spool-dir"].iterdir():
        path.unlink()
    node.relayd.start()
    assert node.send(make_message(test_id=2)).code == 250
    node.spoolmgr.start()
    backend.start()
    wait_until(lambda: len(backend.taken) == 2, 30, "a new disk is another log")
    assert not alarms(node)
