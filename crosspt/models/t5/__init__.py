"""What only a T5 needs: attention and isolated prefixes."""
