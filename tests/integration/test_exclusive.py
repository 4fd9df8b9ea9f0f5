# SPDX-License-Identifier: BSD-2-Clause
"""One parent, one keeper: a second is refused in clear words, or hands its work over."""
from harness import RELAYD, SPOOLMGR, make_message, process_gone, wait_until


def refused(done):
    text = done.stdout + done.stderr
    assert done.returncode not in (0, -9, -11), f"exit {done.returncode}: {text}"
    return text


def test_a_second_relayd_is_refused_and_disturbs_nothing(acme, backend):
    text = refused(acme.run(RELAYD, timeout=20))
    assert str(acme.relayd.pid) in text, f"it does not say who runs: {text}"
    assert acme.send().code == 250 and acme.relayd.alive


def test_a_second_spoolmgr_is_refused_and_disturbs_nothing(acme, backend):
    text = refused(acme.run(SPOOLMGR, timeout=20))
    assert str(acme.spoolmgr.pid) in text, f"it does not say who runs: {text}"
    backend.stop()
    assert acme.send().code == 250
    backend.start()
    wait_until(lambda: backend.taken, 60, "the first spoolmgr still delivers")


def test_once_beside_the_daemon_hands_over(acme, backend):
    backend.stop()
    assert acme.send(make_message(test_id=1)).code == 250
    backend.start()
    done = acme.spoolmgr.once()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr, "not a word about who does the pass"
    wait_until(lambda: backend.taken, 60, "delivered")
    assert acme.spoolmgr.alive and len(backend.taken) == 1


def test_once_alone_does_one_pass_and_ends(acme, backend):
    acme.spoolmgr.stop()
    backend.stop()
    for n in range(5):
        assert acme.send(make_message(test_id=n)).code == 250
    done = acme.spoolmgr.once()
    assert done.returncode == 0, "a backend that is down is no failure of the pass: " + done.stderr
    assert len([r for r in acme.spool() if r.get("open_recipients", 1)]) == 5
    backend.start()
    done = acme.spoolmgr.once()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(backend.taken) == 5
    assert not [r for r in acme.spool() if r.get("open_recipients", 1)]


def test_children_do_not_outlive_a_killed_parent(acme, backend):
    for daemon in (acme.relayd, acme.spoolmgr):
        daemon.kill()
        wait_until(lambda: all(process_gone(p) for p in daemon.orphans), 40, "its children have ended")
        daemon.start()
    assert acme.send().code == 250


def test_a_relayd_beside_a_dead_parents_children_waits_or_says_so(acme, backend):
    acme.relayd.kill()
    acme.relayd.start()  # greets within its time, or the harness fails
    for _ in range(5):
        assert acme.send().code == 250
