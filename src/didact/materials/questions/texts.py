"""The doctor's checks of the texts of questions: those that say nothing, and those that are spelled out wrongly."""

from collections import Counter
from collections.abc import Iterator, Sequence

from didact.experiment.checking import Check
from didact.experiment.material import Run
from didact.learners.tokenizers import HubTokens
from didact.materials.questions.data import QuestionData
from didact.types import Question, RolloutFeed

LOOKED_AT = 1_000
"""Training questions that are looked at, from the first on."""
LEAST = 20
"""Questions below which nothing is said of how alike they are."""
ALIKE = 0.9
"""The share of completions that may be the same."""
REPEATED = 0.2
"""The share of rows that may repeat another one."""
UNKNOWN = 0.01
"""The share of tokens that may be unknown."""


def checks(run: Run[QuestionData]) -> Iterator[Check]:
    """Warn of completions that are alike, rows that are repeated, and texts that the tokenizer misreads."""
    few = run.data.train[:LOOKED_AT]
    feed = run.method.feed
    learned = not isinstance(feed, RolloutFeed) or feed.completions
    found = [*(_alike(few) if learned else ()), *_repeated(few), *_pairs(few)]
    tokenizer = run.student.model.tokenizer
    if isinstance(tokenizer, HubTokens):
        found += [*_spelled_out(tokenizer, few), *_unknown(tokenizer, few)]
    yield from (Check("warn", "texts", words) for words in found)
    if not found:
        yield Check("pass", "texts", f"The first {len(few):,} training questions were looked at.")


def _alike(questions: Sequence[Question]) -> Iterator[str]:
    completions = Counter(question.completion for question in questions if question.answered)
    if completions.total() < LEAST:
        return
    text, count = completions.most_common(1)[0]
    if count > ALIKE * completions.total():
        yield (
            f"{count} of {completions.total()} training questions have the same completion, {text!r:.60}, which a "
            "student learns whatever it is asked; look whether the right column was read, with columns (--columns)."
        )


def _repeated(questions: Sequence[Question]) -> Iterator[str]:
    rows = Counter((str(q.messages) if q.messages else q.prompt, q.completion, q.rejected) for q in questions)
    again = len(questions) - len(rows)
    if again > REPEATED * len(questions) and len(questions) >= LEAST:
        yield (
            f"{again} of {len(questions)} training rows repeat another one word for word, as samples of a model at "
            "temperature 0 do: they only weigh more. Keep one of each, or sample at a higher temperature."
        )


def _pairs(questions: Sequence[Question]) -> Iterator[str]:
    pairs = [question for question in questions if question.rejected is not None]
    same = sum(question.rejected == question.completion for question in pairs)
    if same:
        yield (
            f"{same} of {len(pairs)} training pairs have the same completion as chosen and rejected, which teaches "
            "nothing; remove them."
        )


def _spelled_out(tokenizer: HubTokens, questions: Sequence[Question]) -> Iterator[str]:
    """Special tokens in the texts, which the template or the end of a completion adds once more."""
    special = frozenset(tokenizer.tokenizer.all_special_ids) | frozenset(tokenizer.tokenizer.added_tokens_decoder)
    texts = [str(message.get("content") or "") for question in questions for message in question.messages]
    texts += [question.completion or "" for question in questions]
    token = next((token for text in texts for token in tokenizer.encode(text) if token in special), None)
    if token is not None:
        name = tokenizer.decode([token], special=True)
        yield (
            f"A training text spells out special tokens, such as {name!r}, which become these tokens, and which the "
            "chat template or the end of a completion adds once more. Give the words alone."
        )
    twice = sum(tokenizer.prompt(question)[:2] == [tokenizer.bos] * 2 for question in questions)
    if tokenizer.bos is not None and twice:
        name = tokenizer.decode([tokenizer.bos], special=True)
        yield (
            f"{twice} of {len(questions)} prompts begin twice, with {name!r} in the text and from the tokenizer; "
            "remove it from the text."
        )


def _unknown(tokenizer: HubTokens, questions: Sequence[Question]) -> Iterator[str]:
    unknown = tokenizer.tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos:
        return
    ids = [token for question in questions for token in (*tokenizer.prompt(question), *_answer(tokenizer, question))]
    count = ids.count(unknown)
    if count > UNKNOWN * len(ids):
        yield (
            f"{count / len(ids):.1%} of the tokens of training questions are unknown to the student's tokenizer, which "
            "reads them all alike; give a model that knows these letters."
        )


def _answer(tokenizer: HubTokens, question: Question) -> list[int]:
    return tokenizer.completion(question) if question.answered else []
