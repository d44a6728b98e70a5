import pytest
import torch

from crosspt.evaluation.similarity import candidate_similarity, task_similarity, weighted_source_similarity

# T = 2, m = 2, d = 2
PROMPTS = torch.tensor([[[1.0, 0.0], [3.0, 2.0]], [[0.0, 2.0], [0.0, 0.0]]])


def test_equation_2_compares_means_over_tokens() -> None:
    # Means: P_1 (2, 1), P_2 (0, 1); candidates of task 1 (4, 2), (-1, 2), of task 2 (3, 4), (0, -5).
    candidates = torch.tensor(
        [[[[8.0, 0.0], [0.0, 4.0]], [[-2.0, 4.0], [0.0, 0.0]]], [[[3.0, 4.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, -10.0]]]]
    )
    torch.testing.assert_close(candidate_similarity(PROMPTS, candidates), torch.tensor([[1.0, 0.0], [0.8, -1.0]]))


def test_equation_3_weighs_the_sources_alone() -> None:
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])
    similarity = torch.tensor([[1.0, -0.4, 0.9], [0.5, 1.0, 0.9]])
    # 0.5 - 0.1 and 0.1 + 0.3, the last candidate being private
    torch.testing.assert_close(weighted_source_similarity(weights, similarity, 2), torch.tensor([40.0, 40.0]))
    with pytest.raises(ValueError, match="num_sources must be at least 1, got 0"):
        weighted_source_similarity(weights, similarity, 0)


def test_equation_4_compares_token_by_token() -> None:
    prompts = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 2.0], [6.0, 8.0]], [[-2.0, 0.0], [4.0, 3.0]]])
    # Tokens of 1 and 2: 0 and 1; of 1 and 3: -1 and 24/25; of 2 and 3: 0 and 24/25.
    expected = torch.tensor([[1.0, 0.5, -0.02], [0.5, 1.0, 0.48], [-0.02, 0.48, 1.0]])
    torch.testing.assert_close(task_similarity(prompts), expected)


def test_a_vector_is_exactly_like_itself_and_zero_like_nothing() -> None:
    prompts = torch.randn(50, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (candidate_similarity(prompts, prompts[:, None]) == 1).all()
    assert task_similarity(PROMPTS)[1, 1].isnan()
