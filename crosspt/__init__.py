"""Cross-task prompt tuning (arXiv 2509.14253) of a frozen T5."""
