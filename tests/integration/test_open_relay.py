# SPDX-License-Identifier: BSD-2-Clause
"""P3: never an open relay. Every form in which relays were ever asked to pass mail on is refused, whoever asks: a stranger, this
host's own addresses, a customer's server, a registered upstream filter, with AUTH and XCLIENT and without."""
import re

import pytest

from harness import ADDRESS, Backend, Client, Node

OURS, OTHER, HOST = "acme.example", "other.example", "relay.example"
STRANGER, FILTER = "127.199.1.2", "127.198.1.2"

# What follows "RCPT TO:".
FORMS = {
    "foreign": f"<user@{OTHER}>", "foreign-subdomain-of-ours": f"<user@sub.{OURS}>", "ours-below-foreign": f"<user@{OURS}.{OTHER}>",
    "foreign-ends-like-ours": f"<user@x{OURS}>", "foreign-null-host": "<user@localhost>",
    "percent": f"<user%{OTHER}@{OURS}>", "percent-at-host": f"<user%{OTHER}@{HOST}>", "percent-at-literal": f"<user%{OTHER}@[{ADDRESS}]>",
    "percent-upper": f"<USER%{OTHER.upper()}@{OURS.upper()}>", "percent-twice": f"<user%{OTHER}%{HOST}@{OURS}>",
    "percent-lone": f"<user%{OTHER}>", "percent-quoted": f'<"user%{OTHER}"@{OURS}>', "percent-trailing-dot": f"<user%{OTHER}@{OURS}.>",
    "percent-foreign-user-ours": f"<user%{OURS}@{OTHER}>", "percent-encoded-at": f"<user%40{OTHER}@{OURS}>",
    "bang": f"<{OTHER}!user@{OURS}>", "bang-at-host": f"<{OTHER}!user@{HOST}>", "bang-lone": f"<{OTHER}!user>",
    "bang-nested": f"<a!b!{OTHER}!user@{OURS}>", "bang-quoted": f'<"{OTHER}!user"@{OURS}>', "bang-and-percent": f"<{OURS}!user%{OTHER}>",
    "bang-percent-at": f"<{OTHER}!user%{HOST}@{OURS}>", "bang-empty": f"<!user@{OURS}>",
    "route": f"<@{OURS}:user@{OTHER}>", "route-host": f"<@{HOST}:user@{OTHER}>", "route-two": f"<@{OURS},@{HOST}:user@{OTHER}>",
    "route-literal": f"<@[{ADDRESS}]:user@{OTHER}>", "route-and-percent": f"<@{OTHER}:user%{OTHER}@{OURS}>", "route-empty": f"<@:user@{OTHER}>",
    "route-without-colon": f"<@{OURS} user@{OTHER}>", "route-to-host": f"<@{OTHER}:user@{HOST}>",
    "quoted": f'<"user@{OTHER}"@{OURS}>', "quoted-at-host": f'<"user@{OTHER}"@{HOST}>', "quoted-at-literal": f'<"user@{OTHER}"@[{ADDRESS}]>',
    "quoted-lone": f'<"user@{OTHER}">', "quoted-escaped": f'<"user\\@{OTHER}"@{OURS}>', "quoted-nested": f'<"\\"user@{OTHER}\\"@x"@{OURS}>',
    "quoted-whole": f'<"<user@{OTHER}>"@{OURS}>', "quoted-route": f'<"@{OURS}:user@{OTHER}"@{OURS}>', "quoted-half": f'<"user"@{OTHER}"@{OURS}>',
    "two-at": f"<user@{OTHER}@{OURS}>", "two-at-turned": f"<user@{OURS}@{OTHER}>", "two-at-host": f"<user@{OTHER}@{HOST}>",
    "at-at-end": f"<user@{OURS}@>", "escaped-at": f"<user\\@{OTHER}@{OURS}>",
    "host": f"<user@{HOST}>", "host-upper": f"<user@{HOST.upper()}>", "host-trailing-dot": f"<user@{HOST}.>",
    "literal": f"<user@[{ADDRESS}]>", "literal-127.0.0.1": "<user@[127.0.0.1]>", "literal-foreign": "<user@[192.0.2.1]>",
    "literal-ipv6": "<user@[IPv6:::1]>", "literal-mapped": f"<user@[IPv6:::ffff:{ADDRESS}]>", "literal-name": f"<user@[{OURS}]>",
    "literal-number": "<user@[2130706433]>", "literal-tag": "<user@[x:y]>", "literal-hex": "<user@[0x7f.0.0.1]>", "address-bare": f"<user@{ADDRESS}>",
    "number": "<user@#2130706433>", "number-bare": "<user@2130706433>",
    "trailing-dot": f"<user@{OTHER}.>", "trailing-dot-ours": f"<user@{OURS}.>", "leading-dot": f"<user@.{OURS}>", "two-dots": f"<user@{OURS}..{OTHER}>",
    "empty-local": f"<@{OURS}>", "empty-local-foreign": f"<@{OTHER}>", "empty-quoted-foreign": f'<""@{OTHER}>', "empty-percent": f"<%{OTHER}@{OURS}>",
    "empty": "<>", "nothing": "", "domainless": "<user>", "at-alone": "<@>",
    "postmaster-unset": "<postmaster>", "postmaster-foreign": f"<postmaster@{OTHER}>", "postmaster-percent": f"<postmaster%{OTHER}@{OURS}>",
    "postmaster-percent-lone": f"<postmaster%{OTHER}>", "postmaster-quoted": f'<"postmaster@{OTHER}">', "postmaster-quoted-lone": '<"postmaster">',
    "postmaster-route": f"<@{OTHER}:postmaster>", "postmaster-bang": f"<{OTHER}!postmaster@{OURS}>", "postmaster-host-percent": f"<postmaster%{OTHER}@{HOST}>",
    "pipe": f"<|command@{OURS}>", "pipe-quoted": f'<"|/bin/sh -c id"@{OURS}>', "file": f"</etc/passwd@{OURS}>", "file-quoted": f'<"/dev/null"@{OURS}>',
    "include": f"<:include:/etc/passwd@{OURS}>", "slash-relay": f"<user/{OTHER}@{OURS}>", "x400": f"</S=user/D={OTHER}/@{OURS}>",
    "utf8-foreign": "<user@\u03bfther.example>", "utf8-fullwidth-at": f"<user\uff20{OTHER}@{OURS}>", "utf8-small-at": f"<user\ufe6b{OTHER}@{OURS}>",
    "utf8-fullwidth-percent": f"<user\uff05{OTHER}@{OURS}>", "utf8-fullwidth-bang": f"<{OTHER}\uff01user@{OURS}>", "utf8-fullwidth-pipe": f"<\uff5cid@{OURS}>",
    "utf8-ideographic-dot": f"<user@{OURS}\u3002{OTHER}>", "utf8-fullwidth-domain": "<user@\uff4f\uff54\uff48\uff45\uff52.example>",
    "punycode-foreign": "<user@xn--thr-ula.example>", "punycode-bad": f"<user@xn--.{OURS}>", "utf8-bad": f"<user\udcff@{OTHER}>",
    "utf8-overlong-at": f"<user\udcc1\udc80{OTHER}@{OURS}>", "utf8-rtl": f"<user@{OURS}\u202e{OTHER}>",
    "no-brackets": f"user@{OTHER}", "half-brackets": f"<user@{OTHER}", "comment": f"<user(x@{OURS})@{OTHER}>", "comment-behind": f"<user@{OTHER}> ({OURS})",
    "space-before": f" <user@{OTHER}>", "space-inside": f"< user@{OTHER} >", "list": f"<user@{OURS},user@{OTHER}>", "list-semicolon": f"<user@{OURS};user@{OTHER}>",
    "two-paths": f"<user@{OURS}><user@{OTHER}>", "two-commands": f"<user@{OURS}> RCPT TO:<user@{OTHER}>", "orcpt-ours": f"<user@{OTHER}> ORCPT=rfc822;user@{OURS}",
    "auth-parameter": f"<user@{OTHER}> AUTH=user@{OURS}", "name-and-path": f"User <user@{OTHER}>", "nested-brackets": f"<<user@{OTHER}>>",
    "url": f"<mailto:user@{OTHER}>", "tab": f"<user\t@{OTHER}>", "nul": f"<user@{OURS}\0@{OTHER}>", "cr": f"<user@{OURS}\r@{OTHER}>",
}
NEEDS_UTF8 = {name for name, form in FORMS.items() if any(ord(c) > 127 for c in form)}
SENDERS = ["", f"user@{OURS}", f"user@{HOST}", f"user@[{ADDRESS}]", f"user%{OTHER}@{OURS}"]
AUTH = ["AUTH PLAIN AGFkbWluAGFkbWlu", "AUTH LOGIN", "AUTH LOGIN YWRtaW4=", "AUTH CRAM-MD5", "AUTH EXTERNAL ="]


