# SPDX-License-Identifier: BSD-2-Clause
"""P5: PostgreSQL is away, across restarts, or slow; and its index agrees with the log when it is back."""
import os
import signal
import time
from contextlib import contextmanager, suppress

from harness import Backend, Node, make_message, reference_in, wait_until

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it


def open_in_log(node):
    return {row["id"] for row in node.spool() if row.get("open_recipients", 1)}


def open_in_index(node):
    return {ref for (ref,) in node.postgres.sql("SELECT ref FROM postern.spool_index WHERE open_recipients > 0")}


def agrees(node):
    log, index = open_in_log(node), open_in_index(node)
    assert log == index, f"only in the log: {log - index}; only in the index: {index - log}"
    return True


def test_P5_with_the_database_away_everything_but_administration_goes_on(acme, backend, world_of):
    second = world_of(Backend())
    acme.add_customer("beta", "beta.example", second.endpoint)
    assert acme.send().code == 250
    acme.postgres.stop()
    acme.relayd.stop()
    acme.spoolmgr.stop()
    acme.relayd.start()
    acme.spoolmgr.start()

    before = len(backend.taken)
    reply = acme.send(make_message(test_id=1))
    assert reply.code == 250 and "queued" not in reply.text and len(backend.taken) == before + 1
    assert acme.send(rcpts="user@unknown.example").code in (550, 451)
    backend.stop()
    second.stop()
    references = []
    for n in range(10):
        reply = acme.send(make_message(test_id=n), rcpts=f"user@{'acme' if n % 2 else 'beta'}.example")
        assert reply.code == 250 and "queued until" in reply.text
        references.append(reference_in(reply.text))
    assert set(references) <= {row["id"] for row in acme.spool()}, "spool list needs no database"
    status = acme.relayctl("status", check=False)  # 1: something needs an operator
    assert status.returncode == 1 and "unreachable" in status.stdout
    assert acme.relayctl("customer", "add", "late", "--contact", "a@b.example", check=False).returncode == 75
    second.start()
    wait_until(lambda: len(second.taken) == 5, 60, "retried without the database")
    acme.relayd.stop()
    acme.spoolmgr.stop()
    acme.relayd.start()
    acme.spoolmgr.start()

    acme.postgres.start()
    wait_until(lambda: agrees(acme) and len(open_in_log(acme)) == 5, 40, "the index agrees with the log")
    backend.start()
    wait_until(lambda: len(backend.taken) == before + 6, 60, "the rest is delivered")
    wait_until(lambda: agrees(acme) and not open_in_log(acme), 30, "and the index agrees again")
    acme.relayctl("customer", "add", "late", "--contact", "a@b.example")


@contextmanager
def stopped(node):
    """All its processes stand still, as on a disk that does not answer: connections stay, and nothing comes."""
    process = node.postgres.process
    process.signal(signal.SIGSTOP)  # it makes no new ones
    signal_all(process, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(process, signal.SIGCONT)


def signal_all(process, number):
    for pid in process.tree():
        with suppress(ProcessLookupError):  # it was about to end
            os.kill(pid, number)


@contextmanager
def locked(node):
    """Somebody holds the tables that mail is mirrored into and the registry is read from."""
    connection = node.postgres.connect()
    connection.autocommit = False
    tables = ", ".join(f"postern.{name}" for name in ("spool_index", "domains", "backends", "customers"))
    connection.cursor().execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
    yield
    connection.rollback()
    connection.close()


def slows_no_mail(node, backend, away, slow):
    wait_until(lambda: "queued until" in node.send(rcpts="user@away.example").text, 10, "it is away")
    wait_until(lambda: agrees(node), 20, "the index is behind nothing")
    with slow(node):
        began, taken, waited = time.monotonic(), len(backend.taken), len(open_in_log(node))
        for n in range(20):
            reply = node.send(make_message(test_id=n))
            assert reply.code == 250 and "queued" not in reply.text
            assert "queued until" in node.send(make_message(test_id=n), rcpts="user@away.example").text
        assert len(backend.taken) == taken + 20
        assert node.send(rcpts="user@unknown.example").code == 550
        taken = len(away.taken)
        away.start()
        wait_until(lambda: len(away.taken) == taken + waited + 20, 20, "what waited is delivered")
        away.stop()
        for n in range(5):
            wait_until(lambda: "queued until" in node.send(make_message(test_id=n), rcpts="user@away.example").text, 10, "away again")
        assert time.monotonic() - began < 20
    waiting = open_in_log(node)
    wait_until(lambda: open_in_index(node) == waiting, 2, "the index is behind by two seconds at most")
    away.start()
    wait_until(lambda: agrees(node) and not open_in_log(node), 20, "and in the end")
    away.stop()


def test_P5_a_slow_database_slows_no_mail(acme, backend, world_of):
    away = world_of(Backend())
    acme.add_customer("away", "away.example", away.endpoint)
    away.stop()
    for slow in (stopped, locked):
        slows_no_mail(acme, backend, away, slow)


def test_P5_a_dropped_database_costs_the_index_and_no_mail(acme, backend):
    backend.stop()
    for n in range(5):
        assert acme.send(make_message(test_id=n)).code == 250
    wait_until(lambda: agrees(acme), 20, "the index has them")
    acme.postgres.drop_database()
    assert "queued until" in acme.send(make_message(test_id=5)).text
    backend.start()
    wait_until(lambda: len(backend.taken) == 6, 60, "all are delivered")


def test_P2_restarts_in_any_order_lose_nothing(acme, backend):
    backend.stop()
    sent = 0
    for order in (("relayd", "spoolmgr", "postgres"), ("postgres", "relayd", "spoolmgr"), ("spoolmgr", "postgres", "relayd")):
        for name in order:
            part = getattr(acme, name)
            assert acme.send(make_message(test_id=sent)).code == 250
            sent += 1
            part.stop()
            part.start()
    backend.start()
    wait_until(lambda: len(backend.taken) >= sent, 60, "all are delivered")
    wait_until(lambda: agrees(acme) and not open_in_log(acme), 30, "log and index are empty")
    assert len(backend.taken) == sent


def test_P2_index_agrees_after_a_keeper_was_killed(acme, backend):
    backend.stop()
    for n in range(20):
        assert acme.send(make_message(test_id=n)).code == 250
        if n % 7 == 3:
            acme.spoolmgr.kill()
            acme.spoolmgr.start()
    wait_until(lambda: agrees(acme) and len(open_in_log(acme)) == 20, 40, "the index agrees with the log")


def test_P5_the_first_start_without_database_and_replica_is_451_never_550(world_of):
    node = world_of(Node(start=False))
    node.relayd.start()
    reply = node.send()
    assert reply.code == 451, str(reply)
