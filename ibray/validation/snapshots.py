"""The checks on a finished sweep's own snapshots, where no truth is known but much must hold all the same.

null: with the pairing permuted nothing may be read. rescaling: standardising T changes no information. dpi: Yhat knows
no more of X than T does, and no more of X than of T. fano: a classifier that errs this seldom knows that much of Y.
dominance: a bound from the known noise is not below a trained critic's held-out value at as many candidates. gap: how
far the paper's value lies from the proven bounds, which is to be looked at, not judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from analysis import db
from ibray.errors import UserError
from ibray.mi import EstimationError, MIEstimate, estimate_mi
from ibray.mi.channel import known_noise_ty
from ibray.mi.classwise import estimate_subset
from ibray.mi.discrete import entropy, fano_bound
from ibray.mi.noise_draws import hold_out, known_noise_xt
from ibray.mi.protocols import ChosenProtocol
from ibray.mi.quantities import HIDDEN, WHOLE
from ibray.mi.subset_samples import SubsetSamples
from ibray.seeds import generator
from ibray.snapshot_subsets import SnapshotSubsets
from ibray.snapshots import Snapshots, stored_data
from ibray.spec import SweepSpec, load_spec
from ibray.storage import artifacts_of
from ibray.validation.checks import ERRORS, NULL_LIMIT, RESCALING_LIMIT, Row, standard_error
from ibray.workspace import DATABASE, SPEC

FINISHED = """
SELECT DISTINCT run_id, unit FROM stages WHERE stage = 'mi' AND status = 'done' ORDER BY run_id, unit
"""
BOTH = """
SELECT p.subset, p.quantity, p.n, p.nats, p.ci_low, p.ci_high, p.estimator, c.lower_bound, c.upper_bound
FROM estimates p JOIN estimates c USING (run_id, epoch, subset, quantity, layer)
WHERE p.protocol = 'paper' AND c.protocol = 'certified' AND p.status = 'done' AND c.status = 'done'
    AND run_id = ? AND epoch = ? AND layer = 'T'
ORDER BY ALL
"""
DRAWS = 8


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a sweep: whose, and its subsets."""

    run_id: str
    epoch: int
    subsets: SnapshotSubsets
    target: str
    spec: SweepSpec


