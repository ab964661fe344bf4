"""Decision trees that were grown elsewhere, as a module: tables of nodes that an input goes through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from didact.errors import CheckpointError
from didact.learners.onnx_graph import IR, ML_OPSET, OPSET

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One decision tree of K nodes; the first is its root, and each child comes after its parent."""

    left: np.ndarray
    """int64 [K]: the child for inputs whose feature is at most the threshold; -1 in a leaf."""
    right: np.ndarray
    """int64 [K]: the other child; -1 in a leaf."""
    feature: np.ndarray
    """int64 [K]: which number of the input is compared; anything in a leaf."""
    threshold: np.ndarray
    """float64 [K]: what it is compared with; anything in a leaf."""
    value: np.ndarray
    """float64 [K, C]: what a leaf adds to the outputs; anything in other nodes."""


class Trees(nn.Module):
    """A sum of decision trees over float32 inputs, which nothing trains: its tensors are set by `of` or loaded.

    Args:
        nodes: of all trees, N.
        trees: how many there are, T.
        depth: the most comparisons between a root and a leaf.
        outputs: C.
    """

    feature: Tensor
    left: Tensor
    right: Tensor
    root: Tensor

    def __init__(self, nodes: int, trees: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.depth = depth
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(nodes, dtype=torch.int64))
        self.register_buffer("root", torch.zeros(trees, dtype=torch.int64))
        self.threshold = nn.Parameter(torch.zeros(nodes), requires_grad=False)
        self.value = nn.Parameter(torch.zeros(nodes, outputs), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False)
        self.register_load_state_dict_post_hook(_check)

    @classmethod
    def of(cls, trees: Sequence[Tree], bias: np.ndarray) -> "Trees":
        """Make a module of trees, at least one, and of what is added to their sum, [C].

        Thresholds are rounded down to float32, which no float32 input can tell from the given ones.
        """
        sizes = [len(tree.left) for tree in trees]
        starts = np.cumsum([0, *sizes[:-1]])
        made = cls(sum(sizes), len(trees), max(map(_depth, trees)), len(bias))
        leaf = np.concatenate([tree.left < 0 for tree in trees])
        own = np.arange(len(leaf))
        moved = {
            name: np.concatenate([getattr(tree, name) + start for tree, start in zip(trees, starts, strict=True)])
            for name in ("left", "right")
        }
        threshold = np.concatenate([tree.threshold for tree in trees])
        value = np.concatenate([tree.value for tree in trees])
        tensors = {
            "feature": np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
            # A leaf is its own child, so that all inputs take the same number of steps.
            **{name: np.where(leaf, own, places) for name, places in moved.items()},
            "root": starts,
            "threshold": np.where(leaf, 0, _round_down(threshold)),
            "value": np.where(leaf[:, None], value, 0),
            "bias": bias,
        }
        kinds = {name: tensor.dtype for name, tensor in made.state_dict().items()}
        made.load_state_dict({name: torch.from_numpy(array).to(kinds[name]) for name, array in tensors.items()})
        return made

    def forward(self, x: Tensor) -> Tensor:
        """float32 [B, ...] to [B, C]."""
        x = x.flatten(1)
        node = self.root.expand(len(x), -1)
        for _ in range(self.depth):
            left = x.gather(1, self.feature[node]) <= self.threshold[node]
            node = torch.where(left, self.left[node], self.right[node])
        return self.value[node].sum(1) + self.bias

    def onnx_net(self, shape: Sequence[int]) -> "ModelProto":
        """The same as a graph from `x` [B, *shape] to `logits` [B, C], with one operator for all trees."""
        from onnx import TensorProto, helper

        flat = helper.make_node("Flatten", ["x"], ["flat"], axis=1)
        node = helper.make_node("TreeEnsembleRegressor", ["flat"], ["logits"], domain="ai.onnx.ml")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in self._attributes().items())
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(self.bias)])
        graph = helper.make_graph([flat, node], "trees", [x], [logits])
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(graph, opset_imports=versions, ir_version=IR)

    def _attributes(self) -> dict[str, object]:
        """The nodes as the operator of ONNX takes them."""
        own, root = np.arange(len(self.feature)), self.root.numpy()
        tree = np.searchsorted(root, own, side="right") - 1
        left, right = self.left.numpy(), self.right.numpy()
        leaf, value = left == own, self.value.detach().numpy()
        # Of a tree that only adds to some outputs, the zeros of the others are left out, but every leaf has one.
        used = np.zeros((len(root), value.shape[1]), dtype=bool)
        np.logical_or.at(used, tree[leaf], value[leaf] != 0)
        used[~used.any(1), 0] = True
        at, output = np.nonzero(used[tree] & leaf[:, None])
        local = own - root[tree]
        return {
            "n_targets": value.shape[1],
            "base_values": self.bias.tolist(),
            "nodes_treeids": tree.tolist(),
            "nodes_nodeids": local.tolist(),
            "nodes_featureids": self.feature.tolist(),
            "nodes_values": self.threshold.tolist(),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
            "nodes_truenodeids": np.where(leaf, 0, left - root[tree]).tolist(),
            "nodes_falsenodeids": np.where(leaf, 0, right - root[tree]).tolist(),
            "target_treeids": tree[at].tolist(),
            "target_nodeids": local[at].tolist(),
            "target_ids": output.tolist(),
            "target_weights": value[at, output].tolist(),
        }


def _check(module: nn.Module, _keys: object) -> None:
    """Refuse loaded nodes that point anywhere but to later nodes of their own tree, so that every walk ends inside.

    Raises:
        CheckpointError: They do.
    """
    assert isinstance(module, Trees)
    size = len(module.feature)
    own = torch.arange(size)
    ends = torch.cat([module.root[1:], torch.tensor([size])])
    sound = bool((module.root[:1] == 0).all() and (ends > module.root).all() and (module.feature >= 0).all())
    if sound:
        end = ends[torch.searchsorted(module.root, own, right=True) - 1]
        leaf = (module.left == own) & (module.right == own)
        children = torch.stack([module.left, module.right])
        sound = bool((leaf | ((children > own) & (children < end)).all(0)).all())
    if not sound:
        raise CheckpointError("The decision trees are broken: their nodes point outside of them. Export them again.")


def _depth(tree: Tree) -> int:
    depth = np.zeros(len(tree.left), dtype=np.int64)
    for parent in np.flatnonzero(tree.left >= 0):
        depth[[tree.left[parent], tree.right[parent]]] = depth[parent] + 1
    return max(1, int(depth.max()))


def _round_down(values: np.ndarray) -> np.ndarray:
    """float64 as the largest float32 that is not above."""
    found = values.astype(np.float32)
    return np.where(found > values, np.nextafter(found, np.float32(-np.inf)), found)
