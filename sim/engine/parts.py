"""Parts: kernels that only other kernels call, without machine code of their own.

Left alone, numba optimises every function together with all that it calls, and makes machine code of the whole: what is
called ten calls deep is optimised and translated ten times, which took most of the first start. A part is typed and
lowered once. Optimising and translating is left to what Python calls, which takes the parts in. So is the code that
turns Python's arguments into numbers; a part called from Python all the same, as tests do, is compiled by itself then.

Stands on numba's library of one function, which it may change. Used by `kernel.py` alone.
"""

from functools import cache
from importlib import import_module

from llvmlite import binding, ir
from numba import njit, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

# numba writes out the types of a function's arguments at every step of compiling it, records of 80 fields too.
types.Record.__repr__ = cache(types.Record.__repr__)  # type: ignore[method-assign]


class Parts(CompilerBase):
    """numba's pipeline with another last step, which lowers a kernel and does not compile it to machine code."""

    def define_pipelines(self):
        """numba's own passes, with `_LowerPart` instead of the lowering to machine code."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [(_LowerPart if step is NativeLowering else step, why) for step, why in pipeline.passes]
        pipeline.finalize()
        return [pipeline]


class _Library(JITCodeLibrary):
    """What callers take in is not optimised; what becomes machine code is the entry for Python."""

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True
        self._get_module_for_linking()  # kept
        self._final_module = self.entry
        self._finalize_final_module()


class _Lowered(Lower):
    """A part's code, and an entry for Python that takes a few lines whatever the arguments."""

    def create_cpython_wrapper(self, release_gil=False):
        """(closure, arguments, keywords) -> `call_alone`."""
        module, names = self.context.create_module("entry"), (self.fndesc.modname, self.fndesc.qualname)
        self.context.declare_env_global(module, self.context.get_env_name(self.fndesc))
        item = ir.IntType(8).as_pointer()
        entry = ir.Function(module, ir.FunctionType(item, [item] * 3), self.fndesc.llvm_cpython_wrapper_name)
        builder = ir.IRBuilder(entry.append_basic_block())
        python = self.context.get_python_api(builder)
        home = python.import_module(self.context.insert_const_string(module, __name__))
        call = python.object_getattr_string(home, call_alone.__name__)
        which = [python.string_from_string(self.context.insert_const_string(module, name)) for name in names]
        result = python.call_function_objargs(call, (*which, entry.args[1]))
        for held in (home, call, *which):
            python.decref(held)
        builder.ret(result)
        self.library.entry = binding.parse_assembly(str(module))
        self.library._final_module.link_in(self.library.entry, preserve=True)


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerPart(NativeLowering):
    _name = "lower_part"
    lowering_class = _Lowered

    def run_pass(self, state):
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().run_pass(state)


def call_alone(module, name, arguments):
    """Call a part from Python: it is compiled by itself, for the life of this process."""
    return _alone(module, name)(*arguments)


@cache
def _alone(module, name):
    return njit(error_model="numpy")(getattr(import_module(module), name).py_func)
