"""Datasets: what is loaded, the cache's promises, and what is said when something is wrong."""

import dataclasses
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from ibray.datasets import DATASETS, available, cache, dataset_sizes, import_npz, load_dataset, svhn
from ibray.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REAL_CIFAR = Path(os.environ.get("IBRAY_DATA", "nowhere")) / "cifar10"


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory):
    """A cache with both digits datasets; tests that change it work on a copy."""
    root = tmp_path_factory.mktemp("digits")
    load_dataset("digits", data_dir=root)
    load_dataset("digits16", data_dir=root)
    return root


@pytest.fixture
def copy(digits_dir, tmp_path):
    shutil.copytree(digits_dir, tmp_path / "data")
    return tmp_path / "data"


def arrays(*, n=40, n_test=20, classes=4, size=8, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (size, size) if channels is None else (size, size, channels)
    return {
        "train_x": rng.integers(0, 256, (n, *shape), dtype=np.uint8),
        "train_y": np.arange(n) % classes,
        "test_x": rng.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "test_y": np.arange(n_test) % classes,
    }


@pytest.fixture
def npz(tmp_path):
    def write(**changes):
        path = tmp_path / "mine.npz"
        content = {**arrays(), **changes}
        np.savez(path, **{key: value for key, value in content.items() if value is not None})
        return path

    return write


# --- the embedded ones -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("digits", 32), ("digits16", 16)])
def test_digits(digits_dir, name, size):
    images = load_dataset(name, data_dir=digits_dir)
    assert images.train_x.shape[1:] == images.test_x.shape[1:] == images.image_shape == (3, size, size)
    assert images.image_shape == DATASETS[name].image_shape and images.num_classes == 10
    assert images.train_x.dtype == np.uint8 and images.train_y.dtype == np.int64
    assert len(images.train_y) + len(images.test_y) == 1797
    assert isinstance(images.train_x, np.memmap) and not images.train_x.flags.writeable
    for c in range(10):
        total = (images.train_y == c).sum() + (images.test_y == c).sum()
        assert abs((images.test_y == c).sum() - 0.2 * total) <= 0.5
    assert images.train_x.max() == 255 and images.train_x.min() == 0
    assert (images.train_x[:, 0] == images.train_x[:, 2]).all()


def test_digits_are_upsampled_bilinearly_and_to_the_same_bytes_everywhere(digits_dir):
    import torch
    from sklearn.datasets import load_digits

    from ibray.datasets.digits import _upsample

    small = load_digits().images[:50]
    for size in (16, 32):
        reference = torch.nn.functional.interpolate(
            torch.from_numpy(small)[:, None], size=(size, size), mode="bilinear", align_corners=False
        )
        assert np.abs(_upsample(small, size)[:, 0] - reference[:, 0].numpy() * 255 / 16).max() <= 0.5 + 1e-9
    assert load_dataset("digits16", data_dir=digits_dir).checksum.startswith("100996b96030")
    assert load_dataset("digits", data_dir=digits_dir).checksum.startswith("a2faf99d0a20")


def test_tensors_are_writable_copies(digits_dir):
    images = load_dataset("digits16", data_dir=digits_dir)
    x, y = images.tensors("train")
    x[0] = 7
    assert tuple(x.shape) == images.train_x.shape and len(y) == len(x)
    assert not (images.train_x[0] == 7).all()


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if not entry.downloads])
def test_the_counts_of_an_embedded_dataset_are_true(digits_dir, name):
    images, entry = load_dataset(name, data_dir=digits_dir), DATASETS[name]
    sizes = np.bincount(images.train_y)
    assert (len(images.train_y), len(images.test_y)) == (entry.train_images, entry.test_images)
    assert (images.image_shape, images.class_names) == (entry.image_shape, entry.class_names)
    assert entry.balanced == (sizes.min() == sizes.max())


