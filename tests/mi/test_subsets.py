"""The class-wise subsets: exact counts, seeded choices, no positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibray.errors import UserError
from ibray.mi.subsets import subsets


def poisoned(clean=(50, 40, 30, 60, 45), backdoor=20, target=0):
    """Classes of these sizes, `backdoor` more images in the target class, shuffled."""
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(clean)] + [torch.full((backdoor,), target)])
    marked = torch.arange(len(labels)) >= sum(clean)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return labels[order], marked[order]


@given(
    clean=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    backdoor=st.integers(0, 30),
    target=st.integers(0, 1),
    cap=st.none() | st.integers(2, 50),
    seed=st.integers(0, 9),
)
def test_counts(clean, backdoor, target, cap, seed):
    labels, marked = poisoned(clean, backdoor, target)
    chosen = subsets(labels, marked, target, max_samples=cap, seed=seed)
    sizes = {name: len(indices) for name, indices in chosen.items()}
    limit = cap or 10**6
    others = [c for c in range(len(clean)) if c != target][:3]
    expected = {str(target): min(clean[target] + backdoor, limit)}
    expected |= {str(c): min(clean[c], limit) for c in others}
    if backdoor:
        total = clean[target] + backdoor
        expected[f"{target}_backdoor"] = min(backdoor, limit)
        expected[f"{target}_clean"] = min(clean[target], limit)
        expected[f"{target}_sample"] = min(total, limit, *(clean[c] for c in others))
        mix = marked[chosen[f"{target}_sample"]]
        assert abs(int(mix.sum()) - len(mix) * backdoor / total) <= 0.5
    assert sizes == expected
    for name, indices in chosen.items():
        assert indices.dtype == torch.int64
        assert torch.equal(indices, indices.unique())  # sorted, none twice
        assert (labels[indices] == int(name.split("_")[0])).all()
        if name.endswith(("_backdoor", "_clean")):
            assert (marked[indices] == name.endswith("_backdoor")).all()


def test_seeds_choose():
    labels, marked = poisoned()
    first, again, other = (subsets(labels, marked, 0, max_samples=15, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first)
    assert any(not torch.equal(first[name], (labels == int(name)).nonzero()[:15, 0]) for name in "0123")


def test_another_class_leaves_the_other_subsets_alone():
    labels, marked = poisoned()
    few, more = (
        subsets(labels, marked, 0, clean_classes=c, max_samples=15, seed=1) for c in ([2, 1], [1, 2, 3])
    )
    assert set(more) - set(few) == {"3"}
    assert all(torch.equal(few[name], more[name]) for name in few)


def test_a_clean_label_attack_marks_images_of_the_target_class():
    labels, _ = poisoned(backdoor=0)
    marked = torch.zeros(len(labels), dtype=torch.bool)
    marked[(labels == 0).nonzero()[:10, 0]] = True
    chosen = subsets(labels, marked, 0)
    assert {name: len(indices) for name, indices in chosen.items()} == {
        "0": 50, "0_backdoor": 10, "0_clean": 40, "0_sample": 30, "1": 40, "2": 30, "3": 60,
    }  # fmt: skip


@given(
    labels=st.lists(st.integers(0, 4), min_size=30, max_size=120), backdoors=st.integers(1, 10),
    covers=st.integers(0, 15), seed=st.integers(0, 9),
)  # fmt: skip
def test_cover_images_are_in_the_whole_class_alone(labels, backdoors, covers, seed):
    labels = torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    marked, cover = (torch.zeros(len(labels), dtype=torch.bool) for _ in range(2))
    marked[order[:backdoors]], cover[order[backdoors : backdoors + covers]] = True, True
    labels[marked] = 0
    benign = ~marked & ~cover
    chosen = subsets(labels, marked, 0, is_cover=cover, seed=seed)
    assert len(chosen["0"]) == int((labels == 0).sum())
    for name, indices in chosen.items():
        if name not in ("0", "0_backdoor", "0_sample"):
            assert benign[indices].all() and len(indices) == int((benign & (labels == int(name[0]))).sum())
    if "0_sample" in chosen:
        mix, clean = marked[chosen["0_sample"]], len(chosen["0_clean"])
        assert not cover[chosen["0_sample"]].any()
        assert abs(int(mix.sum()) - len(mix) * backdoors / (backdoors + clean)) <= 0.5


def test_all_to_all_leaves_the_clean_classes_clean():
    labels, marked = poisoned(backdoor=0)
    marked[(labels == 1).nonzero()[:5, 0]] = True  # images of class 1 that were of class 0
    assert len(subsets(labels, marked, 0)["1"]) == 35


def test_without_an_attack():
    labels, marked = poisoned(backdoor=0)
    assert list(subsets(labels, marked, 1)) == ["1", "0", "2", "3"]


def test_a_target_class_of_backdoor_images_only():
    labels, marked = poisoned()
    keep = (labels != 0) | marked
    assert set(subsets(labels[keep], marked[keep], 0)) == {"0", "0_backdoor", "1", "2", "3"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": 9}, "labelled 9"),
        ({"target": 0, "clean_classes": [7]}, "labelled 7"),
        ({"target": 0, "clean_classes": [0]}, "target"),
        ({"target": 0, "max_samples": 1}, "max_samples"),
    ],
)
def test_errors(options, says):
    labels, marked = poisoned()
    with pytest.raises(UserError, match=says):
        subsets(labels, marked, **options)


def test_lengths_must_agree():
    with pytest.raises(UserError, match="one length"):
        subsets(torch.zeros(3), torch.zeros(2), 0)
