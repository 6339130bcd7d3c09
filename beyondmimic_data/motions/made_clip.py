"""The clip of a source: a file's own, or one that a ``[[clips]]`` table makes of pieces of files."""

from pathlib import Path

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.clip import NOTE_SEPARATOR, Clip, clip_from_qpos
from beyondmimic_data.motions.edits import Gap, Part, join, mirrored
from beyondmimic_data.motions.folder import ClipSource, Piece
from beyondmimic_data.motions.formats import IMPORTER_VERSION
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.motion_config import Edit


def make_clip(source: ClipSource, preset: Preset) -> Clip:
    """Import a clip and do to it what its table asks for.

    Raises:
        MotionError: a file is refused; a cut lies beyond it; ends do not fit; the clip gets too long.
    """
    imported: dict[Path, Clip] = {}
    for piece in source.pieces:
        if piece.path not in imported:
            imported[piece.path] = import_motion(
                piece.path, name=source.name, facts=piece.facts, preset=preset
            )
    if source.table is None:
        return imported[source.pieces[0].path]
    fps = preset.control.control_hz
    cuts = [_cut(source, piece, imported[piece.path], fps) for piece in source.pieces]
    _check_lengths(source, cuts, preset)
    joined = [part for part, piece in zip(cuts, source.pieces) for _ in range(piece.edit.loop)]
    qpos, gaps = join(joined, fps, source.blend)
    _check_gaps(source, gaps)
    notes = [_note(piece.path, piece.edit, part, fps) for piece, part in zip(source.pieces, cuts)]
    if gaps:
        widest = max(gaps, key=lambda gap: gap.joint_rad)
        notes.append(
            f"joined over {source.blend:g} s, {widest.joint} at most {widest.joint_rad:.2f} rad apart"
        )
    facts = {
        "file": NOTE_SEPARATOR.join(clip.source["file"] for clip in imported.values()),
        "sha256": NOTE_SEPARATOR.join(clip.source["sha256"] for clip in imported.values()),
        "importer": IMPORTER_VERSION,
        "repairs": NOTE_SEPARATOR.join(r for clip in imported.values() if (r := clip.source["repairs"])),
        "edits": NOTE_SEPARATOR.join(notes),
    }
    return clip_from_qpos(source.name, qpos, fps, fps, facts)


def _cut(source: ClipSource, piece: Piece, clip: Clip, fps: float) -> Part:
    """Return a piece of an imported file, mirrored where asked for."""
    start, end = (None if s is None else round(s * fps) for s in (piece.edit.start, piece.edit.end))
    last = clip.num_frames - 1
    for key, frame, latest in (("start", start, last - 1), ("end", end, last)):
        if frame is not None and frame > latest:
            found = f"{frame / fps:.2f} s of {piece.path.name}"
            raise _error(source, key, found, f"at most {latest / fps:.2f} s, where its clip ends")
    first, stop = start or 0, last if end is None else end
    if stop - first < 2:
        raise _error(
            source, "end", f"{(stop - first) / fps:.2f} s of {piece.path.name}", "three frames or more"
        )
    qpos = clip.qpos.astype(float)
    return Part.of(mirrored(qpos) if piece.edit.mirror else qpos, fps).cut(first, stop)


def _check_lengths(source: ClipSource, cuts: list[Part], preset: Preset) -> None:
    """Refuse pieces that are shorter than their joints, and clips longer than the preset takes."""
    seconds = [(len(part.qpos) - 1) / preset.control.control_hz for part in cuts]
    total = sum(s * piece.edit.loop for s, piece in zip(seconds, source.pieces))
    if total > preset.quality.max_seconds:
        raise _error(source, "loop", f"{total:.0f} s in all", f"at most {preset.quality.max_seconds:g} s")
    shortest = min(seconds)
    if sum(piece.edit.loop for piece in source.pieces) > 1 and shortest < source.blend:
        found = f"{source.blend:g} s with a piece of {shortest:.2f} s"
        raise _error(source, "blend", found, "no longer than the shortest piece")


def _check_gaps(source: ClipSource, gaps: list[Gap]) -> None:
    """Refuse ends that are too far apart to be joined."""
    joints = [(n, piece) for n, piece in enumerate(source.pieces) for _ in range(piece.edit.loop)]
    for gap, (n, piece), (m, following) in zip(gaps, joints, joints[1:]):
        if gap.problem is not None:
            where = (
                f"{piece.path.name} and its repetition"
                if n == m
                else f"{piece.path.name} and {following.path.name}"
            )
            key = "loop" if n == m else f"then[{m - 1}]"
            raise _error(
                source, key, f"{where}: {gap.problem}", "start and end in like poses, on the same foot"
            )


def _error(source: ClipSource, key: str, found: str, expected: str) -> MotionError:
    return MotionError(source.table, f"clips '{source.place.name}'.{key}", found, expected)


def _note(path: Path, edit: Edit, part: Part, fps: float) -> str:
    """Say what was done to a piece."""
    done = []
    if edit.start is not None or edit.end is not None:
        start = edit.start or 0.0
        done.append(f"{start:.2f} to {start + (len(part.qpos) - 1) / fps:.2f} s")
    if edit.mirror:
        done.append("mirrored")
    if edit.loop > 1:
        done.append(f"{edit.loop} times")
    return f"{path.name}: {', '.join(done) or 'whole'}"
