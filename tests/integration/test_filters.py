# SPDX-License-Identifier: BSD-2-Clause
"""Filters before us with their SPF includes, policies and lists of senders: from relayctl, and from a name server, to the
replica that every process of a node reads (P3, P4, P5).

control_probe looks there as a worker does."""
import signal
import subprocess

import pytest

from harness import ADDRESS, Node, program, wait_until
from nameserver import Nameserver

OWN_POSTGRES = True  # it is stopped
CONTROL_PROBE = "tests/integration/control_probe"
FILTER = "203.0.113.0/24"
# Bits of lib/policy: ban, ptr-none, ptr-mismatch, dialin, helo, dnsbl, sender, spf (four of them), greylist.
SPF, PTR, HELO, DNSBL, GREYLIST = 0b011110000001, 0b1110, 0b10000, 0b100000, 0b100000000000


ZONE = [
    '_spf TXT "v=spf1 ip4:203.0.113.0/24 ip6:2001:db8:7::/48 include:_more.names.test" " a:host.names.test/28 mx:names.test ~all"',
    '_more TXT "v=spf1 ip4:198.51.100.77/25 ip4:203.0.113.0/24 redirect=_last.names.test"',
    '_last TXT "v=spf1 ip4:192.0.2.128/25 -all exists:ignored.behind.all"', '_last TXT "another text"', "host A 192.0.2.17",
    "@ MX 10 mail", "mail A 192.0.2.99", "mail AAAA 2001:db8::99",
    '_all TXT "v=spf1 +all"', '_bad TXT "v=spf1 ip4:300.1.1.1"', '_empty TXT "v=spf1 -all"', '_exists TXT "v=spf1 exists:x.names.test"',
    '_loop TXT "v=spf1 include:_loop.names.test -all"', '_macro TXT "v=spf1 include:%{d}.names.test"', '_minus TXT "v=spf1 -ip4:192.0.2.1 ip4:192.0.2.0/24"',
    '_none TXT "no record"', '_ptr TXT "v=spf1 ip4:192.0.2.0/24 ptr -all"', '_two TXT "v=spf1 -all"', '_two TXT "v=spf1 ~all"',
    '_wide TXT "v=spf1 ip4:0.0.0.0/1"', '_deep TXT "v=spf1 include:_all.names.test"',
]


class World:
    """A node with customers that nobody shares; each test takes one of its own."""

    def __init__(self, node, dns):
        self.node, self.dns = node, dns
        self.count = 0
        self.wrong = self.customer()  # to which nothing succeeds

    def customer(self):
        self.count += 1
        name = f"c{self.count}"
        self.node.postgres.sql("WITH c AS (INSERT INTO postern.customers (name, policy) VALUES (%s, 'off') RETURNING id)"
                               " INSERT INTO postern.domains (name, customer_id) SELECT %s, id FROM c", name, f"{name}.example")
        return name

    def ctl(self, *args, code=0):
        done = self.node.relayctl(*args, check=False)
        assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *args):
        return self.node.relayctl_json(*args)

    def sees(self, customer, address="192.0.2.1", sender=""):
        done = subprocess.run([program(CONTROL_PROBE), "sender", str(self.node.dirs["state-dir"] / "replica.cdb"), f"{customer}.example",
                               address, sender], capture_output=True, text=True, timeout=20)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def comes_to_see(self, customer, wanted, *args, timeout=5):
        """Within a second, and what a busy machine needs."""
        wait_until(lambda: wanted.items() <= self.sees(customer, *args).items(), timeout,
                   f"{customer} sees {wanted}; it sees {self.sees(customer, *args)}")


@pytest.fixture(scope="module")
def world():
    dns = Nameserver(*ZONE).start()
    with Node(settings={"resolver": dns.endpoint}, start=False) as node:
        node.start_database()
        node.relayd.start()
        yield World(node, dns)
    dns.close()


# --- Filters.


