"""Rows as the charts take them: plausible numbers, some missing."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

EPOCHS = (1, 5, 10, 20, 40, 80, 120)
SUBSETS = ("0", "0_backdoor", "0_clean", "0_sample", "1", "2", "3")
XT, TY = "I(X;T)", "I(T;Yhat)"
CEILING = {XT: 4.72, TY: 5.24}
IMAGES = {"0_backdoor": 500, "0_clean": 450, "0": 950}
AXES = {
    "dataset": "cifar10", "attack": "badnets", "poison_ratio": 0.1, "ratio_of": "train_set", "target_class": 0,
    "architecture": "resnet18", "sigma": 0.4,
}  # fmt: skip
PHASES = pd.DataFrame({
    "phase": ["early learning", "transition", "compression", "convergence"],
    "first": [1, 10, 20, 80],
    "last": [5, 10, 40, 120],
})


def nats(rng: np.random.Generator, quantity: str, subset: str, epoch: int) -> float:
    strange = -0.8 if "backdoor" in subset else 0.0
    base = 3.9 - 0.45 * abs(np.log(epoch / 10)) if quantity == XT else 0.6 + 0.5 * np.log1p(epoch)
    return float(max(0, base + strange * (0.3 + 0.2 * np.log(epoch)) + rng.normal(0, 0.08)))


def mi(seeds=(0, 1, 2), protocol="paper", layers=("T",), epochs=EPOCHS, **axes) -> pd.DataFrame:
    """Rows of the view `trajectories`; the subset 'whole' among them, and one estimate that is missing."""
    rng = np.random.default_rng(1)
    rows = []
    for seed, layer, epoch, subset, quantity in itertools.product(
        seeds, layers, epochs, (*SUBSETS, "whole"), CEILING
    ):
        value = nats(rng, quantity, subset, epoch) * (0.5 + 0.5 * (layer == "T"))
        n = IMAGES.get(subset, 500)
        row = AXES | axes | {
            "seed": seed, "layer": layer, "epoch": epoch, "subset": subset, "quantity": quantity, "n": n,
            "estimator": "infonce", "protocol": protocol, "settings": "s", "nats": value,
            "ci_low": value - 0.15, "ci_high": value + 0.15, "ceiling": CEILING[quantity],
            "lower_bound": None, "upper_bound": None,
        }  # fmt: skip
        if protocol == "certified":
            value = min(1.15 * value, np.log(n))
            row |= {"estimator": "channel", "nats": value, "lower_bound": value, "ceiling": np.log(n)}
            row["upper_bound"] = min(np.log(n), value + 0.7)
        row["run_id"] = "-".join(str(row[k]) for k in ("attack", "poison_ratio", "sigma", "seed"))
        rows.append(row)
    rows[0]["nats"] = np.nan
    return pd.DataFrame(rows)


def both_protocols(seeds=(0, 1, 2)) -> pd.DataFrame:
    return pd.concat([mi(seeds), mi(seeds, "certified")], ignore_index=True)


def scores(seeds=(0, 1, 2)) -> pd.DataFrame:
    """Rows of the view `stealth`: four attacks over two ratios and three sigmas."""
    rng = np.random.default_rng(2)
    rows = []
    for attack, sigma, seed in itertools.product(("none", "badnets", "blend", "lc"), (0.1, 0.2, 0.4), seeds):
        of = {"none": "none", "lc": "target_class"}.get(attack, "train_set")
        for ratio in {"none": (0.0,)}.get(attack, (0.01, 0.05, 0.1)):
            base = {"none": 0.1, "badnets": 0.28, "blend": 0.44, "lc": 0.5}[attack]
            xt, ty = base + 0.3 * sigma + rng.normal(0, 0.02), base - ratio + rng.normal(0, 0.02)
            axes = {"attack": attack, "sigma": sigma, "seed": seed, "ratio_of": of, "poison_ratio": ratio}
            rows.append(AXES | axes | {"s_xt": xt, "s_ty": ty, "score": (xt + ty) / 2})
    rows[-1]["score"] = np.nan
    return pd.DataFrame(rows)


def ablated_mi(seeds=(0, 1, 2)) -> pd.DataFrame:
    cells = itertools.product(("badnets", "blend"), (0.01, 0.1), (0.1, 0.4))
    return pd.concat(
        [mi(seeds, epochs=(1, 20), attack=a, poison_ratio=r, sigma=s) for a, r, s in cells], ignore_index=True
    )


def paper_table() -> pd.DataFrame:
    """Four rows of the paper's Table I; one not run, one run that the paper lacks."""
    table = pd.DataFrame({
        "dataset": ["cifar10", "cifar10", "cifar10", "svhn", "svhn"],
        "attack": ["badnets", "blend", "lc", "badnets", "ftrojan"],
        "poison_ratio": [0.1, 0.1, 0.25, 0.1, 0.1],
        "ratio_of": ["train_set", "train_set", "target_class", "train_set", "train_set"],
        "paper_s_xt": [0.3903, 0.3920, 0.5930, 0.5946, np.nan],
        "paper_s_ty": [0.1736, 0.4956, 0.4632, 0.4690, np.nan],
        "s_xt": [0.2, 0.35, 0.45, np.nan, 0.61],
        "s_ty": [0.15, 0.3, 0.4, np.nan, 0.5],
    })
    for prefix in ("", "paper_"):
        table[f"{prefix}score"] = (table[f"{prefix}s_xt"] + table[f"{prefix}s_ty"]) / 2
    return table.assign(score_low=table["score"] - 0.03, score_high=table["score"] + 0.03)


