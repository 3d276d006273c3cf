"""A synthetic results database: three attacks, two seeds, four snapshots, plausible numbers."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from PIL import Image

REPO = Path(__file__).parents[2]
SNAPSHOTS = (1, 5, 10, 20)
START = datetime(2026, 1, 5, 12)
CEILING = {"I(X;T)": 4.72, "I(T;Yhat)": 5.24}


def open_database(path: Path) -> duckdb.DuckDBPyConnection:
    """A read-write connection to a database with ibray's tables and views."""
    con = duckdb.connect(path)
    for script in ("schema.sql", "views.sql"):
        con.execute((REPO / "ibray" / script).read_text())
    if not con.execute("FROM meta").fetchall():
        con.execute("INSERT INTO meta VALUES ('schema_version', '3')")
    return con


def insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict]) -> None:
    frame = pd.DataFrame(rows)  # noqa: F841 (DuckDB finds it by name)
    con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM frame")


def run_row(run_id: str, *, attack: str = "badnets", target: int = 0, seed: int = 0, **changes) -> dict:
    ratio = 0.0 if attack == "none" else 0.1
    cell = {
        "attack": {"name": attack, "params": {}},
        "target_class": target,
        "poison_ratio": ratio,
        "seed": seed,
    }
    return {
        "run_id": run_id,
        "dataset": "cifar10",
        "attack": attack,
        "poison_ratio": ratio,
        "ratio_of": "none" if attack == "none" else "train_set",
        "target_class": target,
        "architecture": "resnet18",
        "sigma": 0.4,
        "seed": seed,
        "attack_params": "{}",
        "cell": json.dumps(cell),
        "status": "done",
        "started": START,
        "finished": START + timedelta(seconds=90),
        "seconds": 90.0,
        "host": "laptop",
        "device": "cpu",
        "ibray_version": "0.1.0",
    } | changes


def mi_row(run_id: str, epoch: int, subset: str, quantity: str, nats: float | None, **changes) -> dict:
    return {
        "run_id": run_id,
        "epoch": epoch,
        "subset": subset,
        "quantity": quantity,
        "layer": "T",
        "estimator": "infonce",
        "protocol": "paper",
        "settings": "a1b2c3d4e5f60718",
        "nats": nats,
        "ceiling": CEILING[quantity],
        "n": 500,
        "seconds": 1.5,
        "status": "done",
    } | changes


def subsets_of(attack: str, target: int, classes: tuple[int, ...]) -> list[str]:
    poisoned = [] if attack == "none" else [f"{target}_backdoor", f"{target}_clean", f"{target}_sample"]
    return [str(target), *poisoned, *(str(c) for c in classes)]


def random_mi(
    rng: np.random.Generator, run: dict, classes: tuple[int, ...], epochs=SNAPSHOTS, **changes
) -> list:
    return [
        mi_row(run["run_id"], epoch, subset, quantity, float(rng.uniform(0, 4)), **changes)
        for epoch in epochs
        for subset in subsets_of(run["attack"], run["target_class"], classes)
        for quantity in CEILING
    ]


def plausible_nats(rng: np.random.Generator, quantity: str, subset: str, epoch: int, attack: str) -> float:
    """I(X;T) rises and falls, I(T;Yhat) rises; blended images stand out more than patched ones."""
    strange = {"badnets": 0.25, "blend": -0.9}.get(attack, 0.0) if "backdoor" in subset else 0.0
    base = {"I(X;T)": 3.9 - 0.55 * abs(np.log(epoch / 5)), "I(T;Yhat)": 0.7 + 0.5 * np.log1p(epoch)}[quantity]
    return float(base + strange * (0.4 + 0.2 * np.log(epoch)) + rng.normal(0, 0.06))


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def example_rows(run_id: str, rng: np.random.Generator) -> list[dict]:
    rows = []
    for image in range(4):
        y, x = np.mgrid[0:32, 0:32]
        clean = np.stack([(x * 5 + 40 * image) % 200, (y * 6) % 220, np.full_like(x, 90)], -1)
        clean = np.clip(clean + rng.normal(0, 8, clean.shape), 0, 255)
        triggered = clean.copy()
        triggered[-4:-1, -4:-1] = 255
        kinds = {
            "clean": clean,
            "triggered": triggered,
            "difference": np.clip(10 * abs(triggered - clean), 0, 255),
        }
        rows += [
            {
                "run_id": run_id,
                "image": 7 * image,
                "label": f"class {image}",
                "kind": kind,
                "png": png(pixels),
            }
            for kind, pixels in kinds.items()
        ]
    return rows


