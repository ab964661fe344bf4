"""Labels of whole bags of instances, of which a few decide."""
