"""Measures what people wait for, and compares reading alerts with the usual ways. `make bench` runs it."""
