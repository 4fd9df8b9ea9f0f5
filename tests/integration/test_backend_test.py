# SPDX-License-Identifier: BSD-2-Clause
"""`relayctl backend test`: the right verdict on prepared servers, good and bad, a real Postfix and a real Exim among them; and that it
delivers nothing unless it is told to."""
import json
import re
import socket
import ssl
import threading
import time

import pytest

from exim import Exim, EximServer
from harness import ADDRESS, DROP, SILENT, Backend, Delay, Node, Postfix, Raw, free_port
from postfix import PostfixServer
from tls import make_certificate

DOMAIN, KNOWN, SINK, PROBE = "acme.example", "info@acme.example", "sink@isp.example", "nobody@spf-probe.example"
NO_USER, NO_RELAY = "550 5.1.1 no such user", "554 5.7.1 relay access denied"
ANSWER_SECONDS = 3

GOOD = {"connect": "connects", "greeting": "greets", "protocol": "sound", "ehlo": "esmtp", "size": "enough", "pipelining": "offered",
        "8bitmime": "offered", "smtputf8": "missing", "dsn": "missing", "tls": "not-offered", "sender": "taken", "null-sender": "taken",
        "known-recipient": "taken", "unknown-recipient": "refused", "postmaster": "taken", "latency": "fast", "refusal-latency": "fast", "spf": "not-checked",
        "relay": "closed", "parallel": "taken", "recipients": "fifty", "reuse": "works"}


# --- Servers.

def only_own(session, line):
    """A good server's answer to RCPT."""
    path = line.partition("<")[2].rpartition(">")[0]
    if path in (KNOWN, f"postmaster@{DOMAIN}"):
        return None
    return NO_USER if path.rpartition("@")[2] == DOMAIN and not set('%!"') & set(path) else NO_RELAY


class Server(Backend):
    """A good one, but for what `script` says and `lacks` of its EHLO."""

    def __init__(self, tls=None, ehlo=None, **script):
        super().__init__(tls=tls)
        self.script.update({"rcpt": only_own, **script})
        if ehlo:
            self.script["ehlo"] = ehlo


class OneAtATime:
    """Takes the next connection when the last one has ended."""

    def __init__(self, good):
        self.good, self.port = good, free_port()
        self.endpoint = f"{ADDRESS}:{self.port}"

    def start(self):
        self.good.start()
        self.listener = socket.create_server((ADDRESS, self.port), backlog=50)
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self):
        try:
            while True:
                client, _ = self.listener.accept()
                with client, socket.create_connection((ADDRESS, self.good.port)) as server:
                    back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
                    back.start()
                    self.copy(client, server)
                    back.join()
        except OSError:
            pass

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()
        self.good.stop()


class Mute:
    """Listens, and nobody is behind."""

    def __init__(self):
        self.port = free_port()
        self.endpoint = f"{ADDRESS}:{self.port}"

    def start(self):
        self.listener = socket.create_server((ADDRESS, self.port), backlog=50)
        return self

    def close(self):
        self.listener.close()


class Nowhere(Mute):
    def start(self):
        return self

    def close(self):
        pass


def checks_spf(answer):
    """Of senders who let nobody send, once the recipient is known, as milters and policy servers do."""
    def mail(session, line):
        return answer if "spf-probe" in line or f"@{DOMAIN}" in line else None
    return mail


def sizes(ehlo, size):
    return ehlo.replace("SIZE 104857600", size)


EHLO = Backend.GOOD["ehlo"]


def server_context(folder, name, **options):
    made = make_certificate(folder, name, **options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.path, made.key)
    return context, made


def fifty_first(limit):
    """Takes so many recipients a message."""
    count = {}

    def rcpt(session, line):
        count[session] = count.get(session, 0) + (KNOWN in line)
        return "452 4.5.3 too many recipients" if count[session] > limit else only_own(session, line)
    return rcpt


