# SPDX-License-Identifier: BSD-2-Clause
"""A catalogue of backends that misbehave, each in one phase: every one ends in its class (DESIGN section 5), and none holds up
another customer's mail (P8)."""
import statistics
import threading
import time

import pytest

from harness import DROP, QUICK, SILENT, Backend, Node, Raw, make_message, reference_in, wait_until

RCPT = "user@odd.example"
LIVE, QUEUED = "live", "queued"  # or the code that the sender hears

CATALOGUE = {
    # --- The greeting: no word about a message.
    "banner-554": ("banner", "554 5.3.2 no service here", QUEUED),
    "banner-421": ("banner", "421 4.3.2 too busy", QUEUED),
    "banner-450": ("banner", "450 4.3.2 wait", QUEUED),
    "banner-ssh": ("banner", Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), QUEUED),
    "banner-http": ("banner", Raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), QUEUED),
    "banner-our-name": ("banner", "220 relay.example ESMTP", QUEUED),
    "banner-no-code-of-smtp": ("banner", Raw(b"999 what\r\n"), QUEUED),
    "banner-silent": ("banner", SILENT, QUEUED),
    "banner-drop": ("banner", DROP, QUEUED),
    "banner-drips": ("banner", Raw(b"220 backend.example ESMTP slow as anything", pause=0.3), QUEUED),
    "banner-endless-line": ("banner", Raw(b"220 " + b"x" * 200000), QUEUED),
    "banner-binary": ("banner", Raw(bytes(range(256)) * 4 + b"\r\n"), QUEUED),
    "banner-code-alone": ("banner", Raw(b"220\r\n"), LIVE),
    "banner-many-lines": ("banner", "220-backend.example\r\n220-is glad\r\n220 to see you", LIVE),
    "banner-bare-lf": ("banner", Raw(b"220 backend.example\n"), None),  # taken or not, but decided
    # --- EHLO.
    "ehlo-500": ("ehlo", "500 5.5.1 what", LIVE),
    "ehlo-502": ("ehlo", "502 5.5.1 no", LIVE),
    "ehlo-550": ("ehlo", "550 no", LIVE),
    "ehlo-421": ("ehlo", "421 4.3.2 going", QUEUED),
    "ehlo-530": ("ehlo", "530 5.7.0 TLS first", QUEUED),
    "ehlo-354": ("ehlo", "354 go on", QUEUED),
    "ehlo-mixed-codes": ("ehlo", Raw(b"250-backend.example\r\n550 no\r\n", 550), QUEUED),
    "ehlo-garbage-capabilities": ("ehlo", "250-backend.example\r\n250-\x01\x02\r\n250-SIZE x\r\n250-SIZE\r\n250-AUTH=\r\n250 8BITMIME", LIVE),
    "ehlo-500-capabilities": ("ehlo", "".join(f"250-X{n}\r\n" for n in range(500)) + "250 8BITMIME", None),
    "ehlo-silent": ("ehlo", SILENT, QUEUED),
    "ehlo-drop": ("ehlo", DROP, QUEUED),
    "ehlo-early": ("ehlo", Raw(b"250 backend.example\r\n250 2.1.0 Ok\r\n"), QUEUED),
    # --- MAIL.
    "mail-421": ("mail", "421 4.3.2 going", QUEUED),
    "mail-451-greylisted": ("mail", "451 4.7.1 come back", 451),
    "mail-452-system": ("mail", "452 4.3.1 no room", QUEUED),
    "mail-503": ("mail", "503 5.5.1 bad sequence", QUEUED),
    "mail-521": ("mail", "521 5.3.2 no mail here", QUEUED),
    "mail-530": ("mail", "530 5.7.0 authenticate", QUEUED),
    "mail-550": ("mail", "550 5.7.1 not from you", 550),
    "mail-354": ("mail", "354 go on", QUEUED),
    "mail-silent": ("mail", SILENT, QUEUED),
    "mail-drop": ("mail", DROP, QUEUED),
    # --- RCPT.
    "rcpt-251": ("rcpt", "251 will forward", LIVE),
    "rcpt-252": ("rcpt", "252 perhaps", LIVE),
    "rcpt-421": ("rcpt", "421 4.3.2 going", QUEUED),
    "rcpt-450": ("rcpt", "450 4.2.1 busy mailbox", 450),
    "rcpt-451-system": ("rcpt", "451 4.3.0 trouble", QUEUED),
    "rcpt-452-full": ("rcpt", "452 4.2.2 full", 450),
    "rcpt-550-bare": ("rcpt", "550 no", 550),
    "rcpt-550-control": ("rcpt", "550 5.7.1 \x1b[31mno\x07", 550),
    "rcpt-650": ("rcpt", "650 who knows", QUEUED),
    "rcpt-354": ("rcpt", "354 go on", QUEUED),
    "rcpt-mixed-codes": ("rcpt", Raw(b"250-yes\r\n550 no\r\n", 550), QUEUED),
    "rcpt-endless-reply": ("rcpt", Raw(b"250-yes\r\n" * 20000), QUEUED),
    "rcpt-silent": ("rcpt", SILENT, QUEUED),
    "rcpt-drop": ("rcpt", DROP, QUEUED),
    # --- DATA.
    "data-250": ("data", "250 2.0.0 thanks", QUEUED),
    "data-421": ("data", "421 4.3.2 going", QUEUED),
    "data-451": ("data", "451 4.7.1 later", 451),
    "data-503": ("data", "503 5.5.1 bad sequence", QUEUED),
    "data-554": ("data", "554 5.6.0 no", 554),
    "data-silent": ("data", SILENT, QUEUED),
    "data-drop": ("data", DROP, QUEUED),
    # --- The dot.
    "dot-354": ("dot", "354 more", QUEUED),
    "dot-421": ("dot", "421 4.3.2 going", QUEUED),
    "dot-451-system": ("dot", "451 4.3.0 trouble", QUEUED),
    "dot-451-greylisted": ("dot", "451 4.7.1 later", 451),
    "dot-554": ("dot", "554 5.6.0 no", 554),
    "dot-999": ("dot", Raw(b"999 what\r\n"), QUEUED),
    "dot-garbage": ("dot", Raw(b"\x00\xff\xfe thanks\r\n"), QUEUED),
    "dot-silent": ("dot", SILENT, QUEUED),
    "dot-drop": ("dot", DROP, QUEUED),
    "dot-drips": ("dot", Raw(b"250 2.0.0 taken\r\n", pause=0.05), LIVE),
}
AT_ONCE = {"workers": 2, "backend-connect-timeout": "2s", "backend-command-timeout": "2s", "final-reply-timeout": "3s",
           "probe-interval-min": "1s", "probe-interval-max": "1s", "message-retry-min": "1s"}


