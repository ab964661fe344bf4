"""Materials, each a complete kind of run; `didact.experiment.finding` finds them by their folder."""
