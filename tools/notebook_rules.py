"""The rules that every notebook keeps, so that strict nbval means something.

python -m tools.notebook_rules            lists what breaks a rule
python -m tools.notebook_rules --tidy     first removes the metadata that editors and nbconvert leave behind

This looks at the files, as an author wants it before a commit. The tests hold only what is `committed` to the rules:
a reader may open the notebooks, work in them and save them.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
# Not what a reader adds beside them, such as Untitled.ipynb or 01_output_sizes-Copy1.ipynb.
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if re.fullmatch(r"\d\d_\w+", path.stem))
TRAINING = {"04_training", "06_modern_lenet", "07_speed"}  # faster on a GPU
MAX_BYTES = 2_000_000
MAX_COLUMNS = 100  # of code and prose; tables, badges and the repository's address cannot be broken
MAX_LINES = 20  # of a code cell: one idea a cell, and most have fewer than 15
MAX_SETUP_LINES = 31  # of the set-up cell: it stands in for a module, and says what may be missing
MAX_IMPORTS = 12  # lines of the cell after the set-up cell, so that the first idea is not far
# The share of printed lines that may say True and show no number; what these two have is to become less.
MAX_BARE = {"06_modern_lenet": 0.19, "07_speed": 0.17}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"  # a live widget's number: nothing to show once stored
TAGS = {"nbval-ignore-output", "raises-exception", "exercises-need", "exercise", "check"}

# Cells whose output depends on the machine, by the first line of their source, with the reason.
IGNORED_OUTPUT = {
    "02_c3_connection_table": {
        "median = {": "times of the four versions of C3",
        "for kind, accuracy in accuracies.items():": "errors after training",
        "for name, alike in found.items():": "single maps: rounding differs between processors",
        "test = lu.load_mnist(": "single digits: rounding differs between processors",
    },
    "03_data": {
        "answers = lu.predict(": "single digits: rounding differs between processors",
        "by_class = answers.clone()": "single digits: rounding differs between processors",
        "def count_right(": "single digits: rounding differs between processors",
        "nets = [lu.load_weights(": "single digits: rounding differs between processors",
        "alike = wrong[0]": "single digits: rounding differs between processors",
        'stages = {"pad"': "times",
        "start = time.perf_counter()": "times",
    },
    "04_training": {
        "half = ": "the live plot's title: time and throughput",
        "lu.seed_everything(0)": "d2l's plot (SVG) and throughput; fit's losses and seconds; accuracy after both",
        'runs = {"sigmoid, 0.9"': "losses after training",
        "shares = ": "accuracy after training",
        "growths = ": "steps until the plateau's end",
        "for name, numbers in": "steps until the plateau's end",
        "import time": "digits a second",
    },
    "05_original_1998": {
        'print("network     criterion': "shares and cosines of a few digits: rounding differs between processors",
        "# Compiles, with a digit": "microseconds a digit",
        "s = 0.1": "the live plot's title: time and rate",
        "for s in (1.0, 0.1, 0.02):": "accuracies and distances after training",
        'print("first weights': "accuracies after training",
    },
    "06_modern_lenet": {
        "device = lu.pick_device()": "times",
        "def read_by_teachers(images):": "single digits: rounding differs between processors",
        "few_digits = [part[:5000]": "errors after training",
        "rungs_here = list(short)": "errors after training",
        "start = time.perf_counter()": "seconds and accuracy after training",
        "by_net = torch.stack(": "single digits: rounding differs between processors",
    },
    "07_speed": {
        "device = lu.pick_device()": "whether there is a C++ compiler, and the clock",
        "rates = measure_yardsticks()": "the machine's limits",
        "c1_bytes =": "times",
        "COUNT = ": "examples a second",
        "before, whole_before = ": "times",
        "in_convolutions = ": "times",
        "# An empty cache": "whether there is a C++ compiler",
        'if device.type == "cuda":': "whether there is a GPU",
        'if device.type != "cuda":': "the device and its rungs",
        "for name, below in zip(rungs": "examples a second",
        "has_kernel = ": "times",
        "if compiler:": "seconds and accuracy after training",
        'print(f"With more digits: ': "rounding differs between processors",
    },
    "08_inside_lenet": {
        "weights = root": "counts of single digits: rounding differs between processors",
        "truth, missed = labels": "counts of single digits",
        "reads = [net.output": "counts of single digits: rounding differs between processors",
        "shared_errors, shared_worst": "counts of single digits",
        'print("errors of the ten bitmaps': "counts of single digits",
        "LOOK = PAPER": "counts of single digits",
        "small = zoom(": "counts of single digits",
        "for strength in (-30": "counts of single digits",
        "needed = {": "counts of single digits",
        "for refused in": "counts of single digits",
        "rates = {": "counts of single digits",
        "by = torch.stack(": "counts of single digits",
        "shares = {": "counts of single digits",
        "noise = sorted(": "counts of single digits",
    },
}


def expected_metadata(name):
    """Return the whole metadata of a notebook; Colab reads `accelerator` and `gpuType`."""
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    if name in TRAINING:
        metadata |= {"accelerator": "GPU", "colab": {"gpuType": "T4"}}
    return metadata


def committed(path):
    """Return the text of a file of the project as last committed; as it is where git is absent or has no such file."""
    # "./" counts from ROOT, though that may lie deep in somebody else's repository.
    command = ["git", "show", f"HEAD:./{path.relative_to(ROOT).as_posix()}"]
    try:
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        return path.read_text(encoding="utf-8")
    return path.read_text(encoding="utf-8") if shown.returncode else shown.stdout


def code_cells(notebook):
    """Return the code cells that are not empty."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def pictures(cell):
    """Return each stored picture of a cell with its metadata, to which `tidy` adds the picture's SHA-256."""
    outputs = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    return [(output.data["image/png"], output.metadata.setdefault("image/png", {})) for output in outputs]