def test_a_filter_is_exempt_for_its_customer_alone(world):
    acme, other = world.customer(), world.customer()
    done = world.ctl("filter", "add", FILTER, "198.51.100.7", "2001:db8:5::/48", "--customer", acme, "--label", "barracuda")
    assert f"added filter {acme}/barracuda" in done.stdout
    assert "without --origin received" in done.stderr and "verified" in done.stderr, "P4: who hears of failures"
    everything = f"{SPF | PTR | HELO | DNSBL | GREYLIST:x}"
    world.comes_to_see(acme, {"filter": f"1 barracuda {FILTER} exempt={everything} origin=connection", "locked": "no"}, "203.0.113.9")
    assert world.sees(acme, "198.51.100.7")["filter"].startswith("2 barracuda 198.51.100.7/32")
    assert world.sees(acme, "2001:db8:5::1")["filter"].startswith("3 barracuda 2001:db8:5::/48")
    assert "filter" not in world.sees(acme, "198.51.100.8")
    assert "filter" not in world.sees(other, "203.0.113.9")


def test_a_filters_settings_are_those_of_all_its_networks(world):
    acme = world.customer()
    done = world.ctl("filter", "add", FILTER, "--customer", acme, "--label", "cloud", "--exempt", "helo,dnsbl", "--origin", "received")
    assert "warning" not in done.stderr
    world.ctl("filter", "add", "198.51.100.0/24", "--customer", acme, "--label", "cloud")
    for address in ("203.0.113.9", "198.51.100.9"):
        wait_until(lambda: f"exempt={SPF | HELO | DNSBL:x} origin=received" in world.sees(acme, address).get("filter", ""), 5)
    world.ctl("filter", "set", f"{acme}/cloud", "--exempt", "none", "--origin", "connection", "--label", "sky")
    for address in ("203.0.113.9", "198.51.100.9"):
        wait_until(lambda: f"sky {address[:-1]}0/24 exempt={SPF:x} origin=connection" in world.sees(acme, address).get("filter", ""), 5)


def test_a_customer_is_locked_to_its_filters_and_never_to_none(world):
    acme = world.customer()
    done = world.ctl("customer", "set", acme, "--filters-only", "yes", code=1)
    assert "nobody at all could send" in done.stderr and "relayctl filter add" in done.stderr
    world.ctl("filter", "add", FILTER, "--customer", acme, "--label", "wall", "--only")
    world.comes_to_see(acme, {"locked": "yes"})
    assert world.json("filter", "show", f"{acme}/wall")[0]["filters_only"] is True
    done = world.ctl("filter", "remove", f"{acme}/wall", "--reason", "ticket 1", code=1)
    assert f"relayctl customer set {acme} --filters-only no" in done.stderr
    assert world.sees(acme)["locked"] == "yes"
    world.ctl("filter", "set", f"{acme}/wall", "--filters-only", "no")
    world.ctl("filter", "remove", f"{acme}/wall", "--reason", "ticket 1")
    wait_until(lambda: "filter" not in world.sees(acme, "203.0.113.9"), 5)
    assert world.sees(acme)["locked"] == "no"


def test_P5_an_include_that_nobody_has_looked_up_yet_locks_nobody_out(world):
    acme = world.customer()
    done = world.ctl("filter", "add", FILTER, "--customer", acme, "--label", "cloud", "--spf-include", "_spf.nowhere.test", "--only")
    assert "once the networks of every SPF include" in done.stderr
    assert f"relayctl filter show {acme}/cloud" in done.stdout
    world.comes_to_see(acme, {"locked": "no"}, "203.0.113.9")
    wait_until(lambda: "filter" in world.sees(acme, "203.0.113.9"), 5)
    shown = world.ctl("filter", "show", f"{acme}/cloud").stdout
    assert "_spf.nowhere.test" in shown and "not known yet" in shown


def test_one_network_of_a_filter_is_removed_by_its_number(world):
    acme = world.customer()
    world.ctl("filter", "add", FILTER, "198.51.100.0/24", "--customer", acme, "--label", "wall")
    world.ctl("filter", "remove", f"{acme}/2", "--reason", "given back")
    rows = world.json("filter", "list", "--customer", acme)
    assert [(row["name"], row["number"], row["network"]) for row in rows] == [(f"{acme}/wall", 1, FILTER)]
    world.ctl("filter", "remove", f"{acme}/2", "--reason", "given back", code=3)


