# SPDX-License-Identifier: BSD-2-Clause
"""A scripted content scanner: the filter's side of the milter protocol, in threads."""
import socket
import socketserver
import struct
import threading
import time

ADD_HEADERS, CHANGE_BODY, CHANGE_HEADERS, QUARANTINE = 0x01, 0x02, 0x10, 0x20
ALL_ACTIONS = ADD_HEADERS | CHANGE_BODY | CHANGE_HEADERS | QUARANTINE
MUTE = 0xff080  # it answers nothing but the end of the body


def packet(answer, payload=b""):
    return struct.pack(">I", len(payload) + 1) + answer + payload


def text(*strings):
    return b"".join((s if isinstance(s, bytes) else s.encode("latin-1")) + b"\0" for s in strings)


def add(name, value):
    return packet(b"h", text(name, value))


def insert(index, name, value):
    return packet(b"i", struct.pack(">I", index) + text(name, value))


def change(index, name, value):
    return packet(b"m", struct.pack(">I", index) + text(name, value))


def replace(body):
    return b"".join(packet(b"b", body[i:i + 65535]) for i in range(0, max(len(body), 1), 65535))


def quarantine(why):
    return packet(b"q", text(why))


def reply(line):
    return packet(b"y", text(line))


ACCEPT, CONTINUE, REJECT, TEMPFAIL, DISCARD, PROGRESS = (packet(c) for c in (b"a", b"c", b"r", b"t", b"d", b"p"))


class Seen:
    """What a scanner was told of one message."""

    def __init__(self):
        self.macros, self.connect, self.helo, self.mail, self.rcpts = {}, None, None, None, []
        self.headers, self.body, self.commands = [], b"", ""

    def header(self, name):
        return [value for n, value in self.headers if n.lower() == name.lower()]


class Milter:
    """`answer`: bytes to say at the end of the body, or a function of what was seen that returns them; None: the connection is
    closed there. `steps`: the answer to a command, by its letter, in place of CONTINUE (with protocol=0). `delay`: seconds before
    the answer."""

    def __init__(self, path=None, answer=ACCEPT, protocol=MUTE, actions=ALL_ACTIONS, delay=0):
        self.path, self.answer, self.protocol, self.actions, self.delay = path, answer, protocol, actions, delay
        self.steps, self.seen, self.at_work, self.at_work_most, self.lock = {}, [], 0, 0, threading.Lock()
        self.port = None
        self.server = None

    def start(self, port=0):
        milter = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    milter.talk(self.request)
                except (ConnectionError, OSError):
                    pass

        kind = socketserver.ThreadingUnixStreamServer if self.path else socketserver.ThreadingTCPServer
        kind.allow_reuse_address, kind.daemon_threads, kind.block_on_close = True, True, False
        kind.request_queue_size = 100
        self.server = kind(self.path or ("127.0.0.1", port), Handler)
        self.port = None if self.path else self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return f"unix:{self.path}" if self.path else f"inet:127.0.0.1:{self.port}"

    @staticmethod
    def _read(sock, n):
        data = b""
        while len(data) < n:
            piece = sock.recv(n - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def talk(self, sock):
        seen = Seen()
        while True:
            n, = struct.unpack(">I", self._read(sock, 4))
            command = self._read(sock, 1)
            payload = self._read(sock, n - 1)
            seen.commands += command.decode()
            if not self.take(sock, seen, command, payload):
                return

    def take(self, sock, seen, command, payload):
        strings = payload.split(b"\0")[:-1]
        if command == b"O":
            self.offered = struct.unpack(">III", payload)
            sock.sendall(packet(b"O", struct.pack(">III", 6, self.actions & self.offered[1], self.protocol & self.offered[2])))
            return True
        if command == b"D":
            pairs = payload[1:].split(b"\0")[:-1]
            seen.macros.update({k.decode(): v.decode() for k, v in zip(pairs[::2], pairs[1::2])})
            return True
        if command == b"C":
            seen.connect = (strings[0].decode(), payload[len(strings[0]) + 1:-1])
        elif command == b"H":
            seen.helo = strings[0].decode()
        elif command == b"M":
            seen.mail = strings[0].decode()
        elif command == b"R":
            seen.rcpts.append(strings[0].decode())
        elif command == b"L":
            seen.headers.append((strings[0].decode("latin-1"), strings[1].decode("latin-1")))
        elif command == b"B":
            seen.body += payload
        elif command in b"AQ":
            return command != b"Q"
        elif command == b"E":
            return self.end(sock, seen)
        if command.decode() in self.steps:
            sock.sendall(self.steps[command.decode()])
        elif not self.protocol:
            sock.sendall(CONTINUE)
        return True

    def end(self, sock, seen):
        with self.lock:
            self.seen.append(seen)
            self.at_work += 1
            self.at_work_most = max(self.at_work_most, self.at_work)
        time.sleep(self.delay)
        with self.lock:
            self.at_work -= 1
        said = self.answer(seen) if callable(self.answer) else self.answer
        if said is None:
            sock.shutdown(socket.SHUT_RDWR)
            return False
        sock.sendall(said)
        return True