class Pair(Node):
    """Two customers: one with an odd backend, and one beside it."""

    def __init__(self, odd, calm):
        super().__init__(settings=AT_ONCE)
        self.odd = odd
        self.add_customer("odd", "odd.example", odd.endpoint)
        self.add_customer("calm", "calm.example", calm.endpoint)
        for name in ("odd", "calm"):
            self.relayctl("customer", "set", name, "--max-connections-per-hour", "none")
        wait_until(lambda: self.is_live(), 20, "the odd one begins as a good one")

    def send_odd(self):
        return self.send(make_message(), rcpts=RCPT)

    def is_live(self):
        reply = self.send_odd()
        return reply.code == 250 and "queued" not in reply.text

    def mend(self):
        """The backend is a good one again; nothing of the case before is left."""
        self.odd.script.clear()
        self.odd.drop_connections()
        self.relayctl("backend", "test", "odd/1", check=False)
        wait_until(self.is_live, 30, "the backend is served again")
        wait_until(lambda: not self.spool(), 60, "what was kept is delivered")


@pytest.fixture(scope="module")
def pair():
    odd, calm = Backend().start(), Backend().start()
    node = Pair(odd, calm)
    yield node
    node.close()
    odd.stop()
    calm.stop()


class Beside:
    """Mail for the other customer, one after the other, timed."""

    def __init__(self, node):
        self.node, self.times, self.failed = node, [], []
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.end.is_set():
            began = time.monotonic()
            reply = self.node.send(make_message(), rcpts="user@calm.example")
            self.times.append(time.monotonic() - began)
            if reply.code != 250 or "queued" in reply.text:
                self.failed.append(str(reply))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(30)


@pytest.fixture(scope="module")
def quiet_time(pair):
    """The median time of a message for the other customer when nothing is odd."""
    with Beside(pair) as beside:
        wait_until(lambda: len(beside.times) >= 30, 60, "thirty messages")
    return statistics.median(beside.times)


@pytest.mark.parametrize("phase, answer, expected", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_P1_P8_an_odd_backend_ends_in_its_class(pair, quiet_time, phase, answer, expected):
    pair.odd.drop_connections()
    wait_until(lambda: pair.odd.connections_open == 0, 5, "no connection stands")
    workers = pair.relayd.workers()
    taken = len(pair.odd.taken)
    pair.odd.script[phase] = answer
    with Beside(pair) as beside:
        reply = pair.send_odd()
        wait_until(lambda: len(beside.times) >= 5, 30, "others are served")
    assert not beside.failed and pair.relayd.workers() == workers
    if expected == LIVE:
        assert reply.code == 250 and "queued" not in reply.text and len(pair.odd.taken) == taken + 1, str(reply)
    elif expected == QUEUED:
        assert reply.code == 250 and "queued until" in reply.text, str(reply)
    elif expected is None:
        assert reply.code in (250, 451), str(reply)
    else:
        assert reply.code == expected and reference_in(reply.text), str(reply)
    assert all(" " <= c <= "~" for line in reply.lines for c in line), repr(reply.lines)
    slower = statistics.median(beside.times) - quiet_time
    assert slower < (0.5 if QUICK else 0.05), f"others were slower by {slower * 1000:.0f} ms"
    pair.mend()
