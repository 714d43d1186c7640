"""The figures of the notebooks: one look, rows of digits, drawings of windows and networks, a live plot of a training.

lenet_utils passes the public names on.
"""

import base64
import io
import math
import time
from itertools import zip_longest

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import DisplayHandle, Image, display
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
    """Return what a figure shows, in words, for those who cannot see it: its label, or its titles, axes and curves."""
    if fig.get_label():
        return fig.get_label()
    panels = []
    for ax in fig.axes:
        words, x, y = ax.get_title().replace("\n", " "), ax.get_xlabel(), ax.get_ylabel()
        if x or y:
            words += f" ({f'{y} against {x}' if x and y else y or f'along {x}'})"
        legend = ax.get_legend()
        named = [text.get_text() for text in legend.get_texts()] if legend else [line.get_label() for line in ax.lines]
        named = [name for name in named if not name.startswith("_")]
        if named:
            words += " with " + ", ".join(named)
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
    if len(row_titles) and not len(titles):
        fig.set_label(f"Rows of images: {', '.join(map(str, row_titles))}")
    plt.show()


def label_curves(ax):
    """Write the label of each curve of `ax` at its right end in its colour, apart where curves end close.

    A curve that ends beyond the axis, as one that has diverged, has its label at the edge.
    """
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    ax.figure.draw_without_rendering()  # the limits of an axis are found when it is drawn
    height = ax.get_window_extent().height
    bottom, top = sorted(ax.get_ylim())
    wanted = {}
    for line in lines:
        end = [math.inf, *(value for value in line.get_ydata() if not math.isnan(value))][-1]
        wanted[line] = ax.transData.transform((0, min(max(end, bottom), top)))[1]
    heights, lowest = {}, -math.inf
    for line in sorted(lines, key=wanted.get):
        lowest = heights[line] = max(wanted[line], lowest + 1.4 * ax.figure.dpi / 72 * plt.rcParams["font.size"])
    too_high = max(0, max(heights.values(), default=0) - ax.get_window_extent().y1)
    for line, at in heights.items():
        share = (at - too_high - ax.get_window_extent().y0) / height
        where = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        ax.annotate(line.get_label(), (1, share), (4, 0), color=line.get_color(), annotation_clip=False, **where)


# ------------------------------------------------------------------------------- drawings of notebook 01


def draw_stop(image, kernel, row, column):
    """Draw one stop of a kernel on an image: the window, its products, and their sum as one pixel of the map.

    image: ink [height, width], 0 to 1. kernel: weights [k, k]. row, column: of the window's upper left cell, from 0.
    Returns the figure.
    """
    size = len(kernel)
    windows = image.unfold(0, size, 1).unfold(1, size, 1)  # [rows, columns, k, k]
    result = (windows * kernel).sum(dim=(2, 3))
    window = windows[row, column]
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.6))
    left.imshow(image)
    left.add_patch(plt.Rectangle((column - 0.5, row - 0.5), size, size, fill=False, edgecolor=COLOURS["test"], lw=2))
    left.set_title(f"image: window at row {row}, column {column}")
    middle.imshow(window * kernel, cmap="PuOr_r", vmin=-1.5, vmax=1.5)
    for y in range(size):
        for x in range(size):
            middle.text(x, y, f"{window[y, x]:.1f}\n× {kernel[y, x]:g}", ha="center", va="center", fontsize=10)
    middle.set_title(f"{size * size} products: pixel × weight")
    limit = result.abs().max().item()
    right.imshow(result, cmap="PuOr_r", vmin=-limit, vmax=limit)
    right.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", lw=2))
    right.set_title(f"map: its pixel there is their sum, {result[row, column]:.1f}")
    for ax in (left, middle, right):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=COLOURS["grey"])
    where = f"A window of {size} by {size} pixels at row {row}, column {column} of an image"
    fig.set_label(
        f"{where}; its {size * size} products with a kernel; their sum, {result[row, column]:.1f}, in the map"
    )
    return fig


