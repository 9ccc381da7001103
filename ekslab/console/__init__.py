"""The console: pages that show the lab in a browser, live. A client of the lab, which runs without this package too."""
