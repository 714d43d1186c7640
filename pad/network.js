// Strokes to a digit as MNIST has them, and LeNet-5 in plain JavaScript: prepare(), readNetwork(), run().
// prepare() in digit_pad.py and PyTorch are the references; tests hold this file to both.

import { centred } from "./pictures.js";

export const SIDE = 280; // of the pad, in units
const PEN = 26; // width of the line where ten units are a pixel of MNIST
const LEAST = 13; // a drawing no larger is a dot
const FINE = 200; // units along the box of 20 pixels

// ------------------------------------------------------------------------------------------ strokes to a digit

// Return the drawing as MNIST would have it, a Uint8Array of 28 x 28 (ink 255), or null if it is none. Its steps are
// taught in notebook 08. strokes: lists of points [x, y] in units of the pad; a third number, a pen's pressure, is left
// out.
export function prepare(strokes) {
  const within = (value) => Math.min(Math.max(value, -SIDE), 2 * SIDE);
  const lines = strokes
    .filter((stroke) => stroke.length)
    .map((stroke) => stroke.map(([x, y]) => [within(x), within(y)]));
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const line of lines)
    for (const [x, y] of line) {
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  const longer = Math.max(right - left, bottom - top);
  if (!(longer > LEAST)) return null;
  const scale = (FINE - PEN) / longer;
  const [midX, midY] = [(left + right) / 2, (top + bottom) / 2];
  const ink = new Uint8Array(FINE * FINE);
  for (const line of lines) {
    const points = line.map(([x, y]) => [(x - midX) * scale + FINE / 2, (y - midY) * scale + FINE / 2]);
    if (points.length === 1) points.push(points[0]);
    for (let i = 1; i < points.length; i++) inkSegment(ink, points[i - 1], points[i]);
  }
  const counts = new Uint8Array(400);
  for (let y = 0; y < FINE; y++)
    for (let x = 0; x < FINE; x++) counts[20 * Math.floor(y / 10) + Math.floor(x / 10)] += ink[FINE * y + x];
  return centred(counts.map((count) => Math.floor((255 * count + 50) / 100)));
}

// Ink the units whose middle lies within half a pen's width of the segment from [ax, ay] to [bx, by].
function inkSegment(ink, [ax, ay], [bx, by]) {
  const radius = PEN / 2;
  const [dx, dy] = [bx - ax, by - ay];
  const length2 = dx * dx + dy * dy;
  const [firstX, lastX] = [
    Math.max(0, Math.floor(Math.min(ax, bx) - radius)),
    Math.min(FINE, Math.ceil(Math.max(ax, bx) + radius)),
  ];
  const [firstY, lastY] = [
    Math.max(0, Math.floor(Math.min(ay, by) - radius)),
    Math.min(FINE, Math.ceil(Math.max(ay, by) + radius)),
  ];
  // In a row only the columns near the line, or long lines take long; one more on either side for rounding.
  const reach = dy ? (radius * Math.sqrt(length2)) / Math.abs(dy) + 1 : Infinity;
  for (let row = firstY; row < lastY; row++) {
    const middle = dy ? ax + ((row + 0.5 - ay) * dx) / dy : 0;
    const last = Math.min(lastX, Math.ceil(middle + reach));
    for (let column = Math.max(firstX, Math.floor(middle - reach)); column < last; column++) {
      const [x, y] = [column + 0.5 - ax, row + 0.5 - ay];
      const along = length2 > 0 ? Math.min(Math.max((x * dx + y * dy) / length2, 0), 1) : 0;
      const [offX, offY] = [x - along * dx, y - along * dy];
      if (offX * offX + offY * offY <= radius * radius) ink[FINE * row + column] = 1;
    }
  }
}

// ------------------------------------------------------------------------------------------ three networks

// Table I of the 1998 paper: a row for each map of C3, a column for each map of S2.
const TABLE = `111000 011100 001110 000111 100011 110001 111100 011110 001111 100111 110011 111001 110110 011011 101101
  111111`.split(/\s+/);
const ALL = Array(16).fill("111111");
// The ten bitmaps of 7 x 12, a byte a row, 7 bits, the highest at the left (lenet.py says who transcribed them).
const BITMAPS = `3e001c3663636363361c0000 0c1c3c0c0c0c0c0c0c3f0000 3e003e6343061c30607f0000 7f03060c1e030303633e0000
  3e00003333736363673f0303 3e007f60603c1e03633e0000 1e3060607e736363733e0000 7f0303060c0c181818180000
  3e6363633e636363633e0000 3e676363673f0303063c0000`
  .split(/\s+/)
  .flatMap((code) =>
    code.match(/../g).flatMap((byte) => [...parseInt(byte, 16).toString(2).padStart(7, "0")].map((bit) => 2 * bit - 1)),
  );

