# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl explain`, `trace` and `help CODE`: each refusal explains itself to somebody who knows mail and not Postern (P6), with
the database and without it (P5)."""
import json
import re
from datetime import datetime, timedelta, timezone

import pytest

from harness import SOURCE, Backend, Client, Node, build_dir, free_port, make_message, reference_in, wait_until
from nameserver import Nameserver
from test_sender_policy import DYNAMIC, GOOD, INTERNET, LIST, LISTED, MISMATCH, NONAME, add_customers, converse

OWN_POSTGRES = True  # it is stopped and started
CUSTOMERS = {"off": "off", "acme": "strict,greylist=off", "grey": "off,greylist=defer", "soft": "off,spf-soft=reject",
             "later": "off,spf=defer", "locked": "off", "sleeping": "off", "gone": "off", "listed": "off", "picky": "off", "dead": "off", "mixed": "off"}


class Gate(Node):
    def event(self, ref, verdict=None):
        """The event of a reference, as soon as it is in the log."""
        return wait_until(lambda: [e for e in self.events() if e.get("ref") == ref and e.get("verdict") == (verdict or e.get("verdict"))],
                          10, f"the event of {ref}")[-1]

    def wait_until_copied(self):
        def is_copied():
            done = dict(self.postgres.sql("SELECT file, offset_bytes FROM postern.events_copied"))
            return all(p.stat().st_size == done.get(p.name, 0) for p in self.dirs["log-dir"].glob("events-*.jsonl"))
        wait_until(is_copied, 20, "all is copied")

    def explain(self, *args, **kwargs):
        return self.relayctl("explain", *args, **kwargs)


def rcpt_of_backend(_, line):
    return "550 5.1.1 nobody here of that name" if "nobody@" in line else "450 4.2.1 mailbox is busy" if "busy@" in line else None


@pytest.fixture(scope="module")
def dns():
    with_all = Nameserver(*INTERNET, zone=".").start()
    yield with_all
    with_all.close()


@pytest.fixture(scope="module")
def backend():
    b = Backend().start()
    b.script["rcpt"] = rcpt_of_backend
    yield b
    b.close()


@pytest.fixture(scope="module")
def gate(dns, backend):
    with Gate(settings={"resolver": dns.endpoint, "workers": 1, "xclient-from": ["127.0.0.0/8"], "client-concurrency": 0,
                        "dnsbl": [LIST.rstrip(".")], "max-received": 10, "postmaster": None}) as node:
        add_customers(node, backend, CUSTOMERS)
        node.dead_port = free_port()
        node.backend = backend
        node.postgres.sql("UPDATE postern.backends b SET port = %s FROM postern.customers c WHERE c.id = customer_id AND c.name = 'dead'",
                          node.dead_port)
        node.relayctl("customer", "suspend", "sleeping", "--reason", "test", "--yes")
        node.relayctl("customer", "suspend", "gone", "--refuse", "--reason", "test", "--yes")
        node.relayctl("customer", "set", "picky", "--max-recipients-per-message", "1", "--max-message-size", "64KiB")
        node.relayctl("recipient", "add", "info@listed.example")
        node.relayctl("domain", "set", "listed.example", "--recipients", "complete")
        node.relayctl("customer", "set", "mixed", "--live-4xx", "keep")
        node.relayctl("recipient", "add", "user@mixed.example", "busy@mixed.example")
        node.relayctl("filter", "add", "203.0.113.7", "--customer", "locked", "--label", "wall", "--only")
        node.relayctl("block", "add", "spammer@good.example", "--customer", "off", "--reason", "ticket 4711")
        node.wait_until_replicated()
        yield node


def says(node, *commands, client=GOOD, helo="mail.good.example"):
    """The reply to the last command."""
    with Client(node.port) as c:
        c.ehlo("proxy.test")
        assert c.cmd(f"XCLIENT ADDR={client}").code == 220
        c.ehlo(helo)
        for command in commands[:-1]:
            assert c.cmd(command).code in (250, 354), command
        return c.cmd(commands[-1])


def sends(node, content, rcpt="user@off.example"):
    with Client(node.port) as c:
        c.ehlo("mail.good.example")
        return c.send(content, "info@good.example", rcpt)


MAIL = "MAIL FROM:<info@good.example>"
# The verdict, and what leads to it.
REFUSALS = {
    "relay-denied": lambda n: converse(n, "elsewhere.example"),
    "relay-form": lambda n: converse(n, "off.example", local="a%b"),
    "ptr-none": lambda n: converse(n, "acme.example", client=NONAME),
    "ptr-mismatch": lambda n: converse(n, "acme.example", client=MISMATCH),
    "dialin": lambda n: converse(n, "acme.example", client=DYNAMIC),
    "helo-odd": lambda n: converse(n, "acme.example", helo="nowhere.good.example", sender="a@none.example"),
    "helo-forged": lambda n: converse(n, "acme.example", helo="localhost"),
    "dnsbl": lambda n: converse(n, "acme.example", client=LISTED),
    "sender-no-domain": lambda n: converse(n, "acme.example", sender="a@does-not-exist.example"),
    "sender-null-mx": lambda n: converse(n, "acme.example", sender="a@null.example"),
    "spf-fail": lambda n: converse(n, "acme.example", sender="a@fail.example"),
    "spf-softfail": lambda n: converse(n, "soft.example", sender="a@soft.example"),
    "spf-permerror": lambda n: converse(n, "acme.example", sender="a@broken.example"),
    "policy-later": lambda n: converse(n, "later.example", sender="a@fail.example"),
    "greylisted": lambda n: converse(n, "grey.example"),
    "sender-blocked": lambda n: converse(n, "off.example", sender="spammer@good.example"),
    "filters-only": lambda n: converse(n, "locked.example"),
    "suspended": lambda n: converse(n, "sleeping.example"),
    "suspended for good": lambda n: converse(n, "gone.example"),
    "not-listed": lambda n: converse(n, "listed.example", local="other"),
    "refused": lambda n: converse(n, "off.example", local="nobody"),
    "refused for now": lambda n: converse(n, "off.example", local="busy"),
    "postmaster-unset": lambda n: says(n, MAIL, "RCPT TO:<postmaster>"),
    "too-big": lambda n: says(n, f"{MAIL} SIZE=100000", "RCPT TO:<user@picky.example>"),
    "too-many-recipients": lambda n: says(n, MAIL, "RCPT TO:<a@picky.example>", "RCPT TO:<b@picky.example>"),
    "other-destination": lambda n: says(n, MAIL, "RCPT TO:<a@off.example>", "RCPT TO:<b@dead.example>"),
    "loop": lambda n: sends(n, b"Received: from a by b; Mon, 30 Nov 2026 10:00:00 +0000\r\n" * 11 + make_message()),
    "bare-line-end": lambda n: sends(n, b"Subject: x\r\n\r\na\nb\r\n"),
}


# What the reason says of this case.
REASONS = {
    "relay-form": "holds the character %",
    "ptr-none": f"address {NONAME} has no PTR record",
    "ptr-mismatch": f"{MISMATCH} does not resolve to that address",
    "dialin": "The PTR name p4fd6a28.dip0.dialin.example",
    "helo-odd": 'said "nowhere.good.example"',
    "helo-forged": 'said "localhost" in HELO or EHLO, which is every machine',
    "dnsbl": "(bl.lists.test, which answers 127.0.0.",
    "sender-no-domain": "does-not-exist.example has neither MX nor address",
    "sender-null-mx": "null.example says with a null MX",
    "spf-fail": "-all in the record of fail.example matches",
    "spf-permerror": "ip4:nonsense",
    "policy-later": "The check spf failed. This customer has chosen to put such mail off",
    "greylisted": "by the customer's policy (check greylist): a first contact is put off for 5 minutes. Who tries again after 20",
    "sender-blocked": "block list has spammer@good.example",
    "too-big": "announced 100000 octets; the customer's limit is 65536",
    "too-many-recipients": "This is recipient 2 of the message, and the customer's limit is 1",
    "loop": "has 11 Received lines, and max-received is 10",
    "bare-line-end": "holds a bare LF",
}


# What the sending server does then; the others: it returns the message, or tries again.
RETURNS = "This recipient was refused; the sending server returns the message to its sender. Sending it again helps only once"
WAITS = "This recipient was put off, not refused: the sending server keeps the message and tries again, usually within minutes to an hour."
OUTCOMES = {
    "sender-no-domain": "cannot return the message, because the sender's address takes no mail",
    "sender-null-mx": "cannot return the message, because the sender's address takes no mail",
    "policy-later": "This recipient was put off, and will be at every attempt, until the sending server gives up",
    "greylisted": WAITS,
    "suspended": WAITS,
    "refused for now": WAITS,
    "too-many-recipients": "sends the message again to the rest, usually within minutes",
    "other-destination": "sends the message again to the rest, usually within minutes",
    "loop": "The message was refused for all its recipients; the sending server returns the message",
    "bare-line-end": "The message was refused for all its recipients; the sending server returns the message",
}
# Of SPF, where it is not the cause; what is still being looked up then was not looked at.
SPF = {
    "loop": "(fail, but this customer's policy does not use SPF|not looked at)",
    "dnsbl": "(Not the cause. But SPF fails too .*, and the check spf would refuse the message next|not looked at: another check)",
    "helo-odd": "(none: none.example publishes no record|not looked at: another check)",
}


@pytest.mark.parametrize("what", REFUSALS)
def test_P6_each_refusal_is_explained(gate, what):
    """From the reply alone, as a sender sends it in: who came, what was asked, what was answered, why, and what each can do."""
    word = what.split(" ")[0]
    reply = REFUSALS[what](gate)
    ref = reference_in(reply.text)
    assert ref, str(reply)
    event = gate.event(ref)
    assert event["verdict"] == word, event
    story = gate.explain(f"host mx said: {reply.code} {reply.enhanced} {reply.text} (in reply to RCPT TO)").stdout
    print(story)
    assert story.startswith(f"{ref}, begun at ") and f"<{event['from']}>" in story and event["client"] in story
    flat = " ".join(story.split())
    assert " ".join(event["reply"].split()) in flat
    for label in ("Client", "From", "To", "Answered", "Outcome", "Why", "The sender", "The customer", "We"):
        assert re.search(rf"^{label} ", story, re.M), f"{label}: {story}"
    assert not re.search(r"\b(CUSTOMER|RECIPIENT)\b", flat) or not event.get("customer"), "the remedy names those concerned"
    if event.get("decided_by"):
        assert f"us: the customer's policy, check {event['decided_by']} (" in flat and re.search(r"^Checks ", story, re.M)
    assert re.search(r"^Decided by ", story, re.M), story
    assert REASONS.get(what, "") in flat and OUTCOMES.get(what, RETURNS) in flat, flat
    assert what not in SPF or re.search(rf"\bSPF {SPF[what]}", flat) or what == "loop" and "SPF" not in flat, flat
    assert not re.search(r"\d\d:\d\d:\d\d(?! [+-]\d{4})", flat), "times have their offset"
    commands = [line.strip() for line in story.splitlines() if re.match(r" {15}\S", line)]
    assert all(re.match(r"relayctl |! ", c) and c[-1] not in ".,;:)" for c in commands), "each stands alone, to be pasted"
    assert not re.search(r"^(?! {15}).*relayctl", story, re.M), "no command is inside a sentence"
    if word == "refused":
        assert event["backend_reply"] in flat and f"the customer's own server, {event['backend']}" in flat
    assert all(len(line) <= 80 or " " not in line[13:] or line.strip() in commands for line in story.splitlines()), story


def test_P6_a_rule_is_named_with_who_entered_it(gate):
    flat = " ".join(gate.explain(REFUSALS["sender-blocked"](gate).text).stdout.split())
    assert re.search(r"Rule spammer@good.example is blocked: ticket 4711 \(entered 20[^,]* [+-]\d{4}, by \w+\)", flat), flat
    assert "relayctl block remove spammer@good.example --customer off --reason TEXT" in flat and "allow add" not in flat
    flat = " ".join(gate.explain(REFUSALS["suspended"](gate).text).stdout.split())
    assert re.search(r"Suspended since 20[^,]* [+-]\d{4}, by \w+: test ", flat), flat


def test_P6_the_backend_is_named_for_the_test_of_it(gate):
    flat = " ".join(gate.explain(REFUSALS["refused"](gate).text).stdout.split())
    assert "relayctl backend test off/1 --rcpt nobody@off.example" in flat, flat


@pytest.mark.parametrize("where", [(), ("--local",)])
def test_P6_what_was_put_off_says_whether_it_has_come_since(gate, where):
    """The same sender and recipient, by the database and by the files."""
    sender = f"again{len(where)}@good.example"
    refused = converse(gate, "later.example", sender="a@fail.example", local=f"never{len(where)}")
    gate.event(reference_in(refused.text))
    assert re.search(r"^Since then +not seen again so far", gate.explain(reference_in(refused.text), *where).stdout, re.M)
    assert gate.relayctl_json("explain", reference_in(refused.text), *where)[0]["events"][0]["since_then"] is None
    first = converse(gate, "off.example", local="busy", sender=sender)
    second = converse(gate, "off.example", local="busy", sender=sender)
    gate.event(reference_in(second.text))
    story = " ".join(gate.explain(reference_in(first.text), *where).stdout.split())
    assert f"reference {reference_in(second.text)} (refused)" in story and "Since then put off again at 20" in story, story
    gate.backend.script["rcpt"] = None
    with Client(gate.port) as c:
        c.ehlo("mail.good.example")
        third = c.send(make_message(), sender, "busy@off.example")
    gate.backend.script["rcpt"] = rcpt_of_backend
    gate.event(reference_in(third.text), "delivered")
    story = " ".join(gate.explain(reference_in(first.text), *where).stdout.split())
    assert f"reference {reference_in(third.text)}" in story and "Since then accepted at 20" in story, story
    told = gate.relayctl_json("explain", reference_in(first.text), *where)[0]["events"][0]["since_then"]
    assert told["id"] == reference_in(third.text) and told["verdict"] == "delivered" and told["at"] and told["reply"].startswith("250")


def test_a_message_that_was_delivered(gate, backend):
    reply = sends(gate, make_message())
    ref = reference_in(reply.text)
    gate.event(ref, "delivered")
    story = " ".join(gate.explain(ref).stdout.split())
    assert "Delivered: the customer's own server has taken the message" in story
    assert f"the customer's own server, {backend.endpoint}" in story and "which said: 250" in story


def test_what_is_put_off_has_the_remedies_of_its_check(gate):
    flat = " ".join(gate.explain(REFUSALS["policy-later"](gate).text).stdout.split())
    assert "the sender hears of it days earlier: relayctl customer set later --policy spf=reject" in flat, flat
    assert flat.index("Normally nothing.") < flat.index("spf=reject"), "what is changed unasked is not offered first"
    assert "relayctl filter add NETWORK --customer later" in flat and "rewrite the sender (SRS)" in flat


def test_what_no_setting_admits_offers_none(gate):
    for content, fault in ((b"Subject: x\r\n\r\na\rb\r\n", "bare CR"), (b"Subject: x\r\n\r\na\0b\r\n", "NUL")):
        reply = sends(gate, content)
        gate.event(reference_in(reply.text), "bare-line-end")
        flat = " ".join(gate.explain(reference_in(reply.text)).stdout.split())
        assert f"The message holds a {fault}." in flat and "Nothing: no setting admits it." in flat and "--bare-lf" not in flat, flat


def test_a_check_that_only_marks_says_so(gate):
    gate.relayctl("customer", "set", "grey", "--policy", "off,ptr-none=mark,dialin=mark")
    gate.wait_until_replicated()
    try:
        wait_until(lambda: converse(gate, "grey.example", client=NONAME).code == 250, 20, "the policy is known")
        with Client(gate.port) as c:
            c.ehlo("proxy.test")
            c.cmd(f"XCLIENT ADDR={DYNAMIC}")
            c.ehlo("mail.good.example")
            taken = c.send(make_message(), "info@good.example", "user@grey.example")
        gate.event(reference_in(taken.text), "delivered")
        flat = " ".join(gate.explain(reference_in(taken.text)).stdout.split())
        assert "dialin: hit, only marked (p4fd6a28.dip0.dialin.example); clear: ptr-none" in flat, flat
    finally:
        gate.relayctl("customer", "set", "grey", "--policy", CUSTOMERS["grey"])
        gate.wait_until_replicated()
        wait_until(lambda: converse(gate, "grey.example", sender="x@good.example").code == 451, 20, "the policy is known")


def test_P2_a_message_that_waits_and_what_became_of_it(gate):
    reply = sends(gate, make_message(), "user@dead.example")
    assert reply.code == 250
    ref = reference_in(reply.text)
    gate.event(ref, "spooled")
    story = wait_until(lambda: [s for s in [gate.explain(ref).stdout] if "It waits in the spool" in " ".join(s.split())], 10)[0]
    assert re.search(r"^Kept until +\d{4}-", story, re.M) and "<user@dead.example>: waiting" in story
    late = Backend(port=gate.dead_port).start()
    try:
        wait_until(lambda: late.taken, 20, "it is delivered")
        told = gate.relayctl_json("explain", ref)[0]
        assert told["kept"]["state"] in ("ended", "gone", "waiting", "offered") and told["events"][0]["verdict"] == "spooled"
        story = wait_until(lambda: [s for s in [gate.explain(ref).stdout] if "It waits no more" in s or "in the spool no more" in s], 20)[0]
    finally:
        late.stop()
    assert "<user@dead.example>: delivered" in story or "spoolmgr's log" in " ".join(story.split())


def test_P2_a_message_that_was_delivered_to_some_and_is_kept_for_others(gate):
    """The customer's server defers one recipient and takes the message for the other: the story goes on for the one that waits."""
    reply = sends(gate, make_message(), ["user@mixed.example", "busy@mixed.example"])
    ref = reference_in(reply.text)
    event = gate.event(ref, "delivered")
    assert (reply.code, event["kept"]) == (250, 1)
    done = wait_until(lambda: [d for d in [gate.explain(ref)] if "It waits in the spool" in " ".join(d.stdout.split())], 10)[0]
    flat = " ".join(done.stdout.split())
    assert "Outcome Delivered to some recipients" in flat and "Kept here for 1," in flat and "<busy@mixed.example>: waiting" in flat, flat
    (kept,) = [told["kept"] for told in gate.relayctl_json("explain", ref)]
    assert kept["source"] == "spool" and kept["state"] in ("waiting", "running", "offered")
    assert {r["address"]: r["state"] for r in kept["recipients"]} == {"user@mixed.example": "delivered", "busy@mixed.example": "open"}
    gate.relayctl("spool", "remove", ref, "--reason", "a test", "--yes")
    story = wait_until(lambda: [s for s in [" ".join(gate.explain(ref).stdout.split())] if "It waits no more" in s], 20)[0]
    assert "Delivered to some recipients" in story and "<busy@mixed.example>: removed by an operator, at" in story, story


