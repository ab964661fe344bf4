"""The search for the smallest or fastest student within a distance of its teacher."""
