"""train_modern.cpp, compiled and called: modern_lenet or full_lenet, trained by AdamW on one core of a CPU.

The file is compiled when it is first needed, with the machine's C++
compiler, for the vectors of its processor.
"""

import ctypes

import torch
from torch import nn

from experiments import compiled
from experiments.own_kernel import ADAMW
from lenet_utils import BACKGROUND, FOREGROUND


class Kernel:
    """Trains `net`, modern_lenet() or full_lenet.full_lenet(), on the CPU and in place, by AdamW.

    images: uint8 [N, 32, 32]; 0 stands for BACKGROUND, 255 for FOREGROUND. targets: float32 [N, 10], probabilities.
    adamw: as own_kernel.ADAMW. moments: the state of the optimiser, as `moments` of another Kernel, and steps_done the
    steps that it has taken. ValueError for other tensors; RuntimeError where no C++ compiler is.
    """

    def __init__(self, net, images, targets, adamw=ADAMW, moments=None, steps_done=0):
        self.net, self.images, self.targets = net.train(), images, targets
        self.parameters = [parameter.detach() for parameter in net.parameters()]
        fits = images.dtype == torch.uint8 and images.shape[1:] == (32, 32) and targets.shape == (len(images), 10)
        if not fits or targets.dtype != torch.float32 or {part.device.type for part in (images, targets)} != {"cpu"}:
            raise ValueError(
                "The kernel takes images uint8 [N, 32, 32] and targets float32 [N, 10] on the CPU, not "
                f"{images.dtype} {list(images.shape)} on {images.device} and {targets.dtype} {list(targets.shape)} on "
                f"{targets.device}."
            )
        if not all(part.is_contiguous() for part in (images, targets, *self.parameters)):
            raise ValueError("The kernel takes tensors in PyTorch's default memory format.")
        kinds = {(part.device.type, part.dtype) for part in self.parameters}
        if kinds != {("cpu", torch.float32)}:
            raise ValueError(f"The kernel takes weights float32 on the CPU, not {kinds}.")
        self.table = net.c3[0].table.to(torch.uint8).contiguous()
        self.plain = net.c5[0].bias is None
        self.norms = [layer for layer in net.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
        self.moments = moments or [[torch.zeros_like(part) for part in self.parameters] for _ in range(2)]
        self.steps_done = steps_done
        self.rates = torch.tensor([adamw["decay"], *adamw["betas"], adamw["epsilon"]])
        self.library = compiled.library("train_modern")
        self.library.train.restype = ctypes.c_double

    def train(self, batches, lrs):
        """Take one step a row of `batches` int64 [steps, batch_size], places of digits, at the rates `lrs` [steps].

        Returns the mean of the losses, each digit's as the network saw it. ValueError for other tensors, and for a
        batch size that is no multiple of the digits in a vector, 16 at most.
        """
        if batches.dtype != torch.int64 or batches.dim() != 2 or lrs.shape != batches.shape[:1] or not batches.numel():
            raise ValueError(
                f"The kernel takes batches int64 [steps, batch_size] and rates [steps], not {batches.dtype} "
                f"{list(batches.shape)} and {list(lrs.shape)}."
            )
        steps, batch_size = batches.shape
        if batch_size % self.library.lanes():
            raise ValueError(f"The batch size must be a multiple of {self.library.lanes()}, not {batch_size}.")
        if not 0 <= batches.min() <= batches.max() < len(self.images):
            raise ValueError(f"Places {batches.min()} to {batches.max()} are not all among {len(self.images)} digits.")
        batches, lrs = batches.contiguous(), lrs.to("cpu", torch.float32).contiguous()
        running = [part for norm in self.norms for part in (norm.running_mean, norm.running_var)]
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
