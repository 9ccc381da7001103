"""The built-in commands of sh and bash, by concept. Importing this package registers them all."""

from ekslab.node.shell.builtins import directories, flow, input, jobs, lookup, options, output, variables

__all__ = ["directories", "flow", "input", "jobs", "lookup", "options", "output", "variables"]
