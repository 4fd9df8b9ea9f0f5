# SPDX-License-Identifier: BSD-2-Clause
"""The event log and its copy: what happened to every connection and message is known, once, and to nobody for too long (P6, P8)."""
import json
import os
import re
import signal
from datetime import datetime, timedelta, timezone

import pytest

from harness import Backend, Client, Node, reference_in, wait_until
from schema import the_schema


def hour_of(moment):
    return f"events-{moment:%Y%m%dT%H}.jsonl"


def line_of(moment, ref="P001-3EZAR-0R00QJV", **fields):
    at = moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return json.dumps({"at": at, "event": "message", "ref": ref, "client": "192.0.2.77", "from": "Alice@sender.example",
                       "rcpt": ["bob@acme.example"], "customer": "acme", "verdict": "delivered", "reply": "250 2.0.0 Delivered",
                       **fields}) + "\n"


NOW = datetime.now(timezone.utc)
OWN_POSTGRES = True  # it is stopped and started


class Gate(Node):
    """One node for all tests here; each looks at what is new since it began."""

    def copied(self, where="true", *args, columns="kind"):
        return self.postgres.sql(f"SELECT {columns} FROM postern.events WHERE {where} ORDER BY at", *args)

    def behind(self):
        """The files whose ends the database does not have."""
        done = dict(self.postgres.sql("SELECT file, offset_bytes FROM postern.events_copied"))
        return [p.name for p in self.dirs["log-dir"].glob("events-*.jsonl") if p.stat().st_size != done.get(p.name, 0)]

    def wait_until_copied(self, timeout=20):
        wait_until(lambda: not self.behind(), timeout, "all is copied")

    def write_old(self, moment, text, part=""):
        """A file of another hour, as if it had waited there."""
        path = self.dirs["log-dir"] / hour_of(moment).replace(".jsonl", f"{part}.jsonl")
        path.write_text(text)
        os.chmod(path, 0o644)
        return path

    def says(self, event, before=0, timeout=20):
        return wait_until(lambda: self.relayd.log_lines(event)[before:], timeout, f"the log says {event}")

    def control(self):
        return self.relayd.child("control")


@pytest.fixture(scope="module")
def gate():
    backend = Backend().start()
    backend.script["rcpt"] = lambda _, line: "550 5.1.1 nobody here of that name" if "nobody@" in line else None
    with Gate({"event-log-max": "16MiB"}) as node:
        node.add_customer("acme", "acme.example", backend.endpoint)
        node.backend = backend
        yield node
    backend.stop()


def test_what_happens_to_a_message_is_copied_with_its_columns(gate):
    reply = gate.send(b"Message-ID: <one.two@sender.example>\r\nSubject: x\r\n\r\nx\r\n", mail_from="Alice@Sender.example",
                      rcpts=["Bob@acme.example"])
    assert reply.code == 250
    event = wait_until(lambda: [e for e in gate.events("message") if e["from"].startswith("Alice")], 5, "it is in the log")[0]
    ref = event["ref"]
    wait_until(lambda: gate.copied("ref = %s", ref), 20, "it is copied")
    ((customer, verdict, client, sender, keys, message_id, detail),) = gate.copied(
        "ref = %s AND kind = 'message'", ref, columns="customer, verdict, host(client), sender, recipient_keys, message_id, detail")
    assert (customer, verdict, sender, message_id) == ("acme", "delivered", "alice@sender.example", "<one.two@sender.example>")
    assert keys == ["bob@acme.example", "@acme.example"] and client.startswith("127.")
    assert detail["from"] == "Alice@Sender.example" and detail["backend"] == gate.backend.endpoint
    assert detail["backend_reply"].startswith("250") and detail["size"] > 0