# name: (server, options of the backend, what differs from GOOD, exit status)
TWIST = {
    "good": (lambda: Server(), (), {}, 0),
    "refuses-connections": (Nowhere, (), {"connect": "no-connection"}, 1),
    "silent": (Mute, (), {"greeting": "silent"}, 1),
    "421-at-once": (lambda: Server(banner="421 4.7.0 too many connections from you"), (), {"greeting": "turns-away"}, 1),
    "554-at-once": (lambda: Server(banner="554 5.7.1 you are on a list"), (), {"greeting": "turns-away"}, 1),
    "hangs-up-at-once": (lambda: Server(banner=DROP), (), {"greeting": "hangs-up"}, 1),
    "ourselves": (lambda: Server(banner="220 relay.example ESMTP"), (), {"greeting": "is-us"}, 1),
    "no-mail-server": (lambda: Server(banner=Raw(b"HTTP/1.0 400 Bad Request\r\n\r\n", 220)), (), {"protocol": "no-smtp"}, 1),
    "closes-after-ehlo": (lambda: Server(mail=DROP), (), {"protocol": "hangs-up-later", "parallel": "taken"}, 1),
    "helo-only": (lambda: Server(ehlo="502 5.5.1 no"), (), {"ehlo": "helo-only"}, 0),
    "no-helo": (lambda: Server(ehlo="550 5.7.1 not you", helo="550 5.7.1 not you"), (), {"ehlo": "refused"}, 1),
    "mixed-codes": (lambda: Server(mail="250-2.1.0 well\r\n251 2.1.0 Ok"), (), {"protocol": "odd"}, 0),
    "bare-lf": (lambda: Server(rset=Raw(b"250 2.0.0 Ok\n")), (), {"protocol": "odd"}, 0),
    "size-too-small": (lambda: Server(ehlo=sizes(EHLO, "SIZE 10240000")), (), {"size": "small"}, 1),
    "size-unsaid": (lambda: Server(ehlo=EHLO.replace("250-SIZE 104857600\r\n", "")), (), {"size": "unsaid"}, 0),
    "size-any": (lambda: Server(ehlo=sizes(EHLO, "SIZE 0")), (), {}, 0),
    "bare-esmtp": (lambda: Server(ehlo="250 backend.example"), (), {"size": "unsaid", "pipelining": "missing", "8bitmime": "missing"}, 0),
    "null-sender-refused": (lambda: Server(mail=lambda s, line: "550 5.7.1 no bounces" if "<>" in line else None), (),
                            {"null-sender": "refused"}, 1),
    "sender-refused": (lambda: Server(mail=lambda s, line: None if "<>" in line else "550 5.1.8 not from there"), (),
                       {"sender": "refused", "known-recipient": "unanswered", "unknown-recipient": "not-asked", "spf": "own-domain", "relay": "not-asked"}, 1),
    "postmaster-refused": (lambda: Server(rcpt=lambda s, line: NO_USER if "postmaster" in line else only_own(s, line)), (),
                           {"postmaster": "refused"}, 0),
    "known-refused": (lambda: Server(rcpt=lambda s, line: NO_USER if KNOWN in line else only_own(s, line)), (), {"known-recipient": "refused"}, 1),
    "greylisting": (lambda: Server(rcpt=lambda s, line: "451 4.7.1 Greylisted, come back in 5 minutes" if KNOWN in line else only_own(s, line)), (),
                    {"known-recipient": "greylisted"}, 1),
    "defers": (lambda: Server(rcpt=lambda s, line: "452 4.2.2 mailbox full" if KNOWN in line else only_own(s, line)), (),
               {"known-recipient": "deferred"}, 1),
    "accepts-all": (lambda: Server(rcpt=lambda s, line: "250 2.1.5 Ok" if f"@{DOMAIN}>" in line else only_own(s, line)), (),
                    {"unknown-recipient": "taken", "relay": "unsure"}, 1),
    "defers-unknown": (lambda: Server(rcpt=lambda s, line: "450 4.1.1 directory is away" if only_own(s, line) == NO_USER else only_own(s, line)), (),
                       {"unknown-recipient": "deferred"}, 0),
    "slow": (lambda: Server(mail=lambda s, line: Delay(1.6) if f"@{DOMAIN}" in line else None), (), {"latency": "slow"}, 0),
    "slow-refusals": (lambda: Server(rcpt=lambda s, line: Delay(2.1, NO_USER) if only_own(s, line) == NO_USER else only_own(s, line)), (),
                      {"refusal-latency": "slow"}, 0),
    "never-answers-rcpt": (lambda: Server(rcpt=SILENT), (), {"protocol": "hangs-up-later", "known-recipient": "unanswered"}, 1),
    "open-relay": (lambda: Server(rcpt=lambda s, line: "250 2.1.5 Ok" if "invalid>" in line else only_own(s, line)), (), {"relay": "open"}, 1),
    "percent-relay": (lambda: Server(rcpt=lambda s, line: "250 2.1.5 Ok" if "%" in line and DOMAIN in line else only_own(s, line)), (),
                      {"relay": "open-form"}, 1),
    "null-sender-relay": (lambda: NullSenderRelay(), (), {"relay": "open"}, 1),
    "no-such-domain": (lambda: Server(rcpt=lambda s, line: "550 5.1.2 Domain not found" if only_own(s, line) == NO_RELAY else only_own(s, line)), (),
                       {"relay": "unsure"}, 0),
    "spf-code": (lambda: Server(mail=checks_spf("550 5.7.23 rejected")), (), {"spf": "checked"}, 1),
    "spf-text": (lambda: Server(mail=checks_spf("550 please see http://www.openspf.net/Why")), (), {"spf": "checked"}, 1),
    "own-domain-refused": (lambda: Server(mail=checks_spf("553 5.7.1 not logged in")), (), {"spf": "own-domain"}, 0),
    "ten-recipients": (lambda: Server(rcpt=fifty_first(12)), (), {"recipients": "fewer"}, 0),
    "one-message-a-connection": (lambda: OneMessage(), (), {"reuse": "fails"}, 0),
    "one-by-the-setting": (lambda: OneAtATime(Server()), ("--max-connections", "1"), {"parallel": "not-tried"}, 0),
    "one-connection": (lambda: OneAtATime(Server()), (), {"parallel": "one"}, 0),
    "tls-not-offered": (lambda: Server(), ("--tls", "encrypt"), {"tls": "needed"}, 1),
}


