# SPDX-License-Identifier: BSD-2-Clause
"""Orders to the spool through PostgreSQL (P2, P5): given with the operator's own database role, taken by the keeper of the node that
has the messages, done once, audited under that role; without PostgreSQL or without the keeper they take another way, and never two.
Two nodes of one database; nothing moves by itself. Each test has senders of its own."""
import contextlib
import grp
import itertools
import json
import os
import signal
import socket
import subprocess

import pytest

from harness import ADDRESS, LOADGEN, QUICK, SILENT, Backend, Node, make_message, program, reference_in, wait_until, write_config

PATIENT = {"probe-interval-min": "10m", "probe-interval-max": "10m", "message-retry-min": "10m", "message-retry-max": "10m", "workers": 1}
STAFF = grp.getgrnam("games").gr_gid  # any group that nobody of ours is in
numbers = itertools.count(1)


class Desk:
    """relayctl as an operator runs it: with a configuration of his own, here or on a machine without a spool."""

    def __init__(self, node, role, elsewhere=False):
        self.node, self.role = node, role
        self.file = node.folder / f"{role}{'-away' if elsewhere else ''}.conf"
        settings = dict(node.settings, database=node.postgres.conninfo().replace("user=postern", f"user={role}"))
        if elsewhere:
            settings.update({name: f"/nowhere/{name}" for name in ("spool-dir", "run-dir", "state-dir", "log-dir")}, node=99)
        write_config(self.file, settings)

    def argv(self, *args):
        return [program("admin/relayctl"), "-c", str(self.file), *map(str, args)]

    def __call__(self, *args, code=0, **kwargs):
        done = subprocess.run(self.argv(*args), capture_output=True, text=True, timeout=60, env=dict(os.environ, **self.node.env), **kwargs)
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *args, **kwargs):
        return json.loads(self("spool", *args, "--json", **kwargs).stdout)

    def begin(self, *args):
        return subprocess.Popen(self.argv("spool", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=dict(os.environ, **self.node.env))


@pytest.fixture(scope="module")
def pair():
    with Node(settings=dict(PATIENT, **({"control-group": "games"} if os.getuid() == 0 else {})), start=False) as first, contextlib.closing(Backend().start()) as backend:
        first.spoolmgr.env["POSTERN_TEST_RELAYCTL"] = program("admin/relayctl")
        first.start()
        first.postgres.sql("CREATE ROLE olaf LOGIN IN ROLE postern_operator; CREATE ROLE nina LOGIN IN ROLE postern_operator;"
                           " CREATE ROLE susi LOGIN IN ROLE postern_support; CREATE ROLE kees LOGIN IN ROLE postern_relay, postern_spool")
        first.add_customer("acme", "acme.example", backend.endpoint)
        first.postgres.sql("UPDATE postern.customers SET max_connections_per_hour = NULL, max_messages_per_connection = NULL")
        first.backend = backend
        least = first.postgres.conninfo().replace("user=postern", "user=kees")  # the rights that the daemons need, and no other
        with Node(settings=dict(PATIENT, node=2, database=least), postgres=first.postgres) as second:
            wait_until(lambda: first.serves("acme.example") and second.serves("acme.example"), 20, "both serve it")
            backend.stop()
            first.second = second
            yield first
        first.postgres.sql("DROP ROLE olaf, nina, susi, kees")


@pytest.fixture
def node(pair):
    pair.sender = f"s{next(numbers)}@origin.example"
    yield pair
    database(pair, "true")
    for one in (pair, pair.second):
        if one.spoolmgr.alive:
            one.spoolmgr.signal(signal.SIGCONT)
        else:
            one.spoolmgr.start()
        follows(one)
    pair.backend.script.clear()
    pair.backend.stop()


def database(node, there):
    name = node.postgres.name
    node.postgres.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {there}', database="postgres")
    if there == "false":
        node.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name, database="postgres")


def follows(node):
    """Its keeper is linked to PostgreSQL, and has said so there."""
    wait_until(lambda: node.postgres.sql("SELECT 1 FROM postern.spool_nodes WHERE node = %s AND seen_at > now() - interval '8 s'",
                                         node.settings.get("node", 1)), 20, "the keeper is seen in the database")


def spooled(node, count=1, sender=None):
    ids = []
    for _ in range(count):
        reply = node.send(make_message(test_id=next(numbers)), mail_from=sender or node.sender, rcpts="user@acme.example")
        assert reply.code == 250 and "queued until" in reply.text, reply
        ids.append(reference_in(reply.text))
    wait_until(lambda: set(ids) <= {m["id"] for m in node.spool()}, 10, "they are in the spool")
    return ids if count > 1 else ids[0]


