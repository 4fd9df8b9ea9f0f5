# SPDX-License-Identifier: BSD-2-Clause
"""What operators see of the greylist and the bans of a node, and make it forget. First contacts are those of a domain in fallback
mode."""
import subprocess

import pytest

from harness import QUICK, Backend, Client, Node, wait_until
from world import program, release_build

DELAY = 2  # seconds
WAITS, PASSES = (451, "4.7.1"), (250, "2.1.5")


@pytest.fixture(scope="module")
def grey():
    backend = Backend().start()
    try:
        with Node(settings={"greylist-delay": f"{DELAY}s"}) as node:
            node.add_customer("acme", "acme.example", backend.endpoint)
            node.relayctl("domain", "set", "acme.example", "--mode", "fallback", "--primary-up", "strict")
            wait_until(lambda: rcpt(node, "127.87.0.1", "probe@acme.example") == WAITS, 20, "the mode is known")
            yield node
    finally:
        backend.close()


def rcpt(node, source, address, mail_from="sender@origin.example"):
    with Client(node.port, source=source) as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{mail_from}>")
        reply = client.cmd(f"RCPT TO:<{address}>")
        return reply.code, reply.enhanced


def listed(node, *args):
    out = node.relayctl_json("greylist", "list", *args)
    return [(row["state"], row["origin"], row["customer"], row["contacts"]) for row in out]


def status(node, *args):
    done = node.relayctl("greylist", *args, check=False)
    return done.returncode, done.stderr


def make_known(node, source):
    rcpt(node, source, "user@acme.example")
    wait_until(lambda: rcpt(node, source, "user@acme.example") == PASSES, 3 * DELAY + 5, f"{source} passes")


def test_who_waits_and_who_is_known_is_listed(grey):
    for name in ("a", "b", "c"):
        assert rcpt(grey, "127.88.1.1", f"{name}@acme.example") == WAITS
    wait_until(lambda: listed(grey, "127.88.1.200") == [("waiting", "127.88.1.0/24", "acme", 3)], 10, "they are listed")
    make_known(grey, "127.88.2.1")
    wait_until(lambda: listed(grey, "127.88.2.0/24") == [("known", "127.88.2.0/24", None, None)], 10, "it is listed as known")
    row, = grey.relayctl_json("greylist", "list", "127.88.2.1")
    assert row["since_at"] <= row["seen_at"]
    assert {row[1] for row in listed(grey, "127.88.0.0/16")} == {"127.88.1.0/24", "127.88.2.0/24"}
    assert all(row[2] == "acme" for row in listed(grey, "--customer", "acme"))
    assert status(grey, "list", "--customer", "nobody")[0] == 3
    assert status(grey, "list", "other.example")[0] == 3
    assert status(grey, "list", "192.0.2.1/24")[0] == 2
    assert "127.88.1.0/24" in grey.relayctl("greylist", "list").stdout


def test_an_empty_greylist_says_so(node):
    assert status(node, "list") == (0, "relayctl: nobody has come to this node whom greylisting knows, or makes wait\n")


def test_what_is_forgotten_is_a_first_contact_again(grey):
    make_known(grey, "127.89.1.1")
    wait_until(lambda: listed(grey, "127.89.1.1") == [("known", "127.89.1.0/24", None, None)], 10, "it is listed as known")
    row, = grey.relayctl_json("greylist", "forget", "127.89.1.77", "--dry-run")
    assert (row["known"], row["waiting"], row["dry_run"]) == (1, 0, True)
    assert rcpt(grey, "127.89.1.1", "other@acme.example") == PASSES, "only tried"
    row, = grey.relayctl_json("greylist", "forget", "127.89.1.77")
    assert (row["known"], row["dry_run"]) == (1, False)
    assert rcpt(grey, "127.89.1.1", "other@acme.example") == WAITS
    assert grey.relayd.log_lines("greylist-forgotten")
    code, err = status(grey, "forget", "127.91.1.1")
    assert code == 3 and "nothing is known of 127.91.1.1" in err


