"""The processes that `train_speed.py` measures: one training loop, or the product of two large matrices."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from naive_training import backdoorbench, plain
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ibray.cell import ArchitectureChoice, AttackChoice, Cell, DatasetChoice, TrainingSettings
from ibray.models import get_model, resolve_params
from ibray.rundata import RunData
from ibray.training import Trainer

CLASSES = 10
LR = 0.01
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
MATRIX_PRODUCTS = {"cpu": 5, "cuda": 50}


def serve(arguments: argparse.Namespace) -> None:
    """Say what we are, then do the work once for every line on standard input and say how much it was."""
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    work = matrix_products(device) if arguments.child == "matrix product" else training(arguments, device)
    _say(about(arguments, device))
    for _ in sys.stdin:
        before = cpu_seconds()
        done = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        _say({"work": done, "cpu_s": cpu_seconds() - before, "memory_mb": memory_mb(device)})


def _say(what: dict) -> None:
    print(json.dumps(what), flush=True)


def training(arguments: argparse.Namespace, device: torch.device) -> Callable[[], float]:
    """One epoch of the loop that was asked for; its result is the number of images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (arguments.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (arguments.images,), generator=generator)
    name, *variant = arguments.child.split("-")
    if name == "ours":
        trainer = our_trainer(arguments, images, labels, device, variant)
        epochs = iter(range(1, sys.maxsize))
        return lambda: len(trainer._train_epoch(next(epochs))[0])
    torch.manual_seed(0)
    model = network(arguments)
    settings = {"batch": arguments.batch, "lr": LR, "device": device}
    if name == "plain":
        epoch, counted = plain(model, images, labels, **settings), len(labels)
    else:
        epoch = backdoorbench(model, images, labels, **settings, workers=arguments.workers)
        counted = len(labels) // arguments.batch * arguments.batch  # it drops the last batch if it is not full
    return lambda: epoch() and counted


def our_trainer(
    arguments: argparse.Namespace, images: torch.Tensor, labels: torch.Tensor, device: torch.device, variant: list[str]
) -> Trainer:
    """The trainer as the train stage makes it, on data that is in memory already."""
    cell = Cell(
        dataset=DatasetChoice(name="random"),
        attack=AttackChoice(name="none"),
        poison_ratio=0.0,
        target_class=0,
        architecture=ArchitectureChoice(name=arguments.architecture, params=resolved(arguments)),
        sigma=arguments.sigma,
        seed=0,
        training=TrainingSettings(
            batch_size=arguments.batch, lr=LR, precision="bfloat16" if "bfloat16" in variant else "float32"
        ),
    )
    nothing = torch.zeros(len(labels), dtype=torch.bool)
    data = RunData(
        images=images, labels=labels, is_backdoor=nothing, is_cover=nothing, original_labels=labels,
        clean_images=images, test_images=images[:1], test_labels=labels[:1], asr_images=None, asr_labels=None,
        parts={}, class_names=tuple(str(label) for label in range(CLASSES)), checksum="",
    )  # fmt: skip
    return Trainer(cell, data, device, Path(tempfile.gettempdir()), compile_model="compiled" in variant)


def resolved(arguments: argparse.Namespace) -> dict:
    return resolve_params(arguments.architecture, {} if arguments.width is None else {"width": arguments.width})


def network(arguments: argparse.Namespace) -> torch.nn.Module:
    return get_model(arguments.architecture, num_classes=CLASSES, sigma=arguments.sigma, **resolved(arguments))


def matrix_products(device: torch.device) -> Callable[[], float]:
    """Several products of square matrices; its result is their FLOPs."""
    side, count = MATRIX_SIDE[device.type], MATRIX_PRODUCTS[device.type]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def products() -> float:
        for _ in range(count):
            torch.mm(a, b)
        return 2.0 * side**3 * count

    return products


def about(arguments: argparse.Namespace, device: torch.device) -> dict:
    """Versions, device, and the FLOPs of training on one image."""
    with FlopCounterMode(display=False) as counter:
        logits = network(arguments)(torch.rand(2, 3, 32, 32))
        F.cross_entropy(logits, torch.zeros(2, dtype=torch.int64)).backward()
    on_gpu = device.type == "cuda"
    return {
        "versions": f"torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.backends.cpu.get_cpu_capability()}",
        "flop": counter.get_total_flops() / 2,
    }


def cpu_seconds() -> float:
    """Of this process so far, and of a loader's workers that have ended."""
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def memory_mb(device: torch.device) -> float:
    """Peak so far: of the device on a GPU, else of the process (without the workers of a loader)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
