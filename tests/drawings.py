"""Digits as people draw them on the pad: two forms of each in ten styles, from control points and a seeded hand.

Each form was judged by eye, as a person reads it, before a network saw it; none was changed for what networks read.
"""

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from digit_pad import SIDE

STEP = 4  # units between two points of a stroke, about
EDGE = 6  # units that a drawing keeps from the pad's edge, unless its style says otherwise

# A form is a list of strokes. A stroke is a list of curves, each smooth, with a corner before the next, which goes on
# from where the last one ended. A curve is given by the points it runs through, x to the right and y downwards, in
# hundredths of the digit's height.
FORMS = {
    0: {
        "plain": [[[(36, 1), (14, 14), (2, 48), (12, 86), (34, 99), (57, 86), (67, 50), (57, 14), (36, 1)]]],
        "ends cross": [
            [
                [
                    (57, 10), (36, 3), (14, 16), (2, 52), (12, 88), (34, 99), (58, 86), (68, 50), (60, 20), (45, 7),
                    (30, -4),
                ]
            ]
        ],
    },
    1: {
        "plain": [[[(6, 0), (3, 52), (0, 100)]]],
        "flag and foot": [[[(0, 26), (16, 15), (30, 0)], [(31, 50), (30, 99)]], [[(4, 99), (32, 100), (58, 98)]]],
    },
    2: {
        "plain": [
            [[(4, 22), (16, 5), (36, 0), (56, 9), (61, 28), (50, 52), (26, 78), (3, 97)], [(34, 97), (68, 97)]],
        ],
        "loop": [
            [
                [
                    (2, 20), (16, 4), (36, 0), (55, 10), (58, 30), (46, 56), (25, 84), (9, 95), (1, 88), (8, 78),
                    (22, 81), (38, 92), (54, 98), (72, 88),
                ]
            ]
        ],
    },
    3: {
        "plain": [
            [
                [(4, 14), (18, 2), (38, 1), (53, 13), (51, 32), (38, 43), (22, 47)],
                [(42, 49), (58, 62), (58, 82), (42, 97), (20, 99), (1, 87)],
            ]
        ],
        "flat top": [
            [[(4, 2), (32, 1), (60, 0)], [(26, 38)], [(46, 41), (61, 56), (60, 80), (43, 97), (20, 99), (1, 88)]],
        ],
    },
    4: {
        "open": [[[(20, 0), (12, 28), (2, 60)], [(36, 61), (76, 58)]], [[(58, 4), (56, 50), (54, 100)]]],
        "closed": [[[(52, 0), (27, 32), (0, 66)], [(36, 67), (78, 65)]], [[(52, 0), (53, 50), (52, 100)]]],
    },
    5: {
        "two strokes": [
            [
                [(14, 1), (11, 22), (8, 43)],
                [(22, 36), (42, 37), (58, 52), (59, 76), (44, 95), (22, 99), (1, 90)],
            ],
            [[(14, 1), (38, 2), (60, 0)]],
        ],
        "one stroke": [
            [
                [(60, 1), (36, 1), (12, 2)],
                [(10, 22), (8, 42)],
                [(24, 35), (44, 38), (58, 54), (58, 78), (42, 96), (20, 99), (0, 89)],
            ]
        ],
    },
    6: {
        "curved": [
            [
                [
                    (52, 2), (30, 14), (10, 42), (2, 72), (12, 94), (32, 100), (53, 89), (57, 70), (44, 55), (24, 56),
                    (7, 71),
                ]
            ]
        ],
        "straight stem": [
            [[(34, 0), (20, 30), (6, 66), (4, 86), (18, 99), (40, 97), (54, 81), (48, 63), (30, 58), (12, 66), (5, 76)]]
        ],
    },
    7: {
        "plain": [[[(0, 3), (32, 2), (64, 1)], [(44, 46), (26, 100)]]],
        "bar": [[[(0, 3), (32, 3), (64, 1)], [(44, 46), (28, 100)]], [[(18, 53), (40, 51), (62, 50)]]],
    },
    8: {
        "one line": [
            [
                [
                    (52, 12), (34, 0), (12, 9), (9, 28), (28, 45), (50, 60), (57, 80), (44, 97), (18, 98), (3, 82),
                    (9, 62), (30, 45), (51, 28), (53, 13),
                ]
            ]
        ],
        "two circles": [
            [[(30, 0), (11, 8), (7, 24), (16, 39), (30, 44), (46, 38), (54, 22), (47, 7), (30, 0)]],
            [[(30, 44), (9, 54), (1, 73), (10, 92), (30, 100), (51, 92), (60, 72), (51, 53), (30, 44)]],
        ],
    },
    9: {
        "straight tail": [
            [
                [(54, 14), (40, 2), (18, 4), (3, 22), (6, 44), (22, 53), (42, 45), (55, 16)],
                [(54, 56), (51, 100)],
            ]
        ],
        "curved tail": [
            [
                [(55, 16), (40, 1), (17, 4), (3, 22), (7, 44), (24, 52), (44, 42), (56, 17)],
                [(56, 52), (50, 80), (36, 96), (18, 99), (4, 91)],
            ]
        ],
    },
}  # fmt: skip
STYLES = ("neat", "small", "corner", "over the edge", "slanted", "shaky", "broken", "thick", "turned +15", "turned -15")


