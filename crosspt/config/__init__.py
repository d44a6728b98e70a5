"""Settings: dataclasses that check themselves."""
