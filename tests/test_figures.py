"""The figures of the prose: every one stands in a row of figures.py, or in the notebook's own code or outputs.

The README files and of each notebook the introduction, the headings and the summary are checked whole: a
number there that is in no row fails. In a notebook's other prose that holds for numbers with a decimal point, of three
digits or more, or of per cents; but there it will do that the notebook's code or outputs, or the paper's facts, show
the number.
"""

import json
import re
import shutil
from collections import namedtuple

import nbformat
import pytest
import torch
from figures import records, rows
from paper_facts import FACTS, fact
from stored import RECORDS

import lenet
import lenet_utils
from experiments import original_1998
from tools.notebook_rules import NOTEBOOKS, ROOT, committed

# Numerals in these are names, not figures.
NAMES = [
    r"```.*?```",  # code to type in; the solutions of exercises are run by other tests
    r"\[(0\d)\b[^\]]*\]\((?:notebooks/)?\1_\w+\.ipynb\)",  # a link to a notebook by its number
    r"\]\([^)]*\)|https?://\S+",  # addresses: other tests follow them
    "|".join(path.stem for path in NOTEBOOKS),
    r"\b0[1-8]\b",  # a notebook's number
    r"\b[A-Za-z][\w-]*\d(?:[\w.]*\w)?",  # LeNet-5, C1, d2l, x86-64, train_ch6, python3.12
    r"\b1998\b",  # the network's year
]
NUMERAL = r"\d+(?:[.,]\d+)*"
FENCED = re.compile(r"```.*?```", re.DOTALL)

Document = namedtuple("Document", "text rest known", defaults=("", frozenset()))


def one_line(text):
    """Return the text with each line break, and each run of spaces, as one space."""
    return " ".join(text.split())


def without_names(text):
    """Return the text with # for each digit of a name: as long as before."""
    for name in NAMES:
        text = re.sub(name, lambda found: re.sub(r"\d", "#", found[0]), text, flags=re.DOTALL)
    return text


def numerals(text):
    """Return the figures in a text, as matches."""
    return list(re.finditer(NUMERAL, without_names(text)))


def plain(numeral):
    """Return a number as it is without the signs between its thousands: 60000 of 60,000 and of 60_000."""
    return numeral.replace(",", "").replace("_", "")


def telling(numeral, text):
    """Return whether a figure of a notebook's other prose is checked."""
    return "." in numeral[0] or len(plain(numeral[0])) > 2 or text[numeral.end() :].startswith(" %")


def numbers(text):
    """Return the numbers in code or output."""
    return {plain(number) for number in re.findall(r"\d+(?:[,_]\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?", text)}


def spans(piece, text):
    """Return where a piece of text stands in another."""
    return [found.span() for found in re.finditer(re.escape(piece), text)]


def problems(name, document, table):
    """Return a sentence for each row that is not in the document, and for each figure there that is in no row."""
    found = []
    covered = {"text": [], "rest": []}
    for piece, *values in table:
        expected = piece.format(*values)
        places = {part: spans(expected, getattr(document, part)) for part in covered}
        for part, where in places.items():
            covered[part] += where
        if not any(places.values()):
            pattern = re.sub(r"\\\{[^}]*\\\}", r"(?:\\S{1,12})", re.escape(piece))
            stands = re.search(pattern, f"{document.text} ¶ {document.rest}")
            found.append(f"{name}: expected “{expected}”, found {f'“{stands[0]}”' if stands else 'nothing like it'}")
    for part, where in covered.items():
        text = getattr(document, part)
        for numeral in numerals(text):
            if any(start <= numeral.start() and numeral.end() <= end for start, end in where):
                continue
            if part == "rest" and (not telling(numeral, text) or plain(numeral[0]) in document.known):
                continue
            context = text[max(0, numeral.start() - 50) : numeral.end() + 25]
            found.append(f"{name}: {numeral[0]} in “{context}” is in no row of figures.py")
    return found


def read_notebook(path):
    """Return a notebook as a Document: what is checked whole, the rest, and the numbers that it shows itself."""
    cells = nbformat.reads(committed(path), as_version=4).cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    start = next(number for number, cell in enumerate(cells) if cell.cell_type == "code")
    introduction, others, summary = prose[:start], prose[start:-1], prose[-1]
    lines = [line for text in others for line in re.split(r"(?m)^(#+ .*)$", FENCED.sub("", text))]
    headings = [line for line in lines if line.startswith("#")]
    shown = [*(fence for text in others for fence in FENCED.findall(text))]
    for cell in cells:
        if cell.cell_type == "code":
            shown.append(cell.source)
            for output in cell.outputs:
                data = output.get("data", {})
                shown += [output.get("text", ""), data.get("text/plain", "")]
                shown.append(re.sub(r"<[^>]*>", " ", data.get("text/html", "")))
    known = {number for text in shown for number in numbers(text)}
    rest = [line for line in lines if not line.startswith("#")]
    joined = [one_line(" ¶ ".join([*part, ""])) for part in ((*introduction, *headings, summary), rest)]
    return Document(*joined, frozenset(known | of_the_paper()))


