"""The ladder of notebook 07: the same training, each time with one waste less, up to the machine's limit.

    python -m experiments.speed choices     recipes for 99 % in little time, tried on the validation split
    python -m experiments.speed runs        this machine: its limits, every rung of the ladder, and the time to 99 %

Each takes some minutes on two CPU cores, with nothing else running. `choices` trains on the first 50,000 training
digits and counts errors on the last 10,000; it writes results/speed_choices.json. `runs` writes
results/speed_DEVICE.json, one file a device, and weights/speed_DEVICE/. The rung "own kernel" compiles
train_lenet.cpp with the machine's C++ compiler.
"""

import contextlib
import logging
import os
import re
import statistics
import time
import warnings

import torch
import torch._inductor.config
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from experiments import compiled, own_kernel, record
from lenet import tutorial_lenet
from lenet_utils import (
    DATA,
    MNIST_MEAN,
    MNIST_STD,
    count_errors,
    epoch_order,
    load_mnist,
    pick_device,
    save_weights,
)

# torch.compile looks for a CUDA toolkit and warns if there is one but no GPU, which concerns nobody here.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
# On Python 3.13.0 it warns of slower checks, a little at each step.
warnings.filterwarnings("ignore", "Guards may run slower on Python 3.13.0", RuntimeWarning)
# For compilations whose time is reported: it is that of the first time.
NO_CACHE = torch._inductor.config.patch(force_disable_caches=True)

# ------------------------------------------------------------------------------------------------ the limit


def synchronize(device):
    """Wait until the device has done all its work: a GPU's is only queued when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(work, device, repeats=15):
    """Return the median time of one call of `work` in seconds, after two calls that do not count."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


# In what a large matrix product can be computed: the numbers' type, and whether PyTorch may round float32 to TF32.
PRECISIONS = {"float32": (torch.float32, False), "TF32": (torch.float32, True), "bfloat16": (torch.bfloat16, False)}


