"""Information between labels, where it is a sum over a table of counts: no estimator is needed. Everything in nats.

`discrete_mi` puts the frequencies of the labels at hand in place of their probabilities ("plug-in"). That is exact
where those labels are the whole population, as the labels of a poisoned training set are. For labels that are a sample
it is too high by about `plug_in_bias` (Miller 1955: (cells in use - rows - columns + 1) / 2n), which is not subtracted.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from ibray.errors import UserError
from ibray.mi.interface import EstimationError, MIEstimate


def discrete_mi(a: object, b: object) -> MIEstimate:
    """I(a; b) of paired labels a and b, integers (N,) each; protocol `exact`.

    The interval is over the labels as a sample, by the delta method (the mean of log p(a,b) / p(a)p(b) and its standard
    error); as a population they have none. `ceiling` is min(H(a), H(b)). Raises EstimationError.
    """
    started = time.perf_counter()
    joint = _table(a, b)
    n = int(joint.sum())
    p = joint / n
    rows, columns = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    density = torch.where(p > 0, (p / (rows * columns)).clamp_min(1e-300).log(), 0.0)
    raw = float((p * density).sum())
    error = math.sqrt(max(0.0, float((p * (density - raw).square()).sum())) / n)
    nats = max(0.0, raw)  # rounding
    return MIEstimate(
        nats=nats,
        ci_low=max(0.0, nats - 1.96 * error),
        ci_high=nats + 1.96 * error,
        lower_bound=None,
        upper_bound=None,
        ceiling=min(_entropy(rows), _entropy(columns)),
        n=n,
        negatives=None,
        estimator="plugin",
        protocol="exact",
        critic_epochs=None,
        seconds=time.perf_counter() - started,
        standard_error=error,
    )


def plug_in_bias(a: object, b: object) -> float:
    """What `discrete_mi` is too high by, on average and to first order, where the labels are a sample, in nats."""
    joint = _table(a, b)
    cells = int((joint > 0).sum())
    return (cells - joint.shape[0] - joint.shape[1] + 1) / (2 * float(joint.sum()))


def entropy(labels: object) -> float:
    """H of the labels (N,), in nats, from their frequencies. Raises EstimationError."""
    return _entropy(_labels(labels, "labels").unique(return_counts=True)[1].double())


def binary_entropy(p: float) -> float:
    """H of a coin that shows heads with probability p, in nats."""
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def fano_bound(h_y: float, error: float, classes: int) -> float:
    """The least I(Y; Yhat) of a classifier with this error, in nats: H(Y) - H_b(error) - error ln(classes - 1).

    h_y: H(Y) in nats; error: P(Yhat != Y); classes: of Y, at least 2. Fano's inequality (Cover and Thomas, theorem
    2.10.1); the paper's check: 2.266 nats, 0.2 and 10 classes give 1.326. Not below 0. Raises UserError.
    """
    if not (h_y >= 0 and 0 <= error <= 1 and classes >= 2):
        raise UserError(f"no classifier has H(Y) {h_y}, error {error} and {classes} classes")
    return max(0.0, h_y - binary_entropy(error) - error * math.log(classes - 1))


def _entropy(weights: Tensor) -> float:
    p = weights[weights > 0] / weights.sum()
    return float(-(p * p.log()).sum())


def _table(a: object, b: object) -> Tensor:
    """Counts, float64: a row for each value of a, a column for each value of b."""
    first, second = _labels(a, "a"), _labels(b, "b")
    if len(first) != len(second):
        raise EstimationError(f"a has {len(first)} labels and b has {len(second)}: they must be paired")
    (rows, i), (columns, j) = (labels.unique(return_inverse=True) for labels in (first, second))
    size = len(rows), len(columns)
    return torch.bincount(i * size[1] + j, minlength=size[0] * size[1]).view(size).double()


def _labels(values: object, name: str) -> Tensor:
    labels = torch.as_tensor(values)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise EstimationError(f"{name} must be whole numbers of shape (N,), not {labels.dtype} {tuple(labels.shape)}")
    if len(labels) < 2:
        raise EstimationError(f"{len(labels)} label(s): mutual information needs at least 2")
    return labels.cpu()
