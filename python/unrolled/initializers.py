# SPDX-License-Identifier: MIT
"""Where fresh weights start: Keras's initializers, with its distributions but NumPy's random numbers.

An initializer draws its seed when it is made and gives the same numbers on every call, as in Keras 3.

>>> from unrolled import initializers
>>> initializers.get("glorot_uniform")((3, 2)).shape
(3, 2)

Above 400 lines: one short class for each of Keras's initializers, all of one kind.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError
from unrolled.utils import draw_seed

FloatArray = NDArray[np.float32]

# The standard deviation of a normal distribution cut off at two standard deviations.
TRUNCATED_NORMAL_DEVIATION = 0.87962566103423978


LARGEST_FLOAT = float(np.finfo(np.float32).max)


class Initializer:
    """Base class: called with a shape, gives an array of float32 of that shape."""

    def __call__(self, shape: Sequence[int], dtype: object = None) -> FloatArray:
        """The values.

        Parameters
        ----------
        shape : sequence of int
            Shape of the weight.
        dtype : object, optional
            For Keras's signature; the result is float32.
        """
        return np.asarray(self.values(tuple(shape)), np.float32, order="C")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The values in any precision."""
        raise NotImplementedError

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise ``ValueError`` unless there are values of this shape."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this initializer again."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Initializer:
        """The initializer that ``get_config`` describes."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def _number(key: str, value: Any) -> Any:
    """``value`` where it is a number that float32 has.

    Raises
    ------
    ValueError
        It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{key}: expected a number, got {value!r}")
    if not abs(float(value)) <= LARGEST_FLOAT:
        raise ValueError(f"{key}: expected a finite number of float32, got {value!r}")
    return value


class Zeros(Initializer):
    """All zero."""

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.zeros(shape, np.float32)


class Ones(Initializer):
    """All one."""

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.ones(shape, np.float32)


