"""The guard on the stored notebooks, the guard's own tests, and the exercises' solutions."""

import copy
import re

import nbformat
import pytest

from tools.notebook_rules import MAX_BYTES, NOTEBOOKS, ROOT, code_cells, problems
from tools.repository_address import README, colab_badge, repository_address, setup_cell

TRAINING = next(path for path in NOTEBOOKS if path.stem == "04_training")


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_notebook_keeps_the_rules(path):
    assert problems(read(path), path.stem, path.stat().st_size) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_badge_and_setup_cell_hold_the_one_address(path):
    notebook, address = read(path), repository_address()
    assert colab_badge(path.stem, address) in notebook.cells[0].source
    assert code_cells(notebook)[0].source == setup_cell(address)
    assert colab_badge(path.stem, address) in README.read_text()


def remove_execution(notebook):
    code_cells(notebook)[3].execution_count = None


def swap_order(notebook):
    cells = code_cells(notebook)
    cells[2].execution_count, cells[3].execution_count = cells[3].execution_count, cells[2].execution_count


def store_an_error(notebook):
    code_cells(notebook)[3].outputs = [nbformat.v4.new_output("error", ename="NameError", evalue="x", traceback=[])]


def ignore_without_reason(notebook):
    code_cells(notebook)[0].metadata["tags"] = ["nbval-ignore-output"]


def skip_a_cell(notebook):
    code_cells(notebook)[0].metadata["tags"] = ["nbval-skip"]


def comment_for_nbval(notebook):
    code_cells(notebook)[3].source += "\n# NBVAL_IGNORE_OUTPUT"


def store_a_warning(notebook):
    code_cells(notebook)[3].outputs = [nbformat.v4.new_output("stream", name="stderr", text="UserWarning: ...")]


def write_a_wide_line(notebook):
    code_cells(notebook)[3].source += f"\n# {'x' * 100}"


def write_wide_prose(notebook):
    notebook.cells[0].source += f"\n{'word ' * 25}"


def crowd_a_cell(notebook):
    code_cells(notebook)[3].source = "x = 1\n" * 21


def crowd_the_imports(notebook):
    code_cells(notebook)[1].source = "import torch\n" * 13


def define_claim_again(notebook):
    code_cells(notebook)[3].source += "\n\n\ndef claim(statement, holds, found=None):\n    assert holds"


def print_a_bare_boolean(notebook):
    cell = code_cells(notebook)[3]
    cell.source, cell.outputs = "print('equal:', 1 == 1)", [nbformat.v4.new_output("stream", text="equal: True\n")]


def show_no_number(notebook):
    for cell in code_cells(notebook):
        cell.outputs = [nbformat.v4.new_output("stream", text="the two are equal: True\n")]


def check_an_ignored_cell(notebook):
    for cell in code_cells(notebook):
        cell.metadata.pop("tags", None)


def leave_cell_metadata(notebook):
    code_cells(notebook)[3].metadata["execution"] = {"iopub.status.busy": "2026-01-01"}


def store_widgets(notebook):
    notebook.metadata["widgets"] = {}


def store_a_widget_view(notebook):
    data = {"text/plain": "sliders", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    code_cells(notebook)[3].outputs = [nbformat.v4.new_output("display_data", data=data)]


def name_a_local_kernel(notebook):
    notebook.metadata["kernelspec"]["name"] = "my-venv"


def drop_the_accelerator(notebook):
    del notebook.metadata["accelerator"]


@pytest.mark.parametrize(
    ("doctor", "expected"),
    [
        (remove_execution, "never executed"),
        (swap_order, "from top to bottom"),
        (store_an_error, "stores an error"),
        (ignore_without_reason, "without a reason"),
        (skip_a_cell, "unknown tag"),
        (comment_for_nbval, "NBVAL_ comment"),
        (store_a_warning, "stderr"),
        (write_a_wide_line, "columns, more than 100"),
        (write_wide_prose, "columns, more than 100"),
        (crowd_a_cell, "more than 20 lines"),
        (crowd_the_imports, "more than 12 lines"),
        (define_claim_again, "defines claim"),
        (print_a_bare_boolean, "bare True or False"),
        (show_no_number, "only say True"),
        (check_an_ignored_cell, "no cell ignores its output"),
        (leave_cell_metadata, "metadata besides tags"),
        (store_widgets, "metadata are not the expected"),
        (store_a_widget_view, "stores a widget view"),
        (name_a_local_kernel, "metadata are not the expected"),
        (drop_the_accelerator, "metadata are not the expected"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_guard_refuses_a_doctored_notebook(doctor, expected):
    notebook = copy.deepcopy(read(TRAINING))
    doctor(notebook)
    found = problems(notebook, TRAINING.stem)
    assert any(expected in problem for problem in found), found


def test_the_guard_refuses_a_large_notebook():
    assert any("MB" in problem for problem in problems(read(TRAINING), TRAINING.stem, MAX_BYTES + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_has_a_check_that_its_printed_solution_passes(path, monkeypatch, capsys):
    """Run the light cells that the exercises need, then each starter and each solution before its check."""
    monkeypatch.chdir(path.parent)
    monkeypatch.syspath_prepend(ROOT)  # and so the set-up cell's entry goes with it
    notebook, names = read(path), {}
    for cell in code_cells(notebook):
        if "exercises-need" in cell.metadata.get("tags", []) or cell is code_cells(notebook)[0]:
            exec(cell.source, names)
    checks = 0
    for starter, check, solution in zip(notebook.cells, notebook.cells[1:], notebook.cells[2:], strict=False):
        if "check" not in check.metadata.get("tags", []):
            continue
        checks += 1
        assert starter.metadata["tags"] == ["exercise"]
        capsys.readouterr()
        exec(starter.source, names)
        exec(check.source, names)
        assert capsys.readouterr().out.startswith("No answer yet")
        (code,) = re.findall(r"<details>.*?```python\n(.*?)```.*?</details>", solution.source, re.DOTALL)
        exec(code, names)
        exec(check.source, names)
        assert capsys.readouterr().out.startswith("Correct")
    assert 3 <= checks <= 6
