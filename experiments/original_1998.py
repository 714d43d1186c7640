"""LeNet-5 trained as in 1998: one digit at a time, every weight with a step size of its own.

    python -m experiments.original_1998 choices      what the paper leaves open, on the validation split
    python -m experiments.original_1998 runs         the full runs: 60,000, distorted, 30,000 and 15,000 digits

A run of 20 passes over 60,000 digits takes a bit over a minute on one CPU core (one_by_one.cpp; without a C++ compiler
PyTorch does it, many times as slowly); give two processes different kinds or seeds to use two cores. A checkpoint is
stored after every pass in experiments/unfinished/, and the same command goes on from there. `choices` trains on the
first 50,000 training digits, counts errors on the last 10,000, and never loads the test set; it writes
results/original_1998_choices.json. `runs` writes results/original_1998.json and weights/original_1998/.
"""

import ctypes
import math
import time

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from experiments import compiled, record
from lenet import LeNet5, Subsample
from lenet_utils import BACKGROUND, count_errors, evaluate, load_mnist, save_weights

PASSES = 20
LEARNING_RATES = [0.0005] * 2 + [0.0002] * 3 + [0.0001] * 3 + [0.00005] * 4 + [0.00001] * 8  # the paper's, one a pass
MU = 0.02
CURVATURE_DIGITS = 500
LAYERS = ("c1", "s2", "c3", "s4", "c5", "f6")


def map_loss(distances, labels, j=0.1, s=1.0):
    """Return the paper's MAP criterion, the mean over the batch of y_D + log(e^-j + sum_i e^-y_i).

    distances: float [N, 10], squared distances to the bitmaps; y is s times them: but for a constant, minus the
    logarithm of a Gaussian of variance 1 / (2 s). labels: D, int64 [N]. j: a positive constant.
    Source: section II.C of the 1998 paper, which has no s; 1 is its letter.
    """
    scaled = s * distances
    rubbish = scaled.new_full((len(scaled), 1), -j)
    right = scaled.gather(1, labels[:, None])[:, 0]
    return (right + torch.logsumexp(torch.cat([rubbish, -scaled], dim=1), dim=1)).mean()


def class_shares(distances, j=0.1, s=1.0):
    """Return each class's share of e^-j + sum_i e^-y_i, [N, 10]: how much of each digit the classes claim."""
    scaled = s * distances
    rubbish = scaled.new_full((len(scaled), 1), -j)
    return torch.cat([rubbish, -scaled], dim=1).softmax(dim=1)[:, 1:]


# ------------------------------------------------------------------------------ second derivatives, step sizes


def loss_curvature(features, bitmaps, j=0.1, s=1.0, at_f6="exact"):
    """Return the second derivative of each pattern's MAP loss by each of its F6 units, [N, 84].

    features: the activations of F6, float [N, 84]. bitmaps: [10, 84]. at_f6: "exact"; or "constant", 2 s, that of the
    right class's distance alone, as the authors' later code has it (there s is 1/2).
    """
    if at_f6 == "constant":
        return torch.full_like(features, 2 * s)
    away = features[:, None] - bitmaps
    shares = class_shares(away.square().sum(dim=2), j, s)[..., None]
    slopes = 2 * s * away  # of each scaled distance by each unit
    mean = (shares * slopes).sum(dim=1)
    return 2 * s * (1 - shares.sum(dim=1)) + (shares * slopes.square()).sum(dim=1) - mean.square()


def layer_curvature(layer, inputs, by_sum):
    """Carry second derivatives back through one layer: [N, ...] by its weighted sums to those by its inputs.

    Returns them with a dict of those by the layer's parameters, summed over the N patterns and over every use
    of a shared weight.
    """
    if isinstance(layer, Subsample):
        sums = 4 * F.avg_pool2d(inputs, 2)
        by_input = by_sum * layer.coefficient.square()[:, None, None]
        by_input = by_input.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return by_input, {"coefficient": (by_sum * sums.square()).sum((0, 2, 3)), "bias": by_sum.sum((0, 2, 3))}
    # In a weighted sum the chain rule for these second derivatives is the ordinary one with squared weights and
    # squared inputs: so autograd does it, on the layer with both squared.
    squares = {name: value.detach().square().requires_grad_() for name, value in layer.named_parameters()}
    squared_inputs = inputs.detach().square().requires_grad_()
    with torch.enable_grad():
        outputs = functional_call(layer, squares, (squared_inputs,))
    by_input, *by_parameter = torch.autograd.grad(outputs, [squared_inputs, *squares.values()], by_sum)
    return by_input, dict(zip(squares, by_parameter, strict=True))


