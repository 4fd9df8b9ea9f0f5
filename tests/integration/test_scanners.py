# SPDX-License-Identifier: BSD-2-Clause
"""The real thing: rspamd and clamav-milter behind the setting milters."""
import base64

import pytest

from harness import Backend, Node, below_our_received, make_message, wait_until
from scanners import EICAR, GTUBE, Clamav, Rspamd


def skip_without(scanner):
    why = scanner.MISSING()
    if why:
        pytest.skip(why)


def node_with(scanner, name, backend):
    node = Node(settings={"workers": 1, "milters": [f"{scanner.address} name={name} on-failure=defer"]})
    node.add_customer(backend=backend.endpoint)
    node.relayctl("customer", "set", "acme", "--policy", "milter=reject")
    node.wait_until_replicated()
    return node


@pytest.fixture(scope="module")
def backend():
    b = Backend().start()
    yield b
    b.close()


@pytest.fixture(scope="module")
def rspamd(backend):
    skip_without(Rspamd)
    with Rspamd() as scanner, node_with(scanner, "rspamd", backend) as node:
        yield node


@pytest.fixture(scope="module")
def clamav(backend):
    skip_without(Clamav)
    with Clamav() as scanner, node_with(scanner, "clamav", backend) as node:
        yield node


def delivered(node, backend, content):
    before = len(backend.taken)
    got = node.send(content)
    assert got.code == 250, str(got)
    content = wait_until(lambda: backend.taken[before:], 10)[-1].content
    top, _, _ = content.partition(b"Received: ")
    return top, below_our_received(content[len(top):])


def last_check(node):
    return wait_until(lambda: node.events("message"), 10)[-1]["checks"][-1]


def test_rspamd_refuses_spam(rspamd, backend):
    got = rspamd.send(make_message(body=GTUBE["reject"] + b"\r\n"))
    assert (got.code, got.enhanced) == (554, "5.7.1") and "Gtube pattern" in got.text, str(got)


def test_P7_rspamd_lets_ham_pass_as_it_is(rspamd, backend):
    for size in (1, 20000):  # 1.4 MB goes to disk
        content = make_message(body=b"Hello, how are you today?\r\n..\r\n" + (b"x" * 68 + b"\r\n") * size)
        top, rest = delivered(rspamd, backend, content)
        assert rest == content and b"X-Spam: Yes" not in top and b"unsure" not in top
        assert wait_until(lambda: last_check(rspamd)["result"] == "pass", 10)


def test_rspamd_marks_spam(rspamd, backend):
    content = make_message(body=GTUBE["add header"] + b"\r\n")
    top, rest = delivered(rspamd, backend, content)
    assert b"X-Spam: Yes\r\n" in top and rest == content


def test_P7_rspamd_rewrites_the_subject_and_nothing_else(rspamd, backend):
    content = make_message(body=GTUBE["rewrite subject"] + b"\r\n")
    _, rest = delivered(rspamd, backend, content)
    assert rest != content and b"SPAM" in rest
    changed = [(a, b) for a, b in zip(content.split(b"\r\n"), rest.split(b"\r\n")) if a != b]
    assert len(changed) == 1 and changed[0][1].startswith(b"Subject: "), changed


def test_clamav_refuses_a_virus_bare_and_in_an_attachment(clamav, backend):
    mime = (b"From: <a@a.example>\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n"
            b"--b\r\nContent-Type: application/octet-stream; name=x.com\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
            base64.encodebytes(EICAR).replace(b"\n", b"\r\n") + b"--b--\r\n")
    for content in (make_message(body=EICAR + b"\r\n"), mime):
        got = clamav.send(content)
        assert got.code == 550 and "Infected with Test.Eicar" in got.text, str(got)
        assert "clamav" in clamav.relayctl("explain", got.text).stdout


def test_P7_clamav_lets_the_clean_pass_with_its_fields_on_top(clamav, backend):
    content = make_message()
    top, rest = delivered(clamav, backend, content)
    assert rest == content and b"X-Virus-Status: Clean\r\n" in top


def test_P1_P2_clamav_has_a_virus_held(backend):
    skip_without(Clamav)
    with Clamav(on_infected="Quarantine") as scanner, node_with(scanner, "clamav", backend) as node:
        got = node.send(make_message(body=EICAR + b"\r\n"))
        assert got.code == 250 and "queued until" in got.text, str(got)
        held = wait_until(lambda: [m for m in node.spool() if m["state"] == "held"], 20)[-1]
        assert "clamav: " in node.relayctl("spool", "show", held["id"]).stdout


def test_P5_clamav_without_clamd_puts_off(backend):
    skip_without(Clamav)
    with Clamav() as scanner, node_with(scanner, "clamav", backend) as node:
        scanner.processes[0].stop()
        got = node.send()
        assert got.code == 451, str(got)
