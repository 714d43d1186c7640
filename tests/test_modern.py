"""The ladder of notebook 06: its networks, its distorted digits, its training, its ensemble."""

import json

import pytest
import torch
from test_results import as_today
from torch import nn

from experiments import modern_lenet as modern
from experiments import record as experiment_record
from experiments.networks import build
from lenet import LeNet5, modern_lenet, tutorial_lenet
from lenet_utils import BACKGROUND, count_errors, load_mnist, load_weights, seed_everything
from tools.notebook_rules import ROOT


@pytest.fixture(scope="module")
def digits():
    images, labels = load_mnist(train=True, scaling="paper")
    return images[:300], labels[:300]


def start(make, **arguments):
    seed_everything(3)
    return make(**arguments)


# -------------------------------------------------------------------------------------------- networks


def test_the_first_rung_is_the_published_network(digits):
    first, published = start(modern.ladder_network), start(LeNet5)
    assert torch.equal(first(digits[0]), published(digits[0]))


def test_the_whole_ladder_is_modern_lenet(digits):
    top = start(modern.ladder_network, **{name: modern.BEST[name] for name in modern.NETWORK})
    best = start(modern_lenet)
    assert list(top.state_dict()) == list(best.state_dict())
    assert torch.equal(top(digits[0]), best(digits[0]))


@pytest.mark.parametrize("name", modern.LADDER)
def test_every_rung_starts_from_the_same_weights_and_keeps_to_the_budget(name):
    seed_everything(3)
    net = modern.build(modern.rung(name))
    kinds = {type(layer) for layer in net.modules()}
    published = start(LeNet5)
    for layer in ("c1", "c3", "c5", "f6"):
        kernels = getattr(net, layer)
        kernels = kernels[0] if isinstance(kernels, nn.Sequential) else kernels
        assert torch.equal(kernels.weight, getattr(published, layer).weight)
    assert sum(parameter.numel() for parameter in net.parameters()) <= 61_706
    assert (nn.BatchNorm2d in kinds) == modern.rung(name)["norm"]


def test_rungs_add_their_changes_in_order():
    names = list(modern.LADDER)
    assert modern.rung(names[0]) == modern.START
    for below, name in zip(names, names[1:], strict=False):
        assert modern.rung(name) == modern.rung(below) | modern.LADDER[name] != modern.rung(below)


def test_max_pooling_before_a_rising_activation_is_the_same_as_after():
    maps = torch.randn(2, 6, 28, 28)
    assert torch.equal(torch.relu(nn.MaxPool2d(2)(maps)), nn.MaxPool2d(2)(torch.relu(maps)))


def test_the_name_of_a_rungs_network_builds_it_again():
    net = modern.build(modern.rung("SiLU"))
    again = build(net.network)
    assert again.network == net.network and list(again.state_dict()) == list(net.state_dict())
    assert modern.build(modern.rung("elastic")).network == "modern_lenet()"
    assert modern.build(modern.START | {"output": "tutorial"}).network == tutorial_lenet().network


# ------------------------------------------------------------------------------------------ augmentation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def centres(images):
    """Return the centre of mass of each image's ink, [N, 2], in pixels."""
    ink = images[:, 0] - BACKGROUND
    places = torch.arange(images.shape[-1]).float()
    return torch.stack([ink.sum(dim=1) @ places, ink.sum(dim=2) @ places], dim=1) / ink.sum((1, 2))[:, None]


def test_without_strength_a_digit_stays_as_it_is(digits):
    assert torch.allclose(modern.augment(digits[0], 0.0, 0.0, generator()), digits[0], atol=1e-4)


@pytest.mark.parametrize("size", [28, 32])
def test_distorted_digits_keep_background_ink_and_place(size):
    images, _ = load_mnist(train=True, size=size, scaling="paper")
    images = images[:300]
    changed = modern.augment(images, 1.0, 1.0, generator())
    assert changed.shape == images.shape and changed.isfinite().all()
    assert changed.min() >= BACKGROUND - 1e-5 and changed.max() <= 1.175 + 1e-5
    moved = (centres(changed) - centres(images)).norm(dim=1)
    assert 0.3 < moved.mean() < 1.5 and moved.max() < 4
    ink = [(part - BACKGROUND).sum().item() for part in (changed, images)]
    assert ink[0] == pytest.approx(ink[1], rel=0.05)


