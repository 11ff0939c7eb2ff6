# SPDX-License-Identifier: MIT
"""What changed between Keras versions and changes numbers, beyond what a config says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Semantics:
    """The rules of the Keras version that wrote a model; the defaults are those of Keras 3.4 to 3.15.

    Formulas that a config names (hard_sigmoid, GRU reset_after) are not here: the readers in ``formats``
    write them out in the config. Here are rules that no config key carries.

    Parameters
    ----------
    merge_masks : {"any", "all"}
        Masks of merge layers: "any" (Keras 3.4 on) ORs them, and one unmasked input means no mask;
        "all" (before) ANDs those that exist.
    concatenate_masks : {"any", "all"}
        Reduction of ``Concatenate``'s masks along the feature axis, changed with ``merge_masks``.
    time_distributed_mask : {"input", "inner"}
        The mask after ``TimeDistributed``: "input" (Keras 3), or "inner" (before): the inner layer's own
        mask, else any() of the input's mask over axes 2 and up.
    bidirectional_zero_output : bool
        ``Bidirectional`` sets ``zero_output_for_mask = return_sequences`` on both children (tf.keras and
        Keras 3; not the stand-alone Keras up to 2.3).
    masked_output : {"previous", "state"}
        What a recurrent layer gives at a masked step before the first unmasked one: zeros ("previous"),
        or the initial hidden state ("state": stand-alone Keras up to 2.2).
    rescaling_keeps_mask : bool
        ``Rescaling`` and ``Normalization`` pass the mask on (Keras 3) or drop it.
    convolutional_zero_output : bool
        ConvLSTM layers honour ``zero_output_for_mask`` (Keras 3), also where Bidirectional sets it, or always
        give the previous output at masked steps (before).
    softmax_zeroes_masked_rows : bool
        The Softmax layer, and MultiHeadAttention where it goes through it (with dropout, or giving the
        scores), gives zeros where a mask allows nothing (Keras 3.10 on), or equal weights (before).
    """

    merge_masks: Literal["any", "all"] = "any"
    concatenate_masks: Literal["any", "all"] = "any"
    time_distributed_mask: Literal["input", "inner"] = "input"
    bidirectional_zero_output: bool = True
    masked_output: Literal["previous", "state"] = "previous"
    rescaling_keeps_mask: bool = True
    convolutional_zero_output: bool = True
    softmax_zeroes_masked_rows: bool = True


KERAS_3 = Semantics()
