"""Short strings for small language models that learn from composed rewards."""
