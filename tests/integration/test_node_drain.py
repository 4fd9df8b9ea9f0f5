# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl node drain`: a node is emptied before somebody works on it, and nobody's mail suffers (P1, P2)."""
import json
import signal
import socket

import pytest

from harness import Client, Node, make_message, wait_until

OWN_POSTGRES = True  # it is stopped


@pytest.fixture
def node(world_of, backend):
    node = world_of(Node(settings={"workers": 3}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    return node


def drain(node, *args, code=0, reason="new kernel"):
    done = node.relayctl("node", "drain", *(("--reason", reason) if reason else ()), "--yes", *args, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def clients(node):
    return json.loads(node.relayctl("status", "--json", check=False).stdout)["clients"]


def greeting(node):
    with socket.create_connection((node.settings["listen"][0].rpartition(":")[0], node.port), 5) as s:
        return s.makefile().readline()


def test_P1_P2_a_message_in_flight_is_answered_and_then_its_session_goes(node, backend):
    with Client(node.port) as c:
        c.ehlo()
        for command in ("MAIL FROM:<a@sender.example>", "RCPT TO:<user@acme.example>"):
            assert c.cmd(command).code == 250
        assert c.cmd("DATA").code == 354
        drain(node)
        wait_until(lambda: clients(node)["connections"] == 1, 5)
        c.socket.sendall(make_message().replace(b"\n.", b"\n..") + b".\r\n")
        assert c.reply().code == 250
        assert c.reply().code == 421
    assert len(backend.taken) == 1
    wait_until(lambda: clients(node)["connections"] == 0, 5)


def test_new_clients_hear_it_from_every_worker_and_idle_ones_go(node, backend):
    idle = [Client(node.port) for _ in range(12)]
    for c in idle:
        c.ehlo()
    drain(node)
    for _ in range(12):
        assert greeting(node).startswith("421 4.3.2")
    for c in idle:
        c.socket.settimeout(5)
        reply = c.reply()
        assert (reply.code, reply.text[:5]) == (421, "4.3.2")
        c.close()
    told = wait_until(lambda: clients(node)["connections"] == 0 and clients(node), 5)
    assert told["state"] == "draining" and told["draining_since_at"] and told["needs_operator"] is False
    text = node.relayctl("status").stdout
    assert "node drain --end" in " ".join(text.split())
    assert node.relayctl("status", "--nagios", check=False).stdout.startswith("POSTERN WARNING - clients draining")
    line, = node.relayd.log_lines("draining")
    assert 'reason="new kernel"' in line and " uid=" in line
    drain(node, "--end", reason=None)
    assert node.send(make_message()).code == 250
    assert clients(node)["state"] == "ok" and clients(node)["draining_since_at"] is None


def test_P2_what_waits_is_delivered_by_a_node_that_drains(node, backend):
    backend.stop()
    assert node.send(make_message()).code == 250
    drain(node)
    backend.start()
    wait_until(lambda: len(backend.taken) == 1, 30, "the spool is delivered")


def test_a_start_ends_it_and_a_reload_does_not(node):
    drain(node)
    before = node.relayd.workers()
    node.relayd.signal(signal.SIGHUP)
    wait_until(lambda: len(node.relayd.workers()) == 3 and not set(before) & set(node.relayd.workers()), 20, "the workers are new")
    assert greeting(node).startswith("421 4.3.2")
    node.relayd.stop()
    node.relayd.start()
    assert node.send(make_message()).code == 250
    assert clients(node)["state"] == "ok"


def rows_of_audit(node):
    return [(r["what"], r["name"], r["order"], r["reason"]) for r in node.relayctl_json("audit", "--what", "node", check=False)]


def test_it_is_in_the_audit_once_and_said_where_it_cannot_be(node):
    drain(node, "--dry-run")
    assert rows_of_audit(node) == []
    drain(node)
    drain(node, reason="it was already")
    drain(node, "--end", reason="the kernel is new")
    assert rows_of_audit(node) == [("node", "drain-end", {"act": "drain-end", "node": 1}, "the kernel is new"),
                                   ("node", "drain", {"act": "drain", "node": 1}, "new kernel")]
    assert "ordered node drain-end" in " ".join(node.relayctl("audit", "--what", "node").stdout.split())
    assert node.postgres.sql("SELECT DISTINCT who = session_user FROM postern.audit WHERE table_name = 'node'") == [(True,)]
    node.postgres.sql("CREATE OR REPLACE FUNCTION postern.audit_node_order(of_node integer, act text, reason text) RETURNS void"
                      " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING MESSAGE = ''; END $$")
    assert "relayd's log" in drain(node).stderr, "an error without a word is said, too"
    drain(node, "--end", reason=None)
    node.postgres.stop()
    done = drain(node, "--json")
    assert clients(node)["state"] == "draining"
    assert "audit" in done.stderr and "relayd's log" in done.stderr
    warning, = json.loads(done.stdout)["warnings"]
    assert "audit" in warning and "database is away" in warning
    assert len(node.relayd.log_lines("draining")) == 3


def test_what_is_asked_wrongly_or_in_vain(node):
    assert "--reason" in drain(node, reason=None, code=2).stderr
    assert "nothing to end" in drain(node, "--end", code=3).stderr
    assert "dry run" in drain(node, "--dry-run").stdout
    assert node.send(make_message()).code == 250
    assert json.loads(drain(node, "--json").stdout) == {"action": "drained", "what": "node", "name": "1", "dry_run": False, "warnings": []}
    drain(node)
    assert len(node.relayd.log_lines("draining")) == 1, "it was already"
    assert "dry run" in drain(node, "--end", "--dry-run").stdout
    assert clients(node)["state"] == "draining"
    node.postgres.stop()
    drain(node, "--end")
    node.postgres.start()
    node.relayd.stop()
    assert "relayd does not run here" in drain(node, code=1).stderr
