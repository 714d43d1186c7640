"""The short path of every experiment, on 100 digits: which digits it trains on and counts, and with which settings."""

import functools
import json
import math
import sys
import types

import pytest
import torch
from test_results import as_today

import lenet_utils
from experiments import (
    busy_machine,
    c3_tables,
    distilled_lenet,
    full_lenet,
    modern_lenet,
    original_1998,
    own_kernel,
    record,
    speed,
    tutorial_lenet,
)
from lenet import C3_TABLE
from lenet_utils import epoch_order, load_mnist
from tools.notebook_rules import ROOT

TRAINING, VALIDATION, ALL, TEST = range(50_000), range(50_000, 60_000), range(60_000), range(-10_000, 0)


@pytest.fixture(scope="module", autouse=True)
def forget_the_digits():
    yield
    marked_digits.cache_clear()  # a gigabyte, in a worker that goes on with other files


@functools.cache
def marked_digits(train, **options):
    """Return a split whose images bear their place in the first pixel: 0 to 59,999, test digits -10,000 to -1."""
    images, labels = load_mnist(train=train, **options)
    places = torch.arange(60_000) if train else torch.arange(-10_000, 0)
    images[:, 0, 0, 0] = places / 2**20  # exact, and too small to change what a network learns
    return images, labels


def places(data):
    """Return the places of marked digits: a range, which a failing test prints in short, if they are one."""
    found = (data[0][:, 0, 0, 0] * 2**20).long().tolist()
    whole = range(found[0], found[0] + len(found))
    return whole if found == list(whole) else found


def few(data, count=100):
    """Return `count` of the digits, spread over all of them."""
    return [part[:: math.ceil(len(part) / count)] for part in data]


class Seen(dict):
    """What a script did: the splits it loaded, the digits it trained on and counted, the arguments of calls."""

    def note(self, name, value):
        self.setdefault(name, []).append(value)

    def recorder(self, name, function=lambda *arguments, **options: None):
        """Return `function`, and note the arguments of its calls under `name`."""

        def call(*arguments, **options):
            self.note(name, arguments + ((options,) if options else ()))
            return function(*arguments, **options)

        return call


@pytest.fixture
def seen(monkeypatch):
    """Every script loads marked digits, counts on few, and writes no weights; what it did is noted."""
    seen = Seen()

    def load(train, device="cpu", **options):
        seen.note("loaded", train)
        seen.note("options", options)
        return marked_digits(train, **options)

    def counting(name, function):
        def count(net, data):
            seen.note(name, places(data))
            return function(net, few(data))

        return count

    for module in (c3_tables, distilled_lenet, full_lenet, modern_lenet, original_1998, speed, tutorial_lenet):
        monkeypatch.setattr(module, "load_mnist", load)
        monkeypatch.setattr(module, "count_errors", counting("counted", lenet_utils.count_errors))
        monkeypatch.setattr(module, "save_weights", seen.recorder("saved"))
        if hasattr(module, "pick_device"):
            monkeypatch.setattr(module, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(original_1998, "accuracy", counting("evaluated", lenet_utils.evaluate))
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # nor must a test wait for a compiler
    monkeypatch.setattr(original_1998, "PASSES", 1)
    monkeypatch.setattr(original_1998, "CURVATURE_DIGITS", 20)
    return seen


def fit_on_few(seen):
    def fit(net, train, test, **options):
        seen.note("trained", places(train))
        seen.note("evaluated", places(test))
        seen.note("fit", options)
        return lenet_utils.fit(net, few(train), few(test), **options)

    return fit


def train_on_few(seen, function, **shorter):
    def train(settings, seed, data, *rest):
        seen.note("trained", places(data))
        settings = dict(settings)  # a script may add to its own afterwards
        seen.note("train", (settings, seed))
        return function(settings | shorter, seed, few(data), *rest)

    return train


MEASURED = ("errors", "seconds", "second", "loss", "flops", "bytes", "history", "first_steps", "sha256")


def check_like_record(name, kind, seed, runs):
    """Hold that runs have the keys of the stored ones, and the same under all that are not measured."""
    stored = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))["runs"]
    assert runs
    for run in runs:
        run = {"kind": kind, "seed": seed} | run | ({"sha256": ""} if "weights" in run else {})
        (old,) = [old for old in stored if all(old.get(key) == run.get(key) for key in ("kind", "seed", "rung"))]
        if name.startswith(("original_1998", "modern_lenet")):
            old = old | {"settings": as_today(old["settings"])}
        assert set(run) == set(old) - {"machine", "versions"}
        # The first runs of the 1998 training did not note their steps.
        assert set(run.get("history", {})) - {"steps"} == set(old.get("history", {})) - {"steps"}
        for key in set(run):
            assert key.endswith(MEASURED) or run[key] == old[key], key


