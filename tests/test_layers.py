"""The 1998 layers, the output-size formula and the layer table."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lenet import (
    C3_TABLE,
    LeNet5,
    PartialConv2d,
    RBFOutput,
    ScaledTanh,
    Subsample,
    layer_table,
    modern_lenet,
    output_size,
    tutorial_lenet,
)
from lenet_utils import evaluate, fit, load_weights, predict, save_weights, seed_everything

# Table I as lists of inputs, map by map, typed in apart from the strings in lenet.
TABLE_I = [
    [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [0, 4, 5], [0, 1, 5],
    [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [0, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 5],
    [0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5],
    [0, 1, 2, 3, 4, 5],
]  # fmt: skip

# layer, output, parameters, connections, macs, receptive field: the paper's figures, the last two by hand.
PAPER = [
    ("c1", (6, 28, 28), 156, 122_304, 117_600, 5),
    ("s2", (6, 14, 14), 12, 5_880, 1_176, 6),
    ("c3", (16, 10, 10), 1_516, 151_600, 150_000, 14),
    ("s4", (16, 5, 5), 32, 2_000, 400, 16),
    ("c5", (120, 1, 1), 48_120, 48_120, 48_000, 32),
    ("f6", (84,), 10_164, 10_164, 10_080, 32),
    ("output", (10,), 0, 840, 840, 32),
]


def rows(table):
    return list(table.itertuples(index=False, name=None))


# ------------------------------------------------------------------------------------------ output_size


# Tensors on the meta device have no memory: PyTorch computes shapes only.


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(st.integers(1, 80), st.integers(0, 12), st.integers(0, 10**6), st.integers(1, 12))
def test_output_size_agrees_with_conv2d(size, padding, number, stride):
    kernel_size = 1 + number % (size + 2 * padding)
    layer = nn.Conv2d(1, 1, (1, kernel_size), (1, stride), (0, padding), device="meta")
    row = torch.empty(1, 1, 1, size, device="meta")
    assert layer(row).shape[3] == output_size(size, kernel_size, stride, padding)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6), st.integers(0, 80), st.integers(1, 12))
def test_output_size_agrees_with_avgpool2d(kernel_size, number, excess, stride):
    padding = number % (kernel_size // 2 + 1)  # PyTorch allows no more when pooling
    size = max(1, kernel_size - 2 * padding) + excess
    layer = nn.AvgPool2d((1, kernel_size), (1, stride), (0, padding))
    row = torch.empty(1, 1, 1, size, device="meta")
    assert layer(row).shape[3] == output_size(size, kernel_size, stride, padding)


def test_output_size_agrees_with_whole_layers():
    image = torch.zeros(1, 1, 32, 32)
    assert nn.Conv2d(1, 6, kernel_size=5)(image).shape[2:] == (output_size(32, 5),) * 2
    assert nn.Conv2d(1, 6, kernel_size=5, stride=3, padding=2)(image).shape[2:] == (output_size(32, 5, 3, 2),) * 2
    assert nn.AvgPool2d(kernel_size=2, stride=2)(image).shape[2:] == (output_size(32, 2, stride=2),) * 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((4, 5), ["5", "4", "0"]),
        ((4, 9, 1, 2), ["9", "8", "4", "2"]),
        ((32, 5, 0), ["stride", "0"]),
        ((32, 5, -2), ["stride", "-2"]),
        ((32, 5, 1, -1), ["padding", "-1"]),
        ((0, 1), ["size", "0"]),
        ((-3, 1), ["size", "-3"]),
        ((32, 0), ["kernel_size", "0"]),
        ((32, -5), ["kernel_size", "-5"]),
        ((32.0, 5), ["size", "32.0"]),
        ((32, 2.5), ["kernel_size", "2.5"]),
        ((32, 5, 1.5), ["stride", "1.5"]),
        ((32, 5, 1, 0.5), ["padding", "0.5"]),
        (("32", 5), ["size", "'32'"]),
        ((32, True), ["kernel_size", "True"]),
        ((32, 5, None), ["stride", "None"]),
    ],
)
def test_output_size_refuses_the_illegal_with_the_numbers(arguments, named):
    with pytest.raises(ValueError) as caught:
        output_size(*arguments)
    assert all(text in str(caught.value) for text in named)


def test_output_size_at_its_limits():
    assert [output_size(*case) for case in ((1, 1), (5, 5), (4, 5, 1, 1), (4, 6, 9, 1))] == [1, 1, 2, 1]
    assert [output_size(8, 1, stride) for stride in (1, 2, 3, 7, 8)] == [8, 4, 3, 2, 1]


@pytest.mark.parametrize(("name", "least"), [("size", 1), ("kernel_size", 1), ("stride", 1), ("padding", 0)])
def test_output_size_names_what_is_out_of_range(name, least):
    for bad in (least - 1, 2.0, True):
        with pytest.raises(ValueError, match=rf"^{name} must be a whole number of at least {least}, not {bad}\.$"):
            output_size(**{"size": 32, "kernel_size": 5, name: bad})


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 50), st.integers(0, 10), st.integers(1, 50), st.integers(1, 9))
def test_output_size_refuses_every_window_that_does_not_fit(size, padding, excess, stride):
    with pytest.raises(ValueError, match=f"{size + 2 * padding + excess} does not fit into {size + 2 * padding}"):
        output_size(size, size + 2 * padding + excess, stride, padding)


# ---------------------------------------------------------------------------------------- PartialConv2d


def random_table(outputs, inputs, seed):
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(outputs, inputs, generator=generator) < 0.5
    table[torch.arange(outputs), torch.randint(inputs, (outputs,), generator=generator)] = True
    return table


def test_c3_table_is_table_i():
    assert C3_TABLE.dtype == torch.bool
    assert C3_TABLE.shape == (16, 6)
    assert [row.nonzero().flatten().tolist() for row in C3_TABLE] == TABLE_I
    assert C3_TABLE.sum() == 60


def test_partial_convolution_is_a_loop_over_connections():
    layer, maps = PartialConv2d(C3_TABLE, 5), torch.randn(3, 6, 14, 14)
    kernels, expected = iter(layer.weight), []
    for inputs, bias in zip(TABLE_I, layer.bias, strict=True):
        sums = [nn.functional.conv2d(maps[:, [j]], next(kernels)[None, None]) for j in inputs]
        expected.append(torch.stack(sums).sum(dim=0) + bias)
    torch.testing.assert_close(layer(maps), torch.cat(expected, dim=1))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))
def test_partial_convolution_takes_any_legal_table(outputs, inputs, kernel_size, seed):
    table = random_table(outputs, inputs, seed)
    layer = PartialConv2d(table, kernel_size)
    assert sum(p.numel() for p in layer.parameters()) == int(table.sum()) * kernel_size**2 + outputs
    maps = torch.randn(2, inputs, 6, 6)
    assert layer(maps).shape == (2, outputs, 7 - kernel_size, 7 - kernel_size)
    # Maps without a connection have no influence, all others have.
    for j in range(inputs):
        changed = maps.clone()
        changed[:, j] += 1
        moved = (layer(changed) != layer(maps)).flatten(2).any(dim=2).any(dim=0)
        assert torch.equal(moved, table[:, j])


def test_the_layers_of_1998_say_what_they_are():
    assert repr(PartialConv2d(C3_TABLE, 5)) == "PartialConv2d(6, 16, kernel_size=5, kernels=60 of 96)"
    assert repr(Subsample(6)) == "Subsample(6)"


def test_partial_convolution_passes_gradcheck():
    layer = PartialConv2d(random_table(4, 3, seed=1), 2).double()
    maps = torch.randn(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(maps, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (maps,))

    assert torch.autograd.gradcheck(run, (maps, *values))
    assert torch.autograd.gradgradcheck(run, (maps, *values))


def test_partial_convolution_in_double_precision():
    layer, maps = PartialConv2d(C3_TABLE, 5), torch.randn(2, 6, 14, 14)
    single = layer(maps)
    double = layer.double()(maps.double())
    assert double.dtype == torch.double
    torch.testing.assert_close(double.float(), single)


def test_state_dict_round_trip_and_weights_file(tmp_path):
    images = torch.randn(4, 1, 32, 32)
    net, other = LeNet5(), LeNet5()
    assert not torch.equal(net(images), other(images))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(images), other(images))
    save_weights(net, tmp_path / "net.safetensors")
    assert torch.equal(load_weights(LeNet5(), tmp_path / "net.safetensors")(images), net(images))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_partial_convolution_under_torch_compile():
    layer, maps = PartialConv2d(C3_TABLE, 5), torch.randn(2, 6, 14, 14)
    compiled = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(compiled(maps), layer(maps))
    (expected,) = torch.autograd.grad(layer(maps).square().sum(), layer.weight)
    (gradient,) = torch.autograd.grad(compiled(maps).square().sum(), layer.weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_lenet5_on_cuda():
    net, images = LeNet5(), torch.randn(4, 1, 32, 32)
    expected = net(images)
    torch.testing.assert_close(net.cuda()(images.cuda()).cpu(), expected, rtol=1e-3, atol=1e-2)
    net(images.cuda()).sum().backward()
    assert net.c3.weight.grad.shape == (60, 5, 5)


@pytest.mark.parametrize(
    "table",
    [
        torch.zeros(3, 2, dtype=torch.bool),
        torch.tensor([[True, True], [False, False]]),
        torch.ones(16, 6),
        torch.ones(16, 6, dtype=torch.int64),
        torch.ones(6, dtype=torch.bool),
        torch.ones(2, 16, 6, dtype=torch.bool),
        torch.ones(0, 6, dtype=torch.bool),
        torch.ones(16, 0, dtype=torch.bool),
        [[True, False]],
        None,
    ],
    ids=lambda table: f"{table.dtype} {list(table.shape)}" if isinstance(table, torch.Tensor) else repr(table),
)
def test_partial_convolution_refuses_a_malformed_table(table):
    with pytest.raises(ValueError) as caught:
        PartialConv2d(table, 5)
    message = str(caught.value)
    assert "table" in message and message.endswith(".") and "\n" not in message


def test_the_refusal_names_the_map_without_input():
    with pytest.raises(ValueError, match=r"\[1\]"):
        PartialConv2d(torch.tensor([[True, True], [False, False]]), 5)


@pytest.mark.parametrize("kernel_size", [0, -1, 2.0, True, (5, 5)])
def test_partial_convolution_refuses_a_bad_kernel_size(kernel_size):
    with pytest.raises(ValueError, match="kernel_size must be"):
        PartialConv2d(C3_TABLE, kernel_size)


def test_the_initial_fan_in_counts_the_connections_that_exist():
    seed_everything(0)
    layer = PartialConv2d(torch.tensor([[True] * 100, [True] + [False] * 99]), 5)
    wide, narrow = layer.weight[:100], layer.weight[100:]
    assert 0.95 * (100 * 25) ** -0.5 < wide.abs().max() <= (100 * 25) ** -0.5
    assert 0.8 * 25**-0.5 < narrow.abs().max() <= 25**-0.5


# --------------------------------------------------------------------------- the other layers and LeNet5


def test_subsampling_is_sum_times_coefficient_plus_bias():
    layer, maps = Subsample(2), torch.arange(32.0).view(1, 2, 4, 4)
    torch.testing.assert_close(layer(maps), nn.AvgPool2d(2)(maps))
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.5, 3.0]))
    first = 2 * (0 + 1 + 4 + 5) + 0.5
    second = -(16 + 17 + 20 + 21) + 3
    assert layer(maps)[0, :, 0, 0].tolist() == [first, second]


@pytest.mark.parametrize("channels", [0, -1, 2.0, True])
def test_subsampling_refuses_bad_channels(channels):
    with pytest.raises(ValueError, match="channels must be"):
        Subsample(channels)


def test_scaled_tanh():
    values = ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0, 100.0]))
    torch.testing.assert_close(values, torch.tensor([-1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=2e-5)


def test_rbf_output_is_the_squared_distance_to_the_bitmaps():
    layer = RBFOutput()
    assert list(layer.parameters()) == []
    assert layer.bitmaps.shape == (10, 84)
    assert set(layer.bitmaps.unique().tolist()) == {-1.0, 1.0}
    distances = layer(layer.bitmaps)
    hamming = (layer.bitmaps[:, None] != layer.bitmaps).sum(dim=2)
    assert torch.equal(distances, 4.0 * hamming)
    pairs = hamming + 84 * torch.eye(10)
    assert pairs.min() == 12 and pairs[6, 8] == 12
    one = ["#" if bit > 0 else "." for bit in layer.bitmaps[1]]
    assert ["".join(one[i : i + 7]) for i in range(0, 84, 7)] == [
        "...##..", "..###..", ".####..", "...##..", "...##..", "...##..",
        "...##..", "...##..", "...##..", ".######", ".......", ".......",
    ]  # fmt: skip
    assert (layer.bitmaps > 0).sum(dim=1).tolist() == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]


def test_lenet5_has_the_paper_s_layers():
    net = LeNet5()
    assert [name for name, _ in net.named_children()] == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 60_000
    assert torch.equal(net.c3.table, C3_TABLE)
    assert net(torch.zeros(3, 1, 32, 32)).shape == (3, 10)


def test_lenet5_squashes_after_each_of_the_first_six_layers():
    net, images = LeNet5(), torch.randn(2, 1, 32, 32)
    f = ScaledTanh()
    maps = f(net.c5(f(net.s4(f(net.c3(f(net.s2(f(net.c1(images))))))))))
    assert torch.equal(net(images), net.output(f(net.f6(maps.flatten(1)))))


def test_lenet5_starts_within_2_4_over_the_root_of_the_fan_in():
    net = LeNet5()
    for layer, fan_in in ((net.c1, 25), (net.c5, 400), (net.f6, 120)):
        for values in (layer.weight, layer.bias):
            assert values.abs().max() <= 2.4 / fan_in**0.5
        assert layer.weight.abs().max() > 0.9 * 2.4 / fan_in**0.5
    for layer, fan_in in ((net.c5, 400), (net.f6, 120)):  # of whose biases there are many
        assert layer.bias.abs().max() > 0.8 * 2.4 / fan_in**0.5
    for kernel, row in zip(net.c3.weight, C3_TABLE.nonzero()[:, 0], strict=True):
        assert kernel.abs().max() <= 2.4 / (25 * len(TABLE_I[row])) ** 0.5
    assert net.c3.weight.abs().max() > 0.9 * 2.4 / 75**0.5


def test_predict_takes_the_smallest_distance():
    net = LeNet5()
    images = torch.randn(20, 1, 32, 32)
    assert torch.equal(predict(net, images), net(images).argmin(dim=1))
    assert evaluate(net, (images, net(images).argmin(dim=1))) == 1.0
    logits = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    assert torch.equal(predict(logits, images), logits(images).argmax(dim=1))


def test_fit_refuses_a_network_of_distances():
    data = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 2, 3])
    with pytest.raises(ValueError, match="RBFOutput"):
        fit(LeNet5(), data, data, batch_size=2)


# ------------------------------------------------------------------------------------------ layer_table


def test_layer_table_gives_the_paper_s_table():
    table = layer_table(LeNet5())
    assert list(table.columns) == ["layer", "output", "parameters", "connections", "macs", "receptive_field"]
    assert rows(table) == PAPER
    assert table.parameters.sum() == 60_000
    assert table.connections.sum() == 340_908


def test_layer_table_of_the_tutorial_network():
    table = layer_table(tutorial_lenet(), input_shape=(1, 28, 28))
    assert rows(table) == [
        ("0 Conv2d", (6, 28, 28), 156, 122_304, 117_600, 5),
        ("2 AvgPool2d", (6, 14, 14), 0, 4_704, 0, 6),
        ("3 Conv2d", (16, 10, 10), 2_416, 241_600, 240_000, 14),
        ("5 AvgPool2d", (16, 5, 5), 0, 1_600, 0, 16),
        ("7 Linear", (120,), 48_120, 48_120, 48_000, 32),
        ("9 Linear", (84,), 10_164, 10_164, 10_080, 32),
        ("11 Linear", (10,), 850, 850, 840, 32),
    ]
    assert table.parameters.sum() == 61_706


def test_layer_table_with_groups_dilation_strides_and_no_bias():
    net = nn.Sequential(
        nn.Conv2d(4, 8, kernel_size=3, stride=2, groups=2, bias=False), nn.ReLU(),
        nn.MaxPool2d(3, stride=1), nn.Conv2d(8, 2, kernel_size=3, dilation=2),
    )  # fmt: skip
    assert rows(layer_table(net, input_shape=(4, 21, 21))) == [
        ("0 Conv2d", (8, 10, 10), 8 * 2 * 9, 800 * 18, 800 * 18, 3),
        ("2 MaxPool2d", (8, 8, 8), 0, 512 * 9, 0, 7),
        ("3 Conv2d", (2, 4, 4), 2 * 73, 32 * 73, 32 * 72, 15),
    ]


def test_layer_table_of_the_modern_network():
    """All the paper's parameters are there; S2's and S4's are those of the normalisation."""
    table = layer_table(modern_lenet())
    assert rows(table) == [
        ("c1.0 Conv2d", (6, 28, 28), 156, 122_304, 117_600, 5),
        ("s2.0 AvgPool2d", (6, 14, 14), 0, 1176 * 4, 0, 6),
        ("s2.1 BatchNorm2d", (6, 14, 14), 12, 1176 * 2, 1176, 6),
        ("c3.0 PartialConv2d", (16, 10, 10), 1516, 151_600, 150_000, 14),
        ("s4.0 AvgPool2d", (16, 5, 5), 0, 400 * 4, 0, 16),
        ("s4.1 BatchNorm2d", (16, 5, 5), 32, 400 * 2, 400, 16),
        ("c5.0 Conv2d", (120, 1, 1), 48_120, 48_120, 48_000, 32),
        ("c5.2 BatchNorm1d", (120,), 240, 240, 120, 32),
        ("f6.0 Linear", (84,), 10_164, 10_164, 10_080, 32),
        ("f6.1 BatchNorm1d", (84,), 168, 168, 84, 32),
        ("output", (10,), 850, 850, 840, 32),
    ]
    assert table.parameters.sum() == 61_258 == 60_000 + 240 + 168 + 850 <= 61_706


