"""Larger networks as teachers: their network, the pool of distorted digits, the training on it."""

import json

import pytest
import torch
from torch.nn import functional as F

from experiments import distilled_lenet as distilled
from experiments import record as experiment_record
from experiments.modern_lenet import augment
from lenet_utils import BACKGROUND, FOREGROUND, count_errors, load_mnist, load_weights
from tools.notebook_rules import ROOT

SMALL = {"pool": 2, "epochs": 2, "batch_size": 20}


@pytest.fixture(scope="module")
def digits():
    return [part[:50] for part in load_mnist(train=True, scaling="paper")]


@pytest.fixture
def nets():
    torch.manual_seed(0)
    return [distilled.teacher_network(width=4).eval() for _ in range(2)]


def test_the_teacher_has_the_shapes_and_parameters_that_it_says():
    net = distilled.teacher_network()
    assert sum(parameter.numel() for parameter in net.parameters()) == 298_314
    shapes, images = [], torch.zeros(2, 1, 32, 32)
    for layer in net:
        images = layer(images)
        shapes.append(tuple(images.shape[1:]))
    assert list(dict.fromkeys(shapes)) == [
        (32, 16, 16), (32, 8, 8), (64, 8, 8), (64, 4, 4), (128, 4, 4), (128, 2, 2), (128, 1, 1), (128,), (10,)
    ]  # fmt: skip
    assert distilled.teacher_network(8).network == "teacher_network(width=8)"


def test_networks_judge_by_the_mean_of_their_log_probabilities(nets, digits):
    found = distilled.judge(nets, digits[0])
    product = (nets[0](digits[0]).softmax(dim=1) * nets[1](digits[0]).softmax(dim=1)).sqrt()
    torch.testing.assert_close(found.exp(), product / product.sum(dim=1, keepdim=True))


def test_a_pool_holds_other_distortions_of_every_digit_and_what_the_networks_say_of_them(nets, digits):
    settings = distilled.STUDENT | SMALL
    distorted, judged = distilled.make_pool(nets, settings, digits[0])
    assert distorted.shape == (2, 50, 1, 32, 32) and distorted.dtype == torch.uint8
    assert judged.shape == (2, 50, 10) and judged.dtype == torch.float16
    assert not torch.equal(distorted[0], distorted[1])
    for number in range(2):
        images = augment(digits[0], 2.0, 1.0, torch.Generator().manual_seed(number)).clamp(BACKGROUND, FOREGROUND)
        assert (distilled.as_floats(distorted[number]) - images).abs().max() <= distilled.STEP / 2 + 1e-5
    expected = distilled.judge(nets, distilled.as_floats(distorted[0]))
    assert (judged[0].float() - expected).abs().max() < 0.05  # bfloat16


def test_smoothed_labels_are_probabilities():
    found = distilled.smoothed(torch.tensor([3]), 0.1).float().exp()[0]
    assert found[3].item() == pytest.approx(0.91, abs=1e-3) and found[0].item() == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_student_learns_what_the_pool_says(nets, digits, monkeypatch, temperature):
    pool = distilled.make_pool(nets, distilled.STUDENT | SMALL, digits[0])
    seen = []

    def note(logits, targets, **options):
        seen.append((logits.detach().clone(), targets, options))
        return cross_entropy(logits, targets, **options)

    cross_entropy = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", note)
    settings = distilled.STUDENT | SMALL | {"temperature": temperature}
    net, history = distilled.train_student(settings, 4, pool)
    assert len(seen) == 2 * 5, "two passes over 100 examples in batches of 20"
    assert len(history["train_loss"]) == 2 and not net.state_dict()["output.weight"].isnan().any()
    order = distilled.epoch_order(100, 4, 0)[:20]
    wanted = (pool[1].flatten(0, 1)[order].float() / temperature).softmax(dim=1)
    assert torch.equal(seen[0][1], wanted) and seen[0][2] == {}
    torch.manual_seed(4)
    fresh = distilled.modern_lenet()
    logits = fresh(distilled.as_floats(pool[0].flatten(0, 1)[order])) / temperature
    torch.testing.assert_close(seen[0][0], logits, rtol=1e-4, atol=1e-4)


def test_a_teacher_learns_smoothed_labels_of_fresh_distortions(digits, monkeypatch):
    seen = []
    monkeypatch.setattr(distilled, "augment", lambda *settings: seen.append(settings) or augment(*settings))
    settings = distilled.TEACHER | {"width": 4, "epochs": 2, "batch_size": 25}
    options, cross_entropy = [], F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *a, **named: options.append(named) or cross_entropy(*a, **named))
    net, _ = distilled.train_teacher(settings, 1, digits)
    assert net.network == "teacher_network(width=4)"
    assert [entry[1:3] for entry in seen] == [(2.0, 1.0)] * 4 and options == [{"label_smoothing": 0.05}] * 4


def test_an_interrupted_training_goes_on_to_the_same_weights(nets, digits, tmp_path, monkeypatch):
    pool, settings = distilled.make_pool(nets, distilled.STUDENT | SMALL, digits[0]), distilled.STUDENT | SMALL
    whole, history = distilled.train_student(settings, 0, pool)
    save, path = experiment_record.save_checkpoint, tmp_path / "cut.pt"

    def cut(path, content):
        save(path, content)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment_record, "save_checkpoint", cut)
    with pytest.raises(KeyboardInterrupt):
        distilled.train_student(settings, 0, pool, path)
    monkeypatch.setattr(experiment_record, "save_checkpoint", save)
    resumed, resumed_history = distilled.train_student(settings, 0, pool, path)
    assert resumed_history["train_loss"] == history["train_loss"]
    for ours, theirs in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


STORED = json.loads((ROOT / "results/distilled_lenet.json").read_text(encoding="utf-8"))["runs"]


@pytest.mark.slow
@pytest.mark.parametrize("run", STORED, ids=lambda run: f"seed {run['seed']}")
def test_a_stored_teacher_makes_its_validation_errors(run):
    net = load_weights(distilled.teacher_network(), ROOT / run["weights"])
    last = [part[50_000:] for part in load_mnist(train=True, **run["load_mnist"])]
    assert abs(count_errors(net, last) - run["validation_errors"]) <= 1  # rounding differs between processors
