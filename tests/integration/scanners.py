# SPDX-License-Identifier: BSD-2-Clause
"""Real content scanners: rspamd, and clamd with clamav-milter.  As packages they would start to serve this machine, so tests/run only
unpacks them (deploy/packages.txt, group `unpacked`) into the folder `unpacked` beside the build, from where they are used.  Neither
has a network: rspamd without Redis and DNS, clamd with one signature of our own."""
import os
import socket
import subprocess
from pathlib import Path

from harness import ADDRESS, wait_until
from world import Process, build_dir, free_port, keep_folder, make_folder, own, remove_folder, unprivileged_user

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
# Patterns by which rspamd has one action each.
GTUBE = {"reject": b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
         "add header": b"YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
         "rewrite subject": b"ZJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"}

RSPAMD = """\
options {{
  pidfile = "{folder}/rspamd.pid"; cache_file = "{folder}/symbols.cache"; tempdir = "{folder}";
  filters = ""; enable_test_patterns = true; url_tld = "{folder}/tld"; tld = "{folder}/tld"; disable_hyperscan = true;
  dns {{ nameserver = ["{address}:9"]; timeout = 0.1s; retransmits = 1; }}
}}
lang_detection {{ languages = "{folder}/languages"; }}
logging {{ type = "console"; level = "info"; }}
actions {{ reject = 15; add_header = 6; rewrite_subject = 8; greylist = 4; }}
worker "rspamd_proxy" {{
  count = 1; bind_socket = "{address}:{port}"; milter = yes; timeout = 10s;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""
CLAMD = """\
Foreground yes
LocalSocket {folder}/clamd.sock
LocalSocketMode 666
DatabaseDirectory {folder}
TemporaryDirectory {folder}
"""
CLAMAV_MILTER = """\
Foreground yes
MilterSocket inet:{port}@{address}
ClamdSocket unix:{folder}/clamd.sock
TemporaryDirectory {folder}
OnInfected {on_infected}
OnFail Defer
RejectMsg Infected with %v
AddHeader Replace
"""


def unpacked(path):
    """The file of a package that was unpacked, or else installed."""
    for root in (os.environ.get("POSTERN_UNPACKED"), build_dir().parent / "unpacked", "/"):
        if root and (Path(root) / path).exists():
            return Path(root) / path
    return None


def missing(*programs):
    """Why they cannot run here, or None."""
    for program in programs:
        found = unpacked(program)
        if not found:
            return f"{program} was not unpacked: run tests/run, or set POSTERN_UNPACKED"
        lacks = [line.strip() for line in subprocess.run(["ldd", found], capture_output=True, text=True, env=libraries()).stdout.splitlines()
                 if "not found" in line]
        if lacks:
            return f"{program} lacks {lacks}"
    return None


def libraries():
    found = [str(p.parent) for root in filter(None, [unpacked("usr/lib")]) for p in root.glob("*/rspamd/librspamd-server.so*")]
    found += [str(p.parent) for root in filter(None, [unpacked("usr/lib")]) for p in root.glob("rspamd/librspamd-server.so*")]
    return dict(os.environ, LD_LIBRARY_PATH=":".join(found + [os.environ.get("LD_LIBRARY_PATH", "")]).strip(":"))


def listens(port):
    with socket.socket() as s:
        return s.connect_ex((ADDRESS, port)) == 0


class Scanner:
    def __init__(self, name):
        self.folder, self.port = make_folder(f"postern-{name}-"), free_port()
        self.user = unprivileged_user("nobody") if os.geteuid() == 0 else None
        self.processes = []

    @property
    def address(self):
        return f"inet:{ADDRESS}:{self.port}"

    def write(self, name, text, **values):
        path = self.folder / name
        path.write_text(text.format(folder=self.folder, address=ADDRESS, port=self.port, **values))
        return path

    def run(self, name, argv):
        self.processes.append(Process(argv, self.folder / f"{name}.log", user=self.user, env=libraries(), cwd=self.folder).start())

    def close(self):
        for process in reversed(self.processes):
            process.stop()
        remove_folder(self.folder)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind:
            keep_folder(self.folder)
        self.close()


class Rspamd(Scanner):
    MISSING = staticmethod(lambda: missing("usr/bin/rspamd"))

    def __init__(self):
        super().__init__("rspamd")

    def start(self):
        (self.folder / "languages").mkdir()
        (self.folder / "tld").write_text("example\n")
        config, share = self.write("rspamd.conf", RSPAMD), unpacked("usr/share/rspamd")
        for path in (self.folder, self.folder / "languages"):
            own(path, self.user)
        names = {"LUALIBDIR": share / "lualib", "SHAREDIR": share, "RULESDIR": share / "rules", "PLUGINSDIR": share / "plugins",
                 "DBDIR": self.folder, "RUNDIR": self.folder, "LOGDIR": self.folder, "CONFDIR": self.folder}
        self.run("rspamd", [unpacked("usr/bin/rspamd"), "-f", *([] if self.user else ["--insecure"]), "-c", config,
                            *(f"--var={name}={value}" for name, value in names.items())])
        wait_until(lambda: listens(self.port), 60, "rspamd is up")
        return self


class Clamav(Scanner):
    MISSING = staticmethod(lambda: missing("usr/sbin/clamd", "usr/sbin/clamav-milter"))

    def __init__(self, on_infected="Reject"):
        super().__init__("clamav")
        self.on_infected = on_infected

    def start(self):
        self.write("test.ndb", "Test.Eicar:0:*:" + EICAR.hex() + "\n")
        clamd, milter = self.write("clamd.conf", CLAMD), self.write("milter.conf", CLAMAV_MILTER, on_infected=self.on_infected)
        own(self.folder, self.user)
        self.run("clamd", [unpacked("usr/sbin/clamd"), "-c", clamd])
        wait_until(lambda: (self.folder / "clamd.sock").exists(), 60, "clamd is up")
        self.run("milter", [unpacked("usr/sbin/clamav-milter"), "-c", milter])
        wait_until(lambda: listens(self.port), 30, "clamav-milter is up")
        return self
