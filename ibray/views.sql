-- Views that answer the paper's questions, executed after schema.sql whenever the writer opens a database.
-- The score and its options are explained in analysis/stealth.py, the phases in analysis/phases.py.

-- All that makes a run but its seed, as a hash. Runs that share it are repetitions of each other.
CREATE OR REPLACE VIEW run_configurations AS
SELECT
    run_id,
    left(md5(concat_ws(
        '|', dataset, attack, poison_ratio, ratio_of, target_class, architecture, sigma, attack_params,
        json_merge_patch(cell, '{"seed": null}')
    )), 8) AS configuration
FROM runs;

-- Every estimate beside the axes of its run.
CREATE OR REPLACE VIEW mi AS
SELECT
    r.dataset, r.attack, r.poison_ratio, r.ratio_of, r.target_class, r.architecture, r.sigma, r.seed, e.*
FROM estimates e
JOIN runs r USING (run_id);

-- One row per finished estimate, with the part its subset plays; the data of Fig. 3.
CREATE OR REPLACE VIEW trajectories AS
SELECT
    m.run_id, m.dataset, m.attack, m.poison_ratio, m.ratio_of, m.target_class, m.architecture, m.sigma, m.seed,
    r.per_class, g.configuration, r.status AS run_status, m.epoch, m.subset,
    CASE
        WHEN m.subset = m.target_class::VARCHAR THEN 'all'
        WHEN m.subset = m.target_class || '_backdoor' THEN 'backdoor'
        WHEN m.subset = m.target_class || '_clean' THEN 'clean'
        WHEN m.subset = m.target_class || '_sample' THEN 'sample'
        WHEN regexp_full_match(m.subset, '\d+') THEN 'clean class'
        WHEN m.subset = 'whole' THEN 'whole set'
        ELSE 'other'
    END AS role,
    m.quantity, m.layer, m.estimator, m.protocol, m.settings, m.nats, m.ci_low, m.ci_high, m.lower_bound,
    m.upper_bound, m.ceiling, m.raw, m.standard_error, m.n, m.draws, m.negatives, m.critic_epochs, m.seconds
FROM mi m
JOIN runs r USING (run_id)
JOIN run_configurations g USING (run_id)
WHERE m.status = 'done';

