"""fit, evaluate, LivePlot, seeds, and saved weights: what they do, and what they say about bad input."""

import inspect
import itertools
import math
import queue
import random
import re
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import safetensors.torch
import torch
from jupyter_client.manager import start_new_kernel
from torch import nn
from torch.nn import functional as F

from lenet_figures import alt_text
from lenet_utils import (
    HISTORY,
    LivePlot,
    evaluate,
    fit,
    load_mnist,
    load_weights,
    pick_device,
    predict,
    save_weights,
    seed_everything,
    tutorial_lenet,
)
from tools.notebook_rules import ROOT


@pytest.fixture(scope="module")
def test_split():
    return load_mnist(train=False, size=28)


@pytest.fixture
def few(test_split):
    return test_split[0][:640], test_split[1][:640]


def fresh(seed=0):
    seed_everything(seed)
    return tutorial_lenet()


def weights(net):
    return [parameter.detach().clone() for parameter in net.parameters()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --------------------------------------------------------------------------------------------- training


def test_the_tutorial_network():
    net = fresh()
    assert sum(parameter.numel() for parameter in net.parameters()) == 61_706
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    for layer in net:
        if hasattr(layer, "weight"):
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert 0.9 * bound < layer.weight.abs().max().item() <= bound


def test_fit_takes_the_steps_of_a_plain_loop(few):
    images, labels = few
    ours, plain = fresh(), fresh()
    history = fit(ours, few, few, epochs=1, lr=0.5, batch_size=100, plot=False)

    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5)
    order = torch.from_numpy(np.random.default_rng([0, 0]).permutation(640))
    loss_sum = correct = 0
    for batch in order.split(100):
        logits = plain(images[batch])
        loss = F.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(batch)
        correct += (logits.argmax(dim=1) == labels[batch]).sum().item()
    for a, b in zip(weights(ours), weights(plain), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert history["train_loss"] == [pytest.approx(loss_sum / 640, rel=1e-4)]
    assert history["train_accuracy"] == [correct / 640]
    assert history["test_accuracy"] == [evaluate(ours, few)]
    assert len(history["seconds"]) == 1 and history["seconds"][0] > 0


class RecordedPlot:
    """Stands in for LivePlot: what it was made with and what it was given."""

    def __init__(self, *arguments):
        self.arguments, self.points, self.closed = arguments, [], False
        RecordedPlot.last = self

    def add(self, epochs, **values):
        self.points.append((epochs, values))

    def close(self):
        self.closed = True


def test_the_plot_gets_the_running_means_each_fifth_of_an_epoch_and_the_results_at_its_end(few, monkeypatch):
    monkeypatch.setattr("lenet_utils.LivePlot", RecordedPlot)
    images, labels = few
    net, lr = fresh(), 1e-12  # so small that every batch sees the same network
    history = fit(net, few, few, epochs=1, lr=lr, batch_size=64, plot=False)
    history = fit(net, few, few, epochs=3, lr=lr, batch_size=64, history=history)
    plot = RecordedPlot.last
    assert plot.arguments == (3, 640, images.device, 1) and plot.closed
    expected = []
    with torch.no_grad():
        logits = net(images)
    for epoch in (1, 2):
        order = torch.from_numpy(np.random.default_rng([0, epoch]).permutation(640))
        for seen in (128, 256, 384, 512):
            part = order[:seen]
            loss = F.cross_entropy(logits[part], labels[part]).item()
            accuracy = (logits[part].argmax(dim=1) == labels[part]).float().mean().item()
            values = {"train_loss": pytest.approx(loss, rel=1e-4), "train_accuracy": pytest.approx(accuracy)}
            expected.append((epoch + seen / 640, values))
        names = ("train_loss", "train_accuracy", "test_accuracy")
        expected.append((epoch + 1, {name: history[name][epoch] for name in names}))
    assert plot.points == expected
    fit(net, few, few, epochs=1, lr=lr, plot=False)
    assert RecordedPlot.last is plot, "plot=False draws nothing"


def test_seconds_are_those_of_an_epoch(few, monkeypatch):
    clock = itertools.count(1000)
    monkeypatch.setattr("lenet_utils.time.perf_counter", lambda: next(clock))
    assert fit(fresh(), few, few, epochs=2, lr=0.1, plot=False)["seconds"] == [1, 1]


def test_fit_has_the_settings_of_d2l_and_the_fast_layout_on_a_cpu(few):
    defaults = {name: value.default for name, value in inspect.signature(fit).parameters.items()}
    none = dict.fromkeys(("net", "train", "test"), inspect.Parameter.empty)
    settings = {"epochs": 10, "lr": 0.9, "batch_size": 64, "plot": True, "seed": 0, "history": None}
    assert defaults == none | settings
    net = fresh()
    fit(net, few, few, epochs=1, plot=False)
    assert net[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert not net[3].weight.is_contiguous()


def test_a_loss_that_goes_wrong_after_steps_is_blamed_on_the_learning_rate(few, capsys):
    fit(fresh(), few, few, epochs=1, lr=1e38, plot=False)
    said = capsys.readouterr().out
    assert "in batch 1 " not in said and said.endswith("at learning rate 1e+38. Try a smaller one.\n")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda few: fit(fresh(), None, few), r"^The training data must be a pair"),
        (lambda few: fit(fresh(), few, None), r"^The test data must be a pair"),
        (lambda few: evaluate(fresh(), None), r"^The evaluation data must be a pair"),
        (lambda few: fit(nn.Sequential(nn.Flatten(), Ten()), few, few),
         r"^This network has nothing to train: no parameter that requires a gradient reaches its output\.$"),
        (lambda few: fit(fresh(), few, few, lr=torch.finfo(torch.float32).max), r"^lr must be a positive number"),
        (lambda few: fit(fresh(), few, few, history={}),
         r"^history must be what fit returned: a dict of lists, each with one entry an epoch\.$"),
        (lambda few: fit(fresh(), few, few, epochs=1, history=dict.fromkeys(HISTORY, [0.5])),
         r"^history holds 1 epochs already, and epochs=1 counts those too: give more\.$"),
        (lambda few: fit(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10)), few, few, batch_size=639),
         r"^This network cannot train on a batch of one digit \(Expected more than 1 value per channel .*\), and 640 "),
    ],
)  # fmt: skip
def test_what_fit_and_evaluate_say_word_by_word(call, message, few):
    with pytest.raises(ValueError, match=message):
        call(few)


