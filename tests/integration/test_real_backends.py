# SPDX-License-Identifier: BSD-2-Clause
"""The tables of DESIGN section 5 with a real Postfix and a real Exim as the customers' server: what the sender hears, and what the
spool holds (P1, P2, P4).

What the server says is a matter of who sends (its access rules, ACLs), so that each class meets each kind of recipient. The cells
that no real server can be brought to are walked by tests/unit/test_decision.c and, with a scripted backend, by
test_odd_backends.py, test_cutthrough.py and test_health.py: the class unknown by a lost connection, broken ones; "known invalid"
that is stale, and `refusing` (a matter of many minutes); a commit that fails (our disk); a sender that is gone (its own doing).

No spoolmgr runs until the cells are over; then all that was kept must arrive, each recipient once.
"""
import re
from collections import Counter

import pytest

from exim import Exim, EximServer
from harness import ADDRESS, Client, Node, Postfix, make_message, reference_in, wait_until
from postfix import PostfixServer

LIVE, QUEUED = "live", "queued"  # or the beginning of a reply
WORDS = {
    "mail-m550": "550 5.7.1 not from you", "mail-m451": "451 4.7.1 come back later", "mail-m452": "452 4.3.1 no room",
    "mail-m421": "421 4.3.2 going down",
    "rcpt-r550": "550 5.7.1 not from you", "rcpt-gone": "550 5.1.1 no mailbox here by that name", "rcpt-r450": "450 4.2.0 greylisted",
    "rcpt-r451": "451 4.3.0 system trouble", "rcpt-r421": "421 4.3.2 going down",
    "predata-p554": "554 5.7.1 no", "predata-p451": "451 4.7.1 later", "predata-p421": "421 4.3.2 going down",
    "data-d554": "554 5.7.1 no", "data-d450": "450 4.7.1 later", "data-d451": "451 4.3.0 system trouble",
    "data-d421": "421 4.3.2 going down", "data-slow": "slow", "to-later": "450 4.2.0 mailbox is busy",
}
RECOVERING = {"rcpt-gone": WORDS["rcpt-gone"]}
USERS = ["valid", "valid2", "valid3", "later"] + [f"new{n}" for n in range(100)]
PICKY = {"accept": "queued", "defer": "451 4.4.1", "reject": "550 5.1.1"}  # by when-down: what an unknown recipient hears then
AWAY = "by when-down"

# sender: known valid, accept-all, unknown, known invalid. UNKNOWN is the server's own word.
UNKNOWN = "the server's word"
AT_RCPT = {
    "ok": (LIVE, LIVE, LIVE, UNKNOWN),
    "m550": ("550 5.7.1",) * 4, "m451": ("451 4.7.1",) * 4,
    "m452": (QUEUED, QUEUED, AWAY, "550 5.1.1"), "m421": (QUEUED, QUEUED, AWAY, "550 5.1.1"),
    "r550": ("550 5.7.1", "550 5.7.1", "550 5.7.1", UNKNOWN), "r450": ("450 4.2.0", "450 4.2.0", "450 4.2.0", UNKNOWN),
    "r451": (QUEUED, QUEUED, AWAY, UNKNOWN), "r421": (QUEUED, QUEUED, AWAY, UNKNOWN),
}
# sender: only live, mixed
AT_DOT = {
    "ok": (LIVE, LIVE),
    "p554": ("554 5.7.1",) * 2, "p451": ("451 4.7.1",) * 2, "p421": (QUEUED, QUEUED),
    "d554": ("554 5.7.1",) * 2, "d450": ("450 4.7.1",) * 2, "d451": (QUEUED, QUEUED), "d421": (QUEUED, QUEUED), "slow": (QUEUED, QUEUED),
}


