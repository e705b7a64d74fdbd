"""Tiny `transformers` architectures of the teachers, with their image processors and tokenizers."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    ConvNextConfig,
    ConvNextV2Config,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    ResNetConfig,
    RobertaConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

INITIALIZER_RANGE = 0.1
"""Of text models. At a width of 64, the default of 0.02 costs up to 17 points of accuracy in the same few epochs."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class ImageArchitecture:
    """A tiny image classifier and its image processor.

    Args:
        config: returns the configuration of the model, without its classes.
        size: height and width to which images are resized, in pixels.
        mean: mean of each channel for normalisation, of values in [0, 1].
        std: standard deviation of each channel for normalisation.
        learning_rate: peak learning rate for training from random weights.
    """

    config: Callable[[], PreTrainedConfig]
    size: int
    mean: float
    std: float
    learning_rate: float

    def processor(self) -> ViTImageProcessorPil:
        """The image processor; its PIL backend needs no torchvision."""
        return ViTImageProcessorPil(
            size={"height": self.size, "width": self.size}, image_mean=[self.mean] * 3, image_std=[self.std] * 3
        )


@dataclass(frozen=True)
class TextArchitecture:
    """A tiny text classifier and its tokenizer.

    Args:
        config: returns the configuration of the model for a tokenizer.
        tokenizer: trains the tokenizer on texts.
        learning_rate: peak learning rate for training from random weights.
    """

    config: Callable[[PreTrainedTokenizerFast], PreTrainedConfig]
    tokenizer: Callable[[Sequence[str]], PreTrainedTokenizerFast]
    learning_rate: float


def wordpiece_tokenizer(texts: Sequence[str], *, vocabulary: int = 2000, length: int = 40) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer with the most frequent words of the texts, in the format of BERT.

    Rarer words are split into characters. The vocabulary is counted in this function, because `WordPieceTrainer` of
    tokenizers orders and merges pieces differently in every process, and students must start from the same vocabulary.

    Args:
        texts: texts to build the vocabulary from.
        vocabulary: maximum number of tokens in the vocabulary.
        length: maximum number of tokens of a text, which is truncated.
    """
    normalizer, pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters = Counter(letter for word, count in words.items() for letter in word * count)
    characters = _most_frequent(letters, vocabulary // 4)
    frequent_words = [word for word in _most_frequent(words, vocabulary) if words[word] > 1 and len(word) > 1]
    pieces = [*SPECIAL_TOKENS, *characters, *(f"##{letter}" for letter in characters), *frequent_words][:vocabulary]
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return _wrapped(tokenizer, length)


def _most_frequent(counts: Counter[str], most: int) -> list[str]:
    return sorted(counts, key=lambda piece: (-counts[piece], piece))[:most]


def bpe_tokenizer(texts: Sequence[str], *, vocabulary: int = 1500, length: int = 48) -> PreTrainedTokenizerFast:
    """A case-sensitive byte-level BPE tokenizer trained on the texts, in the format of RoBERTa.

    Args:
        texts: texts to train on.
        vocabulary: maximum number of tokens in the vocabulary.
        length: maximum number of tokens of a text, which is truncated.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _wrapped(tokenizer, length)


def _wrapped(tokenizer: Tokenizer, length: int) -> PreTrainedTokenizerFast:
    first, last = SPECIAL_TOKENS.index("[CLS]"), SPECIAL_TOKENS.index("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", first), ("[SEP]", last)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _resnet(*widths: int, depth: int = 1) -> Callable[[], PreTrainedConfig]:
    return lambda: ResNetConfig(
        embedding_size=widths[0], hidden_sizes=list(widths), depths=[depth] * len(widths), layer_type="basic"
    )


def _convnext(*widths: int) -> Callable[[], PreTrainedConfig]:
    return lambda: ConvNextConfig(
        patch_size=2,
        num_stages=len(widths),
        hidden_sizes=list(widths),
        depths=[1] * len(widths),
        layer_scale_init_value=0.1,
    )


def _convnext_v2(*widths: int) -> Callable[[], PreTrainedConfig]:
    return lambda: ConvNextV2Config(
        patch_size=2, num_stages=len(widths), hidden_sizes=list(widths), depths=[1] * len(widths)
    )


def _vit(width: int, depth: int, size: int, patch: int) -> Callable[[], PreTrainedConfig]:
    return lambda: ViTConfig(
        image_size=size,
        patch_size=patch,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=2 * width,
    )


def _bert(width: int, depth: int) -> Callable[[PreTrainedTokenizerFast], PreTrainedConfig]:
    return lambda tokenizer: BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=INITIALIZER_RANGE,
    )


def _distilbert(width: int, depth: int) -> Callable[[PreTrainedTokenizerFast], PreTrainedConfig]:
    return lambda tokenizer: DistilBertConfig(
        vocab_size=len(tokenizer),
        dim=width,
        n_layers=depth,
        n_heads=4,
        hidden_dim=2 * width,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=INITIALIZER_RANGE,
    )


def _roberta(width: int, depth: int) -> Callable[[PreTrainedTokenizerFast], PreTrainedConfig]:
    return lambda tokenizer: RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=INITIALIZER_RANGE,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )


def _electra(width: int, depth: int) -> Callable[[PreTrainedTokenizerFast], PreTrainedConfig]:
    return lambda tokenizer: ElectraConfig(
        vocab_size=len(tokenizer),
        embedding_size=width // 2,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=INITIALIZER_RANGE,
    )


IMAGE_ARCHITECTURES = {
    "resnet": ImageArchitecture(_resnet(16, 32, 64), 32, 0.3, 0.35, 4e-3),
    "resnet-wide": ImageArchitecture(_resnet(24, 48, 96), 32, 0.5, 0.5, 4e-3),
    "convnext": ImageArchitecture(_convnext(32, 64), 16, 0.5, 0.5, 4e-3),
    "convnext-wide": ImageArchitecture(_convnext(48, 96), 16, 0.45, 0.25, 4e-3),
    "convnextv2": ImageArchitecture(_convnext_v2(32, 64), 16, 0.3, 0.3, 4e-3),
    "vit": ImageArchitecture(_vit(48, 2, 16, 4), 16, 0.5, 0.5, 3e-3),
    "vit-wide": ImageArchitecture(_vit(64, 2, 24, 6), 24, 0.3, 0.35, 2e-3),
}
"""Architectures of image teachers by name."""

TEXT_ARCHITECTURES = {
    "bert": TextArchitecture(_bert(64, 1), wordpiece_tokenizer, 2e-3),
    "bert-wide": TextArchitecture(_bert(96, 1), bpe_tokenizer, 2e-3),
    "distilbert": TextArchitecture(_distilbert(64, 1), bpe_tokenizer, 2e-3),
    "roberta": TextArchitecture(_roberta(64, 1), bpe_tokenizer, 2e-3),
    "electra": TextArchitecture(_electra(64, 1), wordpiece_tokenizer, 2e-3),
}
"""Architectures of text teachers by name."""
