"""What the experiments share: their command line, the results files, and checkpoints.

    python -m experiments.NAME                 does all that results/ lacks of NAME
    python -m experiments.NAME runs --seed 0   only the part "runs", and of it only seed 0
    python -m experiments.NAME --ray           the same, several runs at a time (README.md beside this file)

An experiment has one part or two, its PARTS: {"runs": (results, kinds, do)}. results: the file's name in results/,
without .json. kinds: {kind: (..., seeds)}, where the last entry says how many seeds it has. do(kind, seed, checkpoint)
returns the list of its runs, dicts; checkpoint is the path of a file in which it may keep what it needs to go on where
it was interrupted.
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
    for tell in AFTER_CHECKPOINT:
        tell(path, packed.getvalue())


AFTER_CHECKPOINT = []  # functions of a checkpoint's path and bytes, called once it is written


def do_missing(results, command, kinds, do, only_seeds=None):
    """Do the runs of `kinds` that results/`results`.json lacks, one after the other, and write it after each.

    command: what repeats them all. kinds, do: as above. only_seeds: a list, or None for every seed. Several processes
    may share the work: each leaves out what another is doing, and they write the record one at a time.
    """
    path = RESULTS / f"{results}.json"
    for kind, seed in missing(path, kinds, only_seeds):
        name = run_name(results, kind, seed)
        checkpoint = CHECKPOINTS / f"{name}.pt"
        try:
            with FileLock(CHECKPOINTS / f"{name}.lock", timeout=0):
                if not is_done(path, kind, seed):  # by another process, since
                    print(f"{kind}, seed {seed}", flush=True)
                    add_to_record(path, command, *carry_out(kind, seed, do, checkpoint))
                    checkpoint.unlink(missing_ok=True)
        except Timeout:
            print(f"{kind}, seed {seed}: another process is doing it", flush=True)


def missing(path, kinds, only_seeds=None):
    """Yield kind and seed of each run of `kinds` that the record at `path` lacks."""
    CHECKPOINTS.mkdir(exist_ok=True)
    for kind, (*_, seeds) in kinds.items():
        for seed in range(seeds):
            if (not only_seeds or seed in only_seeds) and not is_done(path, kind, seed):
                yield kind, seed


def run_name(results, kind, seed):
    """Return the name of the files, lock and checkpoint, of a run."""
    return re.sub(r"\W+", "_", f"{results} {kind} seed {seed}")


def is_done(path, kind, seed):
    """Return whether the record at `path` holds a run of this kind and seed."""
    with locked(path):  # Windows replaces no file while another process reads it
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    return any((run["kind"], run.get("seed")) == (kind, seed) for run in runs)


def carry_out(kind, seed, do, checkpoint):
    """Do one run; return what it found, with the SHA-256 of its weights, and where and with what it was done."""
    runs = [{"kind": kind, "seed": seed} | run for run in do(kind, seed, checkpoint)]
    for run in runs:
        if "weights" in run:
            run["sha256"] = hashlib.sha256((ROOT / run["weights"]).read_bytes()).hexdigest()
    return runs, {name: value for name, value in new_record("").items() if name in ("machine", "versions")}


def add_to_record(path, command, runs, here):
    """Add what carry_out returned to the record at `path`, which `command` makes again."""
    with locked(path):
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else new_record(command) | here
        # Where and with what, in the run itself if that is not where the record was begun.
        other = {name: value for name, value in here.items() if record[name] != value}
        record["runs"] += [run | other for run in runs]
        write_record(path, record)
    for run in runs:
        print({name: value for name, value in run.items() if name.endswith(("errors", "second"))}, flush=True)


def main(name, about, parts, alone=False):
    """The command line of the experiment `name`: `about` is its help, `parts` are described above.

    alone: it measures times, and its runs must not run side by side.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=parts, help="only this part (without it: all)")
    parser.add_argument("--kind", action="append", help="only this kind of run (may be repeated)")
    parser.add_argument("--seed", action="append", type=int, help="only this seed (may be repeated)")
    parser.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help="side by side, by Ray: on this machine, "
                        "or on the cluster at ADDRESS")  # fmt: skip
    parser.add_argument("--gpus", type=float, metavar="N", help="with --ray: GPUs a run, 0.25 say (without it: none)")
    arguments = parser.parse_args()
    if arguments.ray is not None and alone:
        parser.error(f"{name} measures times, so its runs cannot run side by side: leave --ray out.")
    if arguments.gpus is not None and (arguments.ray is None or not arguments.gpus > 0):
        parser.error(f"--gpus {arguments.gpus:g} must be more than 0, and needs --ray.")
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
        command = f"python -m experiments.{name} {part}"
        if arguments.ray is None:
            do_missing(results, command, chosen, do, arguments.seed)
        else:
            from experiments import on_ray

            module, gpus = f"experiments.{name}", arguments.gpus or 0
            on_ray.do_missing(results, command, chosen, module, part, arguments.seed, arguments.ray, gpus)
