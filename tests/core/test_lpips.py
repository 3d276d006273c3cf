"""LPIPS's weights: found, checked, loaded, and never downloaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ibray import lpips
from ibray.errors import UserError
from ibray.lpips import SHAPES, find_lpips, load_lpips


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Random weights; None takes a key out."""
    rng = np.random.default_rng(1)
    made = {key: rng.random(shape, dtype=np.float32) for key, shape in SHAPES.items()} | changes
    return {key: value for key, value in made.items() if value is not None}


@pytest.fixture
def npz(tmp_path) -> Path:
    np.savez(tmp_path / "weights.npz", **arrays())
    return tmp_path / "weights.npz"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """torch.hub's directory of checkpoints, empty; to download anything is an error."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("a download"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def checkpoint(hub, monkeypatch) -> Path:
    """A checkpoint as torchvision's, with the convolutions of `arrays`."""
    made = arrays()
    state = {
        f"features.{at}.{key}": torch.from_numpy(made[f"conv{i}.{key}"])
        for i, at in enumerate((0, 3, 6, 8, 10))
        for key in ("weight", "bias")
    }
    hub.mkdir(parents=True)
    path = hub / lpips.CHECKPOINT
    torch.save(state, path)
    monkeypatch.setattr(lpips, "CHECKPOINT_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    return path


def test_a_file_is_found_loaded_and_named_by_its_contents(npz):
    source = find_lpips(npz)
    assert source.identity == "npz:" + hashlib.sha256(npz.read_bytes()).hexdigest()[:16]
    assert json.loads(json.dumps(dataclasses.asdict(source))) == {"identity": source.identity, "path": str(npz)}
    network = load_lpips(source)
    parameters = lpips._parameters(network)
    assert parameters.keys() == SHAPES.keys()
    assert all(np.array_equal(parameters[key].detach(), values) for key, values in arrays().items())
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    assert load_lpips(source) is network


def test_a_file_goes_before_the_cache(npz, checkpoint):
    assert find_lpips(npz).path == str(npz)


def test_without_weights_there_is_none_and_nothing_is_downloaded(hub):
    assert find_lpips() is None and not hub.exists()
    assert "--lpips-weights FILE.npz" in lpips.NO_LPIPS and lpips.CHECKPOINT in lpips.NO_LPIPS


def test_the_cache_of_torchvision_is_used_where_it_is_filled(checkpoint):
    source = find_lpips()
    assert (source.identity, source.path) == ("torchvision:alexnet", str(checkpoint))
    parameters = lpips._parameters(load_lpips(source))
    convolutions = {key: values for key, values in arrays().items() if key.startswith("conv")}
    assert all(np.array_equal(parameters[key].detach(), values) for key, values in convolutions.items())
    # The sum in version 0.1 of the authors' package lpips 0.1.4: torchmetrics ships the same channel weights.
    assert parameters["lin0.weight"].sum().item() == pytest.approx(2.349532, rel=1e-5)


def test_a_damaged_checkpoint_is_refused(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{lpips.CHECKPOINT}: is damaged.*Delete it"):
        load_lpips(find_lpips())


def test_a_checkpoint_that_went_away_is_said(checkpoint):
    source = find_lpips()
    checkpoint.unlink()
    with pytest.raises(UserError, match=r"is gone.*--lpips-weights"):
        load_lpips(source)


def test_a_file_that_changed_since_is_refused(npz):
    source = find_lpips(npz)
    np.savez(npz, **arrays(**{"conv0.bias": np.zeros(64, np.float32)}))
    with pytest.raises(UserError, match=r"weights.npz: changed since"):
        load_lpips(source)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("conv3.weight", None, r"key 'conv3.weight' is missing; expected the arrays conv0.weight"),
        ("conv1.bias", np.zeros(64, np.float32), r"key 'conv1.bias': expected finite floats of shape \(192,\)"),
        ("lin4.weight", np.zeros((1, 256, 1, 1), np.int64), "key 'lin4.weight': expected finite floats.*int64"),
        ("lin0.weight", np.full((1, 64, 1, 1), np.nan), "key 'lin0.weight': expected finite floats"),
        ("conv0.bias", np.array([None] * 64), "key 'conv0.bias' cannot be read.*allow_pickle"),
    ],
)
def test_wrong_contents_are_named(npz, key, value, message):
    np.savez(npz, **arrays(**{key: value}))
    with pytest.raises(UserError, match=f"weights.npz: {message}"):
        find_lpips(npz)


@pytest.mark.parametrize(("content", "message"), [(None, "there is no such file"), (b"hello", r"is not an \.npz file")])
def test_what_is_no_npz_is_named(tmp_path, content, message):
    path = tmp_path / "weights.npz"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"weights.npz: {message}.*conv0.weight"):
        find_lpips(path)
