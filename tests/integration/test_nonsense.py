# SPDX-License-Identifier: BSD-2-Clause
"""Nonsense is answered well: each wrong thing gets its own clear sentence, and a status that a script can use."""
import pytest

from harness import RELAYCTL, RELAYD, SPOOLMGR, Client, Node, wait_until

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it


@pytest.fixture
def dry(world_of):
    """A node with nothing running."""
    return world_of(Node(start=False))


BROKEN = """\
hostname = "relay.example"
listn = {"127.0.0.1:25"}
listen = {"127.0.0.1:99999", "nonsense"}
workers = "many"
probe-interval-min = "30 parsecs"
max-message-size = "20MiBB"
node = 70000
"""


def test_every_problem_of_a_configuration_is_reported_with_its_line(dry):
    dry.config_file.write_text(BROKEN)
    done = dry.run(RELAYD, "-t")
    text = done.stdout + done.stderr
    assert done.returncode not in (0, -6, -11)
    for line in range(2, 8):
        assert f"{dry.config_file}:{line}:" in text, f"line {line} is not reported:\n{text}"
    for word in ("listn", "99999", "nonsense", "many", "parsecs", "20MiBB", "70000"):
        assert word in text, f"{word} is not named:\n{text}"


@pytest.mark.parametrize("program", [RELAYD, SPOOLMGR, RELAYCTL])
def test_no_program_starts_with_a_broken_configuration(dry, program):
    dry.config_file.write_text(BROKEN)
    done = dry.run(program, *(["status"] if program == RELAYCTL else []), timeout=20)
    assert done.returncode not in (0, -6, -11)
    assert f"{dry.config_file}:" in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["", "}", "listen = {", "\0\0\0", "hostname = \"" + "x" * 100000 + "\"", "include(\"/nonexistent\")\n",
                                  "hostname = 'a\nlisten ="],
                         ids=["empty", "brace", "open-list", "nul", "long", "include", "open-quote"])
def test_a_configuration_of_rubbish_never_crashes(dry, text):
    dry.config_file.write_text(text)
    done = dry.run(RELAYD, "-t", timeout=20)
    assert done.returncode in (0, 1, 2), f"{done.returncode}: {done.stderr[-2000:]}"


def test_patterns_of_dialin_names_are_checked_with_the_configuration(dry, tmp_path):
    patterns = tmp_path / "dialin.patterns"
    dry.config_file.write_text(dry.config_file.read_text() + f'dialin-patterns = "{patterns}"\n')
    patterns.write_text("# ours\n! .customers.isp.example\np[0-9]+\n\n!\n")
    for arguments in (["-t"], []):
        done = dry.run(RELAYD, *arguments, timeout=20)
        assert done.returncode == 1, done.stdout + done.stderr
        for line in (3, 5):
            assert f"{patterns}:{line}: dialin-patterns: " in done.stderr, done.stderr
    patterns.unlink()
    done = dry.run(RELAYD, "-t", timeout=20)
    assert done.returncode == 1 and f"{patterns}: dialin-patterns: cannot be read" in done.stderr, done.stderr
    patterns.write_text("! .customers.isp.example\n")
    assert dry.run(RELAYD, "-t", timeout=20).returncode == 0


def test_a_good_configuration_has_no_problems(dry):
    done = dry.run(RELAYD, "-t")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_configuration_that_is_not_there_is_named(dry):
    dry.config_file.unlink()
    for program in (RELAYD, SPOOLMGR):
        done = dry.run(program, timeout=20)
        assert done.returncode not in (0, -6, -11) and str(dry.config_file) in done.stdout + done.stderr


def test_reload_of_a_broken_configuration_changes_nothing(acme, backend):
    import signal
    good = acme.config_file.read_text()
    acme.config_file.write_text(BROKEN)
    acme.relayd.signal(signal.SIGHUP)
    wait_until(lambda: acme.relayd.log_lines("reload-refused"), 10, "it says that the reload is refused")
    assert acme.send().code == 250
    acme.config_file.write_text(good)
    acme.relayd.signal(signal.SIGHUP)
    wait_until(lambda: acme.relayd.log_lines("reloading"), 10, "the good one is taken")
    assert acme.send().code == 250


