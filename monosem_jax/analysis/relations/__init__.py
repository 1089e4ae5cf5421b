"""The kinds of relation between dictionaries, and what they share."""
