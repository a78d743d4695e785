"""Which of our leaves are which of their tensors: one table per family, used in both directions.

Our paths leave out the collection ("llm/embed/embedding"). Layers are one leaf with a leading axis
here and one tensor per layer there: a name of theirs with `{}` stands for all of them.

Sources: the state dictionaries of transformers 5 (InstructBLIP, BLIP-2, LLaMA, BERT).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Transform:
    """What lies between tensors of theirs and leaves of ours, for one layer.

    Attributes:
        load: tensors of theirs -> leaves of ours.
        save: leaves of ours -> tensors of theirs; None where there is no way back.
    """

    load: Callable[..., Arrays]
    save: Callable[..., Arrays] | None


def _same(x: np.ndarray) -> Arrays:
    return (x,)


def _transposed(x: np.ndarray) -> Arrays:
    return (x.T,)


def _load_patch(weight: np.ndarray) -> Arrays:
    return (weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]),)


def _save_patch(kernel: np.ndarray) -> Arrays:
    side = math.isqrt(kernel.shape[0] // 3)
    return (kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1),)


def _load_query_value_bias(bias: np.ndarray) -> Arrays:
    query, key, value = np.split(bias, 3)
    if key.any():
        warnings.warn(
            "biases of attention keys are dropped; no output depends on them", stacklevel=1
        )
    return query, value


def _save_query_value_bias(query: np.ndarray, value: np.ndarray) -> Arrays:
    return (np.concatenate([query, np.zeros_like(query), value]),)


def _load_bert_words(words: np.ndarray) -> Arrays:
    # BLIP-2 appends [DEC] to BERT's vocabulary and starts it at random.
    start = np.random.default_rng(0).normal(0.0, 0.02, words.shape[1:])
    return (np.concatenate([words, start[None].astype(words.dtype)]),)


def _load_bert_positions(positions: np.ndarray, token_types: np.ndarray) -> Arrays:
    # Not into the word table, which is the output layer too.
    return (positions + token_types[0],)


def _load_bert_bias(bias: np.ndarray) -> Arrays:
    return (np.concatenate([bias, np.zeros(1, bias.dtype)]),)


def _twice(transform: Transform) -> Transform:
    return Transform(lambda x: transform.load(x) * 2, None)


SAME = Transform(_same, _same)
LINEAR = Transform(_transposed, _transposed)  # [out, in] there, [in, out] here
PATCH = Transform(_load_patch, _save_patch)  # [D, 3, p, p] there, [p * p * 3, D] here
# One bias [3D] there. Its middle third adds the same number to all scores of a query, which the
# softmax removes, so dropping it changes nothing.
QUERY_VALUE_BIAS = Transform(_load_query_value_bias, _save_query_value_bias)


@dataclass(frozen=True)
class Entry:
    """One row of a table: the numbers of `ours` are those of `theirs`.

    Attributes:
        ours: paths of our leaves.
        theirs: names of their tensors; with `{}`, one for each layer.
        transform: between the two, for one layer.
        first, step: their number of our layer i is first + step * i.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    transform: Transform = SAME
    first: int = 0
    step: int = 1

    @property
    def stacked(self) -> bool:
        """Whether our leaves have a layer axis."""
        return "{}" in self.theirs[0]

    def names(self, layer: int = 0) -> tuple[str, ...]:
        """Names of their tensors for our layer `layer`."""
        return tuple(name.format(self.first + self.step * layer) for name in self.theirs)


@dataclass(frozen=True)
class Family:
    """All that is known about the names of one kind of checkpoint.

    Attributes:
        entries: the table; no leaf and no tensor is in it twice.
        derived: patterns (full match) of tensors that follow from others or from the
            configuration: buffers and copies. They are never loaded and never written.
    """

    entries: tuple[Entry, ...]
    derived: tuple[str, ...] = ()

    def is_derived(self, name: str) -> bool:
        """Whether the tensor `name` of theirs needs no leaf."""
        return any(re.fullmatch(pattern, name) for pattern in self.derived)

    def tower(self, name: str) -> str:
        """Our tower that the tensor `name` of theirs belongs to, judged by its first words."""
        longest = max(t.count(".") for entry in self.entries for t in entry.theirs) + 1
        parts = name.split(".")[:longest]  # a foreign name may have any number
        for words in range(len(parts), 0, -1):
            head = ".".join(parts[:words])
            for entry in self.entries:
                if any(t == head or t.startswith(head + ".") for t in entry.theirs):
                    return entry.ours[0].split("/")[0]
        return "other"


def entry(ours: str, theirs: str, transform: Transform = SAME, **layers: int) -> Entry:
    """A row with one leaf and one tensor."""
    return Entry((ours,), (theirs,), transform, **layers)


