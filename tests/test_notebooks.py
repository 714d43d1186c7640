"""The guard on the notebooks as committed, the guard's own tests, and the exercises' solutions.

What a reader has changed since, by working in a notebook and saving it, breaks nothing here.
"""

import ast
import copy
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

import lenet_exercises
from lenet_exercises import EXERCISES
from tools import notebook_rules
from tools.notebook_rules import MAX_BYTES, NOTEBOOKS, ROOT, code_cells, committed, problems
from tools.repository_address import BADGE, CITATION, README, colab_badge, setup_cell

TRAINING = next(path for path in NOTEBOOKS if path.stem == "04_training")


def read(path):
    return nbformat.reads(committed(path), as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_notebook_keeps_the_rules(path):
    assert problems(read(path), path.stem, len(committed(path).encode())) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_badge_and_setup_cell_hold_the_one_address(path):
    address = yaml.safe_load(committed(CITATION)).get("repository-code", "")
    badge = colab_badge(path.stem, address)
    assert BADGE.findall(committed(path)) == [badge]
    assert code_cells(read(path))[0].source == setup_cell(address)
    (row,) = re.findall(rf"^\| \[.+\]\(notebooks/{path.stem}\.ipynb\).*", committed(README), re.MULTILINE)
    assert row.endswith(f" | {badge} |")


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


def crowd_the_setup_cell(notebook):
    code_cells(notebook)[0].source += "\nx = 1" * 20


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


def exchange_a_picture(notebook):
    outputs = [
        output for cell in code_cells(notebook) for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    outputs[0].data["image/png"] = outputs[1].data["image/png"]


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
        (crowd_the_setup_cell, f"more than {notebook_rules.MAX_SETUP_LINES} lines"),
        (crowd_the_imports, "more than 12 lines"),
        (define_claim_again, "defines claim"),
        (print_a_bare_boolean, "bare True or False"),
        (show_no_number, "only say True"),
        (check_an_ignored_cell, "no cell ignores its output"),
        (leave_cell_metadata, "metadata besides tags"),
        (store_widgets, "metadata are not the expected"),
        (store_a_widget_view, "stores a widget view"),
        (exchange_a_picture, "picture that was exchanged"),
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


def exercises(notebook):
    """Return each exercise's starter, its check and its solution, three cells in a row."""
    trios = zip(notebook.cells, notebook.cells[1:], notebook.cells[2:], strict=False)
    return [cells for cells in trios if "check" in cells[1].metadata.get("tags", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_has_a_check_that_its_printed_solution_passes(path, monkeypatch, capsys):
    """Run the light cells that the exercises need, then each starter and each solution before its check."""
    monkeypatch.chdir(path.parent)
    monkeypatch.syspath_prepend(ROOT)  # and so the set-up cell's entry goes with it
    monkeypatch.setattr(lenet_exercises, "_tries", {})
    notebook, names = read(path), {}
    for cell in code_cells(notebook):
        if "exercises-need" in cell.metadata.get("tags", []) or cell is code_cells(notebook)[0]:
            exec(cell.source, names)
    for starter, check, solution in exercises(notebook):
        assert starter.metadata["tags"] == ["exercise"]
        capsys.readouterr()
        exec(starter.source, names)
        exec(check.source, names)
        unanswered = capsys.readouterr().out
        assert unanswered == "No answer yet: replace the ... above, run that cell, then this one.\n"
        assert [output.text for output in check.outputs] == [unanswered]
        (code,) = re.findall(r"<details>.*?```python\n(.*?)```.*?</details>", solution.source, re.DOTALL)
        exec(code, names)
        exec(check.source, names)
        assert capsys.readouterr().out.startswith("Correct: ")


def problems_of_exercises(notebook, number):
    """Return what is wrong with starters and checks: they are to hold a place for the answer, and nothing of it."""
    found, cells = [], exercises(notebook)
    names = [f"{number}.{place}" for place in range(1, len(cells) + 1)]
    wanted = [name for name in EXERCISES if name.startswith(number)]
    if names != wanted:
        found.append(f"{number} has {len(names)} checks, and lenet_exercises {len(wanted)} exercises")
    for place, (name, (starter, check, _)) in enumerate(zip(names, cells, strict=True), 1):
        answer = getattr(EXERCISES.get(name), "name", f"answer_{place}")
        if check.source != f'lu.check("{name}", {answer})':
            found.append(f"{check.source} is not the check of {name}")
        (statement,) = ast.parse(starter.source).body
        if isinstance(statement, ast.FunctionDef):
            *documentation, rest = map(ast.unparse, statement.body)
            if statement.name != answer or len(documentation) != 1 or rest != "...":
                found.append(f"the starter of {name} is not {answer} with a docstring and ...")
        elif starter.source != f"{answer} = ...":
            found.append(f"the starter of {name} is not {answer} = ...")
        if f"**{place}.** " not in notebook.cells[notebook.cells.index(starter) - 1].source:
            found.append(f"{name} does not stand under **{place}.**")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_starter_and_no_check_holds_an_answer(path):
    assert problems_of_exercises(read(path), path.stem[:2]) == []


def exchange_two_checks(cells):
    cells[0][1].source, cells[1][1].source = cells[1][1].source, cells[0][1].source


def show_an_answer(cells):
    cells[1][1].source = "lu.check(answer_2, 0.6931)"


def start_with_the_answer(cells):
    cells[0][0].source = "answer_1 = 9380"


def start_with_half_the_answer(cells):
    cells[0][0].source += "  # 10 * 938"


def start_with_the_solution(cells):
    cells[-1][0].source = cells[-1][0].source.replace("    ...", "    return F.cross_entropy(logits, labels)")


def leave_out_a_check(cells):
    cells[0][1].metadata["tags"] = []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (exchange_two_checks, "is not the check of 04.1"),
        (show_an_answer, "is not the check of 04.2"),
        (start_with_the_answer, "the starter of 04.1 is not"),
        (start_with_half_the_answer, "the starter of 04.1 is not"),
        (start_with_the_solution, "the starter of 04.5 is not"),
        (leave_out_a_check, "04 has 4 checks, and lenet_exercises 5 exercises"),
    ],
)
def test_an_answer_in_a_starter_or_a_check_is_found(spoil, expected):
    notebook = copy.deepcopy(read(TRAINING))
    spoil(exercises(notebook))
    found = problems_of_exercises(notebook, "04")
    assert any(expected in problem for problem in found), found


def git(*command, folder):
    settings = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *command], cwd=folder, check=True)


