# SPDX-License-Identifier: BSD-2-Clause
"""Sender policy against a real name server that holds a whole small Internet: each check's reject, defer, mark, off and pass; P4
(who may be sent a failure notice), P5 (DNS that is dead, slow, lying), P6 (each refusal says why)."""
import ipaddress
import re

import pytest

from harness import ADDRESS, Backend, Client, Node, make_message, wait_until
from nameserver import Nameserver


def reverse(address, zone=None):
    """The name of an address in the reverse tree, or in a block list."""
    ip = ipaddress.ip_address(address)
    if zone:
        return ".".join(reversed(str(ip).split("."))) + "." + zone if ip.version == 4 else \
            ".".join(reversed(ip.exploded.replace(":", ""))) + "." + zone
    return ip.reverse_pointer + "."


GOOD, NONAME, MISMATCH, DYNAMIC, LISTED, OTHER, GOOD6 = ("192.0.2.10", "192.0.2.20", "192.0.2.30", "192.0.2.40", "192.0.2.50",
                                                        "192.0.2.60", "2001:db8:1::25")
LIST, WHITE = "bl.lists.test.", "wl.lists.test."
KNOWN_GOOD = "192.0.2.55"  # on both of them
INTERNET = [
    f"{reverse(GOOD)} IN PTR mail.good.example.", f"mail.good.example. IN A {GOOD}", f"mail.good.example. IN AAAA {GOOD6}",
    f"{reverse(GOOD6)} IN PTR mail.good.example.",
    f"{reverse(MISMATCH)} IN PTR mail.elsewhere.example.", "mail.elsewhere.example. IN A 198.51.100.1",
    f"{reverse(DYNAMIC)} IN PTR p4fd6a28.dip0.dialin.example.", f"p4fd6a28.dip0.dialin.example. IN A {DYNAMIC}",
    f"{reverse(LISTED)} IN PTR mail.listed.example.", f"mail.listed.example. IN A {LISTED}",
    f"{reverse(OTHER)} IN PTR mail.other.example.", f"mail.other.example. IN A {OTHER}",
    f"{reverse(LISTED, LIST)} IN A 127.0.0.2", f"{reverse(LISTED, LIST)} IN TXT \"see https://lists.test/192.0.2.50\"",
    f"{reverse(KNOWN_GOOD)} IN PTR mail.known.example.", f"mail.known.example. IN A {KNOWN_GOOD}",
    f"{reverse(KNOWN_GOOD, LIST)} IN A 127.0.0.2", f"{reverse(KNOWN_GOOD, WHITE)} IN A 127.0.10.1",
    f"{reverse('127.0.0.2', LIST)} IN A 127.0.0.2", f"{reverse('127.0.0.2', WHITE)} IN A 127.0.0.2",
    f"{reverse('::ffff:7f00:2', LIST)} IN A 127.0.0.2", f"{reverse('::ffff:7f00:2', WHITE)} IN A 127.0.0.2",
    "good.example. IN MX 10 mail.good.example.", f"good.example. IN TXT \"v=spf1 ip4:{GOOD} ip6:{GOOD6} -all\"",
    "soft.example. IN MX 10 mail.good.example.", "soft.example. IN TXT \"v=spf1 ip4:198.51.100.7 ~all\"",
    "fail.example. IN MX 10 mail.good.example.", "fail.example. IN TXT \"v=spf1 ip4:198.51.100.7 -all\"",
    "broken.example. IN MX 10 mail.good.example.", "broken.example. IN TXT \"v=spf1 ip4:nonsense -all\"",
    "any.example. IN MX 10 mail.good.example.", "any.example. IN TXT \"v=spf1 +all\"",
    "none.example. IN MX 10 mail.good.example.",
    "null.example. IN MX 0 .",
    "alias.example. IN MX 10 www.alias.example.", "www.alias.example. IN CNAME mail.good.example.",
    "dynamic.example. IN MX 10 mail.good.example.", f"dynamic.example. IN TXT \"v=spf1 ip4:{DYNAMIC} ip4:{MISMATCH} -all\"",
]


