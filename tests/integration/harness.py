# SPDX-License-Identifier: BSD-2-Clause
"""The harness of the integration tests: real programs, private everything.

    with Node() as node:                    # PostgreSQL, schema, relayd and spoolmgr in a folder of their own
        backend = Backend().start()
        node.add_customer("acme", "acme.example", backend.endpoint)
        reply = send_message(node.port)
        assert reply.code == 250 and backend.taken

See README.md in this folder for the classes. Tests import everything from here.
"""
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from peers import (DROP, SILENT, Backend, Client, Delay, Raw, Reply, SinkBackend, below_our_received, make_message, our_received,
                   read_saved, reference_in, send_message, split_top_field)
from postfix import Postfix
from postgres import Database, Postgres
from schema import check_printed, the_schema
from world import (ADDRESS, IS_ROOT, LOADGEN, QUICK, RELAYCTL, RELAYD, SOURCE, SPOOLMGR, Process, build_dir, children_of,
                   free_port, keep_folder, leaks_once, make_folder, own, process_gone, program, remove_folder, unprivileged_user,
                   wait_until)

__all__ = ["ADDRESS", "DROP", "IS_ROOT", "LOADGEN", "QUICK", "RELAYCTL", "RELAYD", "SILENT", "SOURCE", "SPOOLMGR", "Backend",
           "Client", "Delay", "Node", "Postfix", "Postgres", "Process", "Raw", "Relayd", "Reply", "SinkBackend", "Spoolmgr",
           "below_our_received", "build_dir", "children_of", "free_port", "keep_folder", "make_folder", "make_message",
           "our_received", "process_gone", "program", "read_saved", "reference_in", "remove_folder", "send_message",
           "split_top_field", "wait_until"]

# Fast clocks for tests; everything else is the default of config.def.
TEST_SETTINGS = {"workers": 2, "deliverers": 2, "probe-interval-min": "1s", "probe-interval-max": "2s",
                 "backend-connect-timeout": "3s", "message-retry-min": "1s", "message-retry-max": "4s",
                 "notify-after": "0s"}  # customers are told in test_tell.py: elsewhere only the mail of the test is in the spool


def write_config(path, settings):
    lines = []
    for name, value in settings.items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            lines.append(f"{name} = {{" + ", ".join(f'"{v}"' for v in value) + "}")
        else:
            lines.append(f'{name} = "{value}"')
    Path(path).write_text("\n".join(lines) + "\n")


class Daemon(Process):
    """relayd or spoolmgr of a node. Its children's kernel names (comm) tell their roles: relayd-worker, ..."""

    def __init__(self, node, which, log):
        super().__init__([program(which, node.build), "-c", node.config_file], log, env=node.env)
        self.node = node

    def children(self):
        return children_of(self.pid) if self.alive else []

    def children_named(self, name):
        """The pids of the children whose process name has `name` in it."""
        return [pid for pid in self.children() if name in process_name(pid)]

    def child(self, name):
        found = self.children_named(name)
        assert found, f"no child {name}: {[process_name(p) for p in self.children()]}"
        return found[0]

    def kill_all(self):
        """SIGKILL of the parent and of every child, at once."""
        pids = self.tree() if self.alive else []
        self.kill()
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill(self):
        """SIGKILL of the parent; its children must end by themselves."""
        pids = self.tree()[1:] if self.alive else []
        super().kill()
        self.orphans = pids

    def log_lines(self, event=None):
        lines = self.text().splitlines()
        return [line for line in lines if event is None or f" {event} " in line + " "]


class Relayd(Daemon):
    def __init__(self, node):
        super().__init__(node, RELAYD, node.folder / "relayd.log")

    def start(self, timeout=30):
        super().start()
        wait_until(self._greets, timeout, "relayd greets")
        return self

    def _greets(self):
        assert self.alive, f"relayd has ended with status {self.popen.returncode}"
        with Client(self.node.port, timeout=5) as client:
            return client.banner.code == 220

    def workers(self):
        return self.children_named("worker")


class Spoolmgr(Daemon):
    def __init__(self, node):
        super().__init__(node, SPOOLMGR, node.folder / "spoolmgr.log")

    def start(self, timeout=30):
        super().start()
        wait_until(self._ready, timeout, "spoolmgr runs")
        return self

    def _ready(self):
        assert self.alive, f"spoolmgr has ended with status {self.popen.returncode}"
        return bool(self.children()) and any(self.node.dirs["run-dir"].glob("spoolmgr*"))

    def once(self, timeout=120):
        """spoolmgr --once: one pass; the finished process with its output."""
        return self.node.run(SPOOLMGR, "--once", timeout=timeout)


def process_name(pid):
    """The command line with its title, and the short name of the kernel."""
    try:
        return (Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1") + " " +
                Path(f"/proc/{pid}/comm").read_text().strip())
    except OSError:
        return ""


