# SPDX-License-Identifier: BSD-2-Clause
"""The ground under the integration tests: folders, addresses, processes, waiting.

Every run of the tests has a loopback address of its own (127.A.B.C at random) and takes ports on it below the
system's ephemeral range; so two runs side by side never meet, and no port is taken between the look and the bind.
Every process is started with a parent-death signal and ended by its pid; nothing is ever ended by name.
"""
import atexit
import ctypes
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
IS_ROOT = os.geteuid() == 0
QUICK = os.environ.get("POSTERN_TEST_QUICK", "") not in ("", "0")


def build_dir():
    """Where the programs are: POSTERN_BUILD, or build/ or var/build/ of the checkout."""
    for place in (os.environ.get("POSTERN_BUILD"), SOURCE / "build", SOURCE / "var" / "build", SOURCE):
        if place and (Path(place) / "tests" / "bench" / "sink").exists():
            return Path(place).resolve()
    raise RuntimeError("no built programs: set POSTERN_BUILD to the build folder (after make)")


def release_build():
    """A build without sanitizers, for what is measured: POSTERN_RELEASE_BUILD, or `release` beside the build folder; or None."""
    for place in (os.environ.get("POSTERN_RELEASE_BUILD"), build_dir().parent / "release"):
        if place and (Path(place) / RELAYD).exists():
            return Path(place).resolve()
    return None


def program(name, build=None):
    """The path of a built program. It need not exist: Process.start says so when it does not."""
    return str((build or build_dir()) / name)


RELAYD, SPOOLMGR, RELAYCTL = "relayd/relayd", "spoolmgr/spoolmgr", "admin/relayctl"
SINK, LOADGEN = "tests/bench/sink", "tests/bench/loadgen"

# --- Addresses.

_random = random.Random(int.from_bytes(os.urandom(8), "big"))
ADDRESS = f"127.{_random.randint(1, 254)}.{_random.randint(0, 255)}.{_random.randint(1, 254)}"
_ports = itertools.count(10000)


def free_port():
    """A port on ADDRESS that nobody else uses."""
    for port in _ports:
        with socket.socket() as s:
            try:
                s.bind((ADDRESS, port))
            except OSError:
                continue
            return port


def greets(port):
    """An SMTP server at that port says 220."""
    with socket.create_connection((ADDRESS, port), 5) as s:
        return s.recv(4).startswith(b"220")


# --- Folders.

_folders, _kept = [], []


def memory_folder():
    """Where files that need not be on a disk are quickest, if it has room; else None, the usual place. POSTERN_TEST_MEMORY names it;
    empty: there is none."""
    path = Path(os.environ.get("POSTERN_TEST_MEMORY", "/dev/shm") or "/nowhere")
    try:
        return path if Path("/dev/shm").is_mount() and shutil.disk_usage(path).free > 2 ** 31 else None
    except OSError:
        return None


def make_folder(prefix="postern-test-", under=None):
    """A fresh folder that other users can enter; removed at the end unless keep_folder was called."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=under))
    path.chmod(0o755)
    _folders.append(path)
    return path


def keep_folder(path):
    if path in _folders:
        _folders.remove(path)
        _kept.append(path)


def remove_folder(path):
    if path in _folders:
        _folders.remove(path)
        shutil.rmtree(path, ignore_errors=True)


@atexit.register
def _remove_folders():
    for path in list(_folders):
        remove_folder(path)


def unprivileged_user(*names):
    """The first of the named users that exists, for children that must not be root."""
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"none of the users {', '.join(names)} exists")


def own(path, user):
    if IS_ROOT and user:
        os.chown(path, user.pw_uid, user.pw_gid)


# --- Waiting.

class TooLong(AssertionError):
    pass


def wait_until(check, timeout=30.0, what=None, pause=0.02):
    """Returns check()'s first true value. Exceptions of check are "not yet" and are shown if it never comes."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except Exception as e:  # noqa: BLE001 - anything may be missing while it comes up
            last = repr(e)
        if time.monotonic() > deadline:
            raise TooLong(f"after {timeout:g} s still not: {what or 'the awaited condition'} (last: {last})")
        time.sleep(pause)


# --- Sanitizers.

_looked_for = set()


def leaks_once(env, which, args):
    """The environment of a command. In quick form leaks are looked for once in each of its forms (words and names of
    options): the search takes longer than all that the command does."""
    form = (which, *(str(a).partition("=")[0] for i, a in enumerate(args) if i < 2 or str(a).startswith("--")))
    if QUICK and form in _looked_for:
        env["ASAN_OPTIONS"] = ":".join(filter(None, (env.get("ASAN_OPTIONS"), "detect_leaks=0")))
    _looked_for.add(form)
    return env


# --- Processes.

_live = []


class Process:
    """One child in its own session, its output appended to a file. Start it from the main thread: the parent-death
    signal goes with the thread that started it."""

    def __init__(self, argv, log, user=None, env=None, cwd=None):
        self.argv, self.log, self.user, self.cwd = [str(a) for a in argv], Path(log), user, cwd
        self.env = dict(os.environ, **(env or {}))
        self.popen = None

    def start(self):
        assert not self.alive, f"{self.argv[0]} runs already"
        if not shutil.which(self.argv[0]):
            raise RuntimeError(f"{self.argv[0]} is not built or not installed")
        argv = ["setpriv", "--pdeathsig", "KILL"]
        if self.user and IS_ROOT:
            argv += ["--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid), "--clear-groups"]
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(argv + self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env=self.env, cwd=self.cwd, start_new_session=True)
        _live.append(self)
        return self

    @property
    def pid(self):
        return self.popen.pid

    @property
    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def tree(self):
        """Its pid and those of all its descendants, parents first."""
        pids, found = [self.pid], [self.pid]
        while pids:
            pids = [c for p in pids for c in children_of(p)]
            found += pids
        return found

    def signal(self, number):
        if self.alive:
            os.kill(self.pid, number)

    def stop(self, timeout=40.0):
        """SIGTERM, and the exit status; a process that does not end in time is killed and the test fails."""
        if not self.alive:
            return self.popen.returncode if self.popen else None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TooLong(f"{self.argv[0]} did not end within {timeout:g} s of SIGTERM") from None
        self._forget()
        return status

    def kill(self):
        """SIGKILL of this one process; what becomes of its children is its own affair."""
        if self.popen is None:
            return
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self.popen.wait()
        self._forget()

    def _forget(self):
        if self in _live:
            _live.remove(self)

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def children_of(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(p) for p in task.read_text().split()]
        except OSError:
            pass
    return found or _children_by_scan(pid)


def _children_by_scan(pid):
    """For kernels without /proc/PID/task/TID/children."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return sorted(found)


def process_gone(pid):
    """Gone, or a zombie that its parent has not fetched yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@atexit.register
def _end_processes():
    for p in list(_live):
        p.kill()


def become_subreaper():
    """Orphans of killed daemons come to us, so that none is left behind unseen."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)