def perceptual_rows(run_id: str, rng: np.random.Generator) -> list[dict]:
    """Every seed sees the same test images and other training images; there are no weights for LPIPS."""
    values = {("test", "psnr"): 25.0, ("test", "ssim"): 0.98}
    values |= {("train", "psnr"): 25 + rng.normal(), ("train", "ssim"): 0.98 + rng.normal(0, 0.005)}
    rows = [
        {"run_id": run_id, "images": images, "metric": metric, "value": value, "n": 500}
        | {"ci_low": 0.99 * value, "ci_high": 1.01 * value}
        for (images, metric), value in values.items()
    ]
    return rows + [{"run_id": run_id, "images": i, "metric": "lpips", "n": 0} for i in ("test", "train")]


def fill_plausibly(
    con: duckdb.DuckDBPyConnection, attacks=("none", "badnets", "blend"), seeds=(0, 1)
) -> None:
    rng = np.random.default_rng(0)
    for attack in attacks:
        for seed in seeds:
            run = run_row(f"{attack}-{seed}", attack=attack, seed=seed)
            insert(con, "runs", [run])
            insert(
                con,
                "epochs",
                [
                    {
                        "run_id": run["run_id"],
                        "epoch": e,
                        "train_loss": 2 / e,
                        "test_loss": 2.2 / e,
                        "lr": 0.01,
                        "train_acc": 0.9 - 0.6 / e,
                        "test_acc": 0.8 - 0.5 / e + rng.normal(0, 0.01),
                        "asr": None if attack == "none" else 0.99 - 0.8 / e**2,
                        "seconds": 4.0,
                        "images_per_s": 1e4,
                    }
                    for e in range(1, 21)
                ],
            )
            rows = []
            for epoch in SNAPSHOTS:
                for subset in subsets_of(attack, 0, (1, 2, 3)):
                    for quantity in CEILING:
                        nats = plausible_nats(rng, quantity, subset, epoch, attack)
                        rows.append(
                            mi_row(
                                run["run_id"],
                                epoch,
                                subset,
                                quantity,
                                nats,
                                ci_low=nats - 0.1,
                                ci_high=nats + 0.1,
                            )
                        )
            insert(con, "estimates", rows)
            if attack != "none":
                insert(con, "examples", example_rows(run["run_id"], rng))
                insert(con, "perceptual", perceptual_rows(run["run_id"], rng))
            insert(
                con,
                "stages",
                [
                    {
                        "run_id": run["run_id"],
                        "stage": stage,
                        "unit": unit,
                        "settings": "s",
                        "status": "done",
                        "attempts": 1,
                        "started": START,
                        "finished": START + timedelta(seconds=20),
                        "seconds": 20.0,
                        "host": "laptop",
                        "device": "cpu",
                        "peak_memory_mb": 900.0,
                        "error": None,
                    }
                    for stage, unit in [("train", 0), *(("mi", e) for e in SNAPSHOTS)]
                ],
            )
    insert(
        con,
        "sweeps",
        [
            {
                "sweep_id": "s1",
                "name": "synthetic",
                "started": START,
                "finished": START + timedelta(minutes=9),
                "seconds": 540.0,
                "cells": len(attacks) * len(seeds),
                "spec": json.dumps({"dataset": "cifar10", "attack": list(attacks), "seed": list(seeds)}),
                "ibray_version": "0.1.0",
                "git_sha": "0123456789abcdef",
                "git_dirty": False,
                "versions": json.dumps({"python": "3.11.7", "torch": "2.13.0"}),
                "host": "laptop",
                "machine": json.dumps({"cpu": "some cpu", "cores": 2, "memory_gb": 8, "gpus": []}),
            }
        ],
    )
