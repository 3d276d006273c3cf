"""Which cell of a sweep is meant: by its run id, the beginning of one, or words about its axes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb

from ibray.errors import UserError
from ibray.registry import did_you_mean

AXES = ("dataset", "attack", "poison_ratio", "target_class", "architecture", "sigma", "seed", "per_class", "status")
NAMES = ("dataset", "attack", "architecture", "status")  # what a word without a key may be
MOST_LISTED = 8
# The runs, and the surrogates, which are no cells of the grid but have stages and fail too.
FOUND = f"""
SELECT run_id, {', '.join(AXES)}, ratio_of, surrogate, cell FROM runs
UNION ALL BY NAME SELECT DISTINCT run_id FROM stages ANTI JOIN runs USING (run_id)
ORDER BY dataset, attack, poison_ratio, architecture, sigma, seed, run_id
"""

Run = Mapping[str, Any]


def all_runs(con: duckdb.DuckDBPyConnection) -> list[Run]:
    """Every run of a sweep with its axes; those of a surrogate, which is not in the grid, are None."""
    found = con.execute(FOUND)
    columns = [column for column, *_ in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def find_run(runs: Sequence[Run], words: Sequence[str]) -> Run:
    """The only run that these words are about.

    Raises:
        UserError: none is, or several are: the message names them, or what there is.
    """
    words = [part for word in words for part in word.split()]
    asked = " ".join(words)
    matching = [run for run in runs if len(words) == 1 and run["run_id"].startswith(words[0].lower())]
    if not matching:
        keys = {word.partition("=")[0] for word in words if "=" in word}
        _check_keys(keys, runs)
        matching = [run for run in runs if all(_matches(run, word) for word in words)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise UserError(f"CELL {asked}: no cell matches; there are: {_listed(runs)}")
    raise UserError(
        f"CELL {asked}: {len(matching)} cells match: {_listed(matching)}; add words like seed=0, or give a run id"
    )


def describe_run(run: Run) -> str:
    """A run in a few words, spelled as Cell does in logs/sweep.log."""
    if run["dataset"] is None:
        return "surrogate"
    poisoned = f" {run['poison_ratio']:g}" if run["poison_ratio"] else ""
    return (
        f"{run['dataset']} {run['attack']}{poisoned} {run['architecture']} sigma {run['sigma']:g} seed {run['seed']}"
    )


def settings_of(run: Run) -> dict[str, Any]:
    """Every setting of the cell under its dotted key: attack.params.alpha, training.lr, ..."""
    return dict(_flat("", json.loads(run["cell"]))) if run["cell"] else {}


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    else:
        yield prefix, value


def _check_keys(keys: set[str], runs: Sequence[Run]) -> None:
    known = dict.fromkeys([*AXES, *(key for run in runs for key in _keys_of(run))])
    for key in sorted(keys - known.keys()):
        raise UserError(
            f"CELL {key}=: unknown key '{key}': {did_you_mean(key, known)}There are: {', '.join(AXES)}, a parameter of "
            "the trigger, and every setting below training"
        )


def _keys_of(run: Run) -> dict[str, Any]:
    """Settings under their dotted keys, a trigger's under its own name too: alpha=0.1."""
    settings = settings_of(run)
    trigger = {key.removeprefix("attack.params."): value for key, value in settings.items() if "attack.params." in key}
    return {**settings, **trigger}


def _matches(run: Run, word: str) -> bool:
    key, equals, value = word.partition("=")
    if not equals:
        names = {str(run[name]).lower() for name in NAMES if run[name] is not None}
        return word.lower() in names | {str(run["architecture"]).partition("(")[0].lower()}
    have = run[key] if key in AXES else _keys_of(run).get(key)
    return have is not None and _equal(have, value)


def _equal(have: Any, wanted: str) -> bool:
    if isinstance(have, (int, float)) and not isinstance(have, bool):
        try:
            return math.isclose(have, float(wanted), rel_tol=1e-9)
        except ValueError:
            return False
    spelled = have if isinstance(have, str) else json.dumps(have)
    return wanted.lower() in {spelled.lower(), spelled.partition("(")[0].lower()}


def _listed(runs: Sequence[Run]) -> str:
    shown = ", ".join(f"{run['run_id']} ({describe_run(run)})" for run in runs[:MOST_LISTED])
    more = len(runs) - MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown or "none yet"
