# SPDX-License-Identifier: BSD-2-Clause
"""What each process of relayd may, read from the kernel and tried in the process itself: a worker that is taken over by a
peer's bytes reaches neither the spool nor the database. tests/unit/test_sandbox.c tries each rule by itself."""
import errno
import os
import re
import signal
import socket
import struct
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from harness import IS_ROOT, RELAYD, Backend, Client, Node, make_message, our_received, process_gone, program, wait_until
from inject import AT_FDCWD, SYS, Ended, Injected, available
from world import unprivileged_user

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="users can be changed by root only")

ZONE = "Pacific/Kiritimati"  # UTC+14: its day is another one than ours for most of the day
SECRET = "marker-of-the-password-8c1d"
CAP = {"KILL": 5, "SETGID": 6, "SETUID": 7, "NET_BIND_SERVICE": 10}
NO_CAPABILITY = "0" * 16
LARGE = 3 * 1024 * 1024


def worker_user():
    return unprivileged_user("daemon", "games", "sync")


class SandboxNode(Node):
    def __init__(self):
        super().__init__(settings={"worker-user": worker_user().pw_name, "timezone": ZONE, "workers": 2}, start=False)
        self.relayd.env["PGPASSWORD"] = SECRET
        for path in self.dirs.values():
            path.chmod(0o750)


@pytest.fixture(scope="module")
def served():
    """One node for all tests of this file, with acme.example at a scripted backend."""
    backend = Backend().start()
    node = SandboxNode().start()
    try:
        node.add_customer("acme", "acme.example", backend.endpoint)
        node.backend = backend
        yield node
    finally:
        try:
            node.close()
        finally:
            backend.close()


def status_of(pid, tid=None):
    text = Path(f"/proc/{pid}/task/{tid or pid}/status").read_text()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def threads_of(pid):
    return [int(p.name) for p in Path(f"/proc/{pid}/task").iterdir()]


def assert_confined(pid, user, what):
    for tid in threads_of(pid):
        status = status_of(pid, tid)
        where = f"{what}, thread {status['Name']}"
        assert status["NoNewPrivs"] == "1", where
        assert status["Seccomp"] == "2", where
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {NO_CAPABILITY}, where
        assert set(status["Uid"].split()) == {str(user.pw_uid)}, where
        assert set(status["Gid"].split()) == {str(user.pw_gid)}, where
        assert set(status["Groups"].split()) == {str(g) for g in os.getgrouplist(user.pw_name, user.pw_gid)}, where


def test_every_thread_of_every_worker_is_confined_and_of_its_own_user(served):
    assert served.send().code == 250
    workers = served.relayd.workers()
    assert len(workers) == 2
    for pid in workers:
        assert len(threads_of(pid)) >= 3, "the I/O threads are not there"
        assert_confined(pid, worker_user(), f"worker {pid}")


@pytest.mark.parametrize("name", ["state", "control", "segments"])
def test_the_other_children_are_confined_as_well(served, name):
    assert_confined(served.relayd.child(name), served.user, name)


def test_the_spf_process_is_confined_and_of_the_workers_user(served):
    assert_confined(served.relayd.child("relayd-spf"), worker_user(), "spf")


def test_P8_the_spf_process_is_replaced_and_costs_nothing_else(served):
    pid, workers = served.relayd.child("relayd-spf"), served.relayd.workers()
    os.kill(pid, signal.SIGKILL)
    assert served.send().code == 250
    wait_until(lambda: served.relayd.children_named("relayd-spf") not in ([], [pid]), 10, "another is there")
    assert served.send().code == 250
    assert served.relayd.workers() == workers


def test_the_parent_keeps_only_what_starting_workers_needs(served):
    status = status_of(served.relayd.pid)
    kept = sum(1 << CAP[name] for name in ("KILL", "SETGID", "SETUID"))
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == kept
    assert int(status["CapBnd"], 16) & ~kept == 0, "a capability could come back"
    assert status["NoNewPrivs"] == "1"
    assert set(status["Uid"].split()) == {str(served.user.pw_uid)}


def test_a_low_port_leaves_the_parent_the_right_to_bind_more(world_of):
    """In a network of its own, where port 25 is free: also after a reload with more workers."""
    node = world_of(Node(settings={"listen": ["127.0.0.1:25"], "workers": 1}, start=False))
    log = open(node.relayd.log, "ab")
    relayd = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$@\"",
                               "sh", program(RELAYD), "-c", node.config_file], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, **node.env), start_new_session=True)
    log.close()

    def listening():
        lines = Path(f"/proc/{relayd.pid}/net/tcp").read_text().splitlines()[1:]
        return sum(line.split()[1] == "0100007F:0019" and line.split()[3] == "0A" for line in lines)

    try:
        wait_until(lambda: listening() == 1, 20, "relayd listens on port 25")
        wait_until(lambda: status_of(relayd.pid)["CapEff"] == f"{1 << CAP['NET_BIND_SERVICE']:016x}", 10, "the rest is dropped")
        assert set(status_of(relayd.pid)["Uid"].split()) == {str(node.user.pw_uid)}
        node.write_config(workers=3)
        relayd.send_signal(signal.SIGHUP)
        wait_until(lambda: listening() == 3, 20, "three sockets listen on port 25")
    finally:
        relayd.terminate()
        assert relayd.wait(40) == 0


