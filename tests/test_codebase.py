# SPDX-License-Identifier: MIT
"""Rules about the source itself: who may import what, the stub of the compiled module, versions, symbols."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests import core_stub
from unrolled import _core

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "unrolled"
CPP = ROOT / "cpp"
PYTHON_FILES = sorted(PACKAGE.rglob("*.py"))
CPP_FILES = sorted(path for path in CPP.rglob("*") if path.suffix in (".h", ".cc"))

pytestmark = pytest.mark.skipif(not PYTHON_FILES or not CPP_FILES, reason="the sources are not here")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


# ------------------------------------------------------- dependencies: Python

FOUNDATION = {
    "_core",
    "activations",
    "engine",
    "errors",
    "files",
    "initializers",
    "semantics",
    "spec",
    "utils",
}
# What the modules of a room, or a module at the top, may import from the package besides themselves.
MAY_IMPORT = {
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "formats": {"errors", "files", "semantics", "spec"},
    "data": {"engine", "errors", "files", "layers", "models"},
    "batch": {"data", "errors", "models"},
    "mlflow": {"data", "models"},
    "layers": FOUNDATION,
    "models": FOUNDATION | {"formats", "layers"},
    "ops": FOUNDATION | {"layers"},
    "streaming": FOUNDATION | {"data", "layers", "models"},
    "serving": FOUNDATION | {"layers", "models", "streaming"},
    "cli": FOUNDATION | {"batch", "data", "formats", "layers", "models", "serving", "streaming"},
    "__main__": {"cli"},
    "__init__": FOUNDATION | {"batch", "formats", "layers", "mlflow", "models", "ops", "streaming"},
}
# Imports inside functions that go up, each with its reason.
EXCEPTIONS = {
    ("activations", "layers"): "a layer may be given as an activation",
    ("models", "data"): "Model.predict takes tables too, whose libraries are extras",
    ("models", "streaming"): "Model.stream and its kin are where users look for them",
    ("utils", "layers"): "a new seed restarts the automatic names of layers",
}
# What `unrolled bench` and `unrolled check --oracle` run beside unrolled, where it is installed.
PEERS = {"keras", "onnxruntime", "tensorflow", "tf_keras"}
# What the extras serve and grpc bring; the command line can import `serving` and its options without them.
SERVERS = {"google", "grpc", "starlette", "uvicorn", "uvloop"}
# What the rooms of tables import when it is used; each is in an extra.
EXTRAS = {
    "batch": {"dask", "distributed", "polars", "pyarrow"},
    "data": {"pyarrow"},
    "formats": {"h5py", "huggingface_hub"},
    "mlflow": {"mlflow", "yaml"},
}
STANDARD_LIBRARY = set(sys.stdlib_module_names) | {"__future__"}
# Running, or unpickling, what a file says is made impossible by not having the means.
FORBIDDEN_MODULES = {
    "ctypes",
    "importlib",
    "marshal",
    "pickle",
    "runpy",
    "shelve",
    "socket",
    "subprocess",
    "urllib",
}
FORBIDDEN_CALLS = {"__import__", "compile", "eval", "exec"}


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path):
    """(top-level package, room or None, whether inside a function or for types only) of every import."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(child)
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.walk(node)
        if child is not node
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            names = (
                [f"unrolled.{alias.name}" for alias in node.names]
                if node.module == "unrolled"
                else [node.module]
            )
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            yield top, rest.split(".")[0] or None if top == "unrolled" else None, id(node) in inside


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_python_dependencies_go_down(path):
    own = room(path)
    assert own in MAY_IMPORT, f"say in this test what the room {own} may import"
    allowed = MAY_IMPORT[own] | {own, "errors"}
    for top, target, in_function in imports(path):
        if top != "unrolled" or target is None or target in allowed or own == target:
            continue
        if own == "cli" and target == "__version__":
            continue
        assert in_function, f"{name_of(path)} imports unrolled.{target}"
        assert (own, target) in EXCEPTIONS, f"{name_of(path)} imports unrolled.{target} inside a function"


MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PYTHON_FILES
}


def imported_modules(path):
    """The modules of the package that run when a file's imports run, those inside functions too.

    Imports under TYPE_CHECKING do not run, and may close a circle. A file does not count as importing the
    packages that it lies in, although Python runs their ``__init__``.
    """
    module = ast.parse(path.read_text(encoding="utf-8"))
    never_run = {
        id(child)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(module):
        if id(node) in never_run:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "unrolled":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def circles(edges):
    """The groups of modules of which each reaches each."""

    def reached(start):
        found, pending = set(), [start]
        while pending:
            for name in edges[pending.pop()] - found:
                found.add(name)
                pending.append(name)
        return found

    reach = {name: reached(name) for name in edges}
    return {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in edges
        if name in reach[name]
    }


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert circles(edges) == {frozenset("bc"), frozenset("e")}


def test_no_files_import_each_other_in_a_circle():
    edges = {name: set(imported_modules(path)) & set(MODULES) for name, path in MODULES.items()}
    # The package's own __init__ is what everything below ends in: "from unrolled import _core".
    edges = {name: targets - {"unrolled"} for name, targets in edges.items()}
    found = circles(edges)
    assert [sorted(circle) for circle in found] == []


# Private names of a module that other modules use, until they are public or not used.
KNOWN_PRIVATE = {
    *(("streaming/compiled.py", name) for name in ("_plans",)),
    ("streaming/generation.py", "_core"),
    *(("streaming/lines.py", name) for name in ("_compiled", "_is_plain")),
}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_private_names_stay_in_their_module(path):
    """A name that starts with an underscore is used where it is made, and by subclasses on themselves."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    made = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {
        getattr(node, "attr", getattr(node, "id", None))
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store)
    }
    foreign = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "unrolled":
            foreign |= {alias.name for alias in node.names if alias.name.startswith("_")} - {"_core"}
        is_private = isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr)
        if (
            is_private
            and node.attr not in made
            and ast.unparse(node.value) not in ("self", "cls", "super()", "unrolled")
        ):
            foreign.add(node.attr)
    foreign.discard("_exit")  # the operating system's way for a forked child to end
    known = {name for file, name in KNOWN_PRIVATE if file == path.relative_to(PACKAGE).as_posix()}
    assert foreign == known


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_the_package_needs_numpy_only_and_cannot_run_code(path):
    for top, _, in_function in imports(path):
        if top == "socket" and name_of(path) == "python/unrolled/serving/workers.py":
            continue
        assert top not in FORBIDDEN_MODULES, f"{name_of(path)} imports {top}"
        if top == "rich":
            assert in_function, "rich is optional"
        elif (
            top in PEERS and name_of(path).endswith(("cli/benchmark.py", "cli/oracle.py"))
        ) or top in EXTRAS.get(room(path), ()):
            assert in_function, f"{top} is optional"
        elif top in SERVERS and room(path) == "serving":
            assert in_function or path.stem not in ("__init__", "options"), f"{top} is optional"
        elif top in SERVERS and name_of(path) == "python/unrolled/cli/serve.py":
            assert in_function, f"{top} is optional"
        else:
            assert top in STANDARD_LIBRARY | {"numpy", "unrolled"}, f"{name_of(path)} imports {top}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"{name_of(path)} calls {node.func.id}"


def test_importing_the_package_imports_no_optional_or_slow_module():
    code = "import numpy, sys; before = set(sys.modules); import unrolled; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = {name for name in done.stdout.split() if name.split(".")[0] != "unrolled"}
    slow = {"argparse", "asyncio", "email", "h5py", "http", "json", "keras", "matplotlib", "multiprocessing"}
    slow |= {"rich", "scipy", "tensorflow", "unittest", "xml", "zipfile"}
    slow |= {"dask", "distributed", "mlflow", "pandas", "polars", "pyarrow", "torch"}
    assert not slow & {name.split(".")[0] for name in new}


# ---------------------------------------------------------- dependencies: C++

# What the files of a room may include from the project besides their own room.
MAY_INCLUDE = {
    "base": (),
    "kernels": ("base/",),
    "ops": ("base/", "kernels/table.h"),
    "plan": ("base/", "ops/", "kernels/dispatch.h"),
    "bindings": ("base/", "ops/", "plan/", "kernels/dispatch.h"),
    "c_api": ("base/", "ops/", "plan/", "kernels/dispatch.h"),
}
# Standard headers that a file compiled once per ISA may use: types and limits, no code with linkage.
ISA_HEADERS = {"Eigen/Core", "cmath", "cstddef", "cstdint", "cstring", "immintrin.h", "arm_neon.h", "limits"}
ONLY_IN = {"omp.h": {"cpp/plan/region.cc"}, "Eigen/Core": {"cpp/kernels/vector.h"}}


def includes(path, pattern):
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)


def own_includes(path):
    return includes(path, r'^#include "([^"]+)"')


def system_includes(path):
    return includes(path, r"^\s*#\s*include <([^>]+)>")


def compiled_per_isa():
    """kernels.cc and what it includes, but for the table and base, which everyone may see."""
    found, pending = set(), [CPP / "kernels" / "kernels.cc"]
    while pending:
        path = pending.pop()
        found.add(path)
        pending += [
            CPP / name
            for name in own_includes(path)
            if name.startswith("kernels/") and name != "kernels/table.h" and CPP / name not in found
        ]
    return found


@pytest.mark.parametrize("path", CPP_FILES, ids=name_of)
def test_cpp_dependencies_go_down(path):
    own = path.relative_to(CPP).parts[0]
    for name in own_includes(path):
        assert (CPP / name).is_file(), f"{name_of(path)} includes {name}: paths start at cpp/"
        assert name.startswith((f"{own}/", *MAY_INCLUDE[own])), f"{name_of(path)} includes {name}"
    for name in system_includes(path):
        assert name_of(path) in ONLY_IN.get(name, {name_of(path)}), f"{name_of(path)} includes <{name}>"


@pytest.mark.parametrize("path", CPP_FILES, ids=name_of)
def test_what_is_compiled_per_isa_stays_apart(path):
    per_isa = compiled_per_isa()
    if path in per_isa:
        assert set(system_includes(path)) <= ISA_HEADERS
    else:
        assert not {CPP / name for name in own_includes(path)} & per_isa


# ------------------------------------------------------------------- the stub


def split_parameters(text):
    """The comma-separated parts of a parameter list, brackets kept together."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def module_signature(function):
    """(name, keyword-only, has a default) of every parameter, from pybind11's docstring."""
    doc = function.__doc__ or ""
    assert "Overloaded function" not in doc
    line = doc.splitlines()[0]
    parameters, keyword_only = [], False
    for part in split_parameters(line[line.index("(") + 1 : line.rindex(") ->")]):
        if part == "*":
            keyword_only = True
            continue
        name = re.match(r"\w+", part)[0]
        if name != "self":
            parameters.append((name, keyword_only, " = " in part))
    return parameters


def stub_signature(node):
    positional = node.args.posonlyargs + node.args.args
    defaults = [False] * (len(positional) - len(node.args.defaults)) + [True] * len(node.args.defaults)
    parameters = [(a.arg, False, d) for a, d in zip(positional, defaults, strict=True)]
    parameters += [
        (a.arg, True, d is not None) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    ]
    return [parameter for parameter in parameters if parameter[0] != "self"]


def members(scope):
    return {
        name: value.__func__ if isinstance(value, staticmethod) else value
        for name, value in vars(scope).items()
        if name == "__init__" or not name.startswith("_")
    }


def without_overloads(body):
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


# Bound to their records when they are called: the next test holds their lines of the stub.
BOUND_BY_RECORD = {("_core.Direction", "__init__")}
BOUND_BY_RECORD |= {("_core.PlanBuilder", operation["name"]) for operation in _core.operations()}


def compare(where, stub, scope):
    """Names and parameters of ``stub`` against those of ``scope``, classes too."""
    actual = members(scope)
    stated = without_overloads(stub)
    attributes = {node.target.id for node in stub if isinstance(node, ast.AnnAssign)}
    if "__init__" in actual and "__init__" not in stated:
        del actual["__init__"]  # pybind11 gives every class one, which raises where none is defined
    assert set(stated) | attributes == set(actual), f"{where}: names"
    for name, node in stated.items():
        if isinstance(node, ast.ClassDef):
            compare(f"{where}.{name}", node.body, actual[name])
        elif any(getattr(decorator, "id", "") == "property" for decorator in node.decorator_list):
            assert isinstance(actual[name], property), f"{where}.{name}: no property"
        elif (where, name) not in BOUND_BY_RECORD:
            assert stub_signature(node) == module_signature(actual[name]), f"{where}.{name}: parameters"


def test_the_stub_has_the_names_and_parameters_of_the_module():
    stub = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    compare("_core", stub.body, _core)


def test_the_stub_states_every_operation_as_its_record_does():
    text = core_stub.STUB.read_text(encoding="utf-8")
    assert core_stub.split(text)[1].strip() == core_stub.generated().strip(), "run python -m tests.core_stub"


def test_the_stub_states_a_direction_as_its_record_does():
    stub = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    (direction,) = [node for node in stub.body if getattr(node, "name", "") == "Direction"]
    recurrent = next(operation for operation in _core.operations() if operation["name"] == "recurrent")
    (parts,) = [item["parts"] for item in recurrent["parameters"] if "parts" in item]
    expected = [(item["name"], item["by_name"], "default" in item) for item in parts]
    assert stub_signature(direction.body[1]) == expected


# ------------------------------------------------------------------ the README


def test_the_quick_start_is_two_blocks_of_one_line():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Quick start\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [block.count("\n") for block in blocks] == [1, 1]


def test_the_example_of_the_readme_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    names = {}
    exec("\n".join(blocks), names)
    assert "mackey_glass" in capsys.readouterr().out
    last = names["model"].predict(names["series"][None, :5, None])[:, -1]
    np.testing.assert_array_equal(names["y"], last)


# -------------------------------------------------- doctests, licence, version


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.walk_packages(unrolled.__path__, "unrolled.")] + ["unrolled"]
)
def test_examples_in_docstrings_run(name):
    if name in ("unrolled.__main__", "unrolled._core"):
        pytest.skip("has none")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in SERVERS:
            raise
        pytest.skip(f"{error.name} is not installed")
    result = doctest.testmod(module)
    assert result.failed == 0


