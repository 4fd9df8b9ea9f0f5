# SPDX-License-Identifier: BSD-2-Clause
"""Filters, the lists of customers and operators, greylisting and backscatter, as a sender meets them: P3, P4, P6."""
import re
import time

import pytest

from harness import ADDRESS, Backend, Client, Node, free_port, make_message, reference_in, wait_until
from nameserver import Nameserver
from test_sender_policy import DYNAMIC, GOOD, INTERNET, LIST, LISTED, NONAME, OTHER, add_customers, converse, deliver

POOL = [f"198.51.{200 + i}.7" for i in range(16)]  # sixteen networks of one sender
DELAY = 3
FILTER = "203.0.113.7"
WORLD = [*INTERNET, "pool.example. IN MX 10 mail.good.example.",
         "pool.example. IN TXT \"v=spf1 " + " ".join(f"ip4:{a}" for a in POOL[:8]) + " \" \"" + " ".join(f"ip4:{a}" for a in POOL[8:])
         + " -all\""]


@pytest.fixture(scope="module")
def dns():
    server = Nameserver(*WORLD, zone=".").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def backend():
    b = Backend().start()
    b.script["rcpt"] = lambda s, line: "550 5.1.1 no such user" if "<nobody" in line else None
    yield b
    b.close()


@pytest.fixture(scope="module")
def node(dns, backend):
    with Node(settings={"resolver": dns.endpoint, "workers": 8, "xclient-from": ["127.0.0.0/8"], "client-concurrency": 0,
                        "dnsbl": [LIST.rstrip(".")], "greylist-delay": f"{DELAY}s", "backscatter-threshold": 5}) as n:
        add_customers(n, backend, {"acme": "strict,greylist=off", "other": "strict,greylist=off", "third": "strict,greylist=off",
                                   "grey": "off,greylist=defer,spf=mark,spf-soft=mark", "suspects": "standard", "locked": "off",
                                   "origin": "strict,greylist=off"})
        yield n


def changes(node, *args):
    """One change of the registry; workers have it a moment later."""
    node.relayctl(*args)
    node.wait_until_replicated()


# --- Filters.

@pytest.fixture(scope="module")
def filtered(node):
    changes(node, "filter", "add", "--customer", "acme", "--label", "barracuda", f"{FILTER}/32", "198.51.100.0/28")
    return node


BAD = {"client": FILTER, "helo": "localhost", "sender": "a@fail.example"}


def test_P6_a_filter_is_exempt_for_its_customer_and_for_nobody_else(filtered):
    wait_until(lambda: converse(filtered, "acme.example", **BAD).code == 250, 5, "the filter is known to all workers")
    for _ in range(6):
        assert converse(filtered, "acme.example", **BAD).code == 250
    assert converse(filtered, "other.example", **BAD).code == 550
    assert converse(filtered, "acme.example", client="203.0.113.8", helo="localhost").code == 550, "its neighbour is none"


def test_P3_a_filter_is_no_way_to_relay(filtered):
    assert converse(filtered, "elsewhere.example", client=FILTER).code == 550


def test_exempt_by_choice_but_from_spf_always(filtered):
    changes(filtered, "filter", "set", "acme/barracuda", "--exempt", "helo")
    reply = wait_until(lambda: (r := converse(filtered, "acme.example", **BAD)).code == 550 and r, 5)
    assert reply.enhanced == "5.7.25", "it has no PTR, and that counts now"
    changes(filtered, "filter", "set", "acme/barracuda", "--exempt", "ptr,helo,dnsbl,greylist")
    wait_until(lambda: converse(filtered, "acme.example", **BAD).code == 250, 5)


def test_P6_a_customer_can_be_locked_to_its_filters(filtered, backend):
    changes(filtered, "filter", "add", "--customer", "locked", "--label", "cloud", f"{FILTER}/32", "--only")
    reply = wait_until(lambda: (r := converse(filtered, "locked.example")).code == 550 and r, 5)
    assert reply.enhanced == "5.7.1" and "send to its MX" in reply.text, str(reply)
    assert converse(filtered, "locked.example", client=FILTER).code == 250


def received(address):
    return b"Received: from mail.example (unknown [%s])\r\n\tby filter.isp.example with ESMTP; Mon, 30 Nov 2026 10:00:00 +0100\r\n" % (
        address.encode())


@pytest.fixture(scope="module")
def behind_filter(filtered):
    """content, sender -> the reply to what the filter of the customer "origin" brings."""
    changes(filtered, "filter", "add", "--customer", "origin", "--label", "cloud", f"{FILTER}/32", "--origin", "received")

    def bring(content, sender="info@good.example"):
        with Client(filtered.port) as c:
            c.ehlo("proxy.test")
            c.cmd(f"XCLIENT ADDR={FILTER}")
            c.ehlo("filter.isp.example")
            return c.send(content, sender, "user@origin.example")
    wait_until(lambda: bring(received(GOOD) + make_message()).code == 250, 5)
    return bring


