"""The tutorial network of notebook 04, 10 epochs on all 60,000 digits, three seeds.

    python experiments/tutorial_lenet.py        a minute a seed on two CPU cores

Nothing is chosen here: the settings are d2l's (learning rate 0.9, 10 epochs) with batch size 64, and each
test error is that of the last epoch. Writes results/tutorial_lenet.json after every seed and skips the
seeds that it already holds.
"""

import json
import sys

from record import ROOT, new_record, write_record

sys.path.insert(0, str(ROOT))

from lenet_utils import fit, load_mnist, pick_device, save_weights, seed_everything, tutorial_lenet  # noqa: E402

RESULTS = ROOT / "results" / "tutorial_lenet.json"
SETTINGS = {"epochs": 10, "lr": 0.9, "batch_size": 64}
LOAD = {"size": 28, "scaling": "standard"}


def train(seed):
    """Train one network from `seed`, save its weights, and return its run."""
    device = pick_device()
    test = load_mnist(train=False, device=device, **LOAD)
    seed_everything(seed)
    net = tutorial_lenet()
    history = fit(net, load_mnist(train=True, device=device, **LOAD), test, seed=seed, plot=False, **SETTINGS)
    weights = f"weights/tutorial_lenet_seed{seed}.safetensors"
    save_weights(net, ROOT / weights)
    return {
        "seed": seed,
        "network": net.network,
        "load_mnist": LOAD,
        "settings": SETTINGS,
        "weights": weights,
        "test_errors": round((1 - history["test_accuracy"][-1]) * len(test[1])),
        "history": history,
    }


if __name__ == "__main__":
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else new_record("python experiments/tutorial_lenet.py")
    for seed in range(3):
        if any(run["seed"] == seed for run in record["runs"]):
            continue
        record["runs"].append(train(seed))
        write_record(RESULTS, record)
        print(f"seed {seed}: {record['runs'][-1]['test_errors']} test errors")
