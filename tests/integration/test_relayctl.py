# SPDX-License-Identifier: BSD-2-Clause
"""relayctl and the schema: every verb, on a private PostgreSQL, with no daemon running."""
import datetime
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

import psycopg2
import pytest

from harness import RELAYCTL, SOURCE, build_dir, program
from registry import Done, Relayctl, acme, ctl, empty, fresh, postgres, template  # noqa: F401

MAKE_SPOOL = "tests/integration/make_spool"
CONTROL_PROBE = "tests/integration/control_probe"
SCHEMA = len(list((SOURCE / "sql").glob("[0-9]*.sql")))


# --- db


def test_init_is_needed_then_done_once(empty):
    assert "relayctl db init" in empty("customer", "list", code=1).err
    assert "relayctl db init" in empty("db", "migrate", code=1).err
    assert empty.one("db", "status", code=1)["state"] == "missing"
    assert "dry run" in empty("db", "init", "--dry-run").out
    assert empty.one("db", "status", code=1)["state"] == "missing"
    assert empty("db", "init").out.count("applied migration") == SCHEMA
    for verb in ("init", "migrate"):
        for more in ((), ("--dry-run",)):
            assert empty("db", verb, *more).out == f"The database has schema {SCHEMA}.\n"
            assert empty.one("db", verb, *more)["action"] == "unchanged"
    status = empty.one("db", "status")
    assert status["state"] == "fits" and status["schema_version"] == SCHEMA == status["program_schema_version"]
    assert len(status["database_id"]) == 32


def test_each_database_has_its_own_id(ctl, postgres):
    postgres.create_database("other")
    with Relayctl(postgres, "other") as other:
        other("db", "init")
        assert other.one("db", "status")["database_id"] != ctl.one("db", "status")["database_id"]
    postgres.drop_database("other")


@pytest.mark.parametrize("version, word, remedy", [(SCHEMA - 1, "older", "relayctl db migrate"), (99, "newer", "install")])
def test_a_wrong_schema_is_named_with_its_remedy(acme, version, word, remedy):
    acme.sql("UPDATE postern.registry_state SET schema_version = %s", version)
    assert remedy in acme("customer", "list", code=1).err
    assert remedy in acme("customer", "add", "x", code=1).err
    assert acme.one("db", "status", code=1)["state"] == word
    assert "wrong schema" in acme("status", code=1).out


def test_an_older_schema_is_migrated(empty):
    old = empty.folder / "old-sql"
    old.mkdir()
    for path in sorted((SOURCE / "sql").glob("[0-9]*.sql"))[:4]:
        shutil.copy(path, old)
    assert "different releases" in empty("db", "init", code=1, env={"POSTERN_SQL_DIR": str(old)}).err
    with empty.postgres.connect(empty.database) as connection, connection.cursor() as cursor:
        for n, path in enumerate(sorted(old.iterdir()), 1):
            cursor.execute(path.read_text())
            cursor.execute("INSERT INTO postern.migrations (number, name) VALUES (%s, 'old')", (n,))
            cursor.execute("UPDATE postern.registry_state SET schema_version = %s", (n,))
        cursor.execute("INSERT INTO postern.customers (name) VALUES ('acme')")
        cursor.execute("INSERT INTO postern.domains (name, customer_id) VALUES ('1.2.3.4', 1), ('acme.example', 1)")
    assert "db migrate" in empty("db", "init", code=1).err
    done = empty("db", "migrate").out
    assert done.count("applied migration") == SCHEMA - 4
    assert "keep the sender policy off" in done
    assert empty.sql("SELECT policy, filters_only FROM postern.customers") == [("off", False)], "no upgrade begins to refuse mail"
    empty("customer", "add", "beta")
    assert empty.one("customer", "show", "beta")["policy"] == "standard"
    assert empty.one("db", "status")["state"] == "fits"
    assert [d["name"] for d in empty("domain", "list", "--json").rows] == ["acme.example"], "an address is no domain"
    assert empty.sql("SELECT old_row->>'name', reason FROM postern.audit WHERE operation = 'delete'") == \
        [("1.2.3.4", "migration 0005: the name ends in a number")]


def test_what_was_stopped_before_it_needed_a_reason_can_be_exported_and_imported(empty, postgres, template):
    """Until 0021 a suspension took none, and an import wants one."""
    old = empty.folder / "old-sql"
    old.mkdir()
    for path in sorted((SOURCE / "sql").glob("[0-9]*.sql"))[:20]:
        shutil.copy(path, old)
    with empty.postgres.connect(empty.database) as connection, connection.cursor() as cursor:
        for n, path in enumerate(sorted(old.iterdir()), 1):
            cursor.execute(path.read_text())
            cursor.execute("INSERT INTO postern.migrations (number, name) VALUES (%s, 'old')", (n,))
            cursor.execute("UPDATE postern.registry_state SET schema_version = %s", (n,))
        cursor.execute("INSERT INTO postern.customers (name, state, state_reason) VALUES ('acme', 'suspended', NULL), ('beta', 'refused', ''),"
                       " ('gamma', 'suspended', 'unpaid'), ('delta', 'active', NULL)")
        cursor.execute("INSERT INTO postern.backends (customer_id, number, address, held, held_reason) VALUES (1, 1, '192.0.2.1', true, NULL),"
                       " (1, 2, '192.0.2.2', true, 'moves'), (1, 3, '192.0.2.3', false, NULL)")
        cursor.execute("DELETE FROM postern.audit")
    empty("db", "migrate")
    assert empty.sql("SELECT state_reason FROM postern.customers ORDER BY id") == [("not recorded",), ("not recorded",), ("unpaid",), (None,)]
    assert empty.sql("SELECT held_reason FROM postern.backends ORDER BY number") == [("not recorded",), ("moves",), (None,)]
    assert empty.sql("SELECT count(*), min(reason) FROM postern.audit") == [(3, "migration 0021: no reason was asked for")]
    text = empty("export").out
    elsewhere = fresh(postgres, template)
    other = next(elsewhere)
    assert "7 added" in other("import", "-", "--reason", "moved", input=text).out and other("export").out == text
    next(elsewhere, None)


def test_a_foreign_schema_is_left_alone(empty):
    empty.sql("CREATE SCHEMA postern")
    empty.sql("CREATE TABLE postern.theirs ()")
    assert "not Postern's" in empty("db", "init", code=1).err
    assert empty.sql("SELECT to_regclass('postern.theirs') IS NOT NULL") == [(True,)]


def test_a_failing_migration_leaves_nothing(empty):
    broken = empty.folder / "sql"
    shutil.copytree(SOURCE / "sql", broken)
    last = sorted(broken.glob("[0-9]*.sql"))[-1]
    last.write_text("CREATE TABLE postern.half (); SELECT nonsense;")
    done = empty("db", "init", code=1, env={"POSTERN_SQL_DIR": str(broken)})
    assert done.out == "" and "the database stays as it was" in done.err and "nonsense" in done.err
    assert empty.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'postern'") == [(0,)]


# --- customer, domain, backend