class Office(Node):
    """A node whose customers' domains are all at one real server: picky ones, by when-down; all.example, that takes everything;
    keep.example, with registered recipients, for whom a 4xx at RCPT is kept (live-4xx)."""

    def __init__(self, server):
        super().__init__(settings={"final-reply-timeout": "3s", "probe-interval-min": "1s", "probe-interval-max": "1s"}, start=False)
        self.server, self.sent, self.new = server, [], iter(USERS[4:])
        self.start_database()
        self.register()
        self.relayd.start()
        wait_until(lambda: self.serves("keep.example"), 20, "all are registered")
        self.teach()

    def register(self):
        domains = ", ".join(f"('{name}', '{name if name in PICKY else 'accept'}')" for name in [*PICKY, "all", "keep"])
        self.postgres.sql(f"""
            INSERT INTO postern.customers (name, max_connections_per_hour, live_4xx, policy) VALUES ('acme', NULL, 'pass', 'off'), ('keep', NULL, 'keep', 'off');
            INSERT INTO postern.backends (customer_id, number, address, port)
                SELECT id, 1, '{ADDRESS}', {self.server.port} FROM postern.customers;
            INSERT INTO postern.domains (name, customer_id, when_down)
                SELECT d.name || '.example', c.id, d.when_down FROM (VALUES {domains}) d (name, when_down)
                JOIN postern.customers c ON (c.name = 'keep') = (d.name = 'keep');
            INSERT INTO postern.recipients (domain, local_part) VALUES ('keep.example', 'valid'), ('keep.example', 'later')""")

    def teach(self):
        """Whether its domains accept all, who is valid there, and who is not."""
        for name in [*PICKY, "all"]:
            self.expect_live(f"{next(self.new)}@{name}.example")
        for name in [*PICKY, "all"]:
            self.wait_until_probed(f"{name}.example")
        for name in ("valid", "valid2", "valid3"):
            self.expect_live(f"{name}@accept.example")
        reply = self.mail("ok", ["nobody@accept.example"])
        assert says(reply, self.server.UNKNOWN), str(reply)

    def mail(self, sender, rcpts, field=""):
        """One message; what was heard first that is no consent, or at the dot. Each is noted, to be looked for in the end."""
        test_id = len(self.sent)
        self.sent.append(None)
        content = field.encode() + make_message(test_id=test_id)
        with Client(self.port) as client:
            client.ehlo()
            reply = client.send(content, f"{sender}@origin.example", rcpts)
        self.sent[test_id] = (reply, len(rcpts))
        return reply

    def expect_live(self, rcpt):
        reply = self.mail("ok", [rcpt])
        assert says(reply, LIVE), f"{rcpt}: {reply}"

    def records(self):
        """The open recipients of each reference in the spool."""
        return {record["id"]: record["open_recipients"] for record in self.spool()}


def says(reply, expected):
    if expected in (LIVE, QUEUED):
        return reply.code == 250 and ("queued until" in reply.text) == (expected == QUEUED)
    return str(reply).startswith(expected) and bool(reference_in(reply.text))


class Cells:
    """What was heard in each, what was not as expected, and what the spool should hold of it."""

    def __init__(self, office):
        self.office, self.complaints, self.kept = office, [], {}

    def walk(self, cell, sender, rcpts, expected, kept=None, **options):
        """`kept`: how many recipients stay in the spool; all of them, if it is queued."""
        reply = self.office.mail(sender, rcpts, **options)
        self.judge(cell, reply, expected, len(rcpts) if kept is None and expected == QUEUED else kept or 0)

    def judge(self, cell, reply, expected, kept):
        if not says(reply, expected):
            self.complaints.append(f"{cell}: expected {expected}, heard {reply}")
        else:
            self.kept[cell] = (reference_in(reply.text), kept)

    def check_spool(self):
        records = self.office.records()
        for cell, (ref, kept) in self.kept.items():
            if records.get(ref, 0) != kept:
                self.complaints.append(f"{cell}: {records.get(ref, 0)} recipients are kept, not {kept}")
        self.kept.clear()


def rcpt_cells(office):
    """Each cell: its name, the sender, the recipient, what is expected."""
    for sender, (valid, accept_all, unknown, invalid) in AT_RCPT.items():
        yield f"{sender}, valid", sender, "valid@accept.example", valid
        yield f"{sender}, accept-all", sender, "anybody@all.example", accept_all
        for word, by_word in PICKY.items():
            yield f"{sender}, unknown at {word}", sender, f"{next(office.new)}@{word}.example", by_word if unknown == AWAY else unknown
        yield f"{sender}, invalid", sender, "nobody@accept.example", office.server.UNKNOWN if invalid == UNKNOWN else invalid


def walk_rcpt(office, cells):
    for name, sender, rcpt, expected in rcpt_cells(office):
        cells.walk(name, sender, [rcpt], expected)
        if AT_RCPT[sender][0] == QUEUED:  # three different ones that break in a row say something of the server
            office.expect_live("between@all.example")


