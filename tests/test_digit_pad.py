"""The drawing pad: preparation as in MNIST, the view of all layers, the widget; odd drawings get an answer too."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from digit_pad import NOTHING, PEN, SIDE, DigitPad, LayerView, layer_activations, network_input, prepare
from lenet import LeNet5
from lenet_data import BOX, CENTRE
from lenet_utils import load_mnist, load_weights
from tools.notebook_rules import ROOT

SEVEN = [[[70, 60], [205, 60], [170, 120], [135, 235]]]
TWO = [[[75, 95], [95, 60], [140, 45], [185, 65], [190, 110], [150, 165], [80, 230], [205, 228]]]
BLACK = [[[x, 0], [x, SIDE]] for x in range(0, SIDE + 1, PEN // 2)]
SCRIBBLE = np.random.default_rng(0).integers(0, SIDE + 1, (20, 300, 2)).tolist()


@pytest.fixture(scope="module")
def view():
    return LayerView(load_weights(LeNet5(), ROOT / "weights/original_1998/60000_seed0.safetensors"))


def centre_of_mass(digit):
    ys, xs = np.mgrid[:28, :28]
    return (digit * ys).sum() / digit.sum(), (digit * xs).sum() / digit.sum()


# ----------------------------------------------------------------------------------------- preparation


def test_mnist_itself_is_centred_as_prepare_centres():
    images, _ = load_mnist(train=True, size=28, scaling="paper")
    ink = ((images[:, 0] + 0.1) * 200).round().double()  # the background is 0
    steps = torch.arange(28.0, dtype=torch.double)
    for side in (1, 2):
        centres = (ink.sum(dim=3 - side) * steps).sum(dim=1) / ink.sum(dim=(1, 2))
        assert (centres - CENTRE).abs().max() < 0.55


@pytest.mark.parametrize("strokes", [SEVEN, TWO, SCRIBBLE, [[[0, 0], [0, SIDE]]], [[[20, 20], [60, 20], [60, 60]]]])
def test_the_longer_side_fills_20_pixels_and_the_centre_of_mass_lies_in_the_middle(strokes):
    digit = prepare(strokes)
    assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.max() > 100
    ys, xs = np.nonzero(digit)
    assert max(np.ptp(ys), np.ptp(xs)) + 1 == BOX
    touches = ys.min() == 0 or xs.min() == 0 or ys.max() == 27 or xs.max() == 27
    assert touches or np.abs(np.subtract(centre_of_mass(digit), CENTRE)).max() <= 0.51


def test_grey_levels_are_shares_of_ink():
    # A vertical line of the pen's width: 20 pixels high with its round ends, and PEN * 20 / (200 + PEN) wide.
    digit = prepare([[[140, 40], [140, 240]]])
    middle = digit[CENTRE].astype(float) / 255
    assert middle.sum() == pytest.approx(PEN * BOX / (200 + PEN), abs=0.15)
    assert ((0 < middle) & (middle < 1)).sum() <= 2


def test_place_and_size_of_the_drawing_do_not_matter_and_the_pen_grows_with_it():
    moved = [[[x / 2 + 100, y / 2 + 20] for x, y in stroke] for stroke in SEVEN]
    large, small = prepare(SEVEN), prepare(moved)
    assert np.array_equal(prepare([[[x + 40, y + 7] for x, y in stroke] for stroke in SEVEN]), large)
    assert (small > 127).sum() > 1.4 * (large > 127).sum()


@pytest.mark.parametrize("strokes", [[], [[]], [[[140, 140]]], [[[140, 140], [150, 145]], [[142, 138]]]])
def test_an_empty_pad_and_a_dot_are_no_drawing(strokes, view):
    assert prepare(strokes) is None
    png, answer = view(None)
    assert answer == NOTHING == "draw a digit"
    assert Image.open(io.BytesIO(png)).size == (2 * view.width, 2 * view.height)


@pytest.mark.parametrize(
    "strokes", [BLACK, SCRIBBLE, [[[0, 0], [SIDE, 0]]], [[[SIDE, SIDE], [SIDE, 100]]], SEVEN * 400]
)
def test_odd_drawings_get_an_answer(strokes, view):
    digit = prepare(strokes)
    assert digit.shape == (28, 28)
    assert view(digit)[1] in {f"reads {number}" for number in range(10)}


@pytest.mark.parametrize("strokes", [3, [3], [[[1, 2, 3]]], [["a"]], [[[1, float("nan")]]], [None]])
def test_what_is_no_drawing_is_refused_in_one_sentence(strokes):
    with pytest.raises(ValueError, match="strokes must be lists of points"):
        prepare(strokes)


def test_network_input_is_what_load_mnist_makes_of_the_same_digit():
    raw, _ = load_mnist(train=False, size=28, scaling="paper")
    images, _ = load_mnist(train=False, size=32, scaling="paper")
    digit = ((raw[7, 0] + 0.1) / 1.275 * 255).round().to(torch.uint8).numpy()
    assert torch.equal(network_input(digit), images[7:8])


# ---------------------------------------------------------------------------------------------- the view


def test_layer_activations_end_in_what_the_network_returns(view):
    images = load_mnist(train=False, scaling="paper")[0][:5]
    activations = layer_activations(view.net, images)
    assert list(activations) == ["input", "c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert [list(activations[name].shape[1:]) for name in ("c1", "s2", "c3", "s4", "c5", "f6")] == [
        [6, 28, 28], [6, 14, 14], [16, 10, 10], [16, 5, 5], [120, 1, 1], [84],
    ]  # fmt: skip
    with torch.no_grad():
        assert torch.equal(activations["output"], view.net(images))


@pytest.mark.parametrize(("strokes", "expected"), [(SEVEN, "reads 7"), (TWO, "reads 2")])
def test_the_view_reads_the_drawing(strokes, expected, view):
    assert view(prepare(strokes))[1] == expected


def test_the_view_shows_every_map_where_it_says(view):
    digit = prepare(TWO)
    shown = np.asarray(Image.open(io.BytesIO(view(digit)[0])))
    activations = layer_activations(view.net, network_input(digit))
    for (x, y, size), cells in (
        (view.places["c1", 5], activations["c1"][0, 5]),
        (view.places["s2", 2], activations["s2"][0, 2]),
        (view.places["c3", 15], activations["c3"][0, 15]),
        (view.places["s4", 9], activations["s4"][0, 9]),
        (view.places["f6"], activations["f6"].view(12, 7)),
        (view.places["bitmap", 2], view.net.output.bitmaps[2].view(12, 7)),
    ):
        height, width = cells.shape
        part = shown[2 * y : 2 * (y + size * height) : 2 * size, 2 * x : 2 * (x + size * width) : 2 * size].astype(int)
        clear = cells.numpy().__abs__() > 0.1
        assert np.array_equal((part[..., 0] > part[..., 2])[clear], (cells.numpy() > 0)[clear])  # orange, or blue


# -------------------------------------------------------------------------------------------- the widget


def test_the_pad_answers_every_change_and_has_a_stable_name(view):
    pad = DigitPad(view, SEVEN)
    assert repr(pad) == "DigitPad: reads 7"
    first = pad.picture
    pad.strokes = TWO
    assert repr(pad) == "DigitPad: reads 2" and pad.picture != first
    pad.strokes = []
    assert repr(pad) == "DigitPad: draw a digit" and pad.digit is None


def test_where_no_kernel_runs_the_picture_stands_in(view):
    data, metadata = DigitPad(view, SEVEN)._repr_mimebundle_()
    assert data["text/plain"] == "DigitPad: reads 7"
    assert data["image/png"].startswith("iVBOR")
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"] == {"width": view.width, "height": view.height}


def test_the_javascript_needs_nothing_from_elsewhere():
    text = (ROOT / "digit_pad.js").read_text(encoding="utf-8")
    assert "import" not in text and "http" not in text and "export default { render }" in text
