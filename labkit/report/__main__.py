"""Writes the pages that a run asks for, line by line on standard input; see `labkit.report.Pages`."""

import sys

from labkit.report import Pages

Pages.serve(sys.stdin)
