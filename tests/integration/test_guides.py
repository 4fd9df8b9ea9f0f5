# SPDX-License-Identifier: BSD-2-Clause
"""An operator's first days and a support desk's day, by what postern-operator(7) and postern-support(7) say and nothing else: every
command in them is typed as it stands, in their order, against a live system, while the world does around it what the text speaks of.
A command that the pages have and this play does not know runs as well, and has to succeed."""
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import RELAYCTL, RELAYD, SOURCE, SPOOLMGR, Backend, Client, Node, build_dir, make_message, reference_in, wait_until
from nameserver import Nameserver
from test_sender_policy import reverse

OWN_POSTGRES = True  # its registry is set back
SENDER = "198.51.100.7"
ZONE = [
    f"{reverse(SENDER)} IN PTR mail.sender.example.", f"mail.sender.example. IN A {SENDER}",
    "sender.example. IN MX 10 mail.sender.example.", f"sender.example. IN TXT \"v=spf1 ip4:{SENDER} -all\"",
    "mailbox.example. IN MX 10 mail.sender.example.", "spam.example. IN MX 10 mail.sender.example.",
    "acme.example. IN MX 10 relay.example.", "relay.example. IN A 192.0.2.1",
]


def commands_of(page):
    """(heading, command) of every line in a literal block that begins with a program's name."""
    heading, is_literal = None, False
    for line in (SOURCE / "admin" / page).read_text().splitlines():
        if line.startswith(".Sh "):
            heading = line[4:]
        is_literal = line.startswith(".Bd -literal") or (is_literal and not line.startswith(".Ed"))
        if is_literal and re.match(r"(relayctl|relayd|spoolmgr|pg_dump)\b", line):
            yield heading, line.replace("\\&", "").replace("\\-", "-")


def of_acme(_, line):
    return None if re.search(r"<[a-z]+@acme(-sales)?\.example>", line) else "550 5.7.1 Relaying denied"


class Play:
    """A node, its name server, a customer's three servers, and who sends."""

    def __init__(self):
        self.dns = Nameserver(*ZONE, zone=".").start()
        self.servers = {"192.0.2.10:25": Backend(), "192.0.2.20:25": Backend(), "192.0.2.30:25": Backend()}
        for server in self.servers.values():
            server.script["rcpt"] = of_acme
            server.start()
        self.first, self.second, self.third = self.servers.values()
        self.node = Node(settings={"resolver": self.dns.endpoint, "workers": 1, "xclient-from": ["127.0.0.0/8"],
                                   "client-concurrency": 0, "probe-interval-min": "20s", "probe-interval-max": "30s"})
        self.reference = None

    def close(self, keep):
        self.node.close(keep=keep)
        for server in self.servers.values():
            server.stop()
        self.dns.close()

    def send(self, rcpt="info@acme.example", sender="sam@sender.example"):
        with Client(self.node.port) as c:
            c.cmd(f"XCLIENT ADDR={SENDER}")
            c.ehlo("mail.sender.example")
            reply = c.cmd(f"MAIL FROM:<{sender}>")
            if reply.code == 250:
                reply = c.cmd(f"RCPT TO:<{rcpt}>")
            if reply.code == 250:
                c.cmd("DATA")
                reply = c.content(make_message())
        self.reference = reference_in(reply.text)
        return reply

    def waits(self, *selectors):
        return self.node.relayctl("spool", "list", *selectors, "--json", check=False).stdout

    def event(self, verdict):
        wait_until(lambda: [e for e in self.node.events() if e.get("ref") == self.reference and e.get("verdict") == verdict], 20,
                   f"the event {verdict} of {self.reference}")
        wait_until(lambda: self.node.postgres.sql("SELECT 1 FROM postern.events WHERE ref = %s", self.reference), 20, "it is copied")

    def type(self, line):
        for documented, server in self.servers.items():
            line = line.replace(documented, server.endpoint)
        line = line.replace("192.0.2.1 ", "127.0.0.1 ")  # from which a node reaches itself here
        words = [w.replace("REFERENCE", self.reference or "REFERENCE") for w in shlex.split(line)]
        which, args = words[0], words[1:]
        if which == "pg_dump":
            args = [a.replace("postern.dump", str(self.node.folder / "postern.dump")) for a in args if a != "postern"]
            return subprocess.run([pg_dump(), "-d", self.node.postgres.conninfo(), *args], capture_output=True, text=True, timeout=60)
        if args[:2] == ["customer", "add"]:
            return self.node.run(RELAYCTL, *args)  # with the policy of new customers, which the harness' own call changes
        return self.node.run({"relayctl": RELAYCTL, "relayd": RELAYD, "spoolmgr": SPOOLMGR}[which], *args)

    def settle(self):
        """A change is live within a second; nobody types that fast."""
        if self.node.relayd.alive:
            self.node.wait_until_replicated()