def check_snapshots(
    directory: Path, data_dir: Path | None, quick: bool, report: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of every snapshot whose information was estimated and whose weights are still there.

    quick: the last snapshot of every run only, and no critic is trained: without `dominance` and the nulls of trained
    estimators. Raises UserError where there is no such snapshot.
    """
    if not (directory / DATABASE).exists():
        raise UserError(f"{directory}: there is no {DATABASE}; give the output directory of a sweep")
    spec = load_spec(directory / SPEC)
    with db.read(directory) as con:
        finished = con.execute(FINISHED).fetchall()
    artifacts = artifacts_of(directory)
    there = [(run_id, epoch) for run_id, epoch in finished if Snapshots(artifacts, run_id).has(epoch)]
    if not there:
        raise UserError(f"{directory}: no snapshot whose information was estimated is on disk: nothing to check")
    if quick:
        there = list(dict(there).items())
    for run_id, epoch in there:
        snapshot = _open(artifacts, run_id, epoch, data_dir, spec)
        yield from _gap(directory, snapshot)
        indices = snapshot.subsets.indices
        classes = [name for name in indices if name not in (snapshot.target, WHOLE) and name.isdigit()]
        for subset in dict.fromkeys([snapshot.target, *classes[:1], WHOLE]):
            report(f"run {run_id}, epoch {epoch}, subset {subset}")
            try:
                yield from _check(snapshot, subset, quick)
            except EstimationError as problem:
                about = {"check": "bounds", "estimator": "channel", "protocol": "certified", "quantity": None}
                yield _row(snapshot, subset, len(indices[subset]), None, **about, detail=f"no estimate: {problem}")


def _open(artifacts: Path, run_id: str, epoch: int, data_dir: Path | None, spec: SweepSpec) -> Snapshot:
    cell, data = stored_data(artifacts, run_id, data_dir)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = {**spec.mi.settings(), "whole": True, "layers": "last"}
    settings["draws"] = max(DRAWS, settings["draws"])
    subsets = SnapshotSubsets(artifacts, cell, data, settings, epoch, device)
    return Snapshot(run_id, epoch, subsets, str(cell.target_class), spec)


def _check(snapshot: Snapshot, subset: str, quick: bool) -> Iterator[Row]:
    samples = snapshot.subsets.samples(subset)
    rng = generator(0, "null", snapshot.run_id, snapshot.epoch, subset)
    started = time.perf_counter()
    spec = snapshot.spec
    xt = _bounds(spec, samples, "I(X;T)")
    ty, xyhat = _bounds(spec, samples, "I(T;Yhat)"), _bounds(spec, samples, "I(X;Yhat)")
    seconds = time.perf_counter() - started

    def row(check: str, quantity: str, estimate: MIEstimate | None, **more: object) -> Row:
        about = {"estimator": "channel", "protocol": "certified", "seconds": seconds, **more}
        return _row(snapshot, subset, samples.n, estimate, check=check, quantity=quantity, **about)

    yield from _nulls(row, samples, rng)
    yield from _standardised(row, samples)
    room = ERRORS * math.hypot(standard_error(xt), standard_error(xyhat))
    yield row(
        "dpi", "I(X;Yhat)", xyhat, limit=xt.nats + room, passed=xyhat.nats <= xt.nats + room,
        detail=f"I(X;T) {xt.nats:.3f}",
    )  # fmt: skip
    room = ERRORS * math.hypot(standard_error(ty), standard_error(xyhat))
    yield row(
        "dpi", "I(X;Yhat)", xyhat, limit=ty.upper_bound + room, passed=xyhat.nats <= ty.upper_bound + room,
        detail=f"I(T;Yhat) at most {ty.upper_bound:.3f}",
    )  # fmt: skip
    if subset == WHOLE:
        classes = samples.draws.logits.shape[2]
        wrong = float((samples.draws.logits.argmax(2) != samples.labels.unsqueeze(1)).float().mean())
        bound = fano_bound(entropy(samples.labels), wrong, classes)
        yield row(
            "fano", "I(X;Yhat)", xyhat, limit=bound, passed=xyhat.upper_bound >= bound,
            detail=f"at least {bound:.3f} nats at error {wrong:.3f}; the bound from below is {xyhat.nats:.3f}",
        )  # fmt: skip
    if not quick:
        yield from _trained(row, snapshot, samples, xt, rng)


def _nulls(row: Callable[..., Row], samples: SubsetSamples, rng: torch.Generator) -> Iterator[Row]:
    """T's draws dealt to other images, and Yhat's to other T."""
    shuffled = torch.stack(
        [each[torch.randperm(samples.n, generator=rng)] for each in samples.draws.layers[HIDDEN].unbind(1)], dim=1
    )
    found = known_noise_xt(hold_out(shuffled))
    for estimate in (found.certified, found.closed):
        more = {"protocol": estimate.protocol, "truth": 0.0, "error": estimate.nats, "limit": NULL_LIMIT}
        yield row("null", "I(X;T)", estimate, passed=estimate.nats <= NULL_LIMIT, **more)
    other = samples.draws.logits[torch.randperm(samples.n, generator=rng)]
    layer = samples.last_layer
    estimate = known_noise_ty(
        samples.draws.layers[HIDDEN], other, layer.weight, layer.bias, layer.sigma,
        output=samples.output, verify=False,
    )  # fmt: skip
    more = {"truth": 0.0, "error": estimate.nats, "limit": NULL_LIMIT}
    yield row("null", "I(T;Yhat)", replace(estimate, upper_bound=None), passed=estimate.nats <= NULL_LIMIT, **more)


def _standardised(row: Callable[..., Row], samples: SubsetSamples) -> Iterator[Row]:
    t = samples.draws.layers[HIDDEN]
    deviation, mean = torch.std_mean(t, dim=(0, 1))
    scaled = (t - mean) / torch.where(deviation > 0, deviation, 1)
    before, after = (known_noise_xt(hold_out(each)) for each in (t, scaled))
    for name in ("certified", "closed"):
        moved = getattr(after, name).nats - getattr(before, name).nats
        yield row(
            "rescaling", "I(X;T)", getattr(after, name), protocol=name, error=moved, limit=RESCALING_LIMIT,
            passed=abs(moved) < RESCALING_LIMIT, detail="T standardised",
        )  # fmt: skip


def _trained(
    row: Callable[..., Row], snapshot: Snapshot, samples: SubsetSamples, xt: MIEstimate, rng: torch.Generator
) -> Iterator[Row]:
    """What critics read: held out beside the certified bound, and of a permuted pairing."""
    t, pixels = samples.draws.layers[HIDDEN], samples.pixels
    held_out = estimate_mi(pixels, t, "infonce", protocol="population")
    least = held_out.nats - 2 * math.hypot(standard_error(held_out), standard_error(xt))
    yield row(
        "dominance", "I(X;T)", xt, error=xt.nats - held_out.nats, limit=least, passed=xt.nats >= least,
        detail=f"held out, a critic reads {held_out.nats:.3f}", seconds=held_out.seconds,
    )  # fmt: skip
    permuted = pixels[torch.randperm(samples.n, generator=rng)]
    for protocol in ("population", "paper"):
        chosen = _as_in(snapshot.spec, protocol)
        estimate = estimate_mi(permuted, t, chosen.estimator, protocol=protocol, **chosen.settings["I(X;T)"])
        held = None if protocol == "paper" else estimate.nats <= NULL_LIMIT
        yield row(
            "null", "I(X;T)", estimate, estimator=chosen.estimator, protocol=protocol, truth=0.0, error=estimate.nats,
            limit=NULL_LIMIT, passed=held, seconds=estimate.seconds,
        )  # fmt: skip


def _as_in(spec: SweepSpec, protocol: str) -> ChosenProtocol:
    """A protocol as this sweep has it, and as the sweep would have it where it was not asked for."""
    return next((each for each in spec.mi.chosen() if each.protocol == protocol), spec.mi.choose(protocol))


def _bounds(spec: SweepSpec, samples: SubsetSamples, quantity: str) -> MIEstimate:
    layer = HIDDEN if quantity != "I(X;Yhat)" else "output"
    (row, *_) = estimate_subset(_as_in(spec, "certified"), samples, "", [(quantity, layer)], seed=0)
    if row.estimate is None:
        raise EstimationError(f"{quantity}: {row.error}")
    return row.estimate


def _gap(directory: Path, snapshot: Snapshot) -> Iterator[Row]:
    """The paper's stored values beside the stored bounds."""
    with db.read(directory) as con:
        rows = con.execute(BOTH, [snapshot.run_id, snapshot.epoch]).fetchall()
    for subset, quantity, n, nats, ci_low, ci_high, estimator, lower, upper in rows:
        outside = min(0.0, nats - lower) + (max(0.0, nats - upper) if upper is not None else 0.0)
        bounds = f"[{lower:.3f}, {'?' if upper is None else f'{upper:.3f}'}]"
        values = {"nats": nats, "ci_low": ci_low, "ci_high": ci_high, "lower_bound": lower, "upper_bound": upper}
        yield replace(
            _row(
                snapshot, subset, n, None, check="gap", quantity=quantity, estimator=estimator, protocol="paper",
                error=outside, detail=f"paper {nats:.3f}, proven {bounds}",
            ),
            **values,
        )  # fmt: skip


def _row(snapshot: Snapshot, subset: str, n: int, estimate: MIEstimate | None, **about: object) -> Row:
    values = {}
    if estimate is not None:
        names = ("nats", "ci_low", "ci_high", "lower_bound", "upper_bound")
        values = {name: getattr(estimate, name) for name in names} | {"standard_error": standard_error(estimate)}
    where = {"run_id": snapshot.run_id, "epoch": snapshot.epoch, "subset": subset}
    problem = f"{snapshot.run_id} epoch {snapshot.epoch} subset {subset} {about.get('quantity') or ''}".strip()
    return Row(**({"problem": problem, "dims": 0, "n": n, "truth": None, "seed": 0} | where | values | about))