def alone(node):
    """What other tests have left would be tried before."""
    assert node.relayctl("spool", "remove", "--all", "--reason", "left by a test", check=False).returncode in (0, 3)


def show(node, ref):
    return node.relayctl_json("spool", "show", ref)[0]


def notes(node, ref):
    return [(e["event"], e["who"], e["text"]) for e in show(node, ref)["history"] if e.get("who")]


def audited(node, ref):
    return node.postgres.sql("SELECT who, operation, reason, new_row ->> 'act' FROM postern.audit WHERE table_name = 'spool'"
                             " AND new_row -> 'refs' ? %s ORDER BY id", ref)


def outcomes(node, ref):
    return [o for o, in node.postgres.sql("SELECT new_row ->> 'outcome' FROM postern.audit WHERE table_name = 'spool' AND new_row -> 'refs' ? %s", ref)]


def commands(node, ref):
    return node.postgres.sql("SELECT who, act, state FROM postern.spool_commands WHERE %s = ANY (refs) ORDER BY id", ref)


ME = "root" if os.getuid() == 0 else __import__("pwd").getpwuid(os.getuid()).pw_name


# --- Each act


def test_P2_each_act_is_done_and_audited_under_the_operators_role(node):
    olaf = Desk(node, "olaf")
    ref, back = spooled(node, 2)
    for act, args, event in [
            ("hold", ["--reason", "ticket 7"], "held"), ("release", ["--reason", "over"], "released"), ("retry", [], "retried"),
            ("extend", ["--until", "2199-01-01", "--reason", "new server"], "extended"),
            ("redirect", ["--to", "acme/1", "--reason", "by hand"], "redirected"), ("remove", ["--reason", "a worm"], "removed")]:
        done = olaf.json(act, ref, *args)
        assert (done["action"], done["ids"], done["who"], done["way"], done["nodes"]) == (event, [ref], "olaf", "database", [1])
    done = olaf.json("return", back, "--reason", "gone away")
    assert done["ids"] == [back] and show(node, back)["recipients"][0]["state"] == "returned"
    said = [("held", "olaf", "ticket 7"), ("released", "olaf", "over"), ("retried", "olaf", None), ("extended", "olaf", "new server"),
            ("redirected", "olaf", "by hand"), ("removed", "olaf", "a worm")]
    assert notes(node, ref) == said
    assert audited(node, ref) == [("olaf", "delete" if text == "a worm" else "update", text, act) for (_, _, text), act in
                                  zip(said, ["hold", "release", "retry", "extend", "redirect", "remove"])]
    assert audited(node, back) == [("olaf", "update", "gone away", "return")]
    assert {c[2] for c in commands(node, ref)} == {"done"}
    assert any(ref in line and "operator=olaf" in line for line in node.spoolmgr.log_lines("removed"))


def test_P2_nobody_signs_with_another_name(node):
    """The name, the time and the answer are the database's to fill in."""
    ref = spooled(node)
    sql = node.postgres.sql
    sql(f"SET SESSION AUTHORIZATION nina; INSERT INTO postern.spool_commands (node, act, reason, refs) VALUES (1, 'hold', 'by hand', '{{{ref}}}')")
    wait_until(lambda: commands(node, ref) == [("nina", "hold", "done")], 10, "it is carried out")
    assert notes(node, ref) == [("held", "nina", "by hand")]
    for role, statement in [
            ("nina", "INSERT INTO postern.spool_commands (node, act, who, refs) VALUES (1, 'retry', 'olaf', '{x}')"),
            ("nina", "INSERT INTO postern.spool_commands (node, act, state, refs) VALUES (1, 'retry', 'done', '{x}')"),
            ("nina", "UPDATE postern.spool_commands SET who = 'olaf'"), ("nina", "DELETE FROM postern.spool_commands"),
            ("nina", "SELECT postern.spool_command_answer(1, 1, '{}')"), ("nina", "SELECT postern.spool_commands_take(1, '{}', 9, true)"),
            ("susi", "INSERT INTO postern.spool_commands (node, act, refs) VALUES (1, 'hold', '{x}')"),
            ("susi", "UPDATE postern.spool_commands SET act = 'retry'"),
            ("postern_spool", "INSERT INTO postern.spool_commands (node, act, refs) VALUES (1, 'retry', '{x}')"),
            ("postern_relay", "SELECT * FROM postern.spool_commands")]:
        set_it = "SET SESSION AUTHORIZATION" if role in ("nina", "susi") else "SET ROLE"
        with pytest.raises(Exception, match="permission denied"):
            sql(f"{set_it} {role}; {statement}")
    # the owner of the schema may write any column, and is signed all the same
    sql("INSERT INTO postern.spool_commands (node, act, who, state, result, refs) VALUES (77, 'retry', 'olaf', 'done', '{}', '{x}')")
    assert sql("SELECT who, state, result FROM postern.spool_commands WHERE node = 77") == [("postern", "waiting", None)]
    sql("DELETE FROM postern.spool_commands WHERE node = 77")


