"""The notebooks in a real browser: Chromium opens them in JupyterLab, started by the project's own `make lab`.

`make test-browser` runs this, on a copy of the notebooks, so that the stored ones stay as they are, by two workers: the
drawing pad is one's, and each has a JupyterLab of its own. It leaves screenshots in tests/screenshots.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sysconfig
import time
import urllib.request

import numpy as np
import pytest
from project_copy import copy_project

from digit_pad import SIDE, network_input
from lenet import LeNet5
from lenet_utils import load_mnist, load_weights, predict
from tools.notebook_rules import NOTEBOOKS, ROOT, code_cells

pytestmark = pytest.mark.browser
SCREENSHOTS = ROOT / "tests" / "screenshots"
TOKEN = f"browser-test-{os.getpid()}"  # each worker has a JupyterLab of its own
PATIENCE = 300  # seconds for what takes one: another program may have taken the cores
SETTINGS = {
    # Every cell is in the page, and not only those in sight.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    # No question about news over the page.
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
SEVEN = [[[60, 70], [210, 66], [165, 130], [130, 235]]]
TWO = [[[70, 95], [95, 60], [140, 45], [185, 65], [190, 110], [150, 165], [80, 230], [205, 228]]]


@contextlib.contextmanager
def started_lab(folder, settings, **variables):
    """Start JupyterLab on a copy of the project in `folder`; give its address, and end it."""
    copy_project(folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name, text in settings.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port={port} --ServerApp.port_retries=0"
    options += f" --IdentityProvider.token={TOKEN}"
    places = {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "work",
        "JUPYTER_CONFIG_DIR": "config",
    }
    environment = os.environ | {name: str(folder / place) for name, place in places.items()} | variables
    with (folder / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            ["make", "lab", f"LAB_ARGS={options}"],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(2 * PATIENCE):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}")
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # make, JupyterLab and its kernels
        server.wait(30)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab; its address."""
    with started_lab(tmp_path_factory.mktemp("project"), SETTINGS) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "the browser tests need chromium or google-chrome"
    SCREENSHOTS.mkdir(exist_ok=True)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser):
    """One for all pages: it keeps JupyterLab's own scripts, which are most of what a page loads."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, has_touch=True)
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def open_page(lab, context):
    """A function that opens a notebook, `to_run` or only to look; its kernel ends with the next one that is opened."""

    def kernels(page):
        return page.request.get(f"{lab}/api/kernels?token={TOKEN}").json()

    def open_notebook(name, to_run=False):
        page = context.new_page()
        for kernel in kernels(page):
            page.request.delete(f"{lab}/api/kernels/{kernel['id']}?token={TOKEN}")
        page.goto(f"{lab}/lab/workspaces/{name}/tree/notebooks/{name}.ipynb?token={TOKEN}")
        cells = "document.querySelectorAll('.jp-CodeCell .jp-InputPrompt').length"  # they come one after the other
        page.wait_for_function(f"count => {cells} >= count", arg=count_code_cells(name))
        if not to_run:
            return page
        # JupyterLab asks for a kernel when told to run cells before it has connected to the one that it starts.
        end = time.monotonic() + PATIENCE
        while not any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels(page)):
            assert time.monotonic() < end, "no kernel has started"
            page.wait_for_timeout(500)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        return page

    return open_notebook


def prompts(page):
    """Return what stands left of the code cells, such as "[3]:", or "[*]:" where one runs or waits."""
    return page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()


def choose(page, menu, item):
    """Choose an item of JupyterLab's menus."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}$")).click()


def wait_while(page, running, limit=1200):
    """Wait until `running()`, which is called twice a second, is false."""
    end = time.monotonic() + limit
    while running():
        assert time.monotonic() < end, f"still running after {limit} seconds: {prompts(page)}"
        page.wait_for_timeout(500)


def run_cells(page, item):
    """Run cells by an item of the menu and wait; fail on an error output."""
    choose(page, "Run", item)
    page.locator(".jp-CodeCell .jp-InputPrompt", has_text="*").first.wait_for(state="attached")
    wait_while(page, lambda: any("*" in prompt for prompt in prompts(page)))
    errors = page.locator(
        "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
    ).all_inner_texts()
    assert errors == []