def test_layer_table_says_what_it_cannot_count():
    net = nn.Sequential(nn.Conv2d(1, 2, 5), nn.GroupNorm(1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    table = layer_table(net)
    assert table.parameters.tolist() == [52, 4, 0, 9]
    assert table.connections.isna().tolist() == [False, True, True, False]
    assert table.macs.isna().tolist() == [False, True, True, False]
    assert table.receptive_field.isna().tolist() == [False, True, True, True]
    assert layer_table(nn.Sequential(nn.Conv2d(1, 1, (3, 5)))).receptive_field.isna().all()


def test_layer_table_of_networks_without_parameters_or_maps():
    table = layer_table(nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(3)), (2, 12, 12))
    assert table.output.tolist() == [(2, 6, 6), (2, 2, 2)] and table.receptive_field.tolist() == [2, 6]
    table = layer_table(nn.Sequential(nn.Linear(784, 100), nn.Linear(100, 10)), (784,))
    assert table.connections.tolist() == [78_500, 1_010] and table.receptive_field.isna().all()
    assert table.dtypes.tolist()[2:] == ["int64", "Int64", "Int64", "Int64"]


class PoolsInForward(nn.Module):
    """Has a step that is no layer, a layer that runs twice and, if asked, parameters outside the layers."""

    def __init__(self, stray=False):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)
        if stray:
            self.scale = nn.Parameter(torch.ones(5))

    def forward(self, maps):
        return self.conv(nn.functional.max_pool2d(self.conv(maps), 2))