def test_a_role_without_rights_is_told_so_and_nothing_is_done(node):
    ref = spooled(node)
    said = Desk(node, "susi")("spool", "hold", ref, "--reason", "x", code=1).stderr
    assert "postern_operator" in said and "permission denied" in said, said
    assert notes(node, ref) == []


def test_support_staff_have_messages_tried_and_nothing_else(node):
    ref = spooled(node)
    susi = Desk(node, "susi")
    tried = susi.json("retry", ref)
    assert tried["ids"] == [ref] and tried["who"] == "susi" and tried["way"] == "database"
    assert ("susi", "update", None, "retry") in audited(node, ref)
    for verb in ("hold", "release", "extend", "redirect", "return", "remove"):
        more = {"extend": ["--until", "+9d"], "redirect": ["--to", "none"]}.get(verb, [])
        assert "postern_support may order nothing but a retry" in susi("spool", verb, ref, "--reason", "x", *more, code=1).stderr, verb
    assert show(node, ref)["state"] == "waiting"


def test_support_staff_read_content_with_a_reason_that_is_in_the_audit(node):
    ref = spooled(node)
    susi = Desk(node, "susi")
    for verb in (("show", ref, "--body"), ("export", ref)):
        assert "needs --reason" in susi("spool", *verb, code=2).stderr
    assert notes(node, ref) == []
    assert "Subject" in susi("spool", "export", ref, "--reason", "ticket 4711").stdout
    assert [n[0::2] for n in notes(node, ref)] == [("exported", "ticket 4711")], "before it was read"
    wait_until(lambda: [a[2:] for a in audited(node, ref)] == [("ticket 4711", "export")], 20, "it is in the audit")


def test_P2_commands_taken_together_are_carried_out_as_they_were_given(node):
    ref = spooled(node)
    node.postgres.sql("INSERT INTO postern.spool_commands (node, act, reason, refs) VALUES (1, 'hold', 'first', ARRAY[%s]),"
                      " (1, 'release', 'second', ARRAY[%s])", ref, ref)
    wait_until(lambda: [c[2] for c in commands(node, ref)] == ["done", "done"], 10, "both are carried out")
    assert [n[0] for n in notes(node, ref)] == ["held", "released"] and show(node, ref)["state"] == "waiting"


# --- Other nodes


def test_an_id_says_whose_it_is(node):
    here, there = spooled(node), spooled(node.second, sender=node.sender)
    olaf = Desk(node, "olaf")
    assert olaf("spool", "hold", there, "--reason", "from afar").stdout == "held 1 message on node 2, as olaf\n"
    assert notes(node.second, there) == [("held", "olaf", "from afar")] and audited(node, there) == [("olaf", "update", "from afar", "hold")]
    done = olaf.json("hold", here, there, "--reason", "both")
    assert set(done["ids"]) == {here, there} and set(done["nodes"]) == {1, 2}
    away = Desk(node, "nina", elsewhere=True)
    done = away.json("release", here, there)
    assert set(done["ids"]) == {here, there} and done["who"] == "nina"
    wait_until(lambda: node.postgres.sql("SELECT 1 FROM postern.spool_index WHERE ref = %s", there), 10, "the index has it")
    assert away.json("hold", "--node", "2", "--from", node.sender, "--reason", "by the index")["ids"] == [there]
    assert show(node, here)["state"] == "waiting" and show(node.second, there)["state"] == "held"
    away.json("remove", there, "--reason", "the end")


