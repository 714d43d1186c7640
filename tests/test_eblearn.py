"""The second-order code against EBLearn's: its own regression tests of LeNet-5, from its own first weights.

EBLearn is the C++ library of P. Sermanet, K. Kavukcuoglu and Y. LeCun. Its tests train LeNet-5 on 2,000 digits and
hold the smallest and the largest step and the digits read to fixed numbers (eblearn/tester/src/NetTest.cpp, 2
February 2009, and tester/src/NetTest.cpp, 7 January 2010). What it trains: plain tanh, first weights uniform in ±1 /
sqrt(fan-in), biases 0, coefficients 0.5, ten outputs with targets of ±1, half the squared distance, constant
curvature 1 at the outputs, summed over the uses of a shared weight, averaged over the first 100 digits; pixels / 100,
in file order.
"""

import numpy as np
import pytest
import torch
from torch import nn

from experiments import compiled
from experiments import original_1998 as original
from lenet import C3_TABLE, LeNet5
from lenet_utils import MNIST_MEAN, MNIST_STD, load_mnist

ETA, PASSES, LIMIT = 0.0001, 5, 1.7159
# Its tanh(a) is our 1.7159 tanh(2 a / 3) if our sums are 1.5 times its sums and our activations 1.7159 times its.
CRITERION = {"j": -1000.0, "s": 0.5 / LIMIT**2}  # no other class: half the squared distance, in its units


def in_our_units(name):
    """Return what a parameter of EBLearn's network is multiplied by to be ours."""
    return 1.5 if name.endswith("bias") or name.startswith("c1") else 1.5 / LIMIT


def its_random_numbers():
    """Yield Lush's uniform numbers in [0, 1) for seed 0: Knuth's subtractive generator, with a step of its own."""
    words, last, now = [0] * 56, 161803398, 1
    words[55] = last
    for i in range(1, 55):
        words[21 * i % 55] = now
        last, now = now, (last - now) % 2**31
    for _ in range(4):
        for i in range(1, 55):
            words[i] = (words[i] - words[1 + (i + 30) % 55]) % 2**31
    first, second = 0, 31
    while True:
        first, second = first % 55 + 1, second % 55 + 1
        words[first] = ((words[first] - words[second]) * 84589 + 45989) % 2**31
        yield float(np.float32(words[first])) / 2**31


def its_first_weights():
    """Return EBLearn's first weights, a dict with our names."""
    numbers = its_random_numbers()

    def uniform(*shape, fan_in):
        drawn = torch.tensor([next(numbers) for _ in range(np.prod(shape))], dtype=torch.double)
        return ((2 * drawn - 1) / fan_in**0.5).view(shape)

    found, kernels = {"c1.weight": uniform(6, 1, 5, 5, fan_in=25)}, {}
    for output, row in enumerate(C3_TABLE.tolist()):
        # The inputs of a map in the order around the ring of six, from the first after a gap.
        start = next((i for i in range(6) if row[i] and not row[i - 1]), 0)
        for i in (*range(start, 6), *range(start)):
            if row[i]:
                kernels[output, i] = uniform(5, 5, fan_in=25 * sum(row))
    found["c3.weight"] = torch.stack([kernels[place] for place in sorted(kernels)])
    found["c5.weight"] = uniform(120, 16, 5, 5, fan_in=400)
    found["f6.weight"] = uniform(10, 120, fan_in=120)
    return found | {name: torch.full((maps,), 0.5) for name, maps in (("s2.coefficient", 6), ("s4.coefficient", 16))}


class Codes(nn.Module):
    """Distances to EBLearn's targets, ±1 in its units; further units of F6 have weights and codes of zero."""

    gives_distances = True

    def __init__(self):
        super().__init__()
        codes = torch.cat([LIMIT * (2 * torch.eye(10) - 1), torch.zeros(10, 74)], dim=1)
        self.register_buffer("bitmaps", codes)

    def forward(self, features):
        return (features[:, None] - self.bitmaps).square().sum(dim=2)


@pytest.fixture
def net():
    net, weights = LeNet5(), its_first_weights()
    net.output = Codes()
    net.double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.zero_()
            if name in weights:
                parameter[: len(weights[name])] = in_our_units(name) * weights[name]
    return net


@pytest.fixture(scope="module")
def digits():
    """The first 2,000 training digits and the test digits 4,500 to 5,499, pixels / 100."""

    def part(train, places):
        images, labels = load_mnist(train=train, scaling="standard")
        pixels = ((images[places].double() * MNIST_STD + MNIST_MEAN) * 255).round()
        assert pixels.min() == 0 and pixels.max() == 255
        return pixels / 100, labels[places]

    return part(True, slice(2000)), part(False, slice(4500, 5500))


def its_steps(net, images):
    """Return EBLearn's step sizes for its first 100 digits, without the learning rate, in its units."""
    found = original.curvature(net, images[:100].to(net.f6.weight), **CRITERION, at_f6="constant")
    return {name: 1 / (original.MU + h * in_our_units(name) ** 2) for name, h in found.items()}


def test_the_smallest_and_the_largest_step_are_eblearns(net, digits):
    steps = its_steps(net, digits[0][0])
    # Only the ten units that EBLearn has: a unit without inputs has no curvature.
    steps |= {name: steps[name][:10] for name in ("f6.weight", "f6.bias")}
    steps = torch.cat([size.flatten() for size in steps.values()])
    assert steps.min().item() == pytest.approx(0.985363, abs=1e-6)
    assert steps.max().item() == pytest.approx(49.851524, abs=2e-6)  # single precision there


@pytest.mark.parametrize(("renewed", "train_read", "test_read"), [(False, 1943, 958), (True, 1940, 959)])
def test_it_reads_as_many_digits_as_eblearn(net, digits, renewed, train_read, test_read):
    """2009: the steps are found once. 2010: again after each pass."""
    try:
        compiled.library("one_by_one")
    except RuntimeError as error:
        pytest.skip(str(error))
    net.float()
    (images, labels), test = digits
    images = images.float()
    steps = its_steps(net, images)
    for _ in range(PASSES):
        scaled = {name: ETA * size * in_our_units(name) ** 2 for name, size in steps.items()}
        original.train_pass(net, scaled, images, labels, torch.arange(2000), **CRITERION)
        if renewed:
            steps = its_steps(net, images)
    with torch.no_grad():
        read = [(net(x.float()).argmin(dim=1) == y).sum().item() for x, y in ((images, labels), test)]
    # Rounding differs between processors: one digit more or less.
    assert read == pytest.approx([train_read, test_read], abs=1)
