# SPDX-License-Identifier: BSD-2-Clause
"""A private Postfix: its own configuration, queue and ports. It must be started by root (its master wants it so).

Three uses: a sending server (`relay_to`: everything goes on to that address), a customer's server that keeps mail in a
Maildir (`maildir=True`), and the yardstick of the bench (relay_to, no log).
"""
import os
import shutil
import subprocess

from world import (ADDRESS, IS_ROOT, Process, free_port, greets, make_folder, process_gone, remove_folder, unprivileged_user,
                   wait_until)

MASTER = """\
{listen} inet n - n - {limit} smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - {limit} smtp
relay unix - - n - {limit} smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
{log}
"""


class Postfix:
    def __init__(self, relay_to=None, maildir=False, hostname="postfix.example", domains=("acme.example",), log=True,
                 settings=None, limit=100):
        self.folder = make_folder("postern-postfix-")
        self.port = free_port()
        self.endpoint = f"{ADDRESS}:{self.port}"
        self.config, self.queue, self.data = (self.folder / n for n in ("etc", "queue", "data"))
        self.maildir, self.log = self.folder / "mail", self.folder / "postfix.log"
        self.keeps_log, self.process = log, None
        self._write(relay_to, maildir, hostname, domains, settings or {}, limit)

    @staticmethod
    def missing():
        """Why it cannot run here, or None."""
        if not shutil.which("postfix"):
            return "Postfix is not installed"
        return None if IS_ROOT else "Postfix can be started by root only"

    def _write(self, relay_to, maildir, hostname, domains, settings, limit):
        postfix, nobody = unprivileged_user("postfix"), unprivileged_user("nobody")
        for path in (self.config, self.queue, self.data, self.maildir):
            path.mkdir()
        os.chown(self.data, postfix.pw_uid, postfix.pw_gid)
        os.chown(self.maildir, nobody.pw_uid, nobody.pw_gid)
        host, _, port = (relay_to or "127.0.0.1:9").rpartition(":")
        main = {"compatibility_level": "3.6", "queue_directory": self.queue, "data_directory": self.data,
                "command_directory": "/usr/sbin", "daemon_directory": "/usr/lib/postfix/sbin", "mail_owner": "postfix",
                "setgid_group": "postdrop", "myhostname": hostname, "mydestination": "", "inet_interfaces": "all",
                "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8", "local_recipient_maps": "",
                "smtp_dns_support_level": "disabled", "smtp_host_lookup": "native", "smtpd_peername_lookup": "no",
                "smtpd_relay_restrictions": "permit_mynetworks,reject", "alias_maps": "", "alias_database": "",
                "message_size_limit": "104857600", "mailbox_size_limit": "0", "virtual_mailbox_limit": "0",
                "smtpd_client_connection_count_limit": "0", "smtpd_client_connection_rate_limit": "0",
                "default_process_limit": limit, "in_flow_delay": "0", "default_destination_concurrency_limit": "50",
                "initial_destination_concurrency": "50", "smtp_line_length_limit": "0",
                "disable_mime_output_conversion": "yes", "local_header_rewrite_clients": "",
                "always_add_missing_headers": "no", "disable_vrfy_command": "no", "smtp_tls_security_level": "none",
                "smtpd_tls_security_level": "none", "minimal_backoff_time": "5s", "maximal_backoff_time": "10s",
                "queue_run_delay": "5s", "smtputf8_enable": "no", "strict_8bitmime": "no", "header_size_limit": "1024000",
                "empty_address_recipient": "MAILER-DAEMON", "notify_classes": "", "bounce_queue_lifetime": "1d"}
        if self.keeps_log:
            main.update({"maillog_file": self.log, "maillog_file_prefixes": f"{self.folder}, /var/log"})
        if maildir:
            main.update({"virtual_mailbox_domains": ", ".join(domains), "virtual_mailbox_base": self.maildir,
                         "virtual_mailbox_maps": "static:box/", "virtual_uid_maps": f"static:{nobody.pw_uid}",
                         "virtual_gid_maps": f"static:{nobody.pw_gid}"})
        if relay_to:
            main.update({"relayhost": f"[{host}]:{port}", "default_transport": "smtp"})
        main.update(settings)
        (self.config / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in main.items()))
        log = "postlog unix-dgram n - n - 1 postlogd" if self.keeps_log else ""
        (self.config / "master.cf").write_text(MASTER.format(listen=self.endpoint, limit=limit, log=log))

    def start(self):
        reason = self.missing()
        assert not reason, reason
        subprocess.run(["postfix", "-c", str(self.config), "check"], check=True, capture_output=True)
        self.process = Process(["/usr/lib/postfix/sbin/master", "-c", self.config, "-d"], self.folder / "master.log",
                               env={"MAIL_CONFIG": str(self.config)})
        self.process.start()
        wait_until(self._answers, 20, "Postfix greets")
        return self

    def _answers(self):
        assert self.process.alive, "the master of Postfix has ended: " + self.process.text() + self.log_text()
        return greets(self.port)

    def stop(self):
        if not (self.process and self.process.alive):
            return
        children = self.process.tree()[1:]
        self.process.stop()
        wait_until(lambda: all(process_gone(p) for p in children), 20, "Postfix's processes have ended")

    def close(self):
        self.stop()
        remove_folder(self.folder)

    def flush(self):
        subprocess.run(["postqueue", "-c", str(self.config), "-f"], check=False, capture_output=True)

    def queue_length(self):
        return sum(1 for name in ("incoming", "active", "deferred", "maildrop")
                   for p in (self.queue / name).rglob("*") if p.is_file())

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def delivered(self):
        """The files of the Maildir, as bytes with line ends as on the disk (LF)."""
        box = self.maildir / "box" / "new"
        return [p.read_bytes() for p in sorted(box.iterdir())] if box.exists() else []

    def delivered_count(self):
        box = self.maildir / "box" / "new"
        return sum(1 for _ in os.scandir(box)) if box.exists() else 0


