# SPDX-License-Identifier: BSD-2-Clause
"""Who may do what: each database role with each kind of verb is served, or told in a sentence which role is wanted; the audit
says who it was, and nobody signs with another's name."""
import json
import re

import psycopg2
import pytest

from registry import acme, ctl, postgres, template  # noqa: F401
from world import SOURCE

ROLES = {"olaf": "postern_operator", "susi": "postern_support", "vera": "postern_auditor"}
NOBODY = "paul"


@pytest.fixture(scope="module")
def people(postgres):
    """One of each role, and one with none."""
    for name, role in ROLES.items():
        postgres.sql(f"CREATE ROLE {name} LOGIN IN ROLE {role}", database="made")
    postgres.sql(f"CREATE ROLE {NOBODY} LOGIN", database="made")
    yield [*ROLES, NOBODY]
    for name in [*ROLES, NOBODY]:
        postgres.sql(f"DROP ROLE {name}", database="made")


@pytest.fixture
def as_user(template, people, acme):
    """as_user("susi")("customer", "list")"""
    acme("recipient", "add", "info@acme.example", "old@acme.example")

    def become(name):
        acme.user = name
        acme.configure()
        return acme

    yield become
    acme.user = "postern"


# A kind of verb: who may, and which role the others are told.  An exit status that is not 0 is of what this machine lacks.
LOOK_AT_REGISTRY = [("customer", "list"), ("customer", "show", "acme"), ("domain", "list"), ("domain", "show", "acme.example"), ("backend", "list"),
                    ("backend", "show", "acme/1"), ("filter", "list"), ("block", "list"), ("allow", "list"), ("recipient", "list"), ("db", "status"),
                    ("export", "--recipients"), ("audit",), ("report",)]
LOOK_AT_MAIL = [("trace", "--rcpt", "info@acme.example"), ("spool", "list", "--customer", "acme")]
CHANGE = [("customer", "add", "new"), ("customer", "set", "acme", "--retention-days", "9"), ("customer", "suspend", "acme", "--reason", "x"),
          ("customer", "remove", "acme", "--reason", "x"), ("domain", "add", "new.example", "--customer", "acme"),
          ("domain", "remove", "acme.example", "--reason", "x"), ("backend", "add", "192.0.2.9", "--customer", "acme"),
          ("backend", "set", "acme/1", "--priority", "5"), ("backend", "hold", "acme/1", "--reason", "x"),
          ("filter", "add", "203.0.113.0/24", "--customer", "acme"), ("block", "add", "192.0.2.7", "--node-wide", "--reason", "x"),
          ("allow", "add", "b.example", "--customer", "acme"), ("recipient", "add", "new@acme.example"),
          ("recipient", "forget", "--domain", "acme.example")]


@pytest.mark.parametrize("verb", LOOK_AT_REGISTRY, ids=" ".join)
def test_whoever_has_a_role_looks_at_the_registry_and_the_audit(as_user, verb):
    for name in ROLES:
        as_user(name)(*verb)
    said = as_user(NOBODY)(*verb, code=1).err
    assert "postern_auditor" in said or verb == ("db", "status"), said


@pytest.mark.parametrize("verb", LOOK_AT_MAIL, ids=" ".join)
def test_auditors_see_nothing_of_anybodys_mail(as_user, verb):
    def run(name, code):
        ctl = as_user(name)
        ctl.configure(**{"spool-dir": "/nowhere/spool"})  # so that the index in PostgreSQL is asked
        return ctl(*verb, code=code).err
    for name in ("olaf", "susi"):
        assert "permission denied" not in run(name, 3)
    said = run("vera", 1)
    assert "permission denied" in said and "postern_support" in said, said


@pytest.mark.parametrize("verb", CHANGE, ids=lambda v: " ".join(v[:2]))
def test_operators_alone_change_the_registry(as_user, verb):
    for name in ("susi", "vera", NOBODY):
        ctl = as_user(name)
        said = ctl(*verb, code=1).err
        assert "postern_operator" in said, (name, said)
        assert "\n" not in said.strip(), "one sentence"
    olaf = as_user("olaf")
    assert "permission denied" not in olaf(*verb, "--dry-run", code=1 if verb[:2] == ("customer", "remove") else 0).err


def test_import_is_of_operators(as_user):
    text = as_user("vera")("export").out.replace('"retention_days" : 5', '"retention_days" : 6')
    for name in ("susi", "vera"):
        assert "postern_operator" in as_user(name)("import", "-", input=text, code=1).err
    assert as_user("olaf")("import", "-", input=text).out.startswith("0 added, 1 changed")


