"""A teacher of known quality, and data whose best solution is known."""