def walk(net, images):
    """Return what each of the six trained layers gets and its weighted sums, two dicts, and the activations of F6."""
    inputs, sums, maps = {}, {}, images
    with torch.no_grad():
        for name in LAYERS:
            inputs[name] = maps.flatten(1) if name == "f6" else maps
            sums[name] = getattr(net, name)(inputs[name])
            maps = net.squash(sums[name])
    return inputs, sums, maps


def curvature(net, images, j=0.1, s=1.0, at_f6="exact"):
    """Return h_kk of every parameter of a LeNet5: a dict of tensors with the parameters' names and shapes.

    The diagonal Gauss-Newton second derivatives of the MAP loss, averaged over the images [N, 1, 32, 32]. They do not
    depend on the labels. j, s, at_f6: as for loss_curvature.
    Source: section III of Appendix C, equations 31 to 39.
    """
    inputs, sums, features = walk(net, images)
    with torch.no_grad():
        by_output, found = loss_curvature(features, net.output.bitmaps, j, s, at_f6), {}
        for name in reversed(LAYERS):
            slope = 1.7159 * 2 / 3 * (1 - torch.tanh(2 / 3 * sums[name]).square())
            by_output = by_output.view_as(slope) * slope.square()
            by_output, by_parameter = layer_curvature(getattr(net, name), inputs[name], by_output)
            found |= {f"{name}.{parameter}": value / len(images) for parameter, value in by_parameter.items()}
    return {name: found[name] for name, _ in net.named_parameters()}


# How many times a layer uses each of its weights.
USES = {"c1": 28 * 28, "s2": 14 * 14, "c3": 10 * 10, "s4": 5 * 5, "c5": 1, "f6": 1}


def step_sizes(net, images, lr, j=0.1, s=1.0, at_f6="exact", shared="sum", mu=MU):
    """Return the step size lr / (mu + h_kk) of every parameter of a LeNet5, a dict (equation 21).

    images: float [N, 1, 32, 32], over which h_kk is averaged. j, s, at_f6: as for loss_curvature. shared: the
    curvature of a shared weight is the "sum" over its uses, as the paper has it, or their "mean".
    """
    found = curvature(net, images, j, s, at_f6)
    if shared == "mean":
        found = {name: h / USES[name[:2]] for name, h in found.items()}
    return {name: lr / (mu + h) for name, h in found.items()}


# ---------------------------------------------------------------------------------------- distorted digits

# Largest change either way: pixels, share of the size, share of width against height, slope of an upright line.
DISTORTION = {"shift": 1.5, "scale": 0.15, "squeeze": 0.1, "shear": 0.3}


def warp(images, matrices, bend=0, background=BACKGROUND):
    """Return images [N, 1, side, side] mapped by 2 x 3 `matrices` [N, 2, 3]; outside of them is `background`.

    A matrix leads from a place in the result back to one in the original; coordinates run from -1 to 1. bend: added to
    where it leads, [N, side, side, 2].
    """
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False) + bend
    return F.grid_sample(images - background, grid, align_corners=False) + background


def distort(images, draws):
    """Return the images shifted, scaled, squeezed and sheared, each in its own way.

    images: float32 [N, 1, 32, 32], scaled as the paper does (background -0.1). draws: [N, 5] in -1 to 1, how far
    each goes of DISTORTION: shift to the right and downwards, scale, squeeze (wider and lower, or the reverse),
    horizontal shear. Zero leaves an image as it is.
    """
    right, down, scale, squeeze, shear = (draws.to(images) * draws.new_tensor(
        [DISTORTION[name] for name in ("shift", "shift", "scale", "squeeze", "shear")])).T  # fmt: skip
    zoom = 1 / (1 + scale)
    x_row = torch.stack([zoom / (1 + squeeze), zoom * shear, -right / 16], dim=1)
    y_row = torch.stack([torch.zeros_like(zoom), zoom * (1 + squeeze), -down / 16], dim=1)
    return warp(images, torch.stack([x_row, y_row], dim=1))