const sigmoid = (sum) => 1 / (1 + Math.exp(-sum));
// Of each kind: the scaling of ink from 0 to 1, the margin around 28 x 28, the padding of C1, what follows a sum in the
// convolutions and units (squash) and in S2 and S4 (after), C3's table, and where the weights of each layer lie.
export const KINDS = {
  "LeNet5()": {
    scale: (ink) => -0.1 + 1.275 * ink,
    margin: 2,
    padding: 0,
    table: TABLE,
    squash: (sum) => 1.7159 * Math.tanh((2 / 3) * sum),
    after: true,
    squashName: "1.7159 tanh(2/3 sum)",
    keys: { c1: "c1", s2: "s2", c3: "c3", s4: "s4", c5: "c5", f6: "f6" },
  },
  "modern_lenet()": {
    scale: (ink) => -0.1 + 1.275 * ink,
    margin: 2,
    padding: 0,
    table: TABLE,
    squash: (sum) => sum * sigmoid(sum),
    after: true,
    squashName: "sum × sigmoid(sum)",
    keys: { c1: "c1.0", s2: "s2.1", c3: "c3.0", s4: "s4.1", c5: "c5.0", f6: "f6.0", output: "output" },
    normalised: { c5: "c5.2", f6: "f6.1" },
    folds: ["s2", "s4", "c5", "f6"], // their batch normalisation is in their weights
  },
  "tutorial_lenet()": {
    scale: (ink) => (ink - 0.1307) / 0.3081,
    margin: 0,
    padding: 2,
    table: ALL,
    squash: sigmoid,
    after: false,
    squashName: "sigmoid(sum)",
    keys: { c1: "0", c3: "3", c5: "7", f6: "9", output: "11" },
  },
};

// What is wrong with a file of weights: a key of words.js and what it needs.
export class WeightsProblem extends Error {
  constructor(key, values = {}) {
    super(key);
    Object.assign(this, { key, values });
  }
}

// Return the tensors of a .safetensors file (bytes), each a Float32Array by its name, and the network's name.
function readTensors(bytes) {
  const tensors = {};
  let name;
  try {
    const start = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start)));
    name = header.__metadata__?.network;
    for (const [key, { dtype, data_offsets: offsets }] of Object.entries(header)) {
      if (dtype !== "F32") continue; // counters of batches, which no image passes
      const [from, to] = offsets.map((offset) => start + offset);
      if (!(start <= from && from <= to && to <= bytes.length)) throw new RangeError();
      tensors[key] = new Float32Array(bytes.slice(from, to).buffer);
    }
  } catch {
    throw new WeightsProblem("noWeights");
  }
  if (typeof name !== "string" || !Object.hasOwn(KINDS, name))
    throw new WeightsProblem("otherNetwork", { name: typeof name === "string" ? name.slice(0, 60) : "?" });
  return { name, tensors };
}

