"""What the window of tap packing reads and how often a block may start on it (njit, plain integers).

A *strip* is what one tap row of the window holds: line words, each `lanes` neighbouring columns of one phase
(`x mod stride`) for column lanes, one column of all lanes' frames for batch lanes (`lanes` is 1 then). From window to
window a strip moves on by `min(stride, kernel width)` words, one *batch*; at a row's start it is filled batch by
batch, the first of which may be short. One word is read a cycle. Only one batch is read ahead, beside the window in use.

Of takes as early as possible, blocks of `cycles` cycles each, with P words in a batch, F in the first batch of a row
and n batches that fill a strip:

    take to take within a row            max(cycles, P)
    to the first take of the next row    max(cycles, F) + (n - 1) * P        (also of a frame and of a block of channels)
    from `go` to the first take          1 + F + (n - 1) * P, and 1 more where the choice of words is deep

A later take helps: a window is ready at max(take + cycles, ready + P), or + F and (n - 1) * P after it, where `take`
and `ready` are those of the window before. `accel/rtl/window.py` does the same, cycle for cycle.
"""

from __future__ import annotations

from foldwright.kernels import njit

__all__ = [
    "batch_words",
    "first_batch_words",
    "first_take",
    "ready_after",
    "row_stall",
    "strip_batches",
    "strip_words",
    "window_interval",
]


@njit(cache=True)
def strip_words(kernel_width: int, stride: int, lanes: int) -> int:
    """Returns the line words of a strip: the kernel's columns for all lanes, whole words of each phase.

    >>> strip_words(3, 1, 1), strip_words(3, 1, 8), strip_words(7, 2, 8)
    (3, 2, 4)
    """
    if kernel_width <= stride:
        return kernel_width
    reach = (
        kernel_width - 1
    ) // stride  # columns that the first phases need behind a word; the others one less
    groups = -(-reach // lanes)
    if reach - 1 > (groups - 1) * lanes:
        return (groups + 1) * stride
    return groups * stride + (kernel_width - 1) % stride + 1


@njit(cache=True)
def strip_batches(kernel_width: int, stride: int, lanes: int) -> int:
    """Returns the batches that fill a strip."""
    return -(-strip_words(kernel_width, stride, lanes) // min(stride, kernel_width))


@njit(cache=True)
def batch_words(kernel_height: int, kernel_width: int, stride: int) -> int:
    """Returns the line words that a window reads within a row."""
    return kernel_height * min(stride, kernel_width)


@njit(cache=True)
def first_batch_words(kernel_height: int, kernel_width: int, stride: int, lanes: int) -> int:
    """Returns the line words of the first batch of a row."""
    later = (strip_batches(kernel_width, stride, lanes) - 1) * min(stride, kernel_width)
    return kernel_height * (strip_words(kernel_width, stride, lanes) - later)


@njit(cache=True)
def ready_after(
    kernel: tuple[int, int], stride: int, lanes: int, cycles: int, take: int, ready: int, is_row_start: bool
) -> int:
    """Returns the first cycle in which a window may be taken.

    Args:
        cycles: of the block before, from its take up to its `done`, both included.
        take: when the window before was taken.
        ready: when the window before could have been taken.
    """
    batch = batch_words(kernel[0], kernel[1], stride)
    if not is_row_start:
        return max(take + cycles, ready + batch)
    first = first_batch_words(kernel[0], kernel[1], stride, lanes)
    return max(take + cycles, ready + first) + (strip_batches(kernel[1], stride, lanes) - 1) * batch


@njit(cache=True)
def window_interval(kernel: tuple[int, int], stride: int, lanes: int, cycles: int) -> int:
    """Returns the cycles from take to take within a row, for blocks of `cycles` cycles."""
    return ready_after(kernel, stride, lanes, cycles, 0, 0, False)


@njit(cache=True)
def row_stall(kernel: tuple[int, int], stride: int, lanes: int, cycles: int) -> int:
    """Returns by how many cycles the first take of a row (frame, block of channels) comes later than the interval.

    >>> row_stall((3, 3), 1, 1, 8), row_stall((3, 3), 1, 16, 8), row_stall((2, 2), 2, 1, 8)
    (6, 3, 0)
    """
    start = ready_after(kernel, stride, lanes, cycles, 0, 0, True)
    return start - window_interval(kernel, stride, lanes, cycles)


@njit(cache=True)
def first_take(kernel: tuple[int, int], stride: int, lanes: int, is_deep: bool) -> int:
    """Returns the cycles from `go` to the first take."""
    rest = (strip_batches(kernel[1], stride, lanes) - 1) * batch_words(kernel[0], kernel[1], stride)
    return 1 + first_batch_words(kernel[0], kernel[1], stride, lanes) + rest + (1 if is_deep else 0)
