import pytest
import torch

from cl_sr.models import SR3UNet


def build_meta(**config: object) -> SR3UNet:
    with torch.device("meta"):
        return SR3UNet(**config)  # type: ignore[arg-type]


def test_the_public_face_net_has_97_8_million_parameters() -> None:
    net = build_meta(channel_mults=(1, 2, 4, 8, 8), attn_res=(16,), res_blocks=2)
    assert sum(p.numel() for p in net.parameters()) == 97_807_491


def test_attention_only_where_it_is_asked_for() -> None:
    net = build_meta(image_size=32, channel_mults=(1, 2), attn_res=(16,), res_blocks=1)
    with_attention = [name for name, _ in net.named_parameters() if "attn.qkv" in name]
    assert {name.split(".attn")[0] for name in with_attention} == {
        "downs.3",
        "mid.0",
        "ups.0",
        "ups.1",
    }


def test_attention_goes_by_the_shorter_side() -> None:
    small: dict[str, object] = {"channel_mults": (1, 2), "attn_res": (16,), "res_blocks": 1}
    square = build_meta(image_size=32, **small)
    for size in ((32, 48), [48, 32]):
        net = build_meta(image_size=size, **small)
        assert list(net.state_dict()) == list(square.state_dict())
        assert net.config == {**square.config, "image_size": list(size)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inner_channel": 30}, "norm_groups"),
        ({"image_size": 40}, "multiple of 16"),
        ({"image_size": [64, 40]}, "image_size 64x40 must be a multiple of 16"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_meta(**config)