def test_layer_table_notices_steps_that_are_no_layers():
    table = layer_table(PoolsInForward())
    assert table.receptive_field.isna().tolist() == [False, True]
    assert table.parameters.tolist() == [10, 0]
    with pytest.raises(ValueError, match="10 of the 15 trainable"):
        layer_table(PoolsInForward(stray=True))


def test_layer_table_refuses_an_input_that_does_not_fit():
    with pytest.raises(ValueError, match=r"\(1, 32, 32\) does not fit .* \(1x576 and 400x120\)"):
        layer_table(tutorial_lenet())


def test_layer_table_leaves_the_network_as_it_was():
    net = LeNet5().double()
    net.c3.eval()
    layer_table(net)
    assert net.training and net.s2.training and not net.c3.training
    assert not any(layer._forward_hooks for layer in net.modules())


def numbers_of_connections(layer, maps):
    """Count the nonzero entries of the Jacobians of the output by the input and by the bias."""
    bias = getattr(layer, "bias", None)
    count = 0
    if bias is not None:
        by_bias = torch.func.jacrev(lambda b: torch.func.functional_call(layer, {"bias": b}, (maps,)))(bias.detach())
        count += int(by_bias.count_nonzero())
    return count + int(torch.func.jacrev(layer)(maps).count_nonzero())


@pytest.mark.parametrize("number", range(7))
def test_connections_are_the_nonzero_entries_of_the_jacobian(number):
    seed_everything(0)
    net, shape = LeNet5(), (1, 32, 32)
    for row in PAPER[:number]:
        shape = row[1]
    if number == 5:
        shape = (120,)
    name, connections = PAPER[number][0], PAPER[number][3]
    assert numbers_of_connections(getattr(net, name), torch.rand(1, *shape)) == connections
