-- The tables of validation.duckdb, which `ibray validate` writes and analysis/validation.py reads.
-- Information in nats, times in UTC, durations in seconds.

CREATE TABLE meta (
    key   VARCHAR NOT NULL,                -- schema_version, ibray_version, created, suite ('quick', 'full', 'data', 'snapshots')
    value VARCHAR NOT NULL
);

-- One row per estimate that a check judged; per estimator and problem for `coverage`.
CREATE TABLE validation (
    "check"        VARCHAR NOT NULL,       -- truth, bracket, null, rescaling, subsample, fano, dpi, coverage, dominance, gap
    problem        VARCHAR NOT NULL,
    dims           INTEGER NOT NULL,       -- features of x
    n              INTEGER NOT NULL,       -- samples; images, not noise draws
    truth          DOUBLE,                 -- 0 for a permuted pairing; NULL for data of one's own
    estimator      VARCHAR NOT NULL,
    protocol       VARCHAR NOT NULL,
    seed           INTEGER,                -- NULL where the row is about all seeds
    nats           DOUBLE,                 -- NULL where there is no estimate; a mean over seeds for `coverage`
    ci_low         DOUBLE,
    ci_high        DOUBLE,
    lower_bound    DOUBLE,
    upper_bound    DOUBLE,
    standard_error DOUBLE,
    error          DOUBLE,                 -- nats - truth; how far the value moved for rescaling and subsample
    "limit"        DOUBLE,                 -- of |error|; of nats for fano and dpi; the least share for coverage
    passed         BOOLEAN,                -- NULL: informational. One verdict on the bias of all seeds for `truth`
    seconds        DOUBLE,
    detail         VARCHAR,
    run_id         VARCHAR,                -- these four: of a snapshot of a sweep, for `ibray validate DIR`
    epoch          INTEGER,
    subset         VARCHAR,
    quantity       VARCHAR
);

-- What the problems are: the closed form of each truth and its source.
CREATE TABLE problems (
    name        VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    source      VARCHAR NOT NULL,
    truth       DOUBLE,
    dims        INTEGER NOT NULL
);
