"""The search page, piece by piece: state, link, filters, answer, hits, download.

In: a search (query, filters, marks). Out: its hits on the page. Begin at ``state.py``; a button
under a hit goes to ``hits.py``.
"""