def drawings(seed=0):
    """Return 200 drawings [(strokes, label, form, style), ...]: ten digits, two forms of each, ten styles of each form.

    strokes: as digit_pad.prepare takes them. Each drawing has a random stream of its own, from `seed` and its place.
    """
    return [
        (draw(strokes, style, np.random.default_rng([seed, label, number, place])), label, form, style)
        for label, forms in FORMS.items()
        for number, (form, strokes) in enumerate(forms.items())
        for place, style in enumerate(STYLES)
    ]


def draw(form, style, random):
    """Return the strokes, lists of points [x, y] in units, of one form in one style, by the hand of `random`."""
    height = random.uniform(*{"small": (42, 58), "corner": (100, 130)}.get(style, (175, 215)))
    slant = random.uniform(0.27, 0.33) if style == "slanted" else random.uniform(-0.05, 0.05)  # to the right
    turn = np.radians({"turned +15": 15, "turned -15": -15}.get(style, 0))  # anticlockwise, as it is seen
    upright = np.array([[random.uniform(0.9, 1.1), -slant], [0, 1]])  # a little wider or narrower
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    curves = [_curve(stroke, random) @ upright.T for stroke in form]
    tall = np.ptp(np.concatenate(curves)[:, 1])
    curves = [curve @ turned.T * (height / tall) for curve in curves]
    if style == "thick":
        curves = [again for curve in curves for again in _gone_over(curve, random)]
    tremble = 2.0 if style == "shaky" else 0.3
    strokes = [_trembling(_stepped(curve), tremble, random) for curve in curves]
    if style == "broken":
        strokes = [piece for stroke in strokes for piece in _broken(stroke, random)]
    shift = _place(np.concatenate(strokes), style, random)
    return [(stroke + shift).round(1).tolist() for stroke in strokes]


def _curve(stroke, random):
    """Return a stroke as points close together: smooth curves through its control points, each a little off."""
    parts, start = [], []
    for curve in stroke:
        curve = np.array(curve) + random.normal(0, 1.6, (len(curve), 2))
        points = np.concatenate([start, curve]) if len(start) else curve
        along = np.append(0, np.cumsum(np.sqrt(np.hypot(*np.diff(points, axis=0).T))))  # centripetal: it does not loop
        parts.append(CubicSpline(along, points, bc_type="natural")(np.linspace(0, along[-1], 40 * len(points))))
        start = points[-1:]
    return np.concatenate(parts)


def _stepped(curve):
    """Return a curve's points, STEP units or a little less from one to the next along it."""
    along = np.append(0, np.cumsum(np.hypot(*np.diff(curve, axis=0).T)))
    at = np.linspace(0, along[-1], int(np.ceil(along[-1] / STEP)) + 1)
    return np.stack([np.interp(at, along, curve[:, i]) for i in (0, 1)], axis=1)


def _trembling(stroke, size, random):
    """Return a stroke whose points are off by `size` units (a standard deviation), from one to the next much alike."""
    noise = gaussian_filter1d(random.normal(size=(len(stroke) + 12, 2)), 1.2, axis=0)[6:-6]
    return stroke + noise * (size * np.sqrt(2 * 1.2 * np.sqrt(np.pi)))  # the filter leaves noise of 1 / this root


def _gone_over(curve, random):
    """Return a curve two or three times, each a few units aside and a little larger or smaller than the last."""
    middle = curve.mean(axis=0)
    times = random.integers(2, 4)
    aside = np.cumsum(random.choice([-1, 1], (times, 2)) * random.uniform(2, 6, (times, 2)), axis=0)
    return [(curve - middle) * random.uniform(0.97, 1.03) + middle + shift for shift in aside]


def _broken(stroke, random):
    """Return the pieces of a stroke with a gap of 8 to 24 units somewhere in every 90 units of it."""
    pieces, start, cell = [], 0, 0
    while True:
        last = cell + random.integers(24 // STEP, 80 // STEP)  # point before the gap
        first = last + random.integers(8 // STEP, 24 // STEP + 1)
        if first > len(stroke) - 24 // STEP:
            return [*pieces, stroke[start:]]
        pieces.append(stroke[start : last + 1])
        start, cell = first, max(first, cell + 90 // STEP)


def _place(points, style, random):
    """Return by how much a drawing is moved to where on the pad its style has it."""
    low, high = points.min(axis=0), points.max(axis=0)
    first, last = EDGE - low, SIDE - EDGE - high  # moves that keep it on the pad
    if style == "small":
        return random.uniform(first, last)
    if style == "corner":
        inwards = random.uniform(0, 12, 2)
        return np.where(random.integers(0, 2, 2), first + inwards, last - inwards)
    shift = np.clip(SIDE / 2 - (low + high) / 2 + random.uniform(-15, 15, 2), first, last)
    if style == "over the edge":
        beyond, axis = random.uniform(0.1, 0.33), random.integers(2)  # the share of the points, and where
        if random.integers(2):
            shift[axis] = -np.quantile(points[:, axis], beyond)
        else:
            shift[axis] = SIDE - np.quantile(points[:, axis], 1 - beyond)
    return shift
