# SPDX-License-Identifier: BSD-2-Clause
"""What a customer is told of trouble with its server, by mail to its contact: outages, deadlines, what has ended without delivery.

One node, whose day is Wednesday 24 March 2027, noon in Amsterdam; its keeper's clock is moved on from there, the relay's stays.
PostgreSQL is away all the time (P5). Each test has customers of its own."""
import email
import email.policy
import re
from datetime import datetime, timezone

import pytest

from harness import Backend, Node, reference_in, wait_until
from test_retention import Clock
from world import release_build

OWN_POSTGRES = True

NOON = datetime(2027, 3, 24, 11, tzinfo=timezone.utc).timestamp()
EXPIRY = datetime(2027, 3, 29, 22, tzinfo=timezone.utc).timestamp()  # of what arrives that day: summer time has begun by then
MINUTE, HOUR = 60, 3600
LANGUAGES = {"short": "en", "acme": "en", "berg": "de", "dijk": "nl", "dahl": "da", "often": "en", "mute": "en", "late": "en", "held": "en"}
HOME = "home"  # its contact is in its own domain


class TellNode(Node):
    """The release build: sanitizers and another library before them do not go together."""

    def __init__(self, smarthost):
        super().__init__(settings={"timezone": "Europe/Amsterdam", "workers": 1, "outbound-route": smarthost.endpoint,
                                   "outbound-tls": "none", "notify-after": "15m", "expiry-grace": "1s",
                                   "notice-from": "post@isp.example", "postmaster": "help@isp.example"},
                         start=False, build=release_build())
        self.clock = Clock(self.folder)
        self.clock.to(NOON)
        self.relayd.env.update(self.clock.env, FAKETIME=f"{self.clock.offset_s:+.3f}")
        del self.relayd.env["FAKETIME_TIMESTAMP_FILE"]  # its workers may not read files
        self.spoolmgr.env.update(self.clock.env)

    def register(self, name, language, endpoint):
        host, _, port = endpoint.rpartition(":")
        contact = None if name == "mute" else f"it@{name}.example" if name == HOME else contact_of(name)
        self.postgres.sql("""WITH c AS (INSERT INTO postern.customers (name, contact, language, policy) VALUES (%s, %s, %s, 'off') RETURNING id),
            b AS (INSERT INTO postern.backends (customer_id, number, address, port) SELECT id, 1, %s, %s FROM c)
            INSERT INTO postern.domains (name, customer_id) SELECT %s, id FROM c""",
                          name, contact, language, host, int(port), f"{name}.example")

    def told(self, name, kind=None):
        """What the customer was told, oldest first."""
        kinds = [(m, parsed(m)) for m in self.smarthost.taken if m.rcpts == [contact_of(name)]]
        return [text for m, text in kinds if kind is None or kind in text["Subject"]]

    def remembered(self):
        return (self.dirs["spool-dir"] / "told").read_text()

    def logged(self, event, name, *words):
        return [line for line in self.spoolmgr.log_lines(event)
                if f"customer={name} " in line and all(word in line for word in words)]

    def waiting(self, name):
        return [m for m in self.spool() if m["customer"] == name]

    def keep(self, name, count=1):
        """Its server is down, and so many messages wait for it; their references."""
        self.servers[name].stop()
        replies = [self.send(rcpts=[f"user@{name}.example"]) for _ in range(count)]
        assert all(r.code == 250 and "queued" in r.text for r in replies), replies
        wait_until(lambda: len(self.waiting(name)) == count, 20, f"{count} wait for {name}")
        return [reference_in(r.text) for r in replies]

    def wait_until_down(self, name):
        endpoint = self.servers[name].endpoint
        wait_until(lambda: any(endpoint in line for line in self.log_text().splitlines() if " backend-down " in line), 20,
                   f"{name} is down")


def contact_of(name):
    return f"it-{name}@elsewhere.example"


def parsed(message):
    assert message.mail_from == "", "the null reverse-path"
    mail = email.message_from_bytes(message.content, policy=email.policy.default)
    assert mail["Auto-Submitted"] == "auto-generated" and mail["From"] == "Mail gateway <post@isp.example>"
    assert mail.get_content_type() == "text/plain" and mail.get_content_charset() == "utf-8"
    assert mail["Reply-To"] == "help@isp.example" and mail["Message-ID"] and mail["Date"]
    return mail


def is_told_down(remembered):
    """How many customers."""
    return len(re.findall(r"outage\t\d+\t0\t\d\t1\t", remembered))


