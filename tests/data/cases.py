# SPDX-License-Identifier: MIT
"""What the fixtures are: every layer and option that changes inference, as recipes.

A case is a dict: ``name``, ``recipe`` (see ``tests/recipes.py``), ``format`` (how the model is stored),
and optionally ``calls`` (how many successive calls, for stateful layers), ``call`` (True: run ``model(x)``
instead of ``predict``) and ``tolerance`` (a class of ``tests/tolerances.py``).
"""

from __future__ import annotations

import itertools

CELLS = {
    "simple_rnn": {"class": "SimpleRNN"},
    "lstm": {"class": "LSTM"},
    "gru": {"class": "GRU"},
    "gru_reset_before": {"class": "GRU", "reset_after": False},
}
ACTIVATIONS_BOTH = (
    "linear", "relu", "sigmoid", "hard_sigmoid", "tanh", "softmax", "softplus", "softsign", "elu", "selu",
    "gelu", "swish", "exponential", "mish",
)  # fmt: skip
ACTIVATIONS_KERAS_3 = (
    "relu6", "leaky_relu", "silu", "log_softmax", "celu", "glu", "squareplus", "hard_silu", "hard_swish",
    "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "sparse_plus", "sparse_sigmoid", "sparsemax",
    "log_sigmoid",
)  # fmt: skip
DROPOUTS = {
    "dropout": {"class": "Dropout", "rate": 0.4},
    "spatial_dropout": {"class": "SpatialDropout1D", "rate": 0.4},
    "gaussian_dropout": {"class": "GaussianDropout", "rate": 0.4},
    "gaussian_noise": {"class": "GaussianNoise", "stddev": 0.4},
    "alpha_dropout": {"class": "AlphaDropout", "rate": 0.4},
}


def cases(keras):
    """All cases for "keras" (Keras 3) or "tf_keras" (Keras 2)."""
    collected = [
        *recurrent_cases(keras),
        *bidirectional_cases(keras),
        *time_distributed_cases(keras),
        *plain_cases(keras),
        *activation_cases(keras),
        *model_cases(keras),
        *format_cases(keras),
    ]
    names = [case["name"] for case in collected]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"cases need different names: {sorted(repeated)}")
    # Both containers hold every kind of layer: single cases alternate between them.
    for number, case in enumerate(collected):
        case.setdefault("format", ("keras", "h5")[number % 2])
    return collected


def case(name, layers, shape, **options):
    keys = ("kind", "batch_size", "input_dtype")
    recipe = {"layers": layers, "input_shape": list(shape)}
    recipe |= {key: options.pop(key) for key in keys if key in options}
    return {"name": name, "recipe": recipe, **options}


def masking(value=0.0):
    return {"class": "Masking", "mask_value": value}


