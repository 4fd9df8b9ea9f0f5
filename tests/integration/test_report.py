# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl report`: each customer's mail is counted exactly, by the service's days, and the sums outlive the events they come
from: bills are made of them."""
import contextlib
import csv
import io
import json
import os
import re
import signal
import zlib
from datetime import datetime, timedelta, timezone

import pytest

from harness import Backend, Client, Node, make_message, wait_until
from scribe import Scribe

OWN_POSTGRES = True  # it is stopped and started
AWAY = "its backends could not be reached [no notice: no outbound-route]"  # as spoolmgr says it of what has expired
KEPT = ["kept_delivered", "kept_expired", "kept_refused", "kept_returned", "kept_removed", "kept_waiting"]
FIELDS = ["period", "customer", "customer_id", "messages", "bytes", "recipients", "kept_messages", "kept_recipients", *KEPT, "refused", "refusals",
          "deferred", "deferrals", "outages", "outage_seconds", "peak_messages", "peak_bytes"]


def moment(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def line_of(at, customer="acme", customer_id=4711, reply="250 2.0.0 Delivered", **fields):
    of_messages = {} if fields.get("event") == "ended" else {"client": "192.0.2.77", "ms": 5, "kept": 0}
    return json.dumps({"at": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z", "event": "message", **of_messages,
                       "from": "a@sender.example", "rcpt": ["bob@acme.example"], "customer": customer, "customer_id": customer_id,
                       "domain": "acme.example", "verdict": "delivered", "size": 1000, "reply": reply, **fields}) + "\n"


def ref_of(at, number, node=1):
    """The reference of a message that came then."""
    def digits(value, count):
        return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> 5 * i & 31] for i in reversed(range(count)))
    return f"P{digits(node, 3)}-{digits(int((at - moment('2020-01-01')).total_seconds()) // 60, 5)}-{digits(number, 7)}"


class Gate(Node):
    def write_log(self, *lines):
        """Lines of other hours, as if they had waited in the event log; returns when they are copied."""
        files = {}
        for line in lines:
            files.setdefault(f"events-{json.loads(line)['at'][:13].replace('-', '')}.jsonl", []).append(line)
        for name, text in files.items():
            path = self.dirs["log-dir"] / name
            with open(path, "a") as log:
                log.write("".join(text))
            os.chmod(path, 0o644)
        self.wait_until_copied()

    def wait_until_copied(self, timeout=60):
        def is_copied():
            done = dict(self.postgres.sql("SELECT file, offset_bytes FROM postern.events_copied"))
            return all(p.stat().st_size == done.get(p.name, 0) for p in self.dirs["log-dir"].glob("events-*.jsonl"))
        wait_until(is_copied, timeout, "all is copied")

    def ends(self, ref, address=None):
        """What the files have of it, also what is there twice."""
        lines = (line for p in sorted(self.dirs["log-dir"].glob("events-*.jsonl")) for line in p.read_text().splitlines() if ref in line)
        return [e for e in map(json.loads, lines) if e["event"] == "ended" and address in (None, *e["rcpt"])]

    def wait_until_known(self):
        version = self.postgres.sql("SELECT version FROM postern.replica_state")[0][0]
        wait_until(lambda: f" version={version} " in self.spoolmgr.log_lines("replica")[-1] + " ", 10, "the keeper knows of it")

    def die(self):
        self.spoolmgr.kill()
        self.spoolmgr.start()

    def report(self, *args, by="day", **kwargs):
        return self.relayctl_json("report", "--by", by, *args, **kwargs)

    def row(self, *args, **kwargs):
        (row,) = self.report(*args, **kwargs)
        return row


@pytest.fixture(scope="module")
def gate():
    backend = Backend().start()
    backend.script["rcpt"] = lambda _, line: ("550 5.1.1 nobody here of that name" if "nobody@" in line else
                                              "450 4.2.1 mailbox is busy" if "busy@" in line else None)
    settings = {"timezone": "Europe/Berlin", "event-privacy": "0s", "event-retention": "3000d", "usage-retention": "3000d"}
    with Gate(settings) as node:
        node.add_customer("live", "live.example", backend.endpoint)
        node.backend = backend
        yield node
    backend.close()


def test_what_passes_is_counted_as_it_was(gate):
    """Two delivered, one of them to two recipients; one recipient refused by the server, one put off; one kept."""
    gate.send(make_message(test_id=1), rcpts=["a@live.example"])
    gate.send(make_message(test_id=2, body=b"x" * 60 + b"\r\n"), rcpts=["a@live.example", "b@live.example"])
    with Client(gate.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@sender.example>")
        assert client.cmd("RCPT TO:<nobody@live.example>").code == 550
        assert client.cmd("RCPT TO:<busy@live.example>").code == 450
    gate.backend.stop()
    assert "queued" in gate.send(make_message(test_id=3), rcpts=["a@live.example", "c@live.example"]).text
    gate.backend.start()
    events = wait_until(lambda: [e for e in gate.events("message") if e.get("customer") == "live"][2:] and gate.events("message"), 10, "they are in the log")
    gate.wait_until_copied()
    row = gate.row("--customer", "live")
    assert list(row) == FIELDS
    assert (row["messages"], row["recipients"], row["kept_messages"], row["kept_recipients"]) == (3, 5, 1, 2)
    assert row["bytes"] == sum(e["size"] for e in events if e.get("customer") == "live")
    assert (row["refused"], row["refusals"], row["deferred"], row["deferrals"]) == (1, {"refused": 1}, 1, {"refused": 1})


def test_a_day_ends_at_midnight_of_the_service_also_when_clocks_change(gate):
    """The 25th of October 2026 has 25 hours in Berlin, the 29th of March 23."""
    gate.write_log(*[line_of(moment(text), "clocks", 21) for text in (
        "2026-10-24T21:59:59.999", "2026-10-24T22:00:00", "2026-10-25T00:30:00", "2026-10-25T01:30:00", "2026-10-25T22:59:59.999",
        "2026-10-25T23:00:00", "2026-03-28T22:59:59.999", "2026-03-28T23:00:00", "2026-03-29T21:59:59.999", "2026-03-29T22:00:00")])
    rows = gate.report("--customer", "clocks", "--since", "2026-03-01")
    assert [(r["period"], r["messages"]) for r in rows] == [("2026-03-28", 1), ("2026-03-29", 2), ("2026-03-30", 1),
                                                            ("2026-10-24", 1), ("2026-10-25", 4), ("2026-10-26", 1)]
    assert [r["messages"] for r in gate.report("--customer", "clocks", "--since", "2026-10-25", "--until", "2026-10-26")] == [4]


def test_months_are_the_sums_of_their_days(gate):
    gate.write_log(*[line_of(moment(text), "months", 22, size=size) for text, size in (
        ("2026-07-31T21:59:59", 1), ("2026-07-31T22:00:00", 2 ** 33), ("2026-08-15T12:00:00", 4), ("2026-08-31T21:59:00", 8), ("2026-08-31T22:00:00", 16))])
    months = gate.report("--customer", "months", "--since", "2026-07", by="month")
    assert [(r["period"], r["messages"], r["bytes"]) for r in months] == [("2026-07", 1, 1), ("2026-08", 3, 2 ** 33 + 12), ("2026-09", 1, 16)]
    days = gate.report("--customer", "months", "--since", "2026-07-01", "--until", "2026-10")
    for month in months:
        for field in ("messages", "bytes", "recipients"):
            assert month[field] == sum(d[field] for d in days if d["period"].startswith(month["period"]))
    assert [r["bytes"] for r in gate.report("--customer", "months", "--since", "2026-08", "--until", "2026-08-31", by="month")] == [2 ** 33 + 4]


def test_refusals_have_their_reasons(gate):
    at = moment("2026-06-10T10:00:00")

    def refused(verdict, reply, **fields):
        return line_of(at, "reasons", 23, event="recipient-refused", rcpt="x@acme.example", verdict=verdict, reply=reply, size=None, **fields)

    gate.write_log(refused("spf-fail", "550 5.7.23 no"), refused("spf-fail", "550 5.7.23 no"), refused("dnsbl", "550 5.7.1 no"),
                   refused("greylisted", "451 4.7.1 later"), refused("refused", "550 5.1.1 no"), refused("refused", "450 4.2.1 later"),
                   line_of(at, "reasons", 23, verdict="too-big", reply="552 5.3.4 big", rcpt=["a@acme.example"] * 3))
    row = gate.row("--customer", "reasons", "--since", "2026-06", "--until", "2026-07")
    assert (row["messages"], row["bytes"], row["refused"], row["deferred"]) == (0, 0, 5, 2)
    assert list(row["refusals"].items()) == [("spf-fail", 2), ("dnsbl", 1), ("refused", 1), ("too-big", 1)]
    assert row["deferrals"] == {"greylisted": 1, "refused": 1}
    text = gate.relayctl("report", "--customer", "reasons", "--since", "2026-06", "--until", "2026-07").stdout
    assert re.search(r"^spf-fail +2 +0$", text, re.M) and re.search(r"^refused +1 +1$", text, re.M), text


def test_each_event_counts_once_whenever_control_dies(gate):
    """Sums and the place in the log are one transaction."""
    at, rows = moment("2026-05-05T05:00:00"), 12000
    path = gate.dirs["log-dir"] / "events-20260505T05.jsonl"
    path.write_text("".join(line_of(at, "killed", 24) for _ in range(rows)))
    os.chmod(path, 0o644)

    def counted():
        return int(gate.postgres.sql("SELECT coalesce(sum(events), 0) FROM postern.usage_daily WHERE customer = 'killed'")[0][0])

    for _ in range(4):
        before = counted()
        if before == rows:
            break
        os.kill(wait_until(lambda: gate.relayd.children_named("control"), 20, "control is back")[0], signal.SIGKILL)
        wait_until(lambda b=before: counted() > b, 30, "it goes on")
    gate.wait_until_copied()
    row = gate.row("--customer", "killed", "--since", "2026-05", "--until", "2026-06")
    assert (row["messages"], row["bytes"]) == (rows, 1000 * rows)


def test_a_batch_that_comes_twice_counts_once_and_damage_costs_its_own_line(gate):
    line = line_of(moment("2026-04-04T04:00:00"), "twice", 25)
    copy = "SELECT postern.events_copy(9, 'events-20260404T04.jsonl', %s, %s, %s, '{2026-04-04}', '{2026-04-03T22:00:00Z,2026-04-04T22:00:00Z}')"
    batch = line + line_of(moment("2026-04-04T04:00:00"), "twice", 25, size="rubbish") + "{}\n" + line
    for _ in range(2):
        assert gate.postgres.sql(copy, 0, len(batch), batch) == [(len(batch),)]
    assert gate.row("--customer", "twice", "--since", "2026-04", "--until", "2026-05")["messages"] == 2


def test_nodes_add_up(gate):
    line = line_of(moment("2026-04-06T04:00:00"), "nodes", 28)
    for node in (1, 2):
        gate.postgres.sql("SELECT postern.events_copy(%s, 'events-20260406T04.jsonl', 0, %s, %s)", node, len(line), line)
    assert gate.row("--customer", "nodes", "--since", "2026-04", "--until", "2026-05")["messages"] == 2


def test_csv_is_quoted_and_has_the_fields_of_json(gate):
    name = 'Smith, "Sons"\nLtd'
    gate.write_log(line_of(moment("2026-02-02T02:00:00"), name, 26), line_of(moment("2026-02-02T02:00:00"), name, 26, verdict="too-big", reply="552 5.3.4 x"),
                   line_of(moment("2026-02-02T02:00:00"), name, 26, verdict="a=b", reply="550 5.7.1 x"))
    span = ("--since", "2026-02", "--until", "2026-03")
    out = gate.relayctl("report", "--csv", *span)
    header, row = csv.reader(io.StringIO(out.stdout, newline=""))
    assert header == FIELDS
    assert row[:5] == ["2026-02", name, "26", "1", "1000"] and row[FIELDS.index("refusals")] == "a=b=1 too-big=1"
    nothing = gate.relayctl("report", "--csv", "--since", "2025-02", "--until", "2025-03")
    assert nothing.stdout == ",".join(FIELDS) + "\n" and nothing.returncode == 0


def test_a_customer_that_is_gone_stays_in_the_report(gate):
    gate.relayctl("customer", "add", "leaver", "--contact", "ops@elsewhere.example")
    ((number,),) = gate.postgres.sql("SELECT id FROM postern.customers WHERE name = 'leaver'")
    gate.write_log(line_of(moment("2026-01-15T12:00:00"), "leaver", number))
    gate.relayctl("customer", "remove", "leaver", "--reason", "left", "--yes")
    assert gate.row("--customer", "leaver", "--since", "2026-01", "--until", "2026-02")["messages"] == 1


def test_sums_outlive_events_and_go_when_their_time_is_over(gate):
    now = datetime.now(timezone.utc)
    line = line_of(now - timedelta(days=40), "outlived", 27)
    gate.postgres.sql("SELECT postern.events_copy(9, 'outlived', 0, %s, %s)", len(line), line)
    gate.postgres.sql("SELECT postern.events_tend('30 days', '60 days')")
    assert gate.postgres.sql("SELECT count(*) FROM postern.events WHERE customer = 'outlived'") == [(0,)]
    assert gate.row("--customer", "outlived", "--since", "50d")["messages"] == 1
    gate.postgres.sql("SELECT postern.events_tend('30 days', '39 days')")
    assert gate.report("--customer", "outlived", "--since", "50d", check=False) == []


def test_a_spools_peak_and_an_outage(gate):
    """Four messages wait, with a keeper that begins anew in between; the outage is one and ends with the server's return."""
    backend = Backend().start()
    gate.add_customer("spool", "spool.example", backend.endpoint)
    backend.stop()
    for n in range(4):
        assert "queued" in gate.send(make_message(test_id=100 + n), rcpts=["a@spool.example"]).text
    sizes = sum(m["size_bytes"] for m in gate.spool("--customer", "spool"))

    def row():
        found = gate.report("--customer", "spool")
        return found[0] if found else dict.fromkeys(FIELDS, 0)

    wait_until(lambda: row()["outages"] == 1, 30, "the outage is in the report")
    gate.spoolmgr.stop()
    gate.spoolmgr.start()
    wait_until(lambda: gate.postgres.sql("SELECT count(*) FROM postern.spool_index WHERE customer = 'spool'") == [(4,)], 20, "all is mirrored again")
    backend.start()
    wait_until(lambda: len(backend.taken) == 4, 60, "all is delivered")
    wait_until(lambda: gate.postgres.sql("SELECT count(*) FROM postern.usage_outages WHERE customer = 'spool' AND ended_at IS NULL") == [(0,)], 30,
               "the outage is over")
    last = row()
    assert (last["outages"], last["peak_messages"], last["peak_bytes"], last["kept_messages"]) == (1, 4, sizes, 4)
    assert 0 < last["outage_seconds"] < 120
    backend.close()


