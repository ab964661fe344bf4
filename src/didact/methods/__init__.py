"""The published methods, one file each, by family; found by their path."""
