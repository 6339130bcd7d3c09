"""The gate of the diffusion policy: success rates in closed loop that it must reach."""

from collections.abc import Mapping
from typing import Any

from beyondmimic_data.config import ClosedLoopConfig, named_numbers


def shortfalls(protocols: dict[str, Any], config: ClosedLoopConfig) -> list[dict[str, Any]]:
    """Return the protocols that a policy fails, by the figures of its report.

    Args:
        protocols: figures by protocol; one with ``skipped`` was not run.
        config: gives the rates to reach.

    Returns:
        ``protocol``, ``required``, ``success_rate`` (``None`` where it was not run) and ``why`` of each.

    Raises:
        ConfigError: a rate is asked of a protocol that the report does not run.
    """
    return shortfalls_of(protocols, required_success(config))


def required_success(config: ClosedLoopConfig) -> dict[str, float]:
    """Return the success rate that each protocol has to reach; a protocol that is not named has none.

    Raises:
        ConfigError: a rate is asked of a protocol that the report does not run.
    """
    return named_numbers("closed_loop.min_success", config.min_success, config.protocols)


def shortfalls_of(protocols: dict[str, Any], required: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the protocols that miss the rates required of them; see ``shortfalls``."""
    found = []
    for name, rate in required.items():
        figures = protocols.get(name, {"skipped": "it was not run"})
        if "skipped" in figures:
            found.append(_shortfall(name, rate, None, f"{name} was not run: {figures['skipped']}"))
        elif not figures["success_rate"] >= rate:
            reached = figures["success_rate"]
            why = f"{name}: {reached:.0%} of {figures['n']} succeed, {rate:.0%} required"
            found.append(_shortfall(name, rate, reached, why))
    return found


def _shortfall(name: str, required: float, reached: float | None, why: str) -> dict[str, Any]:
    return {"protocol": name, "required": required, "success_rate": reached, "why": why}


def verdict(protocols: dict[str, Any], config: ClosedLoopConfig) -> str | None:
    """Return why a policy does not pass, or ``None`` if it does."""
    return "; ".join(entry["why"] for entry in shortfalls(protocols, config)) or None
