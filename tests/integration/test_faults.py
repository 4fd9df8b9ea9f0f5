# SPDX-License-Identifier: BSD-2-Clause
"""Faults that come at an awkward moment: in the middle of a reload, of a stop, of a dialogue with a backend that has its moods."""
import ctypes
import os
import signal
import socket
import struct
import threading
import time

import pytest

from harness import ADDRESS, Backend, Client, Delay, Node, make_message, our_received, reference_in, wait_until

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it

SENDER = "sender@origin.example"


@pytest.fixture
def one(world_of, backend):
    """A node with one worker; acme.example is served by `backend`, which no connection is left at."""
    node = world_of(Node(settings={"workers": 1}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    without_connections(backend)
    return node


def without_connections(backend):
    backend.drop_connections()
    wait_until(lambda: backend.connections_open == 0, 5, "the backend's connections are closed")


def after_mail(node, mail_from=SENDER):
    client = Client(node.port)
    client.ehlo()
    assert client.cmd(f"MAIL FROM:<{mail_from}>").code == 250
    return client


def after_rcpt(node, rcpt="user@acme.example"):
    client = after_mail(node)
    reply = client.cmd(f"RCPT TO:<{rcpt}>")
    assert reply.code == 250, str(reply)
    return client


def rcpt_alone(node, rcpt="user@acme.example"):
    """The reply to one RCPT, on a connection of its own."""
    with after_mail(node) as client:
        reply = client.cmd(f"RCPT TO:<{rcpt}>")
        client.cmd("QUIT")
    return reply


def send_aside(node, **kwargs):
    """A message in a thread; join() of what is returned gives the final reply."""
    class Sending(threading.Thread):
        def run(self):
            self.reply = node.send(make_message(), **kwargs)

        def join(self, timeout=30):
            super().join(timeout)
            return self.reply

    sending = Sending(daemon=True)
    sending.start()
    return sending


def delivered_live(reply):
    return reply.code == 250 and "queued until" not in reply.text


# --- P8, P2: one session's deeds.

def test_P8_many_refused_recipients_end_no_worker(one, backend):
    # Not 5.1.1: behind five unknown ones memory would answer, and the backend's link be spared.
    backend.script["rcpt"] = lambda s, line: None if "good" in line else "550 5.7.1 not for you"
    workers = one.relayd.workers()
    with after_mail(one) as client:
        # One in fifty is accepted: a hundred commands without any progress end the connection.
        names = ["good" if n % 50 == 0 else f"u{n}" for n in range(1100)]
        codes = [client.cmd(f"RCPT TO:<{name}@acme.example>").code for name in names]
        refused = {code // 100 for code, name in zip(codes, names) if name != "good"}
        assert refused <= {4, 5}, f"answers: {set(codes)}"
        client.cmd("RSET")
        assert client.send(make_message(), rcpts="good@acme.example").code == 250
        client.cmd("QUIT")
    assert one.relayd.workers() == workers
    assert [m.rcpts for m in backend.taken] == [["good@acme.example"]]


def test_P2_who_finds_no_room_is_not_at_the_backend_either(one, backend):
    """A recipient that was refused and is delivered all the same gets its message twice."""
    one.relayctl("customer", "set", "acme", "--max-recipients-per-message", "none")
    original = "rfc822;" + "o" * 480
    with after_mail(one) as client:
        wait_until(lambda: client.cmd("RCPT TO:<first@acme.example>").code == 250 and limit_is_gone(one), 10, "the limit has gone")
        client.cmd("RSET")
        client.cmd(f"MAIL FROM:<{SENDER}>")
        rcpts = [f"{n:04}-{'x' * 50}@acme.example" for n in range(800)]
        codes = [client.cmd(f"RCPT TO:<{rcpt}> ORCPT={original}").code for rcpt in rcpts]
        accepted = [rcpt for rcpt, code in zip(rcpts, codes) if code == 250]
        assert set(codes) == {250, 452} and len(accepted) > 100, f"{len(accepted)} accepted; {set(codes)}"
        client.cmd("DATA")
        assert client.content(make_message()).code == 250
    assert [m.rcpts for m in backend.taken] == [accepted]


def limit_is_gone(node):
    with after_mail(node) as client:
        codes = [client.cmd(f"RCPT TO:<r{n}@acme.example>").code for n in range(51)]
    return codes == [250] * 51


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_P2_a_client_that_leaves_together_with_the_250_is_a_possible_duplicate(one, backend, how):
    backend.script["dot"] = Delay(1.0)
    worker = one.relayd.workers()[0]
    client = after_rcpt(one)
    client.cmd("DATA")
    client.write(make_message() + b".\r\n")
    wait_until(lambda: backend.messages, 10, "the content is at the backend")
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(lambda: backend.taken, 10, "the backend has said 250")
        if how == "RST":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    finally:
        os.kill(worker, signal.SIGCONT)
    reference = reference_in(our_received(backend.taken[0].content))
    wait_until(lambda: reference in one.possible_duplicates(), 5, "the possible duplicate is logged")


# --- P5: what is believed.

def test_P5_a_recipient_accepted_again_is_known_as_valid(one, backend):
    assert rcpt_alone(one).code == 250
    backend.script["rcpt"] = "550 blocked: your sender is on our list"
    assert rcpt_alone(one).code == 550
    backend.script["rcpt"] = None
    assert rcpt_alone(one).code == 250
    assert delivered_live(one.send())
    backend.stop()
    for _ in range(3):
        reply = rcpt_alone(one)
        assert reply.code == 250, f"the backend's last word was 250, and now: {reply}"


def empty_registry(node):
    node.relayctl("db", "init")


def foreign_registry(node):
    node.relayctl("db", "init")
    node.relayctl("customer", "add", "beta", "--contact", "ops@beta.example")
    node.relayctl("domain", "add", "beta.example", "--customer", "beta")


@pytest.mark.parametrize("fill", [empty_registry, foreign_registry], ids=["empty", "foreign"])
def test_P5_a_damaged_replica_and_a_wrong_database_at_once_are_451(one, backend, fill):
    one.relayd.stop()
    one.spoolmgr.stop()
    one.postgres.create_database("wrong")
    one.write_config(database=one.postgres.conninfo("wrong"))
    fill(one)
    replica = one.dirs["state-dir"] / "replica.cdb"
    replica.write_bytes(b"\0" * replica.stat().st_size)
    one.relayd.start()
    wait_until(lambda: [line for line in one.relayd.log_lines() if "database" in line and "relayd/control" in line], 10,
               "control has seen the database")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        reply = rcpt_alone(one)
        assert reply.code == 451, f"a registered domain: {reply}"


# --- P5: the parent lives through reloads.

PIDFD_GETFD = 438  # pidfd_getfd(2), the same number everywhere


def sockets_of(pid):
    """Copies of the process's sockets."""
    libc, pidfd, found = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid), []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
            copy = libc.syscall(PIDFD_GETFD, pidfd, int(fd), 0)
            assert copy >= 0, os.strerror(ctypes.get_errno())
            found.append(socket.socket(fileno=copy))
    os.close(pidfd)
    return found


def hold_behind_its_channels(pid):
    """The process stands where one stands that is ending slowly: its channels are closed, and it is still there."""
    os.kill(pid, signal.SIGSTOP)
    for s in sockets_of(pid):
        s.shutdown(socket.SHUT_RDWR)
        s.close()


def kill_pids(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it was about to end anyway
            pass


def kill_workers(node):
    killed = node.relayd.workers()
    kill_pids(killed)
    wait_until(lambda: set(node.relayd.workers()) - set(killed), 10, "another worker")


def test_P5_a_state_process_that_ends_slowly_does_not_end_the_parent(one, backend):
    state = one.relayd.child("state")
    hold_behind_its_channels(state)
    try:
        kill_workers(one)
        wait_until(lambda: delivered_live(one.send()), 10, "mail passes")
        workers = one.relayd.workers()
        one.relayd.signal(signal.SIGHUP)
        wait_until(lambda: one.relayd.workers() and not set(workers) & set(one.relayd.workers()), 10, "a reload")
        wait_until(lambda: delivered_live(one.send()), 10, "mail passes after it")
    finally:
        os.kill(state, signal.SIGCONT)
    wait_until(lambda: one.relayd.children_named("state") not in ([], [state]), 10, "a new state process")
    assert delivered_live(one.send()) and one.relayd.alive


def test_P5_state_and_workers_that_end_at_once_do_not_end_the_parent(one, backend):
    for reload_too in (False, True, True):
        before = set(one.relayd.children_named("state") + one.relayd.workers())
        os.kill(one.relayd.pid, signal.SIGSTOP)  # it learns of all the ends at once
        kill_pids(before)
        if reload_too:
            os.kill(one.relayd.pid, signal.SIGHUP)
        os.kill(one.relayd.pid, signal.SIGCONT)
        wait_until(lambda: one.relayd.children_named("state") and one.relayd.workers() and
                   not before & set(one.relayd.children()), 10, "both are replaced")
        wait_until(lambda: delivered_live(one.send()), 10, "mail passes")
    assert one.relayd.alive


def test_P8_a_reload_greets_while_an_old_client_is_idle(one, backend):
    workers = one.relayd.workers()
    with after_rcpt(one) as idle:
        os.kill(one.relayd.pid, signal.SIGHUP)
        wait_until(lambda: one.relayd.log_lines("reloading"), 5, "it reloads")
        with Client(one.port, timeout=2) as client:
            assert client.banner.code == 220
            client.cmd("QUIT")
        wait_until(lambda: set(one.relayd.workers()) - set(workers), 2, "a new worker beside the old one")
        assert idle.cmd("DATA").code == 354
        assert delivered_live(idle.content(make_message()))
    wait_until(lambda: not set(one.relayd.workers()) & set(workers), 5, "the old worker has ended")


# --- P10: a backend is never hammered.

def test_P10_a_backend_that_takes_two_connections_is_not_hammered(one, backend):
    backend.script["banner"] = lambda s, what: "421 4.7.0 too many connections" if backend.connections_open > 2 else None
    backend.script["dot"] = Delay(3.5)
    sending = []
    for n in (1, 2):
        sending.append(send_aside(one))
        wait_until(lambda: len(backend.messages) == n, 5, f"message {n} is behind its dot")
    before = backend.sessions
    sending.append(send_aside(one, rcpts="never-seen@acme.example"))
    time.sleep(3.0)  # what is measured: connections in three seconds
    made = backend.sessions - before
    replies = [s.join() for s in sending]
    assert made < 20, f"{made} connections in 3 s"
    assert [r.code for r in replies] == [250] * 3, [str(r) for r in replies]
    assert not one.relayd.log_lines("backend-down"), "two connections work"
    wait_until(lambda: len(backend.taken) == 3, 30, "all are delivered")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def close_listener(backend):
    backend._loop.call_soon_threadsafe(backend._server.close)

    def refused():
        try:
            socket.create_connection((backend.address, backend.port), 1).close()
        except ConnectionRefusedError:
            return True
    wait_until(refused, 5, "the listener is closed")


def test_P10_a_closed_listener_is_not_hammered_while_links_work(one, backend):
    backend.script["dot"] = Delay(4.0)
    first = send_aside(one)
    wait_until(lambda: backend.messages, 5, "a message is behind its dot")
    close_listener(backend)
    worker = one.relayd.workers()[0]
    before = cpu_seconds(worker)
    second = send_aside(one, rcpts="never-seen@acme.example")
    assert delivered_live(first.join())
    spent = cpu_seconds(worker) - before
    assert spent < 0.5, f"the worker has computed for {spent:g} s while it had nothing to do but wait"
    assert second.join().code == 250


def test_P10_a_stop_while_a_recipient_waits_for_a_link_hammers_nobody(one, backend):
    before = backend.sessions
    backend.script["banner"] = Delay(1.0)
    with after_mail(one) as client:
        client.write("RCPT TO:<user@acme.example>\r\n")
        wait_until(lambda: backend.sessions > before, 5, "a link is being made")
        one.relayd.signal(signal.SIGTERM)
        wait_until(lambda: one.relayd.log_lines("stopping"), 5, "it stops")
        backend.script["banner"] = None
        reply = client.reply()
        assert reply.code // 100 in (2, 4), str(reply)
    wait_until(lambda: not one.relayd.alive, 10, "relayd has ended")
    assert backend.sessions - before < 5, f"{backend.sessions - before} connections"


# --- P1: a backend with moods.

def test_P1_a_reused_connection_that_says_421_is_replaced_unnoticed(one, backend):
    mails = {}

    def two_a_connection(session, line):
        mails[session] = mails.get(session, 0) + 1
        return "421 4.7.0 two messages a connection, come again" if mails[session] > 2 else None

    backend.script["mail"] = two_a_connection
    with Client(one.port) as client:
        client.ehlo()
        replies = [client.send(make_message(test_id=n)) for n in range(4)]
        client.cmd("QUIT")
    assert all(delivered_live(r) for r in replies), [str(r) for r in replies]
    assert len(backend.taken) == 4 and one.spool() == []
    assert not one.relayd.log_lines("backend-down")


def test_P1_a_slow_banner_is_waited_for_within_the_connect_timeout(world_of, backend):
    node = world_of(Node(settings={"workers": 1, "backend-connect-timeout": "10s"}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    without_connections(backend)
    backend.script["banner"] = Delay(6.0)
    reply = node.send(make_message(), rcpts="never-seen@acme.example")
    assert delivered_live(reply), str(reply)
    assert len(backend.taken) == 1 and not node.relayd.log_lines("backend-down")


# --- P6: what a refusal says.

def another_address():
    """One beside ADDRESS, so that the backend's is not ours."""
    head, _, last = ADDRESS.rpartition(".")
    return f"{head}.{int(last) % 254 + 1}"


def test_P6_a_refusal_does_not_show_the_backend(world_of):
    backend = Backend(address=another_address())
    backend.script["banner"] = "220 mx7.inside.example ESMTP ready"
    world_of(backend)
    node = world_of(Node(settings={"workers": 1}))
    node.add_customer("acme", "acme.example", backend.endpoint)
    for phase in ("mail", "rcpt", "dot"):
        backend.script[phase] = f"550 5.7.1 Rejected by mx7.inside.example ({backend.address}): not liked"
        reply = node.send()
        backend.script[phase] = None
        assert (reply.code, reply.enhanced) == (550, "5.7.1"), f"{phase}: {reply}"
        assert "not liked" in reply.text, f"{phase}: {reply}"
        assert "mx7" not in reply.text and backend.address not in reply.text, f"{phase}: {reply}"


# --- A stop in the middle.

def test_a_stop_is_told_to_a_session_once_its_transaction_is_over(one, backend):
    with after_rcpt(one) as client:
        one.relayd.signal(signal.SIGTERM)
        wait_until(lambda: one.relayd.log_lines("stopping"), 5, "it stops")
        assert client.cmd("NOOP").code == 250, "a transaction that has begun may end"
        client.socket.settimeout(2)
        reply = client.cmd("RSET")
        assert (reply if reply.code == 421 else client.reply()).code == 421
        wait_until(lambda: not one.relayd.alive, 5, "relayd has ended")
    assert one.relayd.popen.returncode == 0
