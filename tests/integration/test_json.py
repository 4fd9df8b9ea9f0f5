# SPDX-License-Identifier: BSD-2-Clause
"""What every command prints with --json is what postern-json(7) says, and all that it says is printed: both by the schema that is
made from the same table (admin/json.def)."""
import json
import re
import subprocess
from pathlib import Path

import pytest

from harness import ADDRESS, RELAYCTL, Client, make_message, program, reference_in, wait_until
from schema import ELSEWHERE, UNSEEN, Schema
from terminal import read_line
from test_backend_test import KNOWN
from tls import make_certificate
from verb_table import VERBS
from verbs import AWAY, ZONE, commands_of_relayctl, prepared  # noqa: F401

SILENT = {"completion"}  # what it prints is for a shell
NO_STDOUT = {"spool export": " --to {folder}"}  # what --json wants besides


RAN = set()  # the tests of this file


@pytest.fixture(autouse=True)
def ran(request):
    RAN.add(request.node.name)


@pytest.fixture(scope="module")
def schema():
    return Schema()


def run_and_check(prepared, schema, line, where=None, codes=(0,)):
    """The rows, which are as the schema says."""
    words = prepared.words(line)
    done = prepared.start(f"{line} --json", where)
    assert done.code in codes, f"relayctl {line}: exit {done.code}\n{done.out}{done.err}"
    schema.check(words, done.rows)
    return done.rows


def test_every_command_that_prints_is_in_the_table(schema):
    assert sorted(schema.commands) == sorted(set(commands_of_relayctl()) - SILENT)


def test_a_name_of_a_time_ends_in_at(schema):
    times = [(name, field) for name, one in schema.objects.items() if not name.startswith("event-")
             for field, what in one.get("properties", {}).items() if "date-time" in json.dumps(what.get("anyOf", what))]
    assert len(times) > 50 and [t for t in times if t[1] != "at" and not t[1].endswith("_at")] == []


@pytest.mark.parametrize("name", [name for name in VERBS if name not in SILENT])
def test_what_it_prints_is_documented(prepared, schema, name):
    verb = VERBS[name]
    with prepared.place(verb) as where:
        rows = run_and_check(prepared, schema, verb.good + NO_STDOUT.get(name, ""), where, codes=(0, 1) if name == "status" else (0,))
        assert rows
        if verb.undo:
            run_and_check(prepared, schema, verb.undo, where)


# A registry with one of everything, and what is asked of it.
EVERYTHING = """
customer set acme --max-spool-messages 1000 --max-spool-size 1GiB --retention-days 9 --until +2d
customer set acme --max-spool-messages 2000 --max-spool-size 2GiB --max-message-size 10MiB
domain set acme.example --verify-ownership
backend add mail.acme.example --customer acme --mx --tls verify --tls-name mx.acme.example --source-address 192.0.2.1 --max-connections 5
backend add 192.0.2.21 --customer acme --domain acme.example
filter add --customer acme --label cloud --spf-include _spf.cloud.example --exempt ptr,helo
block add 203.0.113.8 --customer acme --reason junk --until +7d
"""
ASKED = """
customer show acme
customer show late
customer list --use
domain show acme.example
domain show shy.example
domain instructions acme.example
backend show acme/2
backend show acme/3
backend list
filter show acme/cloud
filter list
block list
export --recipients
export --customer acme
import {registry_file} --dry-run
audit --limit 1000
"""
# The same of the node that runs.
MORE = """
backend test acme/1 --steps --rcpt info@acme.example
backend test beta/2 --steps
domain check --sender {address} --helo mail.good.example good.example
domain list --customer shy
greylist list
simulate --check spf --ip {address} --helo mail.good.example --from a@good.example
simulate --ip {address} --helo mail.good.example --from a@good.example --rcpt user@shy.example
spool hold {held} P001-3F006-0000000 --reason again
spool hold {waiting} --reason x --dry-run
spool redirect {redirect} --to beta/2 --reason x
spool extend {extend} --until +20d --reason x
spool release {release}
spool show {held}
spool show {redirect} {extend} {release}
spool show {gone}
spool show {waiting} --body --reason x
spool show {envid} {later}
spool list
spool list --state ended
spool summary
spool summary --by domain
spool summary --by backend
explain {passed} {waiting} {held} {gone} {later}
explain {refused} {blocked} {greylisted} {judged}
trace --limit 1000 --local
trace --ip 127.0.0.0/8 --limit 1000
trace --limit 1000
scan --customer beta --per-minute 6000
backend test careful/1
simulate --ip {address} --helo mail.good.example --from a@good.example --rcpt info@careful.example
report --by day
audit --what spool
status
"""
ELSEWHERE_NODE = """
spool list --node 1
spool show {waiting} {held} --node 1
spool summary --node 1
explain {waiting}
"""


