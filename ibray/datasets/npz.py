"""Bringing in a dataset as one .npz file, for machines without network and for datasets of one's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ibray.datasets.base import ImageSet, RawData
from ibray.datasets.cache import ARRAYS, build, check_name, open_set, resolve_data_dir
from ibray.datasets.registry import DATASETS
from ibray.errors import UserError
from ibray.npz import read_arrays


def import_npz(
    name: str,
    file: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> ImageSet:
    """Copies the arrays of ``file`` into the cache under ``name`` and returns the set.

    The file holds ``train_x`` and ``test_x``: uint8 N,H,W,C with C 1 or 3, or N,H,W for greyscale (one
    channel is repeated three times), and ``train_y`` and ``test_y``: integers 0..K-1. Under the name of a
    built-in that is downloaded (``cifar10``, ``svhn``) it takes the built-in's place; with the built-in's
    shape and number of classes it also gets its class names. Otherwise classes are named "0", "1", ... Raises
    UserError naming the file, the key and what is expected.
    """
    check_name(name)
    if name in DATASETS and not DATASETS[name].downloads:
        raise UserError(f"'{name}' comes with {DATASETS.origin(name)} and needs no import: choose another name")
    file = Path(file).expanduser()
    directory = resolve_data_dir(data_dir) / name
    if directory.exists() and not overwrite:
        raise UserError(f"dataset '{name}' exists already in {directory}: delete it or import with overwrite")
    raw = _read(name, file, class_names)
    build(directory, name=name, origin="import", load=lambda _: raw, replace=overwrite)
    return open_set(directory)


def _read(name: str, file: Path, class_names: Sequence[str] | None) -> RawData:
    found = read_arrays(file, ARRAYS)
    images = {key: _images(file, key, found[key]) for key in ("train_x", "test_x")}
    if images["train_x"].shape[1:] != images["test_x"].shape[1:]:
        raise UserError(
            f"{file}: key 'test_x': images must have the shape of train_x, {images['train_x'].shape[1:]} "
            f"(C,H,W); "
            f"they have {images['test_x'].shape[1:]}"
        )
    labels = {
        key: _labels(file, key, found[key], len(images[f"{key[:-2]}_x"])) for key in ("train_y", "test_y")
    }
    present = np.unique(labels["train_y"])
    classes = len(present)
    if classes < 2 or present[0] != 0 or present[-1] != classes - 1:
        shown = ", ".join(str(value) for value in present[:12]) + (", ..." if classes > 12 else "")
        raise UserError(
            f"{file}: key 'train_y': expected labels 0..K-1, at least two and each in use; found {shown}"
        )
    outside = labels["test_y"][(labels["test_y"] < 0) | (labels["test_y"] >= classes)]
    if len(outside):
        raise UserError(
            f"{file}: key 'test_y': expected labels 0..{classes - 1} as in train_y; found {outside[0]}"
        )
    return RawData(
        **images,
        **labels,
        class_names=_class_names(name, images["train_x"].shape[1:], classes, class_names),
        source=f"imported from {file.name}",
    )


def _images(file: Path, key: str, array: np.ndarray) -> np.ndarray:
    """uint8 N,H,W or N,H,W,C -> uint8 N,3,H,W."""
    expected = f"{file}: key '{key}': expected uint8 images N,H,W,C with C 1 or 3, or N,H,W"
    if array.dtype != np.uint8:
        raise UserError(f"{expected}; its dtype is {array.dtype} (scale to 0..255 and convert to uint8)")
    if array.ndim not in (3, 4):
        raise UserError(f"{expected}; its shape is {array.shape}")
    if array.ndim == 3:
        array = array[..., None]
    if array.shape[3] not in (1, 3):
        hint = ", which looks like N,C,H,W: transpose it to (0, 2, 3, 1)" if array.shape[1] in (1, 3) else ""
        raise UserError(f"{expected}; its shape is {array.shape}{hint}")
    if 0 in array.shape:
        raise UserError(f"{expected}; it is empty: its shape is {array.shape}")
    if array.shape[3] == 1:
        array = np.repeat(array, 3, axis=3)
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _labels(file: Path, key: str, array: np.ndarray, images: int) -> np.ndarray:
    expected = (
        f"{file}: key '{key}': expected integer labels of shape ({images},), one per image of {key[:-2]}_x"
    )
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{expected}; it holds {array.dtype} of shape {array.shape}")
    if len(array) != images:
        raise UserError(f"{expected}; there are {len(array)}")
    return array.astype(np.int64)


def _class_names(
    name: str, image_shape: tuple[int, ...], classes: int, given: Sequence[str] | None
) -> tuple[str, ...]:
    if given is not None:
        names = tuple(given)
        if isinstance(given, str) or not all(isinstance(one, str) and one for one in names):
            raise UserError(f"class_names: expected a list of {classes} names, got {given!r}")
        if len(names) != classes or len(set(names)) != classes:
            raise UserError(
                f"class_names: expected {classes} different names, got {len(names)}: {', '.join(names)}"
            )
        return names
    if (
        name in DATASETS
        and DATASETS[name].image_shape == image_shape
        and DATASETS[name].num_classes == classes
    ):
        return DATASETS[name].class_names
    return tuple(str(label) for label in range(classes))
