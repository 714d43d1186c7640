"""Does the C3 table pay? LeNet-5 with every connection, with the paper's table, with random tables.

    python -m experiments.c3_tables        about 50 seconds a run on two CPU cores, 15 runs

Every network is the 1998 one up to F6 with ten logits at the end, trained alike (plain gradient descent on
the cross-entropy) on the first 50,000 training digits; the last 10,000 are the validation split. A random
table is drawn anew for each seed. The learning rate is the best of 0.01, 0.03 and 0.1 for both full and paper's
table in a trial of two epochs on 10,000 training digits, counted on 2,000 validation digits; nothing was
chosen by test error. Writes results/c3_tables.json.
"""

import torch
from torch import nn

from experiments import record
from lenet import C3_TABLE, LeNet5, PartialConv2d
from lenet_utils import count_errors, fit, load_mnist, pick_device, save_weights, seed_everything

RUNS = {"full": (5,), "paper": (5,), "random": (5,)}
SETTINGS = {"epochs": 5, "lr": 0.03, "batch_size": 32}
LOAD = {"size": 32, "scaling": "paper"}
KEPT = "paper"  # the kind whose networks are kept: notebook 02 looks at their kernels


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


def train(kind, seed, checkpoint):
    """Train one network and return its run."""
    images, labels = load_mnist(train=True, device=pick_device(), **LOAD)
    train, validation = (images[:50_000], labels[:50_000]), (images[50_000:], labels[50_000:])
    test = load_mnist(train=False, device=pick_device(), **LOAD)
    table = make_table(kind, seed)
    seed_everything(seed)
    net = c3_network(table)
    history = fit(net, train, validation, seed=seed, plot=False, **SETTINGS)
    history["validation_accuracy"] = history.pop("test_accuracy")  # what fit evaluated on here
    run = {
        "settings": SETTINGS,
        "load_mnist": LOAD,
        "table": ["".join(str(int(entry)) for entry in row) for row in table],
        "validation_errors": count_errors(net, validation),
        "test_errors": count_errors(net, test),
        "history": history,
    }
    if kind == KEPT:
        run |= {"network": net.network, "weights": f"weights/c3_tables/{kind}_seed{seed}.safetensors"}
        save_weights(net, record.ROOT / run["weights"])
    return [run]


PARTS = {"runs": ("c3_tables", RUNS, train)}

if __name__ == "__main__":
    record.main("c3_tables", __doc__, PARTS)
