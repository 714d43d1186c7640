"""Make an environment with Colab's versions of what a notebook runs on.

    python -m tools.colab_environment FOLDER [PYTHON]

Colab's Python is PYTHON or, where it is not given, python3.13 if that runs, else the one that runs this script.
FOLDER/report.txt, which `make test-colab` prints, says what differs from Colab. d2l is left out: Colab lacks it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

# Colab in August 2026; "*" where the last digit is not known. scipy and pillow are not known: these suit the rest.
COLAB_PYTHON = "3.13"
COLAB = """
    torch==2.11.* torchvision==0.26.* numpy==2.1.* pandas==2.2.* matplotlib==3.10.* scipy==1.16.* pillow==11.*
    ipython==7.34.0 ipykernel==6.17.1 ipywidgets==7.7.1 anywidget==0.9.21 safetensors
""".split()
# What `python -c` runs there: its version, and those of the packages named.
VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]} | {"Python": platform.python_version()}))
"""


def runs(command):
    """Return whether the command ends well; pyenv, say, has a python3.13 on the PATH that only complains."""
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def installer(python):
    """Return the beginning of an installation command: uv's where there is uv, else pip's."""
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]


def available(pins, install):
    """Return the pins that can be had, each for itself; of any other, only the name: its newest release."""
    found = []
    for pin in pins:
        there = runs([*install, "--dry-run", "--no-deps", pin])
        found.append(pin if there else pin.partition("==")[0])
    return found


def differences(versions):
    """Return one sentence for each version that is not Colab's."""
    found = []
    for pin in [f"Python=={COLAB_PYTHON}.*", *COLAB]:
        name, _, pinned = pin.partition("==")
        here, colab = versions[name].partition("+")[0], pinned.removesuffix(".*")
        if pinned and not f"{here}.".startswith(f"{colab}."):
            found.append(f"Colab has {name} {colab}; this is {here}, as no {colab} was to be had.")
    return found


def make(folder, python=None):
    """Create the environment in `folder`."""
    if python is None:
        newest = f"python{COLAB_PYTHON}"
        python = newest if runs([newest, "--version"]) else sys.executable
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    python = folder / "bin" / "python"
    install = installer(python)
    if subprocess.run([*install, *COLAB]).returncode:
        subprocess.run([*install, *available(COLAB, install)], check=True)
    names = [pin.partition("==")[0] for pin in COLAB]
    done = subprocess.run([python, "-c", VERSIONS, *names], check=True, capture_output=True, encoding="utf-8")
    versions = json.loads(done.stdout)
    report = ["Colab's notebooks here: " + ", ".join(f"{name} {found}" for name, found in versions.items())]
    (folder / "report.txt").write_text("\n".join(report + differences(versions)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute(), *sys.argv[2:])
