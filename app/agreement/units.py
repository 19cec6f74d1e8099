"""What kind of number a number is: its unit of measure, currency or scale, by one name for every spelling."""

from typing import Final

CURRENCIES: Final = "$€£¥₹"

_SPELLINGS: Final = {
    "%": "percent pct",
    "$": "dollar dollars usd bucks",
    "€": "euro euros eur",
    "£": "gbp",
    "¢": "cent cents",
    "km": "kilometer kilometers kilometre kilometres",
    "m": "meter meters metre metres",
    "cm": "centimeter centimeters centimetre centimetres",
    "mm": "millimeter millimeters millimetre millimetres",
    "mile": "miles mi",
    "foot": "feet ft",
    "inch": "inches",
    "yard": "yards yd",
    "hour": "hours h hr hrs",
    "minute": "minutes min mins",
    "second": "seconds s sec secs",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "kg": "kilogram kilograms kilo kilos",
    "g": "gram grams",
    "mg": "milligram milligrams",
    "ton": "tons tonne tonnes",
    "pound": "pounds lb lbs",
    "ounce": "ounces oz",
    "l": "liter liters litre litres",
    "ml": "milliliter milliliters",
    "gallon": "gallons",
    "degree": "degrees °",
    "°C": "celsius ℃",
    "°F": "fahrenheit ℉",
    "percentage point": "pp",
    "dozen": "dozens",
    "hundred": "hundreds",
    "thousand": "thousands k",
    "million": "millions M mn mio",
    "billion": "billions B bn",
    "trillion": "trillions tn",
    "am": "a.m",
    "pm": "p.m",
    "BC": "bc bce BCE",
    "AD": "ad ce CE",
    "mph": "",
    "km/h": "kmh kph",
    "W": "watt watts",
    "kW": "kilowatt kilowatts",
    "MW": "megawatt megawatts",
    "mW": "milliwatt milliwatts",
    "Hz": "hertz",
    "kHz": "",
    "MHz": "",
    "GHz": "",
    "KB": "kB kilobyte kilobytes",
    "MB": "megabyte megabytes",
    "GB": "gigabyte gigabytes",
    "TB": "terabyte terabytes",
    "ms": "millisecond milliseconds",
}
_UNITS: Final = {spelling: unit for unit, all_ in _SPELLINGS.items() for spelling in (unit, *all_.split())}


def unit(word: str) -> str:
    """The name of the unit that the word is; empty when it is none. Case matters only where it makes another unit."""
    return _UNITS.get(word) or (_UNITS.get(word.lower(), "") if len(word) > 2 else "")