def distorted_pass(images, labels, number, seed, strength=1.0):
    """Return pass `number` (0 to 19) of the enlarged set: images [N, 1, 32, 32] and their labels [N].

    The enlarged set has the N originals and nine distorted versions of each, 10 N in one constant random order;
    a pass is a tenth of it, so 20 passes go around it twice, and present as many digits as without it. strength:
    factor on DISTORTION.
    """
    count = len(images)
    generator = np.random.default_rng([seed, 540_000])
    block = generator.permutation(10 * count).reshape(10, count)[number % 10]
    version, place = np.divmod(block, count)  # version 0 is the original
    draws = strength * generator.uniform(-1, 1, (10, count, 5)).astype(np.float32)[version, place]
    draws[version == 0] = 0
    place, draws = torch.from_numpy(place), torch.from_numpy(draws)
    pieces = [distort(images[part], drawn) for part, drawn in zip(place.split(5000), draws.split(5000), strict=True)]
    return torch.cat(pieces), labels[place]


# ------------------------------------------------------------------------------------------------ training


def plain_pass(net, steps, images, labels, order, j=0.1, s=1.0):
    """Show `net` the digits of `order`, one after the other, and change every weight after each: the loop of 1998.

    steps: step sizes, a dict with the parameters' names. images: float32 [N, 1, 32, 32]. labels: int64 [N]. order:
    int64, places in them.
    """
    parameters = dict(net.named_parameters())
    for index in order.split(1):
        loss = map_loss(net(images[index]), labels[index], j, s)
        slopes = torch.autograd.grad(loss, parameters.values())
        with torch.no_grad():
            for (name, parameter), slope in zip(parameters.items(), slopes, strict=True):
                parameter -= steps[name] * slope


NO_MEMORY = "There is no memory for another 60,000 weights and their step sizes."


def train_pass(net, steps, images, labels, order, j=0.1, s=1.0):
    """Do what plain_pass does, in one_by_one.cpp if it can be compiled here; a test holds the two together."""
    try:
        kernel = compiled.library("one_by_one")
    except RuntimeError:
        return plain_pass(net, steps, images, labels, order, j, s)
    weights = parameters_to_vector(net.parameters()).detach()
    step_row = torch.cat([steps[name].flatten() for name, _ in net.named_parameters()])
    tensors = [weights, step_row, net.c3.positions, net.output.bitmaps, images.contiguous(), labels, order.contiguous()]
    count, kernels = ctypes.c_longlong(len(order)), len(net.c3.positions)
    row, its_steps, positions, *rest = compiled.addresses(*tensors)
    if kernel.train(row, its_steps, positions, kernels, *rest, count, ctypes.c_float(s), ctypes.c_float(j)):
        raise MemoryError(NO_MEMORY)
    vector_to_parameters(weights, net.parameters())


def accuracy(net, data):
    """Return the accuracy (0 to 1) of a LeNet5 on data, (images, labels); compiled as train_pass is."""
    try:
        kernel = compiled.library("one_by_one")
    except RuntimeError:
        return evaluate(net, data)
    images, labels = data
    weights, classes = parameters_to_vector(net.parameters()).detach(), torch.empty_like(labels)
    tensors = [weights, net.c3.positions, net.output.bitmaps, images.contiguous(), classes]
    row, positions, bitmaps, pixels, answers = compiled.addresses(*tensors)
    count = ctypes.c_longlong(len(images))
    if kernel.read(row, positions, len(net.c3.positions), bitmaps, pixels, count, answers):
        raise MemoryError(NO_MEMORY)
    return (classes == labels).double().mean().item()


