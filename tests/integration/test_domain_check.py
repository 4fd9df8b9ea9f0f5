# SPDX-License-Identifier: BSD-2-Clause
"""relayctl domain check: zones of a real name server, good and bad, each with its exact findings. No daemon runs."""
import base64
import hashlib
import json
import re
import socket
import ssl
import threading
import time

import pytest

from harness import Node
from nameserver import Mischief, Nameserver
from tls import make_certificate, openssl
from world import ADDRESS, IS_ROOT, make_folder, remove_folder, wait_until

OWN = ADDRESS.rpartition(".")[0] + ".255"  # the customer's own server, which answers
SHUT = "127.0.0.254"  # one that does not

OURS = f"mx1.isp.test. IN A {ADDRESS}"
WORLD = [OURS, f"mx2.isp.test. IN A {ADDRESS}", f"other-name.isp.test. IN A {ADDRESS}", "alias.isp.test. IN CNAME mx1.isp.test.",
         f"own.acme.test. IN A {OWN}", f"shut.acme.test. IN A {SHUT}", "foreign.test. IN A 198.51.100.7",
         "empty.acme.test. IN TXT \"nothing\"", "mx6.acme.test. IN AAAA 2001:db8::25",
         "inside.acme.test. IN A 192.168.1.2"]

# Domain: its records, and what is found of its MX in order. "@" is the domain. A domain of "fallback-..." is in that mode.
MX = {
    "good": (["@ MX 10 mx1.isp.test."], ["mx-first", "target-ok"]),
    "good-closed": (["@ MX 10 mx1.isp.test.", "@ MX 20 shut.acme.test."], ["mx-first", "target-ok", "target-ok", "no-bypass"]),
    "open": (["@ MX 10 mx1.isp.test.", "@ MX 20 own.acme.test."], ["mx-first", "target-ok", "target-ok", "bypass"]),
    "greylist-open": (["@ MX 10 mx1.isp.test.", "@ MX 20 own.acme.test."], ["mx-first", "target-ok", "target-ok", "bypass-greylist"]),
    "none": (["@ TXT \"here\""], ["mx-missing"]),
    "gone": ([], ["mx-no-domain"]),
    "null": (["@ MX 0 ."], ["mx-null"]),
    "theirs": (["@ MX 10 own.acme.test."], ["mx-not-ours", "target-ok"]),
    "stranger": (["@ MX 10 foreign.test."], ["mx-not-ours", "target-ok"]),
    "second": (["@ MX 10 own.acme.test.", "@ MX 20 mx1.isp.test."], ["mx-not-first", "target-ok", "target-ok", "bypass"]),
    "equal": (["@ MX 10 own.acme.test.", "@ MX 10 mx1.isp.test."], ["mx-equal", "target-ok", "target-ok", "bypass"]),
    "stale": (["@ MX 10 mx1.isp.test.", "@ MX 30 foreign.test."], ["mx-first", "target-ok", "target-ok", "foreign"]),
    "stale-first": (["@ MX 5 foreign.test.", "@ MX 10 mx1.isp.test."], ["foreign-first", "target-ok", "target-ok"]),
    "alias": (["@ MX 10 alias.isp.test."], ["mx-first", "target-alias"]),
    "other-name": (["@ MX 10 other-name.isp.test."], ["mx-first", "target-other-name"]),
    "literal": (["@ MX 10 192.0.2.1.", "@ MX 20 mx1.isp.test."], ["target-literal", "mx-first", "target-ok"]),
    "bad-name": (["@ MX 10 a\\032b.test.", "@ MX 20 mx1.isp.test."], ["target-bad", "mx-first", "target-ok"]),
    "nowhere": (["@ MX 10 mx1.isp.test.", "@ MX 20 no-such-host.test."], ["mx-first", "target-ok", "target-missing"]),
    "no-address": (["@ MX 10 mx1.isp.test.", "@ MX 20 empty.acme.test."], ["mx-first", "target-ok", "target-no-address"]),
    "private": (["@ MX 10 mx1.isp.test.", "@ MX 20 inside.acme.test."], ["mx-first", "target-ok", "target-private", "foreign"]),
    "six": (["@ MX 10 mx1.isp.test.", "@ MX 20 mx6.acme.test."], ["mx-first", "target-ok", "target-ok", "foreign"]),
    "fallback-good": (["@ MX 10 own.acme.test.", "@ MX 20 mx1.isp.test."], ["mx-fallback", "target-ok", "target-ok", "primary-up"]),
    "fallback-down": (["@ MX 10 shut.acme.test.", "@ MX 20 mx1.isp.test."], ["mx-fallback", "target-ok", "target-ok", "primary-down"]),
    "fallback-first": (["@ MX 10 mx1.isp.test.", "@ MX 20 own.acme.test."],
                       ["mx-fallback-first", "target-ok", "target-ok", "primary-up"]),
    "fallback-equal": (["@ MX 10 mx1.isp.test.", "@ MX 10 own.acme.test."], ["mx-equal", "target-ok", "target-ok", "primary-up"]),
    "fallback-alone": (["@ MX 10 mx1.isp.test."], ["mx-fallback-alone", "target-ok"]),
    "fallback-not-ours": (["@ MX 10 own.acme.test."], ["mx-not-ours", "target-ok"]),
}


