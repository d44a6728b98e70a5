"""What only a causal language model needs: prefixes in its cache, answers that continue a text."""
