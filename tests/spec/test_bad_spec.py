"""Sweep files that are wrong: one line that names file, key, value and what is allowed, before anything starts."""

from __future__ import annotations

import pytest

from ibray.errors import UserError
from ibray.spec import load_spec

GOOD = """
name: s
dataset: digits16
attack: [none, badnets]
"""


@pytest.fixture
def complain(load):
    """Load the good file with further lines (or another whole file) and return what the error says of it."""

    def message(lines: str, *assignments: str, whole: bool = False) -> str:
        with pytest.raises(UserError) as caught:
            load(lines if whole else GOOD + lines, *assignments).cells()
        return str(caught.value)

    return message


TOP_KEYS = "name, dataset, attack, poison_ratio, target_class, architecture, sigma, seed, include, exclude"

# lines of a sweep file -> what the message must contain, besides the file's name
UNKNOWN_KEYS = {
    "sigm: 0.4": ("sigm: unknown key: did you mean 'sigma'?", TOP_KEYS),
    "colour: red": ("colour: unknown key", TOP_KEYS),
    "training: {epoch: 3}": ("training.epoch: unknown key: did you mean 'epochs'?", "snapshots", "batch_size"),
    "mi: {draw: 3}": ("mi.draw: unknown key: did you mean 'draws'?", "protocol", "quantities"),
    "resources: {train: {gpus: 1}}": ("resources.train.gpus: unknown key: did you mean 'gpu'?", "cpu, gpu"),
    "resources: {training: {gpu: 1}}": ("resources.training: unknown key", "train, mi"),
    "dataset: {name: digits16, perclass: 3}": ("perclass: unknown key: did you mean 'per_class'?", "test_per_class"),
    "exclude: [{sigmas: 1}]": ("exclude.0.sigmas: unknown key: did you mean 'sigma'?", "target_class"),
    "include: [{training: {}}]": ("include.0.training: unknown key", "target_class"),
    "overrides: [{when: {datset: x}, training: {}}]": ("overrides.0.when.datset: unknown", "did you mean 'dataset'?"),
    "overrides: [{when: {}, training: {snapshots: [1]}}]": ("overrides.0.training.snapshots: unknown", "epochs"),
}

WRONG_TYPES = {
    "training: {epochs: ten}": ("training.epochs: 'ten'", "must be a whole number"),
    "training: {epochs: 1.5}": ("training.epochs: 1.5", "must be a whole number"),
    "training: {epochs: 0}": ("training.epochs: 0", "greater than or equal to 1"),
    "training: {lr: fast}": ("training.lr: 'fast'", "number"),
    "training: {lr: 0}": ("training.lr: 0", "greater than 0"),
    "training: {plateau_metric: loss}": ("training.plateau_metric: 'loss'", "'train_loss' or 'test_loss'"),
    "training: 3": ("training: 3",),
    "seed: [0, x]": ("seed.1: 'x'", "must be a whole number"),
    "seed: -1": ("seed", "-1", "greater than or equal to 0"),
    "seed: true": ("seed", "True", "must be a whole number"),
    "seed: 9223372036854775808": ("seed", "9223372036854775808", "less than or equal to 9223372036854775807"),
    "sigma: high": ("sigma", "'high'", "number"),
    "sigma: -0.5": ("sigma", "-0.5", "greater than or equal to 0"),
    "target_class: first": ("target_class", "'first'", "must be a whole number"),
    "retries: -1": ("retries: -1", "greater than or equal to 0"),
    "name: a b": ("name: 'a b'",),
    "name: 3": ("name: 3", "must be a name"),
    "dataset: 3": ("dataset", "3"),
    "exclude: {sigma: 1}": ("exclude: {'sigma': 1}", "list"),
    "mi: {yhat: probabilities}": ("mi.yhat: 'probabilities'", "'softmax' or 'logits'"),
    "mi: {max_samples: 1}": ("mi.max_samples: 1", "greater than or equal to 2"),
    "mi: {clean_classes: one}": ("mi.clean_classes: 'one'", "list"),
    "resources: {train: {cpu: 0}}": ("resources.train.cpu: 0", "greater than 0"),
    "resources: {train: {pack: 0}}": ("resources.train.pack: 0", "a whole number of at least 1, or auto"),
    "resources: {mi: {pack: 2}}": ("resources.mi.pack: unknown key",),
}

