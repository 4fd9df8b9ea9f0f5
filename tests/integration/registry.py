# SPDX-License-Identifier: BSD-2-Clause
"""relayctl with a configuration and a database of its own, and no daemon: fixtures for the tests of its verbs."""
import json
import os
import subprocess

import pytest

from harness import RELAYCTL, SOURCE, Postgres, make_folder, program, remove_folder, write_config
from schema import check_printed
from world import leaks_once


class Done:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Sanitizer" not in self.err, self.err

    @property
    def rows(self):
        return [json.loads(line) for line in self.out.splitlines()]


class Relayctl:
    """relayctl with a configuration and a database of its own."""

    def __init__(self, postgres, database, user="postern"):
        self.postgres, self.database, self.user = postgres, database, user
        self.folder = make_folder("postern-relayctl-")
        self.dirs = {name: self.folder / name for name in ("state-dir", "spool-dir", "run-dir", "log-dir")}
        for path in self.dirs.values():
            path.mkdir()
        self.config_file = self.folder / "postern.conf"
        self.configure()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        remove_folder(self.folder)

    def configure(self, **settings):
        conninfo = f"host={self.postgres.socket} dbname={self.database} user={self.user}"
        write_config(self.config_file, {"database": conninfo, **{n: str(p) for n, p in self.dirs.items()}, **settings})

    def __call__(self, *args, code=0, input=None, env=None):
        done = Done(subprocess.run([program(RELAYCTL), "-c", str(self.config_file), *args], capture_output=True, text=True,
                                   timeout=60, input=input or "",
                                   env=leaks_once({**os.environ, "POSTERN_SQL_DIR": str(SOURCE / "sql"), "TZ": "UTC", **(env or {})},
                                                  RELAYCTL, args)))
        assert done.code == code, f"{args}: exit {done.code}\n{done.out}{done.err}"
        check_printed(args, done.out)
        return done

    def one(self, *args, **kwargs):
        rows = self(*args, "--json", **kwargs).rows
        assert len(rows) == 1, rows
        return rows[0]

    def sql(self, query, *args):
        return self.postgres.sql(query, *args, database=self.database)

    def version(self):
        return self.sql("SELECT version FROM postern.replica_state")[0][0]


@pytest.fixture(scope="module")
def postgres():
    server = Postgres().start()
    yield server
    server.close()


names = iter(f"t{i}" for i in range(1000))


def fresh(postgres, template="template1"):
    name = next(names)
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY", database="postgres")
    with Relayctl(postgres, name) as ctl:
        yield ctl
    postgres.drop_database(name)


@pytest.fixture
def empty(postgres):
    """relayctl with an empty database."""
    yield from fresh(postgres)


@pytest.fixture(scope="module")
def template(postgres):
    postgres.create_database("made")
    with Relayctl(postgres, "made") as ctl:
        ctl("db", "init")
    return "made"


@pytest.fixture
def ctl(postgres, template):
    """relayctl with the schema."""
    yield from fresh(postgres, template)


@pytest.fixture
def acme(ctl):
    ctl("customer", "add", "acme", "--contact", "ops@acme.example")
    ctl("domain", "add", "acme.example", "--customer", "acme")
    ctl("backend", "add", "192.0.2.10:25", "--customer", "acme")
    return ctl
