# SPDX-License-Identifier: BSD-2-Clause
"""P4, P2: mail that ends without delivery. A sender that was verified at reception gets one notice, by a smarthost or from MX hosts; of any
other the end is recorded. Records are a scribe's, since nothing verifies a sender at reception yet. One node; each test has senders
of its own."""
import email
import email.policy
import itertools
import json
import ssl

import pytest

from harness import Backend, Node, Postfix, reference_in, wait_until
from nameserver import ZONE, Nameserver
from scribe import Scribe
from tls import make_certificate
from world import Process, own

NEVER, SUCCESS, FAILURE = 1, 2, 4
FULL = 1
USER, PASSWORD = "relay", "s3cret word"
BASE64 = "AHJlbGF5AHMzY3JldCB3b3Jk"
numbers = itertools.count(1)
HOST = "127.0.0.7"  # of MX hosts
CONTACT = "it@elsewhere.example"  # of the customer


def secure_context(folder):
    made = make_certificate(folder, "smarthost", names=("smarthost.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.path, made.key)
    return context


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smarthost")
    smarthost = Backend(tls=secure_context(folder)).start()
    smarthost.GOOD = dict(smarthost.GOOD, ehlo=smarthost.GOOD["ehlo"].replace("250-SIZE", "250-AUTH LOGIN PLAIN\r\n250-SIZE"))
    backend = Backend().start()
    dns = Nameserver()
    dns.start()
    node = Node(settings={"outbound-route": smarthost.endpoint, "outbound-tls": "encrypt", "notices-per-sender": 3,
                          "resolver": dns.endpoint, "notice-from": "postmaster@isp.example", "notify-after": "1s"}, start=False)
    secret = node.folder / "credentials"
    secret.write_text(f"{USER}:{PASSWORD}\n")
    secret.chmod(0o600)
    own(secret, node.user)
    node.write_config(outbound_credentials=str(secret))
    with node:
        node.start()
        node.backend, node.smarthost, node.dns, node.secret = backend, smarthost, dns, secret
        node.add_customer(backend=backend.endpoint)
        node.postgres.sql("UPDATE postern.customers SET contact = %s", CONTACT)
        node.scribe = Scribe(node)
        yield node
        node.scribe.close()
    for peer in (backend, smarthost, dns):
        peer.close()


@pytest.fixture
def node(shared):
    """Its backend is up and takes everything; a sender that no other test has."""
    shared.sender = f"s{next(numbers)}@sender.example"
    shared.scribe.ago(0)
    shared.scribe.mail(shared.sender)
    deliver_one(shared)
    yield shared
    shared.backend.script.clear()
    shared.smarthost.script.clear()


def deliver_one(node):
    ref = node.scribe.record()
    wait_until(lambda: any(ref in line for line in node.spoolmgr.log_lines("delivered")), 20, "the backend is up")


def refuse_all(node, reply="550 5.1.1 no such user here"):
    node.backend.script["rcpt"] = reply


def notices(peer, sender):
    return [m for m in peer.taken if m.rcpts == [sender]]


def the_notice(peer, sender):
    wait_until(lambda: notices(peer, sender), 20, "the notice has come")
    return notices(peer, sender)[0]


def shown(node, ref):
    return node.relayctl_json("spool", "show", ref)[0]


def ended(node, ref):
    wait_until(lambda: all(r["state"] not in ("open", "live") for r in shown(node, ref)["recipients"]), 20, f"{ref} has ended")
    return shown(node, ref)


def lines_of(node, event, ref):
    return [line for line in node.spoolmgr.log_lines(event) if f" {ref} " in line]


def parsed(message):
    return email.message_from_bytes(message.content, policy=email.policy.default)


def fields_of(part):
    """The groups of message/delivery-status, as dicts."""
    return [dict(group.items()) for group in part.get_payload()]


def nothing_but(node, sender):
    """A notice for somebody else has passed by: what was to be sent before it would have been."""
    node.scribe.mail("last-" + sender)
    node.scribe.record("verified")
    the_notice(node.smarthost, "last-" + sender)
    return notices(node.smarthost, sender)


def test_P4_a_late_refusal_is_told_to_a_verified_sender(node):
    refuse_all(node)
    node.scribe.mail(node.sender, ret=2)
    ref = node.scribe.record("verified")
    message = the_notice(node.smarthost, node.sender)
    assert message.mail_from == "", "the null reverse-path"
    report = parsed(message)
    assert report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
    assert report["Auto-Submitted"] == "auto-replied" and report["To"] == node.sender
    assert report["From"] == "Mail Delivery System <postmaster@isp.example>"
    text, status, original = report.iter_parts()
    assert ref in text.get_content() and "550 5.1.1 no such user here" in text.get_content()
    assert status.get_content_type() == "message/delivery-status"
    about, *recipients = fields_of(status)
    assert about["Reporting-MTA"] == "dns; relay.example" and about["Original-Envelope-Id"] == "QQ+314159"
    assert [(r["Final-Recipient"], r["Action"], r["Status"], r["Diagnostic-Code"]) for r in recipients] == [
        (f"rfc822; {who}@acme.example", "failed", "5.1.1", "smtp; 550 5.1.1 no such user here") for who in ("rita", "ron")]
    assert original.get_content_type() == "text/rfc822-headers"
    assert "X-Scribe: yes" in original.get_payload() and len(original.get_payload()) < 1000, "the header alone"
    after = ended(node, ref)
    assert {r["state"] for r in after["recipients"]} == {"refused"}
    line, = lines_of(node, "refused", ref)
    notice = reference_in(line.split("notice=")[1])
    assert f"[notice {notice}]" in after["recipients"][0]["reply"] and "open=0" in line
    wait_until(lambda: lines_of(node, "delivered", notice), 10, "what became of the notice is said as of any mail")
    session = message.session
    assert (session, "C", f"AUTH PLAIN {BASE64}") in node.smarthost.transcript
    assert node.smarthost.about[session]["tls"], "inside TLS"
    assert not any("AUTH" in line for s, who, line in node.smarthost.transcript[:3] if who == "C"), "not before"


def test_P4_nobody_else_is_told(node):
    refuse_all(node)
    why = {}
    for name, flags, notify in (("unverified", (), 0), ("spam", ("verified", "spam"), 0), ("never", ("verified",), NEVER),
                                ("success", ("verified",), SUCCESS)):
        node.scribe.mail(f"{name}-{node.sender}", notify=notify)
        why[name] = node.scribe.record(*flags)
    reasons = {"unverified": "the sender was not verified at reception", "spam": "it was marked as spam",
               "never": "the sender wants none (NOTIFY)", "success": "the sender wants none (NOTIFY)"}
    for name, ref in why.items():
        after = ended(node, ref)
        assert {r["state"] for r in after["recipients"]} == {"refused"}
        assert f"[no notice: {reasons[name]}]" in after["recipients"][0]["reply"], name
        assert f'notice=none why-not="{reasons[name]}"' in lines_of(node, "refused", ref)[0]
    assert nothing_but(node, node.sender) == []
    for name in why:
        assert notices(node.smarthost, f"{name}-{node.sender}") == [], name


def test_P4_the_whole_message_if_it_was_asked_for(node):
    refuse_all(node)
    node.scribe.mail(node.sender, ret=FULL, notify=FAILURE)
    node.scribe.record("verified")
    *_, original = parsed(the_notice(node.smarthost, node.sender)).iter_parts()
    assert original.get_content_type() == "message/rfc822"
    inner = original.get_payload()[0]
    assert inner["X-Scribe"] == "yes" and len(inner.get_payload()) >= 2000


def test_P4_notices_are_bounded_in_rate(node):
    refuse_all(node)
    refs = [node.scribe.record("verified") for _ in range(4)]
    replies = [ended(node, ref)["recipients"][0]["reply"] for ref in refs]
    assert sum("[notice P" in reply for reply in replies) == 3
    assert sum("[no notice: too many notices this hour]" in reply for reply in replies) == 1
    assert len(nothing_but(node, node.sender)) == 3


def test_P4_expired_behind_an_attempt_that_failed(node):
    node.backend.script["rcpt"] = "451 4.2.1 not now"
    node.scribe.ago(6 * 86400)
    ref = node.scribe.record("verified")
    message = the_notice(node.smarthost, node.sender)
    text, status, _ = parsed(message).iter_parts()
    _, rita, ron = fields_of(status)
    assert (rita["Action"], rita["Status"], rita["Diagnostic-Code"]) == ("failed", "5.4.7", "smtp; 451 4.2.1 not now")
    assert "did not take it in time" in text.get_content()
    assert {r["state"] for r in ended(node, ref)["recipients"]} == {"expired"}
    assert len(lines_of(node, "expired", ref)) == 1


def test_P4_no_notice_of_a_notice(node):
    refuse_all(node)
    node.smarthost.script["rcpt"] = "550 5.1.1 never heard of"
    ref = node.scribe.record("verified")
    reply = ended(node, ref)["recipients"][0]["reply"]
    notice = reference_in(reply.split("[notice ")[1])
    wait_until(lambda: lines_of(node, "refused", notice), 20, "the smarthost refuses it")
    assert 'notice=none why-not="it is a notice itself"' in lines_of(node, "refused", notice)[0]
    assert notice not in node.relayctl("spool", "list", check=False).stdout, "it is dropped"


def test_P2_a_death_between_notice_and_outcome_makes_no_second_one(node):
    node.spoolmgr.stop()
    refuse_all(node)
    node.spoolmgr.env["POSTERN_TEST_CRASH"] = "keeper-notice-written:1"
    ref = node.scribe.record("verified")
    try:
        Process.start(node.spoolmgr)  # it may die before it could be seen to run
        wait_until(lambda: not node.spoolmgr.alive, 20, "it dies when the notice is durable")
    finally:
        del node.spoolmgr.env["POSTERN_TEST_CRASH"]
    assert shown(node, ref)["recipients"][0]["state"] in ("open", "live"), "the ledger does not know of it"
    refused_before = len(node.backend.transcript)
    node.spoolmgr.start()
    after = ended(node, ref)
    assert {r["state"] for r in after["recipients"]} == {"refused"} and "[notice P" in after["recipients"][0]["reply"]
    the_notice(node.smarthost, node.sender)
    assert len(nothing_but(node, node.sender)) == 1
    assert not any("MAIL FROM" in line and node.sender in line and "last-" not in line
                   for _, _, line in node.backend.transcript[refused_before:]), "it is not tried again"

    def written():
        lines = (line for p in sorted(node.dirs["log-dir"].glob("events-*.jsonl")) for line in p.read_text().splitlines())
        return sorted(e["rcpt"][0] for e in map(json.loads, lines) if e["event"] == "ended" and e["ref"] == ref)
    both = ["rita@acme.example", "ron@acme.example"]
    wait_until(lambda: written() == both, 10, "each end is written once")
    node.spoolmgr.kill()
    node.spoolmgr.start()
    wait_until(lambda: written() == sorted(2 * both), 10, "the next keeper writes them again")

    def is_copied():
        done = dict(node.postgres.sql("SELECT file, offset_bytes FROM postern.events_copied"))
        return all(p.stat().st_size == done.get(p.name, 0) for p in node.dirs["log-dir"].glob("events-*.jsonl"))
    wait_until(is_copied, 30, "all is copied")
    counted = node.postgres.sql("SELECT verdict, detail -> 'rcpt' ->> 0 FROM postern.events WHERE ref = %s AND kind = 'ended' ORDER BY 2", ref)
    assert counted == [("refused", address) for address in both], "each counts once"


def returned(node, *args, code=0):
    done = node.relayctl("spool", "return", *args, "--json", check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


@pytest.mark.parametrize("keeper", [True, False])
def test_P4_an_operator_returns_messages(node, keeper):
    node.backend.script["rcpt"] = "451 4.2.1 not now"
    told = node.scribe.record("verified")
    node.scribe.mail("un" + node.sender)
    untold = node.scribe.record()
    wait_until(lambda: {told, untold} <= {m["id"] for m in node.spool()}, 10, "they wait")
    if not keeper:
        node.spoolmgr.stop()
    assert "--reason" in returned(node, told, code=2).stderr
    returned(node, told, untold, "--dry-run", "--reason", "x")
    assert shown(node, told)["recipients"][0]["state"] in ("open", "live")
    returned(node, told, untold, "--reason", "ticket 4711")
    for ref in (told, untold):
        assert {r["state"] for r in shown(node, ref)["recipients"]} == {"returned"}
        assert "ticket 4711" in shown(node, ref)["recipients"][0]["reply"]
    assert "[notice P" in shown(node, told)["recipients"][0]["reply"]
    assert "[no notice: the sender was not verified at reception]" in shown(node, untold)["recipients"][0]["reply"]
    if not keeper:
        assert notices(node.smarthost, node.sender) == []
        assert node.spoolmgr.once().returncode == 0
        assert len(notices(node.smarthost, node.sender)) == 1, "one pass sends it"
        node.spoolmgr.start()
    message = the_notice(node.smarthost, node.sender)
    assert "4711" not in message.content.decode(), "the reason is for operators"
    assert "have given up" in parsed(message).get_body().get_content()
    assert notices(node.smarthost, "un" + node.sender) == []


def test_P4_without_the_relay_one_pass_ends_and_tells(node):
    """`spoolmgr --once` alone: the message ends, its notice is written and goes out in the same pass."""
    node.spoolmgr.stop()
    refuse_all(node)
    ref = node.scribe.record("verified")
    assert node.spoolmgr.once().returncode == 0
    assert len(notices(node.smarthost, node.sender)) == 1
    assert {r["state"] for r in shown(node, ref)["recipients"]} == {"refused"}
    node.spoolmgr.start()


@pytest.mark.parametrize("verified", [True, False])
def test_P4_a_refusal_that_came_behind_the_end_is_told(node, verified):
    """The worker had taken the message over when the end was not answered, and hears 5xx afterwards."""
    ref = node.scribe.record("unknown", "listening", *(["verified"] if verified else []))
    wait_until(lambda: shown(node, ref)["state"] == "listening", 10, "it is listened for")
    node.scribe.say(ref, "refused")
    wait_until(lambda: lines_of(node, "refused", ref), 20, "the keeper has heard it")
    line, = lines_of(node, "refused", ref)
    if verified:
        _, status, _ = parsed(the_notice(node.smarthost, node.sender)).iter_parts()
        assert [r["Final-Recipient"] for r in fields_of(status)[1:]] == ["rfc822; ron@acme.example"], "rita's is not refused"
        assert reference_in(line.split("notice=")[1])
    else:
        assert 'notice=none why-not="the sender was not verified at reception"' in line
        refuse_all(node)
        assert nothing_but(node, node.sender) == []


# --- Other ways out.


@pytest.fixture
def another_way(node):
    """Restarts the keeper with other settings, and back."""
    before = {name: node.settings.get(name) for name in ("outbound-route", "outbound-tls", "outbound-credentials")}

    def change(**settings):
        node.spoolmgr.stop()
        node.write_config(**settings)
        return node.spoolmgr.start()

    yield change
    node.spoolmgr.env.pop("POSTERN_TEST_MX_PORT", None)
    node.spoolmgr.stop()
    node.write_config(**{name.replace("-", "_"): value for name, value in before.items()})
    node.spoolmgr.start()


def test_P4_without_a_route_it_is_said_and_recorded(node, another_way):
    another_way(outbound_route=None, outbound_credentials=None)
    assert len([line for line in node.spoolmgr.log_lines("no-outbound-route") if "remedy=" in line]) >= 1
    refuse_all(node)
    ref = node.scribe.record("verified")
    assert "[no notice: no outbound-route]" in ended(node, ref)["recipients"][0]["reply"]
    assert notices(node.smarthost, node.sender) == []


def test_P4_a_smarthost_without_TLS_gets_no_password(node, another_way, world_of):
    plain = world_of(Backend())
    another_way(outbound_route=plain.endpoint)
    refuse_all(node)
    node.scribe.record("verified")
    wait_until(lambda: any("TLS is needed" in line for line in node.spoolmgr.log_lines("deferred")), 20, "it is not sent")
    assert not any(line.startswith("AUTH") for _, _, line in plain.transcript)
    assert plain.taken == []


def test_P4_to_the_mx_hosts_of_the_senders_domain(node, another_way, world_of):
    second = world_of(Backend(address=HOST))
    node.dns.set("dead IN MX 10 one.names.test.", "dead IN MX 20 two.names.test.", "one IN A 127.0.0.8", f"two IN A {HOST}",
                 f"bare IN A {HOST}", "null IN MX 0 .")
    node.spoolmgr.env["POSTERN_TEST_MX_PORT"] = str(second.port)
    another_way(outbound_route="mx", outbound_tls=None, outbound_credentials=None)
    refuse_all(node)
    refs = {}
    for domain in ("dead", "bare", "null"):
        node.scribe.mail(f"sam@{domain}.{ZONE}")
        refs[domain] = node.scribe.record("verified")
    the_notice(second, f"sam@dead.{ZONE}")  # the first of its hosts is not there
    the_notice(second, f"sam@bare.{ZONE}")  # no MX: the domain is its own host (RFC 5321 5.1)
    assert "[notice P" in ended(node, refs["null"])["recipients"][0]["reply"]
    wait_until(lambda: any("takes no mail" in line or "does not exist" in line for line in node.spoolmgr.log_lines("deferred")), 20,
               "a null MX is said")
    assert not notices(second, f"sam@null.{ZONE}")


def test_P4_a_sender_whom_we_serve_is_told_at_its_own_server(node):
    """Its MX is ourselves: the customer's server gets it directly, and it is never sent to us."""
    node.backend.script["rcpt"] = lambda s, line: None if "sue@" in line else "550 5.1.1 no"
    node.scribe.mail("sue@acme.example")
    node.scribe.record("verified")
    assert parsed(the_notice(node.backend, "sue@acme.example"))["To"] == "sue@acme.example"


@pytest.mark.skipif(bool(Postfix.missing()), reason=str(Postfix.missing()))
def test_P4_to_a_real_smarthost(node, another_way, world_of, tmp_path):
    made = make_certificate(tmp_path, "postfix", names=("postfix.example",))
    postfix = world_of(Postfix(maildir=True, domains=("sender.example",), settings={
        "smtpd_tls_security_level": "encrypt", "smtpd_tls_cert_file": made.path, "smtpd_tls_key_file": made.key}))
    another_way(outbound_route=postfix.endpoint, outbound_credentials=None)
    refuse_all(node)
    node.scribe.record("verified")
    wait_until(postfix.delivered, 20, "Postfix has it")
    report = email.message_from_bytes(postfix.delivered()[0], policy=email.policy.default)
    assert report["Return-Path"] == "<>" and report["To"] == node.sender
    assert [part.get_content_type() for part in report.iter_parts()] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]


def test_P4_the_customer_is_told_of_what_nobody_else_may_be(node, another_way):
    """What was refused late, and an outage, over a restart of the keeper; test_tell.py has the rest. Without a way out it is said."""
    def told(subject):
        return [parsed(m) for m in notices(node.smarthost, CONTACT) if subject in parsed(m)["Subject"]]

    def remembered():
        return (node.dirs["spool-dir"] / "told").read_text()
    refuse_all(node)
    ref = node.scribe.record()
    ended(node, ref)
    line = f"\t{ref}\t{node.sender}\trita@acme.example, ron@acme.example\t550 5.1.1 no such user here\n"
    wait_until(lambda: line in remembered(), 10, "it will be in the morning's list")
    node.backend.script.clear()
    node.backend.stop()
    reply = node.send(mail_from=node.sender, rcpts="rita@acme.example")
    assert reply.code == 250
    wait_until(lambda: told("acme: your mail server takes no mail, 1 message is waiting"), 20, "down")
    node.spoolmgr.stop()
    assert line in remembered()
    node.spoolmgr.start()
    node.relayctl("spool", "extend", reference_in(reply.text), "--until", "+20d")
    node.backend.start()
    wait_until(lambda: told("acme: your mail server is back, 1 message was delivered"), 20, "back")
    assert len(told("takes no mail")) == 1 and len(told("is back")) == 1
    another_way(outbound_route=None, outbound_credentials=None)
    node.backend.stop()
    assert node.send(mail_from=node.sender).code == 250
    wait_until(lambda: any("kind=down" in line and 'why="outbound-route is not set"' in line
                           for line in node.spoolmgr.log_lines("customer-not-told")), 20, "nobody is told")
    node.backend.start()


def test_P4_a_domain_that_goes_takes_its_mail_with_it(node):
    """The last of them: what recovers from an outage refuses nobody for good."""
    node.relayctl("domain", "add", "gone.example", "--customer", "acme")
    wait_until(lambda: node.serves("gone.example"), 10, "it is served")
    node.backend.script["rcpt"] = "451 4.2.1 not now"
    assert node.send(mail_from=node.sender, rcpts="rita@gone.example").code // 100 == 4, "a 4xx is passed on"
    node.backend.stop()
    reply = None

    def queued():
        nonlocal reply
        reply = node.send(mail_from=node.sender, rcpts="rita@gone.example")
        return reply.code == 250
    wait_until(queued, 20, "it is kept while the backend is down")
    ref = reference_in(reply.text)
    wait_until(lambda: node.postgres.sql("SELECT 1 FROM postern.spool_index WHERE ref = %s", ref), 10, "the index has it")
    assert "--spool return" in node.relayctl("domain", "remove", "gone.example", "--reason", "x", check=False).stderr
    done = node.relayctl("domain", "remove", "gone.example", "--reason", "the customer has left", "--spool", "return", check=False)
    assert done.returncode == 0, done.stderr
    after = shown(node, ref)["recipients"][0]
    assert after["state"] == "returned" and "the customer has left [no notice: the sender was not verified" in after["reply"]
