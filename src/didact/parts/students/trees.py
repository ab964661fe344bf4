"""Decision trees that `didact compress` fitted, by their numbers of nodes, trees and levels.

They follow no gradient, so that no run can train them: `didact compress` fits them to a teacher's answers.
"""

from didact.learners import ModuleLearner
from didact.learners.trees import Trees
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.students._drawing import widths_of

FORM = "trees:NODES,TREES,DEPTH"
EXAMPLE = "trees:31,1,4"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """Trees for examples of any kind, with the nodes that are loaded."""
    numbers = widths_of(spec)
    if len(numbers) != 3 or max(numbers) > numbers[0]:
        raise spec.error()
    nodes, trees, depth = numbers
    return Part(model=ModuleLearner(Trees(nodes, trees, depth, purpose.examples.outputs)), spec=spec.text)
