# SPDX-License-Identifier: MIT
"""Models that read text, and strings for them: what Keras 3 and tf_keras gave for these is in ``data``."""

from __future__ import annotations

import random
from typing import Any

STRINGS = [
    "A truly wonderful film, I loved every minute of it!",
    "terrible... BORING; I want my two hours back :(",
    "",
    "  tabs\tand\nlines \x0b \x0c  and\rno\xa0break ",
    "İstanbul'da IĞDIR ıspanak, STRASSE straße ẞ",
    "Это ОЧЕНЬ хорошее кино — «правда»!",
    "这部电影非常好看。真的！",
    "cafe\u0301 CAFÉ naïve e\u0301\u0302 क्षि नमस्ते",
    "שלום עולם, مرحبا بالعالم؟",
    "emoji 👩‍👩‍👧 and \ufeff mark \u2028 line _under_ `tick` ~ ^ {x} [y] <z> \\ | @#$%&*",
    "good " * 30,
]
WORDS = sorted({word for text in STRINGS for word in text.lower().split()} | {"film", "loved", "it", "i"})[
    ::2
]
IDF = [0.25 * (1 + number % 7) for number in range(len(WORDS))]
CHARACTERS = sorted({character for text in STRINGS for character in text})[::2]

# Arguments of TextVectorization.
VECTORIZATIONS: list[dict[str, Any]] = [
    {"standardize": standardize, "vocabulary": WORDS}
    for standardize in ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
] + [
    {"split": "character", "vocabulary": CHARACTERS},
    {"split": "character", "vocabulary": CHARACTERS, "output_sequence_length": 9, "standardize": None},
    {"split": None, "vocabulary": ["", "[UNK]", "terrible boring i want my two hours back ", "b"]},
    {"split": None, "vocabulary": ["b", "c"], "output_sequence_length": 3},
    {"ngrams": 2, "vocabulary": [*WORDS, "of it", "loved every", "good good"]},
    {"ngrams": (1, 3), "vocabulary": [*WORDS, "loved every minute", "good good good"], "output_sequence_length": 5},
    {"output_mode": "multi_hot", "vocabulary": WORDS},
    {"output_mode": "count", "vocabulary": WORDS, "max_tokens": 200, "pad_to_max_tokens": True},
    {"output_mode": "tf_idf", "vocabulary": WORDS, "idf_weights": IDF},
    {"output_mode": "tf_idf", "vocabulary": ["[UNK]", *WORDS], "idf_weights": [0.5, *IDF], "max_tokens": 200,
     "pad_to_max_tokens": True, "ngrams": 2},
    {"output_sequence_length": 4, "vocabulary": ["", "[UNK]", *WORDS]},
]  # fmt: skip

# Arguments of StringLookup; input is (rows, 2) of TOKENS.
TOKENS = [
    ["a", "b"],
    ["", "c"],
    ["d", "[UNK]"],
    ["straße", "日本"],
    ["x" * 20, "y" * 40],
    ["z" * 70, "é" * 99],
]
LOOKUPS: list[dict[str, Any]] = [
    {"vocabulary": ["a", "日本", "d"]},
    {"vocabulary": ["a", "日本", "d"], "mask_token": ""},
    {"vocabulary": ["", "[UNK]", "a", "b"], "mask_token": "", "num_oov_indices": 1},
    {"vocabulary": ["a", "b"], "num_oov_indices": 7},
    {"vocabulary": ["a", "b"], "num_oov_indices": 3, "mask_token": "c", "output_mode": "count"},
    {"vocabulary": ["a", "b"], "num_oov_indices": 2, "output_mode": "multi_hot"},
    {"vocabulary": ["a", "b"], "output_mode": "multi_hot", "mask_token": "", "max_tokens": 9, "pad_to_max_tokens": True},
    {"vocabulary": ["a", "b"], "output_mode": "tf_idf", "idf_weights": [0.5, 0.25]},
]  # fmt: skip

# Arguments of IntegerLookup; input is (rows, 3) of NUMBERS.
NUMBERS = [[1, 2, 3], [-7, 0, 12], [40, -1, 5]]
INTEGERS: list[dict[str, Any]] = [
    {"vocabulary": [2, 12], "num_oov_indices": 4},
    {"vocabulary": [2, 12], "num_oov_indices": 3, "mask_token": 0},
    {"vocabulary": [2, 12], "num_oov_indices": 2, "mask_token": 0, "output_mode": "count"},
    {"vocabulary": [2, 12], "output_mode": "tf_idf", "idf_weights": [0.5, 0.25]},
    {"vocabulary": [2, 12, 5], "invert": True},
    {"vocabulary": [2, 12], "invert": True, "mask_token": 9},
]
# Of Keras 3 alone.
HASHED: list[dict[str, Any]] = [
    {"vocabulary": [2, 12], "num_oov_indices": 5, "oov_method": "farmhash"},
    {"vocabulary": [2, 12], "num_oov_indices": 5, "oov_method": "farmhash", "salt": [133, 137]},
]
SALTED: list[dict[str, Any]] = [
    {"vocabulary": ["a"], "num_oov_indices": 11, "salt": 5, "oov_method": "farmhash"},
    {"vocabulary": ["a", "b"], "output_mode": "one_hot"},
]


def random_strings(seed: int, count: int) -> list[str]:
    """Strings of any code points, with much white space and punctuation.

    None has a NUL, which NumPy takes off the ends of Keras's vocabularies.
    """
    draw = random.Random(seed)
    alphabet = [
        *" \t\n\r\x0b\x0c.,!?'\"-_aAbBzZİıßÉé",
        "\u0301",
        "\u2028",
        "日",
        "本",
        "я",
        "Я",
        "א",
        "👩",
        "\U0010ffff",
    ]
    return [
        "".join(
            draw.choice(alphabet) if draw.random() < 0.9 else chr(draw.randrange(1, 0xD800))
            for _ in range(draw.randrange(40))
        )
        for _ in range(count)
    ]