@pytest.mark.parametrize("args, code, words", [
    (["0.0.0.0/0"], 2, "far too wide"), (["10.0.0.0/7"], 2, "10.0.0.0/7"), (["2001::/15"], 2, "/16"),
    (["203.0.113.5/24"], 2, "did you mean 203.0.113.0/24?"), (["203.0.113.0/33"], 2, "too long"), (["pool"], 2, "not a network"),
    ([], 2, "--spf-include"), ([FILTER, "--exempt", "spf"], 2, "always exempt"), ([FILTER, "--exempt", "grey"], 2, "did you mean greylist"),
    ([FILTER, "--label", "12"], 2, "not digits alone"), ([FILTER, "--origin", "recieved"], 2, "did you mean received?"),
    (["--spf-include", "nodots"], 2, "_spf.example.net"), ([FILTER, FILTER], 1, "already"),
])
def test_a_filter_that_cannot_be_is_explained(world, args, code, words):
    assert words in world.ctl("filter", "add", *args, "--customer", world.wrong, code=code).stderr


def test_P3_a_filter_that_holds_ourselves_or_a_backend_is_warned_of(world):
    acme = world.customer()
    world.ctl("backend", "add", "198.51.100.25:25", "--customer", acme)
    done = world.ctl("filter", "add", f"{ADDRESS}/32", "198.51.100.0/24", "--customer", acme, "--origin", "received")
    assert f"an address of this relay itself ({ADDRESS})" in done.stderr and f"the backend {acme}/1 (198.51.100.25)" in done.stderr


def test_filters_go_with_their_customer(world):
    world.node.relayctl("customer", "add", "brief")
    world.ctl("filter", "add", FILTER, "--customer", "brief")
    world.ctl("block", "add", "bad.example", "--customer", "brief", "--reason", "junk")
    world.ctl("customer", "remove", "brief", "--reason", "gone", "--yes")
    assert world.node.postgres.sql("SELECT count(*) FROM postern.upstream_filters f LEFT JOIN postern.customers c ON c.id = f.customer_id"
                                   " WHERE c.id IS NULL") == [(0,)]


# --- SPF includes.


def add_include(world, customer, *names):
    for name in names:
        world.node.postgres.sql("INSERT INTO postern.upstream_filters (customer_id, number, label, spf_include)"
                                " SELECT c.id, coalesce(max(f.number), 0) + 1, 'cloud', %s FROM postern.customers c LEFT JOIN"
                                " postern.upstream_filters f ON f.customer_id = c.id WHERE c.name = %s GROUP BY c.id", name, customer)


def told(world, name):
    """What PostgreSQL has been told: networks, why the last attempt failed."""
    rows = world.node.postgres.sql("SELECT resolved::text[], resolve_error FROM postern.spf_includes WHERE name = %s", name)
    return rows[0] if rows else (None, None)


def test_an_include_is_resolved_to_its_networks(world):
    acme = world.customer()
    world.ctl("filter", "add", "--spf-include", "_SPF.names.test", "--customer", acme, "--label", "cloud", "--origin", "received", "--only")
    wait_until(lambda: "filter" in world.sees(acme, "203.0.113.9"), 10)
    networks = ["192.0.2.16/28", "192.0.2.99/32", "192.0.2.128/25", "198.51.100.0/25", "203.0.113.0/24", "2001:db8::99/128", "2001:db8:7::/48"]
    wait_until(lambda: told(world, "_spf.names.test")[0], 10)
    assert sorted(told(world, "_spf.names.test")[0]) == sorted(networks)
    (shown,) = world.json("filter", "show", f"{acme}/cloud")
    assert sorted(shown["entries"][0]["networks"]) == sorted(networks) and shown["entries"][0]["resolve_error"] is None
    assert "2001:db8:7::/48" in world.ctl("filter", "show", f"{acme}/cloud").stdout
    for address, network in [("192.0.2.30", "192.0.2.16/28"), ("192.0.2.99", "192.0.2.99/32"), ("2001:db8:7::5", "2001:db8:7::/48")]:
        assert f"1 cloud {network} " in world.sees(acme, address)["filter"]
    assert "filter" not in world.sees(acme, "192.0.2.100")
    assert world.sees(acme)["locked"] == "yes", "its networks are known"


