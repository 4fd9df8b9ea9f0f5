#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What tests have left in the folder that was their TMPDIR: files, and processes that work in it, name it or were started with it.

    tests/left_behind.py FOLDER     a line for each; such processes are ended by their pid; exit status 1 if there were any

A process that is about to end by itself is given a few seconds.
"""
import os
import re
import signal
import sys
import time
from pathlib import Path


def read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def parent_of(pid):
    stat = read(pid, "stat").rpartition(b")")[2].split()
    return int(stat[1]) if stat else 0


def ancestors():
    pid, found = os.getpid(), []
    while pid:
        found.append(pid)
        pid = parent_of(pid)
    return found


def names(command, folder):
    """Whether the words of a command line name the folder or something in it: .../gw10 is not .../gw1."""
    return re.search(re.escape(os.fsencode(folder)) + rb"(?:[\0/\s'\"]|\Z)", command) is not None


def belongs(pid, folder):
    try:
        cwd = os.readlink(f"/proc/{pid}/cwd")
    except OSError:  # gone, or somebody else's
        return False
    name = os.fsencode(folder)
    return (f"{cwd}/".startswith(f"{folder}/") or names(read(pid, "cmdline"), folder)
            or any(v == b"TMPDIR=" + name or v.startswith(b"TMPDIR=" + name + b"/") for v in read(pid, "environ").split(b"\0")))


def processes(folder, spare=()):
    """The pids that belong to the folder, but for those that we come from and those in `spare`."""
    known = {*ancestors(), *spare}
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) not in known and belongs(p.name, folder)]


def look(folder, spare_pids=(), spare_names=(), patience_s=5):
    """A line for each file at the top of the folder and for each process, which is ended."""
    deadline = time.monotonic() + patience_s
    while (pids := processes(folder, spare_pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = []
    for pid in pids:
        command = read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        try:
            os.kill(pid, signal.SIGKILL)
            left.append(f"process {pid}: {command[:200]}")
        except ProcessLookupError:
            pass
    return left + [str(p) for p in sorted(Path(folder).iterdir()) if p.name not in spare_names]


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    found = look(str(Path(sys.argv[1]).resolve()))
    for line in found:
        print(line)
    sys.exit(1 if found else 0)
