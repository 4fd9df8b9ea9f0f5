# SPDX-License-Identifier: BSD-2-Clause
"""Recipients: what is learned of them and when, what a customer has registered, who names too many unknown ones, and what a
backend that is down is known to take."""
import random
import re
import time

import pytest

from harness import Backend, Client, Node, make_message, wait_until

OWN_POSTGRES = True  # it is stopped here, or other databases are made in it


def picky(*known):
    """The script of a backend that knows these local parts and postmaster."""
    def rcpt(_, line):
        return None if re.search(r"<(%s)@" % "|".join(known + ("postmaster",)), line, re.I) else "550 5.1.1 no such user"
    return rcpt


def probes_of(backend):
    """The random recipients that the backend was asked about."""
    return [line for _, who, line in backend.transcript if who == "C" and re.fullmatch(r"RCPT TO:<[a-z]{20}@\S+>", line)]


def probed(node):
    return node.relayd.log_lines("domain-probed")


def rcpt(node, *addresses, mail_from="sender@origin.example"):
    """The replies of one transaction."""
    with Client(node.port) as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{mail_from}>")
        replies = []
        for address in addresses:
            replies.append(client.cmd(f"RCPT TO:<{address}>"))
            if replies[-1].code == 421:
                return replies
        client.cmd("QUIT")
        return replies


def codes(replies):
    return [(r.code, r.enhanced) for r in replies]


def go_down(node, backend):
    """The backend is gone, and the node knows it."""
    backend.stop()
    wait_until(lambda: rcpt(node, "postmaster@acme.example")[0].code and
               "down" in node.relayctl("status", check=False).stdout, 20, "the node knows that its backend is down")


def set_when_down(node, word):
    """And waits until the node's replica has it."""
    node.relayctl("domain", "set", "acme.example", "--when-down", word)
    version = node.postgres.sql("SELECT version FROM postern.replica_state")[0][0]
    wait_until(lambda: node.relayctl_json("node", "show")[0]["registry_version"] >= version, 20, "the replica is written")


def changed(node, check, what):
    """A change of the registry has reached the workers."""
    wait_until(lambda: all(check() for _ in range(6)), 20, what)


# --- Learning.

def test_a_picky_domain_is_learned_behind_a_probe_of_its_own(acme, backend):
    backend.script["rcpt"] = picky("user")
    set_when_down(acme, "reject")
    assert acme.send(make_message()).code == 250
    assert codes(rcpt(acme, "nobody@acme.example")) == [(550, "5.1.1")]
    acme.wait_until_probed()
    assert "accepts-all=no" in probed(acme)[0]
    for _ in range(5):
        assert acme.send(make_message()).code == 250
    assert len(probes_of(backend)) == 1, "once a day, whatever comes"
    before = [line for _, who, line in backend.transcript if who == "C"]
    at = before.index(probes_of(backend)[0])
    assert before[at - 1].startswith("MAIL FROM:<>") and "RSET" in before[at + 1], "a transaction of its own"
    go_down(acme, backend)
    assert codes(rcpt(acme, "user@acme.example", "USER@ACME.example")) == [(250, "2.1.5")] * 2
    assert codes(rcpt(acme, "never-seen@acme.example")) == [(550, "5.1.1")]
    assert codes(rcpt(acme, "nobody@acme.example")) == [(550, "5.1.1")]


def test_in_an_accept_all_domain_nothing_is_learned(node, backend):
    acme = node
    backend.script["rcpt"] = "250 2.1.5 Ok"
    acme.add_customer("acme", "acme.example", backend.endpoint)
    set_when_down(acme, "reject")
    assert acme.send(make_message()).code == 250
    acme.wait_until_probed()
    assert "accepts-all=yes" in probed(acme)[0]
    backend.script["rcpt"] = "550 5.1.1 no such user"
    assert codes(rcpt(acme, "user@acme.example")) == [(550, "5.1.1")]
    go_down(acme, backend)
    assert codes(rcpt(acme, "user@acme.example", "other@acme.example")) == [(250, "2.1.5")] * 2, "all are kept"


