"""Package metadata. The folder ``kernels/triton`` is imported as ``crosspt.kernels``, by the link ``crosspt/kernels``.

``kernels/`` itself holds no Python file: transformers imports a PyPI package called ``kernels``, and a package of
that name in the repository root would shadow it. A mapping of folders to names in place of the link would make an
editable install put a finder behind all others, and ``import crosspt`` fail beside a clone that is called ``crosspt``.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="crosspt",
    version="0.1.0",
    description="Cross-task prompt tuning of a frozen language model, with fused Triton kernels",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["crosspt", "crosspt.*"], exclude=["crosspt.models.embedded.make*"]),
    package_dir={"": "."},
    package_data={
        "crosspt": ["py.typed", "models/embedded/t5-crosspt-mini/*", "runs/experiments/definitions/*.yaml"],
        "crosspt.report": ["paper.yaml", "page.html.j2", "page.css", "page.js"],
    },
    install_requires=[
        "torch>=2.10",
        "triton>=3.5; platform_system == 'Linux'",
        "transformers>=5.17",
        "accelerate>=1.7",
        "datasets>=4.0",
        "filelock>=4.2",
        "numpy>=1.26",
        "pandas>=2.1",
        "pyarrow>=15.0",
        "safetensors>=0.8",
        "scikit-learn>=1.4",
        "scipy>=1.15",
        "sentencepiece>=0.2",
        "statsmodels>=0.14.4",
        "matplotlib>=3.8",
        "seaborn>=0.13.2",
        "jinja2>=3.1",
        "docstring_parser>=0.16",
        "pyyaml>=6.0",
        "rich>=14.3",
        "wrapt>=1.16",
    ],
    extras_require={
        "peft": ["peft>=0.21"],
        "gguf": ["gguf>=0.10"],
        "rouge": ["rouge-score>=0.1.2"],
        "serve": ["fastapi>=0.115", "prometheus_client>=0.20", "uvicorn>=0.30"],
        "docs": ["latex2mathml>=3.77", "mkdocs>=1.6", "mkdocs-material>=9.8", "mkdocstrings[python]>=1.0"],
        "ray": ["ray>=2.60"],
        "test": [
            "ctranslate2>=4.8",
            "fastapi>=0.115",
            "gguf>=0.10",
            "hypothesis>=6.100",
            "kernels>=0.10",
            "markdown-it-py>=3.0",
            "peft>=0.17",
            "prometheus_client>=0.20",
            "pytest>=8.0",
            "pytest-benchmark>=5.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ray>=2.60",
            "rouge-score>=0.1.2",
            "selenium>=4.20",
            "uvicorn>=0.30",
        ],
        "lint": ["build>=1.2", "mypy>=1.15", "pre-commit>=4.0", "ruff>=0.11", "types-PyYAML"],
    },
    entry_points={"console_scripts": ["crosspt = crosspt.cli.main:main"]},
)
