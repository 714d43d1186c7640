"""The notebooks' exercises: what is right, how exactly, and what a typical wrong answer tells.

lenet_utils passes `check` on. (Who reads on finds the answers. The solutions in the notebooks say more about them.)
"""

import copy
import gzip
import itertools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real

import numpy as np
import torch
from torch.nn import functional as F

import lenet_data

TRIES_BEFORE_THE_ANSWER = 3
_NO_ANSWER = "No answer yet: replace the ... above, run that cell, then this one."
_DECIMALS = ("", "one decimal", "two decimals", "three decimals", "four decimals", "five decimals", "six decimals")
_tries = {}  # of this session: an exercise's name -> its different wrong answers


def check(name, answer):
    """Print, in one line, whether the `answer` to an exercise is right; if not, what went wrong where that can be told.

    name: notebook and exercise, "01.1" to "08.4". answer: a number (a NumPy scalar and a tensor of one element are
        numbers, too), or for an exercise in code the function itself.

    A number is right if it differs from the exact value by half a unit of the last decimal asked for, or less; where a
    whole number is asked for, if it equals it. The right number is shown at the third different wrong one. A function
    is tried in many cases, and the first that fails is shown. Raises ValueError for a name that no exercise has;
    nothing for an answer, whatever it is.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        raise ValueError(f"There is no exercise {name!r}: the first is 01.1, the last 08.4.")
    exercise, tries = EXERCISES[name], _tries.setdefault(name, set())
    if answer is ...:
        print(_NO_ANSWER)
    elif isinstance(exercise, Number):
        print(_judge_number(exercise, answer, tries))
    else:
        print(_judge_function(exercise, name, answer, tries))


@dataclass
class Number:
    """An exercise whose answer is a number."""

    exact: float
    decimals: int = 0  # how many are asked for; 0: a whole number
    hints: dict = field(default_factory=dict)  # a typical wrong answer -> what went wrong


@dataclass
class Function:
    """An exercise whose answer is a function."""

    name: str
    cases: Callable  # of the student's function; yields each Case


@dataclass
class Case:
    """A call of a student's function."""

    call: str  # in words, or as one would write it
    arguments: tuple
    fault: Callable  # of what came (what was returned, or a Raised): None where that is right, else what would be
    keywords: dict = field(default_factory=dict)


@dataclass
class Raised:
    """An exception that a student's function raised."""

    error: BaseException


def _judge_number(exercise, answer, tries):
    number, decimals = _number(answer), exercise.decimals
    if number is None:
        wanted = f"a number to {_DECIMALS[decimals]}" if decimals else "a whole number"
        return f"Not yet: {_describe(answer)} came, and {wanted} is asked for."
    # Half a unit of the last decimal, and a little slack for what float32 has rounded.
    if abs(number - exercise.exact) <= (0.501 * 10**-decimals if decimals else 0):
        return f"Correct: {_right(exercise)}"
    tries.add(round(number, decimals) if decimals else number)
    hint, solution = _hint(exercise, number), ""
    if len(tries) >= TRIES_BEFORE_THE_ANSWER:
        solution = f"The answer is {_right(exercise)}; the folded solution below says why."
    elif not hint:
        hint = "Read the question once more, and go through it step by step."
    return " ".join(filter(None, (f"Not yet: {_show(number)}.", hint, solution)))


def _hint(exercise, number):
    """Return what went wrong, or nothing where that cannot be told."""
    decimals = exercise.decimals
    for value, hint in exercise.hints.items():
        if abs(number - value) <= 0.501 * 10 ** -(decimals or 2):
            return hint
    if not decimals and not number.is_integer():
        return "A whole number is asked for."
    shorter = (round(exercise.exact, fewer) for fewer in range(1, decimals))
    if number and any(math.isclose(number, value, rel_tol=1e-6) for value in shorter):
        return f"Right so far, but {_DECIMALS[decimals]} are asked for."
    return ""


def _right(exercise):
    return f"{exercise.exact:,.{exercise.decimals}f}"


