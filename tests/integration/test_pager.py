# SPDX-License-Identifier: BSD-2-Clause
"""relayctl on a terminal: long output goes through $PAGER, and nothing else does."""
import os
import signal

import pytest

from harness import wait_until
from registry import acme, ctl, postgres, template  # noqa: F401
from terminal import Screen


def shown(ctl, *args, code=0, **env):
    screen = Screen(ctl, *args, **env)
    text = screen.read()
    assert screen.code == code, text
    return text


@pytest.fixture
def pager(ctl):
    """A pager that says that it is there, and how it was called."""
    path = ctl.folder / "pager"
    path.write_text('#!/bin/sh\necho "paged $* LESS=$LESS LESSSECURE=$LESSSECURE"\ncat\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("args", [("customer", "list"), ("customer", "show", "acme"), ("backend", "list"), ("help",),
                                  ("domain", "list", "--help"), ("help", "550")])
def test_long_output_is_paged_on_a_terminal(acme, pager, args):
    text = shown(acme, *args, PAGER=f"{pager}  -x y", LESS=None)
    assert text.startswith("paged -x y LESS=FRX LESSSECURE=1\n")
    assert acme(*args).out.splitlines()[0] in text.replace("\033[32m", "").replace("\033[0m", "")
    assert "LESS=-S " in shown(acme, *args, PAGER=pager, LESS="-S")


@pytest.mark.parametrize("args", [("customer", "list", "--json"), ("customer", "suspend", "acme", "--reason", "unpaid", "--yes"), ("db", "status"),
                                  ("status",), ("--version",)])
def test_what_is_short_or_changes_or_is_for_programs_is_not(acme, pager, args):
    assert "paged" not in shown(acme, *args, PAGER=pager, code=1 if args == ("status",) else 0)


def test_elsewhere_than_on_a_terminal_nothing_is_paged(acme, pager):
    assert "paged" not in acme("customer", "list", env={"PAGER": pager}).out


@pytest.mark.parametrize("none", ["", "cat", "/does/not/exist", "  ", "/etc/passwd"])
def test_without_a_pager_the_output_is_there(acme, none):
    text = shown(acme, "customer", "list", PAGER=none)
    assert "acme" in text and "CUSTOMER" in text and len(text.splitlines()) == 2


def test_colour_stays(acme, pager):
    assert "\033[32m" in shown(acme, "customer", "list", PAGER=pager, NO_COLOR=None)
    assert "\033[" not in shown(acme, "customer", "list", PAGER=pager, NO_COLOR="1")


def test_the_exit_status_is_the_commands_and_complaints_are_paged_too(acme, pager):
    text = shown(acme, "customer", "show", "nobody", PAGER=pager, code=3)
    assert text.startswith("paged") and "nobody" in text
    path = acme.folder / "hasty"
    path.write_text("#!/bin/sh\nexit 5\n")
    path.chmod(0o755)
    shown(acme, "customer", "list", PAGER=str(path))


def test_ctrl_c_leaves_the_pager_and_relayctl_waits_for_it(acme):
    path = acme.folder / "slow"
    path.write_text('#!/bin/sh\ntrap "" INT\ncat\ntouch "$1"\nwhile [ ! -e "$1.go" ]; do sleep 0.05; done\necho the end\n')
    path.chmod(0o755)
    there = acme.folder / "there"
    screen = Screen(acme, "customer", "list", PAGER=f"{path} {there}")
    wait_until(there.exists, 20, "the pager has seen all")
    os.killpg(screen.process.pid, signal.SIGINT)  # as the terminal does
    assert screen.process.poll() is None
    (acme.folder / "there.go").touch()
    assert screen.read().endswith("the end\n") and screen.code == 0


def test_less_leaves_a_short_output_on_the_screen_and_ends(acme):
    if not os.path.exists("/usr/bin/less"):
        pytest.skip("there is no less here")
    assert "acme" in shown(acme, "customer", "list", PAGER=None, LESS=None)
