# SPDX-License-Identifier: BSD-2-Clause
"""P8: thousands of clients that stand still, or nearly so, hold up nobody.

Memory can be measured only in a build without sanitizers (world.release_build). Without one those tests are skipped; the
others run with what there is.
"""
import os
import re
import time
from pathlib import Path

import pytest

from crowd import Crowd
from harness import ADDRESS, IS_ROOT, QUICK, Node, SinkBackend, free_port, make_message, wait_until
from tls import make_certificate
from world import release_build, unprivileged_user

MANY = 1000 if QUICK else 10000
FEW = 50 if QUICK else 500
SLOW = 20 if QUICK else 200
SERVED_WITHIN = 2.0  # seconds, for a whole normal message
POOL = 64 * 1024 * 1024  # of bodies in memory, a worker (relayd/body.h)
WORKERS = 2


RELEASE = release_build()
needs_release = pytest.mark.skipif(RELEASE is None, reason="no build without sanitizers (POSTERN_RELEASE_BUILD): MEMORY IS NOT MEASURED")


def room_for(many):
    """Connections, so that as many are well below the share at which a node is pressed and gives its clients less time."""
    return many * 3 // 2 + 200


@pytest.fixture
def big_node(world_of):
    """A node that has room for a crowd of MANY without being pressed, its customer and a backend that takes everything. How
    a sender that thinks gives up its connection to the backend is tested elsewhere: here there are enough of these."""
    def make(**settings):
        sink = world_of(SinkBackend(save=False))
        node = world_of(Node(build=RELEASE, settings={"workers": WORKERS, "max-connections": room_for(MANY),
                                                       "backend-connections": SLOW + 50, **settings}))
        node.add_customer("acme", "acme.example", sink.endpoint, "--max-connections-per-hour", "none")
        return node
    return make


