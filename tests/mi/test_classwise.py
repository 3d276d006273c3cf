"""One protocol on one subset: every quantity, one failing without the others."""

import math
from dataclasses import replace

import pytest
import torch

from ibray.errors import UserError
from ibray.mi import estimate_mi
from ibray.mi.classwise import estimate_subset, estimate_together
from ibray.mi.protocols import choose_protocol
from ibray.mi.quantities import QUANTITIES
from ibray.mi.subset_samples import Draws, LastLayer, SubsetSamples
from ibray.seeds import derive_seed

QUICK = {"batch": 16, "negatives": 16, "hidden": 8, "max_epochs": 2}
PAPER = choose_protocol("paper", settings=QUICK)
CERTIFIED = choose_protocol("certified")
MAIN = [("I(X;T)", "T"), ("I(T;Yhat)", "T")]
SIGMA = 0.5


def samples(n=60, m=4, output="logits", **changes):
    """A linear network: T = pixels + noise, three outputs; a third of the images carry the backdoor."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 1, 4, 4), generator=rng, dtype=torch.uint8)
    is_backdoor = torch.arange(n) % 3 == 0
    t = 4 * images.flatten(1)[:, None, :6].float() / 255 + 0.1 * torch.randn(n, m, 6, generator=rng)
    weight, bias = torch.randn(3, 6, generator=rng), torch.randn(3, generator=rng)
    logits = (t + SIGMA * torch.randn(t.shape, generator=rng)) @ weight.T + bias
    about = {
        "images": images,
        "labels": torch.where(is_backdoor, 0, torch.arange(n) // 20 % 3),
        "is_backdoor": is_backdoor,
        "draws": Draws({"T": t, "block1": t[:, :, :2]}, logits),
        "output": output,
        "last_layer": LastLayer(weight, bias, SIGMA),
    }
    return SubsetSamples(**{**about, **changes})


def estimates(rows):
    return {(r.quantity, r.layer, r.protocol): replace(r.estimate, seconds=0.0) for r in rows if r.estimate}


def test_paper_is_the_estimator_on_the_two_variables():
    given = samples()
    rows = estimate_subset(PAPER, given, "1", MAIN, seed=5)
    assert [(r.subset, r.quantity, r.layer, r.protocol, r.estimator) for r in rows] == [
        ("1", quantity, "T", "paper", "infonce") for quantity, _ in MAIN
    ]
    assert all(r.n == 60 and r.draws == 4 and r.error is None and r.seconds > 0 for r in rows)
    t = given.draws.layers["T"]
    alone = estimate_mi(given.images.flatten(1).float() / 255, t, seed=derive_seed(5, "1", "I(X;T)", "T"), **QUICK)
    assert estimates(rows)["I(X;T)", "T", "paper"] == replace(alone, seconds=0.0)
    seed = derive_seed(5, "1", "I(T;Yhat)", "T")
    alone = estimate_mi(t, given.draws.logits, seed=seed, **QUICK, learning_rate=5e-4)  # the preset's
    assert estimates(rows)["I(T;Yhat)", "T", "paper"] == replace(alone, seconds=0.0)


def test_another_request_changes_no_value():
    requests = list(PAPER.requests(list(QUANTITIES), ["T", "block1"]))
    alone = estimates(estimate_subset(PAPER, samples(), "0", MAIN, seed=1))
    among = estimates(estimate_subset(PAPER, samples(), "0", requests, seed=1))
    assert all(among[key] == value for key, value in alone.items())
    assert among["I(X;T)", "T", "paper"].curve != among["I(X;T)", "block1", "paper"].curve


def test_subsets_together_are_the_subsets_one_by_one():
    """What a GPU does for all subsets of a snapshot at once."""
    given = {"0": samples(), "1": samples(n=40), "0_backdoor": samples(n=1)}
    asked = {"0": MAIN, "1": MAIN[:1], "0_backdoor": MAIN}
    together = estimate_together(PAPER, given, asked, seed=5)
    found = {(r.subset, r.quantity): r for r in together}
    assert len(found) == 5
    for subset, requests in asked.items():
        for alone in estimate_subset(PAPER, given[subset], subset, requests, seed=5):
            row = found[subset, alone.quantity]
            assert (row.n, row.draws, row.error, row.protocol) == (alone.n, alone.draws, alone.error, "paper")
            if alone.estimate:
                assert row.estimate.nats == pytest.approx(alone.estimate.nats, abs=1e-4)


def test_what_each_protocol_has_to_say():
    everything = ["T", "block1"]
    assert list(PAPER.requests(list(QUANTITIES), everything)) == [
        ("I(X;T)", "T"), ("I(X;T)", "block1"), ("I(T;Yhat)", "T"), ("I(T;Yhat)", "block1"),
        ("I(X;Yhat)", "output"), ("I(X;B)", "input"), ("I(B;Y)", "input"), ("I(B;Yhat)", "output"),
    ]  # fmt: skip
    assert ("I(T;Yhat)", "block1") not in list(CERTIFIED.requests(list(QUANTITIES), everything))


def test_quantities_about_the_backdoor_need_images_with_and_without_it():
    def named(subset, **changes):
        requests = list(CERTIFIED.requests(list(QUANTITIES), ["T"]))
        return {r.quantity for r in estimate_subset(CERTIFIED, samples(**changes), subset, requests, seed=0)}

    assert named("whole") == set(QUANTITIES)
    assert named("0") == set(QUANTITIES) - {"I(B;Y)"}
    clean = torch.zeros(60, dtype=torch.bool)
    assert named("1", is_backdoor=clean) == {"I(X;T)", "I(T;Yhat)", "I(X;Yhat)"}


@pytest.mark.parametrize("output", ["logits", "softmax"])
def test_certified_bounds_hold_each_other(output):
    """Data processing: Yhat knows no more of X, and of B, than T does; B is known from X."""
    given = samples(n=400, m=8, output=output)
    requests = list(CERTIFIED.requests(list(QUANTITIES), ["T"]))
    rows = estimate_subset(CERTIFIED, given, "whole", requests, seed=0)
    found = estimates(rows)
    h_b = -sum(p * math.log(p) for p in (134 / 400, 266 / 400))
    xb, by = found["I(X;B)", "input", "certified"], found["I(B;Y)", "input", "certified"]
    assert xb.nats == xb.lower_bound == xb.upper_bound == pytest.approx(h_b)
    assert 0 < by.nats < h_b
    byhat = found["I(B;Yhat)", "output", "certified"]
    assert byhat.upper_bound == pytest.approx(h_b)
    assert byhat.raw < 0.05  # the pixels of this trigger-less backdoor tell nothing
    xyhat, ty = found["I(X;Yhat)", "output", "certified"], found["I(T;Yhat)", "T", "certified"]
    assert 0.5 < xyhat.nats <= found["I(X;T)", "T", "certified"].nats
    assert xyhat.upper_bound == ty.upper_bound >= xyhat.nats
    assert ty.protocol == "certified" and ty.lower_bound <= ty.upper_bound
    (ladder,) = [r.ladder for r in rows if r.ladder]
    assert len(ladder.estimates) == len(ladder.taus)


def test_what_the_output_says_of_a_backdoor_it_answers_to():
    """The backdoor shifts T far: Yhat tells it nearly for sure."""
    given = samples(n=300)
    shift = 40.0 * given.is_backdoor.float()[:, None, None]
    t = given.draws.layers["T"] + shift
    logits = given.draws.logits + shift * given.last_layer.weight.sum(1)
    shifted = replace(given, draws=Draws({"T": t}, logits))
    (row,) = estimate_subset(CERTIFIED, shifted, "0", [("I(B;Yhat)", "output")], seed=0)
    assert row.estimate.nats == pytest.approx(row.estimate.upper_bound, abs=1e-3)


def test_more_draws_are_asked_for_until_the_bound_stays():
    given, calls = samples(n=100), []
    rng = torch.Generator().manual_seed(1)
    means = given.draws.layers["T"].mean(1, keepdim=True)

    def draw():
        return Draws({"T": means + 1.5 * torch.randn(100, 4, 6, generator=rng)}, given.draws.logits)

    def redraw(number):
        calls.append(number)
        return draw()

    given = replace(given, draws=draw())

    some = choose_protocol("certified", settings={"max_draws": 16, "tolerance": 1e-9})
    rows = estimate_subset(some, replace(given, redraw=redraw), "0", [("I(X;T)", "T")], seed=0)
    assert calls == [1, 2, 3] and {r.draws for r in rows} == {16}
    assert {r.protocol for r in rows} == {"certified", "closed"}


def test_a_failing_estimate_is_reported_and_the_rest_goes_on():
    given = samples()
    given.draws.logits[3, 1, 0] = torch.nan
    rows = estimate_subset(PAPER, given, "0", MAIN, seed=0)
    assert [bool(r.estimate) for r in rows] == [True, False] and "NaN" in rows[1].error
    few = samples(n=1)
    assert all("at least 2" in r.error for r in estimate_subset(PAPER, few, "0", MAIN, seed=0))
    blind = samples(last_layer=None)
    (row,) = estimate_subset(CERTIFIED, blind, "0", MAIN[1:], seed=0)
    assert "noise of the output is not known" in row.error and (row.estimator, row.protocol) == ("channel", "certified")


def test_protocols_by_wrong_names():
    with pytest.raises(UserError, match="unknown protocol 'papers': did you mean 'paper'"):
        choose_protocol("papers")
    with pytest.raises(UserError, match="no protocol 'population': There are: direct"):
        choose_protocol("population", "hsic")
    with pytest.raises(UserError, match="unknown setting 'epochs'"):
        choose_protocol("paper", settings={"epochs": 3})


def test_seeds_by_name():
    assert derive_seed(0, "a", "b") != derive_seed(0, "ab") != derive_seed(1, "ab")
    assert 0 <= derive_seed(-1, "a") < 2**63
    assert derive_seed(0, "0", "I(X;T)") == 9130507724494502831
