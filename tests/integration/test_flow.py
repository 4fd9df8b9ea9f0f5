# SPDX-License-Identifier: BSD-2-Clause
"""The way of a message: passed through, spooled, retried, refused."""
import re

import pytest

from harness import DROP, Backend, Client, Delay, below_our_received, make_message, our_received, reference_in, wait_until

LONG = 60  # seconds that a retry may take with the test clocks


def spooled(reply):
    return reply.code == 250 and "queued until" in reply.text


def test_P7_passes_through_byte_identical_with_one_line_on_top(acme, backend):
    content = (b"From: a@b.example\r\nSubject: bytes\r\n\r\n.\r\n..\r\n.dot\r\n\xe4\xf6\xfc\r\n" + b"x" * 990 + b"\r\n\r\n\r\nend\r\n")
    reply = acme.send(content)
    assert reply.code == 250 and "queued" not in reply.text
    (message,) = backend.taken
    assert below_our_received(message.content) == content
    received = our_received(message.content).decode()
    assert re.match(r"Received: from \S+", received) and " by relay.example" in received.replace("\r\n\t", " ")
    assert reference_in(received) == reference_in(reply.text)
    assert (message.mail_from, message.rcpts) == ("sender@origin.example", ["user@acme.example"])
    assert acme.spool() == []


# A body without a header gets one empty line between our Received line and itself, or its lines would become header lines.
ODD = [("empty", b"", b""), ("empty-line", b"\r\n", b""), ("dots-between", b"\r\n.\r\n\r\n.\r\n", b""),
       ("no-header", b"no header\r\n", b"\r\n"), ("dot", b".\r\n", b"\r\n"), ("two-dots", b"..\r\n", b"\r\n"),
       ("colon-later", b"a b: c\r\n", b"\r\n")]


@pytest.mark.parametrize("content, between", [o[1:] for o in ODD], ids=[o[0] for o in ODD])
def test_P7_odd_content_passes_as_it_is(acme, backend, content, between):
    assert acme.send(content).code == 250
    assert below_our_received(backend.taken[-1].content) == between + content


def test_P7_the_null_sender_and_several_recipients(acme, backend):
    assert acme.send(make_message(), mail_from="", rcpts=[f"r{n}@acme.example" for n in range(50)]).code == 250
    assert backend.taken[0].mail_from == "" and len(backend.taken[0].rcpts) == 50


def test_several_messages_on_a_connection(acme, backend):
    with Client(acme.port) as client:
        client.ehlo()
        for n in range(20):
            assert client.send(make_message(test_id=n)).code == 250
        assert client.cmd("QUIT").code == 221
    assert len(backend.taken) == 20
    assert len({reference_in(our_received(m.content)) for m in backend.taken}) == 20


