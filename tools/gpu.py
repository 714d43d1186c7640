"""Try everything on a CUDA GPU that is meant for one, offline, and keep what it finds.

    python -m tools.gpu FOLDER [STEP ...]

The steps are tests (those marked cuda), measurements (experiments.speed, which writes results/speed_NAME.json) and the
notebooks that use the GPU, executed and written to FOLDER by their names. Without a STEP all are taken. A step that
fails does not stop the others; what each printed is in FOLDER/STEP.log. Ends with 1 if one failed.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from experiments import speed
from lenet_utils import pick_device
from tools.notebook_rules import ROOT

NOTEBOOKS = ("02_c3_connection_table", "04_training", "06_modern_lenet", "07_speed")


def steps(folder):
    """Return the command of each step by its name."""
    python = [sys.executable, "-m"]
    execute = [*python, "nbconvert", "--to", "notebook", "--execute", "--output-dir", str(folder)]
    return {
        "tests": [*python, "pytest", "-n0", "-m", "cuda", "-rs", "--durations=10", "tests"],
        "measurements": [*python, "experiments.speed", "runs"],
    } | {name: [*execute, f"notebooks/{name}.ipynb"] for name in NOTEBOOKS}


def take(command, log):
    """Run the command, write what it prints to the file `log`, and return its exit status and seconds."""
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    return done.returncode, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=lambda text: Path(text).resolve())
    parser.add_argument("step", nargs="*", help="only these steps")
    arguments = parser.parse_args()
    known = steps(arguments.folder)
    for name in arguments.step:
        if name not in known:
            parser.error(f"there is no step {name!r}: choose from {', '.join(known)}")
    if not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA GPU here: torch.cuda.is_available() is False.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}", flush=True)
    failed = []
    for name in arguments.step or known:
        log = arguments.folder / f"{name}.log"
        status, seconds = take(known[name], log)
        print(f"{name:24} {'passed' if status == 0 else 'FAILED'} in {seconds:5.1f} s", flush=True)
        if status:
            failed.append(name)
            print(*log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:], sep="\n", flush=True)
    print(f"measured: results/{speed.results_name(pick_device())}.json; everything else: {arguments.folder}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
