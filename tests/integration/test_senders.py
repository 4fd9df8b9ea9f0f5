# SPDX-License-Identifier: BSD-2-Clause
"""Real senders, and what they make of "one destination a transaction" and of the recipient that is one too many (DESIGN 4.4)."""
import time

import pytest

from exim import Exim
from harness import Backend, Client, Node, Postfix, make_message, send_message, wait_until

ONE, TWO = "one.example", "two.example"


@pytest.fixture
def pair(world_of):
    """A node with two customers, each with a backend."""
    backends = world_of(Backend()), world_of(Backend())
    node = world_of(Node())
    for name, domain, backend in (("one", ONE, backends[0]), ("two", TWO, backends[1])):
        node.add_customer(name, domain, backend.endpoint)
    for backend in backends:
        backend.messages.clear()
    return node, backends


def copies(*backends):
    count = {}
    for message in (m for backend in backends for m in backend.taken):
        for rcpt in message.rcpts:
            count[rcpt] = count.get(rcpt, 0) + 1
    return count


def hand_over(sender, backends, rcpts, timeout=120):
    """Gives the message to a sending server; the seconds until each recipient has it."""
    began = time.monotonic()
    reply = send_message(sender.port, make_message(), rcpts=rcpts)
    assert reply.code == 250, str(reply)
    wait_until(lambda: set(copies(*backends)) == set(rcpts), timeout, "each recipient has its mail")
    return time.monotonic() - began


@pytest.mark.skipif(Exim.missing() is not None, reason=str(Exim.missing()))
def test_P2_exim_with_recipients_of_two_customers_delivers_each_once(world_of, pair):
    node, backends = pair
    exim = world_of(Exim(relay_to=node_endpoint(node), cut_through=False))
    rcpts = [f"a1@{ONE}", f"b@{TWO}", f"a2@{ONE}"]
    seconds = hand_over(exim, backends, rcpts)
    wait_until(lambda: exim.queue_length() == 0, 30, "Exim has nothing left")
    print(f"\nExim, recipients A, B, A: all delivered after {seconds:.1f} s")
    assert copies(*backends) == {rcpt: 1 for rcpt in rcpts} and not node.spool()


def node_endpoint(node):
    return node.settings["listen"][0]


@pytest.mark.skipif(Postfix.missing() is not None, reason=str(Postfix.missing()))
def test_P2_postfix_with_sixty_recipients_delivers_each_once(world_of, pair):
    node, backends = pair
    postfix = world_of(Postfix(relay_to=node_endpoint(node), settings={"smtp_destination_recipient_limit": "1000",
                                                                       "smtpd_recipient_limit": "1000"}))
    rcpts = [f"user{n}@{ONE}" for n in range(60)]
    seconds = hand_over(postfix, backends, rcpts)
    print(f"\nPostfix, sixty recipients: all delivered after {seconds:.1f} s")
    assert copies(*backends) == {rcpt: 1 for rcpt in rcpts} and not node.spool()


@pytest.mark.parametrize("order", ["ABA", "BAA", "AAB", "ABAB", "BABA"])
def test_P2_a_sender_that_goes_on_behind_452_and_comes_back_delivers_each_once(pair, order):
    """As old Exim does: all recipients in their order, those with a 452 in the next transaction of the same connection."""
    node, backends = pair
    left = [f"{kind.lower()}{n}@{ONE if kind == 'A' else TWO}" for n, kind in enumerate(order)]
    rcpts, transactions = list(left), 0
    with Client(node.port) as client:
        client.ehlo()
        while left:
            transactions += 1
            assert transactions <= 3, f"never taken: {left}"
            client.cmd("MAIL FROM:<sender@origin.example>")
            codes = {rcpt: client.cmd(f"RCPT TO:<{rcpt}>") for rcpt in left}
            assert codes[left[0]].code == 250, "the first one is never too many"
            assert {(r.code, r.enhanced) for r in codes.values()} <= {(250, "2.1.5"), (452, "4.5.3")}
            client.cmd("DATA")
            assert client.content(make_message()).code == 250
            left = [rcpt for rcpt in left if codes[rcpt].code == 452]
        client.cmd("QUIT")
    assert transactions == 2 and copies(*backends) == {rcpt: 1 for rcpt in rcpts}