WRONG_RATIOS = {
    "poison_ratio: 0": ("poison_ratio", ": 0:", "between 0 and 1, both excluded"),
    "poison_ratio: 1": ("poison_ratio", ": 1:", "between 0 and 1, both excluded"),
    "poison_ratio: 1.5": ("poison_ratio", ": 1.5:", "between 0 and 1, both excluded"),
    "poison_ratio: -0.1": ("poison_ratio", ": -0.1:", "between 0 and 1, both excluded"),
    "poison_ratio: ten": ("poison_ratio", ": 'ten':", "between 0 and 1"),
    "poison_ratio: .nan": ("poison_ratio", ": nan:"),
    "poison_ratio: [0.1, 1.5]": ("poison_ratio.1: 1.5:", "between 0 and 1, both excluded"),
    "attack: {name: badnets, poison_ratio: 2}": ("poison_ratio", ": 2:", "between 0 and 1, both excluded"),
    "include: [{poison_ratio: 0}]": ("include.0.poison_ratio", ": 0:", "between 0 and 1, both excluded"),
}

WRONG_NAMES = {
    "attack: [none, badnet]": ("attack.1: unknown attack 'badnet'", "did you mean 'badnets'?", "none, badnets, blend"),
    "attack: [zzz]": ("attack.0: unknown attack 'zzz'", "There are: none, badnets, blend"),
    "attack: {size: 3}": ("attack.name: this key is required",),
    "attack: {name: badnets, siz: 3}": ("attack 'badnets' has no parameter 'siz'", "did you mean 'size'?", "colour"),
    "attack: {name: badnets, size: big}": ("attack 'badnets': size", "whole number of at least 1", "'big'"),
    "attack: {name: badnets, corner: left}": ("corner: expected one of top-left, top-right", "'left'"),
    "attack: {name: badnets, preset: papr}": ("no preset 'papr'", "did you mean 'paper'?", "original"),
    "include: [{attack: badnet}]": ("include.0.attack: unknown attack 'badnet'", "did you mean 'badnets'?"),
    "architecture: resnet81": ("architecture: unknown architecture 'resnet81'", "did you mean 'resnet18'?"),
    "architecture: {name: resnet18, widht: 3}": ("has no parameter 'widht'", "did you mean 'width'?", "blocks"),
    "architecture: {name: resnet18, width: x}": ("width: expected a whole number of at least 1", "'x'"),
    "mi: {protocol: papr}": ("mi.protocol: unknown protocol 'papr'", "did you mean 'paper'?", "certified", "direct"),
    "mi: {protocol: direct}": ("mi.protocol: protocol 'direct' needs the name of its estimator: ksg, hsic, renyi",),
    "mi: {protocol: {name: paper, estimator: infonc}}": ("unknown estimator 'infonc'", "did you mean 'infonce'?"),
    "mi: {protocol: {name: paper, estimator: ksg}}": ("estimator 'ksg' has no protocol 'paper': There are: direct",),
    "mi: {protocol: {name: paper, bach: 3}}": ("mi.protocol: unknown setting 'bach'", "did you mean 'batch'?"),
    "mi: {protocol: {name: certified, max_draw: 3}}": ("unknown setting 'max_draw'", "did you mean 'max_draws'?"),
    "mi: {protocol: {name: certified, max_draws: 3}}": ("max_draws must be a whole number of at least 4, not 3",),
    "mi: {protocol: {name: certified, ixt: {max_draws: 8}}}": ("settings for all quantities only",),
    "mi: {protocol: {name: certified, estimator: ksg}}": ("leave out estimator 'ksg'",),
    "mi: {protocol: [paper, paper]}": ("mi: protocol: the same protocol, estimator and settings are there twice",),
    "mi: {draws: 3}": ("mi: draws: 3: protocol certified needs at least 4 noise draws",),
    "mi: {quantities: [I(X;Y)]}": ("unknown quantity 'I(X;Y)'", "I(X;Yhat)", "There are: I(X;T), I(T;Yhat)"),
    "mi: {ixt: {bach: 3}}": ("unknown setting 'bach' of estimator 'infonce'", "did you mean 'batch'?", "negatives"),
    "mi: {ixt: {batch: many}}": ("batch must be a whole number of at least 2", "'many'"),
    "mi: {ity: {learning_rate: 0}}": ("learning_rate must be a positive number", "0"),
}

EMPTY = {
    "seed: []": ("seed: []", "give at least one value"),
    "attack: []": ("attack: []", "give at least one value"),
    "poison_ratio: []": ("poison_ratio: []", "give at least one value"),
    "training: {snapshots: []}": ("training.snapshots: []", "give at least one value"),
}

SNAPSHOTS = {
    "training: {epochs: 10, snapshots: [1, 12]}": ("training", "snapshots: 12 is after the last epoch (epochs: 10)"),
    "training: {epochs: 10}": ("snapshots: 120 is after the last epoch (epochs: 10)",),
    "training: {snapshots: [0]}": ("training.snapshots.0: 0", "greater than or equal to 1"),
}

