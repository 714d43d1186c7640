"""Hard photographs of digits, made of MNIST's test digits and of handwriting fonts, for tests of lenet_pictures.

    for picture, label, digit, kind in photographs(500, seed=1): ...
    for picture, labels, digits, kind in rows(30, seed=1): ...
    for name, picture in no_digits().items(): ...

A photograph is uint8 [height, width, 3], 200 to 1,200 pixels a side. It is made as a camera would make it: ink on a
page that has fibres, lines or squares, seen at an angle, under uneven light, out of focus, with noise, as JPEG.
"""

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from lenet_data import load_mnist
from lenet_pictures import prepare_image

FONTS = Path(__file__).with_name("pictures") / "handwriting_fonts.png"  # ten rows of the digits 0 to 9
CELL = 80  # pixels a side of a digit in it
FINE = 280  # pixels a side of a digit before it is photographed

PAPERS = ("plain", "textured", "shaded", "ruled", "squared", "board", "coloured")
DARK_INKS = (
    (25, 25, 30),
    (40, 45, 60),
    (30, 50, 140),
    (20, 40, 110),
    (150, 25, 40),
    (20, 90, 50),
    (85, 85, 90),
    (115, 115, 120),
)
LIGHT_PAPERS = ((250, 249, 245), (238, 232, 218), (225, 226, 230), (205, 200, 190), (246, 240, 205))
COLOURS = (  # ink on paper, coloured
    ((245, 245, 250), (40, 70, 150)), ((250, 240, 200), (120, 30, 40)), ((255, 255, 255), (30, 110, 80)),
    ((30, 40, 120), (250, 225, 90)), ((130, 20, 60), (245, 190, 205)), ((20, 70, 50), (180, 225, 190)),
    ((60, 30, 20), (205, 160, 110)), ((20, 30, 90), (160, 205, 240)), ((250, 220, 60), (35, 35, 40)),
)  # fmt: skip
BOARDS = ((40, 62, 52), (35, 38, 42), (60, 80, 72), (48, 52, 80))
CHALKS = ((240, 240, 232), (235, 225, 150), (240, 190, 200), (190, 215, 240))


@functools.cache
def _sources():
    """Return MNIST's test digits, uint8 [10000, 28, 28], their labels, and the fonts' digits [10, 10, 80, 80]."""
    images, labels = load_mnist(train=False, size=28, scaling="paper")
    pixels = ((images[:, 0].numpy() + 0.1) / 1.275 * 255).round().astype(np.uint8)
    cells = np.asarray(Image.open(FONTS)).reshape(-1, CELL, 10, CELL).transpose(0, 2, 1, 3)
    return pixels, labels.numpy(), cells


def _digit(rng):
    """Return a digit as fine ink, float [280, 280] from 0 to 1, its label, itself as MNIST has it, and the source."""
    pixels, labels, cells = _sources()
    if rng.random() < 0.6:
        number = rng.integers(len(pixels))
        digit, label, source = pixels[number], int(labels[number]), "MNIST"
        small = digit / 255
    else:
        row, label, source = rng.integers(len(cells)), int(rng.integers(10)), "font"
        small = cells[row, label] / 255
        digit = prepare_image(255 - cells[row, label])
    fine = ndimage.gaussian_filter(ndimage.zoom(small, FINE / len(small), order=3, grid_mode=True, mode="nearest"), 2.5)
    full = rng.uniform(0.4, 0.8) if source == "MNIST" else 0.9  # a pen's edge is sharper than 28 pixels can show
    return ((fine - 0.1) / (full - 0.1)).clip(0, 1).astype(np.float32), label, digit, source


