"""The drawing pad of notebook 08: strokes become a digit as MNIST has them, and LeNet-5 reads it in the browser.

prepare() and network_input() turn strokes into an image, layer_activations() runs a network on it: the references for
the JavaScript in pad/, in which the pad does the same by itself. DigitPad is the widget.
"""

import base64
import copy
import io
import math
import re

import anywidget
import numpy as np
import torch
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from lenet import LeNet5, modern_lenet, tutorial_lenet
from lenet_data import ROOT, as_images, describe, unwrapped
from lenet_pictures import BOX, centred
from lenet_utils import COLOURS, weights_bytes

SIDE = 280  # of the pad, in units
PEN = 26  # width of the line where ten units are a pixel: as the lines of MNIST's training digits are on average
LEAST = 13  # units: a drawing no larger is a dot
MOST_POINTS = 20_000  # of a drawing, some minutes of scribbling; to ink them takes Python three seconds at most
NOTHING = "draw a digit"
# A network refuses a digit farther than this from every bitmap, or with a smaller largest probability: the limits at
# which 2 % of the validation digits are refused by networks that have not seen them (results/refusal.json).
LIMITS = {"LeNet5()": 12.1, "modern_lenet()": 0.83, "tutorial_lenet()": 0.77}


# ------------------------------------------------------------------------------------- strokes to an image


def prepare(strokes):
    """Return the drawing `strokes` as MNIST would have it, uint8 [28, 28] (ink 255), or None if it is no drawing.

    strokes: a list of strokes, each a list of points [x, y] in the pad's units, 0 to SIDE on the pad, y downwards; what
        lies more than SIDE beside it is moved to there.

    The drawing is scaled until its longer side, ink and all, is 200 units, and only then inked, with a line of PEN
    units; every 10 x 10 units become a pixel of the box of 20 x 20, its grey level their share of ink. The box is moved
    by whole pixels until its centre of mass lies at pixel (14, 14), or as near as the image's border lets it come. An
    empty pad, or a dot no larger than LEAST units, is no drawing. Raises ValueError as check_strokes does.
    """
    strokes = [np.array(stroke, float).clip(-SIDE, 2 * SIDE) for stroke in check_strokes(strokes)]
    if not strokes:
        return None
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    longer = (high - low).max()
    if longer <= LEAST:
        return None
    fine = 10 * BOX
    ink = _ink([(stroke - (low + high) / 2) * ((fine - PEN) / longer) + fine / 2 for stroke in strokes], fine)
    counts = ink.reshape(BOX, 10, BOX, 10).sum(axis=(1, 3))
    return centred(((255 * counts + 50) // 100).astype(np.uint8))


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
    array = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray) and value.ndim > 0
    return isinstance(value, (list, tuple)) or array


def _ink(strokes, side):
    """Return which units of side x side a pen of PEN units inks: those whose middle is within PEN / 2 of a line."""
    ink, radius = np.zeros((side, side), bool), PEN / 2
    for stroke in strokes:
        ends = stroke[1:] if len(stroke) > 1 else stroke
        for (ax, ay), (bx, by) in zip(stroke, ends, strict=False):
            dx, dy = bx - ax, by - ay
            left, top = (max(0, math.floor(min(ends) - radius)) for ends in ((ax, bx), (ay, by)))
            right, bottom = (min(side, math.ceil(max(ends) + radius)) for ends in ((ax, bx), (ay, by)))
            x, y = np.arange(left, right) + 0.5 - ax, (np.arange(top, bottom) + 0.5 - ay)[:, None]
            length2 = dx * dx + dy * dy
            along = ((x * dx + y * dy) / length2).clip(0, 1) if length2 > 0 else 0.0
            off_x, off_y = x - along * dx, y - along * dy
            ink[top:bottom, left:right] |= off_x * off_x + off_y * off_y <= radius * radius
    return ink


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


KINDS = {"LeNet5()": LeNet5, "modern_lenet()": modern_lenet, "tutorial_lenet()": tutorial_lenet}
LAYERS = ("c1", "s2", "c3", "s4", "c5", "f6", "output")
TUTORIAL_ENDS = ("1", "2", "4", "5", "8", "10", "11")  # the tutorial's layers that end c1, s2, ...


def layer_activations(net, images):
    """Return every layer's activations in `net` for `images`, as it takes them ([N, 1, 32, 32], say), by layer.

    net: a LeNet5, modern_lenet or tutorial_lenet, in evaluation mode. "input" holds the images, "c1" to "f6" what comes
    out of the activation, or of pooling where none follows ([N, maps, side, side]; c5 [N, 120, 1, 1] in a LeNet5 and
    [N, 120] else, f6 [N, 84]), "output" the distances or logits [N, 10]. Raises ValueError for another network.
    """
    kind = network_kind(net)
    activations = {"input": images}
    with torch.no_grad():
        if kind == "LeNet5()":
            for name in ("c1", "s2", "c3", "s4", "c5"):
                *_, before = activations.values()
                activations[name] = net.squash(getattr(net, name)(before))
            activations["f6"] = net.squash(net.f6(activations["c5"].flatten(1)))
            activations["output"] = net.output(activations["f6"])
            return activations
        ends = dict(zip(TUTORIAL_ENDS, LAYERS, strict=True)) if kind == "tutorial_lenet()" else None
        for key, layer in net.named_children():
            images = layer(images)
            if ends is None or key in ends:
                activations[ends[key] if ends else key] = images
    return activations


def network_kind(net):
    """Return the name of a network that the pad shows, "LeNet5()" say; ValueError, with what it is, for others."""
    kind = "LeNet5()" if type(net) is LeNet5 else getattr(net, "network", None)
    if not isinstance(net, nn.Module) or not isinstance(kind, str) or kind not in KINDS:
        found = kind if isinstance(kind, str) else describe(net)
        raise ValueError(f"The pad shows LeNet5(), modern_lenet() and tutorial_lenet(), not {found}.")
    return kind


def _copied(net):
    """Return a copy of a network that the pad shows, float32 on the CPU, in evaluation mode. Raises ValueError."""
    kind = network_kind(net)
    with torch.random.fork_rng([]):  # first weights are drawn, and at once replaced
        copied = KINDS[kind]().eval()
    try:
        copied.load_state_dict({name: tensor.detach().float() for name, tensor in net.state_dict().items()})
    except (NotImplementedError, RuntimeError) as error:  # weights on no device, or of other layers
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"This network cannot be shown as {kind}: {reason}.") from None
    with torch.no_grad():
        output = copied(torch.zeros(1, 1, *2 * [28 if kind == "tutorial_lenet()" else 32]))
    if not all(tensor.isfinite().all() for tensor in (output, *copied.state_dict().values())):
        raise ValueError(f"This network, {kind}, has weights with which it returns no finite numbers: train it anew.")
    return copied


