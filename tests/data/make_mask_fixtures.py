# SPDX-License-Identifier: MIT
"""Write the attention fixtures with many versions of Keras: ``python -m tests.data.make_mask_fixtures FOLDER``.

Installs every version of ``VERSIONS`` into ``FOLDER/VERSION`` with pip (``--no-deps``: TensorFlow and the rest
come from the environment, extra ``oracle``) and writes ``attention_masks.tar.xz``: ``VERSION-CASE.keras``, a
model with attention over masked tensors, and ``VERSION-CASE.npz``: ``x*``, and ``y*``, which the same version
computes after loading that file. A case that a version cannot compute or read back is left out there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ARCHIVE = HERE / "attention_masks.tar.xz"
# The ends of every range in which attention treats masks, or a file holds them, in the same way.
VERSIONS = (
    "3.0.0", "3.0.5", "3.3.3", "3.4.1", "3.6.0", "3.7.0", "3.8.0", "3.9.2", "3.10.0", "3.11.3", "3.12.0", "3.13.0", "3.15.1",
)  # fmt: skip
IDS = np.array([[1, 2, 3, 0, 0], [0, 0, 4, 5, 6], [1, 2, 3, 4, 5], [7, 0, 2, 0, 1]], np.int32)
OTHER_IDS = np.array([[1, 0, 3, 0], [0, 5, 4, 5], [1, 2, 3, 4], [7, 0, 0, 0]], np.int32)
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], bool)
OTHER_MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0]], bool)
CASES = {}


def case(function):
    """``function(keras, layers)`` gives inputs, outputs and the arrays for the inputs."""
    CASES[function.__name__] = function
    return function


def embedded(layers, timesteps=5):
    ids = layers.Input((timesteps,), dtype="int32")
    return ids, layers.Embedding(8, 4, mask_zero=True)(ids)


def multi(layers, **options):
    return layers.MultiHeadAttention(2, 3, **options)


def mean(layers, x):
    """The mean over the timesteps that the mask of ``x`` leaves."""
    return layers.GlobalAveragePooling1D()(x)


def mask_input(layers, timesteps=5):
    return layers.Input((timesteps,), dtype="bool")


@case
def transformer_blocks(keras, layers):
    ids, x = embedded(layers)
    for _ in range(2):
        attended = layers.Dropout(0.1)(multi(layers)(x, x))
        x = layers.LayerNormalization()(layers.Add()([attended, x]))
    return ids, layers.Dense(2, activation="softmax")(mean(layers, x)), [IDS]


@case
def attention_of_attention(keras, layers):
    ids, x = embedded(layers)
    first = multi(layers)(x, x)
    second = multi(layers, dropout=0.1)(first, x)
    return ids, mean(layers, multi(layers)(second, first, x)), [IDS]


@case
def two_attentions_on_one_tensor(keras, layers):
    ids, x = embedded(layers)
    return ids, [multi(layers)(x, x), multi(layers)(x, x)], [IDS]


@case
def attention_and_a_deeper_one_on_one_tensor(keras, layers):
    ids, x = embedded(layers)
    dense = layers.Dense(4)(layers.Dense(4)(x))
    first, second = multi(layers)(dense, x), multi(layers)(x, x)
    return ids, [mean(layers, first), mean(layers, second), mean(layers, dense)], [IDS]


@case
def attention_beside_other_users_of_the_mask(keras, layers):
    ids, x = embedded(layers)
    states = layers.LSTM(3)(x)
    attended = multi(layers)(x, x)
    dropped = layers.Dropout(0.2)(x)
    second = multi(layers)(dropped, dropped)
    return ids, [mean(layers, attended), mean(layers, x), states, mean(layers, second)], [IDS]


@case
def attention_across_both_ways(keras, layers):
    ids, x = embedded(layers)
    others, y = embedded(layers, 4)
    there, back = multi(layers)(x, y), multi(layers)(query=y, value=x)
    return [ids, others], [mean(layers, there), mean(layers, back)], [IDS, OTHER_IDS]


@case
def query_value_and_key_with_masks_of_their_own(keras, layers):
    ids, x = embedded(layers)
    others, y = embedded(layers, 4)
    more, z = embedded(layers, 4)
    return [ids, others, more], mean(layers, multi(layers)(x, y, z)), [IDS, OTHER_IDS, OTHER_IDS[::-1]]


@case
def encoder_and_decoder(keras, layers):
    ids, x = embedded(layers)
    others, y = embedded(layers, 4)
    encoded = layers.LayerNormalization()(layers.Add()([x, multi(layers)(x, x)]))
    decoded = multi(layers)(y, y, use_causal_mask=True)
    return [ids, others], mean(layers, multi(layers)(decoded, encoded)), [IDS, OTHER_IDS]


@case
def query_mask_given(keras, layers):
    ids, x = embedded(layers)
    mask = mask_input(layers)
    return [ids, mask], mean(layers, multi(layers)(x, x, query_mask=mask)), [IDS, MASK]


@case
def value_mask_given_beside_a_key(keras, layers):
    ids, x = embedded(layers)
    mask = mask_input(layers)
    return [ids, mask], mean(layers, multi(layers)(x, x, x, value_mask=mask)), [IDS, MASK]


@case
def all_masks_given(keras, layers):
    ids, x = embedded(layers)
    others, y = embedded(layers, 4)
    masks = [mask_input(layers), mask_input(layers, 4), mask_input(layers, 4)]
    given = dict(zip(("query_mask", "value_mask", "key_mask"), masks, strict=True))
    attended = multi(layers)(x, y, layers.Dense(4)(y), **given)
    return [ids, others, *masks], mean(layers, attended), [IDS, OTHER_IDS, MASK, OTHER_MASK, OTHER_MASK[::-1]]


@case
def masks_given_twice_for_one_tensor(keras, layers):
    ids, x = embedded(layers)
    mask = mask_input(layers)
    attended = [multi(layers)(x, x, query_mask=mask, value_mask=mask) for _ in range(2)]
    return [ids, mask], [mean(layers, y) for y in attended], [IDS, MASK]


@case
def attention_mask_beside_those_of_the_tensor(keras, layers):
    ids, x = embedded(layers)
    mask = layers.Input((5, 5), dtype="bool")
    lower = np.broadcast_to(np.tril(np.ones((5, 5), bool)), (4, 5, 5))
    return [ids, mask], mean(layers, multi(layers)(x, x, attention_mask=mask)), [IDS, lower]


@case
def attention_inside_a_nested_model(keras, layers):
    inside = layers.Input((5, 4))
    inner = keras.Model(inside, layers.LayerNormalization()(multi(layers)(inside, inside)))
    ids, x = embedded(layers)
    return ids, [mean(layers, inner(x)), mean(layers, multi(layers)(x, x)), mean(layers, x)], [IDS]


def dot_attention_cases(name):
    def across(keras, layers):
        ids, x = embedded(layers)
        others, y = embedded(layers, 4)
        attended = getattr(layers, name)()([x, y], use_causal_mask=True)
        return [ids, others], mean(layers, attended), [IDS, OTHER_IDS]

    def query_mask_given(keras, layers):
        ids, x = embedded(layers)
        mask = mask_input(layers)
        attended = getattr(layers, name)()([x, x], mask=[mask, None])
        return [ids, mask], mean(layers, attended), [IDS, MASK]

    def value_mask_given(keras, layers):
        ids, x = embedded(layers)
        mask = mask_input(layers)
        attended = getattr(layers, name)()([x, x], mask=[None, mask], use_causal_mask=True)
        return [ids, mask], mean(layers, attended), [IDS, MASK]

    def beside_multi_head_attention(keras, layers):
        ids, x = embedded(layers)
        attended = getattr(layers, name)()([x, x], use_causal_mask=True)
        return ids, [mean(layers, attended), mean(layers, multi(layers)(x, x))], [IDS]

    for function in (across, query_mask_given, value_mask_given, beside_multi_head_attention):
        CASES[f"{name}_{function.__name__}"] = function


dot_attention_cases("Attention")
dot_attention_cases("AdditiveAttention")


def write_version(folder):
    """Run with one version of Keras on the path."""
    import keras

    for name, function in CASES.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        keras.backend.clear_session()
        file = folder / f"{keras.__version__}-{name}.keras"
        try:
            inputs, outputs, x = function(keras, keras.layers)
            model = keras.Model(inputs, outputs)
            model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
            model.save(file)
            y = keras.models.load_model(file).predict(x if len(x) > 1 else x[0], verbose=0)
        except Exception as error:
            print(
                f"{keras.__version__}, {name}: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
            )
            file.unlink(missing_ok=True)
            continue
        arrays = {f"x{i}": array for i, array in enumerate(x)}
        arrays |= {f"y{i}": array for i, array in enumerate(y if isinstance(y, list) else [y])}
        np.savez(file.with_suffix(".npz"), **arrays)


def install(version, target):
    if target.exists():
        return
    needs = ["dm-tree", "wrapt", "attrs"] if version < "3.3" and version[3] == "." else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, f"keras=={version}", *needs], check=True)


def main():
    from tests.data.make_fixtures import write_archive

    versions = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        for version in VERSIONS:
            install(version, versions / version)
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(versions / version), os.environ.get("PYTHONPATH", "")]),
                "KERAS_BACKEND": "tensorflow",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            }
            command = [sys.executable, str(Path(__file__).resolve()), "--write", scratch]
            subprocess.run(command, env=environment, check=True)
        write_archive(ARCHIVE, Path(scratch))


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write_version(Path(sys.argv[2]))
    else:
        main()
