"""What all charts share: colours, sizes, bands and the axis of epochs. No colours of text or background: a page sets
those for light and dark."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from analysis.labels import attack_label, setting_label

# Okabe and Ito's palette, readable with every common colour blindness and on white as on near-black.
ROLE_COLOURS = {"all": "#009E73", "backdoor": "#D55E00", "clean": "#3B8FD4", "sample": "#CC79A7"}
CLEAN_CLASS_GREYS = ("#6f6f6f", "#9a9a9a", "#b9b9b9")
CLEAN_CLASS_DASHES = ([6, 2], [2, 2], [8, 2, 2, 2])
# Of attacks, layers and quantities: in the same palette, but not next to roles.
ATTACK_COLOURS = {
    "none": "#8a8a8a", "badnets": "#0072B2", "blend": "#E69F00", "wanet": "#009E73", "lc": "#CC79A7",
    "adap_blend": "#D55E00", "ftrojan": "#56B4E9",
}  # fmt: skip
OTHER_ATTACK_COLOURS = ("#7B61C9", "#A6761D", "#B5BD00")
LAYER_COLOURS = ("#8a8a8a", "#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
QUANTITY_COLOURS = {"I(X;T)": "#7B61C9", "I(T;Ŷ)": "#E69F00"}
QUANTITY_DASHES = {"I(X;T)": [1, 0], "I(T;Ŷ)": [6, 3]}
STATUS_COLOURS = {"done": "#009E73", "running": "#3B8FD4", "queued": "#9a9a9a", "failed": "#D55E00"}
BASELINE_COLOUR = "#8a8a8a"
BAR_COLOUR, DOT_COLOUR, INTERVAL_COLOUR = "#3B8FD4", "#E69F00", "#D55E00"
FONT = "Helvetica Neue, Arial, sans-serif"
PANEL_WIDTH, PANEL_HEIGHT = 400, 270


CONFIG = alt.Config(
    font=FONT,
    axis=alt.AxisConfig(labelFontSize=12, titleFontSize=13, titleFontWeight="normal", titlePadding=8),
    legend=alt.LegendConfig(columns=4, labelFontSize=12, labelLimit=240, symbolLimit=60),
    header=alt.HeaderConfig(labelFontSize=13, labelFontWeight="bold", labelLimit=600),
    title=alt.TitleConfig(anchor="start", fontSize=14, subtitleFontSize=12, subtitlePadding=6),
    view=alt.ViewConfig(strokeOpacity=0.25),
)


def sized(chart: alt.TopLevelMixin, **properties: object) -> alt.TopLevelMixin:
    """`chart.properties(...)`, done in place: Altair copies a chart at every call, and builds all its layers anew."""
    for name, value in properties.items():
        setattr(chart, name, value)
    return chart


def styled(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """The chart, in place, with readable sizes; no colours, so that a page can set those for light and dark."""
    return sized(chart, config=CONFIG)


def setting_title(rows: pd.DataFrame) -> str:
    """What one configuration's chart is headed with: attack, ratio, dataset, architecture, sigma."""
    first = rows.iloc[0]
    return f"{attack_label(first)} · {setting_label(first)}"


def attack_colours(attacks: pd.Series) -> dict[str, str]:
    """A colour for each attack: its own in every figure, one of a few for attacks of others."""
    names = [name for name in ATTACK_COLOURS if (attacks == name).any()]
    others = sorted(set(attacks) - set(names))
    colours = {name: ATTACK_COLOURS[name] for name in names}
    return colours | {name: OTHER_ATTACK_COLOURS[i % 3] for i, name in enumerate(others)}


def opacity_if(condition: alt.When, met: float, otherwise: float) -> alt.OpacityValue:
    """One opacity where the condition holds, another elsewhere; a channel already, which Altair takes long to guess."""
    return alt.OpacityValue(**condition.then(alt.value(met)).otherwise(alt.value(otherwise)))


def band(points: pd.DataFrame, x: alt.X, y: alt.Y, colour: alt.Color, picked: alt.When, shade: float = 0.18):
    """The area from `low` to `high`; no layer where no point has both, as Vega warns of empty ones."""
    has_both = points[["low", "high"]].notna().all(axis=1)
    known = points if has_both.all() else points[has_both]  # the same frame, so that Altair writes it out once
    faded = opacity_if(picked, shade, 0.02)
    area = alt.Chart(known).mark_area().encode(x=x, y=y, y2=alt.Y2("high:Q"), color=colour, opacity=faded)
    return [area] if len(known) else []


def grid(panels: Sequence[alt.TopLevelMixin], title: str, note: Sequence[str], columns: int, **shared: str):
    """Panels side by side in rows of at most `columns`, which a narrow page makes fewer; `note` is the subtitle.

    Args:
        shared: scales by channel, such as color="shared".
    """
    header = alt.Title(title, subtitle=list(note))
    columns = min(columns, len(panels))
    resolve = alt.Resolve(scale=alt.ScaleResolveMap(**shared)) if shared else alt.Undefined
    return styled(alt.concat(*panels, columns=columns, spacing=24, title=header, resolve=resolve))


def epoch_scale(epochs: pd.Series) -> alt.Scale:
    """Logarithmic, as snapshots crowd at the start; symlog where a snapshot precedes training."""
    return alt.Scale(type="symlog" if (epochs < 1).any() else "log", nice=False)


def epoch_axis(epochs: pd.Series) -> alt.Axis:
    values = tuple(sorted(int(epoch) for epoch in epochs.unique()))  # a tuple, which Altair does not copy at every step
    return alt.Axis(values=values, format="d", grid=False, labelOverlap="greedy")
