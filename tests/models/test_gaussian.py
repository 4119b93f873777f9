"""The Gaussian against torch's own, with its covariance written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from cl_sr.models.gaussian import Gaussian


def cloud(count: int, dims: int, seed: int = 0) -> Tensor:
    """Points with a different variance along every direction."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(dims, dims, generator=generator)).Q
    spread = torch.linspace(2, 0.2, dims)
    return torch.randn(count, dims, generator=generator) * spread @ turn + torch.arange(dims)


def covariance(gaussian: Gaussian) -> Tensor:
    """V (L - s I) V^T + s I, float64, with V of one column a component."""
    v, rest = gaussian.components.double().T, gaussian.rest.double()
    inner = torch.diag(gaussian.variances.double() - rest)
    return v @ inner @ v.T + rest * torch.eye(len(v), dtype=torch.float64)


def written_out(gaussian: Gaussian) -> MultivariateNormal:
    return MultivariateNormal(gaussian.mean.double(), covariance(gaussian))


@pytest.mark.parametrize("components", [1, 3, 11, 100])
def test_the_likelihood_is_that_of_the_covariance_written_out(components: int) -> None:
    gaussian = Gaussian.fit(cloud(200, 12), components)
    points = torch.cat([cloud(5, 12, seed=1), 3 * cloud(5, 12, seed=2)])
    expected = written_out(gaussian).log_prob(points.double())
    found = gaussian.log_likelihood(points)
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-3)


def test_the_likelihood_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    gaussian = Gaussian.fit(cloud(60, 6), 2)
    points = cloud(4, 6, seed=3)
    expected = stats.multivariate_normal(
        gaussian.mean.double().numpy(), covariance(gaussian).numpy()
    ).logpdf(points.double().numpy())
    assert gaussian.log_likelihood(points).tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_images_are_vectors() -> None:
    images = torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    flat, whole = Gaussian.fit(images.reshape(30, 12), 4), Gaussian.fit(images, 4)
    assert torch.equal(flat.log_likelihood(images.reshape(30, 12)), whole.log_likelihood(images))


@pytest.mark.parametrize(("count", "dims"), [(100, 5), (8, 20)])
def test_with_all_components_it_is_the_sample_covariance(count: int, dims: int) -> None:
    x = cloud(count, dims)
    gaussian = Gaussian.fit(x, components=1000)
    away = x.double() - x.double().mean(0)
    expected = away.T @ away / count  # of maximum likelihood
    assert torch.allclose(gaussian.mean.double(), x.double().mean(0), atol=1e-5)
    assert torch.allclose(covariance(gaussian), expected, atol=1e-4)


