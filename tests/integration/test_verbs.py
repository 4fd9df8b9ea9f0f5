# SPDX-License-Identifier: BSD-2-Clause
"""Every verb of relayctl, by one table (verb_table.py): that it succeeds, that it says so when nothing matches, that a mistake is
answered with the word that is wrong and the remedy, and what it does while the database is away."""
import pytest

from verb_table import VERBS
from verbs import AWAY, commands_of_relayctl, prepared  # noqa: F401

COMMANDS = commands_of_relayctl()
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