def test_P2_what_becomes_of_kept_mail_is_counted(gate):
    """Six recipients are kept: three are delivered later, one is removed, one is returned, one waits. The keeper is killed
    meanwhile; nothing is counted twice for it."""
    backend = Backend().start()
    gate.add_customer("fates", "fates.example", backend.endpoint)
    backend.stop()

    def keep(*names):
        assert "queued" in gate.send(make_message(test_id=abs(hash(names)) % 10000), rcpts=[f"{n}@fates.example" for n in names]).text

    def ref(name):
        return next(m["id"] for m in gate.spool("--customer", "fates") if f"{name}@fates.example" in m["recipients"])

    for names in (("one", "two"), ("three",), ("removed",), ("returned",), ("waits",)):
        keep(*names)
    wait_until(lambda: len(gate.spool("--customer", "fates")) == 5, 10, "all wait")
    refs = {name: ref(name) for name in ("one", "removed", "returned", "waits")}
    gate.relayctl("spool", "remove", refs["removed"], "--reason", "spam", "--yes")
    gate.relayctl("spool", "return", refs["returned"], "--reason", "too late", "--yes")
    gate.relayctl("spool", "hold", refs["waits"], "--reason", "to be looked at")
    gate.spoolmgr.kill()
    gate.spoolmgr.start()
    backend.start()
    wait_until(lambda: len(backend.taken) == 2, 60, "they are delivered")
    wait_until(lambda: len(gate.spool("--customer", "fates")) == 1, 30, "one is left")
    wait_until(lambda: gate.ends(refs["one"], "one@fates.example"), 10, "its end is written")
    gate.die()
    wait_until(lambda: len(gate.ends(refs["one"], "one@fates.example")) == 2, 10, "and again by the next keeper")
    expected = dict(zip(KEPT, (3, 0, 0, 1, 1, 1)))
    wait_until(lambda: (gate.wait_until_copied(), {k: gate.row("--customer", "fates")[k] for k in KEPT})[1] == expected, 30, "the report has them")
    row = gate.row("--customer", "fates")
    assert row["kept_recipients"] == sum(row[k] for k in KEPT) == 6
    assert (row["refused"], row["messages"]) == (0, 5)
    text = gate.relayctl("report", "--customer", "fates").stdout
    assert re.search(r"^delivered later +3$", text, re.M) and re.search(r"^waiting now +1$", text, re.M) and "expired" not in text, text
    rows = gate.postgres.sql("SELECT kind, verdict, detail ->> 'rcpt' FROM postern.events WHERE ref = %s ORDER BY 1, 3", refs["one"])
    assert rows == [("ended", "delivered", '["one@fates.example"]'), ("ended", "delivered", '["two@fates.example"]'),
                    ("message", "spooled", '["one@fates.example", "two@fates.example"]')]
    gate.spoolmgr.stop()
    gate.relayctl("spool", "remove", refs["waits"], "--reason", "spam, and no keeper runs", "--yes")
    gate.spoolmgr.start()
    expected.update(kept_removed=2, kept_waiting=0)
    wait_until(lambda: (gate.wait_until_copied(), {k: gate.row("--customer", "fates")[k] for k in KEPT})[1] == expected, 30, "the next keeper says it")
    backend.close()