def test_an_unreachable_database_is_75_with_a_remedy_and_never_stops_a_daemon(dry):
    done = dry.relayctl("customer", "list", check=False)
    assert done.returncode == 75 and str(dry.postgres.socket) in done.stdout + done.stderr
    dry.relayd.start()
    dry.spoolmgr.start()
    assert dry.relayd.alive and dry.spoolmgr.alive


def test_a_port_that_is_taken_is_named(acme):
    other = Node(settings={"listen": acme.settings["listen"]}, start=False)
    try:
        done = other.run(RELAYD, timeout=20)
        if done.returncode == 0:
            pytest.fail("relayd shares a port that another relayd holds")
        assert acme.settings["listen"][0] in done.stdout + done.stderr
    finally:
        other.close()


def test_a_wrong_schema_is_named_with_the_remedy(dry):
    dry.postgres.start()
    dry.postgres.create_database()
    done = dry.relayctl("customer", "list", check=False)
    assert done.returncode not in (0, -6, -11) and "db init" in done.stdout + done.stderr
    dry.relayd.start()
    wait_until(lambda: "db init" in dry.relayd.text(), 10, "relayd says what to do")
    dry.relayctl("db", "init")
    dry.postgres.sql("UPDATE postern.registry_state SET schema_version = 9999")
    done = dry.relayctl("customer", "add", "acme", "--contact", "a@b.example", check=False)
    assert done.returncode not in (0, -6, -11) and "9999" in done.stdout + done.stderr


# arguments, exit status, a word of the answer
BAD_INPUT = [
    ([], 2, "help"), (["nonsense"], 2, "nonsense"), (["customer"], 2, "customer"), (["customer", "fly"], 2, "fly"),
    (["customer", "add"], 2, None), (["customer", "add", "acme", "--nonsense"], 2, "nonsense"),
    (["customer", "add", "a b", "--contact", "a@b.example"], None, "a b"), (["customer", "add", "acme2", "--contact", "nobody"], None, "contact"),
    (["domain", "add", "no_dots_at_all", "--customer", "acme"], None, "no_dots_at_all"),
    (["domain", "add", "-x.example", "--customer", "acme"], None, "x.example"),
    (["domain", "add", "a..b.example", "--customer", "acme"], None, "a..b"),
    (["domain", "add", "new.example", "--customer", "nobody"], None, "nobody"),
    (["domain", "add", "acme.example", "--customer", "acme"], None, "acme.example"),
    (["backend", "add", "mail..example:25", "--customer", "acme"], None, "mail..example"),
    (["backend", "add", "192.0.2.1:70000", "--customer", "acme"], None, "70000"),
    (["backend", "add", "192.0.2.1:0", "--customer", "acme"], None, None),
    (["customer", "set", "acme", "--max-recipients-per-message", "0"], None, None),
    (["customer", "show", "nobody"], None, "nobody"), (["spool", "show", "nonsense"], None, "nonsense"),
    (["spool", "show", "P001-00000-0000000"], 3, None),
]


@pytest.fixture(scope="module")
def served():
    node = Node()
    node.add_customer("acme", "acme.example")
    yield node
    node.close()


@pytest.mark.parametrize("args, status, word", BAD_INPUT, ids=["-".join(b[0])[:50] or "nothing" for b in BAD_INPUT])
def test_bad_input_to_relayctl_is_answered(served, args, status, word):
    done = served.relayctl(*args, check=False)
    text = done.stdout + done.stderr
    assert done.returncode in ((status,) if status is not None else (1, 2, 3)), f"exit {done.returncode}: {text}"
    assert text.strip(), "not a word"
    if word:
        assert word.lower() in text.lower(), text


def test_a_client_that_talks_rubbish_is_answered_and_let_go(acme, backend):
    with Client(acme.port) as client:
        for line in ("", "NONSENSE", "EHLO", "MAIL", "MAIL FROM", "MAIL FROM:a@b", "RCPT TO:<x@acme.example>", "DATA", "\0\0", "x" * 500):
            assert client.cmd(line).code // 100 == 5, line
        client.ehlo()
        assert client.cmd("DATA").code // 100 == 5
        assert client.cmd("VRFY user@acme.example").code in (252, 502, 550)
        assert client.cmd("HELP").code in (211, 214, 250)
        assert client.send(b"Subject: still here\r\n\r\n").code == 250