# ------------------------------------------------------------------------------------------------ fit


def test_c3_tables(seen, monkeypatch, tmp_path):
    monkeypatch.setattr(c3_tables, "fit", fit_on_few(seen))
    for kind, seed in (("full", 1), ("paper", 0), ("random", 2)):
        seen.clear()
        runs = c3_tables.train(kind, seed, tmp_path / "a.pt")
        check_like_record("c3_tables", kind, seed, runs)
        assert seen["trained"] == [TRAINING] and seen["evaluated"] == [VALIDATION]
        assert seen["counted"] == [VALIDATION, TEST]
        assert seen["options"] == [{"size": 32, "scaling": "paper"}] * 2
        assert seen["fit"] == [{"seed": seed, "plot": False, "epochs": 5, "lr": 0.03, "batch_size": 32}]
        table = c3_tables.make_table(kind, seed)
        assert ["".join(map(str, row)) for row in table.int().tolist()] == runs[0]["table"]
        assert [call[1] for call in seen.get("saved", [])] == [
            ROOT / run["weights"] for run in runs if "weights" in run
        ]


def test_the_tables_reach_the_network_and_random_ones_are_no_others():
    for kind, (seeds,) in c3_tables.RUNS.items():
        tables = [c3_tables.make_table(kind, seed) for seed in range(seeds)]
        for table in tables:
            assert table.shape == (16, 6) and table.any(dim=1).all()
            assert table.sum() == (96 if kind == "full" else 60)
            assert torch.equal(table, C3_TABLE) == (kind == "paper")
            assert torch.equal(c3_tables.c3_network(table).c3.table, table)
        assert len({str(table.tolist()) for table in tables}) == (seeds if kind == "random" else 1)


def test_tutorial_lenet(seen, monkeypatch, tmp_path):
    monkeypatch.setattr(tutorial_lenet, "fit", fit_on_few(seen))
    check_like_record("tutorial_lenet", "10 epochs", 2, tutorial_lenet.train("10 epochs", 2, tmp_path / "a.pt"))
    assert seen["trained"] == [ALL] and seen["evaluated"] == seen["counted"] == [TEST]
    assert seen["options"] == [{"size": 28, "scaling": "standard"}] * 2
    assert seen["fit"] == [{"seed": 2, "plot": False, "epochs": 10, "lr": 0.9, "batch_size": 64}]


# ------------------------------------------------------------------------------------------- modern_lenet


