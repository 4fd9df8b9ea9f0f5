# SPDX-License-Identifier: BSD-2-Clause
"""P5: sender policy while DNS is dead, slow, lying, truncated or garbled: nothing is refused for good, nobody else waits, and what the
customer has marked or off goes on."""
import os
import signal
import threading
import time

import pytest

from harness import Backend, Node, make_message, wait_until
from nameserver import Mischief, Nameserver
from test_sender_policy import GOOD, INTERNET, LIST, add_customers, converse, deliver, marks_in

# Clients that nothing is known of yet, one each time.
fresh = (f"198.51.{i}.{j}" for i in range(1, 250) for j in range(1, 250))
STRICT, MARKS = "strict,greylist=off", "off,ptr-none=mark,ptr-mismatch=mark,helo=mark,sender=mark,spf=mark,spf-temp=mark,dnsbl=mark"


@pytest.fixture(scope="module")
def dns():
    server = Nameserver(*INTERNET, zone=".").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def mischief(dns):
    m = Mischief(dns)
    yield m
    m.close()


@pytest.fixture(scope="module")
def backend():
    b = Backend().start()
    yield b
    b.close()


@pytest.fixture(scope="module")
def node(mischief, backend):
    with Node(settings={"resolver": mischief.endpoint, "workers": 1, "xclient-from": ["127.0.0.0/8"], "client-concurrency": 0,
                        "dnsbl": [LIST.rstrip(".")]}) as n:
        add_customers(n, backend, {"strict": STRICT, "marks": MARKS, "off": "off", "spf": "off,spf-temp=reject"})
        yield n


@pytest.fixture
def mode(mischief):
    def change(word):
        mischief.mode = word
    yield change
    mischief.mode = "pass"


def unknown():
    """A client, its HELO and its sender, of whom nothing is in any cache."""
    client = next(fresh)
    tag = client.replace(".", "-")
    return {"client": client, "helo": f"h{tag}.new.example", "sender": f"a@s{tag}.new.example"}


@pytest.mark.parametrize("how", ["dead", "slow", "servfail", "refused", "cut"])
def test_P5_no_answer_refuses_nobody_for_good(node, backend, mode, how):
    mode(how)
    reply = converse(node, "strict.example", **unknown())
    assert (reply.code, reply.enhanced) == (450, "4.7.1"), str(reply)
    assert "try again later" in reply.text
    began = time.monotonic()
    who = unknown()
    content = deliver(node, backend, "marks.example", **who)
    assert marks_in(content, "unsure") >= {"ptr-none", "helo", "sender"} and not marks_in(content) & {"ptr-none", "helo", "sender"}
    assert time.monotonic() - began < 30
    began = time.monotonic()
    assert marks_in(deliver(node, backend, "off.example", **unknown())) == set()
    assert time.monotonic() - began < 1, "a customer without checks waits for nothing"


@pytest.mark.parametrize("how", ["lying", "truncated"])
def test_P5_true_answers_are_found_among_false_ones(node, backend, mode, how):
    node.relayd.stop()
    mode(how)
    node.relayd.start()
    assert converse(node, "strict.example").code == 250, "over TCP, or the right one among wrong ones"
    reply = converse(node, "strict.example", sender="a@fail.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.23"), str(reply)


def test_P8_a_dead_resolver_holds_up_nobody_else(node, backend, mode):
    """A session that waits for DNS, and others beside it, on one worker."""

    mode("dead")
    waiting = [threading.Thread(target=lambda: converse(node, "strict.example", **unknown())) for _ in range(20)]
    for t in waiting:
        t.start()
    slowest = 0
    for _ in range(20):
        began = time.monotonic()
        assert node.send(make_message(), rcpts="user@off.example").code == 250
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1, f"{slowest:.2f} s"
    for t in waiting:
        t.join(60)
        assert not t.is_alive()


def test_P5_what_was_known_is_good_while_the_resolver_is_away(node, mode):
    mode("pass")
    assert converse(node, "strict.example").code == 250
    mode("dead")
    time.sleep(6)  # the TTL of 5 s is over
    assert converse(node, "strict.example", client=GOOD).code == 250


def test_P6_spf_that_cannot_be_looked_up(node, backend, mode):
    mode("servfail")
    reply = converse(node, "spf.example", **unknown())
    assert (reply.code, reply.enhanced) == (451, "4.7.24"), str(reply)


def test_P5_the_spf_process_dies_under_load_and_costs_a_temperror(node, mischief, mode):
    """Of the checks at hand alone; nobody is refused for good, and the next check is made."""
    mischief.delay = 1
    mode("slow")
    replies = []
    sessions = [threading.Thread(target=lambda: replies.append(converse(node, "spf.example", **unknown()))) for _ in range(20)]
    for s in sessions:
        s.start()
    wait_until(lambda: mischief.questions > 20, 10)
    time.sleep(0.5)
    victim = node.relayd.child("relayd-spf")
    os.kill(victim, signal.SIGKILL)
    for s in sessions:
        s.join(60)
    mischief.delay = 5
    assert {(r.code, r.enhanced) for r in replies} <= {(250, "2.1.5"), (451, "4.7.24")}, [str(r) for r in replies]
    mode("pass")
    wait_until(lambda: node.relayd.child("relayd-spf") not in (None, victim), 10, "there is another")
    assert converse(node, "spf.example", **unknown()).code == 250
