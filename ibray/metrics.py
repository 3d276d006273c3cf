"""What the writer tells Prometheus through Ray's own metrics, for Ray's dashboard and Grafana.

Ray exports them from the node of the writer under the names `ray_ibray_units` (gauge, by stage and status),
`ray_ibray_rows_written` (counter, by table) and `ray_ibray_failures` (counter, by stage), where `ray[default]` is
installed; without it nobody is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter, Gauge

from ibray.store import Store

UNITS = "SELECT stage, status, count(*) FROM stages GROUP BY ALL"


class MeasuredStore(Store):
    """The writer, counting what it writes; arguments as `Store`."""

    def __init__(self, *arguments: Any, **settings: Any):
        self._units = Gauge("ibray_units", "Units of work of the sweep.", ("stage", "status"))
        self._rows = Counter("ibray_rows_written", "Rows written to the database.", ("table",))
        self._failures = Counter("ibray_failures", "Attempts at a unit that failed.", ("stage",))
        self._told: set[tuple[str, str]] = set()
        super().__init__(*arguments, **settings)

    def wrote(self, con: duckdb.DuckDBPyConnection, tables: Mapping[str, tuple[pa.Table, pa.Table]]) -> None:
        for table, (_, rows) in tables.items():
            self._rows.inc(len(rows), {"table": table})
        if "stages" not in tables:
            return
        stages = tables["stages"][1]
        failed = stages.filter(pc.equal(stages["status"], "failed"))["stage"]
        for stage in failed.to_pylist():
            self._failures.inc(1, {"stage": stage})
        counts = {(stage, status): count for stage, status, count in con.execute(UNITS).fetchall()}
        for stage, status in self._told | counts.keys():  # what none is in any more is told too
            self._units.set(counts.get((stage, status), 0), {"stage": stage, "status": status})
        self._told |= counts.keys()
