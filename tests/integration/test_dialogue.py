# SPDX-License-Identifier: BSD-2-Clause
"""What only relayd as a whole answers: the replies of DESIGN.md section 8 and the protocol beyond the engine, one by one. The table in
tests/README.md says which rule is held by which test; tests/dialog has the conversations of the engine alone."""
import re
import socket

import pytest

from harness import ADDRESS, Backend, Client, Node, below_our_received, make_message, our_received, reference_in, wait_until

RICH_EHLO = Backend.GOOD["ehlo"].replace("250 8BITMIME", "250-SMTPUTF8\r\n250-DSN\r\n250 8BITMIME")
CUSTOMERS = {"acme": [], "rich": [], "small": ["--max-recipients-per-message", 3, "--max-messages-per-connection", 2, "--max-message-size", "1KiB"],
             "hourly": ["--max-connections-per-hour", 3], "sleeping": [], "gone": []}


@pytest.fixture(scope="module")
def gate():
    with Node(settings={"client-concurrency": 10, "postmaster": "hostmaster@acme.example", "max-received": 10}) as node:
        backends = {name: Backend().start() for name in CUSTOMERS}
        backends["rich"].script["ehlo"] = RICH_EHLO
        for name, limits in CUSTOMERS.items():
            node.relayctl("customer", "add", name, "--contact", "ops@origin.example")
            node.relayctl("customer", "set", name, "--max-connections-per-hour", "none")
            if limits:
                node.relayctl("customer", "set", name, *limits)
            node.relayctl("backend", "add", backends[name].endpoint, "--customer", name)
            node.relayctl("domain", "add", f"{name}.example", "--customer", name)
        node.relayctl("customer", "suspend", "sleeping", "--reason", "test", "--yes")
        node.relayctl("customer", "suspend", "gone", "--refuse", "--reason", "test", "--yes")
        wait_until(lambda: replies(node, "gone")[-1].code == 550 and replies(node, "gone")[-1].text.count("not accepted"), 20, "all is known")
        yield node, backends
        for backend in backends.values():
            backend.stop()


def replies(node, name, source=None, parameters="", rcpts=("user",)):
    """What MAIL and each RCPT are answered; the connection ends without a message."""
    with Client(node.port, source=source) as client:
        client.ehlo()
        return [client.cmd(f"MAIL FROM:<a@origin.example>{parameters}")] + [client.cmd(f"RCPT TO:<{r}@{name}.example>") for r in rcpts]


def is_a_refusal(reply, code, enhanced, word):
    """One line, its codes, a sentence and our reference."""
    assert (reply.code, reply.enhanced) == (code, enhanced) and word in reply.text and len(reply.lines) == 1, str(reply)
    assert reference_in(reply.text), f"no reference: {reply}"


# --- Limits and their replies (DESIGN.md section 8).

