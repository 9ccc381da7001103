"""Attacks to try: a catalogue of commands goes in, what each did in the pod and which alert it raised comes out."""

from labkit.attacks.catalogue import Attack, Catalogue, catalogue, find
from labkit.attacks.runner import Outcome, Outcomes, run

__all__ = ["Attack", "Catalogue", "Outcome", "Outcomes", "catalogue", "find", "run"]


def __dir__() -> list[str]:
    return __all__