BAD = {"_all": "whole Internet", "_bad": 'invalid at "ip4:300.1.1.1"', "_empty": "no network at all", "_exists": "cannot be resolved to networks",
       "_loop": "more than the 10 look-ups", "_macro": "depends on who sends", "_minus": "excludes", "_none": "no SPF record",
       "_ptr": "cannot be resolved to networks", "_two": "more than one SPF record", "_wide": "far too wide", "_deep": "_all.names.test: it passes",
       "_missing": "no such name"}


def test_an_include_that_is_no_set_of_networks_says_why(world):
    acme = world.customer()
    add_include(world, acme, *[f"{name}.names.test" for name in BAD])
    wait_until(lambda: all(told(world, f"{name}.names.test")[1] for name in BAD), 20, "all have been told")
    for name, words in BAD.items():
        networks, why = told(world, f"{name}.names.test")
        assert networks is None and words in why, (name, why)
    assert "filter" not in world.sees(acme, "192.0.2.1")
    rows = world.json("filter", "list", "--customer", acme)
    assert len(rows) == len(BAD) and all(row["resolve_error"] for row in rows)
    world.node.postgres.sql("DELETE FROM postern.upstream_filters WHERE spf_include LIKE %s", "%.names.test")


def test_P5_a_failure_never_empties_an_include(world):
    """The record changes, DNS dies, PostgreSQL goes, relayd starts again: the last good networks hold, and newer ones need DNS alone."""
    acme, node = world.customer(), world.node

    def failed():
        return node.relayd.text().count(" filter-resolve-failed include=_moving.names.test")

    def sees(network):
        address = network.replace("0/24", "9")
        wait_until(lambda: network in world.sees(acme, address).get("filter", ""), 20, f"{network} is the filter's")

    world.dns.set('_moving TXT "v=spf1 ip4:203.0.113.0/24 -all"')
    add_include(world, acme, "_moving.names.test")
    sees("203.0.113.0/24")
    world.dns.set('_moving TXT "v=spf1 ip4:198.51.100.0/24 -all"')
    node.relayd.signal(signal.SIGHUP)
    sees("198.51.100.0/24")
    assert "filter" not in world.sees(acme, "203.0.113.9")
    world.dns.stop()
    node.relayd.signal(signal.SIGHUP)
    wait_until(lambda: "no answer" in (told(world, "_moving.names.test")[1] or ""), 20)
    assert failed() == 1 and told(world, "_moving.names.test")[0] == ["198.51.100.0/24"]
    assert "and the networks stay" in world.ctl("filter", "show", f"{acme}/cloud").stdout
    node.postgres.stop()
    node.relayd.stop()
    node.relayd.start()
    wait_until(failed, 20)
    sees("198.51.100.0/24")  # from the last replica
    world.dns.start()
    world.dns.set('_moving TXT "v=spf1 ip4:192.0.2.0/24 -all"')
    node.relayd.signal(signal.SIGHUP)
    sees("192.0.2.0/24")
    assert "why=filter-networks" in node.relayd.text()
    node.postgres.start()
    wait_until(lambda: told(world, "_moving.names.test") == (["192.0.2.0/24"], None), 20, "PostgreSQL is told when it is back")
    world.dns.set(*ZONE)


# --- Policies.


def test_a_policy_is_set_and_changed_check_by_check(world):
    acme = world.customer()
    world.comes_to_see(acme, {"policy": "off"})
    for given, policy in [("strict", "strict"), ("spf=mark", "strict,spf=mark"), ("dnsbl=off,helo=mark", "strict,helo=mark,dnsbl=off,spf=mark"),
                          ("standard,greylist=defer", "standard,greylist=defer"), ("off", "off")]:
        done = world.ctl("customer", "set", acme, "--policy", given)
        assert f"policy: {policy}" in done.stdout
        world.comes_to_see(acme, {"policy": policy})


def test_a_policy_for_a_time_is_on_top_of_what_holds_now(world):
    acme = world.customer()
    world.ctl("customer", "set", acme, "--policy", "standard")
    world.ctl("customer", "set", acme, "--policy", "spf=mark", "--until", "+2d")
    world.ctl("customer", "set", acme, "--policy", "dnsbl=mark", "--until", "+1d")
    world.comes_to_see(acme, {"policy": "standard,dnsbl=mark,spf=mark"})
    shown = world.json("customer", "show", acme)[0]
    assert shown["policy"] == "standard,dnsbl=mark,spf=mark" and shown["temporary"][0]["then"] == "standard"
    world.ctl("customer", "set", acme, "--policy", "dialin=off")
    world.comes_to_see(acme, {"policy": "standard,dialin=off"})


