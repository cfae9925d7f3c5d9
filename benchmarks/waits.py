"""Where a GPU would make the processor wait, counted on a CPU.

A GPU works through what it is told while the processor goes on telling. It stops doing so wherever a number has to be
known here: `.item()`, `.tolist()`, `if tensor`, places of a mask. And where a tensor is sent over that was made here.
On a CPU neither can be seen: there is one memory. So tensors that are made without a device (`torch.tensor([3, 4])`)
are followed as those of the host, and all others count as the device's.
"""

import inspect
from collections import Counter
from types import FrameType, TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes  # pyright: ignore[reportPrivateUsage]
from torch.utils._pytree import tree_leaves

# Their result is a number, or has as many elements as a tensor's values say.
_READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.repeat_interleave.Tensor,
    torch.ops.aten.unique_consecutive.default,
    torch.ops.aten._unique2.default,
}
_INDEXES = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}
_MAKES = {torch.tensor, torch.as_tensor, torch.from_numpy, torch.arange, torch.zeros, torch.ones, torch.full}
_FETCHES: dict[Any, str] = {Tensor.tolist: "tolist", Tensor.cpu: "cpu", Tensor.numpy: "numpy"}


class _Host:
    """Which tensors are not on the device."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[int, Tensor] = WeakValueDictionary()

    def __contains__(self, tensor: Tensor) -> bool:
        return self._known.get(id(tensor)) is tensor

    def add(self, values: object) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                self._known[id(value)] = value


class Waits(TorchDispatchMode):
    """Operators, and by place in the code those that a GPU would make wait.

    Attributes:
        operators: how many, of all kinds.
        reads: of what the device has, by `module:function`.
        copies: to the device, of tensors of the host. Each waits as well, as `.to(device)` does; where code decides
            itself about `non_blocking` it is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self.reads: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self._host = _Host()
        self._functions = _Functions(self)

    def __enter__(self) -> Self:
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._functions.__exit__(kind, error, traceback)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += 1
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        of_host = [tensor for tensor in tensors if tensor in self._host]
        if len(of_host) < len(tensors):
            by_mask = func in _INDEXES and any(
                index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
            )
            if by_mask or func in _READS:
                self.reads[f"{place()} {func.__name__.partition('.')[0]}"] += 1
            # A number of the host goes with the call.
            self.copies.update(f"{place()}" for tensor in of_host if tensor.ndim)
        result = func(*args, **(kwargs or {}))
        if tensors and len(of_host) == len(tensors):
            self._host.add(result)
        return result

    def made(self, tensor: Tensor, on_host: bool) -> None:
        """A tensor of numbers that the program has."""
        if on_host:
            self._host.add(tensor)
        else:
            self.copies[place()] += 1

    def sent(self, tensor: Tensor, waits: bool) -> Tensor:
        """A tensor of the host as one of the device."""
        self.copies[place()] += waits
        with _disable_current_modes():
            return tensor.clone()

    def fetched(self, tensor: Tensor, how: str) -> None:
        if tensor not in self._host:
            self.reads[f"{place()} {how}"] += 1

    def is_of_host(self, tensor: object) -> bool:
        return isinstance(tensor, Tensor) and tensor in self._host


class _Functions(TorchFunctionMode):
    """Tells `Waits` of calls that are no operator."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FETCHES:
            self._waits.fetched(args[0], _FETCHES[func])
        if func is Tensor.to and self._waits.is_of_host(args[0]) and _names_device(args[1:], kwargs):
            return self._waits.sent(func(*args, **kwargs), waits="non_blocking" not in kwargs)
        result = func(*args, **kwargs)
        if func in _MAKES:
            of_numbers = func in (torch.tensor, torch.as_tensor, torch.from_numpy)
            is_new = func is not torch.as_tensor or not isinstance(args[0], Tensor)
            on_host = kwargs.get("device") is None
            if is_new and (on_host or of_numbers):
                self._waits.made(result, on_host)
        if func is Tensor.cpu:
            result = result.clone()
            self._waits.made(result, True)
        return result


def _names_device(values: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    return "device" in keywords or any(isinstance(value, torch.device | str | Tensor) for value in values)


def place() -> str:
    """Module and function, outside torch, that has called."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("torch.", "benchmarks.waits")) and name != "torch":
            return f"{name.rpartition('.')[2]}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "backward pass"
