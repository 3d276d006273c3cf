"""From a name to a dataset, and the list of what there is."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ibray.datasets.base import ImageSet
from ibray.datasets.cache import ARRAYS, build, check_name, open_set, read_manifest, resolve_data_dir
from ibray.datasets.registry import DATASETS
from ibray.datasets.subsample import balanced_indices
from ibray.errors import UserError
from ibray.registry import did_you_mean

Status = Literal["embedded", "cached", "downloadable", "imported", "damaged", "broken"]


@dataclass(frozen=True, kw_only=True)
class AvailableDataset:
    """One line of the list of datasets; the counts are the published ones until it is on disk, None when damaged."""

    name: str
    origin: str  # "ibray", "PACKAGE VERSION" of a plug-in, "imported", or "uninstalled": a plug-in's that is gone
    status: Status
    description: str
    source: str
    image_shape: tuple[int, ...]  # C,H,W; empty when damaged or broken
    num_classes: int
    train_images: int | None
    test_images: int | None


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    per_class: int | None = None,
    test_per_class: int | None = None,
    download: bool = True,
) -> ImageSet:
    """The dataset ``name``, from the cache, or built (and downloaded, if ``download``) on first use.

    ``per_class`` and ``test_per_class`` keep that many images of every class, chosen by a fixed seed that is
    not the run's and in the dataset's order. Raises UserError for an unknown name, a broken plug-in, a damaged
    cache, a failed download, or more images asked for than the smallest class has.
    """
    check_name(name)
    entry = DATASETS.get(name)  # for a cached one too: what the cache holds must not hide two datasets of one name
    root = resolve_data_dir(data_dir)
    directory = root / name
    if not directory.exists():
        if entry is None:
            raise _unknown(name, root)
        if entry.downloads and not download:
            raise UserError(
                f"dataset '{name}' is not in {root} and downloading is off. Allow the download, or bring it "
                f"as a file: ibray data import {name} FILE.npz"
            )
        build(directory, name=name, origin="download" if entry.downloads else "embedded", load=entry.load)
    images = open_set(directory)
    if per_class is not None:
        images = _subsample(images, "train", per_class, key="per_class")
    if test_per_class is not None:
        images = _subsample(images, "test", test_per_class, key="test_per_class")
    return images


def _subsample(images: ImageSet, split: Literal["train", "test"], per_class: int, *, key: str) -> ImageSet:
    x, y = getattr(images, f"{split}_x"), np.asarray(getattr(images, f"{split}_y"))
    keep = balanced_indices(y, per_class, key=key, dataset=images.name, stream=("train", "test").index(split))
    x, y = x[keep], y[keep]
    x.flags.writeable = y.flags.writeable = False
    return dataclasses.replace(images, **{f"{split}_x": x, f"{split}_y": y})


def available(data_dir: str | os.PathLike[str] | None = None) -> list[AvailableDataset]:
    """Every registered dataset and every one in the cache; reads only manifests: quick, and no hash is checked."""
    root = resolve_data_dir(data_dir)
    return [_describe(name, root / name) for name in [*DATASETS, *_imported(root)]]


def _imported(root: Path) -> list[str]:
    """Names of the cached datasets that are not registered."""
    if not root.is_dir():
        return []
    return sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in DATASETS
    )


def _describe(name: str, directory: Path) -> AvailableDataset:
    common = {"name": name, "origin": DATASETS.origin(name) if name in DATASETS else "imported"}
    unreadable = {"image_shape": (), "num_classes": 0, "train_images": None, "test_images": None}
    try:
        entry = DATASETS.get(name)
    except UserError as error:
        return AvailableDataset(
            **common, **unreadable, status="broken", description=f"broken: {error}", source=str(error)
        )
    common["description"] = entry.description if entry else "your own images"
    if not directory.exists():
        return AvailableDataset(
            **common,
            status="downloadable" if entry.downloads else "embedded",
            source=entry.source,
            image_shape=entry.image_shape,
            num_classes=entry.num_classes,
            train_images=entry.train_images,
            test_images=entry.test_images,
        )
    try:
        manifest = read_manifest(directory)
        shapes = {key: tuple(manifest["files"][f"{key}.npy"]["shape"]) for key in ARRAYS}
    except UserError as error:
        return AvailableDataset(**common, **unreadable, status="damaged", source=str(error))
    if manifest["origin"] == "import":
        common["origin"] = "imported"
    elif entry is None:
        common |= {"origin": "uninstalled", "description": "left in the cache by a plug-in"}
    status = {"embedded": "embedded", "download": "cached", "import": "imported"}[manifest["origin"]]
    return AvailableDataset(
        **common,
        status=status,
        source=manifest["source"],
        image_shape=shapes["train_x"][1:],
        num_classes=len(manifest["class_names"]),
        train_images=shapes["train_x"][0],
        test_images=shapes["test_x"][0],
    )


def _unknown(name: str, root: Path) -> UserError:
    imported = _imported(root)
    return UserError(
        f"unknown dataset '{name}': {did_you_mean(name, [*DATASETS, *imported])}"
        f"There are: {', '.join(DATASETS)}. Imported: {', '.join(imported) or 'none'} (in {root}). "
        f"Bring in your own with: ibray data import {name} FILE.npz"
    )
