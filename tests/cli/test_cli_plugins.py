"""Plug-ins at the command line: the lists say where everything comes from, and what is wrong with a broken one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# command -> what the example package adds, what is built in
KINDS = {
    "attacks": ("stripes", "badnets"),
    "datasets": ("greys", "digits16"),
    "models": ("cnn4", "resnet18"),
    "estimators": ("zero", "infonce"),
}


def lines(text: str) -> dict[str, list[str]]:
    """First column of a table -> the words of its line, and of the lines it goes on in."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line[:1].strip():
            name = line.split()[0]
        found.setdefault(name, []).extend(line.split())
    return found


@pytest.mark.parametrize("command", KINDS)
def test_a_list_says_where_everything_comes_from(ibray, example, command):
    result = ibray(command)
    assert (result.code, result.err) == (0, "") and "broken" not in result.out
    table = lines(result.out)
    added, built_in = KINDS[command]
    assert table[added][1:3] == ["ibray-example", "1.2"] and table[built_in][1] == "ibray"
    assert next(iter(table.values()))[1] == "origin"


@pytest.mark.parametrize("command", KINDS)
def test_a_broken_plug_in_is_a_line_that_says_why(ibray, install, command):
    install("bad", "raise OSError('no GPU here')", {f"ibray.{command}": {"bad": "ENTRY", "worse": "ENTRY"}})
    result = ibray(command)
    assert (result.code, result.err) == (0, "")
    table = lines(result.out)
    for name in ("bad", "worse"):
        text = " ".join(table.pop(name))
        assert text.startswith(f"{name} bad 1.2 ")
        assert "broken: plug-in bad 1.2, entry point" in text and "OSError: no GPU here" in text
    assert KINDS[command][1] in table and not any("broken:" in words for words in table.values())


def test_an_attack_without_the_default_preset_is_a_broken_line_too(ibray, install):
    source = (
        "import dataclasses\n"
        "from ibray.attacks import ATTACKS\n"
        "ENTRY = dataclasses.replace(ATTACKS['badnets'], presets={'mine': {}})\n"
    )
    install("odd", source, {"ibray.attacks": {"odd": "ENTRY"}})
    assert "broken: attack 'odd' has no preset 'paper': There are: mine" in " ".join(lines(ibray("attacks").out)["odd"])


def test_two_of_one_name_stop_only_the_commands_that_use_the_registry(ibray, install, sweep_file, tmp_path):
    install("my-badnets", "", {"ibray.attacks": {"badnets": "ENTRY"}})
    twice = "attack 'badnets' is there twice, from ibray and from my-badnets 1.2: uninstall my-badnets"
    refused = ibray("attacks")
    assert (refused.code, refused.err) == (2, f"ibray: {twice}\n")
    refused = ibray("sweep", sweep_file, "--out", tmp_path / "out", "--set", "attack=none")
    assert (refused.code, refused.err) == (2, f"ibray: {sweep_file}: attack: {twice}\n")
    assert not (tmp_path / "out").exists()
    assert ibray("models").code == ibray("schema").code == ibray("datasets").code == 0


def test_a_sweep_with_a_broken_plug_in_is_refused_and_one_without_is_not(ibray, install, sweep_file, tmp_path):
    install("bad", "raise OSError('no GPU here')", {"ibray.attacks": {"bad": "ENTRY"}})
    words = ("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run")
    refused = ibray(*words, "--set", "attack=bad")
    assert refused.code == 2
    assert "attack: plug-in bad 1.2, entry point bad = bad:ENTRY of ibray.attacks: OSError: no GPU here" in refused.err
    assert ibray(*words).code == 0


def test_a_plug_in_is_found_by_a_process_of_its_own(example):
    done = subprocess.run(
        [sys.executable, "-m", "ibray", "datasets"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(example), *sys.path])},
    )
    assert lines(done.stdout)["greys"][:3] == ["greys", "ibray-example", "1.2"]
