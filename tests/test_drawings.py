"""The drawings of the notebooks: what stands in them is what the numbers say."""

import base64
import io
import math

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Rectangle
from PIL import Image
from torch.nn import functional as F

import lenet_figures
from lenet import LeNet5, layer_table, output_size
from lenet_figures import (
    LivePlot,
    alt_text,
    draw_fields,
    draw_network,
    draw_stop,
    draw_stops,
    explore,
    label_curves,
    show_images,
)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def boxes(ax):
    """Return (x, y, width, height) of each rectangle."""
    return [(*box.get_xy(), box.get_width(), box.get_height()) for box in ax.patches if isinstance(box, Rectangle)]


# ------------------------------------------------------------------------------------------ labels of curves


def apart(fig, labels):
    """Return whether no two of the labels overlap on the page."""
    fig.draw_without_rendering()
    spans = sorted((box.y0, box.y1) for box in (label.get_window_extent() for label in labels))
    return all(lower[1] <= upper[0] for lower, upper in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("ends", [(1, 2, 3), (1, 1, 1.001, 1), (3, 3, 3), (2, 1, 2.001)])
def test_each_curve_has_its_label_at_its_end_and_no_two_overlap(ends, scale):
    fig, ax = plt.subplots()
    for number, end in enumerate(ends):
        ax.plot([0, 1, 2], [2, 1.5, end], label=f"curve {number}")
    ax.set_yscale(scale)
    label_curves(ax)
    labels = ax.texts
    assert sorted(texts(ax)) == [f"curve {number}" for number in range(len(ends))]
    colours = {line.get_label(): line.get_color() for line in ax.lines}
    assert all(label.get_color() == colours[label.get_text()] for label in labels)
    assert apart(fig, labels)
    height = {label.get_text(): label.xy[1] for label in labels}
    order = sorted(range(len(ends)), key=lambda number: ends[number])
    assert [height[f"curve {number}"] for number in order] == sorted(height.values())
    assert all(-0.01 <= label.xy[1] <= 1.01 and label.xy[0] == 1 for label in labels)
    ax.texts[0].remove()


def test_a_label_alone_stands_as_high_as_its_curve_ends_and_other_lines_get_none():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 5], label="only")
    ax.axhline(3)
    ax.set_ylim(0, 10)
    label_curves(ax)
    assert texts(ax) == ["only"] and ax.texts[0].xy == (1, pytest.approx(0.5))


@pytest.mark.parametrize(
    "end, height", [(9.0, 1), (1e30, 1), (math.inf, 1), (-1e30, 0), (math.nan, 0.5)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_curve_that_ends_beyond_the_axis_has_its_label_at_the_edge(end, height, scale, recwarn):
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2], [1, 2, end], label="far")
    ax.plot([0, 1], [1, 2], label="near")
    ax.set(yscale=scale, ylim=(1, 3) if scale == "linear" else (1, 4))
    label_curves(ax)
    before = ax.get_window_extent().height
    assert {text.get_text(): text.xy[1] for text in ax.texts}["far"] == pytest.approx(height, abs=0.1)
    fig.draw_without_rendering()
    assert ax.get_window_extent().height == pytest.approx(before, rel=0.05) and not list(recwarn)


def test_a_curve_without_a_single_number_is_still_named():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [math.nan, math.nan], label="lost")
    ax.set_ylim(1, 3)
    label_curves(ax)
    assert texts(ax) == ["lost"] and ax.texts[0].xy == (1, pytest.approx(1))


# ------------------------------------------------------------------------------------------------ live plot


def live(*points, epochs=4):
    plot = LivePlot(epochs=epochs, examples=1000, device="cpu")
    for epoch, values in points:
        plot.add(epoch, **values)
    return plot


def curve(plot, name):
    return [value.item() if hasattr(value, "item") else value for value in plot.lines[name].get_ydata()]


def test_accuracies_are_drawn_as_errors_in_per_cent_and_losses_as_they_are():
    plot = live((1, {"train_loss": 0.5, "test_accuracy": 0.8}), (2, {"train_loss": 0.25, "test_accuracy": 0.98}))
    assert curve(plot, "train_loss") == [0.5, 0.25] and plot.lines["train_loss"].axes is plot.left
    assert curve(plot, "test_accuracy") == pytest.approx([20, 2]) and plot.lines["test_accuracy"].axes is plot.right
    assert plot.right.get_yscale() == "log" and plot.right.get_ylabel() == "error (%)"
    assert texts(plot.left) == ["train loss"] and texts(plot.right) == ["test error"]


