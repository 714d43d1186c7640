"""Stored results can be checked: settings are the code's, and every network makes the same number of errors again."""

import datetime
import hashlib
import json
import math
import re
from unittest.mock import ANY

import pytest
import torch
from stored import RECORDS

from experiments import (
    busy_machine,
    c3_tables,
    data_parallel,
    distilled_lenet,
    full_lenet,
    modern_lenet,
    original_1998,
    refusal,
    speed,
    tutorial_lenet,
)
from experiments import record as experiment_record
from experiments.networks import build
from lenet_utils import count_errors, load_mnist, load_weights
from tools.notebook_rules import ROOT

STORED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RECORDS}
RUNS = [
    pytest.param(run, id=f"{name}, {run['kind']}, seed {run['seed']}")
    for name, record in STORED.items()
    for run in record["runs"]
    if "weights" in run
]
HISTORIES = [
    pytest.param(name, run, id=f"{name}, {run['kind']}, seed {run['seed']}")
    for name, record in STORED.items()
    for run in record["runs"]
    if "history" in run
]


def module_of(name):
    """Return the name of the experiment that writes results/`name`.json."""
    return "speed" if name.startswith("speed_") else name.removesuffix("_choices")


# ------------------------------------------------------------------------------------------ where and when


def check_place(machine, versions):
    """Hold that the machine and the versions of a record, or of a run made elsewhere, look like such."""
    gpu = r"(NVIDIA|Tesla|Quadro|GeForce|AMD Instinct|AMD Radeon) [\w ./()-]+"
    assert re.fullmatch(rf"\S.*, [1-9]\d* threads|{gpu}", machine)
    assert set(versions) == {"python", "torch", "torchvision"}
    assert re.fullmatch(r"3\.\d+\.\d+\S*", versions["python"])
    versions = {name: version for name, version in versions.items() if name != "python"}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+[a-z0-9.]*(\+[a-z0-9.]+)?", version) for version in versions.values())


@pytest.mark.parametrize("name", STORED)
def test_a_record_says_how_it_was_made(name):
    record = STORED[name]
    assert list(record) == ["command", "machine", "versions", "date", "runs"] and record["runs"]
    part = "choices" if name.endswith("_choices") else "runs"
    assert record["command"] == f"python -m experiments.{module_of(name)} {part}"
    tomorrow = datetime.date.today() + datetime.timedelta(days=1)  # it may be that already where the record was made
    assert "2026-11-01" <= record["date"] == datetime.date.fromisoformat(record["date"]).isoformat()
    assert record["date"] <= tomorrow.isoformat()
    for run in [{}, *record["runs"]]:
        machine = run.get("machine", record["machine"])
        check_place(machine, run.get("versions", record["versions"]))
        on_one = ("distilled_lenet", "full_lenet", "modern_lenet", "original_1998", "refusal")
        if module_of(name) in on_one and machine.endswith("threads"):
            assert machine.endswith(", 1 threads"), "these set it"


