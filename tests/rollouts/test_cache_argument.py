"""The argument by which a model of transformers takes the keys and values of earlier tokens."""

import pytest

from didact.rollouts.cached import cache_argument


class Older:
    def forward(self, input_ids, past_key_values=None):
        """As transformers had it up to 5.23."""


class Newer:
    def forward(self, input_ids, cache=None):
        """As it has it since."""


class Recurrent:
    _is_stateful = True

    def forward(self, input_ids, cache=None):
        """Keeps a state that is no keys and values."""


class Forgetful:
    def forward(self, input_ids):
        """Keeps nothing."""


@pytest.mark.parametrize(
    ("model", "name"), [(Older, "past_key_values"), (Newer, "cache"), (Recurrent, None), (Forgetful, None)]
)
def test_each_version_names_it_its_own_way(model, name):
    assert cache_argument(model()) == name
