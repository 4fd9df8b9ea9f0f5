# SPDX-License-Identifier: BSD-2-Clause
"""Outages as they come: what waits for a server that is away, and what becomes of it, without a person (DESIGN section 5). One node;
each test has a customer of its own."""
import contextlib
import itertools
import os
import re
import signal
import threading
from pathlib import Path

import pytest

from harness import DROP, QUICK, Backend, Client, Delay, make_message, reference_in, wait_until
from test_health import HealthNode, rcpt_reply

MANY = 200 if QUICK else 1000
LIMIT = 6  # connections to one backend
CHANCE = 40  # messages on one connection, below what a customer may have of them
NO_SUCH_USER = "550 5.1.1 no such user here"
customers = itertools.count(1)


class OutageNode(HealthNode):
    def __init__(self):
        self.smarthost = Backend().start()
        super().__init__(**{"outbound-route": self.smarthost.endpoint, "backend-connections": str(LIMIT), "probe-interval-max": "1s",
                            "message-retry-max": "1s", "client-concurrency": "0"})

    def close(self, keep=False):
        super().close(keep)
        self.smarthost.stop()


@pytest.fixture(scope="module")
def node():
    node = OutageNode()
    yield node
    node.close()


class Customer:
    """Its server is away until `back`."""

    def __init__(self, node):
        self.node, self.name = node, f"c{next(customers)}"
        self.domain = f"{self.name}.example"
        self.backend = Backend().start()
        self.numbers = itertools.count()
        node.add_customer(self.name, self.domain, self.backend.endpoint)
        node.postgres.sql("UPDATE postern.customers SET max_connections_per_hour = NULL WHERE name = %s", self.name)

    def relayctl(self, *args):
        return self.node.relayctl(*args)

    def known(self, count):
        """Recipients that its server has taken."""
        rcpts = [f"known{n}@{self.domain}" for n in range(count)]
        for rcpt in rcpts:
            assert is_live(self.node.send(rcpts=rcpt))
        self.node.wait_until_probed(self.domain)
        return rcpts

    def go_away(self):
        self.backend.stop()
        wait_until(lambda: is_queued(self.node.send(make_message("going"), rcpts=f"known0@{self.domain}")), 15, "it is noticed")

    def spool(self, rcpts):
        """One message to each; their references in this order. The content's X-Test-Id is the message's number."""
        references = []
        for at in range(0, len(rcpts), CHANCE):
            with Client(self.node.port) as client:
                client.ehlo()
                for rcpt in rcpts[at:at + CHANCE]:
                    reply = client.send(make_message(test_id=next(self.numbers)), rcpts=rcpt)
                    assert is_queued(reply), reply
                    references.append(reference_in(reply.text))
        return references

    def waiting(self):
        return [m for m in self.node.spool() if m["customer"] == self.name]

    def nothing_waits(self, timeout=40):
        def left():
            found = self.waiting()
            assert not found
            return True
        wait_until(left, timeout, "nothing is left", pause=0.2)

    def lines(self, event):
        return [line for line in self.node.spoolmgr.log_lines(event) if f" customer={self.name} " in line]


@pytest.fixture
def customer(node):
    customer = Customer(node)
    yield customer
    customer.backend.stop()


def is_queued(reply):
    return reply.code == 250 and "queued until" in reply.text


def is_live(reply):
    return reply.code == 250 and "queued" not in reply.text


def ids(messages):
    found = (re.search(rb"X-Test-Id: (\d+)", m.content) for m in messages)
    return [int(m[1]) for m in found if m]


