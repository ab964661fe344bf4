"""Another domain than that of the labels: adaptation in training and at test time."""
