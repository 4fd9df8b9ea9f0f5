# SPDX-License-Identifier: BSD-2-Clause
"""A disk that is full closes only what needs it: mail that would have to be kept is put off, live mail goes on (P1)."""
import pytest

from harness import IS_ROOT, Backend, Client, make_message, node_on_small_disk, send_message, wait_until


@pytest.fixture
def cramped(world_of):
    """A node whose spool has a file system of 1 MB: no segment fits."""
    return node_on_small_disk(world_of, "1m").start()


@pytest.mark.skipif(not IS_ROOT, reason="a small file system can be mounted by root alone")
def test_P1_a_full_spool_closes_only_what_needs_it(cramped, backend, world_of):
    away = world_of(Backend())
    cramped.add_customer("acme", "acme.example", backend.endpoint)
    cramped.add_customer("away", "away.example", away.endpoint)
    away.stop()
    # At the dot: it could not be stored.
    reply = send_message(cramped.port, make_message(test_id=1), rcpts="user@away.example")
    assert (reply.code, reply.enhanced) == (452, "4.3.1"), reply
    # Now this is known: RCPT says so, where the mail would have to be kept.
    with Client(cramped.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<sender@origin.example>")
        reply = client.cmd("RCPT TO:<user@away.example>")
        assert (reply.code, reply.enhanced) == (451, "4.3.1"), reply
        assert client.cmd("RCPT TO:<user@acme.example>").code == 250
    reply = send_message(cramped.port, make_message(test_id=2))
    assert reply.code == 250 and "queued" not in reply.text
    # When its server is back nothing has to be kept.
    away.start()
    wait_until(lambda: send_message(cramped.port, make_message(test_id=3), rcpts="user@away.example").code == 250, 20,
               "live mail for the domain goes through")