def test_P9_the_51st_recipient_is_452_and_the_first_50_are_delivered(gate):
    node, backends = gate
    with Client(node.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<fifty@origin.example>")
        codes = [client.cmd(f"RCPT TO:<r{n}@acme.example>").code for n in range(50)]
        for n in (50, 51):
            is_a_refusal(client.cmd(f"RCPT TO:<r{n}@acme.example>"), 452, "4.5.3", "Too many recipients")
        assert codes == [250] * 50 and client.cmd("DATA").code == 354 and client.content(make_message()).code == 250
    (message,) = [m for m in backends["acme"].taken if m.mail_from == "fifty@origin.example"]
    assert message.rcpts == [f"r{n}@acme.example" for n in range(50)]


def test_P9_a_customers_own_limit_of_recipients(gate):
    node, _ = gate
    assert [r.code for r in replies(node, "small", rcpts="abcde")] == [250, 250, 250, 250, 452, 452]


def test_P9_a_connection_used_up_is_421_at_the_next_command_and_never_at_RCPT(gate):
    node, backends = gate
    with Client(node.port) as client:
        client.ehlo()
        for n in range(2):
            assert client.send(make_message(test_id=n), rcpts="user@small.example").code == 250
        reply = client.cmd("NOOP")
        assert (reply.code, reply.enhanced) == (421, "4.7.0") and "Too many messages" in reply.text
        with pytest.raises(ConnectionError):
            client.cmd("NOOP")
    with Client(node.port) as client:  # QUIT is still said goodbye
        client.ehlo()
        for n in range(2):
            client.send(make_message(test_id=n), rcpts="user@small.example")
        assert client.cmd("QUIT").code == 221


def test_P9_a_connection_beyond_the_hour_is_451_with_the_minutes_to_wait(gate):
    node, _ = gate
    for _ in range(3):
        assert replies(node, "hourly")[1].code == 250
    reply = replies(node, "hourly")[1]
    is_a_refusal(reply, 451, "4.7.1", "minute")
    assert int(re.search(r"(\d+) minute", reply.text).group(1)) in (59, 60, 61)  # the hour slides by the minute
    assert replies(node, "acme")[1].code == 250, "another customer's hour is its own"


def test_P9_size_at_MAIL_at_RCPT_and_at_the_dot(gate):
    node, backends = gate
    (mail,) = replies(node, "small", parameters=f" SIZE={20 * 2 ** 20 + 1}", rcpts=())
    assert (mail.code, mail.enhanced) == (552, "5.3.4")
    mail, rcpt = replies(node, "small", parameters=" SIZE=1025")
    assert mail.code == 250
    is_a_refusal(rcpt, 550, "5.3.4", "too big for this recipient")
    for size, code in ((1024, 250), (1025, 552)):
        content = make_message()
        content += b"x" * (size - len(content) - 2) + b"\r\n"
        reply = node.send(content, rcpts="user@small.example")
        assert reply.code == code, str(reply)
        if code == 552:
            is_a_refusal(reply, 552, "5.3.4", "too big")
    assert all(len(below_our_received(m.content)) <= 1024 for m in backends["small"].messages)


def test_suspended_customers(gate):
    node, backends = gate
    before = [backends[name].sessions for name in ("sleeping", "gone")]
    is_a_refusal(replies(node, "sleeping")[1], 450, "4.3.2", "suspended")
    is_a_refusal(replies(node, "gone")[1], 550, "5.7.1", "not accepted")
    assert [backends[name].sessions for name in ("sleeping", "gone")] == before, "their servers are not asked"


def test_P9_connections_of_an_address_beyond_client_concurrency_are_421(gate):
    node, _ = gate
    source = "127.197.0.1"
    clients = [Client(node.port, source=source) for _ in range(10)]
    try:
        assert all(c.banner.code == 220 for c in clients)
        with Client(node.port, source=source) as late:
            assert (late.banner.code, late.banner.enhanced) == (421, "4.7.0")
        with Client(node.port, source="127.197.0.2") as other:
            assert other.banner.code == 220
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: greeted(node, source), 10, "there is room again")


def greeted(node, source):
    with Client(node.port, source=source) as client:
        return client.banner.code == 220


def test_one_destination_a_transaction(gate):
    """A recipient of another customer is 452 4.5.3; the first one that could be accepted never is."""
    node, backends = gate
    with Client(node.port) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<two@origin.example>")
        assert client.cmd("RCPT TO:<user@unknown.example>").code == 550
        assert client.cmd("RCPT TO:<user@acme.example>").code == 250
        is_a_refusal(client.cmd("RCPT TO:<user@rich.example>"), 452, "4.5.3", "another destination")
        is_a_refusal(client.cmd("RCPT TO:<user@unknown.example>"), 550, "5.7.1", "Not a domain")
        assert client.cmd("DATA").code == 354 and client.content(make_message()).code == 250
    assert [m.rcpts for m in backends["acme"].taken if m.mail_from == "two@origin.example"] == [["user@acme.example"]]


def test_P3_P6_a_foreign_domain_and_a_relay_form(gate):
    node, _ = gate
    is_a_refusal(replies(node, "unknown")[1], 550, "5.7.1", "Not a domain")
    is_a_refusal(replies(node, "acme", rcpts=["u%x"])[1], 550, "5.7.1", "not accepted")


@pytest.mark.parametrize("when_down, code, enhanced, word", [("accept", 250, "2.1.5", "OK"), ("defer", 451, "4.4.1", "cannot be reached"),
                                                             ("reject", 550, "5.1.1", "cannot be confirmed")])
