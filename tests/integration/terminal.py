# SPDX-License-Identifier: BSD-2-Clause
"""A terminal before relayctl."""
import fcntl
import os
import pty
import struct
import subprocess
import termios

from harness import RELAYCTL, SOURCE, program
from world import leaks_once


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

    def read(self):
        """All that is shown until nobody holds the terminal any more."""
        text = b""
        while True:
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        os.close(self.master)
        self.code = self.process.wait(20)
        return text.decode().replace("\r\n", "\n")
