"""How the tests share a machine: a thread a worker where several run, the long files first, the digits unpacked."""

import gzip
import os
import tempfile
from pathlib import Path

# Set before PyTorch is imported, here and in the kernels that nbval starts, as the notebooks and the Makefile do.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads a worker would wait for each other's cores

DIGITS = Path(__file__).resolve().parent.parent / "data" / "MNIST" / "raw"


def pytest_configure():
    """Unpack the digits before there are workers: torchvision in one would write what another is reading."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    for packed in DIGITS.glob("*.gz"):
        if not packed.with_suffix("").exists():
            with tempfile.NamedTemporaryFile(dir=DIGITS, delete=False) as file:
                file.write(gzip.decompress(packed.read_bytes()))
            os.chmod(file.name, 0o644)
            os.replace(file.name, packed.with_suffix(""))


# The longest first, so that no worker begins one when the others are done.
LONG = ("07_speed.ipynb", "04_training.ipynb", "06_modern_lenet.ipynb")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))