def test_three_commands_get_a_domain_served(acme):
    assert acme.sql("SELECT name, state, max_recipients_per_message, max_messages_per_connection, max_connections_per_hour,"
                    " max_message_size_bytes, retention_days FROM postern.replica_customers") == \
        [("acme", "active", 50, 50, 200, 20 * 1024 * 1024, 5)]
    assert acme.sql("SELECT name, when_down, removed FROM postern.replica_domains") == [("acme.example", "accept", False)]
    assert acme.sql("SELECT number, address, port, priority, max_connections, tls, held FROM postern.replica_backends") == \
        [(1, "192.0.2.10", 25, 10, 0, "may", False)]


def test_customers_are_set_shown_listed_suspended(acme):
    acme("customer", "set", "acme", "--max-message-size", "50MiB", "--max-connections-per-hour", "none",
         "--retention-days", "7")
    shown = acme.one("customer", "show", "acme")
    assert shown["max_message_size_bytes"] == 50 * 1024 * 1024 and shown["max_connections_per_hour"] is None
    assert shown["live_4xx"] == "pass"
    acme("customer", "set", "acme", "--live-4xx", "keep")
    assert acme.one("customer", "show", "acme")["live_4xx"] == "keep"
    assert acme.sql("SELECT live_4xx FROM postern.replica_customers") == [("keep",)]
    assert "cannot change for a time" in acme("customer", "set", "acme", "--live-4xx", "pass", "--until", "+2d", code=2).err
    assert shown["retention_days"] == 7 and shown["domains"] == 1 and shown["contact"] == "ops@acme.example"
    assert acme.sql("SELECT max_connections_per_hour FROM postern.replica_customers") == [(None,)]
    acme("customer", "suspend", "acme", "--reason", "unpaid")
    assert acme.one("customer", "show", "acme")["state"] == "suspended"
    acme("customer", "suspend", "acme", "--refuse", "--reason", "unpaid")
    assert acme.sql("SELECT state FROM postern.replica_customers") == [("refused",)]
    acme("customer", "resume", "acme")
    assert [c["state"] for c in acme("customer", "list", "--json").rows] == ["active"]
    text = acme("customer", "list").out.splitlines()
    assert text[0].split()[:2] == ["CUSTOMER", "STATE"] and "\033" not in text[1]


@pytest.mark.parametrize("given, stored", [("ACME.Example.", "acme.example"), ("bücher.example", "xn--bcher-kva.example"),
                                           (".acme.example", ".acme.example"), ("xn--bcher-kva.example",) * 2])
def test_domains_are_stored_as_a_labels(ctl, given, stored):
    ctl("customer", "add", "acme")
    ctl("domain", "add", given, "--customer", "acme", "--when-down", "defer")
    assert ctl.sql("SELECT name, when_down FROM postern.replica_domains") == [(stored, "defer")]
    assert ctl.one("domain", "show", given)["name"] == stored


def test_domains_move_and_change(acme):
    acme("customer", "add", "beta")
    acme("domain", "set", "acme.example", "--customer", "beta", "--when-down", "reject")
    assert acme.one("domain", "list", "--customer", "beta")["when_down"] == "reject"
    acme("domain", "list", "--customer", "acme", code=3)


@pytest.mark.parametrize("given, address, port", [("192.0.2.1", "192.0.2.1", 25), ("192.0.2.1:2525", "192.0.2.1", 2525),
                                                  ("[2001:DB8::1]:26", "2001:db8::1", 26), ("2001:db8::1", "2001:db8::1", 25),
                                                  ("[::ffff:192.0.2.1]:25", "192.0.2.1", 25)])
def test_backends_have_addresses_and_ports(ctl, given, address, port):
    ctl("customer", "add", "acme")
    assert ctl.one("backend", "add", given, "--customer", "acme")["name"] == "acme/1"
    assert ctl.sql("SELECT address, port FROM postern.replica_backends") == [(address, port)]


def test_backends_by_name_and_for_one_domain(acme):
    assert acme.one("backend", "add", "Mail.Acme.Example:26", "--customer", "acme", "--domain", "acme.example", "--weight", "3",
                    "--source-address", "192.0.2.77", "--tls-name", "mx.acme.example", "--xforward", "yes")["name"] == "acme/2"
    shown = acme.one("backend", "show", "acme/2")
    wanted = {"address": None, "host": "mail.acme.example", "port": 26, "lookup": "address", "domain": "acme.example", "weight": 3,
              "source_address": "192.0.2.77", "tls_name": "mx.acme.example", "xforward": True}
    assert {name: shown[name] for name in wanted} == wanted
    acme("backend", "set", "acme/2", "--address", "acme.example", "--mx", "--source-address", "none", "--tls-name", "none",
         "--xforward", "no")
    shown = acme.one("backend", "show", "acme/2")
    wanted.update(host="acme.example", lookup="mx", port=25, source_address=None, tls_name=None, xforward=False)
    assert {name: shown[name] for name in wanted} == wanted
    acme("backend", "set", "acme/2", "--address", "192.0.2.99")
    shown = acme.one("backend", "show", "acme/2")
    assert (shown["address"], shown["host"], shown["lookup"]) == ("192.0.2.99", None, "address")
    assert "acme.example" in acme("backend", "list").out


def test_the_last_backend_of_a_domain_is_missed_by_its_mail_alone(acme):
    acme("customer", "add", "beta", "--contact", "ops@beta.example")
    for domain in ("b.example", "c.example"):
        acme("domain", "add", domain, "--customer", "beta")
    acme("backend", "add", "192.0.2.20", "--customer", "beta", "--domain", "b.example")
    acme("backend", "add", "192.0.2.21", "--customer", "beta", "--domain", "c.example")
    acme.sql("INSERT INTO postern.spool_index (ref, node, customer_id, recipients, open_recipients) SELECT "
             "'P000-00000-0000001', 1, id, '{u@b.example}', 1 FROM postern.customers WHERE name = 'beta' RETURNING 1")
    acme("backend", "remove", "beta/2", "--reason", "gone", "--dry-run")
    assert "--spool" in acme("backend", "remove", "beta/1", "--reason", "gone", code=1).err
    acme("backend", "add", "192.0.2.22", "--customer", "beta")
    acme("backend", "remove", "beta/1", "--reason", "gone")


def test_backends_are_set_held_released_removed(acme):
    assert acme.one("backend", "add", "192.0.2.11", "--customer", "acme", "--priority", "20", "--tls", "verify",
                    "--max-connections", "4")["name"] == "acme/2"
    acme("backend", "set", "acme/1", "--address", "192.0.2.12:26", "--max-connections", "none", "--priority", "30")
    assert [b["name"] for b in acme("backend", "list", "--json").rows] == ["acme/2", "acme/1"]
    acme("backend", "hold", "acme/2", code=2)
    acme("backend", "hold", "acme/2", "--reason", "maintenance")
    shown = acme.one("backend", "show", "acme/2")
    assert shown["held"] is True and shown["held_reason"] == "maintenance" and shown["max_connections"] == 4
    acme("backend", "release", "acme/2")
    assert acme.sql("SELECT held FROM postern.replica_backends WHERE number = 2") == [(False,)]
    acme("backend", "remove", "acme/2", "--reason", "gone")
    acme("backend", "show", "acme/2", code=3)


