"""How the model is compiled: `@kernel` for functions that only look into the arrays they are given.

Without reference counts: a life passes the same few arrays to dozens of small functions per event, and counting who
holds them took a fifth of the time. Such a function may not make an array, or be given a new one by another; the
compiler refuses the former. `@allocating` functions may. `_nrt` is numba's switch for counting.

`@inlined` is a kernel that stands in its caller's machine code: what is called at every event, or from one place. An
array is seven numbers to hand over, and handing dozens of them over took a sixth of the time. `@pasted` stands in its
caller's source already and is never compiled by itself: what is called with many types of integers, or holds a whole
life that would be compiled twice.

None of these has machine code of its own, see `parts.py`. What Python calls has: `@entry` may make arrays, `@called` is
a kernel that other kernels call, too. A number in the source is a type of its own to numba, which compiles a kernel
once for each of them: a kernel that is called with several is given `np.int64(3)` instead, and numbers of one width.

Every compiled function of the package gets its decorator here, or one made of `compiled`, so that `kernel_cache` keeps
its machine code: numba's own cache would keep it beyond a change of what the function calls.

`fetch_ahead` says which row of an array is looked at soon. What a person and a page need lies all over the memory, and
waiting for it took a third of the time; asked for early, it comes while something else is worked out. `copy_rows` moves
bytes as they lie, where the compiler cannot know that two arrays do not overlap and would go number by number.
"""

import gc
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils, event
from numba.extending import intrinsic

from .kernel_cache import is_kept as is_kept
from .kernel_cache import kept_on_disk
from .parts import Parts


def compiled(**options: Any) -> Callable[[Any], Any]:
    """A decorator: numba's njit with these options, its machine code kept on disk."""
    options |= {"error_model": "numpy", "no_cfunc_wrapper": True}
    return lambda function: kept_on_disk(njit(**options)(function))


def part(**options: Any) -> Callable[[Any], Any]:
    """A decorator: a function that only compiled functions call, with these options of numba."""
    return compiled(pipeline_class=Parts, **options)


entry = compiled(_nrt=True)
called = compiled(_nrt=False)
kernel = part(_nrt=False)
inlined = part(_nrt=False, forceinline=True)
pasted = part(_nrt=False, inline="always")
allocating = part(_nrt=True)

LINE = 64  # bytes that come at once


class _Uncollected(event.Listener):
    """Puts garbage collection off while numba compiles: looking for cycles among its many objects took a sixth of the
    time."""

    depth, was_on = 0, False

    def on_start(self, event):
        if self.depth == 0:
            self.was_on = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event):
        self.depth -= 1
        if self.depth == 0 and self.was_on:
            gc.enable()


event.register("numba:compile", _Uncollected())


def _row(context, builder, kind, rows, i):
    """(address of row i of an array, bytes from row to row)."""
    array = context.make_array(kind)(context, builder, rows)
    size = cgutils.unpack_tuple(builder, array.strides, kind.ndim)[0]
    if kind.ndim == 1:
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    return builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [builder.mul(i, size)]), size


def _copy(context, builder, signature, args):
    """LLVM's memcpy of whole rows."""
    target, size = _row(context, builder, signature.args[0], args[0], args[1])
    source, _ = _row(context, builder, signature.args[2], args[2], args[3])
    cgutils.raw_memcpy(builder, target, source, args[4], size)
    return context.get_dummy_value()


def _prefetch(context, builder, signature, args):
    """LLVM's prefetch of every line of one row."""
    first, size = _row(context, builder, signature.args[0], args[0], args[1])
    byte, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
    prefetch = builder.module.declare_intrinsic(
        "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
    )
    lines = builder.sdiv(builder.add(size, context.get_constant(types.intp, LINE - 1)), size.type(LINE))
    with cgutils.for_range(builder, lines) as loop:
        line = builder.gep(first, [builder.mul(loop.index, size.type(LINE))])
        builder.call(prefetch, [line, whole(0), whole(3), whole(1)])  # to read, into every cache, data
    return context.get_dummy_value()


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def fetch_ahead(rows, i):
        """Row i of an array is looked at soon. Changes nothing but how long that takes."""

    def copy_rows(target, k, source, i, count):
        """target[k : k + count] = source[i : i + count], of arrays with the same rows, which lie as in C."""
        target[k : k + count] = source[i : i + count]

else:

    @intrinsic
    def fetch_ahead(typing_context, rows, i):
        """Row i of an array is looked at soon. Changes nothing but how long that takes."""
        return types.void(rows, types.intp), _prefetch

    @intrinsic
    def copy_rows(typing_context, target, k, source, i, count):
        """target[k : k + count] = source[i : i + count], of arrays with the same rows, which lie as in C."""
        if (target.dtype, target.ndim, target.layout) != (source.dtype, source.ndim, "C") or source.layout != "C":
            return None  # numba says that these types do not suit
        return types.void(target, types.intp, source, types.intp, types.intp), _copy
