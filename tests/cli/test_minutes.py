"""`ibray sweep --minutes`: a sweep in slices."""

from __future__ import annotations

import signal
import time

import pytest

from ibray.cli import EXIT_TIME_OVER
from ibray.snapshots import Snapshots
from ibray.time_limit import interrupted_after

pytestmark = pytest.mark.ray


class Clock:
    """A threading.Timer that goes off when the test says so: real time might be over in the middle of an import."""

    def __init__(self, seconds, interrupt):
        Clock.seconds, Clock.interrupt = seconds, staticmethod(interrupt)

    def start(self):
        pass

    cancel = start


def test_a_sweep_stops_when_its_minutes_are_over_and_the_same_command_goes_on(ibray, sweep_file, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # or --inline replaces this process
    monkeypatch.setattr("ibray.time_limit.threading.Timer", Clock)
    save = Snapshots.save
    words = ["sweep", sweep_file, "--out", tmp_path / "out", "--inline", "--stage", "train", "--no-report"]
    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "save", lambda *arguments: (save(*arguments), Clock.interrupt()))
        stopped = ibray(*words, "--minutes", 9)
    assert (stopped.code, Clock.seconds) == (EXIT_TIME_OVER, 540)
    assert "Time is over; nothing is lost. The same command goes on from here." in stopped.err
    finished = ibray(*words, "--minutes", 9)
    assert finished.code == 0 and "2 of 2 tasks done" in finished.err


def test_what_ends_in_time_is_left_alone():
    with interrupted_after(0.001) as over:
        pass
    with interrupted_after(None):
        time.sleep(0.1)
    assert not over.is_set()


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_the_clock_interrupts_like_ctrl_c_even_who_is_deaf_to_it(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.001) as over:
            time.sleep(5)
        assert over.is_set() and signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_minutes_are_refused(ibray, sweep_file):
    assert ibray("sweep", sweep_file, "--minutes", 0).code == 2
