"""Plain training on labels."""
