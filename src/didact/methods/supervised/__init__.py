"""Methods of supervised learning, from labels alone."""
