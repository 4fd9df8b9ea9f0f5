# SPDX-License-Identifier: BSD-2-Clause
"""P2, P5: five full calendar days, over both changes of summer time, with PostgreSQL away; and clocks that jump.

The relay starts at the moment of the arrival; the keeper's clock is moved through a file while it runs."""
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from harness import QUICK, SPOOLMGR, Node, process_gone, wait_until
from world import release_build

OWN_POSTGRES = True

LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
TEMPORARY = "451 4.2.0 not now"


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


class Clock:
    """The wall clock of processes that have its environment; the time since boot goes on as it is."""

    def __init__(self, folder):
        self.file = folder / "clock"
        self.offset_s = 0
        self.to(time.time())
        self.env = {"LD_PRELOAD": str(LIBFAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def to(self, moment):
        self.offset_s = moment - time.time()
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{self.offset_s:+.3f}\n")
        os.replace(fresh, self.file)


class PastNode(Node):
    """Its daemons read a clock of the test's. The release build: sanitizers and another library before them do not go together."""

    def __init__(self, **settings):
        super().__init__(settings={"timezone": "Europe/Amsterdam", "workers": 1, "message-retry-max": "1s", **settings}, start=False,
                         build=release_build())
        self.clock = Clock(self.folder)
        self.env.update(self.clock.env)
        self.spoolmgr.__init__(self)
        self.start()

    def close(self, keep=False):
        super().close(keep)
        for path in Path("/dev/shm").glob("*faketime_s*_*"):  # the library's own, of processes that did not end by themselves
            if process_gone(int(path.name.rpartition("_")[2])):
                path.unlink(missing_ok=True)

    def attempts(self):
        return [m["attempts"] for m in self.spool()]

    def is_tried(self):
        """Once more, by the clock as it is now."""
        before = self.attempts()
        wait_until(lambda: [b for b in self.attempts() if b > before[0]], 20, "one more attempt")


def keep_one(node, backend, at):
    """A message that arrived at that moment; from then on PostgreSQL and the relay are away."""
    node.add_customer("acme", "acme.example", backend.endpoint)
    backend.stop()
    node.relayd.stop()
    node.clock.to(at)
    node.relayd.env.update(node.clock.env, FAKETIME=f"{node.clock.offset_s:+.3f}")
    del node.relayd.env["FAKETIME_TIMESTAMP_FILE"]  # its workers may not read files
    node.relayd.start()
    wait_until(lambda: node.serves("acme.example"), 10, "as before")
    reply = node.send()
    assert reply.code == 250, reply
    wait_until(node.spool, 10, "it is in the list")
    node.relayd.stop()
    node.postgres.stop()
    backend.script["rcpt"] = TEMPORARY
    backend.start()
    return reply


@pytest.mark.parametrize("arrived, noons, ends, said", [
    ("2027-03-24T13:00", ["03-25", "03-26", "03-27", "03-28", "03-29"], "2027-03-29T22:00", "2027-03-30 00:00"),
    ("2027-10-27T12:00", ["10-28", "10-29", "10-30", "10-31", "11-01"], "2027-11-01T23:00", "2027-11-02 00:00"),
], ids=["into summer time", "out of summer time"])
def test_P2_P5_five_full_calendar_days(world_of, backend, arrived, noons, ends, said):
    node = world_of(PastNode(**{"expiry-grace": "1s"}))
    reply = keep_one(node, backend, utc(arrived))
    assert f"queued until {said}" in reply.text
    assert node.spool()[0]["expires_at"].startswith(ends)
    for day in noons[-2:] if QUICK else noons:
        node.clock.to(utc(f"2027-{day}T11:00"))
        wait_until(lambda n=len(node.spoolmgr.log_lines("expiry-goes-on")): len(node.spoolmgr.log_lines("expiry-goes-on")) > n, 10)
        node.is_tried()
    node.clock.to(utc(ends) - 40)
    node.is_tried()
    node.is_tried()
    assert len(node.spool()) == 1 and not node.spoolmgr.log_lines("expired")
    backend.script["rcpt"] = "451 4.2.0 never"
    node.clock.to(utc(ends))
    wait_until(lambda: not node.spool(), 20, "an attempt behind the deadline has failed")
    assert "451 4.2.0 never" in node.spoolmgr.log_lines("expired")[0]


def test_P2_a_clock_at_2031_and_back_expires_nothing(world_of, backend):
    node = world_of(PastNode())
    keep_one(node, backend, time.time())
    node.is_tried()
    node.clock.to(utc("2031-05-05T05:05"))
    wait_until(lambda: node.spoolmgr.log_lines("clock-jumped"), 10, "it is said")
    node.is_tried()
    node.is_tried()
    node.spoolmgr.stop()  # nor in another run
    done = node.run(SPOOLMGR, "--once")
    assert done.returncode == 0 and not "expired " in done.stdout + done.stderr, done
    node.spoolmgr.start()
    node.is_tried()
    node.clock.to(time.time())
    wait_until(lambda: len(node.spoolmgr.log_lines("clock-jumped")) == 2, 10, "and back")
    backend.script.clear()
    wait_until(lambda: not node.spool(), 20, "it is delivered, and does not wait until 2031")
    assert [m.rcpts for m in backend.taken if m.rcpts] == [["user@acme.example"]] and not node.spoolmgr.log_lines("expired")


def test_status_does_not_hide_what_is_wrong_behind_what_ends_soon(world_of, backend):
    node = world_of(PastNode())
    node.add_customer("acme", "acme.example", backend.endpoint)
    backend.stop()
    assert node.send().code == 250
    wait_until(node.spool, 10, "it is in the list")
    node.relayctl("backend", "remove", "acme/1", "--spool", "keep", "--reason", "a test", "--yes")
    node.wait_until_replicated()
    node.spoolmgr.stop()
    node.clock.to(datetime.fromisoformat(node.spool()[0]["expires_at"].replace("Z", "+00:00")).timestamp() - 3600)
    told = json.loads(node.relayctl("status", "--json", check=False).stdout)["spool"]
    assert told["state"] == "no-route" and "the first message ends in" in told["detail"], told


def test_P2_a_clock_that_was_wrong_when_the_keeper_came_is_noticed(world_of, backend):
    node = world_of(PastNode())
    keep_one(node, backend, time.time())
    node.spoolmgr.stop()
    node.clock.to(utc("2031-05-05T05:05"))
    node.spoolmgr.start()
    wait_until(lambda: node.spoolmgr.log_lines("clock-jumped"), 10, "it is said")
    node.is_tried()
    assert len(node.spool()) == 1
