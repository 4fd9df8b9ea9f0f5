# SPDX-License-Identifier: BSD-2-Clause
"""P9: limits hold exactly over all workers of a node, however they are hammered. The replies are in test_dialogue.py; who comes
in at all (client-concurrency, max-connections) is in test_reception.py as well, one by one; what survives a reboot is in
test_reboot.py."""
import asyncio
import collections

import pytest

from crowd import Crowd
from harness import ADDRESS, QUICK, Backend, Client, Node, SinkBackend, wait_until

ROUNDS = 3 if QUICK else 20
HOUR = 200  # the default of a customer
AT_ONCE = 260


@pytest.fixture(scope="module")
def eight():
    """Eight workers; every recipient named good... is accepted."""
    node = Node(settings={"workers": 8, "client-concurrency": 0, "backend-connections": 64})
    backend = Backend()
    backend.script["rcpt"] = lambda session, line: None if "<good" in line else "550 5.1.1 no such user"
    backend.start()
    node.backend = backend
    yield node
    node.close()
    backend.close()


def add(node, name):
    """A customer whose domain is served: seen in the replica that all workers have."""
    node.relayctl("customer", "add", name, "--contact", f"ops@{name}.example")
    node.relayctl("backend", "add", node.backend.endpoint, "--customer", name)
    node.relayctl("domain", "add", f"{name}.example", "--customer", name)  # last: without a backend all would be accepted, and count
    wait_until_all_know(node, f"nobody@{name}.example", 550, "5.1.1")


def wait_until_all_know(node, rcpt, code, enhanced):
    """Each of many new connections, which the kernel spreads over the workers, hears the same."""
    def all_say_so():
        heard = asyncio.run(crowd(node, [rcpt] * 48))
        return set(heard) == {(code, enhanced)}
    wait_until(all_say_so, 30, f"all workers say {code} to {rcpt}", pause=0.1)


async def reply(reader):
    while True:
        line = (await reader.readline()).decode("latin-1")
        if not line:
            return None
        if line[3:4] != "-":
            return int(line[:3]), line.split()[1] if len(line.split()) > 1 else ""


async def one(node, rcpt, source):
    """One connection with one recipient: what RCPT was answered."""
    reader, writer = await asyncio.open_connection(ADDRESS, node.port, local_addr=source and (source, 0))
    try:
        if (await reply(reader))[0] != 220:
            return "refused", ""
        writer.write(b"EHLO origin.example\r\n")
        await reply(reader)
        writer.write(f"MAIL FROM:<sender@origin.example>\r\nRCPT TO:<{rcpt}>\r\n".encode())
        await reply(reader)
        answer = await reply(reader)
        writer.write(b"QUIT\r\n")
        await reply(reader)
        return answer
    finally:
        writer.close()


async def crowd(node, rcpts, source=None):
    return await asyncio.wait_for(asyncio.gather(*(one(node, rcpt, source) for rcpt in rcpts)), 120)


def test_P9_the_200th_connection_of_an_hour_is_accepted_and_the_201st_is_not(eight):
    for round_ in range(ROUNDS):
        name = f"hour{round_}"
        add(eight, name)
        heard = collections.Counter(asyncio.run(crowd(eight, [f"good@{name}.example"] * AT_ONCE)))
        assert heard == {(250, "2.1.5"): HOUR, (451, "4.7.1"): AT_ONCE - HOUR}, f"round {round_}: {heard}"
    print(f"{ROUNDS} rounds of {AT_ONCE} connections at once at 8 workers: {HOUR} accepted in each")


def test_P9_a_thousand_refused_clients_use_up_nothing(eight):
    add(eight, "refused")
    for _ in range(4):
        heard = collections.Counter(asyncio.run(crowd(eight, ["nobody@refused.example"] * 250)))
        assert heard == {(550, "5.1.1"): 250}, heard
    heard = collections.Counter(asyncio.run(crowd(eight, ["good@refused.example"] * AT_ONCE)))
    assert heard == {(250, "2.1.5"): HOUR, (451, "4.7.1"): AT_ONCE - HOUR}, heard


def test_P9_scope_client_counts_each_client_for_itself(eight):
    add(eight, "scoped")
    eight.relayctl("customer", "set", "scoped", "--connections-scope", "client", "--max-connections-per-hour", "5")
    limit_is_live(eight, "scoped")
    for last in (11, 12):
        heard = collections.Counter(asyncio.run(crowd(eight, ["good@scoped.example"] * 20, source=f"127.9.9.{last}")))
        assert heard == {(250, "2.1.5"): 5, (451, "4.7.1"): 15}, f"127.9.9.{last}: {heard}"


def test_P9_none_is_no_limit(eight):
    add(eight, "boundless")
    eight.relayctl("customer", "set", "boundless", "--max-connections-per-hour", "none")
    limit_is_live(eight, "boundless")
    heard = collections.Counter(asyncio.run(crowd(eight, ["good@boundless.example"] * AT_ONCE)))
    assert heard == {(250, "2.1.5"): AT_ONCE}, heard


