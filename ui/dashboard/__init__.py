"""The Streamlit dashboard behind ``cxr serve``.

In: a gallery's address and the visitor's session. Out: pages.
May import ``ui.opening``, ``ui.tables`` and ``ui.notices``, never ``ui.commands``. Begin at
``app.py``; a new page goes to ``views``.
"""