def test_nonsense_is_refused_with_a_sentence(node):
    olaf, away = Desk(node, "olaf"), Desk(node, "olaf", elsewhere=True)
    absent = "P002-4KX3T-0B7Q2CF"
    assert "not in the spool" in olaf("spool", "hold", absent, "--reason", "x", code=3).stderr
    said = olaf("spool", "hold", "P077-4KX3T-0B7Q2CF", "--reason", "x", code=3).stderr
    assert "no keeper of a node" in said and "1, 2" in said, said
    assert "is not an id" in away("spool", "retry", "hello", code=2).stderr
    assert "--node" in away("spool", "retry", absent, "--node", "all", code=2).stderr
    assert "does not know it" in away("spool", "retry", "--node", "2", "--state", "ended", code=2).stderr
    answers = []
    for act, refs in (("hold", "{nonsense}"), ("hold", f"{{{absent}}}"), ("redirect", f"{{{absent}}}")):
        number, = node.postgres.sql("INSERT INTO postern.spool_commands (node, act, backend, refs) VALUES (1, %s, 7, %s) RETURNING id", act, refs)[0]
        answers.append(wait_until(lambda: node.postgres.sql("SELECT result FROM postern.spool_commands WHERE id = %s AND state = 'done'", number),
                                  10, "it is answered")[0][0])
    assert all(a["ok"] is False and a["error"] for a in answers), answers
    for wrong in ("(1, 'view', '{x}')", "(0, 'retry', '{x}')", "(1, 'retry', '{}')"):
        with pytest.raises(Exception, match="check constraint"):
            node.postgres.sql(f"INSERT INTO postern.spool_commands (node, act, refs) VALUES {wrong}")
    for column, value in (("until", "infinity"), ("until", "-infinity"), ("reason", "é" * 251), ("detail", "x" * 501)):
        with pytest.raises(Exception, match="check constraint"):
            node.postgres.sql(f"INSERT INTO postern.spool_commands (node, act, {column}, refs) VALUES (1, 'extend', %s, '{{x}}')", value)


# --- Who can not read a spool


def settled(node):
    """The index has all that the tests so far have spooled, and both keepers say so."""
    for one in (node, node.second):
        listed = {m["id"]: m["state"] for m in one.spool()}
        wait_until(lambda: dict(node.postgres.sql("SELECT ref, state FROM postern.spool_index WHERE node = %s", one.settings.get("node", 1)))
                   == listed, 10, "the index agrees")


def test_P5_staff_elsewhere_look_into_the_index(node):
    here, there = spooled(node), spooled(node.second, sender=node.sender)
    Desk(node, "olaf").json("hold", there, "--reason", "x")
    settled(node)
    susi = Desk(node, "susi", elsewhere=True)

    def rows(done):
        return {row["id"]: row for row in map(json.loads, done.stdout.splitlines())}

    done = susi("spool", "list", "--from", node.sender, "--json")
    assert {r["id"]: (r["node"], r["state"]) for r in rows(done).values()} == {here: (1, "waiting"), there: (2, "held")}
    assert "index" in done.stderr and "node 1 as of" in done.stderr and "node 2 as of" in done.stderr, done.stderr
    own, = node.spool("--from", node.sender)
    seen = rows(done)[here]
    assert {name: seen[name] for name in own} == own and seen["updated_at"], "the same columns say the same"
    for selector in ([there, "--state", "held"],
                     ["--rcpt", "USER@acme.example", "--node", "2", "--newer", "1h", "--domain", "acme.example", "--customer", "acme"],
                     [there, "--rcpt", "@ACME.example"], [there, "--rcpt", "<user@acme.example>"]):
        assert set(rows(susi("spool", "list", *selector, "--from", node.sender, "--json"))) == {there}, selector
    assert not susi("spool", "list", "--older", "1h", "--domain", ".acme.example", "--from", node.sender, code=3).stdout
    at = node.sender[node.sender.index("@"):].upper()
    assert set(rows(susi("spool", "list", there, "--from", at, "--json"))) == {there}
    assert not susi("spool", "list", there, "--from", "@" + at[2:], code=3).stdout
    shown = json.loads(susi("spool", "show", there, "--json").stdout)
    assert (shown["id"], shown["node"], shown["recipients"][0]["address"], shown["state"]) == (there, 2, "user@acme.example", "held")
    for by in ("customer", "domain"):
        assert json.loads(susi("spool", "summary", "--by", by, "--node", "1", "--json", "--from", node.sender).stdout) \
            == node.relayctl_json("spool", "summary", "--by", by, "--from", node.sender)[0]
    for wrong, said in ((["summary", "--by", "backend"], "does not know"), (["show", here, "--body", "--reason", "x"], "content lies")):
        assert said in susi("spool", *wrong, code=2).stderr, wrong
    assert "never been seen" in susi("spool", "list", "--node", "77", code=3).stderr
    assert "--node" in Desk(node, "olaf", elsewhere=True)("spool", "hold", "--all", "--reason", "x", code=2).stderr, "which spool?"
    assert "node 2" in Desk(node, "olaf")("spool", "export", there, "--node", "2", "--reason", "x", code=2).stderr
    database(node, "false")
    assert "away" in susi("spool", "list", code=75).stderr