def read(net, digit):
    """Return what `net` reads: the class, how sure it is, whether it takes the digit for one, and all activations.

    digit: uint8 [28, 28], ink 255. How sure: the squared distance to the nearest bitmap (LeNet5), or the largest
    softmax probability. It takes for a digit what keeps the limit of its kind in LIMITS. Raises ValueError.
    """
    kind = network_kind(net)
    images = network_input(digit)
    if kind == "tutorial_lenet()":
        images = as_images(digit[None], size=28)
    weights = next(net.parameters())
    modes = [(module, module.training) for module in net.modules()]
    # One digit is too little to share between threads, and they wait long for each other on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        activations = layer_activations(net.eval(), images.to(weights))
    finally:
        torch.set_num_threads(threads)
        for module, mode in modes:
            module.training = mode
    output = activations["output"][0]
    if kind == "LeNet5()":
        best, sure = output.argmin().item(), output.min().item()
        return best, sure, sure <= LIMITS[kind], activations
    best, sure = output.argmax().item(), output.softmax(dim=0).max().item()
    return best, sure, sure >= LIMITS[kind], activations


def _ramp(colours):
    """Return 256 colours, uint8 [256, 3], that run evenly from the first of `colours` (hex) to the last."""
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    at = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(at, range(len(stops)), stops[:, i]) for i in range(3)], axis=1).round().astype(np.uint8)


SIGNED = _ramp([COLOURS["train"], "#FFFFFF", COLOURS["test"]])  # activations, 0 in the middle
INK = _ramp(["#FFFFFF", "#000000"])  # the input