@pytest.mark.parametrize("per_class", [None, 30])
def test_sizes_on_disk_are_those_of_the_labels(digits_dir, per_class):
    sizes = dataset_sizes("digits16", data_dir=digits_dir, per_class=per_class, test_per_class=per_class)
    images = load_dataset("digits16", data_dir=digits_dir, per_class=per_class, test_per_class=per_class)
    assert sizes.train == tuple(np.bincount(images.train_y)) and sizes.test == tuple(np.bincount(images.test_y))
    assert sizes.image_shape == (3, 16, 16) and sizes.exact


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.downloads])
def test_sizes_before_the_download_are_the_published_ones(tmp_path, name):
    sizes, entry = dataset_sizes(name, data_dir=tmp_path), DATASETS[name]
    assert (sum(sizes.train), sum(sizes.test)) == (entry.train_images, entry.test_images)
    assert len(sizes.train) == len(sizes.test) == entry.num_classes and sizes.image_shape == entry.image_shape
    assert sizes.exact == entry.balanced and max(sizes.train) - min(sizes.train) <= (not entry.balanced)
    few = dataset_sizes(name, data_dir=tmp_path, per_class=7, test_per_class=5)
    assert set(few.train) == {7} and set(few.test) == {5} and few.exact
    assert list(tmp_path.iterdir()) == []


def test_an_imported_set_counts_more_than_what_is_published_under_its_name(tmp_path, npz):
    import_npz("cifar10", npz(), data_dir=tmp_path)
    sizes = dataset_sizes("cifar10", data_dir=tmp_path)
    assert (sizes.train, sizes.test, sizes.image_shape) == ((10,) * 4, (5,) * 4, (3, 8, 8))


def test_more_images_than_published_are_refused_before_the_download(tmp_path):
    with pytest.raises(UserError, match=r"per_class: 4001 .* 'svhn' has 40000 in 10 classes: at most 4000 of each"):
        dataset_sizes("svhn", data_dir=tmp_path, per_class=4001)
    with pytest.raises(UserError, match=r"test_per_class: 1001 .* 'cifar10' has 10000 in 10 classes: at most 1000"):
        dataset_sizes("cifar10", data_dir=tmp_path, test_per_class=1001)


# --- subsampling -------------------------------------------------------------------------------------------


def test_per_class_counts_order_and_stability(digits_dir):
    whole = load_dataset("digits16", data_dir=digits_dir)
    small = load_dataset("digits16", data_dir=digits_dir, per_class=20, test_per_class=5)
    large = load_dataset("digits16", data_dir=digits_dir, per_class=50)
    assert np.bincount(small.train_y).tolist() == [20] * 10 and np.bincount(small.test_y).tolist() == [5] * 10
    assert len(large.test_y) == len(whole.test_y) and small.checksum == whole.checksum
    again = load_dataset("digits16", data_dir=digits_dir, per_class=20)
    assert (small.train_x == again.train_x).all() and not small.train_x.flags.writeable

    def positions(part):
        rows = {image.tobytes(): i for i, image in enumerate(whole.train_x)}
        return [rows[image.tobytes()] for image in part.train_x]

    assert positions(small) == sorted(positions(small))
    assert set(positions(small)) < set(positions(large))


@pytest.mark.parametrize("key", ["per_class", "test_per_class"])
def test_per_class_refusals_name_the_key_and_the_maximum(digits_dir, key):
    whole = load_dataset("digits16", data_dir=digits_dir)
    most = np.bincount(whole.train_y if key == "per_class" else whole.test_y).min()
    load_dataset("digits16", data_dir=digits_dir, **{key: int(most)})
    with pytest.raises(UserError, match=f"^{key}: .*largest value allowed is {most}"):
        load_dataset("digits16", data_dir=digits_dir, **{key: int(most) + 1})
    for wrong in (0, -1, 2.5, "10", True):
        with pytest.raises(UserError, match=f"^{key}: expected a whole number"):
            load_dataset("digits16", data_dir=digits_dir, **{key: wrong})


