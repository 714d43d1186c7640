"""Other systems, imitated: Windows' line ends and encodings, odd folder names, no git; the locked versions; Colab's.

What runs in another process takes a copy of the project or none of this one's settings.
"""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project_copy import copy_project

from tools.colab_environment import COLAB, available, differences, runs
from tools.notebook_rules import NOTEBOOKS, ROOT, code_cells, committed

SCRIPTS = sorted(path for folder in (".", "experiments", "tests", "tools") for path in (ROOT / folder).glob("*.py"))
REQUIREMENTS = [Requirement(line) for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# Of each locked version: the requirement, and its hashes.
LOCKED = [
    (Requirement(line), re.findall(r"sha256:[0-9a-f]{64}\b", hashes))
    for line, hashes in re.findall(r"^(\w[^\\\n]*)((?:\\\n +--hash=\S+ ?)*)$", LOCK, re.MULTILINE)
]
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs sh")
MAKE = pytest.mark.skipif(not shutil.which("make"), reason="needs make")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
GIT = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


def run(command, cwd=ROOT, **environment):
    """Run the command and return what it printed; show all of it where the command fails."""
    variables = {name: value for name, value in (os.environ | environment).items() if value is not None}
    done = subprocess.run(
        command, cwd=cwd, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def write_program(path, text):
    """Write a shell script that can be run by its name."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8", newline="\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# ------------------------------------------------------------------------------------------------ locked versions


def test_the_lock_has_a_hash_for_every_entry_and_no_host():
    assert len(LOCKED) == len(re.findall(r"^\w", LOCK, re.MULTILINE)) > 100
    assert [str(locked) for locked, hashes in LOCKED if not hashes] == []
    assert not re.search(r"://|--(?!hash=)| @ ", LOCK)


@pytest.mark.parametrize("required", REQUIREMENTS, ids=str)
def test_the_lock_has_every_requirement_in_its_version(required):
    found = [(str(locked.specifier), locked.marker) for locked, _ in LOCKED if locked.name == required.name]
    assert found == [(str(required.specifier), None)], "make lock"


def needed(requirements):
    """Return name and version of all that is installed and that the requirements need, straight or through others."""
    found, todo = {}, [(required.name, extra) for required in requirements for extra in ("", *required.extras)]
    for name, extra in todo:  # which grows meanwhile
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[canonicalize_name(name)] = package.version.partition("+")[0]
        for line in package.requires or ():
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": extra}):
                todo += {(required.name, extra) for extra in ("", *required.extras)} - set(todo)
    return found


@pytest.mark.skipif(not (Path(sys.prefix) / "installed").exists(), reason="make has not made this environment")
def test_what_make_installed_is_what_the_lock_says():
    here = {locked.name: locked for locked, _ in LOCKED if locked.marker is None or locked.marker.evaluate()}
    installed = needed(REQUIREMENTS)
    assert len(installed) > 100 and set(installed) <= set(here)
    assert {name: version for name, version in installed.items() if not here[name].specifier.contains(version)} == {}


@MAKE
@POSIX
@pytest.mark.parametrize("uv", [False, True], ids=["pip", "uv"])
def test_make_installs_from_the_lock_with_uv_where_there_is_uv(uv, tmp_path):
    for name in ("make", "sh", "id"):
        (tmp_path / name).symlink_to(shutil.which(name))
    if uv:
        write_program(tmp_path / "uv", "")
    printed = run(["make", "--dry-run", "--always-make", ".venv/installed"], PATH=str(tmp_path))
    (line,) = [line for line in printed.splitlines() if "requirements." in line]
    assert line.endswith("--require-hashes -r requirements.lock")
    assert line.startswith("uv pip install --python .venv/bin/python" if uv else ".venv/bin/python -m pip install")


# ------------------------------------------------------------------------------------------------ make


@MAKE
@pytest.mark.parametrize(("theirs", "expected"), [(None, "1000 0"), ("7", "7 7")])
def test_make_lets_waiting_threads_give_their_core_up(theirs, expected, tmp_path):
    show = tmp_path / "show.mk"
    show.write_text("show:\n\t@echo $$GOMP_SPINCOUNT $$KMP_BLOCKTIME\n", encoding="utf-8")
    command = ["make", "--no-print-directory", "-f", "Makefile", "-f", str(show), "show"]
    assert run(command, GOMP_SPINCOUNT=theirs, KMP_BLOCKTIME=theirs).strip() == expected


# ------------------------------------------------------------------------------------------------ JupyterLab


@pytest.mark.parametrize("name", ["Makefile", "README.md"])
def test_jupyterlab_starts_in_the_repository_with_a_notebook_that_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    usual = re.search(r"^OPEN \?= (\S+)$", text, re.MULTILINE)
    text = text.replace("$(OPEN)", usual[1] if usual else "")
    started = re.findall(r"^.*--LabApp\.default_url=/lab/tree/(\S+)", text, re.MULTILINE)
    assert started and all((ROOT / first).is_file() for first in started)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_link_in_a_notebook_leads_to_a_file(path):
    """To a file and not to a folder: JupyterLab answers that with "is a directory, not a file"."""
    prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    targets = re.findall(r"""(?:\]\(|(?:href|src)=")(?!\w+:|#)([^)"#\s]+)""", prose)
    assert targets and [target for target in targets if not (path.parent / target).is_file()] == []


# ------------------------------------------------------------------------------------------------ encodings


def opened_without_encoding(code):
    """Yield line and name of each call that reads or writes text in the encoding of the system."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        owner, name = "", getattr(node.func, "id", "")
        if isinstance(node.func, ast.Attribute):
            owner, name = getattr(node.func.value, "id", ""), node.func.attr
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        texts = [part.value for part in [*node.args, *given.values()] if isinstance(part, ast.Constant)]
        binary = owner in ("gzip", "Image") or any(text in ("rb", "wb", "ab", "xb") for text in texts)
        if (
            name in ("read_text", "write_text")
            or (name in ("open", "fdopen") and not binary)
            or (owner == "subprocess" and {"text", "universal_newlines"} & set(given))
        ):
            yield node.lineno, f"{owner}.{name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_text_is_opened_with_its_encoding(path):
    """Ruff's PLW1514 sees open(...) and Path(...).read_text(), but not path.read_text()."""
    assert list(opened_without_encoding(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_text_is_opened_with_its_encoding_in(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        assert list(opened_without_encoding(re.sub("^[%!].*", "", cell.source, flags=re.MULTILINE))) == []


# Imports every module, reads each kind of file, and runs tests that write them.
READ_AND_WRITE = """
import importlib, locale, os, sys, warnings
import pytest
assert sys.flags.warn_default_encoding and (os.name == "nt" or locale.getencoding() != "utf-8")
for action, module in (("ignore", ""), ("error", r"lenet|digit_pad|experiments|tools")):
    warnings.filterwarnings(action, category=EncodingWarning, module=module)
for name in sys.argv[1:]:
    importlib.import_module(name)
import nbformat, lenet, lenet_utils, digit_pad
from tools import notebook_rules
root = notebook_rules.ROOT
assert lenet_utils.load_mnist(train=False)[0].shape == (10000, 1, 32, 32)
for record in sorted((root / "results").glob("*.json")):
    assert lenet_utils.read_runs(record.stem)[1]
net = lenet_utils.load_weights(lenet.LeNet5(), root / "weights" / "original_1998" / "60000_seed0.safetensors")
digit_pad.DigitPad(net)
for path in notebook_rules.NOTEBOOKS:
    assert notebook_rules.committed(path)
    assert isinstance(notebook_rules.problems(nbformat.read(path, as_version=4), path.stem), list)
few = ["tests/test_record.py", "tests/test_layers.py", "-k", "every_part or an_interruption or weights_file"]
sys.exit(pytest.main(["-q", "-n0", "-p", "no:cacheprovider", *few]))
"""
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in SCRIPTS
    if path.parent != ROOT / "tests"
]


def test_nothing_depends_on_the_encoding_of_the_system():
    """Here it knows only ASCII: stricter than Windows' CP1252, which has some of the letters."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run([sys.executable, "-c", READ_AND_WRITE, *MODULES], PYTHONWARNDEFAULTENCODING="1", **ascii_only)


# ------------------------------------------------------------------------------------------------ folders, git


FEW = [
    "tests/test_notebooks.py::test_the_stored_notebook_keeps_the_rules",
    "tests/test_notebooks.py::test_the_guard_refuses_a_doctored_notebook",
    "tests/test_data.py::test_shapes_and_types",
    "tests/test_layers.py::test_state_dict_round_trip_and_weights_file",
    "tests/test_helpers.py::test_runs_are_read_by_kind_in_the_order_of_their_seeds",
    "tests/test_digit_pad.py::test_the_networks_read_the_drawing",
    "tests/test_project.py::test_the_table_of_notebooks_lists_those_that_exist",
    "tests/test_project.py::test_links_lead_to_files",
]


@pytest.fixture
def odd_copy(tmp_path):
    """A copy of the project, without git's folder, in a folder with a space, an umlaut and Chinese characters."""
    folder = tmp_path / "Übung 1 (Kopie) 手写数字"
    folder.mkdir()
    copy_project(folder)
    return folder


@GIT
def test_the_project_runs_in_an_oddly_named_folder_without_git(odd_copy, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert " passed" in run([*PYTEST, *FEW], cwd=odd_copy, PYTHONPATH=None, PATH=str(tmp_path / "nothing"))


@GIT
def test_the_setup_cell_finds_the_repository_in_an_oddly_named_folder(odd_copy):
    code = code_cells(nbformat.read(NOTEBOOKS[0], as_version=4))[0].source + "\nprint(ascii(str(root)))"
    printed = run([sys.executable, "-c", code], cwd=odd_copy / "notebooks", PYTHONPATH=None)
    assert printed.strip() == ascii(str(odd_copy))


@pytest.fixture
def windows_clone(tmp_path):
    """A clone such as git makes on Windows, of a commit of all files."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    copy_project(origin)
    run(["git", "init", "--quiet"], origin)
    run(["git", "add", "--all"], origin)
    run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "copy"], origin)
    run(["git", "clone", "--quiet", "-c", "core.autocrlf=true", str(origin), str(clone)])
    return clone


@GIT
@POSIX
def test_a_windows_clone_has_the_same_bytes_and_runs_ci(windows_clone, tmp_path):
    listed = run(["git", "ls-files", "-z"], windows_clone).split("\0")[:-1]
    assert [name for name in listed if (windows_clone / name).read_bytes() != (ROOT / name).read_bytes()] == []
    # .ci/run itself, with programs that only print their names.
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "c++", "chromium"):
        write_program(programs / name, f'echo {name} "$@"')
    printed = run([str(windows_clone / ".ci" / "run")], PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert re.findall("^make (.*)", printed, re.MULTILINE) == ["test", "lint", "test-colab", "test-browser", "test-ray"]


# ------------------------------------------------------------------------------------------------ Colab's environment


@POSIX
def test_a_python_that_only_complains_is_not_taken_for_one(tmp_path):
    write_program(tmp_path / "python3.13", "echo pyenv: python3.13: command not found >&2; exit 127")
    assert not runs([tmp_path / "python3.13", "--version"]) and not runs([tmp_path / "none"])
    assert runs([sys.executable, "--version"])


@POSIX
def test_of_a_pin_that_cannot_be_had_only_the_name_is_left(tmp_path):
    write_program(tmp_path / "pip", 'case "$*" in *torch==2.11*) exit 1;; esac')
    assert available(["torch==2.11.*", "numpy==2.1.*"], [str(tmp_path / "pip")]) == ["torch", "numpy==2.1.*"]


def test_what_differs_from_colab_is_said():
    colab = {name: pinned.replace("*", "9") or "1.0" for name, _, pinned in (pin.partition("==") for pin in COLAB)}
    assert differences(colab | {"Python": "3.13.0", "torch": "2.11.0+cpu"}) == []
    found = differences(colab | {"Python": "3.11.7", "torch": "2.14.1"})
    assert [sentence.partition(", as")[0] for sentence in found] == [
        "Colab has Python 3.13; this is 3.11.7",
        "Colab has torch 2.11; this is 2.14.1",
    ]


def test_d2ls_plot_works_where_ipython_9_has_moved_what_it_calls(monkeypatch):
    """Notebook 04's cell that imports d2l, run where IPython.display lacks a name as it does from IPython 9 on."""
    monkeypatch.delattr("IPython.display.set_matplotlib_formats", raising=False)
    cells = code_cells(nbformat.reads(committed(ROOT / "notebooks/04_training.ipynb"), as_version=4))
    (source,) = [cell.source for cell in cells if "from d2l import torch as d2l" in cell.source]
    names = {"sys": sys, "subprocess": subprocess}
    exec(source, names)
    monkeypatch.setattr(names["d2l"], "use_svg_display", names["d2l"].use_svg_display)
    drawn = []
    monkeypatch.setattr("matplotlib_inline.backend_inline.set_matplotlib_formats", drawn.append)
    names["d2l"].use_svg_display()
    assert drawn == ["svg"]
