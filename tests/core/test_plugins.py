"""Entries of installed packages in a registry: found, imported late, refused when they share a name or are broken.

The packages are real: modules with their metadata beside them on the path.
"""

from __future__ import annotations

import shutil
import sys

import pytest

from ibray.datasets import available, import_npz, load_dataset
from ibray.errors import UserError
from ibray.registry import Registry

GROUP = "ibray.colours"


@pytest.fixture
def colours() -> Registry[int]:
    """A registry of the test's own, with one built-in."""
    return Registry("colour", {"red": 1}, group=GROUP, entry_type=int)


def test_a_plug_in_is_an_entry_like_a_built_in(install, colours):
    install("more-colours", "BLUE = 2", {GROUP: {"blue": "BLUE"}})
    assert dict(colours) == {"red": 1, "blue": 2} and len(colours) == 2
    assert colours.get("blue") == 2 and "blue" in colours
    assert (colours.origin("red"), colours.origin("blue")) == ("ibray", "more-colours 1.2")
    with pytest.raises(UserError, match=r"unknown colour 'blu': did you mean 'blue'\? There are: red, blue"):
        colours["blu"]
    with pytest.raises(UserError, match="unknown colour 'blu'"):
        colours.origin("blu")


def test_a_registry_without_a_group_takes_no_plug_ins(install):
    install("more-colours", "BLUE = 2", {GROUP: {"blue": "BLUE"}})
    assert list(Registry("colour", {"red": 1})) == ["red"]


def test_a_plug_in_is_imported_when_it_is_looked_up(install, colours):
    install("more-colours", "BLUE = 2", {GROUP: {"blue": "BLUE"}})
    assert list(colours) == ["red", "blue"] and colours["red"] == 1 and colours.origin("blue")
    assert "more_colours" not in sys.modules
    assert colours["blue"] == 2
    assert "more_colours" in sys.modules


USES = {
    "look up": lambda registry: registry["red"],
    "get": lambda registry: registry.get("red"),
    "list": list,
    "count": len,
    "contains": lambda registry: "red" in registry,
    "origin": lambda registry: registry.origin("red"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_plug_in_of_a_built_in_s_name_is_refused_in_every_use(install, colours, use):
    install("my-red", "RED = 7", {GROUP: {"red": "RED"}})
    for _ in range(2):  # not only the first time
        with pytest.raises(UserError) as error:
            use(colours)
        assert str(error.value) == "colour 'red' is there twice, from ibray and from my-red 1.2: uninstall my-red"


def test_two_plug_ins_of_one_name_are_refused(install, colours):
    install("one-blue", "BLUE = 2", {GROUP: {"blue": "BLUE"}})
    install("two-blue", "BLUE = 3", {GROUP: {"blue": "BLUE"}}, version="0.1")
    message = r"colour 'blue' is there twice, from one-blue 1\.2 and from two-blue 0\.1: uninstall one-blue or two-blue"
    with pytest.raises(UserError, match=message):
        colours["red"]


BROKEN = {
    "a missing module": ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
    "an error of its own": ("1 / 0", "ZeroDivisionError: division by zero"),
    "no such object": ("RED = 1", "AttributeError: module 'bad_blue' has no attribute 'BLUE'"),
    "another type": ("BLUE = 'sky'", "'sky' is not an instance of int"),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plug_in_fails_when_it_is_used_and_spares_the_others(install, colours, source, reason):
    install("bad-blue", source, {GROUP: {"blue": "BLUE"}})
    assert colours["red"] == 1 and list(colours) == ["red", "blue"]
    assert colours.origin("blue") == "bad-blue 1.2"
    for use in (colours.__getitem__, colours.get):
        with pytest.raises(UserError) as error:
            use("blue")
        assert str(error.value) == (
            f"plug-in bad-blue 1.2, entry point blue = bad_blue:BLUE of {GROUP}: {reason}. Repair or uninstall bad-blue"
        )


# Datasets: the cache knows names of its own


def listed(name, root):
    (found,) = [dataset for dataset in available(root) if dataset.name == name]
    return found


def test_a_plug_in_s_dataset_is_built_and_listed(example, tmp_path):
    assert listed("greys", tmp_path / "data").origin == "ibray-example 1.2"
    assert load_dataset("greys", data_dir=tmp_path / "data").class_names == ("black", "dark", "light", "white")
    found = listed("greys", tmp_path / "data")
    assert (found.origin, found.status, found.train_images) == ("ibray-example 1.2", "embedded", 120)
    with pytest.raises(UserError, match=r"'greys' comes with ibray-example 1\.2 and needs no import"):
        import_npz("greys", "greys.npz", data_dir=tmp_path / "data")


def test_a_cached_dataset_does_not_hide_that_its_name_is_there_twice(example, install, tmp_path):
    load_dataset("greys", data_dir=tmp_path / "data")
    install("more-greys", "", {"ibray.datasets": {"greys": "GREYS"}})
    with pytest.raises(UserError, match="dataset 'greys' is there twice"):
        load_dataset("greys", data_dir=tmp_path / "data")


def test_what_an_uninstalled_plug_in_left_in_the_cache_is_listed_as_that(example, install, tmp_path):
    load_dataset("greys", data_dir=tmp_path / "data")
    shutil.rmtree(example)
    install("another", "", {})  # and the registries look again, as a new process would
    assert listed("greys", tmp_path / "data").origin == "uninstalled"
    assert load_dataset("greys", data_dir=tmp_path / "data").num_classes == 4
