"""Samples with a known mutual information: a problem is a name, the truth in nats, and a way to draw paired samples.

Truths are closed forms, given with each problem's description or in the function that computes them. Maps of x alone or
y alone that can be undone keep the information (Czyz et al. 2023, arXiv 2306.11078: half-cube, asinh, swiss roll).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ibray.mi.discrete import binary_entropy
from ibray.seeds import derive_seed

PAPER = "arXiv 2511.21923, Fig. 2"
BMI = "Czyz et al. 2023 (arXiv 2306.11078)"
TEXTBOOK = "Cover and Thomas, Elements of Information Theory"


@dataclass(frozen=True)
class Noise:
    """How y came from x, where an estimator may be told: y = weight (x + sigma e) + bias, e ~ N(0, I)."""

    weight: Tensor
    """(Dy, Dx)."""
    sigma: float
    bias: Tensor
    """(Dy,)."""


@dataclass(frozen=True)
class Sample:
    """x (N, Dx) or (N, M, Dx) with y likewise, float32; labels are one-hot."""

    x: Tensor
    y: Tensor
    noise: Noise | None = None
    paired: bool = True
    """False once the pairing is broken: y is then no longer x plus that noise."""

    def __len__(self) -> int:
        return len(self.x)

    def permuted(self, rng: torch.Generator) -> Sample:
        """Every x with the y of another: the information is 0."""
        return replace(self, y=self.y[torch.randperm(len(self), generator=rng)], paired=False)

    def scaled(self, a: float, b: float) -> Sample:
        """a x and b y, whose information is that of x and y."""
        noise = self.noise
        if noise:
            noise = Noise(noise.weight * (b / a), noise.sigma * a, noise.bias * b)
        return replace(self, x=self.x * a, y=self.y * b, noise=noise)

    def first(self, n: int) -> Sample:
        """The first n pairs, which are as good as any."""
        return replace(self, x=self.x[:n], y=self.y[:n])


@dataclass(frozen=True)
class Problem:
    """Samples whose information is known."""

    name: str
    description: str
    """What x and y are, and why the truth is what it is."""
    source: str
    truth: float | None
    """Nats; None for samples of one's own."""
    dims: int
    """Features of x."""
    draw: Callable[[int, int], Sample]
    """n, seed -> n pairs; the same for the same arguments."""
    known_noise: bool = False
    """Whether its samples come with `noise`."""
    discrete: bool = False
    """x and y are one-hot labels."""
    long_tails: bool = False
    """Some samples lie many standard deviations out."""


def _rng(name: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed("validation", name, seed))


def equal_correlation(dims: int, nats: float) -> float:
    """The correlation of `dims` independent pairs of Gaussians that together have `nats`: -dims/2 ln(1 - rho^2)."""
    return math.sqrt(-math.expm1(-2 * nats / dims))


