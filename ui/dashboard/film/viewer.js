// One or two films: window/level, zoom, pan, invert and flip are shared; a patch map lies over each.
const START = { zoom: 1, x: 0, y: 0, width: 256, level: 128, invert: false, flip: false };
const BELOW = [5, 113, 176], ABOVE = [230, 97, 1]; // told apart by people who are colour-blind

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".viewer");
  const panes = root.querySelector(".panes"), readout = root.querySelector(".readout");
  const legend = root.querySelector(".legend");
  const stop = new AbortController();
  const on = (target, name, act, more) =>
    target.addEventListener(name, act, { signal: stop.signal, ...more });
  // What the visitor set stays when the page is drawn again.
  const view = (root.view ??= { ...START, map: true, smooth: true });
  let pointer = null; // where it hovers: { column, row } as fractions of the film

  panes.replaceChildren();
  const films = data.panes.map((pane) => film(pane));
  const mapped = films.some((one) => one.map);
  for (const node of [legend, root.querySelector("[data-do=map]")]) node.hidden = !mapped;
  const mean = films.find((one) => one.map)?.map.mean ?? 0;
  legend.querySelector(".low").textContent = (mean - data.span).toFixed(2);
  legend.querySelector(".high").textContent = (mean + data.span).toFixed(2);

  function film(pane) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas");
    caption.textContent = pane.title;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", pane.title);
    figure.append(caption, canvas);
    panes.append(figure);
    const one = { canvas, map: pane.map, title: pane.title, grey: null, shown: null, overlay: null };
    if (pane.map) one.overlay = coloured(pane.map);
    const image = new Image();
    image.onload = () => {
      const size = [image.naturalWidth, image.naturalHeight];
      one.shown = sheet(...size);
      const context = one.shown.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, ...size);
      one.grey = new Uint8ClampedArray(size[0] * size[1]);
      for (let at = 0; at < one.grey.length; at++) {
        const [r, g, b] = pixels.data.subarray(4 * at, 4 * at + 3);
        one.grey[at] = 0.299 * r + 0.587 * g + 0.114 * b + 0.5;
      }
      one.pixels = pixels;
      draw();
    };
    image.src = `data:image/png;base64,${pane.png}`;
    touch(canvas);
    return one;
  }

  function sheet(width, height) {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    return canvas;
  }

  function coloured(map) {
    const canvas = sheet(map.columns, map.rows);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(map.columns, map.rows);
    map.values.forEach((value, at) => {
      const away = (value - map.mean) / data.span;
      pixels.data.set([...(away < 0 ? BELOW : ABOVE), 120 * Math.min(1, Math.abs(away))], 4 * at);
    });
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function windowed(one) {
    const key = [view.width, view.level, view.invert].join();
    if (one.key === key) return;
    const levels = new Uint8ClampedArray(256);
    for (let grey = 0; grey < 256; grey++) {
      const value = ((grey - view.level) / view.width + 0.5) * 255;
      levels[grey] = view.invert ? 255 - value : value;
    }
    for (let at = 0; at < one.grey.length; at++)
      one.pixels.data.fill(levels[one.grey[at]], 4 * at, 4 * at + 3);
    one.shown.getContext("2d").putImageData(one.pixels, 0, 0);
    one.key = key;
  }

  // The film's place in its canvas, in canvas pixels: scale and centre.
  function placed(one) {
    const { canvas, shown } = one;
    const scale = view.zoom * Math.min(canvas.width / shown.width, canvas.height / shown.height);
    return { scale, x: (0.5 + view.x) * canvas.width, y: (0.5 + view.y) * canvas.height };
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    for (const one of films) {
      const { canvas } = one;
      const wide = Math.round(canvas.clientWidth * ratio), high = Math.round(canvas.clientHeight * ratio);
      if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
      if (!one.grey || !wide) continue;
      windowed(one);
      const context = canvas.getContext("2d"), { scale, x, y } = placed(one);
      const { width, height } = one.shown;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, wide, high);
      context.setTransform(view.flip ? -scale : scale, 0, 0, scale, x, y);
      context.translate(-width / 2, -height / 2);
      context.imageSmoothingEnabled = view.smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(one.shown, 0, 0);
      if (view.map && one.overlay) {
        const [left, top, right, bottom] = one.map.box;
        context.imageSmoothingEnabled = false;
        context.drawImage(one.overlay, left * width, top * height, (right - left) * width, (bottom - top) * height);
      }
      if (pointer) cross(context, pointer.column * width, pointer.row * height, scale);
    }
    tell();
  }

  function cross(context, x, y, scale) {
    const arm = 9 / scale;
    context.lineWidth = 1.5 / scale;
    context.strokeStyle = "#ffd60a";
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }

  function valueAt({ map }) {
    if (!map || !pointer) return null;
    const [left, top, right, bottom] = map.box;
    const column = Math.floor(((pointer.column - left) / (right - left)) * map.columns);
    const row = Math.floor(((pointer.row - top) / (bottom - top)) * map.rows);
    const inside = row >= 0 && column >= 0 && row < map.rows && column < map.columns;
    return inside ? map.values[row * map.columns + column] : null;
  }

  function tell() {
    const said = [`zoom ${view.zoom.toFixed(2)}`, `window ${Math.round(view.width)}`, `level ${Math.round(view.level)}`];
    if (view.invert) said.push("inverted");
    if (view.flip) said.push("flipped: left is right");
    const values = view.map ? films.map(valueAt).filter((value) => value !== null) : [];
    if (values.length) said.push(`patch ${values.map((value) => value.toFixed(2)).join(" and ")}`);
    readout.textContent = said.join(" · ");
    for (const name of ["invert", "flip", "map", "smooth"])
      root.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", String(view[name]));
    for (const input of root.querySelectorAll("[data-set]")) input.value = view[input.dataset.set];
  }

  function change(set) {
    Object.assign(view, set);
    view.zoom = Math.min(24, Math.max(0.5, view.zoom));
    view.width = Math.min(510, Math.max(2, view.width));
    view.level = Math.min(383, Math.max(-128, view.level));
    for (const way of ["x", "y"]) view[way] = Math.min(view.zoom, Math.max(-view.zoom, view[way]));
    draw();
  }

  // Zoom about a point, given as a fraction of the canvas from its middle.
  function zoom(factor, x = 0, y = 0) {
    const after = Math.min(24, Math.max(0.5, view.zoom * factor)), by = after / view.zoom;
    change({ zoom: after, x: x + (view.x - x) * by, y: y + (view.y - y) * by });
  }

  const acts = {
    invert: () => change({ invert: !view.invert }),
    flip: () => change({ flip: !view.flip }),
    map: () => change({ map: !view.map }),
    smooth: () => change({ smooth: !view.smooth }),
    in: () => zoom(1.25),
    out: () => zoom(0.8),
    reset: () => change({ ...START }),
    left: () => change({ x: view.x - 0.05 }),
    right: () => change({ x: view.x + 0.05 }),
    up: () => change({ y: view.y - 0.05 }),
    down: () => change({ y: view.y + 0.05 }),
  };
  const keys = { i: "invert", f: "flip", m: "map", s: "smooth", r: "reset", "+": "in", "=": "in", "-": "out",
    ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

  function fraction(canvas, event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
  }

  function touch(canvas) {
    const down = new Map(); // pointer id -> its last place; two of them are a pinch
    on(canvas, "pointerdown", (event) => {
      event.preventDefault();
      root.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, { x: event.clientX, y: event.clientY, button: event.button });
    });
    on(canvas, "pointermove", (event) => {
      hover(canvas, event);
      const last = down.get(event.pointerId);
      if (!last) return draw();
      const dx = event.clientX - last.x, dy = event.clientY - last.y;
      const size = canvas.getBoundingClientRect();
      if (down.size === 2) pinch(canvas, down, event);
      else if (last.button === 1) change({ x: view.x + dx / size.width, y: view.y + dy / size.height });
      else if (last.button === 2) zoom(Math.exp(-dy / 120));
      else change({ width: view.width + dx, level: view.level + dy });
      down.set(event.pointerId, { ...last, x: event.clientX, y: event.clientY });
    });
    for (const name of ["pointerup", "pointercancel"])
      on(canvas, name, (event) => down.delete(event.pointerId));
    on(canvas, "pointerleave", () => {
      pointer = null;
      draw();
    });
    on(canvas, "wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), ...fraction(canvas, event));
    }, { passive: false });
    on(canvas, "contextmenu", (event) => event.preventDefault());
    on(canvas, "mousedown", (event) => event.button === 1 && event.preventDefault());
    on(canvas, "dblclick", () => acts.reset());
  }

  function pinch(canvas, down, event) {
    const before = [...down.values()];
    const after = [...down].map(([id, at]) => (id === event.pointerId ? { x: event.clientX, y: event.clientY } : at));
    const apart = ([one, two]) => Math.hypot(one.x - two.x, one.y - two.y) || 1;
    const size = canvas.getBoundingClientRect();
    const middle = { clientX: (after[0].x + after[1].x) / 2, clientY: (after[0].y + after[1].y) / 2 };
    zoom(apart(after) / apart(before), ...fraction(canvas, middle));
    const dx = (after[0].x + after[1].x - before[0].x - before[1].x) / 2;
    const dy = (after[0].y + after[1].y - before[0].y - before[1].y) / 2;
    change({ x: view.x + dx / size.width, y: view.y + dy / size.height });
  }

  function hover(canvas, event) {
    const one = films.find((found) => found.canvas === canvas);
    if (!one?.shown) return;
    const [x, y] = fraction(canvas, event), { scale, ...centre } = placed(one);
    const turned = (((x + 0.5) * canvas.width - centre.x) / scale) * (view.flip ? -1 : 1);
    pointer = {
      column: turned / one.shown.width + 0.5,
      row: ((y + 0.5) * canvas.height - centre.y) / scale / one.shown.height + 0.5,
    };
  }

  on(root, "click", (event) => acts[event.target.closest("[data-do]")?.dataset.do]?.());
  on(root, "input", (event) => change({ [event.target.dataset.set]: Number(event.target.value) }));
  on(root, "keydown", (event) => {
    const act = event.target.matches("input") ? null : acts[keys[event.key]];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // the page has keys of its own
    act();
  });
  const resized = new ResizeObserver(() => draw());
  resized.observe(panes);
  root.focus({ preventScroll: true });
  return () => {
    stop.abort();
    resized.disconnect();
  };
}
