"""One training run: the loop, a row per epoch, snapshots at chosen epochs, checkpoints that resume to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ibray.cell import Cell
from ibray.files import CorruptFileError, load_tensors, remove_tensors, save_tensors, set_aside
from ibray.models import get_model
from ibray.pgd import pgd
from ibray.rundata import RunData
from ibray.seeds import derive_seed

# Images per forward pass without gradients: on a CPU as many as its cache holds (2.5 times faster than 1000).
EVALUATION_BATCH = {"cpu": 128, "cuda": 1000}
CHECKPOINT_SECONDS = 60.0
ADVERSARIAL_STEPS = 7  # of epsilon / 4 each, as Madry et al. for CIFAR-10; from the image itself, without a draw


@dataclass(frozen=True)
class EpochResult:
    """The rows of one epoch: one for the table `epochs`, several for `class_losses` (both without run_id)."""

    epoch: int
    metrics: dict[str, Any]
    class_losses: list[dict[str, Any]]


def build_model(cell: Cell, num_classes: int, device: torch.device) -> nn.Module:
    """The cell's network with the initial weights of the cell's seed, on `device`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(cell.seed, "init"))
        model = get_model(
            cell.architecture.name, num_classes=num_classes, sigma=cell.sigma, **cell.architecture.params
        )
    return model.to(device, memory_format=torch.channels_last)


def as_input(images: torch.Tensor) -> torch.Tensor:
    """uint8 images as the network sees them: float32 in [0, 1], without mean and std normalisation (as the authors).

    Channels-last, like the weights: 1.04 to 1.28 times as fast as contiguous on CPUs too (benchmarks/RESULTS.md).
    """
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def train(
    cell: Cell,
    data: RunData,
    *,
    device: torch.device,
    snapshots: Collection[int],
    checkpoints: Path,
    on_epoch: Callable[[EpochResult], None],
    on_snapshot: Callable[[int, nn.Module], None],
    compile_model: bool = False,
) -> None:
    """Train the cell's network, or go on from its newest good checkpoint.

    The noise and the order of the images of an epoch are seeded by (seed, epoch), so a resumed run equals an
    uninterrupted one. `on_epoch` is called for every epoch in order, those before the checkpoint included.

    Args:
        cell: what to train.
        data: its data, on the CPU; moved to `device` once.
        device: where to train.
        snapshots: epochs, 1-based, after which `on_snapshot` gets the model; a checkpoint later than the first
            of them is no use and is passed over.
        checkpoints: a directory for this run alone. The last epoch's checkpoint stays: until the stage's rows are
            safe in the database, a repeated call needs it.
        on_epoch: receives each epoch's rows.
        on_snapshot: receives (epoch, model).
        compile_model: use torch.compile for the network; the seconds of the first epoch then include the compiler's.
    """
    Trainer(cell, data, device, checkpoints, compile_model).run(snapshots, on_epoch, on_snapshot)