WRONG = UNKNOWN_KEYS | WRONG_TYPES | WRONG_RATIOS | WRONG_NAMES | EMPTY | SNAPSHOTS


@pytest.mark.parametrize(("lines", "parts"), WRONG.items(), ids=WRONG.keys())
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(complain, lines, parts):
    key = lines.partition(":")[0]
    own = "\n".join(line for line in GOOD.splitlines() if line.partition(":")[0] != key)
    message = complain(f"{own}\n{lines}\n", whole=True)
    assert "sweep.yaml: " in message and "\n" not in message
    assert [part for part in parts if part not in message] == []


def test_every_mistake_has_a_line_of_its_own(complain):
    lines = complain("sigma: -1\nseed: x\ncolour: red\n").splitlines()
    assert len(lines) == 3 and all("sweep.yaml: " in line for line in lines)
    assert [key for key, line in zip(("sigma", "seed", "colour"), lines, strict=True) if key not in line] == []


@pytest.mark.parametrize("key", ["name", "dataset", "attack"])
def test_a_required_key_is_asked_for(complain, key):
    rest = "\n".join(line for line in GOOD.splitlines() if not line.startswith(key))
    assert f"sweep.yaml: {key}: this key is required" in complain(rest, whole=True)


@pytest.mark.parametrize(
    "line", ["sigma: .inf", "sigma: .nan", "training: {lr: .inf}", "training: {weight_decay: .inf}"]
)
def test_a_number_that_is_not_finite_is_refused_with_its_key(complain, line):
    message = complain(line)
    assert "sweep.yaml: " in message and line.replace("training: {", "").partition(":")[0] in message


def test_an_exclude_that_leaves_nothing_is_refused(complain):
    message = complain("exclude: [{attack: [none, badnets]}]")
    assert "the grid is empty" in message and "exclude: the grid is empty, every cell is dropped" in message


@pytest.mark.parametrize(
    "text", ["name: [s", "name:\ts\n\tx: 1", "a: b: c", "\x00"], ids=["open bracket", "tab", "two colons", "null byte"]
)
def test_a_file_that_is_not_yaml_is_refused_with_its_place(complain, text):
    assert "sweep.yaml: not valid YAML: " in complain(text, whole=True)


@pytest.mark.parametrize("line", ["? [a]\n: 1", "{a: 1}: 2"], ids=["list", "mapping"])
def test_a_key_that_is_not_a_word_is_refused(complain, line):
    assert "sweep.yaml: not valid YAML: " in complain(line)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n", "3\n"], ids=["empty", "list", "words", "number"])
def test_a_file_that_is_not_a_mapping_is_told_its_keys(complain, text):
    message = complain(text, whole=True)
    assert "sweep.yaml: a sweep file is a mapping with the keys " in message and TOP_KEYS in message


def test_a_missing_file_is_named_and_an_example_given(tmp_path):
    with pytest.raises(UserError, match=r"nope\.yaml: No such file .* like sweeps/quickstart\.yaml"):
        load_spec(tmp_path / "nope.yaml")


def test_a_directory_is_not_a_sweep_file(tmp_path):
    with pytest.raises(UserError, match=r"Is a directory; give the path of a sweep file"):
        load_spec(tmp_path)


def test_a_binary_file_is_not_a_sweep_file(tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=r"weights\.bin: not a text file; give the path of a sweep file"):
        load_spec(tmp_path / "weights.bin")


# --set


@pytest.mark.parametrize("assignment", ["seed", "=3", ""])
def test_an_assignment_without_key_or_value_is_shown_how(complain, assignment):
    assert f"--set {assignment}: write it as key=value, for example --set " in complain("", assignment)


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("seed=[1", ("--set seed=[1", "not valid YAML")),
        ("name.first=s", ("--set name.first=s", "'name' is not a mapping")),
        ("dataset.per_class=3", ("--set dataset.per_class=3", "'dataset' is not a mapping")),
        ("trainig.epochs=3", ("trainig: unknown key: did you mean 'training'?",)),
        ("training.epochs=ten", ("training.epochs: 'ten'", "must be a whole number")),
        ("poison_ratio=2", ("poison_ratio", "2", "between 0 and 1")),
    ],
)
def test_a_wrong_assignment_is_named(complain, assignment, parts):
    message = complain("", assignment)
    assert [part for part in parts if part not in message] == []


def test_the_epochs_of_an_override_must_leave_a_snapshot(complain):
    # A cell without a snapshot trains for nothing: no mutual information is ever estimated on it.
    short = "{when: {attack: badnets}, training: {epochs: 2}}"
    message = complain(f"training: {{epochs: 20, snapshots: [5, 20]}}\noverrides: [{short}]")
    assert "snapshots" in message and "2" in message
