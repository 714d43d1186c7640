"""prepare_image: a reader's own picture becomes a digit as MNIST has them, or is refused in one sentence."""

import io
import os
import stat
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from lenet import LeNet5
from lenet_data import BOX, CENTRE, as_images, prepare_image
from lenet_utils import DATA, load_mnist, load_weights, predict
from tools.notebook_rules import ROOT

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def net():
    return load_weights(LeNet5(), ROOT / "weights/original_1998/60000_seed0.safetensors")


@pytest.fixture(scope="module")
def digits():
    """Test digits, uint8 [N, 28, 28]."""
    images, _ = load_mnist(train=False, size=28, scaling="paper")
    return ((images[:, 0] + 0.1) / 1.275 * 255).round().to(torch.uint8).numpy()


def read(net, digit):
    return predict(net, as_images(digit[None], scaling="paper")).item()


def scene(digit, size=(640, 480), side=200, ink=(30, 30, 60), paper=(235, 230, 220), light=25, noise=6, seed=0):
    """Return a photograph of `digit` on paper, uint8 RGB: anywhere, with light that grows to the right, and noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
    share = np.zeros((height, width, 1))
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    share[top : top + side, left : left + side, 0] = np.asarray(large) / 255
    ground = np.array(paper) + np.linspace(-light, light, width)[:, None]
    grain = rng.normal(0, noise, (height, width, 1))
    return (ground * (1 - share) + np.array(ink) * share + grain).clip(0, 255).astype(np.uint8)


def assert_is_a_digit(digit):
    assert isinstance(digit, np.ndarray) and digit.dtype == np.uint8 and digit.shape == (28, 28)
    assert digit[0].max() == digit[:, 0].max() == 0 or digit.any(), "ink 255 on 0"
    assert np.median(digit) == 0 and digit.max() > 200
    ys, xs = np.nonzero(digit)
    assert max(np.ptp(ys), np.ptp(xs)) + 1 <= BOX
    touches = ys.min() <= 0 or xs.min() <= 0 or ys.max() >= 27 or xs.max() >= 27
    centre = (digit.sum(1) @ np.arange(28) / digit.sum(), digit.sum(0) @ np.arange(28) / digit.sum())
    assert touches or np.abs(np.subtract(centre, CENTRE)).max() <= 0.51


# ---------------------------------------------------------------------------------------------- what it reads

SCENES = {
    "as it comes": {},
    "large": {"size": (900, 700), "side": 400},
    "small": {"size": (90, 120), "side": 60},
    "a small digit on a large page": {"side": 60},
    "light on dark": {"ink": (240, 240, 230), "paper": (40, 60, 50)},
    "a pale pencil": {"ink": (150, 150, 160)},
    "uneven light": {"light": 60},
    "a grainy picture": {"noise": 20},
}


@pytest.mark.parametrize("kind", SCENES)
def test_digits_on_paper_are_read_as_the_digits_themselves(kind, net, digits):
    chosen = digits[::250]
    expected = predict(net, as_images(chosen, scaling="paper")).tolist()
    found = [prepare_image(scene(digit, seed=seed, **SCENES[kind])) for seed, digit in enumerate(chosen)]
    for digit in found:
        assert_is_a_digit(digit)
    read = predict(net, as_images(np.stack(found), scaling="paper")).tolist()
    assert len(expected) == 40 and sum(map(int.__eq__, read, expected)) >= 38


def test_a_digit_of_mnist_stays_what_it_is(net, digits):
    chosen = digits[::100]
    for picture in (chosen, 255 - chosen):
        found = np.stack([prepare_image(digit) for digit in picture])
        same = predict(net, as_images(found, scaling="paper")) == predict(net, as_images(chosen, scaling="paper"))
        assert same.sum() >= 98
        assert np.abs(found.astype(int) - chosen).mean() < 5


def to_mode(mode):
    return lambda picture, folder: Image.fromarray(picture).convert(mode)


def with_alpha(mode):
    """Ink on transparent paper."""

    def convert(picture, folder):
        grey = Image.fromarray(picture).convert("L")
        alpha = grey.point(lambda level: 255 * (level < 120))
        picture = Image.new("RGB", grey.size)
        picture.putalpha(alpha)
        return picture.convert(mode)

    return convert


def transparent_palette(picture, folder):
    """As drawing programs store it: one colour of the palette is transparent."""
    palette = Image.fromarray(np.where(picture.mean(axis=2) < 120, 0, 1).astype(np.uint8))
    palette.putpalette([20, 20, 20, 0, 0, 0])  # without its transparency the picture is black
    stored = io.BytesIO()
    palette.save(stored, "PNG", transparency=1)
    return Image.open(stored)


def sixteen_bits(low, high):
    def convert(picture, folder):
        grey = np.asarray(Image.fromarray(picture).convert("L")).astype(float)
        return Image.fromarray((low + grey / 255 * (high - low)).astype(np.uint16))

    return convert


def floats(scale, kind):
    return lambda picture, folder: Image.fromarray(picture.mean(axis=2).astype(kind) * kind(scale))


def stored_as(name, **options):
    def store(picture, folder):
        path = folder / name
        Image.fromarray(picture).save(path, **options)
        return path

    return store


def turned(picture, folder):
    """As a telephone held upright stores it: turned, with a note of that."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture).copy()).save(folder / "turned.jpg", exif=exif, quality=95)
    return folder / "turned.jpg"


