"""Digits: the files of MNIST, and the gate that images and labels pass before any work.

lenet_utils passes the public names on.
"""

import contextlib
import copy
import gzip
import hashlib
import http.client
import os
import secrets
import tempfile
import urllib.error
import urllib.request
from itertools import chain
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import MNIST

ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"

# Mean and standard deviation of the 60,000 original 28 x 28 training images, pixels in [0, 1]
# (notebook 03 computes them).
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
# The 1998 paper's scaling (section II.B).
BACKGROUND, FOREGROUND = -0.1, 1.175


# --------------------------------------------------------------------------------------------- files


def user_path(path):
    """Return `path`, text or a Path, as a Path with ~ for the home folder; ValueError for anything else."""
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"A path must be text or a Path, not {describe(path)}.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"The home folder in {path} is not known ({error}).") from None


def write_whole(path, content):
    """Write the bytes `content` to the file at `path`, whole or not at all: an old file stays until the new is ready.

    A link is followed. The file keeps its mode; a new one gets that of any new file. The unfinished file lies in the
    system's folder for temporary files, so that a process that is killed leaves nothing beside the file, unless that
    folder is on another disk. Raises an OSError that names the file and the reason.
    """
    path = user_path(path)
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file in it.")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"{path} cannot be written: there is no folder {target.parent}, make it first.")
        if os.path.lexists(target) and not target.is_file():  # a device, or a link to itself
            raise FileExistsError(f"{path} is not a file that can be replaced: give another name.")
        with contextlib.suppress(OSError):  # such as one disk at two places, between which nothing can be moved
            system = Path(tempfile.gettempdir())
            if system.stat().st_dev == target.parent.stat().st_dev:
                return _put(target, content, system)
        _put(target, content, target.parent)
    except OSError as error:
        if error.strerror is None:  # one of the sentences above
            raise
        raise type(error)(f"{path} cannot be written: {error.strerror}.") from error


def _put(target, content, folder):
    """Write `content` to a new file in `folder` and put it in the place of the file `target`."""
    unfinished = folder / f".lenet-5.{secrets.token_hex(8)}"
    try:
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            unfinished.chmod(target.stat().st_mode & 0o777)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def load_mnist(train, size=32, scaling="standard", device="cpu", root=DATA):
    """Return a whole MNIST split as two tensors on `device`: images and labels.

    train: True for the 60,000 training digits, False for the 10,000 test digits.
    size: 32 pads the 28 x 28 images with two background pixels a side, as the 1998 paper does; 28
        leaves them.
    scaling: "standard" is (x - 0.1307) / 0.3081 with pixels x in [0, 1], the training set's mean and
        deviation; "paper" puts the background at -0.1 and the foreground at 1.175 (section II.B).
    root: folder that holds MNIST/raw/*.gz; missing files are downloaded there from torchvision's mirrors.

    Images are float32 [N, 1, size, size], labels int64 [N]. Raises ValueError for another size or
    scaling and for a file that is not the official one, OSError where a missing file can be neither
    downloaded nor written.
    """
    if not isinstance(train, (bool, np.bool_)):
        raise ValueError(f"train must be True (60,000 training digits) or False (10,000 test digits), not {train!r}.")
    _check_scale(size, scaling)
    split = "train" if train else "t10k"
    raw = user_path(root) / "MNIST" / "raw"
    pixels = np.frombuffer(_read_mnist_file(raw / f"{split}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    labels = np.frombuffer(_read_mnist_file(raw / f"{split}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    images = as_images(torch.tensor(pixels, device=device).view(-1, 28, 28), size, scaling)
    return images, torch.tensor(labels, device=device).long()


def _read_mnist_file(path):
    """Return the unpacked bytes of one official MNIST file, checked against its MD5."""
    if not path.exists():
        _download_mnist_file(path)
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}.") from error
    expected, found = dict(MNIST.resources)[path.name], hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is not the official MNIST file: its MD5 is {found}, expected {expected}. "
            "Delete it and load again to download it anew."
        )
    content = gzip.decompress(packed)
    unpacked = path.with_suffix("")
    if unpacked.is_file() and unpacked.read_bytes() != content:
        # torchvision believes any unpacked file that it finds, also one cut short by an interruption.
        unpacked.unlink()
    return content


