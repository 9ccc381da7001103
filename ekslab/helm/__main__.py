"""Entry point of `python -m ekslab.helm`."""

from ekslab.helm.cli import main

if __name__ == "__main__":
    main()