def photographs(count, seed):
    """Yield `count` photographs of one digit each: (picture, label, the digit itself uint8 [28, 28], kind)."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        ink, label, digit, source = _digit(rng)
        paper = PAPERS[number % len(PAPERS)]
        yield _photograph(rng, ink, paper), label, digit, f"{source}, {paper}"


def rows(count, seed):
    """Yield `count` photographs of 2 to 5 digits in a row: (picture, labels, the digits themselves, kind)."""
    for number in range(count):
        rng = np.random.default_rng([seed, number, 1])
        chosen = [_digit(rng) for _ in range(rng.integers(2, 6))]
        parts = []
        for ink, *_ in chosen:
            inked = np.flatnonzero((ink > 0.3).any(axis=0))
            part = ink[:, inked[0] : inked[-1] + 1]
            shift = int(rng.integers(-14, 15))
            parts += [np.roll(part, shift, axis=0), np.zeros((FINE, int(rng.integers(30, 80))))]
        paper = PAPERS[number % len(PAPERS)]
        picture = _photograph(rng, np.concatenate(parts[:-1], axis=1), paper)
        yield picture, [label for _, label, *_ in chosen], [digit for *_, digit, _ in chosen], paper


def _photograph(rng, ink, paper, side=None):
    """Return a photograph of `ink` (float [280, width], or None for an empty page) on a kind of `paper`."""
    longer = side or round(200 * 6 ** (rng.random() ** 1.5))
    height, width = (int(longer * share) for share in rng.permutation([1, rng.uniform(0.7, 1)]))
    wide = 1 if ink is None else ink.shape[1] / FINE
    share = rng.uniform(0.15, 0.85)  # of the picture, that the digit with its margin takes
    if wide > 1.2:
        share = rng.uniform(0.6, 0.85)
    large = share * min(height, width / wide)  # pixels of a digit's 28
    ys, xs = _page(rng, height, width, large, wide)
    stroke = large / 10  # about the width of a pen

    board = paper == "board"
    if board:
        ground, colour = BOARDS[rng.integers(len(BOARDS))], CHALKS[rng.integers(len(CHALKS))]
    elif paper == "coloured":
        colour, ground = COLOURS[rng.integers(len(COLOURS))]
    else:
        ground, colour = LIGHT_PAPERS[rng.integers(len(LIGHT_PAPERS))], DARK_INKS[rng.integers(len(DARK_INKS))]
    page = np.ones((height, width, 3), np.float32) * np.array(ground, np.float32)
    if paper in ("textured", "board") or rng.random() < 0.2:
        page *= (1 + _fibres(rng, height, width, 0.08 if paper == "textured" else 0.03))[..., None]
    if board:  # wiped with a sponge
        page += 4 * _grain(rng, height, width, large / 20, large / 3)[..., None]
    if paper in ("ruled", "squared"):
        page = _lines(rng, page, ys, xs, stroke, squared=paper == "squared")
    if ink is not None:
        cover = ndimage.map_coordinates(ink, [ys * FINE, xs * FINE], order=1, mode="constant")
        if board:  # chalk skips the hollows
            cover = cover * (1 + 0.35 * _grain(rng, height, width, stroke / 12, stroke / 12)).clip(0.35, 1)
        cover = (cover * rng.uniform(0.8, 1))[..., None].astype(np.float32)
        page = page * (1 - cover) + np.array(colour, np.float32) * cover

    page *= _light(rng, height, width, strong=paper == "shaded")[..., None]
    picture = Image.fromarray(page.clip(0, 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.28) * stroke))
    if rng.random() < 0.3:
        picture = _shaken(picture, rng.uniform(0.2, 0.6) * stroke, rng.uniform(0, np.pi))
    noise = rng.uniform(1, 10) * rng.standard_normal((height, width, 1), np.float32)
    stored = io.BytesIO()
    picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    picture.save(stored, "JPEG", quality=int(rng.integers(30, 91)))
    return np.asarray(Image.open(stored))


def _page(rng, height, width, large, wide):
    """Return for each pixel where it lies on the page, in digits from the ink's corner: two arrays [height, width]."""
    angle = np.deg2rad(rng.uniform(-6, 6))
    tilt = rng.uniform(-0.12, 0.12, 2) / max(height, width)
    free_y, free_x = max(height - large, 0), max(width - wide * large, 0)
    centre = large / 2 + rng.uniform(0.1, 0.9) * free_y, wide * large / 2 + rng.uniform(0.1, 0.9) * free_x
    ys, xs = np.ogrid[:height, :width]
    ys, xs = ys - centre[0], xs - centre[1]
    depth = 1 + tilt[0] * ys + tilt[1] * xs
    ys, xs = (
        (np.cos(angle) * ys - np.sin(angle) * xs) / depth / large,
        (np.sin(angle) * ys + np.cos(angle) * xs) / depth / large,
    )
    return ys + 0.5, xs + wide / 2


def _fibres(rng, height, width, strength):
    """Return the texture of paper: grain and short fibres in all directions, of deviation `strength`."""
    size = max(1.0, max(height, width) / 500)
    return strength / 3**0.5 * sum(_grain(rng, height, width, size * a, size * b) for a, b in ((1, 1), (1, 5), (5, 1)))


def _grain(rng, height, width, tall, wide):
    """Return smooth noise of deviation 1 whose grains are `tall` and `wide` pixels large, float32 [height, width]."""
    tall, wide = max(tall, 0.7), max(wide, 0.7)
    few = max(2, round(height / tall)), max(2, round(width / wide))
    grain = Image.fromarray(rng.standard_normal(few, np.float32))
    grain = np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC))
    return grain / grain.std()


def _lines(rng, page, ys, xs, stroke, squared):
    """Return `page` with printed lines: blue or grey, thinner than the pen; ruled pages may have a red margin."""
    colour = ((100, 130, 210), (140, 160, 205), (130, 130, 135), (90, 150, 175))[rng.integers(4)]
    apart = rng.uniform(0.3, 0.6) if squared else rng.uniform(0.4, 1.1)
    thick = rng.uniform(0.12, 0.35) * 0.1  # in digits; the pen's width is 0.1
    strength = rng.uniform(0.5, 0.95)
    start = rng.uniform(0, apart, 2)
    pixel = 0.1 / stroke
    for number, along in enumerate((ys, xs) if squared else (ys,)):
        away = np.abs((along - start[number] + apart / 2) % apart - apart / 2)
        cover = strength * ((thick / 2 - away) / pixel + 0.5).clip(0, 1)[..., None]
        page = page * (1 - cover) + np.array(colour) * cover
    if not squared and rng.random() < 0.5:
        place = rng.uniform(-0.6, -0.15)
        cover = 0.8 * ((thick / 2 - np.abs(xs - place)) / pixel + 0.5).clip(0, 1)[..., None]
        page = page * (1 - cover) + np.array((215, 110, 120)) * cover
    return page