class Trainer:
    """The state of a run between two epochs."""

    def __init__(self, cell: Cell, data: RunData, device: torch.device, checkpoints: Path, compile_model: bool):
        settings = cell.training
        self.cell, self.device = cell, device
        self.num_classes = len(data.class_names)
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.loss_subsets = self._loss_subsets(data)
        self.test = (data.test_images.to(device), data.test_labels.to(device))
        self.asr = None if data.asr_images is None else (data.asr_images.to(device), data.asr_labels.to(device))
        self.model = build_model(cell, self.num_classes, device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
        )
        # Static shapes: a loop has two, full batches and the last one, and kernels for any shape are slower.
        self.forward = torch.compile(self.model, dynamic=False) if compile_model else self.model
        self.checkpoints = CheckpointFiles(checkpoints)
        self.history: list[EpochResult] = []
        self.epoch = 0  # the last one that is over

    def run(
        self,
        snapshots: Collection[int],
        on_epoch: Callable[[EpochResult], None],
        on_snapshot: Callable[[int, nn.Module], None],
    ) -> None:
        """Train from the newest usable checkpoint to the last epoch."""
        self.start(snapshots, on_epoch, on_snapshot)
        self.go_on()

    def go_on(self) -> None:
        """From where `start` left the run to its last epoch."""
        while not self.is_done:
            started = time.perf_counter()
            losses, correct = self._train_epoch(self.epoch + 1)
            self._sync()
            self.end_epoch(losses, correct, time.perf_counter() - started)

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is over."""
        return self.epoch == self.cell.training.epochs

    def start(
        self,
        snapshots: Collection[int],
        on_epoch: Callable[[EpochResult], None],
        on_snapshot: Callable[[int, nn.Module], None],
    ) -> None:
        """Go to the newest usable checkpoint, and tell what had been done by then."""
        self._snapshots, self._on_epoch, self._on_snapshot = snapshots, on_epoch, on_snapshot
        self.epoch = self._resume(not_after=min(snapshots, default=self.cell.training.epochs))
        for result in self.history:
            on_epoch(result)
        if self.epoch in snapshots:
            on_snapshot(self.epoch, self.model)
        self._saved_at = time.monotonic()

    def end_epoch(self, losses: torch.Tensor, correct: torch.Tensor, train_seconds: float) -> None:
        """Evaluate the epoch that the weights have just been through, keep what is to be kept, tell its rows.

        Args:
            losses: (N,) float32, each training image's loss in the order of the data, as of its own step.
            correct: (N,) bool, whether its prediction was right then.
            train_seconds: what the steps took.
        """
        self.epoch += 1
        result = self._result(losses, correct, train_seconds)
        self.history.append(result)
        wanted = self.epoch in self._snapshots
        if wanted or self.is_done or time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
            self._save_checkpoint(self.epoch)
            self._saved_at = time.monotonic()
        if wanted:
            self._on_snapshot(self.epoch, self.model)
        self._on_epoch(result)

    def _result(self, losses: torch.Tensor, correct: torch.Tensor, train_seconds: float) -> EpochResult:
        started, epoch = time.perf_counter(), self.epoch
        lr = self.optimizer.param_groups[0]["lr"]
        train_loss = losses.mean().item()
        test_loss, test_acc, asr = self._evaluate(epoch)
        self.scheduler.step({"train_loss": train_loss, "test_loss": test_loss}[self.cell.training.plateau_metric])
        return EpochResult(
            epoch=epoch,
            metrics={
                "epoch": epoch,
                "train_loss": train_loss,
                "train_acc": correct.float().mean().item(),
                "test_loss": test_loss,
                "test_acc": test_acc,
                "asr": asr,
                "lr": lr,
                "seconds": train_seconds + time.perf_counter() - started,
                "images_per_s": len(self.labels) / train_seconds,
            },
            class_losses=self._class_losses(epoch, losses),
        )

    def _train_epoch(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over the training set; each image's loss and whether it was right, as of its own step.

        Nothing here waits for the device: a GPU is given the next step while it works on this one.
        """
        torch.manual_seed(derive_seed(self.cell.seed, "train", epoch))
        order = torch.randperm(len(self.labels), device=self.device)
        losses = torch.empty(len(self.labels), device=self.device)
        correct = torch.empty(len(self.labels), dtype=torch.bool, device=self.device)
        self.model.train()
        for batch in order.split(self.cell.training.batch_size):
            labels = self.labels[batch]
            inputs = as_input(self.images[batch])
            if self.cell.training.adversarial_epsilon:
                inputs = self._adversarial(inputs, labels)
            logits = self._logits(inputs)
            each = F.cross_entropy(logits.float(), labels, reduction="none")
            self.optimizer.zero_grad(set_to_none=True)
            each.mean().backward()
            self.optimizer.step()
            losses[batch] = each.detach()
            correct[batch] = logits.detach().argmax(1) == labels
        return losses, correct

    @torch.inference_mode()
    def _evaluate(self, epoch: int) -> tuple[float, float, float | None]:
        """Test loss, test accuracy and attack success rate, with the network's noise on."""
        torch.manual_seed(derive_seed(self.cell.seed, "evaluate", epoch))
        self.model.eval()
        images, labels = self.test
        logits = self._all_logits(images)
        loss = F.cross_entropy(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        if self.asr is None:
            return loss, accuracy, None
        images, wanted = self.asr
        hits = self._all_logits(images).argmax(1) == wanted
        return loss, accuracy, hits.float().mean().item()

    def _all_logits(self, images: torch.Tensor) -> torch.Tensor:
        batches = images.split(EVALUATION_BATCH[self.device.type])
        return torch.cat([self._logits(as_input(batch)).float() for batch in batches])

    def _adversarial(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        epsilon = self.cell.training.adversarial_epsilon / 255
        return pgd(
            self._logits, inputs, labels,
            norm="linf", epsilon=epsilon, step=epsilon / 4, steps=ADVERSARIAL_STEPS, random=None,
        )  # fmt: skip

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.cell.training.precision == "bfloat16"):
            return self.forward(inputs)

    def _class_losses(self, epoch: int, losses: torch.Tensor) -> list[dict[str, Any]]:
        means = torch.stack([losses[indices].mean() for indices in self.loss_subsets.values()]).tolist()
        return [
            {"epoch": epoch, "subset": subset, "train_loss": mean, "n": len(indices)}
            for (subset, indices), mean in zip(self.loss_subsets.items(), means, strict=True)
        ]

    def _loss_subsets(self, data: RunData) -> dict[str, torch.Tensor]:
        """Indices of every class, of the target class's backdoor and of its clean images; none that are empty."""
        target = self.cell.target_class
        masks = {str(c): data.labels == c for c in range(self.num_classes)}
        masks[f"{target}_backdoor"] = masks[str(target)] & data.is_backdoor
        masks[f"{target}_clean"] = masks[str(target)] & ~data.is_backdoor & ~data.is_cover
        return {name: mask.nonzero().flatten().to(self.device) for name, mask in masks.items() if mask.any()}

    def _sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _save_checkpoint(self, epoch: int) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            tensors[f"momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        about = {
            "run_id": self.cell.run_id,
            "epoch": epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "scheduler": self.scheduler.state_dict(),
            "history": [vars(result) for result in self.history],
        }
        self.checkpoints.save(epoch, tensors, about)

    def _resume(self, not_after: int) -> int:
        """Load the newest good checkpoint that is not after this epoch; returns its epoch, 0 without one."""
        found = self.checkpoints.newest(self.cell.run_id, not_after)
        if found is None:
            return 0
        tensors, about = found
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        for name, parameter in self.model.named_parameters():
            # In the parameter's memory format: the fused step walks both in order of memory and does not look.
            momentum = torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"momentum.{name}"])
            self.optimizer.state[parameter]["momentum_buffer"] = momentum
        for group in self.optimizer.param_groups:
            group["lr"] = about["lr"]
        self.scheduler.load_state_dict(about["scheduler"])
        self.history = [EpochResult(**result) for result in about["history"]]
        return about["epoch"]


class CheckpointFiles:
    """The checkpoints of one run: the two newest are kept, a corrupt one is set aside."""

    def __init__(self, directory: Path):
        self.directory = directory

    def save(self, epoch: int, tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
        save_tensors(self.directory / f"epoch_{epoch:04d}.safetensors", tensors, about)
        for old in self._files()[:-2]:
            remove_tensors(old)

    def newest(self, run_id: str, not_after: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and manifest of the newest checkpoint of this run whose hash is right, or None."""
        for path in reversed(self._files()):
            try:
                tensors, about = load_tensors(path)
            except CorruptFileError:
                set_aside(path)
                continue
            if about["run_id"] == run_id and about["epoch"] <= not_after:
                return tensors, about
        return None

    def _files(self) -> list[Path]:
        return sorted(self.directory.glob("epoch_*.safetensors"))