class Ten(nn.Module):
    """Ten logits of an image without a parameter."""

    def forward(self, rows):
        return rows[:, :10]


@pytest.mark.slow
def test_fit_learns(test_split):
    part = test_split[0][:5000], test_split[1][:5000]
    rest = test_split[0][5000:], test_split[1][5000:]
    net = nn.Sequential(*[nn.Tanh() if isinstance(layer, nn.Sigmoid) else layer for layer in fresh()])
    assert fit(net, part, rest, epochs=2, lr=0.1, plot=False)["test_accuracy"][-1] > 0.85


def test_the_same_seed_gives_the_same_network_and_another_seed_another(few):
    first, second, third = fresh(), fresh(), fresh()
    for net, seed in ((first, 0), (second, 0), (third, 1)):
        fit(net, few, few, epochs=1, plot=False, seed=seed)
    assert same(weights(first), weights(second)) and not same(weights(first), weights(third))


def test_resuming_gives_the_network_of_an_uninterrupted_run(few, tmp_path):
    whole, start = fresh(), fresh()
    whole_history = fit(whole, few, few, epochs=3, plot=False)
    history = fit(start, few, few, epochs=1, plot=False)
    save_weights(start, tmp_path / "w.safetensors")
    resumed = load_weights(fresh(seed=9), tmp_path / "w.safetensors")
    continued = fit(resumed, few, few, epochs=3, plot=False, history=history)
    assert same(weights(whole), weights(resumed))
    assert len(history["train_loss"]) == 1, "the history passed in is not changed"
    for name in ("train_loss", "train_accuracy", "test_accuracy"):
        assert continued[name] == whole_history[name]


