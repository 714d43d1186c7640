"""Pictures of digits, photographs and scans say, as MNIST would have them.

    digit = prepare_image("photo.jpg")    # uint8 [28, 28], ink 255 on 0
    digits = prepare_row("number.jpg")    # a list of them, left to right
    steps = picture_steps("photo.jpg")    # all that lies between

pad/pictures.js takes the same steps in JavaScript, number by number: levels are whole numbers from 0 to 255, and a half
is rounded up. tests/test_pictures.py compares the two.
"""

import contextlib
import math
import os
import warnings

import numpy as np
from PIL import Image, ImageOps

from lenet_data import describe, user_path

BOX, CENTRE = 20, 14  # MNIST's digits fill a box of 20 pixels; their centre of mass lies at pixel (14, 14), from 0
LARGE, SMALL = 1000, 250  # pixels of the longer side: of what pad/pictures.js is given, and of what the steps work on
# A picture's longer side is at least LINE times as long as a printed line is thick, and at most SMALLEST times as long
# as a digit is tall. A digit has more than FEW pixels, and ink that takes 2 x FAINT / 255 of the light. MANY parts are
# a page of writing, or a pattern. Light below DIM counts as DIM, or the grain of a black board would be ink.
LINE, SMALLEST, FEW, FAINT, MANY, DIM = 28, 20, 20, 20, 30, 64
NOTHING = "No digit stands out in this picture: the ink must differ from the paper around it."


def prepare_image(picture):
    """Return a picture of one digit, a photograph say, as MNIST would have it: uint8 [28, 28], ink 255 on 0.

    picture: a path, a PIL image, or an array [height, width] or [height, width, 3 or 4]: uint8 from 0 to 255, or float
        from 0 to 1. Dark ink on light paper or light ink on dark, of any size, on uneven light, on ruled paper too.

    Raises ValueError, with what was found, for anything else, for a picture in which no digit stands out, and for
    several digits in a row. picture_steps shows how it is done.
    """
    digits = picture_steps(picture)["digits"]
    if len(digits) > 1:
        raise ValueError(f"This picture has {len(digits)} digits in a row: prepare_row cuts them out one by one.")
    return digits[0]


def prepare_row(picture):
    """Return the digits that stand in a row in a picture, left to right: a list of uint8 [28, 28], ink 255 on 0.

    picture: as prepare_image takes it. Parts that lie one above the other belong to one digit; two that touch stay one.
    """
    return picture_steps(picture)["digits"]


def picture_steps(picture):
    """Return what prepare_image and prepare_row make of a picture, step by step, in a dict.

    "grey", uint8 [h, w]: the picture in grey, 250 pixels on its longer side at most. "dark", bool: whether the ink is
    darker than the paper. "ink", uint8 [h, w]: how much darker (or lighter) than the paper around it a pixel is, 255 as
    far as can be, without the lines printed on the paper. "threshold": from which level of it on a pixel is a stroke's.
    "strokes", bool [h, w]: those pixels, where they form a digit. "boxes": each digit's (left, top, right, bottom) in
    pixels of h x w, the last two excluded. "digits": each as uint8 [28, 28]. Raises ValueError as prepare_image does.
    """
    colours = _small(np.asarray(_colour(picture)))
    height, width = colours.shape[:2]
    if min(height, width) < 8:
        raise ValueError(
            f"A picture of a digit needs at least 8 pixels a side once it is small, not {width} x {height}."
        )
    grey = colours @ np.array([299, 587, 114])
    grey = (grey + 500) // 1000
    dark = _is_dark(grey)
    ink, grain = _ink(grey if dark else 255 - grey)
    ink = _without_lines(_without_lines(ink).T).T
    threshold = _threshold(ink, grain)
    digits = _find(ink > threshold)
    boxes = [_box(digit) for digit in digits]
    return {
        "grey": grey.astype(np.uint8),
        "ink": ink.astype(np.uint8),
        "dark": dark,
        "threshold": threshold,
        "strokes": np.any(digits, axis=0),
        "boxes": boxes,
        "digits": [centred(_fitted(ink, digit, box)) for digit, box in zip(digits, boxes, strict=True)],
    }


# ------------------------------------------------------------------------------------------- reading a picture


