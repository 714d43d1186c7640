// Pictures of digits as MNIST would have them: lenet_pictures.py in plain JavaScript, step by step, number by number.
// Levels are whole numbers from 0 to 255; a half is rounded up. An image is { width, height, data }, row by row.

const SMALL = 250; // pixels of the longer side that the steps work on
const PRINTED = 28; // the longer side is so many times as long as a printed line is thick, at least
const MANY = 30; // parts of ink: more are a page of writing, or a pattern
const SMALLEST = 20; // the longer side is at most so many times as long as a digit is tall
const FEW = 20; // pixels: a digit has more
const FAINT = 20; // half of the ink, of 255, that a digit has at least
const DIM = 64; // less light counts as this, or the grain of a black board would be ink

const SENTENCES = {
  small: ({ width, height }) =>
    `A picture of a digit needs at least 8 pixels a side once it is small, not ${width} x ${height}.`,
  nothing: () => "No digit stands out in this picture: the ink must differ from the paper around it.",
  parts: ({ count }) => `This picture has ${count} separate parts of ink: cut it to one digit or a row of digits.`,
};

// A picture in which no digit is found. key: which of the sentences says so; values: what it names.
export class PictureProblem extends Error {
  constructor(key, values = {}) {
    super(SENTENCES[key](values));
    [this.key, this.values] = [key, values];
  }
}

// Return what lies between a picture and its digits: { grey, ink, dark, threshold, strokes, boxes, digits }, as
// picture_steps in lenet_pictures.py. strokes holds 0 and 1, digits are Uint8Arrays of 28 x 28.
// data: red, green, blue and alpha of each pixel, bytes. Throws a PictureProblem.
export function pictureSteps({ width, height, data }) {
  const grey = smallGrey(width, height, data);
  const dark = isDarkInk(grey);
  const { ink: lined, grain } = inkOf(dark ? grey : like(grey, (level) => 255 - level));
  const ink = turned(withoutLines(turned(withoutLines(lined))));
  const threshold = thresholdOf(ink.data, grain);
  const found = findDigits(like(ink, (level) => (level > threshold ? 1 : 0)));
  const strokes = like(grey, (_, i) => (found.some((digit) => digit.data[i]) ? 1 : 0));
  const boxes = found.map(boxOf);
  const digits = found.map((digit, i) => centred(fitted(ink, digit, boxes[i])));
  const bytes = (image) => ({ ...image, data: Uint8Array.from(image.data) });
  return { grey: bytes(grey), ink: bytes(ink), dark, threshold, strokes: bytes(strokes), boxes, digits };
}

// ------------------------------------------------------------------------------------------------ small tools

const like = ({ width, height, data }, change) => ({ width, height, data: data.map(change) });

function turned({ width, height, data }) {
  const across = new Int32Array(data.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) across[height * x + y] = data[width * y + x];
  return { width: height, height: width, data: across };
}

// Return the picture in grey, SMALL pixels on its longer side at most; what is transparent becomes white paper.
function smallGrey(width, height, data) {
  const share = Math.min(1, SMALL / Math.max(width, height));
  const [across, down] = [width, height].map((side) => Math.max(1, Math.floor(share * side + 0.5)));
  if (Math.min(across, down) < 8) throw new PictureProblem("small", { width: across, height: down });
  const [red, green, blue] = [0, 1, 2].map((channel) => {
    const levels = new Int32Array(width * height);
    for (let i = 0; i < levels.length; i++) {
      const alpha = data[4 * i + 3];
      levels[i] = Math.floor((data[4 * i + channel] * alpha + 255 * (255 - alpha)) / 255 + 0.5);
    }
    const image = { width, height, data: levels };
    return share === 1 ? image : averages(image, 0, width, across, 0, height, down);
  });
  return like(red, (level, i) => Math.floor((299 * level + 587 * green.data[i] + 114 * blue.data[i] + 500) / 1000));
}

