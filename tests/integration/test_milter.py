# SPDX-License-Identifier: BSD-2-Clause
"""Content scanners at the end of the message, scripted: what they are told, what comes of their answers (P6), what they change and
that nothing else changes (P7), scanners that are away, slow or mad (P5, P8), quarantine (P1, P2)."""
import json
import re
import select
import threading
import time

import pytest

from harness import ADDRESS, QUICK, Backend, Client, Node, below_our_received, make_message, wait_until
from milter import (ACCEPT, CONTINUE, DISCARD, MUTE, PROGRESS, REJECT, TEMPFAIL, Milter, add, change, insert, packet, quarantine,
                    replace, reply)

LARGE = b"".join(b"%07d " % i + b"x" * 60 + b"\r\n" for i in range(40000))  # 2.8 MB: it goes to disk


class World:
    """A node with one scanner and customers who think differently of it."""

    def __init__(self):
        self.milter = Milter().start()
        self.backend = Backend().start()
        self.node = Node(settings={"workers": 1, "client-concurrency": 0, "final-reply-timeout": "20s",
                                   "milters": [f"{self.milter.address} name=scanner timeout=3s"]})
        for name, policy in (("says", "off,milter=reject"), ("waits", "off,milter=defer"), ("marks", "off,milter=mark"),
                             ("off", "off")):
            self.node.relayctl("customer", "add", name, "--policy", policy)
            self.node.relayctl("domain", "add", f"{name}.example", "--customer", name)
            self.node.relayctl("backend", "add", self.backend.endpoint, "--customer", name)
        self.node.wait_until_replicated()

    def close(self):
        self.node.close()
        self.backend.close()
        self.milter.close()

    def send(self, customer, answer=None, content=None, **kwargs):
        if answer is not None:
            self.milter.answer = answer
        content = content or make_message()
        return self.node.send(content, rcpts=(f"user@{customer}.example",), **kwargs)

    def delivered(self, customer, answer, content=None):
        """The content that the backend has got."""
        before = len(self.backend.taken)
        got = self.send(customer, answer, content)
        assert got.code == 250, str(got)
        return wait_until(lambda: self.backend.taken[before:], 10)[-1].content

    def event(self, got):
        ref = re.search(r"\[([^]\s]+)\]", got.text)
        ref = ref and ref.group(1)
        return wait_until(lambda: [e for e in self.node.events("message") if ref is None or e["ref"] == ref], 10)[-1]


@pytest.fixture(scope="module")
def world():
    w = World()
    yield w
    w.close()


@pytest.fixture(autouse=True)
def well_behaved(request):
    if "world" in request.fixturenames:
        w = request.getfixturevalue("world")
        w.milter.answer, w.milter.protocol, w.milter.delay, w.milter.steps = ACCEPT, MUTE, 0, {}
        w.backend.script.clear()


def top_of(content):
    """The fields above our Received line."""
    return content.partition(b"Received: ")[0].decode()


def below(content):
    """What the sender sent, as the backend got it."""
    return below_our_received(content[len(top_of(content)):])


@pytest.mark.parametrize("protocol", [MUTE, 0], ids=["mute", "every step answered"])
def test_a_scanner_is_told_everything(world, protocol):
    world.milter.protocol = protocol
    content = b"From: <a@a.example>\r\nSubject: one\r\n two\r\nX: y\r\n\r\nHello.\r\n.dot\r\n"
    with Client(world.node.port) as c:
        c.ehlo("helo.a.example")
        got = c.send(content, "a@a.example", ("one@says.example", "two@says.example"))
    assert got.code == 250, str(got)
    seen = world.milter.seen[-1]
    assert seen.connect[0] == "[127.0.0.1]" and seen.connect[1][:1] == b"4" and seen.connect[1].endswith(b"127.0.0.1")
    assert (seen.helo, seen.mail, seen.rcpts) == ("helo.a.example", "<a@a.example>", ["<one@says.example>", "<two@says.example>"])
    assert [n for n, _ in seen.headers] == ["From", "Subject", "X"] and seen.header("subject")[0].strip() == "one\n two"
    assert seen.body == b"Hello.\r\n.dot\r\n"
    assert seen.macros["j"] == "relay.example" and seen.macros["{client_addr}"] == "127.0.0.1"
    assert seen.macros["{mail_addr}"] == "a@a.example" and seen.macros["{rcpt_addr}"] == "two@says.example"
    event = wait_until(lambda: [e for e in world.node.events("message") if e["ref"] == seen.macros["i"]], 10)[-1]
    check, = event["checks"]
    assert (check["check"], check["name"], check["result"]) == ("milter", "scanner", "pass") and check["ms"] >= 0
    assert "decided_by" not in event


