"""Automated interpretability: a judge explains a feature from examples, and predicts others from that."""
