"""The report of a closed-loop evaluation as Markdown."""

from collections.abc import Callable
from typing import Any

from beyondmimic_data.control.published import PUBLISHED


def report_text(result: dict[str, Any]) -> str:
    """Return the report: a table of all protocols, then each with its description, figures and picture."""
    guidance = result["guidance"]
    low, high = result["latency_range_ms"]
    lines = [
        "# Closed loop",
        "",
        f"State representation {result['representation']}, {result['planning']['sampler']} inference, "
        f"latency {low:g} to {high:g} ms after the policy. Guidance: scale {guidance['scale']:g}, "
        f"gradient within "
        f"{guidance['max_norm']:g}, commands times {guidance['command_gain']:g}.",
        "",
        "| protocol | success | 95 % interval | runs | falls | mean time up | plan, median | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, f in result["protocols"].items():
        published = "; ".join(map(str, PUBLISHED.get(name, ()))) or "–"
        if "skipped" in f:
            lines.append(f"| {name} | left out: {f['skipped']} | | | | | | {published} |")
            continue
        lines.append(
            f"| {name} | {f['success_rate']:.0%} | {f['wilson_low']:.0%} to {f['wilson_high']:.0%} "
            f"| {f['n']} | {f['falls']} | {f['mean_seconds_upright']:.1f} s | {f['plan_ms_p50']:.0f} ms "
            f"| {published} |"
        )
    for name, f in result["protocols"].items():
        lines += ["", f"## {name}", "", f["description"], ""]
        if "skipped" in f:
            lines.append(f"Left out: {f['skipped']}.")
            continue
        for key, line in LINES.items():
            if f.get(key) is not None:
                lines += [f"* {text}" for text in line(f[key])]
        lines += ["", f"![{name}]({name}.png)"]
    lines += ["", f"Video: {result['video'] or 'left out: ' + result['video_skipped']}", ""]
    return "\n".join(lines)


def _commands(commands: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, f in commands.items():
        error = f["velocity_error_m_s"]
        found = "all fell" if error is None else f"mean velocity off by {error:.2f} m/s"
        lines.append(f"{name}: {f['following']:.0%} follow, {found}")
    return lines


def _grid(grid: list[dict[str, Any]]) -> list[str]:
    lines = []
    for f in grid:
        errors = {"velocity": f["velocity_error_percent"], "yaw rate": f["yaw_rate_error_percent"]}
        found = ", ".join(f"{what} off by {e:.0f} %" for what, e in errors.items() if e is not None)
        if f["n"]:
            lines.append(f"{f['command']}: {found or 'all fell'}, {f['falls']} of {f['n']} fall")
    return lines


def _rates(label: str) -> Callable[[Any], list[str]]:
    return lambda rates: [f"{label}: " + ", ".join(f"{k}: {v:.0%}" for k, v in rates.items())]


def _latency(sweep: list[dict[str, Any]]) -> list[str]:
    return ["by latency: " + ", ".join(f"{f['latency_ms']:g} ms: {f['success_rate']:.0%}" for f in sweep)]


def _second_contact_model(found: dict[str, Any]) -> list[str]:
    lost, low, high = (f"{100 * found[name]:.1f}" for name in ("loss", "loss_low", "loss_high"))
    rate = f"in the second contact model: {found['success_rate']:.0%}, {found['falls']} fall"
    return [f"{rate}; {lost} points lost ({low} to {high})"]


def _number(text: str) -> Callable[[Any], list[str]]:
    return lambda value: [text.format(value)]


LINES: dict[str, Callable[[Any], list[str]]] = {
    "up_rate": _number("stay up: {:.1%}"),
    "mean_speed_m_s": _number("mean speed {:.2f} m/s"),
    "velocity_error_percent": _number("mean velocity error {:.1f} %"),
    "instant_error_percent": _number("instantaneous velocity error {:.1f} %"),
    "yaw_rate_error_percent": _number("yaw rate error {:.1f} %"),
    "velocity_error_m_s": _number("velocity error {:.2f} m/s"),
    "yaw_rate_error_rad_s": _number("yaw rate error {:.2f} rad/s"),
    "mean_seconds_to_goal": _number("mean time to the goal {:.1f} s"),
    "collisions": _number("collisions: {}"),
    "root_error_m": _number("root {:.3f} m off at keyframes"),
    "body_error_m": _number("bodies {:.3f} m off at keyframes, relative to the root"),
    "commands": _commands,
    "grid": _grid,
    "success_by_tolerance": _rates("success by tolerance in m/s"),
    "success_by_direction": _rates("success by direction in degrees"),
    "latency": _latency,
    "second_contact_model": _second_contact_model,
}
"""Figures that a report spells out, and how."""
