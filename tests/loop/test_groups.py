"""Parameters in groups of their own, and parts that come and go during a run."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import few, net, planted, quiet_fit
from didact.errors import CheckpointError, ConfigError
from didact.learners import ModuleLearner
from didact.loop import Budget, OptimizerConfig
from didact.methods.supervised.supervised import Config, Supervised
from didact.sources import BatchSource
from didact.types import Group, Method, Term, Terms, Verdict

STEPS = 12
OPTIMIZERS = {
    "adamw": OptimizerConfig(lr=0.02, schedule="constant"),
    "sgd": OptimizerConfig(name="sgd", lr=0.02, schedule="constant"),
    "a factory": lambda p: torch.optim.Adam(p, lr=0.02),
}


class Pause:
    """A monitor that ends the run after a step."""

    action = "pause"

    def __init__(self, at: int) -> None:
        self.at = at

    def observe(self, window):
        return Verdict("pause" if window.step == self.at else "ok", "Pause", 0.0, "It was asked to.")


def go(method, **options):
    settings = {"optimizer": OPTIMIZERS["adamw"], "device": "cpu", "log_every": 1, "monitors": []}
    source = BatchSource(planted(), batch_size=20, seed=1)
    return quiet_fit(method, source, budget=Budget(steps=STEPS), **{**settings, **options})


def linear(seed: int, *shape: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(*shape)


class Game(Method):
    """A player that lowers what a critic raises, and a third net beside them."""

    def __init__(self) -> None:
        self.learner, self.critic, self.side = linear(0, 4, 3), linear(1, 3, 1), linear(2, 4, 1)

    def groups(self):
        return {
            "player": Group([self.learner], lr=0.05),
            "critic": Group(self.critic, every=3, maximise=True, weight_decay=0.2),
            "side": Group([self.side.weight, self.side.bias]),
        }

    def loss(self, batch):
        x = batch["x"]
        played, heard = self.learner(x), self.side(x)
        value = (self.critic(played) * heard).square().sum()
        return Terms(
            play=Term(value, batch.size, 2.0, group="player"),
            judge=Term(value * 0.5, batch.size, group="critic"),
            both=Term((played.sum() + heard.sum()).square(), batch.size),
        )


def by_hand() -> Game:
    """The same game with three optimizers and gradients by `torch.autograd.grad`."""
    game = Game()
    options = {"betas": (0.9, 0.999), "fused": True}
    player = torch.optim.AdamW(game.learner.parameters(), lr=0.05, weight_decay=0.01, **options)
    critic = torch.optim.AdamW(game.critic.parameters(), lr=0.02, weight_decay=0.2, maximize=True, **options)
    side = torch.optim.AdamW(game.side.parameters(), lr=0.02, weight_decay=0.01, **options)
    batches = iter(BatchSource(planted(), batch_size=20, seed=1))
    for step in range(STEPS):
        batch = next(batches)
        x, size = batch["x"], batch.size
        value = (game.critic(game.learner(x)) * game.side(x)).square().sum() / size
        both = (game.learner(x).sum() + game.side(x).sum()).square() / size
        losses = {player: 2.0 * value + both, critic: 0.5 * value, side: both}
        for optimizer, loss in losses.items():
            parameters = optimizer.param_groups[0]["params"]
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        player.step()
        side.step()
        if step % 3 == 0:
            critic.step()
    return game


def test_groups_have_their_own_terms_rates_rhythm_and_direction():
    mine, theirs = Game(), by_hand()
    assert go(mine).status == "done"
    for name in ("learner", "critic", "side"):
        for one, other in zip(getattr(mine, name).parameters(), getattr(theirs, name).parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_with_groups_resumes_to_the_bit(optimizer, tmp_path):
    whole, resumed = Game(), Game()
    go(whole, optimizer=OPTIMIZERS[optimizer])
    go(Game(), optimizer=OPTIMIZERS[optimizer], run=tmp_path / "run", monitors=[Pause(5)])
    go(resumed, optimizer=OPTIMIZERS[optimizer], run=tmp_path / "run", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_cutting_a_batch_changes_nothing_for_groups():
    class Counted(Game):
        def loss(self, batch):
            terms = super().loss(batch)
            terms["both"] = Term(self.side(batch["x"]).square().sum(), batch.size)
            return terms

        def counts(self, batch):
            return dict.fromkeys(("play", "judge", "both"), batch.size)

    whole, cut = Counted(), Counted()
    go(whole)
    go(cut, micro_batch=7)
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Growing(Supervised):
    """Gets a new head after every fourth step, and loses the oldest of three."""

    says_so, makes_again = True, True

    def __init__(self) -> None:
        super().__init__(Config(), ModuleLearner(net()))
        self.heads: dict[str, nn.Linear] = {}

    def loss(self, batch):
        terms = super().loss(batch)
        for name, head in self.heads.items():
            terms[name] = Term(F.cross_entropy(head(batch["x"]), batch["label"], reduction="sum"), batch.size)
        return terms

    def after_step(self):
        if self.step % 4 == 3 and self.step < 10:
            self.add(str(self.step))

    def add(self, name):
        self.heads[name] = linear(int(name), 4, 3)
        if len(self.heads) > 2:
            del self.heads[min(self.heads)]
        if self.says_so:
            self.changed()

    def grow(self, state):
        if self.makes_again:
            # In another order than they were added in.
            for name in sorted((key.split(".")[1] for key in state if key.startswith("heads.")), reverse=True):
                self.heads.setdefault(name, linear(0, 4, 3))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_head_that_is_added_is_trained_and_the_moments_of_the_rest_are_kept(optimizer):
    method = Growing()
    go(method, optimizer=OPTIMIZERS[optimizer])
    # The same in plain PyTorch: a head begins with an optimizer of its own.
    learner, heads = net(), {}
    make = OPTIMIZERS[optimizer].build if isinstance(OPTIMIZERS[optimizer], OptimizerConfig) else OPTIMIZERS[optimizer]
    optimizers, batches = [make(list(learner.parameters()))], iter(BatchSource(planted(), batch_size=20, seed=1))
    for step in range(STEPS):
        batch = next(batches)
        sum(F.cross_entropy(part(batch["x"]), batch["label"]) for part in (learner, *heads.values())).backward()
        for one in optimizers:
            one.step()
            one.zero_grad()
        if step in (3, 7):
            heads[step] = linear(step, 4, 3)
            optimizers.append(make(list(heads[step].parameters())))
    for mine, theirs in zip(method.learner.module.parameters(), learner.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    for step, head in heads.items():
        assert not torch.equal(head.weight, linear(step, 4, 3).weight)
        torch.testing.assert_close(method.heads[str(step)].weight, head.weight, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stop", few([3, 5, 8, 11], 2))
def test_a_run_that_grew_resumes_to_the_bit(optimizer, stop, tmp_path):
    whole, resumed = Growing(), Growing()
    go(whole, optimizer=OPTIMIZERS[optimizer])
    go(Growing(), optimizer=OPTIMIZERS[optimizer], run=tmp_path / "run", monitors=[Pause(stop)])
    go(resumed, optimizer=OPTIMIZERS[optimizer], run=tmp_path / "run", resume=True)
    mine, theirs = resumed.named_parameters(), whole.named_parameters()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_part_that_is_taken_away_is_in_no_checkpoint(tmp_path):
    class Shrinking(Growing):
        def after_step(self):
            if self.step in (1, 2, 3):
                self.add(str(self.step))

    method, resumed = Shrinking(), Shrinking()
    go(method, run=tmp_path / "run", monitors=[Pause(8)])
    assert set(method.heads) == {"2", "3"}
    assert go(resumed, run=tmp_path / "run", resume=True).status == "done"
    assert set(resumed.heads) == {"2", "3"}


def test_a_part_that_is_added_without_a_word_is_named():
    class Silent(Growing):
        says_so = False

    with pytest.raises(ConfigError, match=r"Silent\.heads\.3\.weight was added.*call self\.changed\(\)"):
        go(Silent())


def test_a_checkpoint_of_parts_that_are_not_made_again_names_them(tmp_path):
    class Forgetful(Growing):
        makes_again = False

    go(Forgetful(), run=tmp_path / "run", monitors=[Pause(6)])
    with pytest.raises(CheckpointError, match=r"it holds heads\.3, which the method does not have.*grow"):
        go(Forgetful(), run=tmp_path / "run", resume=True)


def test_groups_that_do_not_hold_each_parameter_once_are_refused():
    class Partial(Game):
        def groups(self):
            return {"player": Group(self.learner)}

    class Twice(Game):
        def groups(self):
            return {"all": Group([self.learner, self.critic, self.side]), "bias": Group(self.side.bias)}

    class Foreign(Game):
        def groups(self):
            return {"all": Group([self.learner, self.critic, self.side, nn.Linear(1, 1)])}

    for kind, match in [
        (Partial, r"groups of Partial leave out critic\.weight"),
        (Twice, r"groups of Twice hold side\.bias twice"),
        (Foreign, "hold a parameter of none of its modules"),
    ]:
        with pytest.raises(ConfigError, match=match):
            go(kind())


def test_a_term_for_a_group_that_is_not_there_is_refused():
    class Lost(Game):
        def loss(self, batch):
            return Terms(play=Term(self.learner(batch["x"]).sum(), 1, group="players"))

    with pytest.raises(ConfigError, match=r"The term 'play' is for the group 'players'.*'player', 'critic', 'side'"):
        go(Lost())


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"weight_decay": -1.0}, {"every": 0}])
def test_settings_of_a_group_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Group(nn.Linear(1, 1), **options)
