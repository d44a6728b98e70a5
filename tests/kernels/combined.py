"""Every combination of arguments, of which one in sixteen is taken to Triton IR: ``python -m tests.kernels.combined``.

Prints a line of JSON: how many there are, and a hash of what decides what they compile to. What does not become Triton
IR raises.
"""

import hashlib
import json
from itertools import chain

from crosspt.kernels.tools.assembly import compile_key
from crosspt.kernels.tools.combinations import BFLOAT16, FLOAT32, Combinations, to_triton_ir
from crosspt.kernels.tools.inspection import TARGETS
from tests.kernels.launched import SAMPLE


def main() -> None:
    """Name all of them, and check some."""
    gpu, keys = TARGETS["sm_90"].gpu, set()
    for variant in chain(Combinations((FLOAT32,), cover=2)(), Combinations((BFLOAT16,))()):
        key = compile_key(variant, gpu)
        if key not in keys and int(key, 16) % SAMPLE == 0:
            to_triton_ir(variant, gpu)
        keys.add(key)
    print(json.dumps({"combinations": len(keys), "hash": hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()}))


if __name__ == "__main__":
    main()
