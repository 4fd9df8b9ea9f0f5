# SPDX-License-Identifier: BSD-2-Clause
"""Health of backends (DESIGN section 5): who asks a dead one, what is said while one recovers, and what ends `refusing`."""
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from datetime import datetime, timezone

import pytest

from peers import RANDOM_RECIPIENT

from harness import ADDRESS, DROP, LOADGEN, QUICK, SILENT, Backend, Client, Node, free_port, make_message, program, wait_until
from tls import make_certificate
from world import release_build

REFUSED = "550 5.1.1 no such user here"
PATIENT = {"probe-interval-min": "10m", "probe-interval-max": "10m", "message-retry-min": "10m", "message-retry-max": "10m"}


class HealthNode(Node):
    """Good probes that end `refusing` count when they are a second apart (in developer builds)."""

    def __init__(self, start=True, build=None, **settings):
        super().__init__(settings=settings, start=False, build=build)
        self.env["POSTERN_TEST_GOOD_APART_MS"] = "1000"
        for daemon in (self.relayd, self.spoolmgr):
            daemon.__init__(self)
        if start:
            self.start()


def register(node, backend):
    node.add_customer("acme", "acme.example", backend.endpoint, "--max-connections-per-hour", "none")


@pytest.fixture
def node(world_of, backend):
    node = world_of(HealthNode())
    register(node, backend)
    return node


def users(count):
    return [f"user{n}@acme.example" for n in range(count)]


def teach(node, recipients):
    """Each is taken once by the backend, and known valid from then on."""
    for rcpt in recipients:
        reply = node.send(rcpts=rcpt)
        assert reply.code == 250 and "queued" not in reply.text, reply
    node.wait_until_probed()


def health(node, backend):
    done = node.relayctl("status", "--json", check=False)
    found = [b for b in json.loads(done.stdout)["backends"] if f"{b['address']}:{b['port']}" == backend.endpoint]
    return found[0] if found else {"state": "unknown"}


def state(node, backend):
    return health(node, backend)["state"]


def is_queued(reply):
    return reply.code == 250 and "queued until" in reply.text


def asked(backend):
    return sum(line.startswith("RCPT") and not RANDOM_RECIPIENT.search(line) for _, side, line in backend.transcript if side == "C")


def ids(backend):
    found = [re.search(rb"X-Test-Id: (\d+)", m.content) for m in backend.taken]
    return sorted(int(m.group(1)) for m in found if m)


def go_down(node, backend, rcpt="user0@acme.example"):
    backend.stop()
    wait_until(lambda: is_queued(node.send(rcpts=rcpt)), 15, "it is noticed")
    assert state(node, backend) in ("down", "probing")