def of_the_paper():
    """Return the numbers among the paper's facts."""
    return numbers(" ".join(str(value) for value, _ in FACTS.values()))


def read_document(name):
    """Return one of the README files as a Document."""
    return Document(one_line((ROOT / name).read_text(encoding="utf-8")))


DOCUMENTS = {name: read_document(name) for name in ("README.md", "results/README.md", "experiments/README.md")}
DOCUMENTS |= {path.stem: read_notebook(path) for path in NOTEBOOKS}


@pytest.fixture(scope="module")
def table():
    """The rows, computed once."""
    return rows()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_figure_is_that_of_its_row(name, table):
    found = problems(name, DOCUMENTS[name], table[name])
    assert not found, "\n".join(found)


def test_a_row_has_a_field_for_every_figure(table):
    for name, its_rows in table.items():
        for piece, *_ in its_rows:
            assert not numerals(re.sub(r"\{[^}]*\}", "", piece)), f"{name}: a figure without a field in “{piece}”"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_changed_figure_is_noticed(name, table):
    text, rest, known = DOCUMENTS[name]
    before = set(problems(name, DOCUMENTS[name], table[name]))
    for numeral in numerals(text):
        for changed in changes(numeral[0]):
            doctored = text[: numeral.start()] + changed + text[numeral.end() :]
            found = set(problems(name, Document(doctored, rest, known), table[name])) - before
            assert found, f"{name}: {changed} in place of “{text[: numeral.end()][-60:]}” is not noticed"


def changes(numeral):
    """Return the numeral with its last digit one more and, where that is another, its last two digits swapped."""
    *places, last = (place for place, sign in enumerate(numeral) if sign.isdigit())
    changed = {numeral[:last] + str((int(numeral[last]) + 1) % 10) + numeral[last + 1 :]}
    if places:
        signs = list(numeral)
        signs[places[-1]], signs[last] = signs[last], signs[places[-1]]
        changed.add("".join(signs))
    return changed - {numeral}


@pytest.mark.parametrize("notebook, right, wrong", [
    ("03_data", "0.1307", "0.1703"),
    ("05_original_1998", "1.22 %", "2.12 %"),
    ("06_modern_lenet", "0.42 %", "0.24 %"),
])  # fmt: skip
def test_a_figure_changed_wherever_a_notebook_has_it_is_noticed(notebook, right, wrong, table):
    text, rest, known = DOCUMENTS[notebook]
    assert right in text + rest
    doctored = Document(text.replace(right, wrong), rest.replace(right, wrong), known)
    assert any(wrong.removesuffix(" %") in problem for problem in problems(notebook, doctored, table[notebook]))


@pytest.mark.parametrize("record", [path.stem for path in RECORDS])
def test_a_changed_record_is_noticed(record, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    path = tmp_path / "results" / f"{record}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["runs"] = doubled(content["runs"])
    path.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(lenet_utils, "ROOT", tmp_path)
    assert problems("results/README.md", DOCUMENTS["results/README.md"], records())


def doubled(entry, name=""):
    """Return an entry of a record with every number twice as large, but for those that say which run it is."""
    if isinstance(entry, dict):
        return {key: doubled(value, key) for key, value in entry.items()}
    if isinstance(entry, list):
        return [doubled(value, name) for value in entry]
    measured = isinstance(entry, (int, float)) and name not in {"seed", "busy_processes", "epochs", "batch_size"}
    return 2 * entry if measured else entry


def test_one_more_error_of_one_run_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    path = tmp_path / "results" / "tutorial_lenet.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["runs"][0]["test_errors"] += 1
    path.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(lenet_utils, "ROOT", tmp_path)
    assert problems("results/README.md", DOCUMENTS["results/README.md"], records())


def test_the_code_keeps_to_the_facts_of_the_paper():
    net = lenet.LeNet5()
    layers = lenet.layer_table(net)
    assert len(layers) == fact("layers")
    assert (layers.parameters.sum(), layers.connections.sum()) == (fact("parameters"), fact("connections"))
    c3 = layers.set_index("layer").loc["c3"]
    assert (c3.parameters, c3.connections) == (fact("parameters of C3"), fact("connections of C3"))
    slip = fact("connections of C3, printed") - fact("connections of C3")
    assert slip == fact("connections, printed") - fact("connections")
    assert (net.c1.out_channels, len(net.c3.table), net.c5.out_channels) == fact("maps")
    assert int(net.c3.table.sum()) == fact("kernels of C3") and net.f6.out_features == fact("units of F6")
    assert (lenet_utils.BACKGROUND, lenet_utils.FOREGROUND) == fact("background, foreground")
    scale, slope = fact("squashing")
    sums = torch.linspace(-3, 3, 13)
    assert torch.equal(lenet.ScaledTanh()(sums), scale * torch.tanh(slope * sums))
    assert original_1998.LEARNING_RATES == fact("learning rates") and original_1998.PASSES == fact("passes")
    assert (original_1998.MU, original_1998.CURVATURE_DIGITS) == (fact("mu"), fact("digits for the curvature"))
    assert original_1998.START["gain"] == fact("first weights")
