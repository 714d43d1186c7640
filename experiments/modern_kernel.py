"""train_modern.cpp, compiled and called: modern_lenet and two relatives, trained by AdamW on one core of a CPU.

The file is compiled when it is first needed, with the machine's C++ compiler, for the vectors of its processor.
"""

import ctypes

import torch
from torch import nn

from experiments import compiled
from experiments.own_kernel import ADAMW
from lenet import PartialConv2d, modern_lenet
from lenet_utils import BACKGROUND, FOREGROUND


def plain_lenet():
    """Return modern_lenet without what its normalised layers C5 and F6 add to their weights: 60,646 parameters.

    They have no biases (normalisation takes them away again), and their normalisations no factors and biases of their
    own. Images [N, 1, 32, 32] in, logits [N, 10] out.
    """
    net = modern_lenet()
    net.c5[0].bias = net.f6[0].bias = None
    net.c5[2], net.f6[1] = nn.BatchNorm1d(120, affine=False), nn.BatchNorm1d(84, affine=False)
    net.network = "plain_lenet()"
    return net


def full_lenet():
    """Return plain_lenet with every connection in C3, 96 kernels in place of the table's 60: 61,546 parameters."""
    net = plain_lenet()
    net.c3[0] = PartialConv2d(torch.ones(16, 6, dtype=torch.bool), 5)
    net.c3[0].reset_parameters(gain=2.4)
    net.network = "full_lenet()"
    return net


def shown(net):
    """Return what the kernel must know of a network: its layers, the shapes of its weights, and C3's table, if any."""
    table = getattr(getattr(net, "c3", [None])[0], "table", torch.empty(0))
    return str(net), [tuple(part.shape) for part in net.parameters()], table.tolist()


class Kernel:
    """Trains `net`, modern_lenet(), plain_lenet() or full_lenet(), on the CPU and in place, by AdamW.

    images: uint8 [N, 32, 32]; 0 stands for BACKGROUND, 255 for FOREGROUND. targets: float32 [N, 10], probabilities.
    adamw: as own_kernel.ADAMW. moments: the state of the optimiser, taken over from `moments` of another Kernel of such
    a network, and steps_done the steps that it has taken. ValueError for another network and other tensors;
    RuntimeError where no C++ compiler is.
    """

    def __init__(self, net, images, targets, adamw=ADAMW, moments=None, steps_done=0):
        if shown(net) not in [shown(make()) for make in (modern_lenet, plain_lenet, full_lenet)]:
            raise ValueError(
                f"The kernel trains modern_lenet(), plain_lenet() and full_lenet(), not this network: {net}."
            )
        fits = images.dtype == torch.uint8 and images.shape[1:] == (32, 32) and targets.shape == (len(images), 10)
        if not fits or targets.dtype != torch.float32 or {part.device.type for part in (images, targets)} != {"cpu"}:
            raise ValueError(
                "The kernel takes images uint8 [N, 32, 32] and targets float32 [N, 10] on the CPU, not "
                f"{images.dtype} {list(images.shape)} on {images.device} and {targets.dtype} {list(targets.shape)} on "
                f"{targets.device}."
            )
        if not ((targets.sum(dim=1) - 1).abs() < 1e-3).all():
            raise ValueError("The kernel takes targets whose rows are probabilities: each adds up to 1.")
        self.net, self.images, self.targets = net, images, targets
        self.norms = [layer for layer in net.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
        self.places, self.tensors = [part.data_ptr() for part in self._weights()], self._weights()
        self.parameters = [parameter.detach() for parameter in net.parameters()]
        self.moments = moments or [[torch.zeros_like(part) for part in self.parameters] for _ in range(2)]
        fitting = [
            [part.shape for part in moment] == [part.shape for part in self.parameters] for moment in self.moments
        ]
        if fitting != [True, True]:
            raise ValueError("The moments are those of another network.")
        for part in (images, targets, *self.tensors, *self.moments[0], *self.moments[1]):
            if not part.is_contiguous():
                raise ValueError("The kernel takes tensors in PyTorch's default memory format.")
        kinds = {(part.device.type, part.dtype) for part in (*self.tensors, *self.moments[0], *self.moments[1])}
        if kinds != {("cpu", torch.float32)}:
            raise ValueError(f"The kernel takes weights, running means and moments float32 on the CPU, not {kinds}.")
        self.table = net.c3[0].table.to(torch.uint8).contiguous()
        self.plain = net.c5[0].bias is None
        self.steps_done = steps_done
        self.rates = torch.tensor([adamw["decay"], *adamw["betas"], adamw["epsilon"]])
        self.library = compiled.library("train_modern")
        self.library.train.restype = ctypes.c_double
        net.train()

    def _weights(self):
        """Return the network's weights, running means and variances, as they are now."""
        running = [part for norm in self.norms for part in (norm.running_mean, norm.running_var)]
        return [*(parameter.detach() for parameter in self.net.parameters()), *running]

    def train(self, batches, lrs):
        """Take one step a row of `batches` int64 [steps, batch_size], places of digits, at the rates `lrs` [steps].

        Returns the mean of the losses, each digit's as the network saw it. ValueError for other tensors, where the
        network has got other tensors for its weights since, and for a batch size that is no multiple of the digits in
        a vector, 16 at most.
        """
        if batches.dtype != torch.int64 or batches.dim() != 2 or lrs.shape != batches.shape[:1] or not batches.numel():
            raise ValueError(
                f"The kernel takes batches int64 [steps, batch_size] and rates [steps], not {batches.dtype} "
                f"{list(batches.shape)} and {list(lrs.shape)}."
            )
        if batches.device.type != "cpu":
            raise ValueError(f"The kernel takes batches on the CPU, not on {batches.device}.")
        if [part.data_ptr() for part in self._weights()] != self.places:
            raise ValueError(
                "The network has other tensors for its weights than when the kernel was made: make it anew."
            )
        steps, batch_size = batches.shape
        if batch_size % self.library.lanes():
            raise ValueError(f"The batch size must be a multiple of {self.library.lanes()}, not {batch_size}.")
        if not 0 <= batches.min() <= batches.max() < len(self.images):
            raise ValueError(f"Places {batches.min()} to {batches.max()} are not all among {len(self.images)} digits.")
        batches, lrs = batches.contiguous(), lrs.to("cpu", torch.float32).contiguous()
        running = self.tensors[len(self.parameters) :]
        tensors = [(ctypes.c_void_p * len(group))(*(part.data_ptr() for part in group))
                   for group in (self.parameters, *self.moments, running)]  # fmt: skip
        loss = self.library.train(
            *compiled.addresses(self.images, self.targets, batches), steps, batch_size,
            *compiled.addresses(self.table), int(self.plain), *tensors, ctypes.c_float(FOREGROUND),
            ctypes.c_float(BACKGROUND), *compiled.addresses(lrs, self.rates), ctypes.c_longlong(self.steps_done),
        )  # fmt: skip
        self.steps_done += steps
        for norm in self.norms:
            norm.num_batches_tracked += steps
        return loss / batches.numel()
