"""Several training runs of one shape in one process, step by step together (ibray/packed_network.py).

Every member has its own data, order of images, noise, learning rate, rows, checkpoints and snapshots, from the same
seeds as alone (`training.Trainer`): its numbers are those of a run alone but for sums in another order, and a run goes
on alone from a checkpoint that it left in a pack, or the other way round. A member that fails leaves the others be.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibray.cell import Cell
from ibray.packed_network import PackedNetwork, agrees, can_be_packed
from ibray.rundata import RunData
from ibray.seeds import derive_seed
from ibray.training import EpochResult, Trainer, as_input


@dataclass(frozen=True)
class Member:
    """One run of a pack: the arguments of `training.train`, and `on_end`.

    `on_end` is told once how the run ended: None, or what was raised. What it raises itself ends the whole pack.
    """

    cell: Cell
    data: RunData
    snapshots: Collection[int]
    checkpoints: Path
    on_epoch: Callable[[EpochResult], None]
    on_snapshot: Callable[[int, nn.Module], None]
    on_end: Callable[[Exception | None], None]


def fits_into_a_pack(cell: Cell) -> bool:
    """Whether such a run can be trained together with others."""
    return not cell.training.adversarial_epsilon and can_be_packed(cell.architecture.name, cell.architecture.params)


def train_packed(members: Sequence[Member], *, device: torch.device) -> None:
    """Train runs of one architecture and one recipe, each from its newest good checkpoint.

    Runs whose images or classes differ in number or shape are trained one shape after another.

    Raises:
        ValueError: the members' architectures or recipes differ, or cannot be packed.
    """
    kinds = {(member.cell.architecture.json, member.cell.training.json) for member in members}
    if len(kinds) > 1 or not all(fits_into_a_pack(member.cell) for member in members):
        raise ValueError("a pack takes runs of one architecture and one recipe, made of layers that can be packed")
    by_shape: dict[tuple, list[Member]] = defaultdict(list)
    for member in members:
        by_shape[*member.data.images.shape, len(member.data.class_names)].append(member)
    for alike in by_shape.values():
        _train_alike(alike, device)


def _train_alike(members: Sequence[Member], device: torch.device) -> None:
    running = [run for member in members if (run := _started(member, device)) is not None]
    together: Together | None = None
    while len(running) > 1:
        try:
            if together is None:
                together = Together([run.trainer for run in running], device)
                if not together.is_right:
                    break
            outcomes = together.train_epoch()
        except Exception as error:  # in a step that all took: none of them can go on
            for run in running:
                run.member.on_end(error)
            return
        left = [run for run, outcome in zip(running, outcomes, strict=True) if run.goes_on_after(*outcome)]
        if len(left) < len(running):
            together = None
        running = left
    for run in running:
        run.go_on_alone()


@dataclass(frozen=True)
class _Run:
    member: Member
    trainer: Trainer

    def goes_on_after(self, losses: Tensor, correct: Tensor, train_seconds: float) -> bool:
        """End an epoch; whether there is another one for this run."""
        return self._went_well(lambda: self.trainer.end_epoch(losses, correct, train_seconds)) and not self.has_ended()

    def has_ended(self) -> bool:
        """Whether the last epoch is over; if so, the member is told."""
        if self.trainer.is_done:
            self.member.on_end(None)
        return self.trainer.is_done

    def go_on_alone(self) -> None:
        if self._went_well(self.trainer.go_on):
            self.has_ended()

    def _went_well(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # of any kind: the others go on
            self.member.on_end(error)
            return False
        return True


def _started(member: Member, device: torch.device) -> _Run | None:
    """The run at its newest checkpoint; None when nothing is left of it, or it cannot start."""
    try:
        trainer = Trainer(member.cell, member.data, device, member.checkpoints, compile_model=False)
        trainer.start(member.snapshots, member.on_epoch, member.on_snapshot)
    except Exception as error:
        member.on_end(error)
        return None
    run = _Run(member, trainer)
    return None if run.has_ended() else run


class Together:
    """Runs as one network and one optimiser; the runs' weights and momenta are views of what is trained here.

    Attributes:
        is_right: whether the packed network computes what its members do.
    """

    def __init__(self, trainers: Sequence[Trainer], device: torch.device):
        self.trainers, self.device = trainers, device
        self.settings = trainers[0].cell.training
        self.streams = [torch.Generator(device) for _ in trainers]
        self.packed = PackedNetwork([trainer.model for trainer in trainers], self.streams)
        self.labels = torch.stack([trainer.labels for trainer in trainers])
        self.parameters = list(self.packed.parameters.values())
        self.momenta = [self._joined_momentum(name) for name in self.packed.parameters]
        self.is_right = agrees(self.packed, self.streams, tuple(trainers[0].images.shape[1:]))
        if not self.is_right:
            about = trainers[0].cell.architecture
            logging.getLogger(__name__).warning("%s gives other values when packed: its runs are trained alone", about)

    def _joined_momentum(self, name: str) -> Tensor:
        """The momentum of one packed parameter; views of it become the runs' own."""
        states = [trainer.optimizer.state[trainer.model.get_parameter(name)] for trainer in self.trainers]
        parts = self.packed.split(self.packed.parameters[name].data)
        before = [state.get("momentum_buffer") for state in states]
        joined = self.packed.join(
            [torch.zeros_like(part) if own is None else own for own, part in zip(before, parts, strict=True)]
        )
        for state, view in zip(states, self.packed.split(joined), strict=True):
            state["momentum_buffer"] = view
        return joined

    def train_epoch(self) -> list[tuple[Tensor, Tensor, float]]:
        """One epoch of every run: `losses` and `correct` of each as `Trainer.end_epoch` takes them, and its seconds.

        A run's seconds are its equal share of those that the pack took, so that they add up.
        """
        started = time.perf_counter()
        rates = self._learning_rates()
        self.packed.network.train()
        batches = torch.stack(self._orders()).split(self.settings.batch_size, dim=1)
        losses = torch.empty(self.labels.shape, device=self.device)
        correct = torch.empty(self.labels.shape, dtype=torch.bool, device=self.device)
        for batch in batches:
            labels = self.labels.gather(1, batch).T
            logits = self._logits(batch)
            each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
            self._step(torch.autograd.grad(each.mean(0).sum(), self.parameters), rates)
            losses.scatter_(1, batch, each.detach().T)
            correct.scatter_(1, batch, (logits.detach().argmax(2) == labels).T)
        self.packed.count_batches(len(batches))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        share = (time.perf_counter() - started) / len(self.trainers)
        return [(losses[k], correct[k], share) for k in range(len(self.trainers))]

    def _orders(self) -> list[Tensor]:
        """Seed every run's stream for its epoch; the order of its images is the first thing drawn from it."""
        orders = []
        for trainer, stream in zip(self.trainers, self.streams, strict=True):
            stream.manual_seed(derive_seed(trainer.cell.seed, "train", trainer.epoch + 1))
            orders.append(torch.randperm(len(trainer.labels), generator=stream, device=self.device))
        return orders

    def _logits(self, batch: Tensor) -> Tensor:
        """batch: (K, B) int64, image numbers of every run -> float32 (B, K, classes)."""
        images = torch.cat([trainer.images[own] for trainer, own in zip(self.trainers, batch, strict=True)], 1)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            return self.packed(as_input(images)).float()

    def _learning_rates(self) -> list[Tensor]:
        """Of every single weight, in the shape of the parameters: runs reach their plateaus at different times."""
        rates = [trainer.optimizer.param_groups[0]["lr"] for trainer in self.trainers]
        return [
            self.packed.join([torch.full_like(part, rate) for part, rate in zip(parts, rates, strict=True)])
            for parts in (self.packed.split(parameter.data) for parameter in self.parameters)
        ]

    @torch.no_grad()
    def _step(self, gradients: Sequence[Tensor], rates: Sequence[Tensor]) -> None:
        """SGD as torch.optim.SGD does it, with a learning rate for every weight."""
        gradients = torch._foreach_add(gradients, self.parameters, alpha=self.settings.weight_decay)
        torch._foreach_mul_(self.momenta, self.settings.momentum)
        torch._foreach_add_(self.momenta, gradients)
        torch._foreach_addcmul_(self.parameters, self.momenta, rates, value=-1)
