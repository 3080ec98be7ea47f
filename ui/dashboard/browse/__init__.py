"""The page of all films, piece by piece: what is listed, its address, its order.

In: filters, an order, a page. Out: films of that page. Begin at ``listing.py``.
"""
