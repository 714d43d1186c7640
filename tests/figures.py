"""Every figure of the prose, with the record or computation that it comes from: the table that test_figures.py walks.

A row is a piece of a sentence with a field in the place of each figure, and then the values. `rows()` has them by
document: the README files whole; of a notebook the introduction, the headings and the summary, and what
else of its prose neither its code nor its outputs show.
"""

import functools
import gzip
import inspect
import math
import re
import statistics

import nbformat
import torch
from paper_facts import fact
from stored import RECORDS
from torch.optim.lr_scheduler import OneCycleLR

import lenet
import lenet_utils
from experiments import bench, distilled_lenet, full_lenet, modern_lenet, original_1998, refusal, speed
from tools.colab_environment import COLAB
from tools.mistakes import all_mistakes
from tools.notebook_rules import NOTEBOOKS, ROOT, committed

# Measured by a person and stored nowhere: (value, what and, where the history tells, when).
BY_HAND = {
    "mutmut": ((872, 3680, 818, 54), "make mutants on 27 November 2026, stopped for want of time; 8 timeouts left out"),
    "minutes of 01": (1, "a run on two CPU cores, in whole minutes, November 2026"),
    "minutes of 02": (1, "the same"),
    "minutes of 03": (1, "the same"),
    "minutes of 04": ((2, 5), "the same, from the fastest to the slowest run"),
    "minutes of 05": (1, "the same"),
    "minutes of 06": ((2, 4), "the same, from the fastest to the slowest run"),
    "minutes of 07": ((1, 2), "the same, 29 November 2026"),
    "minutes of 08": ((1, 2), "the same, 29 November 2026"),
    "gigabytes of disk": (6, "PyTorch's CUDA build for Linux, installed"),
    "seconds with uv": ((56, 3), "`make` with uv, with an empty and a full cache, 27 November 2026"),
    "minutes with pip": (3, "`make` with pip, 27 November 2026"),
    "minutes of busy_machine": (25, "`make results-busy_machine`, 27 November 2026"),
    "milliseconds of the pad": ((6.1, 95, 20.0, 5.0, 95, 6.3), "printed by `make test-browser` on 29 November 2026"),
    "drawings": ((200, 200, 200), "printed by tests/test_drawn.py on 29 November 2026: all, and right by two networks"),
    "photographs": ((500, 484, 492, 494, 497), "printed by tests/test_pictures.py on 29 November 2026"),
    "traced digits": ((50, 49), "printed by `make test-browser`: drawn, and read as themselves; 26 November 2026"),
    "an earlier ladder": (0.47, "% test error with max pooling; its record was replaced on 25 November 2026"),
    "years": (25, "from 1998 to the 2020s, a round figure: the title of notebook 06"),
}
# Printed by others; none of it was measured here.
BY_OTHERS = {
    "GBLearn2": (2002, "the authors' code in Lush"),
    "digits of EBLearn's test": (2000, "EBLearn, tester/src/NetTest.cpp, 2009"),
    "batch normalisation": (2015, "Ioffe and Szegedy"),
    "AdamW": (2019, "Loshchilov and Hutter"),
    "one-cycle": (2018, "Smith"),
    "SiLU": (2018, "Elfwing and others"),
    "elastic distortions": (2003, "Simard, Steinkraus and Platt"),
    "small networks": ((2026,), "the repositories that notebook 06 links, read on 27 November 2026"),
    "ring all-reduce": (2009, "Patarasuk and Yuan, Journal of Parallel and Distributed Computing 69"),
    "distillation": (2015, "Hinton, Vinyals and Dean"),
    "smoothed labels": (2016, "Szegedy and others"),
    "bitmaps": (2018, "W.-H. Wang, LeNet-from-Scratch"),
    "macOS": (14, "the oldest that PyTorch's wheels for Apple silicon name"),
    "PyTorch for Intel Macs": ("2.2", "the last that has wheels for them"),
    "d2l's section": ("7.6", "Dive into Deep Learning, LeNet"),
    "Fashion-MNIST": ((256, 0.469, 0.823, 0.779, 55_296.6), "d2l's Chinese edition: its output for Fashion-MNIST"),
    "d2l's rates": ((55_000, 89_000), "Dive into Deep Learning, section 7.6, the output of its editions"),
    "SimpleChains.jl": (27_000, "julialang.org/blog/2022/04/simple-chains"),
    "OpenNN": ((397_259, 1024, 298_947), "www.opennn.net"),
    "train_mnist_fast": ((215_194, 1660, 99.04, 0.762), "github.com/tuomaso/train_mnist_fast"),
}
# Of the 1998 training: at the paper's letter, and as chosen.
PLAIN, DISTORTED = "60,000 digits", "60,000 digits and 540,000 distorted"
CHOSEN, CHOSEN_DISTORTED = "s = 0.1", "s = 0.1, and 540,000 distorted"
CONNECTED = "every connection"
ORACLE = "tests/test_eblearn.py"
WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def ratio(kind, road):
    """Return how many times as fast as the first road another was, the median, in the stored record of `make bench`."""
    (ratios,) = benched(kind, "ratio_to_the_first")
    return ratios[road][0]


def benched(kind, *names):
    """Return what the stored record of `make bench` has of a comparison."""
    (run,) = runs("bench_amd_epyc_2_threads", kind)
    return [run[name] for name in names]


def cores(record):
    """Return how many threads a record's machine ran, in words."""
    return WORDS[int(re.search(r"(\d+) threads$", lenet_utils.read_runs(record)[0]["machine"])[1])]


def by_hand(name):
    """Return a figure that was measured once and stored nowhere."""
    return BY_HAND[name][0]


def by_others(name):
    """Return a figure that others have published."""
    return BY_OTHERS[name][0]


def text_of(name):
    """Return the text of a file of the project, of a notebook as last committed."""
    return committed(ROOT / name) if name.endswith(".ipynb") else (ROOT / name).read_text(encoding="utf-8")


def the(pattern, name):
    """Return what the group of `pattern` is in a file of the project."""
    return re.search(pattern, text_of(name))[1]


def pin(package, pins=None):
    """Return the version of a package in requirements.txt, or in `pins`."""
    pins = pins or text_of("requirements.txt").split()
    return next(line.partition("==")[2] for line in pins if line.startswith(package + "==")).removesuffix(".*")


# ------------------------------------------------------------------------------------------------- of records


def runs(record, kind=None):
    """Return the runs of a record, of one kind or all."""
    _, by_kind = lenet_utils.read_runs(record)
    return by_kind[kind] if kind else [run for found in by_kind.values() for run in found]


def errors(record, kind, of="test"):
    """Return the errors of the runs of one kind."""
    return [run[f"{of}_errors"] for run in runs(record, kind)]


def error(record, kind, of="test"):
    """Return the mean error of the runs of one kind, in per cent of the 10,000 digits."""
    return statistics.mean(errors(record, kind, of)) / images("t10k") * 100


