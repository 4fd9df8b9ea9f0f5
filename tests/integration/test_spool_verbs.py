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

from harness import ADDRESS, DROP, LOADGEN, QUICK, SILENT, Backend, Delay, Node, make_message, program, reference_in, wait_until
from postgres import Between

PATIENT = {"probe-interval-min": "10m", "probe-interval-max": "10m", "message-retry-min": "10m", "message-retry-max": "10m"}
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared():
    with Node(settings=PATIENT) as node:
        node.backends = {name: Backend().start() for name in ("acme", "beta", "beta/2")}
        for name in ("acme", "beta"):
            node.relayctl("customer", "add", name, "--max-connections-per-hour", "none")
            node.relayctl("backend", "add", node.backends[name].endpoint, "--customer", name)
        node.relayctl("backend", "add", node.backends["beta/2"].endpoint, "--customer", "beta", "--priority", 50)
        for name in ("acme", "beta"):
            node.relayctl("domain", "add", f"{name}.example", "--customer", name)
        wait_until(lambda: node.serves("acme.example") and node.serves("beta.example"), 20, "both are served")
        for backend in node.backends.values():
            backend.stop()
        yield node
        for backend in node.backends.values():
            backend.close()


@pytest.fixture
def node(shared):
    """The node with its daemons running and its backends down; what a test has left goes."""
    shared.sender = f"s{next(numbers)}@origin.example"
    yield shared
    database(shared, "true")
    if not shared.spoolmgr.alive:
        shared.spoolmgr.start()
    for backend in shared.backends.values():
        backend.script.clear()
        backend.stop()


def database(node, there):
    """Whether it takes connections; the others are ended."""
    name = node.postgres.name
    node.postgres.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {there}', database="postgres")
    if there == "false":
        node.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name, database="postgres")


def alone(node):
    """What other tests have left would be tried before."""
    assert node.relayctl("spool", "remove", "--all", "--reason", "left by a test", check=False).returncode in (0, 3)


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
    return [(e["event"], e["who"], e["text"]) for e in show(node, ref)["history"] if e.get("who")]


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
BY = "postern"  # whom the database's session belongs to: orders go through PostgreSQL while it is there


# --- hold, release, retry


def test_P2_a_held_message_stays_until_it_is_released(node):
    held, free = spooled(node, count=2)
    before = show(node, held)
    done = verb(node, "hold", held, "--reason", "ticket 4711").json
    assert (done["action"], done["messages"], done["ids"], done["already"], done["others"], done["who"]) == ("held", 1, [held], 0, [], BY)
    listed, = node.spool("--state", "held", "--from", node.sender)
    assert listed["id"] == held and listed["expires_at"] == before["expires_at"], "its clock goes on, and lists show both"
    after = show(node, held)
    assert (after["state"], after["held_reason"], after["expires_at"]) == ("held", "ticket 4711", before["expires_at"])
    assert after["remedy"] == f"to let it go: relayctl spool release {held}"
    assert notes(node, held) == [("held", BY, "ticket 4711")]
    assert any(held in line and "ticket 4711" in line and f"operator={BY}" in line for line in node.spoolmgr.log_lines("held"))
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
    assert notes(node, held) == [("held", BY, "ticket 4711"), ("released", BY, None)]
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
    alone(node)
    ref = spooled(node)
    backend = node.backends["acme"]
    backend.script["dot"] = DROP
    come_back(node)
    for n in range(1, 4):
        verb(node, "retry", ref)
        wait_until(lambda: show(node, ref)["attempts"] == n and show(node, ref)["state"] != "offered", 20, f"attempt {n} is recorded")
    shown = show(node, ref)
    assert (shown["state"], shown["held_reason"]) == ("held", "takes it and does not answer")
    assert [e["event"] for e in shown["history"]].count("attempt") == 3
    backend.script.clear()
    before = len(backend.taken)
    verb(node, "release", ref)
    wait_until(lambda: len(backend.taken) == before + 1 and not open_of(node), 20, "it is delivered")


