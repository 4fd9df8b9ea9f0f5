# SPDX-License-Identifier: BSD-2-Clause
"""relayctl export and import: the registry as a file, there and back."""
import json
import os
import pty
import subprocess
import time

import pytest

from registry import RELAYCTL, acme, ctl, postgres, template  # noqa: F401
from world import SOURCE, program

HEADER = {"kind": "registry", "format": 1}


def lines(*objects):
    return "".join(json.dumps(o) + "\n" for o in objects)


def export(ctl, *args):
    return ctl("export", *args).out


def put(ctl, *objects, args=(), code=0):
    return ctl("import", "-", *args, input=lines(HEADER, *objects), code=code)


@pytest.fixture
def full(acme):
    """Every kind of row, and every field that is not as it begins."""
    acme("customer", "set", "acme", "--policy", "strict,spf=mark", "--max-message-size", "none", "--retention-days", "7", "--language", "de")
    acme("customer", "set", "acme", "--max-connections-per-hour", "1000", "--policy", "off", "--until", "+2d")
    acme("customer", "add", "beta")
    acme("customer", "suspend", "beta", "--reason", "unpaid \\ \t \"bill\"")
    acme("domain", "add", ".beta.example", "--customer", "beta", "--mode", "fallback", "--primary-up", "defer", "--when-down", "reject",
         "--verify-ownership")
    acme("backend", "add", "mail.beta.example:2525", "--customer", "beta", "--mx", "--domain", ".beta.example", "--weight", "3", "--tls",
         "verify", "--tls-name", "mx.beta.example", "--source-address", "2001:db8::7", "--xforward", "yes", "--max-connections", "4")
    acme("backend", "hold", "beta/1", "--reason", "moves")
    acme("filter", "add", "203.0.113.0/24", "2001:db8:7::/48", "--customer", "acme", "--label", "barracuda", "--exempt", "ptr,helo", "--origin",
         "received", "--only")
    acme("filter", "add", "--spf-include", "_spf.filter.example", "--customer", "acme")
    acme("block", "add", "198.51.100.7", "--node-wide", "--reason", "sends junk")
    acme("block", "add", ".bad.example", "sam@bad.example", "--customer", "acme", "--reason", "too", "--until", "+7d")
    acme("allow", "add", "good.example", "--customer", "beta")
    acme("recipient", "add", "info@acme.example", "o'hara@acme.example")
    acme("domain", "set", "acme.example", "--recipients", "complete")
    acme("recipient", "add", "a@x.beta.example")
    return acme


# --- Export


def test_an_export_has_all_and_is_the_same_twice(full):
    text = export(full, "--recipients")
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows[0] == {"kind": "registry", "format": 1, "customer": None, "recipients": True}
    kinds = [r["kind"] for r in rows]
    assert {k: kinds.count(k) for k in kinds} == {"registry": 1, "customer": 2, "change": 2, "domain": 2, "backend": 2, "filter": 3, "rule": 4,
                                                  "recipient": 3, "end": 1}
    assert text == export(full, "--recipients")
    first, = [r for r in rows if r["kind"] == "customer" and r["name"] == "acme"]
    assert first["policy"] == "strict,spf=mark" and first["max_message_size_bytes"] is None and first["max_connections_per_hour"] == 200
    change, = [r for r in rows if r["kind"] == "change" and r["field"] == "max_connections_per_hour"]
    assert change["value"] == 1000 and change["until_at"].endswith("Z")
    assert "recipient" not in [json.loads(line)["kind"] for line in export(full).splitlines()]


def test_an_export_of_one_customer(full):
    rows = [json.loads(line) for line in export(full, "--customer", "beta", "--recipients").splitlines()]
    assert rows[0]["customer"] == "beta"
    assert [r["kind"] for r in rows[1:]] == ["customer", "domain", "backend", "rule", "recipient", "end"]
    assert "did you mean beta" in full("export", "--customer", "bet", code=3).err
    assert full("export", "--customer", "BETA", code=2).out == ""


