"""A disk that is full, imitated by the size that a file of this process may have."""

import contextlib

import pytest


@contextlib.contextmanager
def full_disk(size):
    """Let no file grow beyond `size` bytes: the system then says "File too large"."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