// Return averages over across x down equal parts of the rectangle from left to right and top to bottom, which need not
// be whole numbers; outside of the image there is nothing. Between the two directions levels have four more bits.
function averages(image, left, right, across, top, bottom, down) {
  const flat = alongRows(image, left, right, across);
  const tall = alongRows(turned(like(flat, (mean) => Math.floor(16 * mean + 0.5))), top, bottom, down);
  return turned(like(tall, (mean) => Math.floor(mean / 16 + 0.5)));
}

function alongRows({ width, height, data }, start, end, count) {
  const means = new Float64Array(count * height);
  const sums = new Float64Array(width + 1);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) sums[x + 1] = sums[x] + data[width * y + x];
    let before = 0;
    for (let i = 0; i <= count; i++) {
      const edge = Math.min(Math.max(start + ((end - start) * i) / count, 0), width);
      const whole = Math.min(Math.floor(edge), width - 1);
      const sum = sums[whole] + (edge - whole) * data[width * y + whole];
      if (i) means[count * y + i - 1] = (sum - before) / ((end - start) / count);
      before = sum;
    }
  }
  return { width: count, height, data: means };
}

// Return the mean in the square of `radius` around each pixel, as far as it lies in the image.
function mean({ width, height, data }, radius) {
  const wide = width + 1;
  const sums = new Float64Array(wide * (height + 1));
  for (let y = 0; y < height; y++)
    for (let x = 0, row = 0; x < width; x++) {
      row += data[width * y + x];
      sums[wide * (y + 1) + x + 1] = sums[wide * y + x + 1] + row;
    }
  const means = new Int32Array(data.length);
  for (let y = 0; y < height; y++) {
    const [top, bottom] = [Math.max(y - radius, 0), Math.min(y + radius + 1, height)];
    for (let x = 0; x < width; x++) {
      const [left, right] = [Math.max(x - radius, 0), Math.min(x + radius + 1, width)];
      const sum =
        sums[wide * bottom + right] - sums[wide * top + right] - sums[wide * bottom + left] + sums[wide * top + left];
      const area = (bottom - top) * (right - left);
      means[width * y + x] = Math.floor((2 * sum + area) / (2 * area));
    }
  }
  return { width, height, data: means };
}

// Return the level, 0 to 255, that `place` of all levels stay below or at.
function rank(levels, place) {
  const counts = new Int32Array(256);
  for (const level of levels) counts[level]++;
  let level = 0;
  for (let below = counts[0]; below <= place; below += counts[level]) level++;
  return level;
}

// Return the largest (sign 1) or smallest (sign -1) level within `radius` along each row; outside lies `outside`.
function extreme({ width, height, data }, radius, sign, outside) {
  const found = new Int32Array(data.length);
  const waiting = new Int32Array(width + 2 * radius + 1); // columns whose level may still be the most extreme
  for (let y = 0; y < height; y++) {
    const level = (x) => (x < 0 || x >= width ? outside : data[width * y + x]);
    let [first, last] = [0, 0];
    for (let x = -radius; x < width + radius; x++) {
      while (last > first && sign * level(waiting[last - 1]) <= sign * level(x)) last--;
      waiting[last++] = x;
      if (waiting[first] < x - 2 * radius) first++;
      if (x >= radius) found[width * y + x - radius] = level(waiting[first]);
    }
  }
  return { width, height, data: found };
}

const around = (image, radius, sign, outside) =>
  turned(extreme(turned(extreme(image, radius, sign, outside)), radius, sign, outside));

// ------------------------------------------------------------------------------------------ paper, lines, ink

// Whether the ink is darker than the paper: what stands out from its surroundings most is dark.
function isDarkInk(grey) {
  const near = mean(grey, Math.floor(Math.max(grey.width, grey.height) / 5)).data;
  return grey.data.reduce((sum, level, i) => sum + (level - near[i]) ** 3, 0) <= 0;
}