-- Eqs. 5 and 6 with the default options: min-max over the whole run, one epoch per phase, every clean class.
CREATE OR REPLACE VIEW stealth AS
WITH found AS MATERIALIZED (
    SELECT
        row_number() OVER () AS series, run_id, estimator, protocol, settings, attack, run_status,
        bool_or(quantity = 'I(X;T)') AS has_xt, bool_or(quantity = 'I(T;Yhat)') AS has_ty
    FROM trajectories
    WHERE layer = 'T' AND quantity IN ('I(X;T)', 'I(T;Yhat)')
    GROUP BY run_id, estimator, protocol, settings, attack, run_status
), series AS MATERIALIZED (  -- a bound that is known of one quantity only has no score
    SELECT *
    FROM found
    WINDOW of_estimate AS (PARTITION BY estimator, protocol, settings)
    QUALIFY bool_or(has_xt) OVER of_estimate AND bool_or(has_ty) OVER of_estimate
), estimates AS MATERIALIZED (  -- by a number instead of four names: each of the steps below looks at every row
    SELECT
        s.series, s.attack, t.quantity = 'I(X;T)' AS is_xt, t.epoch, t.subset, t.role = 'clean class' AS is_class,
        t.role IN ('all', 'clean class') OR (s.attack <> 'none' AND t.role IN ('clean', 'backdoor')) AS used,
        CASE WHEN isfinite(t.nats) THEN t.nats END AS nats
    FROM trajectories t
    JOIN series s USING (run_id, estimator, protocol, settings)
    WHERE t.layer = 'T' AND t.quantity IN ('I(X;T)', 'I(T;Yhat)')
), extents AS (
    SELECT
        series,
        string_agg(DISTINCT subset, ',' ORDER BY TRY_CAST(subset AS INTEGER)) FILTER (is_class) AS classes,
        count(DISTINCT subset) FILTER (is_class) AS n_classes,
        2 * count(DISTINCT epoch) * (CASE any_value(attack) WHEN 'none' THEN 1 ELSE 3 END + n_classes) AS needed,
        count(nats) FILTER (used) AS present
    FROM estimates
    GROUP BY series
), checked AS MATERIALIZED (
    SELECT
        s.*, e.classes,
        CASE
            WHEN s.run_status <> 'done' THEN 'run status: ' || s.run_status
            WHEN e.n_classes = 0 THEN 'no clean class'
            WHEN e.present < e.needed THEN (e.needed - e.present) || ' of ' || e.needed || ' estimates missing'
        END AS reason
    FROM series s
    JOIN extents e USING (series)
), ranges AS (
    SELECT series, is_xt, min(nats) AS low, max(nats) AS high
    FROM estimates
    WHERE used AND series IN (SELECT series FROM checked WHERE reason IS NULL)
    GROUP BY series, is_xt
), normalised AS MATERIALIZED (
    SELECT e.*, CASE WHEN high > low THEN (nats - low) / (high - low) ELSE 0 END AS value
    FROM estimates e
    JOIN ranges USING (series, is_xt)
    WHERE e.used
), centres AS MATERIALIZED (
    SELECT series, is_xt, epoch, avg(value) AS centre, avg(nats) AS centre_nats
    FROM normalised
    WHERE is_class
    GROUP BY series, is_xt, epoch
), positions AS (  -- snapshots by number, and by the height of the clean classes' I(X;T)
    SELECT
        series, epoch,
        row_number() OVER (of_run ORDER BY epoch) AS position,
        row_number() OVER (of_run ORDER BY round(centre_nats, 12) DESC, epoch) AS height,
        count(*) OVER of_run AS final
    FROM centres
    WHERE is_xt
    WINDOW of_run AS (PARTITION BY series)
), phases AS (
    SELECT p.series, p.epoch
    FROM positions p
    JOIN positions peak USING (series)
    WHERE peak.height = 1
        AND p.position IN (1, peak.position, peak.position + (p.final - peak.position + 1) // 2, p.final)
), distances AS (
    SELECT series, is_xt, avg(abs(value - centre)) AS distance
    FROM normalised
    JOIN centres USING (series, is_xt, epoch)
    JOIN phases USING (series, epoch)
    WHERE NOT is_class
    GROUP BY series, is_xt
), scored AS (
    SELECT series, max(distance) FILTER (is_xt) AS s_xt, max(distance) FILTER (NOT is_xt) AS s_ty
    FROM distances
    GROUP BY series
), chosen AS (
    SELECT series, string_agg(epoch, ',' ORDER BY epoch) AS epochs_used
    FROM phases
    GROUP BY series
)
SELECT
    run_id, c.estimator, c.protocol, c.settings, r.dataset, r.attack, r.poison_ratio, r.ratio_of,
    r.target_class, r.architecture, r.sigma, r.seed, g.configuration, s.s_xt, s.s_ty,
    (s.s_xt + s.s_ty) / 2 AS score, 'run' AS normalise, h.epochs_used,
    CASE c.attack WHEN 'none' THEN 'all' ELSE 'clean,backdoor,all' END AS subsets_used,
    coalesce(c.classes, '') AS clean_classes_used, c.reason
FROM checked c
JOIN runs r USING (run_id)
JOIN run_configurations g USING (run_id)
LEFT JOIN scored s USING (series)
LEFT JOIN chosen h USING (series);

-- One row per finished training: what the network could do in the end.
CREATE OR REPLACE VIEW final_epochs AS
SELECT e.*
FROM epochs e
JOIN runs r USING (run_id)
WHERE r.status = 'done' OR EXISTS (
    FROM stages s WHERE s.run_id = e.run_id AND s.stage = 'train' AND s.status = 'done'
)
QUALIFY row_number() OVER (PARTITION BY e.run_id ORDER BY e.epoch DESC) = 1;

-- One row per configuration. Standard deviations are over seeds, NULL for one.
CREATE OR REPLACE VIEW configurations AS
SELECT
    g.configuration, r.dataset, r.attack, r.poison_ratio, r.ratio_of, r.target_class, r.architecture, r.sigma,
    any_value(r.attack_params) AS attack_params, any_value(r.per_class) AS per_class,
    count(*) AS runs,
    count(*) FILTER (r.status = 'done') AS done,
    count(*) FILTER (r.status = 'failed') AS failed,
    avg(f.test_acc) AS test_acc, stddev_samp(f.test_acc) AS test_acc_sd,
    avg(f.asr) AS asr, stddev_samp(f.asr) AS asr_sd
FROM runs r
JOIN run_configurations g USING (run_id)
LEFT JOIN final_epochs f USING (run_id)
GROUP BY ALL;

-- One row per trigger and kind of images (test, train): how visible it is, whatever networks it was put into.
-- Means over the runs that share it, standard deviations over these runs, NULL for one; n: images of a run.
CREATE OR REPLACE VIEW triggers AS
SELECT
    r.dataset, r.attack, r.attack_params, p.images,
    avg(p.value) FILTER (p.metric = 'psnr') AS psnr, stddev_samp(p.value) FILTER (p.metric = 'psnr') AS psnr_sd,
    avg(p.value) FILTER (p.metric = 'ssim') AS ssim, stddev_samp(p.value) FILTER (p.metric = 'ssim') AS ssim_sd,
    avg(p.value) FILTER (p.metric = 'lpips') AS lpips, stddev_samp(p.value) FILTER (p.metric = 'lpips') AS lpips_sd,
    max(p.n) AS n, count(DISTINCT p.run_id) AS runs
FROM perceptual p
JOIN runs r USING (run_id)
GROUP BY ALL;

-- The paper's Table I: scores averaged over seeds, with the accuracy and attack success of the same runs.
CREATE OR REPLACE VIEW table1 AS
SELECT
    s.dataset, s.poison_ratio, s.ratio_of, s.attack, s.architecture, s.sigma, s.target_class, s.configuration,
    s.estimator, s.protocol, s.settings,
    avg(s.s_xt) AS s_xt, avg(s.s_ty) AS s_ty, avg(s.score) AS score, stddev_samp(s.score) AS score_sd,
    count(*) AS seeds, avg(f.test_acc) AS test_acc, avg(f.asr) AS asr
FROM stealth s
LEFT JOIN final_epochs f USING (run_id)
WHERE s.score IS NOT NULL
GROUP BY ALL;
