"""What the LeNet-5 notebooks share: claims, training, evaluation, saved weights.

The networks are in lenet.py, the digits in lenet_data.py, a reader's own pictures in lenet_pictures.py, the exercises'
answers in lenet_exercises.py, the figures in lenet_figures.py; their names can be had from here too.
"""

import hashlib
import json
import math
import random
import time
from numbers import Integral, Real

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F

import lenet_data
from lenet import C3_TABLE as C3_TABLE
from lenet import LeNet5 as LeNet5
from lenet import PartialConv2d as PartialConv2d
from lenet import RBFOutput as RBFOutput
from lenet import ScaledTanh as ScaledTanh
from lenet import Subsample as Subsample
from lenet import layer_table as layer_table
from lenet import modern_lenet as modern_lenet
from lenet import output_size as output_size
from lenet import tutorial_lenet as tutorial_lenet
from lenet_data import BACKGROUND as BACKGROUND
from lenet_data import DATA as DATA
from lenet_data import FOREGROUND as FOREGROUND
from lenet_data import MNIST_MEAN as MNIST_MEAN
from lenet_data import MNIST_STD as MNIST_STD
from lenet_data import ROOT
from lenet_data import as_images as as_images
from lenet_data import epoch_order as epoch_order
from lenet_data import load_mnist as load_mnist
from lenet_data import scale_ as scale_
from lenet_exercises import check as check
from lenet_figures import COLOURS as COLOURS
from lenet_figures import LivePlot
from lenet_figures import draw_fields as draw_fields
from lenet_figures import draw_network as draw_network
from lenet_figures import draw_stop as draw_stop
from lenet_figures import draw_stops as draw_stops
from lenet_figures import explore as explore
from lenet_figures import label_curves as label_curves
from lenet_figures import show_images as show_images
from lenet_figures import use_plot_style as use_plot_style
from lenet_pictures import picture_steps as picture_steps
from lenet_pictures import prepare_image as prepare_image
from lenet_pictures import prepare_row as prepare_row

# -------------------------------------------------------------------------------- set-up, claims, records


def seed_everything(seed):
    """Seed the random generators of Python, NumPy and PyTorch (all devices) with the integer `seed`.

    The same seed gives the same numbers on the same machine; another device, another number of
    threads or another PyTorch release may round differently.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device():
    """Return the fastest device at hand: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def claim(statement, holds, found=None):
    """Print `statement` and what was `found`, a number say, or else whether it holds.

    Raises AssertionError, which stops the notebook, where it does not hold.
    """
    print(f"{statement}: {bool(holds) if found is None else found}")
    if not holds:
        raise AssertionError(statement)


def read_runs(name):
    """Return the record results/`name`.json, and its runs by kind: {kind: [run, ...]}, in the order of their seeds."""
    record, runs = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8")), {}
    for run in sorted(record["runs"], key=lambda run: run.get("seed", 0)):
        runs.setdefault(run["kind"], []).append(run)
    return record, runs


# -------------------------------------------------------------------------------------------- training