def _judge_function(exercise, name, function, tries):
    if not callable(function):
        wanted = f'the function itself is asked for: lu.check("{name}", {exercise.name})'
        return f"Not yet: {_describe(function)} came, and {wanted}."
    count = 0
    for case in exercise.cases(function):
        arguments = copy.deepcopy(case.arguments)
        came = _call(function, *arguments, **case.keywords)
        if not count and (came is None or came is ...):
            return _NO_ANSWER
        fault = _fault(case, came)
        if fault is None and not all(map(_equal, arguments, case.arguments)):
            fault = "that is right, but it changes what it was given: work on a copy."
        if fault is not None:
            words = f"Not yet: {case.call} {_tell(came)}; {fault}"
            tries.add(words)
            shown = len(tries) >= TRIES_BEFORE_THE_ANSWER
            return words + " The folded solution below shows one way." * shown
        count += 1
    return f"Correct: right in all {count} cases."


def _call(function, *arguments, **keywords):
    """Return what the function returns, or a Raised."""
    try:
        return function(*arguments, **keywords)
    except KeyboardInterrupt:  # the reader's way out of a loop without an end
        raise
    except BaseException as error:
        return Raised(error)


def _fault(case, came):
    try:
        return case.fault(came)
    except Exception:  # a tensor without values, say
        return "that cannot be read."


def _equal(one, other):
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


# ------------------------------------------------------------------------------------------- what came, in words


def _number(answer):
    """Return an answer as a float (whole numbers of up to 15 digits are exact), None for what is no finite number."""
    try:
        if isinstance(answer, (torch.Tensor, np.ndarray, np.generic)):
            answer = answer.item()  # an exception if it has several elements
        if isinstance(answer, bool) or not isinstance(answer, (Real, Decimal)):
            return None
        number = float(answer)
    except Exception:  # an answer can be anything
        return None
    return number if math.isfinite(number) else None


def _show(number):
    return f"{int(number):,}" if number.is_integer() and abs(number) < 1e15 else f"{number:,.8g}"


def _tell(came):
    if type(came) is not Raised:
        number = _number(came)
        return f"returned {_describe(came) if number is None else _show(number)}"
    kind = type(came.error).__name__
    try:
        text = str(came.error)
    except Exception:  # an exception of the student's own
        text = ""
    return f"raised {kind}: {_short(text)}" if text else f"raised {kind}"


def _describe(value):
    try:
        if isinstance(value, (torch.Tensor, np.ndarray)) and math.prod(value.shape) == 1:
            value = value.item()
        if isinstance(value, int) and abs(value) > 1e15:
            return "an enormous number"
        if isinstance(value, str):
            return f"the text {_short(repr(value))}"
        return _short(lenet_data.describe(value))
    except Exception:  # a value can be anything
        return "something else"


