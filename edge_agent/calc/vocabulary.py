"""The ids that every factor set uses, their units, and names in Chinese and English.

One vocabulary over all sets: a report, a configuration and a comparison of two guidelines name a
quantity in the same way. ``{name}`` stands for one word.
"""

import re
from dataclasses import dataclass

NCV_UNITS = ("GJ/t", "GJ/10^4Nm3")


@dataclass(frozen=True, slots=True)
class Word:
    """A fuel, material or product: name in ids, Chinese, English, and accounting unit."""

    name: str
    zh: str
    en: str
    unit: str = "t"


@dataclass(frozen=True, slots=True)
class Id:
    """A pattern of factor ids: the units it may have, Chinese and English."""

    pattern: str
    units: tuple[str, ...]
    zh: str
    en: str


def _words(unit: str, *rows: tuple[str, str, str]) -> dict[str, Word]:
    return {name: Word(name, zh, en, unit) for name, zh, en in rows}


SOLID_FUELS = _words(
    "t",
    ("anthracite", "无烟煤", "anthracite"),
    ("bituminous", "烟煤", "bituminous coal"),
    ("lignite", "褐煤", "lignite"),
    ("washed_coal", "洗精煤", "washed coal"),
    ("other_washed_coal", "其他洗煤", "other washed coal"),
    ("coal_gangue", "煤矸石", "coal gangue"),
    ("coal_slurry", "煤泥", "coal slurry"),
    ("other_coal_products", "其他煤制品", "other coal products"),
    ("unmeasured_coal", "未实测燃煤", "coal not measured (power units)"),
    ("coke", "焦炭", "coke"),
    ("petroleum_coke", "石油焦", "petroleum coke"),
)
LIQUID_FUELS = _words(
    "t",
    ("crude_oil", "原油", "crude oil"),
    ("fuel_oil", "燃料油", "fuel oil"),
    ("gasoline", "汽油", "gasoline"),
    ("diesel", "柴油", "diesel"),
    ("kerosene", "煤油", "kerosene"),
    ("lng", "液化天然气", "liquefied natural gas"),
    ("lpg", "液化石油气", "liquefied petroleum gas"),
    ("tar", "焦油", "tar"),
    ("crude_benzol", "粗苯", "crude benzol"),
    ("refinery_gas", "炼厂干气", "refinery gas"),
)
"""Weighed in tonnes and not solid; liquefied and refinery gases are accounted by mass."""
GAS_FUELS = _words(
    "10^4Nm3",
    ("natural_gas", "天然气", "natural gas"),
    ("coke_oven_gas", "焦炉煤气", "coke oven gas"),
    ("blast_furnace_gas", "高炉煤气", "blast furnace gas"),
    ("converter_gas", "转炉煤气", "converter gas"),
    ("other_gas", "其他煤气", "other gas"),
)
FUELS = {**SOLID_FUELS, **LIQUID_FUELS, **GAS_FUELS}

EQUIPMENT = _words(
    "1",
    ("cement_kiln", "水泥窑", "cement kiln"),
    ("power_boiler", "电站锅炉", "power boiler"),
    ("industrial_boiler", "工业锅炉", "industrial boiler"),
    ("other", "其他", "other equipment"),
)
"""Where a solid fuel burns, for sets whose oxidation depends on it."""