// Return a network of a .safetensors file, bytes as lenet_utils.save_weights writes them.
// Every kind becomes the same seven layers: pooling and batch normalisation together are a coefficient and a bias for
// each map, as in S2 of 1998; a batch normalisation behind C5 or F6 goes into its weights.
export function readNetwork(bytes) {
  const { name, tensors } = readTensors(bytes);
  const kind = KINDS[name];
  const take = (key, count) => {
    const tensor = tensors[key];
    if (tensor?.length !== count) throw new WeightsProblem("wrongTensor", { key, count });
    if (!tensor.every(Number.isFinite)) throw new WeightsProblem("notFinite", { key });
    return tensor;
  };
  // A batch normalisation as factor and shift of each map or unit.
  const normalisation = (key, count) => {
    const [weight, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map((part) =>
      take(`${key}.${part}`, count),
    );
    const factor = Float64Array.from(weight, (value, i) => value / Math.sqrt(variance[i] + 1e-5));
    if (!factor.every(Number.isFinite)) throw new WeightsProblem("notFinite", { key: `${key}.running_var` });
    return { factor, shift: Float64Array.from(bias, (value, i) => value - mean[i] * factor[i]) };
  };
  const weighted = (layer, weights, units) => {
    const key = kind.keys[layer];
    let [weight, bias] = [take(`${key}.weight`, weights), take(`${key}.bias`, units)];
    if (kind.normalised?.[layer]) {
      const { factor, shift } = normalisation(kind.normalised[layer], units);
      weight = Float64Array.from(weight, (value, i) => value * factor[Math.floor((i * units) / weights)]);
      bias = Float64Array.from(bias, (value, i) => value * factor[i] + shift[i]);
    }
    return { weight, bias };
  };
  const subsampling = (layer, maps) => {
    const key = kind.keys[layer];
    if (!key) return { weight: new Float64Array(maps).fill(0.25), bias: new Float64Array(maps) };
    if (name === "LeNet5()") return { weight: take(`${key}.coefficient`, maps), bias: take(`${key}.bias`, maps) };
    const { factor, shift } = normalisation(key, maps);
    return { weight: factor.map((value) => value / 4), bias: shift };
  };
  // Which maps of S2 each map of C3 sees, and where its kernels begin.
  const sees = kind.table.map((row) => [...row].flatMap((digit, i) => (digit === "1" ? [i] : [])));
  const kernels = sees.reduce((sum, maps) => sum + maps.length, 0);
  return {
    name,
    kind,
    sees,
    c1: weighted("c1", 6 * 25, 6),
    s2: subsampling("s2", 6),
    c3: weighted("c3", kernels * 25, 16),
    s4: subsampling("s4", 16),
    c5: weighted("c5", 120 * 400, 120),
    f6: weighted("f6", 84 * 120, 84),
    output: kind.keys.output ? weighted("output", 840, 10) : { weight: Float64Array.from(BITMAPS) },
  };
}

// Maps, side by side in one array: `count` of them, `side` x `side` each.
const maps = (count, side) => ({ count, side, values: new Float64Array(count * side * side) });

function convolve(input, { weight, bias }, sees, padding = 0) {
  const side = input.side + 2 * padding - 4;
  const sums = maps(bias.length, side);
  let kernel = 0;
  for (let map = 0; map < bias.length; map++) {
    const from = map * side * side;
    sums.values.fill(bias[map], from, from + side * side);
    for (const seen of sees[map]) {
      for (let i = 0; i < 25; i++) {
        const [down, across, factor] = [Math.floor(i / 5) - padding, (i % 5) - padding, weight[25 * kernel + i]];
        const [first, last] = [Math.max(0, -across), Math.min(side, input.side - across)];
        for (let row = Math.max(0, -down); row < Math.min(side, input.side - down); row++) {
          const at = (seen * input.side + row + down) * input.side + across;
          const to = from + row * side;
          for (let column = first; column < last; column++)
            sums.values[to + column] += factor * input.values[at + column];
        }
      }
      kernel++;
    }
  }
  return sums;
}

function subsample(input, { weight, bias }) {
  const [side, wide] = [input.side / 2, input.side];
  const sums = maps(input.count, side);
  for (let i = 0; i < sums.values.length; i++) {
    const map = Math.floor(i / (side * side));
    const at = (map * wide + 2 * (Math.floor(i / side) % side)) * wide + 2 * (i % side);
    const { values } = input;
    sums.values[i] =
      weight[map] * (values[at] + values[at + 1] + values[at + wide] + values[at + wide + 1]) + bias[map];
  }
  return sums;
}

function connect(input, { weight, bias }) {
  const sums = maps(bias.length, 1);
  const wide = input.values.length;
  for (let unit = 0; unit < bias.length; unit++) {
    let sum = bias[unit];
    for (let i = 0; i < wide; i++) sum += weight[unit * wide + i] * input.values[i];
    sums.values[unit] = sum;
  }
  return sums;
}

const each = (map, act) => ({ ...map, values: map.values.map(act) });

// Return what every layer holds for a digit (28 x 28, ink 255): states, and the sums before the squashing function.
export function run(net, digit) {
  const { scale, margin, padding, squash, after } = net.kind;
  const input = maps(1, 28 + 2 * margin);
  input.values.fill(scale(0));
  digit.forEach((ink, i) => {
    input.values[(Math.floor(i / 28) + margin) * input.side + (i % 28) + margin] = scale(ink / 255);
  });
  const sums = { input };
  const states = { input };
  const add = (layer, found, act) => {
    sums[layer] = found;
    states[layer] = act ? each(found, act) : found;
    return states[layer];
  };
  const c1 = add("c1", convolve(input, net.c1, Array(6).fill([0]), padding), squash);
  const s2 = add("s2", subsample(c1, net.s2), after && squash);
  const c3 = add("c3", convolve(s2, net.c3, net.sees), squash);
  const s4 = add("s4", subsample(c3, net.s4), after && squash);
  const c5 = add("c5", connect(s4, net.c5), squash);
  const f6 = add("f6", connect(c5, net.f6), squash);
  add("output", net.output.bias ? connect(f6, net.output) : distances(f6, net.output.weight));
  return { states, sums, ...decide(net, states.output.values) };
}

function distances(f6, bitmaps) {
  const found = maps(10, 1);
  bitmaps.forEach((bit, i) => (found.values[Math.floor(i / 84)] += (f6.values[i % 84] - bit) ** 2));
  return found;
}

// The class, and how sure: the squared distance to the nearest bitmap, or the largest softmax probability.
function decide(net, output) {
  const far = !net.output.bias;
  const best = output.indexOf(far ? Math.min(...output) : Math.max(...output));
  if (far) return { best, scores: Array.from(output), sure: output[best] };
  const powers = Array.from(output, (logit) => Math.exp(logit - output[best]));
  const total = powers.reduce((sum, power) => sum + power);
  const scores = powers.map((power) => power / total);
  return { best, scores, sure: scores[best] };
}

// Whether a network, with the limit of its kind, takes the digit for one at all.
export const takes = (net, { sure }, limit) => (net.output.bias ? sure >= limit : sure <= limit);

// ------------------------------------------------------------------------------------------ a sum, written out

const BEFORE = { c1: "input", s2: "c1", c3: "s2", s4: "c3", c5: "s4", f6: "c5", output: "f6" };

// Return what a unit sees and what it adds up: the windows [{ layer, map, row, column, size }], and the parts of its sum
// [{ of, value }] with the bias last (of null). For the distances of 1998 the parts are those of the 12 rows of F6.
export function explain(net, { states, sums }, { layer, map, row, column }) {
  const before = BEFORE[layer];
  if (!before) return null;
  const { side, values } = states[before];
  const { weight, bias } = net[layer];
  const at = (seen, down, across) =>
    down < 0 || across < 0 || down >= side || across >= side ? 0 : values[(seen * side + down) * side + across];
  const windows = [];
  const parts = [];
  if (layer === "c1" || layer === "c3") {
    const padding = layer === "c1" ? net.kind.padding : 0;
    const seen = layer === "c1" ? [0] : net.sees[map];
    let kernel = layer === "c1" ? map : net.sees.slice(0, map).reduce((sum, list) => sum + list.length, 0);
    for (const from of seen) {
      windows.push({ layer: before, map: from, row: row - padding, column: column - padding, size: 5 });
      const products = Array.from(
        { length: 25 },
        (_, i) => weight[25 * kernel + i] * at(from, row + Math.floor(i / 5) - padding, column + (i % 5) - padding),
      );
      if (layer === "c1")
        for (let i = 0; i < 5; i++) parts.push({ of: ["row", i], value: total(products.slice(5 * i, 5 * i + 5)) });
      else parts.push({ of: ["s2", from], value: total(products) });
      kernel++;
    }
  } else if (layer === "s2" || layer === "s4") {
    windows.push({ layer: before, map, row: 2 * row, column: 2 * column, size: 2 });
    for (let i = 0; i < 4; i++)
      parts.push({ of: ["pixel", i], value: weight[map] * at(map, 2 * row + (i >> 1), 2 * column + (i & 1)) });
  } else if (layer === "c5") {
    for (let from = 0; from < 16; from++) {
      windows.push({ layer: before, map: from, row: 0, column: 0, size: 5 });
      const products = Array.from({ length: 25 }, (_, i) => weight[400 * map + 25 * from + i] * values[25 * from + i]);
      parts.push({ of: ["s4", from], value: total(products) });
    }
  } else {
    windows.push({ layer: before, map: 0, row: 0, column: 0, size: 0 }); // all of it
    const wide = values.length;
    for (let group = 0; group < 12; group++) {
      let value = 0;
      for (let i = (group * wide) / 12; i < ((group + 1) * wide) / 12; i++)
        value += bias ? weight[map * wide + i] * values[i] : (values[i] - weight[map * wide + i]) ** 2;
      parts.push({ of: [layer === "f6" ? "ten" : "f6", group], value });
    }
  }
  const cell = (found) => found.values[(map * found.side + row) * found.side + column];
  if (bias) parts.push({ of: null, value: bias[map] });
  return { windows, parts, sum: cell(sums[layer]), state: cell(states[layer]) };
}

const total = (values) => values.reduce((sum, value) => sum + value, 0);

// Return the kernels of a map or unit: [{ of, side, values }]; none for a subsampling map, which has two numbers.
export function kernelsOf(net, layer, map) {
  const { weight } = net[layer];
  const cut = (of, from, count, side) => ({ of, side, values: weight.slice(from, from + count) });
  if (layer === "c1") return [cut(0, 25 * map, 25, 5)];
  if (layer === "c3") {
    const first = net.sees.slice(0, map).reduce((sum, list) => sum + list.length, 0);
    return net.sees[map].map((from, i) => cut(from, 25 * (first + i), 25, 5));
  }
  if (layer === "c5") return Array.from({ length: 16 }, (_, from) => cut(from, 400 * map + 25 * from, 25, 5));
  if (layer === "f6") return [cut(0, 120 * map, 120, 10)];
  if (layer === "output") return [cut(0, 84 * map, 84, 7)];
  return [];
}
