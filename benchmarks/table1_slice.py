"""Train the 14 rows of Table I in slices, with the computing core alone: for a machine that has torch and little else.

    python benchmarks/table1_slice.py --out results/table1_seed0 --minutes 9     # again and again, until exit code 0

The cells, their order and the layout of --out are those of sweeps/table1_seed0.yaml (a test compares them). A complete
machine goes on from there: start `ibray sweep sweeps/table1_seed0.yaml --order grid --minutes 0.2`, copy snapshots/
and checkpoints/ into its directory, and repeat the command without --minutes: it finds the snapshots, reads the rows
from the last checkpoints without training, and estimates. The rows of every run lie in
epochs/RUN_ID.jsonl besides, one epoch a line, as in the table `epochs`. Of a training that is stopped at most a minute
and an epoch are lost. Exit codes: 0 all is trained, 124 the minutes are over.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ibray.attacks import get_attack
from ibray.cell import ArchitectureChoice, AttackChoice, Cell, DatasetChoice, TrainingSettings
from ibray.malloc import restart_tuned
from ibray.models import resolve_params
from ibray.rundata import build_run_data
from ibray.snapshots import Snapshots
from ibray.surrogate import load_surrogate, surrogate_cell
from ibray.training import EpochResult, train

SNAPSHOTS = (1, 5, 10, 20, 40, 60, 80, 100, 120)
FULL = [(name, 0.1) for name in ("badnets", "blend", "wanet", "ftrojan", "adap_blend")] + [("lc", 0.25)]
FEW = [("badnets", 0.01), ("blend", 0.01), ("wanet", 0.01), ("lc", 0.1)]
SVHN = [("badnets", 0.1), ("blend", 0.1), ("wanet", 0.1), ("lc", 0.25)]
ROWS = [("cifar10", *row) for row in FULL + FEW] + [("svhn", *row) for row in SVHN]
LR = {"svhn": 0.001}  # else the paper's 0.01, the default
EXIT_TIME_OVER = 124


class TimeOver(Exception):
    """The slice ends here."""


def cells() -> list[Cell]:
    """The rows at the paper's full settings, seed 0."""
    architecture = ArchitectureChoice(name="resnet18", params=resolve_params("resnet18", {}))
    return [
        Cell(
            dataset=DatasetChoice(name=dataset),
            attack=AttackChoice(name=attack, params=get_attack(attack).params()),
            poison_ratio=ratio,
            target_class=0,
            architecture=architecture,
            sigma=0.4,
            seed=0,
            training=TrainingSettings(**({"lr": LR[dataset]} if dataset in LR else {})),
        )
        for dataset, attack, ratio in ROWS
    ]


def train_cell(cell: Cell, snapshots: Sequence[int], out: Path, device: torch.device, until: float) -> None:
    """Go on with a cell and, before it, with the network on which its attack crafts its images."""
    stored, surrogate, network = Snapshots(out, cell.run_id), surrogate_cell(cell), None
    rows_file = out / "epochs" / f"{cell.run_id}.jsonl"
    known = len(rows_file.read_text().splitlines()) if rows_file.exists() else 0
    if known == cell.training.epochs and all(stored.has(epoch) for epoch in snapshots):
        return
    parts = stored.parts()
    if surrogate and parts is None:
        train_cell(surrogate, [surrogate.training.epochs], out, device, until)
        classes = len(build_run_data(surrogate).class_names)
        network = load_surrogate(out, surrogate, classes, device)
    data = build_run_data(cell, parts=parts, surrogate=network)
    stored.save_recipe(cell, data)
    rows: list[dict] = []

    def on_epoch(result: EpochResult) -> None:
        rows.append({"run_id": cell.run_id, **result.metrics})
        # Not at an epoch that an earlier slice knew: every slice, however short, gets further.
        if time.monotonic() > until and known < result.epoch < cell.training.epochs:
            raise TimeOver(f"{cell}: epoch {result.epoch} of {cell.training.epochs}")

    missing = [epoch for epoch in snapshots if not stored.has(epoch)]
    checkpoints = out / "checkpoints" / cell.run_id
    try:
        train(
            cell, data, device=device, snapshots=missing, checkpoints=checkpoints, on_epoch=on_epoch,
            on_snapshot=stored.save,
        )  # fmt: skip
    finally:
        if len(rows) > known:
            rows_file.parent.mkdir(parents=True, exist_ok=True)
            rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    last = rows[-1]
    asr = "" if last["asr"] is None else f", ASR {last['asr']:.1%}"
    print(f"{cell}: test accuracy {last['test_acc']:.1%}{asr}, {last['images_per_s']:,.0f} images/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    arguments = parser.parse_args()
    restart_tuned(sys.argv)
    until = time.monotonic() + 60 * arguments.minutes
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        for cell in cells():
            train_cell(cell, SNAPSHOTS, arguments.out, device, until)
    except TimeOver as over:
        print(f"Time is over at {over}; the same command goes on.", flush=True)
        sys.exit(EXIT_TIME_OVER)


if __name__ == "__main__":
    main()
