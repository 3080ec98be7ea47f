// A map of films: points drawn by hand into one picture, so that 100,000 of them follow the hand.
const CIVIDIS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
const MISSING = 255, WHOLE = 65535, NEAR = 12, DWELL = 130;

const inside = {
  "●": (x, y) => x * x + y * y <= 1,
  "▲": (x, y) => y <= 0.8 && y >= 2 * Math.abs(x) - 1.1,
  "▼": (x, y) => y >= -0.8 && -y >= 2 * Math.abs(x) - 1.1,
  "■": (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.82,
  "◆": (x, y) => Math.abs(x) + Math.abs(y) <= 1.1,
  "★": (x, y) => Math.hypot(x, y) <= 0.55 + 0.5 * Math.cos(5 * Math.atan2(x, -y)) ** 3,
  "⬢": (x, y) => Math.max(Math.abs(x) * 1.15, Math.abs(x) * 0.58 + Math.abs(y)) <= 1,
  "✚": (x, y) => Math.min(Math.abs(x), Math.abs(y)) <= 0.36 && Math.max(Math.abs(x), Math.abs(y)) <= 1,
  "○": (x, y) => Math.abs(Math.hypot(x, y) - 0.75) <= 0.3,
};

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".scatter");
  const stage = root.querySelector(".stage"), tip = root.querySelector(".tip");
  const points = root.querySelector(".points"), over = root.querySelector(".over");
  const stop = new AbortController();
  const on = (target, name, act, more) =>
    target.addEventListener(name, act, { signal: stop.signal, ...more });
  // What the visitor does and sees stays when the page is drawn again, also in the middle of a drag.
  const kept = (root.kept ??= { mode: "move", zoom: 1, left: 0, top: 0, drawing: null, hover: -1,
    grabbed: null, fingers: new Map() });
  const fingers = kept.fingers;
  if (kept.version !== data.version) Object.assign(kept, unpacked(data), { version: data.version });
  if (kept.place !== data.place) Object.assign(kept, { place: data.place, zoom: 1, left: 0, top: 0 });
  if (kept.outline === undefined) kept.outline = data.outline?.length > 2 ? data.outline : null;
  kept.chosen = chosen(kept, kept.outline);
  stage.setAttribute("aria-label", data.label);
  root.querySelector(".x").textContent = data.axes;
  let frame = 0, dwell = 0;

  // -- drawing ---------------------------------------------------------------------------------

  const ratio = () => Math.min(window.devicePixelRatio || 1, 2);
  const margin = 14;
  const toX = (value) => kept.left + margin + (value / WHOLE) * (stage.clientWidth - 2 * margin) * kept.zoom;
  const toY = (value) => kept.top + margin + (1 - value / WHOLE) * (stage.clientHeight - 2 * margin) * kept.zoom;
  const fromX = (x) => ((x - kept.left - margin) / ((stage.clientWidth - 2 * margin) * kept.zoom)) * WHOLE;
  const fromY = (y) => (1 - (y - kept.top - margin) / ((stage.clientHeight - 2 * margin) * kept.zoom)) * WHOLE;

  function later() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const began = performance.now();
      drawPoints();
      drawOver();
      stage.dataset.drawn = (performance.now() - began).toFixed(1);
      stage.dataset.frames = 1 + Number(stage.dataset.frames ?? 0);
    });
  }

  function drawPoints() {
    const scale = ratio(), width = Math.round(stage.clientWidth * scale), height = Math.round(stage.clientHeight * scale);
    if (!width || !height) return;
    if (points.width !== width || points.height !== height) Object.assign(points, { width, height });
    const context = points.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const crowd = kept.count > 50000 ? 1.3 : kept.count > 8000 ? 1.9 : 2.8;
    const radius = Math.min(crowd * Math.sqrt(kept.zoom), 7) * scale;
    const sprites = data.legend.map((entry) => sprite(entry.glyph, radius, width));
    const round = sprite("●", radius, width), reach = Math.ceil(radius) + 1;
    const palette = colours(data, 1), faint = colours(data, 0.13);
    const { xs, ys, codes, order, chosen: picked } = kept;
    const ax = (scale * (stage.clientWidth - 2 * margin) * kept.zoom) / WHOLE, bx = scale * (kept.left + margin);
    const inner = scale * (stage.clientHeight - 2 * margin) * kept.zoom;
    const ay = -inner / WHOLE, by = scale * (kept.top + margin) + inner;
    const [right, bottom] = [width - reach, height - reach];
    for (let pass = picked ? 0 : 1; pass < 2; pass++) {
      for (let step = 0; step < order.length; step++) {
        const at = order[step];
        if (picked && picked[at] !== pass) continue;
        const x = (xs[at] * ax + bx) | 0, y = (ys[at] * ay + by) | 0;
        if (x < reach || y < reach || x >= right || y >= bottom) continue;
        const code = codes[at], spots = sprites[code] ?? round, base = y * width + x;
        const colour = (pass ? palette : faint)[code];
        for (let spot = 0; spot < spots.length; spot++) pixels[base + spots[spot]] = colour;
      }
    }
    context.putImageData(image, 0, 0);
  }

  function drawOver() {
    const scale = ratio();
    Object.assign(over, { width: stage.clientWidth * scale, height: stage.clientHeight * scale });
    const context = over.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(stage);
    const ink = style.getPropertyValue("--st-text-color") || "#222";
    const ground = style.getPropertyValue("--st-background-color") || "#fff";
    const line = kept.drawing ?? kept.outline;
    if (line) {
      context.beginPath();
      for (const [x, y] of line) context.lineTo(toX(x), toY(y));
      context.closePath();
      context.strokeStyle = ink;
      context.setLineDash([5, 4]);
      context.lineWidth = 1.5;
      context.stroke();
      context.setLineDash([]);
    }
    context.font = "600 11px sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { at, name } of [...data.marks].reverse()) {
      const x = toX(kept.xs[at]), y = toY(kept.ys[at]);
      context.beginPath();
      context.arc(x, y, 9, 0, 7);
      context.fillStyle = name === "?" ? ink : ground;
      context.fill();
      context.lineWidth = 2;
      context.strokeStyle = ink;
      context.stroke();
      context.fillStyle = name === "?" ? ground : ink;
      context.fillText(name, x, y + 0.5);
    }
    if (kept.hover >= 0) {
      context.beginPath();
      context.arc(toX(kept.xs[kept.hover]), toY(kept.ys[kept.hover]), 7, 0, 7);
      context.lineWidth = 2.5;
      context.strokeStyle = ink;
      context.stroke();
    }
  }

  // -- pointing, moving, selecting --------------------------------------------------------------

  function nearest(x, y) {
    let best = -1, least = NEAR * NEAR;
    const sx = ((stage.clientWidth - 2 * margin) * kept.zoom) / WHOLE, sy = ((stage.clientHeight - 2 * margin) * kept.zoom) / WHOLE;
    const wx = fromX(x), wy = fromY(y);
    for (let at = 0; at < kept.count; at++) {
      const dx = (kept.xs[at] - wx) * sx, dy = (kept.ys[at] - wy) * sy, far = dx * dx + dy * dy;
      if (far < least) [best, least] = [at, far];
    }
    return best;
  }

  function point(x, y) {
    const at = nearest(x, y);
    if (at !== kept.hover) {
      kept.hover = at;
      drawOver();
      clearTimeout(dwell);
      if (at >= 0) dwell = setTimeout(() => setTriggerValue("peek", at), DWELL);
    }
    tip.hidden = at < 0;
    if (at < 0) return;
    const name = document.createElement("b");
    name.textContent = kept.ids[at];
    tip.replaceChildren(name, valueOf(at));
    const wide = stage.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, Math.min(x + 14, wide))}px`;
    tip.style.top = `${Math.max(4, y > 70 ? y - tip.offsetHeight - 12 : y + 18)}px`;
  }

  function valueOf(at) {
    const code = kept.codes[at];
    if (data.range) {
      const [low, high] = data.range, span = (high - low) * (code / 253);
      return `${data.by}: ${code === MISSING ? "no value" : (low + span).toPrecision(4)}`;
    }
    return `${data.by}: ${data.legend[code]?.name ?? "no value"}`;
  }

  function zoomAt(x, y, by) {
    const zoom = Math.min(Math.max(kept.zoom * by, 0.5), 400);
    kept.left = x - margin - ((x - margin - kept.left) * zoom) / kept.zoom;
    kept.top = y - margin - ((y - margin - kept.top) * zoom) / kept.zoom;
    kept.zoom = zoom;
    later();
  }

  function select(outline) {
    kept.outline = outline;
    kept.drawing = null;
    kept.chosen = chosen(kept, outline);
    root.querySelector("[data-do=clear]").disabled = !outline;
    setStateValue("outline", (outline ?? []).map(([x, y]) => [Math.round(x), Math.round(y)]));
    later();
  }

  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const box = ([x0, y0], [x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];

  on(stage, "pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    const [x, y] = place(event);
    fingers.set(event.pointerId, [x, y]);
    kept.grabbed = { x, y, left: kept.left, top: kept.top, spread: spread() };
    if (kept.mode !== "move" && fingers.size === 1) kept.drawing = [[fromX(x), fromY(y)]];
    if (event.pointerType !== "mouse") point(x, y);
  });
  on(stage, "pointermove", (event) => {
    const [x, y] = place(event);
    if (!fingers.has(event.pointerId)) return point(x, y);
    fingers.set(event.pointerId, [x, y]);
    if (fingers.size > 1) {
      const wide = spread();
      if (kept.grabbed?.spread) zoomAt(x, y, wide / kept.grabbed.spread);
      if (kept.grabbed) kept.grabbed.spread = wide;
      kept.drawing = null;
    } else if (kept.drawing) {
      const here = [fromX(x), fromY(y)];
      if (kept.mode === "lasso") kept.drawing.push(here);
      else kept.drawing = box(kept.drawing[0], here);
      drawOver();
    } else if (kept.grabbed) {
      kept.left = kept.grabbed.left + x - kept.grabbed.x;
      kept.top = kept.grabbed.top + y - kept.grabbed.y;
      tip.hidden = true;
      later();
    }
  });
  const spread = () => {
    const [one, two] = [...fingers.values()];
    return two ? Math.hypot(one[0] - two[0], one[1] - two[1]) : 0;
  };
  const release = (event) => {
    fingers.delete(event.pointerId);
    // A click that moves nothing opens the film under it; a finger's shows it first, as before.
    const [x, y] = place(event), began = kept.grabbed;
    if (event.type === "pointerup" && event.pointerType === "mouse" && event.button === 0 && began && Math.hypot(x - began.x, y - began.y) < 4) {
      const at = nearest(x, y);
      if (at >= 0) setTriggerValue("open", at);
    }
    kept.grabbed = null;
    if (!kept.drawing) return;
    const line = thinned(kept.drawing);
    kept.drawing = null;
    if (line.length > 2) select(line);
    else drawOver();
  };
  on(stage, "pointerup", release);
  on(stage, "pointercancel", release);
  on(stage, "pointerleave", () => {
    clearTimeout(dwell);
    kept.hover = -1;
    tip.hidden = true;
    drawOver();
  });
  on(stage, "wheel", (event) => {
    event.preventDefault();
    zoomAt(...place(event), Math.exp(-event.deltaY * 0.0016));
  }, { passive: false });

  const middle = () => [stage.clientWidth / 2, stage.clientHeight / 2];
  const deeds = {
    in: () => zoomAt(...middle(), 1.5),
    out: () => zoomAt(...middle(), 1 / 1.5),
    fit: () => (Object.assign(kept, { zoom: 1, left: 0, top: 0 }), later()),
    view: () => select(box([fromX(0), fromY(0)], [fromX(stage.clientWidth), fromY(stage.clientHeight)])),
    clear: () => select(null),
  };
  const keys = { "+": "in", "=": "in", "-": "out", 0: "fit", Escape: "clear" };
  const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  on(stage, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (steps[event.key]) {
      kept.left += steps[event.key][0];
      kept.top += steps[event.key][1];
      later();
    } else if (keys[event.key]) deeds[keys[event.key]]();
    else return;
    event.preventDefault();
  });
  for (const button of root.querySelectorAll("[data-do]")) on(button, "click", deeds[button.dataset.do]);
  const modes = [...root.querySelectorAll("[data-mode]")].filter((node) => node !== stage);
  const choose = (mode) => {
    kept.mode = stage.dataset.mode = mode;
    for (const button of modes) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  };
  for (const button of modes) on(button, "click", () => choose(button.dataset.mode));
  choose(kept.mode);
  root.querySelector("[data-do=clear]").disabled = !kept.outline;

  const grown = new ResizeObserver(later);
  grown.observe(stage);
  later();
  return () => {
    stop.abort();
    grown.disconnect();
    cancelAnimationFrame(frame);
    clearTimeout(dwell);
  };
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Places, codes, ids; and an order of drawing that lets no group cover the others. */
function unpacked(data) {
  const places = new Uint16Array(bytes(data.places).buffer), count = places.length / 2;
  const order = new Uint32Array(count), stride = [7919, 104729, 1299709].find((prime) => count % prime) ?? 1;
  for (let at = 0, next = 0; at < count; at++, next = (next + stride) % count) order[at] = next;
  let before = ""; // each line: how much it shares with the one before, as a letter, and the rest
  const ids = data.ids.split("\n").map((line) => (before = before.slice(0, line.charCodeAt(0) - 33) + line.slice(1)));
  return { count, order, ids, xs: places.subarray(0, count), ys: places.subarray(count), codes: bytes(data.codes) };
}

/** Which points a line surrounds (even-odd); null without a line. */
function chosen({ xs, ys, count }, line) {
  if (!line) return null;
  const found = new Uint8Array(count);
  line.forEach(([x0, y0], at) => {
    const [x1, y1] = line[(at + 1) % line.length];
    if (y0 === y1) return;
    for (let i = 0; i < count; i++)
      if (y0 > ys[i] !== y1 > ys[i] && xs[i] < x0 + (ys[i] - y0) * ((x1 - x0) / (y1 - y0))) found[i] ^= 1;
  });
  return found;
}

/** At most some hundred corners: enough for any hand. */
function thinned(line) {
  const step = Math.ceil(line.length / 200);
  return line.filter((_, at) => at % step === 0);
}

/** Offsets in the picture of the pixels of one shape. */
function sprite(glyph, radius, width) {
  const reach = Math.ceil(radius), test = inside[glyph] ?? inside["●"], spots = [];
  for (let y = -reach; y <= reach; y++)
    for (let x = -reach; x <= reach; x++)
      if (test(x / (radius + 0.25), y / (radius + 0.25))) spots.push(y * width + x);
  return Int32Array.from(spots);
}

/** One packed colour per code. */
function colours(data, strength) {
  const packed = new Uint32Array(256);
  const pack = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
  packed.fill(pack(128, 128, 128, 110 * strength));
  const opaque = Math.round(255 * strength);
  if (data.range)
    for (let code = 0; code < 254; code++) packed[code] = pack(...ramp(code / 253), opaque);
  data.legend.forEach((entry, code) => {
    const value = parseInt(entry.colour.slice(1), 16);
    packed[code] = pack(value >> 16, (value >> 8) & 255, value & 255, opaque);
  });
  return packed;
}

function ramp(part) {
  const at = Math.min(part * (CIVIDIS.length - 1), CIVIDIS.length - 1.001), low = Math.floor(at);
  return CIVIDIS[low].map((value, band) => Math.round(value + (CIVIDIS[low + 1][band] - value) * (at - low)));
}
