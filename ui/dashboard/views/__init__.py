"""The dashboard's pages, one script each, run by ``ui/dashboard/app.py``.

Not named ``pages``: Streamlit would serve a folder of that name by itself, without the frame,
to whoever opens a page's address before the dashboard's first run.
"""
