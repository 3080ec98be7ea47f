"""Ingestion of a folder: the whole job against its stages alone, and files that did not change.

``python -m tests.benchmarks.ingestion`` runs this part by itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ingest import ImageFile, ingest, open_source
from ingest.batching import ENCODE, ENCODE_BYTES
from ingest.pipeline import Opened, open_file
from store import CxrError, Gallery
from tests.benchmarks.timing import heading, judge, line, memory_mib
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png


def ingestion(files: int = 3000, side: int = 256, encoder: Any = None) -> None:
    """Print the pace of each stage alone, of the job, and of going over it again.

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
        spent = time.process_time()
        decode = _decode_alone(root)
        encode = _encode_alone(root, encoder)
        spent = time.process_time() - spent
        gallery = Gallery.create(f"{folder}/store", encoder.stamp)
        begin, used = time.perf_counter(), time.process_time()
        report = ingest(open_source("folder", root), gallery, encoder)
        job, used = time.perf_counter() - begin, time.process_time() - used
        assert report.inserted == files
        slower = max(decode, encode)
        line(f"decode alone, {files:,} PNG of {side} x {side}", decode)
        line(f"encode alone, {encoder.stamp.name}", encode)
        judge("cxr ingest, decoding beside encoding", job / slower, 1.11, "x slower stage", job)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        print(
            f"  images/s: {slower / job:.2f} of the slower stage's, "
            f"{(decode + encode) / job:.2f} of both one after the other"
        )
        # Each stage alone has all cores; together they share them, which bounds the pace.
        print(
            f"  cores busy: {used / job:.2f} of {cores}; CPU time {used:.1f} s, both stages alone "
            f"{spent:.1f} s; images/s: {spent / cores / job:.2f} of what {cores} cores could do"
        )
        time.sleep(2.1)  # files this young would be hashed again
        ingest(open_source("folder", root), gallery, encoder)
        begin = time.perf_counter()
        again = ingest(open_source("folder", root), gallery, encoder)
        assert again.unchanged == files and not again.encoded
        line(f"the same again, {again.hashed:,} files read", time.perf_counter() - begin)
        print(f"  peak memory {memory_mib(peak=True):,.0f} MiB")


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


def _decode_alone(root: Path) -> float:
    """Read, hash, decode, thumbnail: what the job's threads do."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(None) as pool:
        tasks = [partial(open_file, one, str(one.id), None) for one in _files(root)]
        for number in range(0, len(tasks), 256):
            list(pool.map(lambda task: task() and None, tasks[number : number + 256]))
    return time.perf_counter() - begin


def _encode_alone(root: Path, encoder: Any) -> float:
    """The same images, already in memory, in the job's portions."""
    found = [open_file(one, str(one.id), None) for one in _files(root)[:128]]
    images = [one.pixels for one in found if isinstance(one, Opened)]
    portion = max(1, min(ENCODE, ENCODE_BYTES // images[0].nbytes))
    total = len(_files(root))
    encoder.encode_images(images[:8])
    begin = time.perf_counter()
    done = 0
    while done < total:
        part = images[: min(portion, total - done)]
        encoder.encode_images(part)
        done += len(part)
    return time.perf_counter() - begin


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


if __name__ == "__main__":
    main()
