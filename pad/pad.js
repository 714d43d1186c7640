// The drawing pad: a surface to draw on, the networks that read it, and a picture of all their layers. It runs by itself;
// mount() serves the page draw.html, render() the widget DigitPad (digit_pad.py), to which strokes and digits go.

import { PictureProblem, pictureSteps } from "./pictures.js";
import { SIDE, WeightsProblem, prepare, readNetwork, run, takes } from "./network.js";
import { View } from "./view.js";
import { wordsOf } from "./words.js";

const LINE = 18; // width of the line on the screen; the networks see one that grows with the drawing
const MOST_POINTS = 20_000;
const MOST_PIXELS = 1_000; // a side of a picture
const EXAMPLES = [
  [
    [
      [150, 45],
      [105, 65],
      [80, 120],
      [85, 185],
      [125, 235],
      [175, 215],
      [200, 155],
      [192, 90],
      [150, 45],
    ],
  ],
  [
    [
      [115, 85],
      [150, 45],
      [150, 235],
    ],
  ],
  [
    [
      [75, 95],
      [95, 60],
      [140, 45],
      [185, 65],
      [190, 110],
      [150, 165],
      [80, 230],
      [205, 228],
    ],
  ],
  [
    [
      [80, 65],
      [130, 45],
      [180, 65],
      [180, 105],
      [130, 130],
      [185, 155],
      [195, 200],
      [150, 235],
      [85, 220],
    ],
  ],
  [
    [
      [100, 50],
      [85, 140],
      [190, 140],
    ],
    [
      [180, 60],
      [172, 235],
    ],
  ],
  [
    [
      [190, 50],
      [105, 52],
      [95, 125],
      [145, 115],
      [188, 145],
      [185, 205],
      [135, 235],
      [85, 215],
    ],
  ],
  [
    [
      [170, 45],
      [115, 105],
      [90, 175],
      [105, 225],
      [150, 235],
      [185, 200],
      [170, 160],
      [125, 160],
      [95, 195],
    ],
  ],
  [
    [
      [70, 60],
      [205, 60],
      [170, 120],
      [135, 235],
    ],
  ],
  [
    [
      [175, 70],
      [135, 45],
      [100, 75],
      [120, 120],
      [170, 160],
      [180, 210],
      [135, 235],
      [95, 205],
      [115, 155],
      [170, 110],
      [175, 70],
    ],
  ],
  [
    [
      [185, 75],
      [140, 45],
      [98, 75],
      [105, 125],
      [150, 135],
      [185, 100],
      [185, 75],
      [178, 160],
      [160, 235],
    ],
  ],
];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const isDark = (element) => {
  const [red, green, blue] = getComputedStyle(element).color.match(/[\d.]+/g) ?? [0, 0, 0];
  return 0.3 * red + 0.6 * green + 0.1 * blue > 140; // light letters
};

function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  // JupyterLab would take keys for commands to the notebook; it asks the very element that has the focus.
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children);
  return element;
}

// Give a picture its text for those who cannot see it.
function named(canvas, text) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", text);
  return canvas;
}

