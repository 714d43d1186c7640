"""Mistakes made on purpose where no tool for mutation testing reaches: each must make a test fail.

python -m tools.mistakes              make each on a copy of the last commit; print those that no test notices
python -m tools.mistakes README       only those whose line has "README" in it

A mistake is a file, a piece of its text (the first such piece), what stands there instead, and the tests that are to
notice. `make mutants` runs this after mutmut, which changes the Python code by itself.
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from queue import Queue

from tools.notebook_rules import ROOT

PAD, FIGURES, RESULTS = "tests/test_digit_pad.py", "tests/test_figures.py", "tests/test_results.py"
CHECKSUM = f"{RESULTS} -k checksum"  # for what only a checksum can notice; elsewhere it is made to fit
CONFIGURATION, SHORT = "tests/test_configuration.py", "tests/test_experiments.py"
NOTEBOOKS, TRAINING, LAYERS = "tests/test_notebooks.py", "tests/test_training.py", "tests/test_layers.py"
ORIGINAL, SPEED, EBLEARN = "tests/test_original.py", "tests/test_speed.py", "tests/test_eblearn.py"
HELPERS, EXERCISES, DRAWINGS = "tests/test_helpers.py", "tests/test_exercises.py", "tests/test_drawings.py"
DISTILLED, RECORD = "tests/test_distilled.py", "tests/test_record.py"
FULL = "tests/test_full.py"
DRAWN, PICTURES, REFUSAL = "tests/test_drawn.py", "tests/test_pictures.py", "tests/test_refusal.py"
GPU, PARALLEL = "tests/test_gpu.py", "tests/test_data_parallel.py"
MODES = f"{TRAINING} tests/test_gate.py"
TRANSLATIONS, ADDRESS = "tests/test_translations.py", "tests/test_address.py"

TEXT = [
    # The browser's part of the pad.
    ("pad/pad.js", "(event.clientX - box.left)) / box.width", "(event.clientY - box.top)) / box.height", PAD),
    ("pad/pad.js", "show(strokes.slice(0, -1));", "show(strokes.slice(1));", PAD),
    ("pad/pad.js", "answer.textContent", "answer.innerHTML", PAD),
    ("pad/pad.js", "function undo() {", "function undo() {{", PAD),
    ("pad/pad.js", "|| event.button !== 0", "", PAD),
    ("pad/pad.js", "if (event.pointerId !== pen) return;\n      pen = null;",
     "if (event.pointerId !== pen) return;", PAD),
    ("pad/pad.js", "if (event.pointerId !== pen || !strokes.length) return;", "", PAD),
    ("pad/pad.js", "< 2 || !hasRoom()", "< 20 || !hasRoom()", PAD),
    ("pad/pad.js", "< 2 || !hasRoom()", "< 2", PAD),
    ("pad/pad.js", "model.save_changes();", "", PAD),
    ("pad/pad.js", 'model.off("change:drawing", showDrawing);', "", PAD),
    ("pad/pad.js", 'event.key === "Backspace"', 'event.key === "Escape"', PAD),
    ("pad/pad.js", "for (const stroke of strokes) {", "for (const stroke of strokes.slice(1)) {", PAD),
    ("pad/pad.js", "if (drawing === sent) return;", "return;", PAD),
    ("pad/pad.js", "said.textContent = text;", "", PAD),
    ("pad/pad.js", "cursor.y + down * far", "cursor.y - down * far", PAD),
    ("pad/pad.js", 'element.setAttribute("data-lm-suppress-shortcuts", "true");', "", PAD),
    ("pad/pad.js", "if (mine !== turn) return bitmap?.close();", "", PAD),
    ("pad/pad.js", "if (stale) {", "if (true) {", PAD),
    ("pad/pad.js", "String(ofPicture && found.digits[i] === digit)", "String(i === 0)", PAD),
    ("pad/network.js", "if (!(start <= from && from <= to", "if (!(from <= to", PAD),
    ("pad/network.js", "(255 * count + 50) / 100", "(255 * count) / 100", PAD),
    ("pad/network.js", "const within = (value) => Math.min(Math.max(value, -SIDE), 2 * SIDE);",
     "const within = (value) => Math.min(Math.max(value, 0), SIDE);", PAD),
    ("pad/network.js", "column + 0.5 - ax", "column - ax", PAD),
    ("pad/network.js", "1.7159 * Math.tanh((2 / 3) * sum)", "Math.tanh(sum)", PAD),
    ("pad/network.js", "variance[i] + 1e-5", "variance[i] + 1e-3", PAD),
    ("pad/network.js", "value - mean[i] * factor[i]", "value - mean[i]", PAD),
    ("pad/network.js", "000111 100011 110001", "000111 110001 100011", PAD),
    ("pad/network.js", "3e001c3663636363361c0000", "3e001c3663636363371c0000", PAD),
    ("pad/network.js", "sure >= limit : sure <= limit", "sure >= limit : sure >= limit", PAD),
    ("pad/network.js", "{ layer: before, map, row: 2 * row, column: 2 * column, size: 2 }",
     "{ layer: before, map, row, column, size: 2 }", PAD),
    ("pad/network.js", "parts.push({ of: null, value: bias[map] });", "", PAD),
    ("pad/network.js", "if (!tensor.every(Number.isFinite))", "if (false)", PAD),
    ("pad/view.js", "PLACES.s2.push([2, 144 + 32 * i", "PLACES.s2.push([2, 144 + 32 * (5 - i)", PAD),
    ("pad/view.js", "const LOW = [0, 114, 178];", "const LOW = [213, 94, 0];", PAD),
    ("pad/view.js", "String(result.best) :", "String(result.best + 1) :", PAD),
    ("pad/view.js", "108 + 55 * i + 17, 502", "108 + 55 * (9 - i) + 17, 502", PAD),
    ("pad/words.js", "reads ${best}", "reads ${best + 1}", PAD),
    ("pad/words.js", '    undo: "撤销",\n', "", "tests/test_page.py"),
    ("draw.html", '"modern_lenet()": 0.8', '"modern_lenet()": 0.7', "tests/test_page.py"),
    ("draw.html", '"packed": "H4sI', '"packed": "H4sJ', "tests/test_page.py"),
    ("pad/page.html", "default-src 'none'; ", "", "tests/test_page.py"),
    (".github/workflows/pages.yml", "cp draw.html page", "cp README.md page", "tests/test_page.py"),
    # What a network refuses.
    ("experiments/refusal.py", "quantile(1 - share if isinstance", "quantile(share if isinstance", REFUSAL),
    ("experiments/refusal.py", "else values.double() < limit", "else values.double() > limit", REFUSAL),
    ("experiments/refusal.py", "outputs.min(dim=1) if", "outputs.max(dim=1) if", REFUSAL),
    ("experiments/refusal.py", "[part[DIGITS:] for part in digits]", "[part[:DIGITS] for part in digits]", REFUSAL),
    ("experiments/refusal.py", "[part[:DIGITS] for part in digits]", "digits", REFUSAL),
    ("experiments/refusal.py", 'is_refused(final, values, limits["2 %"])',
     'is_refused(final, values, limits["1 %"])', REFUSAL),
    ("experiments/refusal.py", "(classes != labels)[~refused]", "(classes != labels)[refused]", REFUSAL),
    ("experiments/refusal.py", 'modern_lenet.rung("60 epochs")', 'modern_lenet.rung("larger rate")', REFUSAL),
    ("experiments/refusal.py", '"original_1998/60000_seed"', '"original_1998/s01_60000_seed"', REFUSAL),
    ("results/refusal.json", '"2 %": 11.9', '"2 %": 12.9', REFUSAL),
    ("results/refusal.json", '"validation_errors": 126', '"validation_errors": 125', REFUSAL),
    ("results/refusal.json", '"test_refused": 199', '"test_refused": 200', REFUSAL),
    ("digit_pad.py", '"LeNet5()": 12.1', '"LeNet5()": 12.2', REFUSAL),
    ("digit_pad.py", '"tutorial_lenet()": 0.77', '"tutorial_lenet()": 0.76', REFUSAL),
    # Pictures, in both languages.
    ("lenet_pictures.py", "math.floor((box * steps).sum() / box.sum() + 0.5)",
     "round((box * steps).sum() / box.sum())", PICTURES),
    ("lenet_pictures.py", "ink = _without_lines(_without_lines(ink).T).T", "ink = _without_lines(ink)", PICTURES),
    ("lenet_pictures.py", "if 3 * shared >= min(", "if 3 * shared >= 9 * min(", PICTURES),
    ("lenet_pictures.py", "level < max(FAINT, 3 * grain)", "level < 0", PICTURES),
    ("pad/pictures.js", "Math.floor(sum / total + 0.5), 0), 8)", "Math.floor(sum / total), 0), 8)", PICTURES),
    ("pad/pictures.js", "(255 * (10 * level - full)) / (8 * full)", "(255 * level) / full", PICTURES),
    # Values outside of functions, which mutmut leaves alone, and what the drawings know.
    ("digit_pad.py", 'INK = _ramp(["#FFFFFF", "#000000"])', 'INK = _ramp(["#000000", "#FFFFFF"])', PAD),
    ("digit_pad.py", 'COLOURS["train"], "#FFFFFF"', 'COLOURS["test"], "#FFFFFF"', PAD),
    ("digit_pad.py", "PEN = 26", "PEN = 2", PAD),
    ("digit_pad.py", "fine - PEN) / longer)", "fine - PEN) / (high - low).clip(1))", DRAWN),
    ("digit_pad.py", ".clip(-SIDE, 2 * SIDE)", ".clip(0, SIDE)", DRAWN),
    ("digit_pad.py", "if longer <= LEAST:", "if (high - low).min() <= LEAST:", DRAWN),
    ("digit_pad.py", "    for stroke in strokes:\n        ends = stroke[1:]",
     "    for stroke in strokes[:1]:\n        ends = stroke[1:]", DRAWN),
    ("digit_pad.py", "ends = stroke[1:] if len(stroke) > 1 else stroke", "ends = stroke", PAD),
    ("digit_pad.py", "best, sure = output.argmin()", "best, sure = output.argmax()", PAD),
    ("digit_pad.py", "_copied(unwrapped(net))", "unwrapped(net)", PAD),
    ("digit_pad.py", 'TUTORIAL_ENDS = ("1", "2", "4"', 'TUTORIAL_ENDS = ("0", "2", "4"', PAD),
    ("lenet_figures.py", '"train": "#0072B2", "test": "#D55E00"', '"train": "#D55E00", "test": "#0072B2"', HELPERS),
    ("lenet_utils.py", "        if not net.training:\n            net.train()", "        pass", MODES),
    ("lenet_utils.py", "        lenet_data.restore_modes(modes)\n\n", "        net.train()\n\n", MODES),
    ("lenet.py", "        self.c3.reset_parameters(gain=2.4)\n", "", LAYERS),
    ("lenet.py", "            nn.init.uniform_(layer.bias, -bound, bound)\n", "", LAYERS),
    ("lenet.py", "000111 100011 110001", "000111 110001 100011", LAYERS),
    ("lenet.py", "3e001c3663636363361c0000", "3e001c3663636363371c0000", LAYERS),
    ("lenet.py", "    gives_distances = True", "    gives_distances = False", LAYERS),
    ("lenet_data.py", "MNIST_MEAN, MNIST_STD = 0.1307", "MNIST_MEAN, MNIST_STD = 0.1703", "tests/test_data.py"),
    # Drawings and the live plot.
    ("lenet_figures.py", "max(100 * (1 - value), self.TICKS[0])", "max(100 * value, self.TICKS[0])", DRAWINGS),
    ("lenet_figures.py", "if self.epoch >= self.epochs else", "if self.epoch > self.epochs else", DRAWINGS),
    ("lenet_figures.py", "(5, -6 if place else 6", "(5, 6 if place else -6", DRAWINGS),
    ("lenet_figures.py", "lowest + 1.4 *", "lowest + 0.4 *", DRAWINGS),
    ("lenet_figures.py", "min(max(end, bottom), top)", "end", DRAWINGS),
    ("lenet_figures.py", "if not math.isnan(value)", "", DRAWINGS),
    ("lenet_figures.py", "ax.figure.draw_without_rendering()", "ax.figure.stale = True", DRAWINGS),
    ("lenet_figures.py", "(windows * kernel).sum(dim=(2, 3))", "(windows * kernel).mean(dim=(2, 3))", DRAWINGS),
    ("lenet_figures.py", "range(-padding, last + 1, stride)", "range(-padding, last, stride)", DRAWINGS),
    ("lenet_figures.py", "(start + jump, ", "(start + 1, ", DRAWINGS),
    ("lenet_figures.py", 'slider.observe(redraw, names="value")', 'slider.observe(redraw, names="max")', DRAWINGS),
    ("lenet_figures.py", 'f"{row.parameters:,}"))', 'f"{row.connections:,}"))', DRAWINGS),
    # The exercises' check.
    ("lenet_exercises.py", "TRIES_BEFORE_THE_ANSWER = 3", "TRIES_BEFORE_THE_ANSWER = 2", EXERCISES),
    ("lenet_exercises.py", "0.501 * 10**-decimals if", "5.01 * 10**-decimals if", EXERCISES),
    ("lenet_exercises.py", "tries.add(round(number, decimals) if decimals else number)", "tries.add(len(tries))",
     EXERCISES),
    ("lenet_exercises.py", "isinstance(answer, bool) or ", "", EXERCISES),
    ("lenet_exercises.py", "arguments = copy.deepcopy(case.arguments)", "arguments = case.arguments", EXERCISES),
    ("lenet_exercises.py", "  raise\n    except BaseException", "  pass\n    except BaseException", EXERCISES),
    ("lenet_exercises.py", "again = _call(function, seed)", "again = table", EXERCISES),
    ("lenet_exercises.py", "shapes = [*small, (300, 2)", "shapes = [*small, (200, 2)", EXERCISES),
    ("lenet_exercises.py", "logits[0] = -scale ", "logits[0] = scale ", EXERCISES),
    ("lenet_exercises.py", '"01.4": Number(6 * (', '"01.4": Number(16 * (', EXERCISES),
    ("lenet_exercises.py", '"03.3": Number(_MEAN ', '"03.3": Number(0.1307 ', EXERCISES),
    ("lenet_exercises.py", "Number(math.sqrt(200), 2,", "Number(math.sqrt(200), 3,", EXERCISES),
    ("lenet_exercises.py", '"That is with all six."', '"That is with all six; it is 1,616."', EXERCISES),
    ("lenet_exercises.py", "16 * 4 * 25: ", "16 * 4 * 25 + 16: ", EXERCISES),
    # The experiments: what they train on, and with which settings.
    ("experiments/modern_lenet.py", "[part[:50_000] for part in digits]", "digits", SHORT),
    ("experiments/original_1998.py", "[part[:50_000] for part in digits]", "digits", SHORT),
    ("experiments/c3_tables.py", "(images[:50_000], labels[:50_000])", "(images, labels)", SHORT),
    ("experiments/speed.py", "[part[:50_000] for part in digits]", "digits", SHORT),
    ("experiments/modern_lenet.py", 'weight_decay=settings["weight_decay"]', "weight_decay=0", SHORT),
    ("experiments/modern_lenet.py", 'label_smoothing=settings["smoothing"]', "label_smoothing=0.0", SHORT),
    ("experiments/modern_lenet.py", 'AFFINE = {"rotation": 5,', 'AFFINE = {"rotation": 15,', SHORT),
    ("experiments/modern_lenet.py", "NODES, PUSH = 6, 0.6", "NODES, PUSH = 6, 0.9", SHORT),
    ("experiments/modern_lenet.py", '"larger rate": {"lr": 0.024}', '"larger rate": {"lr": 0.012}', RESULTS),
    ("experiments/modern_lenet.py", '"60 epochs": {"epochs": 60,', '"60 epochs": {"epochs": 50,', RESULTS),
    ("experiments/modern_lenet.py", '("elastic", {"dropout": 0.2}, 3)', '("elastic", {"dropout": 0.5}, 3)', RESULTS),
    ("experiments/modern_lenet.py", '"softmax": {"j": None}', '"softmax": {"j": 10.0}', RESULTS),
    ("experiments/modern_lenet.py", "logits = -outputs if", "logits = outputs if", SHORT),
    # Every connection in C3, and its kernel.
    ("experiments/train_modern.cpp", "MOMENTUM = 0.1f", "MOMENTUM = 0.2f", FULL),
    ("experiments/train_modern.cpp", "variance * count / (count - 1)", "variance", FULL),
    ("experiments/train_modern.cpp", "slope = gate * (1 + x - value)", "slope = gate", FULL),
    ("experiments/train_modern.cpp", "gradients[i] - one - two", "gradients[i] - one + two", FULL),
    ("experiments/train_modern.cpp", "    if (t.plain) t.make_plain();\n    return", "    return", FULL),
    ("experiments/train_modern.cpp", "0.25f * g.d5", "0.5f * g.d5", FULL),
    ("experiments/train_modern.cpp", "0.25f * g.d2", "0.5f * g.d2", FULL),
    ("experiments/train_modern.cpp", "- targets[i][c]) / batch_size", "- targets[i][c])", FULL),
    ("experiments/train_modern.cpp", "std::min(K - 1, y); ky++", "std::min(K - 2, y); ky++", FULL),
    ("experiments/train_modern.cpp", "double number = done + i + 1", "double number = i + 1", FULL),
    ("experiments/train_modern.cpp", "by{lrs[i]", "by{lrs[0]", FULL),
    ("experiments/train_modern.cpp", ", copy(t.norms.f6);", ";", FULL),
    ("experiments/train_modern.cpp", "loss += targets[i][c] *", "loss +=", FULL),
    ("experiments/train_modern.cpp", "image[p] * (ink - paper) / 255", "image[p] * (ink - paper) / 256", FULL),
    ("experiments/modern_kernel.py", "        self.steps_done += steps\n", "", FULL),
    ("experiments/modern_kernel.py", "norm.num_batches_tracked += steps", "pass", FULL),
    ("experiments/modern_kernel.py", "batches.max() < len", "batches.max() <= len", FULL),
    ("experiments/modern_kernel.py", "if batch_size % self.library.lanes():", "if False:", FULL),
    ("experiments/full_lenet.py", "* distorted.shape[1] +", "* count +", FULL),
    ("experiments/full_lenet.py", 'for name in ("moments", "steps_done")', 'for name in ("moments",)', FULL),
    ("experiments/full_lenet.py", "ADAMW | {\"decay\": settings[\"weight_decay\"]}", "ADAMW", FULL),
    ("experiments/modern_kernel.py", "nn.BatchNorm1d(84, affine=False)", "nn.BatchNorm1d(84)", FULL),
    ("experiments/full_lenet.py", 'shared_pool(settings), 50_000', 'shared_pool(settings), 60_000', SHORT),
    ("experiments/full_lenet.py", "[part[50_000:] for part", "[part[:10_000] for part", SHORT),
    ("experiments/full_lenet.py", '"affine": 2.0', '"affine": 1.0', RESULTS),
    ("experiments/distilled_lenet.py", "[part[:50_000] for part in digits]", "digits", SHORT),
    ("experiments/distilled_lenet.py", '"temperature": 1.0', '"temperature": 3.0', RESULTS),
    ("experiments/distilled_lenet.py", ".float() / temperature).softmax", ".float()).softmax", DISTILLED),
    ("experiments/distilled_lenet.py", "+ smoothing / 10)", "+ smoothing / 9)", DISTILLED),
    ("experiments/distilled_lenet.py", "manual_seed(number)", "manual_seed(0)", DISTILLED),
    ("experiments/record.py", "        tell(path, packed.getvalue())\n", "        pass\n", RECORD),
    ("experiments/original_1998.py", "[0.0005] * 2", "[0.0005] * 3", ORIGINAL),
    ("experiments/original_1998.py", "MU = 0.02", "MU = 0.2", f"{ORIGINAL} {RESULTS}"),
    ("experiments/original_1998.py", "CURVATURE_DIGITS = 500", "CURVATURE_DIGITS = 50", f"{ORIGINAL} {SHORT}"),
    ("experiments/original_1998.py", 'DISTORTION = {"shift": 1.5', 'DISTORTION = {"shift": 2.5', SHORT),
    ("experiments/original_1998.py", 'j = 10": (START | {"j": 10.0}', 'j = 10": (START | {"j": 11.0}', RESULTS),
    ("experiments/original_1998.py", 'CHOSEN = START | {"s": 0.1,', 'CHOSEN = START | {"s": 0.2,', RESULTS),
    ("experiments/original_1998.py", '"j": 2.0, "at_f6": "constant"}', '"j": 2.0}', RESULTS),
    ("experiments/original_1998.py", '"biases": 0.0, "coefficient": 0.6}', '"coefficient": 0.6}', ORIGINAL),
    ("experiments/original_1998.py", "    scaled = s * distances\n", "    scaled = distances\n", ORIGINAL),
    ("experiments/original_1998.py", "torch.full_like(features, 2 * s)", "torch.full_like(features, s)", ORIGINAL),
    ("experiments/original_1998.py", "sums.square()).sum((0, 2, 3))", "sums.square()).mean((0, 2, 3))", ORIGINAL),
    ("experiments/original_1998.py", "value / len(images) for", "value for", f"{ORIGINAL} {EBLEARN}"),
    ("experiments/original_1998.py", "abs() > 1.6)", "abs() > 1.5)", ORIGINAL),
    ("experiments/one_by_one.cpp", "2 * scale * by_distance", "scale * by_distance", ORIGINAL),
    ("experiments/one_by_one.cpp", "sum += std::exp(nearest - j);", "", ORIGINAL),
    ("experiments/one_by_one.cpp", "by_sum * w.k4[v] * slope", "by_sum * slope", ORIGINAL),
    ("experiments/one_by_one.cpp", "by_sum * w.k2 * slope", "by_sum * slope", EBLEARN),
    ("experiments/one_by_one.cpp", "w.b6[v] -= steps.b6[v]", "w.b6[v] -= steps.b5[v]", ORIGINAL),
    ("experiments/one_by_one.cpp", "by_k2 += by_sum * m.sum2[y][x];", "by_k2 += by_sum * m.s2[y][x];", ORIGINAL),
    ("experiments/one_by_one.cpp", "labels[order[i]]", "labels[i]", ORIGINAL),
    ("experiments/c3_tables.py", 'SETTINGS = {"epochs": 5, "lr": 0.03', 'SETTINGS = {"epochs": 5, "lr": 0.1', RESULTS),
    ("experiments/c3_tables.py", "return table\n\n", "return C3_TABLE\n\n", f"{RESULTS} {SHORT}"),
    ("experiments/tutorial_lenet.py", '"lr": 0.9', '"lr": 0.09', RESULTS),
    ("experiments/speed.py", "return 2 * side**3", "return side**3", SHORT),
    ("experiments/speed.py", "return 2 * 4 * len(source)", "return 4 * len(source)", SHORT),
    ("experiments/speed.py", 'RECIPE = {"epochs": 4', 'RECIPE = {"epochs": 3', RESULTS),
    ("experiments/speed.py", "parameter.copy_(old)\n    synchronize", "pass\n    synchronize", SPEED),
    ("experiments/speed.py", "if not has_bfloat16():", "if has_bfloat16():", SPEED),
    ("experiments/lanes.h", "0.25f", "0.26f", SPEED),
    ("experiments/train_lenet.cpp", "Lanes above = 0.25f * s.d2", "Lanes above = 0.5f * s.d2", SPEED),
    ("experiments/train_lenet.cpp", "return value * (1 - value);", "return value;", SPEED),
    ("experiments/train_lenet.cpp", "value > Lanes{} ? Lanes{} + 1", "value >= Lanes{} ? Lanes{} + 1", SPEED),
    ("experiments/lanes.h", "i - k < N) sums[m]", "i - k < N - 1) sums[m]", SPEED),
    ("experiments/train_lenet.cpp", "std::min(K - 1, y); ky++", "std::min(K - 2, y); ky++", SPEED),
    ("experiments/lanes.h", "0.0013266971f", "0.0113266971f", SPEED),
    ("experiments/train_lenet.cpp", "            for (Lanes& part : probability) part[i] = 0;", "            ;", SPEED),
    ("experiments/train_lenet.cpp", "probability[label][i] -= 1.0f", "probability[label][i] -= 0.9f", SPEED),
    ("experiments/train_lenet.cpp", "s.loss += std::log(sum[i])", "s.loss += sum[i]", SPEED),
    ("experiments/lanes.h", "(1 - lr * decay)", "1", SPEED),
    ("experiments/train_lenet.cpp", "std::sqrt(1 - std::pow((double)t.beta2, number))", "1", SPEED),
    ("experiments/train_lenet.cpp", "t.done + step + 1", "step + 1", SPEED),
    ("experiments/train_lenet.cpp", "t.lrs[step]", "t.lrs[0]", SPEED),
    ("experiments/train_lenet.cpp", "            if (i) continue;\n", "", SPEED),
    ("experiments/train_lenet.cpp", "other < threads - 1; other++", "other < threads - 2; other++", SPEED),
    ("experiments/train_lenet.cpp", "return x < Lanes{} ? Lanes{} : x;", "return larger(x, Lanes{});", SPEED),
    ("experiments/own_kernel.py", "shown.max() <= 9", "shown.max() <= 10", SPEED),
    ("experiments/own_kernel.py", "        self.steps_done += steps\n", "", SPEED),
    ("experiments/own_kernel.py", "nn.ReLU() if isinstance(layer, nn.Sigmoid)",
     "nn.SiLU() if isinstance(layer, nn.Sigmoid)", SPEED),
    ("experiments/own_kernel.py", "0 <= batches.min() <= batches.max() < len",
     "0 <= batches.min() <= batches.max() <= len", SPEED),
    ("experiments/speed.py", "for part in (batches, rest)]", "for part in (batches,)]", SPEED),
    ("experiments/speed.py", "taken = count // self.graph_steps * self.graph_steps", "taken = 1", SPEED),
    # Several processes.
    ("experiments/data_parallel.py", "    row /= distributed.get_world_size()\n", "", PARALLEL),
    ("experiments/data_parallel.py", "for parameter in net.parameters()]\n    row",
     "for parameter in net.parameters()][:-1]\n    row", PARALLEL),
    ("experiments/data_parallel.py", "batches.chunk(processes, dim=1)[rank]",
     "batches.chunk(processes, dim=1)[0]", PARALLEL),
    ("experiments/data_parallel.py", "        if average:\n            average(net)\n", "", PARALLEL),
    ("experiments/data_parallel.py", "train(DistributedDataParallel(net), data, shares)",
     "train(net, data, shares)", PARALLEL),
    ("experiments/data_parallel.py", "seed_everything(0)", "seed_everything(os.getpid())", PARALLEL),
    ("experiments/data_parallel.py", "if batch_size % processes:", "if batch_size < processes:", PARALLEL),
    ("experiments/data_parallel.py", "return 2 * (devices - 1) * (latency",
     "return (devices - 1) * (latency", PARALLEL),
    ("experiments/data_parallel.py", "4 * numbers / devices / bandwidth)", "4 * numbers / bandwidth)", PARALLEL),
    ("experiments/data_parallel.py", "/ devices * 4 / per_number", "* 4 / per_number", PARALLEL),
    ("experiments/data_parallel.py", "return compute_seconds / devices +", "return compute_seconds +", PARALLEL),
    ("experiments/data_parallel.py", "range(1, batch_size + 1), key", "range(1, batch_size), key", PARALLEL),
    # What a machine with a GPU does, and what is brought along to it.
    ("tools/gpu.py", "            failed.append(name)", "            failed = [name]\n            break", GPU),
    ("tools/gpu.py", "sys.exit(bool(failed))", "sys.exit(0)", GPU),
    ("tools/gpu.py", "stderr=subprocess.STDOUT", "stderr=subprocess.DEVNULL", GPU),
    ("tools/gpu.py", "if not torch.cuda.is_available():", "if False:", GPU),
    ("tools/gpu.py", "arguments.step or known", "known", GPU),
    ("tools/gpu.py", "[-15:]", "[:15]", GPU),
    ("tools/gpu_wheels.py", '"python_full_version": f"{python}.0"', '"python_full_version": "3.11.0"', GPU),
    ("tools/gpu_wheels.py", '"jedi", ', "", GPU),
    ("tools/gpu_wheels.py", '"d2l", "ipywidgets", "anywidget"', '"d2l", "ipywidgets"', GPU),
    ("tools/gpu_wheels.py", 'for more in ("", *need.extras)]', 'for more in ("",)]', GPU),
    ("tools/gpu_wheels.py", "        wheel.unlink()", "        pass", GPU),
    # Records.
    ("results/tutorial_lenet.json", "AMD EPYC", "AMD Ryzen", CHECKSUM),
    ("results/c3_tables.json", "2 threads", "2", RESULTS),
    ("results/modern_lenet.json", '"date": "2026-', '"date": "2062-', RESULTS),
    ("results/modern_lenet.json", '"torch": "2.14.1', '"torch": "2.11.0', FIGURES),
    ("results/tutorial_lenet.json", "0.9634", "0.9364", CHECKSUM),
    ("results/original_1998.json", '"j": 0.1', '"j": 0.2', RESULTS),
    ("results/modern_lenet_choices.json", '"weight_decay": 0.01', '"weight_decay": 0.0', RESULTS),
    ("results/original_1998.json", '"test_errors": 126', '"test_errors": 125', RESULTS),
    ("results/speed_choices.json", '"validation_errors": 87', '"validation_errors": 78', CHECKSUM),
    ("results/busy_machine.json", '"no setting": 8167', '"no setting": 9167', CHECKSUM),
    ("results/c3_tables.json", '"111111"', '"111110"', RESULTS),
    ("results/modern_lenet.json", '"seed": 1', '"seed": 0', RESULTS),
    ("results/SHA256SUMS", "tutorial_lenet.json", "tutorial.json", CHECKSUM),
    # What is written about them, and about the paper.
    ("README.md", "340,908", "340,980", FIGURES),
    ("README.md", "345,308", "345,380", FIGURES),
    ("README.md", "the paper has 0.95 %", "the paper has 0.85 %", FIGURES),
    ("README.md", "98.59 %", "98.95 %", FIGURES),
    ("README.md", "**0.42 %**", "**0.24 %**", FIGURES),
    ("README.md", "**68,100**", "**61,800**", FIGURES),
    ("README.md", "16.3 times", "13.6 times", FIGURES),
    ("README.md", "61,258", "61,285", FIGURES),
    ("README.md", "instead of 254", "instead of 524", FIGURES),
    ("README.md", "Python 3.11 to 3.14", "Python 3.10 to 3.14", FIGURES),
    ("README.md", "`make test-colab`", "`make test-collab`", "tests/test_project.py tests/test_configuration.py"),
    ("results/README.md", "9 of 60", "90 of 60", FIGURES),
    ("results/README.md", "115, 124 and 185", "115, 142 and 185", FIGURES),
    ("results/README.md", "0.87 %", "0.78 %", FIGURES),
    ("results/README.md", "two cores of an AMD EPYC", "four cores of an AMD EPYC", FIGURES),
    ("notebooks/03_data.ipynb", "0.1307, 0.3081) is in nearly", "0.1703, 0.3081) is in nearly", FIGURES),
    ("notebooks/06_modern_lenet.ipynb", "printed (0.84 % with", "printed (0.48 % with", FIGURES),
    ("notebooks/07_speed.ipynb", "4,200 to 68,100", "4,200 to 61,800", FIGURES),
    ("notebooks/05_original_1998.ipynb", "published, and its 0.95 %", "published, and its 0.85 %", FIGURES),
    ("tests/paper_facts.py", "340_908", "340_980", FIGURES),
    # Notebooks.
    ("notebooks/04_training.ipynb", '"nbval-ignore-output"', '"nbval-skip"', NOTEBOOKS),
    ("notebooks/04_training.ipynb", '"answer_1 = ..."', '"answer_1 = 9380"', NOTEBOOKS),
    ("notebooks/04_training.ipynb", r'lu.check(\"04.2\", answer_2)', r'lu.check(\"04.3\", answer_2)', NOTEBOOKS),
    ("notebooks/01_output_sizes.ipynb", '"execution_count": 5', '"execution_count": null', NOTEBOOKS),
    ("notebooks/01_output_sizes.ipynb", "iVBORw0KGgo", "iVBORw0KGgp", NOTEBOOKS),
    ("notebooks/01_output_sizes.ipynb", "28", "82", "--nbval notebooks/01_output_sizes.ipynb tests/test_figures.py"),
    # The Chinese notebooks: what they say, and the command that makes them.
    ("notebooks/01_output_sizes.ipynb", "Why the layer C5 is a convolution.", "Why C5 is a convolution.", TRANSLATIONS),
    ("notebooks/03_data.ipynb", '"name": "stdout"', '"name": "stderr"', TRANSLATIONS),
    ("notebooks/zh/04_training.ipynb", '"execution_count": 5', '"execution_count": 6', TRANSLATIONS),
    ("notebooks/zh/01_output_sizes.ipynb", "340,908", "340,980", TRANSLATIONS),
    ("notebooks/zh/02_c3_connection_table.ipynb", "iVBORw0KGgo", "iVBORw0KGgp", TRANSLATIONS),
    ("notebooks/zh/08_inside_lenet.ipynb", "import matplotlib.pyplot", "import matplotlib", TRANSLATIONS),
    ("translations/zh/01_output_sizes.md", "345,308", "345,380", TRANSLATIONS),
    ("translations/zh/02_c3_connection_table.md", "## 写出表 I", "### 写出表 I", TRANSLATIONS),
    ("translations/zh/05_original_1998.md", "步长", "步幅", TRANSLATIONS),
    ("translations/zh/07_speed.md", "，", ",", TRANSLATIONS),
    ("translations/zh/glossary.csv", "stride,步幅", "stride,步长", TRANSLATIONS),
    ("README.md", "Nothing leaves your device.", "Nothing is sent.", TRANSLATIONS),
    ("README.zh.md", "0.84%", "0.48%", TRANSLATIONS),
    ("README.zh.md", "notebooks/zh/04_training.ipynb", "notebooks/04_training.ipynb", TRANSLATIONS),
    ("README.zh.md", "“写出表 I”", "“写下表 I”", TRANSLATIONS),
    ("README.zh.md", "#其他安装方式", "#安装方式", TRANSLATIONS),
    ("pad/words.js", "撤销上一笔（Ctrl+Z）", "撤销上一笔(Ctrl+Z)", TRANSLATIONS),
    ("tools/translations.py", "elif marks[name] != mark(text):", "elif False:", TRANSLATIONS),
    ("tools/translations.py", "        if name not in marks:", "        if False:", TRANSLATIONS),
    ("tools/translations.py", "if not found and names != list(english):", "if False:", TRANSLATIONS),
    ("tools/translations.py", 'return f"../{target}" if', 'return f"{target}" if', TRANSLATIONS),
    ("tools/translations.py", 'return "../../README.zh.md"', 'return "../../README.md"', TRANSLATIONS),
    ("tools/translations.py", '        sys.exit("\\n".join', '        print("\\n".join', TRANSLATIONS),
    ("tools/passages.py", "if +ours != +theirs:", "if +ours - +theirs:", TRANSLATIONS),
    ("tools/passages.py", "if +ours != +theirs:", "if +theirs - +ours:", TRANSLATIONS),
    ("tools/passages.py", "self.has_break = True", "pass", TRANSLATIONS),
    ("tools/passages.py", "if ours != theirs:", "if len(ours) != len(theirs):", TRANSLATIONS),
    ("tools/passages.py", "self.in_formulas += WORDS_IN_FORMULA.findall(token.content)", "pass", TRANSLATIONS),
    ("tools/passages.py", "words in WORDS_IN_FORMULA.findall(token.content)]", "words in []]", TRANSLATIONS),
    ("tools/passages.py", 're.findall("[−±×÷=→≈≤≥<>]", self.prose)', "[]", TRANSLATIONS),
    ("tools/passages.py", "token.children or ()", "token.children", TRANSLATIONS),
    ("tools/passages.py", "before.layers == after.layers", "True", TRANSLATIONS),
    ("tools/passages.py", 'read_text(encoding="utf-8-sig")', 'read_text(encoding="utf-8")', TRANSLATIONS),
    ("tools/translations.py", "anchors.get(target[1:], target[1:])", "anchors[target[1:]]", TRANSLATIONS),
    ("tools/translations.py", "notebook_problems(notebook)\n", "[]\n", TRANSLATIONS),
    ("tools/translations.py", "if path.stem not in names", "if False", TRANSLATIONS),
    ("tools/repository_address.py", "            if not place.exists():", "            if False:", ADDRESS),
    ("tools/passages.py", "min(theirs[number], ours[number])", "0", TRANSLATIONS),
    ("tools/passages.py", ".scaleb(SCALES.get(scale, 0))", "", TRANSLATIONS),
    ("tools/passages.py", "sorted(number for number, sign in found if sign)", "[]", TRANSLATIONS),
    ("tools/repository_address.py", "return NO_BADGE_ZH if", "return NO_BADGE if", ADDRESS),
    ("tools/repository_address.py", 'f"zh/{path.stem}"', "path.stem", ADDRESS),
    ("tools/repository_address.py", "chinese=readme == README_ZH", "chinese=False", ADDRESS),
    ("pad/pad.js", 'document.documentElement.lang) ? "zh"', 'document.documentElement.lang) ? "en"', PAD),
    ("pad/pad.js", 'model.get("language") ?? (', 'model.get("language") && (', PAD),
    # Configuration.
    ("pyproject.toml", " --ignore=notebooks/zh", "", CONFIGURATION),
    ("pyproject.toml", 'testpaths = ["notebooks", "tests"]', 'testpaths = ["tests"]', CONFIGURATION),
    ("pyproject.toml", "not colab and not browser", "not colab and not browser and not nbval", CONFIGURATION),
    ("pyproject.toml", "--dist loadfile", "--dist load", CONFIGURATION),
    ("Makefile", "-m pytest --nbval", "-m pytest --nbval-lax", CONFIGURATION),
    ("Makefile", "-m pytest --nbval", "-m pytest", CONFIGURATION),
    (".ci/run", "make test\n", "make test || true\n", CONFIGURATION),
    (".ci/run", "set -euo pipefail", "set -uo pipefail", CONFIGURATION),
    (".ci/run", "make test-browser", "", CONFIGURATION),
    (".github/workflows/test.yml", "contents: read", "contents: write", CONFIGURATION),
    (".github/workflows/test.yml", "permissions:\n  contents: read", "permissions: write-all", CONFIGURATION),
    (".github/workflows/test.yml", "run: make test\n", "run: make test || true\n", CONFIGURATION),
    (".github/workflows/test.yml", "fail-fast: false", "fail-fast: false\n    continue-on-error: true", CONFIGURATION),
    (".github/workflows/test.yml", "python -m pytest --nbval", "python -m pytest", CONFIGURATION),
    ("requirements.txt", "nbval==0.11.0", "nbval", "tests/test_project.py"),
    ("requirements.lock", "nbval==0.11.0", "nbval==0.10.0", "tests/test_systems.py"),
    ("environment.yml", "python=3.11", "python=3.9", "tests/test_project.py"),
]  # fmt: skip


def swap_two_networks(folder):
    """Two networks of one kind that make the same number of errors."""
    one, other = (folder / f"weights/modern_lenet/silu_seed{seed}.safetensors" for seed in (0, 1))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def flip_a_bit_of_a_network(folder):
    path = folder / "weights/original_1998/15000_seed0.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def remove_a_network(folder):
    (folder / "weights/modern_lenet/elastic_seed4.safetensors").unlink()


def spoil_the_digits(folder):
    path = folder / "data/MNIST/raw/t10k-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)


def replace_a_picture(folder):
    """The first picture of notebook 02 where that of notebook 01 stood."""
    one, other = (folder / f"notebooks/{name}.ipynb" for name in ("01_output_sizes", "02_c3_connection_table"))
    pictures = [path.read_text(encoding="utf-8").split('"image/png": "')[1].split('"')[0] for path in (one, other)]
    one.write_text(one.read_text(encoding="utf-8").replace(*pictures), encoding="utf-8", newline="\n")


def remove_a_notebook(folder):
    (folder / "notebooks/02_c3_connection_table.ipynb").unlink()


FILES = [
    (swap_two_networks, RESULTS),
    (flip_a_bit_of_a_network, RESULTS),
    (remove_a_network, RESULTS),
    (spoil_the_digits, "tests/test_data.py"),
    (replace_a_picture, NOTEBOOKS),
    (remove_a_notebook, "tests/test_project.py"),
]


SETTINGS = ("user.name=t", "user.email=t@localhost", "commit.gpgsign=false", "core.hooksPath=")
COMMIT = ["git", *(part for one in SETTINGS for part in ("-c", one)), "commit", "--quiet", "--all", "--message"]


def replacement(name, old, new, fit_checksum):
    """Return a function that makes the mistake of a line of TEXT in the copy at `folder`."""

    def make(folder):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}: bring tools/mistakes.py up to date"
        path.write_text(text.replace(old, new, 1), encoding="utf-8", newline="\n")
        if path.suffix == ".json" and fit_checksum:
            sums = folder / "results" / "SHA256SUMS"
            before, after = (sha256(content).hexdigest() for content in (text.encode(), path.read_bytes()))
            sums.write_text(sums.read_text(encoding="utf-8").replace(before, after), encoding="utf-8", newline="\n")

    return make


def all_mistakes():
    """Return each mistake in words, the function that makes it, and the tests that are to notice."""
    text = [
        (f"{name}: {old!r} -> {new!r}", replacement(name, old, new, tests != CHECKSUM), tests)
        for name, old, new, tests in TEXT
    ]
    return text + [(make.__name__.replace("_", " "), make, tests) for make, tests in FILES]


def run(folder, tests):
    """Return the exit status of the tests in `folder`, 1 where one failed, and what pytest printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *tests.split()]
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=1200
        )
    except subprocess.TimeoutExpired:  # a loop without an end is noticed, too
        return 1, "no end"
    return done.returncode, done.stdout