def test_a_refusal_has_its_verdict_and_whose_it_is(gate):
    with Client(gate.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@sender.example>")
        stranger = client.cmd("RCPT TO:<x@elsewhere.example>")
        ours = client.cmd("RCPT TO:<nobody@acme.example>")
        client.cmd("QUIT")
    assert stranger.code == 550
    ref = reference_in(stranger.text)
    wait_until(lambda: gate.copied("ref = %s AND verdict = 'relay-denied'", ref), 20, "the stranger's refusal is copied")
    assert gate.copied("ref = %s AND verdict = 'relay-denied'", ref, columns="customer, recipient_keys") == [
        (None, ["x@elsewhere.example", "@elsewhere.example"])]
    assert ours.code == 550
    wait_until(lambda: gate.copied("ref = %s AND verdict = 'refused'", ref), 20, "the customer's server's refusal is copied")
    ((verdict, customer, detail),) = gate.copied("ref = %s AND 'nobody@acme.example' = ANY (recipient_keys)", ref,
                                                 columns="verdict, customer, detail")
    assert (verdict, customer, detail["backend"]) == ("refused", "acme", gate.backend.endpoint)
    assert detail["backend_reply"] == "550 5.1.1 nobody here of that name"


def test_forged_octets_stay_in_their_field(gate):
    with Client(gate.port) as client:
        client.cmd('EHLO a"b\\{}x')
        client.write(b"EHLO \xc3\xa4\x80\x01\\\"}.example\r\n")
        client.reply()
        client.cmd('MAIL FROM:<"a\\"b\\\\"@sender.example>')
        reply = client.cmd("RCPT TO:<bob@acme.example>")
        client.cmd("QUIT")
    assert reply.code == 250
    before = len(gate.copied("kind = 'damaged'"))
    gate.wait_until_copied()
    assert len(gate.copied("kind = 'damaged'")) == before


def test_damage_costs_the_damaged_lines_alone(gate):
    """A torn line, rubbish, octets that no text may have."""
    moment = NOW - timedelta(hours=3)
    before = len(gate.copied("kind = 'damaged'"))
    good = [line_of(moment, ref=f"P001-DAMAG-000000{n}") for n in range(3)]
    path = gate.write_old(moment, "")
    path.write_bytes(good[0].encode() + b'{"at":"2026-01\n' + good[1].encode() + b"\x00\xff\xfe rubbish \\\n"
                     + line_of(moment, client="nowhere").encode() + b'{"no":"time"}\n' + good[2].encode()[:-1])
    wait_until(lambda: len(gate.copied("ref LIKE 'P001-DAMAG-%%'")) == 3, 20, "the good lines are there, the last one without its end too")
    assert len(gate.copied("kind = 'damaged'")) == before + 4


def test_each_line_is_copied_once_whenever_control_dies(gate):
    """P6: a batch and its offset are one transaction; killed at any point, nothing is lost or there twice."""
    moment = NOW - timedelta(hours=5)
    rows = 12000
    gate.write_old(moment, "".join(line_of(moment, ref=f"P001-KILLS-{n:07d}") for n in range(rows)))
    for kill in range(4):
        count = len(gate.copied("ref LIKE 'P001-KILLS-%%'"))
        if count == rows:
            break
        os.kill(wait_until(lambda: gate.relayd.children_named("control"), 20, "there is one")[0], signal.SIGKILL)
        wait_until(lambda: gate.relayd.children_named("control"), 20, "control is back")
        wait_until(lambda c=count: len(gate.copied("ref LIKE 'P001-KILLS-%%'")) > c, 30, "it goes on")
    wait_until(lambda: len(gate.copied("ref LIKE 'P001-KILLS-%%'")) >= rows, 60, "all are there")
    gate.wait_until_copied()
    assert gate.postgres.sql("SELECT count(*), count(DISTINCT ref) FROM postern.events WHERE ref LIKE 'P001-KILLS-%%'") == [(rows, rows)]


def test_a_batch_that_was_copied_already_is_not_copied_again(gate):
    """The answer to a commit may be lost: the database refuses what does not begin at its own offset."""
    line = line_of(NOW, ref="P001-TWICE-0000001")
    copy = "SELECT postern.events_copy(7, 'events-20260101T00.jsonl', %s, %s, %s)"
    assert gate.postgres.sql(copy, 0, len(line), line) == [(len(line),)]
    assert gate.postgres.sql(copy, 0, len(line), line) == [(len(line),)]
    assert gate.postgres.sql(copy, 2 * len(line), 3 * len(line), line) == [(len(line),)]
    assert gate.postgres.sql("SELECT count(*) FROM postern.events WHERE ref = 'P001-TWICE-0000001'") == [(1,)]


def test_days_are_made_ahead_and_old_ones_dropped(gate):
    days = {name for (name,) in gate.postgres.sql(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'postern.events'::regclass")}
    assert f"events_{NOW + timedelta(days=6):%Y%m%d}" in days
    gate.postgres.sql("INSERT INTO postern.events (at, node, kind, ref) VALUES (now() - interval '40 days', 1, 'message', 'P001-AGEDX-0000001')")
    assert gate.postgres.sql("SELECT postern.events_tend('30 days')") == [(0,)]
    assert not gate.copied("ref = 'P001-AGEDX-0000001'")
    assert gate.postgres.sql("SELECT postern.events_tend('12 hours') >= 0") == [(True,)]


def test_old_events_name_nobody_any_more(gate):
    """Client addresses, local parts, names, ids and texts of replies; once, and also what comes late."""
    old = NOW - timedelta(days=20)
    sql = gate.postgres.sql

    def made(tag, **fields):
        return line_of(old, ref=f"P001-{tag}-0000001", message_id="<private.one@sender.example>", helo="dialin-192-0-2-77.example",
                       spf="fail", spf_reason="192.0.2.77 is none of alice's", rule="block alice@sender.example", ptr="dialin-192-0-2-77.example",
                       checks=[{"check": "spf", "result": "fail", "input": "192.0.2.77", "ms": 3}], **{"reply": "550 5.1.1 <bob@acme.example> unknown", **fields})

    def add(name, lines):
        sql("SELECT postern.events_copy(8, %s, 0, %s, %s)", name, len(lines), lines)

    def shorten():
        while sql("SELECT postern.events_shorten('14 days')") != [(-1,)]:
            pass

    add("at once", made("SHRT1") + made("SHRT2", client="2001:db8:1:2:3::4"))  # control shortens as well, at any moment
    shorten()
    add("late", made("SHRT3"))
    shorten()
    rows = sql("SELECT text(client), sender, recipient_keys, message_id, detail FROM postern.events WHERE ref LIKE 'P001-SHRT%%' ORDER BY ref")
    assert [row[0] for row in rows] == ["192.0.2.0/24", "2001:db8:1::/48", "192.0.2.0/24"]
    for client, sender, keys, message_id, detail in rows:
        assert re.fullmatch(r"h-[0-9a-f]{16}@sender\.example", sender) and keys[-1] == "@acme.example" and message_id is None
        assert detail["shortened"] is True and detail["reply"] == "550 5.1.1" and detail["verdict"] == "delivered"
        assert detail["spf"] == "fail" and detail["checks"] == [{"check": "spf", "result": "fail", "ms": 3}]
        text = json.dumps(detail).lower() + "".join(keys)
        assert not re.search(r"alice|bob|192\.0\.2\.77|192-0-2-77|private|2001:db8:1:2", text), text
    assert rows[0][1] == rows[1][1], "the same name of a day is the same hash"
    assert sql("SELECT count(*) FROM postern.events_shortened WHERE is_done AND salt IS NOT NULL") == [(0,)]


def test_P2_a_clock_that_has_jumped_makes_no_gap(gate):
    """All files but the newest are too old at once: what has not been copied waits for that, and goes then."""
    gaps = len(gate.relayd.log_lines("event-gap"))
    line = line_of(NOW - timedelta(days=16), filler="jumped")
    with gate.postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK postern.events_copied IN ACCESS EXCLUSIVE MODE")  # copying waits
        path = gate.write_old(NOW - timedelta(days=16), line * 3)
        assert path.name in gate.says("event-files-kept")[0]
        assert path.exists()
        cursor.execute("ROLLBACK")
    wait_until(lambda: not path.exists(), 30, "it goes when it has been copied")
    assert gate.copied("detail ->> 'filler' = 'jumped'") == [("message",)] * 3
    assert len(gate.relayd.log_lines("event-gap")) == gaps


def test_a_file_of_hours_to_come_keeps_nothing(gate):
    """By a clock that was ahead and was put right: the file that workers write to is another, and the old ones go by their age."""
    ahead = gate.write_old(NOW + timedelta(days=400), "")
    for hours in range(1, 26):
        if not (gate.dirs["log-dir"] / hour_of(NOW - timedelta(hours=hours))).exists():
            gate.write_old(NOW - timedelta(hours=hours), "")
    with gate.postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK postern.events_copied IN ACCESS EXCLUSIVE MODE")  # copying waits
        old = gate.write_old(NOW - timedelta(days=16), line_of(NOW - timedelta(days=16)))
        wait_until(lambda: not old.exists(), 30, "it is too old, and no clock has jumped")
        cursor.execute("ROLLBACK")
    assert (gate.dirs["log-dir"] / hour_of(datetime.now(timezone.utc))).exists()
    ahead.unlink()


def test_files_go_by_age_and_a_gap_is_said(gate):
    """Files hold whole addresses: they go with event-privacy, copied or not, where the relay has run all the day before."""
    for hours in range(1, 26):
        if not (gate.dirs["log-dir"] / hour_of(NOW - timedelta(hours=hours))).exists():
            gate.write_old(NOW - timedelta(hours=hours), "")
    before = len(gate.relayd.log_lines("event-gap"))
    with gate.postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK postern.events_copied IN ACCESS EXCLUSIVE MODE")  # copying waits
        path = gate.write_old(NOW - timedelta(days=15), line_of(NOW - timedelta(days=15)) * 3)
        wait_until(lambda: not path.exists(), 20, "the old file goes")
        cursor.execute("ROLLBACK")
    assert "bytes=" in gate.says("event-gap", before)[0]
    gap = wait_until(lambda: gate.copied("kind = 'gap' AND detail ->> 'file' = %s", path.name, columns="detail"), 20, "the gap is an event")
    the_schema().check_event(gap[0][0])


def test_files_are_bounded_in_bytes_the_oldest_go_first(gate):
    """The database does not take them, and still the disk is safe."""
    line = line_of(NOW - timedelta(hours=30), filler="x" * 1000)
    big = line * (3 * 1024 * 1024 // len(line))
    with gate.postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK postern.events_copied IN ACCESS EXCLUSIVE MODE")
        paths = [gate.write_old(NOW - timedelta(hours=40 - n), big) for n in range(7)]
        wait_until(lambda: sum(p.stat().st_size for p in gate.dirs["log-dir"].glob("events-*.jsonl")) <= 15 << 20, 20, "it is within bounds")
        assert not paths[0].exists() and paths[-1].exists()
        cursor.execute("ROLLBACK")
    for path in paths:
        path.unlink(missing_ok=True)


def test_an_hour_has_parts_when_it_grows_large(gate):
    newest = sorted(gate.dirs["log-dir"].glob("events-*.jsonl"))[-1]
    with open(newest, "a") as log:
        log.write(line_of(NOW, ref="P001-PARTS-0000001", filler="x" * (1 << 20)))
    part = wait_until(lambda: [p for p in gate.dirs["log-dir"].glob("events-*_01.jsonl")], 10, "there is a second part")[0]
    assert gate.send(rcpts=["bob@acme.example"]).code == 250
    wait_until(lambda: part.stat().st_size > 0, 10, "and it is written to")
    gate.wait_until_copied()


def test_the_database_away_costs_no_event(gate):
    gate.postgres.stop()
    try:
        assert gate.send(rcpts=["away@acme.example"]).code == 250
        wait_until(lambda: any("away@acme.example" in json.dumps(e) for e in gate.events("message")), 10, "it is in the log")
    finally:
        gate.postgres.start()
    wait_until(lambda: gate.copied("'away@acme.example' = ANY (recipient_keys) AND kind = 'message'"), 30, "it is copied later")
    gate.wait_until_copied()


def test_a_flood_of_refusals_is_counted_and_not_listed(gate):
    """Beyond events-per-second; mail for customers is listed as ever."""
    gate.relayd.stop()
    gate.write_config(**{"events-per-second": 4})
    gate.relayd.start()
    count = 60
    for _ in range(3):
        with Client(gate.port) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<flood@sender.example>")
            for n in range(count // 3):
                client.cmd(f"RCPT TO:<x{n}@elsewhere.example>")
            client.cmd("RSET")
            client.cmd("QUIT")
    assert gate.send(mail_from="flood@sender.example", rcpts=["bob@acme.example"]).code == 250
    gate.relayd.stop()  # tells what has been counted
    events = [e for e in gate.events() if e["event"] == "recipient-refused" and e["from"] == "flood@sender.example"]
    counted = [e for e in gate.events("refusals") if "relay-denied" in e["verdicts"]]
    assert 0 < len(events) < count and all(re.fullmatch(r"127\.\d+\.\d+\.0/24", e["client"]) for e in counted)
    assert len(events) + sum(e["verdicts"]["relay-denied"] for e in counted) == count
    assert [e for e in gate.events("message") if e["from"] == "flood@sender.example"]
    gate.relayd.start()
    wait_until(lambda: gate.copied("kind = 'refusals' AND client >>= '127.0.0.1' OR kind = 'refusals'"), 20, "and copied")
