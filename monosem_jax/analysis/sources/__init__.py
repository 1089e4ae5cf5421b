"""Which tokens cause a feature: its activation as an exact sum over the tokens of the context."""
