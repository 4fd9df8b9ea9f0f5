# SPDX-License-Identifier: BSD-2-Clause
"""How strangers are received: who may speak for others, who takes too long or too much room, how each connection ends, what is
written down of it. The replies one by one are in test_dialogue.py and tests/dialog."""
import fcntl
import os
import re
import select
import signal
import socket
import struct
import termios
import time
from pathlib import Path

import pytest

from harness import (ADDRESS, IS_ROOT, Backend, Client, Node, Reply, below_our_received, make_message, our_received,
                     process_gone, reference_in, wait_until)

PROXY, XCLIENT, CROWD = "127.91.1.5", "127.91.2.5", "127.91.3.5"
NEAR = "127.91.4.5"  # a client like any other
COMMAND_S, DATA_S, CONCURRENCY, CONNECTIONS = 4, 3, 20, 60
SETTINGS = {"workers": 2, "proxy-protocol-from": ["127.91.1.0/24"], "xclient-from": ["127.91.2.0/24"],
            "client-command-timeout": f"{COMMAND_S}s", "client-data-timeout": f"{DATA_S}s", "client-min-rate": 1000,
            "client-concurrency": CONCURRENCY, "max-connections": CONNECTIONS, "postmaster": "root@acme.example"}


class Caller(Client):
    """A client that may say something first, and does not wait for the greeting."""

    def __init__(self, node, source=NEAR, first=b"", timeout=30, receive_buffer=None, is_one_of_many=False):
        self.events_before = 0 if is_one_of_many else len(node.events("connection"))  # ports come again
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((source, 0))
        self.socket.settimeout(timeout)
        self.socket.connect((ADDRESS, node.port))
        self.port = self.socket.getsockname()[1]
        self.file = self.socket.makefile("rb")
        if first:
            self.write(first)

    def greeted(self):
        self.banner = self.reply()
        assert self.banner.code == 220, str(self.banner)
        return self

    def is_closed(self):
        """Whether nothing more comes."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def begin(self, rcpt="user@acme.example", sender="a@origin.example"):
        assert self.ehlo().code == 250
        assert self.cmd(f"MAIL FROM:<{sender}>").code == 250
        return self.cmd(f"RCPT TO:<{rcpt}>")


def greeted(node, source=NEAR, **kwargs):
    return Caller(node, source, **kwargs).greeted()


class ReceptionNode(Node):
    def __init__(self):
        super().__init__(settings=SETTINGS, start=False)
        self.relayd.env["ASAN_OPTIONS"] += ":quarantine_size_mb=1"  # what is freed is free: its memory is measured

    def end_of(self, caller, port=None, client=None):
        """The event of the caller's connection; port and client: what a proxy has named."""
        port = port or caller.port

        def look():
            found = [e for e in self.events("connection")[caller.events_before:] if e["port"] == port and client in (None, e["client"])]
            assert len(found) <= 1, f"two events of one connection: {found}"
            return found and found[0]
        return wait_until(look, 30, f"the event of the connection from port {port}")


FULL = Backend.GOOD["ehlo"].replace("250 8BITMIME", "250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")


@pytest.fixture(scope="module")
def gate():
    """acme.example is served by a backend without, full.example by one with SMTPUTF8 and DSN."""
    backends = [Backend().start(), Backend().start()]
    node = ReceptionNode().start()
    try:
        node.acme, node.full = backends
        node.full.script["ehlo"] = FULL
        for words in ("customer add slept --contact ops@slept.example", "domain add slept.example --customer slept",
                      "customer suspend slept --reason test"):
            node.relayctl(*words.split())
        node.add_customer("acme", "acme.example", node.acme.endpoint)
        node.add_customer("full", "full.example", node.full.endpoint)
        for name in ("acme", "full"):
            node.relayctl("customer", "set", name, "--max-connections-per-hour", "none", "--max-messages-per-connection", "none")
        yield node
        node.check_records()
    finally:
        try:
            node.close()
        finally:
            for backend in backends:
                backend.close()


@pytest.fixture(autouse=True)
def as_before(request):
    """Each test finds backends that behave, and leaves records that hold nothing raw."""
    yield
    if "gate" not in request.fixturenames:
        return
    node = request.getfixturevalue("gate")
    node.acme.script.clear()
    node.full.script.clear()
    node.full.script["ehlo"] = FULL
    node.check_records()


def pids_stopped(node):
    pids = node.relayd.workers()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", 5, "the worker stands still")
    return pids


def resident_kib(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M).group(1))


# --- What is offered, and what is not.

BASIC_OFFERS = {"SIZE 20971520", "PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "LIMITS RCPTMAX=50 MAILMAX=50 RCPTDOMAINMAX=1",
                "ENHANCEDSTATUSCODES"}


@pytest.mark.parametrize("source, more", [(NEAR, set()), (ADDRESS, {"ETRN"}),
                                          (XCLIENT, {"XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME"})],
                         ids=["anybody", "a backend's address", "xclient-from"])
