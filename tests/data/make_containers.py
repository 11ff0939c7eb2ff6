# SPDX-License-Identifier: MIT
"""Write models in the containers other than `.keras` and `.h5`: ``python -m tests.data.make_containers``.

Needs the extra ``oracle`` (keras, tensorflow, tf_keras), h5py and joblib. Writes ``containers.tar.xz``: folders and files
as tf_keras and Keras 3 write them (SavedModel folders, checkpoints, ``export()``, pickles), TensorFlow.js models laid
out by this script as the converter and TensorFlow.js lay them out, and beside each model ``NAME.npz`` with inputs
``x0`` ... and the outputs ``y0`` ... that Keras computes. ``index.json`` says what to load and from what.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np

from tests.data.make_fixtures import write_archive

HERE = Path(__file__).resolve().parent
ARCHIVE = HERE / "containers.tar.xz"


# ---------------------------------------------------------------------- models


def masked_bigru(keras):
    layers = keras.layers
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True)(x)
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True))(y)
    y = layers.Bidirectional(layers.GRU(2), merge_mode="sum")(y)
    return keras.Model(x, layers.Dense(2, activation="tanh")(y))


def stacked_cells(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True),
            layers.TimeDistributed(layers.Dense(2)),
        ]
    )


def nested(keras):
    layers = keras.layers
    inner = keras.Sequential([keras.Input((5, 3)), layers.LSTM(4), layers.Dense(2)], name="inner")
    a, b = keras.Input((5, 3), name="a"), keras.Input((3,), name="b")
    shared = layers.Dense(2, name="shared")
    y = layers.Concatenate()([inner(a), shared(b)])
    return keras.Model([a, b], [layers.Dense(1, name="one")(y), shared(layers.Dense(3, name="three")(y))])


def normalised(keras):
    layers = keras.layers
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(3).normal(2, 3, (40, 6, 3)).astype("float32"))
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            norm,
            layers.Conv1D(4, 3, padding="causal"),
            layers.BatchNormalization(),
            layers.PReLU(shared_axes=[1]),
            layers.SeparableConv1D(3, 2),
            layers.LayerNormalization(),
            layers.SimpleRNN(3),
        ]
    )


def plain_lstm(keras):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((4, 3)), layers.LSTM(3, recurrent_activation="hard_sigmoid"), layers.Dense(2)]
    )


MODELS = [masked_bigru, stacked_cells, nested, normalised, plain_lstm]


def filled(keras, make):
    """A model with weights of its own, and its inputs."""
    keras.backend.clear_session()
    model = make(keras)
    rng = np.random.default_rng(zlib.crc32(make.__name__.encode()))
    weights = model.get_weights()
    kept = {"normalised": 3}.get(make.__name__, 0)  # what adapt computed
    fresh = [
        np.abs(rng.normal(0.6, 0.2, w.shape)).astype(w.dtype)
        if "variance" in v.name
        else rng.normal(0, 0.5, w.shape).astype(w.dtype)
        for w, v in zip(weights, model.weights, strict=True)
    ]
    model.set_weights(weights[:kept] + fresh[kept:])
    inputs = [
        rng.integers(0, 9, (3, *t.shape[1:])).astype("int32")
        if "int" in str(t.dtype)
        else rng.normal(size=(3, *t.shape[1:])).astype("float32")
        for t in model.inputs
    ]
    if make is masked_bigru:
        inputs[0][0, 4:] = 0
        inputs[0][1, :] = 0
    return model, inputs


# --------------------------------------------------------------- TensorFlow.js


def write_tfjs(folder, topology, weights, *, shard=1 << 22, quantized=None, by_layer=False, generated=None):
    """A layers model as tensorflowjs 4.22 write_weights.py lays it out."""
    folder.mkdir()
    groups = {}
    for name, array in weights:
        groups.setdefault(name.split("/")[0] if by_layer else "", []).append((name, np.asarray(array)))
    manifest = []
    for number, group in enumerate(groups.values(), 1):
        data, entries = b"", []
        for name, array in group:
            if array.dtype == np.int64:
                array = array.astype("int32")  # as the converter does
            entry = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
            if quantized == "float16":
                array = array.astype("float16")
                entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            elif quantized:
                low, high = float(array.min()), float(array.max())
                scale = (high - low) / (255 if quantized == "uint8" else 65535) or 1.0
                entry["quantization"] = {
                    "dtype": quantized,
                    "min": low,
                    "scale": scale,
                    "original_dtype": "float32",
                }
                array = np.round((array - low) / scale).astype(quantized)
            data += array.tobytes()
            entries.append(entry)
        parts = [data[start : start + shard] for start in range(0, len(data), shard)] or [b""]
        paths = [f"group{number}-shard{i}of{len(parts)}.bin" for i in range(1, len(parts) + 1)]
        for path, part in zip(paths, parts, strict=True):
            (folder / path).write_bytes(part)
        manifest.append({"paths": paths, "weights": entries})
    document = {"format": "layers-model", "modelTopology": topology, "weightsManifest": manifest}
    document |= {"generatedBy": generated, "convertedBy": "TensorFlow.js Converter v4.22.0"}
    (folder / "model.json").write_text(json.dumps(document))


def dequantized(model, weights, quantized):
    """Give the model what its quantised weights are read as."""
    found = []
    for _, array in weights:
        if quantized == "float16":
            found.append(array.astype("float16").astype("float32"))
            continue
        low, high = float(array.min()), float(array.max())
        scale = (high - low) / (255 if quantized == "uint8" else 65535) or 1.0
        found.append((np.round((array - low) / scale) * scale + low).astype("float32"))
    names = [name for name, _ in weights]
    model.set_weights([found[names.index(v.name.split(":")[0])] for v in model.weights])


def converter_weights(model):
    """Names and values as the converter takes them: layers by name, Keras's names."""
    found = []
    for layer in sorted(model.layers, key=lambda layer: layer.name):
        found += [(getattr(v, "path", v.name).split(":")[0], np.asarray(v)) for v in layer.weights]
    return list({name: (name, array) for name, array in found}.values())


