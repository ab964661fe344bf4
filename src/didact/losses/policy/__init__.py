"""Losses of policies: advantages from rewards, surrogates, and preferences."""