def source_files():
    for folder in ("python", "cpp", "tests", "bench", "examples", "cmake"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".pyi", ".cc", ".h", ".cmake"):
                yield path
    yield ROOT / "CMakeLists.txt"


def test_every_source_file_starts_with_its_licence():
    missing = []
    for path in source_files():
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines()[:2] if not line.startswith("#!")
        ]
        if not lines or lines[0] not in ("# SPDX-License-Identifier: MIT", "// SPDX-License-Identifier: MIT"):
            missing.append(name_of(path))
    assert missing == []


def test_the_version_is_the_same_everywhere():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", unrolled.__version__)
    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        newest = re.search(r"^## (\S+)", changelog.read_text(encoding="utf-8"), re.MULTILINE)[1]
        assert newest == unrolled.__version__
    try:
        installed = importlib.metadata.version("unrolled")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from the source tree")
    assert installed == unrolled.__version__


def test_the_installed_package_holds_no_tests():
    try:
        files = importlib.metadata.files("unrolled")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from the source tree")
    rooms = {Path(file).parts[0] for file in files or ()}
    assert not rooms & {"tests", "bench", "examples", "cpp", "cmake"}


# -------------------------------------------------------------------- symbols


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("nm") is None, reason="nm is not installed")
def test_the_compiled_module_exports_its_start_only():
    options = ["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]
    done = subprocess.run(["nm", *options, _core.__file__], capture_output=True, text=True, check=True)
    exported = {line.split()[-1].lstrip("_") for line in done.stdout.splitlines() if line.strip()}
    assert exported == {"PyInit__core"}
