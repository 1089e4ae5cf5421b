"""How well few features tell concepts apart: rows with and without a concept, k-sparse probes, decision trees."""
