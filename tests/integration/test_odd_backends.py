# SPDX-License-Identifier: BSD-2-Clause
"""A catalogue of backends that misbehave, each in one phase: every one ends in its class (DESIGN section 5), what was kept is
delivered once the backend is mended (P1, P2), and none holds up another customer's mail (P8).

Each case has a backend, a customer and a domain of its own, and its message is the first that this backend ever sees: cases are
independent, run all at once, and have no order. No spoolmgr runs until they are over, so that what the spool holds then is what
the live side has made of it.
"""
import json
import subprocess
import threading
from dataclasses import dataclass

import pytest

from harness import (ADDRESS, DROP, LOADGEN, QUICK, SILENT, Backend, Node, Raw, SinkBackend, make_message, program, reference_in,
                     wait_until)
from world import release_build

LIVE, QUEUED, TWICE = "live", "queued", "queued, and perhaps a duplicate"  # or the code that is heard


@dataclass
class Case:
    phase: str
    answer: object
    expected: object
    down: bool = False  # the backend's health says so afterwards: it failed before MAIL on a fresh connection


def before_mail(phase, answer):
    return Case(phase, answer, QUEUED, down=True)


SLOW_BANNER = Raw(b"220 backend.example ESMTP slow as anything", pause=0.3)
CATALOGUE = {
    # --- The greeting: no word about a message.
    "banner-554": before_mail("banner", "554 5.3.2 no service here"),
    "banner-421": before_mail("banner", "421 4.3.2 too busy"),
    "banner-450": before_mail("banner", "450 4.3.2 wait"),
    "banner-ssh": before_mail("banner", Raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "banner-http": before_mail("banner", Raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
    "banner-our-name": before_mail("banner", "220 relay.example ESMTP"),
    "banner-no-code-of-smtp": before_mail("banner", Raw(b"999 what\r\n")),
    "banner-silent": before_mail("banner", SILENT),
    "banner-drop": before_mail("banner", DROP),
    "banner-drips": before_mail("banner", SLOW_BANNER),
    "banner-endless-line": before_mail("banner", Raw(b"220 " + b"x" * 200000)),
    "banner-binary": before_mail("banner", Raw(bytes(range(256)) * 4 + b"\r\n")),
    "banner-code-alone": Case("banner", Raw(b"220\r\n"), LIVE),
    "banner-many-lines": Case("banner", "220-backend.example\r\n220-is glad\r\n220 to see you", LIVE),
    "banner-bare-lf": Case("banner", Raw(b"220 backend.example\n"), LIVE),
    # --- EHLO.
    "ehlo-500": Case("ehlo", "500 5.5.1 what", LIVE),
    "ehlo-502": Case("ehlo", "502 5.5.1 no", LIVE),
    "ehlo-550": Case("ehlo", "550 no", LIVE),
    "ehlo-421": before_mail("ehlo", "421 4.3.2 going"),
    "ehlo-530": before_mail("ehlo", "530 5.7.0 TLS first"),
    "ehlo-354": before_mail("ehlo", "354 go on"),
    "ehlo-mixed-codes": Case("ehlo", Raw(b"250-backend.example\r\n550 no\r\n", 550), LIVE),  # the last one counts: HELO
    "ehlo-garbage-capabilities": Case("ehlo", "250-backend.example\r\n250-\x01\x02\r\n250-SIZE x\r\n250-SIZE\r\n250-AUTH=\r\n250 8BITMIME", LIVE),
    "ehlo-500-capabilities": before_mail("ehlo", "".join(f"250-X{n}\r\n" for n in range(500)) + "250 8BITMIME"),
    "ehlo-silent": before_mail("ehlo", SILENT),
    "ehlo-drop": before_mail("ehlo", DROP),
    "ehlo-early": Case("ehlo", Raw(b"250 backend.example\r\n250 2.1.0 Ok\r\n"), QUEUED, down=None),
    # --- MAIL: from here on it is this message's trouble.
    "mail-421": Case("mail", "421 4.3.2 going", QUEUED),
    "mail-451-greylisted": Case("mail", "451 4.7.1 come back", 451),
    "mail-452-system": Case("mail", "452 4.3.1 no room", QUEUED),
    "mail-503": Case("mail", "503 5.5.1 bad sequence", QUEUED),
    "mail-521": Case("mail", "521 5.3.2 no mail here", QUEUED),
    "mail-530": Case("mail", "530 5.7.0 authenticate", QUEUED),
    "mail-550": Case("mail", "550 5.7.1 not from you", 550),
    "mail-354": Case("mail", "354 go on", QUEUED),
    "mail-silent": Case("mail", SILENT, QUEUED),
    "mail-drop": Case("mail", DROP, QUEUED),
    # --- RCPT.
    "rcpt-251": Case("rcpt", "251 will forward", LIVE),
    "rcpt-252": Case("rcpt", "252 perhaps", LIVE),
    "rcpt-421": Case("rcpt", "421 4.3.2 going", QUEUED),
    "rcpt-450": Case("rcpt", "450 4.2.1 busy mailbox", 450),
    "rcpt-451-system": Case("rcpt", "451 4.3.0 trouble", QUEUED),
    "rcpt-452-full": Case("rcpt", "452 4.2.2 full", 450),
    "rcpt-550-bare": Case("rcpt", "550 no", 550),
    "rcpt-550-control": Case("rcpt", "550 5.7.1 \x1b[31mno\x07", 550),
    "rcpt-650": Case("rcpt", "650 who knows", QUEUED),
    "rcpt-354": Case("rcpt", "354 go on", QUEUED),
    "rcpt-mixed-codes": Case("rcpt", Raw(b"250-yes\r\n550 no\r\n", 550), 550),
    "rcpt-endless-reply": Case("rcpt", Raw(b"250-yes\r\n" * 20000), QUEUED),
    "rcpt-silent": Case("rcpt", SILENT, QUEUED),
    "rcpt-drop": Case("rcpt", DROP, QUEUED),
    # --- DATA.
    "data-250": Case("data", "250 2.0.0 thanks", QUEUED),
    "data-421": Case("data", "421 4.3.2 going", QUEUED),
    "data-451": Case("data", "451 4.7.1 later", 451),
    "data-503": Case("data", "503 5.5.1 bad sequence", QUEUED),
    "data-554": Case("data", "554 5.6.0 no", 554),
    "data-silent": Case("data", SILENT, QUEUED),
    "data-drop": Case("data", DROP, QUEUED),
    # --- The dot.
    "dot-354": Case("dot", "354 more", TWICE),
    "dot-421": Case("dot", "421 4.3.2 going", QUEUED),
    "dot-451-system": Case("dot", "451 4.3.0 trouble", QUEUED),
    "dot-451-greylisted": Case("dot", "451 4.7.1 later", 451),
    "dot-554": Case("dot", "554 5.6.0 no", 554),
    "dot-999": Case("dot", Raw(b"999 what\r\n"), TWICE),
    "dot-garbage": Case("dot", Raw(b"\x00\xff\xfe thanks\r\n"), TWICE),
    "dot-silent": Case("dot", SILENT, TWICE),
    "dot-drop": Case("dot", DROP, TWICE),
    "dot-drips": Case("dot", Raw(b"250 2.0.0 taken\r\n", pause=0.05), LIVE),
}
SETTINGS = {"workers": 2, "client-concurrency": 0, "backend-connect-timeout": "5s", "backend-command-timeout": "5s",
            "final-reply-timeout": "7s", "probe-interval-min": "1s", "probe-interval-max": "1s", "message-retry-min": "1s"}
CALM = "calm"


def register(node, backends):
    """A customer with a domain NAME.example for each of `backends`, in one transaction, and so in one replica."""
    customers = ", ".join(f"('{name}', 'ops@{name}.example', NULL, NULL, 'off')" for name in backends)
    domains = ", ".join(f"('{name}')" for name in backends)
    endpoints = ", ".join(f"('{name}', {backend.port})" for name, backend in backends.items())
    node.postgres.sql(f"""
        INSERT INTO postern.customers (name, contact, max_connections_per_hour, max_messages_per_connection, policy) VALUES {customers};
        INSERT INTO postern.backends (customer_id, number, address, port)
            SELECT id, 1, '{ADDRESS}', port FROM (VALUES {endpoints}) e (name, port) JOIN postern.customers USING (name);
        INSERT INTO postern.domains (name, customer_id)
            SELECT name || '.example', id FROM (VALUES {domains}) d (name) JOIN postern.customers USING (name)""")


class Zoo:
    """A node with a customer for each of the cases, and a calm one whose backend is the C sink."""

    def __init__(self, names, settings=SETTINGS, build=None):
        self.cases = {name: CATALOGUE[name] for name in names}
        self.backends = {name: Backend().start() for name in names}
        self.calm = SinkBackend(save=False).start()
        self.node = Node(settings=settings, build=build, start=False)
        self.node.start_database()
        register(self.node, {**self.backends, CALM: self.calm})
        self.node.relayd.start()
        wait_until(lambda: self.node.serves("calm.example"), 20, "all are registered")
        self.misbehave(self.cases)

    def misbehave(self, names):
        for name in names:
            self.backends[name].script[self.cases[name].phase] = self.cases[name].answer

    def send(self, name):
        return self.node.send(make_message(body=name.encode() + b"\r\n"), rcpts=f"user@{name}.example")

    def copies(self, name):
        return sum(m.content.endswith(b"\r\n" + name.encode() + b"\r\n") for m in self.backends[name].taken)

    def mend(self):
        for backend in self.backends.values():
            backend.script.clear()
            backend.drop_connections()

    def close(self):
        for backend in self.backends.values():
            backend.stop()
        self.node.close()
        self.calm.close()


@pytest.fixture
def zoo_of(world_of):
    return lambda *args, **kwargs: world_of(Zoo(*args, **kwargs))


def at_once(work, names):
    """What work(name) returns for each, all at the same time; an exception is a result."""
    results = {}

    def run(name):
        try:
            results[name] = work(name)
        except Exception as e:  # noqa: BLE001 - shown with its case
            results[name] = e
    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return {name: results.get(name, TimeoutError("no answer")) for name in names}


class Beside:
    """Mail of the calm customer, one message after the other."""

    def __init__(self, zoo):
        self.zoo, self.sent, self.failed = zoo, 0, []
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.end.is_set():
            reply = self.zoo.send(CALM)
            self.sent += 1
            if reply.code != 250 or "queued" in reply.text:
                self.failed.append(str(reply))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(60)


# --- What became of a case.

def kind_of(reply):
    if reply.code == 250:
        return QUEUED if "queued until" in reply.text else LIVE
    return reply.code


def complaints_about_reply(case, reply):
    if isinstance(reply, Exception):
        yield repr(reply)
        return
    if kind_of(reply) != (QUEUED if case.expected == TWICE else case.expected):
        yield f"heard {reply}, expected {case.expected}"
    if not reference_in(reply.text):
        yield f"no reference in {reply}"
    if not all(" " <= c <= "~" for line in reply.lines for c in line):
        yield f"not printable: {reply.lines!r}"


VERDICTS = {LIVE: "delivered", QUEUED: "spooled"}


def complaints_about_event(case, reply, events):
    """One event tells what the sender has heard."""
    ours = [e for e in events if e.get("ref") == reference_in(reply.text)]
    if len(ours) != 1:
        yield f"{len(ours)} events"
        return
    (event,) = ours
    if kind_of(reply) in VERDICTS:
        if event["event"] != "message" or event["verdict"] != VERDICTS[kind_of(reply)]:
            yield f"the event says {event['event']} {event.get('verdict')}"
    elif event["event"] != ("message" if case.phase in ("data", "dot") else "recipient-refused"):
        yield f"the event is {event['event']}"
    if not event["reply"].startswith(str(reply.code)):
        yield f"the event's reply is {event['reply']!r}"


def complaints_about_spool(case, reply, copies, spooled, duplicate):
    kind = kind_of(reply)
    if spooled != (kind == QUEUED):
        yield "spooled" if spooled else "not spooled"
    if copies != 1 and kind == LIVE or copies and kind != LIVE and case.expected != TWICE:
        yield f"{copies} copies at the backend"
    if duplicate != (case.expected == TWICE):
        yield "logged as a possible duplicate" if duplicate else "not logged as a possible duplicate"


def complaints_about_health(case, health):
    is_down = health in ("down", "probing")
    if case.down is not None and is_down != case.down:
        yield f"its health is {health}"


def all_complaints(zoo, replies):
    node = zoo.node
    spooled = {record["customer"] for record in node.spool()}
    duplicates = node.possible_duplicates()
    said = {reference_in(reply.text) for reply in replies.values() if not isinstance(reply, Exception)}
    wait_until(lambda: said <= {e.get("ref") for e in node.events()}, 10, "each has its event")
    events = node.events()
    health = {f"{b['address']}:{b['port']}": b["state"] for b in node.relayctl_json("status", check=False)[0]["backends"]}
    for name, case in zoo.cases.items():
        reply = replies[name]
        for complaint in complaints_about_reply(case, reply):
            yield f"{name}: {complaint}"
        if isinstance(reply, Exception):
            continue
        ref, backend = reference_in(reply.text), zoo.backends[name]
        for complaint in (*complaints_about_event(case, reply, events),
                          *complaints_about_spool(case, reply, zoo.copies(name), name in spooled, ref in duplicates),
                          *complaints_about_health(case, health.get(backend.endpoint, "unknown"))):
            yield f"{name}: {complaint}"


def complaints_about_ends(zoo, replies):
    """Behind the last delivery: who heard a 250 has one copy there, or two if that was logged."""
    duplicates = zoo.node.possible_duplicates()
    for name, reply in replies.items():
        copies = zoo.copies(name)
        most = 2 if reference_in(reply.text) in duplicates else 1
        if reply.code == 250 and not 1 <= copies <= most or reply.code != 250 and copies:
            yield f"{name}: {copies} copies in the end"


def test_P1_P2_each_odd_backend_ends_in_its_class_and_all_are_delivered_in_the_end(zoo_of):
    assert len(CATALOGUE) >= 40
    zoo = zoo_of(CATALOGUE)
    workers = zoo.node.relayd.workers()
    with Beside(zoo) as beside:
        replies = at_once(zoo.send, zoo.cases)
    assert beside.sent >= 10 and not beside.failed, beside.failed[:3]
    complaints = list(all_complaints(zoo, replies))
    assert not complaints, "\n".join(complaints)
    assert zoo.node.relayd.workers() == workers, "none of them has ended a worker"
    zoo.mend()
    zoo.node.spoolmgr.start()
    wait_until(lambda: not zoo.node.spool(), 60, "what was kept is delivered", pause=0.2)
    complaints = list(complaints_about_ends(zoo, replies))
    assert not complaints, "\n".join(complaints)
    zoo.node.check_records()


# --- What another customer's mail feels of it. Both the mail and its backend are programs in C, so that nothing is measured but
# --- the node; and what it is measured against is the same mail beside nothing, a moment before.

RELEASE = release_build()
MORE_MS = 50 if RELEASE else 500  # sanitizers make everything slower, also what stands beside
COUNT = 100 if QUICK else 200
EACH = 4  # clients a case
STALLED = [name for name, case in CATALOGUE.items() if case.answer == SILENT]
SLOW = STALLED + ["banner-drips", "dot-drips", "banner-endless-line", "rcpt-endless-reply", "ehlo-500-capabilities"]
PATIENT = dict(SETTINGS, **{"backend-connect-timeout": "2m", "backend-command-timeout": "2m", "final-reply-timeout": "2m"})


class Trouble:
    """Clients who have mail for the odd backends, one message after the other, or for as long as one hangs."""

    def __init__(self, zoo, names):
        self.zoo, self.names = zoo, names
        self.end = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(name,), daemon=True) for name in names for _ in range(EACH)]

    def run(self, name):
        while not self.end.is_set():
            self.zoo.send(name)
            self.end.wait(0.1)

    def hangs(self):
        """Do they stand at each of the backends that say nothing?"""
        return all(self.zoo.backends[name].connections_open for name in self.names if name in STALLED)

    def __enter__(self):
        self.zoo.misbehave(self.names)
        for thread in self.threads:
            thread.start()
        wait_until(lambda: all(self.zoo.backends[name].sessions for name in self.names) and self.hangs(), 30, "they hang")
        return self

    def __exit__(self, *_):
        self.end.set()
        wait_until(self.has_ended, 60, "those who hung are answered", pause=0.1)

    def has_ended(self):
        self.zoo.mend()
        return not any(thread.is_alive() for thread in self.threads)