def test_ehlo_offers_exactly_what_is_there(gate, source, more):
    with greeted(gate, source) as client:
        lines = [line[4:] for line in client.ehlo().lines]
        assert lines[0].split()[0] == "relay.example"
        assert len(lines[1:]) == len(set(lines[1:])) and set(lines[1:]) == BASIC_OFFERS | more
        assert client.cmd("HELO origin.example").lines == ["250 relay.example"]


NOT_OFFERED = ["BDAT 5 LAST", "TURN", "EXPN list", "AUTH PLAIN AGEAYg==", "STARTTLS", "ETRN acme.example", "XCLIENT ADDR=192.0.2.1",
               "SOML FROM:<a@b.example>", "ATRN acme.example"]


@pytest.mark.parametrize("command", NOT_OFFERED, ids=[c.split()[0] for c in NOT_OFFERED])
def test_what_is_not_offered_is_502(gate, command):
    with greeted(gate) as client:
        client.ehlo()
        reply = client.cmd(command)
        assert (reply.code, reply.enhanced) in ((502, "5.5.1"), (500, "5.5.2"), (503, "5.5.1")), str(reply)
        assert reply.code == 502 or command.split()[0] in ("SOML", "ATRN")
        assert client.cmd("NOOP").code == 250


@pytest.mark.parametrize("line", ["MAIL FROM:<a@b.example> AUTH=<>", "MAIL FROM:<a@b.example> MT-PRIORITY=3",
                                  "MAIL FROM:<a@b.example> BODY=BINARYMIME", "MAIL FROM:<a@b.example> XYZZY"])
def test_parameters_that_are_not_offered_are_refused(gate, line):
    with greeted(gate) as client:
        client.ehlo()
        reply = client.cmd(line)
        assert (reply.code, reply.enhanced) in ((555, "5.5.4"), (501, "5.5.4")), str(reply)


# --- The proxy's header.

def proxy_v1(text):
    return f"PROXY {text}\r\n".encode()


def proxy_v2(command, family, addresses=b""):
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack(">H", len(addresses)) + addresses


def ipv6(text):
    return socket.inet_pton(socket.AF_INET6, text)


GOOD_HEADERS = {
    "v1": (proxy_v1("TCP4 192.0.2.31 198.51.100.1 4001 25"), "192.0.2.31"),
    "v1-ipv6": (proxy_v1("TCP6 2001:db8::31 2001:db8::1 4002 25"), "2001:db8::31"),
    "v1-unknown": (proxy_v1("UNKNOWN"), PROXY),
    "v2": (proxy_v2(1, 0x11, socket.inet_aton("192.0.2.32") + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 4003, 25)),
           "192.0.2.32"),
    "v2-ipv6": (proxy_v2(1, 0x21, ipv6("2001:db8::32") + ipv6("2001:db8::1") + struct.pack(">HH", 4004, 25)), "2001:db8::32"),
    "v2-tlv": (proxy_v2(1, 0x11, socket.inet_aton("192.0.2.33") + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 4005, 25) +
                        b"\x04\0\x08padding!"), "192.0.2.33"),
    "v2-local": (proxy_v2(0, 0), PROXY),
}


@pytest.mark.parametrize("header, client", GOOD_HEADERS.values(), ids=GOOD_HEADERS.keys())
def test_the_proxys_header_names_the_client(gate, header, client):
    with Caller(gate, PROXY, header) as caller:
        caller.greeted()
        assert caller.begin().code == 250
        assert caller.cmd("DATA").code == 354
        assert caller.content(make_message()).code == 250
        assert caller.cmd("QUIT").code == 221
        literal = f"[IPv6:{client}]" if ":" in client else f"[{client}]"
        assert literal.encode() in our_received(gate.acme.taken[-1].content)
        wait_until(lambda: gate.events("message")[-1:] and gate.events("message")[-1]["client"] == client, 5, "the message's event")
        port = caller.port if client == PROXY else int(re.search(r"400\d", repr(header)).group(0)) if b"TCP" in header else None
        if port:
            event = gate.end_of(caller, port, client)
            assert event["end"] == "quit" and ("proxied" in event["notes"]) == (client != PROXY)


def test_the_proxys_header_may_come_octet_by_octet_and_with_what_follows(gate):
    header = GOOD_HEADERS["v1"][0] + b"EHLO early.example\r\n"
    with Caller(gate, PROXY) as caller:
        for octet in header:
            caller.write(bytes([octet]))
        caller.greeted()
        assert caller.reply().code == 250


BAD_HEADERS = {"none": b"EHLO origin.example\r\n", "garbage": os.urandom(64).replace(b"P", b"x").replace(b"\r", b"y"),
               "v1-too-long": b"PROXY TCP4 " + b"1" * 200, "v1-words": proxy_v1("TCP4 192.0.2.1 nonsense 1 2"),
               "v1-port": proxy_v1("TCP4 192.0.2.1 192.0.2.2 99999 25"), "v1-lf": b"PROXY UNKNOWN\nEHLO x.example\r\n",
               "v2-version": proxy_v2(1, 0x11).replace(b"QUIT\n\x21", b"QUIT\n\x31") + b"\0" * 12, "v2-short": proxy_v2(1, 0x11, b"abc"),
               "v2-huge": proxy_v2(1, 0x11)[:14] + b"\xff\xff" + b"z" * 70000}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_without_its_header_a_proxy_is_not_greeted(gate, header):
    with Caller(gate, PROXY, header) as caller:
        assert caller.is_closed(), "something was answered"
        assert gate.end_of(caller)["end"] == "no-proxy-header"