def test_a_probe_that_says_nothing_teaches_nothing(node, backend):
    acme = node
    backend.script["rcpt"] = lambda _, line: "451 4.7.1 later" if re.search("<[a-z]{20}@", line) else None
    acme.add_customer("acme", "acme.example", backend.endpoint)
    set_when_down(acme, "defer")
    assert acme.send(make_message()).code == 250
    acme.wait_until_probed()
    assert "accepts-all=unknown" in probed(acme)[0]
    go_down(acme, backend)
    assert codes(rcpt(acme, "user@acme.example")) == [(451, "4.4.1")], "what was accepted is not known to be valid"


def test_P10_a_backend_that_is_down_is_not_probed(world_of, backend):
    node = world_of(Node(settings={"probe-interval-min": "10m", "probe-interval-max": "10m"}))
    node.relayctl("customer", "add", "acme", "--contact", "ops@acme.example")
    node.relayctl("backend", "add", backend.endpoint, "--customer", "acme")
    node.relayctl("domain", "add", "acme.example", "--customer", "acme")
    wait_until(lambda: codes(rcpt(node, "user@acme.example"))[0][0] == 250, 20, "the domain is served: a probe is due in half a second")
    backend.stop()
    assert "queued until" in node.send(make_message()).text, "the node knows that its backend is down"
    backend.start()
    sessions = backend.sessions
    with pytest.raises(AssertionError):
        wait_until(lambda: backend.sessions > sessions or probed(node), 4)


def test_P5_what_was_learned_survives_a_restart(acme, backend):
    backend.script["rcpt"] = picky("user")
    set_when_down(acme, "reject")
    assert acme.send(make_message()).code == 250
    acme.wait_until_probed()
    acme.relayd.stop()
    backend.stop()
    acme.relayd.start()
    heard = []

    def as_before():
        heard.append(codes(rcpt(acme, "user@acme.example", "other@acme.example")))
        return heard[-1] == [(250, "2.1.5"), (550, "5.1.1")]
    wait_until(as_before, 20, "the memory is there again")
    assert all(replies[0] in ((250, "2.1.5"), (451, "4.4.1")) for replies in heard), "while it is not, nobody is refused for good"


def test_what_an_operator_wants_forgotten_is(acme, backend):
    backend.script["rcpt"] = picky("user", "other")
    set_when_down(acme, "reject")
    assert codes(rcpt(acme, "user@acme.example", "other@acme.example")) == [(250, "2.1.5")] * 2
    acme.wait_until_probed()
    assert acme.relayctl_json("recipient", "forget", "user@acme.example")[0]["removed"] == 0
    go_down(acme, backend)
    assert codes(rcpt(acme, "user@acme.example", "other@acme.example")) == [(550, "5.1.1"), (250, "2.1.5")]
    acme.relayctl("recipient", "forget", "--domain", "acme.example", "--yes")
    assert codes(rcpt(acme, "other@acme.example")) == [(550, "5.1.1")]
    acme.relayd.stop()
    done = acme.relayctl("recipient", "forget", "other@acme.example", check=False)
    assert done.returncode == 4 and "relayd does not run here" in done.stderr


# --- Registered lists.

def test_a_complete_list_refuses_the_others_without_asking(acme, backend, tmp_path):
    users = tmp_path / "users.csv"
    users.write_bytes(b"\xef\xbb\xbfemail;name\r\n\"Info@ACME.example\";x\r\n# a comment\r\n\r\nsales@acme.example\r\n")
    (counts,) = acme.relayctl_json("recipient", "import", users, "--domain", "acme.example", "--complete")
    assert (counts["added"], counts["removed"]) == (2, 0)
    changed(acme, lambda: rcpt(acme, "nobody@acme.example")[0].code == 550, "the list is known")
    backend.transcript.clear()
    replies = rcpt(acme, "nobody@acme.example", "INFO@acme.example", "sales@acme.example", "postmaster@acme.example")
    assert codes(replies) == [(550, "5.1.1")] + [(250, "2.1.5")] * 3
    assert not [line for _, _, line in backend.transcript if "nobody" in line]
    assert not probes_of(backend), "registered ones need no learning"
    set_when_down(acme, "reject")
    go_down(acme, backend)
    assert codes(rcpt(acme, "info@acme.example")) == [(250, "2.1.5")], "known valid without having been learned"
    acme.postgres.stop()
    assert codes(rcpt(acme, "info@acme.example", "nobody@acme.example")) == [(250, "2.1.5"), (550, "5.1.1")], "P5"


