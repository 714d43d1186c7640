"""The repository's one web address: the command that writes it, and the set-up cell that fetches from it.

The set-up cell runs alone in an empty folder. git is told to take a small repository, at a file:// address,
for the web address.
"""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools import repository_address
from tools.notebook_rules import NOTEBOOKS, ROOT, committed
from tools.repository_address import (
    BADGE,
    CITATION,
    NO_BADGE,
    NO_BADGE_ZH,
    NO_PAGE,
    NO_PAGE_ZH,
    PAGE,
    README,
    README_ZH,
    colab_badge,
    setup_cell,
    web_address,
)
from tools.translations import FOLDER, read_passages, translated, written

ADDRESS = "https://github.com/somebody/le-net.5"
ANOTHER = "https://github.com/another/lenet-5"
CHINESE = [path.parent / "zh" / path.name for path in NOTEBOOKS]
FILES = [path.relative_to(ROOT) for path in (README, README_ZH, CITATION, *NOTEBOOKS, *CHINESE)]


def is_chinese(file):
    return "zh" in file.parts or file.name == README_ZH.name


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of all files that the command writes to, as committed but without an address; it is what `main` sees."""
    project = tmp_path / "copy"
    (project / "notebooks" / "zh").mkdir(parents=True)
    for file in FILES:
        no_badge, no_page = (NO_BADGE_ZH, NO_PAGE_ZH) if is_chinese(file) else (NO_BADGE, NO_PAGE)
        text = PAGE.sub(no_page, BADGE.sub(no_badge, committed(ROOT / file)))
        text = re.sub(r'REPOSITORY = \\"[^"]*\\"', r'REPOSITORY = \\"\\"', text)
        text = re.sub(r"^repository-code: .*\n", "", text, flags=re.MULTILINE)
        (project / file).write_text(text, encoding="utf-8", newline="\n")
    monkeypatch.setattr(repository_address, "ROOT", project)
    monkeypatch.setattr(repository_address, "CITATION", project / "CITATION.cff")
    monkeypatch.setattr(repository_address, "README", project / "README.md")
    monkeypatch.setattr(repository_address, "README_ZH", project / "README.zh.md")
    monkeypatch.setattr(repository_address, "NOTEBOOKS", [project / "notebooks" / path.name for path in NOTEBOOKS])
    return project


@pytest.fixture
def write_address(copy, monkeypatch):
    """A function that does what `python -m tools.repository_address` does; it returns the sentence of a refusal."""

    def run(*url):
        monkeypatch.setattr(sys, "argv", ["repository_address", *url])
        try:
            repository_address.main()
        except SystemExit as refusal:
            return refusal.code

    return run


def contents(project):
    return {file: (project / file).read_bytes() for file in FILES}


def git(*command, folder):
    settings = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *command], cwd=folder, check=True)


def test_one_command_writes_the_address_everywhere_and_nothing_else(copy, write_address):
    before = contents(copy)
    assert write_address(ADDRESS) is None
    after = contents(copy)
    for file in FILES:
        old, new = (text[file].decode().splitlines() for text in (before, after))
        if file.name == "CITATION.cff":
            assert new == [*old, f'repository-code: "{ADDRESS}"']
            continue
        changed = [pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]]
        no_badge, no_page = (NO_BADGE_ZH, NO_PAGE_ZH) if is_chinese(file) else (NO_BADGE, NO_PAGE)
        if file.suffix == ".md":
            line, link = changed.pop(0)
            words = "专用网页" if is_chinese(file) else "its own web page"
            assert link == line.replace(no_page, f"[{words}](https://somebody.github.io/le-net.5/)") != line
        names = [path.stem for path in NOTEBOOKS] if file.suffix == ".md" else [file.stem]
        for name in names:
            line, badge = changed.pop(0)
            right = colab_badge(f"zh/{name}" if is_chinese(file) else name, ADDRESS)
            assert no_badge in line and badge == line.replace(no_badge, right)
        if file.suffix == ".ipynb":
            line, repository = changed.pop(0)
            assert repository == line.replace(r"\"\"", rf"\"{ADDRESS}\"") != line
        assert changed == []


def test_a_badge_opens_its_notebook_in_colab():
    badge = colab_badge("03_data", ADDRESS)
    target = "https://colab.research.google.com/github/somebody/le-net.5/blob/main/notebooks/03_data.ipynb"
    assert badge.endswith(f"]({target})") and BADGE.fullmatch(badge)
    assert "://" not in colab_badge("03_data", "")
    target = "https://colab.research.google.com/github/somebody/le-net.5/blob/main/notebooks/zh/03_data.ipynb"
    assert colab_badge("zh/03_data", ADDRESS).endswith(f"]({target})")


def test_without_an_address_each_language_says_so():
    assert (colab_badge("03_data", ""), colab_badge("zh/03_data", "")) == (NO_BADGE, NO_BADGE_ZH)


def test_a_missing_chinese_notebook_is_named_and_nothing_is_written(copy, write_address):
    (copy / "notebooks" / "zh" / "04_training.ipynb").unlink()
    before = {file: (copy / file).read_bytes() for file in FILES if (copy / file).exists()}
    assert "notebooks/zh/04_training.ipynb is missing: `make translations`." in write_address(ADDRESS)
    assert {file: (copy / file).read_bytes() for file in before} == before


@pytest.mark.parametrize("url", ["", ADDRESS])
def test_the_chinese_notebooks_are_made_alike_before_and_after(url, copy, write_address):
    if url:
        write_address(url)
    for path in NOTEBOOKS:
        english = nbformat.reads((copy / "notebooks" / path.name).read_text(encoding="utf-8"), as_version=4)
        passages = read_passages(committed(FOLDER / f"{path.stem}.md"))
        made = (copy / "notebooks" / "zh" / path.name).read_text(encoding="utf-8")
        assert made == written(translated(english, path.stem, passages))


def test_from_one_address_to_another_and_back(copy, write_address):
    write_address(ADDRESS)
    first = contents(copy)
    write_address(ADDRESS)
    assert contents(copy) == first
    assert write_address(ANOTHER) is None
    second = contents(copy)
    for file in FILES:
        assert b"somebody" not in second[file]
        assert second[file].count(b"another/lenet-5") == first[file].count(b"somebody/le-net.5") > 0
    write_address(ADDRESS)
    assert contents(copy) == first


def test_a_run_that_was_cut_short_is_mended_by_the_next(copy, write_address):
    write_address(ADDRESS)
    whole = contents(copy)
    write_address(ANOTHER)
    for file in FILES[:4]:
        (copy / file).write_bytes(whole[file])
    write_address(ADDRESS)
    assert contents(copy) == whole


def test_a_file_is_written_whole_or_not_at_all(copy, write_address, monkeypatch):
    before = contents(copy)
    (copy / "README.md").chmod(0o640)

    def full_disk(path, text, **options):
        path.write_bytes(text.encode()[:100])
        raise OSError("No space left on device")

    with monkeypatch.context() as full:
        full.setattr("pathlib.Path.write_text", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_address(ADDRESS)
    assert contents(copy) == before
    write_address(ADDRESS)
    assert sorted(path.relative_to(copy) for path in copy.rglob("*.*")) == sorted(FILES)
    if os.name != "nt":
        assert (copy / "README.md").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:somebody/le-net.5",
        "git@github.com:somebody/le-net.5.git",
        "ssh://git@github.com/somebody/le-net.5",
        "ssh://git@github.com:22/somebody/le-net.5.git",
        "https://github.com/somebody/le-net.5.git",
        "https://github.com/somebody/le-net.5/",
        "https://x-access-token:SECRET@github.com/somebody/le-net.5.git",
    ],
)
def test_any_form_of_the_address_will_do(url):
    assert web_address(url) == ADDRESS


@pytest.mark.parametrize(
    "url",
    [
        "github.com/somebody",
        "https://github.com/somebody",
        "https://github.com/somebody/",
        "https://github.com/somebody/lenet-5/tree/main",
        "https://github.com/some body/lenet-5",
        'https://github.com/somebody/lenet"5',
        "https://github.com/数字/lenet-5",
        "https://github.com/somebody/数字",
        "https://github.com/somebody/..",
        "https://github.com/somebody/lenet-5\n",
        "https://github.com.example.org/somebody/lenet-5",
        "https://example.org/github.com/somebody/lenet-5",
        "https://name:SECRET@gitlab.com/somebody/lenet-5.git",
        "git@gitlab.com:somebody/lenet-5.git",
        "file:///srv/lenet-5",
        "../lenet-5",
    ],
)
def test_all_else_is_refused_in_a_sentence(url):
    with pytest.raises(SystemExit, match="is not of the form https://github.com/OWNER/REPOSITORY") as refusal:
        web_address(url)
    assert "SECRET" not in refusal.value.code


@pytest.mark.parametrize("url", ["https://github.com/OWNER/lenet-5", "git@github.com:owner/lenet-5.git"])
def test_the_placeholder_for_an_owner_is_refused(url):
    with pytest.raises(SystemExit, match="OWNER stands for the name of the repository's owner"):
        web_address(url)


def test_the_address_is_taken_from_origin(copy, write_address, capsys):
    git("init", "--quiet", folder=copy)
    git("remote", "add", "origin", "git@github.com:somebody/le-net.5.git", folder=copy)
    assert write_address() is None and ADDRESS in capsys.readouterr().out
    citation = (copy / "CITATION.cff").read_text(encoding="utf-8")
    assert citation.endswith(f'\nrepository-code: "{ADDRESS}"\n')


@pytest.mark.parametrize("url", ["git@gitlab.com:somebody/lenet-5.git", "https://github.com/OWNER/lenet-5"])
def test_a_refusal_changes_nothing(copy, write_address, url):
    write_address(ADDRESS)
    before = contents(copy)
    git("init", "--quiet", folder=copy)
    git("remote", "add", "origin", url, folder=copy)
    for refused in (write_address(url), write_address()):
        assert refused.endswith("nothing was changed.")
    assert contents(copy) == before


def no_repository(copy):
    pass


def no_remote(copy):
    git("init", "--quiet", folder=copy)


def inside_another_repository(copy):
    git("init", "--quiet", folder=copy.parent)
    git("remote", "add", "origin", ANOTHER, folder=copy.parent)


@pytest.mark.parametrize("prepare", [no_repository, no_remote, inside_another_repository])
def test_without_an_origin_the_command_asks_for_the_address(copy, write_address, prepare):
    prepare(copy)
    before = contents(copy)
    assert write_address().startswith("This checkout has no origin to take the address from: make address URL=https:")
    assert contents(copy) == before


def test_without_git_the_command_asks_for_the_address(copy, write_address, monkeypatch):
    git("init", "--quiet", folder=copy)
    git("remote", "add", "origin", ADDRESS, folder=copy)
    monkeypatch.setenv("PATH", str(copy))
    assert write_address().startswith("This checkout has no origin")


def test_the_command_line():
    command = [sys.executable, "-m", "tools.repository_address", "one", "address", "please"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "python -m tools.repository_address https://" in done.stderr


@pytest.fixture
def content(tmp_path, monkeypatch):
    """An empty folder to work in; `git clone` of ADDRESS fetches a small repository."""
    origin = tmp_path / "origin"
    put_repository(origin)
    git("init", "--quiet", folder=origin)
    git("add", "--all", folder=origin)
    git("commit", "--quiet", "--message=small", folder=origin)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{origin.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", ADDRESS)
    for name in ("PYTHONPATH", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    folder = tmp_path / "my" / "content"
    folder.mkdir(parents=True)
    return folder


def put_repository(folder):
    """Make the least that the set-up cell takes for the repository."""
    (folder / "notebooks").mkdir(parents=True)
    for name in ("lenet.py", "lenet_utils.py", "notebooks/01.ipynb"):
        (folder / name).touch()


def run_setup(folder, address=ADDRESS, then="import lenet_utils; print(lenet_utils.__file__)"):
    """Run the set-up cell and one line more in `folder`; a warning is an error."""
    command = [sys.executable, "-W", "error", "-c", f"{setup_cell(address)}\n{then}"]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")


def assert_found(done, root):
    assert done.stderr == "" and done.stdout == f"{root / 'lenet_utils.py'}\n"


def assert_refused(done, *parts):
    """The cell ended in one sentence that holds the `parts`."""
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("Traceback") == 1
    kind, _, sentence = done.stderr.splitlines()[-1].partition(": ")
    assert kind == "RuntimeError" and sentence.endswith(".")
    for part in parts:
        assert part in sentence


def test_the_cell_fetches_the_repository_once(content):
    assert_found(run_setup(content), content / "lenet-5")
    assert os.listdir(content) == ["lenet-5"]
    (content / "lenet-5" / "mark").touch()
    assert_found(run_setup(content), content / "lenet-5")
    assert (content / "lenet-5" / "mark").exists()


def test_the_cell_works_in_a_folder_with_spaces_and_chinese_characters(content):
    folder = content / "Käse und Öl 数字"
    folder.mkdir()
    assert_found(run_setup(folder), folder / "lenet-5")


@pytest.mark.parametrize("place", [".", "notebooks", "notebooks/zh"])
def test_the_cell_finds_the_repository_around_the_notebook(content, place):
    put_repository(content)
    (content / place).mkdir(exist_ok=True)
    for address in (ADDRESS, ""):
        assert_found(run_setup(content / place, address), content)


def test_without_an_address_the_cell_fetches_nothing_and_says_what_to_do(content):
    assert_refused(run_setup(content, ""), "no web address", "open this notebook inside the repository")
    assert os.listdir(content) == []


def test_a_repository_far_above_is_not_meant(content):
    put_repository(content)
    far = content / "a" / "b" / "c"
    far.mkdir(parents=True)
    assert_refused(run_setup(far, ""), "no web address")


def test_a_helper_that_was_downloaded_singly_is_not_imported(content):
    for folder in (content, content.parent):
        (folder / "lenet_utils.py").write_text("raise SystemExit('the stale one')", encoding="utf-8")
    assert_refused(run_setup(content, ""), "no web address")
    assert_found(run_setup(content), content / "lenet-5")


def test_without_git_the_cell_says_how_to_do_without(content, monkeypatch):
    monkeypatch.setenv("PATH", str(content))
    assert_refused(run_setup(content), "is git installed", "ZIP", ADDRESS)
    assert os.listdir(content) == []


def test_the_cell_says_when_it_cannot_fetch_and_why(content, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.file:///nowhere/.insteadOf")
    assert_refused(run_setup(content), f"Could not fetch {ADDRESS}", "is git installed, and the network there")
    assert os.listdir(content) == []


def test_a_folder_or_file_in_the_way_is_named_and_kept(content):
    folder = content / "lenet-5"
    (folder / ".git").mkdir(parents=True)
    (folder / "lenet_utils.py").write_text("half", encoding="utf-8")
    assert_refused(run_setup(content), f"{folder} is not the whole repository")
    assert (folder / "lenet_utils.py").read_text(encoding="utf-8") == "half"
    shutil.rmtree(folder)
    folder.write_text("mine", encoding="utf-8")
    assert_refused(run_setup(content), f"{folder} is not the whole repository")
    assert folder.read_text(encoding="utf-8") == "mine"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that puts a shell script in git's place."""
    if os.name == "nt":
        pytest.skip("needs a shell")

    def put(script):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "bin" / "git").chmod(0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))

    return put


KILLED = """\
for folder; do :; done
mkdir -p "$folder/notebooks"
touch "$folder/lenet.py" "$folder/lenet_utils.py"
kill -9 $$"""


def test_a_clone_that_was_killed_is_not_believed(content, stand_in, tmp_path):
    """A git that is killed when all that the cell looks for is there already, but not yet all that it needs."""
    stand_in(KILLED)
    assert_refused(run_setup(content), "Could not fetch")
    (left,) = content.iterdir()
    assert (left / "lenet_utils.py").exists() and left.name.startswith("lenet-5-unfinished-")
    (tmp_path / "bin" / "git").unlink()
    assert_found(run_setup(content), content / "lenet-5")
    assert (content / "lenet-5" / "notebooks" / "01.ipynb").exists()


def test_waiting_threads_give_their_core_up_unless_the_reader_has_set_it(content, monkeypatch):
    put_repository(content)
    shown = "print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'], 'torch' in sys.modules)"
    assert run_setup(content, then=shown).stdout == "1000 0 False\n"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert run_setup(content, then=shown).stdout == "7 0 False\n"
    monkeypatch.setenv("KMP_BLOCKTIME", "200")
    assert run_setup(content, then=shown).stdout == "7 200 False\n"
