# SPDX-License-Identifier: BSD-2-Clause
"""Backends by name, with a real name server: P1 (kept when a name fails), P8 (nothing waits for DNS), P3 (never ourselves)."""
import json
import socket
import time

import pytest

from harness import ADDRESS, Backend, Node, free_port, make_message, wait_until
from nameserver import Nameserver


@pytest.fixture
def dns(world_of):
    return world_of(Nameserver(f"mail IN A {ADDRESS}"))


@pytest.fixture
def node(world_of, dns):
    return world_of(Node(settings={"resolver": dns.endpoint}))


def add_backend(node, customer, host=None, port=None, address=None, **columns):
    """What relayctl's options become in the registry."""
    values = {"host": host, "address": address, "port": port, **columns}
    values = {k: v for k, v in values.items() if v is not None}
    names = ", ".join(values)
    texts = ", ".join("'" + str(v) + "'" for v in values.values())
    node.postgres.sql(f"INSERT INTO postern.backends (customer_id, number, {names}) SELECT id, 1 + (SELECT count(*) FROM "
                      f"postern.backends b WHERE b.customer_id = c.id), {texts} FROM postern.customers c WHERE name = '{customer}'")


def add_customer(node, name="acme", domain="acme.example"):
    node.relayctl("customer", "add", name, "--contact", f"ops@{domain}", "--max-connections-per-hour", "none")


def serve(node, name="acme", domain="acme.example"):
    node.relayctl("domain", "add", domain, "--customer", name)
    wait_until(lambda: node.serves(domain), 10, f"relayd serves {domain}")


def is_live(reply):
    return reply.code == 250 and "queued until" not in reply.text


def test_P1_by_address_and_by_name(node, dns, backend):
    add_customer(node)
    add_backend(node, "acme", host="mail.names.test", port=backend.port)
    serve(node)
    assert is_live(node.send(rcpts="user@acme.example"))
    assert len(backend.taken) == 1


def test_P1_mx_by_preference_with_failover(node, world_of, dns):
    first = world_of(Backend(address="127.0.0.1"))
    port = first.port
    other = world_of(Backend(address=ADDRESS, port=port))
    dns.set("@ IN MX 20 backup", "@ IN MX 10 main", "main IN A 127.0.0.1", f"backup IN A {ADDRESS}")
    add_customer(node)
    add_backend(node, "acme", host="names.test", port=port, lookup="mx")
    serve(node)
    for _ in range(5):
        assert is_live(node.send(rcpts="user@acme.example"))
    assert (len(first.taken), len(other.taken)) == (5, 0)
    first.close()
    began = time.monotonic()
    assert is_live(node.send(rcpts="user@acme.example")), "failover inside the transaction"
    assert time.monotonic() - began < 10
    assert len(other.taken) == 1


def test_P1_weights_share_the_mail(node, world_of, dns):
    heavy, light = world_of(Backend()), world_of(Backend())
    dns.set(f"heavy IN A {ADDRESS}", f"light IN A {ADDRESS}")
    add_customer(node)
    node.relayctl("customer", "set", "acme", "--max-connections-per-hour", "none")
    add_backend(node, "acme", host="heavy.names.test", port=heavy.port, weight=3)
    add_backend(node, "acme", host="light.names.test", port=light.port, weight=1)
    serve(node)
    for _ in range(400):
        assert is_live(node.send(make_message(), rcpts="user@acme.example"))
    assert len(heavy.taken) + len(light.taken) == 400
    assert 64 <= len(light.taken) <= 136, "100 of 400, within four standard deviations"


def test_P1_a_domain_with_a_backend_of_its_own(node, world_of, dns, backend):
    own = world_of(Backend())
    add_customer(node)
    add_backend(node, "acme", address=ADDRESS, port=backend.port)
    serve(node)
    serve(node, domain="own.example")
    add_backend(node, "acme", host="mail.names.test", port=own.port, domain="own.example")
    wait_until(lambda: node.send(rcpts="user@own.example").code == 250 and own.taken, 20, "the domain has its own")
    before = len(backend.taken)
    assert is_live(node.send(rcpts="user@acme.example"))
    assert len(backend.taken) == before + 1
    # Spooled mail of the two goes two ways: one of them is down, the other's is delivered.
    own.close()
    backend.close()
    for domain in ("own.example", "acme.example"):
        assert wait_until(lambda d=domain: "queued until" in node.send(rcpts=f"late@{d}").text, 20)
    again = world_of(Backend(address=ADDRESS, port=backend.port))
    wait_until(lambda: any("late@acme.example" in m.rcpts for m in again.taken), 30, "the customer's queue drains")
    assert all("late@own.example" not in m.rcpts for m in again.taken)
    assert {r for m in node.spool() for r in m["recipients"]} == {"late@own.example"}


def test_P1_a_name_without_address_is_spooled_with_the_reason_and_delivered_when_it_appears(node, dns, backend):
    add_customer(node)
    add_backend(node, "acme", host="new.names.test", port=backend.port)
    serve(node)
    reply = node.send(rcpts="user@acme.example")
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    event = wait_until(lambda: node.events("message"), 10)[-1]
    assert event["backend"] == "its name does not exist: new.names.test"
    wait_until(lambda: "its name does not exist: new.names.test" in json.dumps(node.spool()), 20, "the list says why")
    assert "backend-unresolved" in node.relayd.text()
    dns.set(f"new IN A {ADDRESS}")
    wait_until(lambda: len(backend.taken) == 1, 40, "it is delivered")


