"""How long torch's threads burn a core while they wait for each other."""

import os
import sys
from collections.abc import MutableMapping

FEW_CORES = 4
"""Up to so many, one that something else works on is a large share. With more nothing was measured."""
_SPINS, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
_FEW_SPINS = "1000"  # instead of 300,000; with none at all, small passes on idle cores took twice as long


def give_up_cores(environment: MutableMapping[str, str] | None = None, cores: int | None = None) -> None:
    """Have threads that wait give up their core soon, on a machine of few; to be called before torch is imported.

    Threads of GNU's OpenMP, torch's on Linux, spin for a while after every product. A thread that something else keeps
    from its core holds up all others, which spin, over and over: `benchmarks/README.md` has what that costs. What the
    user has set stays.
    ([GOMP_SPINCOUNT](https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html).)

    Args:
        environment: where it is said; this process's when None.
        cores: that this process may use; counted when None.
    """
    environment = os.environ if environment is None else environment
    if sys.platform != "linux":  # where torch brings another OpenMP, and cores are counted otherwise
        return
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    if cores <= FEW_CORES and _POLICY not in environment:
        environment.setdefault(_SPINS, _FEW_SPINS)
