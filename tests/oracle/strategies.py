# SPDX-License-Identifier: MIT
"""Random model recipes (``tests/recipes.py``): chains of layers with all options, valid in Keras."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from hypothesis import strategies as st

BOUNDED = ("tanh", "sigmoid", "hard_sigmoid", "softsign", "softmax")
UNBOUNDED = ("linear", "relu", "elu", "selu", "swish", "gelu", "softplus", "mish")
KERAS_3_ONLY = (
    "relu6", "leaky_relu", "silu", "log_softmax", "celu", "squareplus", "hard_silu", "hard_tanh",
    "tanh_shrink", "soft_shrink", "sparse_plus", "sparse_sigmoid", "log_sigmoid",
)  # fmt: skip
# Gates outside of [0, 1] make the recurrence chaotic: rounding grows without limit. Fixtures have them.
GATES = ("sigmoid", "hard_sigmoid", "softmax")
MAX_TIMESTEPS, MAX_FEATURES, MAX_UNITS = 9, 6, 17


@dataclass(frozen=True)
class Flow:
    """What a layer of the chain gets: its shape without the batch axis, and whether a mask comes with it."""

    shape: tuple[int, ...]
    masked: bool = False


def flags(*names):
    """Some of the boolean options, True where present."""
    return st.sets(st.sampled_from(names)).map(lambda chosen: dict.fromkeys(sorted(chosen), True))


def activations(keras):
    return st.sampled_from(BOUNDED + UNBOUNDED + (KERAS_3_ONLY if keras == "keras" else ()))


@st.composite
def cells(draw, keras, *, masked, last):
    """SimpleRNN, LSTM or GRU with all options that a chain may hold."""
    recipe = {"class": draw(st.sampled_from(("SimpleRNN", "LSTM", "GRU")))}
    recipe["units"] = draw(st.integers(1, MAX_UNITS))
    recipe |= draw(flags("return_sequences", "go_backwards", "unroll", "zero_output_for_mask"))
    if draw(st.integers(0, 3)) == 0:
        recipe["use_bias"] = False
    if draw(st.integers(0, 2)) == 0:
        recipe["activation"] = draw(activations(keras))
    if recipe["class"] != "SimpleRNN" and draw(st.integers(0, 2)) == 0:
        recipe["recurrent_activation"] = draw(st.sampled_from(GATES))
    if recipe["class"] == "GRU":
        recipe["reset_after"] = draw(st.booleans())
    if masked and recipe.get("unroll") and not recipe.get("return_sequences"):
        # Keras itself fails on the combination: its mask has more timesteps than the output.
        recipe.pop("zero_output_for_mask", None)
    if last and draw(st.booleans()):
        recipe["return_state"] = True
    if draw(st.integers(0, 5)) == 0:
        recipe["dropout"] = 0.25
    return recipe


def recurrent_output(recipe, flow):
    if recipe.get("return_sequences"):
        return Flow((flow.shape[0], recipe["units"]), flow.masked)
    return Flow((recipe["units"],))


@st.composite
def bidirectional(draw, keras, *, masked, last):
    forward = draw(cells(keras, masked=masked, last=last))
    forward.pop("go_backwards", None)
    recipe = {"class": "Bidirectional", "layer": forward}
    modes = ("concat", "sum", "mul", "ave", None) if last else ("concat", "sum", "mul", "ave")
    recipe["merge_mode"] = draw(st.sampled_from(modes))
    if draw(st.integers(0, 3)) == 0:
        backward = draw(cells(keras, masked=masked, last=False)) | {"units": forward["units"]}
        for key in ("return_sequences", "return_state"):
            backward.pop(key, None)
            if forward.get(key):
                backward[key] = True
        if forward.get("return_state") and (forward["class"] == "LSTM") != (backward["class"] == "LSTM"):
            # Keras takes both for as many states as the forward layer has, and fails.
            backward = {key: forward[key] for key in ("class", "units", "return_sequences", "return_state") if key in forward}  # fmt: skip
        if backward.get("unroll") and not backward.get("return_sequences"):
            backward.pop("zero_output_for_mask", None)
        recipe["backward_layer"] = backward | {"go_backwards": True}
    return recipe


def bidirectional_output(recipe, flow):
    inner = recurrent_output(recipe["layer"], flow)
    width = inner.shape[-1] * (2 if recipe["merge_mode"] == "concat" else 1)
    return replace(inner, shape=(*inner.shape[:-1], width))


@st.composite
def dense(draw, keras):
    recipe = {"class": "Dense", "units": draw(st.integers(1, MAX_UNITS))}
    if draw(st.booleans()):
        recipe["activation"] = draw(activations(keras))
    if draw(st.integers(0, 3)) == 0:
        recipe["use_bias"] = False
    return recipe


@st.composite
def conv1d(draw, keras, shape):
    timesteps, channels = shape
    padding = draw(st.sampled_from(("valid", "same", "causal")))
    strides = draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)) if strides == 1 else 1
    largest = timesteps if padding != "valid" else (timesteps - 1) // dilation + 1
    size = draw(st.integers(1, min(4, largest)))
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    recipe = {
        "class": "Conv1D",
        "filters": groups * draw(st.integers(1, 4)),
        "kernel_size": size,
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilation,
    }
    if groups > 1:
        recipe["groups"] = groups
    if draw(st.booleans()):
        recipe["activation"] = draw(activations(keras))
    if draw(st.integers(0, 3)) == 0:
        recipe["use_bias"] = False
    return recipe


@st.composite
def pooling(draw, shape):
    padding = draw(st.sampled_from(("valid", "same")))
    size = draw(st.integers(1, min(4, shape[0]) if padding == "valid" else 4))
    recipe = {
        "class": draw(st.sampled_from(("MaxPooling1D", "AveragePooling1D"))),
        "pool_size": size,
        "padding": padding,
    }
    if draw(st.booleans()):
        recipe["strides"] = draw(st.integers(1, 3))
    return recipe


def windows(recipe, timesteps, size, strides, dilation=1):
    if recipe["padding"] == "valid":
        return (timesteps - (size - 1) * dilation - 1) // strides + 1
    return -(-timesteps // strides)


def elementwise_layers(keras, axis):
    """Class to a strategy for the arguments of layers that keep the shape."""
    fraction = st.sampled_from((0.1, 0.25, 0.5, 0.75))
    axes = st.sampled_from((axis, -1))
    scaling = st.sampled_from(({}, {"scale": False}, {"center": False}))
    slope = "negative_slope" if keras == "keras" else "alpha"
    normalized = st.fixed_dictionaries({"epsilon": fraction, "axis": axes})
    given = st.fixed_dictionaries({"mean": fraction, "variance": fraction, "axis": st.none()})
    relu_options = dict.fromkeys(("max_value", "negative_slope", "threshold"), fraction)
    return {
        "Activation": st.fixed_dictionaries({"activation": activations(keras)}),
        "BatchNormalization": st.builds(dict.__or__, normalized, scaling),
        "LayerNormalization": st.builds(dict.__or__, normalized, scaling),
        "Normalization": st.just({}) | given,
        "Rescaling": st.fixed_dictionaries({"scale": fraction, "offset": fraction}),
        "ReLU": st.fixed_dictionaries({}, optional=relu_options),
        "LeakyReLU": st.fixed_dictionaries({slope: fraction}),
        "ELU": st.fixed_dictionaries({"alpha": fraction}),
        "PReLU": st.sampled_from(({}, {"shared_axes": [1]})),
        "Softmax": st.fixed_dictionaries({"axis": axes}),
        "Dropout": st.just({"rate": 0.5}),
        "SpatialDropout1D": st.just({"rate": 0.5}),
        "GaussianDropout": st.just({"rate": 0.5}),
        "GaussianNoise": st.just({"stddev": 0.5}),
    }


@st.composite
def elementwise(draw, keras, flow):
    """Layers that keep the shape."""
    choices = elementwise_layers(keras, draw(st.integers(1, len(flow.shape))))
    if flow.masked:  # Keras adds the mask to the input of Softmax, and fails on its shape
        del choices["Softmax"]
    if len(flow.shape) != 2:
        del choices["SpatialDropout1D"]
    name = draw(st.sampled_from(sorted(choices)))
    keeps = keras == "keras" or name not in ("Rescaling", "Normalization")
    return {"class": name} | draw(choices[name]), replace(flow, masked=flow.masked and keeps)


@st.composite
def reshaping(draw, flow):
    """Layers that change the shape and have no weights: all of them destroy the mask."""
    shape = flow.shape
    size = 1
    for n in shape:
        size *= n
    options = [
        ({"class": "Flatten"}, (size,)),
        ({"class": "Reshape", "target_shape": [size, 1]}, (size, 1)),
        ({"class": "Reshape", "target_shape": [-1, shape[-1]]}, (size // shape[-1], shape[-1])),
    ]
    if len(shape) == 1:
        n = draw(st.integers(1, 4))
        options.append(({"class": "RepeatVector", "n": n}, (n, *shape)))
    if len(shape) == 2:
        timesteps, features = shape
        before, after, times = draw(st.tuples(*[st.integers(0, 2)] * 2, st.integers(1, 3)))
        options += [
            ({"class": "Permute", "dims": [2, 1]}, (features, timesteps)),
            ({"class": "ZeroPadding1D", "padding": [before, after]}, (before + timesteps + after, features)),
            ({"class": "UpSampling1D", "size": times}, (timesteps * times, features)),
            ({"class": "GlobalMaxPooling1D"}, (features,)),
        ]
        if timesteps > before + after:
            options.append(
                ({"class": "Cropping1D", "cropping": [before, after]}, (timesteps - before - after, features))
            )
        if not flow.masked:  # of a fully masked row Keras makes NaN, which the rest of the chain hides
            options.append(({"class": "GlobalAveragePooling1D"}, (features,)))
    recipe, shape = draw(st.sampled_from(options))
    return recipe, Flow(shape)


@st.composite
def starts(draw, keras):
    """The first layer, if it makes a mask or takes ids or four axes; and what follows it gets."""
    timesteps = draw(st.integers(1, MAX_TIMESTEPS))
    features = draw(st.integers(1, MAX_FEATURES))
    kind = draw(st.sampled_from(("plain", "plain", "masking", "embedding", "rows", "time_distributed")))
    if kind == "masking":
        value = draw(st.sampled_from((0.0, -1.0, 0.1)))
        return (
            {"input_shape": [timesteps, features], "layers": [{"class": "Masking", "mask_value": value}]},
            Flow((timesteps, features), True),
        )
    if kind == "embedding":
        layer = {"class": "Embedding", "input_dim": draw(st.integers(2, 12)), "output_dim": features}
        mask = draw(st.booleans())
        dtype = draw(st.sampled_from(("int32", "float32")))
        recipe = {"input_shape": [timesteps], "input_dtype": dtype}
        return recipe | {"layers": [layer | {"mask_zero": mask}]}, Flow((timesteps, features), mask)
    if kind == "rows":
        return {"input_shape": [features], "layers": []}, Flow((features,))
    if kind == "time_distributed":
        inner, output = draw(layers(keras, Flow((timesteps, features)), last=False, inside=True))
        steps = draw(st.integers(1, 4))
        recipe = {"class": "TimeDistributed", "layer": inner}
        return {"input_shape": [steps, timesteps, features], "layers": [recipe]}, Flow((steps, *output.shape))
    return {"input_shape": [timesteps, features], "layers": []}, Flow((timesteps, features))


@st.composite
def layers(draw, keras, flow, *, last, inside=False):
    """Any layer that can follow, and what it gives."""
    kinds = ["dense", "elementwise"]
    if len(flow.shape) == 2:
        # Hypothesis prefers the first ones.
        kinds = (
            ["recurrent"] * 3
            + ["bidirectional"] * 2
            + ["elementwise"] * 2
            + ["conv1d", "pooling", "reshaping"]
        )
        kinds += ["dense"] if inside else ["dense", "time_distributed"]
    elif len(flow.shape) == 1:
        kinds += ["reshaping"]
    kind = draw(st.sampled_from(kinds))
    if kind == "recurrent":
        recipe = draw(cells(keras, masked=flow.masked, last=last))
        return recipe, recurrent_output(recipe, flow)
    if kind == "bidirectional":
        recipe = draw(bidirectional(keras, masked=flow.masked, last=last))
        return recipe, bidirectional_output(recipe, flow)
    if kind == "dense":
        recipe = draw(dense(keras))
        return recipe, replace(flow, shape=(*flow.shape[:-1], recipe["units"]))
    if kind == "time_distributed":
        recipe = draw(dense(keras))
        output = replace(flow, shape=(*flow.shape[:-1], recipe["units"]))
        return {"class": "TimeDistributed", "layer": recipe}, output
    if kind == "conv1d":
        recipe = draw(conv1d(keras, flow.shape))
        steps = windows(
            recipe, flow.shape[0], recipe["kernel_size"], recipe["strides"], recipe["dilation_rate"]
        )
        return recipe, Flow((steps, recipe["filters"]))
    if kind == "pooling":
        recipe = draw(pooling(flow.shape))
        steps = windows(
            recipe, flow.shape[0], recipe["pool_size"], recipe.get("strides", recipe["pool_size"])
        )
        return recipe, Flow((steps, flow.shape[1]))
    if kind == "reshaping":
        return draw(reshaping(flow))
    return draw(elementwise(keras, flow))


ANY_LENGTH = {
    "SimpleRNN", "LSTM", "GRU", "Bidirectional", "Dense", "Embedding", "Masking", "Dropout", "Activation",
    "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "ReLU", "LeakyReLU", "ELU", "Rescaling",
}  # fmt: skip


def takes_any_length(recipe):
    inner = [layer.get("layer", layer) for layer in recipe["layers"]]
    inner += [layer["backward_layer"] for layer in recipe["layers"] if "backward_layer" in layer]
    return all(layer["class"] in ANY_LENGTH and not layer.get("unroll") for layer in inner)


@st.composite
def models(draw, keras):
    """A model recipe with how it is stored, its batch size, and a seed for its numbers."""
    recipe, flow = draw(starts(keras))
    count = draw(st.integers(0 if recipe["layers"] else 1, 4))
    for position in range(count):
        layer, flow = draw(layers(keras, flow, last=position == count - 1))
        recipe["layers"].append(layer)
        if len(flow.shape) > 3 or max(flow.shape) > 200:
            break
    final = recipe["layers"][-1]
    inner = final.get("layer", final)
    several = inner.get("return_state") or (final["class"] == "Bidirectional" and final["merge_mode"] is None)
    recipe["kind"] = "functional" if several else draw(st.sampled_from(("sequential", "functional")))
    batch = draw(st.integers(1, 7))
    calls = 1
    recurrents = [layer for layer in recipe["layers"] if "units" in layer and layer["class"] != "Dense"]
    if recurrents and draw(st.integers(0, 4)) == 0:
        for layer in recurrents:
            layer["stateful"] = True
        recipe["batch_size"] = batch
        calls = 2
    length = recipe["input_shape"]
    free = length[:1] if len(length) > 1 or final_is_ids(recipe) else []
    if free and takes_any_length(recipe) and draw(st.booleans()):
        recipe["free_length"] = length[0]
        recipe["input_shape"] = [None, *length[1:]]
    return {
        "recipe": recipe,
        "batch": batch,
        "calls": calls,
        "format": draw(st.sampled_from(("keras", "h5"))),
        "seed": zlib.crc32(repr(recipe).encode()),
    }


def final_is_ids(recipe):
    return bool(recipe["layers"]) and recipe["layers"][0]["class"] == "Embedding"
