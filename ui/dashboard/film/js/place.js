// Place of a film on its canvas: zoom, pan, quarter turns and mirrors; and lengths on it.
// A view is { zoom, x, y, way }: zoom 1 fits the film, x and y are parts of the canvas, way is the
// matrix [a, b, c, d] from the film's axes to the canvas's.
const PLACE = { zoom: 1, x: 0, y: 0, way: [1, 0, 0, 1] };
const TURNS = {
  mirror: ([a, b, c, d]) => [-a, -b, c, d],
  upend: ([a, b, c, d]) => [a, b, -c, -d],
  right: ([a, b, c, d]) => [-c, -d, a, b],
  left: ([a, b, c, d]) => [c, d, -a, -b],
};
const TURNED = {
  "-1,0,0,1": "mirrored: left is right",
  "1,0,0,-1": "mirrored: top is bottom",
  "-1,0,0,-1": "turned by 180°: left is right, top is bottom",
  "0,-1,1,0": "turned to the right",
  "0,1,-1,0": "turned to the left",
  "0,1,1,0": "mirrored and turned",
  "0,-1,-1,0": "mirrored and turned",
};
// At most so many screen pixels for one of the film, and so many times the size that fits.
const MOST_PIXELS = 32, MOST_ZOOM = 24, LEAST_ZOOM = 0.25;

function turned({ way }) {
  return TURNED[way.map((one) => one || 0).join()] ?? ""; // -0 is 0
}

// Canvas pixels for one of the film where it just fits.
function fitting(film, canvas, { way }) {
  const [wide, high] = way[0] ? [film.width, film.height] : [film.height, film.width];
  return Math.min(canvas.width / wide, canvas.height / high);
}

// Scale, and where the film's middle is, in canvas pixels. At 1:1 pixels fall on pixels.
function placed(film, canvas, view) {
  const scale = view.zoom * fitting(film, canvas, view);
  let x = (0.5 + view.x) * canvas.width, y = (0.5 + view.y) * canvas.height;
  if (Math.abs(scale - Math.round(scale)) < 1e-6) {
    const [wide, high] = view.way[0] ? [film.width, film.height] : [film.height, film.width];
    [x, y] = [Math.round(x - (wide * scale) / 2) + (wide * scale) / 2, Math.round(y - (high * scale) / 2) + (high * scale) / 2];
  }
  return { scale, x, y };
}

function onFilm(film, canvas, view, x, y) {
  const at = placed(film, canvas, view), [a, b, c, d] = view.way;
  const across = (x - at.x) / at.scale, down = (y - at.y) / at.scale;
  return [a * across + c * down + film.width / 2, b * across + d * down + film.height / 2];
}

function onCanvas(film, canvas, view, x, y) {
  const at = placed(film, canvas, view), [a, b, c, d] = view.way;
  const across = x - film.width / 2, down = y - film.height / 2;
  return [at.x + at.scale * (a * across + b * down), at.y + at.scale * (c * across + d * down)];
}

// A place of the film, moved as an arrow of the screen points: by a screen pixel, at least one of the
// film's, or ten of them; never off the film.
function nudged(film, canvas, view, [x, y], [across, down], far) {
  const step = Math.max(window.devicePixelRatio || 1, placed(film, canvas, view).scale) * (far ? 10 : 1);
  const [left, top] = onCanvas(film, canvas, view, x, y);
  const [toX, toY] = onFilm(film, canvas, view, left + across * step, top + down * step);
  return [Math.min(film.width, Math.max(0, toX)), Math.min(film.height, Math.max(0, toY))];
}

function bounded(zoom, film, canvas, view) {
  const most = film ? Math.max(MOST_ZOOM, MOST_PIXELS / fitting(film, canvas, view)) : MOST_ZOOM;
  return Math.min(most, Math.max(LEAST_ZOOM, zoom));
}

// Length of a line [x, y, x, y] on the film, in words.
function length(film, [x, y, toX, toY]) {
  const { spacing } = film, across = toX - x, down = toY - y;
  if (spacing) return `${Math.hypot(across * spacing[1], down * spacing[0]).toFixed(1)} mm in the ${film.spacing_plane} plane`;
  return `${Math.hypot(across, down).toFixed(0)} pixels${film.own ? ", size unknown" : " of the film"}`;
}
