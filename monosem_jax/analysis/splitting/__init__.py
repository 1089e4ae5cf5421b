"""Feature splitting: which features of a larger dictionary are the children of one of a smaller."""