def test_support_staff_may_forget_a_recipient(as_user):
    """Exit 4: no relay runs here that could forget as well."""
    susi = as_user("susi")
    susi("recipient", "forget", "old@acme.example", "--reason", "has left", code=4)
    assert susi.sql("SELECT local_part FROM postern.recipients") == [("info",)]
    assert susi.sql("SELECT who, operation, reason FROM postern.audit ORDER BY id DESC LIMIT 1") == [("susi", "delete", "has left")]
    said = as_user("vera")("recipient", "forget", "info@acme.example", code=1).err
    assert "postern_support" in said
    said = as_user("susi")("recipient", "forget", "--domain", "acme.example", code=1).err
    assert "postern_operator" in said
    assert susi.sql("SELECT local_part FROM postern.recipients") == [("info",)]
    as_user("olaf")("domain", "set", "acme.example", "--recipients", "complete")
    as_user("susi")("recipient", "forget", "info@acme.example", "--dry-run")
    as_user("susi")("recipient", "forget", "info@acme.example", code=4)
    assert susi.sql("SELECT recipients_complete FROM postern.domains") == [(False,)], "a complete list of none would refuse all"


def test_support_staff_may_test_a_backend_and_forget_first_contacts(as_user):
    """The relay does both, which does not run here."""
    for verb in (("backend", "test", "acme/1"), ("greylist", "forget", "192.0.2.0/24")):
        said = as_user("susi")(*verb, code=1)
        assert "permission denied" not in said.err and "grant" not in said.err, said.err


def test_a_support_user_reads_a_body_with_a_reason_alone(as_user, tmp_path):
    """However it is asked for, before anything is opened."""
    susi = as_user("susi")
    for verb in (("spool", "show", "P001-4KX3T-0B7Q2CF", "--body"), ("spool", "export", "P001-4KX3T-0B7Q2CF", "--to", str(tmp_path))):
        assert "needs --reason" in susi(*verb, code=2).err


def test_a_name_can_not_be_forged(as_user):
    """Neither by an option, nor by the environment, nor by SQL."""
    olaf = as_user("olaf")
    for option in ("--user", "--who", "--operator", "--as"):
        assert "unknown option" in olaf("customer", "set", "acme", "--retention-days", "7", option, "root", code=2).err
    olaf("customer", "set", "acme", "--retention-days", "7", env={"PGUSER": "root", "USER": "root", "LOGNAME": "root", "SUDO_USER": "root"})
    row = olaf.one("audit", "--limit", "1")
    assert row["who"] == "olaf" and row["program"] == "relayctl"
    with olaf.postgres.connect(olaf.database) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION AUTHORIZATION olaf; SET ROLE postern_operator; SET postern.reason = 'r'")
        cursor.execute("UPDATE postern.customers SET retention_days = 8")
        cursor.execute("SELECT who FROM postern.audit ORDER BY id DESC LIMIT 1")
        assert cursor.fetchall() == [("olaf",)], "whatever role the session has taken on"
        connection.rollback()
    for name in ("olaf", "susi", "vera"):
        for statement in ("INSERT INTO postern.audit (who, table_name, operation) VALUES ('root', 'x', 'insert')",
                          "UPDATE postern.audit SET who = 'root'", "DELETE FROM postern.audit", "TRUNCATE postern.audit"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                olaf.sql(f"SET SESSION AUTHORIZATION {name}; {statement}")


def test_whoever_drains_a_node_signs_with_his_own_name(as_user):
    """Who may is the control socket's to say."""
    order = "SELECT postern.audit_node_order(1, 'drain', 'new kernel')"
    olaf = as_user("olaf")
    for name in ("olaf", "susi"):
        olaf.sql(f"SET SESSION AUTHORIZATION {name}; {order}")
    assert [(r["who"], r["what"], r["reason"]) for r in olaf("audit", "--what", "node", "--json").rows] == [(name, "node", "new kernel") for name in ("susi", "olaf")]
    for name in ("vera", NOBODY):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            olaf.sql(f"SET SESSION AUTHORIZATION {name}; {order}")
    for values in ("1, 'remove', 'r'", "1, NULL, 'r'", "0, 'drain', 'r'", "NULL, 'drain-end', 'r'"):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="a node is ordered"):
            olaf.sql(f"SET SESSION AUTHORIZATION susi; SELECT postern.audit_node_order({values})")
    assert len(olaf("audit", "--what", "node", "--json").rows) == 2


# --- relayctl audit


