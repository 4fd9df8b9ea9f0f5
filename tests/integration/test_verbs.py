# SPDX-License-Identifier: BSD-2-Clause
"""Every verb of relayctl, by one table (verb_table.py): that it succeeds, that it says so when nothing matches, that a mistake is
answered with the word that is wrong and the remedy, and what it does while the database is away."""
import re
import shlex
import socket
import time
from pathlib import Path

import pytest

from harness import Client, wait_until
from postgres import Between
from verb_table import VERBS
from verbs import AWAY, commands_of_relayctl, prepared, relayctl  # noqa: F401
from world import ADDRESS, SOURCE, free_port

COMMANDS = commands_of_relayctl()
SCHEMA = len(list((SOURCE / "sql").glob("[0-9]*.sql")))
each_verb = pytest.mark.parametrize("name", VERBS)


def rows(names, what):
    """A test for each of these of all verbs, named by its line."""
    found = [row for verb in VERBS.values() for row in getattr(verb, what)]
    return pytest.mark.parametrize(names, found, ids=[row[0] for row in found])


def in_words(text):
    return " ".join(text.split())


def complains(done, *words):
    """One or more sentences on standard error, in our own voice, and nothing on standard output."""
    assert done.out == "" and done.err, done.out
    assert all(line.startswith("relayctl: ") for line in done.err.splitlines()), done.err
    for word in words:
        assert word in in_words(done.err), (word, done.err)


@pytest.fixture(scope="module")
def bare(prepared):
    """A configuration whose database has the schema, and no rows."""
    return prepared.config("bare")


def test_every_command_has_a_row_and_every_row_a_command():
    assert sorted(VERBS) == sorted(COMMANDS) and len(COMMANDS) > 60


@each_verb
def test_it_succeeds(prepared, name):
    verb = VERBS[name]
    with prepared.place(verb) as where:
        done = prepared.run(verb.good, where)
        assert verb.says.format_map(prepared.names) in done.out, done.out
        assert "\x1b" not in done.out + done.err
        assert all(line.startswith("relayctl: ") for line in done.err.splitlines()), done.err
        if verb.undo:
            prepared.run(verb.undo, where)


@rows("line, status, words", "nothing")
def test_nothing_matches(prepared, bare, line, status, words):
    done = prepared.run(line, bare if status == 0 else None, status)
    if status == 0:
        assert words in done.err and len(done.out.splitlines()) <= 2
    else:
        complains(done, words)


@rows("line, wrong, remedy", "bad")
def test_a_mistake_is_named_with_its_remedy(prepared, line, wrong, remedy):
    complains(prepared.run(line, code=2), wrong, remedy)


@rows("line, words", "refused")
def test_what_can_not_be_done_is_told(prepared, line, words):
    assert words in in_words(prepared.run(line, code=1).err)


@each_verb
def test_the_database_is_away(prepared, name):
    verb = VERBS[name]
    with prepared.place(verb, AWAY) as where:
        if verb.away is None:
            return complains(prepared.run(verb.good, where, 75), "the database is away", "try again later", str(where))
        done = prepared.run(verb.good, where, verb.away_status)
        assert verb.away.format_map(prepared.names) in done.out and verb.away_says in done.err, done.err
        if verb.undo:
            prepared.run(verb.undo, where)


# --- The line itself: without a configuration.

def helped(name, cache={}):  # noqa: B006
    """The help of a command, its own and shared options, and whether it wants operands, and may have many."""
    if name not in cache:
        done = relayctl(*name.split(), "--help")
        assert (done.code, done.err) == (0, ""), done.err
        cache[name] = done.out
    return cache[name]


def options(name):
    """{"json": None, "config": "FILE", ...}: the options of a command, and what the help calls their values."""
    text = helped(name).split("\nOptions:\n")[1].split("\nExample:\n")[0]
    return {option: value or None for option, value in re.findall(r"^  --([a-z0-9-]+)(?: (\S+))?", text, re.MULTILINE)}


def operands(name):
    return re.match(rf"relayctl {name} \[OPTIONS\] ?(.*)", helped(name)).group(1)


def says(code, *words, line):
    done = relayctl(*line)
    assert done.code == code, (line, done.err)
    complains(done, *words)


@each_verb
def test_help_has_an_example_that_can_be_typed(name):
    """-c names no file: who gets as far as reading it has understood the line."""
    examples = helped(name).split("\nExample:\n")[1].splitlines()
    assert len(examples) == 1
    line = shlex.split(examples[0].strip().removeprefix("source <(").removesuffix(")").partition(" >")[0])
    assert line[0] == "relayctl" and " ".join(line[1:]).startswith(name)
    if name != "completion":
        says(1, "/nowhere/postern.conf", line=["-c", "/nowhere/postern.conf", *line[1:]])


