"""The ladder of notebook 06: from LeNet-5 as published to a modern one, one change a rung.

    python -m experiments.modern_lenet choices      settings tried on the validation split
    python -m experiments.modern_lenet runs         every rung, on all 60,000 training digits

A run of 12 epochs takes 1 to 1.5 minutes on one CPU core, one of the long rung about 10; give two processes different
kinds or seeds to use two cores. A checkpoint is stored after every epoch in experiments/unfinished/, and the same
command goes on from there. `choices` trains on the first 50,000 training digits, counts errors on the last 10,000, and
never loads the test set; it writes results/modern_lenet_choices.json. `runs` writes results/modern_lenet.json and
weights/modern_lenet/; it looks at the test set once a run, after the last epoch.
"""

import json
import math
import re
import time
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from experiments import record
from experiments.original_1998 import map_loss, warp
from lenet import LeNet5, ScaledTanh, modern_lenet, tutorial_lenet
from lenet_utils import count_errors, epoch_order, load_mnist, load_weights, save_weights

# ------------------------------------------------------------------------------------------------ networks

ACTIVATIONS = {"tanh": ScaledTanh, "ReLU": nn.ReLU, "SiLU": nn.SiLU}


def ladder_network(output="rbf", activation="tanh", pooling="subsample", norm=False, dropout=0.0):
    """Return a network of the ladder: LeNet-5's layers and first weights, with what the arguments change.

    output: "rbf" (distances to the bitmaps) or "linear" (logits). activation: "tanh" (the paper's), "ReLU" or "SiLU".
    pooling: "subsample" (the average of the paper's S2 and S4, after C1's and C3's activation) or "max" (in the place
    of that activation). norm: normalise S2, S4, C5 and F6 over the batch; in S2 and S4 the factor and the bias of the
    normalisation are the trainable ones of the paper's subsampling. dropout: share of C5's activations left out.
    Images [N, 1, 32, 32] in. With "linear", "SiLU", "subsample" and norm it is lenet.modern_lenet().
    """
    old, activate = LeNet5(), ACTIVATIONS[activation]

    def normed(kind, channels):
        return [kind(channels)] if norm else []

    if pooling == "max":
        c1, c3 = old.c1, old.c3
        s2, s4 = ([nn.MaxPool2d(2), *normed(nn.BatchNorm2d, maps)] for maps in (6, 16))
    else:
        c1, c3 = (nn.Sequential(layer, activate()) for layer in (old.c1, old.c3))
        s2, s4 = ([nn.AvgPool2d(2), nn.BatchNorm2d(maps)] for maps in (6, 16)) if norm else ([old.s2], [old.s4])
    s2, s4 = (nn.Sequential(*layers, activate()) for layers in (s2, s4))
    c5 = nn.Sequential(old.c5, nn.Flatten(), *normed(nn.BatchNorm1d, 120), activate())
    if dropout:
        c5.append(nn.Dropout(dropout))
    f6 = nn.Sequential(old.f6, *normed(nn.BatchNorm1d, 84), activate())
    last = old.output if output == "rbf" else nn.Linear(84, 10)
    net = nn.Sequential(OrderedDict(c1=c1, s2=s2, c3=c3, s4=s4, c5=c5, f6=f6, output=last))
    options = f"{output=}, {activation=}, {pooling=}, {norm=}, {dropout=}"
    net.network = f"ladder_network({options})"
    return net


# -------------------------------------------------------------------------------------------- augmentation

# Largest change either way at strength 1: degrees, share of the size, width against height, slope, pixels.
AFFINE = {"rotation": 5, "scale": 0.05, "squeeze": 0.035, "shear": 0.1, "shift": 0.5}
# Elastic: a grid of NODES x NODES over the image, each node pushed by a normal deviate in x and y (at strength 1, a
# standard deviation of 0.6 pixels), and everything between the nodes by bicubic interpolation.
NODES, PUSH = 6, 0.6


