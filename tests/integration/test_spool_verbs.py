# SPDX-License-Identifier: BSD-2-Clause
"""The changing verbs of relayctl spool (P2): what an operator orders is done once, by name and with the reason, by the keeper or without
one, with the database or without it. One node; pauses and probes are so far apart that nothing moves by itself. Each test has
senders of its own."""
import fcntl
import itertools
import json
import os
import socket
import subprocess

import pytest

from harness import ADDRESS, DROP, LOADGEN, Backend, Node, make_message, program, reference_in, wait_until

PATIENT = {"probe-interval-min": "10m", "probe-interval-max": "10m", "message-retry-min": "10m", "message-retry-max": "10m"}
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared():
    with Node(settings=PATIENT) as node:
        node.backends = {name: Backend().start() for name in ("acme", "beta")}
        for name, backend in node.backends.items():
            node.add_customer(name, f"{name}.example", backend.endpoint)
            node.relayctl("customer", "set", name, "--max-connections-per-hour", "none")
            backend.stop()
        yield node
        for backend in node.backends.values():
            backend.close()


@pytest.fixture
def node(shared):
    """The node with its daemons running and its backends down; what a test has left goes."""
    shared.sender = f"s{next(numbers)}@origin.example"
    yield shared
    if not shared.postgres.process.alive:
        shared.postgres.start()
    if not shared.spoolmgr.alive:
        shared.spoolmgr.start()
    for backend in shared.backends.values():
        backend.script.clear()
        backend.stop()


def spooled(node, customer="acme", count=1):
    """The references of messages that wait."""
    ids = []
    for _ in range(count):
        reply = node.send(make_message(test_id=next(numbers)), mail_from=node.sender, rcpts=f"user@{customer}.example")
        assert reply.code == 250 and "queued until" in reply.text, reply
        ids.append(reference_in(reply.text))
    wait_until(lambda: set(ids) <= {m["id"] for m in node.spool("--from", node.sender)}, 10, "they are in the spool")
    return ids if count > 1 else ids[0]


def verb(node, *args, code=0, **kwargs):
    """A changing verb: its JSON object, having checked the exit status."""
    done = node.relayctl("spool", *args, "--json", check=False, **kwargs)
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    done.json = json.loads(done.stdout) if done.stdout.strip() else None
    return done


def show(node, ref):
    return node.relayctl_json("spool", "show", ref)[0]


def notes(node, ref):
    return [(e["event"], e["operator"], e["text"]) for e in show(node, ref)["history"] if e.get("operator")]


def come_back(node, name="acme"):
    node.backends[name].start()


def delivered(node, ref, name="acme"):
    """Has the backend taken it, once?"""
    return [ref.encode() in m.content for m in node.backends[name].taken].count(True) == 1


def open_of(node, *args):
    done = node.relayctl("spool", "list", "--json", "--from", node.sender, *args, check=False)
    assert done.returncode in (0, 3), done
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


ME = "root" if os.getuid() == 0 else __import__("pwd").getpwuid(os.getuid()).pw_name


# --- hold, release, retry


