"""What only a T5 needs: attention, isolated prefixes, loading."""
