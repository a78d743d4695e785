"""The configuration of a run: every field, its default and its check, in one place.

A recipe in `configs/` returns an `ml_collections.ConfigDict` made by `recipe(...)`; the command
line overrides single fields (`--config.optimizer.lr=2e-5`); `validate` turns the result into the
frozen dataclasses below, once. Nothing else in the project reads a ConfigDict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zv_jax.models.presets import ModelConfig
from zv_jax.parallel.hardware import MeshConfig


@dataclass(frozen=True)
class StageConfig:
    """Which stage of the paper runs; what that trains and feeds is in `zv_jax/stages.py`."""

    name: str = "stage0"  # language | vision | stage0 | stage1 | stage2
    variant: str = "chat"  # base | chat
    train_vision: bool = False  # stage 0 only: train the ViT too (it has no pre-trained weights)
    train_ln_vision: bool = True  # wherever the Q-Former trains; False: as it is in the source
    label_smoothing: float = 0.1
    itc_gather_grad: bool = True  # False: the candidate side carries no gradient, as in LAVIS
    itm_negatives: str = "hard"  # hard | random
    itm_pairs: str = "both"  # both: one negative image and one negative text; single: one pair
    itm_group: int = 0  # consecutive rows among which negatives are sought; 0: the whole batch


@dataclass(frozen=True)
class SourceConfig:
    """One source of records and its weight in the mixture."""

    name: str = "zv_openmoji"
    path: str = ""  # empty: the source's own place in the cache
    image_root: str = ""  # what image paths are relative to; empty: the folder of the record file
    split: str = "train"
    weight: float = 1.0
    tasks: tuple[str, ...] = ()  # empty: all
    langs: tuple[str, ...] = ("en", "zh")
    # Smaller rows than those of `data`; sources with rows of one size fill batches together.
    max_length: int = 0  # 0: data.max_length
    max_images: int = 0  # 0: data.max_images


@dataclass(frozen=True)
class TokenizerConfig:
    """`kind` is sentencepiece (a .model file), bert (a vocab.txt) or hf (a tokenizer.json)."""

    kind: str = "sentencepiece"
    path: str = ""  # empty: train one on the sources, of `vocab_size` pieces
    vocab_size: int = 2048


@dataclass(frozen=True)
class DataConfig:
    sources: tuple[SourceConfig, ...] = (SourceConfig(),)
    mixing: str = "weights"  # weights | sqrt_size | size: weight x size ** 0, 0.5 or 1
    paper_mixture: bool = False  # let evaluation splits be learned, with a warning
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    qformer_tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    max_text: int = 32  # tokens of a text paired with an image (stage 0)
    max_length: int = 512  # tokens of a dialogue, image placeholders included
    max_answer: int = 256  # tokens of one answer, its end counted
    long_answers: str = "drop"  # drop: are not learned; cut: their beginning is, without an end
    max_qformer_text: int = 128  # tokens of an instruction in the Q-Former
    max_images: int = 1  # images in one row
    box_decimals: int = 3
    transparency: str = "white"  # white: clear parts are white; black: as LAVIS, alpha is dropped
    augment: bool = False  # stage 0: crops and mirrored images; 1 and 2: slight crops
    cache_images: bool = False  # keep decoded, resized images in memory
    max_bad: float = 0.01  # share of a source's samples that others may replace
    workers: int = 0  # processes that prepare batches; 0: threads of this one


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, or Muon for the matrices; 1-D leaves and the temperature never decay.

    Muon takes the learning rate and the decay of AdamW; its momentum is 0.95, not `b1` of Adam.
    """

    name: str = "adamw"  # adamw | muon
    lr: float = 1e-5
    b1: float = 0.9
    b2: float = 0.9
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float = 2.0
    warmup_steps: int = 0
    schedule: str = "cosine"  # cosine | constant
    final_lr: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """Steps, and how one is computed: int8 rounds weights, `random_bits` draws other numbers."""

    steps: int = 1000
    batch_size: int = 64  # global
    microbatches: int = 1  # parts a batch is computed in, one after the other
    loss_chunks: int = 1  # parts the output layer runs in, over positions of a row
    frozen_dtype: str = "compute"  # compute: as model.dtype; int8: weight-only, about half of bf16
    # Of dropout and negatives. rbg and unsafe_rbg are faster on GPUs and TPUs, and other numbers
    # on another kind of device, on another mesh or with another version of XLA.
    random_bits: str = "threefry2x32"  # threefry2x32 | rbg | unsafe_rbg
    log_every: int = 10


@dataclass(frozen=True)
class CheckpointConfig:
    """The latest `keep` steps stay and, beside them, the `best` ones by a metric of the step."""

    folder: str = ""  # another place than `workdir/checkpoints`, as gs://bucket/run
    every: int = 500
    keep: int = 2
    best: int = 0
    metric: str = "loss"  # any name in metrics.jsonl
    best_is: str = "lowest"  # lowest | highest


@dataclass(frozen=True)
class GuardConfig:
    """What skips an update, and what ends a run that makes no progress."""

    spike_sigma: float = 0.0  # skip above so many standard deviations; 0: only what is not finite
    spike_window: int = 128  # of that many steps
    max_skipped: int = 10  # in a row, before the run stops
    hang_seconds: float = 1800.0  # without a step, before it is ended; 0: never


@dataclass(frozen=True)
class EvalConfig:
    """Scores while training, on `split` of the first source: `eval/task/language/metric`."""

    every: int = 0  # steps; 0: never
    tasks: tuple[str, ...] = ()  # empty: what the stage teaches
    langs: tuple[str, ...] = ("en", "zh")
    limit: int = 64  # records per task and language, the first ones; 0: all
    batch_size: int = 64
    max_new_tokens: int = 32
    controls: bool = False  # also with other images: who ignores them scores the same
    split: str = "val"
    on_error: str = "report"  # report: training goes on, with an event; stop: it ends


@dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    model: ModelConfig
    stage: StageConfig = field(default_factory=StageConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    guards: GuardConfig = field(default_factory=GuardConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    init_from: tuple[str, ...] = ()  # workdirs or checkpoints; where both have a leaf the last wins
    seed: int = 0
