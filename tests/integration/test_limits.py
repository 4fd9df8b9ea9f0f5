# SPDX-License-Identifier: BSD-2-Clause
"""P9: limits hold exactly over all workers of a node, however they are hammered. The replies are in test_dialogue.py; who comes
in at all (client-concurrency, max-connections) is in test_reception.py; what survives a reboot is in test_reboot.py."""
import asyncio
import collections

import pytest

from harness import ADDRESS, QUICK, Backend, Client, Node, wait_until

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
