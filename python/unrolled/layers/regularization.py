# SPDX-License-Identifier: MIT
"""Layers that act in training only: dropout, noise, penalties. At inference each gives what it gets."""

from __future__ import annotations

from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import DRAWS_RANDOM_NUMBERS, Layer
from unrolled.layers.config_values import not_negative
from unrolled.layers.registry import register

SEED_IGNORED = {"seed": "seeds random numbers in training only"}


class TrainingOnly(Layer):
    """Base: the identity at inference, mask passed on; ``training=True`` is refused where it would act."""

    stream_obstacle: ClassVar = None
    takes_id_sequences: ClassVar = True

    @property
    def acts_in_training(self) -> bool:
        """Whether training would change the numbers."""
        raise NotImplementedError

    @property
    def training_effect(self) -> str | None:
        return DRAWS_RANDOM_NUMBERS if self.acts_in_training else None

    def output_dtype(self, input_dtype: str) -> str:
        return input_dtype

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        return x


class RateLayer(TrainingOnly):
    """Base of those with a dropout rate.

    Parameters
    ----------
    rate : float
        From 0 to 1.
    """

    ignored_config: ClassVar = SEED_IGNORED

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = not_negative("rate", rate)
        if self.rate > 1:
            raise ConfigError("rate", rate, "expected a number from 0 to 1")

    @property
    def acts_in_training(self) -> bool:
        return self.rate > 0

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate}


@register
class Dropout(RateLayer):
    """Zeroes elements in training; the identity here.

    Source: keras 3.15 ``layers/regularization/dropout.py``. Any shape; the mask passes through.

    Parameters
    ----------
    rate : float
        From 0 to 1.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Dropout(0.5)(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    ignored_config: ClassVar = {"noise_shape": "shapes the noise of training only"}


class SpatialDropout(RateLayer):
    """Base of dropout of whole features or channels."""

    ignored_config: ClassVar = {"noise_shape": "shapes the noise of training only"}

    def in_keras_3(self, serialized: dict[str, Any]) -> dict[str, Any]:
        """With what Keras 3's constructor takes (keras 3.15 layers/regularization/spatial_dropout.py)."""
        taken = ("rate", "seed", "name", "dtype", "data_format")
        config = {key: value for key, value in serialized["config"].items() if key in taken}
        return serialized | {"config": config}


@register
class SpatialDropout1D(SpatialDropout):
    """Zeroes features in training; the identity here. ``(batch, timesteps, features)``.

    Source: keras 3.15 ``layers/regularization/spatial_dropout.py``. The mask passes through.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.SpatialDropout1D(0.5)(np.ones((1, 2, 1))).tolist()
    [[[1.0], [1.0]]]
    """

    input_ranks: ClassVar = (3,)


@register
class SpatialDropout2D(SpatialDropout):
    """Zeroes channels in training; the identity here. Rank 4.

    Source: keras 3.15 ``layers/regularization/spatial_dropout.py``. The mask passes through.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.SpatialDropout2D(0.5)(np.ones((1, 1, 1, 2))).tolist()
    [[[[1.0, 1.0]]]]
    """

    input_ranks: ClassVar = (4,)
    ignored_config: ClassVar = {"data_format": "says which elements are dropped in training"}


@register
class SpatialDropout3D(SpatialDropout):
    """Zeroes channels in training; the identity here. Rank 5.

    Source: keras 3.15 ``layers/regularization/spatial_dropout.py``. The mask passes through.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.SpatialDropout3D(0.5)(np.ones((1, 1, 1, 1, 2))).shape
    (1, 1, 1, 1, 2)
    """

    input_ranks: ClassVar = (5,)
    ignored_config: ClassVar = {"data_format": "says which elements are dropped in training"}


@register
class AlphaDropout(RateLayer):
    """Dropout for selu networks in training; the identity here.

    Source: keras 3.15 ``layers/regularization/alpha_dropout.py``. Any shape; the mask passes through.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.AlphaDropout(0.5)(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    keras_versions: ClassVar = "2, 3"
    ignored_config: ClassVar = {"noise_shape": "shapes the noise of training only"}


@register
class GaussianDropout(RateLayer):
    """Multiplies by noise in training; the identity here.

    Source: keras 3.15 ``layers/regularization/gaussian_dropout.py``. Any shape; the mask passes through.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.GaussianDropout(0.5)(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """


@register
class GaussianNoise(TrainingOnly):
    """Adds noise in training; the identity here.

    Source: keras 3.15 ``layers/regularization/gaussian_noise.py``. Any shape; the mask passes through.

    Parameters
    ----------
    stddev : float
        Not negative.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.GaussianNoise(0.5)(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    ignored_config: ClassVar = SEED_IGNORED

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = not_negative("stddev", stddev)

    @property
    def acts_in_training(self) -> bool:
        return self.stddev > 0

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"stddev": self.stddev}


@register
class ActivityRegularization(TrainingOnly):
    """Adds a penalty to the training loss; the identity here.

    Source: keras 3.15 ``layers/regularization/activity_regularization.py``. Any shape; the mask passes.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ActivityRegularization(l1=0.5)(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    ignored_config: ClassVar = {
        "l1": "adds to the training loss only",
        "l2": "adds to the training loss only",
        "activity_regularizer": "adds to the training loss only",
    }

    @property
    def acts_in_training(self) -> bool:
        return False
