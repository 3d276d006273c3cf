"""Reading a finished sweep for comparison: every number, nothing that a clock or a machine decided."""

from __future__ import annotations

from pathlib import Path

import duckdb

CLOCK = {"epochs": "seconds, images_per_s", "estimates": "seconds"}
KEYS = {
    "epochs": "run_id, epoch",
    "class_losses": "run_id, epoch, subset",
    "estimates": "run_id, epoch, subset, quantity, layer, settings, protocol",
    "mi_curves": "run_id, epoch, subset, quantity, layer, settings, critic_epoch",
    "noise_ladder": "run_id, epoch, subset, layer, settings, tau",
    "tau_half": "run_id, epoch, subset, layer, settings",
    "examples": "run_id, image, kind",
    "perceptual": "run_id, images, metric",
    "embeddings": "run_id, epoch, image, method",
    "clusters": "run_id, epoch, metric",
}

# Of `runs` and `stages`, what a clock, a machine or the number of attempts decides.
CIRCUMSTANCES = (
    "attempts", "started", "finished", "seconds", "gpu_seconds", "peak_memory_mb", "host", "node", "device", "driver",
    "ibray_version", "git_sha", "git_dirty", "versions",
)  # fmt: skip


def numbers(database: Path) -> dict[str, list[tuple]]:
    """Table -> its rows in order, without durations."""
    with duckdb.connect(str(database), read_only=True) as con:
        return {
            table: con.execute(
                f"SELECT * {f'EXCLUDE ({CLOCK[table]})' if table in CLOCK else ''} FROM {table} ORDER BY ALL"
            ).fetchall()
            for table in KEYS
        }


def doubled(database: Path) -> dict[str, int]:
    """Table -> number of keys that stand in more than one row; empty when all is well."""
    with duckdb.connect(str(database), read_only=True) as con:
        counts = {
            table: con.execute(
                f"SELECT count(*) FROM (SELECT {key} FROM {table} GROUP BY ALL HAVING count(*) > 1)"
            ).fetchall()[0][0]
            for table, key in {**KEYS, "runs": "run_id", "stages": "run_id, stage, unit, settings"}.items()
        }
    return {table: count for table, count in counts.items() if count}


def query(database: Path, sql: str) -> list[tuple]:
    """Rows of one query."""
    with duckdb.connect(str(database), read_only=True) as con:
        return con.execute(sql).fetchall()


def states(database: Path) -> dict[str, list[tuple]]:
    """The rows of `runs` and of `stages` in order: which cells and which units of work, and what became of them."""
    with duckdb.connect(str(database), read_only=True) as con:
        return {
            table: con.execute(
                f"SELECT COLUMNS(lambda name: name NOT IN {CIRCUMSTANCES}) FROM {table} ORDER BY ALL"
            ).fetchall()
            for table in ("runs", "stages")
        }