def fit(net, train, test, epochs=10, lr=0.9, batch_size=64, plot=True, seed=0, history=None):
    """Train `net` in place by stochastic gradient descent on the cross-entropy; return the history.

    train, test: pairs (images float [N, C, H, W], labels of whole numbers [N]), as load_mnist returns them. The network
        is moved to the device of `train`; `test` may lie on another.
    epochs: passes over `train` in all. lr: learning rate. batch_size: digits a step.
    plot: show a LivePlot.
    seed: of the shuffling; the order of an epoch depends on (seed, epoch) alone.
    history: what an earlier call returned, to go on where it ended: with its weights in `net` and the
        same data, learning rate, batch size and seed, the result is that of one uninterrupted call.

    The history holds a list with one entry an epoch under each of: train_loss and train_accuracy (means
    over the epoch's digits, each seen by the network as it then was), test_accuracy, seconds (training
    and evaluation). A keyboard interrupt (Jupyter: interrupt kernel) ends the training with a printed sentence and
    keeps the weights so far; a loss or weights that are not finite do too, and bring back the weights and buffers that
    last gave a finite loss. The finished epochs are returned. Parameters that are frozen or not used stay as they are.
    Layers that are in evaluation mode while `net` trains stay in it; modes are afterwards as before. Raises ValueError
    for data, settings or a network that cannot be trained with, before any work.
    """
    images, labels, output = lenet_data.check_pair(net, train, "training")
    _check_settings(net, images[:1], output, epochs, lr, batch_size, seed, len(images))
    history = _check_history(history, epochs)
    test = lenet_data.check_pair(net, test, "test")
    device, count = images.device, len(images)
    labels = labels.to(device)
    net.to(device)
    if lenet_data.is_lazy(net):
        _answers(net, images[:1], output)  # lazy layers get their weights when they first run
    if device.type == "cpu":
        # Convolution and pooling run faster here with the feature maps innermost in memory.
        net.to(memory_format=torch.channels_last)
    modes = lenet_data.modes_of(net)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    good = _LastGood(net)
    epoch = first_epoch = len(history["train_loss"])
    live = LivePlot(epochs, count, device, first_epoch) if plot else None
    points = {round(count * fifth / 5 / batch_size) for fifth in range(1, 5)}  # batches after which to plot
    try:
        if not net.training:
            net.train()
        for parameter in net.parameters():
            parameter.grad = None
        for epoch in range(first_epoch, epochs):
            start = time.perf_counter()
            seen, loss_sum, correct = 0, 0.0, torch.zeros((), dtype=torch.int64, device=device)
            for number, batch in enumerate(epoch_order(count, seed, epoch).to(device).split(batch_size), 1):
                good.keep()
                with torch.enable_grad():  # also where the caller has switched gradients off
                    logits = net(images[batch])
                    loss = F.cross_entropy(logits, labels[batch])
                loss_value = loss.item()
                if not math.isfinite(loss_value):
                    good.restore(1)
                    raise FloatingPointError(f"the loss is {loss_value} in batch {number}")
                loss.backward()
                with torch.no_grad():
                    # Gradient descent written out: for weights this few an optimiser takes longer than the arithmetic.
                    for parameter in parameters:
                        if parameter.grad is not None:
                            parameter.sub_(parameter.grad, alpha=lr)
                            parameter.grad = None
                seen += len(batch)
                loss_sum += loss_value * len(batch)
                correct += (logits.detach().argmax(dim=1) == labels[batch]).sum()
                if live and number in points:
                    live.add(epoch + seen / count, train_loss=loss_sum / seen, train_accuracy=correct.item() / seen)
            if not good.is_finite():
                good.restore(0)
                raise FloatingPointError(f"the weights are not finite after batch {number}")
            results = (loss_sum / count, correct.item() / count, _accuracy(net, *test), time.perf_counter() - start)
            for name, value in zip(HISTORY, results, strict=True):
                history[name].append(value)
            if live:
                live.add(epoch + 1, **{name: history[name][-1] for name in HISTORY[:3]})
    except KeyboardInterrupt:
        print(f"Interrupted in epoch {epoch + 1} of {epochs}: the network keeps its weights so far.")
    except FloatingPointError as error:
        untouched = good.steps == 1 and not math.isfinite(loss_value)
        advice = "No step was taken: the network came so." if untouched else "Try a smaller one."
        print(f"Stopped in epoch {epoch + 1} of {epochs}: {error} at learning rate {lr}. {advice}")
    finally:
        for parameter in parameters:
            parameter.grad = None
        lenet_data.restore_modes(modes)
        if live:
            live.close()
    return history


HISTORY = ("train_loss", "train_accuracy", "test_accuracy", "seconds")