def text_of(mail):
    return " ".join(mail.get_content().split())


@pytest.fixture(scope="module")
def shared():
    smarthost = Backend().start()
    servers = {name: Backend().start() for name in (*LANGUAGES, HOME)}
    with TellNode(smarthost) as node:
        node.smarthost, node.servers = smarthost, servers
        node.start_database()
        for name, server in servers.items():
            node.register(name, LANGUAGES.get(name, "en"), server.endpoint)
        node.start()
        wait_until(lambda: all(node.serves(f"{name}.example") for name in servers), 20, "all are served")
        node.postgres.stop()
        yield node
    for peer in (smarthost, *servers.values()):
        peer.close()


@pytest.fixture
def node(shared):
    yield shared
    for server in shared.servers.values():
        if server._loop is None:
            server.start()


def test_P5_told_once_that_its_server_is_down_and_once_that_it_is_back(node):
    """In its language, over a kill of the keeper; not of an outage that was too short; one without a contact is named in the log."""
    node.keep("short")
    node.wait_until_down("short")
    node.servers["short"].start()
    wait_until(lambda: not node.waiting("short"), 20, "it is delivered")
    everybody = {"acme": 2, "berg": 1, "dijk": 1, "dahl": 1, "mute": 1, HOME: 1}
    for name, count in everybody.items():
        node.keep(name, count)
    node.clock.to(NOON + 14 * MINUTE)
    wait_until(lambda: "outage" in node.remembered(), 20, "the keeper has seen it")
    assert not any(node.told(name) for name in everybody), "not yet"
    node.clock.to(NOON + 17 * MINUTE)
    said = {"acme": "acme: your mail server takes no mail, 2 messages are waiting",
            "berg": "berg: Ihr Mailserver nimmt keine Nachrichten an, 1 Nachricht wartet",
            "dijk": "dijk: uw mailserver neemt geen berichten aan, 1 bericht wacht",
            "dahl": "dahl: jeres mailserver modtager ikke mails, 1 mail venter"}
    for name, subject in said.items():
        wait_until(lambda n=name: node.told(n), 20, f"{name} is told")
        assert node.told(name)[0]["Subject"] == subject
        assert node.told(name)[0]["To"] == contact_of(name)
    text = text_of(node.told("acme")[0])
    for part in (f"The mail server of acme ({node.servers['acme'].endpoint}) has been taking no mail since Wednesday, 24 March 2027, 12:",
                 "it refuses connections, or cannot be reached", "We are keeping 2 messages (",
                 "safe until Monday, 29 March 2027, 24:00 CEST", "relayctl backend test acme/1", "Write to help@isp.example"):
        assert part in text, (part, text)
    assert "Montag, 29. März 2027, 24:00 Uhr (CEST)" in text_of(node.told("berg")[0])
    wait_until(lambda: node.logged("customer-not-told", "mute"), 20, "the log says who has no contact")
    wait_until(lambda: node.waiting(HOME) and [m for m in node.spool() if "it@home.example" in str(m)], 20,
               "what is for the server's own domain waits with the rest")
    wait_until(lambda: is_told_down(node.remembered()) == len(everybody), 20, "it is remembered")

    node.spoolmgr.kill()
    node.spoolmgr.start()
    node.servers["acme"].script["dot"] = [None, "451 4.2.1 not now"]
    for name in everybody:
        if name != "acme":
            node.servers[name].start()
    wait_until(lambda: node.remembered().count("outage\t") == 1, 20, "it is remembered that all but acme have been told")
    node.servers["acme"].start()
    wait_until(lambda: node.logged("delivered", "acme"), 20, "the first of acme's two is delivered")
    node.spoolmgr.kill()  # it may not have remembered that
    node.servers["acme"].script.clear()
    node.spoolmgr.start()
    back = {"acme": "acme: your mail server is back, 2 messages were delivered",
            "berg": "berg: Ihr Mailserver ist wieder da, 1 Nachricht wurde zugestellt",
            "dijk": "dijk: uw mailserver is er weer, 1 bericht is bezorgd",
            "dahl": "dahl: jeres mailserver er tilbage, 1 mail er leveret"}
    for name, subject in back.items():
        wait_until(lambda n=name: len(node.told(n)) == 2, 20, f"{name} is told that it is back")
        assert [m["Subject"] for m in node.told(name)] == [said[name], subject], "and each once"
    text = text_of(node.told("acme")[1])
    assert "It was away for 1" in text and "2 messages that we kept have been delivered since. None has failed." in text
    home = [m.rcpts for m in node.servers[HOME].taken]
    wait_until(lambda: len(node.servers[HOME].taken) == 3, 20, f"notices wait with the rest: {home}")
    assert len(node.logged("customer-not-told", "mute")) == 1
    assert not node.told("short") and not node.spoolmgr.log_lines("customer-notice-failed")


