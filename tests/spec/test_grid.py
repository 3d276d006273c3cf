"""Properties that hold for any grid: its size, its uniqueness, what exclude takes away, and that growing keeps ids."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibray.errors import UserError
from ibray.spec import parse_spec

AXES = {
    "dataset": st.sampled_from(["digits", "digits16", "cifar10"]),
    "attack": st.sampled_from(["badnets", "blend"]),
    "poison_ratio": st.floats(0.001, 0.999),
    "target_class": st.integers(0, 9),
    "architecture": st.sampled_from(["resnet18", "resnet10_8"]),
    "sigma": st.floats(0, 2),
    "seed": st.integers(0, 2**40),
}


def lists(unique: bool, **more):
    """An axis each, short enough that the grid stays small."""
    return st.fixed_dictionaries(
        {axis: st.lists(values, min_size=1, max_size=2, unique=unique) for axis, values in AXES.items()} | more
    )


def grid(axes: dict, **more) -> list:
    """The cells of a sweep with these axes."""
    return parse_spec({"name": "s", **axes, **more}, "sweep.yaml").cells()


def values(cell) -> dict:
    """A cell's value on every axis."""
    return {axis: getattr(value := getattr(cell, axis), "name", value) for axis in AXES}


few = settings(max_examples=40, deadline=None)


@few
@given(lists(unique=True))
def test_the_grid_is_the_product_of_its_axes(axes):
    assert len(grid(axes)) == math.prod(len(entries) for entries in axes.values())


@few
@given(lists(unique=False))
def test_a_value_written_twice_counts_once(axes):
    assert len(grid(axes)) == math.prod(len(set(entries)) for entries in axes.values())


@few
@given(lists(unique=False))
def test_every_cell_has_an_id_of_its_own_and_one_value_of_every_axis(axes):
    cells = grid(axes)
    assert len({cell.run_id for cell in cells}) == len({tuple(values(cell).items()) for cell in cells}) == len(cells)
    assert all(value in axes[axis] for cell in cells for axis, value in values(cell).items())


@few
@given(lists(unique=True), st.data())
def test_exclude_removes_the_matching_cells_and_no_others(axes, data):
    rule = {axis: data.draw(st.sampled_from(axes[axis])) for axis in data.draw(st.sets(st.sampled_from(list(AXES))))}
    everything = grid(axes)
    expected = [c.run_id for c in everything if any(values(c)[axis] != value for axis, value in rule.items())]
    if expected:
        assert [cell.run_id for cell in grid(axes, exclude=[rule])] == expected
    else:
        with pytest.raises(UserError, match="the grid is empty"):
            grid(axes, exclude=[rule])


@few
@given(lists(unique=True), lists(unique=True))
def test_a_grown_grid_keeps_every_old_id(axes, more):
    grown = {axis: [*entries, *more[axis]] for axis, entries in axes.items()}
    assert {cell.run_id for cell in grid(axes)} <= {cell.run_id for cell in grid(grown)}


@few
@given(lists(unique=True), st.randoms())
def test_the_order_of_an_axis_decides_the_order_of_the_cells_alone(axes, random):
    shuffled = {axis: random.sample(entries, len(entries)) for axis, entries in axes.items()}
    assert {cell.run_id for cell in grid(axes)} == {cell.run_id for cell in grid(shuffled)}


@few
@given(lists(unique=True))
def test_none_adds_one_cell_per_combination_of_the_axes_but_the_ratio(axes):
    extended = {**axes, "attack": [*axes["attack"], "none"]}
    clean = [cell for cell in grid(extended) if cell.attack.name == "none"]
    others = (len(entries) for axis, entries in axes.items() if axis not in ("attack", "poison_ratio"))
    assert len(clean) == math.prod(others) and {cell.poison_ratio for cell in clean} == {0.0}


@few
@given(lists(unique=True), lists(unique=True))
def test_include_adds_what_a_sweep_of_its_own_would_have(axes, more):
    together = {cell.run_id for cell in grid(axes, include=[more])}
    assert together == {cell.run_id for cell in grid(axes)} | {cell.run_id for cell in grid(more)}