def test_every_record_has_its_checksum():
    paths = sorted((ROOT / "results").glob("*.json"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    assert (ROOT / "results" / "SHA256SUMS").read_text(encoding="utf-8") == "".join(lines)


@pytest.mark.parametrize("run", RUNS)
def test_a_stored_network_is_that_of_its_run(run):
    assert hashlib.sha256((ROOT / run["weights"]).read_bytes()).hexdigest() == run["sha256"]


# ---------------------------------------------------------------------------------- what a script would do

# What was measured is ANY here; all else is what the script would store today.
HISTORY = {"history": ANY}


def kept(network, load, weights):
    """Return what a run says of the network that it leaves in weights/."""
    return {"network": network, "load_mnist": load, "weights": weights, "sha256": ANY, "test_errors": ANY}


def tutorial_runs(kind, seed):
    weights = f"weights/tutorial_lenet/seed{seed}.safetensors"
    found = kept("tutorial_lenet()", tutorial_lenet.LOAD, weights)
    return [found | {"settings": tutorial_lenet.SETTINGS} | HISTORY]


def c3_runs(kind, seed):
    rows = c3_tables.make_table(kind, seed).int().tolist()
    found = {"settings": c3_tables.SETTINGS, "load_mnist": c3_tables.LOAD, "validation_errors": ANY, "test_errors": ANY}
    if kind == c3_tables.KEPT:
        found |= kept("c3_network(C3_TABLE)", c3_tables.LOAD, f"weights/c3_tables/{kind}_seed{seed}.safetensors")
    return [found | {"table": ["".join(map(str, row)) for row in rows]} | HISTORY]


def modern_choices(kind, seed):
    below, overrides, _ = modern_lenet.CHOICES[kind]
    settings = modern_lenet.rung(below) | overrides
    averaged = {"averaged_validation_errors": ANY} if settings["half_life"] else {}
    return [{"below": below, "settings": settings, "validation_errors": ANY} | averaged | HISTORY]


def modern_runs(kind, seed):
    settings, _ = modern_lenet.RUNS[kind]
    load = {"size": 28 if settings["output"] == "tutorial" else 32, "scaling": "paper"}
    network = modern_lenet.build(settings).network
    names = [kind, modern_lenet.AVERAGE] if settings["half_life"] else [kind]
    files = [f"weights/modern_lenet/{re.sub('[- ]', '_', name.lower())}_seed{seed}.safetensors" for name in names]
    return [
        {"kind": name, "settings": settings} | kept(network, load, file) | HISTORY
        for name, file in zip(names, files, strict=True)
    ]


def distilled_runs(kind, seed):
    settings, _ = distilled_lenet.RUNS[kind]
    load = {"size": 32, "scaling": "paper"}
    found = kept("teacher_network(width=32)", load, f"weights/distilled_lenet/teacher_seed{seed}.safetensors")
    return [found | {"settings": settings, "validation_errors": ANY} | HISTORY]


def distilled_choices(kind, seed):
    return [{"settings": distilled_lenet.CHOICES[kind][0], "validation_errors": ANY} | HISTORY]


def full_choices(kind, seed):
    return [{"settings": full_lenet.CHOICES[kind][0], "validation_errors": ANY} | HISTORY]


def full_runs(kind, seed):
    load = {"size": 32, "scaling": "paper"}
    found = kept("full_lenet()", load, f"weights/full_lenet/every_connection_seed{seed}.safetensors")
    return [found | {"settings": full_lenet.RUNS[kind][0]} | HISTORY]


def original_choices(kind, seed):
    return [{"settings": original_1998.CHOICES[kind][0], "validation_errors": ANY, "first_steps": ANY} | HISTORY]


def original_runs(kind, seed):
    digits, settings, file, _ = original_1998.RUNS[kind]
    found = kept("LeNet5()", original_1998.LOAD, f"weights/original_1998/{file}_seed{seed}.safetensors")
    return [found | {"settings": settings | {"digits": digits}, "first_steps": ANY} | HISTORY]


def refusal_runs(kind, seed):
    _, settings, load, final, _ = refusal.RUNS[kind]
    network = "LeNet5()" if kind == "1998" else f"{kind}_lenet()"
    found = kept(network, load, f"weights/refusal/{kind}_seed{seed}.safetensors")
    found |= {"settings": settings | {"digits": 50_000}, "final": f"weights/{final}{seed}.safetensors"}
    counted = ("limits", "validation_errors", "test_refused", "test_errors_kept", "train_seconds")
    return [found | dict.fromkeys(counted, ANY)]


def speed_choices(kind, seed):
    return [{"settings": speed.CHOICES[kind][0], "validation_errors": ANY}]


def speed_runs(name):
    """Return the kinds of the record `name` of one device, and what each of their runs stores."""
    threads = STORED[name]["machine"].endswith(" threads")
    device = torch.device("mps" if name == "speed_mps" else "cpu" if threads else "cuda")
    seconds = dict.fromkeys(("decode_seconds", "compile_seconds", "train_seconds"), ANY)
    rungs = [run["rung"] for run in STORED[name]["runs"] if run["kind"] == "batch 64"]
    # A GPU may lack bfloat16; nothing else may be left out.
    assert set(speed.ladder(device)) <= set(rungs) <= {*speed.ladder(device), "bfloat16"}

    def runs(kind, seed):
        if kind == "limits":
            precisions = {"tf32_flops": ANY, "bfloat16_flops": ANY} if "bfloat16" in rungs else {}
            own = dict.fromkeys(("register_flops", "clock_hz", "vector_bits"), ANY) if device.type == "cpu" else {}
            return [{"matmul_flops": ANY, "copy_bytes": ANY} | precisions | own]
        if kind == "d2l":
            return [{"batch_size": 256, "examples_per_second": ANY}]
        if kind == "99 %":
            load, weights = {"size": 28, "scaling": "standard"}, f"weights/{name}/99_seed{seed}.safetensors"
            return [kept("relu_lenet()", load, weights) | {"settings": speed.RECIPE} | seconds]
        found = {"last_train_loss": ANY, "test_errors": ANY}
        if kind != "accuracy":
            found = {"batch_size": speed.RUNS[kind][1], "one_off_seconds": ANY, "examples_per_second": ANY}
        return [{"rung": rung} | found for rung in rungs]

    return speed.RUNS | {"99 %": (10 if device.type == "cuda" else 5,)}, runs


def data_parallel_runs(kind, seed):
    found = dict.fromkeys(
        ("backend", "threads_a_process", "largest_differences", "step_seconds", "all_reduce_seconds"), ANY
    )
    given = {"processes": data_parallel.RUNS[kind][0], "settings": data_parallel.SETTINGS}
    return [found | given | {"load_mnist": data_parallel.LOAD}]


def busy_runs(kind, seed):
    settings = {"GNU OpenMP": busy_machine.GNU, "Intel OpenMP": busy_machine.INTEL}[kind]
    names = [" ".join(map("=".join, setting.items())) or "no setting" for setting in settings]
    return [{"busy_processes": busy, "digits_per_second": dict.fromkeys(names, ANY)} for busy in busy_machine.BUSY]


SCRIPTS = {
    # Another computer may lack the package intel-openmp.
    "busy_machine": (busy_machine.KINDS | {"Intel OpenMP": (busy_machine.INTEL, 1)}, busy_runs),
    "c3_tables": (c3_tables.RUNS, c3_runs),
    "data_parallel": (data_parallel.RUNS, data_parallel_runs),
    "distilled_lenet": (distilled_lenet.RUNS, distilled_runs),
    "distilled_lenet_choices": (distilled_lenet.CHOICES, distilled_choices),
    "full_lenet": (full_lenet.RUNS, full_runs),
    "full_lenet_choices": (full_lenet.CHOICES, full_choices),
    "modern_lenet": (modern_lenet.RUNS, modern_runs),
    "modern_lenet_choices": (modern_lenet.CHOICES, modern_choices),
    "original_1998": (original_1998.RUNS, original_runs),
    "original_1998_choices": (original_1998.CHOICES, original_choices),
    "refusal": (refusal.RUNS, refusal_runs),
    "speed_choices": (speed.CHOICES, speed_choices),
    "tutorial_lenet": (tutorial_lenet.RUNS, tutorial_runs),
}


def as_today(settings):
    """Return settings of notebook 05's or 06's training as today's code names them.

    Those of notebook 06 did not say j when it could be nothing but 0.1, with the bitmaps as output. Of the others, the
    first runs are older than the settings `mu` and `adamw`, when these could be nothing but 0.02 and None, and have
    one that is gone: `rate`, a factor on the learning rates. A few more are older than those of the criterion's scale
    and of the authors' start, and than weight decay as a setting.
    """
    if "pooling" in settings:
        return {"j": 0.1 if settings["output"] == "rbf" else None} | settings
    if "mu" not in settings and settings.get("rate") == 1.0:
        settings = {"mu": 0.02} | {name: value for name, value in settings.items() if name != "rate"}
    settings = {"adamw": None, "s": 1.0, "at_f6": "exact", "biases": 1.0} | settings
    return {"decay": 0.1 if settings["adamw"] else 0.0} | settings


@pytest.mark.parametrize("name", STORED)
def test_a_record_holds_the_runs_that_its_script_would_do_each_once_and_with_its_settings(name):
    kinds, runs_of = SCRIPTS[name] if name in SCRIPTS else speed_runs(name)
    expected = [
        {"kind": kind, "seed": seed} | run
        for kind, (*_, seeds) in kinds.items()
        for seed in range(seeds)
        for run in runs_of(kind, seed)
    ]
    stored = [{key: run[key] for key in run if key not in ("machine", "versions")} for run in STORED[name]["runs"]]
    if module_of(name) in ("original_1998", "modern_lenet"):
        stored = [run | ({"settings": as_today(run["settings"])} if "settings" in run else {}) for run in stored]
    together = {"modern_lenet": "60 epochs", "full_lenet": "every connection"}
    if name in together:
        members = [run["weights"] for run in stored if run["kind"] == together[name]]
        expected.append({"kind": modern_lenet.ENSEMBLE, "members": members, "test_errors": ANY})

    def place(run):
        return run["kind"], run.get("seed", 0), run.get("rung", ""), run.get("busy_processes", 0)

    stored, expected = sorted(stored, key=place), sorted(expected, key=place)
    assert [place(run) for run in stored] == [place(run) for run in expected]
    for ours, theirs in zip(stored, expected, strict=True):
        assert ours == theirs, place(ours)


@pytest.mark.parametrize("name", [name for name in STORED if name.startswith("speed_") and name != "speed_choices"])
def test_the_record_of_a_device_has_its_name(name, monkeypatch):
    monkeypatch.setattr(experiment_record, "machine", lambda: STORED[name]["machine"])
    assert name in (speed.results_name(torch.device("cpu")), speed.results_name(torch.device("mps")))


# ------------------------------------------------------------------------------------------- what was measured


def numbers(value):
    """Return all numbers in a value of a record, at whatever depth."""
    if isinstance(value, (dict, list)):
        return [number for part in (value.values() if isinstance(value, dict) else value) for number in numbers(part)]
    return [] if isinstance(value, str) else [value]


@pytest.mark.parametrize("name", STORED)
def test_what_was_measured_can_be(name):
    for run in STORED[name]["runs"]:
        for key, value in run.items():
            if key.endswith("errors"):
                assert isinstance(value, int) and 0 <= value <= 10_000, (run["kind"], key)
            elif key.endswith(("seconds", "second", "flops", "bytes", "loss", "first_steps")):
                assert all(math.isfinite(number) and number > 0 for number in numbers(value)), (run["kind"], key)
            if key == "examples_per_second" and "rung" in run:
                assert len(value) == speed.ROUNDS
        if run.get("first_steps"):
            assert list(run["first_steps"]) == [name for name, _ in build("LeNet5()").named_parameters()]
            largest = original_1998.LEARNING_RATES[0] / as_today(run["settings"])["mu"]
            # Rounding may leave a curvature just below 0.
            assert all(low <= high <= largest * (1 + 1e-4) for low, high in run["first_steps"].values())


def digits_of(name, run, key):
    """Return how many digits an accuracy of a history was counted on."""
    if key != "train_accuracy":
        return 10_000
    counts = {"c3_tables": 50_000, "modern_lenet_choices": 50_000, "original_1998_choices": 10_000}
    return counts.get(name, run["settings"].get("digits", 60_000))


PROBED = {"saturated", "others", "f6_curvature"}  # noted after each pass, on 1,000 training digits


@pytest.mark.parametrize(("name", "run"), HISTORIES)
def test_every_point_of_a_history_can_be(name, run):
    history = run["history"]
    lists = {
        "tutorial_lenet": {"train_loss", "train_accuracy", "test_accuracy", "seconds"},
        "c3_tables": {"train_loss", "train_accuracy", "validation_accuracy", "seconds"},
        "distilled_lenet": {"train_loss", "seconds"},
        "distilled_lenet_choices": {"train_loss", "seconds"},
        "full_lenet": {"train_loss", "seconds"},
        "full_lenet_choices": {"train_loss", "seconds"},
        "modern_lenet": {"train_loss", "train_accuracy", "seconds"},
        "modern_lenet_choices": {"train_loss", "train_accuracy", "seconds"},
        "original_1998": {"train_accuracy", "test_accuracy", "seconds"},
        "original_1998_choices": {"train_accuracy", "validation_accuracy", "seconds", *PROBED},
    }
    if module_of(name) == "original_1998" and "s" in run["settings"] and not run["settings"]["adamw"]:
        lists[name].add("steps")
    assert set(history) == lists[name]
    (length,) = {len(values) for values in history.values()}
    if module_of(name) == "original_1998":
        # One digit at a time, a network that no longer reads ends its run.
        lost = [accuracy < 0.5 and not run["settings"].get("adamw") for accuracy in history["train_accuracy"]]
        assert length == (lost.index(True) + 1 if True in lost else original_1998.PASSES)
    else:
        assert length == run["settings"]["epochs"]
    for key, values in history.items():
        assert all(isinstance(value, float) and math.isfinite(value) for value in numbers(values))
        if key in PROBED:
            assert all(0 <= value <= 1.0001 or key == "f6_curvature" for value in numbers(values)), key
        elif key == "steps":
            largest = [rate / run["settings"]["mu"] for rate in original_1998.LEARNING_RATES]
            for one_pass, most in zip(values, largest, strict=False):
                assert all(0 < low <= high <= most * (1 + 1e-3) for low, high in one_pass), key
        elif key.endswith("accuracy"):
            right = [value * digits_of(name, run, key) for value in values]
            assert all(0 <= value <= 1 for value in values), key
            assert right == pytest.approx([round(count) for count in right], rel=0, abs=1e-6), key
        else:
            assert min(values) > 0, key


@pytest.mark.parametrize("name", STORED)
def test_error_counts_and_histories_agree(name):
    for run in STORED[name]["runs"]:
        for kind in {"test", "validation"} & {name.split("_")[0] for name in run.get("history", {})}:
            # In a network that broke down all digits are about as far from several bitmaps: rounding decides.
            broken = run["history"]["train_accuracy"][-1] < 0.5
            last = run["history"][f"{kind}_accuracy"][-1]
            assert last == pytest.approx(1 - run[f"{kind}_errors"] / 10_000, abs=0.01 if broken else 1e-9)


def test_a_running_average_has_the_history_of_its_training():
    trained, averaged = (
        {run["seed"]: run["history"] for run in STORED["modern_lenet"]["runs"] if run["kind"] == kind}
        for kind in ("60 epochs", modern_lenet.AVERAGE)
    )
    assert trained == averaged


# ---------------------------------------------------------------------------------------- stored networks


@pytest.mark.parametrize("run", RUNS)
def test_the_stored_network_makes_the_stored_number_of_errors(run):
    net = build(run["network"])
    load_weights(net, ROOT / run["weights"])
    assert count_errors(net, load_mnist(train=False, **run["load_mnist"])) == run["test_errors"]


def test_every_stored_network_is_named_in_a_record_and_lies_in_its_folder():
    named = {name: [run["weights"] for run in record["runs"] if "weights" in run] for name, record in STORED.items()}
    stored = [path.relative_to(ROOT) for path in (ROOT / "weights").rglob("*") if path.is_file()]
    assert sorted(path.as_posix() for path in stored) == sorted(sum(named.values(), []))
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
