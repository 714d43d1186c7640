"""What the README promises: its commands, its table, its numbers; one set of requirements."""

import re
import statistics
import subprocess

import nbformat
import yaml

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
    for target in re.findall(r"^make ([a-z-]+)", README.read_text(encoding="utf-8"), re.MULTILINE):
        assert target in targets
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "make test" in (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")


def test_the_seam_between_subject_and_helpers():
    subject, helpers = ((ROOT / name).read_text(encoding="utf-8") for name in ("lenet.py", "lenet_utils.py"))
    assert len(subject.splitlines()) <= 380 and len(helpers.splitlines()) <= 500
    assert not re.search(r"^(from|import) lenet_", subject, re.MULTILINE), "the subject does without the helpers"
    defined = re.findall(r"^(?:def|class) ([a-zA-Z]\w+)|^([A-Z]\w+) =", subject, re.MULTILINE)
    for name in {name or constant for name, constant in defined}:
        assert getattr(lenet_utils, name) is getattr(lenet, name), f"lenet_utils does not pass {name} on"
    for name in ("load_mnist", "as_images", "scale_", "epoch_order", "prepare_image", "LivePlot", "show_images"):
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


def means_by_kind(name):
    """Return the mean test error, in per cent, of each kind of run in a record."""
    _, runs = lenet_utils.read_runs(name)
    return {
        kind: statistics.mean(run["test_errors"] for run in found) / 100
        for kind, found in runs.items()
        if "test_errors" in found[0]
    }


def test_headline_numbers_are_those_of_the_results():
    readme, records = (path.read_text(encoding="utf-8") for path in (README, ROOT / "results/README.md"))
    tutorial, tables = means_by_kind("tutorial_lenet"), means_by_kind("c3_tables")
    original, modern = means_by_kind("original_1998"), means_by_kind("modern_lenet")
    assert f"**{100 - tutorial['10 epochs']:.2f} %** test accuracy" in readme
    errors = [run["test_errors"] for run in lenet_utils.read_runs("tutorial_lenet")[1]["10 epochs"]]
    assert (
        "{:.2f} % test accuracy, the mean of three seeds ({}, {} and {} errors of 10,000)".format(
            100 - tutorial["10 epochs"], *errors
        )
        in records
    )
    assert "{full:.2f} %, {paper:.2f} % and {random:.2f} % test error".format(**tables) in records
    plain, distorted = "60,000 digits", "60,000 digits and 540,000 distorted"
    assert f"**{original[plain]:.2f} %** test error" in readme
    assert f"{original[plain]:.2f} % test error, {original[distorted]:.2f} % with distorted digits" in records
    adamw = original[plain + ", AdamW"], original[distorted + ", AdamW"]
    assert "weight decay 0.1: {:.2f} % and {:.2f} %".format(*adamw) in records
    assert f"**{modern['60 epochs']:.2f} %** test error" in readme
    assert f"{modern['60 epochs']:.2f} % test error, the mean of five seeds" in records
    assert f"{modern['ensemble of five']:.2f} % for the five together" in records
    assert f"{100 - modern['4 epochs']:.2f} % accuracy after four epochs" in records


def test_headline_throughputs_are_those_of_the_results():
    readme, records = (path.read_text(encoding="utf-8") for path in (README, ROOT / "results/README.md"))
    _, runs = lenet_utils.read_runs("speed_amd_epyc_2_threads")
    medians = {
        (kind, run["rung"]): statistics.median(run["examples_per_second"])
        for kind in ("batch 64", "batch 256")
        for run in runs[kind]
    }
    start, top = medians["batch 64", "DataLoader"], medians["batch 64", "own kernel"]
    ladder = f"From {round(start, -2):,.0f} to {round(top, -2):,.0f} digits a second"
    assert f"{ladder} on two CPU cores" in readme
    assert f"07 · {ladder}" in committed(ROOT / "notebooks/07_speed.ipynb")
    assert f"**{round(top, -2):,.0f}** digits a second, {top / start:.1f} times" in readme
    assert (
        f"{round(top, -2):,.0f} digits a second with an own kernel at batch size 64, {top / start:.1f} times" in records
    )
    assert f"{round(medians['batch 256', 'own kernel'], -2):,.0f} at batch size 256" in records
    seconds = statistics.mean(run["train_seconds"] for run in runs["99 %"])
    accuracy = 100 - statistics.mean(run["test_errors"] for run in runs["99 %"]) / 100
    assert f"{accuracy:.2f} % after {seconds:.1f} s of training" in records


def test_what_is_said_of_a_busy_machine_is_in_the_record():
    readme, records = (path.read_text(encoding="utf-8") for path in (README, ROOT / "results/README.md"))
    _, runs = lenet_utils.read_runs("busy_machine")

    def medians(kind, setting):
        found = {busy: [] for busy in (0, 1, 2)}
        for run in runs[kind]:
            found[run["busy_processes"]].append(run["digits_per_second"][setting])
        return [f"{statistics.median(rates):,.0f}" for rates in found.values()]

    alone, one, two = medians("GNU OpenMP", "GOMP_SPINCOUNT=1000")
    before = medians("GNU OpenMP", "no setting")
    text = " ".join(readme.split())
    assert f"`fit` then makes {two} digits a second instead of {before[2]}; alone it makes {alone} instead of" in text
    assert f"instead of {before[0]} ([record]" in text
    assert f"`GOMP_SPINCOUNT=1000`: {alone} digits a second alone, {one} and {two} beside one and two" in records
    assert "without a setting {}, {} and {}; 20000".format(*before) in records
    assert f"20000 is worse beside one ({medians('GNU OpenMP', 'GOMP_SPINCOUNT=20000')[1]})" in records
    assert "`KMP_BLOCKTIME=0`: {}, {} and {};".format(*medians("Intel OpenMP", "KMP_BLOCKTIME=0")) in records
    assert "without a setting {}, {} and {} (one round)".format(*medians("Intel OpenMP", "no setting")) in records


def test_every_record_has_a_line_and_every_line_a_record():
    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\| \[`(\w+)\.json`\]", text))
    assert listed == {path.stem for path in (ROOT / "results").glob("*.json")}
    for name in re.findall(r"\| `make results-(\w+)`", text):
        assert (ROOT / "experiments" / f"{name}.py").exists()


def test_nothing_stored_names_a_path_of_a_machine():
    stored = [README, *(ROOT / "results").iterdir(), *ROOT.glob("*.*"), *(ROOT / "tests").glob("*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in stored if path.is_file()}
    texts |= {path.name: committed(path) for path in NOTEBOOKS}
    for name, text in texts.items():
        assert not re.search(r"/(home|Users|work|root)/\w", text), f"{name} names a local path"