class Constant(Initializer):
    """One value everywhere, or an array that broadcasts to the shape.

    Parameters
    ----------
    value : float or array_like
        The value.

    Examples
    --------
    >>> Constant(2.0)((2,)).tolist()
    [2.0, 2.0]
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value
        array = np.asarray(value, np.float64)
        if (np.abs(array[np.isfinite(array)]) > LARGEST_FLOAT).any():
            raise ValueError("Constant: expected numbers of float32")
        self._array = array.astype(np.float32)

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Of the value itself."""
        return self._array.shape

    def check_shape(self, shape: Sequence[int]) -> None:
        own = self._array.shape
        fits = zip(own[::-1], tuple(shape)[::-1], strict=False)
        if len(own) > len(shape) or any(size not in (1, wanted) for size, wanted in fits):
            raise ValueError(f"Constant: a value of shape {own} does not fit {tuple(shape)}")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.broadcast_to(self._array, shape)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class Identity(Initializer):
    """``gain`` times the identity matrix; only for two axes.

    Parameters
    ----------
    gain : float
        The factor.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _number("gain", gain)

    def check_shape(self, shape: Sequence[int]) -> None:
        if len(shape) != 2:
            raise ValueError(f"Identity initializes matrices only, got shape {tuple(shape)}")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        self.check_shape(shape)
        return np.asarray(self.gain * np.eye(*shape, dtype=np.float32))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of those that draw numbers.

    Parameters
    ----------
    seed : int, optional
        Drawn from ``unrolled.utils.set_random_seed``'s stream where absent.
    """

    def __init__(self, seed: Any = None) -> None:
        self.seed = seed
        # A file may hold a serialised seed generator: fresh weights do not reproduce Keras's anyway.
        self.drawn_seed = abs(int(seed)) if isinstance(seed, int | np.integer) else draw_seed()

    def generator(self) -> np.random.Generator:
        """A generator that starts from this initializer's seed."""
        return np.random.default_rng(self.drawn_seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class RandomNormal(RandomInitializer):
    """Normal distribution.

    Parameters
    ----------
    mean, stddev : float
        Of the distribution.
    seed : int, optional
        See ``RandomInitializer``.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = _number("mean", mean)
        self.stddev = _number("stddev", stddev)
        if self.stddev < 0:
            raise ValueError(f"stddev: expected a number from 0 on, got {stddev!r}")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return self.generator().normal(self.mean, self.stddev, shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal distribution; values beyond two standard deviations are drawn again."""

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.asarray(self.mean + self.stddev * _truncated_normal(self.generator(), shape))


class RandomUniform(RandomInitializer):
    """Uniform distribution.

    Parameters
    ----------
    minval, maxval : float
        Its limits.
    seed : int, optional
        See ``RandomInitializer``.
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval = _number("minval", minval)
        self.maxval = _number("maxval", maxval)
        if self.minval > self.maxval:
            raise ValueError(f"minval: expected at most maxval, {maxval!r}, got {minval!r}")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return self.generator().uniform(self.minval, self.maxval, shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"minval": self.minval, "maxval": self.maxval}


class VarianceScaling(RandomInitializer):
    """Variance ``scale / n``, n the number of inputs, of outputs, or their mean.

    Parameters
    ----------
    scale : float
        Positive.
    mode : {"fan_in", "fan_out", "fan_avg"}
        What n is.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        "normal" is "truncated_normal".
    seed : int, optional
        See ``RandomInitializer``.
    input_axes, output_axes : sequence of int, optional
        The axes of the weight that are inputs and outputs, where both are given; else the last two, with
        the ones before them as a receptive field.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(seed)
        if _number("scale", scale) <= 0:
            raise ValueError(f"VarianceScaling: scale must be positive, got {scale!r}")
        distribution = {"normal": "truncated_normal"}.get(distribution.lower(), distribution.lower())
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"VarianceScaling: unknown mode {mode!r}")
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(f"VarianceScaling: unknown distribution {distribution!r}")
        for key, axes in (("input_axes", input_axes), ("output_axes", output_axes)):
            items = [] if axes is None else axes if isinstance(axes, list | tuple) else [None]
            if any(isinstance(axis, bool) or not isinstance(axis, int | np.integer) for axis in items):
                raise ValueError(f"VarianceScaling: {key} must be a list of axes, got {axes!r}")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def check_shape(self, shape: Sequence[int]) -> None:
        for axis in (*(self.input_axes or ()), *(self.output_axes or ())):
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"VarianceScaling: a weight of shape {tuple(shape)} has no axis {axis}")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return self.generator().uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return self.generator().normal(0.0, math.sqrt(variance), shape)
        deviation = math.sqrt(variance) / TRUNCATED_NORMAL_DEVIATION
        return deviation * _truncated_normal(self.generator(), shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _FixedScaling(VarianceScaling):
    """A VarianceScaling whose scale, mode and distribution are the class's."""

    fixed: tuple[float, str, str] = (1.0, "fan_in", "uniform")

    def __init__(
        self,
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        scale, mode, distribution = self.fixed
        super().__init__(scale, mode, distribution, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "input_axes": self.input_axes, "output_axes": self.output_axes}


class GlorotUniform(_FixedScaling):
    """Uniform of variance 2 / (inputs + outputs)."""

    fixed = (1.0, "fan_avg", "uniform")


class GlorotNormal(_FixedScaling):
    """Truncated normal of variance 2 / (inputs + outputs)."""

    fixed = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_FixedScaling):
    """Truncated normal of variance 2 / inputs."""

    fixed = (2.0, "fan_in", "truncated_normal")


class HeUniform(_FixedScaling):
    """Uniform of variance 2 / inputs."""

    fixed = (2.0, "fan_in", "uniform")


class LecunNormal(_FixedScaling):
    """Truncated normal of variance 1 / inputs."""

    fixed = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_FixedScaling):
    """Uniform of variance 1 / inputs."""

    fixed = (1.0, "fan_in", "uniform")


class Orthogonal(RandomInitializer):
    """A random orthogonal matrix times ``gain``; leading axes are flattened into rows.

    Parameters
    ----------
    gain : float
        The factor.
    seed : int, optional
        See ``RandomInitializer``.

    Examples
    --------
    >>> import numpy as np
    >>> q = Orthogonal()((4, 4))
    >>> bool(np.allclose(q @ q.T, np.eye(4), atol=1e-6))
    True
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = _number("gain", gain)

    def check_shape(self, shape: Sequence[int]) -> None:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal initializes at least two axes, got shape {tuple(shape)}")

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        self.check_shape(shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        # Recurrent kernels are wide: QR of the tall transpose, in float32 as Keras does.
        tall = self.generator().standard_normal((max(rows, columns), min(rows, columns)), np.float32)
        q, r = np.linalg.qr(tall)
        q = q * np.sign(np.diag(r))
        return np.asarray(self.gain * (q.T if rows < columns else q).reshape(shape))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"gain": self.gain}


class Unknown(Initializer):
    """Stands for an initializer that a file names and Keras does not have; starts as GlorotUniform.

    The weights that follow in the file replace what it gives.

    Parameters
    ----------
    class_name : str
        The name in the file.
    """

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self._stand_in = GlorotUniform()

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return self._stand_in.values(shape)


class FromFunction(Initializer):
    """A caller's own function of the shape.

    Parameters
    ----------
    function : callable
        Called as ``function(shape)`` or ``function(shape, dtype=...)``; gives array_like.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        try:
            self._takes_dtype = "dtype" in inspect.signature(function).parameters
        except (TypeError, ValueError):
            self._takes_dtype = False

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        result = self.function(shape, dtype="float32") if self._takes_dtype else self.function(shape)
        array = np.asarray(result)
        if array.shape != shape:
            raise ValueError(
                f"the initializer {self.function!r} gave shape {array.shape}, {shape} was asked for"
            )
        return array