@pytest.fixture(scope="module")
def dns():
    with_all = Nameserver(*INTERNET, zone=".").start()
    yield with_all
    with_all.close()


@pytest.fixture(scope="module")
def backend():
    b = Backend().start()
    yield b
    b.close()


@pytest.fixture(scope="module")
def node(dns):
    with Node(settings={"resolver": dns.endpoint, "workers": 1, "xclient-from": ["127.0.0.0/8"], "client-concurrency": 0,
                        "dnsbl": [LIST.rstrip(".")], "dnswl": [WHITE.rstrip(".")]}) as n:
        yield n


def add_customers(node, backend, policies):
    """{name: policy}, one of them off, each with a domain of its name, as relayctl would write them, at once."""
    host, _, port = backend.endpoint.rpartition(":")
    node.postgres.sql("""WITH c AS (INSERT INTO postern.customers (name, policy, max_connections_per_hour)
                                    SELECT name, policy, NULL FROM unnest(%s::text[], %s::text[]) AS n (name, policy) RETURNING id, name),
                              b AS (INSERT INTO postern.backends (customer_id, number, address, port) SELECT id, 1, %s, %s FROM c)
                         INSERT INTO postern.domains (name, customer_id) SELECT name || '.example', id FROM c""",
                      list(policies), list(policies.values()), host, int(port))
    open_to_all = next(name for name, policy in policies.items() if policy == "off")
    wait_until(lambda: node.serves(f"{open_to_all}.example"), 15, "they are served")


POLICIES = ["off", "strict", "strict,greylist=off", "off,helo=forged",
            *(f"off,{check}={action}" for check in ("ptr-none", "ptr-mismatch", "dialin", "helo", "dnsbl", "sender", "spf", "spf-soft", "spf-perm")
              for action in ("reject", "defer", "mark"))]


@pytest.fixture(scope="module")
def customers(node, backend):
    """The domain of the customer with a policy."""
    add_customers(node, backend, {f"c{i}": policy for i, policy in enumerate(POLICIES)})
    return lambda policy: f"c{POLICIES.index(policy)}.example"


def converse(node, domain, client=GOOD, helo="mail.good.example", sender="info@good.example", local="user"):
    """The reply to RCPT."""
    with Client(node.port) as c:
        c.ehlo("proxy.test")
        assert c.cmd(f"XCLIENT ADDR={'IPV6:' if ':' in client else ''}{client}").code == 220
        c.ehlo(helo)
        assert c.cmd(f"MAIL FROM:<{sender}>").code == 250
        return c.cmd(f"RCPT TO:<{local}@{domain}>")


def deliver(node, backend, domain, client=GOOD, helo="mail.good.example", sender="info@good.example", content=None):
    """The content as the backend has got it."""
    before = len(backend.taken)
    with Client(node.port) as c:
        c.ehlo("proxy.test")
        assert c.cmd(f"XCLIENT ADDR={'IPV6:' if ':' in client else ''}{client}").code == 220
        c.ehlo(helo)
        reply = c.send(content or make_message(), sender, f"user@{domain}")
    assert reply.code == 250, str(reply)
    return wait_until(lambda: backend.taken[before:], 10)[-1].content.decode("latin-1")


def marks_in(content, word="mark"):
    found = re.search(r"^X-Postern: relay\.example(?:; \w+=\S+?)*?; " + word + r"=([^;\s]+)", content, re.M)
    return set(found.group(1).split(",")) if found else set()


# check, who fails it (arguments of converse), code and enhanced code of the refusal
FAILURES = {
    "ptr-none": ({"client": NONAME}, "550 5.7.25"),
    "ptr-mismatch": ({"client": MISMATCH}, "550 5.7.25"),
    "dialin": ({"client": DYNAMIC}, "550 5.7.1"),
    "helo": ({"helo": "nowhere.good.example"}, "550 5.7.1"),
    "dnsbl": ({"client": LISTED}, "550 5.7.1"),
    "sender": ({"sender": "a@does-not-exist.example"}, "550 5.1.8"),
    "spf": ({"sender": "a@fail.example"}, "550 5.7.23"),
    "spf-soft": ({"sender": "a@soft.example"}, "550 5.7.23"),
    "spf-perm": ({"sender": "a@broken.example"}, "550 5.7.24"),
}