// Return { ink, grain }: how much darker than the paper around it each pixel is, and how much the paper itself varies.
function inkOf(levels) {
  const { width, height } = levels;
  const longer = Math.max(width, height);
  const radius = Math.floor(longer / 8);
  const soft = longer > 100 ? mean(levels, 1) : levels;
  // Squares that reach over the edge count too: what gets darker there is no ink.
  const closed = cut(around(around(framed(soft, radius), radius, 1, 0), radius, -1, 255), radius);
  const even = mean(closed, Math.floor(longer / 50)).data;
  const paper = closed.data.map((level, i) => Math.min(level, even[i]));
  const ink = like(soft, (level, i) => {
    const light = Math.max(paper[i], DIM);
    return Math.floor((510 * Math.max(paper[i] - level, 0) + light) / (2 * light));
  });
  const middle = rank(ink.data, ink.data.length >> 1); // of the paper, most of the picture
  const grain = middle - rank(ink.data, ink.data.length >> 3);
  return { ink: like(ink, (level) => Math.max(level - middle, 0)), grain };
}

function framed({ width, height, data }, border) {
  const [wide, tall] = [width + 2 * border, height + 2 * border];
  const larger = new Int32Array(wide * tall);
  for (let y = 0; y < height; y++)
    larger.set(data.subarray(width * y, width * (y + 1)), wide * (y + border) + border);
  return { width: wide, height: tall, data: larger };
}

function cut(image, border) {
  const [width, height] = [image.width - 2 * border, image.height - 2 * border];
  const inner = new Int32Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = image.width * (y + border) + border;
    inner.set(image.data.subarray(start, start + width), width * y);
  }
  return { width, height, data: inner };
}

// Return `ink` without the printed lines that run across the whole picture, more or less level, and are thin.
function withoutLines(ink) {
  const radius = Math.max(Math.floor(Math.floor(Math.max(ink.width, ink.height) / PRINTED) / 2), 1);
  const columns = extreme(extreme(turned(ink), radius, -1, 255), radius, 1, 0);
  const thickness = turned(columns).data;
  const least = Math.max(Math.floor(rank(ink.data, ink.data.length - FEW) / 6), 6); // a paler line does no harm
  const thin = like(ink, (level, i) => (level - thickness[i] > least ? 1 : 0));
  const thick = thickness.map((level) => (level > least ? 1 : 0));
  const cleared = like(ink, (level) => level);
  for (const path of findLines(thin, thick, radius)) takeOff(cleared, path, radius);
  return cleared;
}

// Return the straight lines along which nearly all pixels are thin, from edge to edge: the row in each column.
function findLines(thin, thick, radius) {
  const { width, height } = thin;
  const near = turned(extreme(turned(thin), 1, 1, 0)).data;
  const steepest = Math.floor(width / 6);
  const found = [];
  for (let slope = -steepest; slope <= steepest; slope += 2) {
    const rows = Array.from({ length: width }, (_, x) =>
      Math.floor((2 * slope * x - slope * (width - 1) + (width - 1)) / (2 * (width - 1))),
    );
    for (let row = 0; row < height; row++) {
      const [hits, misses] = [[0, 0, 0], [0, 0, 0]]; // in the left, the middle and the right part
      let exact = 0;
      for (let x = 0; x < width; x++) {
        const y = row + rows[x];
        if (y < 0 || y >= height) continue;
        const part = x < steepest ? 0 : x < width - steepest ? 1 : 2;
        if (near[width * y + x]) hits[part]++;
        else if (!thick[width * y + x]) misses[part]++;
        exact += thin.data[width * y + x];
      }
      const share = (hit, miss) => Math.floor((1000 * hit) / Math.max(hit + miss, 1));
      const hit = hits[0] + hits[1] + hits[2];
      const all = share(hit, misses[0] + misses[1] + misses[2]);
      const ends = Math.min(share(hits[0], misses[0]), share(hits[2], misses[2]));
      if (ends >= 600 && all >= 700 && 2 * hit >= width)
        found.push({ exact, slope, row, path: rows.map((step) => row + step) });
    }
  }
  found.sort((a, b) => b.exact - a.exact || a.slope - b.slope || a.row - b.row);
  const kept = [];
  for (const { path } of found) {
    const apart = (other) => Math.min(Math.abs(path[0] - other[0]), Math.abs(path.at(-1) - other.at(-1))) > radius;
    if (kept.every(apart)) kept.push(path);
  }
  return kept;
}