def test_a_header_from_elsewhere_is_a_command_and_a_bad_one(gate):
    with greeted(gate) as caller:
        reply = caller.cmd("PROXY TCP4 192.0.2.99 198.51.100.1 4001 25")
        assert (reply.code, reply.enhanced) == (500, "5.5.2")
        assert caller.begin().code == 250
        caller.cmd("QUIT")
        assert gate.end_of(caller)["client"] == NEAR


# --- XCLIENT.

@pytest.mark.parametrize("given, address, literal", [("ADDR=192.0.2.41 PORT=4141", "192.0.2.41", b"[192.0.2.41]"),
                                                     ("ADDR=IPV6:2001:db8::41 NAME=client.example", "2001:db8::41", b"[IPv6:2001:db8::41]")])
def test_xclient_speaks_for_another_and_begins_anew(gate, given, address, literal):
    with greeted(gate, XCLIENT) as caller:
        assert caller.begin().code == 250
        assert caller.cmd(f"XCLIENT {given}").code == 503, "inside a transaction"
        assert caller.cmd("RSET").code == 250
        assert caller.cmd(f"XCLIENT {given}").code == 220
        assert caller.cmd("MAIL FROM:<a@origin.example>").code == 503, "EHLO must be said again"
        assert caller.begin().code == 250
        assert caller.cmd("DATA").code == 354
        assert caller.content(make_message()).code == 250
        caller.cmd("QUIT")
        assert literal in our_received(gate.acme.taken[-1].content)
        event = wait_until(lambda: [e for e in gate.events("connection") if e["client"] == address], 10, "its event")[-1]
        assert event["via"] == XCLIENT and "xclient" in event["notes"] and (event["messages"], event["recipients"]) == (1, 1 + 1)


def test_xclient_that_is_nonsense_is_501_and_changes_nothing(gate):
    with greeted(gate, XCLIENT) as caller:
        caller.ehlo()
        for arguments in ("ADDR=nonsense", "WHO=me", "ADDR=192.0.2.1 ADDR=192.0.2.2", ""):
            assert caller.cmd(f"XCLIENT {arguments}".rstrip()).code == 501
        caller.cmd("QUIT")
        assert gate.end_of(caller)["client"] == XCLIENT


# --- Before and instead of commands.

def test_who_talks_before_the_greeting_is_noted(gate):
    pids = pids_stopped(gate)
    try:
        caller = Caller(gate, NEAR, b"EHLO early.example\r\n")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    with caller:
        caller.greeted()
        assert caller.reply().code == 250
        caller.cmd("QUIT")
        assert "early-talker" in gate.end_of(caller)["notes"]


@pytest.mark.parametrize("request_", ["GET / HTTP/1.1\r\nHost: relay.example\r\nUser-Agent: x\r\n\r\n", "POST /x HTTP/1.0\r\n\r\nMAIL FROM:<a@b.example>\r\n",
                                      "CONNECT relay.example:25 HTTP/1.1\r\n\r\n"], ids=["get", "post", "connect"])
def test_another_protocol_ends_at_once(gate, request_):
    with greeted(gate) as caller:
        caller.write(request_)
        reply = caller.reply()
        assert (reply.code, reply.enhanced) == (421, "4.7.0") and caller.is_closed()
        event = gate.end_of(caller)
        assert event["end"] == "limit" and "other-protocol" in event["notes"]


@pytest.mark.parametrize("command, code", [("NOOP", 250), ("EHLO origin.example", 250)])
def test_floods_of_harmless_commands_end_with_421(gate, command, code):
    with greeted(gate) as caller:
        caller.ehlo()
        caller.write(f"{command}\r\n" * 300)
        replies = []
        while not replies or replies[-1].code == code:
            replies.append(caller.reply())
        assert (replies[-1].code, replies[-1].enhanced) == (421, "4.7.0"), str(replies[-1])
        assert len(replies) == 100, "100 commands in a row, EHLO among them, and the next"
        assert caller.is_closed()
        assert gate.end_of(caller)["end"] == "limit"


def test_work_between_harmless_commands_is_no_flood(gate):
    with greeted(gate) as caller:
        for _ in range(3):
            assert caller.begin().code == 250
            for _ in range(80):
                assert caller.cmd("NOOP").code == 250
            assert caller.cmd("RSET").code == 250


@pytest.mark.parametrize("line", ["MAIL FROM: nonsense", "\x01\x02\x03"], ids=["arguments", "octets"])
def test_twenty_bad_commands_end_with_421(gate, line):
    with greeted(gate) as caller:
        caller.ehlo()
        for _ in range(19):
            assert caller.cmd(line).code // 100 == 5
        reply = caller.cmd(line)
        assert (reply.code, reply.enhanced) == (421, "4.7.0") and caller.is_closed()


