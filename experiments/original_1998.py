"""LeNet-5 trained as in 1998: one digit at a time, every weight with a step size of its own.

    python -m experiments.original_1998 choices      what the paper leaves open, on the validation split
    python -m experiments.original_1998 runs         the full runs: 60,000, distorted, 30,000 and 15,000 digits

A run of 20 passes over 60,000 digits takes about 4 minutes on one CPU core (the step is compiled, which needs a C++
compiler); give two processes different kinds or seeds to use two cores. A checkpoint is stored after every pass in
experiments/unfinished/, and the same command goes on from there. `choices` trains on the first 50,000 training
digits, counts errors on the last 10,000, and never loads the test set; it writes results/original_1998_choices.json.
`runs` writes results/original_1998.json and weights/original_1998/.
"""

import math
import time

import numpy as np
import torch
from torch.func import functional_call, grad
from torch.nn import functional as F

from experiments import record
from lenet import C3_TABLE, LeNet5, RBFOutput, Subsample
from lenet_utils import BACKGROUND, count_errors, evaluate, load_mnist, save_weights

PASSES = 20
LEARNING_RATES = [0.0005] * 2 + [0.0002] * 3 + [0.0001] * 3 + [0.00005] * 4 + [0.00001] * 8  # the paper's, one a pass
MU = 0.02
CURVATURE_DIGITS = 500
LAYERS = ("c1", "s2", "c3", "s4", "c5", "f6")


def map_loss(distances, labels, j=0.1):
    """Return the paper's MAP criterion, the mean over the batch of y_D + log(e^-j + sum_i e^-y_i).

    distances: y, float [N, 10], squared distances to the bitmaps. labels: D, int64 [N]. j: a positive constant.
    Source: section II.C of the 1998 paper.
    """
    rubbish = distances.new_full((len(distances), 1), -j)
    right = distances.gather(1, labels[:, None])[:, 0]
    return (right + torch.logsumexp(torch.cat([rubbish, -distances], dim=1), dim=1)).mean()


# ------------------------------------------------------------------------------ second derivatives, step sizes


def loss_curvature(features, bitmaps, j=0.1):
    """Return the second derivative of each pattern's MAP loss by each of its F6 units, [N, 84]; exact.

    features: the activations of F6, float [N, 84]. bitmaps: [10, 84].
    """
    away = features[:, None] - bitmaps
    distances = away.square().sum(dim=2)
    rubbish = distances.new_full((len(distances), 1), -j)
    shares = torch.cat([rubbish, -distances], dim=1).softmax(dim=1)[:, 1:, None]
    slopes = 2 * away  # of each distance by each unit
    mean = (shares * slopes).sum(dim=1)
    return 2 * (1 - shares.sum(dim=1)) + (shares * slopes.square()).sum(dim=1) - mean.square()


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


def curvature(net, images, labels, j=0.1):
    """Return h_kk of every parameter of a LeNet5: a dict of tensors with the parameters' names and shapes.

    The diagonal Gauss-Newton second derivatives of the MAP loss, averaged over the images [N, 1, 32, 32].
    Source: section III of Appendix C, equations 31 to 39.
    """
    inputs, sums, maps = {}, {}, images
    with torch.no_grad():
        for name in LAYERS:
            layer = getattr(net, name)
            inputs[name] = maps.flatten(1) if name == "f6" else maps
            sums[name] = layer(inputs[name])
            maps = net.squash(sums[name])
        by_output, found = loss_curvature(maps, net.output.bitmaps, j), {}
        for name in reversed(LAYERS):
            slope = 1.7159 * 2 / 3 * (1 - torch.tanh(2 / 3 * sums[name]).square())
            by_output = by_output.view_as(slope) * slope.square()
            by_output, by_parameter = layer_curvature(getattr(net, name), inputs[name], by_output)
            found |= {f"{name}.{parameter}": value / len(images) for parameter, value in by_parameter.items()}
    return {name: found[name] for name, _ in net.named_parameters()}


# How many times a layer uses each of its weights.
USES = {"c1": 28 * 28, "s2": 14 * 14, "c3": 10 * 10, "s4": 5 * 5, "c5": 1, "f6": 1}


def step_sizes(net, images, labels, lr, j=0.1, shared="sum", mu=MU):
    """Return the step size lr / (mu + h_kk) of every parameter of a LeNet5, a dict (equation 21).

    shared: the curvature of a shared weight is the "sum" over its uses, as the paper has it, or their "mean".
    """
    found = curvature(net, images, labels, j)
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