def h5_config(model, folder):
    """The config that Keras writes into `.h5`, which the converter takes."""
    import h5py

    path = folder / "temporary.h5"
    model.save(path)
    with h5py.File(path, "r") as file:
        config = json.loads(file.attrs["model_config"])
    path.unlink()
    return config


def javascript_topology(model):
    """The config of ``plain_lstm`` as TensorFlow.js writes it."""
    lstm, dense = (layer for layer in model.layers if layer.weights)
    keep = (
        "units",
        "activation",
        "recurrent_activation",
        "use_bias",
        "return_sequences",
        "go_backwards",
        "stateful",
        "unroll",
    )
    first = {key: lstm.get_config()[key] for key in keep}
    first |= {
        "name": "lstm_LSTM1",
        "trainable": True,
        "batch_input_shape": [None, 4, 3],
        "unit_forget_bias": None,
        "dropout": 0,
    }
    second = {key: dense.get_config()[key] for key in ("units", "activation", "use_bias")} | {
        "name": "dense_Dense1",
        "trainable": True,
    }
    layers = [{"class_name": "LSTM", "config": first}, {"class_name": "Dense", "config": second}]
    return {
        "class_name": "Sequential",
        "config": {"name": "sequential_1", "layers": layers},
        "keras_version": "tfjs-layers 4.22.0",
        "backend": "tensor_flow.js",
    }


# --------------------------------------------------------------------- writing


class Writer:
    """Files of one folder and their index."""

    def __init__(self, folder):
        self.folder = folder
        self.index = []

    def reference(self, name, model, inputs):
        y = model.predict(inputs[0] if len(inputs) == 1 else inputs, verbose=0)
        outputs = y if isinstance(y, list) else [y]
        arrays = {f"x{i}": x for i, x in enumerate(inputs)} | {f"y{i}": y for i, y in enumerate(outputs)}
        np.savez(self.folder / f"{name}.npz", **arrays)

    def add(self, kind, path, reference, weights=None, refused=None):
        self.index.append(
            {"kind": kind, "path": path, "weights": weights, "reference": reference, "refused": refused}
        )


def write_tf_keras(writer):
    import tf_keras as keras

    folder = writer.folder
    for make in MODELS:
        name = make.__name__
        model, inputs = filled(keras, make)
        writer.reference(name, model, inputs)
        model.save(folder / f"{name}_saved", save_format="tf", save_traces=False)
        writer.add("savedmodel", f"{name}_saved", name)
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}_checkpoint" / "cp.ckpt", save_format="tf")
        writer.add("checkpoint", f"{name}.json", name, f"{name}_checkpoint/cp.ckpt")
        writer.add("checkpoint", f"{name}.json", name, f"{name}_checkpoint")
        topology = {
            "keras_version": keras.__version__,
            "backend": "tensorflow",
            "model_config": h5_config(model, folder),
        }
        written = f"keras v{keras.__version__}"
        weights = converter_weights(model)
        write_tfjs(folder / f"{name}_tfjs", topology, weights, generated=written)
        writer.add("tfjs", f"{name}_tfjs/model.json", name)
        writer.add("tfjs", f"{name}_tfjs", name)
        if make is not plain_lstm:
            continue
        write_containers_of_one(writer, keras, model, inputs, topology, written)


