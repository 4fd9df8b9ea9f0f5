# SPDX-License-Identifier: BSD-2-Clause
"""P1, P2: disks that are full, fail or are read-only. In each case live mail goes on, what has had a 250 is delivered once, what
has not had one is not, and all goes on by itself when the disk does."""
import errno
import itertools
import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import IS_ROOT, Backend, Node, SmallDisk, make_folder, make_message, remove_folder, wait_until
from io_faults import IoFaults
from world import memory_folder, own

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="a small file system can be mounted by root alone")

LARGE = 1200 * 1024  # such a message gets a segment of its own
numbers = itertools.count()


class Ext4:
    """A file system whose errors make it read-only, as that of most servers."""

    def __init__(self, folder, size, user):
        self.folder, self.user = folder, user
        self.image = make_folder("postern-disk-", under=memory_folder()) / "image"
        subprocess.run(["truncate", "-s", size, self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], check=True)
        self.mount()
        self.mount_point_is_ours()

    def mount(self):
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", self.image, self.folder], check=True)

    def mount_point_is_ours(self):
        (self.folder / "lost+found").rmdir()
        own(self.folder, self.user)

    def is_read_only(self):
        try:
            (self.folder / "probe").touch()
        except OSError as e:
            return e.errno == errno.EROFS

    def break_down(self):
        """The kernel has found an error. False: this one cannot be told to."""
        source = subprocess.run(["findmnt", "-n", "-o", "SOURCE", self.folder], check=True, capture_output=True, text=True).stdout.strip()
        trigger = Path("/sys/fs/ext4") / Path(source).name / "trigger_fs_error"
        if not trigger.exists():
            return False
        trigger.write_text("1")
        return True

    def repair(self):
        subprocess.run(["umount", self.folder], check=True)
        assert subprocess.run(["e2fsck", "-f", "-y", self.image], capture_output=True).returncode in (0, 1)
        self.mount()

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)
        remove_folder(self.image.parent)


def small_disk(*args):
    try:
        return Ext4(*args)
    except (OSError, subprocess.CalledProcessError):  # no loop devices here
        return SmallDisk(*args)


class FaultyNode(Node):
    """live.example is served; what comes for away.example must be kept until `away` is started."""

    def __init__(self, size="700m"):
        super().__init__(settings={"workers": 1, "probe-interval-max": "1s", "message-retry-max": "1s"}, start=False)
        self.disk = small_disk(self.dirs["spool-dir"], size, self.user)
        self.spoolmgr.env["POSTERN_TEST_CHECKPOINT_BYTES"] = "4000"
        self.faults = IoFaults(self)
        self.live, self.away = Backend().start(), Backend().start()
        self.start()
        self.add_customer("live", "live.example", self.live.endpoint, "--max-connections-per-hour", "none")
        self.add_customer("away", "away.example", self.away.endpoint, "--max-connections-per-hour", "none")
        self.away.stop()
        wait_until(lambda: is_kept(self.send(rcpts="user@away.example")), 15, "it is noticed")

    def close(self, keep=False):
        self.live.stop()
        self.away.stop()
        super().close(keep)


@pytest.fixture(scope="module")
def node():
    node = FaultyNode()
    yield node
    node.close()


def is_kept(reply):
    return reply.code == 250 and "queued until" in reply.text


