"""Originals of 20 megapixels as visitors get them: time of each kind, and memory of twenty at once.

``python -m tests.benchmarks.originals``. The films are made here (5,000 x 4,000, 12 bits in 16); a
process of its own serves them over HTTP, as the dashboard does. Decoding is compared with that by
pydicom's decoders in the same run.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.timing import cpu_seconds, heading
from tests.ingest.films import chest, film

SIZE = (5000, 4000)
VISITORS, EACH = 20, 3
_SERVER = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from ui.dashboard import originals, shared

def addresses(_):
    gallery = shared.newest()
    rows = gallery.rows(gallery.ids()).values()
    return PlainTextResponse("\\n".join(f"{r.id} {originals.address(gallery, r)}" for r in rows))

def status(_):
    import time
    text = open("/proc/self/status").read()
    now, most = (int(text.split(name)[1].split()[0]) / 1024 for name in ("VmRSS:", "VmHWM:"))
    return PlainTextResponse(f"{now} {most} {time.process_time()}")

routes = [originals.route(), Route("/addresses", addresses), Route("/status", status)]
uvicorn.run(Starlette(routes=routes), port=int(sys.argv[1]), log_level="error")
"""


def films() -> dict[str, bytes]:
    """A film in each way in which one is stored: name to file."""
    import cv2
    import imagecodecs
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

    smooth = cv2.resize(chest(side=256).astype(np.float32), SIZE[::-1])
    noise = np.random.default_rng(0).normal(0, 12, SIZE)
    values = np.clip(smooth * 14 + noise, 0, 4095).astype(np.uint16)
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 3000}
    found = {"plain.dcm": film(values, **tags)}
    for name, syntax in (
        ("RLE.dcm", RLELossless),
        ("JPEG-LS.dcm", JPEGLSLossless),
        ("JPEG 2000.dcm", JPEG2000Lossless),
    ):
        found[name] = film(values, syntax=syntax, **tags)
    one = pydicom.dcmread(io.BytesIO(found["plain.dcm"]))
    one.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    one.PixelData = encapsulate([imagecodecs.ljpeg_encode(values, bitspersample=12)])
    file = io.BytesIO()
    one.save_as(file)
    found["JPEG lossless.dcm"] = file.getvalue()
    found["16 bits.png"] = cv2.imencode(".png", values * 16)[1].tobytes()
    return found


def main() -> None:
    heading(f"Originals of {SIZE[0]:,} x {SIZE[1]:,} pixels")
    made = films()
    _decoding(made)
    with tempfile.TemporaryDirectory() as folder:
        _served(made, Path(folder))


def _decoding(made: Mapping[str, bytes]) -> None:
    import pydicom

    from ingest.originals.decode import decode_original

    print("processor seconds to decode; by pydicom's decoders; wall seconds here")
    for name, data in made.items():
        decode_original(data, name)
        begin = time.perf_counter()
        ours = cpu_seconds(lambda data=data, name=name: decode_original(data, name))
        wall = time.perf_counter() - begin
        line = f"  {name:<18} {ours:6.2f}"
        if name.endswith(".dcm"):
            one = pydicom.dcmread(io.BytesIO(data))
            theirs = cpu_seconds(lambda one=one: pydicom.pixels.pixel_array(one))
            line += f"  {theirs:6.2f}  ({ours / theirs:.2f} times)"
        print(f"{line}  wall {wall:.2f}")


def _served(made: Mapping[str, bytes], folder: Path) -> None:
    from ingest import ingest, open_source
    from store import Gallery
    from tests.ingest.fakes import FakeEncoder
    from tests.ui.browser import free_port

    (folder / "films").mkdir()
    for name, data in made.items():
        (folder / "films" / name).write_bytes(data)
    gallery = Gallery.create(folder / "store", FakeEncoder().stamp)
    ingest(open_source("folder", folder / "films"), gallery, FakeEncoder(), workers=1)
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(port)],
        env={**os.environ, "CXR_STORE": str(folder / "store")},
        stderr=subprocess.DEVNULL,
    )

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return bytes(answer.read())

    def status() -> tuple[float, float, float]:
        now, most, used = (float(one) for one in get("/status").split())
        return now, most, used

    try:
        addresses = _when_there(lambda: get("/addresses").decode())
        urls = dict(line.rsplit(" ", 1) for line in addresses.splitlines())
        print("seconds from request to last byte: first, again (processor seconds of the server)")
        for id_, url in urls.items():
            used, begin = status()[2], time.perf_counter()
            body = get(url)
            first, cpu = time.perf_counter() - begin, status()[2] - used
            begin = time.perf_counter()
            get(url)
            again = time.perf_counter() - begin
            head = json.loads(body[4 : 4 + int.from_bytes(body[:4], "little")])
            said = f"{head['width']} x {head['height']}, {head['bits']} bits"
            print(f"  {id_:<26} {first:5.2f}  {again:5.2f}  ({cpu:.2f})  {said}")
        before = status()
        taken: list[float] = []

        def visit(visitor: int) -> None:
            for number in range(EACH):
                begin = time.perf_counter()
                get([*urls.values()][(visitor + number) % len(urls)])
                taken.append(time.perf_counter() - begin)

        threads = [threading.Thread(target=visit, args=(one,)) for one in range(VISITORS)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(
            f"{VISITORS} visitors, {EACH} films each: {time.perf_counter() - begin:.1f} s, median "
            f"{statistics.median(taken):.2f}, longest {max(taken):.2f}; memory {before[0]:.0f} MiB "
            f"before, at most {status()[1]:.0f}"
        )
    finally:
        server.terminate()
        server.wait()


def _when_there(ask: Any) -> Any:
    for _ in range(200):
        try:
            return ask()
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the server does not answer")


if __name__ == "__main__":
    main()
