# SPDX-License-Identifier: MIT
"""Write text with a character model: ``python examples/streaming/text.py MODEL ALPHABET "Once upon a"``.

MODEL reads ids (Embedding first) or one-hot vectors and ends in probabilities; ALPHABET is a UTF-8 file of its
characters in the order of their ids. Without arguments, a model with random weights writes noise, to show how.
"""

from __future__ import annotations

import argparse
import string
from pathlib import Path

import numpy as np

import unrolled
from unrolled import layers

LETTERS = string.ascii_lowercase + " .,\n"


def noise() -> unrolled.Model:
    """A model of the right form that has learnt nothing."""
    unrolled.utils.set_random_seed(0)
    return unrolled.Sequential(
        [
            unrolled.Input((None,)),
            layers.Embedding(len(LETTERS), 16),
            layers.GRU(64),
            layers.Dense(len(LETTERS), activation="softmax"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("alphabet", nargs="?", type=Path)
    parser.add_argument("prompt", nargs="?", default="once upon a time ")
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if (options.model is None) != (options.alphabet is None):
        parser.error("MODEL and ALPHABET go together")
    model = noise() if options.model is None else unrolled.load_model(options.model)
    alphabet = LETTERS if options.alphabet is None else options.alphabet.read_text(encoding="utf-8")
    ids = np.array([[alphabet.index(letter) for letter in options.prompt if letter in alphabet]])
    if not ids.size:
        parser.error("no character of the prompt is in the alphabet")
    x = ids if len(model.inputs[0].shape) == 2 else np.eye(len(alphabet), dtype=np.float32)[ids]
    written = model.generate(
        x, options.length, temperature=options.temperature, top_k=options.top_k, seed=options.seed
    )
    print(options.prompt + "".join(alphabet[token] for token in written[0]))


if __name__ == "__main__":
    main()
