"""A copy of the project as a clone would have it."""

import shutil
import subprocess

from tools.notebook_rules import ROOT


def copy_project(folder):
    """Copy every file that git tracks, or would if it were added, to `folder`, with its time (make compares times)."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.split("\0"):
        if name and (ROOT / name).exists():  # the list ends in an empty name; a file may be deleted, not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
