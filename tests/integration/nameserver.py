# SPDX-License-Identifier: BSD-2-Clause
"""A real name server (NSD) with one zone, on a port of the tests' own address."""
import signal
import socket
import struct

from world import ADDRESS, IS_ROOT, Process, free_port, make_folder, own, unprivileged_user, wait_until

ZONE = "names.test"
NSD = "/usr/sbin/nsd"


class Nameserver:
    """Records of names.test as lines of a zone file; `set` replaces all of them."""

    def __init__(self, *records):
        self.port = free_port()
        self.folder = make_folder("postern-nsd-")
        self.user = unprivileged_user("nobody") if IS_ROOT else None
        self.serial = 1
        own(self.folder, self.user)
        self._write(records)
        (self.folder / "nsd.conf").write_text(
            f"server:\n  ip-address: {ADDRESS}@{self.port}\n  username: \"\"\n  chroot: \"\"\n"
            f"  zonesdir: {self.folder}\n  zonelistfile: {self.folder}/zone.list\n  xfrdfile: {self.folder}/xfrd.state\n"
            f"  pidfile: {self.folder}/nsd.pid\n  xfrdir: {self.folder}\n  database: \"\"\n  server-count: 1\n  rrl-ratelimit: 0\n"
            f"  zonefiles-check: yes\nremote-control:\n  control-enable: no\n"
            f"zone:\n  name: {ZONE}\n  zonefile: {ZONE}.zone\n")
        self.process = Process([NSD, "-d", "-c", self.folder / "nsd.conf"], self.folder / "nsd.log", user=self.user)

    @property
    def endpoint(self):
        return f"{ADDRESS}:{self.port}"

    def _write(self, records):
        lines = ["$TTL 5", f"@ IN SOA ns.{ZONE}. hostmaster.{ZONE}. {self.serial} 3600 600 86400 5", f"@ IN NS ns.{ZONE}.",
                 f"ns IN A {ADDRESS}", *records]
        path = self.folder / f"{ZONE}.zone"
        path.with_suffix(".new").write_text(f"$ORIGIN {ZONE}.\n" + "\n".join(lines) + "\n")
        path.with_suffix(".new").rename(path)
        path.chmod(0o644)

    def start(self):
        self.process.start()
        wait_until(lambda: self._serial() == self.serial, 20, "the name server answers")
        return self

    def set(self, *records):
        self.serial += 1
        self._write(records)
        self.process.signal(signal.SIGHUP)
        wait_until(lambda: self._serial() == self.serial, 20, "the name server has the new zone")

    def stop(self):
        self.process.stop()

    close = stop

    def _serial(self):
        """The zone's, by an SOA query."""
        name = b"".join(bytes([len(label)]) + label.encode() for label in ZONE.split(".")) + b"\0"
        query = struct.pack(">6H", 4711, 0, 1, 0, 0, 0) + name + struct.pack(">2H", 6, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            s.connect((ADDRESS, self.port))
            s.send(query)
            answer = s.recv(1500)
        at = answer.find(struct.pack(">I4s", 600, b"\x00\x01\x51\x80"))
        return struct.unpack(">I", answer[at - 8:at - 4])[0]