def rcpt_reply(node, rcpt):
    with Client(node.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<sender@origin.example>")
        return client.cmd(f"RCPT TO:<{rcpt}>")


def come_back_refusing(node, backend, recipients):
    """Back without its mailboxes; what senders hear until it is `refusing`."""
    backend.script["rcpt"] = lambda s, line: REFUSED
    backend.start()
    heard = []

    def refusing():
        for rcpt in recipients:
            heard.append(rcpt_reply(node, rcpt))
        return state(node, backend) == "refusing"
    wait_until(refusing, 30, "refusing")
    return heard


def test_P4_no_sender_hears_a_5xx_of_a_backend_that_is_back_without_its_mailboxes(node, backend):
    teach(node, users(4))
    node.spoolmgr.stop()
    go_down(node, backend)
    heard = come_back_refusing(node, backend, users(4))
    assert all(r.code in (250, 451) for r in heard), [str(r) for r in heard]
    assert any((r.code, r.enhanced) == (451, "4.3.0") for r in heard), [str(r) for r in heard]
    assert any(" alarm " in line for line in node.relayd.log_lines("backend-refusing"))
    assert health(node, backend)["reason"] == "refuses recipients that are known to be valid"
    taken = backend.sessions
    assert is_queued(node.send(rcpts="user1@acme.example")), "answered as if it were down"
    assert backend.sessions - taken <= 1

def test_P4_while_nobody_says_who_is_known_one_that_recovers_refuses_nobody(node, backend):
    teach(node, users(1))
    node.spoolmgr.stop()
    go_down(node, backend)
    backend.script["rcpt"] = lambda s, line: REFUSED
    state_process = node.relayd.child("state")
    os.kill(state_process, signal.SIGSTOP)
    try:
        backend.start()
        node.relayctl("backend", "test", "acme/1", "--steps", check=False)
        wait_until(lambda: state(node, backend) == "recovering", 20, "it recovers")
        reply = rcpt_reply(node, users(1)[0])
    finally:
        os.kill(state_process, signal.SIGCONT)
    assert (reply.code, reply.enhanced) == (451, "4.3.0"), reply


def spool_many(node, recipients, count):
    for n in range(count):
        with Client(node.port) as client:
            client.ehlo()
            assert client.send(make_message(test_id=n), rcpts=recipients[n % len(recipients)]).code == 250


def test_P4_a_backend_that_is_back_without_its_mailboxes_bounces_nothing_of_what_waits(node, backend):
    teach(node, users(4))
    go_down(node, backend)
    count = 150 if QUICK else 1000
    spool_many(node, users(4), count)
    backend.script["rcpt"] = lambda s, line: REFUSED
    backend.start()
    wait_until(lambda: state(node, backend) == "refusing", 30, "refusing")
    wait_until(lambda: [x for x in node.spoolmgr.log_lines("deferred") if "550" in x], 10, "one was refused, and stays")
    assert len(node.spool()) == count + 1
    assert not node.spoolmgr.log_lines("refused")
    before = asked(backend)
    wait_until(lambda: asked(backend) > before + 1, 20, "probing goes on")
    assert len(node.spool()) == count + 1
    backend.script.clear()
    wait_until(lambda: not node.spool(), 120, "three good probes, and all is delivered", pause=0.3)
    assert ids(backend) == list(range(count)), "each once"
    assert not node.spoolmgr.log_lines("refused")
    assert node.spoolmgr.log_lines("backend-takes-again") or node.relayd.log_lines("backend-takes-again")
    wait_until(lambda: state(node, backend) == "up", 10, "plainly up")


# --- relayctl backend test --steps and release.

def backend_test(node, *args, status=0):
    done = node.relayctl("backend", "test", "acme/1", "--steps", *args, "--json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def steps(answer):
    return [(s["step"], s["ok"]) for s in answer["steps"]]


def test_a_backend_is_tested_step_by_step(node, backend):
    answer = backend_test(node)
    assert answer["up"] and answer["by"] == "relayd" and answer["name"] == "acme/1"
    assert steps(answer) == [(name, True) for name in ("connect", "greeting", "EHLO", "MAIL", "RSET")]
    assert "PIPELINING" in answer["steps"][2]["reply"] and answer["steps"][1]["reply"].startswith("220 backend.example")
    backend.script["rcpt"] = lambda s, line: REFUSED if "nobody" in line else None
    answer = backend_test(node, "--rcpt", "nobody@acme.example")
    assert answer["up"] and steps(answer)[4] == ("RCPT", False) and answer["steps"][4]["reply"] == REFUSED
    assert state(node, backend) == "up", "a refusal of a recipient is no outage"
    assert not backend.messages
    said = node.relayctl("backend", "test", "acme/1", "--steps").stdout
    assert "EHLO" in said and "acme/1 is up" in said


@pytest.mark.parametrize("phase, answer, failed", [
    ("banner", "554 no service", "greeting"), ("banner", DROP, "greeting"), ("banner", "421 busy", "greeting"),
    ("ehlo", "421 4.3.2 going down", "EHLO"), ("mail", "451 4.3.0 not now", "MAIL")])
def test_what_is_wrong_is_shown_in_its_step(node, backend, phase, answer, failed):
    backend.script[phase] = answer
    up = phase == "mail"
    told = backend_test(node, status=0 if up else 1)
    assert [s["step"] for s in told["steps"] if not s["ok"]] == [failed]
    assert told["up"] == up and state(node, backend) == ("up" if up else "down")


def test_odd_lines_at_the_control_socket_are_answered(node):
    def ask(line):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(node.dirs["run-dir"] / "relayd.sock"))
            s.sendall(line + b"\n")
            return json.loads(s.makefile().readline())

    workers = node.relayd.workers()
    question = {"verb": "backend-test", "address": ADDRESS, "port": 25}
    for line in [b"", b"{", b"[]", b"7", b"\xff\x00", b'{"verb":"stop"}', b'{"verb":"backend-test"}', b"x" * 9000] + [
            json.dumps(dict(question, **odd)).encode() for odd in (
                {"port": 0}, {"port": 70000}, {"port": "25"}, {"address": "x"}, {"address": ADDRESS + ":25 "}, {"tls": "x"},
                {"rcpt": "a@b>\r\nDATA"}, {"rcpt": "a"}, {"tls_name": "x" * 300})]:
        answer = ask(line)
        assert answer["ok"] is False and answer["error"], line
    assert node.relayd.workers() == workers


def test_P10_a_test_brings_a_backend_back_at_once(world_of, backend):
    node = world_of(HealthNode(**PATIENT))
    register(node, backend)
    go_down(node, backend)
    assert backend_test(node, status=1)["after"] == "down"
    backend.start()
    answer = backend_test(node)
    assert (answer["before"], answer["after"]) == ("down", "recovering")
    reply = node.send(rcpts="user1@acme.example")
    assert reply.code == 250 and "queued" not in reply.text, reply
    wait_until(lambda: not node.spool(), 20, "what waits is delivered too")


def test_P10_so_does_one_of_everything(world_of, backend):
    node = world_of(HealthNode(**PATIENT))
    register(node, backend)
    go_down(node, backend)
    assert node.relayctl("backend", "test", "acme/1", check=False).returncode == 1 and state(node, backend) == "down"
    backend.start()
    answer = json.loads(node.relayctl("backend", "test", "acme/1", "--json", check=False).stdout)
    woken = next(f for f in answer["findings"] if f["check"] == "health")
    assert (woken["finding"], woken["detail"]) == ("woken", "down before, recovering now")
    wait_until(lambda: not node.spool(), 20, "what waits is delivered")


def test_without_a_relay_relayctl_talks_itself(node, backend):
    node.relayd.stop()
    answer = backend_test(node)
    assert answer["up"] and answer["by"] == "relayctl"
    assert backend_test(node, "--rcpt", "user0@acme.example")["steps"][4]["ok"]
    backend.stop()
    answer = backend_test(node, status=1)
    assert steps(answer) == [("connect", False)] and "refused" in answer["steps"][0]["reply"]


def test_health_is_shown_with_the_backends(node, backend):
    teach(node, users(1))
    shown = node.relayctl_json("backend", "show", "acme/1")[0]
    assert shown["health"] == "up" and shown["health_since_at"] and shown["health_reason"] is None
    go_down(node, backend)
    listed = node.relayctl_json("backend", "list", "--customer", "acme")[0]
    assert listed["health"] in ("down", "probing") and listed["health_reason"] == "no connection"
    assert listed["next_probe_at"]
    node.relayctl("backend", "hold", "acme/1", "--reason", "maintenance")
    assert node.relayctl_json("backend", "show", "acme/1")[0]["health"] == "held"


def test_an_operator_ends_refusing(world_of, backend):
    node = world_of(HealthNode(**dict(PATIENT, **{"probe-interval-min": "1s"})))
    register(node, backend)
    teach(node, users(3))
    go_down(node, backend)
    come_back_refusing(node, backend, users(3))
    assert node.relayctl("status", check=False).returncode == 1
    backend.script.clear()
    # By name, health is that of each address.
    node.postgres.sql("UPDATE postern.backends SET host = 'mail.acme.example', address = NULL")
    assert "--address ADDRESS" in node.relayctl("backend", "release", "acme/1").stderr
    assert node.relayctl("backend", "release", "acme/1", "--address", "none", check=False).returncode == 2
    said = node.relayctl("backend", "release", "acme/1", "--address", backend.address).stdout
    assert "recovering" in said, said
    node.postgres.sql("UPDATE postern.backends SET host = NULL, address = %s", backend.address)
    node.wait_until_replicated()
    said = node.relayctl("backend", "release", "acme/1").stdout
    assert "recovering" not in said, said
    assert state(node, backend) == "recovering"
    reply = node.send(rcpts="user1@acme.example")
    assert reply.code == 250 and "queued" not in reply.text, reply


# --- Who asks a dead backend.

def cost_of(world_of, count):
    """The connections that a backend sees that drops every one of them, before and after so many messages have come for it."""
    backend = world_of(Backend())
    node = world_of(HealthNode(build=None if QUICK else release_build(), **PATIENT))
    register(node, backend)
    backend.script["banner"] = DROP
    backend.drop_connections()
    wait_until(lambda: is_queued(node.send()), 15, "it is noticed")
    before, kept = backend.sessions, waiting(node)
    done = subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", str(count), "--size", "1000", "--connections",
                           "10", "--per-connection", "20"], capture_output=True, text=True, timeout=1800)
    assert json.loads(done.stdout)["accepted"] == count, done.stdout
    wait_until(lambda: waiting(node) == kept + count, 60, "all of them are kept")
    print(f"\n{count} messages for a dead backend: {backend.sessions - before} connections to it; {done.stdout.strip()}")
    return before, backend.sessions