def test_a_good_command_forgives_bad_ones(gate):
    with greeted(gate) as caller:
        caller.ehlo()
        for _ in range(4):
            for _ in range(15):
                assert caller.cmd("XYZZY").code == 500
            assert caller.cmd("NOOP").code == 250


# --- Who takes too long, sends too slowly, or not at all: all at once, since each needs seconds.

class Staller(Caller):
    """Sends a piece every so often, reads what comes, and keeps the time of the end."""

    def __init__(self, node, name, source, steps, drip=b"", every=0.3, prelude=0):
        super().__init__(node, source)
        self.name, self.drip, self.every, self.got = name, drip, every, b""
        for text in steps:
            self.write(text)
        if prelude:
            for _ in range(prelude):
                self.got += (str(self.reply()) + "\r\n").encode()
        self.socket.setblocking(False)
        self.began, self.next, self.ended = time.monotonic(), 0, None

    def turn(self, now):
        if self.drip and now >= self.next:
            self.next = now + self.every
            try:
                self.socket.send(self.drip)
            except BlockingIOError:
                pass
            except OSError:
                self.ended = now - self.began
                return
        try:
            piece = self.socket.recv(65536)
            if piece == b"":
                self.ended = now - self.began
            self.got += piece
        except BlockingIOError:
            pass
        except OSError:
            self.ended = now - self.began

    def last_reply(self):
        lines = self.got.decode("latin-1").splitlines()
        return Reply(int(lines[-1][:3]), [lines[-1]]) if lines and lines[-1][:3].isdigit() else None


HELLO = [b"EHLO origin.example\r\n"]
TO_DATA = HELLO + [b"MAIL FROM:<slow@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n"]


def test_P8_nobody_can_take_longer_than_the_settings_say(gate):
    before = {pid: resident_kib(pid) for pid in gate.relayd.workers()}
    flood = b"x" * 16384
    rows = [  # what it does; the reply at the end, or None; how the event says it ended; seconds, at least and about
        (Staller(gate, "silent", "127.91.5.1", [], prelude=1), (421, "4.4.2"), "timeout", COMMAND_S),
        (Staller(gate, "silent behind EHLO", "127.91.5.2", HELLO, prelude=2), (421, "4.4.2"), "timeout", COMMAND_S),
        (Staller(gate, "single octets of a command", "127.91.5.3", HELLO, b"N", prelude=2), (421, "4.4.2"), "timeout", COMMAND_S),
        (Staller(gate, "an endless line", "127.91.5.4", HELLO, flood, 0.01, prelude=2), (421, "4.4.2"), "timeout", COMMAND_S),
        (Staller(gate, "silent in content", "127.91.5.5", TO_DATA, prelude=5), (421, "4.4.2"), "timeout", DATA_S),
        (Staller(gate, "content too slowly", "127.91.5.6", TO_DATA, b"slow\r\n", prelude=5), (421, "4.7.0"), "slow", DATA_S),
        (Staller(gate, "half a proxy header", PROXY, [b"PROXY TCP4 192.0.2"]), None, "no-proxy-header", 3),
    ]
    waiting = [row[0] for row in rows]
    deadline = time.monotonic() + 25
    assert gate.send().code == 250, "others are served meanwhile"
    while waiting and time.monotonic() < deadline:
        select.select([staller.socket for staller in waiting], [], [], 0.01)
        for staller in list(waiting):
            staller.turn(time.monotonic())
            if staller.ended is not None:
                waiting.remove(staller)
    assert not waiting, f"these have not been ended: {[s.name for s in waiting]}"
    for staller, reply, end, seconds in rows:
        with staller:
            assert staller.ended >= seconds - 0.5, f"{staller.name}: ended after {staller.ended:.1f} s"
            assert staller.ended <= (10 if reply is None else 2 * seconds) + 4, f"{staller.name}: ended after {staller.ended:.1f} s"
            last = staller.last_reply()
            assert (last and (last.code, last.enhanced)) == reply, f"{staller.name}: {last}"
            assert gate.end_of(staller)["end"] == end, staller.name
    for pid, kib in before.items():
        assert resident_kib(pid) - kib < 16384, "an endless line is kept in memory"