def test_an_end_that_is_written_twice_counts_once(gate):
    """A keeper that was killed writes again what it may not have written."""
    def ended(second, **fields):
        at = moment(f"2026-06-20T10:00:{second:02d}")
        return line_of(at, "again", 29, **{"event": "ended", "ref": "P001-4KX3T-0B7Q2CF", "verdict": "expired", "reply": AWAY, **fields})

    twice = [ended(1, rcpt=[f"{name}@again.example"], place=place) for place, name in enumerate(("a", "b", "b"), 1)]
    gate.write_log(*twice, *twice, ended(2), ended(1, verdict="delivered", reply="250 ok"))
    gate.write_log(*twice, ended(1, rcpt=["c@again.example"], place=4, reply="550 no"), ended(2, ref="P001-4KX3T-0B7Q2CG"))
    row = gate.row("--customer", "again", "--since", "2026-06", "--until", "2026-07")
    assert (row["kept_expired"], row["kept_delivered"], row["messages"], row["refused"], row["deferred"]) == (6, 1, 0, 0, 0)
    assert gate.postgres.sql("SELECT count(*) FROM postern.events WHERE customer = 'again'") == [(7,)]


def test_an_end_counts_once_beside_a_damaged_line_and_when_it_is_shortened(gate):
    def ended(place, **fields):
        return line_of(moment("2026-06-20T11:00:00"), "beside", 33, event="ended", ref="P001-4KX3T-0B7Q2CJ", rcpt=[f"r{place}@beside.example"], place=place,
                       **fields)

    def copy(*lines):
        offset, = (gate.postgres.sql("SELECT offset_bytes FROM postern.events_copied WHERE node = 8 AND file = 'beside'") or [(0,)])[0]
        text = "".join(lines)
        gate.postgres.sql("SELECT postern.events_copy(8, 'beside', %s, %s, %s)", offset, offset + len(text), text)

    def counted():
        return gate.postgres.sql("SELECT event, sum(recipients)::int FROM postern.usage_daily WHERE customer = 'beside' GROUP BY 1 ORDER BY 1")

    copy(ended(1), ended(2), ended(3, size="rubbish"), ended(1), ended(2))
    assert counted() == [("ended", 2)]
    copy(ended(2), ended(1), "{\n", ended(4))
    assert counted() == [("ended", 3)]
    refused = line_of(moment("2026-06-20T11:00:00"), "beside", 33, "450 4.7.1 later", event="recipient-refused", rcpt="a@beside.example", helo="ended")
    copy(refused, refused, ended(1))
    assert counted() == [("ended", 3), ("recipient-refused", 2)], "a peer's word makes no end of it"
    gate.postgres.sql("UPDATE postern.events SET detail = postern.event_short_detail(detail, 'salt') WHERE customer = 'beside'")
    copy(ended(1), ended(4))
    assert counted() == [("ended", 3), ("recipient-refused", 2)]