def sha256(picture):
    return hashlib.sha256("".join(picture.split()).encode()).hexdigest()


def tidy(notebook, name):
    """Set the notebook's metadata to the expected ones; keep only the cells' tags, and a widget's picture."""
    notebook.metadata = nbformat.from_dict(expected_metadata(name))
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
        for picture, about in pictures(cell):
            about["sha256"] = sha256(picture)


def problems(notebook, name, size=0):
    """Return one sentence for each rule that the notebook `name` breaks; `size` is its file's, in bytes."""
    found = []
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    if None in counts:
        found.append(f"{counts.count(None)} code cells were never executed: nbval would pass them unseen")
    elif counts != list(range(1, len(cells) + 1)):
        found.append("the cells were not executed once each from top to bottom")
    for number, cell in enumerate(cells, 1):
        first_line = cell.source.strip().splitlines()[0]
        tags = set(cell.metadata.get("tags", []))
        if any(output.output_type == "error" for output in cell.outputs) and "raises-exception" not in tags:
            found.append(f"code cell {number} ({first_line}) stores an error")
        if "nbval-ignore-output" in tags and not any(
            first_line.startswith(start) for start in IGNORED_OUTPUT.get(name, {})
        ):
            found.append(f"code cell {number} ({first_line}) ignores its output without a reason in IGNORED_OUTPUT")
        if tags - TAGS:
            found.append(f"code cell {number} ({first_line}) has the unknown tag {sorted(tags - TAGS)}")
        if re.search(r"#\s*NBVAL_", cell.source):
            found.append(f"code cell {number} ({first_line}) has an NBVAL_ comment: use a tag")
        if any(output.get("name") == "stderr" for output in cell.outputs):
            found.append(f"code cell {number} ({first_line}) stores a warning or other text on stderr")
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            found.append(
                f"code cell {number} ({first_line}) stores a widget view: python -m tools.notebook_rules --tidy"
            )
        if any(about.get("sha256") != sha256(picture) for picture, about in pictures(cell)):
            found.append(
                f"code cell {number} ({first_line}) has a picture that was exchanged: make notebook NAME={name}"
            )
        if set(cell.metadata) - {"tags"}:
            found.append(
                f"code cell {number} ({first_line}) has metadata besides tags: python -m tools.notebook_rules --tidy"
            )
        limit = MAX_SETUP_LINES if number == 1 else MAX_LINES
        if len(cell.source.strip().splitlines()) > limit:
            found.append(f"code cell {number} ({first_line}) has more than {limit} lines: split it")
        if re.search(r"^def claim\b", cell.source, re.MULTILINE):
            found.append(f"code cell {number} ({first_line}) defines claim: it is in lenet_utils")
        printed = "".join(output.get("text", "") for output in cell.outputs)
        if re.search(r"\b(True|False)$", printed, re.MULTILINE) and "lu.claim(" not in cell.source:
            found.append(f"code cell {number} ({first_line}) prints a bare True or False: state it with lu.claim")
    lines = [line for cell in cells for output in cell.outputs for line in output.get("text", "").splitlines() if line]
    bare = [line for line in lines if line.endswith(": True")]
    if len(bare) > MAX_BARE.get(name, 0.05) * len(lines):
        found.append(f"{len(bare)} of {len(lines)} printed lines only say True: give lu.claim what was found")
    if len(cells) > 1 and len([line for line in cells[1].source.splitlines() if line.strip()]) > MAX_IMPORTS:
        found.append(f"the cell after the set-up cell has more than {MAX_IMPORTS} lines")
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            if len(line) > MAX_COLUMNS and not line.startswith(("|", "[![", "REPOSITORY = ")):
                found.append(f"a line has {len(line)} columns, more than {MAX_COLUMNS}: {line[:40]} ...")
    for start, reason in IGNORED_OUTPUT.get(name, {}).items():
        if not any(
            cell.source.strip().startswith(start) and "nbval-ignore-output" in cell.metadata.get("tags", [])
            for cell in cells
        ):
            found.append(f"no cell ignores its output for {start!r} ({reason}): remove it from IGNORED_OUTPUT")
    if dict(notebook.metadata) != expected_metadata(name):
        found.append("the notebook's metadata are not the expected ones: run python -m tools.notebook_rules --tidy")
    if size > MAX_BYTES:
        found.append(f"the file has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidy", action="store_true", help="normalise the metadata first")
    tidy_first = parser.parse_args().tidy
    failed = False
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        if tidy_first:
            tidy(notebook, path.stem)
            nbformat.write(notebook, path)
        for problem in problems(notebook, path.stem, path.stat().st_size):
            failed = True
            print(f"{path.name}: {problem}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
