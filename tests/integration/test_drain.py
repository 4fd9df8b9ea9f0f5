# SPDX-License-Identifier: BSD-2-Clause
"""ETRN: a customer's server asks for its mail. Probes and pauses are so far apart that nothing moves by itself."""
import pytest

from harness import ADDRESS, DROP, Client, Node, make_message, wait_until

PATIENT = {"probe-interval-min": "10m", "probe-interval-max": "10m", "message-retry-min": "10m", "message-retry-max": "10m"}


@pytest.fixture
def patient(world_of, backend, request):
    node = world_of(Node(settings=PATIENT, start=False))
    node.relayd.env.update(getattr(request, "param", {}))
    node.start()
    node.add_customer("acme", "acme.example", backend.endpoint)
    return node


def etrn(node, domain="acme.example"):
    """From the address of the backend."""
    wait_until(lambda: keeper_is_current(node), 10, "the keeper has the replica")
    with Client(node.port, source=ADDRESS) as client:
        client.ehlo()
        return client.cmd(f"ETRN {domain}")


def keeper_is_current(node):
    """The keeper reads a new replica within a second, the workers are told of it at once."""
    def version(lines):
        return lines[-1].split(" version=")[1].split()[0]
    return version(node.spoolmgr.log_lines("replica")) == version(node.relayd.log_lines("replica-written"))


def stays(check):
    """Three seconds, in which the keeper looks fifteen times."""
    with pytest.raises(AssertionError):
        wait_until(lambda: not check(), 3)


def drains(node):
    return [line for line in node.spoolmgr.log_lines("drain") if " drain customer_id=" in line]


def ids(backend):
    return sorted(int(m.content.split(b"X-Test-Id: ")[1].split()[0]) for m in backend.taken)


def test_P10_a_backend_that_is_back_gets_its_mail_at_once(patient, backend):
    backend.stop()
    for n in range(3):
        assert patient.send(make_message(test_id=n)).code == 250
    backend.start()
    stays(lambda: not backend.messages)
    reply = etrn(patient)
    assert reply.code == 250, reply
    wait_until(lambda: len(backend.taken) == 3, 15, "all that waits")
    assert len(drains(patient)) == 1 and " ready=3 " in drains(patient)[0]
    reply = etrn(patient)
    assert reply.code == 458, reply
    assert len(drains(patient)) == 1
    assert patient.send(make_message(test_id=3)).code == 250
    assert ids(backend) == [0, 1, 2, 3], "and live mail as ever"


def test_only_a_registered_backend_may_ask(patient):
    a, b, c, d = ADDRESS.split(".")
    elsewhere = f"{a}.{b}.{c}.{(int(d) + 1) % 250 + 2}"
    with Client(patient.port, source=elsewhere) as client:
        assert not any("ETRN" in line for line in client.ehlo().lines)
        assert (client.cmd("ETRN acme.example").code, client.cmd("ETRN beta.example").code) == (502, 502)
    assert etrn(patient, "beta.example").code == 459
    assert not drains(patient)


def test_a_backend_that_is_not_back_costs_one_attempt(patient, backend):
    backend.stop()
    for n in range(3):
        assert patient.send(make_message(test_id=n)).code == 250
    assert etrn(patient).code == 250
    wait_until(lambda: drains(patient), 10, "the request is taken")
    wait_until(lambda: len(patient.spoolmgr.log_lines("deferred")) == 1, 10, "one is asked")
    stays(lambda: len(patient.spoolmgr.log_lines("deferred")) == 1)
    backend.start()
    stays(lambda: not backend.messages)


def test_a_held_backend_stays_held(patient, backend):
    patient.relayctl("backend", "hold", "acme/1", "--reason", "maintenance")
    held = patient.postgres.sql("SELECT version FROM postern.replica_state")[0][0]
    wait_until(lambda: f" version={held} " in patient.spoolmgr.log_lines("replica")[-1] + " ", 10, "the keeper knows of it")
    wait_until(lambda: "queued" in patient.send(make_message(test_id=0)).text, 15, "the node knows of it")
    before = len(backend.messages)
    assert etrn(patient).code == 250
    wait_until(lambda: drains(patient), 10, "the request is taken")
    assert " backends=0" in drains(patient)[0]
    stays(lambda: len(backend.messages) == before and patient.spool())


@pytest.mark.parametrize("patient", [{"POSTERN_TEST_DRAIN_PAUSE_MS": "10000"}], ids=["ten seconds"], indirect=True)
def test_P2_pauses_end_but_not_behind_an_unanswered_end(patient, backend):
    def at_the_dot(session, content):
        return DROP if b"X-Test-Id: 0" in content else "451 4.7.1 later"

    backend.stop()
    for n in range(2):
        assert patient.send(make_message(test_id=n)).code == 250
    backend.script["dot"] = at_the_dot
    backend.start()
    assert etrn(patient).code == 250
    wait_until(lambda: len(patient.spoolmgr.log_lines("deferred")) == 2, 15, "both are deferred")
    backend.script.clear()
    patient.spoolmgr.stop()
    patient.spoolmgr.start()
    stays(lambda: not backend.taken)
    reply = wait_until(lambda: (r := etrn(patient)).code == 250 and r, 90, "the pause is over", pause=1)
    assert reply.code == 250
    wait_until(lambda: backend.taken, 15, "the deferred one is delivered")
    stays(lambda: ids(backend) == [1])
    assert " keep_their_pause=1 " in drains(patient)[-1]
    assert len(patient.possible_duplicates()) == 1
