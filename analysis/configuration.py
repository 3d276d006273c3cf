"""The part of the report about one configuration: its trigger, learning, information, maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import pandas as pd

from analysis import charts, queries
from analysis.figures import Figure
from analysis.labels import slug
from analysis.phases import phases_of
from analysis.trajectories import TY, XT
from analysis.triggers import Trigger

Rows = Callable[[str], pd.DataFrame]
"""SQL -> its rows."""

PHASE_RESAMPLES = 200


@dataclass(frozen=True)
class Configuration:
    """Everything about one configuration."""

    anchor: str
    title: str
    status: str
    trigger: Trigger | None
    sentences: list[str]
    figures: list[Figure]


def configuration_part(
    configuration: pd.Series, estimates: pd.DataFrame, trigger: Trigger | None, rows: Rows
) -> Configuration:
    """The section of one row of the view `configurations`.

    estimates: configuration, estimator, protocol, settings of all there are. rows: runs SQL.
    """
    key, label = configuration["configuration"], configuration["label"]
    base = f"{slug(label)[:80]}-{key}"  # a file name has room for 255 bytes
    figures: list[Figure] = []
    sentences: list[str] = []

    def draw(kind: str, caption: str, chart: alt.TopLevelMixin | None, data: pd.DataFrame, sql: str) -> None:
        if chart is not None:
            figures.append(Figure(f"{kind}-{base}", caption, chart, data, sql))

    sql = queries.epochs_of(key)
    epochs = rows(sql)
    if len(epochs):
        draw("learning", "Accuracy and attack success over training", charts.learning_curves(epochs), epochs, sql)
    sql = queries.class_losses_of(key)
    losses = rows(sql)
    draw("losses", "Training loss of each class and of the backdoor images", charts.class_losses(losses), losses, sql)
    for place, (_, estimate) in enumerate(estimates[estimates["configuration"] == key].iterrows()):
        names = [estimate["estimator"], estimate["protocol"], estimate["settings"]]
        sql = queries.trajectories_of(key, *names)
        points = rows(sql)
        last = points[points["layer"] == "T"]
        told, tail = f"{names[0]}, {names[1]} protocol", f"{slug('-'.join(names[:2]))[:60]}-{slug(names[2])}"
        phases = _phases(last)
        chart = charts.trajectories(last, _of_target(phases))
        name = f"trajectories-{base}-{tail}"
        figures.append(Figure(name, f"Mutual information over training: {told}", chart, last, sql))
        sentences += _phase_sentences(phases, told)
        plane = charts.information_plane(points)
        if plane is not None:
            name = f"plane-{base}-{tail}"
            figures.append(Figure(name, f"Information plane: {told}", plane, points, sql))
        if place == 0:
            draw("classes", f"Each subset by itself: {told}", charts.class_panels(last), last, sql)
    for table, caption, sql, chart in (
        ("tau_half", "How much noise hides an image in T: tau_half over training", queries.tau_half_of(key),
         charts.tau_half),
        ("noise_ladder", "I(X; T + τZ) as noise is added", queries.noise_ladder_of(key), charts.noise_ladder),
        ("embeddings", "t-SNE of T, one seed", queries.embeddings_of(key), charts.tsne_panels),
    ):  # fmt: skip
        found = rows(sql)
        draw(slug(table), caption, chart(found) if len(found) else None, found, sql)
    counts = f"{configuration['done']} of {configuration['runs']} runs done"
    failed = f", {configuration['failed']} failed" if configuration["failed"] else ""
    return Configuration(base, label, counts + failed, trigger, sentences, figures)


def _phases(rows: pd.DataFrame) -> pd.DataFrame:
    """Phases of every subset of one configuration under one estimate; empty where both quantities are not there."""
    if not {XT, TY} & set(rows["quantity"]):
        return pd.DataFrame()
    return phases_of(rows, by="configuration", resamples=PHASE_RESAMPLES)


def _of_target(phases: pd.DataFrame) -> pd.DataFrame | None:
    """What is shaded: the phases of the whole target class."""
    if phases.empty:
        return None
    shaded = phases[(phases["role"] == "all") & phases["found"].astype(bool)]
    return shaded if len(shaded) else None


def _phase_sentences(phases: pd.DataFrame, told: str) -> list[str]:
    """Which subsets compress, and which do not."""
    if phases.empty:
        return []
    ends = phases[phases["phase"] == "compression"]
    falling = ends[ends["found"].astype(bool)]
    steady = ends[~ends["found"].astype(bool) & ends["confidence"].notna()]
    parts = []
    if len(falling):
        named = ", ".join(
            f"{row['subset']} ({row['change']:+.2f} nats, confidence {row['confidence']:.2f})"
            for _, row in falling.iterrows()
        )
        parts.append(f"compression of I(X;T) in {named}")
    if len(steady):
        parts.append(f"{'none' if parts else 'no compression of I(X;T)'} in {', '.join(steady['subset'])}")
    return [f"By {told}: {'; '.join(parts)}."] if parts else []