def test_each_digit_is_distorted_in_its_own_way_and_the_same_for_the_same_seed(digits):
    same = digits[0][:1].expand(8, -1, -1, -1)
    first, again, other = (modern.augment(same, 1.0, 1.0, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 8


def test_affine_alone_moves_a_point_within_its_limits():
    """A dot at the centre: only the shift moves it; a dot 10 pixels to the right: rotation and shear too."""
    dot = torch.full((400, 1, 32, 32), BACKGROUND)
    dot[:, :, 15:17, 15:17] = 1.0
    moved = centres(modern.augment(dot, 1.0, 0.0, generator())) - centres(dot)
    limit = modern.AFFINE["shift"] * 1.2  # in the input's coordinates; scale and shear act on it too
    assert 0.5 * limit < moved.abs().max() < limit
    right = torch.full((400, 1, 32, 32), BACKGROUND)
    right[:, :, 15:17, 25:27] = 1.0
    down = (centres(modern.augment(right, 1.0, 0.0, generator())) - centres(right))[:, 1]
    assert down.abs().max() > 1.0


# -------------------------------------------------------------------------------------------- training


SHORT = {"epochs": 3, "batch_size": 50, "dropout": 0.2, "half_life": 1.0, "smoothing": 0.1}


def test_a_run_goes_on_where_it_stopped(digits, tmp_path, monkeypatch):
    settings = modern.rung("elastic") | SHORT
    whole, whole_average, history = modern.train(settings, 0, digits)

    def stop_after_two(checkpoint, content):
        save(checkpoint, content)
        if len(content["history"]["seconds"]) == 2:
            raise KeyboardInterrupt

    save = experiment_record.save_checkpoint
    monkeypatch.setattr(experiment_record, "save_checkpoint", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        modern.train(settings, 0, digits, tmp_path / "cut.pt")
    monkeypatch.setattr(experiment_record, "save_checkpoint", save)
    resumed, resumed_average, resumed_history = modern.train(settings, 0, digits, tmp_path / "cut.pt")
    assert resumed_history["train_loss"] == history["train_loss"] and len(history["seconds"]) == 3
    for ours, theirs in ((whole, resumed), (whole_average, resumed_average)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


def test_the_running_average_is_another_network_with_the_same_normalisation(digits):
    net, average, _ = modern.train(modern.rung("elastic") | SHORT, 0, digits)
    assert not torch.equal(net.output.weight, average.output.weight)
    assert torch.equal(net.s2[1].running_mean, average.s2[1].running_mean)
    _, none, _ = modern.train(modern.rung("elastic") | SHORT | {"half_life": 0.0}, 0, digits)
    assert none is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdamW", "SiLU", "elastic"])
def test_rungs_learn(digits, name):
    net, _, history = modern.train(modern.rung(name) | {"epochs": 15, "batch_size": 20}, 0, digits)
    assert history["train_loss"][-1] < history["train_loss"][0] / 2
    assert count_errors(net, digits) < 30


# ---------------------------------------------------------------------------------------- stored results


@pytest.fixture(scope="module")
def record():
    return json.loads((ROOT / "results/modern_lenet.json").read_text(encoding="utf-8"))


def test_every_kind_of_run_has_its_seeds_and_its_settings(record):
    found = {}
    for run in record["runs"]:
        if "seed" in run:
            found.setdefault(run["kind"], []).append(run["seed"])
            kind = "60 epochs" if run["kind"] == modern.AVERAGE else run["kind"]
            assert as_today(run["settings"]) == modern.RUNS[kind][0]
            assert len(run["history"]["seconds"]) == run["settings"]["epochs"]
    assert {kind: sorted(seeds) for kind, seeds in found.items()} == {
        kind: list(range(seeds))
        for kind, (_, seeds) in (modern.RUNS | {modern.AVERAGE: modern.RUNS["60 epochs"]}).items()
    }


@pytest.mark.slow
def test_the_ensemble_makes_its_stored_errors(record):
    (run,) = (run for run in record["runs"] if run["kind"] == modern.ENSEMBLE)
    assert len(set(run["members"])) == 5
    nets = [load_weights(modern_lenet(), ROOT / path) for path in run["members"]]
    images, labels = load_mnist(train=False, scaling="paper")
    assert (modern.ensemble_classes(nets, images) != labels).sum() == run["test_errors"]


def test_the_parts_of_a_rungs_network():
    net = modern.ladder_network()
    named = "ladder_network(output='rbf', activation='tanh', pooling='subsample', norm=False, dropout=0.0)"
    assert net.network == named and not any(isinstance(layer, nn.MaxPool2d) for layer in net.modules())
    net = modern.ladder_network(pooling="max")
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in net.modules()) == 2


def test_each_draw_of_an_affine_change_does_its_own_part(monkeypatch):
    """The matrix is that of a rotation, a shear and a squeeze, one after the other, over the zoom."""
    draws = torch.tensor([[0.7], [-0.4], [0.9], [0.6], [-0.8], [0.3]])
    asked, seen = [], []

    def rand(*shape, **options):
        asked.append(shape)
        return (draws + 1) / 2

    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr(modern, "warp", lambda images, matrices, bend: seen.append((matrices, bend)))
    generator = torch.Generator().manual_seed(0)
    for affine, elastic in ((2.0, 0.0), (2.0, 1.0), (2.0, 3.0)):
        modern.augment(torch.zeros(1, 1, 32, 32), affine, elastic, generator.manual_seed(0))
    assert asked == [(6, 1)] * 3
    angle, zoom, squeeze, shear, right, down = (
        2 * draw * modern.AFFINE[name]
        for draw, name in zip(draws[:, 0], ("rotation", "scale", "squeeze", "shear", "shift", "shift"), strict=True)
    )
    turn = torch.deg2rad(angle)
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).view(2, 2)
    slant = torch.tensor([[1.0, shear], [0.0, 1.0]])
    squeezed = torch.diag(torch.stack([squeeze, -squeeze]).exp())
    expected = torch.cat([rotation @ slant @ squeezed / zoom.exp(), torch.stack([right, down])[:, None] / 16], dim=1)
    (matrices, none), (_, once), (_, thrice) = seen
    assert none == 0 and torch.allclose(matrices[0], expected, atol=1e-6)
    assert once.abs().max() > 0.01 and torch.allclose(thrice, 3 * once, atol=1e-6)


class Sure(nn.Module):
    """Gives each of 260 images, in order, the logits that are its own; in training mode it would give none."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        assert not self.training and not torch.is_grad_enabled()
        return self.logits.repeat(len(images), 1)


def test_an_ensemble_takes_the_mean_of_probabilities_not_of_logits_nor_of_votes():
    nets = [Sure([0.0, 9.0, 8.9]), Sure([0.0, 0.1, 0.0]), Sure([30.0, 0.0, 29.9])]
    # About (0, .52, .48), (.32, .36, .32) and (.52, 0, .48): the third class has most, and is no network's first.
    assert modern.ensemble_classes(nets, torch.zeros(260, 1, 32, 32)).tolist() == [2] * 260


def test_the_ensemble_is_added_once_its_networks_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment_record, "RESULTS", tmp_path)
    monkeypatch.setattr(experiment_record, "CHECKPOINTS", tmp_path)
    path, load = tmp_path / "modern_lenet.json", {"size": 32, "scaling": "paper"}
    stored = json.loads((ROOT / "results/modern_lenet.json").read_text(encoding="utf-8"))
    runs = [run for run in stored["runs"] if run["kind"] == "60 epochs"]
    images, labels = (part[:500] for part in load_mnist(train=False, **load))
    asked = []
    monkeypatch.setattr(modern, "load_mnist", lambda **options: asked.append(options) or (images, labels))
    for found in ([], runs[:4]):
        path.write_text(json.dumps({"runs": found}), encoding="utf-8")
        modern.add_ensemble("modern_lenet", "60 epochs", modern_lenet)
        assert json.loads(path.read_text(encoding="utf-8"))["runs"] == found
    path.unlink()
    modern.add_ensemble("modern_lenet", "60 epochs", modern_lenet)
    assert not path.exists() and asked == []
    other = {"kind": "elastic", "weights": "weights/modern_lenet/elastic_seed0.safetensors"}
    path.write_text(json.dumps({"runs": [*runs, other]}), encoding="utf-8")
    modern.add_ensemble("modern_lenet", "60 epochs", modern_lenet)
    nets = [load_weights(modern_lenet(), ROOT / run["weights"]) for run in runs]
    errors = (modern.ensemble_classes(nets, images) != labels).sum().item()
    added = {"kind": modern.ENSEMBLE, "members": [run["weights"] for run in runs], "test_errors": errors}
    assert json.loads(path.read_text(encoding="utf-8"))["runs"] == [*runs, other, added]
    assert asked == [{"train": False} | load] and capsys.readouterr().out == f"ensemble of five: {errors} errors\n"
    modern.add_ensemble("modern_lenet", "60 epochs", modern_lenet)
    assert len(asked) == 1


def test_no_choice_looked_at_the_test_set():
    choices = json.loads((ROOT / "results/modern_lenet_choices.json").read_text(encoding="utf-8"))["runs"]
    for run in choices:
        below, change, _ = modern.CHOICES[run["kind"]]
        assert as_today(run["settings"]) == modern.rung(below) | change
        assert "test_errors" not in run
