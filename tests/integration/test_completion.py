# SPDX-License-Identifier: BSD-2-Clause
"""Completion: real shells ask relayctl, which knows by its table of commands and by the database."""
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

import pytest

from harness import RELAYCTL, build_dir, program
from registry import acme, ctl, postgres, template  # noqa: F401


def words(ctl, *line, env=None):
    """What relayctl offers for the last word."""
    done = ctl("completion", "--words", "--", "-c", str(ctl.config_file), *line, env=env)
    assert done.err == "", "never a word that is no candidate"
    return [candidate.split("\t")[0] for candidate in done.out.splitlines()]


def test_nouns_verbs_and_options(ctl):
    nouns = words(ctl, "")
    assert {"customer", "domain", "backend", "spool", "status", "import", "help", "completion"} <= set(nouns) and len(nouns) == len(set(nouns))
    assert words(ctl, "cus") == ["customer"] == words(ctl, "help", "cus")
    assert words(ctl, "customer", "s") == ["set", "show", "suspend"] == words(ctl, "help", "customer", "s")
    assert words(ctl, "customer", "set", "acme", "--max-m") == ["--max-messages-per-connection", "--max-message-size"]
    assert "--dry-run" in words(ctl, "customer", "set", "acme", "--language", "de", "--")
    assert "--language" not in words(ctl, "customer", "set", "acme", "--language", "de", "--"), "it is given already"
    assert "--dry-run" not in words(ctl, "customer", "show", "acme", "--")
    assert words(ctl, "scan", "") == ["open-relay", "canary"] and "--changes" in words(ctl, "scan", "--"), "one that has a verb and stands alone"
    assert "--consent" in words(ctl, "scan", "open-relay", "--")
    assert words(ctl, "nonsense", "") == words(ctl, "customer", "nonsense", "") == words(ctl, "status", "") == []


def test_every_option_that_takes_a_word_has_its_words(ctl):
    """No enumeration of the table is forgotten."""
    help_text = ctl("help").out.split("Commands:")[1].split("Options of")[0]
    seen = 0
    for noun, verb in re.findall(r"^  ([a-z]+) ([a-z-]+)? +\S", help_text, re.MULTILINE):
        line = [noun, verb] if verb else [noun]
        for option, value in re.findall(r"^  --([a-z0-9-]+) (\S+)", ctl(*line, "--help").out, re.MULTILINE):
            alternatives = [v for v in value.split("|") if re.fullmatch("[a-z]+", v)]
            if value == "WORD" or value == "POLICY":
                assert len(words(ctl, *line, f"--{option}", "")) >= 2, (line, option)
                seen += 1
            assert set(alternatives) <= set(words(ctl, *line, f"--{option}", "")), (line, option)
    assert seen > 15


def test_values(ctl):
    assert words(ctl, "customer", "add", "x", "--language", "") == ["en", "de", "nl", "da"]
    assert words(ctl, "customer", "add", "x", "--policy", "st") == ["strict", "standard"]
    assert words(ctl, "customer", "add", "x", "--policy=spf=m") == ["--policy=spf=mark"]
    assert words(ctl, "backend", "set", "acme/1", "--tls=v") == ["--tls=verify"]
    assert words(ctl, "backend", "set", "acme/1", "--tls", "=", "v") == ["verify"], "as bash cuts it"
    assert words(ctl, "domain", "remove", "x", "--spool", "") == ["keep", "return"]
    assert words(ctl, "spool", "list", "--state", "h") == ["held"]
    assert words(ctl, "trace", "--verdict", "greyl") == ["greylisted"]
    assert words(ctl, "import", "") == words(ctl, "spool", "export", "--to", "") == words(ctl, "--config", "") == [":files"]
    assert words(ctl, "completion", "") == ["bash", "zsh", "fish"]


def test_names_come_from_the_database(acme):
    acme("customer", "add", "ascot")
    acme("filter", "add", "203.0.113.0/24", "--customer", "acme", "--label", "barracuda")
    assert words(acme, "customer", "show", "a") == ["acme", "ascot"]
    assert words(acme, "customer", "show", "ac") == words(acme, "spool", "list", "--customer", "ac") == ["acme"]
    assert words(acme, "domain", "show", "") == words(acme, "recipient", "list", "--domain", "ac") == ["acme.example"]
    assert words(acme, "backend", "show", "") == words(acme, "spool", "list", "--backend", "") == ["acme/1"]
    assert set(words(acme, "spool", "redirect", "--to", "")) == {"acme/1", "none"}
    assert words(acme, "filter", "show", "") == ["acme/barracuda"]
    assert words(acme, "customer", "add", "a") == words(acme, "domain", "add", "a") == [], "what is new has no name yet"
    assert words(acme, "customer", "show", "%") == words(acme, "customer", "show", "a'; --") == []