def tradeoff() -> pd.DataFrame:
    return pd.DataFrame({
        "attack": ["badnets", "blend", "wanet", "lc", "adap_blend", "ftrojan"],
        "label": ["badnets 10 %", "blend 10 %", "wanet 10 %", "lc 25 %", "adap_blend 10 %", "ftrojan 10 %"],
        "score": [0.28, 0.44, 0.40, 0.53, 0.47, 0.55],
        "score_low": [0.25, 0.42, 0.35, 0.5, 0.44, np.nan],
        "score_high": [0.31, 0.46, 0.45, 0.56, 0.5, np.nan],
        "lpips": [0.05, 0.09, 0.02, 0.06, 0.08, np.nan],
        "psnr": [18.0, 21.0, 27.0, 25.0, 22.0, 33.0],
        "lpips_low": [0.04, 0.08, 0.01, 0.05, 0.07, np.nan],
        "lpips_high": [0.06, 0.1, 0.03, 0.07, 0.09, np.nan],
        "ssim": [0.93, 0.75, 0.95, 0.94, 0.8, 1.0],
        "asr": [1.0, 0.999, 0.98, 0.99, 0.95, 0.997],
        "test_acc": [0.81, 0.806, 0.79, 0.812, 0.808, 0.803],
    })  # fmt: skip


def embedding() -> pd.DataFrame:
    """Backdoor images part from the clean ones of their class as training goes on."""
    rng = np.random.default_rng(3)
    centres = {"0_clean": (0, 0), "0_backdoor": (4, 6), "1": (9, 0), "2": (3, -8)}
    parts = []
    for i, (epoch, phase) in enumerate({1: "early learning", 20: "compression", 120: "convergence"}.items()):
        for subset, (x, y) in centres.items():
            spread = 3.5 - 1.2 * i
            part = {"epoch": epoch, "phase": phase, "subset": subset, "target_class": 0}
            parts.append(pd.DataFrame(part | {"x": rng.normal(x, spread, 80), "y": rng.normal(y, spread, 80)}))
    points = pd.concat(parts, ignore_index=True)
    points.loc[0, "x"] = np.nan
    return points


def losses(seeds=(0, 1, 2)) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = [
        AXES | {
            "seed": seed, "epoch": epoch, "subset": subset, "n": 500,
            "train_loss": (0.3 if "backdoor" in subset else 2.0) * epoch**-0.6 * np.exp(rng.normal(0, 0.1)),
        }
        for seed in seeds for epoch in range(1, 41) for subset in ("0_backdoor", "0_clean", "1", "2", "3")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def stages() -> pd.DataFrame:
    start = pd.Timestamp("2026-01-05 12:00")
    rows = []
    for run in range(12):
        plan = (("train", 1, 900.0), ("mi", 5, 200.0), ("perceptual", 1, 8.0), ("embed", 3, 30.0))
        for stage, units, seconds in plan:
            for unit in range(units):
                status = "failed" if run == 11 else "running" if run == 10 else "done"
                status = "queued" if stage == "embed" and run > 6 else status
                done = status == "done"
                rows.append({
                    "run_id": str(run), "stage": stage, "unit": unit, "status": status,
                    "seconds": seconds * (1 + 0.1 * run) if done else None,
                    "started": start + pd.Timedelta(minutes=run) if done else pd.NaT,
                })  # fmt: skip
    return pd.DataFrame(rows)


def ladder(seeds=(0, 1, 2)) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = [
        AXES | {
            "seed": seed, "epoch": epoch, "subset": subset, "tau": tau, "ceiling": np.log(IMAGES.get(subset, 500)),
            "nats": np.log(IMAGES.get(subset, 500)) / (1 + tau / (1 + 0.2 * np.log(epoch))) + rng.normal(0, 0.05),
            "standard_error": 0.05, "n": 500,
        }
        for seed in seeds for epoch in EPOCHS for subset in SUBSETS for tau in (0, 0.25, 0.5, 1, 2, 4, 8)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def halves(seeds=(0, 1, 2)) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = ladder(seeds).drop_duplicates(["seed", "epoch", "subset"])
    rows = rows.assign(tau_half=1 + 0.2 * np.log(rows["epoch"]) + rng.normal(0, 0.05, len(rows)))
    rows.loc[rows.index[0], "tau_half"] = np.nan
    return rows.assign(low=rows["tau_half"] - 0.1, high=rows["tau_half"] + 0.1)


def rankings() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    options = ["range per run", "range per epoch", "epochs 5, 40, 100", "clean and all only", "certified"]
    taus = [(o, t) for o, m in zip(options, (0.95, 0.8, 0.7, 0.5, 0.1), strict=True) for t in rng.normal(m, 0.1, 5)]
    table = pd.DataFrame(taus, columns=["option", "tau"]).assign(detail="all other options")
    table["tau"] = table["tau"].clip(-1, 1).round(3)
    table.loc[0, "tau"] = np.nan
    return table.assign(low=table["tau"] - 0.1, high=(table["tau"] + 0.1).clip(upper=1))