def opened(picture, folder):
    return Image.open(stored_as("opened.png")(picture, folder))


KINDS = {
    "text of a path": lambda picture, folder: str(stored_as("a.png")(picture, folder)),
    "JPEG": stored_as("a b ü 数.jpg", quality=90), "TIFF": stored_as("a.tif"), "GIF": stored_as("a.gif"),
    "not yet read": opened, "turned": turned,
    **{mode: to_mode(mode) for mode in ("RGB", "L", "P", "1", "CMYK", "YCbCr", "HSV", "I", "F")},
    **{f"{mode} on nothing": with_alpha(mode) for mode in ("RGBA", "LA", "PA", "RGBa")},
    "transparent palette": transparent_palette,
    "I;16": sixteen_bits(0, 65535), "12 bits in I;16": sixteen_bits(0, 4095), "pale I;16": sixteen_bits(30000, 40000),
    "floats to 1": floats(1 / 255, np.float32),
    "array RGB": lambda picture, folder: picture,
    "array RGBA": lambda picture, folder: np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)]),
    "array grey": lambda picture, folder: picture[..., 0],
    "array read-only": lambda picture, folder: np.asarray(Image.fromarray(picture)),
    "array of Fortran": lambda picture, folder: np.asfortranarray(picture),
    "array seen backwards": lambda picture, folder: picture[::-1, ::-1].copy()[::-1, ::-1],
    **{f"array {kind.__name__}": lambda picture, folder, kind=kind: (picture / 255).astype(kind)
       for kind in (np.float16, np.float32, np.float64, np.longdouble)},
}  # fmt: skip


@pytest.fixture(scope="module")
def four(net, digits):
    """A photograph of a 4, and what prepare_image makes of it."""
    chosen = next(digit for digit in digits if read(net, digit) == 4)
    picture = scene(chosen, size=(320, 240), side=160, noise=2)
    assert read(net, prepare_image(picture)) == 4
    return picture, prepare_image(picture)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_gives_the_same_digit(kind, four, net, tmp_path):
    picture, expected = four
    given = KINDS[kind](picture, tmp_path)
    before = given.copy() if isinstance(given, (np.ndarray, Image.Image)) else given
    digit = prepare_image(given)
    assert_is_a_digit(digit)
    assert read(net, digit) == 4
    assert np.abs(digit.astype(int) - expected).mean() < 20
    if isinstance(given, np.ndarray):
        assert np.array_equal(given, before), "the reader's own array has changed"
    elif isinstance(given, Image.Image):
        assert (given.mode, given.size, given.tobytes()) == (before.mode, before.size, before.tobytes())


