# SPDX-License-Identifier: BSD-2-Clause
"""A scribe: writes records into a node's spool in the name of one of its workers (spool_scribe.c)."""
import itertools
import os
import signal
import subprocess

from harness import program, wait_until

numbers = itertools.count(1000000)  # of references: far from those that the relay gives


class Scribe:
    """Writes into a node's spool in the name of one of its workers, whose process id it takes."""

    def __init__(self, node):
        self.node = node
        self.worker = node.relayd.workers()[0]
        epoch = (node.dirs["spool-dir"] / "epoch").read_text().strip()
        user = {"user": node.user.pw_name, "group": node.user.pw_gid, "extra_groups": []} if node.user else {}
        self.popen = subprocess.Popen([program("tests/integration/spool_scribe"), str(node.dirs["spool-dir"]), epoch, str(self.worker)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **user)

    def tell(self, *words):
        print(*words, file=self.popen.stdin, flush=True)
        answer = self.popen.stdout.readline().strip()
        assert answer, f"the scribe has ended at: {words}"
        return answer

    def record(self, *flags):
        return self.tell("record", next(numbers), "+".join(flags) or "none")

    def mail(self, sender, ret=0, notify=0):
        """What is recorded from now on is from this sender, with RET (1 FULL, 2 HDRS; and an ENVID) and NOTIFY (bits) as numbers."""
        assert self.tell("mail", sender, ret, notify) == "ok"

    def ago(self, seconds):
        assert self.tell("ago", seconds) == "ok"

    def say(self, ref, kind, *flags):
        assert self.tell("say", ref, kind, "+".join(flags) or "none") == "ok"

    def worker_dies(self):
        """The worker is gone; its segments that the relay gave it are sealed, the scribe's are not."""
        os.kill(self.worker, signal.SIGKILL)
        wait_until(lambda: self.worker not in self.node.relayd.workers(), 20, "the worker is gone")

    def end(self):
        assert self.tell("end") == "ok"

    def close(self):
        self.popen.stdin.close()
        self.popen.wait(10)