def test_with_some_components_the_others_have_their_mean_variance() -> None:
    x = cloud(300, 7)
    gaussian = Gaussian.fit(x, components=3)
    away = x.double() - x.double().mean(0)
    values, vectors = torch.linalg.eigh(away.T @ away / 300)  # the smallest first
    assert torch.allclose(gaussian.variances.double(), values.flip(0)[:3], rtol=1e-4)
    assert float(gaussian.rest) == pytest.approx(float(values[:4].mean()), rel=1e-4)
    same = gaussian.components.double() @ vectors.flip(1)[:, :3]
    assert torch.allclose(same.abs(), torch.eye(3, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(covariance(gaussian).trace(), values.sum(), rtol=1e-4)


def test_no_other_spread_beside_the_components_is_likelier() -> None:
    """The maximum of the likelihood, looked for by hand around the fit."""
    x = cloud(100, 6)
    best = Gaussian.fit(x, 2)
    parts = best.tensors()
    for name in ("rest", "variances", "mean"):
        for factor in (0.9, 1.1):
            other = Gaussian(**{**parts, name: parts[name] * factor})
            assert other.log_likelihood(x).sum() < best.log_likelihood(x).sum()


def test_what_is_drawn_has_the_mean_and_the_covariance() -> None:
    """Of n draws the mean is off by sd / sqrt(n), a covariance by at most sqrt(2 / n) sd^2."""
    gaussian = Gaussian.fit(cloud(100, 5), components=2)
    torch.manual_seed(0)
    count = 40_000
    drawn = gaussian.draw(count).double()
    assert drawn.shape == (count, 5)
    expected = covariance(gaussian)
    spread = expected.diagonal().sqrt()
    assert ((drawn.mean(0) - gaussian.mean.double()).abs() < 5 * spread / count**0.5).all()
    tolerance = 5 * (2 / count) ** 0.5 * spread[:, None] * spread[None]
    assert ((drawn.T.cov() - expected).abs() < tolerance).all()


def test_what_is_drawn_comes_from_torchs_generator() -> None:
    gaussian = Gaussian.fit(cloud(20, 4), 2)
    torch.manual_seed(5)
    first = gaussian.draw(3)
    assert not torch.equal(first, gaussian.draw(3))
    torch.manual_seed(5)
    assert torch.equal(first, gaussian.draw(3))
    assert gaussian.draw(0).shape == (0, 4)


def test_two_images() -> None:
    x = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    gaussian = Gaussian.fit(x)
    assert gaussian.mean.tolist() == [1, 0, 0]
    assert gaussian.variances.tolist() == pytest.approx([1])
    assert gaussian.components.abs().tolist() == [[1, 0, 0]]
    assert torch.allclose(
        gaussian.log_likelihood(x).double(), written_out(gaussian).log_prob(x.double()), atol=1e-3
    )


@pytest.mark.parametrize("count", [1, 2, 20])
def test_identical_images(count: int) -> None:
    gaussian = Gaussian.fit(torch.full((count, 3, 2, 2), 0.25))
    assert all(tensor.isfinite().all() for tensor in gaussian.tensors().values())
    same, other = torch.full((1, 12), 0.25), torch.full((1, 12), 0.26)
    assert gaussian.log_likelihood(same) > gaussian.log_likelihood(other)
    torch.manual_seed(0)
    assert (gaussian.draw(50) - 0.25).abs().max() < 0.01


@pytest.mark.parametrize(("count", "dims", "components"), [(3, 2, 9), (50, 2, 9), (9, 1, 9)])
def test_more_components_than_directions(count: int, dims: int, components: int) -> None:
    x = torch.rand(count, dims, generator=torch.Generator().manual_seed(0))
    gaussian = Gaussian.fit(x, components)
    assert len(gaussian.components) <= max(dims, 1)
    identity = torch.eye(len(gaussian.components))
    assert torch.allclose(gaussian.components @ gaussian.components.T, identity, atol=1e-5)
    expected = written_out(gaussian).log_prob(x.double())
    assert torch.allclose(gaussian.log_likelihood(x).double(), expected, rtol=1e-3, atol=1e-2)


def test_domains_with_the_same_mean_are_told_apart_by_their_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    flat, rough = (s * torch.randn(60, 27, generator=generator) for s in (0.1, 1.0))
    of_flat, of_rough = Gaussian.fit(flat[:40], 4), Gaussian.fit(rough[:40], 4)
    assert (of_flat.log_likelihood(flat[40:]) > of_rough.log_likelihood(flat[40:])).all()
    assert (of_rough.log_likelihood(rough[40:]) > of_flat.log_likelihood(rough[40:])).all()


# Scale mixtures


def textures(count: int, dims: int, seed: int = 0) -> Tensor:
    """As `cloud`, at three scales."""
    x = cloud(count, dims, seed)
    middle = torch.arange(dims)
    sizes = torch.tensor([0.1, 1.0, 3.0])[torch.arange(count) % 3]
    return middle + (x - middle) * sizes[:, None]


def test_the_likelihood_of_a_mixture_is_the_sum_written_out() -> None:
    gaussian = Gaussian.fit(textures(300, 6), components=3, scales=4)
    points = textures(9, 6, seed=1)
    assert gaussian.weights.sum().item() == pytest.approx(1, abs=1e-5)
    expected = torch.zeros(9, dtype=torch.float64)
    for scale, weight in zip(gaussian.scales.double(), gaussian.weights.double(), strict=True):
        one = MultivariateNormal(gaussian.mean.double(), scale * covariance(gaussian))
        expected += weight * one.log_prob(points.double()).exp()
    found = gaussian.log_likelihood(points).double()
    assert torch.allclose(found, expected.log(), rtol=1e-4, atol=1e-3)


def test_a_mixture_finds_the_scales() -> None:
    gaussian = Gaussian.fit(textures(4000, 6), scales=3)
    order = gaussian.scales.argsort()
    weights, scales = gaussian.weights[order], gaussian.scales[order]
    assert weights.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)
    assert (scales / scales[1]).tolist() == pytest.approx([0.01, 1, 9], rel=0.25)


def test_more_scales_make_images_of_many_scales_likelier() -> None:
    seen, unseen = textures(2000, 6), textures(2000, 6, seed=1)
    one, eight = (Gaussian.fit(seen, scales=k).log_likelihood(unseen).mean() for k in (1, 8))
    assert eight > one + 1


def test_draws_of_a_mixture_have_its_covariance() -> None:
    gaussian = Gaussian.fit(textures(2000, 4), scales=3)
    torch.manual_seed(0)
    drawn = gaussian.draw(40_000).double()
    mean_scale = (gaussian.scales * gaussian.weights).sum().double()
    expected = mean_scale * covariance(gaussian)
    away = drawn - gaussian.mean.double()
    found = away.T @ away / len(drawn)
    assert torch.allclose(found, expected, atol=0.05 * float(expected.diagonal().max()))


def test_images_that_are_all_alike_are_no_obstacle() -> None:
    gaussian = Gaussian.fit(torch.ones(10, 5), scales=4)
    assert gaussian.log_likelihood(torch.ones(2, 5)).isfinite().all()