def write_containers_of_one(writer, keras, model, inputs, topology, written):
    """Forms of a container that one model shows."""
    import joblib
    import tensorflow as tf

    folder, name = writer.folder, "plain_lstm"
    weights = converter_weights(model)
    write_tfjs(folder / "shards_tfjs", topology, weights, shard=100, generated=written)
    writer.add("tfjs", "shards_tfjs/model.json", name)
    write_tfjs(folder / "groups_tfjs", topology, weights, by_layer=True, generated=written)
    writer.add("tfjs", "groups_tfjs/model.json", name)
    named = [
        (
            v.name.split(":")[0].replace("lstm/lstm_cell", "lstm_LSTM1").replace("dense/", "dense_Dense1/"),
            v.numpy(),
        )
        for v in model.weights
    ]
    write_tfjs(
        folder / "javascript_tfjs",
        javascript_topology(model),
        named,
        generated="TensorFlow.js tfjs-layers v4.22.0",
    )
    writer.add("tfjs", "javascript_tfjs/model.json", name)
    tf.train.Checkpoint(model=model, step=tf.Variable(3)).write(folder / "wrapped_checkpoint" / "ckpt")
    writer.add("checkpoint", "plain_lstm.json", name, "wrapped_checkpoint/ckpt")
    model.export(folder / "exported_saved")
    writer.add("exported", "plain_lstm.json", name, "exported_saved")
    writer.add("savedmodel", "exported_saved", None, refused="export")
    for protocol in (2, 4):
        (folder / f"protocol{protocol}.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
        writer.add("pickle", f"protocol{protocol}.pkl", name)
    (folder / "inside.pkl").write_bytes(pickle.dumps({"model": model, "window": 24, "mean": 1.5}))
    writer.add("pickle", "inside.pkl", name)
    joblib.dump(model, folder / "model.joblib", compress=("zlib", 3))
    writer.add("pickle", "model.joblib", name)
    members = io.BytesIO()
    with tarfile.open(fileobj=members, mode="w") as archive:
        archive.add(folder / "plain_lstm_saved", arcname=".")
    # As tf.keras 2.7 to 2.11 did: the bytes of a tar archive.
    (folder / "saved.pkl").write_bytes(pickle.dumps((members.getvalue(),)))
    writer.add("pickle", "saved.pkl", name)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.lstm, self.dense = keras.layers.LSTM(2), keras.layers.Dense(1)

        def call(self, x):
            return self.dense(self.lstm(x))

    own = Own()
    own.predict(inputs[0], verbose=0)
    own.save(folder / "subclassed_saved", save_format="tf", save_traces=False)
    writer.add("savedmodel", "subclassed_saved", None, refused="subclass")
    own.save_weights(folder / "subclassed_checkpoint" / "cp.ckpt", save_format="tf")
    writer.add("checkpoint", "subclassed_checkpoint/cp.ckpt", None, refused="architecture")
    writer.add("checkpoint", "plain_lstm_checkpoint/cp.ckpt", None, refused="architecture")
    writer.add(
        "checkpoint",
        "stacked_cells.json",
        None,
        "plain_lstm_checkpoint/cp.ckpt",
        refused="expected shape|has no",
    )
    for quantized in ("uint8", "uint16", "float16"):
        write_tfjs(folder / f"{quantized}_tfjs", topology, weights, quantized=quantized, generated=written)
        dequantized(model, weights, quantized)
        writer.reference(quantized, model, inputs)
        writer.add("tfjs", f"{quantized}_tfjs/model.json", quantized)
        model.set_weights([dict(weights)[v.name.split(":")[0]] for v in model.weights])


def write_keras_3(writer):
    import h5py
    import keras

    folder = writer.folder
    for make in MODELS:
        model, inputs = filled(keras, make)
        name = f"{make.__name__}_3"
        writer.reference(name, model, inputs)
        topology = {
            "keras_version": keras.__version__,
            "backend": "tensorflow",
            "model_config": h5_config(model, folder),
        }
        write_tfjs(
            folder / f"{name}_tfjs",
            topology,
            converter_weights(model),
            generated=f"keras v{keras.__version__}",
        )
        writer.add("tfjs", f"{name}_tfjs/model.json", name)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))
        writer.add("pickle", f"{name}.pkl", name)
        if make not in (plain_lstm, masked_bigru):
            continue
        (folder / f"{name}.json").write_text(model.to_json())
        model.export(folder / f"{name}_exported", verbose=False)
        writer.add("exported", f"{name}.json", name, f"{name}_exported")
        model.save_weights(folder / "temporary.weights.h5")
        paths = []
        with h5py.File(folder / "temporary.weights.h5") as file:
            file.visit(paths.append)
            tree = [(path, file[path][()]) for path in paths if isinstance(file[path], h5py.Dataset)]
        (folder / "temporary.weights.h5").unlink()
        weights = [(path, array) for path, array in tree if path.startswith("layers/")]
        write_tfjs(folder / f"{name}_tree_tfjs", topology, weights, generated=f"keras v{keras.__version__}")
        writer.add("tfjs", f"{name}_tree_tfjs/model.json", name)


def main():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with tempfile.TemporaryDirectory() as name:
        writer = Writer(Path(name))
        write_tf_keras(writer)
        write_keras_3(writer)
        for path in writer.folder.rglob("fingerprint.pb"):
            path.unlink()
        (writer.folder / "index.json").write_text(json.dumps(writer.index, indent=1))
        write_archive(ARCHIVE, writer.folder)
    print(f"{ARCHIVE.name}: {len(writer.index)} models, {ARCHIVE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
