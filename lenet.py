"""LeNet-5: the output-size formula, C3's connection table, the layers of 1998, three networks, a table of layers.

Each piece is built step by step in the notebook that teaches it; here stands the tidy version.
"1998 paper" is LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE.
"""

import math
from collections import OrderedDict
from numbers import Integral

import torch
from torch import nn
from torch.nn import functional as F


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
        # Not saved with the weights: table and positions belong to the architecture, as kernel_size does. Positions are
        # the table's True entries, found once: indexing by the table, as notebook 02 does, finds them every time.
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

    def forward(self, sums):
        return 1.7159 * torch.tanh(2 / 3 * sums)


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

    gives_distances = True  # the smallest decides: lenet_utils.predict asks

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
    net.network = "tutorial_lenet()"  # the name that save_weights writes and load_weights compares
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
    net.network = "modern_lenet()"  # as in tutorial_lenet
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
