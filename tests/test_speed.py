"""The rungs of notebook 07's ladder train the same network; the own kernel's gradients; the stored figures."""

import contextlib
import copy
import json
import math
import platform
import statistics

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch.nn import functional as F

from experiments import compiled, own_kernel, speed
from lenet import tutorial_lenet
from lenet_utils import count_errors, load_mnist, pick_device, seed_everything
from tools.notebook_rules import ROOT


@pytest.fixture
def compiler():
    try:
        own_kernel.library()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def digits():
    return load_mnist(train=True, size=28, device=pick_device())


def weights_after(loop, order, epochs):
    results = [loop.epoch(order) for _ in range(epochs)]
    return torch.cat([p.detach().flatten() for p in loop.net.parameters()]), results


# ---------------------------------------------------------------------------------------- the own kernel


WIDTHS = {16: ["-march=x86-64-v4"], 8: ["-march=x86-64-v3"], 4: ["-march=x86-64"]}


@pytest.fixture(params=["this processor", *WIDTHS], ids=str)
def kernel(request, compiler, monkeypatch):
    """The kernel as this processor compiles it, and for each width of vectors that it has."""
    if request.param == "this processor":
        return own_kernel.Kernel
    if platform.machine() not in ("x86_64", "AMD64") or request.param > own_kernel.library().lanes():
        pytest.skip(f"this processor has no vectors of {request.param} numbers")
    library = compiled.library("train_lenet", *WIDTHS[request.param])
    assert library.lanes() == request.param
    library.state_size.restype = own_kernel.library().state_size.restype
    monkeypatch.setattr(own_kernel, "library", lambda: library)
    return own_kernel.Kernel


def batches_of(count, size, total):
    return torch.randint(total, (count, size))