// Put a pad into the element `el`. files: [{ name, bytes }] of weights. limits: beyond which a kind of network refuses.
// shown: how many of their pictures are shown at first. changed: called with the strokes, and the digit of a picture or
// null, when the pen rests. Returns { show, settle, setLanguage, listen, surface, end }.
function createPad(el, { files, limits, language, shown, changed }) {
  let words = wordsOf(language);
  let strokes = []; // never changed in place: who was given them would see no change
  let points = 0; // of all strokes
  let digit = null; // 28 x 28, of the strokes or of a picture
  let ofPicture = false;
  let pen = null; // the pointer that draws; a second finger does not
  let waiting = false; // for the next frame of the screen
  let cursor = null; // the pen that the keys move: { x, y, down }
  let problem = () => "";
  let found = null; // what pictureSteps gave
  let stale = true; // digit and results are of another drawing
  let turn = 0; // of what was done: a picture that is decoded too late is not shown

  const root = make("div", "digit-pad");
  const surface = make("canvas", "digit-pad-surface");
  // Twice as fine as the page, or the line is ragged on a sharp screen.
  surface.width = surface.height = 2 * SIDE;
  surface.tabIndex = 0;
  surface.setAttribute("role", "img");
  const brush = surface.getContext("2d");
  const said = make("div", "digit-pad-said"); // for screen readers, once the pen rests
  said.setAttribute("role", "status");
  const complaint = make("p", "digit-pad-problem");
  complaint.setAttribute("role", "alert");
  const answers = make("ul", "digit-pad-answers");
  const keys = make("small", "digit-pad-keys");
  const views = make("div", "digit-pad-views");
  const steps = make("div", "digit-pad-steps");
  const digits = make("div", "digit-pad-found");
  const networks = [];

  // ---------------------------------------------------------------------------------------------- networks

  function addNetwork(name, bytes, shown) {
    const net = readNetwork(bytes);
    for (let i = 0; i < 10; i++) run(net, new Uint8Array(784)); // or the browser compiles it under the first strokes
    const canvas = make("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application"); // or a screen reader keeps the arrows for itself
    const box = make("input");
    box.type = "checkbox";
    box.checked = shown;
    const answer = make("output");
    const [caption, sum, large] = [make("figcaption"), make("p", "digit-pad-sum"), make("div", "digit-pad-large")];
    const figure = make("figure", "", caption, canvas, sum, large);
    const network = {
      name,
      net,
      box,
      answer,
      canvas,
      caption,
      sum,
      large,
      figure,
      view: new View(net, canvas),
      unit: null,
      opened: null,
    };
    networks.push(network);
    stale = true;
    answers.append(make("li", "", make("label", "", box, answer)));
    box.addEventListener("change", () => {
      arrange();
      drawSoon();
    });
    const choose = (unit) => {
      network.unit = unit;
      drawSoon();
    };
    const unitAt = (event) => {
      const area = canvas.getBoundingClientRect();
      return (
        network.result &&
        network.view.unitAt((event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height)
      );
    };
    canvas.addEventListener("pointermove", (event) => choose(unitAt(event)));
    canvas.addEventListener("pointerleave", () => choose(null));
    const open = (unit) => {
      network.opened = unit && unit.layer === network.opened?.layer && unit.map === network.opened.map ? null : unit;
      choose(unit);
    };
    canvas.addEventListener("click", (event) => open(unitAt(event)));
    canvas.addEventListener("keydown", (event) => {
      const moves = { ...ARROWS, PageUp: [0, 0, -1], PageDown: [0, 0, 1] };
      if (!network.result) return;
      if (event.key in moves) {
        const start = { layer: "c1", map: 0, row: 0, column: 0 };
        choose(network.unit ? network.view.step(network.unit, ...moves[event.key]) : start);
        said.textContent = network.unit ? network.view.sumOf(network.unit) : "";
      } else if (event.key === "Enter") open(network.unit);
      else if (event.key === "Escape") open(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    return network;
  }

  function arrange() {
    const dark = isDark(root);
    root.setAttribute("data-dark", String(dark));
    for (const network of networks) {
      const { net, view, box, figure, canvas, caption } = network;
      network.shownName = Object.hasOwn(words.names, network.name) ? words.names[network.name] : network.name;
      caption.textContent = `${network.shownName} · ${net.name}`;
      canvas.setAttribute("aria-label", `${words.view(network.shownName)}. ${words.viewKeys}`);
      if (box.checked) view.prepare(words, dark);
      if (box.checked && !figure.parentNode) views.append(figure);
      if (!box.checked && figure.parentNode) figure.remove();
    }
  }

  // ---------------------------------------------------------------------------------------------- drawing

  function drawSurface() {
    brush.setTransform(2, 0, 0, 2, 0, 0);
    brush.clearRect(0, 0, SIDE, SIDE);
    if (ofPicture) {
      digit.forEach((ink, i) => {
        brush.fillStyle = `rgba(0, 0, 0, ${ink / 255})`;
        brush.fillRect(10 * (i % 28), 10 * Math.floor(i / 28), 10, 10);
      });
    }
    brush.strokeStyle = "black";
    brush.lineWidth = LINE;
    brush.lineCap = brush.lineJoin = "round";
    for (const stroke of strokes) {
      brush.beginPath();
      brush.moveTo(stroke[0][0], stroke[0][1]);
      for (const [x, y] of stroke) brush.lineTo(x, y);
      brush.stroke();
    }
    if (!cursor) return;
    brush.strokeStyle = cursor.down ? "#D55E00" : "#0072B2";
    brush.lineWidth = 3;
    brush.beginPath();
    brush.arc(cursor.x, cursor.y, 12, 0, 7);
    brush.stroke();
  }

  const verdict = ({ shownName, net, result }) => {
    const facts = { ...result, far: !net.output.bias, limit: limits[net.name] };
    return result.taken ? words.reads(shownName, facts) : words.refuses(shownName, facts);
  };

  function drawNow() {
    waiting = false;
    if (stale) {
      stale = false;
      if (!ofPicture) digit = prepare(strokes);
      for (const network of networks) {
        network.result = digit && run(network.net, digit);
        if (digit) network.result.taken = takes(network.net, network.result, limits[network.net.name]);
      }
    }
    drawSurface();
    for (const network of networks) {
      const { view, box, answer, sum, large, unit, opened } = network;
      answer.textContent = network.result ? verdict(network) : `${network.shownName}: ${words.empty}`;
      if (!box.checked) continue;
      view.draw(network.result, unit);
      sum.textContent = network.result && unit ? view.sumOf(unit) : words.viewKeys;
      const pictures = network.result && opened ? view.large(opened) : [];
      large.replaceChildren(...pictures.map(({ text, canvas }) => make("div", "", named(canvas, text), text)));
    }
    complaint.textContent = problem();
  }

  // At most once a frame of the screen.
  function drawSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(drawNow);
  }

  // Tell those who hear the page what they cannot see.
  function announce() {
    const text = digit ? networks.map(verdict).join("; ") : words.empty;
    surface.setAttribute("aria-label", `${words.pad}: ${text}. ${words.keys}`);
    said.textContent = text;
  }

  // The pen rests: tell who listens.
  function settle() {
    drawSoon();
    requestAnimationFrame(() => {
      announce();
      changed(strokes, ofPicture ? digit : null);
    });
  }

  function setStrokes(next) {
    strokes = next;
    points = next.reduce((sum, stroke) => sum + stroke.length, 0);
    ofPicture = false;
    stale = true;
    turn++;
    problem = () => "";
    markFound();
  }

  function show(next, pixels) {
    pen = null; // a stroke that was being drawn is not in it
    if (cursor) cursor.down = false;
    setStrokes(next);
    if (pixels?.length) [digit, ofPicture] = [pixels, true];
    markFound();
    drawSoon();
  }

  const hasRoom = () => {
    if (points < MOST_POINTS) return true;
    problem = () => words.full;
    return false;
  };

  function begin(point) {
    if (!hasRoom()) return;
    setStrokes([...strokes, [point]]);
  }

  // Those closer than the eye can see are left out.
  function goOn(next) {
    const stroke = strokes[strokes.length - 1].slice();
    for (const [x, y] of next) {
      const [lastX, lastY] = stroke[stroke.length - 1];
      if (Math.hypot(x - lastX, y - lastY) < 2 || !hasRoom()) continue;
      stroke.push([x, y]);
      points++;
    }
    strokes = [...strokes.slice(0, -1), stroke];
    stale = true;
  }

  function undo() {
    show(strokes.slice(0, -1));
    settle();
  }
  function erase() {
    found = null;
    showFound();
    show([]);
    settle();
  }

  // A stroke may leave the pad: what lies beside it is part of the digit.
  function place(event) {
    const box = surface.getBoundingClientRect();
    return [
      Math.round((SIDE * (event.clientX - box.left)) / box.width),
      Math.round((SIDE * (event.clientY - box.top)) / box.height),
    ];
  }

  surface.addEventListener("pointerdown", (event) => {
    if (pen !== null || event.button !== 0) return;
    pen = event.pointerId;
    surface.setPointerCapture(pen);
    surface.focus({ preventScroll: true });
    event.preventDefault();
    cursor = null;
    begin(place(event));
    drawSoon();
  });
  surface.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen || !strokes.length) return;
    // A fast hand makes several points between two frames.
    goOn([...(event.getCoalescedEvents?.() ?? []), event].map(place));
    drawSoon();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
    surface.addEventListener(end, (event) => {
      if (event.pointerId !== pen) return;
      pen = null;
      settle();
    });

  // ---------------------------------------------------------------------------------------------- the keys

  const newCursor = () => ({ x: SIDE / 2, y: SIDE / 2, down: false });
  function movePen([right, down], far) {
    cursor ??= newCursor();
    cursor.x = Math.min(Math.max(cursor.x + right * far, 0), SIDE);
    cursor.y = Math.min(Math.max(cursor.y + down * far, 0), SIDE);
    if (cursor.down && strokes.length) goOn([[cursor.x, cursor.y]]);
    drawSoon();
  }
  function setPenDown() {
    cursor ??= newCursor();
    cursor.down = !cursor.down;
    if (cursor.down) begin([cursor.x, cursor.y]);
    settle();
  }
  surface.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) movePen(ARROWS[event.key], event.shiftKey ? 2 : 10);
    else if (event.key === " " && pen === null) setPenDown();
    else return;
    event.preventDefault();
  });
  root.addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey || event.altKey;
    if (command && !event.shiftKey && event.key.toLowerCase() === "z") undo();
    else if (event.key === "Delete" || event.key === "Backspace") erase();
    else if (!command && /^[0-9]$/.test(event.key)) {
      show(EXAMPLES[Number(event.key)]);
      settle();
    } else return;
    event.preventDefault();
  });

  // ---------------------------------------------------------------------------------------------- pictures and files

  function showFound() {
    steps.replaceChildren();
    digits.replaceChildren();
    if (!found) return;
    const { grey, ink, strokes: mask, boxes, dark } = found;
    const framed = paint(mask, true, 1);
    const marks = framed.getContext("2d");
    marks.strokeStyle = "#D55E00";
    marks.lineWidth = 2;
    for (const [left, top, right, bottom] of boxes)
      marks.strokeRect(left - 1, top - 1, right - left + 2, bottom - top + 2);
    const shown = [
      [words.steps.grey, paint(grey)],
      [words.steps.ink(dark), paint(ink, true)],
      [words.steps.strokes, paint(mask, true, 1)],
      [words.steps.boxes, framed],
    ];
    steps.replaceChildren(...shown.map(([text, canvas]) => make("div", "", named(canvas, text), text)));
    const buttons = found.digits.map((one, i) => {
      const [{ net, shownName }] = networks;
      const picture = paint({ width: 28, height: 28, data: one }, true);
      const button = make("button", "", picture, String(run(net, one).best));
      button.type = "button";
      button.title = words.choose(i, shownName);
      button.addEventListener("click", () => choosePicture(i));
      return button;
    });
    digits.replaceChildren(make("div", "", words.found(found.digits.length, networks[0].shownName)), ...buttons);
    markFound();
  }

  // Mark which of the digits of a picture is shown. The buttons stay: one of them may have the focus.
  function markFound() {
    const [, ...buttons] = digits.children;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(ofPicture && found.digits[i] === digit)));
  }

  // Return an image { width, height, data } as a canvas; ink: the largest level is black.
  function paint({ width, height, data }, ink = false, most = 255) {
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [width, height];
    const image = new ImageData(width, height);
    for (let i = 0; i < data.length; i++) {
      const level = (255 * data[i]) / most;
      image.data.fill(ink ? 255 - level : level, 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  function choosePicture(i) {
    show([], found.digits[i]);
    settle();
  }

  async function readPicture(file) {
    const mine = ++turn;
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (mine !== turn) return bitmap?.close();
    if (!bitmap) return complain(() => words.noPicture(file.name || file.type || "?"));
    const shrink = Math.min(1, MOST_PIXELS / Math.max(bitmap.width, bitmap.height));
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(shrink * side)));
    const paper = canvas.getContext("2d");
    paper.fillStyle = "white"; // under what is transparent
    paper.fillRect(0, 0, canvas.width, canvas.height);
    paper.imageSmoothingQuality = "high";
    paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    try {
      found = pictureSteps(paper.getImageData(0, 0, canvas.width, canvas.height));
    } catch (error) {
      if (!(error instanceof PictureProblem)) throw error;
      return complain(() => words.pictures[error.key]?.(error.values) ?? error.message);
    }
    showFound();
    choosePicture(0);
  }

  async function readWeights(file) {
    try {
      addNetwork(file.name.replace(/\.safetensors$/i, "") || "?", new Uint8Array(await file.arrayBuffer()), true);
    } catch (error) {
      // Whatever else fails: the file could not be read.
      const { key, values } = error instanceof WeightsProblem ? error : { key: "noWeights" };
      return complain(() => (typeof words[key] === "string" ? words[key] : words[key](values)));
    }
    problem = () => "";
    arrange();
    drawSoon();
  }

  // One sentence; drawing, digit and networks stay as they are.
  function complain(sentence) {
    problem = sentence;
    drawSoon();
  }

  const readFile = (file) => (/\.safetensors$/i.test(file.name ?? "") ? readWeights(file) : readPicture(file));
  const paste = (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    readFile(file);
  };
  const allow = (event) => event.preventDefault();
  const drop = (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) readFile(file);
  };
  // Listen to files that are dropped on, or pasted into, an element or the whole page.
  const listen = (target, how) => {
    target[how]("dragover", allow);
    target[how]("drop", drop);
    target[how]("paste", paste);
  };

  const labels = []; // functions that write texts in the present language
  function button(key, act) {
    const element = make("button");
    element.type = "button";
    labels.push(() => {
      element.textContent = words[key];
      element.title = words[`${key}Title`];
    });
    element.addEventListener("click", act);
    return element;
  }
  function chooser(key, read, attributes) {
    const input = make("input");
    Object.assign(input, { type: "file", hidden: true, ...attributes });
    input.addEventListener("change", () => {
      const [file] = input.files;
      input.value = ""; // or the same file could not be chosen again
      if (file) read(file);
    });
    const opener = button(key, () => input.click());
    return [opener, input];
  }
  const row = (...children) => make("div", "", ...children.flat());
  const buttons = row(button("undo", undo), button("erase", erase));
  const byTouch = globalThis.matchMedia?.("(pointer: coarse)").matches; // elsewhere a camera is a folder of files
  const more = row(
    chooser("picture", readPicture, { accept: "image/*" }),
    byTouch ? chooser("camera", readPicture, { accept: "image/*", capture: "environment" }) : [],
    chooser("weights", readWeights, { accept: ".safetensors" }),
  );
  labels.push(() => (keys.textContent = words.keys));

  function setLanguage(next) {
    words = wordsOf(next);
    root.lang = next;
    for (const write of labels) write();
    arrange();
    showFound();
    drawSoon();
    requestAnimationFrame(announce);
  }

  files.forEach(({ name, bytes }, i) => addNetwork(name, bytes, i < shown));
  root.append(
    make("div", "digit-pad-left", surface, buttons, complaint, answers, more, keys, said),
    make("div", "digit-pad-right", digits, steps, views),
  );
  el.append(root);
  setLanguage(language);
  const theme = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
  const retheme = () => {
    arrange();
    drawSoon();
  };
  theme?.addEventListener("change", retheme);
  return { show, settle, setLanguage, listen, surface, end: () => theme?.removeEventListener("change", retheme) };
}