def recurrent_cases(keras):
    for (name, cell), units in zip(CELLS.items(), (3, 4, 7, 5), strict=True):
        layer = cell | {"units": units}
        yield case(f"{name}_default", [layer], (6, 4))
        yield case(f"{name}_return_sequences", [layer | {"return_sequences": True}], (6, 4))
        yield case(
            f"{name}_return_state",
            [layer | {"return_state": True}],
            (5, 3),
            kind="functional",
        )
        yield case(
            f"{name}_return_sequences_and_state",
            [layer | {"return_state": True, "return_sequences": True}],
            (5, 3),
            kind="functional",
        )
        yield case(f"{name}_go_backwards", [layer | {"go_backwards": True}], (6, 4))
        yield case(
            f"{name}_go_backwards_sequences",
            [layer | {"go_backwards": True, "return_sequences": True}],
            (6, 4),
        )
        yield case(f"{name}_without_bias", [layer | {"use_bias": False, "return_sequences": True}], (6, 4))
        yield case(f"{name}_unrolled", [layer | {"unroll": True, "return_sequences": True}], (6, 4))
        yield case(f"{name}_one_timestep_one_feature_one_unit", [cell | {"units": 1}], (1, 1))
        yield case(
            f"{name}_seventeen_units_any_length",
            [cell | {"units": 17, "return_sequences": True}],
            (None, 9),
        )
        yield case(
            f"{name}_stateful",
            [layer | {"stateful": True, "return_sequences": True}],
            (3, 4),
            batch_size=2,
            calls=3,
        )
        yield case(
            f"{name}_stateful_masked_backwards",
            [masking(), layer | {"stateful": True, "go_backwards": True}],
            (4, 3),
            batch_size=5,
            calls=2,
        )
        for mask_name, first, shape, dtype in (
            ("masking", masking(), (7, 4), "float32"),
            ("masking_value", masking(-1.5), (7, 4), "float32"),
            (
                "embedding",
                {"class": "Embedding", "input_dim": 9, "output_dim": 5, "mask_zero": True},
                (7,),
                "int32",
            ),
        ):
            yield case(f"{name}_masked_by_{mask_name}", [first, layer], shape, input_dtype=dtype)
            yield case(
                f"{name}_sequences_masked_by_{mask_name}",
                [first, layer | {"return_sequences": True}],
                shape,
                input_dtype=dtype,
            )
        masked = [masking(), layer | {"return_sequences": True, "return_state": True}]
        yield case(f"{name}_masked_state", masked, (7, 4), kind="functional")
        for backwards, sequences, unroll in itertools.product((False, True), repeat=3):
            words = "".join(
                word
                for word, on in zip(
                    ("_backwards", "_sequences", "_unrolled"), (backwards, sequences, unroll), strict=True
                )
                if on
            )
            if unroll and not sequences:
                continue  # Keras itself fails on it: its mask has more timesteps than the output
            if name == "simple_rnn" or (unroll and backwards):
                yield case(
                    f"{name}_zero_output_for_mask{words}",
                    [
                        masking(),
                        layer
                        | {
                            "zero_output_for_mask": True,
                            "go_backwards": backwards,
                            "return_sequences": sequences,
                            "unroll": unroll,
                        },
                    ],
                    (5, 3),
                )
        two = [
            masking(),
            layer | {"return_sequences": True},
            {"class": "Dropout", "rate": 0.3},
            cell | {"units": 3},
            {"class": "Dense", "units": 2, "activation": "softmax"},
        ]
        yield case(f"{name}_stack_carries_the_mask", two, (6, 4))
        if keras == "tf_keras":
            for sequences, masked in itertools.product((False, True), repeat=2):
                yield case(
                    f"{name}_time_major{'_sequences' * sequences}{'_masked' * masked}",
                    [masking()] * masked + [layer | {"time_major": True, "return_sequences": sequences}],
                    (5, 3),
                    batch_size=4,
                    call=True,
                )
    for name in ("lstm", "gru", "simple_rnn"):
        for activation in (
            "relu",
            "sigmoid",
            "swish",
            "softsign",
            "hard_sigmoid",
            "linear",
            "elu",
            "softmax",
        ):
            yield case(
                f"{name}_activation_{activation}",
                [CELLS[name] | {"units": 5, "activation": activation}],
                (4, 3),
            )
        if name != "simple_rnn":
            for activation in ("hard_sigmoid", "tanh", "relu", "linear", "softmax"):
                yield case(
                    f"{name}_recurrent_activation_{activation}",
                    [CELLS[name] | {"units": 5, "recurrent_activation": activation}],
                    (4, 3),
                )
    for name in ("lstm", "gru", "simple_rnn"):
        yield case(
            f"{name}_implementation_and_dropouts_change_nothing",
            [CELLS[name] | {"units": 5, "dropout": 0.3, "recurrent_dropout": 0.2}],
            (4, 3),
        )


