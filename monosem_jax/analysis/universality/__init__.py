"""Which features of one set another set has too: matches by activations, by effects and by directions."""