def measure(zoo):
    node = zoo.node
    done = subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--rcpt", "user@calm.example", "--messages", str(COUNT),
                           "--connections", "1"], capture_output=True, text=True, timeout=300)
    result = json.loads(done.stdout)
    assert result["accepted"] == COUNT, result
    return result


def slowdown_ms(zoo, names):
    """By how much the median and the slowest of a hundred are above those beside nothing."""
    alone = measure(zoo)
    with Trouble(zoo, names) as trouble:
        beside = measure(zoo)
        assert trouble.hangs(), "they have hung all the time"
    print(f"{names}: p50 {alone['p50_ms']:.1f} and {beside['p50_ms']:.1f} ms, p99 {alone['p99_ms']:.1f} and {beside['p99_ms']:.1f} ms")
    return max(beside[p] - alone[p] for p in ("p50_ms", "p99_ms"))


@pytest.mark.parametrize("groups", [[SLOW]] if QUICK else [[SLOW], [[name] for name in CATALOGUE]], ids=["slow", "each"][:1 if QUICK else 2])
def test_P8_no_odd_backend_holds_up_the_mail_of_another_customer(zoo_of, groups):
    """Other work on the machine may disturb a round; what an odd backend does, it does in each."""
    zoo = zoo_of([name for group in groups for name in group], settings=PATIENT, build=RELEASE)
    zoo.mend()
    taken = 0
    for group in groups:
        rounds = []
        while not rounds or (min(rounds) >= MORE_MS and len(rounds) < 3):
            rounds.append(slowdown_ms(zoo, group))
            taken += 2 * COUNT
        assert min(rounds) < MORE_MS, f"{group}: the other's mail was slower by {rounds} ms"
    wait_until(lambda: zoo.calm.count == taken, 10, "all of it is delivered")