def bidirectional_cases(keras):
    def wrap(cell, units=4, **options):
        wrapper = {key: options.pop(key) for key in ("merge_mode", "backward_layer") if key in options}
        return {"class": "Bidirectional", "layer": cell | {"units": units} | options} | wrapper

    for merge_mode in ("concat", "sum", "mul", "ave", None):
        word = merge_mode or "none"
        for sequences, state in itertools.product((False, True), repeat=2):
            yield case(
                f"bidirectional_lstm_{word}{'_sequences' * sequences}{'_state' * state}",
                [
                    wrap(
                        CELLS["lstm"],
                        merge_mode=merge_mode,
                        return_sequences=sequences,
                        return_state=state,
                    )
                ],
                (5, 3),
                kind="functional" if state or merge_mode is None else "sequential",
            )
        for sequences in (False, True):
            yield case(
                f"bidirectional_gru_{word}{'_sequences' * sequences}_masked",
                [masking(), wrap(CELLS["gru"], merge_mode=merge_mode, return_sequences=sequences)],
                (6, 3),
                kind="functional" if merge_mode is None else "sequential",
            )
    for name, cell in CELLS.items():
        yield case(f"bidirectional_{name}", [wrap(cell, units=3)], (5, 3))
        yield case(
            f"bidirectional_{name}_masked_sequences_then_{name}",
            [
                {"class": "Embedding", "input_dim": 9, "output_dim": 5, "mask_zero": True},
                wrap(cell, return_sequences=True),
                cell | {"units": 2},
            ],
            (6,),
            input_dtype="int32",
        )
        yield case(f"bidirectional_{name}_without_bias", [wrap(cell, use_bias=False)], (5, 3))
        yield case(
            f"bidirectional_{name}_unrolled_masked",
            [masking(), wrap(cell, unroll=True, return_sequences=True)],
            (5, 3),
        )
        yield case(
            f"bidirectional_{name}_stateful",
            [wrap(cell, stateful=True, return_sequences=True)],
            (3, 3),
            batch_size=2,
            calls=2,
        )
    yield case(
        "bidirectional_custom_backward_layer",
        [
            wrap(
                CELLS["lstm"],
                return_sequences=True,
                backward_layer=CELLS["gru"] | {"units": 3, "return_sequences": True, "go_backwards": True},
            )
        ],
        (5, 3),
    )
    yield case(
        "bidirectional_custom_backward_layer_masked_sum",
        [
            masking(),
            wrap(
                CELLS["lstm"],
                merge_mode="sum",
                activation="relu",
                backward_layer=CELLS["simple_rnn"] | {"units": 4, "go_backwards": True},
            ),
        ],
        (5, 3),
    )
    if keras == "keras":
        # Where the forward layer goes backwards, tf_keras and Keras 3 make the other one differently.
        yield case(
            "bidirectional_forward_layer_goes_backwards",
            [
                wrap(
                    CELLS["lstm"],
                    go_backwards=True,
                    return_sequences=True,
                    backward_layer=CELLS["lstm"] | {"units": 4, "return_sequences": True},
                )
            ],
            (5, 3),
        )
    else:
        yield case(
            "bidirectional_forward_layer_goes_backwards",
            [wrap(CELLS["lstm"], go_backwards=True, return_sequences=True)],
            (5, 3),
        )


