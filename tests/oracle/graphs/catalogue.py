# SPDX-License-Identifier: MIT
"""Keras code of random layers of one input and one output, by the rank of what they get."""

from __future__ import annotations

BOUNDED = ("tanh", "sigmoid", "hard_sigmoid", "softsign", "softmax")
UNBOUNDED = ("linear", "relu", "elu", "selu", "swish", "gelu", "softplus", "mish")
KERAS_3_ONLY = (
    "relu6", "leaky_relu", "silu", "log_softmax", "celu", "squareplus", "hard_silu", "hard_tanh",
    "tanh_shrink", "soft_shrink", "sparse_plus", "sparse_sigmoid", "log_sigmoid",
)  # fmt: skip
GATES = ("sigmoid", "hard_sigmoid", "softmax")
SIZES = (1, 2, 2, 3, 3, 4, 5, 9, 17)


class Catalogue:
    """Random layers for one Keras.

    Parameters
    ----------
    rng : random.Random
    keras_3 : bool
    """

    def __init__(self, rng, keras_3):
        self.rng = rng
        self.keras_3 = keras_3

    # ------------------------------------------------------------------ choice

    def flip(self, probability=0.5):
        return self.rng.random() < probability

    def size(self):
        return self.rng.choice(SIZES)

    def activation(self):
        return self.rng.choice(BOUNDED + UNBOUNDED + (KERAS_3_ONLY if self.keras_3 else ()))

    def fraction(self):
        return self.rng.choice((0.1, 0.25, 0.5, 0.75))

    def code(self, class_name, *args, **options):
        """``keras.layers.Class(args, options)``; values that are code already begin with "keras."."""
        parts = [value_code(arg) for arg in args]
        parts += [f"{key}={value_code(value)}" for key, value in options.items()]
        return f"keras.layers.{class_name}({', '.join(parts)})"

    def flags(self, *names, probability=0.3):
        return {name: True for name in names if self.flip(probability)}

    # --------------------------------------------------------------- recurrent

    def cell_options(self, class_name, units):
        options = {"units": units}
        if self.flip(0.2):
            options["use_bias"] = False
        if self.flip(0.25):
            options["activation"] = self.activation()
        if class_name != "SimpleRNN" and self.flip(0.25):
            options["recurrent_activation"] = self.rng.choice(GATES)
        if class_name == "GRU":
            options["reset_after"] = self.flip()
        if self.flip(0.1):
            options["dropout"] = 0.25
        return options

    def recurrent(self, class_name=None, units=None, sequences=None, state=False, **fixed):
        """A recurrent layer's code, its class, units, and whether it gives sequences."""
        class_name = class_name or self.rng.choice(("SimpleRNN", "LSTM", "GRU"))
        units = units or self.size()
        sequences = self.flip(0.6) if sequences is None else sequences
        options = self.cell_options(class_name, units)
        options |= self.flags("go_backwards", "zero_output_for_mask", probability=0.2)
        if self.flip(0.1):
            options["unroll"] = True
        if sequences:
            options["return_sequences"] = True
        if state:
            options["return_state"] = True
        return self.code(class_name, **(options | fixed))

    def cell(self, units=None):
        class_name = self.rng.choice(("SimpleRNN", "LSTM", "GRU"))
        return class_name, self.code(
            f"{class_name}Cell", **self.cell_options(class_name, units or self.size())
        )

    def cells(self, sequences, state=False):
        """RNN of a cell or of several; its code and its number of states."""
        chosen = [self.cell() for _ in range(self.rng.choice((1, 1, 2, 3)))]
        code = f"[{', '.join(code for _, code in chosen)}]"
        if len(chosen) == 1 and self.flip(0.8):
            code = chosen[0][1]
        elif self.flip():
            code = f"keras.layers.StackedRNNCells({code})"
        options = self.flags("go_backwards", "zero_output_for_mask", "unroll", probability=0.15)
        options |= {"return_sequences": True} if sequences else {}
        options |= {"return_state": True} if state else {}
        count = sum(2 if class_name == "LSTM" else 1 for class_name, _ in chosen)
        return self.code("RNN", Code(code), **options), count

    def bidirectional(self, sequences=None, state=False, merge_mode="any", class_name=None, units=None):
        class_name = class_name or self.rng.choice(("SimpleRNN", "LSTM", "GRU"))
        units = units or self.size()
        sequences = self.flip(0.6) if sequences is None else sequences
        if merge_mode == "any":
            merge_mode = self.rng.choice(("concat", "concat", "sum", "mul", "ave"))
        fixed = {"go_backwards": False}
        options = {} if merge_mode == "concat" and self.flip() else {"merge_mode": merge_mode}
        forward = self.recurrent(class_name, units, sequences, state, **fixed)
        if self.flip(0.25):
            backward = self.recurrent(class_name, units, sequences, state, go_backwards=True)
            options["backward_layer"] = Code(backward)
        return self.code("Bidirectional", Code(forward), **options)

    # -------------------------------------------------------------- any layers

    def unary(self, shape):
        """A layer that takes one tensor of ``shape`` (without the batch axis) and gives one."""
        rank = len(shape) + 1
        makers = [self.dense, self.elementwise, self.elementwise, self.normalization, self.reshaping]
        if rank == 3:
            makers += [self.temporal] * 3 + [self.recurrent, self.recurrent, self.bidirectional]
            makers += [self.time_distributed, self.convolution, self.rnn_of_cells]
        if rank == 4:
            makers += [self.time_distributed] * 2 + [self.image, self.image]
        maker = self.rng.choice(makers)
        if maker in (self.recurrent, self.bidirectional, self.rnn_of_cells):
            return maker()
        return maker(shape)

    def rnn_of_cells(self):
        return self.cells(self.flip(0.6))[0]

    def dense(self, shape):
        options = {"activation": self.activation()} if self.flip() else {}
        options |= {"use_bias": False} if self.flip(0.2) else {}
        return self.code("Dense", self.size(), **options)

    def elementwise(self, shape):
        slope = "negative_slope" if self.keras_3 else "alpha"
        kind = self.rng.randrange(12)
        if kind == 0:
            return self.code("Activation", self.activation())
        if kind == 1:
            options = {
                k: self.fraction() for k in ("max_value", "negative_slope", "threshold") if self.flip()
            }
            return self.code("ReLU", **options)
        if kind == 2:
            return self.code("LeakyReLU", **{slope: self.fraction()})
        if kind == 3:
            return self.code("ELU", alpha=self.fraction())
        if kind == 4:
            return self.code("PReLU", **({} if None not in shape and self.flip() else {"shared_axes": [1]}))
        if kind == 5:
            return self.code(
                "Softmax", **({"axis": self.rng.randint(1, len(shape))} if shape and self.flip() else {})
            )
        if kind == 6:
            return self.code(
                self.rng.choice(("Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout")), 0.3
            )
        if kind == 7:
            return self.code("Rescaling", self.fraction(), self.fraction())
        if kind == 8:
            return self.code("ActivityRegularization", l2=0.1)
        if kind == 9 and len(shape) in (2, 3):
            return self.code(f"SpatialDropout{len(shape) - 1}D", 0.3)
        if kind == 10 and self.keras_3:
            return self.code("Identity")
        return self.code("Activation", self.activation())

    def normalization(self, shape):
        axis = self.rng.choice((-1, self.rng.randint(1, max(1, len(shape)))))
        options = {"epsilon": self.fraction(), "axis": axis}
        options |= self.rng.choice(({}, {"scale": False}, {"center": False}))
        kinds = ["BatchNormalization", "LayerNormalization", "UnitNormalization", "Normalization"]
        kinds += ["GroupNormalization"] + (["RMSNormalization"] if self.keras_3 else [])
        kind = self.rng.choice(kinds)
        if kind == "UnitNormalization":
            return self.code(kind, axis=axis)
        if kind == "Normalization":
            return self.code(kind, axis=None, mean=self.fraction(), variance=self.fraction())
        if kind == "GroupNormalization":
            channels = shape[axis if axis < 0 else axis - 1] or 1
            groups = self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0] + [-1])
            return self.code(kind, groups, **options)
        if kind == "RMSNormalization":
            return self.code(kind, axis=axis, epsilon=self.fraction())
        if kind == "LayerNormalization" and len(shape) > 1 and self.flip(0.2):
            options["axis"] = [1, 2]
        return self.code(kind, **options)

    def reshaping(self, shape):
        known = [size for size in shape if size is not None]
        total = 1
        for size in known:
            total *= size
        kind = self.rng.randrange(5)
        if kind == 0:
            return self.code("Flatten")
        if kind == 1:
            last = shape[-1] or 1
            targets = [[-1, last], [total // last, last], [total], [1, total], [-1, 1], [-1]]
            return self.code("Reshape", self.rng.choice(targets))
        if kind == 2 and len(shape) > 1:
            dims = list(range(1, len(shape) + 1))
            self.rng.shuffle(dims)
            return self.code("Permute", dims)
        if len(shape) == 1:
            return self.code("RepeatVector", self.rng.randint(1, 4))
        return self.code("Flatten") if len(shape) > 3 else self.code("Reshape", [-1, *shape[1:]])

    def temporal(self, shape):
        """What moves or reduces timesteps."""
        a, b = self.rng.randint(0, 2), self.rng.randint(0, 2)
        kind = self.rng.randrange(8)
        if kind == 0:
            return self.code("ZeroPadding1D", [a, b])
        if kind == 1:
            return self.code("Cropping1D", [a % 2, b % 2])
        if kind == 2:
            return self.code("UpSampling1D", self.rng.randint(1, 3))
        if kind in (3, 4):
            options = {"keepdims": True} if self.flip(0.2) else {}
            return self.code(self.rng.choice(("GlobalAveragePooling1D", "GlobalMaxPooling1D")), **options)
        if kind == 5:
            return self.code("Masking", mask_value=self.rng.choice((0.0, -1.0)))
        options = {"padding": self.rng.choice(("valid", "same"))}
        options |= {"strides": self.rng.randint(1, 3)} if self.flip() else {}
        name = self.rng.choice(("MaxPooling1D", "AveragePooling1D"))
        return self.code(name, self.rng.randint(1, 3), **options)

    def convolution(self, shape):
        options = {"padding": self.rng.choice(("valid", "same", "causal"))}
        if self.flip(0.3):
            options["activation"] = self.activation()
        if self.flip(0.2):
            options["use_bias"] = False
        window = self.rng.randint(1, 3)
        if self.flip(0.6):
            if self.flip(0.3):
                options["strides"] = 2
            elif self.flip(0.3):
                options["dilation_rate"] = 2
            groups = self.rng.choice([g for g in (1, 1, 2, 3) if (shape[-1] or 1) % g == 0])
            options |= {"groups": groups} if groups > 1 else {}
            return self.code("Conv1D", groups * self.rng.randint(1, 3), window, **options)
        kind = self.rng.choice(("SeparableConv1D", "DepthwiseConv1D", "Conv1DTranspose"))
        if kind == "Conv1DTranspose":
            options["padding"] = self.rng.choice(("valid", "same"))
            return self.code(kind, self.rng.randint(1, 4), window, strides=self.rng.randint(1, 2), **options)
        if kind == "DepthwiseConv1D":
            options["padding"] = self.rng.choice(("valid", "same"))
            return self.code(kind, window, depth_multiplier=self.rng.randint(1, 2), **options)
        return self.code(kind, self.rng.randint(1, 4), window, **options)

    def image(self, shape):
        options = {"padding": self.rng.choice(("valid", "same"))}
        kind = self.rng.randrange(6)
        if kind < 2:
            return self.code("Conv2D", self.rng.randint(1, 4), self.rng.randint(1, 2), **options)
        if kind == 2:
            return self.code(
                self.rng.choice(("MaxPooling2D", "AveragePooling2D")), self.rng.randint(1, 2), **options
            )
        if kind == 3:
            return self.code(self.rng.choice(("GlobalAveragePooling2D", "GlobalMaxPooling2D")))
        if kind == 4:
            return self.code(self.rng.choice(("ZeroPadding2D", "UpSampling2D")), self.rng.randint(1, 2))
        return self.code("DepthwiseConv2D", self.rng.randint(1, 2), **options)

    def time_distributed(self, shape):
        return self.code("TimeDistributed", Code(self.unary(tuple(shape[1:]))))


class Code(str):
    """Code, not a value."""


def value_code(value):
    return str(value) if isinstance(value, Code) else repr(value)
