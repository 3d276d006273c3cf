-- The tables of results.duckdb: the only interface between ibray (which writes) and everybody who reads.
-- Information in nats, rates as fractions, times in UTC, durations in seconds. No primary keys: they cost
-- four times the time and five times the space of a big table; the writer deletes before it inserts.

CREATE TABLE IF NOT EXISTS meta (
    key   VARCHAR NOT NULL,
    value VARCHAR NOT NULL
);

-- One row per call of `ibray sweep` that found work to do.
CREATE TABLE IF NOT EXISTS sweeps (
    sweep_id      VARCHAR NOT NULL,
    name          VARCHAR NOT NULL,
    started       TIMESTAMP NOT NULL,
    finished      TIMESTAMP,
    seconds       DOUBLE,
    cells         INTEGER NOT NULL,
    spec          JSON NOT NULL,           -- the sweep file as resolved
    ibray_version VARCHAR NOT NULL,
    git_sha       VARCHAR,                 -- of the code, when it runs from a checkout
    git_dirty     BOOLEAN,
    versions      JSON NOT NULL,           -- python, torch, ray, duckdb, ...
    host          VARCHAR NOT NULL,
    machine       JSON NOT NULL            -- cpu, cores, memory, gpus
);

-- One row per cell of the grid; every axis is a column.
CREATE TABLE IF NOT EXISTS runs (
    run_id       VARCHAR NOT NULL,         -- 16 hex digits over everything that changes the numbers
    dataset      VARCHAR NOT NULL,
    attack       VARCHAR NOT NULL,
    poison_ratio DOUBLE NOT NULL,          -- 0 for attack 'none'; see ratio_of
    ratio_of     VARCHAR NOT NULL,         -- 'train_set' (dirty label), 'target_class' (clean label) or 'none'
    target_class INTEGER NOT NULL,
    architecture VARCHAR NOT NULL,
    sigma        DOUBLE NOT NULL,          -- standard deviation of the Gaussian activation noise
    seed         BIGINT NOT NULL,
    attack_params JSON NOT NULL,           -- the trigger, parameters resolved; younger ones only where they matter
    surrogate    VARCHAR,                  -- run_id, in stages and epochs, of the clean network it was crafted on
    per_class    INTEGER,                  -- training images per class when subsampled
    cell         JSON NOT NULL,            -- the whole cell: what run_id is the hash of
    status       VARCHAR NOT NULL,         -- queued, running, done, failed
    error        VARCHAR,
    started      TIMESTAMP,
    finished     TIMESTAMP,
    seconds      DOUBLE,                   -- summed over its stages
    -- Of its stages: what the first to start ran on and by which code, and their GPU time and peak memory together.
    host         VARCHAR,
    device       VARCHAR,
    driver       VARCHAR,
    node         VARCHAR,
    ibray_version VARCHAR,
    git_sha      VARCHAR,
    git_dirty    BOOLEAN,
    versions     JSON,
    gpu_seconds  DOUBLE,                   -- sum
    peak_memory_mb DOUBLE                  -- largest
);

-- One row per unit of work: (run, stage, unit). The plan of a sweep is the grid minus the rows that are done.
CREATE TABLE IF NOT EXISTS stages (
    run_id   VARCHAR NOT NULL,
    stage    VARCHAR NOT NULL,             -- train, mi, ...
    unit     INTEGER NOT NULL,             -- the snapshot's epoch; 0 for a stage of the whole run
    settings VARCHAR NOT NULL,             -- hash of the stage's own settings
    status   VARCHAR NOT NULL,             -- queued, running, done, failed
    attempts INTEGER NOT NULL,
    started  TIMESTAMP,
    finished TIMESTAMP,
    seconds  DOUBLE,                       -- of its trial, which several of a pack have in common
    host     VARCHAR,
    device   VARCHAR,                      -- the GPU's name, or 'cpu'
    driver   VARCHAR,                      -- of the GPU; NULL on a CPU
    node     VARCHAR,                      -- Ray's id of the machine; NULL without Ray
    ibray_version VARCHAR,                 -- of the code that did this unit, whoever planned it
    git_sha  VARCHAR,                      -- NULL for an installed package
    git_dirty BOOLEAN,
    versions JSON,                         -- python, torch, ray, duckdb, ...
    gpu_seconds DOUBLE,                    -- seconds times what it had reserved of GPUs; in a pack an equal share of that
    peak_memory_mb DOUBLE,                 -- the device's on a GPU; on a CPU the process's, earlier units included
    error    VARCHAR
);

