# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl scan`: every customer's server is tested, gently; what was found is kept, and what changed is news."""
import json
import time

import pytest

from harness import Backend, Node
from nameserver import Nameserver
from test_backend_test import DOMAIN, KNOWN, NO_USER, SINK, Nowhere, Server, only_own

QUICK = ("--per-minute", "6000")


@pytest.fixture
def site(world_of):
    """acme, whose server is good, and globex, whose server is not there; no daemon runs."""
    node = world_of(Node(settings={"backend-connect-timeout": "1s"}, start=False))
    node.start_database()
    node.server, node.gone = world_of(Server()), world_of(Nowhere())
    node.add_customer("acme", DOMAIN, node.server.endpoint)
    node.add_customer("globex", "globex.example", node.gone.endpoint)
    node.relayctl("recipient", "add", KNOWN)
    return node


def scan(node, *options, status=0, kind="backend"):
    done = node.relayctl("scan", "--kind", kind, *QUICK, *options, "--json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def news(node, status=0):
    return [(r["name"], r["check"], r["before"], r["finding"]) for r in scan(node, "--changes", status=status)]


def test_what_changes_is_news_once(site):
    first = news(site, status=1)
    assert ("globex/1", "connect", None, "no-connection") in first and all(before is None for _, _, before, _ in first)
    assert {name for name, _, _, _ in first} == {"acme/1", "globex/1"}
    assert news(site) == [], "nothing is as it was not before"
    site.server.script["rcpt"] = lambda s, line: "451 4.7.1 greylisted" if KNOWN in line else only_own(s, line)
    assert news(site, status=1) == [("acme/1", "known-recipient", "taken", "greylisted")]
    assert news(site) == []
    site.server.script["rcpt"] = lambda s, line: NO_USER if KNOWN in line else only_own(s, line)
    assert news(site, status=1) == [("acme/1", "known-recipient", "greylisted", "refused")]
    site.server.script["rcpt"] = only_own
    assert news(site) == [("acme/1", "known-recipient", "refused", "taken")], "it was mended"
    rows = site.postgres.sql("""SELECT finding, verdict, is_current, last_seen >= first_seen FROM postern.scan_results
        WHERE name = 'acme/1' AND "check" = 'known-recipient' ORDER BY id""")
    assert rows == [("taken", "pass", False, True), ("greylisted", "fail", False, True), ("refused", "fail", False, True),
                    ("taken", "pass", True, True)]
    assert not site.server.messages


def test_what_could_not_be_asked_is_no_news(site):
    news(site, status=1)
    site.server.script["banner"] = "421 4.7.0 busy"
    assert news(site, status=1) == [("acme/1", "greeting", "greets", "turns-away")]
    site.server.script["banner"] = None
    assert news(site) == [("acme/1", "greeting", "turns-away", "greets")]
    site.postgres.sql("DELETE FROM postern.recipients")
    assert news(site) == [], "no recipient is known any more"


def test_a_domains_findings_are_kept_too(site):
    """As domain check prints them: without an address, several of one check."""
    def record(*findings):
        found = [{"check": check, "finding": finding, "verdict": verdict, "text": "x", "remedy": None} for check, finding, verdict in findings]
        return site.postgres.sql("SELECT \"check\", before_finding, finding FROM postern.scan_record('domain', %s::jsonb)",
                                 json.dumps({"name": "acme.example", "findings": found}))
    assert record(("mx", "first", "pass"), ("mx", "partial", "warn"), ("spf", "none", "warn")) == [("mx", None, "partial"), ("spf", None, "none")]
    assert record(("mx", "first", "pass"), ("spf", "unknown", "unknown")) == [("mx", "partial", "first")]
    assert record(("mx", "first", "pass")) == []
    assert site.postgres.sql("SELECT \"check\" FROM postern.scan_results WHERE kind = 'domain' AND is_current") == [("mx",)]


def test_domains_are_checked_as_well(site, world_of):
    world = "relay.isp.example. IN A 192.0.2.1", "old.isp.example. IN A 198.51.100.7"
    names = world_of(Nameserver(f"{DOMAIN}. IN MX 10 relay.isp.example.", *world, zone="."))
    site.write_config(resolver=names.endpoint, **{"mx-names": ["relay.isp.example"]})
    first = {(r["kind"], r["name"], r["check"], r["finding"]) for r in scan(site, "--changes", "--customer", "acme", kind="domain")}
    assert {(kind, name) for kind, name, _, _ in first} == {("domain", DOMAIN)} and not [f for f in first if f[2] == "mx"], first
    names.set(f"{DOMAIN}. IN MX 10 old.isp.example.", *world)
    assert ("mx", "mx-first", "mx-not-ours") in {(r["check"], r["before"], r["finding"]) for r in
                                                 scan(site, "--changes", "--customer", "acme", status=1, kind="domain")}
    both = site.relayctl("scan", *QUICK, "--customer", "acme", check=False)
    assert both.returncode == 1 and both.stdout.endswith("2 tested\n") and "acme/1" in both.stdout and DOMAIN in both.stdout


def test_all_that_is_not_well_is_shown(site):
    rows = scan(site, status=1)
    assert {r["verdict"] for r in rows} <= {"warn", "fail", "unknown"} and {r["name"] for r in rows} == {"acme/1", "globex/1"}
    assert set(rows[0]) == {"kind", "name", "address", "check", "finding", "verdict", "before", "before_verdict", "text", "detail", "remedy"}
    assert {r["name"] for r in scan(site, "--customer", "acme")} == {"acme/1"}
    done = site.relayctl("scan", "--kind", "backend", *QUICK, check=False)
    assert done.returncode == 1 and f"globex/1 at {site.gone.endpoint}" in done.stdout and "fail     connect" in done.stdout
    assert done.stdout.endswith("2 tested\n") and max(map(len, done.stdout.splitlines())) <= 80
    site.server.script["rcpt"] = lambda s, line: NO_USER if KNOWN in line else only_own(s, line)
    said = " ".join(site.relayctl("scan", "--kind", "backend", *QUICK, "--changes", check=False).stdout.split())
    assert said.startswith("acme/1 at ") and "Before: pass, taken." in said and "Remedy:" in said


def test_who_is_held_or_gone_is_left_alone(site):
    scan(site, status=1)
    site.relayctl("backend", "hold", "globex/1", "--reason", "moving", "--yes")
    sessions = site.server.sessions
    assert {r["name"] for r in scan(site)} == {"acme/1"}
    assert site.server.sessions > sessions
    site.relayctl("domain", "remove", "globex.example", "--reason", "left", "--yes")
    site.relayctl("backend", "remove", "globex/1", "--reason", "left", "--yes")
    scan(site)
    assert site.postgres.sql("SELECT count(*) FROM postern.scan_results WHERE name = 'globex/1' AND is_current") == [(0,)]
    assert site.postgres.sql("SELECT count(*) > 0 FROM postern.scan_results WHERE name = 'globex/1'") == [(True,)], "its history stays"


def test_it_is_gentle(site):
    began = time.monotonic()
    site.relayctl("scan", "--kind", "backend", "--per-minute", "20", check=False)
    assert time.monotonic() - began >= 3, "three seconds between two starts"


def test_P3_open_relays_of_a_network_are_found_with_consent_alone(site, world_of):
    port = site.server.port
    closed = world_of(Backend(port=port, address="127.199.7.1"))
    closed.script["rcpt"] = only_own
    relay = world_of(Backend(port=port, address="127.199.7.2"))
    args = ("scan", "open-relay", "--network", "127.199.7.0/29", "--port", port, *QUICK)
    done = site.relayctl(*args, check=False)
    assert done.returncode == 2 and "--consent" in done.stderr and not closed.sessions + relay.sessions
    done = site.relayctl(*args, "--consent", "contract 4711", "--json", check=False)
    rows = {r["address"]: (r["finding"], r["verdict"]) for r in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1 and rows == {"127.199.7.1": ("closed", "pass"), "127.199.7.2": ("open", "fail")}, done
    assert not closed.messages and not relay.messages
    assert site.postgres.sql("SELECT reason, who = session_user, new_row ->> 'network' FROM postern.audit WHERE table_name = 'scan'") == [
        ("contract 4711", True, "127.199.7.0/29")]
    assert site.postgres.sql("SELECT name, finding FROM postern.scan_results WHERE kind = 'network' ORDER BY name") == [
        ("127.199.7.1", "closed"), ("127.199.7.2", "open")]
    said = site.relayctl(*args, "--consent", "contract 4711", "--sink", SINK, check=False).stdout
    assert said.endswith("8 asked: 2 mail servers, 1 open\n") and "Remedy:" in said
    assert {rcpt for m in relay.messages for rcpt in m.rcpts} and not closed.messages
    relay.script["rcpt"] = only_own
    assert site.relayctl(*args, "--consent", "contract 4711").stdout.endswith("8 asked: 2 mail servers, 0 open\n")


@pytest.mark.parametrize("args, word", [
    ((), "--network"), (("--network", "x"), "no network"), (("--network", "10.0.0.0/8"), "more than 4096"), (("--network", "192.0.2.1/24"), "no network"),
    (("--network", "192.0.2.0/30", "--consent", " "), "--consent"), (("--network", "192.0.2.0/30", "--consent", "x", "--port", "0"), "--port"),
    (("--network", "192.0.2.0/30", "--consent", "x", "--sink", "x"), "--sink"), (("--network", "192.0.2.0/30", "--consent", "x", "--per-minute", "0"), "--per-minute")])
def test_bad_input_of_scan_open_relay(site, args, word):
    done = site.relayctl("scan", "open-relay", *args, check=False)
    assert done.returncode == 2 and word in done.stderr


def test_there_is_one_scan_at_a_time(site):
    other = site.postgres.connect()
    other.cursor().execute("SELECT pg_advisory_lock(hashtext('postern.scan'))")
    done = site.relayctl("scan", check=False)
    assert done.returncode == 75 and "another scan" in done.stderr
    other.close()