def has_bfloat16():
    """Return whether the GPU computes in bfloat16 itself: older ones, a T4 say, only emulate it.

    torch.compile writes code for them that they cannot run (PyTorch's issue 118122).
    """
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def matmul_rate(device, precision="float32"):
    """Return the floating-point operations a second of a large matrix product on `device`, in one of PRECISIONS."""
    side = 8192 if device.type == "cuda" else 1024
    dtype, tf32 = PRECISIONS[precision]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        return 2 * side**3 / seconds(lambda: left @ right, device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def matmul_rates(device):
    """Return the rate of a large matrix product on `device` in each precision that it has, by its name.

    TF32 and bfloat16 came to NVIDIA's GPUs together, with Ampere; PyTorch's convolutions use TF32 where they can.
    """
    names = PRECISIONS if device.type == "cuda" and has_bfloat16() else ["float32"]
    return {name: matmul_rate(device, name) for name in names}


def kernel_seconds(work):
    """Return the seconds that a CUDA GPU computes during work(), by the operation that asked for it.

    A clock around each operation would measure how long Python takes to ask; torch.profiler reads the GPU's own clock.
    """
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    # Kernels are listed by their own names, too, and would count twice.
    operations = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    return {event.key: event.self_device_time_total / 1e6 for event in operations if event.self_device_time_total}


def copy_rate(device):
    """Return the bytes a second that `device` moves while it copies 200 MB, read and written both counted."""
    source = torch.randn(50_000_000, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / seconds(lambda: target.copy_(source), device)


# ------------------------------------------------------------------------------------------------ the ladder

# Each rung keeps what the rungs above it changed and adds its own change.
LADDER = {
    "DataLoader": {"loader": True},
    "whole split": {"loader": False},
    "no .item()": {"item": False},
    "channels-last": {"channels_last": True},
    "fused optimiser": {"fused": True},
    "torch.compile": {"compile": True},
}
ON_CPU = {"own kernel": {"kernel": True}}
# A CUDA machine often has cores to spare for the loader, and copies faster from memory that stays where it is (pinned).
WORKERS = {"workers": {"workers": min(8, os.cpu_count() or 1)}}
ON_CUDA = {
    "CUDA graph": {"graph": 1},
    "8 steps a graph": {"graph": 8},
    "bfloat16": {"bfloat16": True},
}
PLAIN = {
    "loader": False, "workers": 0, "item": True, "channels_last": False, "fused": False, "compile": False,
    "kernel": False, "graph": 0, "bfloat16": False,
}  # fmt: skip


def ladder(device):
    """Return the rungs for `device`: name and whole settings (see PLAIN), each with those of the rungs above it."""
    changes = LADDER | {"cuda": ON_CUDA, "cpu": ON_CPU}.get(device.type, {})
    if device.type == "cuda":
        changes = {"DataLoader": LADDER["DataLoader"]} | WORKERS | changes
        if not has_bfloat16():
            del changes["bfloat16"]
    rungs, settings = {}, dict(PLAIN)
    for name, change in changes.items():
        settings = settings | change
        rungs[name] = settings
    return rungs


def score(weights, inputs, net, labels):
    """Return the mean cross-entropy of `net` with the parameters `weights`, and how many logits are right."""
    logits = torch.func.functional_call(net, weights, (inputs,)).float()
    return F.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).sum()


def whole_step(net, sums):
    """Return a function of (inputs, labels, lr): a training step of `net` that torch.compile takes as one piece.

    It changes the parameters of `net` in place (gradient descent) and adds to `sums`: the losses, and the right
    answers. lr: a tensor, so that another rate needs no new compilation.
    """
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    differentiate = torch.func.grad_and_value(score, has_aux=True)

    def step(inputs, labels, lr):
        gradients, (loss, correct) = differentiate(weights, inputs, net, labels)
        for name, weight in weights.items():
            weight.sub_(lr * gradients[name])
        sums.add_(torch.stack([loss * len(labels), correct]))

    return step


class Loop:
    """Training by gradient descent at the rate `lr`, in one of the ways of the ladder.

    net: tutorial_lenet() (rungs without the own kernel take any network with logits); it is moved to the data's device.
    data: pair (images, labels). settings: see PLAIN.

    epoch(order) shows the digits order int64 [N] in batches and returns mean loss and accuracy, each digit as the
    network saw it.
    """

    def __init__(self, net, data, batch_size, lr, settings):
        self.net, (self.images, self.labels), self.batch_size = net, data, batch_size
        self.settings, self.device = settings, data[0].device
        net.to(self.device)
        if settings["channels_last"] and not settings["kernel"]:
            net.to(memory_format=torch.channels_last)
        self.sums = torch.zeros(2, device=self.device)  # of losses, and of right answers
        self.lr = torch.tensor(float(lr), device=self.device)
        self.optimizer = torch.optim.SGD(net.parameters(), lr=lr, fused=settings["fused"])
        if settings["loader"]:
            scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MNIST_MEAN,), (MNIST_STD,))])
            dataset = MNIST(DATA, train=True, transform=scale, download=True)
            self.order = []  # of the epoch to come: the loader keeps its workers, and reads it anew
            workers = settings["workers"]
            self.loader = DataLoader(
                dataset, batch_size, sampler=self.order, num_workers=workers, persistent_workers=workers > 0,
                pin_memory=workers > 0,
            )  # fmt: skip
        if settings["kernel"]:
            self.kernel = own_kernel.Kernel(net, data)
        elif settings["compile"]:
            self.compiled_step = torch.compile(whole_step(net, self.sums), dynamic=False, fullgraph=True)
        if settings["graph"]:
            changed = [*net.parameters(), self.sums]
            self.graphs = Replay(self.step, settings["graph"], batch_size, self.lr, changed)

    def step(self, batch):
        """Train on the digits `batch` int64 [B] and add to the sums."""
        labels = self.labels[batch]
        if self.settings["compile"]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings["bfloat16"]):
                self.compiled_step(self.images[batch], labels, self.lr)
        else:
            logits = self.net(self.images[batch])
            loss = F.cross_entropy(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            right = (logits.argmax(dim=1) == labels).sum()
            self.sums += torch.stack([loss.detach() * len(batch), right])

    def epoch(self, order):
        """Show the digits `order` and return mean loss and accuracy."""
        if self.settings["loader"]:
            return self._epoch_from_loader(order)
        if self.settings["item"]:
            return self._epoch_with_item(order)
        self.sums.zero_()
        order = order.to(self.device)
        whole = len(order) // self.batch_size * self.batch_size
        batches = order[:whole].view(-1, self.batch_size)
        rest = order[whole:].view(-1, max(1, len(order) - whole))  # a last, smaller batch, or none
        if self.settings["kernel"]:
            parts = [self.kernel.train(part, self.lr.expand(len(part))) for part in (batches, rest)]
            loss_sum, correct = (sum(both) for both in zip(*parts, strict=True))
            return loss_sum / len(order), correct / len(order)
        if self.settings["graph"]:
            batches = self.graphs.run(batches)
        for batch in (*batches, *rest):
            self.step(batch)
        loss_sum, correct = self.sums.tolist()
        return loss_sum / len(order), correct / len(order)

    def _epoch_from_loader(self, order):
        self.order[:] = order.tolist()
        return self._plain_epoch(
            (images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True))
            for images, labels in self.loader
        )

    def _epoch_with_item(self, order):
        batches = order.to(self.device).split(self.batch_size)
        return self._plain_epoch((self.images[batch], self.labels[batch]) for batch in batches)

    def _plain_epoch(self, batches):
        """The loop that everyone writes."""
        loss_sum, correct, seen = 0.0, 0, 0
        for images, labels in batches:
            logits = self.net(images)
            loss = F.cross_entropy(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.item() * len(labels)
            correct += (logits.argmax(dim=1) == labels).sum().item()
            seen += len(labels)
        return loss_sum / seen, correct / seen


@contextlib.contextmanager
def side_stream(device):
    """Queue the work inside on a CUDA stream of its own; elsewhere do nothing.

    What is to be recorded as a graph must have run before, and not on the default stream, which a recording may not
    touch. That an optimiser made for graphs (capturable) then works without one is meant so; PyTorch warns of it.
    """
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*capturable=True.*", UserWarning)
        yield
    torch.cuda.current_stream().wait_stream(stream)


class Replay:
    """Several training steps recorded as one CUDA graph, started by one call from Python.

    A graph does the same work on the same memory every time, so what changes from step to step lies in tensors of fixed
    place: the batches [steps, batch_size] and the learning rates [steps]. step(batch): one training step, which reads
    `lr`. changed: the tensors that a step changes; they are put back after the steps that recording needs. generator:
    of the random numbers that a step draws, if any; a graph must know it to draw others at each replay.
    On another device the same steps run one after the other, without a graph: so a CPU can test them.
    """

    def __init__(self, step, steps, batch_size, lr, changed, generator=None):
        self.steps, device = steps, lr.device
        self.batches = torch.zeros(steps, batch_size, dtype=torch.int64, device=device)
        self.lrs = torch.full((steps,), lr.item(), device=device)

        def work():
            for batch, new_lr in zip(self.batches, self.lrs, strict=True):
                lr.copy_(new_lr)
                step(batch)

        self.replay = self._record(work, changed, device, generator) if device.type == "cuda" else work

    @staticmethod
    def _record(work, changed, device, generator):
        before = [tensor.detach().clone() for tensor in changed]
        with side_stream(device):  # compilation and first-time allocations must not be recorded
            for _ in range(3):
                work()
        graph = torch.cuda.CUDAGraph()
        if generator:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            work()
        with torch.no_grad():
            for tensor, old in zip(changed, before, strict=True):
                tensor.copy_(old)
        return graph.replay

    def run(self, batches, lrs=None):
        """Take a step for each row of `batches` int64 [N, batch_size], as many as fill whole graphs; return the rest.

        lrs: float [N], the learning rate of each step; without them the last ones stay.
        """
        whole = len(batches) // self.steps * self.steps
        for first in range(0, whole, self.steps):
            self.batches.copy_(batches[first : first + self.steps])
            if lrs is not None:
                self.lrs.copy_(lrs[first : first + self.steps])
            self.replay()
        return batches[whole:]


# ------------------------------------------------------------------------------------------------ measuring


def one_off(net, data, batch_size, lr, settings):
    """Return a Loop ready to run and the seconds that this took: compilation, capture, and three first batches.

    The network has the weights that it came with: the first batches are taken back.
    """
    start = time.perf_counter()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    loop = Loop(net, data, batch_size, lr, settings)
    loop.epoch(torch.arange(3 * batch_size * max(1, settings["graph"])))
    with torch.no_grad():
        for parameter, old in zip(net.parameters(), before, strict=True):
            parameter.copy_(old)
    synchronize(loop.device)
    return loop, time.perf_counter() - start


# Digits a pass: whole batches of 64 and 256, and on a GPU whole graphs.
PASS = {"cpu": 12_800, "mps": 12_800, "cuda": 51_200}


def passes(loop):
    """Return how many digits a pass has in a round of the race, and how many passes: a round must last to be timed.

    A pass by graphs takes some hundredths of a second, one by the own kernel a tenth, one by a loader many seconds.
    """
    if loop.settings["loader"]:
        return PASS["cpu"], 1
    return PASS[loop.device.type], 12 if loop.settings["graph"] else 5 if loop.settings["kernel"] else 1


def throughput(loops, digits, rounds):
    """Return for each loop of the dict `loops` its throughput, digits a second, in each of `rounds` rounds.

    A round times every loop once, one after the other, so that a machine whose speed drifts is fair to all. A loop's
    time is that of a whole pass over `digits` digits, or of what passes() says where that is None: shuffling, batches,
    training steps, loss and accuracy.
    """
    found = {name: [] for name in loops}
    for number in range(rounds):
        for name, loop in loops.items():
            length, repeats = (digits, 1) if digits else passes(loop)
            synchronize(loop.device)
            start = time.perf_counter()
            for repeat in range(repeats):
                loop.epoch(epoch_order(len(loop.labels), repeat, number)[:length])
            synchronize(loop.device)
            found[name].append(round(length * repeats / (time.perf_counter() - start)))
    return found


def d2l_throughput(device, batch_size):
    """Return the digits a second of d2l's train_ch6 with a loader as d2l's, from end to end: one epoch and its test."""
    import matplotlib

    matplotlib.use("agg")
    from d2l import torch as d2l
    from IPython.utils.capture import capture_output

    loaders = [
        DataLoader(
            MNIST(DATA, train=train, transform=transforms.ToTensor(), download=True),
            batch_size,
            shuffle=train,
            num_workers=d2l.get_dataloader_workers(),
        )
        for train in (True, False)
    ]
    start = time.perf_counter()
    with capture_output():
        d2l.train_ch6(tutorial_lenet(), *loaders, num_epochs=1, lr=0.9, device=device)
    return round(60_000 / (time.perf_counter() - start))


# ------------------------------------------------------------------------------------------------ 99 percent


def one_cycle(largest, steps):
    """Return the learning rate of each step, float [steps]: up to `largest` in a third of them, then down."""
    done = (torch.arange(steps) + 0.5) / steps
    return largest * torch.minimum(3 * done, 1.5 * (1 - done))


# The recipes tried on the validation split, three seeds each. The fastest whose mean stays at or below 0.9 % error, a
# tenth better than asked, is the one that is timed.
CHOICES = {
    f"{epochs} epochs, rate {lr}": ({"epochs": epochs, "batch_size": 64, "lr": lr}, 3)
    for epochs in (2, 3, 4, 5)
    for lr in (0.004, 0.008, 0.016)
}
RECIPE = {"epochs": 4, "batch_size": 64, "lr": 0.016}


class QuickTraining:
    """relu_lenet trained by AdamW at one-cycle rates, as fast as the device does it: on a CPU by the own kernel.

    recipe: epochs, batch_size, and lr, the largest rate. data: pair (images [N, 1, 28, 28], labels) on the device.
    Making one takes the one-off costs (compilation; on CUDA, recording the graph); train() the time that counts.
    """

    def __init__(self, recipe, seed, data):
        self.recipe, self.seed, (self.images, self.labels) = recipe, seed, data
        torch.manual_seed(seed)
        self.net = own_kernel.relu_lenet().to(self.images.device)
        if self.on_cpu():
            self.graph_steps = 1
            self.run = own_kernel.Kernel(self.net, data, own_kernel.ADAMW).train
        else:
            self._compile_and_record()

    def on_cpu(self):
        """Return whether the digits, and so the training, are on the CPU."""
        return self.images.device.type == "cpu"

    def _compile_and_record(self):
        recipe, device = self.recipe, self.images.device
        self.net.to(memory_format=torch.channels_last)
        lr = torch.tensor(float(recipe["lr"]), device=device)
        # capturable: a CUDA graph can record its steps.
        on_cuda = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=lr, fused=True, capturable=on_cuda)
        self.loss = torch.compile(lambda images, labels: F.cross_entropy(self.net(images), labels), dynamic=False)
        start = [tensor.detach().clone() for tensor in self.net.state_dict().values()]
        with side_stream(device):
            self.step(torch.arange(recipe["batch_size"], device=device))
        for tensor, value in zip(self.net.state_dict().values(), start, strict=True):
            tensor.copy_(value)
        moments = [tensor for of_weight in self.optimizer.state.values() for tensor in of_weight.values()]
        for tensor in moments:
            tensor.zero_()
        self.graph_steps = ON_CUDA["8 steps a graph"]["graph"] if on_cuda else 1
        changed = [*self.net.state_dict().values(), *moments]
        self.run = Replay(self.step, self.graph_steps, recipe["batch_size"], lr, changed).run

    def step(self, batch):
        """Train on the digits `batch` int64 [B]."""
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=has_bfloat16()):
            loss = self.loss(self.images[batch], self.labels[batch])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def train(self):
        """Train all epochs and return the network; the digits that do not fill an epoch's last graph are left out."""
        epochs, batch_size = self.recipe["epochs"], self.recipe["batch_size"]
        count = len(self.labels) // batch_size
        taken = count // self.graph_steps * self.graph_steps
        lrs = one_cycle(self.recipe["lr"], epochs * taken).to(self.images.device).view(epochs, taken)
        for epoch in range(epochs):
            order = epoch_order(len(self.labels), self.seed, epoch).to(self.images.device)
            self.run(order[: taken * batch_size].view(taken, batch_size), lrs[epoch])
        synchronize(self.images.device)
        return self.net


