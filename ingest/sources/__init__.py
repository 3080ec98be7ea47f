"""Sources of images: one module and one function per kind.

A new source is a module with a function ``records(place, *, ...)`` that returns a Source, and a
line in ``SOURCES``. Its keyword arguments are the options that it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from ingest.sources.source import Source, SourceUnavailable
from store import UsageError

__all__ = ["SOURCES", "Source", "SourceUnavailable", "open_source"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source.

    Attributes:
        module: where its ``records`` is, below this package.
        takes: what stands behind the colon, or as a second word: ``PATH``, ``NAME``, ``URL`` or
            nothing.
        about: half a sentence.
    """

    module: str
    takes: str
    about: str


#: Kind of source (what stands before the colon) to where it is read.
SOURCES = {
    "medmnist": Kind(
        "published.medmnist", "NAME", "a 2-D MedMNIST set, e.g. medmnist:pneumoniamnist"
    ),
    "synthetic": Kind("synthetic", "", "the bundled cohort of invented images"),
    "folder": Kind("folder", "PATH", "image files, labels from a CSV or from folder names"),
    "hf": Kind("hub.films", "PATH", "shards of Parquet or an image folder, as the hub has them"),
    "dicom": Kind("dicom", "PATH", "DICOM films, with extensions or without"),
    "dicomweb": Kind("dicomweb.films", "URL", "the films of a DICOMweb service, by a query"),
    "nih": Kind("published.nih", "PATH", "NIH ChestX-ray14 as published"),
    "chexpert": Kind("published.chexpert", "PATH", "CheXpert as published"),
    "mimic-cxr-jpg": Kind("published.mimic", "PATH", "MIMIC-CXR-JPG as published"),
    "iu-xray": Kind("published.iu_xray", "PATH", "IU X-ray with its reports, as published"),
    "padchest": Kind("published.padchest", "PATH", "PadChest with its reports, as published"),
    "vindr": Kind("published.vindr", "PATH", "VinDr-CXR as published"),
    "rsna": Kind("published.rsna", "PATH", "RSNA Pneumonia Detection Challenge as published"),
    "kermany": Kind(
        "published.kermany", "PATH", "the paediatric films of Kermany et al. as published"
    ),
}


def open_source(spec: str, place: str | Path | None = None, **options: Any) -> Source:
    """Open a source by its name.

    Args:
        spec: a kind, or kind and place with a colon between: ``medmnist:pneumoniamnist``,
            ``synthetic``, ``folder:PATH``.
        place: the folder or file, when ``spec`` does not say it.
        options: those of the source's ``records``; ``None`` counts as not given.

    Raises:
        UsageError: an unknown source, data set or option.
        SourceUnavailable: the data set is not here and could not be fetched.
        BadSource: the source is not what it should be.
    """
    kind, colon, rest = spec.partition(":")
    if kind not in SOURCES:
        raise UsageError(
            f"unknown source {spec!r}; expected one of: "
            + ", ".join(
                f"{name}:{one.takes}" if one.takes == "NAME" else f"{name} {one.takes}".rstrip()
                for name, one in SOURCES.items()
            )
            + " (e.g. medmnist:pneumoniamnist)"
        )
    about = SOURCES[kind]
    if colon and rest and place is not None:
        raise UsageError(f"both {spec!r} and {str(place)!r} say what to read; give one of them")
    what = str(place) if place is not None else rest
    if about.takes and not what:
        example = "medmnist:pneumoniamnist" if kind == "medmnist" else f"{kind} {about.takes}"
        needs = {"NAME": "a data set", "URL": "an address"}.get(about.takes, "a folder")
        raise UsageError(f"source {kind!r} needs {needs}: {example}")
    if not about.takes and what:
        raise UsageError(f"source {kind!r} takes no name, got {what!r}; write: {kind}")
    read: Callable[..., Source] = import_module(f"ingest.sources.{about.module}").records
    given = {name: value for name, value in options.items() if value is not None}
    known = list(signature(read).parameters)[1 if about.takes else 0 :]
    for name in given:
        if name not in known:
            takes = ", ".join(_option(one) for one in known) or "no options"
            raise UsageError(f"source {kind!r} has no option {_option(name)}; it takes {takes}")
    return read(what, **given) if about.takes else read(**given)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-").replace("splits", "split")
