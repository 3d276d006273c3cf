"""The paper's findings as predicates over the database: which hold, under which estimator, and by how much.

Twenty findings of arXiv 2511.21923, worded here. Each is a list of conditions; a condition is a number that is above 0
where it holds, with an interval. Runs by itself:

    python -m analysis.claims results/quickstart
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from analysis.evidence import PERCEPTUAL, Condition, Evidence, Group, MissingDataError, Run, Want
from analysis.intervals import Measure, largest, mean, smallest
from analysis.settings import HIGH, LOW, describe
from analysis.tradeoff import FEWEST, resampled_spearman
from analysis.trajectories import TY, XT

CLOSE = 0.5  # nats: what 'close', 'near zero' and 'indistinguishable' mean here; a tenth of the paper's ceilings
MERGED = 0.25  # silhouette up to which two groups count as one (Kaufman and Rousseeuw 1990: no substantial structure)
CONFIDENCE = 0.95

SIX = ("badnets", "blend", "wanet", "lc", "adap_blend", "ftrojan")
FIVE = ("badnets", "blend", "wanet", "lc", "adap_blend")  # those whose trajectories the paper shows

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"

COLUMNS = [
    "claim", "source", "statement", "estimator", "protocol", "settings", "setting", "verdict", "effect", "ci_low",
    "ci_high", "unit", "condition", "seeds", "conditions", "saturated", "predicate", "rows", "reason",
]  # fmt: skip
TEXT = ["estimator", "protocol", "settings", "setting", "unit", "condition", "reason"]  # None where there is none


@dataclass(frozen=True)
class Claim:
    """One finding.

    Attributes:
        name, source: as the paper's list of claims and figures numbers them.
        statement: what the paper says.
        predicate: exactly what is tested.
        attacks: those it is about: a variant of the setting without any of them has no row.
        conditions: from comparable runs, what must hold.
        dataset: the one whose runs make a setting worth a row.
        family: of the architecture, None where several are compared.
        level: of the poison ratio whose runs make a setting worth a row.
        crosses: fields of the setting that it compares across.
        per_estimate: whether it is about mutual information, so that each estimator has its own verdict.
    """

    name: str
    source: str
    statement: str
    predicate: str
    attacks: tuple[str, ...]
    conditions: Callable[[Group], list[Condition]]
    dataset: str = "cifar10"
    family: str | None = "resnet"
    level: str = HIGH
    crosses: tuple[str, ...] = ()
    per_estimate: bool = True


def _two_phases(group: Group, want: Want, subsets: Callable[[Run], list[str]]) -> list[Condition]:
    try:
        runs = group.runs(want).values()
    except MissingDataError as missing:
        return [Condition(f"{want.attack}: I(X;T) rises and falls", None, str(missing))]
    names = sorted({subset for run in runs for subset in subsets(run)})
    if not names:
        return [Condition(f"{want.attack}: I(X;T) rises and falls", None, f"no estimate of I(X;T) for {want}")]
    return [
        group.compare(
            f"{want.attack}: I(X;T) of {name} rises and falls",
            want,
            lambda run, name=name: run.rise_and_fall(XT, name),
        )
        for name in names
    ]


def _every_subset(run: Run) -> list[str]:
    return sorted(run.roles)


def _backdoor_above(group: Group, want: Want, quantity: str) -> Condition:
    name = f"{want.attack}: {quantity} of backdoor above the mean clean class at convergence"
    return group.compare(name, want, lambda run: run.strangeness(quantity, run.last_epoch()))


def _backdoor_below(group: Group, want: Want, quantity: str) -> Condition:
    name = f"{want.attack}: {quantity} of backdoor below the mean clean class at convergence"
    return group.compare(name, want, lambda run: -run.strangeness(quantity, run.last_epoch()))


def _close(group: Group, want: Want, quantity: str, role: str, when: str) -> Condition:
    """Within CLOSE of the mean clean class; when: 'early' or 'at convergence'."""

    def room(run: Run) -> Measure:
        epoch = run.first_epoch() if when == "early" else run.last_epoch()
        return abs(run.at(quantity, epoch, role) - run.clean_mean(quantity, epoch)).short_of(CLOSE)

    name = f"{want.attack}: {quantity} of {role} within {CLOSE} nats of the mean clean class {when}"
    return group.compare(name, want, room)


def _near_zero(group: Group, want: Want) -> Condition:
    name = f"{want.attack}: I(X;T) of backdoor below {CLOSE} nats at convergence"
    return group.compare(name, want, lambda run: _final(run, XT).short_of(CLOSE))


def _final(run: Run, quantity: str) -> Measure:
    """Of the backdoor images at convergence."""
    return run.at(quantity, run.last_epoch(), "backdoor")


def _c1(group: Group) -> list[Condition]:
    return _two_phases(group, Want("badnets"), _every_subset)


def _c2(group: Group) -> list[Condition]:
    def room(run: Run) -> Measure:
        epoch = run.last_epoch()
        return largest(run.classes(XT, epoch)) - run.at(XT, epoch, "clean")

    want = Want("badnets")
    return [
        _backdoor_above(group, want, XT),
        group.compare("badnets: I(X;T) of the target's clean images below the highest clean class", want, room),
    ]


def _c3(group: Group) -> list[Condition]:
    name = "badnets: I(T;Yhat) of backdoor inside the clean classes' range at convergence"
    return [group.compare(name, Want("badnets"), lambda run: run.within_classes(TY, run.last_epoch(), "backdoor"))]


def _c4(group: Group) -> list[Condition]:
    want = Want("blend")
    epochs = group.snapshots(want)
    below = [
        group.compare(
            f"blend: I(X;T) of backdoor below the mean clean class at epoch {epoch}",
            want,
            lambda run, epoch=epoch: -run.strangeness(XT, epoch),
        )
        for epoch in epochs
    ]
    return [*below, _near_zero(group, want)]


def _c5(group: Group) -> list[Condition]:
    return [_backdoor_below(group, Want("blend"), TY)]


def _c6(group: Group) -> list[Condition]:
    want = Want("wanet")
    above = group.compare(
        "I(X;T) of WaNet's backdoor above Blend's at convergence",
        [want, Want("blend")],
        lambda wanet, blend: _final(wanet, XT) - _final(blend, XT),
    )
    return [_close(group, want, XT, "backdoor", "early"), _backdoor_below(group, want, XT), above]


def _c7(group: Group) -> list[Condition]:
    def early(run: Run) -> Measure:
        epoch = run.first_epoch()
        return run.at(XT, epoch, "all") - run.clean_mean(XT, epoch)

    def late(run: Run) -> Measure:
        epoch = run.last_epoch()
        return run.at(XT, epoch, "clean") - run.at(XT, epoch, "backdoor")

    want = Want("lc")
    return [
        group.compare("lc: I(X;T) of the target class above the mean clean class early", want, early),
        group.compare("lc: I(X;T) of backdoor below the target's clean images at convergence", want, late),
    ]


def _c8(group: Group) -> list[Condition]:
    want = Want("adap_blend")
    return [
        *_two_phases(group, want, lambda run: run.subsets("backdoor")),
        _backdoor_above(group, want, XT),
        _close(group, want, TY, "backdoor", "at convergence"),
    ]


def _c9(group: Group) -> list[Condition]:
    return [
        _close(group, Want(attack, LOW), XT, "all", "at convergence") for attack in ("badnets", "blend", "wanet", "lc")
    ]


def _c10(group: Group) -> list[Condition]:
    def fall(run: Run) -> Measure:
        values = [run.at(XT, epoch, "backdoor") for epoch in run.epochs()]
        if len(values) < 2:
            raise MissingDataError(f"run {run.run_id} has {len(values)} snapshots; a fall needs 2")
        return largest(values[:-1]) - values[-1]

    found = []
    for attack in ("blend", "wanet"):
        want = Want(attack, LOW)
        found.append(group.compare(f"{attack}: I(X;T) of backdoor falls to the last snapshot", want, fall))
        found.append(_near_zero(group, want))
    return found


def _c11(group: Group) -> list[Condition]:
    return [
        group.compare(
            f"{attack}: I(T;Yhat) of backdoor lower at the low ratio, at convergence",
            [Want(attack, HIGH), Want(attack, LOW)],
            lambda high, low: _final(high, TY) - _final(low, TY),
        )
        for attack in ("badnets", "lc")
    ]


def _c12(group: Group) -> list[Condition]:
    """Curves: backdoor less clean classes, of each attack and quantity; compared snapshot by snapshot."""
    pairs, names, seeds, missing = [], [], [], []
    for attack in FIVE:
        try:
            here, there = (group.runs(Want(attack, dataset=each)) for each in ("cifar10", "svhn"))
            epochs = sorted(set.intersection(*(set(run.epochs()) for runs in (here, there) for run in runs.values())))
            for quantity in (XT, TY):
                curves = [
                    [mean(run.strangeness(quantity, epoch) for run in runs.values()).value for epoch in epochs]
                    for runs in (here, there)
                ]
                pairs.append(np.array(curves))
                names.append(attack)
            seeds += [len(here), len(there)]
        except MissingDataError as absent:
            missing.append(str(absent))
    name = "backdoor less clean classes ranks alike on SVHN and CIFAR-10"
    if missing:
        return [Condition(name, None, "; ".join(missing))]
    return [Condition(name, resampled_spearman(pairs, names, min(seeds)))]


def _c13(group: Group) -> list[Condition]:
    def closer(resnet: Run, vgg: Run) -> Measure:
        return abs(resnet.strangeness(XT, resnet.last_epoch())) - abs(vgg.strangeness(XT, vgg.last_epoch()))

    name = "badnets: I(X;T) of backdoor nearer to the mean clean class with VGG at convergence"
    return [group.compare(name, [Want("badnets"), Want("badnets", family="vgg")], closer)]


def _c14(group: Group) -> list[Condition]:
    return [
        group.compare(
            f"{attack}: I(T;Yhat) of backdoor higher with VGG at convergence",
            [Want(attack, family="vgg"), Want(attack)],
            lambda vgg, resnet: _final(vgg, TY) - _final(resnet, TY),
        )
        for attack in ("blend", "wanet")
    ]


def _c15(group: Group) -> list[Condition]:
    higher, pairs, names, seeds = [], [], [], []
    for attack in SIX:
        little, much = Want(attack, sigma=0.1), Want(attack, sigma=0.4)
        epochs = sorted(set(group.snapshots(little)) & set(group.snapshots(much)))
        if not epochs:
            continue
        runs = [list(group.runs(want).values()) for want in (little, much)]
        shared = set.intersection(*(set(run.values) for each in runs for run in each))
        for quantity, subset in sorted({(quantity, subset) for quantity, _, subset in shared}):
            there = [epoch for epoch in epochs if (quantity, epoch, subset) in shared]
            pairs.append(_curves(runs, quantity, subset, there))
            names.append(attack)
            higher += [
                group.compare(
                    f"{attack}: {quantity} of {subset} higher at sigma 0.1, epoch {epoch}",
                    [little, much],
                    lambda a, b, at=(quantity, epoch, subset): a.of(*at) - b.of(*at),
                )
                for epoch in there
            ]
        seeds += [len(each) for each in runs]
    if not higher:
        return [Condition("higher at sigma 0.1", None, "no attack has finished runs at sigma 0.1 and at sigma 0.4")]
    alike = Condition("curves at sigma 0.1 and 0.4 rank alike", resampled_spearman(pairs, names, min(seeds)))
    return [*higher, alike]


def _curves(runs: list[list[Run]], quantity: str, subset: str, epochs: list[int]) -> np.ndarray:
    """Means over seeds, (2, epochs)."""
    return np.array(
        [[np.mean([run.of(quantity, epoch, subset).value for run in each]) for epoch in epochs] for each in runs]
    )


def _c16(group: Group) -> list[Condition]:
    def others(runs: tuple[Run, ...], attack: str) -> list[Measure]:
        return [run.the_score() for run, name in zip(runs, SIX, strict=True) if name != attack]

    wants = [Want(attack) for attack in SIX]
    return [
        group.compare(
            "badnets has the lowest score",
            wants,
            lambda *runs: smallest(others(runs, "badnets")) - runs[SIX.index("badnets")].the_score(),
            "score",
        ),
        group.compare(
            "ftrojan has the highest score",
            wants,
            lambda *runs: runs[SIX.index("ftrojan")].the_score() - largest(others(runs, "ftrojan")),
            "score",
        ),
    ]


def _c17(group: Group) -> list[Condition]:
    return [
        group.compare(
            f"{attack}: score higher at the low ratio",
            [Want(attack, LOW), Want(attack, HIGH)],
            lambda low, high: low.the_score() - high.the_score(),
            "score",
        )
        for attack in ("badnets", "blend", "wanet")
    ]


def _c18(group: Group) -> list[Condition]:
    return [
        group.compare(
            f"{attack}: score higher on SVHN",
            [Want(attack, dataset="svhn"), Want(attack)],
            lambda svhn, cifar10: svhn.the_score() - cifar10.the_score(),
            "score",
        )
        for attack in ("blend", "wanet")
    ]


def _c19(group: Group) -> list[Condition]:
    """Both sides as stealth: an invisible trigger (low LPIPS, high PSNR and SSIM), a low stealth score."""
    rows, missing = [], []
    for attack in SIX:
        try:
            runs = list(group.runs(Want(attack)).values())
            seen = {
                metric: np.mean([run.visibility[metric] for run in runs if metric in run.visibility] or [np.nan])
                for metric in PERCEPTUAL
            }
            rows.append({"score": np.mean([run.the_score().value for run in runs]), "seeds": len(runs)} | seen)
        except MissingDataError as absent:
            missing.append(str(absent))
    found = []
    for metric, sign in (("lpips", -1), ("psnr", 1), ("ssim", 1)):
        name = f"stealth to the eye ({metric}) does not go with stealth in the network"
        points = [(sign * row[metric], -row["score"]) for row in rows if np.isfinite(row[metric])]
        if len(points) < FEWEST or missing:
            reason = "; ".join([*missing, *([] if len(points) == len(rows) else [f"{metric} not measured of all"])])
            found.append(Condition(name, None, reason or f"{len(points)} of at least {FEWEST} points"))
            continue
        # The condition is that the correlation is not positive: its negative is above 0.
        pairs = [np.array([[-x], [y]]) for x, y in points]
        labels = [str(position) for position in range(len(points))]
        effect = resampled_spearman(pairs, labels, min(row["seeds"] for row in rows))
        if np.isfinite(effect.value):
            found.append(Condition(name, effect))
        else:
            found.append(Condition(name, None, f"{metric} or score is the same for all attacks"))
    return found


def _c20(group: Group) -> list[Condition]:
    badnets, blend, wanet, lc = (Want(attack) for attack in ("badnets", "blend", "wanet", "lc"))
    one = Measure.of(1.0, 0.0)

    def merged(run: Run) -> Measure:
        return run.cluster("silhouette").short_of(MERGED)

    return [
        group.compare(
            f"badnets: silhouette of backdoor above {MERGED} at the first map",
            badnets,
            lambda run: -run.cluster("silhouette", first=True).short_of(MERGED),
            "silhouette",
        ),
        group.compare(
            "badnets: more sub-clusters at the last map than at the first",
            badnets,
            lambda run: run.cluster("subclusters") - run.cluster("subclusters", first=True),
            "sub-clusters",
        ),
        group.compare(
            "blend: less spread than the target's clean images",
            blend,
            lambda run: one - run.cluster("spread"),
            "RMS spreads",
        ),
        group.compare(
            "blend: farther from the target class than its RMS spread",
            blend,
            lambda run: run.cluster("distance") - one,
            "RMS spreads",
        ),
        group.compare(
            "wanet: more spread than blend",
            [wanet, blend],
            lambda w, b: w.cluster("spread") - b.cluster("spread"),
            "RMS spreads",
        ),
        group.compare(f"lc: silhouette of backdoor below {MERGED} at the last map", lc, merged, "silhouette"),
    ]


_LAST = "Convergence is the last snapshot, early the first one."

CLAIMS = [
    Claim(
        "C1", "Fig. 3", "Under BadNets, I(X;T) of every subset first grows and then shrinks.",
        "For every subset, the highest I(X;T) strictly between the first and the last snapshot exceeds both.",
        ("badnets",), _c1,
    ),
    Claim(
        "C2", "Fig. 3", "In the end BadNets images keep more of X than clean classes do, and the clean images of the "
        "target class do not.",
        "At convergence I(X;T) of backdoor exceeds the mean clean class, and that of the target's clean images is "
        f"below the highest clean class. {_LAST}",
        ("badnets",), _c2,
    ),
    Claim(
        "C3", "Fig. 3", "In the end I(T;Yhat) of BadNets images is like that of clean classes.",
        f"At convergence I(T;Yhat) of backdoor lies between the lowest and the highest clean class. {_LAST}",
        ("badnets",), _c3,
    ),
    Claim(
        "C4", "Fig. 7", "I(X;T) of Blend images stays under the clean classes all along and ends near zero.",
        f"At every snapshot I(X;T) of backdoor is below the mean clean class, and at convergence below {CLOSE} nats. "
        f"{_LAST}",
        ("blend",), _c4,
    ),
    Claim(
        "C5", "Fig. 7", "In the end I(T;Yhat) of Blend images is below the clean classes.",
        f"At convergence I(T;Yhat) of backdoor is below the mean clean class. {_LAST}",
        ("blend",), _c5,
    ),
    Claim(
        "C6", "Fig. 7", "I(X;T) of WaNet images starts like the clean classes, ends lower, but above Blend's.",
        f"Early, I(X;T) of backdoor is within {CLOSE} nats of the mean clean class; at convergence it is below it, and "
        f"above that of Blend's backdoor (runs of the same seed). {_LAST}",
        ("wanet",), _c6,
    ),
    Claim(
        "C7", "Fig. 7", "Under LC, I(X;T) of the target class starts above clean classes; in the end its backdoor "
        "images are below its clean ones.",
        "Early, I(X;T) of the whole target class exceeds the mean clean class; at convergence that of backdoor is "
        f"below that of the target's clean images. {_LAST}",
        ("lc",), _c7,
    ),
    Claim(
        "C8", "rebuttal", "Under Adap-Blend, I(X;T) of backdoor images has two phases and ends above clean classes, "
        "while their I(T;Yhat) is close to them.",
        "I(X;T) of backdoor rises and falls (as in C1); at convergence it exceeds the mean clean class, and I(T;Yhat) "
        f"is within {CLOSE} nats of it. {_LAST}",
        ("adap_blend",), _c8,
    ),
    Claim(
        "C9", "Fig. 9", "At low ratios I(X;T) of the whole target class cannot be told from clean classes in the end.",
        f"At convergence I(X;T) of the target class is within {CLOSE} nats of the mean clean class, for BadNets, Blend "
        f"and WaNet at 1% and LC at 10%. {_LAST}",
        ("badnets", "blend", "wanet", "lc"), _c9, level=LOW,
    ),
    Claim(
        "C10", "Fig. 9", "At 1%, I(X;T) of Blend and WaNet images is compressed to nearly nothing.",
        f"I(X;T) of backdoor falls from its highest earlier snapshot to convergence, where it is below {CLOSE} nats. "
        f"{_LAST}",
        ("blend", "wanet"), _c10, level=LOW,
    ),
    Claim(
        "C11", "Fig. 9", "BadNets and LC images have less I(T;Yhat) at the low ratio than at the high one.",
        "At convergence I(T;Yhat) of backdoor is lower at 1% than at 10% (BadNets) and at 10% than at 25% (LC), runs "
        f"of the same seed. {_LAST}",
        ("badnets", "lc"), _c11, level=LOW,
    ),
    Claim(
        "C12", "Fig. 11", "SVHN shows the trends of CIFAR-10.",
        "Spearman's correlation of backdoor less mean clean class, of five attacks, both quantities and all common "
        "snapshots (means of the values over seeds), between SVHN and CIFAR-10 is positive; bootstrap over attacks.",
        FIVE, _c12, dataset="svhn", crosses=("per_class",),
    ),
    Claim(
        "C13", "Fig. 12", "With VGG-16, BadNets images stand out less in I(X;T) than with ResNet-18.",
        "At convergence I(X;T) of backdoor is nearer to the mean clean class with VGG than with ResNet, runs of the "
        f"same seed. {_LAST}",
        ("badnets",), _c13, family="vgg", crosses=("architecture",),
    ),
    Claim(
        "C14", "Fig. 12", "With VGG-16, Blend and WaNet images have more I(T;Yhat) than with ResNet-18.",
        f"At convergence I(T;Yhat) of backdoor is higher with VGG than with ResNet, runs of the same seed. {_LAST}",
        ("blend", "wanet"), _c14, family="vgg", crosses=("architecture",),
    ),
    Claim(
        "C15", "Fig. 13", "Less noise gives the same patterns at higher information.",
        "For every attack that has both, I(X;T) and I(T;Yhat) of every subset at every common snapshot are higher at "
        "sigma 0.1 than at 0.4 (runs of the same seed), and the curves' Spearman correlation is positive (bootstrap "
        "over attacks).",
        SIX, _c15, crosses=("sigma",),
    ),
    Claim(
        "C16", "Table I", "Of the six attacks at the high ratio BadNets scores lowest and FTrojan highest.",
        "The stealth score (default options) of BadNets is below the lowest of the other five, FTrojan's above the "
        "highest of its others, runs of the same seed.",
        SIX, _c16,
    ),
    Claim(
        "C17", "Table I", "BadNets, Blend and WaNet score higher at 1% than at 10%.",
        "The stealth score at 1% exceeds that at 10% for each of the three, runs of the same seed.",
        ("badnets", "blend", "wanet"), _c17, level=LOW,
    ),
    Claim(
        "C18", "Table I", "Blend and WaNet score higher on SVHN than on CIFAR-10.",
        "The stealth score at 10% on SVHN exceeds that on CIFAR-10 for both, runs of the same seed.",
        ("blend", "wanet"), _c18, dataset="svhn", crosses=("per_class",),
    ),
    Claim(
        "C19", "Fig. 10", "Triggers that the eye misses are not the ones that hide in the network.",
        "Spearman's correlation between stealth to the eye (low LPIPS, high PSNR, high SSIM of test images) and "
        "stealth in the network (low score), over the six attacks at the high ratio, is below 0 for each metric; "
        "bootstrap over attacks. The effect is the correlation with its sign turned.",
        SIX, _c19,
    ),
    Claim(
        "C20", "Figs. 4, 8", "T of BadNets images forms a cluster early and splits later; Blend's is compact and "
        "detached, WaNet's looser, LC's merges into the target class.",
        f"On T itself (table clusters): BadNets' silhouette is above {MERGED} at the first map and it has more "
        "sub-clusters at the last; at the last map Blend's spread is below, and its distance above, the target class's "
        f"RMS spread, WaNet's spread is above Blend's, and LC's silhouette is below {MERGED}.",
        ("badnets", "blend", "wanet", "lc"), _c20, per_estimate=False,
    ),
]  # fmt: skip


def claims(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row per claim, estimate and setting: supported, contradicted or undecided, by how much, and why.

    Columns (`COLUMNS`):
        claim, source, statement: which finding of the paper.
        estimator, protocol, settings: whose estimates were used; None for C20, which needs none.
        setting: how the runs differ from the paper's, or 'as in the paper'; None where there are no such runs.
        verdict: 'supported' if every condition's 95% interval is above 0. 'contradicted' if one lies below 0 at a
            confidence corrected for the number of conditions (Bonferroni). Else 'undecided'.
        effect, ci_low, ci_high, unit: of the deciding `condition`: the most contrary one. Above 0 speaks for the claim.
            Over two or more seeds the interval is Student's t, with one seed it is of the estimates themselves over
            images. Where bounds are proven (`certified`, `closed`) the interval contains them.
        seeds: the fewest runs behind a condition. conditions: how many there are.
        saturated: share of the values used that lie at their estimator's ceiling: they say 'at least'.
        predicate: what was tested. rows: on which runs. reason: of an undecided verdict, and what limits another one.

    Only finished runs count. Where several configurations of one attack fit, the one with most seeds is taken.
    """
    evidence = Evidence(connection)
    rows = pd.DataFrame([row for claim in CLAIMS for row in _rows(claim, evidence)], columns=COLUMNS)
    for column in TEXT:  # a column of text would turn None into NaN
        rows[column] = rows[column].astype(object).where(rows[column].notna(), None)
    return rows


