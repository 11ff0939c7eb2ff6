# SPDX-License-Identifier: MIT
"""Ways to damage bytes and JSON documents. All randomness comes from the generator that is given."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_NUMBERS = (
    0,
    1,
    2,
    7,
    255,
    256,
    65_535,
    1 << 31,
    (1 << 31) - 1,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 1 << 31, 1 << 62, -(1 << 40), 0.5, 1e308, float("nan"), float("inf"), "", "a", "lstm",
    "relu", "\x1b[31m", "x" * 2000, [], [None], [1, 2, 3], [[["a", 0, 0, {}]]], {}, {"class_name": "Dense", "config": {}},
    {"class_name": "__lambda__", "config": {"value": "YQ=="}}, {"class_name": "__tuple__", "items": [1, 2]},
)  # fmt: skip


def damage(data: bytes, rng: random.Random) -> bytes:
    """The bytes cut, flipped, with fields replaced or swapped, or spliced together anew."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(changed) < 9:
            return bytes(changed)
        rng.choice((_truncate, _flip, _flip, _replace, _replace, _swap, _splice, _small))(changed, rng)
    return bytes(changed)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random) -> None:
    """A number of 1, 2, 4 or 8 bytes by another, as lengths and addresses are stored."""
    width = rng.choice((1, 2, 4, 8))
    position = rng.randrange(len(data) - width)
    if rng.random() < 0.5:
        position = position // width * width
    value = rng.choice((*_NUMBERS, len(data), rng.randrange(len(data)), rng.randrange(len(data)) // 8 * 8))
    data[position : position + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _small(data: bytearray, rng: random.Random) -> None:
    """One byte by a neighbouring value: counts and versions that are off by one."""
    position = rng.randrange(len(data))
    data[position] = (data[position] + rng.choice((-1, 1))) & 0xFF


def _swap(data: bytearray, rng: random.Random) -> None:
    size = rng.choice([size for size in (1, 2, 4, 8, 32, 512) if size < len(data)])
    first, second = (rng.randrange(len(data) - size) for _ in range(2))
    kept = data[first : first + size]
    data[first : first + size] = data[second : second + size]
    data[second : second + size] = kept


def _splice(data: bytearray, rng: random.Random) -> None:
    """A piece left out, or repeated elsewhere."""
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice((1, 4, 16, 64, 512))]
    if rng.random() < 0.5:
        del data[start : start + len(piece)]
    else:
        place = rng.randrange(len(data))
        data[place:place] = piece


def damage_json(text: bytes, rng: random.Random) -> bytes:
    """A document with values replaced, moved, left out or repeated; now and then its bytes damaged."""
    if rng.random() < 0.15:
        return damage(text, rng)
    try:
        document = json.loads(text)
    except ValueError:
        return damage(text, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.5:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
        elif kind < 0.65:
            other, name = rng.choice(places)
            holder[key] = copy.deepcopy(other[name])
        elif kind < 0.8:
            del holder[key]
        elif kind < 0.9 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif isinstance(holder[key], int):
            holder[key] = holder[key] + rng.choice((-1, 1, 1000))
        elif isinstance(holder[key], str):
            holder[key] = holder[key] + rng.choice(("_1", "/", "\\", "\0", ".."))
        else:
            holder[key] = [holder[key]]
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    """Every (holder, key) of a document, without recursion."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