class SmallDisk:
    """A folder on a file system of its own, of `size` octets ("1m"); root alone can mount it."""

    def __init__(self, folder, size, user):
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
        own(folder, user)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


def node_on_small_disk(world_of, size):
    """A node, not started, whose spool is on a small disk."""
    node = Node(settings={"workers": 1}, start=False)
    node.disk = SmallDisk(node.dirs["spool-dir"], size, node.user)
    return world_of(node)


class Node:
    """One node: folder, configuration, PostgreSQL, the two daemons and relayctl."""

    live = []
    shares_postgres = False  # a database in the cluster of this process is enough

    def __init__(self, settings=None, postgres=None, start=True, build=None):
        """`build`: another build folder than that of the tests."""
        self.build = build
        self.folder = make_folder("postern-node-")
        self.user = unprivileged_user("nobody") if IS_ROOT else None
        self.port = free_port()
        self.dirs = {name: self.folder / name.partition("-")[0] for name in ("state-dir", "spool-dir", "run-dir", "log-dir")}
        for path in self.dirs.values():
            path.mkdir()
            own(path, self.user)
        self.reports = self.folder / "reports"
        self.reports.mkdir()
        self.reports.chmod(0o777)
        self.env = {"POSTERN_SQL_DIR": str(SOURCE / "sql"), "NO_COLOR": "1", "TZ": "UTC",
                    "SSL_CERT_FILE": "/dev/null",  # to read the system's authorities takes a second with sanitizers
                    "POSTERN_TEST_REPLICA_APART_MS": "100",  # a change waits no second for the one before it
                    "ASAN_OPTIONS": f"log_path={self.reports}/asan:detect_leaks=1",
                    "UBSAN_OPTIONS": f"log_path={self.reports}/ubsan:print_stacktrace=1"}
        self.postgres = postgres or (Database() if Node.shares_postgres else Postgres())
        self.owns_postgres = postgres is None
        self.config_file = self.folder / "postern.conf"
        self.settings = dict(TEST_SETTINGS, hostname="relay.example", listen=[f"{ADDRESS}:{self.port}"],
                             database=self.postgres.conninfo(), user=self.user.pw_name if self.user else None,
                             **{name: str(path) for name, path in self.dirs.items()})
        self.settings.update(settings or {})
        self.write_config()
        self.relayd, self.spoolmgr = Relayd(self), Spoolmgr(self)
        self.disk = None  # of its spool, if that is one of its own
        self.events_read, self.events_at = [], {}
        Node.live.append(self)
        if start:
            self.start()

    def write_config(self, **changes):
        self.settings.update({name.replace("_", "-"): value for name, value in changes.items()})
        write_config(self.config_file, self.settings)

    # --- Its life.

    def start(self):
        self.start_database()
        self.relayd.start()
        self.spoolmgr.start()
        return self

    def start_database(self):
        if isinstance(self.postgres, Database):
            self.postgres.create(self._init_template)
            return self
        if not (self.postgres.process and self.postgres.process.alive):
            self.postgres.start()
        if not self.postgres.sql("SELECT 1 FROM pg_database WHERE datname = 'postern'", database="postgres"):
            self.postgres.create_database()
        self.relayctl("db", "init")
        return self

    def _init_template(self, conninfo):
        write_config(self.config_file, dict(self.settings, database=conninfo))
        self.relayctl("db", "init")
        self.write_config()

    def stop(self):
        for daemon in (self.relayd, self.spoolmgr):
            daemon.stop()

    def close(self, keep=False):
        """Ends everything. Sanitizer reports fail the test that made them; `keep` leaves the folder."""
        if self in Node.live:
            Node.live.remove(self)
        trouble = []
        for end in ([self.relayd.stop, self.spoolmgr.stop] + ([self.postgres.close] if self.owns_postgres else [])
                    + ([self.disk.close] if self.disk else [])):
            try:
                end()
            except AssertionError as e:
                trouble.append(str(e))
        trouble += [f"{r.name}:\n{r.read_text(errors='replace')}" for r in sorted(self.reports.iterdir())]
        if keep or trouble:
            keep_folder(self.folder)
        else:
            remove_folder(self.folder)
        assert not trouble, "\n".join(trouble) + f"\nkept: {self.folder}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(keep=kind is not None)

    # --- What people do with it.

    def run(self, which, *args, timeout=60, input=None):
        return subprocess.run([program(which, self.build), "-c", str(self.config_file), *map(str, args)], capture_output=True, text=True,
                              timeout=timeout, input=input, env=leaks_once({**os.environ, **self.env}, which, args))

    def relayctl(self, *args, check=True, **kwargs):
        """A customer is added with the sender policy off unless it is said: most tests have no DNS, and their senders no names."""
        if args[:2] == ("customer", "add") and "--policy" not in args:
            args = (*args, "--policy", "off")
        done = self.run(RELAYCTL, *args, **kwargs)
        if check and done.returncode:
            raise AssertionError(f"relayctl {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        check_printed(args, done.stdout)
        return done

    def relayctl_json(self, *args, **kwargs):
        """The objects of --json, one a line (or one object over several lines)."""
        out = self.relayctl(*args, "--json", **kwargs).stdout
        try:
            return [json.loads(line) for line in out.splitlines() if line.strip()]
        except ValueError:
            return [json.loads(out)]

    def add_customer(self, name="acme", domain="acme.example", backend=None, *options):
        """Registers, and waits until relayd serves the domain. `options` are those of relayctl customer add; without any, and
        with an address as backend, the rows are written as relayctl would write them, in a tenth of the time."""
        host, _, port = (backend or "").rpartition(":")
        if options or (backend and not re.fullmatch(r"[0-9.]+", host)):
            self.relayctl("customer", "add", name, "--contact", f"ops@{domain}", *options)
            if backend:  # before the domain: who sees the domain served knows that the backend is known
                self.relayctl("backend", "add", backend, "--customer", name)
            self.relayctl("domain", "add", domain, "--customer", name)
        else:
            self.postgres.sql("""WITH c AS (INSERT INTO postern.customers (name, contact, policy) VALUES (%s, %s, 'off') RETURNING id),
                b AS (INSERT INTO postern.backends (customer_id, number, address, port) SELECT id, 1, %s, %s FROM c WHERE %s)
                INSERT INTO postern.domains (name, customer_id) SELECT %s, id FROM c""",
                              name, f"ops@{domain}", host or None, int(port or 0), bool(backend), domain)
        if self.relayd.alive:
            wait_until(lambda: self.serves(domain), 10, f"relayd serves {domain}")

    def serves(self, domain, local="postmaster"):
        """Do all workers (as far as eight connections tell) take a recipient of the domain for registered?"""
        return all(self._serves_once(domain, local) for _ in range(8))

    def _serves_once(self, domain, local):
        with Client(self.port, timeout=20) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<>")
            reply = client.cmd(f"RCPT TO:<{local}@{domain}>")
            client.cmd("QUIT")
        return (reply.code, reply.enhanced) not in ((550, "5.7.1"), (451, "4.3.0"))

    def send(self, content=None, **kwargs):
        return send_message(self.port, content, **kwargs)

    def spool(self, *args):
        """The spool list as objects."""
        return self.relayctl_json("spool", "list", *args)

    def wait_until_replicated(self):
        """Control has given the registry as it is now to the workers."""
        version = self.postgres.sql("SELECT version FROM postern.replica_state")[0][0]
        wait_until(lambda: max(int(re.search(r"version=(\d+)", line).group(1))
                               for line in self.relayd.log_lines("replica-written")) >= version, 10, f"the replica is {version}")

    def wait_until_probed(self, domain="acme.example"):
        """What was said of its recipients counts from now on."""
        wait_until(lambda: any(f"domain={domain} " in line for line in self.relayd.log_lines("domain-probed")), 20,
                   f"{domain} is probed")

    # --- What it says.

    def log_text(self):
        return "".join(d.text() for d in (self.relayd, self.spoolmgr))

    def events(self, kind=None):
        """The event log, oldest first: every line must be JSON of printable ASCII, whatever peers have sent. What has been read
        is kept, so that asking again is cheap."""
        for path in sorted(self.dirs["log-dir"].glob("events-*.jsonl")):
            with open(path, "rb") as log:
                log.seek(self.events_at.get(path, 0))
                lines = log.read()
            lines = lines[:lines.rfind(b"\n") + 1]
            self.events_at[path] = self.events_at.get(path, 0) + len(lines)
            raw = re.search(rb"[^\x20-\x7e\n]", lines)
            assert not raw, f"a raw octet in an event: {lines[max(0, raw.start() - 100):raw.end() + 20]!r}"
            for line in lines.splitlines():
                event = json.loads(line)
                assert event["at"] and event["event"], line
                the_schema().check_event(event)
                self.events_read.append(event)
        return [e for e in self.events_read if kind in (None, e["event"])]

    def check_records(self):
        """Neither log nor event has an octet that came from a peer and is not printable; a line is a line of ours."""
        self.events()
        for daemon in (self.relayd, self.spoolmgr):
            for line in (daemon.log.read_bytes() if daemon.log.exists() else b"").split(b"\n")[:-1]:
                assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warn|alarm) [\x20-\x7e]*", line), f"in the log: {line!r}"

    def possible_duplicates(self):
        """The references that relayd and spoolmgr have logged as possible duplicates."""
        return set(re.findall(r"\bpossible-duplicate\b.*?\bref=(\S+)", self.log_text()))
