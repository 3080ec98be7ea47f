// Painter of one pane: the part of the film that is in sight, its patch map, cross and length.
const BELOW = [5, 113, 176], ABOVE = [230, 97, 1]; // told apart by people who are colour-blind
const MARK = "#ffd60a", QUICK_PIXELS = 2.5e6;

function coloured(map, span) {
  const canvas = sheet(map.columns, map.rows);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(map.columns, map.rows);
  map.values.forEach((value, at) => {
    const away = (value - map.mean) / span;
    pixels.data.set([...(away < 0 ? BELOW : ABOVE), 120 * Math.min(1, Math.abs(away))], 4 * at);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// Draw a pane. `quick`: at fewer pixels where there are many, while a hand moves it.
function paint(one, view, { quick, smooth, showMap, pointer }) {
  const { canvas, film } = one, context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { scale, x, y } = placed(film, canvas, view), [a, b, c, d] = view.way;
  const film2canvas = () => {
    context.setTransform(a * scale, c * scale, b * scale, d * scale, x, y);
    context.translate(-film.width / 2, -film.height / 2);
  };
  film2canvas();
  const sight = seen(one, view);
  if (sight) grey(one, view, context, scale, sight, quick, smooth);
  if (showMap && one.overlay) {
    const [left, top, right, bottom] = one.map.box, { width, height } = film;
    context.imageSmoothingEnabled = false;
    context.drawImage(one.overlay, left * width, top * height, (right - left) * width, (bottom - top) * height);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  if (pointer) cross(context, onCanvas(film, canvas, view, pointer.column * film.width, pointer.row * film.height));
  if (one.line) ruler(one, view, context);
}

// The part of the film on the canvas: left, top, right, bottom in its pixels; null where none is.
function seen({ canvas, film }, view) {
  const [x, y] = onFilm(film, canvas, view, 0, 0), [toX, toY] = onFilm(film, canvas, view, canvas.width, canvas.height);
  const sight = [Math.max(0, Math.min(x, toX)), Math.max(0, Math.min(y, toY)),
    Math.min(film.width, Math.max(x, toX)), Math.min(film.height, Math.max(y, toY))];
  return sight[0] < sight[2] && sight[1] < sight[3] ? sight : null;
}

function grey(one, view, context, scale, [left, top, right, bottom], quick, smooth) {
  const { film } = one;
  // The level whose samples are just smaller than the canvas's pixels.
  let number = Math.max(0, Math.floor(Math.log2(1 / (scale * film.levels[0].across)) + 1e-6));
  let shown = level(film, number);
  const part = () => {
    const at = [Math.floor(left / shown.across), Math.floor(top / shown.down)];
    const to = [Math.min(shown.width, Math.ceil(right / shown.across)), Math.min(shown.height, Math.ceil(bottom / shown.down))];
    return [...at, to[0] - at[0], to[1] - at[1]];
  };
  let [x, y, wide, high] = part();
  if (quick && wide * high > QUICK_PIXELS) {
    shown = level(film, ++number);
    [x, y, wide, high] = part();
  }
  const key = [view.preset, view.shift, view.stretch, view.gamma, view.invert, film.own].join();
  if (one.tones?.key !== key || one.tones.film !== film) one.tones = { key, film, table: greys(film, view) };
  one.scratch ??= sheet(1, 1);
  if (one.image?.width !== wide || one.image.height !== high) {
    [one.scratch.width, one.scratch.height] = [wide, high];
    one.image = new ImageData(wide, high);
  }
  windowed(film, shown, one.tones.table, x, y, one.image);
  one.scratch.getContext("2d").putImageData(one.image, 0, 0);
  context.imageSmoothingEnabled = scale * shown.across < 1 - 1e-6 || smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(one.scratch, x * shown.across, y * shown.down, wide * shown.across, high * shown.down);
}

function cross(context, [x, y], arm = 9) {
  stroke(context, [[x - arm, y, x + arm, y], [x, y - arm, x, y + arm]], 1.5);
}

function stroke(context, lines, width) {
  for (const [colour, wide] of [["#000b", width + 2], [MARK, width]]) {
    [context.strokeStyle, context.lineWidth] = [colour, wide];
    context.beginPath();
    for (const [x, y, toX, toY] of lines) {
      context.moveTo(x, y);
      context.lineTo(toX, toY);
    }
    context.stroke();
  }
}

function ruler(one, view, context) {
  const { canvas, film, line } = one, ratio = window.devicePixelRatio || 1;
  const [x, y] = onCanvas(film, canvas, view, line[0], line[1]), [toX, toY] = onCanvas(film, canvas, view, line[2], line[3]);
  if (x === toX && y === toY) return cross(context, [x, y], 9 * ratio); // its first end alone
  const long = Math.hypot(toX - x, toY - y) || 1, tick = 6 * ratio;
  const [across, down] = [(-(toY - y) / long) * tick, ((toX - x) / long) * tick];
  stroke(context, [[x, y, toX, toY], [x - across, y - down, x + across, y + down],
    [toX - across, toY - down, toX + across, toY + down]], 1.5 * ratio);
  const said = length(film, line);
  context.font = `600 ${13 * ratio}px sans-serif`;
  const wide = context.measureText(said).width, pad = 5 * ratio, high = 20 * ratio;
  const left = Math.min(canvas.width - wide - 2 * pad, Math.max(0, toX + pad)), top = Math.min(canvas.height - high, Math.max(0, toY + pad));
  context.fillStyle = "#000c";
  context.fillRect(left, top, wide + 2 * pad, high);
  context.fillStyle = MARK;
  context.textBaseline = "middle";
  context.fillText(said, left + pad, top + high / 2);
}
