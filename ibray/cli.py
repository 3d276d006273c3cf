"""The command line. Thin: every command imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ibray import __version__
from ibray.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ibray.registry import Registry

app = typer.Typer(
    name="ibray",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Watch backdoors being learned, through the information bottleneck.\n\n"
    "Start with: ibray sweep sweeps/quickstart.yaml",
)
data_app = typer.Typer(no_args_is_help=True, help="The dataset cache: what is in it, and how to add to it.")
app.add_typer(data_app, name="data")
attacks_app = typer.Typer(invoke_without_command=True)
app.add_typer(attacks_app, name="attacks")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The sweep's output directory.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="IBRAY_DATA", help="Dataset cache (default: ~/.cache/ibray/data)."),
]
LpipsWeights = Annotated[
    Path | None,
    typer.Option(
        "--lpips-weights",
        metavar="FILE.npz",
        envvar="IBRAY_LPIPS_WEIGHTS",
        help="AlexNet and LPIPS weights (default: torchvision's cached AlexNet, or no LPIPS).",
    ),
]

EXIT_FAILED_CELLS = 1
EXIT_FAILED_CHECKS = 1
EXIT_USER_ERROR = 2
EXIT_TIME_OVER = 124  # as timeout(1)
EXIT_INTERRUPTED = 130


def main() -> None:
    """The console script: one clear message instead of a traceback for what the user can put right."""
    from analysis.db import AnalysisError

    try:
        app()
    except (UserError, AnalysisError) as error:
        print(f"ibray: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ibray {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, for example sweeps/quickstart.yaml.")],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URI",
            help="Output directory, or s3://... or gs://... for snapshots and copies of the database, which then is in "
            "results/NAME (default: results/NAME).",
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(help="Snapshots that stay when all is done with a run: all, last or none.")
    ] = "all",
    address: Annotated[str | None, typer.Option(help="A Ray cluster: auto or HOST:6379 (default: none).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show cells, hours, disk; run nothing.")] = False,
    tflops: Annotated[float, typer.Option(help="Dry run: TFLOP/s that one GPU sustains.")] = 10.0,
    inline: Annotated[bool, typer.Option("--inline", help="One task after another, without Ray.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the file; repeatable.")
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Option("--stage", metavar="NAME", help="Only this stage and what it needs; repeatable (default: all)."),
    ] = None,
    order: Annotated[
        str, typer.Option(help="Which cells go first: cheap, grid (as in the file) or expensive.")
    ] = "cheap",
    minutes: Annotated[
        float | None, typer.Option(min=0.001, help="Stop after so long, as by Ctrl-C (default: when all is done).")
    ] = None,
    lpips_weights: LpipsWeights = None,
    data_dir: DataDir = None,
    report: Annotated[bool, typer.Option(help="Build the report at the end.")] = True,
    notify: Annotated[
        str | None, typer.Option(metavar="CMD", help="Run this when it is done, failed, interrupted or stuck.")
    ] = None,
    stuck_minutes: Annotated[
        float,
        typer.Option("--stuck-after", metavar="MINUTES", min=0.001, help="With --notify: stuck after so long no news."),
    ] = 30,
) -> None:
    """Run what is missing of a sweep, then build its report.

    The same command resumes: finished work is never repeated, and a grown grid runs only its new cells.
    Exit codes: 0 all done, 1 some cells failed, 2 wrong input, 124 --minutes are over, 130 interrupted. Of a training
    that is stopped at most the last minute and an epoch are lost.

    --notify has a minute, and finds in its environment IBRAY_EVENT (done, failed, interrupted or stuck), IBRAY_SWEEP,
    IBRAY_OUT, IBRAY_DONE and IBRAY_FAILED (tasks), and IBRAY_MESSAGE, as in
    --notify 'curl -d "$IBRAY_SWEEP: $IBRAY_MESSAGE" ntfy.sh/mine'. Stuck is a sweep in which no unit finished and no
    epoch was written for --stuck-after minutes. A sweep killed by SIGKILL, as for want of memory, can tell nobody.

    Example: ibray sweep sweeps/quickstart.yaml --set training.lr=0.1 --out results/short
    """
    import json

    from ibray.spec import load_spec

    if lpips_weights:
        assignments = [*(assignments or []), f"perceptual.lpips_weights={json.dumps(str(lpips_weights.resolve()))}"]
    spec = load_spec(file, assignments)
    from ibray.storage import is_uri

    uri = out if out and is_uri(out) else None
    directory = Path(out) if out and not uri else Path("results") / spec.name
    if dry_run:
        from ibray.dry_run import print_plan

        print_plan(spec, directory, data_dir, tflops, stages or (), _console())
        return
    if inline:
        from ibray.malloc import restart_tuned

        restart_tuned(["-m", "ibray", *sys.argv[1:]])
    from ibray.sweep import Options
    from ibray.sweep import sweep as run
    from ibray.time_limit import interrupted_after

    console = _console(stderr=True)
    options = Options(data_dir, address, inline, fail_fast, stages or (), order, notify, stuck_minutes, uri, keep)
    with interrupted_after(minutes) as over:
        try:
            outcome = run(spec, directory, options, console)
        except KeyboardInterrupt:
            why, code = ("Time is over", EXIT_TIME_OVER) if over.is_set() else ("Interrupted", EXIT_INTERRUPTED)
            console.print(f"{why}; nothing is lost. The same command goes on from here.")
            raise typer.Exit(code) from None
    _say_outcome(console, outcome)
    if report:
        from analysis.report import build_report

        print(build_report(directory))
    else:
        print(outcome.database)
    if outcome.missing:
        raise typer.Exit(EXIT_FAILED_CELLS)


def _say_outcome(console: Console, outcome: Any) -> None:
    if not outcome.to_do:
        console.print(f"Nothing to do: all {outcome.planned} tasks of {outcome.cells} cells are done.")
        return
    done = f"{outcome.to_do - outcome.missing} of {outcome.to_do} tasks done, {outcome.cells} cells in the grid."
    console.print(f"{done} {outcome.missing} failed: the reasons are in the report." if outcome.missing else done)


@app.command()
def status(
    directory: Directory,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh it until the sweep ends, or Ctrl-C.")] = False,
    seconds: Annotated[float, typer.Option("--every", min=0.1, help="With --watch: seconds between two looks.")] = 5,
    address: Annotated[
        str | None, typer.Option(help="With --watch: show the nodes of this Ray cluster (default: this machine).")
    ] = None,
) -> None:
    """Show what is done, running and failed, the rate, the time left, and the last errors.

    Works while a sweep runs. The time left is the work left, by the mean duration of each stage's finished units, over
    the pace so far; in brackets a 95% interval, from the spread of these durations. There is none until each stage
    with more than a little work left has finished three units. It takes what is left to be like what is done.

    --watch shows processors, memory and GPUs in use too. Not on a terminal it prints once per look.

    Example: ibray status results/quickstart --watch
    """
    if not watch:
        if address:
            raise UserError("--address is for --watch, which shows the nodes of a cluster")
        from ibray.status import print_status

        print_status(directory, _console(), as_json=json_out)
        return
    from ibray.watch_status import watch_status

    watch_status(directory, seconds, _console(), as_json=json_out, address=address)


@app.command()
def logs(
    directory: Directory,
    cell: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CELL]", help="A run id, its beginning, or words about its axes: badnets seed=1"),
    ] = None,
) -> None:
    """Show everything known about one cell: axes, units of work, whole errors, its lines of logs/sweep.log.

    Without CELL, the cells that failed. A word is a dataset, attack, architecture or status; KEY=VALUE is an axis
    (poison_ratio=0.1), a parameter of the trigger (alpha=0.2) or a setting (training.lr=0.05). Works while a sweep
    runs.

    Example: ibray logs results/quickstart badnets seed=1
    """
    from ibray.logs import print_logs

    print_logs(directory, cell or [], _console())


@app.command()
def sql(
    directory: Directory,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Any read-only SQL over the tables and views.")],
    output: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Ask the database; read-only, works while a sweep runs.

    Example: ibray sql results/quickstart "select attack, avg(score) from stealth group by all order by 2"
    """
    from ibray.query import print_query

    print_query(directory, query, output, _console())