def test_a_removed_domain_leaves_a_tombstone_until_it_is_back(acme):
    acme("domain", "remove", "acme.example", code=2)
    acme("domain", "remove", "acme.example", "--reason", "moved away")
    assert acme.sql("SELECT name, removed FROM postern.replica_domains") == [("acme.example", True)]
    acme("domain", "add", "acme.example", "--customer", "acme")
    assert acme.sql("SELECT name, removed FROM postern.replica_domains") == [("acme.example", False)]
    acme.sql("DELETE FROM postern.domains")
    assert acme.sql("SELECT * FROM postern.replica_domains") == [], "an accident leaves no tombstone"


def test_a_customer_goes_last(acme):
    assert "relayctl domain remove" in acme("customer", "remove", "acme", "--reason", "end", code=1).err
    acme("domain", "remove", "acme.example", "--reason", "end")
    acme("backend", "remove", "acme/1", "--reason", "end")
    acme("customer", "remove", "acme", "--reason", "end")
    acme("customer", "show", "acme", code=3)


def test_mail_that_waits_must_be_decided_on(acme):
    acme.sql("INSERT INTO postern.spool_index (ref, node, customer_id, recipients, open_recipients)"
             " SELECT 'P001-4KX3T-0B7Q2CF', 1, id, '{rita@acme.example}', 1 FROM postern.customers")
    for what in (("domain", "remove", "acme.example"), ("backend", "remove", "acme/1")):
        assert "--spool keep" in acme(*what, "--reason", "end", code=1).err
        assert "use keep or return" in acme(*what, "--reason", "end", "--spool", "bounce", code=2).err
        acme(*what, "--reason", "end", "--spool", "keep")
    acme("customer", "remove", "acme", "--reason", "end", code=1)
    acme("customer", "remove", "acme", "--reason", "end", "--spool", "keep")


NONSENSE = [
    ("customer add -- -x", 2, "customer's name"), ("customer add x --retention-days 0", 2, "from 1 to 365"),
    ("customer add x --retention-days many", 2, "not a number"), ("customer set acme --until +2d", 2, "nothing to set"),
    ("customer set acme --retention-days 9 --until tomorrow", 2, "2026-12-01"),
    ("customer set acme --retention-days 9 --until 2001-01-01", 2, "not in the future"),
    ("customer set acme --retention-days 9 --until 2999-01-01", 2, "too far away"),
    ("customer set acme --retention-days 9 --until", 2, "--until"),
    ("customer set acme --retention-days x --until never", 2, "--until: \"never\""),
    ("customer set acme --contact a@b.example --until +2d", 2, "--contact cannot change for a time"),
    ("customer add x --retention-days 9 --until +2d", 2, "--until"),
    ("customer set acme --bare-lf normalize", 2, "did you mean normalise?"),
    ("customer set acme --bare-lf none", 2, "use refuse or normalise"),
    ("customer set acme --connections-scope everyone", 2, "use customer or client"),
    ("customer set acme --connections-scope custmer", 2, "did you mean customer?"),
    ("customer set acme --max-connections-per-hour 0", 2, "from 1 to 10000000, or none"),
    ("customer set acme --max-connections-per-hour 10000001", 2, "out of range"),
    ("customer set acme --max-recipients-per-message 100001", 2, "from 1 to 100000, or none"),
    ("customer set acme --max-messages-per-connection 1.5", 2, "not a number"),
    ("customer set acme --max-message-size 3GiB", 2, "out of range"),
    ("customer set acme --max-message-size 1000B", 2, "from 1KiB to 2047MiB, or none"),
    ("customer set acme --retention-days 366", 2, "from 1 to 365, or none"),
    ("domain add a@b.example --customer acme", 2, "behind the @"), ("domain add foo --customer acme", 2, "two labels"),
    ("domain add 1.2.3.4 --customer acme", 2, "ends in a number"), ("domain add a..b --customer acme", 2, "empty label"),
    ("domain add *.b.example --customer acme", 2, "leading dot"),
    ("backend add mail..example --customer acme", 2, "neither an address nor a name"),
    ("backend add mail.acme.example:0 --customer acme", 2, "port"),
    ("backend add 192.0.2.9 --mx --customer acme", 2, "MX records"), ("backend set acme/1 --mx", 2, "--address NAME"),
    ("backend set acme/1 --source-address 192.0.2.1:26", 2, "without a port"),
    ("backend set acme/1 --source-address 224.0.0.1", 2, "multicast"),
    ("backend set acme/1 --tls-name foo", 2, "two labels"), ("backend set acme/1 --xforward perhaps", 2, "yes or no"),
    ("backend add 192.0.2.10 --customer acme", 1, "already"), ("backend add 192.0.2.1:65536 --customer acme", 2, "port"),
    ("backend add 0.0.0.0 --customer acme", 2, "unspecified"), ("backend add 224.0.0.1 --customer acme", 2, "multicast"),
    ("backend add [::1 --customer acme", 2, "not an address"), ("backend set acme/1 --priority -1", 2, "not a number"),
    ("spool list --older 2", 2, "time span"),
]


@pytest.mark.parametrize("line, code, words", NONSENSE, ids=[n[0] for n in NONSENSE])
def test_nonsense_is_answered_well(acme, line, code, words):
    before = acme.version()
    done = acme(*line.split(), code=code)
    assert words in done.err and done.err.startswith("relayctl: ")
    assert acme.version() == before


@pytest.mark.parametrize("line", ["customer add b", "customer set acme --retention-days 9", "customer suspend acme --reason x",
                                  "customer set acme --retention-days 9 --until +2d",
                                  "domain add b.example --customer acme", "domain set acme.example --when-down defer",
                                  "domain remove acme.example --reason x", "backend add 192.0.2.9 --customer acme",
                                  "backend set acme/1 --priority 1", "backend hold acme/1 --reason x",
                                  "backend remove acme/1 --reason x"])
def test_a_dry_run_changes_nothing_and_the_change_is_audited(acme, line):
    def state():
        return (acme.version(), acme.sql("SELECT count(*) FROM postern.audit"), acme.sql("SELECT * FROM postern.customers"),
                acme.sql("SELECT * FROM postern.customer_changes"), acme.sql("SELECT * FROM postern.domains"), acme.sql("SELECT * FROM postern.backends"))

    before = state()
    done = acme.one(*line.split(), "--dry-run")
    assert done["dry_run"] is True and state() == before
    done = acme.one(*line.split())
    assert done["dry_run"] is False and acme.version() == before[0] + 1
    audit = acme.sql("SELECT who, program, reason, version FROM postern.audit ORDER BY id DESC LIMIT 1")[0]
    assert audit == ("postern", "relayctl", "x" if "--reason" in line else None, before[0] + 1)


# --- Limits.

