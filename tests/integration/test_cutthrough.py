# SPDX-License-Identifier: BSD-2-Clause
"""Between the sender and the customer's server: the connection that is not held in vain and the dialogue said again (DESIGN 4.5), mails
of which a part is the backend's and a part ours, and answers that come too late (section 5)."""
import os
import signal
import threading
import time

import pytest

from harness import DROP, Client, Delay, Node, make_message, reference_in, wait_until

SENDER = "sender@origin.example"
FINAL_S = 3


class Gate(Node):
    def __init__(self, backend, thinking_ms=None, **settings):
        super().__init__(settings={"workers": 1, "final-reply-timeout": f"{FINAL_S}s", **settings}, start=False)
        if thinking_ms:
            self.relayd.env["POSTERN_TEST_THINKING_MS"] = str(thinking_ms)
        self.start()
        self.backend = backend
        self.add_customer("acme", "acme.example", backend.endpoint)
        self.relayctl("customer", "set", "acme", "--max-connections-per-hour", "none")
        self.postgres.sql("UPDATE postern.customers SET live_4xx = 'keep'")
        for name in ("a", "b", "c", "late"):
            assert self.send(rcpts=f"{name}@acme.example").code == 250
        self.wait_until_probed()  # from now on they are known
        wait_until(lambda: self.kept("late"), 20, "live-4xx is set, and the recipients are known")
        backend.messages.clear()

    def kept(self, name):
        self.backend.script["rcpt"] = "450 4.2.0 not now"
        with Client(self.port) as client:
            client.ehlo()
            client.cmd(f"MAIL FROM:<{SENDER}>")
            code = client.cmd(f"RCPT TO:<{name}@acme.example>").code
        self.backend.script["rcpt"] = None
        return code == 250

    def open(self, *rcpts):
        client = Client(self.port)
        client.ehlo()
        assert client.cmd(f"MAIL FROM:<{SENDER}>").code == 250
        for rcpt in rcpts:
            reply = client.cmd(f"RCPT TO:<{rcpt}@acme.example>")
            assert reply.code == 250, f"{rcpt}: {reply}"
        return client

    def copies(self):
        """How often each recipient's mail was taken."""
        count = {}
        for message in self.backend.taken:
            for rcpt in message.rcpts:
                count[rcpt.partition("@")[0]] = count.get(rcpt.partition("@")[0], 0) + 1
        return count

    def drained(self, timeout=30):
        wait_until(lambda: not self.spool(), timeout, "nothing waits in the spool")


@pytest.fixture
def gate(world_of, backend):
    return world_of(Gate(backend))


@pytest.fixture
def hasty(world_of, backend):
    """Gives a backend its connection back when the sender has thought for two seconds, not five."""
    return world_of(Gate(backend, thinking_ms=2000))


def commands(backend, session=None):
    return [line.split()[0].upper() for s, who, line in backend.transcript if who == "C" and session in (None, s)]


def later(backend, *names):
    """These are deferred, the others taken."""
    backend.script["rcpt"] = lambda s, line: "450 4.2.0 not now" if any(f"<{n}@" in line for n in names) else None


def refuse(backend, *names, reply="550 5.1.1 gone"):
    backend.script["rcpt"] = lambda s, line: reply if any(f"<{n}@" in line for n in names) else None


# --- The connection is not held while the sender thinks.

def thinks(gate, client):
    """DATA, half of the content, and so long a pause that the backend has its connection back."""
    before = commands(gate.backend).count("RSET")
    assert client.cmd("DATA").code == 354
    client.write(b"Subject: slow\r\n\r\nfirst\r\n")
    wait_until(lambda: commands(gate.backend).count("RSET") > before, 15, "RSET")


def ends(client):
    client.write(b"second\r\n.\r\n")
    return client.reply()


def test_P1_who_thinks_for_long_does_not_hold_the_backend_and_is_delivered_live(hasty, backend):
    with hasty.open("a", "b") as client:
        thinks(hasty, client)
        reply = ends(client)
    assert reply.code == 250 and "queued" not in reply.text, str(reply)
    assert [m.rcpts for m in backend.taken] == [["a@acme.example", "b@acme.example"]]
    assert backend.taken[0].content.endswith(b"first\r\nsecond\r\n")
    hasty.drained(1)


def test_a_sender_who_thinks_between_recipients_is_asked_for_them_all_again(hasty, backend):
    with hasty.open("a") as client:
        wait_until(lambda: commands(backend).count("RSET") > 0, 15, "RSET")
        assert client.cmd("RCPT TO:<b@acme.example>").code == 250
        assert client.cmd("DATA").code == 354
        reply = client.content(make_message())
    assert reply.code == 250 and "queued" not in reply.text
    assert [m.rcpts for m in backend.taken] == [["a@acme.example", "b@acme.example"]]


