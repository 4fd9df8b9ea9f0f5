# SPDX-License-Identifier: BSD-2-Clause
"""P7: one message in is one message out. SMTP smuggling by line ends and dots, and injection by everything a peer may say.

A smuggling message holds a sequence that some servers take for the end of data, and behind it the commands of another message.
Each is sent whole and cut at each octet of its sequence, to customers whose servers are strict, LF-lenient, CR-lenient and
careless; live, and out of the spool. Each must end as one message or as a refusal, at each of them.
"""
import os
import re
import signal
import socket
import time
from dataclasses import dataclass

import pytest

from exim import Exim
from harness import (ADDRESS, IS_ROOT, Client, Node, below_our_received, make_folder, make_message, our_received, reference_in, remove_folder,
                     wait_until)
from lenient import CARELESS, CR_LENIENT, LF_LENIENT, STRICT, LenientBackend
from tls import TlsClient, make_certificate
from world import TooLong, unprivileged_user

LENIENCIES = {"acme": STRICT, "lf": LF_LENIENT, "cr": CR_LENIENT, "careless": CARELESS}
ENDS = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "lfcr": b"\n\r", "crcrlf": b"\r\r\n", "crnullf": b"\r\0\n"}


def crossed():
    """Every line end before a dot with every one behind it, but for the one that is the end of data. Behind CR CR LF there is a
    true CR LF, so with CR LF behind the dot that is one too: see REAL_ENDS."""
    return {f"{a}.{b}": ENDS[a] + b"." + ENDS[b] for a in ENDS for b in ENDS
            if not (ENDS[a] + b"." + ENDS[b]).endswith(b"\r\n.\r\n")}


# What stands between the first message's text and the smuggled commands.
VARIANTS = crossed() | {
    "two-dots": b"\r\n..\r\n", "three-dots": b"\r\n...\r\n", "two-dots-lf": b"\n..\n", "two-dots-cr": b"\r..\r",
    "two-dots-lf-crlf": b"\n..\r\n", "dots-between-lfs": b"\n.\n.\n", "dots-between-crs": b"\r.\r.\r",
    "dot-space": b"\r\n. \r\n", "dot-tab": b"\r\n.\t\r\n", "dot-space-lf": b"\n. \n", "space-dot": b"\r\n .\r\n", "dot-sub": b"\r\n.\x1a\r\n",
    "nul-before-dot": b"\r\n\0.\r\n", "nul-behind-dot": b"\r\n.\0\r\n", "nul-behind-cr": b"\r\n.\r\0\r\n",
    "nul-lf": b"\0\n.\0\n", "lf-crlf.cr": b"\n\r\n.\r",
    "crlf.crcr": b"\r\n.\r\r", "crlf.crcrcrlf": b"\r\n.\r\r\r\n", "crcr.crcr": b"\r\r.\r\r", "lflf.lflf": b"\n\n.\n\n",
    "vt": b"\x0b.\x0b", "ff": b"\x0c.\x0c", "nel-latin1": b"\x85.\x85", "nel-utf8": b"\xc2\x85.\xc2\x85", "ls-utf8": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "overlong-lf": b"\xc0\x8a.\xc0\x8a", "high-crlf": b"\x8d\x8a.\x8d\x8a", "bdat": b"\r\nBDAT 9 LAST\r\n..\r\nBDAT 0 LAST\r\n",
    "telnet-break": b"\r\n\xff\xf3.\r\n", "percent": b"%0d%0a.%0d%0a", "quoted-printable": b"=0D=0A.=0D=0A", "dot-text-dot": b"\r\n.x.\r\n",
    "backspace": b"\r\nx\x08.\r\n", "escape": b"\r\n\x1b[1K.\r\n",
}
# The same right behind DATA, where the line end before the dot is DATA's own.
AT_START = {f"start.{b}": b"." + ENDS[b] for b in ENDS if b != "crlf"} | {
    "start.nul": b".\0\r\n", "start.space": b". \r\n", "start..": b"..\r\n", "start-lf.lf": b"\n.\n", "start-cr.cr": b"\r.\r"}
