"""What the LeNet-5 notebooks share: claims and figures, data, training with a live plot, saved weights.

The networks themselves are in lenet.py; their names can be had from here too.
"""

import gzip
import hashlib
import io
import json
import math
import os
import random
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import safetensors.torch
import torch
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from safetensors import SafetensorError, safe_open
from torch.nn import functional as F
from torchvision.datasets import MNIST
from torchvision.datasets.utils import download_url

from lenet import C3_TABLE as C3_TABLE
from lenet import LeNet5 as LeNet5
from lenet import PartialConv2d as PartialConv2d
from lenet import RBFOutput
from lenet import ScaledTanh as ScaledTanh
from lenet import Subsample as Subsample
from lenet import layer_table as layer_table
from lenet import modern_lenet as modern_lenet
from lenet import output_size as output_size
from lenet import tutorial_lenet as tutorial_lenet

ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"

# Mean and standard deviation of the 60,000 original 28 x 28 training images, pixels in [0, 1]
# (notebook 03 computes them).
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
# The 1998 paper's scaling (section II.B).
BACKGROUND, FOREGROUND = -0.1, 1.175

COLOURS = {"train": "#0072B2", "test": "#D55E00", "validation": "#009E73", "grey": "#6E6E6E"}


# ------------------------------------------------------------------------- set-up, claims, figures, records


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


def use_plot_style():
    """Give every figure of the notebooks one look: sharp, white behind (legible in dark themes too)."""
    plt.rcParams.update({
        "figure.dpi": 100, "figure.facecolor": "white", "savefig.facecolor": "white", "font.size": 10,
        "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False,
        "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())), "image.cmap": "gray_r",
    })  # fmt: skip
    if get_ipython() is not None:
        set_matplotlib_formats("retina")


def claim(statement, holds, found=None):
    """Print `statement` and what was `found`, a number say, or else whether it holds.

    Raises AssertionError, which stops the notebook, where it does not hold.
    """
    print(f"{statement}: {bool(holds) if found is None else found}")
    if not holds:
        raise AssertionError(statement)


def check(answer, expected):
    """Print whether an exercise's `answer` is the `expected` value (floats: to 4 digits)."""
    if answer is ...:
        print("No answer yet: replace the ... above, run that cell, then this one.")
    elif answer == expected or (isinstance(expected, float) and math.isclose(answer, expected, rel_tol=1e-4)):
        print(f"Correct: {expected}")
    else:
        print(f"Not yet: the answer should be {expected}, yours is {answer}.")


def show_images(images, titles=(), columns=10, row_titles=(), scale=0.8, **options):
    """Draw images [height, width] in rows of `columns`, without ticks; None leaves a place empty.

    titles: one above each image. row_titles: one at the left of each row. scale: inches a column. options: imshow's.
    """
    rows, height = math.ceil(len(images) / columns), scale * (1.3 if len(titles) else 1)
    width = columns * scale + (1 if len(row_titles) else 0)
    fig, axes = plt.subplots(rows, columns, figsize=(width, rows * height), squeeze=False)
    for ax, image, title in zip_longest(axes.flat, images, titles):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title("" if title is None else title, fontsize=8, pad=3)
        if image is not None:
            ax.imshow(image, **options)
    for ax, title in zip(axes[:, 0], row_titles, strict=False):
        ax.set_ylabel(title, rotation=0, ha="right", va="center")
    plt.show()


def read_runs(name):
    """Return the record results/`name`.json, and its runs by kind: {kind: [run, ...]}, in the order of their seeds."""
    record, runs = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8")), {}
    for run in sorted(record["runs"], key=lambda run: run.get("seed", 0)):
        runs.setdefault(run["kind"], []).append(run)
    return record, runs


# ------------------------------------------------------------------------------------------------ data