TEN = " ".join(f"a:h{n}.lookups.test" for n in range(9))  # and one more each
SPF = {
    "spf-good": ('v=spf1 ip4:192.0.2.0/24 a:own.acme.test -all', "spf-ok"),
    "spf-soft": ("v=spf1 mx ~all", "spf-ok"),
    "spf-all": ("v=spf1 +all", "spf-all"),
    "spf-all-hidden": ("v=spf1 include:spf-all.test -all", "spf-all"),
    "spf-neutral": ("v=spf1 ip4:192.0.2.1 ?all", "spf-open"),
    "spf-no-all": ("v=spf1 ip4:192.0.2.1", "spf-open"),
    "spf-syntax": ("v=spf1 ipv4:192.0.2.1 -all", "spf-error"),
    "spf-near": (f"v=spf1 {TEN} -all", "spf-near"),
    "spf-eleven": (f"v=spf1 {TEN} mx include:spf-good.test -all", "spf-error"),
    "spf-void": ("v=spf1 a:v1.lookups.test a:v2.lookups.test a:v3.lookups.test -all", "spf-error"),
    "spf-loop": ("v=spf1 include:spf-loop.test -all", "spf-error"),
    "spf-include-none": ("v=spf1 include:good.test -all", "spf-error"),
}
DMARC = {
    "dmarc-good": (['_dmarc TXT "v=DMARC1; p=reject; rua=mailto:d@acme.test"'], "dmarc-ok"),
    "dmarc-half": (['_dmarc TXT "v=DMARC1;p=quarantine;pct=50;"'], "dmarc-ok"),
    "dmarc-watch": (['_dmarc TXT "v=DMARC1; p=none"'], "dmarc-watch"),
    "dmarc-two": (['_dmarc TXT "v=DMARC1; p=none"', '_dmarc TXT "v=DMARC1; p=reject"'], "dmarc-many"),
    "dmarc-word": (['_dmarc TXT "v=DMARC1; p=block"'], "dmarc-syntax"),
    "dmarc-no-policy": (['_dmarc TXT "v=DMARC1; rua=mailto:d@acme.test"'], "dmarc-syntax"),
    "dmarc-other-text": (['_dmarc TXT "hello"'], "dmarc-none"),
    "sub.dmarc-good": ([], "dmarc-ok"),
}
ENFORCE = "version: STSv1\r\nmode: enforce\r\nmx: %s\r\nmax_age: %s\r\n"
STS = {  # what HTTPS answers with: a policy, a status, or None: there is no such host
    "sts-good": ('"v=STSv1; id=20261130"', ENFORCE % ("mx1.isp.test", 604800), ["mta-sts-ok"]),
    "sts-asterisk": ('"v=STSv1; id=1;"', ENFORCE % ("*.isp.test", 604800), ["mta-sts-ok"]),
    "sts-others": ('"v=STSv1; id=1"', ENFORCE % ("own.acme.test", 604800), ["mta-sts-not-us"]),
    "sts-testing": ('"v=STSv1; id=1"', ENFORCE.replace("enforce", "testing") % ("own.acme.test", 86400), ["mta-sts-not-us-yet"]),
    "sts-short": ('"v=STSv1; id=1"', ENFORCE % ("mx1.isp.test", 300), ["mta-sts-ok", "mta-sts-short"]),
    "sts-off": ('"v=STSv1; id=1"', "version: STSv1\nmode: none\nmax_age: 86400\n", ["mta-sts-off"]),
    "sts-wrong": ('"v=STSv1; id=1"', "version: STSv1\nmode: enforce\nmax_age: 86400\n", ["mta-sts-policy"]),
    "sts-missing": ('"v=STSv1; id=1"', 404, ["mta-sts-page"]),
    "sts-moved": ('"v=STSv1; id=1"', 301, ["mta-sts-page"]),
    "sts-other-certificate": ('"v=STSv1; id=1"', ENFORCE % ("mx1.isp.test", 604800), ["mta-sts-page"]),
    "sts-no-host": ('"v=STSv1; id=1"', None, ["mta-sts-no-host"]),
    "sts-syntax": ('"v=STSv1; id=2026-11-30"', None, ["mta-sts-syntax"]),
    "sts-two": ('"v=STSv1; id=1" "" ', None, ["mta-sts-many"]),
    "sts-closed": ('"v=STSv1; id=1"', "closed", ["mta-sts-unknown"]),
}


