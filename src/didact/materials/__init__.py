"""Materials: each a kind of run, whole. `didact.experiment.finding` finds them by their folder."""
