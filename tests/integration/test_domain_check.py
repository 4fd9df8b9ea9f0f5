# SPDX-License-Identifier: BSD-2-Clause
"""relayctl domain check: zones of a real name server, good and bad, each with its exact findings. No daemon runs."""
import json
import os
import re
import socket
import threading
import time

import pytest

from harness import Node
from nameserver import Mischief, Nameserver
from world import ADDRESS, IS_ROOT

OWN = ADDRESS.rpartition(".")[0] + ".255"  # the customer's own server, which answers
SHUT = "127.0.0.254"  # one that does not

OURS = f"mx1.isp.test. IN A {ADDRESS}"
WORLD = [OURS, f"mx2.isp.test. IN A {ADDRESS}", f"other-name.isp.test. IN A {ADDRESS}", "alias.isp.test. IN CNAME mx1.isp.test.",
         f"own.acme.test. IN A {OWN}", f"shut.acme.test. IN A {SHUT}", "foreign.test. IN A 198.51.100.7",
         "empty.acme.test. IN TXT \"nothing\"", "mx6.acme.test. IN AAAA 2001:db8::25"]

# Domain: its records, and what is found of its MX in order. "@" is the domain. A domain of "fallback-..." is in that mode.
MX = {
    "good": (["@ MX 10 mx1.isp.test."], ["mx-first", "target-ok"]),
    "good-closed": (["@ MX 10 mx1.isp.test.", "@ MX 20 shut.acme.test."], ["mx-first", "target-ok", "target-ok", "no-bypass"]),
    "open": (["@ MX 10 mx1.isp.test.", "@ MX 20 own.acme.test."], ["mx-first", "target-ok", "target-ok", "bypass"]),
    "greylist-open": (["@ MX 10 mx1.isp.test.", "@ MX 20 own.acme.test."], ["mx-first", "target-ok", "target-ok", "bypass-greylist"]),
    "none": (["@ TXT \"here\""], ["mx-missing"]),
    "gone": ([], ["mx-no-domain"]),
    "null": (["@ MX 0 ."], ["mx-null"]),
    "theirs": (["@ MX 10 own.acme.test."], ["mx-not-ours", "target-ok"]),
    "stranger": (["@ MX 10 foreign.test."], ["mx-not-ours", "target-ok"]),
    "second": (["@ MX 10 own.acme.test.", "@ MX 20 mx1.isp.test."], ["mx-not-first", "target-ok", "target-ok", "bypass"]),
    "equal": (["@ MX 10 own.acme.test.", "@ MX 10 mx1.isp.test."], ["mx-equal", "target-ok", "target-ok", "bypass"]),
    "stale": (["@ MX 10 mx1.isp.test.", "@ MX 30 foreign.test."], ["mx-first", "target-ok", "target-ok", "foreign"]),
    "stale-first": (["@ MX 5 foreign.test.", "@ MX 10 mx1.isp.test."], ["foreign-first", "target-ok", "target-ok"]),
    "alias": (["@ MX 10 alias.isp.test."], ["mx-first", "target-alias"]),
    "other-name": (["@ MX 10 other-name.isp.test."], ["mx-first", "target-other-name"]),
    "literal": (["@ MX 10 192.0.2.1.", "@ MX 20 mx1.isp.test."], ["target-literal", "mx-first", "target-ok"]),
    "bad-name": (["@ MX 10 a\\032b.test.", "@ MX 20 mx1.isp.test."], ["target-bad", "mx-first", "target-ok"]),
    "nowhere": (["@ MX 10 mx1.isp.test.", "@ MX 20 no-such-host.test."], ["mx-first", "target-ok", "target-missing"]),
    "no-address": (["@ MX 10 mx1.isp.test.", "@ MX 20 empty.acme.test."], ["mx-first", "target-ok", "target-no-address"]),
    "six": (["@ MX 10 mx1.isp.test.", "@ MX 20 mx6.acme.test."], ["mx-first", "target-ok", "target-ok", "foreign"]),
    "fallback-good": (["@ MX 10 own.acme.test.", "@ MX 20 mx1.isp.test."], ["mx-fallback", "target-ok", "target-ok", "primary-up"]),
    "fallback-down": (["@ MX 10 shut.acme.test.", "@ MX 20 mx1.isp.test."], ["mx-fallback", "target-ok", "target-ok", "primary-down"]),
    "fallback-first": (["@ MX 10 mx1.isp.test.", "@ MX 20 own.acme.test."],
                       ["mx-fallback-first", "target-ok", "target-ok", "primary-up"]),
    "fallback-equal": (["@ MX 10 mx1.isp.test.", "@ MX 10 own.acme.test."], ["mx-equal", "target-ok", "target-ok", "primary-up"]),
    "fallback-alone": (["@ MX 10 mx1.isp.test."], ["mx-fallback-alone", "target-ok"]),
    "fallback-not-ours": (["@ MX 10 own.acme.test."], ["mx-not-ours", "target-ok"]),
}


def zone_of(domain, records):
    """A zone file's lines: each record with its whole name."""
    lines = []
    for record in records:
        name, rest = record.split(" ", 1)
        lines.append(f"{domain if name == '@' else name + '.' + domain}. IN {rest}")
    return lines


class Greeter:
    """An SMTP server on port 25 of an address, as far as its greeting."""

    def __init__(self, address, greeting=b"220 own.acme.test ESMTP\r\n"):
        self.greeting = greeting
        self.server = socket.create_server((address, 25))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            with s:
                s.sendall(self.greeting)
                s.settimeout(5)
                try:
                    s.recv(100)
                except OSError:
                    pass

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture(scope="module")
def own_server():
    if not IS_ROOT:
        pytest.skip("port 25 needs root")
    server = Greeter(OWN)
    yield server
    server.close()


