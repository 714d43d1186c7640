"""Past one device: the training step of notebook 04 on several processes, and when more of them stop paying.

    python -m experiments.data_parallel runs        two processes on this machine; half a minute on two CPU cores
    python -m torch.distributed.run --standalone --nproc-per-node=2 -m experiments.data_parallel steps FILE

`runs` writes results/data_parallel.json; it starts the second command (torch.distributed.run is torchrun), which writes
what it found to FILE as JSON. Every process has the same network and trains it on its share of each batch; between the
gradients and the step all gradients are averaged over the processes, by hand or by DistributedDataParallel. Equal
shares make the mean of the means that of the whole batch, so the weights must be those of one process, up to rounding.

Two CPU processes talk through the loopback network interface, by gloo; where there are as many CUDA GPUs as processes
each takes one, and they talk by NCCL (not tried yet). A process has its part of the cores, and the one process of the
comparison has no more: it stands for one device. The last section reckons with more devices than are here.
"""

import datetime
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from experiments import record
from experiments.speed import synchronize
from lenet import tutorial_lenet
from lenet_data import write_whole
from lenet_utils import epoch_order, load_mnist, seed_everything

SETTINGS = {"batch_size": 64, "steps": 20, "lr": 0.9}
LOAD = {"size": 28, "scaling": "standard"}
WAYS = ("one process", "by hand", "DDP")
ROUNDS = 5  # of all three ways, in turns, so that a machine whose speed drifts is fair to all
LENGTHS = (1, 1_000, 61_706, 1_000_000, 10_000_000)  # of an all-reduce; the third is the network's
REPEATS = 50  # of each
PATIENCE = 120  # seconds for which a process waits for the others

# ------------------------------------------------------------------------------------------------ a step, shared


def place(environment, batch_size):
    """Return rank and number of processes, in all and then on this machine, from torchrun's `environment`, a dict.

    Raises ValueError where torchrun was not there, and where the processes cannot share a batch equally.
    """
    if "RANK" not in environment:
        raise ValueError(
            "There is no RANK in the environment, so torchrun did not start this process: run "
            "python -m torch.distributed.run --standalone --nproc-per-node=2 -m experiments.data_parallel steps FILE"
        )
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, processes, local_rank, local_processes = (int(environment[name]) for name in names)
    if batch_size % processes:
        fitting = ", ".join(str(number) for number in range(1, batch_size + 1) if batch_size % number == 0)
        raise ValueError(
            f"{processes} processes cannot share a batch of {batch_size} digits equally: give --nproc-per-node one of "
            f"{fitting}."
        )
    return rank, processes, local_rank, local_processes


def share(batches, rank, processes):
    """Return the part of each batch that the process `rank` trains on, int64 [steps, B / processes].

    batches: int64 [steps, B], the digits' places. The parts are equal, or the mean of their means would not be the
    mean of the batch.
    """
    return batches.chunk(processes, dim=1)[rank]


