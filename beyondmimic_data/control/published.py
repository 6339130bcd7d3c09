"""What others have published for the protocols, to be shown beside the project's own figures."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Published:
    """One published result."""

    source: str
    """Paper and table."""
    value: str
    """What it reports."""
    n: int | None = None
    """Runs, where the paper says."""

    def __str__(self) -> str:
        runs = "" if self.n is None else f", n = {self.n}"
        return f"{self.value} ({self.source}{runs})"


V3 = "BeyondMimic v3, Table III"
CLOC = "Diffuse-CLoC, Table 1"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "walk_perturb": (
        Published(V3, "100 % with body positions, 72 % with joint rotations", 50),
        Published(CLOC, "84 %"),
    ),
    "joystick": (Published(V3, "80 % with body positions, 0 % with joint rotations", 50),),
    "velocity_grid": (
        Published("BeyondMimic v4", "velocity error 12.14 % walking, 13.65 % running; commands not given"),
    ),
    "waypoint": (Published("PredActor, hardware", "100 %", 15),),
    "forest": (Published(CLOC, "96 % in 13.2 s; another robot and another forest"),),
    "inpainting": (
        Published(CLOC, "69 %, bodies 0.116 m and root 0.322 m off; another robot and other keyframes"),
    ),
}
"""By protocol. No two set-ups are alike: they are there to judge the size of a figure by."""
