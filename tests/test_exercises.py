"""The exercises' check: what is right, what is said to what is not, and that no answer is given away early."""

import ast
import math
import re
import struct
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import lenet
import lenet_exercises
import lenet_utils as lu
from lenet_exercises import EXERCISES, Function, Number

UNANSWERED = "No answer yet: replace the ... above, run that cell, then this one."
RIGHT = {  # as the check prints them
    "01.1": "14", "01.2": "1,024", "01.3": "20", "01.4": "9,864",
    "02.1": "1,616", "02.2": "15", "02.3": "3", "02.4": "218,304",
    "03.1": "7,840,016", "03.2": "-0.4242", "03.3": "0.0790", "03.4": "96", "03.5": "0",
    "04.1": "9,380", "04.2": "0.6931", "04.3": "0.0039", "04.4": "59,134",
    "05.1": "48", "05.2": "99.9000", "05.3": "0.000500", "05.4": "0.8868", "05.5": "0.00218",
    "06.1": "1,258", "06.2": "14.14", "06.3": "0.0625", "06.4": "0.25",
    "07.1": "1.733", "07.2": "2.5", "07.3": "0.125", "07.4": "2.5263",
    "08.1": "5", "08.2": "16", "08.3": "12", "08.4": "0.4694",
}  # fmt: skip
CASES = {"01.5": 540, "02.5": 20, "03.6": 24, "04.5": 200}
WORDS = {0: "zero|nought", 3: "three", 5: "five", 12: "twelve", 14: "fourteen", 15: "fifteen", 16: "sixteen"}


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch):
    monkeypatch.setattr(lenet_exercises, "_tries", {})


@pytest.fixture
def said(capsys):
    """Return a function that hands an answer to the check and returns the one line that it prints."""

    def say(name, answer):
        capsys.readouterr()
        assert lu.check(name, answer) is None
        printed = capsys.readouterr()
        assert printed.err == "" and printed.out.endswith("\n") and printed.out.count("\n") == 1
        return printed.out.removesuffix("\n")

    return say


def value(name):
    return float(RIGHT[name].replace(",", ""))


def shows(words, name):
    """Return whether words hold an exercise's answer, in figures or spelled out."""
    figures = [float(text.replace(",", "")) for text in re.findall(r"-?\d[\d,]*(?:\.\d+)?", words.replace("−", "-"))]
    spelled = WORDS.get(value(name))
    return value(name) in figures or bool(spelled and re.search(rf"\b({spelled})\b", words.lower()))


def test_the_table_has_the_exercises():
    assert list(EXERCISES) == sorted(RIGHT | CASES)
    assert all(isinstance(EXERCISES[name], Number) for name in RIGHT)
    assert all(isinstance(EXERCISES[name], Function) for name in CASES)
    assert lu.check is lenet_exercises.check


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_number_is_right_exact_or_rounded(name, said):
    exact, decimals = EXERCISES[name].exact, EXERCISES[name].decimals
    answers = [value(name), exact, np.float64(exact), torch.tensor(exact, dtype=torch.float64), np.array([exact])]
    answers += [Fraction(exact), Decimal(exact), torch.tensor([[value(name)]], requires_grad=True), np.array(exact)]
    if decimals:
        answers += [round(exact, decimals + 1), np.float32(value(name)), torch.tensor(exact, dtype=torch.float32)]
    else:
        answers += [int(exact), np.int32(exact), torch.tensor(int(exact)), np.uint32(exact), torch.tensor([int(exact)])]
    for answer in answers:
        assert said(name, answer) == f"Correct: {RIGHT[name]}"


@pytest.mark.parametrize("name", RIGHT)
def test_a_number_is_right_within_half_a_unit_of_the_last_decimal(name, said):
    exact, unit = EXERCISES[name].exact, 10.0 ** -EXERCISES[name].decimals
    for sign in (-1, 1):
        if unit < 1:
            assert said(name, exact + sign * 0.499 * unit).startswith("Correct")
            assert said(name, exact + sign * 0.503 * unit).startswith("Not yet")
        else:
            assert said(name, exact + sign * 1e-6).startswith("Not yet")
        assert said(name, exact + sign * unit).startswith("Not yet")


