"""Cross-task prompt tuning (arXiv 2509.14253) of a frozen T5.

Importing the package registers ``attn_implementation="crosspt"`` with transformers; see
``crosspt.models.t5.attention``.
"""

from crosspt.config.prompts import CrossPTConfig
from crosspt.models.model import CrossPTModel
from crosspt.prompts.embedding import CrossPTEmbedding

__all__ = ["CrossPTConfig", "CrossPTEmbedding", "CrossPTModel"]