def test_P8_a_resolver_that_is_dead_at_the_start_and_dies_later(node, dns, backend):
    dns.stop()
    node.stop()
    node.relayd.start()
    node.spoolmgr.start()
    add_customer(node)
    add_backend(node, "acme", host="mail.names.test", port=backend.port)
    serve(node)
    began = time.monotonic()
    reply = node.send(rcpts="user@acme.example")
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    assert time.monotonic() - began < 8
    dns.start()
    wait_until(lambda: len(backend.taken) == 1, 90, "delivered when the resolver is there")
    wait_until(lambda: all(is_live(node.send(rcpts="user@acme.example")) for _ in range(8)), 60,
               "both workers know the name, as far as eight connections tell", pause=2)
    dns.stop()
    time.sleep(6)  # the TTL of 5 s is over
    for _ in range(6):
        began = time.monotonic()
        assert is_live(node.send(rcpts="user@acme.example")), "a stale answer is good while the resolver is away"
        assert time.monotonic() - began < 6


@pytest.mark.parametrize("how", ["address", "name", "hostname", "mx"])
def test_P3_we_are_never_a_backend(node, dns, how):
    dns.set(f"us IN A {ADDRESS}", "@ IN MX 10 us", "@ IN MX 20 other", "other IN A 127.0.0.1")
    add_customer(node)
    where = {"address": {"address": ADDRESS}, "name": {"host": "us.names.test"}, "hostname": {"host": "relay.example"},
             "mx": {"host": "names.test", "lookup": "mx"}}[how]
    add_backend(node, "acme", port=node.port, **where)
    serve(node)
    for _ in range(3):
        reply = node.send(rcpts="user@acme.example")
        assert reply.code == 250 and "queued until" in reply.text, str(reply)
    lines = node.relayd.log_lines("backend-is-us")
    assert 1 <= len(lines) <= 2, "once a minute and worker"
    assert "remedy=" in lines[0] and " alarm " in lines[0]


def test_P3_with_a_wildcard_our_addresses_are_ours(world_of, dns):
    node = world_of(Node(settings={"resolver": dns.endpoint}, start=False))
    with socket.socket() as free:  # on every address, and none of those that tests beside this one are given
        free.bind(("0.0.0.0", 0))
        node.port = free.getsockname()[1]
    node.write_config(listen=[f"0.0.0.0:{node.port}"])
    node.start()
    add_customer(node)
    add_backend(node, "acme", address="127.9.9.9", port=node.port)
    serve(node)
    assert "queued until" in node.send(rcpts="user@acme.example").text
    wait_until(lambda: node.relayd.log_lines("backend-is-us"), 10)


def test_status_says_that_the_resolver_answers_with_a_failure(node, dns):
    told = json.loads(node.relayctl("status", "--json", check=False).stdout)  # our own name is in no zone of this one
    assert told["resolver"]["answers"] is False and told["resolver"]["needs_operator"], told["resolver"]


def test_status_shows_every_server_while_it_is_registered_and_no_longer(node, dns):
    """By address, of one domain, by name and by MX: a server that has been removed is nobody's, though mail waits and its health is
    remembered; the others stay."""
    ports = {name: free_port() for name in ("address", "domains", "name", "mx")}
    dns.set(f"mail IN A {ADDRESS}", "@ IN MX 10 mail")
    for name in ports:
        add_customer(node, name, f"{name}.example")
    node.relayctl("domain", "add", "domains.example", "--customer", "domains")
    node.relayctl("backend", "add", f"{ADDRESS}:{ports['address']}", "--customer", "address")
    node.relayctl("backend", "add", f"{ADDRESS}:{ports['domains']}", "--customer", "domains", "--domain", "domains.example")
    add_backend(node, "name", host="mail.names.test", port=ports["name"])
    add_backend(node, "mx", host="names.test", port=ports["mx"], lookup="mx")
    for name in ("address", "name", "mx"):
        node.relayctl("domain", "add", f"{name}.example", "--customer", name)
    for name in ports:
        wait_until(lambda d=f"{name}.example": node.serves(d), 10, f"relayd serves {name}.example")
        reply = node.send(rcpts=f"user@{name}.example")
        assert reply.code == 250 and "queued until" in reply.text, str(reply)

    def shown():
        told = json.loads(node.relayctl("status", "--json", check=False).stdout)
        down = {b["customers"][0] if b["customers"] else None: b["port"] for b in told["backends"] if b["state"] in ("down", "probing")}
        assert told["health"]["down"] == len(down) == len(told["backends"])
        return down

    left = dict(ports)
    assert shown() == left
    for name in ports:
        node.relayctl("backend", "remove", f"{name}/1", "--spool", "keep", "--reason", "a test", "--yes")
        del left[name]
        wait_until(lambda: shown() == left, 5, f"the server of {name} is gone, and {sorted(left)} are there")
    assert len(node.spool()) == 4, "mail waits for all of them"
    add_backend(node, "name", host="mail.names.test", port=ports["name"])
    wait_until(lambda: shown() == {"name": ports["name"]}, 5, "and comes back as it was")
