import torch

from didact.losses.policy.selection import sample_in_band, token_covariances, top_share


def test_the_covariance_is_what_the_entropy_loses():
    """A small step of natural policy gradient on a softmax: the change of entropy against the covariance, exactly."""
    logits = torch.randn(6, dtype=torch.float64)
    reward, step = torch.randn(6, dtype=torch.float64), 1e-6

    def entropy(z):
        return -(z.softmax(0) * z.log_softmax(0)).sum()

    p, log_p = logits.softmax(0), logits.log_softmax(0)
    # Natural policy gradient moves the logits along the advantages themselves.
    change = (entropy(logits + step * reward) - entropy(logits)) / step
    # Every action as often as it is drawn, so that plain means are expectations.
    counts = (p * 100_000).round().long()
    each = token_covariances(log_p.repeat_interleave(counts), reward.repeat_interleave(counts))
    assert torch.allclose(change, -each.mean(), atol=2e-4)
    exact = (p * (log_p - (p * log_p).sum()) * (reward - (p * reward).sum())).sum()
    assert torch.allclose(change, -exact, atol=1e-5)


def test_what_does_not_count_changes_nothing():
    log_probs, advantage = torch.randn(9), torch.randn(9)
    weight = torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1, 0])
    kept = weight.bool()
    assert torch.allclose(
        token_covariances(log_probs, advantage, weight)[kept], token_covariances(log_probs[kept], advantage[kept])
    )
    assert (token_covariances(log_probs, advantage, weight)[~kept] == 0).all()


def test_tokens_are_chosen_at_random_in_the_band_and_by_rank():
    values = torch.tensor([0.5, 1.5, 3.0, 9.0, 4.0, 0.1])
    draws = torch.tensor([0.0, 0.9, 0.1, 0.0, 0.5, 0.0])
    assert sample_in_band(values, 0.34, 1.0, 5.0, draws).tolist() == [False, False, True, False, True, False]
    assert sample_in_band(values, 0.01, 1.0, 5.0, draws).tolist() == [False, False, True, False, False, False]
    assert not sample_in_band(values, 0.0, 1.0, 5.0, draws).any()
    assert not sample_in_band(values, 0.5, 20.0, 50.0, draws).any()
    assert top_share(values, 0.34).tolist() == [False, False, False, True, True, False]
