# SPDX-License-Identifier: BSD-2-Clause
"""With the backend up, mail passes the node without touching its disk (DESIGN section 6), and arrives once and whole (P1, P2, P10)."""
import json
import re
import shutil
import signal
import subprocess
from collections import Counter

import pytest

from harness import ADDRESS, IS_ROOT, LOADGEN, QUICK, Node, SinkBackend, program, wait_until
from world import release_build

COUNT = 1000 if QUICK else 10000
SIZE = 10240
# What makes data durable, and what makes a file or gives it a name or room.
SYNCS = ("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync")
FILES = ("open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat", "rename",
         "renameat", "renameat2", "fallocate", "ftruncate", "memfd_create")


class Counted:
    """System calls of running processes, counted by strace."""

    def __init__(self, pids, file):
        self.pids, self.file, self.calls = pids, file, None

    def __enter__(self):
        argv = ["strace", "-f", "-c", "-o", str(self.file), "-e", "trace=write,writev," + ",".join(SYNCS + FILES)]
        self.tracer = subprocess.Popen(argv + [a for pid in self.pids for a in ("-p", str(pid))], stderr=subprocess.DEVNULL)
        wait_until(lambda: all(is_traced(pid) for pid in self.pids), 20, "strace is attached")
        return self

    def __exit__(self, *_):
        self.tracer.send_signal(signal.SIGINT)
        self.tracer.wait(30)
        lines = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", self.file.read_text(), re.M)
        self.calls = {name: int(count) for count, name in lines if name != "total"}

    def of(self, names):
        return {name: count for name, count in self.calls.items() if name in names}


def is_traced(pid):
    with open(f"/proc/{pid}/status") as status:
        return not re.search(r"^TracerPid:\t0$", status.read(), re.M)


@pytest.mark.skipif(not shutil.which("strace") or not IS_ROOT, reason="strace is missing, or we are not root: NOTHING IS COUNTED")
def test_P10_mail_that_passes_makes_no_file_and_syncs_nothing(world_of):
    sink = world_of(SinkBackend())
    node = world_of(Node(build=release_build()))
    node.add_customer("acme", "acme.example", sink.endpoint, "--max-connections-per-hour", "none")
    node.send()
    node.wait_until_probed()
    spool = sorted(node.dirs["spool-dir"].rglob("*"))
    with Counted(node.relayd.workers(), node.folder / "strace") as counted:
        done = subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", str(COUNT), "--size", str(SIZE),
                               "--connections", "20", "--per-connection", "20"], capture_output=True, text=True, timeout=600)
    result = json.loads(done.stdout)
    assert result["accepted"] == COUNT and result["retries"] == 0, result
    print(f"\n{COUNT} messages: {counted.calls}")
    assert counted.of(("write", "writev")), "the tracer has seen them at work"
    assert not counted.of(SYNCS) and not counted.of(FILES)
    assert sorted(node.dirs["spool-dir"].rglob("*")) == spool and node.spool() == []
    copies = Counter(message.test_id for message in sink.messages() if message.test_id is not None)
    assert copies == Counter(range(1, COUNT + 1)), "each once"
    sink.stop()
    with Counted(node.relayd.workers(), node.folder / "strace") as counted:
        assert "queued until" in node.send().text
    assert counted.of(SYNCS), "what is kept is synced, and would have been counted"
