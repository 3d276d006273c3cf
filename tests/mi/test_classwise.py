"""One snapshot: all subsets, both quantities, one failing without the others."""

from dataclasses import replace

import pytest
import torch

from ibray.errors import UserError
from ibray.mi import estimate_mi
from ibray.mi.classwise import QUANTITIES, estimate_snapshot
from ibray.seeds import derive_seed

QUICK = {"batch": 16, "negatives": 16, "hidden": 8, "max_epochs": 2}
SETTINGS = dict.fromkeys(QUANTITIES, QUICK)


def snapshot(n=60, m=3):
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 1, 4, 4), generator=rng, dtype=torch.uint8)
    t = x.flatten(1)[:, None, :6].float() / 255 + 0.1 * torch.randn(n, m, 6, generator=rng)
    return x, t, t[:, :, :3] * 2


def values(rows):
    return {(r.subset, r.quantity): replace(r.estimate, seconds=0.0) for r in rows if r.estimate}


def test_every_subset_and_quantity():
    subsets = {"0": torch.arange(30), "1": torch.arange(30, 60)}
    rows = estimate_snapshot(*snapshot(), subsets, seed=5, settings_by_quantity=SETTINGS)
    assert [(r.subset, r.quantity) for r in rows] == [(s, q) for s in subsets for q in QUANTITIES]
    assert all(r.layer == "T" and r.n == 30 and r.error is None and r.seconds > 0 for r in rows)
    assert rows[0].estimate.critic_epochs == 2

    x, t, yhat = snapshot()
    seed = derive_seed(5, "1", "I(X;T)")
    alone = estimate_mi(x[30:].flatten(1).float() / 255, t[30:], seed=seed, **QUICK)
    assert values(rows)["1", "I(X;T)"] == replace(alone, seconds=0.0)
    alone = estimate_mi(t[30:], yhat[30:], seed=derive_seed(5, "1", "I(T;Yhat)"), **QUICK, learning_rate=5e-4)
    assert values(rows)["1", "I(T;Yhat)"] == replace(alone, seconds=0.0)  # what QUICK leaves is the preset's


def test_float_and_uint8_images_agree():
    x, t, yhat = snapshot()
    subsets = {"0": torch.arange(40)}
    rows = estimate_snapshot(x, t, yhat, subsets, settings_by_quantity=SETTINGS)
    scaled = estimate_snapshot(
        x.flatten(1).float() / 255, t, yhat, subsets, settings_by_quantity=SETTINGS
    )
    assert values(rows) == values(scaled)


def test_another_subset_changes_no_other_value():
    few = {"0": torch.arange(30)}
    more = {"2": torch.arange(10, 40), **few}
    first, second = (
        values(estimate_snapshot(*snapshot(), s, settings_by_quantity=SETTINGS)) for s in (few, more)
    )
    assert all(second[key] == value for key, value in first.items())
    assert second["2", "I(X;T)"].curve != second["0", "I(X;T)"].curve


def test_a_failing_subset_is_reported_and_the_rest_goes_on():
    x, t, yhat = snapshot()
    yhat[3, 1, 0] = torch.nan
    subsets = {"0": torch.arange(20), "0_backdoor": torch.arange(1), "1": torch.arange(20, 40)}
    rows = estimate_snapshot(x, t, yhat, subsets, settings_by_quantity=SETTINGS)
    errors = {(r.subset, r.quantity): r.error for r in rows if r.estimate is None}
    assert set(errors) == {("0", "I(T;Yhat)"), ("0_backdoor", "I(X;T)"), ("0_backdoor", "I(T;Yhat)")}
    assert "NaN" in errors["0", "I(T;Yhat)"]
    assert "at least 2" in errors["0_backdoor", "I(X;T)"]


def test_wrong_names_fail_before_anything_runs():
    with pytest.raises(UserError, match="unknown quantity"):
        estimate_snapshot(*snapshot(), {}, settings_by_quantity={"I(X;Y)": {}})
    with pytest.raises(UserError, match="unknown setting"):
        estimate_snapshot(*snapshot(), {}, settings_by_quantity={"I(X;T)": {"epochs": 3}})


def test_seeds_by_name():
    assert derive_seed(0, "a", "b") != derive_seed(0, "ab") != derive_seed(1, "ab")
    assert 0 <= derive_seed(-1, "a") < 2**63
    assert derive_seed(0, "0", "I(X;T)") == 9130507724494502831