# A true CR LF . CR LF with something wrong before it: a real end. The message is refused, and what follows are commands.
REAL_ENDS = {"crcrlf.crlf": b"\r\r\n.\r\n", "lfcrlf.crlf": b"\n\r\n.\r\n", "nulcrlf.crlf": b"\0\r\n.\r\n", "lfcrcrlf.crlf": b"\n\r\r\n.\r\n"}

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
_BARE_FOR_NORMALISE = re.compile(rb"\r(?!\n)|\0")


@dataclass
class Case:
    number: int
    name: str
    sequence: bytes
    cut: int  # of the sequence; -1: whole
    at_start: bool
    domain: str
    replies: list = None

    @property
    def head(self):
        return b"" if self.at_start else b"X-Test-Id: %d\r\nSubject: %s\r\n\r\nfirst" % (self.number, self.name.encode())

    @property
    def tail(self):
        return (b"MAIL FROM:<evil-%d@origin.example>\r\nRCPT TO:<victim@%s>\r\nDATA\r\nX-Test-Id: %d\r\nSubject: smuggled\r\n\r\n"
                b"from the boss\r\n" % (self.number, self.domain.encode(), self.number))

    @property
    def wire(self):
        return self.head + self.sequence + self.tail + b".\r\nQUIT\r\n"

    @property
    def parts(self):
        at = len(self.head) + self.cut
        return (self.wire, b"") if self.cut < 0 else (self.wire[:at], self.wire[at:])

    @property
    def sender(self):
        return f"case-{self.number}@origin.example"

    def is_clean(self, bare):
        return not bare.search(self.head + self.sequence + self.tail)

    @property
    def content(self):
        """What arrives if it is clean: dots undone."""
        text = b"\r\n" + self.head + self.sequence + self.tail
        return text.replace(b"\r\n.", b"\r\n")[2:]


def make_cases(domains, cuts=True):
    cases = []
    for at_start, variants in ((False, VARIANTS), (True, AT_START)):
        for name, sequence in variants.items():
            for cut in [-1] + (list(range(len(sequence) + 1)) if cuts else []):
                for domain in domains:
                    cases.append(Case(len(cases), name, sequence, cut, at_start, domain))
    return cases


def test_the_table_of_variants_is_what_it_says():
    for case in make_cases(["acme.example"], cuts=False):
        before_quit = b"\r\n" + case.wire[:-len(b"QUIT\r\n")]
        assert before_quit.index(b"\r\n.\r\n") == len(before_quit) - 5, f"{case.name} holds a real end of data"
    assert len(set(VARIANTS.values())) == len(VARIANTS) and len(VARIANTS) + len(AT_START) >= 40


# --- Sending many at once, each in two pieces that arrive as two.

def read_replies(s):
    """Until the server closes: the replies' codes, one for each last line."""
    data = b""
    while piece := s.recv(65536):
        data += piece
    assert re.fullmatch(rb"(?:[2-5]\d\d[ -][ -~]*\r\n)*", data), f"no clean replies: {data!r}"
    return [int(line[:3]) for line in data.split(b"\r\n") if line and line[3:4] != b"-"]


def read_until_code(s, code):
    data = b""
    while not re.search(rb"(?m)^%d " % code, data) or not data.endswith(b"\r\n"):
        piece = s.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    return data


def everything_is_read(port):
    """No socket of the server's has octets that it has not read yet: what was sent has been fed to its engine."""
    host = "".join(f"{int(n):02X}" for n in reversed(ADDRESS.split(".")))
    local = f"{host}:{port:04X}"
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[3] == "01" and int(fields[4].split(":")[1], 16):
            return False
    return True


def send_all(port, cases, at_once=150):
    for begin in range(0, len(cases), at_once):
        batch = cases[begin:begin + at_once]
        sockets = []
        for case in batch:
            s = socket.create_connection((ADDRESS, port), 60)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(s)
        for case, s in zip(batch, sockets):
            read_until_code(s, 220)
            s.sendall(b"EHLO origin.example\r\n")
        for case, s in zip(batch, sockets):
            read_until_code(s, 250)
            s.sendall(b"MAIL FROM:<%s>\r\nRCPT TO:<user@%s>\r\nDATA\r\n" % (case.sender.encode(), case.domain.encode()))
        for case, s in zip(batch, sockets):
            read_until_code(s, 354)
            s.sendall(case.parts[0])
        wait_until(lambda: everything_is_read(port), 30, "the first pieces are read")
        for case, s in zip(batch, sockets):
            if case.parts[1]:
                s.sendall(case.parts[1])
        for case, s in zip(batch, sockets):
            case.replies = read_replies(s)
            s.close()


