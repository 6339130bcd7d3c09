"""pipelines -> assets -> {storage, beyondmimic_data}, never back; heavy imports wait."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGES = ("beyondmimic_data", "storage", "assets", "pipelines")
LEAVES = {f"beyondmimic_data.{leaf}" for leaf in ("errors", "hashing", "files", "config")}
MAY_IMPORT = {
    "beyondmimic_data": set(),
    "storage": LEAVES,
    "assets": {"storage", "beyondmimic_data"},
    "pipelines": {"assets", "storage", "beyondmimic_data"},
}
HEAVY = {"ray", "torch", "zarr", "mujoco"}
LATE = {
    "beyondmimic_data": {"dagster", "ray", "zarr"},
    "storage": {"dagster", "ray"},
    "assets": HEAVY,
    "pipelines": HEAVY,
}
NEVER = {"beyondmimic_data": {"dagster"}, "storage": {"dagster"}}


def modules(package: str) -> list[Path]:
    return sorted((PROJECT / package).rglob("*.py"))


def imports(tree: ast.AST, *, at_load: bool) -> Iterator[str]:
    """Yield imported module names; ``at_load`` leaves out those inside functions and for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if at_load and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if at_load and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node, at_load=at_load)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == a or name.startswith(f"{a}.") for a in allowed)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package):
    found = modules(package)
    assert found
    allowed = MAY_IMPORT[package] | {package}
    for path in found:
        for name in imports(ast.parse(path.read_text()), at_load=False):
            # `from beyondmimic_data import errors` names the package first and the module second.
            if name == "beyondmimic_data" and package == "storage":
                continue
            if name.split(".")[0] in PACKAGES:
                assert within(name, allowed), f"{path.relative_to(PROJECT)} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_heavy_modules_are_imported_late_or_never(package):
    for path in modules(package):
        tree = ast.parse(path.read_text())
        for name in imports(tree, at_load=True):
            root = name.split(".")[0]
            assert root not in LATE[package], f"{path.relative_to(PROJECT)} imports {name} at load"
        for name in imports(tree, at_load=False):
            assert name.split(".")[0] not in NEVER.get(package, set()), f"{path.relative_to(PROJECT)}: {name}"


def test_the_rule_sees_a_violation():
    tree = ast.parse("def f():\n    from pipelines.cli import main\n")
    assert "pipelines.cli" in set(imports(tree, at_load=False))
    assert "pipelines.cli" not in set(imports(tree, at_load=True))


def test_loading_the_definitions_imports_nothing_heavy():
    code = (
        "import sys, pipelines.definitions as d; d.defs();"
        "print([m for m in ('torch', 'ray', 'zarr', 'mujoco', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, timeout=120, check=True
    )
    assert result.stdout.strip() == "[]"
