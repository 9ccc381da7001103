"""A catalogue of attacks and controls, and the runner that compares expected with actual alerts."""

from labkit.attacks.catalogue import Attack, Catalogue, catalogue, find
from labkit.attacks.runner import Outcome, Outcomes, run

__all__ = ["Attack", "Catalogue", "Outcome", "Outcomes", "catalogue", "find", "run"]


def __dir__() -> list[str]:
    return __all__
