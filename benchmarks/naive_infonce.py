"""The paper's procedure taken literally, as the reference for tests and benchmarks: every pair is built.

B x (K + 1) concatenated vectors [x_i; y_j] go through an ordinary MLP.
"""

import math

import torch
from torch import Tensor, nn


def naive_critic(x_dim: int, y_dim: int, hidden: int = 128) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(x_dim + y_dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 1),
    )


def naive_terms(critic: nn.Module, x: Tensor, y: Tensor, indices: Tensor) -> Tensor:
    """x (B, Dx), y (B, Dy), negatives' indices (B, K) -> InfoNCE terms (B,), nats; the loss is -mean."""
    b, k = indices.shape
    candidates = torch.cat([torch.arange(b, device=x.device).unsqueeze(1), indices], 1)  # the positive first
    repeated = x.unsqueeze(1).expand(b, k + 1, x.shape[1])
    scores = critic(torch.cat([repeated, y[candidates]], 2)).squeeze(2)
    return math.log(k + 1) + scores[:, 0] - scores.logsumexp(1)