def _rows(claim: Claim, evidence: Evidence) -> Iterator[dict]:
    estimates = evidence.estimates() if claim.per_estimate else [None]
    for estimate in estimates or [None]:
        groups = [group for group in evidence.groups(estimate, claim.crosses) if _is_about(claim, group)]
        for group in groups:
            yield _judge(claim, group)
        if not groups:
            wanted = f"{claim.dataset} with {' or '.join(claim.attacks)} at the {claim.level} ratio"
            architecture = f" and a {claim.family}" if claim.family else ""
            estimator, protocol, settings = estimate or (None, None, None)
            yield {
                **_about(claim), "estimator": estimator, "protocol": protocol, "settings": settings, "setting": None,
                "verdict": UNDECIDED, "effect": np.nan, "ci_low": np.nan, "ci_high": np.nan, "unit": None,
                "condition": None, "seeds": 0, "conditions": 0, "saturated": np.nan, "rows": "none",
                "reason": f"data missing: no finished run on {wanted}{architecture}",
            }  # fmt: skip


def _about(claim: Claim) -> dict:
    return {
        "claim": claim.name,
        "source": claim.source,
        "statement": claim.statement,
        "predicate": claim.predicate,
    }


def _is_about(claim: Claim, group: Group) -> bool:
    return any(
        axes["attack"] in claim.attacks
        and axes["dataset"] == claim.dataset
        and axes["level"] == claim.level
        and claim.family in (None, axes["family"])
        for axes, _ in group.cells
    )


