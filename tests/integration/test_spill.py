# SPDX-License-Identifier: BSD-2-Clause
"""Content in passage: memory and spill-max are bounds, and nobody who uses them up keeps others from being served."""
import json
import os
import re
import selectors
import signal
import time

import pytest

from harness import (QUICK, Client, Node, SinkBackend, below_our_received, make_message, reference_in, wait_until)
from milter import Milter

MIB = 1024 * 1024
STALLED = 700 if QUICK else 2000  # times 250 KB is more than the pools of two workers (64 MB each)
POOL_KB = 64 * 1024
BYTE_ORDER = "little"  # of lib/base/codec


def lines(n, seed=0):
    """n octets of content, each line its own; ends with CR LF."""
    line = (b"%07d %07d " % (seed, 0)) + b"x" * 60 + b"\r\n"
    text = b"".join(b"%07d %07d " % (seed, i) + b"x" * 60 + b"\r\n" for i in range(n // len(line)))
    return text + b"y" * (n - len(text) - 2) + b"\r\n"


def message(n, seed=0):
    head = make_message(test_id=seed, body=b"")
    return head + lines(n - len(head), seed)


class Stalled(Client):
    """A client that gets as far as DATA, and then sends what we say."""

    def __init__(self, port, size=None, rcpt="user@acme.example"):
        super().__init__(port, timeout=30)
        self.ehlo()
        self.cmd("MAIL FROM:<sender@origin.example>" + (f" SIZE={size}" if size else ""))
        assert self.cmd(f"RCPT TO:<{rcpt}>").code == 250
        self.data = self.cmd("DATA")

    def end(self):
        self.write(b".\r\n")
        return self.reply()


def push(clients, contents, seconds=20):
    """Sends to all at once what their sockets take; the clients whose content did not all fit."""
    left = {c: memoryview(content) for c, content in zip(clients, contents)}
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as sel:
        for c in left:
            c.socket.setblocking(False)
            sel.register(c.socket, selectors.EVENT_WRITE, c)
        while sel.get_map() and time.monotonic() < deadline:
            for key, _ in sel.select(0.5):
                c = key.data
                try:
                    left[c] = left[c][c.socket.send(left[c][:256 * 1024]):]
                except BlockingIOError:
                    pass
                if not left[c]:
                    sel.unregister(c.socket)
                    del left[c]
    for c in clients:
        c.socket.setblocking(True)
        c.socket.settimeout(60)
    return list(left)


@pytest.fixture
def small(world_of, backend):
    """A node with room for three messages of the largest size on disk."""
    node = world_of(Node(settings={"spill-max": "64MiB", "client-concurrency": 0}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    unlimited(node, "acme")
    return node


def large_files(node):
    """The sizes of the segments of single messages: their header says another size than the shared ones'."""
    found = []
    for path in node.dirs["spool-dir"].glob("0*.seg"):
        try:
            with open(path, "rb") as f:
                found.append(int.from_bytes(f.read(32)[24:32], BYTE_ORDER))
        except FileNotFoundError:  # just freed
            pass
    return [size for size in found if size != 64 * MIB]


def allocated(node):
    """The octets on disk of the segments of single messages."""
    sum_of = 0
    for path in node.dirs["spool-dir"].glob("0*.seg"):
        try:
            with open(path, "rb") as f:
                if int.from_bytes(f.read(32)[24:32], BYTE_ORDER) != 64 * MIB:
                    sum_of += os.fstat(f.fileno()).st_blocks * 512
        except FileNotFoundError:  # just freed
            pass
    return sum_of


def message_events(node, verdict):
    events = [json.loads(line) for p in sorted(node.dirs["log-dir"].glob("events-*.jsonl")) for line in p.read_text().splitlines()]
    return [e for e in events if e["event"] == "message" and e.get("verdict") == verdict]


def is_sanitized(pid):
    with open(f"/proc/{pid}/maps") as f:
        return "libasan" in f.read()


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def unlimited(node, customer):
    """Returns when the customer's connections are not counted any more."""
    node.relayctl("customer", "set", customer, "--max-connections-per-hour", "none")
    node.relayctl("domain", "add", f"last.{customer}.example", "--customer", customer)  # who serves it has the change before it
    wait_until(lambda: node.serves(f"last.{customer}.example"), 10, "the change is live")


def add_away(node, world_of):
    """A customer whose server does not run: who stalls on the way to it holds nothing of a backend."""
    away = world_of(SinkBackend())
    away.stop()
    node.add_customer("away", "away.example", away.endpoint)
    unlimited(node, "away")
    return away


def expect_served(node):
    """A normal message within 2 s; a worker that a sanitizer slows down has four times as much."""
    seconds = 8.0 if is_sanitized(node.relayd.workers()[0]) else 2.0
    began = time.monotonic()
    reply = node.send(make_message(body=lines(10 * 1024)))
    took = time.monotonic() - began
    assert reply.code == 250, str(reply)
    assert took < seconds, f"a normal message took {took:.2f} s"
    return took


def test_P7_a_backend_that_reads_late_gets_every_octet(small, backend):
    """A body in memory goes out in parts; here the socket is full after some of them."""
    def stop_reading(session, line):
        backend._loop.call_later(0.02, time.sleep, 0.7)  # the whole backend
    backend.script["data"] = stop_reading
    content = message(1000 * 1000).replace(b"\r\n0000", b"\r\n.000")
    assert small.send(content).code == 250
    (taken,) = backend.taken
    assert below_our_received(taken.content) == content


def test_P8_a_stream_of_large_messages_gets_its_room_back(small, backend):
    """Each reserves a third of spill-max, and the next begins at once: what the last one had must be free by then."""
    count = 40 if QUICK else 96  # 50 are the most of a connection
    content = message(1100 * 1024)
    senders = [Client(small.port, timeout=60) for _ in range(2)]
    for c in senders:
        c.ehlo()
    for _ in range(count // 2):
        for c in senders:
            c.cmd("MAIL FROM:<sender@origin.example>")
            assert c.cmd("RCPT TO:<user@acme.example>").code == 250
            assert c.cmd("DATA").code == 354
        assert push(senders, [content + b".\r\n"] * 2) == []
        assert [c.reply().code for c in senders] == [250, 250]
    for c in senders:
        c.close()
    wait_until(lambda: large_files(small) == [], 10, "nothing is left of them on disk")
    wait_until(lambda: len(message_events(small, "delivered")) == count, 10, "each is on record as delivered")


def test_P6_P9_no_room_is_said_to_DATA_and_there_is_room_again(small, backend):
    inside = [Stalled(small.port, 20 * MIB) for _ in range(3)]
    assert [c.data.code for c in inside] == [354] * 3
    late = Stalled(small.port, 20 * MIB)
    assert (late.data.code, late.data.enhanced) == (452, "4.3.1"), str(late.data)
    reference = reference_in(late.data.text)
    event = wait_until(lambda: message_events(small, "spill-full"), 5, "the event")[0]
    assert event["ref"] == reference and event["rcpt"] == ["user@acme.example"] and event["reply"].startswith("452 4.3.1")
    expect_served(small)
    assert late.cmd("DATA").code == 452, "still"
    (alarm,) = small.relayd.log_lines("spill-full")
    assert "spill-max=67108864" in alarm and "at their end" not in alarm
    inside.pop().close()
    wait_until(lambda: late.cmd("DATA").code == 354, 5, "room again, on the same connection")
    content = message(20 * MIB)
    assert late.content(content).code == 250
    assert below_our_received(backend.taken[-1].content) == content
    for client in inside + [late]:
        client.close()
    wait_until(lambda: not large_files(small), 10, "all the room is given back")


def test_P8_who_waits_for_a_scanner_keeps_no_more_room_than_it_needs(world_of, backend):
    """A message without SIZE reserves a third of spill-max; when it is whole, the rest goes back, however long its scanner takes."""
    milter = Milter(delay=120).start()
    node = world_of(Node(settings={"spill-max": "64MiB", "client-concurrency": 0, "workers": 1, "final-reply-timeout": "240s",
                                   "milters": [f"{milter.address} name=scanner timeout=120s"]}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    node.relayctl("customer", "set", "acme", "--policy", "off,milter=reject")
    unlimited(node, "acme")
    content = message(3 * MIB)
    crowd = []
    for n in range(12):
        client = world_of(Stalled(node.port))
        assert client.data.code == 354
        client.write(content + b".\r\n")
        crowd.append(client)
        wait_until(lambda: milter.at_work == n + 1, 20, f"message {n} waits for the scanner")
        wait_until(lambda: allocated(node) <= (n + 1) * 4 * MIB, 10, "the disk has the room back")
    assert not node.relayd.log_lines("spill-full")
    assert allocated(node) >= 12 * 3 * MIB
    for pid in node.relayd.workers():  # what the dead had is counted once
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not large_files(node), 20, "all the room is given back")
    wait_until(lambda: node.serves("acme.example"), 20, "another worker is there")
    inside = [world_of(Stalled(node.port, 20 * MIB)) for _ in range(3)]
    assert [c.data.code for c in inside] == [354] * 3
    late = world_of(Stalled(node.port, 20 * MIB))
    assert late.data.code == 452, "and no more than there is"
    milter.close()


def test_P9_a_message_far_larger_than_announced_is_refused_and_a_little_larger_is_not(small, backend):
    content = message(5 * MIB)
    with Stalled(small.port, 2 * MIB) as client:
        reply = client.content(content)
    assert (reply.code, reply.enhanced) == (552, "5.3.4") and reference_in(reply.text), str(reply)
    assert backend.taken == []
    with Stalled(small.port, 5 * MIB - 300000) as client:
        assert client.content(content).code == 250
    assert below_our_received(backend.taken[-1].content) == content


def test_P7_large_ones_side_by_side_arrive_as_they_were_sent(small, backend):
    sizes = [MIB + 1, 3 * MIB, 5 * MIB, 2 * MIB + 17]  # without SIZE each reserves 20 MiB
    contents = [message(n, i) for i, n in enumerate(sizes)]
    clients = [Stalled(small.port, n if i % 2 else None) for i, n in enumerate(sizes)]
    assert all(c.data.code == 354 for c in clients)
    assert push(clients, contents) == []
    assert [c.end().code for c in clients] == [250] * len(clients)
    assert sorted(below_our_received(m.content) for m in backend.taken) == sorted(contents)
    for client in clients:
        client.close()


def test_P1_P7_large_ones_are_spooled_and_delivered_as_they_were_sent(small, backend):
    backend.stop()
    contents = [message(n, i) for i, n in enumerate([MIB + 1, 5 * MIB])]
    for content in contents:
        with Stalled(small.port, len(content)) as client:
            reply = client.content(content)
            assert reply.code == 250 and "queued until" in reply.text, str(reply)
    inside = [Stalled(small.port, 20 * MIB) for _ in range(3)]
    assert [c.data.code for c in inside] == [354] * 3, "what is spooled is not in passage any more"
    backend.start()
    wait_until(lambda: len(backend.taken) == 2, 60, "both are delivered")
    assert sorted(below_our_received(m.content) for m in backend.taken) == sorted(contents)


def test_P8_many_that_stall_keep_within_the_bounds_and_nobody_from_being_served(small, world_of):
    """Nobody says SIZE, so that three fill spill-max and the others have memory alone."""
    add_away(small, world_of)
    before = {pid: rss_kb(pid) for pid in small.relayd.workers()}
    content = message(250 * 1024)
    clients = [world_of(Stalled(small.port, rcpt="user@away.example")) for _ in range(STALLED)]
    assert all(c.data.code == 354 for c in clients)
    push(clients, [content] * STALLED, seconds=1)
    times = []
    deadline = time.monotonic() + 6  # from when they meet their share until long after they were pushed out
    while time.monotonic() < deadline:
        times.append(expect_served(small))
        push(clients[:0], [], 0.1)
    print(f"{len(times)} normal messages, the slowest {max(times):.3f} s")
    for pid, kb in before.items():
        grown = rss_kb(pid) - kb
        print(f"worker {pid}: {kb} KB, then {grown} KB more")
        assert is_sanitized(pid) or grown < POOL_KB * 1.5, f"worker {pid} has grown by {grown} KB"
    assert sum(large_files(small)) <= 64 * MIB
    left = push(clients, [b"\r\n"] * STALLED)  # what had not fitted is thrown away by who was refused
    assert not left
    replies = [c.end() for c in clients]
    assert {(r.code, r.enhanced) for r in replies} == {(452, "4.3.1"), (250, "2.0.0")}
    print(f"{sum(r.code == 250 for r in replies)} of {STALLED} were taken")
    refused = sum(r.code == 452 for r in replies)
    wait_until(lambda: len(message_events(small, "spill-full")) == refused, 5, "an event for each that had no room")
    for client in clients:
        client.close()
    assert len(large_files(small)) <= 3, "those that had room, and are spooled"
    inside = [world_of(Stalled(small.port, 20 * MIB)) for _ in range(3)]
    assert [c.data.code for c in inside] == [354] * 3, "all the room is there again"


def test_P1_P7_those_that_were_pushed_to_disk_arrive_as_they_were_sent(world_of, backend):
    """All say SIZE, so that disk is there for all; they go on after having been pushed out of memory."""
    node = world_of(Node(settings={"client-concurrency": 0}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    unlimited(node, "acme")
    away = add_away(node, world_of)
    contents = [message(260 * 1024, i) for i in range(STALLED)]
    clients = [world_of(Stalled(node.port, 260 * 1024, "user@away.example")) for _ in range(STALLED)]
    halves = [c[:250 * 1024] for c in contents]
    began = time.monotonic()
    assert push(clients, halves, seconds=60) == [], "all is taken: what does not fit into memory goes to disk"
    wait_until(lambda: len(large_files(node)) > STALLED // 10, 30, "who stalls is pushed to disk")
    took = expect_served(node)
    print(f"{len(large_files(node))} files {time.monotonic() - began:.1f} s after the first octet; a normal one in {took:.3f} s")
    assert push(clients, [c[250 * 1024:] + b".\r\n" for c in contents]) == []
    replies = [c.reply() for c in clients]
    assert {r.code for r in replies} == {250}, {str(r) for r in replies if r.code != 250}
    for client in clients:
        client.close()
    away.start()
    wait_until(lambda: away.count >= STALLED, 120, "all are delivered")
    arrived = {m.test_id: m.content for m in away.messages()}
    assert len(arrived) == STALLED
    for i, content in enumerate(contents):
        assert below_our_received(arrived[i]) == content, f"message {i}"
    wait_until(lambda: not large_files(node), 20, "all the room is given back")
