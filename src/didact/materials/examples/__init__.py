"""Runs on examples: labels, and teachers of classes and features."""

FIELDS = (
    *("target", "id_column", "text_column", "task", "impute", "skip_bad", "image_size", "max_length"),
    *("labels", "labelled_share", "augment"),
)
"""The flags that mean something for such a run, of those that don't for every run."""
BASELINES = ("label_spreading", "logistic_regression", "ridge", "boosted_trees", "pixel_gaussian")
"""The cheap alternatives that can stand beside the methods, where they fit the data."""
USE = "--data FILE --target COLUMN --student mlp:64"
"""What such a run takes at least, on the command line."""
