"""How many times as fast one road is as another: the ratios that the notebooks print, measured with care.

    python -m experiments.bench     a quarter of an hour on two CPU cores, nothing else running; also `make bench`

Each comparison times its roads in turns, ROUNDS times after one turn that does not count, so that a machine whose speed
drifts is fair to all. A run holds every round, and each road's ratio to the first: the median of the rounds' ratios,
the smallest and the largest. All roads of a comparison go through as many digits, so what a road does once, such as
reading the files or drawing a plot, weighs on each alike. Writes results/bench_MACHINE.json, anew each time.
"""

import re
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import matplotlib
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from experiments import record
from experiments.modern_lenet import augment
from lenet import C3_TABLE, PartialConv2d, modern_lenet, tutorial_lenet
from lenet_utils import DATA, MNIST_MEAN, MNIST_STD, fit, load_mnist, pick_device

ROUNDS = 7


def connections():
    """Notebook 02: forward and backward of C3 for 64 digits, kernel by kernel, or as one dense convolution."""
    layer = PartialConv2d(C3_TABLE, kernel_size=5)
    full = nn.Conv2d(6, 16, kernel_size=5)
    maps = torch.rand(64, 6, 14, 14)

    def loop(maps):
        kernels = iter(layer.weight)
        rows = [sum(F.conv2d(maps[:, [i]], next(kernels)[None, None]) for i in row.nonzero()) for row in C3_TABLE]
        return torch.cat(rows, dim=1) + layer.bias[:, None, None]

    def passes(forward):
        for _ in range(5):
            forward(maps).sum().backward()
        return 5 * len(maps)

    roads = {"a loop over kernels": loop, "PartialConv2d": layer, "full Conv2d": full}
    return {name: partial(passes, forward) for name, forward in roads.items()}


def loader(train, padding=0):
    """Return a DataLoader of a split with the transforms that do what load_mnist does, batch size 64."""
    steps = [transforms.Pad(padding), transforms.ToTensor(), transforms.Normalize((MNIST_MEAN,), (MNIST_STD,))]
    files = MNIST(DATA, train=train, transform=transforms.Compose(steps), download=True)
    return DataLoader(files, batch_size=64, shuffle=train)


def loading():
    """Notebook 03: from files to batches of 64, by a DataLoader or with the whole split as one tensor."""

    def by_loader():
        return sum(len(images) for images, _ in loader(True, padding=2))

    def by_tensor():
        images, _ = load_mnist(train=True)
        return sum(len(images[batch]) for batch in torch.randperm(len(images)).split(64))

    return {"DataLoader": by_loader, "whole split": by_tensor}


def training():
    """Notebook 04: d2l's LeNet, one epoch with its test and its plot, by d2l's loop or by fit."""
    matplotlib.use("agg")
    from d2l import torch as d2l
    from IPython.utils.capture import capture_output

    device = pick_device()
    splits = [load_mnist(train=part, size=28, device=device) for part in (True, False)]

    def by_d2l():
        with capture_output():
            d2l.train_ch6(tutorial_lenet(), loader(True), loader(False), num_epochs=1, lr=0.9, device=device)
        return 60_000

    def by_fit():
        with capture_output():
            fit(tutorial_lenet(), *splits, epochs=1)
        return 60_000

    return {"DataLoader and train_ch6": by_d2l, "whole split and fit": by_fit}


def distortion():
    """Notebook 06: training steps of modern_lenet with 128 digits, as they are or each distorted anew."""
    device = pick_device()
    images, labels = (part[:128] for part in load_mnist(train=True, scaling="paper", device=device))
    generator = torch.Generator(device).manual_seed(0)
    net = modern_lenet().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)

    def steps(change):
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(net(change(images)), labels).backward()
            optimizer.step()
        net.output.bias.sum().item()  # waits for a GPU
        return 20 * len(images)

    bent = partial(augment, affine=1.0, elastic=1.0, generator=generator)
    return {"as they are": partial(steps, lambda images: images), "distorted": partial(steps, bent)}


RUNS = {make.__name__: (make, 1) for make in (connections, loading, training, distortion)}


def megahertz():
    """Return how fast the processor's fastest core runs now, in MHz, or None where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return max((round(float(line.partition(":")[2])) for line in lines if line.startswith("cpu MHz")), default=None)


def in_turns(roads, rounds):
    """Return the digits a second of each road in each round; a road is a function that returns its digits' number."""
    found = {name: [] for name in roads}
    for _ in range(rounds):
        for name, road in roads.items():
            start = time.perf_counter()
            digits = road()
            found[name].append(round(digits / (time.perf_counter() - start)))
    return found


def ratios(found):
    """Return the median, smallest and largest ratio of each road's rounds to the first road's."""
    first, *others = found
    shares = {name: [b / a for a, b in zip(found[first], found[name], strict=True)] for name in others}
    return {name: [round(f(share), 2) for f in (statistics.median, min, max)] for name, share in shares.items()}


def compare(kind, seed, checkpoint):
    """Do one of RUNS and print its ratios."""
    roads = RUNS[kind][0]()
    in_turns(roads, 1)
    found = in_turns(roads, ROUNDS)
    for name, (middle, low, high) in ratios(found).items():
        print(f"  {name}: {middle} times {next(iter(found))} ({low} to {high})", flush=True)
    about = {"megahertz": megahertz(), "vectors": torch.backends.cpu.get_cpu_capability()}
    return [about | {"digits_per_second": found, "ratio_to_the_first": ratios(found)}]


if __name__ == "__main__":
    name = f"bench_{re.sub(r'[^a-z0-9]+', '_', record.machine().lower())}"
    if len(sys.argv) == 1:  # a time of another day is no measure of this one
        (record.RESULTS / f"{name}.json").unlink(missing_ok=True)
    record.main("bench", __doc__, {"runs": (name, RUNS, compare)}, alone=True)
