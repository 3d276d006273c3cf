"""A whole sweep whose attack, dataset, architecture and estimator are all of an installed package."""

from __future__ import annotations

import json

from rows import query

from ibray.sweep import run_sweep


def test_a_sweep_runs_on_plug_ins_alone(example, tiny, tmp_path):
    spec = tiny(
        dataset="greys",
        attack=["none", {"name": "stripes", "period": 2}],
        architecture="cnn4",
        mi={"protocol": {"name": "none", "estimator": "zero"}, "draws": 2},
    )
    database = run_sweep(spec, tmp_path / "out", inline=True, data_dir=tmp_path / "data")
    axes = query(database, "SELECT dataset, attack, architecture, status FROM runs ORDER BY attack")
    assert axes == [("greys", "none", "cnn4", "done"), ("greys", "stripes", "cnn4", "done")]
    ((params,),) = query(database, "SELECT attack_params FROM runs WHERE attack = 'stripes'")
    assert json.loads(params)["period"] == 2
    assert query(database, "SELECT count(asr) FROM epochs JOIN runs USING (run_id) WHERE attack = 'stripes'") == [(3,)]
    estimates = query(database, "SELECT DISTINCT estimator, nats, status FROM mi WHERE attack = 'stripes'")
    assert estimates == [("zero", 0.0, "done")]
    assert query(database, "SELECT count(*) FROM mi WHERE subset = '0_backdoor'") == [(4,)]
    assert query(database, "SELECT DISTINCT estimator, protocol FROM mi") == [("zero", "none")]
