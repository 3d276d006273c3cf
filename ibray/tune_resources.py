"""`ibray tune-resources`: which share of this machine a trial should take, from short probes side by side.

On a GPU 1, 2 and 4 trials share it, and their number becomes the fraction `gpu`. Without one they share the cores, and
these become `cpu`, which is a trial's threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ibray.cell import AttackChoice, Cell
from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.malloc import GLIBC_TUNABLES
from ibray.order import in_order
from ibray.packed_training import fits_into_a_pack
from ibray.packing import share_of
from ibray.preflight import check_cells
from ibray.probe import Measured, Request
from ibray.spec import SweepSpec, load_spec
from ibray.stages import plan_tasks, resources_of
from ibray.surrogate import surrogate_cell
from ibray.yaml_block import block, replace_block

SIDE_BY_SIDE = (1, 2, 4)
WORTH_SHARING = 1.05  # more trials at once cost memory: they have to be so much faster together
WORTH_PACKING = 1.2
MEMBERS = 4
UNIT = {"train": "images", "mi": "short snapshots"}


@dataclass(frozen=True)
class Machine:
    """What trials share here: cores, and the bytes of a GPU (0 without one)."""

    cores: int
    gpu_bytes: int


def tune_resources(file: Path, *, data_dir: Path | None, seconds: float, write: bool, console: Console) -> None:
    """Probe, say what came out, and with `write` put it into the file."""
    spec = load_spec(file)
    cells = spec.cells()
    check_cells(cells, spec.source, data_dir)
    cell = dearest(spec, cells, data_dir)
    machine = this_machine()
    shared = "its GPU" if machine.gpu_bytes else f"{machine.cores} cores"
    console.print(f"{spec.source}: probes of {cell.architecture} on {cell.dataset.name}, which share {shared}")
    probe = Prober(spec, cell, data_dir, seconds, console)
    found = {
        "train": tuned_training(spec, probe, machine, sum(_alike(cell, each) for each in cells)),
        "mi": tuned(spec, "mi", probe, machine)[0],
    }
    resources = {share: as_said(spec, share, found[share]) for share in found}
    text = block("resources", resources)
    if not write:
        console.print(f"\nFor {file} (--write puts it there):\n")
        console.print(text, markup=False, highlight=False)
        return
    write_atomic(file, replace_block(file.read_text(), "resources", resources, str(file)).encode())
    load_spec(file)
    console.print(f"\nWritten to {file}:\n")
    console.print(text, markup=False, highlight=False)


def as_said(spec: SweepSpec, share: str, found: dict[str, Any]) -> dict[str, Any]:
    """What a trial reserves as a sweep file says it, with what was found; `cpu` and `gpu` are always there.

    Where one of them is left out beside the other, it is not what it is where nothing is said at all.
    """
    values = {**getattr(spec.resources, share).model_dump(), **found}
    if values.get("pack") == "auto":
        del values["pack"]
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in values.items()
    }


def this_machine() -> Machine:
    """The cores that this process may use, and the memory of its first GPU."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores, torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0)


def dearest(spec: SweepSpec, cells: list[Cell], data_dir: Path | None) -> Cell:
    """The cell whose training takes most work; one whose attack needs a trained network first stands without it."""
    trainings = [task for task in plan_tasks(spec, cells, ["train"]) if task.stage == "train"]
    cell = in_order(trainings, "expensive", data_dir)[0].cell
    if surrogate_cell(cell) is None:
        return cell
    return replace(cell, attack=AttackChoice(name="none"), poison_ratio=0.0)


def _alike(one: Cell, other: Cell) -> bool:
    return (one.dataset, one.architecture, one.training) == (other.dataset, other.architecture, other.training)


