"""Methods of semi-supervised learning, from few labels and many unlabelled examples."""
