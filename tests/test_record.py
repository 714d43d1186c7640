"""The experiments' command line: it does what is missing, writes it run by run, and refuses what does not exist."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock, Timeout

from experiments import record
from tools.notebook_rules import ROOT

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
    # The locks stay, empty: to remove one could take it from a process that has just opened it.
    left = list((results / "unfinished").iterdir())
    assert [path for path in left if path.suffix != ".lock"] == [], "the checkpoint goes when its run is stored"
    assert sum(path.stat().st_size for path in left) == 0


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


def test_a_run_with_weights_brings_their_sha256(results, monkeypatch):
    monkeypatch.setattr(record, "ROOT", results)
    (results / "a.safetensors").write_bytes(b"weights")
    run(monkeypatch, ["runs", "--kind", "deep"], lambda *_: [{"weights": "a.safetensors"}, {"kind": "other"}])
    stored = json.loads((results / "demo.json").read_text(encoding="utf-8"))["runs"]
    assert [found.get("sha256") for found in stored] == [hashlib.sha256(b"weights").hexdigest(), None]


def test_a_checkpoint_and_a_record_are_whole_or_as_they_were(results, monkeypatch):
    record.save_checkpoint(results / "a.pt", {"passes": 1})
    record.write_record(results / "a.json", {"runs": []})
    before = [(results / name).read_bytes() for name in ("a.pt", "a.json")]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for act in (record.save_checkpoint, record.write_record):
        path = results / ("a.pt" if act is record.save_checkpoint else "a.json")
        with pytest.raises(OSError, match=f"{path.name} cannot be written: No space left on device"):
            act(path, {"runs": [1]})
    assert [(results / name).read_bytes() for name in ("a.pt", "a.json")] == before
    assert sorted(path.name for path in results.iterdir()) == ["SHA256SUMS", "a.json", "a.pt", "unfinished"]


def sums(folder):
    """Return the checksums that a folder of records should have."""
    paths = sorted(folder.glob("*.json"))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)


def test_each_record_has_one_checksum_which_changes_with_it(results):
    for name, runs in (("b", []), ("a", []), ("b", [1])):
        record.write_record(results / f"{name}.json", {"runs": runs})
        assert (results / "SHA256SUMS").read_text(encoding="utf-8") == sums(results)


def test_checksums_are_written_under_a_lock(results, monkeypatch):
    def write(path, content):
        if path.name == "SHA256SUMS":
            with pytest.raises(Timeout), FileLock(results / "unfinished" / "SHA256SUMS.lock", timeout=0):
                pass
        written.append(path.name)

    written = []
    monkeypatch.setattr(record, "write_whole", write)
    record.write_record(results / "a.json", {"runs": []})
    assert written == ["a.json", "SHA256SUMS"]


def test_the_checksum_of_another_record_stays_what_it_was(results):
    record.write_record(results / "a.json", {"runs": []})
    before = sums(results)
    (results / "a.json").write_text("changed by hand", encoding="utf-8")
    record.write_record(results / "b.json", {"runs": []})
    assert (results / "SHA256SUMS").read_text(encoding="utf-8").startswith(before)


# A process that does what it reads, a line each, and says when it is done; a slow run waits for another line.
WORKER = """
import json, sys
from pathlib import Path
from experiments import record
record.RESULTS = Path(sys.argv[1])
record.CHECKPOINTS = record.RESULTS / "unfinished"
def do(kind, seed, checkpoint):
    if kind == "slow":
        print("begun", flush=True)
        sys.stdin.readline()
    return [{"test_errors": seed}]
print("ready", flush=True)
while line := sys.stdin.readline():
    kind, seeds = json.loads(line)
    record.do_missing("demo", "command", {kind: (seeds,)}, do)
    print("done", flush=True)
