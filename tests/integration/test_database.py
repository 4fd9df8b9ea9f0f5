# SPDX-License-Identifier: BSD-2-Clause
"""P5: PostgreSQL is away, across restarts; and its index agrees with the log when it is back."""
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