def published():
    """The zones of SPF, DMARC and MTA-STS, and hosts that they need."""
    lines = [f"h{n}.lookups.test. IN A 192.0.2.{n + 1}" for n in range(9)]
    for name in (*SPF, *DMARC, *STS):
        lines += zone_of(f"{name}.test", ["@ MX 10 mx1.isp.test."])
    for name, (record, _) in SPF.items():
        lines += zone_of(f"{name}.test", [f'@ TXT "{record}"'])
    for name, (records, _) in DMARC.items():
        lines += zone_of(f"{name}.test", records)
    for name, (record, page, _) in STS.items():
        lines += zone_of(f"{name}.test", [f"_mta-sts TXT {record}"])
        if page is not None:
            lines += zone_of(f"{name}.test", [f"mta-sts A {SHUT if page == 'closed' else OWN}"])
    return lines + zone_of("sts-two.test", ['_mta-sts TXT "v=STSv1; id=2"'])


def zone_of(domain, records):
    """A zone file's lines: each record with its whole name."""
    lines = []
    for record in records:
        name, rest = record.split(" ", 1)
        lines.append(f"{domain if name == '@' else name + '.' + domain}. IN {rest}")
    return lines


class Greeter:
    """An SMTP server on port 25 of an address, as far as its greeting."""

    def __init__(self, address, greeting=b"220 own.acme.test ESMTP\r\n"):
        self.greeting = greeting
        self.server = socket.create_server((address, 25))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            with s:
                s.sendall(self.greeting)
                s.settimeout(5)
                try:
                    s.recv(100)
                except OSError:
                    pass

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


class Pages:
    """HTTPS on port 443 of OWN: the policies of STS, by the host that is asked for."""

    def __init__(self, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.path, certificate.key)
        self.server = socket.create_server((OWN, 443))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(s,), daemon=True).start()

    def _answer(self, s):
        try:
            with self.context.wrap_socket(s, server_side=True) as tls:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += tls.recv(4096) or b"\r\n\r\n"
                host = re.search(rb"Host: mta-sts\.([a-z-]+)\.test\r\n", asked)
                assert host and asked.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.0\r\n"), asked
                page = STS[host[1].decode()][1]
                head = f"HTTP/1.1 {page} No\r\nLocation: /\r\n" if isinstance(page, int) else "HTTP/1.1 200 OK\r\n"
                tls.sendall(f"{head}Content-Type: text/plain\r\n\r\n{page}".encode())
                tls.unwrap()
        except OSError:
            pass

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture(scope="module")
def certificate():
    folder = make_folder("postern-pages-")
    yield make_certificate(folder, "pages", [f"mta-sts.{name}.test" for name in STS if name != "sts-other-certificate"])
    remove_folder(folder)


@pytest.fixture(scope="module")
def pages(certificate, own_server):
    pages = Pages(certificate)
    yield pages
    pages.close()


@pytest.fixture(scope="module")
def own_server():
    if not IS_ROOT:
        pytest.skip("port 25 needs root")
    server = Greeter(OWN)
    yield server
    server.close()


def everything():
    lines = WORLD + published() + LISTS + SENDERS_WORLD
    for name, (records, _) in MX.items():
        lines += zone_of(f"{name}.test", records)
    return lines


@pytest.fixture(scope="module")
def dns():
    server = Nameserver(*everything(), zone=".").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def node(dns, own_server, pages, certificate):
    node = Node(settings={"resolver": dns.endpoint, "mx-names": ["mx1.isp.test"], "backend-ca-file": certificate.path}, start=False)
    node.start_database()
    for customer, policy in (("acme", "off"), ("grey", "strict")):
        node.relayctl("customer", "add", customer, "--policy", policy)
        node.relayctl("backend", "add", "own.acme.test:25", "--customer", customer)
        node.relayctl("backend", "add", f"{SHUT}:2525", "--customer", customer)
    for name in MX:
        customer = "grey" if name.startswith("greylist-") else "acme"
        mode = "fallback" if name.startswith("fallback-") else "mx"
        node.relayctl("domain", "add", f"{name}.test", "--customer", customer, "--mode", mode)
    node.relayctl("customer", "add", "others")
    for name in (*SPF, *DMARC, *STS):
        node.relayctl("domain", "add", f"{name}.test", "--customer", "others")
    yield node
    node.close()


