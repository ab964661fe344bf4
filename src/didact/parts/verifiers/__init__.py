"""The kinds of verifiers, one file each."""
