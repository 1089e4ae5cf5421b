"""Maps of the dictionary vectors of several dictionaries: their places in a plane, their clusters, and an order."""