# --- names and listing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../digits", "/etc", "a/b", "", ".", "Digits", "a b", "x\n", None, 3])
def test_names_that_could_be_paths_are_refused(tmp_path, npz, name):
    with pytest.raises(UserError, match="is not allowed"):
        load_dataset(name, data_dir=tmp_path)
    with pytest.raises(UserError, match="is not allowed"):
        import_npz(name, npz(), data_dir=tmp_path)


def test_unknown_names_list_what_there_is(tmp_path, npz):
    import_npz("mine", npz(), data_dir=tmp_path)
    with pytest.raises(
        UserError,
        match=r"unknown dataset 'mien': did you mean 'mine'\?.*digits16.*Imported: mine.*ibray data import",
    ):
        load_dataset("mien", data_dir=tmp_path)


def test_available_tells_the_status(copy, npz):
    import_npz("mine", npz(), data_dir=copy)
    (copy / "broken").mkdir()
    import_npz("cifar10", npz(), data_dir=copy)
    found = {entry.name: entry for entry in available(copy)}
    assert {name: entry.status for name, entry in found.items()} == {
        "digits": "embedded", "digits16": "embedded", "cifar10": "imported", "cifar100": "downloadable",
        "svhn": "downloadable", "gtsrb": "downloadable", "fashion_mnist": "downloadable", "broken": "damaged",
        "mine": "imported",
    }  # fmt: skip
    assert (found["mine"].image_shape, found["mine"].num_classes, found["mine"].train_images) == (
        (3, 8, 8),
        4,
        40,
    )
    assert (found["cifar10"].train_images, found["broken"].train_images) == (40, None)
    assert (found["svhn"].train_images, found["svhn"].test_images) == (40_000, 26_032)
    assert [entry.name for entry in available(copy / "nowhere")] == list(DATASETS)


def test_listing_imports_neither_torch_nor_scikit_learn():
    code = "import sys, ibray.datasets; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_cache_directory_comes_from_the_argument_then_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("IBRAY_DATA", str(tmp_path / "env"))
    assert cache.resolve_data_dir() == tmp_path / "env"
    assert cache.resolve_data_dir(tmp_path / "arg") == tmp_path / "arg"
    monkeypatch.delenv("IBRAY_DATA")
    assert cache.resolve_data_dir() == Path("~/.cache/ibray/data").expanduser().resolve()


# --- damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy"])
def test_truncated_flipped_missing_and_swapped_files_are_named(copy, file):
    path = copy / "digits16" / file
    good = path.read_bytes()

    def refused():
        with pytest.raises(UserError) as error:
            load_dataset("digits16", data_dir=copy)
        assert str(path) in str(error.value) and f"Delete the directory {path.parent}" in str(error.value)
        return str(error.value)

    load_dataset("digits16", data_dir=copy)
    path.write_bytes(good[:-10])
    assert "bytes instead of" in refused()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    path.write_bytes(flipped)
    assert "SHA-256" in refused()
    path.unlink()
    assert "cannot be read" in refused()
    shutil.copy(copy / "digits" / file, path)
    refused() if not file.endswith("_y.npy") else load_dataset(
        "digits16", data_dir=copy
    )  # the labels are the same
    path.write_bytes(good)
    load_dataset("digits16", data_dir=copy)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"sha256"', '"sha"'),
        lambda text: text.replace('"format_version": 1', '"format_version": 99'),
        lambda text: text.replace('"name": "digits16"', '"name": "other"'),
        lambda text: None,
    ],
    ids=["cut", "list", "empty", "no hash", "version", "other's", "missing"],
)
def test_a_broken_manifest_is_named(copy, break_it):
    path = copy / "digits16" / "manifest.json"
    broken = break_it(path.read_text())
    path.unlink() if broken is None else path.write_text(broken)
    with pytest.raises(UserError, match=f"{path}.*Delete the directory"):
        load_dataset("digits16", data_dir=copy)


