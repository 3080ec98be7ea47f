// One or two films of which the originals are fetched: what is shown of them, and their controls.
// Each pane has a view of its own; while they are linked, what is done to one is done to all.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".viewer");
  root.stop?.abort(); // drawn again in the same place
  const stop = (root.stop = new AbortController());
  const on = (target, name, act, more) =>
    target.addEventListener(name, act, { signal: stop.signal, ...more });
  const find = (name) => root.querySelector(name);
  const readout = find(".readout"), legend = find(".legend"), keyList = find(".keys");
  const fresh = () => ({ ...PLACE, ...TONES });
  // What the visitor set stays when the page is drawn again with the same films.
  const films = data.panes.map((pane) => pane.key).join("\n");
  if (root.films !== films) {
    [root.views, root.films] = [data.panes.map(fresh), films];
    // Who asked for the next film may be far below it.
    if (data.size !== "dialog") root.getRootNode().host?.closest('[data-testid="stMain"]')?.scrollTo({ top: 0 });
  }
  const views = root.views;
  const shared = (root.shared ??= { map: true, smooth: null, linked: true, measure: false });
  let active = 0, pointer = null, quick = 0, asked = 0;
  let ruled = null; // a length that is drawn by keys: { one, view, second }
  root.dataset.size = data.size;

  const panes = data.panes.map(made);
  find(".panes").replaceChildren(...panes.map((one) => one.figure));
  find(".panes").dataset.count = panes.length;
  const mapped = panes.find((one) => one.map);
  for (const node of [legend, find("[data-do=map]")]) node.hidden = !mapped;
  find("[data-do=link]").hidden = panes.length < 2;
  legend.querySelector(".low").textContent = ((mapped?.map.mean ?? 0) - data.span).toFixed(2);
  legend.querySelector(".high").textContent = ((mapped?.map.mean ?? 0) + data.span).toFixed(2);
  Promise.all(panes.map(load)).then(() => ahead(), () => {});

  // -- films ------------------------------------------------------------------------------------

  function made(pane, at) {
    const element = (name, kind = "", text = "") => {
      const found = document.createElement(name);
      [found.className, found.textContent] = [kind, text];
      return found;
    };
    const figure = element("figure"), stage = element("div", "stage"), canvas = element("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", pane.title);
    const corner = element("span", "corner"), value = element("span", "value"), said = element("p", "said", pane.said);
    stage.append(canvas, corner, value);
    figure.append(element("figcaption", "", pane.title), stage, said);
    const one = { ...pane, figure, canvas, corner, value, said, sentence: pane.said, film: null };
    if (pane.map) one.overlay = coloured(pane.map, data.span);
    hands(canvas, on, actsOn(one, at));
    return one;
  }

  async function load(one) {
    const { key, url, png, size, said, whole } = one;
    if (url && atHand(key)) return show(one, await original(key, url));
    if (png) show(one, await thumbnail(png, size, whole));
    if (!url) return;
    said.textContent = "Reading the original …";
    try {
      show(one, await original(key, url));
    } catch (error) {
      said.textContent = `${error.message} ${one.instead}`;
    }
  }

  function show(one, film) {
    if (stop.signal.aborted) return;
    one.film = film;
    if (film.own) {
      const kind = film.channels === 3 ? "colour" : `${film.bits} bits`;
      one.said.textContent = `The original: ${film.width.toLocaleString("en")} × ${film.height.toLocaleString("en")}, ${kind}.`;
      one.canvas.dataset.shows = "original";
    } else one.canvas.dataset.shows = "thumbnail";
    offer();
    draw();
  }

  function ahead() {
    const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200));
    idle(() => {
      if (stop.signal.aborted) return;
      for (const { key, url } of data.ahead) original(key, url, "low").catch(() => {}); // it is asked for again when shown
    });
  }

  // The presets of all films shown, in a list.
  function offer() {
    const names = [...new Set(panes.flatMap((one) => one.film?.presets.map((preset) => preset.name) ?? []))];
    const list = find("[data-set=preset]");
    if (list.names === names.join()) return;
    list.names = names.join();
    list.replaceChildren(...names.map((name, at) => new Option(at < 5 ? `${at + 1} ${name}` : name, name)));
  }

  // -- drawing ----------------------------------------------------------------------------------

  function draw() {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      if (!stop.signal.aborted) drawNow();
    });
  }

  function drawNow() {
    const ratio = window.devicePixelRatio || 1;
    panes.forEach((one, at) => {
      const { canvas, film } = one;
      const wide = Math.round(canvas.clientWidth * ratio), high = Math.round(canvas.clientHeight * ratio);
      if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
      if (!film || !wide || !high) return;
      const here = pointer && (shared.linked || at === active) ? pointer : null;
      paint(one, views[at], {
        quick: quick > 0, smooth: shared.smooth ?? !film.own, showMap: shared.map,
        pointer: panes.length > 1 ? here : null,
      });
      one.value.textContent = here ? valueAt(film, here.column * film.width, here.row * film.height) : "";
      one.corner.textContent = turned(views[at]);
    });
    tell();
  }

  function patchAt({ map }) {
    if (!map || !pointer) return null;
    const [left, top, right, bottom] = map.box;
    const column = Math.floor(((pointer.column - left) / (right - left)) * map.columns);
    const row = Math.floor(((pointer.row - top) / (bottom - top)) * map.rows);
    const inside = row >= 0 && column >= 0 && row < map.rows && column < map.columns;
    return inside ? map.values[row * map.columns + column] : null;
  }

  function tell() {
    const { film, canvas, line } = panes[active], view = views[active];
    const said = [`zoom ${view.zoom.toFixed(2)}`];
    if (film) {
      const { width, level, unit } = numbers(film, view);
      const size = placed(film, canvas, view).scale;
      said.push(`${(100 * size).toFixed(size < 0.1 ? 1 : 0)} % of full size`, presetOf(film, view).name);
      said.push(`window ${Math.round(width)}${unit}`, `level ${Math.round(level)}${unit}`);
      if (line) said.push(length(film, line));
    }
    if (view.gamma !== 1) said.push(`gamma ${view.gamma.toFixed(2)}`);
    if (view.invert) said.push("inverted");
    if (turned(view)) said.push(turned(view));
    if (panes.length > 1 && !shared.linked) said.push(`of ${panes[active].title}; not linked`);
    const values = shared.map ? panes.map(patchAt).filter((value) => value !== null) : [];
    if (values.length) said.push(`patch ${values.map((value) => value.toFixed(2)).join(" and ")}`);
    readout.textContent = said.join(" · ");
    const pressed = { invert: view.invert, map: shared.map, link: shared.linked, measure: shared.measure,
      smooth: shared.smooth ?? !film?.own, full: full() };
    for (const [name, value] of Object.entries(pressed)) find(`[data-do=${name}]`).setAttribute("aria-pressed", String(value));
    find("[data-set=preset]").value = film ? presetOf(film, view).name : "";
    find("[data-set=stretch]").value = Math.log2(view.stretch);
    find("[data-set=shift]").value = view.shift;
    find("[data-set=gamma]").value = view.gamma;
    panes.forEach((one, at) => one.figure.classList.toggle("active", panes.length > 1 && !shared.linked && at === active));
  }

  // -- what is done to films --------------------------------------------------------------------

  // Change the active view, and those that are linked to it; `act` gets a view and its pane.
  function change(act) {
    views.forEach((view, at) => {
      if (at === active || shared.linked) act(view, panes[at]);
      view.stretch = Math.min(8, Math.max(1 / 512, view.stretch));
      view.shift = Math.min(2, Math.max(-2, view.shift));
      for (const way of ["x", "y"]) view[way] = Math.min(view.zoom, Math.max(-view.zoom, view[way]));
    });
    draw();
  }

  // Zoom about a point, given as a part of the canvas from its middle.
  function zoomTo(view, { film, canvas }, zoom, x = 0, y = 0) {
    const after = bounded(zoom, film, canvas, view), by = after / view.zoom;
    [view.zoom, view.x, view.y] = [after, x + (view.x - x) * by, y + (view.y - y) * by];
  }

  function turn(name) {
    change((view, { canvas }) => {
      const [a, b, c, d] = TURNS[name](PLACE.way), x = view.x * canvas.width, y = view.y * canvas.height;
      view.way = TURNS[name](view.way);
      [view.x, view.y] = [(a * x + b * y) / canvas.width, (c * x + d * y) / canvas.height];
    });
  }

  function actualSize() {
    const { film, canvas } = panes[active];
    if (film) change((view, pane) => zoomTo(view, pane, 1 / fitting(film, canvas, views[active])));
  }

  function link() {
    shared.linked = !shared.linked;
    if (shared.linked) views.forEach((view) => Object.assign(view, views[active]));
    draw();
  }

  function reset() {
    for (const one of panes) if (shared.linked || one === panes[active]) one.line = null;
    change((view) => Object.assign(view, fresh()));
  }

  function preset(number) {
    const list = find("[data-set=preset]");
    if (number <= list.options.length) take(list.options[number - 1].value);
  }

  function take(name) {
    change((view) => Object.assign(view, { preset: name, shift: 0, stretch: 1 }));
  }

  function actsOn(one, at) {
    const start = (act) => {
      [active, quick] = [at, 1];
      change(act);
    };
    return {
      focus: () => {
        active = at;
        root.focus({ preventScroll: true });
      },
      measures: () => shared.measure,
      window: (dx, dy) => start((view) => {
        const step = Math.min(1, 2 * view.stretch) / 255; // a narrow window is moved gently
        [view.stretch, view.shift] = [Math.max(view.stretch + dx * step, 1 / 512), view.shift + dy * step];
      }),
      pan: (dx, dy) => start((view) => {
        [view.x, view.y] = [view.x + dx, view.y + dy];
      }),
      zoom: (by, x, y) => start((view, pane) => zoomTo(view, pane, view.zoom * by, x, y)),
      reset,
      rest: () => {
        quick = 0;
        draw();
      },
      hover: (place) => {
        if (place && !shared.linked) active = at;
        pointer = place && one.film ? onPane(one, at, place) : null;
        draw();
      },
      line: (place, begins) => {
        if (!one.film) return;
        [active, ruled] = [at, null];
        const { column, row } = onPane(one, at, place), end = [column * one.film.width, row * one.film.height];
        one.line = begins ? [...end, ...end] : [one.line[0], one.line[1], ...end];
        draw();
      },
    };
  }

  function onPane({ film, canvas }, at, [x, y]) {
    const place = onFilm(film, canvas, views[at], (x + 0.5) * canvas.width, (y + 0.5) * canvas.height);
    return { column: place[0] / film.width, row: place[1] / film.height };
  }

  // -- a length by keys --------------------------------------------------------------------------

  function announce(words) {
    find(".told").textContent = words;
  }

  function measure(on) {
    [shared.measure, ruled] = [on, null];
    root.classList.toggle("measures", on);
    draw();
  }

  // Arrows move an end, Enter sets it, Escape drops the length; whether a key was one of them.
  function rule({ key, shiftKey }) {
    const arrow = arrows[key];
    if (!arrow && key !== "Enter" && key !== "Escape") return false;
    if (key === "Escape") {
      if (ruled) ruled.one.line = null;
      announce(ruled ? "The length is dropped." : "");
      measure(false);
      return true;
    }
    if (!ruled) {
      const one = panes[active], view = views[active], sight = one.film && seen(one, view);
      if (!sight) return true;
      const middle = [(sight[0] + sight[2]) / 2, (sight[1] + sight[3]) / 2];
      [ruled, one.line] = [{ one, view, second: false }, [...middle, ...middle]];
    }
    const { one, view, second } = ruled, { film, canvas, line } = one;
    if (arrow) {
      const to = nudged(film, canvas, view, line.slice(2), arrow, shiftKey);
      one.line = second ? [line[0], line[1], ...to] : [...to, ...to];
    }
    const [x, y] = one.line.slice(2).map(Math.round), long = length(film, one.line);
    if (!arrow && second) {
      announce(`Length: ${long}.`);
      measure(false);
    } else if (!arrow) {
      ruled.second = true;
      announce(`First end set at x ${x}, y ${y}. Arrows move the second end, Enter sets it.`);
    } else announce(second ? `Second end x ${x}, y ${y}: ${long}.` : `First end x ${x}, y ${y}.`);
    draw();
    return true;
  }

  // -- the whole screen -------------------------------------------------------------------------

  function full() {
    return root.getRootNode().fullscreenElement === root || root.classList.contains("whole");
  }

  async function fill() {
    if (root.getRootNode().fullscreenElement === root) return document.exitFullscreen();
    if (root.classList.contains("whole")) return root.classList.remove("whole");
    try {
      await root.requestFullscreen();
    } catch {
      root.classList.add("whole"); // a telephone that shows no element on the whole screen
    }
    draw();
  }

  // -- buttons and keys -------------------------------------------------------------------------

  const step = (by) => setTriggerValue("step", by);
  const acts = {
    invert: () => change((view) => (view.invert = !view.invert)),
    mirror: () => turn("mirror"),
    upend: () => turn("upend"),
    right: () => turn("right"),
    left: () => turn("left"),
    in: () => change((view, pane) => zoomTo(view, pane, view.zoom * 1.25)),
    out: () => change((view, pane) => zoomTo(view, pane, view.zoom * 0.8)),
    fit: () => change((view) => Object.assign(view, { zoom: 1, x: 0, y: 0 })),
    actual: actualSize,
    measure: () => {
      measure(!shared.measure);
      announce(shared.measure ? "Drag; or arrows move the first end (Shift: ten steps), Enter sets it, Escape drops the length." : "");
      root.focus({ preventScroll: true }); // the arrows and Enter are the length's now
    },
    map: () => {
      shared.map = !shared.map;
      draw();
    },
    smooth: () => {
      shared.smooth = !(shared.smooth ?? !panes[active].film?.own);
      draw();
    },
    link,
    full: fill,
    reset,
    keys: () => {
      keyList.hidden = !keyList.hidden;
      find("[data-do=keys]").setAttribute("aria-expanded", String(!keyList.hidden));
      if (!keyList.hidden) keyList.scrollIntoView({ block: "nearest" });
    },
    before: () => data.before && step(-1),
    after: () => data.after && step(1),
  };
  for (const [name, there] of [["before", data.before], ["after", data.after]])
    for (const node of root.querySelectorAll(`[data-do=${name}]`)) node.hidden = !there;
  const keys = { i: "invert", h: "mirror", v: "upend", r: "right", l: "left", "+": "in", "-": "out", "=": "fit", 0: "actual",
    d: "measure", m: "map", s: "smooth", k: "link", f: "full", " ": "reset", "?": "keys", ArrowLeft: "before", ArrowRight: "after" };
  const pans = { ArrowLeft: [0.05, 0], ArrowRight: [-0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  on(root, "click", (event) => acts[event.target.closest("[data-do]")?.dataset.do]?.());
  on(root, "input", ({ target }) => {
    if (target.dataset.set === "preset") return take(target.value);
    const value = Number(target.value);
    change((view) => (view[target.dataset.set] = target.dataset.set === "stretch" ? 2 ** value : value));
  });
  on(root, "keydown", (event) => {
    const { target } = event;
    const own = target.matches("select") || (target.matches("input") && /^(Arrow|Home|End|Page)/.test(event.key)) ||
      (target.matches("button, summary") && (event.key === " " || event.key === "Enter"));
    if (own || event.ctrlKey || event.metaKey || event.altKey) return;
    if (shared.measure && rule(event)) {
      event.preventDefault();
      event.stopPropagation(); // Escape would close a dialog around it
      return;
    }
    const upright = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (pans[event.key] && (event.shiftKey || upright)) {
      const [x, y] = pans[event.key];
      change((view) => ([view.x, view.y] = [view.x + x, view.y + y]));
    } else if (/^[1-5]$/.test(event.key)) preset(Number(event.key));
    else if (acts[keys[event.key]]) acts[keys[event.key]]();
    else return;
    event.preventDefault();
    event.stopPropagation(); // the page has keys of its own
  });
  const resized = new ResizeObserver(() => draw());
  for (const one of panes) resized.observe(one.canvas);
  if (data.focus && !root.contains(root.getRootNode().activeElement)) root.focus({ preventScroll: true });
  return () => {
    stop.abort();
    resized.disconnect();
  };
}
