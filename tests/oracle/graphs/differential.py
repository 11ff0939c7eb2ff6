# SPDX-License-Identifier: MIT
"""A program through Keras and through unrolled; what differs, made small."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import random
import re
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.oracle.graphs.generator import Generator
from tests.recipes import randomize_weights
from tests.tolerances import TOLERANCES

# A graph repeats layers and squares what came before: rounding is measured against Keras's own float64.
OWN_ROUNDING = 8


def live(name):
    """A live Keras, quiet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for logger in ("absl", "tensorflow"):
        logging.getLogger(logger).setLevel("ERROR")
    keras = importlib.import_module(name)
    if name == "tf_keras":
        # Its recurrent layers are traced functions otherwise, slow to make and no different.
        importlib.import_module("tensorflow").config.run_functions_eagerly(True)
    return keras


@dataclass(frozen=True)
class Result:
    """How a program went.

    Parameters
    ----------
    status : str
        "ok", "invalid" (Keras itself fails), "refused" (unrolled says that it does not support something),
        "failed" (it stops in another way) or "differs".
    message : str
    """

    status: str
    message: str = ""

    @property
    def is_failure(self):
        return self.status in ("failed", "differs")

    @property
    def kind(self):
        """What stays the same while the program shrinks."""
        return self.status if self.status == "differs" else self.status + self.message[:20]


def flatten(value):
    if isinstance(value, dict):
        return [array for key in sorted(value) for array in flatten(value[key])]
    if isinstance(value, list | tuple):
        return [array for item in value for array in flatten(item)]
    return [np.asarray(value)]


def check(keras, program, model=None):
    """Compare Keras's model of ``program`` with what unrolled loads."""
    rng = np.random.default_rng(program.seed)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model = program.build(keras) if model is None else model
            randomize_weights(model, rng)
            feeds = program.feeds(rng)
            expected = [model(to_tensors(keras, feed)) for feed in feeds]
            if any(array.size == 0 for output in expected for array in flatten(output)):
                return Result("invalid", "an empty output")
            path = Path(folder) / f"model.{program.format}"
            try:
                model.save(path)
            except Exception:  # not every model can be written in the old format
                path = Path(folder) / "model.keras"
                model.save(path)
        except Exception as error:
            return Result("invalid", f"{type(error).__name__}: {error}")
        result = run_and_compare(path, feeds, expected)
        if "does not fit into" in result.message and not predicts(model, feeds):
            # TensorFlow's oneDNN gives memory that nothing wrote for depthwise windows one step too long; its
            # own rule for shapes, which predict meets, refuses them.
            return Result("invalid", result.message)
        if result.status == "differs" and within_rounding(keras, program, model, feeds, path, expected):
            return Result("ok", "rounding")
        if result.status == "differs" and as_keras_predicts(model, path, feeds):
            return Result("ok", "Keras predicts something else than it calls")
        if result.status == "differs" and as_keras_loads_it(keras, path, feeds):
            return Result("ok", "Keras reads its file as something else")
        return result


def run_and_compare(path, feeds, expected, slack=None):
    import unrolled

    try:
        mine = unrolled.load_model(path)
    except unrolled.UnsupportedModelError as error:
        return Result("refused", str(error))
    except Exception as error:
        return Result("failed", f"load_model: {type(error).__name__}: {error}")
    try:
        got = [mine(feed) if len(feeds) > 1 else mine.predict(feed, verbose=0) for feed in feeds]
    except Exception as error:
        if "Keras fails here too" in str(error):  # and here it does not by the luck of sizes of 1
            return Result("invalid", str(error))
        # Sizes of axes that the input alone decides; masks of one step for tensors of several.
        if any(
            words in str(error) for words in ("must be known", "expected a mask", "expected masks of rank")
        ):
            return Result("refused", str(error))
        return Result("failed", f"predict: {type(error).__name__}: {error}")
    for call, (ours, keras) in enumerate(zip(got, expected, strict=True)):
        if isinstance(keras, dict) != isinstance(ours, dict) or (
            isinstance(keras, dict) and sorted(keras) != sorted(ours)
        ):
            return Result("differs", f"structure: {type(ours).__name__}, Keras {type(keras).__name__}")
        flat, wanted = flatten(ours), flatten(keras)
        if len(flat) != len(wanted):
            return Result("differs", f"{len(flat)} outputs, Keras {len(wanted)}")
        for i, (y, k) in enumerate(zip(flat, wanted, strict=True)):
            message = difference(y, k, slack and slack[call][i])
            if message:
                return Result("differs", f"call {call}, output {i}: {message}")
    return Result("ok")


