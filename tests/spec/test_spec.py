"""Sweep files that are right: what they mean, which cells they make, and which run ids those cells have."""

from __future__ import annotations

from textwrap import dedent

import pytest
import yaml

from ibray.cell import Cell
from ibray.spec import load_spec

SMALL = """
    name: small
    dataset: digits16
    attack: badnets
    architecture: resnet10_8
"""


def small(more: str) -> str:
    """The small sweep file with further lines."""
    return dedent(SMALL) + dedent(more)


def ids(spec) -> list[str]:
    return [cell.run_id for cell in spec.cells()]


def test_lists_are_axes_and_scalars_are_fixed(load):
    cells = load(small("seed: [0, 1, 2]\nsigma: [0.1, 0.4]\npoison_ratio: 0.05")).cells()
    assert {(cell.seed, cell.sigma) for cell in cells} == {(seed, sigma) for seed in range(3) for sigma in (0.1, 0.4)}
    assert {cell.poison_ratio for cell in cells} == {0.05}


def test_a_list_of_one_is_a_scalar(load):
    assert ids(load(small("seed: [3]"))) == ids(load(small("seed: 3")))


def test_cells_come_in_the_order_of_the_file(load):
    spec = load("{name: s, dataset: digits16, attack: [blend, none, badnets], seed: [5, 2]}")
    assert [(cell.attack.name, cell.seed) for cell in spec.cells()] == [
        ("blend", 5), ("blend", 2), ("none", 5), ("none", 2), ("badnets", 5), ("badnets", 2),
    ]  # fmt: skip


def test_the_defaults_are_the_papers(load):
    spec = load("{name: s, dataset: cifar10, attack: badnets}")
    (cell,) = spec.cells()
    assert (cell.architecture.name, cell.sigma, cell.poison_ratio, cell.target_class) == ("resnet18", 0.4, 0.1, 0)
    training = cell.training
    assert (training.epochs, training.batch_size, training.lr, training.momentum) == (120, 256, 0.01, 0.9)
    assert spec.snapshots(cell) == [1, 5, 10, 20, 40, 60, 80, 100, 120]


def test_an_attack_entry_carries_its_own_parameters(load):
    cells = load("{name: s, dataset: digits16, attack: [badnets, {name: badnets, size: 3}]}").cells()
    assert [cell.attack.params["size"] for cell in cells] == [5, 3]


def test_a_preset_is_a_set_of_parameters_that_single_ones_change(load):
    cells = load("""
        {name: s, dataset: digits16, attack: [
          {name: badnets, preset: original}, {name: badnets, preset: original, size: 4}]}
    """).cells()
    assert [(cell.attack.params["size"], cell.attack.params["corner"]) for cell in cells] == [
        (3, "bottom-right"), (4, "bottom-right"),
    ]  # fmt: skip


def test_an_attack_entry_carries_its_own_ratios(load):
    spec = load("""
        name: s
        dataset: digits16
        attack: [{name: badnets, poison_ratio: [0.25, 0.5]}, blend]
        poison_ratio: [0.1, 0.01]
    """)
    assert [(cell.attack.name, cell.poison_ratio) for cell in spec.cells()] == [
        ("badnets", 0.25), ("badnets", 0.5), ("blend", 0.1), ("blend", 0.01),
    ]  # fmt: skip


def test_without_an_attack_the_ratio_is_0_and_the_cell_appears_once(load):
    cells = load("{name: s, dataset: digits16, attack: none, poison_ratio: [0.1, 0.2, 0.3]}").cells()
    assert [cell.poison_ratio for cell in cells] == [0.0]


def test_include_adds_a_small_grid_that_takes_its_other_axes_from_the_sweep(load):
    cells = load(small("sigma: [0.1, 0.4]\ninclude: [{attack: blend, seed: [7, 8]}]")).cells()
    assert [(cell.attack.name, cell.sigma, cell.seed) for cell in cells] == [
        ("badnets", 0.1, 0), ("badnets", 0.4, 0),
        ("blend", 0.1, 7), ("blend", 0.1, 8), ("blend", 0.4, 7), ("blend", 0.4, 8),
    ]  # fmt: skip


def test_include_of_a_cell_that_is_there_adds_nothing(load):
    assert ids(load(small("include: [{seed: 0}]"))) == ids(load(small("")))


