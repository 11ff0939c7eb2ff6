# SPDX-License-Identifier: MIT
"""Random programs. Each line is run as it is written: Keras itself says what fits, and which shape comes out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import prod

from tests.oracle.graphs.catalogue import Catalogue, Code
from tests.oracle.graphs.program import FLOATS, IDS, MASK, STATE, InputSpec, Program, environment

MAX_ELEMENTS, MAX_RANK, MAX_TIMESTEPS = 400, 5, 12
MERGES = ("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate")


@dataclass(frozen=True)
class Tensor:
    """A symbolic tensor of the program: its variable and shape without the batch axis."""

    name: str
    shape: tuple
    dtype: str = "float32"

    @property
    def rank(self):
        return len(self.shape) + 1


@dataclass
class Shareable:
    """A layer or model that may be called again on tensors of the same features."""

    name: str
    shapes: list
    outputs: int
    calls: str


class Generator:
    """Writes one program.

    Parameters
    ----------
    keras : module
    seed : int
    """

    def __init__(self, keras, seed):
        self.rng = random.Random(seed)
        self.seed = seed
        self.keras_name = keras.__name__
        self.keras_3 = keras.__name__ == "keras"
        # Attention and AdditiveAttention of Keras 3.0 to 3.11 fail on masks, or mix up rows where there are as
        # many as timesteps (keras-team/keras 79413bc4cb).
        version = tuple(int(part) for part in keras.__version__.split(".")[:2])
        self.attention_takes_masks = not (3, 0) <= version < (3, 12)
        self.catalogue = Catalogue(self.rng, self.keras_3)
        self.names = environment(keras)
        self.lines = []
        self.inputs = []
        self.tensors = []
        self.shareable = []
        self.used = set()
        self.counter = 0
        self.batch = self.rng.randint(1, 6)
        self.fixed_batch = None
        self.free_time = self.rng.random() < 0.25

    # ------------------------------------------------------------------- lines

    def flip(self, probability=0.5):
        return self.rng.random() < probability

    def new_name(self, prefix):
        self.counter += 1
        return f"{prefix}{self.counter}"

    def run(self, *lines):
        """Add lines if Keras takes them."""
        try:
            for line in lines:
                exec(line, self.names)
        except Exception:
            return False
        self.lines.extend(lines)
        return True

    def describe(self, name):
        value = self.names[name]
        return Tensor(name, tuple(value.shape)[1:], getattr(value.dtype, "name", value.dtype))

    def assign(self, code, outputs, uses, *before, keep=True):
        """``names = code``; the new tensors, or None where Keras refuses or they are too large."""
        names = [self.new_name("v") for _ in range(outputs)]
        targets = ", ".join(names)
        mark = len(self.lines)
        if not self.run(*before, f"{targets} = {code}" if outputs > 0 else code):
            return None
        try:
            made = [self.describe(name) for name in names]
        except Exception:
            made = []
        if len(made) != outputs or any(not small(tensor) for tensor in made):
            del self.lines[mark:]
            return None
        self.used.update(uses)
        if keep:
            self.tensors += made
        return made

    # --------------------------------------------------------------- choosing

    def pick(self, rank=None, where=None):
        """A tensor, rather a late one."""
        fitting = [
            tensor
            for tensor in self.tensors
            if tensor.rank > 1
            and tensor.dtype == "float32"
            and (rank is None or tensor.rank == rank)
            and (where is None or where(tensor))
        ]
        if not fitting:
            return None
        weights = [i + 1 + 3 * (tensor.name not in self.used) for i, tensor in enumerate(fitting)]
        return self.rng.choices(fitting, weights)[0]

    # ------------------------------------------------------------------ inputs

    def add_input(self, kind, shape, **about):
        name = self.new_name("x")
        declared = list(shape)
        if self.free_time and kind in (FLOATS, IDS, MASK) and (len(shape) > 1 or kind != FLOATS):
            declared[0] = None
        dtype = {"ids": "int32", "mask": "bool"}.get(kind)
        if kind == IDS and self.flip(0.2):
            dtype = "float32"
        options = {"name": name} | ({"dtype": dtype} if dtype else {})
        shape_code = f"{tuple(declared)!r}"
        if self.fixed_batch:
            options["batch_size"] = self.fixed_batch
        arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
        if not self.run(f"{name} = keras.Input({shape_code}, {arguments})"):
            raise RuntimeError("Keras refuses an input")
        self.inputs.append(InputSpec(name, kind, tuple(shape), **about))
        tensor = self.describe(name)
        if kind in (FLOATS, STATE):
            self.tensors.append(tensor)
        return tensor

    def start(self, timesteps):
        """An input with what makes it a tensor of floats."""
        features = self.rng.randint(1, 5)
        kind = self.rng.choice(("floats", "masking", "masking", "embedding", "embedding", "rows", "deep"))
        if kind == "rows":
            self.add_input(FLOATS, (features,))
        elif kind == "floats":
            self.add_input(FLOATS, (timesteps, features))
        elif kind == "deep":
            shape = (min(timesteps, 3), self.rng.randint(2, 4), self.rng.randint(1, 3))
            if self.flip(0.3):
                x = self.add_input(IDS, shape[:2], padding=0, largest=7)
                inner = Code(f"keras.layers.Embedding(7, {features}, mask_zero={self.flip()})")
                self.assign(f"keras.layers.TimeDistributed({inner})({x.name})", 1, [x.name])
            else:
                padding = self.rng.choice((None, 0.0))
                x = self.add_input(FLOATS, shape, padding=padding)
                if padding is not None:
                    self.assign(f"keras.layers.Masking()({x.name})", 1, [x.name])
        elif kind == "masking":
            value = self.rng.choice((0.0, 0.0, -1.0, 0.1))
            x = self.add_input(FLOATS, (timesteps, features), padding=value)
            self.assign(f"keras.layers.Masking(mask_value={value})({x.name})", 1, [x.name])
        else:
            x = self.add_input(IDS, (timesteps,), padding=0, largest=7)
            zero = self.flip(0.75)
            layer = self.new_name("l")
            made = self.assign(
                f"{layer}({x.name})", 1, [x.name],
                f"{layer} = keras.layers.Embedding(7, {features}, mask_zero={zero})",
            )  # fmt: skip
            if made and self.flip(0.2):
                y = self.add_input(IDS, (timesteps,), padding=0, largest=7)
                self.assign(f"{layer}({y.name})", 1, [y.name])

    # ------------------------------------------------------------------- steps

    def call(self, layer_code, x, outputs=1, arguments="", uses=()):
        """``l = layer``; ``v = l(x)``; the layer may be shared later."""
        if "Softmax(" in layer_code and getattr(self.names[x.name], "_keras_mask", None) is not None:
            return None  # Keras adds the mask to the input, which fits by the luck of sizes of 1 only
        layer = self.new_name("l")
        made = self.assign(
            f"{layer}({x.name}{arguments})", outputs, [x.name, *uses], f"{layer} = {layer_code}"
        )
        if made:
            self.shareable.append(Shareable(layer, [x.shape], outputs, "{0}"))
        return made

    def step_unary(self):
        x = self.pick()
        return x and self.call(self.catalogue.unary(x.shape), x)

    def step_recurrent(self):
        """Recurrent layers with states out, states in, and a mask of their own."""
        x = self.pick(rank=3)
        if x is None:
            return None
        state = self.flip(0.5)
        sequences = self.flip(0.6)
        kind = self.rng.choice(("cell", "cell", "bidirectional", "cells"))
        fixed, arguments, uses = {}, "", []
        if self.flip(0.15):
            mask = self.mask_for(x)
            if mask:
                arguments += f", mask={mask}"
        if kind == "cells":
            code, states = self.catalogue.cells(sequences, state)
            return self.call(code, x, 1 + states * state, arguments, uses)
        class_name = self.rng.choice(("SimpleRNN", "LSTM", "GRU"))
        count = 2 if class_name == "LSTM" else 1
        if kind == "bidirectional":
            mode = self.rng.choice(("concat", "sum", "mul", "ave", None))
            wanted, units = 2 * count, None
        else:
            wanted, units = count, None
        if self.flip(0.5):
            states = self.states_for(wanted)
            if states:
                units = states[0].shape[0]
                names = [tensor.name for tensor in states]
                uses += names
                one = len(names) == 1 and self.flip()
                arguments += f", initial_state={names[0] if one else '[' + ', '.join(names) + ']'}"
        if kind == "bidirectional":
            code = self.catalogue.bidirectional(sequences, state, mode, class_name, units)
            outputs = (2 if mode is None else 1) + (2 * count if state else 0)
        else:
            if self.fixed_batch and self.flip():
                fixed["stateful"] = True
            code = self.catalogue.recurrent(class_name, units, sequences, state, **fixed)
            outputs = 1 + (count if state else 0)
        return self.call(code, x, outputs, arguments, uses)

    def states_for(self, count):
        """Tensors (batch, units) of one width, made before or given as inputs."""
        first = self.pick(rank=2)
        if first is not None and self.flip(0.8):
            same = [t for t in self.tensors if t.shape == first.shape and t.dtype == "float32"]
            return [self.rng.choice(same) for _ in range(count)]
        units = self.rng.randint(1, 4)
        if self.flip(0.5) or len(self.inputs) > 3:
            return None
        return [self.add_input(STATE, (units,)) for _ in range(count)]

    def mask_for(self, x):
        """An input that is a mask for ``x``, or a comparison of Keras 3."""
        timesteps = x.shape[0]
        if timesteps is None or len(self.inputs) > 3:
            return None
        if self.free_time:
            return None
        return self.add_input(MASK, (timesteps,)).name

    def step_merge(self):
        x = self.pick()
        if x is None:
            return None
        same = [t for t in self.tensors if t.dtype == "float32" and t.rank == x.rank]
        exact = [t for t in same if t.shape == x.shape]
        kind = self.rng.choice(MERGES)
        if kind == "Concatenate":
            axis = self.rng.choice((-1, -1, 1))
            same = [t for t in same if t.shape[:-1] == x.shape[:-1]] if axis == -1 else exact
            chosen = [x] + [self.rng.choice(same) for _ in range(self.rng.randint(1, 2))]
            code = self.catalogue.code(kind, **({"axis": axis} if axis == 1 else {}))
        else:
            count = 1 if kind == "Subtract" else self.rng.randint(1, 2)
            pool = exact
            if self.flip(0.25):
                pool = [t for t in self.tensors if t.dtype == "float32"]
            chosen = [x] + [self.rng.choice(pool) for _ in range(count)]
            code = self.catalogue.code(kind)
        return self.call_many(code, chosen)

    def call_many(self, code, chosen, arguments="", outputs=1):
        self.rng.shuffle(chosen)
        layer = self.new_name("l")
        names = [tensor.name for tensor in chosen]
        made = self.assign(f"{layer}([{', '.join(names)}]{arguments})", outputs, names, f"{layer} = {code}")
        if made:
            self.shareable.append(Shareable(layer, [t.shape for t in chosen], outputs, "[{0}]"))
        return made

    def step_dot(self):
        x = self.pick(where=lambda t: t.rank in (2, 3))
        if x is None:
            return None
        y = self.pick(where=lambda t: t.rank in (2, 3))
        axes = self.rng.choice((-1, 1, [x.rank - 1, y.rank - 1], [1, y.rank - 1], [x.rank - 1, 1]))
        options = {"axes": axes} | ({"normalize": True} if self.flip(0.3) else {})
        return self.call_many(self.catalogue.code("Dot", **options), [x, y])

    def step_attention(self):
        x = self.pick(rank=3)
        if x is None:
            return None
        others = [t for t in self.tensors if t.rank == 3 and t.dtype == "float32"]
        alike = [t for t in others if t.shape[-1] == x.shape[-1]]
        y = self.rng.choice(alike)
        if self.flip(0.5) or not self.attention_takes_masks:
            return self.step_multi_head(x, self.rng.choice(others))
        chosen = [x, y]
        if self.flip(0.3):
            chosen.append(self.rng.choice([t for t in others if t.shape[0] == y.shape[0]]))
        kind = self.rng.choice(("Attention", "AdditiveAttention"))
        options = {}
        if kind == "Attention":
            options |= self.catalogue.flags("use_scale")
            if self.flip(0.3):
                options["score_mode"] = "concat"
        else:
            options["use_scale"] = self.flip(0.7)
        arguments, outputs = "", 1
        if self.flip(0.25):
            arguments += ", use_causal_mask=True"
        if self.flip(0.2):
            arguments, outputs = arguments + ", return_attention_scores=True", 2
        layer = self.new_name("l")
        names = [tensor.name for tensor in chosen]
        return self.assign(
            f"{layer}([{', '.join(names)}]{arguments})", outputs, names,
            f"{layer} = {self.catalogue.code(kind, **options)}",
        )  # fmt: skip

    def step_multi_head(self, x, y):
        # Not of size 1: Keras 3 on TensorFlow then adds the bias of (heads, 1) along time where there are as
        # many timesteps as heads (backend/tensorflow/numpy.py, add, takes it for a vector).
        options = {"value_dim": self.rng.randint(2, 4)} if self.flip(0.3) else {}
        options |= {"output_shape": self.rng.randint(1, 5)} if self.flip(0.2) else {}
        options |= {"use_bias": False} if self.flip(0.2) else {}
        options |= {"dropout": 0.3} if self.flip(0.2) else {}
        code = self.catalogue.code(
            "MultiHeadAttention", self.rng.randint(1, 3), self.rng.randint(2, 4), **options
        )
        arguments, uses, outputs = f"{x.name}, {y.name}", [x.name, y.name], 1
        if self.flip(0.3):
            key = self.rng.choice([t for t in self.tensors if t.rank == 3 and t.shape[0] == y.shape[0]])
            arguments, uses = f"{arguments}, {key.name}", [*uses, key.name]
        if self.flip(0.3):
            arguments += ", use_causal_mask=True"
        if self.flip(0.2):
            arguments, outputs = arguments + ", return_attention_scores=True", 2
        layer = self.new_name("l")
        return self.assign(f"{layer}({arguments})", outputs, uses, f"{layer} = {code}")

    def step_shared(self):
        """Call a layer or model again."""
        if not self.shareable:
            return None
        layer = self.rng.choice(self.shareable)
        chosen = []
        for shape in layer.shapes:
            fitting = [
                t
                for t in self.tensors
                if t.dtype == "float32" and t.rank == len(shape) + 1 and t.shape[-1:] == shape[-1:]
            ]
            if not fitting:
                return None
            chosen.append(self.rng.choice(fitting))
        names = [t.name for t in chosen]
        code = f"{layer.name}({layer.calls.format(', '.join(names))})"
        return self.assign(code, layer.outputs, names)

    def step_operation(self):
        x = self.pick()
        if x is None:
            return None
        y = self.rng.choice([t for t in self.tensors if t.shape == x.shape and t.dtype == "float32"])
        a, b = x.name, y.name
        number = self.rng.choice((0.5, 2.0, -1.0, 3))
        common = [
            f"{a} * {number}", f"{number} * {a}", f"{a} + {number}", f"{number} - {a}", f"{a} / 2.0",
            f"-{a}", f"{a} + {b}", f"{a} - {b}", f"{a} * {b}", f"{a} / (1.5 + {b} * {b})",
        ]  # fmt: skip
        if x.rank >= 3:
            common += [
                f"{a}[:, -1]", f"{a}[:, 0]", f"{a}[:, :1]", f"{a}[:, 1:]", f"{a}[..., :1]", f"{a}[:, ::2]",
                f"{a}[:, :, -1]", f"{a}[:, -2:, :]",
            ]  # fmt: skip
        if x.rank == 2:
            common += [f"{a}[:, None]", f"{a}[:, :1]", f"{a}[:, None, :]", f"{a}[:, 0:1]"]
        axis = self.rng.randint(1, max(1, x.rank - 1))
        keep = self.flip()
        if self.keras_3:
            ops = [
                f"mean({a}, axis={axis}, keepdims={keep})", f"sum({a}, axis={axis})", f"max({a}, axis={-1})",
                f"min({a}, axis={axis}, keepdims={keep})", f"expand_dims({a}, axis={axis})", f"tanh({a})",
                f"sigmoid({a})", f"relu({a})", f"softmax({a}, axis={axis})", f"square({a})", f"abs({a})",
                f"concatenate([{a}, {b}], axis={axis})", f"stack([{a}, {b}], axis={axis})",
                f"where({a} > 0, {a}, {b})", f"maximum({a}, {b})", f"minimum({a}, 0.3)", f"zeros_like({a})",
                f"ones_like({a})", f"flip({a}, axis={axis})", f"repeat({a}, 2, axis={axis})",
                f"clip({a}, -0.5, 0.5)", f"exp({a} * 0.1)", f"cast({a} > 0.1, 'float32')", f"silu({a})",
                f"gelu({a})",
                f"leaky_relu({a})", f"elu({a})", f"softplus({a})", f"hard_sigmoid({a})",
                f"squeeze({a}[:, :1], axis=1)", f"logical_not({a} > 0)",
            ]  # fmt: skip
            if x.rank == 3:
                ops += [
                    f"transpose({a}, (0, 2, 1))", f"matmul({a}, keras.ops.transpose({b}, [0, 2, 1]))",
                    f"swapaxes({a}, 1, 2)", f"tile({a}, [1, 2, 1])",
                    f"any({a} > 0.5, axis={axis})", f"all({a} > -0.5, axis={axis})",
                ]  # fmt: skip
            if None not in x.shape:
                ops.append(f"reshape({a}, (-1, {prod(x.shape)}))")
            operations = common + [f"keras.ops.{op}" for op in ops]
            if self.flip(0.3):
                operations.append(
                    f"keras.activations.{self.rng.choice(('tanh', 'relu', 'softmax', 'gelu'))}({a})"
                )
        else:
            ops = [
                f"reduce_mean({a}, axis={axis}, keepdims={keep})", f"reduce_sum({a}, axis={axis})",
                f"reduce_max({a}, axis=-1)", f"reduce_min({a}, axis={axis}, keepdims={keep})",
                f"expand_dims({a}, {axis})", f"expand_dims({a}, axis={axis})", f"tanh({a})", f"sigmoid({a})",
                f"nn.relu({a})", f"nn.softmax({a}, axis={axis})", f"nn.softmax({a})", f"square({a})", f"abs({a})",
                f"concat([{a}, {b}], axis={axis})", f"stack([{a}, {b}], axis={axis})",
                f"where({a} > 0, {a}, {b})", f"maximum({a}, {b})", f"minimum({a}, 0.3)", f"zeros_like({a})",
                f"ones_like({a})", f"repeat({a}, 2, axis={axis})", f"exp({a} * 0.1)",
                f"cast({a} > 0.1, tf.float32)", f"math.log(1.0 + {a} * {a})", f"sqrt(1.0 + {a} * {a})",
                f"nn.gelu({a})", f"pow({a}, 2)", f"nn.leaky_relu({a})", f"nn.elu({a})", f"math.softplus({a})",
                f"squeeze({a}[:, :1], axis=1)", f"nn.silu({a})", f"negative({a})", f"add({a}, {b})",
                f"multiply({a}, {b})", f"subtract(1.0, {a})", f"clip_by_value({a}, -0.5, 0.5)",
                f"keras.backend.mean({a}, axis={axis})", f"keras.backend.sum({a}, axis={axis})",
            ]  # fmt: skip
            if x.rank == 3:
                ops += [
                    f"transpose({a}, [0, 2, 1])", f"matmul({a}, {b}, transpose_b=True)",
                    f"reverse({a}, axis=[1])",
                    f"tile({a}, [1, 2, 1])", f"keras.backend.batch_dot({a}, {b}, axes=[2, 2])",
                ]  # fmt: skip
            if None not in x.shape:
                ops.append(f"reshape({a}, (-1, {prod(x.shape)}))")
            operations = common + [op if op.startswith("keras.") else f"tf.{op}" for op in ops]
            operations = [op.replace("tf.keras.", "keras.") for op in operations]
        return self.assign(self.rng.choice(operations), 1, [a, b])

    # ----------------------------------------------------------- nested models

    def step_nested(self):
        x = self.pick()
        if x is None:
            return None
        return self.nested_sequential(x) if self.flip() else self.nested_functional(x)

    def nested_sequential(self, x):
        """``Sequential`` of up to three layers, its Input written or not."""
        model, shape, entries = self.new_name("m"), x.shape, []
        written = self.flip(0.7)
        if written:
            entries.append(f"keras.Input({tuple(shape)!r})")
        for _ in range(self.rng.randint(1, 3)):
            code = self.catalogue.unary(shape)
            probe = self.new_name("p")
            scratch = dict(self.names)
            try:
                exec(f"{probe} = ({code})(keras.Input({tuple(shape)!r}))", scratch)
                next_shape = tuple(scratch[probe].shape)[1:]
            except Exception:
                continue
            if not small(Tensor(probe, next_shape)):
                continue
            entries.append(code)
            shape = next_shape
        if len(entries) <= written:
            return None
        made = self.assign(
            f"{model}({x.name})", 1, [x.name], f"{model} = keras.Sequential([{', '.join(entries)}])"
        )
        if made:
            self.shareable.append(Shareable(model, [x.shape], 1, "{0}"))
        return made

    def nested_functional(self, x):
        """``Model`` of a few steps, with one or two inputs and outputs."""
        chosen = [x]
        if self.flip(0.4):
            chosen.append(self.rng.choice([t for t in self.tensors if t.dtype == "float32"]))
        outer, outer_shareable, mark = self.tensors, self.shareable, len(self.lines)
        outer_inputs, outer_free = list(self.inputs), self.free_time
        self.tensors, self.shareable = [], []
        self.free_time = False
        entries = []
        for tensor in chosen:
            name = self.new_name("i")
            if not self.run(f"{name} = keras.Input({tuple(tensor.shape)!r})"):
                break
            self.tensors.append(self.describe(name))
            entries.append(name)
        steps = self.rng.randint(1, 4)
        self.free_time = True  # no mask inputs inside
        for _ in range(steps):
            inner = [self.step_unary, self.step_unary, self.step_recurrent, self.step_merge,
                     self.step_attention, self.step_shared, self.step_operation]  # fmt: skip
            if self.flip(0.15):
                inner.append(self.step_nested)
            before = len(self.inputs)
            self.rng.choice(inner)()
            if len(self.inputs) > before:  # it asked for a state from outside
                break
        extra = len(self.inputs) > len(outer_inputs)
        made_inside = [t for t in self.tensors if t.name not in entries]
        loose = [t for t in made_inside if t.name not in self.used] or made_inside
        self.tensors, self.shareable, self.free_time = outer, outer_shareable, outer_free
        if extra or not loose or len(entries) < len(chosen):
            self.inputs = outer_inputs
            del self.lines[mark:]
            return None
        outputs = self.rng.sample(loose, min(len(loose), self.rng.randint(1, 3)))
        model = self.new_name("m")
        names = [t.name for t in chosen]
        takes = entries[0] if len(entries) == 1 and self.flip(0.8) else f"[{', '.join(entries)}]"
        gives = outputs[0].name if len(outputs) == 1 else f"[{', '.join(t.name for t in outputs)}]"
        calls = "{0}" if not takes.startswith("[") else "[{0}]"
        made = self.assign(
            f"{model}({calls.format(', '.join(names))})", len(outputs), names,
            f"{model} = keras.Model({takes}, {gives})",
        )  # fmt: skip
        if made:
            self.shareable.append(Shareable(model, [t.shape for t in chosen], len(outputs), calls))
        else:
            del self.lines[mark:]
        return made

    # ----------------------------------------------------------------- program

    def program(self):
        """The whole program, or None where nothing came of the choices."""
        if self.flip(0.08):
            self.fixed_batch = self.batch
        timesteps = self.rng.randint(1, 6)
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            self.start(timesteps if self.flip(0.7) else self.rng.randint(1, 6))
        steps = [self.step_unary] * 5 + [self.step_recurrent] * 4 + [self.step_merge] * 3
        steps += [self.step_dot] + [self.step_attention] * 2 + [self.step_shared] * 2
        steps += [self.step_operation] * 2 + [self.step_nested] * 2
        wanted, tries = self.rng.randint(2, 8), 0
        while wanted and tries < 25:
            tries += 1
            wanted -= bool(self.rng.choice(steps)())
        self.expose_masks()
        loose = [t for t in self.tensors if t.name not in self.used and not t.name.startswith("x")]
        if not loose:
            return None
        if len(loose) > 4 and self.flip():
            loose = self.rng.sample(loose, 4)
        used_inputs = self.inputs
        takes, structure = self.input_structure(used_inputs)
        if not self.run(f"model = keras.Model({takes}, {self.output_structure(loose)})"):
            return None
        return Program(
            self.keras_name, self.seed, tuple(self.lines), tuple(used_inputs), structure,
            format=self.rng.choice(("keras", "keras", "h5")), batch=self.batch,
            calls=2 if any("stateful" in line for line in self.lines) else 1,
            fully_masked=self.flip(0.4),
        )  # fmt: skip

    def expose_masks(self):
        """A mask shows in what consumes it only."""
        for tensor in [t for t in self.tensors if t.name not in self.used and t.rank == 3]:
            if self.flip(0.6) and tensor.dtype == "float32":
                consumer = self.rng.choice(("GlobalAveragePooling1D()", "GRU(2)", "SimpleRNN(2)", "LSTM(1)"))
                made = self.assign(f"keras.layers.{consumer}({tensor.name})", 1, [])
                if made and self.flip():
                    self.used.add(tensor.name)

    def input_structure(self, inputs):
        names = [spec.name for spec in inputs]
        if len(names) == 1 and self.flip(0.8):
            return names[0], "single"
        if self.flip(0.25):
            return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}", "dict"
        return f"[{', '.join(names)}]", "list"

    def output_structure(self, tensors):
        names = [t.name for t in tensors]
        if len(names) == 1 and self.flip(0.8):
            return names[0]
        if self.flip(0.25):
            return "{" + ", ".join(f"'out_{name}': {name}" for name in reversed(names)) + "}"
        return f"[{', '.join(names)}]"


def small(tensor):
    size = 1
    for n in tensor.shape:
        size *= n or 6
    timesteps = tensor.shape[0] if tensor.shape else 0
    return tensor.rank <= MAX_RANK and 0 < size <= MAX_ELEMENTS and (timesteps or 0) <= MAX_TIMESTEPS * 3


def generate(keras, seed):
    """The program of a seed, or None."""
    return Generator(keras, seed).program()
