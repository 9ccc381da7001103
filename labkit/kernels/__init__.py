"""The kernels of a run, forked from one process that has imported what chapters import."""
