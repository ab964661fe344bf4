"""Modules that are written as ONNX node by node, where torch's exporter would take seconds: perceptrons and trees."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from didact.learners.nets import Standardise
from didact.learners.onnx_graph import Graph
from didact.learners.trees import Trees

if TYPE_CHECKING:
    from onnx import ModelProto


def net_of(module: nn.Module, shape: Sequence[int]) -> "ModelProto | None":
    """A module as a graph from `x` [B, *shape] to `logits`; None if it has a layer of another kind.

    Args:
        module: layers one after the other, flattened before the first linear one.
        shape: that of one input.
    """
    if isinstance(module, Trees):
        return module.onnx_net(shape)
    layers, rank = list(_layers(module)), len(shape)
    graph = Graph(["x", "logits"])
    value = graph.input("x", np.float32, ("batch", *shape))
    for layer in layers:
        rank = 1 if isinstance(layer, nn.Flatten) else rank
        added = _add(graph, layer, value, rank)
        if added is None:
            return None
        value = added
    if not layers or not isinstance(layers[-1], nn.Linear):
        return None
    graph.output(value, "logits", np.float32, ("batch", layers[-1].out_features))
    return graph.model()


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for part in module:
            yield from _layers(part)
    else:
        yield module


def _add(graph: Graph, layer: nn.Module, value: str, rank: int) -> str | None:
    """The output of a layer, whose input has `rank` dimensions beside the batch; None if it is of another kind."""
    plain = not (layer._forward_hooks or layer._forward_pre_hooks)
    if type(layer) is Standardise and plain:
        centred = graph.add("Sub", value, _constant(graph, layer.mean))
        return graph.add("Div", centred, _constant(graph, layer.std))
    if type(layer) is nn.Flatten and plain and (layer.start_dim, layer.end_dim) == (1, -1):
        return graph.add("Flatten", value, axis=1)
    if type(layer) is nn.ReLU and plain:
        return graph.add("Relu", value)
    if type(layer) is nn.Linear and plain and rank == 1 and layer.bias is not None:
        return graph.add("Gemm", value, _constant(graph, layer.weight), _constant(graph, layer.bias), transB=1)
    return None


def _constant(graph: Graph, tensor: Tensor) -> str:
    return graph.constant(tensor.detach().cpu().numpy(), np.float32)
