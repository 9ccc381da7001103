"""Resource quantities as numbers and in their canonical form."""

from __future__ import annotations

import pytest

from ekslab.kubernetes.objects.quantities import quantity, quantity_text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2), (0.5, 0.5), ("250m", 0.25), ("1k", 1000), ("1Ki", 1024), ("64Mi", 64 * 2**20), ("1Gi", 2**30),
        ("1M", 1e6), ("3G", 3e9), ("1Ti", 2**40), ("1Pi", 2**50), ("1Ei", 2**60), ("5u", 5e-6), ("7n", 7e-9),
        ("1T", 1e12), ("1P", 1e15), ("1E", 1e18), ("1e3", 1000),
    ],
)  # fmt: skip
def test_quantities_are_numbers(text: str | float, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [(1, "1"), (0.5, "500m"), ("1000m", "1"), ("250m", "250m"), ("64Mi", "64Mi"), ("1.5", "1500m"), ("1e3", "1e3"),
     ("1.5m", "1500u"), ("0.125", "125m"), ("2.0", "2"), ("1024Mi", "1Gi"), ("0.5Gi", "512Mi"), ("1000k", "1M"),
     ("-1", "-1"), ("1.5Ki", "1536"), ("100Ki", "100Ki"), ("1e-3", "1e-3"), (" 1 ", "1"), ("0.5Mi", "512Ki")],
)  # fmt: skip
def test_quantities_are_canonical(given: str | float, canonical: str) -> None:
    assert quantity_text(given) == canonical


@pytest.mark.parametrize("text", ["", "lots", "1GB", "1X", "1.2.3", "1 Gi", "Mi", "1" * 100, "1e999999999"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantities must match the regular expression|unable to parse quantity"):
        quantity_text(text)
