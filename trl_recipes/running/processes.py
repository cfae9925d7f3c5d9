"""The end of a run of several processes."""

import gc

from accelerate import PartialState


def end_process_group() -> None:
    """Leave the group of processes that train together, and end its threads; nothing where there is but one process.

    A trainer and its DDP model refer to each other in a circle, and DDP to the group, so that the group's threads would
    outlive `destroy_process_group` until Python happens to look for circles: at worst when the interpreter ends, which
    aborts a process that has done its work ("terminate called without an active exception").
    """
    PartialState().destroy_process_group()
    gc.collect()
