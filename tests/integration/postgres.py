# SPDX-License-Identifier: BSD-2-Clause
"""A private PostgreSQL cluster: a unix socket in its own folder, no TCP, never run as root."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import psycopg2

from world import ADDRESS, IS_ROOT, Process, make_folder, memory_folder, own, remove_folder, unprivileged_user, wait_until


def _bindir():
    found = shutil.which("pg_config")
    if found:
        path = subprocess.run([found, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        if (Path(path) / "initdb").exists():
            return Path(path)
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    if not versions:
        raise RuntimeError("no PostgreSQL server is installed")
    return versions[-1].parent


class Postgres:
    template = None  # a cluster fresh from initdb, made once a run: a copy costs a tenth of another initdb

    def __init__(self):
        self.folder = make_folder("postern-pg-", memory_folder())
        self.user = unprivileged_user("postgres", "nobody") if IS_ROOT else None
        own(self.folder, self.user)
        self.data, self.socket, self.log = self.folder / "data", self.folder / "socket", self.folder / "postgres.log"
        self.bin = _bindir()
        self.process = None

    def _run(self, *argv):
        drop = []
        if self.user:
            drop = ["setpriv", "--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid), "--clear-groups"]
        done = subprocess.run(drop + [str(a) for a in argv], capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {done.stdout}{done.stderr}")

    def create(self):
        self.socket.mkdir(exist_ok=True)
        own(self.socket, self.user)
        self.socket.chmod(0o755)
        if not Postgres.template:
            Postgres.template = make_folder("postern-pg-template-", memory_folder())
            own(Postgres.template, self.user)
            self._run(self.bin / "initdb", "-D", Postgres.template / "data", "-U", "postern", "-A", "trust", "-N", "-E", "UTF8",
                      "--lc-collate=C", "--lc-ctype=C.UTF-8", "--wal-segsize=1")
        subprocess.run(["cp", "-a", "--reflink=auto", Postgres.template / "data", self.data], check=True)
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.socket}'\n"
                       "unix_socket_permissions = 0777\nmax_connections = 200\nshared_buffers = 32MB\n"
                       "dynamic_shared_memory_type = mmap\n"  # in the folder: what is killed leaves nothing elsewhere
                       "autovacuum = off\njit = off\nwal_level = minimal\nmax_wal_senders = 0\nmax_wal_size = 64MB\n"
                       # SIGKILL loses nothing that was written; only a crash of the machine would
                       "fsync = off\nfull_page_writes = off\n"
                       "log_line_prefix = '%m [%p] %q%a '\n")
        return self

    def start(self):
        if not self.data.exists():
            self.create()
        self.process = Process([self.bin / "postgres", "-D", self.data], self.log, user=self.user, cwd="/")
        self.process.start()
        wait_until(self._ready, 60, "PostgreSQL answers")
        return self

    def _ready(self):
        if not self.process.alive:  # after SIGKILL the old backends may still hold the shared memory
            self.process.start()
            return False
        self.sql("SELECT 1", database="postgres")
        return True

    def stop(self):
        if self.process and self.process.alive:
            self.process.signal(signal.SIGINT)  # fast shutdown
            wait_until(lambda: not self.process.alive, 60, "PostgreSQL has stopped")
            self.process.stop()

    def kill(self):
        """SIGKILL of the postmaster and of everything it has started."""
        if self.process and self.process.alive:
            pids = self.process.tree()
            self.process.kill()
            for pid in pids[1:]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def close(self):
        self.stop()
        remove_folder(self.folder)

    def conninfo(self, database="postern"):
        return f"host={self.socket} dbname={database} user=postern"

    def connect(self, database="postern"):
        connection = psycopg2.connect(self.conninfo(database) + " connect_timeout=5")
        connection.autocommit = True
        return connection

    def sql(self, query, *args, database="postern"):
        """Rows of the query; nothing for a statement without rows."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, args or None)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def create_database(self, name="postern"):
        self.sql(f'CREATE DATABASE "{name}"', database="postgres")

    def drop_database(self, name="postern"):
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', database="postgres")


class Database:
    """A database of its own in the one cluster that the tests of this process share: ready in a tenth of the time of a cluster.
    What it gives is what Postgres gives, but for stopping and starting."""

    cluster = None
    TEMPLATE = "postern_template"  # has had `relayctl db init`
    number = 0

    def __init__(self):
        Database.number += 1
        self.name = f"postern_{Database.number}"
        if not Database.cluster:
            Database.cluster = Postgres().start()
        self.socket, self.log, self.user = self.cluster.socket, self.cluster.log, self.cluster.user

    def create(self, init):
        """`init` is given the connection string of a database that is to become the template."""
        if not self.cluster.sql("SELECT 1 FROM pg_database WHERE datname = %s", self.TEMPLATE, database="postgres"):
            self.cluster.create_database(self.TEMPLATE)
            init(self.conninfo(self.TEMPLATE))
        if self.cluster.sql("SELECT 1 FROM pg_database WHERE datname = %s", self.name, database="postgres"):
            return  # the node is started anew
        self.cluster.sql(f'CREATE DATABASE "{self.name}" TEMPLATE "{self.TEMPLATE}" STRATEGY FILE_COPY', database="postgres")
        self.sql("UPDATE postern.registry_state SET database_id = DEFAULT")

    def close(self):
        self.cluster.drop_database(self.name)

    def conninfo(self, database=None):
        return self.cluster.conninfo(database or self.name)

    def connect(self, database=None):
        return self.cluster.connect(database or self.name)

    def sql(self, query, *args, database=None):
        return self.cluster.sql(query, *args, database=database or self.name)

    @classmethod
    def end(cls):
        if cls.cluster:
            cls.cluster.close()
            cls.cluster = None


class Between:
    """Stands before a server on a TCP port and passes everything on, until `cut` answers of the server have passed: then it
    hangs up, or with `is_silent` says nothing more."""

    def __init__(self, server):
        self.server = server
        self.listener = socket.create_server((ADDRESS, 0))
        self.let(None)
        threading.Thread(target=self._accept, daemon=True).start()

    def let(self, cut, is_silent=False):
        """From now on, whoever connects."""
        self.cut, self.is_silent, self.answers = cut, is_silent, 0

    @property
    def has_cut(self):
        return self.cut is not None and self.answers > self.cut

    def conninfo(self, database="postern"):
        return (f"host={ADDRESS} port={self.listener.getsockname()[1]} dbname={database} user=postern sslmode=disable "
                "gssencmode=disable")

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.server.socket / ".s.PGSQL.5432"))
            asker = threading.Thread(target=self._ask, args=(client, server), daemon=True)
            asker.start()
            try:
                self._answer(client, server.makefile("rb"))
            except OSError:
                pass
            if self.has_cut and not self.is_silent:
                client.shutdown(socket.SHUT_RDWR)
            asker.join()

    def _answer(self, client, file):
        while head := file.read(5):
            message = head + file.read(struct.unpack(">I", head[1:])[0] - 4)
            self.answers += head[:1] == b"Z"  # ready for the next question
            if self.has_cut:
                return
            client.sendall(message)

    @staticmethod
    def _ask(client, server):
        try:
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
