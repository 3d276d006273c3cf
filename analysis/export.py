"""Every table and view of a results database as files: `ibray export`, `python -m analysis.export DIR FORMAT OUT`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from analysis import db

FORMATS = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER"}
NAMES = """
SELECT table_name FROM duckdb_tables() WHERE NOT internal
UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal
ORDER BY 1
"""


def export(directory: Path | str, fmt: str, out: Path | str | None = None) -> Path:
    """Write out/NAME.parquet or .csv for every table and view; works while a sweep runs.

    Args:
        directory: the sweep's output directory, or the database file.
        fmt: 'parquet' or 'csv'. Blobs (the example images) are escaped text in CSV.
        out: a new directory, or one that an earlier export made, which is replaced; DIR/export by default.

    Returns:
        The directory that holds the files, all of them or, after an error, what was there before.

    Raises:
        AnalysisError: an unknown format, no readable database, or a directory that holds other files.
    """
    if fmt not in FORMATS:
        raise db.AnalysisError(f"--to {fmt}: choose one of {', '.join(FORMATS)}")
    directory = Path(directory)
    out = Path(out) if out else (directory if directory.is_dir() else directory.parent) / "export"
    strangers = [path.name for path in out.iterdir() if path.suffix not in (".parquet", ".csv")] if out.exists() else []
    if strangers:
        raise db.AnalysisError(f"{out} holds {strangers[0]}, which no export made: choose another directory with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        # Only names from the catalogue go into these statements, so this connection may write files.
        with db.read(directory, writes_files=True) as con:
            for (name,) in con.execute(NAMES).fetchall():
                target = str(unfinished / f"{name}.{fmt}").replace("'", "''")
                con.execute(f"COPY (FROM \"{name}\") TO '{target}' ({FORMATS[fmt]})")
        shutil.rmtree(out, ignore_errors=True)
        unfinished.chmod(0o755)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return out


def main(arguments: list[str]) -> int:
    """The command line: a directory, a format and, if you like, where to."""
    if len(arguments) not in (2, 3):
        print("usage: python -m analysis.export DIR parquet|csv [OUT]", file=sys.stderr)
        return 2
    try:
        print(export(*arguments))
    except db.AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