def load_mnist(train, size=32, scaling="standard", device="cpu", root=DATA):
    """Return a whole MNIST split as two tensors on `device`: images and labels.

    train: True for the 60,000 training digits, False for the 10,000 test digits.
    size: 32 pads the 28 x 28 images with two background pixels a side, as the 1998 paper does; 28
        leaves them.
    scaling: "standard" is (x - 0.1307) / 0.3081 with pixels x in [0, 1], the training set's mean and
        deviation; "paper" puts the background at -0.1 and the foreground at 1.175 (section II.B).
    root: folder that holds MNIST/raw/*.gz; missing files are downloaded there through torchvision.

    Images are float32 [N, 1, size, size], labels int64 [N]. Raises ValueError for another size or
    scaling and for a file that is not the official one, OSError where a missing file can be neither
    downloaded nor written.
    """
    if size not in (28, 32):
        raise ValueError(f"size must be 28 (original) or 32 (padded), not {size!r}.")
    if scaling not in ("standard", "paper"):
        raise ValueError(f'scaling must be "standard" or "paper", not {scaling!r}.')
    split = "train" if train else "t10k"
    pixels = np.frombuffer(_read_mnist_file(root, f"{split}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    labels = np.frombuffer(_read_mnist_file(root, f"{split}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    images = as_images(torch.tensor(pixels, device=device).view(-1, 28, 28), size, scaling)
    return images, torch.tensor(labels, device=device).long()


def as_images(pixels, size=32, scaling="standard"):
    """Return pixels, uint8 [N, 28, 28], as load_mnist would: float32 [N, 1, size, size]."""
    margin = (size - 28) // 2
    return scale_(F.pad(pixels[:, None], (margin, margin, margin, margin)).float().div_(255), scaling)


def scale_(grey, scaling):
    """Bring grey levels, float from 0 (background) to 1 (ink), to a scaling of load_mnist, in place; return them."""
    if scaling == "standard":
        return grey.sub_(MNIST_MEAN).div_(MNIST_STD)
    return grey.mul_(FOREGROUND - BACKGROUND).add_(BACKGROUND)


def _read_mnist_file(root, name):
    """Return the unpacked bytes of one official MNIST file, checked against its MD5."""
    raw = Path(root) / "MNIST" / "raw"
    path = raw / name
    if not path.exists():
        _download_mnist_file(raw, name)
    packed = path.read_bytes()
    expected, found = dict(MNIST.resources)[name], hashlib.md5(packed).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is not the official MNIST file: its MD5 is {found}, expected {expected}. "
            "Delete it and load again to download it anew."
        )
    content = gzip.decompress(packed)
    unpacked = path.with_suffix("")
    if unpacked.exists() and unpacked.read_bytes() != content:
        # torchvision believes any unpacked file that it finds, also one cut short by an interruption.
        unpacked.unlink()
    return content


def _download_mnist_file(raw, name):
    """Download one MNIST file into the folder `raw`, whole or not at all."""
    md5 = dict(MNIST.resources)[name]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=raw) as folder:
            for mirror in MNIST.mirrors:
                try:
                    download_url(mirror + name, folder, name, md5)
                except (OSError, RuntimeError):
                    continue
                os.replace(Path(folder) / name, raw / name)
                return
    except OSError as error:
        raise OSError(
            f"{raw / name} is missing and {raw} cannot be written ({error.strerror}): "
            "give load_mnist a root folder that you can write to."
        ) from error
    raise OSError(
        f"{raw / name} is missing and no MNIST mirror could be reached: "
        f"connect to the internet, or copy the four .gz files into {raw}."
    )


# -------------------------------------------------------------------------------------------- training


class LivePlot:
    """A figure that redraws in place while training runs: loss at the left, accuracy at the right.

        plot = LivePlot(epochs=10, examples=60_000, device="cpu")
        plot.add(0.2, train_loss=2.31, train_accuracy=0.11)      # at epoch 0.2
        plot.add(1, test_accuracy=0.86)
        plot.close()                                             # draws the last state

    epochs: passes in all, the width of the axes. examples: digits in a pass, for the rate and the time
    left in the title. first_epoch: where a resumed training begins.

    Curves whose name ends in "loss" go left, the others right. A redraw takes about a tenth of a second:
    the plot leaves redraws out to keep its share of the time below `max_share`; close() always draws.
    Outside a notebook nothing is drawn.
    """

    max_share = 0.03

    def __init__(self, epochs, examples, device, first_epoch=0):
        self.epochs, self.examples, self.device, self.first_epoch = epochs, examples, device, first_epoch
        self.started = time.perf_counter()
        self.drawing_seconds = self.last_drawing = 0.0
        # Fixed margins: a layout computed anew at every redraw would take longer than the drawing.
        self.fig, (self.left, self.right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="none")
        self.fig.subplots_adjust(left=0.07, right=0.99, bottom=0.17, top=0.88, wspace=0.18)
        plt.close(self.fig)  # or the notebook would show the figure a second time below the cell
        self.left.set(xlabel="epoch", ylabel="loss", xlim=(0, epochs))
        self.right.set(xlabel="epoch", ylabel="accuracy", xlim=(0, epochs), ylim=(0, 1.02))
        for ax in (self.left, self.right):
            ax.grid(alpha=0.3)
            ax.locator_params(nbins=5)  # writing the tick labels takes most of a redraw
        self.lines = {}
        self.handle = None

    def add(self, epoch, **values):
        """Append a point to each named curve at `epoch` (a fraction inside an epoch); redraw if it is time."""
        for name, value in values.items():
            if name not in self.lines:
                self.lines[name] = self._new_line(name)
            line = self.lines[name]
            line.set_data([*line.get_xdata(), epoch], [*line.get_ydata(), value])
        elapsed = time.perf_counter() - self.started
        done = epoch - self.first_epoch
        left = round(elapsed / done * (self.epochs - epoch))
        self.fig.suptitle(
            f"epoch {epoch:.1f} of {self.epochs} on {self.device}: {done * self.examples / elapsed:,.0f} "
            f"examples/s, {left // 60}:{left % 60:02d} left",
            fontsize=10,
        )
        if self.drawing_seconds + self.last_drawing < self.max_share * elapsed:
            self._draw()

    def close(self):
        """Draw the last state."""
        self._draw()

    def _new_line(self, name):
        ax = self.left if name.endswith("loss") else self.right
        colour = COLOURS.get(name.split("_")[0], COLOURS["grey"])
        marker = "" if name.startswith("train") else "o"
        label = name.replace("_", " ")
        (line,) = ax.plot([], [], color=colour, marker=marker, markersize=4, clip_on=False, label=label)
        ax.legend(frameon=False)
        return line

    def _draw(self):
        if not hasattr(get_ipython(), "kernel"):
            return
        start = time.perf_counter()
        self.left.relim()
        self.left.autoscale_view(scalex=False)
        self.left.set_ylim(bottom=0)
        # A PNG of fixed size: its text output is always the same. Finer than the screen, yet quick to write.
        width, height = self.fig.get_size_inches() * 100
        png = io.BytesIO()
        self.fig.savefig(png, format="png", dpi=150, pil_kwargs={"compress_level": 1})
        picture = Image(png.getvalue(), width=int(width), height=int(height))
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)
        self.last_drawing = time.perf_counter() - start
        self.drawing_seconds += self.last_drawing


