"""The repository's web address: it stands in CITATION.cff, and badges and set-up cells repeat it.

python -m tools.repository_address https://github.com/you/lenet-5      rewrites it everywhere
"""

import re
import sys

import nbformat

from tools.notebook_rules import NOTEBOOKS, ROOT

CITATION = ROOT / "CITATION.cff"
README = ROOT / "README.md"
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]*\w")


def repository_address():
    """Return the address in CITATION.cff."""
    return re.search(r'repository-code: "(.+)"', CITATION.read_text())[1]


def colab_address(notebook_name, address):
    """Return where Colab opens notebooks/`notebook_name`.ipynb of the repository at `address`."""
    path = address.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{path}/blob/main/notebooks/{notebook_name}.ipynb"


def colab_badge(notebook_name, address):
    """Return the Markdown of a notebook's "Open in Colab" badge."""
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({image})]({colab_address(notebook_name, address)})"


def setup_cell(address):
    """Return the source of the set-up cell, the first code cell of every notebook."""
    folder = address.rpartition("/")[2]
    return f'''\
# Set-up: find lenet_utils.py above this notebook or, in Colab, fetch the repository.
import subprocess
import sys
from pathlib import Path

REPOSITORY = "{address}"

here = Path.cwd()
folders = [here, *here.parents, here / "{folder}"]
root = next((folder for folder in folders if (folder / "lenet_utils.py").exists()), None)
if root is None:
    root = here / "{folder}"
    if subprocess.run(["git", "clone", "--quiet", "--depth=1", REPOSITORY, root]).returncode:
        raise RuntimeError(f"Could not fetch {{REPOSITORY}}: check the network, run this cell again.")
sys.path.insert(0, str(root))'''


def rewrite(address):
    """Put `address` in place of the present one in CITATION.cff, the README and every notebook."""
    if not ADDRESS.fullmatch(address):
        sys.exit(f"{address} is not of the form https://github.com/OWNER/REPOSITORY")
    old = repository_address()
    old_path, path = old.removeprefix("https://github.com/"), address.removeprefix("https://github.com/")
    for notebook_path in NOTEBOOKS:
        notebook = nbformat.read(notebook_path, as_version=4)
        for cell in notebook.cells:
            if cell.source == setup_cell(old):
                cell.source = setup_cell(address)
            cell.source = cell.source.replace(
                colab_address(notebook_path.stem, old), colab_address(notebook_path.stem, address)
            )
        nbformat.write(notebook, notebook_path)
    for text_path in (CITATION, README):
        text_path.write_text(
            text_path.read_text()
            .replace(f"github.com/{old_path}", f"github.com/{path}")
            .replace(f"/github/{old_path}/", f"/github/{path}/")
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rewrite(sys.argv[1])