def test_exclude_drops_the_cells_that_agree_with_every_key(load):
    cells = load(small("seed: [0, 1]\nsigma: [0.1, 0.4]\nexclude: [{seed: 1, sigma: 0.4}]")).cells()
    assert [(cell.sigma, cell.seed) for cell in cells] == [(0.1, 0), (0.1, 1), (0.4, 0)]


def test_a_list_in_exclude_means_any_of_its_values(load):
    cells = load(small("seed: [0, 1, 2, 3]\nexclude: [{seed: [1, 3]}]")).cells()
    assert [cell.seed for cell in cells] == [0, 2]


def test_overrides_change_the_training_of_matching_cells_only(load):
    cells = load(small("seed: [0, 1]\noverrides: [{when: {seed: 1}, training: {lr: 0.5, batch_size: 8}}]")).cells()
    assert [(cell.training.lr, cell.training.batch_size) for cell in cells] == [(0.01, 256), (0.5, 8)]


def test_of_two_overrides_the_later_wins_key_by_key(load):
    rules = "[{when: {}, training: {lr: 0.5, epochs: 9}}, {when: {seed: 0}, training: {lr: 0.2}}]"
    (cell,) = load(small(f"training: {{epochs: 9, snapshots: [9]}}\noverrides: {rules}")).cells()
    assert (cell.training.lr, cell.training.epochs) == (0.2, 9)


def test_snapshots_of_a_cell_that_trains_shorter_end_with_it(load):
    training = "training: {epochs: 20, snapshots: [20, 1, 10, 10]}"
    spec = load(small(f"{training}\nseed: [0, 1]\noverrides: [{{when: {{seed: 1}}, training: {{epochs: 10}}}}]"))
    assert [spec.snapshots(cell) for cell in spec.cells()] == [[1, 10, 20], [1, 10]]


def test_yaml_merge_keys_work_and_are_not_duplicates(load):
    badnets = "{<<: &badnets {name: badnets, size: 3}, size: 4}"
    cells = load(f"{{name: s, dataset: digits16, attack: [{badnets}, *badnets]}}").cells()
    assert [cell.attack.params["size"] for cell in cells] == [4, 3]


# --set


@pytest.mark.parametrize(
    ("assignment", "value_of", "expected"),
    [
        ("seed=4", lambda spec: spec.seed, [4]),
        ("seed=[4, 5]", lambda spec: spec.seed, [4, 5]),
        ("training.lr=0.5", lambda spec: spec.training.lr, 0.5),
        ("mi.ixt.batch=32", lambda spec: spec.mi.ixt, {"batch": 32}),
        ("attack={name: badnets, size: 2}", lambda spec: spec.cells()[0].attack.params["size"], 2),
        ("name=other", lambda spec: spec.name, "other"),
    ],
)
def test_an_assignment_is_laid_over_the_file(load, assignment, value_of, expected):
    assert value_of(load(small(""), assignment)) == expected


def test_an_assignment_leaves_the_other_keys_of_its_mapping(load):
    spec = load(small("training: {epochs: 9, snapshots: [1, 9]}"), "training.lr=0.5")
    assert (spec.training.epochs, spec.training.lr) == (9, 0.5)


def test_of_two_assignments_the_later_wins(load):
    assert load(small(""), "seed=1", "seed=2").seed == [2]


# Run ids


def test_the_run_id_of_an_example_is_pinned_so_that_an_accidental_change_is_noticed(load):
    # When this fails, every database in the world starts anew: raise CELL_VERSION on purpose or undo the change.
    spec = load("""
        name: pinned
        dataset: {name: digits16, per_class: 20, test_per_class: 10}
        attack: {name: badnets, size: 3, corner: bottom-right}
        poison_ratio: 0.05
        target_class: 1
        architecture: {name: resnet10_8, width: 4}
        sigma: 0.1
        seed: 7
        training: {epochs: 3, snapshots: [1, 3], batch_size: 32, lr: 0.05}
    """)
    assert ids(spec) == ["58a5830dd1a83d48"]


