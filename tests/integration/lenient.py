# SPDX-License-Identifier: BSD-2-Clause
"""Backends that read as careless servers do: what each takes for a line end, and so for the end of a message, differs.

What a lenient server takes for an end of data that Postern does not is the tool of SMTP smuggling (P7). All of them keep every
octet they got, for `dirty_octets`.
"""
import asyncio
import re
from dataclasses import dataclass

from peers import Backend


@dataclass(frozen=True)
class Leniency:
    """`ends`: what ends a line; `dropped`: octets that are not seen at all; `trimmed`: what may stand behind a lone dot."""
    ends: bytes
    dropped: bytes = b""
    trimmed: bytes = b""


STRICT = Leniency(rb"\r\n")
LF_LENIENT = Leniency(rb"\r?\n")
CR_LENIENT = Leniency(rb"\r\n|\n\r|\r|\n")
CARELESS = Leniency(rb"\r*\n\r?|\r", dropped=b"\0", trimmed=b" \t\x1a")

_DIRTY = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")


class LineReader:
    """The lines of a stream by a leniency, each given with CR LF; a stand-in for asyncio's StreamReader in Backend."""

    def __init__(self, reader, leniency, raw):
        self.reader, self.leniency, self.raw = reader, leniency, raw
        self.buffer, self.ended = b"", False
        self.pattern = re.compile(leniency.ends)

    async def _fill(self):
        data = await self.reader.read(65536)
        self.ended = not data
        self.raw += data
        self.buffer += data.translate(None, self.leniency.dropped)

    async def readline(self):
        while True:
            found = self.pattern.search(self.buffer)
            if found and (found.end() < len(self.buffer) or found.group().endswith(b"\n") or self.ended):
                return self._take(found.start(), found.end())
            if self.ended:
                return b""
            if found and not await self._more_at_once():  # a CR alone: its LF may be on the way
                return self._take(found.start(), found.end())
            if not found:
                await self._fill()

    async def _more_at_once(self):
        try:
            await asyncio.wait_for(self._fill(), 0.05)
        except asyncio.TimeoutError:
            return False
        return True

    def _take(self, start, end):
        line, self.buffer = self.buffer[:start], self.buffer[end:]
        if self.leniency.trimmed and line.rstrip(self.leniency.trimmed) == b".":
            line = b"."
        return line + b"\r\n"

    async def readuntil(self, _):
        line = await self.readline()
        if not line:
            raise asyncio.IncompleteReadError(self.buffer, None)
        return line


class LenientBackend(Backend):
    def __init__(self, leniency=STRICT, **kwargs):
        super().__init__(**kwargs)
        self.leniency, self.raw = leniency, []

    async def _talk(self, session, reader, writer):
        self.raw.append(bytearray())
        await super()._talk(session, LineReader(reader, self.leniency, self.raw[-1]), writer)

    def forget(self):
        """What has come so far; connections that stand go on."""
        self.messages.clear()
        self.transcript.clear()
        for raw in self.raw:
            raw.clear()

    def dirty_octets(self):
        """The surroundings of each bare CR, bare LF or NUL that came in, of all connections."""
        return [bytes(raw[max(0, m.start() - 20):m.end() + 20]) for raw in self.raw for m in _DIRTY.finditer(raw)]