def test_the_home_folder_and_a_changed_one(four, net, tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    stored_as("a.png")(four[0], tmp_path)
    assert np.array_equal(prepare_image("~/a.png"), prepare_image(tmp_path / "a.png"))


def test_specks_and_a_large_picture_do_not_matter(four, net):
    picture = four[0].copy()
    for x, y in ((5, 5), (300, 20), (10, 230)):
        picture[y : y + 3, x : x + 3] = 0
    assert read(net, prepare_image(picture)) == 4
    assert read(net, prepare_image(picture.repeat(12, axis=0).repeat(12, axis=1))) == 4  # eleven million pixels


def test_a_picture_of_a_hundred_million_pixels_does_not_warn(four, net, monkeypatch, tmp_path):
    """From 89 million on PIL warns; telephones take 108."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    path = stored_as("a.png")(four[0], tmp_path)
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert read(net, prepare_image(path)) == 4
    assert seen == []


# ---------------------------------------------------------------------------------------------- what it refuses

NOISE = np.random.default_rng(0)
BLANK = np.full((120, 160, 3), 250, np.uint8)
NOTHING = {
    "white": BLANK,
    "black": np.zeros((100, 100), np.uint8),
    "uneven light": np.tile(np.linspace(100, 250, 200), (150, 1)).astype(np.uint8),
    "grainy paper": (220 + NOISE.normal(0, 8, (480, 640))).clip(0, 255).astype(np.uint8),
    "grainy paper, small": (220 + NOISE.normal(0, 8, (28, 28))).clip(0, 255).astype(np.uint8),
    "grainy dark": (30 + NOISE.normal(0, 10, (100, 100))).clip(0, 255).astype(np.uint8),
    "grainy paper of 16 bits": Image.fromarray((40_000 + NOISE.normal(0, 90, (100, 100))).astype(np.uint16)),
    "noise": NOISE.integers(0, 256, (300, 400), dtype=np.uint8),
    "noise of floats": NOISE.random((28, 28)),
    "transparent": Image.new("RGBA", (50, 50)),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_page_without_a_digit_is_refused(kind):
    with pytest.raises(ValueError, match="^No digit stands out in this picture: .*[.]$"):
        prepare_image(NOTHING[kind])


def test_many_parts_are_refused(digits):
    for picture, count in (
        (np.concatenate([255 - digit for digit in digits[:12]], axis=1), r"1\d"),
        (255 * (NOISE.random((200, 200)) < 0.02).astype(np.uint8), r"\d{3}"),
    ):
        with pytest.raises(ValueError, match=f"^This picture has {count} separate parts of ink: cut it to one digit.$"):
            prepare_image(picture)


def text_file(folder):
    (folder / "a.png").write_text("no picture", encoding="utf-8")
    return folder / "a.png"


def missing(folder):
    return folder / "none.png"


def cut_short(folder):
    path = stored_as("a.png")(scene(np.zeros((28, 28), np.uint8)), folder)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def cut_short_and_opened(folder):
    return Image.open(io.BytesIO(cut_short(folder).read_bytes()))


def closed(folder):
    with Image.open(stored_as("a.png")(BLANK, folder)) as picture:
        pass
    return picture


def broken_png(folder):
    path = stored_as("a.png")(BLANK, folder)
    content = bytearray(path.read_bytes())
    content[50] ^= 255
    path.write_bytes(content)
    return path


def bomb(folder):
    Image.new("1", (20_000, 10_000)).save(folder / "a.png")
    return folder / "a.png"


def forbidden(folder):
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("root, and Windows, read it all the same")
    path = stored_as("a.png")(BLANK, folder)
    path.chmod(stat.S_IWUSR)
    return path


def cannot(value):
    return lambda folder: value


WRONG = {
    "a text file": (text_file, "a.png cannot be read as a picture"),
    "a path that is not there": (missing, "^There is no picture .*none.png.$"),
    "a folder": (lambda folder: folder, r"cannot be read as a picture \((Is a directory|Permission denied)\)"),
    "the digits": (cannot(DATA / "MNIST/raw/t10k-images-idx3-ubyte.gz"), "cannot be read as a picture"),
    "cut short": (cut_short, "a.png cannot be read as a picture"),
    "cut short and opened": (cut_short_and_opened, "This picture cannot be read as a picture"),
    "closed": (closed, "This picture cannot be read as a picture"),
    "broken": (broken_png, "a.png cannot be read as a picture"),
    "a bomb": (bomb, "a.png cannot be read as a picture .*200000000 pixels"),
    "not to be read": (forbidden, "Permission denied"),
    "no pixels": (cannot(Image.new("L", (0, 5))), "it has no pixels"),
    "no pixels in an array": (cannot(np.zeros((0, 5), np.uint8)), r"not \[0, 5\]"),
    "tiny": (cannot(np.zeros((7, 40), np.uint8)), "at least 8 pixels a side"),
    "a thin strip": (cannot(np.zeros((10, 2000), np.uint8)), "at least 8 pixels a side once it is small"),
    "bytes": (cannot(b"a.png"), "not a bytes"),
    "nothing": (cannot(None), "not None"),
    "a list": (cannot([[0, 255]]), "not a list"),
    "a tensor": (cannot(torch.zeros(28, 28)), r"not a torch.float32 tensor of shape \[28, 28\]"),
    "a number": (cannot(3), "not 3"),
    "one line": (cannot(np.zeros(784, np.uint8)), r"not \[784\]"),
    "channels first": (cannot(np.zeros((3, 28, 28), np.uint8)), r"not \[3, 28, 28\]"),
    "two channels": (cannot(np.zeros((28, 28, 2), np.uint8)), r"not \[28, 28, 2\]"),
    "many": (cannot(np.zeros((2, 28, 28, 3), np.uint8)), r"not \[2, 28, 28, 3\]"),
    "floats to 255": (cannot(np.full((28, 28), 254.0)), "of floats must lie between 0 and 1"),
    "floats below 0": (cannot(np.full((28, 28), -0.1)), "of floats must lie between 0 and 1"),
    "nan": (cannot(np.full((28, 28), np.nan)), "of floats must lie between 0 and 1"),
    "nan in PIL": (cannot(Image.fromarray(np.full((28, 28), np.nan, np.float32))), "pixels that are nan or infinite"),
    "infinite in PIL": (cannot(Image.fromarray(np.full((28, 28), np.inf, np.float32))), "pixels that are nan or infin"),
    "int64": (cannot(np.zeros((28, 28), np.int64)), "not int64"),
    "uint16": (cannot(np.zeros((28, 28), np.uint16)), "not uint16"),
    "bool": (cannot(np.zeros((28, 28), bool)), "not bool"),
    "complex": (cannot(np.zeros((28, 28), complex)), "not complex128"),
    "objects": (cannot(np.zeros((28, 28), object)), "not object"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_picture_is_refused_in_one_sentence(kind, tmp_path):
    make, said = WRONG[kind]
    given = make(tmp_path)
    with pytest.raises(ValueError, match=said) as raised:
        prepare_image(given)
    text = str(raised.value)
    assert "\n" not in text and text.endswith(".") and 20 < len(text) < 400 and "Errno" not in text
