"""Set before PyTorch is imported, here and in the kernels that nbval starts, as the notebooks and the Makefile do."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")