def test_an_end_that_is_written_days_later_counts_on_its_own_day(gate):
    """Removed while no keeper ran, half an hour behind Berlin's midnight."""
    line = line_of(moment("2026-05-31T22:30:00"), "monday", 34, event="ended", ref="P001-4KX3T-0B7Q2CK", verdict="removed", reply="spam")
    path = gate.dirs["log-dir"] / "events-20260604T07.jsonl"
    path.write_text(line)
    os.chmod(path, 0o644)
    gate.wait_until_copied()
    row = gate.row("--customer", "monday", "--since", "2026-05", "--until", "2026-07")
    assert (row["period"], row["kept_removed"]) == ("2026-06-01", 1)


@pytest.fixture(scope="module")
def scribed(gate):
    """Customer acme, and a scribe whose records are for rita (ours) and ron (live)."""
    backend = Backend().start()
    gate.add_customer(backend=backend.endpoint)
    gate.scribe, gate.acme = Scribe(gate), backend
    yield gate
    gate.scribe.close()
    backend.close()


def test_P2_only_what_was_kept_is_written_again(scribed):
    """A keeper is killed. Ron's mail was delivered at the dot, or waited and was removed before any attempt; what the next one
    makes of it is what was."""
    at_the_dot = scribed.scribe.record("prepared")
    scribed.scribe.say(at_the_dot, "confirm")
    wait_until(lambda: scribed.ends(at_the_dot), 20, "rita's is delivered")
    together = scribed.scribe.record()
    wait_until(lambda: len(scribed.ends(together)) == 2, 20, "both are delivered by the first attempt")
    scribed.acme.script["rcpt"] = lambda _, line: "550 5.1.1 unknown" if "rita" in line else None
    alone = scribed.scribe.record("prepared")
    scribed.scribe.say(alone, "confirm-all")
    wait_until(lambda: len(scribed.ends(alone)) == 2, 20, "ron's is delivered by the only attempt, and rita's refused")
    scribed.acme.script["rcpt"] = lambda _, line: "450 4.2.2 later" if "rita" in line else None
    before = scribed.scribe.record("prepared")
    scribed.scribe.say(before, "confirm-all")
    wait_until(lambda: scribed.ends(before), 20, "ron's is delivered by the first attempt")
    scribed.acme.script.clear()
    scribed.relayctl("spool", "retry", before)
    wait_until(lambda: len(scribed.ends(before)) == 2, 20, "rita's is delivered by the last")
    scribed.relayctl("backend", "hold", "acme/1", "--reason", "maintenance")
    scribed.wait_until_known()
    removed = scribed.scribe.record("prepared")
    scribed.scribe.say(removed, "confirm-all")
    wait_until(lambda: [m for m in scribed.spool("--customer", "acme") if m["id"] == removed and m["state"] == "waiting"], 20, "it waits")
    scribed.relayctl("spool", "remove", removed, "--reason", "spam", "--yes")
    wait_until(lambda: len(scribed.ends(removed)) == 2, 10, "both are removed")
    scribed.die()
    wait_until(lambda: len(scribed.ends(removed)) == 4, 10, "both again")
    for ref in (together, alone, before):
        wait_until(lambda ref=ref: len(scribed.ends(ref)) == 4, 10, f"both again: {ref} of {together} {alone} {before}")
    assert [e["rcpt"] for e in scribed.ends(at_the_dot)] == [["rita@acme.example"]] * 2
    scribed.relayctl("backend", "release", "acme/1")
    scribed.wait_until_known()


