"""What the LeNet-5 notebooks share: data, networks, training with a live plot, saved weights.

Each piece is built step by step in the notebook that teaches it; here stands the tidy version that
the later notebooks import.
"""

import gzip
import hashlib
import io
import math
import os
import random
import tempfile
import time
from collections import OrderedDict
from numbers import Integral
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import safetensors.torch
import torch
import torchvision
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F
from torchvision.datasets.utils import download_url

DATA = Path(__file__).resolve().parent / "data"

# Mean and standard deviation of the 60,000 original 28 x 28 training images, pixels in [0, 1]
# (notebook 03 computes them).
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081

COLOURS = {"train": "#0072B2", "test": "#D55E00", "validation": "#009E73", "grey": "#6E6E6E"}


# ---------------------------------------------------------------------------------------------- set-up


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
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())),
            "image.cmap": "gray_r",
            "font.size": 10,
        }
    )
    if get_ipython() is not None:
        set_matplotlib_formats("retina")


def check(answer, expected):
    """Print whether an exercise's `answer` is the `expected` value (floats: to 4 digits)."""
    if answer is ...:
        print("No answer yet: replace the ... above, run that cell, then this one.")
    elif answer == expected or (isinstance(expected, float) and math.isclose(answer, expected, rel_tol=1e-4)):
        print(f"Correct: {expected}")
    else:
        print(f"Not yet: the answer should be {expected}, yours is {answer}.")


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
    classes = np.frombuffer(_read_mnist_file(root, f"{split}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    images = torch.tensor(pixels, device=device).reshape(-1, 1, 28, 28)
    labels = torch.tensor(classes, device=device).long()
    margin = (size - 28) // 2
    images = F.pad(images, (margin, margin, margin, margin)).float().div_(255)
    if scaling == "standard":
        images.sub_(MNIST_MEAN).div_(MNIST_STD)
    else:
        images.mul_(1.175 + 0.1).sub_(0.1)
    return images, labels


def _read_mnist_file(root, name):
    """Return the unpacked bytes of one official MNIST file, checked against its MD5."""
    raw = Path(root) / "MNIST" / "raw"
    path = raw / name
    if not path.exists():
        _download_mnist_file(raw, name)
    packed = path.read_bytes()
    expected, found = dict(torchvision.datasets.MNIST.resources)[name], hashlib.md5(packed).hexdigest()
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
    md5 = dict(torchvision.datasets.MNIST.resources)[name]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=raw) as folder:
            for mirror in torchvision.datasets.MNIST.mirrors:
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


# -------------------------------------------------------------------------------------------- networks


def output_size(size, kernel_size, stride=1, padding=0):
    """Return how many positions a window has along one side: floor((size + 2 padding - kernel) / stride) + 1.

    size: cells along the input's side. kernel_size: cells the window covers. stride: cells it moves at a
    time. padding: cells added at each end. Convolutions and pooling layers obey it alike (notebook 01
    derives it). Raises ValueError, with the numbers, for anything but whole numbers in range and for a
    window larger than the padded input.
    """
    arguments = {"size": (size, 1), "kernel_size": (kernel_size, 1), "stride": (stride, 1), "padding": (padding, 0)}
    for name, (value, least) in arguments.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    padded = size + 2 * padding
    if kernel_size > padded:
        raise ValueError(
            f"A window of {kernel_size} does not fit into {padded} cells (size {size}, padding {padding} at each end)."
        )
    return (padded - kernel_size) // stride + 1


# Table I of the 1998 paper: row i holds the maps of S2 (columns) that map i of C3 sees.
C3_TABLE = torch.tensor(
    [[digit == "1" for digit in row] for row in """
    111000 011100 001110 000111 100011 110001
    111100 011110 001111 100111 110011 111001
    110110 011011 101101
    111111
    """.split()]
)  # fmt: skip


class PartialConv2d(nn.Module):
    """A convolution (stride 1, no padding) in which each output map sees only some of the input maps.

    table: bool tensor [output maps, input maps], True where there is a connection; every output map needs
        at least one. kernel_size: side of the square kernels.

    Maps [N, input maps, H, W] in, [N, output maps, H - kernel_size + 1, W - kernel_size + 1] out. `weight`
    [connections, kernel_size, kernel_size] holds the kernels that exist, in the table's order row by row;
    `bias` [output maps] is one for each map. Absent weights are nowhere, so the optimiser, the initialiser
    and the parameter count cannot meet them. Raises ValueError for a malformed table or kernel size.
    Source: layer C3 of the 1998 paper, section II.B and Table I.
    """

    stride = 1

    def __init__(self, table, kernel_size):
        super().__init__()
        if not isinstance(table, torch.Tensor) or table.dtype != torch.bool or table.dim() != 2:
            found = f"{table.dtype} {list(table.shape)}" if isinstance(table, torch.Tensor) else repr(table)
            raise ValueError(f"table must be a bool tensor [output maps, input maps], not {found}.")
        if table.numel() == 0 or not table.any(dim=1).all():
            empty = (~table.any(dim=1)).nonzero().flatten().tolist()
            raise ValueError(f"Every output map needs an input map; without one in this table: {empty or 'all'}.")
        if not isinstance(kernel_size, int) or isinstance(kernel_size, bool) or kernel_size < 1:
            raise ValueError(f"kernel_size must be a whole number of at least 1, not {kernel_size!r}.")
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(int(table.sum()), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))
        # Not saved with the weights: table and positions belong to the architecture, as kernel_size does.
        self.register_buffer("table", table.clone(), persistent=False)
        self.register_buffer("positions", table.flatten().nonzero().flatten(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self, gain=1.0):
        """Draw weights and biases uniformly from ±gain / sqrt(fan-in), as nn.Conv2d does with gain 1.

        The fan-in of an output map counts the connections it has: input maps in its row times kernel_size².
        """
        with torch.no_grad():
            bound = gain / (self.table.sum(dim=1) * self.kernel_size**2).sqrt()
            rows = self.positions // self.table.shape[1]  # the output map of each kernel
            self.weight.uniform_(-1, 1).mul_(bound[rows, None, None])
            self.bias.uniform_(-1, 1).mul_(bound)

    def dense_weight(self):
        """Return the kernels as a dense convolution's, [output maps, input maps, k, k], zero where there is none."""
        outputs, inputs = self.table.shape
        dense = self.weight.new_zeros(outputs * inputs, self.kernel_size, self.kernel_size)
        dense = dense.index_copy(0, self.positions, self.weight)
        return dense.view(outputs, inputs, self.kernel_size, self.kernel_size)

    def forward(self, maps):
        return F.conv2d(maps, self.dense_weight(), self.bias)

    def extra_repr(self):
        outputs, inputs = self.table.shape
        return f"{inputs}, {outputs}, kernel_size={self.kernel_size}, kernels={len(self.weight)} of {outputs * inputs}"


class Subsample(nn.Module):
    """Trainable subsampling: the sum of each 2 x 2 window times the map's coefficient, plus the map's bias.

    Maps [N, channels, H, W] in, [N, channels, H // 2, W // 2] out; 2 trainable numbers a map. It starts as
    an average (coefficient 0.25, bias 0). Source: layers S2 and S4 of the 1998 paper, section II.B; the
    squashing function that follows there is ScaledTanh.
    """

    kernel_size = stride = 2

    def __init__(self, channels):
        super().__init__()
        if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
            raise ValueError(f"channels must be a whole number of at least 1, not {channels!r}.")
        self.coefficient = nn.Parameter(torch.full((channels,), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps):
        sums = 4 * F.avg_pool2d(maps, 2)  # times a power of two: exact
        return sums * self.coefficient[:, None, None] + self.bias[:, None, None]

    def extra_repr(self):
        return f"{len(self.coefficient)}"


class ScaledTanh(nn.Module):
    """The paper's squashing function 1.7159 tanh(2a / 3), so that f(1) = 1 and f(-1) = -1 (Appendix A)."""

    def forward(self, activations):
        return 1.7159 * torch.tanh(2 / 3 * activations)


# The ten digits as 7 x 12 bitmaps, the codes of the output layer: one byte a row from the top, 7 bits, the
# highest at the left. Transcribed from the paper's Figure 3 by W.-H. Wang ("LeNet-from-Scratch", 2018).
_BITMAPS = """
    3e001c3663636363361c0000 0c1c3c0c0c0c0c0c0c3f0000 3e003e6343061c30607f0000 7f03060c1e030303633e0000
    3e00003333736363673f0303 3e007f60603c1e03633e0000 1e3060607e736363733e0000 7f0303060c0c181818180000
    3e6363633e636363633e0000 3e676363673f0303063c0000
"""


class RBFOutput(nn.Module):
    """The paper's output layer: the squared Euclidean distance to each digit's 7 x 12 bitmap of +1 and -1.

    [N, 84] in, distances [N, 10] out; the class is the smallest. `bitmaps` [10, 84] is fixed: nothing here
    is trained. Source: section II.B and Figure 3 of the 1998 paper.
    """

    def __init__(self):
        super().__init__()
        bits = [f"{byte:07b}" for code in _BITMAPS.split() for byte in bytes.fromhex(code)]
        bitmaps = torch.tensor([2.0 * int(bit) - 1 for bit in "".join(bits)]).view(10, 84)
        self.register_buffer("bitmaps", bitmaps, persistent=False)

    def forward(self, features):
        return (features[:, None] - self.bitmaps).square().sum(dim=2)


class LeNet5(nn.Module):
    """LeNet-5 as published in 1998: 60,000 trainable parameters, 340,908 connections.

    Images [N, 1, 32, 32] in, distances to the ten digits' bitmaps [N, 10] out (the class is the smallest).
    The seven children are the paper's layers; ScaledTanh follows each of the first six. The weights start
    uniform in ±2.4 / sqrt(fan-in) and the subsampling layers as averages. The paper's Appendix A has no root
    there; taken literally, its ±2.4 / fan-in does not train (notebook 05).
    Source: section II.B of the 1998 paper.
    """

    squash = ScaledTanh()  # on the class: it has nothing to train, and the children are the paper's layers

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5)
        self.s2 = Subsample(6)
        self.c3 = PartialConv2d(C3_TABLE, kernel_size=5)
        self.s4 = Subsample(16)
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)
        self.f6 = nn.Linear(120, 84)
        self.output = RBFOutput()
        self.c3.reset_parameters(gain=2.4)
        for layer in (self.c1, self.c5, self.f6):
            bound = 2.4 / math.sqrt(layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)

    def forward(self, images):
        maps = images
        for layer in (self.c1, self.s2, self.c3, self.s4, self.c5):
            maps = self.squash(layer(maps))
        return self.output(self.squash(self.f6(maps.flatten(1))))


