"""The class-wise subsets of the poisoned training set on which the paper estimates information (paper.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import LongTensor, Tensor

from ibray.errors import UserError
from ibray.mi.quantities import WHOLE
from ibray.seeds import generator

CLEAN_CLASSES = 3
"""Clean classes taken when none are named: the first three that are not the target, as the paper's code."""


def subsets(
    labels: Tensor,
    is_backdoor: Tensor,
    target: int,
    *,
    is_cover: Tensor | None = None,
    clean_classes: Sequence[int] | None = None,
    max_samples: int | None = None,
    whole: int | None = None,
    seed: int = 0,
) -> dict[str, LongTensor]:
    """Subset name -> sorted indices into the training set.

    labels (N,) integers as trained on, after poisoning; is_backdoor (N,) bool; is_cover (N,) bool, images that carry a
    trigger and keep their labels (none when absent). With target class 0:

    `0`           every image labelled 0
    `0_backdoor`  those with the trigger and the attacker's label; `0_clean` those without a trigger
    `0_sample`    both in their proportion (within one image), as large as the smallest clean class
    `1`, `2`, ..  the clean classes: images of that label without a trigger

    `whole`       the whole training set, or as many of its images as `whole` says; only when that is given

    Without backdoor images in the target class there are only `0` and the clean classes; a part without
    images is left out. Every choice is random by `seed` and the subset's name, never by position. max_samples
    caps every subset. Raises UserError when a class does not exist or is the target.
    """
    labels, backdoor = torch.as_tensor(labels).cpu(), torch.as_tensor(is_backdoor).cpu().bool()
    benign = ~backdoor if is_cover is None else ~backdoor & ~torch.as_tensor(is_cover).cpu().bool()
    if labels.ndim != 1 or labels.shape != backdoor.shape:
        shapes = f"{tuple(labels.shape)} and {tuple(backdoor.shape)}"
        raise UserError(f"labels and is_backdoor must be of one length, not {shapes}")
    if max_samples is not None and max_samples < 2:
        raise UserError(f"max_samples must be at least 2, not {max_samples}")
    present = labels.unique().tolist()
    if clean_classes is None:
        clean_classes = [c for c in present if c != target][:CLEAN_CLASSES]
    for c in (target, *clean_classes):
        if c not in present:
            raise UserError(f"no training image is labelled {c}: the labels are {present}")
    if target in clean_classes:
        raise UserError(f"class {target} is the target, so it cannot be a clean class")

    def choose(pool: Tensor, count: int | None, name: str) -> Tensor:
        if count is None or len(pool) <= count:
            return pool
        order = torch.randperm(len(pool), generator=generator(seed, "subset", name))
        return pool[order[:count]].sort().values

    of_target = labels == target
    pools = {str(target): of_target}
    if (of_target & backdoor).any():
        pools |= {f"{target}_backdoor": of_target & backdoor, f"{target}_clean": of_target & benign}
    pools |= {str(c): (labels == c) & benign for c in clean_classes}
    indices = {name: mask.nonzero().squeeze(1) for name, mask in pools.items() if mask.any()}
    chosen = {name: choose(pool, max_samples, name) for name, pool in indices.items()}

    parts = [indices.get(f"{target}_{part}") for part in ("backdoor", "clean")]
    if all(part is not None for part in parts):
        sizes = [len(indices[str(c)]) for c in clean_classes if str(c) in indices]
        total = sum(len(part) for part in parts)
        size = min([total, *sizes, *([max_samples] if max_samples is not None else [])])
        poisoned = round(size * len(parts[0]) / total)
        name = f"{target}_sample"
        both = [
            choose(parts[0], poisoned, f"{name}/backdoor"),
            choose(parts[1], size - poisoned, f"{name}/clean"),
        ]
        chosen[name] = torch.cat(both).sort().values
    if whole is not None:
        cap = whole if max_samples is None else min(whole, max_samples)
        chosen[WHOLE] = choose(torch.arange(len(labels)), cap, WHOLE)
    return chosen