def test_explain_has_each_recipients_own_answer(scribed):
    """Both are refused in one attempt, and the spool has forgotten the message."""
    answers = {"rita": "550 5.1.1 unknown", "ron": "550 5.2.1 disabled"}
    scribed.acme.script["rcpt"] = lambda _, line: next(answer for name, answer in answers.items() if name in line)
    ref = scribed.scribe.record()
    wait_until(lambda: len(scribed.ends(ref)) == 2, 20, "both are refused")
    scribed.scribe.end()

    def kept():
        return scribed.relayctl_json("explain", ref)[0]["kept"]
    wait_until(lambda: kept()["source"] == "events", 20, "the spool has forgotten it")
    found = {r["address"]: (r["state"], r["reply"].split(" [")[0]) for r in kept()["recipients"]}
    assert found == {f"{name}@acme.example": ("refused", answer) for name, answer in answers.items()}


def test_explain_and_trace_know_the_end_of_what_the_spool_has_forgotten(gate):
    ref, at = "P001-4KX3T-0B7Q2CH", moment("2026-06-21T10:00:00")
    gate.write_log(line_of(at, "forgot", 30, ref=ref, verdict="spooled", reply="250 2.0.0 queued", kept=2, rcpt=["a@forgot.example", "b@forgot.example"]),
                   line_of(at + timedelta(hours=1), "forgot", 30, event="ended", ref=ref, reply="250 2.0.0 Ok", rcpt=["a@forgot.example"]),
                   line_of(at + timedelta(days=5), "forgot", 30, event="ended", ref=ref, verdict="expired", reply=AWAY, rcpt=["b@forgot.example"]))
    kept = gate.relayctl_json("explain", ref)[0]["kept"]
    assert (kept["source"], kept["state"], [(r["address"], r["state"]) for r in kept["recipients"]]) == \
        ("events", "ended", [("a@forgot.example", "delivered"), ("b@forgot.example", "expired")])
    text = " ".join(gate.relayctl("explain", ref).stdout.split())
    assert "<a@forgot.example>: delivered, at" in text and "<b@forgot.example>: its time was over" in text, text
    title, *lines = gate.relayctl("trace", "--id", ref).stdout.splitlines()
    assert [word for line in lines for word in ("expired", "delivered later", "spooled") if word in line] == \
        ["expired", "delivered later", "spooled"], lines
    found = gate.relayctl_json("trace", "--verdict", "expired", "--customer", "forgot")
    assert [e["event"] for e in found] == ["ended"]


