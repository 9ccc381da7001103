"""Sorts alerts for a person who has to look into them: which belong together, what is rare, what is new."""
