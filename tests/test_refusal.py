"""When a network should refuse a digit: the training, the limits, and what the stored record says of them."""

import json
import statistics

import pytest
import torch

import digit_pad
from experiments import modern_lenet, original_1998, refusal, tutorial_lenet
from experiments.networks import build
from lenet import LeNet5
from lenet_utils import load_mnist, load_weights
from tools.notebook_rules import ROOT

# What trains the final networks of each kind, and the kind that their record gives them.
FINAL = {
    "1998": (original_1998, original_1998.run_full, "60,000 digits"),
    "tutorial": (tutorial_lenet, tutorial_lenet.train, "10 epochs"),
    "modern": (modern_lenet, modern_lenet.run_full, "60 epochs"),
}
REFUSED = {"2 %": 200, "1 %": 100, "0.5 %": 50}  # of the 10,000 validation digits


def stored(name):
    """Return the runs of a record."""
    return json.loads((ROOT / f"results/{name}.json").read_text(encoding="utf-8"))["runs"]


# Doubt is a scale of these tests' own, for all kinds: the larger, the sooner a digit is refused.


def examine(net, data):
    """Return of each digit of `data` the doubt, float64 [N], and whether it is misread, bool [N]."""
    images, labels = data
    with torch.no_grad():
        outputs = torch.cat([net.eval()(piece) for piece in images.split(500)]).double()
    if isinstance(net, LeNet5):
        return outputs.min(dim=1).values, outputs.argmin(dim=1) != labels
    return 1 - outputs.softmax(dim=1).max(dim=1).values, outputs.argmax(dim=1) != labels


def doubt_at(kind, limit):
    """Return the doubt at which a limit lies."""
    return limit if kind == "1998" else 1 - limit


def check_what_is_refused(kind, run, test):
    """Hold that the limit at 2 % does to the final network what the run says, on the digits `test`."""
    doubt, missed = examine(load_weights(build(run["network"]), ROOT / run["final"]), test)
    kept = doubt <= doubt_at(kind, run["limits"]["2 %"])
    assert (run["test_refused"], run["test_errors_kept"]) == ((~kept).sum(), (missed & kept).sum())


# ------------------------------------------------------------------------------------------------ refusing


@pytest.mark.parametrize("network", ["LeNet5()", "tutorial_lenet()", "modern_lenet()"])
def test_a_lenet5_is_judged_by_its_distance_and_others_by_their_probability(network):
    torch.manual_seed(0)
    net, side = build(network), 28 if network == "tutorial_lenet()" else 32
    images = torch.randn(300, 1, side, side)
    classes, values = refusal.judge(net.train(), images)
    doubt, missed = examine(net, (images, classes))
    assert not missed.any(), "the classes are those of the outputs"
    assert values.tolist() == pytest.approx((doubt if network == "LeNet5()" else 1 - doubt).tolist(), rel=1e-5)


@pytest.mark.parametrize("network", ["LeNet5()", "modern_lenet()"])
def test_a_limit_refuses_its_share_from_the_doubtful_side(network):
    net = build(network)
    values = torch.randperm(10_000, generator=torch.Generator().manual_seed(0)) / 10_000
    assert list(refusal.SHARES) == list(REFUSED)
    for name, share in refusal.SHARES.items():
        limit = refusal.limit_at(net, values, share)
        refused = values[refusal.is_refused(net, values, limit)]
        assert len(refused) == REFUSED[name]
        assert refused.min() >= 0.98 if network == "LeNet5()" else refused.max() <= 0.02
        at_limit = refusal.is_refused(net, torch.tensor([limit], dtype=torch.float64), limit)
        assert not at_limit, "a digit at the limit is kept"


# ------------------------------------------------------------------------------------------------ training


