"""The one gate for data: whatever comes, the right accuracy, or one sentence and a network bit for bit as before."""

import collections
import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import lenet_data
from lenet import LeNet5, modern_lenet, tutorial_lenet
from lenet_utils import ROOT, count_errors, evaluate, fit, load_mnist, load_weights, predict, seed_everything

COUNT = 6


@pytest.fixture(scope="module")
def digits():
    return [part[:COUNT] for part in load_mnist(train=False, size=28)]


@pytest.fixture(scope="module")
def reader():
    """A trained network, half of it frozen, its batch normalisation in evaluation mode while it trains."""
    net = tutorial_lenet()
    load_weights(net, ROOT / "weights/tutorial_lenet/seed0.safetensors")
    net[0].weight.requires_grad_(False)
    net.add_module("after", nn.BatchNorm1d(10).eval())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    return net


def trace(net):
    """Return all that must be as before: weights, buffers, gradients, what is frozen, modes, layout and device."""
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return [
        *(
            (name, tensor.detach().clone(), tensor.stride(), tensor.device, tensor.requires_grad)
            for name, tensor in tensors
        ),
        *((name, parameter.grad) for name, parameter in net.named_parameters()),
        *(module.training for module in net.modules()),
        torch.get_rng_state(),
    ]


def same(first, second):
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


# ------------------------------------------------------------------------------- containers x types x shapes x values

TORCH_TYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.complex64, torch.int8, torch.uint8,
    torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip
NUMPY_TYPES = ["float16", "float32", "float64", "longdouble", ">f4", ">f8", "int8", "uint8", "int16", "uint16", "int32",
               "uint32", "int64", "uint64", ">i4", "bool", "complex64", "object", "U8"]  # fmt: skip