@pytest.mark.parametrize("name", [*RIGHT, *CASES])
def test_without_an_answer_the_line_is_the_stored_one(name, said):
    for _ in range(4):
        assert said(name, ...) == UNANSWERED
    assert not any(lenet_exercises._tries.values())


@pytest.mark.parametrize("name", RIGHT)
def test_a_typical_wrong_answer_gets_its_hint(name, said, monkeypatch):
    assert EXERCISES[name].hints
    for wrong, hint in EXERCISES[name].hints.items():
        monkeypatch.setattr(lenet_exercises, "_tries", {})
        words = said(name, wrong)
        assert words.startswith("Not yet: ") and words.endswith(f". {hint}")
        assert hint[0].isupper() and hint[-1] in ".?" and len(hint) < 100
        assert not shows(words, name)
        rounded = round(float(wrong), EXERCISES[name].decimals or 2)
        assert said(name, rounded).endswith(hint), "also as it is rounded"


@pytest.mark.parametrize("name", RIGHT)
def test_the_answer_is_shown_at_the_third_different_wrong_number(name, said):
    wrong = [1_234_567.25, 7654321.5, 2_345_671.75, 3_456_712.25]
    told = f" The answer is {RIGHT[name]}; the folded solution below says why."
    for answer in (wrong[0], wrong[0], np.float64(wrong[0]), wrong[1], wrong[0], ..., "text", wrong[1], None):
        assert not shows(said(name, answer), name)
    other = "01.2" if name == "01.1" else "01.1"
    for answer in wrong:
        said(other, answer)
    assert said(name, EXERCISES[name].exact).startswith("Correct")
    assert not shows(said(name, wrong[1]), name)
    assert said(name, wrong[2]).endswith(told)
    assert said(name, wrong[2]).endswith(told) and said(name, wrong[3]).endswith(told)
    hint, words = next(iter(EXERCISES[name].hints.items()))
    assert said(name, hint).endswith(words + told), "a hint is still given"
    assert said(name, EXERCISES[name].exact) == f"Correct: {RIGHT[name]}"


def test_numbers_that_are_the_same_as_far_as_asked_are_one_try(said):
    for answer in (0.301, 0.30103, 0.3010299957, 0.5, 0.50004):
        assert "answer" not in said("04.2", answer)
    assert said("04.2", 0.5001).endswith("The answer is 0.6931; the folded solution below says why.")
    for answer in (7.1, 7.2, 7.1):
        assert "answer" not in said("01.1", answer)
    assert said("01.1", 7.3).endswith("The answer is 14; the folded solution below says why.")


def test_four_sigmoids_in_a_chain_get_their_own_hint(said):
    start = torch.zeros(1, requires_grad=True)
    end = start
    for _ in range(4):
        end = torch.sigmoid(end)
    end.backward()
    assert "only the first then has its largest slope" in said("04.3", start.grad.item())


def test_what_is_said_to_a_wrong_number(said):
    general = "Read the question once more, and go through it step by step."
    hint = "The start is a place, too, and the padding lengthens the row at both ends."
    assert said("01.1", 13) == f"Not yet: 13. {hint}"
    assert said("01.1", torch.tensor(13.0)) == f"Not yet: 13. {hint}"
    assert said("01.1", 7) == f"Not yet: 7. {general}"
    assert said("01.4", 9863.5) == "Not yet: 9,863.5. A whole number is asked for."
    assert said("01.4", 1234567) == f"Not yet: 1,234,567. {general}"
    assert said("04.3", 0.004) == "Not yet: 0.004. Right so far, but four decimals are asked for."
    assert said("07.1", np.float32(1.7)) == "Not yet: 1.7. Right so far, but three decimals are asked for."
    assert said("06.2", 14.1) == "Not yet: 14.1. Right so far, but two decimals are asked for."
    assert said("03.2", -0.42) == "Not yet: -0.42. Right so far, but four decimals are asked for."
    assert said("04.3", 0) == f"Not yet: 0. {general}"
    assert said("07.2", 2) == f"Not yet: 2. {general}", "to no decimal at all is not so far"
    assert said("05.4", 1.0) == f"Not yet: 1. {general}"
    assert said("04.2", -0.0) == f"Not yet: 0. {general}"
    assert said("02.1", 123_456_789) == f"Not yet: 123,456,789. {general}"
    assert said("02.1", 1e300) == f"Not yet: 1e+300. {general}"
    assert said("02.1", 10**300) == f"Not yet: 1e+300. {general}"
    rounded = "The mean was rounded on the way: take the exact one, not 0.1307."
    assert said("03.3", 0.0791) == f"Not yet: 0.0791. {rounded}"