def draw_stops(size, kernel_size, stride=1, padding=0):
    """Draw a row of `size` cells, those of the padding dashed, each stop of a window below it, and the result.

    Returns the figure.
    """
    last = size + padding - kernel_size  # where the window still ends inside the padded row
    starts = range(-padding, last + 1, stride)
    fig, ax = plt.subplots(figsize=(7, 0.27 * len(starts) + 1.2))
    small = {"fontsize": 8, "ha": "center", "va": "center"}
    for cell in range(-padding, size + padding):
        inside = 0 <= cell < size
        face, line, ink = (COLOURS["grey"], "-", "white") if inside else ("white", ":", "black")
        ax.add_patch(plt.Rectangle((cell, -1.1), 1, 0.9, facecolor=face, edgecolor="black", linestyle=line))
        ax.text(cell + 0.5, -0.65, f"{cell}" if inside else "pad", color=ink, **small)
    for row, start in enumerate(starts):
        ax.add_patch(plt.Rectangle((start, row + 0.1), kernel_size, 0.8, facecolor=COLOURS["train"]))
        ax.text(-padding - 0.8, row + 0.5, f"stop {row + 1}", **small)
        ax.add_patch(plt.Rectangle((row, len(starts) + 0.5), 1, 0.9, facecolor=COLOURS["test"], edgecolor="black"))
        ax.text(row + 0.5, len(starts) + 0.95, f"{row}", color="white", **small)
    ax.text(-padding - 0.8, -0.65, "input", **small)
    ax.text(-padding - 0.8, len(starts) + 0.95, "output", **small)
    left_over = f", cells left over at the end: {last - starts[-1]}" if starts else ""
    title = f"size {size}, window {kernel_size}, stride {stride}, padding {padding}: {len(starts)} stops{left_over}"
    ax.set(xlim=(-padding - 2, max(size + padding, len(starts)) + 0.2), ylim=(len(starts) + 1.6, -1.4), title=title)
    fig.set_label(f"A window's stops along a row of cells. {title}")
    ax.axis("off")
    return fig


def explore(draw, alt, **limits):
    """Display sliders above a picture that `draw`, a function that returns a figure, draws anew when one moves.

    limits: for each argument of `draw` its slider's (start, lowest, highest). alt: what it shows, in words.
    On a page that cannot run the notebook, the picture as it starts stands in for the sliders.
    """
    import ipywidgets as widgets  # here, because most notebooks do without

    sliders = {
        name: widgets.IntSlider(start, low, high, description=name.removesuffix("_size"))
        for name, (start, low, high) in limits.items()
    }
    picture = widgets.Image(width=700)

    def redraw(change=None):
        png = io.BytesIO()
        fig = draw(**{name: slider.value for name, slider in sliders.items()})
        fig.savefig(png, format="png", dpi=200)
        plt.close(fig)
        picture.value = png.getvalue()

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    box = widgets.VBox([*sliders.values(), picture])
    data = {
        "text/plain": "Run this cell to get its sliders",
        "image/png": base64.b64encode(picture.value).decode(),
        "application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": box.model_id},
    }
    display(data, raw=True, metadata={"image/png": {"width": 700, "alt": alt}})


_STEPS = {"c": "5 × 5\nconvolution", "s": "2 × 2\nsubsampling", "f": "full\nconnection", "o": "distance to\nbitmaps"}
_PAINT = {"c": "validation", "s": "test", "f": "train", "o": "train"}