def _pairs(n: int, dims: int, rho: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, dims) each, float64: feature i of x has correlation rho with feature i of y and with nothing else."""
    x, noise = torch.randn(2, n, dims, generator=rng, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def paper_gaussian() -> Problem:
    """Its x is the paper's Y and its y the paper's X = Y[:3] + noise, as information does not depend on the order."""

    def draw(n: int, seed: int) -> Sample:
        rng = _rng("paper", seed)
        x = math.sqrt(3) * torch.randn(n, 5, generator=rng)
        y = x[:, :3] + math.sqrt(0.5) * torch.randn(n, 3, generator=rng)
        return Sample(x, y, Noise(torch.eye(3, 5), math.sqrt(0.5), torch.zeros(3)))

    return Problem(
        "paper gaussian",
        "Y ~ N(0, 3 I5), X = Y[:3] + N(0, 0.5 I3): 3/2 ln(1 + 3/0.5) = 1.5 ln 7",
        PAPER,
        1.5 * math.log(7),
        5,
        draw,
        known_noise=True,
    )


def gaussian(dims: int, nats: float) -> Problem:
    rho = equal_correlation(dims, nats)
    name = f"gaussian {dims}d {nats:g}"

    def draw(n: int, seed: int) -> Sample:
        x, y = _pairs(n, dims, rho, _rng(name, seed))
        # y = rho (x + sigma e), with sigma = sqrt(1 - rho^2) / rho
        noise = Noise(rho * torch.eye(dims), math.sqrt(1 / rho**2 - 1), torch.zeros(dims))
        return Sample(x.float(), y.float(), noise)

    description = f"{dims} pairs of correlation {rho:.4g}: -dims/2 ln(1 - rho^2)"
    return Problem(name, description, TEXTBOOK, nats, dims, draw, known_noise=True)


def transformed(kind: str, dims: int, nats: float) -> Problem:
    """Gaussian pairs, each feature of x and y through a map that can be undone: "half-cube" or "asinh"."""
    maps = {"half-cube": lambda v: v.sign() * v.abs() ** 1.5, "asinh": torch.asinh}
    rho, name = equal_correlation(dims, nats), f"{kind} {dims}d {nats:g}"

    def draw(n: int, seed: int) -> Sample:
        return Sample(*(maps[kind](v).float() for v in _pairs(n, dims, rho, _rng(name, seed))))

    what = {"half-cube": "sign(v) |v|^1.5, long tails", "asinh": "asinh(v), short tails"}[kind]
    description = f"gaussian {dims}d with every feature v replaced by {what}"
    return Problem(name, description, BMI, nats, dims, draw)


def swiss_roll(nats: float) -> Problem:
    """x is a curve in the plane: information does not ask how straight a variable lies."""
    rho = equal_correlation(1, nats)

    def draw(n: int, seed: int) -> Sample:
        uniform, y = (torch.special.ndtr(v) for v in _pairs(n, 1, rho, _rng("swiss roll", seed)))
        angle = 1.5 * math.pi * (1 + 2 * uniform)
        x = torch.cat([angle * angle.cos(), angle * angle.sin()], 1) / 21
        return Sample(x.float(), y.float())

    description = "a correlated pair made uniform by its distribution function, x then rolled up in the plane"
    return Problem(f"swiss roll {nats:g}", description, BMI, nats, 2, draw)


def sparse(dims: int, nats: float, pairs: int = 2) -> Problem:
    """Most features have nothing to do with the other variable."""
    rho, name = equal_correlation(pairs, nats), f"sparse {dims}d {nats:g}"

    def draw(n: int, seed: int) -> Sample:
        rng = _rng(name, seed)
        x, y = torch.randn(2, n, dims, generator=rng, dtype=torch.float64)
        x[:, :pairs], y[:, :pairs] = _pairs(n, pairs, rho, rng)
        return Sample(x.float(), y.float())

    description = f"{pairs} pairs of correlation {rho:.4g} among {dims} features of x and of y"
    return Problem(name, description, BMI, nats, dims, draw)


def student_correction(degrees: float, dx: int, dy: int) -> float:
    """What I(x; y) of a multivariate Student-t has over that of a Gaussian of the same dispersion matrix, in nats.

    f(v) + f(v + dx + dy) - f(v + dx) - f(v + dy) with f(u) = ln Gamma(u/2) - u/2 psi(u/2): the entropies of the three
    Student densities (Arellano-Valle, Contreras-Reyes and Genton 2013; Czyz et al. 2023, arXiv 2306.11078). Above 0:
    all features share one random scale, so each variable tells something of the other even without correlation.
    """

    def f(u: float) -> float:
        return math.lgamma(u / 2) - u / 2 * float(torch.digamma(torch.tensor(u / 2, dtype=torch.float64)))

    return f(degrees) + f(degrees + dx + dy) - f(degrees + dx) - f(degrees + dy)


def student(dims: int, nats: float, degrees: int) -> Problem:
    """nats: of the Gaussian with the same dispersion; the truth is that and `student_correction`."""
    rho, name = equal_correlation(dims, nats), f"student {dims}d, {degrees} degrees"

    def draw(n: int, seed: int) -> Sample:
        rng = _rng(name, seed)
        x, y = _pairs(n, dims, rho, rng)
        chi2 = torch.randn(n, degrees, generator=rng, dtype=torch.float64).square().sum(1, keepdim=True)
        factor = (degrees / chi2).sqrt()
        return Sample((factor * x).float(), (factor * y).float())

    truth = nats + student_correction(degrees, dims, dims)
    description = f"gaussian {dims}d {nats:g} with all features of a sample over sqrt(chi2 / {degrees}), long tails"
    return Problem(name, description, BMI, truth, dims, draw, long_tails=True)


def network(nats: float, features: int = 16, outputs: int = 10, draws: int = 8) -> Problem:
    """The last layer of a noisy network: x is T with `draws` noise draws per image, y its logits W (T + 0.4 e) + b.

    T ~ N(0, s^2 I) in all, a fifth of it its own noise. With W W^T of full rank the logits' noise-free part is W T,
    whose covariance is s^2 / 0.4^2 times the noise's, so I = outputs/2 ln(1 + s^2 / 0.4^2), whatever W is.
    """
    sigma, name = 0.4, f"network {nats:g}"
    scale = sigma * math.sqrt(math.expm1(2 * nats / outputs))
    fixed = _rng(name, -1)
    weight, bias = torch.randn(outputs, features, generator=fixed), torch.randn(outputs, generator=fixed)

    def draw(n: int, seed: int) -> Sample:
        rng = _rng(name, seed)
        own, image = torch.randn(n, draws, features, generator=rng), torch.randn(n, 1, features, generator=rng)
        t = scale * (math.sqrt(0.2) * own + math.sqrt(0.8) * image)
        logits = (t + sigma * torch.randn(t.shape, generator=rng)) @ weight.T + bias
        return Sample(t, logits, Noise(weight, sigma, bias))

    description = f"T with {features} features and its {outputs} noisy logits: outputs/2 ln(1 + Var(T) / sigma^2)"
    source = "Goldfeld et al. 2019 (arXiv 1810.05728), the noisy network"
    return Problem(name, description, source, nats, features, draw, known_noise=True)


def poisoned_labels(ratio: float = 0.1, classes: int = 10) -> Problem:
    """I(B; Y), B whether an image has the trigger, Y its label: H(Y) - (1 - ratio) ln(classes).

    `ratio` of every class has the trigger and label 0, so P(Y=0) = ratio + (1 - ratio) / classes and H(Y|B=1) = 0.
    Where n is a multiple of classes / ratio the samples are exactly this population: there is no sampling error.
    """
    rest = (1 - ratio) / classes
    label_entropy = -(ratio + rest) * math.log(ratio + rest) - (classes - 1) * rest * math.log(rest)
    truth = label_entropy - (1 - ratio) * math.log(classes)

    def draw(n: int, seed: int) -> Sample:
        trigger, label = _poisoned(n, seed, ratio, classes)
        return Sample(_one_hot(trigger, 2), _one_hot(label, classes))

    description = f"{ratio:.0%} of {classes} balanced classes relabelled 0: H(Y) - {1 - ratio:g} ln {classes}"
    return Problem("I(B;Y)", description, PAPER, truth, 2, draw, discrete=True)


def trigger_entropy(ratio: float = 0.1) -> Problem:
    """I(B; B) = H(B), the bound of I(X; B): what there is to know of the trigger's presence."""
    truth = -ratio * math.log(ratio) - (1 - ratio) * math.log(1 - ratio)

    def draw(n: int, seed: int) -> Sample:
        trigger = _one_hot(_poisoned(n, seed, ratio, 10)[0], 2)
        return Sample(trigger, trigger.flip(1))

    description = f"trigger present in {ratio:.0%}, told of itself: I(B;B) = H(B), the bound of I(X;B)"
    return Problem("H(B)", description, PAPER, truth, 2, draw, discrete=True)


