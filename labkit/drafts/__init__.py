"""Drafts of rules: what an attendee writes in a `%%rule` cell, checked and tried on recorded events."""
