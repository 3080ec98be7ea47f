"""Pieces of pages: cards, scatter plot, viewer, styles; no search and no gallery in here.

In: values to draw. Out: HTML or a Streamlit component. Begin at ``html.py``.
"""