class Mail:
    """For away.example: what was sent, and what had a 250."""

    def __init__(self, node):
        self.node, self.sent, self.kept = node, set(), set()

    def send(self, size=0):
        number = next(numbers)
        self.sent.add(number)
        reply = self.node.send(make_message(test_id=number, body=b"x" * 62 + b"\r\n" if not size else (b"x" * 62 + b"\r\n") * (size // 64)),
                               rcpts="user@away.example")
        if reply.code == 250:
            assert is_kept(reply)
            self.kept.add(number)
        return reply

    def keep(self, count, size=0):
        for _ in range(count):
            reply = self.send(size)
            assert is_kept(reply), reply

    def arrived(self):
        ids = (int(re.search(rb"X-Test-Id: (\d+)", m.content)[1]) for m in self.node.away.taken if b"X-Test-Id" in m.content)
        return sorted(n for n in ids if n in self.sent)


class Passing:
    """Live mail, one message after the other."""

    def __init__(self, node):
        self.node, self.replies = node, []
        self.begin()

    def begin(self):
        self.stopped, self.thread = threading.Event(), threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped.wait(0.05):
            try:
                self.replies.append(self.node.send(rcpts="user@live.example"))
            except OSError:  # its worker was killed: a sender tries again
                continue

    def more(self, count=3):
        wanted = len(self.replies) + count
        wait_until(lambda: len(self.replies) >= wanted, 20, "live mail goes on")

    def end(self):
        self.stopped.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        bad = [str(r) for r in self.replies if r.code != 250 or is_kept(r)]
        assert self.replies and not bad, f"{len(bad)} of {len(self.replies)} live messages: {bad[:3]}"


@contextmanager
def goes_on(node):
    """The trouble of a test. Behind it all that had a 250 is delivered, once, and nothing else."""
    live, mail = Passing(node), Mail(node)
    try:
        mail.keep(3)
        yield mail, live
        live.more()
        live.end()
        node.away.stop()
        node.away.start()
        wait_until(lambda: set(mail.arrived()) >= mail.kept, 30, "all that was kept is delivered")
        wait_until(lambda: no_more(node.spool()), 20, "nothing is left")
        assert mail.arrived() == sorted(mail.kept)
    finally:
        live.stopped.set()
        node.away.stop()
    wait_until(lambda: is_kept(node.send(rcpts="user@away.example")), 15, "it is away again")


def no_more(spool):
    assert not spool
    return True


def alarms(daemon, event, text=""):
    return sum(" alarm " in line and text in line for line in daemon.log_lines(event))


# --- A disk that says EIO.

@pytest.mark.parametrize("operation", ["sync", "write"])
def test_P1_what_could_not_be_written_is_no_250(node, operation):
    with goes_on(node) as (mail, live):
        before = alarms(node.relayd, "spool-write-failed")
        for size in (0, LARGE):
            with node.faults.on("relayd/worker", operation, errno.EIO, times=1) as fault:
                reply = mail.send(size)
                assert (reply.code, reply.enhanced) == (452, "4.3.1"), reply
                assert fault.failed == 1
            mail.keep(1, size)  # in the next segment, at once
        assert alarms(node.relayd, "spool-write-failed") >= before + 1


def test_P1_a_disk_that_fails_for_long_closes_only_what_needs_it(node):
    with goes_on(node) as (mail, live):
        with node.faults.on("relayd/worker", "sync", errno.EIO) as fault:
            for size in (0, LARGE, 0, 0):
                reply = mail.send(size)
                assert (reply.code, reply.enhanced) in ((452, "4.3.1"), (451, "4.3.1")), reply
            live.more(10)
            assert fault.failed >= 2
        wait_until(lambda: is_kept(mail.send()), 10, "kept again")
        mail.keep(3, LARGE)


@pytest.mark.parametrize("operation, error", [("sync", errno.EIO), ("write", errno.ENOSPC)])
def test_P2_no_dot_is_sent_while_outcomes_cannot_be_recorded(node, operation, error):
    with goes_on(node) as (mail, live):
        with node.faults.on("spoolmgr", operation, error) as fault:
            node.away.start()
            wait_until(lambda: mail.arrived() or fault.failed >= 3, 20, "it is tried")
            live.more(10)
            assert not mail.arrived(), "what is offered and not recorded could come twice, silently"
            assert alarms(node.spoolmgr, "ledger-failed") and fault.failed >= 2
            node.away.stop()
        wait_until(lambda: node.spoolmgr.log_lines("ledger-works"), 10, "the ledger works")


def ledgers(node):
    return {path.name for path in node.dirs["spool-dir"].glob("ledger-????????")}


def test_P2_a_checkpoint_that_finds_no_room_holds_up_no_mail(node):
    with goes_on(node) as (mail, live):
        before = ledgers(node)
        with node.faults.on("spoolmgr", "open-rw", errno.ENOSPC) as fault:
            mail.keep(40)
            node.away.start()
            wait_until(lambda: len(mail.arrived()) == len(mail.kept), 20, "the ledger that is there takes the outcomes")
            wait_until(lambda: fault.failed >= 2, 10, "checkpoints are tried")
            assert ledgers(node) == before
        wait_until(lambda: ledgers(node) != before, 10, "one that has room")


def test_P2_a_body_that_cannot_be_read_waits_and_holds_up_no_other(node):
    with goes_on(node) as (mail, live):
        with node.faults.on("spoolmgr/deliverer", "read", errno.EIO, times=1) as fault:
            node.away.start()
            wait_until(lambda: fault.failed, 20, "one could not be read")
            wait_until(lambda: len(mail.arrived()) >= len(mail.kept) - 1, 20, "the others pass it")
        wait_until(lambda: len(mail.arrived()) == len(mail.kept), 20, "and then it is delivered too, without a person")
        assert alarms(node.spoolmgr, "spool-body-unreadable") == 1 and not node.spoolmgr.log_lines("spool-damage")


def test_P2_an_envelope_that_cannot_be_read_waits(node):
    with goes_on(node) as (mail, live):
        with node.faults.on("spoolmgr", "read", errno.EIO, times=2) as fault:
            node.away.start()
            wait_until(lambda: fault.failed == 2, 20, "it could not be read")
            wait_until(lambda: len(mail.arrived()) == len(mail.kept), 20, "then it could")


# --- A disk that is read-only for a while: nothing is written, and nothing that is there is lost.

def test_P1_a_disk_that_is_read_only_for_a_while(node):
    with goes_on(node) as (mail, live):
        with node.faults.read_only("relayd", errno.EROFS), node.faults.read_only("spoolmgr", errno.EROFS):
            for size in (0, LARGE, 0):
                reply = mail.send(size)
                assert (reply.code, reply.enhanced) in ((452, "4.3.1"), (451, "4.3.1")), reply
            node.away.start()
            wait_until(lambda: node.spoolmgr.log_lines("ledger-failed"), 20, "nothing can be recorded")
            live.more(10)
            assert not mail.arrived()
            node.away.stop()
        wait_until(lambda: is_kept(mail.send()), 15, "kept again")
        mail.keep(1, LARGE)


# --- A disk that is full.

def free_bytes(folder):
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class Filler:
    """A file that takes all room, over and over, until it is removed."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / "filler"

    def fill(self):
        """False: there was none that a segment could use."""
        room = free_bytes(self.folder)
        for piece in (room, room - room // 16, 2 ** 20):
            end = self.path.stat().st_size if self.path.exists() else 0
            if piece and subprocess.run(["fallocate", "-o", str(end), "-l", str(piece), self.path], capture_output=True).returncode == 0:
                return True
        return False

    def end(self):
        self.path.unlink(missing_ok=True)


def test_P1_a_full_disk_and_room_again(node):
    filler = Filler(node.dirs["spool-dir"])
    with goes_on(node) as (mail, live):
        try:
            wait_until(lambda: not filler.fill(), 10, "no room is left")
            assert mail.send(LARGE).code // 100 == 4, "it needs a segment of its own"
            # A new worker has no segment. Deaths of processes and a full disk at once:
            os.kill(node.relayd.workers()[0], signal.SIGKILL)
            wait_until(lambda: not filler.fill() and mail.send().code // 100 == 4, 20, "there is no segment for it")
            live.more(5)
            # What waits is delivered on a full disk, over restarts of its keeper: this is how room is made.
            node.spoolmgr.stop()
            node.spoolmgr.start()
            filler.fill()
            node.away.start()
            wait_until(lambda: set(mail.arrived()) >= mail.kept, 30, "all that was kept is delivered")
            node.away.stop()
            live.more(5)
        finally:
            filler.end()
        wait_until(lambda: is_kept(mail.send()), 20, "kept again")
        wait_until(lambda: is_kept(mail.send(LARGE)), 20, "large ones too")


# --- A kernel that gives up. Nobody can write there before a person has repaired it: live mail goes on until then.

def test_P1_a_file_system_with_errors_is_repaired_and_nothing_is_lost(node):
    if not isinstance(node.disk, Ext4) or not (node.dirs["spool-dir"] / "epoch").exists():
        pytest.skip("no loop device")
    with goes_on(node) as (mail, live):
        mail.keep(20)
        if not node.disk.break_down():
            pytest.skip("this kernel has no trigger_fs_error")
        wait_until(node.disk.is_read_only, 10, "it is read-only")
        for size in (0, LARGE, 0):
            assert mail.send(size).code // 100 == 4
        node.away.start()
        wait_until(lambda: alarms(node.spoolmgr, "ledger-failed"), 20, "nothing can be recorded")
        live.more(10)
        live.end()
        assert not mail.arrived()
        node.away.stop()
        node.stop()
        node.disk.repair()
        node.relayd.start()
        node.spoolmgr.start()
        wait_until(lambda: is_kept(mail.send()), 15, "kept again")
        live.begin()
