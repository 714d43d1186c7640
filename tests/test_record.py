"""The experiments' command line: it does what is missing, writes it run by run, and refuses what does not exist."""

import json
import sys

import pytest

from experiments import record

KINDS = {"plain": (2,), "deep": ("settings", 1)}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(record, "CHECKPOINTS", tmp_path / "unfinished")
    return tmp_path


def run(monkeypatch, arguments, do):
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    parts = {"choices": ("demo_choices", {"try": (1,)}, do), "runs": ("demo", KINDS, do)}
    record.main("demo", "about", parts)


def one_run(done):
    def do(kind, seed, checkpoint):
        done.append((kind, seed, checkpoint.name))
        checkpoint.write_text("half way", encoding="utf-8")
        return [{"test_errors": seed}]

    return do


def stored(path):
    return [
        (found["kind"], found["seed"], found["test_errors"])
        for found in json.loads(path.read_text(encoding="utf-8"))["runs"]
    ]


def test_without_arguments_every_part_kind_and_seed_is_done_once(results, monkeypatch):
    done = []
    for _ in range(2):
        run(monkeypatch, [], one_run(done))
    assert [entry[:2] for entry in done] == [("try", 0), ("plain", 0), ("plain", 1), ("deep", 0)]
    assert done[1][2] == "demo_plain_seed_0.pt"
    assert stored(results / "demo_choices.json") == [("try", 0, 0)]
    assert stored(results / "demo.json") == [("plain", 0, 0), ("plain", 1, 1), ("deep", 0, 0)]
    made = json.loads((results / "demo.json").read_text(encoding="utf-8"))
    assert made["command"] == "python -m experiments.demo runs" and set(made["versions"]) >= {"python", "torch"}
    assert list((results / "unfinished").iterdir()) == [], "the checkpoint goes when its run is stored"


def test_part_kind_and_seed_narrow_it_down(results, monkeypatch):
    done = []
    run(monkeypatch, ["runs", "--kind", "plain", "--seed", "1"], one_run(done))
    assert stored(results / "demo.json") == [("plain", 1, 1)] and not (results / "demo_choices.json").exists()


def test_an_interruption_keeps_what_is_done_and_the_checkpoint(results, monkeypatch):
    def stop_at_seed_1(kind, seed, checkpoint):
        found = one_run([])(kind, seed, checkpoint)
        if seed == 1:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, ["runs"], stop_at_seed_1)
    assert stored(results / "demo.json") == [("plain", 0, 0)]
    assert (results / "unfinished" / "demo_plain_seed_1.pt").exists()


def test_a_run_may_bring_another_of_its_own_kind(results, monkeypatch):
    def do(kind, seed, checkpoint):
        return [{"test_errors": 1}, {"kind": "average", "test_errors": 2}]

    run(monkeypatch, ["runs", "--kind", "deep"], do)
    assert stored(results / "demo.json") == [("deep", 0, 1), ("average", 0, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walks"], "invalid choice: 'walks' (choose from 'choices', 'runs')"),
        (["--kind", "wide"], "there is no kind 'wide': choose from try, plain, deep"),
        (["runs", "--kind", "try"], "there is no kind 'try': choose from plain, deep"),
        (["--kind", "deep", "--seed", "1"], "there is no seed 1: these runs have the seeds 0 to 0"),
        (["--seed", "-1"], "there is no seed -1: these runs have the seeds 0 to 1"),
    ],
)
def test_what_does_not_exist_is_refused_before_any_work(results, monkeypatch, capsys, arguments, message):
    done = []
    with pytest.raises(SystemExit):
        run(monkeypatch, arguments, one_run(done))
    assert message in capsys.readouterr().err.replace("choices, runs", "'choices', 'runs'")
    assert done == [] and list(results.iterdir()) == []
