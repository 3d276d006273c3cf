"""K networks of one architecture as one, whose convolutions have a group per member.

Members' channels lie side by side: images are (N, K x C, H, W), logits (N, K x classes). What mixes no channels, such
as ReLU, pooling, batch norm or flattening, is the same for K members as for one; convolutions, linear layers and noise
are replaced. On a CPU this takes half the time of torch.func.vmap over stacked weights, which makes grouped
convolutions too but moves every activation around them (benchmarks/RESULTS.md).

The members' parameters and batch norm statistics become views of the packed ones: whatever is done to one is done to
the other, so a member can be evaluated and saved as if it were alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ibray.models import GaussianNoise, get_model

CHECKED_IMAGES = 2
# Of the largest logit. An architecture that mixes members is wrong by about one, TF32 and other kernels by 1e-3.
CHECK_TOLERANCE = 0.02


def can_be_packed(architecture: str, params: Mapping[str, Any]) -> bool:
    """Whether every parameter of this architecture belongs to a layer that is replaced or mixes no channels."""
    return _can_be_packed(architecture, json.dumps(params, sort_keys=True))


@lru_cache
def _can_be_packed(architecture: str, params: str) -> bool:
    with torch.device("meta"):
        model = get_model(architecture, num_classes=2, sigma=0.0, **json.loads(params))
    return all(_has_packed_form(module) for module in model.modules() if list(module.parameters(recurse=False)))


def _has_packed_form(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros"
    if isinstance(module, nn.BatchNorm2d):
        return module.affine and module.track_running_stats and module.momentum is not None
    return type(module) is nn.Linear


class PackedNetwork:
    """Networks of one architecture, trained as one.

    Args:
        members: the networks, on one device; their sigmas may differ. Their parameters and batch norm statistics are
            replaced by views of the packed ones.
        streams: a generator per member, on the device of the networks, from which its noise is drawn: the same numbers
            in the same order as a member alone draws from a global generator in that state.
    """

    def __init__(self, members: Sequence[nn.Module], streams: Sequence[torch.Generator]):
        self.members = list(members)
        self.network = copy.deepcopy(members[0])
        for name, layer in members[0].named_modules():
            packed = _packed(layer, [member.get_submodule(name) for member in members], streams)
            if packed is not None:
                parent, _, child = name.rpartition(".")
                setattr(self.network.get_submodule(parent), child, packed)
        own = [dict(member.named_parameters()) for member in members]
        self.parameters = dict(self.network.named_parameters())
        for name, parameter in self.parameters.items():
            for view, each in zip(self.split(parameter.data), own, strict=True):
                each[name].data = view

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        """The members' parts of a packed parameter, or of something that has its shape: views along dimension 0."""
        return packed.chunk(len(self.members))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """What `split` takes apart; a copy."""
        return _in_format(torch.cat(list(parts)))

    def __call__(self, images: Tensor) -> Tensor:
        """Float (N, K x C, H, W) -> logits (N, K, classes)."""
        return self.network(images).unflatten(1, (len(self.members), -1))

    def count_batches(self, steps: int) -> None:
        """Tell the members' batch norms how many batches they have seen: in the packed form nobody counts."""
        for member in self.members:
            for layer in member.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.num_batches_tracked += steps


def agrees(packed: PackedNetwork, streams: Sequence[torch.Generator], image_shape: tuple[int, int, int]) -> bool:
    """Whether the packed network computes what its members do, noise included, on random images; changes nothing.

    An architecture of a plug-in may do between its layers what mixes its channels.
    """
    members, device = packed.members, next(packed.members[0].parameters()).device
    training = [module.training for module in (packed.network, *members)]
    states = [stream.get_state() for stream in streams]
    images = _in_format(torch.rand(CHECKED_IMAGES, len(members) * image_shape[0], *image_shape[1:], device=device))
    for module in (packed.network, *members):
        module.eval()
    for stream in streams:
        stream.manual_seed(0)
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        together = packed(images)
        alone = []
        for member, part in zip(members, images.chunk(len(members), 1), strict=True):
            torch.manual_seed(0)
            alone.append(member(_in_format(part)))
    for module, was in zip((packed.network, *members), training, strict=True):
        module.train(was)
    for stream, state in zip(streams, states, strict=True):
        stream.set_state(state)
    alone = torch.stack(alone, 1)
    return bool(((together - alone).abs().max() <= CHECK_TOLERANCE * alone.abs().max()).item())