def augment(images, affine, elastic, generator):
    """Return the images rotated, scaled, squeezed, sheared, shifted and bent, each in its own random way.

    images: float32 [N, 1, side, side] in the paper's scaling, on any device. affine, elastic: strengths, as factors on
    AFFINE and PUSH. generator: torch.Generator on the images' device. All digits go through one affine_grid, one
    matrix product and one grid_sample; bent digits are the idea of Simard, Steinkraus and Platt (2003).
    """
    count, side, device = len(images), images.shape[-1], images.device
    draws = torch.rand(6, count, generator=generator, device=device) * 2 - 1
    limits = [AFFINE[name] for name in ("rotation", "scale", "squeeze", "shear", "shift", "shift")]
    angle, zoom, squeeze, shear, right, down = draws * affine * draws.new_tensor(limits)[:, None]
    angle, zoom, squeeze = angle * math.pi / 180, zoom.exp(), squeeze.exp()
    # The matrix leads from a pixel of the result back to the original; coordinates run from -1 to 1.
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    x_row = torch.stack([cos * squeeze, (cos * shear - sin) / squeeze, 2 * right / side], dim=1)
    y_row = torch.stack([sin * squeeze, (sin * shear + cos) / squeeze, 2 * down / side], dim=1)
    bend = 0
    if elastic:
        pushes = torch.randn(count, 2, NODES, NODES, generator=generator, device=device) * elastic * PUSH * 2 / side
        # Interpolation is linear, and the same for rows and columns: one matrix [side, NODES] does it for all digits.
        nodes = torch.eye(NODES, device=device)[None, None]
        between = F.interpolate(nodes, (side, NODES), mode="bicubic", align_corners=True)[0, 0]
        bend = (between @ pushes @ between.T).permute(0, 2, 3, 1)
    return warp(images, torch.stack([x_row, y_row], dim=1), bend)


# ------------------------------------------------------------------------------------------------ training

# The first rung: the 1998 network and criterion, and AdamW in mini-batches in place of one digit at a time. j: of the
# criterion; None leaves its rubbish class out, and what remains is the softmax of minus the distances. lr:
# AdamW's largest rate (one-cycle). smoothing: of the labels. affine, elastic: strengths of augment. half_life: of the
# running average of the weights, in epochs; 0 for none.
START = {
    "output": "rbf", "j": 0.1, "activation": "tanh", "pooling": "subsample", "norm": False, "dropout": 0.0,
    "smoothing": 0.0, "lr": 0.006, "weight_decay": 0.01, "batch_size": 128, "affine": 0.0, "elastic": 0.0,
    "half_life": 0.0, "epochs": 12,
}  # fmt: skip
NETWORK = ("output", "activation", "pooling", "norm", "dropout")


def build(settings):
    """Return the network of `settings` (see START); its `network` is the call that makes it again."""
    if settings["output"] == "tutorial":
        return tutorial_lenet()
    if all(settings[name] == BEST[name] for name in NETWORK):
        return modern_lenet()
    return ladder_network(**{name: settings[name] for name in NETWORK})