def test_a_larger_network_and_all_are_forgotten(grey):
    for source in ("127.90.1.1", "127.90.2.1"):
        make_known(grey, source)
    rcpt(grey, "127.90.3.1", "user@acme.example")
    wait_until(lambda: len(listed(grey, "127.90.0.0/16")) == 3, 10, "all are listed")
    done = grey.relayctl("greylist", "forget", "127.90.0.0/16", "127.91.1.1", "--json", check=False)
    assert done.returncode == 4 and '"known":2,"waiting":1' in done.stdout
    assert status(grey, "list", "127.90.0.0/16")[0] == 3
    assert rcpt(grey, "127.90.1.1", "user@acme.example") == WAITS
    assert status(grey, "forget")[0] == 2
    assert status(grey, "forget", "127.90.1.1", "--all")[0] == 2
    wait_until(lambda: listed(grey), 10, "some wait")
    grey.relayctl("greylist", "forget", "--all", "--yes")
    assert listed(grey) == []


def blocked(node, *args):
    return [(row["what"], row["customer"], row["reason"], row["who"]) for row in node.relayctl_json("block", "list", *args)]


def ban(node, customer, *addresses):
    """As if they had sent null-sender mail to recipients that do not exist; the relay is down."""
    (customer_id,), = node.postgres.sql("SELECT id FROM postern.customers WHERE name = %s", customer)
    for address in addresses:
        subprocess.run([program("tests/integration/ban_scribe"), node.dirs["state-dir"], str(customer_id), address], check=True, timeout=60)


def test_bans_of_the_relay_are_listed_and_ended_by_an_operator(grey):
    grey.relayctl("block", "add", "192.0.2.200", "--customer", "acme", "--reason", "ticket 1")
    grey.relayd.stop()
    code, err = status(grey, "list")
    assert code == 1 and "relayd does not run here" in err
    done = grey.relayctl("block", "list")
    assert "192.0.2.200" in done.stdout and "does not say whom it has banned" in done.stderr
    ban(grey, "acme", "192.0.2.1", "192.0.2.2", "[2001:db8:0:1::1]:25")
    grey.relayd.start()
    all_bans = [(what, "acme", "backscatter", "relayd") for what in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::/64")]
    wait_until(lambda: blocked(grey)[1:] == all_bans, 20, "the bans are known")
    assert blocked(grey, "--customer", "acme") == [("192.0.2.200", "acme", "ticket 1", blocked(grey)[0][3])] + all_bans
    assert [row["expires_at"] > row["created_at"] for row in grey.relayctl_json("block", "list")[1:]] == [True] * 3
    remove = ["block", "remove", "--customer", "acme", "--reason", "ticket 2", "192.0.2.1"]
    grey.relayctl(*remove, "--dry-run")
    assert blocked(grey)[1:] == all_bans, "only tried"
    grey.relayctl(*remove, "2001:db8:0:1::77", "192.0.2.200")
    assert blocked(grey) == all_bans[1:2]
    assert grey.relayctl(*remove, check=False).returncode == 3, "it is ended already"
    assert grey.relayctl("block", "remove", "--customer", "acme", "--reason", "x", "192.0.2.0/24", check=False).returncode == 3
    assert grey.relayctl_json("block", "list", "--node-wide", check=False) == []


def test_a_million_first_contacts_cost_little(tmp_path):
    count = 20000 if QUICK else 10 ** 6
    out = subprocess.run([program("tests/bench/bench_greylist", release_build()), tmp_path, str(count)], capture_output=True, text=True,
                         timeout=900, check=True).stdout
    print(out)
    figures = {name: int(value) for name, value in (word.split("=") for word in out.split())}
    assert figures["passed"] == figures["untold"] < count // 100, "each that was answered was written down"
    assert figures["file_bytes"] < 200 * figures["contacts"] + 2 ** 22
    if not QUICK:
        assert figures["file_bytes"] < 200 * 10 ** 6
        assert figures["full_first_p50_us"] < 3 * figures["empty_first_p50_us"], "as fast as with none"