def run_choice(kind, seed, checkpoint):
    """Train a recipe of CHOICES on the first 50,000 training digits and count errors on the last 10,000."""
    recipe, _ = CHOICES[kind]
    digits = load_mnist(train=True, size=28, device=pick_device())
    net = QuickTraining(recipe, seed, [part[:50_000] for part in digits]).train()
    return [{"settings": recipe, "validation_errors": count_errors(net, [part[50_000:] for part in digits])}]


def run_to_99(kind, seed, checkpoint):
    """Time one training from the files on disk to a network of 99 %, step by step, and count its test errors."""
    device, load = pick_device(), {"size": 28, "scaling": "standard"}
    # Or only the first seed would pay for compilation.
    torch._dynamo.reset()
    compiled.library.cache_clear()
    marks = [time.perf_counter()]
    digits = load_mnist(train=True, device=device, **load)
    synchronize(device)
    marks.append(time.perf_counter())
    with NO_CACHE:
        training = QuickTraining(RECIPE, seed, digits)
    synchronize(device)
    marks.append(time.perf_counter())
    net = training.train()
    marks.append(time.perf_counter())
    times = [round(after - before, 3) for before, after in zip(marks, marks[1:], strict=False)]
    weights = f"weights/{results_name(device)}/99_seed{seed}.safetensors"
    save_weights(net, record.ROOT / weights)
    found = {"network": net.network, "load_mnist": load, "settings": RECIPE, "weights": weights}
    found["test_errors"] = count_errors(net, load_mnist(train=False, device=device, **load))
    return [found | dict(zip(("decode_seconds", "compile_seconds", "train_seconds"), times, strict=True))]