def _light(rng, height, width, strong):
    """Return the light on each pixel, [height, width] about 1: a gradient, and where `strong` a shadow or a lamp."""
    ys, xs = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    across = np.cos(angle) * xs + np.sin(angle) * ys
    light = 1 - rng.uniform(0, 0.35 if strong else 0.15) * (across + 1) / 2
    kind = rng.integers(3) if strong else rng.integers(6)
    if kind == 0:  # the edge of a shadow, soft or sharp
        angle = rng.uniform(0, 2 * np.pi)
        edge = (np.cos(angle) * xs + np.sin(angle) * ys - rng.uniform(-0.5, 0.5)) / rng.uniform(0.02, 0.3)
        light = light * (1 - rng.uniform(0.25, 0.6) / (1 + np.exp(-edge.clip(-50, 50))))
    elif kind == 1:  # a lens darker at its rim
        light = light * (1 - rng.uniform(0.15, 0.3) * (xs**2 + ys**2))
    elif kind == 2 and strong:  # a lamp
        y, x = rng.uniform(-1, 1, 2)
        light = light * (0.55 + 0.45 * np.exp(-((ys - y) ** 2 + (xs - x) ** 2) / rng.uniform(0.8, 2)))
    return light.astype(np.float32)


def _shaken(picture, length, angle):
    """Return `picture` as a hand that moves by `length` pixels takes it."""
    pixels = np.asarray(picture).astype(np.uint16)
    far = int(length) + 1
    height, width, _ = pixels.shape
    pixels = np.pad(pixels, ((far, far), (far, far), (0, 0)), mode="edge")
    total = np.zeros((height, width, 3), np.uint16)
    for step in np.linspace(-0.5, 0.5, 9):
        top, left = (far + round(length * step * turn) for turn in (np.sin(angle), np.cos(angle)))
        total += pixels[top : top + height, left : left + width]
    return Image.fromarray((total // 9).astype(np.uint8)).filter(ImageFilter.GaussianBlur(length / 16))


def no_digits():
    """Return 20 pictures that hold no digit, {name: uint8 [height, width, 3]}."""
    rng = np.random.default_rng(23)
    side = np.arange(400)
    ys, xs = np.mgrid[-1:1:400j, -1:1:400j]
    smooth = ndimage.gaussian_filter
    wood = np.sin(40 * (ys + 0.08 * np.sin(3 * xs + 1) + 0.05 * smooth(rng.standard_normal(ys.shape), 20) * 40))
    weave = np.sin(side / 2.2)[:, None] * np.sin(side / 2.2 + np.pi / 2)
    text = np.zeros((400, 400))
    for top in range(14, 380, 22):
        x = 12
        while x < 380:
            text[top : top + 12, x : x + rng.integers(2, 4)] = 1
            text[top + rng.integers(0, 10) :, x : x + 8][:2] = 1
            x += rng.integers(8, 16)
    blob = smooth((np.hypot(ys, xs) < 0.7).astype(float), 40)
    grey = {
        "white": np.full((300, 400), 255.0),
        "black": np.zeros((300, 400)),
        "a gradient": np.broadcast_to(np.linspace(40, 250, 400), (300, 400)),
        "fine noise": rng.integers(0, 256, (300, 400)),
        "coarse noise": 128 + 900 * smooth(rng.standard_normal((400, 400)), 8),
        "a checkerboard": 40 + 180 * ((side[:, None] // 50 + side // 50) % 2),
        "stripes": 40 + 180 * np.broadcast_to(side // 25 % 2, (400, 400)),
        "wood": 150 + 35 * wood + 6 * rng.standard_normal(ys.shape),
        "cloth": 130 + 50 * weave + 10 * rng.standard_normal(weave.shape),
        "a blurred blob": 235 - 180 * blob,
        "a page of writing": 235 - 190 * smooth(text, 0.8),
        "a sheet's edge on a table": smooth(np.where(ys + 0.1 * xs < 0.2, 235.0, 60.0), 1.5)
        + 4 * rng.standard_normal(ys.shape),
    }
    pictures = {
        name: np.asarray(levels, float).clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2)
        for name, levels in grey.items()
    }
    empty = {"blank": "plain", "textured": "textured", "shaded": "shaded", "ruled": "ruled", "squared": "squared"}
    for number, (name, paper) in enumerate({**empty, "wiped board": "board", "coloured": "coloured"}.items()):
        pictures[f"an empty page, {name}"] = _photograph(np.random.default_rng([23, number]), None, paper, side=640)
    shadow = np.random.default_rng(24)
    page = 240 * (1 - 0.45 / (1 + np.exp(-40 * (ys + xs / 2)))) + 4 * shadow.standard_normal(ys.shape)
    pictures["a shadow's edge"] = page.clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    return pictures
