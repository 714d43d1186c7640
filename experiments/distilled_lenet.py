"""Can larger networks teach modern_lenet? Notebook 06's attempt.

    python -m experiments.distilled_lenet runs        the teachers
    python -m experiments.distilled_lenet choices     their students, and students of the labels beside them

A teacher is a convolutional network of 298,314 parameters (teacher_network), trained on the first 50,000 training
digits. A student is a modern_lenet that sees distorted digits and learns the probabilities that the teachers together
give to just these pictures, or, to compare, the labels. Teachers and students count their errors on the last 10,000
training digits; only the teachers count test errors, too, once, after the last epoch. Results:
results/distilled_lenet.json, results/distilled_lenet_choices.json and weights/distilled_lenet/.
"""

import time

import torch
from filelock import FileLock
from torch import nn
from torch.nn import functional as F

from experiments import record, speed
from experiments.modern_lenet import augment
from lenet import modern_lenet
from lenet_utils import (
    BACKGROUND,
    FOREGROUND,
    count_errors,
    epoch_order,
    load_mnist,
    load_weights,
    pick_device,
    save_weights,
)

# ------------------------------------------------------------------------------------------------ networks


def teacher_network(width=32):
    """Return a convolutional network of today, 298,314 parameters at width 32: what a budget of 61,706 rules out.

    Images [N, 1, 32, 32] in, logits [N, 10] out. A 6 x 6 convolution with stride 2 (`width` maps of 16 x 16), then
    three pairs of 3 x 3 convolutions of width, 2 width and 4 width maps, each pair followed by max pooling; every
    convolution is followed by batch normalisation and a ReLU. The linear layer sees the mean of each of the last maps.
    """

    def block(before, after, **shape):
        return nn.Conv2d(before, after, bias=False, **shape), nn.BatchNorm2d(after), nn.ReLU()

    layers, maps = [*block(1, width, kernel_size=6, stride=2, padding=2)], width
    for wider in (width, 2 * width, 4 * width):
        layers += block(maps, wider, kernel_size=3, padding=1)
        layers += [*block(wider, wider, kernel_size=3, padding=1), nn.MaxPool2d(2)]
        maps = wider
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, 10))
    net.network = f"teacher_network({width=})"
    return net


# ------------------------------------------------------------------------------------------------ training

# lr: AdamW's largest rate (one-cycle). affine, elastic: strengths of augment. smoothing: of the labels. bfloat16: let
# PyTorch compute the convolutions in it.
TEACHER = {
    "width": 32, "epochs": 40, "batch_size": 256, "lr": 0.01, "weight_decay": 0.05, "affine": 2.0, "elastic": 1.0,
    "smoothing": 0.05, "bfloat16": True,
}  # fmt: skip


# targets: what the student learns, of the teachers or the (smoothed) labels. teachers: how many, those of the first
# seeds. pool: how many distortions of each digit there are; epochs: passes over them all. affine, elastic: strengths of
# augment. temperature: a divisor of the logarithms of the targets, and of the student's logits; above 1 it makes small
# probabilities count for more.
STUDENT = {
    "targets": "teachers", "teachers": 3, "pool": 10, "affine": 2.0, "elastic": 1.0, "temperature": 1.0, "epochs": 3,
    "batch_size": 256, "lr": 0.024, "weight_decay": 0.01, "smoothing": 0.1, "bfloat16": False,
}  # fmt: skip


