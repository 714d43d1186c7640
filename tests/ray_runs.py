"""An experiment of seconds, for test_ray.py: a network a seed, a checkpoint an epoch, and a log of every epoch.

Where it keeps its results is in the environment: RAY_TEST_FOLDER.
"""

import os
import time
from pathlib import Path

import torch

from experiments import on_ray, record
from lenet import tutorial_lenet
from lenet_utils import count_errors, fit, load_mnist, save_weights

FOLDER = Path(os.environ["RAY_TEST_FOLDER"])
record.ROOT = record.RESULTS = FOLDER
record.CHECKPOINTS = FOLDER / "unfinished"


def train(kind, seed, checkpoint):
    epochs = KINDS[kind][0]
    digits = [part[:600] for part in load_mnist(train=True, size=28)]
    torch.manual_seed(seed)
    net, history = tutorial_lenet(), None
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        history = saved["history"]
    for epoch in range(len(history["seconds"]) if history else 0, epochs):
        history = fit(net, digits, digits, epochs=epoch + 1, lr=0.5, seed=seed, plot=False, history=history)
        time.sleep(0.2 if len(history["seconds"]) > 4 else 0)  # so that a test can kill a node meanwhile
        record.save_checkpoint(checkpoint, {"net": net.state_dict(), "history": history})
        with (FOLDER / "log").open("a", encoding="utf-8") as log:
            log.write(f"{kind} {seed} {epoch} {os.getpid()}\n")
    if kind == "broken":
        raise RuntimeError("the network is out of order")
    weights = f"{kind}_{seed}.safetensors"
    save_weights(net, record.ROOT / weights)
    return [{"weights": weights, "train_errors": count_errors(net, digits)}]


# Epochs and seeds.
KINDS = {"short": (2, 4), "long": (25, 2), "shared": (2, 4), "broken": (1, 1)}
PARTS = {"runs": ("found", KINDS, train)}

if __name__ == "__main__":
    import sys

    address, *chosen = sys.argv[1:]
    kinds = {kind: KINDS[kind] for kind in chosen}
    torch.set_num_threads(1)
    if address == "none":
        record.do_missing("found", "command", kinds, train)
    else:
        on_ray.do_missing("found", "command", kinds, "ray_runs", "runs", address=address)