class Prober:
    """Runs probes of one cell and says what they measured."""

    def __init__(self, spec: SweepSpec, cell: Cell, data_dir: Path | None, seconds: float, console: Console):
        self.spec, self.cell, self.data_dir, self.seconds, self.console = spec, cell, data_dir, seconds, console

    def __call__(self, kind: str, side_by_side: int, threads: int, members: int = 1) -> Measured | None:
        """Units a second of all together and the largest peak; None where one of them failed, as for want of memory."""
        request = Request(
            kind=kind,
            cell=self.cell.to_dict(),
            settings=self.spec.mi.settings() if kind == "mi" else {},
            threads=threads,
            members=members,
            seconds=self.seconds,
            data_dir=self.data_dir and str(self.data_dir),
        )
        packed = f" of {members} networks" if members > 1 else ""
        trials = f"{kind}: {side_by_side} at once{packed}, {threads} thread{'s' if threads > 1 else ''} each"
        results = run_probes([request] * side_by_side)
        if isinstance(results, str):
            self.console.print(f"{trials}: failed: {results}", markup=False, soft_wrap=True)
            return None
        total = Measured(sum(each.per_second for each in results), max(each.peak_mb for each in results))
        about = f"{total.per_second:,.3g} {UNIT[kind]}/s together, {total.peak_mb:,.0f} MiB each"
        self.console.print(f"{trials}: {about}", markup=False, soft_wrap=True)
        return total


def run_probes(requests: Iterable[Request]) -> list[Measured] | str:
    """Start a process for each, let them begin when all are warm; what they measured, or why one of them failed."""
    environment = {**os.environ, "GLIBC_TUNABLES": GLIBC_TUNABLES}
    with tempfile.TemporaryFile("w+") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        command = [sys.executable, "-m", "ibray.probe"]
        processes = []
        try:
            for request in requests:
                processes.append(subprocess.Popen(command, env=environment, **pipes))
                processes[-1].stdin.write(json.dumps(asdict(request)) + "\n")
                processes[-1].stdin.flush()
            if all(process.stdout.readline().strip() == "ready" for process in processes):
                for process in processes:
                    process.stdin.write("\n")
                    process.stdin.flush()
                lines = [process.stdout.readline() for process in processes]
                if all(lines):
                    return [Measured(**json.loads(line)) for line in lines]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        errors.seek(0)
        return (errors.read().strip().splitlines() or ["a probe ended without a word"])[-1]


def tuned(spec: SweepSpec, kind: str, probe: Prober, machine: Machine) -> tuple[dict[str, Any], int, Measured]:
    """What trials of a kind should reserve, how many then run at once, and what these did together.

    Raises:
        UserError: not even one alone can run.
    """
    threads = resources_of(spec, kind).threads
    best: tuple[int, Measured] | None = None
    most = max(SIDE_BY_SIDE)
    for count in SIDE_BY_SIDE:
        if count > (most if machine.gpu_bytes else machine.cores):
            break
        measured = probe(kind, count, threads if machine.gpu_bytes else machine.cores // count)
        if measured is None:
            break
        if best is None or measured.per_second > WORTH_SHARING * best[1].per_second:
            best = count, measured
        if machine.gpu_bytes:  # what the tensors of more of them would take does not fit: they are not tried
            most = round(1 / share_of(measured.peak_mb, machine.gpu_bytes))
    if best is None:
        raise UserError(f"{spec.source}: a trial of kind '{kind}' cannot run here, not even alone: see above")
    count, measured = best
    if machine.gpu_bytes:
        return {"gpu": 1 / count if count > 1 else 1}, count, measured
    return {"cpu": machine.cores // count}, count, measured


def tuned_training(spec: SweepSpec, probe: Prober, machine: Machine, alike: int) -> dict[str, Any]:
    """The same for trainings, and whether several networks are to be trained as one; alike: how many cells could."""
    found, count, alone = tuned(spec, "train", probe, machine)
    members = min(MEMBERS, alike)
    if members < 2 or spec.training.compile or not fits_into_a_pack(probe.cell):
        return found
    threads = resources_of(spec, "train").threads if machine.gpu_bytes else found["cpu"]
    packed = probe("train", count, threads, members)
    if packed is None or packed.per_second <= WORTH_PACKING * alone.per_second:
        return {**found, "pack": "auto"}
    return {**found, "pack": members}
