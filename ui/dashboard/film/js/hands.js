// Hands on a canvas: left drag windows (or measures), middle drag pans, right drag and wheel zoom,
// two fingers zoom and pan. `acts` is what they do.
function hands(canvas, on, acts) {
  const down = new Map(); // pointer id -> its last place; two of them are a pinch
  on(canvas, "pointerdown", (event) => {
    event.preventDefault();
    acts.focus();
    canvas.setPointerCapture(event.pointerId);
    const measures = acts.measures() && event.button === 0 && down.size === 0;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY, button: event.button, measures });
    if (measures) acts.line(fraction(canvas, event), true);
  });
  on(canvas, "pointermove", (event) => {
    acts.hover(fraction(canvas, event));
    const last = down.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last.x, dy = event.clientY - last.y, size = canvas.getBoundingClientRect();
    if (down.size === 2) pinch(event);
    else if (last.measures) acts.line(fraction(canvas, event), false);
    else if (last.button === 1) acts.pan(dx / size.width, dy / size.height);
    else if (last.button === 2) acts.zoom(Math.exp(-dy / 120));
    else acts.window(dx, dy);
    down.set(event.pointerId, { ...last, x: event.clientX, y: event.clientY });
  });
  for (const name of ["pointerup", "pointercancel"])
    on(canvas, name, (event) => {
      down.delete(event.pointerId);
      acts.rest();
    });
  on(canvas, "pointerleave", () => acts.hover(null));
  on(canvas, "wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1; // Firefox counts lines
    acts.zoom(Math.exp((-event.deltaY * lines) / 400), ...fraction(canvas, event));
    acts.rest();
  }, { passive: false });
  on(canvas, "contextmenu", (event) => event.preventDefault());
  on(canvas, "mousedown", (event) => event.button === 1 && event.preventDefault());
  on(canvas, "dblclick", () => !acts.measures() && acts.reset());

  function pinch(event) {
    const before = [...down.values()];
    const after = [...down].map(([id, at]) => (id === event.pointerId ? { x: event.clientX, y: event.clientY } : at));
    const apart = ([one, two]) => Math.hypot(one.x - two.x, one.y - two.y) || 1;
    const size = canvas.getBoundingClientRect();
    const middle = { clientX: (after[0].x + after[1].x) / 2, clientY: (after[0].y + after[1].y) / 2 };
    acts.zoom(apart(after) / apart(before), ...fraction(canvas, middle));
    const dx = (after[0].x + after[1].x - before[0].x - before[1].x) / 2;
    const dy = (after[0].y + after[1].y - before[0].y - before[1].y) / 2;
    acts.pan(dx / size.width, dy / size.height);
  }
}

// Where a pointer is, as parts of the canvas from its middle.
function fraction(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
}