@each_verb
def test_a_mistyped_line_is_answered_with_what_was_meant(name):
    words, own = name.split(), options(name)
    longest = max(own, key=len)
    typed = f"--{longest[:-2]}{longest[-1]}"
    says(2, f"unknown option {typed}", f"did you mean --{longest}?", line=[*words, typed])
    says(2, "option --json is given twice", line=[*words, "--json", "--json"])
    option = next(option for option, value in own.items() if value)
    says(2, f"option --{option} needs a value: --{option} {own[option]}", line=[*words, f"--{option}", "--json"])
    if len(words) > 1:
        says(2, f'{words[0]} has no verb "{words[1]}z"', f"did you mean {words[1]}?", line=[words[0], words[1] + "z"])
    else:
        says(2, f'unknown command "{name}z"', f"did you mean {name}?", line=[name + "z"])


@each_verb
def test_operands_are_counted(name):
    words, form = name.split(), operands(name)
    if form and not form.startswith("["):
        says(2, f"{name} needs {form}, for example: ", line=words)
    if any(other.startswith(name + " ") for other in COMMANDS):
        says(2, f'{name} has no verb "z"; its verbs are: ', line=[*words, "z"])
    elif "..." not in form:
        says(2, '"z" is one word too many', f"the form is: relayctl {name} [OPTIONS] {form}".strip(), line=[*words, *["x"] * bool(form), "z"])


# --- --dry-run


def as_it_is(prepared, where, id):
    """All that a changing verb with this configuration may change: the registry, its audit, orders, messages, the greylist, and what
    the node is told."""
    settings = dict(re.findall(r'^(\S+) = "(.*)"$', where.read_text(), re.MULTILINE))
    database = re.search(r"dbname=(\S+)", settings["database"])[1]
    registry = "no schema"
    if prepared.postgres.sql("SELECT to_regnamespace('postern') IS NOT NULL", database=database)[0][0]:
        registry = (prepared.run("export --recipients", where).out, prepared.postgres.sql("SELECT * FROM postern.audit ORDER BY id", database=database),
                    prepared.postgres.sql("SELECT id FROM postern.spool_commands ORDER BY id", database=database))
    shown = prepared.run(f"spool show {id} --json").rows[0] if id else None
    with Client(prepared.node.port) as client:
        greets = client.banner.code
    return (registry, prepared.rows("greylist list --json"), greets, sorted(path.name for path in Path(settings["state-dir"]).iterdir()),
            shown and [shown[field] for field in ("state", "held_reason", "expires_at", "redirected_to")])


@pytest.mark.parametrize("name", [name for name in COMMANDS if "dry-run" in options(name)])
def test_a_dry_run_changes_nothing(prepared, name):
    verb = VERBS[name]
    line = verb.good.format_map(prepared.names)
    with prepared.place(verb, "empty" if verb.place == "empty" else "postern") as where:
        id = next(iter(re.findall(r"P001-\S+", line)), None)
        before = as_it_is(prepared, where, id)
        done = prepared.run(line + " --dry-run", where)
        assert re.search(r"dry run|[Tt]ried +yes|TRIED\n.* yes$|The database has schema", done.out, re.MULTILINE), done.out
        assert as_it_is(prepared, where, id) == before


# --- A database that is away, or will not have us, in the ways that users meet.

@pytest.fixture(scope="module")
def between(prepared):
    stands = Between(prepared.postgres)
    yield stands
    stands.close()


@pytest.fixture(scope="module")
def servers(prepared, between):
    """What the setting "database" may say, by name."""
    server, socket_folder = prepared.postgres, prepared.folder / "killed"  # its socket is still there
    hba = server.data / "pg_hba.conf"
    hba.write_text("local all locked scram-sha-256\n" + hba.read_text())
    for statement in ("CREATE ROLE locked LOGIN PASSWORD 'right'", "CREATE ROLE full_up LOGIN CONNECTION LIMIT 0", "CREATE ROLE paul LOGIN",
                      "SELECT pg_reload_conf()"):
        server.sql(statement, database="postgres")
    for name, version in (("older", SCHEMA - 1), ("newer", SCHEMA + 1), ("shut", SCHEMA)):
        prepared.copy("registry", name)
        server.sql(f"UPDATE postern.registry_state SET schema_version = {version}", database=name)
    server.sql("ALTER DATABASE shut ALLOW_CONNECTIONS false", database="postgres")
    socket_folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_folder / ".s.PGSQL.5432"))
    mute = socket.create_server((ADDRESS, 0))
    ours = server.conninfo()
    yield {"killed": f"host={socket_folder} dbname=postern", "wrong port": f"host={ADDRESS} port={free_port()} dbname=postern",
           "full": ours.replace("user=postern", "user=full_up"), "shut": "shut", "mute": f"host={ADDRESS} port={mute.getsockname()[1]} dbname=x",
           "wrong role": ours.replace("user=postern", "user=nobody-known"), "wrong password": ours.replace("user=postern", "user=locked password=x"),
           "no password": ours.replace("user=postern", "user=locked"), "no database": server.conninfo("nope"), "no schema": "empty",
           "older": "older", "newer": "newer", "no rights": ours.replace("user=postern", "user=paul"), "pooler": between.conninfo()}
    mute.close()


