"""Finite-state automata: features whose preferred next tokens excite other features, or themselves."""