def pg_dump():
    found = shutil.which("pg_dump") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))), None)
    assert found, "pg_dump comes with PostgreSQL"
    return found


def play(page, stage):
    """Types what is in the page. `stage` is {command's beginning: (what happens before, status, what must be so afterwards)}, each of
    the three may be left out as None; a beginning may be led by "HEADING: "."""
    p, used, ok = Play(), set(), False
    try:
        for heading, line in commands_of(page):
            keys = [k for k in stage if (f"{heading}: {line}" if ": " in k and k.split(": ")[0].isupper() else line).startswith(k)]
            key = max(keys, key=len, default=None)
            before, status, after = stage.get(key, (None, 0, None))
            used.add(key)
            if before:
                before(p)
            p.settle()
            done = p.type(line)
            told = f"{page}, {heading}\n$ {line}\n{done.stdout}{done.stderr}exit {done.returncode}"
            print(told)
            assert done.returncode == (status or 0), told
            p.settle()
            if after:
                assert after(p, done.stdout + done.stderr) is not False, told
        assert used - {None} == set(stage), f"not in the page: {set(stage) - used}"
        ok = True
    finally:
        p.close(keep=not ok)


def mail_is_delivered(server):
    def look(p, _):
        assert p.send().code == 250
        return server(p).taken[-1].rcpts == ["info@acme.example"]
    return look


def mail_waits(p, *_):
    reply = p.send()
    assert reply.code == 250 and "queued until" in reply.text, reply
    assert p.waits("--customer", "acme")


def nothing_waits(p, *_):
    wait_until(lambda: not p.waits("--customer", "acme"), 30, "all is delivered")


def set_back(p):
    p.node.postgres.sql("UPDATE postern.registry_state SET version = 1")
    p.node.postgres.sql("SELECT pg_notify('postern_registry', '')")
    wait_until(lambda: "accept-registry" in p.node.log_text(), 20, "the registry is refused")


def registry_is_accepted(p, _):
    wait_until(lambda: "refused" not in p.node.relayctl("node", "show").stdout, 20, "the registry is accepted")


def server_is_back(p):
    p.third.stop()
    p.second.stop()
    wait_until(lambda: p.send().code == 250 and p.waits("--customer", "acme"), 20, "mail waits")
    p.second.start()


def live(check):
    """Workers take the replica a moment after control has written it."""
    return lambda p, said: wait_until(lambda: check(p), 5, "the change is live")


OPERATOR = {
    "relayctl backend add 192.0.2.10:25": (None, 0, mail_is_delivered(lambda p: p.first)),
    "relayctl simulate --ip 198.51.100.7": (None, 0, lambda p, said: "spf" in said and "250" in said),
    "FIRST CUSTOMER: relayctl backend test acme/1 --rcpt info@acme.example": (None, 0, None),
    "relayctl domain set acme.example --recipients complete":
        (None, 0, live(lambda p: p.send("nobody@acme.example").code == 550 and p.send("sales@acme.example").code == 250)),
    "relayctl domain check acme.example": (None, 0, lambda p, said: "We are the first MX" in said),
    "relayctl node check": (None, 1, lambda p, said: "has no name in DNS (PTR)" in said),
    "relayctl filter set acme/cloud --filters-only yes": (None, 0, live(lambda p: p.send().code == 550)),
    "relayctl filter set acme/cloud --filters-only no": (None, 0, mail_is_delivered(lambda p: p.first)),
    "relayctl block add .spam.example": (None, 0, live(lambda p: p.send(sender="x@more.spam.example").code == 550)),
    "relayctl backend hold acme/1": (None, 0, mail_waits),
    "MAINTENANCE OF A CUSTOMER'S SERVER: relayctl backend release acme/1": (None, 0, nothing_waits),
    "relayctl backend set acme/1 --address 192.0.2.20:25": (None, 0, mail_is_delivered(lambda p: p.second)),
    "relayctl scan canary --rcpt sales@acme.example": (None, 0, lambda p, _: p.second.taken[-1].rcpts == ["sales@acme.example"]),
    "relayctl scan canary --rcpt info@acme.example --outage": (None, 0, lambda p, _: p.second.taken[-1].rcpts == ["info@acme.example"]),
    "OUTAGE DAY: relayctl status": (lambda p: (p.second.stop(), mail_waits(p)), 0, lambda p, said: "acme" in said and "down" in said),
    "relayctl spool extend --customer acme": (None, 0, lambda p, _: p.waits("--customer", "acme", "--older", "0s")),
    "relayctl backend add 192.0.2.30:25": (None, 0, nothing_waits),
    "relayctl spool retry --customer acme": (server_is_back, 0, nothing_waits),
    "OUTAGE DAY: relayctl spool list --customer acme": (None, 0, None),
    "OUTAGE DAY: relayctl backend release acme/1": (None, 0, None),
    "relayctl node accept-registry": (set_back, 0, registry_is_accepted),
    "relayctl scan --changes": (None, 1, lambda p, said: "It can not be connected to" in said),
    "pg_dump": (None, 0, lambda p, _: os.path.getsize(p.node.folder / "postern.dump") > 10000),
    "relayctl node accept-spool": (None, 3, None),
    "relayctl domain remove acme.example": (None, 0, lambda p, _: wait_until(lambda: p.send().code == 550, 10, "it is refused")),
}


