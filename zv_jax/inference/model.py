"""`load` and what it returns: a model that answers, embeds and matches pictures and texts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from zv_jax import trees
from zv_jax.checkpoints import contents
from zv_jax.config.schema import Config
from zv_jax.convert import export, formats
from zv_jax.data.text import dialogue
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, DataError, unknown_name
from zv_jax.inference import embed
from zv_jax.inference import prompts as prompts_lib
from zv_jax.inference import words as words_lib
from zv_jax.inference.prompts import Picture
from zv_jax.inference.words import Words
from zv_jax.models.axes import on_mesh
from zv_jax.models.presets import DTYPES
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import batch_sharding, make_mesh

_RETRIEVAL = ("vision", "qformer", "heads")


def load(
    path: str | Path,
    dtype: str = "float32",
    untrained: bool = False,
    mesh: MeshConfig | None = None,
) -> Model:
    """A trained or converted model, on the devices of this process.

    Args:
        path: a workdir (its latest checkpoint), its `checkpoints` directory, or one step's; or a
            directory in the layout of Hugging Face transformers.
        dtype: of weights and computation, whatever it was trained in.
        untrained: random weights, made by the run's seed, instead of the trained ones.
        mesh: how weights and rows are laid over several devices; by default every device holds
            the weights and takes a part of the rows.

    Raises:
        CheckpointError: there is no readable checkpoint, or its tokenizers are missing or others.
        ConversionError: the directory of transformers is none of our models.
        ConfigError: the dtype is unknown, or the mesh does not fit the devices.
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES, "dtype")
    stored = formats.open_any(path)
    model = dataclasses.replace(stored.config.model, dtype=dtype, param_dtype=dtype, remat="none")
    config = dataclasses.replace(stored.config, model=model)
    devices = make_mesh(mesh or MeshConfig(), jax.local_devices())
    with on_mesh(devices):
        if untrained:
            flat = contents.untrained(config, devices, stored.specs)
        else:
            # What a checkpoint of others lacks is listed in its report, and is not called.
            whole = not stored.converted
            flat = stored.read(contents.placed(config, devices, stored.specs, whole))
    return Model(config, flat, stored.tokenizers, devices, stored.provenance)


