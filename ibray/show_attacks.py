"""`ibray attacks show`: the picture of the attacks as a PNG, and its numbers as a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from ibray.datasets import available, load_dataset
from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.gallery import GalleryRow, as_text, gallery, presets
from ibray.lpips import NO_LPIPS, find_lpips, load_lpips
from ibray.terminal import plain_table


def show_attacks(
    dataset: str | None,
    out: Path | None,
    attacks: Sequence[str],
    lpips_weights: Path | None,
    data_dir: Path | None,
    console: Console,
    errors: Console,
) -> Path:
    """Write the picture and print the table; returns the picture's path. No dataset is CIFAR-10 or the digits.

    Raises UserError for unknown names, unusable weights and a place that cannot be written.
    """
    wanted = presets(attacks)
    source = find_lpips(lpips_weights)
    dataset = dataset or _default_dataset(data_dir)
    out = out or Path(f"attacks-{dataset}.png")
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UserError(f"--out {out}: expected the name of a picture to write, ending in .png")
    images = load_dataset(dataset, data_dir=data_dir)
    if source is None:
        errors.print(NO_LPIPS, soft_wrap=True)  # a command to copy has no line ends
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lpips = load_lpips(source, device) if source else None
    picture, rows = gallery(images, wanted, lpips=lpips, device=device)
    png = io.BytesIO()
    picture.save(png, "PNG")
    try:
        write_atomic(out, png.getvalue())
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}): choose another place") from error
    _print_table(rows, console)
    return out


def _default_dataset(data_dir: Path | None) -> str:
    """CIFAR-10 where it needs no download, else the digits, which never do."""
    cached = {entry.name for entry in available(data_dir) if entry.status in ("cached", "imported")}
    return "cifar10" if "cifar10" in cached else "digits"


def _print_table(rows: Sequence[GalleryRow], console: Console) -> None:
    table = plain_table("attack", "preset", "images", "psnr (dB)", "ssim", "lpips")
    for column in table.columns[3:]:
        column.justify = "right"
    if any(row.misfit for row in rows):
        table.add_column("does not fit", overflow="fold")
    for row in rows:
        numbers = [as_text(metric) for metric in row.metrics] or ["-"] * 3
        table.add_row(row.attack, row.preset, row.use, *numbers, *([row.misfit] if row.misfit else []))
    console.print(table)
