"""What the README promises: its commands, its table, its links; one set of requirements."""

import re
import subprocess

import nbformat
import yaml
from stored import RECORDS

import lenet
import lenet_utils
from tools.notebook_rules import NOTEBOOKS, ROOT, code_cells, committed
from tools.repository_address import README

REQUIREMENTS = [
    line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]


def test_conda_installs_the_same_requirements():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert dependencies == ["python=3.11", "pip", {"pip": ["-r requirements.txt"]}]


def test_every_requirement_is_pinned_and_installed_so():
    from importlib.metadata import version

    for line in REQUIREMENTS:
        name, _, pinned = line.partition("==")
        assert pinned, f"{line} is not pinned"
        assert version(name).split("+")[0] == pinned


def test_the_table_of_notebooks_lists_those_that_exist():
    listed = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", README.read_text(encoding="utf-8"))
    assert sorted(set(listed)) == [path.stem for path in NOTEBOOKS]


def test_links_lead_to_files():
    for document in (README, ROOT / "data" / "README.md", ROOT / "results" / "README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is missing"
        for target in re.findall(r'src="(?!https?:)([^"]+)"', document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} shows {target}, which is missing"


def test_the_commands_of_the_readme_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README.read_text(encoding="utf-8"), re.MULTILINE):
        assert target in targets or target.startswith("results-")
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "make test" in (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")


def test_the_seam_between_subject_and_helpers():
    subject, helpers = ((ROOT / name).read_text(encoding="utf-8") for name in ("lenet.py", "lenet_utils.py"))
    assert len(subject.splitlines()) <= 380 and len(helpers.splitlines()) <= 500
    assert not re.search(r"^(from|import) lenet_", subject, re.MULTILINE), "the subject does without the helpers"
    defined = re.findall(r"^(?:def|class) ([a-zA-Z]\w+)|^([A-Z]\w+) =", subject, re.MULTILINE)
    for name in {name or constant for name, constant in defined}:
        assert getattr(lenet_utils, name) is getattr(lenet, name), f"lenet_utils does not pass {name} on"
    for name in (
        "load_mnist",
        "as_images",
        "scale_",
        "epoch_order",
        "prepare_image",
        "prepare_row",
        "picture_steps",
        "LivePlot",
        "show_images",
        "check",
    ):
        assert hasattr(lenet_utils, name), f"lenet_utils does not pass {name} on"


def test_no_file_works_around_the_import_road_or_the_linter():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in listed.stdout.split()}
    path, mark = "sys" + ".path", "no" + "qa"
    assert [name for name, text in texts.items() if path in text] == ["tools/repository_address.py"]
    assert [name for name, text in texts.items() if mark in text] == []
    for notebook in NOTEBOOKS:
        first, *others = code_cells(nbformat.reads(committed(notebook), as_version=4))
        assert first.source.count(path) == 1 and not any(path in cell.source or mark in cell.source for cell in others)


def test_every_record_has_a_line_and_every_line_a_record():
    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\| \[`(\w+)\.json`\]", text))
    assert listed == {path.stem for path in RECORDS}
    for name in re.findall(r"\| `make results-(\w+)`", text):
        assert (ROOT / "experiments" / f"{name}.py").exists()


def test_nothing_stored_names_a_path_of_a_machine():
    stored = [README, *(ROOT / "results").iterdir(), *ROOT.glob("*.*"), *(ROOT / "tests").glob("*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in stored if path.is_file()}
    texts |= {path.name: committed(path) for path in NOTEBOOKS}
    for name, text in texts.items():
        assert not re.search(r"/(home|Users|work|root)/\w", text), f"{name} names a local path"