class Beside(threading.Thread):
    """Live mail to recipients that are known, one after the other."""

    def __init__(self, node, rcpts):
        super().__init__(daemon=True)
        self.node, self.rcpts, self.replies, self.over = node, itertools.cycle(rcpts), [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            self.replies.append(self.node.send(make_message("live"), rcpts=next(self.rcpts)))

    def end(self):
        self.over.set()
        self.join(30)
        assert not self.is_alive() and self.replies
        return self.replies


# --- What waits was never wanted, or is refused by mistake.

def test_P4_an_outage_full_of_dictionary_spam_drains_without_a_person(node, customer):
    known = customer.known(5)
    customer.go_away()
    rcpts = [known[n // 10 % 5] if n % 10 == 9 else f"invented{n}@{customer.domain}" for n in range(MANY)]
    customer.spool(rcpts)
    customer.backend.script["rcpt"] = lambda s, line: NO_SUCH_USER if "invented" in line else None
    before = len(customer.backend.taken)
    customer.backend.start()
    beside = Beside(node, known)
    customer.nothing_waits(60 if QUICK else 300)
    wrong = [str(r) for r in beside.end() if r.code != 250]
    assert not wrong, "live mail for recipients that there are"
    assert sorted(ids(customer.backend.taken[before:])) == [n for n in range(MANY) if n % 10 == 9], "each good one once"
    assert len(customer.lines("refused")) == MANY * 9 // 10
    assert not node.spoolmgr.log_lines("backend-refusing") and not node.relayd.log_lines("backend-refusing")
    assert not node.smarthost.messages, "no sender was verified"


# --- A message that is trouble.

def kill_peer(node, backend, session):
    """The deliverer at the other end."""
    address, port = backend.about[session]["peer"][:2]
    local = "".join(f"{int(octet):02X}" for octet in reversed(address.split("."))) + f":{port:04X}"
    for pid in node.spoolmgr.children_named("dlv"):
        with contextlib.suppress(OSError):
            sockets = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
            rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
            if any(row[1] == local and f"socket:[{row[9]}]" in sockets for row in rows):
                os.kill(pid, signal.SIGKILL)


def test_P10_a_poison_message_delays_no_other(node, customer):
    killed = []

    def at_recipient(session, line):
        if "kills" not in line:
            return None
        if len(killed) == 3:
            return "451 4.7.1 no more"
        killed.append(session)
        kill_peer(node, customer.backend, session)
        return None

    def at_dot(session, content):
        poison = re.search(rb"X-Test-Id: ([012])\r", content)
        return {b"0": DROP, b"1": "451 4.7.1 cannot digest this"}[poison[1]] if poison and poison[1] != b"2" else None

    customer.known(1)
    customer.go_away()
    poison = customer.spool([f"closes@{customer.domain}", f"later@{customer.domain}", f"kills@{customer.domain}"])
    good = customer.spool([f"user{n}@{customer.domain}" for n in range(30)])
    customer.backend.script.update(rcpt=at_recipient, dot=at_dot)
    customer.backend.start()
    wait_until(lambda: set(ids(customer.backend.taken)) >= set(range(3, 33)), 30, "the others are delivered")
    assert not customer.lines("backend-down")
    wait_until(lambda: len(killed) == 3 and len(node.spoolmgr.log_lines("deliverer-died")) == 3, 30, "it is tried, and kills")
    assert is_live(node.send(rcpts=f"known0@{customer.domain}")), "and live mail passes it"
    wait_until(lambda: {m["id"] for m in customer.waiting()} == set(poison), 10, "they wait alone")
    more = ids(customer.backend.taken)
    duplicates = {good[n - 3] for n in range(3, 33) if more.count(n) > 1}
    assert duplicates <= node.possible_duplicates()
    customer.backend.script.clear()
    customer.relayctl("spool", "retry", poison[0])
    customer.nothing_waits()


# --- What an operator changes meanwhile.

def test_P2_what_waits_goes_to_the_address_that_the_backend_has_then(node, customer, world_of):
    second, third = world_of(Backend()), world_of(Backend())
    customer.go_away()
    customer.spool([f"user{n}@{customer.domain}" for n in range(10)])
    customer.relayctl("backend", "set", f"{customer.name}/1", "--address", second.endpoint)
    wait_until(lambda: sorted(ids(second.taken)) == list(range(10)), 30, "what waited is at the new address")
    customer.nothing_waits()
    second.stop()
    wait_until(lambda: is_queued(node.send(make_message("going"), rcpts=f"user0@{customer.domain}")), 15, "that one is away too")
    customer.spool([f"user{n}@{customer.domain}" for n in range(10)])
    customer.relayctl("backend", "add", third.endpoint, "--customer", customer.name)
    customer.relayctl("backend", "remove", f"{customer.name}/1", "--reason", "replaced", "--spool", "keep")
    wait_until(lambda: sorted(ids(third.taken)) == list(range(10, 20)), 30, "another backend")
    customer.nothing_waits()
    before = len(customer.backend.messages)
    customer.backend.start()
    assert is_live(node.send(rcpts=f"user0@{customer.domain}"))
    assert len(customer.backend.messages) == before, "the old one gets nothing"


def test_P2_a_domain_that_is_removed_with_mail_waiting(node, customer):
    other = f"other-{customer.domain}"
    customer.relayctl("domain", "add", other, "--customer", customer.name)
    wait_until(lambda: node.serves(other), 10, "both are served")
    customer.go_away()
    kept = customer.spool([f"user{n}@{customer.domain}" for n in range(5)])
    returned = customer.spool([f"user{n}@{other}" for n in range(5)])
    wait_until(lambda: node.postgres.sql("SELECT count(*) FROM postern.spool_index WHERE customer = %s", customer.name)[0][0] >= 10, 10,
               "the index has them")
    refused = node.relayctl("domain", "remove", other, "--yes", "--reason", "gone", check=False)
    assert refused.returncode != 0 and "--spool keep" in refused.stdout + refused.stderr
    customer.relayctl("domain", "remove", customer.domain, "--yes", "--reason", "gone", "--spool", "keep")
    customer.relayctl("domain", "remove", other, "--yes", "--reason", "gone", "--spool", "return")
    for domain in (customer.domain, other):
        wait_until(lambda: rcpt_reply(node, f"user0@{domain}").code == 550, 10, "refused from now on")
    customer.backend.start()
    wait_until(lambda: {m["id"] for m in customer.waiting()} >= set(kept) and
               all(m["state"] == "no-route" for m in customer.waiting()), 20, "these are kept, and nobody takes them")
    for ref in returned:
        shown, = node.relayctl_json("spool", "show", ref)
        assert {r["state"] for r in shown["recipients"]} == {"returned"}
    assert not node.smarthost.messages, "no sender was verified"
    customer.relayctl("domain", "add", customer.domain, "--customer", customer.name)
    wait_until(lambda: sorted(ids(customer.backend.taken)) == list(range(5)), 30, "until somebody does")
    customer.nothing_waits()


def test_P2_a_second_backend_is_used_while_the_first_is_down(node, customer, world_of):
    second = world_of(Backend())
    customer.relayctl("backend", "add", second.endpoint, "--customer", customer.name, "--priority", "90")
    node.wait_until_replicated()
    customer.backend.stop()
    assert is_live(node.send(rcpts=f"user0@{customer.domain}")) and len(second.messages) == 1, "live mail goes there"
    second.stop()
    wait_until(lambda: is_queued(node.send(make_message("going"), rcpts=f"user0@{customer.domain}")), 15, "both are away")
    customer.spool([f"user{n}@{customer.domain}" for n in range(20)])
    second.start()
    wait_until(lambda: sorted(ids(second.taken)) == list(range(20)), 30, "what waited is at the second")
    customer.nothing_waits()
    assert is_live(node.send(rcpts=f"user0@{customer.domain}"))
    before, others = len(second.messages), len(customer.backend.messages)
    customer.backend.start()
    wait_until(lambda: is_live(node.send(rcpts=f"user0@{customer.domain}")) and len(customer.backend.messages) > others, 15,
               "and at the first when it is back")
    after = len(second.messages)
    for _ in range(5):
        assert is_live(node.send(rcpts=f"user0@{customer.domain}"))
    assert len(second.messages) == after >= before


# --- The way back: what a backend sees of a drain.

class Watched:
    """What the customer's server sees of messages to user0, user1, ...: `seen` has ("mail", number, how many others were inside),
    ("good", number), ("lost", number) and ("live",), in this order. A dot is answered `hold` seconds later."""

    def __init__(self, customer, hold):
        self.hold, self.seen, self.inside = hold, [], {}
        self.losing = 0
        customer.backend.script.update(rcpt=self.at_rcpt, data=self.at_data, dot=self.at_dot)

    def at_rcpt(self, session, line):
        found = re.search(r"<user(\d+)@", line)
        if found:
            self.seen.append(("mail", int(found[1]), len(self.inside)))
            self.inside[session] = int(found[1])

    def at_data(self, session, line):
        if self.losing > 0 and session in self.inside:
            self.losing -= 1
            return Recorded(self, session, "lost", 0.5, "451 4.3.2 busy")
        return None

    def at_dot(self, session, content):
        if session not in self.inside:
            self.seen.append(("live",) if b"Subject: live" in content else ("good", None))
            return Delay(self.hold)
        return Recorded(self, session, "good", self.hold, None)

    def of(self, kind):
        return [event[1] for event in self.seen if event[0] == kind and event[1] is not None]


class Recorded(Delay):
    """An answer that is seen when it is given."""

    def __init__(self, watched, session, kind, seconds, answer):
        self.seconds, self._watched, self._session, self._kind, self._answer = seconds, watched, session, kind, answer

    @property
    def answer(self):
        self._watched.seen.append((self._kind, self._watched.inside.pop(self._session)))
        return self._answer


def windows(seen):
    """How many may be inside at each MAIL, if it grows by one a good answer; what the keeper has not heard yet only lowers it."""
    allowed = 1
    for event in seen:
        if event[0] == "good":  # of the message as well with which it was noticed
            allowed = min(allowed + 1, LIMIT)
        elif event[0] == "mail":
            yield event[1], event[2] + 1, allowed


def test_P10_a_drain_is_oldest_first_and_begins_with_one(node, customer):
    customer.go_away()
    customer.spool([f"user{n}@{customer.domain}" for n in range(MANY)])
    watched = Watched(customer, 0.05)
    before = customer.backend.sessions
    customer.backend.start()
    customer.nothing_waits(60)
    started = watched.of("mail")
    assert sorted(started) == list(range(MANY)), "each once"
    late = [(at, n) for at, n in enumerate(started) if abs(at - n) > LIMIT]
    assert not late, f"oldest first, but for what runs beside it: {late[:5]}"
    beyond = [(n, inside, allowed) for n, inside, allowed in windows(watched.seen) if inside > allowed]
    assert not beyond, f"message, inside, allowed: {beyond[:5]}"
    inside = [event[2] + 1 for event in watched.seen if event[0] == "mail"]
    assert inside[0] == 1 and max(inside) == LIMIT, "up to the limit"
    assert customer.backend.connections_most <= LIMIT, "with what stands idle"
    assert customer.backend.sessions - before <= MANY // 10, "connections are used again"
    tops = [max(inside[at:at + LIMIT]) for at in range(MANY // 2, MANY, LIMIT)]  # they may go in waves, all dots in one sync
    assert sum(tops) > len(tops) * (LIMIT - 2), f"and there it stays: {tops}"


def test_P10_trouble_halves_a_drain(node, customer):
    customer.go_away()
    customer.spool([f"user{n}@{customer.domain}" for n in range(60)])
    watched = Watched(customer, 0.2)
    customer.backend.start()
    wait_until(lambda: any(event[0] == "mail" and event[2] == LIMIT - 1 for event in watched.seen), 20, "it is at its limit")
    watched.hold, watched.losing = 2.0, 2  # the next two are lost while four others are inside; three would be an outage
    wait_until(lambda: len(watched.of("lost")) == 2, 20, "two break off")
    watched.hold = 0.05
    customer.nothing_waits(40)
    second = [at for at, event in enumerate(watched.seen) if event[0] == "lost"][1]
    following = [event[0] for event in watched.seen[second + 1:]]
    assert following[:2] == ["good", "good"], f"from six to one: of the four that are inside some come to their end first: {following[:8]}"
    assert LIMIT - 1 in [event[2] for event in watched.seen[second:] if event[0] == "mail"], "and it grows again"
    assert sorted(watched.of("good")) == list(range(60))


def test_P10_a_drain_and_live_mail_share_what_there_is(node, customer):
    known = customer.known(3)
    customer.go_away()
    customer.spool([f"user{n}@{customer.domain}" for n in range(MANY)])
    watched = Watched(customer, 0.05)
    customer.backend.start()
    wait_until(lambda: len(watched.of("good")) >= MANY // 10, 30, "it drains")
    replies = [node.send(make_message("live"), rcpts=known[n % 3]) for n in range(20)]
    drained = len(watched.of("good"))
    assert all(is_live(r) for r in replies), [str(r) for r in replies if not is_live(r)][:3]
    customer.nothing_waits(60)
    live = [at for at, event in enumerate(watched.seen) if event[0] == "live"]
    between = sum(event[0] == "good" for event in watched.seen[live[0]:live[-1]])
    print(f"\n{between} of the backlog between the first and the last of {len(live)} live messages; {drained} of {MANY} were drained then")
    assert len(live) == 20 and between >= 20, "and the drain goes on beside them"
    assert drained < MANY, "live mail did not wait for its end"
    assert customer.backend.connections_most <= LIMIT, "theirs together"