def test_hashes_are_checked_once_per_process(copy, monkeypatch):
    load_dataset("digits16", data_dir=copy)
    monkeypatch.setattr(cache, "_sha256", lambda path: pytest.fail("hashed again"))
    load_dataset("digits16", data_dir=copy)


# --- writing -----------------------------------------------------------------------------------------------


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    entry = dataclasses.replace(DATASETS["digits16"], load=lambda directory: 1 / 0)
    monkeypatch.setitem(DATASETS._entries, "digits16", entry)
    with pytest.raises(ZeroDivisionError):
        load_dataset("digits16", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(
        cache, "_sha256", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(UserError, match=r"No space left on device.*IBRAY_DATA"):
        load_dataset("digits16", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_two_builders_the_slower_keeps_what_the_faster_made(tmp_path, monkeypatch):
    original = DATASETS["digits16"]

    def slow(directory):
        monkeypatch.setitem(DATASETS._entries, "digits16", original)
        load_dataset("digits16", data_dir=tmp_path)  # somebody else builds it meanwhile
        return original.load(directory)

    monkeypatch.setitem(DATASETS._entries, "digits16", dataclasses.replace(original, load=slow))
    assert load_dataset("digits16", data_dir=tmp_path).num_classes == 10
    assert [path.name for path in tmp_path.iterdir()] == ["digits16"]


def test_two_processes_build_at_once(tmp_path):
    call = f"load_dataset('digits16', data_dir={str(tmp_path)!r})"
    code = f"from ibray.datasets import load_dataset; print({call}.checksum)"
    builders = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [builder.communicate(timeout=120)[0].strip() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert outputs[0] == outputs[1] and len(outputs[0]) == 64
    assert [path.name for path in tmp_path.iterdir()] == ["digits16"]


# --- import ------------------------------------------------------------------------------------------------


def test_import_and_load(tmp_path, npz):
    content = arrays()
    imported = import_npz("my-set_2", npz(), data_dir=tmp_path / "data", class_names=["a", "b", "c", "d"])
    loaded = load_dataset("my-set_2", data_dir=tmp_path / "data", per_class=3)
    assert imported.class_names == loaded.class_names == ("a", "b", "c", "d")
    assert (imported.train_x == content["train_x"].transpose(0, 3, 1, 2)).all()
    assert (imported.test_y == content["test_y"]).all() and imported.test_y.dtype == np.int64
    assert np.bincount(loaded.train_y).tolist() == [3] * 4
    manifest = json.loads((tmp_path / "data" / "my-set_2" / "manifest.json").read_text())
    assert manifest["source"] == "imported from mine.npz"


@pytest.mark.parametrize("channels", [None, 1])
def test_greyscale_becomes_three_channels(tmp_path, npz, channels):
    grey = arrays(channels=channels)
    images = import_npz("grey", npz(**grey), data_dir=tmp_path)
    assert images.image_shape == (3, 8, 8)
    assert (images.train_x == grey["train_x"].reshape(40, 1, 8, 8)).all()


def test_import_replaces_only_when_told(tmp_path, npz):
    first = import_npz("mine", npz(), data_dir=tmp_path)
    with pytest.raises(UserError, match="exists already"):
        import_npz("mine", npz(), data_dir=tmp_path)
    second = import_npz("mine", npz(**arrays(seed=1)), data_dir=tmp_path, overwrite=True)
    assert second.checksum != first.checksum
    assert load_dataset("mine", data_dir=tmp_path).checksum == second.checksum
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.npz"]


def test_import_takes_the_place_of_a_download_but_not_of_an_embedded_one(tmp_path, npz):
    content = arrays(n=100, n_test=50, classes=10, size=32)
    images = import_npz("cifar10", npz(**content), data_dir=tmp_path)
    assert images.class_names == DATASETS["cifar10"].class_names
    assert load_dataset("cifar10", data_dir=tmp_path, download=False).checksum == images.checksum
    with pytest.raises(UserError, match="needs no import"):
        import_npz("digits", npz(), data_dir=tmp_path)


BASE = arrays()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_y": None}, "key 'train_y' is missing; expected the arrays train_x.*found train_x, test_x"),
        ({"train_x": BASE["train_x"].astype(np.float32)}, "key 'train_x': expected uint8.*float32"),
        ({"train_x": BASE["train_x"].transpose(0, 3, 1, 2)}, "key 'train_x'.*looks like N,C,H,W"),
        ({"train_x": BASE["train_x"][..., :2]}, "key 'train_x'.*C 1 or 3"),
        ({"train_x": BASE["train_x"][0, 0]}, "key 'train_x'.*its shape is"),
        ({"test_x": BASE["test_x"][:, :4]}, "key 'test_x': images must have the shape of train_x"),
        ({"test_x": BASE["test_x"][:0], "test_y": BASE["test_y"][:0]}, "key 'test_x'.*empty"),
        ({"train_y": BASE["train_y"][:-1]}, "key 'train_y'.*there are 39"),
        ({"train_y": BASE["train_y"].astype(float)}, "key 'train_y': expected integer labels.*float64"),
        ({"train_y": BASE["train_y"][:, None]}, r"key 'train_y': expected integer labels.*\(40, 1\)"),
        ({"train_y": BASE["train_y"] + 1}, "key 'train_y': expected labels 0..K-1.*found 1, 2, 3, 4"),
        ({"train_y": BASE["train_y"] * 2}, "key 'train_y': expected labels 0..K-1"),
        ({"train_y": BASE["train_y"] * 0}, "key 'train_y': expected labels 0..K-1"),
        ({"test_y": BASE["test_y"] + 1}, "key 'test_y': expected labels 0..3.*found 4"),
        ({"test_y": BASE["test_y"] - 1}, "key 'test_y': expected labels 0..3.*found -1"),
        ({"train_y": np.array([None] * 40)}, "key 'train_y' cannot be read"),
    ],
)
def test_wrong_contents_are_named(tmp_path, npz, changes, message):
    path = npz(**changes)
    with pytest.raises(UserError, match=message) as error:
        import_npz("mine", path, data_dir=tmp_path / "data")
    assert str(path) in str(error.value)
    assert not (tmp_path / "data" / "mine").exists()


def test_files_that_are_no_npz_are_named(tmp_path, npz):
    path = npz()
    good = path.read_bytes()
    cases = {
        "cut": good[: len(good) // 2],
        "empty": b"",
        "text": b"hello",
        "pickle": pickle.dumps({"train_x": 1}),
    }
    for name, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not an \.npz file, or is cut short"):
            import_npz(name, path, data_dir=tmp_path / "data")
    flipped = bytearray(good)
    flipped[1000] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(UserError, match="key 'train_x' cannot be read"):
        import_npz("flipped", path, data_dir=tmp_path / "data")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(UserError, match="holds a single array"):
        import_npz("single", tmp_path / "single.npy", data_dir=tmp_path / "data")
    with pytest.raises(UserError, match="there is no such file"):
        import_npz("gone", tmp_path / "gone.npz", data_dir=tmp_path / "data")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "c"], "abcd", ["a", "b", "c", 4]])