@pytest.fixture(scope="module")
def dns():
    lines = list(WORLD)
    for name, (records, _) in MX.items():
        lines += zone_of(f"{name}.test", records)
    server = Nameserver(*lines, zone=".").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def node(dns, own_server):
    node = Node(settings={"resolver": dns.endpoint, "mx-names": ["mx1.isp.test"]}, start=False)
    node.start_database()
    for customer, policy in (("acme", "off"), ("grey", "strict")):
        node.relayctl("customer", "add", customer, "--policy", policy)
        node.relayctl("backend", "add", "own.acme.test:25", "--customer", customer)
        node.relayctl("backend", "add", f"{SHUT}:2525", "--customer", customer)
    for name in MX:
        customer = "grey" if name.startswith("greylist-") else "acme"
        mode = "fallback" if name.startswith("fallback-") else "mx"
        node.relayctl("domain", "add", f"{name}.test", "--customer", customer, "--mode", mode)
    yield node
    node.close()


def check(node, *args, code=None):
    done = node.relayctl("domain", "check", *args, "--json", check=False)
    assert "Sanitizer" not in done.stderr
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def look(node, domain, code=None):
    rows, status = check(node, domain, code=code)
    assert len(rows) == 1 and rows[0]["domain"] == domain
    failed = any(f["verdict"] == "fail" for f in rows[0]["findings"])
    assert status == (1 if failed else 0)
    return rows[0]


def words(row, prefix):
    return [f["finding"] for f in row["findings"] if f["check"].startswith(prefix)]


@pytest.mark.parametrize("name", MX)
def test_each_zone_has_its_exact_findings_about_mx(node, name):
    assert words(look(node, f"{name}.test"), "mx") == MX[name][1]


def test_each_finding_has_a_sentence_and_a_remedy_unless_it_passes(node):
    rows, code = check(node, "--customer", "acme")
    assert code == 1 and [r["domain"] for r in rows] == sorted(f"{n}.test" for n in MX if not n.startswith("greylist-"))
    for row in rows:
        assert row["customer"] == "acme" and row["mode"] in ("mx", "fallback")
        for f in row["findings"]:
            assert f["text"].endswith(".") and not re.search(r"\b(DOMAIN|HOST|DETAIL|OURS)\b", f["text"] + (f["remedy"] or ""))
            assert (f["remedy"] is None) <= (f["verdict"] in ("pass", "warn"))
    assert {f["verdict"] for r in rows for f in r["findings"]} == {"pass", "warn", "fail"}
    assert len(check(node, "--all")[0]) == len(MX)


def test_of_several_names_of_ours_each_must_be_there(node):
    node.write_config(mx_names=["mx1.isp.test", "mx2.isp.test"])
    try:
        assert words(look(node, "good.test"), "mx") == ["mx-first", "mx-partial", "target-ok"]
    finally:
        node.write_config(mx_names=["mx1.isp.test"])


def test_without_the_setting_our_host_name_is_our_mx_name(node):
    node.write_config(mx_names=None, hostname="MX1.isp.test")
    try:
        assert words(look(node, "good.test"), "mx")[0] == "mx-first"
    finally:
        node.write_config(mx_names=["mx1.isp.test"], hostname="relay.example")


def test_subdomains_are_looked_at_by_name(node):
    node.relayctl("domain", "add", ".good.test", "--customer", "acme")
    try:
        assert words(look(node, ".good.test"), "mx") == ["subdomains"]
        assert words(look(node, "sub.good.test"), "mx") == ["mx-no-domain"]
    finally:
        node.relayctl("domain", "remove", ".good.test", "--reason", "test")


def test_the_screen_has_80_columns_and_no_word_of_the_table_left(node):
    for domain in ("good.test", "stale-first.test", "alias.test", "literal.test", "bad-name.test"):
        done = node.relayctl("domain", "check", domain, check=False)
        lines = done.stdout.splitlines()
        assert lines[0].startswith(f"{domain}, customer acme, mode mx: ")
        assert all(len(line) <= 80 for line in lines), done.stdout
    several = node.relayctl("domain", "check", "good.test", "alias.test", check=False).stdout
    assert "target-" not in several and "mx-first" not in several and "We are the first MX" not in several
    assert "alias (CNAME)" in several


def test_no_such_domain_no_selection_and_database_away(node):
    done = node.relayctl("domain", "check", "missing.test", check=False)
    assert done.returncode == 3 and "there is no domain" in done.stderr
    done = node.relayctl("domain", "check", "missing.test", "good.test", check=False)
    assert done.returncode in (1, 4) and "good.test" in done.stdout
    assert node.relayctl("domain", "check", "--customer", "nobody", check=False).returncode == 3
    for args in ([], ["good.test", "--all"], ["--customer", "acme", "--all"], ["not a name"]):
        assert node.relayctl("domain", "check", *args, check=False).returncode == 2, args
    database = node.settings["database"]
    node.write_config(database="host=/nonexistent dbname=postern")
    try:
        assert node.relayctl("domain", "check", "good.test", check=False).returncode == 75
    finally:
        node.write_config(database=database)


@pytest.mark.parametrize("mode", ["dead", "servfail", "cut"])
def test_P8_a_resolver_that_says_nothing_is_unknown_and_soon(node, dns, mode):
    mischief = Mischief(dns, mode)
    node.write_config(resolver=mischief.endpoint)
    try:
        began = time.monotonic()
        row = look(node, "good.test", code=0)
        assert time.monotonic() - began < 6
        assert row["verdict"] == "unknown" and words(row, "mx") == ["mx-unknown"]
        assert {f["verdict"] for f in row["findings"]} <= {"unknown", "pass"}
    finally:
        node.write_config(resolver=dns.endpoint)
        mischief.close()