def test_no_hint_is_lost_under_another_of_the_same_value():
    tree = ast.parse(Path(lenet_exercises.__file__).read_text(encoding="utf-8"))
    (table,) = [node.value for node in tree.body if ast.unparse(node).startswith("EXERCISES = ")]
    for name, entry in zip(table.keys, table.values, strict=True):
        for keyword in entry.keywords:
            assert len(keyword.value.keys) == len(EXERCISES[name.value].hints), name.value


# ---------------------------------------------------------------------------------------- what is no answer


class Evil:
    """Raises whatever one asks it."""

    def evil(self, *arguments):
        raise RuntimeError("evil")

    __float__ = __int__ = __repr__ = __str__ = __eq__ = __bool__ = __len__ = __iter__ = __index__ = __hash__ = evil
    __array__ = __sub__ = __rsub__ = __lt__ = __format__ = __round__ = __abs__ = __getattr__ = __deepcopy__ = evil
    __class__ = property(evil)


class EvilFloat(float):
    __float__ = Evil.evil


STRANGE = {
    "the text '14'": "14", "the text ''": "", "None": None, "True": True, "False": False, "1j": 1j,
    "nan": math.nan, "inf": math.inf, "-inf": -np.inf, "an enormous number": 10**5000,
    "a list": [14], "a tuple": (14,), "a dict": {}, "a set": {14}, "a bytes": b"14",
    "a torch.float32 tensor of shape [2]": torch.ones(2), "a torch.float32 tensor of shape [0]": torch.ones(0),
    "a numpy array of int64 and shape [2, 1]": np.array([[1], [2]]), "a bool": np.True_, "a Decimal": Decimal("nan"),
    "a NotImplementedType": NotImplemented, "a generator": (n for n in "14"), "an object": object(),
    "something else": Evil(), "14.0": EvilFloat(14),
}  # fmt: skip
STRANGE |= {  # of one element
    "True ": torch.tensor([True]), "nan ": torch.tensor(math.nan), "inf ": np.array([[math.inf]]),
    "(14+0j) ": torch.tensor(14 + 0j), "the text 'a' ": np.array("a"), "False ": np.array(False),
    "something else ": torch.ones((), device="meta"),
}  # fmt: skip
COUNTS = ["", "one decimal", *(f"{count} decimals" for count in ("two", "three", "four", "five", "six"))]


@pytest.mark.parametrize("came", STRANGE)
def test_what_is_no_number_gets_a_sentence_and_is_no_try(came, said):
    for name in [*["01.1"] * 4, *RIGHT]:
        decimals = EXERCISES[name].decimals
        wanted = f"a number to {COUNTS[decimals]}" if decimals else "a whole number"
        assert said(name, STRANGE[came]) == f"Not yet: {came.strip()} came, and {wanted} is asked for."
    assert not any(lenet_exercises._tries.values())


@pytest.mark.parametrize("came", STRANGE)
def test_what_is_no_function_gets_a_sentence(came, said):
    for name in CASES:
        wanted = f'the function itself is asked for: lu.check("{name}", {EXERCISES[name].name}).'
        assert said(name, STRANGE[came]) == f"Not yet: {came.strip()} came, and {wanted}"


def test_more_that_is_no_number(said):
    assert said("01.1", lambda: 14) == "Not yet: a function came, and a whole number is asked for."
    assert said("01.1", "14\n" * 99).startswith("Not yet: the text '14\\n14")
    assert len(said("01.1", "14\n" * 999)) < 200
    assert said("01.5", 14).startswith("Not yet: 14 came, and the function itself is asked for")


