"""Falco's fields, one module for each class; each maps field names to functions of a `SystemCall`."""