class Spoilt(nn.Module):
    """The tutorial network, doing something else from the training step `from_step` on."""

    def __init__(self, from_step, spoil):
        super().__init__()
        self.net, self.from_step, self.spoil, self.steps = fresh(), from_step, spoil, 0

    def forward(self, images):
        logits = self.net(images)
        self.steps += self.training
        return self.spoil(logits) if self.training and self.steps > self.from_step else logits


def not_a_number(logits):
    return logits * math.nan


def certain_of_zero(logits):
    """The loss of every digit but zero becomes infinite."""
    return torch.cat([torch.zeros_like(logits[:, :1]), torch.full_like(logits[:, 1:], -math.inf)], dim=1)


@pytest.mark.parametrize(("spoil", "loss"), [(not_a_number, "nan"), (certain_of_zero, "inf")])
def test_a_loss_that_is_not_finite_stops_the_training_at_once(few, capsys, spoil, loss):
    net = Spoilt(from_step=12, spoil=spoil)
    history = fit(net, few, few, epochs=3, lr=0.3, plot=False)
    message = capsys.readouterr().out
    assert f"Stopped in epoch 2 of 3: the loss is {loss} in batch 3 at learning rate 0.3" in message
    assert len(history["train_loss"]) == 1 and net.steps == 13
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())


def test_an_interrupt_keeps_weights_and_history(few, capsys):
    def interrupt(logits):
        raise KeyboardInterrupt

    net = Spoilt(from_step=12, spoil=interrupt)
    before = weights(net)
    history = fit(net, few, few, epochs=3, plot=False)
    assert "Interrupted in epoch 2 of 3" in capsys.readouterr().out
    assert len(history["train_loss"]) == 1 and not same(before, weights(net))


# -------------------------------------------------------------------------------------------- bad input


