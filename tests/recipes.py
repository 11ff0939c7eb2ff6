# SPDX-License-Identifier: MIT
"""Models as plain data: one recipe builds the same model in Keras 3, tf_keras and unrolled.

A layer recipe is a dict: ``class`` names the Keras class, every other key is an argument of its
constructor; a dict with ``class`` among the arguments is a layer itself. A model recipe is a dict with
``layers`` (a chain of layer recipes), ``input_shape`` (batch axis left out), and optionally ``batch_size``,
``input_dtype`` and ``kind``, "sequential" (the default), "functional", or "deferred".
"""

from __future__ import annotations

import numpy as np

RECURRENT = ("SimpleRNN", "LSTM", "GRU")


def build_layer(layers, recipe):
    """Make the layer from the module ``layers`` (``keras.layers`` or any look-alike)."""
    arguments = {key: _value(layers, value) for key, value in recipe.items() if key != "class"}
    return getattr(layers, recipe["class"])(**arguments)


def _value(layers, value):
    return build_layer(layers, value) if is_layer(value) else value


def is_layer(value):
    return isinstance(value, dict) and "class" in value


def build_model(keras, recipe):
    """Make the model with ``keras``: keras, tf_keras or unrolled."""
    layers = [build_layer(keras.layers, layer) for layer in recipe["layers"]]
    kind = recipe.get("kind", "sequential")
    shape = tuple(recipe["input_shape"])
    if kind == "deferred":
        model = keras.Sequential(layers)
        model.build((recipe.get("batch_size"), *shape))
        return model
    entry = keras.Input(
        shape=shape, batch_size=recipe.get("batch_size"), dtype=recipe.get("input_dtype", "float32")
    )
    if kind == "sequential":
        return keras.Sequential([entry, *layers])
    tensor = entry
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(entry, tensor)


def randomize_weights(model, rng):
    """Give every weight a random value of a size that keeps activations of order 1.

    Fresh Keras weights hide mistakes: biases are 0, scales 1, means 0.
    """
    for layer in model.layers:
        values = [_random_weight(variable, rng) for variable in layer.weights]
        if values:
            layer.set_weights(values)
        inner = getattr(layer, "layer", layer)
        if hasattr(inner, "finalize_state"):  # Normalization computes with copies of its weights
            inner.finalize_state()


def _random_weight(variable, rng):
    shape = tuple(variable.shape)
    name = getattr(variable, "path", variable.name)
    if "count" in name:
        return variable.numpy()
    if "variance" in name:
        value = rng.uniform(0.5, 2, shape)
    elif "gamma" in name:
        value = 1 + 0.3 * rng.standard_normal(shape)
    elif "embeddings" in name:
        value = rng.standard_normal(shape)
    elif "bias" not in name and len(shape) >= 2:
        fan_in = int(np.prod(shape[:-1]))
        value = 1.2 * rng.standard_normal(shape) / np.sqrt(fan_in)
    else:
        value = 0.4 * rng.standard_normal(shape)
    return value.astype(np.float32)


def padding_patterns(batch, timesteps, rng):
    """A mask [batch, timesteps] with rows in turn whole, right, left, scattered and fully masked."""
    mask = np.ones((batch, timesteps), bool)
    for row in range(batch):
        cut = int(rng.integers(1, max(timesteps, 2)))
        kind = row % 5
        if kind == 1:
            mask[row, cut:] = False
        elif kind == 2:
            mask[row, : timesteps - cut] = False
        elif kind == 3:
            mask[row] = rng.random(timesteps) < 0.5
        elif kind == 4:
            mask[row] = False
    return mask


def random_input(recipe, rng, batch=None):
    """An input for the model; steps are padded where its first layer makes a mask."""
    first = recipe["layers"][0]
    batch = batch or recipe.get("batch_size") or 5
    shape = (batch, *recipe["input_shape"])
    if first["class"] == "TimeDistributed":
        first = first["layer"]
    if first["class"] == "Embedding":
        ids = rng.integers(1, first["input_dim"], shape)
        if first.get("mask_zero"):
            rows = int(np.prod(shape[:-1]))
            ids = np.where(padding_patterns(rows, shape[-1], rng).reshape(shape), ids, 0)
        return ids.astype(recipe.get("input_dtype", "int32"))
    x = rng.standard_normal(shape).astype(np.float32)
    if first["class"] == "Masking":
        rows = int(np.prod(shape[:-2]))
        mask = padding_patterns(rows, shape[-2], rng).reshape(shape[:-1])
        x[~mask] = first.get("mask_value", 0.0)
    return x


def source_of(recipe, module="keras"):
    """Python code that builds the model of a recipe, for bug reports."""
    shape, batch = tuple(recipe["input_shape"]), recipe.get("batch_size")
    dtype = recipe.get("input_dtype", "float32")
    entry = f"{module}.Input(shape={shape!r}, batch_size={batch!r}, dtype={dtype!r})"
    layers = [source_of_layer(layer, module) for layer in recipe["layers"]]
    kind = recipe.get("kind", "sequential")
    if kind == "functional":
        lines = [f"x = entry = {entry}"] + [f"x = {layer}(x)" for layer in layers]
        return "\n".join([*lines, f"model = {module}.Model(entry, x)"])
    if kind == "deferred":
        body = ", ".join(layers)
        return f"model = {module}.Sequential([{body}])\nmodel.build({(batch, *shape)!r})"
    body = "".join(f"    {line},\n" for line in [entry, *layers])
    return f"model = {module}.Sequential([\n{body}])"


def source_of_layer(recipe, module="keras"):
    arguments = ", ".join(
        f"{key}={source_of_layer(value, module) if is_layer(value) else repr(value)}"
        for key, value in recipe.items()
        if key != "class"
    )
    return f"{module}.layers.{recipe['class']}({arguments})"
