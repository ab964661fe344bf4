"""Learning from few labels and many examples without."""