def _judge(claim: Claim, group: Group) -> dict:
    group.forget()
    conditions = claim.conditions(group)
    known = [each for each in conditions if each.effect is not None]
    missing = list(dict.fromkeys(each.missing for each in conditions if each.missing))
    strict = 1 - (1 - CONFIDENCE) / max(1, len(known))
    intervals = {id(each): each.effect.interval(CONFIDENCE) for each in known}
    against = [each for each in known if each.effect.interval(strict)[1] < 0]
    in_favour = [each for each in known if intervals[id(each)][0] > 0]

    reasons = []
    if against:
        verdict = CONTRADICTED
    elif missing:
        verdict = UNDECIDED
        reasons.append("data missing: " + "; ".join(missing))
    elif known and len(in_favour) == len(known):
        verdict = SUPPORTED
    else:
        verdict = UNDECIDED
        reasons += [_why_open(each, intervals[id(each)]) for each in known if each not in in_favour][:3]
        more = len(known) - len(in_favour) - 3
        reasons += [f"and {more} more"] if more > 0 else []
    if verdict != UNDECIDED and missing:
        reasons.append("not tested: " + "; ".join(missing))
    seeds = min((each.effect.n for each in known), default=0)
    if seeds == 1 and known:
        reasons.append("one seed: the interval is over images, not over trainings")
    saturated = group.saturated()
    if saturated > 0:
        reasons.append(f"{saturated:.0%} of the values lie at their estimator's ceiling")

    deciding = _most_contrary(against or known, intervals)
    low, high = intervals[id(deciding)] if deciding else (np.nan, np.nan)
    estimator, protocol, settings = group.estimate
    axes = [axes for axes, _ in group.cells if axes["attack"] in claim.attacks and axes["dataset"] == claim.dataset]
    variant = group.variant if "architecture" in group.variant else group.variant | _architectures(axes, claim)
    return {
        **_about(claim),
        "estimator": estimator,
        "protocol": protocol,
        "settings": settings,
        "setting": describe(variant, [claim.dataset]),
        "verdict": verdict,
        "effect": deciding.effect.value if deciding else np.nan,
        "ci_low": low,
        "ci_high": high,
        "unit": deciding.effect.unit if deciding else None,
        "condition": deciding.name if deciding else None,
        "seeds": seeds,
        "conditions": len(conditions),
        "saturated": saturated,
        "rows": group.rows(),
        "reason": "; ".join(reasons) or None,
    }


