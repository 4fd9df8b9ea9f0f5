# SPDX-License-Identifier: BSD-2-Clause
"""The harness itself: an oracle that is wrong is worse than none."""
import json
import subprocess

import left_behind
import pytest

from harness import DROP, LOADGEN, Backend, Client, Postfix, Postgres, SinkBackend, make_message, program, send_message, wait_until


def test_backend_records_bytes_exactly(backend):
    content = b"A: b\r\n\r\n.dot\r\n..two\r\n.\xff\r\nend\r\n"
    assert send_message(backend.port, content, rcpts=("a@b.example", "c@d.example")).code == 250
    (message,) = backend.taken
    assert message.content == content and message.rcpts == ["a@b.example", "c@d.example"]


def test_backend_does_as_it_is_told(backend):
    backend.script["rcpt"] = lambda _, line: "550 5.1.1 no" if "gone" in line else None
    backend.script["dot"] = [DROP, None]
    assert send_message(backend.port, rcpts=("gone@b.example",)).code == 550
    with pytest.raises(ConnectionError):
        send_message(backend.port)
    assert send_message(backend.port).code == 250
    assert len(backend.messages) == 2 and len(backend.taken) == 1
    backend.stop()
    with pytest.raises(ConnectionRefusedError):
        Client(backend.port)
    backend.start()
    assert send_message(backend.port).code == 250


@pytest.mark.parametrize("command,is_named", [
    (b"sink\0-D/tmp/c/gw1\0", True), (b"sink\0/tmp/c/gw10\0/tmp/c/gw1/log\0", True), (b"sh\0-c\0kill '/tmp/c/gw1'\0", True), (b"sh /tmp/c/gw1 x", True),
    (b"/tmp/c/gw1", True), (b"sink\0/tmp/c/gw10/log\0", False), (b"sink\0/tmp/c/gw1.old\0", False), (b"", False)])
def test_a_folder_is_named_whole(command, is_named):
    assert left_behind.names(command, "/tmp/c/gw1") == is_named


def test_sink_keeps_what_it_took_through_a_kill(world_of):
    sink = world_of(SinkBackend())
    content = b"X-Test-Id: 7\r\n\r\n.dot\r\n..two\r\n"
    assert send_message(sink.port, content).code == 250
    sink.kill()
    with open(sink.file, "ab") as f:
        f.write(b"@sink 10 100\ntorn")
    sink.start()
    assert send_message(sink.port, make_message(test_id=8)).code == 250
    first, second = sink.messages()
    assert first.content == content and (first.test_id, second.test_id) == (7, 8)


def test_loadgen_keeps_a_journal_and_tries_again(world_of, tmp_path):
    backend = world_of(Backend())
    backend.script["dot"] = ["451 4.3.0 later", DROP, "554 5.6.0 no", "250 2.0.0 Ok [P001-4KX3T-0B7Q2CF]"]
    done = subprocess.run([program(LOADGEN), "--to", backend.endpoint, "--messages", "20", "--connections", "3", "--per-connection",
                           "4", "--retry", "5", "--retry-pause", "10", "--journal", tmp_path / "journal"],
                          capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert (result["accepted"], result["refused"], result["retries"]) == (19, 1, 2)
    rows = [line.split() for line in (tmp_path / "journal").read_text().splitlines()]
    assert sorted(int(r[0]) for r in rows) == list(range(1, 21))
    assert sum(int(r[3]) for r in rows) == 22
    assert {r[2] for r in rows if r[1] == "250"} == {"P001-4KX3T-0B7Q2CF"}


def test_postgres_comes_back_after_a_kill(world_of):
    pg = world_of(Postgres())
    pg.create_database()
    pg.sql("CREATE TABLE t AS SELECT 1 AS n")
    pg.kill()
    pg.start()
    assert pg.sql("SELECT n FROM t") == [(1,)]


@pytest.mark.skipif(bool(Postfix.missing()), reason=Postfix.missing() or "")
def test_postfix_sends_and_keeps(world_of):
    keeper = world_of(Postfix(maildir=True, hostname="keeper.example"))
    sender = world_of(Postfix(relay_to=keeper.endpoint, hostname="sender.example"))
    assert send_message(sender.port, b"X-Begin: 1\r\n\r\n.dot\r\n\xe4\r\n" + b"x" * 5000 + b"\r\n").code == 250
    wait_until(lambda: keeper.delivered_count() == 1, 30, "the message is in the Maildir")
    assert keeper.delivered()[0].partition(b"X-Begin: 1\n")[2] == b"\n.dot\n\xe4\n" + b"x" * 5000 + b"\n"
