# SPDX-License-Identifier: BSD-2-Clause
"""The control process alone, between a real PostgreSQL and a replica file (P5).

control_probe runs it as relayd's parent would and prints what it says; it also looks domains up as a worker would.
"""
import re
import subprocess
import time
from pathlib import Path

import pytest

from harness import SOURCE, Postgres, Process, build_dir, make_folder, own, remove_folder, unprivileged_user, wait_until, write_config

SCHEMA = sorted((SOURCE / "sql").glob("[0-9]*.sql"))


class Control:
    """The control process with its state-dir, its database and its log."""

    def __init__(self, postgres, database="postern"):
        self.folder = make_folder("postern-control-")
        self.user = unprivileged_user("nobody")
        self.state = self.folder / "state"
        self.state.mkdir()
        own(self.state, self.user)
        self.replica = self.state / "replica.cdb"
        self.postgres = postgres
        self.probe = str(build_dir() / "tests/integration/control_probe")
        self.process = None
        self.runs = 0
        self.use(database)

    def use(self, database):
        conninfo = self.postgres.conninfo(database) if database else ""
        write_config(self.folder / "postern.conf", {"state-dir": self.state, "database": conninfo, "resolver": "127.0.0.1:1"})  # nobody there

    def start(self):
        self.runs += 1
        self.process = Process([self.probe, "run", str(self.folder / "postern.conf")], self.folder / f"control-{self.runs}.log",
                               user=self.user)
        self.process.start()
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            assert "ERROR: " not in self.text(), self.text()  # a sanitizer's report

    def restart(self, database):
        self.stop()
        self.use(database)
        return self.start()

    def close(self):
        self.stop()
        remove_folder(self.folder)

    def text(self):
        return self.process.text()

    def says(self, event, times=1, timeout=20):
        wait_until(lambda: len(re.findall(rf" {event}\b", self.text())) >= times, timeout, f"the log says {event}")

    def domain(self, name):
        done = subprocess.run([self.probe, "domain", str(self.replica), name], capture_output=True, text=True, timeout=20)
        return done.stdout.strip().removeprefix(name + " ")

    def sender(self, name, address="192.0.2.1", sender=""):
        """How the domain's customer sees that sender: the first word of each line, and the rest."""
        done = subprocess.run([self.probe, "sender", str(self.replica), name, address, sender], capture_output=True, text=True,
                              timeout=20)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def becomes(self, name, what, timeout=10):
        wait_until(lambda: self.domain(name).startswith(what), timeout, f"{name} becomes {what}; it is {self.domain(name)}")

    def offered(self):
        path = self.state / "registry-offered"
        return dict(line.split(" ", 1) for line in path.read_text().splitlines()) if path.exists() else None

    def accept(self, database_id=None, version=None):
        offered = self.offered()
        path = self.state / "accept-registry"
        path.write_text(f"database_id {database_id or offered['database_id']}\nversion {version or offered['version']}\n")


def make_schema(postgres, database, version=len(SCHEMA)):
    postgres.create_database(database)
    for path in SCHEMA:
        postgres.sql(path.read_text(), database=database)
    postgres.sql("UPDATE postern.registry_state SET schema_version = %s", version, database=database)


def add_customer(postgres, name, domains, database="postern", address="192.0.2.1"):
    ((customer,),) = postgres.sql("INSERT INTO postern.customers (name) VALUES (%s) RETURNING id", name, database=database)
    for domain in domains:
        postgres.sql("INSERT INTO postern.domains (name, customer_id) VALUES (%s, %s)", domain, customer, database=database)
    postgres.sql("INSERT INTO postern.backends (customer_id, number, address) VALUES (%s, 1, %s)", customer, address,
                 database=database)
    return customer


def state_of(postgres, database="postern"):
    ((database_id, version),) = postgres.sql("SELECT database_id, version FROM postern.replica_state", database=database)
    return database_id, version


@pytest.fixture(scope="module")
def cluster():
    postgres = Postgres().start()
    yield postgres
    postgres.close()


@pytest.fixture
def database(cluster, request):
    """A database with the schema and 20 domains of acme, d0.example to d19.example."""
    if not cluster.process.alive:
        cluster.start()
    names = []

    def make(name="postern", domains=20, schema=True):
        cluster.drop_database(name)
        names.append(name)
        if not schema:
            cluster.create_database(name)
            return cluster
        make_schema(cluster, name)
        add_customer(cluster, "acme", [f"d{n}.example" for n in range(domains)], database=name)
        return cluster

    make()
    cluster.make = make
    yield cluster
    if not cluster.process.alive:
        cluster.start()
    for name in names:
        cluster.drop_database(name)


