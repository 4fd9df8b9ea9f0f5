# SPDX-License-Identifier: BSD-2-Clause
"""What people see: relayctl in a world with everything that is long or odd, on terminals of several widths and in a pipe. Nothing wraps by
surprise, nothing to copy is cut, no column is empty, and a pipe has no colour."""
import copy
import re
import socket

import pytest

from harness import Backend, Client, Node, make_message, reference_in, wait_until, write_config
from nameserver import Nameserver
from terminal import Screen
from test_sender_policy import reverse
from tls import make_certificate

SENDER, SIX, STRANGER = "198.51.100.7", "2001:db8:4711:0:225:90ff:fe5b:9f3e", "203.0.113.99"
LONG = "rechnungsversand-automatisch@grosshandel-landwirtschaftliche-maschinen.example"
IDN, HOSPITAL = "xn--mller-shne-kcb9d.example", "hospital-of-the-holy-spirit-and-saint-elisabeth.example"
ZONE = [
    f"{reverse(SENDER)} IN PTR mail.sender.example.", f"{reverse(SIX)} IN PTR mail.sender.example.",
    f"mail.sender.example. IN A {SENDER}", f"mail.sender.example. IN AAAA {SIX}",
    "sender.example. IN MX 10 mail.sender.example.", f"sender.example. IN TXT \"v=spf1 ip4:{SENDER} ip6:{SIX} -all\"",
    f"{LONG.partition('@')[2]}. IN MX 10 mail.sender.example.",
    "acme.example. IN MX 10 relay.example.", "acme.example. IN MX 50 old-mx.hosting-of-yesterday.example.",
    "relay.example. IN A 192.0.2.1", "old-mx.hosting-of-yesterday.example. IN A 203.0.113.5", "acme.example. IN TXT \"v=spf1 mx -all\"",
    f"{IDN}. IN MX 10 old-mx.hosting-of-yesterday.example.", f"{IDN}. IN TXT \"v=spf1 +all\"",
]
CUSTOMERS = {"acme": "acme.example", "stadtwerke-mueller-und-soehne": IDN, "hospital-holy-spirit": HOSPITAL, "six": "six.example",
             "lost": "lost.example"}
SCREENS = ["status", "spool list", "spool list --state held", "spool list --node 1", "spool show HELD --node 1", "spool show HELD", "spool show WAITING", "spool summary",
           "spool summary --by domain", "explain WAITING", "explain DELIVERED", "explain REFUSED", "explain BLOCKED", "trace --since 1h",
           "customer list", "customer list --use", "customer show acme", "customer show stadtwerke-mueller-und-soehne", "domain list",
           f"domain show {HOSPITAL}", "domain check acme.example", f"domain check {IDN}", f"domain check {HOSPITAL}", f"domain instructions {HOSPITAL}", "backend list",
           "backend show acme/1", "backend test acme/1", "backend test hospital-holy-spirit/1", "filter list", "filter show acme/cloud",
           "block list", "allow list", "greylist list", "recipient list --customer acme", "report --since 7d", "audit", "node list",
           "node show", "node check", "db status", "scan --changes",
           "simulate --ip 198.51.100.7 --helo mail.sender.example --from sam@sender.example --rcpt info@acme.example"]
WIDTHS = (60, 80, 120, 200)
BELOW = 4
TO_PASTE = re.compile(r"[^@]+@[^@]+|[0-9.]+(:\d+)?|[0-9a-f:]*:[0-9a-f:]+(\]:\d+)?|P\d{3}-[0-9A-Z]{5}-[0-9A-Z]{7}|/\S+|`relayctl .*`")


