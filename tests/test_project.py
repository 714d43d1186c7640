"""What the README promises: its commands, its table, its numbers; one set of requirements; one address."""

import json
import re
import statistics
import subprocess
import sys

import nbformat
import pytest
import yaml
from project_copy import copy_project

from tools.notebook_rules import NOTEBOOKS, ROOT, expected_metadata
from tools.repository_address import README, colab_badge, repository_address

REQUIREMENTS = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]


def test_conda_installs_the_same_requirements():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert dependencies == ["python=3.11", "pip", {"pip": ["-r requirements.txt"]}]


def test_every_requirement_is_pinned_and_installed_so():
    from importlib.metadata import version

    for line in REQUIREMENTS:
        name, _, pinned = line.partition("==")
        assert pinned, f"{line} is not pinned"
        assert version(name).split("+")[0] == pinned


def test_the_table_of_notebooks_lists_those_that_exist():
    listed = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", README.read_text())
    assert sorted(set(listed)) == [path.stem for path in NOTEBOOKS]


def test_links_lead_to_files():
    for document in (README, ROOT / "data" / "README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is missing"
        for target in re.findall(r'src="(?!https?:)([^"]+)"', document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} shows {target}, which is missing"


def test_the_commands_of_the_readme_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"^make ([a-z-]+)", README.read_text(), re.MULTILINE):
        assert target in targets
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / ".github/workflows/test.yml").read_text()


def test_headline_numbers_are_those_of_the_results():
    runs = json.loads((ROOT / "results/tutorial_lenet.json").read_text())["runs"]
    errors = [run["test_errors"] for run in runs]
    assert f"{100 - statistics.mean(errors) / 100:.2f} %" in README.read_text()
    assert f"{errors[0]}, {errors[1]} and {errors[2]} errors" in README.read_text()
    runs = json.loads((ROOT / "results/c3_tables.json").read_text())["runs"]
    full, paper, random = (
        statistics.mean(run["test_errors"] for run in runs if run["kind"] == kind) / 100
        for kind in ("full", "paper", "random")
    )
    assert f"{full:.2f} %, {paper:.2f} % and {random:.2f} % test error" in README.read_text()
    errors = {}
    for run in json.loads((ROOT / "results/original_1998.json").read_text())["runs"]:
        errors.setdefault(run["kind"], []).append(run["test_errors"] / 100)
    plain, distorted = "60,000 digits", "60,000 digits and 540,000 distorted"
    means = [statistics.mean(errors[kind + optimiser]) for optimiser in ("", ", AdamW") for kind in (plain, distorted)]
    assert "{:.2f} % test error, {:.2f} % with distorted digits".format(*means[:2]) in README.read_text()
    assert "{:.2f} % and {:.2f} % with AdamW".format(*means[2:]) in README.read_text()
    errors = {}
    for run in json.loads((ROOT / "results/modern_lenet.json").read_text())["runs"]:
        errors.setdefault(run["kind"], []).append(run["test_errors"] / 100)
    top, single, minute = (statistics.mean(errors[kind]) for kind in ("ensemble of five", "60 epochs", "4 epochs"))
    assert f"**{single:.2f} %** test error" in README.read_text()
    assert f"{top:.2f} % for the five together" in README.read_text()
    assert f"{100 - minute:.2f} % after four epochs" in README.read_text()
    runs = json.loads((ROOT / "results/speed_amd_epyc_2_threads.json").read_text())["runs"]
    rates = {
        (run["kind"], run["rung"]): statistics.median(run["examples_per_second"])
        for run in runs
        if run["kind"].startswith("batch")
    }
    road, top = rates["batch 64", "DataLoader"], rates["batch 64", "own kernel"]
    assert f"**{round(top, -2):,.0f} examples a second**, {top / road:.1f} times" in README.read_text()
    assert f"{round(rates['batch 256', 'own kernel'], -2):,.0f} at batch size 256" in README.read_text()
    finals = [run for run in runs if run["kind"] == "99 %"]
    seconds = statistics.mean(run["train_seconds"] for run in finals)
    accuracy = 1 - statistics.mean(run["test_errors"] for run in finals) / 10_000
    assert f"**{accuracy:.2%}** after {seconds:.1f} s of training".replace("%", " %") in README.read_text()


def test_nothing_stored_names_a_path_of_a_machine():
    tracked = [*NOTEBOOKS, README, *(ROOT / "results").iterdir(), *ROOT.glob("*.*"), *(ROOT / "tests").glob("*.py")]
    for path in tracked:
        if path.is_file():
            assert not re.search(r"/(home|Users|work|root)/\w", path.read_text()), f"{path.name} names a local path"


@pytest.fixture
def copy(tmp_path):
    """A copy of the project."""
    copy_project(tmp_path)
    return tmp_path


def rewrite(folder, address):
    command = [sys.executable, "-m", "tools.repository_address", address]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_one_command_rewrites_the_address_everywhere(copy):
    old, new = repository_address(), "https://github.com/somebody/le-net.5"
    assert rewrite(copy, new).returncode == 0
    for path in [copy / "README.md", copy / "CITATION.cff", *(copy / "notebooks").glob("*.ipynb")]:
        text = path.read_text()
        assert old.removeprefix("https://github.com/") not in text and "somebody/le-net.5" in text
    for path in (copy / "notebooks").glob("*.ipynb"):
        assert colab_badge(path.stem, new) in (copy / "README.md").read_text()
        assert dict(nbformat.read(path, as_version=4).metadata) == expected_metadata(path.stem)
    assert rewrite(copy, old).returncode == 0
    for path in NOTEBOOKS:
        assert (copy / "notebooks" / path.name).read_bytes() == path.read_bytes()


def test_an_address_of_another_form_is_refused(copy):
    done = rewrite(copy, "github.com/somebody")
    assert done.returncode and "is not of the form https://github.com/OWNER/REPOSITORY" in done.stderr
    assert (copy / "CITATION.cff").read_bytes() == (ROOT / "CITATION.cff").read_bytes()
