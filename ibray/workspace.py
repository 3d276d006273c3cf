"""The output directory of a sweep: whose it is, whether it can be written, and that one sweep at a time uses it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.spec import SweepSpec
from ibray.store import check_version, connect

DATABASE = "results.duckdb"
SPEC = "sweep.yaml"
LOCK = ".lock"


def check_output(out: Path, spec: SweepSpec) -> None:
    """Refuse an output directory that is not this sweep's; changes nothing.

    Raises:
        UserError: it is a file, another sweep's, not a sweep's at all, not writable, or made by newer code.
    """
    nearest = next(path for path in [out, *out.absolute().parents] if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--out {out}: {nearest} is a file; choose a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: {nearest} cannot be written; choose another directory or change its permissions")
    # A sweep killed while it made its directory leaves these, before sweep.yaml says whose it is.
    names = [path.name for path in out.iterdir()] if out.exists() else []
    if all(name in (LOCK, "logs") or name.startswith(f".{SPEC}.") for name in names):
        return
    owner = owner_of(out)
    if owner is None:
        raise UserError(f"--out {out}: not empty and not a sweep's directory; choose a new one")
    if owner != spec.name:
        raise UserError(f"--out {out}: belongs to the sweep '{owner}', not '{spec.name}'; choose another directory")
    if (out / DATABASE).exists():
        with connect(out / DATABASE) as con:
            check_version(con, out / DATABASE)


def owner_of(out: Path) -> str | None:
    """The name of the sweep that a directory belongs to, None if it is not a sweep's."""
    try:
        return yaml.safe_load((out / SPEC).read_text())["name"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError):
        return None


def enter_output(out: Path, spec: SweepSpec) -> None:
    """Keep the spec in the directory as resolved."""
    write_atomic(out / SPEC, yaml.safe_dump(spec.resolved(), sort_keys=False).encode())


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the directory and hold it for one sweep; the system lets go when the process ends, however it ends.

    Raises:
        UserError: it cannot be made, or another sweep holds it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}); choose another directory") from None
    with (out / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(f"--out {out}: a sweep is running in it already (process {file.read().strip()})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def logged(out: Path) -> Iterator[None]:
    """Keep what ibray and Ray Tune have to say in logs/sweep.log, across all sweeps of the directory.

    Tune's words, a traceback for every failed trial, go there only: the terminal has one line for each failure.
    """
    (out / "logs").mkdir(exist_ok=True)
    handler = logging.FileHandler(out / "logs" / "sweep.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ibray", "ray.tune")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def is_locked(out: Path) -> bool:
    """Whether a sweep is running in this directory now, on this machine."""
    try:
        with (out / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
