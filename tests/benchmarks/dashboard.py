"""From click to painted results, in a real browser: ``python -m tests.benchmarks.dashboard``.

    python -m tests.benchmarks.dashboard [--store GALLERY] [--rows 100000] [--searches 15]

Without ``--store`` a gallery of drawn films is made for the bundled encoder. A search counts as
painted when exactly the ids that the library finds stand on the page, their pictures are decoded,
and a frame was drawn after that.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from store import EncoderStamp, Gallery, Row
from tests.ui import browser, films

FIRST_PAGE_S = 3.0
_K = 10
_WORDS = ("opacity", "consolidation", "normal", "effusion", "clear", "pneumonia", "lower", "left")

#: Watches the page by itself, so that the test's own round trips are not measured.
_WATCH = """
([ids, key]) => new Promise(done => {
  const shown = () => [...document.querySelectorAll('.cxr.hit .mono')].map(e => e.textContent);
  const ready = () => {
    const found = shown();
    return found.length === ids.length && found.every((id, at) => id === ids[at])
      && [...document.querySelectorAll('.cxr.hit img')].every(i => i.complete && i.naturalWidth)
      && document.querySelector('.cxr.query')?.textContent.includes(key);
  };
  const look = () => {
    if (!ready()) return;
    watch.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
  };
  const watch = new MutationObserver(look);
  watch.observe(document.body, {childList: true, subtree: true, characterData: true,
                                attributes: true});
  document.addEventListener('load', look, true);
})
"""
_CLOCK = """
window.asked = 0;
const note = event => { if (event.isTrusted) window.asked = performance.now(); };
for (const kind of ['click', 'keydown']) document.addEventListener(kind, note, true);
"""


@contextlib.contextmanager
def gallery_of(rows: int, like: EncoderStamp, dimension: int) -> Iterator[str]:
    """Drawn films under random vectors of the bundled encoder's stamp: the speed is the same."""
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(folder, like)
        pictures = [films.png(films.draw(seed, seed % 2 == 1)) for seed in range(64)]
        chance = np.random.default_rng(0)
        for start in range(0, rows, 20_000):
            count = min(20_000, rows - start)
            vectors = chance.standard_normal((count, dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            gallery.upsert(
                [
                    Row(
                        id=f"drawn/train/{number}",
                        sha256=number.to_bytes(32, "big"),
                        embedding=vector,
                        labels=("pneumonia",) if number % 2 else ("normal",),
                        split="train" if number % 5 else "test",
                        dataset="drawn",
                        thumbnail=pictures[number % 64],
                        width=28,
                        height=28,
                    )
                    for number, vector in enumerate(vectors, start)
                ]
            )
        gallery.optimize()
        yield folder


def first_page(chromium: Any, store: str, home: Path) -> float:
    """Seconds from ``cxr serve`` to films on the page; the browser is open already."""
    page = chromium.new_page(viewport={"width": 1440, "height": 1010})
    begin = time.perf_counter()
    with browser.serving(store, None, home) as board:
        page.goto(board.url)
        page.locator(".cxr.hit img").first.wait_for(timeout=60_000)
        took = time.perf_counter() - begin
    page.close()
    return took


def searches(
    chromium: Any, store: str, home: Path, count: int
) -> dict[str, tuple[list[float], int]]:
    """Seconds of searches by sentence and by "More like this"."""
    from ingest.encoders import load_encoder

    gallery = Gallery.open(store)
    encoder = load_encoder(gallery.stamp.name)
    found: dict[str, list[float]] = {"a sentence": [], "more like this": []}
    with browser.serving(store, None, home) as board:
        page = chromium.new_page(viewport={"width": 1440, "height": 1010})
        page.add_init_script(_CLOCK)
        page.goto(board.url)
        page.locator(".cxr.hit").first.wait_for(timeout=60_000)
        page.wait_for_timeout(8_000)  # the encoder is warmed up after the first page
        for number in range(count + 2):
            text = " ".join(_WORDS[(number * step + 1) % len(_WORDS)] for step in (1, 3, 5))
            text = f"{text} {number}"
            hits = gallery.search(encoder.encode_texts([text]), _K)[0]
            box = page.get_by_role("searchbox", name="Describe what the film shows")
            box.fill(text)
            found["a sentence"].append(_timed(page, hits, text, partial(box.press, "Enter")))
            asked = hits[number % 3].row.id
            hits = gallery.search_by_id(asked, _K)
            button = page.get_by_role("button", name="More like this").nth(number % 3)
            found["more like this"].append(_timed(page, hits, asked, button.click))
        page.close()
    return {name: times[2:] for name, times in found.items()}  # the first two warm up


def _timed(page: Any, hits: Sequence[Any], key: str, act: Any) -> float:
    ids = [hit.row.id for hit in hits]
    handle = page.evaluate_handle(
        f"([ids, key]) => ({{ over: ({_WATCH})([ids, key]) }})", [ids, key]
    )
    act()
    end = handle.evaluate("it => it.over")
    return (end - page.evaluate("window.asked")) / 1000


def main() -> None:
    from ingest.encoders import load_encoder
    from tests.benchmarks.timing import heading

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="a gallery of the bundled encoder; default: drawn films")
    parser.add_argument("--rows", type=int, default=5856)
    parser.add_argument("--searches", type=int, default=15)
    asked = parser.parse_args()
    stamp = load_encoder("cxr-clip-28").stamp
    with contextlib.ExitStack() as stack:
        store = asked.store or stack.enter_context(gallery_of(asked.rows, stamp, stamp.dimension))
        rows = len(Gallery.open(store))
        bar = 0.3 if rows <= 20_000 else 0.5
        heading(f"The dashboard in a browser, {rows:,} films")
        chromium = stack.enter_context(browser.chromium())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        starts = [first_page(chromium, store, home / f"start{n}") for n in range(3)]
        _tell("first page after cxr serve", starts, FIRST_PAGE_S)
        for name, times in searches(chromium, store, home / "searches", asked.searches).items():
            _tell(f"search to painted results: {name}", times, bar)


def _tell(work: str, times: list[float], bar: float) -> None:
    median = statistics.median(times)
    print(
        f"  {work:<44} {1000 * median:7.0f} ms at the median "
        f"({1000 * min(times):.0f} to {1000 * max(times):.0f}), bar {1000 * bar:.0f} ms: "
        f"{'met' if median < bar else 'MISSED'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
