// The picture of all layers of one network: 660 x 516 units. Under C1 the connection table stands between the maps of
// S2, a row each, and those of C3, a column each. F6 is drawn as 7 x 12 units beside what the ten outputs compare it with.

import { explain, kernelsOf } from "./network.js";
import { number } from "./words.js";

const WIDTH = 660;
const HEIGHT = 516;
const LOW = [0, 114, 178];
const HIGH = [213, 94, 0];
const THEMES = {
  light: {
    ground: [255, 255, 255],
    ink: [0, 0, 0],
    text: "#404040",
    frame: "#B0B0B0",
    faint: "#C8C8C8",
    high: "#D55E00",
  },
  dark: {
    ground: [24, 24, 24],
    ink: [255, 255, 255],
    text: "#D8D8D8",
    frame: "#606060",
    faint: "#505050",
    high: "#FF8C42",
  },
};

// Of each map: x, y, size of a cell, cells across and down.
const PLACES = { c1: [], s2: [], c3: [], s4: [], output: [] };
for (let i = 0; i < 6; i++) PLACES.c1.push([112 + 62 * i, 18, 2, 28, 28]);
for (let i = 0; i < 6; i++) PLACES.s2.push([2, 144 + 32 * i, 2, 14, 14]);
for (let i = 0; i < 16; i++) PLACES.c3.push([52 + 38 * i, 338, 3, 10, 10]);
for (let i = 0; i < 16; i++) PLACES.s4.push([52 + 38 * i, 372, 6, 5, 5]);
for (let i = 0; i < 10; i++) PLACES.output.push([108 + 55 * i, 432, 5, 7, 12]);
PLACES.c5 = [[52, 410, 5, 120, 1]];
PLACES.f6 = [[52, 432, 5, 7, 12]];

const ramp = (colours) =>
  Uint8ClampedArray.from({ length: 1024 }, (_, i) => {
    if (i % 4 === 3) return 255;
    const at = (Math.floor(i / 4) / 255) * (colours.length - 1);
    const stop = Math.min(Math.floor(at), colours.length - 2);
    return colours[stop][i % 4] + (at - stop) * (colours[stop + 1][i % 4] - colours[stop][i % 4]);
  });