def test_an_unknown_recipient_of_a_backend_that_is_away(gate, when_down, code, enhanced, word):
    node, backends = gate
    domain = f"{when_down}.example"
    node.relayctl("customer", "add", when_down, "--contact", "ops@origin.example")
    node.relayctl("backend", "add", f"{ADDRESS}:9", "--customer", when_down)
    node.relayctl("domain", "add", domain, "--customer", when_down, "--when-down", when_down)
    wait_until(lambda: (r := replies(node, when_down)[1]).enhanced == enhanced and r.code == code, 20, f"{domain} is known")
    reply = replies(node, when_down)[1]
    assert (reply.code, reply.enhanced) == (code, enhanced) and word in reply.text
    if code != 250:
        is_a_refusal(reply, code, enhanced, word)


def test_a_recipient_known_invalid_is_refused_while_its_backend_is_away(gate):
    node, backends = gate
    backends["rich"].script["rcpt"] = "550 5.1.1 no such user"
    assert replies(node, "rich", rcpts=["nobody"])[1].code == 550
    node.wait_until_probed("rich.example")
    backends["rich"].script["rcpt"] = None
    backends["rich"].stop()
    try:
        is_a_refusal(replies(node, "rich", rcpts=["nobody"])[1], 550, "5.1.1", "No such mailbox")
        assert replies(node, "rich")[1].code == 250
    finally:
        backends["rich"].start()
    wait_until(lambda: "queued" not in node.send(rcpts="user@rich.example").text, 30, "it is back")


def test_P6_a_backend_that_blames_us_is_451_with_an_alarm(gate):
    node, backends = gate
    backends["acme"].script["rcpt"] = "550 5.7.1 SPF: relay.example is not permitted to send for origin.example"
    try:
        is_a_refusal(replies(node, "acme")[1], 451, "4.3.0", "not set up for this relay")
    finally:
        backends["acme"].script.clear()
    assert "remedy=" in node.relayd.log_lines("backend-blames-us")[-1]


def test_the_node_stops_with_421_for_those_who_are_idle(world_of):
    node = world_of(Node(start=False))
    node.start_database()
    node.relayd.start()
    with Client(node.port) as client:
        client.ehlo()
        node.relayd.stop()
        reply = client.reply()
        assert (reply.code, reply.enhanced) == (421, "4.3.2"), str(reply)


# --- Protocol.

def test_EHLO_says_what_there_is_and_no_more(gate):
    node, _ = gate
    with Client(node.port, source="127.197.0.3") as client:
        lines = [line[4:] for line in client.ehlo().lines]
        assert lines[0].startswith("relay.example")
        assert sorted(lines[1:]) == sorted(["SIZE 20971520", "PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
                                            "LIMITS RCPTMAX=50 MAILMAX=50 RCPTDOMAINMAX=1"] + [x for x in lines if x == "STARTTLS"])
        for line, code in (("BDAT 3 LAST", 502), ("AUTH PLAIN", 502), ("ETRN acme.example", 502), ("XCLIENT ADDR=192.0.2.1", 502), ("EXPN a", 502)):
            reply = client.cmd(line)
            assert (reply.code, reply.enhanced) == (code, "5.5.1"), str(reply)
        for line in ("MAIL FROM:<a@b.example> BODY=BINARYMIME", "MAIL FROM:<a@b.example> REQUIRETLS", "MAIL FROM:<a@b.example> HOLDFOR=1"):
            reply = client.cmd(line)
            assert (reply.code, reply.enhanced) == (555, "5.5.4"), str(reply)


def test_the_LIMITS_keyword_is_in_RFC_9422s_form(gate):
    node, _ = gate
    with Client(node.port) as client:
        (line,) = [x[4:] for x in client.ehlo().lines if "LIMITS" in x]
    assert line.split(" ") == ["LIMITS", "RCPTMAX=50", "MAILMAX=50", "RCPTDOMAINMAX=1"]


def test_SMTPUTF8_is_refused_at_RCPT_where_the_backend_lacks_it(gate):
    node, backends = gate
    address = "j\u00f6rg@%s.example".encode().decode("latin-1")
    for name, code in (("acme", 550), ("rich", 250)):
        with Client(node.port) as client:
            client.ehlo()
            assert client.cmd("MAIL FROM:<a@origin.example> SMTPUTF8").code == 250
            reply = client.cmd(f"RCPT TO:<{address % name}>")
            assert reply.code == code, str(reply)
            if code == 550:
                is_a_refusal(reply, 550, "5.6.7", "SMTPUTF8")
                assert client.cmd("RCPT TO:<user@acme.example>").code == 250, "an ASCII recipient of an ASCII sender needs none"
    said = [line for _, who, line in backends["rich"].transcript if who == "C" and line.startswith("MAIL")]
    assert any("SMTPUTF8" in line for line in said)


