"""DDFA: unsupervised learning under latent label shift (Roberts, Mani, Garg & Lipton 2022).

Examples come from several domains, in which the classes have other shares but look the same. A classifier learns which
domain an example is of. Its answers are divided into bins, and how often each bin occurs in each domain is factorised
without negative numbers, which gives the shares of the classes there: what shifts together belongs together, however
different it looks. Answers on domains then become answers on classes. Labels are only read to name the classes.

Departures: the few labels name the classes by the best match, where the authors' figures match them to the labels of
the test; domains may be of unequal size; negative shares of classes are cut; the answers are those that were given when
an example was last learned from. `didact.load` needs the net that is delivered as a module.

Compared with ddfa/components/class_prior_estimation.py and experiment_utils.py of acmi-lab/Latent-Label-Shift-DDFA:
k-means of the probabilities of domains, the factorisation (of scikit-learn), its normalisation, the pseudo-inverse and
the weighing by the domain agree. Values: `tests/methods/test_latent_label_shift.py::test_it_answers_as_the_authors_do`.

On `digits:mixes` with 10 labels, it is better than a tuned `fixmatch` by 30.4 points (23.8 to 37.0), better than
`label_spreading` by 23.5 (15.2 to 31.7), and better than itself without its mechanism ("two domains") by 53.0 (51.8 to
54.2). Training takes 0.8 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.curricula.acquisition import k_means
from didact.errors import ConfigError, check_range
from didact.learners import ModuleLearner, projector
from didact.learners.latent_classes import LatentClasses, class_shares
from didact.losses.labels.factorising import domain_chances, latent_mixes, matching
from didact.losses.labels.supervised import cross_entropy
from didact.memory import PerExample
from didact.types import Batch, ExampleFeed, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `latent_label_shift`."""

    domain: str = "domain"  # tensor of integers that says which domain a row is of
    domains: int = 8  # how many there are, no fewer than classes; numbers are taken modulo it
    bins: int = 20  # of the answers on domains, at least as many as classes
    at_test: bool = True  # whether the delivered net weighs classes by the domain of a row, where the row has one

    def __post_init__(self) -> None:
        check_range("domains", self.domains, at_least=2)
        check_range("bins", self.bins, at_least=2)


class LatentLabelShift(Method):
    """Tell domains apart, and classes by how their shares differ between domains.

    Args:
        config: the options.
        learner: the student, with a linear head, whose input is the representation.
        sample: a few examples, to find the tensor of domains.
        size: the number of training examples.
        seed: of the classifier's weights, the bins and the factorisation.

    Raises:
        ConfigError: the batches have no tensor of that name, or none of integers; or the student has no linear head.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch, size: int, seed: int = 0) -> None:
        self.config, self.learner, self.seed, name = config, learner, seed, config.domain
        if name not in sample or sample[name].dtype != torch.int64 or sample[name].ndim != 1:
            raise ConfigError(
                f"domain is {name!r}, of which the data have no integers; give Examples with such a tensor from "
                "Python, rows of another domain (--unlabelled FILE), or data that have one, as digits:mixes."
            )
        if learner.head is None:
            raise ConfigError("The student has no linear head, from whose input latent_label_shift tells domains.")
        self.classes = learner.head.out_features
        self.classifier = projector((learner.head.in_features,), (config.domains,), seed=seed)
        columns = {"told": (config.domains,), "domain": (), "label": ()}
        self.answers = PerExample(size, columns, dtypes={"domain": torch.int64, "label": torch.int64})

    @property
    def delivered(self) -> LatentClasses:
        """The student, which tells classes by domains."""
        domain = self.config.domain if self.config.at_test else ""
        return LatentClasses(self.learner, self.classifier, self.chances(), domain)

    def loss(self, batch: Batch) -> Terms:
        """`domain`, over all examples."""
        hidden, domain = self.learner(batch).hidden, batch[self.config.domain] % self.config.domains
        assert hidden is not None
        logits = self.classifier(hidden)
        told = {"told": logits.detach().float().softmax(-1), "domain": domain, "label": batch["label"]}
        rows = self.place.gather(batch["row"])
        for name, values in told.items():
            self.answers.put(rows, name, self.place.gather(values))
        return Terms(domain=cross_entropy(logits, domain))

    @torch.no_grad()
    def chances(self) -> Tensor:
        """How likely an example of a class is of a domain, from the answers so far, float64 [K, C] on the device."""
        config, kept = self.config, self.answers
        told, domain, label = (kept.get_buffer(name)[kept.seen].cpu() for name in ("told", "domain", "label"))
        if len(told) < config.bins:
            return torch.ones(config.domains, self.classes, device=kept.seen.device) / config.domains
        bins = k_means(told, config.bins, torch.Generator().manual_seed(self.seed))
        counts = (bins * config.domains + domain).bincount(minlength=config.bins * config.domains)
        counts = counts.view(config.bins, config.domains)
        found = domain_chances(latent_mixes(counts, self.classes, seed=self.seed), counts.sum(0))
        known = is_labelled(label)
        own = class_shares(told[known].double(), found, domain[known])
        named = torch.nn.functional.one_hot(label[known], self.classes).double()
        return found[:, matching(named.T @ own)].to(kept.seen.device)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples."""
        return {"domain": batch.size}


CLAIM = Claim(
    statement="Shares of classes that differ between domains tell pairs of digits that a few labels do not.",
    arms={
        "latent_label_shift": {"method": "latent_label_shift", "at_test": False},
        "fixmatch": {"method": "fixmatch", "labelled_share": 0.3},
        "label_spreading": "label_spreading",
        "two domains": {"method": "latent_label_shift", "domains": 2, "at_test": False},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="latent_label_shift",
    baseline="fixmatch",
    cheap="label_spreading",
    ablation="two domains",
    untaught="untaught",
    world="digits:mixes",
    smallest_effect=0.02,
    settings={"labels": 10, "steps": 300, "student": "mlp:64", "batch_size": 128},
    search={
        "latent_label_shift": {"lr": (0.001, 0.003, 0.01)},
        "fixmatch": {"lr": (0.001, 0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1400, 1401, 1402, 1403, 1404, 1405, 1406, 1407, 1408, 1409, 1410, 1411),
    shows="A classifier of eight domains, bins, and a factorisation; of each class half looks unlike the other half.",
    omits="Photographs, deep nets that were trained before without labels, and matching to the labels of the test.",
    systems=("unsupervised-learning-under-latent-label-shift",),
)