def _download_mnist_file(path):
    """Download one MNIST file to `path`, whole or not at all; OSError with each mirror's reason where none gives it."""
    reasons = []
    for mirror in MNIST.mirrors:
        try:
            packed = _fetch(mirror + path.name)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{mirror} {_reason(error)}")
            continue
        if hashlib.md5(packed, usedforsecurity=False).hexdigest() == dict(MNIST.resources)[path.name]:
            break
        page = " but a web page (perhaps a proxy asks you to log in)" if packed.lstrip()[:1] == b"<" else ""
        reasons.append(f"{mirror} sent {len(packed):,} bytes that are not this file{page}")
    else:
        raise OSError(
            f"{path} is missing and could not be downloaded: {'; '.join(reasons)}. "
            f"Mend that, or copy the four .gz files into {path.parent}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"{path.parent} cannot be made: {error.strerror}. Give load_mnist another root.") from error
    write_whole(path, packed)


def _fetch(address):
    """Return what lies at a web address, bytes. torchvision's own download would hide why it failed."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


def _reason(error):
    """Return why a download failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} ({' '.join(str(error.reason).split())})"
    if isinstance(error, http.client.IncompleteRead):
        return "broke off in the middle of the file"
    return f"could not be reached ({getattr(error, 'reason', None) or str(error) or type(error).__name__})"


# -------------------------------------------------------------------------------------- pixels to images


def as_images(pixels, size=32, scaling="standard"):
    """Return pixels, uint8 [N, 28, 28] with ink 255, as load_mnist would: float32 [N, 1, size, size].

    pixels: a tensor or a numpy array. Raises ValueError for another type or shape, size or scaling.
    """
    _check_scale(size, scaling)
    given = pixels
    pixels = torch.from_numpy(pixels.copy()) if _is_array(pixels) and pixels.dtype == np.uint8 else pixels
    if not isinstance(pixels, torch.Tensor) or pixels.dtype != torch.uint8 or pixels.shape[1:] != (28, 28):
        hint = (
            "digit[None] makes a row of one digit"
            if tuple(getattr(given, "shape", ())) == (28, 28)
            else ("prepare_image makes such a digit of any picture")
        )
        raise ValueError(f"Pixels must be uint8 [N, 28, 28], ink 255 on 0, not {describe(given)}: {hint}.")
    margin = (size - 28) // 2
    return scale_(F.pad(pixels[:, None], (margin, margin, margin, margin)).float().div_(255), scaling)


def _check_scale(size, scaling):
    if size not in (28, 32) or not isinstance(size, Integral):
        raise ValueError(f"size must be 28 (original) or 32 (padded), not {size!r}.")
    if scaling not in ("standard", "paper"):
        raise ValueError(f'scaling must be "standard" or "paper", not {scaling!r}.')


def scale_(grey, scaling):
    """Bring grey levels, float from 0 (background) to 1 (ink), to a scaling of load_mnist, in place; return them."""
    if scaling == "standard":
        return grey.sub_(MNIST_MEAN).div_(MNIST_STD)
    return grey.mul_(FOREGROUND - BACKGROUND).add_(BACKGROUND)


def epoch_order(count, seed, epoch):
    """Return the order of `count` digits in an epoch, int64 [count]: the same for the same (seed, epoch) everywhere."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


# --------------------------------------------------------------------------------------------- the gate

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64}


def describe(value):
    """Return what a value is, in a few words for a sentence: "a torch.float32 tensor of shape [60, 28, 28]"."""
    if isinstance(value, torch.Tensor):
        return f"a {value.dtype} tensor of shape {list(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of {value.dtype} and shape {list(value.shape)}"
    if value is None or isinstance(value, (bool, int, float, complex)):
        return repr(value)
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_pair(net, data, name):
    """Return the images and labels that `net` is to train on or be counted on, as tensors, and its Output for them.

    data: a pair of images, as check_images takes them, and labels: one whole number a digit, of any width, in a tensor,
        a numpy array or a list. name: "training", say, for the sentences.

    Labels become int64 [N], where they are; the third value returned is that of check_images. Raises ValueError before
    any work if the data do not fit each other or the network, which stays as it was.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        found = f"{describe(data)} of {len(data)}" if isinstance(data, (tuple, list)) else describe(data)
        raise ValueError(
            f"The {name} data must be a pair (images, labels), as load_mnist returns it, not {found}. "
            "(Join a DataLoader's batches with torch.cat.)"
        )
    images = _image_tensor(data[0], name)
    labels = _label_tensor(data[1], name)
    if len(images) != len(labels):
        raise ValueError(f"The {name} data have {len(images):,} images but {len(labels):,} labels.")
    images, output = check_images(net, images, name)
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= output.classes:
        raise ValueError(f"The {name} labels run from {low} to {high}; this network knows 0 to {output.classes - 1}.")
    return images, labels, output