def _architectures(axes: list[dict], claim: Claim) -> dict:
    """What a claim across architectures is judged on, where it is not the paper's."""
    names = sorted({each["architecture"] for each in axes if each["family"] == claim.family})
    return {"architecture": names[0]} if len(names) == 1 else {}


def _why_open(condition: Condition, interval: tuple[float, float]) -> str:
    effect = condition.effect
    if np.isnan(interval[0]):
        return f"no interval, one seed ({condition.name}: {effect.value:+.3f})"
    if effect.open:
        return f"the proven bounds leave it open ({condition.name}: the values alone say {effect.value:+.3f})"
    return (
        f"interval spans 0 ({condition.name}: {effect.value:+.3f})"
        if interval[1] >= 0
        else (f"below 0, but not when corrected for the number of conditions ({condition.name}: {effect.value:+.3f})")
    )


def _most_contrary(conditions: list[Condition], intervals: dict[int, tuple[float, float]]) -> Condition | None:
    """That with the lowest low end; of those without an interval, the lowest value."""

    def contrary(condition: Condition) -> tuple[float, float]:
        low, _ = intervals[id(condition)]
        return (-np.inf if np.isnan(low) else low, condition.effect.value)

    return min(conditions, key=contrary, default=None)


def _main() -> None:
    import sys

    from analysis.db import read

    with read(sys.argv[1]) as connection:
        rows = claims(connection)
    shown = ["claim", "estimator", "protocol", "setting", "verdict", "effect", "ci_low", "ci_high", "unit", "seeds"]
    print(rows[[*shown, "reason"]].to_string(index=False))


if __name__ == "__main__":
    _main()
