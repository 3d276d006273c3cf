"""A package with one plug-in of every kind, as somebody outside this repository would write it; tests install it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ibray.attacks import AttackEntry, DirtyLabelAttack, Parts
from ibray.datasets import DatasetEntry, RawData
from ibray.mi import EstimatorEntry, Method, MIEstimate
from ibray.models import ModelEntry
from ibray.models.small_cnn import NoisySmallCNN

ENTRY_POINTS = {
    "ibray.attacks": {"stripes": "STRIPES"},
    "ibray.datasets": {"greys": "GREYS"},
    "ibray.models": {"cnn4": "CNN4"},
    "ibray.estimators": {"zero": "ZERO"},
}


@dataclass(frozen=True, kw_only=True)
class Stripes(DirtyLabelAttack):
    """Every ``period``-th column is white."""

    name: ClassVar[str] = "stripes"

    period: int = 4

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        out = images.clone()
        out[..., :: self.period] = 1
        return out


STRIPES = AttackEntry(cls=Stripes, description="white columns", source="a test", presets={"paper": {"period": 4}})


def load_greys(directory: Path) -> RawData:
    """Four classes of noisy 16x16 squares, told apart by their brightness."""
    labels = np.repeat(np.arange(4), 30)
    noise = np.random.default_rng(0).integers(0, 40, (120, 3, 16, 16))
    images = (noise + 50 * labels[:, None, None, None]).astype(np.uint8)
    return RawData(
        train_x=images,
        train_y=labels,
        test_x=images[::3],
        test_y=labels[::3],
        class_names=GREYS.class_names,
        source=GREYS.source,
    )


GREYS = DatasetEntry(
    description="squares of four greys",
    source="a test",
    image_shape=(3, 16, 16),
    class_names=("black", "dark", "light", "white"),
    downloads=False,
    train_images=120,
    test_images=40,
    balanced=True,
    load=load_greys,
)

CNN4 = ModelEntry(build=NoisySmallCNN, description="a very small CNN", source="a test", defaults={"width": 4})


@dataclass(frozen=True)
class ZeroSettings:
    """None."""


def zero(x: Any, y: Any, *, seed: int = 0) -> MIEstimate:
    """0 nats, whatever the samples."""
    return MIEstimate(
        nats=0.0,
        ci_low=None,
        ci_high=None,
        lower_bound=None,
        upper_bound=None,
        ceiling=None,
        n=len(x),
        negatives=None,
        estimator="zero",
        protocol="none",
        critic_epochs=None,
        seconds=0.0,
    )


ZERO = EstimatorEntry(
    description="always 0", source="a test", protocols={"none": Method(settings=ZeroSettings, run=zero)}
)
