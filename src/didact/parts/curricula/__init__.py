"""The kinds of curricula, one file each."""