@pytest.fixture(scope="module")
def gate():
    """acme.example at a backend that takes everything; FILTER is a registered upstream filter's address."""
    with Node(settings={"hostname": HOST, "client-concurrency": 1000, "xclient-from": ["127.0.0.1/32"]}) as node:
        backend = Backend().start()
        backend.script["ehlo"] = Backend.GOOD["ehlo"].replace("250 8BITMIME", "250-SMTPUTF8\r\n250 8BITMIME")
        node.add_customer("acme", OURS, backend.endpoint)
        node.relayctl("customer", "set", "acme", "--max-connections-per-hour", "none")
        node.relayctl("filter", "add", FILTER, "--customer", "acme")
        yield node, backend
        backend.stop()


def encode(line):
    return line.encode("utf-8", "surrogateescape")


def try_form(node, name, source=None, sender="a@origin.example", prologue=()):
    """What RCPT with that form is answered; nothing may be sent behind it."""
    with Client(node.port, source=source) as client:
        client.ehlo("origin.example")
        for line in prologue:
            assert client.cmd(line).code // 100 == 5, line
        reply = client.cmd(f"MAIL FROM:<{sender}>" + (" SMTPUTF8" if name in NEEDS_UTF8 else ""))
        assert reply.code == 250, str(reply)
        client.write(encode(f"RCPT TO:{FORMS[name]}\r\n"))
        reply = client.reply()
        assert client.cmd("DATA").code in (503, 554), f"{name}: DATA was taken"
        client.cmd("QUIT")
    return reply


