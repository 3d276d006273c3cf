"""Named image datasets, cached on disk and verified: ``load_dataset("digits")``."""

from ibray.datasets.base import DatasetEntry, ImageSet, RawData
from ibray.datasets.load import AvailableDataset, available, load_dataset
from ibray.datasets.npz import import_npz
from ibray.datasets.registry import DATASETS
from ibray.datasets.sizes import DatasetSizes, dataset_sizes
from ibray.datasets.subsample import SUBSAMPLE_SEED

__all__ = [
    "DATASETS",
    "SUBSAMPLE_SEED",
    "AvailableDataset",
    "DatasetEntry",
    "DatasetSizes",
    "ImageSet",
    "RawData",
    "available",
    "dataset_sizes",
    "import_npz",
    "load_dataset",
]