class Model(Words):
    """A loaded model; `load` makes it.

    Answering, ranking and generating are those of `Words`. Every method takes any number of rows
    and computes them in batches of a few sizes, so that little is compiled.

    Attributes:
        config: of the run that trained it, with the dtype it was loaded in.
        tokenizer, qformer_tokenizer: of the language model and the Q-Former; None if not there.
        variables: all leaves as `ZiyaVisual.apply` takes them.
        towers: the parts it has, of vision, ln_vision, qformer, heads, projector, llm.
    """

    def __init__(
        self,
        config: Config,
        flat: dict[str, jax.Array],
        both: tuple[Tokenizer | None, Tokenizer | None],
        mesh: Mesh,
        provenance: Mapping[str, Any],
    ):
        self.config, self.mesh, self._provenance = config, mesh, provenance
        self.tokenizer, self.qformer_tokenizer = self._both = both
        self.towers = frozenset(name.split("/")[1] for name in flat)
        self.variables = trees.unflatten(flat)
        self._ways = mesh.shape["data"] * mesh.shape["fsdp"]

    @property
    def has_llm(self) -> bool:
        """Whether it can answer."""
        return "llm" in self.towers

    @property
    def has_heads(self) -> bool:
        """Whether it can embed and match."""
        return "heads" in self.towers

    # --- pictures and texts -----------------------------------------------------------------

    def image_embeddings(self, images: Sequence[Picture]) -> np.ndarray:
        """float32 [N, Q, E]: the projected query outputs of every picture, L2-normalised.

        Raises:
            ConfigError: the checkpoint has no heads (only stage 0 has). DataError: a picture
            cannot be read.
        """
        self._need(_RETRIEVAL, "embeddings")
        run = functools.partial(embed.apply, self.config.model, "image_embed")
        return self._batched(run, self._pixels(images))

    def text_embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, E], L2-normalised; the similarity of a pair is the largest over the queries.

        Raises:
            ConfigError: see `image_embeddings`.
        """
        self._need(_RETRIEVAL, "embeddings", self.qformer_tokenizer)
        run = functools.partial(embed.apply, self.config.model, "text_embed")
        return self._batched(run, *self._texts([text.strip() for text in texts]))

    def match_scores(self, images: Sequence[Picture], texts: Sequence[str]) -> np.ndarray:
        """float32 [N]: the logit that picture i and text i belong together (ITM).

        Raises:
            ConfigError: see `image_embeddings`. DataError: not as many pictures as texts, or a
            picture cannot be read.
        """
        self._need(_RETRIEVAL, "match scores", self.qformer_tokenizer)
        if len(images) != len(texts):
            raise DataError(
                f"{len(images)} pictures and {len(texts)} texts",
                where="match_scores",
                expected="pairs: as many pictures as texts",
            )
        run = functools.partial(embed.match, self.config.model)
        words = self._texts([text.strip() for text in texts])
        return self._batched(run, self._pixels(images), *words)

    def query_attention(self, image: Picture, instruction: str | None = None) -> np.ndarray:
        """Where each query looks: float32 [Q, h, w] over the patches, each map summing to 1.

        The last cross-attention, its heads averaged, the CLS token left out. `instruction` is
        read by the Q-Former of Chat.
        """
        self._need(("vision", "qformer"), "attention maps")
        model, text = self.config.model, (None, None)
        if instruction is not None and model.qformer_sees_instruction:
            text = model.prompt.instruction(instruction)
            text = self._texts([text], self.config.data.max_qformer_text, "end")
        run = functools.partial(embed.attention, model)
        weights = self._batched(run, self._pixels([image]), *text)[0]
        weights = weights if model.vision.drop_cls else weights[:, 1:]
        side = model.vision.image_size // model.vision.patch_size
        weights = weights / weights.sum(-1, keepdims=True)
        return weights.reshape(-1, side, side)

    # --- all --------------------------------------------------------------------------------

    def save_pretrained(self, directory: str | Path, options: export.Options | None = None) -> None:
        """Writes the model into a new directory that transformers loads; adapters are merged.

        Args:
            directory: does not exist, or is empty.
            options: dtype, size of the files, fields of the model card.

        Raises:
            ConversionError: transformers has no class for it, or the directory holds something.
        """
        held = formats.in_memory(self.config, self.variables, self._both, self._provenance)
        export.to_hf(held, directory, options or export.Options(merge_lora=True))

    def _need(
        self, towers: Sequence[str], wanted: str, tokenizer: Tokenizer | None | bool = True
    ) -> None:
        missing = [tower for tower in towers if tower not in self.towers]
        if missing:
            stage = "stage 0" if "heads" in missing else "stage 1 or 2"
            raise ConfigError(
                f"a checkpoint of {self.config.stage.name} gives no {wanted}",
                where="missing: " + ", ".join(missing),
                expected=f"a checkpoint of {stage}",
                fix=f"load the workdir of {stage}",
            )
        if tokenizer is None:
            raise ConfigError(
                f"without its tokenizer this checkpoint gives no {wanted}",
                where="the directory it came from had none",
                expected="a checkpoint with its tokenizer",
                fix="zv convert from-hf ... --tokenizer=FILE (or --qformer-tokenizer=FILE)",
            )

    def _pixels(self, images: Sequence[Picture]) -> np.ndarray:
        size = self.config.model.vision.image_size
        if not len(images):
            return np.zeros((0, size, size, 3), np.uint8)
        ground = self.config.data.transparency
        return prompts_lib.pixels([[image] for image in images], size, ground)[:, 0]

    def _texts(
        self, texts: Sequence[str], length: int | None = None, keep: str = "start"
    ) -> tuple[np.ndarray, np.ndarray]:
        length = length or self.config.data.max_text
        rows = [dialogue.qformer_ids(t, self.qformer_tokenizer, length, keep) for t in texts]
        ids = dialogue.pad_right(rows, self.qformer_tokenizer.pad_id, length)
        return ids, dialogue.mask_of(rows, length)

    def _batched(self, run: Callable[..., jax.Array], *arrays: np.ndarray | None) -> np.ndarray:
        """run(variables, *arrays) over batches of rows, the last one filled up to a bucket."""
        total = next(len(array) for array in arrays if array is not None)
        out = []
        with on_mesh(self.mesh):
            most = words_lib.BATCH
            for start in range(0, max(total, 1), most):
                part = [a if a is None else a[start : start + most] for a in arrays]
                real = min(most, total - start)
                size = prompts_lib.bucket(max(real, 1))
                size = -(-size // self._ways) * self._ways
                placed = [self._place(array, size) for array in part]
                out.append(_fetch(run(self.variables, *placed))[:real])
        return np.concatenate(out)

    def _place(self, array: np.ndarray | None, size: int) -> jax.Array | None:
        if array is None:
            return None
        # Rows to fill up with repeat the first one; without any row they are zero.
        full = np.zeros((size, *array.shape[1:]), array.dtype)
        full[: len(array)], full[len(array) :] = array, array[:1] if len(array) else 0
        # Every process has all rows and gives its devices theirs.
        return jax.make_array_from_callback(
            full.shape, batch_sharding(self.mesh), lambda index: full[index]
        )


def _fetch(array: jax.Array) -> np.ndarray:
    """All rows, in every process, of an array that may lie on the devices of several."""
    if array.is_fully_addressable:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
