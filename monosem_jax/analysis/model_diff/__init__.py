"""Which features of a crosscoder belong to both of two models, and which to one alone."""