@pytest.mark.parametrize("name", ["01.0", "1.1", "09.1", "", None, 14, ..., ["01.1"], "01.1 ", 1.1])
def test_an_unknown_name_is_an_error_that_names_it(name):
    with pytest.raises(ValueError, match=re.escape(f"There is no exercise {name!r}")):
        lu.check(name, 14)


# -------------------------------------------------------------------------------------- exercises in code


def dilated_size(size, kernel_size, stride=1, padding=0, dilation=1):
    room = size + 2 * padding - dilation * (kernel_size - 1) - 1
    if room < 0:
        raise ValueError(room)
    return room // stride + 1


def balanced_table(seed):
    generator = torch.Generator().manual_seed(seed)
    while True:
        table = torch.zeros(16, 6, dtype=torch.bool)
        for column in range(6):
            table[torch.randperm(16, generator=generator)[:10], column] = True
        if table.any(dim=1).all() and len(table.unique(dim=0)) == 16:
            return table


def read_idx(content):
    sizes = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes)


def cross_entropy(logits, labels):
    logits = logits - logits.max(dim=1, keepdim=True).values
    return (logits.exp().sum(dim=1).log() - logits[range(len(labels)), labels]).mean()


def slow_read_idx(content):
    """Byte by byte."""
    count = content[3]
    sizes = [sum(content[4 + 4 * axis + place] << 8 * (3 - place) for place in range(4)) for axis in range(count)]
    values = list(content[4 + 4 * count :])
    if len(values) != math.prod(sizes):
        raise ValueError
    return np.array(values, dtype=np.uint8).reshape(sizes)


def strict_read_idx(content):
    """Believes the header only if it starts as the header of unsigned bytes does."""
    assert content[:3] == b"\0\0\x08"
    return read_idx(content)


def double_cross_entropy(logits, labels):
    return -logits.double().log_softmax(dim=1).numpy()[np.arange(len(labels)), labels].mean()


FUNCTIONS = {"01.5": dilated_size, "02.5": balanced_table, "03.6": read_idx, "04.5": cross_entropy}
LARGE = "Numbers this large overflow or vanish in exp: subtract each row's largest logit first."


