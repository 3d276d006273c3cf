"""`ibray sweep --minutes M`: a sweep in slices, for machines that are lent for a while."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupted_after(minutes: float | None) -> Iterator[threading.Event]:
    """What Ctrl-C does to this process happens by itself after so many minutes; never, if there is no number.

    Yields an event that says whether it was the clock. A sweep's way out of Ctrl-C is the one that is tested, on Ray
    too, so the clock takes it. A process that a script started in the background is deaf to Ctrl-C; not to the clock.
    """
    over = threading.Event()
    if minutes is None:
        yield over
        return

    def interrupt() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGINT)

    is_deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if is_deaf:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(60 * minutes, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
        if is_deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
