"""The 1998 training: criterion, second derivatives, step sizes, distortions, and the fast step."""

import copy

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian
from torch.func import functional_call, jacrev

from experiments import compiled
from experiments import original_1998 as original
from lenet import C3_TABLE, LeNet5, RBFOutput
from lenet_utils import evaluate, load_mnist, load_weights, seed_everything
from tools.notebook_rules import ROOT

LAYERS = ("c1", "s2", "c3", "s4", "c5", "f6")


@pytest.fixture(scope="module")
def digits():
    images, labels = load_mnist(train=True, scaling="paper")
    return images[:2000], labels[:2000]


@pytest.fixture
def net():
    seed_everything(0)
    return original.first_network(original.START | {"spread": 0.1}, seed=0)


# ------------------------------------------------------------------------------------------- criterion


@pytest.mark.parametrize(("j", "s"), [(0.1, 1.0), (2.0, 0.1)])
def test_map_loss_is_the_papers_formula(j, s):
    distances, labels = torch.rand(4, 10, dtype=torch.double) * 9, torch.tensor([3, 0, 9, 1])
    scaled = s * distances.numpy()
    expected = np.mean([
        y[d] + np.log(np.exp(-j) + np.exp(-y).sum())
        for y, d in zip(scaled, labels.tolist(), strict=True)
    ])  # fmt: skip
    assert original.map_loss(distances, labels, j, s).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("j", "s"), [(0.1, 1.0), (2.0, 0.1)])
def test_shares_are_those_in_the_gradient_of_the_criterion(j, s):
    # dE / d(s distance) is 1 for the right class, and the share less for every class.
    distances, labels = (9 * torch.rand(4, 10, dtype=torch.double)).requires_grad_(), torch.tensor([3, 0, 9, 1])
    (slopes,) = torch.autograd.grad(original.map_loss(distances, labels, j, s), distances)
    expected = torch.eye(10).double()[labels] - 4 / s * slopes
    torch.testing.assert_close(original.class_shares(distances.detach(), j, s), expected)


def test_without_its_j_term_the_criterion_is_blind_to_a_common_distance():
    # This is the collapse that the term prevents: all distances may grow, or shrink, together at no cost.
    seed_everything(0)
    distances, labels = 9 * torch.rand(4, 10, dtype=torch.double), torch.tensor([3, 0, 9, 1])
    near, far = (original.map_loss(distances + away, labels, j=0.1) for away in (0, 5))
    assert far > near + 4
    without = [original.map_loss(distances + away, labels, j=1e9) for away in (0, 5)]
    assert without[0].item() == pytest.approx(without[1].item(), rel=1e-12)


# ------------------------------------------------------------------------------------- second derivatives


def propagated_by_jacobians(net, image, label, j, s, at_f6):
    """The same second derivatives of one image by another road: every layer's whole Jacobian, squared.

    Only the criterion's part is exact Hessian, or constant; below it each layer passes h back through its squared
    Jacobian.
    """
    activations, maps = [], image
    for name in LAYERS:
        activations.append(maps)
        maps = net.squash(getattr(net, name)(maps.flatten(1) if name == "f6" else maps))

    def loss(features):
        return original.map_loss(net.output(features.view(1, 84)), label, j, s)

    by_output, found = torch.full((84,), 2 * s, dtype=torch.double), {}
    if at_f6 == "exact":
        by_output = hessian(loss, maps.flatten()).diagonal()
    for name, inputs in zip(reversed(LAYERS), reversed(activations), strict=True):
        layer = getattr(net, name)
        inputs = inputs.flatten(1) if name == "f6" else inputs
        parameters = {key: value.detach() for key, value in layer.named_parameters()}

        def sums(parameters, inputs, layer=layer):
            return functional_call(layer, parameters, (inputs,)).flatten()

        squashed = jacrev(net.squash)(sums(parameters, inputs)).diagonal()
        by_sum = by_output * squashed.square()
        by_parameter, by_input = jacrev(sums, argnums=(0, 1))(parameters, inputs)
        for key, jacobian in by_parameter.items():
            found[f"{name}.{key}"] = torch.einsum("u,u...->...", by_sum, jacobian.square())
        by_output = torch.einsum("u,u...->...", by_sum, by_input.square()).flatten()
    return found