@pytest.mark.slow
@pytest.mark.parametrize("kind", FINAL)
def test_a_run_trains_as_the_record_of_its_kind_and_judges_what_was_kept_back(kind, tmp_path, monkeypatch):
    module, train, name = FINAL[kind]
    runs = stored(module.__name__.split(".")[-1])
    (of_record,) = [run for run in runs if (run["kind"], run.get("seed")) == (name, 1)]
    digits, test = (
        [part[::150] for part in load_mnist(train=part, **of_record["load_mnist"])] for part in (True, False)
    )

    def first(count):
        return lambda train, device=None, **options: [part[:count] for part in digits] if train else test

    saved = []
    monkeypatch.setattr(original_1998, "PASSES", 2)
    monkeypatch.setattr(original_1998, "CURVATURE_DIGITS", 20)
    monkeypatch.setattr(refusal, "DIGITS", 120)
    for one, count in ((refusal, 220), (module, 120)):
        monkeypatch.setattr(one, "load_mnist", first(count))
        monkeypatch.setattr(one, "save_weights", lambda *given: saved.append(given))
    (run,) = refusal.run(kind, 1, tmp_path / "here.pt")
    theirs, *_ = train(name, 1, tmp_path / "there.pt")

    (net, path), (other, _), *_ = saved
    for ours, as_there in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, as_there)
    assert all(run[key] == theirs[key] == of_record[key] for key in ("network", "load_mnist"))
    assert run["settings"] == theirs["settings"] | {"digits": 120}
    assert run["weights"] == f"weights/refusal/{kind}_seed1.safetensors" and path == ROOT / run["weights"]
    assert run["final"] == of_record["weights"]

    doubt, missed = examine(net, [part[120:220] for part in digits])
    assert run["validation_errors"] == missed.sum() and len(missed) == 100
    assert [(doubt > doubt_at(kind, limit)).sum() for limit in run["limits"].values()] == [2, 1, 1]
    assert run["test_errors"] == examine(net, test)[1].sum()
    check_what_is_refused(kind, run, test)


# -------------------------------------------------------------------------------------------- the stored runs


@pytest.mark.slow
@pytest.mark.parametrize("kind", FINAL)
def test_with_its_stored_network_a_run_is_the_stored_one(kind, monkeypatch):
    (expected,) = [run for run in stored("refusal") if (run["kind"], run["seed"]) == (kind, 0)]
    net = load_weights(build(expected["network"]), ROOT / expected["weights"])
    seen = []

    def give(settings, seed, data, checkpoint):
        seen.append([len(part) for part in data])
        return net, [20.0, 0.04]

    monkeypatch.setitem(refusal.RUNS, kind, (give, *refusal.RUNS[kind][1:]))
    monkeypatch.setattr(refusal, "save_weights", lambda *given: seen.append(given))
    (run,) = refusal.run(kind, 0, None)
    assert seen == [[50_000, 50_000], (net, ROOT / expected["weights"])] and run.pop("train_seconds") == 20.0
    limits = run.pop("limits")
    assert limits == pytest.approx(expected["limits"], rel=1e-4)
    others = ("kind", "seed", "sha256", "machine", "versions", "limits", "train_seconds")
    assert run == {key: value for key, value in expected.items() if key not in others}


@pytest.mark.slow
@pytest.mark.parametrize("run", stored("refusal"), ids=lambda run: f"{run['kind']}, seed {run['seed']}")
def test_a_stored_run_comes_to_its_limits_and_errors_again(run):
    net = load_weights(build(run["network"]), ROOT / run["weights"])
    doubt, missed = examine(net, [part[50_000:] for part in load_mnist(train=True, **run["load_mnist"])])
    assert run["validation_errors"] == missed.sum()
    in_order = doubt.sort(descending=True).values.tolist()
    assert list(run["limits"]) == list(REFUSED)
    for name, limit in run["limits"].items():
        last_refused, first_kept = in_order[REFUSED[name] - 1], in_order[REFUSED[name]]
        slack = 1e-4 * first_kept  # rounding differs between processors
        assert first_kept - slack <= doubt_at(run["kind"], limit) <= last_refused + slack, name
    check_what_is_refused(run["kind"], run, load_mnist(train=False, **run["load_mnist"]))


def test_the_pad_refuses_at_the_medians_of_the_limits():
    found = {}
    for run in stored("refusal"):
        found.setdefault(run["network"], []).append(run["limits"]["2 %"])
    medians = {network: statistics.median(limits) for network, limits in found.items()}
    assert digit_pad.LIMITS == {
        network: round(limit, 1 if network == "LeNet5()" else 2) for network, limit in medians.items()
    }