def test_an_operators_first_days():
    play("postern-operator.7", OPERATOR)


def a_customer(p):
    p.node.add_customer("acme", "acme.example", p.first.endpoint)
    p.node.relayctl("customer", "set", "acme", "--policy", "standard")
    p.settle()
    assert p.send().code == 250
    p.event("delivered")


def a_forgery(p):
    with Client(p.node.port) as c:
        c.cmd("XCLIENT ADDR=198.51.100.99")
        c.ehlo("mail.sender.example")
        c.cmd("MAIL FROM:<sam@sender.example>")
        reply = c.cmd("RCPT TO:<info@acme.example>")
    assert reply.code >= 400, reply
    p.reference = reference_in(reply.text)


def server_is_down(p):
    p.first.stop()
    mail_waits(p)


SUPPORT = {
    "relayctl trace --rcpt info@acme.example --from": (a_customer, 0, lambda p, said: p.reference in said and "delivered" in said),
    "1. WHERE IS MY MAIL?: relayctl explain REFERENCE": (None, 0, lambda p, said: "Delivered" in said),
    "relayctl explain \"550 5.7.23": (a_forgery, 0, lambda p, said: "The sender" in said),
    "relayctl spool list --rcpt info@acme.example": (server_is_down, 0, lambda p, said: p.reference in said),
    "relayctl spool show REFERENCE": (None, 0, lambda p, said: "info@acme.example" in said),
    "relayctl backend set acme/1 --address 192.0.2.20:25": (None, 0, nothing_waits),
    "5. NOTHING COMES ANY MORE, THE QUEUE IS STUCK: relayctl backend list":
        (lambda p: (p.second.stop(), mail_waits(p)), 0, lambda p, said: "down" in said),
    "5. NOTHING COMES ANY MORE, THE QUEUE IS STUCK: relayctl backend test acme/1": (None, 1, lambda p, said: "refused" in said),
    "relayctl spool retry": (lambda p: p.second.start(), 0, nothing_waits),
    "6. SPAM CAME THROUGH: relayctl explain REFERENCE": (lambda p: (p.send(), p.event("delivered")), 0, lambda p, said: "spf" in said.lower()),
    "relayctl block add 198.51.100.7": (None, 0, lambda p, _: p.send().code == 550),
    "relayctl trace --customer acme --verdict connections-per-hour": (None, 3, None),
    "relayctl trace --domain acme-sales.example": (lambda p: (p.send("x@acme-sales.example"), p.event("relay-denied")), 0, None),
    "relayctl domain add acme-sales.example": (None, 0, lambda p, _: p.send("x@acme-sales.example").code == 250),
    "10. DELETE THAT MAIL: relayctl spool list": (lambda p: (p.second.stop(), mail_waits(p)), 0, lambda p, said: p.reference in said),
    "relayctl spool hold REFERENCE": (None, 0, None),
    "10. DELETE THAT MAIL: relayctl spool show REFERENCE": (None, 0, lambda p, said: "ticket 4713" in said),
    "relayctl spool remove REFERENCE": (None, 0, nothing_waits),
}


def test_a_support_desks_day():
    play("postern-support.7", SUPPORT)


@pytest.mark.parametrize("page", ["postern-operator.7", "postern-support.7", "postern-customer.7"])
def test_the_pages_are_sound(page):
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", SOURCE / "admin" / page], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for word, number in re.findall(r"^\.Xr (\S+) (\d)", (SOURCE / "admin" / page).read_text(), re.M):
        found = [f for place in (SOURCE, build_dir()) for folder in ("admin", "relayd", "spoolmgr") for f in (place / folder).glob(f"{word}.{number}")]
        assert found, f"{word}({number}) is nowhere"
