"""How many trials are handed to Tune: all places at once, and a few that wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibray.room import Room

NEEDS = {"train": {"CPU": 1, "GPU": 0.75}, "mi": {"CPU": 1, "GPU": 0.25}}


def handed_out(room: Room, stage: str) -> int:
    trials: list[str] = []
    while room.is_left(trials):
        trials.append(stage)
    return len(trials)


def test_every_place_is_filled_and_two_wait():
    assert handed_out(Room(lambda: {"CPU": 16, "GPU": 2}, NEEDS, 2), "mi") == 8 + 2
    assert handed_out(Room(lambda: {"CPU": 3, "GPU": 2}, NEEDS, 2), "mi") == 3 + 2
    # Two of three quarters each: what is left of both GPUs together is not room for a third training.
    assert handed_out(Room(lambda: {"CPU": 16, "GPU": 2}, NEEDS, 1), "train") == 2 + 1


def test_a_cluster_without_machines_yet_is_shown_what_waits():
    assert handed_out(Room(lambda: {}, NEEDS, 16), "train") == 16


def test_machines_that_come_are_seen(monkeypatch):
    machines = {"CPU": 1, "GPU": 1}
    monkeypatch.setattr("ibray.room.LOOK_AGAIN_SECONDS", 0)
    room = Room(lambda: machines, NEEDS, 1)
    assert not room.is_left(["mi", "mi"])
    machines["CPU"] = 2
    assert room.is_left(["mi", "mi"])


@given(st.lists(st.sampled_from(sorted(NEEDS)), max_size=20), st.integers(1, 5))
def test_one_that_fits_never_waits(stages, waiting):
    needed = {kind: sum(NEEDS[stage][kind] for stage in stages) for kind in ("CPU", "GPU")}
    assert Room(lambda: needed, NEEDS, waiting).is_left(stages)
