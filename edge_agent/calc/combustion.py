"""Fossil fuel combustion and coal basis conversion (domain-china.md 2.1, GB/T 32151 series)."""

from edge_agent.errors import CalculationError

CO2_PER_C = 44 / 12
"""Mass of CO2 per mass of carbon, the ratio 44/12 that every guideline prints."""


def co2_by_heating_value(
    amount: float, ncv_gj: float, carbon_t_per_gj: float, oxidation: float
) -> float:
    """CO2 in t from a fuel's amount, heating value and carbon content per heat.

        E = FC x NCV x CC x OF x 44/12

    Args:
        amount: fuel burnt [t, or 10^4 Nm3 for gases].
        ncv_gj: net calorific value [GJ/t or GJ/10^4 Nm3].
        carbon_t_per_gj: carbon content per heat [tC/GJ].
        oxidation: oxidised fraction of the carbon, 0 to 1.

    Raises:
        CalculationError: an input is negative or the fraction is above 1.
    """
    _check(amount=amount, ncv_gj=ncv_gj, carbon_t_per_gj=carbon_t_per_gj)
    return amount * ncv_gj * carbon_t_per_gj * _fraction(oxidation) * CO2_PER_C


def co2_by_carbon_content(amount: float, carbon_t_per_t: float, oxidation: float) -> float:
    """CO2 in t from a fuel's amount and measured carbon, as received.

        E = FC x C_ar x OF x 44/12

    Raises:
        CalculationError: an input is negative or a fraction is above 1.
    """
    _check(amount=amount)
    return amount * _fraction(carbon_t_per_t) * _fraction(oxidation) * CO2_PER_C


def as_received_from_air_dried(
    content_ad_percent: float, moisture_ad_percent: float, moisture_ar_percent: float
) -> float:
    """A content [%] converted from the air-dried to the as-received basis.

        X_ar = X_ad x (100 - M_ar) / (100 - M_ad)

    Raises:
        CalculationError: a percentage is outside 0 to 100, or M_ad is 100.
    """
    for name, value in (
        ("content", content_ad_percent),
        ("M_ad", moisture_ad_percent),
        ("M_ar", moisture_ar_percent),
    ):
        if not 0 <= value <= 100:
            message = f"{name} is {value} %; 0 to 100 is possible"
            raise CalculationError(message)
    if moisture_ad_percent == 100:
        message = "M_ad is 100 %: nothing but water"
        raise CalculationError(message)
    return content_ad_percent * (100 - moisture_ar_percent) / (100 - moisture_ad_percent)


def _check(**amounts: float) -> None:
    for name, value in amounts.items():
        if not value >= 0:
            message = f"{name} is {value}; zero or more is possible"
            raise CalculationError(message)


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        message = f"{value} is no fraction between 0 and 1"
        raise CalculationError(message)
    return value