def check(node, *args, code=None):
    done = node.relayctl("domain", "check", *args, "--json", check=False)
    assert "Sanitizer" not in done.stderr
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def look(node, domain, code=None):
    rows, status = check(node, domain, code=code)
    assert len(rows) == 1 and rows[0]["name"] == domain
    failed = any(f["verdict"] == "fail" for f in rows[0]["findings"])
    assert status == (1 if failed else 0)
    return rows[0]


def words(row, prefix):
    return [f["finding"] for f in row["findings"] if f["check"].startswith(prefix)]


@pytest.mark.parametrize("name", MX)
def test_each_zone_has_its_exact_findings_about_mx(node, name):
    assert words(look(node, f"{name}.test"), "mx") == MX[name][1]


@pytest.mark.parametrize("name", SPF)
def test_spf_is_judged_as_receivers_do(node, name):
    assert words(look(node, f"{name}.test"), "spf") == [SPF[name][1]]


def test_spf_counts_its_look_ups(node):
    text = {f["finding"]: f["text"] for f in look(node, "spf-near.test")["findings"]}["spf-near"]
    assert "needs 9 of the 10" in text


@pytest.mark.parametrize("name", DMARC)
def test_dmarc(node, name):
    assert words(look(node, f"{name}.test"), "dmarc") == [DMARC[name][1]]


@pytest.mark.parametrize("name", STS)
def test_mta_sts_and_its_policy(node, name):
    assert words(look(node, f"{name}.test"), "mta-sts") == STS[name][2]


def key_digest(certificate):
    """TLSA 3 1 1: SHA-256 of the key."""
    pem = openssl("x509", "-in", certificate.path, "-noout", "-pubkey").stdout
    return hashlib.sha256(base64.b64decode("".join(pem.splitlines()[1:-1]))).hexdigest()


def test_dane_records_are_validated_and_fit_our_certificate(node, dns):
    folder = make_folder("postern-dane-")
    ours = make_certificate(folder, "ours", ["mx1.isp.test"], owner=node.user)
    good = key_digest(ours)
    whole = hashlib.sha256(ours.der).hexdigest()
    base = [*WORLD, *zone_of("good.test", ["@ MX 10 mx1.isp.test."])]
    mischief = Mischief(dns, "authentic")
    node.write_config(resolver=mischief.endpoint, tls_certificate=[str(ours.path)], tls_key=[str(ours.key)])
    try:
        for record, finding in ((f"3 1 1 {good}", "dane-ok"), (f"3 0 1 {whole}", "dane-ok"), (f"3 1 1 {whole}", "dane-mismatch"),
                                (f"2 1 1 {good}", "dane-mismatch"), (f"1 1 1 {good}", "dane-useless"), (f"3 1 9 {good}", "dane-mismatch")):
            dns.set(*base, f"_25._tcp.mx1.isp.test. IN TLSA {record}")
            assert words(look(node, "good.test"), "dane") == [finding], record
        mischief.mode = "pass"
        assert words(look(node, "good.test"), "dane") == ["dane-unsigned"]
        mischief.mode = "authentic"
        node.write_config(tls_certificate=None, tls_key=None)
        assert words(look(node, "good.test"), "dane") == ["dane-elsewhere"]
        dns.set(*base)
        assert words(look(node, "good.test"), "dane") == ["dane-none"]
    finally:
        node.write_config(resolver=dns.endpoint, tls_certificate=None, tls_key=None)
        dns.set(*everything())
        mischief.close()
        remove_folder(folder)


def test_ownership_is_proven_by_a_token_in_a_txt_record(node, dns):
    def txt():
        return json.loads(node.relayctl("domain", "show", "token.test", "--json").stdout)["ownership_txt"]

    assert node.relayctl("domain", "add", "token.test", "--customer", "acme", "--verify-ownership", "--dry-run").returncode == 0
    added = node.relayctl("domain", "add", "token.test", "--customer", "acme", "--verify-ownership").stdout
    wanted = txt()
    base = everything() + zone_of("token.test", ["@ MX 10 mx1.isp.test."])
    try:
        assert re.fullmatch(r"postern-verification=[0-9a-f]{32}", wanted) and wanted in added
        dns.set(*base)
        row = look(node, "token.test", code=0)
        assert words(row, "ownership") == ["not-owned"] and found_of(row)["not-owned"]["verdict"] == "warn"
        dns.set(*base, *zone_of("token.test", ['@ TXT "postern-verification=0123456789abcdef0123456789abcdef"']))
        row = look(node, "token.test")
        assert words(row, "ownership") == ["not-owned"] and "another token" in json.dumps(row)
        dns.set(*base, *zone_of("token.test", ['@ TXT "other"', f'@ TXT "{wanted}"']))
        assert words(look(node, "token.test"), "ownership") == ["owned"]
        node.relayctl("domain", "set", "token.test", "--verify-ownership")
        assert txt() == wanted, "a token that is there stays"
        node.relayctl("domain", "set", "token.test", "--no-verify-ownership")
        assert txt() is None and words(look(node, "token.test"), "ownership") == []
        assert wanted not in node.relayctl("domain", "set", "token.test", "--verify-ownership").stdout and txt() != wanted
        assert words(look(node, "token.test"), "ownership") == ["not-owned"]
        for args, code in ((["token.test", "--verify-ownership", "--no-verify-ownership"], 2), (["no-such.test", "--verify-ownership"], 3)):
            assert node.relayctl("domain", "set", *args, check=False).returncode == code
    finally:
        node.relayctl("domain", "remove", "token.test", "--reason", "test")
        dns.set(*everything())


