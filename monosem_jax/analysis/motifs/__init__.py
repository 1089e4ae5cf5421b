"""Features of a shape that returns: families of one token, trigrams, memorised passages."""
