"""What the experiments share: their command line, the results files, and checkpoints.

    python -m experiments.NAME                 does all that results/ lacks of NAME
    python -m experiments.NAME runs --seed 0   only the part "runs", and of it only seed 0

An experiment has one part or two: {"runs": (results, kinds, do)}. results: the file's name in results/, without
.json. kinds: {kind: (..., seeds)}, where the last entry says how many seeds it has. do(kind, seed, checkpoint) returns
the list of its runs, dicts; checkpoint is the path of a file in which it may keep what it needs to go on where it was
interrupted.
"""

import argparse
import datetime
import hashlib
import io
import json
import platform
import re
from pathlib import Path

import torch
import torchvision
from filelock import FileLock, Timeout

from lenet_data import write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
CHECKPOINTS = ROOT / "experiments" / "unfinished"  # ignored by git


def machine():
    """Return the processor or GPU that PyTorch trains on, with the number of threads, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
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
    """Write `record` to `path` as JSON, whole or not at all, and its SHA-256 to the file SHA256SUMS beside it."""
    content = (json.dumps(record, indent=1) + "\n").encode()
    write_whole(path, content)
    sums = path.with_name("SHA256SUMS")
    with locked(sums):  # another process may be writing another record
        lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
        known = {name: digest for digest, name in map(str.split, lines)}
        known[path.name] = hashlib.sha256(content).hexdigest()
        write_whole(sums, "".join(f"{known[name]}  {name}\n" for name in sorted(known)).encode())


def locked(path):
    """Return what a process must hold while it reads and writes the record at `path`: one at a time."""
    CHECKPOINTS.mkdir(exist_ok=True)
    return FileLock(CHECKPOINTS / f"{path.stem}.lock")


def save_checkpoint(path, content):
    """Write what a run needs to go on to `path`, whole or not at all."""
    packed = io.BytesIO()
    torch.save(content, packed)
    write_whole(path, packed.getvalue())


def do_missing(results, command, kinds, do, only_seeds=None):
    """Do the runs of `kinds` that results/`results`.json lacks, one after the other, and write it after each.

    command: what repeats them all. kinds, do: as above. only_seeds: a list, or None for every seed. Several processes
    may share the work: each leaves out what another is doing, and they write the record one at a time.
    """
    path = RESULTS / f"{results}.json"
    CHECKPOINTS.mkdir(exist_ok=True)
    for kind, (*_, seeds) in kinds.items():
        for seed in range(seeds):
            if (only_seeds and seed not in only_seeds) or is_done(path, kind, seed):
                continue
            name = re.sub(r"\W+", "_", f"{results} {kind} seed {seed}")
            try:
                with FileLock(CHECKPOINTS / f"{name}.lock", timeout=0):
                    if not is_done(path, kind, seed):  # by another process, since
                        print(f"{kind}, seed {seed}", flush=True)
                        do_one(path, command, kind, seed, do, CHECKPOINTS / f"{name}.pt")
            except Timeout:
                print(f"{kind}, seed {seed}: another process is doing it", flush=True)


def is_done(path, kind, seed):
    """Return whether the record at `path` holds a run of this kind and seed."""
    with locked(path):  # Windows replaces no file while another process reads it
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    return any((run["kind"], run.get("seed")) == (kind, seed) for run in runs)


def do_one(path, command, kind, seed, do, checkpoint):
    """Do one run, add what it found to the record at `path`, and remove its checkpoint."""
    runs = [{"kind": kind, "seed": seed} | run for run in do(kind, seed, checkpoint)]
    for run in runs:
        if "weights" in run:
            run["sha256"] = hashlib.sha256((ROOT / run["weights"]).read_bytes()).hexdigest()
    with locked(path):
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else new_record(command)
        # Where and with what, in the run itself if that is not where the record was begun.
        here = {name: value for name, value in new_record(command).items() if name in ("machine", "versions")}
        other = {name: value for name, value in here.items() if record[name] != value}
        record["runs"] += [run | other for run in runs]
        write_record(path, record)
    checkpoint.unlink(missing_ok=True)
    for run in runs:
        print({name: value for name, value in run.items() if name.endswith(("errors", "second"))}, flush=True)


def main(name, about, parts):
    """The command line of the experiment `name`: `about` is its help, `parts` are described above."""
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=parts, help="only this part (without it: all)")
    parser.add_argument("--kind", action="append", help="only this kind of run (may be repeated)")
    parser.add_argument("--seed", action="append", type=int, help="only this seed (may be repeated)")
    arguments = parser.parse_args()
    parts = {part: parts[part] for part in ([arguments.part] if arguments.part else parts)}
    known = {kind: seeds for _, kinds, _ in parts.values() for kind, (*_, seeds) in kinds.items()}
    for kind in arguments.kind or ():
        if kind not in known:
            parser.error(f"there is no kind {kind!r}: choose from {', '.join(known)}")
    most = max(known[kind] for kind in arguments.kind or known)
    for seed in arguments.seed or ():
        if not 0 <= seed < most:
            parser.error(f"there is no seed {seed}: these runs have the seeds 0 to {most - 1}")
    for part, (results, kinds, do) in parts.items():
        chosen = {kind: entry for kind, entry in kinds.items() if kind in (arguments.kind or kinds)}
        do_missing(results, f"python -m experiments.{name} {part}", chosen, do, arguments.seed)
