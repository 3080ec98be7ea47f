"""Ingestion of a folder: the whole job against its stages alone, and files that did not change.

``python -m tests.benchmarks.ingestion`` runs this part by itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ingest import ImageFile, ingest, open_source
from ingest.job.pipeline import Opened, open_file
from ingest.job.run import ENCODE, ENCODE_BYTES
from store import CxrError, Gallery
from tests.benchmarks.encoding import vit_b_32
from tests.benchmarks.timing import heading, judge, line, memory_mib, verdicts
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png

_ROUNDS = 3


def ingestion(files: int = 3000, side: int = 256, encoder: Any = None) -> None:
    """Print the pace of each stage alone, of the job, and of going over it again.

    "Alone" has two readings. With all cores, which says what overlapping can bring: with two stages
    of equal work it is half of either. With the cores that a stage has in the job, one each on two
    cores, which says whether the stages overlap.

    Args:
        files: how many PNG films.
        side: of each, in pixels.
        encoder: the bundled one when ``None``.
    """
    heading("Ingestion of a folder")
    encoder = encoder or _encoder()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "films"
        _make(root, files, side)
        encoder.encode_images([np.zeros((side, side), np.uint8)])  # the model is loaded
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        half = max(cores // 2, 1)
        best, gallery = _paces(
            Path(folder),
            encoder,
            {
                "half decode": partial(_decode_alone, root, half),
                "half encode": partial(_encode_alone, root, encoder, half),
            },
        )
        decode, encode, job = best["decode"], best["encode"], best["job"]
        half_decode, half_encode = best["half decode"], best["half encode"]
        line(f"decode alone, {files:,} PNG of {side} x {side}", decode)
        line("  with half of the cores", half_decode)
        line(f"encode alone, {encoder.stamp.name}", encode)
        line("  with half of the cores", half_encode)
        pace = max(half_decode, half_encode) / job
        judge("cxr ingest, images/s", pace, 0.9, "x slower stage, half the cores", job, least=True)
        pace = max(decode, encode) / job
        judge("  the same", pace, 0.9, "x slower stage, all cores", least=True)
        print(f"  images/s: {(decode + encode) / job:.2f} of both stages one after the other")
        spent, alone = best["CPU job"], best["CPU decode"] + best["CPU encode"]
        print(
            f"  cores busy: {spent / job:.2f} of {cores}; CPU time {spent:.1f} s, "
            f"both stages alone {alone:.1f} s"
        )
        time.sleep(2.1)  # files this young would be hashed again
        ingest(open_source("folder", root), gallery, encoder)
        begin = time.perf_counter()
        again = ingest(open_source("folder", root), gallery, encoder)
        assert again.unchanged == files and not again.encoded
        line(f"the same again, {again.hashed:,} files read", time.perf_counter() - begin)
        print(f"  peak memory {memory_mib(peak=True):,.0f} MiB")


def slow_encoder(files: int = 200, side: int = 256) -> None:
    """The same with an encoder as slow as the published ones: decoding hides behind it."""
    from ingest.encoders import load_encoder

    with tempfile.TemporaryDirectory() as folder:
        vit_b_32(Path(folder) / "vit")
        encoder = load_encoder(f"{folder}/vit")
        _make(Path(folder) / "films", files, side)
        encoder.encode_images([np.zeros((side, side), np.uint8)])
        best, _ = _paces(Path(folder), encoder, {})
        decode, encode, job = best["decode"], best["encode"], best["job"]
        line(f"decode alone, {files:,} PNG of {side} x {side}", decode)
        line("encode alone, ViT-B/32 of random weights", encode)
        pace = max(decode, encode) / job
        judge("cxr ingest, images/s", pace, 0.9, "x slower stage, all cores", job, least=True)


def _paces(
    folder: Path, encoder: Any, more: Mapping[str, Callable[[], float]]
) -> tuple[dict[str, float], Gallery]:
    """Seconds of each stage alone, of the job and of more, in turns; and the last gallery.

    The best of several rounds, and under ``CPU`` and a name the least processor time.
    """
    root, times = folder / "films", dict[str, list[float]]()
    for number in range(_ROUNDS):
        gallery = Gallery.create(folder / f"store{number}", encoder.stamp)
        for name, work in {
            "decode": partial(_decode_alone, root),
            "encode": partial(_encode_alone, root, encoder),
            **more,
            "job": partial(_job, root, gallery, encoder),
        }.items():
            used = time.process_time()
            times.setdefault(name, []).append(work())
            times.setdefault(f"CPU {name}", []).append(time.process_time() - used)
    return {name: min(found) for name, found in times.items()}, gallery


def _job(root: Path, gallery: Gallery, encoder: Any) -> float:
    begin = time.perf_counter()
    report = ingest(open_source("folder", root), gallery, encoder)
    took = time.perf_counter() - begin
    assert report.inserted and not report.rejected
    return took


def _encoder() -> Any:
    from ingest.encoders import load_encoder

    try:
        return load_encoder()
    except CxrError as error:
        print(f"  {error}; timed with a stand-in that costs nothing")
        return FakeEncoder()


def _make(root: Path, files: int, side: int) -> None:
    distinct = [png(number, side) for number in range(min(files, 40))]
    for number in range(files):
        path = root / f"{number % 100:02d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(distinct[number % len(distinct)])


def _files(root: Path) -> list[ImageFile]:
    return [one for one in open_source("folder", root).records if isinstance(one, ImageFile)]


def _decode_alone(root: Path, threads: int | None = None) -> float:
    """Read, hash, decode, thumbnail: what the job's threads do."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        tasks = [partial(open_file, one, str(one.id), None) for one in _files(root)]
        for number in range(0, len(tasks), 256):
            list(pool.map(lambda task: task() and None, tasks[number : number + 256]))
    return time.perf_counter() - begin


def _encode_alone(root: Path, encoder: Any, threads: int | None = None) -> float:
    """The same images, already in memory, in the job's portions."""
    import torch

    before = torch.get_num_threads()
    found = [open_file(one, str(one.id), None) for one in _files(root)[:128]]
    images = [one.pixels for one in found if isinstance(one, Opened)]
    portion = max(1, min(ENCODE, ENCODE_BYTES // images[0].nbytes))
    total = len(_files(root))
    encoder.encode_images(images[:8])
    torch.set_num_threads(threads or before)
    try:
        begin = time.perf_counter()
        done = 0
        while done < total:
            part = images[: min(portion, total - done)]
            encoder.encode_images(part)
            done += len(part)
        return time.perf_counter() - begin
    finally:
        torch.set_num_threads(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--encoder")
    arguments = parser.parse_args()
    encoder = None
    if arguments.encoder:
        from ingest.encoders import load_encoder

        encoder = load_encoder(arguments.encoder)
    ingestion(arguments.files, arguments.side, encoder)
    if encoder is None:
        slow_encoder()
    verdicts()


if __name__ == "__main__":
    main()