def probe(net, images, labels, j, s):
    """Return, of some digits, what tells why a criterion teaches well or not; see history in `train`.

    saturated: of each layer, the share of activations beyond 1.6 either way (the limits are 1.7159). others: the
    share that the nine wrong classes have in the criterion, on average. f6_curvature: the exact second derivative by
    a unit of F6, on average, as a share of the constant one, 2 s.
    """
    _, sums, features = walk(net, images)
    saturated = [_short((net.squash(sums[name]).abs() > 1.6).float().mean()) for name in LAYERS]
    shares = class_shares(net.output(features), j, s)
    others = shares.sum(dim=1) - shares.gather(1, labels[:, None])[:, 0]
    exact = loss_curvature(features, net.output.bitmaps, j, s)
    return {"saturated": saturated, "others": _short(others.mean()), "f6_curvature": _short(exact.mean() / (2 * s))}


LOAD = {"size": 32, "scaling": "paper"}

# What the paper leaves open. gain, power: the first weights are uniform in ±gain / fan-in^power; biases: factor on
# those of the biases; coefficient, spread: the subsampling layers' first coefficients are uniform in coefficient ±
# spread; s, j: of the criterion, factor on the squared distances and the distance of rubbish; at_f6: the second
# derivative that is carried back from there, "exact" or "constant"; shared: the curvature of a shared weight is the
# "sum" over its uses or their "mean"; distortion: factor on DISTORTION, 0 for no distorted digits. mu, adamw and
# decay are not open: they are here for the departures that are measured. adamw: the largest rate of AdamW with mini-
# batches, in place of the step sizes of 1998; decay: its weight decay.
START = {
    "gain": 2.4, "power": 0.5, "biases": 1.0, "coefficient": 0.25, "spread": 0.0, "s": 1.0, "j": 0.1, "at_f6": "exact",
    "shared": "sum", "distortion": 0, "mu": MU, "adamw": None, "decay": 0.0,
}  # fmt: skip
CHOSEN = START | {"s": 0.1, "j": 2.0, "at_f6": "constant"}  # what `choices` showed to be best
AUTHORS = {"gain": 1.2, "biases": 0.0, "coefficient": 0.6}  # first weights as in their later code, with its v = 1.2
ADAMW = {"adamw": 0.006, "decay": 0.1, "j": 10.0}
CHOICES = {  # changes of START, or of CHOSEN where the name says so, and how many seeds
    "chosen": (CHOSEN, 3),
    "s = 0.02, j = 0.4": (CHOSEN | {"s": 0.02, "j": 0.4}, 3),
    "s = 0.05, j = 1": (CHOSEN | {"s": 0.05, "j": 1.0}, 3),
    "s = 0.2, j = 4": (CHOSEN | {"s": 0.2, "j": 4.0}, 3),
    "s = 0.5, j = 10": (CHOSEN | {"s": 0.5, "j": 10.0}, 3),
    "s = 1, j = 20": (CHOSEN | {"s": 1.0, "j": 20.0}, 3),
    "chosen, but j = 0.5": (CHOSEN | {"j": 0.5}, 3),
    "chosen, but j = 5": (CHOSEN | {"j": 5.0}, 3),
    "chosen, but no j term": (CHOSEN | {"j": 1e9}, 3),
    "chosen, but curvature exact": (CHOSEN | {"at_f6": "exact"}, 3),
    "the authors' code": (CHOSEN | AUTHORS | {"s": 0.5, "j": 1e9}, 3),
    "letter": (START, 3),
    "chosen, distortion 0.5": (CHOSEN | {"distortion": 0.5}, 3),
    "chosen, distortion 1": (CHOSEN | {"distortion": 1.0}, 3),
    "chosen, distortion 1.5": (CHOSEN | {"distortion": 1.5}, 3),
    "letter, but j = 10": (START | {"j": 10.0}, 3),
    "letter, but no j term": (START | {"j": 1e9}, 3),
    "letter, but power 1": (START | {"power": 1.0}, 3),
    "letter, but coefficient 0.5": (START | {"coefficient": 0.5}, 3),
    "letter, but mean over uses": (START | {"shared": "mean"}, 3),
    "chosen, but mu 0.002": (CHOSEN | {"mu": 0.002}, 3),
    "letter, but curvature constant, mu 0.2": (START | {"at_f6": "constant", "mu": 0.2}, 3),
    "AdamW 0.006, s = 0.1, j = 2": (CHOSEN | {"adamw": 0.006}, 3),
    "letter, but coefficient 0.25 ± 0.1": (START | {"spread": 0.1}, 3),
}
RUNS = {  # how many digits, settings, name of the weights' files, how many seeds
    "60,000 digits": (60_000, START, "60000", 5),
    "60,000 digits and 540,000 distorted": (60_000, START | {"distortion": 1.0, "j": 5.0}, "distorted", 3),
    "30,000 digits": (30_000, START, "30000", 3),
    "15,000 digits": (15_000, START, "15000", 3),
    "60,000 digits, AdamW": (60_000, START | ADAMW, "60000_adamw", 5),
    "60,000 digits and 540,000 distorted, AdamW": (60_000, START | ADAMW | {"distortion": 1.0}, "distorted_adamw", 3),
    "s = 0.1": (60_000, CHOSEN, "s01_60000", 10),
    "s = 0.1, and 540,000 distorted": (60_000, CHOSEN | {"distortion": 1.0}, "s01_distorted", 5),
    "s = 0.1, 30,000 digits": (30_000, CHOSEN, "s01_30000", 3),
    "s = 0.1, 15,000 digits": (15_000, CHOSEN, "s01_15000", 3),
}


