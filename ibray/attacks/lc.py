"""Label-consistent attack: images of the target class made hard to recognise, with a pattern in the corners.

Turner, Tsipras and Madry, arXiv 1912.02771. The images keep their labels, so a person sees nothing wrong; a network
finds the pattern easier to learn than the spoiled images. They are spoiled by projected gradient descent on a
surrogate: a clean network trained on the same data beforehand (see ibray/surrogate.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ibray.attacks.base import Attack, AttackEntry, Parts
from ibray.attacks.parameters import at_least_zero, choice, flag, integer, name, number
from ibray.attacks.poisoning import Policy
from ibray.pgd import NORMS, Norm, pgd
from ibray.seeds import generator

_BATCH = 256  # images crafted at a time
TRAININGS = ("standard", "adversarial")

# The publication's 3x3 pattern of the left corners, in signs; the right ones mirror it.
_LEFT = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
_SIDE = 3


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(Attack):
    """Perturbs images of the target class to raise a surrogate's loss, then adds a 3x3 pattern to four corners.

    norm, epsilon, step, steps, random_start: the untargeted PGD of ``ibray.pgd``; epsilon and step in units of the
    values 0..255 (300 is the paper's L2 radius 300/255). What is kept of it are whole bytes, rounded towards the
    clean image, so that the budget holds for the image as stored. train_amplitude, test_amplitude: how far the
    pattern moves a pixel, 0..255, in training and at test time; clipping makes 255 plain black and white.
    surrogate: the architecture of the clean network, or "same" as the one attacked. surrogate_training: "standard", or
    "adversarial" (L-inf PGD of radius 8/255, ibray/training.py), as in the publication; either without noise.
    """

    name: ClassVar[str] = "lc"
    poisons: ClassVar[Policy] = "target_class"
    needs_surrogate: ClassVar[bool] = True

    norm: Norm = "l2"
    epsilon: float = 300.0
    step: float = 1.5
    steps: int = 100
    random_start: bool = True
    train_amplitude: float = 64.0
    test_amplitude: float = 255.0
    surrogate: str = "same"
    surrogate_training: Literal["standard", "adversarial"] = "standard"

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", choice(self.name, "norm", self.norm, NORMS))
        for key in ("epsilon", "step", "train_amplitude", "test_amplitude"):
            object.__setattr__(self, key, number(self.name, key, getattr(self, key)))
        object.__setattr__(self, "steps", integer(self.name, "steps", self.steps, minimum=0))
        flag(self.name, "random_start", self.random_start)
        name(self.name, "surrogate", self.surrogate, "an architecture's name or 'same'")
        choice(self.name, "surrogate_training", self.surrogate_training, TRAININGS)

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        _, height, width = image_shape
        if min(height, width) < 2 * _SIDE:
            raise ValueError(f"images of {height} x {width} are too small for a pattern of 3 x 3 in every corner")
        for key in ("epsilon", "step"):
            at_least_zero(key, getattr(self, key))
        for key in ("train_amplitude", "test_amplitude"):
            if not 0 <= getattr(self, key) <= 255:
                raise ValueError(f"{key}: expected a value in [0,255], got {getattr(self, key)}")

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """pattern: float32 1,H,W, -1, 0 or 1."""
        pattern = torch.zeros(1, *image_shape[1:])
        for rows in (slice(0, _SIDE), slice(-_SIDE, None)):
            pattern[0, rows, :_SIDE] = _LEFT
            pattern[0, rows, -_SIDE:] = _LEFT.flip(1)
        return {"pattern": pattern}

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        return images + parts["pattern"].to(images) * (self.test_amplitude / 255)

    def apply_in_training(self, images: Tensor, parts: Parts) -> Tensor:
        return images + parts["pattern"].to(images) * (self.train_amplitude / 255)

    def craft(self, images: Tensor, labels: Tensor, surrogate: nn.Module, seed: int) -> Tensor:
        device = next(surrogate.parameters()).device
        random = generator(seed, "lc", device=device) if self.random_start else None
        batches = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
        return torch.cat([self._craft_few(x.to(device), y.to(device), surrogate, random) for x, y in batches])

    def _craft_few(
        self, images: Tensor, labels: Tensor, surrogate: nn.Module, random: torch.Generator | None
    ) -> Tensor:
        is_bytes = images.dtype == torch.uint8
        clean = images.float() / 255 if is_bytes else images
        perturbed = pgd(
            surrogate,
            clean,
            labels,
            norm=self.norm,
            epsilon=self.epsilon / 255,
            step=self.step / 255,
            steps=self.steps,
            random=random,
        )
        if not is_bytes:
            return perturbed
        # Float32 puts a difference of exactly eight bytes on either side of eight: the factor puts it above.
        return (images + ((perturbed - clean) * 255 * (1 + 1e-5)).trunc()).clamp(0, 255).to(torch.uint8)


ENTRY = AttackEntry(
    cls=LabelConsistent,
    description="adversarially perturbed images of the target class with a pattern in four corners; labels stay",
    source="Turner et al., arXiv 1912.02771; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"norm": "l2", "epsilon": 300.0, "step": 1.5, "steps": 100, "surrogate_training": "standard"},
        # Of the reduced amplitudes that the publication tries, one of the middle.
        "original": {
            "norm": "linf", "epsilon": 8.0, "step": 1.5, "steps": 100, "train_amplitude": 32.0,
            "surrogate_training": "adversarial",
        },
    },
)  # fmt: skip
