"""Stored results can be checked: every network reloads and makes the same number of errors."""

import json
import runpy

import pytest
from notebook_rules import ROOT

import lenet_utils
from lenet_utils import evaluate, load_mnist, load_weights

RECORDS = sorted((ROOT / "results").glob("*.json"))
RUNS = [
    pytest.param(run, record["command"].split()[1], id=f"{path.stem}, seed {run['seed']}")
    for path in RECORDS
    for record in [json.loads(path.read_text())]
    for run in record["runs"]
    if "weights" in run
]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_how_it_was_made(path):
    record = json.loads(path.read_text())
    assert set(record) >= {"command", "machine", "versions", "date", "runs"}
    assert record["runs"] and {"python", "torch"} <= set(record["versions"])
    assert record["command"].startswith("python experiments/")
    assert (ROOT / record["command"].split()[1]).exists()


@pytest.mark.parametrize(("run", "script"), RUNS)
def test_the_stored_network_makes_the_stored_number_of_errors(run, script, monkeypatch):
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    names = vars(lenet_utils) | runpy.run_path(str(ROOT / script))
    test = load_mnist(train=False, **run["load_mnist"])
    # `network` is the expression that builds it, in the names of lenet_utils and of the record's script.
    net = load_weights(eval(run["network"], names), ROOT / run["weights"])
    assert round((1 - evaluate(net, test)) * len(test[1])) == run["test_errors"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_error_counts_and_histories_agree(path):
    for run in json.loads(path.read_text())["runs"]:
        for kind in {"test", "validation"} & {name.split("_")[0] for name in run.get("history", {})}:
            assert run["history"][f"{kind}_accuracy"][-1] == pytest.approx(1 - run[f"{kind}_errors"] / 10_000)


def test_every_stored_network_is_named_in_a_record():
    named = {param.values[0]["weights"] for param in RUNS}
    assert {f"weights/{path.name}" for path in (ROOT / "weights").iterdir()} == named
