# SPDX-License-Identifier: BSD-2-Clause
"""A private OpenSMTPD that passes on what it is sent: a yardstick of the bench.

It excludes Postfix as a package, so tests/run only unpacks it (deploy/packages.txt, group `unpacked`). Its users, its queue and
its folders are compiled in: it runs in a mount namespace of its own, in which they are there. Only root can make that.
"""
import os
import shlex
import signal
from pathlib import Path

from world import ADDRESS, IS_ROOT, Process, build_dir, free_port, greets, make_folder, process_gone, remove_folder, wait_until

CONFIG = """\
smtp max-message-size 30M
{limits}
listen on {address} port {port} hostname opensmtpd.example
action "relay" relay host smtp://{relay_to}
match from any for any action "relay"
"""

# Without its courtesies towards the hosts of others: it is a yardstick.
LIMITS = {**{f"max-conn-per-{what}": 200 for what in ("host", "route", "source", "connector", "relay", "domain")},
          **{f"conn-delay-{what}": 0 for what in ("host", "route", "source", "connector", "relay", "domain")},
          "session-transaction-delay": 0}

SETUP = """\
set -e
cd {folder}
for file in passwd group; do mount --bind $file /etc/$file; done
for place in /run /var/lib /var/spool; do mount -t tmpfs none $place; done
mkdir -p -m 711 /var/spool/smtpd /var/lib/opensmtpd/empty
exec {program} -d -f smtpd.conf
"""


def find_opensmtpd():
    for place in (os.environ.get("POSTERN_OPENSMTPD"), build_dir().parent / "unpacked" / "usr/sbin/smtpd", "/usr/sbin/smtpd"):
        if place and Path(place).is_file():
            return Path(place)
    return None


class OpenSMTPD:
    def __init__(self, relay_to):
        self.folder = make_folder("postern-opensmtpd-")
        self.port = free_port()
        (self.folder / "smtpd.conf").write_text(CONFIG.format(address=ADDRESS, port=self.port, relay_to=relay_to,
                                                                  limits="\n".join(f"mta limit {k} {v}" for k, v in LIMITS.items())))
        users = "".join(f"{name}:x:{uid}:{uid}::/:/bin/false\n" for name, uid in (("opensmtpd", 64001), ("opensmtpq", 64002)))
        groups = "".join(f"{name}:x:{gid}:\n" for name, gid in (("opensmtpd", 64001), ("opensmtpq", 64002)))
        (self.folder / "passwd").write_text(Path("/etc/passwd").read_text() + users)
        (self.folder / "group").write_text(Path("/etc/group").read_text() + groups)
        self.process = None

    @staticmethod
    def missing():
        """Why it cannot run here, or None."""
        if not find_opensmtpd():
            return "OpenSMTPD was not unpacked: run tests/run, or set POSTERN_OPENSMTPD"
        return None if IS_ROOT else "only root can make its mount namespace"

    def start(self):
        reason = self.missing()
        assert not reason, reason
        script = SETUP.format(folder=shlex.quote(str(self.folder)), program=shlex.quote(str(find_opensmtpd())))
        self.process = Process(["unshare", "--mount", "--propagation", "private", "bash", "-c", script], self.folder / "log").start()
        wait_until(self._greets, 20, "OpenSMTPD greets")
        return self

    def _greets(self):
        assert self.process.alive, "OpenSMTPD has ended: " + self.process.text()
        return greets(self.port)

    def close(self):
        if self.process and self.process.alive:
            children = self.process.tree()[1:]
            self.process.stop()
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            wait_until(lambda: all(process_gone(pid) for pid in children), 20, "OpenSMTPD's processes have ended")
        remove_folder(self.folder)
