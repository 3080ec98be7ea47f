"""The ASGI application of the dashboard; ``ui.dashboard.server`` runs it.

Streamlit finds ``app`` here. What a page does is in ``app.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from ui.dashboard import front_end, originals, server, visitor_limit


@asynccontextmanager
async def _serving(_: Any) -> AsyncIterator[None]:
    """Warm up once there is a server, whose pages a browser loads meanwhile."""
    server.start()
    yield


visitor_limit.quiet_logs()
app = st.App(
    Path(__file__).with_name("app.py"),
    lifespan=_serving,
    routes=[originals.route()],
    middleware=[
        Middleware(front_end.FrontEnd),
        Middleware(
            visitor_limit.VisitorLimit,
            most=visitor_limit.most_windows(),
            files=visitor_limit.raise_file_limit(),
        ),
    ],
)