def _short(text, most=100):
    """Return a text in one line of what can be printed, cut where it is long."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split()).rstrip(".")
    return text if len(text) <= most else f"{text[:most]} ..."


# ------------------------------------------------------------------------------------------- the exercises in code


def _dilated_size_cases(function):
    """Small rows, windows, strides, paddings and dilations, simplest first, and then those where nothing fits."""
    fitting, others = [], []
    for dilation, padding, stride, kernel_size, size in itertools.product(
        (1, 2, 3), (0, 1, 2), (1, 2, 3), (1, 2, 3, 4), (2, 3, 5, 6, 8)
    ):
        defaults = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
        keywords = {name: value for name, (value, default) in defaults.items() if value != default}
        given = ", ".join([f"{size}", f"{kernel_size}", *(f"{name}={value}" for name, value in keywords.items())])
        row, window = (torch.zeros(1, 1, cells, device="cpu") for cells in (size, kernel_size))
        try:
            stops = F.conv1d(row, window, stride=stride, padding=padding, dilation=dilation).shape[-1]
        except RuntimeError:  # the window does not fit
            stops = None
        fault = _dilated_size_fault(stops, size, kernel_size, stride, padding, dilation)
        case = Case(f"dilated_size({given})", (size, kernel_size), fault, keywords)
        (others if stops is None else fitting).append(case)
    return fitting + others


def _dilated_size_fault(stops, size, kernel_size, stride, padding, dilation):
    def room(span):
        return size + 2 * padding - span

    def fault(came):
        number = _number(came)
        if stops is None:
            unfit = "the window does not fit there, so it must raise a ValueError."
            return None if isinstance(came, Raised) and isinstance(came.error, ValueError) else unfit
        if number == stops:
            return None
        if isinstance(came, Raised):
            hint = "The window fits there."
        elif number is None:
            hint = ""
        elif not number.is_integer():
            hint = "Half a stop is none: round down."
        elif number == room(kernel_size) // stride + 1:
            hint = "The gaps make the window longer."
        elif number == room(dilation * kernel_size) // stride + 1:
            hint = "A window has one gap fewer than cells."
        # What follows holds because all simpler cases came before, and were right.
        elif dilation > 1:
            hint = "How many cells does the window span, from its first to its last?"
        elif padding:
            hint = "Padding is added at both ends."
        elif stride > 1:
            hint = "Where the window would stand over the end there is no stop: round down."
        else:
            hint = "Is the start counted, too?"
        return f"{stops} is right. {hint}".strip()

    return fault


def _balanced_table_cases(function):
    """Twenty seeds, two calls each."""
    tables = []

    def fault(seed, table):
        if not isinstance(table, torch.Tensor) or table.dtype != torch.bool or list(table.shape) != [16, 6]:
            return "a torch.bool tensor of shape [16, 6] is right."
        if table.sum() != 60:
            return f"it has {table.sum()} crosses, and 60 is right."
        if not (table.sum(dim=0) == 10).all():
            return f"its columns hold {table.sum(dim=0).tolist()} crosses, and 10 each is right."
        if not table.any(dim=1).all():
            return "one of its rows is empty."
        if len(table.unique(dim=0)) < len(table):
            return "two of its rows are alike."
        tables.append(table.clone())
        again = _call(function, seed)
        if not isinstance(again, torch.Tensor) or not torch.equal(tables[-1], again):
            return "a second call gives something else: the seed must decide all that is drawn."
        if seed == 19 and all(torch.equal(table, tables[0]) for table in tables):
            return "that is the table of all other seeds, too: draw it at random."
        return None

    for seed in range(20):
        yield Case(f"balanced_table({seed})", (seed,), lambda table, seed=seed: fault(seed, table))


def _read_idx_cases(function):
    """Made-up files of one to four dimensions, files of a wrong length, and files of MNIST."""
    generator = np.random.default_rng(0)
    small = [(2, 3, 4), (5,), (3, 2), (2, 1, 3, 2), (1,), (1, 1, 1, 1), (0,), (4, 0), (0, 2, 2), (2, 0, 1, 3)]
    shapes = [*small, (300, 2), (2, 70_000), (1, 257, 3)]
    files = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    for array in files:
        hint = "" if array.ndim == 3 else "The fourth byte says how many sizes follow."
        if max(array.shape) > 255:
            hint = "Each size is four bytes, the highest first."
        yield _read_idx_case(f"a made-up file of shape {array.shape}", _idx(array), array, hint)
    for array in files[:4]:
        for wrong, content in (("a byte too few", _idx(array)[:-1]), ("a byte too many", _idx(array) + b"\0")):
            yield Case(f"read_idx(a file of shape {array.shape} with {wrong})", (content,), _wrong_length_fault)
    # Not the training images, though they are of the same kind: 47 MB, which byte by byte take long.
    for name, header in (("t10k-labels-idx1", 8), ("train-labels-idx1", 8), ("t10k-images-idx3", 16)):
        path = lenet_data.DATA / "MNIST" / "raw" / f"{name}-ubyte.gz"
        if path.exists():
            content = gzip.decompress(path.read_bytes())
            array = np.frombuffer(content, np.uint8, offset=header)
            array = array.reshape(-1, 28, 28) if header == 16 else array
            yield _read_idx_case(f"MNIST's {name}-ubyte", content, array, "")


def _idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _read_idx_case(words, content, array, hint):
    def fault(came):
        if not isinstance(came, np.ndarray) or came.dtype != np.uint8 or came.shape != array.shape:
            return f"a numpy array of uint8 and shape {list(array.shape)} is right. {hint}".strip()
        if not np.array_equal(came, array):
            return "its values are not the bytes that follow the header, in their order."
        return None

    return Case(f"read_idx({words})", (content,), fault)


def _wrong_length_fault(came):
    if isinstance(came, Raised) and isinstance(came.error, ValueError):
        return None
    return "the sizes in the header do not fit that length, so it must raise a ValueError."


def _cross_entropy_cases(function):
    """Random logits of all sizes; such as e to their power is infinite or zero come last."""
    generator = torch.Generator("cpu").manual_seed(0)
    for number in range(200):
        scale, count = (1, 10, 1000)[number // 80], (1, 2, 5, 64)[number % 4]
        logits = scale * torch.randn(count, 10, generator=generator, dtype=torch.float32, device="cpu")
        if scale == 1000:
            logits = scale * logits.sign()
            if number % 3 == 0:
                logits[0] = -scale  # one row far below the largest of all
        labels = torch.randint(10, (count,), generator=generator, device="cpu")
        words = f"{count} row{'s' * (count > 1)} of logits from {logits.min():.4g} to {logits.max():.4g}"
        yield Case(f"cross_entropy({words}, labels)", (logits, labels), _cross_entropy_fault(logits, labels))


def _cross_entropy_fault(logits, labels):
    wanted = F.cross_entropy(logits.double(), labels).item()

    def fault(came):
        number = _number(came)
        if number is not None and _is_close(number, wanted):
            return None
        if isinstance(came, torch.Tensor) and came.numel() > 1:
            return "the mean over the batch, one number, is right."
        return f"{wanted:.4f} is right. {hint(number)}".strip()

    def hint(number):
        if logits.abs().max() >= 1000:
            return "Numbers this large overflow or vanish in exp: subtract each row's largest logit first."
        if number is None:
            return ""
        logs = logits.double().log_softmax(dim=1)
        slips = [
            (-wanted, "The sign: the logarithm of a probability is negative, the loss is not."),
            (wanted * len(labels), "The mean is asked for, not the sum."),
            (wanted / 10, "Divide by the number of rows, not of logits."),
            (wanted / math.log(2), "Take the natural logarithm."),
            (wanted / math.log(10), "Take the natural logarithm."),
            (-logs.mean().item(), "Only the right digit's probability counts."),
            (-logs.sum(dim=1).mean().item(), "Only the right digit's probability counts."),
            (F.cross_entropy(logits.double().softmax(dim=1), labels).item(), "One softmax is enough."),
        ]
        return next((words for value, words in slips if _is_close(number, value)), "")

    return fault


def _is_close(number, wanted):
    return math.isclose(number, wanted, rel_tol=1e-4, abs_tol=1e-5)


# --------------------------------------------------------------------------------------------------- the table

_MEAN = 0.1306604762738429  # of the 60,000 training images, pixels in [0, 1]

EXERCISES = {
    "01.1": Number((28 + 2 * 1 - 3) // 2 + 1, hints={
        13: "The start is a place, too, and the padding lengthens the row at both ends.",
        13.5: "Round down; and the start is a place, too.",
        14.5: "There is no half stop: round down.",
        15: "Round down: a window that stands over the end is no stop.",
        12: "The start is a place, too, and the padding lengthens the row at both ends.",
        28: "The window moves two cells at a time.",
    }),
    "01.2": Number(16 * 8 * 8, hints={
        784: "The images still get a padding of 2.",
        8 * 8: "So many units has one map; count all 16.",
        16 * 9 * 9: "That pads once too often.",
        576: "That is for images of 32 × 32.",
        400: "That is what the linear layer expects.",
    }),
    "01.3": Number(16 + 4, hints={
        17: "Neighbouring units of S4 do not see squares one pixel apart.",
        18: "Squares of neighbouring units lie further apart than that after two subsamplings.",
        24: "A window of two adds one neighbour, not two.",
        32: "The squares of neighbours overlap.",
        16: "That is S4 itself.",
    }),
    "01.4": Number(6 * ((28 * 5) ** 2 - (28 * 5 - 6) ** 2), hints={
        6 * 134**2: "So many have no padding zero; the others are asked for.",
        6 * 2 * 6 * 140: "Corners have been counted twice.",
        6 * 6 * 140: "That is one of the two directions.",
        2 * 6 * 140: "Corners have been counted twice, and there are six maps.",
        (140**2 - 134**2): "So many has one map; there are six.",
        6 * 6**2: "Those are the corners; one direction outside is enough.",
        6 * 25 * (28**2 - 24**2): "A window that touches the padding covers pixels, too.",
        6: "That is one row of cells; now both directions, and all maps.",
    }),
    "01.5": Function("dilated_size", _dilated_size_cases),
    "02.1": Number(16 * 4 * 25 + 16, hints={
        16 * 4 * 25: "Each map has a bias, too.",
        16 * 4 * 26: "One bias a map, not one a kernel.",
        16 * 26: "Each map has a kernel for each map that it looks at.",
        16 * 6 * 25 + 16: "That is with all six.",
        1516: "That is with the paper's table.",
    }),
    "02.2": Number(math.comb(6, 2), hints={
        30: "That counts each pair twice.",
        36: "That counts each pair twice, and each map with itself.",
        21: "A map with itself is no pair.",
        16: "So many would be needed.",
    }),
    "02.3": Number(3, hints={
        4: "Is map 15 still among them, or are maps compared with themselves?",
        6: "That is map 15 with itself.",
    }),
    "02.4": Number(12 * 12 * (60 * 25 + 16), hints={
        12 * 12 * 60 * 25: "A bias is a connection, too.",
        10 * 10 * 1516: "That is with maps of 10 × 10.",
        12 * 12 * 2416: "That is with all 96 kernels.",
        12 * 12 * (60 * 25 + 60): "One bias a map, not one a kernel.",
        1516: "Those are the parameters; each is used at every place.",
    }),
    "02.5": Function("balanced_table", _balanced_table_cases),
    "03.1": Number(16 + 10_000 * 28 * 28, hints={
        7_840_000: "The header takes some bytes, too.",
        7_840_008: "That is the header of a file of labels; images need more sizes.",
        47_040_016: "That is the file of the training images.",
        10_008: "That is the file of the labels.",
    }),
    "03.2": Number((0 - 0.1307) / 0.3081, 4, hints={
        0.1307 / 0.3081: "Mind the sign.",
        -0.1307: "Now divide by the deviation.",
        0: "That is its value before.",
        (1 - 0.1307) / 0.3081: "That is the ink.",
        -0.1307 / 0.3081**2: "Divide by the deviation, not by its square.",
    }),
    "03.3": Number(_MEAN * 28**2 / 36**2, 4, hints={
        0.0791: "The mean was rounded on the way: take the exact one, not 0.1307.",
        _MEAN: "The new pixels count in the mean, too.",
        _MEAN * 28 / 36: "The images grow along both sides.",
        _MEAN * 28**2 / 32**2: "That is for 32 × 32.",
        _MEAN * 255 * 28**2 / 36**2: "Scale the pixels to [0, 1].",
        _MEAN * 36**2 / 28**2: "The other way round: the same ink on more pixels.",
    }),
    "03.4": Number(60_000 % 256, hints={
        60_000 // 256: "That is the number of full batches.",
        60_000 // 256 + 1: "That is the number of batches.",
        60_000 / 256 % 1: "That is the share of a batch; the images are asked for.",
        256: "Does 256 divide 60,000?",
        256 - 60_000 % 256: "So many are missing to a full batch.",
    }),
    "03.5": Number(0, hints={
        1: "That has the least.",
        8: "That has the second most.",
        2: "That has the third most.",
    }),
    "03.6": Function("read_idx", _read_idx_cases),
    "04.1": Number(10 * math.ceil(60_000 / 64), hints={
        10 * (60_000 // 64): "The last, smaller batch of an epoch counts, too.",
        10 * 60_000 // 64: "A batch ends with its epoch.",
        math.ceil(60_000 / 64): "That is one epoch.",
        60_000 // 64: "That is one epoch, without its last batch.",
        600_000: "That is one step a digit.",
    }),
    "04.2": Number(math.log(2), 4, hints={
        0.5: "That is the probability; the loss is made from its logarithm.",
        math.log10(2): "Take the natural logarithm.",
        -math.log(2): "Mind the sign: a loss is not below zero.",
        1: "Take the natural logarithm, not the one to base 2.",
        math.log(10): "That is for a probability of 0.1.",
    }),
    "04.3": Number(0.25**4, 4, hints={
        0.25: "That is one sigmoid.",
        0.25**2: "That is two sigmoids; or it is made from the sigmoid's value, not from its slope.",
        0.25**3: "That is three sigmoids.",
        4 * 0.25: "The factors multiply.",
        0.0030: "That is one after the other, from zero: only the first then has its largest slope.",
        0.5: "That is the sigmoid's value; its slope is asked for.",
        4**4: "The other way round.",
    }),
    "04.4": Number(400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10, hints={
        400 * 120 + 120 * 84 + 84 * 10: "Each unit has a bias, too.",
        61_706 - 59_134: "Those are the others.",
        400 * 120 + 120: "That is the first of the three.",
        120 * 84 + 84: "That is the second of the three.",
        84 * 10 + 10: "That is the third of the three.",
    }),
    "04.5": Function("cross_entropy", _cross_entropy_cases),
    "05.1": Number(12 * 2**2, hints={
        12: "So many units differ; how far apart is each from its code?",
        12 * 2: "The distances are squared.",
        math.sqrt(12 * 2**2): "The output is the squared distance.",
        0: "That is the output of class 6.",
        84 - 12: "So many units agree.",
    }),
    "05.2": Number(100 + math.log(math.exp(-0.1) + 10 * math.exp(-100)), 4, hints={
        100: "That is the first term alone.",
        100.1: "The logarithm is negative.",
        100 + math.log(10): "The criterion has the rubbish class, too, and it is much nearer.",
        math.log(10): "All far away is not the same as all alike: the rubbish class is near.",
        0.1: "That is how far the rubbish class is.",
        -0.1: "That is the logarithm alone.",
        100 + math.log(0.1): "In the logarithm stands e to the power of −j, not j.",
    }),
    "05.3": Number(0.0005 / (0.02 + 0.98), 6, hints={
        0.0005 / 0.02: "The curvature stands below the fraction, too.",
        0.0005 / 0.98: "The constant μ is added to the curvature.",
        (0.02 + 0.98) / 0.0005: "The other way round.",
    }),
    "05.4": Number(1.7159 * math.tanh(2 / 3 * 0.25 * 2 * 1.7159), 4, hints={
        0.25 * 2 * 1.7159: "That is the sum times the coefficient; the squashing function comes after.",
        math.tanh(2 / 3 * 0.25 * 2 * 1.7159): "The squashing function has a factor in front, too.",
        math.tanh(0.25 * 2 * 1.7159): "The paper's squashing function is not the plain tanh.",
        1.7159 * math.tanh(0.25 * 2 * 1.7159): "The sum is multiplied by 2/3 first.",
        1.7159 * math.tanh(2 / 3 * 2 * 1.7159): "The coefficient is missing.",
        1.7159 * math.tanh(2 / 3 * 1.7159): "One of the four is negative.",
        1.7159 * math.tanh(2 / 3 * 0.25 * 0.5 * 1.7159): "The unit multiplies the sum of the four, not their average.",
    }),
    "05.5": Number(2 * 0.0005 + 3 * 0.0002 + 3 * 0.0001 + 4 * 0.00005 + 8 * 0.00001, 5, hints={
        0.00086: "That takes each rate once; most hold for several passes.",
        0.00218 / 20: "That is their mean.",
        0.00218 - 0.0005: "Two passes have the first rate.",
    }),
    "06.1": Number(2 * 120 + 2 * 84 + 84 * 10 + 10, hints={
        84 * 10 + 10: "The normalisation has trained parameters, too.",
        2 * 120 + 2 * 84: "The output layer has trained parameters, too.",
        120 + 84 + 84 * 10 + 10: "The normalisation has two parameters a unit.",
        2 * 120 + 2 * 84 + 84 * 10: "The output layer has biases, too.",
        61_258: "That is all that it has; the difference is asked for.",
        61_258 - 61_706: "That is the difference to the tutorial's network.",
    }),
    "06.2": Number(math.sqrt(200), 2, hints={
        10 / math.sqrt(2.5): "The standard error is the deviation over √n.",
        10 / math.sqrt(2 / 5): "For the deviation, divide by n − 1.",
        10 / math.sqrt(2): "For the deviation, divide by n − 1; the standard error is that over √n.",
        10 / (math.sqrt(2.5) / 5): "Divide the deviation by √n, not by n.",
        10 / (2.5 / math.sqrt(5)): "That takes the variance; take its root.",
        math.sqrt(0.5): "That is the standard error.",
        10: "That is the mean.",
        math.sqrt(2.5): "That is the deviation.",
    }),
    "06.3": Number(0.5 / 4**0.5 / 4, 4, hints={
        0.25: "That multiplies the average, and the unit multiplies the sum.",
        0.5 / 4 / 4: "Divide by the deviation, not by the variance.",
        0.5 / 4: "Divide by the deviation, not by the variance; and the unit multiplies the sum.",
        1: "The sum is larger than the average, so the coefficient is smaller.",
        0.5: "That is the factor before the deviation divides it.",
    }),
    "06.4": Number(0.5 ** (6 / 3), 2, hints={
        4: "The other way round.",
        0.5: "That is one half-life.",
        0.5**3: "How many half-lives are six epochs?",
        0.5**6: "How many half-lives are six epochs?",
    }),
    "07.1": Number(2 * (3 * 328_096 - 117_600) / 1e6, 3, hints={
        2 * 3 * 328_096 / 1e6: "The first layer needs no gradients of its inputs.",
        1.733376 / 2: "A multiply-add is two operations.",
        2.264: "That is the tutorial's network.",
        2 * 328_096 / 1e6: "That is the forward pass alone.",
        2 * 2 * 328_096 / 1e6: "The backward pass has two parts: the weights' gradients and the inputs'.",
        1_733_376: "In millions, please.",
    }),
    "07.2": Number(1 / (1 - 0.6), 1, hints={
        1 / 0.6: "The other part is left.",
        0.4: "That share of the time is left; so how many times as fast is it?",
        1.6: "If the loading took no time at all, which share would be left?",
        0.6: "If the loading took no time at all, which share would be left?",
        60: "If the loading took no time at all, which share would be left?",
    }),
    "07.3": Number((2 * 16 - 28) / (2 * 16), 3, hints={
        12.5: "That is in per cent; give the share.",
        4: "So many places stay empty; of how many?",
        4 / 28: "Divide by all the work, the wasted part too.",
        4 / 16: "There is a full vector, too.",
        12 / 16: "That is the part of the last vector which is used.",
        28 / 32: "That is the share in use.",
    }),
    "07.4": Number(480 / 190, 4, hints={
        480 / 180: "The start of the graph takes time, too.",
        480 / 10: "With the graph, the operations still take their time.",
        660 / 190: "Starting and working overlap: without the graph, the slower of the two counts.",
        190 / 480: "The other way round.",
        (480 + 180) / 180: "Starting and working overlap, and the graph has a start, too.",
    }),
    "08.1": Number(60 * 20 / 240, hints={
        7: "The longer side becomes 20 pixels, not 28.",
        8: "The longer side becomes 20 pixels, not 32.",
        20: "That is the height.",
        15: "The aspect stays: a quarter as wide as high.",
        12: "So many pixels of the photograph become one.",
        28: "That is the whole picture; how wide is the ink?",
    }),
    "08.2": Number(14 + 2, hints={
        15: "Neighbouring units of C3 see squares that lie further apart than one pixel.",
        18: "A window of two adds one neighbour, not two.",
        28: "The squares of neighbours overlap.",
        32: "That is a unit of C5.",
        14: "That is C3 itself.",
    }),
    "08.3": Number(3 * 2**2, hints={
        3: "How far is −1 from +1?",
        3 * 2: "The distance is squared.",
        (3 * 2) ** 2: "Square each difference, then add.",
        math.sqrt(12): "The squared distance is asked for.",
        0: "That is without a fault.",
    }),
    "08.4": Number(100 * (126 - 80) / (10_000 - 200), 4, hints={
        100 * 46 / 10_000: "The refused ones are not among the rest.",
        100 * 126 / 9800: "Some of the misread ones are refused.",
        100 * 126 / 10_000: "That is before anything is refused.",
        46 / 9800: "In per cent, please.",
        46: "So many are misread; of how many?",
        100 * 80 / 200: "That is the share of misread ones among the refused.",
    }),
}  # fmt: skip
