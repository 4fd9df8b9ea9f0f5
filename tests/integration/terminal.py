# SPDX-License-Identifier: BSD-2-Clause
"""A terminal before relayctl, and reading, with a deadline, what it shows."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from harness import RELAYCTL, SOURCE, program
from world import leaks_once


def read_until(fd, end=None, timeout_s=60):
    """The octets that come before the end of the file, or down to those that `end` says are enough."""
    octets, deadline = b"", time.monotonic() + timeout_s
    while end is None or not end(octets):
        assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], f"after {timeout_s} s no more than {octets!r}"
        try:
            piece = os.read(fd, 65536)
        except OSError:  # a terminal that nobody holds any more
            piece = b""
        if not piece:
            break
        octets += piece
    return octets


def read_line(popen):
    """The next line that a program writes into its pipe, which is a binary one, if it writes no more lines than are asked for."""
    return read_until(popen.stdout.fileno(), lambda shown: shown.endswith(b"\n"))


class Screen:
    """relayctl whose standard output and error are a terminal, of so many columns; 0: it has no size. `ctl` has a config_file."""

    def __init__(self, ctl, *args, columns=0, **env):
        self.master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        all_env = {**os.environ, "POSTERN_SQL_DIR": str(SOURCE / "sql"), "TERM": "xterm", **env}
        self.process = subprocess.Popen([program(RELAYCTL), "-c", str(ctl.config_file), *args], stdin=subprocess.DEVNULL,
                                        stdout=terminal, stderr=terminal, start_new_session=True,
                                        env=leaks_once({n: v for n, v in all_env.items() if v is not None}, RELAYCTL, args))
        os.close(terminal)

    def read(self, end=None):
        """All that is shown until nobody holds the terminal any more; with `end`, down to it, and then relayctl is ended."""
        try:
            octets = read_until(self.master, end and (lambda shown: end in shown))
            if end:
                self.process.terminate()
            self.code = self.process.wait(20)
        finally:
            os.close(self.master)
            self.process.kill()  # nothing, if it has ended
            self.process.wait()
        return octets.decode().replace("\r\n", "\n")