// Take the printed line along `path` off `ink`, in place: what is no thicker than it goes, strokes across it stay.
function takeOff({ width, height, data }, path, radius) {
  const reach = 2 * radius;
  const count = 2 * reach + 1;
  const strip = { width: count, height: width, data: new Int32Array(count * width) }; // a row for each column of ink
  path.forEach((row, x) => {
    for (let i = 0; i < count; i++) {
      const y = row + i - reach;
      if (y >= 0 && y < height) strip.data[count * x + i] = data[width * y + x];
    }
  });
  const profile = Array.from({ length: count }, (_, i) => {
    const levels = Int32Array.from({ length: width }, (_, x) => strip.data[count * x + i]);
    return rank(levels, width >> 1);
  });
  let peak = radius;
  for (let i = radius; i <= 3 * radius; i++) if (profile[i] > profile[peak]) peak = i;
  let [low, high] = [peak, peak + 1];
  while (low > 1 && 8 * profile[low - 1] > profile[peak]) low--;
  while (high < count - 1 && 8 * profile[high] > profile[peak]) high++;
  [low, high] = [low - 1, high + 1]; // a path lies up to a pixel beside its line
  const half = (high - low + 1) >> 1;
  const opened = extreme(extreme(strip, half, -1, 0), half, 1, 0).data;
  path.forEach((row, x) => {
    for (let i = low; i < high; i++) {
      const y = row + i - reach;
      const darker = 2 * strip.data[count * x + i] > 3 * profile[peak]; // than the line
      if (y >= 0 && y < height && !darker) data[width * y + x] = opened[count * x + i];
    }
  });
}

// Return the level between paper and strokes: half of what most of the strokes have.
function thresholdOf(ink, grain) {
  const most = rank(ink, ink.length - FEW);
  const strokes = ink.filter((level) => level > most >> 1);
  const level = strokes.length ? rank(strokes, strokes.length >> 1) >> 1 : 0;
  if (level < Math.max(FAINT, 3 * grain)) throw new PictureProblem("nothing");
  return level;
}

// -------------------------------------------------------------------------------------------- parts and digits

// Return the connected parts of `strokes` in the order of their first pixels: { pixels, left, top, right, bottom }.
function partsOf({ width, height, data }) {
  const seen = new Uint8Array(data.length);
  const parts = [];
  for (let start = 0; start < data.length; start++) {
    if (!data[start] || seen[start]) continue;
    const part = { pixels: [start], left: width, top: height, right: 0, bottom: 0 };
    seen[start] = 1;
    for (let i = 0; i < part.pixels.length; i++) {
      const [x, y] = [part.pixels[i] % width, Math.floor(part.pixels[i] / width)];
      [part.left, part.right] = [Math.min(part.left, x), Math.max(part.right, x + 1)];
      [part.top, part.bottom] = [Math.min(part.top, y), Math.max(part.bottom, y + 1)];
      for (let v = Math.max(y - 1, 0); v < Math.min(y + 2, height); v++)
        for (let u = Math.max(x - 1, 0); u < Math.min(x + 2, width); u++) {
          const next = width * v + u;
          if (!data[next] || seen[next]) continue;
          seen[next] = 1;
          part.pixels.push(next);
        }
    }
    parts.push(part);
  }
  return parts;
}

