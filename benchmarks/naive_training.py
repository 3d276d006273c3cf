"""Training loops as others write them, for `train_speed.py` and `train_accuracy.py` to compare with.

`plain`: what a PyTorch tutorial shows. `backdoorbench`: the loop of BackdoorBench (github.com/SCLBD/BackdoorBench,
utils/trainer_cls.py, ModelTrainerCLS_v2, and utils/aggregate_block/dataset_and_transform_generate.py), rewritten: PIL
images through torchvision transforms in worker processes, five items a sample, the loss and the predictions fetched
at every step. Both train the network that they are given, in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

Epoch = Callable[[], float]
"""One pass over the training set; returns the mean loss."""


def sgd(model: nn.Module, lr: float) -> torch.optim.SGD:
    """The paper's optimiser, as PyTorch builds it by default."""
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)


def plain(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, batch: int, lr: float, device: torch.device
) -> Epoch:
    """Float images in a TensorDataset, a DataLoader with its defaults.

    images: (N, 3, H, W) uint8. labels: (N,) int64.
    """
    loader = DataLoader(TensorDataset(images.float() / 255, labels), batch_size=batch, shuffle=True)
    model = model.to(device)
    optimizer, criterion = sgd(model, lr), nn.CrossEntropyLoss()

    def epoch() -> float:
        model.train()
        total = correct = 0.0
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            output = model(x)
            loss = criterion(output, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            correct += (output.argmax(1) == y).sum().item()
        return total / len(labels)

    return epoch


class FiveItems(Dataset):
    """A PIL image through a transform, its label, index, whether it is poisoned, and its label before that."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable):
        from PIL import Image

        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int, int, int]:
        label = self.labels[index]
        return self.transform(self.images[index]), label, index, 0, label


def backdoorbench(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch: int,
    lr: float,
    device: torch.device,
    workers: int,
) -> Epoch:
    """The same images in BackdoorBench's manner; its defaults are four workers and pinned memory.

    images: (N, 3, H, W) uint8. labels: (N,) int64. Raises ImportError without torchvision or Pillow.
    """
    from ibray.compat import import_torchvision

    transforms, size = import_torchvision("transforms"), images.shape[-1]
    transform = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomCrop((size, size), padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261]),
        ]
    )
    on_gpu = device.type == "cuda"
    loader = DataLoader(
        FiveItems(images, labels, transform),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        pin_memory=on_gpu,
        num_workers=workers,
    )
    optimizer, criterion = sgd(model.to(device), lr), nn.CrossEntropyLoss()
    scaler = torch.amp.GradScaler(device.type, enabled=False)

    def epoch() -> float:
        losses, predictions = [], []
        for x, y, *_ in loader:
            model.train()
            model.to(device, non_blocking=True)
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            output = model(x)
            loss = criterion(output, y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            losses.append(loss.item())
            predictions.append(torch.max(output, -1)[1].detach().clone().cpu())
        return sum(losses) / len(losses)

    return epoch
