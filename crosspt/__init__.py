"""Cross-task prompt tuning (arXiv 2509.14253) of a frozen T5.

Importing the package registers ``attn_implementation="crosspt"`` with transformers; see ``crosspt.attention``.
"""

from crosspt.config import CrossPTConfig
from crosspt.embedding import CrossPTEmbedding
from crosspt.model import CrossPTModel

__all__ = ["CrossPTConfig", "CrossPTEmbedding", "CrossPTModel"]
