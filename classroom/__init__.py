"""A class on one shared cluster: what the instructor sets up, looks at and takes down (`labkit class`)."""
