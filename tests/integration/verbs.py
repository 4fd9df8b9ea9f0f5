# SPDX-License-Identifier: BSD-2-Clause
"""A world in which every verb of relayctl finds something: one node that runs, mail that waits and mail that has passed, a
greylist, a registry of each kind of thing, and copies of it for what changes it. `VERBS` of verb_table.py has the lines.

    prepared.run("spool show {waiting}")           # as it is typed; names in braces are those of Names
    verb = VERBS["customer remove"]
    with prepared.place(verb) as where:            # what changes the registry does so in a copy of it
        prepared.run(verb.good, where)
"""
import contextlib
import itertools
import os
import re
import shlex
import subprocess

import pytest

from harness import RELAYCTL, Client, Node, Postgres, program, reference_in, wait_until, write_config
from nameserver import Nameserver
from registry import Done
from test_backend_test import KNOWN, Server
from world import ADDRESS, SOURCE, free_port, leaks_once, make_folder, remove_folder

AWAY = "host=/nowhere dbname=x connect_timeout=1"
WAITING = ("waiting", "held", "retry", "hold", "release", "extend", "redirect")  # senders of one message each
ZONE = [f"relay.example. IN A {ADDRESS}", f"{'.'.join(reversed(ADDRESS.split('.')))}.in-addr.arpa. IN PTR relay.example.",
        "acme.example. IN MX 10 relay.example."]

# The registry. beta's first server is not there; what waits is beta's.
REGISTRY = """
customer add acme --contact ops@isp.example --policy off
backend add {server} --customer acme
backend add 192.0.2.20 --customer acme --priority 20
backend hold acme/2 --reason maintenance
domain add acme.example --customer acme
recipient add info@acme.example former@acme.example
customer add beta --contact ops@isp.example --policy off
backend add {dead} --customer beta
backend add 192.0.2.30 --customer beta --priority 20
backend hold beta/2 --reason maintenance
domain add beta.example --customer beta
customer add shy --contact ops@isp.example --policy off
backend add {server} --customer shy
domain add shy.example --customer shy --mode fallback
customer add late --contact ops@isp.example
customer suspend late --reason unpaid
filter add 203.0.113.0/24 --customer acme --label barracuda
block add 203.0.113.7 --customer acme --reason junk
allow add partner.example --customer acme
"""


class Names(dict):
    """What stands in braces: the names of what was prepared, and some that are made anew each time: {spare}, a message that waits;
    {grey}, a client that has come once."""

    def __init__(self, prepared, **names):
        super().__init__(names)
        self.prepared = prepared

    def __missing__(self, name):
        return {"spare": self.prepared.spool_one, "grey": self.prepared.come_once}[name]()