def difference(y, k, slack=None):
    """What is wrong with ``y``, or None; ``slack`` is allowed on top of the tolerance."""
    if y.shape != k.shape:
        return f"shape {y.shape}, Keras {k.shape}"
    y, k = y.astype(np.float64), k.astype(np.float64)
    absolute, relative = TOLERANCES["oracle"]
    finite = np.abs(k[np.isfinite(k)])
    allowed = absolute * max(1.0, finite.max(initial=0)) + relative * np.abs(k)
    if slack is not None:
        allowed = allowed + slack
    same = (np.isnan(y) & np.isnan(k)) | (y == k)
    with np.errstate(invalid="ignore"):
        bad = ~same & ~(np.abs(y - k) <= allowed)
    if not bad.any():
        return None
    where = tuple(int(n) for n in np.argwhere(bad)[0])
    return f"at {where}: {y[where]!r}, Keras {k[where]!r}; {bad.sum()} of {bad.size} differ"


def to_tensors(keras, feed):
    """Arrays as tensors: tf_keras takes nothing else for a list of inputs."""
    import tensorflow as tf

    if isinstance(feed, dict):
        return {key: tf.constant(value) for key, value in feed.items()}
    if isinstance(feed, list):
        return [tf.constant(value) for value in feed]
    return tf.constant(feed)


@contextlib.contextmanager
def float64(keras):
    keras.backend.set_floatx("float64")
    try:
        yield
    finally:
        keras.backend.set_floatx("float32")


def within_rounding(keras, program, model, feeds, path, expected):
    """Whether Keras in float64 is as far from its own float32, or near, as unrolled is."""
    try:
        with float64(keras):
            exact_model = program.build(keras)
            randomize_weights(exact_model, np.random.default_rng(program.seed))
            exact = [exact_model(to_tensors(keras, feed)) for feed in feeds]
    except Exception:
        return False
    slack = []
    for keras_32, keras_64 in zip(expected, exact, strict=True):
        row = []
        for k, e in zip(flatten(keras_32), flatten(keras_64), strict=True):
            own = np.abs(k.astype(np.float64) - e) if k.shape == e.shape else np.zeros(1)
            scale = max(1.0, float(np.abs(k[np.isfinite(k)]).max(initial=0)))
            row.append(OWN_ROUNDING * min(float(np.nanmax(own, initial=0)), 1e-3 * scale))
        slack.append(row)
    return run_and_compare(path, feeds, expected, slack).status == "ok"


def predicts(model, feeds):
    """Whether Keras's ``predict``, traced, takes what its call of the model took."""
    import tensorflow as tf

    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        for feed in feeds:
            model.predict(feed, verbose=0)
    except Exception:
        return False
    finally:
        tf.config.run_functions_eagerly(eagerly)
    return True


def as_keras_predicts(model, path, feeds):
    """Whether unrolled gives what ``predict`` gives, where that is not what a call of the model gives.

    Keras 3 on TensorFlow takes some tensors of known batch size for a bias along another axis.
    """
    if len(feeds) > 1:  # stateful: the states have moved on
        return False
    try:
        expected = [model.predict(feed, verbose=0) for feed in feeds]
    except Exception:
        return False
    return run_and_compare(path, feeds, expected).status == "ok"


def as_keras_loads_it(keras, path, feeds):
    """Whether unrolled gives what the file gives in Keras, where that is not what the model gave."""
    try:
        reloaded = keras.models.load_model(path, compile=False)
        expected = [reloaded(to_tensors(keras, feed)) for feed in feeds]
    except Exception:
        return False
    return run_and_compare(path, feeds, expected).status == "ok"


# ------------------------------------------------------------------- shrinking


def shrink(keras, program, result, budget=150):
    """A shorter program that fails in the same way."""
    best = program
    names = re.compile(r"\b[vxi]\d+\b")

    def still_fails(candidate):
        nonlocal budget, best
        if budget <= 0:
            return False
        budget -= 1
        got = check(keras, candidate)
        if got.is_failure and got.kind == result.kind:
            best = candidate
            return True
        return False

    changed = True
    while changed and budget > 0:
        changed = False
        for candidate in shorter(best, names):
            if still_fails(candidate):
                changed = True
                break
    return best


