"""Past the ladder of notebook 06: modern_lenet with every connection in C3, and the patience for it.

    python -m experiments.full_lenet choices     table or every connection, labels or teachers, on the validation split
    python -m experiments.full_lenet runs        the best of them, on all 60,000 training digits

modern_kernel.py trains, on one core, at two to three seconds a pass over 60,000 digits. Every digit is distorted 40
times, once for all runs, and the teachers of distilled_lenet say what they read (the learners of labels use the same
file); both are kept in experiments/unfinished/ (2.5 gigabytes; 20 to 25 seconds a distortion of all digits, on one
core). `choices` trains on the first 50,000 training digits and counts errors on the last 10,000; `runs` looks at the
test set once a run, after the last epoch, and once for the five together. Results: results/full_lenet.json,
results/full_lenet_choices.json and weights/full_lenet/.
"""

import time

import torch
from filelock import FileLock

from experiments import distilled_lenet, record, speed
from experiments.modern_kernel import Kernel, full_lenet, plain_lenet
from experiments.modern_lenet import add_ensemble
from experiments.own_kernel import ADAMW
from lenet import modern_lenet
from lenet_utils import count_errors, epoch_order, load_mnist, load_weights, save_weights

NETWORKS = {"the table": modern_lenet, "the table, plain": plain_lenet, "every connection": full_lenet}
# c3: the network, by NETWORKS. targets: what the network learns, of the labels, smoothed, or of three teachers. pool:
# distortions of each digit; epochs: passes over them all. affine, elastic: strengths of modern_lenet.augment.
START = {
    "c3": "the table", "targets": "labels", "pool": 40, "epochs": 5, "teachers": 3, "affine": 2.0, "elastic": 1.0,
    "batch_size": 256, "lr": 0.024, "weight_decay": 0.01, "smoothing": 0.1,
}  # fmt: skip


def train(settings, seed, pool, count, checkpoint=None):
    """Train the network of `settings` on the first `count` digits; return it, and the history: loss and seconds.

    pool: distorted digits uint8 [pool, N, 32, 32] and targets, probabilities float32 [pool, N, 10]. checkpoint: path of
    the file that keeps everything after every epoch; training goes on from there if it exists.
    """
    distorted, targets = pool
    torch.manual_seed(seed)
    net = NETWORKS[settings["c3"]]()
    history, kept = {"train_loss": [], "seconds": []}, {}
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        history, kept = saved["history"], {name: saved[name] for name in ("moments", "steps_done")}
    adamw = ADAMW | {"decay": settings["weight_decay"]}
    kernel = Kernel(net, distorted.flatten(0, 1), targets.flatten(0, 1), adamw, **kept)
    # Places of the first `count` digits of each distortion.
    places = (torch.arange(len(distorted))[:, None] * distorted.shape[1] + torch.arange(count)).flatten()
    epochs, batch_size = settings["epochs"], settings["batch_size"]
    steps = len(places) // batch_size
    lrs = speed.one_cycle(settings["lr"], epochs * steps).view(epochs, steps)
    for epoch in range(len(history["seconds"]), epochs):
        start = time.perf_counter()
        order = places[epoch_order(len(places), seed, epoch)[: steps * batch_size]]
        history["train_loss"].append(kernel.train(order.view(steps, batch_size), lrs[epoch]))
        history["seconds"].append(round(time.perf_counter() - start, 1))
        if checkpoint:
            state = {"net": net.state_dict(), "moments": kernel.moments, "steps_done": kernel.steps_done}
            record.save_checkpoint(checkpoint, state | {"history": history})
    return net, history


def shared_pool(settings):
    """Return distorted digits uint8 [pool, 60000, 32, 32] and targets, float32 [pool, 60000, 10].

    The first run draws them, and has the teachers judge them, and keeps both beside the checkpoints for the others.
    """
    path = record.CHECKPOINTS / "full_lenet_pool_{pool}_{teachers}_{affine}_{elastic}.pt".format(**settings)
    images, labels = load_mnist(train=True, scaling="paper")
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            files = [record.ROOT / distilled_lenet.teacher_weights(seed) for seed in range(settings["teachers"])]
            nets = [load_weights(distilled_lenet.teacher_network(), file) for file in files]
            distorted, judged = distilled_lenet.make_pool(nets, settings, images)
            torch.save((distorted.squeeze(2), judged), path)
    distorted, judged = torch.load(path, mmap=True)
    if settings["targets"] == "labels":
        judged = distilled_lenet.smoothed(labels, settings["smoothing"])[None].expand(settings["pool"], -1, -1)
    return distorted, judged.float().softmax(dim=2)


# ----------------------------------------------------------------------------------------- choices and runs

FULL = START | {"c3": "every connection"}
CHOICES = {
    "the table": (START, 3),
    "the table, plain": (START | {"c3": "the table, plain"}, 3),
    "every connection": (FULL, 3),
    "every connection, teachers": (FULL | {"targets": "teachers"}, 3),
}
RUNS = {"every connection": (FULL, 5)}


def run_choice(kind, seed, checkpoint):
    """Train one of CHOICES on the first 50,000 training digits and count errors on the last 10,000."""
    settings, _ = CHOICES[kind]
    net, history = train(settings, seed, shared_pool(settings), 50_000, checkpoint)
    validation = [part[50_000:] for part in load_mnist(train=True, scaling="paper")]
    return [{"settings": settings, "validation_errors": count_errors(net, validation), "history": history}]


def run_full(kind, seed, checkpoint):
    """Train one of RUNS on all training digits, then count its test errors."""
    settings, _ = RUNS[kind]
    net, history = train(settings, seed, shared_pool(settings), 60_000, checkpoint)
    load = {"size": 32, "scaling": "paper"}
    weights = f"weights/full_lenet/every_connection_seed{seed}.safetensors"
    save_weights(net, record.ROOT / weights)
    found = {"network": net.network, "load_mnist": load, "settings": settings, "weights": weights}
    return [found | {"test_errors": count_errors(net, load_mnist(train=False, **load)), "history": history}]


PARTS = {"choices": ("full_lenet_choices", CHOICES, run_choice), "runs": ("full_lenet", RUNS, run_full)}

if __name__ == "__main__":
    torch.set_num_threads(1)  # two runs side by side use two cores better than one run on both
    record.main("full_lenet", __doc__, PARTS)
    add_ensemble("full_lenet", "every connection", full_lenet)