@app.command()
def report(
    directory: Directory,
    other: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Compare with this sweep instead.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Rebuild it while a sweep runs; the page reloads.")] = False,
    seconds: Annotated[int, typer.Option("--every", min=1, help="With --watch: seconds between two builds.")] = 30,
) -> None:
    """Build the report: one HTML file that opens without a network; SVG, PNG and CSV beside it.

    With two directories, a page that compares the two sweeps.

    Example: ibray report results/quickstart
    """
    if other:
        if watch:
            raise UserError("--watch is for the report of one sweep")
        from analysis.compare import build_comparison

        print(build_comparison(directory, other))
        return
    from analysis.report import build_report

    if watch:
        from ibray.watch import watch_report

        watch_report(directory, seconds, _console(stderr=True))
    print(build_report(directory))


@app.command()
def export(
    directory: Directory,
    fmt: Annotated[str, typer.Option("--to", help="parquet or csv.")] = "parquet",
    out: Annotated[Path | None, typer.Option(help="Where the files go (default: DIR/export).")] = None,
) -> None:
    """Write every table and view as a Parquet or CSV file; works while a sweep runs.

    Example: ibray export results/quickstart --to csv
    """
    from analysis.export import export as run

    print(run(directory, fmt, out))


@app.command()
def merge(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR DIR...", help="Sweep directories, two or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new sweep directory.")],
    prefer: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Whose runs win where numbers differ (default: refuse).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new sweep, where the directories' names differ.")] = None,
    snapshots: Annotated[bool, typer.Option(help="Take snapshots and checkpoints along (hard links).")] = True,
) -> None:
    """Union the results of several machines; what one has done is not done again by the others.

    Runs that two directories share must have the same numbers, else they are different networks: then nothing is
    written, unless --prefer says whose runs to take, whole.

    Example: ibray merge results/lab1 results/lab2 -o results/full
    """
    from ibray.merge import merge as run

    merged = run(directories, out, prefer=prefer, name=name, artifacts=snapshots)
    left = f"; {merged.open} are not: ibray sweep goes on with them" if merged.open else ""
    _console(stderr=True).print(f"{merged.cells} cells, {merged.done} units of work done{left}")
    print(merged.directory)