LIMITS = [("max-recipients-per-message", "max_recipients_per_message", "100", 100, 50),
          ("max-messages-per-connection", "max_messages_per_connection", "7", 7, 50),
          ("max-connections-per-hour", "max_connections_per_hour", "1000", 1000, 200),
          ("max-message-size", "max_message_size_bytes", "5MiB", 5 * 1024 * 1024, 20 * 1024 * 1024),
          ("retention-days", "retention_days", "10", 10, 5),
          ("connections-scope", "connections_scope", "client", "client", "customer"),
          ("bare-lf", "bare_lf", "normalise", "normalise", "refuse"),
          ("max-spool-messages", "max_spool_messages", "5000", 5000, None),
          ("max-spool-size", "max_spool_bytes", "2GiB", 2 * 1024 ** 3, None)]


@pytest.mark.parametrize("option, column, given, stored, default", LIMITS, ids=[n[0] for n in LIMITS])
def test_P9_each_limit_is_set_shown_and_temporary(acme, option, column, given, stored, default):
    assert acme.one("customer", "show", "acme")[column] == default
    acme("customer", "set", "acme", f"--{option}", given, "--until", "+2d")
    assert acme.sql(f"SELECT {column} FROM postern.replica_customers") == [(default,)], "the lasting value stays"
    assert acme.sql("SELECT field, value FROM postern.replica_customer_changes") == [(column, str(stored))]
    shown = acme.one("customer", "show", "acme")
    assert shown[column] == stored
    change, = shown["temporary"]
    assert (change["field"], change["value"], change["then"]) == (column, stored, default)
    assert change["until_at"].endswith("Z")
    assert f"{given} until " in acme("customer", "show", "acme").out
    write_replica(acme)
    word = {"connections_scope": "client", "bare_lf": "normalise"}.get(column, str(stored))
    assert f"{column}={word}" in probe_customer(acme, 0)
    assert f"{column}={-1 if default is None else default}" in probe_customer(acme, int((time.time() + 2 * 86400 + 60) * 1000)), "P5: ends by itself"

    ended = acme("customer", "set", "acme", f"--{option}", given)
    assert "the temporary value" in ended.err and "ends with this" in ended.err
    shown = acme.one("customer", "show", "acme")
    assert shown[column] == stored and shown["temporary"] == []
    assert acme.sql(f"SELECT {column} FROM postern.replica_customers") == [(stored,)]


@pytest.mark.parametrize("option, column", [(n[0], n[1]) for n in LIMITS[:5]], ids=[n[0] for n in LIMITS[:5]])
def test_every_limit_takes_none(acme, option, column):
    acme("customer", "set", "acme", f"--{option}", "none")
    assert acme.one("customer", "show", "acme")[column] is None
    acme("customer", "set", "acme", f"--{option}", "none", "--until", "+1h")
    assert acme.one("customer", "show", "acme")["temporary"][0]["value"] is None
    write_replica(acme)
    unlimited = {"max_message_size_bytes": 2 ** 64 - 1, "retention_days": 3650}.get(column, 2 ** 32 - 1)
    assert f"{column}={unlimited}" in probe_customer(acme, 0)
    acme("customer", "add", "beta", f"--{option}", "none")
    assert acme.one("customer", "show", "beta")[column] is None


def test_a_temporary_limit_is_said_with_its_end(acme):
    year = datetime.date.today().year + 1
    done = acme("customer", "set", "acme", "--max-connections-per-hour", "1000", "--until", f"{year}-12-01")
    assert f"until {year}-12-01 00:00" in done.out
    text = acme("customer", "show", "acme").out
    assert f"1000 until {year}-12-01 00:00 (then 200)" in text and "no relayd runs here" in text
    acme("customer", "set", "acme", "--max-connections-per-hour", "300", "--until", "+1h")
    change, = acme.one("customer", "show", "acme")["temporary"]
    assert change["value"] == 300, "the next takes its place"
    acme.sql("UPDATE postern.customer_changes SET until_at = now() - interval '1 second'")
    shown = acme.one("customer", "show", "acme")
    assert shown["max_connections_per_hour"] == 200 and shown["temporary"] == []
    acme.sql("UPDATE postern.customer_changes SET until_at = now() - interval '2 days'")
    assert acme.sql("SELECT * FROM postern.replica_customer_changes") == []
    acme("customer", "set", "acme", "--retention-days", "6")
    assert acme.sql("SELECT count(*) FROM postern.customer_changes") == [(0,)], "what has ended is cleared away"
    acme("customer", "set", "acme", "--retention-days", "9", "--until", "+1h")
    assert acme.sql("SELECT who, operation, new_row->>'field' FROM postern.audit ORDER BY id DESC LIMIT 1") == \
        [("postern", "insert", "retention_days")]


def test_a_list_has_each_customers_own_temporary_values(ctl):
    ctl.sql("INSERT INTO postern.customers (name) SELECT 'c' || lpad(n::text, 5, '0') FROM generate_series(1, 20000) n")
    ctl.sql("INSERT INTO postern.customer_changes (customer_id, field, value, until_at)"
            " SELECT id, field, CASE field WHEN 'retention_days' THEN (id % 300 + 1)::text ELSE '7' END, now() + interval '1 hour'"
            " FROM postern.customers, unnest(ARRAY['retention_days', 'max_recipients_per_message']) field WHERE id % 13 = 0")
    assert [r["retention_days"] for r in ctl("customer", "list", "--json").rows] == [n % 300 + 1 if n % 13 == 0 else 5 for n in range(1, 20001)]


def test_the_zone_of_a_date_is_the_services(acme):
    acme.configure(timezone="Asia/Tokyo")
    acme("customer", "set", "acme", "--retention-days", "9", "--until", "2099-12-01")
    assert acme.one("customer", "show", "acme")["temporary"][0]["until_at"] == "2099-11-30T15:00:00.000Z"


def test_a_size_above_the_nodes_own_is_a_warning_with_a_remedy(acme):
    assert "warning" not in acme("customer", "set", "acme", "--max-message-size", "20MiB").err
    for line in ("set acme --max-message-size 50MiB", "set acme --max-message-size 50MiB --until +1d",
                 "add beta --max-message-size 50MiB"):
        err = acme("customer", *line.split()).err
        assert "warning: 50MiB is more than this node takes" in err and "max-message-size in " in err
    acme.configure(**{"max-message-size": "64MiB"})
    assert "warning" not in acme("customer", "set", "acme", "--max-message-size", "50MiB").err


def test_the_language_in_which_a_customer_is_told(acme):
    assert acme.one("customer", "show", "acme")["language"] == "en"
    acme("customer", "set", "acme", "--language", "nl")
    acme("customer", "add", "beta", "--contact", "b@other.example", "--language", "da")
    assert acme.sql("SELECT name, contact, language FROM postern.replica_customers ORDER BY name") == [
        ("acme", "ops@acme.example", "nl"), ("beta", "b@other.example", "da")]
    assert "en, de, nl or da" in acme("customer", "set", "acme", "--language", "klingon", code=2).err
    with pytest.raises(psycopg2.IntegrityError):
        acme.sql("UPDATE postern.customers SET language = 'xx'")