def test_DSN_parameters_go_to_a_backend_that_offers_DSN(gate):
    node, backends = gate
    for name in ("acme", "rich"):
        with Client(node.port) as client:
            client.ehlo()
            assert client.cmd("MAIL FROM:<dsn@origin.example> RET=HDRS ENVID=QQ314159").code == 250
            assert client.cmd(f"RCPT TO:<user@{name}.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@{name}.example").code == 250
            assert client.cmd("DATA").code == 354 and client.content(make_message()).code == 250
        said = [line for _, who, line in backends[name].transcript if who == "C"]
        mail = [line for line in said if line.startswith("MAIL FROM:<dsn@")][-1]
        rcpt = said[len(said) - 1 - said[::-1].index(mail) + 1]
        if name == "rich":
            assert "RET=HDRS" in mail and "ENVID=QQ314159" in mail
            assert "NOTIFY=SUCCESS,FAILURE" in rcpt and "ORCPT=rfc822;Bob@rich.example" in rcpt
        else:
            assert not re.search("RET=|ENVID=", mail) and not re.search("NOTIFY=|ORCPT=", rcpt)


def test_postmaster_without_a_domain_goes_to_the_setting(gate):
    node, backends = gate
    for form in ("postmaster", "POSTMASTER", "PostMaster"):
        reply = node.send(make_message(), rcpts=[form])
        assert reply.code == 250, str(reply)
        assert backends["acme"].taken[-1].rcpts == ["hostmaster@acme.example"]


def test_forms_of_addresses_that_are_rare_and_right(gate):
    """A source route is dropped, quotes stay, the null sender is one."""
    node, backends = gate
    with Client(node.port) as client:
        client.ehlo()
        for sender, rcpt, as_sent in (("", '"a b"@acme.example', '"a b"@acme.example'), ("@x.example:a@b.example", "@x.example,@y.example:c@acme.example", "c@acme.example"),
                                      ("a@[192.0.2.1]", "x" * 64 + "@acme.example", "x" * 64 + "@acme.example")):
            assert client.send(make_message(), sender, [rcpt]).code == 250
            assert backends["acme"].taken[-1].rcpts == [as_sent]
            assert backends["acme"].taken[-1].mail_from == sender.rpartition(":")[2]
        client.cmd("MAIL FROM:<a@origin.example>")
        reply = client.cmd("RCPT TO:<" + "x" * 65 + "@acme.example>")
        assert (reply.code, reply.enhanced) == (501, "5.1.3")
        reply = client.cmd("RCPT TO:<x@" + "a." * 127 + "example>")
        assert (reply.code, reply.enhanced) == (501, "5.1.3")


def test_replies_leave_in_order_when_answers_come_out_of_order(gate):
    """Each RCPT is answered when its turn has come: the first one's backend takes its time."""
    from harness import Delay
    node, backends = gate
    backends["acme"].script["rcpt"] = lambda s, line: Delay(0.5, "550 5.1.1 slow") if "slow" in line else None
    try:
        with Client(node.port) as client:
            client.ehlo()
            client.write("MAIL FROM:<a@origin.example>\r\nRCPT TO:<slow@acme.example>\r\nRCPT TO:<x@unknown.example>\r\nRCPT TO:<u%v@acme.example>\r\n"
                         "RCPT TO:<quick@acme.example>\r\nNOOP\r\nRCPT TO:<x\r\nRSET\r\nVRFY x\r\n")
            got = [client.reply() for _ in range(9)]
    finally:
        backends["acme"].script.clear()
    assert [(r.code, r.enhanced) for r in got] == [(250, "2.1.0"), (550, "5.1.1"), (550, "5.7.1"), (550, "5.7.1"), (250, "2.1.5"), (250, "2.0.0"),
                                                   (501, "5.1.3"), (250, "2.0.0"), (252, "2.5.2")]


