"""Critics of the paper's recipe trained together, a step of all of them at a time: for GPUs, which a single one bores.

One step of a critic is some 40 kernels that take less time than their launch (mi.md section 1). Here S critics of one
shape take it as one batched product each (bmm), all gradients written out, and on a GPU the whole step is recorded once
as a CUDA graph and replayed. Every critic keeps its own data, random numbers, learning rate and end, so its value is
the one it has by itself, but for the order of sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ibray.mi.critic import ConcatCritic
from ibray.mi.critic_epochs import CriticEpochs
from ibray.mi.infonce import InfoNCESettings, estimate_of
from ibray.mi.interface import EstimationError, Job, MIEstimate
from ibray.mi.prepare import check_varies
from ibray.mi.samples import PairedSamples, paired
from ibray.seeds import generator

NAMES = ("wx", "wy", "b1", "w2", "b2", "w3")
BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's AdamW
GRAPH_WARM_UP = 3
"""Steps before recording: libraries choose their kernels and take their memory in the first ones."""


def infonce_many(jobs: Sequence[Job], *, bf16: bool = False, **settings: object) -> list[MIEstimate | EstimationError]:
    """`infonce` of each job, those of one shape (features, and images in a batch) trained together; settings as there.

    bf16: the second layer's products in bfloat16, which moves a loss by less than 1e-2. A job whose samples admit no
    estimate has an EstimationError in its place. `seconds` of an estimate is its share of its group's time.
    """
    options = InfoNCESettings(**settings)
    results: list[MIEstimate | EstimationError | None] = [None] * len(jobs)
    groups: dict[tuple, list[tuple[int, PairedSamples]]] = {}
    for place, job in enumerate(jobs):
        try:
            samples = paired(job.x, job.y)
            check_varies(samples)
        except EstimationError as problem:
            results[place] = problem
            continue
        shape = (samples.x.shape[2], samples.y.shape[2], min(options.batch, samples.n))
        groups.setdefault(shape, []).append((place, samples))
    for members in groups.values():
        samples = [each for _, each in members]
        with torch.inference_mode(False), torch.no_grad():
            found = _train_together(samples, options, [jobs[place].seed for place, _ in members], bf16)
        for (place, _), result in zip(members, found, strict=True):
            results[place] = result
    return results


def _train_together(
    samples: Sequence[PairedSamples], options: InfoNCESettings, seeds: Sequence[int], bf16: bool
) -> list[MIEstimate | EstimationError]:
    started = time.perf_counter()
    stack = CriticStack(samples, options, seeds, bf16)
    epochs = [CriticEpochs(each, options, seed) for each, seed in zip(samples, seeds, strict=True)]
    batches: list[Iterator] = [iter(()) for _ in samples]
    failed: dict[int, EstimationError] = {}
    active = set(range(len(samples)))
    begun = dict.fromkeys(active, False)
    while active:
        step: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for s in sorted(active):
            batch = next(batches[s], None)
            if batch is None:
                try:
                    if begun[s]:
                        epochs[s].end()
                    if epochs[s].go_on:
                        begun[s], batches[s] = True, epochs[s].batches()
                        stack.learning_rates[s] = epochs[s].learning_rate
                        batch = next(batches[s])
                except EstimationError as problem:
                    failed[s] = problem
            if batch is None:
                active.discard(s)
                stack.learning_rates[s] = 0.0
            else:
                step[s] = batch
        if step:
            terms = stack.step(step)
            for s, (images, _, _) in step.items():
                epochs[s].note(images, terms[s])
    seconds = (time.perf_counter() - started) / len(samples)
    return [
        failed[s] if s in failed else estimate_of(each, epochs[s].curve, epochs[s].reported(), options, seconds)
        for s, each in enumerate(samples)
    ]


class CriticStack:
    """S critics of one shape, their optimiser, and one step of all of them.

    Weights as in ConcatCritic with an axis S in front: wx (S, H, Dx), wy (S, H, Dy), b1 (S, H), w2 (S, H, H), ...
    """

    def __init__(self, samples: Sequence[PairedSamples], options: InfoNCESettings, seeds: Sequence[int], bf16: bool):
        first = samples[0]
        device, dx, dy = first.x.device, first.x.shape[2], first.y.shape[2]
        critics = [ConcatCritic(dx, dy, options.hidden, generator(seed, "critic")) for seed in seeds]
        self.weights = [torch.stack([getattr(c, name).detach() for c in critics]).to(device) for name in NAMES]
        self.learning_rates = [0.0] * len(samples)
        self._means = [torch.zeros_like(w) for w in self.weights]
        self._squares = [torch.zeros_like(w) for w in self.weights]
        self._options, self._bf16 = options, bf16
        self._x, self._x_rows = _joined([each.x for each in samples])
        self._y, self._y_rows = _joined([each.y for each in samples])
        batch = min(options.batch, first.n)
        shape = (len(samples), batch)
        # What a step reads: written before each, always in the same place, as a recorded graph needs it.
        self._images = torch.zeros(shape, dtype=torch.long, device=device)
        self._draws = torch.zeros(shape, dtype=torch.long, device=device)
        self._indices = torch.zeros(*shape, options.negatives, dtype=torch.long, device=device)
        self._rates = torch.zeros(len(samples), device=device)
        self._taken = torch.zeros((), device=device)
        self._terms = torch.zeros(shape, device=device)
        self._eye = torch.eye(batch, device=device)
        self._run: Callable[[], object] = self._step
        self._steps = 0

    def step(self, batches: dict[int, tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """One step of the critics in `batches`, by their position (`CriticEpochs.batches`); terms (S, B), nats.

        The others are computed along and keep their weights.
        """
        for s, (images, draws, indices) in batches.items():
            self._images[s].copy_(images)
            self._draws[s].copy_(draws)
            self._indices[s].copy_(indices)
        self._rates.copy_(torch.tensor(self.learning_rates))
        if self._steps == GRAPH_WARM_UP and self._terms.device.type == "cuda":
            self._record()
        self._run()
        self._steps += 1
        return self._terms.clone()

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            self._step()
        self._run = graph.replay

    def _step(self) -> None:
        x = self._x[self._x_rows(self._images, self._draws)]
        y = self._y[self._y_rows(self._images, self._draws)]
        terms, gradients = stacked_infonce(self.weights, x, y, self._weights_of_pairs(), bf16=self._bf16)
        self._terms.copy_(terms)
        self._taken.add_(1)
        self._update(gradients)

    def _weights_of_pairs(self) -> Tensor:
        """(S, B, B): how often each pair stands in the sum, the own one included."""
        ones = torch.ones((), device=self._indices.device).expand(self._indices.shape)
        counts = torch.zeros_like(self._eye).expand(len(self._images), -1, -1).contiguous()
        return counts.scatter_add_(2, self._indices, ones) + self._eye

    def _update(self, gradients: Sequence[Tensor]) -> None:
        """Clipping and AdamW, every critic with its own norm and learning rate; a rate of 0 leaves a critic alone."""
        options = self._options
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        factors = (options.grad_clip / (norms + 1e-6)).clamp(max=1.0)
        corrections = [1 - beta**self._taken for beta in BETAS]
        for weight, gradient, mean, square in zip(self.weights, gradients, self._means, self._squares, strict=True):
            rate = _per_critic(self._rates, weight)
            gradient = gradient * _per_critic(factors, weight)
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            weight.mul_(1 - rate * options.weight_decay)
            step = mean / corrections[0] / ((square / corrections[1]).sqrt() + EPSILON)
            weight.sub_(torch.where(rate > 0, rate * step, 0.0))  # a critic that diverged must not spread NaN


def stacked_infonce(
    weights: Sequence[Tensor], x: Tensor, y: Tensor, pairs: Tensor, *, bf16: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Terms (S, B) of S critics and the gradients of their -mean, in the order of NAMES.

    x (S, B, Dx), y (S, B, Dy), pairs (S, B, B) as `draw_counts` plus the identity. As `pairs.infonce_loss`, dense.
    """
    wx, wy, b1, w2, b2, w3 = weights
    s, b = x.shape[:2]
    a = torch.baddbmm(b1.unsqueeze(1), x, wx.mT)
    c = torch.bmm(y, wy.mT)
    h1 = (a.unsqueeze(2) + c.unsqueeze(1)).relu_().flatten(1, 2)  # (S, B B, H)
    h2 = (_product(h1, w2.mT, bf16) + b2.unsqueeze(1)).relu_()
    scores = (h2 @ w3.unsqueeze(2)).view(s, b, b)

    logits = pairs.log() + scores
    normaliser = logits.logsumexp(2)
    terms = pairs.sum(2).log() + scores.diagonal(0, 1, 2) - normaliser

    g = (logits - normaliser.unsqueeze(2)).exp_()
    g.diagonal(0, 1, 2).sub_(1)
    g = (g / b).flatten(1)
    gw3 = (g.unsqueeze(1) @ h2).squeeze(1)
    g2 = (g.unsqueeze(2) * w3.unsqueeze(1)).mul_(h2 > 0)
    gb2 = g2.sum(1)
    gw2 = _product(g2.mT, h1, bf16)
    g1 = _product(g2, w2, bf16).mul_(h1 > 0).view(s, b, b, -1)
    ga, gc = g1.sum(2), g1.sum(1)
    return terms, [ga.mT @ x, gc.mT @ y, ga.sum(1), gw2, gb2, gw3]


def _product(a: Tensor, b: Tensor, bf16: bool) -> Tensor:
    return torch.bmm(a.bfloat16(), b.bfloat16()).float() if bf16 else torch.bmm(a, b)


def _per_critic(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _joined(parts: Sequence[Tensor]) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
    """All critics' samples (sum N M, D) in one tensor, and what finds their rows: images, draws (S, B) -> (S, B)."""
    counts = [each.shape[0] * each.shape[1] for each in parts]
    offsets = torch.tensor([sum(counts[:s]) for s in range(len(parts))], device=parts[0].device).unsqueeze(1)
    drawn = torch.tensor([each.shape[1] for each in parts], device=parts[0].device).unsqueeze(1)

    def rows(images: Tensor, draws: Tensor) -> Tensor:
        return offsets + images * drawn + torch.where(drawn > 1, draws, 0)

    return torch.cat([each.flatten(0, 1) for each in parts]), rows
