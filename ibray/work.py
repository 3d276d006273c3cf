"""What a task computes and what a run leaves on disk, worked out from its cell: FLOPs and bytes, nothing is run.

A multiply-add is two FLOPs; what is not a convolution or a matrix product is not counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ibray.attacks import get_attack
from ibray.cell import Cell, canonical_json
from ibray.datasets import DatasetSizes
from ibray.mi.subsets import subsets
from ibray.models import get_model
from ibray.stages.base import Task
from ibray.training import ADVERSARIAL_STEPS

FORWARD_AND_BACKWARD = 3  # in forward passes: the backward pass has a product for the inputs and one for the weights
FORWARD_AND_BACKWARD_TO_INPUTS = 2  # of PGD, which asks for no gradient of the weights
CHECKPOINTS_KEPT = 2


@dataclass(frozen=True)
class Network:
    """An architecture on images of one shape.

    Attributes:
        flop: of the forward pass of one image.
        t_dim: size of T.
        state_bytes: parameters and buffers, which is what a snapshot holds.
        parameter_bytes: parameters alone, which is the size of their momentum.
    """

    flop: int
    t_dim: int
    state_bytes: int
    parameter_bytes: int


def network(cell: Cell, sizes: DatasetSizes) -> Network:
    """The cell's network for images and classes of this dataset.

    Raises:
        UserError: the network does not take images of this shape.
    """
    architecture = cell.architecture
    return _network(architecture.name, canonical_json(architecture.params), len(sizes.train), sizes.image_shape)


@lru_cache
def _network(name: str, params: str, num_classes: int, image_shape: tuple[int, int, int]) -> Network:
    with torch.device("meta"):  # shapes without numbers: milliseconds, whatever the size
        model = get_model(name, num_classes=num_classes, sigma=0.0, **json.loads(params)).eval()
        image = torch.empty(1, *image_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return Network(
        flop=counter.get_total_flops(),
        t_dim=model.T_dim,
        state_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        parameter_bytes=sum(parameter.nbytes for parameter in model.parameters()),
    )


def train_flop(task: Task, sizes: DatasetSizes) -> int:
    """All epochs: the training set forward and backward, the test set and the triggered test images forward."""
    cell, attack = task.cell, get_attack(task.cell.attack.name, **task.cell.attack.params)
    passes = FORWARD_AND_BACKWARD
    if cell.training.adversarial_epsilon:
        passes += FORWARD_AND_BACKWARD_TO_INPUTS * ADVERSARIAL_STEPS
    images = passes * sum(sizes.train) + sum(sizes.test)
    if attack.poisons != "none":
        attacked = attack.is_attacked(torch.arange(len(sizes.test)), cell.target_class)
        images += sum(count for count, is_attacked in zip(sizes.test, attacked.tolist(), strict=True) if is_attacked)
    return cell.training.epochs * images * network(cell, sizes).flop


def mi_flop(task: Task, sizes: DatasetSizes) -> int | None:
    """One snapshot: the first draws of T, and the paper's critics of both main quantities on every subset.

    The bounds of `certified` are little beside them. None where another protocol, quantity or layer is asked for.
    """
    cell, settings = task.cell, task.settings
    protocols = {(each["protocol"], each["estimator"]): each["settings"] for each in settings["protocols"]}
    critics = protocols.pop(("paper", "infonce"), None)
    if protocols.keys() - {("certified", "channel")} or settings["whole"] or settings["layers"] != "last":
        return None
    clean_classes = settings["clean_classes"]
    used, images_of = _subset_sizes(
        sizes,
        cell.attack.name,
        canonical_json(cell.attack.params),
        cell.poison_ratio,
        cell.target_class,
        None if clean_classes is None else tuple(clean_classes),
        settings["max_samples"],
    )
    net = network(cell, sizes)
    widths = {"I(X;T)": math.prod(sizes.image_shape) + net.t_dim, "I(T;Yhat)": net.t_dim + len(sizes.train)}
    draws = used * settings["draws"] * net.flop
    if critics is None:
        return draws
    return draws + sum(
        critic_flop(images, widths[quantity], critics[quantity])
        for quantity in settings["quantities"]
        for images in images_of
    )


def critic_flop(images: int, width: int, settings: Mapping[str, Any]) -> int:
    """Training of one InfoNCE critic whose two inputs have `width` numbers together, if it never stops early.

    Every distinct pair of a batch is scored, as on a GPU (mi/pairs.py); on a CPU those that were not drawn are not.
    """
    batch, hidden = min(settings["batch"], images), settings["hidden"]
    projections = 2 * batch * width * hidden
    pairs = 2 * batch**2 * (hidden**2 + hidden)
    # The inputs of the critic need no gradient: the projections' backward pass costs as much as their forward pass.
    step = 2 * projections + FORWARD_AND_BACKWARD * pairs
    return settings["max_epochs"] * (images // batch) * step


@lru_cache
def _subset_sizes(
    sizes: DatasetSizes,
    attack_name: str,
    attack_params: str,
    ratio: float,
    target: int,
    clean_classes: tuple[int, ...] | None,
    max_samples: int | None,
) -> tuple[int, list[int]]:
    """Images in all subsets together, each counted once, and in every single one."""
    attack, labels = get_attack(attack_name, **json.loads(attack_params)), sizes.train_labels()
    poisoned = attack.choose(labels, ratio=ratio, target=target, seed=0)
    labels[poisoned.backdoor] = attack.backdoor_labels(labels[poisoned.backdoor], target, len(sizes.train))
    is_backdoor, is_cover = (torch.zeros(len(labels), dtype=torch.bool) for _ in range(2))
    is_backdoor[poisoned.backdoor] = is_cover[poisoned.cover] = True
    chosen = subsets(
        labels, is_backdoor, target, is_cover=is_cover, clean_classes=clean_classes, max_samples=max_samples
    ).values()
    return len(torch.cat(list(chosen)).unique()), [len(indices) for indices in chosen]


def checkpoint_bytes(cell: Cell, sizes: DatasetSizes) -> int:
    """On disk while the cell trains: weights and momentum of the newest checkpoints."""
    net = network(cell, sizes)
    return CHECKPOINTS_KEPT * (net.state_bytes + net.parameter_bytes)


# A stage that is not here is not estimated.
FLOP: dict[str, Callable[[Task, DatasetSizes], int | None]] = {
    "surrogate": train_flop,
    "train": train_flop,
    "mi": mi_flop,
}