def test_ETRN_is_for_a_backends_address_only(gate):
    node, _ = gate
    with Client(node.port, source="127.197.0.4") as stranger:
        assert "ETRN" not in stranger.ehlo().text
        assert (stranger.cmd("ETRN acme.example").code, stranger.cmd("NOOP").code) == (502, 250)
    with Client(node.port, source=ADDRESS) as server:
        assert "ETRN" in server.ehlo().text
        for argument, code, enhanced in (("acme.example", 250, "2.0.0"), ("acme.example", 458, "4.7.0"), ("other.example", 459, "4.7.1"),
                                         ("", 501, "5.5.4"), ("a b", 501, "5.5.4"), ("rich.example", 250, "2.0.0")):
            reply = server.cmd(f"ETRN {argument}")
            assert (reply.code, reply.enhanced) == (code, enhanced), f"ETRN {argument}: {reply}"


# --- Received, loops.

def test_Received_has_what_is_known(gate):
    node, backends = gate
    with Client(node.port) as client:
        client.ehlo("helo.example")
        client.send(make_message(), rcpts=["one@acme.example"])
        one = our_received(backends["acme"].taken[-1].content).decode()
        client.send(make_message(), rcpts=["one@acme.example", "two@acme.example"])
        two = our_received(backends["acme"].taken[-1].content).decode()
        client.cmd("HELO helo.example")
        client.send(make_message(), rcpts=["one@acme.example"])
        smtp = our_received(backends["acme"].taken[-1].content).decode()
    form = (r"Received: from helo\.example \(\S+ \[127\.0\.0\.1\]\)\r\n\tby relay\.example \(Postern acme\.example\) with (ESMTP|SMTP) id (\S+?);?\r\n"
            r"\t(?:for <one@acme\.example>; )?\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n")
    for text, word in ((one, "ESMTP"), (two, "ESMTP"), (smtp, "SMTP")):
        found = re.fullmatch(form, text)
        assert found and found.group(1) == word and reference_in(text) == found.group(2), text
    assert "for <one@acme.example>" in one and "for <one@acme.example>" in smtp and "for <" not in two


def hops(count, line="Received: from a.example by b.example with ESMTP id 1; Thu, 1 Jan 1970 00:00:00 +0000\r\n"):
    return line * count + "Subject: round and round\r\n\r\nx\r\n"


def test_a_message_with_more_hops_than_max_received_is_looping(gate):
    node, backends = gate
    assert node.send(hops(10).encode()).code == 250
    is_a_refusal(node.send(hops(11).encode()), 554, "5.4.6", "too many Received")


def test_three_traces_of_ours_for_the_same_domain_are_a_loop_of_the_backend(gate):
    node, backends = gate
    content = make_message()
    for _ in range(3):  # the backend sends it back here
        assert node.send(content).code == 250
        content = backends["acme"].taken[-1].content
    assert content.count(b"(Postern acme.example)") == 3
    reply = node.send(content)
    is_a_refusal(reply, 554, "5.4.6", "passed here for this domain before")
    (alarm,) = node.relayd.log_lines("backend-loops")[-1:]
    assert "acme" in alarm and reference_in(alarm) == reference_in(reply.text)
    assert node.send(content, rcpts="user@rich.example").code == 250, "for another domain it is no loop"
    assert node.send().code == 250, "the backend's state does not change"


# --- Errors and floods, on a real connection.

def flood(node, lines):
    """The replies until the server closes."""
    got = []
    with Client(node.port) as client:
        client.ehlo()
        try:
            for line in lines:
                got.append(client.cmd(line))
        except (ConnectionError, OSError):
            pass
    return got


@pytest.mark.parametrize("line, word", [("XYZZY", "errors"), ("MAIL", "errors"), ("RCPT TO:<a@acme.example>", "commands"), ("NOOP", "commands"), ("RSET", "commands"),
                                        ("VRFY a", "commands"), ("EHLO a", "commands"), ("HELP", "commands"), ("x" * 3000, "errors")],
                         ids=lambda x: str(x)[:12])
def test_errors_and_floods_end_in_421(gate, line, word):
    node, _ = gate
    got = flood(node, [line] * 300)
    assert len(got) < 300 and (got[-1].code, got[-1].enhanced) == (421, "4.7.0") and f"Too many {word}" in got[-1].text, str(got[-1])


def test_452_and_450_of_ours_are_no_errors_of_the_clients(gate):
    node, backends = gate
    got = flood(node, ["MAIL FROM:<a@origin.example>", "RCPT TO:<user@acme.example>"] + ["RCPT TO:<user@rich.example>"] * 250 +
                ["RCPT TO:<last@acme.example>"])
    assert [r.code for r in got] == [250, 250] + [452] * 250 + [250]


