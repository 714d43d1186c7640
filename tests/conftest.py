"""How the tests share a machine: a thread a worker where several run, and the long files first."""

import os

# Set before PyTorch is imported, here and in the kernels that nbval starts, as the notebooks and the Makefile do.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads a worker would wait for each other's cores

# The longest first, so that no worker begins one when the others are done.
LONG = ("07_speed.ipynb", "04_training.ipynb", "06_modern_lenet.ipynb")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))
