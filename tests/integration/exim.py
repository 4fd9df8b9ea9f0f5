# SPDX-License-Identifier: BSD-2-Clause
"""A private Exim: in cut-through mode, where what it is sent goes on to `relay_to` while the sender is still on the line; or a
customer's server (`EximServer`), that keeps mail in a Maildir and says of a sender what a file says.

Exim and Postfix exclude each other as packages, so tests/run only unpacks Exim (deploy/packages.txt, group `unpacked`) into
the folder `unpacked` beside the build. It is used from there, never installed, never as root: its user is made up by
libnss-wrapper.
"""
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from world import (ADDRESS, Process, build_dir, free_port, greets, make_folder, own, process_gone, remove_folder,
                   unprivileged_user, wait_until)

MAIN = """\
primary_hostname = {hostname}
qualify_domain = {hostname}
local_interfaces = {address}.{port}
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
deliver_drop_privilege = true
keep_environment =
host_lookup =
tls_advertise_hosts =
chunking_advertise_hosts =
rfc1413_query_timeout = 0s
smtp_enforce_sync = false
smtp_accept_max = 0
smtp_connect_backlog = 1000
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_max_synprot_errors = 1000
log_selector = +all
"""
RELAY_CONFIG = """\
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  accept {control}
begin routers
on:
  driver = manualroute
  transport = out
  self = send
  route_data = {to_host}::{to_port}
begin transports
out:
  driver = smtp
  hosts_avoid_tls = *
begin retry
* * F,1h,2s
"""

SERVER_CONFIG = """\
message_size_limit = 100K
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
acl_smtp_predata = acl_predata
acl_smtp_data = acl_data
begin acl
acl_mail:
TELL(mail-$sender_address_local_part)
  accept
acl_rcpt:
  deny ! verify = recipient
TELL(rcpt-$sender_address_local_part)
TELL(to-$local_part)
  accept
acl_predata:
TELL(predata-$sender_address_local_part)
  accept
acl_data:
  deny condition = ${if def:h_X-Reject:}
    message = 550 5.7.1 no such content
TELL(data-$sender_address_local_part)
  accept
begin routers
picky:
  driver = accept
  domains = ! all.example
  local_parts = lsearch;FOLDER/users
  transport = box
all:
  driver = accept
  domains = all.example
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = FOLDER/mail
begin retry
* * F,1h,2s
"""
# The word on KEY, said as a refusal; one that is "slow" is taken after four seconds.
TELL = """\
  warn set acl_m_word = ${lookup{KEY}lsearch{FOLDER/words}{$value}{}}
  warn condition = ${if eq{$acl_m_word}{slow}}
    delay = 4s
  deny condition = ${if match{$acl_m_word}{^5}}
    message = $acl_m_word
  defer condition = ${if match{$acl_m_word}{^4}}
    message = $acl_m_word
"""


def find_exim():
    for place in (os.environ.get("POSTERN_EXIM"), build_dir().parent / "unpacked" / "usr/sbin/exim4", "/usr/sbin/exim4"):
        if place and Path(place).is_file():
            return Path(place)
    return None


class Exim:
    def __init__(self, relay_to, hostname="exim.example", cut_through=True):
        self.folder = make_folder("postern-exim-")
        self.port = free_port()
        self.endpoint = f"{ADDRESS}:{self.port}"
        self.user = unprivileged_user("nobody") if os.geteuid() == 0 else None
        uid, gid = (self.user.pw_uid, self.user.pw_gid) if self.user else (os.getuid(), os.getgid())
        self.config = self.folder / "exim.conf"
        self.config.write_text(MAIN.format(hostname=hostname, address=ADDRESS, port=self.port, folder=self.folder) +
                               self.what_it_does(relay_to, cut_through))
        (self.folder / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nDebian-exim:x:{uid}:{gid}::/:/bin/sh\n")
        (self.folder / "group").write_text(f"root:x:0:\nDebian-exim:x:{gid}:\n")
        (self.folder / "spool").mkdir()
        for path in (self.folder, self.folder / "spool"):
            own(path, self.user)
        self.process = None

    def what_it_does(self, relay_to, cut_through):
        host, _, port = relay_to.rpartition(":")
        control = "control = cutthrough_delivery/defer=pass" if cut_through else ""
        return RELAY_CONFIG.format(to_host=host, to_port=port, control=control)

    @staticmethod
    def missing():
        """Why it cannot run here, or None."""
        found = find_exim()
        if not found:
            return "Exim was not unpacked: run tests/run, or set POSTERN_EXIM"
        done = subprocess.run([found, "-bV"], capture_output=True, text=True)
        if "Exim version" in done.stdout or "failed to find uid" in done.stderr + done.stdout:  # the user is made up later
            return None if list(Path("/usr/lib").glob("**/libnss_wrapper.so")) else "libnss-wrapper is not installed"
        return f"{found} does not run: {(done.stderr or done.stdout).strip()}"

    def start(self):
        reason = self.missing()
        assert not reason, reason
        program = self.folder / "exim4"  # a place that its user can enter; without its set-user-id bit
        shutil.copyfile(find_exim(), program)
        program.chmod(0o755)
        env = {"LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
               "NSS_WRAPPER_GROUP": str(self.folder / "group")}
        self.process = Process([program, "-C", self.config, "-bdf", "-q2s"], self.folder / "exim.log", user=self.user, env=env,
                               cwd=str(self.folder))
        self.process.start()
        wait_until(self._answers, 20, "Exim greets")
        return self

    def _answers(self):
        assert self.process.alive, "Exim has ended: " + self.log_text()
        return greets(self.port)

    def stop(self):
        """The daemon, and those of its children that still serve a connection."""
        if not (self.process and self.process.alive):
            return
        children = self.process.tree()[1:]
        self.process.stop()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(lambda: all(process_gone(p) for p in children), 20, "Exim's processes have ended")

    def close(self):
        self.stop()
        remove_folder(self.folder)

    def queue_length(self):
        return sum(1 for p in (self.folder / "spool" / "input").rglob("*-D"))

    def log_text(self):
        return self.process.text() + "".join(p.read_text(errors="replace") for p in sorted(self.folder.glob("*log"))
                                             if p.name != "exim.log")


class EximServer(Exim):
    """A customer's server. all.example takes every recipient, other domains those of `users`, by local part. `words`: what a sender's
    local part is told at a phase (mail, rcpt, predata, data), or a recipient ("to"): {"rcpt-spammer": "550 5.7.1 no"}. A message
    with the field X-Reject is refused."""

    UNKNOWN = "550 5.0.0"  # how its "550 Unrouteable address" is passed on
    TOO_BIG = "552 5.0.0"

    def __init__(self, users, words):
        super().__init__(relay_to=None)
        (self.folder / "mail").mkdir()
        own(self.folder / "mail", self.user)
        self.tell(users, words)

    def tell(self, users, words):
        """It reads both anew whenever it is asked."""
        (self.folder / "users").write_text("".join(f"{user}\n" for user in users))
        (self.folder / "words").write_text("".join(f"{key}: {word}\n" for key, word in words.items()))

    def what_it_does(self, *_):
        config = re.sub(r"TELL\((.*)\)\n", lambda found: TELL.replace("KEY", found.group(1)), SERVER_CONFIG)
        return config.replace("FOLDER", str(self.folder))

    def delivered(self):
        return [p.read_bytes() for p in (self.folder / "mail" / "new").glob("*")]