def layers_picture(activations, answer):
    """Return all layers as a picture, PNG, bytes, of 660 x 350 pixels: the pad where no browser draws it.

    activations: of one image, as layer_activations returns them, or None. answer: text, written above. A row a layer,
    each coloured up to its largest value; F6 is 7 x 12.
    """
    canvas = Image.new("RGB", (660, 350), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((8, 6), answer, "#404040", font)
    if activations:
        y = 30
        for name, size in {"input": 2, "c1": 2, "s2": 2, "c3": 3, "s4": 4, "c5": 4, "f6": 4}.items():
            values = activations[name][0].cpu().float().numpy()
            maps = values.reshape((1, 12, 7) if name == "f6" else (1, 1, 120) if name == "c5" else values.shape)
            low, high = (
                (values.min(), values.max()) if name == "input" else (-np.abs(values).max(), np.abs(values).max())
            )
            shades = ((maps - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
            pictures = (INK if name == "input" else SIGNED)[shades].repeat(size, axis=1).repeat(size, axis=2)
            draw.text((8, y), name.upper() if name != "input" else name, "#404040", font)
            for i, picture in enumerate(pictures):
                canvas.paste(Image.fromarray(picture), (60 + i * (picture.shape[1] + 5), y))
            y += max(pictures.shape[1] + 7, 20)
    png = io.BytesIO()
    canvas.save(png, "PNG")
    return png.getvalue()


# ------------------------------------------------------------------------------------------------ the widget

PAD = ROOT / "pad"
MODULES = ("pictures.js", "network.js", "words.js", "view.js", "pad.js")


def javascript():
    """Return the pad's program as one module: those of pad/, without their imports and exports but the last's."""
    texts = [(PAD / name).read_text(encoding="utf-8") for name in MODULES]
    return re.sub(r"^(import .*?;\n|export (?!default))", "", "\n".join(texts), flags=re.MULTILINE)


class DigitPad(anywidget.AnyWidget):
    """A pad to draw a digit on with the mouse, a finger or a pen, or to drop a picture on, and the networks reading it.

    networks: a LeNet5, modern_lenet or tutorial_lenet, or a dict of some by name; the pad runs copies of them, in the
        browser. strokes: a drawing to begin with, as prepare() takes it. language: of the pad, "en" or "zh"; None is
        that of the page around it, such as JupyterLab's.

    `strokes` (plain lists) is the drawing, `digit` (uint8 [28, 28], or None for an empty pad) what the networks read,
    be it drawn or from a picture; set one of them to change what is on the pad, and observe "drawing" to follow it.
    `answer` and `activations` (a dict by network and layer) are what PyTorch makes of the digit. Anything but strokes
    and digits is refused with a TraitError, and all stays as it is. A stored notebook shows a picture.
    """

    _esm = javascript()
    _css = PAD / "pad.css"
    # ipywidgets 7 would display by this method, and leave the picture for pages without a kernel out.
    _ipython_display_ = None

    _files = traitlets.List().tag(sync=True)
    limits = traitlets.Dict(LIMITS, read_only=True).tag(sync=True)
    language = traitlets.Enum(("en", "zh"), default_value=None, allow_none=True).tag(sync=True)
    # Strokes, or the 784 bytes of a digit that was no drawing.
    drawing = traitlets.TraitType([]).tag(
        sync=True,
        echo_update=False,
        from_json=lambda value, _: bytes(value) if isinstance(value, memoryview) else value,
    )

    def __init__(self, networks, strokes=(), language=None):
        if isinstance(networks, nn.Module):
            networks = {network_kind(unwrapped(networks)).removesuffix("()"): networks}
        if not isinstance(networks, dict) or not networks or not all(isinstance(name, str) for name in networks):
            found = f"a dict with the names {list(networks)}" if isinstance(networks, dict) else describe(networks)
            raise ValueError(f"networks must be a network, or a dict of some by name, not {found}.")
        self.networks = {name: _copied(unwrapped(net)) for name, net in networks.items()}
        files = [{"name": name, "weights": weights_bytes(net)} for name, net in self.networks.items()]
        super().__init__(_files=files, drawing=strokes, language=language)

    @traitlets.validate("drawing")
    def _check(self, proposal):
        drawing = proposal["value"]
        try:
            if not isinstance(drawing, bytes) or len(drawing) != 784:
                return check_strokes(drawing)
            network_input(np.frombuffer(drawing, np.uint8).reshape(28, 28))
            return drawing
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None  # the one error after which a widget takes a change back

    @property
    def strokes(self):
        return [] if isinstance(self.drawing, bytes) else copy.deepcopy(self.drawing)

    @strokes.setter
    def strokes(self, strokes):
        self.drawing = strokes

    @property
    def digit(self):
        if isinstance(self.drawing, bytes):
            return np.frombuffer(self.drawing, np.uint8).reshape(28, 28).copy()
        return prepare(self.drawing)

    @digit.setter
    def digit(self, digit):
        if digit is None:
            self.drawing = []
            return
        try:
            network_input(digit)
            pixels = torch.as_tensor(np.array(digit) if isinstance(digit, np.ndarray) else digit).cpu().numpy()
        except (ValueError, NotImplementedError) as error:
            raise traitlets.TraitError(str(error)) from None
        self.drawing = pixels.tobytes()

    @property
    def activations(self):
        digit = self.digit
        return {name: None if digit is None else read(net, digit)[3] for name, net in self.networks.items()}

    @property
    def answer(self):
        digit = self.digit
        if digit is None:
            return NOTHING
        answers = []
        for name, net in self.networks.items():
            best, _, taken, _ = read(net, digit)
            answers.append(f"{name} reads {best}" if taken else f"{name} sees no digit")
        return "; ".join(answers)

    def __repr__(self):
        return f"DigitPad: {self.answer}"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        picture = layers_picture(next(iter(self.activations.values())), self.answer)
        data["image/png"] = base64.b64encode(picture).decode()
        width, height = Image.open(io.BytesIO(picture)).size
        alt = f"The network's layers: {self.answer}"
        return data, metadata | {"image/png": {"width": width, "height": height, "alt": alt}}