def notices(mistake, folders):
    """Make a mistake in a copy of its own, run its tests, and put all back; return whether one of them failed."""
    words, make, tests = mistake
    folder = folders.get()
    try:
        make(folder)
        # Committed, because some tests read the notebooks as they are committed.
        subprocess.run([*COMMIT, words], cwd=folder, check=True)
        status, printed = run(folder, tests)
        # 1: a test failed; 2: a file could not even be collected, which nobody overlooks.
        if status not in (0, 1, 2):
            raise RuntimeError(f"{words}: pytest ended with {status}\n{printed}")
        print(f"{'noticed ' if status else 'SURVIVED'}  {words}", flush=True)
        return status != 0
    finally:
        subprocess.run(["git", "reset", "--quiet", "--hard", "unspoilt"], cwd=folder, check=True)
        folders.put(folder)


def main():
    chosen = [mistake for mistake in all_mistakes() if all(word in mistake[0] for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as temporary:
        folders = Queue()
        for number in range(2):
            folder = Path(temporary) / str(number)
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
            subprocess.run(["git", "tag", "unspoilt"], cwd=folder, check=True)
            folders.put(folder)
        every = " ".join(sorted({test for *_, tests in chosen for test in tests.split()}))
        status, printed = run(folders.queue[0], every)
        if status:
            sys.exit(f"The tests fail without a mistake:\n{printed}")
        with ThreadPoolExecutor(2) as workers:
            noticed = list(workers.map(lambda mistake: notices(mistake, folders), chosen))
    print(f"{sum(noticed)} of {len(noticed)} mistakes noticed")
    sys.exit(not all(noticed))


if __name__ == "__main__":
    main()