def with_labels(few, value):
    return few[0], torch.full_like(few[1], value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number from 1 to the 640 training examples, not 0"),
        ({"batch_size": 641}, "not 641"),
        ({"batch_size": 6.4}, "not 6.4"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": 1.5}, "not 1.5"),
        ({"lr": 0}, "lr must be a positive number, not 0"),
        ({"lr": -0.1}, "not -0.1"),
        ({"lr": math.nan}, "not nan"),
    ],
)
def test_fit_refuses_settings_out_of_range(few, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(fresh(), few, few, plot=False, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda few: with_labels(few, 10), "labels run from 10 to 10; this network knows 0 to 9"),
        (lambda few: with_labels(few, -1), "labels run from -1 to -1"),
        (lambda few: (few[0][:0], few[1][:0]), "data are empty"),
        (lambda few: (few[0], few[1][:5]), "640 images but 5 labels"),
        (lambda few: (F.pad(few[0], (2, 2, 2, 2)), few[1]), r"takes 28 x 28 images, these are 32 x 32: .*size=28"),
        (lambda few: (few[0][:, 0], few[1]), r"four dimensions, \[N, channels, height, width\], not 3"),
    ],
    ids=["label 10", "label -1", "empty", "lengths differ", "size", "shape"],
)
def test_bad_data_are_refused_before_anything_changes(few, change, message):
    net = fresh()
    before = weights(net)
    for call in (
        lambda: fit(net, change(few), few, plot=False),
        lambda: fit(net, few, change(few), plot=False),
        lambda: evaluate(net, change(few)),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert same(before, weights(net)) and net[3].weight.is_contiguous()


def test_a_32_network_names_its_size(few):
    net = fresh()
    net[0].padding = (0, 0)
    with pytest.raises(ValueError, match="takes 32 x 32 images, these are 28 x 28"):
        predict(net, few[0])


# ------------------------------------------------------------------------------------------- evaluation


def test_predict_and_evaluate(few):
    net = fresh()
    net.train()
    answers = predict(net, few[0])
    assert answers.dtype == torch.int64 and answers.shape == (640,) and net.training
    assert torch.equal(answers, net(few[0]).argmax(dim=1))
    assert evaluate(net, few) == (answers == few[1]).sum().item() / 640


def test_seeds_and_device():
    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_everything(3)
    first = numbers()
    seed_everything(3)
    assert numbers() == first


@pytest.mark.parametrize(("cuda", "mps", "best"), [(1, 1, "cuda"), (1, 0, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_the_fastest_device_at_hand_is_picked(cuda, mps, best, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(cuda))
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: bool(mps))
    assert pick_device() == torch.device(best)


# -------------------------------------------------------------------------------------- saved weights


def test_weights_round_trip_from_either_layout(tmp_path):
    net = fresh().to(memory_format=torch.channels_last)
    save_weights(net, tmp_path / "w.safetensors")
    assert same(weights(net), weights(load_weights(fresh(seed=1), tmp_path / "w.safetensors")))
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_load_refuses_another_networks_file(tmp_path):
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    net = fresh()
    before = weights(net)
    with pytest.raises(ValueError, match=r"w.safetensors holds the weights of Linear\(\), not of tutorial_lenet\(\)"):
        load_weights(net, tmp_path / "w.safetensors")
    assert same(before, weights(net))


def test_load_refuses_other_shapes(tmp_path):
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="layers have other shapes"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x10" * 200])
def test_load_refuses_what_is_not_a_weights_file(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="w.safetensors is not a weights file in safetensors format"):
        load_weights(fresh(), tmp_path / "w.safetensors")


def test_load_says_why_a_file_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(tutorial_lenet(), path)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(PermissionError, match=rf"^{re.escape(str(path))} cannot be read: Permission denied\.$"):
        load_weights(tutorial_lenet(), path)


def test_load_refuses_a_file_without_a_networks_name(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(tutorial_lenet().state_dict(), path)
    said = r"w\.safetensors holds the weights of an unnamed network, not of tutorial_lenet\(\)\.$"
    with pytest.raises(ValueError, match=said):
        load_weights(tutorial_lenet(), path)


def test_a_folder_named_like_a_record_has_no_checksums(tmp_path):
    path = tmp_path / "original_1998" / "60000_seed0.safetensors"
    path.parent.mkdir()
    save_weights(tutorial_lenet(), path)
    load_weights(tutorial_lenet(), path)


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file .*w.safetensors"):
        load_weights(fresh(), tmp_path / "w.safetensors")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(fresh(), path)
    old = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(fresh(seed=1), path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_the_live_plot_leaves_redraws_out_to_keep_its_share_of_the_time(monkeypatch):
    """With a clock of the test's own: a redraw takes 0.1 seconds, a point comes every 0.02."""
    clock, pictures = [0.0], []

    class Handle:
        def update(self, picture):
            clock[0] += 0.1
            pictures.append(clock[0])

        display = update

    monkeypatch.setattr("lenet_figures.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("lenet_figures.get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr("lenet_figures.DisplayHandle", Handle)
    plot = LivePlot(epochs=1, examples=1000, device="cpu")
    for point in range(1, 1001):
        clock[0] += 0.02
        plot.add(point / 1000, train_loss=1 / point)
    assert plot.drawing_seconds == pytest.approx(0.1 * len(pictures))
    # As many as 3 per cent of the time allow, and spread over it, but for the one at the very start.
    assert plot.max_share == 0.03
    assert len(pictures) == int(plot.max_share * clock[0] / 0.1)
    assert max(later - earlier for earlier, later in itertools.pairwise(pictures[1:])) < 3.6
    plot.close()
    assert clock[0] == pictures[-1]


def test_an_interrupt_while_the_first_picture_is_sent_brings_no_second_plot(monkeypatch):
    sent = []

    class Handle:
        def display(self, picture):
            sent.append("display")
            raise KeyboardInterrupt

        def update(self, picture):
            sent.append("update")

    monkeypatch.setattr("lenet_figures.get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr("lenet_figures.DisplayHandle", Handle)
    plot = LivePlot(epochs=1, examples=1000, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        plot.add(0.1, train_loss=1)
    plot.close()
    assert sent == ["display", "update"]


def test_a_figure_says_what_it_shows():
    plot = LivePlot(epochs=1, examples=1000, device="cpu")
    plot.add(0.5, train_loss=1, train_accuracy=0.5)
    told = alt_text(plot.fig)
    assert told.startswith("Plot (epoch 0.5 of 1 on cpu") and "(loss against epoch) with train loss" in told
    fig, axes = plt.subplots(1, 20)
    for number, ax in enumerate(axes):
        ax.imshow([[number]])
        ax.set_title(f"digit {number}")
    assert alt_text(fig) == "Images: " + "; ".join(f"digit {number}" for number in range(12)) + ", and 8 more"
    assert alt_text(plt.figure()) == "Plot: without words"
    plt.close("all")


# ------------------------------------------------------------------------------------- in a real kernel


@pytest.fixture(scope="module")
def kernel():
    """A Jupyter kernel with lenet_utils and data; run(code, interrupt_after) returns the messages it sends."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT))

    def run(code, interrupt_at=None):
        request = client.execute(code)
        messages = []
        while True:
            try:
                message = client.get_iopub_msg(timeout=600)
            except queue.Empty:
                pytest.fail("the kernel did not answer in ten minutes")
            if message["parent_header"].get("msg_id") != request:
                continue
            messages.append(message)
            if interrupt_at == message["msg_type"]:
                manager.interrupt_kernel()
                interrupt_at = None
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return messages

    run("from lenet_utils import *\ntrain, test = [load_mnist(is_train, size=28) for is_train in (True, False)]\n")
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def of_type(messages, kind):
    return [message["content"] for message in messages if message["msg_type"] == kind]


def text(messages):
    return "".join(content["text"] for content in of_type(messages, "stream"))


@pytest.mark.slow
def test_the_live_plot_redraws_in_place(kernel):
    messages = kernel("history = fit(tutorial_lenet(), train, test, epochs=1)")
    shown, updates = of_type(messages, "display_data"), of_type(messages, "update_display_data")
    assert len(shown) == 1 and 1 <= len(updates) <= 5  # four points inside an epoch, one at its end, close()
    assert {content["transient"]["display_id"] for content in shown + updates} == {shown[0]["transient"]["display_id"]}
    assert shown[0]["data"]["image/png"] != updates[-1]["data"]["image/png"]
    assert {content["data"]["text/plain"] for content in shown + updates} == {"<IPython.core.display.Image object>"}
    assert not of_type(messages, "clear_output") and not of_type(messages, "error")


@pytest.mark.slow
def test_interrupting_the_kernel_keeps_history_weights_and_plot(kernel):
    messages = kernel("net = tutorial_lenet()\nhistory = fit(net, train, test, epochs=50)", interrupt_at="display_data")
    assert "Interrupted in epoch 1 of 50" in text(messages)
    assert not of_type(messages, "error")
    assert of_type(messages, "update_display_data")[-1]["data"]["image/png"]
    assert "0" in text(kernel("print(len(history['train_loss']))"))


# -------------------------------------------------------------------------------------------- the import


@pytest.mark.slow
def test_importing_lenet_utils_loads_no_large_package_beside_torch_torchvision_and_matplotlib():
    listing = (
        "import sys, torch, torchvision, matplotlib.pyplot, IPython; before = set(sys.modules); import lenet_utils; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", listing], check=True, cwd=ROOT, capture_output=True, encoding="utf-8")
    large = "d2l pandas scipy sklearn jupyterlab notebook ipywidgets anywidget experiments digit_pad tools torchaudio"
    assert "lenet" in run.stdout.split() and not set(large.split()) & set(run.stdout.split())
