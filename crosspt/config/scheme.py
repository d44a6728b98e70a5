"""The grammar of scheme names such as P, SL, SLP10, SLPN and SILP."""

import re
from dataclasses import dataclass

_SCHEME = re.compile(r"(?P<s>S(?P<si>I)?(?P<sl>L)?(?P<inner>N|\d+)?)?(?P<p>P(?P<pi>I)?)?(?P<count>N|\d+)?")


@dataclass(frozen=True)
class Scheme:
    """What a scheme name says: which prompts a task mixes, which of them start from saved prompts, which learn.

    The name is ``S[I][L]`` for sources used, initialised from stage-1 prompts and learned, ``P[I]`` for private prompts
    used and initialised (Table 1 of the paper), then the number of sources: none is one, ``N`` one for every target
    task, otherwise the number. Initialised sources take no number: there is one for every source task. Private prompts
    always learn.
    """

    name: str
    uses_sources: bool
    initializes_sources: bool
    learns_sources: bool
    uses_privates: bool
    initializes_privates: bool
    count: str

    @classmethod
    def parse(cls, name: str) -> "Scheme":
        """Read a scheme name; ``SLNP`` is accepted for ``SLPN``. Raises ValueError with what is wrong."""
        match = _SCHEME.fullmatch(name.upper()) if isinstance(name, str) else None
        if match is None or not name or (match["inner"] and match["count"]):
            raise ValueError(f"scheme: expected S[I][L][P[I]][number or N] or P[I], such as SLPN or SILP, got {name!r}")
        count = match["inner"] or match["count"] or ""
        if match["s"] is None and count:
            raise ValueError(f"scheme: a number of sources needs sources (S...), got {name!r}")
        if match["si"] and count:
            raise ValueError(
                f"scheme: initialised sources are one for every source task and take no number, got {name!r}"
            )
        if count not in ("", "N"):
            if int(count) == 0:
                raise ValueError(f"scheme: the number of sources must be at least 1, got {name!r}")
            count = "" if int(count) == 1 else str(int(count))
        if match["sl"] is None and match["p"] is None:
            raise ValueError(
                f"scheme: {name!r} leaves nothing to learn; learn the sources (SL) or add private prompts (P)"
            )
        canonical = "".join(
            letter
            for letter, present in (
                ("S", match["s"]),
                ("I", match["si"]),
                ("L", match["sl"]),
                ("P", match["p"]),
                ("I", match["pi"]),
            )
            if present
        )
        return cls(
            name=canonical + count,
            uses_sources=match["s"] is not None,
            initializes_sources=match["si"] is not None,
            learns_sources=match["sl"] is not None,
            uses_privates=match["p"] is not None,
            initializes_privates=match["pi"] is not None,
            count=count,
        )

    @property
    def needs_source_prompts(self) -> bool:
        """Whether anything starts from stage-1 prompts."""
        return self.initializes_sources or self.initializes_privates

    def num_sources(self, tasks: int, source_tasks: int) -> int:
        """Number n of source prompts for that many target tasks and source tasks."""
        if not self.uses_sources:
            return 0
        if self.initializes_sources:
            return source_tasks
        return tasks if self.count == "N" else int(self.count or 1)