@app.command()
def validate(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A finished sweep: check its snapshots instead.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute: fewer problems, samples and seeds.")] = False,
    estimator: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[/PROTOCOL]", help="Only this estimator; repeatable (default: all that apply)."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Samples of each problem (default: by estimator).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where validation.duckdb and validation.html go (default: DIR, else results/validation)."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Check on arrays x and y of your own what needs no truth."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="Put the table of biases between the file's validation marks."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check the estimators on samples whose information is known: which can be trusted when.

    With DIR, check the snapshots of a finished sweep: permuted pairings, rescaled features, data processing, Fano, and
    how far the paper's values lie from the proven bounds.

    Exit codes: 0 every check held, 1 one did not, 2 wrong input, 130 interrupted.

    Example: ibray validate results/quickstart --quick
    """
    from ibray.validation.command import validate as run

    try:
        held = run(
            out,
            _console(),
            _console(stderr=True),
            directory=directory,
            estimators=estimator or [],
            seeds=seeds,
            data=data,
            data_dir=data_dir,
            markdown=markdown,
            quick=quick,
        )
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not held:
        raise typer.Exit(EXIT_FAILED_CHECKS)


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A sweep file: check its needs too.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output directory (default: results/NAME).")] = None,
    address: Annotated[
        str | None, typer.Option(help="With FILE: a Ray cluster whose nodes must have room for its trials.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the file; repeatable.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check what a sweep needs before it starts: packages, GPU, memory, disk, datasets, output, clock, cluster.

    Changes nothing and downloads nothing. Exit codes: 0 nothing failed (warnings may be), 1 a check failed, 2 wrong
    input.

    Example: ibray doctor sweeps/quickstart.yaml
    """
    from ibray.doctor import examine

    if not examine(file, assignments, out, address, data_dir, _console()):
        raise typer.Exit(EXIT_FAILED_CHECKS)


@app.command("tune-resources")
def tune_resources(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, for example sweeps/quickstart.yaml.")],
    write: Annotated[bool, typer.Option("--write", help="Put the result into FILE (default: print it).")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each probe works once it is warm.")] = 5.0,
    data_dir: DataDir = None,
) -> None:
    """Find out how many trials should share this machine, and put that into the sweep file's `resources`.

    Short probes of the most expensive network: training steps, and estimates of one snapshot with few images and short
    critics. 1, 2 and 4 of each kind run at once, on the GPU, or without one on all cores. What does most work together
    becomes resources.train and resources.mi: `gpu`, the fraction of a trial, or without a GPU `cpu`, its threads. More
    at once has to be 5% faster. Four networks trained as one are probed too; resources.train.pack is set where they are
    1.2 times as fast.

    With --write the block `resources` of FILE is replaced and every other line stays as it is. The machine should have
    nothing else to do. The probes of `mi` hold fewer images than a unit of the sweep may: if memory is short, `gpu:
    auto` goes by what such units really took.

    Example: ibray tune-resources sweeps/quickstart.yaml
    """
    from ibray.tune_resources import tune_resources as run

    run(file, data_dir=data_dir, seconds=seconds, write=write, console=_console())


@app.command()
def schema() -> None:
    """Print the JSON Schema of sweep files, for editors. Example: ibray schema > sweep.schema.json"""
    import json

    from ibray.spec import SweepSpec

    print(json.dumps(SweepSpec.model_json_schema(), indent=1))


@attacks_app.callback()
def attacks(context: typer.Context) -> None:
    """List the attacks with their parameters and presets, or show them. Example: ibray attacks"""
    if context.invoked_subcommand:
        return
    import dataclasses

    from ibray.attacks import ATTACKS, get_attack

    def cells(name: str, entry: Any) -> list[str]:
        paper = get_attack(name)
        parameters = _settings({f.name: getattr(paper, f.name) for f in dataclasses.fields(paper)})
        others = [f"{preset}: {_settings(values)}" for preset, values in entry.presets.items() if preset != "paper"]
        return [entry.description, paper.poisons, parameters, "\n".join(others), entry.source]

    _print_registry(ATTACKS, cells, "what it does", "poisons", "parameters (paper)", "other presets", "source")


@attacks_app.command("show")
def attacks_show(
    dataset: Annotated[
        str | None, typer.Option(help="Whose test images (default: cifar10 if it is in the cache, else digits).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The picture, a PNG (default: attacks-DATASET.png).")] = None,
    attack: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this attack; repeatable (default: all but none).")
    ] = None,
    lpips_weights: LpipsWeights = None,
    data_dir: DataDir = None,
) -> None:
    """Draw what every attack does to a few images, and measure how visible it is: PSNR, SSIM and LPIPS.

    Example: ibray attacks show --dataset digits --attack badnets --attack blend
    """
    from ibray.show_attacks import show_attacks

    print(show_attacks(dataset, out, attack or [], lpips_weights, data_dir, _console(), _console(stderr=True)))


@app.command()
def datasets(data_dir: DataDir = None) -> None:
    """List the datasets, built in, imported and of plug-ins. Example: ibray datasets"""
    from ibray.datasets import available

    table = _table("dataset", "origin", "status", "shape", "classes", "what it is")
    for entry in available(data_dir):
        shape = "x".join(map(str, entry.image_shape)) if entry.image_shape else "-"
        table.add_row(entry.name, entry.origin, entry.status, shape, str(entry.num_classes or "-"), entry.description)
    _console().print(table)


@app.command()
def models() -> None:
    """List the noisy architectures with their parameters. Example: ibray models"""
    from ibray.models import MODELS

    def cells(name: str, entry: Any) -> list[str]:
        return [entry.description, _settings(entry.defaults), entry.source]

    _print_registry(MODELS, cells, "what it is", "parameters", "source")


@app.command()
def estimators() -> None:
    """List the estimators of mutual information with their settings. Example: ibray estimators"""
    from ibray.mi import ESTIMATORS, settings_of

    def cells(name: str, entry: Any) -> list[str]:
        return [entry.description, ", ".join(entry.protocols), _settings(settings_of(name, "I(X;T)")), entry.source]

    _print_registry(ESTIMATORS, cells, "what it is", "protocols", "settings for I(X;T)", "source")


@data_app.command("import")
def data_import(
    name: Annotated[str, typer.Argument(help="What sweep files will call it.")],
    file: Annotated[Path, typer.Argument(help="An .npz: train_x train_y test_x test_y, images uint8 N,H,W,C.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset of that name.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Put images of your own into the cache. Example: ibray data import cifar10 cifar10.npz"""
    from ibray.datasets import import_npz

    images = import_npz(name, file, data_dir=data_dir, overwrite=overwrite)
    counts = f"{len(images.train_x)} training and {len(images.test_x)} test images"
    print(f"{name}: {counts}, {images.num_classes} classes of {'x'.join(map(str, images.image_shape))}")


def _console(**settings: Any) -> Console:
    from ibray.terminal import console

    return console(**settings)


def _table(*columns: str) -> Table:
    from ibray.terminal import plain_table

    return plain_table(*columns)


def _print_registry(registry: Registry[Any], cells: Callable[[str, Any], list[str]], *columns: str) -> None:
    """A line per name: what `cells` says of its entry, or why its plug-in cannot be used."""
    table = _table(registry.kind, "origin", *columns)
    for name in registry:
        try:
            rest = cells(name, registry[name])
        except UserError as error:
            rest = [f"broken: {error}"]
        table.add_row(name, registry.origin(name), *rest)
    _console().print(table)


def _settings(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
