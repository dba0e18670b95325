"""Aurora: continual pre-training of open language models, from raw text to a released model, in one recipe."""

__version__ = "0.1.0"