STRANGER = ["setpriv", "--reuid", "54321", "--regid", "54321"]


def asked_by_hand(node, args):
    """The keeper's answer to a reader's request that no relayctl would make: the status's octet, and what was written."""
    ours, theirs = os.pipe()
    with socket.socket(socket.AF_UNIX) as s, os.fdopen(ours, "rb") as out:
        s.settimeout(20)
        s.connect(str(node.dirs["run-dir"] / "spoolmgr-read.sock"))
        socket.send_fds(s, [b"{"], [0, theirs, theirs])
        s.sendall(json.dumps({"args": args}).encode()[1:] + b"\0")
        os.close(theirs)
        octet = s.recv(1)
        return octet, out.read()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_staff_read_through_the_keeper(node):
    """A member of control-group, whose the files are not: shown what the spool itself has, content under his own name, and no files written."""
    ref, other = spooled(node, 2)
    desk = Desk(node, "susi")
    desk.file.chmod(0o644)

    def staff(*args, code=0, groups=("--groups", str(STAFF)), **kwargs):
        done = subprocess.run(STRANGER + [*groups] + desk.argv("spool", *args), capture_output=True, text=True, timeout=60,
                              env=dict(os.environ, **node.env), **kwargs)
        assert done.returncode == code, done
        return done

    assert staff("list", "--from", node.sender, "--json").stdout == node.relayctl("spool", "list", "--from", node.sender, "--json").stdout
    assert staff("summary", "--by", "backend", "--json").stdout == node.relayctl("spool", "summary", "--by", "backend", "--json").stdout
    assert json.loads(staff("show", ref, "--json").stdout)["headers"] == show(node, ref)["headers"]
    assert {json.loads(line)["id"] for line in staff("list", "-", "--json", input=f"{ref}\n{other}\n").stdout.splitlines()} == {ref, other}
    assert "--reason" in staff("show", ref, "--body", code=2).stderr
    assert "Hello" in staff("show", ref, "--body", "--reason", "asked by the sender").stdout
    assert staff("export", ref, "--reason", "a copy").stdout.startswith("Received: ")
    assert notes(node, ref) == [("viewed", "uid 54321", "asked by the sender"), ("exported", "uid 54321", "a copy")]
    wait_until(lambda: audited(node, ref) == [("uid 54321", "update", "asked by the sender", "view"), ("uid 54321", "update", "a copy", "export")],
               10, "the database has it too")
    assert "writes no files" in staff("export", ref, "--to", "/tmp", "--reason", "x", code=2).stderr
    there = spooled(node.second, sender=node.sender)
    settled(node)
    for args in (["list"], ["summary"], ["show", "--", there]):  # who asks by hand is not shown what the keeper may see
        octet, said = asked_by_hand(node, [args[0], "--node=2", *args[1:]])
        assert octet == b"\x02" and b"--node" in said and there.encode() not in said, (args, octet, said)
    Desk(node, "olaf").json("remove", there, "--reason", "the end")
    done = staff("list", "--from", node.sender, "--json", groups=("--clear-groups",))
    assert "index" in done.stderr and len(done.stdout.splitlines()) == 2, "who is no member has the index alone"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_P8_readers_that_hang_hold_up_nobody_and_end_with_their_askers(node):
    ref = spooled(node)
    path = str(node.dirs["run-dir"] / "spoolmgr-read.sock")
    silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for s in silent:
        s.connect(path)
    wait_until(lambda: len(readers(node)) == 8, 20, "each has its reader")
    with socket.socket(socket.AF_UNIX) as ninth:
        ninth.connect(path)
        ninth.settimeout(20)
        assert ninth.recv(1) == b"", "so many and no more"
    assert Desk(node, "olaf").json("hold", ref, "--reason", "meanwhile")["ids"] == [ref]
    for line in (b'{"args":["hold","--all","--reason","x"]}\0', b'{"args":["list","--config","/etc/passwd"]}\0', b'{"args":7}\0', b"\0", b"{}"):
        s = silent.pop()
        pipe = os.pipe()
        socket.send_fds(s, [line], [0, pipe[1], pipe[1]])
        os.close(pipe[1])
        s.shutdown(socket.SHUT_WR)
        s.settimeout(20)
        with contextlib.suppress(ConnectionResetError):  # it has not read all
            assert s.recv(1) in (b"", b"\x02"), line
        s.close()
        os.close(pipe[0])
    for s in silent:
        s.close()
    wait_until(lambda: not readers(node), 20, "they end with their askers")
    assert notes(node, ref) == [("held", "olaf", "meanwhile")]


