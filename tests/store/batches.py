"""Rows to write, and a writer to kill: `python batches.py DATABASE FIRST` writes one batch after another for ever."""

from __future__ import annotations

import sys
from itertools import count


def epoch(run_id: str, number: int, loss: float = 0.0) -> dict:
    """A row of `epochs`."""
    zeros = dict.fromkeys(("train_acc", "test_loss", "test_acc", "lr", "seconds", "images_per_s"), 0.0)
    return {"run_id": run_id, "epoch": number, "train_loss": loss, **zeros}


def losses(run_id: str, number: int, loss: float, rows: int) -> list[dict]:
    """Rows of `class_losses` that share their key."""
    key = {"run_id": run_id, "epoch": number, "train_loss": loss, "n": 1}
    return [{**key, "subset": str(subset)} for subset in range(rows)]


def size(number: int) -> int:
    """How many rows batch `number` has."""
    return 100 + number % 50


def batch(number: int) -> dict:
    """Many rows that replace those of one of five keys, and a marker in another table."""
    key = f"k{number % 5}"
    return {"class_losses": losses(key, 0, float(number), size(number)), "epochs": [epoch(key, 0, float(number))]}


if __name__ == "__main__":
    from ibray.store import Store

    print("imported", flush=True)
    store = Store(sys.argv[1], interval=3600)
    for number in count(int(sys.argv[2])):
        store.put(batch(number))
        store.flush()
