# SPDX-License-Identifier: BSD-2-Clause
"""tests/bench/crowd, steered by a test: thousands of clients, counted exactly.

    with Crowd(node.port, clients=10000, stand="ehlo", sources=400) as crowd:
        counts = crowd.ready()          # everybody stands, or has ended
        ...
        crowd.finish()                  # those who stand go on to the end of their dialogue
    counts = Crowd(node.port, total=300, clients=40).run()
"""
import json
import os
import selectors
import subprocess
import time

from world import ADDRESS, TooLong, make_folder, program, remove_folder

CROWD = "tests/bench/crowd"
SOURCE = "127.201.0.1"  # the first of the clients' addresses; nobody listens there


class Crowd:
    """Options are those of the program: stand="ehlo", each_network=True, ...; a flag is True."""

    def __init__(self, port, address=ADDRESS, limit=300, **options):
        self.folder = make_folder("postern-crowd-")
        self.journal = self.folder / "journal"
        options = {"source": SOURCE, "journal": self.journal, "limit": limit, **options}
        self.argv = [program(CROWD), "--to", f"{address}:{port}", "--steer"]
        for name, value in options.items():
            if value not in (None, False):
                self.argv += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        self.limit = limit
        self.popen = None
        self.last = None
        self.accepted_ids = None  # after its end: the X-Test-Id of each message that had a 2xx
        self._input = b""

    def start(self):
        self.popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + self.argv, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, start_new_session=True)
        os.set_blocking(self.popen.stdout.fileno(), False)
        return self

    def _order(self, order):
        self.popen.stdin.write(order.encode() + b"\n")
        self.popen.stdin.flush()

    def _event(self, wanted, timeout):
        """The next line with that event, or the last one of all."""
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            while True:
                line, newline, rest = self._input.partition(b"\n")
                if newline:
                    self._input = rest
                    self.last = json.loads(line)
                    if self.last["event"] in (wanted, "end"):
                        return self.last
                    continue
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise TooLong(f"crowd: no {wanted!r} after {timeout:g} s; counts: {self.counts_now()}")
                data = self.popen.stdout.read()
                assert data, f"crowd has ended with status {self.popen.wait(5)}"
                self._input += data

    def counts_now(self):
        try:
            return self.count() if self.popen.poll() is None else self.last
        except (OSError, AssertionError) as e:
            return repr(e)

    def ready(self, timeout=60):
        return self._event("ready", timeout)

    def count(self, timeout=10):
        self._order("count")
        return self._event("count", timeout)

    def finish(self, timeout=60):
        """Those who stand go on; the counts when all have ended."""
        self._order("finish")
        return self._event("end", timeout)

    def stop(self, timeout=60):
        """Nobody new comes; the counts when all have ended."""
        self._order("stop")
        return self._event("end", timeout)

    def end(self, timeout=30):
        """Everybody leaves at once; the counts before that."""
        if self.popen.poll() is None and not (self.last and self.last["event"] == "end"):
            self._order("end")
            self._event("end", timeout)
        return self.last

    def wait(self, timeout=None):
        """The counts when all have come to their end by themselves."""
        return self._event("end", timeout or self.limit + 10)

    def run(self, timeout=None):
        with self:
            return self.wait(timeout)

    def _read_journal(self):
        lines = (line.split() for line in self.journal.read_text().splitlines())
        return [int(number) for number, code in lines if code.startswith("2")]

    def close(self):
        if self.popen is None:
            return
        try:
            self.end()
            self.popen.wait(30)
        finally:
            if self.popen.poll() is None:
                self.popen.kill()
                self.popen.wait()
            self.popen.stdin.close()
            self.popen.stdout.close()
            self.popen = None
            self.accepted_ids = self._read_journal()
            remove_folder(self.folder)

    def __enter__(self):
        return self if self.popen else self.start()

    def __exit__(self, kind, *_):
        try:
            self.close()
        except (OSError, AssertionError):
            if kind is None:
                raise