# --- extend, redirect, remove


def test_extend_moves_the_deadline_and_never_back(node):
    ref = spooled(node)
    before = show(node, ref)["expires_at"]
    done = verb(node, "extend", ref, "--until", "+30d", "--reason", "new server").json
    assert (done["action"], done["messages"]) == ("extended", 1)
    after = show(node, ref)
    assert after["expires_at"] > before
    wait_until(lambda: node.postgres.sql("SELECT expires_at > now() + interval '29 days' FROM postern.spool_index WHERE ref = %s", ref)
               == [(True,)], 10, "the index says it")
    assert verb(node, "extend", ref, "--until", "+1d").json["already"] == 1
    assert show(node, ref)["expires_at"] == after["expires_at"]
    event, = [e for e in after["history"] if e["event"] == "extended"]
    assert event["detail"].startswith("until ") and event["text"] == "new server"


def test_a_redirected_message_goes_to_that_backend_alone(node):
    sent, usual = spooled(node, "beta", 2)
    others = spooled(node)
    done = verb(node, "redirect", sent, others, "--to", "beta/2", "--reason", "ticket 5", code=4).json
    assert done["messages"] == 1 and done["others"] == [{"id": others, "result": "unfit", "why": "it is another customer's"}]
    assert show(node, sent)["redirected_to"] == "beta/2" and show(node, usual)["redirected_to"] is None
    assert open_of(node, "--backend", "beta/1") == [usual]
    assert set(open_of(node, "--backend", "beta/2")) == {sent, usual}
    node.spoolmgr.stop()
    node.spoolmgr.start()
    for name in ("beta", "beta/2"):
        come_back(node, name)
    verb(node, "retry", sent, usual)
    wait_until(lambda: delivered(node, sent, "beta/2") and delivered(node, usual, "beta"), 20, "each is where it belongs")
    assert not delivered(node, sent, "beta") and not delivered(node, usual, "beta/2")


def test_a_redirection_ends(node):
    ref = spooled(node, "beta")
    verb(node, "redirect", ref, "--to", "beta/2", "--reason", "x")
    assert verb(node, "redirect", ref, "--to", "beta/2", "--reason", "x").json["already"] == 1
    verb(node, "redirect", ref, "--to", "none", "--reason", "y")
    assert show(node, ref)["redirected_to"] is None
    come_back(node, "beta")
    verb(node, "retry", ref)
    wait_until(lambda: delivered(node, ref, "beta"), 20, "it goes where all goes")


def test_a_redirected_message_whose_backend_is_gone_waits_and_says_so(node):
    node.relayctl("customer", "add", "gamma")
    for port in (1, 2):
        node.relayctl("backend", "add", f"{ADDRESS}:{port}", "--customer", "gamma")
    node.relayctl("domain", "add", "gamma.example", "--customer", "gamma")
    wait_until(lambda: node.serves("gamma.example"), 20, "it is served")
    sent, usual = spooled(node, "gamma", 2)
    verb(node, "redirect", sent, "--to", "gamma/2", "--reason", "x")
    node.relayctl("backend", "remove", "gamma/2", "--reason", "x", "--spool", "keep")
    wait_until(lambda: show(node, sent)["state"] == "no-route", 10, "relayctl says it")
    assert "spool redirect --to none" in show(node, sent)["remedy"] and show(node, usual)["state"] == "waiting"
    verb(node, "retry", sent, usual)
    wait_until(lambda: [line for line in node.spoolmgr.log_lines("no-route") if "redirected to is gone" in line], 10, "the keeper says it")
    wait_until(lambda: node.postgres.sql("SELECT state FROM postern.spool_index WHERE ref = %s", sent) == [("no-route",)], 10, "the index too")
    verb(node, "redirect", sent, "--to", "none", "--reason", "x")
    assert show(node, sent)["state"] == "waiting"
    verb(node, "remove", sent, usual, "--reason", "the end")


