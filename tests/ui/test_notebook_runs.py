"""The example notebook runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "gallery.ipynb"


def test_the_example_notebook(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    found = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(found)
    assert not any(cell.get("outputs") for cell in found.cells)  # what it says is not kept
    done = nbclient.execute(found, cwd=str(tmp_path), kernel_name="python3", timeout=120)
    shown = "".join(
        output.data.get("text/html", "")
        for cell in done.cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    )
    assert shown.count("data:image/png;base64,") >= 13 and "<svg" in shown and "<table" in shown