@pytest.mark.parametrize("check", FAILURES)
def test_P6_reject_defer_mark_off_and_pass(node, backend, customers, check):
    who, refusal = FAILURES[check]
    reply = converse(node, customers(f"off,{check}=reject"), **who)
    assert f"{reply.code} {reply.enhanced}" == refusal, str(reply)
    assert re.search(r"\[P\w+-\w+-\w+\]$", reply.text), f"no reference: {reply}"
    reply = converse(node, customers(f"off,{check}=defer"), **who)
    assert f"{reply.code} {reply.enhanced}" == "450 4.7.1", str(reply)
    assert marks_in(deliver(node, backend, customers(f"off,{check}=mark"), **who)) == {check}
    assert marks_in(deliver(node, backend, customers("off"), **who)) == set()
    assert converse(node, customers(f"off,{check}=reject")).code == 250, "one who does nothing wrong"


def test_P6_the_event_tells_each_check_and_what_decided(node, customers):
    reply = converse(node, customers("strict,greylist=off"), sender="a@fail.example")
    assert reply.code == 550
    ref = re.search(r"\[(\S+)\]$", reply.text).group(1)
    event = wait_until(lambda: [e for e in node.events("recipient-refused") if e["ref"] == ref], 10)[0]
    results = {c["check"]: c["result"] for c in event["checks"]}
    assert results["ptr-none"] == results["ptr-mismatch"] == results["dialin"] == results["helo"] == "pass", results
    assert results["spf"] == "fail" and event["decided_by"] == "spf" and event["spf"] == "fail", event
    assert event["ptr"] == "mail.good.example" and all(c["ms"] >= 0 for c in event["checks"])


def test_P6_an_event_tells_of_its_own_recipient(node, customers):
    """What was judged for one recipient is not told of the next, of whom nothing was."""
    with Client(node.port) as c:
        c.ehlo("proxy.test")
        c.cmd(f"XCLIENT ADDR={NONAME}")
        c.ehlo("mail.good.example")
        c.cmd("MAIL FROM:<info@good.example>")
        assert c.cmd(f"RCPT TO:<user@{customers('off,ptr-none=reject')}>").enhanced == "5.7.25"
        reply = c.cmd("RCPT TO:<user@nobody-here.example>")
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    event = wait_until(lambda: [e for e in node.events("recipient-refused") if e["rcpt"] == "user@nobody-here.example"], 10)[0]
    assert "decided_by" not in event and "checks" not in event, event


HELOS = {
    "ours": ("relay.example", "refused"), "our-address": (f"[{ADDRESS}]", "refused"), "bare-address": (GOOD, "refused"),
    "localhost": ("localhost", "refused"), "localhost.localdomain": ("localhost.localdomain", "refused"),
    "literal-of-its-own": (f"[{GOOD}]", "passes"), "literal-of-another": ("[203.0.113.9]", "marked"),
    "bare-word": ("mailserver", "marked"), "unresolvable": ("x.does-not-exist.example", "marked"), "host": ("mail.other.example", "passes"),
}


@pytest.mark.parametrize("name", HELOS)
def test_helo(node, backend, customers, name):
    helo, want = HELOS[name]
    reply = converse(node, customers("off,helo=reject"), helo=helo)
    assert reply.code == (250 if want == "passes" else 550), str(reply)
    if want == "refused":
        assert converse(node, customers("off,helo=forged"), helo=helo).code == 550
    else:
        assert marks_in(deliver(node, backend, customers("off,helo=forged"), helo=helo)) == ({"helo"} if want == "marked" else set())


def test_P6_a_null_mx_has_its_own_code_and_an_alias_is_only_marked(node, backend, customers):
    reply = converse(node, customers("off,sender=reject"), sender="a@null.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.27"), str(reply)
    assert marks_in(deliver(node, backend, customers("off,sender=reject"), sender="a@alias.example")) == {"sender"}
    assert converse(node, customers("off,sender=reject"), sender="").code == 250, "the null sender has no domain"