def draw_network(table, digit, numbers=True):
    """Draw LeNet5 from left to right, from its layer_table and an image [32, 32]; return the figure.

    Green are the convolutions, orange the subsampling, blue F6 and the output. numbers: write each layer's size and
    parameters below it.
    """
    fig, ax = plt.subplots(figsize=(12, 4.2))
    grey = COLOURS["grey"]
    right = digit.shape[-1] / 10
    ax.imshow(digit, extent=(0, right, -right / 2, right / 2))
    columns = [(right / 2, right / 2, "input", (1, *digit.shape), "")]
    for row in table.itertuples():
        words = "5 × 5\npartial\nconvolution" if row.layer == "c3" else _STEPS[row.layer[0]]
        ax.annotate("", (right + 1.6, 0), (right + 0.1, 0), arrowprops={"arrowstyle": "->", "color": grey})
        ax.text(right + 0.85, 0.12, words, ha="center", fontsize=8, color=grey)
        left = right + 1.7
        right, top = _draw_maps(ax, left, row.output, COLOURS[_PAINT[row.layer[0]]])
        name = row.layer.upper() if len(row.layer) == 2 else row.layer
        columns.append(((left + right) / 2, top, name, row.output, f"{row.parameters:,}"))
    for middle, top, name, shape, parameters in columns:
        ax.text(middle, max(top, 0.95) + 0.12, name, ha="center", weight="bold", fontsize=11)
        if numbers:
            shape = " × ".join(map(str, shape if shape[1:] != (1, 1) else shape[:1]))
            ax.text(middle, -2.1, shape, ha="center", va="top", fontsize=9)
            ax.text(middle, -2.55, parameters, ha="center", va="top", fontsize=9, color=grey)
    if numbers:
        ax.text(-0.3, -2.1, "size", ha="right", va="top", fontsize=9)
        ax.text(-0.3, -2.55, "parameters", ha="right", va="top", fontsize=9, color=grey)
    counts = f": {table.parameters.sum():,} parameters, {table.connections.sum():,} connections" if numbers else ""
    bottom = -3 if numbers else -2
    ax.set(xlim=(-2.2, right + 0.6), ylim=(bottom, 2.5), aspect="equal", title=f"LeNet-5{counts}")
    steps = ", ".join(f"{name} {' × '.join(map(str, shape))}" if numbers else name for _, _, name, shape, _ in columns)
    fig.set_label(f"The layers of LeNet-5 from left to right: {steps}")
    ax.axis("off")
    return fig


def _draw_maps(ax, left, shape, colour):
    """Draw a layer's maps, or a column of single units, from `left` on; return the right edge and the top."""
    count, side = shape[0], shape[-1] / 10
    if len(shape) == 1 or shape[-1] == 1:
        ax.add_patch(plt.Rectangle((left, -count / 70), 0.28, count / 35, facecolor=colour))
        return left + 0.28, count / 70
    step = min(0.16, 1.3 / count)
    for number in range(count):
        corner = left + number * step, -side / 2 + ((count - 1) / 2 - number) * step
        ax.add_patch(plt.Rectangle(corner, side, side, facecolor=colour, edgecolor="white", linewidth=0.7))
    return left + side + (count - 1) * step, side / 2 + (count - 1) / 2 * step


def draw_fields(digit, fields):
    """Draw on an image what one unit of each layer sees, and dotted what its right neighbour sees; return the figure.

    digit: [32, 32]. fields: {layer: (side of the square, pixels from one unit to the next)}.
    """
    fig, axes = plt.subplots(1, len(fields), figsize=(2.1 * len(fields), 2.5))
    for ax, (name, (field, jump)) in zip(axes, fields.items(), strict=True):
        ax.imshow(digit)
        start = (len(digit) - field) // 2 // jump * jump  # of a unit near the middle
        for corner, line in ((start, "-"), (start + jump, ":")):
            if corner + field <= len(digit):
                place = corner - 0.5, start - 0.5
                box = plt.Rectangle(place, field, field, fill=False, edgecolor=COLOURS["test"], linestyle=line, lw=2)
                ax.add_patch(box)
        ax.set(xticks=[], yticks=[], title=f"{name}: {field} × {field}")
        ax.spines[:].set(visible=True, color=COLOURS["grey"])
    told = ", ".join(f"{name} {field} × {field}" for name, (field, _) in fields.items())
    fig.set_label(f"On a digit, the square of pixels that one unit of each layer sees: {told}")
    return fig


# ----------------------------------------------------------------------------------------------- live plot