def test_a_contact_that_depends_on_the_server_itself_is_a_warning_with_a_remedy(ctl):
    """At whichever step it comes about; what was asked is done, and a contact elsewhere is none."""
    def warned(*line, count=1):
        done = ctl.one(*line)
        assert len(done["warnings"]) == count, (line, done)
        return done["warnings"]

    warned("customer", "add", "acme", "--contact", "ops@Mail.acme.example", count=0)
    for line in (("domain", "add", ".acme.example", "--customer", "acme"), ("backend", "add", "192.0.2.10:25", "--customer", "acme"),
                 ("customer", "set", "acme", "--contact", "it@www.acme.example")):
        said = warned(*line)[0]
        assert "own domain .acme.example" in said and "relayctl customer set acme --contact ADDRESS" in said
    done = ctl("customer", "set", "acme", "--contact", "ops@acme.example")
    assert "warning" not in done.err, "the subdomains' server does not take it"
    done = ctl("customer", "set", "acme", "--contact", "ops@a.acme.example")
    assert "relayctl: warning: ops@a.acme.example, the contact of acme, is in" in done.err and "changed customer acme" in done.out
    warned("customer", "set", "acme", "--contact", "acme@other.example", count=0)

    warned("customer", "add", "beta", "--contact", "beta@x.acme.example", count=0)
    warned("domain", "add", "beta.example", "--customer", "beta", count=0)
    warned("backend", "add", "192.0.2.10:26", "--customer", "beta", count=0)
    said = warned("backend", "set", "beta/1", "--address", "192.0.2.10")[0]
    assert "beta@x.acme.example, the contact of beta, is in .acme.example" in said and "192.0.2.10 port 25" in said
    assert "the contact of beta" in warned("backend", "add", "192.0.2.11", "--customer", "acme")[0], "whoever is changed"
    warned("backend", "set", "beta/1", "--priority", "5", count=0)


@pytest.mark.parametrize("field, value", [
    ("retention_days", "0"), ("retention_days", "366"), ("retention_days", "x"), ("retention_days", "-1"), ("contact", "x"),
    ("max_message_size_bytes", "1023"), ("max_connections_per_hour", "10000001"), ("max_recipients_per_message", ""),
    ("max_messages_per_connection", "9" * 30), ("connections_scope", "all"), ("connections_scope", None), ("bare_lf", "keep"),
    ("policy", None), ("policy", "paranoid"), ("policy", "spf=mark"), ("filters_only", "t")])
def test_the_database_holds_the_ranges_of_temporary_values(acme, field, value):
    with pytest.raises(psycopg2.IntegrityError):
        acme.sql("INSERT INTO postern.customer_changes (customer_id, field, value, until_at)"
                 " SELECT id, %s, %s, now() + interval '1 day' FROM postern.customers", field, value)


def test_a_customer_takes_its_temporary_changes_along(acme):
    acme("customer", "add", "beta")
    acme("customer", "set", "beta", "--retention-days", "9", "--until", "+1d")
    acme("customer", "remove", "beta", "--reason", "x")
    assert acme.sql("SELECT count(*) FROM postern.customer_changes") == [(0,)]


def test_the_use_of_a_customer_is_unknown_without_relayd(acme):
    shown = acme.one("customer", "show", "acme")
    assert shown["messages_today"] is None and shown["refusals_today"] is None and shown["max_connections_per_hour"] == 200
    listed, = acme("customer", "list", "--use", "--json").rows
    assert listed["messages_today"] is None
    assert "no relayd runs here" in acme("customer", "list", "--use").err
    assert "messages_today" not in acme.one("customer", "list")


def test_help_of_customer_set_says_what_can_be_set(empty):
    text = empty("customer", "set", "--help").out
    for option in [option for option, *_ in LIMITS] + ["policy", "filters-only"]:
        assert f"--{option}" in text
    for word in ("--until", "+2d", "2026-12-01", "customer", "client", "refuse", "normalise", "none"):
        assert word in text
    assert "--until" not in empty("customer", "add", "--help").out


# --- What nodes and the database see.


def test_every_change_notifies_with_its_version(acme):
    listener = acme.postgres.connect(acme.database)
    listener.cursor().execute("LISTEN postern_registry")
    acme("customer", "set", "acme", "--retention-days", "6")
    assert select.select([listener], [], [], 5)[0]
    listener.poll()
    assert [n.payload for n in listener.notifies] == [str(acme.version())]
    listener.close()


def test_versions_are_in_commit_order(acme):
    """The second change waits for the first, however early it began."""
    first, second = acme.postgres.connect(acme.database), acme.postgres.connect(acme.database)
    first.autocommit = second.autocommit = False
    before = acme.version()
    second.cursor().execute("SELECT 1")  # its transaction begins first
    first.cursor().execute("UPDATE postern.customers SET retention_days = 8")
    second.cursor().execute("SET lock_timeout = '200ms'")
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        second.cursor().execute("UPDATE postern.domains SET when_down = 'defer'")
    second.rollback()
    first.cursor().execute("UPDATE postern.backends SET priority = 1")
    first.commit()
    assert acme.version() == before + 1, "one bump a transaction"
    first.close(), second.close()


@pytest.mark.parametrize("statement", [
    "INSERT INTO postern.customers (name) VALUES ('Acme')", "INSERT INTO postern.customers (name) VALUES ('a b')",
    "UPDATE postern.customers SET state = 'gone'", "UPDATE postern.customers SET retention_days = 0",
    "INSERT INTO postern.domains (name, customer_id) VALUES ('B.example', 1)",
    "INSERT INTO postern.domains (name, customer_id) VALUES ('b', 1)",
    "INSERT INTO postern.domains (name, customer_id) VALUES ('b.example', 999)",
    "INSERT INTO postern.domains (name, customer_id) VALUES ('192.0.2.1', 1)",
    "UPDATE postern.domains SET when_down = 'bounce'", "UPDATE postern.backends SET port = 0",
    "UPDATE postern.backends SET address = '192.0.2.0/24'", "DELETE FROM postern.customers",
    "UPDATE postern.customers SET policy = 'spf=mark'", "UPDATE postern.customers SET policy = 'strict,greylist=reject'",
    "UPDATE postern.customers SET policy = 'strict,spf=forged'", "UPDATE postern.customers SET policy = 'strict,'",
    "INSERT INTO postern.upstream_filters (customer_id, number, network) VALUES (1, 1, '10.0.0.0/7')",
    "INSERT INTO postern.upstream_filters (customer_id, number, network, label) VALUES (1, 1, '10.0.0.0/8', '7')",
    "INSERT INTO postern.upstream_filters (customer_id, number, network, origin) VALUES (1, 1, '10.0.0.0/8', 'x')",
    "INSERT INTO postern.sender_rules (customer_id, action, domain) VALUES (1, 'block', 'b.example')",
    "INSERT INTO postern.sender_rules (customer_id, action, domain) VALUES (1, 'allow', 'B.example')",
    "INSERT INTO postern.sender_rules (customer_id, action, sender) VALUES (1, 'allow', 'Sam@b.example')",
    "INSERT INTO postern.sender_rules (customer_id, action) VALUES (1, 'allow')",
    "INSERT INTO postern.sender_rules (action, domain, reason) VALUES ('block', 'b.example', 'x')",
    "INSERT INTO postern.sender_rules (customer_id, action, network) VALUES (1, 'allow', '::/0')"])