def linear(ours: str, theirs: str, bias: bool = True, **layers: int) -> list[Entry]:
    """A linear layer: `kernel` and `weight`, and `bias` where there is one."""
    rows = [entry(f"{ours}/kernel", f"{theirs}.weight", LINEAR, **layers)]
    return rows + [entry(f"{ours}/bias", f"{theirs}.bias", **layers)] * bias


def norm(ours: str, theirs: str, bias: bool = True, **layers: int) -> list[Entry]:
    """A norm: `scale` and `weight`, and `bias` for LayerNorm."""
    rows = [entry(f"{ours}/scale", f"{theirs}.weight", **layers)]
    return rows + [entry(f"{ours}/bias", f"{theirs}.bias", **layers)] * bias


def table(ours: str, theirs: str) -> Entry:
    """An embedding table."""
    return entry(f"{ours}/embedding", f"{theirs}.weight")


def vision(prefix: str = "") -> list[Entry]:
    """`Blip2VisionModel` and `InstructBlipVisionModel`; their last norm is our `ln_vision`."""
    block, ours = f"{prefix}encoder.layers.{{}}.", "vision/blocks/"
    biases = (f"{ours}attn/q_bias", f"{ours}attn/v_bias")
    return [
        entry("vision/cls", f"{prefix}embeddings.class_embedding"),
        entry("vision/pos_embed", f"{prefix}embeddings.position_embedding"),
        entry("vision/patch/kernel", f"{prefix}embeddings.patch_embedding.weight", PATCH),
        entry("vision/patch/bias", f"{prefix}embeddings.patch_embedding.bias"),
        *norm(f"{ours}ln1", f"{block}layer_norm1"),
        entry(f"{ours}attn/qkv/kernel", f"{block}self_attn.qkv.weight", LINEAR),
        Entry(biases, (f"{block}self_attn.qkv.bias",), QUERY_VALUE_BIAS),
        *linear(f"{ours}attn/out", f"{block}self_attn.projection"),
        *norm(f"{ours}ln2", f"{block}layer_norm2"),
        *linear(f"{ours}fc1", f"{block}mlp.fc1"),
        *linear(f"{ours}fc2", f"{block}mlp.fc2"),
        *norm("ln_vision", f"{prefix}post_layernorm"),
    ]


@dataclass(frozen=True)
class QFormerNames:
    """Where a Q-Former of theirs keeps what is not in its layers, and one inner word."""

    layers: str = "qformer.encoder.layer."
    queries: str = "query_tokens"
    norm: str = "qformer.embeddings.layernorm"
    embeddings: str = "qformer.embeddings."
    attention: str = "attention"  # "self" in BERT and in LAVIS


def qformer(names: QFormerNames, text: bool = True) -> list[Entry]:
    """Queries and layers, and with `text` the word and position tables and the text half."""
    rows = [entry("qformer/query_tokens", names.queries), *norm("qformer/ln", names.norm)]
    if text:
        rows += [
            table("qformer/word", f"{names.embeddings}word_embeddings"),
            table("qformer/position", f"{names.embeddings}position_embeddings"),
        ]
    for first, ours in enumerate(("qformer/pairs/even/", "qformer/pairs/odd/")):
        layer, places = f"{names.layers}{{}}.", dict(first=first, step=2)
        rows += attention(f"{ours}self", f"{layer}attention.", names.attention, **places)
        if not first:
            rows += attention(f"{ours}cross", f"{layer}crossattention.", names.attention, **places)
        rows += feed_forward(f"{ours}ffn_query", layer, "_query", **places)
        if text:
            rows += feed_forward(f"{ours}ffn_text", layer, "", **places)
    return rows


def attention(ours: str, theirs: str, inner: str, **layers: int) -> list[Entry]:
    """BERT attention with its output projection and norm."""
    words = {"q": "query", "k": "key", "v": "value"}
    rows = [linear(f"{ours}/{o}", f"{theirs}{inner}.{t}", **layers) for o, t in words.items()]
    rows += [linear(f"{ours}/out", f"{theirs}output.dense", **layers)]
    rows += [norm(f"{ours}/ln", f"{theirs}output.LayerNorm", **layers)]
    return [row for part in rows for row in part]


def feed_forward(ours: str, theirs: str, suffix: str, **layers: int) -> list[Entry]:
    """BERT's feed-forward network with its norm; `suffix` is "_query" in the image half."""
    return [
        *linear(f"{ours}/fc1", f"{theirs}intermediate{suffix}.dense", **layers),
        *linear(f"{ours}/fc2", f"{theirs}output{suffix}.dense", **layers),
        *norm(f"{ours}/ln", f"{theirs}output{suffix}.LayerNorm", **layers),
    ]