@pytest.mark.parametrize(
    ("name", "function"),
    [
        *FUNCTIONS.items(),
        ("01.5", lambda *given, **named: float(dilated_size(*given, **named))),
        ("01.5", lambda *given, **named: torch.tensor([dilated_size(*given, **named)])),
        ("02.5", lambda seed: lenet.C3_TABLE[torch.randperm(16, generator=torch.Generator().manual_seed(seed))]),
        ("02.5", lambda seed: (torch.manual_seed(seed), lenet.C3_TABLE[:, torch.randperm(6)])[1]),
        ("03.6", slow_read_idx),
        ("03.6", strict_read_idx),
        ("04.5", double_cross_entropy),
        ("04.5", lambda logits, labels: F.cross_entropy(logits.requires_grad_(), labels).reshape(1)),
        ("04.5", lambda logits, labels: (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean().item()),
    ],
)
def test_a_right_function_is_right_in_all_cases(name, function, said):
    for _ in range(2):
        assert said(name, function) == f"Correct: right in all {CASES[name]} cases."


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("nothing", [None, ...])
def test_the_starter_is_no_answer(name, nothing, said):
    assert said(name, lambda *given, **named: nothing) == UNANSWERED


@pytest.mark.parametrize("name", CASES)
def test_a_function_that_raises_is_named_with_the_case(name, said):
    def fails(*given, **named):
        raise RuntimeError("first\nsecond \x1b[1m\ud800 " + "long " * 99)

    words = said(name, fails)
    assert re.match(
        rf"Not yet: {EXERCISES[name].name}\(.+\) raised RuntimeError: first second \[1m .+ \.\.\.; .+ is right", words
    )
    assert words.isprintable() and len(words) < 300


class Own(BaseException):
    __str__ = Evil.evil


ERRORS = [SystemExit, GeneratorExit("end"), Own, RecursionError, StopIteration(1), AssertionError()]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_function_raises_is_told(error, said):
    def fails(*given, **named):
        raise error

    for name in CASES:
        kind = error if isinstance(error, type) else type(error)
        assert re.search(rf" raised {kind.__name__}(: end|: 1)?; ", said(name, fails))


@pytest.mark.parametrize("name", CASES)
def test_an_interruption_interrupts(name):
    def waits(*given, **named):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lu.check(name, waits)


@pytest.mark.parametrize("came", [came for came in STRANGE if came != "None"])
def test_whatever_a_function_returns_is_told(came, said):
    for name in CASES:
        assert said(name, lambda *given, **named: STRANGE[came]).startswith(f"Not yet: {EXERCISES[name].name}(")


def test_what_a_function_returned_is_told(said):
    words = said("02.5", lambda seed: Evil())
    assert words == "Not yet: balanced_table(0) returned something else; that cannot be read."
    words = said("01.5", lambda size, kernel_size: 2 if size == 2 else None)
    assert words == "Not yet: dilated_size(3, 1) returned None; 3 is right."
    words = said("04.5", lambda logits, labels: "large")
    case = r"Not yet: cross_entropy\(1 row of logits from -\S+ to [^-]\S+, labels\)"
    assert re.fullmatch(rf"{case} returned the text 'large'; [\d.]+ is right\.", words)
    words = said("04.5", lambda logits, labels: cross_entropy(logits, labels) * len(labels))
    assert words.startswith("Not yet: cross_entropy(2 rows of logits from ")
    assert said("01.5", lambda *given, **named: "7") == "Not yet: dilated_size(2, 1) returned the text '7'; 2 is right."
    assert said("04.5", lambda *given: math.nan).startswith("Not yet: cross_entropy(1 row of logits from ")
    assert " returned nan; " in said("04.5", lambda *given: torch.tensor(math.nan))
    assert " raised TypeError: " in said("01.5", lambda size: size)
    late = iter([2, 3])  # and then an exception, which is none of StopIteration's business
    assert " raised StopIteration; 5 is right." in said("01.5", lambda *given, **named: next(late))


def test_the_solution_is_pointed_to_at_the_third_different_failure(said):
    pointer = " The folded solution below shows one way."
    for wrong in (1, 1, 3, 1.0, 3):
        assert not said("01.5", lambda *given, wrong=wrong, **named: wrong).endswith(pointer)
    said("01.5", ...), said("01.5", 7), said("01.5", dilated_size)
    assert not said("01.5", lambda *given, **named: 3).endswith(pointer)
    assert said("01.5", lambda *given, **named: 4).endswith(pointer)
    assert said("01.5", lambda *given, **named: 4).endswith(pointer)


def room(size, kernel_size, padding, dilation):
    left = size + 2 * padding - dilation * (kernel_size - 1) - 1
    if left < 0:
        raise ValueError("no room")
    return left


def unfit_is_zero(size, kernel_size, stride=1, padding=0, dilation=1):
    return max(0, (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1)


def another_error(size, kernel_size, stride=1, padding=0, dilation=1):
    if size + 2 * padding <= dilation * (kernel_size - 1):
        raise AssertionError
    return room(size, kernel_size, padding, dilation) // stride + 1


def refuses_what_just_fits(size, kernel_size, stride=1, padding=0, dilation=1):
    if not room(size, kernel_size, padding, dilation):
        raise ValueError("too small")
    return room(size, kernel_size, padding, dilation) // stride + 1


MISTAKES_OF_SIZE = {
    "Is the start counted, too?": lambda n, k, stride=1, padding=0, dilation=1: room(n, k, padding, dilation) // stride,
    "The gaps make the window longer.":
        lambda n, k, stride=1, padding=0, dilation=1: room(n, k, padding, 1) // stride + 1,
    "A window has one gap fewer than cells.":
        lambda n, k, stride=1, padding=0, dilation=1: (n + 2 * padding - dilation * k) // stride + 1,
    "How many cells does the window span, from its first to its last?":
        lambda n, k, stride=1, padding=0, dilation=1: room(n, k, padding, 1) // stride + 2 - dilation * dilation,
    "Padding is added at both ends.":
        lambda n, k, stride=1, padding=0, dilation=1: room(n + padding, k, 0, dilation) // stride + 1,
    "Where the window would stand over the end there is no stop: round down.":
        lambda n, k, stride=1, padding=0, dilation=1: math.ceil(room(n, k, padding, dilation) / stride) + 1,
    "Half a stop is none: round down.":
        lambda n, k, stride=1, padding=0, dilation=1: room(n, k, padding, dilation) / stride + 1,
    "returned 0; the window does not fit there, so it must raise a ValueError.": unfit_is_zero,
    "raised AssertionError; the window does not fit there, so it must raise a ValueError.": another_error,
    "raised ValueError: too small; 1 is right. The window fits there.": refuses_what_just_fits,
}  # fmt: skip


@pytest.mark.parametrize(("hint", "function"), MISTAKES_OF_SIZE.items())
def test_typical_mistakes_in_dilated_size(hint, function, said):
    words = said("01.5", function)
    assert words.endswith(hint) and words.startswith("Not yet: dilated_size(")
    call = re.match(r"Not yet: (dilated_size\(.*?\)) (returned|raised)", words)[1]
    right = re.search(r"; (\d+) is right", words)
    if right:
        assert eval(call) == int(right[1])
    else:
        with pytest.raises(ValueError):
            eval(call)


def one_less(seed):
    table = balanced_table(seed)
    table[tuple(table.nonzero()[0])] = False
    return table


def unbalanced(seed):
    table = balanced_table(seed)
    row = int((table[:, 0] & ~table[:, 1]).nonzero()[0])
    table[row, :2] = table[row, :2].flip(0)
    return table


def empty_row(seed):
    return torch.tensor([[row < 15 and (row + 2 * column) % 15 < 10 for column in range(6)] for row in range(16)])


def rows_alike(seed):
    return torch.tensor([[(row + column) % 8 < 5 for column in range(6)] for row in range(16)])


def only_the_global_generator(seed):
    return lenet.C3_TABLE[torch.randperm(16)]


MEMORY = torch.zeros(16, 6, dtype=torch.bool)


def one_tensor_for_all(seed):
    """Changes the table that it returned last."""
    MEMORY.copy_(balanced_table(torch.randint(1000, ()).item()))
    return MEMORY


seeds_so_far = set()


def once(seed):
    """Fails where it is asked for the same again."""
    if seed in seeds_so_far:
        raise ValueError(seed)
    seeds_so_far.add(seed)
    return balanced_table(seed)


MISTAKES_OF_TABLE = [
    ("a torch.bool tensor of shape [16, 6] is right.", lambda seed: balanced_table(seed).int()),
    ("a torch.bool tensor of shape [16, 6] is right.", lambda seed: balanced_table(seed).T),
    ("a torch.bool tensor of shape [16, 6] is right.", lambda seed: balanced_table(seed).numpy()),
    ("a torch.bool tensor of shape [16, 6] is right.", lambda seed: balanced_table(seed).tolist()),
    ("it has 59 crosses, and 60 is right.", one_less),
    ("its columns hold [9, 11, 10, 10, 10, 10] crosses, and 10 each is right.", unbalanced),
    ("one of its rows is empty.", empty_row),
    ("two of its rows are alike.", rows_alike),
    ("a second call gives something else: the seed must decide all that is drawn.", only_the_global_generator),
    ("a second call gives something else: the seed must decide all that is drawn.", one_tensor_for_all),
    ("a second call gives something else: the seed must decide all that is drawn.", once),
    ("that is the table of all other seeds, too: draw it at random.", lambda seed: lenet.C3_TABLE),
    ("that is the table of all other seeds, too: draw it at random.", lambda seed: balanced_table(0)),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "function"), MISTAKES_OF_TABLE)
def test_typical_mistakes_in_balanced_table(fault, function, said):
    words = said("02.5", function)
    assert words.endswith(f"; {fault}")
    assert words.startswith(f"Not yet: balanced_table({19 if 'all other seeds' in fault else 0}) returned a")


def parts(content, order="big", count=None, header=None):
    count = content[3] if count is None else count
    sizes = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], order) for axis in range(count)]
    return sizes, np.frombuffer(content, np.uint8, offset=4 + 4 * count if header is None else header)


