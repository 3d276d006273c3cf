"""What is handed to Tune next: places are filled at once, few wait, and trainings keep the places they fit into."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ibray.room import Room

NEEDS = {"train": {"CPU": 1, "GPU": 0.75}, "mi": {"CPU": 1, "GPU": 0.25}}
TWO_GPUS = {"CPU": 16, "GPU": 2}
MANY = 1000


def handed_out(room: Room, **ready: int) -> list[str]:
    """The kinds of what is handed out while nothing ends."""
    left, out = Counter(ready), []
    while (kind := room.next(out, left)) is not None:
        left[kind] -= 1
        out.append(kind)
    return out


def test_every_place_is_filled_and_two_wait():
    assert handed_out(Room(lambda: TWO_GPUS, NEEDS, 2), mi=MANY) == ["mi"] * (8 + 2)
    assert handed_out(Room(lambda: {"CPU": 3, "GPU": 2}, NEEDS, 2), mi=MANY) == ["mi"] * (3 + 2)
    # Two of three quarters each: what is left of both GPUs together is not room for a third training.
    assert handed_out(Room(lambda: TWO_GPUS, NEEDS, 1), train=MANY) == ["train"] * (2 + 1)


def test_what_is_left_beside_trainings_is_filled_while_another_training_waits():
    room = Room(lambda: TWO_GPUS, NEEDS, 1)
    assert room.next(["train", "train", "train"], {"train": 5, "mi": 1}) == "mi"
    assert room.next(["train", "train", "train", "mi"], {"train": 5, "mi": 2}) == "mi"
    # Both quarters are taken, and one trial waits for them.
    assert room.next(["train", "train", "train", "mi", "mi", "mi"], {"train": 5, "mi": 2}) is None


def test_the_place_of_a_training_is_given_up_to_small_trials_that_fill_it():
    room = Room(lambda: TWO_GPUS, NEEDS, 1)
    assert room.next(["train", "mi", "mi"], {"train": 5, "mi": 2}) == "train"
    assert room.next(["train", "mi", "mi"], {"train": 5, "mi": 3}) == "mi"
    # While these are there, one training waits for its place, and no small one more is let in before it.
    out = ["train", *["mi"] * 5, "train"]
    assert room.next(out, {"train": 5, "mi": 2}) is None
    out.remove("mi")
    assert room.next(out, {"train": 5, "mi": 2}) is None


def test_cores_alone_go_to_snapshots_first():
    needs = {"train": {"CPU": 1}, "mi": {"CPU": 1}}
    room = Room(lambda: {"CPU": 2}, needs, 1)
    assert room.next(["train"], {"train": 5, "mi": 1}) == "mi"
    assert room.next(["train"], {"train": 5, "mi": 0}) == "train"


def test_a_cluster_without_machines_yet_is_shown_what_waits():
    assert handed_out(Room(lambda: {}, NEEDS, 16), train=MANY) == ["train"] * 16


def test_machines_that_come_are_seen(monkeypatch):
    machines = {"CPU": 1, "GPU": 1}
    monkeypatch.setattr("ibray.room.LOOK_AGAIN_SECONDS", 0)
    room, ready = Room(lambda: machines, NEEDS, 1), {"train": 0, "mi": 1}
    assert room.next(["mi", "mi"], ready) is None
    machines["CPU"] = 2
    assert room.next(["mi", "mi"], ready) == "mi"


@given(
    st.lists(st.sampled_from(sorted(NEEDS)), max_size=20),
    st.integers(1, 5),
    st.fixed_dictionaries({kind: st.integers(0, 5) for kind in NEEDS}),
)
def test_something_ready_is_handed_out_where_nothing_runs_or_all_that_was_handed_out_fits(out, waiting, ready):
    needed = {kind: 1 + sum(NEEDS[each][kind] for each in out) for kind in ("CPU", "GPU")}
    handed = Room(lambda: needed, NEEDS, waiting).next(out, ready)
    assert (handed is not None) == any(ready.values())
    assert handed is None or ready[handed]