def test_a_database_that_is_away_is_silence(acme):
    for conninfo in ("host=/nowhere dbname=x", "nonsense", ""):
        acme.configure(database=conninfo)
        assert words(acme, "customer", "show", "a") == []
    acme.config_file.write_text("nonsense")
    assert words(acme, "customer", "show", "a") == []
    acme.config_file.unlink()
    assert words(acme, "customer", "show", "a") == [] and words(acme, "customer", "sh") == ["show"]


def test_a_lock_is_not_waited_for(acme):
    with acme.postgres.connect(acme.database) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE postern.customers")
        began = time.monotonic()
        assert words(acme, "customer", "show", "a") == []
        assert time.monotonic() - began < 5
        connection.rollback()


# --- Real shells.


def environment(folder):
    env = {**os.environ, "PATH": f"{os.path.dirname(program(RELAYCTL))}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb",
           "ASAN_OPTIONS": "detect_leaks=0", "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    env.pop("ENV", None)
    return env


def need(shell):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


class Terminal:
    """A shell that somebody types to."""

    def __init__(self, argv, env):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 300, 0, 0))
        self.fd, self.seen = master, ""
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)

    def type(self, text):
        self.seen = ""
        os.write(self.fd, text.encode())

    def shows(self, pattern, timeout=20):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.seen):
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{pattern} is not shown: {self.seen!r}")
            self.seen += os.read(self.fd, 65536).decode(errors="replace")

    def end(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


def complete_in_terminal(acme, tmp_path, argv, setup):
    terminal = Terminal(argv, environment(tmp_path))
    try:
        terminal.type(setup + "; echo rea''dy\n")
        terminal.shows("ready")
        for typed, shown in (("relayctl custo\t", "relayctl customer "), (f"relayctl -c {acme.config_file} customer show ac\t", "show acme "),
                             ("relayctl customer add x --lang\t", "--language "), ("relayctl customer add x --language d\t\t", r"\bda\b[\s\S]*de\b|\bde\b[\s\S]*da\b"),
                             ("relayctl backend set acme/1 --tls=ver\t", "--tls=verify"),
                             (f"relayctl import {tmp_path}/regis\t", r"try\.jsonl")):
            terminal.type(typed)
            terminal.shows(shown)
            terminal.type("\x15")  # away with the line
    finally:
        terminal.end()


@pytest.fixture
def a_file(tmp_path):
    (tmp_path / "registry.jsonl").write_text("")


def test_bash(acme, tmp_path, a_file):
    complete_in_terminal(acme, tmp_path, [need("bash"), "--norc", "--noprofile", "-i"], "source <(relayctl completion bash)")


@pytest.mark.parametrize("setup", ["autoload -Uz compinit && compinit -u -D; source <(relayctl completion zsh)",
                                   "fpath=(INSTALLED/zsh $fpath); autoload -Uz compinit && compinit -u -D"], ids=["sourced", "installed"])
def test_zsh(acme, tmp_path, a_file, setup):
    complete_in_terminal(acme, tmp_path, [need("zsh"), "-f", "-i"], setup.replace("INSTALLED", str(build_dir() / "admin")))


def test_what_is_installed_is_what_is_printed(ctl):
    for shell, file in (("bash", "relayctl"), ("zsh", "_relayctl"), ("fish", "relayctl.fish")):
        assert (build_dir() / "admin" / shell / file).read_text() == ctl("completion", shell).out


def test_fish(acme, tmp_path, a_file):
    fish = need("fish")
    for line, found in (("relayctl custo", ["customer"]), (f"relayctl -c {acme.config_file} customer show ac", ["acme"]),
                        ("relayctl customer add x --lang", ["--language"]), ("relayctl customer add x --language d", ["da", "de"]),
                        (f"relayctl import {tmp_path}/regis", [f"{tmp_path}/registry.jsonl"]), ("relayctl backend set acme/1 --tls=ver", ["--tls=verify"])):
        done = subprocess.run([fish, "--no-config", "-c", "relayctl completion fish | source; complete -C $argv[1]", line], env=environment(tmp_path),
                              capture_output=True, text=True, timeout=30)
        assert sorted(candidate.split("\t")[0] for candidate in done.stdout.splitlines()) == found, (line, done.stderr)