def test_the_audit_says_who_changed_what_when_and_why(as_user):
    olaf = as_user("olaf")
    olaf("customer", "set", "acme", "--retention-days", "9", "--language", "de", "--reason", "ticket 4711")
    row = olaf.one("audit", "--by", "olaf")
    assert set(row) == {"id", "at", "who", "program", "client_address", "customer", "what", "operation", "name", "changes", "order", "version",
                        "reason"}
    assert (row["who"], row["customer"], row["what"], row["operation"], row["name"], row["reason"]) == (
        "olaf", "acme", "customers", "update", "acme", "ticket 4711")
    assert row["changes"] == {"retention_days": {"old": 5, "new": 9}, "language": {"old": "en", "new": "de"}}
    assert row["version"] == olaf.version() and row["order"] is None
    text = olaf("audit", "--by", "olaf").out
    assert text.splitlines()[0].split() == ["WHEN", "WHO", "HAS", "OF", "NAME", "CHANGES", "REASON"]
    assert re.search(r"changed +customers +acme ", text) and "retention_days: 5, now 9" in text and "ticket 4711" in text


def test_the_audit_names_every_kind_of_thing(as_user):
    olaf = as_user("olaf")
    olaf("customer", "set", "acme", "--retention-days", "9", "--until", "+2d")
    olaf("filter", "add", "203.0.113.0/24", "--customer", "acme")
    olaf("block", "add", "192.0.2.7", "--node-wide", "--reason", "x")
    olaf("allow", "add", "sam@b.example", "--customer", "acme")
    olaf("recipient", "add", "new@acme.example")
    olaf("backend", "set", "acme/1", "--priority", "5")
    olaf("domain", "add", "b.example", "--customer", "acme")
    olaf("domain", "remove", "b.example", "--reason", "x")
    names = [(r["what"], r["name"], r["customer"]) for r in olaf("audit", "--by", "olaf", "--json").rows]
    assert names == [("removed_domains", "b.example", "acme"), ("domains", "b.example", "acme"), ("domains", "b.example", "acme"),
                     ("backends", "acme/1", "acme"), ("recipients", "new@acme.example", "acme"), ("sender_rules", "allow sam@b.example", "acme"),
                     ("sender_rules", "block 192.0.2.7/32", None), ("upstream_filters", "acme/1", "acme"),
                     ("customer_changes", "acme retention_days", "acme")]


def test_the_audits_selectors(as_user):
    olaf = as_user("olaf")
    olaf("customer", "add", "beta")
    olaf("customer", "remove", "beta", "--reason", "a mistake")
    olaf("domain", "set", "acme.example", "--when-down", "defer")
    assert [r["operation"] for r in olaf("audit", "--customer", "beta", "--json").rows] == ["delete", "insert"], "also of one that is gone"
    assert {r["what"] for r in olaf("audit", "--customer", "acme", "--json").rows} == {"customers", "domains", "backends", "recipients"}
    assert [r["name"] for r in olaf("audit", "--what", "domains", "--by", "olaf", "--json").rows] == ["acme.example"]
    assert len(olaf("audit", "--since", "1h", "--json").rows) == len(olaf("audit", "--json").rows) > 5
    limited = olaf("audit", "--limit", "2", "--json")
    assert len(limited.rows) == 2 and "these are the newest 2" in limited.err
    olaf("audit", "--until", "2020-01-01", code=3), olaf("audit", "--by", "nobody", code=3), olaf("audit", "--customer", "nobody", code=3)
    assert "did you mean domains?" in olaf("audit", "--what", "domain", code=2).err
    assert "is no time" in olaf("audit", "--since", "soon", code=2).err
    assert "is no number" in olaf("audit", "--limit", "0", code=2).err
    assert "capital letters" in olaf("audit", "--customer", "ACME", code=2).err


def test_an_order_to_a_spool_is_in_the_audit(as_user):
    olaf = as_user("olaf")
    refs = [f"P001-4KX3T-0B7Q2C{i}" for i in range(5)]
    olaf.sql("SET SESSION AUTHORIZATION susi; SELECT postern.audit_spool_order(now(), 1, 'k', 'root', 'view', 'ticket \x1b[1m', '', %s)", refs)
    row = olaf.one("audit", "--what", "spool")
    assert row["who"] == "susi" and row["name"] == "view" and row["order"]["refs"] == refs and row["changes"] is None
    text = olaf("audit", "--what", "spool").out
    words = " ".join(text.split())
    assert "susi ordered spool view" in words and f"{refs[0]}, {refs[1]}, {refs[2]} and 2 more" in words and "\x1b" not in text


def test_json_of_the_audit_is_a_line_a_row(as_user):
    vera = as_user("vera")
    assert all(json.loads(line) for line in vera("audit", "--json").out.splitlines())


def test_the_readme_makes_every_role_that_the_schema_needs():
    """db init cannot: its user may not make roles."""
    made = re.search(r"for role in ([a-z ]+); do runuser -u postgres -- createuser", (SOURCE / "README").read_text()).group(1).split()
    needed = {role for path in (SOURCE / "sql").glob("*.sql") for role in re.findall(r"\bTO postern_([a-z]+)", path.read_text())}
    assert set(made) == needed
