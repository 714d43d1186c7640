"""Runs of an experiment spread over a Ray cluster (https://docs.ray.io): `python -m experiments.NAME runs --ray`.

Needs the package ray, which nothing else here does; README.md beside this file says how to use it.
"""

import importlib
import socket
import tempfile
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from experiments import record
from lenet_data import write_whole


class Keeper:
    """Keeps the checkpoints of the runs in a folder of the machine where the command was given, by their names.

    There a run is taken up again when the machine that did it is lost; so is the command itself, with Ray or without.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def save(self, name, content):
        write_whole(self.folder / f"{name}.pt", content)

    def load(self, name):
        path = self.folder / f"{name}.pt"
        return path.read_bytes() if path.exists() else None


def one_run(module, part, kind, seed, name, keeper):
    """Do one run, on whatever machine Ray has chosen; return what record.carry_out returns, and the weights' files."""
    import ray

    torch.set_num_threads(1)  # a core a run, as in the experiments' own command: so the weights are the same to the bit
    _, _, do = importlib.import_module(module).PARTS[part]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / f"{name}.pt"
        if content := ray.get(keeper.load.remote(name)):
            checkpoint.write_bytes(content)
        record.AFTER_CHECKPOINT.append(lambda path, content: ray.get(keeper.save.remote(name, content)))
        try:
            runs, here = record.carry_out(kind, seed, do, checkpoint)
        finally:
            record.AFTER_CHECKPOINT.pop()
    return runs, here, {run["weights"]: (record.ROOT / run["weights"]).read_bytes() for run in runs if "weights" in run}


def do_missing(results, command, kinds, module, part, only_seeds=None, address="", gpus=0.0):
    """Do the runs of `kinds` that results/`results`.json lacks, side by side, and write it after each.

    module: name of the experiment's module; part: the key of its PARTS. address: of the cluster, "auto" for the one
    that this machine belongs to; without one, this machine alone. gpus: how many a run takes, a fraction too; 0 for a
    CPU core. The rest as for record.do_missing, with which this may share the work. Raises SystemExit at the end if a
    run failed.
    """
    try:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
    except ImportError:
        raise SystemExit('--ray needs the package ray: run "pip install ray" in this environment first.') from None
    try:
        if address not in ("", "auto"):  # Ray itself would try for minutes
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address or "local", log_to_driver=False)
    except (OSError, ValueError) as error:
        raise SystemExit(f"No Ray cluster answered at {address!r}: {str(error).splitlines()[0]}") from None
    path, waiting, failed = record.RESULTS / f"{results}.json", {}, []
    # A machine that is lost must not take the checkpoints with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(Keeper).options(num_cpus=0, scheduling_strategy=here).remote(str(record.CHECKPOINTS))
    task = ray.remote(one_run).options(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=-1)
    try:
        for kind, seed in record.missing(path, kinds, only_seeds):
            name = record.run_name(results, kind, seed)
            lock = FileLock(record.CHECKPOINTS / f"{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print(f"{kind}, seed {seed}: another process is doing it", flush=True)
                continue
            if record.is_done(path, kind, seed):  # by another process, since
                lock.release()
                continue
            waiting[task.remote(module, part, kind, seed, name, keeper)] = kind, seed, name, lock
        print(f"{len(waiting)} runs, {ray.cluster_resources().get('CPU', 0):.0f} cores", flush=True)
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            kind, seed, name, lock = waiting.pop(done)
            try:
                runs, where, files = ray.get(done)
                for file, content in files.items():
                    (record.ROOT / file).parent.mkdir(parents=True, exist_ok=True)
                    write_whole(record.ROOT / file, content)
                print(f"{kind}, seed {seed}", flush=True)
                record.add_to_record(path, command, runs, where)
                (record.CHECKPOINTS / f"{name}.pt").unlink(missing_ok=True)
            except ray.exceptions.RayTaskError as error:
                failed.append(f"{kind}, seed {seed}: {error.cause!r}")
            finally:
                lock.release()
    finally:
        for *_, lock in waiting.values():
            lock.release()
        ray.shutdown()
    if failed:
        raise SystemExit("These runs failed:\n" + "\n".join(failed))
