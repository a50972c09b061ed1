"""What must be reported: the parameters of a sector with their names, units and decimals."""

from dataclasses import dataclass

MEASURED = "measured 实测"
CALCULATED = "calculated 计算"
DEFAULT = "default 缺省值"
ESTIMATED = "estimated 估算"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the monthly list; ``decimals`` is how the form prints it."""

    id: str
    zh: str
    en: str
    unit: str
    decimals: int


def _table(*rows: tuple[str, str, str, str, int]) -> dict[str, Parameter]:
    return {row[0]: Parameter(*row) for row in rows}


ALUMINIUM = _table(
    ("metal_t", "铝液产量", "molten aluminium output", "t", 2),
    ("net_consumption", "吨铝炭阳极净耗", "net anode consumption", "tC/tAl", 3),
    ("sulphur", "炭阳极平均含硫量", "anode sulphur", "%", 2),
    ("ash", "炭阳极平均灰分含量", "anode ash", "%", 2),
    ("anode_co2_t", "炭阳极消耗排放量", "anode CO2", "tCO2", 2),
    ("pots", "电解槽数", "number of pots", "1", 0),
    ("cell_days", "槽日", "cell-days observed in circuit", "d", 2),
    ("ae_count", "阳极效应次数", "anode effects", "1", 0),
    ("ae_minutes", "阳极效应总时间", "anode-effect minutes", "min", 2),
    ("aef", "阳极效应频率", "AEF", "1/(cell.d)", 4),
    ("aed", "阳极效应平均持续时间", "AED", "min", 2),
    ("aem", "平均每天每槽阳极效应持续时间", "AEM", "min/(cell.d)", 2),
    ("aeo", "平均阳极效应过电压", "AEO", "mV", 2),
    ("ef_cf4", "CF4排放因子", "CF4 emission factor", "kg/tAl", 3),
    ("ef_c2f6", "C2F6排放因子", "C2F6 emission factor", "kg/tAl", 4),
    ("cf4_t", "CF4排放量", "CF4", "t", 4),
    ("c2f6_t", "C2F6排放量", "C2F6", "t", 5),
    ("pfc_co2e_t", "阳极效应排放量", "anode-effect PFC", "tCO2e", 2),
    ("process_co2e_t", "铝电解工序排放量", "electrolysis process emissions", "tCO2e", 2),
    ("current_ka", "平均系列电流", "mean line current", "kA", 2),
    ("pot_voltage_v", "平均槽电压", "mean pot voltage", "V", 3),
    ("current_efficiency", "电流效率", "current efficiency", "%", 2),
    ("electricity_mwh", "铝电解工序交流电耗", "electricity of electrolysis", "MWh", 2),
    ("fuel_amount", "燃料消耗量", "fuel consumption", "10^4Nm3 or t", 4),
    ("fuel_ncv", "收到基低位发热量", "net calorific value", "GJ/10^4Nm3 or GJ/t", 3),
    ("fuel_carbon", "单位热值含碳量", "carbon content per heat", "tC/GJ", 5),
    ("fuel_oxidation", "碳氧化率", "oxidation", "%", 0),
    ("fuel_co2_t", "化石燃料燃烧排放量", "fuel combustion CO2", "tCO2", 2),
    ("total_co2e_t", "排放总量", "total direct emissions", "tCO2e", 2),
)
"""Monthly list of aluminium smelting; decimals of the report forms (domain-china.md 2.6)."""
