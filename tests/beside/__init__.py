"""The project beside the real programs: generated inputs, and what each answers to them."""
