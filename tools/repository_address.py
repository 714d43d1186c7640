"""The repository's web address: it stands in CITATION.cff, and badges and set-up cells repeat it.

python -m tools.repository_address https://github.com/OWNER/REPOSITORY      writes it everywhere
python -m tools.repository_address                                          takes it from this checkout's origin

Until then there is no address: no badge leads anywhere, and no set-up cell fetches anything.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.notebook_rules import NOTEBOOKS, ROOT

CITATION = ROOT / "CITATION.cff"
README = ROOT / "README.md"
README_ZH = ROOT / "README.zh.md"
# What git takes for a repository on GitHub: https://github.com/... (a name or token before an @), git@github.com:...
GITHUB = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@\s]+@)?github\.com(?::\d+)?/|(?:\w+@)?github\.com:)"
    r"([A-Za-z0-9][A-Za-z0-9-]*)/([\w.-]*?\w)(?:\.git)?/?",
    re.ASCII,
)
NO_BADGE = "*No Colab badge yet (`make address`)*"
NO_BADGE_ZH = "*还没有 Colab 徽章（`make address`）*"
NO_PAGE = "*no web address yet (`make address`)*"
NO_PAGE_ZH = "*还没有网址（`make address`）*"
PAGE = re.compile(rf"\[(?:its own web page|专用网页)\]\([^)]*\)|{re.escape(NO_PAGE)}|{re.escape(NO_PAGE_ZH)}")
BADGE = re.compile(rf"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)|{re.escape(NO_BADGE)}|{re.escape(NO_BADGE_ZH)}")


def colab_badge(notebook_name, address):
    """Return the Markdown of a notebook's "Open in Colab" badge; without an address, what stands in its place.

    notebook_name: such as "03_data", or "zh/03_data" for the Chinese one.
    """
    if not address:
        return NO_BADGE_ZH if notebook_name.startswith("zh/") else NO_BADGE
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    path = address.removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{path}/blob/main/notebooks/{notebook_name}.ipynb"
    return f"[![Open in Colab]({image})]({link})"


def page_link(address, chinese=False):
    """Return the Markdown of a link to draw.html on the repository's GitHub Pages; what stands there without one."""
    if not address:
        return NO_PAGE_ZH if chinese else NO_PAGE
    owner, repository = address.removeprefix("https://github.com/").split("/")
    words = "专用网页" if chinese else "its own web page"
    return f"[{words}](https://{owner.lower()}.github.io/{repository}/)"


def setup_cell(address):
    """Return the source of the set-up cell, the first code cell of every notebook; "" stands for no address."""
    return f'''\
# Set-up: find the repository around this notebook or, in Colab, fetch it from its web address.
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = "{address}"  # `make address` writes it; while it is empty, nothing is fetched
# Threads that wait give their core up soon, or a busy machine trains many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")

root = Path.cwd() / "lenet-5"
folders = [Path.cwd(), *Path.cwd().parents[:2], root]
whole = [one for one in folders if (one / "lenet.py").exists() and (one / "notebooks").exists()]
if whole:
    root = whole[0]
elif root.exists():
    raise RuntimeError(f"{{root}} is not the whole repository: rename or remove it, then try again.")
elif not REPOSITORY:
    raise RuntimeError("There is no web address to fetch the repository from: open this notebook "
                       "inside the repository.")
else:
    unfinished = root.with_name(f"lenet-5-unfinished-{{os.getpid()}}")
    try:
        git = ["git", "clone", "--quiet", "--depth=1", REPOSITORY, unfinished]
        subprocess.run(git, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise RuntimeError(f"Could not fetch {{REPOSITORY}}: is git installed, and the network "
                           "there? Or unpack its ZIP file and open the notebook inside.") from None
    unfinished.rename(root)
sys.path.insert(0, str(root))'''


def web_address(url):
    """Return https://github.com/OWNER/REPOSITORY for any of git's forms of it; end with a sentence for all else."""
    match = GITHUB.fullmatch(url)
    if not match:
        shown = re.sub(r"//[^/@]*@", "//", url)  # without a token
        sys.exit(
            f"{shown} is not of the form https://github.com/OWNER/REPOSITORY, and Colab's badges open GitHub "
            "repositories only: nothing was changed."
        )
    owner, repository = match.groups()
    if owner.upper() == "OWNER":
        sys.exit("OWNER stands for the name of the repository's owner, put it there: nothing was changed.")
    return f"https://github.com/{owner}/{repository}"


def origin():
    """Return the URL of this checkout's remote repository `origin`, or "" if there is none."""
    try:
        # ROOT must be the top of its repository: around an unpacked ZIP file may lie somebody else's.
        top = subprocess.run(["git", "rev-parse", "--show-cdup"], cwd=ROOT, capture_output=True, encoding="utf-8")
        url = subprocess.run(["git", "config", "remote.origin.url"], cwd=ROOT, capture_output=True, encoding="utf-8")
    except FileNotFoundError:  # git is not installed
        return ""
    return "" if top.returncode or top.stdout.strip() else url.stdout.strip()


def rewritten(address):
    """Return the text of each file that repeats the address, with `address` in it; all the rest of it as it was."""
    citation = CITATION.read_text(encoding="utf-8")
    line = f'repository-code: "{address}"'
    if "repository-code:" in citation:
        citation = re.sub(r"^repository-code:.*", line, citation, flags=re.MULTILINE)
    else:
        citation = f"{citation}{line}\n"
    texts = {CITATION: citation}
    for readme in (README, README_ZH):
        rows = readme.read_text(encoding="utf-8").splitlines(keepends=True)
        for number, row in enumerate(rows):
            if match := re.match(r"\| \[.+?\]\(notebooks/((?:zh/)?\w+)\.ipynb\)", row):
                rows[number] = BADGE.sub(colab_badge(match[1], address), row)
        texts[readme] = PAGE.sub(page_link(address, chinese=readme == README_ZH), "".join(rows))
    for path in NOTEBOOKS:
        for place, name in ((path, path.stem), (path.parent / "zh" / path.name, f"zh/{path.stem}")):
            if not place.exists():
                sys.exit(f"{place.relative_to(ROOT).as_posix()} is missing: `make translations`. Nothing was changed.")
            # The file's JSON as it stands: reading and writing it as a notebook could change more than the address.
            text = BADGE.sub(colab_badge(name, address), place.read_text(encoding="utf-8"))
            texts[place] = re.sub(r'(?<="REPOSITORY = \\")[^"\\]*', address, text)
    return texts


def write_whole(path, text):
    """Replace the file's text in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        whole.write_text(text, encoding="utf-8", newline="\n")
        if path.exists():
            shutil.copymode(path, whole)
        whole.replace(path)


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    url = sys.argv[1] if len(sys.argv) == 2 else origin()
    if not url:
        sys.exit(
            "This checkout has no origin to take the address from: make address URL=https://github.com/OWNER/REPOSITORY"
        )
    address = web_address(url)
    # Whatever was there before is found by its form: a run that was cut short is mended by the next one.
    for path, text in rewritten(address).items():
        if text != path.read_text(encoding="utf-8"):
            write_whole(path, text)
    print(f"Badges, first cells, the page's link and CITATION.cff lead to {address}: commit them, and push them there.")


if __name__ == "__main__":
    main()