"""


class Worker:
    def __init__(self, folder):
        command = [sys.executable, "-c", WORKER, str(folder)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "utf-8"}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip

    def say(self, *line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def heard(self, last):
        """Return the lines up to the line `last`, which must come."""
        lines = []
        while not lines or lines[-1] != last:
            line = self.process.stdout.readline()
            assert line, f"the process ended before it said {last!r}"
            lines.append(line.rstrip("\n"))
        return lines


@pytest.fixture
def workers(tmp_path):
    """Two processes that share one record."""
    both = [Worker(tmp_path), Worker(tmp_path)]
    for worker in both:
        worker.heard("ready")
    yield both
    for worker in both:
        worker.process.kill()
        worker.process.communicate()


def test_two_processes_do_no_run_twice_lose_none_and_one_does_what_another_that_was_killed_did_not(workers, tmp_path):
    one, other = workers
    one.say("slow", 1)
    assert one.heard("begun") == ["slow, seed 0", "begun"]
    other.say("slow", 1)
    assert other.heard("done") == ["slow, seed 0: another process is doing it", "done"]
    one.say("go on")
    one.heard("done")
    other.say("slow", 1)
    assert other.heard("done") == ["done"], "the run is in the record"
    assert stored(tmp_path / "demo.json") == [("slow", 0, 0)]

    for worker, kind in zip(workers, ("a", "b"), strict=True):
        worker.say(kind, 30)
    for worker in workers:
        worker.heard("done")
    expected = [("slow", 0, 0), *((kind, seed, seed) for kind in "ab" for seed in range(30))]
    assert sorted(stored(tmp_path / "demo.json")) == sorted(expected)

    one.say("slow", 2)
    one.heard("begun")
    one.process.kill()
    one.process.wait()
    other.say("slow", 2)
    other.heard("begun")
    other.say("go on")
    other.heard("done")
    assert sorted(stored(tmp_path / "demo.json")) == sorted([*expected, ("slow", 1, 1)])
    assert (tmp_path / "SHA256SUMS").read_text(encoding="utf-8") == sums(tmp_path)


# ------------------------------------------------------------------------------------------- side by side, by Ray


def refusal(monkeypatch, capsys, arguments, **options):
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    with pytest.raises(SystemExit) as stop:
        record.main("demo", "about", {"runs": ("demo", KINDS, None)}, **options)
    return str(stop.value.code) if isinstance(stop.value.code, str) else capsys.readouterr().err.splitlines()[-1]


def test_what_measures_times_is_not_spread(results, monkeypatch, capsys):
    said = refusal(monkeypatch, capsys, ["--ray"], alone=True)
    assert said.endswith("demo measures times, so its runs cannot run side by side: leave --ray out.")


@pytest.mark.parametrize("arguments", [["--gpus", "0.5"], ["--ray", "--gpus", "0"], ["--ray", "--gpus", "nan"]])
def test_gpus_are_for_ray_and_more_than_none(results, monkeypatch, capsys, arguments):
    assert refusal(monkeypatch, capsys, arguments).endswith("must be more than 0, and needs --ray.")


def test_without_the_package_one_sentence_says_so(results, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = refusal(monkeypatch, capsys, ["--ray"])
    assert said == '--ray needs the package ray: run "pip install ray" in this environment first.'


@pytest.mark.parametrize(("arguments", "expected"), [([], ("", 0)), (["host:1", "--gpus", "0.25"], ("host:1", 0.25))])
def test_the_arguments_reach_ray(results, monkeypatch, arguments, expected):
    from experiments import on_ray

    called = []
    monkeypatch.setattr(on_ray, "do_missing", lambda *given: called.append(given))
    monkeypatch.setattr(sys, "argv", ["experiment", "runs", "--kind", "deep", "--seed", "0", "--ray", *arguments])
    record.main("demo", "about", {"runs": ("demo", KINDS, None)})
    command, kinds = "python -m experiments.demo runs", {"deep": KINDS["deep"]}
    assert called == [("demo", command, kinds, "experiments.demo", "runs", [0], *expected)]


@pytest.mark.parametrize(
    "name",
    ["c3_tables", "distilled_lenet", "full_lenet", "modern_lenet", "original_1998", "refusal", "tutorial_lenet"],
)
def test_every_experiment_that_can_be_spread_names_its_parts(name):
    import importlib

    parts = importlib.import_module(f"experiments.{name}").PARTS
    assert all(len(part) == 3 and part[0].startswith(name) and callable(part[2]) for part in parts.values())


def test_a_checkpoint_is_told_of_once_it_is_written(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(record, "AFTER_CHECKPOINT", [lambda path, content: told.append((path.read_bytes(), content))])
    record.save_checkpoint(tmp_path / "a.pt", {"epoch": 3})
    ((written, content),) = told
    assert written == content