def check_images(net, images, name="given"):
    """Return `images` as a tensor that `net` can take, where they are, and its Output for them.

    images: floats [N, channels, height, width], N at least 1, all finite, in a tensor or a numpy array. They get the
        type of the network's parameters.

    `net` runs once on two empty images; its weights, buffers, modes, gradients and device stay as they are. Raises
    ValueError, with what was found, for images that do not fit, or what is no nn.Module.
    """
    if not isinstance(net, nn.Module):
        forgotten = " Are the () missing behind its name?" if callable(net) else ""
        raise ValueError(f"A network must be an nn.Module, not {describe(net)}.{forgotten}")
    images = _image_tensor(images, name)
    dtype, device = home(net, images)
    if device.type == "meta":
        raise ValueError("This network lies on the meta device and has no weights: make it without that device.")
    images = images.to(dtype)
    low, high = images.aminmax()  # nan where there is one
    if not (low.isfinite() and high.isfinite()):
        bad = (~images.isfinite()).flatten(1).any(dim=1).nonzero().flatten()
        raise ValueError(
            f"The {name} images hold pixels that are nan or, as {dtype}, infinite: {len(bad):,} of {len(images):,} "
            f"images, the first is number {bad[0].item()}. Mend them or leave them out."
        )
    return images, Output(net, images, name)


def _is_array(value):
    return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)


def _image_tensor(images, name):
    """Return images as a float tensor [N, channels, height, width]; ValueError if they are anything else."""
    wanted = "floats [N, channels, height, width], in a tensor or a numpy array"
    if _is_array(images) and images.dtype.kind == "f":
        # Copied: PyTorch knows no 80-bit floats, no other byte order and no negative strides.
        kind = images.dtype.newbyteorder("=") if images.dtype.itemsize <= 8 else np.float64
        with np.errstate(over="ignore"):
            images = torch.from_numpy(np.array(images, dtype=kind, order="C", subok=False))
    if not isinstance(images, torch.Tensor):
        raise ValueError(f"The {name} images must be {wanted}, not {describe(images)}.")
    if images.dtype not in FLOATS:
        raise ValueError(
            f"The {name} images must be {wanted}, not {describe(images)}: "
            "load_mnist scales pixels, as_images does so for pixels of your own."
        )
    if images.layout != torch.strided or images.is_nested or images.is_meta:
        kind = "meta" if images.is_meta else "nested" if images.is_nested else images.layout
        raise ValueError(f"The {name} images must be {wanted}, all of them stored, not a tensor that is {kind}.")
    if images.dim() != 4:
        raise ValueError(
            f"The {name} images must have four dimensions, [N, channels, height, width], not {images.dim()}: "
            f"{list(images.shape)}."
        )
    if len(images) == 0:
        raise ValueError(f"The {name} data are empty: give at least one image.")
    if images.numel() == 0:
        raise ValueError(f"The {name} images have no pixels: their shape is {list(images.shape)}.")
    return images.detach()


def _label_tensor(labels, name):
    """Return labels as int64 [N]; ValueError if they are anything but one whole number a digit."""
    wanted = "one whole number a digit, [N]"
    given = labels
    if isinstance(labels, (list, tuple)):
        try:
            labels = np.asarray(labels)
        except (ValueError, TypeError, RuntimeError, OverflowError):
            raise ValueError(f"The {name} labels must be {wanted}, not {describe(given)} of other things.") from None
    if isinstance(labels, torch.Tensor) and labels.dtype in INTEGERS and labels.layout == torch.strided:
        whole = not (labels.is_nested or labels.is_meta)
    else:
        whole = _is_array(labels) and labels.dtype.kind in "iu"
    if not whole or labels.ndim != 1:
        hint = ""
        if getattr(labels, "ndim", 0) == 2:
            hint = ": argmax(1) makes them of one-hot rows" if labels.shape[1] != 1 else ": flatten() makes them"
        elif getattr(labels, "ndim", 0) == 1 and len(labels) == 0:
            hint = ": there are none"
        found = describe(labels) if labels is given else f"{describe(given)} that makes {describe(labels)}"
        raise ValueError(f"The {name} labels must be {wanted}, not {found}{hint}.")
    if isinstance(labels, torch.Tensor):
        return labels.to(torch.int64)
    return torch.from_numpy(labels.astype(np.int64))