@pytest.mark.parametrize(("j", "s", "at_f6"), [(0.1, 1.0, "exact"), (20.0, 0.2, "exact"), (2.0, 0.1, "constant")])
def test_curvature_of_every_parameter_agrees_with_squared_jacobians(net, digits, j, s, at_f6):
    net.double()
    images, labels = digits[0][:3].double(), digits[1][:3]
    found = original.curvature(net, images, j, s, at_f6)
    expected = [propagated_by_jacobians(net, images[i : i + 1], labels[i : i + 1], j, s, at_f6) for i in range(3)]
    assert list(found) == [name for name, _ in net.named_parameters()]
    assert sum(h.numel() for h in found.values()) == 60_000
    for name, h in found.items():
        mean = sum(one[name] for one in expected) / 3
        assert h.shape == dict(net.named_parameters())[name].shape
        torch.testing.assert_close(h, mean, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("j", "s"), [(0.1, 1.0), (20.0, 1.0), (1e9, 1.0), (2.0, 0.1)])
def test_curvature_of_the_criterion_is_the_exact_hessian_diagonal(j, s):
    bitmaps, labels = RBFOutput().bitmaps.double(), torch.tensor([0, 6, 8])
    features = (bitmaps[[0, 8, 8]] + bitmaps[[6, 6, 8]]) / 2 + 0.3 * torch.randn(3, 84).double()
    found = original.loss_curvature(features, bitmaps, j, s)
    constant = original.loss_curvature(features, bitmaps, j, s, "constant")
    for row, label, h in zip(features, labels, found, strict=True):

        def loss(x, label=label):
            return original.map_loss((x - bitmaps).square().sum(1)[None], label[None], j, s)

        def right(x, label=label):
            return s * (x - bitmaps[label]).square().sum()

        torch.testing.assert_close(h, hessian(loss, row).diagonal(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(constant[0], hessian(right, row).diagonal(), rtol=1e-9, atol=1e-12)


def test_f6_curvature_is_the_exact_hessian_but_for_the_term_in_f_second_derivative(net, digits):
    # h = E'' f'^2 x^2 is what is kept; E' f'' x^2 is what the method leaves out.
    net.double()
    image, label = digits[0][:1].double(), digits[1][:1]
    c5 = image
    for layer in (net.c1, net.s2, net.c3, net.s4, net.c5):
        c5 = net.squash(layer(c5))
    c5 = c5.flatten()
    bias = net.f6.bias.detach()

    def loss(weight):
        return original.map_loss(net.output(net.squash(weight @ c5 + bias)[None]), label)

    weight = net.f6.weight.detach()
    with torch.no_grad():
        exact = hessian(lambda row: loss(torch.cat([row[None], weight[1:]])), weight[0]).diagonal()
        squashed = net.squash(weight @ c5 + bias)
        away = squashed - net.output.bitmaps[label[0]]
        tanh = squashed / 1.7159
        second = 1.7159 * (2 / 3) ** 2 * (-2 * tanh * (1 - tanh**2))
        rubbish = original.loss_curvature(squashed[None], net.output.bitmaps)[0, 0] / 2  # nearly 1: E' = 2 (x - w)
        left_out = (2 * away[0] * second[0] * rubbish) * c5**2
    kept = original.curvature(net, image)["f6.weight"][0]
    torch.testing.assert_close(kept + left_out, exact, rtol=1e-4, atol=1e-9)


def test_step_sizes_are_the_rate_over_mu_plus_curvature(net, digits):
    h = original.curvature(net, digits[0], 2.0, 0.1, "constant")
    steps = original.step_sizes(net, digits[0], 0.0005, 2.0, 0.1, "constant")
    for name in h:
        torch.testing.assert_close(steps[name], 0.0005 / (0.02 + h[name]))
    halved = original.step_sizes(net, digits[0], 0.0005, 2.0, 0.1, "constant", shared="mean")
    torch.testing.assert_close(halved["c1.bias"], 0.0005 / (0.02 + h["c1.bias"] / 784))
    torch.testing.assert_close(halved["f6.bias"], steps["f6.bias"])


def test_the_rates_are_the_papers():
    assert original.LEARNING_RATES == [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    assert len(original.LEARNING_RATES) == original.PASSES == 20
    assert (original.MU, original.CURVATURE_DIGITS) == (0.02, 500)


# ------------------------------------------------------------------------------------------ first weights


def test_first_networks_follow_their_settings():
    literal = original.first_network(original.START | {"power": 1.0}, seed=0)
    fan_ins = {"c1": 25, "c5": 400, "f6": 120}
    for name, fan_in in fan_ins.items():
        largest = getattr(literal, name).weight.abs().max().item()
        assert 0.9 * 2.4 / fan_in < largest <= 2.4 / fan_in
    for row, inputs in enumerate(C3_TABLE.sum(dim=1).tolist()):
        kernels = literal.c3.weight[literal.c3.positions // 6 == row]
        assert 0.9 * 2.4 / (25 * inputs) < kernels.abs().max().item() <= 2.4 / (25 * inputs)
    chosen = original.first_network(original.START | {"spread": 0.1, "coefficient": 0.5}, seed=0)
    authors = original.first_network(original.START | original.AUTHORS, seed=0)
    for name in ("c1", "c3", "c5", "f6"):
        assert getattr(authors, name).bias.abs().max() == 0 < getattr(chosen, name).bias.abs().max()
    assert 1.19 / 20 < authors.c5.weight.abs().max() <= 1.2 / 20  # ± v / root of the fan-in, 400
    assert (authors.s2.coefficient == 1.2 / 2).all() and (authors.s4.coefficient == 1.2 / 2).all()
    assert 0.4 <= chosen.s2.coefficient.min() < chosen.s2.coefficient.max() <= 0.6
    seed_everything(0)
    plain, first = LeNet5().state_dict(), original.first_network(original.START, 0).state_dict()
    assert list(plain) == list(first)
    for name, value in plain.items():
        torch.testing.assert_close(first[name], value, msg=name)


# ------------------------------------------------------------------------------------------- the fast step


# The criterion's three regimes: as the paper has it, as chosen, and the two ends that j can go to.
CRITERIA = [(0.1, 1.0), (2.0, 0.1), (1e9, 0.5), (-1000.0, 1.0)]


@pytest.mark.parametrize(("j", "s"), CRITERIA)
def test_a_pass_changes_the_weights_as_plain_autograd_would(net, digits, j, s):
    try:
        compiled.library("one_by_one")
    except RuntimeError as error:
        pytest.skip(str(error))
    images, labels = digits
    order = torch.tensor([7, 3, 1999, 7, 20, 0, 1, 2, 500, 11, 12, 13, 14, 15, 16])
    steps = original.step_sizes(net, images[:500], 0.0005, j, s, "constant")
    # Each weight its own step, so that steps of the wrong weight show, and large ones, so that 15 digits change much.
    steps = {name: (0.5 + torch.rand_like(size)) * size for name, size in steps.items()}
    plain, first = copy.deepcopy(net), copy.deepcopy(net)
    original.plain_pass(plain, steps, images, labels, order, j, s)
    original.train_pass(net, steps, images, labels, order, j, s)
    for (name, ours), theirs, before in zip(
        net.named_parameters(), plain.parameters(), first.parameters(), strict=True
    ):
        change = (theirs - before).abs().max()
        assert change > 0 and (ours - theirs).abs().max() < 1e-4 * change, name


@pytest.mark.parametrize(("j", "s"), CRITERIA)
def test_the_plain_pass_takes_each_weights_own_step_down_the_slope(net, digits, j, s):
    images, labels = digits
    steps = original.step_sizes(net, images[:500], 0.0005, j, s)
    expected = copy.deepcopy(net)
    original.plain_pass(net, steps, images, labels, torch.tensor([5, 9]), j, s)
    for place in (5, 9):
        expected.zero_grad()
        original.map_loss(expected(images[place][None]), labels[place][None], j, s).backward()
        with torch.no_grad():
            for name, parameter in expected.named_parameters():
                parameter -= steps[name] * parameter.grad
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_compiled_network_reads_as_pytorch_does(net, digits):
    trained = load_weights(LeNet5(), ROOT / "weights/original_1998/60000_seed0.safetensors")
    for one in (net, trained):
        assert original.accuracy(one, digits) == evaluate(one, digits)
    assert 0.05 < original.accuracy(net, digits) < 0.3 < original.accuracy(trained, digits) < 1


def test_without_a_compiler_pytorch_does_the_pass(net, digits, monkeypatch):
    def none(name):
        raise RuntimeError("No C++ compiler was found")

    monkeypatch.setattr(compiled, "library", none)
    steps = original.step_sizes(net, digits[0][:500], 0.0005)
    other = copy.deepcopy(net)
    original.train_pass(net, steps, *digits, torch.arange(3))
    original.plain_pass(other, steps, *digits, torch.arange(3))
    assert original.accuracy(net, digits) == evaluate(net, digits)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


# ----------------------------------------------------------------------------------------- what a run notes


def test_a_probe_counts_saturated_units_and_the_share_of_wrong_classes(net, digits):
    images, labels = digits[0][:40], digits[1][:40]
    found = original.probe(net, images, labels, 2.0, 0.1)
    maps, saturated = images, []
    with torch.no_grad():
        for name in LAYERS:
            maps = net.squash(getattr(net, name)(maps.flatten(1) if name == "f6" else maps))
            saturated.append((maps.abs() > 1.6).double().mean().item())
        shares = (-torch.cat([0.1 * net.output(maps), torch.full((40, 1), 2.0)], dim=1)).softmax(dim=1)
        wrong = 1 - shares[torch.arange(40), labels] - shares[:, 10]
        bent = original.loss_curvature(maps, net.output.bitmaps, 2.0, 0.1).mean() / 0.2
    assert found["saturated"] == pytest.approx(saturated, rel=1e-3) and max(saturated) > 0
    assert found["others"] == pytest.approx(wrong.mean().item(), rel=1e-3)
    assert found["f6_curvature"] == pytest.approx(bent.item(), rel=1e-3)


def test_steps_by_layer_are_the_median_and_the_largest(net, digits):
    steps = original.step_sizes(net, digits[0][:100], 0.0005)
    found = original.steps_by_layer(steps)
    c3 = sorted([*steps["c3.weight"].flatten().tolist(), *steps["c3.bias"].tolist()])
    assert len(found) == 6 and found[2] == pytest.approx([c3[(len(c3) - 1) // 2], c3[-1]], rel=1e-3)


# --------------------------------------------------------------------------------------------- distortions


def test_no_distortion_leaves_the_digits(digits):
    torch.testing.assert_close(original.distort(digits[0][:50], torch.zeros(50, 5)), digits[0][:50], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("place", "grows"), [(0, "right"), (1, "down")])
def test_shifts_move_the_centre_of_mass(digits, place, grows):
    images = digits[0][:50]
    draws = torch.zeros(50, 5)
    draws[:, place] = 1
    moved = original.distort(images, draws) + 0.1
    before, after = centres(images + 0.1), centres(moved)
    change = (after - before).mean(dim=0)
    expected = torch.zeros(2)
    expected[place] = original.DISTORTION["shift"]
    torch.testing.assert_close(change, expected, rtol=0, atol=0.02)


def centres(ink):
    """Centres of mass [N, 2], columns then rows, in pixels."""
    total = ink.sum((1, 2, 3))
    axis = torch.arange(32.0)
    return torch.stack([(ink.sum((1, 2)) * axis).sum(1), (ink.sum((1, 3)) * axis).sum(1)], dim=1) / total[:, None]


def spreads(ink):
    """Second moments about the centre: of columns, of rows, and mixed, [N, 3]."""
    total, axis, centre = ink.sum((1, 2, 3)), torch.arange(32.0), centres(ink)
    x, y = axis[None] - centre[:, :1], axis[None] - centre[:, 1:]
    return torch.stack([
        (ink[:, 0] * x[:, None] ** 2).sum((1, 2)), (ink[:, 0] * y[:, :, None] ** 2).sum((1, 2)),
        (ink[:, 0] * x[:, None] * y[:, :, None]).sum((1, 2)),
    ], dim=1) / total[:, None]  # fmt: skip


def test_scale_squeeze_and_shear_do_what_they_say(digits):
    images = digits[0][:200]
    plain = spreads(images + 0.1)

    def change(place):
        draws = torch.zeros(200, 5)
        draws[:, place] = 1
        return (spreads(original.distort(images, draws) + 0.1) / plain).median(dim=0).values.sqrt()

    larger, wider = change(2), change(3)
    scale, squeeze = original.DISTORTION["scale"], original.DISTORTION["squeeze"]
    torch.testing.assert_close(larger[:2], torch.full((2,), 1 + scale), rtol=0.02, atol=0)
    torch.testing.assert_close(wider[:2], torch.tensor([1 + squeeze, 1 / (1 + squeeze)]), rtol=0.02, atol=0)
    draws = torch.zeros(200, 5)
    draws[:, 4] = 1
    slanted = spreads(original.distort(images, draws) + 0.1)
    lean = (slanted[:, 2] / slanted[:, 1] - plain[:, 2] / plain[:, 1]).median().item()  # columns moved a row
    assert abs(lean) == pytest.approx(original.DISTORTION["shear"], rel=0.05)


def test_a_bend_leads_from_the_result_back_to_the_original():
    image = torch.full((1, 1, 4, 4), original.BACKGROUND)
    image[0, 0, 1, 2] = 1.0
    bend = torch.zeros(1, 4, 4, 2)
    bend[..., 0], bend[..., 1] = 2 / 4, -2 / 4  # a pixel to the right, and one up
    same = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    bent = original.warp(image, same, bend)
    assert (bent[0, 0] > 0).nonzero().tolist() == [[2, 1]]


def test_passes_of_the_enlarged_set_go_around_it_twice(digits):
    images, places = digits[0][:100], torch.arange(100)  # each digit's "label" is its place
    passes = [original.distorted_pass(images, places, number, seed=0) for number in range(11)]
    seen = torch.stack([torch.bincount(shown_places, minlength=100) for _, shown_places in passes[:10]]).sum(0)
    assert (seen == 10).all()  # each digit in ten versions
    untouched = sum(
        ((shown - images[shown_places]).abs().amax((1, 2, 3)) < 1e-4).sum().item()
        for shown, shown_places in passes[:10]
    )
    assert untouched == 100  # one of the ten is the digit as it is
    assert torch.equal(passes[10][0], passes[0][0]) and torch.equal(passes[10][1], passes[0][1])
    assert not torch.equal(original.distorted_pass(images, places, 0, seed=1)[0], passes[0][0])
    assert passes[0][0].min() >= -0.1 - 1e-5 and passes[0][0].max() <= 1.175 + 1e-5
    unmoved = original.distorted_pass(images, places, 0, seed=0, strength=0.0)
    torch.testing.assert_close(unmoved[0], images[unmoved[1]], rtol=0, atol=1e-4)


# --------------------------------------------------------------------------------------------- long runs


@pytest.mark.parametrize("overrides", [{}, {"distortion": 1.0}, original.ADAMW], ids=["1998", "distorted", "AdamW"])
def test_a_run_goes_on_where_it_stopped(overrides, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(original, "train_pass", original.plain_pass)  # a test must not need a C++ compiler
    monkeypatch.setattr(original, "PASSES", 3)
    monkeypatch.setattr(original, "CURVATURE_DIGITS", 20)
    settings, data = original.START | overrides, (digits[0][:100], digits[1][:100])
    counted = []

    def measure(net, stop_in_pass=None):
        counted.append(1)
        if len(counted) == stop_in_pass:
            raise KeyboardInterrupt
        return {"train_accuracy": 1.0}  # a run that no longer reads would end

    train = original.trainer(settings)
    whole, history, _ = train(settings, 0, data, measure, tmp_path / "whole.pt")
    counted.clear()
    with pytest.raises(KeyboardInterrupt):
        train(settings, 0, data, lambda net: measure(net, stop_in_pass=3), tmp_path / "cut.pt")
    resumed, resumed_history, _ = train(settings, 0, data, measure, tmp_path / "cut.pt")
    assert len(history["seconds"]) == len(resumed_history["seconds"]) == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