// ---------------------------------------------------------------------------------------------- the widget

// `drawing` is shared with Python: strokes, or the 784 bytes of a digit that was no drawing.
function render({ model, el }) {
  const language = () => model.get("language") ?? (/^zh/i.test(document.documentElement.lang) ? "zh" : "en");
  let sent = null; // a drawing that went to Python is not shown anew when it comes back
  const bytesOf = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);
  const pad = createPad(el, {
    files: model.get("_files").map(({ name, weights }) => ({ name, bytes: bytesOf(weights) })),
    limits: model.get("limits"),
    language: language(),
    shown: Infinity,
    changed(strokes, pixels) {
      sent = pixels ? new DataView(pixels.slice().buffer) : strokes;
      model.set("drawing", sent);
      model.save_changes();
    },
  });
  const showDrawing = () => {
    const drawing = model.get("drawing");
    if (drawing === sent) return;
    if (Array.isArray(drawing)) pad.show(drawing);
    else pad.show([], bytesOf(drawing));
  };
  const changeLanguage = () => pad.setLanguage(language());
  model.on("change:drawing", showDrawing);
  model.on("change:language", changeLanguage);
  pad.listen(el, "addEventListener");
  showDrawing();
  return () => {
    model.off("change:drawing", showDrawing);
    model.off("change:language", changeLanguage);
    pad.listen(el, "removeEventListener");
    pad.end();
  };
}

