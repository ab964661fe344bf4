"""The checks of the mechanisms of methods, one file a method, named after it."""
