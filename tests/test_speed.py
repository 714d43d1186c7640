"""The rungs of notebook 07's ladder train the same network; the own kernel's gradients; the stored figures."""

import contextlib
import json
import statistics

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from experiments import compiled, speed
from lenet import tutorial_lenet
from lenet_utils import count_errors, load_mnist, pick_device, seed_everything
from tools.notebook_rules import ROOT


@pytest.fixture
def compiler():
    try:
        speed.convolution_kernel()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def digits():
    return load_mnist(train=True, size=28, device=pick_device())


def weights_after(loop, order, epochs):
    results = [loop.epoch(order) for _ in range(epochs)]
    return torch.cat([p.detach().flatten() for p in loop.net.parameters()]), results


# ---------------------------------------------------------------------------------------- the own kernel


@pytest.mark.parametrize("count", [1, 16, 61, 256])
def test_the_kernel_gives_the_features_and_gradients_of_pytorch(compiler, count):
    images = load_mnist(train=False, size=28)[0]
    seed_everything(count)
    layers = tutorial_lenet()[:7]
    batch = torch.randint(len(images), (count,))
    weights = [parameter.detach() for parameter in layers.parameters()]
    buffer = speed.new_buffer(count)
    features = speed.convolve(images, batch, weights, buffer)
    expected = layers(images[batch])
    assert torch.allclose(features, expected, atol=1e-6)
    gradients = torch.randn(count, 400)
    found = speed.convolve_backward(images, batch, weights, buffer, gradients)
    for ours, theirs in zip(found, torch.autograd.grad(expected, list(layers.parameters()), gradients), strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    again = speed.convolve_backward(images, batch, weights, buffer, gradients)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True)), "the same sums every time"


def test_without_a_compiler_one_sentence_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled.library.cache_clear()
    with pytest.raises(RuntimeError, match="The C.. compiler no-such-compiler could not compile convolutions.cpp"):
        speed.convolution_kernel()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="No C.. compiler was found: install"):
        speed.convolution_kernel()
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
    data = load_mnist(train=False, scaling="paper", device=pick_device())
    recipe = {"epochs": 1, "batch_size": 64, "lr": 0.01}
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
