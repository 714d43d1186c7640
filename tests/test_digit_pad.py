"""The drawing pad: preparation as in MNIST, the view of all layers, the widget; odd drawings get an answer too."""

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from traitlets import TraitError

from digit_pad import (
    MOST_POINTS,
    NOTHING,
    PEN,
    SIDE,
    DigitPad,
    LayerView,
    _ink,
    _ramp,
    check_strokes,
    layer_activations,
    network_input,
    prepare,
)
from lenet import LeNet5
from lenet_data import BOX, CENTRE, centred, fitted
from lenet_utils import COLOURS, load_mnist, load_weights
from tools.notebook_rules import ROOT

PAD = ROOT / "digit_pad.js"
SEVEN = [[[70, 60], [205, 60], [170, 120], [135, 235]]]
TWO = [[[75, 95], [95, 60], [140, 45], [185, 65], [190, 110], [150, 165], [80, 230], [205, 228]]]
BLACK = [[[x, 0], [x, SIDE]] for x in range(0, SIDE + 1, PEN // 2)]
SCRIBBLE = np.random.default_rng(0).integers(0, SIDE + 1, (20, 300, 2)).tolist()


def new_view():
    return LayerView(load_weights(LeNet5(), ROOT / "weights/original_1998/60000_seed0.safetensors"))


@pytest.fixture(scope="module")
def view():
    return new_view()


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


POINTS = SEVEN[0]
TAKEN = {
    "tuples": [tuple(map(tuple, POINTS))],
    "arrays": [np.array(POINTS)],
    "one array": np.array(SEVEN),
    "an array of objects": np.array([POINTS, POINTS[:2]], dtype=object)[:1],
    "an array, read-only": [np.broadcast_to(np.array(POINTS), (4, 2))],
    "numpy's numbers in lists": [[[np.float32(x), np.int16(y)] for x, y in POINTS]],
    **{f"array of {kind.__name__}": [np.array(POINTS, kind)] for kind in (
        np.uint8, np.int16, np.uint64, np.float16, np.float32, np.longdouble,
    )},
    "an empty stroke before": [[], *SEVEN],
    "an empty stroke behind": [*SEVEN, ()],
    "an array of no points": [np.empty((0, 2)), *SEVEN, np.empty(0)],
    "big-endian": [np.array(POINTS, ">i4")],
}  # fmt: skip


@pytest.mark.parametrize("kind", TAKEN)
def test_strokes_of_every_kind_are_stored_as_plain_lists(kind, view):
    pad = DigitPad(view, TAKEN[kind])
    assert pad.strokes == SEVEN and pad.answer == "reads 7"
    assert json.loads(json.dumps(pad.get_state("strokes")["strokes"])) == SEVEN
    assert type(pad.strokes[0][0][0]) in (int, float)


@pytest.mark.parametrize(
    "strokes", [[], (), [[]], [[], ()], np.empty(0), np.empty((0, 3, 2)), np.empty((2, 0, 2)), [np.empty((0, 2))]]
)
def test_no_strokes_of_any_kind_are_stored_as_none(strokes, view):
    pad = DigitPad(view, SEVEN)
    pad.strokes = strokes
    assert pad.strokes == [] and pad.digit is None and pad.answer == NOTHING


@pytest.mark.parametrize(("x", "y"), [(-900, 900), (1e300, -1e300), (2**63, 0), (-(2**31), SIDE)])
def test_points_beside_the_pad_lie_on_its_edge(x, y, view):
    pad = DigitPad(view, [[*POINTS, [x, y]]])
    edge = [min(max(x, 0), SIDE), min(max(y, 0), SIDE)]
    assert np.array_equal(pad.digit, prepare([[*POINTS, edge]]))
    assert pad.strokes[0][-1] == [x, y]


def circular():
    strokes = []
    strokes.append(strokes)
    return strokes


REFUSED = {
    "a number": 3, "nothing": None, "text": "abc", "bytes": b"ab", "a dict": {"strokes": SEVEN}, "a set": set(),
    "a generator": (stroke for stroke in SEVEN), "a picture": Image.new("L", (9, 9)), "a tensor": torch.zeros(1, 3, 2),
    "an array of no dimensions": np.array(5), "an array of numbers": np.zeros(4),
    "a number for a stroke": [3], "nothing for a stroke": [None], "text for a stroke": ["ab"], "a dict as one": [{}],
    "a picture for a stroke": [Image.new("L", (28, 28))], "a set for a stroke": [{1, 2}], "itself": circular(),
    "a tensor for a stroke": [torch.zeros(3, 2, requires_grad=True)], "an iterator": [iter(POINTS)],
    "a stroke without its list": POINTS, "a flat list": [[60, 60, 220, 60]], "a flat array": np.zeros((2, 4)),
    "pressure": [[[60, 60, 0.5], [220, 60, 0.5]]], "pressure in an array": np.zeros((1, 4, 3)),
    "one coordinate": [[[1], [2]]], "a point that lacks one": [[[1, 2], [3]]], "an empty point": [[[]]],
    "one list too many": [[[[1, 2]]]], "points as dicts": [[{"x": 1, "y": 2}]], "text for numbers": [[["1", "2"]]],
    "nothing for a coordinate": [[[None, 1]]], "truth": [[[True, False]]], "complex": [[[1j, 2]]],
    "a number too large": [[[10**400, 1]]], "a date": [np.zeros((2, 2), "M8[s]")],
    "nan": [[[float("nan"), 1]]], "infinity": [[[1, 2], [3, -float("inf")]]], 
    "nan behind": [*SEVEN, [[1, float("nan")]]],
    "infinite in half": [np.full((2, 2), np.inf, np.float16)],
    "beyond JSON": [np.full((2, 2), np.longdouble("1e4000"))],
    "too many points": [[[1, 2]] * (MOST_POINTS + 1)], "too many strokes": [[]] * (MOST_POINTS + 1),
    "too many in all": [[[1, 2]] * (MOST_POINTS // 2 + 1)] * 2, "a million points": np.zeros((1, 10**6, 2)),
}  # fmt: skip


def look(digit):
    """In the place of a LayerView, which takes longer."""
    return b"" if digit is None else digit.tobytes(), NOTHING if digit is None else f"{digit.sum()} of ink"


def state(pad):
    return pad.strokes, pad.digit is None or pad.digit.tolist(), pad.picture, pad.answer


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_drawing_is_refused_in_one_sentence_and_all_stays_as_it_was(kind):
    with pytest.raises(ValueError, match="^strokes must be lists of points .*[.]$") as raised:
        check_strokes(REFUSED[kind])
    said = str(raised.value)
    assert "\n" not in said and len(said) < 200
    with pytest.raises(ValueError, match=re.escape(said)):
        prepare(REFUSED[kind])
    pad = DigitPad(look, TWO)
    before = state(pad)
    with pytest.raises(TraitError, match=re.escape(said)):
        pad.strokes = REFUSED[kind]
    assert state(pad) == before
    with pytest.raises(TraitError, match=re.escape(said)):
        pad.set_state({"strokes": REFUSED[kind]})  # as a message from the browser does
    assert state(pad) == before
    pad.set_state({"strokes": SEVEN})
    assert state(pad) == state(DigitPad(look, SEVEN))


def test_the_most_points_are_taken():
    strokes = [[[1, 2]] * (MOST_POINTS // 2)] * 2
    assert check_strokes(strokes) == strokes


def test_a_million_points_are_refused_before_one_is_read():
    class Stroke(list):
        def __iter__(self):
            raise AssertionError("a point is read")

        __getitem__ = __array__ = __iter__

    for strokes in ([Stroke([[1, 2]] * 10**6)], [Stroke([[1, 2]] * 10_001), Stroke([[1, 2]] * 10_000)]):
        with pytest.raises(ValueError, match=f"20,000 at most: this drawing has {sum(map(len, strokes)):,}"):
            check_strokes(strokes)


@pytest.mark.parametrize(
    "bad", [lambda digit: 7, lambda digit: (b"", 7), lambda digit: [b"", "seven"], lambda digit: 1 / 0, lambda: None]
)
@pytest.mark.parametrize("from_browser", [False, True])
def test_a_look_that_fails_leaves_all_as_it_was(bad, from_browser):
    pad = DigitPad(look, TWO)
    before = state(pad)
    pad.look = bad
    with pytest.raises(TraitError, match="^look (must return|cannot read)"):
        pad.set_state({"strokes": SEVEN}) if from_browser else setattr(pad, "strokes", SEVEN)
    assert state(pad) == before


def test_what_a_reader_adds_in_place_changes_nothing_by_itself():
    mine = [list(stroke) for stroke in TWO]
    pad = DigitPad(look, mine)
    mine.append(SEVEN[0])
    mine[0].append([0, 0])
    assert pad.strokes == TWO


@pytest.mark.parametrize(
    ("digit", "said"),
    [
        (None, "not None"), (np.zeros((28, 28)), "not a numpy array of float64"),
        (np.zeros((32, 32), np.uint8), "32, 32"),
        (np.zeros((28, 28, 3), np.uint8), "28, 28, 3"), (torch.zeros(1, 28, 28, dtype=torch.uint8), "1, 28, 28"),
        (np.zeros((28, 28), object), "of object"), (np.full((28, 28), "a"), "of <U1"),
        (Image.new("L", (28, 28)), "an Image"),
        (np.pad(np.zeros((20, 20), np.uint8), 4, constant_values=250), "dark on light"),
    ],
)  # fmt: skip
def test_network_input_refuses_all_but_a_digit(digit, said):
    with pytest.raises(ValueError, match=said):
        network_input(digit)


def framed(border, middle, edges=("top", "bottom", "left", "right")):
    """Return a digit of `middle` with some of its edges in the shade `border`."""
    digit = np.full((28, 28), middle, np.uint8)
    places = {"top": np.s_[0], "bottom": np.s_[-1], "left": np.s_[:, 0], "right": np.s_[:, -1]}
    for edge in edges:
        digit[places[edge]] = border
    return digit


@pytest.mark.parametrize(
    "digit",
    [
        framed(255, 0), framed(128, 0), framed(200, 80),
        framed(255, 0, ("top", "left")), framed(255, 0, ("bottom", "right")),
    ],
)  # fmt: skip
def test_network_input_refuses_what_is_dark_on_light_at_most_of_the_border(digit):
    expected = "This digit is dark on light, MNIST's are ink 255 on 0: prepare_image turns a picture round."
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        network_input(digit)


@pytest.mark.parametrize(
    "digit", [framed(127, 0), framed(200, 100), framed(200, 150), framed(255, 255), framed(100, 0)]
)
def test_network_input_takes_a_digit_whose_border_is_no_background(digit):
    assert network_input(digit).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("change", [lambda digit: digit[::-1], np.asfortranarray, torch.tensor])
def test_network_input_takes_a_digit_however_it_lies_in_memory(change):
    digit = change(prepare(SEVEN))
    assert torch.equal(network_input(digit), network_input(np.array(digit.tolist(), np.uint8)))


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


def test_a_drawing_begins_at_the_width_of_the_pen_wherever_it_lies():
    assert prepare([[[20, 200], [30, 200]]]) is None and prepare([[[200, 20], [200, 45]]]) is None
    for strokes in ([[[20, 200], [20 + PEN, 200]]], [[[200, 20], [200, 20 + PEN]]], [[[0, 0], [0, SIDE]]]):
        expected = centred(fitted(_ink([np.array(stroke) for stroke in strokes])))
        assert np.array_equal(prepare(strokes), expected)


def test_what_is_said_of_strokes_word_by_word():
    for strokes, said in (
        (5, "strokes must be lists of points [x, y], not 5."),
        ([[[1, 2]], [[1, 2, 3]]], "strokes must be lists of points [x, y]: stroke 2 is something else (a list)."),
        ([[[1, 2]], 7], "strokes must be lists of points [x, y]: stroke 2 is something else (7)."),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            check_strokes(strokes)


def test_a_cell_beyond_the_scale_has_its_last_colour(view):
    canvas = np.zeros((2 * view.height, 2 * view.width, 3), np.uint8)
    ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    view._paint(canvas, "c5", torch.tensor([[-9.0, 0.0, 1 / 256, 0.5, 1.0, 1.1, 9.0]]), ramp, 0.0, 1.0)
    x, y, size = (2 * number for number in view.places["c5"])
    assert canvas[y : y + size, x : x + 7 * size : size, 0].tolist() == [[0, 0, 0, 127, 255, 255, 255]] * size
    assert canvas.sum() == canvas[y : y + size, x : x + 7 * size].sum()


def test_the_view_refuses_all_but_a_lenet5():
    with pytest.raises(ValueError, match=r"^LayerView draws the layers of a LeNet5, not of a Linear\.$"):
        LayerView(torch.nn.Linear(2, 2))


def test_shades_run_evenly_from_colour_to_colour():
    assert np.array_equal(_ramp(["#FFFFFF", "#000000"]), np.arange(255, -1, -1)[:, None].repeat(3, axis=1))
    ramp = _ramp(["#0A0B0C", "#FFFFFF", "#D55E00"])
    assert ramp.dtype == np.uint8 and ramp.shape == (256, 3)
    ends = ramp[[0, 127, 128, 255]].tolist()
    assert ends == [[10, 11, 12], [254, 254, 254], [255, 254, 254], [213, 94, 0]]


@pytest.mark.parametrize(("name", "strokes"), [("seven", SEVEN), ("empty", [])])
def test_the_view_is_the_stored_picture(name, strokes):
    """Pixel by pixel, but for rounding between shades; what is meant to look otherwise is looked at and stored anew."""
    stored, drawn = ROOT / "tests" / "pictures" / f"view_{name}.png", new_view()(prepare(strokes))[0]
    expected, found = (np.asarray(Image.open(file)).astype(int) for file in (stored, io.BytesIO(drawn)))
    assert found.shape == expected.shape
    assert (np.abs(found - expected).max(axis=2) > 4).sum() <= 20, f"it is no longer {stored.name}"


@pytest.mark.parametrize("number", range(10))
def test_the_view_writes_the_answer_and_each_distance_in_its_place(number, view, monkeypatch):
    """Distances that rise from left to right, with the least at one digit: only there is the number orange."""
    distances = torch.arange(100.0, 110.0)
    distances[number] = 7.0
    activations = layer_activations(view.net, network_input(prepare(SEVEN))) | {"output": distances[None]}
    written = []
    monkeypatch.setattr("digit_pad.layer_activations", lambda *_: activations)
    monkeypatch.setattr(LayerView, "_write", lambda self, draw, *what: written.append(what))
    assert view(prepare(SEVEN))[1] == f"reads {number}"
    orange = COLOURS["test"]
    assert written[0][2:] == (str(number), 72, "mm", orange)
    for digit, (x, _, text, _, _, colour) in enumerate(written[1:]):
        left, _, size = view.places["bitmap", digit]
        assert text == f"{distances[digit]:.1f}" and left <= x <= left + 7 * size
        assert (colour == orange) == (digit == number)


def test_the_input_is_shown_as_ink_on_paper(view):
    digit = prepare(SEVEN)
    shown = np.asarray(Image.open(io.BytesIO(view(digit)[0])))
    x, y, size = view.places["input"]
    part = shown[2 * y : 2 * (y + size * 32) : 2 * size, 2 * x : 2 * (x + size * 32) : 2 * size].astype(int)
    assert np.abs(part[2:30, 2:30] - (255 - digit.astype(int))[..., None]).max() <= 2
    assert part[0].min() >= 254


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
    alt = "The network's layers: reads 7"
    assert metadata["image/png"] == {"width": view.width, "height": view.height, "alt": alt}


def test_the_javascript_needs_nothing_from_elsewhere():
    text = PAD.read_text(encoding="utf-8")
    assert "import" not in text and "http" not in text and "export default { render }" in text


# Each makes HTML, or a program, of a text: of an answer, say, that should only be shown.
MADE_OF_TEXT = (
    r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|createContextualFragment|DOMParser|srcdoc|"
    r"document\s*\.\s*write|javascript:|\beval\b|\bFunction\b"
)


def test_the_javascript_makes_no_html_and_no_program_of_a_text():
    assert re.findall(MADE_OF_TEXT, PAD.read_text(encoding="utf-8")) == []


# ------------------------------------------------------------------------------------------ the browser's part

# The parts of a page that digit_pad.js takes from its surroundings. The canvas is half as wide as it is high, so that x
# cannot pass for y.
STAND_INS = """
const check = (point) => {
  if (point.length !== 2 || !point.every(Number.isFinite)) throw new Error("no point: " + JSON.stringify(point));
  return point;
};
const refuse = () => { throw new Error("a text is made HTML"); };
export class Element {
  constructor(tag) { this.tag = tag; this.children = []; this.listeners = {}; this.attributes = {}; this.drawn = []; }
  append(...children) { this.children.push(...children); }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(name, act) { (this.listeners[name] ??= []).push(act); }
  happen(name, event = {}) {
    let prevented = false;
    const whole = { pointerId: 1, button: 0, preventDefault: () => (prevented = true), ...event };
    for (const act of this.listeners[name] ?? []) act(whole);
    return prevented;
  }
  find(tag) { return this.tag === tag ? [this] : this.children.flatMap((child) => child.find(tag)); }
  setPointerCapture() {}
  focus() {}
  getBoundingClientRect() { return { left: 10, top: 20, width: 140, height: 280 }; }
  getContext() {
    return {
      setTransform() {}, beginPath() {}, stroke() {},
      clearRect: () => (this.drawn = []),
      moveTo: (...point) => this.drawn.push([check(point)]),
      lineTo: (...point) => this.drawn.at(-1).push(check(point)),
    };
  }
  set innerHTML(text) { refuse(); }
  set outerHTML(text) { refuse(); }
  insertAdjacentHTML() { refuse(); }
}
export const document = { createElement: (tag) => new Element(tag) };
export const URL = { createObjectURL: () => "blob:", revokeObjectURL() {} };
export class Blob {}
const frames = [];
export const requestAnimationFrame = (act) => frames.push(act);
export const frame = () => frames.splice(0).forEach((act) => act());
"""
# A model that tells its listeners of a change from either side, as that of ipywidgets does; a pen; what is said.
PAGE = """
const state = { side: 280, pen: 26, strokes: [], answer: "<b>draw</b>", picture: new Uint8Array() };
const listeners = {}, sent = [];
const model = {
  get: (name) => state[name],
  set(name, value) {
    if (state[name] === value) return;
    state[name] = value;
    (listeners["change:" + name] ?? []).forEach((act) => act());
  },
  save_changes: () => sent.push(JSON.parse(JSON.stringify(state.strokes))),
  on: (name, act) => (listeners[name] ??= []).push(act),
  off: (name, act) => (listeners[name] = listeners[name].filter((other) => other !== act)),
};
const el = new Element("div");
function show(strokes = []) {
  state.strokes = strokes;
  el.children = [];
  const end = pad.render({ model, el });
  const [canvas] = el.find("canvas"), [undo, erase] = el.find("button"), [output] = el.find("output");
  const at = (x, y) => ({ clientX: 10 + x / 2, clientY: 20 + y });
  const pen = (name, x, y, more) => canvas.happen("pointer" + name, { ...at(x, y), ...more });
  return { canvas, undo, erase, output, root: el.children[0], pen, end };
}
const say = (value) => tell(JSON.stringify(value));
"""
# What is told stands between <pre> and </pre>; so does an error, which the browser itself would hide.
HTML = """<!doctype html><pre></pre><script>
const tell = (line) => document.querySelector("pre").append(line + "\\n");
addEventListener("error", (event) => tell(event.message));
</script><script type="module" src="{}"></script>"""
ENGINES = ("node", "chromium", "google-chrome")


def address(text):
    """Return an address that a module can be imported from."""
    return "data:text/javascript;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def tell(program):
    """Run a module in the first engine that is there; return the lines that it told."""
    engine = next(filter(None, map(shutil.which, ENGINES)), None)
    if engine is None:
        said = "the pad's JavaScript is not tested: neither node nor chromium nor google-chrome is on the PATH"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    settings = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
    if Path(engine).stem == "node":
        done = subprocess.run([engine, "--input-type=module"], input="const tell = console.log;" + program, **settings)
        told = done.stdout
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a process of Chromium may linger
            page = Path(folder) / "page.html"
            page.write_text(HTML.format(address(program)), encoding="utf-8")
            options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--dump-dom"]
            done = subprocess.run([engine, *options, page.as_uri()], **settings)
        told = html.unescape(done.stdout.partition("<pre>")[2].partition("</pre>")[0])
    assert told.endswith("end\n"), told + done.stderr
    return told.splitlines()[:-1]


def browse(program, drawings=()):
    """Run a program on PAGE, with a pad of digit_pad.js and `drawings`; return the values that it said."""
    pad = address(
        f'import {{ document, URL, Blob, requestAnimationFrame }} from "{address(STAND_INS)}";'
        + PAD.read_text(encoding="utf-8")
    )
    imports = f'import {{ Element, frame }} from "{address(STAND_INS)}"; import pad from "{pad}";'
    given = f"const drawings = {json.dumps(list(drawings))};"
    return [json.loads(line, parse_int=float) for line in tell(f'{imports}{given}{PAGE}{program}\ntell("end");')]


def test_every_drawing_that_python_lets_through_is_drawn_in_the_browser():
    odd = [[], [[]], [np.empty((0, 2))], [[[1, 2]]], BLACK, SCRIBBLE, [[[-900, 1e300], [0.5, 2**63]]]]
    drawings = [check_strokes(strokes) for strokes in (*TAKEN.values(), *odd)]
    shown = browse(
        """
        for (const strokes of drawings) {
          const first = show(strokes).canvas.drawn, { canvas } = show();
          model.set("strokes", strokes);
          say([first, canvas.drawn]);
        }
        """,
        drawings,
    )
    for strokes, both in zip(drawings, shown, strict=True):
        # Each stroke begins with its first point, twice: a dot is a line of no length.
        assert both == [[[stroke[0], *stroke] for stroke in strokes]] * 2


def test_the_pen_draws_where_it_is_and_goes_on_from_frame_to_frame():
    sent, drawn = browse(
        """
        const { canvas, pen } = show();
        pen("down", 100, 20); frame();
        pen("move", 110, 30); pen("move", 120, 40); frame();
        pen("move", 121, 40); frame();
        pen("move", 130, 50, { getCoalescedEvents: () => [{ clientX: 10 + 125 / 2, clientY: 20 + 45 }] }); frame();
        pen("up", 130, 50); pen("move", 200, 200);
        pen("down", 900, -5); pen("move", -900, 400, { pointerId: 2 }); pen("down", 0, 0, { pointerId: 2 });
        pen("move", -900, 400); frame(); pen("up", 0, 280);
        say(sent); say(canvas.drawn);
        """
    )
    line = [[100, 20], [110, 30], [120, 40], [125, 45], [130, 50]]
    expected = [[line[:1]], [line[:3]], [line[:3]], [line], [line, [[280, 0], [0, 280]]]]
    assert sent == expected
    assert drawn == [[stroke[0], *stroke] for stroke in sent[-1]]


@pytest.mark.parametrize("button", ["button: 1", "button: 2"])
def test_another_button_draws_nothing(button):
    assert browse(
        f'const {{ pen }} = show(); pen("down", 1, 2, {{ {button} }}); pen("move", 9, 9); frame(); say(sent);'
    ) == [[]]


def test_undo_takes_the_last_stroke_and_erase_takes_all():
    sent = browse(
        """
        const strokes = [[[1, 2]], [[3, 4], [9, 9]], [[5, 6]], [[7, 8]]];
        const { undo, erase, root } = show(strokes);
        undo.happen("click"); frame();
        say(root.happen("keydown", { ctrlKey: true, key: "z" })); frame();
        say(root.happen("keydown", { metaKey: true, key: "Z" })); frame();
        say(root.happen("keydown", { key: "z" })); frame();
        erase.happen("click"); frame();
        undo.happen("click"); frame();
        say(strokes.length); say(sent);
        for (const key of ["Delete", "Backspace"]) {
          sent.length = 0;
          show(strokes).root.happen("keydown", { key }); frame(); say(sent);
        }
        """
    )
    one, two, three = [[[1, 2]]], [[[1, 2]], [[3, 4], [9, 9]]], [[[1, 2]], [[3, 4], [9, 9]], [[5, 6]]]
    assert sent == [True, True, False, 4, [three, two, one, [], []], [[]], [[]]]


@pytest.mark.parametrize("act", ['model.set("strokes", [])', 'undo.happen("click")', 'erase.happen("click")'])
def test_a_drawing_taken_away_while_the_pen_is_down_ends_the_stroke(act):
    after, then = browse(
        f"""
        const {{ pen, undo, erase, canvas }} = show();
        pen("down", 10, 20); frame(); pen("move", 30, 40); frame();
        {act};
        for (let x = 40; x < 90; x += 10) {{ pen("move", x, x); frame(); }}
        say(canvas.drawn);
        pen("up", 90, 90); pen("down", 100, 100); pen("move", 120, 120); frame(); pen("up", 120, 120);
        say(sent.at(-1));
        """
    )
    assert after == [] and then == [[[100, 100], [120, 120]]]


def test_answers_are_text_and_a_view_that_goes_listens_no_more():
    assert browse(
        """
        const { output, canvas, end } = show();
        say(output.textContent);
        model.set("answer", "reads 7");
        say([output.textContent, canvas.attributes["aria-label"].includes("reads 7"), el.find("img")[0].alt]);
        end();
        say(Object.values(listeners).flat().length);
        """
    ) == ["<b>draw</b>", ["reads 7", True, "The network's layers: reads 7"], 0]


@pytest.mark.parametrize(
    ("right", "wrong", "noticed", "test"),
    [
        ("undo() {", "undo() {{", "SyntaxError", test_undo_takes_the_last_stroke_and_erase_takes_all),
        ("const KEYS", "lost(); const KEYS", "lost", test_undo_takes_the_last_stroke_and_erase_takes_all),
        ("(0, -1);\n    send", "(1);\n    send", "assert", test_undo_takes_the_last_stroke_and_erase_takes_all),
        ("X - box.left", "Y - box.left", "assert", test_the_pen_draws_where_it_is_and_goes_on_from_frame_to_frame),
        ("textContent = m", "innerHTML = m", "HTML", test_answers_are_text_and_a_view_that_goes_listens_no_more),
        ("textContent = m", "innerHTML = m", "HTML", test_the_javascript_makes_no_html_and_no_program_of_a_text),
    ],
    ids=["syntax", "stops", "undo", "x and y", "HTML", "HTML in the text"],
)
def test_a_mistake_in_the_javascript_is_noticed(right, wrong, noticed, test, tmp_path, monkeypatch):
    text = PAD.read_text(encoding="utf-8")
    assert text.count(right) == 1
    monkeypatch.setattr("test_digit_pad.PAD", tmp_path / "wrong.js")
    (tmp_path / "wrong.js").write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(AssertionError, match=noticed):
        test()


def only(monkeypatch, *names):
    """Let the tests find only the engines named here, of those that are there."""
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: which(name) if name in names else None)


def test_a_browser_says_the_same_as_node(monkeypatch):
    browsers = [name for name in ENGINES if name != "node" and shutil.which(name)]
    if not (shutil.which("node") and browsers):
        pytest.skip("needs node, and chromium or google-chrome")
    for name in ("node", browsers[0]):
        with monkeypatch.context() as patch:
            only(patch, name)
            said = browse('show(drawings[0]).undo.happen("click"); frame(); say(sent); say("<ü&")', [TWO + SEVEN])
            assert said == [[TWO], "<ü&"]
            with pytest.raises(AssertionError, match="a mistake"):
                browse('say(1); throw new Error("a mistake")')


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_without_node_and_a_browser_ci_fails_and_a_reader_reads_why(ci, outcome, monkeypatch):
    only(monkeypatch)
    monkeypatch.setenv("CI", ci) if ci else monkeypatch.delenv("CI", raising=False)
    with pytest.raises(outcome, match="neither node nor chromium nor google-chrome is on the PATH"):
        browse("say(1)")
