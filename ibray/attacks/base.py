"""What an attack is: a trigger, its parameters, and the operations every experiment needs."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ibray.attacks.poisoning import Poisoned, Policy, choose_images

_CHUNK = 1024  # images converted to float at a time: the working set stays in the CPU's cache

# What a trigger is made of, by name: patch, pattern, field, mask. Stored with a run as `trigger.safetensors`.
Parts: TypeAlias = Mapping[str, Tensor]

CRAFTED = "crafted"  # the part that holds what `craft` made of the images to be poisoned


@dataclass(frozen=True, kw_only=True, eq=False)
class PoisonedSet:
    """A training set after poisoning; row i of every field but ``parts`` is about the same image.

    images: the dtype and shape of the clean ones. labels, original_labels: int64, after and before poisoning.
    is_backdoor: bool, the image carries the trigger and the attacker's label. is_cover: bool, the image carries a
    trigger and keeps its own label. index: int64, position in the clean training set. parts: what the trigger was
    made of; given back to ``poison_train``, the same set comes out again.
    """

    images: Tensor
    labels: Tensor
    is_backdoor: Tensor
    is_cover: Tensor
    original_labels: Tensor
    index: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A backdoor attack: its fields are its parameters, every one with the paper's value as default.

    A subclass is a frozen dataclass that sets ``name`` and ``poisons``, checks its parameters' types in
    ``__post_init__`` and says in ``apply`` what the trigger does. Images are N,C,H,W: float in [0,1] or
    uint8. Most attacks subclass ``DirtyLabelAttack``, which adds the label policies.
    """

    name: ClassVar[str]
    # What the poison ratio is a fraction of: see ibray.attacks.poisoning.
    poisons: ClassVar[Policy]
    # Whether the images to be poisoned are first changed with the help of a clean network: see ``craft``.
    needs_surrogate: ClassVar[bool] = False

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """What the trigger for C,H,W images is made of; a function of the parameters alone. None by default."""
        return {}

    @abstractmethod
    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        """The images (float N,C,H,W in [0,1]) as attacked at test time; may leave [0,1]: the caller clips."""

    def apply_in_training(self, images: Tensor, parts: Parts) -> Tensor:
        """The same for backdoor images of the training set, where an attack makes them otherwise."""
        return self.apply(images, parts)

    def apply_to_cover(self, images: Tensor, parts: Parts) -> Tensor:
        """The same for cover images: those that carry a trigger and keep their labels."""
        return self.apply_in_training(images, parts)

    def craft(self, images: Tensor, labels: Tensor, surrogate: nn.Module, seed: int) -> Tensor:
        """The images to be poisoned before the trigger is put on: same shape and dtype, on the surrogate's device.

        For an attack with ``needs_surrogate``, which has parameters ``surrogate`` and ``surrogate_training`` as well:
        see ibray/surrogate.py.
        """
        return images

    def divide(self, count: int) -> tuple[int, int]:
        """How many backdoor and how many cover images there are when the poison ratio gives ``count`` images."""
        return count, 0

    def source_classes_of(self, num_classes: int, target: int) -> list[int]:
        """The classes whose images get the backdoor."""
        return [target] if self.poisons == "target_class" else list(range(num_classes))

    def backdoor_labels(self, labels: Tensor, target: int, num_classes: int) -> Tensor:
        """What images of these classes (int64 N) are labelled once they carry the trigger."""
        return torch.full_like(labels, target)

    def is_attacked(self, labels: Tensor, target: int) -> Tensor:
        """bool N: the test images over which the attack success rate is taken.

        Images of the target class are left out, as they would count as successes of a network that ignores the
        trigger.
        """
        return labels != target

    def trigger(self, images: Tensor, parts: Parts | None = None) -> Tensor:
        """The same images with the trigger of the test: same shape, dtype and device, clipped; the input stays.

        uint8 is computed in float32 and rounded to the nearest value. ``parts``: stored ones, in place of those that
        the parameters give. Raises ValueError for other shapes and dtypes.
        """
        return self._triggered(self.apply, images, parts)

    def trigger_in_training(self, images: Tensor, parts: Parts | None = None) -> Tensor:
        """``trigger`` as backdoor images of the training set carry it (without what ``craft`` does)."""
        return self._triggered(self.apply_in_training, images, parts)

    def trigger_on_cover(self, images: Tensor, parts: Parts | None = None) -> Tensor:
        """``trigger`` as cover images carry it."""
        return self._triggered(self.apply_to_cover, images, parts)

    def _triggered(
        self, apply: Callable[[Tensor, Parts], Tensor], images: Tensor, parts: Parts | None
    ) -> Tensor:
        _check_images(images)
        made_of = self.parts(tuple(images.shape[1:])) if parts is None else parts
        made_of = {name: part.to(images.device) for name, part in made_of.items() if name != CRAFTED}
        if images.is_floating_point():
            return apply(images, made_of).clamp(0, 1)
        out = torch.empty_like(images)
        for start in range(0, len(images), _CHUNK):
            part = images[start : start + _CHUNK].float().div_(255)
            # round() before the conversion, which alone would cut off the fraction
            out[start : start + _CHUNK] = apply(part, made_of).clamp(0, 1).mul_(255).round_()
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

    def choose(
        self, labels: Tensor, *, ratio: float, target: int, seed: int, num_classes: int | None = None
    ) -> Poisoned:
        """Which training images become backdoor and which cover images: see ``poisoning.choose_images``."""
        return choose_images(
            labels,
            ratio=ratio,
            target=target,
            policy=self.poisons,
            seed=seed,
            sources=self.source_classes_of(num_classes or int(labels.max()) + 1, target),
            divide=self.divide,
        )

    def poison_train(
        self,
        images: Tensor,
        labels: Tensor,
        ratio: float,
        target: int,
        seed: int,
        *,
        num_classes: int | None = None,
        parts: Parts | None = None,
        surrogate: nn.Module | None = None,
    ) -> PoisonedSet:
        """The training set with ``ratio`` of it (see ``poisons``) triggered and labelled by the attacker.

        images: N,C,H,W, float in [0,1] or uint8; labels: int64 N in 0..num_classes-1 (default: the largest label says
        how many classes there are). ``seed`` chooses the images. The order is kept, so ``index`` is 0..N-1. ``parts``:
        those of an earlier call, to repeat it to the bit. ``surrogate``: float N,C,H,W in [0,1] -> logits, on the
        device to craft on; needed by attacks that craft their images, unless ``parts`` holds what was crafted. Raises
        ValueError when parameters, images, labels, ratio or target do not fit.
        """
        self._check_set(images, labels, target)
        classes = num_classes or int(labels.max()) + 1
        chosen = self.choose(labels, ratio=ratio, target=target, seed=seed, num_classes=classes)
        backdoor, cover = (positions.to(labels.device) for positions in (chosen.backdoor, chosen.cover))
        made_of = dict(self.parts(tuple(images.shape[1:])) if parts is None else parts)

        poisoned, new_labels = images.clone(), labels.clone()
        if len(backdoor):
            clean = images[backdoor.to(images.device)]
            if self.needs_surrogate and CRAFTED not in made_of:
                if surrogate is None:
                    raise ValueError(f"surrogate: attack '{self.name}' crafts its images on a clean network; give one")
                made_of[CRAFTED] = self.craft(clean, labels[backdoor], surrogate, seed).cpu()
            before = made_of[CRAFTED].to(images.device) if CRAFTED in made_of else clean
            poisoned[backdoor.to(images.device)] = self.trigger_in_training(before, made_of)
            new_labels[backdoor] = self.backdoor_labels(labels[backdoor], target, classes)
        if len(cover):
            where = cover.to(images.device)
            poisoned[where] = self.trigger_on_cover(images[where], made_of)
        return PoisonedSet(
            images=poisoned,
            labels=new_labels,
            is_backdoor=_mask(backdoor, labels),
            is_cover=_mask(cover, labels),
            original_labels=labels.clone(),
            index=torch.arange(len(labels), device=labels.device),
            parts=made_of,
        )

    def poison_test(
        self, images: Tensor, labels: Tensor, target: int, *, num_classes: int | None = None, parts: Parts | None = None
    ) -> tuple[Tensor, Tensor]:
        """Triggered test images (those of ``is_attacked``) and the labels that count as success: for the ASR.

        Arguments and errors as ``poison_train``.
        """
        self._check_set(images, labels, target)
        attacked = self.is_attacked(labels, target)
        wanted = self.backdoor_labels(labels[attacked], target, num_classes or int(labels.max()) + 1)
        return self.trigger(images[attacked.to(images.device)], parts), wanted

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


def _mask(positions: Tensor, labels: Tensor) -> Tensor:
    mask = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    mask[positions] = True
    return mask


def _as_json(value: Any) -> Any:
    return [_as_json(one) for one in value] if isinstance(value, tuple) else value


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(
            f"images: expected N,C,H,W, float in [0,1] or uint8, got {images.dtype} of {tuple(images.shape)}"
        )
