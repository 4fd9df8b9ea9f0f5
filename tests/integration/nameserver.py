# SPDX-License-Identifier: BSD-2-Clause
"""A real name server (NSD) with one zone, names.test or all of the Internet ("."), on a port of the tests' own address."""
import signal
import socket
import struct
import threading
import time

from world import ADDRESS, IS_ROOT, Process, free_port, make_folder, own, remove_folder, unprivileged_user, wait_until

ZONE = "names.test"
NSD = "/usr/sbin/nsd"


class Nameserver:
    """Records of a zone (names.test) as lines of a zone file; `set` replaces all of them."""

    def __init__(self, *records, zone=ZONE):
        self.zone = zone
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
            f"zone:\n  name: {zone}\n  zonefile: test.zone\n")
        self.process = Process([NSD, "-d", "-c", self.folder / "nsd.conf"], self.folder / "nsd.log", user=self.user)

    @property
    def endpoint(self):
        return f"{ADDRESS}:{self.port}"

    def _write(self, records):
        name = self.zone.rstrip(".")
        lines = ["$TTL 5", f"@ IN SOA ns.{ZONE}. hostmaster.{ZONE}. {self.serial} 3600 600 86400 5", f"@ IN NS ns.{ZONE}.",
                 f"ns.{ZONE}. IN A {ADDRESS}", *records]
        path = self.folder / "test.zone"
        path.with_suffix(".new").write_text(f"$ORIGIN {name}.\n" + "\n".join(lines) + "\n")
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

    def close(self):
        self.stop()
        remove_folder(self.folder)

    def _serial(self):
        """The zone's, by an SOA query."""
        labels = filter(None, self.zone.split("."))
        name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
        query = struct.pack(">6H", 4711, 0, 1, 0, 0, 0) + name + struct.pack(">2H", 6, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            s.connect((ADDRESS, self.port))
            s.send(query)
            answer = s.recv(1500)
        at = answer.find(struct.pack(">I4s", 600, b"\x00\x01\x51\x80"))
        return struct.unpack(">I", answer[at - 8:at - 4])[0]


class Mischief:
    """Stands before a name server and does with its answers what `mode` says: pass, dead, slow (`delay` seconds), servfail, refused,
    lying (other ids, other questions and noise before the true answer), truncated (over UDP; TCP is whole), cut (garbled), authentic (says that all is validated: AD)."""

    def __init__(self, server, mode="pass", delay=5):
        self.server, self.mode, self.delay = server, mode, delay
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((ADDRESS, 0))
        self.port = self.udp.getsockname()[1]
        self.tcp = socket.create_server((ADDRESS, self.port))
        self.questions = 0
        for loop in (self._udp_loop, self._tcp_loop):
            threading.Thread(target=loop, daemon=True).start()

    @property
    def endpoint(self):
        return f"{ADDRESS}:{self.port}"

    def close(self):
        self.mode = "dead"
        for s in (self.udp, self.tcp):
            s.shutdown(socket.SHUT_RDWR) if s is self.tcp else None
            s.close()

    def _ask(self, query):
        with socket.create_connection((ADDRESS, self.server.port), 10) as s:
            s.sendall(struct.pack(">H", len(query)) + query)
            file = s.makefile("rb")
            return file.read(struct.unpack(">H", file.read(2))[0])

    def _answers(self, query):
        """What is sent to a question, one after the other."""
        mode = self.mode
        if mode == "dead":
            return []
        if mode in ("servfail", "refused"):
            return [query[:2] + struct.pack(">H", 0x8180 | {"servfail": 2, "refused": 5}[mode]) + query[4:]]
        true = self._ask(query)
        if mode == "slow":
            time.sleep(self.delay)
        if mode == "lying":
            other = query[:2] + true[2:12] + b"\x05wrong\x04test\x00" + true[-4:]
            return [bytes([query[0] ^ 255]) + true[1:], other, b"", b"\x00" * 3, true]
        if mode == "truncated":
            flags = struct.unpack(">H", true[2:4])[0] | 0x0200
            return [true[:2] + struct.pack(">HHHHH", flags, 1, 0, 0, 0) + query[12:query.index(b"\0", 12) + 5]]
        if mode == "authentic":
            return [true[:3] + bytes([true[3] | 0x20]) + true[4:]]
        if mode == "cut":
            return [true[:-3]]
        return [true]

    def _serve(self, query, peer):
        for answer in self._answers(query):
            try:
                self.udp.sendto(answer, peer)
            except OSError:
                return

    def _udp_loop(self):
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            self.questions += 1
            threading.Thread(target=self._serve, args=(query, peer), daemon=True).start()

    def _tcp_loop(self):
        while True:
            try:
                s, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._tcp_serve, args=(s,), daemon=True).start()

    def _tcp_serve(self, s):
        with s:
            file = s.makefile("rb")
            while size := file.read(2):
                answer = self._ask(file.read(struct.unpack(">H", size)[0]))
                if self.mode == "dead":
                    return
                if self.mode == "authentic":
                    answer = answer[:3] + bytes([answer[3] | 0x20]) + answer[4:]
                s.sendall(struct.pack(">H", len(answer)) + answer)