def judge(cases, backends, bare, exact=True):
    """The oracle: one message at the case's backend if it was taken, none if it was refused; nothing of the smuggler's."""
    arrived = {}
    for name, backend in backends.items():
        assert backend.dirty_octets() == [], f"{name}: a bare CR, LF or NUL left for a backend"
        for message in backend.taken:
            assert not message.mail_from.startswith("evil"), f"{name}: smuggled: {message}"
            arrived.setdefault(message.mail_from, []).append(message)
    for case in cases:
        what = f"{case.name} cut {case.cut} for {case.domain}: {case.replies}"
        assert case.replies == ([250, 221] if case.is_clean(bare) else [550, 221]), what
        messages = arrived.pop(case.sender, [])
        assert len(messages) == (1 if case.is_clean(bare) else 0), f"{what}: arrived {len(messages)} times"
        if messages and exact and case.domain == "acme.example":
            below = below_our_received(messages[0].content)
            assert below == (b"\r\n" if case.at_start else b"") + case.content, f"{what}: changed"
    assert not [m for m in arrived if m.startswith("case-")]


def report(capsys, what, cases, backends, began):
    variants, taken = len({c.name for c in cases}), sum(c.replies[0] == 250 for c in cases)
    with capsys.disabled():
        print(f"\nsmuggling, {what}: {variants} variants, {len(cases) // len(backends)} cuts in all, {len(backends)} backends: "
              f"{len(cases)} conversations, {taken} taken as one message, {len(cases) - taken} refused, none smuggled, "
              f"{time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def house():
    """A node with a customer and a backend for each leniency."""
    folder = make_folder("postern-smuggling-")
    certificate = make_certificate(folder, "ec", owner=unprivileged_user("nobody") if IS_ROOT else None)
    with Node(settings={"client-concurrency": 1000, "backend-connections": 200, "tls-certificate": [certificate.path],
                        "tls-key": [certificate.key]}) as node:
        backends = {name: LenientBackend(leniency).start() for name, leniency in LENIENCIES.items()}
        for name, backend in backends.items():
            add_without_limits(node, name, backend.endpoint)
        yield node, backends
        for backend in backends.values():
            backend.stop()
    remove_folder(folder)


def add_without_limits(node, name, endpoint):
    node.relayctl("customer", "add", name, "--contact", "ops@origin.example")
    for limit in ("connections-per-hour", "messages-per-connection"):
        node.relayctl("customer", "set", name, f"--max-{limit}", "none")
    node.relayctl("backend", "add", endpoint, "--customer", name)
    node.relayctl("domain", "add", f"{name}.example", "--customer", name)
    wait_until(lambda: node.serves(f"{name}.example"), 20, f"{name} is served")


@pytest.fixture
def gate(house):
    """The house with its backends up and empty."""
    node, backends = house
    for name, backend in backends.items():
        backend.script.clear()
        wait_until(lambda: is_live(node, f"{name}.example"), 30, f"{name} is served live")
    wait_until(lambda: not node.spool(), 60, "nothing is left in the spool")
    for backend in backends.values():
        backend.forget()
    return node, backends


def is_live(node, domain):
    reply = node.send(rcpts=f"user@{domain}")
    return reply.code == 250 and "queued" not in reply.text


@pytest.fixture
def acme(gate):
    return gate[0]


@pytest.fixture
def backend(gate):
    return gate[1]["acme"]


def domains_of(backends):
    return [f"{name}.example" for name in backends]


def test_P7_nothing_is_smuggled_live(gate, capsys):
    node, backends = gate
    began = time.monotonic()
    cases = make_cases(domains_of(backends))
    send_all(node.port, cases)
    assert node.spool() == [], "live means live"
    judge(cases, backends, _BARE)
    report(capsys, "live", cases, backends, began)


def test_P7_nothing_is_smuggled_out_of_the_spool(gate, capsys):
    node, backends = gate
    began = time.monotonic()
    for backend in backends.values():
        backend.stop()
    cases = make_cases(domains_of(backends))
    send_all(node.port, cases)
    taken = sum(case.replies[0] == 250 for case in cases)
    assert taken and sum(len(b.taken) for b in backends.values()) == 0
    for backend in backends.values():
        backend.start()
    wait_until(lambda: sum(len(b.taken) for b in backends.values()) >= taken and not node.spool(), 120, "the spool is delivered")
    judge(cases, backends, _BARE)
    report(capsys, "out of the spool", cases, backends, began)


def plain_text(content):
    """The words of a message, whatever its line ends and its dots."""
    return [line.lstrip(b".") for line in re.split(rb"[\r\n]+", content) if line.strip(b".")]


def test_P7_nothing_is_smuggled_to_a_customer_that_normalises_bare_LF(gate, capsys):
    node, backends = gate
    for name in backends:
        node.relayctl("customer", "set", name, "--bare-lf", "normalise")
    wait_until(lambda: all(takes_bare_lf(node, f"{name}.example") for name in backends for _ in range(4)), 10, "it normalises")
    began = time.monotonic()
    cases = make_cases(domains_of(backends))
    send_all(node.port, cases)
    judge(cases, backends, _BARE_FOR_NORMALISE, exact=False)
    arrived = {m.mail_from: m for m in backends["acme"].taken}
    for case in cases:
        if case.domain == "acme.example" and case.sender in arrived:
            below = below_our_received(arrived[case.sender].content)
            assert plain_text(below) == plain_text(case.content), f"{case.name} cut {case.cut}"
    report(capsys, "normalised", cases, backends, began)
    for name in backends:
        node.relayctl("customer", "set", name, "--bare-lf", "refuse")
    wait_until(lambda: not any(takes_bare_lf(node, f"{name}.example") for name in backends for _ in range(4)), 10, "it refuses")


def takes_bare_lf(node, domain):
    with Client(node.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<probe@origin.example>")
        client.cmd(f"RCPT TO:<user@{domain}>")
        client.cmd("DATA")
        client.write(b"Subject: probe\n\nprobe\r\n.\r\n")
        return client.reply().code == 250


@pytest.mark.parametrize("name", REAL_ENDS)
def test_P7_behind_a_real_end_commands_are_judged_anew(gate, name):
    """CR LF . CR LF is the end for us as for everybody; the message before it is refused for its bare octets, and what stands
    behind it are this client's next commands, with a verdict of their own."""
    node, backends = gate
    for domain, code in (("unknown.example", 550), ("acme.example", 250)):
        with Client(node.port) as client:
            client.ehlo()
            client.write(b"MAIL FROM:<a@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n")
            assert [client.reply().code for _ in range(3)] == [250, 250, 354]
            client.write(b"Subject: x\r\n\r\nfirst" + REAL_ENDS[name] + b"MAIL FROM:<b@origin.example>\r\nRCPT TO:<user@%s>\r\nQUIT\r\n" %
                         domain.encode())
            assert [client.reply().code for _ in range(4)] == [550, 250, code, 221]
    assert backends["acme"].taken == []


# --- A real chain with Exim 4.96, whose cut-through hands CR . CR on to a strict server.

EXIM = Exim.missing()
needs_exim = pytest.mark.skipif(EXIM is not None, reason=f"NO EXIM, the smuggling chain is not tested: {EXIM}")
CR_FIRST = sorted(n for n, s in VARIANTS.items() if b"\r" in s and _BARE.search(s))


def send_raw(port, sender, rcpt, name, data, timeout=20):
    """One smuggling message in one conversation; the replies' codes behind 354, as far as they come."""
    with Client(port, timeout=timeout) as client:
        client.ehlo()
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{rcpt}>"):
            reply = client.cmd(line)
            assert reply.code == 250, f"{name}: {line}: {reply}"
        reply = client.cmd("DATA")
        assert reply.code == 354, f"{name}: {reply}"
        client.write(data)
        return client.reply().code


def smuggle(sequence, rcpt, number):
    return (b"X-Test-Id: %d\r\nSubject: first\r\n\r\nfirst" % number + sequence + b"MAIL FROM:<evil@origin.example>\r\nRCPT TO:<%s>\r\n"
            b"DATA\r\nSubject: smuggled\r\n\r\nfrom the boss\r\n.\r\n" % rcpt.encode())


@needs_exim
def test_P7_exim_in_cut_through_makes_two_messages_of_one(world_of):
    """The danger is real: what the next tests hold off does pass this very Exim, to a strict server at that."""
    backend = world_of(LenientBackend(STRICT))
    exim = world_of(Exim(relay_to=backend.endpoint))
    for number in range(1, 6):  # where Exim is slow, its cut-through gives up, and it queues the message as one
        before = len(backend.taken)
        code = send_raw(exim.port, "a@origin.example", "user@acme.example", "cr.cr", smuggle(b"\r.\r", "user@acme.example", number))
        try:
            wait_until(lambda: len(backend.taken) == before + 2, 15, "the smuggled message has arrived")
            break
        except TooLong:
            continue
    assert code == 250 and [m.mail_from for m in backend.taken[-2:]] == ["a@origin.example", "evil@origin.example"]
    assert " evil@" not in exim.log_text().replace("<evil@", " evil@"), "Exim has seen one message"


@needs_exim
def test_P7_nothing_is_smuggled_through_us_and_exim(world_of, capsys):
    """relayd -> Exim in cut-through -> each server."""
    node = world_of(Node(settings={"client-concurrency": 1000}))
    backends = {}
    for name, leniency in LENIENCIES.items():
        backends[name] = world_of(LenientBackend(leniency))
        add_without_limits(node, name, world_of(Exim(relay_to=backends[name].endpoint)).endpoint)
    cases = make_cases(domains_of(backends), cuts=False)
    send_all(node.port, cases, at_once=40)
    expected = {case.sender: int(case.is_clean(_BARE)) for case in cases}
    for case in cases:
        assert case.replies == ([250, 221] if expected[case.sender] else [550, 221]), f"{case.name}: {case.replies}"
    total = sum(expected.values())
    wait_until(lambda: sum(len(b.taken) for b in backends.values()) >= total, 60, "what was taken has arrived")
    for name, backend in backends.items():
        for message in backend.taken:
            assert expected.pop(message.mail_from) == 1, f"{name}: {message}"
    assert not any(expected.values())
    with capsys.disabled():
        print(f"\nsmuggling, through us and Exim: {len(cases)} conversations, {total} taken as one message, none smuggled")


@needs_exim
def test_P7_nothing_is_smuggled_by_exim_through_us(gate, world_of, capsys):
    """Exim in cut-through -> relayd -> each server. Exim has made true line ends of the CRs when they reach us; what gives the
    smuggled message away is that it does not wait for the 354."""
    node, backends = gate
    sent = 0
    for name, backend in backends.items():
        exim = world_of(Exim(relay_to=node.settings["listen"][0]))
        rcpt = f"user@{name}.example"
        for number, variant in enumerate(CR_FIRST):
            send_raw(exim.port, f"case-{number}@origin.example", rcpt, variant, smuggle(VARIANTS[variant], rcpt, number))
            sent += 1
        wait_until(lambda: exim.queue_length() == 0, 60, "Exim has nothing left")
        for message in backend.taken:
            assert message.mail_from != "evil@origin.example", f"{name}: smuggled: {message}"
        assert len({m.mail_from for m in backend.taken}) == len(backend.taken), f"{name}: one message came twice"
        assert backend.dirty_octets() == []
    taken = sum(len(b.taken) for b in backends.values())
    assert taken, "none has passed at all"
    with capsys.disabled():
        print(f"\nsmuggling, by Exim through us: {sent} conversations, {taken} taken as one message, none smuggled")


# --- Content that does not wait for the 354.

EVIL = b"Subject: smuggled\r\n\r\nfrom the boss\r\n.\r\nQUIT\r\n"


def noops(size):
    """NOOP lines of so many octets in all."""
    lines = []
    while size:
        n = size if size <= 300 else 200
        lines.append(b"NOOP " + b"x" * (n - 7) + b"\r\n")
        size -= n
    return lines


# Commands are read and worked on in pieces of 4096 octets; DATA may be the last line of one, while the rest waits in the socket or in
# the TLS layer.
BEGIN = b"MAIL FROM:<evil@origin.example>\r\nRCPT TO:<user@acme.example>\r\n"
BETWEEN = {"alone": 0, "fed-4096": 4096 - 6, "before-4096": 4096 - 7, "across-4096": 4096 - 5, "fed-8192": 8192 - 6,
           "read-4096": 4096 - 6 - len(BEGIN), "read-8192": 8192 - 6 - len(BEGIN), "read-12288": 12288 - 6 - len(BEGIN)}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("rest", [EVIL, b"S", b"\r\n", b".\r\n"], ids=["all", "octet", "line-end", "dot"])
@pytest.mark.parametrize("kind", [Client, TlsClient], ids=["plain", "tls"])
def test_P7_content_before_the_354_is_refused_and_the_connection_closed(acme, backend, kind, between, rest):
    """Also where the commands end with what is read at once, so that what stands behind them is not in sight."""
    lines = noops(between)
    with kind(acme.port) as client:
        client.ehlo()
        client.write(BEGIN + b"".join(lines) + b"DATA\r\n" + rest)
        codes = [client.reply().code for _ in range(len(lines) + 2)]
        assert codes == [250] * (len(lines) + 2)
        reply = client.reply()
        assert (reply.code, reply.enhanced) == (421, "4.5.1"), str(reply)
        with pytest.raises(OSError):
            client.reply()
    assert backend.messages == [] and acme.spool() == []


def test_P7_content_before_a_354_that_waits_for_room_is_refused(acme, backend):
    """With SIZE above what memory holds DATA waits for a file, which the segments process makes."""
    with Client(acme.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<sender@origin.example> SIZE=2000000")
        assert client.cmd("RCPT TO:<user@acme.example>").code == 250
        maker = acme.relayd.child("segments")
        os.kill(maker, signal.SIGSTOP)
        try:
            client.write("DATA\r\n")
            wait_until(lambda: everything_is_read(acme.port), 10, "DATA was read")
            client.write("Subject: early\r\n\r\nx\r\n.\r\n")
            wait_until(lambda: everything_is_read(acme.port), 10, "the content was read")
        finally:
            os.kill(maker, signal.SIGCONT)
        reply = client.reply()
        assert (reply.code, reply.enhanced) == (421, "4.5.1") and reference_in(reply.text), str(reply)
    assert backend.messages == [] and acme.spool() == []


@pytest.mark.parametrize("kind", [Client, TlsClient], ids=["plain", "tls"])
def test_P7_the_next_envelope_may_follow_the_dot_at_once(acme, backend, kind):
    """RFC 2920 3.1 permits that, and it must go on to be served."""
    with kind(acme.port) as client:
        client.ehlo()
        for number in range(3):
            client.write(b"MAIL FROM:<a%d@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n" % number)
            codes = [client.reply().code for _ in range(3)]
            assert codes == [250, 250, 354]
            client.write(b"Subject: x\r\n\r\nx\r\n.\r\n")
            assert client.reply().code == 250
        client.write(b"MAIL FROM:<b@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        client.write(b"Subject: x\r\n\r\nx\r\n.\r\nMAIL FROM:<c@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(4)] == [250, 250, 250, 354]
        assert client.content(make_message()).code == 250
    assert [m.mail_from for m in backend.taken] == [f"{n}@origin.example" for n in ("a0", "a1", "a2", "b", "c")]


# --- Injection by what is no content.

def no_control(text, what):
    bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or ord(c) > 126]
    assert not bad, f"{what}: control or 8-bit octets {bad[:5]!r} in {text[:2000]!r}"


HELOS = ["a\rX-Evil: 1", "a\nX-Evil: 1", "a\0b", "a\r.\r", "a b", "\xe4.example", "a\x1b[31m", "a\x7f", "evil)\tby", "x" * 256, ""]


@pytest.mark.parametrize("name", HELOS, ids=[repr(h)[:20] for h in HELOS])
def test_P7_a_HELO_name_with_control_octets_is_refused(acme, name):
    with Client(acme.port) as client:
        for verb in ("EHLO", "HELO"):
            reply = client.cmd(f"{verb} {name}")
            assert reply.code in (500, 501), str(reply)
            assert client.cmd("MAIL FROM:<a@origin.example>").code == 503


ODD_HELOS = ["x)by.evil.example", "(comment", "a;Thu,1Jan1970", "a\"b", "<a@b>", "[not-an-address]", "-", "$(id)", "`id`", "%s%n", "../../etc",
             "a,b", "'OR1=1--"]


@pytest.mark.parametrize("name", ODD_HELOS)
def test_P7_an_odd_HELO_name_forges_nothing_in_our_Received_line(acme, backend, name):
    with Client(acme.port) as client:
        assert client.ehlo(name).code == 250
        assert client.send(make_message(test_id=1)).code == 250
    received = our_received(backend.taken[0].content).decode()
    assert re.fullmatch(r"Received: from [A-Za-z0-9._:\[\]?-]+ \([A-Za-z0-9._:\[\]?-]+ \[[0-9.]+\]\)\r\n\tby relay\.example \(Postern "
                        r"acme\.example\) with ESMTP id \S+\r\n\tfor <user@acme\.example>; [^;]+\r\n", received), received
    no_control(acme.relayd.text(), "the log")


REPLIES = ["550 5.1.1 no\rRCPT TO:<x@acme.example>", "550 5.1.1 no\n250 2.0.0 injected", "550 5.1.1 a\0b\x07c", "550 5.1.1 \xe4\xff\x85\x9b31m \x1b[2J",
           "550-5.1.1 one\r\n550-5.1.1 \r\x1b]0;title\x07\r\n550 5.1.1 end", "550 5.1.1 \" forged=1 ref=P000-00000-0000000 \\", "550 5.1.1 " + "x" * 5000,
           "550 5.1.1 \u00a0\u00ad", "550 5.1.1\r", "550 5.1.1 %s%n%x"]


@pytest.mark.parametrize("phase", ["banner", "ehlo", "mail", "rcpt", "data", "dot"])
def test_P7_a_backends_reply_injects_nothing(acme, backend, phase):
    """No header, log line, event or reply to the client has an octet of it that could be taken for another line."""
    for number, reply in enumerate(REPLIES):
        backend.script[phase] = reply
        backend.drop_connections()
        with Client(acme.port) as client:
            client.ehlo()
            client.write(b"MAIL FROM:<a@origin.example>\r\nRCPT TO:<%s-%d@acme.example>\r\n" % (phase.encode(), number))
            lines = [client.reply(), client.reply()]
            if lines[1].code == 250:
                lines.append(client.cmd("DATA"))
                assert lines[-1].code == 354
                lines.append(client.content(make_message(test_id=number)))
            lines.append(client.cmd("QUIT"))  # that there is one reply a command, no more
            assert lines[-1].code == 221
        for line in lines:
            assert len(line.lines) == 1, line.lines
            no_control(line.lines[0], f"the reply to {phase} {reply!r}")
            assert len(line.lines[0]) <= 510
    backend.script.clear()
    no_control(acme.relayd.text(), "relayd's log")
    for line in acme.relayd.text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT", line), f"no log line: {line!r}"
    for path in acme.dirs["log-dir"].rglob("*"):
        if path.is_file():
            no_control(path.read_text(encoding="latin-1"), path.name)
    no_control(acme.relayctl("spool", "list").stdout.replace("\u2026", ""), "spool list")
    wait_until(lambda: not acme.spool(), 60, "what was spooled is delivered")
    no_control(acme.spoolmgr.text(), "spoolmgr's log")
    for message in backend.taken:
        assert below_our_received(message.content).startswith(b"X-Test-Id:"), message.content[:300]


ADDRESSES = ["<a\rb@acme.example>", "<a\nb@acme.example>", "<a\0b@acme.example>", "<\"a\rb\"@acme.example>", "<\"a\\\rb\"@acme.example>",
             "<\"a\\\nb\"@acme.example>", "<\"a\0\"@acme.example>", "<\"a\x07\"@acme.example>", "<\"a\x7f\"@acme.example>", "<a@acme\r.example>",
             "<a@acme.example>\rRCPT TO:<b@acme.example>", "<a@acme.example\n>", "<a@acme.example> X=\r", "<a@acme.example> NOTIFY=NEVER\n",
             "<a@acme.example> ORCPT=rfc822;a+0D+0Ab", "<a@acme.example> ORCPT=rfc822;a+00", "<a@acme.example> ORCPT=rfc822;a\rb",
             "<\"\xe4\"@acme.example>", "<a@acme.example> ORCPT=utf-8;\\x{0A}a"]


@pytest.mark.parametrize("path", ADDRESSES, ids=[repr(a)[1:-1] for a in ADDRESSES])
def test_P7_control_octets_in_an_address_are_refused(acme, backend, path):
    with Client(acme.port) as client:
        client.ehlo()
        if "NOTIFY" not in path and "ORCPT" not in path:
            assert client.cmd(f"MAIL FROM:{path}").code // 100 == 5
        client.cmd("RSET")
        assert client.cmd("MAIL FROM:<ok@origin.example>").code == 250
        reply = client.cmd(f"RCPT TO:{path}")
        assert reply.code // 100 == 5, str(reply)
        assert client.cmd("DATA").code in (503, 554)
    assert backend.messages == [] and not [line for _, who, line in backend.transcript if who == "C" and "ok@origin" in line]
    no_control(acme.relayd.text(), "the log")


QUOTED = ['"a>; Thu, 1 Jan 1970 00:00:00 +0000"', '"a\\"> by evil.example"', '"(a"', '"a b; c"', '"a\\\\"', '"<evil>"', '"\'; DROP TABLE x; --"']


@pytest.mark.parametrize("local", QUOTED)
def test_P7_quoted_local_parts_stay_one_word_everywhere(acme, backend, local):
    """They are of the grammar, so they pass; in our Received line the quotes hold them together."""
    rcpt = f"{local}@acme.example"
    with Client(acme.port) as client:
        client.ehlo()
        assert client.send(make_message(test_id=1), mail_from=f"{local}@origin.example", rcpts=[rcpt]).code == 250
    lines = [line for _, who, line in backend.transcript if who == "C"]
    assert f"RCPT TO:<{rcpt}>" in [line.partition(" NOTIFY")[0] for line in lines], lines
    received = our_received(backend.taken[0].content).decode()
    without_quoted = re.sub(r'"(?:[^"\\]|\\.)*"', "Q", received)
    assert re.search(r"for <Q@acme\.example>; \w{3}, ", without_quoted) and without_quoted.count(";") == 1, received
    assert reference_in(received)


STARTS = {"dots": b".\r\n..\r\n...\r\n.a\r\n. .\r\n", "one-dot-last": b"a\r\n.\r\n", "dot-header": b".Subject: x\r\n\r\nx\r\n",
          "dots-everywhere": b"".join(b"." * n + b"\r\n" for n in range(1, 200)), "dot-at-8192": b"a" * 8190 + b"\r\n.\r\n..\r\n",
          "dot-at-65536": (b"a" * 1022 + b"\r\n") * 64 + b".\r\n.." + b"\r\n"}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("away", [False, True], ids=["live", "spooled"])
def test_P7_dots_at_the_starts_of_lines_arrive_as_they_are(gate, name, away):
    node, backends = gate
    if away:
        for backend in backends.values():
            backend.stop()
    content = b"Subject: dots\r\n\r\n" + STARTS[name]
    for domain in domains_of(backends):
        assert node.send(content, rcpts=f"user@{domain}").code == 250
    if away:
        for backend in backends.values():
            backend.start()
    wait_until(lambda: all(b.taken for b in backends.values()), 60, "all have it")
    for leniency, backend in backends.items():
        (message,) = backend.taken
        assert below_our_received(message.content) == content, leniency
        assert backend.dirty_octets() == []