def test_at_most_four_a_day(node):
    for number in range(3):
        node.keep("often")
        node.clock.to(NOON + (20 + 20 * number) * MINUTE)
        if number < 2:
            wait_until(lambda: len(node.told("often")) == 2 * number + 1, 20, "down")
        else:
            wait_until(lambda: node.logged("customer-notice-withheld", "often", "kind=down"), 20, "the fifth is withheld")
        node.servers["often"].start()
        wait_until(lambda: not node.waiting("often"), 20, "it is delivered")
        if number < 2:
            wait_until(lambda: len(node.told("often")) == 2 * number + 2, 20, "back")
    kinds = [line.split("kind=")[1].split()[0] for line in node.logged("customer-told", "often")]
    assert kinds == ["down", "back", "down", "back"] and len(node.told("often")) == 4


def test_P4_warnings_and_a_digest(node):
    """Two warnings before the first deadline; what an operator has removed and what has expired is listed in the mornings,
    also when the keeper is killed as soon as it is recorded. What is held behind its deadline keeps no warning of other mail back."""
    held, extended = node.keep("held", 2)
    for verb in (["hold", held], ["hold", extended], ["extend", extended, "--until", "2027-04-03"]):
        node.relayctl("spool", *verb, "--reason", "ticket 4710")
    node.servers["held"].start()
    removed, *refs = node.keep("late", 3)
    node.clock.to(NOON + 100 * MINUTE)
    wait_until(lambda: node.told("late"), 20, "down")
    wait_until(lambda: is_told_down(node.remembered()), 20, "it is remembered")
    node.relayctl("spool", "remove", removed, "--reason", "ticket 4711")
    node.spoolmgr.kill()
    node.spoolmgr.start()
    node.clock.to(EXPIRY - 47 * HOUR)
    wait_until(lambda: len(node.told("late")) == 3, 20, "a warning, and the digest of the days before")
    warning = node.told("late", "in less than 48 hours")[0]
    assert warning["Subject"] == "late: 2 messages that wait for your server expire in less than 48 hours"
    text = text_of(warning)
    for part in ("2 messages (", "2 messages expire on Monday, 29 March 2027, 24:00 CEST", "since Wednesday, 24 March 2027, 12:",
                 "the senders of 2 messages will hear nothing", "relayctl spool extend --customer late --until +2d"):
        assert part in text, (part, text)
    digest = node.told("late", "1 message was not delivered")[0]
    text = text_of(digest)
    for part in (removed, "removed by an operator", "From: sender@origin.example", "To: user@late.example", "ticket 4711",
                 "The sender has not been told."):
        assert part in text, (part, text)
    node.clock.to(EXPIRY - 11 * HOUR)
    wait_until(lambda: node.told("late", "in less than 12 hours"), 20, "the second warning")
    node.clock.to(EXPIRY + MINUTE)
    wait_until(lambda: not node.waiting("late"), 30, "they expire")
    node.clock.to(EXPIRY + 6 * HOUR)
    assert len(node.told("late")) == 4
    node.clock.to(EXPIRY + 7 * HOUR + MINUTE)
    wait_until(lambda: node.told("late", "2 messages were not delivered"), 20, "the digest")
    text = text_of(node.told("late")[4])
    assert all(ref in text for ref in refs) and text.count(", expired ") == 2 and removed not in text
    assert len(node.told("late")) == 5, "a digest, and nothing else"
    assert [m for m in node.smarthost.taken if m.rcpts == ["sender@origin.example"]] == [], "nor a sender"
    warned = node.told("held", "in less than 12 hours")
    assert [m["Subject"].split(" that ")[0] for m in warned] == ["held: 1 message"]
    wait_until(lambda: "\theld\nwarned" not in node.remembered(), 20, "the keeper has seen that the held one is behind its deadline")
    node.clock.to(EXPIRY + 3 * 24 * HOUR)
    wait_until(lambda: len(node.told("held", "in less than 48 hours")) == 2, 20, "the other one's first warning")
    text = text_of(node.told("held", "in less than 48 hours")[1])
    assert "1 message expires on Friday, 2 April 2027, 24:00 CEST" in text and len(node.waiting("held")) == 2, text
