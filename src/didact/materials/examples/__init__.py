"""Runs on examples, with labels, and with teachers that predict classes, numbers or features."""

FIELDS = (
    *("target", "id_column", "text_column", "task", "skip_bad", "image_size", "max_length"),
    *("classes", "group_column", "time_column", "split_column"),
    *("drop", "categorical", "numeric", "date", "missing", "impute"),
    *("teacher_data", "labels", "labelled_share", "redraw_labels", "made_up", "class_weights", "sampler", "augment"),
    "views",
)
"""The flags of these runs that do not apply to every run."""
BASELINES = (
    "majority",
    "mean",
    "label_spreading",
    "logistic_regression",
    "ridge",
    "boosted_trees",
    "pixel_gaussian",
)
"""The cheap baselines, if they fit the data."""
USE = "--data FILE --target COLUMN --student mlp:64"
"""The required flags on the command line."""
