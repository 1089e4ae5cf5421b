"""The same tokens read through several feature sets, and what pairs of their features have in common."""
