"""200 drawings, as a person draws digits on the pad: each is what it says, and the networks read them."""

import numpy as np
import pytest
from drawings import FORMS, STYLES, drawings
from scipy.spatial import KDTree

from digit_pad import SIDE, check_strokes, prepare, read
from lenet import LeNet5, modern_lenet
from lenet_utils import load_weights
from tools.notebook_rules import ROOT

ALL = drawings()
NEAT = {(label, form): strokes for strokes, label, form, style in ALL if style == "neat"}


def of_style(style):
    """Return [(strokes, the same form drawn neatly)] of the 20 drawings in one style."""
    return [(strokes, NEAT[label, form]) for strokes, label, form, other in ALL if other == style]


def extent(strokes):
    points = np.concatenate(strokes)
    return points.min(axis=0), points.max(axis=0)


def beyond(strokes):
    """Return which points of a drawing lie beyond the pad's left, top, right and bottom edge, bool [points, 4]."""
    points = np.concatenate(strokes)
    return np.concatenate([points < 0, points > SIDE], axis=1)


# ------------------------------------------------------------------------------------------ the drawings


def test_each_digit_is_drawn_in_two_forms_and_each_form_in_ten_styles():
    assert list(FORMS) == list(range(10)) and all(len(forms) == 2 for forms in FORMS.values())
    assert len(set(STYLES)) == 10 and len(ALL) == 200
    made = [(label, form, style) for _, label, form, style in ALL]
    assert made == [(label, form, style) for label in range(10) for form in FORMS[label] for style in STYLES]


def test_the_drawings_are_always_the_same_and_another_seed_draws_others():
    np.random.seed(1)
    assert drawings() == ALL
    others = drawings(seed=1)
    assert [rest for _, *rest in others] == [rest for _, *rest in ALL]
    assert all(one[0] != other[0] for one, other in zip(ALL, others, strict=True))


def test_strokes_are_what_the_pad_takes_with_points_every_few_units():
    for strokes, *which in ALL:
        assert check_strokes(strokes) == strokes and all(len(stroke) >= 3 for stroke in strokes), which
        steps = [np.hypot(*np.diff(stroke, axis=0).T).mean() for stroke in strokes]
        assert 2 < min(steps) and max(steps) < 6, which


@pytest.mark.parametrize("style", STYLES)
def test_a_drawing_is_as_large_and_where_its_style_says(style):
    low, high = {"small": (40, 60), "corner": (95, 135)}.get(style, (165, 235))
    for strokes, _ in of_style(style):
        if not style.startswith("turned"):  # which makes them lower, or the flat ones higher
            assert low <= np.subtract(*extent(strokes)[::-1])[1] <= high
        if style == "over the edge":
            sides = beyond(strokes).mean(axis=0)
            assert 0.05 < sides.max() <= 1 / 3 and np.count_nonzero(sides) == 1
        else:
            assert not beyond(strokes).any()
    if style == "corner":
        for strokes, _ in of_style(style):
            first, last = extent(strokes)
            assert np.minimum(first, SIDE - last).max() < 25


def test_small_drawings_and_those_in_a_corner_are_all_over_the_pad():
    for style, sizes in {"small": 3, "corner": 4}.items():
        middles = np.array([np.mean(extent(strokes), axis=0) > SIDE / 2 for strokes, _ in of_style(style)])
        assert len(np.unique(middles, axis=0)) >= sizes
    edges = [beyond(strokes).any(axis=0).argmax() for strokes, _ in of_style("over the edge")]
    assert len(set(edges)) == 4


def test_slanted_drawings_lean_to_the_right():
    def slant(strokes):
        (_, with_y), (_, variance) = np.cov(np.concatenate(strokes).T)
        return -with_y / variance

    leaning = np.array([slant(strokes) - slant(neat) for strokes, neat in of_style("slanted")])
    assert 0.25 < leaning.mean() < 0.35 and 0.1 < leaning.min() and leaning.max() < 0.5