def image_distances(parameters, image):
    """Return what LeNet5()(image) does, [10], for one image [32, 32]; parameters in the order of net.parameters().

    Convolutions are matrix products and everything is one function, which torch.compile makes about five times
    as fast as the network in eager PyTorch; a test holds the two together.
    """
    squash = LeNet5.squash
    w1, b1, k2, b2, w3, b3, k4, b4, w5, b5, w6, b6 = parameters
    maps = squash(_convolve(image[None], w1, b1))
    maps = squash(_window_sums(maps) * k2[:, None, None] + b2[:, None, None])
    dense = w3.new_zeros(C3_TABLE.numel(), 25).index_copy(0, _C3_POSITIONS, w3.flatten(1))
    maps = squash(_convolve(maps, dense, b3))
    maps = squash(_window_sums(maps) * k4[:, None, None] + b4[:, None, None])
    units = squash(torch.mv(w5.flatten(1), maps.flatten()) + b5)
    units = squash(torch.mv(w6, units) + b6)
    return (units - _BITMAPS).square().sum(dim=1)


_C3_POSITIONS = C3_TABLE.flatten().nonzero().flatten()
_BITMAPS = RBFOutput().bitmaps


def _convolve(maps, weight, bias):
    channels, side = maps.shape[0], maps.shape[1] - 4
    windows = maps.unfold(1, 5, 1).unfold(2, 5, 1).permute(0, 3, 4, 1, 2).reshape(channels * 25, side * side)
    return torch.addmm(bias[:, None], weight.reshape(len(bias), channels * 25), windows).view(-1, side, side)


def _window_sums(maps):
    return maps[:, ::2, ::2] + maps[:, 1::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, 1::2]


def make_step(net, j):
    """Return a compiled function step(weights, steps, images, labels, index): one digit, one change of all weights.

    weights, steps: float [60000], all parameters of the LeNet5 `net` in one row, changed in place, and their step
    sizes. images: [N, 32, 32], labels: [N]. index: int64 [1], which digit.
    """
    shapes = [parameter.shape for parameter in net.parameters()]
    sizes = [shape.numel() for shape in shapes]

    def loss(parameters, image, label):
        return map_loss(image_distances(parameters, image)[None], label, j)

    def step(weights, steps, images, labels, index):
        parameters = [part.view(shape) for part, shape in zip(weights.split(sizes), shapes, strict=True)]
        slopes = grad(loss)(parameters, images.index_select(0, index)[0], labels.index_select(0, index))
        weights.sub_(steps * torch.cat([slope.flatten() for slope in slopes]))

    return torch.compile(step)


LOAD = {"size": 32, "scaling": "paper"}

# What the paper leaves open. gain, power: the first weights are uniform in ±gain / fan-in^power; coefficient, spread:
# the subsampling layers' first coefficients are uniform in coefficient ± spread; j: of the criterion, a squared
# distance; shared: the curvature of a shared weight is the "sum" over its uses or their "mean"; distortion: factor
# on DISTORTION, 0 for no distorted digits. mu and adamw are not open: they are here for the departures that are
# measured. adamw: the largest rate of AdamW with mini-batches, in place of the step sizes of 1998.
START = {
    "gain": 2.4, "power": 0.5, "coefficient": 0.25, "spread": 0.0, "j": 0.1, "shared": "sum", "distortion": 0, "mu": MU,
    "adamw": None,
}  # fmt: skip
ADAMW = {"adamw": 0.006, "j": 10.0}
CHOICES = {  # one change each, and how many seeds: one where it decides at once
    "start": ({}, 3),
    "j = 2": ({"j": 2.0}, 2),
    "j = 5": ({"j": 5.0}, 2),
    "j = 10": ({"j": 10.0}, 1),
    "no j term": ({"j": 1e9}, 1),
    "distance of the right class alone": ({"j": -1000.0}, 2),
    "gain 1.7": ({"gain": 1.7}, 1),
    "power 1": ({"power": 1.0}, 1),
    "coefficient 0.25 ± 0.1": ({"spread": 0.1}, 1),
    "coefficient 0.5": ({"coefficient": 0.5}, 1),
    "mean over uses": ({"shared": "mean"}, 1),
    "distortion 0.5": ({"distortion": 0.5}, 1),
    "distortion 1": ({"distortion": 1.0}, 1),
    "distortion 1.5": ({"distortion": 1.5}, 1),
    "distortion 1, j = 5": ({"distortion": 1.0, "j": 5.0}, 1),
    "mu 0.3, a departure": ({"mu": 0.3}, 1),
    "AdamW 0.006, j = 10, a departure": (ADAMW, 1),
    "AdamW 0.003, j = 10, a departure": (ADAMW | {"adamw": 0.003}, 1),
}
CHOSEN = START  # what `choices` showed to be best