def seeds(record, kind):
    """Return, as a word, how many runs of one kind there are."""
    return WORDS[len(runs(record, kind))]


def minutes(record, kind=None):
    """Return how long each run took."""
    return [sum(run["history"]["seconds"]) / 60 for run in runs(record, kind) if "history" in run]


def train_error(record, kind, passes):
    """Return the mean error on the training digits after so many passes, in per cent."""
    return 100 - 100 * statistics.mean(run["history"]["train_accuracy"][passes - 1] for run in runs(record, kind))


def setting(record, kind, name):
    """Return a setting that all runs of one kind share."""
    (value,) = {run["settings"][name] for run in runs(record, kind)}
    return value


def rate(rung, kind="batch 64"):
    """Return the digits a second of a rung of notebook 07's ladder, the median, to the hundred."""
    return round(exact_rate(rung, kind), -2)


def exact_rate(rung, kind="batch 64"):
    """Return the digits a second of a rung of notebook 07's ladder, the median of its rounds."""
    (run,) = (run for run in runs("speed_amd_epyc_2_threads", kind) if run["rung"] == rung)
    return statistics.median(run["examples_per_second"])


def gain():
    """Return how many times as fast the top rung of notebook 07's ladder is as the lowest, in the record."""
    return exact_rate("own kernel") / exact_rate("DataLoader")


def share_of_limit(rung="own kernel"):
    """Return what share of the processor's limit a rung reaches at batch size 64, in per cent."""
    limit = max(run["register_flops"] for run in runs("speed_amd_epyc_2_threads", "limits"))
    return 100 * exact_rate(rung) * 1e6 * operations() / limit


def in_parallel(*names):
    """Return a figure of the record of several processes."""
    (found,) = runs("data_parallel")
    return functools.reduce(lambda part, name: part[name], names, found)


def in_race(name):
    """Return a mean over the runs to 99 %."""
    return statistics.mean(run[name] for run in runs("speed_amd_epyc_2_threads", "99 %"))


def beside(kind, setting):
    """Return the digits a second of fit beside 0, 1 and 2 busy processes, medians."""
    found = {}
    for run in runs("busy_machine", kind):
        found.setdefault(run["busy_processes"], []).append(run["digits_per_second"][setting])
    return [statistics.median(found[busy]) for busy in (0, 1, 2)]


# --------------------------------------------------------------------------- of the live code, of stored outputs


def total(net, column, shape=(1, 32, 32)):
    """Return the sum of a column of the network's layer table."""
    return int(lenet.layer_table(net, shape)[column].sum())


def operations():
    """Return the millions of operations of one training example."""
    # Forward, for the weights' and for the inputs' gradients; the first layer is spared the last.
    macs = lenet.layer_table(lenet.tutorial_lenet(), (1, 28, 28)).macs
    return 2 * (3 * int(macs.sum()) - int(macs.iloc[0])) / 1e6


def one_cycle(name):
    """Return what PyTorch's one-cycle rates take where nothing is said."""
    return inspect.signature(OneCycleLR).parameters[name].default


def images(part):
    """Return how many images the header of a file of MNIST says it has; part: "train" or "t10k"."""
    with gzip.open(lenet_utils.DATA / f"MNIST/raw/{part}-images-idx3-ubyte.gz") as file:
        return int.from_bytes(file.read(8)[4:], "big")


def validation():
    """Return how many training digits are set aside for choices."""
    return images("train") - int(the(r"images\[:([\d_]+)\]", "experiments/c3_tables.py"))


def saved():
    """Return how many weights C3's table saves."""
    return int((~lenet.C3_TABLE).sum()) * lenet.LeNet5().c3.kernel_size ** 2


