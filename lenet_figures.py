"""The figures of the notebooks: one look, rows of digits, a plot that redraws in place while training runs.

lenet_utils passes the public names on.
"""

import io
import math
import time
from itertools import zip_longest

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import DisplayHandle, Image
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

COLOURS = {"train": "#0072B2", "test": "#D55E00", "validation": "#009E73", "grey": "#6E6E6E"}


def use_plot_style():
    """Give every figure of the notebooks one look: sharp, white behind (legible in dark themes too), an alt text."""
    plt.rcParams.update({
        "figure.dpi": 100, "figure.facecolor": "white", "savefig.facecolor": "white", "font.size": 10,
        "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False,
        "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())), "image.cmap": "gray_r",
    })  # fmt: skip
    if get_ipython() is not None:
        set_matplotlib_formats("retina")
        formatter = get_ipython().display_formatter.formatters["image/png"]
        draw = formatter.lookup_by_type(Figure)
        formatter.for_type(Figure, lambda fig: _with_alt(draw(fig), fig))


def _with_alt(drawn, fig):
    """Return a drawn figure, bytes or bytes and their metadata, with its alt text among the metadata."""
    if drawn is None:  # a figure without axes
        return None
    data, metadata = drawn if isinstance(drawn, tuple) else (drawn, {})
    return data, metadata | {"alt": alt_text(fig)}


def alt_text(fig):
    """Return what a figure shows, in words, for those who cannot see it: its titles, axes, curves and pictures."""
    panels = []
    for ax in fig.axes:
        words, x, y = ax.get_title().replace("\n", " "), ax.get_xlabel(), ax.get_ylabel()
        if x or y:
            words += f" ({f'{y} against {x}' if x and y else y or f'along {x}'})"
        legend = ax.get_legend()
        if legend:
            words += " with " + ", ".join(text.get_text() for text in legend.get_texts())
        panels.append(words.strip() or ("an image" if ax.images else ""))
    told = list(dict.fromkeys(panel for panel in panels if panel))  # rows of digits say the same again and again
    kind = "Images" if any(ax.images for ax in fig.axes) else "Plot"
    title = fig.get_suptitle()
    more = f", and {len(told) - 12} more" if len(told) > 12 else ""
    return f"{kind}{f' ({title})' if title else ''}: {'; '.join(told[:12]) or 'without words'}{more}"


def show_images(images, titles=(), columns=10, row_titles=(), scale=0.8, **options):
    """Draw images [height, width] in rows of `columns`, without ticks; None leaves a place empty.

    titles: one above each image. row_titles: one at the left of each row. scale: inches a column. options: imshow's.
    """
    rows, height = math.ceil(len(images) / columns), scale * (1.3 if len(titles) else 1)
    width = columns * scale + (1 if len(row_titles) else 0)
    fig, axes = plt.subplots(rows, columns, figsize=(width, rows * height), squeeze=False)
    for ax, image, title in zip_longest(axes.flat, images, titles):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title("" if title is None else title, fontsize=8, pad=3)
        if image is not None:
            ax.imshow(image, **options)
    for ax, title in zip(axes[:, 0], row_titles, strict=False):
        ax.set_ylabel(title, rotation=0, ha="right", va="center")
    plt.show()


class LivePlot:
    """A figure that redraws in place while training runs: loss at the left, accuracy at the right.

        plot = LivePlot(epochs=10, examples=60_000, device="cpu")
        plot.add(0.2, train_loss=2.31, train_accuracy=0.11)      # at epoch 0.2
        plot.add(1, test_accuracy=0.86)
        plot.close()                                             # draws the last state

    epochs: passes in all, the width of the axes. examples: digits in a pass, for the rate and the time
    left in the title. first_epoch: where a resumed training begins.

    Curves whose name ends in "loss" go left, the others right. A redraw takes about a tenth of a second:
    the plot leaves redraws out to keep its share of the time below `max_share`; close() always draws.
    Outside a notebook nothing is drawn.
    """

    max_share = 0.03

    def __init__(self, epochs, examples, device, first_epoch=0):
        self.epochs, self.examples, self.device, self.first_epoch = epochs, examples, device, first_epoch
        self.started = time.perf_counter()
        self.drawing_seconds = self.last_drawing = 0.0
        # Fixed margins: a layout computed anew at every redraw would take longer than the drawing.
        self.fig, (self.left, self.right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="none")
        self.fig.subplots_adjust(left=0.07, right=0.99, bottom=0.17, top=0.88, wspace=0.18)
        plt.close(self.fig)  # or the notebook would show the figure a second time below the cell
        self.left.set(xlabel="epoch", ylabel="loss", xlim=(0, epochs))
        self.right.set(xlabel="epoch", ylabel="accuracy", xlim=(0, epochs), ylim=(0, 1.02))
        for ax in (self.left, self.right):
            ax.grid(alpha=0.3)
            ax.locator_params(nbins=5)  # writing the tick labels takes most of a redraw
        self.lines = {}
        self.handle, self.shown = DisplayHandle(), False

    def add(self, epoch, **values):
        """Append a point to each named curve at `epoch` (a fraction inside an epoch); redraw if it is time."""
        for name, value in values.items():
            if name not in self.lines:
                self.lines[name] = self._new_line(name)
            line = self.lines[name]
            line.set_data([*line.get_xdata(), epoch], [*line.get_ydata(), value])
        elapsed = time.perf_counter() - self.started
        done = epoch - self.first_epoch
        left = round(elapsed / done * (self.epochs - epoch)) if done else 0
        self.fig.suptitle(
            f"epoch {epoch:.1f} of {self.epochs} on {self.device}: {done * self.examples / elapsed:,.0f} "
            f"examples/s, {left // 60}:{left % 60:02d} left",
            fontsize=10,
        )
        if self.drawing_seconds + self.last_drawing < self.max_share * elapsed:
            self._draw()

    def close(self):
        """Draw the last state."""
        self._draw()

    def _new_line(self, name):
        ax = self.left if name.endswith("loss") else self.right
        colour = COLOURS.get(name.split("_")[0], COLOURS["grey"])
        marker = "" if name.startswith("train") else "o"
        label = name.replace("_", " ")
        (line,) = ax.plot([], [], color=colour, marker=marker, markersize=4, clip_on=False, label=label)
        ax.legend(frameon=False)
        return line

    def _draw(self):
        if not hasattr(get_ipython(), "kernel"):
            return
        start = time.perf_counter()
        self.left.relim()
        self.left.autoscale_view(scalex=False)
        self.left.set_ylim(bottom=0)
        # A PNG of fixed size: its text output is always the same. Finer than the screen, yet quick to write.
        width, height = self.fig.get_size_inches() * 100
        png = io.BytesIO()
        self.fig.savefig(png, format="png", dpi=150, pil_kwargs={"compress_level": 1})
        alt = {"alt": alt_text(self.fig)}
        picture = Image(png.getvalue(), width=int(width), height=int(height), metadata=alt)
        send = self.handle.update if self.shown else self.handle.display
        self.shown = True  # before it is sent, or an interrupt in between would bring a second plot
        send(picture)
        self.last_drawing = time.perf_counter() - start
        self.drawing_seconds += self.last_drawing