def waiting(node):
    return json.loads(node.relayctl("status", "--json", check=False).stdout)["spool"]["messages"]


def test_P10_a_dead_customer_costs_the_same_whatever_comes_for_it(world_of):
    few, many = cost_of(world_of, 10), cost_of(world_of, 200 if QUICK else 100000)
    assert few[1] == few[0] and many[1] == many[0], "nobody asks before the probe is due"


def test_P10_an_overdue_probe_is_one_session_s(world_of, backend):
    node = world_of(HealthNode(**dict(PATIENT, **{"probe-interval-min": "4s", "probe-interval-max": "4s"})))
    register(node, backend)
    backend.script["banner"] = DROP
    backend.drop_connections()
    wait_until(lambda: is_queued(node.send()), 15, "it is noticed")
    node.spoolmgr.stop()
    wait_until(lambda: due(health(node, backend)), 15, "the probe is due")
    before = backend.sessions
    clients = [Client(node.port) for _ in range(12)]
    for c in clients:
        c.ehlo()
        c.cmd("MAIL FROM:<sender@origin.example>")
    for c in clients:
        c.write("RCPT TO:<user0@acme.example>\r\n")
    assert {str(c.reply()) for c in clients} == {"250 2.1.5 Recipient OK"}
    assert backend.sessions == before + 1
    for c in clients:
        c.close()