def time_distributed_cases(keras):
    def wrap(layer):
        return {"class": "TimeDistributed", "layer": layer}

    dense = {"class": "Dense", "units": 3, "activation": "tanh"}
    yield case("time_distributed_dense", [wrap(dense)], (5, 4))
    yield case("time_distributed_dense_any_length", [wrap(dense)], (None, 4))
    yield case(
        "time_distributed_conv1d",
        [wrap({"class": "Conv1D", "filters": 3, "kernel_size": 2, "padding": "same"})],
        (3, 6, 2),
    )
    yield case(
        "time_distributed_pooling_and_flatten",
        [
            wrap({"class": "MaxPooling1D", "pool_size": 2}),
            wrap({"class": "Flatten"}),
            CELLS["lstm"] | {"units": 3},
        ],
        (3, 6, 2),
    )
    yield case("time_distributed_lstm", [wrap(CELLS["lstm"] | {"units": 3})], (3, 5, 2))
    yield case(
        "time_distributed_gru_sequences",
        [wrap(CELLS["gru"] | {"units": 3, "return_sequences": True})],
        (3, 5, 2),
    )
    yield case(
        "time_distributed_bidirectional",
        [
            wrap({"class": "Bidirectional", "layer": CELLS["lstm"] | {"units": 3}}),
            CELLS["gru"] | {"units": 2},
        ],
        (3, 5, 2),
    )
    yield case("time_distributed_batch_normalization", [wrap({"class": "BatchNormalization"})], (5, 3))
    yield case("time_distributed_time_distributed_dense", [wrap(wrap(dense))], (2, 3, 4))
    yield case(
        "time_distributed_dense_carries_the_mask",
        [
            masking(),
            CELLS["lstm"] | {"units": 4, "return_sequences": True},
            wrap(dense),
            CELLS["gru"] | {"units": 3},
        ],
        (6, 4),
    )
    yield case(
        "time_distributed_embedding",
        [
            wrap({"class": "Embedding", "input_dim": 9, "output_dim": 3}),
            wrap({"class": "Bidirectional", "layer": CELLS["lstm"] | {"units": 3}}),
            {"class": "Bidirectional", "layer": CELLS["lstm"] | {"units": 2}},
        ],
        (4, 5),
        input_dtype="int32",
    )
    # keras_spec rule 8: with mask_zero the mask reaches the inner layer in Keras 2 and not in Keras 3.
    yield case(
        "time_distributed_embedding_with_mask_zero",
        [
            wrap({"class": "Embedding", "input_dim": 9, "output_dim": 3, "mask_zero": True}),
            wrap(CELLS["lstm"] | {"units": 3}),
        ],
        (4, 5),
        input_dtype="int32",
    )
    yield case(
        "time_distributed_lstm_below_a_mask_of_three_axes",
        [masking(), wrap(CELLS["lstm"] | {"units": 3}), {"class": "Flatten"}],
        (4, 5, 2),
    )