class PostfixServer(Postfix):
    """A customer's server. all.example takes every recipient, the other `domains` those of `users`, by local part. `words`: what a
    sender's local part is told at a phase (mail, rcpt, predata, data), or a recipient ("to"): {"rcpt-spammer": "550 5.7.1 no"};
    one that is "slow" is taken after four seconds. A message with the field X-Reject is refused."""

    UNKNOWN = "550 5.1.1"
    TOO_BIG = "552 5.3.4"

    def __init__(self, domains, users, words):
        def access(phase, who="sender"):
            return f"check_{who}_access texthash:$config_directory/{phase}"
        super().__init__(maildir=True, domains=domains, settings={
            "smtpd_delay_reject": "no", "smtpd_restriction_classes": "slow, gone", "slow": "sleep 4",
            "gone": "check_recipient_access static:{550 5.1.1 no mailbox here by that name}",  # of a sender it would say 5.1.7
            "smtpd_sender_restrictions": access("mail"),
            "smtpd_recipient_restrictions": f"reject_unlisted_recipient, {access('rcpt')}, {access('to', 'recipient')}",
            "smtpd_data_restrictions": access("predata"), "smtpd_end_of_data_restrictions": access("data"),
            "header_checks": "regexp:$config_directory/header_checks", "message_size_limit": "102400",
            "virtual_mailbox_maps": "texthash:$config_directory/users"})
        self.domains = domains
        (self.config / "header_checks").write_text("/^X-Reject:/ REJECT 5.7.1 no such content\n")
        self.tell(users, words)

    def tell(self, users, words):
        """It reads them when it starts."""
        boxes = [f"{user}@{domain}" for domain in self.domains for user in users] + ["@all.example"]
        (self.config / "users").write_text("".join(f"{box} box/\n" for box in boxes))
        for phase in ("mail", "rcpt", "to", "predata", "data"):
            told = {key.partition("-")[2]: word for key, word in words.items() if key.startswith(phase + "-")}
            (self.config / phase).write_text("".join(f"{who}@ {'gone' if '5.1.1' in word else word}\n" for who, word in told.items()))
