"""What a server takes on."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ServingConfig:
    """The limits of a server.

    Args:
        batch_size: most rows in a batch.
        wait_ms: most milliseconds that a row waits for others to share its batch, while the model is free.
        queue_rows: most rows that wait; a request that would make them more is refused with status 429.
        request_rows: most rows of a request.
        body_bytes: most bytes of a request's body.
        text_chars: most characters of a text.
        read_seconds: most seconds that a request's body may take to arrive.
    """

    batch_size: int = 32
    wait_ms: float = 5.0
    queue_rows: int = 2048
    request_rows: int = 1024
    body_bytes: int = 2**20
    text_chars: int = 20_000
    read_seconds: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            least, value = (0 if field.name == "wait_ms" else 1), getattr(self, field.name)
            if value < least:
                raise ValueError(f"ServingConfig: {field.name} must be at least {least}, got {value}")
        if self.request_rows > self.queue_rows:
            raise ValueError(
                f"ServingConfig: request_rows must be at most queue_rows, got {self.request_rows} and {self.queue_rows}"
            )