def test_a_policy_is_shown_as_checks_and_what_differs(world):
    acme = world.customer()
    world.ctl("customer", "set", acme, "--policy", "standard,spf=mark")
    world.ctl("filter", "add", FILTER, "--customer", acme, "--label", "wall")
    world.ctl("allow", "add", "partner.example", "--customer", acme)
    shown = world.json("customer", "show", acme)[0]
    assert shown["checks"]["spf"] == {"action": "mark", "profile": "reject"}
    assert shown["checks"]["helo"] == {"action": "forged", "profile": "forged"}
    assert shown["filters"][0]["label"] == "wall" and shown["filters"][0]["networks"] == [FILTER]
    assert shown["rules"][0]["what"] == "partner.example" and shown["filters_only"] is False
    assert {"standard,spf=mark"} == {row["policy"] for row in world.json("customer", "list") if row["name"] == acme}
    text = world.ctl("customer", "show", acme).stdout
    (spf,) = [line for line in text.splitlines() if line.startswith("spf ")]
    assert spf.split()[:3] == ["spf", "mark", "reject"]
    assert f"{acme}/wall" in text and "partner.example" in text


@pytest.mark.parametrize("policy, words", [
    ("strickt", "did you mean strict?"), ("spff=mark", "did you mean spf?"), ("spf=marc", "did you mean mark?"),
    ("spf", "CHECK=ACTION"), ("greylist=reject", "greylist cannot be"), ("spf=mark,strict", "at the beginning"), ("", "strict, standard, off"),
])
def test_a_policy_that_cannot_be_is_explained(world, policy, words):
    assert words in world.ctl("customer", "set", world.wrong, "--policy", policy, code=2).stderr


def test_a_new_customer_begins_with_standard(world):
    world.node.run("admin/relayctl", "customer", "add", "fresh")
    assert world.json("customer", "show", "fresh")[0]["policy"] == "standard"
    world.ctl("customer", "add", "mild", "--policy", "spf=mark")
    assert world.json("customer", "show", "mild")[0]["policy"] == "standard,spf=mark"


# --- Lists.


def test_lists_of_senders_reach_the_replica(world):
    acme = world.customer()
    world.ctl("block", "add", "203.0.113.7", "198.51.100.0/24", "Sam@Bad.Example", "bad.example", ".worse.example", ".top", "--customer", acme,
              "--reason", "sends junk")
    world.ctl("allow", "add", "good@bad.example", "198.51.100.9", "--customer", acme)
    for address, sender, rule in [("203.0.113.7", "", "block 203.0.113.7: sends junk"), ("198.51.100.8", "", "block 198.51.100.0/24: sends junk"),
                                  ("198.51.100.9", "", "allow 198.51.100.9: "), ("192.0.2.1", "sam@bad.example", "block sam@bad.example: sends junk"),
                                  ("192.0.2.1", "good@bad.example", "allow good@bad.example: "),
                                  ("192.0.2.1", "x@mail.worse.example", "block .worse.example: sends junk"),
                                  ("192.0.2.1", "x@shop.top", "block .top: sends junk")]:
        world.comes_to_see(acme, {"rule": rule}, address, sender)
    assert "rule" not in world.sees(acme, "192.0.2.1", "x@worse.example")
    world.ctl("block", "remove", "bad.example", "elsewhere.example", "--customer", acme, "--reason", "ticket 2", code=4)
    wait_until(lambda: "rule" not in world.sees(acme, "192.0.2.1", "x@bad.example"), 5)
    world.ctl("block", "remove", "elsewhere.example", "--customer", acme, "--reason", "ticket 2", code=3)