@pytest.mark.parametrize("answer", ["450 4.2.0 later", "550 5.1.1 gone", "451 4.3.0 trouble"])
def test_P2_one_that_is_taken_back_at_the_replay_does_not_hold_up_the_others(hasty, backend, answer):
    with hasty.open("a", "b") as client:
        thinks(hasty, client)
        refuse(backend, "b", reply=answer)
        reply = ends(client)
        assert reply.code == 250, str(reply)
    assert backend.taken[0].rcpts == ["a@acme.example"]
    wait_until(lambda: "recipient-taken-back" in hasty.relayd.text(), 5, "it is logged")
    if answer.startswith("5"):  # a late refusal ends what is kept (P4)
        hasty.drained()
        assert hasty.copies() == {"a": 1}
    else:
        wait_until(hasty.spool, 5, "it is kept")
        backend.script["rcpt"] = None
        hasty.drained()
        assert hasty.copies() == {"a": 1, "b": 1}


@pytest.mark.parametrize("phase, answer, code", [("rcpt", "550 5.1.1 gone", 550), ("rcpt", "450 4.2.0 later", 450), ("mail", "550 5.7.1 no", 550),
                                                 ("mail", "451 4.7.1 greylisted", 451), ("data", "554 5.6.0 no", 554)])
def test_P1_when_nobody_is_taken_at_the_replay_the_sender_hears_it(hasty, backend, phase, answer, code):
    with hasty.open("a", "b") as client:
        thinks(hasty, client)
        backend.script[phase] = answer
        reply = ends(client)
        assert reply.code == code and reference_in(reply.text), str(reply)
        backend.script[phase] = None
        assert client.send(make_message(), rcpts="c@acme.example").code == 250
    assert hasty.copies() == {"c": 1} and not hasty.spool()


def test_a_connection_that_stood_too_long_is_replaced_at_the_replay(hasty, backend):
    with hasty.open("a") as client:
        thinks(hasty, client)
        backend.script["mail"] = ["421 4.4.2 idle for too long", None]
        reply = ends(client)
    assert reply.code == 250 and "queued" not in reply.text, str(reply)
    assert hasty.copies() == {"a": 1}
    hasty.drained(1)


def test_P1_a_backend_that_is_gone_at_the_replay_makes_all_of_it_ours(hasty, backend):
    with hasty.open("a", "b") as client:
        thinks(hasty, client)
        backend.stop()
        reply = ends(client)
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    backend.start()
    hasty.drained()
    assert hasty.copies() == {"a": 1, "b": 1}


