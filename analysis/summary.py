"""The report's opening paragraph, in words made of the numbers."""

from __future__ import annotations

import pandas as pd

from analysis.labels import count, number

STATUSES = ("done", "failed", "running", "queued")


def summary(
    counts: dict[str, int], results: pd.DataFrame, scores: pd.DataFrame, setting: str | None = None
) -> list[str]:
    """Sentences on how much is there, which attack is stealthiest, and the lowest accuracy.

    Args:
        counts: runs by status.
        results: the rows of `analysis.queries.RESULTS` with a column `label`.
        scores: the rows of the view `stealth`.
        setting: dataset, architecture and noise where all configurations share them, and their labels are without.
    """
    total = sum(counts.values())
    if not total:
        return ["The database holds no runs yet, so there is nothing to report."]
    parts = [f"{counts[s]} {s}" for s in STATUSES if counts.get(s)]
    where = f" ({setting})" if setting else ""
    sentences = [f"{count(total, 'run')} in {count(results['configuration'].nunique(), 'configuration')}{where}: "
                 f"{', '.join(parts)}."]  # fmt: skip
    scored = results[results["score"].notna()]
    for (estimator, protocol, _), rows in scored.groupby(["estimator", "protocol", "settings"]):
        sentences += _ranking(rows, f"{estimator} ({protocol} protocol)")
    unscored = scores[scores["score"].isna()]
    if len(unscored):
        reasons = "; ".join(f"{reason} ({n})" for reason, n in unscored["reason"].value_counts().items())
        sentences.append(f"{count(len(unscored), 'estimate series', 'estimate series')} without a score: {reasons}.")
    if scored.empty:
        sentences.append("No run has a stealth score yet.")
    accuracies = results[results["test_acc"].notna()]
    if accuracies.empty:
        sentences.append("No training has finished, so there is no accuracy to show.")
    else:
        lowest = accuracies.loc[accuracies["test_acc"].idxmin()]
        accuracy = number(lowest["test_acc"], lowest["test_acc_sd"], digits=1, percent=True)
        sentences.append(f"The lowest clean test accuracy is {accuracy} ({lowest['label']}).")
    return sentences


def _ranking(rows: pd.DataFrame, estimate: str) -> list[str]:
    """Best and worst attack under one estimate, with what the absence of an attack scores."""
    attacks = rows[rows["attack"] != "none"].sort_values("score")
    baseline = rows[rows["attack"] == "none"].sort_values("score")
    sentences = []
    if len(attacks) > 1:
        best, worst = attacks.iloc[0], attacks.iloc[-1]
        sentences.append(
            f"By {estimate} the stealthiest attack is {best['label']} with a score of {_score(best)}; "
            f"the least stealthy is {worst['label']} with {_score(worst)}."
        )
    elif len(attacks):
        sentences.append(f"By {estimate}, {attacks.iloc[0]['label']} scores {_score(attacks.iloc[0])}.")
    if len(baseline):
        lowest, highest = _score(baseline.iloc[0]), _score(baseline.iloc[-1])
        shown = lowest if len(baseline) == 1 else f"{lowest} to {highest}"
        sentences.append(
            f"With no attack the score is {shown}: so far apart are classes without any backdoor"
            " (the baseline compares one subset with the clean classes, an attack three)."
        )
    if (rows["scored_seeds"] == 1).any():
        sentences.append("Scores from a single seed carry no interval: do not rank on them.")
    return sentences


def _score(row: pd.Series) -> str:
    return f"{number(row['score'], row['score_sd'])} ({count(int(row['scored_seeds']), 'seed')})"