def test_pipelining_answers_in_order(acme, backend):
    with Client(acme.port) as client:
        assert "PIPELINING" in client.ehlo().text
        client.write("MAIL FROM:<a@origin.example>\r\nRCPT TO:<b@acme.example>\r\nRCPT TO:<c@other.example>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(4)] == [250, 250, 550, 354]
        assert client.content(make_message()).code == 250
    assert backend.taken[0].rcpts == ["b@acme.example"]


def test_P3_P6_an_unknown_domain_is_refused_and_says_so(acme, backend):
    reply = acme.send(rcpts="user@unknown.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert reference_in(reply.text), "no reference in a refusal"
    assert backend.messages == []


@pytest.mark.parametrize("rcpt", ["user%other.example@acme.example", "user!x@acme.example", "@acme.example:user@other.example",
                                  "user@other.example@acme.example"])
def test_P3_relay_forms_are_refused(acme, backend, rcpt):
    with Client(acme.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@origin.example>")
        reply = client.cmd(f"RCPT TO:<{rcpt}>")
        if rcpt.startswith("@") and reply.code == 250:  # a source route is ignored, not followed (RFC 5321 appendix C)
            pytest.fail("a source route to a foreign domain was accepted")
        assert reply.code // 100 == 5
    assert backend.messages == []


def test_P1_backend_away_means_spooled_and_back_means_delivered(acme, backend):
    backend.stop()
    content = make_message(test_id=1)
    reply = acme.send(content)
    assert spooled(reply), str(reply)
    (row,) = acme.spool()
    assert reference_in(reply.text) in str(row)
    assert "acme" in acme.relayctl("spool", "list").stdout
    assert acme.relayctl("spool", "show", reference_in(reply.text)).stdout
    backend.start()
    wait_until(lambda: backend.taken, LONG, "the message is delivered")
    assert below_our_received(backend.taken[0].content) == content
    wait_until(lambda: not [r for r in acme.spool() if r.get("state") not in ("delivered", "ended")], LONG, "the spool is empty")
    assert len(backend.taken) == 1


def test_P1_a_domain_without_backend_is_spooled_until_it_has_one(node, world_of):
    node.add_customer("acme", "acme.example")
    reply = node.send()
    assert spooled(reply) or reply.code // 100 == 4, str(reply)
    if spooled(reply):
        late = world_of(Backend())
        node.relayctl("backend", "add", late.endpoint, "--customer", "acme")
        wait_until(lambda: late.taken, LONG, "the message is delivered to the late backend")


def test_P2_the_order_is_oldest_first_and_all_arrive(acme, backend):
    backend.stop()
    for n in range(30):
        assert spooled(acme.send(make_message(test_id=n)))
    backend.start()
    wait_until(lambda: len(backend.taken) >= 30, LONG, "all thirty are delivered")
    ids = [int(re.search(rb"X-Test-Id: (\d+)", m.content).group(1)) for m in backend.taken]
    assert sorted(ids) == list(range(30))
    assert sum(ids[:10]) < sum(ids[-10:]), f"not oldest first: {ids}"


# name, script, code, enhanced; None: not compared
REPLIES = [
    ("user-unknown", {"rcpt": "550 5.1.1 no such user"}, 550, "5.1.1"),
    ("later-at-rcpt", {"rcpt": "450 4.2.1 mailbox busy"}, 450, "4.2.1"),
    ("452-at-rcpt-becomes-450", {"rcpt": "452 4.2.2 mailbox full"}, 450, "4.2.2"),
    ("refused-at-the-dot", {"dot": "554 5.6.0 not this one"}, 554, "5.6.0"),
    ("later-at-the-dot", {"dot": "451 4.7.1 greylisted"}, 451, "4.7.1"),
    ("sender-refused", {"mail": "550 5.1.8 bad sender"}, 550, "5.1.8"),
    ("refused-at-data", {"data": "554 5.5.1 no"}, 554, "5.5.1"),
]


@pytest.mark.parametrize("script, code, enhanced", [r[1:] for r in REPLIES], ids=[r[0] for r in REPLIES])
def test_P6_the_backends_reply_is_the_senders(acme, backend, script, code, enhanced):
    backend.script.update(script)
    reply = acme.send()
    assert (reply.code, reply.enhanced) == (code, enhanced), str(reply)
    assert reference_in(reply.text), "no reference"
    assert "backend.example" not in reply.text
    assert not backend.taken and acme.spool() == []


# What counts as "away": the message is ours, with 250.
AWAY = [
    ("421-banner", {"banner": "421 4.3.2 closing"}),
    ("554-banner", {"banner": "554 5.0.0 go away"}),
    ("drop-at-banner", {"banner": DROP}),
    ("drop-at-ehlo", {"ehlo": DROP}),
    ("drop-at-mail", {"mail": DROP}),
    ("drop-at-rcpt", {"rcpt": DROP}),
    ("drop-at-data", {"data": DROP}),
    ("421-at-mail", {"mail": "421 4.3.0 down"}),
    ("421-at-dot", {"dot": "421 4.3.0 down"}),
    ("4.3.1-at-dot", {"dot": "452 4.3.1 disk full"}),
]


@pytest.mark.parametrize("script", [a[1] for a in AWAY], ids=[a[0] for a in AWAY])
def test_P1_a_backend_that_cannot_take_it_means_spooled(acme, backend, script):
    backend.script.update(script)
    backend.drop_connections()  # a banner is said on a fresh connection only
    content = make_message(test_id=5)
    reply = acme.send(content)
    assert spooled(reply), str(reply)
    backend.script.clear()
    wait_until(lambda: backend.taken, LONG, "delivered once the backend behaves")
    assert below_our_received(backend.taken[0].content) == content
    wait_until(lambda: not acme.spool(), LONG, "nothing waits any more")
    assert len(backend.taken) == 1


def test_P2_lost_after_the_dot_is_kept_and_said_to_be_possibly_a_duplicate(acme, backend):
    backend.script["dot"] = [DROP, None]
    reply = acme.send(make_message(test_id=9))
    assert spooled(reply), str(reply)
    wait_until(lambda: backend.taken, LONG, "delivered once more")
    reference = reference_in(our_received(backend.messages[0].content))
    assert reference in acme.possible_duplicates()


def test_a_slow_final_reply_is_waited_for(acme, backend):
    backend.script["dot"] = Delay(2.0)
    reply = acme.send()
    assert reply.code == 250 and "queued" not in reply.text
    assert len(backend.taken) == 1


def test_P10_a_silent_backend_costs_its_timeout_and_not_the_mail(node, backend):
    node.write_config(backend_command_timeout="2s")
    node.relayd.stop()
    node.relayd.start()
    node.add_customer("acme", "acme.example")
    backend.script["ehlo"] = "SILENT"
    node.relayctl("backend", "add", backend.endpoint, "--customer", "acme")
    assert wait_until(lambda: spooled(node.send()), 30, "spooled")
    backend.script.clear()
    wait_until(lambda: backend.taken, LONG, "delivered")


def test_a_change_in_the_registry_is_live_within_a_second(acme, backend, world_of):
    import time
    acme.relayctl("domain", "add", "second.example", "--customer", "acme")
    began = time.monotonic()
    wait_until(lambda: acme.serves("second.example"), 5, "the new domain is served")
    assert time.monotonic() - began < 2.0, "a change must be live within a second"
    assert acme.send(rcpts="user@second.example").code == 250
    acme.relayctl("domain", "remove", "second.example", "--yes", "--reason", "test", check=False)
    wait_until(lambda: acme.send(rcpts="user@second.example").code == 550, 5, "the removed domain is refused at once")


def test_P7_smuggling_line_ends_never_make_two_messages(acme, backend):
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r"):
        with Client(acme.port) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<a@origin.example>")
            client.cmd("RCPT TO:<user@acme.example>")
            assert client.cmd("DATA").code == 354
            client.write(b"Subject: one\r\n\r\nfirst" + end + b"MAIL FROM:<evil@origin.example>\r\nRCPT TO:<user@acme.example>\r\n"
                         b"DATA\r\nSubject: two\r\n\r\nsecond\r\n.\r\n")
            assert client.reply().code // 100 == 5, f"{end!r} was accepted"
    assert backend.taken == []


def test_P9_a_message_of_exactly_20_MiB_is_taken_and_one_octet_more_is_not(acme, backend):
    limit = 20 * 1024 * 1024
    head = make_message()
    line = b"x" * 1022 + b"\r\n"
    rest = limit - len(head)
    body = line * (rest // 1024 - 1)
    body += b"y" * (limit - len(head) - len(body) - 2) + b"\r\n"
    assert len(head + body) == limit
    assert acme.send(head + body).code == 250
    assert len(below_our_received(backend.taken[-1].content)) == limit
    reply = acme.send(head + b"z" + body)
    assert (reply.code, reply.enhanced) == (552, "5.3.4")
    with Client(acme.port) as client:
        client.ehlo()
        assert client.cmd(f"MAIL FROM:<a@origin.example> SIZE={limit + 1}").code == 552