def test_P6_a_listed_client_hears_the_list_and_its_reason(node, customers):
    reply = converse(node, customers("off,dnsbl=reject"), client=LISTED)
    assert "bl.lists.test" in reply.text and "see https://lists.test/192.0.2.50" in reply.text, str(reply)


def test_P6_a_white_list_goes_before_block_lists_and_greylisting_and_says_so(node, backend, customers):
    who = {"client": KNOWN_GOOD, "helo": "mail.known.example", "sender": "a@none.example"}
    assert marks_in(deliver(node, backend, customers("strict"), **who)) == set()
    event = wait_until(lambda: [e for e in node.events("message") if e["client"] == KNOWN_GOOD], 10)[-1]
    (check,) = [c for c in event["checks"] if c["check"] == "dnsbl"]
    assert (check["result"], check["input"], check["white_list"]) == ("fail", "bl.lists.test", "wl.lists.test"), check
    told = " ".join(node.relayctl("explain", event["ref"]).stdout.split())
    assert "but the white list wl.lists.test has the client, and goes before" in told and "only marked" not in told, told
    asked = ("simulate", "--ip", KNOWN_GOOD, "--helo", who["helo"], "--from", who["sender"], "--rcpt", f"user@{customers('strict')}")
    said = node.relayctl_json(*asked)[0]
    assert said["verdict"] == "accept" and not said["greylist_applies"] and said["marks"] == []
    assert [c["white_list"] for c in said["checks"] if "white_list" in c] == ["wl.lists.test"]
    assert "the client is on wl.lists.test: no block list counts" in " ".join(node.relayctl(*asked).stdout.split())


def test_ipv6_is_judged_as_well(node, customers):
    assert converse(node, customers("strict,greylist=off"), client=GOOD6).code == 250
    reply = converse(node, customers("off,ptr-none=reject"), client="2001:db8:ffff::1")
    assert (reply.code, reply.enhanced) == (550, "5.7.25"), str(reply)


def test_P4_an_authorised_sender_is_forgiven_its_names(node, backend, customers):
    strict = customers("strict,greylist=off")
    assert converse(node, strict, client=DYNAMIC, sender="a@good.example", helo="p4fd6a28.dip0.dialin.example").code == 550
    content = deliver(node, backend, strict, client=DYNAMIC, sender="a@dynamic.example", helo="p4fd6a28.dip0.dialin.example")
    assert marks_in(content) == {"dialin"}
    content = deliver(node, backend, strict, client=MISMATCH, sender="a@dynamic.example", helo="mail.good.example")
    assert marks_in(content) == {"ptr-mismatch"}
    assert converse(node, strict, client=DYNAMIC, sender="a@any.example", helo="p4fd6a28.dip0.dialin.example").code == 550, \
        "a record that passes everybody says nothing"
    assert converse(node, strict, client=DYNAMIC, sender="a@dynamic.example", helo="localhost").code == 550, "a forged HELO"


def test_P6_a_helo_that_spf_forbids_is_told_as_such(node, customers):
    reply = converse(node, customers("off,spf=reject"), helo="fail.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.23") and "HELO fail.example" in reply.text, str(reply)


def test_opposite_policies_in_one_connection(node, customers):
    """Each recipient is judged by its own customer; and each destination has a transaction of its own."""
    with Client(node.port) as c:
        c.ehlo("proxy.test")
        c.cmd(f"XCLIENT ADDR={NONAME}")
        c.ehlo("localhost")
        for _ in range(2):
            assert c.cmd("MAIL FROM:<a@fail.example>").code == 250
            refused = c.cmd(f"RCPT TO:<user@{customers('strict')}>")
            taken = c.cmd(f"RCPT TO:<user@{customers('off')}>")
            again = c.cmd(f"RCPT TO:<user@{customers('strict')}>")
            assert (refused.code, taken.code, again.code) == (550, 250, 550)
            c.cmd("RSET")