def tutorial_lenet():
    """Return the LeNet of *Dive into Deep Learning* (d2l, section 7.6): an nn.Sequential, 61,706 parameters.

    Images [N, 1, 28, 28] in (padding 2 makes up for the missing border), logits [N, 10] out. Sigmoid,
    average pooling and no connection table: what departs from 1998 is listed in notebook 01. The
    weights start as Xavier uniform, without which this network hardly learns.
    """
    net = nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
    net.network = "tutorial_lenet()"
    return net


def modern_lenet():
    """Return the best rung of notebook 06: the layers and the table of LeNet5 in a network of today, 61,258 parameters.

    Images [N, 1, 32, 32] in, logits [N, 10] out. The 60,000 parameters of LeNet5 are here, first weights included; its
    coefficients and biases of S2 and S4 are those of a batch normalisation after average pooling. SiLU replaces the
    scaled tanh, C5 and F6 are normalised too, and a trained linear layer takes the place of the fixed bitmaps. The
    children have the paper's names, and each but the output ends in its activation.
    """
    old = LeNet5()
    net = nn.Sequential(
        OrderedDict(
            c1=nn.Sequential(old.c1, nn.SiLU()),
            s2=nn.Sequential(nn.AvgPool2d(2), nn.BatchNorm2d(6), nn.SiLU()),
            c3=nn.Sequential(old.c3, nn.SiLU()),
            s4=nn.Sequential(nn.AvgPool2d(2), nn.BatchNorm2d(16), nn.SiLU()),
            c5=nn.Sequential(old.c5, nn.Flatten(), nn.BatchNorm1d(120), nn.SiLU()),
            f6=nn.Sequential(old.f6, nn.BatchNorm1d(84), nn.SiLU()),
            output=nn.Linear(84, 10),
        )
    )
    net.network = "modern_lenet()"
    return net