def test_P8_a_reader_whose_output_nobody_takes_ends_with_its_asker(node):
    spooled(node)
    with contextlib.ExitStack() as stack:
        ours, theirs = os.pipe()
        stack.callback(os.close, ours)
        stack.callback(os.close, theirs)
        os.set_blocking(theirs, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(theirs, b"x" * 4096):
                pass
        os.set_blocking(theirs, True)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(node.dirs["run-dir"] / "spoolmgr-read.sock"))
            socket.send_fds(s, [b"{"], [0, theirs, theirs])
            s.sendall(b'"args":["list"]}\0')
            pipe = os.readlink(f"/proc/self/fd/{theirs}")
            wait_until(lambda: any(os.readlink(f"/proc/{pid}/fd/1") == pipe for pid in readers(node)), 20, "it has been asked, and can not write")
        wait_until(lambda: not readers(node), 20, "it is ended, though nobody reads")


def test_a_group_that_there_is_not_is_said_at_the_start(node):
    file = node.folder / "group.conf"
    write_config(file, dict(node.settings, **{"control-group": "no-such-group"}))
    for which in ("spoolmgr/spoolmgr", "relayd/relayd"):
        done = subprocess.run([program(which), "-c", str(file)], capture_output=True, text=True, timeout=60, env=dict(os.environ, **node.env))
        assert done.returncode == 1 and 'control-group "no-such-group"' in done.stderr, done


def readers(node):
    return [pid for pid in node.spoolmgr.children() if b"--serve-reader" in open(f"/proc/{pid}/cmdline", "rb").read()]


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_P5_who_may_not_read_the_files_is_shown_the_index(node):
    ref = spooled(node)
    settled(node)
    desk = Desk(node, "olaf")
    desk.file.chmod(0o644)

    def as_stranger(*args, code=0):
        done = subprocess.run(STRANGER + ["--clear-groups"] + desk.argv("spool", *args), capture_output=True, text=True, timeout=60, env=dict(os.environ, **node.env))
        assert done.returncode == code, done
        return done

    done = as_stranger("list", "--from", node.sender, "--json")
    assert json.loads(done.stdout)["id"] == ref and "may not be read" in done.stderr and "index" in done.stderr, done.stderr
    done = as_stranger("hold", "--from", node.sender, "--reason", "by a stranger to the files")
    assert done.stdout == "held 1 message\n"
    assert notes(node, ref) == [("held", "olaf", "by a stranger to the files")]


# --- When something is away


def test_P5_without_the_database_the_control_socket_takes_it(node):
    olaf, (ref, other) = Desk(node, "olaf"), spooled(node, 2)
    database(node, "false")
    done = olaf.json("hold", ref, "--reason", "no database")
    assert (done["ids"], done["who"], done["way"]) == ([ref], ME, "control socket")
    away = Desk(node, "olaf", elsewhere=True)
    assert "node 1" in away("spool", "hold", other, "--reason", "x", code=75).stderr
    database(node, "true")
    wait_until(lambda: audited(node, ref) == [(ME, "update", "no database", "hold")], 20, "it is audited when it is back")
    assert notes(node, other) == []


def test_without_the_keeper_relayctl_does_it_where_the_spool_is(node):
    olaf, (ref, other) = Desk(node, "olaf"), spooled(node, 2)
    node.spoolmgr.stop()
    done = olaf.json("hold", ref, "--reason", "no keeper")
    assert (done["ids"], done["who"], done["way"]) == ([ref], ME, "relayctl")
    assert commands(node, ref) == [] and audited(node, ref) == [("olaf", "update", "no keeper", "hold")]
    said = Desk(node, "olaf", elsewhere=True)("spool", "hold", other, "--reason", "x", code=75).stderr
    assert "node 1" in said and "spoolmgr" in said, said
    assert commands(node, other) == [("olaf", "hold", "withdrawn")]
    node.spoolmgr.start()
    follows(node)
    assert notes(node, other) == [], "what was withdrawn is never done"


def test_P2_what_a_keeper_does_not_take_is_withdrawn_and_goes_one_way_alone(node):
    """It hangs, as far as PostgreSQL goes: the order is given over the socket, where it waits, and the command is never done."""
    ref = spooled(node)
    node.postgres.sql("ALTER FUNCTION postern.spool_commands_take RENAME TO taken_away")
    try:
        done = Desk(node, "olaf")("spool", "hold", ref, "--reason", "slow")
    finally:
        node.postgres.sql("ALTER FUNCTION postern.taken_away RENAME TO spool_commands_take")
    assert "withdrawn" in done.stderr and "control socket" in done.stderr and done.stdout == "held 1 message\n"
    assert notes(node, ref) == [("held", ME, "slow")] and commands(node, ref) == [("olaf", "hold", "withdrawn")]
    olaf = Desk(node, "olaf")
    olaf.json("release", ref)
    assert commands(node, ref)[1:] == [("olaf", "release", "done")] and show(node, ref)["state"] == "waiting"