def test_P2_a_held_message_stays_until_it_is_released(node):
    held, free = spooled(node, count=2)
    before = show(node, held)
    done = verb(node, "hold", held, "--reason", "ticket 4711").json
    assert (done["action"], done["messages"], done["already"], done["others"], done["operator"]) == ("held", 1, 0, [], ME)
    listed, = node.spool("--state", "held", "--from", node.sender)
    assert listed["id"] == held and listed["expires_at"] == before["expires_at"], "its clock goes on, and lists show both"
    after = show(node, held)
    assert (after["state"], after["hold_reason"], after["expires_at"]) == ("held", "ticket 4711", before["expires_at"])
    assert notes(node, held) == [("held", ME, "ticket 4711")]
    assert any(held in line and "ticket 4711" in line and f"operator={ME}" in line for line in node.spoolmgr.log_lines("held"))
    wait_until(lambda: node.postgres.sql("SELECT state FROM postern.spool_index WHERE ref = %s", held) == [("held",)], 10,
               "the index says it")
    come_back(node)
    assert verb(node, "retry", "--from", node.sender, code=4).json["others"] == [
        {"id": held, "result": "unfit", "why": "it is held: release it"}]
    wait_until(lambda: delivered(node, free), 20, "the other is delivered")
    assert open_of(node) == [held]
    assert verb(node, "hold", held, "--reason", "ticket 4711").json["already"] == 1
    assert verb(node, "release", held).json["messages"] == 1
    wait_until(lambda: delivered(node, held), 20, "it is delivered")
    wait_until(lambda: not open_of(node), 10, "it has ended")
    assert notes(node, held) == [("held", ME, "ticket 4711"), ("released", ME, None)]
    ended = verb(node, "hold", held, "--reason", "late", code=1).json["others"]
    assert ended == [{"id": held, "result": "ended", "why": "it has ended"}]


def test_P10_retry_asks_a_backend_that_is_down_once(node):
    spooled(node, count=3)
    backend = node.backends["acme"]
    before = len(node.spoolmgr.log_lines("deferred"))
    assert verb(node, "retry", "--customer", "acme", "--from", node.sender).json["messages"] == 3
    wait_until(lambda: len(node.spoolmgr.log_lines("deferred")) > before, 20, "one is tried")
    assert len(open_of(node)) == 3
    backend.start()
    wait_until(lambda: len(node.spoolmgr.log_lines("deferred")) == before + 1, 5)
    done = verb(node, "retry", "--backend", "acme/1", "--from", node.sender).json
    assert done["messages"] == 3 and not done["others"]
    wait_until(lambda: not open_of(node), 20, "all are delivered")
    assert len(node.spoolmgr.log_lines("deferred")) == before + 1


def test_P2_what_was_held_for_want_of_an_answer_goes_on(node):
    ref = spooled(node)
    backend = node.backends["acme"]
    backend.script["dot"] = DROP
    come_back(node)
    for n in range(1, 4):
        verb(node, "retry", ref)
        wait_until(lambda: show(node, ref)["attempts"] == n and show(node, ref)["state"] != "offered", 20, f"attempt {n} is recorded")
    shown = show(node, ref)
    assert (shown["state"], shown["hold_reason"]) == ("held", "takes it and does not answer")
    assert [e["event"] for e in shown["history"]].count("attempt") == 3
    backend.script.clear()
    before = len(backend.taken)
    verb(node, "release", ref)
    wait_until(lambda: len(backend.taken) == before + 1 and not open_of(node), 20, "it is delivered")


# --- Who is meant


@pytest.mark.parametrize("line,code,said", [
    ("hold --reason x", 2, "which messages"), ("release", 2, "--all"), ("retry --all --customer acme", 2, "contradict"),
    ("hold --all", 2, "--reason"), ("release --customer nobody", 3, "no message matches"),
    ("hold P001-4KX3T-0B7Q2CF --reason x", 3, "not in the spool"), ("retry hello", 2, "not an id"),
    ("hold --from x@y.example --reason " + "y" * 501, 2, "500"), ("release --backend acme", 2, "CUSTOMER/NUMBER"),
    ("release --backend nobody/1", 2, "no customer nobody"), ("release --state heldd", 2, "did you mean held"),
])
def test_a_wrong_order_changes_nothing_and_says_why(node, line, code, said):
    done = node.relayctl("spool", *line.split(), check=False)
    assert done.returncode == code and said in done.stderr, done