def is_refused(reply):
    """By policy, or as bad syntax, or since the address cannot be."""
    return (reply.code, reply.enhanced) in ((550, "5.7.1"), (550, "5.1.1"), (550, "5.6.7"), (501, "5.1.3"), (501, "5.5.4"), (500, "5.5.2"), (555, "5.5.4"))


def reached(backend):
    """The recipients that a backend was asked for, beyond what the tests' own look-ups ask."""
    asked = {line for _, who, line in backend.transcript if who == "C" and line.upper().startswith("RCPT")}
    probe = re.compile(rf"RCPT TO:<[a-z]{{20}}@{re.escape(OURS)}>")  # does the domain accept all?
    return [line for line in asked if not probe.fullmatch(line) and
            not line.startswith((f"RCPT TO:<postmaster@{OURS}>", f"RCPT TO:<user@{OURS}>"))]


def judge(backend, replies):
    wrong = {name: str(reply) for name, reply in replies.items() if not is_refused(reply)}
    assert not wrong, f"not refused: {wrong}"
    assert reached(backend) == [] and backend.messages == []


def is_live(node, source=None):
    with Client(node.port, source=source) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@origin.example>")
        return client.cmd(f"RCPT TO:<user@{OURS}>").code == 250


def test_there_are_enough_forms():
    assert len(FORMS) >= 25 and len(set(FORMS.values())) == len(FORMS)


