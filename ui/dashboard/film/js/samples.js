// Samples of a film: fetched once as the file has them, kept within a bound, with smaller levels.
const KEPT_BYTES = 256 << 20;
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array };
// Of this window: key of a film -> { promise, film, bytes }, the least recently used first.
const kept = (globalThis.cxrFilms ??= new Map());

// The original that is here already, or null.
function atHand(key) {
  return kept.get(key)?.film ?? null;
}

// The original, fetched unless it is kept; fails with a sentence for a person.
function original(key, url, priority = "auto") {
  const known = kept.get(key);
  if (known) {
    kept.delete(key);
    kept.set(key, known);
    return known.promise;
  }
  const entry = { film: null, bytes: 0 };
  entry.promise = fetch(url, { credentials: "same-origin", priority }).then(read).then(
    (film) => {
      [entry.film, entry.bytes] = [film, (film.levels[0].data.byteLength * 4) / 3];
      forget(entry);
      return film;
    },
    (error) => {
      kept.delete(key);
      throw error instanceof TypeError ? new Error("The original could not be fetched: the server does not answer.") : error;
    },
  );
  kept.set(key, entry);
  return entry.promise;
}

function forget(newest) {
  let bytes = [...kept.values()].reduce((sum, one) => sum + one.bytes, 0);
  for (const [key, one] of kept) {
    if (bytes <= KEPT_BYTES) return;
    if (one === newest || !one.film) continue;
    kept.delete(key);
    bytes -= one.bytes;
  }
}

// Four bytes of length, a header in JSON, padding to 8, then samples row by row, little-endian.
async function read(response) {
  const kind = response.headers.get("content-type") ?? "";
  if (!response.ok || !kind.startsWith("application/octet-stream")) {
    const said = kind.startsWith("text/plain") ? (await response.text()).trim().slice(0, 300) : "";
    throw new Error(said || `The original could not be fetched: the server answered ${response.status}.`);
  }
  const bytes = await response.arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  const { width, height, channels } = header;
  const start = Math.ceil((4 + length) / 8) * 8;
  const data = new ARRAYS[header.dtype](bytes, start, width * height * channels);
  const presets = header.presets.map((one) => (one.table ? { ...one, table: octets(one.table) } : one));
  const levels = [{ width, height, data, across: 1, down: 1 }];
  return { ...header, presets, levels, own: true };
}

function octets(table) {
  return typeof table === "string" ? Uint8Array.from(atob(table), (one) => one.charCodeAt(0)) : Uint8Array.from(table);
}

// A thumbnail as if it were a film of its original's size.
async function thumbnail(png, size, whole) {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const [wide, high] = [image.naturalWidth, image.naturalHeight];
  const context = sheet(wide, high).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, wide, high).data;
  const data = new Uint8Array(wide * high), counts = new Uint32Array(256);
  for (let at = 0; at < data.length; at++) {
    data[at] = 0.299 * pixels[4 * at] + 0.587 * pixels[4 * at + 1] + 0.114 * pixels[4 * at + 2] + 0.5;
    counts[data[at]]++;
  }
  const [width, height] = size ?? [wide, high];
  return {
    width, height, channels: 1, dtype: "uint8", bits: 8, inverted: false, slope: 1, intercept: 0, unit: "",
    spacing: null, spacing_plane: null, own: false, whole,
    presets: [{ name: "as stored", centre: 127.5, width: 255 }, between("1-99 %", ends(counts, data.length))],
    levels: [{ width: wide, height: high, data, across: width / wide, down: height / high }],
  };
}

function between(name, [low, high]) {
  return { name, centre: (low + high) / 2, width: Math.max(1, high - low) };
}

function ends(counts, total) {
  const found = [0, counts.length - 1];
  for (const [at, part] of [[0, 0.01], [1, 0.99]]) {
    let sum = 0;
    found[at] = counts.findIndex((count) => (sum += count) >= part * total);
  }
  return found;
}

function sheet(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

// A level of a film: each is half of the one before, a sample of it the mean of four. Made when asked for.
function level(film, number) {
  while (film.levels.length <= number) film.levels.push(halved(film.levels.at(-1), film.channels));
  return film.levels[number];
}

function halved({ width, height, data, across, down }, channels) {
  const wide = Math.ceil(width / 2), high = Math.ceil(height / 2);
  const found = new data.constructor(wide * high * channels), line = width * channels;
  let to = 0;
  for (let y = 0; y < high; y++) {
    const upper = 2 * y * line, lower = 2 * y + 1 < height ? upper + line : upper;
    for (let x = 0; x < wide; x++) {
      const left = 2 * x * channels, right = 2 * x + 1 < width ? left + channels : left;
      for (let channel = 0; channel < channels; channel++)
        found[to++] = (data[upper + left + channel] + data[upper + right + channel] +
          data[lower + left + channel] + data[lower + right + channel] + 2) >> 2;
    }
  }
  return { width: wide, height: high, data: found, across: 2 * across, down: 2 * down };
}