def shorter(program, names):
    """Programs with one thing less."""
    lines = list(program.lines)
    # Fewer outputs.
    head, _, gives = lines[-1].rpartition(", [") if lines[-1].endswith("])") else ("", "", "")
    if head and head.startswith("model"):
        outputs = gives[:-2].split(", ")
        for output in outputs:
            if len(outputs) > 1:
                yield program.with_lines([*lines[:-1], f"{head}, [{output}])"])
        if len(outputs) == 1:
            yield program.with_lines([*lines[:-1], f"{head}, {outputs[0]})"])
    elif lines[-1].endswith("})"):
        head, _, gives = lines[-1].rpartition(", {")
        outputs = [item.split(": ")[1] for item in gives[:-2].split(", ")]
        yield program.with_lines([*lines[:-1], f"{head}, [{', '.join(outputs)}])"])
    # Lines that nothing uses.
    for number in reversed(range(len(lines) - 1)):
        targets = [t.strip() for t in lines[number].split(" = ")[0].split(",")]
        rest = "\n".join(lines[number + 1 :])
        if not any(re.search(rf"\b{target}\b", rest) for target in targets):
            spec = {spec.name for spec in program.inputs}
            if not spec & set(targets):
                yield program.with_lines(lines[:number] + lines[number + 1 :])
    # A call replaced by what it takes.
    for number in reversed(range(len(lines) - 1)):
        target, _, code = lines[number].partition(" = ")
        if not re.fullmatch(r"v\d+", target):
            continue
        for source in dict.fromkeys(names.findall(code)):
            replaced = [re.sub(rf"\b{target}\b", source, line) for line in lines[number + 1 :]]
            yield program.with_lines(lines[:number] + replaced)
    # Inputs that nothing uses.
    for spec in program.inputs:
        uses = [line for line in lines if re.search(rf"\b{spec.name}\b", line)]
        if len(uses) == 2 and len(program.inputs) > 1:
            kept = [line for line in lines if line is not uses[0]]
            kept[-1] = re.sub(rf"('{spec.name}': )?\b{spec.name}\b(, )?", "", kept[-1], count=1)
            yield replace(program.with_lines(kept), inputs=tuple(s for s in program.inputs if s is not spec))
    # Options.
    for number, line in enumerate(lines):
        if "keras.Input" in line or line.startswith("model"):
            continue
        for option in re.finditer(r", (\w+=(?:\[[^\]]*\]|[^,()\[\]]+))(?=[,)])", line):
            yield program.with_lines(
                [*lines[:number], line[: option.start()] + line[option.end() :], *lines[number + 1 :]]
            )
    if program.batch > 1 and "batch_size" not in "".join(lines):
        yield replace(program, batch=1)
    if program.format != "keras":
        yield replace(program, format="keras")


# ------------------------------------------------------------------------ runs


@dataclass
class Tally:
    """What a run of many programs found."""

    statuses: Counter
    refusals: Counter
    invalid: Counter
    failures: list

    @property
    def count(self):
        """Programs that Keras runs."""
        return sum(self.statuses.values())


def run_many(names, count, seed, *, report=print, shrinking=True, progress=100, stop_after=50):
    """Check ``count`` programs, alternating between the Kerases of ``names``."""
    tally = Tally(Counter(), Counter(), Counter(), [])
    kerases = [live(name) for name in names]
    number = 0
    while tally.count < count and len(tally.failures) < stop_after:
        keras = kerases[number % len(kerases)]
        own_seed = seed * 1_000_000 + number
        number += 1
        if number % 50 == 0:
            for each in kerases:
                each.backend.clear_session()
        result, program = run_one(keras, own_seed)
        if result.status == "invalid":
            tally.invalid[result.message[:60]] += 1
            continue
        tally.statuses[
            f"{result.status}: {result.message}"
            if result.status == "ok" and result.message
            else result.status
        ] += 1
        if result.status == "refused":
            tally.refusals[result.message] += 1
        if result.is_failure:
            small = shrink(keras, program, result) if shrinking else program
            tally.failures.append((result, small))
            report(
                f"--- {keras.__name__}, seed {own_seed}: {result.status}: {result.message}\n{small.script()}\n"
            )
        if progress and tally.count % progress == 0:
            report(
                f"{tally.count} graphs: {dict(tally.statuses)}, {sum(tally.invalid.values())} not valid in Keras"
            )
    return tally


def run_one(keras, seed):
    """The result and program of a seed."""
    random.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = Generator(keras, seed)
        program = generator.program()
    if program is None:
        return Result("invalid", "no program"), None
    return check(keras, program, generator.names["model"]), program