# Customers whose mail is refused or kept in ways of their own.
CUSTOMERS = """
customer add careful --contact ops@isp.example --policy strict
backend add server.example:{server_port} --customer careful
domain add careful.example --customer careful
customer add scanned --contact ops@isp.example --policy off,milter=reject
backend add {server} --customer scanned
domain add scanned.example --customer scanned
customer add small --contact ops@isp.example --policy off --max-recipients-per-message 1 --max-message-size 8KiB --max-connections-per-hour 1
backend add {server} --customer small
domain add small.example --customer small
customer add keeps --contact ops@isp.example --policy off --live-4xx keep
backend add {server} --customer keeps
domain add keeps.example --customer keeps
recipient add user@keeps.example
block add blocked.example --customer acme --reason junk
block add 127.99.2.1 --node-wide --reason junk
"""
STRANGER = "127.99.1.1"
REFUSED = {  # name: where from, sender, parameters, recipients
    "refused": (STRANGER, "a@good.example", "", ["nobody@elsewhere.example"]),
    "blocked": (STRANGER, "a@blocked.example", "", ["info@acme.example"]),
    "greylisted": (STRANGER, "a@origin.example", "", ["user@shy.example"]),
    "again": (STRANGER, "a@origin.example", "", ["user@shy.example"]),
    "judged": (STRANGER, "a@good.example", "", ["info@careful.example"]),
    "named": (ADDRESS, "a@good.example", "", ["info@careful.example"]),
    "large": (STRANGER, "a@good.example", " SIZE=100000", ["user@small.example"]),
}


def lines(text):
    return text.strip().splitlines()


def prepare_refusals(prepared):
    node, names = prepared.node, prepared.names
    prepared.dns.set(*ZONE, f"server.example. IN A {ADDRESS}")
    for line in lines(CUSTOMERS):
        prepared.run(line)
    node.wait_until_replicated()
    for name, (source, sender, parameters, rcpts) in REFUSED.items():
        with Client(node.port, source=source) as client:
            client.ehlo(f"{name}.good.example")  # by which its connection is known
            client.cmd(f"MAIL FROM:<{sender}>{parameters}")
            names[name] = reference_in(client.cmd(f"RCPT TO:<{rcpts[0]}>").text)
    Client(node.port, source="127.99.2.1").close()
    for content, rcpts, code in ((make_message(), ["info@small.example", "second@small.example"], 452),
                                 (b"Received: from a by b; now\r\n" * 101 + make_message(), [KNOWN], 554),
                                 (make_message() + b"bare\nline\r\n", [KNOWN], 550)):
        with Client(node.port) as client:
            client.ehlo()
            assert client.send(content, rcpts=rcpts).code == code


def prepare_spool(prepared):
    """One that is gone, one with a name and an ENVID, and one that its server has put off."""
    prepared.names["gone"] = prepared.spool_one("gone")
    prepared.run("spool remove {gone} --reason 'a worm'")
    with Client(prepared.node.port, source=ADDRESS) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<envid@sender.example> ENVID=QQ314159")
        client.cmd("RCPT TO:<user@beta.example>")
        client.cmd("DATA")
        prepared.names["envid"] = reference_in(client.content(make_message()).text)
    prepared.names["later"] = reference_in(prepared.node.send(mail_from="later@sender.example", rcpts=["user@keeps.example"]).text)
    wait_until(lambda: prepared.rows("spool show {later} --json")[0]["next_attempt_at"], 30, "it has been tried")


def test_with_everything_in_the_registry(prepared, schema):
    prepared.copy("registry", "everything")
    where = prepared.config("everything")
    for line in lines(EVERYTHING):
        prepared.run(line, where)
    prepared.postgres.sql("""
        INSERT INTO postern.spf_includes (name, resolved, resolved_at, resolve_error)
        VALUES ('_spf.cloud.example', '{198.51.100.0/24}', now(), 'no answer')
        ON CONFLICT (name) DO UPDATE SET resolved = excluded.resolved, resolved_at = excluded.resolved_at, resolve_error = excluded.resolve_error;
        INSERT INTO postern.audit (client_address, table_name, operation, new_row)
        VALUES ('192.0.2.1', 'spool', 'update', '{"act": "hold", "node": 1, "key": "command-1", "detail": null, "refs": ["P001-3F006-0000000"],
                                                  "outcome": "not carried out"}')""", database="everything")
    for line in lines(ASKED):
        assert run_and_check(prepared, schema, line, where), line
    prepared.postgres.drop_database("everything")


