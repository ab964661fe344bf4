"""Methods for language models: learning from demonstrations, from teachers, and from rewards of own completions."""