# Layers that work on each number by itself (or reorder them): nothing to count.
_ELEMENTWISE = (nn.Sigmoid, nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softmax, nn.LogSoftmax,
                nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Unflatten, ScaledTanh)  # fmt: skip


def layer_table(net, input_shape=(1, 32, 32)):
    """Run `net` on one input of `input_shape` (channels, height, width) and return a DataFrame, one row a layer.

    layer: the layer's name in the network. output: its shape, without the batch. parameters: trainable ones.
    connections: inputs of all units, the bias counted as one, as in the paper (the cells that a convolution
    pads with count too). macs: multiplications by a weight. receptive_field: side, in input pixels, of the
    square that one unit depends on.

    Activations, dropout and flattening have nothing to count and no row. It knows Conv2d, PartialConv2d,
    AvgPool2d, MaxPool2d, Subsample, BatchNorm1d and 2d, Linear and RBFOutput, one after the other. What it cannot
    count is <NA>: connections and macs of any other layer, and the receptive field from there on (also after a kernel
    that is not square, and after a step of `forward` that changes the size but is no layer). Raises
    ValueError if the input does not fit, or if trainable parameters belong to no layer that ran.
    """
    import pandas as pd  # here, because it takes half a second and most notebooks do without

    calls = []
    leaves = {layer: name for name, layer in net.named_modules() if not list(layer.children())}
    hooks = [
        leaf.register_forward_hook(lambda layer, ins, out: calls.append((layer, ins[0].shape[1:], out.shape[1:])))
        for leaf in leaves
    ]
    modes = {layer: layer.training for layer in net.modules()}
    net.eval()
    try:
        with torch.no_grad():
            net(next(net.parameters(), torch.empty(0)).new_zeros(1, *input_shape))
    except RuntimeError as error:
        raise ValueError(f"An input of shape {tuple(input_shape)} does not fit this network: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for layer, mode in modes.items():
            layer.training = mode

    rows, counted, before = [], set(), torch.Size(input_shape)
    field, jump = (1 if len(before) == 3 else pd.NA), 1
    for layer, ins, out in calls:
        if isinstance(layer, _ELEMENTWISE):
            continue
        kind, name = type(layer).__name__, leaves[layer]
        parameters = 0 if layer in counted else sum(p.numel() for p in layer.parameters() if p.requires_grad)
        connections, macs, kernel, stride = _count(layer, before, out) or [pd.NA] * 4
        if ins.numel() != before.numel() or None in (kernel, stride):
            field = pd.NA
        else:
            field, jump = field + (kernel - 1) * jump, jump * stride
        label = f"{name} {kind}" if name.split(".")[-1].isdigit() else name or kind
        rows.append((label, tuple(out), parameters, connections, macs, field))
        counted.add(layer)  # a layer that runs twice brings its parameters once
        before = out
    columns = ["layer", "output", "parameters", "connections", "macs", "receptive_field"]
    table = pd.DataFrame(rows, columns=columns)
    total = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if table.parameters.sum() != total:
        raise ValueError(
            f"Only {table.parameters.sum():,} of the {total:,} trainable parameters belong to layers that ran."
        )
    return table.astype(dict.fromkeys(columns[3:], "Int64"))


def _count(layer, before, out):
    """Return connections, macs, window side and stride of a layer that turns the shape `before` into `out`.

    Side or stride is None where height and width differ; None in all for a layer of another kind.
    """
    units = out.numel()
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        macs = units * layer.weight[0].numel()
        connections = macs + (units if layer.bias is not None else 0)
    elif isinstance(layer, PartialConv2d):
        macs = layer.weight.numel() * out[1:].numel()
        connections = macs + units
    elif isinstance(layer, Subsample):
        macs, connections = units, units * (4 + 1)
    elif isinstance(layer, RBFOutput):
        macs = connections = layer.bitmaps.numel()
    elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):  # once trained: one factor and one bias a map
        return units * (1 + 1), units, 1, 1
    elif isinstance(layer, (nn.AvgPool2d, nn.MaxPool2d)):
        macs, connections = 0, units * math.prod(_pair(layer.kernel_size))
    else:
        return None
    if isinstance(layer, (nn.Linear, RBFOutput)):
        return connections, macs, _side(before[1:]) if len(before) == 3 else 1, 1  # it sees whole maps
    dilation = _side(getattr(layer, "dilation", 1))
    kernel, stride = _side(layer.kernel_size), _side(layer.stride)
    return connections, macs, kernel and dilation and dilation * (kernel - 1) + 1, stride


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _side(value):
    height, width = _pair(value)
    return height if height == width else None


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
        self.figure, (self.left, self.right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="none")
        self.figure.subplots_adjust(left=0.07, right=0.99, bottom=0.17, top=0.88, wspace=0.18)
        plt.close(self.figure)  # or the notebook would show the figure a second time below the cell
        self.left.set(xlabel="epoch", ylabel="loss", xlim=(0, epochs))
        self.right.set(xlabel="epoch", ylabel="accuracy", xlim=(0, epochs), ylim=(0, 1.02))
        for axes in (self.left, self.right):
            axes.grid(alpha=0.3)
            axes.locator_params(nbins=5)  # writing the tick labels takes most of a redraw
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
        self.figure.suptitle(
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
        axes = self.left if name.endswith("loss") else self.right
        colour = COLOURS.get(name.split("_")[0], COLOURS["grey"])
        marker = "" if name.startswith("train") else "o"
        (line,) = axes.plot(
            [], [], color=colour, marker=marker, markersize=4, clip_on=False, label=name.replace("_", " ")
        )
        axes.legend(frameon=False)
        return line

    def _draw(self):
        if not hasattr(get_ipython(), "kernel"):
            return
        start = time.perf_counter()
        self.left.relim()
        self.left.autoscale_view(scalex=False)
        self.left.set_ylim(bottom=0)
        # A PNG of fixed size: its text output is always the same. Finer than the screen, yet quick to write.
        width, height = self.figure.get_size_inches() * 100
        png = io.BytesIO()
        self.figure.savefig(png, format="png", dpi=150, pil_kwargs={"compress_level": 1})
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
        same data, rate, batch size and seed, the result is that of one uninterrupted call.

    The history holds a list with one entry an epoch under each of: train_loss and train_accuracy (means
    over the epoch's digits, each seen by the network as it then was), test_accuracy, seconds (training
    and evaluation). A loss that is not finite, or a keyboard interrupt (Jupyter: interrupt kernel), ends
    the training with a printed sentence: `net` keeps its last good weights, the finished epochs are
    returned. Raises ValueError for data, sizes or rates that cannot be trained with, before any work.
    """
    if _gives_distances(net):
        raise ValueError("fit trains logits, and this network ends in the distances of an RBFOutput: see notebook 05.")
    for data, name in ((train, "training"), (test, "test")):
        _check_data(net, data, name)
    images, labels = train
    device, count = images.device, len(images)
    _check_settings(epochs, lr, batch_size, count)
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
            for number, batch in enumerate(_shuffled(count, seed, epoch).to(device).split(batch_size), 1):
                logits, wanted = net(images[batch]), labels[batch]
                loss = F.cross_entropy(logits, wanted)
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
                correct += (logits.detach().argmax(dim=1) == wanted).sum()
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
        print(f"Stopped in epoch {epoch + 1} of {epochs}: {error} at learning rate {lr}. Try a smaller rate.")
    finally:
        if live:
            live.close()
    return history


def _shuffled(count, seed, epoch):
    """Return a permutation of range(count), the same for the same (seed, epoch) on every device."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


def _check_settings(epochs, lr, batch_size, count):
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number of at least 1, not {epochs!r}.")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive number, not {lr!r}.")
    if not isinstance(batch_size, int) or not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size must be a whole number from 1 to the {count:,} training examples, not {batch_size!r}."
        )


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
        wanted = [size for size in (28, 32) if _accepts(net, images, size)]
        if not wanted or images.shape[-2:] == (wanted[0], wanted[0]):
            raise
        height, width = images.shape[-2:]
        raise ValueError(
            f"This network takes {wanted[0]} x {wanted[0]} images, these are {height} x {width}: "
            f"load them with load_mnist(..., size={wanted[0]})."
        ) from error
    finally:
        net.train(training)


def _accepts(net, images, size):
    try:
        with torch.no_grad():
            net(images.new_zeros(1, 1, size, size))
    except RuntimeError:
        return False
    return True


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


def evaluate(net, data):
    """Return the accuracy (0 to 1) of `net` on `data`, a pair (images, labels). Raises ValueError as fit does."""
    _check_data(net, data, "evaluation")
    images, labels = data
    return (predict(net, images) == labels).double().mean().item()


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
