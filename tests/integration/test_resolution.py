# SPDX-License-Identifier: BSD-2-Clause
"""P2: what the keeper does with records whose outcome their worker says later, or never. A scribe writes them in a worker's name."""
import time

import pytest

from harness import SPOOLMGR, wait_until
from scribe import Scribe

RITA, RON = "rita@acme.example", "ron@acme.example"


@pytest.fixture
def scribe(world_of, acme):
    return world_of(Scribe(acme))


def shown(node, ref):
    return node.relayctl_json("spool", "show", ref)[0]


def state(node, ref):
    return shown(node, ref)["state"]


def ends(node, ref):
    return {r["address"]: r["state"] for r in shown(node, ref)["recipients"]}


def received(backend):
    return sorted(rcpt for message in backend.taken for rcpt in message.rcpts)


def log_of(node, event, ref):
    return [line for line in node.spoolmgr.log_lines(event) if ref in line]


def later_mail(scribe):
    """A plain record, behind all that was written before, has been delivered: the keeper has seen them all."""
    ref = scribe.record()
    wait_until(lambda: log_of(scribe.node, "delivered", ref), 20, "later mail is delivered")


def test_P2_a_prepared_record_is_left_alone_while_its_worker_lives(acme, backend, scribe):
    ref = scribe.record("prepared")
    later_mail(scribe)
    assert state(acme, ref) == "prepared" and ends(acme, ref) == {RITA: "open", RON: "live"}
    in_index = f"SELECT state FROM postern.spool_index WHERE ref = '{ref}'"
    wait_until(lambda: acme.postgres.sql(in_index) == [("prepared",)], 20, "a state of its own in the index")
    acme.spoolmgr.stop()
    acme.spoolmgr.start()
    later_mail(scribe)
    assert received(backend) == sorted(2 * [RITA, RON]), "the later ones alone"
    assert state(acme, ref) == "prepared" and not log_of(acme, "prepared-confirmed", ref)
    assert "whole" in acme.run(SPOOLMGR, "--fsck").stdout


@pytest.mark.parametrize("kind, flags, wanted, states", [
    ("confirm", (), [RITA], {RITA: "delivered", RON: "delivered"}),
    ("cancel", (), [], {RITA: "cancelled", RON: "cancelled"}),
    ("confirm-all", (), [RITA, RON], {RITA: "delivered", RON: "delivered"}),
    ("confirm-all", ("unknown",), [RITA, RON], {RITA: "delivered", RON: "delivered"}),
])
def test_P2_a_prepared_record_counts_as_its_worker_says(acme, backend, scribe, kind, flags, wanted, states):
    ref = scribe.record("prepared")
    wait_until(lambda: state(acme, ref) == "prepared", 20)
    scribe.say(ref, kind, *flags)
    wait_until(lambda: ends(acme, ref) == states, 20, "it has ended")
    wait_until(lambda: log_of(acme, "resolved", ref), 10, "and that is said")
    assert received(backend) == wanted
    assert (ref in acme.possible_duplicates()) == ("unknown" in flags)
    in_index = f"SELECT 1 FROM postern.spool_index WHERE ref = '{ref}'"
    wait_until(lambda: not acme.postgres.sql(in_index), 20, "it is no longer in the index")


def test_P2_a_prepared_record_counts_for_ours_when_its_worker_is_gone(acme, backend, scribe):
    ref, cancelled, kept = scribe.record("prepared"), scribe.record("prepared"), scribe.record()
    wait_until(lambda: log_of(acme, "delivered", kept), 20)
    scribe.worker_dies()
    scribe.say(cancelled, "cancel")
    wait_until(lambda: log_of(acme, "resolved", cancelled), 20, "the keeper reads on")
    assert state(acme, ref) == "prepared", "a cancellation may stand in what is not sealed"
    scribe.end()
    wait_until(lambda: log_of(acme, "delivered", ref), 30, "ours are delivered")
    assert received(backend) == [RITA, RITA, RON]
    assert log_of(acme, "prepared-confirmed", ref) and ref in acme.possible_duplicates()
    assert not log_of(acme, "delivered", cancelled) and cancelled not in acme.possible_duplicates()