class Prepared:
    def __init__(self):
        self.number = itertools.count(1)
        self.postgres = Postgres().start()
        self.dns = Nameserver(*ZONE, zone=".").start()
        self.server = Server().start()
        self.node = Node({"workers": 1, "resolver": self.dns.endpoint, "mx-names": ["relay.example"], "postmaster": "postmaster@relay.example",
                          "greylist-delay": "1h"}, postgres=self.postgres, start=False)
        self.folder = self.node.folder
        self.names = Names(self, folder=self.folder, server=self.server.endpoint, server_port=self.server.port, address=ADDRESS,
                           dead=f"{ADDRESS}:{free_port()}")
        self.prepare_registry()
        self.node.start()
        self.prepare_mail()

    def close(self):
        with contextlib.ExitStack() as parts:  # each, whatever becomes of the others; the last one first
            for part in (self.postgres, self.dns, self.server, self.node):
                parts.callback(part.close)

    # --- Made once.

    def prepare_registry(self):
        self.postgres.create_database("empty")
        self.postgres.create_database("bare")
        self.run("db init", self.config("bare"))
        self.copy("bare", "registry")
        where = self.config("registry")
        for line in REGISTRY.split("\n")[1:-1]:
            self.run(line, where)
        self.postgres.sql("INSERT INTO postern.spool_logs (node, log, ledger, octets, refused_at) VALUES (5, repeat('0', 32), 1, 1, now())",
                          database="registry")
        text = self.run("export --recipients", where).out
        self.file("registry.jsonl", text.replace('"retention_days" : 5', '"retention_days" : 6', 1))
        self.file("recipients", "ann@acme.example\nbob@acme.example\n")
        self.file("strangers", "ann@akme.example\n")
        self.file("message.eml", "From: <a@sender.example>\r\n\r\nHello.\r\n")
        self.copy("registry", "postern")

    def prepare_mail(self):
        wait_until(lambda: all(self.node.serves(d) for d in ("acme.example", "beta.example", "shy.example")), 20, "the domains are served")
        self.names.update({sender: self.spool_one(sender) for sender in WAITING})
        self.names["passed"] = reference_in(self.node.send(mail_from="passed@sender.example", rcpts=[KNOWN]).text)
        self.run("spool hold --from held@sender.example --reason x")
        self.come_once()
        wait_until(self.is_copied, 30, "the events are in PostgreSQL")

    def spool_one(self, sender="spare"):
        reply = self.node.send(mail_from=f"{sender}@sender.example", rcpts=["user@beta.example"])
        assert reply.code == 250, reply
        ref = reference_in(reply.text)
        wait_until(lambda: self.rows(f"spool list {ref} --json"), 10, "it is in the spool")
        return ref

    def come_once(self):
        address = f"127.88.{next(self.number)}.1"
        with Client(self.node.port, source=address) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<sender@origin.example>")
            assert client.cmd("RCPT TO:<user@shy.example>").code == 451
        wait_until(lambda: self.rows(f"greylist list {address} --json"), 10, "the greylist has it")
        return address

    def is_copied(self):
        return self.postgres.sql("SELECT count(*) >= %s FROM postern.events WHERE kind = 'message'", len(WAITING) + 1)[0][0]

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        self.names[name.partition(".")[0] + "_file"] = path

    # --- Databases and configurations.

    def copy(self, source, name):
        self.postgres.sql(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY", database="postgres")

    def config(self, database=None, **settings):
        """A configuration of this node with another database: one in our cluster, or a whole connection string."""
        if database:
            settings["database"] = database if "=" in database else self.postgres.conninfo(database)
        path = self.folder / f"{next(self.number)}.conf"
        write_config(path, {**self.node.settings, **{n.replace("_", "-"): v for n, v in settings.items()}})
        return path

    @contextlib.contextmanager
    def place(self, verb, database=None):
        """Where the verb may do its work, as a configuration; with `database`, it is that one."""
        if verb.place == "refused":  # a node that has refused a registry
            folder = make_folder("postern-refused-")
            (folder / "registry-offered").write_text("database_id abc\nversion 17\nwhy 40 of 50 domains are gone\n")
            try:
                yield self.config(database, state_dir=str(folder))
            finally:
                remove_folder(folder)
        elif verb.place == "node" or database:
            yield self.config(database) if database else self.node.config_file
        else:
            name = f"copy{next(self.number)}"
            self.copy(verb.place, name)
            try:
                yield self.config(name)
            finally:
                self.postgres.drop_database(name)

    # --- At work.

    def words(self, line):
        return shlex.split(line.format_map(self.names))

    def start(self, line, where=None):
        return relayctl("-c", str(where or self.node.config_file), *self.words(line))

    def run(self, line, where=None, code=0):
        done = self.start(line, where)
        assert done.code == code, f"relayctl {line}: exit {done.code}\n{done.out}{done.err}"
        return done

    def rows(self, line):
        return self.start(line).rows


@pytest.fixture(scope="module")
def prepared():
    world = Prepared()
    yield world
    world.close()


def relayctl(*words):
    env = {**os.environ, "POSTERN_SQL_DIR": str(SOURCE / "sql"), "TZ": "UTC", "SSL_CERT_FILE": "/dev/null"}
    return Done(subprocess.run([program(RELAYCTL), *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                               env=leaks_once(env, RELAYCTL, words)))


def commands_of_relayctl():
    """The words of each command, as relayctl's own help lists them."""
    listed = relayctl("help").out.split("Commands:\n")[1].split("\nOptions of")[0]
    return [" ".join(filter(None, found)) for found in re.findall(r"^  ([a-z]+)(?: ([a-z-]+))? +\S", listed, re.MULTILINE)]
