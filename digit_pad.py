"""The drawing pad of notebook 08: strokes become a digit as MNIST has them, and a view of LeNet-5 reading it.

prepare() and network_input() turn strokes into an image, layer_activations() runs the 1998 network on it, LayerView
draws what it finds as one picture, and DigitPad is the widget that brings them together.
"""

import base64
import io
from pathlib import Path

import anywidget
import numpy as np
import torch
import traitlets
from PIL import Image, ImageDraw, ImageFont

from lenet import C3_TABLE, LeNet5
from lenet_data import as_images, centred, describe, fitted
from lenet_utils import COLOURS

SIDE = 280  # of the pad: ten of its units are a pixel of MNIST
PEN = 26  # width of the line, as wide for its height as the lines of MNIST's training digits are on average
MOST_POINTS = 20_000  # of a drawing, some minutes of scribbling; to draw them takes Python half a second
NOTHING = "draw a digit"


# ------------------------------------------------------------------------------------- strokes to an image


def prepare(strokes):
    """Return the drawing `strokes` as MNIST would have it, uint8 [28, 28] (ink 255), or None if it is no drawing.

    strokes: a list of strokes, each a list of points [x, y] in the pad's units, 0 to SIDE, y downwards. The longer side
    of the inked box becomes 20 pixels, grey levels are shares of ink, and the box is moved by whole pixels until its
    centre of mass lies at pixel (14, 14), or as near as the image's border lets it come. An empty pad, or a dot no
    larger than two widths of the pen, is no drawing. Raises ValueError as check_strokes does.
    """
    strokes = [np.array(stroke).clip(0, SIDE) for stroke in check_strokes(strokes)]
    if not strokes or np.ptp(np.concatenate(strokes), axis=0).max() < PEN:
        return None
    return centred(fitted(_ink(strokes)))


def check_strokes(strokes):
    """Return `strokes` as plain lists [[[x, y], ...], ...] of numbers, without the empty ones; the pad stores them so.

    strokes: a list, tuple or array of strokes, each a list, tuple or array of points. Raises ValueError, with what was
    found, for anything but finite [x, y] and for more than MOST_POINTS points.
    """
    wanted = "strokes must be lists of points [x, y]"
    if not _is_list(strokes):
        raise ValueError(f"{wanted}, not {describe(strokes)}.")
    count = max(len(strokes), sum(len(stroke) for stroke in strokes if _is_list(stroke)))
    if count > MOST_POINTS:
        raise ValueError(f"{wanted}, {MOST_POINTS:,} at most: this drawing has {count:,}.")
    plain = []
    for number, stroke in enumerate(strokes, 1):
        if _is_list(stroke) and len(stroke) == 0:
            continue
        try:
            points = np.asarray(stroke if _is_list(stroke) else None)
        except Exception:  # points of different lengths, or of what no array takes
            points = np.empty(0, object)
        if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iuf":
            raise ValueError(f"{wanted}: stroke {number} is something else ({describe(stroke)}).")
        if points.dtype.kind == "f":
            with np.errstate(over="ignore"):
                points = points.astype(float)  # JSON knows no floats of 80 bits
        if not np.isfinite(points).all():
            raise ValueError(f"{wanted}: stroke {number} has a coordinate that is not a finite number.")
        plain.append(points.tolist())
    return plain


def _is_list(value):
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _ink(strokes):
    """Return what the pen leaves on the pad, a grey picture of SIDE x SIDE (ink 255)."""
    picture = Image.new("L", (SIDE, SIDE))
    draw, radius = ImageDraw.Draw(picture), PEN / 2
    for stroke in strokes:
        draw.line(stroke.ravel().tolist(), fill=255, width=PEN)
        for x, y in stroke:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return picture


def network_input(digit):
    """Return a digit, uint8 [28, 28] with ink 255, as load_mnist(scaling="paper") would: float32 [1, 1, 32, 32].

    Raises ValueError for anything else.
    """
    if not isinstance(digit, (np.ndarray, torch.Tensor)) or digit.shape != (28, 28):
        raise ValueError(
            f"A digit must be uint8 [28, 28], not {describe(digit)}: prepare_image makes one of a picture."
        )
    image = as_images(digit[None], scaling="paper")
    border = np.median(np.concatenate([digit[0], digit[-1], digit[:, 0], digit[:, -1]]))
    if border > 127 and digit.min() < border / 2:
        raise ValueError("This digit is dark on light, MNIST's are ink 255 on 0: prepare_image turns a picture round.")
    return image


# ----------------------------------------------------------------------------------- a look into the network