def test_several_references_in_a_pasted_text_and_the_connection(gate):
    with Client(gate.port) as c:
        c.ehlo("proxy.test")
        c.cmd(f"XCLIENT ADDR={GOOD}")
        c.ehlo("only.good.example")
        c.cmd(MAIL)
        first = c.cmd("RCPT TO:<nobody@off.example>")
        c.cmd("RCPT TO:<nobody@elsewhere.example>")
        c.cmd("RSET")
        c.cmd("MAIL FROM:<>")
        second = c.cmd("RCPT TO:<nobody@off.example>")
        c.cmd("QUIT")
    refs = [reference_in(first.text), reference_in(second.text)]
    wait_until(lambda: [e for e in gate.events("connection") if e.get("helo") == "only.good.example"], 10, "it has ended")
    text = f"> {first.text}\nsome words\n>> [{refs[1].lower()}], {refs[0]}\n"
    done = gate.explain("-", input=text)
    flat = " ".join(done.stdout.split())
    assert flat.count(", begun at ") == 2 and "<> (the null sender" in flat
    assert flat.count("Connection lasted") == 2 and "ended with QUIT" in flat
    told = [json.loads(line) for line in gate.explain("--json", *refs).stdout.splitlines()]
    assert [t["id"] for t in told] == refs and len(told[0]["events"]) == 2 and told[0]["connection"]["helo"] == "only.good.example"
    assert [e["operator"] for e in told[0]["explanations"] if e["verdict"] == "relay-denied"][0]
    assert not re.search(r"\b(CUSTOMER|ADDRESS|SENDER|RECIPIENT|DOMAIN|CHECK)\b", json.dumps(told[0]["explanations"]))
    done = gate.explain(refs[0], "P001-3EZAR-0R00QJV", check=False)
    assert done.returncode == 4 and "P001-3EZAR-0R00QJV: nothing is known of it" in done.stderr