def test_another_protocol_is_told_so_and_left(gate):
    node, _ = gate
    for line in ("GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT x:25 HTTP/1.1"):
        with Client(node.port) as client:
            reply = client.cmd(line)
            assert (reply.code, reply.enhanced) == (421, "4.7.0") and "mail server" in reply.text


# --- Coming in, and being too slow.

def test_a_client_that_talks_before_the_greeting_is_554_where_greet_wait_is_set(world_of):
    node = world_of(Node(settings={"greet-wait": "1s"}, start=False))
    node.start_database()
    node.relayd.start()
    with socket.create_connection((ADDRESS, node.port), 20) as s:
        s.sendall(b"EHLO x\r\n")
        assert s.makefile("rb").readline().startswith(b"554 5.5.1 ")
    with Client(node.port) as patient:
        assert patient.banner.code == 220


V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 9, 192, 0, 2, 25]) + b"\x30\x39\0\x19"


def test_the_PROXY_protocol_is_for_configured_networks_alone(world_of):
    node = world_of(Node(settings={"proxy-protocol-from": ["127.195.0.0/24"], "client-command-timeout": "2s"}))
    backend = world_of(Backend())
    node.add_customer("acme", "acme.example", backend.endpoint)
    for header, address in ((b"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", "[192.0.2.7]"), (V2, "[192.0.2.9]"),
                            (b"PROXY TCP6 2001:db8::7 2001:db8::25 4711 25\r\n", "[IPv6:2001:db8::7]")):
        with socket.create_connection((ADDRESS, node.port), 20, ("127.195.0.1", 0)) as s:
            file = s.makefile("rb")
            s.sendall(header)
            assert file.readline().startswith(b"220 ")
            s.sendall(b"HELO x\r\nMAIL FROM:<a@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n")
            assert [file.readline()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
            s.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
            assert file.readline().startswith(b"250 ")
        assert address in our_received(backend.taken[-1].content).decode()
    with socket.create_connection((ADDRESS, node.port), 20, ("127.195.0.1", 0)) as s:
        s.sendall(b"EHLO x\r\n")  # no header: nothing is said
        assert s.recv(100) == b""
    with socket.create_connection((ADDRESS, node.port), 20, ("127.194.0.1", 0)) as s:  # who may not is a client like others
        file = s.makefile("rb")
        assert file.readline().startswith(b"220 ")
        s.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n")
        assert file.readline().startswith(b"500 5.5.2 ")


def test_P8_time_and_room_have_an_end(world_of):
    """Silence between commands, silence and a trickle in the content, and one connection too many for the node."""
    node = world_of(Node(settings={"client-command-timeout": "2s", "client-data-timeout": "2s", "client-min-rate": 1000, "max-connections": 20, "workers": 1}))
    backend = world_of(Backend())
    node.add_customer("acme", "acme.example", backend.endpoint)
    for content, code, enhanced in ((None, 421, "4.4.2"), (b"", 421, "4.4.2"), (b"x", 421, "4.7.0")):
        with Client(node.port) as client:
            client.ehlo()
            if content is not None:
                client.write("MAIL FROM:<a@origin.example>\r\nRCPT TO:<user@acme.example>\r\nDATA\r\n")
                assert [client.reply().code for _ in range(3)] == [250, 250, 354]
            reply = trickle(client, content) if content else client.reply()
            assert (reply.code, reply.enhanced) == (code, enhanced), str(reply)
            with pytest.raises(ConnectionError):
                client.reply()
    assert backend.messages == []
    clients = []
    try:
        while len(clients) < 25:
            clients.append(Client(node.port, source=f"127.196.0.{len(clients) + 1}"))
            if clients[-1].banner.code == 421:
                break
        assert clients[-1].banner.enhanced == "4.3.2" and len(clients) == 21, len(clients)
        assert clients[0].cmd("NOOP").code == 250, "those inside go on"
    finally:
        for client in clients:
            client.close()


def trickle(client, content):
    """An octet every tenth of a second until the server has said its word."""
    client.socket.settimeout(0.1)
    for _ in range(300):
        client.write(content)
        try:
            return client.reply()
        except TimeoutError:
            client.file = client.socket.makefile("rb")
    raise AssertionError("it may trickle for ever")