def due(h):
    return h["next_probe_at"] and datetime.fromisoformat(h["next_probe_at"].replace("Z", "+00:00")) <= datetime.now(timezone.utc)


def test_a_backend_that_says_nothing_holds_up_one_session_for_the_connect_timeout(node, backend):
    backend.script["banner"] = SILENT
    backend.drop_connections()
    wait_until(lambda: backend.connections_open == 0, 10, "no connection stands")
    began = time.monotonic()
    assert is_queued(node.send())
    assert 2 < time.monotonic() - began < 6, "backend-connect-timeout is 3 s here"
    assert health(node, backend)["reason"] == "no answer in time"
    began = time.monotonic()
    assert is_queued(node.send(rcpts="user1@acme.example"))
    assert time.monotonic() - began < 1, "the next one is answered from the table"


def test_a_long_timeout_is_no_reason_not_to_ask(world_of, backend):
    node = world_of(HealthNode(**{"backend-connect-timeout": "2m"}))
    register(node, backend)
    dead = Backend()
    node.relayctl("backend", "add", dead.endpoint, "--customer", "acme", "--priority", "1")
    node.relayctl("backend", "set", "acme/1", "--priority", "2")
    wait_until(lambda: state(node, dead) == "down" or not node.send(), 15, "the dead one is tried first", pause=0.2)
    teach(node, users(1))