CLINKERS = _words(
    "t",
    ("portland", "硅酸盐水泥熟料", "Portland clinker"),
    ("white", "白色硅酸盐水泥熟料", "white clinker"),
    ("sulfoaluminate", "硫（铁）铝酸盐水泥熟料", "sulpho(ferro)aluminate clinker"),
    ("aluminate", "铝酸盐水泥熟料", "aluminate clinker"),
)
SUBSTITUTES = _words(
    "t",
    ("desulphuriser_powder", "脱硫粉剂", "desulphuriser powder"),
    ("slaked_lime", "熟石灰", "slaked lime"),
    ("carbide_slag", "电石渣", "carbide slag"),
    ("magnesium_slag", "镁渣", "magnesium slag"),
    ("paper_sludge", "造纸白泥", "paper sludge"),
    ("calcium_fluoride_sludge", "氟化钙污泥", "calcium fluoride sludge"),
    ("phosphorus_slag", "磷渣", "phosphorus slag"),
    ("vanadium_titanium_slag", "钒钛渣", "vanadium-titanium slag"),
    ("nitrogen_slag", "氮渣", "nitrogen slag"),
    ("incineration_fly_ash", "飞灰", "fly ash of waste incineration"),
    ("ferroalloy_slag", "铁合金炉渣", "ferroalloy slag"),
    ("fgd_gypsum", "脱硫石膏", "flue-gas gypsum"),
    ("phosphogypsum", "磷石膏", "phosphogypsum"),
    ("titanogypsum", "钛石膏", "titanogypsum"),
    ("fluorogypsum", "氟石膏", "fluorogypsum"),
    ("borogypsum", "硼石膏", "borogypsum"),
    ("model_gypsum", "模型石膏", "model gypsum"),
    ("citric_acid_residue", "柠檬酸渣", "citric acid residue"),
    ("steel_slag", "钢渣", "steel slag"),
    ("nickel_slag", "镍渣", "nickel slag"),
    ("manganese_slag", "锰渣", "manganese slag"),
    ("zinc_slag", "锌渣", "zinc slag"),
    ("tin_slag", "锡渣", "tin slag"),
    ("municipal_sludge", "市政污泥", "municipal sludge"),
    ("aluminium_slag", "铝渣", "aluminium slag"),
    ("copper_slag", "铜渣", "copper slag"),
    ("lead_zinc_slag", "铅锌渣", "lead-zinc slag"),
    ("pyrite_cinder", "硫酸渣", "pyrite cinder"),
    ("fly_ash", "粉煤灰", "fly ash"),
    ("red_mud", "赤泥", "red mud"),
)
STEEL_MATERIALS = _words(
    "t",
    ("limestone", "石灰石", "limestone"),
    ("dolomite", "白云石", "dolomite"),
    ("electrode", "电极", "electrode"),
    ("pig_iron", "生铁", "pig iron"),
    ("dri", "直接还原铁", "direct reduced iron"),
    ("scrap", "废钢", "scrap"),
    ("ferronickel", "镍铁", "ferronickel"),
    ("ferrochrome", "铬铁", "ferrochrome"),
    ("ferrochrome_high_carbon", "高碳铬铁", "high-carbon ferrochrome"),
    ("ferromolybdenum", "钼铁", "ferromolybdenum"),
    ("ferromanganese_blast_furnace", "高炉锰铁", "blast-furnace ferromanganese"),
    ("ferromanganese_high_carbon", "电炉高碳锰铁", "high-carbon ferromanganese of the EAF"),
    ("ferromanganese_micro_carbon", "微碳锰铁", "micro-carbon ferromanganese"),
    ("silicomanganese", "锰硅合金", "silicomanganese"),
    ("silicomanganese_low_carbon", "低碳锰硅合金", "low-carbon silicomanganese"),
    ("ferrosilicon", "硅铁", "ferrosilicon"),
)
STEEL_PRODUCTS = _words(
    "t",
    ("crude_steel", "粗钢", "crude steel"),
    ("pig_iron", "生铁", "pig iron sold"),
    ("tar", "焦油", "tar"),
    ("crude_benzol", "粗苯", "crude benzol"),
    ("methanol", "甲醇", "methanol"),
)
CARBONATES = _words(
    "t",
    ("limestone", "石灰石", "limestone"),
    ("soda_ash", "纯碱", "soda ash"),
)

