# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the integration tests. A test that fails leaves its folders, and shows the ends of their logs."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import harness  # noqa: E402
import postgres  # noqa: E402
import world  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes")
    world.become_subreaper()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "report_" + report.when, report)
    if report.when == "call" and report.failed:
        for path in list(world._folders):
            for log in sorted(path.rglob("*.log")):
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
                if tail:
                    report.sections.append((f"the end of {log}", tail))


@pytest.fixture(scope="module", autouse=True)
def _cluster(request):
    """OWN_POSTGRES = True in a module whose tests stop PostgreSQL: each of its nodes has a cluster of its own then."""
    harness.Node.shares_postgres = not getattr(request.module, "OWN_POSTGRES", False)
    yield
    harness.Node.shares_postgres = False


@pytest.hookimpl(trylast=True)  # behind the ends of modules' nodes
def pytest_sessionfinish():
    postgres.Database.end()


@pytest.fixture
def world_of(request):
    """Makes things that need an end: `thing = world_of(Backend())` starts and, after the test, closes it. Folders are kept if
    the test has failed."""
    things = []

    def make(thing):
        things.append(thing)
        if hasattr(thing, "start") and not isinstance(thing, harness.Node):
            thing.start()
        return thing

    yield make
    failed = getattr(getattr(request.node, "report_call", None), "failed", False)
    if failed:
        for path in list(world._folders):
            world.keep_folder(path)
            print(f"kept: {path}")
    trouble = []
    for thing in reversed(things):
        try:
            thing.close()
        except AssertionError as e:
            trouble.append(str(e))
    assert not trouble, "\n".join(trouble)


@pytest.fixture
def node(world_of):
    """A running node without customers."""
    return world_of(harness.Node())


@pytest.fixture
def backend(world_of):
    return world_of(harness.Backend())


@pytest.fixture
def acme(node, backend):
    """The node with the customer acme, whose domain acme.example is served by `backend`."""
    node.add_customer("acme", "acme.example", backend.endpoint)
    return node
