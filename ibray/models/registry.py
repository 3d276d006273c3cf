"""The architectures by name. A new one is a file with a module and a line here, or a plug-in (ibray/plugins.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from torch import nn

from ibray.errors import UserError
from ibray.models.resnet import NoisyResNet
from ibray.models.small_cnn import NoisySmallCNN
from ibray.models.vgg import NoisyVGG
from ibray.models.vit import TOKENS, NoisyViT, vit_problem
from ibray.registry import Registry, what_there_is


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """``build(num_classes=..., sigma=..., **defaults)`` is the network; ``defaults`` are what can be set.

    choices: the allowed values of every parameter that is a string. problem: given all parameters, each of the
    right type, says which of them do not go together, or None.
    """

    build: Callable[..., nn.Module]
    description: str
    source: str
    defaults: Mapping[str, Any]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: Callable[[Mapping[str, Any]], str | None] = lambda params: None


_RESNET_SOURCE = "He et al., CVPR 2016; noise as in Goldfeld et al., ICML 2019, and arXiv 2511.21923"

MODELS: Registry[ModelEntry] = Registry(
    "architecture",
    {
        "resnet18": ModelEntry(
            build=NoisyResNet,
            description="noisy ResNet-18 for small images, 11.2 M parameters, T of 512; the paper's",
            source=_RESNET_SOURCE,
            defaults={"width": 64, "blocks": (2, 2, 2, 2), "noise_stem": True},
        ),
        "resnet34": ModelEntry(
            build=NoisyResNet,
            description="noisy ResNet-34 for small images, 21.3 M parameters, T of 512",
            source=_RESNET_SOURCE,
            defaults={"width": 64, "blocks": (3, 4, 6, 3), "noise_stem": True},
        ),
        "resnet10_16": ModelEntry(
            build=NoisyResNet,
            description="one block a stage at a quarter of the width, 0.3 M parameters, T of 128",
            source=_RESNET_SOURCE,
            defaults={"width": 16, "blocks": (1, 1, 1, 1), "noise_stem": True},
        ),
        "resnet10_8": ModelEntry(
            build=NoisyResNet,
            description="one block a stage at an eighth of the width, 0.08 M parameters, T of 64: for CPUs",
            source=_RESNET_SOURCE,
            defaults={"width": 8, "blocks": (1, 1, 1, 1), "noise_stem": True},
        ),
        "vgg16": ModelEntry(
            build=NoisyVGG,
            description="noisy VGG-16 with batch norm for small images, 14.7 M parameters, T of 512; the paper's",
            source="Simonyan and Zisserman, ICLR 2015; noise as in arXiv 2511.21923",
            defaults={"width": 64, "blocks": (2, 2, 3, 3, 3)},
        ),
        "vit_tiny": ModelEntry(
            build=NoisyViT,
            description="noisy vision transformer on 4x4 patches, 5.4 M parameters, T of 192: class or mean token",
            source="Dosovitskiy et al., ICLR 2021; Touvron et al., ICML 2021 (DeiT-Ti)",
            defaults={"width": 192, "depth": 12, "heads": 3, "patch": 4, "image_size": 32, "token": "class"},
            choices={"token": TOKENS},
            problem=vit_problem,
        ),
        "small_cnn": ModelEntry(
            build=NoisySmallCNN,
            description="three convolutions, 0.02 M parameters, T of 64: for quick tests",
            source="ibray",
            defaults={"width": 16},
        ),
    },
    group="ibray.models",
    entry_type=ModelEntry,
)


def get_model(name: str, *, num_classes: int, sigma: float, **params: Any) -> nn.Module:
    """A freshly initialised network (weights from torch's global generator), on the CPU, in training mode.

    sigma: standard deviation of the activation noise, at least 0. Raises UserError for an unknown
    architecture or parameter, or a wrong value.
    """
    if not _is_integer(num_classes) or num_classes < 2:
        raise UserError(f"num_classes: expected a whole number of at least 2, got {num_classes!r}")
    if isinstance(sigma, bool) or not isinstance(sigma, Real) or not 0 <= sigma < float("inf"):
        raise UserError(f"sigma: expected a number of at least 0, got {sigma!r}")
    resolved = resolve_params(name, params)
    return MODELS[name].build(num_classes=int(num_classes), sigma=float(sigma), **resolved)


def resolve_params(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of architecture ``name``, defaults filled in, as JSON knows it: for run ids.

    Raises UserError as ``get_model`` does.
    """
    entry = MODELS[name]
    for key, value in params.items():
        if key not in entry.defaults:
            raise UserError(f"architecture '{name}' has no parameter '{key}': {what_there_is(key, entry.defaults)}")
        problem = _problem(entry.defaults[key], value, entry.choices.get(key, ()))
        if problem:
            raise UserError(f"architecture '{name}': {key}: expected {problem}, got {value!r}")
    merged = {**entry.defaults, **params}
    problem = entry.problem(merged)
    if problem:
        raise UserError(f"architecture '{name}': {problem}")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in merged.items()}


def _problem(default: Any, value: Any, choices: tuple[str, ...]) -> str | None:
    """What ``value`` should have been, judged by the type of the default; None when it is right."""
    if isinstance(default, str):
        return None if isinstance(value, str) and value in choices else f"one of {', '.join(choices)}"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        return None if _is_integer(value) and value >= 1 else "a whole number of at least 1"
    right = (
        isinstance(value, list | tuple)
        and len(value) == len(default)
        and all(_is_integer(one) and one >= 1 for one in value)
    )
    return None if right else f"{len(default)} whole numbers of at least 1"


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
