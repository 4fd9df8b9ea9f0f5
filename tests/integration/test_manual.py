# SPDX-License-Identifier: BSD-2-Clause
"""The pages of relayctl's nouns and its help say the same, of every verb."""
import re
import shutil
import subprocess

import pytest

from harness import RELAYCTL, SOURCE, build_dir, program


def run(*args, code=0):
    done = subprocess.run([program(RELAYCTL), *args], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, (args, done.stderr)
    return done.stdout


def nouns():
    listed = run("help").split("Commands:")[1].split("Options of")[0]
    return list(dict.fromkeys(re.findall(r"^  ([a-z]+)", listed, re.MULTILINE)))


def verbs(noun):
    return [line.split("\t")[0] for line in run("completion", "--words", "--", "help", noun, "").splitlines()]


def shown(page):
    """As a reader sees it, without its layout."""
    done = subprocess.run(["mandoc", "-Tascii", "-Owidth=200", page], capture_output=True, text=True, check=True)
    return " ".join(re.sub(".\b", "", done.stdout).split())


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_no_page_has_anything_that_mandoc_warns_of():
    pages = [p for place in (SOURCE, build_dir()) for folder in ("relayd", "spoolmgr", "admin") for p in (place / folder).glob("*.[578]")]
    assert {"relayd.8", "spoolmgr.8", "relayctl.8", "postern.conf.5", "postern-replies.7"} <= {p.name for p in pages}
    lint = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True)
    assert lint.stdout == ""


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("noun", nouns())
def test_a_noun_has_a_page_with_the_help_of_every_verb(noun):
    page = build_dir() / f"admin/relayctl-{noun}.8"
    assert page.exists(), "list it in admin/module.am, and in relayctl.8 under SEE ALSO"
    text, details = shown(page), page.read_text().split(".Sh DETAILS")[1]
    whole = run("help", noun)
    stands_alone = run(noun, "--help").startswith(f"relayctl {noun} [OPTIONS]")
    for verb in [None] * stands_alone + verbs(noun):
        help_text = run(noun, *([verb] if verb else []), "--help")
        assert " ".join(help_text.split()) in text and help_text in whole
        assert verb is None or run("help", noun, verb) == help_text
        command = f"{noun} {verb}" if verb else noun
        assert re.search(rf"^\.It (Cm (.* )?|Xo\n\.Cm ){command}\b", details, re.MULTILINE), f"relayctl.8 says nothing of {command}"
    assert f"relayctl-{noun} 8" in (SOURCE / "admin/relayctl.8").read_text()


def test_help_fits_on_eighty_columns_but_for_examples():
    for noun in nouns():
        for verb in verbs(noun) or [None]:
            text = run("help", noun, *([verb] if verb else [])).split("Example:")[0]
            assert all(len(line) <= 80 for line in text.splitlines()[1:]), text
    assert all(len(line) <= 80 for line in run("help").splitlines())


def test_a_nouns_help_is_short_where_it_was_asked_for_in_passing():
    assert len(run("customer", "--help").splitlines()) < 20 < len(run("help", "customer").splitlines())
    assert "relayctl-customer(8)" in run("customer", "--help")
