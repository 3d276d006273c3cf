"""One estimate by benchmark-mi, in its own environment: X.npy Y.npy ESTIMATOR -> a line of JSON. See ../peers_mi.py."""

import contextlib
import json
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")

import bmi  # noqa: E402
import numpy as np  # noqa: E402

x, y = np.load(sys.argv[1]), np.load(sys.argv[2])
neural = {"verbose": False, "seed": 0}
estimators = {
    "ksg": lambda: bmi.estimators.KSGEnsembleFirstEstimator(neighborhoods=(3,)),
    "cca": lambda: bmi.estimators.CCAMutualInformationEstimator(),
    "infonce": lambda: bmi.estimators.InfoNCEEstimator(**neural),
    "nwj": lambda: bmi.estimators.NWJEstimator(**neural),
    "dv": lambda: bmi.estimators.DonskerVaradhanEstimator(**neural),
    "mine": lambda: bmi.estimators.MINEEstimator(**neural),
}
started, wall = time.process_time(), time.perf_counter()
with contextlib.redirect_stdout(sys.stderr):
    value = estimators[sys.argv[3]]().estimate(x, y)
print(json.dumps({
    "nats": float(value), "seconds": time.process_time() - started, "wall": time.perf_counter() - wall,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))  # fmt: skip
