"""What every notebook uses: claims, pictures in rows, stored runs, counting errors, the order of an epoch, scalings."""

import json

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import lenet_utils as lu
from lenet import LeNet5, tutorial_lenet

matplotlib.use("agg")


@pytest.mark.parametrize("holds", [True, 1, torch.tensor(True), np.bool_(True)])
def test_a_claim_that_holds_is_printed(holds, capsys):
    lu.claim("2 + 2 == 4", holds)
    assert capsys.readouterr().out == "2 + 2 == 4: True\n"


@pytest.mark.parametrize("holds", [False, 0, None, torch.tensor(False)])
def test_a_claim_that_does_not_hold_is_printed_and_stops_the_notebook(holds, capsys):
    with pytest.raises(AssertionError, match="2 is 3"):
        lu.claim("2 is 3", holds)
    assert capsys.readouterr().out == "2 is 3: False\n"


@pytest.mark.parametrize("found", [0, 28, "0.93", [6, 28, 28], False])
def test_a_claim_shows_what_was_found(found, capsys):
    lu.claim("C1", True, found)
    assert capsys.readouterr().out == f"C1: {found}\n"
    with pytest.raises(AssertionError, match="C1"):
        lu.claim("C1", False, found)
    assert capsys.readouterr().out == f"C1: {found}\n"


def test_training_is_blue_and_test_is_orange():
    """As the notebooks' words and stored pictures have it; "#RRGGBB"."""
    assert lu.COLOURS["train"][1:3] < lu.COLOURS["train"][5:] and lu.COLOURS["test"][1:3] > lu.COLOURS["test"][5:]


def test_images_are_drawn_in_rows_under_their_titles():
    images = [np.full((4, 5), number) for number in range(4)]
    lu.show_images(
        [*images[:3], None, images[3]], [0, 1, 2, "no image"], columns=3, row_titles=["a", "b"], vmin=0, vmax=9
    )
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes] == ["0", "1", "2", "no image", "", ""]
    assert [len(ax.images) for ax in axes] == [1, 1, 1, 0, 1, 0]
    assert [ax.get_ylabel() for ax in axes] == ["a", "", "", "b", "", ""]
    assert not any(len(ax.get_xticks()) or len(ax.get_yticks()) for ax in axes)
    assert axes[4].images[0].get_clim() == (0, 9) and (axes[4].images[0].get_array() == 3).all()
    plt.close("all")


def test_runs_are_read_by_kind_in_the_order_of_their_seeds(tmp_path, monkeypatch):
    runs = [{"kind": "a", "seed": 1}, {"kind": "b"}, {"kind": "a", "seed": 0}, {"kind": "b", "seed": 0}]
    (tmp_path / "results").mkdir()
    (tmp_path / "results/demo.json").write_text(json.dumps({"machine": "here", "runs": runs}), encoding="utf-8")
    monkeypatch.setattr(lu, "ROOT", tmp_path)
    record, by_kind = lu.read_runs("demo")
    assert record["machine"] == "here"
    assert by_kind == {
        "a": [{"kind": "a", "seed": 0}, {"kind": "a", "seed": 1}],
        "b": [{"kind": "b"}, {"kind": "b", "seed": 0}],
    }


@pytest.mark.parametrize(("make", "size", "best"), [(tutorial_lenet, 28, "argmax"), (LeNet5, 32, "argmin")])
def test_errors_and_accuracy_are_counted_without_rounding(make, size, best):
    images, labels = (part[:640] for part in lu.load_mnist(train=False, size=size))
    net = make()
    wrong = (getattr(net(images), best)(dim=1) != labels).sum().item()
    assert lu.count_errors(net, (images, labels)) == wrong
    assert lu.evaluate(net, (images, labels)) == (640 - wrong) / 640


class NoDouble(TorchDispatchMode):
    """Refuses float64, which Apple's MPS does not have."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float64), operation
        return result


def test_training_and_evaluation_need_no_double_precision():
    images, labels = (part[:128] for part in lu.load_mnist(train=False, size=28))
    with NoDouble():
        lu.fit(tutorial_lenet(), (images, labels), (images, labels), epochs=1, plot=False)


def test_an_order_shows_every_digit_once_and_depends_on_seed_and_epoch_alone():
    order = lu.epoch_order(1000, seed=3, epoch=2)
    assert order.dtype == torch.int64 and order.sort().values.tolist() == list(range(1000))
    assert order.tolist() == np.random.default_rng([3, 2]).permutation(1000).tolist(), "as in the stored runs"
    for seed, epoch in ((3, 1), (2, 2), (2, 3)):
        assert not torch.equal(order, lu.epoch_order(1000, seed, epoch))


@pytest.mark.parametrize("scaling", ["standard", "paper"])
def test_one_function_makes_images_of_pixels(scaling):
    pixels = torch.zeros(2, 28, 28, dtype=torch.uint8)
    pixels[1] = 255
    images = lu.as_images(pixels, size=32, scaling=scaling)
    low, high = {"standard": (-0.1307 / 0.3081, (1 - 0.1307) / 0.3081), "paper": (-0.1, 1.175)}[scaling]
    assert images.shape == (2, 1, 32, 32)
    assert images[0].unique().tolist() == [pytest.approx(low)]
    assert images[1, 0, 2:-2, 2:-2].unique().tolist() == [pytest.approx(high)]
    grey = torch.tensor([0.0, 1.0])
    assert lu.scale_(grey, scaling) is grey and grey.tolist() == [pytest.approx(low), pytest.approx(high)]
