"""Human rating: material for it, and what the ratings say."""