def run_all(page):
    """Run all cells; each must have run once, in order."""
    run_cells(page, "Run All Cells")
    assert prompts(page) == [f"[{number}]:" for number in range(1, len(prompts(page)) + 1)]


def stored(name):
    import nbformat

    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def count_code_cells(name):
    return len(code_cells(stored(name)))


# Whole only 01 and 08, and 04 as far as its live plot: what else there is in the notebooks a browser cannot change, and
# nbval and Colab's road run it.
def test_all_cells_of_notebook_01_run_without_an_error(open_page):
    page = open_page("01_output_sizes", to_run=True)
    run_all(page)
    page.screenshot(path=SCREENSHOTS / "01_output_sizes.png")
    assert len(prompts(page)) == count_code_cells("01_output_sizes")
    page.close()


def test_make_lab_opens_notebook_01_and_links_lead_into_the_repository(lab, open_page, context):
    page = context.new_page()
    page.goto(f"{lab}/?token={TOKEN}")
    page.locator(".lm-TabBar-tab.jp-mod-current", has_text="01_output_sizes.ipynb").first.wait_for()
    page.close()
    page = open_page("08_inside_lenet")
    page.locator(".jp-MarkdownOutput a", has_text="README").click()
    page.locator(".lm-TabBar-tab", has_text="README.md").first.wait_for()
    page.close()


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS if path.stem[:2] not in ("01", "04", "08")])
def test_the_notebook_opens_with_its_cells_pictures_and_formulas(name, open_page):
    page = open_page(name)
    assert len(prompts(page)) == count_code_cells(name)
    pictures = [
        output for cell in code_cells(stored(name)) for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    seen = "[...document.querySelectorAll('.jp-OutputArea img')].filter(picture => picture.naturalWidth).length"
    page.wait_for_function(f"count => {seen} === count", arg=len(pictures))
    formulas, before = page.locator("mjx-container"), None
    if any(cell.cell_type == "markdown" and "$" in cell.source for cell in stored(name).cells):
        formulas.first.wait_for(state="attached")
    while (now := formulas.count()) != before:  # one cell after the other is set
        before = now
        page.wait_for_timeout(1000)
    # Of MathJax (a command it does not know stands there in red), and of cells.
    faults = page.locator(
        "[data-mjx-error], mjx-mtext[style*=red], [data-mime-type$='error'], [data-mime-type$='stderr']"
    )
    assert faults.count() == 0
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.close()


def test_the_live_plot_of_notebook_04_moves_while_training_runs_until_the_reader_interrupts(open_page):
    page, pictures = open_page("04_training", to_run=True), set()
    assert len(prompts(page)) == count_code_cells("04_training")
    plot = page.locator(".jp-CodeCell", has_text="fit(net, train, test, epochs=10").first
    prompt, picture = plot.locator(".jp-InputPrompt"), plot.locator("img")
    prompt.click()
    run_cells(page, "Run All Above Selected Cell")  # which train twice, with a live plot of ours and with d2l's
    choose(page, "Run", "Run Selected Cell and Do not Advance")
    prompt.filter(has_text="*").wait_for()

    def look():
        assert "*" in prompt.inner_text(), "the training is over"
        if picture.count():
            pictures.add(picture.get_attribute("src"))
        return len(pictures) < 5  # the stored picture, and at least four pictures of the training

    wait_while(page, look)
    picture.scroll_into_view_if_needed()
    page.screenshot(path=SCREENSHOTS / "04_training.png")
    choose(page, "Kernel", "Interrupt Kernel")
    wait_while(page, lambda: "*" in prompt.inner_text())
    said = plot.locator(".jp-OutputArea-output").all_inner_texts()
    assert any(re.match(r"Interrupted in epoch \d+ of 10: the network keeps its weights so far", text) for text in said)
    assert picture.count() == 1
    page.close()


# ------------------------------------------------------------------------------------------- in Chinese

CHINESE_FONT = re.compile(r"CJK SC|Source Han Sans( SC|$)|WenQuanYi|Hei|Song|Fallback", re.IGNORECASE)


@pytest.fixture(scope="class")
def open_chinese(tmp_path_factory, browser):
    """A function that opens a Chinese notebook in JupyterLab with its Chinese language pack."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="zh-CN")
    context.set_default_timeout(PATIENCE * 1000)
    settings = SETTINGS | {"translation-extension/plugin": '{"locale": "zh_CN"}'}
    packages = sysconfig.get_paths()["purelib"]  # the language pack lies beside Playwright, not in .venv
    with started_lab(tmp_path_factory.mktemp("chinese"), settings, PYTHONPATH=packages) as lab:

        def open_notebook(name):
            page = context.new_page()
            page.goto(f"{lab}/lab/workspaces/{name}/tree/notebooks/zh/{name}.ipynb?token={TOKEN}")
            cells = "document.querySelectorAll('.jp-CodeCell .jp-InputPrompt').length"
            page.wait_for_function(f"count => {cells} >= count", arg=count_code_cells(name))
            return page

        yield open_notebook
    context.close()


class TestChinese:
    @pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
    def test_the_notebook_opens_in_chinese_menus_and_a_chinese_font(self, name, open_chinese):
        page = open_chinese(name)
        assert page.locator(".lm-MenuBar-itemLabel").all_inner_texts()[:3] == ["文件", "编辑", "查看"]
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert page.locator(".jp-MarkdownOutput h1").inner_text().startswith(f"{name[:2]} · ")
        devtools = page.context.new_cdp_session(page)
        for domain in ("DOM", "CSS"):
            devtools.send(f"{domain}.enable")
        root = devtools.send("DOM.getDocument")["root"]["nodeId"]
        place = {"nodeId": root, "selector": ".jp-MarkdownOutput p"}
        paragraph = devtools.send("DOM.querySelector", place)["nodeId"]
        fonts = devtools.send("CSS.getPlatformFontsForNode", {"nodeId": paragraph})["fonts"]
        signs = len(re.findall("[\u3000-\u9fff\uff00-\uffef]", page.locator(".jp-MarkdownOutput p").first.inner_text()))
        chinese = sum(font["glyphCount"] for font in fonts if CHINESE_FONT.search(font["familyName"]))
        assert 0 < signs <= chinese, f"the Chinese is set in {[font['familyName'] for font in fonts]}"
        page.wait_for_timeout(2000)  # for the formulas
        assert page.locator("[data-mjx-error], mjx-mtext[style*=red]").count() == 0
        page.screenshot(path=SCREENSHOTS / f"zh_{name}.png")
        page.close()

    def test_the_pad_speaks_chinese_and_links_lead_to_chinese_pages(self, open_chinese):
        page = open_chinese("08_inside_lenet")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        page.locator(".jp-CodeCell .jp-InputPrompt").first.click()
        while not page.locator(".digit-pad-surface").count():  # the cells down to that of the pad
            page.keyboard.press("Shift+Enter")
            page.locator(".jp-CodeCell .jp-InputPrompt", has_text="*").first.wait_for(state="detached")
        page.locator(".digit-pad-answers output", has_text="读作 7").first.wait_for()
        assert page.locator(".digit-pad button").all_inner_texts()[:2] == ["撤销", "清空"]
        page.locator(".digit-pad-surface").scroll_into_view_if_needed()
        page.screenshot(path=SCREENSHOTS / "zh_pad.png")
        page.locator(".jp-MarkdownOutput a", has_text="README").last.click()
        page.locator(".lm-TabBar-tab", has_text="README.zh.md").first.wait_for()
        page.close()


# ------------------------------------------------------------------------------------------- the drawing pad


@pytest.fixture(scope="class")
def notebook(open_page):
    """Notebook 08, run, with its pad in sight."""
    page = open_page("08_inside_lenet", to_run=True)
    run_all(page)
    assert len(prompts(page)) == count_code_cells("08_inside_lenet")
    page.locator(".digit-pad-surface").scroll_into_view_if_needed()
    yield page
    page.close()


def open_draw(context, width=1280, height=900):
    """Open draw.html as a double click does; return the page and the addresses that it asks for."""
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.set_viewport_size({"width": width, "height": height})
    page.goto((ROOT / "draw.html").as_uri())
    return page, asked


@pytest.fixture(scope="class")
def drawn_page(context):
    """draw.html with the pictures of all its networks."""
    page, asked = open_draw(context)
    page.locator(".digit-pad-answers output", has_text="reads").first.wait_for()
    for box in page.locator(".digit-pad-answers input").all():
        box.check()
    yield page
    assert asked == [(ROOT / "draw.html").as_uri()], "the page asks for more than itself"
    page.close()


def on_screen(page, strokes):
    """Return strokes (units of the pad, 0 to SIDE) in the coordinates of the page."""
    box = page.locator(".digit-pad-surface").bounding_box()
    scale = box["width"] / SIDE
    return [[(box["x"] + scale * x, box["y"] + scale * y) for x, y in stroke] for stroke in strokes]


def draw(page, strokes, steps=6):
    """Draw strokes (units 0 to SIDE) with the mouse, each line in `steps` movements."""
    for first, *others in on_screen(page, strokes):
        page.mouse.move(*first)
        page.mouse.down()
        for point in others:
            page.mouse.move(*point, steps=steps)
        page.mouse.up()


def answers(page):
    """Return the networks' answers once the page has drawn what it was told."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".digit-pad-answers output").all_inner_texts()


def classes(page):
    """Return what each network reads: a digit, or None."""
    found = [re.search(r" reads (\d)", answer) for answer in answers(page)]
    return [one and int(one[1]) for one in found]


def erase(page):
    page.get_by_role("button", name="Erase").click()
    assert all(answer.endswith("draw a digit") for answer in answers(page))


def finger(page, stroke):
    """Draw one stroke with a finger."""
    fingers = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(stroke):
        touch = {"type": "touchMove" if number else "touchStart", "touchPoints": [{"x": x, "y": y}]}
        fingers.send("Input.dispatchTouchEvent", touch)
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


WATCH = """() => {
    const surface = document.querySelector('.digit-pad-surface');
    window.delays = [];
    // This frame's turn comes after the pad's own, which was asked for first. Since the pointer moved, and since the
    // page heard of it.
    surface.addEventListener('pointermove', ({ timeStamp }) => {
        const start = performance.now();
        requestAnimationFrame(() => window.delays.push([performance.now() - timeStamp, performance.now() - start]));
    });
}"""


class Pad:
    """What holds of the pad in JupyterLab and in the page alike."""

    def test_the_pad_reads_a_seven_and_a_two_and_draws_again(self, pad):
        assert classes(pad) == [7, 7, 7]  # the stored drawing
        erase(pad)
        for strokes, expected in ((SEVEN, 7), (TWO, 2), (SEVEN, 7)):
            draw(pad, strokes)
            assert classes(pad)[0] == expected
            name = f"{type(self).__name__}_{expected}"
            pad.locator(".digit-pad").screenshot(path=SCREENSHOTS / f"{name}.png")
            erase(pad)

    def test_undo_and_the_keys(self, pad):
        draw(pad, SEVEN)
        assert classes(pad)[0] == 7
        draw(pad, [[[40, 250], [240, 30]], [[40, 30], [240, 250]]])
        pad.get_by_role("button", name="Undo").click()
        pad.keyboard.press("Control+z")  # the button has the focus
        assert classes(pad)[0] == 7
        pad.locator(".digit-pad-surface").focus()
        pad.keyboard.press("Delete")
        assert answers(pad)[0] == "1998: draw a digit"
        pad.keyboard.press("Tab")
        assert pad.evaluate("document.activeElement.textContent") == "Undo"
        pad.locator(".digit-pad-surface").focus()
        pad.keyboard.press("4")
        assert classes(pad)[0] == 4
        erase(pad)

    def test_a_finger_draws_too(self, pad):
        finger(pad, on_screen(pad, SEVEN)[0])
        assert classes(pad)[0] == 7
        erase(pad)

    @pytest.mark.parametrize(
        ("strokes", "expected"),
        [
            ([[[140, 140]]], "1998: draw a digit"),
            ([[[2, 5], [2, 278]]], "1998 (reads|sees)"),
            ([[[150, 150], [400, 150], [400, -50], [150, -50]]], "1998 (reads|sees)"),
            ([[[10, y], [270, y + 10]] for y in range(5, 275, 18)], "1998 (reads|sees)"),
            (np.random.default_rng(0).integers(0, SIDE, (3, 40, 2)).tolist(), "1998 (reads|sees)"),
        ],
        ids=["dot", "edge", "beyond", "black", "scribble"],
    )
    def test_odd_drawings_get_an_answer(self, strokes, expected, pad):
        draw(pad, strokes, steps=2)
        assert re.match(expected, answers(pad)[0])
        erase(pad)

    def test_a_seven_of_which_a_third_lies_beside_the_pad_is_read(self, pad):
        draw(pad, [[[x + 120, y] for x, y in stroke] for stroke in SEVEN])
        assert classes(pad)[0] == 7
        erase(pad)

    def test_the_picture_follows_the_hand(self, pad):
        """Every layer of every network is drawn anew for each movement; how long each took is printed."""
        pad.evaluate(WATCH)
        turns = np.linspace(0, 4, 200)
        spiral = [(140 + 25 * turn * np.cos(turn), 140 + 25 * turn * np.sin(turn)) for turn in turns]
        ((first, *others),) = on_screen(pad, [spiral])
        pad.mouse.move(*first)
        pad.mouse.down()
        seen = set()
        for number, point in enumerate(others):
            pad.mouse.move(*point)
            pad.wait_for_timeout(7 + number % 11)  # at any time between two frames of the screen
            if number % 10 == 0:
                seen.add(answers(pad)[0])
        pad.mouse.up()
        for what, delays in zip(
            ("from the pointer", "from the event"),
            map(sorted, zip(*pad.evaluate("window.delays"), strict=True)), strict=True,
        ):  # fmt: skip
            late = delays[int(0.95 * len(delays))]
            print(f"{what} to the picture: median {statistics.median(delays):.1f} ms, 95 % under {late:.1f} ms")
            assert len(delays) >= 100
        assert len(seen) > 5
        erase(pad)

    def test_pointing_and_clicking_explains_a_unit(self, pad):
        draw(pad, SEVEN)
        view = pad.locator(".digit-pad-views canvas").first
        box = view.bounding_box()
        scale = box["width"] / 660
        place = {"x": scale * (52 + 38 * 6 + 3 * 4 + 1.5), "y": scale * (338 + 3 * 2 + 1.5)}
        view.hover(position=place)
        answers(pad)
        said = pad.locator(".digit-pad-sum").first.inner_text()
        assert said.startswith("C3, map 6, row 2, column 4: ") and said.count("S2's map") == 4
        view.click(position=place)
        answers(pad)
        assert pad.locator(".digit-pad-large").first.locator("canvas").count() == 5
        view.click(position=place)
        erase(pad)

    def test_digits_of_a_photograph_are_found_and_read(self, pad):
        pad.locator("input[accept='image/*']").first.set_input_files(ROOT / "images/photograph.jpg")
        found = pad.locator(".digit-pad-found button")
        found.nth(4).wait_for()
        assert found.all_inner_texts() == ["1", "4", "3", "1", "8"] and classes(pad)[0] == 1
        found.nth(4).click()
        assert classes(pad)[0] == 8 and found.nth(4).get_attribute("aria-pressed") == "true"
        pad.locator(".digit-pad").screenshot(path=SCREENSHOTS / f"{type(self).__name__}_photograph.png")
        erase(pad)
        assert found.count() == 0

    def test_a_file_of_weights_adds_a_network_and_another_file_is_refused(self, pad, tmp_path):
        before = len(answers(pad))
        draw(pad, TWO)
        wrong = tmp_path / "wrong.safetensors"
        wrong.write_bytes(b"no weights")
        chooser = pad.locator("input[accept='.safetensors']")
        chooser.set_input_files(wrong)
        pad.locator(".digit-pad-problem", has_text="This file holds no weights").wait_for()
        assert len(answers(pad)) == before and classes(pad)[0] == 2
        mine = tmp_path / "mine.safetensors"
        mine.write_bytes((ROOT / "weights/modern_lenet/60_epochs_seed1.safetensors").read_bytes())
        chooser.set_input_files(mine)
        pad.locator(".digit-pad-answers output", has_text="mine").wait_for()
        assert len(answers(pad)) == before + 1 and pad.locator(".digit-pad-problem").inner_text() == ""
        assert pad.locator("figcaption").last.inner_text() == "mine · modern_lenet()"
        erase(pad)


class TestNotebookPad(Pad):
    """A class, which one worker runs while the other runs the functions above (`--dist loadscope`)."""

    @pytest.fixture
    def pad(self, notebook):
        return notebook

    def test_python_hears_of_the_drawing_and_sets_one(self, pad):
        draw(pad, TWO)
        cell = pad.locator(".jp-CodeCell", has_text="print(pad.answer)").first
        prompt = cell.locator(".jp-InputPrompt")
        prompt.click()
        before = prompt.inner_text()
        pad.keyboard.press("Control+Enter")
        wait_while(pad, lambda: prompt.inner_text() in (before, "[*]:"))
        expected = "; ".join(re.sub(r"( reads \d|sees no digit).*", r"\1", answer) for answer in answers(pad)[:3])
        assert cell.locator(".jp-OutputArea-output").first.inner_text().splitlines()[0] == expected
        assert expected.startswith("1998 reads 2")
        erase(pad)

    def test_a_key_does_not_go_to_the_notebook(self, pad):
        erase(pad)
        cells = len(prompts(pad))
        draw(pad, SEVEN)
        for key in ("Control+z", "7", "a", "b", "ArrowDown", " ", "Delete"):
            pad.keyboard.press(key)
            assert pad.evaluate("document.activeElement.className") == "digit-pad-surface", key
        assert len(prompts(pad)) == cells

    def test_z_when_the_kernel_has_gone_the_pad_still_reads(self, pad):
        address = pad.url.split("/lab/")[0]
        for kernel in pad.request.get(f"{address}/api/kernels?token={TOKEN}").json():
            pad.request.post(f"{address}/api/kernels/{kernel['id']}/restart?token={TOKEN}")
        for strokes, expected in ((SEVEN, 7), (TWO, 2)):
            draw(pad, strokes)
            assert classes(pad)[0] == expected
            erase(pad)
        assert pad.locator(".jp-Dialog").count() == 0


class TestPage(Pad):
    """draw.html, opened by its address on the disk."""

    @pytest.fixture
    def pad(self, drawn_page):
        return drawn_page

    def test_a_telephone_in_chinese_and_dark(self, browser):
        phone = browser.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2,
            locale="zh-CN", color_scheme="dark",
        )  # fmt: skip
        page, asked = open_draw(phone, 390, 844)
        page.locator(".digit-pad-answers output", has_text="读作 7").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the screen"
        page.get_by_role("button", name="清空").tap()
        finger(page, on_screen(page, TWO)[0])
        assert "读作 2" in answers(page)[0]
        assert "读作 2" in page.locator("[role=status]").inner_text()
        page.screenshot(path=SCREENSHOTS / "page_phone.png", full_page=True)
        # Not by a tap: soon after so fast a stroke Chromium did not always make a click of one.
        page.get_by_role("button", name="English").click()
        page.locator(".digit-pad-answers output", has_text="reads").first.wait_for()
        assert classes(page)[0] == 2 and page.title() == "LeNet-5: Draw a digit"
        assert page.evaluate("document.documentElement.lang") == "en" and len(asked) == 1
        phone.close()

    def test_without_javascript_it_says_what_it_needs(self, browser):
        plain = browser.new_context(java_script_enabled=False)
        page, _ = open_draw(plain)
        assert page.locator("noscript").inner_text().startswith("This page needs JavaScript")
        plain.close()

    def test_fifty_traced_digits_are_read_as_the_digits_themselves(self, pad):
        """The first 50 digits of the test set, thinned to lines and drawn on the pad with the mouse."""
        pytest.importorskip("skimage")
        from tracing import FINE, trace

        images, _ = load_mnist(train=False, size=28, scaling="paper")
        digits = ((images[:50, 0] + 0.1) / 1.275 * 255).round().byte().numpy()
        net = load_weights(LeNet5(), ROOT / "weights/original_1998/60000_seed0.safetensors")
        alike, scale = 0, SIDE / 28
        for digit in digits:
            strokes = [[(scale * x, scale * y) for x, y in [*stroke[:-1:FINE], stroke[-1]]] for stroke in trace(digit)]
            draw(pad, strokes, steps=1)
            answer = answers(pad)[0]
            nearest = re.search(r"reads (\d)|nearest is (\d)", answer)
            alike += int(nearest[1] or nearest[2]) == predict(net, network_input(digit)).item()
            erase(pad)
        print(f"{alike} of 50 traced digits are read as the digits themselves")
        assert alike >= 46