def test_the_database_holds_the_rules_by_itself(acme, statement):
    with pytest.raises(psycopg2.IntegrityError):
        acme.sql(statement)


def test_roles_have_the_least_rights(acme):
    def may(role, statement):
        with acme.postgres.connect(acme.database) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(f"BEGIN; SET ROLE {role}")
            try:
                cursor.execute(statement)
                return True
            except psycopg2.errors.InsufficientPrivilege:
                return False
            finally:
                cursor.execute("ROLLBACK")

    change, look = "UPDATE postern.domains SET when_down = 'defer'", "SELECT * FROM postern.customers"
    index, replica = "DELETE FROM postern.spool_index", "SELECT * FROM postern.replica_domains"
    event = "INSERT INTO postern.events (at, node, kind) VALUES (now(), 1, 'x')"
    forge, wipe = "INSERT INTO postern.audit (table_name, operation) VALUES ('x', 'insert')", "DELETE FROM postern.audit"
    bury = "INSERT INTO postern.removed_domains (name, customer_id, customer, reason) VALUES ('b.example', 1, 'acme', 'x')"
    sign = "INSERT INTO postern.removed_domains (name, customer_id, customer, removed_by) VALUES ('b.example', 1, 'acme', 'x')"
    date = "INSERT INTO postern.removed_domains (name, customer_id, customer, removed_at) VALUES ('b.example', 1, 'acme', '2001-01-01')"
    change_for_a_time = "DELETE FROM postern.customer_changes"
    changes = "SELECT * FROM postern.replica_customer_changes"
    order = "SELECT postern.audit_spool_order(now(), 1, 'key', 'root', 'hold', 'why', '', '{}')"
    command = "INSERT INTO postern.spool_commands (node, act, refs) VALUES (1, 'retry', '{x}')"
    hold, forget = command.replace("retry", "hold"), "SELECT postern.recipient_forget('acme.example', 'x')"
    read, events = "SELECT * FROM postern.audit", "SELECT * FROM postern.events"
    take = "SELECT postern.spool_commands_take(1, '{}', 1, true)"
    senders, rule = "SELECT * FROM postern.replica_filters, postern.replica_includes, postern.replica_rules", "DELETE FROM postern.sender_rules"
    resolved, networks = "SELECT postern.include_resolved('x.example', NULL, 'x')", "DELETE FROM postern.spf_includes"
    found, shown = "SELECT postern.scan_record('backend', '{\"name\": \"x\", \"findings\": []}')", "SELECT * FROM postern.scan_results"
    agreed, unfound = "SELECT postern.scan_consent('192.0.2.0/24', 'by mail')", "DELETE FROM postern.scan_results"
    rights = {"postern_relay": {replica, event, changes, senders, resolved}, "postern_spool": {replica, index, changes, order, take, senders},
              "postern_support": {replica, look, changes, senders, order, command, forget, read, events, shown},
              "postern_auditor": {look, read},
              "postern_operator": {replica, look, change, bury, changes, change_for_a_time, order, command, hold, senders, rule, read, forget, events,
                                   found, shown, agreed}}
    for role, granted in rights.items():
        for statement in (change, look, index, replica, event, forge, wipe, bury, sign, date, changes, change_for_a_time, order, command, take,
                          senders, rule, resolved, networks, read, hold, forget, events, found, shown, agreed, unfound):
            assert may(role, statement) == (statement in granted), (role, statement)


def test_an_operator_signs_what_he_blocks_with_his_own_name(acme):
    acme.sql("INSERT INTO postern.sender_rules (customer_id, action, domain, reason, created_by, created_at)"
             " VALUES (1, 'block', 'b.example', 'x', 'somebody', '2001-01-01')")
    assert acme.sql("SELECT created_by = session_user, created_at > now() - interval '1 minute' FROM postern.sender_rules") == [(True, True)]


def test_an_operator_signs_orders_to_the_spool_with_his_own_name(acme):
    """The keeper alone is believed who somebody is and when it was; what it says twice counts once."""
    acme.sql("CREATE ROLE olaf LOGIN IN ROLE postern_operator; CREATE ROLE kim LOGIN IN ROLE postern_spool")
    order = "SELECT postern.audit_spool_order('2026-01-02 03:04:05Z', 1, 'key-1', 'alice', 'remove', 'a worm', '', '{P001-4KX3T-0B7Q2CF}')"
    try:
        for role in ("olaf", "kim", "kim"):
            acme.sql(f"SET SESSION AUTHORIZATION {role}; {order}")
        rows = acme.sql("SELECT who, at < now() - interval '1 day', operation, reason, new_row -> 'refs' FROM postern.audit"
                        " WHERE table_name = 'spool' ORDER BY who")
        assert rows == [("alice", True, "delete", "a worm", ["P001-4KX3T-0B7Q2CF"]), ("olaf", False, "delete", "a worm", ["P001-4KX3T-0B7Q2CF"])]
    finally:
        acme.sql("DROP ROLE olaf, kim")


def test_support_staff_look_and_are_told_why_they_can_not_change(acme):
    acme.sql("CREATE ROLE susi LOGIN IN ROLE postern_support; CREATE ROLE olaf LOGIN IN ROLE postern_operator;"
             " CREATE ROLE paul LOGIN")
    try:
        acme.user = "susi"
        acme.configure()
        assert acme.one("customer", "show", "acme")["name"] == "acme"
        assert "postern_operator" in acme("customer", "set", "acme", "--retention-days", "9", code=1).err
        acme.user = "olaf"
        acme.configure()
        acme("customer", "set", "acme", "--retention-days", "9")
        acme("domain", "remove", "acme.example", "--reason", "x")
        acme("domain", "add", "acme.example", "--customer", "acme")
        assert acme.sql("SELECT DISTINCT who FROM postern.audit WHERE version > 4") == [("olaf",)]
        acme.user = "paul"
        acme.configure()
        assert "grant" in acme("customer", "list", code=1).err
    finally:
        acme.sql("DROP ROLE susi; DROP ROLE olaf; DROP ROLE paul")


def test_events_have_a_partition_a_day(ctl):
    ctl.sql("INSERT INTO postern.events (at, node, kind) VALUES (now(), 1, 'a'), (now() + interval '20 days', 1, 'b')")
    assert ctl.sql("SELECT kind FROM postern.events_default") == [("b",)]
    assert ctl.sql("SELECT postern.events_partitions_make(20)")[0][0] == 13
    assert ctl.sql("SELECT kind FROM postern.events_default") == []
    assert ctl.sql("SELECT count(*) FROM postern.events") == [(2,)]
    assert ctl.sql("SELECT postern.events_partitions_make(20)") == [(0,)]
    assert ctl.sql("SELECT postern.events_partitions_drop((now() AT TIME ZONE 'UTC')::date)") == [(1,)]