def _colour(picture):
    """Return `picture`, a path, PIL image or array, as a PIL image of its own in RGB, LARGE pixels a side at most."""
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture)
    is_path = isinstance(picture, (str, os.PathLike))
    if not is_path and not isinstance(picture, Image.Image):
        raise ValueError(f"A picture must be a path, a PIL image or a numpy array, not {describe(picture)}.")
    name = user_path(picture) if is_path else "This picture"
    try:
        with warnings.catch_warnings(action="ignore"):  # of a large picture, or of what a camera wrote beside it
            with Image.open(name) if is_path else contextlib.nullcontext(picture) as opened:
                picture = _flat(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise ValueError(f"There is no picture {name}.") from None
    except Exception as error:  # PIL has many kinds for what it cannot read
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{name} cannot be read as a picture ({reason}).") from None
    picture.thumbnail((LARGE, LARGE), Image.Resampling.BOX)
    return picture


def _flat(picture):
    """Return a PIL image in RGB; what is transparent becomes white paper."""
    if 0 in picture.size:
        raise ValueError("it has no pixels")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if picture.mode.startswith(("I", "F")):  # 16 bits a pixel, or floats: PIL would cut them off at 255
        levels = np.asarray(picture, dtype=float)
        if not np.isfinite(levels).all():
            raise ValueError("it has pixels that are nan or infinite")
        levels = levels - levels.min()
        picture = Image.fromarray((levels * (255 / (levels.max() or 1))).astype(np.uint8))
    return picture.convert("RGB")


def _from_array(array):
    """Return an array, uint8 or float from 0 to 1, [height, width] or [height, width, 3 or 4], as a PIL image."""
    grey_or_colour = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not grey_or_colour or 0 in array.shape:
        raise ValueError(f"A picture must be [height, width] or [height, width, 3 or 4], not {list(array.shape)}.")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"A picture of floats must lie between 0 and 1; this one runs from {array.min()} to {array.max()}."
            )
        array = (255 * array).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"A picture must be uint8 from 0 to 255 or float from 0 to 1, not {array.dtype}.")
    return Image.fromarray(np.ascontiguousarray(array))


# ------------------------------------------------------------------------------------------- small tools


def _small(colours):
    """Return a picture, uint8 [height, width, 3], with SMALL pixels on its longer side at most, whole numbers."""
    height, width = colours.shape[:2]
    share = min(1, SMALL / max(height, width))
    height, width = (max(1, math.floor(share * side + 0.5)) for side in (height, width))
    colours = colours.astype(np.int64)
    if share == 1:
        return colours
    tall = np.floor(16 * _averages(colours, 0, colours.shape[1], width, 1) + 0.5).astype(np.int64)
    return np.floor(_averages(tall, 0, colours.shape[0], height, 0) / 16 + 0.5).astype(np.int64)


def _averages(levels, start, end, count, axis):
    """Return averages of `levels` along `axis` over `count` equal parts of start to end; outside there is nothing."""
    length = levels.shape[axis]
    edges = start + (end - start) * np.arange(count + 1) / count
    edges = edges.clip(0, length)
    whole = np.minimum(np.floor(edges).astype(int), length - 1)
    shape = [1] * levels.ndim
    shape[axis] = -1
    before = np.cumsum(levels, axis=axis) - levels
    sums = before.take(whole, axis) + (edges - whole).reshape(shape) * levels.take(whole, axis)
    return np.diff(sums, axis=axis) / ((end - start) / count)


