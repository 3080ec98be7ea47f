"""Evaluation: Precision@k and its kin, from rankings of labelled films.

In: vectors, ids and labels, or a ranking. Out: ``Evaluation`` with intervals, and one row a query.
May import ``store.search``. Begin at ``metrics.py``.
"""