@pytest.mark.slow
@pytest.mark.parametrize("make", own_kernel.Kernel.NETWORKS)
@pytest.mark.parametrize("size", [1, 16, 61, 256])
def test_a_step_of_the_kernel_is_one_along_pytorchs_gradients(kernel, make, size):
    test = load_mnist(train=False, size=28)
    seed_everything(size)
    net = make()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    batch = batches_of(1, size, len(test[1]))
    logits = net(test[0][batch[0]])
    loss = F.cross_entropy(logits, test[1][batch[0]])
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    loss_sum, correct = kernel(net, test).train(batch, torch.tensor([10.0]))  # so far that rounding is small
    assert loss_sum / size == pytest.approx(loss.item(), abs=2e-6)
    assert correct == (logits.argmax(dim=1) == test[1][batch[0]]).sum()
    for old, parameter, gradient in zip(before, net.parameters(), gradients, strict=True):
        assert ((old - parameter.detach()) / 10 - gradient).abs().max() < 1e-4 * gradient.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "adamw"),
    [(tutorial_lenet, None), (own_kernel.relu_lenet, own_kernel.ADAMW | {"decay": 0.5, "epsilon": 1e-3})],
    ids=["gradient descent", "AdamW"],
)
def test_steps_of_the_kernel_are_those_of_pytorchs_optimisers(kernel, make, adamw):
    """In two calls, with another rate at every step: AdamW's moments and the number of steps are kept.

    A large epsilon, or rounding would decide the steps of weights whose gradients are next to nothing.
    """
    test = load_mnist(train=False, size=28)
    seed_everything(0)
    net = make()
    plain, first = copy.deepcopy(net), copy.deepcopy(net)
    batches, lrs = batches_of(20, 64, len(test[1])), torch.linspace(0.001, 0.003, 20) * (1 if adamw else 300)
    ours = kernel(net, test, adamw)
    sums = [ours.train(batches[part], lrs[part]) for part in (slice(0, 7), slice(7, 20))]
    optimizer = torch.optim.SGD(plain.parameters(), lr=1)
    if adamw:
        settings = {"weight_decay": adamw["decay"], "betas": adamw["betas"], "eps": adamw["epsilon"]}
        optimizer = torch.optim.AdamW(plain.parameters(), **settings)
    losses = []
    for batch, lr in zip(batches, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr.item()
        optimizer.zero_grad()
        loss = F.cross_entropy(plain(test[0][batch]), test[1][batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(loss for loss, _ in sums) / 64 == pytest.approx(sum(losses), rel=1e-4)
    for a, b, old in zip(net.parameters(), plain.parameters(), first.parameters(), strict=True):
        assert (a - b).abs().max() < 0.02 * (b - old).abs().max()


@pytest.mark.slow
def test_the_kernel_repeats_itself_and_threads_change_only_the_rounding(compiler):
    test = load_mnist(train=False, size=28)
    threads, found = torch.get_num_threads(), {}
    batches, lrs = torch.arange(1920).view(20, 96), torch.full((20,), 0.3)
    try:
        for count in (1, 2, 2, 5, 64):
            torch.set_num_threads(count)
            seed_everything(0)
            net = tutorial_lenet()
            own_kernel.Kernel(net, test).train(batches, lrs)
            weights = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
            if count in found:
                assert torch.equal(weights, found[count]), "the same sums every time"
            found[count] = weights
    finally:
        torch.set_num_threads(threads)
    assert all((weights - found[1]).abs().max() < 1e-5 for weights in found.values())


def test_the_kernel_refuses_what_it_cannot_train(compiler):
    images, labels = (part[:10] for part in load_mnist(train=False, size=28))
    with pytest.raises(ValueError, match=r"trains tutorial_lenet\(\) and relu_lenet\(\), not this network: Sequential"):
        own_kernel.Kernel(torch.nn.Sequential(torch.nn.Linear(784, 10)), (images, labels))
    pruned = tutorial_lenet()
    torch.nn.utils.prune.l1_unstructured(pruned[0], "weight", 0.5)
    tied = tutorial_lenet()
    tied[9].bias = torch.nn.Parameter(torch.zeros(1))
    for other in (pruned, tied):
        with pytest.raises(ValueError, match="not this network"):
            own_kernel.Kernel(other, (images, labels))
    meta = labels.to("meta")
    for wrong in ((images[:, :, 2:], labels), (images.double(), labels), (images, labels.int()), (images[:5], labels),
                  (images, labels.view(5, 2)), (images, meta)):  # fmt: skip
        with pytest.raises(ValueError, match="takes images float32 .N, 1, 28, 28., labels int64 .N. .*not images"):
            own_kernel.Kernel(tutorial_lenet(), wrong)
    with pytest.raises(ValueError, match="weights torch.float64"):
        own_kernel.Kernel(tutorial_lenet().double(), (images, labels))
    with pytest.raises(ValueError, match="not channels_last"):
        own_kernel.Kernel(tutorial_lenet().to(memory_format=torch.channels_last), (images, labels))
    net = tutorial_lenet()
    before, drawn = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    kernel = own_kernel.Kernel(net, (images, labels))
    assert torch.equal(torch.get_rng_state(), drawn), "no random numbers are taken"
    for places in ([[0, 10]], [[-1, 3]]):
        with pytest.raises(ValueError, match="are not all among 10 digits"):
            kernel.train(torch.tensor(places), torch.tensor([0.1]))
    for batches, lrs in (([[0, 1]], [0.1, 0.1]), ([[0, 1]], [[0.1]]), ([0, 1], [0.1, 0.1]), ([[0.0, 1.0]], [0.1])):
        with pytest.raises(ValueError, match=r"takes batches int64 \[steps, batch_size\] and rates \[steps\], not"):
            kernel.train(torch.tensor(batches), torch.tensor(lrs))
    assert kernel.train(torch.empty(0, 64, dtype=torch.int64), torch.empty(0)) == [0, 0]
    assert kernel.train(torch.empty(1, 0, dtype=torch.int64), torch.ones(1)) == [0, 0]
    for wrong in (10, -1, 10**9):
        kernel.labels = labels.clone()
        kernel.labels[3] = wrong
        with pytest.raises(ValueError, match="are not all from 0 to 9"):
            kernel.train(torch.arange(10).view(1, 10), torch.tensor([0.1]))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_kernel_notices_that_its_network_has_other_weights(compiler):
    data = [part[:10] for part in load_mnist(train=False, size=28)]
    net = tutorial_lenet()
    kernel = own_kernel.Kernel(net, data)
    net.load_state_dict(tutorial_lenet().state_dict(), assign=True)
    with pytest.raises(ValueError, match="make it anew"):
        kernel.train(torch.arange(10).view(1, 10), torch.tensor([0.1]))


@pytest.mark.parametrize("make", own_kernel.Kernel.NETWORKS)
def test_what_is_no_number_is_not_hidden(compiler, make):
    images, labels = (part[:20].clone() for part in load_mnist(train=False, size=28))
    images[7, 0, 14, 14] = math.nan
    loss, _ = own_kernel.Kernel(make(), (images, labels)).train(torch.arange(20).view(1, 20), torch.tensor([0.1]))
    assert math.isnan(loss)


def test_the_limits_are_what_the_loops_do_in_the_time_they_take(compiler, monkeypatch):
    """By a clock of our own, on which each of the two loops takes a hundredth of a second."""
    monkeypatch.setattr(own_kernel.time, "perf_counter", iter([1.0, 1.01, 2.0, 2.01]).__next__)
    lanes, threads = own_kernel.library().lanes(), torch.get_num_threads()
    assert lanes in (4, 8, 16)
    assert own_kernel.clock_rate() == pytest.approx(3e9)  # 30 million additions, one after the other
    turn = own_kernel.library().operations()
    assert turn % (2 * lanes) == 0 and turn > 0, "a turn multiplies and adds in whole vectors"
    assert own_kernel.register_rate() == pytest.approx(1e8 * turn * threads)  # a million turns a thread


def test_without_a_compiler_one_sentence_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled.library.cache_clear()
    with pytest.raises(RuntimeError, match="The C.. compiler no-such-compiler could not compile train_lenet.cpp"):
        own_kernel.library()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="No C.. compiler was found: install"):
        own_kernel.library()
    compiled.library.cache_clear()


# --------------------------------------------------------------------------------------------- the rungs


@pytest.mark.cuda
@pytest.mark.slow
def test_every_rung_takes_the_steps_of_the_plain_loop(compiler, digits):
    """640 digits in batches of 64 and 21 left over, twice: the same losses, right answers and weights."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(digits[1])))[:661]
    plain = None
    for name, settings in speed.ladder(pick_device()).items():
        seed_everything(0)
        loop = speed.Loop(tutorial_lenet(), digits, 64, 0.3, settings)
        weights, results = weights_after(loop, order, epochs=2)
        if plain is None:
            plain = weights, results
        close = {"bfloat16": 1e-2}.get(name, 1e-4)
        assert (weights - plain[0]).abs().max() < close, name
        for (loss, accuracy), (plain_loss, plain_accuracy) in zip(results, plain[1], strict=True):
            assert loss == pytest.approx(plain_loss, abs=close), name
            assert accuracy == pytest.approx(plain_accuracy, abs=0.005), name


@pytest.mark.cuda
@pytest.mark.slow
def test_a_schedule_acts_inside_the_steps_that_a_graph_repeats(compiler, digits):
    """On CUDA this records and replays a graph; elsewhere the same steps run without one."""
    images, labels = digits
    device = images.device
    order = torch.arange(10 * 64, device=device)
    lrs = torch.linspace(0.9, 0.05, 10, device=device)
    seed_everything(0)
    ours, plain = tutorial_lenet(), tutorial_lenet().to(device)
    plain.load_state_dict(ours.state_dict())
    settings = speed.PLAIN | {"item": False, "compile": True, "graph": 4}
    loop = speed.Loop(ours, digits, 64, 0.9, settings)
    rest = loop.graphs.run(order.view(-1, 64), lrs)
    assert len(rest) == 2, "two graphs of four steps, and two steps left over"
    optimizer = torch.optim.SGD(plain.parameters(), lr=1)
    for batch, lr in zip(order.view(-1, 64)[:8], lrs[:8], strict=True):
        optimizer.param_groups[0]["lr"] = lr.item()
        optimizer.zero_grad()
        F.cross_entropy(plain(images[batch]), labels[batch]).backward()
        optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert loop.lr.item() == pytest.approx(lrs[7].item())


@pytest.mark.cuda
@pytest.mark.slow
def test_getting_ready_leaves_the_first_weights(compiler, digits):
    """Or rungs that take more first batches would begin elsewhere."""
    for name, settings in speed.ladder(pick_device()).items():
        seed_everything(0)
        net = tutorial_lenet()
        before = [parameter.detach().clone() for parameter in net.parameters()]
        loop, _ = speed.one_off(net, digits, 64, 0.9, settings)
        for parameter, old in zip(loop.net.parameters(), before, strict=True):
            assert torch.equal(parameter.detach().cpu(), old), name


@pytest.mark.slow
def test_a_loader_with_workers_is_the_same_training(digits):
    """Two epochs, so that the loader that was kept reads the second order."""
    losses = []
    for settings in (speed.LADDER["DataLoader"], speed.LADDER["DataLoader"] | speed.WORKERS["workers"]):
        seed_everything(0)
        loop = speed.Loop(tutorial_lenet(), digits, 64, 0.3, speed.PLAIN | settings)
        losses.append([loop.epoch(torch.arange(first, first + 200))[0] for first in (0, 200)])
    assert losses[0] == pytest.approx(losses[1])


def rungs_of(device, monkeypatch, bfloat16):
    monkeypatch.setattr(speed, "has_bfloat16", lambda: bfloat16)
    return speed.ladder(torch.device(device))


def test_a_gpu_without_bfloat16_climbs_no_rung_in_it(monkeypatch):
    rungs = list(rungs_of("cuda", monkeypatch, True))
    assert rungs[:3] == ["DataLoader", "workers", "whole split"] and rungs[-1] == "bfloat16"
    assert list(rungs_of("cuda", monkeypatch, False)) == rungs[:-1]
    assert "own kernel" in rungs_of("cpu", monkeypatch, True) and "workers" not in rungs_of("cpu", monkeypatch, True)


class Calls:
    """In place of torch.cuda: it notes the order of streams, recordings and replays."""

    def __init__(self, monkeypatch):
        self.seen = []
        for name in ("current_stream", "Stream"):
            monkeypatch.setattr(torch.cuda, name, lambda name=name: self.Stream(self.seen, name))
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: self.inside("side stream"))
        monkeypatch.setattr(torch.cuda, "graph", lambda graph: self.inside("recording"))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)

    class Stream:
        def __init__(self, seen, name):
            self.seen, self.name = seen, name

        def wait_stream(self, other):
            self.seen.append(f"{self.name} waits for {other.name}")

    @contextlib.contextmanager
    def inside(self, what):
        self.seen.append(f"{what}:")
        yield
        self.seen.append("end")

    def replay(self):
        self.seen.append("replay")

    def register_generator_state(self, generator):
        self.seen.append("generator")


def test_a_graph_is_recorded_after_steps_on_a_stream_of_their_own_which_are_taken_back(monkeypatch):
    calls, weight = Calls(monkeypatch), torch.zeros(())

    def work():
        calls.seen.append("step")
        weight.add_(1)

    start = speed.Replay._record(work, [weight], torch.device("cuda"), torch.Generator())
    start()
    warm = ["Stream waits for current_stream", "side stream:", "step", "step", "step", "end",
            "current_stream waits for Stream"]  # fmt: skip
    assert calls.seen == [*warm, "generator", "recording:", "step", "end", "replay"]
    assert weight == 0, "what the steps before changed is put back"


def test_one_cycle():
    lrs = speed.one_cycle(0.1, 300)
    assert lrs.argmax() in (99, 100) and lrs.max() == pytest.approx(0.1, rel=0.01)
    assert 0 < lrs[-1] < 0.001 and 0 < lrs[0] < 0.001


@pytest.mark.cuda
@pytest.mark.slow
def test_quick_training_learns_and_repeats_itself(compiler):
    data = load_mnist(train=False, size=28, device=pick_device())
    recipe = {"epochs": 1, "batch_size": 64, "lr": 0.008}
    nets = [speed.QuickTraining(recipe, 0, data).train() for _ in range(2)]
    assert count_errors(nets[0], data) < 700
    if data[0].device.type == "cpu":
        for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.equal(a, b)


# -------------------------------------------------------------------------------------------- the results

STORED = [path for path in sorted((ROOT / "results").glob("speed_*.json")) if path.stem != "speed_choices"]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_rungs_end_at_the_accuracy_of_the_plain_loop(path):
    runs = [run for run in json.loads(path.read_text(encoding="utf-8"))["runs"] if run["kind"] == "accuracy"]
    errors = {}
    for run in runs:
        errors.setdefault(run["rung"], []).append(run["test_errors"])
    plain = errors["DataLoader"]
    noise = statistics.stdev(plain)
    for rung, found in errors.items():
        assert len(found) >= 3
        assert abs(statistics.mean(found) - statistics.mean(plain)) < 2 * noise, rung