class Output:
    """What a network makes of images like `images`: found by running it once on two empty ones, without a trace.

    classes: how many numbers it gives an image. distances: whether they are an output layer's distances, of which the
    smallest decides, or else logits, of which the largest does. trains: whether a gradient comes back from them.

    A layer says with `gives_distances = True` that it returns distances, and the network must return just those.
    """

    def __init__(self, net, images, name):
        empty = images.new_zeros(2, *images.shape[1:])
        try:
            output, self.distances = run_without_trace(net, empty)
        except Exception as error:
            raise ValueError(_misfit(net, empty, name, error)) from error
        if not isinstance(output, torch.Tensor) or output.dim() != 2 or len(output) != 2 or output.dtype not in FLOATS:
            raise ValueError(f"This network must give [N, classes] for N images; for two it gave {describe(output)}.")
        self.classes, self.trains = output.shape[1], output.requires_grad


def _misfit(net, empty, name, error):
    """Return the sentence for images that `net` cannot take, with what it takes if that is 28 x 28 or 32 x 32."""
    shape = list(empty.shape[1:])
    for size in (28, 32):
        try:
            run_without_trace(net, empty.new_zeros(2, 1, size, size))
        except Exception:
            continue
        if shape[0] == 1 and shape[1] == shape[2]:
            return (
                f"This network takes {size} x {size} images, these are {shape[1]} x {shape[2]}: "
                f"load them with load_mnist(..., size={size})."
            )
        hint = ": move the last axis to the second place" if shape[-1] in (1, 3) else ""
        return (
            f"This network takes {name} images [N, 1, {size}, {size}] (channels, height, width), "
            f"these are [N, {', '.join(map(str, shape))}]{hint}."
        )
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"This network cannot take the {name} images, [N, {', '.join(map(str, shape))}]: {reason}"


def run_without_trace(net, images, training=False):
    """Run `net` on `images` and return its output and whether that is an output layer's distances.

    training: as in a training step, else in evaluation mode. Weights, buffers, modes, gradients, device, hooks and the
    random generators are afterwards as they were, and a lazy layer is still lazy.
    """
    net = unwrapped(net)
    # Neither lazy layers nor TorchScript can run on other tensors than their own.
    copied = is_lazy(net) or isinstance(net, torch.jit.ScriptModule)
    if copied:
        net = copy.deepcopy(net)
    dtype, device = home(net, images)
    modes = modes_of(net)
    seen = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
        for module in net.modules()
        if getattr(module, "gives_distances", False)
    ]
    images = images.to(device, dtype)
    try:
        if not training:
            net.eval()
        elif not net.training:
            net.train()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
            if copied:
                output = net(images)
            else:
                tensors = {name: value.clone() for name, value in chain(net.named_parameters(), net.named_buffers())}
                output = torch.func.functional_call(net, tensors, (images,))
    finally:
        for hook in hooks:
            hook.remove()
        restore_modes(modes)
    return output, any(output is one for one in seen)


def modes_of(net):
    """Return each module of `net` with its mode, training or not, for restore_modes."""
    return [(module, module.training) for module in net.modules()]


def restore_modes(modes):
    """Put each module back into its mode; net.train() would put all layers into one."""
    for module, mode in modes:
        module.training = mode


def unwrapped(net):
    """Return the network inside torch.compile's, DataParallel's and DistributedDataParallel's wrappers, or `net`."""
    while True:
        if hasattr(net, "_orig_mod"):
            net = net._orig_mod
        elif isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            net = net.module
        else:
            return net


def is_lazy(net):
    """Return whether `net` has lazy layers that never ran, and so no weights yet."""
    return any(isinstance(parameter, nn.UninitializedParameter) for parameter in net.parameters())


def home(net, images):
    """Return the float type and the device of `net`, or of `images` where it has no parameters and buffers."""
    tensors = list(chain(net.parameters(), net.buffers()))
    dtype = next((tensor.dtype for tensor in tensors if tensor.dtype in FLOATS), None)
    device = next((tensor.device for tensor in tensors), images.device)
    return dtype or (images.dtype if images.dtype == torch.float64 else torch.float32), device