def test_many_domains_do_not_wait_for_a_dead_resolver_one_after_the_other(node, dns):
    mischief = Mischief(dns, "dead")
    node.write_config(resolver=mischief.endpoint)
    try:
        began = time.monotonic()
        done = node.relayctl("domain", "check", "--all", check=False)
        assert time.monotonic() - began < 8 and done.returncode == 4
        assert "were not looked at" in done.stderr and "node check" in done.stderr and done.stdout.count("customer ") >= 20
    finally:
        node.write_config(resolver=dns.endpoint)
        mischief.close()


# --- What the customer is told.

def test_instructions_have_what_the_customer_needs(node, dns):
    node.write_config(mx_names=["mx1.isp.test", "mx2.isp.test"], source_address="127.0.0.2")
    node.relayctl("customer", "add", "told", "--language", "de", "--max-message-size", "10MiB")
    node.relayctl("backend", "add", "own.acme.test:25", "--customer", "told", "--source-address", "127.0.0.3")
    node.relayctl("domain", "add", "told.test", "--customer", "told", "--verify-ownership")
    node.relayctl("domain", "add", "behind.test", "--customer", "told", "--mode", "fallback")
    node.relayctl("domain", "add", ".told.test", "--customer", "told")
    try:
        told = json.loads(node.relayctl("domain", "instructions", "told.test", "--json").stdout)
        assert told["language"] == "de" and told["customer"] == "told" and told["mode"] == "mx"
        assert told["mx"] == [{"preference": 10, "host": "mx1.isp.test"}, {"preference": 20, "host": "mx2.isp.test"}]
        assert told["addresses"] == [ADDRESS, "127.0.0.2", "127.0.0.3"]
        text = node.relayctl("domain", "instructions", "told.test").stdout
        assert text == told["text"]
        for line in ("told.test.  3600  IN  MX  10  mx1.isp.test.", "told.test.  3600  IN  MX  20  mx2.isp.test.", ADDRESS, "127.0.0.3",
                     f'told.test.  3600  IN  TXT  "{told["ownership_txt"]}"', "relayctl domain check told.test", "relayctl backend test told/1"):
            assert f"\n    {line}\n" in text, line
        assert "10,5 MB" in text and "Reihenfolge" in text and "postmaster@told.test" in text
        english = node.relayctl("domain", "instructions", "told.test", "--language", "en").stdout
        assert "In this order" in english and "close port 25" in english
        for language, words in (("de", "In dieser Reihenfolge"), ("en", "In this order"), ("nl", "In deze volgorde"), ("da", "I denne r\u00e6kkef\u00f8lge")):
            node.relayctl("customer", "set", "told", "--language", language)
            for domain in ("told.test", "behind.test"):
                text = node.relayctl("domain", "instructions", domain).stdout
                assert words in text and "{" not in text and "relayctl backend test told/1" in text
                assert all(len(line) <= 72 for line in text.splitlines() if not line.startswith("    ")), text
        behind = node.relayctl("domain", "instructions", "behind.test", "--language", "en").stdout
        assert "MX  10  own.acme.test.\n    behind.test.  3600  IN  MX  20  mx1.isp.test.\n" in behind
        assert "stays open" in behind and "nobody else" not in behind and "TXT" not in behind
        assert "    sub.told.test.  3600  IN  MX  10  mx1.isp.test.\n" in node.relayctl("domain", "instructions", "sub.told.test").stdout
        assert "    *.told.test.  3600  IN  MX  10" in node.relayctl("domain", "instructions", ".told.test").stdout
    finally:
        for name in ("told.test", "behind.test", ".told.test"):
            node.relayctl("domain", "remove", name, "--reason", "test")
        node.write_config(mx_names=["mx1.isp.test"], source_address=None)


