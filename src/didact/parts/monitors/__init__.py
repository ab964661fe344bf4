"""The kinds of monitors, one file each."""
