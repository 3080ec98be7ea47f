"""Reports beside films: those of the films nearest to one, and reports as queries.

In: a Gallery whose films have reports. Out: reports with the films that have them; measures of
search by words, by vectors and by both.
May import what ``store.analysis`` may. Begin at ``nearest.py``.
"""