def test_what_is_unknown_says_what_was_looked_at(gate):
    done = gate.explain("P001-3EZAR-0R00QJV", check=False)
    assert done.returncode == 3 and "looked at: PostgreSQL" in done.stderr and "node 1" in done.stderr
    done = gate.explain("--local", "P007-3EZAR-0R00QJV", check=False)
    assert done.returncode == 3 and "the event log of this node (1) alone" in done.stderr and "Ask on that node" in done.stderr
    assert gate.explain("550 5.1.1 no such user", check=False).returncode == 2
    assert gate.explain("-", input="no reference\n", check=False).returncode == 3


# --- trace.

@pytest.fixture(scope="module")
def traced(gate):
    """Mail of a sender of its own: delivered, and refused."""
    content = b"Message-ID: <traced.1@good.example>\r\n\r\nx\r\n"
    with Client(gate.port) as c:
        c.ehlo("proxy.test")
        c.cmd(f"XCLIENT ADDR={GOOD}")
        c.ehlo("mail.good.example")
        assert c.send(content, "Traced@good.example", "first@off.example").code == 250
        c.cmd("MAIL FROM:<traced@good.example>")
        refused = c.cmd("RCPT TO:<nobody@off.example>")
        ref = reference_in(refused.text)
        gate.event(ref)
        c.cmd("RSET")
        c.cmd("MAIL FROM:<traced@good.example>")
        stranger = c.cmd("RCPT TO:<x@sub.elsewhere.example>")
        c.cmd("QUIT")
    gate.event(reference_in(stranger.text))
    gate.wait_until_copied()
    gate.refused_ref = ref
    return gate


