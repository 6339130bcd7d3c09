import numpy as np
import pytest

from beyondmimic_data.control.protocols import PROTOCOLS, get_protocol, register_protocol
from beyondmimic_data.control.published import PUBLISHED
from beyondmimic_data.errors import ConfigError

NAMES = {
    "stand_perturb",
    "walk_perturb",
    "commanded_walk",
    "joystick",
    "velocity_grid",
    "random_joystick",
    "waypoint",
    "forest",
    "inpainting",
}


def test_every_protocol_is_there_and_a_publication_belongs_to_one() -> None:
    assert PROTOCOLS.keys() >= NAMES
    assert PROTOCOLS.keys() >= PUBLISHED.keys()
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_unknown_and_doubled_protocols_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"moonwalk.*one of .*joystick.*walk_perturb"):
        get_protocol("moonwalk")
    with pytest.raises(ValueError, match="registered already"):
        register_protocol(PROTOCOLS["joystick"])


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_task_is_a_function_of_its_setting(setting, name) -> None:
    def given(seed: int) -> list[np.ndarray]:
        made = setting(6, seed)
        task = PROTOCOLS[name].make(made)
        history = made.windows.time(slice(0, 5))
        commands = [task.steer(t, history).command for t in (0, 40, 200)] if task.steer else []
        seen = [c.numpy() for c in commands if c is not None]
        seen += [task.push(50)] if task.push else []
        return seen + [x.numpy() for x in (task.goal, task.pillars and task.pillars.centre) if x is not None]

    first, again, other = given(1), given(1), given(2)
    assert name == "inpainting" or first
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    if name not in ("joystick", "velocity_grid", "inpainting"):  # alike for every seed
        assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