# ------------------------------------------------------------------------------------------------ results


def run_limits(kind, seed, checkpoint):
    """Measure what the machine can do at most, one measurement a seed."""
    device = pick_device()
    rates = matmul_rates(device)
    found = {"matmul_flops": rates.pop("float32"), "copy_bytes": copy_rate(device)}
    if device.type == "cpu":
        found |= {"register_flops": own_kernel.register_rate(), "clock_hz": own_kernel.clock_rate()}
        found["vector_bits"] = 32 * own_kernel.library().lanes()
    return [found | {f"{precision.lower()}_flops": rate for precision, rate in rates.items()}]


def run_d2l(kind, seed, checkpoint):
    """Time d2l's own loop, one epoch a seed."""
    return [{"batch_size": 256, "examples_per_second": d2l_throughput(pick_device(), 256)}]


def run_ladder(kind, seed, checkpoint):
    """Time the whole ladder at one batch size, in ROUNDS rounds."""
    device = pick_device()
    _, batch_size, _ = RUNS[kind]
    data = load_mnist(train=True, size=28, device=device)
    loops, first = {}, {}
    for name, settings in ladder(device).items():
        torch.manual_seed(seed)
        with NO_CACHE:
            loops[name], first[name] = one_off(tutorial_lenet(), data, batch_size, 0.9, settings)
    found = throughput(loops, None, ROUNDS)
    return [
        {"rung": name, "batch_size": batch_size, "one_off_seconds": round(first[name], 2),
         "examples_per_second": found[name]}
        for name in loops
    ]  # fmt: skip


