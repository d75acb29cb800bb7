"""A unit is known by its meaning, and what is no unit of voltage is never guessed."""

import pytest

from inference.reading.units import millivolts_per

MILLIVOLTS = ["mV", "mv", "MV", " mV ", "millivolt", "Millivolts", "MILLIVOLTS", "mVolt", "MDC_DIM_MILLI_VOLT", "ｍＶ"]
MICROVOLTS = ["uV", "UV", "µV", "μV", "microvolts", "MICROVOLTS", "MDC_DIM_MICRO_VOLT", "1e-6 V", "1E-6V", "0.001 mV"]
OTHERS = [("nV", 1e-6), ("V", 1e3), ("volts", 1e3), ("0.1uV", 1e-4), ("5 uV", 5e-3), ("10*nV", 1e-5)]
NOT_KNOWN = ["", " ", "bpm", "mmHg", "adu", "raw", "counts", "1", "0 uV", "1e999 V", "1e-400 V", "nan V", "-1 mV", "mA"]
NOT_UNITS = ["m V", "mV/s", "uV·s", "kV", "V1", "mV mV", "x" * 100_000]


@pytest.mark.parametrize("unit", MILLIVOLTS)
def test_millivolts_are_known_in_each_spelling(unit):
    assert millivolts_per(unit) == 1.0


@pytest.mark.parametrize("unit", MICROVOLTS)
def test_microvolts_are_known_in_each_spelling(unit):
    assert millivolts_per(unit) == pytest.approx(1e-3)


@pytest.mark.parametrize(("unit", "millivolts"), OTHERS)
def test_other_units_of_voltage_and_multiples_are_known(unit, millivolts):
    assert millivolts_per(unit) == pytest.approx(millivolts)


@pytest.mark.parametrize("unit", NOT_KNOWN + NOT_UNITS)
def test_what_is_no_unit_of_voltage_is_not_guessed(unit):
    assert millivolts_per(unit) is None
