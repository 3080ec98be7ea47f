"""The ASGI application of the dashboard; ``ui.dashboard.server`` runs it.

Streamlit finds ``app`` here. What a page does is in ``app.py``.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from ui.dashboard import originals, visitor_limit

visitor_limit.quiet_logs()
app = st.App(
    Path(__file__).with_name("app.py"),
    routes=[originals.route()],
    middleware=[
        Middleware(
            visitor_limit.VisitorLimit,
            most=visitor_limit.most_windows(),
            files=visitor_limit.raise_file_limit(),
        )
    ],
)
