"""Lists of films to page through: their order, the doubt of their labels, the places of labels.

In: a gallery. Out: ids page by page. Begin at ``order.py``.
"""
