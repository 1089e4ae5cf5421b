"""Statistics of all features of a set over any amount of text, in two passes."""
