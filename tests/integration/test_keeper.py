# SPDX-License-Identifier: BSD-2-Clause
"""What happens to the keeper: a relay that starts over beside it, a deliverer that hangs, a signal to the group, a lost ledger."""
import os
import signal
import subprocess

from harness import DROP, SPOOLMGR, Delay, Node, make_message, program, wait_until
from world import own

MAKE_SPOOL = "tests/integration/make_spool"


def keep(node, backend, count=1):
    """So many messages in the spool, and a backend that is there again."""
    backend.stop()
    for n in range(count):
        assert node.send(make_message(test_id=n)).code == 250
    backend.start()


def behind_the_dot(backend):
    wait_until(lambda: backend.messages, 30, "a message is behind its dot")


def test_P9_a_new_shared_table_under_a_running_attempt(acme, backend):
    backend.script["dot"] = Delay(6)
    keep(acme, backend)
    behind_the_dot(backend)
    acme.relayd.stop()
    (acme.dirs["run-dir"] / "shared").unlink()
    acme.relayd.start()
    wait_until(lambda: backend.taken, 30, "the attempt ends")
    wait_until(lambda: acme.spoolmgr.log_lines("delivered"), 10, "and is said to have")
    assert acme.spoolmgr.alive and len(backend.messages) == 1
    backend.script.clear()
    keep(acme, backend, 3)
    wait_until(lambda: len(backend.taken) == 4, 30, "the keeper goes on")


def test_P2_a_signal_to_the_whole_group_makes_no_duplicate(acme, backend):
    backend.script["dot"] = Delay(3)
    keep(acme, backend)
    behind_the_dot(backend)
    for pid in reversed(acme.spoolmgr.tree()):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not acme.spoolmgr.alive, 20, "it has waited and ended")
    assert len(backend.taken) == 1
    acme.spoolmgr.start()
    assert acme.spoolmgr.log_lines("delivered")
    assert not acme.possible_duplicates() and len(backend.messages) == 1


def test_P8_a_deliverer_that_hangs_is_replaced(acme, backend):
    backend.stop()
    assert acme.send(make_message(test_id=1)).code == 250
    stopped = acme.spoolmgr.children_named("dlv")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    backend.start()
    wait_until(lambda: backend.taken, 40, "delivered by others")
    wait_until(lambda: not set(stopped) & set(acme.spoolmgr.children()), 10, "they are gone")
    assert acme.spoolmgr.log_lines("deliverer-hangs")


def test_a_keeper_with_hanging_deliverers_ends(acme, backend):
    for pid in acme.spoolmgr.children_named("dlv"):
        os.kill(pid, signal.SIGSTOP)
    os.kill(acme.spoolmgr.pid, signal.SIGTERM)
    wait_until(lambda: not acme.spoolmgr.alive, 15, "it has ended")
    acme.spoolmgr.start()


def test_P2_a_lost_ledger_names_what_may_go_out_twice(acme, backend):
    backend.script["dot"] = lambda session, content: None if b"X-Test-Id: 0" in content else "451 4.7.1 later"
    keep(acme, backend, 2)  # one is delivered, the other keeps their segment
    wait_until(lambda: backend.taken, 30, "the first is delivered")
    wait_until(lambda: acme.spoolmgr.log_lines("delivered"), 10, "and recorded")
    acme.spoolmgr.stop()
    assert not acme.spoolmgr.log_lines("outcomes-missing"), "a first start is no loss"
    ledgers = list(acme.dirs["spool-dir"].glob("ledger-*"))
    assert ledgers
    for path in ledgers:
        path.unlink()
    assert "MISSING" in acme.run(SPOOLMGR, "--fsck").stdout
    backend.script.clear()
    acme.spoolmgr.start()
    wait_until(lambda: len(backend.taken) == 3, 30, "both are delivered, one of them again")
    alarms = acme.spoolmgr.log_lines("outcomes-missing")
    assert len(alarms) == 1 and " alarm " in alarms[0] and "the ledger is missing" in alarms[0]
    assert len(acme.possible_duplicates()) == 2


def aged_spool(world_of, days):
    """A node whose spool has three messages of so many days; its customer acme has no backend."""
    node = world_of(Node(start=False))
    node.start_database()
    subprocess.run([program(MAKE_SPOOL), str(node.dirs["spool-dir"]), str(days)], check=True, capture_output=True)
    for path in node.dirs["spool-dir"].iterdir():
        own(path, node.user)
    node.relayctl("customer", "add", "acme", "--contact", "ops@acme.example")
    node.relayctl("domain", "add", "acme.example", "--customer", "acme")
    node.relayd.start()
    wait_until(lambda: (node.dirs["state-dir"] / "replica.cdb").exists(), 20, "the replica")
    node.spoolmgr.start()
    return node


def expired(node):
    """The events; an alarm's text has the word as well."""
    return [line for line in node.spoolmgr.log_lines("expired") if " expired customer=" in line]


def test_mail_without_a_route_is_said_once_a_domain_and_goes_when_there_is_one(world_of, backend):
    node = aged_spool(world_of, 0)
    domains = ("acme.example", "beta.example", "sub.beta.example")
    wait_until(lambda: len(node.spoolmgr.log_lines("no-route")) == 3, 20, "three alarms")
    said = node.spoolmgr.log_lines("no-route")
    assert all(any(f"domain={d} " in line and " alarm " in line for line in said) for d in domains), said
    assert len(node.spool()) == 3
    node.relayctl("backend", "add", backend.endpoint, "--customer", "acme")
    wait_until(lambda: len(backend.taken) == 2, 20, "acme's mail")
    wait_until(lambda: node.spoolmgr.log_lines("no-route-over"), 20, "its end is said")
    assert len(node.spoolmgr.log_lines("no-route")) == 3 and not expired(node)


def test_P2_mail_without_a_route_expires_behind_its_deadline(world_of):
    node = aged_spool(world_of, 8)
    wait_until(lambda: len(expired(node)) == 3, 20, "all three have ended")
    assert all("no route" in line for line in expired(node))
    wait_until(lambda: not [r for r in node.spool() if r.get("open_recipients", 1)], 20, "and nothing is open")


def test_P6_what_a_backend_left_unanswered_is_told_in_words(acme, backend):
    backend.stop()
    assert acme.send().code == 250
    backend.script["dot"] = DROP
    backend.start()
    row = wait_until(lambda: [m for m in acme.spool() if m["attempts"] and "refused" not in m["last_reply"]], 30, "an attempt")[0]
    assert row["last_reply"] == "connection lost", row
    backend.script.clear()
    acme.relayctl("spool", "retry", "--id", row["id"])
    wait_until(lambda: not acme.spool(), 30, "delivered")
