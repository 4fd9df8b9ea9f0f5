# SPDX-License-Identifier: BSD-2-Clause
"""Connections to backends: TLS policies, XFORWARD, source addresses, and whose the connections are."""
import json
import re
import ssl
import subprocess
import threading

import pytest

from harness import ADDRESS, DROP, LOADGEN, QUICK, Backend, Client, Node, below_our_received, make_message, program, wait_until
from postfix import Postfix
from tls import make_certificate, openssl
from world import make_folder, remove_folder

LONG = 60


class Authority:
    """A CA, and certificates of it."""

    def __init__(self, folder):
        self.folder = folder
        self.own = make_certificate(folder, "ca", ["ca.example"])

    def make(self, name, names, days=30):
        path, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        alternatives = ",".join(("IP:" if re.fullmatch(r"[\d.]+", n) else "DNS:") + n for n in names)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\n")
        for args in (["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={names[0]}",
                      "-keyout", key, "-out", request],
                     ["x509", "-req", "-in", request, "-CA", self.own.path, "-CAkey", self.own.key, "-days", days, "-extfile",
                      extensions, "-out", path]):
            done = openssl(*args)
            assert done.returncode == 0, done.stderr
        return path, key


def server_context(path, key, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture(scope="module")
def authority():
    folder = make_folder("postern-ca-")
    yield Authority(folder)
    remove_folder(folder)


@pytest.fixture
def trusting(world_of, authority):
    """A node that trusts the authority for its backends."""
    return world_of(Node({"backend-ca-file": str(authority.own.path)}))


def spooled(reply):
    return reply.code == 250 and "queued until" in reply.text


def delivered(reply):
    return reply.code == 250 and "queued" not in reply.text


def add(node, backend, *options):
    """The customer acme with one backend, whatever a probing recipient makes of it."""
    node.relayctl("customer", "add", "acme", "--contact", "ops@acme.example", "--max-connections-per-hour", "none")
    node.relayctl("backend", "add", backend.endpoint, "--customer", "acme", *options)
    node.relayctl("domain", "add", "acme.example", "--customer", "acme")
    wait_until(lambda: node.serves("acme.example"), 20, "relayd serves acme.example")


def last_event(node):
    return wait_until(lambda: node.events("message"), 10, "an event")[-1]


# --- TLS.

GOOD, OTHER, EXPIRED, SELF_SIGNED = "good", "other-name", "expired", "self-signed"


def context_of(authority, kind):
    if kind == SELF_SIGNED:
        made = make_certificate(authority.folder, "self", ["mail.acme.example"])
        return server_context(made.path, made.key)
    names = {"other-name": ["mail.other.example"]}.get(kind, ["mail.acme.example"])
    return server_context(*authority.make(kind, names, days=0 if kind == EXPIRED else 30))


# policy, certificate (None: no STARTTLS), what the message becomes, over TLS
POLICIES = [("none", GOOD, delivered, False), ("may", GOOD, delivered, True), ("may", SELF_SIGNED, delivered, True),
            ("may", None, delivered, False), ("encrypt", SELF_SIGNED, delivered, True), ("encrypt", None, spooled, False),
            ("verify", GOOD, delivered, True), ("verify", OTHER, spooled, False), ("verify", EXPIRED, spooled, False),
            ("verify", SELF_SIGNED, spooled, False), ("verify", None, spooled, False)]


@pytest.mark.parametrize("policy, kind, outcome, secure", POLICIES, ids=[f"{p[0]}-{p[1]}" for p in POLICIES])
def test_P1_each_tls_policy_live(trusting, world_of, authority, policy, kind, outcome, secure):
    backend = world_of(Backend(tls=kind and context_of(authority, kind)))
    add(trusting, backend, "--tls", policy, "--tls-name", "mail.acme.example")
    content = make_message()
    reply = trusting.send(content)
    assert outcome(reply), str(reply)
    if outcome is spooled:
        assert backend.taken == [] and not any(said.startswith("MAIL") for _, _, said in backend.transcript)
        assert "TLS needed" in trusting.relayctl("backend", "show", "acme/1").stdout
        return
    (message,) = backend.taken
    assert below_our_received(message.content) == content
    assert bool(backend.about[message.session]["tls"]) == secure
    assert last_event(trusting).get("backend_tls") == backend.about[message.session]["tls"]


def test_encrypt_is_kept_by_the_keeper_too(trusting, world_of, authority):
    """Spooled while there is no TLS; delivered over it when there is; never in the clear."""
    backend = world_of(Backend())
    add(trusting, backend, "--tls", "verify", "--tls-name", "mail.acme.example")
    assert spooled(trusting.send())
    backend.tls = context_of(authority, GOOD)
    wait_until(lambda: backend.taken, LONG, "delivered over TLS")
    version = backend.about[backend.taken[0].session]["tls"]
    assert version
    wait_until(lambda: f"backend_tls={version} attempt" in trusting.log_text(), 20, "the log tells it")


@pytest.mark.parametrize("breaks", ["drop-at-starttls", "not-tls"])
def test_P1_may_goes_on_in_the_clear_where_the_handshake_fails(trusting, world_of, authority, breaks):
    backend = world_of(Backend(tls=context_of(authority, GOOD)))
    if breaks == "drop-at-starttls":
        backend.script["star"] = DROP
    else:  # it says 220, and then garbage instead of a handshake
        async def no_tls(session, writer):
            writer.write(b"this is not TLS\r\n" * 10)
            await writer.drain()
        backend._go_secure = no_tls
    add(trusting, backend)
    for _ in range(4):
        assert delivered(trusting.send())
    assert len(backend.taken) == 4 and not any(backend.about[m.session]["tls"] for m in backend.taken)
    failed = [s for s, _, said in backend.transcript if said == "STARTTLS"]
    assert 1 <= len(failed) <= 2, "each worker tries once, then remembers"
    assert "backend-tls-fallback" in trusting.log_text() and "backend-down" not in trusting.log_text()


def test_P7_words_behind_the_consent_are_counted_and_not_believed(trusting, world_of, authority):
    backend = world_of(Backend(tls=context_of(authority, GOOD)))
    backend.script["star"] = "220 2.0.0 Go on\r\n250-backend.example\r\n250 XFORWARD NAME ADDR"
    add(trusting, backend, "--xforward", "yes")
    reply = trusting.send()
    assert reply.code == 250
    wait_until(lambda: "backend-injects" in trusting.log_text(), 10, "it is logged")
    assert not any(said.startswith("XFORWARD") for _, _, said in backend.transcript)


def test_sessions_are_resumed(trusting, world_of, authority):
    backend = world_of(Backend(tls=context_of(authority, GOOD)))
    add(trusting, backend, "--tls", "encrypt")
    for _ in range(6):
        assert delivered(trusting.send())
        backend.drop_connections()
        wait_until(lambda: backend.connections_open == 0, 10, "no connection is left")
    assert sum(bool(about["reused"]) for about in backend.about.values()) >= 2


@pytest.mark.skipif(bool(Postfix.missing()), reason=str(Postfix.missing()))
def test_a_real_postfix_gets_tls_and_xforward(trusting, world_of, authority):
    path, key = authority.make("postfix", ["mail.acme.example"])
    postfix = world_of(Postfix(maildir=True, settings={
        "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": path, "smtpd_tls_key_file": key, "smtpd_tls_loglevel": "1",
        "smtpd_authorized_xforward_hosts": "127.0.0.0/8", "smtpd_tls_received_header": "yes"}))
    client = "127.77.66.55"
    add(trusting, postfix, "--tls", "verify", "--tls-name", "mail.acme.example", "--xforward", "yes")
    assert delivered(trusting.send(source=client))
    wait_until(lambda: postfix.delivered_count() == 1, LONG, "Postfix has it")
    assert f"orig_client=unknown[{client}]" in postfix.log_text() or f"client=unknown[{client}]" in postfix.log_text()
    assert re.search(r"TLS connection established from", postfix.log_text())
    postfix.stop()
    assert spooled(trusting.send(source=client))
    before = len(postfix.log_text())
    postfix.start()
    wait_until(lambda: postfix.delivered_count() == 2, LONG, "the keeper has delivered")
    assert f"unknown[{client}]" in postfix.log_text()[before:]


# --- XFORWARD.

XFORWARD_EHLO = "250-backend.example\r\n250-PIPELINING\r\n250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n250 8BITMIME"


def test_xforward_goes_to_who_trusts_us_alone(node, world_of):
    trusting, other = world_of(Backend()), world_of(Backend())
    trusting.script["ehlo"] = other.script["ehlo"] = XFORWARD_EHLO
    node.add_customer("beta", "beta.example", other.endpoint)
    add(node, trusting, "--xforward", "yes")
    for rcpt in ("u@acme.example", "u@beta.example"):
        assert delivered(node.send(rcpts=rcpt, source="127.77.66.55"))
    said = " ".join(said for _, who, said in trusting.transcript if who == "C" and said.startswith("XFORWARD"))
    assert "NAME=[UNAVAILABLE] ADDR=127.77.66.55 PORT=" in said and "PROTO=ESMTP" in said
    assert re.search(r"HELO=origin\.example IDENT=P[0-9A-Z-]+ SOURCE=REMOTE", said)
    assert not any("XFORWARD" in said for _, who, said in other.transcript if who == "C")


def test_xforward_refused_harms_nothing(node, world_of):
    backend = world_of(Backend())
    backend.script.update(ehlo=XFORWARD_EHLO, xfor="550 5.7.0 not you")
    add(node, backend, "--xforward", "yes")
    for _ in range(3):
        assert delivered(node.send())


# --- Source addresses.

def test_the_source_address_is_the_backends_or_the_nodes(world_of):
    node = world_of(Node({"source-address": "127.9.9.1"}))
    backend, other = world_of(Backend()), world_of(Backend())
    add(node, backend, "--source-address", "127.9.9.2")
    node.add_customer("beta", "beta.example", other.endpoint)
    assert delivered(node.send()) and delivered(node.send(rcpts="u@beta.example"))
    assert {about["peer"][0] for about in backend.about.values()} == {"127.9.9.2"}
    assert {about["peer"][0] for about in other.about.values()} == {"127.9.9.1"}


def test_P1_a_source_address_of_the_other_family_is_alarmed_and_left_out(node, backend):
    add(node, backend, "--source-address", "2001:db8::1")
    assert delivered(node.send()) and delivered(node.send())
    wait_until(lambda: "source-address-unusable" in node.log_text(), 10, "the alarm")


# --- SIZE.

def test_a_lower_size_of_the_backend_is_answered_at_rcpt(node, backend):
    backend.script["ehlo"] = "250-backend.example\r\n250 SIZE 1000"
    add(node, backend)
    with Client(node.port) as client:
        client.ehlo()
        assert client.cmd("MAIL FROM:<a@origin.example> SIZE=2000").code == 250
        reply = client.cmd("RCPT TO:<u@acme.example>")
        assert (reply.code, reply.enhanced) == (550, "5.3.4")
        client.cmd("RSET")
        assert client.cmd("MAIL FROM:<a@origin.example> SIZE=500").code == 250
        assert client.cmd("RCPT TO:<u@acme.example>").code == 250


# --- Whose the connections are.

def in_parallel(count, work):
    failures = []

    def run(n):
        try:
            work(n)
        except BaseException as e:  # noqa: BLE001
            failures.append(e)
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert not failures, failures[:3]


def test_P9_the_limit_is_exact_over_four_workers_with_200_senders(world_of):
    node = world_of(Node({"workers": 4, "backend-connections": 5, "client-concurrency": 0, "backend-connect-timeout": "60s"}))
    backend = world_of(Backend())
    add(node, backend)
    replies = []
    in_parallel(200, lambda n: replies.append(node.send(make_message(test_id=n))))
    assert all(delivered(r) for r in replies), {str(r) for r in replies if not delivered(r)}
    assert len(backend.taken) == 200 and backend.connections_most <= 5, backend.connections_most


def test_one_worker_may_have_all_connections_and_gives_idle_ones_up(world_of):
    """Sessions that are each in the middle of a message, over few workers: all of the limit is used."""
    node = world_of(Node({"workers": 4, "backend-connections": 4, "client-concurrency": 0}))
    backend = world_of(Backend())
    add(node, backend)
    for n in range(30):  # whichever worker has idle ones gives them up to whoever comes
        assert delivered(node.send(make_message(test_id=n)))
    assert backend.connections_most <= 4
    assert len(backend.taken) == 30


class ImpatientBackend(Backend):
    """Says 421, every so often, to each connection that has had a message and has none under way."""

    def __init__(self, every_s):
        super().__init__()
        self.every_s, self.closed, self.idle = every_s, 0, set()

    async def _answer(self, phase, session, what, writer, on_code=None):
        if phase == "mail":
            self.idle.discard(writer)
        elif phase == "dot":
            self.idle.add(writer)
        return await super()._answer(phase, session, what, writer, on_code)

    def start(self):
        super().start()
        self._loop.call_soon_threadsafe(self.close_idle)
        return self

    def close_idle(self):
        for writer in self.idle & set(self._writers.values()):
            writer.write(b"421 4.4.2 idle too long\r\n")
            writer.close()
            self.closed += 1
        self.idle.clear()
        self._loop.call_later(self.every_s, self.close_idle)


def test_P1_idle_connections_closed_with_421_spool_nothing(node, world_of):
    """Some of them just when the next message begins on them."""
    count, rate, every_s = (200, 100, 0.05) if QUICK else (1000, 20, 5)
    backend = world_of(ImpatientBackend(every_s))
    add(node, backend)
    done = subprocess.run([program(LOADGEN), "--to", f"{ADDRESS}:{node.port}", "--messages", str(count), "--size", "1000",
                           "--connections", "4", "--rate", str(rate)], capture_output=True, text=True, timeout=300)
    assert json.loads(done.stdout)["accepted"] == count, done.stdout
    print(f"\n{backend.closed} connections were closed with 421 while {count} messages came")
    assert backend.closed >= 5
    ids = sorted(int(re.search(rb"X-Test-Id: (\d+)", message.content).group(1)) for message in backend.taken)
    assert ids == list(range(1, count + 1)) and node.spool() == []
    assert "backend-down" not in node.log_text()


def test_too_many_connections_lowers_ours_and_says_nothing_of_health(world_of):
    node = world_of(Node({"workers": 2, "client-concurrency": 0, "backend-connect-timeout": "30s"}))
    backend = world_of(Backend())
    backend.script["banner"] = lambda s, line: "421 4.7.0 too many connections" if backend.connections_open > 2 else None
    add(node, backend)
    replies = []
    in_parallel(40, lambda n: replies.append(node.send(make_message(test_id=n))))
    assert all(delivered(r) for r in replies), {str(r) for r in replies if not delivered(r)}
    assert "backend-down" not in node.log_text()
