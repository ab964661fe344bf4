"""Worlds of real images of handwritten digits."""