def classifier(error: float = 0.2, classes: int = 10) -> Problem:
    """I(Y; Yhat) of the labels of `poisoned_labels` and a classifier that is wrong on `error` of them.

    Every wrong class is as likely, so H(Yhat|Y) = H_b(error) + error ln(classes - 1), and Yhat has the probabilities
    (1 - error) p + error (1 - p) / (classes - 1). This is just above Fano's bound: such a classifier tells the least.
    """
    label = torch.tensor([0.19] + [0.09] * 9, dtype=torch.float64)
    said = (1 - error) * label + error * (1 - label) / (classes - 1)
    truth = float(-(said * said.log()).sum()) - binary_entropy(error) - error * math.log(classes - 1)

    def draw(n: int, seed: int) -> Sample:
        _, y = _poisoned(n, seed, 0.1, classes)
        rng = _rng("classifier", seed)
        wrong = torch.randperm(n, generator=rng) < round(error * n)
        other = (y + torch.randint(1, classes, (n,), generator=rng)) % classes
        return Sample(_one_hot(y, classes), _one_hot(torch.where(wrong, other, y), classes))

    description = f"labels with P(Y=0) = 0.19 and a classifier wrong on {error:.0%}: H(Yhat) - H(Yhat|Y)"
    return Problem("I(Y;Yhat)", description, PAPER, truth, classes, draw, discrete=True)