# The status of a command that needs it, what is said, and what `status` calls it.
WAYS = {
    "killed": (75, "the database is away: connection to server on socket", "try again later", "unreachable"),
    "wrong port": (75, "Connection refused. Mail goes on without it", "check the setting \"database\" in ", "unreachable"),
    "full": (75, "the database is away", "too many connections", "unreachable"),
    "shut": (75, "the database is away", "not currently accepting connections", "unreachable"),
    "mute": (75, "the database is away", "timeout expired", "unreachable"),
    "pooler": (75, "the database is away: it lets us in and does not answer within 5 seconds", "server or pooler", "unreachable"),
    "wrong role": (1, 'role "nobody-known" does not exist', "createuser", "unreachable"),
    "wrong password": (1, 'password authentication failed for user "locked"', "check user and password", "unreachable"),
    "no password": (1, "no password supplied", "check user and password", "unreachable"),
    "no database": (1, 'database "nope" does not exist', "createdb", "unreachable"),
    "no schema": (1, "no Postern schema", "relayctl db init", "wrong schema"),
    "older": (1, f"the database has schema {SCHEMA - 1}", "relayctl db migrate", "wrong schema"),
    "newer": (1, f"the database has schema {SCHEMA + 1}", "install the Postern release", "wrong schema"),
    "no rights": (1, "permission denied", "grant the user", "wrong schema"),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_be_without_a_database_is_told(prepared, between, servers, way):
    """And mail is found and looked after without it: within the time that one connection may take."""
    status, what, remedy, called = WAYS[way]
    where = prepared.config(servers[way])

    def run(line, code):
        between.let(1, is_silent=True)
        began = time.monotonic()
        done = prepared.run(line, where, code)
        assert time.monotonic() - began < 15
        return done

    complains(run("customer show acme", status), what, remedy)
    if way not in ("mute", "pooler"):  # five seconds each
        complains(run("customer set acme --retention-days 9", status), what, remedy)
        assert prepared.names["waiting"] in run("spool list", 0).out
        seen = run("status --json", 1).rows[0]["database"]
        assert seen["state"] == called and what in seen["detail"] and remedy in seen["detail"]
    found = run("trace --from passed@sender.example", 0)
    assert prepared.names["passed"] in found.out and what in found.err and "from the event log of this node" in found.err


READERS = ("customer list", "db status", "audit", "report")


@pytest.mark.parametrize("name", ["customer set", "customer list", "domain remove", "recipient import", "backend add", "filter set", "block remove",
                                  "db status", "audit", "report"])
def test_a_server_that_goes_away_in_the_middle(prepared, between, name):
    """However far it had come: exit 75, and of a change all or nothing is there."""
    verb = VERBS[name]
    database = f"cut{name.replace(' ', '').replace('-', '')}"
    prepared.copy("registry", database)
    where, counts = prepared.config(between.conninfo(database)), "SELECT count(*), max(version) FROM postern.audit"
    before = prepared.postgres.sql(counts, database=database)
    for cut in range(2, 20):
        between.let(cut)
        done = prepared.start(verb.good, where)
        after = prepared.postgres.sql(counts, database=database)
        if done.code == 0:
            break
        assert done.code == 75 and "the connection to the database was lost" in done.err and "try again later" in done.err, (cut, done.err)
        assert all(line.startswith("relayctl: ") for line in done.err.splitlines()) and done.out == ""
        asked = "whether the change was kept is not known" in done.err
        assert asked or after == before, (cut, done.err)
        assert not asked or name not in READERS, (cut, done.err)
        if after != before:
            break
    else:
        pytest.fail(f"cut {cut} is still before the end: {done.err}")
    assert cut > 3
    prepared.postgres.drop_database(database)


@pytest.mark.parametrize("cut, part, state", [(0, "database", "unreachable"), (1, "database", "unreachable"), (2, "database", "unreachable"),
                                              (3, "events", "unknown")])
def test_the_status_knows_how_far_it_came(prepared, between, cut, part, state):
    between.let(cut)
    seen = prepared.run("status --json", prepared.config(between.conninfo()), 1).rows[0][part]
    assert seen["state"] == state and ("was lost" in seen["detail"] or "is away" in seen["detail"])


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_node_is_checked_without_the_databases_clock(prepared, between, cut):
    between.let(cut)
    (seen,) = prepared.run("node check --json", prepared.config(between.conninfo())).rows
    (clock,) = [f for f in seen["findings"] if f["finding"] == "clock-unknown"]
    assert " connection " in clock["text"] and "\n" not in clock["text"]


def test_a_server_that_has_stopped(prepared):
    """The last of all tests here: it is the one that all have used."""
    prepared.postgres.stop()
    complains(prepared.run("customer list", code=75), "the database is away", "try again later")
    assert "of this node (1) alone" in prepared.run("trace --from passed@sender.example").err
    prepared.run(f"spool retry {prepared.spool_one()}")
    prepared.postgres.start()
    wait_until(lambda: prepared.start("customer list").code == 0, 10, "it is back")