def spinning():
    """Return what the Makefile sets GOMP_SPINCOUNT and KMP_BLOCKTIME to."""
    return [the(rf"export {name} \?= (\d+)", "Makefile") for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")]


def made_with(name):
    """Return the one version of Python, say, that all records name."""
    (version,) = {lenet_utils.read_runs(path.stem)[0]["versions"][name] for path in RECORDS}
    return version


@functools.cache
def outputs(notebook):
    """Return the text of a notebook's outputs, as last committed."""
    cells = nbformat.reads(committed(ROOT / f"notebooks/{notebook}.ipynb"), as_version=4).cells
    shown = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    texts = (output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in shown)
    return "\n".join(text.strip("\n") for text in texts)


def printed(notebook, pattern):
    """Return the numbers that the groups of `pattern` are in the outputs of a notebook."""
    found = re.search(pattern, outputs(notebook))
    assert found, f"notebook {notebook} prints nothing like {pattern}"
    return [float(group.replace(",", "")) for group in found.groups()]


# ------------------------------------------------------------------------------------------------- the table


def rows():
    """Return the table: {document: [(piece of a sentence, value, ...), ...]}."""
    return {
        "README.md": readme(),
        "results/README.md": records(),
        "experiments/README.md": cluster(),
        "01_output_sizes": sizes(),
        "02_c3_connection_table": c3_table(),
        "03_data": data(),
        "04_training": training(),
        "05_original_1998": original(),
        "06_modern_lenet": modern(),
        "07_speed": speeds(),
        "08_inside_lenet": inside(),
    }


def readme():
    """Return the rows of README.md."""
    net, (uv, uv_again) = lenet.LeNet5(), by_hand("seconds with uv")
    oldest, newest = re.search(r"Python ([\d.]+) to ([\d.]+) is needed", text_of("Makefile")).groups()
    gnu, unset = beside("GNU OpenMP", "GOMP_SPINCOUNT=1000"), beside("GNU OpenMP", "no setting")
    return [
        ("built up in {} Jupyter notebooks", WORDS[len(NOTEBOOKS)]),
        ("You need Python {} to {}, make", oldest, newest),
        ("and on Linux {} gigabytes of disk", WORDS[by_hand("gigabytes of disk")]),
        (
            "**{:,}** parameters and **{:,}** connections; the printed {:,} carries a slip",
            total(net, "parameters"), total(net, "connections"), fact("connections, printed"),
        ),
        (
            "LeNet, {} epochs | **{:.2f} %** test accuracy, the mean of {} seeds",
            setting("tutorial_lenet", "10 epochs", "epochs"),
            100 - error("tutorial_lenet", "10 epochs"), seeds("tutorial_lenet", "10 epochs"),
        ),
        (
            "trained as in 1998 | **{:.2f} %** test error, the mean of {} seeds; the paper has {} % ({:.2f} % with its "
            "formulas as printed)",
            error("original_1998", CHOSEN), seeds("original_1998", CHOSEN), fact("test error"),
            error("original_1998", PLAIN),
        ),
        (
            "as a network of today ({:,} parameters) | **{:.2f} %** test error, the mean of {} seeds",
            total(lenet.modern_lenet(), "parameters"),
            error("modern_lenet", "60 epochs"), seeds("modern_lenet", "60 epochs"),
        ),
        (
            "| **{:,.0f}** digits a second, {:.1f} times a loop over a `DataLoader`, {:.0f} % of what the processor "
            "can do at most",
            rate("own kernel"), gain(), share_of_limit(),
        ),
        (
            "a network of {} %, on the same cores | **{:.2f} %** test accuracy after {:.1f} s of training, the mean of "
            "{} seeds",
            99, 100 - error("speed_amd_epyc_2_threads", "99 %"), in_race("train_seconds"),
            seeds("speed_amd_epyc_2_threads", "99 %"),
        ),
        ("and then read off the live network | {} min", by_hand("minutes of 01")),
        ("and what it buys | {} min", by_hand("minutes of 02")),
        ("where the time goes | {} min", by_hand("minutes of 03")),
        ("read the mistakes | {} – {} min", *by_hand("minutes of 04")),
        ("and why its formulas as printed miss it | {} min", by_hand("minutes of 05")),
        ("What {} years changed, one rung at a time", by_hand("years")),
        ("patience, averaging | {} – {} min", *by_hand("minutes of 06")),
        ("From {:,.0f} to {:,.0f} digits a second on two CPU cores", rate("DataLoader"), rate("own kernel")),
        ("against the hardware's limit | {} – {} min", *by_hand("minutes of 07")),
        ("asked of every stored seed | {} – {} min", *by_hand("minutes of 08")),
        # The errata.
        ("images of {} × {}, then `Linear({}*{}*{}, {})`", 32, 32, 16, 5, 5, 120),
        (
            "({}x{} and {}x{})` ({}x{} for one image). Take {} × {} with padding {}, or {} × {} with padding {} |",
            1, 16 * 6 * 6, 16 * 5 * 5, 120, 1, 16 * 6 * 6, 28, 28, 2, 32, 32, 0,
        ),
        ("C1: ({} − {} + {} · {}) / {} + {} = {}, beside", 32, 5, 2, 0, 1, 1, lenet.output_size(32, 5)),
        ("beside code with `padding={}` | With the code's padding {} stays {}; {} belongs to padding {} |",
         2, 32, lenet.output_size(32, 5, 1, 2), lenet.output_size(32, 5), 0),
        ("first convolution with `padding={}`,", 2),
        ("S2's code is `nn.Conv2d({}, {}, kernel_size={})`", 6, 16, 5),
        ("S2 is the pooling, `nn.AvgPool2d(kernel_size={}, stride={})`", 2, 2),
        (
            "`Conv2d({}, {}, {})` has all {} kernels, {:,} parameters; the table has {} kernels, {:,} parameters",
            6, 16, 5, lenet.C3_TABLE.numel(), lenet.C3_TABLE.numel() * 25 + 16,
            int(lenet.C3_TABLE.sum()), int(lenet.C3_TABLE.sum()) * 25 + 16,
        ),
        (
            "normalised by ({:.4f}, {:.4f}), the test set's own",
            *printed("03_data", r"test set: mean ([\d.]+), deviation ([\d.]+)"),
        ),
        (
            "Use the training set's ({}, {}) for both. Both pairs are those of the {} × {} images",
            lenet_utils.MNIST_MEAN, lenet_utils.MNIST_STD, fact("digit"), fact("digit"),
        ),
        ("loss {1}, train acc {2}, test acc {3}, {4} examples/sec, for MNIST", *by_others("Fashion-MNIST")),
        ("for Fashion-MNIST, batch size {}, with", by_others("Fashion-MNIST")[0]),
        (
            "On MNIST ten epochs give {:.2f} %, the mean of {} seeds",
            100 - error("tutorial_lenet", "10 epochs"), seeds("tutorial_lenet", "10 epochs"),
        ),
        ("*卷积神经网络 LeNet5*, {})", 2024),
        (
            "(here {} seconds with an empty cache, {} with a full one) and else with pip ({} minutes)",
            uv, uv_again, WORDS[by_hand("minutes with pip")],
        ),
        ("the CUDA build, {} GB, which runs on a CPU too", by_hand("gigabytes of disk")),
        ("on x86-64 with Python {}, without a GPU", made_with("python").rpartition(".")[0]),
        ("macOS {} or newer", by_others("macOS")),
        ("PyTorch {} was the last for Intel Macs", by_others("PyTorch for Intel Macs")),
        ("wheels for Python {} to {} on the first three systems; nothing has been run on {}.", oldest, newest, newest),
        ("install `torch=={}` and `torchvision=={}` first", pin("torch"), pin("torchvision")),
        ("(`GOMP_SPINCOUNT={}` on Linux, `KMP_BLOCKTIME={}` on macOS and Windows", *spinning()),
        (
            "`fit` then makes {:,.0f} digits a second instead of {:,.0f}; alone it makes {:,.0f} instead of {:,.0f}",
            gnu[2], unset[2], gnu[0], unset[0],
        ),
        ("medians of {} rounds on two cores", WORDS[len(runs("busy_machine", "GNU OpenMP")) // 3]),
        (
            "(PyTorch {}, IPython {}), without d2l, in under {} GiB of memory",
            pin("torch", COLAB), pin("ipython", COLAB).removesuffix(".0"), the(r"peak < (\d+)", "tests/test_colab.py"),
        ),
        (
            "({}, {:,} MHz), medians of {} rounds: MNIST from files to batches as one tensor {:.1f} times as fast as "
            "by a `DataLoader`, training by `fit` {:.1f} times as fast as by d2l's loop, C3 as `PartialConv2d` {:.1f} "
            "times as fast as kernel by kernel; distorting the digits takes {:.0f} % of the training throughput",
            *benched("connections", "vectors", "megahertz"), bench.ROUNDS, ratio("loading", "whole split"),
            ratio("training", "whole split and fit"),
            ratio("connections", "PartialConv2d"), 100 - 100 * ratio("distortion", "distorted"),
        ),
        ("The last runs noticed all {} mistakes", len(all_mistakes())),
        (
            "stopped after {} of {:,} changes: {} were noticed; tests for most of the other {} were written since",
            *by_hand("mutmut"),
        ),
        ("*Proceedings of the IEEE* {}({}), 1998", *fact("volume and issue")),
    ]  # fmt: skip


def parameters_of_teacher():
    """Return how many parameters a teacher has."""
    return sum(parameter.numel() for parameter in distilled_lenet.teacher_network().parameters())


def passes_of_connected():
    """Return how often the networks of full_lenet's runs go over the digits."""
    return setting("full_lenet", CONNECTED, "pool") * setting("full_lenet", CONNECTED, "epochs")


def full_choices():
    """Return the rows of the validation errors of full_lenet and of what it was compared with."""
    kinds = list(full_lenet.CHOICES)
    means = [100 * error("full_lenet_choices", kind, "validation") for kind in kinds]
    return [
        (
            "Mean validation errors of {} networks each, {} passes over distorted digits; the table: {:.1f}, the "
            "table, plain: {:.1f}, every connection: {:.1f}, every connection, teachers: {:.1f}",
            seeds("full_lenet_choices", kinds[0]), passes_of_connected(), *means,
        ),
        ("| {:.0f} minutes a run, and some for the distorted digits |", statistics.mean(minutes("full_lenet_choices"))),
        (
            "How well does it read with every connection in C3 ({:,} parameters)?",
            total(full_lenet.full_lenet(), "parameters"),
        ),
        (
            "| {:.2f} % test error, the mean of {} seeds; {:.2f} % for the five together |",
            error("full_lenet", CONNECTED), seeds("full_lenet", CONNECTED), error("full_lenet", "ensemble of five"),
        ),
        ("| {:.0f} minutes a run, all digits |", statistics.mean(minutes("full_lenet", CONNECTED))),
    ]  # fmt: skip


def students():
    """Return the row of the students' validation errors."""
    kinds = ("labels", "teachers", "teachers, temperature 2")
    means = [100 * error("distilled_lenet_choices", kind, "validation") for kind in kinds]
    warm = setting("distilled_lenet_choices", kinds[-1], "temperature")
    piece = (
        "mean validation errors of {} students each, labels: {:.1f}; teachers: {:.1f}; "
        "teachers, temperature {:.0f}: {:.1f}"
    )
    return [(piece, seeds("distilled_lenet_choices", kinds[0]), *means[:2], warm, means[2])]


def refusals():
    """Return the rows of the limits at which networks refuse."""
    kinds = ("1998", "tutorial", "modern")
    found = {kind: runs("refusal", kind) for kind in kinds}
    limits = [statistics.median(run["limits"]["2 %"] for run in found[kind]) for kind in kinds]
    refused = [statistics.mean(run["test_refused"] for run in found[kind]) / images("t10k") * 100 for kind in kinds]
    left = [
        statistics.mean(100 * run["test_errors_kept"] / (images("t10k") - run["test_refused"]) for run in found[kind])
        for kind in kinds
    ]
    short, long = (
        statistics.mean(run["train_seconds"] / 60 for kind in of for run in found[kind])
        for of in (kinds[:2], kinds[2:])
    )
    share = the(r"SHARES = {\"(\d+) %", "experiments/refusal.py")
    return [
        (
            "trained on the first {:,} digits, refuse {} % of the other {:,}?",
            images("train") - validation(), share, validation(),
        ),
        (
            "Medians of {} (1998), {} (tutorial) and {} seeds (modern): above a squared distance of {:.1f} to the "
            "nearest bitmap (1998), below a "
            "largest softmax probability of {:.3f} (tutorial) or {:.3f} (modern).",
            *(seeds("refusal", kind) for kind in kinds), *limits,
        ),
        (
            "refuse {:.2f} %, {:.2f} % and {:.2f} % of the test digits (1998, tutorial, modern), and leaves {:.2f} %, "
            "{:.2f} % and {:.2f} % error on the rest (means; notebook 08 uses the medians)",
            *refused, *left,
        ),
        ("| {:.1f} minutes a run of the first two kinds, {:.0f} of the third, beside other work |", short, long),
    ]  # fmt: skip


def cluster():
    """Return the rows of experiments/README.md: the ladder's time on many cores, from that of each of its runs."""
    each = sorted([*minutes("modern_lenet"), *minutes("modern_lenet_choices")])
    of_average = minutes("modern_lenet", modern_lenet.AVERAGE)  # the same trainings as those of the last rung
    whole, count = sum(each) - sum(of_average), len(each) - len(of_average)
    price = 20  # core-hours for a dollar, an assumption
    return [
        (
            "| {} | {:.1f} hours | {:.0f} minutes | {:.0f} minutes | {:.2f} dollars |",
            count, whole / 60 / 2, max(whole / 64, each[-1]), max(whole / 1000, each[-1]), whole / 60 / price,
        ),
        ("| what | runs | on {} cores | on {} | on {:,} | cost |", 2, 64, 1000),
        ("a dollar for {} core-hours", price),
        ("takes {:.0f} minutes, so beyond {:.0f} cores nothing", each[-1], math.ceil(whole / each[-1])),
        ("With `--gpus {}` {} runs share one GPU", 0.25, WORDS[4]),
    ]  # fmt: skip


def records():
    """Return the rows of results/README.md."""
    tutorial, choices = minutes("tutorial_lenet"), minutes("original_1998_choices")
    in_cpp = [*minutes("original_1998", CHOSEN), *minutes("original_1998", CHOSEN_DISTORTED)]
    before = [*minutes("original_1998", PLAIN), *minutes("original_1998", DISTORTED)]
    adamw = [*minutes("original_1998", PLAIN + ", AdamW"), *minutes("original_1998", DISTORTED + ", AdamW")]
    epochs = {
        count: statistics.mean(
            sum(run["history"]["seconds"]) / 60
            for run in runs("modern_lenet")
            if run.get("settings", {}).get("epochs") == count
        )
        for count in (12, 60)
    }
    recipe = "{epochs} epochs, rate {lr}".format(**speed.RECIPE)
    spin, block = spinning()
    return [
        ("| `make results-tutorial_lenet` | {} cores of an AMD EPYC |", cores("tutorial_lenet")),
        ("| `make results-c3_tables` | {} cores of an AMD EPYC |", cores("c3_tables")),
        ("| `make results-speed` | {} cores of an AMD EPYC |", cores("speed_choices")),
        ("| `make results-busy_machine` | {} cores of an AMD EPYC |", cores("busy_machine")),
        ("All records were made with PyTorch {} on CPUs", made_with("torch").partition("+")[0]),
        (
            "on the last {:,} training digits, by networks trained on the first {:,}",
            validation(), images("train") - validation(),
        ),
        (
            "d2l's LeNet ({:,} parameters) read, with d2l's learning rate {} and {} epochs, batch size {}?",
            total(lenet.tutorial_lenet(), "parameters", (1, 28, 28)),
            *(setting("tutorial_lenet", "10 epochs", name) for name in ("lr", "epochs", "batch_size")),
        ),
        (
            "| {:.2f} % test accuracy, the mean of {} seeds ({}, {} and {} errors of {:,})",
            100 - error("tutorial_lenet", "10 epochs"), seeds("tutorial_lenet", "10 epochs"),
            *errors("tutorial_lenet", "10 epochs"), images("t10k"),
        ),
        ("| {:.0f} minute a seed |", statistics.mean(tutorial)),
        ("or random tables, {} seeds each", seeds("c3_tables", "random")),
        (
            "{:.2f} %, {:.2f} % and {:.2f} % test error: the three cannot be told apart; the table saves {} parameters",
            *(error("c3_tables", kind) for kind in ("full", "paper", "random")), saved(),
        ),
        (
            "| {} seconds a run, {} runs |",
            5 * round(statistics.median(minutes("c3_tables")) * 60 / 5), len(runs("c3_tables")),
        ),
        ("| {:.1f} minutes a run as a rule, {} runs |", statistics.median(choices), len(choices)),
        (
            "one digit at a time, {:,} second-order step sizes, {} passes",
            total(lenet.LeNet5(), "parameters"), original_1998.PASSES,
        ),
        (
            "| {:.2f} % test error, {:.2f} % with distorted digits ({} and {} seeds); the paper has {} % and {} %",
            error("original_1998", CHOSEN), error("original_1998", CHOSEN_DISTORTED),
            seeds("original_1998", CHOSEN), seeds("original_1998", CHOSEN_DISTORTED),
            fact("test error"), fact("test error, distorted"),
        ),
        (
            "With the paper's formulas as printed: {:.2f} % and, with j = {:.0f}, {:.2f} % ({} and {} seeds)",
            error("original_1998", PLAIN), setting("original_1998", DISTORTED, "j"), error("original_1998", DISTORTED),
            seeds("original_1998", PLAIN), seeds("original_1998", DISTORTED),
        ),
        (
            "By AdamW, with j = {:.0f} and weight decay {}: {:.2f} % and {:.2f} %",
            setting("original_1998", PLAIN + ", AdamW", "j"),
            the(r'ADAMW = {.*"decay": ([\d.]+)', "experiments/original_1998.py"),
            error("original_1998", PLAIN + ", AdamW"), error("original_1998", DISTORTED + ", AdamW"),
        ),
        (
            "| {:.1f} to {:.1f} minutes a run of {:,} digits ({:.1f} to {:.0f} before the loop was in C++), {:.0f} to "
            "{:.0f} by AdamW; {} runs |",
            min(in_cpp), max(in_cpp), images("train"), min(before), max(before),
            min(adamw), max(adamw), len(runs("original_1998")),
        ),
        ("| {:.1f} hours in all |", sum(minutes("modern_lenet_choices")) / 60),
        (
            "({} networks of {:,} parameters, trained on the first {:,} digits)",
            WORDS[len(runs("distilled_lenet"))], parameters_of_teacher(), 50_000,
        ),
        (
            "| {:.2f} % test error, the mean of {} seeds ({:.2f} % validation error) |",
            error("distilled_lenet", "teacher"), seeds("distilled_lenet", "teacher"),
            error("distilled_lenet", "teacher", "validation"),
        ),
        ("| {:.0f} minutes a run |", statistics.mean(minutes("distilled_lenet"))),
        *students(),
        *full_choices(),
        *refusals(),
        ("| {:.0f} minutes a run, and some for the pool |", statistics.mean(minutes("distilled_lenet_choices"))),
        ("What did {} years change?", by_hand("years")),
        (
            "{} seeds a rung, {} where five left it open, `modern_lenet` at the top ({:,} parameters)",
            seeds("modern_lenet", "60 epochs"), seeds("modern_lenet", "softmax"),
            total(lenet.modern_lenet(), "parameters"),
        ),
        (
            "| {:.2f} % test error, the mean of {} seeds; {:.2f} % for the five together; "
            "{:.2f} % accuracy after {} epochs of a shorter recipe",
            error("modern_lenet", "60 epochs"), seeds("modern_lenet", "60 epochs"),
            error("modern_lenet", "ensemble of five"), 100 - error("modern_lenet", "4 epochs"),
            WORDS[setting("modern_lenet", "4 epochs", "epochs")],
        ),
        ("| {:.1f} minutes a run of {} epochs, {:.0f} of {} |", epochs[12], 12, epochs[60], 60),
        (
            "Which of {} recipes for {:.0f} % has at most {} % validation error",
            WORDS[len(speed.CHOICES)], 99, the(r"at or below ([\d.]+) % error", "experiments/speed.py"),
        ),
        (
            "| {} epochs, batch size {}, learning rate {}: {:.2f} % |",
            WORDS[speed.RECIPE["epochs"]], speed.RECIPE["batch_size"], speed.RECIPE["lr"],
            error("speed_choices", recipe, "validation"),
        ),
        (
            "| {:,.0f} digits a second with an own kernel at batch size {}, {:.1f} times the loop over a `DataLoader`; "
            "{:.0f} % of what two cores can do at most;",
            rate("own kernel"), runs("speed_amd_epyc_2_threads", "batch 64")[0]["batch_size"], gain(),
            share_of_limit(),
        ),
        (
            "How long from the files to {} %? d2l's LeNet with ReLU, {} epochs of AdamW",
            99, WORDS[speed.RECIPE["epochs"]],
        ),
        (
            "| an all-reduce of {:.1f} ms a step for {:,} gradients, against {:.1f} ms of a step on one process |",
            1e3 * in_parallel("all_reduce_seconds", "61706")[0],
            total(lenet.tutorial_lenet(), "parameters", (1, 28, 28)),
            1e3 * in_parallel("step_seconds", "one process"),
        ),
        (
            "| {:.2f} % after {:.1f} s of training, the mean of {} seeds; unpacking and compiling take {:.0f} s more",
            100 - error("speed_amd_epyc_2_threads", "99 %"), in_race("train_seconds"),
            seeds("speed_amd_epyc_2_threads", "99 %"), in_race("decode_seconds") + in_race("compile_seconds"),
        ),
        (
            "`GOMP_SPINCOUNT={}`: {:,.0f} digits a second alone, {:,.0f} and {:,.0f} beside one and two busy "
            "processes; without a setting {:,.0f}, {:,.0f} and {:,.0f}; {} is worse beside one ({:,.0f}).",
            spin, *beside("GNU OpenMP", f"GOMP_SPINCOUNT={spin}"), *beside("GNU OpenMP", "no setting"),
            20000, beside("GNU OpenMP", "GOMP_SPINCOUNT=20000")[1],
        ),
        (
            "`KMP_BLOCKTIME={}`: {:,.0f}, {:,.0f} and {:,.0f}; without a setting {:,.0f}, {:,.0f} and {:,.0f} "
            "(one round)",
            block, *beside("Intel OpenMP", f"KMP_BLOCKTIME={block}"), *beside("Intel OpenMP", "no setting"),
        ),
        ("| {} minutes | Measured without a record", by_hand("minutes of busy_machine")),
        (
            "a median of {} ms and {} % under {} ms; from the moment at which the page hears of it {} ms, "
            "{} % under {} ms",
            *by_hand("milliseconds of the pad"),
        ),
        ("read of {} drawings of ordinary styles ({} and {})", *by_hand("drawings")),
        (
            "of {} hard photographs made for it ({} and {}; of the digits themselves {} and {}).",
            *by_hand("photographs"),
        ),
        (
            "of the first {} test digits, traced into strokes and drawn with the mouse, are read as the digits "
            "themselves ({}).",
            *by_hand("traced digits"),
        ),
    ]  # fmt: skip


def sizes():
    """Return the rows of notebook 01."""
    table = lenet.layer_table(lenet.LeNet5())
    sides = [32, *dict.fromkeys(size[1] for size in table.output if len(size) == 3)]
    window, side, digit = fact("window"), fact("input"), fact("digit")
    return [
        ("Why {} becomes {}, and what `padding={}` has to do with it", sides[0], sides[1], (sides[0] - digit) // 2),
        (
            r"A window of $k$ has $\lfloor (n + {}p - k) / s \rfloor + {}$ places along $n$ cells",
            lenet.output_size(4, 1, padding=1) - 4, lenet.output_size(1, 1),
        ),
        ("cells: {}, {}, {}, {}, {}, {} down LeNet-5", *sides),
        ("`padding={}` makes up for a window of {}: use it on", (window - 1) // 2, window),
        ("use it on {} × {}, or pad to {} × {}, never both", digit, digit, side, side),
        ("equals a full connection at {} × {}, and reads larger images", side, side),
        (
            "- {:,} parameters, {:,} connections (the printed {:,} is a slip), {:,} multiply-adds",
            table.parameters.sum(), table.connections.sum(), fact("connections, printed"), table.macs.sum(),
        ),
        ("d2l's LeNet has {:,} parameters", total(lenet.tutorial_lenet(), "parameters", (1, 28, 28))),
        ("*batch normalisation* ({})", by_others("batch normalisation")),
        ("(d2l, section {})", by_others("d2l's section")),
    ]  # fmt: skip


def c3_table():
    """Return the rows of notebook 02."""
    maps, inputs = lenet.C3_TABLE.shape
    kernels, kernel = int(lenet.C3_TABLE.sum()), lenet.LeNet5().c3.kernel_size ** 2
    c3, dense = kernels * kernel + maps, maps * inputs * kernel + maps
    conv = (inputs, maps, lenet.LeNet5().c3.kernel_size)
    return [
        ("Why C3 has fewer parameters than `Conv2d({}, {}, {})`.", *conv),
        ("C3 has {} of {} possible kernels", kernels, maps * inputs),
        ("Hence {} · {} + {} = {:,} parameters;", kernels, kernel, maps, c3),
        ("`Conv2d({}, {}, {})` has {:,} and is another layer", *conv, dense),
        ("leaves {} weights for the optimiser", saved()),
        ("this shows only the first: {:,} connections fewer", 10 * 10 * saved()),
        (
            "An even split would be {:.0f} % for the first six maps and {:.0f} % for the next nine",
            100 / 3, 100 / 4,
        ),
        (
            "the whole network has {:,} in place of the paper's {:,}",
            total(lenet.LeNet5(), "parameters") + saved(), fact("parameters"),
        ),
        ("{}/{} + {}/{} + {}/{} = {:.1f} of {}", 6, 3, 9, 4, 1, 6, float((1 / lenet.C3_TABLE.sum(dim=1)).sum()), maps),
    ]  # fmt: skip


def data():
    """Return the rows of notebook 03."""
    digits, pixels = images("train"), fact("digit") ** 2
    background, ink = fact("background, foreground")
    header, bytes_of_labels = 16, 8
    unpacked = sum(header + images(part) * pixels + bytes_of_labels + images(part) for part in ("train", "t10k"))
    return [
        ("What the {} bytes at the start of an IDX file say", header),
        ("all of MNIST is {:.0f} MB", unpacked / 1e6),
        (
            "({}, {}) are the mean and deviation of the {} × {} *training* images",
            lenet_utils.MNIST_MEAN, lenet_utils.MNIST_STD, fact("digit"), fact("digit"),
        ),
        ("The first digit is bytes {} to {}", header, header + pixels - 1),
        ("carries about $({}/{})^{} = {:.2f}$ times the ink", 32, 28, 2, (32 / 28) ** 2),
        ("({:.0f} MB at {} × {})", 4 * digits * fact("input") ** 2 / 1e6, fact("input"), fact("input")),
        ("no value is further than {:.3f} / {} from the middle", ink - background, 2),
    ]  # fmt: skip


def training():
    """Return the rows of notebook 04."""
    counts = errors("tutorial_lenet", "10 epochs")
    return [
        ("(d2l) on all {:,} MNIST digits", images("train")),
        ("the first loss is near ln {}", 10),
        ("Ten epochs give {:.1f} % on average over three seeds", 100 - error("tutorial_lenet", "10 epochs")),
        ("LeNet-5 as published, and its {} %", fact("test error")),
        (
            "The mean is {:.2f} %, but the seeds differ by up to {} errors",
            100 - error("tutorial_lenet", "10 epochs"), max(counts) - min(counts),
        ),
        ("a first loss far from {:.1f}", *printed("04_training", r"ln 10: ([\d.]+)")),
        ("the network's {:,} parameters are in", total(lenet.tutorial_lenet(), "parameters", (1, 28, 28))),
    ]  # fmt: skip


def original():
    """Return the rows of notebook 05."""
    uses, squashed_one = original_1998.USES["c1"], lenet.ScaledTanh()(torch.ones(1)).item()
    oracle = [the(rf"steps.{name}\(\).item\(\) == pytest.approx\(([\d.]+)", ORACLE) for name in ("min", "max")]
    read = [int(the(rf"\(False, {number}", ORACLE)) for number in (r"(\d+)", r"\d+, (\d+)")]
    low, high = printed("05_original_1998", r"the authors' code +all ([\d.]+)e-05 to ([\d.]+)e-02")
    return [
        ("# 05 · LeNet-5 as published, and its {} %", fact("test error")),
        (
            "Taken at its letter, the paper's recipe comes to {:.2f} % errors here. Three settings that it leaves "
            "open or in doubt, the width of the Gaussians behind the output units among them, take it to {:.2f} %, and "
            "below the paper's {} %",
            error("original_1998", PLAIN), error("original_1998", CHOSEN), fact("test error"),
        ),
        ("turn them into {:,} step sizes", total(lenet.LeNet5(), "parameters")),
        ("Turn them into {:,} step sizes", total(lenet.LeNet5(), "parameters")),
        ("read the full runs of {} passes", original_1998.PASSES),
        ("- f(±{:.0f}) = ±{:.0f}, a subsampling unit", 1, squashed_one),
        ("Squash so that ±{} stays ±{:.0f}", 1, squashed_one),
        (
            "At the paper's letter we get {:.2f} % ({:.2f} % with distorted digits and a larger $j$); with $s = {}$ "
            "and $j = {:.0f}$, chosen on validation digits, {:.2f} % ({:.2f} %), where the paper has {} % ({} %)",
            error("original_1998", PLAIN), error("original_1998", DISTORTED),
            original_1998.CHOSEN["s"], original_1998.CHOSEN["j"],
            error("original_1998", CHOSEN), error("original_1998", CHOSEN_DISTORTED),
            fact("test error"), fact("test error, distorted"),
        ),
        ("06 · What {} years changed, one rung at a time", by_hand("years")),
        ("### The curves: the paper's Figure {}", fact("figures")[0]),
        ("### More digits: the paper's Figure {}, and the distorted set", fact("figures")[1]),
        ("## See what is left: the paper's Figure {}", fact("figures")[2]),
        ("## Stand beside the other methods of 1998: the paper's Figure {}", fact("figures")[3]),
        (
            "| training error after {} passes | {} % | {:.2f} % |",
            19, fact("training error after 19 passes"), train_error("original_1998", CHOSEN, 19),
        ),
        (
            "| test error | {} % (one run) | {:.2f} % (mean of {}) |",
            fact("test error"), error("original_1998", CHOSEN), seeds("original_1998", CHOSEN),
        ),
        (
            "| test error, distorted digits | {} % (one run) | {:.2f} % (mean of {}) |",
            fact("test error, distorted"), error("original_1998", CHOSEN_DISTORTED),
            seeds("original_1998", CHOSEN_DISTORTED),
        ),
        ('in "LeNet-from-Scratch", {}.)', by_others("bitmaps")),
        ("(Lush with GBLearn2, {}) that says", by_others("GBLearn2")),
        (
            "The authors' code, with $v = {}$, comes to {} × {}⁻⁵ to {:.3f}, nearly that (its demo's $v = {}$ starts "
            "at {} × {}⁻⁴)",
            original_1998.AUTHORS["gain"], low, 10, high / 100,
            1, *printed("05_original_1998", r"their demo, v = 1 +all ([\d.]+)e-04"), 10,
        ),
        (
            "AdamW saves {:.0f} errors ({} passes, batches of {}, weight decay {})",
            100 * (error("original_1998", PLAIN) - error("modern_lenet", "AdamW")),
            *(setting("modern_lenet", "AdamW", name) for name in ("epochs", "batch_size", "weight_decay")),
        ),
        ("tests its own LeNet-5 ({:,} digits, five passes", by_others("digits of EBLearn's test")),
        ("a weight used at {} places moves {} sums at once", uses, uses),
        ("the steps come out as {} and {}, to six decimals", *oracle),
        ("the digits read as {:,} of {:,} for training and {} of {:,} for testing", read[0], 2000, read[1], 1000),
        ("The {:,} are gone through twice", images("train") + fact("distorted digits")),
    ]  # fmt: skip


def modern():
    """Return the rows of notebook 06."""
    xs = torch.linspace(-3, 0, 3001)
    last = ("cross-entropy", "softmax")
    worth = (
        error("original_1998", PLAIN) - error("modern_lenet", "AdamW"),
        error("modern_lenet", "cross-entropy") - error("modern_lenet", "SiLU"),
        error("modern_lenet", "SiLU") - error("modern_lenet", "batch normalisation"),
    )
    first = (
        "Replace the optimiser",
        "Let the classes compete",
        "Free the output codes",
        "Change the activation",
        "Normalise",
    )
    return [
        ("# 06 · What {} years changed, one rung at a time", by_hand("years")),
        (
            "never with more than {:,} parameters, until its test error has fallen from {:.2f} % to {:.2f} %",
            total(lenet.tutorial_lenet(), "parameters", (1, 28, 28)),
            error("original_1998", PLAIN), error("modern_lenet", "60 epochs"),
        ),
        ("Takes {} to {} minutes on two CPU cores", *by_hand("minutes of 06")),
        ("Train a network of {:.0f} % in four epochs", 100 - error("modern_lenet", "4 epochs")),
        ("Reach {:.0f} % in four epochs", 100 - error("modern_lenet", "4 epochs")),
        ("A network of {:.0f} % takes four epochs", 100 - error("modern_lenet", "4 epochs")),
        (
            "The same maps, units and connection table, {:,} parameters then and {:,} now: {:.2f} % with the formulas "
            "of 1998 as printed ({:.2f} % with wider Gaussians, notebook 05), {:.2f} % today (mean of {} seeds), "
            "{:.2f} % for five networks together",
            fact("parameters"), total(lenet.modern_lenet(), "parameters"),
            error("original_1998", PLAIN), error("original_1998", CHOSEN), error("modern_lenet", "60 epochs"),
            seeds("modern_lenet", "60 epochs"), error("modern_lenet", "ensemble of five"),
        ),
        ("07 · From {:,.0f} to {:,.0f} digits a second", rate("DataLoader"), rate("own kernel")),
        *((f"## {{}} · {rung}", number) for number, rung in enumerate(first, 1)),
        ("## {} and {} · Distort the digits", 6, 7),
        ("## {} · Do not ask for certainty", 8),
        ("## {} · Dare a larger rate", 9),
        ("## {} · Be patient: {} epochs", 10, setting("modern_lenet", "60 epochs", "epochs")),
        ("## {} · Average", len(modern_lenet.LADDER) + 1),
        ("## {} · Ask larger networks", len(modern_lenet.LADDER) + 2),
        ("## {} · Connect everything", len(modern_lenet.LADDER) + 3),
        *every_connection(),
        ("(Hinton, Vinyals and Dean, {})", by_others("distillation")),
        ("its first weights from ± {:.2f} (the root of {}/{})", 84**-0.5, 1, 84),
        ("**AdamW** (Loshchilov and Hutter, {})", by_others("AdamW")),
        ("**One-cycle** (Smith, {})", by_others("one-cycle")),
        ("goes from {} to {} and back", one_cycle("max_momentum"), one_cycle("base_momentum")),
        ("(Elfwing and others, {})", by_others("SiLU")),
        ("(Ioffe and Szegedy, {})", by_others("batch normalisation")),
        ("Simard, Steinkraus and Platt ({})", by_others("elastic distortions")),
        ("(Szegedy and others, {})", by_others("smoothed labels")),
        # An example, no measurement: nine in ten of what is left.
        ("read with {} % certainty still pushes the weights towards {} %", 100 - 0.1, 100 - 0.01),
        ("({:.2f} % wrong in the last epoch)", train_error("modern_lenet", "batch normalisation", 12)),
        (
            "The training error has gone up, from {:.2f} % to {:.1f} %",
            train_error("modern_lenet", "batch normalisation", 12), train_error("modern_lenet", "elastic", 12),
        ),
        (
            "is down to {:.2f} % after {} epochs: nothing is left to learn there. With distorted digits, which are "
            "harder, the training error is still {:.2f} % after {}",
            train_error("modern_lenet", "batch normalisation", 12), 12,
            train_error("modern_lenet", "60 epochs", 60), 60,
        ),
        (
            "{:.0f} % of the gain are the optimiser, the activation and the normalisation, in this order and counted "
            "from {:.2f} %; counted from the {:.2f} % of wider Gaussians",
            100 * sum(worth) / (error("original_1998", PLAIN) - error("modern_lenet", "60 epochs")),
            error("original_1998", PLAIN), error("original_1998", CHOSEN),
        ),
        (
            "takes the tutorial network from {:.2f} % to {:.2f} %",
            error("tutorial_lenet", "10 epochs"), error("modern_lenet", "tutorial network"),
        ),
        ("below zero near −{:.1f})", -xs[torch.nn.functional.silu(xs).argmin()].item()),
        ("end nearly by heart ({:.2f} %, against {:.2f} %", *(train_error("modern_lenet", k, 12) for k in last)),
        ("as we read them in these repositories in November {}", by_others("small networks")[0]),
        ("and ended at {} %", by_hand("an earlier ladder")),
        ("epochs, {} steps each: by which factor", -(-images("train") // modern_lenet.START["batch_size"])),
    ]  # fmt: skip


def every_connection():
    """Return the rows of notebook 06's last step."""
    table, full = (100 * error("full_lenet_choices", kind, "validation") for kind in ("the table", CONNECTED))
    lowest, highest = (100 * end(errors("full_lenet", CONNECTED)) / images("t10k") for end in (min, max))
    in_norms = [total(make(), "parameters") for make in (lenet.modern_lenet, full_lenet.plain_lenet)]
    together, passes = error("full_lenet", "ensemble of five"), passes_of_connected()
    more = total(full_lenet.full_lenet(), "parameters") - in_norms[1]
    (by_larger,) = printed("06_modern_lenet", r"of all digits (\d+)")
    return [
        ("The {} kernels cost {} parameters", more // 25, more),
        ("factors and biases, {} more", in_norms[0] - in_norms[1] - 120 - 84),
        ("but for batches of {}, affine", setting("full_lenet", CONNECTED, "batch_size")),
        ("there are {:.0f} % fewer errors", 100 - 100 * full / table),
        ("could have been reported as {:.2f} % or as {:.2f} %", lowest, highest),
        ("The three larger networks together, counted further down, make {:.0f} errors", by_larger),
        ("what is left of the {:.0f} % on the test digits", 100 - 100 * full / table),
        (
            "Every connection in C3 and {} passes: {:.0f} % fewer validation errors, and on the test digits {:.2f} %, "
            "{:.2f} % for five networks together",
            passes, 100 - 100 * full / table, error("full_lenet", CONNECTED), together,
        ),
    ]  # fmt: skip


def speeds():
    """Return the rows of notebook 07. What it says of "this page" is held against its own outputs."""
    d2l_low, d2l_high = by_others("d2l's rates")
    parameters, card, accuracy, seconds = by_others("train_mnist_fast")
    kernel = text_of("experiments/train_lenet.cpp") + text_of("experiments/lanes.h")
    return [
        ("# 07 · From {:,.0f} to {:,.0f} digits a second", rate("DataLoader"), rate("own kernel")),
        ("Train a network of {} %, from the files on disk", 99),
        ("One training example costs {:.2f} million operations", operations()),
        ("## Race to {} %", 99),
        ("{} lines make the whole step", round(len(kernel.splitlines()), -1)),
        (
            "If loading took no time at all, {} % would be left",
            100 - 10 * int(the(r"1 / \(1 - 0\.(\d)\)", "notebooks/07_speed.ipynb")),
        ),
        ("Patarasuk and Yuan, {})", by_others("ring all-reduce")),
        (
            "step after step, {:,} times",
            3 * -(-images("train") // runs("speed_amd_epyc_2_threads", "batch 64")[0]["batch_size"]),
        ),
        ("| d2l, [chapter {}]", by_others("d2l's section")),
        ("| a GPU, not named | {:,} to {:,}, as printed in its editions", d2l_low, d2l_high),
        ("| about {:,} a core |", by_others("SimpleChains.jl")),
        ("| {:,}, batch {} (PyTorch eager there: {:,})", *by_others("OpenNN")),
        ("| {:,} parameters | GTX {} Ti | {} % in {} s |", parameters, card, accuracy, seconds),
        (
            "chosen by the test set; {:.1f} times our parameters",
            parameters / total(lenet.tutorial_lenet(), "parameters", (1, 28, 28)),
        ),
    ]  # fmt: skip


def inside():
    """Return the rows of notebook 08."""
    field = lenet.layer_table(lenet.LeNet5()).set_index("layer").receptive_field["c3"]
    (by_all,) = printed("08_inside_lenet", r"'by 5': (\d+)}")
    seeds = len(errors("original_1998", PLAIN))
    of_kinds = [seeds, len(errors("original_1998", DISTORTED)), len(errors("modern_lenet", "60 epochs"))]
    first = errors("original_1998", PLAIN)[0]
    scales = printed("08_inside_lenet", r"scale, .*\n +1998 +\S+ \(.*?\) +(\S+) \(.*?\) +(\S+) ")
    with_distorted = printed("08_inside_lenet", r"scale, .*\n.*\n +1998, dis\D+\S+ \(.*?\) +(\S+) \(.*?\) +(\S+) ")
    turned = printed("08_inside_lenet", r"rotation .*\n.*\n.*\n +modern +(\S+) \(.*?\) +(\S+) ")
    kept = printed("08_inside_lenet", r"1998: refused .*; error on the rest (\S+), (\S+), (\S+), (\S+), (\S+) %")
    scribbles = printed(
        "08_inside_lenet", r"scribbles +taken for a digit, in %: {'1998': '(\d+) (\d+) (\d+) (\d+) (\d+)'"
    )
    assert 40 <= min(scribbles) <= max(scribbles) <= 50
    return [
        ("what its last {} units have learnt", fact("units of F6")),
        ("Takes {} to {} minutes on two CPU cores", *by_hand("minutes of 08")),
        ("thicken {:,} test digits", images("t10k") // 20),
        ("a box of {} pixels, grey edges", the(r"the box of (\d+) x", "digit_pad.py")),
        ("pieces of strokes of {} × {} pixels", field, field),
        (
            "{:.0f} of seed {}'s {} errors are errors of all five networks. Each of the other {:.0f} digits",
            by_all, 0, first, first - by_all,
        ),
        ("{} and {} % in the mean at the two ends, against {} and {} %", *with_distorted, *scales),
        ("the modern networks misread {} and {} %", *turned),
        ("for all {} networks that could be asked", sum(of_kinds)),
        ("misread {:.2f} % in the mean", error("original_1998", PLAIN)),
        ("to {:.2f} %, as 05 shows", error("original_1998", CHOSEN)),
        (
            "from {:.2f} % to about {:.1f} %",
            statistics.mean(errors("original_1998", PLAIN)) / 100, statistics.mean(kept),
        ),
        ("makes the 1998 network refuse about {} %", the(r"limits at\n# which (\d) %", "digit_pad.py")),
        (
            "trained on the first {:,} training digits, and the limit is where they refuse {} % of the last {:,}",
            refusal.DIGITS, the(r"limits at\n# which (\d) %", "digit_pad.py"), images("train") - refusal.DIGITS,
        ),
    ]  # fmt: skip