def test_P2_what_is_removed_leaves_who_and_why(node):
    gone, stays = spooled(node, count=2)
    assert "dry run" in node.relayctl("spool", "remove", gone, "--reason", "a worm", "--dry-run").stdout
    assert set(open_of(node)) == {gone, stays}
    assert node.relayctl("spool", "remove", gone, "--reason", "a worm").stdout == "removed 1 message\n"
    assert open_of(node) == [stays]
    shown = show(node, gone)
    assert shown["state"] == "ended" and shown["recipients"][0]["state"] == "removed"
    assert shown["recipients"][0]["reply"] == f"removed by {BY}: a worm"
    assert notes(node, gone) == [("removed", BY, "a worm")]
    wait_until(lambda: not node.postgres.sql("SELECT 1 FROM postern.spool_index WHERE ref = %s", gone), 10, "the index forgets it")
    line, = [line for line in node.spoolmgr.log_lines("removed") if gone in line]
    assert f"operator={BY}" in line and 'reason="a worm"' in line
    node.spoolmgr.stop()
    assert verb(node, "remove", stays, "--reason", "without a keeper").json["messages"] == 1
    node.spoolmgr.start()
    come_back(node)
    verb(node, "retry", gone, stays, code=1)
    assert not delivered(node, gone) and not delivered(node, stays)
    assert show(node, stays)["recipients"][0]["reply"].endswith("without a keeper")


def test_P2_what_is_being_delivered_is_not_removed(node):
    alone(node)
    ref, stuck = spooled(node, count=2)
    verb(node, "hold", stuck, "--reason", "its turn comes")
    backend = node.backends["acme"]
    backend.script["dot"] = Delay(3)
    come_back(node)
    verb(node, "retry", ref)
    wait_until(lambda: show(node, ref)["state"] == "offered", 20, "it is at the dot")
    done = verb(node, "remove", ref, "--reason", "too late", code=1).json
    assert done["others"] == [{"id": ref, "result": "ended", "why": "it has ended"}]
    assert show(node, ref)["recipients"][0]["state"] == "delivered"
    backend.script["dot"] = SILENT
    verb(node, "release", stuck)
    wait_until(lambda: show(node, stuck)["state"] == "offered", 20, "it is at the dot")
    done = verb(node, "remove", stuck, "--reason", "now", code=1).json
    assert done["others"] == [{"id": stuck, "result": "busy", "why": "it is being delivered just now"}]
    backend.stop()
    wait_until(lambda: show(node, stuck)["attempts"] == 1 and show(node, stuck)["state"] == "waiting", 20, "the attempt has ended")
    assert verb(node, "remove", stuck, "--reason", "now").json["messages"] == 1


# --- What is read is written down


def test_P7_export_writes_what_would_be_delivered(node, tmp_path):
    first, second = spooled(node, count=2)
    out = node.relayctl("spool", "export", first, "--reason", "audit")
    assert "X-Test-Id: " in out.stdout and out.stdout.startswith("Received: ") and first in out.stdout
    assert notes(node, first) == [("exported", ME, "audit")]
    done = node.relayctl("spool", "export", "--from", node.sender, "--reason", "x", check=False)
    assert done.returncode == 2 and "--to FOLDER" in done.stderr and not done.stdout
    assert notes(node, second) == [], "nothing was read"
    rows = node.relayctl_json("spool", "export", "--from", node.sender, "--to", tmp_path, "--reason", "handed over")
    assert {r["id"] for r in rows} == {first, second}
    for row in rows:
        content = (tmp_path / f"{row['id']}.eml").read_bytes()
        assert row["file"] == str(tmp_path / f"{row['id']}.eml") and row["size_bytes"] == len(content)
    (tmp_path / f"{first}.eml").write_text("mine")
    again = node.relayctl("spool", "export", first, "--to", tmp_path, "--reason", "x", check=False)
    assert again.returncode == 1 and "exists" in again.stderr and (tmp_path / f"{first}.eml").read_text() == "mine"
    wrong = node.relayctl("spool", "export", first, "--to", tmp_path / "nowhere", "--reason", "x", check=False)
    assert wrong.returncode == 1 and "folder" in wrong.stderr
    content = (tmp_path / f"{second}.eml").read_bytes()
    come_back(node)
    verb(node, "retry", "--from", node.sender)
    wait_until(lambda: delivered(node, second), 20, "it is delivered")
    assert [m.content for m in node.backends["acme"].taken if second.encode() in m.content] == [content]


