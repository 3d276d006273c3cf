"""The dataset cache: where it is, and whether what a sweep reads is in it or can be brought."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ibray.check import Check
from ibray.check_output import nearest_existing
from ibray.datasets import available
from ibray.datasets.cache import resolve_data_dir
from ibray.errors import UserError
from ibray.preflight import check_cells
from ibray.spec import SweepSpec

ON_DISK = ("cached", "imported")


def check_datasets(spec: SweepSpec | None, data_dir: Path | None) -> Iterator[Check]:
    """The cache; with a sweep, its own datasets and whether its attacks fit them. Downloads nothing."""
    cache = resolve_data_dir(data_dir)
    entries = {entry.name: entry for entry in available(data_dir)}
    there = [name for name, entry in entries.items() if entry.status in ON_DISK]
    nearest = nearest_existing(cache)
    if not cache.is_dir() and not nearest.is_dir():
        yield Check("datasets", "failed", f"{cache}: {nearest} is a file", "choose another --data-dir or IBRAY_DATA")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        advice = "nothing can be downloaded or imported: choose another --data-dir or IBRAY_DATA"
        yield Check("datasets", "warning", f"{cache} cannot be written", advice)
    else:
        yield Check("datasets", "ok", f"{cache} has {', '.join(there) or 'none yet'}")
    asked = {cell.dataset.name for cell in spec.cells()} if spec else set()
    for name, entry in entries.items():
        if entry.status in ("damaged", "broken"):
            result = "failed" if name in asked else "warning"
            yield Check(f"dataset {name}", result, f"{entry.status}: {entry.source}")
        elif name in asked and entry.status == "downloadable":
            advice = "on a machine without a network: ibray data import"
            yield Check(f"dataset {name}", "warning", "not in the cache: the sweep downloads it first", advice)
    if spec:
        yield _check_cells(spec, data_dir)


def _check_cells(spec: SweepSpec, data_dir: Path | None) -> Check:
    cells = spec.cells()
    try:
        check_cells(cells, spec.source, data_dir, download=False)
    except UserError as error:
        return Check("sweep file", "failed", str(error))
    return Check("sweep file", "ok", f"{spec.source}: {len(cells)} cells, whose attacks fit their datasets")