def layer_activations(net, images):
    """Return every layer's activations in the LeNet5 `net` for `images` [N, 1, 32, 32], in a dict by the layer's name.

    "input" holds the images, "c1" to "f6" what comes out of the squashing function ([N, maps, side, side]; f6 [N, 84]),
    "output" the distances [N, 10].
    """
    activations = {"input": images}
    with torch.no_grad():
        for name in ("c1", "s2", "c3", "s4", "c5"):
            *_, before = activations.values()
            activations[name] = net.squash(getattr(net, name)(before))
        activations["f6"] = net.squash(net.f6(activations["c5"].flatten(1)))
        activations["output"] = net.output(activations["f6"])
    return activations


def _ramp(colours):
    """Return 256 colours, uint8 [256, 3], that run evenly from the first of `colours` (hex) to the last."""
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    at = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(at, range(len(stops)), stops[:, i]) for i in range(3)], axis=1).round().astype(np.uint8)


SIGNED = _ramp([COLOURS["train"], "#FFFFFF", COLOURS["test"]])  # activations from -1.7159 to 1.7159
INK = _ramp(["#FFFFFF", "#000000"])  # the input, from -0.1 to 1.175


class LayerView:
    """Draws all layers of a LeNet5 as one picture: 660 x 516 units, each two pixels wide and high.

        view = LayerView(net)
        png, answer = view(digit)        # a uint8 [28, 28], or None for an empty pad

    Blue is below 0, orange above, white is 0. Under C1 the connection table stands between the maps of S2, a row each,
    and those of C3, a column each. F6 is drawn as 7 x 12 units next to the ten bitmaps, with the distance to each below
    it. What no digit changes is drawn once.
    """

    width, height, pixels = 660, 516, 2

    def __init__(self, net):
        if not isinstance(net, LeNet5):
            raise ValueError(f"LayerView draws the layers of a LeNet5, not of {describe(net)}.")
        self.net = net
        self.fonts = {size: ImageFont.load_default(size * self.pixels) for size in (11, 13, 72)}
        self.places = {"input": (2, 18, 3)}  # of each map: x, y, size of a cell
        self.places |= {("c1", i): (112 + 62 * i, 18, 2) for i in range(6)}
        self.places |= {("s2", i): (2, 144 + 32 * i, 2) for i in range(6)}
        self.places |= {("c3", i): (52 + 38 * i, 338, 3) for i in range(16)}
        self.places |= {("s4", i): (52 + 38 * i, 372, 6) for i in range(16)}
        self.places |= {"c5": (52, 410, 5), "f6": (52, 432, 5)}
        self.places |= {("bitmap", i): (108 + 55 * i, 432, 5) for i in range(10)}
        self.ground = self._ground()

    def __call__(self, digit):
        """Return the view of `digit` (uint8 [28, 28] or None) as PNG, bytes, and the answer in words."""
        if digit is None:
            return self._finish(self.ground.copy(), NOTHING, None), NOTHING
        # One digit is too little to share between threads, and they wait long for each other on a busy machine.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            activations = layer_activations(self.net, network_input(digit))
        finally:
            torch.set_num_threads(threads)
        canvas = np.array(self.ground)
        self._paint(canvas, "input", activations["input"][0, 0], INK, -0.1, 1.175)
        for name in ("c1", "s2", "c3", "s4"):
            for number, cells in enumerate(activations[name][0]):
                self._paint(canvas, (name, number), cells)
        self._paint(canvas, "c5", activations["c5"].view(1, 120))
        self._paint(canvas, "f6", activations["f6"].view(12, 7))
        distances = activations["output"][0]
        answer = f"reads {distances.argmin().item()}"
        return self._finish(Image.fromarray(canvas), answer, distances.tolist()), answer

    def _paint(self, canvas, place, cells, ramp=SIGNED, low=-1.7159, high=1.7159):
        x, y, size = (self.pixels * number for number in self.places[place])
        shades = ((cells.numpy() - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
        picture = ramp[shades].repeat(size, axis=0).repeat(size, axis=1)
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

    def _write(self, draw, x, y, text, size=11, anchor="la", colour="#404040"):
        draw.text((self.pixels * x, self.pixels * y), text, colour, self.fonts[size], anchor)

    def _ground(self):
        """Return what is the same for every digit: names, frames, the table and the bitmaps."""
        canvas = np.full((self.pixels * self.height, self.pixels * self.width, 3), 255, np.uint8)
        for number, bitmap in enumerate(self.net.output.bitmaps):
            self._paint(canvas, ("bitmap", number), bitmap.view(12, 7))
        ground = Image.fromarray(canvas)
        draw = ImageDraw.Draw(ground)
        sides = {"input": (32, 32), "c1": (28, 28), "s2": (14, 14), "c3": (10, 10), "s4": (5, 5),
                 "c5": (120, 1), "f6": (7, 12), "bitmap": (7, 12)}  # fmt: skip
        for place, (x, y, size) in self.places.items():
            across, down = sides[place if isinstance(place, str) else place[0]]
            corners = (x - 0.5, y - 0.5, x + size * across, y + size * down)
            draw.rectangle([self.pixels * number for number in corners], outline="#B0B0B0")
        for text, x, y in (
            ("input 32 x 32", 2, 2), ("C1: 6 maps of 28 x 28", 112, 2), ("S2: 6 of 14 x 14", 2, 127),
            ("the dots show which maps of S2 (rows) each map of C3 (columns) sees", 112, 127),
            ("C3", 16, 346), ("S4", 16, 380), ("C5", 16, 406), ("F6", 16, 455), ("distance", 52, 498),
            ("activations: blue below 0, orange above", 112, 82),
        ):  # fmt: skip
            self._write(draw, x, y, text)
        for i, row in enumerate(C3_TABLE):
            for j, connected in enumerate(row.tolist()):
                x, y = 2 * (52 + 38 * i + 15), 2 * (144 + 32 * j + 14)
                radius = 10 if connected else 2
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), "#404040" if connected else "#C8C8C8")
        return ground

    def _finish(self, picture, answer, distances):
        """Write the answer, and the distances if there are any, into the picture; return it as PNG."""
        draw = ImageDraw.Draw(picture)
        if distances is None:
            self._write(draw, 574, 44, answer, 13, "mm")
        else:
            best = min(distances)
            self._write(draw, 574, 56, answer.split()[-1], 72, "mm", COLOURS["test"])
            for digit, distance in enumerate(distances):
                colour = COLOURS["test"] if distance == best else "#404040"
                self._write(draw, 108 + 55 * digit + 17, 498, f"{distance:.1f}", 11, "ma", colour)
        png = io.BytesIO()
        picture.save(png, "PNG", compress_level=1)
        return png.getvalue()


