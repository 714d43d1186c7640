"""The top rung of notebook 07 on a CPU: train_lenet.cpp, compiled and called, and what the processor can do at most.

The file is compiled when it is first needed, with the machine's C++ compiler, for the vectors of its processor.
"""

import ctypes
import time

import torch
from torch import nn

from experiments import compiled
from lenet import tutorial_lenet

# The parts of a step whose time the kernel notes: with each layer's forward part its pooling and activation; with the
# dense layers' the loss and the gradients of their inputs, their weights' gradients with the change.
PARTS = [
    "C1, forward",
    "C3, forward",
    "dense layers",
    "C3, backward",
    "C1, backward",
    "change of the weights",
    "waiting",
]
ADAMW = {"decay": 0.01, "betas": (0.9, 0.999), "epsilon": 1e-8}  # PyTorch's defaults


def relu_lenet():
    """Return tutorial_lenet with ReLU in place of the sigmoids, first weights included: 61,706 parameters."""
    net = nn.Sequential(*(nn.ReLU() if isinstance(layer, nn.Sigmoid) else layer for layer in tutorial_lenet()))
    net.network = "relu_lenet()"
    return net


def library():
    """Return train_lenet.cpp, compiled for this processor; RuntimeError if that cannot be done here."""
    kernel = compiled.library("train_lenet")
    kernel.state_size.restype, kernel.multiply_and_add.restype = ctypes.c_longlong, ctypes.c_float
    return kernel


class Kernel:
    """Trains `net`, tutorial_lenet() or relu_lenet() on the CPU, in place, by gradient descent or AdamW.

    data: images float32 [N, 1, 28, 28] and labels int64 [N]. adamw: as ADAMW, or None for gradient descent.
    ValueError if the network or the data are of another kind. seconds: the threads' mean time in each of PARTS so far,
    "waiting" that for the other threads.
    """

    NETWORKS = (tutorial_lenet, relu_lenet)
    WEIGHTS = {"0": (6, 1, 5, 5), "3": (16, 6, 5, 5), "7": (120, 400), "9": (84, 120), "11": (10, 84)}

    def __init__(self, net, data, adamw=None):
        with torch.device("meta"):  # where first weights take no random numbers
            shown = [str(make()) for make in self.NETWORKS]
        shapes = {name: tuple(parameter.shape) for name, parameter in net.named_parameters()}
        both = {f"{layer}.{part}": shape for layer, weights in self.WEIGHTS.items()
                for part, shape in (("weight", weights), ("bias", weights[:1]))}  # fmt: skip
        if str(net) not in shown or list(shapes.items()) != list(both.items()):
            raise ValueError(
                f"The own kernel trains tutorial_lenet() and relu_lenet(), not this network: {net}, with {shapes}."
            )
        self.relu = shown.index(str(net))
        self.net, (images, labels) = net, data
        self.parameters = [parameter.detach() for parameter in net.parameters()]
        kinds = {(part.device.type, part.dtype) for part in (images, *self.parameters)}
        labels_fit = labels.device.type == "cpu" and labels.dtype == torch.int64 and labels.shape == images.shape[:1]
        if kinds != {("cpu", torch.float32)} or images.shape[1:] != (1, 28, 28) or not labels_fit:
            raise ValueError(
                "The own kernel takes images float32 [N, 1, 28, 28], labels int64 [N] and float32 weights, all on the "
                f"CPU, not images {images.dtype} {list(images.shape)} on {images.device}, labels {labels.dtype} "
                f"{list(labels.shape)} on {labels.device}, and weights {self.parameters[0].dtype} on "
                f"{self.parameters[0].device}."
            )
        if not all(parameter.is_contiguous() for parameter in self.parameters):
            raise ValueError("The own kernel takes weights in PyTorch's default memory format, not channels_last.")
        self.images, self.labels = images.contiguous(), labels.contiguous()
        self.library, self.steps_done, self.moments, self.rates = library(), 0, None, torch.zeros(4)
        self.seconds = torch.zeros(len(PARTS), dtype=torch.float64)
        if adamw:
            self.moments = torch.zeros(2, self.library.state_size())
            self.rates = torch.tensor([adamw["decay"], *adamw["betas"], adamw["epsilon"]])

    def train(self, batches, lrs):
        """Take one step a row of `batches` int64 [steps, batch_size], places of digits, at the rates `lrs` [steps].

        Returns the sum of the losses and the number of right answers, each digit as the network saw it. ValueError for
        other tensors, for labels that are no digits, and where the network has got other tensors for its weights since.
        """
        if batches.dtype != torch.int64 or batches.dim() != 2 or lrs.shape != batches.shape[:1]:
            raise ValueError(
                f"The own kernel takes batches int64 [steps, batch_size] and rates [steps], not {batches.dtype} "
                f"{list(batches.shape)} and {list(lrs.shape)}."
            )
        if not batches.numel():
            return [0.0, 0.0]
        if not 0 <= batches.min() <= batches.max() < len(self.labels):
            raise ValueError(f"Places {batches.min()} to {batches.max()} are not all among {len(self.labels)} digits.")
        shown = self.labels[batches]
        if not 0 <= shown.min() <= shown.max() <= 9:
            raise ValueError(f"Labels {shown.min()} to {shown.max()} are not all from 0 to 9.")
        if [part.data_ptr() for part in self.net.parameters()] != [part.data_ptr() for part in self.parameters]:
            raise ValueError(
                "The network has other tensors for its weights than when the kernel was made: make it anew."
            )
        batches, lrs = batches.contiguous(), lrs.to("cpu", torch.float32).contiguous()
        steps, batch_size = batches.shape
        pointers = (ctypes.c_void_p * len(self.parameters))(*(part.data_ptr() for part in self.parameters))
        sums = torch.zeros(2, dtype=torch.float64)
        moments = None if self.moments is None else compiled.addresses(self.moments)[0]
        self.library.train(
            self.relu, *compiled.addresses(self.images, self.labels, batches), steps, batch_size, pointers, moments,
            *compiled.addresses(lrs, self.rates), ctypes.c_longlong(self.steps_done), torch.get_num_threads(),
            *compiled.addresses(sums, self.seconds),
        )  # fmt: skip
        self.steps_done += steps
        return sums.tolist()


# ---------------------------------------------------------------------------------------------- the processor's limit


def clock_rate():
    """Return the clock cycles a second of one core, counted by additions of which each waits for the one before."""
    kernel, count = library(), 30_000_000
    start = time.perf_counter()
    kernel.add_in_a_chain(ctypes.c_longlong(count))
    return count / (time.perf_counter() - start)


def register_rate():
    """Return the floating-point operations a second of all threads that multiply and add in registers alone."""
    kernel, turns, threads = library(), 1_000_000, torch.get_num_threads()
    start = time.perf_counter()
    kernel.multiply_and_add(ctypes.c_longlong(turns), threads, ctypes.c_float(0.5))
    return turns * threads * kernel.operations() / (time.perf_counter() - start)