class Training:
    """A network trained by AdamW at one-cycle rates; on CUDA by graphs of eight steps.

    net: any with logits. settings: epochs, batch_size, lr, weight_decay, bfloat16 (see TEACHER). seed: of the order of
    the epochs. draw(batch, generator): the images and targets of the examples `batch` int64 [B], which run from 0 to
    count - 1. loss(logits, targets): what is made small. device: of `batch`, and where the network is trained.
    """

    def __init__(self, net, settings, seed, draw, loss, count, device):
        self.settings, self.seed, self.draw, self.loss = settings, seed, draw, loss
        self.count, self.device = count, device
        self.net = net.to(device, memory_format=torch.channels_last).train()
        self.generator = torch.Generator(device)
        self.loss_sum = torch.zeros((), device=device)
        on_cuda = device.type == "cuda"
        lr = torch.tensor(float(settings["lr"]), device=device)
        self.optimizer = torch.optim.AdamW(
            net.parameters(), lr=lr, weight_decay=settings["weight_decay"], fused=True, capturable=on_cuda
        )
        for parameter in net.parameters():  # its moments must exist before a graph is recorded
            state = self.optimizer.state[parameter]
            state["step"] = torch.zeros((), device=device)
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
        moments = [tensor for of_weight in self.optimizer.state.values() for tensor in of_weight.values()]
        changed = [*net.state_dict().values(), *moments, self.loss_sum]
        self.replay = speed.Replay(self.step, 8 if on_cuda else 1, settings["batch_size"], lr, changed, self.generator)

    def step(self, batch):
        """Train on the examples `batch`."""
        inputs, targets = self.draw(batch, self.generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings["bfloat16"]):
            logits = self.net(inputs)
        loss = self.loss(logits.float(), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()

    def train(self, checkpoint=None):
        """Train all epochs; return the network and the history: train_loss and seconds, an epoch each.

        checkpoint: path of the file that keeps everything after every epoch; training goes on from there if it exists.
        Examples that do not fill an epoch's last step, or last graph, are left out of that epoch.
        """
        epochs, batch_size = self.settings["epochs"], self.settings["batch_size"]
        steps = self.count // batch_size // self.replay.steps * self.replay.steps
        lrs = speed.one_cycle(self.settings["lr"], epochs * steps).to(self.device).view(epochs, steps)
        history = self._load(checkpoint) if checkpoint and checkpoint.exists() else {"train_loss": [], "seconds": []}
        for epoch in range(len(history["seconds"]), epochs):
            start = time.perf_counter()
            self.generator.manual_seed(1000 * self.seed + epoch)
            self.loss_sum.zero_()
            order = epoch_order(self.count, self.seed, epoch)[: steps * batch_size].to(self.device)
            self.replay.run(order.view(steps, batch_size), lrs[epoch])
            history["train_loss"].append(self.loss_sum.item() / steps)
            history["seconds"].append(round(time.perf_counter() - start, 2))
            if checkpoint:
                states = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
                record.save_checkpoint(checkpoint, {"history": history} | states)
        return self.net, history

    def _load(self, checkpoint):
        """Take weights and moments from the file, into the tensors that a graph has recorded."""
        saved = torch.load(checkpoint, map_location=self.device)
        self.net.load_state_dict(saved["net"])
        for number, parameter in enumerate(self.net.parameters()):
            for name, tensor in self.optimizer.state[parameter].items():
                tensor.copy_(saved["optimizer"]["state"][number][name])
        return saved["history"]


def train_teacher(settings, seed, data, checkpoint=None):
    """Train a teacher on distortions of the digits `data`, images [N, 1, 32, 32] and labels; return it, and history."""
    images, labels = data

    def draw(batch, generator):
        return augment(images[batch], settings["affine"], settings["elastic"], generator), labels[batch]

    def loss(logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=settings["smoothing"])

    torch.manual_seed(seed)
    net = teacher_network(settings["width"])
    return Training(net, settings, seed, draw, loss, len(labels), images.device).train(checkpoint)


def judge(nets, images):
    """Return the mean of the networks' log-probabilities, float32 [N, 10]: the logarithm of what they agree on."""
    with torch.no_grad():
        found = torch.stack([net(images).float().log_softmax(dim=1) for net in nets])
    return found.mean(dim=0).log_softmax(dim=1)


def make_pool(nets, settings, images):
    """Return distorted digits, uint8 [pool, N, 1, 32, 32], and what the networks say of them, float16 [pool, N, 10].

    images: float32 [N, 1, 32, 32] in the paper's scaling; the distorted digits hold 0 for BACKGROUND and 255 for
    FOREGROUND. What the networks say are log-probabilities.
    """
    count, device = len(images), images.device
    distorted = torch.empty(settings["pool"], count, *images.shape[1:], dtype=torch.uint8, device=device)
    judged = torch.empty(settings["pool"], count, 10, dtype=torch.float16, device=device)
    for net in nets:
        net.to(device, memory_format=torch.channels_last).eval()
    for number in range(settings["pool"]):
        generator = torch.Generator(device).manual_seed(number)
        for first in range(0, count, 500):
            some = slice(first, first + 500)
            inputs = augment(images[some], settings["affine"], settings["elastic"], generator)
            distorted[number, some] = ((inputs - BACKGROUND) / STEP).round().clamp(0, 255).byte()
            with torch.autocast(device.type, torch.bfloat16):
                judged[number, some] = judge(nets, as_floats(distorted[number, some])).half()
    return distorted, judged


STEP = (FOREGROUND - BACKGROUND) / 255  # between two greys


def as_floats(greys):
    """Return images uint8, 0 to 255, in the paper's scaling."""
    return greys.float() * STEP + BACKGROUND


def train_student(settings, seed, pool, checkpoint=None):
    """Train modern_lenet on a pool: images as make_pool returns them, and log-probabilities; return it, and history."""
    distorted, targets = (part.flatten(0, 1) for part in pool)
    temperature = settings["temperature"]

    def draw(batch, generator):
        return as_floats(distorted[batch]), (targets[batch].float() / temperature).softmax(dim=1)

    def loss(logits, probabilities):
        return F.cross_entropy(logits / temperature, probabilities)

    torch.manual_seed(seed)
    training = Training(modern_lenet(), settings, seed, draw, loss, len(distorted), distorted.device)
    return training.train(checkpoint)


def smoothed(labels, smoothing):
    """Return the log-probabilities, float16 [N, 10], of smoothed labels: 1 - smoothing, and the rest shared by all."""
    return (F.one_hot(labels, 10) * (1 - smoothing) + smoothing / 10).log().half()


# ----------------------------------------------------------------------------------------- choices and runs

RUNS = {"teacher": (TEACHER, 3)}
CHOICES = {
    "labels": (STUDENT | {"targets": "labels"}, 3),
    "teachers": (STUDENT, 3),
    "teachers, temperature 2": (STUDENT | {"temperature": 2.0}, 3),
}


def run_teacher(kind, seed, checkpoint):
    """Train a teacher on the first 50,000 training digits; count errors on the last 10,000, and on the test digits."""
    settings, _ = RUNS[kind]
    load = {"size": 32, "scaling": "paper"}
    digits = load_mnist(train=True, device=pick_device(), **load)
    net, history = train_teacher(settings, seed, [part[:50_000] for part in digits], checkpoint)
    weights = teacher_weights(seed)
    save_weights(net, record.ROOT / weights)
    found = {"network": net.network, "load_mnist": load, "settings": settings, "weights": weights}
    found["validation_errors"] = count_errors(net, [part[50_000:] for part in digits])
    found["test_errors"] = count_errors(net, load_mnist(train=False, **load))
    return [found | {"history": history}]


def teacher_weights(seed):
    """Return where the weights of a teacher lie in the repository."""
    return f"weights/distilled_lenet/teacher_seed{seed}.safetensors"


def run_choice(kind, seed, checkpoint):
    """Train a student on a pool of the first 50,000 training digits and count errors on the last 10,000."""
    settings, _ = CHOICES[kind]
    images, labels = load_mnist(train=True, scaling="paper", device=pick_device())
    distorted, targets = shared_pool(settings, images[:50_000])
    if settings["targets"] == "labels":
        targets = smoothed(labels[:50_000], settings["smoothing"])[None].expand(settings["pool"], -1, -1)
    net, history = train_student(settings, seed, (distorted, targets), checkpoint)
    errors = count_errors(net, [images[50_000:], labels[50_000:]])
    return [{"settings": settings, "validation_errors": errors, "history": history}]


def shared_pool(settings, images):
    """Return the pool of `settings`, which the first run makes and keeps beside the checkpoints for the others."""
    path = record.CHECKPOINTS / "distilled_lenet_pool_{pool}_{teachers}_{affine}_{elastic}.pt".format(**settings)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            weights = [record.ROOT / teacher_weights(seed) for seed in range(settings["teachers"])]
            nets = [load_weights(teacher_network(), file) for file in weights]
            record.save_checkpoint(path, make_pool(nets, settings, images))
    return [part.to(images.device) for part in torch.load(path, mmap=True)]


PARTS = {"runs": ("distilled_lenet", RUNS, run_teacher), "choices": ("distilled_lenet_choices", CHOICES, run_choice)}

if __name__ == "__main__":
    torch.set_num_threads(1)  # two runs side by side use two cores better than one run on both
    record.main("distilled_lenet", __doc__, PARTS)
