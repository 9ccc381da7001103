"""Falco's fields, one module for each class; each maps a field's name to what computes it from a `SystemCall`."""
