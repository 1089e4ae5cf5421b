"""Benchmarks: both sides in one run, ratios of medians, figures as JSON."""