def test_P4_the_true_client_is_judged_by_the_filters_received_line(filtered, behind_filter, backend):
    bring = behind_filter
    assert bring(received(GOOD) + make_message()).code == 250
    reply = bring(received("198.51.100.99") + make_message())
    assert (reply.code, reply.enhanced) == (550, "5.7.23"), str(reply)
    reply = bring(received(LISTED) + make_message(), sender="a@none.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.1") and LISTED in reply.text, str(reply)
    for nothing in (b"", received("10.1.2.3"), b"Received: by filter.isp.example\r\n"):
        before = len(backend.taken)
        assert bring(nothing + make_message()).code == 250
        content = wait_until(lambda: backend.taken[before:], 10)[-1].content
        assert b"Received-SPF" not in content and b"spf=" not in content, "none, and never pass nor fail"
    ref = reference_in(bring(received("198.51.100.99") + make_message()).text)
    event = wait_until(lambda: [e for e in filtered.events("message") if e["ref"] == ref], 10)[0]
    assert event["origin_client"] == "198.51.100.99" and event["spf"] == "fail" and event["decided_by"] == "spf", event
    for origin, verdict in (("198.51.100.99", "refuse"), (GOOD, "accept")):
        said = filtered.relayctl_json("simulate", "--ip", FILTER, "--helo", "filter.isp.example", "--from", "info@good.example", "--rcpt",
                                      "user@origin.example", "--message", "-", input=(received(origin) + make_message()).decode())[0]
        assert said["verdict"] == verdict and {c["check"]: c["result"] for c in said["checks"]}["spf"] == ("fail" if verdict == "refuse" else "pass")
    told = filtered.relayctl("explain", ref).stdout
    assert "198.51.100.99, says the filter's Received line" in told, told


def test_P4_another_customers_refusal_in_between_changes_nothing(filtered, behind_filter, backend):
    """The origin of a message is judged by the policy of the customer that takes it, not of the last one asked for."""
    filtered.relayctl("filter", "add", "--customer", "locked", "--label", "cloud", f"{FILTER}/32", check=False)
    with Client(filtered.port) as c:
        c.ehlo("proxy.test")
        c.cmd(f"XCLIENT ADDR={FILTER}")
        c.ehlo("filter.isp.example")
        assert c.cmd("MAIL FROM:<info@good.example>").code == 250
        assert c.cmd("RCPT TO:<user@origin.example>").code == 250
        assert c.cmd("RCPT TO:<user@locked.example>").code == 452, "another destination"
        assert c.cmd("DATA").code == 354
        reply = c.content(received("198.51.100.99") + make_message())
        assert (reply.code, reply.enhanced) == (550, "5.7.23"), str(reply)


def test_P9_a_filter_does_not_count_in_the_hour(filtered, backend):
    filtered.postgres.sql("UPDATE postern.customers SET max_connections_per_hour = 1 WHERE name = 'acme'")
    filtered.wait_until_replicated()
    wait_until(lambda: converse(filtered, "acme.example").code == 451, 10, "one who counts has used it up")
    for _ in range(3):
        assert converse(filtered, "acme.example", client=FILTER).code == 250
    filtered.postgres.sql("UPDATE postern.customers SET max_connections_per_hour = NULL WHERE name = 'acme'")
    filtered.wait_until_replicated()
    wait_until(lambda: converse(filtered, "acme.example").code == 250, 10)


# --- Rules.

def test_P6_a_customers_own_lists_go_before_its_policy(node):
    changes(node, "block", "add", GOOD, "--customer", "other", "--reason", "sends us advertising")
    reply = wait_until(lambda: (r := converse(node, "other.example")).code == 550 and r, 5)
    assert reply.enhanced == "5.7.1" and "does not accept mail from this sender" in reply.text
    assert converse(node, "third.example").code == 250, "another customer's list is another's"
    changes(node, "block", "remove", GOOD, "--customer", "other", "--reason", "over")
    wait_until(lambda: converse(node, "other.example").code == 250, 5)
    changes(node, "allow", "add", NONAME, "--customer", "other")
    wait_until(lambda: converse(node, "other.example", client=NONAME).code == 250, 5)
    assert converse(node, "third.example", client=NONAME).code == 550


