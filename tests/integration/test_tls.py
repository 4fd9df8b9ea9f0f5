# SPDX-License-Identifier: BSD-2-Clause
"""TLS towards clients: which versions, whose certificate, whose session; what a reload changes; and that an attack on STARTTLS or on
the handshake gets nothing and costs nobody else anything."""
import json
import os
import re
import signal
import ssl
import subprocess
import time

import pytest

from harness import (ADDRESS, IS_ROOT, RELAYD, Backend, Client, Node, below_our_received, make_folder, make_message, our_received,
                     remove_folder, wait_until)
from tls import TlsClient, client_context, make_certificate, openssl
from world import unprivileged_user

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
OLD_VERSIONS = {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.1": ssl.TLSVersion.TLSv1_1}
CONTENT = make_message("over TLS", b"Dots:\r\n.\r\n..\r\n.x\r\nlong " + b"x" * 5000 + b"\r\n8bit \xe4\xff\r\n")


class Relay:
    """A node with certificates, and the customer acme."""

    def __init__(self, folder, settings=None, **certificates):
        self.certificates = list(certificates.values())
        self.backend = Backend().start()
        self.node = Node(settings=dict({"tls-certificate": [c.path for c in self.certificates],
                                        "tls-key": [c.key for c in self.certificates]}, **(settings or {})))
        self.node.add_customer("acme", "acme.example", self.backend.endpoint)
        self.folder = folder

    @property
    def port(self):
        return self.node.port

    def events(self, kind="connection"):
        return self.node.events(kind)

    def event_of(self, client_port, kind="connection"):
        """The connection event of the client that had this port."""
        def find():
            found = [e for e in self.events(kind) if e.get("port") == client_port]
            return found[-1] if found else None
        return wait_until(find, 10, f"the event of the connection from port {client_port}")

    def reload(self):
        """A reload that is taken: only new workers run when it returns, or old ones with sessions."""
        workers = set(self.node.relayd.workers())
        self.node.relayd.signal(signal.SIGHUP)
        wait_until(lambda: len(set(self.node.relayd.workers()) - workers) == self.node.settings["workers"], 20, "a reload")

    def close(self):
        self.node.close()
        self.backend.close()


def port_of(client):
    return client.socket.getsockname()[1]


def relay_user():
    return unprivileged_user("nobody") if IS_ROOT else None


@pytest.fixture(scope="module")
def folder():
    path = make_folder("postern-tls-")
    yield path
    remove_folder(path)


@pytest.fixture(scope="module")
def relay(folder):
    """Certificates of both kinds for relay.example; one of another name, and one with a wildcard."""
    made = Relay(folder, {"workers": 3},
                 ec=make_certificate(folder, "ec", owner=relay_user()),
                 rsa=make_certificate(folder, "rsa", kind="RSA", owner=relay_user()),
                 other=make_certificate(folder, "other", ["mail.acme.example"], owner=relay_user()),
                 wild=make_certificate(folder, "wild", ["*.isp.example"], kind="RSA", owner=relay_user()))
    yield made
    made.close()


# --- Versions and ciphers.

@pytest.mark.parametrize("version", VERSIONS)
def test_P7_a_message_over_tls_passes_byte_identical_and_its_trace_says_so(relay, version):
    with TlsClient(relay.port, client_context(VERSIONS[version])) as client:
        assert client.version == version
        cipher, port = client.cipher, port_of(client)
        assert "STARTTLS" not in client.ehlo().text, "STARTTLS is not offered twice"
        reply = client.send(CONTENT)
        assert reply.code == 250, reply
        client.cmd("QUIT")
    message = relay.backend.messages[-1]
    assert below_our_received(message.content) == CONTENT
    trace = re.sub(rb"\s+", b" ", our_received(message.content)).decode()
    assert " with ESMTPS id " in trace and f" ({version} {cipher})" in trace
    event = relay.event_of(port)
    assert (event["tls"], event["cipher"], event["tls_session"], event["end"]) == (version, cipher, "new", "quit")


def can_speak(version):
    """Whether this machine's own client can: a client that cannot would prove nothing."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = server.maximum_version = version
    server.set_ciphers("ALL:@SECLEVEL=0")
    folder = make_folder("postern-tls-")
    pair = make_certificate(folder, "own", kind="RSA")
    server.load_cert_chain(pair.path, pair.key)
    remove_folder(folder)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client_context(version, "ALL:@SECLEVEL=0").wrap_bio(to_client, to_server),
             server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return sides[0].version() is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_older_versions_are_refused(relay, version):
    assert can_speak(OLD_VERSIONS[version])
    with Client(relay.port) as client:
        client.ehlo()
        assert client.cmd("STARTTLS").code == 220
        port = port_of(client)
        with pytest.raises(ssl.SSLError, match="protocol version"):
            client_context(OLD_VERSIONS[version], "ALL:@SECLEVEL=0").wrap_socket(client.socket.dup())
    event = relay.event_of(port)
    assert event["end"] == "tls-failed" and "unsupported protocol" in event["tls_error"] and "tls" not in event


def s_client(relay, *args, input="QUIT\n"):
    """What openssl s_client says; until the relay closes, all of `input` goes to it."""
    done = openssl("s_client", "-starttls", "smtp", "-connect", f"{ADDRESS}:{relay.port}", "-ign_eof", "-crlf", *args, input=input)
    return done.stdout + done.stderr


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_finds_no_compression_and_a_safe_handshake(relay, version):
    said = s_client(relay, version, "-comp", "-CAfile", relay.certificates[0].path, "-verify_hostname", "relay.example",
                    "-servername", "relay.example")
    assert "Compression: NONE" in said and "Expansion: NONE" in said
    assert "Verify return code: 0 (ok)" in said and "Verified peername: relay.example" in said
    assert "221 2.0.0" in said
    if version == "-tls1_2":
        assert "Secure Renegotiation IS supported" in said


def test_a_renegotiation_is_refused(relay):
    """s_client begins one at a line R, and ends when it is refused; were it done, it would go on until it is killed."""
    child = subprocess.Popen(["openssl", "s_client", "-starttls", "smtp", "-connect", f"{ADDRESS}:{relay.port}", "-tls1_2"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        child.stdin.write("R\n")
        child.stdin.flush()
        child.wait(20)
    finally:
        child.kill()
        said = child.communicate()[0]
    assert "RENEGOTIATING" in said, "the client has not even tried"
    assert "no renegotiation" in said
    with TlsClient(relay.port) as client:
        assert client.cmd("NOOP").code == 250


@pytest.mark.parametrize("cipher", ["eNULL", "aNULL", "DHE-RSA-AES128-GCM-SHA256"])
def test_weak_ciphers_are_refused(relay, cipher):
    said = s_client(relay, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert "alert handshake failure" in said and "221 2.0.0" not in said


# --- STARTTLS injection.

INJECTED = ["NOOP\r\n", "EHLO injected.example\r\nMAIL FROM:<evil@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n",
            "RSET", "\r\n", "\0\xff\r\n"]


@pytest.mark.parametrize("injected", INJECTED, ids=["a-command", "a-dialogue", "half-a-command", "an-empty-line", "binary"])
def test_P7_what_comes_behind_starttls_in_plain_text_is_thrown_away(relay, injected):
    """RFC 3207 4.2: nothing that was said before the handshake counts behind it, and nothing of it is answered."""
    with TlsClient(relay.port, behind=injected) as client:
        port = port_of(client)
        assert client.cmd("MAIL FROM:<a@origin.example>").code == 503, "the EHLO of before is forgotten"
        assert "SIZE" in client.ehlo("me.example").text, "the first answer over TLS is not ours to have"
        assert client.cmd("RCPT TO:<user@acme.example>").code == 503
        assert client.send(CONTENT).code == 250
        client.cmd("QUIT")
    event = relay.event_of(port)
    assert "early-starttls" in event["notes"] and event["messages"] == 1 and event["helo"] == "me.example"


def test_P7_more_behind_starttls_than_is_read_at_once_ends_the_handshake(relay):
    """What is still in the kernel when STARTTLS is answered arrives where a handshake should."""
    with Client(relay.port) as client:
        client.ehlo()
        client.write("STARTTLS\r\n" + "MAIL FROM:<evil@origin.example>\r\n" * 1000)
        port = port_of(client)
        assert client.reply().code == 220
        with pytest.raises(OSError):
            client_context().wrap_socket(client.socket.dup())
    event = relay.event_of(port)
    assert event["end"] == "tls-failed" and event["notes"] == ["early-starttls"] and event["commands"] == 2


def test_an_honest_client_is_not_blamed_for_early_text(relay):
    with TlsClient(relay.port) as client:
        port = port_of(client)
        client.ehlo()
        client.cmd("QUIT")
    assert relay.event_of(port)["notes"] == []


def test_plain_text_in_place_of_a_handshake_ends_it(relay):
    with Client(relay.port) as client:
        client.ehlo()
        assert client.cmd("STARTTLS").code == 220
        port = port_of(client)
        client.write("EHLO plain.example\r\nMAIL FROM:<a@origin.example>\r\n")
        rest = client.file.read()
        assert b"250" not in rest and b"503" not in rest, "nothing is answered in plain text"
    event = relay.event_of(port)
    assert event["end"] == "tls-failed" and event["tls_error"]


# --- Whose certificate.

@pytest.mark.parametrize("cipher,kind", [("ECDHE-ECDSA-AES128-GCM-SHA256", 0), ("ECDHE-RSA-AES128-GCM-SHA256", 1)])
def test_a_client_gets_the_kind_of_certificate_that_its_ciphers_want(relay, cipher, kind):
    with TlsClient(relay.port, client_context(VERSIONS["TLSv1.2"], cipher)) as client:
        assert client.certificate == relay.certificates[kind].der and client.cipher == cipher


@pytest.mark.parametrize("algorithm,signature", [("ecdsa_secp256r1_sha256", "ECDSA"), ("rsa_pss_rsae_sha256", "RSA-PSS")])
def test_a_client_gets_the_kind_of_certificate_that_its_signatures_want(relay, algorithm, signature):
    said = s_client(relay, "-tls1_3", "-sigalgs", algorithm)
    assert f"Peer signature type: {signature}" in said and "221 2.0.0" in said


@pytest.mark.parametrize("name,index", [(None, 0), ("relay.example", 0), ("RELAY.Example", 0), ("mail.acme.example", 2),
                                        ("unknown.example", 0)])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for(relay, name, index, version):
    ecdsa = client_context(VERSIONS[version], "ECDHE-ECDSA-AES128-GCM-SHA256" if version == "TLSv1.2" else None)
    with TlsClient(relay.port, ecdsa, name) as client:
        assert client.certificate == relay.certificates[index].der


def test_a_wildcard_is_for_one_label(relay):
    rsa = client_context(VERSIONS["TLSv1.2"], "ECDHE-RSA-AES128-GCM-SHA256")
    for name, index in (("mx7.isp.example", 3), ("a.b.isp.example", 1), ("isp.example", 1)):
        with TlsClient(relay.port, rsa, name) as client:
            assert client.certificate == relay.certificates[index].der, name


# --- Sessions.

def first_session(relay, context, name=None):
    with TlsClient(relay.port, context, name) as client:
        client.ehlo()  # over TLS 1.3 the ticket comes behind the handshake
        assert client.socket.session.has_ticket and not client.socket.session_reused
        session = client.socket.session
        client.cmd("QUIT")
    return session


def resume(relay, context, session, name=None):
    with TlsClient(relay.port, context, name, session) as client:
        client.ehlo()
        port = port_of(client)
        client.cmd("QUIT")
        return client.socket.session_reused, client.socket.session, port


@pytest.mark.parametrize("name", [None, "mail.acme.example"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_goes_on_at_whichever_worker(relay, version, name):
    """Sixteen connections to three workers: that all meet the one which made the ticket happens once in 3**16 runs."""
    context = client_context(VERSIONS[version])
    session = first_session(relay, context, name)
    for _ in range(16):
        reused, fresh, port = resume(relay, context, session, name)
        assert reused
        if version == "TLSv1.3":
            session = fresh
    assert relay.event_of(port)["tls_session"] == "resumed"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_goes_on_across_a_reload_and_when_workers_die(relay, version):
    context = client_context(VERSIONS[version])
    session = first_session(relay, context)
    old = relay.node.relayd.workers()
    relay.reload()
    assert resume(relay, context, session)[0]
    session = first_session(relay, context)
    # One that is killed while it looks for leaks at its end leaves half a report.
    wait_until(lambda: not set(old) & set(relay.node.relayd.workers()), 20, "the workers of before have ended")
    workers = relay.node.relayd.workers()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(relay.node.relayd.workers()) - set(workers)) >= 3, 20, "new workers")
    # A worker's first connections may come before its keys: then it begins a new session.
    wait_until(lambda: resume(relay, context, session)[0], 10, "a session is resumed")


def test_a_ticket_of_another_relay_is_no_ticket(relay, folder, world_of):
    context = client_context(VERSIONS["TLSv1.2"])
    session = first_session(relay, context)
    relay.node.stop()  # the keys end with the parent
    relay.node.start()
    reused, _, port = resume(relay, context, session)
    told = wait_until(lambda: [e for e in relay.events("connection") if e.get("port") == port and "tls_session" in e], 10, "its event")
    assert not reused and told[-1]["tls_session"] == "new"  # the port may have been another's before


# --- P8: a handshake that stalls.

def stalled(port, start=b""):
    client = Client(port)
    client.ehlo()
    assert client.cmd("STARTTLS").code == 220
    client.write(start)
    return client


def test_P8_handshakes_that_stall_end_by_their_deadline_and_cost_nobody_else_anything(folder, world_of):
    """The deadline is a minute, and ten seconds when most of max-connections are taken."""
    relay = world_of(Relay(folder, {"max-connections": 45, "workers": 2}, ec=make_certificate(folder, "stall", owner=relay_user())))
    idle = [Client(relay.port) for _ in range(37)]
    wait_until(lambda: len(relay.node.relayd.log_lines("pressure")) == 2, 10, "both workers are under pressure")
    # Nothing; a part of a record's head; a record that never ends.
    began = time.monotonic()
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    stalls = [stalled(relay.port, start) for start in (b"", b"\x16", hello, hello + bytes(200))]
    ports = [port_of(s) for s in stalls]
    for _ in range(5):
        before = time.monotonic()
        with TlsClient(relay.port) as client:
            client.ehlo()
            assert client.send(CONTENT).code == 250
        assert time.monotonic() - before < 5
    for s in stalls:
        s.socket.settimeout(30)
        assert s.file.read() == b""
        s.close()
    assert 9 < time.monotonic() - began < 30
    for port in ports:
        event = relay.event_of(port)
        assert event["end"] == "tls-failed" and event["phases_ms"]["tls"] >= 9000
    for client in idle:
        client.close()


def test_P8_a_client_that_goes_amid_the_handshake_leaves_nothing(relay):
    for start in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)):
        client = stalled(relay.port, start)
        port = port_of(client)
        client.close()
        assert relay.event_of(port)["end"] in ("tls-failed", "closed", "lost")


# --- Reload.

def shown(relay):
    with TlsClient(relay.port) as client:
        return client.certificate


@pytest.fixture
def changing(folder, world_of):
    return world_of(Relay(folder, ec=make_certificate(folder, "changing", owner=relay_user())))


def test_a_reload_shows_the_new_certificate_and_old_sessions_go_on(changing, folder):
    old = changing.certificates[0].der
    with TlsClient(changing.port) as client:
        make_certificate(folder, "changing", owner=relay_user())
        new = changing.certificates[0].der
        assert old != new and shown(changing) == old, "nothing changes before the reload"
        assert client.ehlo().code == 250 and client.cmd("MAIL FROM:<sender@origin.example>").code == 250
        changing.reload()
        wait_until(lambda: shown(changing) == new, 10, "the new one is shown")
        assert client.cmd("RCPT TO:<user@acme.example>").code == 250 and client.cmd("DATA").code == 354
        assert client.content(CONTENT).code == 250, "a message that has begun comes to its end"
    wait_until(lambda: [shown(changing) for _ in range(6)] == [new] * 6, 10, "the old workers listen no more")


def damage(how, pair, folder):
    if how == "rubbish":
        pair.path.write_text("this is no certificate\n")
    elif how == "missing":
        pair.path.unlink()
    elif how == "key of another":
        other = make_certificate(folder, "another", owner=relay_user())
        other.key.rename(pair.key)
    elif how == "unreadable key":
        os.chown(pair.key, 0, 0)


@pytest.mark.parametrize("how,words", [
    ("rubbish", "holds no certificate in PEM form"),
    ("missing", "cannot be read: No such file or directory"),
    ("key of another", "does not fit the certificate"),
    pytest.param("unreadable key", "cannot be read: Permission denied; let the user that relayd runs as read it",
                 marks=pytest.mark.skipif(not IS_ROOT, reason="needs root"))])
def test_a_reload_with_a_bad_certificate_changes_nothing_and_says_why(changing, folder, how, words):
    old, workers = changing.certificates[0].der, sorted(changing.node.relayd.workers())
    damage(how, changing.certificates[0], folder)
    changing.node.relayd.signal(signal.SIGHUP)
    line = wait_until(lambda: changing.node.relayd.log_lines("reload-refused"), 10, "it says that the reload is refused")[-1]
    assert " alarm " in line and words in line and "nothing has changed" in line
    assert str(folder / "changing") in line
    assert shown(changing) == old and sorted(changing.node.relayd.workers()) == workers
    make_certificate(folder, "changing", owner=relay_user())
    changing.reload()
    wait_until(lambda: shown(changing) == changing.certificates[0].der, 10, "the good one is shown")


def test_certificates_may_come_and_go_with_a_reload(changing):
    settings = {name: changing.node.settings[name] for name in ("tls-certificate", "tls-key")}
    changing.node.write_config(tls_certificate=None, tls_key=None)
    changing.reload()

    def offers():
        with Client(changing.port) as client:
            return "STARTTLS" in client.ehlo().text

    wait_until(lambda: not any(offers() for _ in range(6)), 10, "STARTTLS is no longer offered")
    with Client(changing.port) as client:
        client.ehlo()
        assert client.cmd("STARTTLS").code == 502
    changing.node.write_config(**settings)
    changing.reload()
    wait_until(lambda: all(offers() for _ in range(6)), 10, "STARTTLS is offered again")
    wait_until(lambda: shown(changing) == changing.certificates[0].der, 10, "and done")


def test_no_start_with_a_bad_certificate(folder, world_of):
    pair = make_certificate(folder, "bad", owner=relay_user())
    node = world_of(Node({"tls-certificate": [pair.path], "tls-key": [pair.key]}, start=False))
    pair.key.unlink()
    for args in ((), ("-t",)):
        done = node.run(RELAYD, *args, timeout=20)
        assert done.returncode == 1 and f"tls-key {pair.key}: cannot be read" in done.stderr, done.stderr


# --- Warnings.

WARNINGS = {
    "near its end": (dict(days=10), "ends in"),
    "ended": (dict(days=0), "has ended"),
    "of another name": (dict(names=["other.example"]), "none is for the host name relay.example"),
    "open key": (dict(mode=0o644), "every user of this host can read it"),
    "root's key": (dict(owner=None), "cannot read it"),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_warnings_are_in_the_test_the_log_and_the_status(folder, world_of, case):
    wish, words = WARNINGS[case]
    if case == "root's key" and not IS_ROOT:
        pytest.skip("needs root")
    pair = make_certificate(folder, "warned", **dict({"owner": relay_user()}, **wish))
    node = world_of(Node({"tls-certificate": [pair.path], "tls-key": [pair.key]}, start=False))
    tested = node.run(RELAYD, "-t", timeout=20)
    assert tested.returncode == 0 and "warning: tls-" in tested.stdout and words in tested.stdout, tested.stdout + tested.stderr
    node.start_database()
    node.relayd.start()
    line = wait_until(lambda: node.relayd.log_lines("certificate-warning"), 10, "a warning in the log")[0]
    assert words in line
    done = node.relayctl("status", "--json", check=False)
    tls = json.loads(done.stdout)["tls"]
    assert [c["file"] for c in tls["certificates"]] == [str(pair.path)] and tls["certificates"][0]["kind"] == "EC"
    assert tls["certificates"][0]["names"] == wish.get("names", ["relay.example"])
    if case == "root's key":  # relayctl reads the certificate alone, and here it is root itself
        assert tls["state"] == "ok" and tls["warnings"] == []
    else:
        assert done.returncode == 1 and tls["needs_operator"] and tls["state"] == "warning"
        assert words in "\n".join(tls["warnings"]) and words in " ".join(node.relayctl("status", check=False).stdout.split())


def test_a_good_certificate_is_no_trouble(relay):
    tested = relay.node.run(RELAYD, "-t", timeout=20)
    assert tested.returncode == 0 and "tls-" not in tested.stdout, tested.stdout
    assert relay.node.relayd.log_lines("certificate-warning") == []
    tls = json.loads(relay.node.relayctl("status", "--json", check=False).stdout)["tls"]
    assert tls["state"] == "ok" and not tls["needs_operator"] and len(tls["certificates"]) == 4
    assert tls["certificates"][3]["names"] == ["*.isp.example"] and tls["certificates"][3]["kind"] == "RSA"


def test_status_tells_what_it_cannot_read(folder, world_of):
    pair = make_certificate(folder, "gone", owner=relay_user())
    node = world_of(Node({"tls-certificate": [pair.path], "tls-key": [pair.key]}, start=False))
    pair.path.write_text("rubbish\n")
    tls = json.loads(node.relayctl("status", "--json", check=False).stdout)["tls"]
    assert tls["state"] == "unusable" and tls["needs_operator"] and "holds no certificate" in tls["warnings"][0]


def test_without_a_certificate_nothing_is_offered_and_the_test_says_so(world_of):
    node = world_of(Node(start=False))
    assert "STARTTLS is not offered" in node.run(RELAYD, "-t", timeout=20).stdout
    tls = json.loads(node.relayctl("status", "--json", check=False).stdout)["tls"]
    assert tls["state"] == "off" and not tls["needs_operator"] and tls["certificates"] == []


# --- A message that must wait.

def test_P7_a_message_over_tls_that_was_spooled_is_delivered_byte_identical(relay):
    relay.backend.stop()
    with TlsClient(relay.port) as client:
        client.ehlo()
        reply = client.send(CONTENT)
        cipher = client.cipher
        assert reply.code == 250 and "queued" in reply.text, reply
        client.cmd("QUIT")
    before = len(relay.backend.messages)
    relay.backend.start()
    wait_until(lambda: len(relay.backend.messages) > before, 60, "it is delivered")
    content = relay.backend.messages[-1].content
    assert below_our_received(content) == CONTENT
    assert f"(TLSv1.3 {cipher})" in re.sub(r"\s+", " ", our_received(content).decode())