def fit(net, train, test, epochs=10, lr=0.9, batch_size=64, plot=True, seed=0, history=None):
    """Train `net` in place by stochastic gradient descent on the cross-entropy; return the history.

    train, test: pairs (images float32 [N, C, H, W], labels int64 [N]), as load_mnist returns them; the
        network is moved to their device.
    epochs: passes over `train` in all. lr: learning rate. batch_size: digits a step.
    plot: show a LivePlot.
    seed: of the shuffling; the order of an epoch depends on (seed, epoch) alone.
    history: what an earlier call returned, to go on where it ended: with its weights in `net` and the
        same data, learning rate, batch size and seed, the result is that of one uninterrupted call.

    The history holds a list with one entry an epoch under each of: train_loss and train_accuracy (means
    over the epoch's digits, each seen by the network as it then was), test_accuracy, seconds (training
    and evaluation). A loss that is not finite, or a keyboard interrupt (Jupyter: interrupt kernel), ends
    the training with a printed sentence: `net` keeps its last good weights, the finished epochs are
    returned. Raises ValueError for data or settings that cannot be trained with, before any work.
    """
    if _gives_distances(net):
        raise ValueError("fit trains logits, and this network ends in the distances of an RBFOutput: see notebook 05.")
    for data, name in ((train, "training"), (test, "test")):
        _check_data(net, data, name)
    images, labels = train
    device, count = images.device, len(images)
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number of at least 1, not {epochs!r}.")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive number, not {lr!r}.")
    if not isinstance(batch_size, int) or not 1 <= batch_size <= count:
        limits = f"from 1 to the {count:,} training examples"
        raise ValueError(f"batch_size must be a whole number {limits}, not {batch_size!r}.")
    net.to(device)
    if device.type == "cpu":
        # Convolution and pooling run faster here with the feature maps innermost in memory.
        net.to(memory_format=torch.channels_last)
    parameters = list(net.parameters())
    names = ("train_loss", "train_accuracy", "test_accuracy", "seconds")
    history = {name: list(history[name]) if history else [] for name in names}
    epoch = first_epoch = len(history["train_loss"])
    live = LivePlot(epochs, count, device, first_epoch) if plot else None
    points = {round(count * fifth / 5 / batch_size) for fifth in range(1, 5)}  # batches after which to plot
    try:
        for epoch in range(first_epoch, epochs):
            start = time.perf_counter()
            net.train()
            seen, loss_sum, correct = 0, 0.0, torch.zeros((), dtype=torch.int64, device=device)
            for number, batch in enumerate(epoch_order(count, seed, epoch).to(device).split(batch_size), 1):
                logits = net(images[batch])
                loss = F.cross_entropy(logits, labels[batch])
                loss_value = loss.item()
                if not math.isfinite(loss_value):
                    raise FloatingPointError(f"the loss is {loss_value} in batch {number}")
                loss.backward()
                with torch.no_grad():
                    # Gradient descent written out: for weights this few an optimiser takes longer than the arithmetic.
                    for parameter in parameters:
                        parameter.sub_(parameter.grad, alpha=lr)
                        parameter.grad = None
                seen += len(batch)
                loss_sum += loss_value * len(batch)
                correct += (logits.detach().argmax(dim=1) == labels[batch]).sum()
                if live and number in points:
                    live.add(epoch + seen / count, train_loss=loss_sum / seen, train_accuracy=correct.item() / seen)
            results = (loss_sum / count, correct.item() / count, evaluate(net, test), time.perf_counter() - start)
            for name, value in zip(names, results, strict=True):
                history[name].append(value)
            if live:
                live.add(epoch + 1, **{name: history[name][-1] for name in names[:3]})
    except KeyboardInterrupt:
        print(f"Interrupted in epoch {epoch + 1} of {epochs}: the network keeps its weights so far.")
    except FloatingPointError as error:
        print(f"Stopped in epoch {epoch + 1} of {epochs}: {error} at learning rate {lr}. Try a smaller one.")
    finally:
        if live:
            live.close()
    return history