def commit_all(folder):
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message=all", folder=folder)


@pytest.fixture
def note(tmp_path, monkeypatch):
    """A file of a project that lies in a folder of its own; it says "file"."""
    project = tmp_path / "around" / "project"
    monkeypatch.setattr(notebook_rules, "ROOT", project)
    path = project / "notebooks" / "note.txt"
    path.parent.mkdir(parents=True)
    path.write_text("file 数字", encoding="utf-8")
    return path


def test_a_file_is_read_as_committed(note):
    commit_all(note.parent.parent)
    note.write_text("changed since", encoding="utf-8")
    assert committed(note) == "file 数字"
    git("add", "--all", folder=note.parent)
    assert committed(note) == "file 数字"
    commit_all(note.parent.parent)
    assert committed(note) == "changed since"


def test_a_file_that_git_does_not_know_is_read_as_it_is(note, monkeypatch):
    project = note.parent.parent
    assert committed(note) == "file 数字"  # no repository
    git("init", "--quiet", folder=project)
    assert committed(note) == "file 数字"  # nothing committed yet
    (project / "other.txt").touch()
    git("add", "other.txt", folder=project)
    git("commit", "--quiet", "--message=other", folder=project)
    assert committed(note) == "file 数字"  # this file not committed yet
    commit_all(project)
    note.write_text("changed since", encoding="utf-8")
    monkeypatch.setenv("PATH", str(project))
    assert committed(note) == "changed since"  # no git


def test_a_file_of_the_same_name_in_a_repository_around_is_another(note):
    around = note.parent.parent.parent
    (around / "notebooks").mkdir()
    (around / "notebooks" / "note.txt").write_text("of the repository around", encoding="utf-8")
    (around / ".gitignore").write_text("project\n", encoding="utf-8")
    commit_all(around)
    assert committed(note) == "file 数字"


def open_and_save(path):
    """Leave a notebook as JupyterLab may: its own metadata, cells not run, and an exercise answered."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    notebook.metadata["language_info"] |= {"version": "3.11.7", "file_extension": ".py", "pygments_lexer": "ipython3"}
    for cell in notebook.cells:
        cell.metadata["trusted"] = True
        if cell.cell_type == "code":
            cell.execution_count = None
        if "exercise" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace("...", "14")
    nbformat.write(notebook, path)


def test_work_in_a_notebook_breaks_no_test(tmp_path):
    for folder in ("tools", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
    for path in [*ROOT.glob("*.py"), ROOT / "pyproject.toml"]:
        shutil.copy(path, tmp_path)
    (tmp_path / "notebooks").mkdir()
    for source in (README, CITATION, *NOTEBOOKS):
        (tmp_path / source.relative_to(ROOT)).write_text(committed(source), encoding="utf-8", newline="\n")
    commit_all(tmp_path)
    path = tmp_path / "notebooks" / "01_output_sizes.ipynb"
    open_and_save(path)
    shutil.copy(path, path.with_name("Untitled.ipynb"))
    shutil.copy(path, path.with_stem(f"{path.stem}-Copy1"))
    chosen = "01_output_sizes and (keeps_the_rules or hold_the_one_address or every_exercise)"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-k",
        chosen,
        "tests/test_notebooks.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "\n3 passed" in done.stdout, done.stdout


def test_the_same_work_is_held_to_the_rules_once_it_is_committed(tmp_path, monkeypatch):
    path = tmp_path / TRAINING.name
    path.write_text(committed(TRAINING), encoding="utf-8", newline="\n")
    monkeypatch.setattr(notebook_rules, "ROOT", tmp_path)
    commit_all(tmp_path)
    open_and_save(path)
    test_the_stored_notebook_keeps_the_rules(path)
    commit_all(tmp_path)
    with pytest.raises(AssertionError, match="never executed"):
        test_the_stored_notebook_keeps_the_rules(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_stored_figure_has_an_alt_text(path):
    for cell in code_cells(nbformat.reads(committed(path), as_version=4)):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt) > 15 and "without words" not in alt, cell.source.splitlines()[0]