FROM = ("--from", "TRACED@good.example")
SELECTORS = {
    "from": (FROM, {"delivered", "refused", "relay-denied"}),
    "from-pasted": (("--from", "<traced@good.example>"), {"delivered", "refused", "relay-denied"}),
    "rcpt": ((*FROM, "--rcpt", "first@OFF.example"), {"delivered"}),
    "rcpt-other": ((*FROM, "--rcpt", "second@off.example"), set()),
    "domain": ((*FROM, "--domain", "off.example"), {"delivered", "refused"}),
    "subdomain": ((*FROM, "--domain", ".elsewhere.example"), {"relay-denied"}),
    "no-subdomain": ((*FROM, "--domain", "elsewhere.example"), set()),
    "domain-other": ((*FROM, "--domain", "acme.example"), set()),
    "customer": ((*FROM, "--customer", "off"), {"delivered", "refused"}),
    "customer-other": ((*FROM, "--customer", "acme"), set()),
    "ip": ((*FROM, "--ip", GOOD), {"delivered", "refused", "relay-denied"}),
    "network": ((*FROM, "--ip", "192.0.2.0/28"), {"delivered", "refused", "relay-denied"}),
    "ip-other": ((*FROM, "--ip", NONAME), set()),
    "message-id": (("--message-id", "traced.1@good.example"), {"delivered"}),
    "verdict": ((*FROM, "--verdict", "refused"), {"refused"}),
    "since": ((*FROM, "--since", "1h"), {"delivered", "refused", "relay-denied"}),
    "until": ((*FROM, "--until", "1h"), set()),
    "limit": ((*FROM, "--limit", "1"), {"relay-denied"}),
    "null-sender": (("--from", "<>", "--rcpt", "first@off.example"), set()),
}


