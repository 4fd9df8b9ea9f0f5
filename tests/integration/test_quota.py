# SPDX-License-Identifier: BSD-2-Clause
"""What may wait of a customer's mail ends at its quota; where the disk is short, the largest customer is refused first."""
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import DROP, IS_ROOT, Backend, Client, Node, make_message, node_on_small_disk, reference_in, wait_until


def message_of(size):
    return make_message(body=b"All work and no play makes Jack a dull boy.....\r\n" * (size // 50))


MESSAGE = message_of(20000)


@pytest.fixture(scope="module")
def node():
    node = Node(settings={"workers": 2, "probe-interval-min": "1s", "probe-interval-max": "1s", "message-retry-min": "1s",
                           "message-retry-max": "2s"})
    yield node
    node.close()


@pytest.fixture
def away(node, request):
    """A customer of its own whose server is away."""
    class Away:
        name = f"away{abs(hash(request.node.name)) % 100000}"
        domain = f"{name}.example"
        backend = Backend()

    node.add_customer(Away.name, Away.domain, Away.backend.endpoint, "--max-connections-per-hour", "none")
    Away.backend.stop()
    yield Away
    Away.backend.stop()
    Away.backend.script.clear()
    Away.backend.start()
    wait_until(lambda: not waiting(node, Away), 60, "what was kept is delivered")
    Away.backend.stop()


def waiting(node, away):
    return [m for m in node.spool() if m["customer"] == away.name]


def send(node, away, content=MESSAGE):
    return node.send(content, rcpts=f"user@{away.domain}")


def is_queued(reply):
    return reply.code == 250 and "queued" in reply.text


def rcpt(node, away, size=0):
    with Client(node.port) as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<sender@origin.example>{f' SIZE={size}' if size else ''}")
        return client.cmd(f"RCPT TO:<user@{away.domain}>")


def set_quota(node, away, *options):
    node.relayctl("customer", "set", away.name, *options)


def test_what_may_wait_of_a_customer_ends_at_its_quota(node, away):
    set_quota(node, away, "--max-spool-messages", "5")
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: send(node, away), range(40)))
    wait_until(lambda: rcpt(node, away).code == 450, 10, "the change is live")
    assert len(waiting(node, away)) >= 5
    reply = rcpt(node, away)
    assert (reply.code, reply.enhanced) == (450, "4.2.2") and reference_in(reply.text), reply
    assert {(r.code, r.enhanced) for r in replies if not is_queued(r)} <= {(450, "4.2.2"), (452, "4.3.1")}


def test_P9_never_more_than_the_quota(node, away):
    set_quota(node, away, "--max-spool-messages", "1")
    assert is_queued(send(node, away))
    wait_until(lambda: rcpt(node, away).code == 450, 10, "the change is live")
    set_quota(node, away, "--max-spool-messages", "7")
    wait_until(lambda: rcpt(node, away).code == 250, 10, "the change is live")
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: send(node, away), range(40)))
    assert sum(map(is_queued, replies)) <= 6 and all(r.code in (250, 450, 452) for r in replies), replies
    while is_queued(send(node, away)):
        pass
    assert len(waiting(node, away)) == 7
    # The keeper counts anew at its start.
    node.spoolmgr.stop()
    node.spoolmgr.start()
    wait_until(lambda: rcpt(node, away).code == 450, 10, "the quota is held")
    # What has been delivered is room again.
    away.backend.start()
    wait_until(lambda: not waiting(node, away), 30, "it is delivered")
    away.backend.stop()
    wait_until(lambda: is_queued(send(node, away)), 20, "kept again")


def test_octets_that_may_wait(node, away):
    set_quota(node, away, "--max-spool-size", "100KiB")
    assert is_queued(send(node, away, message_of(70000)))
    wait_until(lambda: rcpt(node, away, 40000).code == 450, 10, "the change is live")
    assert rcpt(node, away, 20000).code == 250, "for this one there is room"
    # A size that is not announced is seen when the message has come.
    reply = send(node, away, message_of(60000))
    assert (reply.code, reply.enhanced) == (452, "4.3.1") and reference_in(reply.text), reply
    assert len(waiting(node, away)) == 1


def test_a_message_that_has_come_is_452(node, away):
    """Its server took the recipient, and is gone at the dot."""
    set_quota(node, away, "--max-spool-messages", "1")
    assert is_queued(send(node, away))
    wait_until(lambda: rcpt(node, away).code == 450, 10, "the change is live")
    away.backend.script["rcpt"] = away.backend.script["mail"] = "451 4.7.1 later"  # the one that waits stays
    away.backend.start()
    wait_until(lambda: "4.7.1" in (rcpt(node, away).enhanced or ""), 20, "it is asked again")
    away.backend.script.clear()
    away.backend.script["data"] = DROP
    reply = send(node, away)
    assert (reply.code, reply.enhanced) == (452, "4.3.1") and reference_in(reply.text), reply
    away.backend.script.clear()


@pytest.fixture
def cramped(world_of):
    """A node whose spool has a file system of 640 MB."""
    return node_on_small_disk(world_of, "640m").start()


@pytest.mark.skipif(not IS_ROOT, reason="a small file system can be mounted by root alone")
def test_a_disk_that_is_short_refuses_the_largest_first(cramped):
    spool = cramped.dirs["spool-dir"]
    for name in ("large", "small"):
        backend = Backend()
        cramped.add_customer(name, f"{name}.example", backend.endpoint)
        backend.stop()
        for _ in range(10 if name == "large" else 1):
            assert is_queued(cramped.send(MESSAGE, rcpts=f"user@{name}.example"))
    filler = spool / "filler"
    disk = subprocess.run(["stat", "-f", "-c", "%a %S", spool], check=True, capture_output=True, text=True).stdout.split()
    available = int(disk[0]) * int(disk[1])
    subprocess.run(["fallocate", "-l", str(available - 30 * 1024 * 1024), filler], check=True)  # 30 of 64 MB short
    wait_until(lambda: cramped.spoolmgr.log_lines("disk-short"), 10, "an alarm")
    reply = cramped.send(MESSAGE, rcpts="user@large.example")
    assert (reply.code, reply.enhanced) == (450, "4.2.2"), reply
    assert is_queued(cramped.send(MESSAGE, rcpts="user@small.example"))
    filler.unlink()
    wait_until(lambda: is_queued(cramped.send(MESSAGE, rcpts="user@large.example")), 10, "there is room again")
    assert cramped.spoolmgr.log_lines("disk-short-over")
