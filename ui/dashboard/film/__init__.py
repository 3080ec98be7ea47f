"""The page of one film: the list that it was opened from, its facts, the tray of two to compare.

In: a gallery and an id. Out: parts of a page. Begin at ``ui/dashboard/views/film.py``.
"""
