"""The tutorial network of notebook 04, 10 epochs on all 60,000 digits, three seeds.

    python -m experiments.tutorial_lenet        a minute a seed on two CPU cores

Nothing is chosen here: the settings are d2l's (learning rate 0.9, 10 epochs) with batch size 64, and each
test error is that of the last epoch. Writes results/tutorial_lenet.json.
"""

from experiments import record
from lenet import tutorial_lenet
from lenet_utils import count_errors, fit, load_mnist, pick_device, save_weights, seed_everything

RUNS = {"10 epochs": (3,)}
SETTINGS = {"epochs": 10, "lr": 0.9, "batch_size": 64}
LOAD = {"size": 28, "scaling": "standard"}


def train(kind, seed, checkpoint):
    """Train one network from `seed`, save its weights, and return its run."""
    train, test = (load_mnist(train=part, device=pick_device(), **LOAD) for part in (True, False))
    seed_everything(seed)
    net = tutorial_lenet()
    history = fit(net, train, test, seed=seed, plot=False, **SETTINGS)
    weights = f"weights/tutorial_lenet/seed{seed}.safetensors"
    save_weights(net, record.ROOT / weights)
    found = {"network": net.network, "load_mnist": LOAD, "settings": SETTINGS, "weights": weights}
    return [found | {"test_errors": count_errors(net, test), "history": history}]


PARTS = {"runs": ("tutorial_lenet", RUNS, train)}

if __name__ == "__main__":
    record.main("tutorial_lenet", __doc__, PARTS)