# ------------------------------------------------------------------------------------------------ the widget


class DigitPad(anywidget.AnyWidget):
    """A pad to draw a digit on with the mouse, a finger or a pen, beside a picture that follows every stroke.

    look: called with the prepared digit (uint8 [28, 28], or None for an empty pad) after every change; returns a PNG,
        bytes, and an answer, text: a LayerView, say. strokes: a drawing to begin with, as prepare() takes it.

    `strokes` (plain lists, set them anew to change the drawing), `digit` and `answer` hold the present state. Anything
    but strokes is refused with a TraitError, and all three stay as they are. Ctrl+Z takes back the last stroke, Delete
    or Backspace erases all. A stored notebook, and any page without a kernel, shows the picture alone.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = """
    .digit-pad { display: flex; flex-wrap: wrap; gap: 16px; color: inherit; }
    .digit-pad-left { width: 224px; display: flex; flex-direction: column; gap: 8px; }
    .digit-pad canvas { width: 224px; height: 224px; box-sizing: border-box; background: white; cursor: crosshair;
        border: 1px solid #808080; border-radius: 4px; touch-action: none; }
    .digit-pad button { margin-right: 8px; padding: 4px 14px; font: inherit; color: inherit; background: transparent;
        border: 1px solid currentColor; border-radius: 4px; cursor: pointer; }
    .digit-pad :focus-visible { outline: 3px solid #0072B2; outline-offset: 1px; }
    .digit-pad output { font-size: 20px; }
    .digit-pad img { flex: 1 1 480px; min-width: 0; max-width: 660px; height: auto; align-self: flex-start;
        background: white; }
    """
    # ipywidgets 7 would display by this method, and leave the picture for pages without a kernel out.
    _ipython_display_ = None

    side = traitlets.Int(SIDE, read_only=True).tag(sync=True)
    pen = traitlets.Int(PEN, read_only=True).tag(sync=True)
    strokes = traitlets.TraitType([]).tag(sync=True, echo_update=False)
    picture = traitlets.Bytes().tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)

    def __init__(self, look, strokes=()):
        self.look = look
        super().__init__(strokes=strokes)

    @traitlets.validate("strokes")
    def _read(self, proposal):
        """Read a drawing before it becomes the present one: strokes, digit, picture and answer change together."""
        try:
            strokes = check_strokes(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None  # the one error after which a widget takes a change back
        digit = prepare(strokes)
        try:
            seen = self.look(digit)
        except Exception as error:
            raise traitlets.TraitError(f"look cannot read this drawing ({type(error).__name__}: {error}).") from error
        if not isinstance(seen, tuple) or [type(part) for part in seen] != [bytes, str]:
            raise traitlets.TraitError(f"look must return a PNG, bytes, and an answer, text; it gave {describe(seen)}.")
        self.digit, (self.picture, self.answer) = digit, seen
        return strokes

    def __repr__(self):
        return f"DigitPad: {self.answer}"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["image/png"] = base64.b64encode(self.picture).decode()
        size = {"width": LayerView.width, "height": LayerView.height}
        return data, metadata | {"image/png": size | {"alt": f"The network's layers: {self.answer}"}}