def test_a_list_that_is_not_complete_only_adds(acme, backend):
    backend.script["rcpt"] = picky("info", "sales", "other")
    acme.relayctl("recipient", "add", "info@acme.example", "Sales@acme.example")
    set_when_down(acme, "reject")
    changed(acme, lambda: "info" in acme.relayctl("recipient", "list").stdout, "they are listed")
    assert [r["address"] for r in acme.relayctl_json("recipient", "list", "--domain", "acme.example")] == \
        ["info@acme.example", "sales@acme.example"]
    assert codes(rcpt(acme, "other@acme.example")) == [(250, "2.1.5")], "the backend is asked"
    backend.stop()
    changed(acme, lambda: codes(rcpt(acme, "sales@acme.example", "never@acme.example")) == [(250, "2.1.5"), (550, "5.1.1")],
            "the registered are known, and no others")


WRONG = [("no address", "a@acme.example\nnonsense\n", "line 2"), ("another domain", "a@other.example\n", "line 1"),
         ("a relay form", "a%b@acme.example\n", "line 1"), ("empty", "# nothing\n", "no address")]


@pytest.mark.parametrize("text, says", [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_file_changes_nothing(acme, text, says):
    acme.relayctl("recipient", "add", "old@acme.example")
    done = acme.relayctl("recipient", "import", "-", "--domain", "acme.example", "--replace", "--complete", input=text, check=False)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert [r["address"] for r in acme.relayctl_json("recipient", "list")] == ["old@acme.example"]
    assert not acme.relayctl_json("domain", "show", "acme.example")[0]["recipients_complete"]


def test_lists_are_replaced_and_end(acme):
    run = lambda *args, **kwargs: acme.relayctl("recipient", "import", "-", "--domain", "acme.example", *args, **kwargs)  # noqa: E731
    run(input="a@acme.example\nb@acme.example\n")
    run("--replace", "--complete", input="b@acme.example\nc@acme.example\n")
    assert [r["address"] for r in acme.relayctl_json("recipient", "list")] == ["b@acme.example", "c@acme.example"]
    assert acme.relayctl_json("domain", "show", "acme.example")[0]["recipients_complete"]
    acme.relayctl("domain", "set", "acme.example", "--recipients", "listed")
    assert not acme.relayctl_json("domain", "show", "acme.example")[0]["recipients_complete"]
    acme.relayctl("domain", "set", "acme.example", "--recipients", "complete")
    acme.relayctl("recipient", "forget", "--domain", "acme.example", "--yes")
    assert not acme.relayctl_json("domain", "show", "acme.example")[0]["recipients_complete"], "an empty list is complete no more"
    done = acme.relayctl("domain", "set", "acme.example", "--recipients", "complete", check=False)
    assert done.returncode == 2 and "would refuse all its mail" in done.stderr


def test_a_list_of_subdomains_is_by_local_part(node, backend):
    node.relayctl("customer", "add", "acme", "--contact", "ops@acme.example")
    node.relayctl("domain", "add", ".acme.example", "--customer", "acme")
    node.relayctl("backend", "add", backend.endpoint, "--customer", "acme")
    node.relayctl("recipient", "import", "-", "--domain", ".acme.example", "--complete", input="info@a.acme.example\n")
    changed(node, lambda: codes(rcpt(node, "info@b.acme.example", "x@b.acme.example")) == [(250, "2.1.5"), (550, "5.1.1")],
            "the list holds for each subdomain")


def test_fifty_thousand_are_imported_at_thousands_a_second(acme):
    names = random.Random(7).sample(range(10 ** 6), 50000)
    text = "address,name\n" + "".join(f"user{n}@acme.example,User {n}\n" for n in names)
    began = time.monotonic()
    (counts,) = acme.relayctl_json("recipient", "import", "-", "--domain", "acme.example", "--complete", input=text)
    took = time.monotonic() - began
    assert counts["added"] == 50000
    print(f"imported 50000 in {took:.2f} s: {50000 / took:.0f} a second")
    assert 50000 / took > 2000
    changed(acme, lambda: codes(rcpt(acme, f"user{names[0]}@acme.example", "user-x@acme.example")) ==
            [(250, "2.1.5"), (550, "5.1.1")], "the replica has them")


# --- Too many unknown ones.

def test_behind_five_unknown_recipients_memory_answers(acme, backend):
    backend.script["rcpt"] = picky("user", "other")
    assert codes(rcpt(acme, "user@acme.example", "bad@acme.example")) == [(250, "2.1.5"), (550, "5.1.1")]
    acme.wait_until_probed()
    unknown = [f"u{n}@acme.example" for n in range(5)]
    backend.transcript.clear()
    assert codes(rcpt(acme, *unknown, "user@acme.example", "bad@acme.example", "other@acme.example", "user@acme.example")) == \
        [(550, "5.1.1")] * 5 + [(250, "2.1.5"), (550, "5.1.1"), (450, "4.7.1"), (250, "2.1.5")]
    assert not [line for _, _, line in backend.transcript if "<other@" in line or "<bad@" in line]
    replies = rcpt(acme, *unknown, "other@acme.example", "user@acme.example")
    assert codes(replies) == [(550, "5.1.1")] * 5 + [(421, "4.7.1")], "nothing is lost by it"
    assert codes(rcpt(acme, "other@acme.example")) == [(250, "2.1.5")], "another connection"


# --- What a backend that is down is known to take.

def test_capabilities_hold_while_the_backend_is_down(acme, backend):
    acme.wait_until_probed()  # or that probe is what is dropped, and the backend down before it has said anything
    backend.script["ehlo"] = "250-backend.example\r\n250-SIZE 100000\r\n250 8BITMIME"
    backend.drop_connections()
    reply = acme.send(make_message())
    assert reply.code == 250 and "queued" not in reply.text, reply
    go_down(acme, backend)
    with Client(acme.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<a@origin.example> SIZE=200000")
        reply = client.cmd("RCPT TO:<user@acme.example>")
        assert (reply.code, reply.enhanced) == (550, "5.3.4"), str(reply)
        client.cmd("RSET")
        client.cmd("MAIL FROM:<a@origin.example> SIZE=90000")
        assert client.cmd("RCPT TO:<user@acme.example>").code == 250
        client.cmd("RSET")
        client.write("MAIL FROM:<\xc3\xa4@origin.example> SMTPUTF8\r\n".encode("latin-1"))
        client.reply()
        reply = client.cmd("RCPT TO:<user@acme.example>")
        assert (reply.code, reply.enhanced) == (550, "5.6.7"), str(reply)
        client.cmd("RSET")
        reply = client.send(make_message(body=b"x" * 70 + b"\r\n" + b"y" * 70 + b"\r\n" * 60000))
        assert (reply.code, reply.enhanced) == (552, "5.3.4"), str(reply)
    assert acme.spool() == []


def test_of_a_new_address_nothing_is_known(acme, backend, world_of):
    backend.script["ehlo"] = "250-backend.example\r\n250 SIZE 100000"
    backend.drop_connections()
    assert acme.send(make_message()).code == 250
    late = Backend()
    acme.relayctl("backend", "set", "acme/1", "--address", late.endpoint)

    def taken():
        with Client(acme.port) as client:  # who is refused too often is shown the door
            client.ehlo()
            client.cmd("MAIL FROM:<a@origin.example> SIZE=200000")
            return client.cmd("RCPT TO:<user@acme.example>").code == 250
    wait_until(taken, 20, "it is kept for a backend of which nothing is known")