def average_gradients(net):
    """Put the mean over all processes in the place of each gradient of `net`, by one all-reduce for all of them."""
    gradients = [parameter.grad for parameter in net.parameters()]
    row = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(row)  # every process now has the sum over all
    row /= distributed.get_world_size()
    for gradient, part in zip(gradients, row.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def train(net, data, batches, average=None):
    """Take a step of gradient descent on each row of `batches` int64 [steps, B]; return each step's time in seconds.

    data: pair (images, labels). average: called with the network between the gradients and the step. Waiting for other
    processes counts.
    """
    images, labels = data
    optimizer = torch.optim.SGD(net.parameters(), SETTINGS["lr"])
    times = []
    for batch in batches:
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(net(images[batch]), labels[batch]).backward()
        if average:
            average(net)
        optimizer.step()
        synchronize(images.device)
        times.append(time.perf_counter() - start)
    return times


def fresh_net(device):
    """Return the network on `device`, with the same first weights in every process and every time."""
    seed_everything(0)
    return tutorial_lenet().to(device)


def weights_of(net):
    """Return all weights of `net` in one row, float32 [61706]."""
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def difference(one, other):
    """Return the largest difference between two rows of weights."""
    return (one - other).abs().max().item()


def difference_between_ranks(weights):
    """Return the largest difference of any process's `weights` from this one's; all processes must call it."""
    everyones = [torch.empty_like(weights) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyones, weights)
    return max(difference(weights, theirs) for theirs in everyones)


def all_ways(rank, processes, device):
    """Train in each of WAYS, ROUNDS times from the same start; return the weights and the steps' seconds, by way.

    Process 0 alone trains as "one process", on whole batches; the others wait, and their weights stay the first ones.
    """
    data = load_mnist(train=True, device=device, **LOAD)
    order = epoch_order(len(data[1]), seed=0, epoch=0).to(device)
    batches = order[: SETTINGS["steps"] * SETTINGS["batch_size"]].view(SETTINGS["steps"], SETTINGS["batch_size"])
    shares = share(batches, rank, processes)
    weights, times = {}, {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            net = fresh_net(device)
            distributed.barrier()
            if way == "by hand":
                times[way] += train(net, data, shares, average_gradients)
            elif way == "DDP":
                times[way] += train(DistributedDataParallel(net), data, shares)  # averages during backward()
            elif rank == 0:
                times[way] += train(net, data, batches)
            weights[way] = weights_of(net)
    return weights, times


def all_reduce_times(numbers, device):
    """Return the median, smallest and largest time of an all-reduce of `numbers` float32, in seconds."""
    row = torch.zeros(numbers, device=device)  # zeros, whose sum stays finite however often it is taken
    times = []
    for _ in range(2 + REPEATS):
        start = time.perf_counter()
        distributed.all_reduce(row)
        synchronize(device)
        times.append(time.perf_counter() - start)
    return [round(choose(times[2:]), 7) for choose in (statistics.median, min, max)]


def steps(path, rank, processes, local_rank, local_processes):
    """Do the work of one process, the rest as place() returns it; process 0 writes what they found to `path`, JSON."""
    threads = max(1, (os.cpu_count() or 1) // local_processes)
    torch.set_num_threads(threads)  # or the processes would fight for the cores
    on_gpus = torch.cuda.device_count() >= local_processes
    device = torch.device("cuda", local_rank) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    patience = datetime.timedelta(seconds=PATIENCE)
    distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=patience)
    weights, times = all_ways(rank, processes, device)
    between_ranks = max(difference_between_ranks(weights[way]) for way in ("by hand", "DDP"))
    all_reduces = {str(numbers): all_reduce_times(numbers, device) for numbers in LENGTHS}
    if rank == 0:
        found = {
            "processes": processes,
            "backend": distributed.get_backend(),
            "threads_a_process": threads,
            "settings": SETTINGS,
            "load_mnist": LOAD,
            "largest_differences": {
                "by hand, one process": difference(weights["by hand"], weights["one process"]),
                "DDP, one process": difference(weights["DDP"], weights["one process"]),
                "by hand, DDP": difference(weights["by hand"], weights["DDP"]),
                "between ranks": between_ranks,
                "first weights, last weights": difference(weights_of(fresh_net(device)), weights["one process"]),
            },
            "step_seconds": {way: round(statistics.median(times[way]), 7) for way in WAYS},
            "all_reduce_seconds": all_reduces,
        }
        write_whole(path, (json.dumps(found) + "\n").encode())
    distributed.destroy_process_group()


# ------------------------------------------------------------------------------------------------ on paper


def all_reduce_seconds(devices, numbers, latency, bandwidth):
    """Return how long a ring of `devices` takes to add up a row of `numbers` float32 that each has, in seconds.

    latency: seconds of a message without content. bandwidth: bytes a second from a device to its neighbour.

    The row is cut into as many pieces as there are n devices. At a time, each device sends one piece to its neighbour,
    which adds its own; after n - 1 times each has the whole sum of one piece. In n - 1 times more these go round the
    ring. That makes 2 (n - 1) messages one after the other, each with 1 / n of the bytes, so 2 (n - 1) / n of them in
    all: fewer than twice the row, however many devices. No algorithm sends less (Patarasuk and Yuan, "Bandwidth optimal
    all-reduce algorithms for clusters of workstations", Journal of Parallel and Distributed Computing 69, 2009); others
    send fewer messages. The adding itself is left out.
    """
    return 2 * (devices - 1) * (latency + 4 * numbers / devices / bandwidth)


def fit_link(devices, small, large):
    """Return the latency in seconds and the bandwidth in bytes a second that all_reduce_seconds has from two times.

    devices: at least 2. small, large: pairs (numbers, seconds) of an all-reduce. Raises ValueError for times that no
    link could have.
    """
    per_number = (large[1] - small[1]) / (large[0] - small[0])
    latency = (small[1] - per_number * small[0]) / (2 * (devices - 1))
    if per_number <= 0 or latency < 0:
        raise ValueError(
            f"{small[0]:,} numbers in {small[1]} s and {large[0]:,} in {large[1]} s do not fit a latency and a "
            "bandwidth: measure again with nothing else running, and lengths further apart."
        )
    return latency, 2 * (devices - 1) / devices * 4 / per_number


def step_seconds(devices, compute_seconds, numbers, latency, bandwidth):
    """Return the time of a training step of which `devices` share a batch of fixed size, in seconds.

    compute_seconds: of the whole batch on one device. numbers: how many weights, all averaged at each step. The rest as
    for all_reduce_seconds.

    Computing is taken to shrink as the share does, which is the best case (what a step costs however few its digits
    stays), and the all-reduce to begin when all is computed (DistributedDataParallel sends the last layers' gradients
    while it computes the first ones', so it may hide a part).
    """
    return compute_seconds / devices + all_reduce_seconds(devices, numbers, latency, bandwidth)


def best_devices(batch_size, compute_seconds, numbers, latency, bandwidth):
    """Return the number of devices from which one more makes the step no shorter; the arguments are step_seconds'.

    At most batch_size, because a device needs a digit; a share that is no whole number of digits counts as it is.
    With M = 4 numbers / bandwidth the step takes (compute_seconds - 2 M) / n + 2 n latency, and 2 (M - latency)
    whatever n: it has one minimum, near the square root of (compute_seconds - 2 M) / (2 latency). Where M is more than
    half of compute_seconds, no second device pays.
    """
    paper = (compute_seconds, numbers, latency, bandwidth)
    return min(range(1, batch_size + 1), key=lambda devices: step_seconds(devices, *paper))


# ------------------------------------------------------------------------------------------------ results


def environment():
    """Return what torchrun's processes get as their environment, where they all run on this machine.

    gloo would ask which address this machine's name has, and on some, with macOS say, it has none: so it is told the
    loopback interface. PyTorch for Windows lacks libuv, which torchrun takes if it is not told otherwise.
    """
    found = {"OMP_NUM_THREADS": "1"} | os.environ  # torchrun would set it, with a warning; steps() decides
    interfaces = {name for _, name in socket.if_nameindex()}
    loopback = [name for name in ("lo", "lo0") if name in interfaces]
    if loopback:
        found.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    if sys.platform == "win32":
        found.setdefault("USE_LIBUV", "0")
    return found


def launch(processes, path):
    """Start `steps` in several processes by torchrun and wait for the file `path`.

    Raises subprocess.CalledProcessError if one of them fails; they print why.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*torchrun, "-m", "experiments.data_parallel", "steps", str(path)]
    subprocess.run(command, cwd=record.ROOT, env=environment(), check=True, timeout=5 * PATIENCE)


def run(kind, seed, checkpoint):
    """Return what the processes of a kind of RUNS found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        launch(RUNS[kind][0], path)
        return [json.loads(path.read_text(encoding="utf-8"))]


RUNS = {"2 processes": (2, 1)}
PARTS = {"runs": ("data_parallel", RUNS, run)}

if __name__ == "__main__":
    if sys.argv[1:2] != ["steps"]:
        record.main("data_parallel", __doc__, PARTS, alone=True)
    elif len(sys.argv) != 3:
        sys.exit(f"steps needs the name of one file to write to, not {len(sys.argv) - 2} names.")
    else:
        try:
            here = place(os.environ, SETTINGS["batch_size"])
        except ValueError as error:
            sys.exit(str(error))
        steps(sys.argv[2], *here)
        os._exit(0)  # at once: threads of gloo's that outlive Python's own end can abort it
