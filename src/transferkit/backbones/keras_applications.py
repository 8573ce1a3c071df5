"""The table of all Keras Applications networks, one row each; to add a backbone, add a row.

A row states what Keras reveals only by building the network; the tests compare every value of every row with Keras.
The hashes are those that Keras itself uses for its files. It has none for MobileNetV1 and MobileNetV2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .record import Backbone, Rule, WeightsFile

SERVER = "https://storage.googleapis.com/tensorflow/keras-applications"
KERNELS = "weights_tf_dim_ordering_tf_kernels"


def _family(
    family: str, rule: Rule, url: str, file: str = "", sizes: tuple[int, ...] = (), **shared: Any
) -> Callable[..., Backbone]:
    """A function that makes the rows of a family.

    `url` and `file` are patterns for the weights file's URL, and for its name if that differs; ``{stem}`` is the row's
    own part, ``{size}`` one of the input `sizes` that weights were trained at. `shared` is fields of all its records.
    """

    def row(
        name: str, size: int, features: int, parameters: int, stages: tuple[str, ...], stem: str, digest: str = ""
    ) -> Backbone:
        builder, _, alpha = name.partition("_")  # after the underscore comes the width multiplier, `alpha` in Keras
        options = {"include_top": False, "weights": None, **({"alpha": float(alpha)} if alpha else {})}
        return Backbone(
            name=name,
            builder=f"keras.applications:{builder}",
            preprocessing=rule,
            default_size=size,
            feature_dim=features,
            stages=stages,
            parameters=parameters,
            pretrained=[
                WeightsFile(url.format(stem=stem, size=trained_at), digest, trained_at, file.format(stem=stem))
                for trained_at in sizes or (size,)
            ],
            trained_on="imagenet",
            options=options,
            family=family,
            **{"batch_norm": True, "dropout": False, **shared},
        )

    return row


def _numbered(prefix: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(first, last + 1))


def _cells(repeats: int) -> tuple[str, ...]:
    """The cells of a NASNet: two stem cells, then three runs of normal cells with a reduction cell between them."""
    ends = ((0, repeats - 1), (repeats + 1, 2 * repeats), (2 * repeats + 1, 3 * repeats))
    first, second, third = (_numbered("normal_conv_1_", *pair) for pair in ends)
    return ("stem_1", "stem_2", *first, f"reduce_{repeats}", *second, f"reduce_{2 * repeats}", *third)


# fmt: off
_VGG = _family("VGG", "caffe", f"{SERVER}/{{stem}}/{{stem}}_{KERNELS}_notop.h5", batch_norm=False)
_RESNET = _family("ResNet", "caffe", f"{SERVER}/resnet/{{stem}}_{KERNELS}_notop.h5")
_RESNET_V2 = _family("ResNetV2", "tf", f"{SERVER}/resnet/{{stem}}_{KERNELS}_notop.h5")
_MOBILENET_V1 = _family("MobileNetV1", "tf", f"{SERVER}/mobilenet/mobilenet_{{stem}}_{{size}}_tf_no_top.h5", sizes=(128, 160, 192, 224))
_MOBILENET_V2 = _family("MobileNetV2", "tf", f"{SERVER}/mobilenet_v2/mobilenet_v2_{KERNELS}_{{stem}}_{{size}}_no_top.h5", sizes=(96, 128, 160, 192, 224))
_MOBILENET_V3 = _family("MobileNetV3", "none", f"{SERVER}/mobilenet_v3/weights_mobilenet_v3_{{stem}}_float_no_top_v2.h5")
_DENSENET = _family("DenseNet", "torch", f"{SERVER}/densenet/{{stem}}_{KERNELS}_notop.h5")
_INCEPTION = _family("Inception", "tf", f"{SERVER}/{{stem}}/{{stem}}_{KERNELS}_notop.h5", min_size=75)
_XCEPTION = _family("Xception", "tf", f"{SERVER}/{{stem}}/{{stem}}_{KERNELS}_notop.h5", min_size=71)
_NASNET = _family("NASNet", "tf", f"{SERVER}/nasnet/NASNet-{{stem}}-no-top.h5", "nasnet_{stem}_no_top.h5")
_EFFICIENTNET = _family("EfficientNet", "none", "https://storage.googleapis.com/keras-applications/efficientnet{stem}_notop.h5", dropout=True)
_EFFICIENTNET_V2 = _family("EfficientNetV2", "none", f"{SERVER}/efficientnet_v2/efficientnetv2-{{stem}}_notop.h5", dropout=True)
_CONVNEXT = _family("ConvNeXt", "none", f"{SERVER}/convnext/convnext_{{stem}}_notop.h5", batch_norm=False)

# name, default size, features, parameters, stages, stem of the file's URL, hash
TABLE = (
    _VGG("VGG16", 224, 512, 14_714_688, _numbered("block", 1, 5), "vgg16", "md5:6d6bbae143d832006294945121d1f1fc"),
    _VGG("VGG19", 224, 512, 20_024_384, _numbered("block", 1, 5), "vgg19", "md5:253f8cb515780f3b799900260a226db6"),
    _RESNET("ResNet50", 224, 2048, 23_587_712, _numbered("conv", 2, 5), "resnet50", "md5:4d473c1dd8becc155b73f8504c6f6626"),
    _RESNET("ResNet101", 224, 2048, 42_658_176, _numbered("conv", 2, 5), "resnet101", "md5:88cf7a10940856eca736dc7b7e228a21"),
    _RESNET("ResNet152", 224, 2048, 58_370_944, _numbered("conv", 2, 5), "resnet152", "md5:ee4c566cf9a93f14d82f913c2dc6dd0c"),
    _RESNET_V2("ResNet50V2", 224, 2048, 23_564_800, _numbered("conv", 2, 5), "resnet50v2", "md5:fac2f116257151a9d068a22e544a4917"),
    _RESNET_V2("ResNet101V2", 224, 2048, 42_626_560, _numbered("conv", 2, 5), "resnet101v2", "md5:c0ed64b8031c3730f411d2eb4eea35b5"),
    _RESNET_V2("ResNet152V2", 224, 2048, 58_331_648, _numbered("conv", 2, 5), "resnet152v2", "md5:ed17cf2e0169df9d443503ef94b23b33"),
    _MOBILENET_V1("MobileNet_1.0", 224, 1024, 3_228_864, _numbered("conv_dw_", 1, 13), "1_0"),
    _MOBILENET_V1("MobileNet_0.25", 224, 256, 218_544, _numbered("conv_dw_", 1, 13), "2_5"),
    _MOBILENET_V1("MobileNet_0.5", 224, 512, 829_536, _numbered("conv_dw_", 1, 13), "5_0"),
    _MOBILENET_V1("MobileNet_0.75", 224, 768, 1_832_976, _numbered("conv_dw_", 1, 13), "7_5"),
    _MOBILENET_V2("MobileNetV2", 224, 1280, 2_257_984, _numbered("block_", 1, 16), "1.0"),
    _MOBILENET_V2("MobileNetV2_0.35", 224, 1280, 410_208, _numbered("block_", 1, 16), "0.35"),
    _MOBILENET_V2("MobileNetV2_0.5", 224, 1280, 706_224, _numbered("block_", 1, 16), "0.5"),
    _MOBILENET_V2("MobileNetV2_0.75", 224, 1280, 1_382_064, _numbered("block_", 1, 16), "0.75"),
    _MOBILENET_V2("MobileNetV2_1.3", 224, 1664, 3_766_048, _numbered("block_", 1, 16), "1.3"),
    _MOBILENET_V2("MobileNetV2_1.4", 224, 1792, 4_363_712, _numbered("block_", 1, 16), "1.4"),
    _MOBILENET_V3("MobileNetV3Small", 224, 576, 939_120, ("expanded_conv", *_numbered("expanded_conv_", 1, 10)), "small_224_1.0", "md5:d3e8ec802a04aa4fc771ee12a9a9b836"),
    _MOBILENET_V3("MobileNetV3Small_0.75", 224, 432, 583_160, ("expanded_conv", *_numbered("expanded_conv_", 1, 10)), "small_224_0.75", "md5:ebdb5cc8e0b497cd13a7c275d475c819"),
    _MOBILENET_V3("MobileNetV3Large", 224, 960, 2_996_352, ("expanded_conv", *_numbered("expanded_conv_", 1, 14)), "large_224_1.0", "md5:07fb09a5933dd0c8eaafa16978110389"),
    _MOBILENET_V3("MobileNetV3Large_0.75", 224, 720, 1_808_736, ("expanded_conv", *_numbered("expanded_conv_", 1, 14)), "large_224_0.75", "md5:40af19a13ebea4e2ee0c676887f69a2e"),
    _DENSENET("DenseNet121", 224, 1024, 7_037_504, _numbered("conv", 2, 5), "densenet121", "md5:30ee3e1110167f948a6b9946edeeb738"),
    _DENSENET("DenseNet169", 224, 1664, 12_642_880, _numbered("conv", 2, 5), "densenet169", "md5:b8c4d4c20dd625c148057b9ff1c1176b"),
    _DENSENET("DenseNet201", 224, 1920, 18_321_984, _numbered("conv", 2, 5), "densenet201", "md5:c13680b51ded0fb44dff2d8f86ac8bb1"),
    _INCEPTION("InceptionV3", 299, 2048, 21_802_784, _numbered("mixed", 0, 10), "inception_v3", "md5:bcbd6486424b2319ff4ef7d526e38f63"),
    _INCEPTION("InceptionResNetV2", 299, 1536, 54_336_736, ("mixed_5b", "mixed_6a", "mixed_7a", "conv_7b"), "inception_resnet_v2", "md5:d19885ff4a710c122648d3b5c3b684e4"),
    _XCEPTION("Xception", 299, 2048, 20_861_480, _numbered("block", 1, 14), "xception", "md5:b0042744bf5b25fce3cb969f33bebb97"),
    _NASNET("NASNetMobile", 224, 1056, 4_269_716, _cells(4), "mobile", "md5:1ed92395b5b598bdda52abe5c0dbfd63"),
    _NASNET("NASNetLarge", 331, 4032, 84_916_818, _cells(6), "large", "md5:d81d89dc07e6e56530c4e77faddd61b5"),
    _EFFICIENTNET("EfficientNetB0", 224, 1280, 4_049_571, _numbered("block", 1, 7), "b0", "md5:50bc09e76180e00e4465e1a485ddc09d"),
    _EFFICIENTNET("EfficientNetB1", 240, 1280, 6_575_239, _numbered("block", 1, 7), "b1", "md5:74c4e6b3e1f6a1eea24c589628592432"),
    _EFFICIENTNET("EfficientNetB2", 260, 1408, 7_768_569, _numbered("block", 1, 7), "b2", "md5:111f8e2ac8aa800a7a99e3239f7bfb39"),
    _EFFICIENTNET("EfficientNetB3", 300, 1536, 10_783_535, _numbered("block", 1, 7), "b3", "md5:af6d107764bb5b1abb91932881670226"),
    _EFFICIENTNET("EfficientNetB4", 380, 1792, 17_673_823, _numbered("block", 1, 7), "b4", "md5:ebc24e6d6c33eaebbd558eafbeedf1ba"),
    _EFFICIENTNET("EfficientNetB5", 456, 2048, 28_513_527, _numbered("block", 1, 7), "b5", "md5:38879255a25d3c92d5e44e04ae6cec6f"),
    _EFFICIENTNET("EfficientNetB6", 528, 2304, 40_960_143, _numbered("block", 1, 7), "b6", "md5:9ecce42647a20130c1f39a5d4cb75743"),
    _EFFICIENTNET("EfficientNetB7", 600, 2560, 64_097_687, _numbered("block", 1, 7), "b7", "md5:cbcfe4450ddf6f3ad90b1b398090fe4a"),
    _EFFICIENTNET_V2("EfficientNetV2B0", 224, 1280, 5_919_312, _numbered("block", 1, 6), "b0", "md5:893217f2bb855e2983157299931e43ff"),
    _EFFICIENTNET_V2("EfficientNetV2B1", 240, 1280, 6_931_124, _numbered("block", 1, 6), "b1", "md5:0e80663031ca32d657f9caa404b6ec37"),
    _EFFICIENTNET_V2("EfficientNetV2B2", 260, 1408, 8_769_374, _numbered("block", 1, 6), "b2", "md5:1dfe2e7a5d45b6632553a8961ea609eb"),
    _EFFICIENTNET_V2("EfficientNetV2B3", 300, 1536, 12_930_622, _numbered("block", 1, 6), "b3", "md5:f6abf7b5849ac99a89b50dd3fd532856"),
    _EFFICIENTNET_V2("EfficientNetV2S", 384, 1280, 20_331_360, _numbered("block", 1, 6), "s", "md5:af0682fb74e8c54910f2d4393339c070"),
    _EFFICIENTNET_V2("EfficientNetV2M", 480, 1280, 53_150_388, _numbered("block", 1, 7), "m", "md5:1b8dc055df72dde80d614482840fe342"),
    _EFFICIENTNET_V2("EfficientNetV2L", 480, 1280, 117_746_848, _numbered("block", 1, 7), "l", "md5:b0b66b5c863aef5b46e8608fe1711615"),
    _CONVNEXT("ConvNeXtTiny", 224, 768, 27_820_128, _numbered("stage_", 0, 3), "tiny", "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    _CONVNEXT("ConvNeXtSmall", 224, 768, 49_454_688, _numbered("stage_", 0, 3), "small", "sha256:6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    _CONVNEXT("ConvNeXtBase", 224, 1024, 87_566_464, _numbered("stage_", 0, 3), "base", "sha256:40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    _CONVNEXT("ConvNeXtLarge", 224, 1536, 196_230_336, _numbered("stage_", 0, 3), "large", "sha256:96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
    _CONVNEXT("ConvNeXtXLarge", 224, 2048, 348_147_968, _numbered("stage_", 0, 3), "xlarge", "sha256:de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"),
)
# fmt: on
