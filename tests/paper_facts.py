"""The facts of the 1998 paper that this project quotes, in one place.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proceedings of
the IEEE 86(11), 1998. They were collected from machine-read copies without page numbers: each names its section, table
or figure, and where that was not noted either, the subject.
"""

FACTS = {  # name: (value, where in the paper)
    "volume and issue": ((86, 11), "title"),
    # The network.
    "input": (32, "section II.B"),
    "digit": (28, "section II.B: centred in the input"),
    "layers": (7, "section II.B"),
    "maps": ((6, 16, 120), "section II.B: C1, C3, C5"),
    "window": (5, "section II.B: C1, C3, C5"),
    "subsampling": (2, "section II.B: S2, S4, window and stride"),
    "units of F6": (84, "section II.B"),
    "kernels of C3": (60, "section II.B, Table I"),
    "parameters": (60_000, "section II.B"),
    "parameters of C3": (1_516, "section II.B"),
    "connections": (340_908, "section II.B, in the preprint"),
    "connections, printed": (345_308, "section II.B, as printed in the Proceedings"),
    "connections of C3": (151_600, "section II.B, in the preprint"),
    "connections of C3, printed": (156_000, "section II.B, as printed in the Proceedings"),
    "squashing": ((1.7159, 2 / 3), "Appendix A"),
    "background, foreground": ((-0.1, 1.175), "section II.B"),
    # The training.
    "first weights": (2.4, "Appendix A: uniform in ± this over the fan-in"),
    "passes": (20, "section III.B"),
    "learning rates": (
        [0.0005] * 2 + [0.0002] * 3 + [0.0001] * 3 + [0.00005] * 4 + [0.00001] * 8,
        "section III.B, one a pass",
    ),
    "mu": (0.02, "section III.B"),
    "digits for the curvature": (500, "section III.B"),
    "first-pass steps": ((7e-5, 0.016), "section III.B"),
    "clock of the R10000, MHz": (200, "section III.B"),
    # What came out, in per cent where it is an error.
    "test error": (0.95, "Figure 9, LeNet-5"),
    "test error, distorted": (0.8, "Figure 9, LeNet-5 with distorted digits"),
    "errors, distorted": (82, "Figure 8"),
    "training error after 19 passes": (0.35, "the text about Figure 5"),
    "distorted digits": (540_000, "the text about the distorted digits"),
    "uncertainty": (0.1, "the text about Figure 9, percentage points"),
    "rejection": (0.5, "the comparison by rejected digits: the error left on the rest"),
    "rotation": (30, "the text about robustness, degrees either way"),
    # Its figures, as our notebooks number theirs: test errors by pass and by digits, errors, methods.
    "figures": ((5, 6, 8, 9), "section III"),
}


def fact(name):
    """Return the value of a fact."""
    return FACTS[name][0]
