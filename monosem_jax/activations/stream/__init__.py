"""Shuffled batches of activation rows, from disk or from device memory."""