def _mean(levels, radius):
    """Return the mean of `levels` in the square of `radius` around each pixel, as far as it lies in the picture."""
    sums = np.pad(levels, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    tops, bottoms, lefts, rights = (
        edge
        for length in levels.shape
        for edge in (
            np.maximum(np.arange(length) - radius, 0),
            np.minimum(np.arange(length) + radius + 1, length),
        )
    )
    areas = np.outer(bottoms - tops, rights - lefts)
    sums = sums[bottoms][:, rights] - sums[tops][:, rights] - sums[bottoms][:, lefts] + sums[tops][:, lefts]
    return (2 * sums + areas) // (2 * areas)


def _rank(levels, place):
    """Return the level, 0 to 255, that `place` of all `levels` stay below or at."""
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    return int(np.searchsorted(counts, place, side="right"))


# ------------------------------------------------------------------------------------------- paper, lines, ink


def _is_dark(grey):
    """Return whether the ink is darker than the paper: what stands out from its surroundings most is dark."""
    away = grey - _mean(grey, max(grey.shape) // 5)
    return int((away**3).sum()) <= 0


def _ink(levels):
    """Return the ink, how much darker than the paper around it a pixel is, and the grain, how much the paper varies.

    The ink is the share of the paper's light that is missing, of 255. The paper's level is a closing: the lightest near
    a pixel, unless all around is darker, as in a shadow.
    """
    from scipy import ndimage  # here, because it takes a while and only pictures need it

    size = max(levels.shape) // 8 * 2 + 1
    soft = _mean(levels, 1) if max(levels.shape) > 100 else levels
    # Squares that reach over the edge count too: what gets darker there is no ink.
    around = ndimage.maximum_filter(np.pad(soft, size // 2), size, mode="constant")
    paper = ndimage.minimum_filter(around, size, mode="nearest")[size // 2 : -(size // 2), size // 2 : -(size // 2)]
    paper = np.minimum(paper, _mean(paper, max(levels.shape) // 50))
    light = np.maximum(paper, DIM)
    ink = (510 * (paper - soft).clip(0, None) + light) // (2 * light)
    middle = _rank(ink, ink.size // 2)  # of the paper, most of the picture
    return (ink - middle).clip(0, None), middle - _rank(ink, ink.size // 8)


def _without_lines(ink):
    """Return `ink` without the lines that run across the whole picture, more or less level, and are thin."""
    height, width = ink.shape
    radius = max(max(height, width) // LINE // 2, 1)
    thick = _opened(ink, 2 * radius + 1, "nearest")
    least = max(_rank(ink, ink.size - FEW) // 6, 6)  # a paler line does no harm
    ink = ink.copy()
    for path in _lines(ink - thick > least, thick > least, radius):
        _take_off(ink, path, radius)
    return ink


def _opened(levels, size, mode):
    """Return what is at least `size` pixels tall in `levels`; beyond the edge lies more of it, or with "constant" 0."""
    from scipy import ndimage

    low = ndimage.minimum_filter1d(levels, size, axis=0, mode=mode)
    return ndimage.maximum_filter1d(low, size, axis=0, mode=mode)


def _lines(thin, thick, radius):
    """Return the straight lines along which nearly all pixels are `thin`, from edge to edge: for each its rows, [w]."""
    from scipy import ndimage

    height, width = thin.shape
    columns = np.arange(width)
    steepest = width // 6
    near = ndimage.maximum_filter1d(thin, 3, axis=0, mode="constant")
    marks = np.zeros((height + 2 * steepest, width), np.int32)  # near a thin pixel counts 1, paper 2**10, thick nothing
    marks[steepest : steepest + height] = np.where(near, 1, np.where(thick, 0, 2**10)) + 2**20 * thin
    parts = [0, width // 6, width - width // 6]
    found = []
    for slope in range(-steepest, steepest + 1, 2):  # pixels that the line goes down from the left edge to the right
        rows = (2 * slope * columns - slope * (width - 1) + (width - 1)) // (2 * (width - 1))  # a half rounded up
        sums = np.add.reduceat(marks[steepest + np.arange(height)[:, None] + rows, columns], parts, axis=1)
        sums = np.column_stack([sums, sums.sum(axis=1)])
        hits, misses, exact = sums % 2**10, sums // 2**10 % 2**10, sums[:, 3] // 2**20
        shares = 1000 * hits // np.maximum(hits + misses, 1)
        good = (shares >= (600, 0, 600, 700)).all(axis=1) & (2 * hits[:, 3] >= width)
        found += [(-int(exact[row]), slope, row, row + rows) for row in np.flatnonzero(good)]
    kept = []
    for *_, path in sorted(found, key=lambda one: one[:3]):
        if all(min(abs(path[0] - other[0]), abs(path[-1] - other[-1])) > radius for other in kept):
            kept.append(path)
    return kept


def _take_off(ink, path, radius):
    """Take the printed line along `path` off `ink`, in place: what is no thicker than it goes, strokes across stay."""
    height, width = ink.shape
    reach = 2 * radius
    rows = path + np.arange(-reach, reach + 1)[:, None]
    inside = (rows >= 0) & (rows < height)
    columns = np.broadcast_to(np.arange(width), rows.shape)
    strip = np.where(inside, ink[rows.clip(0, height - 1), columns], 0)
    profile = np.sort(strip, axis=1)[:, width // 2]
    peak = int(profile[radius : 3 * radius + 1].argmax()) + radius
    low, high = peak, peak + 1
    while low > 1 and 8 * profile[low - 1] > profile[peak]:
        low -= 1
    while high < len(profile) - 1 and 8 * profile[high] > profile[peak]:
        high += 1
    low, high = low - 1, high + 1  # a path lies up to a pixel beside its line
    size = high - low + 1 | 1
    opened = _opened(strip, size, "constant")
    darker = 2 * strip > 3 * profile[peak]  # than the line
    strip[low:high] = np.where(darker, strip, opened)[low:high]
    ink[rows[inside], columns[inside]] = strip[inside]


def _threshold(ink, grain):
    """Return the level between paper and strokes: half of what most of the strokes have."""
    most = _rank(ink, ink.size - FEW)
    strokes = ink[ink > most // 2]
    level = _rank(strokes, strokes.size // 2) // 2 if strokes.size else 0
    if level < max(FAINT, 3 * grain):
        raise ValueError(NOTHING)
    return level


def _find(strokes):
    """Return the digits among `strokes`, left to right: a list of bool [h, w], each with all parts of one digit."""
    from scipy import ndimage

    height, width = strokes.shape
    parts, count = ndimage.label(strokes, structure=np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    places = ndimage.find_objects(parts)
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in places])
    inner = (boxes[:, 0] > 0) & (boxes[:, 1] > 0) & (boxes[:, 2] < width) & (boxes[:, 3] < height)
    wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    candidates = inner & (np.maximum(wide, tall) >= 8)
    # At the edge lies what is no digit, unless the picture is cut close to it.
    highest = tall[candidates].max() if candidates.any() else height
    cut = ~inner & (2 * tall >= height) & (2 * tall <= 3 * highest)
    if (cut & (tall == height)).sum() > 1:  # stripes
        cut &= tall < height
    candidates |= cut
    if not candidates.any():
        raise ValueError(NOTHING)
    large = np.flatnonzero(candidates & (10 * areas > areas[candidates].max()))
    if len(large) > MANY:
        raise ValueError(
            f"This picture has {len(large)} separate parts of ink: cut it to one digit or a row of digits."
        )
    groups = []
    for number in sorted(large, key=lambda number: (boxes[number, 0], number)):
        left, _, right, _ = boxes[number]
        for group in groups:
            shared = min(right, group["right"]) - max(left, group["left"])
            if 3 * shared >= min(right - left, group["right"] - group["left"]):
                group["right"] = max(right, group["right"])
                group["parts"].append(number)
                break
        else:
            groups.append({"left": left, "right": right, "parts": [number]})
    digits = [np.isin(parts, np.array(group["parts"]) + 1) for group in groups]
    heights = [_box(digit)[3] - _box(digit)[1] for digit in digits]
    if SMALLEST * max(heights) < max(height, width):
        raise ValueError(NOTHING)
    digits = [digit for digit, tall in zip(digits, heights, strict=True) if 5 * tall >= 2 * max(heights)]
    for digit in digits:
        if _solid(digit):
            raise ValueError(NOTHING)
    return digits


def _solid(digit):
    """Return whether a digit's strokes are thicker somewhere than half of its longer side, as no pen's are."""
    from scipy import ndimage

    left, top, right, bottom = _box(digit)
    size = max(right - left, bottom - top) // 4 * 2 + 1
    return bool(ndimage.minimum_filter(digit, size, mode="constant").any())


def _box(digit):
    """Return where `digit`, bool [h, w], has ink: (left, top, right, bottom), the last two excluded."""
    columns, rows = np.flatnonzero(digit.any(0)), np.flatnonzero(digit.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# ------------------------------------------------------------------------------------------- as MNIST has them


def _fitted(ink, digit, box):
    """Return a digit, uint8 [20, 20]: the longer side of its box 20 pixels, the other scaled alike, shares of ink."""
    from scipy import ndimage

    full = _rank(ink[digit], digit.sum() // 2)
    near = ndimage.maximum_filter(digit, 5, mode="constant")  # the soft edge too
    # A tenth of the ink is the paper's grain; full ink begins at nine tenths, or what is blurred would be grey.
    share = np.where(near, 255 * (10 * ink - full) // (8 * full), 0).clip(0, 255)
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    left, top = (left + right - side) / 2, (top + bottom - side) / 2
    tall = np.floor(16 * _averages(share, left, left + side, BOX, 1) + 0.5).astype(np.int64)
    fitted = np.floor(_averages(tall, top, top + side, BOX, 0) / 16 + 0.5).astype(np.int64)
    most = int(fitted.max())
    return ((510 * fitted + most) // (2 * most)).astype(np.uint8)


def centred(box):
    """Return an image [28, 28] with `box` [20, 20] in it, its centre of mass at pixel (14, 14) where there is room."""
    ys, xs = np.mgrid[:BOX, :BOX]
    corner = (CENTRE - math.floor((box * steps).sum() / box.sum() + 0.5) for steps in (ys, xs))
    top, left = (min(max(start, 0), 28 - BOX) for start in corner)
    digit = np.zeros((28, 28), np.uint8)
    digit[top : top + BOX, left : left + BOX] = box
    return digit