class NullSenderRelay(Server):
    """Passes on whatever comes from the null sender."""

    def __init__(self):
        super().__init__(mail=self.mail, rcpt=self.rcpt)
        self.null = {}

    def mail(self, session, line):
        self.null[session] = "<>" in line

    def rcpt(self, session, line):
        return None if self.null[session] and "invalid" in line else only_own(session, line)


class OneMessage(Server):
    """After RSET it wants to be called anew, unless it has refused something (it forgives that)."""

    def __init__(self):
        super().__init__(mail=self.mail)
        self.mails = {}

    def mail(self, session, line):
        self.mails[session] = self.mails.get(session, 0) + 1
        return "550 5.5.1 one message a connection" if self.mails[session] == 3 else None


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A node whose daemons do not run, and each server of TWIST with a customer of its own; all were tested in one run."""
    folder = tmp_path_factory.mktemp("certificates")
    with Node(settings={"backend-command-timeout": f"{ANSWER_SECONDS}s", "backend-connect-timeout": "2s",
                        "backend-ca-file": str(folder / "ca.pem")}, start=False) as node:
        make_certificate(folder, "ca", names=["nobody.example"])
        folder.chmod(0o755)
        for parent in list(folder.parents)[:2]:
            parent.chmod(0o755)
        node.start_database()
        node.certificates, node.servers, node.count = folder, [], 0
        yield node
        for server in node.servers:
            server.close() if hasattr(server, "close") else server.stop()


def serve(node, server, *options, domain=None):
    """Registers a server with a customer of its own, by the name that is returned."""
    server.start()
    node.servers.append(server)
    node.count += 1
    name = f"c{node.count}"
    node.relayctl("customer", "add", name, "--contact", "ops@isp.example")
    node.relayctl("backend", "add", server.endpoint, "--customer", name, *options)
    if domain:
        node.relayctl("domain", "add", domain, "--customer", name)
    return name


def move_domain(node, name):
    """The one domain of these tests is of the customer that is being tested."""
    node.postgres.sql(f"""DELETE FROM postern.domains WHERE name = '{DOMAIN}';
        INSERT INTO postern.domains (name, customer_id) SELECT '{DOMAIN}', id FROM postern.customers WHERE name = '{name}'""")


def run(node, name, *options, status=0):
    done = node.relayctl("backend", "test", f"{name}/1", *options, "--json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def found(answer):
    return {f["check"]: f["finding"] for f in answer["findings"]}


@pytest.mark.parametrize("case", TWIST)
def test_a_prepared_server_is_judged_rightly(site, case):
    make, options, differs, status = TWIST[case]
    name = serve(site, server := make(), *options)
    move_domain(site, name)
    began = time.monotonic()
    answer = run(site, name, "--rcpt", KNOWN, status=status)
    took = time.monotonic() - began
    seen = found(answer)
    wrong = {check: seen.get(check) for check, word in differs.items() if seen.get(check) != word}
    assert not wrong, f"{wrong}: {json.dumps(answer, indent=1)}"
    if status == 0:  # and nothing else that is not as with the good one
        others = {check: word for check, word in seen.items() if check not in differs and GOOD.get(check) != word}
        assert not others, others
    if case in ("good", "refuses-connections"):
        assert took < 3, "a test that is quick"
        assert set(seen) == (set(GOOD) if case == "good" else {"connect"})
    for finding in answer["findings"]:
        assert finding["text"] and (finding["verdict"] == "pass" or finding["remedy"]), finding
    if isinstance(server, Backend):
        assert not server.messages and "DATA" not in {line for _, who, line in server.transcript if who == "C"}, "delivered something"
        assert server.connections_most <= 3


# --- TLS, by the backend's policy.

@pytest.mark.parametrize("policy, made, tls, certificate, status", [
    ("may", {"names": ["mail.acme.example"]}, "works", "untrusted", 0),
    ("encrypt", {"names": ["mail.acme.example"], "days": 0}, "works", "expired", 0),
    ("may", {"names": ["mail.acme.example"], "days": 5}, "works", "ends-soon", 0),
    ("verify", {"names": ["mail.acme.example"]}, "works", "good", 0),
    ("verify", {"names": ["other.example"]}, "works", "refused", 1),
    ("verify", {"names": ["mail.acme.example"], "days": 0}, "works", "refused", 1),
    ("none", {"names": ["mail.acme.example"]}, "unused", None, 0)])
def test_a_certificate_is_judged_by_the_policy(site, policy, made, tls, certificate, status):
    context, cert = server_context(site.certificates, f"server{site.count}", **made)
    (site.certificates / "ca.pem").write_text(cert.path.read_text())  # who signed it is trusted
    if policy == "may" and "days" not in made:
        make_certificate(site.certificates, "ca", names=["nobody.example"])
    name = serve(site, server := Server(tls=context), "--tls", policy, "--tls-name", "mail.acme.example")
    move_domain(site, name)
    answer = run(site, name, "--rcpt", KNOWN, status=status)
    seen = found(answer)
    assert (seen["tls"], seen.get("certificate")) == (tls, certificate), answer
    assert seen["known-recipient"] == "taken", "one fault does not hide the rest"
    assert not server.messages


def test_TLS_that_breaks(site):
    broken = {"star": "454 4.7.0 TLS not available"}
    context, _ = server_context(site.certificates, "broken", names=["mail.acme.example"])
    for policy, made, word, status in (("may", broken, "broken", 0), ("encrypt", broken, "fails", 1),
                                       ("may", {"star": Raw(b"220 go on\r\nnonsense\r\n", 250)}, "broken", 0)):
        name = serve(site, Server(tls=context, **made), "--tls", policy)
        move_domain(site, name)
        assert found(run(site, name, "--rcpt", KNOWN, status=status))["tls"] == word
    name = serve(site, server := Server(tls=context, star=broken["star"]), "--tls", "verify")
    move_domain(site, name)
    assert found(run(site, name, "--rcpt", KNOWN, "--content", status=1))["tls"] == "fails" and not server.messages


# --- Real ones.

def accepted(answer, but=()):
    return {f["check"]: f for f in answer["findings"] if f["verdict"] not in ("pass",) and f["check"] not in but}


def test_a_real_postfix(site):
    if reason := Postfix.missing():
        pytest.skip(reason)
    server = PostfixServer([DOMAIN], ["info", "postmaster"], {"rcpt-postern-test": "550 5.7.23 SPF says no"})
    name = serve(site, server)
    move_domain(site, name)
    assert found(run(site, name, "--rcpt", KNOWN, status=1))["relay"] == "open", "it trusts 127.0.0.0/8"
    server.stop()
    with (server.config / "main.cf").open("a") as main:
        main.write("mynetworks = 192.0.2.1/32\nsmtpd_relay_restrictions = reject_unauth_destination\n")
    server.start()
    began = time.monotonic()
    answer = run(site, name, "--rcpt", KNOWN, status=1)
    assert time.monotonic() - began < 6, "in a build with sanitizers"
    seen = found(answer)
    assert (seen["size"], seen["spf"]) == ("small", "checked"), answer
    assert set(accepted(answer)) == {"size", "spf", "tls"}, accepted(answer)
    assert seen["relay"] == "closed" and seen["recipients"] == "fifty" and not server.delivered()


def test_a_real_exim(site):
    if reason := Exim.missing():
        pytest.skip(reason)
    server = EximServer(["info"], {})
    name = serve(site, server)
    move_domain(site, name)
    answer = run(site, name, "--rcpt", KNOWN, status=1)
    seen = found(answer)
    assert (seen["size"], seen["postmaster"], seen["known-recipient"], seen["unknown-recipient"]) == ("small", "refused", "taken", "refused")
    assert set(accepted(answer)) <= {"size", "postmaster", "tls", "relay"}, accepted(answer)
    assert not server.delivered()


# --- What delivers, and only then.

def test_content_is_sent_to_the_mailbox_that_was_named(site):
    def scan(session, content):
        return "554 5.7.1 virus" if b"EICAR" in content else None
    name = serve(site, server := Server(dot=scan))
    move_domain(site, name)
    answer = run(site, name, "--rcpt", KNOWN, "--content")
    contents = {f["detail"].split(":")[0]: f["finding"] for f in answer["findings"] if f["check"] == "content"}
    assert contents == {"GTUBE": "taken", "EICAR": "refused"}
    assert [m.rcpts for m in server.messages] == [[KNOWN]] * 2
    assert sum(b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X" in m.content for m in server.messages) == 1
    server.script["dot"] = "451 4.7.1 scanner is away"
    assert "deferred" in {f["finding"] for f in run(site, name, "--rcpt", KNOWN, "--content", status=1)["findings"] if f["check"] == "content"}


def test_a_probe_has_a_return_path_of_its_own(site):
    name = serve(site, server := Server())
    move_domain(site, name)
    paths = []
    for _ in range(2):
        probe = next(f for f in run(site, name, "--rcpt", KNOWN, "--probe-message")["findings"] if f["check"] == "late-bounce")
        assert probe["finding"] == "taken" and probe["verdict"] == "unknown"
        paths.append(server.messages[-1].mail_from)
        assert probe["detail"] == f"relayctl trace --rcpt {paths[-1]}" and paths[-1].startswith("postmaster+")
    assert paths[0] != paths[1] and len(server.messages) == 2
    server.script["rcpt"] = NO_USER
    answer = run(site, name, "--rcpt", KNOWN, "--probe-message", status=1)
    assert found(answer)["late-bounce"] == "refused" and len(server.messages) == 2


def test_a_sink_proves_an_open_relay(site):
    name = serve(site, server := Server(rcpt=lambda s, line: None if "isp.example" in line else only_own(s, line)))
    move_domain(site, name)
    answer = run(site, name, "--rcpt", KNOWN, "--sink", SINK, status=1)
    assert found(answer)["relay"] == "proven"
    assert server.messages and all("isp.example" in rcpt for m in server.messages for rcpt in m.rcpts)
    server.script["rcpt"], server.messages[:] = only_own, []
    assert found(run(site, name, "--rcpt", KNOWN, "--sink", SINK))["relay"] == "closed" and not server.messages


def test_a_sender_that_lets_nobody_send(site):
    name = serve(site, server := Server(mail=lambda s, line: "550 SPF check failed" if PROBE in line else None))
    move_domain(site, name)
    assert found(run(site, name, "--rcpt", KNOWN))["spf"] == "not-checked"
    assert found(run(site, name, "--rcpt", KNOWN, "--spf-probe", PROBE, status=1))["spf"] == "checked"
    assert not server.messages


# --- The command.

def test_recipients_are_known_by_themselves(site):
    name = serve(site, server := Server())
    move_domain(site, name)
    answer = run(site, name)
    assert found(answer)["known-recipient"] == "not-asked" and found(answer)["null-sender"] == "taken"
    site.relayctl("recipient", "add", KNOWN)
    answer = run(site, name)
    assert found(answer)["known-recipient"] == "taken", "a registered one"
    site.postgres.sql(f"""DELETE FROM postern.recipients;
        SELECT postern.events_partitions_make(1);
        INSERT INTO postern.events (at, node, kind, customer, verdict, recipient_keys, detail)
        VALUES (now(), 1, 'message', '{name}', 'delivered', '{{{KNOWN},@{DOMAIN}}}', '{{}}')""")
    assert found(run(site, name))["known-recipient"] == "taken", "one that got mail"
    site.postgres.sql("DELETE FROM postern.events")
    assert not server.messages


def test_several_domains(site):
    name = serve(site, server := Server(rcpt=lambda s, line: "250 2.1.5 Ok" if "@d7.example" in line else NO_RELAY))
    site.postgres.sql(f"""INSERT INTO postern.domains (name, customer_id)
        SELECT 'd' || i || '.example', id FROM postern.customers, generate_series(1, 20) i WHERE name = '{name}'""")
    answer = run(site, name, status=1)
    strangers = {f["detail"].partition("@")[2].partition(":")[0]: f["finding"] for f in answer["findings"] if f["check"] == "unknown-recipient"}
    assert strangers == {f"d{i}.example": "taken" if i == 7 else "refused" for i in range(1, 21)}
    names = {line.partition("@")[0] for _, who, line in server.transcript if who == "C" and re.match(r"RCPT TO:<[a-z]{20}@", line)}
    assert len(names) == 20, "another one in each"


def test_domains_beyond_what_one_test_asks_are_said_and_can_be_asked_for(site):
    name = serve(site, server := Server(rcpt=lambda s, line: "250 2.1.5 Ok" if "@e399.example" in line else NO_RELAY))
    site.postgres.sql(f"""INSERT INTO postern.domains (name, customer_id)
        SELECT 'e' || i || '.example', id FROM postern.customers, generate_series(100, 399) i WHERE name = '{name}'""")
    answer = run(site, name)
    asked = {f["detail"].partition("@")[2].partition(":")[0] for f in answer["findings"] if f["check"] == "unknown-recipient" and f["finding"] == "refused"}
    left, = [f for f in answer["findings"] if f["finding"] == "left-out"]
    total = len(asked) + int(left["detail"].split()[0])
    assert left["detail"] == f"{total - len(asked)} of {total} domains, from e{100 + len([d for d in asked if d.startswith('e')])}.example on"
    assert left["verdict"] == "unknown" and total >= 300 and "--rcpt" in left["remedy"] and len(asked) > 100
    answer = run(site, name, "--rcpt", "info@e399.example", status=1)
    assert [f["detail"].partition(":")[0].partition("@")[2] for f in answer["findings"] if f["finding"] == "taken" and f["check"] == "unknown-recipient"] == ["e399.example"]


def test_several_backends_and_what_people_see(site):
    good, bad = serve(site, Server()), serve(site, Server(banner="554 5.7.1 no"))
    site.relayctl("backend", "add", f"{ADDRESS}:{free_port()}", "--customer", good)
    done = site.relayctl("backend", "test", "--customer", good, f"{bad}/1", "--json", check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [(a["name"], a["verdict"]) for a in answers][0] == (f"{bad}/1", "fail")
    assert [(a["name"], found(a)["connect"]) for a in answers[1:]] == [(f"{good}/1", "connects"), (f"{good}/2", "no-connection")]
    assert set(answers[0]) == {"name", "customer", "verdict", "source", "addresses", "findings"}
    assert set(answers[0]["addresses"][0]) == {"address", "host", "tls"}
    assert set(answers[0]["findings"][0]) == {"address", "check", "finding", "verdict", "text", "remedy", "detail"}
    said = site.relayctl("backend", "test", f"{bad}/1", check=False).stdout
    assert max(map(len, said.splitlines())) <= 80
    said = " ".join(said.split())
    for part in (f"{bad}/1 at ", "fail greeting It turns us away", "(554 5.7.1 no)", "Remedy: Exempt our", f"{bad}/1: 1 failed"):
        assert part in said, said


def test_usage_and_no_match(site):
    name = serve(site, Server())
    for args, status, word in (
            ([], 2, "which?"), (["acme"], 2, "acme"), (["nobody/1"], 3, "no backend"), (["--customer", "nobody"], 3, "nobody"),
            ([f"{name}/1", "nobody/1"], 4, "no backend"), ([f"{name}/1", "--rcpt", "x"], 2, "--rcpt"), ([f"{name}/1", "--sink", "a b@c"], 2, "--sink"),
            ([f"{name}/1", "--content"], 2, "--rcpt"), ([f"{name}/1", "--probe-message"], 2, "--rcpt"), ([f"{name}/1", "--address", "x"], 2, "--address"),
            ([f"{name}/1", f"{name}/1", "--steps"], 2, "--steps")):
        done = site.relayctl("backend", "test", *args, check=False)
        assert done.returncode == status and word in done.stderr, (args, done)


def test_while_the_database_is_away_the_replica_does(world_of):
    node, server = world_of(Node(settings={"max-message-size": "300MiB"})), world_of(Server())
    node.add_customer("acme", DOMAIN, server.endpoint)
    node.relayctl("customer", "set", "acme", "--max-message-size", "200MiB")
    node.relayctl("backend", "hold", "acme/1", "--reason", "held ones can be tested", "--yes")
    node.wait_until_replicated()
    node.write_config(database="host=/nonexistent dbname=postern")
    done = node.relayctl("backend", "test", "acme/1", "--rcpt", KNOWN, "--json", check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["source"] == "replica" and "this node's copy" in done.stderr
    assert found(answer)["size"] == "small" and found(answer)["unknown-recipient"] == "refused"
    assert node.relayctl("backend", "test", "--customer", "acme", "acme/7", check=False).returncode == 1
    assert node.relayctl("backend", "test", "acme/7", check=False).returncode == 3
    for path in node.dirs["state-dir"].glob("replica*"):
        path.unlink()
    assert node.relayctl("backend", "test", "acme/1", check=False).returncode == 75


def test_the_manual_has_every_finding():
    from world import build_dir
    manual = (build_dir() / "admin" / "postern-conformance.7").read_text()
    words = {(check, word) for _, _, differs, _ in TWIST.values() for check, word in differs.items()}
    for check, word in words | set(GOOD.items()):
        section = manual.partition(f".Ss {check}\n")[2].partition(".Ss")[0]
        assert f".It Li {word} Pq Cm " in section, (check, word)
