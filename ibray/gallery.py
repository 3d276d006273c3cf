"""A picture of attacks: what each does to the same few images, and how visible it is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from ibray.attacks import ATTACKS, get_attack
from ibray.datasets import ImageSet
from ibray.errors import UserError
from ibray.perceptual import Metric, evenly, measure

MEASURED = 1000  # images at most that the metrics are over
SHOWN = 4  # images at most in a row, each of another class
KINDS = ("clean", "triggered", "difference x10")

# Pixels of the picture: four images in a row make it about 1,600 wide, 200 dpi on a page across.
_CELL = 96  # an image is enlarged by a whole number to about this
_MARGIN, _GAP, _SPACE = 28, 3, 26
_NAMES, _NUMBERS = 150, 140  # columns to the left and to the right of the images
_HEADER, _ROW_SPACE = 92, 22
_INK, _GREY, _RULE = "#111111", "#666666", "#dddddd"


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """One attack on one dataset: its metrics, or why it does not fit the images.

    use: "test", or "training" for an attack whose training images carry the trigger otherwise.
    """

    attack: str
    preset: str
    use: Literal["test", "training"] = "test"
    metrics: tuple[Metric, ...] = ()
    misfit: str | None = None


def presets(attacks: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Every preset of these attacks as (attack, preset); of all but ``none`` when none is named.

    Raises UserError for an unknown attack.
    """
    names = dict.fromkeys(attacks or [name for name in ATTACKS if name != "none"])
    return [(name, preset) for name in names for preset in ATTACKS[name].presets]


def gallery(
    dataset: ImageSet,
    attacks: Iterable[tuple[str, str]],
    *,
    lpips: nn.Module | None = None,
    device: torch.device | str = "cpu",
    target: int = 0,
) -> tuple[Image.Image, list[GalleryRow]]:
    """The picture (RGB on white) and the numbers beside it, one row for each (attack, preset).

    A row shows a few test images, one per class and the same for every attack: clean, with the trigger, and ten times
    the absolute difference, clipped at white. Its metrics (``ibray.perceptual.measure``, with ``lpips`` on ``device``)
    are over up to 1,000 test images from all over the test set. Images of the class ``target`` are in neither, as an
    attack is not tested on them. An attack that does not fit the images (``Attack.check``) gets a row that says why.
    An attack that puts its trigger on training images in another way has a second row for that (without what it
    crafts on a surrogate beforehand, for which there is none here). Raises UserError for an unknown attack or preset,
    or when all test images are of the target class.
    """
    images, labels = dataset.tensors("test")
    others = torch.nonzero(labels != target).flatten()
    if not len(others):
        raise UserError(f"dataset '{dataset.name}': every test image is of class {target}, the attacks' target")
    measured = images[evenly(others, MEASURED)]
    classes = evenly(labels[others].unique(), SHOWN).tolist()
    shown = torch.stack([images[labels == label][0] for label in classes])
    picture = _Picture(
        f"Triggers on {dataset.name}; PSNR, SSIM and LPIPS are means over {len(measured):,} test images",
        [dataset.class_names[label] for label in classes],
        image_size=images.shape[2:],
    )
    rows = []
    for name, preset in attacks:
        attack = get_attack(name, preset=preset)
        try:
            attack.check(dataset.image_shape, dataset.num_classes, target)
        except ValueError as error:
            rows.append(GalleryRow(attack=name, preset=preset, misfit=str(error)))
            picture.add(rows[-1], shown[:0], shown[:0])
            continue
        uses = {"test": attack.trigger, "training": attack.trigger_in_training}
        if torch.equal(attack.trigger(shown), attack.trigger_in_training(shown)):
            del uses["training"]
        for use, put_on in uses.items():
            metrics = measure(measured, put_on(measured), lpips=lpips, device=device)
            rows.append(GalleryRow(attack=name, preset=preset, use=use, metrics=tuple(metrics)))
            picture.add(rows[-1], shown, put_on(shown))
    return picture.image(), rows


