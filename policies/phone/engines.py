"""Engines that a phone would run: a network's parts exported to ONNX, MNN or TensorFlow Lite, and run by the engine.

A part is an nn.Module of tensors only, exported for one person and fixed sizes: that file is what a phone ships. Ids
are embedded before (in the cloud), so no file holds an embedding. Extra `edge`: pip install nextone[edge]; to write
files for TensorFlow Lite (now called LiteRT), not to run them, also the extra `convert`, which is a gigabyte.
"""

import contextlib
import importlib.util
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nextone.policies.names import EngineMissing
from nextone.sim.inputs.errors import UserError

OPSET = 18
ONNX = ("onnx", "onnxscript", "onnxruntime")
Tensors = tuple[Tensor, ...]


class Outputs(nn.Module):
    """A part whose outputs are always a tuple."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, *inputs: Tensor) -> Tensors:
        """The part's outputs, as a tuple."""
        said = self.part(*inputs)
        return tuple(said) if isinstance(said, (tuple, list)) else (said,)


def export(part: nn.Module, example: Tensors, path: Path) -> Path:
    """Write a part to `path` (.onnx, .mnn or .tflite), for inputs of the example's sizes. Raises EngineMissing, or
    UserError if the engine has no such operation."""
    needs_to_export(path.suffix[1:])
    example = tuple(tensor.detach().clone() for tensor in example)
    if path.suffix == ".tflite":
        _to_tflite(part, example, path)
    else:
        _to_onnx(part, example, path.with_suffix(".onnx"))
    if path.suffix == ".mnn":
        _to_mnn(path.with_suffix(".onnx"), path)
    return path


def _to_onnx(part: nn.Module, example: Tensors, file: Path) -> None:
    names = [f"in{k}" for k in range(len(example))]
    with torch.inference_mode(), _quiet():
        outputs = [f"out{k}" for k in range(len(Outputs(part)(*example)))]
    with _quiet():
        program = torch.onnx.export(
            Outputs(part).eval(), example, dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
            input_names=names, output_names=outputs,
        )  # fmt: skip
        assert program is not None
        program.save(str(file))
    fold(file)


def fold(file: Path) -> None:
    """Replace what is constant in the file by its value. This is not only for speed: MNN 3.6.1 gives random numbers for
    ConstantOfShape."""
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    ort.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])


def _to_mnn(file: Path, path: Path) -> None:
    # The package's command line installs packages and reports usage; without this module its function does neither.
    sys.modules["MNN.tools.utils.log"] = None  # type: ignore[assignment]
    with _quiet():
        from MNN.tools.mnnconvert import convert

        convert(["MNNConvert", "-f", "ONNX", "--modelFile", str(file), "--MNNModel", str(path), "--bizCode", "x",
                 "--useOriginRNNImpl"])  # fmt: skip
    if not path.exists():
        raise RuntimeError(f"MNN could not convert {str(file)!r}")


def _to_tflite(part: nn.Module, example: Tensors, path: Path) -> None:
    with _quiet():
        import litert_torch

        try:
            litert_torch.convert(with_constants(part, example), example).export(str(path))
        except Exception as error:  # of many types, none of them documented
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path.name}: litert-torch cannot convert this network ({reason}); try onnx") from None