def six_port():
    """::1 is everybody's, so that the kernel chooses."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        return server.getsockname()[1]


class Play:
    def __init__(self):
        self.dns = Nameserver(*ZONE, zone=".").start()
        self.servers = {name: Backend(port=six_port(), address="::1") if name == "six" else Backend() for name in CUSTOMERS}
        for server in self.servers.values():
            server.start()
        self.servers["acme"].script["rcpt"] = self.of_acme
        self.node = Node(settings={"resolver": self.dns.endpoint, "workers": 1, "xclient-from": ["127.0.0.0/8"], "client-concurrency": 0,
                                   "probe-interval-min": "5m", "probe-interval-max": "5m"}, start=False)
        mine = make_certificate(self.node.folder, "relay", ["relay.example"], days=9, owner=self.node.user)
        self.node.write_config(tls_certificate=[str(mine.path)], tls_key=[str(mine.key)])
        self.node.start_database()
        self.register()
        self.node.relayd.start()
        self.node.spoolmgr.start()
        self.node.wait_until_replicated()
        self.refs = self.happen()
        self.elsewhere = copy.copy(self.node)  # another node, to which this one's spool is known by the index alone
        self.elsewhere.config_file = self.node.folder / "elsewhere.conf"
        write_config(self.elsewhere.config_file, {**self.node.settings, "node": 2})

    def place(self, line):
        return self.elsewhere if "--node" in line.split() else self.node

    @staticmethod
    def of_acme(_, line):
        if "full@" in line:
            return "452 4.2.2 Postfach voll \xfcber dem Kontingent, please ask the recipient to remove old messages and try again"
        return None if re.search("<(info|sales|postmaster)@", line) else "550 5.1.1 Recipient address rejected: User unknown in table"

    def register(self):
        ctl = self.node.relayctl
        for name, domain in CUSTOMERS.items():
            host = f"[::1]:{self.servers[name].port}" if name == "six" else self.servers[name].endpoint
            ctl("customer", "add", name, "--contact", f"ops@{domain}", "--policy", "standard" if name == "acme" else "off")
            ctl("backend", "add", host, "--customer", name)
            ctl("domain", "add", domain, "--customer", name)
        ctl("filter", "add", "192.0.2.64/27", "--customer", "acme", "--label", "cloud")
        ctl("recipient", "add", "info@acme.example")
        ctl("block", "add", "203.0.113.0/24", "--customer", "acme", "--reason",
            "spam wave of last Monday, see ticket 4711 and the mails of the customer about it")
        ctl("block", "add", ".spam.example", "--customer", "acme", "--reason", "spam")
        ctl("allow", "add", "partner@sender.example", "--customer", "acme", "--reason", "partner")

    def send(self, *rcpts, sender="sam@sender.example", client=SENDER):
        with Client(self.node.port) as c:
            c.cmd(f"XCLIENT ADDR={'IPV6:' if ':' in client else ''}{client}")
            c.ehlo("mail.sender.example")
            c.cmd(f"MAIL FROM:<{sender}>")
            replies = [c.cmd(f"RCPT TO:<{rcpt}>") for rcpt in rcpts]
            reply = replies[0]
            if any(r.code == 250 for r in replies):
                c.cmd("DATA")
                reply = c.content(make_message())
        return reference_in(reply.text)

    def happen(self):
        refs = {"DELIVERED": self.send("info@acme.example", client=SIX), "REFUSED": self.send("nobody@acme.example")}
        self.send("full@acme.example")
        refs["BLOCKED"] = self.send("info@acme.example", sender="v@spam.example", client=STRANGER)
        for name in ("stadtwerke-mueller-und-soehne", "hospital-holy-spirit", "six", "lost"):
            self.servers[name].stop()
        refs["HELD"] = self.send(f"buchhaltung.abteilung@{IDN}", sender=LONG)
        refs["WAITING"] = self.send(f"station.innere-medizin@{HOSPITAL}", f"verwaltung@{HOSPITAL}")
        for rcpt in (f"einkauf@{IDN}", "u@six.example", "x@lost.example"):
            self.send(rcpt, sender="")
        wait_until(lambda: len(self.node.spool()) == 5, 20, "five wait")
        self.node.relayctl("spool", "hold", refs["HELD"], "--reason", "the police asks for it, ticket 4713")
        self.node.relayctl("backend", "remove", "lost/1", "--spool", "keep", "--reason", "the contract has ended", "--yes")
        self.node.relayctl("customer", "suspend", "six", "--reason", "the invoice of August is not paid", "--yes")
        self.node.wait_until_replicated()
        for ref in refs.values():
            wait_until(lambda: self.node.postgres.sql("SELECT 1 FROM postern.events WHERE ref = %s", ref), 20, f"{ref} is copied")
        return refs

    def words(self, line):
        return [self.refs.get(word, word) for word in line.split()]

    def screen(self, line, columns, **env):
        screen = Screen(self.place(line), *self.words(line), columns=columns,
                        **{"PAGER": "cat", "NO_COLOR": "1", "TZ": "UTC", "SSL_CERT_FILE": "/dev/null", "COLUMNS": None, **env})
        text = screen.read()
        assert "Sanitizer" not in text and screen.code in (0, 1), text
        return text

    def close(self):
        self.node.close()
        for server in self.servers.values():
            server.stop()
        self.dns.close()


@pytest.fixture(scope="module")
def world():
    try:
        six_port()
    except OSError:
        pytest.skip("there is no IPv6 here")
    play = Play()
    yield play
    play.close()


def of_us(text):
    """Without the header lines of a message, which are as they are."""
    return re.split(r"^Received: ", text, flags=re.M)[0].splitlines()


def is_to_copy(line, columns, is_row=False):
    """It is a command, or a record for a zone; or what is too much is one word, which is to be pasted or fits in no line."""
    line = re.sub(r" and \d+ more$", "", line)
    if "  IN  MX  " in line or line.lstrip().startswith("relayctl "):
        return True
    word = re.search(r"`[^`]+`\S*$|\S+$", line)
    if word.start() >= columns:
        return False
    indent = max(gap.end() for gap in re.finditer(r"^ *|  +", line[:word.start()]))
    if is_row and indent == word.start():  # a cell, which could stand below
        indent = BELOW
    elif len(line[:word.start()].split()) == 1:  # a label
        indent = word.start()
    return indent + len(word.group()) > columns or TO_PASTE.fullmatch(word.group().strip("<>()[],.;:\"")) is not None


@pytest.mark.parametrize("line,columns,is_so", [
    ("    the last word is over the edge", 30, False), ("    this one starts behind the edge", 25, False),
    (f"    name {54 * 'x'}", 56, True), ("    see info@acme.example", 20, True), ("    see [P001-4KX3T-0B7Q2CF].", 20, True), ("    it lies in /var/lib/postern", 20, True),
    ("    run `relayctl backend test acme/1`", 30, True), ("relayctl backend test acme/1", 20, True),
    (f"    {40 * 'x'}", 40, True), (f"spool       ok           all {30 * 'x'}", 50, True), ("spool       ok           it is so", 30, False)])
def test_only_what_cannot_be_shorter_is_too_wide(line, columns, is_so):
    assert is_to_copy(line, columns) == is_so


def test_a_cell_is_no_reason_for_a_row_that_is_too_wide():
    assert not is_to_copy("a.example  down  now", 18, True) and is_to_copy(f"a.example  down  {60 * 'x'}", 60, True)


def tables(lines):
    """(titles, rows): what begins with a line of titles, down to an empty line, without what stands below rows."""
    for i, line in enumerate(lines):
        if re.fullmatch(r"[A-Z][A-Z ]*(  +[A-Z <]+)+", line):
            titles = [(m.start(), m.group()) for m in re.finditer(r"[A-Z<]+(?: [A-Z<]+)*", line)]
            rows = []
            for row in lines[i + 1:]:
                if not row:
                    break
                if not row.startswith("    "):
                    rows.append(row)
            yield titles, rows


@pytest.mark.parametrize("line", SCREENS)
def test_each_screen_fits(world, line):
    for columns in WIDTHS if "instructions" not in line else WIDTHS[1:]:  # a letter, with lines of its own
        text = world.screen(line, columns)
        lines = of_us(text)
        shown = f"$ relayctl {line} [{columns}]\n{text}"
        rows = {row for _, rows in tables(lines) for row in rows}
        assert not [row for row in lines if len(row) > columns and not is_to_copy(row, columns, row in rows)], shown
        assert not [row for row in lines if row != row.rstrip()], shown
        assert "\033" not in text, shown
        if columns >= 200:
            assert "\u2026" not in text, f"there is room for all\n{shown}"


@pytest.mark.parametrize("line", SCREENS)
def test_no_column_is_empty(world, line):
    for titles, rows in tables(of_us(world.screen(line, 200))):
        for i, (start, title) in enumerate(titles):
            end = titles[i + 1][0] if i + 1 < len(titles) else None
            cells = {row[start:end].strip() for row in rows}
            assert cells - {"-", ""}, f"{title} says nothing\n" + "\n".join(rows)


@pytest.mark.parametrize("line", SCREENS)
def test_a_pipe_has_neither_colour_nor_cuts(world, line):
    done = world.place(line).relayctl(*world.words(line), check=False)
    out = done.stdout
    assert done.returncode in (0, 1) and "\033" not in out and "\u2026" not in out
    assert not [row for row in of_us(out) if row != row.rstrip()], out


def test_addresses_and_references_are_whole_at_any_width(world):
    for columns in (20, 40, 60, 80, 120):
        text = world.screen("spool list", columns)
        for word in (LONG, f"buchhaltung.abteilung@{IDN}", f"station.innere-medizin@{HOSPITAL}", world.refs["HELD"]):
            assert word in text, f"{word} at {columns}\n{text}"


def test_what_waits_for_a_server_says_since_when_and_what_to_type(world):
    for line in ("explain WAITING", "spool show WAITING"):
        flat = " ".join(world.screen(line, 80).split())
        assert re.search(r"its server hospital-holy-spirit/1 is down since 20\d\d-.* `relayctl backend test hospital-holy-spirit/1`", flat), flat


def test_addresses_are_found_as_people_write_them(world):
    for line in ("trace --rcpt buchhaltung.abteilung@m\u00fcller-s\u00f6hne.example", "spool list --rcpt buchhaltung.abteilung@m\u00fcller-s\u00f6hne.example",
                 "trace --rcpt <Buchhaltung.Abteilung@M\u00dcLLER-s\u00f6hne.example> --since 1h"):
        assert world.refs["HELD"] in world.screen(line, 80), line


@pytest.mark.parametrize("line,words,code", [
    ("recipient list acme.example", "did you mean --domain acme.example?", 2), ("trace info@acme.example", "did you mean --rcpt info@acme.example?", 2),
    ("spool list acme", "did you mean --customer acme?", 2), ("customer show mueller", "did you mean stadtwerke-mueller-und-soehne?", 3),
    ("explain 550 5.7.25 refused", "`relayctl trace --rcpt ADDRESS --from ADDRESS`", 2)])
def test_a_near_miss_says_what_to_type(world, line, words, code):
    done = world.node.relayctl(*line.split(), check=False)
    assert done.returncode == code and words in done.stderr, done.stderr
    screen = Screen(world.node, *line.split(), columns=60, PAGER="cat", SSL_CERT_FILE="/dev/null")
    assert all(len(row) <= 60 or is_to_copy(row, 60) for row in screen.read().splitlines())


def test_trace_tells_what_is_put_off_from_what_is_refused(world):
    text = world.screen("trace --since 1h", 200)
    assert re.search(r" 450 +refused .*<sam@sender.example> to full@acme.example", text), text
    assert re.search(r" 550 +refused .*<sam@sender.example> to nobody@acme.example", text), text


def test_watch_leaves_the_head_on_the_screen(world):
    screen = Screen(world.node, "status", "--watch", columns=60, NO_COLOR="1", TZ="UTC", SSL_CERT_FILE="/dev/null")
    shown = screen.read(end=b"\033[J")
    for code in ("\033[2J", "\033[H", "\033[K", "\033[J"):
        shown = shown.replace(code, "")
    assert len(shown.split("\n")) == 24 and shown.startswith("relay.example, node 1") and shown.endswith("\n..."), shown


def test_colour_says_what_is_well(world):
    text = world.screen("backend list", 80, NO_COLOR=None)
    assert "\033[31mdown" in text and "\033[32mup" in text


def test_columns_of_the_environment_go_before_the_terminals(world):
    narrow = world.screen("domain list", 60)  # it tells no times, which go on
    assert world.screen("domain list", 200, COLUMNS="60") == narrow != world.screen("domain list", 200)