@pytest.mark.parametrize("style, angle", [("turned +15", 15), ("turned -15", -15)])
def test_turned_drawings_are_turned(style, angle):
    def places(strokes):  # 50 places along every stroke, as complex numbers about their middle, y upwards
        along = [np.linspace(0, len(stroke) - 1, 50).round().astype(int) for stroke in strokes]
        points = np.concatenate([np.array(stroke)[at] for stroke, at in zip(strokes, along, strict=True)])
        return (points - points.mean(axis=0)) @ [1, -1j]

    turns = [
        np.degrees(np.angle(np.vdot(places(neat), places(strokes)))) for strokes, neat in of_style(style)
    ]  # the turn that brings one nearest to the other
    assert np.mean(turns) == pytest.approx(angle, abs=2)
    assert np.abs(np.subtract(turns, angle)).max() < 10  # both lean a little by themselves


def test_a_shaky_hand_trembles():
    def roughness(strokes):  # how far a point lies from the middle between the points beside it
        bends = [np.diff(stroke, 2, axis=0) / 2 for stroke in strokes]
        return np.median(np.hypot(*np.concatenate(bends).T))

    for strokes, neat in of_style("shaky"):
        assert roughness(strokes) > 2.5 * roughness(neat)


def test_broken_strokes_have_gaps():
    for strokes, neat in of_style("broken"):
        assert len(strokes) > len(neat)
        between = [np.hypot(*np.subtract(b[0], a[-1])) for a, b in zip(strokes, strokes[1:], strict=False)]
        gaps = np.sort(between)[: len(strokes) - len(neat)]  # the others lead from one stroke to the next
        assert 5 < gaps.min() and gaps.max() < 27


def test_thick_strokes_are_gone_over_a_few_units_aside():
    for strokes, neat in of_style("thick"):
        assert 2 * len(neat) <= len(strokes) <= 3 * len(neat)
        for stroke in strokes:
            distances = sorted(KDTree(other).query(stroke)[0].mean() for other in strokes if other is not stroke)
            assert 0.5 < distances[0] < 10


# ------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize(
    "network, weights, goal",
    [
        (LeNet5, "original_1998/60000_seed0", 194),
        (modern_lenet, "modern_lenet/60_epochs_seed0", 198),
    ],
)
def test_the_networks_read_the_drawings(network, weights, goal):
    net = load_weights(network(), ROOT / f"weights/{weights}.safetensors").eval()
    digits = [(prepare(strokes), *which) for strokes, *which in ALL]
    assert not [which for digit, *which in digits if digit is None]
    answers = [(read(net, digit)[:3], *which) for digit, *which in digits]
    misread = [f"{label} ({form}, {style}) as {best}" for (best, *_), label, form, style in answers if best != label]
    right, taken = len(ALL) - len(misread), sum(taken for (_, _, taken), *_ in answers)
    count = f"{weights}: {right} of {len(ALL)} read right, {taken} taken for digits; misread: {misread or 'none'}"
    print(count)
    assert right >= goal, count


def test_a_drawing_beyond_the_pad_is_prepared_as_one_on_it():
    for strokes, _ in of_style("over the edge"):
        middle = np.mean(extent(strokes), axis=0)
        inside = [(stroke - middle + SIDE / 2).tolist() for stroke in strokes]
        assert not beyond(inside).any()
        difference = prepare(strokes).astype(int) - prepare(inside)
        assert np.abs(difference).max() <= 10  # a few of a pixel's hundred units, which rounding may turn


@pytest.mark.parametrize("label, form", NEAT)
def test_a_drawing_whose_last_stroke_leaves_the_pad_is_a_digit(label, form):
    *before, last = (np.array(stroke) for stroke in NEAT[label, form])
    middle = last[len(last) // 2]
    way = middle - last[0]
    axis = np.abs(way).argmax()
    shift = np.zeros(2)
    shift[axis] = (SIDE if way[axis] > 0 else 0) - middle[axis]  # the middle comes to lie on the edge it runs towards
    before, last = [stroke + shift for stroke in before], last + shift
    outside = ((last < 0) | (last > SIDE)).any(axis=1)
    assert not outside[0] and outside.any()
    drawn = [*before, last[: outside.argmax() + 1]]
    digit = prepare([stroke.tolist() for stroke in drawn])
    assert digit is not None and digit.shape == (28, 28) and digit.max() == 255
    ys, xs = np.nonzero(digit)
    assert max(np.ptp(ys), np.ptp(xs)) + 1 == 20
