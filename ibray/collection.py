"""Python's cycle collector, put to rest where it does nothing but cost time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """While hundreds of thousands of objects are made that all stay: it would go through them again and again.

    More than half of the time of planning a large grid. Also a decorator.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