function newCanvas(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

// Return `values` as a picture, a canvas of across x down pixels, coloured from low to high.
function coloured(values, across, down, colours, low, high, canvas = newCanvas(across, down)) {
  const brush = canvas.getContext("2d");
  const image = brush.createImageData(across, down);
  for (let i = 0; i < values.length; i++) {
    const shade = 4 * Math.min(Math.max(Math.floor(((values[i] - low) * 255) / (high - low || 1)), 0), 255);
    for (let part = 0; part < 4; part++) image.data[4 * i + part] = colours[shade + part];
  }
  brush.putImageData(image, 0, 0);
  return canvas;
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);

export class View {
  // net: of readNetwork. canvas: to draw on.
  constructor(net, canvas) {
    this.net = net;
    this.canvas = canvas;
    this.pixels = Math.min(2, Math.ceil(globalThis.devicePixelRatio ?? 1));
    [canvas.width, canvas.height] = [WIDTH * this.pixels, HEIGHT * this.pixels];
    this.inputSide = 28 + 2 * net.kind.margin;
    this.places = { input: [[2, 18, 3, this.inputSide, this.inputSide]], ...PLACES };
    this.small = {}; // a canvas a layer, a pixel a unit
  }

  // Prepare what is the same for every digit: names, frames, the table, the bitmaps.
  prepare(words, dark) {
    this.words = words;
    this.theme = THEMES[dark ? "dark" : "light"];
    this.signed = ramp([LOW, this.theme.ground, HIGH]);
    this.inked = ramp([this.theme.ground, this.theme.ink]);
    this.ground = newCanvas(this.canvas.width, this.canvas.height);
    const brush = this.brushOf(this.ground);
    brush.fillStyle = `rgb(${this.theme.ground})`;
    brush.fillRect(0, 0, WIDTH, HEIGHT);
    const { output } = this.net;
    const limit = output.bias ? largest(output.weight) : 1.7159; // bitmaps as F6 is coloured
    PLACES.output.forEach(([x, y, size], i) => {
      const picture = coloured(output.weight.slice(84 * i, 84 * i + 84), 7, 12, this.signed, -limit, limit);
      brush.drawImage(picture, x, y, 7 * size, 12 * size);
    });
    brush.strokeStyle = this.theme.frame;
    brush.lineWidth = 1 / this.pixels;
    for (const maps of Object.values(this.places))
      for (const [x, y, size, across, down] of maps)
        brush.strokeRect(x - 0.5, y - 0.5, size * across + 1, size * down + 1);
    for (const [text, x, y] of [
      [words.input(this.inputSide), 2, 11],
      ["C1: 6 x 28 x 28", 112, 11],
      ["S2: 6 x 14 x 14", 2, 137],
      [words.table, 112, 137],
      ["C3", 16, 357],
      ["S4", 16, 391],
      ["C5", 16, 416],
      ["F6", 16, 466],
      [this.net.kind.after ? words.below : words.belowHalf, 112, 92],
      [output.bias ? words.outputs : words.bitmaps, 108, 513],
    ])
      this.write(brush, text, x, y);
    this.net.sees.forEach((seen, i) => {
      for (let j = 0; j < 6; j++) {
        brush.fillStyle = seen.includes(j) ? this.theme.text : this.theme.faint;
        brush.beginPath();
        brush.arc(52 + 38 * i + 15, 144 + 32 * j + 14, seen.includes(j) ? 5 : 1, 0, 7);
        brush.fill();
      }
    });
  }

  brushOf(canvas) {
    const brush = canvas.getContext("2d");
    brush.setTransform(this.pixels, 0, 0, this.pixels, 0, 0);
    brush.imageSmoothingEnabled = false;
    return brush;
  }

  write(brush, text, x, y, { size = 11, align = "left", colour = this.theme.text } = {}) {
    brush.font = `${size}px system-ui, sans-serif`;
    brush.textAlign = align;
    brush.fillStyle = colour;
    brush.fillText(text, x, y);
  }

  // The colours of a layer run from low to high.
  range(layer, values) {
    const { net } = this;
    if (layer === "input") return [net.kind.scale(0), net.kind.scale(1)];
    if (net.name === "tutorial_lenet()") return [0, 1];
    const limit = net.name === "LeNet5()" ? 1.7159 : largest(values);
    return [-limit, limit];
  }

  // Draw what run() returned, or an empty pad for null; chosen: the unit whose connections are shown, or null.
  draw(result, chosen) {
    this.result = result;
    const brush = this.brushOf(this.canvas);
    brush.drawImage(this.ground, 0, 0, WIDTH, HEIGHT);
    if (!result) {
      this.write(brush, this.words.empty, 574, 60, { size: 13, align: "center" });
      return;
    }
    for (const layer of ["input", "c1", "s2", "c3", "s4", "c5", "f6"]) {
      const { values } = result.states[layer];
      const [[, , , across, down], { length: count }] = [this.places[layer][0], this.places[layer]];
      const colours = layer === "input" ? this.inked : this.signed;
      const picture = coloured(values, across, down * count, colours, ...this.range(layer, values), this.small[layer]);
      this.small[layer] = picture;
      this.places[layer].forEach(([x, y, size], i) =>
        brush.drawImage(picture, 0, down * i, across, down, x, y, across * size, down * size),
      );
    }
    const { text: grey, high } = this.theme;
    const answer = result.taken ? String(result.best) : "–"; // a dash: no digit
    this.write(brush, answer, 574, 82, { size: 72, align: "center", colour: result.taken ? high : grey });
    result.scores.forEach((score, i) => {
      const text = this.net.output.bias ? `${(100 * score).toFixed(1)} %` : score.toFixed(1);
      const colour = i === result.best && result.taken ? high : grey;
      this.write(brush, text, 108 + 55 * i + 17, 502, { align: "center", colour });
    });
    if (chosen) this.drawConnections(brush, chosen);
  }

  drawConnections(brush, chosen) {
    const [x, y, wide, high] = this.boxOf(chosen);
    const lines = new Path2D();
    lines.rect(x, y, wide, high);
    for (const window of explain(this.net, this.result, chosen)?.windows ?? []) {
      const [left, top, across, down] = this.boxOf(window);
      lines.rect(left, top, across, down);
      lines.moveTo(left + across / 2, top + down / 2);
      lines.lineTo(x + wide / 2, y + high / 2);
    }
    // Twice: the wide one sets the narrow one off from whatever lies below.
    for (const [colour, width] of [
      [`rgb(${this.theme.ground})`, 3.5],
      [`rgb(${this.theme.ink})`, 1.2],
    ]) {
      brush.strokeStyle = colour;
      brush.lineWidth = width;
      brush.stroke(lines);
    }
  }

  // Where a unit, or a window of `size` units a side, lies: x, y, width, height; size 0 is the whole map.
  boxOf({ layer, map, row, column, size = 1 }) {
    const flat = layer === "c5" || layer === "f6";
    const [x, y, cell, across, down] = this.places[layer][flat ? 0 : map];
    if (size === 0 || layer === "output") return [x, y, cell * across, cell * down];
    if (flat) [row, column] = [Math.floor(map / across), map % across];
    // Of a window over the padding of C1, what lies on the map.
    const [left, top] = [Math.max(0, column), Math.max(0, row)];
    return [
      x + cell * left,
      y + cell * top,
      cell * (Math.min(across, column + size) - left),
      cell * (Math.min(down, row + size) - top),
    ];
  }

  // Return the unit under a place of the canvas, given in shares of its width and height, or null.
  unitAt(shareX, shareY) {
    const [at, below] = [WIDTH * shareX, HEIGHT * shareY];
    for (const [layer, places] of Object.entries(this.places))
      for (const [i, [x, y, size, across, down]] of places.entries()) {
        const [column, row] = [Math.floor((at - x) / size), Math.floor((below - y) / size)];
        if (column < 0 || row < 0 || column >= across || row >= down) continue;
        if (layer === "output") return { layer, map: i, row: 0, column: 0 };
        if (layer === "c5" || layer === "f6") return { layer, map: across * row + column, row: 0, column: 0 };
        return { layer, map: i, row, column };
      }
    return null;
  }

  // Return the unit that is `right` and `down` steps away from one, or in the next map or layer (next: 1 or -1).
  step(unit, right, down, next = 0) {
    const order = ["input", "c1", "s2", "c3", "s4", "c5", "f6", "output"];
    let { map } = unit;
    const { layer, row, column } = unit;
    const { side, count } = this.result.states[layer];
    const flat = side === 1; // its units have one row: arrows go from unit to unit, pages to another layer
    if (flat && !next) {
      const other = map + right + (layer === "f6" ? 7 : 1) * down;
      return { layer, map: Math.min(Math.max(other, 0), count - 1), row, column };
    }
    if (next) {
      map += next;
      if (!flat && map >= 0 && map < count) return { layer, map, row, column };
      const at = (order.indexOf(layer) + next + order.length) % order.length;
      const others = this.result.states[order[at]];
      return { layer: order[at], map: next < 0 && others.side > 1 ? others.count - 1 : 0, row: 0, column: 0 };
    }
    const within = (value) => Math.min(Math.max(value, 0), side - 1);
    return { layer, map, row: within(row + down), column: within(column + right) };
  }

  // Return the name of a unit and its sum in words.
  sumOf(unit) {
    const { words } = this;
    const { side } = this.result.states[unit.layer];
    const name = unit.layer === "output" ? words.outputUnit(unit.map) : words.unit({ ...unit, side });
    const explained = explain(this.net, this.result, unit);
    if (!explained) {
      const input = this.result.states.input;
      return name + words.value(number(input.values[unit.row * side + unit.column], 2));
    }
    const digits = unit.layer === "output" && !this.net.output.bias ? 4 : 2; // squares of what may be little
    const parts = explained.parts.map(({ of, value }, i) => {
      const sign = value < 0 ? "−" : i ? "+" : "";
      return `${sign}${i ? " " : ""}${number(Math.abs(value), digits)} (${of ? words.parts[of[0]](of[1]) : words.bias})`;
    });
    const squashed =
      explained.state === explained.sum ? "" : words.squashed(this.net.kind.squashName, number(explained.state, 2));
    const folded = this.net.kind.folds?.includes(unit.layer) ? words.folded : "";
    return `${name}${words.value(parts.join(" "))} = ${number(explained.sum, digits)}${squashed}${folded}`;
  }

  // Return a map in large with its kernels: [{ text, canvas }].
  large({ layer, map }) {
    const { words, net } = this;
    const { values, side } = this.result.states[layer];
    const flat = layer === "c5" || layer === "f6" || layer === "output";
    const pictures = [];
    const add = (text, cells, across, down, colours, low, high, size) => {
      const canvas = newCanvas(across * size, down * size);
      const brush = canvas.getContext("2d");
      brush.imageSmoothingEnabled = false;
      brush.drawImage(coloured(cells, across, down, colours, low, high), 0, 0, across * size, down * size);
      pictures.push({ text, canvas });
    };
    if (!flat) {
      const colours = layer === "input" ? this.inked : this.signed;
      const text = words.large(layer === "input" ? words.input(side) : `${layer.toUpperCase()} ${map}`);
      add(
        text,
        values.slice(map * side * side, (map + 1) * side * side),
        side,
        side,
        colours,
        ...this.range(layer, values),
        Math.floor(224 / side),
      );
    }
    if (layer === "s2" || layer === "s4")
      pictures[0].text += `; ${words.coefficient(net[layer].weight[map], net[layer].bias[map])}`;
    else if (layer !== "input") {
      const kernels = kernelsOf(net, layer, map);
      const limit = largest(kernels.flatMap((kernel) => [...kernel.values]));
      for (const { of, side: across, values: cells } of kernels) {
        const text = words.kernel({ layer, map, of, bitmap: layer === "output" && !net.output.bias });
        add(text, cells, across, cells.length / across, this.signed, -limit, limit, 10);
      }
    }
    return pictures;
  }
}
