"""The SQL behind every table and figure of the report, as it is shown there."""

from __future__ import annotations

RUN_COUNTS = "SELECT status, count(*) AS runs FROM runs GROUP BY status"

CONFIGURATIONS = """\
SELECT * FROM configurations
ORDER BY dataset, architecture, sigma, attack <> 'none', attack, poison_ratio, configuration"""

RESULTS = """\
SELECT
    c.*, t.estimator, t.protocol, t.settings, t.s_xt, t.s_ty, t.score, t.score_sd, t.seeds AS scored_seeds
FROM configurations c
LEFT JOIN table1 t USING (configuration)
ORDER BY
    c.dataset, c.architecture, c.sigma, t.estimator, t.protocol, t.settings, t.score NULLS LAST, c.attack"""

STEALTH = "SELECT * FROM stealth ORDER BY dataset, architecture, sigma, attack, poison_ratio, seed"

STAGES = """\
SELECT
    stage, count(*) FILTER (status = 'done') AS done, count(*) FILTER (status = 'failed') AS failed,
    count(*) FILTER (status NOT IN ('done', 'failed')) AS open, sum(seconds) AS seconds,
    avg(seconds) AS mean_seconds, max(peak_memory_mb) AS peak_memory_mb,
    string_agg(DISTINCT device, ', ') AS devices, string_agg(DISTINCT host, ', ') AS hosts
FROM stages GROUP BY stage ORDER BY min(started) NULLS LAST, stage"""

UNITS = "SELECT stage, status, seconds, started FROM stages"

SEEDS = "SELECT string_agg(DISTINCT seed, ', ' ORDER BY seed) AS seeds FROM runs"

SWEEPS = "SELECT * FROM sweeps ORDER BY started"

# A run repeats the error of its stage, so it is listed only when no stage tells.
FAILURES = """\
WITH failures AS (
    SELECT run_id, stage, unit::VARCHAR AS unit, attempts, error FROM stages WHERE status = 'failed'
    UNION ALL
    SELECT run_id, 'estimate', quantity || ' of ' || subset || ' at epoch ' || epoch, NULL, error
    FROM mi WHERE status = 'failed'
    UNION ALL
    SELECT run_id, 'run', NULL, NULL, error FROM runs
    WHERE status = 'failed' AND run_id NOT IN (SELECT run_id FROM stages WHERE status = 'failed')
)
SELECT f.run_id, r.dataset, r.attack, r.poison_ratio, r.seed, f.stage, f.unit, f.attempts, f.error
FROM failures f LEFT JOIN runs r USING (run_id) ORDER BY f.run_id, f.stage, f.unit"""

ESTIMATES = """\
SELECT DISTINCT configuration, estimator, protocol, settings FROM trajectories
WHERE layer = 'T' AND quantity IN ('I(X;T)', 'I(T;Yhat)') AND isfinite(nats) ORDER BY ALL"""


# The view `triggers` by metric, with intervals.
TRIGGERS = """\
SELECT
    r.dataset, r.attack, r.attack_params, p.images, p.metric, avg(p.value) AS value, stddev_samp(p.value) AS sd,
    avg(p.ci_low) AS ci_low, avg(p.ci_high) AS ci_high, max(p.n) AS n, count(p.value) AS runs
FROM perceptual p
JOIN runs r USING (run_id)
GROUP BY ALL ORDER BY ALL"""


def trajectories_of(configuration: str, estimator: str, protocol: str, settings: str) -> str:
    """The points of one Fig. 3: every finished estimate of a configuration under one estimate, all layers."""
    return (
        f"SELECT * FROM trajectories\nWHERE configuration = {_text(configuration)}"
        f" AND isfinite(nats)\n    AND estimator = {_text(estimator)} AND protocol = {_text(protocol)}"
        f" AND settings = {_text(settings)}\nORDER BY quantity, seed, subset, epoch"
    )


def epochs_of(configuration: str) -> str:
    """The learning curves of a configuration's runs."""
    return _of(configuration, "epochs", "e.epoch")


def _of(configuration: str, table: str, order: str) -> str:
    """Rows of a table about runs beside the axes of the run."""
    return (
        "SELECT\n    r.seed, r.dataset, r.attack, r.poison_ratio, r.ratio_of, r.target_class,"
        f" r.architecture, r.sigma, e.*\nFROM {table} e\nJOIN runs r USING (run_id)\n"
        "JOIN run_configurations USING (run_id)\n"
        f"WHERE configuration = {_text(configuration)}\nORDER BY r.seed, {order}"
    )


def class_losses_of(configuration: str) -> str:
    """The training loss of every class and of the backdoor images."""
    return _of(configuration, "class_losses", "e.epoch, e.subset")


def tau_half_of(configuration: str) -> str:
    """The summaries of the noise ladders of T."""
    return _of(configuration, "(FROM tau_half WHERE layer = 'T')", "e.epoch, e.subset")


def noise_ladder_of(configuration: str) -> str:
    """The noise ladders of T."""
    return _of(configuration, "(FROM noise_ladder WHERE layer = 'T')", "e.epoch, e.subset, e.tau")


def embeddings_of(configuration: str) -> str:
    """The maps of the configuration's first seed that has any."""
    first = "QUALIFY r.seed = min(r.seed) OVER ()"
    return _of(configuration, "embeddings", "e.epoch, e.image").replace("\nORDER BY", f"\n{first}\nORDER BY")


def trigger_examples(images: int) -> str:
    """A few example images of each trigger, from one of its runs: if possible those that other triggers show too."""
    return f"""\
WITH drawn AS (
    SELECT
        r.dataset, r.attack, r.attack_params, r.seed, r.poison_ratio, x.*,
        count(DISTINCT r.attack || r.attack_params) OVER (PARTITION BY r.dataset, x.image) AS shown_by
    FROM examples x
    JOIN runs r USING (run_id)
), ranked AS (
    SELECT
        *, sum(shown_by) OVER (PARTITION BY run_id) AS shared,
        dense_rank() OVER (PARTITION BY run_id ORDER BY shown_by DESC, image) AS position
    FROM drawn
)
SELECT dataset, attack, attack_params, run_id, image, label, kind, png
FROM ranked
QUALIFY position <= {images} AND dense_rank() OVER (
    PARTITION BY dataset, attack, attack_params ORDER BY shared DESC, seed, poison_ratio DESC, run_id
) = 1
ORDER BY dataset, attack, attack_params, image"""


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