def fortran(content):
    sizes, values = parts(content)
    return values.reshape(sizes, order="F")


def wrong_length_is_cut(content):
    sizes, values = parts(content)
    return np.resize(values, sizes)


def wrong_length_is_an_error(content):
    sizes, values = parts(content)
    if len(values) != math.prod(sizes):
        raise struct.error("too short")
    return values.reshape(sizes)


def low_bytes_only(content):
    return parts(content)[1].reshape([content[7 + 4 * axis] for axis in range(content[3])])


def of_zero_sizes(content):
    sizes, values = parts(content)
    return values.reshape([size or 1 for size in sizes])


MISTAKES_OF_FILE = [
    (r"shape \(2, 3, 4\)\) returned a numpy array of int64 .* of uint8 and shape \[2, 3, 4\] is right\.$",
     lambda content: read_idx(content).astype(np.int64)),
    (r"returned a numpy array of int8 .* of uint8 .* is right\.$", lambda content: read_idx(content).view(np.int8)),
    (r"returned a torch.uint8 tensor .* a numpy array of uint8", lambda content: torch.tensor(read_idx(content))),
    (r"returned a list; a numpy array of uint8", lambda content: read_idx(content).tolist()),
    (r"returned a numpy array of uint8 and shape \[24\]; .* \[2, 3, 4\] is right\.$",
     lambda content: read_idx(content).reshape(-1)),
    (r"raised ValueError: cannot reshape", lambda content: parts(content)[1].reshape(parts(content, "little")[0])),
    (r"shape \(2, 3, 4\)\) .* its values are not the bytes that follow the header, in their order\.$", fortran),
    (r"its values are not the bytes", lambda content: 255 - read_idx(content)),
    (r"shape \(5,\)\) .* \[5\] is right\. The fourth byte says how many sizes follow\.$",
     lambda content: parts(content, count=3)[1].reshape(parts(content, count=3)[0])),
    (r"shape \(300, 2\)\) .* Each size is four bytes, the highest first\.$", low_bytes_only),
    (r"with a byte too few\) returned .* so it must raise a ValueError\.$", wrong_length_is_cut),
    (r"with a byte too few\) raised error: too short; .* so it must raise a ValueError\.$", wrong_length_is_an_error),
    (r"with a byte too many\) returned .* so it must raise a ValueError\.$",
     lambda content: parts(content)[1][: math.prod(parts(content)[0])].reshape(parts(content)[0])),
    (r"shape \(0,\)\) raised ValueError", of_zero_sizes),
]  # fmt: skip


