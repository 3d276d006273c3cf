"""One estimate by ibray: X.npy Y.npy ESTIMATOR/PROTOCOL NATS -> a line of JSON. See ../peers_mi.py.

`channel` is told the noise of the Gaussian that the samples were drawn from, as NATS says.
"""

import json
import resource
import sys
import time

import numpy as np
import torch

from ibray.validation.contenders import contenders
from ibray.validation.problems import Sample, gaussian

torch.set_num_threads(1)
x, y = (torch.as_tensor(np.load(path)) for path in sys.argv[1:3])
(contender,) = contenders([sys.argv[3]])
problem = gaussian(x.shape[1], float(sys.argv[4]))
sample = Sample(x, y, problem.draw(2, 0).noise)
started, wall = time.process_time(), time.perf_counter()
value = contender.run(sample, 0).nats
print(json.dumps({
    "nats": value, "seconds": time.process_time() - started, "wall": time.perf_counter() - wall,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))  # fmt: skip