def test_the_body_is_shown_only_with_a_reason_that_is_kept(node):
    reply = node.send(make_message(subject="secret \x1b[31m", body=b"the body\r\n"), mail_from=node.sender)
    ref = reference_in(reply.text)
    wait_until(lambda: open_of(node) == [ref], 10, "it is spooled")
    shown = show(node, ref)
    assert "Subject: secret" in shown["headers"] and "the body" not in shown["headers"] and shown["content"] is None
    assert [e["event"] for e in shown["history"]] == ["received"]
    text = node.relayctl("spool", "show", ref).stdout
    assert "Subject: secret \\x1b[31m" in text and "\x1b" not in text and "the body" not in text
    text = node.relayctl("spool", "show", ref, "--body", "--reason", "asked by the sender").stdout
    assert "the body" in text and "\x1b" not in text
    assert notes(node, ref) == [("viewed", ME, "asked by the sender")]
    assert "the body" in node.relayctl_json("spool", "show", ref, "--body", "--reason", "y")[0]["content"]
    node.spoolmgr.stop()
    with open(node.dirs["spool-dir"] / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = node.relayctl("spool", "show", ref, "--body", "--reason", "z", check=False)
    assert done.returncode == 75 and "the body" not in done.stdout, "nobody could write it down"


def test_summary_counts_by_customer_domain_and_backend(node):
    spooled(node, "acme", 2)
    spooled(node, "beta")
    verb(node, "hold", "--from", node.sender, "--customer", "beta", "--reason", "x")

    def summary(by):
        rows = node.relayctl_json("spool", "summary", "--by", by, "--from", node.sender)
        assert all(sum(r["ages"].values()) == r["ages"]["1h"] == r["messages"] for r in rows)
        assert all(r["first_expires_at"] and r["oldest_received_at"] and r["size_bytes"] for r in rows)
        return {r[by]: (r["messages"], r["held"]) for r in rows}

    assert summary("customer") == {"acme": (2, 0), "beta": (1, 1)}
    assert summary("domain") == {"acme.example": (2, 0), "beta.example": (1, 1)}
    assert summary("backend") == {"acme/1": (2, 0), "beta/1": (1, 1), "beta/2": (1, 1)}
    assert "2 <1h" in node.relayctl("spool", "summary", "--from", node.sender).stdout


# --- Who is meant


@pytest.mark.parametrize("line,code,said", [
    ("hold --reason x", 2, "which messages"), ("release", 2, "--all"), ("retry --all --customer acme", 2, "contradict"),
    ("hold --all", 2, "--reason"), ("release --customer nobody", 3, "no message matches"),
    ("hold P001-4KX3T-0B7Q2CF --reason x", 3, "not in the spool"), ("retry hello", 2, "not an id"),
    ("hold --from x@y.example --reason " + "y" * 501, 2, "500"), ("release --backend acme", 2, "CUSTOMER/NUMBER"),
    ("release --backend nobody/1", 2, "no customer nobody"), ("release --state heldd", 2, "did you mean held"),
    ("extend --all", 2, "--until"), ("extend --all --until -2d", 2, "no time"), ("extend --all --until 2020-01-01", 2, "future"),
    ("redirect --all --reason x", 2, "--to"), ("redirect --all --to acme/1", 2, "--reason"),
    ("redirect --all --reason x --to acme/9", 2, "no backend acme/9"), ("redirect --all --reason x --to acme", 2, "CUSTOMER/NUMBER"),
    ("remove --all", 2, "--reason"), ("export --all", 2, "--reason"), ("export --reason x", 2, "--all"),
    ("export --from x@y.example --reason x", 3, "no message matches"), ("show P001-4KX3T-0B7Q2CF --body", 2, "--reason"),
    ("summary --by month", 2, "customer, domain or backend"),
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
    assert dry["dry_run"] is True and dry["messages"] >= 2 and dry["who"] is None
    assert open_of(node, "--state", "held") == [first]
    done = verb(node, "hold", "--all", "--reason", "everything").json
    assert done["messages"] >= 2 and set(open_of(node, "--state", "held")) == {first, second}
    text = node.relayctl("spool", "release", "--all").stdout
    assert text.startswith("released ") and "messages" in text
    assert not open_of(node, "--state", "held")


def test_on_a_terminal_a_removal_is_asked_for(node):
    ref = spooled(node)

    def remove(answer, *options):
        """Its standard input is a terminal."""
        ours, theirs = os.openpty()
        os.write(ours, answer)
        try:
            return subprocess.run([program("admin/relayctl"), "-c", str(node.config_file), "spool", "remove", ref, "--reason", "x", *options],
                                  stdin=theirs, capture_output=True, text=True, timeout=60, env=dict(os.environ, **node.env))
        finally:
            os.close(ours)
            os.close(theirs)

    no = remove(b"no\n")
    assert no.returncode == 1 and "Remove 1 message? [yes/no]" in no.stderr and "nothing is changed" in no.stderr
    assert open_of(node) == [ref] and notes(node, ref) == []
    assert remove(b"yes\n").stdout == "removed 1 message\n" and not open_of(node)
    ref = spooled(node)
    yes = remove(b"", "--yes")
    assert yes.returncode == 0 and "[yes/no]" not in yes.stderr


# --- Who does it


def audited(node, ref):
    return node.postgres.sql("SELECT who, operation, reason, new_row ->> 'act', new_row ->> 'detail' FROM postern.audit WHERE table_name = 'spool'"
                             " AND new_row -> 'refs' ? %s ORDER BY id", ref)


def test_P2_the_database_audits_orders_also_those_that_it_did_not_see(node):
    lost_before = len(node.spoolmgr.log_lines("audit-not-copied"))
    ref = spooled(node)
    verb(node, "extend", ref, "--until", "2199-01-01", "--reason", "first")
    wait_until(lambda: audited(node, ref) == [(BY, "update", "first", "extend", "until 2199-01-01 00:00")], 10, "it is in the audit")
    database(node, "false")
    verb(node, "hold", ref, "--reason", "second")
    verb(node, "hold", ref, "--reason", "second")
    node.relayctl("spool", "show", ref, "--body", "--reason", "third")
    database(node, "true")
    wait_until(lambda: audited(node, ref)[1:] == [(ME, "update", "second", "hold", None), (ME, "update", "third", "view", None)], 20,
               "the others come when it is back")
    node.spoolmgr.stop()
    verb(node, "remove", ref, "--reason", "fourth")
    assert audited(node, ref)[3:] == [(ME, "delete", "fourth", "remove", None)]
    node.spoolmgr.start()
    database(node, "false")
    gone = spooled(node)
    verb(node, "remove", gone, "--reason", "fifth")
    node.spoolmgr.stop()
    line, = node.spoolmgr.log_lines("audit-not-copied")[lost_before:]
    assert "act=remove" in line and "messages=1" in line and f'operator="{ME}"' in line
    database(node, "true")
    assert audited(node, gone) == []


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


def test_P2_a_database_that_goes_away_in_the_middle_is_told_in_one_line(node):
    """However far its audit had come, relayctl has done what it was asked to."""
    ref = spooled(node)
    node.spoolmgr.stop()
    between, direct = Between(node.postgres), node.settings["database"]
    node.write_config(database=between.conninfo(node.postgres.name))
    try:
        for cut in range(10):
            between.let(cut)
            done = node.relayctl("spool", "hold" if cut % 2 == 0 else "release", ref, "--reason", f"cut {cut}")
            told = [line for line in done.stderr.splitlines() if "no keeper is running" not in line]
            if not between.has_cut:
                break
            assert len(told) == 1 and "the audit in PostgreSQL does not have it, the spool's ledger does: " in told[0], told
            assert " connection " in told[0] and "This probably means" not in told[0], told
        assert cut >= 3 and told == [] and [reason for _, _, reason, *_ in audited(node, ref)][-1] == f"cut {cut}"
    finally:
        node.write_config(database=direct)
        between.close()


def test_an_owner_that_does_not_answer_is_tried_again_later(node):
    ref = spooled(node)
    node.spoolmgr.stop()
    with open(node.dirs["spool-dir"] / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = node.relayctl("spool", "hold", ref, "--reason", "x", check=False)
    assert done.returncode == 75 and "Try again" in done.stderr, done
    assert notes(node, ref) == []


def test_P2_an_order_whose_keeper_dies_is_not_said_to_be_done(node):
    """It waits for a message that is being delivered when the keeper is killed; the other has been removed, and that may be lost. Over
    the control socket: a command in PostgreSQL outlives the keeper (test_spool_commands.py)."""
    alone(node)
    stuck, free = spooled(node, count=2)
    verb(node, "hold", free, "--reason", "out of the way")
    node.backends["acme"].script["dot"] = SILENT
    come_back(node)
    verb(node, "retry", stuck)
    wait_until(lambda: show(node, stuck)["state"] == "offered", 20, "it is at the dot")
    database(node, "false")
    relayctl = subprocess.Popen([program("admin/relayctl"), "-c", str(node.config_file), "spool", "remove", stuck, free, "--reason", "x"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **node.env))
    wait_until(lambda: show(node, free)["state"] == "ended", 20, "the other is removed")
    node.spoolmgr.kill_all()
    out, said = relayctl.communicate(timeout=60)
    assert relayctl.returncode == 75 and not out and "not known" in said, (out, said)
    node.backends["acme"].stop()
    node.spoolmgr.start()
    assert open_of(node) == [stuck] and node.possible_duplicates() >= {stuck}
    assert verb(node, "remove", stuck, free, "--reason", "again", code=4).json["ids"] == [stuck]


def test_P5_orders_need_no_database(node):
    ref = spooled(node)
    database(node, "false")
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
    {}, {"act": "hold"}, {"act": "hold", "ids": ["P001-4KX3T-0B7Q2CF"]}, {"act": "resend", "ids": ["P001-4KX3T-0B7Q2CF"], "reason": "x"},
    {"act": "hold", "reason": "x", "ids": ["nonsense"]}, {"act": "hold", "reason": "x", "ids": []}, {"act": "hold", "reason": 5, "ids": [1]},
    {"act": "hold", "reason": "x" * 501, "ids": ["P001-4KX3T-0B7Q2CF"]}, {"act": "extend", "until_ms": -1, "ids": ["P001-4KX3T-0B7Q2CF"]},
])
def test_the_keeper_judges_what_it_is_asked(node, order):
    answer = raw(node, json.dumps(dict(order, verb="order")))
    assert answer["ok"] is False and answer["error"]
    assert raw(node, '{"verb":"status"}')["ok"] is True


def test_P8_thousands_at_once(node):
    """More than one part, by the keeper; nothing is lost on the way."""
    count = 2300 if QUICK else 20000
    subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", str(count), "--connections", "20",
                    "--per-connection", "40", "--from", node.sender, "--rcpt", "user@acme.example"], check=True, capture_output=True, timeout=120)
    wait_until(lambda: len(open_of(node)) == count, 30, "all are spooled")
    assert verb(node, "hold", "--from", node.sender, "--reason", "many").json["messages"] == count
    assert len(open_of(node, "--state", "held")) == count
    assert verb(node, "remove", "--from", node.sender, "--reason", "many").json["messages"] == count
    assert not open_of(node)
