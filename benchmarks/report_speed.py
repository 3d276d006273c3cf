"""Every view and the whole report of a database of a million estimates.

    python benchmarks/report_speed.py [--estimates 1000000] [--out DIR]

The numbers are synthetic, the shape is that of a study: seven attacks at two ratios, two architectures, three sigmas,
ten seeds, two protocols, thirteen subsets. Printed: seconds of each view (all rows, as Arrow), of the report, and the
peak memory of the process that builds it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import duckdb

from analysis import db
from analysis.report import build_report
from ibray import store

ATTACKS = ("none", "badnets", "blend", "wanet", "ftrojan", "adap_blend", "lc")
CONFIGURATIONS, SEEDS, SUBSETS = 13 * 2 * 3, 10, 13  # `none` has one ratio

RUNS = f"""
INSERT INTO runs BY NAME
WITH axes AS (
    SELECT attack, CASE attack WHEN 'none' THEN 0 ELSE ratio END AS poison_ratio, architecture, sigma, seed
    FROM unnest({list(ATTACKS)}) a(attack), unnest([0.1, 0.01]) p(ratio),
        unnest(['resnet18', 'vgg16']) m(architecture), unnest([0.2, 0.4, 0.6]) s(sigma), range({SEEDS}) r(seed)
    WHERE attack <> 'none' OR ratio = 0.1
)
SELECT left(md5(concat_ws('|', attack, poison_ratio, architecture, sigma, seed)), 16) AS run_id,
    'cifar10' AS dataset, attack, poison_ratio,
    CASE attack WHEN 'none' THEN 'none' WHEN 'lc' THEN 'target_class' ELSE 'train_set' END AS ratio_of,
    0 AS target_class, architecture, sigma, seed, '{{}}' AS attack_params,
    json_object('attack', attack, 'poison_ratio', poison_ratio, 'architecture', architecture, 'sigma', sigma,
        'seed', seed, 'training', json_object('epochs', 120)) AS cell,
    'done' AS status, TIMESTAMP '2026-01-01' AS started, TIMESTAMP '2026-01-02' AS finished, 600.0 AS seconds,
    'node' AS host, 'cpu' AS device, '0.1.0' AS ibray_version
FROM axes"""

# A rise, a peak and a fall of I(X;T), a rise of I(T;Yhat); the backdoor stands out by an amount of its attack.
ESTIMATES = """
INSERT INTO estimates BY NAME
WITH shapes AS (
    SELECT run_id, attack, seed, 1 + epoch * 119 // {snapshots} AS epoch, subset, quantity, protocol,
        hash(attack) % 100 / 100 AS strangeness
    FROM runs, range({snapshots}) e(epoch), unnest(['I(X;T)', 'I(T;Yhat)']) q(quantity),
        unnest(['paper', 'certified']) p(protocol),
        unnest(['0', '0_backdoor', '0_clean', '0_sample', '1', '2', '3', '4', '5', '6', '7', '8', '9']) s(subset)
    WHERE attack <> 'none' OR NOT contains(subset, '_')
), values AS (
    SELECT *, greatest(0, CASE quantity WHEN 'I(X;T)' THEN 4 - 0.5 * abs(ln(epoch / 20)) ELSE 0.5 + 0.3 * ln(epoch) END
        + CASE WHEN contains(subset, 'backdoor') THEN strangeness ELSE 0 END + 0.1 * (random() - 0.5)) AS value
    FROM shapes
)
SELECT run_id, epoch, subset, quantity, 'T' AS layer,
    CASE protocol WHEN 'paper' THEN 'infonce' ELSE 'channel' END AS estimator, protocol,
    left(md5(protocol), 16) AS settings, value AS nats, value - 0.05 AS ci_low, value + 0.05 AS ci_high,
    CASE protocol WHEN 'certified' THEN value END AS lower_bound,
    CASE WHEN protocol = 'certified' AND quantity = 'I(T;Yhat)' THEN value + 0.04 END AS upper_bound,
    CASE protocol WHEN 'paper' THEN 4.72 END AS ceiling, 0.025 AS standard_error, 5000 AS n, 8 AS draws,
    1.0 AS seconds, 'done' AS status
FROM values"""

EPOCHS = """
INSERT INTO epochs BY NAME
SELECT run_id, epoch::INTEGER AS epoch, 2 / epoch AS train_loss, 1 - 0.8 / epoch AS train_acc, 2.2 / epoch AS test_loss,
    0.9 - 0.7 / epoch AS test_acc, CASE WHEN attack <> 'none' THEN 1 - 0.9 / epoch END AS asr, 0.01 AS lr,
    5.0 AS seconds, 10000.0 AS images_per_s
FROM runs, range(1, 121) e(epoch)"""

STAGES = """
INSERT INTO stages BY NAME
SELECT run_id, stage, unit, 's' AS settings, 'done' AS status, 1 AS attempts, TIMESTAMP '2026-01-01' AS started,
    TIMESTAMP '2026-01-02' AS finished, 60.0 AS seconds, 'node' AS host, 'cpu' AS device, 900.0 AS peak_memory_mb
FROM (SELECT run_id, 'train' AS stage, 0 AS unit FROM runs
    UNION ALL SELECT DISTINCT run_id, 'mi', epoch FROM estimates)"""

PERCEPTUAL = """
INSERT INTO perceptual BY NAME
SELECT run_id, images, metric, value + 0.01 * value * random() AS value, value AS ci_low, 1.02 * value AS ci_high,
    500 AS n
FROM runs, unnest(['test', 'train']) i(images),
    (VALUES ('psnr', 20.0 + seed % 2), ('ssim', 0.95), ('lpips', 0.02)) m(metric, value)
WHERE attack <> 'none'"""

SWEEPS = """
INSERT INTO sweeps BY NAME
SELECT 's' AS sweep_id, 'synthetic' AS name, TIMESTAMP '2026-01-01' AS started, TIMESTAMP '2026-01-02' AS finished,
    86400.0 AS seconds, count(*) AS cells, '{}' AS spec, '0.1.0' AS ibray_version, '{}' AS versions, 'node' AS host,
    '{}' AS machine
FROM runs"""


def fill(database: Path, estimates: int) -> None:
    """About this many estimates, and the rows beside them that a report looks at."""
    store.create(database)
    snapshots = max(4, round(estimates / (CONFIGURATIONS * SEEDS * SUBSETS * 2 * 2)))
    with duckdb.connect(str(database)) as con:
        con.execute("SELECT setseed(0.5)")
        for sql in (RUNS, ESTIMATES.format(snapshots=snapshots), EPOCHS, STAGES, PERCEPTUAL, SWEEPS):
            con.execute(sql)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--estimates", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="keep the sweep directory here (default: removed at the end)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "results.duckdb").exists():
            fill(out / "results.duckdb", arguments.estimates)
        with db.read(out) as con:
            (rows,) = con.execute("SELECT count(*) FROM estimates").fetchone()
            print(f"{rows:,} estimates, {(out / 'results.duckdb').stat().st_size / 2**20:.0f} MiB")
            names = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1"
            for (name,) in con.execute(names).fetchall():
                started = time.perf_counter()
                con.sql(f"FROM {name}").to_arrow_table()
                print(f"{name:20} {time.perf_counter() - started:6.2f} s")
        started, cpu = time.perf_counter(), time.process_time()
        page = build_report(out)
        print(f"report {time.perf_counter() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU, ", end="")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"page {page.stat().st_size / 2**20:.1f} MiB, peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