@pytest.mark.parametrize("limit", [5])
def test_P8_dripping_senders_do_not_use_up_the_backends_connections(world_of, backend, limit):
    gate = world_of(Gate(backend, **{"backend-connections": limit, "workers": 2, "client-concurrency": 0, "final-reply-timeout": "60s"}))
    drippers = []
    threads = [threading.Thread(target=lambda: drippers.append(gate.open("a"))) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(drippers) == 200
    for client in drippers:
        assert client.cmd("DATA").code == 354
    for client in drippers:
        client.write(b"Subject: drip\r\n\r\n")
    slowest = 0
    for _ in range(10):
        began = time.monotonic()
        reply = gate.send(rcpts="b@acme.example")
        slowest = max(slowest, time.monotonic() - began)
        assert reply.code == 250 and "queued" not in reply.text, str(reply)
        for client in drippers[::7]:
            client.write(b"x")
    print(f"\nbeside 200 dripping senders a message took at most {slowest:.2f} s")
    assert slowest < 2
    for client in drippers:
        client.write(b"\r\n.\r\n")
    for client in drippers:
        reply = client.reply()
        assert reply.code == 250 and "queued" not in reply.text, str(reply)
        client.close()
    assert gate.copies() == {"a": 200, "b": 10} and not gate.spool()


# --- A part is the backend's, a part is ours.

def test_P1_what_is_live_goes_and_what_is_ours_follows(gate, backend):
    later(backend, "b")
    with gate.open("a", "b", "c") as client:
        client.cmd("DATA")
        reply = client.content(make_message())
        assert reply.code == 250 and "queued" not in reply.text, str(reply)
    assert [m.rcpts for m in backend.taken] == [["a@acme.example", "c@acme.example"]]
    wait_until(gate.spool, 5, "b waits")
    backend.script["rcpt"] = None
    gate.drained()
    assert gate.copies() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("answer, code", [("554 5.6.0 no such things", 554), ("451 4.7.1 greylisted", 451)])
def test_P1_what_the_backend_refuses_is_not_delivered_to_ours_either(gate, backend, answer, code):
    later(backend, "b")
    backend.script["dot"] = answer
    with gate.open("a", "b") as client:
        client.cmd("DATA")
        reply = client.content(make_message())
    assert reply.code == code, str(reply)
    backend.script.clear()
    gate.drained(10)
    assert gate.send(rcpts="c@acme.example").code == 250
    assert gate.copies() == {"c": 1}


def test_P1_a_backend_lost_before_the_dot_makes_all_of_it_ours(gate, backend):
    later(backend, "b")
    backend.script["data"] = "421 4.3.2 going down"
    with gate.open("a", "b") as client:
        client.cmd("DATA")
        reply = client.content(make_message())
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    backend.script.clear()
    gate.drained()
    assert gate.copies() == {"a": 1, "b": 1}


def test_P2_a_backend_lost_behind_the_dot_makes_all_of_it_ours_and_a_possible_duplicate(gate, backend):
    later(backend, "b")
    backend.script["dot"] = [DROP, None]
    with gate.open("a", "b") as client:
        client.cmd("DATA")
        reply = client.content(make_message())
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    assert reference_in(reply.text) in gate.possible_duplicates()
    backend.script["rcpt"] = None
    gate.drained()
    assert gate.copies() == {"a": 1, "b": 1}


def test_P1_a_sender_that_is_gone_before_the_dot_has_sent_nothing(gate, backend):
    later(backend, "b")
    client = gate.open("a", "b")
    client.cmd("DATA")
    client.write(b"Subject: half\r\n")
    client.close()
    backend.script.clear()
    assert gate.send(rcpts="c@acme.example").code == 250
    gate.drained(5)
    assert gate.copies() == {"c": 1}


def test_P2_a_worker_that_dies_between_the_dot_and_its_answer_leaves_what_is_ours(gate, backend):
    later(backend, "b")
    backend.script["dot"] = Delay(20)
    client = gate.open("a", "b")
    client.cmd("DATA")
    client.write(make_message() + b".\r\n")
    wait_until(lambda: backend.messages, 10, "the content is at the backend")
    os.kill(gate.relayd.workers()[0], signal.SIGKILL)
    client.close()
    backend.script.clear()
    gate.drained()
    assert gate.copies().get("b") == 1, "b was promised"


# --- Too late.

def test_P2_an_answer_behind_the_last_moment_ends_what_was_kept(gate, backend):
    backend.script["dot"] = Delay(FINAL_S + 5)
    with gate.open("a") as client:
        client.cmd("DATA")
        reply = client.content(make_message())
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    assert reference_in(reply.text) in gate.possible_duplicates()
    backend.script["dot"] = None
    wait_until(lambda: "heard=delivered" in gate.relayd.text(), 20, "the late answer")
    gate.drained(10)
    assert gate.copies() == {"a": 1}


def test_P4_a_late_refusal_ends_what_was_kept(gate, backend):
    backend.script["dot"] = Delay(FINAL_S + 3, "554 5.6.0 no")
    with gate.open("a") as client:
        client.cmd("DATA")
        assert "queued until" in client.content(make_message()).text
    backend.script["dot"] = None
    wait_until(lambda: "heard=refused" in gate.relayd.text(), 20, "the late answer")
    gate.drained(10)
    assert gate.copies() == {}


def test_P4_a_late_refusal_that_blames_us_ends_nothing(gate, backend):
    backend.script["dot"] = [Delay(FINAL_S + 3, "554 5.7.1 relay.example is listed"), None]
    with gate.open("a") as client:
        client.cmd("DATA")
        assert "queued until" in client.content(make_message()).text
    gate.drained()
    assert gate.copies() == {"a": 1} and gate.relayd.log_lines("backend-blames-us")


def test_P8_a_connection_that_owes_an_answer_does_not_make_a_dead_backend_live(gate, backend):
    backend.script["dot"] = Delay(FINAL_S + 30)
    with gate.open("a") as client:
        client.cmd("DATA")
        assert "queued until" in client.content(make_message()).text
    backend.stop_listening()
    backend.drop_connections(but=backend.messages[-1].session)
    with gate.open("b") as client:  # the connection that stands is no use to it
        client.cmd("DATA")
        assert "queued until" in client.content(make_message()).text
    assert gate.relayd.log_lines("backend-down")
    backend.stop()
    backend.script.clear()
    backend.start()
    gate.drained()
    assert gate.copies() == {"a": 1, "b": 1}


def test_P2_a_connection_that_ends_without_the_late_answer_lets_the_message_go(gate, backend):
    backend.script["dot"] = [Delay(FINAL_S + 3, DROP), None]
    with gate.open("a") as client:
        client.cmd("DATA")
        assert "queued until" in client.content(make_message()).text
    gate.drained()
    assert gate.copies() == {"a": 1}


def test_P2_late_answers_of_a_message_of_both_sides(gate, backend):
    later(backend, "b")
    backend.script["dot"] = [Delay(FINAL_S + 3), None]
    with gate.open("a", "b") as client:
        client.cmd("DATA")
        assert "queued until" in client.content(make_message()).text
    backend.script["rcpt"] = None
    gate.drained()
    assert gate.copies() == {"a": 1, "b": 1}


def test_the_time_at_the_dot_is_one_for_all_that_happens_there(gate, backend):
    """DATA and the dot each answered within the time, together not."""
    backend.script["data"], backend.script["dot"] = Delay(FINAL_S * 0.7), Delay(FINAL_S * 0.7)
    with gate.open("a") as client:
        client.cmd("DATA")
        began = time.monotonic()
        reply = client.content(make_message())
        assert time.monotonic() - began < FINAL_S + 0.5
    assert "queued until" in reply.text
    backend.script.clear()
    gate.drained()
    assert gate.copies() == {"a": 1}