def _packed(layer: nn.Module, same: Sequence[nn.Module], streams: Sequence[torch.Generator]) -> nn.Module | None:
    """The packed form of the same layer of all members; None for a layer that works for many members as it is."""
    if isinstance(layer, GaussianNoise):
        return MemberNoise([each.sigma for each in same], streams)
    if isinstance(layer, nn.Conv2d):
        return _packed_convolution(same)
    if isinstance(layer, nn.BatchNorm2d):
        return _packed_norm(same)
    if isinstance(layer, nn.Linear):
        return MemberLinear(same)
    return None


def _packed_convolution(same: Sequence[nn.Conv2d]) -> nn.Conv2d:
    layer, members = same[0], len(same)
    packed = nn.Conv2d(
        members * layer.in_channels, members * layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        layer.dilation, groups=members, bias=layer.bias is not None, device="meta",
    )  # fmt: skip
    for name, joined in _joined_parameters(same):
        setattr(packed, name, joined)
    return packed


def _packed_norm(same: Sequence[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    layer = same[0]
    packed = nn.BatchNorm2d(len(same) * layer.num_features, layer.eps, layer.momentum, device="meta")
    for name, joined in _joined_parameters(same):
        setattr(packed, name, joined)
    for name in ("running_mean", "running_var"):
        joined = torch.cat([getattr(each, name) for each in same])
        setattr(packed, name, joined)
        for each, view in zip(same, joined.chunk(len(same)), strict=True):
            setattr(each, name, view)
    packed.num_batches_tracked = None  # so that it is not counted: the members have counters of their own
    return packed


def _joined_parameters(same: Sequence[nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, _ in same[0].named_parameters(recurse=False):
        yield name, nn.Parameter(_in_format(torch.cat([getattr(each, name).data for each in same])))


def _in_format(tensor: Tensor) -> Tensor:
    """Channels last, as networks are trained alone: an optimiser of theirs walks weights and momenta in this order."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


class MemberLinear(nn.Module):
    """A linear layer per member: (N, K x in) -> (N, K x out)."""

    def __init__(self, same: Sequence[nn.Linear]):
        super().__init__()
        self.members = len(same)
        self.bias = None
        for name, joined in _joined_parameters(same):
            setattr(self, name, joined)

    def forward(self, x: Tensor) -> Tensor:
        inputs = x.unflatten(1, (self.members, -1)).transpose(0, 1)
        out = torch.bmm(inputs, self.weight.unflatten(0, (self.members, -1)).transpose(1, 2)).transpose(0, 1).flatten(1)
        return out if self.bias is None else out + self.bias


class MemberNoise(nn.Module):
    """`GaussianNoise` of every member's own sigma, from its own stream; channels are split evenly among members."""

    def __init__(self, sigmas: Sequence[float], streams: Sequence[torch.Generator]):
        super().__init__()
        self.sigmas, self.streams = list(sigmas), list(streams)

    def forward(self, x: Tensor) -> Tensor:
        return _AddNoise.apply(x, self.sigmas, self.streams) if any(self.sigmas) else x


class _AddNoise(torch.autograd.Function):
    """One pass over the activations, and nothing kept for the backward pass: noise has no gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor, sigmas: Sequence[float], streams: Sequence[torch.Generator]) -> Tensor:
        out = torch.empty_like(x)
        parts = zip(x.chunk(len(sigmas), 1), out.chunk(len(sigmas), 1), sigmas, streams, strict=True)
        for part, into, sigma, stream in parts:
            if sigma:
                torch.add(part, _drawn(part, stream), alpha=sigma, out=into)
            else:
                into.copy_(part)
        return out

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


def _drawn(x: Tensor, stream: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape of x, in the order in which a network alone draws them: channels last."""
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    return torch.randn(shape, generator=stream, dtype=x.dtype, device=x.device).movedim(-1, 1)
