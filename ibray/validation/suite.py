"""Which check runs on which problem with how many samples; `run` yields the rows as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ibray.errors import UserError
from ibray.validation import checks, problems
from ibray.validation.checks import Row
from ibray.validation.contenders import IN_SAMPLE, Contender
from ibray.validation.problems import Problem

CERTIFIED = "certified"


@dataclass(frozen=True)
class Plan:
    """What a suite runs."""

    problems: tuple[Problem, ...]
    """For the checks `truth` and `bracket`."""
    trained: frozenset[str]
    """Of those, the ones that estimators with training are measured on."""
    probes: tuple[Problem, ...]
    """For `null`, `rescaling` and `subsample`; the first only for estimators with training."""
    n: int
    trained_n: int
    seeds: int
    trained_seeds: int
    covered: tuple[Problem, ...]
    coverage_n: int
    coverage_seeds: int
    coverage_judged: bool

    def problems_of(self, contender: Contender) -> list[Problem]:
        return [
            p for p in self.problems if contender.accepts(p) and (not contender.trained or p.name in self.trained)
        ]


def _names(*chosen: Problem) -> frozenset[str]:
    return frozenset(problem.name for problem in chosen)


def full_plan() -> Plan:
    grid = [problems.gaussian(d, nats) for d in (1, 2, 5, 10, 20, 50) for nats in (0.5, 1.0, 2.0, 5.0, 10.0)]
    labels = [problems.poisoned_labels(), problems.trigger_entropy(), problems.classifier()]
    networks = [problems.network(nats) for nats in (2.0, 4.0, 6.0)]
    maps = [
        *(problems.transformed(kind, d, nats) for kind in ("half-cube", "asinh") for d, nats in ((1, 1.0), (5, 2.0))),
        problems.swiss_roll(1.0),
        problems.sparse(10, 1.0),
        problems.sparse(50, 1.0),
        problems.student(1, 0.5, 3),
        problems.student(2, 1.0, 3),
        problems.student(5, 1.0, 2),
    ]
    paper = problems.paper_gaussian()
    trained = [
        paper,
        *(problems.gaussian(d, nats) for d in (1, 5, 20, 50) for nats in (0.5, 2.0, 5.0)),
        problems.gaussian(5, 10.0),
        problems.transformed("half-cube", 5, 2.0),
        problems.transformed("asinh", 5, 2.0),
        problems.swiss_roll(1.0),
        problems.sparse(10, 1.0),
        problems.student(5, 1.0, 2),
        networks[1],
        labels[0],
        labels[1],
    ]
    probe = problems.gaussian(2, 1.0)
    return Plan(
        problems=(paper, *grid, *maps, *labels, *networks),
        trained=_names(*trained),
        probes=(probe, problems.gaussian(10, 2.0), networks[1]),
        n=5000,
        trained_n=10_000,
        seeds=3,
        trained_seeds=3,
        covered=(probe, problems.gaussian(10, 2.0), problems.network(2.0), problems.network(4.0)),
        coverage_n=1000,
        coverage_seeds=50,
        coverage_judged=True,
    )


def quick_plan() -> Plan:
    paper, probe = problems.paper_gaussian(), problems.gaussian(2, 1.0)
    labels = [problems.poisoned_labels(), problems.trigger_entropy(), problems.classifier()]
    grid = [problems.gaussian(1, 0.5), probe, problems.gaussian(5, 2.0), problems.gaussian(20, 2.0)]
    maps = [
        problems.transformed("half-cube", 1, 1.0),
        problems.transformed("asinh", 1, 1.0),
        problems.swiss_roll(1.0),
        problems.student(2, 1.0, 3),
        problems.sparse(10, 1.0),
    ]
    return Plan(
        problems=(paper, *grid, *maps, *labels, problems.network(2.0), problems.network(4.0)),
        trained=_names(paper, grid[2], labels[0]),
        probes=(probe,),
        n=2000,
        trained_n=600,
        seeds=2,
        trained_seeds=1,
        covered=(probe,),
        coverage_n=400,
        coverage_seeds=10,
        coverage_judged=False,
    )


def run(plan: Plan, contenders: Sequence[Contender], report: Callable[[str], None]) -> Iterator[Row]:
    """The rows of every contender, as they are made. report: told what is being done."""
    fano_problem, chain = problems.classifier(), problems.chain()
    for contender in contenders:
        judged_critic = contender.trained and contender.protocol not in IN_SAMPLE
        seeds = range(plan.trained_seeds if judged_critic else 1 if contender.trained else plan.seeds)
        n = plan.trained_n if judged_critic else min(plan.n, plan.trained_n) if contender.trained else plan.n
        for problem in plan.problems_of(contender):
            report(f"{contender.name}: truth of {problem.name}")
            measured = [checks.measure(problem, contender, n, seed) for seed in seeds]
            yield from checks.truth(measured)
            yield from checks.bracket(measured)
        probes = plan.probes[:1] if contender.trained else plan.probes
        for problem in filter(contender.accepts, probes):
            yield from _without_truth(problem, contender, n, report)
        if contender.accepts(fano_problem):
            report(f"{contender.name}: Fano")
            yield from checks.fano(fano_problem, contender, n, 0)
        if all(map(contender.accepts, chain)):
            report(f"{contender.name}: data processing")
            yield from checks.data_processing(chain, contender, n, 0)
        if contender.trained:  # 50 trainings
            continue
        for problem in filter(contender.accepts, plan.covered):
            report(f"{contender.name}: coverage of {problem.name}")
            judged = plan.coverage_judged and contender.protocol == CERTIFIED
            yield from checks.coverage(problem, contender, plan.coverage_n, range(plan.coverage_seeds), judged)


def run_on(problem: Problem, contenders: Sequence[Contender], n: int, report: Callable[[str], None]) -> Iterator[Row]:
    """The checks that need no truth, on samples of one's own."""
    for contender in filter(lambda c: c.accepts(problem), contenders):
        yield from _without_truth(problem, contender, n, report)


def _without_truth(problem: Problem, contender: Contender, n: int, report: Callable[[str], None]) -> Iterator[Row]:
    for check in (checks.null, checks.rescaling, checks.subsample):
        report(f"{contender.name}: {check.__name__} of {problem.name}")
        yield from check(problem, contender, n, 0)


def own_data(path: Path) -> tuple[Problem, int]:
    """The problem of an .npz with arrays x and y (N, ..), and its N. Raises UserError."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = (torch.as_tensor(arrays[name]) for name in ("x", "y"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--data {path}: expected an .npz with the arrays x and y ({error})") from None
    if len(x) != len(y) or len(x) < 4:
        raise UserError(f"--data {path}: x has {len(x)} samples and y {len(y)}: at least 4 pairs are needed")
    return problems.of_arrays(path.stem, x, y), len(x)