@pytest.mark.parametrize("name", SELECTORS)
def test_trace_by_each_selector_from_the_database_and_the_files(traced, name):
    args, want = SELECTORS[name]
    for where, says_so in (((), "PostgreSQL"), (("--local",), "the event log of this node (1) alone")):
        done = traced.relayctl("trace", "--json", *args, *where, check=False)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert {e["verdict"] for e in events} == want and all(e["node"] == 1 for e in events), (where, done.stderr)
        assert done.returncode == (0 if want else 3) and says_so in done.stderr, done.stderr


def test_trace_shows_connections_of_a_client_only(traced):
    def kinds(*args):
        return {json.loads(line)["event"] for line in traced.relayctl("trace", "--json", "--limit", "1000", *args).stdout.splitlines()}
    for where in ((), ("--local",)):
        assert "connection" in kinds("--ip", GOOD, *where) and "connection" not in kinds("--since", "1h", *where)


def test_trace_by_id_for_people(traced):
    done = traced.relayctl("trace", "--id", f"text with [{traced.refused_ref}] in it")
    assert traced.refused_ref in done.stdout and "<traced@good.example> to nobody@off.example" in done.stdout
    assert re.search(r"^WHEN +ID +CODE +VERDICT +CLIENT$", done.stdout, re.M)


