// The drawing surface of DigitPad (digit_pad.py): strokes go to Python, a picture and an answer come back.

const KEYS = "Keys: Ctrl+Z takes back the last stroke, Delete or Backspace erases all.";

function button(text, title, act) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.title = title;
  element.addEventListener("click", act);
  return element;
}

function render({ model, el }) {
  const side = model.get("side");
  let strokes = model.get("strokes"); // never changed in place, or the model would see no change
  let pen = null; // the pointer that draws; a second finger does not
  let waiting = false; // for the next frame of the screen

  const root = document.createElement("div");
  root.className = "digit-pad";
  // JupyterLab would take Delete and Ctrl+Z for commands to the notebook.
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  const canvas = document.createElement("canvas");
  // Twice as fine as the page, or the line is ragged on a sharp screen.
  canvas.width = canvas.height = 2 * side;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const brush = canvas.getContext("2d");
  const answer = document.createElement("output");
  const keys = document.createElement("small");
  keys.textContent = KEYS;
  const view = document.createElement("img");

  function redraw() {
    brush.setTransform(2, 0, 0, 2, 0, 0);
    brush.clearRect(0, 0, side, side);
    brush.lineWidth = model.get("pen");
    brush.lineCap = brush.lineJoin = "round";
    for (const stroke of strokes) {
      brush.beginPath();
      brush.moveTo(...stroke[0]);
      stroke.forEach((point) => brush.lineTo(...point));
      brush.stroke();
    }
  }

  // At most one message a frame; ipywidgets itself holds messages back while the kernel is busy.
  function send() {
    redraw();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      model.set("strokes", strokes);
      model.save_changes();
    });
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    const within = (share) => Math.round(side * Math.min(Math.max(share, 0), 1));
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pen !== null || event.button !== 0) return;
    pen = event.pointerId;
    canvas.setPointerCapture(pen);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    strokes = [...strokes, [place(event)]];
    send();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen) return;
    const stroke = strokes[strokes.length - 1].slice();
    // A fast hand makes several points between two frames; those closer than the eye can see are left out.
    for (const { clientX, clientY } of [...(event.getCoalescedEvents?.() ?? []), event]) {
      const [x, y] = place({ clientX, clientY });
      const [lastX, lastY] = stroke[stroke.length - 1];
      if (Math.hypot(x - lastX, y - lastY) >= 2) stroke.push([x, y]);
    }
    strokes = [...strokes.slice(0, -1), stroke];
    send();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => {
      if (event.pointerId === pen) pen = null;
    });
  }

  function undo() {
    pen = null;
    strokes = strokes.slice(0, -1);
    send();
  }
  function erase() {
    pen = null;
    strokes = [];
    send();
  }
  root.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") undo();
    else if (event.key === "Delete" || event.key === "Backspace") erase();
    else return;
    event.preventDefault();
  });

  function showStrokes() {
    if (model.get("strokes") === strokes) return; // set by send() below
    pen = null; // Python set another drawing: a stroke that was being drawn is not in it
    strokes = model.get("strokes");
    redraw();
  }
  function showAnswer() {
    answer.textContent = model.get("answer");
    canvas.setAttribute("aria-label", `Drawing pad: ${model.get("answer")}. ${KEYS}`);
    view.alt = `The network's layers: ${model.get("answer")}`;
  }
  function showPicture() {
    const address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    view.onload = () => URL.revokeObjectURL(address);
    view.src = address;
  }
  model.on("change:strokes", showStrokes);
  model.on("change:answer", showAnswer);
  model.on("change:picture", showPicture);
  redraw();
  showAnswer();
  showPicture();

  const buttons = document.createElement("div");
  buttons.append(button("Undo", "Take back the last stroke (Ctrl+Z)", undo), button("Erase", "Erase all (Delete)", erase));
  const left = document.createElement("div");
  left.className = "digit-pad-left";
  left.append(canvas, buttons, answer, keys);
  root.append(left, view);
  el.append(root);
  return () => {
    model.off("change:strokes", showStrokes);
    model.off("change:answer", showAnswer);
    model.off("change:picture", showPicture);
  };
}

export default { render };