@pytest.fixture
def certificate(tmp_path):
    """Settings."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    made = make_certificate(tmp_path, "relay", owner=unprivileged_user("nobody") if IS_ROOT else None)
    return {"tls-certificate": [str(made.path)], "tls-key": [str(made.key)]}


def memory(pids):
    """Octets that the processes have for themselves."""
    kib = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kib += sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB$", text, re.M))
    return kib * 1024


def serve(node, times=5):
    """Normal messages, each in its time; the longest."""
    longest = 0
    for n in range(times):
        began = time.monotonic()
        reply = node.send(make_message(test_id=n))
        took = time.monotonic() - began
        assert reply.code == 250, reply
        longest = max(longest, took)
        assert took < SERVED_WITHIN, f"a normal message took {took:.2f} s"
    return longest


def warm_up(node, tls=False):
    """What a worker keeps once it has worked is no cost of the clients that come later."""
    counts = Crowd(node.port, total=400, clients=40, sources=40, tls=tls).run()
    assert counts["accepted"] == 400, counts


def spilled(node):
    """Octets on the disk of what lies in spool-dir, under a name or not."""
    total = sum(f.stat().st_blocks * 512 for f in node.dirs["spool-dir"].iterdir() if f.is_file())
    for pid in node.relayd.workers():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                stat = fd.stat()
                if " (deleted)" in os.readlink(fd) and str(node.dirs["spool-dir"]) in os.readlink(fd):
                    total += stat.st_blocks * 512
            except OSError:
                continue
    return total


def everybody_stands(crowd, many, timeout=120):
    counts = crowd.ready(timeout)
    assert counts["standing"] == many and not counts["losses"], counts
    return counts


def nobody_has_left(crowd, many):
    counts = crowd.count()
    assert counts["standing"] == many and counts["ended"] == 0, counts
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("stand", ["banner", "ehlo"])
def test_P8_thousands_of_idle_clients_hold_up_nobody(big_node, stand):
    node = big_node()
    with Crowd(node.port, clients=MANY, sources=MANY // 25, stand=stand, timeout=30) as crowd:
        everybody_stands(crowd, MANY)
        print(f"{MANY} stand behind {stand}; the longest of ten messages took {serve(node, 10):.3f} s")
        nobody_has_left(crowd, MANY)
        counts = crowd.finish(timeout=120)
    assert counts["accepted"] == MANY and not counts["losses"], counts  # they are served too, when they want to be
    serve(node)


@pytest.mark.slow
def test_P8_slow_senders_hold_up_nobody(big_node):
    node = big_node()
    with Crowd(node.port, clients=MANY, sources=MANY // 25, stand="ehlo", timeout=30) as idle, \
            Crowd(node.port, clients=SLOW, sources=SLOW // 10, stand="content", content=100, drip=200, first_id=100000) as slow:
        everybody_stands(idle, MANY)
        everybody_stands(slow, SLOW)
        before = slow.count()["octets"]
        wait_until(lambda: slow.count()["octets"] > before + 5 * SLOW, 30, "the slow ones send on", pause=0.5)
        print(f"{MANY} idle, {SLOW} slow; the longest of ten messages took {serve(node, 10):.3f} s")
        nobody_has_left(slow, SLOW)
        nobody_has_left(idle, MANY)
        counts = slow.finish()
        assert counts["accepted"] == SLOW and not counts["losses"], counts


@pytest.mark.slow
@needs_release
@pytest.mark.parametrize("stand,tls,at_most_kib", [("banner", False, 4), ("ehlo", False, 4), ("ehlo", True, 20)])
def test_P8_memory_of_an_idle_client(big_node, certificate, stand, tls, at_most_kib):
    many = max(1000, MANY // 4) if tls else max(4000, MANY)  # so many that what a worker keeps anyway does not weigh
    node = big_node(**{"max-connections": room_for(many)}, **(certificate if tls else {}))
    warm_up(node, tls)
    before = memory(node.relayd.workers())
    with Crowd(node.port, clients=many, sources=many // 20, stand=stand, tls=tls) as crowd:
        everybody_stands(crowd, many)
        each = (memory(node.relayd.workers()) - before) / many
        print(f"an idle client behind {stand}{' over TLS' if tls else ''} costs its worker {each / 1024:.2f} KiB")
    assert each <= at_most_kib * 1024, f"an idle client costs {each:.0f} octets"
    assert each > 300, "nothing was measured"


@pytest.mark.slow
@pytest.mark.parametrize("many,octets", [(MANY, 250_000), (FEW, 5_000_000)])
def test_P8_clients_that_stall_in_their_content_hold_up_nobody(big_node, many, octets):
    """As many octets as all of them want to send fit neither into memory nor into spill-max. Theirs is a customer whose
    server is held, so that they do not hold its connections."""
    spill_max = 1024 * 1024 * 1024 if not QUICK else 128 * 1024 * 1024
    node = big_node(**{"spill-max": f"{spill_max // 1024 // 1024}MiB"})
    node.add_customer("globex", "globex.example", f"{ADDRESS}:{free_port()}", "--max-connections-per-hour", "none")
    node.relayctl("backend", "hold", "globex/1", "--reason", "a test", "--yes")
    warm_up(node)
    before, spilled_before = memory(node.relayd.workers()), spilled(node)
    with Crowd(node.port, clients=many, sources=max(1, many // 25), stand="content", content=octets,
               rcpt="user@globex.example", timeout=60) as crowd:
        counts = crowd.ready(timeout=180)
        took = serve(node, 10)
        used, spill = memory(node.relayd.workers()) - before, spilled(node) - spilled_before
        print(f"{many} stalled after {octets}: {counts}; memory {used >> 20} MiB, spill {spill >> 20} MiB, "
              f"the longest of ten messages took {took:.3f} s")
        assert not counts["losses"], counts
        if RELEASE:
            # the pool, and what an open connection in a transaction may keep
            assert used <= WORKERS * POOL + many * 12 * 1024, f"{used} octets of memory"
        assert spill <= spill_max + 4 * 64 * 1024 * 1024, f"{spill} octets of spill"  # and the workers' own segments
        refused = sum(n for reply, n in counts["replies"].items() if reply.split()[1] in ("452", "451", "421"))
        assert counts["standing"] + refused == many, counts
    serve(node)
    wait_until(lambda: spilled(node) - spilled_before <= 4 * 64 * 1024 * 1024, 30, "the room is free again")
