"""`resources.*.gpu: auto`: how many trials share a GPU, by the memory that units of their kind have taken before.

The database says what they took. Until it does, a training has a GPU for itself and what works on snapshots a quarter
of one (`ibray.stages.UNMEASURED`), so that a sweep packs from its second start on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ibray.spec import SweepSpec
from ibray.stages import STAGES
from ibray.store import connect

CONTEXT_BYTES = 600 * 2**20
"""What a process takes on a GPU before its first tensor: CUDA's context and libraries."""
HEADROOM = 1.2
"""The allocator holds more than the tensors do, and another cell may be larger."""
MOST_PER_GPU = 16
PEAKS = "SELECT stage, max(peak_memory_mb) FROM stages WHERE status = 'done' AND gpu_seconds > 0 GROUP BY stage"


def share_of(peak_mb: float, gpu_bytes: int) -> float:
    """The fraction of a GPU for trials whose tensors take `peak_mb` MiB at most: one over their number."""
    needed = HEADROOM * peak_mb * 2**20 + CONTEXT_BYTES
    return 1 / min(MOST_PER_GPU, max(1, int(gpu_bytes // needed)))


def peaks(database: Path) -> dict[str, float]:
    """Share of `resources` -> MiB of GPU memory that its units have taken at most; none that never ran on a GPU."""
    with connect(database) as con:
        measured = dict(con.execute(PEAKS).fetchall())
    found: dict[str, float] = {}
    for stage, peak in measured.items():
        share = STAGES[stage].share
        found[share] = max(peak, found.get(share, 0.0))
    return found


def packed(spec: SweepSpec, peak_mb: Mapping[str, float], gpu_bytes: int) -> SweepSpec:
    """The sweep with a fraction wherever `auto` stands and something was measured.

    Args:
        spec: the sweep.
        peak_mb: as `peaks` gives it.
        gpu_bytes: memory of one GPU, of the smallest where they differ.
    """
    fractions = {
        share: {"gpu": share_of(peak_mb[share], gpu_bytes)}
        for share, asked in spec.resources
        if asked.gpu == "auto" and share in peak_mb
    }
    changed = {share: getattr(spec.resources, share).model_copy(update=gpu) for share, gpu in fractions.items()}
    return spec.model_copy(update={"resources": spec.resources.model_copy(update=changed)})
