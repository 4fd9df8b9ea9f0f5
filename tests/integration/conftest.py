# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the integration tests. A test that fails leaves its folders, and shows the ends of their logs."""
import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import harness  # noqa: E402
import left_behind  # noqa: E402
import postgres  # noqa: E402
import schema  # noqa: E402
import world  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes")
    world.become_subreaper()
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:  # below the folders of the session
        for place in _places():
            (place / worker).mkdir()
        _use(*(place / worker for place in _places()))
    else:
        memory = world.memory_folder()
        _use(tempfile.mkdtemp(prefix="t-"), *([tempfile.mkdtemp(prefix="t-", dir=memory)] if memory else []))


# What takes longest begins first, so that no file is at work alone when all others are done.
LONGEST = ("test_verbs.py", "test_damage.py", "test_cutthrough.py", "test_control.py", "test_keeper.py", "test_flow.py", "test_health.py",
           "test_faults.py", "test_retention.py", "test_milter.py", "test_recipients.py", "test_reception.py", "test_screens.py",
           "test_reload.py", "test_backend_links.py", "test_relayctl.py", "test_smuggling.py", "test_backend_test.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


_done = []  # what can go


@atexit.register  # now: pytest's own, for its temporary folder in there, come before
def _remove_places():
    for place in _done:
        shutil.rmtree(place, ignore_errors=True)


def _places():
    return [Path(os.environ[name]) for name in ("TMPDIR", "POSTERN_TEST_MEMORY") if os.environ.get(name)]


def _use(disk, memory=None):
    """From now on files are made in these."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(disk)
    os.environ["POSTERN_TEST_MEMORY"] = str(memory or "")
    for place in _places():
        place.chmod(0o755)


def _left_behind():
    """What is there and should not be, but for what a failed test has kept; each is told once."""
    cluster = postgres.Database.cluster
    spare = [p.name for p in world._kept] + [p.name for place in _places() for p in place.glob("pytest-of-*")]
    pids = []
    if cluster:
        spare += [cluster.folder.name]
        pids = cluster.process.tree()
    if postgres.Postgres.template:
        spare += [postgres.Postgres.template.name]
    left = [line for place in _places() for line in left_behind.look(str(place), pids, spare)]
    world._kept.extend(Path(line) for line in left)
    return left


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


@pytest.fixture(scope="module", autouse=True)
def _documented(request):
    """The fields of JSON that test_json.py leaves to this file were there, if all of the file has run."""
    schema.the_schema().seen.clear()
    yield
    pattern = schema.ELSEWHERE.get(request.path.name)
    items = [item for item in request.session.items if item.path == request.path]
    names = {name for name in vars(request.module) if name.startswith("test_")}
    if pattern and names == {item.originalname for item in items} and all(_has_passed(item) for item in items):
        never = [field for field in schema.the_schema().never_seen() if re.fullmatch(pattern, field)]
        assert not never, "\n".join(never)


def _has_passed(item):
    report = getattr(item, "report_call", None)
    return report is not None and report.passed


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    outcome = yield
    try:
        outcome.get_result()
    finally:  # both troubles are shown, if there are two
        if nextitem is None or nextitem.path != item.path:  # the fixtures of the module have ended too
            left = _left_behind()
            assert not left, "this module leaves behind:\n" + "\n".join(left)


@pytest.hookimpl(trylast=True)  # behind the ends of modules' nodes
def pytest_sessionfinish(session):
    postgres.Database.end()
    if postgres.Postgres.template:
        world.remove_folder(postgres.Postgres.template)
        postgres.Postgres.template = None
    if os.environ.get("PYTEST_XDIST_WORKER"):
        for place in _places():
            if not any(place.iterdir()):
                place.rmdir()
        return
    left = _left_behind()
    if session.testsfailed:
        print("\nleft, and kept, since tests have failed:", *left, sep="\n")
    elif left:
        print("\nleft behind:", *left, sep="\n")
        session.exitstatus = 1
    else:
        _done.extend(_places())


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