def test_instructions_without_dns_say_what_is_missing(node, dns):
    mischief = Mischief(dns, "dead")
    node.write_config(resolver=mischief.endpoint)
    try:
        done = node.relayctl("domain", "instructions", "good.test")
        assert "which we tell you" in done.stdout and "warning" in done.stderr and "mx-names" in done.stderr
    finally:
        node.write_config(resolver=dns.endpoint)
        mischief.close()


# --- A customer's own outgoing server.

LISTS = ["2.0.0.127.list.test. IN A 127.0.0.2", "2.0.0.127.quiet.test. IN A 127.0.0.2",
         "66.2.0.192.list.test. IN A 127.0.0.4", '66.2.0.192.list.test. IN TXT "sends spam, see https://list.test/"',
         "1.0.0.127.liar.test. IN A 127.0.0.2", "2.0.0.127.liar.test. IN A 127.0.0.2", "2.0.0.127.refuses.test. IN A 127.255.255.254",
         f"2.0.0.0.0.0.f.7.f.f.f.f{'.0' * 20}.six.test. IN A 127.0.0.2", "2.0.0.127.six.test. IN A 127.0.0.2"]


def pointer(address, name):
    return f"{'.'.join(reversed(address.split('.')))}.in-addr.arpa. IN PTR {name}"


SENDERS_WORLD = [
    pointer("192.0.2.10", "mail.acme.test."), "mail.acme.test. IN A 192.0.2.10",
    pointer("192.0.2.12", "elsewhere.acme.test."), "elsewhere.acme.test. IN A 192.0.2.13",
    pointer("192.0.2.14", "dsl-192-0-2-14.pool.dyn.test."), "dsl-192-0-2-14.pool.dyn.test. IN A 192.0.2.14",
    pointer("192.0.2.15", "nowhere.acme.test."),
    pointer("192.0.2.66", "spammer.acme.test."), "spammer.acme.test. IN A 192.0.2.66",
    *zone_of("acme.test", ['@ TXT "v=spf1 ip4:192.0.2.10 ?ip4:192.0.2.12 -all"']),
    '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. IN PTR mail6.acme.test.',
    "mail6.acme.test. IN AAAA 2001:db8::1"]

SENDERS = [  # address, further arguments, what is found
    ("192.0.2.10", [], ["ptr-ok", "lists-clean"]),
    ("192.0.2.10", ["--helo", "mail.acme.test", "acme.test"], ["ptr-ok", "helo-ok", "lists-clean", "spf-pass"]),
    ("192.0.2.10", ["--helo", "[192.0.2.10]"], ["ptr-ok", "helo-ok", "lists-clean"]),
    ("192.0.2.11", ["--helo", "localhost", "acme.test"], ["ptr-none", "helo-form", "lists-clean", "spf-fail"]),
    ("192.0.2.12", ["--helo", "elsewhere.acme.test", "acme.test"], ["ptr-mismatch", "helo-elsewhere", "lists-clean", "spf-soft"]),
    ("192.0.2.14", ["--helo", "no-such.acme.test", "foreign.test"], ["ptr-dialin", "helo-missing", "lists-clean", "spf-no-record"]),
    ("192.0.2.15", ["spf-syntax.test"], ["ptr-mismatch", "lists-clean", "spf-wrong"]),
    ("192.0.2.66", ["--helo", "server"], ["ptr-ok", "helo-form", "listed", "lists-clean"]),
    ("2001:db8::1", ["--helo", "mail6.acme.test"], ["ptr-ok", "helo-ok", "lists-clean"]),
]


@pytest.mark.parametrize("address,more,found", SENDERS, ids=[f"{a} {' '.join(m)}" for a, m, _ in SENDERS])
def test_a_customers_own_server_as_receivers_see_it(node, address, more, found):
    node.write_config(dnsbl=["list.test", "quiet.test", "six.test"])
    rows, code = check(node, "--sender", address, *more)
    row = rows[0]
    assert [f["finding"] for f in row["findings"]] == found
    assert row["address"] == address and code == any(f["verdict"] == "fail" for f in row["findings"])
    if "listed" in found:
        assert "sends spam, see https://list.test/" in json.dumps(row)


def test_a_list_that_does_not_work_is_unknown(node):
    for lists, found in ((["liar.test"], ["lists-silent"]), (["refuses.test"], ["lists-silent"]), (["dead.test"], ["lists-silent"]),
                         (["dead.test test=no"], ["lists-clean"]), ([], ["lists-none"])):
        node.write_config(dnsbl=lists or None)
        assert words(check(node, "--sender", "192.0.2.10", code=0)[0][0], "lists") == found, lists
    node.write_config(dnsbl=["list.test"])  # which knows nothing of IPv6
    assert words(check(node, "--sender", "2001:db8::1", code=0)[0][0], "lists") == ["lists-none"]


