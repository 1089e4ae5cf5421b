"""From a language model to batches of activation rows: harvested, online, synthetic, or from an array."""
