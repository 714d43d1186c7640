"""The Colab road: each notebook alone in an empty folder, the repository only at its web address.

The notebooks are those of a copy in which `make address` has written a web address, and git is told to take the copy,
at a file:// address, for it. `make test-colab` runs every notebook so, from top to bottom, in an environment with
Colab's versions and without d2l (tools/colab_environment.py). (tests/test_address.py tries the set-up cell alone.)
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import nbformat
import pytest
from nbclient import NotebookClient
from project_copy import copy_project

from tools.notebook_rules import NOTEBOOKS, ROOT

ADDRESS = "https://github.com/somebody/lenet-5"
COLAB_PYTHON = ROOT / ".venv-colab" / "bin" / "python"


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The runs of the selected notebooks, by name, several at a time: futures of what run_notebook returns."""
    folder = tmp_path_factory.mktemp("colab")
    origin = folder / "origin"
    origin.mkdir()
    copy_project(origin)
    subprocess.run([sys.executable, "-m", "tools.repository_address", ADDRESS], cwd=origin, check=True)
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "copy"],
    ):
        subprocess.run(["git", *command], cwd=origin, check=True)
    kernel = folder / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [str(COLAB_PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification = {"argv": command, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(specification), encoding="utf-8")
    subprocess.run([COLAB_PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", "d2l"], check=True)
    selected = {item.callspec.params["path"] for item in request.session.items if item.fspath == request.path}
    with pytest.MonkeyPatch.context() as patch:
        # `git clone` of ADDRESS fetches the copy.
        patch.setenv("GIT_CONFIG_COUNT", "1")
        patch.setenv("GIT_CONFIG_KEY_0", f"url.{origin.as_uri()}.insteadOf")
        patch.setenv("GIT_CONFIG_VALUE_0", ADDRESS)
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("PATH", f"{COLAB_PYTHON.parent}:{os.environ['PATH']}")
        patch.setenv("OMP_NUM_THREADS", "1")  # a core each: much of a notebook has work for one only
        patch.delenv("PYTHONPATH", raising=False)
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            futures = {}
            for path in sorted(selected, key=lambda path: path.stem[:2] not in ("04", "06", "07")):  # the longest first
                content = folder / path.stem  # empty but for the notebook
                content.mkdir()
                shutil.copyfile(origin / "notebooks" / path.name, content / path.name)
                futures[path.stem] = pool.submit(run_notebook, content / path.name, content)
            yield futures


def run_notebook(path, folder):
    """Execute the notebook at `path` in a fresh kernel of the Colab environment; return it, and its peak memory."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    notebook.cells.append(nbformat.v4.new_code_cell("print(open('/proc/self/status').read())"))
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute()
    status = notebook.cells.pop().outputs[0].text
    peak = next(int(line.split()[1]) / 2**20 for line in status.splitlines() if line.startswith("VmHWM"))
    return notebook, peak


def strict_text(notebook):
    """Return the text that strict nbval would compare: of all cells but those whose output is ignored."""
    return [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", [])
    ]


@pytest.mark.colab
@pytest.mark.skipif(not COLAB_PYTHON.exists(), reason="needs the environment that `make test-colab` makes")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_as_in_colab(path, runs):
    notebook, peak = runs[path.stem].result()
    assert strict_text(notebook) == strict_text(nbformat.read(path, as_version=4))
    print(f"{path.stem}: peak memory {peak:.2f} GiB")
    assert peak < 2
