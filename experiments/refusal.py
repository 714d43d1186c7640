"""When should a network refuse a digit? The limits, on the validation split, by networks that have not seen it.

    python -m experiments.refusal        1 to 10 minutes a run on one CPU core

Three kinds of network are trained as their records say (original_1998, modern_lenet, tutorial_lenet), but on the first
50,000 training digits only. Of the last 10,000 each limit refuses a share: those with a larger squared distance to the
nearest bitmap than the limit ("1998"), or with a smaller largest softmax probability ("modern", "tutorial"). Nothing is
chosen by test digits. They are read when the limits stand: for the errors of the network, and for what its limit at 2 %
does to the network of the same seed that saw all 60,000 digits (`final`): how many test digits it refuses, and how many
of those it keeps it misreads. Writes results/refusal.json and weights/refusal/.
"""

import torch

from experiments import modern_lenet, original_1998, record, tutorial_lenet
from experiments.networks import build
from lenet import LeNet5
from lenet_utils import count_errors, fit, load_mnist, load_weights, save_weights, seed_everything

DIGITS = 50_000  # the first, to train on; the rest are the validation digits
SHARES = {"2 %": 0.02, "1 %": 0.01, "0.5 %": 0.005}

# ------------------------------------------------------------------------------------------------ refusing


def judge(net, images):
    """Return the class of each image, int64 [N], and what tells how sure it is, float32 [N].

    That is the squared distance to the nearest bitmap of a LeNet5, and of other networks the largest softmax
    probability. images: float32 [N, 1, height, width], scaled as the network was trained.
    """
    with torch.no_grad():
        outputs = torch.cat([net.eval()(piece) for piece in images.split(250)])
    values, classes = outputs.min(dim=1) if isinstance(net, LeNet5) else outputs.softmax(dim=1).max(dim=1)
    return classes, values


def limit_at(net, values, share):
    """Return the limit that makes `net` refuse `share` (0 to 1) of the images whose values are `values`, [N]."""
    return values.double().quantile(1 - share if isinstance(net, LeNet5) else share).item()


def is_refused(net, values, limit):
    """Return which images `net` refuses, bool [N]: distances above the limit, or probabilities below it."""
    return values.double() > limit if isinstance(net, LeNet5) else values.double() < limit


# ------------------------------------------------------------------------------------------------ training


def train_1998(settings, seed, data, checkpoint):
    """Train a LeNet5 as original_1998 does; return it, and the seconds of each pass."""

    def measure(net):
        return {"train_accuracy": original_1998.accuracy(net, data)}

    net, history, _ = original_1998.train(settings, seed, data, measure, checkpoint)
    return net, history["seconds"]


def train_modern(settings, seed, data, checkpoint):
    """Train a modern_lenet as its record's last rung does; return it, and the seconds of each epoch."""
    net, _, history = modern_lenet.train(settings, seed, data, checkpoint)
    return net, history["seconds"]


def train_tutorial(settings, seed, data, checkpoint):
    """Train a tutorial_lenet as its record does; return it, and the seconds of each epoch."""
    seed_everything(seed)
    net = build("tutorial_lenet()")
    few = [part[:1000] for part in data]  # fit counts on some digits after every epoch: not on any that are kept back
    return net, fit(net, data, few, seed=seed, plot=False, **settings)["seconds"]


RUNS = {  # how it is trained, settings, how the digits are loaded, the final networks' weights, and how many seeds
    "1998": (train_1998, original_1998.RUNS["60,000 digits"][1], original_1998.LOAD, "original_1998/60000_seed", 5),
    "tutorial": (train_tutorial, tutorial_lenet.SETTINGS, tutorial_lenet.LOAD, "tutorial_lenet/seed", 3),
    "modern": (
        train_modern, modern_lenet.rung("60 epochs"), {"size": 32, "scaling": "paper"}, "modern_lenet/60_epochs_seed", 3
    ),
}  # fmt: skip


def run(kind, seed, checkpoint):
    """Train one network, set its limits on the validation digits, and read the test digits once."""
    train, settings, load, final, _ = RUNS[kind]
    digits = load_mnist(train=True, **load)
    validation = [part[DIGITS:] for part in digits]
    net, seconds = train(settings, seed, [part[:DIGITS] for part in digits], checkpoint)
    weights = f"weights/refusal/{kind}_seed{seed}.safetensors"
    save_weights(net, record.ROOT / weights)
    network = getattr(net, "network", "LeNet5()")
    found = {"network": network, "load_mnist": load, "settings": settings | {"digits": DIGITS}, "weights": weights}

    _, values = judge(net, validation[0])
    limits = {name: limit_at(net, values, share) for name, share in SHARES.items()}
    found |= {"limits": limits, "validation_errors": count_errors(net, validation)}

    final = f"weights/{final}{seed}.safetensors"
    images, labels = test = load_mnist(train=False, **load)
    found |= {"test_errors": count_errors(net, test), "final": final}
    final = load_weights(build(network), record.ROOT / final)
    classes, values = judge(final, images)
    refused = is_refused(final, values, limits["2 %"])
    found |= {"test_refused": refused.sum().item(), "test_errors_kept": (classes != labels)[~refused].sum().item()}
    return [found | {"train_seconds": round(sum(seconds), 1)}]


PARTS = {"runs": ("refusal", RUNS, run)}

if __name__ == "__main__":
    torch.set_num_threads(1)  # two runs side by side use two cores better than one run on both
    record.main("refusal", __doc__, PARTS)