SAME = {
    "a default parameter of the attack": "attack: {name: badnets, size: 5}",
    "the preset that is the default": "attack: {name: badnets, preset: paper}",
    "whole numbers for the colour": "attack: {name: badnets, colour: [1, 0, 0]}",
    "key order": "attack: {corner: top-left, size: 5, name: badnets}",
    "a default parameter of the architecture": "architecture: {name: resnet10_8, width: 8}",
    "a list parameter of the architecture": "architecture: {name: resnet10_8, blocks: [1, 1, 1, 1]}",
    "the defaults of the axes": "poison_ratio: 0.1\nsigma: 0.4\nseed: 0\ntarget_class: 0",
    "a dataset as a mapping": "dataset: {name: digits16}",
    "a default of the training": "training: {momentum: 0.9, lr: 0.01}",
    "another spelling of a number": "training: {lr: 1.0e-2, weight_decay: 0.0005}",
    "compile": "training: {compile: true}",
    "other snapshots": "training: {snapshots: [1, 2, 3]}",
    "another name": "name: other",
    "other resources": "resources: {train: {cpu: 4, gpu: 0.5}}",
    "packed trainings": "resources: {train: {pack: 4}}",
    "another mi": "mi: {draws: 4, ixt: {batch: 32}}",
    "retries": "retries: 5",
}


def replaced(lines: str) -> str:
    """The small sweep file with these top-level lines instead of its own."""
    keys = {line.partition(":")[0] for line in lines.splitlines()}
    own = [line for line in dedent(SMALL).splitlines() if line.partition(":")[0] not in keys]
    return "\n".join([*own, lines])


@pytest.mark.parametrize("lines", SAME.values(), ids=SAME.keys())
def test_what_does_not_change_the_numbers_does_not_change_the_id(load, lines):
    assert ids(load(replaced(lines))) == ids(load(SMALL))


DIFFERENT = {
    "dataset": "dataset: digits",
    "per_class": "dataset: {name: digits16, per_class: 20}",
    "test_per_class": "dataset: {name: digits16, test_per_class: 20}",
    "attack": "attack: blend",
    "attack parameter": "attack: {name: badnets, size: 4}",
    "preset": "attack: {name: badnets, preset: original}",
    "poison_ratio": "poison_ratio: 0.11",
    "target_class": "target_class: 1",
    "architecture": "architecture: resnet10_16",
    "architecture parameter": "architecture: {name: resnet10_8, width: 9}",
    "sigma": "sigma: 0.41",
    "seed": "seed: 1",
    **{
        key: f"training: {{{key}: {value}}}"
        for key, value in {
            "epochs": 121, "batch_size": 255, "lr": 0.011, "momentum": 0.8, "weight_decay": 0.1,
            "plateau_factor": 0.4, "plateau_patience": 4, "plateau_metric": "test_loss", "precision": "bfloat16",
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("lines", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_changes_the_numbers_changes_the_id(load, lines):
    assert ids(load(replaced(lines))) != ids(load(SMALL))


def test_a_whole_number_and_a_float_of_the_same_value_make_the_same_id(load):
    assert ids(load(replaced("sigma: 0\ntraining: {lr: 1}"))) == ids(load(replaced("sigma: 0.0\ntraining: {lr: 1.0}")))


def test_a_run_id_is_16_hex_digits(load):
    (run_id,) = ids(load(SMALL))
    assert len(run_id) == 16 and set(run_id) <= set("0123456789abcdef")


def test_a_cell_comes_back_from_its_json_with_its_id(load):
    (cell,) = load(SMALL).cells()
    assert Cell.from_dict(cell.to_dict()) == cell and Cell.from_dict(cell.to_dict()).run_id == cell.run_id


def test_the_resolved_spec_is_a_sweep_file_of_the_same_cells(load, tmp_path):
    spec = load(small("include: [{seed: 4, attack: [none, {name: blend, alpha: 0.2, poison_ratio: 0.3}]}]"))
    again = tmp_path / "resolved.yaml"
    again.write_text(yaml.safe_dump(spec.resolved()))
    assert ids(load_spec(again)) == ids(spec) and load_spec(again).resolved() == spec.resolved()


def test_who_packs_trainings_and_says_nothing_else_keeps_the_gpu(load):
    train = load("""
        name: a
        dataset: digits16
        attack: badnets
        resources: {train: {pack: 4}}
    """).resources.train
    assert (train.pack, train.cpu, train.gpu) == (4, 1, 1)
