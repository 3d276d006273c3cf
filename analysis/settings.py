"""Which cells of the paper a run stands for, and how its setting differs from the paper's."""

from __future__ import annotations

import json

import pandas as pd

HIGH, LOW = "high", "low"

# Ratios of the paper: of the training set for dirty labels, of the target class for clean ones.
LEVELS = {
    ("train_set", 0.1): HIGH,
    ("target_class", 0.25): HIGH,
    ("train_set", 0.01): LOW,
    ("target_class", 0.1): LOW,
}

FAMILIES = ("resnet", "vgg")
PAPER_ARCHITECTURES = {"resnet": "resnet18", "vgg": "vgg16"}
PAPER_EPOCHS = 120
PAPER_PER_CLASS = {"svhn": 4000}  # elsewhere all images

VARIANT = ["architecture", "per_class", "sigma", "target_class", "epochs"]
"""What may differ from the paper; runs that share it, and differ in dataset, attack and ratio, are compared."""


def ratio_level(runs: pd.DataFrame) -> pd.Series:
    """'high' (10%; 25% for clean labels), 'low' (1%; 10%), '' for attack none, else the ratio itself as text."""
    levels = [
        "" if of == "none" else LEVELS.get((of, round(ratio, 9)), f"{ratio:g} of {of}")
        for of, ratio in zip(runs["ratio_of"], runs["poison_ratio"], strict=True)
    ]
    return pd.Series(levels, index=runs.index, name="level", dtype=object)


def family(architecture: str) -> str:
    """'resnet' or 'vgg' from an architecture's name, else the name up to its parameters."""
    return next((each for each in FAMILIES if architecture.startswith(each)), architecture.split("(")[0])


def describe(variant: dict, datasets: list[str]) -> str:
    """How a variant differs from the paper's setting, in words; 'as in the paper' where nothing that is known does.

    variant: keys of `VARIANT`, those that the comparison crosses left out. datasets: those that the claim is about.
    """
    words = []
    architecture = variant.get("architecture")
    if architecture is not None and architecture not in PAPER_ARCHITECTURES.values():
        words.append(f"{architecture} for {PAPER_ARCHITECTURES.get(family(architecture), 'resnet18')}")
    if "per_class" in variant:
        usual = {PAPER_PER_CLASS.get(each) for each in datasets}
        per_class = variant["per_class"]
        if per_class not in usual:
            words.append("all images" if per_class is None else f"{per_class} images per class")
    if variant.get("sigma") not in (None, 0.4):
        words.append(f"sigma {variant['sigma']:g} for 0.4")
    if variant.get("target_class") not in (None, 0):
        words.append(f"target class {variant['target_class']} for 0")
    epochs = variant.get("epochs")
    if epochs is not None and epochs != PAPER_EPOCHS:
        words.append(f"{epochs} epochs for {PAPER_EPOCHS}")
    return "; ".join(words) or "as in the paper"


def training_epochs(cell: str) -> int | None:
    """How long a run trained, from its `cell`; None where it does not say."""
    return json.loads(cell).get("training", {}).get("epochs")