CREATE TABLE IF NOT EXISTS epochs (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    train_loss   DOUBLE NOT NULL,          -- nats, mean over the poisoned training set
    train_acc    DOUBLE NOT NULL,
    test_loss    DOUBLE NOT NULL,
    test_acc     DOUBLE NOT NULL,          -- clean test set, noise on
    asr          DOUBLE,                   -- over triggered test images whose true class is not the target
    lr           DOUBLE NOT NULL,
    seconds      DOUBLE NOT NULL,          -- training in a pack: an equal share of the pack's
    images_per_s DOUBLE NOT NULL           -- of training, by the same seconds
);

-- Training loss of each labelled class, and of the backdoor images alone (label as trained on).
CREATE TABLE IF NOT EXISTS class_losses (
    run_id     VARCHAR NOT NULL,
    epoch      INTEGER NOT NULL,
    subset     VARCHAR NOT NULL,           -- '0', '1', ... or '0_backdoor', '0_clean'
    train_loss DOUBLE NOT NULL,
    n          INTEGER NOT NULL
);

-- Read it as the view `mi`, which puts the axes of the run beside every row.
CREATE TABLE IF NOT EXISTS estimates (
    run_id      VARCHAR NOT NULL,
    epoch       INTEGER NOT NULL,
    subset      VARCHAR NOT NULL,          -- '0', '0_backdoor', '0_clean', '0_sample', '1', ...
    quantity    VARCHAR NOT NULL,          -- 'I(X;T)', 'I(T;Yhat)', 'I(X;Yhat)', 'I(X;B)', 'I(B;Y)', 'I(B;Yhat)'
    layer       VARCHAR NOT NULL,          -- 'T': the last hidden layer, pooled; 'block1', ...; 'output', 'input'
    estimator   VARCHAR NOT NULL,          -- infonce, channel, ...
    protocol    VARCHAR NOT NULL,          -- paper, closed, population, certified, direct
    settings    VARCHAR NOT NULL,          -- hash of every setting of the estimate
    nats        DOUBLE,                    -- NULL when status is 'failed'; the lower bound where bounds are known
    ci_low      DOUBLE,                    -- 95%, over images; where bounds are known it takes them both in
    ci_high     DOUBLE,
    lower_bound DOUBLE,                    -- proven bounds on the truth, where the estimator has them
    upper_bound DOUBLE,
    ceiling     DOUBLE,                    -- the largest value this estimator can return here
    raw         DOUBLE,                    -- what was computed, where it is below 0 and nats is not
    standard_error DOUBLE,                 -- over images; NULL where only the interval is known
    n           INTEGER NOT NULL,          -- images
    draws       INTEGER,                   -- noise draws per image
    negatives   INTEGER,
    critic_epochs INTEGER,
    seconds     DOUBLE NOT NULL,
    status      VARCHAR NOT NULL,          -- done, failed
    error       VARCHAR
);

-- The estimate after each epoch of the critic's own training.
CREATE TABLE IF NOT EXISTS mi_curves (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    subset       VARCHAR NOT NULL,
    quantity     VARCHAR NOT NULL,
    layer        VARCHAR NOT NULL,
    estimator    VARCHAR NOT NULL,
    protocol     VARCHAR NOT NULL,
    settings     VARCHAR NOT NULL,
    critic_epoch INTEGER NOT NULL,
    nats         DOUBLE NOT NULL
);

-- I(X; T + tau Z) for growing noise Z, protocol certified: it still moves where I(X;T) itself sits at log n.
CREATE TABLE IF NOT EXISTS noise_ladder (
    run_id   VARCHAR NOT NULL,
    epoch    INTEGER NOT NULL,
    subset   VARCHAR NOT NULL,
    layer    VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,
    tau      DOUBLE NOT NULL,              -- standard deviation of Z, in units of the between-image RMS of T
    nats     DOUBLE NOT NULL,              -- closed-set lower bound
    ci_low   DOUBLE,
    raw      DOUBLE,
    standard_error DOUBLE,
    ceiling  DOUBLE NOT NULL,              -- log n
    n        INTEGER NOT NULL
);