// Return the digits among `strokes`, left to right: images of 0 and 1, each with all parts of one digit.
function findDigits(strokes) {
  const { width, height } = strokes;
  const parts = partsOf(strokes);
  const tall = ({ top, bottom }) => bottom - top;
  const inner = ({ left, top, right, bottom }) => left > 0 && top > 0 && right < width && bottom < height;
  const whole = (part) => inner(part) && Math.max(tall(part), part.right - part.left) >= 8;
  // At the edge lies what is no digit, unless the picture is cut close to it.
  const highest = parts.some(whole) ? Math.max(...parts.filter(whole).map(tall)) : height;
  const cutOff = (part) => !inner(part) && 2 * tall(part) >= height && 2 * tall(part) <= 3 * highest;
  const stripes = parts.filter((part) => cutOff(part) && tall(part) === height).length > 1;
  const candidates = parts.filter(
    (part) => whole(part) || (cutOff(part) && !(stripes && tall(part) === height)),
  );
  if (!candidates.length) throw new PictureProblem("nothing");
  const most = Math.max(...candidates.map(({ pixels }) => pixels.length));
  const large = candidates.filter(({ pixels }) => 10 * pixels.length > most);
  if (large.length > MANY) throw new PictureProblem("parts", { count: large.length });
  const groups = [];
  for (const part of large.sort((a, b) => a.left - b.left)) {
    const group = groups.find(({ left, right }) => {
      const shared = Math.min(part.right, right) - Math.max(part.left, left);
      return 3 * shared >= Math.min(part.right - part.left, right - left);
    });
    if (group) {
      group.right = Math.max(group.right, part.right);
      group.parts.push(part);
    } else groups.push({ left: part.left, right: part.right, parts: [part] });
  }
  const digits = groups.map((group) => {
    const data = new Int32Array(width * height);
    for (const { pixels } of group.parts) for (const pixel of pixels) data[pixel] = 1;
    return { width, height, data };
  });
  const heights = digits.map((digit) => boxOf(digit)[3] - boxOf(digit)[1]);
  const tallest = Math.max(...heights);
  if (SMALLEST * tallest < Math.max(width, height)) throw new PictureProblem("nothing");
  const kept = digits.filter((_, i) => 5 * heights[i] >= 2 * tallest);
  if (kept.some(isSolid)) throw new PictureProblem("nothing");
  return kept;
}

// Whether a digit's strokes are thicker somewhere than half of its longer side, as no pen's are.
function isSolid(digit) {
  const [left, top, right, bottom] = boxOf(digit);
  return around(digit, Math.floor(Math.max(right - left, bottom - top) / 4), -1, 0).data.includes(1);
}

function boxOf({ width, height, data }) {
  const box = [width, height, 0, 0];
  data.forEach((on, i) => {
    if (!on) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    [box[0], box[1]] = [Math.min(box[0], x), Math.min(box[1], y)];
    [box[2], box[3]] = [Math.max(box[2], x + 1), Math.max(box[3], y + 1)];
  });
  return box;
}

// ------------------------------------------------------------------------------------------ as MNIST has them

// Return a digit in 20 x 20: the longer side of its box 20 pixels, the other scaled alike, levels are shares of ink.
function fitted(ink, digit, [left, top, right, bottom]) {
  const strokes = ink.data.filter((_, i) => digit.data[i]);
  const full = rank(strokes, strokes.length >> 1);
  const near = around(digit, 2, 1, 0).data; // the soft edge too
  // A tenth of the ink is the paper's grain; full ink begins at nine tenths, or what is blurred would be grey.
  const share = like(ink, (level, i) => {
    const part = Math.floor((255 * (10 * level - full)) / (8 * full));
    return near[i] ? Math.min(Math.max(part, 0), 255) : 0;
  });
  const side = Math.max(right - left, bottom - top);
  const [x, y] = [(left + right - side) / 2, (top + bottom - side) / 2];
  const box = averages(share, x, x + side, 20, y, y + side, 20).data;
  const most = Math.max(...box);
  return box.map((level) => Math.floor((510 * level + most) / (2 * most)));
}

// Return 28 x 28 with `box` (20 x 20) in it, its centre of mass at pixel (14, 14), from 0, where there is room.
export function centred(box) {
  let [total, down, across] = [0, 0, 0];
  box.forEach((level, i) => {
    total += level;
    down += level * Math.floor(i / 20);
    across += level * (i % 20);
  });
  const [top, left] = [down, across].map((sum) => Math.min(Math.max(14 - Math.floor(sum / total + 0.5), 0), 8));
  const digit = new Uint8Array(784);
  box.forEach((level, i) => {
    digit[28 * (top + Math.floor(i / 20)) + left + (i % 20)] = level;
  });
  return digit;
}