def test_operators_block_networks_for_every_customer(world):
    acme = world.customer()
    world.ctl("block", "add", "203.0.113.128/25", "--node-wide", "--reason", "attacks us", "--until", "+2d")
    world.ctl("allow", "add", "203.0.113.200", "--node-wide")
    world.comes_to_see(acme, {"node-wide": "block 203.0.113.128/25: attacks us"}, "203.0.113.129")
    world.comes_to_see(acme, {"node-wide": "allow 203.0.113.200: "}, "203.0.113.200")
    (row,) = world.json("block", "list", "--node-wide")
    assert (row["what"], row["customer"], row["reason"], row["kind"]) == ("203.0.113.128/25", None, "attacks us", "network")
    assert row["who"] == world.node.postgres.sql("SELECT session_user")[0][0] and row["expires_at"]
    assert "every one" in world.ctl("block", "list").stdout
    world.ctl("block", "remove", "203.0.113.128/25", "--node-wide", "--reason", "over")
    wait_until(lambda: "node-wide" not in world.sees(acme, "203.0.113.129"), 5)


def test_what_is_added_again_has_its_new_reason_and_end(world):
    acme = world.customer()
    world.ctl("block", "add", "again.example", "--customer", acme, "--reason", "first", "--until", "+1d")
    world.ctl("block", "add", "again.example", "--customer", acme, "--reason", "second")
    (row,) = world.json("block", "list", "--customer", acme)
    assert (row["reason"], row["expires_at"]) == ("second", None)
    done = world.ctl("allow", "add", "again.example", "--customer", acme)
    assert "an allow goes before a block" in done.stderr


def test_a_rule_ends_by_itself(world):
    acme = world.customer()
    world.ctl("block", "add", "brief.example", "--customer", acme, "--reason", "for now", "--until", "+1h")
    world.comes_to_see(acme, {"rule": "block brief.example: for now"}, "192.0.2.1", "a@brief.example")
    world.node.postgres.sql("UPDATE postern.sender_rules SET expires_at = now() + interval '2 seconds' WHERE domain = 'brief.example'")
    wait_until(lambda: "rule" not in world.sees(acme, "192.0.2.1", "a@brief.example"), 10)
    world.ctl("block", "list", "--customer", acme, code=3)


@pytest.mark.parametrize("line, words", [
    ("block add 203.0.113.7 --customer {}", "needs --reason"), ("block add 203.0.113.7 --reason r", "--node-wide"),
    ("block add 203.0.113.7 --reason r --customer {} --node-wide", "and not with it"),
    ("block add bad.example --reason r --node-wide", "each customer's"), ("block add @bad.example --customer {} --reason r", "the domain alone: bad.example"),
    ("block add *.bad.example --customer {} --reason r", "write a leading dot: .bad.example"), ("allow add what --customer {}", "203.0.113.0/24, sam@sender.example"),
    ("block add 203.0.113.7/24 --customer {} --reason r", "did you mean 203.0.113.0/24?"), ("allow add 10.0.0.0/4 --customer {}", "far too wide"),
    ("block add 203.0.113.7 --customer {} --reason r --until yesterday", "--until"), ("block remove bad.example --customer {}", "needs --reason"),
])
def test_a_rule_that_cannot_be_is_explained(world, line, words):
    assert words in world.ctl(*line.format(world.wrong).split(), code=2).stderr


def test_changes_are_audited_and_a_dry_run_makes_none(world):
    acme = world.customer()
    before = world.node.postgres.sql("SELECT version, (SELECT count(*) FROM postern.audit) FROM postern.replica_state")
    for line in (f"filter add {FILTER} --customer {acme} --only", f"block add bad.example --customer {acme} --reason r",
                 f"customer set {acme} --policy strict"):
        assert "dry run" in world.ctl(*line.split(), "--dry-run").stdout
    assert world.node.postgres.sql("SELECT version, (SELECT count(*) FROM postern.audit) FROM postern.replica_state") == before
    world.ctl("block", "add", "bad.example", "--customer", acme, "--reason", "ticket 4712")
    ((table, operation, reason),) = world.node.postgres.sql(
        "SELECT table_name, operation, reason FROM postern.audit ORDER BY id DESC LIMIT 1")
    assert (table, operation, reason) == ("sender_rules", "insert", "ticket 4712")


def test_nothing_that_cannot_be_was_done(world):
    """Behind the tests of mistakes."""
    world.ctl("filter", "list", "--customer", world.wrong, code=3)
    shown = world.json("customer", "show", world.wrong)[0]
    assert (shown["policy"], shown["rules"]) == ("off", [])
