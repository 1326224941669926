"""P3..P7: torchvision's feature pyramid, and two more levels made from P5; section 3.2."""

from torch import nn

from fcos_core.config import BackboneConfig
from fcos_core.model.backbone import build_backbone
from fcos_core.torchvision_imports import BackboneWithFPN, FeaturePyramidNetwork, LastLevelP6P7


class PyramidBackbone(nn.Module):
    """Body and pyramid under torchvision's parameter names, ``body.*`` and ``fpn.*``.

    ``forward`` returns the five maps P3..P7 by falling resolution.
    """

    forward = BackboneWithFPN.forward

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        backbone = build_backbone(config)
        channels = config.fpn_channels
        self.body = backbone.body
        self.fpn = FeaturePyramidNetwork(
            in_channels_list=list(backbone.channels),
            out_channels=channels,
            extra_blocks=LastLevelP6P7(channels, channels),
        )
        self.out_channels = channels