def kept_and_ends(at, name, number, ref, *ends, kept=2):
    """Lines: a message that is kept for so many recipients, a@, b@ ..., and its ends: (hours later, verdict, reply, recipient)."""
    yield line_of(at, name, number, ref=ref, verdict="spooled", reply="250 2.0.0 queued", kept=kept, rcpt=[f"{c}@{name}.example" for c in "abcd"[:kept]])
    for hours, verdict, reply, rcpt in ends:
        yield line_of(at + timedelta(hours=hours), name, number, event="ended", ref=ref, verdict=verdict, reply=reply, rcpt=[f"{rcpt}@{name}.example"])


@contextlib.contextmanager
def without_its_spool(gate):
    """For relayctl alone; the daemons have read their configuration."""
    before = gate.settings["spool-dir"]
    gate.write_config(spool_dir=f"{before}-is-not-here")
    try:
        yield
    finally:
        gate.write_config(spool_dir=before)


def states(kept):
    return [(r["address"].partition("@")[0], r["state"]) for r in kept["recipients"]]


def test_P2_the_end_of_one_recipient_is_not_that_of_all(gate):
    """Neither the spool nor its index can be asked: who is known to have ended is named, and the message has ended with the last
    of them only. A line that is there twice is one recipient's."""
    at = moment("2026-06-22T10:00:00")
    ref, alone = ref_of(at, 1), ref_of(at, 2)
    message, end, last = kept_and_ends(at, "half", 33, ref, (1, "delivered", "250 2.0.0 Ok", "a"), (2, "removed", "removed by olaf: a worm", "b"))
    gate.write_log(message, end, end, *list(kept_and_ends(at, "half", 33, alone, (1, "expired", AWAY, "a")))[1:])
    with without_its_spool(gate):
        (told,) = gate.relayctl_json("explain", "--local", ref)
        assert (told["kept"]["state"], states(told["kept"])) == ("unknown", [("a", "delivered")]) and told["kept"]["why"]
        text = " ".join(gate.relayctl("explain", "--local", ref).stdout.split())
        assert "no more" not in text and "Whether it waits still for others than these is not known here" in text and "<a@half.example>: delivered, at" in text, text
        (told,) = gate.relayctl_json("explain", "--local", alone)
        assert (told["source"], told["events"], told["kept"]["state"], states(told["kept"])) == ("files", [], "unknown", [("a", "expired")])
        gate.write_log(last)
        (told,) = gate.relayctl_json("explain", "--local", ref)
        assert (told["kept"]["source"], told["kept"]["state"], states(told["kept"])) == ("events", "ended", [("a", "delivered"), ("b", "removed")])


