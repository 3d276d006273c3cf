"""Names of configurations and numbers as people read them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pandas as pd


def attack_label(row: Mapping) -> str:
    """'badnets 10 %', 'lc 25 % of the target class' or 'none'."""
    if row["ratio_of"] == "none":
        return str(row["attack"])
    share = " of the target class" if row["ratio_of"] == "target_class" else ""
    return f"{row['attack']} {100 * row['poison_ratio']:g} %{share}"


def setting_label(row: Mapping) -> str:
    """'cifar10 · resnet18 · σ 0.4', and the target class when it is not the usual 0."""
    target = f" · target {row['target_class']}" if row["target_class"] else ""
    return f"{row['dataset']} · {row['architecture']} · σ {row['sigma']:g}{target}"


def shared_setting(configurations: pd.DataFrame) -> str | None:
    """The setting that all rows have in common, None where there are several or no rows at all."""
    settings = {setting_label(row) for _, row in configurations.iterrows()}
    return settings.pop() if len(settings) == 1 else None


def configuration_labels(configurations: pd.DataFrame) -> pd.Series:
    """One label per row: the attack, and its setting unless all rows share it.

    Rows whose axes agree but not their parameters get their hash as well.
    """
    shared = shared_setting(configurations)
    labels = configurations.apply(
        lambda row: attack_label(row) if shared else f"{attack_label(row)} · {setting_label(row)}", axis=1
    )
    twins = labels.duplicated(keep=False)
    return labels.where(~twins, labels + " · variant " + configurations["configuration"])


def trigger_labels(triggers: pd.DataFrame) -> pd.Series:
    """'blend', or 'blend · alpha 0.1' where the same attack comes with others; the dataset where there are several.

    Args:
        triggers: columns `dataset`, `attack` and `attack_params` (JSON objects), no two rows the same.
    """
    datasets = triggers["dataset"].nunique()
    parameters = triggers["attack_params"].map(json.loads)
    labels = {}
    for attack, alike in parameters.groupby(triggers["attack"]):
        names = list(dict.fromkeys(name for values in alike for name in values))
        telling = [name for name in names if len({_value(values, name) for values in alike}) > 1]
        for row, values in alike.items():
            parts = [attack, *(f"{name} {_value(values, name)}" for name in telling if name in values)]
            labels[row] = " · ".join(parts + [triggers.loc[row, "dataset"]] * (datasets > 1))
    return pd.Series(labels, dtype=object)


def _value(values: dict, name: str) -> str:
    value = values.get(name, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pretty_json(text: str) -> str:
    """JSON with one entry a line."""
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def count(n: int, one: str, many: str | None = None) -> str:
    """'1 run' or '2 runs'."""
    return f"{n} {one}" if n == 1 else f"{n} {many or one + 's'}"


def number(value: float | None, spread: float | None = None, *, digits: int = 3, percent: bool = False) -> str:
    """'0.282 ± 0.010', '91.2 ± 0.3 %', or '-' for a missing value.

    >>> number(0.5), number(0.5, 0.012), number(0.912, percent=True, digits=1), number(None)
    ('0.500', '0.500 ± 0.012', '91.2 %', '-')
    """
    if value is None or pd.isna(value):
        return "-"
    factor, unit = (100, " %") if percent else (1, "")
    text = f"{factor * value:.{digits}f}"
    if spread is not None and not pd.isna(spread):
        text += f" ± {factor * spread:.{digits}f}"
    return text + unit


def duration(seconds: float | None) -> str:
    """'48 s', '12.5 min' or '3.2 h'."""
    if seconds is None or pd.isna(seconds):
        return "-"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def slug(text: str) -> str:
    """A file name: letters, digits, dots and dashes.

    >>> slug("blend 10 % · cifar10 · σ 0.4")
    'blend-10-cifar10-0.4'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
