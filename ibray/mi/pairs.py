"""InfoNCE over the distinct pairs of a batch: loss and gradients in one cache-sized sweep.

For anchor i with negatives J_i1 .. J_iK, drawn with replacement from the batch (its own positive included),

    term_i = log(K + 1) + f_ii - log( exp f_ii + sum_k exp f_{i, J_ik} )        nats

Only the B x B distinct scores matter: with w_ij = [i = j] + how often j was drawn for i, the sum is
sum_j w_ij exp f_ij. So each drawn pair is scored once, not once per draw (mi.md section 1; loss and gradients
are those of the materialised pairs).

A row of pairs needs nothing of the other rows, so its softmax, and with it dloss/df, is known as soon as the
row is scored: every block of rows runs forward and at once backward while its activations are in cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ibray.mi.critic import ConcatCritic

# Pairs in a block: 2048 x 128 float32 is 1 MB per buffer. 1024 to 4096 differ by 1% (AVX-512 core, 1 MB L2);
# all 16,384 pairs at once cost 8% more, the 262,144 of a batch of 512 cost 26% more.
BLOCK_PAIRS = 2048

# Above this share of drawn pairs all are scored, which spares the gathering: 4% at B 128, K 512 (98% drawn).
# At B 512, K 256 (39% drawn) gathering takes 0.45 of the time of scoring all.
DENSE_SHARE = 0.9


def draw_counts(indices: Tensor) -> Tensor:
    """How often each sample was drawn for each anchor: indices (B, K) in [0, B) -> (B, B) float32."""
    b = len(indices)
    # Not bincount: as fast on a CPU, but it makes a GPU wait. Sums of ones are exact in any order.
    ones = torch.ones((), device=indices.device).expand(indices.shape)
    return torch.zeros(b, b, device=indices.device).scatter_add_(1, indices, ones)


def infonce_loss(critic: ConcatCritic, x: Tensor, y: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """x (B, Dx), y (B, Dy), negatives' indices (B, K) -> loss (), terms (B,) in nats.

    loss = -mean(terms), differentiable once in the critic's weights (and x, y); terms carry no gradient.
    """
    a, c = critic.project(x, y)
    return _BlockedInfoNCE.apply(a, c, critic.w2, critic.b2, critic.w3, draw_counts(indices))


class _BlockedInfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, c, w2, b2, w3, counts):
        terms, *grads = _sweep(a, c, w2, b2, w3, counts)
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(terms)
        return -terms.mean(), terms

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, _):
        return *(g * grad_loss for g in ctx.saved_tensors), None


def _sweep(a: Tensor, c: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
    """Terms (B,) and the gradients of -mean(terms) in a, c (B, H), w2 (H, H), b2, w3 (H,)."""
    b, h = a.shape
    on_cpu = a.device.type == "cpu"
    weights = counts.to(a.dtype) + torch.eye(b, dtype=a.dtype, device=a.device)
    # A GPU takes the dense form in one block: it wants few launches, and its index_add_ is not reproducible.
    share = float(weights.count_nonzero()) / b**2 if on_cpu else 1.0
    dense = share > DENSE_SHARE
    rows = min(b, max(1, int(BLOCK_PAIRS / (b if dense else b * share)))) if on_cpu else b

    terms, ga, gc = a.new_empty(b), torch.zeros_like(a), torch.zeros_like(c)
    gw2, gb2, gw3 = torch.zeros_like(w2), torch.zeros_like(b2), torch.zeros_like(w3)
    buffers = [a.new_empty(rows * b, h) for _ in range(3)]

    for start in range(0, b, rows):
        block = slice(start, min(start + rows, b))
        log_w = weights[block].log()  # -inf where a pair was not drawn: it drops out of the log-sum-exp
        r = len(log_w)
        drawn = None if dense else log_w.isfinite().nonzero(as_tuple=True)
        h1, h2, g2 = (buffer[: r * b if dense else len(drawn[0])] for buffer in buffers)

        if dense:
            torch.add(a[block].unsqueeze(1), c, out=h1.view(r, b, h))
        else:
            torch.index_select(c, 0, drawn[1], out=h1).add_(a[block].index_select(0, drawn[0]))
        h1.relu_()
        torch.addmm(b2, h1, w2.t(), out=h2).relu_()
        scores = h2 @ w3

        logits = log_w + scores.view(r, b) if dense else log_w.index_put(drawn, scores, accumulate=True)
        positive = logits.diagonal(start) - log_w.diagonal(start)
        normaliser = logits.logsumexp(1)
        terms[block] = weights[block].sum(1).log() + positive - normaliser

        # dloss/df is (softmax - [i = j]) / B, then back through the two layers, masks from the activations.
        g = (logits - normaliser.unsqueeze(1)).exp_()
        g.diagonal(start).sub_(1)
        g = (g.flatten() if dense else g[drawn]) / b
        gw3 += g @ h2
        torch.mul(g.unsqueeze(1), w3, out=g2)
        _mask(g2, h2)
        gb2 += g2.sum(0)
        gw2.addmm_(g2.t(), h1)
        g1 = torch.mm(g2, w2, out=h2)  # the second layer's activations are no longer needed
        _mask(g1, h1)
        if dense:
            torch.sum(g1.view(r, b, h), 1, out=ga[block])
            gc += g1.view(r, b, h).sum(0)
        else:
            ga[block].index_add_(0, drawn[0], g1)
            gc.index_add_(0, drawn[1], g1)
    return terms, ga, gc, gw2, gb2, gw3


def _mask(grad: Tensor, activation: Tensor) -> None:
    """ReLU's backward in place: grad is zeroed where the activation is 0. One pass, no boolean mask."""
    torch.ops.aten.threshold_backward.grad_input(grad, activation, 0, grad_input=grad)
