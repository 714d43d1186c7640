"""Results files: what every experiment writes to results/*.json, and how."""

import datetime
import json
import os
import platform
from pathlib import Path

import torch
import torchvision

ROOT = Path(__file__).resolve().parent.parent


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