# what it says, then what each customer hears; None: it is delivered
OBJECTIONS = {
    "reject": (REJECT, "550 5.7.1 Message refused by a content scanner (scanner)",
               "450 4.7.1 Message refused by a content scanner, try again later (scanner)"),
    "reply": (reply("554 5.7.1 Gtube pattern"), "554 5.7.1 Gtube pattern",
              "450 4.7.1 Message refused by a content scanner, try again later (scanner: Gtube pattern)"),
    "discard": (DISCARD, "550 5.7.1 Message refused by a content scanner (scanner)",
                "450 4.7.1 Message refused by a content scanner, try again later (scanner)"),
    "tempfail": (TEMPFAIL, *["451 4.7.1 A content scanner asks you to try again later (scanner)"] * 2),
    "a reply for now": (reply("452 4.3.1 full"), "452 4.3.1 full", "452 4.3.1 full"),
    "odd codes": (reply("421 nothing"), "451 4.7.1 nothing", "451 4.7.1 nothing"),
}


@pytest.mark.parametrize("case", OBJECTIONS)
def test_P6_what_scanners_say_by_policy(world, case):
    answer, says, waits = OBJECTIONS[case]
    before = len(world.backend.taken)
    for customer, words in (("says", says), ("waits", waits)):
        got = world.send(customer, answer)
        assert f"{got.code} {got.text}".startswith(f"{words} ["), str(got)
        event = world.event(got)
        assert event["decided_by"] == "milter" and event["checks"][-1]["name"] == "scanner"
        assert event["verdict"] in ("milter-refused", "milter-later", "milter-deferred")
        story = world.node.relayctl("explain", got.text).stdout
        assert "scanner" in story and "content scanner" in story, story
    assert len(world.backend.taken) == before
    content = world.delivered("marks", answer)
    assert b"X-Postern: relay.example; mark=milter\r\n" in content
    content = world.delivered("off", answer)
    assert b"X-Postern" not in content


def test_two_customers_of_one_connection_get_their_own_verdicts(world):
    world.milter.answer = REJECT
    with Client(world.node.port) as c:
        c.ehlo()
        assert [c.send(make_message(), rcpts=(f"user@{name}.example",)).code for name in ("says", "off", "marks", "waits")] == \
            [550, 250, 250, 450]


def test_a_refusal_at_any_step_is_one_of_the_message(world):
    world.milter.protocol = 0
    for step in "CHMRTLNB":
        world.milter.steps = {step: REJECT}
        assert world.send("says").code == 550, step
        world.milter.steps = {step: ACCEPT}
        assert world.send("says").code == 250, step


