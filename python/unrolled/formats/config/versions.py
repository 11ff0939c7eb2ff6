# SPDX-License-Identifier: MIT
"""The one place that knows what differs between the Keras versions that wrote a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from unrolled.semantics import KERAS_3, Semantics


@dataclass(frozen=True)
class Writer:
    """The Keras that wrote a file.

    Parameters
    ----------
    text : str
        The version as the file says it, or "1.x" / "3.x" where the layout alone tells.
    major, minor : int
        Its first two numbers; 0 for a minor that the file does not say.
    tensorflow : bool
        Keras inside TensorFlow (tf.keras, tf_keras) rather than the stand-alone package. From 2.4 on
        every Keras 2 is; before, the version ends in "-tf".
    patch : int
        The third number; 0 where the file does not say it.
    javascript : bool
        TensorFlow.js itself, which follows Keras 2.2.
    """

    text: str
    major: int
    minor: int
    tensorflow: bool = False
    patch: int = 0
    javascript: bool = False

    @property
    def old_hard_sigmoid(self) -> bool:
        """Whether "hard_sigmoid" is clip(0.2 x + 0.5, 0, 1): before Keras 3 (now clip(x / 6 + 0.5, 0, 1))."""
        return self.major < 3

    @property
    def recurrent_activation(self) -> str:
        """Default of LSTM and GRU where a config has no ``recurrent_activation``.

        The stand-alone Keras changed from "hard_sigmoid" to "sigmoid" in 2.3; tf.keras always wrote it out.
        """
        return "hard_sigmoid" if self.major < 2 or (self.major == 2 and self.minor < 3) else "sigmoid"

    @property
    def convolutional_recurrent_activation(self) -> str:
        """The same for ConvLSTM, whose default stayed "hard_sigmoid" until Keras 3."""
        return "hard_sigmoid" if self.major < 3 else "sigmoid"

    @property
    def reset_after(self) -> bool:
        """Default of GRU where a config has no ``reset_after``: the key came with Keras 2.1.5, as False."""
        return self.major >= 3

    @property
    def keras_1_names(self) -> bool:
        """Whether configs use Keras 1's names (``output_dim``, ``border_mode``, ...) and weight layouts."""
        return self.major < 2

    @property
    def keras_2_graphs(self) -> bool:
        """Whether graphs list their calls as ``[layer, node, tensor, kwargs]`` (Keras 1 and 2)."""
        return self.major < 3

    @property
    def counts_repeated_layers(self) -> bool:
        """Whether a layer that an earlier container already wrote still advances the counter of its class
        in the paths of `.keras` weights: tf.keras 2.14 to 2.16 skip it (tf_keras 2.21 saving_lib.py)."""
        return self.major != 2

    @property
    def _time_distributed_mask(self) -> Literal["input", "inner", "inner_of_any_batch"]:
        """Keras 2's rule: keras 2.2.0 wrappers.py got a compute_mask, tf.keras's another for its own layers."""
        if self.tensorflow:
            return "inner"
        if self.javascript:  # tfjs-layers 4.22 wrappers.ts: the mask passes as it came
            return "input"
        return "input" if (self.major, self.minor) < (2, 2) else "inner_of_any_batch"

    @property
    def semantics(self) -> Semantics:
        """The rules that no config key carries."""
        if self.major >= 3:
            minor = 99 if self.major > 3 or self.text == "3.x" else self.minor
            semantics = KERAS_3
            if minor < 10:  # keras-team/keras 3.10.0, layers/activations/softmax.py
                semantics = replace(semantics, softmax_zeroes_masked_rows=False)
            if minor < 4:  # keras-team/keras 3.4.0, layers/merging/base_merge.py: masks are combined by OR
                semantics = replace(semantics, merge_masks="all", concatenate_masks="all")
            # keras-team/keras, layers/layer.py: from 3.4.0 on the output of a layer called on a list gets a
            # mask, from 3.11.0 on a mask given explicitly passes on.
            return replace(
                semantics,
                lists_carry_masks=minor >= 4,
                # layers/attention/multi_head_attention.py
                query_mask_counts=minor < 8,
                # layers/attention/attention.py
                causal_mask_hides_value_mask=(minor, self.patch) < (0, 5),
                attention_takes_masks_away=minor >= 8,
                attention_always_by_softmax=minor < 7,
                explicit_mask_passes_on=minor >= 11,
            )
        return Semantics(
            merge_masks="all",
            concatenate_masks="all",
            time_distributed_mask=self._time_distributed_mask,
            bidirectional_zero_output=self.tensorflow,
            masked_output="state"
            if (self.major, self.minor) < (2, 2 if self.tensorflow else 3)
            else "previous",
            rescaling_keeps_mask=False,
            softmax_zeroes_masked_rows=False,
            attention_always_by_softmax=True,
            states_hide_mask=False,
            query_mask_counts=True,
            attention_takes_masks_away=False,
            stored_states_win=self.tensorflow,
            additive_attention_scales="value",
            group_normalization_takes_mask=True,
            convolutional_zero_output=False,
        )


KERAS_1 = Writer("1.x", 1, 0)
# TensorFlow 1.12 to 1.15: their checkpoints have configs without a version.
TENSORFLOW_1 = Writer("2.2.4-tf", 2, 2, tensorflow=True)
KERAS_3_UNKNOWN = Writer("3.x", 3, 0)


def parse_version(version: str) -> Writer:
    """The writer that a version string names, such as "2.2.4-tf", "2.15.0" or "3.12.3".

    A string that starts with no number counts as Keras 3 of unknown minor version.
    """
    if version.startswith("tfjs-layers"):
        return Writer(version, 2, 2, javascript=True)
    match = re.match(r"(\d{1,4})(?:\.(\d{1,4})(?:\.(\d{1,4}))?)?", version)
    if match is None:
        return Writer(version, 3, 99)
    major, minor = int(match[1]), int(match[2] or 0)
    tensorflow = major == 2 and (minor >= 4 or version.endswith("-tf"))
    return Writer(version, major, minor, tensorflow, int(match[3] or 0))
