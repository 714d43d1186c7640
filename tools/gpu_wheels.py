"""Bring along what `make gpu` needs to a machine that reaches no registry: PyTorch is there, Jupyter is not.

    python -m tools.gpu_wheels FOLDER [PYTHON [PACKAGE ...]]

FOLDER then holds the wheels, and no others, for Linux on x86-64 and that machine's Python (3.12 if none is given): the
locked versions, each held against its hash, without each PACKAGE that is there too, and what that needs. Prints their
size and what to type on that machine, beside the code.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.notebook_rules import ROOT

# On that machine with all they need. scipy (notebook 06) is far larger than everything that is brought along.
THERE = ("torch", "torchvision", "pandas", "matplotlib", "safetensors", "scipy", "pytest")
# What the notebooks are run with and import, then what the tests are collected with.
WANTED = (
    "nbconvert", "ipykernel", "d2l", "ipywidgets", "anywidget", "nbval", "pytest-xdist", "hypothesis", "pyyaml",
    "markdown-it-py", "mdit-py-plugins",
)  # fmt: skip
# Needed by what is wanted, by its own word, but not imported: d2l's Jupyter, a debugger, completion, JupyterLab's part.
LEFT_OUT = {"jupyter", "debugpy", "jedi", "widgetsnbextension", "jupyterlab-widgets"}
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")


def target(python):
    """Return what a marker is judged by on that machine; as for pip, 3.12 is 3.12.0."""
    return {
        "python_version": python, "python_full_version": f"{python}.0",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
        "os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64",
    }  # fmt: skip


def holds(requirement, environment, extra=""):
    """Return whether the requirement is meant for the environment."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def closure(names, environment, without=frozenset()):
    """Return the names, and those of all that they need there, straight or through others, by what is installed."""
    todo = [(name, "") for name in names]
    for name, extra in todo:  # which grows meanwhile
        try:
            needs = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # meant for Linux alone, and this is another system
            continue
        for need in needs:
            if holds(need, environment, extra) and canonicalize_name(need.name) not in without:
                found = [(canonicalize_name(need.name), more) for more in ("", *need.extras)]
                todo += [one for one in found if one not in todo]
    return {name for name, _ in todo}


def locked(environment):
    """Return the locked version and its hashes, in one line, of each package meant for the environment.

    Without its marker: pip would judge it by the Python that runs here.
    """
    text, found = (ROOT / "requirements.lock").read_text(encoding="utf-8"), {}
    for line, hashes in re.findall(r"^(\w[^\\\n]*)((?:\\\n +--hash=\S+ ?)+)$", text, re.MULTILINE):
        requirement = Requirement(line)
        if holds(requirement, environment):
            version = f"{requirement.name}{requirement.specifier}"
            found[requirement.name] = " ".join([version, *re.findall(r"--hash=\S+", hashes)])
    return found


def packages(python, also_there=()):
    """Return the lines of the lock that name what is to be brought along."""
    environment = target(python)
    lines, there = locked(environment), closure([*THERE, *map(canonicalize_name, also_there)], environment)
    return [lines[name] for name in sorted(closure(WANTED, environment, LEFT_OUT) - there)]


def download(lines, folder, python):
    """Fetch the wheels of these lines of a lock."""
    platforms = [f"--platform={name}_x86_64" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--require-hashes"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    with tempfile.TemporaryDirectory() as temporary:
        chosen = Path(temporary) / "requirements.txt"
        chosen.write_text("\n".join(lines) + "\n", encoding="utf-8")
        subprocess.run([*command, "--dest", str(folder), "-r", str(chosen)], check=True)


def installation(folder, site="/tmp/site"):
    """Return the line that installs the wheels on that machine; a relative path in PYTHONPATH would not do."""
    options = f"-q --no-index --no-deps --no-compile --upgrade --target {site}"
    return f"python3 -m pip install {options} {shlex.quote(str(folder))}/*.whl; export PYTHONPATH={site}"


def main(folder, python="3.12", *also_there):
    folder, lines = Path(folder), packages(python, also_there)
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob("*.whl"):  # two versions of one package would stop the installation
        wheel.unlink()
    download(lines, folder, python)
    sizes = [wheel.stat().st_size for wheel in folder.glob("*.whl")]
    print(f"{len(sizes)} wheels for Python {python} in {folder}: {sum(sizes) / 1e6:.1f} MB. To be typed there:")
    print(installation(folder))
    print("python3 -m tools.gpu gpu")


if __name__ == "__main__":
    main(*sys.argv[1:])