def test_wrong_class_names_are_refused(tmp_path, npz, names):
    with pytest.raises(UserError, match="class_names: expected"):
        import_npz("mine", npz(), data_dir=tmp_path, class_names=names)


# --- downloads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.downloads])
def test_without_network_the_way_round_is_named(tmp_path, monkeypatch, name):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(
        UserError, match=f"could not download dataset '{name}'.*ibray data import {name} FILE.npz"
    ):
        load_dataset(name, data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=r"downloading is off.*ibray data import"):
        load_dataset(name, data_dir=tmp_path, download=False)


def test_svhn_is_balanced_and_its_ten_is_zero(tmp_path, monkeypatch):
    """On files of the published format, X of 32,32,3,N and y of N,1 with 10 for the digit 0."""
    from scipy.io import savemat

    from ibray.compat import import_torchvision

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (32, 32, 3, 70), dtype=np.uint8)
    y = np.concatenate([rng.permutation(10) + 1 for _ in range(7)]).astype(np.uint8)[:, None]
    official = import_torchvision("datasets").SVHN

    def write(self):
        savemat(Path(self.root) / f"{self.split}_32x32.mat", {"X": x, "y": y})

    monkeypatch.setattr(official, "download", write)
    monkeypatch.setattr(official, "_check_integrity", lambda self: True)
    monkeypatch.setattr(svhn, "PER_CLASS", 3)
    images = load_dataset("svhn", data_dir=tmp_path)
    assert np.bincount(images.train_y).tolist() == [3] * 10 and len(images.test_y) == 70
    zeros = np.flatnonzero(y[:, 0] == 10)
    assert (images.train_x[images.train_y == 0] == x[..., zeros[:3]].transpose(3, 2, 0, 1)).all()
    assert sorted(path.name for path in (tmp_path / "svhn").iterdir()) == sorted(
        ["manifest.json", "train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy"]
    )