def plain_cases(keras):
    lstm = {"class": "LSTM", "units": 3}
    for activation in (None, "relu"):
        for bias in (True, False):
            yield case(
                f"dense_{activation}{'' if bias else '_without_bias'}",
                [{"class": "Dense", "units": 5, "activation": activation, "use_bias": bias}],
                (4,),
            )
    yield case("dense_on_rank_four", [{"class": "Dense", "units": 5}], (2, 3, 4))
    yield case(
        "embedding", [{"class": "Embedding", "input_dim": 11, "output_dim": 3}], (6,), input_dtype="int32"
    )
    yield case(
        "embedding_of_float_ids",
        [{"class": "Embedding", "input_dim": 11, "output_dim": 3, "mask_zero": True}, lstm],
        (6,),
        input_dtype="float32",
    )
    yield case("masking_zeroes_what_it_masks", [masking(2.5)], (6, 3))
    yield case("masking_one_feature", [masking(), lstm], (6, 1))
    for name, layer in DROPOUTS.items():
        yield case(f"{name}_is_identity_and_carries_the_mask", [masking(), layer, lstm], (6, 3))
    for scale, center in itertools.product((True, False), repeat=2):
        words = f"{'' if scale else '_without_scale'}{'' if center else '_without_center'}"
        options = {"scale": scale, "center": center, "epsilon": 0.01}
        yield case(f"batch_normalization{words}", [{"class": "BatchNormalization"} | options], (5, 4))
        yield case(f"layer_normalization{words}", [{"class": "LayerNormalization"} | options], (5, 4))
    yield case("batch_normalization_axis_1", [{"class": "BatchNormalization", "axis": 1}], (5, 4))
    yield case("batch_normalization_of_rows", [{"class": "BatchNormalization"}], (4,))
    yield case("layer_normalization_two_axes", [{"class": "LayerNormalization", "axis": [1, 2]}], (5, 4))
    yield case("layer_normalization_axis_1", [{"class": "LayerNormalization", "axis": 1}], (5, 4))
    for name, layer in (("batch", "BatchNormalization"), ("layer", "LayerNormalization")):
        yield case(f"{name}_normalization_carries_the_mask", [masking(), {"class": layer}, lstm], (6, 3))
    conv = {"class": "Conv1D", "filters": 6, "kernel_size": 3}
    for padding in ("valid", "same", "causal"):
        yield case(f"conv1d_{padding}", [conv | {"padding": padding, "activation": "relu"}], (9, 4))
        yield case(f"conv1d_{padding}_strides", [conv | {"padding": padding, "strides": 2}], (8, 4))
        yield case(f"conv1d_{padding}_dilated", [conv | {"padding": padding, "dilation_rate": 2}], (9, 4))
    yield case("conv1d_kernel_four_same_strides_three", [conv | {"kernel_size": 4, "padding": "same", "strides": 3}], (9, 2))  # fmt: skip
    yield case("conv1d_groups", [conv | {"groups": 2, "padding": "same"}], (7, 4))
    yield case("conv1d_depthwise_groups_without_bias", [conv | {"groups": 3, "use_bias": False}], (7, 3))
    yield case("conv1d_kernel_one_any_length", [conv | {"kernel_size": 1}], (None, 4))
    yield case("conv1d_destroys_the_mask", [masking(), conv | {"padding": "same"}, lstm], (6, 3))
    for name, layer in (("max", "MaxPooling1D"), ("average", "AveragePooling1D")):
        yield case(f"{name}_pooling1d", [{"class": layer, "pool_size": 2}], (7, 3))
        yield case(f"{name}_pooling1d_same", [{"class": layer, "pool_size": 3, "padding": "same"}], (7, 3))
        yield case(
            f"{name}_pooling1d_same_strides_one",
            [{"class": layer, "pool_size": 4, "strides": 1, "padding": "same"}],
            (7, 3),
        )
        yield case(f"{name}_pooling1d_strides", [{"class": layer, "pool_size": 3, "strides": 2}], (8, 3))
        yield case(f"global_{name}_pooling1d", [{"class": f"Global{layer}"}], (5, 3))
        yield case(
            f"global_{name}_pooling1d_keepdims", [{"class": f"Global{layer}", "keepdims": True}], (5, 3)
        )
        yield case(f"global_{name}_pooling1d_masked", [masking(), {"class": f"Global{layer}"}], (6, 3))
        yield case(
            f"global_{name}_pooling1d_after_masked_lstm",
            [masking(), lstm | {"return_sequences": True}, {"class": f"Global{layer}"}],
            (6, 3),
        )
    yield case("flatten", [{"class": "Flatten"}, {"class": "Dense", "units": 2}], (4, 3))
    yield case("flatten_of_rank_four", [{"class": "Flatten"}], (2, 3, 4))
    yield case("reshape", [{"class": "Reshape", "target_shape": [2, 6]}], (4, 3))
    yield case("reshape_with_minus_one", [{"class": "Reshape", "target_shape": [-1, 2]}, lstm], (4, 3))
    yield case("permute", [{"class": "Permute", "dims": [2, 1]}, lstm], (4, 3))
    yield case("permute_rank_four", [{"class": "Permute", "dims": [3, 1, 2]}], (2, 3, 4))
    yield case("repeat_vector", [lstm, {"class": "RepeatVector", "n": 4}, lstm | {"units": 2}], (4, 3))
    yield case("cropping1d", [{"class": "Cropping1D", "cropping": [1, 2]}], (7, 3))
    yield case("zero_padding1d", [{"class": "ZeroPadding1D", "padding": [2, 1]}], (4, 3))
    yield case("up_sampling1d", [{"class": "UpSampling1D", "size": 3}], (4, 3))
    for name, layer in (
        ("flatten", {"class": "Flatten"}),
        ("up_sampling1d", {"class": "UpSampling1D", "size": 2}),
        ("zero_padding1d", {"class": "ZeroPadding1D", "padding": 1}),
        ("cropping1d", {"class": "Cropping1D", "cropping": 1}),
        ("max_pooling1d", {"class": "MaxPooling1D", "pool_size": 2}),
        ("reshape", {"class": "Reshape", "target_shape": [3, 8]}),
        ("permute", {"class": "Permute", "dims": [2, 1]}),
    ):
        after = {"class": "Dense", "units": 2} if name == "flatten" else lstm
        yield case(f"{name}_destroys_the_mask", [masking(), layer, after], (6, 4))
    yield case("activation_layer_carries_the_mask", [masking(), {"class": "Activation", "activation": "tanh"}, lstm], (6, 3))  # fmt: skip
    slope = "negative_slope" if keras == "keras" else "alpha"
    relu = {"class": "ReLU"}
    yield case("relu_layer", [relu], (6, 3))
    yield case("relu_layer_all_options", [relu | {"max_value": 1.0, "negative_slope": 0.25, "threshold": 0.5}], (6, 3))  # fmt: skip
    yield case("relu_layer_max_value", [relu | {"max_value": 0.7}], (6, 3))
    yield case("relu_layer_negative_slope", [relu | {"negative_slope": 0.1}], (6, 3))
    yield case("relu_layer_threshold", [relu | {"threshold": 0.5}], (6, 3))
    yield case("leaky_relu_layer_default", [{"class": "LeakyReLU"}], (6, 3))
    yield case("leaky_relu_layer", [{"class": "LeakyReLU", slope: 0.1}], (6, 3))
    yield case("elu_layer", [{"class": "ELU", "alpha": 0.7}], (6, 3))
    yield case("prelu_layer", [{"class": "PReLU"}], (6, 3))
    yield case("prelu_layer_shared_axes", [{"class": "PReLU", "shared_axes": [1]}], (6, 3))
    yield case("softmax_layer", [{"class": "Softmax"}], (6, 3))
    yield case("softmax_layer_axis_1", [{"class": "Softmax", "axis": 1}], (6, 3))
    if keras == "tf_keras":
        yield case("thresholded_relu_layer", [{"class": "ThresholdedReLU", "theta": 0.6}], (6, 3))
    for name, layer in (
        ("leaky_relu", {"class": "LeakyReLU"}),
        ("prelu", {"class": "PReLU"}),
        ("elu", {"class": "ELU"}),
        ("relu", relu),
    ):
        yield case(f"{name}_layer_carries_the_mask", [masking(), layer, lstm], (6, 3))
    yield case("rescaling", [{"class": "Rescaling", "scale": 0.5, "offset": -1.0}], (6, 3))
    # The mask passes through both in Keras 3 and through neither in Keras 2.
    yield case("rescaling_and_the_mask", [masking(), {"class": "Rescaling", "scale": 0.5}, lstm], (6, 3))
    given = {"class": "Normalization", "mean": [0.5, -1.0, 2.0], "variance": [1.5, 0.25, 4.0]}
    yield case("normalization_given", [given], (6, 3))
    yield case("normalization_given_inverted", [given | {"invert": True}], (6, 3))
    yield case("normalization_adapted", [{"class": "Normalization"}], (6, 3))
    yield case("normalization_of_everything", [{"class": "Normalization", "axis": None, "mean": 0.5, "variance": 2.0}], (6, 3))  # fmt: skip
    yield case("normalization_and_the_mask", [masking(), given, lstm], (6, 3))


