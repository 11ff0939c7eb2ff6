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
    time_distributed_mask : {"input", "inner", "inner_of_any_batch"}
        The mask after ``TimeDistributed``: "input" (Keras 3), or "inner" (tf.keras): the inner layer's own
        mask, else any() of the input's mask over axes 2 and up; "inner_of_any_batch" (stand-alone Keras): so
        too, but with a fixed batch size the input's mask, as in tf.keras around stateful layers.
    bidirectional_zero_output : bool
        ``Bidirectional`` sets ``zero_output_for_mask = return_sequences`` on both children (tf.keras and
        Keras 3; not the stand-alone Keras up to 2.3).
    masked_output : {"previous", "state"}
        What a recurrent layer gives at a masked step before the first unmasked one: zeros ("previous"),
        or the initial hidden state ("state": stand-alone Keras up to 2.2).
    rescaling_keeps_mask : bool
        ``Rescaling``, ``Normalization`` and ``Identity`` pass the mask on (Keras 3) or drop it.
    convolutional_zero_output : bool
        ConvLSTM layers honour ``zero_output_for_mask`` (Keras 3), also where Bidirectional sets it, or always
        give the previous output at masked steps (before).
    softmax_zeroes_masked_rows : bool
        The Softmax layer, and MultiHeadAttention where it goes through it (with dropout, or giving the
        scores), gives zeros where a mask allows nothing (Keras 3.10 on), or nearly equal weights (before).
    attention_always_by_softmax : bool
        MultiHeadAttention goes through the Softmax layer always (before Keras 3.7), or with dropout or where it
        gives the scores.
    lists_carry_masks : bool
        Layers called on a list of tensors give their output a mask; those of Keras 3.0 to 3.3 never do.
    states_hide_mask : bool
        A recurrent layer that is given ``initial_state`` sweeps over every timestep, whatever mask its
        input carries; only one given as ``mask`` counts (Keras 3, which fills in the mask of a call only
        where there is one tensor argument). The mask passes on all the same.
    explicit_mask_passes_on : bool
        A mask given to a layer as ``mask`` becomes that of its output (Keras 2, and 3 from 3.11 on), or is
        used once, and the output has the mask of the first input. MultiHeadAttention passes on the mask of
        the query tensor in every version.
    query_mask_counts : bool
        MultiHeadAttention heeds a ``query_mask`` that its call gives (before Keras 3.8), or never: from then on
        it asks the query tensor, which may have lost its mask to a layer called before. A ``value_mask`` or
        ``key_mask`` that is given counts in every version, and one that is not is that of the tensor. So in
        3.0.0 to 3.15.1, each of which ran the models of ``tests/data/make_mask_fixtures.py``. Files by Keras
        3.0 to 3.9 give all of them, as Keras fills in what the user left out.
    causal_mask_hides_value_mask : bool
        Attention and AdditiveAttention with ``use_causal_mask`` heed no mask of the value (Keras 3.0.0 to 3.0.4).
    attention_takes_masks_away : bool
        MultiHeadAttention removes the masks of its inputs, also for layers called on them later
        (Keras 3.8 on).
    stored_states_win : bool
        A stateful recurrent layer that is given ``initial_state`` uses it only while its stored states are
        all 0 (tf.keras).
    additive_attention_scales : {"query", "value"}
        Whose features ``AdditiveAttention`` has a scale for each of: the query's, or the value's (tf.keras).
        They are as many, or 1.
    group_normalization_takes_mask : bool
        ``GroupNormalization`` counts unmasked elements only (tf.keras), broadcasting the mask to the input in
        a way that fails for nearly all shapes.
    """

    merge_masks: Literal["any", "all"] = "any"
    concatenate_masks: Literal["any", "all"] = "any"
    time_distributed_mask: Literal["input", "inner", "inner_of_any_batch"] = "input"
    bidirectional_zero_output: bool = True
    masked_output: Literal["previous", "state"] = "previous"
    rescaling_keeps_mask: bool = True
    convolutional_zero_output: bool = True
    softmax_zeroes_masked_rows: bool = True
    attention_always_by_softmax: bool = False
    lists_carry_masks: bool = True
    states_hide_mask: bool = True
    explicit_mask_passes_on: bool = True
    query_mask_counts: bool = False
    causal_mask_hides_value_mask: bool = False
    attention_takes_masks_away: bool = True
    stored_states_win: bool = False
    additive_attention_scales: Literal["query", "value"] = "query"
    group_normalization_takes_mask: bool = False


KERAS_3 = Semantics()
