# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl status`: one screen, one exit status, and every field that the manual names (P5: it works best when things are worst)."""
import json
import re
import subprocess
import time

import pytest

from harness import RELAYCTL, Backend, Client, Node, free_port, make_message, wait_until
from nameserver import Mischief, Nameserver
from terminal import read_line
from test_sender_policy import INTERNET
from world import program

PARTS = ["relayd", "spoolmgr", "clients", "health", "limits", "database", "replica", "events", "spool", "disk", "resolver", "tls"]
OWN_POSTGRES = True  # it is stopped


@pytest.fixture(scope="module")
def node():
    server, backend = Nameserver(*INTERNET, zone=".").start(), Backend().start()
    dns = Mischief(server)
    with Node(settings={"resolver": dns.endpoint, "workers": 1}) as node:
        node.dns = dns
        node.add_customer("acme", "acme.example", backend.endpoint)
        node.add_customer("globex", "globex.example", f"127.0.0.1:{free_port()}")
        for rcpt in ("user@acme.example", "user@globex.example"):
            with Client(node.port) as c:
                c.ehlo("mail.sender.example")
                assert c.send(make_message(), "info@sender.example", rcpt).code == 250
        yield node
    backend.stop()
    dns.close()
    server.close()


def status(node, code=0):
    done = node.relayctl("status", "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_screen_and_all_of_it_in_json(node):
    wait_until(lambda: status(node)["events"]["waiting_bytes"] == 0, 20, "the events are copied")
    told = status(node)
    assert told["ok"] is True and told["hostname"] == "relay.example" and told["node"] == 1
    for part in PARTS:
        assert {"state", "needs_operator", "detail"} <= set(told[part]), part
    assert told["clients"]["workers"] == 1 and told["clients"]["max_connections"] == 10000
    assert told["health"]["down"] == 1 and told["spool"]["messages"] == 1
    assert told["resolver"]["answers"] is True and told["resolver"]["address"] == node.dns.endpoint
    assert [c["customer"] for c in told["customers"]] == ["globex"]
    down, = [b for b in told["backends"] if b["state"] == "down"]
    assert "globex" in down["customers"] and down["reason"] and down["next_probe_at"]
    assert told["counters"]["messages-spooled"] == 1 and told["counters"]["messages-delivered"] == 1
    text = node.relayctl("status").stdout
    for part in PARTS:
        assert re.search(rf"^{part} +{told[part]['state']} ", text, re.M), part
    for words in ("SERVER NOT UP", r"down +(now|\d+ s ago) +globex", "globex ", "messages: 1 delivered, 1 kept"):
        assert re.search(words, text), text


def test_who_has_no_mail_left_is_not_listed(node):
    node.add_customer("initech", "initech.example", f"127.0.0.1:{free_port()}")
    with Client(node.port) as c:
        c.ehlo("mail.sender.example")
        assert c.send(make_message(), "info@sender.example", "user@initech.example").code == 250
    assert [c["customer"] for c in status(node)["customers"]] == ["globex", "initech"]
    node.relayctl("spool", "remove", "--customer", "initech", "--reason", "a test", "--yes")
    told = status(node)
    assert [c["customer"] for c in told["customers"]] == ["globex"] and told["spool"]["messages"] == 1
    node.relayctl("backend", "remove", "initech/1", "--spool", "keep", "--reason", "a test", "--yes")


def test_the_next_try_is_no_moment_while_mail_waits_for_the_server(node):
    def send():
        with Client(node.port) as c:
            c.ehlo("mail.sender.example")
            assert c.send(make_message(), "info@sender.example", "user@hooli.example").code == 250

    def hooli():
        return next(c for c in status(node)["customers"] if c["customer"] == "hooli")

    server = Backend()
    node.add_customer("hooli", "hooli.example", server.endpoint)
    try:
        send()
        assert hooli()["next_attempt_at"] is None
        server.script["rcpt"] = "450 4.2.0 later"
        server.start()
        wait_until(lambda: hooli()["next_attempt_at"], 20, "it waits for its own sake")
        server.stop()
        send()
        assert hooli()["messages"] == 2 and hooli()["next_attempt_at"] is None
    finally:
        server.stop()
        node.relayctl("spool", "remove", "--customer", "hooli", "--reason", "a test", "--yes")
        node.relayctl("backend", "remove", "hooli/1", "--spool", "keep", "--reason", "a test", "--yes")


def test_P9_a_limit_that_is_near_its_end_is_named(node):
    node.postgres.sql("UPDATE postern.customers SET max_connections_per_hour = 1 WHERE name = 'acme'")
    node.wait_until_replicated()
    near, = wait_until(lambda: status(node)["limits"]["near"], 10)
    assert (near["customer"], near["limit"]) == ("acme", 1) and near["used"] >= 1
    node.postgres.sql("UPDATE postern.customers SET max_connections_per_hour = NULL WHERE name = 'acme'")
    wait_until(lambda: not status(node)["limits"]["near"], 10)


def test_a_resolver_that_is_silent_needs_an_operator_and_is_not_waited_for(node):
    node.dns.mode = "dead"
    try:
        began = time.monotonic()
        told = status(node, code=1)
        assert time.monotonic() - began < 5
        assert told["resolver"]["state"] == "silent" and "the setting resolver" in told["resolver"]["detail"] and told["ok"] is False
    finally:
        node.dns.mode = "pass"


PERFDATA = (r"connections=(\d+);8000;;0;10000 spool_messages=(\d+);;;0 spool_bytes=(\d+)B;;;0 backends_down=(\d+);0;;0 "
            r"replica_age=(\d+)s;;;0 events_waiting_bytes=(\d+)B;;;0")


def nagios(node, code, word, *args):
    done = node.relayctl("status", "--nagios", *args, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    line, = done.stdout.splitlines()
    said, _, values = line.partition(" | ")
    assert said.startswith(f"POSTERN {word} - ")
    return said, values


def test_nagios_gets_a_line_and_a_status(node):
    said, values = nagios(node, 1, "WARNING")
    connections, messages, octets, down, age, waiting = map(int, re.fullmatch(PERFDATA, values).groups())
    told = status(node)
    assert f"backends down: {down}" in said and down == told["health"]["down"] > 0
    assert (connections, messages, octets) == (0, told["spool"]["messages"], told["spool"]["size_bytes"]) and messages > 0
    node.dns.mode = "dead"
    try:
        assert "resolver silent" in nagios(node, 2, "CRITICAL")[0]
    finally:
        node.dns.mode = "pass"
    for other in ("--watch", "--json"):
        done = node.relayctl("status", "--nagios", other, check=False)
        assert done.returncode == 2 and "--nagios" in done.stderr


def test_nagios_is_told_that_nothing_could_be_looked_at(node):
    done = subprocess.run([program(RELAYCTL), "-c", "/does/not/exist", "status", "--nagios"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and done.stdout.startswith("POSTERN UNKNOWN - ") and "/does/not/exist" in done.stderr
    done = subprocess.run([program(RELAYCTL), "-c", "/does/not/exist", "status"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""


def test_nagios_hears_ok_of_a_node_that_is(node):
    with Node(settings={"resolver": node.dns.endpoint, "workers": 1}) as quiet:
        wait_until(lambda: status(quiet)["ok"], 20, "it is well")
        said, values = nagios(quiet, 0, "OK")
        assert said.endswith("0 connections, 0 messages wait")
        assert re.fullmatch(PERFDATA, values)
        quiet.relayd.stop()
        said, values = nagios(quiet, 2, "CRITICAL")
        assert "relayd stopped" in said


def test_watch_looks_again_and_shows_rates(node):
    popen = subprocess.Popen([program(RELAYCTL), "-c", str(node.config_file), "status", "--watch", "--json"], stdout=subprocess.PIPE)
    try:
        assert "rates" not in json.loads(read_line(popen))
        with Client(node.port) as c:
            c.ehlo("mail.sender.example")
            assert c.send(make_message(), "info@sender.example", "user@acme.example").code == 250
        assert json.loads(read_line(popen))["rates"]["messages-delivered"] > 0
    finally:
        popen.terminate()
        popen.wait(10)
        popen.stdout.close()


def test_P5_without_the_database_the_rest_is_told(node):
    node.postgres.stop()
    try:
        told = status(node, code=1)
        assert told["database"]["state"] == "unreachable" and "when PostgreSQL is back" in told["events"]["detail"]
        assert all(not told[part]["needs_operator"] for part in PARTS if part != "database")
    finally:
        node.postgres.start()
