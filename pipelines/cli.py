"""The command line: ``beyondmimic VERB --help``.

With ``--json`` a verb prints one JSON document on standard output, and everything else, also what libraries
and child processes print, goes to standard error. An error that a user can mend is one line and exit code 1.
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

# Read by OpenMP when torch is imported: spinning threads would starve the other processes of a small machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

from beyondmimic_data.errors import BeyondMimicError

INTERRUPTED = 130
"""Exit code of a verb that was interrupted from the keyboard."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(_run(words))
    except BeyondMimicError as error:
        print(f"beyondmimic: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # who reads the output has seen enough; nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run(words: list[str]) -> int:
    verbs = _verbs()
    name = next((n for n in verbs if tuple(words[: len(n)]) == n), None)
    if name is None:
        return _overview(words, verbs)
    import tyro

    options_of, function = verbs[name]
    rest = words[len(name) :]
    options: Any = tyro.cli(options_of(rest), args=rest, prog=f"beyondmimic {' '.join(name)}")
    with _only_the_document(options.json) as stdout:
        log_to_stderr()
        result = function(options)
        print(json.dumps(_plain(result.document)) if options.json else result.text, file=stdout, flush=True)
        if result.measured is not None:
            from pipelines.measured import publish

            publish(result.measured)
        if result.then is not None:
            result.then()
    return 0 if result.ok else 1


def _verbs() -> dict[tuple[str, ...], tuple[Callable[[list[str]], type], Callable[[Any], Any]]]:
    """Return each verb's words, its options for the rest of the command line, and its function."""
    from pipelines import data_verbs, policy_verbs, verbs
    from pipelines import options as o

    def of_preset(verb: type[o.Run]) -> Callable[[list[str]], type]:
        return lambda rest: o.with_settings(verb, value_of("--preset", rest) or verb.preset)

    return {
        ("run",): (of_preset(o.Run), verbs.run),
        ("train",): (of_preset(o.Train), verbs.train),
        ("collect",): (of_preset(o.Collect), verbs.collect),
        ("distill",): (of_preset(o.Distill), verbs.distill),
        ("ui",): (lambda _: o.Ui, verbs.ui),
        ("motions", "check"): (lambda _: o.MotionsCheck, verbs.motions_check),
        ("motions", "synth"): (lambda _: o.MotionsSynth, verbs.motions_synth),
        ("motions", "gait"): (lambda _: o.MotionsGait, verbs.motions_gait),
        ("data", "diff"): (lambda _: o.DataDiff, data_verbs.data_diff),
        ("data", "export"): (lambda _: o.DataExport, data_verbs.data_export),
        ("data", "push"): (lambda _: o.DataPush, data_verbs.data_push),
        ("data", "pull"): (lambda _: o.DataPull, data_verbs.data_pull),
        ("data", "verify"): (lambda _: o.DataVerify, data_verbs.data_verify),
        ("data", "gc"): (lambda _: o.DataGc, data_verbs.data_gc),
        ("chaos", "collect"): (lambda _: o.ChaosCollect, data_verbs.chaos_collect),
        ("bench",): (lambda _: o.Bench, verbs.bench),
        ("fuzz",): (lambda _: o.Fuzz, verbs.fuzz),
        ("study", "closed-loop"): (lambda _: o.StudyClosedLoop, verbs.study_closed_loop),
        ("study", "learned-guidance"): (lambda _: o.StudyLearnedGuidance, verbs.study_learned_guidance),
        ("study", "training"): (lambda _: o.StudyTraining, verbs.study_training),
        ("study", "sampling"): (lambda _: o.StudySampling, verbs.study_sampling),
        ("evaluate", "tracking"): (lambda _: o.EvaluateTracking, policy_verbs.evaluate_tracking),
        ("evaluate", "closed-loop"): (lambda _: o.EvaluateClosedLoop, verbs.evaluate_closed_loop),
        ("play",): (lambda _: o.Play, policy_verbs.play),
        ("export",): (lambda _: o.Export, policy_verbs.export),
        ("ship",): (lambda _: o.Ship, policy_verbs.ship),
    }


def _overview(words: list[str], verbs: dict[tuple[str, ...], Any]) -> int:
    """List the verbs; a word that is none is an error."""
    asked = {"-h", "--help"} & set(words)
    group = tuple(word for word in words if not word.startswith("-"))
    shown = {n: v for n, v in verbs.items() if n[: len(group)] == group}
    out = sys.stdout if asked and shown else sys.stderr
    lines = ["usage: beyondmimic VERB [options]; beyondmimic VERB --help explains one", ""]
    for name, (options_of, _) in (shown or verbs).items():
        lines.append(f"  {' '.join(name):<22} {(options_of([]).__doc__ or '').splitlines()[0]}")
    if not asked or not shown:
        lines += ["", f"beyondmimic: {' '.join(words) or 'no verb'}: expected one of the above"]
    print("\n".join(lines), file=out)
    return 0 if out is sys.stdout else 2


def value_of(flag: str, words: list[str]) -> str | None:
    """Return the value of an option that decides the defaults of the others."""
    for word, following in zip(words, [*words[1:], None]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


@contextlib.contextmanager
def _only_the_document(active: bool) -> Iterator[TextIO]:
    """Keep standard output for the document: what anyone else writes to it goes to standard error."""
    if not active:
        yield sys.stdout
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(kept, "w", closefd=False) as stdout:
            yield stdout
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


class _Elapsed(logging.Formatter):
    """Lines that begin with the minutes since the start."""

    _started = time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"[{minutes:02d}:{seconds:02d}] {level}{record.getMessage()}"


def log_to_stderr() -> None:
    """Show the project's own progress and everyone's warnings on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Elapsed())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("beyondmimic").setLevel(logging.INFO)


def _plain(value: Any) -> Any:
    """Return plain JSON values; numbers that JSON lacks become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item") and callable(value.item):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


if __name__ == "__main__":
    main()