def limit_is_live(node, name):
    """A later change of the registry is live in all workers: then this one is as well, since versions are in order."""
    add(node, f"{name}-marker")


def test_P9_a_connection_counts_once_however_many_messages_it_brings(eight):
    add(eight, "patient")
    eight.relayctl("customer", "set", "patient", "--max-connections-per-hour", "1")
    limit_is_live(eight, "patient")
    with Client(eight.port) as client:
        client.ehlo()
        for _ in range(3):
            assert client.send(b"Subject: x\r\n\r\nx\r\n", rcpts="good@patient.example").code == 250
        heard = asyncio.run(crowd(eight, ["good@patient.example"]))
        assert heard == [(451, "4.7.1")], heard
        assert client.send(b"Subject: x\r\n\r\nx\r\n", rcpts="good@patient.example").code == 250


# --- Who comes in at all, hammered by the crowd of tests/bench.

CONCURRENCY = 50  # the default of client-concurrency
CONNECTIONS = 150  # max-connections here
PROXY = "127.202.0.1"


@pytest.fixture(scope="module")
def door():
    node = Node(settings={"workers": 8, "max-connections": CONNECTIONS, "proxy-protocol-from": [PROXY + "/32"]})
    node.sink = SinkBackend(save=False)
    node.sink.start()
    node.add_customer("acme", "acme.example", node.sink.endpoint, "--max-connections-per-hour", "none")
    yield node
    node.close()
    node.sink.close()


def inside(node, clients, **options):
    """How many of so many that come at once are let in, and how many hear 421, and nothing else."""
    with Crowd(node.port, clients=clients, stand="ehlo", timeout=30, **options) as crowd_:
        counts = crowd_.ready()
        refused = counts["replies"].get("banner 421", 0)
        assert not counts["losses"] and counts["standing"] + refused == clients, counts
        counts = crowd_.finish()
        assert counts["accepted"] == clients - refused and not counts["losses"], counts
    return clients - refused


def test_P9_connections_of_one_address_are_exact_however_they_come(door):
    for round_ in range(ROUNDS):
        assert inside(door, CONCURRENCY * 2) == CONCURRENCY, f"round {round_}"


def test_P9_addresses_of_one_ipv6_network_count_as_one_and_networks_for_themselves(door):
    as_proxy = {"proxy": True, "bind": PROXY, "sources": 1000}
    for round_ in range(ROUNDS):
        assert inside(door, CONCURRENCY * 2, source=f"2001:db8:1:{round_}::1", **as_proxy) == CONCURRENCY, f"round {round_}"
    assert inside(door, CONCURRENCY * 2, source="2001:db8:2:1::1", each_network=True, **as_proxy) == CONCURRENCY * 2
    assert inside(door, CONCURRENCY * 2, source="192.0.2.1", **as_proxy) == CONCURRENCY * 2


def test_P9_a_full_node_never_has_one_more(door):
    """Nor keeps a place free for long: two that come for the last one may both be refused, but then the next one has it."""
    for round_ in range(ROUNDS):
        assert inside(door, CONNECTIONS * 2, sources=200) <= CONNECTIONS, f"round {round_}"
    with Crowd(door.port, clients=CONNECTIONS, stand="ehlo", sources=200, rate=500) as all_:
        assert all_.ready()["standing"] == CONNECTIONS
        assert inside(door, 20, sources=20, source="127.203.0.1") == 0


def test_P9_the_50th_message_of_a_connection_is_accepted_and_then_it_ends(door):
    with Client(door.port) as client:
        client.ehlo()
        for n in range(50):
            reply = client.send(f"X-Test-Id: {n}\r\n\r\nx\r\n".encode())
            assert reply.code == 250, f"message {n + 1}: {reply}"
        reply = client.cmd("MAIL FROM:<sender@origin.example>")
        assert (reply.code, reply.enhanced) == (421, "4.7.0"), str(reply)
        with pytest.raises(ConnectionError):
            client.reply()


# --- 20 MB.

LARGEST = 20 * 1024 * 1024


def content_of(size):
    """So many octets by RFC 1870: line ends count, the dots that are doubled on the way do not."""
    line = b"." * 76 + b"\r\n"
    head = b"Subject: large\r\n\r\n"
    content = head + line * ((size - len(head)) // len(line) - 1)
    return content + b"." * (size - len(content) - 2) + b"\r\n"


@pytest.mark.parametrize("declared", [False, True])
def test_P9_twenty_mebibytes_are_accepted_and_one_octet_more_is_not(door, declared):
    for size, code in ((LARGEST, 250), (LARGEST + 1, 552), (LARGEST, 250)):
        content = content_of(size)
        assert len(content) == size
        with Client(door.port, timeout=120) as client:
            client.ehlo()
            reply = client.cmd("MAIL FROM:<sender@origin.example>" + (f" SIZE={size}" if declared else ""))
            if reply.code == 250:
                assert client.cmd("RCPT TO:<user@acme.example>").code == 250
                assert client.cmd("DATA").code == 354
                reply = client.content(content)
        assert (reply.code, reply.enhanced) == (code, "2.0.0" if code == 250 else "5.3.4"), f"{size}: {reply}"