def test_P2_what_the_index_knows_and_the_ends_are_told_together(gate):
    """Of another node's message: one recipient waits, one has ended."""
    at = moment("2026-06-22T11:00:00")
    ref = ref_of(at, 3, node=2)
    for n, line in enumerate(kept_and_ends(at, "index", 34, ref, (1, "delivered", "250 2.0.0 Ok", "a"))):
        gate.postgres.sql("SELECT postern.events_copy(2, %s, 0, %s, %s)", f"index-{n}", len(line), line)
    gate.postgres.sql("INSERT INTO postern.spool_index (ref, node, customer_id, customer, recipients, open_recipients, state, expires_at, attempts)"
                      " VALUES (%s, 2, 34, 'index', '{a@index.example,b@index.example}', 1, 'waiting', now() + interval '1 day', 3)", ref)
    try:
        (told,) = gate.relayctl_json("explain", ref)
        text = " ".join(gate.relayctl("explain", ref).stdout.split())
    finally:
        gate.postgres.sql("DELETE FROM postern.spool_index WHERE ref = %s", ref)
    assert (told["kept"]["source"], told["kept"]["state"], states(told["kept"])) == ("index", "waiting", [("a", "delivered")])
    assert "It waits in the spool" in text and "tried 3 times" in text and "<a@index.example>: delivered, at" in text, text


def test_P5_ends_of_days_later_are_found_in_the_files(gate):
    """The reference's minute says where its events begin, and not where they end."""
    at = moment("2026-06-23T10:00:00")
    ref, other = ref_of(at, 4), ref_of(at + timedelta(days=1), 5)
    for lines in (kept_and_ends(at, "later", 35, ref, (1, "delivered", "250 2.0.0 Ok", "a"), (24 * 6, "expired", AWAY, "b")),
                  kept_and_ends(at + timedelta(days=1), "later", 35, other, (24 * 30, "expired", AWAY, "a"), kept=1)):
        gate.write_log(*lines)

    def found(*args):
        return [(e["ref"], e["verdict"]) for e in gate.relayctl_json("trace", "--local", *args)]

    assert found("--id", ref) == [(ref, "expired"), (ref, "delivered"), (ref, "spooled")]
    assert found("--id", f"{ref} {other}") == [(other, "expired"), (ref, "expired"), (other, "spooled"), (ref, "delivered"), (ref, "spooled")]
    assert found("--id", ref, "--until", "2026-06-24") == [(ref, "delivered"), (ref, "spooled")]
    (told,) = gate.relayctl_json("explain", "--local", ref)
    assert (told["kept"]["state"], states(told["kept"])) == ("ended", [("a", "delivered"), ("b", "expired")])


def test_an_end_has_addresses_and_texts_as_they_were_sent(gate):
    """The log has an octet beyond ASCII as the character of its number."""
    def as_logged(text):
        return text.encode().decode("latin-1")

    at = moment("2026-06-24T10:00:00")
    ref = ref_of(at, 6)
    gate.write_log(*kept_and_ends(at, as_logged("käse"), 36, ref, (1, "removed", as_logged("removed by olaf: für Jürgen"), as_logged("ü")), kept=1))
    (told,) = gate.relayctl_json("explain", ref)
    (recipient,) = told["kept"]["recipients"]
    assert (recipient["address"], recipient["reply"]) == ("ü@käse.example", "removed by olaf: für Jürgen")
    assert "<ü@käse.example>: removed by an operator, at" in " ".join(gate.relayctl("explain", ref).stdout.split())


@pytest.mark.parametrize("reply, code", [
    ("250 2.0.0 Ok", "250"), ("550 5.1.1 nobody here [no notice: no outbound-route]", "550"), (AWAY, "-"),
    ("there was no route to a backend [no notice: no outbound-route]", "-"), ("removed by olaf: a worm", "-"),
    ("returned by olaf: too late [notice P001-4KX3T-0B7Q2CF]", "-"), ("ended before a restart [notice P001-4KX3T-0B7Q2CF]", "-"), ("55", "-")])
def test_trace_shows_the_code_of_a_reply_and_of_nothing_else(gate, reply, code):
    """The reply of an end need not be that of a server."""
    at = moment("2026-06-25T10:00:00")
    ref = ref_of(at, zlib.crc32(reply.encode()))
    gate.write_log(*kept_and_ends(at, "codes", 37, ref, (1, "refused", reply, "a"), kept=1))
    title, first, *_ = gate.relayctl("trace", "--id", ref).stdout.splitlines()
    assert first[title.index("CODE"):title.index("VERDICT")].strip() == code, first