def unsent(sock):
    """Octets that the other side's kernel has not taken yet."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


def test_P8_replies_that_nobody_reads_cost_bounded_memory_and_leave_in_order_later(gate):
    count = 60000  # more than kernels keep for both sides
    before = {pid: resident_kib(pid) for pid in gate.relayd.workers()}
    with greeted(gate, NEAR, receive_buffer=4096) as caller:
        assert caller.begin().code == 250
        lines = b"".join(b"RCPT TO:<user%d@slept.example>\r\nRCPT TO:<user@full.example>\r\n" % n for n in range(count // 2))
        caller.socket.setblocking(False)
        sent, until = 0, time.monotonic() + 1
        while sent < len(lines) and time.monotonic() < until and select.select([], [caller.socket], [], 0.3)[1]:
            sent += caller.socket.send(lines[sent:sent + 65536])
        looks = []
        wait_until(lambda: looks.append(unsent(caller.socket)) or (looks[-1] > 0 and looks[-1:] * 2 == looks[-2:]), 20, "reading stops",
                   pause=0.3)
        for pid, kib in before.items():
            # That reading stops is what holds it; the sanitizer keeps what was freed as well.
            assert resident_kib(pid) - kib < 32768, "unread replies are kept in memory"
        codes = []
        got = b""
        while len(codes) < count:
            readable, writable, _ = select.select([caller.socket], [caller.socket] if sent < len(lines) else [], [], 10)
            assert readable or writable, f"nothing moves after {len(codes)} replies"
            if writable:
                sent += caller.socket.send(lines[sent:sent + 65536])
            if readable:
                piece = caller.socket.recv(65536)
                assert piece, f"closed after {len(codes)} replies: {got[-200:]!r}"
                got += piece
                whole, _, got = got.rpartition(b"\r\n")
                codes += [line[:3] for line in whole.split(b"\r\n") if line]
        assert set(codes[0::2]) == {b"450"} and set(codes[1::2]) == {b"452"}, "a reply is missing or out of order"
        caller.socket.setblocking(True)
        caller.file = caller.socket.makefile("rb")
        caller.cmd("QUIT")
    assert "not-reading" in gate.end_of(caller)["notes"]


@pytest.mark.skipif(not IS_ROOT, reason="a socket can be made to vanish by root only")
def test_a_client_that_has_vanished_is_let_go(gate):
    caller = greeted(gate)
    caller.ehlo()
    caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # nothing is to be sent to it once more
    caller.socket.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: no FIN and no RST leave at close
    caller.close()
    event = gate.end_of(caller)
    assert event["end"] == "timeout" and event["ms"] >= COMMAND_S * 1000 - 500


def test_P7_one_header_line_of_a_megabyte_passes(gate):
    content = b"X-Long: " + b"y" * 2 ** 20 + b"\r\nSubject: long\r\n\r\nend\r\n"
    assert gate.send(content).code == 250
    assert below_our_received(gate.acme.taken[-1].content) == content


# --- How many at once.

def crowd(node, count, source=CROWD):
    return [greeted(node, source) for _ in range(count)]


def leave(callers):
    for caller in callers:
        caller.close()


def test_P9_connections_of_one_address_are_counted_over_all_workers(gate):
    callers = crowd(gate, CONCURRENCY)
    try:
        for _ in range(4):  # whichever worker it comes to
            with Caller(gate, CROWD) as late:
                reply = late.reply()
                assert (reply.code, reply.enhanced) == (421, "4.7.0") and late.is_closed()
        with greeted(gate, "127.91.3.6"):
            pass
        assert all(caller.cmd("NOOP").code == 250 for caller in callers)
        callers.pop().close()
        wait_until(lambda: crowd_has_room(gate), 5, "there is room for one more")
    finally:
        leave(callers)
    wait_until(lambda: crowd_has_room(gate), 5, "all are gone")


def crowd_has_room(node, source=CROWD):
    with Caller(node, source) as caller:
        return caller.reply().code == 220


def test_P9_addresses_of_one_ipv6_network_are_one(gate):
    def come(address):
        return Caller(gate, PROXY, proxy_v1(f"TCP6 {address} 2001:db8::1 5000 25"))
    callers = [come(f"2001:db8:7:7::{n + 1:x}").greeted() for n in range(CONCURRENCY)]
    try:
        with come("2001:db8:7:7:ffff::1") as late:
            assert late.reply().code == 421
        with come("2001:db8:7:8::1") as other:
            other.greeted()
    finally:
        leave(callers)


def fill(node):
    """As many clients as the node may have; None if one is refused (some may be left from before)."""
    callers = [Caller(node, f"127.91.6.{n % 5 + 1}", is_one_of_many=True) for n in range(CONNECTIONS)]
    if all([caller.reply().code == 220 for caller in callers]):
        return callers
    leave(callers)


def test_P8_a_full_node_says_so_at_once_and_serves_those_inside(gate):
    callers = wait_until(lambda: fill(gate), 10, f"{CONNECTIONS} are served")
    try:
        for _ in range(4):
            began = time.monotonic()
            with Caller(gate) as late:
                reply = late.reply()
                assert (reply.code, reply.enhanced) == (421, "4.3.2") and late.is_closed()
            assert time.monotonic() - began < 2
        assert all(caller.cmd("NOOP").code == 250 for caller in callers)
        assert callers[0].begin().code == 250
        assert callers[0].cmd("DATA").code == 354
        assert callers[0].content(make_message()).code == 250
    finally:
        leave(callers)
    wait_until(lambda: crowd_has_room(gate, NEAR), 10, "it has recovered")
    assert [line for line in gate.relayd.log_lines("connections-refused") if "why=node-full" in line]


# --- What is passed on, and what needs a backend that can.

def said_to(backend, verb, count=1):
    return [line for _, side, line in backend.transcript if side == "C" and line.upper().startswith(verb)][-count:]


def test_smtputf8_goes_byte_identical_to_a_backend_that_has_it(gate):
    content = "From: <jürgen@origin.example>\r\nSubject: grüße\r\n\r\nschön\r\n".encode()
    with greeted(gate) as caller:
        caller.ehlo()
        assert caller.cmd("MAIL FROM:<jürgen@origin.example> SMTPUTF8 BODY=8BITMIME".encode().decode("latin-1")).code == 250
        assert caller.cmd("RCPT TO:<grüße@full.example>".encode().decode("latin-1")).code == 250
        assert caller.cmd("DATA").code == 354
        assert caller.content(content).code == 250
    message = gate.full.taken[-1]
    assert below_our_received(message.content) == content
    assert b" with UTF8SMTP " in our_received(message.content)
    (mail,) = said_to(gate.full, "MAIL")
    assert mail.encode("latin-1").decode() == "MAIL FROM:<jürgen@origin.example> BODY=8BITMIME SMTPUTF8"


@pytest.mark.parametrize("sender, rcpt", [("jürgen@origin.example", "user@acme.example"), ("a@origin.example", "grüße@acme.example")],
                         ids=["sender", "recipient"])
def test_P6_smtputf8_is_refused_at_rcpt_for_a_backend_without(gate, sender, rcpt):
    with greeted(gate) as caller:
        caller.ehlo()
        assert caller.cmd(f"MAIL FROM:<{sender}> SMTPUTF8".encode().decode("latin-1")).code == 250
        reply = caller.cmd(f"RCPT TO:<{rcpt}>".encode().decode("latin-1"))
        assert (reply.code, reply.enhanced) == (550, "5.6.7") and reference_in(reply.text)


def test_smtputf8_that_is_not_needed_is_no_hindrance(gate):
    with greeted(gate) as caller:
        caller.ehlo()
        assert caller.cmd("MAIL FROM:<a@origin.example> SMTPUTF8").code == 250
        assert caller.cmd("RCPT TO:<user@acme.example>").code == 250
        assert caller.cmd("DATA").code == 354
        assert caller.content(make_message()).code == 250
    assert said_to(gate.acme, "MAIL") == ["MAIL FROM:<a@origin.example>"]


def test_smtputf8_in_the_header_is_refused_for_a_backend_without(gate):
    taken = len(gate.acme.taken)
    with greeted(gate) as caller:
        caller.ehlo()
        assert caller.cmd("MAIL FROM:<a@origin.example> SMTPUTF8").code == 250
        assert caller.cmd("RCPT TO:<user@acme.example>").code == 250
        assert caller.cmd("DATA").code == 354
        reply = caller.content("Subject: grüße\r\n\r\nx\r\n".encode())
        assert reply.code // 100 == 5 and reply.enhanced == "5.6.7" and reference_in(reply.text), str(reply)
    assert len(gate.acme.taken) == taken


# --- Every refusal explains itself.

REFUSED_AT_RCPT = {  # recipient, what the backend says, code
    "unknown-domain": ("user@unknown.example", None, (550, "5.7.1")),
    "suspended": ("user@slept.example", None, (450, "4.3.2")),
    "relay-form": ("user%x.example@acme.example", None, (550, "5.7.1")),
    "ourselves": ("user@relay.example", None, (550, "5.7.1")),
    "no-such-user": ("user@acme.example", "550 5.1.1 no such user", (550, "5.1.1")),
    "no-enhanced-code": ("user@acme.example", "554 go away", (554, None)),
    "busy": ("user@acme.example", "450 4.2.1 busy", (450, "4.2.1")),
    "full": ("user@acme.example", "452 4.2.2 mailbox full", (450, "4.2.2")),
    "several-lines": ("user@acme.example", "550-5.1.1 first line\r\n550 5.1.1 second line", (550, "5.1.1")),
    "hostile": ("user@acme.example", "550 5.1.1 no \x1b[31muser\x07 \xff\x80 <\x00>", (550, "5.1.1")),
}


@pytest.mark.parametrize("rcpt, script, expected", REFUSED_AT_RCPT.values(), ids=REFUSED_AT_RCPT.keys())
def test_P6_every_refusal_at_rcpt_has_a_reference(gate, rcpt, script, expected):
    if script:
        gate.acme.script["rcpt"] = script
    with greeted(gate) as caller:
        reply = caller.begin(rcpt)
        assert reply.code == expected[0] and expected[1] in (None, reply.enhanced), str(reply)
        assert reference_in(reply.text), str(reply)
        assert all(0x20 <= ord(c) < 0x7f for line in reply.lines for c in line), repr(reply.lines)
    event = wait_until(lambda: [e for e in gate.events("recipient-refused") if reference_in(reply.text) == e["ref"]], 5, "the event")[-1]
    assert event["rcpt"] == rcpt and event["reply"].startswith(str(reply.code))


def received(count):
    return b"".join(b"Received: from a.example by b%d.example; Mon, 1 Jan 2024 00:00:00 +0000\r\n" % n for n in range(count))


REFUSED_AT_DOT = {"backend": ("554 5.6.0 not this one", make_message(), (554, "5.6.0")),
                  "later": ("451 4.7.1 greylisted", make_message(), (451, "4.7.1")),
                  "loop": (None, received(120) + make_message(), (554, "5.4.6")),
                  "bare-lf": (None, make_message(body=b"a\nb\r\n"), (550, "5.6.11")),
                  "nul": (None, make_message(body=b"a\0b\r\n"), (550, "5.6.11")),
                  "hostile": ("554 5.6.0 \x1b]0;x\x07\xc3\x28 no", make_message(), (554, "5.6.0"))}


@pytest.mark.parametrize("script, content, expected", REFUSED_AT_DOT.values(), ids=REFUSED_AT_DOT.keys())
def test_P6_every_refusal_at_the_dot_has_a_reference(gate, script, content, expected):
    if script:
        gate.acme.script["dot"] = script
    reply = gate.send(content)
    assert (reply.code, reply.enhanced) == expected and reference_in(reply.text), str(reply)
    assert all(0x20 <= ord(c) < 0x7f for line in reply.lines for c in line), repr(reply.lines)


# --- What hostile octets reach.

HOSTILE = ["EHLO a\x1b[2J.example", "EHLO a\x00b.example", "EHLO \xff\xfe.example", "EHLO a\rMAIL.example", "EHLO [\x07]", "HELO a\"b\\c.example",
           "MAIL FROM:<a\x1bb@origin.example>", "MAIL FROM:<\"a\\\x00b\"@origin.example>", "MAIL FROM:<a\nb@origin.example>",
           "MAIL FROM:<\xe4@origin.example>", "MAIL FROM:<\"quo\\\"ted\"@origin.example>", "VRFY \x1b\x9b\x00", "\x80\x81\x82", "RCPT TO:<x\x7fy@acme.example>"]


def test_hostile_octets_reach_no_log_no_event_and_no_header(gate):
    with greeted(gate) as caller:
        for line in HOSTILE:
            caller.write(line + "\r\n")
            reply = caller.reply()
            assert all(0x20 <= ord(c) < 0x7f for text in reply.lines for c in text), (line, reply.lines)
            caller.cmd("RSET")
        assert caller.ehlo("fine.example").code == 250
        assert caller.cmd("MAIL FROM:<\"quo\\\"ted\\\\ sender\"@origin.example>").code == 250
        assert caller.cmd("RCPT TO:<user@acme.example>").code == 250
        assert caller.cmd("DATA").code == 354
        assert caller.content(make_message()).code == 250
        caller.cmd("QUIT")
    event = gate.end_of(caller)
    assert event["helo"] == "fine.example" and event["errors"] >= 8 and "bare-octet" in event["notes"]
    assert re.fullmatch(rb"[\x20-\x7e\r\n\t]*", our_received(gate.acme.taken[-1].content))
    gate.acme.script["banner"] = "421 4.3.2 away \x1b[31m\x00\xff"
    gate.acme.drop_connections()
    assert "queued" in gate.send().text
    gate.check_records()


# --- How a connection ended.

def end_by_quit(caller):
    assert caller.cmd("QUIT").code == 221


def end_by_closing(caller):
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.is_closed()


def end_by_reset(caller):
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()


@pytest.mark.parametrize("ending, word", [(end_by_quit, "quit"), (end_by_closing, "closed"), (end_by_reset, "lost")],
                         ids=["quit", "closed", "reset"])
def test_each_connection_leaves_one_event(gate, ending, word):
    with greeted(gate) as caller:
        assert caller.begin().code == 250
        ending(caller)
        event = gate.end_of(caller)
        assert event["end"] == word and event["client"] == NEAR and event["helo"] == "origin.example"
        assert event["commands"] == (4 if word == "quit" else 3) and event["recipients"] == 1 and event["messages"] == 0
        assert set(event["phases_ms"]) <= {"command", "content", "ours", "behind", "output", "greet", "tls", "proxy"}
        assert sum(event["phases_ms"].values()) <= event["ms"] + 50


# --- A worker that dies. Last: these change the workers.

def kill_workers(node):
    pids = node.relayd.workers()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(process_gone(pid) for pid in pids) and len(node.relayd.workers()) == 2, 20, "they are replaced")
    wait_until(lambda: crowd_has_room(node, NEAR), 10, "the new ones greet")


def test_P1_P9_a_worker_that_dies_leaves_no_counts_and_no_mail(gate):
    gate.acme.script["banner"] = "421 4.3.2 away"
    gate.acme.drop_connections()
    kept = gate.send(make_message(test_id=77))
    assert kept.code == 250 and "queued until" in kept.text
    callers = crowd(gate, CONCURRENCY - 1)
    busy = greeted(gate, CROWD)
    assert busy.begin().code == 250
    assert busy.cmd("DATA").code == 354
    busy.write(b"Subject: half\r\n\r\nof it\r\n")
    kill_workers(gate)
    assert busy.is_closed() and all(caller.is_closed() for caller in callers)
    leave(callers + [busy])
    gate.acme.script.clear()
    again = crowd(gate, CONCURRENCY)
    with Caller(gate, CROWD) as late:
        assert late.reply().code == 421, "the dead workers' counts are gone, and not the rule"
    reply = again[0].begin()
    assert reply.code == 250
    leave(again)
    wait_until(lambda: [m for m in gate.acme.taken if reference_in(our_received(m.content)) == reference_in(kept.text)], 60,
               "the message of the dead worker's segment is delivered")
    assert gate.send(make_message(test_id=78)).code == 250, "who has heard nothing sends again"


def test_a_reload_says_421_to_who_is_between_messages_and_lets_the_others_finish(gate):
    before = gate.relayd.workers()
    idle, busy = greeted(gate), greeted(gate)
    idle.ehlo()
    assert busy.begin().code == 250 and busy.cmd("DATA").code == 354
    gate.relayd.signal(signal.SIGHUP)
    heard = [idle.cmd("NOOP")]

    def is_renewed():  # both are within their time meanwhile
        busy.write(b"X-Filler: " + b"x" * 900 + b"\r\n")
        if heard[-1].code == 250:
            heard.append(idle.cmd("NOOP"))
        return len(set(gate.relayd.workers()) - set(before)) == 2

    wait_until(is_renewed, 20, "new workers are there", pause=0.5)
    with greeted(gate) as fresh:
        assert fresh.begin().code == 250
        while heard[-1].code == 250 and not select.select([idle.socket], [], [], 0.2)[0]:
            busy.write(b"X-Filler: " + b"x" * 900 + b"\r\n")  # it is at work
        reply = heard[-1] if heard[-1].code != 250 else idle.reply()
        assert (reply.code, reply.enhanced) == (421, "4.3.2") and idle.is_closed()
        assert gate.end_of(idle)["end"] == "stopped"
        assert busy.content(make_message()).code == 250
        reply = busy.reply()
        assert reply.code == 421 and busy.is_closed()
    wait_until(lambda: not set(before) & set(gate.relayd.workers()), 20, "the old ones are gone")
    leave([idle, busy])


# --- A node that keeps the greeting back and has few descriptors; without a database: what it says needs none.

DESCRIPTORS = 420  # less than a worker's own and 10,000 clients'


@pytest.fixture(scope="module")
def waiting_gate():
    node = Node(settings={"workers": 1, "greet-wait": "1s", "client-command-timeout": "20s"}, start=False)
    node.relayd.argv = ["setpriv", "--bounding-set=-sys_resource", "prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"] + node.relayd.argv
    try:
        node.relayd.start()
        yield node
        node.check_records()
    finally:
        node.close()


def test_greet_wait_refuses_who_talks_first(waiting_gate):
    began = time.monotonic()
    with Caller(waiting_gate, NEAR, b"EHLO early.example\r\n") as caller:
        reply = caller.reply()
        assert (reply.code, reply.enhanced) == (554, "5.5.1") and caller.is_closed()
    assert time.monotonic() - began < 1
    with greeted(waiting_gate) as caller:
        assert time.monotonic() - began >= 1
        assert caller.ehlo().code == 250
        caller.cmd("QUIT")
    ends = wait_until(lambda: {e["end"] for e in waiting_gate.events("connection")} >= {"early-talker", "quit"}, 5, "both events")
    assert ends


def test_P8_short_of_descriptors_is_full_too(waiting_gate):
    """As many as can be served are; the next are told at once, and those inside go on."""
    callers, refused = [], None
    while refused is None:
        assert len(callers) < DESCRIPTORS / 2, "nobody is refused"
        caller = Caller(waiting_gate, f"127.91.8.{len(callers) // 20 + 1}")
        callers.append(caller)
        if select.select([caller.socket], [], [], 0.02)[0]:
            refused = caller.reply()
    assert (refused.code, refused.enhanced) == (421, "4.3.2") and callers.pop().is_closed()
    inside = [caller for caller in callers if caller.reply().code == 220]
    assert len(inside) >= 10
    assert all(caller.cmd("NOOP").code == 250 for caller in inside)
    leave(callers)
    wait_until(lambda: crowd_has_room(waiting_gate), 5, "it has recovered")
    (warning,) = waiting_gate.relayd.log_lines("few-descriptors")
    assert f"the limit here is {DESCRIPTORS}" in warning and "LimitNOFILE" in warning


def test_P6_postmaster_without_the_setting_says_what_to_do(waiting_gate):
    with greeted(waiting_gate) as caller:
        reply = caller.begin("postmaster")
        assert (reply.code, reply.enhanced) == (550, "5.1.1") and "postmaster" in reply.text and reference_in(reply.text)


def test_P5_without_a_registry_nothing_is_refused_for_it(waiting_gate):
    with greeted(waiting_gate) as caller:
        reply = caller.begin()
        assert reply.code == 451 and reference_in(reply.text)


def test_a_stop_says_421_to_who_is_between_messages(waiting_gate):
    idle, waiting = greeted(waiting_gate), Caller(waiting_gate)
    idle.ehlo()
    waiting_gate.relayd.signal(signal.SIGTERM)
    for caller in (idle, waiting):
        reply = caller.reply()
        assert (reply.code, reply.enhanced) == (421, "4.3.2") and caller.is_closed()
        caller.close()
    wait_until(lambda: not waiting_gate.relayd.alive, 20, "it has ended")
