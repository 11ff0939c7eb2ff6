# SPDX-License-Identifier: MIT
"""One SHA-256 over the outputs of every fixture, to show that a change moves no bit: ``python -m tests.output_hashes``.

Prints one line a fixture with ``--each``, and the total. Files beside the fixtures are added by
``--models FOLDER``: each with a ``.npz`` of inputs of the same name. Run it on two checkouts by PYTHONPATH.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

import unrolled
from tests import fixtures


def digest_of(y):
    """SHA-256 of the dtypes, shapes and bytes of outputs in their structure."""
    digest = hashlib.sha256()

    def feed(value):
        if isinstance(value, dict):
            for key in sorted(value):
                digest.update(str(key).encode())
                feed(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                feed(item)
        else:
            digest.update(f"{value.dtype} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())

    feed(y)
    return digest.hexdigest()


def fixture_digest(fixture):
    """Of all calls of one fixture, predicted whole and row by row where that is the same model."""
    model = unrolled.load_model(fixture.path, weights=fixture.weights_path)
    results = []
    for x, _ in fixture.calls():
        results.append(model(x) if fixture.entry.get("call") else model.predict(x, verbose=0))
    return digest_of(results)


def file_digest(path):
    """Of a model file that has a ``.npz`` with inputs ``x0, x1, ...`` beside it."""
    with np.load(path.with_suffix(".npz")) as arrays:
        x = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays.files))]
    return digest_of(unrolled.load_model(path).predict(x[0] if len(x) == 1 else x, verbose=0))


def digests(folder=None):
    """Name to digest; a file that is refused has the name of the error's class."""
    found = {str(fixture): (fixture_digest, fixture) for fixture in fixtures.all_fixtures()}
    for path in sorted(Path(folder).rglob("*")) if folder else []:
        if path.suffix in (".h5", ".keras", ".hdf5") and path.with_suffix(".npz").exists():
            found[str(path.relative_to(folder))] = (file_digest, path)
    results = {}
    for name, (compute, what) in sorted(found.items()):
        try:
            results[name] = compute(what)
        except ValueError as error:
            results[name] = type(error).__name__
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", action="store_true", help="print a line for every file too")
    parser.add_argument(
        "--models", metavar="FOLDER", help="a folder of further model files with .npz beside them"
    )
    options = parser.parse_args()
    results = digests(options.models)
    lines = [f"{digest}  {name}" for name, digest in results.items()]
    if options.each:
        print("\n".join(lines))
    total = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    print(f"{total}  {len(lines)} files, {unrolled.isa()}, {Path(unrolled.__file__).parent}", file=sys.stdout)


if __name__ == "__main__":
    main()