def test_no_column_of_the_registry_is_forgotten(full):
    """A column that a release adds is in the file, or is named here with the reason why not."""
    own = {"id", "created_at", "created_by", "customer_id"}
    other_names = {"sender_rules": {"network", "sender", "domain"}}  # "what"
    tables = {"customers": "customer", "customer_changes": "change", "domains": "domain", "backends": "backend", "upstream_filters": "filter",
              "sender_rules": "rule", "recipients": "recipient"}
    rows = [json.loads(line) for line in export(full, "--recipients").splitlines()]
    for table, kind in tables.items():
        columns = {c for c, in full.sql("SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                                        " AND NOT attisdropped", f"postern.{table}")}
        has = set(next(r for r in rows if r["kind"] == kind))
        assert columns - own - other_names.get(table, set()) - has == set(), table
    # What is audited is what operators decide: no table of these is forgotten, either.
    audited = {t for t, in full.sql("SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
                                   " WHERE tgname = 'audit_change'")}
    assert audited == {*tables, "removed_domains"}


# --- Import


def test_an_import_of_an_export_changes_nothing(full):
    text, version, audit = export(full, "--recipients"), full.version(), full.sql("SELECT count(*) FROM postern.audit")
    done = full("import", "-", "--prune", "--reason", "as it is", input=text)
    assert "0 added, 0 changed, 0 removed; 18 were as the file has them" in done.out
    assert (full.version(), full.sql("SELECT count(*) FROM postern.audit")) == (version, audit), "no node reads it anew"
    assert export(full, "--recipients") == text


def test_an_export_makes_the_same_registry_elsewhere(full, postgres):
    from registry import fresh
    text = export(full, "--recipients")
    elsewhere = fresh(postgres, "made")
    other = next(elsewhere)
    before = other.version()
    assert "18 added, 0 changed" in other("import", "-", "--reason", "moved", input=text).out
    assert other.version() == before + 1, "one bump"
    assert export(other, "--recipients") == text
    assert {r for r, in other.sql("SELECT DISTINCT reason FROM postern.audit")} == {"moved"}
    next(elsewhere, None)


def test_what_a_line_does_not_say_stays_and_begins_as_new_ones_do(acme):
    put(acme, {"kind": "customer", "name": "acme", "retention_days": 9}, {"kind": "customer", "name": "new", "contact": "ops@new.example"},
        {"kind": "domain", "name": "New.Example.", "customer": "new"}, {"kind": "backend", "customer": "new", "number": 1, "address": "192.0.2.77"})
    shown = acme.one("customer", "show", "acme")
    assert shown["retention_days"] == 9 and shown["contact"] == "ops@acme.example"
    new = acme.one("customer", "show", "new")
    assert (new["max_connections_per_hour"], new["policy"], new["state"]) == (200, "standard", "active")
    assert acme.one("backend", "show", "new/1")["port"] == 25
    assert acme.one("domain", "show", "new.example")["customer"] == "new"


def test_values_may_be_written_as_options_are(acme):
    put(acme, {"kind": "customer", "name": "acme", "max_message_size_bytes": "50MiB", "retention_days": "none", "policy": "spf=mark"})
    shown = acme.one("customer", "show", "acme")
    assert (shown["max_message_size_bytes"], shown["retention_days"], shown["policy"]) == (50 << 20, None, "standard,spf=mark")


def test_a_domain_moves_and_a_backend_changes_its_address(acme):
    put(acme, {"kind": "customer", "name": "beta"}, {"kind": "domain", "name": "acme.example", "customer": "beta"},
        {"kind": "backend", "customer": "acme", "number": 1, "host": "mail.acme.example", "port": 2525})
    assert acme.one("domain", "show", "acme.example")["customer"] == "beta"
    shown = acme.one("backend", "show", "acme/1")
    assert (shown["address"], shown["host"], shown["port"]) == (None, "mail.acme.example", 2525)


def test_what_the_database_would_do_beyond_the_file_is_refused(acme):
    """A domain takes a backend of its own along; a file that leaves it behind is not made half."""
    acme("customer", "add", "beta")
    acme("backend", "add", "192.0.2.20", "--customer", "acme", "--domain", "acme.example")
    text = export(acme)
    left = [json.loads(line) for line in text.splitlines()[1:] if '"acme.example"' in line]
    for row in left:
        if row["kind"] == "domain":
            row["customer"] = "beta"
    done = put(acme, *left, code=2)
    assert "backend acme/2: cannot be made in one step" in done.err and export(acme) == text
    put(acme, *[{**row, "customer": "beta"} for row in left])
    assert acme.one("backend", "show", "beta/2")["domain"] == "acme.example"


def test_the_difference_of_a_dry_run(acme):
    version, text = acme.version(), export(acme)
    objects = [{"kind": "customer", "name": "acme", "retention_days": None, "contact": "it@acme.example"}, {"kind": "customer", "name": "new"}]
    done = put(acme, *objects, args=["--dry-run", "--json"])
    assert done.rows == [
        {"action": "changed", "kind": "customer", "name": "acme", "field": "contact", "old": "ops@acme.example", "new": "it@acme.example"},
        {"action": "changed", "kind": "customer", "name": "acme", "field": "retention_days", "old": 5, "new": None},
        {"action": "added", "kind": "customer", "name": "new", "field": None, "old": None, "new": None}]
    people = put(acme, *objects, args=["--dry-run"]).out
    assert "retention_days  5" in people and "dry run: would have 1 added, 1 changed, 0 removed; 0 were" in people
    assert acme.version() == version and export(acme) == text
    assert put(acme, *objects, args=["--json"]).rows == [{"added": 1, "changed": 1, "removed": 0, "same": 0, "dry_run": False, "warnings": []}]


# --- Pruning


def test_pruning_removes_what_the_file_lacks_and_leaves_tombstones(full):
    kept = [line for line in export(full, "--recipients").splitlines() if '"beta' not in line and "beta.example" not in line]
    text = "\n".join(kept) + "\n"
    assert "needs --reason" in full("import", "-", "--prune", input=text, code=2).err
    dry = full("import", "-", "--prune", "--reason", "left", "--dry-run", "--json", input=text).rows
    assert {(r["kind"], r["name"]) for r in dry} == {
        ("customer", "beta"), ("domain", ".beta.example"), ("backend", "beta/1"), ("rule", "beta allow good.example"),
        ("recipient", "a@.beta.example")}
    assert all(r["action"] == "removed" for r in dry)
    assert full("import", "-", input=text).out.startswith("0 added, 0 changed, 0 removed"), "not without --prune"
    full("import", "-", "--prune", "--reason", "left", input=text)
    assert full.sql("SELECT name, customer, reason FROM postern.removed_domains") == [(".beta.example", "beta", "left")]
    assert export(full, "--recipients") == text
    assert full.sql("SELECT DISTINCT reason FROM postern.audit WHERE operation = 'delete' AND table_name = 'customers'") == [("left",)]


def test_pruning_by_a_file_that_may_be_cut_removes_nothing(full):
    text = export(full)
    cut = text[:text.rindex('{"kind": "end"}')]
    prune = ("import", "-", "--prune", "--reason", "r")
    for lines in (cut, "".join(cut.splitlines(keepends=True)[:4])):
        assert "may be cut" in full(*prune, input=lines, code=2).err
    assert "stands behind the last line" in full(*prune, input=text + cut.splitlines()[-1], code=2).err
    for header in ('{"kind": "registry", "format": 1, "custmer": "beta"}', '{"kind": "registry", "format": 1, "customer": 7}',
                   '{"kind": "registry", "format": 1, "recipients": "no"}'):
        assert "line 1: " in full(*prune, input=header + '\n{"kind": "end"}\n', code=2).err
    assert export(full) == text
    assert full("import", "-", input=cut).out.startswith("0 added, 0 changed, 0 removed"), "without --prune nothing can be lost by it"


def test_pruning_reaches_no_further_than_the_export_did(full):
    text = export(full)
    full("import", "-", "--prune", "--reason", "r", input=export(full, "--customer", "beta"))
    assert export(full) == text, "one customer's file removes nothing of another"
    full("import", "-", "--prune", "--reason", "r", input=text)
    assert len(full("recipient", "list", "--json").rows) == 3, "a file without recipients removes none"


def test_pruning_obeys_the_rules_for_mail_that_waits(full):
    full.sql("INSERT INTO postern.spool_index (ref, node, customer_id, recipients, open_recipients)"
             " SELECT 'P001-4KX3T-0B7Q2CF', 1, id, '{a@x.beta.example}', 1 FROM postern.customers WHERE name = 'beta' RETURNING 1")
    text = export(full, "--customer", "acme").replace('"customer": "acme"', '"customer": null', 1)
    done = full("import", "-", "--prune", "--reason", "left", input=text, code=1)
    assert "1 message waiting" in done.err and "--spool keep" in done.err
    assert full.one("customer", "show", "beta")
    full("import", "-", "--prune", "--reason", "left", "--spool", "keep", input=text)
    full("customer", "show", "beta", code=3)


def test_a_lock_and_a_complete_list_do_not_become_empty(full):
    rows = export(full, "--recipients").splitlines()
    without = [r for r in rows if '"filter"' not in r and not ('"recipient"' in r and "acme" in r)]
    text = export(full, "--recipients")
    done = full("import", "-", "--prune", "--reason", "r", input="\n".join(without), code=2)
    assert "customer acme: has no filter" in done.err and "domain acme.example: has no recipients" in done.err
    assert export(full, "--recipients") == text


# --- Mistakes


MISTAKES = [
    ({"kind": "custmer", "name": "x"}, "line 2: kind: \"custmer\" is unknown; did you mean customer?"),
    ({"name": "x"}, "line 2: \"kind\" is missing"),
    ({"kind": "customer"}, "line 2: \"name\" is missing"),
    ({"kind": "customer", "name": "Acme"}, "line 2: customer: \"Acme\" has capital letters"),
    ({"kind": "customer", "name": "x", "retention_day": 5}, "customer x: a customer has no \"retention_day\"; did you mean retention_days?"),
    ({"kind": "customer", "name": "x", "retention_days": 0}, "customer x: retention_days: 0 is out of range"),
    ({"kind": "customer", "name": "x", "retention_days": [5]}, "retention_days: [5] "),
    ({"kind": "customer", "name": "x", "language": "fr"}, "language: \"fr\" is unknown; use en, de, nl or da"),
    ({"kind": "customer", "name": "x", "filters_only": 7}, "filters_only: 7 is unknown"),
    ({"kind": "customer", "name": "x", "policy": "strict,spf=jail"}, "policy: \"strict,spf=jail\" is no policy"),
    ({"kind": "customer", "name": "x", "filters_only": True}, "line 2: customer x: has no filter"),
    ({"kind": "change", "customer": "acme", "field": "contact", "value": "a@b.example"}, "field: \"contact\" is nothing that changes for a time"),
    ({"kind": "change", "customer": "acme", "field": "retention_days", "value": 9, "until_at": "soon"}, "until_at: \"soon\" is not a moment"),
    ({"kind": "change", "customer": "acme", "field": "retention_days", "value": 9}, "acme retention_days: needs \"value\" and \"until_at\""),
    ({"kind": "domain", "name": "x.example"}, "line 2: domain x.example: needs \"customer\""),
    ({"kind": "domain", "name": "x.example", "customer": "nobody"}, "line 2: domain x.example: there is no customer \"nobody\""),
    ({"kind": "domain", "name": "no domain", "customer": "acme"}, "line 2: domain: \"no domain\""),
    ({"kind": "domain", "name": "acme.example", "recipients_complete": True}, "domain acme.example: has no recipients"),
    ({"kind": "backend", "customer": "acme", "number": 0, "address": "192.0.2.1"}, "\"number\" must be there"),
    ({"kind": "backend", "customer": "acme", "number": 2}, "line 2: backend acme/2: needs \"address\" or \"host\""),
    ({"kind": "backend", "customer": "acme", "number": 2, "address": "224.0.0.1"}, "\"224.0.0.1\" is a multicast address"),
    ({"kind": "backend", "customer": "acme", "number": 2, "address": "192.0.2.1", "host": "a.example"}, "exclude each other"),
    ({"kind": "backend", "customer": "acme", "number": 2, "address": "192.0.2.10"}, "backend acme/2: the customer has another backend with this"),
    ({"kind": "backend", "customer": "acme", "number": 2, "address": "192.0.2.1", "domain": "x.example"}, "there is no domain \"x.example\""),
    ({"kind": "filter", "customer": "acme", "number": 1, "network": "203.0.113.1/24"}, "did you mean 203.0.113.0/24"),
    ({"kind": "filter", "customer": "acme", "number": 1, "network": "203.0.113.0/24", "exempt": ["spf"]}, "names SPF"),
    ({"kind": "rule", "customer": None, "action": "block", "what": "a.example", "reason": "r"}, "for every customer there are only networks"),
    ({"kind": "rule", "customer": "acme", "action": "block", "what": "a.example"}, "acme block a.example: needs \"reason\""),
    ({"kind": "recipient", "domain": "other.example", "local_part": "a"}, "a@other.example: there is no domain \"other.example\""),
    ({"kind": "recipient", "domain": "acme.example", "local_part": "a%b"}, "local_part: \"a%b\" asks for relaying"),
]


@pytest.mark.parametrize("wrong, sentence", MISTAKES, ids=[s for _, s in MISTAKES])
def test_a_mistake_is_said_with_its_line_and_nothing_is_changed(acme, wrong, sentence):
    version, text = acme.version(), export(acme)
    done = put(acme, wrong, {"kind": "customer", "name": "behind"}, code=2)
    assert sentence in done.err and "line 2" in done.err
    assert acme.version() == version and export(acme) == text


def test_every_mistake_is_said(acme):
    done = put(acme, {"kind": "customer", "name": "x", "language": "fr", "retention_days": 0, "colour": "red"},
               {"kind": "domain", "name": "acme.example"}, {"kind": "backend", "customer": "acme", "number": "1"}, code=2)
    assert [line.split(":")[1] for line in done.err.splitlines()] == [" line 2"] * 3 + [" line 4", " 2 lines are wrong; nothing is changed"]
    done = put(acme, *[{"kind": "customer", "name": f"X{i}"} for i in range(50)], code=2)
    assert "20 lines are wrong, and the rest has not been read" in done.err
    done = put(acme, {"kind": "domain", "name": "a.example", "customer": "nobody"}, {"kind": "domain", "name": "b.example"},
               {"kind": "domain", "name": "b.example"}, code=2)
    assert "line 2" in done.err and "line 3" in done.err and "line 4: domain b.example: is in the file twice: line 3 has it too" in done.err


@pytest.mark.parametrize("text, sentence", [
    ("", "- is empty"), ("{}\n", "the first line must be"), ("[1]\n", "line 1: is no JSON object"), ("{\n", "line 1: is no JSON object"),
    ('{"kind": "registry", "format": 2}\n', "format 2 is not one that this relayctl knows"),
    (lines(HEADER) + '{"kind": "customer", "name": "x", "name": "y"}\n', "line 2: is no JSON object: duplicate"),
    ('{"kind": "customer", "name": "x"}\n', "the first line must be")])
def test_what_is_no_export_is_refused(acme, text, sentence):
    version = acme.version()
    assert sentence in acme("import", "-", input=text, code=2).err
    assert acme.version() == version


def test_a_file_that_can_not_be_read_or_has_other_line_ends(acme, tmp_path):
    assert "cannot be read: No such file" in acme("import", str(tmp_path / "none"), code=1).err
    text = export(acme)
    file = tmp_path / "registry.jsonl"
    file.write_text("\ufeff" + text.replace("\n", "\r\n\r\n"))
    assert "3 were as the file has them" in acme("import", str(file)).out


def test_what_has_ended_is_left_out(acme):
    acme("block", "add", "192.0.2.66", "--node-wide", "--reason", "r", "--until", "+2d")
    acme("customer", "set", "acme", "--retention-days", "9", "--until", "+2d")
    text = export(acme)
    acme.sql("UPDATE postern.sender_rules SET expires_at = now() - interval '1 minute' RETURNING 1")
    acme.sql("UPDATE postern.customer_changes SET until_at = now() - interval '1 minute' RETURNING 1")
    assert not any(json.loads(line)["kind"] in ("rule", "change") for line in export(acme).splitlines())
    assert "2 added" in acme("import", "-", input=text).out, "in the place of what has ended"
    past = [{"kind": "rule", "customer": None, "action": "block", "what": "192.0.2.67", "reason": "r", "expires_at": "2020-01-01T00:00:00Z"}]
    done = put(acme, *past)
    assert "1 line is of what has ended by now" in done.err and done.out.startswith("0 added")


# --- Many


def many(count):
    yield HEADER
    for i in range(count):
        yield {"kind": "customer", "name": f"c{i}", "contact": f"ops@c{i}.example"}
        yield {"kind": "domain", "name": f"c{i}.example", "customer": f"c{i}"}
        yield {"kind": "backend", "customer": f"c{i}", "number": 1, "address": f"198.18.{i // 250}.{i % 250 + 1}"}


def test_ten_thousand_customers_in_one_import(ctl, capsys):
    text = lines(*many(10000))
    began = time.monotonic()
    done = ctl("import", "-", input=text)
    made = time.monotonic() - began
    assert "30000 added" in done.out
    began = time.monotonic()
    assert "0 added, 0 changed, 0 removed; 30000 were" in ctl("import", "-", input=text).out
    again = time.monotonic() - began
    assert len(export(ctl).splitlines()) == 30002
    with capsys.disabled():
        print(f"\n10,000 customers with a domain and a backend each: imported in {made:.1f} s, again in {again:.1f} s")


@pytest.mark.parametrize("kind, line, field", [
    ("backend", {"kind": "backend", "customer": "acme", "number": 1, "held": True}, "held_reason"),
    ("backend", {"kind": "backend", "customer": "acme", "number": 2, "address": "192.0.2.9", "held": True, "held_reason": None}, "held_reason"),
    ("customer", {"kind": "customer", "name": "acme", "state": "suspended"}, "state_reason"),
    ("customer", {"kind": "customer", "name": "new", "state": "refused"}, "state_reason")])
def test_a_hold_or_suspension_needs_its_reason_by_a_file_too(acme, kind, line, field):
    before = export(acme)
    error = put(acme, line, code=2).err
    assert f"line 2: {kind}" in error and f'needs "{field}"' in error and export(acme) == before
    put(acme, {**line, field: "ticket 4711"})
    assert "needs --reason" in acme("customer", "suspend", "acme", code=2).err
    other = {"kind": kind, **({"name": "acme", "language": "de"} if kind == "customer" else {"customer": "acme", "number": 1, "priority": 7})}
    put(acme, other)


def answered(ctl, answer, *args, meanwhile=None):
    """relayctl on a terminal: what it asks, its exit status and what it says else."""
    master, slave = pty.openpty()
    process = subprocess.Popen([program(RELAYCTL), "-c", str(ctl.config_file), *args], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, "POSTERN_SQL_DIR": str(SOURCE / "sql"), "TZ": "UTC"})
    os.close(slave)
    asked = ""
    while not asked.endswith("[yes/no] "):
        one = process.stderr.read(1)
        if not one:
            break
        asked += one
    if meanwhile:
        meanwhile()
    os.write(master, answer)
    out, err = process.communicate(timeout=30)
    os.close(master)
    return asked, process.returncode, out + err


def test_the_question_before_a_prune_says_how_many_of_what(full):
    path = full.folder / "pruned.jsonl"
    text = export(full, "--recipients")
    path.write_text("".join(line + "\n" for line in text.splitlines() if "beta" not in line))
    args = ("import", str(path), "--prune", "--reason", "left")
    asked, code, said = answered(full, b"no\n", *args)
    assert asked == "Remove 1 customer, 1 domain, 1 backend, 1 rule, 1 recipient, of which the file has no line, and refuse the mail of such domains? [yes/no] "
    assert code == 1 and "nothing is changed" in said and export(full, "--recipients") == text
    asked, code, said = answered(full, b"yes\n", *args, meanwhile=lambda: full("recipient", "add", "b@x.beta.example"))
    assert code == 1 and "2 recipients" in said and "meanwhile" in said

    def as_many_others():
        full.sql("DELETE FROM postern.recipients WHERE local_part = 'b' RETURNING 1")
        full("recipient", "add", "c@x.beta.example")

    asked, code, said = answered(full, b"yes\n", *args, meanwhile=as_many_others)
    assert "2 recipients" in asked and code == 1 and "meanwhile" in said, "as many, and not the same"
    assert [r["address"] for r in full("recipient", "list", "--customer", "beta", "--json").rows] == ["a@*.beta.example", "c@*.beta.example"]
    asked, code, said = answered(full, b"yes\n", *args)
    assert code == 0 and "2 recipients" in asked and "6 removed" in said, said
    assert answered(full, b"", *args)[0] == "", "nothing is to be removed, so nothing is asked"