@pytest.mark.parametrize(
    ("name", "official_name", "label_key", "classes", "batches"),
    [("cifar10", "CIFAR10", "labels", 10, 5), ("cifar100", "CIFAR100", "fine_labels", 100, 1)],
)
def test_cifar_reads_the_published_batches(tmp_path, monkeypatch, name, official_name, label_key, classes, batches):
    """Pickled dictionaries of N,3072 bytes, all of red first; CIFAR-100 also has coarse labels, which stay unused."""
    from ibray.compat import import_torchvision

    rng = np.random.default_rng(0)
    official = getattr(import_torchvision("datasets"), official_name)
    written = {}

    def write(self):
        folder = Path(self.root) / self.base_folder
        folder.mkdir(exist_ok=True)
        for file, _ in self.train_list + self.test_list:
            if file not in written:
                written[file] = {
                    "data": rng.integers(0, 256, (2 * classes, 3072), dtype=np.uint8),
                    label_key: [i % classes for i in range(2 * classes)],
                    "coarse_labels": [0] * (2 * classes),
                }
            (folder / file).write_bytes(pickle.dumps(written[file]))
        key = {"cifar10": "label_names", "cifar100": "fine_label_names"}[name]
        (folder / self.meta["filename"]).write_bytes(pickle.dumps({key: []}))

    monkeypatch.setattr(official, "download", write)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    images = load_dataset(name, data_dir=tmp_path)
    assert len(images.train_y) == 2 * classes * batches and len(images.test_y) == 2 * classes
    assert images.train_y.tolist() == [i % classes for i in range(2 * classes)] * batches
    assert images.class_names == DATASETS[name].class_names and images.num_classes == classes
    files = [file for file, _ in official.train_list]
    assert (images.train_x.reshape(-1, 3072) == np.concatenate([written[file]["data"] for file in files])).all()


def test_cifar100_names_are_in_the_order_of_its_labels():
    """The files number the names alphabetically."""
    names = DATASETS["cifar100"].class_names
    assert len(set(names)) == 100 and list(names) == sorted(names)


