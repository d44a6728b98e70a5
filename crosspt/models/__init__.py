"""Language models behind a CrossPTEmbedding."""
