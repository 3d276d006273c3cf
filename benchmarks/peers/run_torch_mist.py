"""One estimate by torch-mist, in its own environment: X.npy Y.npy ESTIMATOR -> a line of JSON. See ../peers_mi.py."""

import contextlib
import json
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch_mist import estimate_mi  # noqa: E402

torch.set_num_threads(1)
torch.manual_seed(0)
data = {"x": torch.as_tensor(np.load(sys.argv[1])), "y": torch.as_tensor(np.load(sys.argv[2]))}
# Its defaults: up to 5,000 steps of 128, a tenth for validation, early stopping.
name, hidden = sys.argv[3], [128, 128]
started, wall = time.process_time(), time.perf_counter()
with contextlib.redirect_stdout(sys.stderr):
    result = estimate_mi(data, estimator=name, hidden_dims=hidden, verbose=False)
value = result[0] if isinstance(result, tuple) else result
print(json.dumps({
    "nats": float(value), "seconds": time.process_time() - started, "wall": time.perf_counter() - wall,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))  # fmt: skip