def train(settings, seed, data, checkpoint=None):
    """Train the network of `settings` (see START); return it, the running average of its weights, and the history.

    seed: of the first weights, of the order of each epoch, of augmentation and dropout. data: pair (images
    [N, 1, 32, 32], labels [N]); the network is trained where they are. checkpoint: path of the file that keeps
    everything after every epoch; training goes on from there if it exists.

    The history holds, an epoch: train_loss and train_accuracy (on the augmented digits, as the network then was) and
    seconds. Without a half_life there is no running average: None is returned in its place.
    """
    images, labels = data
    device, count = images.device, len(labels)
    epochs, batch_size = settings["epochs"], settings["batch_size"]
    torch.manual_seed(seed)
    net = build(settings).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"], fused=True
    )
    steps = math.ceil(count / batch_size)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=settings["lr"], total_steps=epochs * steps)
    parts, history = {"net": net, "optimizer": optimizer, "scheduler": scheduler}, {}
    if settings["half_life"]:
        decay = 0.5 ** (1 / (settings["half_life"] * steps))
        parts["average"] = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay))
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint)
        history = saved["history"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    for epoch in range(len(history.get("seconds", [])), epochs):
        start = time.perf_counter()
        net.train()
        torch.manual_seed(1000 * seed + epoch)  # dropout
        generator = torch.Generator(device).manual_seed(1000 * seed + epoch)
        order = epoch_order(count, seed, epoch).to(device)
        loss_sum, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        for batch in order.split(batch_size):
            inputs, targets = images[batch], labels[batch]
            if settings["affine"] or settings["elastic"]:
                inputs = augment(inputs, settings["affine"], settings["elastic"], generator)
            outputs = net(inputs)
            logits = -outputs if settings["output"] == "rbf" else outputs
            if settings["output"] == "rbf" and settings["j"] is not None:
                loss = map_loss(outputs, targets, settings["j"])
            else:
                loss = F.cross_entropy(logits, targets, label_smoothing=settings["smoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if settings["half_life"]:
                parts["average"].update_parameters(net)
            loss_sum += loss.detach() * len(batch)
            correct += (logits.argmax(dim=1) == targets).sum()
        found = {"train_loss": loss_sum.item() / count, "train_accuracy": correct.item() / count}
        for name, value in (found | {"seconds": round(time.perf_counter() - start, 1)}).items():
            history.setdefault(name, []).append(value)
        if checkpoint:
            states = {name: part.state_dict() for name, part in parts.items()}
            record.save_checkpoint(checkpoint, {"history": history} | states)
    return net, parts["average"].module if settings["half_life"] else None, history


# ----------------------------------------------------------------------------------------- choices and runs

# The ladder: each rung keeps what the rungs below it changed and adds its own change. Rung 0 is notebook 05's training
# one digit at a time (results/original_1998.json).
LADDER = {
    "AdamW": {},
    "softmax": {"j": None},
    "cross-entropy": {"output": "linear"},
    "SiLU": {"activation": "SiLU"},
    "batch normalisation": {"norm": True},
    "affine": {"affine": 1.0},
    "elastic": {"elastic": 1.0},
    "label smoothing": {"smoothing": 0.1},
    "larger rate": {"lr": 0.024},
    "60 epochs": {"epochs": 60, "half_life": 3.0},
}
# Comes out of the same training as the last rung: its running average of the weights. It did not help.
AVERAGE = "weights averaged"
# Above the ladder, no longer one network: the mean of the probabilities of the last rung's five networks.
ENSEMBLE = "ensemble of five"


def rung(name):
    """Return the whole settings of a rung of LADDER."""
    names = list(LADDER)
    settings = dict(START)
    for step in names[: names.index(name) + 1]:
        settings |= LADDER[step]
    return settings


BEST = rung("60 epochs")


CHOICES = {  # the rung it starts from, overrides, and how many seeds
    "AdamW": ("AdamW", {}, 3),
    "AdamW, rate 0.003": ("AdamW", {"lr": 0.003}, 3),
    "AdamW, rate 0.012": ("AdamW", {"lr": 0.012}, 3),
    "SiLU": ("SiLU", {}, 3),
    "ReLU": ("SiLU", {"activation": "ReLU"}, 3),
    "SiLU, rate 0.024": ("SiLU", {"lr": 0.024}, 3),
    "SiLU, max pooling": ("SiLU", {"pooling": "max"}, 3),
    "batch normalisation": ("batch normalisation", {}, 3),
    "batch normalisation, rate 0.024": ("batch normalisation", {"lr": 0.024}, 3),
    "batch normalisation, max pooling": ("batch normalisation", {"pooling": "max"}, 3),
    "affine": ("affine", {}, 3),
    "affine, doubled": ("affine", {"affine": 2.0}, 3),
    "elastic": ("elastic", {}, 3),
    "elastic, doubled": ("elastic", {"elastic": 2.0}, 3),
    "dropout 0.2 after C5": ("elastic", {"dropout": 0.2}, 3),
    "label smoothing": ("label smoothing", {}, 3),
    "label smoothing, rate 0.003": ("label smoothing", {"lr": 0.003}, 3),
    "label smoothing, rate 0.012": ("label smoothing", {"lr": 0.012}, 3),
    "label smoothing, rate 0.024": ("label smoothing", {"lr": 0.024}, 3),
    "label smoothing, rate 0.048": ("label smoothing", {"lr": 0.048}, 3),
    "larger rate, weight decay 0.05": ("larger rate", {"weight_decay": 0.05}, 3),
    "60 epochs": ("60 epochs", {}, 2),
    "60 epochs, affine doubled": ("60 epochs", {"affine": 2.0}, 2),
    "120 epochs": ("60 epochs", {"epochs": 120}, 2),
}

# The full runs: their settings, and how many seeds.
# Ten seeds for the steps that five left open, as far as there was time: decided after looking at five.
TEN = ("AdamW", "softmax", "cross-entropy", "SiLU", "affine")
RUNS = {name: (rung(name), 10 if name in TEN else 5) for name in LADDER}
RUNS["max pooling"] = (rung("SiLU") | {"pooling": "max"}, 5)  # no rung: it did not help
RUNS["4 epochs"] = (rung("batch normalisation") | {"epochs": 4}, 5)  # for a network of 99 % in a minute
# The network of notebook 04 with the optimiser and the distorted digits of the ladder.
RUNS["tutorial network"] = (rung("elastic") | {"output": "tutorial"}, 5)


def run_choices(kind, seed, checkpoint):
    """Train one of CHOICES on the first 50,000 training digits and count errors on the last 10,000."""
    below, overrides, _ = CHOICES[kind]
    settings = rung(below) | overrides
    digits = load_mnist(train=True, scaling="paper")
    net, average, history = train(settings, seed, [part[:50_000] for part in digits], checkpoint)
    validation = [part[50_000:] for part in digits]
    found = {"validation_errors": count_errors(net, validation)}
    if average:
        found["averaged_validation_errors"] = count_errors(average, validation)
    return [{"below": below, "settings": settings} | found | {"history": history}]


def run_full(kind, seed, checkpoint):
    """Train one of RUNS on all its digits, then count its test errors, and those of its running average."""
    settings, _ = RUNS[kind]
    load = {"size": 28 if settings["output"] == "tutorial" else 32, "scaling": "paper"}
    net, average, history = train(settings, seed, load_mnist(train=True, **load), checkpoint)
    test, runs = load_mnist(train=False, **load), []
    for name, trained in ((kind, net), (AVERAGE, average)):
        if trained:
            trained.network = build(settings).network
            file = re.sub(r"\W+", "_", name).lower()
            weights = f"weights/modern_lenet/{file}_seed{seed}.safetensors"
            save_weights(trained, record.ROOT / weights)
            found = {"network": trained.network, "load_mnist": load, "weights": weights}
            found["test_errors"] = count_errors(trained, test)
            runs.append({"kind": name, "settings": settings} | found | {"history": history})
    return runs


def ensemble_classes(nets, images):
    """Return the class, int64 [N], that the mean of the networks' softmax probabilities makes largest."""
    with torch.no_grad():
        probabilities = [torch.cat([net.eval()(piece).softmax(dim=1) for piece in images.split(250)]) for net in nets]
    return torch.stack(probabilities).mean(dim=0).argmax(dim=1)


def add_ensemble(name, kind, make):
    """Add the ensemble of a kind's five networks to the record results/`name`.json, once they are all there.

    make() builds such a network.
    """
    path = record.RESULTS / f"{name}.json"
    with record.locked(path):  # another process may be adding its run
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
        members = [run for run in stored["runs"] if run["kind"] == kind]
        if len(members) < 5 or any(run["kind"] == ENSEMBLE for run in stored["runs"]):
            return
        nets = [load_weights(make(), record.ROOT / run["weights"]) for run in members]
        images, labels = load_mnist(train=False, **members[0]["load_mnist"])
        errors = (ensemble_classes(nets, images) != labels).sum().item()
        stored["runs"].append({"kind": ENSEMBLE, "members": [run["weights"] for run in members], "test_errors": errors})
        record.write_record(path, stored)
    print(f"{ENSEMBLE}: {errors} errors", flush=True)


PARTS = {"choices": ("modern_lenet_choices", CHOICES, run_choices), "runs": ("modern_lenet", RUNS, run_full)}

if __name__ == "__main__":
    torch.set_num_threads(1)  # two runs side by side use two cores better than one run on both
    record.main("modern_lenet", __doc__, PARTS)
    add_ensemble("modern_lenet", "60 epochs", modern_lenet)