@pytest.mark.parametrize("args,word", [(("--verdict", "spf-fial"), "spf-fail"), (("--ip", "300.1.1.1"), "no address"),
                                       (("--since", "tomorrow"), "--since"), (("--since", "1h", "--until", "2h"), "no event can lie"),
                                       (("--limit", "0"), "--limit"), (("--id", "nonsense"), "--id"), (("--domain", "a b"), "domain")])
def test_trace_says_what_is_wrong(gate, args, word):
    done = gate.relayctl("trace", *args, check=False)
    assert done.returncode == 2 and word in done.stderr, done.stderr


def test_an_old_address_is_found_by_its_network(gate):
    """24 bits count refusals, and are what is left of an old address."""
    at = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:00.000Z}"
    line = json.dumps({"at": at, "event": "refusals", "client": "198.18.7.0/24", "count": 3, "minute": at, "verdicts": {"relay-denied": 3}})
    gate.postgres.sql("SELECT postern.events_copy(9, 'x', 0, 1000, %s)", line)
    done = gate.relayctl("trace", "--ip", "198.18.7.9")
    assert "3 relay-denied" in done.stdout and "198.18.7.0/24" in done.stdout


def test_trace_goes_from_day_to_day_newest_first(gate):
    """Some days have no partition of their own: one that is old, one that is to come."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    hours = [0, 3, 20, 26, 24 * 12, 24 * 12 + 1, -24 * 15]
    for n, age in enumerate(hours):
        line = json.dumps({"at": f"{now - timedelta(hours=age):%Y-%m-%dT%H:%M:%S.000Z}", "event": "message", "ref": f"P001-4KX3T-000000{n}",
                           "client": "192.0.2.7", "from": "days@sender.example", "rcpt": ["a@days.example"], "size": 1, "ms": 1,
                           "verdict": "delivered"}) + "\n"
        gate.postgres.sql("SELECT postern.events_copy(9, %s, 0, %s, %s)", f"day-{n}", len(line), line)

    def found(*args):
        return [int(e["ref"][-1]) for e in gate.relayctl_json("trace", "--from", "days@sender.example", *args)]

    newest = sorted(range(len(hours)), key=lambda n: hours[n])
    assert found() == newest
    assert found("--limit", "1") == newest[:1] and found("--limit", "5") == newest[:5]
    assert found("--since", "25h") == [6, 0, 1, 2] and found("--since", "25h", "--until", "2h") == [1, 2]
    assert found("--until", "10d") == [4, 5] and found("--rcpt", "a@days.example", "--since", "11d", "--until", "1h") == [1, 2, 3]


def test_trace_finds_all_subdomains(gate):
    """By an index for parents of two to seven labels; what has more is found too."""
    long = "k.j.i.h.g.f.e.d.c.deep.example"
    for n, rcpt in enumerate(("a@deep.example", "A@Sub.Deep.example", "a@x.sub.deep.example", f"a@{long}", ["b@other.example", "a@sub.deep.example"])):
        kind = {"event": "message", "size": 1, "ms": 1} if isinstance(rcpt, list) else {"event": "recipient-refused"}
        line = json.dumps({"at": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.000Z}", **kind, "ref": f"P001-4KX3T-100000{n}",
                           "client": "192.0.2.7", "from": "deep@sender.example", "rcpt": rcpt, "verdict": "dnsbl"}) + "\n"
        gate.postgres.sql("SELECT postern.events_copy(9, %s, 0, %s, %s)", f"deep-{n}", len(line), line)

    def found(domain):
        done = gate.relayctl("trace", "--json", "--from", "deep@sender.example", "--domain", domain, check=False)
        return sorted(int(json.loads(line)["ref"][-1]) for line in done.stdout.splitlines())

    assert found("deep.example") == [0] and found("sub.deep.example") == [1, 4] and found(".deep.example") == [1, 2, 3, 4]
    assert found(".sub.deep.example") == [2] and found(".ep.example") == []
    for labels in range(2, 10):
        parent = "." + ".".join(long.split(".")[-labels:])
        assert 3 in found(parent), parent
    assert found("." + long) == []
    gate.postgres.sql("UPDATE postern.events SET recipient_keys = array(SELECT k FROM unnest(recipient_keys) k WHERE k NOT LIKE '.%%') WHERE sender = %s",
                      "deep@sender.example")
    assert found(".deep.example") == []
    migration = (SOURCE / "sql" / "0016-event-domains.sql").read_text()
    gate.postgres.sql(re.search(r"^UPDATE postern.events .*?;$", migration, re.S | re.M).group(0))
    assert found(".deep.example") == [1, 2, 3, 4], "the migration has given older events their keys"


def test_P5_without_the_database_this_node_knows_its_own(traced):
    ref = traced.refused_ref
    traced.postgres.stop()
    try:
        done = traced.explain(ref)
        assert "the database is away" in done.stderr and "nobody here of that name" in done.stdout
        assert traced.relayctl("trace", *FROM).stdout.count(GOOD) == 3
        done = traced.explain("P001-3EZAR-0R00QJV", check=False)
        assert done.returncode == 3 and "the event log of this node (1) alone" in done.stderr
        reply = REFUSALS["relay-denied"](traced)
        traced.event(reference_in(reply.text))
        assert "relayctl domain add" in " ".join(traced.explain(reply.text).stdout.split())
    finally:
        traced.postgres.start()


def test_forged_octets_are_shown_and_not_obeyed(gate):
    with Client(gate.port) as c:
        c.write(b"EHLO x\xc3\xa4\x1b]0;owned\x07\xc2\x9b31m.example\r\n")
        c.reply()
        c.ehlo("mail.good.example")
        c.cmd(MAIL)
        reply = c.cmd("RCPT TO:<nobody@elsewhere.example>")
    gate.event(reference_in(reply.text))
    for done in (gate.explain(reply.text), gate.relayctl("trace", "--since", "1h", "--limit", "1000")):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout), ascii(done.stdout)


def test_a_reply_has_its_text_as_it_was_sent(gate):
    """The log has an octet beyond ASCII as the character of its number; the second recipient is told in one line."""
    def as_logged(text):
        return text.encode().decode("latin-1")

    at, ref = datetime.now(timezone.utc), "P001-4KX3T-0B7Q2CG"
    lines = "".join(json.dumps({"at": f"{at:%Y-%m-%dT%H:%M:%S}.00{n}Z", "event": "recipient-refused", "ref": ref, "client": "192.0.2.7",
                                "from": "a@sender.example", "rcpt": f"{local}@off.example", "customer": "off", "verdict": "refused", "ms": 1,
                                "reply": reply}) + "\n"
                    for n, (local, reply) in enumerate((("a", as_logged("550 5.1.1 Empfänger unbekannt")), ("b", as_logged("550 5.1.1 für niemand")),
                                                        ("c", "550 no\x1b]0;owned\x07\x9b31m"))))
    gate.postgres.sql("SELECT postern.events_copy(9, 'octets', 0, %s, %s)", len(lines), lines)
    done = gate.explain(ref)
    said = " ".join(done.stdout.split())
    assert "Answered 550 5.1.1 Empfänger unbekannt, at " in said, said
    assert r"To <b@off.example>, likewise: 550 5.1.1 für niemand To <c@off.example>, likewise: 550 no\x1b]0;owned\x07" in said, said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout), ascii(done.stdout)


# --- The replies.

@pytest.mark.parametrize("asked,words", [(("550",), ["relay-denied", "spf-fail"]), (("5.7.23",), ["spf-fail", "spf-softfail"]),
                                         (("550", "5.7.23"), ["spf-fail", "spf-softfail"]), (("spf-fail",), ["spf-fail"]),
                                         (("451 4.7.1 First contact, try again, in 5 minutes [P001-3EZAR-0R00QJV]",), ["greylisted"])])
def test_P6_help_explains_a_reply(gate, asked, words):
    out = gate.relayctl("help", *asked).stdout
    for word in words:
        assert re.search(rf"^Word +{word}$", out, re.M), out
    assert "spf-fail" in words or "spf-fail" not in out
    assert re.search(r"^The sender +\S", out, re.M) and re.search(r"^We +\S", out, re.M)


def test_help_of_nothing_known_is_a_mistake(gate):
    done = gate.relayctl("help", "999", check=False)
    assert done.returncode == 2 and "postern-replies(7)" in done.stderr


@pytest.mark.parametrize("asked,words", [("spol", "did you mean `relayctl help spool`?"), ("custmer add", "did you mean `relayctl help customer`?"), ("spf-fial", "did you mean `relayctl help spf-fail`?"),
                                         ("spool shw", "spool has no verb \"shw\"; did you mean show?"), ("spool foo", "its verbs are: list, show")])
def test_a_near_miss_of_what_help_is_asked_about_is_named(gate, asked, words):
    done = gate.relayctl("help", *asked.split(), check=False)
    assert done.returncode == 2 and words in done.stderr and not done.stdout, done.stderr


def test_P6_the_manual_has_every_reply_and_each_command_in_it_exists(gate):
    table = (SOURCE / "lib/smtp/smtp_verdict.def").read_text()
    page = (build_dir() / "admin/postern-replies.7").read_text().replace("\\-", "-")
    texts = re.findall(r'^VERDICT\(\w+, \d+, \d+, \d+, \d+, "([^"]+)", "([^"]+)"', table, re.M)
    assert len(texts) > 80
    for word, text in texts:
        assert f".Pq Li {word}\n" in page and text in page, word
    before = re.findall(r"^(.*)\n\.Dl ", page, re.M)
    assert len(before) > 60 and all(line.endswith(":") for line in before), "each command stands alone, behind its purpose"
    assert not re.search(r"(?<!`)relayctl (?!explain)", table)
    for noun, verb in sorted(set(re.findall(r"relayctl (\w+)(?: ([a-z]+))?", table))):
        verb = verb if noun not in ("status", "trace", "simulate", "explain") else ""
        done = gate.relayctl("help", noun, *([verb] if verb else []), check=False)
        assert done.returncode == 0 and "Reply " not in done.stdout, f"relayctl {noun} {verb}"
    words = r"(?: (?:--[a-z-]+|[A-Z]+|[a-z-]+=[A-Za-z]+))*"
    for noun, verb, rest in sorted(set(re.findall(rf"relayctl (\w+) ([a-z]+)({words})", table))):
        for option in re.findall("--[a-z-]+", rest):
            assert option in gate.relayctl("help", noun, verb).stdout, f"relayctl {noun} {verb} {option}"
