"""The drawing pad: preparation as in MNIST, the view of all layers, the widget; odd drawings get an answer too."""

import base64
import copy
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
    LAYERS,
    LEAST,
    LIMITS,
    MODULES,
    MOST_POINTS,
    NOTHING,
    PAD,
    PEN,
    SIDE,
    DigitPad,
    _ink,
    _ramp,
    check_strokes,
    javascript,
    layer_activations,
    layers_picture,
    network_input,
    network_kind,
    prepare,
    read,
)
from lenet import C3_TABLE, LeNet5, RBFOutput, modern_lenet, tutorial_lenet
from lenet_pictures import BOX, CENTRE
from lenet_utils import load_mnist, load_weights, save_weights
from tools.notebook_rules import ROOT

SEVEN = [[[70, 60], [205, 60], [170, 120], [135, 235]]]
TWO = [[[75, 95], [95, 60], [140, 45], [185, 65], [190, 110], [150, 165], [80, 230], [205, 228]]]
BLACK = [[[x, 0], [x, SIDE]] for x in range(0, SIDE + 1, PEN // 2)]
SCRIBBLE = np.random.default_rng(0).integers(0, SIDE + 1, (20, 300, 2)).tolist()


NETWORKS = {
    "1998": (LeNet5, "original_1998/60000_seed0"),
    "modern": (modern_lenet, "modern_lenet/60_epochs_seed0"),
    "tutorial": (tutorial_lenet, "tutorial_lenet/seed0"),
}
FILES = {name: ROOT / "weights" / f"{place}.safetensors" for name, (_, place) in NETWORKS.items()}


@pytest.fixture(scope="module")
def nets():
    return {name: load_weights(make(), FILES[name]).eval() for name, (make, _) in NETWORKS.items()}


@pytest.fixture(scope="module")
def net(nets):
    return nets["1998"]


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
    # A vertical line: 20 pixels high with its round ends, and as wide as the pen.
    digit = prepare([[[140, 40], [140, 240]]])
    middle = digit[CENTRE].astype(float) / 255
    assert middle.sum() == pytest.approx(PEN / 10, abs=0.15)
    assert ((0 < middle) & (middle < 1)).sum() <= 2
    columns = np.flatnonzero(digit.max(axis=0))
    ends = digit[CENTRE - 10 : CENTRE + 10].astype(float)[[0, -1]].sum() / 255
    assert len(columns) == 4 and digit.sum() / 255 == pytest.approx(
        (174 * PEN + np.pi * (PEN / 2) ** 2) / 100, rel=0.01
    )
    assert 0 < ends < 2 * PEN / 10


@pytest.mark.parametrize("size", [0.25, 0.5, 1, 2])
@pytest.mark.parametrize("by", [(0, 0), (40, 7), (-90, 60)])
def test_place_and_size_of_the_drawing_do_not_matter(size, by):
    # By powers of two and whole units, so that all sums stay exact.
    moved = [[[size * x + by[0] - 60, size * y + by[1] - 60] for x, y in stroke] for stroke in SEVEN]
    assert np.array_equal(prepare(moved), prepare(SEVEN))


def test_a_unit_is_inked_if_its_middle_is_within_half_the_pen_of_a_line():
    """Held against the distance of every unit from every one of 2,000 places along the strokes."""
    random = np.random.default_rng(1)
    strokes = [random.uniform(-20, 120, (4, 2)), random.uniform(0, 100, (1, 2)), np.array([[50.0, 50], [50, 50]])]
    middles = np.stack(np.meshgrid(np.arange(100) + 0.5, np.arange(100) + 0.5), axis=-1)
    nearest = np.full((100, 100), np.inf)
    for stroke in strokes:
        for a, b in zip(stroke[:-1], stroke[1:], strict=True) if len(stroke) > 1 else [(stroke[0], stroke[0])]:
            for share in np.linspace(0, 1, 2000):
                nearest = np.minimum(nearest, np.linalg.norm(middles - (a + share * (b - a)), axis=-1))
    ink = _ink(strokes, 100)
    clear = np.abs(nearest - PEN / 2) > 0.01
    assert np.array_equal(ink[clear], (nearest <= PEN / 2)[clear]) and clear.mean() > 0.99


@pytest.mark.parametrize(
    "strokes", [[], [[]], [[[140, 140]]], [[[140, 140], [150, 145]], [[142, 138]]], [[[0, 9], [LEAST, 9]]]]
)
def test_an_empty_pad_and_a_dot_are_no_drawing(strokes, net):
    assert prepare(strokes) is None
    assert DigitPad(net, strokes).answer == NOTHING == "draw a digit"


@pytest.mark.parametrize(
    "strokes", [BLACK, SCRIBBLE, [[[0, 0], [SIDE, 0]]], [[[SIDE, SIDE], [SIDE, 100]]], SEVEN * 400]
)
def test_odd_drawings_get_an_answer(strokes, nets):
    pad = DigitPad(nets, strokes)
    assert pad.digit.shape == (28, 28)
    assert re.fullmatch("; ".join(rf"{name} (reads \d|sees no digit)" for name in nets), pad.answer)


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
def test_strokes_of_every_kind_are_stored_as_plain_lists(kind, net):
    pad = DigitPad(net, TAKEN[kind])
    assert pad.strokes == SEVEN and pad.answer == "LeNet5 reads 7"
    assert json.loads(json.dumps(pad.get_state("drawing")["drawing"])) == SEVEN
    assert type(pad.strokes[0][0][0]) in (int, float)


@pytest.mark.parametrize(
    "strokes", [[], (), [[]], [[], ()], np.empty(0), np.empty((0, 3, 2)), np.empty((2, 0, 2)), [np.empty((0, 2))]]
)
def test_no_strokes_of_any_kind_are_stored_as_none(strokes, net):
    pad = DigitPad(net, SEVEN)
    pad.strokes = strokes
    assert pad.strokes == [] and pad.digit is None and pad.answer == NOTHING


@pytest.mark.parametrize(("x", "y"), [(-900, 900), (1e300, -1e300), (2**63, 0), (-(2**31), SIDE), (-100, 400)])
def test_what_lies_beside_the_pad_counts_as_far_as_the_pad_is_wide(x, y, net):
    pad = DigitPad(net, [[*POINTS, [x, y]]])
    edge = [min(max(x, -SIDE), 2 * SIDE), min(max(y, -SIDE), 2 * SIDE)]
    assert np.array_equal(pad.digit, prepare([[*POINTS, edge]]))
    assert not np.array_equal(pad.digit, prepare([POINTS]))
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


def state(pad):
    return pad.drawing, pad.digit is None or pad.digit.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_drawing_is_refused_in_one_sentence_and_all_stays_as_it_was(kind, net):
    with pytest.raises(ValueError, match="^strokes must be lists of points .*[.]$") as raised:
        check_strokes(REFUSED[kind])
    said = str(raised.value)
    assert "\n" not in said and len(said) < 200
    with pytest.raises(ValueError, match=re.escape(said)):
        prepare(REFUSED[kind])
    pad = DigitPad(net, TWO)
    before = state(pad)
    with pytest.raises(TraitError, match=re.escape(said)):
        pad.strokes = REFUSED[kind]
    assert state(pad) == before
    with pytest.raises(TraitError, match=re.escape(said)):
        pad.set_state({"drawing": REFUSED[kind]})  # as a message from the browser does
    assert state(pad) == before
    pad.set_state({"drawing": SEVEN})
    assert state(pad) == state(DigitPad(net, SEVEN))


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


def test_what_a_reader_adds_in_place_changes_nothing_by_itself(net):
    mine = [list(stroke) for stroke in TWO]
    pad = DigitPad(net, mine)
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


# ------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_activations_end_in_what_the_network_returns(name, nets):
    net, size = nets[name], 28 if name == "tutorial" else 32
    images = load_mnist(train=False, size=size, scaling="standard" if name == "tutorial" else "paper")[0][:5]
    activations = layer_activations(net, images)
    assert list(activations) == ["input", *LAYERS]
    sizes = [6, 28, 28], [6, 14, 14], [16, 10, 10], [16, 5, 5], [120], [84], [10]
    for layer, expected in zip(LAYERS, sizes, strict=True):
        assert list(activations[layer].shape[1:])[: len(expected)] == expected
        assert activations[layer][0].numel() == np.prod(expected)
    with torch.no_grad():
        assert torch.equal(activations["output"], net(images))
    assert torch.equal(activations["input"], images)


def spoilt(make, change):
    net = make()
    with torch.no_grad():
        change(net)
    return net


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (spoilt(LeNet5, lambda net: net.f6.bias.fill_(float("nan"))), "no finite numbers"),
        (spoilt(tutorial_lenet, lambda net: net[3].weight.fill_(float("inf"))), "no finite numbers"),
        (spoilt(modern_lenet, lambda net: net.s2[1].running_var.fill_(-1)), "no finite numbers"),
        (spoilt(modern_lenet, lambda net: setattr(net, "c5", torch.nn.Identity())), "cannot be shown as modern_lenet"),
        (spoilt(LeNet5, lambda net: net.to("meta")), "cannot be shown as LeNet5"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_run_is_refused_in_one_sentence(net, said):
    with pytest.raises(ValueError, match=said) as refused:
        DigitPad({"mine": net})
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 250


def test_a_network_that_keeps_its_activations_is_shown(net):
    mine = copy.deepcopy(net)
    mine.kept = mine(torch.zeros(1, 1, 32, 32))  # which deepcopy refuses
    assert DigitPad(mine, SEVEN).answer == "LeNet5 reads 7"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("strokes", "expected"), [(SEVEN, 7), (TWO, 2)])
def test_the_networks_read_the_drawing(name, strokes, expected, nets):
    best, sure, taken, activations = read(nets[name], prepare(strokes))
    assert best == expected
    output = activations["output"][0]
    if name == "1998":
        assert output.argmin() == best and sure == output.min() and taken == (sure <= LIMITS["LeNet5()"])
    else:
        kind = "modern_lenet()" if name == "modern" else "tutorial_lenet()"
        assert output.argmax() == best and sure == pytest.approx(output.softmax(0).max().item())
        assert taken == (sure >= LIMITS[kind])


def test_reading_leaves_a_network_as_it_was(nets):
    net = copy.deepcopy(nets["modern"]).train()
    net.c1.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert read(net, prepare(SEVEN))[0] == 7
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training and net.s2.training and not net.c1.training


def test_noise_is_seen_as_no_digit_by_the_network_of_1998(net):
    noise = np.random.default_rng(0).integers(0, 200, (28, 28)).astype(np.uint8)
    assert read(net, noise)[2] is False
    pad = DigitPad({"mine": net})
    pad.digit = noise
    assert pad.answer == "mine sees no digit"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (torch.nn.Linear(2, 2), "not a Linear"), (LeNet5, "not a type"), (7, "not 7"), (None, "not None"),
        ({}, r"not a dict with the names \[\]"), (type("Mine", (LeNet5,), {})(), "not a Mine"),
        (torch.nn.Sequential(), "not a Sequential"), ([LeNet5()], "not a list"),
        ({1: LeNet5()}, r"not a dict with the names \[1\]"),
        ({"mine": 3}, "not 3"), ({"mine": LeNet5(), "other": torch.nn.Linear(2, 2)}, "not a Linear"),
    ],
)  # fmt: skip
def test_the_pad_refuses_all_but_its_networks(made, said):
    with pytest.raises(ValueError, match=rf"^(The pad shows|networks must be).*{said}\.$"):
        DigitPad(made)
    if not isinstance(made, (dict, list)):
        with pytest.raises(ValueError, match=rf"^The pad shows LeNet5\(\), modern_lenet\(\) and .*{said}\.$"):
            network_kind(made)


