# SPDX-License-Identifier: BSD-2-Clause
"""Domains for which we are the second MX: what a first contact hears while the primary is up, and that nobody is put off for a
primary that is down."""
import pytest

from harness import Backend, Client, Node, make_message, wait_until

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it

DELAY = 3  # seconds, of both
ELSEWHERE = "127.88.1.1"  # another network than that of a test's other clients


@pytest.fixture
def fallback(world_of, backend):
    node = world_of(Node(settings={"greylist-delay": f"{DELAY}s", "fallback-delay": f"{DELAY}s"}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    return node


def rcpt(node, *addresses, mail_from="sender@origin.example", source=None):
    with Client(node.port, source=source) as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{mail_from}>")
        replies = [client.cmd(f"RCPT TO:<{a}>") for a in addresses]
        client.cmd("QUIT")
        return [(r.code, r.enhanced) for r in replies]


def set_mode(node, primary_up):
    node.relayctl("domain", "set", "acme.example", "--mode", "fallback", "--primary-up", primary_up)
    (row,) = node.relayctl_json("domain", "show", "acme.example")
    assert (row["mode"], row["primary_up"]) == ("fallback", primary_up)
    assert "fallback" in node.relayctl("domain", "list").stdout


def wait_for(node, code):
    """The mode has reached the workers: strangers hear this."""
    seen = iter(range(10 ** 6))
    wait_until(lambda: all(rcpt(node, "probe@acme.example", mail_from=f"s{next(seen)}@origin.example")[0] == code
                           for _ in range(6)), 20, f"strangers hear {code}")


def check_first_contact(node, backend, first):
    wait_for(node, first)
    backend.transcript.clear()
    assert rcpt(node, "user@acme.example") == [first]
    assert rcpt(node, "user@acme.example") == [first], "too early"
    assert not [line for _, _, line in backend.transcript if line.startswith("RCPT")]
    wait_until(lambda: rcpt(node, "user@acme.example") == [(250, "2.1.5")], 3 * DELAY, "it passes behind the delay")
    assert rcpt(node, "other@acme.example", mail_from="other@origin.example") == [(250, "2.1.5")], "its network is known"
    assert rcpt(node, "user@acme.example", source=ELSEWHERE) == [first], "another network is not"
    assert node.send(make_message()).code == 250
    assert backend.taken[-1].rcpts == ["user@acme.example"]


def test_defer_puts_a_first_contact_off_while_the_primary_is_up(fallback, backend):
    set_mode(fallback, "defer")
    check_first_contact(fallback, backend, (450, "4.7.1"))


def test_strict_is_greylisting_while_the_primary_is_up(fallback, backend):
    set_mode(fallback, "strict")
    check_first_contact(fallback, backend, (451, "4.7.1"))


def test_with_the_backends_recipients_none_that_waits_is_delivered(fallback, backend):
    set_mode(fallback, "defer")
    wait_for(fallback, (450, "4.7.1"))
    rcpt(fallback, "user@acme.example")
    with Client(fallback.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<sender@origin.example>")
        assert client.cmd("RCPT TO:<new@acme.example>").code == 450
        wait_until(lambda: client.cmd("RCPT TO:<user@acme.example>").code == 250, 3 * DELAY, "it passes")
        assert client.cmd("DATA").code == 354
        assert client.content(make_message()).code == 250
    assert backend.taken[-1].rcpts == ["user@acme.example"]


@pytest.mark.parametrize("primary_up", ["strict", "defer"])
def test_nobody_is_put_off_for_a_primary_that_is_down(fallback, backend, primary_up):
    set_mode(fallback, primary_up)
    wait_for(fallback, (451 if primary_up == "strict" else 450, "4.7.1"))
    backend.stop()
    fallback.relayctl("node", "show")
    wait_until(lambda: rcpt(fallback, "new@acme.example", mail_from="n@origin.example") == [(250, "2.1.5")], 6,
               "an idle connection is no proof for longer than it lives")
    for n in range(3):
        assert rcpt(fallback, f"r{n}@acme.example", source=f"127.77.{n}.1") == [(250, "2.1.5")], "nor a stranger"
    reply = fallback.send(make_message())
    assert reply.code == 250 and "queued until" in reply.text
    fallback.postgres.stop()
    assert rcpt(fallback, "again@acme.example") == [(250, "2.1.5")], "P5"
    backend.start()
    wait_until(lambda: backend.taken, 60, "the message is delivered")
    wait_until(lambda: rcpt(fallback, "late@acme.example", source=ELSEWHERE)[0][0] // 100 == 4, 20,
               "the primary is up again")


def test_accept_is_as_the_first_mx(fallback, backend):
    set_mode(fallback, "defer")
    wait_for(fallback, (450, "4.7.1"))
    set_mode(fallback, "accept")
    wait_for(fallback, (250, "2.1.5"))


def test_a_node_that_knows_nothing_of_the_primary_asks(fallback, backend, world_of):
    second = Backend()
    fallback.relayctl("backend", "set", "acme/1", "--address", second.endpoint)
    set_mode(fallback, "strict")
    wait_until(lambda: rcpt(fallback, "user@acme.example") == [(250, "2.1.5")], 20, "taken for a primary that cannot be reached")


def test_the_memory_survives_a_restart(fallback, backend):
    set_mode(fallback, "defer")
    wait_for(fallback, (450, "4.7.1"))
    wait_until(lambda: rcpt(fallback, "user@acme.example") == [(250, "2.1.5")], 3 * DELAY, "it passes")
    fallback.relayd.stop()
    fallback.relayd.start()
    wait_until(lambda: len(fallback.relayd.log_lines("state-ready")) == 2, 20, "the memory is there again")
    wait_until(lambda: rcpt(fallback, "new@acme.example", source=ELSEWHERE) == [(450, "4.7.1")], 10, "a stranger waits")
    assert rcpt(fallback, "new@acme.example") == [(250, "2.1.5")], "who has passed is known"
