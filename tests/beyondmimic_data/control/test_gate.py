import pytest

from beyondmimic_data.config import ClosedLoopConfig
from beyondmimic_data.control.gate import shortfalls, verdict
from beyondmimic_data.errors import ConfigError

CONFIG = ClosedLoopConfig(protocols=("stand_perturb", "joystick"), min_success=("stand_perturb=0.9",))


def figures(rate: float) -> dict[str, float]:
    return {"success_rate": rate, "n": 10}


def test_a_policy_passes_at_the_rate_that_is_asked() -> None:
    assert verdict({"stand_perturb": figures(0.9), "joystick": figures(0.0)}, CONFIG) is None


def test_what_is_not_reached_is_named_with_both_rates() -> None:
    why = verdict({"stand_perturb": figures(0.8)}, CONFIG)
    assert why == "stand_perturb: 80% of 10 succeed, 90% required"
    assert shortfalls({"stand_perturb": figures(0.8)}, CONFIG)[0]["success_rate"] == 0.8


def test_a_protocol_that_was_left_out_does_not_pass() -> None:
    assert "no start" in str(verdict({"stand_perturb": {"skipped": "no start"}}, CONFIG))
    assert "was not run" in str(verdict({}, CONFIG))


def test_a_rate_of_a_protocol_that_the_report_lacks_is_refused() -> None:
    config = ClosedLoopConfig(protocols=("joystick",), min_success=("stand_perturb=0.9",))
    with pytest.raises(ConfigError, match=r"min_success.*stand_perturb"):
        verdict({}, config)


def test_a_rate_that_is_no_number_does_not_pass() -> None:
    assert "stand_perturb" in str(verdict({"stand_perturb": figures(float("nan"))}, CONFIG))
