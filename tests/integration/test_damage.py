# SPDX-License-Identifier: BSD-2-Clause
"""P5: torn, zeroed and foreign files, and a database that is wrong: never a 5xx for a registered domain."""
import os

import pytest

from harness import Node, wait_until

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it


def torn(path):
    os.truncate(path, path.stat().st_size // 2)


def zeroed(path):
    size = path.stat().st_size
    path.write_bytes(b"\0" * size)


def foreign(path):
    size = path.stat().st_size
    path.write_bytes(os.urandom(size))


def emptied(path):
    os.truncate(path, 0)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 0x10
    path.write_bytes(bytes(data))


def gone(path):
    path.unlink()


DAMAGES = [torn, zeroed, foreign, emptied, flipped, gone]


def files(node, pattern):
    found = [p for p in node.dirs["state-dir"].rglob(pattern) if p.is_file()]
    assert found, f"no {pattern} in {sorted(node.dirs['state-dir'].rglob('*'))}"
    return found


def damage(node, pattern, how):
    for path in files(node, pattern):
        stat = path.stat()
        how(path)
        if path.exists():
            os.chown(path, stat.st_uid, stat.st_gid)


def never_refused(node, times=5):
    replies = [node.send() for _ in range(times)]
    assert all(r.code // 100 in (2, 4) for r in replies), f"refused: {[str(r) for r in replies]}"
    return replies


@pytest.mark.parametrize("how", DAMAGES, ids=[d.__name__ for d in DAMAGES])
def test_P5_a_damaged_replica_without_a_database_is_451(acme, backend, how):
    acme.relayd.stop()
    acme.postgres.stop()
    damage(acme, "replica.cdb", how)
    acme.relayd.start()
    never_refused(acme)
    acme.postgres.start()
    wait_until(lambda: acme.send().code == 250, 40, "the replica is made anew once the database is back")


@pytest.mark.parametrize("how", DAMAGES, ids=[d.__name__ for d in DAMAGES])
def test_P5_a_damaged_replica_with_a_database_is_made_anew(acme, backend, how):
    acme.relayd.stop()
    damage(acme, "replica.cdb", how)
    acme.relayd.start()
    never_refused(acme, 2)
    wait_until(lambda: acme.send().code == 250, 20, "the replica is made anew")


def test_P5_a_replica_of_another_registry_refuses_nothing(acme, backend, world_of):
    other = world_of(Node())
    other.add_customer("beta", "beta.example", backend.endpoint)
    acme.relayd.stop()
    acme.postgres.stop()
    (mine,), (theirs,) = files(acme, "replica.cdb"), files(other, "replica.cdb")
    mine.write_bytes(theirs.read_bytes())
    acme.relayd.start()
    # Its checksum is right: with the database away the domain is unknown to this replica. What the node has
    # remembered of its own registry must keep it from refusing.
    replies = [acme.send() for _ in range(3)]
    acme.postgres.start()
    wait_until(lambda: acme.relayd.alive, 5)
    assert all(r.code // 100 in (2, 4) for r in replies), f"refused by a foreign replica: {[str(r) for r in replies]}"


@pytest.mark.parametrize("how", [d for d in DAMAGES if d is not gone], ids=[d.__name__ for d in DAMAGES if d is not gone])
def test_P5_a_damaged_state_store_is_begun_anew(acme, backend, how):
    assert acme.send().code == 250
    acme.relayd.stop()
    damage(acme, "*.mdb", how)
    acme.relayd.start()
    assert [r.code for r in never_refused(acme)] == [250] * 5
    backend.stop()
    reply = acme.send()
    assert reply.code == 250 and "queued until" in reply.text
    backend.start()
    wait_until(lambda: len(backend.taken) >= 7, 60, "delivered")


@pytest.mark.parametrize("how", [torn, zeroed, foreign, emptied], ids=["torn", "zeroed", "foreign", "emptied"])
def test_P5_a_damaged_shared_table_is_begun_anew(acme, backend, how):
    acme.stop()  # both: a file that shrinks under who has it mapped is a SIGBUS
    for path in list(acme.dirs["run-dir"].rglob("shared*")) + list(acme.dirs["state-dir"].rglob("shared*")):
        how(path)
    acme.relayd.start()
    acme.spoolmgr.start()
    assert [r.code for r in never_refused(acme)] == [250] * 5


# --- A database that is wrong.

def empty_database(node):
    node.postgres.create_database("empty")
    return "empty"


def older_database(node):
    node.postgres.create_database("older")
    node.postgres.sql("CREATE SCHEMA postern; CREATE VIEW postern.replica_state AS SELECT 'x'::text AS database_id, 1::bigint AS version,"
                      " 0 AS schema_version", database="older")
    return "older"


def newer_database(node):
    node.postgres.sql("CREATE DATABASE newer TEMPLATE postern", database="postgres")
    node.postgres.sql("UPDATE postern.registry_state SET schema_version = 9999", database="newer")
    return "newer"


def foreign_database(node):
    node.postgres.create_database("elsewhere")
    keep = node.settings["database"]
    node.write_config(database=node.postgres.conninfo("elsewhere"))
    node.relayctl("db", "init")
    node.relayctl("customer", "add", "beta", "--contact", "ops@beta.example")
    node.relayctl("domain", "add", "beta.example", "--customer", "beta")
    node.write_config(database=keep)
    return "elsewhere"


def restored_database(node):
    """The same registry as it was before acme was registered: a restored backup."""
    node.postgres.sql("CREATE DATABASE restored TEMPLATE postern", database="postgres")
    node.postgres.sql("DELETE FROM postern.backends; DELETE FROM postern.domains; UPDATE postern.registry_state SET version = 1",
                      database="restored")
    return "restored"


WRONG = [empty_database, older_database, newer_database, foreign_database, restored_database]


@pytest.mark.parametrize("wrong", WRONG, ids=[w.__name__ for w in WRONG])
def test_P5_a_wrong_database_refuses_nothing(acme, backend, wrong):
    acme.relayd.stop()
    acme.spoolmgr.stop()
    name, right = wrong(acme), acme.settings["database"]
    acme.write_config(database=acme.postgres.conninfo(name))
    acme.relayd.start()
    acme.spoolmgr.start()
    alarm = wait_until(lambda: [line for line in acme.relayd.log_lines() if " alarm " in line or " warn " in line], 15,
                       "relayd says that the database is wrong")
    assert alarm
    assert [r.code for r in never_refused(acme)] == [250] * 5, "the last good replica must go on serving"
    backend.stop()
    assert "queued until" in acme.send().text
    backend.start()
    wait_until(lambda: len(backend.taken) >= 6, 60, "spooled mail is delivered")
    acme.relayd.stop()
    acme.spoolmgr.stop()
    acme.write_config(database=right)
    acme.relayd.start()
    acme.spoolmgr.start()
    acme.relayctl("domain", "add", f"after-{wrong.__name__.partition('_')[0]}.example", "--customer", "acme")
    wait_until(lambda: acme.serves(f"after-{wrong.__name__.partition('_')[0]}.example"), 15, "the right database is followed again")


def test_P5_a_registry_that_shrinks_by_surprise_is_not_believed(acme, backend):
    for n in range(30):
        acme.relayctl("domain", "add", f"d{n}.example", "--customer", "acme")
    wait_until(lambda: acme.serves("d29.example"), 10, "all are served")
    acme.postgres.sql("DELETE FROM postern.domains WHERE name ~ '^d[0-9]+[.]'")
    wait_until(lambda: [line for line in acme.relayd.log_lines() if " alarm " in line], 15, "relayd alarms")
    for n in (0, 15, 29):
        assert acme.send(rcpts=f"user@d{n}.example").code == 250
    acme.relayd.stop()
    acme.relayd.start()
    assert acme.send(rcpts="user@d3.example").code == 250


def test_P5_a_domain_merely_missing_is_451_and_a_removed_one_550(acme, backend):
    for name in ("missing.example", "removed.example"):
        acme.relayctl("domain", "add", name, "--customer", "acme")
        wait_until(lambda: acme.serves(name), 10, f"{name} is served")
    acme.postgres.sql("DELETE FROM postern.domains WHERE name = 'missing.example'")
    wait_until(lambda: acme.send(rcpts="user@missing.example").code != 250, 10, "it is noticed")
    assert acme.send(rcpts="user@missing.example").code == 451
    acme.relayctl("domain", "remove", "removed.example", "--yes", "--reason", "test")
    wait_until(lambda: acme.send(rcpts="user@removed.example").code == 550, 10, "refused at once")
