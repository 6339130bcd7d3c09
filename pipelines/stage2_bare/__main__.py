"""Run the command; a user's error is one line and exit code 1."""

import json
import os
import sys
from collections.abc import Sequence

# Read by OpenMP when torch is imported: spinning threads would starve the collecting processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from beyondmimic_data.errors import BeyondMimicError
from pipelines.cli import INTERRUPTED, log_to_stderr, value_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run stage 2 and print what came of it; returns the exit code."""
    import tyro

    from pipelines.stage2_bare.options import Options, default_options
    from pipelines.stage2_bare.run import run

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        default = default_options(value_of("--size", words))
        options = tyro.cli(Options, args=words, default=default, prog="python -m pipelines.stage2_bare")
        log_to_stderr()
        print(json.dumps(run(options), indent=2))
    except BeyondMimicError as error:
        print(f"stage2_bare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
