"""Which method is best on one's own data: a race of those that fit, and an honest figure for the winner."""
