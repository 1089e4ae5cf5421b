"""The evidence about a dictionary as one static page."""