class _LastGood:
    """The weights and buffers of a network before its last two batches: those that last gave a finite loss."""

    def __init__(self, net):
        # Where they are, not what: a layer may put a new tensor in the place of a buffer.
        self.places = [
            (tensors, name)
            for module in net.modules()
            for tensors in (module._parameters, module._buffers)
            for name in tensors
            if tensors[name] is not None
        ]
        self.before = [[tensor.clone() for tensor in self._now()] for _ in range(2)]
        self.steps = 0

    def _now(self):
        return [tensors[name].detach() for tensors, name in self.places]

    def keep(self):
        self.steps += 1
        self.before.reverse()
        torch._foreach_copy_(self.before[0], self._now())

    def restore(self, batches):
        """Bring back what was before the last batch (0) or the one before that (1)."""
        torch._foreach_copy_(self._now(), self.before[batches])

    def is_finite(self):
        return all(tensor.isfinite().all() for tensor in self._now())


def _check_settings(net, image, output, epochs, lr, batch_size, seed, count):
    """Raise ValueError for a network or settings that fit cannot train with."""
    if output.distances:
        raise ValueError("fit trains logits, and this network ends in the distances of an RBFOutput: see notebook 05.")
    if not output.trains:
        raise ValueError("This network has nothing to train: no parameter that requires a gradient reaches its output.")
    if not _is_whole(epochs) or epochs < 1:
        raise ValueError(f"epochs must be a whole number of at least 1, not {epochs!r}.")
    if not isinstance(lr, Real) or isinstance(lr, bool) or not 0 < lr < torch.finfo(torch.float32).max:
        raise ValueError(f"lr must be a positive number, not {lr!r}.")
    if not _is_whole(batch_size) or not 1 <= batch_size <= count:
        limits = f"from 1 to the {count:,} training examples"
        raise ValueError(f"batch_size must be a whole number {limits}, not {batch_size!r}.")
    if not _is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed!r}.")
    if batch_size == 1 or count % batch_size == 1:
        try:
            lenet_data.run_without_trace(net, image, training=True)
        except Exception as error:
            raise ValueError(
                f"This network cannot train on a batch of one digit ({str(error).splitlines()[0]}), and {count:,} "
                f"digits in batches of {batch_size} leave one: choose another batch_size."
            ) from error


def _check_history(history, epochs):
    """Return a copy of `history`, or an empty one; ValueError if fit cannot go on from it to `epochs`."""
    if history is None:
        return {name: [] for name in HISTORY}
    fits = isinstance(history, dict) and all(isinstance(history.get(name), (list, tuple)) for name in HISTORY)
    if not fits or len({len(history[name]) for name in HISTORY}) != 1:
        raise ValueError("history must be what fit returned: a dict of lists, each with one entry an epoch.")
    done = len(history["train_loss"])
    if done >= epochs:
        raise ValueError(f"history holds {done} epochs already, and epochs={epochs} counts those too: give more.")
    return {name: list(history[name]) for name in HISTORY}


