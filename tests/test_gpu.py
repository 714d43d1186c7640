"""`make gpu` with stand-ins for the GPU and for what it starts; the list of what `make gpu-wheels` brings along."""

import json
import os
import subprocess
import sys
import types
from importlib.metadata import distributions, version
from pathlib import Path

import nbformat
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import gpu, gpu_wheels
from tools.notebook_rules import ROOT

ALL = ["tests", "measurements", *gpu.NOTEBOOKS]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="works the list out from what Linux needs")


# ------------------------------------------------------------------------------------------------ make gpu


@pytest.fixture
def started(monkeypatch):
    """The commands that tools.gpu starts, in order: each prints which it is; those with a word in `fails` fail."""
    commands = types.SimpleNamespace(all=[], fails=())

    def start(command, cwd, stdout, stderr):
        assert cwd == ROOT and stderr == subprocess.STDOUT
        commands.all.append(command)
        stdout.write("\n".join(f"line {number} of {command[-1]}" for number in range(40)))
        return types.SimpleNamespace(returncode=3 * any(word in " ".join(command) for word in commands.fails))

    monkeypatch.setattr(gpu, "subprocess", types.SimpleNamespace(run=start, STDOUT=subprocess.STDOUT))
    monkeypatch.setattr(gpu, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a stand-in")
    return commands


def take(monkeypatch, folder, *steps):
    """Run tools.gpu as the Makefile does and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["tools.gpu", str(folder), *steps])
    with pytest.raises(SystemExit) as end:
        gpu.main()
    return int(end.value.code)


def test_every_step_is_taken_in_order_and_what_it_prints_is_kept(started, monkeypatch, capsys, tmp_path):
    assert take(monkeypatch, tmp_path / "new" / "gpu") == 0
    assert started.all == [gpu.steps(tmp_path / "new" / "gpu")[name] for name in ALL]
    printed = capsys.readouterr().out
    assert printed.startswith(f"a stand-in, PyTorch {torch.__version__}\n")
    assert [line.split()[:2] for line in printed.splitlines()[1:-1]] == [[name, "passed"] for name in ALL]
    assert f"everything else: {tmp_path / 'new' / 'gpu'}" in printed.splitlines()[-1]
    for name in ALL:
        assert "line 0 of " in (tmp_path / "new" / "gpu" / f"{name}.log").read_text(encoding="utf-8")


def test_a_step_that_fails_is_named_and_stops_no_other(started, monkeypatch, capsys, tmp_path):
    started.fails = ["experiments.speed", "06_modern_lenet"]
    assert take(monkeypatch, tmp_path) == 1
    assert len(started.all) == len(ALL)
    printed = capsys.readouterr().out
    assert [name for name in ALL if f"{name:24} FAILED" in printed] == ["measurements", "06_modern_lenet"]
    assert [name for name in ALL if f"{name:24} passed" in printed] == [
        name for name in ALL if name not in ("measurements", "06_modern_lenet")
    ]
    # The end of its log, of that step alone.
    assert [line for line in printed.splitlines() if line.startswith("line ")] == [
        f"line {number} of {last}" for last in ("runs", "notebooks/06_modern_lenet.ipynb") for number in range(25, 40)
    ]


def test_only_the_steps_asked_for_are_taken(started, monkeypatch, tmp_path):
    assert take(monkeypatch, tmp_path, "07_speed", "tests") == 0
    assert started.all == [gpu.steps(tmp_path)[name] for name in ("07_speed", "tests")]


def test_no_step_is_taken_where_one_is_unknown(started, monkeypatch, capsys, tmp_path):
    assert take(monkeypatch, tmp_path, "tests", "08_experience") == 2
    message = capsys.readouterr().err
    assert "'08_experience'" in message and ", ".join(ALL) in message and started.all == []


def test_no_step_is_taken_without_a_gpu(started, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert take(monkeypatch, tmp_path / "gpu") == 2
    assert "no CUDA GPU" in capsys.readouterr().err and started.all == [] and not (tmp_path / "gpu").exists()


def test_the_steps_run_what_there_is_with_this_python(tmp_path):
    commands = gpu.steps(tmp_path)
    assert list(commands) == ALL and all(command[:2] == [sys.executable, "-m"] for command in commands.values())
    assert commands["tests"][2] == "pytest" and commands["tests"][-1] == "tests" and "cuda" in commands["tests"]
    assert commands["measurements"][2:] == ["experiments.speed", "runs"]
    for name in gpu.NOTEBOOKS:
        assert commands[name][2] == "nbconvert" and "--execute" in commands[name]
        assert commands[name][-2:] == [str(tmp_path), f"notebooks/{name}.ipynb"]
        assert (ROOT / commands[name][-1]).is_file()


def test_a_command_that_really_runs_leaves_its_status_and_both_its_outputs(tmp_path):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    status, seconds = gpu.take([sys.executable, "-c", code], tmp_path / "log")
    assert status == 3 and seconds > 0
    assert (tmp_path / "log").read_text(encoding="utf-8").split() == ["out", "err"]


# ------------------------------------------------------------------------------------------------ make gpu-wheels


def names(lines):
    """Return the packages of these lines of a lock."""
    return {canonicalize_name(Requirement(line.partition(" --hash")[0]).name) for line in lines}


def test_of_two_locked_versions_the_one_for_that_python_is_taken(monkeypatch, tmp_path):
    digest = "--hash=sha256:" + 64 * "0"
    (tmp_path / "requirements.lock").write_text(
        "# made by make lock\n"
        f"a==1 ; python_full_version < '3.12' \\\n    {digest} \\\n    {digest}\n"
        f"a==2 ; python_full_version >= '3.12' \\\n    {digest}\n"
        f"b==1 ; sys_platform == 'win32' or os_name == 'nt' \\\n    {digest}\n"
        f"c==1 ; platform_machine == 'x86_64' and platform_system == 'Linux' \\\n    {digest}\n"
        f"d==1 ; implementation_name != 'cpython' \\\n    {digest}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(gpu_wheels, "ROOT", tmp_path)
    old, new = (gpu_wheels.locked(gpu_wheels.target(python)) for python in ("3.11", "3.12"))
    assert old == {"a": f"a==1 {digest} {digest}", "c": f"c==1 {digest}"}
    assert new == {"a": f"a==2 {digest}", "c": f"c==1 {digest}"}


def test_what_is_needed_is_followed_through_extras_and_markers(monkeypatch):
    needs = {
        "top": ["Mid_dle[more]>=1", "old; python_version < '3.12'", "heavy"],
        "mid-dle": ["basic", "rich; extra == 'more'", "never; extra == 'other'"],
        "rich": ["top"],  # in a circle
        "heavy": ["heavier"],
        "basic": None,
    }

    def requires(name):
        if name not in needs:
            raise gpu_wheels.PackageNotFoundError(name)
        return needs[name]

    monkeypatch.setattr(gpu_wheels, "requires", requires)
    found = {"top", "mid-dle", "basic", "rich"}
    assert gpu_wheels.closure(["top"], gpu_wheels.target("3.12"), {"heavy"}) == found
    assert gpu_wheels.closure(["top"], gpu_wheels.target("3.11"), {"heavy"}) == found | {"old"}
    assert gpu_wheels.closure(["top"], gpu_wheels.target("3.12")) == found | {"heavy", "heavier"}


@LINUX
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_wheels_are_locked_hold_all_that_is_wanted_and_nothing_heavy(python):
    lines = gpu_wheels.packages(python)
    found = names(lines)
    assert len(found) == len(lines) and all("==" in line and "--hash=sha256:" in line for line in lines)
    assert found > set(gpu_wheels.WANTED) | {"ipython", "platformdirs", "pyzmq", "tinycss2", "requests"}
    heavy = {"torch", "scipy", "numpy", "pandas", "matplotlib", "triton", "pillow", "jupyterlab", "notebook"}
    assert not found & (heavy | {"debugpy", "jedi", "parso", "widgetsnbextension", "jupyterlab-widgets"})
    assert not any(name.startswith("nvidia") for name in found)
    for line in lines:  # the versions that all tests run with, where this is that Python
        pinned = Requirement(line.partition(" --hash")[0])
        if python == "{}.{}".format(*sys.version_info) and pinned.name != "soupsieve":  # which goes by the third number
            assert version(pinned.name) in pinned.specifier


@LINUX
def test_what_is_said_to_be_there_stays_here_with_what_it_needs():
    everything, fewer = (names(gpu_wheels.packages("3.12", there)) for there in ((), ("requests", "PyYAML")))
    assert everything - fewer == {"requests", "urllib3", "idna", "certifi", "charset-normalizer", "pyyaml"}
    assert fewer < everything


# For every Python process, kernels too: the modules in $BLOCKED cannot be imported.
BLOCK = """
import json, os, sys

class Blocker:
    blocked = set(json.loads(os.environ["BLOCKED"]))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"No module named {name!r}: it is not brought along", name=name)