def epoch_order(count, seed, epoch):
    """Return the order of `count` digits in an epoch, int64 [count]: the same for the same (seed, epoch) everywhere."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


def _check_data(net, data, name):
    images, labels = data
    if len(images) == 0:
        raise ValueError(f"The {name} data are empty: give at least one image.")
    if len(images) != len(labels):
        raise ValueError(f"The {name} data have {len(images):,} images but {len(labels):,} labels.")
    classes = _logits(net, images[:1]).shape[1]
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"The {name} labels run from {low} to {high}; this network knows 0 to {classes - 1}.")


def _logits(net, images):
    """Run `net` on `images` [N, C, H, W] without gradients; ValueError if they do not fit the network."""
    if images.dim() != 4:
        raise ValueError(f"Images must have four dimensions, [N, channels, height, width], not {images.dim()}.")
    net.to(images.device)
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            return net(images)
    except RuntimeError as error:
        size = next((size for size in (28, 32) if _accepts(net, images, size)), None)
        height, width = images.shape[-2:]
        if size is None or height == width == size:
            raise
        raise ValueError(
            f"This network takes {size} x {size} images, these are {height} x {width}: "
            f"load them with load_mnist(..., size={size})."
        ) from error
    finally:
        net.train(training)


def _accepts(net, images, size):
    try:
        return net(images.new_zeros(1, 1, size, size)) is not None
    except RuntimeError:
        return False


def predict(net, images):
    """Return the class of each image, int64 [N]: its largest logit, or smallest distance after an RBFOutput.

    images: float32 [N, C, H, W]; the network is moved to their device. Raises ValueError for images that
    do not fit the network.
    """
    # In pieces whose feature maps stay in a processor's cache: with 1,000 images it takes more than twice as long.
    best = torch.argmin if _gives_distances(net) else torch.argmax
    return torch.cat([best(_logits(net, piece), dim=1) for piece in images.split(250)])


def _gives_distances(net):
    *_, last = net.modules()
    return isinstance(last, RBFOutput)


def count_errors(net, data):
    """Return how many of the digits `data`, a pair (images, labels), `net` misreads. Raises ValueError as fit does."""
    _check_data(net, data, "evaluation")
    images, labels = data
    return (predict(net, images) != labels).sum().item()


def evaluate(net, data):
    """Return the accuracy (0 to 1) of `net` on `data`, a pair (images, labels). Raises ValueError as fit does."""
    return (len(data[1]) - count_errors(net, data)) / len(data[1])


# -------------------------------------------------------------------------------------- saved weights


def _network_name(net):
    return getattr(net, "network", f"{type(net).__name__}()")


def save_weights(net, path):
    """Write the weights of `net` and its network's name to `path` (.safetensors), whole or not at all."""
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        safetensors.torch.save_file(tensors, unfinished, metadata={"network": _network_name(net)})
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_weights(net, path):
    """Read the weights at `path` into `net`, on whatever device it is, and return `net`.

    Raises ValueError, and leaves `net` as it was, if the file was saved from another network or is not
    a weights file; FileNotFoundError if there is none.
    """
    path, network = Path(path), _network_name(net)
    if not path.exists():
        raise FileNotFoundError(f"There is no weights file {path}.")
    try:
        with safe_open(path, "pt") as file:
            saved = (file.metadata() or {}).get("network", "an unnamed network")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a weights file in safetensors format, or it is damaged ({error}).") from error
    if saved != network:
        raise ValueError(f"{path} holds the weights of {saved}, not of {network}.")
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ValueError(f"{path} was saved from a {network} whose layers have other shapes than this one's.")
    net.load_state_dict(tensors)
    return net
