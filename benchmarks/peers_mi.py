"""ibray's estimators beside torch-mist and benchmark-mi on the same Gaussian samples: time, memory, error, in one run.

    python benchmarks/peers_mi.py --envs DIR [--samples 5000] [--nats 2 5] [--limit 60]

Each package gets a virtual environment of its own under DIR (made on the first run, kept for the next) and every
estimate a process of its own. Times are CPU seconds of the estimate alone, without imports, with JAX's compiling;
memory is the process's peak, libraries included. Everything is at each package's
defaults, but that torch-mist's critics have two hidden layers of 128 as ibray's do (benchmark-mi keeps its 16 and 8:
with 128 and 128 none of its critics was done in 60 s), and that ibray's infonce/paper gets 30 epochs at 1e-3 instead
of 350 at 3e-4.

torch-mist scores its critic on the very samples it was trained on where no others are given, so its values are
in-sample ones. It keeps its best critic in a file of a fixed name: two runs of it at a time break each other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ibray.validation.contenders import contenders
from ibray.validation.problems import gaussian

HERE = Path(__file__).parent / "peers"
DIMS = 5

# What each package needs beside itself. benchmark-mi 0.1.3 asks for an equinox that breaks with JAX 0.4.34 and later;
# torch-mist 0.2.17 imports pandas and tqdm without asking for them, and wants NumPy below 2.
PACKAGES = {
    "torch-mist": ("run_torch_mist.py", ["torch-mist==0.2.17", "pandas<3", "tqdm"]),
    "benchmark-mi": ("run_bmi.py", ["benchmark-mi==0.1.3", "jax==0.4.33", "jaxlib==0.4.33"]),
}
ESTIMATORS = {
    "torch-mist": ["infonce", "nwj", "smile", "mine"],
    "benchmark-mi": ["ksg", "infonce", "nwj", "dv", "mine", "cca"],
}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TQDM_DISABLE": "1",
    "JAX_PLATFORMS": "cpu",
}


def environment(envs: Path, package: str) -> Path | None:
    """The interpreter of the package's environment, made where it is missing; None if it cannot be installed."""
    directory = envs / package
    python, ready = directory / "bin" / "python", directory / "ready"
    if ready.exists():
        return python
    print(f"installing {package} into {directory.name}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    install = [python, "-m", "pip", "install", "--quiet", *PACKAGES[package][1]]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        print(f"{package} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        return None
    ready.touch()
    return python


def estimate(command: list[object], limit: int) -> dict:
    """What the runner printed, or why it printed nothing; limit: CPU seconds, imports included."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)),
    )
    if done.returncode < 0:
        return {"failure": f"not done in {limit} s"}
    if done.returncode:
        return {"failure": (done.stderr.strip().splitlines() or ["no message"])[-1][:120]}
    return json.loads(done.stdout.splitlines()[-1])


def family(name: str) -> str:
    return name.split("/")[0]


def report(nats: float, commands: dict[tuple[str, str], list[object]], limit: int) -> None:
    """A line per estimate, as it is done; last its time over ours of the same name (population before paper)."""
    print(f"\nGaussian, {DIMS} features, truth {nats:g} nats")
    print(f"{'package':<14}{'estimator':<22}{'nats':>8}{'error':>8}{'CPU s':>9}{'MB':>8}  time / ibray's", flush=True)
    ours: dict[str, tuple[str, dict]] = {}
    for (package, name), command in commands.items():
        result, of_ours = estimate(command, limit), family(name)
        if "failure" in result:
            print(f"{package:<14}{name:<22}  {result['failure']}", flush=True)
            continue
        value, seconds = result["nats"], result["seconds"]
        line = f"{package:<14}{name:<22}{value:8.3f}{value - nats:+8.3f}{seconds:9.2f}{result['peak_mb']:8.0f}"
        if package == "ibray":
            if of_ours not in ours or name.endswith("population"):
                ours[of_ours] = name, result
        elif of_ours in ours:
            other, mine = ours[of_ours]
            line += f"  {seconds / mine['seconds']:.2f}x ({other}, error {mine['nats'] - nats:+.3f})"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path, required=True, help="where the peers' environments are")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--nats", type=float, nargs="+", default=[2.0, 5.0])
    parser.add_argument("--limit", type=int, default=60, help="CPU seconds for one estimate")
    arguments = parser.parse_args()
    arguments.envs.mkdir(parents=True, exist_ok=True)
    pythons = {package: environment(arguments.envs.resolve(), package) for package in PACKAGES}
    print(f"torch {torch.__version__}, {platform.machine()}, {time.strftime('%Y-%m-%d')}, n {arguments.samples}")
    with tempfile.TemporaryDirectory() as scratch:
        for nats in arguments.nats:
            problem = gaussian(DIMS, nats)
            sample = problem.draw(arguments.samples, 0)
            paths = [Path(scratch) / f"{name}.npy" for name in "xy"]
            for path, values in zip(paths, (sample.x, sample.y), strict=True):
                np.save(path, values.numpy())
            commands: dict[tuple[str, str], list[object]] = {}
            for contender in contenders():
                if contender.accepts(problem):
                    runner = [sys.executable, HERE / "run_ibray.py", *paths, contender.name, nats]
                    commands["ibray", contender.name] = runner
            for package, python in pythons.items():
                for name in ESTIMATORS[package] if python else []:
                    commands[package, name] = [python, HERE / PACKAGES[package][0], *paths, name]
            report(nats, commands, arguments.limit)


if __name__ == "__main__":
    main()