def test_a_sender_with_a_dead_resolver_is_unknown(node, dns):
    mischief = Mischief(dns, "dead")
    node.write_config(resolver=mischief.endpoint, dnsbl=["list.test"])
    try:
        row = check(node, "--sender", "192.0.2.10", "--helo", "mail.acme.test", "acme.test", code=0)[0][0]
        assert {f["verdict"] for f in row["findings"]} == {"unknown"} and len(row["findings"]) == 4
    finally:
        node.write_config(resolver=dns.endpoint, dnsbl=None)
        mischief.close()


def test_a_sender_must_be_an_address(node):
    for args in (["--sender", "mail.acme.test"], ["--sender", "192.0.2.1", "a.test", "b.test"], ["--helo", "x.test", "good.test"],
                 ["--sender", "192.0.2.1", "--all"], ["--sender", "192.0.2.1", "--customer", "acme"]):
        done = node.relayctl("domain", "check", *args, check=False)
        assert done.returncode == 2 and done.stderr, args


# --- Ourselves.

def node_check(node, code=None):
    done = node.relayctl("node", "check", "--json", check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def found_of(row):
    return {f["finding"]: f for f in row["findings"]}


def test_node_check_of_a_node_that_is_well(node, dns):
    folder = make_folder("postern-node-check-")
    ours = make_certificate(folder, "ours", ["mx1.isp.test"], owner=node.user)
    mischief = Mischief(dns, "authentic")
    node.write_config(hostname="mx1.isp.test", resolver=mischief.endpoint, dnsbl=["list.test"], tls_certificate=[str(ours.path)],
                      tls_key=[str(ours.key)])
    dns.set(*everything(), pointer(ADDRESS, "mx1.isp.test."))
    try:
        row = node_check(node, code=0)
        assert set(found_of(row)) == {"hostname-ok", "ptr-ok", "lists-clean", "certificate-ok", "resolver-ok", "clock-ok", "disk-ok",
                                      "files-unknown"}
        assert row["node"] == 1 and row["hostname"] == "mx1.isp.test" and row["verdict"] == "unknown"
        done = node.relayctl("node", "check")
        assert done.stdout.startswith("node 1, mx1.isp.test: ")
        assert not [line for line in done.stdout.splitlines() if len(line) > 80 and "/" not in line.split()[-1]]
        node.relayd.start()
        try:
            wait_until(lambda: {"files-ok", "files-low"} & set(found_of(node_check(node))), 20)
        finally:
            node.relayd.stop()
    finally:
        node.write_config(hostname="relay.example", resolver=dns.endpoint, dnsbl=None, tls_certificate=None, tls_key=None)
        dns.set(*everything())
        mischief.close()
        remove_folder(folder)


def test_node_check_of_a_node_that_is_not(node, dns):
    folder = make_folder("postern-node-check-")
    other = make_certificate(folder, "other", ["mx9.isp.test"], days=5, owner=node.user)
    ended = make_certificate(folder, "ended", ["mx8.isp.test"], days=0, owner=node.user)
    reverse = ".".join(reversed(ADDRESS.split(".")))
    try:
        row = node_check(node, code=1)  # relay.example is nowhere
        assert {"hostname-missing", "ptr-none", "lists-none", "certificate-none", "resolver-not-validating"} <= set(found_of(row))
        node.write_config(hostname="other-name.isp.test", dnsbl=["list.test"], tls_certificate=[str(other.path), str(ended.path), "/nonexistent"],
                          tls_key=[str(other.key), str(ended.key), "/nonexistent"])
        dns.set(*everything(), pointer(ADDRESS, "mx1.isp.test."), f"{reverse}.list.test. IN A 127.0.0.9")
        found = found_of(node_check(node, code=1))
        assert {"hostname-ok", "ptr-other", "listed", "certificate-not-for", "certificate-ending", "certificate-ended",
                "certificate-unreadable"} <= set(found)
        assert "mx1.isp.test" in found["certificate-not-for"]["text"]
        node.write_config(hostname="foreign.test")
        assert "hostname-elsewhere" in found_of(node_check(node))
        node.write_config(hostname="alias.isp.test")
        assert "hostname-alias" in found_of(node_check(node))
    finally:
        node.write_config(hostname="relay.example", dnsbl=None, tls_certificate=None, tls_key=None)
        dns.set(*everything())
        remove_folder(folder)


def test_node_check_with_nothing_there(node, dns):
    mischief = Mischief(dns, "dead")
    database = node.settings["database"]
    state = node.settings["state-dir"]
    node.write_config(resolver=mischief.endpoint, database="host=/nonexistent dbname=postern", state_dir="/nonexistent/state")
    try:
        began = time.monotonic()
        found = found_of(node_check(node, code=1))
        assert time.monotonic() - began < 8
        assert {"hostname-unknown", "resolver-silent", "clock-unknown", "disk-unknown"} <= set(found)
        assert [f for f in found.values() if f["verdict"] == "fail"] == [found["resolver-silent"]]
    finally:
        node.write_config(resolver=dns.endpoint, database=database, state_dir=state)
        mischief.close()


def test_each_finding_has_a_sentence_and_a_remedy_unless_it_passes(node):
    rows, code = check(node, "--customer", "acme")
    assert code == 1 and [r["name"] for r in rows] == sorted(f"{n}.test" for n in MX if not n.startswith("greylist-"))
    for row in rows:
        assert row["customer"] == "acme" and row["mode"] in ("mx", "fallback")
        for f in row["findings"]:
            assert f["text"].endswith(".") and not re.search(r"\b(DOMAIN|HOST|DETAIL|OURS)\b", f["text"] + (f["remedy"] or ""))
            assert (f["remedy"] is None) <= (f["verdict"] in ("pass", "warn"))
    assert {f["verdict"] for r in rows for f in r["findings"]} == {"pass", "warn", "fail"}
    assert len(check(node, "--all")[0]) == len(MX) + len(SPF) + len(DMARC) + len(STS)


def test_of_several_names_of_ours_each_must_be_there(node):
    node.write_config(mx_names=["mx1.isp.test", "mx2.isp.test"])
    try:
        assert words(look(node, "good.test"), "mx") == ["mx-first", "mx-partial", "target-ok"]
    finally:
        node.write_config(mx_names=["mx1.isp.test"])


def test_without_the_setting_our_host_name_is_our_mx_name(node):
    node.write_config(mx_names=None, hostname="MX1.isp.test")
    try:
        assert words(look(node, "good.test"), "mx")[0] == "mx-first"
    finally:
        node.write_config(mx_names=["mx1.isp.test"], hostname="relay.example")


def test_a_name_of_ours_without_an_address_is_ours_to_mend(node):
    node.write_config(mx_names=["empty.acme.test"])
    try:
        row = look(node, "no-address.test", code=1)
        assert words(row, "mx-target")[1] == "target-ours" and "mx-names" in found_of(row)["target-ours"]["remedy"]
    finally:
        node.write_config(mx_names=["mx1.isp.test"])


def test_subdomains_are_looked_at_by_name(node):
    node.relayctl("domain", "add", ".good.test", "--customer", "acme")
    try:
        assert words(look(node, ".good.test"), "mx") == ["subdomains"]
        assert words(look(node, "sub.good.test"), "mx") == ["mx-no-domain"]
    finally:
        node.relayctl("domain", "remove", ".good.test", "--reason", "test")


def test_the_screen_has_80_columns_and_no_word_of_the_table_left(node):
    for domain in ("good.test", "stale-first.test", "alias.test", "literal.test", "bad-name.test"):
        done = node.relayctl("domain", "check", domain, check=False)
        lines = done.stdout.splitlines()
        assert lines[0].startswith(f"{domain}, customer acme, mode mx: ")
        assert all(len(line) <= 80 for line in lines), done.stdout
    several = node.relayctl("domain", "check", "good.test", "alias.test", check=False).stdout
    assert "target-" not in several and "mx-first" not in several and "We are the first MX" not in several
    assert "alias (CNAME)" in several


def test_no_such_domain_among_others_and_no_selection(node):
    done = node.relayctl("domain", "check", "missing.test", check=False)
    assert done.returncode == 3 and 'there is no domain "missing.test"; ' in done.stderr
    done = node.relayctl("domain", "check", "goood.test", "good.test", check=False)
    assert done.returncode in (1, 4) and "good.test" in done.stdout and "did you mean good.test?" in done.stderr
    assert node.relayctl("domain", "check", "--customer", "nobody", check=False).returncode == 3
    for args in ([], ["good.test", "--all"], ["--customer", "acme", "--all"], ["not a name"]):
        assert node.relayctl("domain", "check", *args, check=False).returncode == 2, args


@pytest.mark.parametrize("mode", ["dead", "servfail", "cut"])
def test_P8_a_resolver_that_says_nothing_is_unknown_and_soon(node, dns, mode):
    mischief = Mischief(dns, mode)
    node.write_config(resolver=mischief.endpoint)
    try:
        began = time.monotonic()
        row = look(node, "good.test", code=0)
        assert time.monotonic() - began < 6
        assert row["verdict"] == "unknown" and words(row, "mx") == ["mx-unknown"]
        assert {f["verdict"] for f in row["findings"]} <= {"unknown", "pass"}
    finally:
        node.write_config(resolver=dns.endpoint)
        mischief.close()
