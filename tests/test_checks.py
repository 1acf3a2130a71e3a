"""Every refusal states the rule and the value; everything else passes through unchanged."""

import math

import pytest
from dlopt.checks import finite, in_closed, in_half_open, non_negative, one_of, positive, whole

REFUSED = [
    (finite, math.nan, "lr must be a finite number, got nan"),
    (finite, math.inf, "lr must be a finite number, got inf"),
    (finite, True, "lr must be a finite number, got True"),
    (positive, 0.0, "lr must be > 0, got 0.0"),
    (positive, -1e-9, "lr must be > 0, got -1e-09"),
    (positive, math.nan, "lr must be a finite number, got nan"),
    (non_negative, -0.5, "lr must be >= 0, got -0.5"),
    (in_half_open, 1.0, r"lr must be in \[0, 1\), got 1.0"),
    (in_half_open, -0.1, r"lr must be in \[0, 1\), got -0.1"),
    (in_closed, 1.01, r"lr must be in \[0, 1\], got 1.01"),
    (whole, 2.5, "lr must be a whole number >= 1, got 2.5"),
    (whole, 0, "lr must be a whole number >= 1, got 0"),
    (whole, True, "lr must be a whole number >= 1, got True"),
]
ACCEPTED = [(finite, -3.5), (positive, 1e-12), (non_negative, 0), (in_half_open, 0.0), (in_half_open, 0.999),
            (in_closed, 0), (in_closed, 1), (whole, 1)]


@pytest.mark.parametrize("check, value, message", REFUSED)
def test_a_value_outside_is_refused_with_rule_and_value(check, value, message):
    with pytest.raises(ValueError, match=message):
        check("lr", value)


@pytest.mark.parametrize("check, value", ACCEPTED)
def test_a_value_inside_passes_through(check, value):
    assert check("lr", value) == value


def test_the_ends_of_a_range_can_be_chosen():
    assert in_closed("angle", 90, 0, 90) == 90
    with pytest.raises(ValueError, match=r"angle must be in \[0, 90\), got 90"):
        in_half_open("angle", 90, 0, 90)


def test_a_whole_float_becomes_an_int():
    assert whole("steps", 10.0) == 10 and isinstance(whole("steps", 10.0), int)


def test_an_unknown_choice_is_answered_with_the_known_ones():
    assert one_of("scale", "quick", ("quick", "full")) == "quick"
    with pytest.raises(ValueError, match="scale must be one of quick, full; got 'huge'"):
        one_of("scale", "huge", ("quick", "full"))