def text_head(prefix: str) -> list[Entry]:
    """BERT's prediction head (ITG); its output matrix is the word table."""
    return [
        *linear("qformer/text_head/dense", f"{prefix}transform.dense"),
        *norm("qformer/text_head/ln", f"{prefix}transform.LayerNorm"),
        entry("qformer/text_head/bias", f"{prefix}bias"),
    ]


def llama(prefix: str = "") -> list[Entry]:
    """`LlamaForCausalLM`; the biases are there where the configuration asks for them."""
    layer, ours = f"{prefix}model.layers.{{}}.", "llm/layers/"
    rows = [
        table("llm/embed", f"{prefix}model.embed_tokens"),
        *norm(f"{ours}ln_attn", f"{layer}input_layernorm", bias=False),
        *norm(f"{ours}ln_mlp", f"{layer}post_attention_layernorm", bias=False),
        *norm("llm/norm", f"{prefix}model.norm", bias=False),
        *linear("llm/lm_head", f"{prefix}lm_head", bias=False),
    ]
    for name in "qkvo":
        rows += linear(f"{ours}attn/{name}", f"{layer}self_attn.{name}_proj")
    for name in ("gate", "up", "down"):
        rows += linear(f"{ours}{name}", f"{layer}mlp.{name}_proj")
    return rows


def bert(prefix: str = "bert.") -> list[Entry]:
    """A BERT that starts a Q-Former, as BLIP-2 does it; one way only.

    Token type 0 goes into the positions, [DEC] is appended to the words, and each text feed-forward
    network starts the query network of its layer too. Queries and cross-attention are not there.
    """
    names = QFormerNames(layers=f"{prefix}encoder.layer.", attention="self")
    embeddings = f"{prefix}embeddings."
    word, *added = (
        f"{embeddings}{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
    )
    rows = [
        Entry(("qformer/word/embedding",), (word,), Transform(_load_bert_words, None)),
        Entry(("qformer/position/embedding",), tuple(added), Transform(_load_bert_positions, None)),
        *norm("qformer/ln", f"{embeddings}LayerNorm"),
    ]
    for first, ours in enumerate(("qformer/pairs/even/", "qformer/pairs/odd/")):
        layer, places = f"{names.layers}{{}}.", dict(first=first, step=2)
        rows += attention(f"{ours}self", f"{layer}attention.", names.attention, **places)
        rows += [
            Entry(
                (*row.ours, row.ours[0].replace("ffn_text", "ffn_query")),
                row.theirs,
                _twice(row.transform),
                **places,
            )
            for row in feed_forward(f"{ours}ffn_text", layer, "", **places)
        ]
    *head, bias = text_head("cls.predictions.")
    return [*rows, *head, Entry(bias.ours, bias.theirs, Transform(_load_bert_bias, None))]


# --- whole classes of transformers ----------------------------------------------------------------

BUFFERS = (r".*rotary_emb\.inv_freq", r".*\.position_ids")
_BLIP2_QFORMER = QFormerNames(norm="qformer.layernorm", embeddings="embeddings.")

INSTRUCT_BLIP = Family(
    (
        *vision("vision_model."),
        *qformer(QFormerNames()),
        *linear("projector", "language_projection"),
        *llama("language_model."),
    ),
    BUFFERS,
)
BLIP2 = Family(
    (
        *vision("vision_model."),
        *qformer(_BLIP2_QFORMER, text=False),
        *linear("projector", "language_projection"),
        *llama("language_model."),
    ),
    BUFFERS,
)
BLIP2_RETRIEVAL = Family(
    (
        *vision("vision_model."),
        *qformer(_BLIP2_QFORMER),
        *linear("heads/vision_proj", "vision_projection"),
        *linear("heads/text_proj", "text_projection"),
        *linear("heads/itm", "itm_head"),
        # Not in their class; written beside the model so that nothing of stage 0 is lost.
        entry("heads/temperature", "temp"),
        *text_head("cls.predictions."),
    ),
    BUFFERS,
)
LLAMA = Family(tuple(llama()), BUFFERS)
VISION = Family(tuple(vision()), BUFFERS)
_BERT_UNUSED = (
    r"cls\.predictions\.decoder\.(weight|bias)",  # tied to the word table and to the bias
    r"(bert\.)?pooler\..*",
    r"cls\.seq_relationship\..*",
)
BERT = Family(tuple(bert()), (*BUFFERS, *_BERT_UNUSED))
BERT_MODEL = Family(tuple(bert("")), (*BUFFERS, *_BERT_UNUSED))


def paths(entries: Iterable[Entry]) -> Sequence[str]:
    """Our leaves in the table, in its order."""
    return [path for row in entries for path in row.ours]
