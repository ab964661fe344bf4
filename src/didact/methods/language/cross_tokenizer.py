"""Universal Cross-Tokenizer Distillation via Approximate Likelihood Matching (Minixhofer et al. 2025, ALM).

Student and teacher read the same completion, each with its own tokenizer. The completion is split wherever both end a
token at the same byte. The student's log-probability of each chunk, by the chain rule over its tokens, is trained
towards the teacher's with a binary divergence between "this chunk" and "any other". No vocabulary is mapped onto
another.

Departures: chunks are the smallest that both tokenizations share, without the paper's correction for what the end of a
token reveals about the next byte, and without its matching of hidden states; the loss is multiplied by the temperature,
so that its size does not depend on it; `answer_weight` adds the next-token loss, which the paper leaves out in its main
setting.

Compared with tokenkit/training/losses.py of bminixhofer/tokenkit: likelihoods, temperature, the mean over chunks and,
but for the factor, the gradient agree. It adds 0.0001 nats to every surprisal at a temperature of 100, which is
0.000001 or more here, and by default merges chunks by the probability of a space. Values and gradients:
`tests/methods/test_cross_tokenizer.py::test_whole_pieces_are_compared_by_the_chain_rule`.

On `choosing`, it is worse than a tuned `sft` by 13.9 points (8.9 to 22.0), and undecided against itself without its
mechanism ("untaught teacher") (+74.0, +64.6 to +80.1). Training takes 1.3 times the operations of the baseline.
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.tokens.chunks import binarised_kl, chunk_sums
from didact.losses.tokens.rows import locate_tokens, select_tokens, token_counts
from didact.losses.tokens.vocabulary import completion_cross_entropy, signal_log_probs, token_log_probs
from didact.types import Batch, CompletionFeed, LanguageLearner, Method, Teacher, Term, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `cross_tokenizer`."""

    binarisation: float = 100.0  # temperature of the binary divergence; higher values weigh unlikely chunks more
    answer_weight: float = 0.0  # weight of the next-token loss, added to the teacher's term

    def __post_init__(self) -> None:
        check_range("binarisation", self.binarisation, above=0.0)
        check_range("answer_weight", self.answer_weight, at_least=0.0)


class CrossTokenizer(Method):
    """Match a teacher's likelihoods of chunks of text.

    Args:
        config: the options.
        learner: a causal language model.
        teacher: a language model with any tokenizer, which reads the view `teacher` of the batch.
    """

    feed = CompletionFeed(tokenizers="any")

    def __init__(self, config: Config, learner: LanguageLearner, teacher: Teacher) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher

    def loss(self, batch: Batch) -> Terms:
        """The term `teacher`, averaged over chunks; and `answer`, over the student's tokens, if it has weight."""
        config, other = self.config, batch.view("teacher")
        width = batch["chunk"].shape[1]
        rows = select_tokens(self.learner(batch), batch)
        mine, _ = token_log_probs(rows.hidden, rows.head, rows.targets)
        theirs = locate_tokens(other)
        signal = theirs.pick_signal(self.teacher.signal(other))
        given = signal_log_probs(signal, theirs.targets)
        pieces, there = chunk_sums(rows, mine, batch["chunk"], width)
        wanted, _ = chunk_sums(theirs, given, batch["teacher.chunk"], width)
        losses = binarised_kl(pieces, wanted, temperature=config.binarisation) * there
        terms = Terms(teacher=Term(losses.sum(), there.sum()))
        if config.answer_weight:
            answer = completion_cross_entropy(rows)
            terms["answer"] = answer.times(config.answer_weight)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The chunks, and the student's tokens."""
        # Every chunk has tokens of both, and the last chunk of a row has the number of its chunks.
        found: dict[str, Tensor | float] = {"teacher": batch["chunk"].amax(1).sum()}
        return found | ({"answer": token_counts(batch)["token"]} if self.config.answer_weight else {})


CLAIM = Claim(
    statement="A model over bytes that is distilled from one over pairs of digits is right more often than one that "
    "fits the same completions.",
    arms={
        "cross_tokenizer": "cross_tokenizer",
        "sft": "sft",
        "untaught teacher": {"method": "cross_tokenizer", "teacher": "decoder:1x64:512:numbers"},
        "untaught": {"method": "sft", "lr": 1e-9},
    },
    method="cross_tokenizer",
    baseline="sft",
    cheap="sft",
    ablation="untaught teacher",
    untaught="untaught",
    smallest_effect=0.03,
    search={
        "cross_tokenizer": {"answer_weight": (0.0, 1.0), "lr": (0.003, 0.01)},
        "sft": {"lr": (0.001, 0.003, 0.01, 0.03)},
    },
    tuned_on=(0, 1, 2),
    seeds=(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319),
    settings={
        "student": "warm:20%:decoder:1x32",
        "teacher": "warm:500:decoder:1x64:512:numbers",
        "batch_size": 32,
        "steps": 80,
        "warmup": 0.1,
        "sampling": {"max_new_tokens": 4},
        "evaluate_every": 1000,
    },
    equal="steps",
    world="choosing",
    shows="Likelihoods of chunks of text transfer from a teacher's tokens to those of a student, where a prompt has "
    "twenty right completions and the data show one of them.",
    omits="Large vocabularies of subwords, and a teacher trained on far more text.",
)
