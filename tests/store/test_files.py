"""Files that are whole or absent, and tensors whose damage is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ibray.files import CorruptFileError, is_complete, load_tensors, remove_tensors, save_tensors, write_atomic


@pytest.fixture
def saved(tmp_path):
    """A tensor file and its manifest."""
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"w": torch.arange(100.0), "n": torch.tensor(3)}, {"epoch": 5})
    return path


def test_writing_makes_the_parents_and_replaces_the_file(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"new"):
        write_atomic(path, content)
    assert path.read_bytes() == b"new" and [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "rename": (Path, "rename")}[call], full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_written_file_can_be_read_by_others(tmp_path):
    write_atomic(tmp_path / "file", b"content")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_tensors_come_back_with_what_was_said_about_them(saved):
    tensors, manifest = load_tensors(saved)
    assert torch.equal(tensors["w"], torch.arange(100.0)) and tensors["n"].item() == 3 and manifest["epoch"] == 5


def test_a_truncated_tensor_file_is_refused_by_name(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors: its contents do not match the SHA-256"):
        load_tensors(saved)


@pytest.mark.parametrize("position", [0, 200, -1], ids=["first", "middle", "last"])
def test_one_flipped_bit_is_refused_by_name(saved, position):
    content = bytearray(saved.read_bytes())
    content[position] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors: its contents do not match the SHA-256"):
        load_tensors(saved)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"], ids=["tensors", "manifest"])
def test_a_missing_file_of_the_pair_is_refused_by_name(saved, suffix):
    saved.with_suffix(suffix).unlink()
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors: .*No such file"):
        load_tensors(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]"], ids=["empty", "cut", "no keys", "list"])
def test_a_damaged_manifest_is_refused_by_name(saved, content):
    saved.with_suffix(".json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors"):
        load_tensors(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]"], ids=["empty", "cut", "no keys", "list"])
def test_with_a_damaged_manifest_a_pair_is_not_complete(saved, content):
    saved.with_suffix(".json").write_bytes(content)
    assert not is_complete(saved)


def test_a_saved_pair_is_complete(saved):
    assert is_complete(saved)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"], ids=["tensors", "manifest"])
def test_half_a_pair_is_not_complete(saved, suffix):
    saved.with_suffix(suffix).unlink()
    assert not is_complete(saved)


def test_a_truncated_tensor_file_is_not_complete(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    assert not is_complete(saved)


def test_removing_takes_both_files_and_may_be_done_twice(saved):
    remove_tensors(saved)
    remove_tensors(saved)
    assert list(saved.parent.iterdir()) == []
