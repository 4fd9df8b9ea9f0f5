# SPDX-License-Identifier: BSD-2-Clause
"""P7: what is sent on and what is stored is what was sent, but for Authentication-Results fields that claim to be ours (RFC
8601 5). tests/unit/test_smtp_auth_results.c has their forms."""
import re

import pytest

from harness import Backend, Client, Node, below_our_received, make_message, wait_until

FORGED = b"Authentication-Results: (yes)\r\n\trelay.example 1;\r\n\tspf=pass smtp.mailfrom=bank.example\r\n"
OTHERS = (b"Authentication-Results: mx.other.example; spf=fail\r\nARC-Authentication-Results: i=1; relay.example; spf=pass\r\n"
          b"X-Folded: a\r\n Authentication-Results: relay.example; none\r\n")
BODY = b"\r\nAuthentication-Results: relay.example; none\r\n"
LIMIT = 100 * 1024


@pytest.fixture(scope="module")
def served():
    backend = Backend().start()
    node = Node()
    try:
        node.add_customer("acme", "acme.example", backend.endpoint, "--max-message-size", "2MiB")
        node.add_customer("tiny", "tiny.example", backend.endpoint, "--max-message-size", "100KiB")
        node.backend = backend
        yield node
    finally:
        try:
            node.close()
        finally:
            backend.close()


def messages():
    """What is sent, and what of it is to arrive."""
    plain = make_message() + BODY
    large = make_message(body=b"x" * 998 + b"\r\n") * 1500
    return [(plain, plain), (FORGED + plain, plain), (OTHERS + FORGED * 3 + plain, OTHERS + plain),
            (b"A: b\r\n" + FORGED + OTHERS + large, b"A: b\r\n" + OTHERS + large),
            (BODY[2:] + b"\r\n", b"\r\n"), (b"hello\r\n" + BODY, b"\r\nhello\r\n" + BODY)]


def send_in_pieces(node, content, size):
    """Each piece in a segment of its own."""
    with Client(node.port) as client:
        client.ehlo()
        for line, code in (("MAIL FROM:<a@origin.example>", 250), ("RCPT TO:<user@acme.example>", 250), ("DATA", 354)):
            assert client.cmd(line).code == code
        for at in range(0, len(content), size):
            client.write(content[at:at + size])
        client.write(b".\r\n")
        return client.reply()


def test_P7_live_only_fields_in_our_name_are_left_out(served):
    for sent, left in messages():
        before = len(served.backend.taken)
        reply = served.send(sent)
        assert reply.code == 250 and "queued" not in reply.text, str(reply)
        assert below_our_received(served.backend.taken[before].content) == left


def test_P7_however_they_are_cut(served):
    sent, left = messages()[2]
    for size in (1, 7, 100):
        before = len(served.backend.taken)
        assert send_in_pieces(served, sent, size).code == 250
        assert below_our_received(served.backend.taken[before].content) == left


def test_P7_the_same_octets_are_stored(served):
    before = len(served.backend.taken)
    served.backend.script["dot"] = "421 4.3.0 away"
    try:
        replies = [served.send(sent) for sent, _ in messages()]
        assert all(r.code == 250 and "queued until" in r.text for r in replies), [str(r) for r in replies]
        ref = re.search(r"\b[0-9a-zA-Z]+-[0-9a-zA-Z-]+", replies[2].text)
        assert ref, replies[2].text
        stored = served.relayctl("spool", "export", ref.group(0), "--reason", "a test").stdout.encode()
        assert below_our_received(stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) == messages()[2][1]
    finally:
        served.backend.script.clear()
    wait_until(lambda: len(served.backend.taken) == before + len(replies), 40, "what waited is delivered")
    arrived = sorted(below_our_received(m.content) for m in served.backend.taken[before:])
    assert arrived == sorted(left for _, left in messages())


def test_P9_the_limit_counts_what_was_sent(served):
    """Exactly so much is accepted, whatever of it is left out."""
    for size, code in ((LIMIT, 250), (LIMIT + 1, 552)):
        head = FORGED * 3 + make_message(body=b"")
        content = head + b"x" * 900 + b"\r\n"
        while len(content) + 902 <= size:
            content += b"x" * 900 + b"\r\n"
        content += b"y" * (size - len(content) - 2) + b"\r\n"
        assert len(content) == size
        assert served.send(content, rcpts=["user@tiny.example"]).code == code, size
