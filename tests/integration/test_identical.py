# SPDX-License-Identifier: BSD-2-Clause
"""P7: a thousand messages of real shapes, from a real Postfix through relayd to a real Postfix, byte for byte."""
import random
import re

import pytest

from harness import QUICK, Client, Node, Postfix, wait_until

pytestmark = pytest.mark.skipif(bool(Postfix.missing()), reason="NEEDS POSTFIX AND ROOT: " + (Postfix.missing() or ""))

COUNT = 1000
MARK = b"X-Below-Here: %d\r\n"


def words(rnd, octets, line=76):
    lines = []
    while octets > 0:
        n = min(octets, line)
        lines.append(bytes(rnd.choices(b"abcdefghijklmnopqrstuvwxyz     ", k=n)))
        octets -= n + 2
    return b"\r\n".join(lines) + b"\r\n"


def plain(rnd):
    return b"Subject: plain\r\n\r\n" + words(rnd, rnd.randint(10, 4000))


def mime(rnd):
    edge = b"=_edge_%08x" % rnd.getrandbits(32)
    base64 = b"\r\n".join(bytes(rnd.choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef0123456789+/", k=76)) for _ in range(rnd.randint(1, 200)))
    return (b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"" + edge + b"\"\r\n\r\npreamble\r\n--" + edge +
            b"\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>=C3=A4=\r\n=\r\n</p>\r\n--" +
            edge + b"\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64 + b"\r\n--" + edge +
            b"--\r\nepilogue\r\n")


def eight_bit(rnd):
    allowed = bytes(b for b in range(1, 256) if b not in (10, 13))
    body = b"\r\n".join(bytes(rnd.choices(allowed, k=rnd.randint(0, 200))) for _ in range(rnd.randint(1, 50)))
    return b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body + b"\r\n"


def dots(rnd):
    lines = [rnd.choice([b".", b"..", b"...", b".x", b"..x", b". ", b"x.", b"", b".\t.", b"." * 70]) for _ in range(rnd.randint(1, 60))]
    return b"Subject: dots\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"


def long_lines(rnd):
    return b"Subject: long lines\r\n\r\n" + b"".join(bytes([rnd.randint(97, 122)]) * rnd.randint(900, 20000) + b"\r\n" for _ in range(rnd.randint(1, 5)))


def empty_body(rnd):
    return rnd.choice([b"Subject: nothing\r\n", b"Subject: nothing\r\n\r\n", b"Subject: nothing\r\n\r\n\r\n\r\n\r\n"])


def odd_header(rnd):
    return (b"Received: from a.example by b.example with SMTP id 1; Thu, 1 Jan 1970 00:00:00 +0000\r\nSubject:\r\n folded\r\n\t twice \r\n"
            b"X-Empty:\r\nX-8bit: \xc3\xa4\r\nDKIM-Signature: v=1; a=rsa-sha256;\r\n\tb=" + bytes(rnd.choices(b"ABCDEF+/=", k=300)) +
            b"\r\nsubject: again\r\n\r\ntrailing blanks   \r\n\t\r\n   \r\n")


SHAPES = [plain, mime, eight_bit, dots, long_lines, empty_body, odd_header]


def huge(rnd):
    return b"Subject: 19 MB\r\n\r\n" + (words(rnd, 65536) * 300)[:19 * 1000 * 1000 - 2] + b"\r\n"


def messages(count):
    rnd = random.Random(20261122)
    for n in range(count):
        shape = huge if n == count // 2 else SHAPES[n % len(SHAPES)]
        yield MARK % n + shape(rnd)


def test_P7_a_thousand_messages_of_real_shapes_arrive_byte_identical(world_of):
    keeper = world_of(Postfix(maildir=True, hostname="keeper.example"))
    node = world_of(Node())
    sender = world_of(Postfix(relay_to=f"{node.settings['listen'][0]}", hostname="sender.example",
                              settings={"default_destination_concurrency_limit": "10"}))
    node.add_customer("acme", "acme.example", keeper.endpoint)
    for limit in ("--max-connections-per-hour", "--max-messages-per-connection"):
        node.relayctl("customer", "set", "acme", limit, "none", check=False)
    count = COUNT // 5 if QUICK else COUNT
    sent = {}
    with Client(sender.port) as client:
        client.ehlo()
        for n, content in enumerate(messages(count)):
            sent[n] = content
            assert client.send(content).code == 250
    wait_until(lambda: keeper.delivered_count() >= count, 300, f"{count} messages are in the Maildir", pause=0.5)
    wait_until(lambda: sender.queue_length() == 0, 60, "nothing is left at the sender")
    arrived = {}
    for data in keeper.delivered():
        head, mark, below = data.partition(b"X-Below-Here: ")
        n = int(below.split(b"\n", 1)[0])
        assert n not in arrived, f"message {n} arrived twice"
        arrived[n] = (head, (mark + below).replace(b"\n", b"\r\n"))
    assert sorted(arrived) == list(range(count))
    for n, (head, content) in arrived.items():
        assert content == sent[n], f"message {n} ({SHAPES[n % len(SHAPES)].__name__}) has changed: {difference(sent[n], content)}"
        received = re.findall(rb"^Received: from \S+ .*?(?=^\S)", head + b"X:", re.M | re.S)
        assert len(received) == 3, f"message {n}: {head!r}"
        assert b"by keeper.example" in received[0] and b"by relay.example" in received[1] and b"by sender.example" in received[2]
    assert len(sent[count // 2]) >= 19 * 1000 * 1000


def difference(a, b):
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return f"at octet {at} of {len(a)} and {len(b)}: {a[at - 20:at + 20]!r} became {b[at - 20:at + 20]!r}"
