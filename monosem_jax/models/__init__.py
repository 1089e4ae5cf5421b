"""Language models that can be cut at a site."""
