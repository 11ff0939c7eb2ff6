# SPDX-License-Identifier: MIT
"""Save workloads as .keras files with Keras: ``python -m bench.save_models NAME...``; run.py calls it."""

from __future__ import annotations

import sys

from bench import paths
from bench.peers._keras import build
from bench.workloads import ALL, stored_weights


def main(names: list[str]) -> None:
    for name in names:
        workload = ALL[name]
        model = build(workload, stored_weights(workload, paths.MODELS))
        path = paths.MODELS / f"{workload.key}.keras"
        temporary = path.with_name(f"partial-{path.name}")
        model.save(temporary)
        temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
