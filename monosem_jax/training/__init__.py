"""One training loop for every model: it uses an objective and does not depend on language models or dictionaries."""