def walk_dot(office, cells):
    for sender, (live, mixed) in AT_DOT.items():
        cells.walk(f"dot {sender}, only live", sender, ["anybody@all.example"], live, kept=0 if sender == "slow" else None)
        office.expect_live("between@all.example")
        kept = {LIVE: 1, QUEUED: 1 if sender == "slow" else 2}.get(mixed, 0)
        cells.walk(f"dot {sender}, mixed", sender, ["valid@keep.example", "later@keep.example"], mixed, kept=kept)
        office.expect_live("between@all.example")
    cells.walk("the content is refused", "ok", ["anybody@all.example"], "550 5.7.1", field="X-Reject: yes\r\n")
    cells.walk("the content is too long", "ok", ["anybody@all.example"], office.server.TOO_BIG, field="X-Long: " + ("x" * 70 + "\r\n ") * 2000 + "\r\n")


def lose_it_before_the_dot(office, cells):
    """The server is stopped with RCPT answered, and stays away."""
    with Client(office.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<ok@origin.example>")
        assert client.cmd("RCPT TO:<valid@accept.example>").code == 250
        office.server.stop()
        client.cmd("DATA")
        office.sent.append((client.content(make_message(test_id=len(office.sent))), 1))
    cells.judge("stopped before the dot", office.sent[-1][0], QUEUED, 1)


def walk_down(office, cells):
    cells.walk("down, valid", "ok", ["valid@accept.example"], QUEUED)
    cells.walk("down, accept-all", "ok", ["anybody@all.example"], QUEUED)
    cells.walk("down, invalid", "ok", ["nobody@accept.example"], "550 5.1.1")
    cells.walk("down, taught to be invalid by its refusal", "ok", ["valid2@accept.example"], "550 5.1.1")
    cells.walk("down, two", "ok", ["valid@keep.example", "later@keep.example"], QUEUED)
    for word, by_word in PICKY.items():
        cells.walk(f"down, unknown at {word}", "ok", [f"{next(office.new)}@{word}.example"], by_word)


def least(reply, recipients):
    return recipients if reply.code == 250 else 0


def check_arrivals(office):
    """Of each message that had a 250, a copy for each recipient; more only where that was logged as possible."""
    wait_until(lambda: not office.spool(), 60, "all that was kept is delivered", pause=0.3)
    duplicates = office.possible_duplicates()
    found = []

    def arrived():
        copies = Counter(int(re.search(rb"^X-Test-Id: (\d+)", mail, re.M).group(1)) for mail in office.server.delivered())
        found[:] = [f"message {n} ({reply}): {copies[n]} copies, {count} recipients" for n, (reply, count) in enumerate(office.sent)
                    if not least(reply, count) <= copies[n] <= least(reply, count) * (2 if reference_in(reply.text) in duplicates else 1)]
        return not found
    try:
        wait_until(arrived, 20)
    except AssertionError:
        assert not found, "\n".join(found)


def walk(world_of, server):
    office = world_of(Office(server))
    cells = Cells(office)
    walk_rcpt(office, cells)
    cells.walk("refused for good, valid", "gone", ["valid2@accept.example"], "550 5.1.1")
    walk_dot(office, cells)
    wait_until(lambda: office.log_text().count("heard=delivered") == 2, 20, "the slow ones have been answered late")
    cells.check_spool()
    lose_it_before_the_dot(office, cells)
    walk_down(office, cells)
    cells.check_spool()
    server.tell(USERS + ["nobody"], RECOVERING)
    server.start()
    wait_until(lambda: says(office.mail("ok", ["valid@accept.example"]), LIVE), 20, "it is back")
    cells.walk("recovering, valid", "gone", ["valid3@accept.example"], "451 4.3.0")
    cells.walk("taken again, known invalid", "ok", ["nobody@accept.example"], LIVE)
    office.spoolmgr.start()
    check_arrivals(office)
    assert not cells.complaints, "\n".join(cells.complaints)


@pytest.mark.skipif(Postfix.missing() is not None, reason=str(Postfix.missing()))
def test_P1_P2_P4_each_cell_with_a_real_postfix(world_of):
    walk(world_of, world_of(PostfixServer([f"{name}.example" for name in [*PICKY, "all", "keep"]], USERS, WORDS)))


@pytest.mark.skipif(Exim.missing() is not None, reason=str(Exim.missing()))
def test_P1_P2_P4_each_cell_with_a_real_exim(world_of):
    walk(world_of, world_of(EximServer(USERS, WORDS)))