def test_P2_a_late_answer_that_was_listened_for_leaves_no_further_copy(acme, backend, scribe):
    taken, refused = scribe.record("unknown", "listening"), scribe.record("unknown", "listening")
    for ref in (taken, refused):
        wait_until(lambda: ends(acme, ref)[RITA] == "delivered", 20, "whom the backend was not asked for is not kept waiting")
        assert state(acme, ref) == "listening" and ends(acme, ref)[RON] == "listening"
    scribe.say(taken, "delivered")
    scribe.say(refused, "refused")
    wait_until(lambda: ends(acme, taken)[RON] == "delivered" and ends(acme, refused)[RON] == "refused", 20)
    later_mail(scribe)
    assert received(backend) == [RITA, RITA, RITA, RON], "ron got the later one alone"
    assert log_of(acme, "refused", refused) and not acme.possible_duplicates()


def test_P2_what_was_listened_for_in_vain_is_tried_and_named(acme, backend, scribe):
    ref = scribe.record("prepared")
    scribe.say(ref, "confirm-all", "unknown", "listening")
    wait_until(lambda: ends(acme, ref) == {RITA: "delivered", RON: "listening"}, 20)
    assert ref not in acme.possible_duplicates()
    scribe.say(ref, "given-up")
    wait_until(lambda: ends(acme, ref)[RON] == "delivered", 20, "it is tried")
    assert received(backend) == [RITA, RON] and ref in acme.possible_duplicates()


def test_P2_a_listener_that_dies_is_waited_for_no_longer(acme, backend, scribe):
    ref, answered = scribe.record("unknown", "listening"), scribe.record("unknown", "listening")
    wait_until(lambda: state(acme, ref) == state(acme, answered) == "listening", 20)
    scribe.say(answered, "delivered")
    scribe.worker_dies()
    scribe.end()
    wait_until(lambda: received(backend).count(RON) == 1, 30, "it is tried")
    wait_until(lambda: ref in acme.possible_duplicates(), 10)
    assert answered not in acme.possible_duplicates()


def test_P2_once_without_a_relay_delivers_what_counts(acme, backend, scribe):
    acme.spoolmgr.stop()
    ref, cancelled = scribe.record("prepared"), scribe.record("prepared")
    scribe.say(cancelled, "cancel")
    scribe.end()
    acme.relayd.stop()
    done = acme.spoolmgr.once()
    assert done.returncode == 0 and received(backend) == [RITA], done.stderr
    assert ref in done.stderr + done.stdout and "prepared-confirmed" in done.stderr + done.stdout
    acme.spoolmgr.start()
    acme.relayd.start()


def test_P2_a_worker_that_lives_and_says_nothing_is_waited_for_an_hour(acme, backend, scribe):
    """An hour of the monotonic clock, and no clock that is put forward; here it has four seconds."""
    acme.spoolmgr.stop()
    acme.spoolmgr.env["POSTERN_TEST_PREPARED_MS"] = "4000"
    acme.spoolmgr.start()
    scribe.tell("ago", 7200)
    ref = scribe.record("prepared")
    began = time.monotonic()
    wait_until(lambda: log_of(acme, "delivered", ref), 20, "ours are delivered")
    assert time.monotonic() - began > 3
    assert received(backend) == [RITA] and ends(acme, ref) == {RITA: "delivered", RON: "cancelled"}
    assert log_of(acme, "prepared-confirmed", ref) and ref in acme.possible_duplicates()


def test_P2_a_listener_that_says_nothing_has_ten_minutes(acme, backend, scribe):
    scribe.tell("ago", 480)
    waits = scribe.record("unknown", "listening")
    scribe.tell("ago", 640)
    ref = scribe.record("unknown", "listening")
    wait_until(lambda: ends(acme, ref)[RON] == "delivered", 20, "it is tried")
    assert ref in acme.possible_duplicates()
    assert state(acme, waits) == "listening" and waits not in acme.possible_duplicates()