RUNS = {  # how many digits, overrides of CHOSEN, name of the weights' files, how many seeds
    "60,000 digits": (60_000, {}, "60000", 5),
    "60,000 digits and 540,000 distorted": (60_000, {"distortion": 1.0, "j": 5.0}, "distorted", 3),
    "30,000 digits": (30_000, {}, "30000", 3),
    "15,000 digits": (15_000, {}, "15000", 3),
    "60,000 digits, AdamW": (60_000, ADAMW, "60000_adamw", 5),
    "60,000 digits and 540,000 distorted, AdamW": (60_000, ADAMW | {"distortion": 1.0}, "distorted_adamw", 3),
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
            layer.bias.mul_(change)
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


def train(settings, seed, data, measure, checkpoint):
    """Train a LeNet5 one digit at a time and return it, the history, and the first pass's range of steps a tensor.

    settings: see START. seed: of the first weights, the order, the digits whose curvature is taken. data: pair
    (images, labels). measure: called with the network after every pass; returns numbers for the history.
    checkpoint: path of the file that keeps everything after every pass; training goes on from there if it exists.
    A network that no longer reads (weights that are not finite, under 50 % on training digits) ends the run.
    """
    images, labels = data
    net = first_network(settings, seed)
    # All parameters in one row of memory, so that one addition changes them all.
    weights = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    sizes = [parameter.numel() for parameter in net.parameters()]
    for parameter, part in zip(net.parameters(), weights.split(sizes), strict=True):
        parameter.data = part.view_as(parameter)
    order = torch.from_numpy(np.random.default_rng([seed, 1998]).permutation(len(labels)))
    history, first_steps = {"seconds": []}, {}
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        weights.copy_(saved["weights"])
        history, first_steps = saved["history"], saved["first_steps"]
    step = make_step(net, settings["j"])
    for number in range(len(history["seconds"]), PASSES):
        start = time.perf_counter()
        if settings["distortion"]:
            shown, shown_labels = distorted_pass(images, labels, number, seed, settings["distortion"])
        else:
            shown, shown_labels = images[order], labels[order]
        sample = np.random.default_rng([seed, number]).choice(len(labels), CURVATURE_DIGITS, replace=False)
        options = {name: settings[name] for name in ("j", "shared", "mu")}
        steps = step_sizes(net, shown[sample], shown_labels[sample], LEARNING_RATES[number], **options)
        first_steps = first_steps or {name: [size.min().item(), size.max().item()] for name, size in steps.items()}
        steps = torch.cat([size.flatten() for size in steps.values()])
        with torch.no_grad():
            for index in torch.arange(len(labels)).split(1):
                step(weights, steps, shown[:, 0], shown_labels, index)
        end_pass(net, history, start, measure)
        record.save_checkpoint(checkpoint, {"weights": weights, "history": history, "first_steps": first_steps})
        if not weights.isfinite().all() or history["train_accuracy"][-1] < 0.5:
            break
    return net, history, first_steps


def train_adamw(settings, seed, data, measure, checkpoint):
    """Train as `train` does, but with AdamW on batches of 64, in a new order each pass; nothing else is changed.

    The rate goes up to settings["adamw"] and down again over the 20 passes (one-cycle); weight decay 0.1.
    """
    images, labels = data
    net = first_network(settings, seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings["adamw"], weight_decay=0.1)
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
            loss = map_loss(net(shown[batch]), shown_labels[batch], settings["j"])
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
        return {"train_accuracy": evaluate(net, first), "validation_accuracy": evaluate(net, validation)}

    settings = START | CHOICES[kind][0]
    net, history, first_steps = trainer(settings)(settings, seed, data, measure, checkpoint)
    found = {"validation_errors": count_errors(net, validation)}
    return [{"settings": settings} | found | {"first_steps": first_steps, "history": history}]


def run_full(kind, seed, checkpoint):
    """Do one of RUNS: train on all its digits, count the test errors after every pass, and report the last."""
    count, overrides, name, _ = RUNS[kind]
    settings = CHOSEN | overrides
    data, test = [part[:count] for part in load_mnist(train=True, **LOAD)], load_mnist(train=False, **LOAD)

    def measure(net):
        return {"train_accuracy": evaluate(net, data), "test_accuracy": evaluate(net, test)}

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
