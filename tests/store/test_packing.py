"""How many trials share a GPU when a sweep file says `auto`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibray.errors import UserError
from ibray.packing import CONTEXT_BYTES, HEADROOM, packed, peaks, share_of
from ibray.spec import parse_spec
from ibray.stages import resources_of
from ibray.store import StageKey, Store

GIB = 2**30


@pytest.fixture
def auto(tiny):
    return tiny(resources={"train": {"cpu": 2, "gpu": "auto"}, "mi": {"cpu": 1, "gpu": 0.5}})


@given(st.floats(1, 200_000), st.integers(8, 192))
def test_trials_that_share_a_gpu_fit_into_it(peak_mb, gib):
    together = round(1 / share_of(peak_mb, gib * GIB))
    assert 1 <= together <= 16
    assert together == 1 or together * (HEADROOM * peak_mb * 2**20 + CONTEXT_BYTES) <= gib * GIB


def test_a_resnet_of_three_gib_goes_five_times_into_a_24_gib_gpu():
    assert share_of(3 * 1024, 24 * GIB) == 1 / 5  # 1.2 x 3 + 0.6 = 4.2 GiB each


def test_until_something_is_measured_a_training_has_a_gpu_for_itself(auto, tmp_path):
    Store(tmp_path / "results.duckdb").close()
    assert peaks(tmp_path / "results.duckdb") == {}
    assert resources_of(auto, "train").gpu == 1 and resources_of(auto, "mi").gpu == 0.5
    assert packed(auto, {}, 24 * GIB) == auto


def test_measured_peaks_decide_where_auto_stands_and_nowhere_else(auto, tmp_path):
    store = Store(tmp_path / "results.duckdb")
    for unit, (stage, peak, gpu_seconds) in enumerate(
        [("train", 1024, 9.0), ("train", 3072, 9.0), ("train", 9999, 0.0), ("surrogate", 512, 9.0), ("mi", 100, 9.0)]
    ):
        key = StageKey("run", stage, unit, "settings")
        store.begin(key)
        store.finish(key, {}, peak_memory_mb=peak, gpu_seconds=gpu_seconds)
    store.close()
    found = peaks(tmp_path / "results.duckdb")
    assert found == {"train": 3072, "mi": 100}  # what ran on a CPU says nothing
    spec = packed(auto, found, 24 * GIB)
    assert resources_of(spec, "train").gpu == 1 / 5 and resources_of(spec, "surrogate").gpu == 1 / 5
    assert resources_of(spec, "mi").gpu == 0.5 and resources_of(spec, "train").cpu == 2


def test_auto_says_nothing_about_the_numbers(auto, tiny):
    assert [cell.run_id for cell in auto.cells()] == [cell.run_id for cell in tiny().cells()]


def test_other_words_are_refused(tiny):
    resolved = tiny().resolved()
    resolved["resources"]["train"]["gpu"] = "all"
    with pytest.raises(UserError, match=r"train\.gpu: 'all': must be a number that is not negative, or auto"):
        parse_spec(resolved, "tiny.yaml")