// ---------------------------------------------------------------------------------------------- the page

// Return the bytes of packed weights: base64 of the gzipped file, whose bytes lie in four planes, since the exponents of
// floats pack well and their last bits do not.
async function unpack(text, length) {
  const packed = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const quarter = planes.length / 4;
  return Uint8Array.from({ length }, (_, i) => planes[(i % 4) * quarter + (i >> 2)]);
}

// Put the pad into the page, with what stands in its element #networks: { limits, files: [{ name, length, packed }] }.
export async function mount(document) {
  const { limits, files } = JSON.parse(document.getElementById("networks").textContent);
  const unpacked = await Promise.all(
    files.map(async ({ name, length, packed }) => ({ name, bytes: await unpack(packed, length) })),
  );
  let language = /^zh/i.test(navigator.language) ? "zh" : "en";
  const pad = createPad(document.getElementById("pad"), {
    files: unpacked,
    limits,
    language,
    shown: innerWidth < 900 ? 1 : 2,
    changed() {},
  });
  const [heading, button] = [document.querySelector("h1"), document.getElementById("language")];
  const write = () => {
    const words = wordsOf(language);
    document.documentElement.lang = language;
    document.title = `LeNet-5: ${words.title}`;
    heading.textContent = words.title;
    button.textContent = words.language;
    for (const part of document.querySelectorAll("[lang-of]")) part.hidden = part.getAttribute("lang-of") !== language;
    pad.setLanguage(language);
  };
  button.addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    write();
  });
  pad.listen(document, "addEventListener");
  write();
  pad.show(EXAMPLES[7]);
  pad.settle();
  pad.surface.focus({ preventScroll: true });
}

export default { render };