EDITS = {
    "nothing": (ACCEPT, "", None),
    "added": (add("X-A", "1") + add("X-B", "2\n\t3") + ACCEPT, "X-A: 1\r\nX-B: 2\r\n\t3\r\n", None),
    "inserted": (insert(0, "X-A", "1") + insert(0, "X-B", "2") + ACCEPT, "X-B: 2\r\nX-A: 1\r\n", None),
    "changed": (change(1, "Subject", "new") + ACCEPT, "", lambda c: c.replace(b"Subject: a test\r\n", b"Subject: new\r\n")),
    "deleted": (change(1, "Subject", "") + ACCEPT, "", lambda c: c.replace(b"Subject: a test\r\n", b"")),
    "a new body": (replace(b"new\nlines\r\n.\r\n\r\0x") + ACCEPT, "",
                   lambda c: c.partition(b"\r\n\r\n")[0] + b"\r\n\r\nnew\r\nlines\r\n.\r\n\r\nx\r\n"),
    "all": (add("X-A", "1") + change(1, "Subject", "new") + replace(b"new") + PROGRESS + CONTINUE, "X-A: 1\r\n",
            lambda c: c.partition(b"\r\n\r\n")[0].replace(b"a test", b"new") + b"\r\n\r\nnew\r\n"),
    "smuggled": (add("X-A", "1\r\n\r\n.\r\nQUIT") + ACCEPT, "X-A: 1\r\n\t.\r\n\tQUIT\r\n", None),
    "a large new body": (replace(LARGE) + ACCEPT, "", lambda c: c.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + LARGE),
    "the envelope": (packet(b"+", b"<x@x.example>\0") + packet(b"-", b"<user@says.example>\0") + ACCEPT, "", None),
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("case", EDITS)
def test_P7_what_a_scanner_changes_and_nothing_else(world, case, size):
    answer, top, changed = EDITS[case]
    content = make_message(body=b"Hello.\r\n..\r\n\t \r\n" if size == "small" else LARGE)
    got = world.delivered("says", answer, content)
    assert top_of(got) == top
    expected = changed(content) if changed else content
    assert below(got) == expected
    assert world.milter.seen[-1].body == content.partition(b"\r\n\r\n")[2]


def test_P7_a_changed_message_is_spooled_as_it_was_changed(world):
    for case, size in (("all", b"Hello.\r\n"), ("a large new body", b"Hello.\r\n"), ("changed", LARGE)):
        answer, top, changed = EDITS[case]
        content = make_message(body=size)
        world.backend.script["dot"] = "451 4.3.0 later"
        world.backend.script["rcpt"] = "451 4.3.0 later"
        before = len(world.backend.taken)
        got = world.send("says", answer, content)
        if got.code != 250:  # the recipient is not known yet: it is kept when it is
            world.backend.script.clear()
            world.delivered("says", ACCEPT)
            world.backend.stop_listening()
            before = len(world.backend.taken)
            got = world.send("says", answer, content)
        assert got.code == 250 and "queued" in got.text, str(got)
        world.backend.script.clear()
        world.backend.close()
        world.backend.start()
        world.node.relayctl("backend", "release", "says/1", check=False)
        world.node.relayctl("spool", "retry", "--customer", "says", "--yes", check=False)  # it may be gone already
        taken = wait_until(lambda: world.backend.taken[before:], 60)[-1].content
        assert top_of(taken) == top and below(taken) == changed(content), case


def test_P1_P2_quarantine_is_a_hold_with_a_named_reason(world):
    content = make_message(test_id="quarantined")
    before = len(world.backend.taken)
    got = world.send("says", add("X-A", "1") + quarantine("virus found") + ACCEPT, content)
    assert got.code == 250 and "queued until" in got.text
    held = wait_until(lambda: [m for m in world.node.spool("--customer", "says") if m["state"] == "held"], 20)[-1]
    shown = world.node.relayctl("spool", "show", held["id"]).stdout
    assert "scanner: virus found" in shown
    event = world.event(got)
    assert event["checks"][-1]["result"] == "quarantine"
    assert "virus found" in world.node.relayctl("explain", got.text).stdout
    # A restart finds it held, and so does a checkpoint.
    world.node.spoolmgr.stop()
    world.node.spoolmgr.start()
    assert world.node.spool("--id", held["id"])[0]["state"] == "held"
    assert len(world.backend.taken) == before
    world.node.relayctl("spool", "release", held["id"])
    taken = wait_until(lambda: world.backend.taken[before:], 30)[-1]
    assert top_of(taken.content) == "X-A: 1\r\n" and below(taken.content) == content
    # A customer who only wants marks is not kept waiting.
    assert b"mark=milter" in world.delivered("marks", quarantine("virus found") + ACCEPT)


def test_P4_what_a_scanner_says_decides_who_may_be_told(world):
    """Flags of the spooled record: spam is told nothing, an aligned DKIM pass in our name verifies like SPF."""
    signed = insert(0, "Authentication-Results", "relay.example; dkim=pass header.d=origin.example")
    for edits, flags in ((b"", (False, False)), (signed, (True, False)), (signed + add("X-Spam", "Yes"), (False, True)),
                         (insert(0, "Authentication-Results", "relay.example; dkim=pass header.d=other.example"), (False, False))):
        got = world.send("says", edits + quarantine("look") + ACCEPT)
        held = wait_until(lambda: [m for m in world.node.spool("--customer", "says") if m["id"] in got.text], 20)[-1]
        shown = world.node.relayctl_json("spool", "show", held["id"])
        shown = shown[0] if isinstance(shown, list) else shown
        assert (shown["sender_verified"], shown["marked_spam"]) == flags
        world.node.relayctl("spool", "remove", held["id"], "--reason", "test", "--yes")


def test_simulate_asks_the_scanners_too(world):
    def traces():
        return len(world.backend.taken), world.node.relayctl("spool", "list", "--customer", "says", "--json", check=False).stdout

    real = world.send("says", quarantine("virus") + ACCEPT)
    wait_until(lambda: world.node.spool("--customer", "says"), 10, "it is held")
    before = traces()

    def simulate(customer, answer, *options):
        world.milter.answer = answer
        done = world.node.relayctl("simulate", "--ip", "192.0.2.1", "--helo", "mail.a.example", "--from", "a@a.example", "--rcpt",
                                   f"user@{customer}.example", "--message", "-", *options, input=make_message().decode(), check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout if not options else json.loads(done.stdout)

    said = simulate("says", reply("554 5.7.1 Gtube pattern"), "--json")
    assert (said["verdict"], said["reply"]) == ("refuse", "554 5.7.1 Gtube pattern")
    check, = said["checks"]
    assert [check[k] for k in ("check", "name", "action", "result", "input")] == \
        ["milter", "scanner", "reject", "reject", "Gtube pattern"]
    assert simulate("waits", REJECT, "--json")["reply"].startswith("450 4.7.1 Message refused by a content scanner")
    said = simulate("marks", REJECT, "--json")
    assert said["verdict"] == "accept" and said["marks"] == ["milter"]
    asked = len(world.milter.seen)
    assert simulate("off", REJECT, "--json")["verdict"] == "accept" and len(world.milter.seen) == asked
    said = simulate("says", quarantine("virus") + ACCEPT, "--json")
    assert said["verdict"] == "hold" and said["checks"][0]["input"] == "virus" and "queued" not in said
    assert said["reply"] == re.sub(r"\[P001-[^]]+\]", "[simulated]", f"{real.code} {real.text}") and "queued until" in said["reply"]
    text = simulate("says", add("X-A", "1") + replace(b"x") + ACCEPT)
    assert re.search(r"^milter scanner +reject +pass", text, re.M) and re.search("^Verdict +the sender is accepted", text, re.M), text
    seen = world.milter.seen[-1]
    assert seen.rcpts == ["<user@says.example>"] and seen.mail == "<a@a.example>" and seen.connect[1].endswith(b"192.0.2.1")
    assert traces() == before


MISBEHAVIOUR = {
    "closes": None,
    "nonsense": packet(b"Z"),
    "no packet": b"HTTP/1.1 400\r\n\r\n",
    "a reply that accepts": reply("250 ok"),
    "too much": b"".join(add(f"X-{i}", "x" * 1000) for i in range(100)) + ACCEPT,
    "no field": add("A B", "1") + ACCEPT,
}


@pytest.mark.parametrize("case", MISBEHAVIOUR)
def test_P5_a_scanner_that_misbehaves_refuses_nothing(world, case):
    """Nothing of what it has said before counts."""
    bad = MISBEHAVIOUR[case]
    answer = (lambda seen: None) if bad is None else add("X-A", "1") + change(1, "Subject", "") + replace(b"x") + bad
    content = make_message()
    got = world.delivered("says", answer, content)
    assert b"X-Postern: relay.example; unsure=milter\r\n" in got and b"X-A" not in got
    assert below(got) == content
    world.delivered("says", ACCEPT)  # one failure in a row is not enough to leave it alone
    assert "E" in world.milter.seen[-1].commands


def test_P8_a_slow_scanner_holds_up_nobody_else(world):
    world.milter.delay = 2
    slow = threading.Thread(target=world.send, args=("says",))
    slow.start()
    began = time.monotonic()
    for _ in range(5):
        assert world.send("off").code == 250
    assert time.monotonic() - began < 1.5
    slow.join()


def test_P8_a_crowd_waits_for_its_turn(world):
    """A scanner is shown 50 messages at once by a worker, and no more."""
    world.milter.delay, world.milter.at_work_most = 0.5, 0
    clients = [Client(world.node.port) for _ in range(120)]
    for c in clients:
        c.ehlo()
        c.cmd("MAIL FROM:<a@a.example>")
        assert c.cmd("RCPT TO:<user@says.example>").code == 250
        assert c.cmd("DATA").code == 354
    for c in clients:
        c.write(make_message() + b".\r\n")
    clients[0].close()
    clients[100].close()  # one that waits
    assert [c.reply().code for c in clients if c not in (clients[0], clients[100])] == [250] * 118
    assert 40 < world.milter.at_work_most <= 51  # the one that has gone is still at work there
    for c in clients:
        c.close()


def test_P5_who_waits_for_a_scanner_takes_no_room_from_others(world_of):
    """200 messages of all sizes wait for one that does not answer, 80 MB of them: another customer's pass as ever, in memory and on
    disk."""
    milter, backend = Milter(delay=60).start(), Backend().start()
    node = world_of(Node(settings={"workers": 1, "client-concurrency": 0, "final-reply-timeout": "120s",
                                   "milters": [f"{milter.address} name=scanner timeout=60s"]}))
    node.add_customer("off", "off.example", backend.endpoint)
    node.add_customer("says", "says.example", backend.endpoint)
    node.relayctl("customer", "set", "says", "--policy", "off,milter=reject", "--max-connections-per-hour", "none")
    node.wait_until_replicated()
    sizes = [12, 50, 250, 900, 2800] if not QUICK else [12, 250, 900]
    lines = b"".join(b"%07d " % i + b"x" * 114 + b"\r\n" for i in range(2800 * 8))
    crowd = []
    for n in range(200):
        client = Client(node.port)
        client.socket.settimeout(30)
        client.ehlo()
        for line in ("MAIL FROM:<a@a.example>", "RCPT TO:<user@says.example>"):
            assert client.cmd(line).code == 250
        assert client.cmd("DATA").code == 354
        client.write(b"Subject: x\r\n\r\n" + lines[:sizes[n % len(sizes)] * 8 * 124] + b".\r\n")
        crowd.append(client)
    wait_until(lambda: milter.at_work_most >= 50, 30, "the scanner has all that it is shown")
    slowest = 0
    for size in (1, 12, 50, 250, 900, 2800):
        began = time.monotonic()
        got = node.send(b"Subject: y\r\n\r\n" + lines[:size * 8 * 124], rcpts=("user@off.example",))
        slowest = max(slowest, time.monotonic() - began)
        assert got.code == 250 and "queued" not in got.text, (size, str(got))
    assert slowest < 5
    assert all(select.select([c.socket], [], [], 0)[0] == [] for c in crowd), "they wait still"
    for client in crowd:
        client.close()
    milter.close()
    backend.close()


def test_a_scanner_that_says_it_is_at_work_gets_more_time(world):
    def work(sock, seen):
        world.milter.seen.append(seen)
        for _ in range(4):
            time.sleep(1)
            sock.sendall(PROGRESS)
        sock.sendall(ACCEPT)
        return True
    world.milter.end = work
    try:
        content = world.delivered("says", None)
        assert b"unsure" not in content
    finally:
        del world.milter.end


def test_a_client_that_goes_meanwhile_has_sent_nothing(world):
    world.milter.delay = 1
    before = len(world.backend.taken)
    c = Client(world.node.port)
    c.ehlo()
    c.cmd("MAIL FROM:<a@a.example>")
    assert c.cmd("RCPT TO:<user@says.example>").code == 250
    c.cmd("DATA")
    c.write(make_message() + b".\r\n")
    time.sleep(0.3)
    c.close()
    time.sleep(1.5)
    assert len(world.backend.taken) == before
    world.milter.delay = 0
    assert world.send("says").code == 250


# --- Scanners that are away: nodes of their own.

@pytest.fixture(scope="module")
def lonely():
    """(accept, defer): nodes whose scanner can be started and stopped."""
    backend = Backend().start()
    milters, nodes = [], []
    for failure in ("accept", "defer"):
        m = Milter().start()
        node = Node(settings={"workers": 1, "final-reply-timeout": "10s",
                              "milters": [f"{m.address} name=scanner timeout=1s on-failure={failure} max-size=1MiB"]})
        node.add_customer(backend=backend.endpoint)
        node.relayctl("customer", "set", "acme", "--policy", "milter=reject")
        node.wait_until_replicated()
        milters.append(m)
        nodes.append(node)
    yield milters, nodes, backend
    for part in (*nodes, backend, *milters):
        part.close()


def test_P5_a_scanner_that_is_away_and_comes_back(lonely):
    milters, nodes, backend = lonely
    for m, node, code in zip(milters, nodes, (250, 451)):
        m.answer = REJECT
        assert node.send().code == 550
        m.close()
        for _ in range(3):
            got = node.send()
            assert got.code == code and (code == 250 or "cannot be scanned now" in got.text and got.enhanced == "4.7.1"), str(got)
        status = node.relayctl("status", "--json", check=False)
        assert status.returncode == 1 and '"state":"failing"' in status.stdout
        status = " ".join(node.relayctl("status", check=False).stdout.split())
        assert re.search(r"scanners failing scanner fails since .*, and mail " +
                         ("passes unscanned" if code == 250 else r"is put off \(on-failure=defer\)") + ": start it, or look into its log", status), status
        alarm, = node.relayd.log_lines("milter-failing")
        assert "milter=scanner" in alarm
        wait_until(lambda: [e["checks"][-1]["result"] for e in node.events("message")][-3:] == ["failed", "away", "away"], 10)
        if code == 250:
            assert b"unsure=milter" in backend.taken[-1].content
        m.start(m.port)
        wait_until(lambda: node.send().code == 550, 20, pause=0.5)
        assert node.relayd.log_lines("milter-back")
        assert node.relayctl_json("status", check=False)[0]["scanners"]["milters"] == \
            [{"name": "scanner", "address": m.address, "state": "up", "since_at": None}]


def test_P8_a_dead_scanner_costs_nobody_its_timeout(lonely):
    """One that is reached and says nothing: one message waits for it, as a probe; the others do not."""
    milters, nodes, _ = lonely
    m, node = milters[0], nodes[0]
    m.answer, m.delay = ACCEPT, 5
    before = len(node.relayd.log_lines("milter-failing"))
    for _ in range(3):  # in a row
        node.send()
    wait_until(lambda: len(node.relayd.log_lines("milter-failing")) > before, 10)
    asked = len(m.seen)
    began = time.monotonic()
    for _ in range(10):
        assert node.send().code == 250
    assert time.monotonic() - began < 3
    assert len(m.seen) - asked <= 1
    m.delay = 0
    wait_until(lambda: node.send().code == 250 and len(m.seen) > asked + 1, 30, pause=0.5)


def test_what_is_too_large_for_a_scanner_passes_it(lonely):
    milters, nodes, _ = lonely
    milters[1].answer = REJECT
    wait_until(lambda: nodes[1].send().code == 550, 20, pause=0.5)
    assert nodes[1].send(make_message(body=LARGE)).code == 250
    event = wait_until(lambda: [e for e in nodes[1].events("message") if e["size"] > 1000000], 10)[-1]
    assert event["checks"][-1]["result"] == "too large"


def test_each_sees_what_those_before_it_have_changed():
    backend = Backend().start()
    with Milter() as first, Node(start=False) as node:
        second = Milter(path=str(node.folder / "milter.sock")).start()
        node.folder.chmod(0o755)
        (node.folder / "milter.sock").chmod(0o777)
        node.write_config(milters=[f"{first.address} name=first", f"{second.address} name=second"], workers=1)
        node.start()
        node.add_customer(backend=backend.endpoint)
        node.relayctl("customer", "set", "acme", "--policy", "milter=reject")
        node.wait_until_replicated()
        first.answer = add("X-A", "1") + change(1, "Subject", "new") + replace(b"new\r\n") + ACCEPT
        second.answer = change(1, "X-A", "2") + insert(0, "X-B", "3") + ACCEPT
        got = node.send()
        assert got.code == 250, str(got)
        seen = second.seen[-1]
        assert [v.strip() for v in seen.header("X-A") + seen.header("Subject")] == ["1", "new"] and seen.body == b"new\r\n"
        content = wait_until(lambda: backend.taken, 10)[-1].content
        assert top_of(content) == "X-B: 3\r\nX-A: 2\r\n" and content.endswith(b"\r\nSubject: new\r\n\r\nnew\r\n")
        first.answer = REJECT
        asked = len(second.seen)
        assert node.send().code == 550 and len(second.seen) == asked
        second.close()
    backend.close()