FLOATS = {"float16", "bfloat16", "float32", "float64", "longdouble", ">f4", ">f8"}
WHOLE = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i4"}
CONTAINERS = ["tensor", "array", "list", "tuple", "fortran", "masked", "sparse", "parameter", "memory map"]
IMAGE_SHAPES = {
    "right": lambda x: x,
    "no channel": lambda x: x[:, 0],
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "colour": lambda x: x.expand(-1, 3, -1, -1),
    "flat": lambda x: x.flatten(1),
    "one": lambda x: x[0],
    "none": lambda x: x[:0],
    "padded": lambda x: nn.functional.pad(x, (2, 2, 2, 2)),
    "no pixels": lambda x: x[:, :, :0],
    "wide": lambda x: x.repeat(1, 1, 1, 2),
    "number": lambda x: x[0, 0, 0, 0],
    "five": lambda x: x[None],
}
LABEL_SHAPES = {
    "right": lambda y: y,
    "column": lambda y: y[:, None],
    "row": lambda y: y[None],
    "one-hot": lambda y: nn.functional.one_hot(y.clip(0, 9), 10),
    "short": lambda y: y[:-1],
    "none": lambda y: y[:0],
    "number": lambda y: y[0],
}
IMAGE_VALUES = {
    "right": lambda x: x,
    "nan": lambda x: x.masked_fill(torch.arange(x.numel()).view(x.shape) == x.numel() // 2, torch.nan),
    "inf": lambda x: x.masked_fill(torch.arange(x.numel()).view(x.shape) == x.numel() // 2, -torch.inf),
}
LABEL_VALUES = {"right": lambda y: y, "ten": lambda y: y + (y == 7) * 3, "negative": lambda y: y - 1 - y.min()}
GOOD_CONTAINERS = {"tensor", "array", "fortran", "parameter", "memory map"}


def contain(value, container, kind):
    """Return a tensor's numbers as another type in another container; None where there is no such thing."""
    if isinstance(kind, torch.dtype):
        if container not in ("tensor", "sparse", "parameter"):
            return None
        value = value.to(kind)
        if container == "sparse":
            return value.to_sparse() if kind in (torch.float32, torch.int64) and value.dim() else None
        if container == "parameter":
            return nn.Parameter(value, requires_grad=kind.is_floating_point)
        return value
    if container in ("tensor", "sparse", "parameter"):
        return None
    with np.errstate(all="ignore"):
        array = value.numpy().astype(kind)
    if container == "list":
        return array.tolist()
    if container == "tuple":
        return tuple(array) if array.ndim else None
    if container == "masked":
        return np.ma.MaskedArray(array)
    if container == "memory map":
        return array.view(np.memmap) if kind not in ("object", "U8") else None
    return np.asfortranarray(array) if container == "fortran" else array


def name_of(kind):
    return str(kind).removeprefix("torch.")


ALL = [
    (container, kind)
    for container, kind in itertools.product(CONTAINERS, [*TORCH_TYPES, *NUMPY_TYPES])
    if contain(torch.ones(2), container, kind) is not None
]
GOOD_X = [(box, kind) for box, kind in ALL if box in GOOD_CONTAINERS and name_of(kind) in FLOATS]
GOOD_Y = [
    (box, kind)
    for box, kind in ALL
    if (box in GOOD_CONTAINERS | {"list", "tuple"} and name_of(kind) in WHOLE)
    or (box in ("list", "tuple") and kind == "object")  # Python's own integers
]
PAIRS = ["pair", "list", "triple", "loader", "dataset", "dict", "nothing"]
UNDER_TEST, SEEN = [], collections.Counter()


def mostly(good, everything):
    """Draw from what is right six times of seven: a case with several mistakes shows less than one with one."""
    good, everything = list(good), list(everything)
    return st.sampled_from(good * (6 * len(everything) // len(good)) + everything)


@settings(max_examples=1200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    mostly(GOOD_X, ALL), mostly(["right"], IMAGE_SHAPES), mostly(["right"], IMAGE_VALUES),
    mostly(GOOD_Y, ALL), mostly(["right"], LABEL_SHAPES), mostly(["right"], LABEL_VALUES),
    mostly(["pair"], PAIRS), st.sampled_from([evaluate, count_errors, "fit", "test"]),
)  # fmt: skip
def check_one(kept_x, shape_x, value_x, kept_y, shape_y, value_y, pair, act):
    reader, digits = UNDER_TEST
    images = contain(IMAGE_SHAPES[shape_x](IMAGE_VALUES[value_x](digits[0])), *kept_x)
    labels = contain(LABEL_SHAPES[shape_y](LABEL_VALUES[value_y](digits[1])), *kept_y)
    if images is None or labels is None:
        return
    data = {
        "pair": lambda: (images, labels), "list": lambda: [images, labels], "triple": lambda: (images, labels, labels),
        "loader": lambda: DataLoader(TensorDataset(*digits), batch_size=3), "dataset": lambda: TensorDataset(*digits),
        "dict": lambda: {"images": images, "labels": labels}, "nothing": lambda: None,
    }[pair]()  # fmt: skip
    right = (
        kept_x in GOOD_X and kept_y in GOOD_Y and pair in ("pair", "list")
        and shape_x == value_x == shape_y == value_y == "right"
    )  # fmt: skip
    before = trace(reader)
    try:
        if act in ("fit", "test"):
            found = fit(
                reader,
                *((data, digits) if act == "fit" else (digits, data)),
                epochs=1,
                lr=1e-30,
                batch_size=3,
                plot=False,
            )
        else:
            found = act(reader, data)
    except ValueError as refusal:
        assert not right, refusal
        sentence = str(refusal)
        assert 20 < len(sentence) < 400 and "\n" not in sentence and sentence[0].isupper(), sentence
        assert any(name in sentence for name in ("images", "labels", "data")), sentence
        assert same(before, trace(reader)), "something is left of a refused call"
        SEEN["refused"] += 1
    else:
        assert right, "this should have been refused"
        if act in (evaluate, count_errors):
            assert found == {evaluate: 1.0, count_errors: 0}[act]
            assert same(before, trace(reader))
        SEEN["right"] += 1
        for parameter in reader.parameters():  # which fit clears
            parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None


@pytest.mark.slow
def test_whatever_comes_is_counted_right_or_refused_in_one_sentence(reader, digits):
    UNDER_TEST[:] = reader, digits
    check_one()
    print(dict(SEEN))
    assert sum(SEEN.values()) >= 1000 and SEEN["right"] >= 100


# ------------------------------------------------------------------------------------ what a network ends in


class Wrapped(nn.Module):
    """A network with another child behind it, which is not used."""

    def __init__(self, net):
        super().__init__()
        self.net, self.head = net, nn.Linear(10, 10)

    def forward(self, images):
        return self.net(images)


class Negated(Wrapped):
    def forward(self, images):
        return -self.net(images)


class Scaled(Wrapped):
    def forward(self, images):
        return 1000 * self.net(images)


class OwnOutput(nn.Module):
    gives_distances = True

    def forward(self, features):
        return (features[:, :10] - 1).square()


def compiled_quickly(net):
    return torch.compile(net, backend="eager")


@pytest.fixture(scope="module")
def padded():
    return [part[:200] for part in load_mnist(train=False, scaling="paper")]


@pytest.fixture(scope="module")
def lenet5():
    return load_weights(LeNet5(), ROOT / "weights/original_1998/60000_seed0.safetensors")


@pytest.mark.parametrize(
    "wrap",
    [lambda net: net, Wrapped, lambda net: Wrapped(Wrapped(net)), Negated, nn.DataParallel, compiled_quickly,
     lambda net: Wrapped(nn.DataParallel(net)), lambda net: nn.Sequential(net, nn.Identity())],
    ids=["itself", "a child more", "two children more", "negated", "DataParallel", "compiled", "inner", "identity"],
)  # fmt: skip
def test_the_network_decides_whether_the_smallest_or_the_largest_number_is_its_answer(lenet5, padded, wrap):
    net = wrap(lenet5)
    assert torch.equal(predict(net, padded[0]), lenet5(padded[0]).argmin(dim=1))
    assert count_errors(net, padded) == count_errors(lenet5, padded) < 10


def test_an_output_layer_of_ones_own_says_that_it_gives_distances(padded):
    net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 84), OwnOutput())
    assert torch.equal(predict(net, padded[0]), net(padded[0]).argmin(dim=1))
    with pytest.raises(ValueError, match="fit trains logits, and this network ends in the distances"):
        fit(net, padded, padded, epochs=1, plot=False)


def test_what_is_no_classifier_is_refused(padded):
    for net, found in (
        (nn.Flatten(0), "shape .2048."), (nn.Conv2d(1, 1, 5), "shape .2, 1, 28, 28."), (nn.LSTM(32, 5), "a tuple"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="two it gave .*|cannot take the given images") as refusal:
            predict(net, padded[0])
        assert "\n" not in str(refusal.value), found


# --------------------------------------------------------------------------------------- other machines, imitated


class Watched(TorchDispatchMode):
    """Refuses float64 as Apple's MPS does, and records the devices that tensors are sent to."""

    def __init__(self):
        super().__init__()
        self.moves = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        if kwargs and kwargs.get("device") is not None:
            self.moves.add(torch.device(kwargs["device"]).type)
        return result


@pytest.mark.parametrize(("make", "size"), [(tutorial_lenet, 28), (modern_lenet, 32)])
def test_a_device_without_double_precision_trains_and_evaluates(make, size):
    few = [part[:130] for part in load_mnist(train=False, size=size)]
    as_numpy = [few[0].numpy(), few[1].numpy()]
    for data in (few, as_numpy):
        net = make()
        with Watched() as watched:
            history = fit(net, data, few, epochs=1, lr=0.1, batch_size=26, plot=False)
            assert evaluate(net, few) == history["test_accuracy"][0]
            predict(net, few[0])
        assert watched.moves <= {"cpu"}


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on a device that this machine does not have."""

    device = torch.device("cuda")


class Moved(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.moves = tutorial_lenet(), []

    def forward(self, images):
        return self.net(images)

    def to(self, *where, **how):
        self.moves += [str(place) for place in where]
        return super().to(*where, **how)


def test_the_test_set_on_another_device_leaves_the_network_where_it_trains():
    few = [part[:100] for part in load_mnist(train=False, size=28)]
    elsewhere = few[0].as_subclass(Elsewhere), few[1]
    net = Moved()
    history = fit(net, few, elsewhere, epochs=2, plot=False)
    assert net.moves == ["cpu"]
    assert evaluate(net, few) == evaluate(net, elsewhere) == history["test_accuracy"][-1]
    assert net.moves == ["cpu"], "counting moves the digits, not the network"


# ------------------------------------------------------------------------------- training that leaves nothing broken


@pytest.fixture(scope="module")
def few():
    return [part[:130] for part in load_mnist(train=False, size=28)]


def settle(net, few, **settings):
    return fit(net, few, few, **({"epochs": 1, "lr": 0.1, "batch_size": 26, "plot": False} | settings))


@pytest.mark.parametrize("lr", [1e20, 1e30, 1e38])
def test_a_training_that_diverges_brings_back_the_weights_and_buffers_that_last_gave_a_loss(lr, capsys):
    few = [part[:130] for part in load_mnist(train=False)]
    seed_everything(0)
    net = modern_lenet()
    history = settle(net, few, lr=lr, epochs=3)
    assert "Stopped in epoch 1 of 3" in capsys.readouterr().out and history["train_loss"] == []
    assert all(tensor.isfinite().all() for tensor in itertools.chain(net.parameters(), net.buffers()))
    net.train()
    with torch.no_grad():
        order = torch.from_numpy(np.random.default_rng([0, 0]).permutation(130))[:26]
        assert nn.functional.cross_entropy(net(few[0][order]), few[1][order]).isfinite()


class Sudden(nn.Module):
    """The tutorial network with a buffer of its steps, a new one at each, and logits that become nan after 7."""

    def __init__(self):
        super().__init__()
        self.net = tutorial_lenet()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, images):
        if self.training:
            self.steps = self.steps + 1
        return self.net(images) * (torch.nan if self.steps > 7 else 1)


def test_a_loss_that_is_suddenly_nan_undoes_its_own_batch_and_the_one_before(few, capsys):
    seed_everything(0)
    net, short = Sudden(), Sudden()
    short.load_state_dict(net.state_dict())
    history = settle(net, few, epochs=3)
    assert "Stopped in epoch 2 of 3: the loss is nan in batch 3" in capsys.readouterr().out
    assert len(history["train_loss"]) == 1
    # What is left is the network after 6 batches: the 7th gave a loss, its step led to the one that did not.
    order = [torch.from_numpy(np.random.default_rng([0, epoch]).permutation(130)).split(26) for epoch in (0, 1)]
    short.train()
    for batch in [*order[0], *order[1]][:6]:
        loss = nn.functional.cross_entropy(short(few[0][batch]), few[1][batch])
        gradients = torch.autograd.grad(loss, list(short.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(short.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    assert net.steps == 6
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(net.parameters(), short.parameters(), strict=True))


def test_weights_that_end_infinite_are_not_kept(few, capsys):
    net = Scaled(tutorial_lenet())
    history = settle(net, few, lr=1e38, batch_size=130)  # one step: its loss was finite, what it leaves is not
    said = capsys.readouterr().out
    assert "Stopped in epoch 1 of 1: the weights are not finite after batch 1 at learning rate 1e+38. Try a" in said
    assert history["train_loss"] == [] and all(parameter.isfinite().all() for parameter in net.parameters())


def test_frozen_unused_and_tied_parameters(few):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.unused = tutorial_lenet(), nn.Linear(3, 3)
            self.twin = nn.Linear(84, 10)
            self.twin.weight = self.net[-1].weight

        def forward(self, images):
            features = self.net[:-1](images)
            return self.net[-1](features) + self.twin(features)

    net = Odd()
    net.net[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    settle(net, few)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not changed & {"net.0.weight", "unused.weight", "unused.bias"}
    assert {"net.0.bias", "net.3.weight", "net.11.weight", "twin.weight"} <= changed
    assert net.twin.weight is net.net[-1].weight


def test_lazy_layers_get_their_weights_and_train(few):
    net = nn.Sequential(nn.LazyConv2d(4, 5), nn.Tanh(), nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(ValueError, match="hold pixels that are nan"):
        settle(net, [torch.full_like(few[0], torch.nan), few[1]])
    assert isinstance(net[0].weight, nn.UninitializedParameter)
    assert settle(net, few, epochs=3)["train_accuracy"][-1] > 0.4


def test_nothing_to_train_is_said(few):
    net = tutorial_lenet().requires_grad_(False)
    before = trace(net)
    with pytest.raises(ValueError, match="nothing to train"):
        settle(net, few)
    assert same(before, trace(net))


@pytest.mark.parametrize(("count", "batch_size"), [(65, 64), (4, 1), (1, 1)])
def test_a_last_batch_of_one_digit_is_refused_before_the_first_step(count, batch_size):
    data = [part[:count] for part in load_mnist(train=False)]
    net = modern_lenet()
    before = trace(net)
    with pytest.raises(ValueError, match=f"batch of one digit .*batches of {batch_size} leave one"):
        settle(net, data, batch_size=batch_size)
    assert same(before, trace(net))
    plain = [part[:count] for part in load_mnist(train=False, size=28)]
    assert len(settle(tutorial_lenet(), plain, batch_size=batch_size)["train_loss"]) == 1


def test_old_gradients_do_not_enter_and_none_are_left(few):
    seed_everything(0)
    clean, stale = tutorial_lenet(), tutorial_lenet()
    stale.load_state_dict(clean.state_dict())
    for parameter in stale.parameters():
        parameter.grad = torch.ones_like(parameter)
    settle(clean, few)
    settle(stale, few)
    assert all(torch.equal(a, b) for a, b in zip(clean.parameters(), stale.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in stale.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_as_before_and_frozen_normalisation_stays_frozen(training):
    few = [part[:130] for part in load_mnist(train=False)]
    net = modern_lenet().train(training)
    frozen = net.s2[1].eval()
    before, modes = frozen.running_mean.clone(), [module.training for module in net.modules()]
    predict(net, few[0])
    evaluate(net, few)
    assert [module.training for module in net.modules()] == modes
    settle(net, few)
    assert [module.training for module in net.modules()] == modes
    if training:
        assert torch.equal(frozen.running_mean, before)
    assert not torch.equal(net.s4[1].running_mean, torch.zeros(16)), "the others learn the digits' statistics"


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (dict.fromkeys(("train_loss", "train_accuracy", "test_accuracy", "seconds"), [1.0] * 3), "3 epochs already"),
        ({"train_loss": [1.0], "train_accuracy": [], "test_accuracy": [0.1], "seconds": [1.0]}, "what fit returned"),
        ({"train_loss": [1.0]}, "what fit returned"),
        ([1.0], "what fit returned"),
        ("history.json", "what fit returned"),
    ],
)  # fmt: skip
def test_a_history_that_does_not_fit_is_refused(few, history, message):
    net = tutorial_lenet()
    before = trace(net)
    with pytest.raises(ValueError, match=message):
        settle(net, few, epochs=2, history=history)
    assert same(before, trace(net))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"seed": 0.5}, "not 0.5"),
        ({"lr": "0.1"}, "lr must be a positive number, not '0.1'"),
        ({"lr": None}, "not None"),
        ({"lr": 1e40}, "not 1e.40"),
        ({"epochs": True}, "not True"),
        ({"batch_size": "64"}, "not '64'"),
    ],
)
def test_settings_of_another_kind_are_refused(few, settings, message):
    with pytest.raises(ValueError, match=message):
        settle(tutorial_lenet(), few, **settings)


def test_a_compiled_network_trains_like_itself(few):
    seed_everything(0)
    plain = tutorial_lenet()
    inner = tutorial_lenet()
    inner.load_state_dict(plain.state_dict())
    compiled = compiled_quickly(inner)
    settle(plain, few)
    settle(compiled, few)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain.parameters(), inner.parameters(), strict=True))
    assert evaluate(compiled, few) == evaluate(plain, few)


def test_a_network_that_is_none_or_has_no_weights_is_refused(few):
    with torch.device("meta"):
        empty = tutorial_lenet()
    for net, message in (
        (tutorial_lenet, r"not a function. Are the \(\) missing"), (LeNet5, "not a type. Are the"), (None, "not None."),
        (empty, "lies on the meta device"), ({"weight": 1}, "not a dict."),
    ):  # fmt: skip
        for call in (lambda net=net: predict(net, few[0]), lambda net=net: settle(net, few)):
            with pytest.raises(ValueError, match=message):
                call()


def test_fit_trains_where_gradients_are_switched_off(few):
    net = tutorial_lenet()
    before = net[0].weight.clone()
    with torch.no_grad():
        settle(net, few)
    assert not torch.equal(net[0].weight, before)


def test_a_network_that_comes_with_nan_is_not_blamed_on_the_learning_rate(few, capsys):
    net = tutorial_lenet()
    with torch.no_grad():
        net[0].weight[0] = torch.nan
    settle(net, few)
    assert "in batch 1 at learning rate 0.1. No step was taken: the network came so." in capsys.readouterr().out


def test_a_look_without_a_trace_leaves_the_random_generator_alone(few):
    net = nn.Sequential(nn.Dropout(0.5), tutorial_lenet(), nn.BatchNorm1d(10))
    before = trace(net)
    lenet_data.run_without_trace(net, few[0][:4], training=True)
    assert same(before, trace(net))
