"""Active learning: the student asks for the labels that it learns from."""