def test_P2_who_interrupts_relayctl_knows_that_nothing_is_done(node):
    ref = spooled(node.second, sender=node.sender)
    node.second.spoolmgr.signal(signal.SIGSTOP)
    relayctl = Desk(node, "olaf", elsewhere=True).begin("remove", ref, "--reason", "x")
    wait_until(lambda: commands(node, ref) == [("olaf", "remove", "waiting")], 10, "it is given")
    relayctl.send_signal(signal.SIGINT)
    out, said = relayctl.communicate(timeout=20)
    assert relayctl.returncode == 1 and "nothing of it is done" in said and not out, (out, said)
    node.second.spoolmgr.signal(signal.SIGCONT)
    assert commands(node, ref) == [("olaf", "remove", "withdrawn")]
    assert Desk(node, "olaf").json("hold", ref, "--reason", "still there")["ids"] == [ref]


def test_P2_a_command_that_nobody_waits_for_any_more_is_not_begun(node):
    old, ancient, begun = spooled(node, 3)
    sql = node.postgres.sql
    node.spoolmgr.stop()
    for ref, age in ((old, "2 minutes"), (ancient, "2 days"), (begun, "2 days")):
        sql("INSERT INTO postern.spool_commands (node, act, reason, refs) VALUES (1, 'remove', 'x', ARRAY[%s])", ref)
        sql(f"UPDATE postern.spool_commands SET given_at = now() - interval '{age}' WHERE %s = ANY (refs)", ref)
    sql("UPDATE postern.spool_commands SET state = 'taken' WHERE %s = ANY (refs)", begun)
    sql("SELECT FROM postern.spool_commands_take(2, '{}', 1, true)")
    assert commands(node, begun) == [("postern", "remove", "taken")], "another node's keeper does not forget it"
    node.spoolmgr.start()
    wait_until(lambda: commands(node, old) == [("postern", "remove", "withdrawn")], 20, "it is withdrawn")
    assert commands(node, ancient) == commands(node, begun) == [], "a day later it is forgotten"
    assert notes(node, old) == notes(node, ancient) == notes(node, begun) == []
    assert (audited(node, ancient), outcomes(node, begun)) == ([], ["not known"])


def test_P2_an_answer_that_does_not_know_is_audited_so(node):
    sql = node.postgres.sql
    for answer, audit in (({"ok": False, "error": "x", "outcome": "not known"}, ["not known"]), ({"ok": False, "error": "x"}, [])):
        ref = spooled(node)
        number, = sql("INSERT INTO postern.spool_commands (node, act, reason, refs) VALUES (77, 'remove', 'x', ARRAY[%s]) RETURNING id", ref)[0]
        sql("SELECT FROM postern.spool_commands_take(77, '{}', 1, true)")
        sql("SELECT postern.spool_command_answer(77, %s, %s)", number, json.dumps(answer))
        assert commands(node, ref) == [("postern", "remove", "done")] and outcomes(node, ref) == audit
    sql("DELETE FROM postern.spool_nodes WHERE node = 77")


@pytest.mark.parametrize("act", ["remove", "return"])
def test_P2_a_keeper_that_dies_between_doing_and_answering(node, act):
    """The next one takes the command again, finds it done, and answers as the first would have: done once."""
    refs = spooled(node, 2)
    node.spoolmgr.stop()
    node.spoolmgr.env["POSTERN_TEST_CRASH"] = "keeper-command-carried-out:1"
    try:
        node.spoolmgr.start()
        follows(node)
        relayctl = Desk(node, "olaf").begin(act, *refs, "--reason", "once", "--json")
        wait_until(lambda: not node.spoolmgr.alive, 20, "the keeper has died")
    finally:
        del node.spoolmgr.env["POSTERN_TEST_CRASH"]
    assert commands(node, refs[0]) == [("olaf", act, "taken")]
    node.spoolmgr.start()
    out, said = relayctl.communicate(timeout=60)
    assert relayctl.returncode == 0, (out, said)
    done = json.loads(out)
    assert set(done["ids"]) == set(refs) and done["already"] == 0 and done["others"] == [] and done["who"] == "olaf"
    for ref in refs:
        assert [n[1:] for n in notes(node, ref)] == [("olaf", "once")]
        assert audited(node, ref) == [("olaf", "delete" if act == "remove" else "update", "once", act)]


