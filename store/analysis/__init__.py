"""Analysis of a gallery: duplicates, leaks, doubtful labels, maps, two galleries compared.

In: a ``Gallery``. Out: lists and coordinates.
May import everything of ``store``; nothing of ``store`` imports it but the gallery's facade. Begin
at ``audit.py``.
"""
