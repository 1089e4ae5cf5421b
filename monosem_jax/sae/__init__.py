"""Sparse autoencoders: parameters, gradients, resampling, training, and the costs of a step."""
