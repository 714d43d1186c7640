"""How fast fit trains while other programs use the cores, by how long a waiting thread of OpenMP spins.

Two threads share each step and wait for each other at its operations' ends. A thread that waits spins for a while, then
sleeps. (That spinning makes the difference is the usual account and fits the figures; it was not traced.) GNU's OpenMP
(PyTorch on Linux) reads GOMP_SPINCOUNT; LLVM's and Intel's (macOS, Windows) read KMP_BLOCKTIME and are tried here on
Linux, by loading the package intel-openmp's library first, where that is installed.

results/busy_machine.json: rounds, each with every setting beside 0, 1 and 2 busy processes, one after the other.
"""

import importlib.metadata
import os
import subprocess
import sys

from experiments import record

GNU = ({}, {"GOMP_SPINCOUNT": "0"}, {"GOMP_SPINCOUNT": "1000"}, {"GOMP_SPINCOUNT": "20000"},
       {"OMP_WAIT_POLICY": "PASSIVE"}, {"OMP_NUM_THREADS": "1"})  # fmt: skip
INTEL = ({}, {"KMP_BLOCKTIME": "0"}, {"KMP_BLOCKTIME": "1"})
HAS_INTEL = any(package.name == "intel-openmp" for package in importlib.metadata.distributions())
KINDS = {"GNU OpenMP": (GNU, 3)} | ({"Intel OpenMP": (INTEL, 1)} if HAS_INTEL else {})
BUSY = (0, 1, 2)  # processes that do nothing but count

DIGITS = 5_000
TRAIN = f"""
import lenet_utils as lu
digits = [part[:{DIGITS}] for part in lu.load_mnist(train=True, size=28)]
few = [part[:64] for part in digits]
net = lu.tutorial_lenet()
lu.fit(net, few, few, epochs=1, plot=False)
print({DIGITS} / lu.fit(net, digits, few, epochs=1, plot=False)["seconds"][0])
"""


def library(kind):
    """Return the environment that loads this kind's OpenMP library instead of PyTorch's own."""
    if kind == "GNU OpenMP":
        return {}
    files = importlib.metadata.files("intel-openmp")
    return {"LD_PRELOAD": str(next(file.locate().resolve() for file in files if file.name == "libiomp5.so"))}


def digits_per_second(setting, busy):
    """Return the rate of fit in a new process with the environment `setting`, beside `busy` busy processes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        command = [sys.executable, "-c", TRAIN]
        done = subprocess.run(
            command, env=clean | setting, cwd=record.ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    return round(float(done.stdout))


def one_round(kind, seed, checkpoint):
    """Return the rates of a kind's settings, one run a number of busy processes; `seed` numbers the round."""
    found = []
    for busy in BUSY:
        rates = {}
        for setting in KINDS[kind][0]:
            name = " ".join(f"{name}={value}" for name, value in setting.items()) or "no setting"
            rates[name] = digits_per_second(library(kind) | setting, busy)
        found.append({"busy_processes": busy, "digits_per_second": rates})
    return found


if __name__ == "__main__":
    record.main("busy_machine", __doc__, {"runs": ("busy_machine", KINDS, one_round)}, alone=True)
