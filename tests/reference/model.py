# SPDX-License-Identifier: MIT
"""A chain of layer recipes (``tests/recipes.py``) in float64, masks carried as Keras carries them.

``semantics`` is "keras2" (Keras 2, tf.keras, tf_keras) or "keras3".
"""

from __future__ import annotations

import numpy as np

from tests.reference import activations, layers, recurrent
from tests.reference.bidirectional import bidirectional

CELLS = {"SimpleRNN": recurrent.simple_rnn, "LSTM": recurrent.lstm, "GRU": recurrent.gru}
LOOP_OPTIONS = (
    "use_bias",
    "reset_after",
    "return_sequences",
    "return_state",
    "go_backwards",
    "unroll",
    "time_major",
    "zero_output_for_mask",
)
IDENTITY = {
    "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization",
}  # fmt: skip
PASSES_MASK = IDENTITY | {
    "Dense", "BatchNormalization", "LayerNormalization", "Activation", "ReLU", "LeakyReLU", "ELU", "PReLU",
    "Softmax", "ThresholdedReLU",
}  # fmt: skip
PASSES_MASK_KERAS_3 = {"Rescaling", "Normalization"}


class Chain:
    """A chain of layers with their weights; keeps the states of stateful layers from call to call.

    Parameters
    ----------
    recipes : list of dict
    weights : list of arrays
        Of all layers in order, as ``model.get_weights()`` gives them.
    semantics : str
    """

    def __init__(self, recipes, weights, semantics="keras3"):
        self.recipes = recipes
        self.weights = [np.asarray(w, np.float64) for w in weights]
        self.semantics = semantics
        self.states = {}

    def __call__(self, x, mask=None, initial_state=None):
        """Output, or list of outputs; ``initial_state`` goes to the first layer."""
        weights = iter(self.weights)
        for position, recipe in enumerate(self.recipes):
            given = initial_state if position == 0 else None
            x, mask = self.run(recipe, weights, x, mask, initial_state=given, path=(position,))
        left = len(list(weights))
        if left:
            raise ValueError(f"{left} weights belong to no layer")
        return x

    def activation(self, name):
        return activations.get(name, self.semantics)

    def run(self, recipe, weights, x, mask, *, initial_state=None, path=(), zero_output_for_mask=None):
        """One layer: its output and the mask of the output."""
        kind = recipe["class"]
        if kind in CELLS:
            return self.recurrent(recipe, weights, x, mask, initial_state, path, zero_output_for_mask)
        if kind == "Bidirectional":
            return self.bidirectional(recipe, weights, x, mask, initial_state, path)
        if kind == "TimeDistributed":
            return self.time_distributed(recipe, weights, x, mask)
        if kind == "Embedding":
            table = next(weights)
            made = layers.embedding_mask(x) if recipe.get("mask_zero") else None
            return layers.embedding(x, table), made
        if kind == "Masking":
            return layers.masking(np.asarray(x, np.float64), recipe.get("mask_value", 0.0))
        if kind == "GlobalAveragePooling1D":
            x = np.asarray(x, np.float64)
            return layers.global_average_pooling1d(x, mask, recipe.get("keepdims", False)), None
        y = self.plain(recipe, weights, np.asarray(x, np.float64))
        passes = kind in PASSES_MASK or (self.semantics == "keras3" and kind in PASSES_MASK_KERAS_3)
        return y, mask if passes else None

    def recurrent(self, recipe, weights, x, mask, initial_state, path, zero_output_for_mask):
        kind = recipe["class"]
        own = [next(weights) for _ in range(3 if recipe.get("use_bias", True) else 2)]
        options = {key: recipe[key] for key in LOOP_OPTIONS if key in recipe}
        options["activation"] = self.activation(recipe.get("activation", "tanh"))
        if kind != "SimpleRNN":
            options["recurrent_activation"] = self.activation(recipe.get("recurrent_activation", "sigmoid"))
        if zero_output_for_mask is not None:
            options["zero_output_for_mask"] = zero_output_for_mask
        options["return_state"] = True
        stateful = recipe.get("stateful", False)
        if initial_state is None and stateful:
            initial_state = self.states.get(path)
        output, *states = CELLS[kind](x, own, mask=mask, initial_state=initial_state, **options)
        if stateful:
            self.states[path] = states
        out_mask = mask if recipe.get("return_sequences") else None
        return ([output, *states] if recipe.get("return_state") else output), out_mask

    def bidirectional(self, recipe, weights, x, mask, initial_state, path):
        forward = recipe["layer"]
        backward = recipe.get("backward_layer") or forward | {
            "go_backwards": not forward.get("go_backwards", False)
        }

        def runner(layer, name):
            def run(x, mask, initial_state, zero_output_for_mask):
                output, _ = self.recurrent(
                    layer, weights, x, mask, initial_state, (*path, name), zero_output_for_mask
                )
                return output

            return run

        sequences = forward.get("return_sequences", False)
        y = bidirectional(
            x,
            runner(forward, "forward"),
            runner(backward, "backward"),
            merge_mode=recipe.get("merge_mode", "concat"),
            return_sequences=sequences,
            return_state=forward.get("return_state", False),
            mask=mask,
            initial_state=initial_state,
            time_major=forward.get("time_major", False),
        )
        return y, mask if sequences else None

    def time_distributed(self, recipe, weights, x, mask):
        """The inner layer on every timestep; a mask [batch, timesteps, ...] of more axes reaches it."""
        inner = recipe["layer"]
        count = inner_weight_count(inner)
        own = [next(weights) for _ in range(count)]
        outputs, inner_masks = [], []
        for t in range(x.shape[1]):
            inner_mask = mask[:, t] if mask is not None and mask.ndim > 2 else None
            y, made = self.run(inner, iter(own), x[:, t], inner_mask)
            outputs.append(y)
            inner_masks.append(made)
        y = np.stack(outputs, axis=1)
        if self.semantics == "keras3":
            return y, mask
        if inner_masks[0] is not None:
            return y, np.stack(inner_masks, axis=1)
        return y, None if mask is None else mask.reshape(*mask.shape[:2], -1).any(axis=-1)

    def plain(self, recipe, weights, x):
        """Layers that neither make nor use masks."""
        kind = recipe["class"]
        if kind in IDENTITY:
            return x
        if kind in ("Dense", "Conv1D"):
            kernel = next(weights)
            bias = next(weights) if recipe.get("use_bias", True) else None
            if kind == "Dense":
                y = layers.dense(x, kernel, bias)
            else:
                keys = ("strides", "padding", "dilation_rate", "groups")
                y = layers.conv1d(x, kernel, bias, **{key: recipe[key] for key in keys if key in recipe})
            return self.activation(recipe.get("activation"))(y)
        if kind == "BatchNormalization":
            gamma = next(weights) if recipe.get("scale", True) else None
            beta = next(weights) if recipe.get("center", True) else None
            mean, variance = next(weights), next(weights)
            epsilon, axis = recipe.get("epsilon", 1e-3), recipe.get("axis", -1)
            return layers.batch_normalization(x, gamma, beta, mean, variance, epsilon, axis)
        if kind == "LayerNormalization":
            gamma = next(weights) if recipe.get("scale", True) else None
            beta = next(weights) if recipe.get("center", True) else None
            return layers.layer_normalization(
                x, gamma, beta, recipe.get("epsilon", 1e-3), recipe.get("axis", -1)
            )
        if kind == "Normalization":
            if "mean" in recipe:
                mean, variance = np.float64(recipe["mean"]), np.float64(recipe["variance"])
            else:
                mean, variance, _ = next(weights), next(weights), next(weights)
            return layers.normalization(
                x, mean, variance, axis=recipe.get("axis", -1), invert=recipe.get("invert", False)
            )
        if kind == "Rescaling":
            return layers.rescaling(x, recipe["scale"], recipe.get("offset", 0.0))
        if kind == "PReLU":
            return layers.prelu(x, next(weights))
        if kind == "Activation":
            return self.activation(recipe["activation"])(x)
        if kind == "ReLU":
            options = {
                key: recipe[key] for key in ("negative_slope", "max_value", "threshold") if key in recipe
            }
            return activations.relu(x, **options)
        if kind == "LeakyReLU":
            return activations.leaky_relu(x, recipe.get("negative_slope", recipe.get("alpha", 0.3)))
        if kind == "ELU":
            return activations.elu(x, recipe.get("alpha", 1.0))
        if kind == "ThresholdedReLU":
            return np.where(x > recipe.get("theta", 1.0), x, 0)
        if kind == "Softmax":
            return activations.softmax(x, recipe.get("axis", -1))
        arguments = {key: value for key, value in recipe.items() if key != "class"}
        return SHAPE_LAYERS[kind](x, **arguments)


