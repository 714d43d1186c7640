"""Results files: what every experiment writes to results/*.json, and how."""

import datetime
import json
import os
import platform
import re
from pathlib import Path

import torch
import torchvision

ROOT = Path(__file__).resolve().parent.parent
UNFINISHED = ROOT / "experiments" / "unfinished"  # ignored by git


def machine():
    """Return the processor or GPU that PyTorch trains on, with the number of threads, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads"


def new_record(command):
    """Return the record of an experiment that `command` repeats: where, with what, when, and no runs yet."""
    return {
        "command": command,
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "date": datetime.date.today().isoformat(),
        "runs": [],
    }


def write_record(path, record):
    """Write `record` to `path` as JSON, whole or not at all."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(unfinished, path)


def keep(state, content):
    """Write what a run needs to go on to the path `state`, whole or not at all."""
    unfinished = state.with_suffix(".unfinished")
    torch.save(content, unfinished)
    os.replace(unfinished, state)


def do_missing(path, command, known, do, kinds=None, seeds=None):
    """Do the runs that the results file at `path` lacks, one after the other, and write it after each.

    command: what repeats it all. known: the kinds of run; the last entry of each value says how many seeds it has. do:
    called with kind, seed, and the path of a file that may keep the run's state; returns a list of runs. kinds, seeds:
    only these. Several processes may share the work if they do different kinds or seeds.
    """
    UNFINISHED.mkdir(exist_ok=True)
    for kind in kinds or known:
        for seed in range(known[kind][-1]) if seeds is None else seeds:
            record = json.loads(path.read_text()) if path.exists() else new_record(command)
            if any((run["kind"], run.get("seed")) == (kind, seed) for run in record["runs"]):
                continue
            print(f"{kind}, seed {seed}", flush=True)
            name = re.sub(r"\W+", "_", f"{path.stem} {kind} seed {seed}")
            state = UNFINISHED / f"{name}.pt"
            found = do(kind, seed, state)
            # Read again: another process may have added its run meanwhile.
            record = json.loads(path.read_text()) if path.exists() else record
            record["runs"] += found
            write_record(path, record)
            state.unlink(missing_ok=True)
            for run in found:
                print({name: value for name, value in run.items() if name.endswith("errors")}, flush=True)
