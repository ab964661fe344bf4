"""A teacher with gradients with respect to its inputs."""

from didact.errors import TeacherError
from didact.teachers.base import ModelTeacher, reorder
from didact.teachers.specialists import unwrap
from didact.types import Batch, Logits


class TransparentTeacher(ModelTeacher):
    """A frozen model whose logits are differentiable with respect to its inputs; its weights are not trained.

    Args:
        teacher: a frozen model, also behind a cache. It is used itself, not copied.

    Raises:
        TeacherError: the teacher holds no model.
    """

    kind = "a frozen model that is looked into"

    def __init__(self, teacher: object) -> None:
        inside = unwrap(teacher)
        if not isinstance(inside, ModelTeacher):
            raise TeacherError(
                f"The teacher is {getattr(inside, 'kind', type(inside).__name__)}, whose signals have no gradient; "
                "this method needs a model: a spec such as cnn:16,32, the directory of a run, hf:DIR, or an nn.Module."
            )
        super().__init__(inside.learner, view=inside.view, order=inside._order)

    def signal(self, batch: Batch) -> Logits:
        """Logits float [B, C] in the data's class order, with a gradient where the inputs carry one."""
        seen = self._look(batch)
        self.count(seen)
        return Logits(logits=reorder(self.learner(seen).logits, self._order))
