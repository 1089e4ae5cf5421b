"""Proxies: what a text is, decided token by token from its characters, for features to be compared with."""
