"""Stored results can be checked: every network reloads and makes the same number of errors."""

import importlib
import json

import pytest

from experiments.networks import build
from lenet_utils import count_errors, load_mnist, load_weights
from tools.notebook_rules import ROOT

RECORDS = sorted((ROOT / "results").glob("*.json"))
RUNS = [
    pytest.param(run, id=f"{path.stem}, {run['kind']}, seed {run['seed']}")
    for path in RECORDS
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]
    if "weights" in run
]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_how_it_was_made(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert set(record) >= {"command", "machine", "versions", "date", "runs"}
    assert record["runs"] and {"python", "torch"} <= set(record["versions"])
    python, option, module, part = record["command"].split()
    assert (python, option) == ("python", "-m") and part in ("choices", "runs")
    assert importlib.import_module(module) and path.stem.startswith(module.removeprefix("experiments."))


@pytest.mark.parametrize("run", RUNS)
def test_the_stored_network_makes_the_stored_number_of_errors(run):
    net = build(run["network"])
    load_weights(net, ROOT / run["weights"])
    assert count_errors(net, load_mnist(train=False, **run["load_mnist"])) == run["test_errors"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_error_counts_and_histories_agree(path):
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        for kind in {"test", "validation"} & {name.split("_")[0] for name in run.get("history", {})}:
            assert run["history"][f"{kind}_accuracy"][-1] == pytest.approx(1 - run[f"{kind}_errors"] / 10_000)


def test_every_stored_network_is_named_in_a_record_and_lies_in_its_folder():
    named = {path.stem: set() for path in RECORDS}
    for path in RECORDS:
        for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
            named[path.stem] |= {run["weights"]} if "weights" in run else set()
    stored = [path.relative_to(ROOT) for path in (ROOT / "weights").rglob("*") if path.is_file()]
    assert {path.as_posix() for path in stored} == set().union(*named.values())
    assert all(path.as_posix() in named[path.parent.name] for path in stored)


@pytest.mark.parametrize(
    "expression",
    [
        "print('run')", "__import__('os').getcwd()", "LeNet5().eval()", "LeNet5(print())", "ladder_network(norm=print)",
        "LeNet5(C3_TABLES)", "LeNet5(**{})", "LeNet5", "", "LeNet5() or 1", "lambda: LeNet5()", "[LeNet5()]",
    ],
)  # fmt: skip
def test_what_a_record_says_is_never_run(expression, capsys):
    with pytest.raises(ValueError, match="is not a network of a record"):
        build(expression)
    assert capsys.readouterr().out == ""