def test_P7_what_is_added_is_on_top_and_nothing_else_changes(node, backend, customers):
    content = make_message()
    got = deliver(node, backend, customers("off,ptr-none=mark"), client=NONAME, content=content)
    assert got.endswith(content.decode("latin-1"))
    assert got.startswith("X-Postern: relay.example; mark=ptr-none\r\n")
    got = deliver(node, backend, customers("off"), client=NONAME, content=content)
    assert got.startswith("Received: ") and got.endswith(content.decode("latin-1"))


def test_the_received_line_names_the_client_by_a_name_that_leads_back(node, backend, customers):
    assert f"(mail.good.example [{GOOD}])" in deliver(node, backend, customers("off,ptr-mismatch=mark"))
    assert "elsewhere" not in deliver(node, backend, customers("off,ptr-mismatch=mark"), client=MISMATCH).split("X-Test-Id")[0]


def test_P7_spf_is_told_in_the_header_and_foreign_claims_of_it_go(node, backend, customers):
    content = b"Authentication-Results: relay.example; spf=pass smtp.mailfrom=forged.example\r\n" + make_message()
    got = deliver(node, backend, customers("off,spf-soft=mark"), sender="a@soft.example", content=content)
    assert "forged.example" not in got
    head = got.split("Received: from", 1)[0]
    assert re.search(r"^Authentication-Results: relay\.example;\r\n\tspf=softfail", head, re.M), head
    assert "Received-SPF: softfail" in head and "smtp.mailfrom=soft.example" in head, head
    got = deliver(node, backend, customers("off"), sender="a@soft.example")
    assert "Received-SPF" not in got, "a customer who needs none causes none"


def test_simulate_tells_every_check_and_what_would_be_said(node, customers, tmp_path):
    strict = customers("strict")
    said = node.relayctl_json("simulate", "--ip", NONAME, "--helo", "localhost", "--from", "a@fail.example", "--rcpt", f"user@{strict}")[0]
    results = {c["check"]: c["result"] for c in said["checks"]}
    assert results["ptr-none"] == results["spf"] == "fail" and results["helo"] == "forged", results
    assert "unknown" not in results.values(), results
    assert said["verdict"] == "refuse" and said["reply"].startswith("550 5.7.25"), said
    reply = converse(node, strict, client=NONAME, helo="localhost", sender="a@fail.example")
    assert str(reply.text).split(" [")[0] in said["reply"] or said["reply"].endswith(reply.text.split(" [")[0]), (said["reply"], str(reply))
    said = node.relayctl_json("simulate", "--ip", GOOD, "--helo", "mail.good.example", "--from", "info@good.example", "--rcpt", f"user@{strict}")[0]
    assert said["verdict"] == "later" and said["greylist_applies"] is True, said
    assert said["reply"].startswith("451 4.7.1 First contact, try again in 5 minutes"), said
    (greylist,) = node.relayctl_json("greylist", "list", "--customer", said["customer"], check=False) or [None]
    assert greylist is None, "it has not come for having been simulated"
    for sender, word in (("info@good.example", "pass"), ("a@fail.example", "fail"), ("a@none.example", "none"), ("a@broken.example", "permerror")):
        assert node.relayctl("simulate", "--check", "spf", "--ip", GOOD, "--from", sender).stdout.split()[0] == word
    for content, verdict, word in ((b"Subject: a\n\nb\n", "later", "451 4.7.1 First contact"), (b"a\rb\n", "refuse", "550 5.6.11"),
                                   (b"Received: x\n" * 101 + b"\n", "refuse", "554 5.4.6"), (b"x" * 21_000_000, "refuse", "552 5.3.4")):
        (tmp_path / "message").write_bytes(content)
        said = node.relayctl_json("simulate", "--ip", GOOD, "--helo", "mail.good.example", "--from", "info@good.example",
                                  "--rcpt", f"user@{strict}", "--message", str(tmp_path / "message"))[0]
        assert said["verdict"] == verdict and said["reply"].startswith(word), said
    for wrong in (("--ip", "nonsense", "--from", "a@b.example", "--rcpt", "x@y.example"), ("--from", "a@b.example"), ("--ip", GOOD, "--check", "dkim")):
        assert node.relayctl("simulate", *wrong, check=False).returncode == 2