@pytest.fixture
def control(database, world_of):
    started = world_of(Control(database))
    started.says("replica-written")
    return started


def test_a_registry_becomes_a_replica(control, database):
    assert control.domain("d0.example") == "served acme accept 192.0.2.1:25"
    assert control.domain("else.example") == "unknown"
    assert "written" in control.text().splitlines()
    assert "database up" in control.text()


def test_a_change_is_live_within_a_second(control, database):
    took = []
    for n in range(12):
        began = time.monotonic()
        add_customer(database, f"c{n}", [f"c{n}.example"], address="2001:db8::1")  # three transactions and more
        committed = time.time()
        wait_until(lambda: control.domain(f"c{n}.example") == f"served c{n} accept [2001:db8::1]:25", 5)
        took.append(max(0, control.replica.stat().st_mtime - committed))  # the look itself may be slow
        wait_until(lambda: time.monotonic() > began + 0.37 * (n % 4), 3)
    assert sorted(took)[len(took) // 2] < 1 and max(took) < 1.5, took
    print(f"live after {sorted(took)}")


def test_replicas_are_written_at_most_once_a_second(control, database):
    before = control.text().count("written\n")
    began = time.monotonic()
    for n in range(100):
        database.sql("UPDATE postern.customers SET state_reason = %s", f"change {n}")
    wait_until(lambda: time.monotonic() > began + 3, 10)
    assert control.text().count("written\n") - before <= time.monotonic() - began + 2


def test_P5_a_database_restart(control, database):
    database.stop()
    control.says("database-down")
    assert control.domain("d0.example").startswith("served")
    database.start()
    control.says("database-up", times=2)
    add_customer(database, "late", ["late.example"])
    control.becomes("late.example", "served")


def test_P5_a_database_that_is_killed(control, database):
    database.kill()
    control.says("database-down")
    database.start()
    add_customer(database, "late", ["late.example"])
    control.becomes("late.example", "served", timeout=20)


def test_P5_the_last_replica_stays_when_the_database_is_away_at_start(control, database):
    control.stop()
    database.stop()
    control.start()
    control.says("replica-found")
    control.says("database-down")
    assert control.domain("d0.example").startswith("served")
    time_before = len(re.findall("database-down", control.text()))
    assert time_before <= 3, control.text()
    database.start()
    control.says("replica-written")


def test_P5_empty_older_and_foreign_databases_in_turn(control, database):
    database_id, version = state_of(database)

    database.make("empty", schema=False)
    control.restart("empty")
    control.says("database-schema")
    assert "db init" in control.text() and control.domain("d0.example").startswith("served")

    database.make("fresh", domains=0)
    control.restart("fresh")
    control.says("registry-refused")
    assert "relayctl node accept-registry" in control.text()
    assert control.domain("d0.example").startswith("served")
    assert control.offered()["database_id"] == state_of(database, "fresh")[0]

    database.make("older")
    database.sql("UPDATE postern.registry_state SET database_id = %s, version = 1", database_id, database="older")
    control.restart("older")
    control.says("registry-refused")
    assert "older" in control.offered()["why"] and control.offered()["version"] == "1"
    assert control.domain("d19.example").startswith("served")

    database.make("foreign")
    control.restart("foreign")
    control.says("registry-refused")
    assert "another database" in control.offered()["why"]

    control.restart("postern")
    control.says("replica-written")
    assert control.offered() is None
    assert control.domain("d19.example").startswith("served")


def test_P5_the_schema_is_older_newer_or_gone(control, database):
    database.sql("UPDATE postern.registry_state SET schema_version = 1")
    control.restart("postern")
    control.says("database-schema")
    assert "relayctl db migrate" in control.text()
    database.sql("UPDATE postern.registry_state SET schema_version = 999")
    wait_until(lambda: "newer than this program" in control.text(), 20)
    database.sql("DROP SCHEMA postern CASCADE")
    wait_until(lambda: "no Postern schema" in control.text(), 20)
    assert control.domain("d0.example").startswith("served")
    assert len(re.findall("database-schema", control.text())) <= 4, "said once per change"


def test_P5_five_domains_may_go_and_are_missing_the_sixth_is_refused(control, database):
    for n in range(5):
        database.sql("DELETE FROM postern.domains WHERE name = %s", f"d{n}.example")
    control.becomes("d4.example", "missing")
    assert control.domain("d0.example").startswith("missing") and control.domain("d5.example").startswith("served")
    database.sql("DELETE FROM postern.domains WHERE name = 'd5.example'")
    control.says("registry-refused")
    assert control.domain("d5.example").startswith("served")
    database.sql("INSERT INTO postern.domains (name, customer_id) SELECT 'd5.example', id FROM postern.customers")
    control.becomes("d5.example", "served")
    wait_until(lambda: control.offered() is None, 10)
    database.sql("INSERT INTO postern.domains (name, customer_id) SELECT 'd0.example', id FROM postern.customers")
    control.becomes("d0.example", "served")


def test_P5_all_domains_gone_is_refused_until_an_operator_accepts(control, database):
    database.sql("DELETE FROM postern.domains")
    control.says("registry-refused")
    assert control.domain("d7.example").startswith("served")
    assert control.offered()["why"].startswith("20 of 20 domains are gone")
    control.accept(database_id="0" * 32)
    control.says("acceptance-unfit")
    assert control.domain("d7.example").startswith("served")
    control.accept()
    control.becomes("d7.example", "missing")
    assert control.offered() is None and not (control.state / "accept-registry").exists()
    add_customer(database, "next", ["next.example"])
    control.becomes("next.example", "served")
    assert control.domain("d7.example").startswith("missing"), "and are not counted again"


def test_P5_a_foreign_database_is_accepted_by_an_operator(control, database):
    database.make("foreign", domains=3)
    control.restart("foreign")
    control.says("registry-refused")
    control.accept()
    control.says("replica-written")
    assert control.domain("d0.example").startswith("served") and control.domain("d9.example").startswith("missing")
    control.restart("foreign")
    control.says("replica-written")


def test_a_tombstone_refuses_at_once_and_ends_with_the_domain_s_return(control, database):
    database.sql("INSERT INTO postern.removed_domains (name, customer_id, customer) SELECT name, customer_id, 'acme' "
                 "FROM postern.domains; DELETE FROM postern.domains")
    control.becomes("d3.example", "removed")
    assert "registry-refused" not in control.text()
    database.sql("INSERT INTO postern.domains (name, customer_id) SELECT 'd3.example', id FROM postern.customers")
    control.becomes("d3.example", "served")


def test_who_sends_reaches_the_replica(control, database):
    assert control.sender("d0.example") == {"policy": "standard", "locked": "no", "needed": "1fff"}
    database.sql("UPDATE postern.customers SET policy = 'off,spf=mark,greylist=defer', filters_only = true;"
                 "INSERT INTO postern.upstream_filters (customer_id, number, label, network, origin, exempt)"
                 " SELECT id, 3, 'wall', '203.0.113.0/24', 'received', '{helo}' FROM postern.customers;"
                 "INSERT INTO postern.sender_rules (customer_id, action, domain, reason)"
                 " SELECT id, 'block', '.bad.example', 'sells junk' FROM postern.customers;"
                 "INSERT INTO postern.sender_rules (action, network, reason, expires_at)"
                 " VALUES ('block', '203.0.113.0/24', 'attacks', now() + interval '1 hour'),"
                 " ('block', '203.0.113.9/32', 'has ended', now() - interval '1 second')")
    wait_until(lambda: "filter" in control.sender("d0.example", "203.0.113.9"), 10)
    assert control.sender("d0.example", "203.0.113.9", "a@x.bad.example") == {
        "policy": "off,spf=mark,greylist=defer", "locked": "yes", "needed": "880",
        "filter": "3 wall 203.0.113.0/24 exempt=791 origin=received", "rule": "block .bad.example: sells junk",
        "node-wide": "block 203.0.113.0/24: attacks"}
    assert "registry-row-skipped" not in control.text()


def test_P5_a_policy_for_a_time_is_in_the_replica(control, database):
    database.sql("UPDATE postern.customers SET policy = 'off';"
                 "INSERT INTO postern.customer_changes (customer_id, field, value, until_at)"
                 " SELECT id, 'policy', 'strict,spf=mark', now() + interval '1 hour' FROM postern.customers")
    wait_until(lambda: control.sender("d0.example")["policy"] == "strict,spf=mark", 10)
    assert control.sender("d0.example")["needed"] == "1fff"


def test_P5_what_is_odd_about_policy_refuses_nobody(control, database):
    """A policy that is not ours checks nobody; a lock with a filter that cannot be read, or is not known yet, locks nobody out."""
    database.sql("ALTER TABLE postern.customers DROP CONSTRAINT customers_policy_form;"
                 "ALTER TABLE postern.upstream_filters DROP CONSTRAINT upstream_filters_network_width;"
                 "UPDATE postern.customers SET policy = 'paranoid', filters_only = true;"
                 "INSERT INTO postern.upstream_filters (customer_id, number, network) SELECT id, 1, '192.0.2.1/32' FROM postern.customers;"
                 "INSERT INTO postern.upstream_filters (customer_id, number, network) SELECT id, 2, '0.0.0.0/1' FROM postern.customers")
    control.says("registry-row-skipped", times=2)
    wait_until(lambda: "filter" in control.sender("d0.example"), 10)
    seen = control.sender("d0.example")
    assert (seen["policy"], seen["locked"], seen["needed"]) == ("off", "no", "0")
    assert "column=policy value=paranoid" in control.text() and "column=network" in control.text()
    database.sql("UPDATE postern.customers SET policy = 'off';"
                 "UPDATE postern.upstream_filters SET network = NULL, spf_include = 'spf.example' WHERE number = 2;"
                 "INSERT INTO postern.sender_rules (customer_id, action, domain) SELECT id, 'allow', 'seen.example' FROM postern.customers")
    wait_until(lambda: "rule" in control.sender("d0.example", sender="a@seen.example"), 10)
    assert control.sender("d0.example")["locked"] == "no", "its include has never been resolved"
    ((changed,),) = database.sql("SELECT version FROM postern.replica_state")
    database.sql("SET ROLE postern_relay; SELECT postern.include_resolved('spf.example', '{198.51.100.0/24,2001:db8::/32}', NULL)")
    database.sql("SELECT postern.include_resolved('spf.example', NULL, 'no answer')")
    database.sql("SELECT postern.include_resolved('stranger.example', '{192.0.2.0/24}', NULL)")
    assert database.sql("SELECT name, resolved::text[], resolve_error FROM postern.spf_includes") == \
        [("spf.example", ["198.51.100.0/24", "2001:db8::/32"], "no answer")], "a failure leaves the networks"
    assert database.sql("SELECT version FROM postern.replica_state") == [(changed,)], "it is nobody's change"
    control.says("filter-resolve-failed")
    database.sql("DELETE FROM postern.sender_rules")
    wait_until(lambda: control.sender("d0.example", "198.51.100.9").get("filter", "").startswith("2 filter 198.51.100.0/24"), 10)
    assert control.sender("d0.example")["locked"] == "yes"


def test_a_bad_row_is_skipped_and_told(control, database):
    database.sql("ALTER TABLE postern.domains DROP CONSTRAINT domains_name_form")
    database.sql("INSERT INTO postern.domains (name, customer_id) SELECT 'Not_Normal.Example', id FROM postern.customers")
    ((view,),) = database.sql("SELECT pg_get_viewdef('postern.replica_backends'::regclass)")
    database.sql("CREATE OR REPLACE VIEW postern.replica_backends AS " + view.replace("host(b.address)", "'mail.example'", 1))
    add_customer(database, "good", ["good.example"])
    control.becomes("good.example", "served")
    control.says("registry-row-skipped", times=2)
    assert "Not_Normal.Example" in control.text() and "column=address" in control.text()
    wait_until(lambda: control.domain("good.example") == "served good accept", 5)
    told = control.text().count("column=name")
    add_customer(database, "more", ["more.example"])
    control.becomes("more.example", "served")
    assert control.text().count("column=name") == told, "what has not changed is not said again"


def test_a_notification_that_is_lost_costs_a_minute_at_most(control, database):
    database.sql("ALTER TABLE postern.domains DISABLE TRIGGER registry_touch")
    database.sql("INSERT INTO postern.domains (name, customer_id) SELECT 'quiet.example', id FROM postern.customers")
    database.sql("UPDATE postern.registry_state SET version = version + 1")  # without NOTIFY
    control.becomes("quiet.example", "served", timeout=75)


@pytest.mark.parametrize("damage", ["torn", "zeroed", "foreign", "empty"])
def test_P5_a_damaged_replica_is_told_and_written_anew(control, database, damage):
    control.stop()
    whole = control.replica.read_bytes()
    control.replica.write_bytes({"torn": whole[:-100], "zeroed": b"\0" * len(whole), "foreign": b"x" * 5000, "empty": b""}[damage])
    assert control.domain("d0.example").startswith("replica:")
    control.start()
    control.says("replica-damaged")
    control.becomes("d0.example", "served")


def test_without_a_database_setting_the_last_replica_stays(control, database):
    control.restart("")
    control.says("no-database")
    assert control.process.alive and control.domain("d0.example").startswith("served")


def test_a_disk_that_takes_nothing_is_told_and_tried_again(control, database):
    control.stop()
    blocked = Path(str(control.replica) + ".tmp")
    blocked.mkdir()
    (blocked / "x").mkdir()
    control.start()
    control.says("replica-not-written")
    assert control.domain("d0.example").startswith("served")
    (blocked / "x").rmdir()
    blocked.rmdir()
    control.says("replica-written")