@pytest.mark.parametrize("kind", ["AdamW", "dropout 0.2 after C5", "60 epochs, affine doubled"])
def test_modern_choices(seen, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(modern_lenet, "train", train_on_few(seen, modern_lenet.train, epochs=2))
    runs = modern_lenet.run_choices(kind, 1, tmp_path / "a.pt")
    check_like_record("modern_lenet_choices", kind, 1, runs)
    assert seen["loaded"] == [True] and seen["options"] == [{"scaling": "paper"}]
    assert seen["trained"] == [TRAINING]
    assert seen["counted"] == [VALIDATION] * (2 if kind.startswith("60") else 1)
    assert seen["train"] == [(runs[0]["settings"], 1)]


@pytest.mark.parametrize("kind", ["4 epochs", "tutorial network", "60 epochs"])
def test_modern_runs(seen, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(modern_lenet, "train", train_on_few(seen, modern_lenet.train, epochs=2))
    runs = modern_lenet.run_full(kind, 1, tmp_path / "a.pt")
    check_like_record("modern_lenet", kind, 1, runs)
    assert seen["trained"] == [ALL] and seen["counted"] == [TEST] * len(runs)
    assert seen["train"] == [(runs[0]["settings"], 1)]
    assert [call[1] for call in seen["saved"]] == [ROOT / run["weights"] for run in runs]


def test_softmax_is_the_criterion_without_its_rubbish_class(seen, monkeypatch):
    for owner, name in ((modern_lenet, "map_loss"), (modern_lenet.F, "cross_entropy")):
        monkeypatch.setattr(owner, name, seen.recorder(name, getattr(owner, name)))
    digits = few(marked_digits(True, scaling="paper"))
    histories = [
        modern_lenet.train(modern_lenet.rung(name) | {"epochs": 1}, 0, digits)[2] for name in ("AdamW", "softmax")
    ]
    ((distances, _, j),), ((logits, _, options),) = seen["map_loss"], seen["cross_entropy"]
    assert j == 0.1 and options == {"label_smoothing": 0.0} and torch.equal(logits, -distances)
    assert histories[0]["train_accuracy"] == histories[1]["train_accuracy"], "the first batch, from the same weights"


# ------------------------------------------------------------------------------------------- distilled_lenet


def test_teachers(seen, monkeypatch, tmp_path):
    short = train_on_few(seen, distilled_lenet.train_teacher, epochs=1, batch_size=50)
    monkeypatch.setattr(distilled_lenet, "train_teacher", short)
    runs = distilled_lenet.run_teacher("teacher", 1, tmp_path / "a.pt")
    check_like_record("distilled_lenet", "teacher", 1, runs)
    assert seen["trained"] == [TRAINING] and seen["counted"] == [VALIDATION, TEST]
    assert seen["train"] == [(runs[0]["settings"], 1)]
    assert [call[1] for call in seen["saved"]] == [ROOT / runs[0]["weights"]]


@pytest.mark.parametrize("kind", distilled_lenet.CHOICES)
def test_students(seen, monkeypatch, tmp_path, kind):
    judged = torch.full((1, 50_000, 10), -2.0, dtype=torch.float16)

    def pool(settings, images):
        seen.note("pool", (settings, places([images, seen.labels])))
        return "distorted", judged

    def train(settings, seed, given, checkpoint):
        seen.note("train", (settings, seed, checkpoint))
        seen.note("given", given)
        return modern_lenet.modern_lenet(), {"train_loss": [], "seconds": []}

    seen.labels = marked_digits(True, scaling="paper")[1][:50_000]
    monkeypatch.setattr(distilled_lenet, "shared_pool", pool)
    monkeypatch.setattr(distilled_lenet, "train_student", train)
    runs = distilled_lenet.run_choice(kind, 1, tmp_path / "a.pt")
    check_like_record("distilled_lenet_choices", kind, 1, runs)
    settings = distilled_lenet.CHOICES[kind][0]
    assert seen["pool"] == [(settings, TRAINING)] and seen["counted"] == [VALIDATION]
    assert seen["train"] == [(settings, 1, tmp_path / "a.pt")]
    ((distorted, targets),) = seen["given"]
    if kind == "labels":
        assert targets.shape == (10, 50_000, 10) and torch.equal(targets[9].argmax(dim=1), seen.labels)
    else:
        assert targets is judged
    assert distorted == "distorted"


def test_the_first_student_makes_the_pool_and_the_others_read_it(monkeypatch, tmp_path):
    made = []

    def make(nets, settings, images):
        made.append((len(nets), nets[0].network, settings["pool"]))
        return torch.zeros(2, 3), torch.ones(2)

    monkeypatch.setattr(record, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(distilled_lenet, "make_pool", make)
    for _ in range(2):
        images, judged = distilled_lenet.shared_pool(distilled_lenet.STUDENT, torch.zeros(3))
        assert torch.equal(images, torch.zeros(2, 3)) and torch.equal(judged, torch.ones(2))
    assert made == [(3, "teacher_network(width=32)", 10)]


# ------------------------------------------------------------------------------------------------ full_lenet


@pytest.fixture
def full(seen, monkeypatch):
    """full_lenet with its pool and its training replaced by notes of what they were given."""

    def train(settings, seed, pool, count, checkpoint):
        seen.note("train", (settings, seed, pool, count, checkpoint))
        return full_lenet.NETWORKS[settings["c3"]](), {"train_loss": [], "seconds": []}

    monkeypatch.setattr(full_lenet, "shared_pool", lambda settings: ("pool of", settings))
    monkeypatch.setattr(full_lenet, "train", train)
    return full_lenet


@pytest.mark.parametrize("kind", full_lenet.CHOICES)
def test_full_choices(seen, full, tmp_path, kind):
    runs = full.run_choice(kind, 1, tmp_path / "a.pt")
    check_like_record("full_lenet_choices", kind, 1, runs)
    settings = full.CHOICES[kind][0]
    assert seen["train"] == [(settings, 1, ("pool of", settings), 50_000, tmp_path / "a.pt")]
    assert seen["counted"] == [VALIDATION]


def test_full_runs(seen, full, tmp_path):
    (kind,) = full.RUNS
    runs = full.run_full(kind, 1, tmp_path / "a.pt")
    check_like_record("full_lenet", kind, 1, runs)
    settings = full.RUNS[kind][0]
    assert seen["train"] == [(settings, 1, ("pool of", settings), 60_000, tmp_path / "a.pt")]
    assert seen["counted"] == [TEST] and [call[1] for call in seen["saved"]] == [ROOT / runs[0]["weights"]]


# ---------------------------------------------------------------------------------------------- modern_lenet


def test_modern_settings_reach_the_loop(seen, monkeypatch):
    settings = modern_lenet.BEST | {
        "epochs": 3, "batch_size": 40, "lr": 0.011, "weight_decay": 0.07, "smoothing": 0.3, "affine": 0.5,
        "elastic": 0.25, "half_life": 2.0, "dropout": 0.4, "pooling": "max",
    }  # fmt: skip
    for owner, name in (
        (torch.optim, "AdamW"), (torch.optim.lr_scheduler, "OneCycleLR"), (modern_lenet.F, "cross_entropy"),
        (modern_lenet, "augment"), (modern_lenet, "get_ema_multi_avg_fn"), (modern_lenet, "ladder_network"),
        (modern_lenet, "epoch_order"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, seen.recorder(name, getattr(owner, name)))
    digits = few(marked_digits(True, scaling="paper"))
    net, average, history = modern_lenet.train(settings, 7, digits)
    assert seen["AdamW"][0][-1] == {"lr": 0.011, "weight_decay": 0.07, "fused": True}
    assert seen["OneCycleLR"][0][-1] == {"max_lr": 0.011, "total_steps": 9}
    assert [call[-1] for call in seen["cross_entropy"]] == [{"label_smoothing": 0.3}] * 9
    assert [len(call[0]) for call in seen["augment"]] == [40, 40, 20] * 3
    assert {call[1:3] for call in seen["augment"]} == {(0.5, 0.25)}
    order = torch.cat([call[0] for call in seen["augment"]])
    expected = torch.cat([digits[0][epoch_order(100, 7, epoch)] for epoch in range(3)])
    assert torch.equal(order, expected) and seen["epoch_order"] == [(100, 7, epoch) for epoch in range(3)]
    assert seen["get_ema_multi_avg_fn"] == [(pytest.approx(0.5 ** (1 / 6)),)]
    assert seen["ladder_network"] == [({name: settings[name] for name in modern_lenet.NETWORK},)]
    assert net.c5[-1].p == 0.4 and {len(values) for values in history.values()} == {3} and average is not None


@pytest.mark.parametrize("place", range(6))
def test_the_strengths_of_the_affine_distortion(monkeypatch, place):
    """One draw at its end, all others none: the matrix is a rotation of 5 degrees, a zoom of 5 % ..."""
    monkeypatch.setattr(modern_lenet, "warp", lambda images, matrices, bend: (matrices, bend))
    draws = torch.full((6, 1), 0.5)
    draws[place] = 1
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    angle, zoom, squeeze = math.radians(5), math.exp(-0.05), math.exp(0.035)
    expected = [
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]],
        [[zoom, 0, 0], [0, zoom, 0]],
        [[squeeze, 0, 0], [0, 1 / squeeze, 0]],
        [[1, 0.1, 0], [0, 1, 0]],
        [[1, 0, 0.5 / 16], [0, 1, 0]],
        [[1, 0, 0], [0, 1, 0.5 / 16]],
    ][place]
    matrices, bend = modern_lenet.augment(torch.zeros(1, 1, 32, 32), 1.0, 0.0, None)
    torch.testing.assert_close(matrices[0], torch.tensor(expected))
    assert bend == 0


def test_the_strength_of_the_elastic_distortion(monkeypatch):
    monkeypatch.setattr(modern_lenet, "warp", lambda images, matrices, bend: bend)
    generator = torch.Generator().manual_seed(0)
    bend = modern_lenet.augment(torch.zeros(2000, 1, 32, 32), 0.0, 1.0, generator)
    corners = bend[:, [0, 0, -1, -1], [0, -1, 0, -1]]  # nodes, between which there is nothing to interpolate
    assert corners.std().item() * 16 == pytest.approx(0.6, rel=0.03)
    assert modern_lenet.NODES == 6


# ------------------------------------------------------------------------------------------ original_1998


def note_1998(seen, monkeypatch, eager_steps=False):
    for name in ("first_network", "step_sizes", "distorted_pass", "map_loss"):
        monkeypatch.setattr(original_1998, name, seen.recorder(name, getattr(original_1998, name)))
    one_pass = original_1998.plain_pass if eager_steps else lambda *_: None  # a test must not need a C++ compiler
    monkeypatch.setattr(original_1998, "train_pass", seen.recorder("train_pass", one_pass))
    for owner, name in ((torch.optim, "AdamW"), (torch.optim.lr_scheduler, "OneCycleLR")):
        monkeypatch.setattr(owner, name, seen.recorder(name, getattr(owner, name)))
    for name in ("train", "train_adamw"):
        monkeypatch.setattr(original_1998, name, train_on_few(seen, getattr(original_1998, name)))


def check_1998_loop(seen, settings, seed):
    """Hold that the loop got these settings; see note_1998."""
    assert seen["train"] == [(settings, seed)] and seen["first_network"] == [(settings, seed)]
    if settings["distortion"]:
        assert [call[2:] for call in seen["distorted_pass"]] == [(0, seed, settings["distortion"])]
    assert ("distorted_pass" in seen) == bool(settings["distortion"])
    if settings["adamw"]:
        assert seen["AdamW"][0][-1] == {"lr": settings["adamw"], "weight_decay": settings["decay"]}
        assert seen["OneCycleLR"][0][-1] == {"max_lr": settings["adamw"], "total_steps": 2}
        criterion = settings["j"], settings["s"]
        assert [(len(call[0]), *call[2:]) for call in seen["map_loss"]] == [(64, *criterion), (36, *criterion)]
        assert "train_pass" not in seen
    else:
        ((*_, order, j, s),) = seen["train_pass"]
        assert (j, s) == (settings["j"], settings["s"]) and torch.equal(order, torch.arange(len(order)))
        options = {name: settings[name] for name in ("j", "s", "at_f6", "shared", "mu")}
        assert [call[2:] for call in seen["step_sizes"]] == [(0.0005, options)]


@pytest.mark.parametrize("kind", original_1998.CHOICES)
def test_1998_choices(seen, monkeypatch, tmp_path, kind):
    note_1998(seen, monkeypatch, eager_steps=kind == "letter")
    runs = original_1998.run_choices(kind, 0, tmp_path / "a.pt")
    check_like_record("original_1998_choices", kind, 0, runs)
    assert seen["loaded"] == [True] and seen["options"] == [{"size": 32, "scaling": "paper"}]
    assert seen["trained"] == [TRAINING] and seen["evaluated"] == [TRAINING[:10_000], VALIDATION]
    assert seen["counted"] == [VALIDATION]
    check_1998_loop(seen, runs[0]["settings"], 0)


@pytest.mark.parametrize("kind", original_1998.RUNS)
def test_1998_runs(seen, monkeypatch, tmp_path, kind):
    note_1998(seen, monkeypatch)
    runs = original_1998.run_full(kind, 2, tmp_path / "a.pt")
    check_like_record("original_1998", kind, 2, runs)
    assert seen["options"] == [{"size": 32, "scaling": "paper"}] * 2
    digits = ALL[: runs[0]["settings"]["digits"]]
    assert seen["trained"] == [digits] and seen["evaluated"] == [digits, TEST] and seen["counted"] == [TEST]
    settings = {name: value for name, value in runs[0]["settings"].items() if name != "digits"}
    check_1998_loop(seen, settings, 2)
    assert [call[1] for call in seen["saved"]] == [ROOT / runs[0]["weights"]]


def test_the_strengths_of_the_1998_distortion():
    assert original_1998.DISTORTION == {"shift": 1.5, "scale": 0.15, "squeeze": 0.1, "shear": 0.3}


# -------------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize(("rate", "moved"), [(speed.matmul_rate, 2 * 1024**3), (speed.copy_rate, 400_000_000)])
def test_rates_count_every_operation_and_every_byte(monkeypatch, rate, moved):
    monkeypatch.setattr(speed, "seconds", lambda work, device: 0.5)
    assert rate(torch.device("cpu")) == 2 * moved


class Training:
    """In place of speed.QuickTraining: it notes what it was given, and its network stays as it began."""

    def __init__(self, seen, recipe, seed, data):
        seen.note("trained", places(data))
        seen.note("train", (recipe, seed))

    def train(self):
        return own_kernel.relu_lenet()


@pytest.mark.parametrize("kind", speed.CHOICES)
def test_speed_choices(seen, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(speed, "QuickTraining", functools.partial(Training, seen))
    runs = speed.run_choice(kind, 1, tmp_path / "a.pt")
    check_like_record("speed_choices", kind, 1, runs)
    assert seen["loaded"] == [True] and seen["options"] == [{"size": 28}]
    assert seen["trained"] == [TRAINING] and seen["counted"] == [VALIDATION]
    assert seen["train"] == [(runs[0]["settings"], 1)]


def on_the_stored_device(monkeypatch):
    """Return the name of the stored record of a CPU, as if this were its machine."""
    monkeypatch.setattr(record, "machine", lambda: "AMD EPYC, 2 threads")
    return "speed_amd_epyc_2_threads"


def test_99_percent(seen, monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "QuickTraining", functools.partial(Training, seen))
    name = on_the_stored_device(monkeypatch)
    check_like_record(name, "99 %", 3, speed.run_to_99("99 %", 3, tmp_path / "a.pt"))
    assert seen["loaded"] == [True, False] and seen["trained"] == [ALL] and seen["counted"] == [TEST]
    assert seen["train"] == [({"epochs": 4, "batch_size": 64, "lr": 0.016}, 3)]


class Kernel:
    """In place of the own kernel: it notes what it was given."""

    def __init__(self, seen, net, data, adamw):
        seen.note("kernel", (net.network, len(data[1]), adamw))
        self.train = lambda batches, lrs: seen.note("run", (batches, lrs))


@pytest.mark.parametrize("device", ["cpu", "another"])
def test_a_recipe_reaches_the_loop_of_quick_training(seen, monkeypatch, device):
    """By the own kernel on a CPU; elsewhere by PyTorch's AdamW, whose steps a GPU could record."""
    digits = few(marked_digits(True, size=28))
    monkeypatch.setattr(own_kernel, "Kernel", functools.partial(Kernel, seen))
    if device == "another":
        monkeypatch.setattr(speed.QuickTraining, "on_cpu", lambda self: False)
        monkeypatch.setattr(torch.optim, "AdamW", seen.recorder("AdamW", torch.optim.AdamW))
        monkeypatch.setattr(speed.Replay, "run", lambda self, batches, lrs: seen.note("run", (batches, lrs)))
    speed.QuickTraining({"epochs": 3, "batch_size": 30, "lr": 0.02}, 5, digits).train()
    if device == "cpu":
        assert seen["kernel"] == [("relu_lenet()", 100, own_kernel.ADAMW)]
    else:
        options = seen["AdamW"][0][-1]
        assert set(options) == {"lr", "fused", "capturable"} and options["lr"].item() == pytest.approx(0.02)
    assert len(seen["run"]) == 3
    for epoch, (batches, _) in enumerate(seen["run"]):
        assert torch.equal(batches, epoch_order(100, 5, epoch)[:90].view(3, 30))
    # Up to the rate in a third of the 9 steps, then down: at the steps' middles.
    rates = [0.5 / 3, 1.5 / 3, 2.5 / 3, *(1.5 * (1 - (step + 0.5) / 9) for step in range(3, 9))]
    torch.testing.assert_close(torch.cat([lrs for _, lrs in seen["run"]]), 0.02 * torch.tensor(rates))


def test_limits(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "matmul_rate", lambda device, precision: precision)
    monkeypatch.setattr(speed, "copy_rate", lambda device: "bytes")
    monkeypatch.setattr(own_kernel, "register_rate", lambda: "registers")
    monkeypatch.setattr(own_kernel, "clock_rate", lambda: "clock")
    monkeypatch.setattr(own_kernel, "library", lambda: types.SimpleNamespace(lanes=lambda: 8))
    (found,) = speed.run_limits("limits", 0, tmp_path / "a.pt")
    own = {"register_flops": "registers", "clock_hz": "clock", "vector_bits": 256}
    assert found == {"matmul_flops": "float32", "copy_bytes": "bytes"} | own
    monkeypatch.setattr(speed, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(speed, "has_bfloat16", lambda: True)
    (found,) = speed.run_limits("limits", 0, tmp_path / "a.pt")
    assert found.pop("copy_bytes") == "bytes"
    assert found == {"matmul_flops": "float32", "tf32_flops": "TF32", "bfloat16_flops": "bfloat16"}
    monkeypatch.setattr(speed, "has_bfloat16", lambda: False)  # a T4
    (found,) = speed.run_limits("limits", 0, tmp_path / "a.pt")
    assert found == {"matmul_flops": "float32", "copy_bytes": "bytes"}


class Loop:
    """In place of speed.Loop: it notes what it was given."""

    def __init__(self, seen, net, data, batch_size, lr, settings):
        self.net, self.seen, self.labels, self.device = net, seen, data[1], data[0].device
        self.settings = settings
        seen.note("trained", places(data))
        seen.note("loop", (batch_size, lr, settings))

    def epoch(self, order):
        self.seen.note("epoch", order)
        return 0.5, 0.9


def test_accuracy_of_the_rungs(seen, monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "Loop", functools.partial(Loop, seen))
    runs = speed.run_accuracy("accuracy", 1, tmp_path / "a.pt")
    rungs = speed.ladder(torch.device("cpu"))
    check_like_record(on_the_stored_device(monkeypatch), "accuracy", 1, runs)
    assert [run["rung"] for run in runs] == list(rungs)
    assert seen["loop"] == [(64, 0.9, settings) for settings in rungs.values()]
    assert seen["trained"] == [ALL] * len(rungs) and seen["counted"] == [TEST] * len(rungs)
    orders = [epoch_order(60_000, 1, epoch) for epoch in range(3)] * len(rungs)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen["epoch"], orders, strict=True))


@pytest.mark.parametrize("batch_size", [16, 64, 256, 1024])
def test_throughput_of_the_rungs(seen, monkeypatch, tmp_path, batch_size):
    monkeypatch.setattr(speed, "Loop", functools.partial(Loop, seen))
    kind, clock = f"batch {batch_size}", iter(range(0, 10_000, 2))
    monkeypatch.setattr(speed, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    runs = speed.run_ladder(kind, 0, tmp_path / "a.pt")
    check_like_record(on_the_stored_device(monkeypatch), kind, 0, runs)
    rungs = speed.ladder(torch.device("cpu"))
    assert seen["loop"] == [(batch_size, 0.9, settings) for settings in rungs.values()]
    assert seen["trained"] == [ALL] * len(rungs) and seen["loaded"] == [True]
    passes = {name: 5 if settings["kernel"] else 1 for name, settings in rungs.items()}
    lengths = [12_800] * sum(passes.values()) * 7
    assert [len(order) for order in seen["epoch"]] == [3 * batch_size] * len(rungs) + lengths
    for run in runs:  # every clock reading is two seconds after the one before
        assert run["one_off_seconds"] == 2 and run["examples_per_second"] == [6_400 * passes[run["rung"]]] * 7


def test_d2l(seen, monkeypatch, tmp_path):
    torch_part = types.SimpleNamespace(get_dataloader_workers=lambda: 0, train_ch6=seen.recorder("train_ch6"))
    monkeypatch.setitem(sys.modules, "d2l", types.SimpleNamespace(torch=torch_part))
    clock = iter((0, 4))
    monkeypatch.setattr(speed, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    (found,) = speed.run_d2l("d2l", 0, tmp_path / "a.pt")
    assert found == {"batch_size": 256, "examples_per_second": 15_000}
    ((_, train, test, options),) = seen["train_ch6"]
    assert (len(train.dataset), len(test.dataset), train.batch_size) == (60_000, 10_000, 256)
    assert options == {"num_epochs": 1, "lr": 0.9, "device": torch.device("cpu")}


# ------------------------------------------------------------------------------------------- busy_machine


def test_busy_machine_trains_beside_the_busy_processes(monkeypatch):
    events = []

    def run(command, env, **options):
        events.append("run")
        started.append((command, env))
        return types.SimpleNamespace(stdout="123.6\n")

    class Process:
        def __init__(self, command):
            events.append("begin")

        def kill(self):
            events.append("kill")

        def wait(self):
            pass

    started = []
    monkeypatch.setattr(busy_machine, "subprocess", types.SimpleNamespace(run=run, Popen=Process, PIPE=-1))
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setattr(busy_machine, "library", lambda kind: {"LIBRARY": kind})
    found = busy_machine.one_round("GNU OpenMP", 0, None)
    stored = json.loads((ROOT / "results/busy_machine.json").read_text(encoding="utf-8"))["runs"][:3]
    assert [["kind", "seed", *run] for run in found] == [list(run) for run in stored]
    assert [list(run["digits_per_second"]) for run in found] == [list(run["digits_per_second"]) for run in stored]
    assert {rate for run in found for rate in run["digits_per_second"].values()} == {124}
    assert events == [
        event for busy in (0, 1, 2) for _ in busy_machine.GNU for event in ["begin"] * busy + ["run"] + ["kill"] * busy
    ]
    prefixes = ("OMP_", "GOMP_", "KMP_", "LIBRARY")
    environments = [{name: value for name, value in env.items() if name.startswith(prefixes)} for _, env in started]
    assert environments == [{"LIBRARY": "GNU OpenMP"} | setting for setting in busy_machine.GNU] * 3
    assert {command[-1] for command, _ in started} == {busy_machine.TRAIN}


def test_busy_machine_trains_5000_digits(seen, monkeypatch, capsys):
    def fit(net, train, test, **options):
        seen.note("fit", (len(train[1]), len(test[1]), options))
        return {"seconds": [2.0]}

    monkeypatch.setattr(lenet_utils, "load_mnist", marked_digits)
    monkeypatch.setattr(lenet_utils, "fit", fit)
    exec(busy_machine.TRAIN, {})
    options = {"epochs": 1, "plot": False}
    assert seen["fit"] == [(64, 64, options), (5_000, 64, options)]
    assert capsys.readouterr().out == "2500.0\n"


def test_every_map_of_a_random_table_sees_something():
    """Of 100 tables drawn without that condition some three would leave a map of C3 without an input."""
    for seed in range(100):
        table = c3_tables.make_table("random", seed)
        assert table.sum() == 60 and table.any(dim=1).all()


@pytest.mark.parametrize(("kind", "name"), [("paper", "c3_network(C3_TABLE)"), ("full", "c3_network(another table)")])
def test_the_network_with_a_table_in_c3(kind, name):
    torch.manual_seed(0)
    table = c3_tables.make_table(kind, 0)
    net = c3_tables.c3_network(table)
    assert net.network == name and torch.equal(net.c3.table, table)
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    bound = 2.4 / (25 * table.sum(dim=1)).sqrt()[net.c3.positions // 6, None, None]
    assert 0.98 < (net.c3.weight.abs() / bound).max() <= 1
