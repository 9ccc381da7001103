"""`python -m falcorules`."""

from falcorules.cli import main

if __name__ == "__main__":
    main(prog_name="python -m falcorules")