_CLASSES: dict[str, type[Initializer]] = {
    cls.__name__: cls
    for cls in (
        Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal, LecunUniform, Ones,
        Orthogonal, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros,
    )
}  # fmt: skip

_BY_NAME: dict[str, type[Initializer]] = _CLASSES | {
    "constant": Constant, "glorot_normal": GlorotNormal, "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal, "he_uniform": HeUniform, "identity": Identity, "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform, "ones": Ones, "one": Ones, "orthogonal": Orthogonal,
    "random_normal": RandomNormal, "normal": RandomNormal, "random_uniform": RandomUniform,
    "uniform": RandomUniform, "truncated_normal": TruncatedNormal, "variance_scaling": VarianceScaling,
    "zeros": Zeros, "zero": Zeros, "IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal,
}  # fmt: skip


def get(identifier: object, key: str = "initializer") -> Initializer:
    """The initializer that a config or a caller names.

    Parameters
    ----------
    identifier : None, str, mapping, Initializer, class, callable or array_like
        None is Keras's default for a weight that says nothing, GlorotUniform. A mapping is Keras's
        serialised form; a class in it that Keras does not have gives ``Unknown``.
    key : str
        The config key, for the error.

    Returns
    -------
    Initializer

    Raises
    ------
    ConfigError
        There is no such initializer.
    """
    if identifier is None:
        return GlorotUniform()
    if isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise ConfigError(key, identifier, f"expected one of {', '.join(sorted(_BY_NAME))}")
        return _BY_NAME[identifier]()
    if isinstance(identifier, Mapping):
        return _from_mapping(identifier, key)
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier):
        return FromFunction(identifier)
    if isinstance(identifier, np.ndarray | np.generic):
        return Constant(np.asarray(identifier, np.float32))
    raise ConfigError(key, identifier, f"expected one of {', '.join(sorted(_BY_NAME))}")


def _from_mapping(identifier: Mapping[str, Any], key: str) -> Initializer:
    name = identifier.get("class_name")
    config = identifier.get("config") or {}
    if name == "function" and isinstance(config, str):
        return get(config, key) if config in _BY_NAME else Unknown(config)
    cls = _BY_NAME.get(name) if isinstance(name, str) else None
    if cls is None or not isinstance(config, Mapping):
        return Unknown(str(name))
    # Keras 1 and 2 wrote "dtype" too.
    known = _parameters(cls.__name__)
    try:
        return cls(**{name: value for name, value in config.items() if name in known})
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(key, dict(identifier), f"not a valid initializer: {error}") from None


@functools.cache
def _parameters(class_name: str) -> frozenset[str]:
    return frozenset(inspect.signature(_BY_NAME[class_name]).parameters)


def serialize(initializer: object) -> Any:
    """The config value of an initializer, as Keras 3 writes it."""
    if isinstance(initializer, FromFunction | Unknown) or not isinstance(initializer, Initializer):
        # A function has no config that a reader could use; the weights say what it gave.
        return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
    config = initializer.get_config()
    if isinstance(config.get("value"), np.ndarray):
        config["value"] = config["value"].tolist()
    return {
        "module": "keras.initializers",
        "class_name": type(initializer).__name__,
        "config": config,
        "registered_name": None,
    }


def compute_fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[float, float]:
    """The numbers of inputs and outputs of a weight (keras 3.15 ``initializers/random_initializers.py``)."""
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    if len(shape) == 2:
        return shape[0], shape[1]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    values = generator.standard_normal(shape)
    outside = np.abs(values) > 2.0
    while outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2.0
    return values


# Keras's lower-case names, as `keras.initializers.glorot_uniform`.
constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
identity = Identity
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
ones = Ones
orthogonal = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
zeros = Zeros