def test_what_one_scan_has_found_and_the_next_has_not(prepared, schema):
    run_and_check(prepared, schema, "scan --customer acme --kind domain --per-minute 6000", codes=(0, 1))
    prepared.postgres.sql("UPDATE postern.scan_results SET finding = 'other', verdict = 'fail' WHERE is_current AND name = 'acme.example'")
    assert run_and_check(prepared, schema, "scan --changes --customer acme --kind domain --per-minute 6000", codes=(0, 1))[0]["before"] == "other"


def test_a_node_with_certificate_and_scanner(prepared, schema):
    made = make_certificate(prepared.folder, "cert")
    where = prepared.config(tls_certificate=[str(made.path)], tls_key=[str(made.key)], milters=[f"inet:{prepared.names['dead']} name=dead"])
    assert run_and_check(prepared, schema, "status", where, codes=(0, 1))[0]["tls"]["certificates"]
    prepared.run("node drain --reason x")
    assert run_and_check(prepared, schema, "status", where, codes=(0, 1))[0]["clients"]["draining_since_at"]
    prepared.run("node drain --end")


def test_of_a_node_that_runs(prepared, schema):
    only_own = prepared.server.script["rcpt"]
    prepared.server.script["rcpt"] = "250 2.1.5 ok"
    prepare_refusals(prepared)
    prepared.server.script["rcpt"] = "450 4.2.0 later"
    prepare_spool(prepared)
    for line in lines(MORE):
        assert run_and_check(prepared, schema, line, codes=(0, 1, 4)), line
    prepared.server.script["rcpt"] = only_own
    elsewhere = prepared.config(node=2, spool_dir="/nowhere")
    for line in lines(ELSEWHERE_NODE):
        assert run_and_check(prepared, schema, line, elsewhere), line
    assert run_and_check(prepared, schema, "explain {waiting}", prepared.config(AWAY, spool_dir="/nowhere"))[0]["kept"]["why"]
    scanned = prepared.config(milters=[f"inet:{prepared.names['dead']} name=dead"])
    run_and_check(prepared, schema, "simulate --ip {address} --from a@good.example --rcpt info@scanned.example --message {message_file}", scanned)
    with prepared.place(VERBS["node accept-registry"]) as where:
        run_and_check(prepared, schema, "node show", where, codes=(1,))
    assert schema.check(["status", "--watch"], watch_twice(prepared)) is None


def watch_twice(prepared):
    popen = subprocess.Popen([program(RELAYCTL), "-c", str(prepared.node.config_file), "status", "--watch", "--json"], stdout=subprocess.PIPE)
    try:
        return [json.loads(read_line(popen)) for _ in range(2)]
    finally:
        popen.kill()
        popen.wait()
        popen.stdout.close()


def test_events_that_were_shortened_or_are_none(prepared, schema):
    if "test_of_a_node_that_runs" not in RAN:
        pytest.skip("the refused connection is made in the test before")
    prepared.postgres.sql("SELECT postern.events_copy(9, 'events-2026113010.jsonl', 0, 9, 'no event')")
    run_and_check(prepared, schema, "trace --limit 1000")
    prepared.postgres.sql("SELECT postern.events_shorten_between(now() - interval '1 day', now() + interval '1 day', 'salt')")
    rows = run_and_check(prepared, schema, "trace --ip 127.0.0.0/8 --limit 1000") + run_and_check(prepared, schema, "trace --limit 1000")
    assert {"message", "recipient-refused", "connection", "connection-refused", "damaged"} <= {row["event"] for row in rows if row.get("shortened")}


def test_what_is_left_to_others_is_there(schema):
    fields = [f"{name}.{field}" for name, one in schema.objects.items() for field in one.get("properties", {})]
    for file, pattern in ELSEWHERE.items():
        assert Path(__file__).with_name(file).is_file(), file
        assert [field for field in fields if re.fullmatch(pattern, field)], f"{file}: no field is {pattern}"


def test_all_that_is_documented_is_printed(schema):
    every = {name for name in globals() if name.startswith("test_")} - {"test_what_it_prints_is_documented"}
    if not every | {f"test_what_it_prints_is_documented[{name}]" for name in VERBS if name not in SILENT} <= RAN:
        pytest.skip("this is known of a run of the whole file alone")
    assert schema.printed == set(schema.commands)
    left = "|".join([*ELSEWHERE.values(), *map(re.escape, UNSEEN)])
    never = [field for field in schema.never_seen() if not re.fullmatch(left, field)]
    assert not never, "\n".join(never)