def activation_cases(keras):
    names = ACTIVATIONS_BOTH + (ACTIVATIONS_KERAS_3 if keras == "keras" else ())
    for name in names:
        # Three axes; the scale reaches into saturation.
        yield case(
            f"activation_{name}",
            [{"class": "Rescaling", "scale": 4.0}, {"class": "Activation", "activation": name}],
            (5, 6),
        )
        yield case(f"dense_activation_{name}", [{"class": "Dense", "units": 4, "activation": name}], (5,))


def model_cases(keras):
    yield case("tutorial_simple_rnn_of_42_parameters", [{"class": "SimpleRNN", "units": 3}], (2, 10))
    deep = [{"class": "SimpleRNN", "units": units, "return_sequences": True} for units in (5, 4, 3)]
    yield case("tutorial_deep_simple_rnn", [*deep, {"class": "SimpleRNN", "units": 2}], (5, 3))
    yield case(
        "tutorial_bidirectional_simple_rnn",
        [
            {
                "class": "Bidirectional",
                "layer": {"class": "SimpleRNN", "units": 8, "return_sequences": True},
            }
        ],
        (10, 5),
    )
    lstm = [{"class": "LSTM", "units": units, "return_sequences": True} for units in (8, 6, 4, 3)]
    yield case(
        "deep_lstm_with_flatten_and_dense",
        [
            *lstm,
            {"class": "Flatten"},
            {"class": "Dense", "units": 4, "activation": "swish"},
            {"class": "Dense", "units": 1, "activation": "sigmoid"},
        ],
        (6, 13),
    )
    yield case(
        "functional_chain",
        [
            {"class": "Embedding", "input_dim": 11, "output_dim": 5, "mask_zero": True},
            {"class": "SpatialDropout1D", "rate": 0.2},
            {"class": "Bidirectional", "layer": {"class": "LSTM", "units": 4, "return_sequences": True}},
            {"class": "BatchNormalization"},
            {"class": "GRU", "units": 3},
            {"class": "Dense", "units": 2, "activation": "softmax"},
        ],
        (7,),
        input_dtype="int32",
        kind="functional",
    )
    yield case(
        "conv_pool_lstm_classifier",
        [
            {"class": "Conv1D", "filters": 5, "kernel_size": 3, "padding": "same", "activation": "relu"},
            {"class": "BatchNormalization"},
            {"class": "MaxPooling1D", "pool_size": 2},
            {"class": "Dropout", "rate": 0.3},
            {"class": "LSTM", "units": 4, "activation": "relu"},
            {"class": "Dense", "units": 3, "activation": "softmax"},
        ],
        (9, 4),
    )
    yield case(
        "sequence_autoencoder",
        [
            {"class": "LSTM", "units": 4},
            {"class": "RepeatVector", "n": 5},
            {"class": "LSTM", "units": 4, "return_sequences": True},
            {"class": "TimeDistributed", "layer": {"class": "Dense", "units": 3}},
        ],
        (5, 3),
    )


def format_cases(keras):
    """One model in every container that Keras writes."""
    layers = [
        {"class": "Bidirectional", "layer": {"class": "LSTM", "units": 3, "return_sequences": True}},
        {"class": "LayerNormalization"},
        {"class": "TimeDistributed", "layer": {"class": "Dense", "units": 4}},
        {"class": "GRU", "units": 3},
        {"class": "Dense", "units": 3, "activation": "relu"},
        {"class": "BatchNormalization"},
        {"class": "Dense", "units": 2},
    ]
    formats = ["keras", "h5", "json_weights_h5"]
    formats.append("json_sharded" if keras == "keras" else "json_old_weights_h5")
    for format in formats:
        for kind in ("sequential", "functional", "deferred"):
            if kind == "deferred" and format not in ("keras", "h5"):
                continue
            yield case(f"format_{format}_{kind}", layers, (5, 4), kind=kind, format=format)
