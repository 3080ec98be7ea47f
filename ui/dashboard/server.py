"""The process behind ``cxr serve``: Streamlit, and a thread that warms up what searches need.

    python -P -m ui.dashboard.server run ui/dashboard/served.py [Streamlit's options]

``python -m streamlit run ui/dashboard/app.py`` serves the same pages; its first visitors wait for
what is loaded ahead of them here.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until the process is told to end."""
    from streamlit.web import cli

    from ui.dashboard import warming

    warming.start()
    sys.argv[0] = "streamlit"
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
