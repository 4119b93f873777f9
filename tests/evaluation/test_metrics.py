import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cl_sr.errors import InputError
from cl_sr.evaluation import psnr, ssim
from cl_sr.evaluation.metrics import build_metrics, colour_error, sharpness


def pair(size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, size, size, generator=generator)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator))


def as_bytes(images: torch.Tensor) -> np.ndarray:
    return (images.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)


def test_rgb8_is_scikit_image_on_8_bit_images() -> None:
    a, b = pair()
    for k, (x, y) in enumerate(zip(as_bytes(a), as_bytes(b), strict=True)):
        assert float(psnr(a, b)[k]) == pytest.approx(peak_signal_noise_ratio(x, y), abs=1e-9)
        expected = structural_similarity(
            x,
            y,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
        assert float(ssim(a, b)[k]) == pytest.approx(expected, abs=1e-9)


def test_psnr_by_hand() -> None:
    a = torch.zeros(1, 3, 2, 2)
    assert float(psnr(a, a + 51 / 255)) == pytest.approx(20 * np.log10(255 / 51))


def test_identical_images() -> None:
    a, _ = pair()
    assert psnr(a, a).isinf().all()
    assert torch.allclose(ssim(a, a), torch.ones(2, dtype=torch.float64))


def test_one_perfect_image_does_not_make_a_mean_infinite() -> None:
    a, b = pair()
    (metric, _) = build_metrics(["psnr", "ssim"], "rgb8", 24, torch.device("cpu"))
    assert metric.of(torch.cat([a, a]), torch.cat([a, b]))[:2] == [80, 80]


def test_a_shift_of_colours_by_hand() -> None:
    a = torch.full((1, 3, 4, 4), 0.4)
    shifted = a + torch.tensor([0.2, -0.2, 0.0]).view(3, 1, 1)
    assert float(colour_error(a, shifted)) == pytest.approx((51 + 51 + 0) / 3)
    noisy = a.clone()
    noisy[..., ::2] += 0.2
    noisy[..., 1::2] -= 0.2  # not a shift: the mean is the same
    assert float(colour_error(a, noisy)) == pytest.approx(0)


def test_the_shift_of_colours_is_a_metric_of_which_less_is_better() -> None:
    (metric,) = build_metrics(["colour_error"], "rgb8", 24, torch.device("cpu"))
    assert not metric.higher_is_better


def test_sharpness_by_hand() -> None:
    steps = torch.zeros(1, 3, 4, 4)
    steps[..., ::2] = 100 / 255  # neighbours across differ by 100, down by nothing
    half = steps / 2
    assert float(sharpness(half, steps)) == pytest.approx(np.sqrt((2500 + 1) / (10000 + 1)))
    assert float(sharpness(steps, steps)) == 1
    assert float(sharpness(torch.zeros_like(steps), torch.ones_like(steps))) == 1  # both plain
    assert float(sharpness(steps.mT, steps)) == 1  # whichever way they go


def test_a_blurred_image_is_less_sharp() -> None:
    a, _ = pair()
    blurred = torch.nn.functional.avg_pool2d(a, 3, 1, 1)
    assert (sharpness(blurred, a) < 0.8).all()
    assert (sharpness(blurred, a) < sharpness(0.5 * (a + blurred), a)).all()
    (metric,) = build_metrics(["sharpness"], "rgb8", 24, torch.device("cpu"))
    assert metric.higher_is_better


def test_y601_scales_grey_by_219_over_255() -> None:
    a = torch.full((1, 3, 12, 12), 0.2)
    b = torch.full((1, 3, 12, 12), 0.4)
    expected = 20 * np.log10(255 / (51 * 219 / 255))
    assert float(psnr(a, b, "y601")) == pytest.approx(expected, abs=1e-6)


def test_images_that_cannot_be_compared() -> None:
    a, b = pair()
    with pytest.raises(ValueError, match="B, 3, H, W"):
        psnr(a, b[:1])
    with pytest.raises(ValueError, match="11x11"):
        ssim(a[..., :8], b[..., :8])
    with pytest.raises(ValueError, match="protocol"):
        psnr(a, b, "yuv")  # type: ignore[arg-type]


def test_metrics_of_pyiqa_have_their_direction() -> None:
    metrics = build_metrics(["psnr", "gmsd", "vif"], "rgb8", 64, torch.device("cpu"))
    assert [m.higher_is_better for m in metrics] == [True, False, True]
    a, b = pair(64)
    assert metrics[1].measure(a, b.clamp(0, 1)).shape == (2,)


def test_a_misspelt_metric_is_told_before_the_run() -> None:
    with pytest.raises(InputError, match="did you mean 'lpips'"):
        build_metrics(["lpip"], "rgb8", 64, torch.device("cpu"))


def test_weights_that_cannot_be_had_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pyiqa

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(pyiqa, "create_metric", offline)
    with pytest.raises(InputError, match=r"lpips cannot be loaded.*leave it out") as error:
        build_metrics(["lpips"], "rgb8", 64, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_grey_images_are_compared_as_they_are_by_every_protocol() -> None:
    """As skimage on one channel, and as `rgb8` on the same grey in three channels."""
    a, b = (images[:, :1] for images in pair())
    as_colours = [images.expand(-1, 3, -1, -1) for images in (a, b)]
    for protocol in ("rgb8", "y601"):
        for metric in (psnr, ssim):
            assert torch.allclose(metric(a, b, protocol), metric(*as_colours), atol=1e-9)
        first, second = as_bytes(a)[0], as_bytes(b)[0]
        expected = peak_signal_noise_ratio(first, second)
        assert float(psnr(a, b, protocol)[0]) == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(sharpness(a, b)[0], sharpness(*as_colours)[0], rtol=0.05)
    assert torch.allclose(colour_error(a, b), colour_error(*as_colours))
    with pytest.raises(ValueError, match=r"or \(B, 1, H, W\) where they are grey"):
        psnr(a.expand(-1, 2, -1, -1), b.expand(-1, 2, -1, -1))
