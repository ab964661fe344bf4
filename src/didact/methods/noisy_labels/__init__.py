"""Methods for labels of which some are wrong."""