@pytest.mark.parametrize(("told", "function"), MISTAKES_OF_FILE)
def test_typical_mistakes_in_read_idx(told, function, said):
    words = said("03.6", function)
    assert words.startswith("Not yet: read_idx(a") and re.search(told, words), words


@pytest.mark.parametrize(
    ("file", "size"), [("t10k-labels-idx1", 10_008), ("train-labels-idx1", 60_008), ("t10k-images-idx3", 7_840_016)]
)
def test_mnist_itself_is_read(file, size, said):
    words = said("03.6", lambda content: read_idx(content) + np.uint8(len(content) == size))
    assert words.startswith(f"Not yet: read_idx(MNIST's {file}-ubyte) returned") and "its values are not" in words


def test_without_mnist_the_other_files_do(said, monkeypatch, tmp_path):
    monkeypatch.setattr(lenet_exercises.lenet_data, "DATA", tmp_path)
    assert said("03.6", read_idx) == "Correct: right in all 21 cases."


def loss_of(logits, labels, log=torch.log, take=torch.mean):
    probabilities = logits.double().softmax(dim=1)[range(len(labels)), labels]
    return take(-log(probabilities))


def naive(logits, labels):
    powers = logits.exp()
    return -(powers / powers.sum(dim=1, keepdim=True)).log()[range(len(labels)), labels].mean()


def largest_of_all(logits, labels):
    return naive(logits - logits.max(), labels)


