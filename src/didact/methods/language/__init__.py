"""Language models: taught by answers, by teachers, and by rewards of their own completions."""
