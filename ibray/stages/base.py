"""What a stage is: one function from (cell, what earlier stages left on disk) to rows.

The scheduler, resume, retries, status and dry run know stages only through these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from ibray.cell import Cell, short_hash
from ibray.store import Row, StageKey

if TYPE_CHECKING:
    from ibray.spec import SweepSpec

Tables = Mapping[str, Iterable[Row]]


class Need(NamedTuple):
    """The artifact of one unit of one stage of one run."""

    run_id: str
    stage: str
    unit: int


class Settings(dict):
    """Settings of a stage: plain JSON that nobody changes, and its hash, made once as thousands of tasks share it."""

    @cached_property
    def hash(self) -> str:
        return short_hash(self)


@dataclass(frozen=True)
class Together:
    """How several units of a stage are done in one trial.

    Attributes:
        key: from a task, what all tasks of such a trial have in common; None for one that is done alone.
        run: does the work of several tasks. Its second argument is told once, by the position of a task, how this
            ended: the rows to be written together with `done`, or what was raised. One that fails leaves the others be.
    """

    key: Callable[[Task], Hashable | None]
    run: Callable[[Sequence[Context], Callable[[int, Tables | Exception], None]], None]


@dataclass(frozen=True)
class Stage:
    """A kind of work.

    Attributes:
        subject: from a cell of the grid, the cell that this work is about: itself, one that several cells share, or
            None when the cell has no such work.
        settings: from the spec, a function from the subject to everything beyond it that decides the stage's rows;
            hashed into its key.
        units: from spec and subject, the units of work: [0] for one per run, or snapshot epochs.
        needs: from a task, the artifacts that must be there first.
        has_artifact: from (output directory, run id, unit), whether a unit of this kind left its artifact on disk;
            None for a stage that leaves only rows.
        steps: from the subject, how many steps of the progress bar one unit is worth.
        step_name: what such a step is called.
        share: whose resources in the sweep file a trial of it takes.
        run: does the work; returns the rows to be written together with `done`.
        options: from the spec, what decides how the work is done but none of its rows.
        together: how several units are done in one trial; None for a stage whose trials have one each.
    """

    subject: Callable[[Cell], Cell | None]
    settings: Callable[[SweepSpec], Callable[[Cell], Settings]]
    units: Callable[[SweepSpec, Cell], list[int]]
    needs: Callable[[Task], list[Need]]
    has_artifact: Callable[[Path, str, int], bool] | None
    steps: Callable[[Cell], int]
    step_name: str
    share: Literal["train", "mi"]
    run: Callable[[Context], Tables]
    options: Callable[[SweepSpec], dict[str, Any]] = lambda spec: {}
    together: Together | None = None


@dataclass(frozen=True)
class Task:
    """One unit of one stage of one cell: what a trial is given, and what `stages` has a row for."""

    cell: Cell
    stage: str
    unit: int
    settings: Settings
    options: dict[str, Any] = field(default_factory=dict)  # how, not what: not part of the key

    @property
    def key(self) -> StageKey:
        """The row of `stages` this task is."""
        return StageKey(self.cell.run_id, self.stage, self.unit, self.settings.hash)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `from_dict` turns it back."""
        return {**vars(self), "cell": self.cell.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Task:
        """The task that `to_dict` was called on."""
        return cls(**{**value, "cell": Cell.from_dict(value["cell"]), "settings": Settings(value["settings"])})


@dataclass(frozen=True)
class News:
    """What a running stage tells the scheduler: steps done so far, and an artifact later stages may use now."""

    steps: int
    artifact: int | None = None


@dataclass(frozen=True)
class Context:
    """What a running stage may use.

    Attributes:
        task: what to do.
        out: the sweep's output directory.
        data_dir: the dataset cache; None for the default.
        device: where tensors live.
        put: writes rows before the stage is done; they are kept and written once more with `done`.
        written: from a table and values of some columns, the keys (store.KEYS) of the rows that are there already.
        tell: passes news to the scheduler.
    """

    task: Task
    out: Path
    data_dir: Path | None
    device: torch.device
    put: Callable[[Tables], None]
    written: Callable[[str, Row], set[tuple]]
    tell: Callable[[News], None]