def power_by_power(logits, labels):
    """Raises an OverflowError."""
    powers = [[math.exp(logit) for logit in row] for row in logits.tolist()]
    losses = [-math.log(row[label] / sum(row)) for row, label in zip(powers, labels.tolist(), strict=True)]
    return sum(losses) / len(losses)


def clamped(logits, labels):
    return -logits.softmax(dim=1).clamp(min=1e-30).log()[range(len(labels)), labels].mean()


MISTAKES_OF_LOSS = [
    (LARGE, naive),
    (LARGE, largest_of_all),
    (LARGE, clamped),
    (LARGE, power_by_power),
    (LARGE, lambda logits, labels: cross_entropy(logits.clamp(-100, 100), labels)),
    ("The sign: the logarithm of a probability is negative, the loss is not.", lambda *given: -cross_entropy(*given)),
    ("The mean is asked for, not the sum.", lambda *given: loss_of(*given, take=torch.sum)),
    ("Divide by the number of rows, not of logits.", lambda *given: cross_entropy(*given) / 10),
    ("Take the natural logarithm.", lambda *given: loss_of(*given, log=torch.log2)),
    ("Take the natural logarithm.", lambda *given: loss_of(*given, log=torch.log10)),
    ("Only the right digit's probability counts.", lambda logits, labels: -logits.log_softmax(dim=1).mean()),
    ("Only the right digit's probability counts.", lambda logits, labels: -logits.log_softmax(dim=1).sum(dim=1).mean()),
    ("One softmax is enough.", lambda logits, labels: cross_entropy(logits.softmax(dim=1), labels)),
    ("the mean over the batch, one number, is right.", lambda *given: loss_of(*given, take=torch.clone)),
    ("is right.", lambda logits, labels: cross_entropy(logits, labels) + 0.01),
    ("is right.", lambda logits, labels: cross_entropy(logits, labels * 0)),
    ("is right.", lambda logits, labels: cross_entropy(logits, labels.zero_())),
    ("that is right, but it changes what it was given: work on a copy.",
     lambda logits, labels: cross_entropy(logits.sub_(logits.max(dim=1, keepdim=True).values), labels)),
    ("that is right, but it changes what it was given: work on a copy.",
     lambda logits, labels: (cross_entropy(logits, labels), labels.zero_().add_(10))[0]),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "function"), MISTAKES_OF_LOSS)
def test_typical_mistakes_in_cross_entropy(hint, function, said):
    words = said("04.5", function)
    assert words.startswith("Not yet: cross_entropy(") and words.endswith(hint), words
    assert (hint == LARGE) == (" from -1000 to 1000, " in words or "from -1000 to -1000" in words)


def test_some_rows_lie_far_below_the_largest_logit(said):
    """What the largest logit of all, subtracted from each row, makes of them is no number."""
    found = []

    def function(logits, labels):
        found.append(logits)
        return cross_entropy(logits, labels)

    assert said("04.5", function).startswith("Correct")
    assert any((logits.max(dim=1).values < logits.max() - 1500).any() for logits in found)
    assert {len(logits) for logits in found} == {1, 2, 5, 64} and not any(logits.requires_grad for logits in found)
    assert {logits.dtype for logits in found} == {torch.float32} and {logits.shape[1] for logits in found} == {10}
    assert len(torch.cat(found[:160]).unique()) > 20_000 and torch.cat(found[160:]).abs().unique().tolist() == [1000]


def test_a_check_leaves_the_session_as_it_was_and_does_not_mind_it(said, monkeypatch):
    torch.manual_seed(3)
    np.random.seed(3)
    wanted = torch.rand(2), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    for name, function in FUNCTIONS.items():
        assert said(name, function).startswith("Correct")
    assert torch.equal(torch.rand(2), wanted[0]) and np.random.rand() == wanted[1]
    torch.set_default_dtype(torch.float64)
    try:
        for name, function in FUNCTIONS.items():
            assert said(name, function).startswith("Correct")
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert said("01.5", dilated_size).startswith("Correct")
        assert said("04.5", double_cross_entropy).startswith("Correct")