def test_P2_a_keeper_that_does_not_come_back(node):
    """It dies with a command that waits for a message which is being delivered; who gave it goes, and is told what is not known."""
    alone(node)
    ref = spooled(node)
    node.backend.script["dot"] = SILENT
    node.backend.start()
    olaf = Desk(node, "olaf")
    olaf.json("retry", ref)
    wait_until(lambda: show(node, ref)["state"] == "offered", 20, "it is at the dot")
    relayctl = olaf.begin("remove", ref, "--reason", "x")
    wait_until(lambda: commands(node, ref)[1:] == [("olaf", "remove", "taken")], 10, "it is taken")
    node.spoolmgr.kill_all()
    assert node.postgres.sql("SET SESSION AUTHORIZATION olaf; SELECT postern.spool_command_withdraw(max(id)) FROM postern.spool_commands") \
        == [("taken",)]
    out, said = relayctl.communicate(timeout=20)
    assert relayctl.returncode == 75 and "not known" in said and not out, (out, said)
    assert node.postgres.sql("SELECT who, new_row ->> 'outcome' FROM postern.audit WHERE new_row -> 'refs' ? %s AND new_row ->> 'act' = 'remove'",
                             ref) == [("olaf", "not known")]
    node.backend.stop()
    node.spoolmgr.start()
    follows(node)
    assert notes(node, ref)[1:] == [] and show(node, ref)["state"] in ("waiting", "held")


def test_P2_an_answer_waits_for_the_database(node):
    """The database goes while the keeper carries the order out; relayctl waits for it to come back, and has its answer."""
    alone(node)
    ref, other = spooled(node, 2)
    node.backend.script["dot"] = SILENT
    node.backend.start()
    olaf = Desk(node, "olaf")
    olaf.json("retry", ref)
    wait_until(lambda: show(node, ref)["state"] == "offered", 20, "it is at the dot")
    relayctl = olaf.begin("remove", ref, other, "--reason", "x", "--json")
    wait_until(lambda: commands(node, other) == [("olaf", "remove", "taken")], 10, "it is taken")
    database(node, "false")
    node.backend.stop()
    wait_until(lambda: notes(node, other) and show(node, ref)["state"] != "offered", 20, "the delivery has ended")
    database(node, "true")
    out, said = relayctl.communicate(timeout=40)
    done = json.loads(out)
    assert relayctl.returncode == 0 and set(done["ids"]) == {ref, other}, (out, said)
    assert audited(node, ref)[1:] == [("olaf", "delete", "x", "remove")]


# --- Many


def test_two_operators_at_once(node):
    refs = spooled(node, 4)
    desks = [Desk(node, "olaf"), Desk(node, "nina")] * 2
    begun = [desk.begin("hold", *refs, "--reason", f"{desk.role} {i}", "--json") for i, desk in enumerate(desks)]
    outcomes = [json.loads(p.communicate(timeout=60)[0]) for p in begun]
    assert all(set(o["ids"]) == set(refs) and not o["others"] for o in outcomes), outcomes
    for ref in refs:
        assert len(notes(node, ref)) == 4 == len(audited(node, ref))
        assert show(node, ref)["held_reason"] == notes(node, ref)[-1][2], "the last one holds"
    assert sorted(a[0] for a in audited(node, refs[0])) == ["nina"] * 2 + ["olaf"] * 2


def test_P8_five_thousand_by_one_order_with_progress(node):
    count = 2300 if QUICK else 5000
    subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", str(count), "--connections", "20",
                    "--per-connection", "40", "--from", node.sender, "--rcpt", "user@acme.example"], check=True, capture_output=True, timeout=120)
    wait_until(lambda: len(node.spool("--from", node.sender)) == count, 30, "all are spooled")
    ours, theirs = os.openpty()
    done = subprocess.run(Desk(node, "olaf").argv("spool", "hold", "--from", node.sender, "--reason", "many"), stdout=subprocess.PIPE,
                          stderr=theirs, text=True, timeout=60, env=dict(os.environ, **node.env))
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.stdout == f"held {count} messages\n" and f"{count} of {count} messages" in said and f"2000 of {count}" in said, said
    assert node.postgres.sql("SELECT sum(jsonb_array_length(new_row -> 'refs'))::int FROM postern.audit WHERE reason = 'many' AND who = 'olaf'"
                             ) == [(count,)]
    assert len(node.spool("--from", node.sender, "--state", "held")) == count
    assert Desk(node, "olaf").json("remove", "--from", node.sender, "--reason", "many")["messages"] == count