def test_outages_are_cut_at_midnight_and_those_of_several_nodes_are_one(gate):
    sql = "INSERT INTO postern.usage_outages (customer_id, node, began_at, ended_at, customer) VALUES (31, %s, %s, %s, 'cut')"
    gate.postgres.sql(sql, 1, "2026-02-27T22:00:00Z", "2026-03-01T23:30:00Z")
    gate.postgres.sql(sql, 2, "2026-02-27T22:30:00Z", "2026-03-01T23:00:00Z")
    gate.postgres.sql(sql, 1, "2026-03-01T23:40:00Z", "2026-03-01T23:40:10Z")
    days = [(r["period"], r["outages"], r["outage_seconds"]) for r in gate.report("--customer", "cut", "--since", "2026-02-20", "--until", "2026-03-20")]
    assert days == [("2026-02-27", 1, 3600), ("2026-02-28", 0, 86400), ("2026-03-01", 0, 86400), ("2026-03-02", 1, 1810)]
    months = [(r["period"], r["outages"], r["outage_seconds"]) for r in gate.report("--customer", "cut", "--since", "2026-02", "--until", "2026-04", by="month")]
    assert months == [("2026-02", 1, 90000), ("2026-03", 1, 88210)]
    assert [r["outage_seconds"] for r in gate.report("--customer", "cut", "--since", "2026-03-01", "--until", "2026-03-02")] == [86400]


def test_a_months_peak_is_that_of_its_fullest_day(gate):
    for day, node, messages in (("2026-03-05", 1, 5), ("2026-03-05", 2, 3), ("2026-03-06", 1, 7)):
        gate.postgres.sql("INSERT INTO postern.usage_spool VALUES (%s, 32, %s, 'full', %s, %s)", day, node, messages, messages * 1000)
    row = gate.row("--customer", "full", "--since", "2026-03", "--until", "2026-04", by="month")
    assert (row["peak_messages"], row["peak_bytes"], row["messages"]) == (8, 8000, 0)


def test_nothing_to_report(gate):
    none = gate.relayctl("report", "--customer", "nobody", check=False)
    assert none.returncode == 3 and none.stdout == "" and "customer nobody" in none.stderr
    all_of_them = gate.relayctl("report", "--since", "2025-01", "--until", "2025-02", check=False)
    assert all_of_them.returncode == 0 and all_of_them.stdout == "" and "from 2025-01-01 to 2025-01-31" in all_of_them.stderr


@pytest.mark.parametrize("args, word", [
    (["--by", "week"], "week"), (["--since", "yesterday"], "yesterday"), (["--since", "2026-13"], "2026-13"), (["--until", "2026-02-30"], "2026-02-30"),
    (["--since", "2026-05-01 12:00"], "12:00"), (["--since", "2026-05", "--until", "2026-05"], "--until"), (["--csv", "--json"], "--csv"),
    (["--since", "2001-01"], "days apart"), (["surplus"], "surplus")])
def test_bad_input(gate, args, word):
    done = gate.relayctl("report", *args, check=False)
    assert done.returncode == 2 and word in done.stderr and done.stdout == "", done


def test_P5_a_peak_that_the_database_refuses_holds_up_nothing_else(gate):
    backend = Backend().start()
    gate.add_customer("odd", "odd.example", backend.endpoint)
    backend.stop()
    gate.postgres.sql("ALTER TABLE postern.usage_spool ADD CONSTRAINT no_odd CHECK (customer <> 'odd')")
    assert "queued" in gate.send(make_message(test_id=300), rcpts=["a@odd.example"]).text
    wait_until(lambda: gate.spoolmgr.log_lines("usage-not-counted"), 20, "it is said")
    wait_until(lambda: gate.postgres.sql("SELECT count(*) FROM postern.spool_index WHERE customer = 'odd'") == [(1,)], 20, "the index goes on")
    gate.postgres.sql("ALTER TABLE postern.usage_spool DROP CONSTRAINT no_odd")
    backend.start()
    wait_until(lambda: backend.taken, 60, "it is delivered")
    backend.close()


def test_P5_what_happens_without_the_database_is_counted_when_it_is_back(gate):
    """Three wait and are delivered meanwhile: events in the log, the peak and the outage in the keeper's memory."""
    backend = Backend().start()
    gate.add_customer("dark", "dark.example", backend.endpoint)
    backend.stop()
    gate.postgres.stop()
    try:
        for n in range(3):
            assert "queued" in gate.send(make_message(test_id=200 + n), rcpts=["a@dark.example"]).text
        wait_until(lambda: len(gate.spool("--customer", "dark")) == 3, 20, "they wait")
        wait_until(lambda: "customer\t" in (gate.dirs["spool-dir"] / "told").read_text(), 20, "the keeper has seen the outage")
        backend.start()
        wait_until(lambda: len(backend.taken) == 3, 60, "all is delivered")
    finally:
        gate.postgres.start()
    gate.wait_until_copied()
    row = wait_until(lambda: [r for r in gate.report("--customer", "dark") if r["peak_messages"] and r["outage_seconds"]], 30, "it is in the report")[0]
    assert (row["kept_messages"], row["peak_messages"], row["outages"]) == (3, 3, 1)
    backend.close()
