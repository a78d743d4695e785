"""The optional back end: METEOR, SPICE and the original tokenizer, which are Java programs.

Nothing else of this package needs it. METEOR 1.5 and SPICE 1.0 have no other implementation with
the same numbers; both are English only. SPICE starts on Java 8 only and downloads its parser.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from collections.abc import Hashable, Mapping, Sequence
from types import ModuleType

from zv_jax.errors import SetupError, unknown_name

METRICS = ("meteor", "spice")


def java_tokenize(texts: Sequence[str]) -> list[list[str]]:
    """Tokens of captions by the Java PTBTokenizer; compare `ptb.ptb_tokenize`.

    Line breaks of every kind become spaces first, and the number of lines is checked: one more and
    all later captions would go to the wrong image.

    Raises:
      SetupError: Java or pycocoevalcap is missing, or the program fails.
    """
    tool = _tool("tokenizer.ptbtokenizer")
    plain = {i: [{"caption": " ".join(text.splitlines())}] for i, text in enumerate(texts)}
    cut = _quietly(lambda: tool.PTBTokenizer().tokenize(plain))
    if sorted(cut) != sorted(plain):
        raise SetupError(
            f"PTBTokenizer gave {len(cut)} lines for {len(plain)}",
            where="java",
            expected="one line for each caption",
        )
    return [[token for token in cut[i][0].split(" ") if token] for i in range(len(texts))]


def java_scores(
    references: Mapping[Hashable, Sequence[str]],
    predictions: Mapping[Hashable, str],
    metric: str,
) -> tuple[float, dict[Hashable, float]]:
    """METEOR or SPICE of English captions, in 0..1: over all images, and of each.

    Args:
      references: id -> reference captions. predictions: id -> caption; the same ids.
      metric: ``"meteor"`` or ``"spice"``.

    Raises:
      ConfigError: another metric. SetupError: see `java_tokenize`.
    """
    if metric not in METRICS:
        raise unknown_name("metric in Java", metric, METRICS, "metric")
    tool = _tool(f"{metric}.{metric}")
    ids = list(references)
    texts = [predictions[i] for i in ids] + [text for i in ids for text in references[i]]
    cut = iter([" ".join(tokens) for tokens in java_tokenize(texts)])
    said = {i: [next(cut)] for i in ids}
    true = {i: [next(cut) for _ in references[i]] for i in ids}
    total, each = _quietly(lambda: getattr(tool, metric.capitalize())().compute_score(true, said))
    if metric == "spice":
        each = [entry["All"]["f"] for entry in each]
    return float(total), dict(zip(ids, map(float, each), strict=True))


def _tool(name: str) -> ModuleType:
    import importlib

    if shutil.which("java") is None:
        raise SetupError(
            "there is no Java",
            where="PATH",
            expected="a program `java`, which METEOR, SPICE and PTBTokenizer are written for",
            fix="install a Java runtime, or take CIDEr, BLEU and ROUGE-L, which need none",
        )
    try:
        return importlib.import_module(f"pycocoevalcap.{name}")
    except ImportError as error:
        raise SetupError(
            f"pycocoevalcap is not installed: {error}",
            where="the back end in Java",
            expected="the extra `java`",
            fix='pip install -e ".[java]"',
        ) from error


def _quietly(run):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return run()
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise SetupError(
                f"the Java program failed: {error}",
                where="the back end in Java",
                expected="Java 8 for SPICE, any later one for METEOR, and a site-packages folder "
                "that can be written to",
            ) from error
