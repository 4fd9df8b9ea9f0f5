# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl scan canary`: a marked message through our own listener, and what becomes of it."""
import json

import pytest

from harness import Node

OWN_POSTGRES = True  # it is stopped


@pytest.fixture
def node(world_of, backend):
    node = world_of(Node(settings={"workers": 1, "postmaster": "postmaster@relay.example"}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    return node


def canary(node, *args, code=0):
    done = node.relayctl("scan", "canary", *args, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def told(node, *args, code=0):
    return json.loads(canary(node, "--json", *args, code=code).stdout)


def test_it_reaches_the_customers_server_and_each_step_is_told(node, backend):
    said = told(node, "--rcpt", "user@acme.example")
    assert said["outcome"] == "delivered" and said["recipient"] == "user@acme.example" and said["from"] == "postmaster@relay.example"
    assert [s["step"] for s in said["steps"]] == ["mail", "rcpt", "data", "content"]
    assert said["listener"] == node.settings["listen"][0] and said["reply"] == said["steps"][-1]["reply"]
    message, = backend.taken
    assert f"X-Postern-Canary: {said['canary']}\r\n".encode() in message.content
    assert said["id"] and said["id"].encode() in message.content
    text = canary(node, "--rcpt", "user@acme.example").stdout
    assert "delivered after" in text and text.startswith("STEP")
    node.postgres.stop()
    assert told(node, "--rcpt", "user@acme.example")["outcome"] == "delivered", "P5"
    node.postgres.start()


def test_while_the_server_is_away_it_is_spooled(node, backend):
    backend.stop()
    said = told(node, "--rcpt", "user@acme.example", code=4)
    assert said["outcome"] == "spooled" and "queued until" in said["reply"] and said["id"]
    backend.start()


def test_a_refusal_and_a_silence_are_told(node):
    done = canary(node, "--domain", "other.example", code=1)
    assert "refused after" in done.stdout and "postmaster@other.example" in done.stderr and "550 5.7.1" in done.stderr
    assert told(node, "--domain", "other.example", code=1)["outcome"] == "refused"
    node.relayctl("node", "drain", "--reason", "a test", "--yes")
    assert told(node, "--rcpt", "user@acme.example", code=1)["reply"].startswith("421 4.3.2")
    node.relayd.stop()
    said = told(node, "--rcpt", "user@acme.example", code=1)
    assert said["outcome"] == "unanswered" and said["steps"] == [] and "refused" in said["reply"]


def held(node):
    return [row["held"] for row in node.relayctl_json("backend", "list")]


OUTAGE = ("--rcpt", "user@acme.example", "--outage", "--reason", "a drill")


def test_P2_through_an_outage_into_the_spool_and_out_again(node, backend):
    said = told(node, *OUTAGE)
    assert (said["outcome"], said["end"]) == ("spooled", "delivered") and "queued until" in said["reply"] and said["end_ms"] > 0
    message, = backend.taken
    assert said["id"].encode() in message.content and held(node) == [False]
    rows = node.relayctl_json("audit", "--what", "backends", "--limit", "2")
    assert [row["reason"] for row in rows] == ["a drill"] * 2
    assert "delivered" in canary(node, *OUTAGE).stdout.splitlines()[-1]


def test_an_outage_that_goes_wrong_is_told_and_leaves_no_server_held(node, backend):
    node.relayctl("block", "add", "127.0.0.0/8", "--customer", "acme", "--reason", "x")
    node.wait_until_replicated()
    assert "was not taken: 550 5.7.1" in canary(node, *OUTAGE, code=1).stderr and held(node) == [False]
    assert told(node, *OUTAGE, code=1)["end"] is None
    node.relayctl("backend", "hold", "acme/1", "--reason", "disks")
    assert "all are held" in canary(node, *OUTAGE, code=1).stderr and held(node) == [True], "the hold of others stays"
    assert "did you mean acme.example?" in canary(node, "--rcpt", "a@acme.exmaple", *OUTAGE[2:], code=3).stderr
    assert "--reason" in canary(node, *OUTAGE[:3], code=2).stderr
    node.postgres.stop()
    canary(node, *OUTAGE, code=75)


@pytest.mark.parametrize("args", [(), ("--rcpt", "a@acme.example", "--domain", "acme.example"), ("--rcpt", "nobody"), ("--domain", "a b")])
def test_what_is_asked_wrongly(node, args):
    assert "--rcpt" in canary(node, *args, code=2).stderr or "--domain" in canary(node, *args, code=2).stderr
