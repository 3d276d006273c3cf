"""What an attack is: a trigger, its parameters, and the two operations every experiment needs."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from ibray.attacks.poisoning import Policy, choose_poisoned

_CHUNK = 1024  # images converted to float at a time: the working set stays in the CPU's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class PoisonedSet:
    """A training set after poisoning; row i of every field is about the same image.

    images: the dtype and shape of the clean ones. labels, original_labels: int64, after and before poisoning.
    is_backdoor: bool, the image carries the trigger. index: int64, position in the clean training set.
    """

    images: Tensor
    labels: Tensor
    is_backdoor: Tensor
    original_labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A backdoor attack: its fields are its parameters, every one with the paper's value as default.

    A subclass is a frozen dataclass that sets ``name`` and ``poisons``, checks its parameters' types in
    ``__post_init__`` and says in ``apply`` what the trigger does. Images are N,C,H,W: float in [0,1] or
    uint8.
    """

    name: ClassVar[str]
    # What the poison ratio is a fraction of: see ibray.attacks.poisoning.
    poisons: ClassVar[Policy]

    @abstractmethod
    def apply(self, images: Tensor) -> Tensor:
        """The triggered images (float N,C,H,W in [0,1]); may leave [0,1]: the caller clips."""

    def trigger(self, images: Tensor) -> Tensor:
        """The same images with the trigger: same shape, dtype and device, clipped; the input stays as it is.

        uint8 is computed in float32 and rounded to the nearest value. Raises ValueError for other shapes and
        dtypes.
        """
        _check_images(images)
        if images.is_floating_point():
            return self.apply(images).clamp(0, 1)
        out = torch.empty_like(images)
        for start in range(0, len(images), _CHUNK):
            part = images[start : start + _CHUNK].float().div_(255)
            # round() before the conversion, which alone would cut off the fraction
            out[start : start + _CHUNK] = self.apply(part).clamp(0, 1).mul_(255).round_()
        return out

    def params(self) -> dict[str, Any]:
        """Every parameter as JSON knows it (tuples are lists): what a run id is made of."""
        return {field.name: _as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        """Raises ValueError, naming the parameter, when the attack does not fit the images or the classes."""
        if len(image_shape) != 3:
            raise ValueError(f"image_shape: expected C,H,W, got {tuple(image_shape)}")
        if not isinstance(target, Integral) or isinstance(target, bool) or not 0 <= target < num_classes:
            raise ValueError(f"target: class {target!r} does not exist; the classes are 0..{num_classes - 1}")

    def poison_train(
        self, images: Tensor, labels: Tensor, ratio: float, target: int, seed: int
    ) -> PoisonedSet:
        """The training set with ``ratio`` of it (see ``poisons``) triggered and labelled ``target``.

        images: N,C,H,W, float in [0,1] or uint8; labels: int64 N. ``seed`` chooses the images. The order is
        kept, so ``index`` is 0..N-1. Raises ValueError when parameters, images, labels, ratio or target do
        not fit.
        """
        self._check_set(images, labels, target)
        chosen = choose_poisoned(labels, ratio=ratio, target=target, policy=self.poisons, seed=seed)
        chosen = chosen.to(images.device)
        poisoned = images.clone()
        if len(chosen):
            poisoned[chosen] = self.trigger(images[chosen])
        new_labels = labels.clone()
        new_labels[chosen.to(labels.device)] = target
        is_backdoor = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        is_backdoor[chosen.to(labels.device)] = True
        return PoisonedSet(
            images=poisoned,
            labels=new_labels,
            is_backdoor=is_backdoor,
            original_labels=labels.clone(),
            index=torch.arange(len(labels), device=labels.device),
        )

    def poison_test(self, images: Tensor, labels: Tensor, target: int) -> tuple[Tensor, Tensor]:
        """Triggered test images whose class is not the target, and ``target`` as their labels: for the ASR.

        Images of the target class are left out, as they would count as successes of a network that ignores
        the trigger. Raises ValueError as ``poison_train`` does.
        """
        self._check_set(images, labels, target)
        others = labels != target
        kept = images[others.to(images.device)]
        return self.trigger(kept), torch.full_like(labels[others], target)

    def _check_set(self, images: Tensor, labels: Tensor, target: int) -> None:
        _check_images(images)
        if labels.ndim != 1 or labels.dtype != torch.int64 or len(labels) != len(images):
            raise ValueError(
                f"labels: expected int64 of shape ({len(images)},), got {labels.dtype} of "
                f"{tuple(labels.shape)}"
            )
        # How many classes there are is not known here (a test set may lack some), so the target only has to
        # be a class number; that the training labels hold it is checked when images are chosen.
        self.check(tuple(images.shape[1:]), torch.iinfo(torch.int64).max, target)


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """One line of the registry: the class, what it does, where it is from, and named sets of parameters."""

    cls: type[Attack]
    description: str
    source: str
    presets: Mapping[str, Mapping[str, Any]]


def _as_json(value: Any) -> Any:
    return [_as_json(one) for one in value] if isinstance(value, tuple) else value


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(
            f"images: expected N,C,H,W, float in [0,1] or uint8, got {images.dtype} of {tuple(images.shape)}"
        )
