"""The C++ files beside this one, compiled for this processor when they are first needed."""

import ctypes
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


@functools.cache
def library(name, *more):
    """Compile `name`.cpp, with `more` options, and return the library; RuntimeError if that cannot be done here."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise RuntimeError("No C++ compiler was found: install g++ or clang++ (torch.compile needs one, too).")
    flags = ["-O3", "-std=c++17", "-march=native", "-shared", "-fPIC", "-w", "-fno-math-errno", "-pthread", *more]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-mprefer-vector-width=512")
    if sys.platform == "linux":
        flags.append("-fopenmp")
    # Windows does not let go of a library that is in use.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        target = Path(folder) / f"{name}.so"
        source = Path(__file__).with_name(f"{name}.cpp")
        try:
            subprocess.run([compiler, *flags, source, "-o", target], check=True, capture_output=True, encoding="utf-8")
            return ctypes.CDLL(str(target))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            raise RuntimeError(f"The C++ compiler {compiler} could not compile {source.name}: {reason}") from error


def addresses(*tensors):
    """Return pointers to the tensors' numbers; the caller keeps the tensors while they are in use."""
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
