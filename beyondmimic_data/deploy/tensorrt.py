"""TensorRT for RTX engines, built without a GPU; running one needs the GPU it was built for."""

import importlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from beyondmimic_data.errors import BeyondMimicError, MissingToolError
from beyondmimic_data.files import write_bytes, write_json
from beyondmimic_data.hashing import hash_file

log = logging.getLogger(__name__)

MODULES = ("tensorrt_rtx_bindings", "tensorrt_rtx")
"""Names under which TensorRT for RTX has been published."""
PRECISION = "fp32"


def load_tensorrt() -> ModuleType:
    """Import TensorRT for RTX.

    Raises:
        MissingToolError: it is not installed.
    """
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingToolError("TensorRT for RTX is not installed; it is this project's extra 'tensorrt'")


def build_engines(onnx_path: Path, targets: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Build one engine a target; what cannot be built is recorded with the reason.

    Args:
        onnx_path: exported denoiser.
        targets: CUDA compute capabilities, such as ``8.9`` for an RTX 4060.
        folder: receives ``<key>.engine`` and ``<key>.json``; the key names ONNX hash, target, TensorRT
            version and precision, which all decide whether an engine fits.

    Returns:
        One entry a target: ``file, seconds, bytes, ...``, or ``skipped`` with the reason.

    Raises:
        BeyondMimicError: TensorRT is there and refuses the model.
    """
    try:
        tensorrt = load_tensorrt()
    except MissingToolError as error:
        log.info("no TensorRT engine: %s", error)
        return [{"target": target, "skipped": str(error)} for target in targets]
    return [_build(tensorrt, onnx_path, target, folder) for target in targets]


def _build(tensorrt: ModuleType, onnx_path: Path, target: str, folder: Path) -> dict[str, Any]:
    """Build the engine of one target, unless it is there already."""
    capability = getattr(tensorrt.ComputeCapability, "SM" + target.replace(".", ""), None)
    if capability is None:
        known = ", ".join(n for n in tensorrt.ComputeCapability.__members__ if n.startswith("SM"))
        return {"target": target, "skipped": f"TensorRT for RTX builds for {known}, not for {target}"}
    sha256 = hash_file(onnx_path)
    key = f"denoiser-sm{target.replace('.', '')}-trtrtx{tensorrt.__version__}-{PRECISION}-{sha256[:12]}"
    engine_path, facts_path = folder / f"{key}.engine", folder / f"{key}.json"
    if facts_path.exists():
        return dict(json.loads(facts_path.read_text()))
    started = time.perf_counter()
    engine = _serialise(tensorrt, onnx_path, capability)
    write_bytes(engine_path, engine)
    facts = {
        "target": target,
        "file": engine_path.name,
        "onnx_sha256": sha256,
        "tensorrt_rtx": tensorrt.__version__,
        "precision": PRECISION,
        "batch": 1,
        "bytes": len(engine),
        "seconds": round(time.perf_counter() - started, 2),
    }
    write_json(facts_path, facts)
    return facts


def _serialise(tensorrt: ModuleType, onnx_path: Path, capability: Any) -> bytes:
    """Parse the ONNX file and build an engine for one robot with any number of actions.

    Raises:
        BeyondMimicError: parsing or building fails.
    """
    builder = tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = tensorrt.OnnxParser(network, tensorrt.Logger(tensorrt.Logger.ERROR))
    if not parser.parse(onnx_path.read_bytes()):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BeyondMimicError(f"TensorRT for RTX cannot parse {onnx_path}: {reasons}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    contract = json.loads({p.key: p.value for p in onnx.load(str(onnx_path)).metadata_props}["contract"])
    window, kept = contract["window"], contract["current"] + 1
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sizes = [kept, kept, window] if "action" in tensor.name else [window] * 3
        profile.set_shape(tensor.name, *((1, size, *tuple(tensor.shape)[2:]) for size in sizes))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BeyondMimicError(f"TensorRT for RTX parsed {onnx_path} and could not build an engine")
    return bytes(engine)
