"""Analysis of a gallery: duplicates, leaks, doubtful labels, maps, two galleries compared.

In: a ``Gallery``, the first argument of every function. Out: lists and coordinates.
May import everything of ``store``; nothing of ``store`` imports it. Begin at ``audit.py``.
"""