# --- Without a database.


def test_a_setting_that_is_wrong_or_missing_is_said_so(acme):
    acme.configure(database="host=/nowhere nonsense=1")
    assert '"database" is wrong' in acme("customer", "list", code=1).err
    acme.configure(database=None)
    assert '"database" is not set' in acme("customer", "list", code=1).err
    acme.config_file.unlink()
    assert "postern.conf" in acme("customer", "list", code=1).err


class Refuser:
    """A PostgreSQL that speaks another language and refuses everybody with one SQLSTATE."""

    def __init__(self, sqlstate, sentence):
        fields = f"SFATAL\0VFATAL\0C{sqlstate}\0M{sentence}\0Fauth.c\0L1\0Rrefuse\0\0".encode()
        self.answer = b"E" + struct.pack(">I", len(fields) + 4) + fields
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                while True:
                    length, code = struct.unpack(">II", peer.recv(8, socket.MSG_WAITALL))
                    if code not in (80877103, 80877104):  # SSL, GSS
                        break
                    peer.sendall(b"N")
                peer.recv(length - 8, socket.MSG_WAITALL)
                peer.sendall(self.answer)

    @property
    def conninfo(self):
        return f"host=127.0.0.1 port={self.listener.getsockname()[1]} dbname=x user=y"


REFUSALS = [("28000", "Peer-Authentifizierung fehlgeschlagen", 1, "pg_hba.conf"), ("28P01", "falsch", 1, "user and password"),
            ("3D000", "Datenbank gibt es nicht", 1, "createdb"), ("42501", "keine Berechtigung", 1, "GRANT CONNECT"),
            ("57P03", "startet gerade", 75, "away"), ("53300", "zu viele Verbindungen", 75, "away"),
            ("0A000", "geht nicht", 1, "PostgreSQL's log")]


@pytest.mark.parametrize("sqlstate, sentence, code, word", REFUSALS, ids=[r[0] for r in REFUSALS])
def test_a_refusal_is_known_in_any_language(empty, sqlstate, sentence, code, word):
    refuser = Refuser(sqlstate, sentence)
    empty.configure(database=refuser.conninfo)
    err = empty("customer", "list", code=code).err
    refuser.listener.close()
    assert sentence in err and word in err and "LOCATION" not in err and ("does not let us in" in err) == (code == 1)


def test_help_needs_nothing(empty):
    empty.config_file.unlink()
    for line in ("help", "--help", "customer --help", "help customer add", "customer add --help", "help status"):
        assert "Example:" in empty(*line.split()).out
    assert empty("--version").out.startswith("relayctl ")
    assert "no command" in empty("help", "nonsense", code=2).err


@pytest.fixture
def spooled(empty):
    """A spool with three messages, and no database."""
    maker = build_dir() / MAKE_SPOOL
    if not maker.exists():
        pytest.skip(f"{maker} is not built (configure --disable-unit-tests?)")
    done = subprocess.run([str(maker), str(empty.dirs["spool-dir"])], capture_output=True, text=True, check=True)
    empty.ids = done.stdout.split()
    empty.configure(database="host=/nowhere connect_timeout=1")
    return empty


def test_P5_the_spool_is_shown_without_database_and_daemons(spooled):
    rows = spooled("spool", "list", "--json").rows
    assert [r["id"] for r in rows] == spooled.ids
    assert rows[1]["from"] == "<>" and rows[1]["recipients"] == ["Olga@beta.example", "otto@sub.beta.example"]
    assert all(r["state"] == "waiting" and r["size_bytes"] == 2000 and r["next_attempt_at"] is None for r in rows)
    text = spooled("spool", "list").out.splitlines()
    assert len(text) == 4 and text[0].startswith("ID") and "Olga@beta.example and 1 more" in text[2]
    summary = spooled("spool", "summary", "--json").rows
    assert [(s["customer"], s["messages"], s["open_recipients"]) for s in summary] == [("acme", 2, 2), ("beta", 1, 2)]


SELECTORS = [("", "012"), ("--customer acme", "02"), ("--domain beta.example", "1"), ("--domain .beta.example", "1"),
             ("--domain .acme.example", ""), ("--rcpt olga@BETA.example", "1"), ("--from <>", "1"),
             ("--rcpt <Olga@beta.example>", "1"), ("--rcpt @BETA.example", "1"), ("--rcpt @eta.example", ""), ("--from <sue@sender.example>", "2"),
             ("--from @sender.EXAMPLE", "02"), ("--from @example", ""),
             ("--from sue@sender.example", "2"), ("--older 2h", "0"), ("--newer 2h", "12"), ("--older 30m --newer 2h", "1"),
             ("--state waiting", "012"), ("--state held", ""), ("--state ended", ""), ("--id {0}", "0"),
             ("{0} {2}", "02"), ("{0} --customer beta", "")]


@pytest.mark.parametrize("line, wanted", SELECTORS, ids=[s[0] or "all" for s in SELECTORS])
def test_selectors_select(spooled, line, wanted):
    done = spooled("spool", "list", "--json", *line.format(*spooled.ids).split(), code=0 if wanted else 3)
    assert [r["id"] for r in done.rows] == [spooled.ids[int(i)] for i in wanted]


def test_ids_come_from_standard_input_in_any_text(spooled):
    text = f"250 2.0.0 [{spooled.ids[2].lower()}] queued\n\n{spooled.ids[0]}\n"
    assert [r["id"] for r in spooled("spool", "list", "-", "--json", input=text).rows] == [spooled.ids[0], spooled.ids[2]]
    spooled("spool", "list", "-", code=3)
    assert "not an id" in spooled("spool", "list", "-", input="hello\n", code=2).err


def test_a_message_is_shown_whole(spooled):
    shown = spooled.one("spool", "show", spooled.ids[1])
    assert shown["customer"] == "beta" and shown["possible_duplicate"] is True and shown["sender_verified"] is False
    assert [(r["address"], r["state"]) for r in shown["recipients"]] == [("Olga@beta.example", "open"),
                                                                        ("otto@sub.beta.example", "open")]
    assert "otto@sub.beta.example" in spooled("spool", "show", spooled.ids[1]).out
    absent = "P001-4KX3T-0B7Q2CF"
    spooled("spool", "show", absent, code=3)
    spooled("spool", "show", absent, spooled.ids[0], code=4)