def first_network(settings, seed):
    """Return a LeNet5 with first weights as `settings` (see START) say."""
    torch.manual_seed(seed)
    net = LeNet5()  # draws from ±2.4 / sqrt(fan-in)
    with torch.no_grad():
        for name in ("c1", "c3", "c5", "f6"):
            layer = getattr(net, name)
            if name == "c3":
                fan_in = layer.table.sum(dim=1) * layer.kernel_size**2
                kernel_map = layer.positions // layer.table.shape[1]  # the output map of each kernel
            else:
                fan_in = torch.full((len(layer.bias),), layer.weight[0].numel())
                kernel_map = torch.arange(len(layer.bias))
            change = settings["gain"] / 2.4 * fan_in ** (0.5 - settings["power"])
            layer.weight.mul_(change[kernel_map].view(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.mul_(settings["biases"] * change)
        for layer in (net.s2, net.s4):
            spread = settings["spread"] * (2 * torch.rand_like(layer.coefficient) - 1)
            layer.coefficient.copy_(settings["coefficient"] + spread)
    return net


def end_pass(net, history, start, measure):
    """Add a pass that began at `start` (seconds) to the history, and print it."""
    history["seconds"].append(round(time.perf_counter() - start, 1))
    for kind, value in measure(net).items():
        history.setdefault(kind, []).append(value)
    print(f"  pass {len(history['seconds'])}:", {kind: values[-1] for kind, values in history.items()}, flush=True)


def steps_by_layer(steps):
    """Return the median and the largest step size of each of the six trained layers."""
    layers = [torch.cat([size.flatten() for name, size in steps.items() if name[:2] == layer]) for layer in LAYERS]
    return [[_short(sizes.median()), _short(sizes.max())] for sizes in layers]


def _short(number):
    return float(f"{number:.4g}")


def train(settings, seed, data, measure, checkpoint):
    """Train a LeNet5 one digit at a time and return it, the history, and the first pass's range of steps a tensor.

    settings: see START. seed: of the first weights, the order, the digits whose curvature is taken. data: pair
    (images, labels). measure: called with the network after every pass; returns numbers for the history, to which
    `steps` comes: of each pass, the median and the largest step of each layer.
    checkpoint: path of the file that keeps everything after every pass; training goes on from there if it exists.
    A network that no longer reads (weights that are not finite, under 50 % on training digits) ends the run.
    """
    images, labels = data
    net = first_network(settings, seed)
    order = torch.from_numpy(np.random.default_rng([seed, 1998]).permutation(len(labels)))
    history, first_steps = {"seconds": [], "steps": []}, {}
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        history, first_steps = saved["history"], saved["first_steps"]
    for number in range(len(history["seconds"]), PASSES):
        start = time.perf_counter()
        if settings["distortion"]:
            shown, shown_labels = distorted_pass(images, labels, number, seed, settings["distortion"])
        else:
            shown, shown_labels = images[order], labels[order]
        sample = np.random.default_rng([seed, number]).choice(len(labels), CURVATURE_DIGITS, replace=False)
        options = {name: settings[name] for name in ("j", "s", "at_f6", "shared", "mu")}
        steps = step_sizes(net, shown[sample], LEARNING_RATES[number], **options)
        first_steps = first_steps or {name: [size.min().item(), size.max().item()] for name, size in steps.items()}
        history["steps"].append(steps_by_layer(steps))
        train_pass(net, steps, shown, shown_labels, torch.arange(len(labels)), settings["j"], settings["s"])
        end_pass(net, history, start, measure)
        saved = {"net": net.state_dict(), "history": history, "first_steps": first_steps}
        record.save_checkpoint(checkpoint, saved)
        finite = all(parameter.isfinite().all() for parameter in net.parameters())
        if not finite or history["train_accuracy"][-1] < 0.5:
            break
    return net, history, first_steps


def train_adamw(settings, seed, data, measure, checkpoint):
    """Train as `train` does, but with AdamW on batches of 64, in a new order each pass; nothing else is changed.

    The rate goes up to settings["adamw"] and down again over the 20 passes (one-cycle).
    """
    images, labels = data
    net = first_network(settings, seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings["adamw"], weight_decay=settings["decay"])
    steps = PASSES * math.ceil(len(labels) / 64)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=settings["adamw"], total_steps=steps)
    history, parts = {"seconds": []}, {"net": net, "optimizer": optimizer, "scheduler": scheduler}
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        history = saved["history"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    for number in range(len(history["seconds"]), PASSES):
        start = time.perf_counter()
        shown, shown_labels = images, labels
        if settings["distortion"]:
            shown, shown_labels = distorted_pass(images, labels, number, seed, settings["distortion"])
        order = torch.from_numpy(np.random.default_rng([seed, 1998, number]).permutation(len(labels)))
        for batch in order.split(64):
            loss = map_loss(net(shown[batch]), shown_labels[batch], settings["j"], settings["s"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        end_pass(net, history, start, measure)
        states = {name: part.state_dict() for name, part in parts.items()}
        record.save_checkpoint(checkpoint, {"history": history} | states)
    return net, history, {}


def trainer(settings):
    """Return the function that trains as `settings` say."""
    return train_adamw if settings["adamw"] else train


def run_choices(kind, seed, checkpoint):
    """Train one of CHOICES on the first 50,000 training digits and count errors on the last 10,000."""
    digits = load_mnist(train=True, **LOAD)
    data, validation = [part[:50_000] for part in digits], [part[50_000:] for part in digits]

    def measure(net):
        first = (data[0][:10_000], data[1][:10_000])
        found = {"train_accuracy": accuracy(net, first), "validation_accuracy": accuracy(net, validation)}
        return found | probe(net, data[0][:1000], data[1][:1000], settings["j"], settings["s"])

    settings = dict(CHOICES[kind][0])
    net, history, first_steps = trainer(settings)(settings, seed, data, measure, checkpoint)
    found = {"validation_errors": count_errors(net, validation)}
    return [{"settings": settings} | found | {"first_steps": first_steps, "history": history}]


def run_full(kind, seed, checkpoint):
    """Do one of RUNS: train on all its digits, count the test errors after every pass, and report the last."""
    count, settings, name, _ = RUNS[kind]
    settings = dict(settings)
    data, test = [part[:count] for part in load_mnist(train=True, **LOAD)], load_mnist(train=False, **LOAD)

    def measure(net):
        return {"train_accuracy": accuracy(net, data), "test_accuracy": accuracy(net, test)}

    net, history, first_steps = trainer(settings)(settings, seed, data, measure, checkpoint)
    weights = f"weights/original_1998/{name}_seed{seed}.safetensors"
    save_weights(net, record.ROOT / weights)
    found = {"network": "LeNet5()", "weights": weights, "test_errors": count_errors(net, test)}
    settings |= {"digits": count}
    return [{"settings": settings, "load_mnist": LOAD} | found | {"first_steps": first_steps, "history": history}]


PARTS = {"choices": ("original_1998_choices", CHOICES, run_choices), "runs": ("original_1998", RUNS, run_full)}

if __name__ == "__main__":
    torch.set_num_threads(1)  # one digit is too little work to share
    record.main("original_1998", __doc__, PARTS)