def _is_whole(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


# ------------------------------------------------------------------------------------------ evaluation


def _answers(net, images, output):
    """Return the class of each image, int64 [N] on the device of `net`, whose modes stay as they are."""
    dtype, device = lenet_data.home(net, images)
    modes = lenet_data.modes_of(net)
    net.eval()
    best = torch.argmin if output.distances else torch.argmax
    try:
        with torch.no_grad():
            # In pieces whose feature maps stay in a processor's cache: 1,000 at once take more than twice as long.
            return torch.cat([best(net(piece.to(device, dtype)), dim=1) for piece in images.split(250)])
    finally:
        lenet_data.restore_modes(modes)


def _accuracy(net, images, labels, output):
    return (len(labels) - _errors(net, images, labels, output)) / len(labels)


def predict(net, images):
    """Return the class of each image, int64 [N]: its largest logit, or smallest distance after an RBFOutput.

    images: float [N, C, H, W], a tensor or a numpy array; they may lie on another device than the network, which stays
    as it is and where it is. Raises ValueError for images that do not fit the network.
    """
    images, output = lenet_data.check_images(net, images)
    return _answers(net, images, output).to(images.device)


def count_errors(net, data):
    """Return how many of the digits `data`, a pair (images, labels), `net` misreads. Raises ValueError as fit does."""
    return _errors(net, *lenet_data.check_pair(net, data, "evaluation"))


def _errors(net, images, labels, output):
    _, device = lenet_data.home(net, images)
    return (_answers(net, images, output) != labels.to(device)).sum().item()


def evaluate(net, data):
    """Return the accuracy (0 to 1) of `net` on `data`, a pair (images, labels). Raises ValueError as fit does."""
    return _accuracy(net, *lenet_data.check_pair(net, data, "evaluation"))


# -------------------------------------------------------------------------------------- saved weights


def _network_name(net):
    return getattr(net, "network", f"{type(net).__name__}()")


def save_weights(net, path):
    """Write the weights of `net` and its network's name to `path` (.safetensors), whole or not at all.

    A network inside torch.compile or DataParallel is saved as the network itself. Raises an OSError that says why the
    file cannot be written, ValueError for what is no network or has lazy layers that never ran.
    """
    lenet_data.write_whole(path, weights_bytes(net))


def weights_bytes(net):
    """Return what save_weights writes, bytes. Raises ValueError as it does."""
    net = _network(net)
    # Cloned, because tied weights share their memory and the format stores each name by itself.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    return safetensors.torch.save(tensors, metadata={"network": _network_name(net)})


def load_weights(net, path):
    """Read the weights at `path` into `net`, on whatever device it is, and return `net`.

    A file in weights/ must have the SHA-256 that its record in results/ gives it.

    Raises ValueError, and leaves `net` as it was, if the file was saved from another network, is not the one of the
    record or is not a weights file; an OSError that says why it cannot be read.
    """
    inner, path = _network(net), lenet_data.user_path(path)
    network = _network_name(inner)
    if not path.exists():
        raise FileNotFoundError(f"There is no weights file {path.absolute()}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a weights file.")
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}.") from error
    expected = _recorded_sha256(path.resolve())
    if expected not in (None, found):
        raise ValueError(
            f"{path} is not the file of its record: its SHA-256 is {found}, expected {expected}. "
            "`git checkout` of it brings the right one back."
        )
    try:
        with safe_open(path, "pt") as file:
            saved = (file.metadata() or {}).get("network", "an unnamed network")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a weights file in safetensors format, or it is damaged ({error}).") from error
    if saved != network:
        raise ValueError(f"{path} holds the weights of {saved}, not of {network}.")
    shapes = {name: tensor.shape for name, tensor in inner.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ValueError(f"{path} was saved from a {network} whose layers have other shapes than this one's.")
    inner.load_state_dict(tensors)
    return net


def _recorded_sha256(path):
    """Return the SHA-256 that results/RECORD.json gives the file weights/RECORD/NAME.safetensors, or None."""
    record = ROOT / "results" / f"{path.parent.name}.json"
    if path.parent.parent != ROOT / "weights" or not record.exists():
        return None
    runs = json.loads(record.read_text(encoding="utf-8"))["runs"]
    return {run.get("weights"): run.get("sha256") for run in runs}.get(path.relative_to(ROOT).as_posix())


def _network(net):
    """Return the network whose weights are saved or loaded, without its wrapper; ValueError if there are none yet."""
    if not isinstance(net, nn.Module):
        raise ValueError(f"Weights belong to a network, an nn.Module, not to {lenet_data.describe(net)}.")
    net = lenet_data.unwrapped(net)
    if lenet_data.is_lazy(net):
        raise ValueError(f"{_network_name(net)} has lazy layers without weights yet: run it once on an image first.")
    return net
