// What the pad says, in English and Chinese. A text is a string, or a function of what it needs.

export const number = (value, digits) => value.toFixed(digits).replace("-", "−");
const percent = (share) => `${number(100 * share, 1)} %`;
// A number with as many digits as tell it from a limit, one at least.
const apart = (value, limit) =>
  number(value, [1, 2, 3, 4].find((digits) => value.toFixed(digits) !== limit.toFixed(digits)) ?? 5);

const SAY = {
  en: {
    title: "Draw a digit",
    empty: "draw a digit",
    pad: "Drawing pad",
    keys:
      "Keys: 0 to 9 draw an example; Ctrl+Z takes back a stroke, Delete or Backspace erases; " +
      "with the pad in focus, arrows move a pen, Space sets it down and lifts it.",
    undo: "Undo",
    undoTitle: "Take back the last stroke (Ctrl+Z)",
    erase: "Erase",
    eraseTitle: "Erase all (Delete)",
    picture: "Picture",
    pictureTitle: "Read digits from a picture: choose a file here, or drop or paste one anywhere on the pad",
    camera: "Camera",
    cameraTitle: "Take a photograph and read its digits",
    weights: "Weights",
    weightsTitle: "Add a network that you trained: a file that lenet_utils.save_weights wrote",
    full: "The pad is full: erase it, then draw on.",
    view: (name) => `The layers of the network ${name}`,
    viewKeys:
      "Point at a unit, or touch it, to see its sum; click, or press Enter, for its map in large. " +
      "Arrows, Page Up and Page Down go from unit to unit.",
    reads: (name, { best, sure, far }) =>
      `${name} reads ${best}, ${far ? `squared distance ${number(sure, 1)}` : percent(sure)}`,
    refuses: (name, { best, sure, far, limit }) =>
      far
        ? `${name} sees no digit: the nearest is ${best}, at a squared distance of ${apart(sure, limit)}, ` +
          `and the limit is ${limit}`
        : `${name} sees no digit: the likeliest is ${best}, with ${apart(100 * sure, 100 * limit)} %, ` +
          `and ${number(100 * limit, 0)} % is the least`,
    input: (side) => `input ${side} x ${side}`,
    below: "blue: below 0, orange: above",
    belowHalf: "blue: below ½, orange: above",
    table: "dots: which maps of S2 (rows) each map of C3 (columns) sees",
    bitmaps: "the ten bitmaps, and the squared distance to each",
    outputs: "what each output weighs F6 with, and its probability",
    unit: ({ layer, map, row, column, side }) =>
      layer === "input"
        ? `input, row ${row}, column ${column}`
        : `${layer.toUpperCase()}, ${side > 1 ? `map ${map}, row ${row}, column ${column}` : `unit ${map}`}`,
    outputUnit: (map) => `output ${map}`,
    value: (value) => `: ${value}`,
    parts: {
      row: (i) => `window's row ${i}`,
      f6: (i) => `F6's row ${i}`,
      s2: (i) => `S2's map ${i}`,
      s4: (i) => `S4's map ${i}`,
      pixel: (i) => ["top left", "top right", "bottom left", "bottom right"][i],
      ten: (i) => `C5's units ${10 * i} to ${10 * i + 9}`,
    },
    bias: "bias",
    squashed: (name, value) => `; ${name} makes it ${value}`,
    large: (unit) => `${unit}, in large`,
    kernel: ({ layer, map, of, bitmap }) =>
      ({
        c1: "kernel",
        c3: `kernel for S2's map ${of}`,
        c5: `kernel for S4's map ${of}`,
        f6: `weights of unit ${map}`,
      })[layer] ?? (bitmap ? `bitmap of ${map}` : `weights of output ${map}`),
    folded: " (weights and bias hold the batch normalisation, too)",
    coefficient: (weight, bias) => `coefficient ${number(weight, 3)}, bias ${number(bias, 3)}`,
    steps: {
      grey: "grey",
      ink: (dark) => (dark ? "ink: what is darker than the paper" : "ink: what is lighter than the ground"),
      strokes: "above the threshold",
      boxes: "in boxes",
    },
    found: (count, name) => `${count === 1 ? "one digit" : `${count} digits`} found, and what ${name} reads:`,
    choose: (i, name) => `Show digit ${i + 1}; below it is what ${name} reads`,
    noPicture: (name) => `${name} cannot be read as a picture.`,
    noWeights: "This file holds no weights: choose a .safetensors file that lenet_utils.save_weights wrote.",
    otherNetwork: ({ name }) =>
      `This file holds weights of ${name}: the pad shows LeNet5(), modern_lenet() and tutorial_lenet().`,
    wrongTensor: ({ key, count }) =>
      `This file does not fit its network: ${key} should hold ${count} numbers of 32 bits.`,
    notFinite: ({ key }) => `This file holds weights that are not finite numbers, in ${key}.`,
    names: {},
    pictures: {}, // as pictures.js says them
    language: "中文",
  },
  zh: {
    title: "写一个数字",
    empty: "请写一个数字",
    pad: "手写板",
    keys: "按键：0 到 9 画出示例；Ctrl+Z 撤销一笔，Delete 或退格键清空；手写板获得焦点时，方向键移动笔，空格键落笔或抬笔。",
    undo: "撤销",
    undoTitle: "撤销上一笔（Ctrl+Z）",
    erase: "清空",
    eraseTitle: "全部清空（Delete）",
    picture: "图片",
    pictureTitle: "识别图片里的数字：在此选择文件，或把图片拖放、粘贴到手写板上",
    camera: "拍照",
    cameraTitle: "拍一张照片并识别其中的数字",
    weights: "权重",
    weightsTitle: "加入你自己训练的网络：lenet_utils.save_weights 写出的文件",
    full: "手写板已满：请先清空再继续写。",
    view: (name) => `网络“${name}”的各层`,
    viewKeys:
      "指向或触摸一个单元可看到它的求和；点击或按 Enter 放大所在的特征图。方向键和 Page Up、Page Down 在单元之间移动。",
    reads: (name, { best, sure, far }) => `${name}：读作 ${best}，${far ? `平方距离 ${number(sure, 1)}` : `${number(100 * sure, 1)}%`}`,
    refuses: (name, { best, sure, far, limit }) =>
      far
        ? `${name}：看不出是数字，最近的是 ${best}，平方距离 ${apart(sure, limit)}，上限是 ${limit}`
        : `${name}：看不出是数字，最像 ${best}，概率只有 ${apart(100 * sure, 100 * limit)}%，下限是 ${number(100 * limit, 0)}%`,
    input: (side) => `输入 ${side} x ${side}`,
    below: "蓝色：小于 0，橙色：大于 0",
    belowHalf: "蓝色：小于 ½，橙色：大于 ½",
    table: "圆点：C3 的每个特征图（列）连接 S2 的哪几个（行）",
    bitmaps: "十个编码位图，以及到每个位图的平方距离",
    outputs: "每个输出对 F6 的权重，以及它的概率",
    unit: ({ layer, map, row, column, side }) =>
      layer === "input"
        ? `输入，第 ${row} 行第 ${column} 列`
        : `${layer.toUpperCase()}，${side > 1 ? `第 ${map} 个特征图，第 ${row} 行第 ${column} 列` : `第 ${map} 个单元`}`,
    outputUnit: (map) => `输出 ${map}`,
    value: (value) => `：${value}`,
    parts: {
      row: (i) => `窗口第 ${i} 行`,
      f6: (i) => `F6 第 ${i} 行`,
      s2: (i) => `S2 第 ${i} 个`,
      s4: (i) => `S4 第 ${i} 个`,
      pixel: (i) => ["左上", "右上", "左下", "右下"][i],
      ten: (i) => `C5 第 ${10 * i} 到 ${10 * i + 9} 个单元`,
    },
    bias: "偏置",
    squashed: (name, value) => `；经 ${name} 得 ${value}`,
    large: (unit) => `${unit}（放大）`,
    kernel: ({ layer, map, of, bitmap }) =>
      ({
        c1: "卷积核",
        c3: `对应 S2 第 ${of} 个特征图的卷积核`,
        c5: `对应 S4 第 ${of} 个特征图的卷积核`,
        f6: `第 ${map} 个单元的权重`,
      })[layer] ?? (bitmap ? `${map} 的位图` : `输出 ${map} 的权重`),
    folded: "（权重和偏置已包含批量归一化）",
    coefficient: (weight, bias) => `系数 ${number(weight, 3)}，偏置 ${number(bias, 3)}`,
    steps: {
      grey: "灰度",
      ink: (dark) => (dark ? "墨迹：比纸暗的部分" : "墨迹：比底色亮的部分"),
      strokes: "超过阈值的部分",
      boxes: "方框",
    },
    found: (count, name) => `找到 ${count} 个数字，下面是“${name}”的读数：`,
    choose: (i, name) => `显示第 ${i + 1} 个数字；下面是“${name}”的读数`,
    noPicture: (name) => `${name} 不是可以读取的图片。`,
    noWeights: "这个文件里没有权重：请选择 lenet_utils.save_weights 写出的 .safetensors 文件。",
    otherNetwork: ({ name }) => `这是 ${name} 的权重：手写板只显示 LeNet5()、modern_lenet() 和 tutorial_lenet()。`,
    wrongTensor: ({ key, count }) => `文件与网络不符：${key} 应有 ${count} 个 32 位浮点数。`,
    notFinite: ({ key }) => `文件里有不是有限数的权重：${key}。`,
    names: { modern: "现代版", tutorial: "教程版" },
    pictures: {
      nothing: () => "这张图片里没有显出数字：墨迹要与周围的纸有明显差别。",
      small: ({ width, height }) => `图片太小：${width} x ${height} 像素，每边至少要 8 个像素。`,
      parts: ({ count }) => `图片里有 ${count} 块墨迹，太多了：请裁剪到只剩一行数字。`,
    },
    language: "English",
  },
};

export const wordsOf = (language) => SAY[language === "zh" ? "zh" : "en"];
