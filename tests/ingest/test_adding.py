"""A new source is one small module with one function, as docs/sources.md says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from ingest import ImageFile, open_source
from ingest.sources import SOURCES, Kind
from tests.ingest.films import png, write

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"


def test_the_documented_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, line = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    module = types.ModuleType("ingest.sources.mine")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "ingest.sources.mine", module)
    name, _, kind = line.strip().partition(": ")
    monkeypatch.setitem(SOURCES, name.strip('"'), eval(kind.partition(",  ")[0], {"Kind": Kind}))
    write(tmp_path, "films/a1.png", png())
    (one,) = open_source("mine", tmp_path).records
    assert isinstance(one, ImageFile)
    assert (one.id, one.metadata["labels"]) == ("my-hospital/films/a1.png", ("a",))


def test_every_source_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    for name, kind in SOURCES.items():
        if kind.takes:
            assert f"`{name}:{kind.takes}`" in text or f"`{name} {kind.takes}`" in text, name