def run_accuracy(kind, seed, checkpoint):
    """Train EPOCHS epochs of all 60,000 digits on every rung, from the same start and in the same order."""
    device = pick_device()
    train, test = (load_mnist(train=part, size=28, device=device) for part in (True, False))
    found = []
    for name, settings in ladder(device).items():
        torch.manual_seed(seed)
        loop = Loop(tutorial_lenet(), train, 64, 0.9, settings)
        for epoch in range(EPOCHS):
            loss, _ = loop.epoch(epoch_order(len(train[1]), seed, epoch))
        found.append({"rung": name, "last_train_loss": loss, "test_errors": count_errors(loop.net, test)})
    return found


ROUNDS, EPOCHS = 7, 3
# What is measured, by which function, and with how many seeds; a batch size where there is one.
RUNS = {
    "limits": (run_limits, 9),
    "batch 64": (run_ladder, 64, 1),
    "batch 16": (run_ladder, 16, 1),
    "batch 256": (run_ladder, 256, 1),
    "batch 1024": (run_ladder, 1024, 1),
    "accuracy": (run_accuracy, 3),
    "99 %": (run_to_99, 10 if torch.cuda.is_available() else 5),
    "d2l": (run_d2l, 5),
}


def run_measurement(kind, seed, checkpoint):
    """Do one of RUNS."""
    return RUNS[kind][0](kind, seed, checkpoint)


def results_name(device):
    """Return the name of the results of this device."""
    name = "mps" if device.type == "mps" else record.machine()
    return f"speed_{re.sub(r'[^a-z0-9]+', '_', name.lower())}"


if __name__ == "__main__":
    runs = results_name(pick_device()), RUNS, run_measurement
    record.main("speed", __doc__, {"choices": ("speed_choices", CHOICES, run_choice), "runs": runs}, alone=True)
