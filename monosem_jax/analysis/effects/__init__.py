"""What features cause: the model continues with a feature at another value, and everything else as it is."""