def test_no_error_at_all_is_drawn_at_the_foot_of_the_axis(monkeypatch):
    monkeypatch.setattr(lenet_figures, "get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    monkeypatch.setattr(plot_handle := lenet_figures.DisplayHandle, "display", lambda self, picture: None)
    monkeypatch.setattr(plot_handle, "update", lambda self, picture: None)
    plot = live((1, {"test_accuracy": 0.9}), (2, {"test_accuracy": 1.0}))
    plot.close()
    assert curve(plot, "test_accuracy")[1] == min(LivePlot.TICKS)
    low, high = plot.right.get_ylim()
    assert low < min(LivePlot.TICKS) and high > 100
    other = live((1, {"test_accuracy": 0.96}))
    other.close()
    assert 2.4 < other.right.get_ylim()[0] < 3  # so that the dips can be seen


def test_the_higher_of_two_ends_has_the_higher_label_at_the_right_of_both():
    plot = live((1, {"train_accuracy": 0.9, "test_accuracy": 0.8}))
    plot._place_labels()
    train, test = (plot.labels[plot.lines[name]] for name in ("train_accuracy", "test_accuracy"))
    assert train.xyann[1] < 0 < test.xyann[1] and train.xyann[0] == test.xyann[0] > 0
    assert train.xy == (1, pytest.approx(10)) and test.xy == (1, pytest.approx(20))
    plot.add(2, train_accuracy=0.9, test_accuracy=0.95)
    plot._place_labels()
    assert test.xyann[1] < 0 < train.xyann[1] and test.xy[0] == 2


def test_the_title_counts_down_and_at_the_end_says_what_it_took(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(lenet_figures.time, "perf_counter", lambda: clock[0])
    plot = LivePlot(epochs=4, examples=1000, device="cpu", first_epoch=1)
    clock[0] = 50
    plot.add(2, train_loss=1)
    assert plot.fig.get_suptitle() == "epoch 2.0 of 4 on cpu: 20 examples/s, 1:40 left"
    plot.close()
    assert plot.fig.get_suptitle() == "epoch 2.0 of 4 on cpu: 20 examples/s, stopped after 0:50"
    clock[0] = 100
    plot.add(4, train_loss=1)
    clock[0] = 125.4
    plot.close()
    assert plot.fig.get_suptitle() == "epoch 4.0 of 4 on cpu: 24 examples/s, done in 2:05"


# ------------------------------------------------------------------------------------- drawings of notebook 01


def test_a_stop_shows_its_window_its_products_and_their_sum():
    torch.manual_seed(0)
    image, kernel = torch.rand(12, 10), torch.randint(-1, 2, (5, 5)).float()
    expected = F.conv2d(image[None, None], kernel[None, None])[0, 0]
    for row, column in ((0, 0), (7, 5), (3, 2)):
        fig = draw_stop(image, kernel, row, column)
        left, middle, right = fig.axes
        assert boxes(left) == [(column - 0.5, row - 0.5, 5, 5)] and boxes(right) == [(column - 0.5, row - 0.5, 1, 1)]
        told = [f"{image[row + y, column + x]:.1f}\n× {kernel[y, x]:g}" for y in range(5) for x in range(5)]
        assert texts(middle) == told
        assert torch.allclose(torch.tensor(right.images[0].get_array().data), expected, atol=1e-5)
        assert right.get_title().endswith(f"{expected[row, column]:.1f}")
        assert alt_text(fig) == fig.get_label() and f"row {row}, column {column}" in alt_text(fig)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("size", "kernel_size"), [(1, 1), (8, 3), (8, 8), (3, 5), (2, 9), (16, 5)])
def test_there_is_a_bar_for_each_stop_and_a_cell_for_each_number_that_results(size, kernel_size, stride, padding):
    fig = draw_stops(size, kernel_size, stride, padding)
    (ax,) = fig.axes
    fits = kernel_size <= size + 2 * padding
    count = output_size(size, kernel_size, stride, padding) if fits else 0
    assert [text for text in texts(ax) if text.startswith("stop")] == [f"stop {n + 1}" for n in range(count)]
    assert texts(ax).count("pad") == 2 * padding
    bars = [box for box in boxes(ax) if box[3] == 0.8]
    assert [bar[0] for bar in bars] == [stride * n - padding for n in range(count)]
    assert all(bar[2] == kernel_size for bar in bars)
    assert len(boxes(ax)) == size + 2 * padding + 2 * count  # input, stops, output
    left_over = size + 2 * padding - kernel_size - stride * (count - 1)
    ending = f"{count} stops" + (f", cells left over at the end: {left_over}" if count else "")
    assert ax.get_title().endswith(ending) and ax.get_title() in alt_text(fig)


def shown(monkeypatch, *arguments, **sliders):
    """Return what explore displays: its data, its metadata, and the box of widgets."""
    import ipywidgets

    seen, made = [], []
    box = ipywidgets.VBox
    monkeypatch.setattr(lenet_figures, "display", lambda data, raw, metadata: seen.append((data, metadata)))
    monkeypatch.setattr(ipywidgets, "VBox", lambda children: made.append(box(children)) or made[0])
    explore(*arguments, **sliders)
    return *seen[0], made[0]


def test_moving_a_slider_draws_the_picture_anew_and_a_page_without_a_kernel_has_the_first(monkeypatch):
    asked = []

    def draw(size, stride):
        asked.append((size, stride))
        return draw_stops(size, 3, stride)

    data, metadata, box = shown(monkeypatch, draw, "stops of a window", size=(8, 5, 9), stride=(1, 1, 3))
    *sliders, picture = box.children
    assert [(s.description, s.min, s.value, s.max) for s in sliders] == [("size", 5, 8, 9), ("stride", 1, 1, 3)]
    first = picture.value
    assert base64.b64decode(data["image/png"]) == first and Image.open(io.BytesIO(first)).width > 700
    assert metadata["image/png"] == {"width": 700, "alt": "stops of a window"}
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == box.model_id
    assert data["text/plain"] == "Run this cell to get its sliders"
    sliders[1].value = 2
    assert asked == [(8, 1), (8, 2)] and picture.value != first and not plt.get_fignums()


def test_the_network_is_drawn_with_what_its_table_says_or_without_numbers():
    table, digit = layer_table(LeNet5()), torch.zeros(32, 32)
    fig = draw_network(table, digit)
    told = texts(fig.axes[0])
    names = ["input", "C1", "S2", "C3", "S4", "C5", "F6", "output"]
    assert [text for text in told if text in names] == names
    sizes = ["1 × 32 × 32", "6 × 28 × 28", "6 × 14 × 14", "16 × 10 × 10", "16 × 5 × 5", "120", "84", "10"]
    assert [text for text in told if text in sizes] == sizes
    assert {"156", "12", "1,516", "32", "48,120", "10,164", "0"} <= set(told)
    assert fig.axes[0].get_title() == "LeNet-5: 60,000 parameters, 340,908 connections"
    assert len(boxes(fig.axes[0])) == 6 + 6 + 16 + 16 + 3
    assert "C1 6 × 28 × 28, S2 6 × 14 × 14" in alt_text(fig)
    bare = draw_network(table, digit, numbers=False)
    assert not set(texts(bare.axes[0])) & {*sizes, "156", "size", "parameters"} and "28" not in alt_text(bare)
    assert bare.axes[0].get_title() == "LeNet-5"


def test_the_fields_are_squares_of_their_size_a_jump_apart_inside_the_digit():
    fields = {"C1": (5, 1), "S2": (6, 2), "C3": (14, 2), "S4": (16, 4), "C5": (32, 4)}
    fig = draw_fields(torch.zeros(32, 32), fields)
    for ax, (name, (field, jump)) in zip(fig.axes, fields.items(), strict=True):
        squares = boxes(ax)
        assert len(squares) == (1 if name == "C5" else 2) and all(square[2:] == (field, field) for square in squares)
        assert all((square[0] + 0.5) % jump == 0 for square in squares)
        assert all(-0.5 <= edge and edge + field <= 31.5 for square in squares for edge in square[:2])
        assert len(squares) == 1 or (squares[1][0] - squares[0][0], squares[1][1]) == (jump, squares[0][1])
        assert ax.get_title() == f"{name}: {field} × {field}"
    assert "C3 14 × 14" in alt_text(fig)


def test_rows_of_images_are_told_by_their_titles(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    show_images([torch.zeros(2, 2)] * 6, columns=3, row_titles=["zeros", "ones"])
    assert alt_text(plt.gcf()) == "Rows of images: zeros, ones"
    show_images([torch.zeros(2, 2)] * 2, titles=["a", "b"], row_titles=["row"], columns=2)
    assert "a" in alt_text(plt.gcf())