sys.meta_path.insert(0, Blocker())
"""
IMPORTS = """
import digit_pad, ipykernel.kernelapp, ipywidgets, nbval.plugin, scipy.stats, torchvision, xdist, yaml
from d2l import torch as d2l
from experiments import c3_tables, distilled_lenet, modern_lenet, original_1998, record, speed
import lenet_utils as lu
print(lu.layer_table(lu.modern_lenet()).shape)
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The variables of a machine where what is neither there nor brought along cannot be imported."""
    environment = gpu_wheels.target("{}.{}".format(*sys.version_info))
    allowed = gpu_wheels.closure(gpu_wheels.THERE, environment)
    allowed |= names(gpu_wheels.packages(environment["python_version"]))
    blocked = {
        file.parts[0].removesuffix(".py")
        for found in distributions()
        if canonicalize_name(found.name) not in allowed | {"pip"}
        for file in found.files or []
        if file.suffix == ".py"
    }
    assert {"debugpy", "jedi", "parso", "jupyterlab", "widgetsnbextension"} <= blocked
    folder = tmp_path_factory.mktemp("machine")
    (folder / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    roads = os.pathsep.join([str(folder), str(ROOT)])
    return os.environ | {"PYTHONPATH": roads, "BLOCKED": json.dumps(sorted(blocked)), "OMP_NUM_THREADS": "1"}


def run(command, machine):
    """Run a Python module or program on that machine; return what it printed, or fail with it."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=machine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@LINUX