def test_P6_by_sender_and_domain_but_a_name_does_not_lift_spf(node):
    changes(node, "block", "add", "good.example", "--customer", "third", "--reason", "no")
    wait_until(lambda: converse(node, "third.example").code == 550, 5)
    changes(node, "allow", "add", "info@good.example", "--customer", "third")
    wait_until(lambda: converse(node, "third.example").code == 250, 5, "the narrower goes first")
    assert converse(node, "third.example", sender="other@good.example").code == 550
    reply = converse(node, "third.example", client=OTHER, helo="mail.other.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.23"), "whoever forges the name"
    for verb, what in (("block", "good.example"), ("allow", "info@good.example")):
        changes(node, verb, "remove", what, "--customer", "third", "--reason", "over")


def test_P6_an_operators_block_is_heard_instead_of_the_greeting(node):
    changes(node, "block", "add", "192.0.2.128/25", "--node-wide", "--reason", "attacks since Monday")

    def greeting():
        with Client(node.port) as c:
            c.ehlo("proxy.test")
            return c.cmd("XCLIENT ADDR=192.0.2.200")
    reply = wait_until(lambda: (r := greeting()).code == 554 and r, 5)
    assert reply.enhanced == "5.7.1"
    changes(node, "block", "remove", "192.0.2.128/25", "--node-wide", "--reason", "over")
    wait_until(lambda: greeting().code == 220, 5)


# --- Greylisting.

def simulated(node, client, sender="sender@origin.example", local="user"):
    """The verdict, and what greylisting says."""
    said = node.relayctl_json("simulate", "--ip", client, "--helo", "mail.good.example", "--from", sender, "--rcpt", f"{local}@grey.example")[0]
    return said["verdict"], {c["check"]: c["result"] for c in said["checks"]}["greylist"], said["greylist_applies"]


def test_simulate_knows_who_has_come_and_is_not_seen(node):
    client, who = "198.51.102.1", {"sender": "sender@origin.example"}
    for _ in range(2):
        assert simulated(node, client) == ("later", "fail", True)
        time.sleep(DELAY / 2 + 0.1)
    assert simulated(node, client) == ("later", "fail", True), "nobody waits by being simulated"
    assert converse(node, "grey.example", client=client, **who).code == 451
    time.sleep(DELAY)
    assert simulated(node, client) == ("accept", "pass", False), "it would pass now"
    assert simulated(node, client, local="other") == ("later", "fail", True), "but is not known for having been simulated"
    assert converse(node, "grey.example", client=client, **who).code == 250
    assert simulated(node, client, local="other") == ("accept", "pass", False), "it is known"


def test_a_first_contact_waits_and_is_known_then(node, backend):
    reply = converse(node, "grey.example", client="198.51.100.200")
    assert (reply.code, reply.enhanced) == (451, "4.7.1") and "minute" in reply.text, str(reply)
    assert converse(node, "grey.example", client="198.51.100.201").code == 451, "the same network, before its time"
    time.sleep(DELAY)
    assert converse(node, "grey.example", client="198.51.100.201").code == 250
    assert converse(node, "grey.example", client="198.51.100.202", sender="new@none.example", local="another").code == 250, "known"
    assert converse(node, "grey.example", client="198.51.99.200").code == 451, "another network is not"


def test_a_pool_of_sixteen_addresses_passes_at_its_second_attempt(node):
    who = {"sender": "news@pool.example"}
    assert converse(node, "grey.example", client=POOL[0], **who).code == 451
    time.sleep(DELAY)
    for address in POOL[1:]:
        assert converse(node, "grey.example", client=address, **who).code == 250, address
    node.relayd.stop()
    node.relayd.start()
    assert converse(node, "grey.example", client=POOL[3], sender="else@pool.example", local="x").code == 250, "over a restart"


@pytest.mark.parametrize("policy, mode", [("off,greylist=defer", ["mx"]), ("off", ["fallback", "--primary-up", "defer"])])
def test_a_pool_is_one_even_where_nobody_else_asks_for_spf(world_of, dns, backend, policy, mode):
    alone = world_of(Node(settings={"resolver": dns.endpoint, "xclient-from": ["127.0.0.0/8"], "client-concurrency": 0,
                                    "greylist-delay": f"{DELAY}s", "fallback-delay": f"{DELAY}s"}))
    add_customers(alone, backend, {"alone": policy, "plain": "off"})
    changes(alone, "domain", "set", "alone.example", "--mode", *mode)
    who = {"sender": "news@pool.example"}
    first = wait_until(lambda: (r := converse(alone, "alone.example", client=POOL[0], **who)).enhanced == "4.7.1" and r, 10, "it waits")
    assert first.code // 100 == 4
    time.sleep(DELAY)
    assert converse(alone, "alone.example", client=POOL[1], **who).code == 250, "another network of the same pool"
    assert "Received-SPF" not in deliver(alone, backend, "alone.example", client=POOL[2], **who), "SPF is off"
    assert converse(alone, "alone.example", client="198.51.99.7", sender="a@fail.example").enhanced == "4.7.1", "nor does it refuse"