@pytest.mark.parametrize("source", [None, ADDRESS, STRANGER, FILTER], ids=["loopback", "own-and-backend-address", "stranger", "filter"])
@pytest.mark.parametrize("auth", [False, True], ids=["plain", "auth"])
def test_P3_every_relay_form_is_refused(gate, source, auth, capsys):
    node, backend = gate
    assert is_live(node, source), "what is ours is taken"
    judge(backend, {name: try_form(node, name, source, prologue=AUTH if auth else ()) for name in FORMS})
    with capsys.disabled():
        print(f"\nopen relay: {len(FORMS)} forms refused from {source or '127.0.0.1'}" + (", also after AUTH" if auth else ""))


@pytest.mark.parametrize("sender", SENDERS, ids=["null", "ours", "host", "literal", "percent"])
def test_P3_no_sender_opens_the_relay(gate, sender):
    node, backend = gate
    judge(backend, {name: try_form(node, name, FILTER, sender) for name in FORMS})


def test_P3_XCLIENT_with_a_login_opens_nothing(gate):
    """A network that may say XCLIENT may say for whom it speaks; nobody is authenticated by it."""
    node, backend = gate
    replies = {}
    for name in FORMS:
        with Client(node.port) as client:
            client.ehlo()
            assert client.cmd(f"XCLIENT NAME=mail.{OURS} ADDR={FILTER} LOGIN=admin HELO=mail.{OURS}").code == 220
            client.ehlo()
            client.cmd("MAIL FROM:<a@origin.example>" + (" SMTPUTF8" if name in NEEDS_UTF8 else ""))
            client.write(encode(f"RCPT TO:{FORMS[name]}\r\n"))
            replies[name] = client.reply()
    judge(backend, replies)


def test_P3_AUTH_is_not_offered_and_grants_nothing(gate):
    node, backend = gate
    with Client(node.port, source=FILTER) as client:
        assert "AUTH" not in client.ehlo().text
        for line in AUTH:
            assert (client.cmd(line).code, client.cmd("NOOP").code) == (502, 250)
        reply = client.cmd(f"MAIL FROM:<a@{OURS}> AUTH=admin@{OURS}")
        assert (reply.code, reply.enhanced) == (555, "5.5.4")
        client.cmd(f"MAIL FROM:<a@{OURS}>")
        reply = client.cmd(f"RCPT TO:<user@{OTHER}>")
        assert (reply.code, reply.enhanced) == (550, "5.7.1")


def test_P3_a_mixed_transaction_takes_only_what_is_ours(gate):
    node, backend = gate
    before = len(backend.messages)
    with Client(node.port, source=FILTER) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@origin.example>")
        codes = [client.cmd(f"RCPT TO:{form}").code for form in (f"<user@{OURS}>", f"<user@{OTHER}>", f"<user%{OTHER}@{OURS}>", f'<"u@{OTHER}"@{OURS}>')]
        assert codes == [250, 550, 550, 550]
        assert client.cmd("DATA").code == 354
        assert client.content(b"Subject: x\r\n\r\nx\r\n").code == 250
    assert [m.rcpts for m in backend.messages[before:]] == [[f"user@{OURS}"]]
    backend.messages.clear()


def test_P3_the_postmaster_setting_relays_for_no_other_name(gate, world_of):
    """<postmaster> goes where the setting says, if that is a customer's; forms around it do not."""
    backend = world_of(Backend())
    node = world_of(Node(settings={"hostname": HOST, "postmaster": f"hostmaster@{OURS}"}))
    node.add_customer("acme", OURS, backend.endpoint)
    with Client(node.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@origin.example>")
        assert client.cmd("RCPT TO:<PostMaster>").code == 250
        for form in ("postmaster-foreign", "postmaster-percent", "postmaster-percent-lone", "postmaster-quoted", "postmaster-quoted-lone",
                     "postmaster-route", "postmaster-bang", "postmaster-host-percent"):
            assert is_refused(client.cmd(f"RCPT TO:{FORMS[form]}")), form
    assert f"RCPT TO:<hostmaster@{OURS}>" in [line for _, who, line in backend.transcript if who == "C"]