def test_fashion_mnist_is_padded_not_scaled(tmp_path, monkeypatch):
    """On idx files as published: magic number, sizes (big-endian), bytes."""
    from ibray.compat import import_torchvision

    rng = np.random.default_rng(0)
    official = import_torchvision("datasets").FashionMNIST
    small = {"train": rng.integers(0, 256, (30, 28, 28), dtype=np.uint8)}
    small["t10k"] = small["train"][:20][::-1]

    def write(self):
        folder = Path(self.raw_folder)
        folder.mkdir(parents=True, exist_ok=True)
        for split, x in small.items():
            y = (np.arange(len(x)) % 10).astype(np.uint8)
            (folder / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, *x.shape) + x.tobytes())
            (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(y)) + y.tobytes())

    monkeypatch.setattr(official, "download", write)
    images = load_dataset("fashion_mnist", data_dir=tmp_path)
    assert images.image_shape == (3, 32, 32) and list(images.class_names) == official.classes
    assert images.train_y.tolist() == [i % 10 for i in range(30)] and len(images.test_y) == 20
    for channel in range(3):
        assert (images.train_x[:, channel, 2:-2, 2:-2] == small["train"]).all()
        assert (images.test_x[:, channel, 2:-2, 2:-2] == small["t10k"]).all()
    border = np.ones((32, 32), dtype=bool)
    border[2:-2, 2:-2] = False
    assert (images.train_x[:, :, border] == 0).all()


def test_gtsrb_is_resized_with_antialiasing(tmp_path, monkeypatch):
    """On files as published: a folder of .ppm images per training class, one for the test and a table of its labels."""
    import torch
    from PIL import Image

    from ibray.compat import import_torchvision

    rng = np.random.default_rng(0)
    official = import_torchvision("datasets").GTSRB
    shapes = [(15, 15), (32, 32), (64, 96), (250, 233)]  # height, width
    pictures = [rng.integers(0, 256, (*shapes[i % 4], 3), dtype=np.uint8) for i in range(43)]

    def write(self):
        root = Path(self._base_folder)
        test = root / "GTSRB" / "Final_Test" / "Images"
        test.mkdir(parents=True, exist_ok=True)
        rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
        for i, picture in enumerate(pictures):
            folder = root / "GTSRB" / "Training" / f"{i:05d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "00000_00000.ppm")
            (folder / f"GT-{i:05d}.csv").write_text("not an image")
            Image.fromarray(picture).save(test / f"{i:05d}.ppm")
            rows.append(f"{i:05d}.ppm;{picture.shape[1]};{picture.shape[0]};5;6;48;49;{42 - i}")
        (root / "GT-final_test.csv").write_text("\n".join(rows) + "\n")

    monkeypatch.setattr(official, "download", write)
    images = load_dataset("gtsrb", data_dir=tmp_path)
    assert images.image_shape == (3, 32, 32) and images.num_classes == len(set(images.class_names)) == 43
    assert images.train_y.tolist() == list(range(43)) and images.test_y.tolist() == list(range(42, -1, -1))
    assert (images.train_x == images.test_x).all()
    assert (images.train_x[1] == pictures[1].transpose(2, 0, 1)).all()  # 32x32 already: left as it is
    for i, picture in enumerate(pictures):
        large = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        expected = torch.nn.functional.interpolate(large, size=(32, 32), mode="bilinear", antialias=True)
        assert np.abs(images.train_x[i] - expected[0].numpy()).max() <= 1.5  # two roundings: across, then down


@pytest.mark.skipif(not REAL_CIFAR.is_dir(), reason="the directory in IBRAY_DATA has no cifar10")
def test_the_real_cifar10():
    images = load_dataset("cifar10", download=False, per_class=10)
    assert images.image_shape == (3, 32, 32) and np.bincount(images.test_y).tolist() == [1000] * 10
    whole = load_dataset("cifar10", download=False)
    assert np.bincount(whole.train_y).tolist() == [5000] * 10
    entry = DATASETS["cifar10"]
    assert (entry.train_images, entry.test_images, entry.balanced) == (len(whole.train_y), len(whole.test_y), True)
    # the means everybody normalises with: 0.4914, 0.4822, 0.4465
    means = [whole.train_x[:, c].mean() / 255 for c in range(3)]
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