def test_only_suspects_wait_in_the_standard_policy(node):
    assert converse(node, "suspects.example").code == 250, "nothing speaks against it"
    reply = converse(node, "suspects.example", client=DYNAMIC, helo="p4fd6a28.dip0.dialin.example", sender="a@none.example")
    assert (reply.code, reply.enhanced) == (451, "4.7.1"), str(reply)


# --- Backscatter.

def bounce(node, domain, client, count):
    replies = []
    for i in range(count):
        replies.append(converse(node, domain, client=client, helo="mail.other.example", sender="", local=f"nobody{i}"))
    return replies


def test_P4_a_source_of_backscatter_is_banned_for_whom_it_hit(node):
    wait_until(lambda: bounce(node, "acme.example", OTHER, 8)[-1].enhanced == "5.7.1", 10)
    reply = converse(node, "acme.example", client=OTHER, helo="mail.other.example", sender="")
    assert (reply.code, reply.enhanced) == (550, "5.7.1"), str(reply)
    assert converse(node, "other.example", client=OTHER, helo="mail.other.example", sender="").code == 250, "for nobody else"
    assert converse(node, "acme.example", client=OTHER, helo="mail.other.example", sender="a@none.example").code == 250, "only bounces"
    for domain, verdict, result in (("acme.example", "refuse", "fail"), ("other.example", "accept", "pass")):
        said = node.relayctl_json("simulate", "--ip", OTHER, "--helo", "mail.other.example", "--from", "<>", "--rcpt", f"user@{domain}")[0]
        assert said["verdict"] == verdict and {c["check"]: c["result"] for c in said["checks"]}["ban"] == result, said
    assert any("backscatter-source" in line and 'ban="until' in line for line in node.relayd.text().splitlines())


def test_P4_who_delivers_good_mail_to_three_is_reported_and_not_banned(node, backend):
    for domain in ("acme.example", "other.example", "third.example"):
        deliver(node, backend, domain)
    delivered_at = time.monotonic()
    wait_until(lambda: time.monotonic() > delivered_at + 1, 5, "the workers have told of it, 20 ms later, which nothing shows")
    for reply in bounce(node, "acme.example", GOOD, 12):
        assert (reply.code, reply.enhanced) == (550, "5.1.1"), str(reply)
    assert converse(node, "acme.example", sender="").code == 250
    wait_until(lambda: any("backscatter-source" in line and "ban=no" in line for line in node.relayd.text().splitlines()), 5)


# --- Who may be sent a failure notice.

class Dead:
    endpoint = f"{ADDRESS}:{free_port()}"


VERIFIED = {  # client, sender: does SPF verify it?
    "sound": (GOOD, "info@good.example", True), "all": (GOOD, "info@any.example", False), "fail": (OTHER, "info@good.example", False),
    "none": (GOOD, "info@none.example", False), "null": (GOOD, "", False),
}


@pytest.mark.parametrize("how", VERIFIED)
def test_P4_only_spf_that_says_something_verifies_a_sender(node, how):
    if not node.postgres.sql("SELECT 1 FROM postern.customers WHERE name = 'dead'"):
        add_customers(node, Dead, {"dead": "off,spf=mark,spf-soft=mark", "deaf": "off"})
    client, sender, is_verified = VERIFIED[how]
    for domain, wanted in (("dead.example", is_verified), ("deaf.example", False)):
        with Client(node.port) as c:
            c.ehlo("proxy.test")
            c.cmd(f"XCLIENT ADDR={client}")
            c.ehlo("mail.good.example")
            reply = c.send(make_message(), sender, f"{how}@{domain}")
        assert reply.code == 250 and "queued until" in reply.text, str(reply)
        shown = wait_until(lambda r=reply: node.relayctl_json("spool", "show", reference_in(r.text)), 10)[0]
        assert shown["sender_verified"] is wanted, (domain, shown)


# --- DNS lists.

def test_a_list_that_sleeps_is_seen_in_status(world_of, dns):
    asked = world_of(Node(settings={"resolver": dns.endpoint, "dnsbl": [LIST.rstrip("."), "absent.example"]}))

    def lists():
        part = asked.relayctl_json("status", check=False)[0].get("lists")
        return part if part and part["state"] == "asleep" else None
    part = wait_until(lists, 10, "the list that is not there sleeps")
    awake, asleep = part["lists"]
    assert (awake["name"], awake["setting"], awake["state"], awake["why"]) == (LIST.rstrip("."), "dnsbl", "awake", None)
    assert (asleep["name"], asleep["state"]) == ("absent.example", "asleep") and "fails its test" in asleep["why"]
    done = asked.relayctl("status", check=False)
    assert done.returncode == 1, "an operator must see to it"
    assert re.search(r"^lists +asleep .*absent\.example asleep since\s", done.stdout, re.M), done.stdout