# --- What a worker has.

@pytest.fixture
def spooling(served):
    """A spooled message, and a large one of which half has come: the workers have their segments."""
    served.backend.script["banner"] = "421 4.3.2 away"
    served.backend.drop_connections()
    reply = served.send(make_message(test_id=1))
    assert reply.code == 250 and "queued until" in reply.text, str(reply)
    client = Client(served.port)
    client.ehlo()
    for line, code in (("MAIL FROM:<a@origin.example>", 250), ("RCPT TO:<user@acme.example>", 250), ("DATA", 354)):
        assert client.cmd(line).code == code
    client.write(make_message(body=b"x" * 998 + b"\r\n") * (LARGE // 1000))
    yield served
    client.close()
    served.backend.script.clear()


def descriptors_of(pid):
    """(number, what it is, access mode) of each."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
            info = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
        except OSError:
            continue
        flags = int(re.search(r"^flags:\s+([0-7]+)", info, re.M).group(1), 8)
        found.append((int(link.name), target, flags))
    return found


def test_P1_P7_workers_have_the_spool_to_write_in_and_not_to_read(spooling):
    spool = str(spooling.dirs["spool-dir"])

    def segments():
        return [(target, flags & os.O_ACCMODE, os.stat(target.removesuffix(" (deleted)")).st_size)
                for pid in spooling.relayd.workers() for _, target, flags in descriptors_of(pid) if target.startswith(spool)]

    wait_until(lambda: len([s for s in segments() if s[1] == os.O_RDWR]) == 1, 20, "the large message has its own")
    modes = {mode for _, mode, _ in segments()}
    assert modes == {os.O_WRONLY, os.O_RDWR}, segments()
    readable = [s for s in segments() if s[1] == os.O_RDWR]
    assert len(readable) == 1, "more can be read than the one large message in passage"


def test_workers_have_no_folder_no_unix_peer_and_no_file_to_read(served):
    allowed = [str(served.dirs["log-dir"]), str(served.dirs["spool-dir"]), str(served.dirs["run-dir"]), str(served.folder), "/dev/"]
    for pid in served.relayd.workers():
        for number, target, flags in descriptors_of(pid):
            if target.startswith(("socket:", "pipe:", "anon_inode:")):
                continue
            assert any(target.startswith(place) for place in allowed), f"descriptor {number} is {target}"
            assert not os.path.isdir(target), f"descriptor {number} is the folder {target}"
            if target.startswith(allowed[0]):
                assert flags & os.O_ACCMODE == os.O_WRONLY and flags & os.O_APPEND, f"{target}: {flags:o}"


def test_workers_have_no_password_of_the_database_in_their_environment(served):
    control = Path(f"/proc/{served.relayd.child('control')}/environ").read_bytes()
    assert SECRET.encode() in control, "that it would be seen"
    for pid in served.relayd.workers() + [served.relayd.child("state"), served.relayd.child("segments")]:
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


# --- What a worker may, asked in its place.

inside = pytest.mark.skipif(not available, reason="calls are put into processes on x86-64 only")


@inside
def test_a_worker_that_is_taken_over_reaches_nothing(served):
    pid = served.relayd.workers()[0]
    control, segment = served.relayd.child("control"), next(served.dirs["spool-dir"].glob("*"))
    refused = (-errno.EACCES, -errno.EPERM)
    address = struct.pack("H", socket.AF_UNIX) + str(next(served.postgres.socket.glob(".s.PGSQL.*"))).encode() + b"\0"
    with Injected(pid) as worker:
        for path in ("/etc/passwd", "/", str(segment), str(served.dirs["spool-dir"]), str(served.dirs["state-dir"] / "replica.cdb"),
                     str(served.config_file), f"/proc/{control}/environ", f"/proc/{served.relayd.pid}/mem", "/tmp"):
            assert worker.call(SYS["openat"], AT_FDCWD, path, os.O_RDONLY) in refused, path
        assert worker.call(SYS["openat"], AT_FDCWD, "/tmp/made-by-a-worker", os.O_WRONLY | os.O_CREAT, 0o600) in refused
        assert worker.call(SYS["socket"], socket.AF_UNIX, socket.SOCK_STREAM, 0) in refused
        assert worker.call(SYS["kill"], served.relayd.pid, 0) in refused
        assert worker.call(SYS["kill"], control, 0) in refused
        assert worker.call(SYS["setresuid"], 0, 0, 0) in refused
        fd = worker.call(SYS["socket"], socket.AF_INET, socket.SOCK_STREAM, 0)
        assert fd > 0, "that calls are made at all"
        assert worker.call(SYS["listen"], fd, 1) in refused
        assert worker.call(SYS["connect"], fd, address, len(address)) < 0
        assert worker.call(SYS["close"], fd) == 0
    assert pid in served.relayd.workers()
    for _ in range(4):
        assert served.send().code == 250


@inside
def test_the_spf_process_has_nothing(served):
    """A library that a sender's text could take over finds no file, no socket, no thread and no other process."""
    pid = served.relayd.child("relayd-spf")
    with Injected(pid) as spf:
        for path in ("/etc/passwd", "/", str(served.dirs["state-dir"]), "/dev/null", f"/proc/{served.relayd.pid}/mem"):
            assert spf.call(SYS["openat"], AT_FDCWD, path, os.O_RDONLY) in (-errno.EACCES, -errno.EPERM), path
        for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
            assert spf.call(SYS["socket"], family, socket.SOCK_STREAM, 0) == -errno.EPERM, family
        assert spf.call(SYS["kill"], served.relayd.pid, 0) in (-errno.EACCES, -errno.EPERM)
    allowed = ("socket:", "pipe:", "anon_inode:", "/dev/null", str(served.relayd.log), str(served.dirs["run-dir"] / "children.lock"))
    others = [(number, target) for number, target, _ in descriptors_of(pid) if not target.startswith(allowed)]
    assert not others, others
    assert str(served.dirs["run-dir"]) not in Path(f"/proc/{pid}/maps").read_text(), "the shared table is mapped"
    assert pid == served.relayd.child("relayd-spf")


@inside
def test_a_worker_that_runs_a_program_dies_and_is_replaced(served):
    pid = served.relayd.workers()[1]
    with pytest.raises(Ended) as ended, Injected(pid) as worker:
        worker.call(SYS["execve"], "/bin/true", 0, 0)
    assert ended.value.signal == signal.SIGSYS
    wait_until(lambda: process_gone(pid) and len(served.relayd.workers()) == 2, 20, "it is replaced")
    wait_until(lambda: any(f"pid={pid} signal={signal.SIGSYS:d}" in line for line in served.relayd.log_lines("child-ended")), 10,
               "its end is told")
    for _ in range(4):
        assert served.send().code == 250


# --- What is told, and what must work all the same.

def test_the_layers_are_told_by_the_check_and_by_the_log(served):
    done = served.run(RELAYD, "-t")
    assert done.returncode == 0
    layers = re.search(r"^layers around the workers: (.*)$", done.stdout, re.M).group(1)
    assert "no-new-privs, seccomp" in layers and layers.endswith(f"user {worker_user().pw_name}")
    assert not re.search(r"warning: .*-dir", done.stdout), done.stdout
    (line,) = served.relayd.log_lines("sandbox")
    assert f'layers="{layers}"' in line


def test_the_check_warns_of_folders_that_workers_could_enter(served):
    spool = served.dirs["spool-dir"]
    spool.chmod(0o755)
    try:
        done = served.run(RELAYD, "-t")
        assert done.returncode == 0 and re.search(rf"warning: spool-dir {spool}.*chmod 0750", done.stdout), done.stdout
    finally:
        spool.chmod(0o750)


@pytest.mark.parametrize("setting", ["user", "worker-user"])
def test_a_user_that_is_not_there_is_told_before_anything_starts(world_of, setting):
    node = world_of(Node(settings={setting: "no-such-user"}, start=False))
    for arguments in (["-t"], []):
        done = node.run(RELAYD, *arguments, timeout=30)
        assert done.returncode == 1 and "no-such-user" in done.stderr, done


def test_the_services_time_zone_holds_inside_the_sandbox(served):
    before = datetime.now(timezone.utc)
    assert served.send(make_message(test_id=2)).code == 250
    received = our_received(served.backend.taken[-1].content).decode()
    stamp = datetime.strptime(re.search(r"\w{3}, \d\d? \w{3} \d{4} [\d:]{8} [+-]\d{4}", received).group(0), "%a, %d %b %Y %H:%M:%S %z")
    assert stamp.utcoffset() == timedelta(hours=14), received
    assert abs(stamp - before) < timedelta(minutes=1)
    served.backend.script["dot"] = "421 4.3.0 away"
    try:
        reply = served.send(make_message(test_id=3))
    finally:
        served.backend.script.clear()
    end = datetime.now(ZoneInfo(ZONE)).date() + timedelta(days=6)  # midnight behind the fifth full day
    assert f"queued until {end:%Y-%m-%d} 00:00" in reply.text, str(reply)
