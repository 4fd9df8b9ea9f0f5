# SPDX-License-Identifier: BSD-2-Clause
"""The other sides of a conversation: a client, a backend that does as it is told, and the C sink."""
import asyncio
import re
import socket
import threading
import time
from dataclasses import dataclass, field

from world import ADDRESS, SINK, Process, free_port, make_folder, program, remove_folder, wait_until

RANDOM_RECIPIENT = re.compile(r"<[a-z]{20}@")
REFERENCE = re.compile(r"\bP[0-9A-HJKMNP-TV-Z]{3}-[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{7}\b")
TCP_ESTABLISHED = 1


def reference_in(text):
    found = REFERENCE.search(text if isinstance(text, str) else text.decode("latin-1"))
    return found.group(0) if found else None


@dataclass
class Reply:
    code: int
    lines: list

    @property
    def text(self):
        return " ".join(line[4:] for line in self.lines)

    @property
    def enhanced(self):
        found = re.match(r"\d\.\d{1,3}\.\d{1,3}", self.text)
        return found.group(0) if found else None

    def __str__(self):
        return f"{self.code} {self.text}"


class Client:
    """A sending server, one command at a time, on raw bytes."""

    def __init__(self, port, address=ADDRESS, timeout=60, source=None):
        self.socket = socket.create_connection((address, port), timeout, source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.banner = self.reply()

    def reply(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                raise ConnectionError(f"the server has closed the connection (after {lines})")
            line = line.decode("latin-1").rstrip("\r\n")
            lines.append(line)
            if len(line) < 4 or line[3] != "-":
                return Reply(int(line[:3]), lines)

    def write(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def cmd(self, line):
        self.write(line + "\r\n")
        return self.reply()

    def ehlo(self, name="origin.example"):
        return self.cmd(f"EHLO {name}")

    def content(self, content):
        """The bytes after 354, dot-stuffed, with the final dot; content ends with CR LF or is empty."""
        assert not content or content.endswith(b"\r\n"), "content must end with CR LF"
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        self.write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        return self.reply()

    def send(self, content, mail_from="sender@origin.example", rcpts=("user@acme.example",)):
        """One message after EHLO; the first reply that is no consent, or the final one."""
        if isinstance(rcpts, str):
            rcpts = (rcpts,)
        for line in [f"MAIL FROM:<{mail_from}>"] + [f"RCPT TO:<{r}>" for r in rcpts]:
            reply = self.cmd(line)
            if reply.code // 100 != 2:
                return reply
        reply = self.cmd("DATA")
        return self.content(content) if reply.code == 354 else reply

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def send_message(port, content=None, mail_from="sender@origin.example", rcpts=("user@acme.example",), address=ADDRESS,
                 source=None):
    """Connects, sends one message, quits. Returns the final (or first refusing) reply."""
    if content is None:
        content = make_message()
    with Client(port, address, source=source) as client:
        client.ehlo()
        reply = client.send(content, mail_from, rcpts)
        try:
            client.cmd("QUIT")
        except (ConnectionError, OSError):
            pass
        return reply


def make_message(subject="a test", body=b"Hello.\r\n", test_id=None):
    head = f"X-Test-Id: {test_id}\r\n" if test_id is not None else ""
    head += f"From: <sender@origin.example>\r\nTo: <user@acme.example>\r\nSubject: {subject}\r\n\r\n"
    return head.encode() + body


# --- A scriptable backend.

DROP = "DROP"      # close the connection instead of an answer
SILENT = "SILENT"  # no answer at all, the connection stays open


@dataclass
class Delay:
    """Answer after a while."""
    seconds: float
    answer: object = None


@dataclass
class Raw:
    """Octets as they are, and how the conversation goes on behind them."""
    data: bytes
    code: int = 250
    pause: float = 0  # behind each octet


@dataclass
class Message:
    mail_from: str
    rcpts: list
    content: bytes
    session: int
    taken: bool  # answered with 2xx
    at: float = field(default_factory=time.time)


class Backend:
    """A customer's mail server in a thread. What it answers is scripted a phase: banner, ehlo, helo, mail, rcpt, data,
    dot, rset, noop, quit, auth. A script is an answer, or a list of answers (the last one stays), or a function of (session,
    line or content) that returns an answer; an answer is None (the good one), a text, DROP, SILENT, a Delay or a Raw.

        backend.script["rcpt"] = lambda s, line: "550 5.1.1 no such user" if "nobody" in line else None
        backend.script["dot"] = DROP       # the message arrives, its answer does not

    The good answer to RCPT is a refusal of the random recipients with which relayd finds out whether a domain accepts all.
    Messages are recorded byte by byte, with the dot-stuffing undone; `transcript` has every line of both sides."""

    GOOD = {"banner": "220 backend.example ESMTP",
            "ehlo": "250-backend.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME",
            "helo": "250 backend.example", "mail": "250 2.1.0 Ok", "rcpt": "250 2.1.5 Ok",
            "data": "354 Go on", "dot": "250 2.0.0 Ok: taken", "rset": "250 2.0.0 Ok", "noop": "250 2.0.0 Ok",
            "quit": "221 2.0.0 Bye", "auth": "235 2.7.0 Ok", "star": "220 2.0.0 Go on", "xfor": "250 2.0.0 Ok"}

    def __init__(self, port=None, address=ADDRESS, tls=None):
        """`tls`: an ssl.SSLContext; then STARTTLS is offered. What is known of a connection is in `about`: peer, tls, reused."""
        self.address, self.port, self.tls = address, port or free_port(), tls
        self.script, self.messages, self.transcript, self.about = {}, [], [], {}
        self.connections_most = 0
        self.sessions = 0
        self.connections_open = 0
        self._loop = self._thread = self._server = None
        self._writers = {}  # by session

    @property
    def endpoint(self):
        return f"{self.address}:{self.port}"

    @property
    def taken(self):
        return [m for m in self.messages if m.taken]

    def start(self):
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the backend does not start"
        return self

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._session, self.address, self.port, limit=2 ** 26, reuse_address=True))
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def stop(self):
        """The listener and all connections are gone: "connection refused" from now on."""
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop = None

    close = stop

    def stop_listening(self):
        """What is open stays."""
        async def close():
            self._server.close()
        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    def all_greeted(self):
        """Who is connected has had an answer behind the banner: that to its EHLO."""
        said = [session for session, who, _ in list(self.transcript) if who == "S"]
        return all(said.count(session) >= 2 for session in list(self._writers))

    def drop_connections(self, but=None):
        """Aborts what is open, all or all but one session's; the listener stays. Not in the middle of an EHLO, if that ends: it would
        count as a backend that is down."""
        end = time.monotonic() + 2
        while not self.all_greeted() and time.monotonic() < end:
            time.sleep(0.01)

        def drop():
            for session, writer in list(self._writers.items()):
                if session != but:
                    writer.transport.abort()
        self._loop.call_soon_threadsafe(drop)

    async def _end(self):
        self._server.close()
        for writer in list(self._writers.values()):
            writer.transport.abort()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _scripted(self, phase, session, what):
        script = self.script.get(phase)
        if isinstance(script, list):
            script = script.pop(0) if len(script) > 1 else script[0]
        answer = script(session, what) if callable(script) else script
        if phase == "rcpt" and answer is None and RANDOM_RECIPIENT.search(what):
            return "550 5.1.1 no such user"
        return answer

    async def _answer(self, phase, session, what, writer, on_code=None):
        """Returns the code that was sent; on_code gets it before it leaves, so that who has the answer finds the record."""
        answer = self._scripted(phase, session, what)
        if isinstance(answer, Delay):
            await asyncio.sleep(answer.seconds)
            answer = answer.answer
        if answer is None:
            answer = self.GOOD[phase]
            if phase == "ehlo" and self.tls and not self.about[session]["tls"]:
                answer = answer.replace("250 8BITMIME", "250-8BITMIME\r\n250 STARTTLS")
        if answer == DROP:
            writer.transport.abort()
            raise ConnectionError
        if answer == SILENT:
            await asyncio.sleep(3600)
        if isinstance(answer, Raw):
            return await self._answer_raw(answer, session, writer, on_code)
        code = int(answer[:3] if phase == "star" else answer.rsplit("\r\n", 1)[-1][:3])
        if on_code:
            on_code(code)
        self.transcript.append((session, "S", answer))
        writer.write(answer.encode("latin-1") + b"\r\n")
        await writer.drain()
        return code

    async def _answer_raw(self, raw, session, writer, on_code):
        if on_code:
            on_code(raw.code)
        self.transcript.append((session, "S", repr(raw.data[:200])))
        for piece in ([bytes([octet]) for octet in raw.data] if raw.pause else [raw.data]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(raw.pause)
        return raw.code

    def _standing(self):
        """Connections that neither side has closed at this moment: a session may not have seen yet that its client is gone."""
        def stands(writer):
            try:
                return writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED
            except OSError:
                return False
        return sum(stands(writer) for writer in self._writers.values())

    async def _session(self, reader, writer):
        self.sessions += 1
        self.connections_open += 1
        session = self.sessions
        self._writers[session] = writer
        self.connections_most = max(self.connections_most, self._standing())
        self.about[session] = {"peer": writer.get_extra_info("peername"), "tls": None, "reused": None}
        try:
            await self._talk(session, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, OSError):  # ssl.SSLError is one
            pass
        finally:
            self.connections_open -= 1
            del self._writers[session]
            writer.close()

    async def _go_secure(self, session, writer):
        await writer.start_tls(self.tls)
        ssl_object = writer.get_extra_info("ssl_object")
        self.about[session].update(tls=ssl_object.version(), reused=ssl_object.session_reused)

    async def _talk(self, session, reader, writer):
        mail_from, rcpts = None, []
        if await self._answer("banner", session, "", writer) // 100 != 2:
            return
        while True:
            line = await reader.readline()
            if not line:
                return
            line = line.decode("latin-1").rstrip("\r\n")
            self.transcript.append((session, "C", line))
            phase = line[:4].lower()
            if phase not in self.GOOD:
                writer.write(b"502 5.5.1 Unknown\r\n")
                continue
            code = await self._answer(phase, session, line, writer)
            if code == 421 or phase == "quit":
                return
            if phase == "star" and code == 220:
                await self._go_secure(session, writer)
            if phase == "mail" and code // 100 == 2:
                mail_from, rcpts = path_in(line), []
            elif phase == "rcpt" and code // 100 == 2:
                rcpts.append(path_in(line))
            elif phase in ("rset", "ehlo", "helo", "star"):
                mail_from, rcpts = None, []
            elif phase == "data" and code == 354:
                content = await self._content(reader)
                message = Message(mail_from, rcpts, content, session, False)
                self.messages.append(message)
                await self._answer("dot", session, content, writer,
                                   lambda code: setattr(message, "taken", code // 100 == 2))
                mail_from, rcpts = None, []

    @staticmethod
    async def _content(reader):
        content = bytearray()
        while True:
            line = await reader.readuntil(b"\n")
            if line == b".\r\n" and (not content or content.endswith(b"\r\n")):
                return bytes(content)
            content += line[1:] if line.startswith(b".") else line


def path_in(line):
    found = re.search(r"<([^>]*)>", line)
    return found.group(1) if found else line.partition(":")[2].strip()


# --- The C sink.

@dataclass
class SavedMessage:
    envelope: str
    content: bytes

    @property
    def test_id(self):
        found = re.search(rb"^X-Test-Id: (\d+)\r?$", self.content, re.M)
        return int(found.group(1)) if found else None

    @property
    def reference(self):
        return reference_in(our_received(self.content))


class SinkBackend:
    """tests/bench/sink: fast, and a message is in its file before its 250, whatever kills it."""

    def __init__(self, port=None, save=True, delay_ms=0, address=ADDRESS):
        self.folder = make_folder("postern-sink-")
        self.address, self.port = address, port or free_port()
        self.file, self.count_file = self.folder / "messages", self.folder / "count"
        argv = [program(SINK), "--listen", self.endpoint, "--count", self.count_file]
        argv += ["--save", self.file] if save else []
        argv += ["--delay", delay_ms] if delay_ms else []
        self.process = Process(argv, self.folder / "sink.log")

    @property
    def endpoint(self):
        return f"{self.address}:{self.port}"

    def start(self):
        self.process.start()
        wait_until(self._answers, 10, "the sink answers")
        return self

    def _answers(self):
        with socket.create_connection((self.address, self.port), 2) as s:
            return s.recv(4).startswith(b"220")

    def stop(self):
        self.process.stop()

    def kill(self):
        self.process.kill()

    def close(self):
        self.stop()
        remove_folder(self.folder)

    @property
    def count(self):
        """Messages since its start, at most 0.1 s old."""
        text = self.count_file.read_text().split()
        return int(text[0]) if text else 0

    def messages(self):
        return read_saved(self.file)


def read_saved(path):
    """The whole records of a file that sink --save writes; a cut one at the end has had no 250."""
    data, at, found = path.read_bytes() if path.exists() else b"", 0, []
    while True:
        end = data.find(b"\n", at)
        head = re.fullmatch(rb"@sink (\d+) (\d+)", data[at:end]) if end >= 0 else None
        if not head:
            assert end < 0 or at >= len(data), f"{path}: no record at offset {at}"
            return found
        envelope_at, envelope, content = end + 1, int(head.group(1)), int(head.group(2))
        after = envelope_at + envelope + content
        if after + 1 > len(data):
            return found
        found.append(SavedMessage(data[envelope_at:envelope_at + envelope].decode("latin-1"),
                                  data[envelope_at + envelope:after]))
        at = after + 1


def split_top_field(content):
    """The first header field with its folded lines, and the rest."""
    end = content.find(b"\r\n")
    while 0 <= end and content[end + 2:end + 3] in (b" ", b"\t"):
        end = content.find(b"\r\n", end + 2)
    return (content, b"") if end < 0 else (content[:end + 2], content[end + 2:])


def our_received(content):
    """The Received field that Postern put on top."""
    return split_top_field(content)[0]


def below_our_received(content):
    """What the sender sent, as the backend got it; the top field must be our Received line."""
    top, rest = split_top_field(content)
    assert top.lower().startswith(b"received:"), f"no Received line on top: {top[:80]!r}"
    assert reference_in(top), f"no reference in our Received line: {top!r}"
    return rest
