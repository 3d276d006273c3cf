"""The report's gallery: what each trigger does to a few images, and how visible that is."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pandas as pd

from analysis.labels import count, number, pretty_json, trigger_labels

TRIGGER = ["dataset", "attack", "attack_params"]  # the columns whose values tell one trigger from another
EXAMPLE_IMAGES = 5  # per trigger
KINDS = {"clean": "clean", "triggered": "triggered", "difference": "difference × 10"}
DECIMALS = {"psnr": 2, "ssim": 4, "lpips": 4}


@dataclass(frozen=True)
class Trigger:
    """One row of the gallery.

    strips: an entry per kind of image, its title and its images as (data URI, alternative text).
    measured: a row per kind of images of cells (what it says, the small print below), ready to read: which images,
        then PSNR, SSIM and LPIPS.
    """

    anchor: str
    label: str
    parameters: str
    strips: list[dict]
    measured: list[list[tuple[str, str]]]


def distinct_triggers(configurations: pd.DataFrame) -> pd.DataFrame:
    """One row per trigger, whatever networks it was put into: the columns TRIGGER and `label`.

    Args:
        configurations: the rows of `analysis.queries.CONFIGURATIONS`.
    """
    triggers = configurations.loc[configurations["attack"] != "none", TRIGGER].drop_duplicates().sort_values(TRIGGER)
    return triggers.assign(label=trigger_labels(triggers))


def gallery(triggers: pd.DataFrame, measured: pd.DataFrame, examples: pd.DataFrame) -> dict[tuple, Trigger]:
    """The triggers as the page shows them, by the values of TRIGGER.

    Args:
        triggers: the rows of `distinct_triggers`.
        measured: the rows of `analysis.queries.TRIGGERS`.
        examples: the rows of `analysis.queries.trigger_examples`.
    """
    return {
        tuple(trigger[TRIGGER]): Trigger(
            anchor=f"trigger-{position}",
            label=trigger["label"],
            parameters=pretty_json(trigger["attack_params"]),
            strips=_strips(_of(trigger, examples)),
            measured=[_measured(images, rows) for images, rows in _of(trigger, measured).groupby("images")],
        )
        for position, (_, trigger) in enumerate(triggers.iterrows(), start=1)
    }


def _of(trigger: pd.Series, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows[TRIGGER] == trigger[TRIGGER]).all(axis=1)]


def _strips(examples: pd.DataFrame) -> list[dict]:
    strips = []
    for kind, title in KINDS.items():
        images = [
            ("data:image/png;base64," + base64.b64encode(row["png"]).decode(), f"{row['label']}, {title}")
            for _, row in examples[examples["kind"] == kind].iterrows()
        ]
        if images:
            strips.append({"title": title, "images": images})
    return strips


def _measured(images: str, rows: pd.DataFrame) -> list[tuple[str, str]]:
    metrics = rows.set_index("metric").reindex(DECIMALS)
    extent = f"{count(int(rows['n'].max()), 'image')}, {count(int(rows['runs'].max()), 'run')}"
    return [(images, extent), *(_cell(metrics.loc[metric], digits) for metric, digits in DECIMALS.items())]


def _cell(metric: pd.Series, digits: int) -> tuple[str, str]:
    """The mean, and its spread over runs; over images where the runs agree in all digits shown or there is one."""
    smallest = 10**-digits
    value = f"<{smallest:.{digits}f}" if 0 < metric["value"] < smallest / 2 else number(metric["value"], digits=digits)
    if metric["sd"] >= smallest / 2:
        return value, f"± {number(metric['sd'], digits=digits)}"
    if pd.notna(metric["ci_low"]):
        return value, f"{number(metric['ci_low'], digits=digits)} to {number(metric['ci_high'], digits=digits)}"
    return value, ""