class LivePlot:
    """A figure that redraws in place while training runs: loss at the left, error at the right.

        plot = LivePlot(epochs=10, examples=60_000, device="cpu")
        plot.add(0.2, train_loss=2.31, train_accuracy=0.11)      # at epoch 0.2
        plot.add(1, test_accuracy=0.86)
        plot.close()                                             # draws the last state

    epochs: passes in all, the width of the axes. examples: digits in a pass, for the rate and the time
    left in the title. first_epoch: where a resumed training begins.

    Curves whose name ends in "loss" go left. The others are accuracies (0 to 1), and go right as what is missing to
    100 %, the error: on its logarithmic axis a fall of the accuracy from 0.99 to 0.98 is as high as one from 0.8 to
    0.6. A redraw takes about a tenth of a second: the plot leaves redraws out to keep its share of the time below
    `max_share`; close() always draws.
    Outside a notebook nothing is drawn.
    """

    max_share = 0.03
    TICKS = (0.1, 0.3, 1, 3, 10, 30, 100)  # of the error, in per cent; no error at all is drawn as the smallest

    def __init__(self, epochs, examples, device, first_epoch=0):
        self.epochs, self.examples, self.device, self.first_epoch = epochs, examples, device, first_epoch
        self.started = time.perf_counter()
        self.drawing_seconds = self.last_drawing = 0.0
        # Fixed margins: a layout computed anew at every redraw would take longer than the drawing.
        self.fig, (self.left, self.right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="none")
        self.fig.subplots_adjust(left=0.07, right=0.89, bottom=0.17, top=0.88, wspace=0.42)
        plt.close(self.fig)  # or the notebook would show the figure a second time below the cell
        self.left.set(xlabel="epoch", ylabel="loss", xlim=(0, epochs))
        self.right.set(xlabel="epoch", ylabel="error (%)", xlim=(0, epochs), yscale="log")
        self.right.set_yticks(self.TICKS, [f"{tick:g}" for tick in self.TICKS])
        self.right.minorticks_off()
        for ax in (self.left, self.right):
            ax.grid(alpha=0.3)
            ax.locator_params(axis="x", nbins=5)  # writing the tick labels takes most of a redraw
        self.left.locator_params(axis="y", nbins=5)
        self.lines, self.labels, self.epoch = {}, {}, first_epoch
        self.handle, self.shown = DisplayHandle(), False

    def add(self, epoch, **values):
        """Append a point to each named curve at `epoch` (a fraction inside an epoch); redraw if it is time."""
        for name, value in values.items():
            if name not in self.lines:
                self.lines[name] = self._new_line(name)
            line = self.lines[name]
            value = value if line.axes is self.left else max(100 * (1 - value), self.TICKS[0])
            line.set_data([*line.get_xdata(), epoch], [*line.get_ydata(), value])
        self.epoch = epoch
        elapsed = time.perf_counter() - self.started
        done = epoch - self.first_epoch
        left = elapsed / done * (self.epochs - epoch) if done else 0
        self._entitle(f"{_minutes(left)} left", elapsed)
        if self.drawing_seconds + self.last_drawing < self.max_share * elapsed:
            self._draw()

    def close(self):
        """Draw the last state, with the time that it took."""
        elapsed = time.perf_counter() - self.started
        ended = "done in" if self.epoch >= self.epochs else "stopped after"
        self._entitle(f"{ended} {_minutes(elapsed)}", elapsed)
        self._draw()

    def _entitle(self, ending, elapsed):
        rate = (self.epoch - self.first_epoch) * self.examples / elapsed if elapsed else 0
        where = f"epoch {self.epoch:.1f} of {self.epochs} on {self.device}"
        self.fig.suptitle(f"{where}: {rate:,.0f} examples/s, {ending}", fontsize=10)

    def _new_line(self, name):
        ax = self.left if name.endswith("loss") else self.right
        colour = COLOURS.get(name.split("_")[0], COLOURS["grey"])
        marker = "" if name.startswith("train") else "o"
        label = name.replace("_", " ").replace("accuracy", "error")
        (line,) = ax.plot([], [], color=colour, marker=marker, markersize=4, clip_on=False, label=label)
        self.labels[line] = ax.annotate(label, (0, 0), (0, 0), textcoords="offset points", color=colour, va="center")
        return line

    def _place_labels(self):
        """Write each curve's name at the right of its end, where nothing is drawn yet."""
        for ax in (self.left, self.right):
            lines = sorted((line for line in ax.lines if len(line.get_xdata())), key=lambda line: line.get_ydata()[-1])
            for place, line in enumerate(reversed(lines)):
                label, end = self.labels[line], (line.get_xdata()[-1], line.get_ydata()[-1])
                label.xy, label.xyann = end, (5, -6 if place else 6 * (len(lines) - 1))

    def _draw(self):
        if not hasattr(get_ipython(), "kernel"):
            return
        start = time.perf_counter()
        self.left.relim()
        self.left.autoscale_view(scalex=False)
        self.left.set_ylim(bottom=0)
        errors = [value for line in self.right.lines for value in line.get_ydata()]
        lowest = max((tick for tick in self.TICKS if tick <= min(errors, default=100)), default=self.TICKS[0])
        self.right.set_ylim(lowest / 1.2, 110)
        self._place_labels()
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


def _minutes(seconds):
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
