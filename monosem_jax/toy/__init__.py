"""Models small enough to know the truth: Toy Models of Superposition, and dictionaries trained on them."""
