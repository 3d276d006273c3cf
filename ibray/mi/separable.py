"""The separable critic: the scores of all pairs of B samples in one matrix product.

    f(x, y) = U(x) . V(y) + a(x) + b(y)
    U(x) = A x + s + W h(x) / sqrt(E),    a(x) = w . U(x)^2 + v . h(x) / sqrt(H) + c

with h (H) two hidden layers, and V (E) and b the same for y. The linear skip makes bilinear forms exact, and with the
squares a Gaussian's whole log ratio: the networks are left with what is not Gaussian. 2B embeddings serve all B^2
pairs, so this is far faster than the concatenation critic of critic.py (mi.md section 1); it is another class of
functions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear


class Embedded(NamedTuple):
    """One variable of B samples as the critic sees it: vectors (B, E), offsets (B,) in nats."""

    vectors: Tensor
    offsets: Tensor


class Tower(nn.Module):
    """values (B, D), each of variance near 1 -> Embedded.

    silent: the vectors start as 0. One of two towers has to be, so that f starts as 0, and only one, or neither would
    get a gradient. Offsets always start as 0. Hidden weights are uniform with variance 1 / fan in, drawn from
    `generator` (CPU), so that no global random state is touched and every device starts from the same critic. The
    roots of E and H keep a first step of Adam, which moves all weights alike, from moving f by E H times as much.
    """

    def __init__(self, dim: int, hidden: int, embedding: int, generator: torch.Generator, *, silent: bool):
        super().__init__()

        def uniform(*shape: int, fan_in: float) -> nn.Parameter:
            bound = (3 / fan_in) ** 0.5
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound, generator=generator))

        def zero(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        self.first, self.first_bias = uniform(hidden, dim, fan_in=dim), uniform(hidden, fan_in=3)
        self.second, self.second_bias = uniform(hidden, hidden, fan_in=hidden), zero(hidden)
        self.out = zero(embedding, hidden)
        self.skip = zero(embedding, dim) if silent else uniform(embedding, dim, fan_in=dim * embedding)
        self.shift = zero(embedding)
        self.square = zero(embedding)
        self.offset = zero(hidden)
        self.constant = zero(1)

    def forward(self, values: Tensor) -> Embedded:
        hidden = gelu(linear(gelu(linear(values, self.first, self.first_bias)), self.second, self.second_bias))
        e, h = self.out.shape
        vectors = linear(values, self.skip, self.shift) + linear(hidden, self.out) * e**-0.5
        return Embedded(vectors, vectors.square() @ self.square + hidden @ self.offset * h**-0.5 + self.constant)


class SeparableCritic(nn.Module):
    """The two towers, `x` and `y`; f is 0 for every pair at the start."""

    def __init__(self, x_dim: int, y_dim: int, hidden: int, embedding: int, generator: torch.Generator):
        super().__init__()
        self.x = Tower(x_dim, hidden, embedding, generator, silent=False)
        self.y = Tower(y_dim, hidden, embedding, generator, silent=True)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (C, Dx), y (B, Dy) -> scores (B, C), rows are y."""
        return scores(self.y(y), self.x(x))


def scores(anchors: Embedded, candidates: Embedded) -> Tensor:
    """Of B anchors and C candidates: f of every pair (B, C), nats."""
    product = torch.addmm(candidates.offsets.unsqueeze(0), anchors.vectors, candidates.vectors.T)
    return product + anchors.offsets.unsqueeze(1)
