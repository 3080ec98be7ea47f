// Tones: from stored values to grey, by a preset of the film, moved and stretched by hand.
// A setting is { preset: name, shift, stretch, gamma, invert }: shift and stretch are in widths of the
// preset's own window, so that films of different depths can be windowed together; a higher shift is
// darker, of an inverted film as well.
const TONES = { preset: null, shift: 0, stretch: 1, gamma: 1, invert: false };

function shiftOf(film, setting) {
  return film.inverted ? -setting.shift : setting.shift;
}

function presetOf(film, setting) {
  return film.presets.find((one) => one.name === setting.preset) ?? film.presets[0];
}

// Where a stored value is between black (0) and white (1) of a preset; beyond them too, of a window.
function position(film, preset) {
  if (preset.table) {
    const { table, first = 0 } = preset, last = table.length - 1;
    return (value) => table[Math.min(last, Math.max(0, value - first))] / 255;
  }
  const { slope, intercept } = film, { centre, width } = preset;
  if (preset.function === "SIGMOID") return (value) => 1 / (1 + Math.exp((-4 * (slope * value + intercept - centre)) / width));
  if (preset.function === "LINEAR" && width > 1)
    return (value) => (slope * value + intercept - centre + 0.5) / (width - 1) + 0.5;
  return (value) => (slope * value + intercept - centre) / width + 0.5;
}

// Grey for every stored value, at its 16 bits without sign: 256 or 65,536 entries of one byte.
function greys(film, setting) {
  const found = new Uint8ClampedArray(film.dtype === "uint8" ? 256 : 65536);
  const at = position(film, presetOf(film, setting)), { stretch, gamma } = setting, shift = shiftOf(film, setting);
  const negative = film.inverted !== setting.invert, signed = film.dtype === "int16";
  for (let bits = 0; bits < found.length; bits++) {
    let grey = (at(signed && bits > 32767 ? bits - 65536 : bits) - 0.5 - shift) / stretch + 0.5;
    if (gamma !== 1) grey = Math.pow(Math.min(1, Math.max(0, grey)), 1 / gamma);
    found[bits] = 255 * (negative ? 1 - grey : grey);
  }
  return found;
}

// The part of a level from (left, top), as pixels to be drawn.
function windowed(film, { width, data }, table, left, top, image) {
  const out = new Uint32Array(image.data.buffer), { width: wide, height: high } = image;
  let to = 0;
  if (film.channels === 1) {
    const colours = new Uint32Array(table.length);
    for (let at = 0; at < table.length; at++) colours[at] = 0xff000000 | (table[at] * 0x010101);
    for (let y = 0; y < high; y++) {
      let from = (top + y) * width + left;
      for (const stop = to + wide; to < stop; ) out[to++] = colours[data[from++] & 0xffff];
    }
    return;
  }
  for (let y = 0; y < high; y++) {
    let from = 3 * ((top + y) * width + left);
    for (const stop = to + wide; to < stop; from += 3)
      out[to++] = 0xff000000 | (table[data[from + 2]] << 16) | (table[data[from + 1]] << 8) | table[data[from]];
  }
}

// Window and level in the numbers of the film: modality values, or parts of a table.
function numbers(film, setting) {
  const preset = presetOf(film, setting), { stretch } = setting, shift = shiftOf(film, setting);
  if (preset.table || preset.function === "SIGMOID") return { width: 100 * stretch, level: 50 + 100 * shift, unit: " %" };
  return { width: preset.width * stretch, level: preset.centre + preset.width * shift, unit: "" };
}

// The value at a place of the film, in words: stored, and what it means where the file tells.
function valueAt(film, x, y) {
  if (x < 0 || y < 0 || x >= film.width || y >= film.height) return "";
  const { width, height, data, across, down } = film.levels[0];
  const column = Math.min(width - 1, Math.floor(x / across)), row = Math.min(height - 1, Math.floor(y / down));
  const from = (row * width + column) * film.channels;
  const where = `x ${Math.floor(x)}, y ${Math.floor(y)}`;
  if (!film.own && !film.whole) return `${where}: thumbnail ${data[from]}`;
  if (film.channels === 3) return `${where}: R ${data[from]} G ${data[from + 1]} B ${data[from + 2]}`;
  const { slope, intercept, unit } = film;
  if (slope === 1 && intercept === 0 && !unit) return `${where}: ${data[from]}`;
  return `${where}: ${data[from]} stored, ${short(slope * data[from] + intercept)}${unit ? ` ${unit}` : ""}`;
}

function short(number) {
  return Number.isInteger(number) ? String(number) : number.toPrecision(6).replace(/\.?0+$/, "");
}
