"""Names and signs of a reflection."""

import pytest

from beyondmimic_data.errors import ConfigError
from beyondmimic_data.robots import g1, symmetry


def test_counterparts_swap_sides_and_leave_the_middle():
    index = symmetry.counterparts(g1.BODY_NAMES)
    for name, other in zip(g1.BODY_NAMES, (g1.BODY_NAMES[i] for i in index), strict=True):
        assert other == name.replace("left", "*").replace("right", "left").replace("*", "right")


def test_a_name_without_a_counterpart_is_refused():
    with pytest.raises(ConfigError, match="right_knee_link"):
        symmetry.counterparts(["pelvis", "left_knee_link"])
