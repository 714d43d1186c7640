"""Does the C3 table pay? LeNet-5 with every connection, with the paper's table, with random tables.

    python experiments/c3_tables.py        about 45 seconds a run on two CPU cores, 15 runs

Every network is the 1998 one up to F6 with ten logits at the end, trained alike (plain gradient descent on
the cross-entropy) on the first 50,000 training digits; the last 10,000 are the validation split. The three
kinds of table take turns, one seed after the other; a random table is drawn anew for each seed. The
learning rate is the best of 0.01, 0.03 and 0.1 for both full and paper's table in a trial of two epochs on
10,000 training digits, counted on 2,000 validation digits; nothing was chosen by test error. Writes
results/c3_tables.json after every run and skips the runs that it already holds.
"""

import json
import sys

import torch
from record import ROOT, new_record, write_record

sys.path.insert(0, str(ROOT))

from torch import nn  # noqa: E402

from lenet_utils import (  # noqa: E402
    C3_TABLE,
    LeNet5,
    PartialConv2d,
    evaluate,
    fit,
    load_mnist,
    pick_device,
    save_weights,
    seed_everything,
)

RESULTS = ROOT / "results" / "c3_tables.json"
KINDS = ("full", "paper", "random")
SEEDS = range(5)
SETTINGS = {"epochs": 5, "lr": 0.03, "batch_size": 32}
LOAD = {"size": 32, "scaling": "paper"}
KEPT_SEED = 0  # its network with the paper's table is the one whose kernels notebook 02 shows


def make_table(kind, seed):
    """Return the bool table [16, 6] of a kind; a "random" one has the paper's 60 connections."""
    if kind == "full":
        return torch.ones_like(C3_TABLE)
    if kind == "paper":
        return C3_TABLE
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(C3_TABLE.numel(), generator=generator)
        table = (order < C3_TABLE.sum()).view(C3_TABLE.shape)
        if table.any(dim=1).all():
            return table


def c3_network(table):
    """Return LeNet-5 with `table` in C3 and ten logits in place of the RBF units."""
    net = LeNet5()
    net.c3 = PartialConv2d(table, kernel_size=5)
    net.c3.reset_parameters(gain=2.4)
    net.output = nn.Linear(84, 10)
    net.network = "c3_network(C3_TABLE)" if torch.equal(table, C3_TABLE) else "c3_network(another table)"
    return net


def train(kind, seed, data, validation, test):
    """Train one network and return its run."""
    table = make_table(kind, seed)
    seed_everything(seed)
    net = c3_network(table)
    history = fit(net, data, validation, seed=seed, plot=False, **SETTINGS)
    history["validation_accuracy"] = history.pop("test_accuracy")  # what fit evaluated on here
    run = {
        "kind": kind,
        "seed": seed,
        "settings": SETTINGS,
        "load_mnist": LOAD,
        "table": ["".join(str(int(entry)) for entry in row) for row in table],
        "validation_errors": round((1 - evaluate(net, validation)) * len(validation[1])),
        "test_errors": round((1 - evaluate(net, test)) * len(test[1])),
        "history": history,
    }
    if kind == "paper" and seed == KEPT_SEED:
        run |= {"network": net.network, "weights": f"weights/c3_paper_seed{seed}.safetensors"}
        save_weights(net, ROOT / run["weights"])
    return run


def missing_runs(record):
    """Return the (kind, seed) of the runs that `record` does not hold yet, in order."""
    done = {(run["kind"], run["seed"]) for run in record["runs"]}
    return [(kind, seed) for seed in SEEDS for kind in KINDS if (kind, seed) not in done]


def main(at_most=None):
    """Do the missing runs, or the first `at_most` of them."""
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else new_record("python experiments/c3_tables.py")
    device = pick_device()
    images, labels = load_mnist(train=True, device=device, **LOAD)
    data, validation = (images[:50_000], labels[:50_000]), (images[50_000:], labels[50_000:])
    test = load_mnist(train=False, device=device, **LOAD)
    for kind, seed in missing_runs(record)[:at_most]:
        record["runs"].append(train(kind, seed, data, validation, test))
        write_record(RESULTS, record)
        run = record["runs"][-1]
        print(f"{kind}, seed {seed}: {run['validation_errors']} validation errors, {run['test_errors']} test errors")


if __name__ == "__main__":
    main()
