# SPDX-License-Identifier: MIT
"""``Model``: the methods that users call, each handed on to the module that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import ArrayLike, NDArray

from unrolled.engine.variables import Variable
from unrolled.errors import printable
from unrolled.models.base import BaseModel
from unrolled.models.inputs import refuse_callbacks
from unrolled.models.public_names import OF_AUTHORS, missing_attribute
from unrolled.models.summary import summary_text

if TYPE_CHECKING:
    from unrolled.formats import FileLike, HDF5Reader
    from unrolled.streaming import Stream, StreamPool


class Model(BaseModel):
    """A model: layers between inputs and outputs, run as one plan.

    ``Model(inputs, outputs)`` makes a functional model from symbolic tensors, as in Keras.

    Attributes
    ----------
    source : ModelFile or None
        The file that the model was loaded from: its format, the Keras version that wrote it.
    """

    # What ``Model(inputs, outputs)`` makes; set by the module of functional models.
    functional_class: ClassVar[type[Model] | None] = None
    # What makes a model of a config; set by the module that loads.
    config_reader: ClassVar[Callable[[Mapping[str, Any], Mapping[str, Any] | None], Model] | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model:
            assert cls.functional_class is not None
            return super().__new__(cls.functional_class)
        return super().__new__(cls)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Model:
        """The model that ``get_config`` describes, with fresh weights.

        Parameters
        ----------
        config : mapping
            Of a Sequential or a functional model.
        custom_objects : mapping, optional
            As for ``load_model``.

        Raises
        ------
        UnsupportedModelError, ModelFileError
            As ``load_model``.

        Examples
        --------
        >>> import unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> unrolled.Model.from_config(model.get_config()).count_params()
        42
        """
        assert cls.config_reader is not None
        return cls.config_reader(config, custom_objects)

    # ----------------------------------------------------------------- weights

    def load_weights(self, path: FileLike, *, hdf5: HDF5Reader = "builtin") -> None:
        """Read weights from a weights-only or whole-model file of any Keras version into this model.

        Parameters
        ----------
        path : path-like, bytes or binary file
            ``.weights.h5``, ``.h5``, ``.keras`` or ``.weights.json``, a TensorFlow checkpoint (``"cp.ckpt"``),
            a SavedModel folder (one that ``export()`` wrote as well), or what else ``load_model`` takes.
        hdf5 : {"builtin", "h5py"}
            As for ``load_model``.

        Raises
        ------
        ModelFileError
            The file is broken, or its weights do not fit; nothing is changed then.
        """
        from unrolled.formats import read_weights

        self.check_built()
        read_weights(path, hdf5).load_into(self)

    def save(
        self, path: str | PathLike[str], overwrite: bool = True, *, approximate: bool = False
    ) -> list[str]:
        """Write the model as a ``.keras`` file that Keras 3 loads and that gives the same numbers there.

        Parameters
        ----------
        path : path-like
            Ends in ``.keras``; replaced where it exists, in one step.
        overwrite : bool
            False: an existing file is left, and ``FileExistsError`` raised.
        approximate : bool
            Whether what Keras 3 cannot express is written as the nearest that it can.

        Returns
        -------
        list of str
            What was written differently from the model: weights scaled to give Keras 2's hard_sigmoid by
            Keras 3's, and, with ``approximate``, everything whose numbers will differ.

        Raises
        ------
        UnsupportedModelError
            Keras 3 cannot express the model; ``problems`` has all reasons.
        ValueError
            The name does not end in ``.keras``, or the model is not built.

        Examples
        --------
        >>> import tempfile, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     unrolled.load_model(f"{folder}/model.keras").count_params()
        []
        42
        """

        from unrolled.models.saving import save_model

        _check_overwrite(Path(path), overwrite)

        return save_model(self, path, approximate=approximate)

    def save_weights(self, filepath: str | PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone, as Keras 3 does, which loads them into a model of the same layers.

        Parameters
        ----------
        filepath : path-like
            Ends in ``.weights.h5``; replaced where it exists, in one step.
        overwrite : bool
            False: an existing file is left, and ``FileExistsError`` raised.

        Raises
        ------
        ValueError
            The name does not end in ``.weights.h5``, or the model is not built.
        FileExistsError
            The file exists, and ``overwrite`` is False.

        Examples
        --------
        >>> import tempfile, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_weights(f"{folder}/model.weights.h5")
        ...     model.load_weights(f"{folder}/model.weights.h5")
        """
        from unrolled.formats.writing import write_weights

        target = Path(filepath)
        if not target.name.endswith(".weights.h5"):
            raise ValueError(f"expected a file name that ends in .weights.h5, got {printable(target.name)!r}")
        self.check_built()
        _check_overwrite(target, overwrite)
        write_weights(target, self)

    @property
    def trainable_variables(self) -> list[Variable]:
        """Keras's second name of ``trainable_weights``."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """Keras's second name of ``non_trainable_weights``."""
        return self.non_trainable_weights

    def predict_on_batch(self, x: Any) -> Any:
        """Predict one batch: ``model(x)``, as Keras's method of this name.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            As for ``predict``.

        Returns
        -------
        ndarray of float32, or a list or dict of them
            The numbers of ``predict``.

        Raises
        ------
        ValueError
            As ``predict``.
        """
        return self(x)

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        *,
        loss: Any = None,
        metrics: Any = None,
    ) -> Any:
        """Compare predictions with labels, by Keras's losses and metrics.

        Parameters
        ----------
        x : array_like, or list or dict of array_like
            As for ``predict``.
        y : array_like
            Labels of the model's one output.
        batch_size : int, optional
            As in Keras; where the output has a mask each batch counts by its rows.
        verbose : {"auto", 0, 1}
            As for ``predict``.
        sample_weight : array_like, optional
            One for each sample: ``(batch,)``, or ``(batch, timesteps)`` of sequences. For the loss alone, as
            ``metrics`` of Keras have none.
        steps : None
            For Keras's signature: give as many rows as are to be compared.
        callbacks : None or empty list
            For Keras's signature.
        return_dict : bool
            A dict by name instead of floats.
        loss : str, dict or function, optional
            Keras's name or serialised form, or ``(y_true, y_pred)`` to a number for each sample.
        metrics : list of str or function, optional
            Keras's names, or functions as for ``loss``.

        Returns
        -------
        float, list of float, or dict of str to float
            The loss where one is given, then the metrics in their order.

        Raises
        ------
        ValueError
            The model has several outputs, ``y`` does not fit, or a loss or metric is unknown.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(1, input_shape=(2, 10))])
        >>> model.evaluate(np.zeros((4, 2, 10)), np.ones((4, 1)), loss="mse", metrics=["mae"])
        [1.0, 1.0]
        """
        from unrolled.models.evaluation import evaluate

        refuse_callbacks(callbacks)
        if steps is not None:
            raise ValueError("steps: give as many rows of x and y as are to be compared instead")
        results = evaluate(self, x, y, batch_size, verbose, sample_weight, loss=loss, metrics=metrics)
        values = list(results.values())
        return results if return_dict else values[0] if len(values) == 1 else values

    def to_json(self, **kwargs: Any) -> str:
        """The architecture as JSON in Keras 3's words; ``models.model_from_json`` takes it back.

        Parameters
        ----------
        **kwargs
            For ``json.dumps``.

        Returns
        -------
        str

        Examples
        --------
        >>> import unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> unrolled.model_from_json(model.to_json()).count_params()
        42
        """
        import json

        from unrolled.models.plain import plain

        module, registered = self.serialized_as
        described = {
            "module": module,
            "class_name": self.class_name,
            "config": plain(self.get_config()),
            "registered_name": registered,
        }
        return json.dumps(described, **kwargs)

    def export(self, path: str | PathLike[str]) -> None:
        """Write the model as a plan file, which ``load_model`` opens in milliseconds and C programs run.

        Parameters
        ----------
        path : path-like
            Replaced where it exists, in one step; such files end in ``.unrolled`` by custom.

        Raises
        ------
        UnsupportedModelError
            A layer calls a Python function, or keeps states from call to call; ``problems`` names them.
        ValueError
            The model is not built.

        Examples
        --------
        >>> import tempfile, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.export(f"{folder}/model.unrolled")
        ...     unrolled.load_model(f"{folder}/model.unrolled").output_shape
        (None, 3)
        """
        from unrolled.models.exporting import export_model

        export_model(self, path)

    def reset_states(self) -> None:
        """Zero the states of all stateful layers: Keras 2's name of ``reset_state``."""
        self.reset_state()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(missing_attribute(type(self).__name__, name))

    def __dir__(self) -> list[str]:
        """What tab completion shows: what users need, and attributes that they set."""
        return sorted(set(super().__dir__()) - OF_AUTHORS)

    def predict_sequences(
        self, sequences: Any, lengths: ArrayLike | None = None, batch_size: int | None = None
    ) -> list[Any]:
        """Predict sequences of different lengths, each exactly as if it were predicted alone.

        Nothing is padded: sequences of equal length form batches, and a causal model takes sequences of
        different lengths together, each up to its own end. Any layer works that has a meaning on the
        sequence's own length, Bidirectional among them.

        Parameters
        ----------
        sequences : list of array_like
            Each ``(timesteps, features)``, of any length; a list or dict in it for several inputs. With
            ``lengths``: one array ``(batch, timesteps, features)``, padded at the end with anything.
        lengths : array_like of int, optional
            How many timesteps of each row of the padded array are its sequence.
        batch_size : int, optional
            Sequences computed together at most. Never changes a result; chosen where absent.

        Returns
        -------
        list
            For each sequence its output without the batch axis, ``(timesteps, units)`` or ``(units,)``; a
            list or dict in it for several outputs.

        Raises
        ------
        ValueError
            A sequence does not fit the model; the message says which.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.GRU(3, return_sequences=True, input_shape=(None, 2))])
        >>> [y.shape for y in model.predict_sequences([np.zeros((5, 2)), np.zeros((9, 2))])]
        [(5, 3), (9, 3)]
        """
        from unrolled.streaming.sequences import predict_sequences

        result: list[Any] = predict_sequences(self, sequences, lengths, batch_size)
        return result

    def generate(
        self,
        x: Any,
        steps: int,
        *,
        window: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        from_logits: bool = False,
    ) -> NDArray[Any]:
        """Feed the model's output back as its next input, again and again; the loop is in C++.

        A causal model whose number of timesteps is free runs as a stream: every step sees all timesteps
        before it. A model with a fixed number of timesteps, or with ``window``, sees that many last ones.
        Either way the result is that of a loop around ``predict``.

        Parameters
        ----------
        x : array_like
            What to go on from: ``(batch, timesteps, features)``, or ids ``(batch, timesteps)``.
        steps : int
            How many timesteps to generate.
        window : int, optional
            Give the model only so many last timesteps.
        temperature : float, optional
            Draw tokens with probabilities raised to ``1 / temperature``; 0 takes the most likely one, which
            is the default of models that take ids. Given for a model that takes vectors, its output is
            the probabilities of tokens and their one-hot vectors are fed back.
        top_k : int, optional
            Draw among so many most likely tokens (``temperature`` is then 1 where absent).
        seed : int, optional
            The same seed draws the same tokens, each row by itself; a different one each time where absent.
        from_logits : bool
            The model's output is logits, not probabilities.

        Returns
        -------
        ndarray
            ``(batch, steps, features)`` of float32, or ``(batch, steps)`` of int32 ids for tokens.

        Raises
        ------
        ValueError
            The output cannot be the next input, an id is out of range, or an argument is.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential(
        ...     [unrolled.layers.GRU(4, input_shape=(None, 2)), unrolled.layers.Dense(2)]
        ... )
        >>> model.generate(np.ones((1, 5, 2)), steps=3).shape
        (1, 3, 2)
        """
        from unrolled.streaming.generation import generate

        return generate(
            self, x, steps, window=window, temperature=temperature, top_k=top_k, seed=seed,
            from_logits=from_logits,
        )  # fmt: skip

    def stream(self, batch_size: int = 1) -> Stream:
        """A live stream of this model: timesteps in, outputs out, the states kept in between.

        Parameters
        ----------
        batch_size : int
            Rows that are stepped together.

        Returns
        -------
        Stream
            It keeps the weights that the model has now.

        Raises
        ------
        StreamError
            The model needs timesteps that are still to come; the message names the layer (a ``ValueError``).

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(None, 10))])
        >>> stream = model.stream()
        >>> stream.step(np.zeros((1, 10), np.float32)).shape
        (1, 3)
        """
        from unrolled.streaming import Stream

        return Stream(self, batch_size)

    def stream_pool(self, capacity: int = 1024) -> StreamPool:
        """Streams of many clients that come and go, stepped together as one batch.

        Parameters
        ----------
        capacity : int
            Clients that there is room for at first; the room doubles whenever it is full.

        Returns
        -------
        StreamPool
            It keeps the weights that the model has now.

        Raises
        ------
        StreamError
            The model needs timesteps that are still to come; the message names the layer (a ``ValueError``).

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(None, 10))])
        >>> with model.stream_pool() as pool:
        ...     clients = [pool.open(), pool.open()]
        ...     pool.step(clients, np.zeros((2, 10), np.float32)).shape
        (2, 3)
        """
        from unrolled.streaming import StreamPool

        return StreamPool(self, capacity)

    # ----------------------------------------------------------------- summary

    def summary(
        self,
        line_length: int | None = None,
        *,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print the table that Keras 3 prints.

        Parameters
        ----------
        line_length : int, optional
            Characters a line; what fits the terminal, at most Keras's default, where absent.
        print_fn : callable, optional
            Called once with the whole text instead of printing it.
        expand_nested, show_trainable : bool
            As in Keras.

        Raises
        ------
        ValueError
            ``line_length`` is too small for the columns.
        """
        text = summary_text(
            self, line_length=line_length, expand_nested=expand_nested, show_trainable=show_trainable
        )
        if print_fn is None:
            print(text, end="")
        else:
            print_fn(text)


def _check_overwrite(path: Path, overwrite: bool) -> None:
    if not overwrite and path.exists():
        raise FileExistsError(f"{printable(str(path))} exists, and overwrite=False")