def test_ids_from_standard_input_and_all(node):
    first, second = spooled(node, count=2)
    absent = "P001-4KX3T-0B7Q2CF"
    done = verb(node, "hold", "-", "--reason", "from a file", input=f"see {first}\n{absent}\n", code=4).json
    assert done["messages"] == 1 and [o["id"] for o in done["others"]] == [absent] and done["others"][0]["result"] == "missing"
    verb(node, "release", "-", input="", code=3)
    dry = verb(node, "hold", "--all", "--reason", "dry", "--dry-run").json
    assert dry["dry_run"] is True and dry["messages"] >= 2 and dry["operator"] is None
    assert open_of(node, "--state", "held") == [first]
    done = verb(node, "hold", "--all", "--reason", "everything").json
    assert done["messages"] >= 2 and set(open_of(node, "--state", "held")) == {first, second}
    text = node.relayctl("spool", "release", "--all").stdout
    assert text.startswith("released ") and "messages" in text
    assert not open_of(node, "--state", "held")


# --- Who does it


def test_P2_without_a_keeper_relayctl_does_it_itself(node):
    ref = spooled(node)
    node.spoolmgr.stop()
    done = node.relayctl("spool", "hold", ref, "--reason", "no keeper")
    assert "no keeper is running" in done.stderr
    assert notes(node, ref) == [("held", ME, "no keeper")]
    assert show(node, ref)["state"] == "held"
    owner = node.dirs["spool-dir"].stat().st_uid
    assert {p.stat().st_uid for p in node.dirs["spool-dir"].iterdir()} == {owner}, "no file is root's"
    node.spoolmgr.start()
    come_back(node)
    verb(node, "retry", ref, code=1)
    assert show(node, ref)["state"] == "held"
    verb(node, "release", ref)
    verb(node, "retry", ref)
    wait_until(lambda: delivered(node, ref), 20, "it is delivered")


def test_an_owner_that_does_not_answer_is_tried_again_later(node):
    ref = spooled(node)
    node.spoolmgr.stop()
    with open(node.dirs["spool-dir"] / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = node.relayctl("spool", "hold", ref, "--reason", "x", check=False)
    assert done.returncode == 75 and "Try again" in done.stderr, done
    assert notes(node, ref) == []


def test_P5_orders_need_no_database(node):
    ref = spooled(node)
    node.postgres.kill()
    verb(node, "hold", ref, "--reason", "no database")
    verb(node, "release", ref)
    assert [n[0] for n in notes(node, ref)] == ["held", "released"]


def raw(node, line):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(node.dirs["run-dir"] / "spoolmgr.sock"))
        s.sendall(line.encode() + b"\n")
        return json.loads(s.makefile().readline())


@pytest.mark.parametrize("order", [
    {}, {"act": "hold"}, {"act": "hold", "ids": ["P001-4KX3T-0B7Q2CF"]}, {"act": "return", "ids": ["P001-4KX3T-0B7Q2CF"], "reason": "x"},
    {"act": "hold", "reason": "x", "ids": ["nonsense"]}, {"act": "hold", "reason": "x", "ids": []}, {"act": "hold", "reason": 5, "ids": [1]},
    {"act": "hold", "reason": "x" * 501, "ids": ["P001-4KX3T-0B7Q2CF"]}, {"act": "extend", "until_ms": -1, "ids": ["P001-4KX3T-0B7Q2CF"]},
])
def test_the_keeper_judges_what_it_is_asked(node, order):
    answer = raw(node, json.dumps(dict(order, verb="order")))
    assert answer["ok"] is False and answer["error"]
    assert raw(node, '{"verb":"status"}')["ok"] is True


def test_P8_thousands_at_once(node):
    """More than one part, by the keeper; nothing is lost on the way."""
    count = 2300
    subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", str(count), "--connections", "20",
                    "--per-connection", "40", "--from", node.sender, "--rcpt", "user@acme.example"], check=True, capture_output=True, timeout=120)
    wait_until(lambda: len(open_of(node)) == count, 30, "all are spooled")
    assert verb(node, "hold", "--from", node.sender, "--reason", "many").json["messages"] == count
    assert len(open_of(node, "--state", "held")) == count
    assert verb(node, "release", "--from", node.sender).json["messages"] == count
    come_back(node)
    verb(node, "retry", "--from", node.sender)
    wait_until(lambda: not open_of(node), 120, "all are delivered")