SHAPE_LAYERS = {
    "MaxPooling1D": layers.max_pooling1d,
    "AveragePooling1D": layers.average_pooling1d,
    "GlobalMaxPooling1D": layers.global_max_pooling1d,
    "Flatten": layers.flatten,
    "Reshape": layers.reshape,
    "Permute": layers.permute,
    "RepeatVector": layers.repeat_vector,
    "Cropping1D": layers.cropping1d,
    "ZeroPadding1D": layers.zero_padding1d,
    "UpSampling1D": layers.up_sampling1d,
}


def inner_weight_count(recipe):
    """How many arrays the weights of a layer are."""
    kind = recipe["class"]
    if kind in CELLS:
        return 3 if recipe.get("use_bias", True) else 2
    if kind == "Bidirectional":
        backward = recipe.get("backward_layer") or recipe["layer"]
        return inner_weight_count(recipe["layer"]) + inner_weight_count(backward)
    if kind == "TimeDistributed":
        return inner_weight_count(recipe["layer"])
    if kind in ("Dense", "Conv1D"):
        return 2 if recipe.get("use_bias", True) else 1
    if kind == "BatchNormalization":
        return 2 + recipe.get("scale", True) + recipe.get("center", True)
    if kind == "LayerNormalization":
        return recipe.get("scale", True) + recipe.get("center", True)
    if kind == "Normalization":
        return 0 if "mean" in recipe else 3
    return 1 if kind in ("Embedding", "PReLU") else 0