def chain(dims: int = 2) -> tuple[Problem, Problem, Problem]:
    """I(X;T), I(T;Yhat) and I(X;Yhat) of X ~ N(0, I), T = X + N(0, 0.25 I), Yhat = T + N(0, 0.5 I); the same samples.

    Each is dims/2 ln(1 + signal / noise), of variances 1 / 0.25, 1.25 / 0.5 and 1 / 0.75.
    """
    variances = torch.tensor([1.0, 0.25, 0.5])
    parts = {"I(X;T)": (0, 1), "I(T;Yhat)": (1, 2), "I(X;Yhat)": (0, 2)}

    def problem(name: str, first: int, second: int) -> Problem:
        def draw(n: int, seed: int) -> Sample:
            steps = variances.sqrt() * torch.randn(n, dims, 3, generator=_rng("chain", seed))
            x, t = steps.cumsum(2)[..., first], steps.cumsum(2)[..., second]
            noise = float(variances[first + 1 : second + 1].sum().sqrt())
            return Sample(x, t, Noise(torch.eye(dims), noise, torch.zeros(dims)))

        ratio = float(variances[: first + 1].sum() / variances[first + 1 : second + 1].sum())
        truth = dims / 2 * math.log1p(ratio)
        description = f"{name} of a chain X -> T -> Yhat of {dims} Gaussian features: dims/2 ln(1 + {ratio:.4g})"
        return Problem(f"chain {name}", description, TEXTBOOK, truth, dims, draw, known_noise=True)

    return tuple(problem(name, *ends) for name, ends in parts.items())


def of_arrays(name: str, x: Tensor, y: Tensor) -> Problem:
    """Samples of one's own, x and y (N, ..): there is no truth, but permuting, scaling and halving can be checked."""
    x, y = (v.reshape(len(v), -1).float() for v in (x, y))

    def draw(n: int, seed: int) -> Sample:
        picked = torch.randperm(len(x), generator=_rng("own", seed))[:n]
        return Sample(x[picked], y[picked])

    return Problem(name, f"{len(x)} pairs of one's own", name, None, x.shape[1], draw)


def _poisoned(n: int, seed: int, ratio: float, classes: int) -> tuple[Tensor, Tensor]:
    """Trigger present and label after poisoning, (n,) each, in random order."""
    index = torch.arange(n)
    trigger = (index // classes) % round(1 / ratio) == 0
    label = torch.where(trigger, 0, index % classes)
    order = torch.randperm(n, generator=_rng("labels", seed))
    return trigger[order].long(), label[order]


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).float()