def with_constants(part: nn.Module, example: Tensors) -> nn.Module:
    """The part for inputs of the example's sizes, in which what depends on no input (`arange`, `eye`) is replaced by
    its value: TensorFlow Lite's interpreter has no operation that counts."""
    module = torch.export.export(part.eval(), example).module()
    assert isinstance(module, torch.fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and not node.all_input_nodes:
            name = f"constant_{node.name}"
            module.register_buffer(name, node.target(*node.args, **node.kwargs))
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(module.graph.get_attr(name))
            module.graph.erase_node(node)
    module.recompile()
    return module


class OnnxPart(nn.Module):
    """A part run by ONNX Runtime, one person at a time, on one thread."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [known.name for known in self.session.get_inputs()]  # export may drop what is not used

    def forward(self, *inputs: Tensor) -> Any:
        """Outputs for the rows of the inputs, as of the part itself."""
        return _one_by_one(self._one, inputs)

    def _one(self, arrays: list[Any]) -> list[Any]:
        feed = {f"in{k}": array for k, array in enumerate(arrays) if f"in{k}" in self.inputs}
        said: list[Any] = self.session.run(None, feed)
        return said


class MnnPart(nn.Module):
    """A part run by MNN's Module API, one person at a time, on one thread, in full precision."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        _needs("MNN")
        session = OnnxPart(path.with_suffix(".onnx")).session
        inputs, outputs = ([known.name for known in some] for some in (session.get_inputs(), session.get_outputs()))
        self.inputs = [int(name.removeprefix("in")) for name in inputs]
        with _quiet():
            import MNN

            self.expr = MNN.expr
            manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": 1, "precision": "high"},))
            self.module = MNN.nn.load_module_from_file(str(path), inputs, outputs, runtime_manager=manager)

    def forward(self, *inputs: Tensor) -> Any:
        """Outputs for the rows of the inputs, as of the part itself."""
        return _one_by_one(self._one, inputs)

    def _one(self, arrays: list[Any]) -> list[Any]:
        given = [self.expr.const(arrays[k], list(arrays[k].shape), self.expr.NCHW) for k in self.inputs]
        said = self.module.forward(given)
        return [np.array(out.read(), np.float32).reshape(out.shape) for out in said]


class TflitePart(nn.Module):
    """A part run by TensorFlow Lite's interpreter, one person at a time, on one thread. Raises UserError if it cannot
    read the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        _needs("ai_edge_litert")
        with _quiet():
            from ai_edge_litert.interpreter import Interpreter

            try:
                self.interpreter = Interpreter(model_path=str(path), num_threads=1)
                self.interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{str(path)!r} cannot be run by TensorFlow Lite: {reason}; export it again") from None
        self.inputs = [(self._number(known), known["index"]) for known in self.interpreter.get_input_details()]
        outputs = sorted(self.interpreter.get_output_details(), key=self._number)
        self.outputs = [known["index"] for known in outputs]

    @staticmethod
    def _number(tensor: dict[str, Any]) -> int:
        """3 of "serving_default_args_3"; an input that the part does not use is missing among them."""
        return int(re.findall(r"_(\d+)", tensor["name"])[0])

    def forward(self, *inputs: Tensor) -> Any:
        """Outputs for the rows of the inputs, as of the part itself."""
        return _one_by_one(self._one, inputs)

    def _one(self, arrays: list[Any]) -> list[Any]:
        for k, index in self.inputs:
            self.interpreter.set_tensor(index, arrays[k])
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


def on_engine(part: nn.Module, example: Tensors, engine: str, folder: Path, name: str) -> nn.Module:
    """The part as the real engine runs it; its files are left in the folder."""
    return opened(export(part, example, folder / f"{name}.{engine}"))


def opened(path: Path) -> nn.Module:
    """An exported part, by the engine that its file is for; MNN looks at the .onnx beside it for names."""
    by_suffix: dict[str, Callable[[Path], nn.Module]] = {".onnx": OnnxPart, ".mnn": MnnPart, ".tflite": TflitePart}
    return by_suffix[path.suffix](path)


def _one_by_one(run: Callable[[list[Any]], list[Any]], inputs: Tensors) -> Any:
    """Rows of the inputs through the engine; a tensor, or a tuple of them."""
    arrays = [np.ascontiguousarray(tensor.numpy(), np.float32) for tensor in inputs]
    n = max(len(array) for array in arrays)
    rows = [run([array[k : k + 1] if len(array) == n else array for array in arrays]) for k in range(n)]
    said = tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*rows, strict=True))
    return said if len(said) > 1 else said[0]


def _onnxruntime() -> Any:
    _needs("onnxruntime")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # must be set before the import
    import onnxruntime

    return onnxruntime


def needs(engine: str) -> None:
    """Raises EngineMissing unless what the engine needs to run a policy is installed."""
    _needs(*{"onnx": ONNX, "mnn": (*ONNX, "MNN"), "tflite": ("ai_edge_litert",)}[engine])


def needs_to_export(engine: str) -> None:
    """Raises EngineMissing unless what is needed to write the engine's files, and to run them, is installed."""
    needs(engine)
    if engine == "tflite":
        _needs("litert_torch", extra="convert", who="writing .tflite files needs")


def _needs(*packages: str, extra: str = "edge", who: str = "engines need") -> None:
    missing = [name.replace("_", "-") for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineMissing(f"{who} {', '.join(missing)}, which is not installed; pip install 'nextone[{extra}]'")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell much of themselves, on Python's streams, in warnings, and straight to the terminal."""
    before = logging.root.manager.disable
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        logging.disable(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(
            io.StringIO()
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        for stream, copy in enumerate(kept, start=1):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