def write_replica(ctl):
    """What relayd's control process would know of the registry."""
    probe = build_dir() / CONTROL_PROBE
    if not probe.exists():
        pytest.skip(f"{probe} is not built (make check)")
    with subprocess.Popen([str(probe), "run", str(ctl.config_file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as running:
        assert any(line == "written\n" for line in running.stdout)
        running.terminate()


def probe_customer(ctl, wall_ms):
    """The limits of acme.example's customer as relayd sees them at that moment."""
    return subprocess.run([str(build_dir() / CONTROL_PROBE), "customer", str(ctl.dirs["state-dir"] / "replica.cdb"),
                           "acme.example", str(wall_ms)], capture_output=True, text=True, check=True).stdout.split()


def test_mail_without_a_route_says_what_it_needs(acme):
    subprocess.run([str(build_dir() / MAKE_SPOOL), str(acme.dirs["spool-dir"])], capture_output=True, check=True)

    def states():
        return [r["state"] for r in acme("spool", "list", "--json").rows]

    assert states() == ["waiting"] * 3, "nothing is known without a replica"
    write_replica(acme)
    assert states() == ["waiting", "no-route", "waiting"]
    stuck, = acme("spool", "list", "--state", "no-route", "--json").rows
    assert "when routed" in acme("spool", "list", "--state", "no-route").out
    assert "domain add beta.example --customer beta" in acme.one("spool", "show", stuck["id"])["remedy"]
    assert [(s["customer"], s["no_route"]) for s in acme("spool", "summary", "--json").rows] == [("acme", 0), ("beta", 1)]
    status = acme.one("status", code=1)["spool"]
    assert status["state"] == "no-route" and status["no_route"] == 1 and "--state no-route" in status["detail"]

    acme("customer", "add", "beta")
    acme("domain", "add", "beta.example", "--customer", "beta")
    acme("domain", "add", ".beta.example", "--customer", "beta")
    acme("backend", "hold", "acme/1", "--reason", "x")
    write_replica(acme)
    assert states() == ["waiting", "no-route", "waiting"]
    assert "backend add ADDRESS:PORT --customer beta" in acme("spool", "show", stuck["id"]).out
    text = acme("spool", "list", "--customer", "acme").out
    assert text.count("when released") == 2
    acme("backend", "add", "192.0.2.11", "--customer", "beta")
    acme("domain", "remove", "acme.example", "--reason", "x", "--spool", "keep")
    write_replica(acme)
    assert states() == ["no-route", "waiting", "no-route"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_what_may_not_be_read_is_unknown(acme):
    write_replica(acme)
    acme.folder.chmod(0o755)
    for name in ("state-dir", "spool-dir", "run-dir"):
        (acme.dirs[name] / "lock").touch()
        acme.dirs[name].chmod(0o700)
    command = [program(RELAYCTL), "-c", str(acme.config_file)]

    def as_nobody(*args):
        return Done(subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command, *args],
                                   capture_output=True, text=True, timeout=60))

    status = as_nobody("status", "--json").rows[0]
    for part in ("relayd", "spoolmgr", "replica", "spool"):
        assert status[part]["state"] == "unknown", part
        assert "run relayctl as the user of the daemons or as root" in status[part]["detail"]
    shown = as_nobody("node", "show")
    assert "unknown" in shown.out and "run relayctl as" in shown.err and "damaged" not in shown.out


def test_an_unreadable_spool_is_explained(empty):
    empty.dirs["spool-dir"].rmdir()
    for verb in ("list", "summary"):
        assert "does not exist" in empty("spool", verb, code=1).err


def test_status_says_what_needs_an_operator(spooled):
    status = spooled.one("status", code=1)
    assert status["ok"] is False and status["spool"]["messages"] == 3 and status["spool"]["state"] == "ok"
    assert {n: status[n]["state"] for n in ("relayd", "spoolmgr", "database", "replica")} == {
        "relayd": "stopped", "spoolmgr": "stopped", "database": "unreachable", "replica": "missing"}
    text = spooled("status", code=1).out
    assert "start relayd" in text and "3 messages" in text and "need an operator" in text


def test_a_replica_that_is_not_there_yet_is_no_trouble(acme):
    pid_file = acme.dirs["run-dir"] / "relayd.pid"
    with open(pid_file, "w") as held:
        held.write(f"{os.getpid()}\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        replica = acme.one("status", code=1)["replica"]
        assert replica["state"] == "starting" and not replica["needs_operator"]
        os.utime(pid_file, (time.time() - 60,) * 2)
        replica = acme.one("status", code=1)["replica"]
        assert replica["state"] == "missing" and replica["needs_operator"], "it takes too long"


def test_a_refused_registry_is_shown_and_accepted(ctl):
    (ctl.dirs["state-dir"] / "registry-offered").write_text("database_id abc\nversion 17\nwhy 40 of 50 domains are gone\n")
    shown = ctl.one("node", "show", code=1)
    assert shown["refused_registry_version"] == 17 and "40 of 50" in shown["refused_reason"]
    marker = ctl.dirs["state-dir"] / "accept-registry"
    ctl("node", "accept-registry", code=2)
    ctl("node", "accept-registry", "--reason", "right", "--dry-run")
    assert not marker.exists()
    assert "40 of 50" in ctl("node", "accept-registry", "--reason", "right").out
    assert marker.read_text() == "database_id abc\nversion 17\n"


def test_an_accepted_spool_is_found_in_the_audit(ctl):
    ctl.sql("INSERT INTO postern.spool_logs (node, log, ledger, octets, refused_at) VALUES (5, repeat('0', 32), 1, 1, now())")
    ctl("node", "accept-spool", "--node", "5", "--reason", "the disk was lost")
    row = ctl.one("audit", "--what", "spool_logs")
    assert (row["what"], row["reason"], row["changes"]["node"]) == ("spool_logs", "the disk was lost", {"old": None, "new": 5})


# --- node list


def test_nodes_are_listed_by_what_they_leave_in_postgresql(ctl):
    assert ctl("node", "list").out == "" and ctl("node", "list", "--json").rows == []
    ctl.sql("INSERT INTO postern.spool_nodes VALUES (1, now(), true), (2, now() - interval '70 seconds', false), (5, now(), true)")
    ctl.sql("INSERT INTO postern.events_copied (node, file, offset_bytes, copied_at) VALUES (1, 'a', 1, now() - interval '2 hours'), "
            "(1, 'b', 1, now() - interval '5 minutes'), (3, 'c', 1, now())")
    ctl.sql("INSERT INTO postern.spool_index (ref, node, size_bytes, received_at) VALUES ('a', 2, 1000, now() - interval '3 hours'), "
            "('b', 2, 24, now()), ('c', 4, 1, now())")
    ctl.sql("INSERT INTO postern.spool_logs (node, log, ledger, octets, refused_at) VALUES (5, repeat('0', 32), 1, 1, now())")
    rows = ctl("node", "list", "--json").rows
    assert [(r["node"], r["state"], r["index_is_whole"], r["messages"], r["size_bytes"]) for r in rows] == [
        (1, "running", True, 0, 0), (2, "silent", False, 2, 1024), (3, "unknown", None, 0, 0), (4, "unknown", None, 1, 1),
        (5, "refused", True, 0, 0)]
    assert rows[0]["keeper_seen_at"] and rows[0]["events_copied_at"] and rows[0]["oldest_received_at"] is None
    assert rows[2]["keeper_seen_at"] is None and rows[1]["oldest_received_at"]
    text = ctl("node", "list").out
    assert all(len(line) <= 80 for line in text.splitlines()), text
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["NODE", "STATE", "KEEPER", "SEEN", "INDEXED", "EVENTS", "WAITING", "SIZE", "OLDEST"]
    assert "5 min ago" in text and "3 h ago" in text and "1 KiB" in text
