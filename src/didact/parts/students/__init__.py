"""The kinds of students, one file each."""
