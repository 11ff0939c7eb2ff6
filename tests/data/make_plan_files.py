# SPDX-License-Identifier: MIT
"""Writes plan files of this version, with what they predict: ``python -m tests.data.make_plan_files``.

Run once for every version of the format: what is there already is kept for ever, as later versions must open it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("plan_files")
# Together they have every kind of argument.
NAMES = (
    "lstm",
    "gru",
    "embedding",
    "conv_lstm",
    "masked_lstm",
    "causal_convolutions",
    "branches",
    "global_average",
)


def stored():
    """All plan files that are kept."""
    return sorted(FOLDER.glob("*.unrolled"))


def main():
    from tests.streaming import causal_models

    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        model = causal_models.make(name)
        pending = FOLDER / "pending"
        model.export(pending)
        version = pending.read_bytes()[12]
        path = FOLDER / f"v{version}_{name}.unrolled"
        if path.exists():
            pending.unlink()
            continue
        pending.rename(path)
        x = causal_models.sequences(model, 3, 6)
        np.savez(
            path.with_suffix(".npz"), x=x, y=model.predict(x, verbose=0), y_stream=model.stream(3).run(x)
        )


if __name__ == "__main__":
    main()
