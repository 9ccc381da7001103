"""A stand-in for Helm on the embedded lab, as a program: `python -m ekslab.helm` takes Helm's arguments.

It knows the one chart falcosecurity/falco. It makes the chart's objects, and stores releases in Secrets as Helm does.
"""
