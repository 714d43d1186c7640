"""Make an environment that is like Colab where it matters for a notebook.

    python -m tools.colab_environment FOLDER

IPython, ipykernel and ipywidgets are Colab's (August 2026). Everything else comes from the environment that
runs this script, by links: all but d2l, which Colab lacks, and but the pieces of Jupyter, which are not
what a Colab notebook runs on.
"""

import site
import subprocess
import sys
import venv
from pathlib import Path

COLAB = ["ipython==7.34.0", "ipykernel==6.17.1", "ipywidgets==7.7.1"]
# What the notebooks import, straight or through torch and matplotlib; taken from this environment.
SHARED = (
    "torch torchgen torchvision functorch triton nvidia cuda numpy pandas matplotlib mpl_toolkits PIL safetensors "
    "sympy mpmath networkx jinja2 markupsafe filelock fsspec typing_extensions contourpy cycler kiwisolver pyparsing "
    "fontTools dateutil packaging six requests urllib3 idna charset_normalizer certifi setuptools anywidget psygnal "
    "scipy"
).split()


def make(folder):
    """Create the environment in `folder`."""
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *COLAB], check=True)
    links = folder / "shared"
    links.mkdir()
    here = Path(site.getsitepackages()[0])
    for entry in here.iterdir():
        name = entry.name.split(".")[0].split("-")[0]
        # psygnal's compiled parts lie beside it, under a name that changes with its release.
        if name in SHARED or name.endswith("__mypyc") or entry.name.endswith(".libs"):
            (links / entry.name).symlink_to(entry)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    # Its own packages come first, so IPython and the like stay Colab's.
    (site_packages / "shared.pth").write_text(f"{links.resolve()}\n")
    kernel = folder / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    assert kernel.exists(), "ipykernel brings its kernel specification"


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