@pytest.mark.slow
def test_with_the_wheels_alone_everything_is_imported_and_a_notebook_runs(machine, tmp_path):
    missing = "try:\n    import jedi\nexcept ImportError as error:\n    print(error)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (missing, IMPORTS)])
    nbformat.write(notebook, tmp_path / "tried.ipynb")
    run([*gpu.steps(tmp_path / "out")["07_speed"][1:-1], str(tmp_path / "tried.ipynb")], machine)
    cells = nbformat.read(tmp_path / "out" / "tried.ipynb", as_version=4).cells
    printed = [cell.outputs[-1].text for cell in cells]
    assert "not brought along" in printed[0] and printed[1].startswith("(")


@LINUX
@pytest.mark.slow
def test_with_the_wheels_alone_the_tests_for_a_gpu_are_found(machine):
    command = gpu.steps(Path("out"))["tests"][1:]
    printed = run([*command, "--collect-only", "-q", "-p", "no:cacheprovider"], machine)
    assert "tests/test_cuda.py::test_recording_a_graph_takes_its_steps_back" in printed and "error" not in printed


@LINUX
def test_the_wheels_are_fetched_as_locked_and_the_folder_holds_no_others(monkeypatch, capsys, tmp_path):
    folder, seen = tmp_path / "the wheels", {}
    folder.mkdir()
    (folder / "ipython-8.0.0-py3-none-any.whl").touch()

    def start(command, check):
        seen["command"], seen["lines"] = command, Path(command[-1]).read_text(encoding="utf-8").splitlines()
        for line in seen["lines"]:
            (folder / f"{line.partition('=')[0]}-1-py3-none-any.whl").write_bytes(bytes(100_000))
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(gpu_wheels, "subprocess", types.SimpleNamespace(run=start))
    gpu_wheels.main(str(folder))
    assert seen["lines"] == gpu_wheels.packages("3.12") and not list(folder.glob("ipython-8.0.0*"))
    command = seen["command"]
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {
        "--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.12", "--implementation=cp",
        "--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64",
    } < set(command)  # fmt: skip
    assert command[command.index("--dest") + 1] == str(folder)
    first, line, last = capsys.readouterr().out.splitlines()
    count = len(seen["lines"])
    assert first.startswith(f"{count} wheels for Python 3.12 in {folder}: {count / 10:.1f} MB")
    assert line == (
        "python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site "
        f"'{folder}'/*.whl; export PYTHONPATH=/tmp/site"
    )
    assert last == "python3 -m tools.gpu gpu"