-- The summary of a noise ladder: the tau at which it crosses half of log n.
CREATE TABLE IF NOT EXISTS tau_half (
    run_id   VARCHAR NOT NULL,
    epoch    INTEGER NOT NULL,
    subset   VARCHAR NOT NULL,
    layer    VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,
    tau_half DOUBLE,                       -- NULL where it crosses nowhere on the ladder
    low      DOUBLE,                       -- of the ladder less, and plus, 1.96 standard errors
    high     DOUBLE,
    rms      DOUBLE NOT NULL,              -- between-image RMS of T, in its own units
    n        INTEGER NOT NULL,
    draws    INTEGER NOT NULL
);

-- A few training images before and after the trigger, for people to look at.
CREATE TABLE IF NOT EXISTS examples (
    run_id VARCHAR NOT NULL,
    image  INTEGER NOT NULL,               -- index in the training set
    label  VARCHAR NOT NULL,               -- name of its true class
    kind   VARCHAR NOT NULL,               -- clean, triggered, difference (absolute, times 10)
    png    BLOB NOT NULL
);

-- How visible the trigger of a run is: means over images.
CREATE TABLE IF NOT EXISTS perceptual (
    run_id  VARCHAR NOT NULL,
    images  VARCHAR NOT NULL,              -- test: as at test time; train: backdoor images as trained on
    metric  VARCHAR NOT NULL,              -- psnr (dB), ssim, lpips
    value   DOUBLE,                        -- NULL where it cannot be had: LPIPS without weights, SSIM below 11 pixels
    ci_low  DOUBLE,                        -- 95%, over images
    ci_high DOUBLE,
    n       INTEGER NOT NULL               -- images that the mean is over: for psnr those that changed
);

-- T of some snapshots (one noise draw) as a map, for people to look at: distances on it mean little.
CREATE TABLE IF NOT EXISTS embeddings (
    run_id VARCHAR NOT NULL,
    epoch  INTEGER NOT NULL,
    image  INTEGER NOT NULL,               -- index in the training set
    subset VARCHAR NOT NULL,               -- '0_backdoor', '0_clean', '1', ...: an image is in one of them
    method VARCHAR NOT NULL,               -- tsne, ...
    x      DOUBLE NOT NULL,
    y      DOUBLE NOT NULL
);

-- How the backdoor images lie to the target class in T itself (ibray/embedding.py), on the images of the map.
CREATE TABLE IF NOT EXISTS clusters (
    run_id VARCHAR NOT NULL,
    epoch  INTEGER NOT NULL,
    metric VARCHAR NOT NULL,               -- silhouette, subclusters, unclustered, distance, spread, class_distance
    value  DOUBLE,                         -- NULL where there are too few images
    n      INTEGER NOT NULL                -- images the metric is about
);

-- Columns that databases of earlier versions lack.
ALTER TABLE runs ADD COLUMN IF NOT EXISTS surrogate VARCHAR;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS driver VARCHAR;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS node VARCHAR;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS git_dirty BOOLEAN;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS versions JSON;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS gpu_seconds DOUBLE;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS peak_memory_mb DOUBLE;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS driver VARCHAR;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS node VARCHAR;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS ibray_version VARCHAR;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS git_sha VARCHAR;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS git_dirty BOOLEAN;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS versions JSON;
ALTER TABLE stages ADD COLUMN IF NOT EXISTS gpu_seconds DOUBLE;
ALTER TABLE estimates ADD COLUMN IF NOT EXISTS raw DOUBLE;
ALTER TABLE estimates ADD COLUMN IF NOT EXISTS standard_error DOUBLE;
ALTER TABLE estimates ADD COLUMN IF NOT EXISTS draws INTEGER;
ALTER TABLE perceptual ADD COLUMN IF NOT EXISTS images VARCHAR;