def as_text(metric: Metric) -> str:
    """A metric's value for people, "-" when there is none."""
    if metric.value is None:
        return "-"
    if metric.metric == "psnr":
        return f"{metric.value:.2f}"
    return "<0.0001" if 0 < metric.value < 0.00005 else f"{metric.value:.4f}"


class _Picture:
    """Draws row under row; the height is known at the end."""

    def __init__(self, title: str, captions: Sequence[str], image_size: Sequence[int]):
        self.title, self.captions = title, captions
        scale = max(1, round(_CELL / max(image_size)))
        self.height, self.width = (side * scale for side in image_size)
        self.block = len(KINDS) * self.width + (len(KINDS) - 1) * _GAP
        self.total = 2 * _MARGIN + _NAMES + len(captions) * (self.block + _SPACE) + _NUMBERS
        self.strips = [self._header()]

    def image(self) -> Image.Image:
        """The rows so far."""
        whole = Image.new("RGB", (self.total, sum(strip.height for strip in self.strips) + _MARGIN), "white")
        y = 0
        for strip in self.strips:
            whole.paste(strip, (0, y))
            y += strip.height
        return whole

    def add(self, row: GalleryRow, clean: Tensor, triggered: Tensor) -> None:
        """A row with these images (uint8 N,C,H,W), or with the reason why there are none."""
        strip, draw = self._strip(max(self.height, 72) + _ROW_SPACE)
        draw.line((_MARGIN, 0, self.total - _MARGIN, 0), fill=_RULE)
        middle = strip.height // 2
        draw.text((_MARGIN, middle - 2), row.attack, font=_font(22), fill=_INK, anchor="ls")
        about = row.preset if row.use == "test" else f"{row.preset}, training"
        draw.text((_MARGIN, middle + 19), about, font=_font(16), fill=_GREY, anchor="ls")
        if row.misfit:
            letters = (self.total - _MARGIN - self._left(0)) // 9  # 9 pixels each, and more than most need
            reason = textwrap.fill(f"does not fit: {row.misfit}", width=letters)
            draw.text((self._left(0), middle), reason, font=_font(16), fill=_GREY, anchor="lm")
        difference = (triggered.int() - clean.int()).abs().mul(10).clamp(max=255).byte()
        for sample, kinds in enumerate(zip(clean, triggered, difference, strict=True)):
            for kind, pixels in enumerate(kinds):
                strip.paste(self._enlarged(pixels), (self._left(sample, kind), (strip.height - self.height) // 2))
        x = self._left(len(self.captions))
        for line, metric in enumerate(row.metrics):
            y = middle + (line - 1) * 24
            draw.text((x, y), metric.metric.upper(), font=_font(16), fill=_GREY, anchor="lm")
            unit = " dB" if metric.metric == "psnr" and metric.value is not None else ""
            draw.text((x + 60, y), as_text(metric) + unit, font=_font(16), fill=_INK, anchor="lm")
        self.strips.append(strip)

    def _header(self) -> Image.Image:
        strip, draw = self._strip(_HEADER)
        draw.text((_MARGIN, _MARGIN), self.title, font=_font(18), fill=_INK, anchor="lm")
        for sample, caption in enumerate(self.captions):
            centre = self._left(sample) + self.block // 2
            draw.text((centre, _HEADER - 34), caption, font=_font(16), fill=_INK, anchor="mm")
            for kind, text in enumerate(KINDS):
                centre = self._left(sample, kind) + self.width // 2
                draw.text((centre, _HEADER - 12), text, font=_font(13), fill=_GREY, anchor="mm")
        return strip

    def _strip(self, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        strip = Image.new("RGB", (self.total, height), "white")
        return strip, ImageDraw.Draw(strip)

    def _left(self, sample: int, kind: int = 0) -> int:
        return _MARGIN + _NAMES + sample * (self.block + _SPACE) + kind * (self.width + _GAP)

    def _enlarged(self, pixels: Tensor) -> Image.Image:
        image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        return image.resize((self.width, self.height), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)  # Pillow's own: the same on every machine; it has no multiplication sign
