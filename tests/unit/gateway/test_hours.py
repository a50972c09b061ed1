"""Units of meters, gas conditions and accuracy classes."""

from decimal import Decimal

import pytest

from edge_agent.errors import CalculationError
from gateway.month.hours import accuracy_percent, divisor_to

M3 = {"name": "gas.count", "unit": "m3"}


@pytest.mark.parametrize(
    ("unit", "wanted", "divisor"),
    [("kWh", "MWh", 1000), ("kg", "t", 1000), ("Nm3", "10^4Nm3", 10_000), ("t", "t", 1)],
)
def test_units_of_one_quantity_are_divided(unit, wanted, divisor):
    assert divisor_to({"name": "x", "unit": unit}, wanted) == divisor


def test_gas_sold_at_20_c_comes_to_normal_conditions_once():
    divisor = divisor_to(M3, "10^4Nm3", {"gas_at": "sales_20c"})
    assert float(Decimal(10_000) / divisor) == pytest.approx(273.15 / 293.15)
    compensated = divisor_to({"name": "x", "unit": "Nm3"}, "10^4Nm3", {"gas_at": "sales_20c"})
    assert compensated == 10_000


@pytest.mark.parametrize("meter", [None, {"gas_at": "normal"}])
def test_cubic_metres_of_no_stated_condition_are_refused(meter):
    with pytest.raises(CalculationError, match=r"gas.count counts m3, which is no 10\^4Nm3"):
        divisor_to(M3, "10^4Nm3", meter)


def test_one_quantity_is_not_taken_for_another():
    with pytest.raises(CalculationError, match="counts kWh, which is no t"):
        divisor_to({"name": "x", "unit": "kWh"}, "t")
    with pytest.raises(CalculationError, match="counts m3, which is no t"):
        divisor_to(M3, "t", {"gas_at": "sales_20c"})


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("0.5S", 0.5),
        ("1.0", 1.0),
        ("2 %", 2.0),
        ("C", 0.5),
        ("III", None),
        ("", None),
        ("-1", None),
    ],
)
def test_an_accuracy_class_is_a_percentage_or_nothing(text, percent):
    assert accuracy_percent(text) == percent
