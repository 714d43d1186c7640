"""The comparisons of `make bench`: roads are timed in turns, and the ratios are those of the rounds."""

import json

import pytest

from experiments import bench
from tools.notebook_rules import ROOT


def test_roads_are_timed_in_turns(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])

    def road(name, digits, seconds):
        def run():
            order.append(name)
            clock[0] += seconds
            return digits

        return run

    found = bench.in_turns({"slow": road("slow", 100, 4), "fast": road("fast", 300, 2)}, rounds=3)
    assert order == ["slow", "fast"] * 3 and found == {"slow": [25] * 3, "fast": [150] * 3}


def test_a_ratio_is_the_median_of_those_of_the_rounds():
    found = {"first": [10, 20, 40], "second": [30, 20, 80], "third": [10, 10, 10]}
    assert bench.ratios(found) == {"second": [2, 1, 3], "third": [0.5, 0.25, 1]}


@pytest.mark.parametrize("kind", ["connections", "distortion"])
def test_the_roads_of_a_comparison_go_through_as_many_digits(kind):
    digits = [road() for road in bench.RUNS[kind][0]().values()]
    assert len(digits) >= 2 and len(set(digits)) == 1


def test_the_frequency_is_read_or_not_known(monkeypatch, tmp_path):
    text = "processor : 0\ncpu MHz\t\t: 2399.998\nprocessor : 1\ncpu MHz\t\t: 3100.4\n"
    monkeypatch.setattr(bench.Path, "read_text", lambda path, encoding: text)
    assert bench.megahertz() == 3100
    monkeypatch.setattr(bench.Path, "read_text", lambda path, encoding: "nothing of it\n")
    assert bench.megahertz() is None
    monkeypatch.undo()
    monkeypatch.setattr(bench, "Path", lambda name: tmp_path / "none")
    assert bench.megahertz() is None


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("bench_*.json")), ids=lambda path: path.stem)
def test_stored_ratios_are_those_of_the_stored_rounds(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["command"] == "python -m experiments.bench runs"
    assert {run["kind"] for run in stored["runs"]} <= set(bench.RUNS)
    for run in stored["runs"]:
        rounds = run["digits_per_second"]
        assert {len(found) for found in rounds.values()} == {bench.ROUNDS} and run["vectors"]
        for name, ratios in bench.ratios(rounds).items():
            assert run["ratio_to_the_first"][name] == pytest.approx(ratios, abs=0.02)