def test_nothing_depends_on_the_keeper(node, backend):
    teach(node, users(1))
    go_down(node, backend)
    node.spoolmgr.kill_all()
    down_until = time.monotonic() + (3 if QUICK else 60)
    wait_until(lambda: time.monotonic() > down_until and is_queued(node.send()), 70, "it has been down for a while", pause=0.2)
    backend.start()
    began = time.monotonic()

    def live():
        reply = node.send(rcpts="user0@acme.example")
        assert reply.code == 250, reply
        return "queued" not in reply.text
    wait_until(live, 15, "live mail", pause=0.1)
    took = time.monotonic() - began
    print(f"\nlive mail again {took:.1f} s after the backend is back")
    assert took < 2 * 2 + 1, "two probe intervals, of 2 s at most here"
    assert state(node, backend) == "recovering"


# --- Transactions that break.

def test_three_messages_in_a_row_that_break_make_it_down(node, backend):
    node.spoolmgr.stop()
    backend.script["dot"] = DROP
    for n in range(3):
        assert state(node, backend) in ("unknown", "up"), n
        assert is_queued(node.send(mail_from="poison@origin.example")), "one message is one, however often it comes"
    for n in range(2):
        assert state(node, backend) == "up", n
        assert is_queued(node.send(mail_from=f"other{n}@origin.example"))
    assert state(node, backend) == "down"
    assert health(node, backend)["reason"] == "transactions of three messages in a row broke off"


def test_one_that_comes_to_its_end_between_them_is_enough(node, backend):
    node.spoolmgr.stop()
    backend.script["dot"] = lambda s, content: DROP if b"X-Test-Id: 1" in content else None
    for n in range(4):
        node.send(make_message(test_id=1), mail_from=f"poison{n}@origin.example")
        reply = node.send(make_message(test_id=2))
        assert reply.code == 250 and "queued" not in reply.text, "a poison message delays no other"
    assert state(node, backend) == "up"


# --- What survives.

def test_refusing_survives_a_reboot(node, backend):
    teach(node, users(3))
    node.spoolmgr.stop()
    go_down(node, backend)
    come_back_refusing(node, backend, users(3))
    node.relayd.stop()
    (node.dirs["run-dir"] / "shared").unlink()
    node.relayd.start()
    assert state(node, backend) == "refusing"
    before = asked(backend)
    assert is_queued(node.send(rcpts="user1@acme.example"))
    backend.script.clear()
    # Known recipients make the probes; nothing of the message itself goes there until it takes them.
    taken = len(backend.taken)
    wait_until(lambda: rcpt_reply(node, "user1@acme.example").code == 250 and state(node, backend) == "recovering", 30,
               "three good probes", pause=0.3)
    assert asked(backend) > before and len(backend.taken) == taken


def test_ETRN_probes_one_that_refuses(world_of, backend):
    node = world_of(HealthNode(**PATIENT))
    register(node, backend)
    teach(node, users(3))
    backend.stop()
    assert is_queued(node.send(rcpts="user0@acme.example"))
    backend.script["rcpt"] = lambda s, line: REFUSED
    backend.start()
    backend_test(node)
    for rcpt in users(3):
        assert rcpt_reply(node, rcpt).code in (250, 451)
    wait_until(lambda: state(node, backend) == "refusing", 10, "refusing")
    before = asked(backend)
    wait_until(lambda: keeper_is_current(node), 10, "the keeper has the replica")
    with Client(node.port, source=ADDRESS) as client:
        client.ehlo()
        assert client.cmd("ETRN acme.example").code == 250
    wait_until(lambda: asked(backend) > before, 15, "it is asked")
    assert state(node, backend) == "refusing" and node.spool()


def keeper_is_current(node):
    def version(lines):
        return lines[-1].split(" version=")[1].split()[0]
    return version(node.spoolmgr.log_lines("replica")) == version(node.relayd.log_lines("replica-written"))


# --- Recipients nobody knows, kept while it was down (when-down accept).