_FRACTION, _PERCENT, _CO2_PER_T = ("1",), ("%",), ("tCO2/t",)
IDS = (
    Id("fuel.{name}.ncv", NCV_UNITS, "收到基低位发热量", "net calorific value"),
    Id("fuel.{name}.carbon", ("tC/GJ",), "单位热值含碳量", "carbon per heat"),
    Id("fuel.{name}.oxidation", _FRACTION, "碳氧化率", "oxidation"),
    Id("oxidation.solid.{name}", _FRACTION, "固体燃料碳氧化率", "oxidation of solid fuels"),
    Id("coal.evaporation", ("GJ/t/%",), "水分汽化热", "heat of evaporation of coal moisture"),
    Id("clinker.{name}.ef", _CO2_PER_T, "熟料过程排放因子", "clinker process factor"),
    Id("raw_meal.carbon.{name}", _FRACTION, "生料非燃料碳含量", "non-fuel carbon of raw meal"),
    Id("deduction.{name}", _CO2_PER_T, "扣减系数", "deduction factor"),
    Id("carbonate.{name}.ef", _CO2_PER_T, "碳酸盐排放因子", "carbonate factor"),
    Id("steel.material.{name}", _CO2_PER_T, "含碳原料排放因子", "factor of a material used"),
    Id("steel.product.{name}", _CO2_PER_T, "含碳产品排放因子", "carbon kept in a product"),
    Id("anode.net_consumption", ("tC/tAl",), "吨铝炭阳极净耗", "net anode consumption"),
    Id("anode.loss", _FRACTION, "炭阳极残极率", "share of gross anodes that returns"),
    Id("anode.sulphur", _FRACTION, "炭阳极平均含硫量", "anode sulphur"),
    Id("anode.ash", _FRACTION, "炭阳极平均灰分含量", "anode ash"),
    Id("anode.co2_per_t.{name}", ("tCO2/tAl",), "吨铝阳极排放", "anode CO2 per tonne"),
    Id("aluminium.g_per_ah", ("g/Ah",), "铝的电化当量", "electrochemical equivalent"),
    Id("paste.cyclohexane.{name}", ("kg/tAl",), "环己烷可溶物", "cyclohexane soluble matter"),
    Id("paste.binder.{name}", _PERCENT, "糊料粘结剂含量", "binder in paste"),
    Id("paste.dust", ("tC/tAl",), "撇渣碳尘", "skimmed carbon dust"),
    Id("pitch.{name}", _PERCENT, "沥青成分", "composition of pitch"),
    Id("coke.{name}", _PERCENT, "煅后焦成分", "composition of calcined coke"),
    Id("bake.hydrogen", _FRACTION, "焙烧挥发氢", "hydrogen of green anodes"),
    Id("bake.waste_tar", _FRACTION, "焙烧废焦油", "waste tar of green anodes"),
    Id("bake.packing_coke", ("t/t",), "填充焦消耗", "packing coke per baked anode"),
    Id("bake.packing_sulphur", _PERCENT, "填充焦硫分", "sulphur of packing coke"),
    Id("bake.packing_ash", _PERCENT, "填充焦灰分", "ash of packing coke"),
    Id("bake.green_per_baked", ("t/t",), "生熟阳极比", "green anode per baked anode"),
    Id("pfc.slope.{name}", ("kg CF4/tAl/(min/(cell.d))",), "斜率", "slope coefficient"),
    Id("pfc.overvoltage.{name}", ("(kg CF4/tAl)/mV",), "过电压系数", "overvoltage coefficient"),
    Id("pfc.c2f6_ratio.{name}", ("kg C2F6/kg CF4",), "C2F6与CF4质量比", "C2F6 per CF4"),
    Id("pfc.default.{name}", ("kg/tAl", "tCO2e/tAl"), "阳极效应缺省因子", "default PFC factor"),
    Id("pfc.tier1.{name}.{name}", ("kg/tAl",), "缺省排放因子", "tier 1 factor"),
    Id("pfc.low_voltage.{name}", ("kg/tAl",), "低电压排放因子", "low-voltage factor"),
    Id("pfc.low_voltage.{name}.{name}", ("kg/tAl",), "低电压排放因子", "the same by technology"),
    Id("pfc.per_effect.scale.{name}", ("kg CF4/tAl/min^b",), "单次效应系数", "CF4 of one effect"),
    Id("pfc.per_effect.exponent.{name}", _FRACTION, "单次效应指数", "exponent of its duration"),
    Id("pfc.per_effect.ratio.{name}", ("kg C2F6/kg CF4",), "单次效应质量比", "its C2F6 per CF4"),
    Id("pfc.per_effect.ratio_exponent.{name}", _FRACTION, "质量比指数", "exponent of that ratio"),
    Id("gwp100.{name}", ("tCO2e/t",), "全球增温潜势", "100-year warming potential"),
    Id("gwp100.{name}.{name}", ("tCO2e/t",), "全球增温潜势", "the same by report"),
    Id("gwp20.{name}.{name}", ("tCO2e/t",), "20年全球增温潜势", "20-year warming potential"),
    Id("grid.{name}", ("tCO2/MWh",), "电力排放因子", "electricity factor"),
    Id("heat.ef", ("tCO2/GJ",), "热力排放因子", "heat factor"),
    Id("heat.feed_enthalpy", ("kJ/kg",), "给水焓", "enthalpy of feed water"),
    Id("heat.water_base", ("C",), "热水基准温度", "base temperature of hot water"),
    Id("heat.water_capacity", ("kJ/(kg.K)",), "水的比热", "heat capacity of water"),
)

_COMPILED = tuple(
    (re.compile(re.escape(item.pattern).replace(r"\{name\}", "[a-z0-9_]+") + r"\Z"), item)
    for item in IDS
)


def find(factor_id: str) -> Id | None:
    """What an id means; None when the vocabulary does not know it."""
    for pattern, item in _COMPILED:
        if pattern.match(factor_id):
            return item
    return None