def test_what_is_said_of_strokes_word_by_word():
    for strokes, said in (
        (5, "strokes must be lists of points [x, y], not 5."),
        ([[[1, 2]], [[1, 2, 3]]], "strokes must be lists of points [x, y]: stroke 2 is something else (a list)."),
        ([[[1, 2]], 7], "strokes must be lists of points [x, y]: stroke 2 is something else (7)."),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            check_strokes(strokes)


def test_shades_run_evenly_from_colour_to_colour():
    assert np.array_equal(_ramp(["#FFFFFF", "#000000"]), np.arange(255, -1, -1)[:, None].repeat(3, axis=1))
    ramp = _ramp(["#0A0B0C", "#FFFFFF", "#D55E00"])
    assert ramp.dtype == np.uint8 and ramp.shape == (256, 3)
    ends = ramp[[0, 127, 128, 255]].tolist()
    assert ends == [[10, 11, 12], [254, 254, 254], [255, 254, 254], [213, 94, 0]]


# ------------------------------------------------------------------------------------------------ the still picture


def test_the_still_picture_shows_every_map_of_every_layer(net):
    activations = layer_activations(net, network_input(prepare(TWO)))
    shown = np.asarray(Image.open(io.BytesIO(layers_picture(activations, "reads 2")))).astype(int)
    y = 30
    sizes = {"input": 2, "c1": 2, "s2": 2, "c3": 3, "s4": 4, "c5": 4, "f6": 4}
    for layer, size in sizes.items():
        maps = activations[layer][0].numpy()
        shape = {"f6": (1, 12, 7), "c5": (1, 1, 120)}.get(layer, maps.shape)
        maps = maps.reshape(shape)
        for i, cells in enumerate(maps):
            x = 60 + i * (size * cells.shape[1] + 5)
            part = shown[y : y + size * cells.shape[0] : size, x : x + size * cells.shape[1] : size]
            if layer == "input":
                grey = 255 * (1 - (cells - cells.min()) / np.ptp(cells))
                assert np.abs(part - grey[..., None]).max() < 1.01
                continue
            clear = np.abs(cells) > 0.02 * np.abs(maps).max()
            assert np.array_equal((part[..., 0] > part[..., 2])[clear], (cells > 0)[clear]), (
                layer,
                i,
            )  # orange, or blue
        y += max(size * maps.shape[1] + 7, 20)
    assert y <= 350 < y + 20


def test_the_still_picture_of_an_empty_pad_says_so():
    empty = np.asarray(Image.open(io.BytesIO(layers_picture(None, NOTHING))))
    assert empty[24:].min() == 255 and empty[:24].min() < 255
    with_other_words = np.asarray(Image.open(io.BytesIO(layers_picture(None, "reads 7"))))
    assert not np.array_equal(empty, with_other_words)


# -------------------------------------------------------------------------------------------- the widget


def test_the_pad_answers_every_change_and_has_a_stable_name(net):
    pad = DigitPad({"1998": net}, SEVEN)
    assert repr(pad) == "DigitPad: 1998 reads 7"
    pad.strokes = TWO
    assert repr(pad) == "DigitPad: 1998 reads 2"
    pad.strokes = []
    assert repr(pad) == "DigitPad: draw a digit" and pad.digit is None and pad.activations == {"1998": None}


def test_a_digit_of_a_picture_takes_the_place_of_the_strokes_and_gives_way_to_them(nets):
    pad = DigitPad(nets, SEVEN)
    digit = prepare(TWO)
    seen = []
    pad.observe(lambda change: seen.append(pad.answer), "drawing")
    for given in (digit, torch.tensor(digit), np.asfortranarray(digit)):
        pad.digit = given
        assert pad.strokes == [] and np.array_equal(pad.digit, digit)
    pad.digit[:] = 0
    assert np.array_equal(pad.digit, digit), "a change of what was handed out is a change of the pad"
    pad.strokes = SEVEN
    assert np.array_equal(pad.digit, prepare(SEVEN))
    pad.set_state({"drawing": memoryview(digit.tobytes())})  # as a message from the browser does
    assert np.array_equal(pad.digit, digit) and pad.strokes == []
    pad.digit = None
    assert pad.digit is None and pad.answer == NOTHING
    twice = "1998 reads 2; modern reads 2; tutorial reads 2"
    assert [re.sub("sees no digit", "reads 2", said) for said in seen] == [
        twice,
        twice.replace("2", "7"),
        twice,
        NOTHING,
    ]
    before = state(pad)
    for bad in (np.zeros((28, 27), np.uint8), np.zeros((28, 28)), "7", 255 - digit):
        with pytest.raises(TraitError):
            pad.digit = bad
        assert state(pad) == before
    for bad, said in ((b"abc", "strokes must be lists of points"), ((255 - digit).tobytes(), "dark on light")):
        with pytest.raises(TraitError, match=said):
            pad.set_state({"drawing": memoryview(bad)})
        assert state(pad) == before


def test_activations_and_answers_are_those_of_pytorch(nets):
    pad = DigitPad(nets, TWO)
    for name, net in nets.items():
        assert torch.equal(pad.activations[name]["output"], read(net, prepare(TWO))[3]["output"])


def test_the_pad_runs_copies_of_the_networks(net):
    mine = copy.deepcopy(net).train()
    drawn = torch.get_rng_state()
    pad = DigitPad(mine, SEVEN)
    assert torch.equal(torch.get_rng_state(), drawn), "the pad draws random numbers"
    with torch.no_grad():
        mine.f6.weight.zero_()
    assert pad.answer == "LeNet5 reads 7" and mine.training


def test_the_browser_gets_the_networks_as_save_weights_stores_them(nets, tmp_path):
    pad = DigitPad({"mine": nets["modern"].double()})
    nets["modern"].float()
    save_weights(nets["modern"], tmp_path / "mine.safetensors")
    assert pad.get_state("_files")["_files"] == [
        {"name": "mine", "weights": (tmp_path / "mine.safetensors").read_bytes()}
    ]
    assert pad.get_state("limits")["limits"] == LIMITS


def test_where_no_kernel_runs_the_picture_stands_in(net):
    data, metadata = DigitPad(net, SEVEN)._repr_mimebundle_()
    assert data["text/plain"] == "DigitPad: LeNet5 reads 7"
    picture = base64.b64decode(data["image/png"])
    assert picture == layers_picture(read(net, prepare(SEVEN))[3], "LeNet5 reads 7")
    assert "application/vnd.jupyter.widget-view+json" in data
    alt = "The network's layers: LeNet5 reads 7"
    assert metadata["image/png"] == {"width": 660, "height": 350, "alt": alt}
    empty, _ = DigitPad(net)._repr_mimebundle_()
    assert base64.b64decode(empty["image/png"]) == layers_picture(None, NOTHING)


def test_the_javascript_needs_nothing_from_elsewhere():
    text = javascript()
    assert "import" not in text and "http" not in text and text.count("export") == 1
    assert "export default { render }" in text
    # What joining them relies on: each module imports from those before it.
    for number, name in enumerate(MODULES):
        source = (PAD / name).read_text(encoding="utf-8")
        imports = re.findall(r"^import .*", source, re.MULTILINE)
        assert imports == re.findall(r'^import \{ [\w, ]+ \} from "\./\w+\.js";$', source, re.MULTILINE)
        assert set(re.findall(r'from "\./(\w+\.js)"', source)) <= set(MODULES[:number])


# Each makes HTML, or a program, of a text: of an answer, say, that should only be shown.
MADE_OF_TEXT = (
    r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|createContextualFragment|DOMParser|srcdoc|"
    r"document\s*\.\s*write|javascript:|\beval\b|\bFunction\b"
)


def test_the_javascript_makes_no_html_and_no_program_of_a_text():
    assert re.findall(MADE_OF_TEXT, javascript()) == []


# ------------------------------------------------------------------------------------------ the browser's part

# The parts of a page that the pad takes from its surroundings. Its surface is half as wide as it is high on the page,
# so that x cannot pass for y. Of a drawing context only lines, texts and pictures are kept.
STAND_INS = """
const check = (point) => {
  if (point.length !== 2 || !point.every(Number.isFinite)) throw new Error("no point: " + JSON.stringify(point));
  return point;
};
const refuse = () => { throw new Error("a text is made HTML"); };
export class ImageData {
  constructor(width, height) {
    Object.assign(this, { width, height, data: new Uint8ClampedArray(4 * width * height) });
  }
}
export class Path2D { rect() {} moveTo() {} lineTo() {} }
class Context {
  constructor(element) { this.element = element; }
  setTransform() {} beginPath() {} stroke() {} fill() {} fillRect() {} strokeRect() {} arc() {}
  clearRect() { this.element.drawn = []; }
  moveTo(...point) { this.element.drawn.push([check(point)]); }
  lineTo(...point) { this.element.drawn.at(-1).push(check(point)); }
  fillText(text, x, y) { this.element.written.push([text, x, y]); }
  createImageData(width, height) { return new ImageData(width, height); }
  getImageData() { return picture; }
  putImageData(image) { this.element.image = image; }
  drawImage(picture, ...place) {
    if (picture.written && place[0] === 0 && place[2] === 660) this.element.written = []; // the ground
    this.element.pictures.push([picture.image, ...place]);
  }
}
export class Element {
  constructor(tag) {
    Object.assign(this, { tag, children: [], listeners: {}, attributes: {}, drawn: [], written: [], pictures: [] });
  }
  append(...children) {
    for (const child of children) if (child instanceof Element) child.parentNode = this;
    this.children.push(...children);
  }
  replaceChildren(...children) { this.children = []; this.append(...children); }
  remove() {
    this.parentNode.children = this.parentNode.children.filter((child) => child !== this);
    this.parentNode = null;
  }
  set textContent(text) { this.children = [String(text)]; }
  get textContent() { return this.children.map((child) => child.textContent ?? child).join(""); }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(name, act) { (this.listeners[name] ??= []).push(act); }
  removeEventListener(name, act) { this.listeners[name] = this.listeners[name].filter((other) => other !== act); }
  happen(name, event = {}) {
    let [prevented, stopped] = [false, false];
    const whole = {
      pointerId: 1, button: 0, ...event,
      preventDefault: () => (prevented = true), stopPropagation: () => (stopped = true),
    };
    for (const act of this.listeners[name] ?? []) act(whole);
    if (name === "keydown" && !stopped && this.parentNode) prevented = this.parentNode.happen(name, event) || prevented;
    return prevented;
  }
  find(tag) {
    const inside = this.children.flatMap((child) => child.find?.(tag) ?? []);
    return this.tag === tag || this.className === tag ? [this, ...inside] : inside;
  }
  setPointerCapture() {}
  focus() {}
  click() { this.happen("click"); }
  getBoundingClientRect() {
    return this.className === "digit-pad-surface" ? { left: 10, top: 20, width: 140, height: 280 }
      : { left: 0, top: 0, width: 660, height: 516 };
  }
  getContext() { return (this.context ??= new Context(this)); }
  set innerHTML(text) { refuse(); }
  set outerHTML(text) { refuse(); }
  insertAdjacentHTML() { refuse(); }
}
export const document = { createElement: (tag) => new Element(tag), documentElement: { lang: "en" } };
export const getComputedStyle = () => ({ color: "rgb(20, 20, 20)" });
const frames = [];
export const requestAnimationFrame = (act) => frames.push(act);
export const frame = () => frames.splice(0).forEach((act) => act());
let picture = null;
export const thePictureIs = (next) => (picture = next);
export const createImageBitmap = async ({ wait }) => {
  const mine = picture;
  await wait;
  if (!mine) throw new Error("no picture");
  return { ...mine, close() {} };
};
"""
# A model that tells its listeners of a change from either side, as that of ipywidgets does; a pen; what is said.
PAGE = """
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const state = {
  drawing: [], language: "en", limits: LIMITS,
  _files: Object.entries(FILES).map(([name, text]) => ({ name, weights: new DataView(bytesOf(text).buffer) })),
};
const listeners = {}, sent = [];
const model = {
  get: (name) => state[name],
  set(name, value) {
    if (state[name] === value) return;
    state[name] = value;
    (listeners["change:" + name] ?? []).forEach((act) => act());
  },
  save_changes: () => {
    const { drawing } = state;
    sent.push(JSON.parse(JSON.stringify(Array.isArray(drawing) ? drawing : [...new Uint8Array(drawing.buffer)])));
  },
  on: (name, act) => (listeners[name] ??= []).push(act),
  off: (name, act) => (listeners[name] = listeners[name].filter((other) => other !== act)),
};
const el = new Element("div");
function show(drawing = []) {
  state.drawing = drawing;
  el.children = [];
  const end = pad.render({ model, el });
  frame();
  const [canvas] = el.find("digit-pad-surface"), [undo, erase] = el.find("button"), answers = el.find("output");
  const views = el.find("digit-pad-views")[0].find("canvas"), sums = el.find("digit-pad-sum");
  const [complaint] = el.find("digit-pad-problem"), [said] = el.find("digit-pad-said");
  const at = (x, y) => ({ clientX: 10 + x / 2, clientY: 20 + y });
  const pen = (name, x, y, more) => canvas.happen("pointer" + name, { ...at(x, y), ...more });
  const key = (name, more) => canvas.happen("keydown", { key: name, ...more });
  return { canvas, undo, erase, answers, views, sums, complaint, said, root: el.children[0], pen, key, end };
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


def tell(program, modules=()):
    """Run a module in the first engine that is there; return the lines that it told.

    modules: pairs (name, text) that it, and later ones, import from "@name".
    """
    engine = next(filter(None, map(shutil.which, ENGINES)), None)
    if engine is None:
        said = "the pad's JavaScript is not tested: neither node nor chromium nor google-chrome is on the PATH"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    settings = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a process of Chromium may linger
        page = Path(folder) / "page.html"
        if Path(engine).stem == "node":
            for name, text in (*modules, ("main", "const tell = console.log;" + program)):
                text = re.sub(r'"@(\w+)"', r'"./\1.mjs"', text)
                (Path(folder) / f"{name}.mjs").write_text(text, encoding="utf-8")
            done = subprocess.run([engine, Path(folder) / "main.mjs"], **settings)
            told = done.stdout
        else:
            places = {}
            for name, text in (*modules, ("main", program)):
                places[name] = address(re.sub(r'"@(\w+)"', lambda found: json.dumps(places[found[1]]), text))
            page.write_text(HTML.format(places["main"]), encoding="utf-8")
            options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--dump-dom"]
            done = subprocess.run([engine, *options, page.as_uri()], **settings)
            told = html.unescape(done.stdout.partition("<pre>")[2].partition("</pre>")[0])
    assert told.endswith("end\n"), told[-500:] + done.stderr[-2000:]
    return told.splitlines()[:-1]


def browse(program, drawings=(), names=("1998",)):
    """Run a program on PAGE, with a pad of `names` of FILES and `drawings`; return the values that it said."""
    stands = "document, ImageData, Path2D, getComputedStyle, requestAnimationFrame, createImageBitmap"
    text = javascript() + "export { prepare, readNetwork, run, explain, kernelsOf, takes, centred, KINDS };"
    modules = [("stands", STAND_INS), ("pad", f'import {{ {stands} }} from "@stands";{text}')]
    imports = 'import { Element, document, frame, thePictureIs } from "@stands"; import pad, * as parts from "@pad";'
    files = {name: base64.b64encode(FILES[name].read_bytes()).decode() for name in names}
    given = "".join(
        f"const {name} = {json.dumps(value)};"
        for name, value in (("drawings", list(drawings)), ("FILES", files), ("LIMITS", LIMITS))
    )
    return [
        json.loads(line, parse_int=float) for line in tell(f'{imports}{given}{PAGE}{program}\ntell("end");', modules)
    ]


def random_drawings():
    random = np.random.default_rng(5)
    for number in range(60):
        low, high = (0, SIDE) if number % 2 else (-2 * SIDE, 3 * SIDE)
        yield [random.uniform(low, high, (random.integers(1, 20), 2)).tolist() for _ in range(random.integers(1, 5))]
    for number in range(20):  # whole numbers, and symmetrical ones, whose centre of mass lies between two pixels
        width = 20 + 10 * number
        yield [[[140 - width, 40], [140 + width, 40]], [[140, 40], [140, 200 + number]]]


@pytest.fixture(scope="module")
def both():
    """Drawings, and what the browser makes of them: the digit, or null, and each network's states and verdict."""
    drawings = [[], [[]], [[[140, 140]]], SEVEN, TWO, BLACK, SCRIBBLE, *random_drawings()]
    drawings = [check_strokes(strokes) for strokes in drawings]
    found = browse(
        """
        const nets = Object.values(FILES).map((text) => parts.readNetwork(bytesOf(text)));
        for (const strokes of drawings) {
          const digit = parts.prepare(strokes);
          const results = digit && nets.map((net) => [net, parts.run(net, digit)]);
          say(digit && [Array.from(digit), results.map(([net, result]) => [
            Object.fromEntries(Object.entries(result.states).map(([name, { values }]) => [name, Array.from(values)])),
            result.best, result.sure, parts.takes(net, result, LIMITS[net.name]),
          ])]);
        }
        """,
        drawings, NETWORKS,
    )  # fmt: skip
    return drawings, found


def test_the_browser_prepares_every_drawing_as_python_does(both):
    for strokes, found in zip(*both, strict=True):
        digit = prepare(strokes)
        assert (digit is None) == (found is None)
        assert digit is None or digit.flatten().tolist() == found[0]
    assert 3 <= sum(found is None for found in both[1]) < 10


def test_the_browsers_networks_are_those_of_pytorch(both, nets):
    """Every layer within 1e-4 of PyTorch's, relative for the distances, which run into hundreds."""
    for strokes, found in zip(*both, strict=True):
        if found is None:
            continue
        for net, (states, best, sure, taken) in zip(nets.values(), found[1], strict=True):
            expected, how_sure, takes, activations = read(net, prepare(strokes))
            assert list(states) == list(activations)
            for layer, values in states.items():
                theirs = activations[layer].flatten().double().numpy()
                assert np.allclose(values, theirs, rtol=1e-4 if layer == "output" else 0, atol=1e-4), layer
            assert best == expected and sure == pytest.approx(how_sure, rel=1e-4, abs=1e-4)
            kind = network_kind(net)
            assert taken == takes or abs(sure - LIMITS[kind]) < 1e-3


def test_tables_and_bitmaps_of_the_browser_are_those_of_lenet(net):
    tables, bitmaps = browse(
        """
        say(Object.values(parts.KINDS).map(({ table }) => table));
        say(Array.from(parts.readNetwork(bytesOf(FILES["1998"])).output.weight));
        """
    )
    ours = ["".join(str(int(bit)) for bit in row) for row in C3_TABLE.tolist()]
    assert tables == [ours, ours, 16 * ["111111"]]
    assert bitmaps == RBFOutput().bitmaps.flatten().tolist()


def test_a_sum_written_out_is_the_sum(nets):
    """Parts add up to what is squashed, and the windows are the receptive fields, for units of every layer."""
    units = [
        *[("c1", m, r, c) for m, r, c in ((0, 0, 0), (3, 13, 5), (5, 27, 27))], ("s2", 4, 13, 0), ("s2", 0, 7, 7),
        ("c3", 0, 0, 9), ("c3", 15, 4, 4), ("c3", 9, 9, 0), ("s4", 15, 4, 4), ("c5", 0, 0, 0), ("c5", 119, 0, 0),
        ("f6", 83, 0, 0), ("output", 7, 0, 0),
    ]  # fmt: skip
    found = browse(
        """
        for (const text of Object.values(FILES)) {
          const net = parts.readNetwork(bytesOf(text));
          const result = parts.run(net, parts.prepare(drawings[0]));
          say(drawings[1].map(([layer, map, row, column]) => {
            const { windows, parts: addends, sum, state } = parts.explain(net, result, { layer, map, row, column });
            return [windows, addends, sum, state];
          }));
        }
        """,
        [TWO, units], NETWORKS,
    )  # fmt: skip
    for name, explained in zip(NETWORKS, found, strict=True):
        activations = read(nets[name], prepare(TWO))[3]
        for (layer, number, row, column), (windows, addends, total, value) in zip(units, explained, strict=True):
            assert sum(part["value"] for part in addends) == pytest.approx(total, abs=1e-9)
            shape = activations[layer][0].numpy()
            theirs = shape.reshape(-1)[number] if shape.size in (120, 84, 10) else shape[number, row, column]
            assert value == pytest.approx(theirs, rel=1e-4, abs=1e-4)
            if layer == "c3":
                rows = np.flatnonzero(C3_TABLE[number]) if name != "tutorial" else range(6)
                assert [window["map"] for window in windows] == list(rows)
                assert all((one["row"], one["column"], one["size"]) == (row, column, 5) for one in windows)
            if layer == "c1":
                start = 2 if name == "tutorial" else 0
                assert [(one["row"], one["column"]) for one in windows] == [(row - start, column - start)]
            if layer in ("s2", "s4"):
                assert [(one["map"], one["row"], one["size"]) for one in windows] == [(number, 2 * row, 2)]
            biases = [part for part in addends if part["of"] is None]
            assert len(biases) == (0 if (name, layer) == ("1998", "output") else 1)


def test_kernels_in_large_are_those_of_the_network(nets):
    found = browse(
        """
        const net = parts.readNetwork(bytesOf(FILES.modern));
        for (const [layer, map] of [["c1", 3], ["c3", 7], ["c3", 15], ["f6", 2]])
          say(parts.kernelsOf(net, layer, map).map(({ of, values }) => [of, Array.from(values)]));
        """,
        names=("modern",),
    )
    net = nets["modern"]
    dense = net.c3[0].dense_weight().detach()
    assert np.allclose(found[0][0][1], net.c1[0].weight[3].flatten().detach(), atol=1e-7)
    for number, kernels in ((7, found[1]), (15, found[2])):
        assert [of for of, _ in kernels] == np.flatnonzero(C3_TABLE[number]).tolist()
        for of, values in kernels:
            assert np.allclose(values, dense[number, int(of)].flatten(), atol=1e-7)
    norm = net.f6[1]
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt())[2]
    assert np.allclose(found[3][0][1], (factor * net.f6[0].weight[2]).detach(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("new Uint8Array()", "noWeights"), ("new Uint8Array(9).fill(7)", "noWeights"),
        ("new TextEncoder().encode('\\x02\\0\\0\\0\\0\\0\\0\\0{}')", "otherNetwork"),
        ("renamed('LeNet5()', 'Other()')", "otherNetwork"), ("renamed('LeNet5()', 'toString')", "otherNetwork"),
        ("renamed('c3.bias', 'c3.hias')", "wrongTensor"), ("whole.slice(0, 200000)", "noWeights"),
        ("whole.fill(255, 0, 8)", "noWeights"),
        ("infinite()", "notFinite"), ("header('null')", "noWeights"), ("header('{\"a\":null}')", "noWeights"),
        ("header('{\"a\":{\"dtype\":\"F32\"}}')", "noWeights"), ("whole.slice(0, -1)", "noWeights"),
        ("header('{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[-24,0]}}')", "noWeights"),
        ("header('{\"__metadata__\":{\"network\":{\"toString\":1}}}')", "otherNetwork"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_weights_is_named(change, key):
    said = browse(
        f"""
        const whole = bytesOf(FILES["1998"]);
        const renamed = (from, to) => {{
          let text = Array.from(whole, (byte) => String.fromCharCode(byte)).join("");
          text = text.replace(from, to.padEnd(from.length));
          return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
        }};
        const header = (text) => {{
          const bytes = new Uint8Array(8 + text.length);
          bytes.set([text.length]);
          bytes.set(new TextEncoder().encode(text), 8);
          return bytes;
        }};
        const infinite = () => {{
          const bytes = whole.slice();
          bytes.set([0, 0, 128, 127], bytes.length - 8);
          return bytes;
        }};
        try {{ parts.readNetwork({change}); say("taken"); }} catch (error) {{ say(error.key ?? String(error)); }}
        """
    )
    assert said == [key]


def test_every_drawing_that_python_lets_through_is_drawn_in_the_browser():
    odd = [[], [[]], [np.empty((0, 2))], [[[1, 2]]], BLACK, SCRIBBLE, [[[-900, 1e300], [0.5, 2**63]]]]
    drawings = [check_strokes(strokes) for strokes in (*TAKEN.values(), *odd)]
    shown = browse(
        """
        for (const strokes of drawings) {
          const shown = show(strokes), first = shown.canvas.drawn;
          shown.end();
          const { canvas, end } = show();
          model.set("drawing", strokes);
          frame();
          say([first, canvas.drawn]);
          end();
        }
        """,
        drawings,
    )
    for strokes, both in zip(drawings, shown, strict=True):
        # Each stroke begins with its first point, twice: a dot is a line of no length.
        assert both == [[[stroke[0], *stroke] for stroke in strokes]] * 2


def test_the_pen_draws_where_it_is_beyond_the_pad_too_and_python_hears_of_it_when_it_rests():
    drawn, sent, said = browse(
        """
        const { canvas, pen, said } = show();
        pen("down", 100, 20); frame();
        pen("move", 110, 30); pen("move", 120, 40); frame();
        pen("move", 121, 40); frame();
        pen("move", 130, 50, { getCoalescedEvents: () => [{ clientX: 10 + 125 / 2, clientY: 20 + 45 }] }); frame();
        pen("move", 390, -50); pen("move", 160, 50, { pointerId: 2 }); pen("down", 0, 0, { pointerId: 2 }); frame();
        pen("up", 0, 0, { pointerId: 2 }); say(canvas.drawn); pen("up", 390, -50); pen("move", 200, 200); frame();
        pen("down", 10, 250); pen("move", 90, 240); frame(); pen("cancel", 0, 280); frame();
        say(sent); say(said.textContent);
        """
    )
    line = [[100, 20], [110, 30], [120, 40], [125, 45], [130, 50], [390, -50]]
    assert drawn == [[line[0], *line]]
    assert sent == [[line], [line, [[10, 250], [90, 240]]]]
    assert re.fullmatch(r"1998 (reads \d, squared distance \d+\.\d|sees no digit: .*)", said)


@pytest.mark.parametrize("button", ["button: 1", "button: 2"])
def test_another_button_draws_nothing(button):
    program = f'const {{ pen, canvas }} = show(); pen("down", 1, 2, {{ {button} }}); pen("move", 9, 9); frame();'
    assert browse(f"{program} say(sent); say(canvas.drawn);") == [[], []]


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


@pytest.mark.parametrize("act", ['model.set("drawing", [])', 'undo.happen("click")', 'erase.happen("click")'])
def test_a_drawing_taken_away_while_the_pen_is_down_ends_the_stroke(act):
    after, then = browse(
        f"""
        const {{ pen, undo, erase, canvas }} = show();
        pen("down", 10, 20); frame(); pen("move", 30, 40); frame();
        {act};
        for (let x = 40; x < 90; x += 10) {{ pen("move", x, x); frame(); }}
        say(canvas.drawn);
        pen("up", 90, 90); pen("down", 100, 100); pen("move", 120, 120); frame(); pen("up", 120, 120); frame();
        say(sent.at(-1));
        """
    )
    assert after == [] and then == [[[100, 100], [120, 120]]]


def test_a_pad_that_is_full_says_so_and_keeps_what_is_drawn():
    before, complaint, after, last = browse(
        f"""
        const full = [Array.from({{ length: {MOST_POINTS - 1} }}, (_, i) => [i % 280, 9])];
        const {{ pen, complaint, canvas, erase }} = show(full);
        pen("down", 5, 5); frame(); say(complaint.textContent);
        pen("move", 50, 50); frame(); pen("up", 50, 50); frame();
        pen("down", 70, 70); frame(); pen("up", 70, 70); frame();
        say(complaint.textContent); say(sent.at(-1).map((stroke) => stroke.length));
        erase.happen("click"); frame(); say([complaint.textContent, sent.at(-1)]);
        """
    )
    assert before == "" and complaint.startswith("The pad is full") and last == ["", []]
    assert after == [MOST_POINTS - 1, 1] and sum(after) == MOST_POINTS


def test_the_keys_draw_examples_and_move_a_pen():
    read_as, line, both = browse(
        """
        const { key, answers, canvas } = show();
        say(Array.from({ length: 10 }, (_, digit) => {
          key(String(digit)); frame();
          return answers.map(({ textContent }) => Number(textContent.match(/reads (\\d)/)?.[1]));
        }));
        key("Delete"); frame(); key(" "); key("ArrowRight"); key("ArrowDown", { shiftKey: true }); key(" "); frame();
        say(sent.at(-1));
        key("ArrowLeft"); key(" "); key("ArrowUp"); frame(); say(canvas.drawn.length);
        """,
        names=NETWORKS,
    )
    assert read_as == [3 * [digit] for digit in range(10)]
    assert line == [[[140, 140], [150, 140], [150, 142]]] and both == 2


def test_answers_are_text_and_a_view_that_goes_listens_no_more():
    first, name, labels, chinese, left = browse(
        """
        state._files[0].name = "<b>mine</b>";
        const { answers, canvas, views, end } = show(drawings[0]);
        say(answers[0].textContent);
        say(el.find("figcaption")[0].textContent);
        canvas.happen("keydown", { key: "7" }); frame();
        say([canvas.attributes["aria-label"], views[0].attributes["aria-label"]]);
        model.set("language", "zh"); frame();
        say([answers[0].textContent, el.find("button").map((one) => one.textContent)]);
        end();
        say(Object.values(listeners).flat().length);
        """,
        [SEVEN],
    )
    assert re.fullmatch(r"<b>mine</b> reads 7, squared distance \d\.\d", first)
    assert name == "<b>mine</b> · LeNet5()" and left == 0
    assert "Drawing pad: <b>mine</b> reads 7" in labels[0] and "layers of the network <b>mine</b>" in labels[1]
    assert "读作 7" in chinese[0] and chinese[1] == ["撤销", "清空", "图片", "权重"]


def test_a_pad_without_a_language_speaks_that_of_the_page():
    buttons = browse(
        """
        for (const [language, page] of [[null, "zh-CN"], [null, "fr"], ["en", "zh-CN"], ["zh", "en"]]) {
          Object.assign(state, { language });
          document.documentElement.lang = page;
          say(show(drawings[0]).undo.textContent);
        }
        """,
        [SEVEN],
    )
    assert buttons == ["撤销", "Undo", "Undo", "撤销"]
    assert DigitPad(LeNet5()).language is None


# A picture of digits side by side, dark on light, four times as large; a chooser of files; time for what is awaited.
PICTURE = """
function row(...digits) {
  const [width, height] = [4 * 28 * digits.length, 4 * 28];
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const ink = digits[Math.floor(x / 112)][28 * Math.floor(y / 4) + Math.floor((x % 112) / 4)];
      data.fill(255 - ink, 4 * (y * width + x), 4 * (y * width + x) + 3);
    }
  return { width, height, data };
}
const choose = (which, file) => {
  const chooser = el.find("input").filter(({ type }) => type === "file").find(({ accept }) => accept === which);
  chooser.files = [file];
  chooser.happen("change");
};
const later = async () => {
  for (let i = 0; i < 3; i++) { await new Promise((done) => setTimeout(done)); frame(); }
};
"""


def test_digits_of_a_picture_are_shown_one_by_one_and_python_hears_of_them():
    answers, found, again, sent, after = browse(
        PICTURE
        + """
        const { answers, canvas, complaint, undo, pen } = show();
        thePictureIs(row(...drawings));
        choose("image/*", { name: "two.png" }); await later();
        say(answers[0].textContent);
        const [panel] = el.find("digit-pad-found");
        const pressed = () => panel.children.slice(1).map((one) => [one.textContent, one.attributes["aria-pressed"]]);
        say(pressed());
        panel.children[2].happen("click"); await later();
        say([answers[0].textContent, pressed()]);
        say(sent.map((one) => one.length === 784 && one.some((ink) => ink > 200)));
        pen("down", 10, 20); pen("move", 30, 40); pen("up", 30, 40); await later();
        say([pressed().map(([, state]) => state), sent.at(-1)]);
        """,
        [prepare(TWO).flatten().tolist(), prepare(SEVEN).flatten().tolist()],
    )
    assert answers.startswith("1998 reads 2") and found == [["2", "true"], ["7", "false"]]
    assert again[0].startswith("1998 reads 7") and again[1] == [["2", "false"], ["7", "true"]]
    assert sent == [True, True] and after == [["false", "false"], [[[10, 20], [30, 40]]]]


def test_what_is_no_picture_and_one_that_comes_too_late_change_nothing():
    complaints, late, nothing = browse(
        PICTURE
        + """
        const { answers, complaint, key } = show(drawings[2]);
        thePictureIs(null); choose("image/*", { name: "<b>.txt" }); await later();
        const first = complaint.textContent;
        thePictureIs({ width: 40, height: 40, data: new Uint8ClampedArray(6400).fill(255) });
        choose("image/*", { name: "blank.png" }); await later();
        say([first, complaint.textContent, answers[0].textContent]);
        let decoded;
        thePictureIs(row(drawings[0]));
        choose("image/*", { name: "large.png", wait: new Promise((done) => (decoded = done)) });
        key("3"); await later(); decoded(); await later();
        say([answers[0].textContent, complaint.textContent]);
        choose(".safetensors", { name: "x.json", arrayBuffer: async () => new ArrayBuffer(9) }); await later();
        const bad = complaint.textContent;
        choose(".safetensors", { name: "gone.safetensors", arrayBuffer: async () => { throw new Error("gone"); } });
        await later();
        say([bad, complaint.textContent, answers[0].textContent]);
        """,
        [prepare(TWO).flatten().tolist(), None, SEVEN],
    )
    assert complaints[0] == "<b>.txt cannot be read as a picture." and "No digit stands out" in complaints[1]
    assert complaints[2].startswith("1998 reads 7")
    assert late[0].startswith("1998 reads 3") and late[1] == ""
    assert nothing[0] == nothing[1] and nothing[0].startswith("This file holds no weights")
    assert nothing[2].startswith("1998 reads 3")


def test_pointing_at_the_view_runs_no_network_again():
    """Only a new drawing does: its picture of the input is then another one."""
    (runs,) = browse(
        """
        let count = 0;
        const original = Math.tanh;
        Math.tanh = (value) => { count++; return original(value); };
        const { views: [view], key } = show(drawings[0]);
        count = 0;
        for (let x = 60; x < 600; x += 50) { view.happen("pointermove", { clientX: x, clientY: 345 }); frame(); }
        const hovering = count;
        key("3"); frame();
        say([hovering, count > 5000]);
        """,
        [SEVEN],
    )
    assert runs == [0, True]


def test_no_key_on_the_pad_goes_to_the_notebook():
    """JupyterLab asks the element that has the focus; those around it do not count."""
    (found,) = browse(
        """
        show(drawings[0]);
        const focusable = ["canvas", "button", "input"].flatMap((tag) => el.find(tag));
        say(focusable.map(({ attributes }) => attributes["data-lm-suppress-shortcuts"]));
        """,
        [SEVEN],
    )
    assert len(found) > 8 and set(found) == {"true"}


def test_a_digit_that_python_sets_is_shown_and_a_stroke_takes_its_place():
    shown, sent = browse(
        """
        const { pen, answers } = show();
        model.set("drawing", new DataView(Uint8Array.from(drawings[0]).buffer)); frame();
        say(answers[0].textContent);
        pen("down", 10, 20); pen("move", 30, 40); pen("up", 30, 40); frame(); say(sent);
        """,
        [prepare(TWO).flatten().tolist()],
    )
    assert shown.startswith("1998 reads 2") and sent == [[[[10, 20], [30, 40]]]]


def test_the_view_draws_every_map_where_its_units_are_found(nets):
    """Each map's picture holds its states, coloured from blue by white to orange; a place in it is that unit."""
    found = browse(
        """
        const { views, sums } = show(drawings[0]);
        const net = parts.readNetwork(bytesOf(FILES["1998"]));
        const { states } = parts.run(net, parts.prepare(drawings[0]));
        const { pictures } = views[0];
        const layers = pictures.filter(([image, , top, across]) => image && across < 100 && across !== undefined);
        for (const [image, left, top, across, down, x, y, width, height] of layers.slice(-46)) {
          const cells = [];
          for (let row = 0; row < down; row++)
            for (let column = 0; column < across; column++) {
              const at = 4 * ((top + row) * image.width + column);
              cells.push([image.data[at], image.data[at + 2]]);
            }
          say([across, down, x, y, width, height, cells]);
        }
        """,
        [TWO],
    )
    activations = read(nets["1998"], prepare(TWO))[3]
    maps = [
        one.reshape(12, 7) if one.size == 84 else one.reshape(1, 120) if one.size == 120 else one
        for layer in ("input", "c1", "s2", "c3", "s4", "c5", "f6")
        for one in (lambda values: values if layer not in ("c5", "f6") else [values])(activations[layer][0].numpy())
    ]
    assert len(maps) == 47 and len(found) == 46  # c5, 120 units wide, is left out
    maps = [one for one in maps if one.shape != (1, 120)]
    places = [(2, 18), *[(112 + 62 * i, 18) for i in range(6)], *[(2, 144 + 32 * i) for i in range(6)]]
    places += [*[(52 + 38 * i, 338) for i in range(16)], *[(52 + 38 * i, 372) for i in range(16)], (52, 432)]
    for values, place, (across, down, x, y, width, height, cells) in zip(maps, places, found, strict=True):
        assert (x, y) == place and width % across == 0 and width / across == height / down
        assert values.shape == (down, across)
        if (across, down) == (32, 32):
            continue
        cells = np.array(cells).reshape(int(down), int(across), 2)
        clear = np.abs(values) > 0.1
        assert np.array_equal((cells[..., 0] > cells[..., 1])[clear], (values > 0)[clear])


def test_the_view_writes_the_answer_and_each_distance_in_its_place(nets):
    (written,) = browse("say(show(drawings[0]).views[0].written);", [TWO])
    distances = read(nets["1998"], prepare(TWO))[3]["output"][0].tolist()
    large, *small = written
    assert large[0] == "2"
    assert [text for text, _, _ in small] == [f"{distance:.1f}" for distance in distances]
    assert [x for _, x, _ in small] == [108 + 55 * digit + 17 for digit in range(10)]


def test_pointing_at_a_unit_writes_its_sum_and_a_click_shows_its_map_in_large():
    hovered, large, kernels, closed, keyed = browse(
        """
        const { views: [view], sums: [sum] } = show(drawings[0]);
        view.happen("pointermove", { clientX: 52 + 38 * 6 + 3 * 4 + 1, clientY: 338 + 3 * 2 + 1 }); frame();
        say(sum.textContent);
        view.happen("click", { clientX: 52 + 38 * 6 + 3 * 4 + 1, clientY: 338 + 3 * 2 + 1 }); frame();
        const [panel] = el.find("digit-pad-large");
        say(panel.children[0].textContent); say(panel.children.length - 1);
        view.happen("click", { clientX: 52 + 38 * 6 + 2, clientY: 338 + 2 }); frame(); say(panel.children.length);
        view.happen("pointerleave"); view.happen("keydown", { key: "ArrowDown" });
        view.happen("keydown", { key: "ArrowDown" }); view.happen("keydown", { key: "PageDown" }); frame();
        say(sum.textContent);
        """,
        [SEVEN],
    )
    assert hovered.startswith("C3, map 6, row 2, column 4: ") and "(bias) = " in hovered and "1.7159 tanh" in hovered
    assert re.findall(r"S2's map (\d)", hovered) == ["0", "1", "2", "3"]
    assert large == "C3 6, in large" and kernels == 4 and closed == 0
    assert keyed.startswith("C1, map 1, row 1, column 0: ") and len(re.findall("window's row", keyed)) == 5


@pytest.mark.parametrize(
    ("right", "wrong", "noticed", "test"),
    [
        ("undo() {", "undo() {{", "SyntaxError", test_undo_takes_the_last_stroke_and_erase_takes_all),
        ("const LINE", "lost(); const LINE", "lost", test_undo_takes_the_last_stroke_and_erase_takes_all),
        (
            "show(strokes.slice(0, -1))",
            "show(strokes.slice(1))",
            "assert",
            test_undo_takes_the_last_stroke_and_erase_takes_all,
        ),
        (
            "X - box.left",
            "Y - box.left",
            "assert",
            test_the_pen_draws_where_it_is_beyond_the_pad_too_and_python_hears_of_it_when_it_rests,
        ),
        ("answer.textContent", "answer.innerHTML", "HTML", test_answers_are_text_and_a_view_that_goes_listens_no_more),
        ("answer.textContent", "answer.innerHTML", "HTML", test_the_javascript_makes_no_html_and_no_program_of_a_text),
    ],
    ids=["syntax", "stops", "undo", "x and y", "HTML", "HTML in the text"],
)
def test_a_mistake_in_the_javascript_is_noticed(right, wrong, noticed, test, monkeypatch):
    text = javascript()
    assert text.count(right) == 1
    monkeypatch.setattr("test_digit_pad.javascript", lambda: text.replace(right, wrong))
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