def test_what_was_kept_for_nobody_ends_as_refused_when_it_is_plainly_up(node, backend):
    teach(node, users(2))
    go_down(node, backend)
    for n in range(5):
        assert is_queued(node.send(rcpts=f"invented{n}@acme.example"))
    backend.script["rcpt"] = lambda s, line: REFUSED if "invented" in line else None
    backend.start()
    wait_until(lambda: state(node, backend) == "recovering", 15, "recovering")
    wait_until(lambda: len([x for x in node.spoolmgr.log_lines("deferred") if "550" in x]) >= 5, 15, "all have been refused, and stay")
    assert not node.spoolmgr.log_lines("refused") and state(node, backend) != "refusing", "unknown ones say nothing of it"
    for _ in range(20):
        node.send(rcpts="user1@acme.example")
    wait_until(lambda: state(node, backend) == "up", 15, "plainly up")
    wait_until(lambda: not node.spool(), 30, "they end as refused", pause=0.3)
    assert len(node.spoolmgr.log_lines("refused")) == 5


# --- TLS, as a test sees it.

class TlsServer(threading.Thread):
    """Greets, offers STARTTLS, shakes hands, answers 250 to everything: one connection after the other."""

    def __init__(self, certificate, key):
        super().__init__(daemon=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.socket = socket.create_server((ADDRESS, free_port()))
        self.endpoint = "%s:%d" % self.socket.getsockname()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            try:
                self.talk(connection)
            except (OSError, ValueError):
                pass

    def talk(self, connection):
        connection.settimeout(20)
        connection.sendall(b"220 tls.example ESMTP\r\n")
        secure = False
        while (line := self.line(connection)) != b"":
            if line == b"STARTTLS":
                connection.sendall(b"220 go on\r\n")
                connection, secure = self.context.wrap_socket(connection, server_side=True), True
            elif line.startswith(b"EHLO"):
                connection.sendall(b"250-tls.example\r\n250 8BITMIME\r\n" if secure else b"250-tls.example\r\n250 STARTTLS\r\n")
            else:
                connection.sendall(b"250 ok\r\n")

    @staticmethod
    def line(connection):
        line = b""
        while not line.endswith(b"\r\n"):
            octet = connection.recv(1)
            if not octet:
                return b""
            line += octet
        return line[:-2]

    def close(self):
        self.socket.close()


@pytest.fixture
def tls_server(world_of, tmp_path):
    made = make_certificate(tmp_path, "backend", ["tls.example"])
    return world_of(TlsServer(made.path, made.key))


TLS_STEPS = [(name, True) for name in ("connect", "greeting", "EHLO", "STARTTLS", "TLS", "EHLO", "MAIL", "RSET")]


def test_TLS_is_tested_as_the_backend_wants_it(world_of, tls_server):
    node = world_of(HealthNode(start=False))
    node.start_database()
    node.relayctl("customer", "add", "acme", "--contact", "ops@acme.example")
    node.relayctl("backend", "add", tls_server.endpoint, "--customer", "acme")
    answer = backend_test(node)
    assert steps(answer) == TLS_STEPS and answer["steps"][4]["reply"].startswith("TLSv1.")
    assert "8BITMIME" in answer["steps"][5]["reply"] and "STARTTLS" in answer["steps"][2]["reply"]
    node.relayctl("backend", "set", "acme/1", "--tls", "verify")
    answer = backend_test(node, status=1)
    assert steps(answer)[:4] == TLS_STEPS[:4] and steps(answer)[4:] == [("TLS", False)]
    assert "certificate" in answer["steps"][4]["reply"], answer
    node.relayctl("backend", "set", "acme/1", "--tls", "none")
    assert steps(backend_test(node)) == [TLS_STEPS[i] for i in (0, 1, 2, 6, 7)]


def test_TLS_that_must_be_and_is_not_offered(world_of, backend):
    node = world_of(HealthNode(start=False))
    node.start_database()
    node.relayctl("customer", "add", "acme", "--contact", "ops@acme.example")
    node.relayctl("backend", "add", backend.endpoint, "--customer", "acme", "--tls", "encrypt")
    answer = backend_test(node, status=1)
    assert not answer["up"] and answer["steps"][-1] == {"step": "TLS", "ms": 0, "ok": False, "reply": "needed, and not offered"}
