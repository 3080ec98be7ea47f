"""The dashboard as an application for a web server; ``ui.dashboard.server`` runs it.

Streamlit finds ``app`` here. What a page does is in ``app.py``.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from ui.dashboard import door

door.calm()
app = st.App(
    Path(__file__).with_name("app.py"),
    middleware=[Middleware(door.Door, most=door.room(), files=door.raise_limit())],
)
