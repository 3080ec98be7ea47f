"""What tests of the dashboard's pages share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).parents[2] / "ui" / "dashboard" / "app.py"


def opened(
    monkeypatch: pytest.MonkeyPatch,
    store: Path,
    encoder: Path,
    link: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
    page: str | None = None,
) -> Any:
    """The dashboard on a gallery, at a link, on its search page or another."""
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("CXR_STORE", str(store))
    monkeypatch.setenv("CXR_ENCODER", str(encoder))
    test = AppTest.from_file(APP, default_timeout=60)
    for name, value in dict(link).items():
        test.query_params[name] = value
    if page:
        test.switch_page(f"views/{page}.py")
    return test.run()
