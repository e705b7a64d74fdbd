"""A tiny configuration of any architecture of transformers: its default one, with every size in it shrunk.

Sizes are recognised by the name of their field, in nested configurations too, so that an architecture that is new in
transformers usually needs no line here; `OVERRIDES` has the fields of those that do.
"""

from typing import Any

from tiny_models import WORDS
from transformers import CONFIG_MAPPING, PreTrainedConfig

IMAGE_SIZE = 64
LABELS = 3

_WIDTHS = """
hidden_size d_model n_embd embed_dim dim embedding_size projection_dim d_latents word_embed_proj_dim emb_dim
out_hidden_size decoder_hidden_size true_hidden_size intra_bottleneck_size pooler_output_size pooler_hidden_size
projection_size cross_attention_hidden_size hidden_size_per_layer_input input_embedding_size output_embedding_size
attention_hidden_size encoder_hidden_size embedding_dim width prediction_head_size entity_emb_size
pronunciation_embed_dim shape_embed_dim kv_lora_rank q_lora_rank vision_embed_dim text_embed_dim proj_dim
"""
_INNER_WIDTHS = """
intermediate_size encoder_ffn_dim decoder_ffn_dim ffn_dim d_ff d_inner n_inner dff hidden_dim mlp_dim
moe_intermediate_size shared_expert_intermediate_size ffn_hidden_size feed_forward_size prompt_mid_dim class_expand
moe_shared_expert_intermediate_size shared_intermediate_size intermediate_dim decoder_intermediate_size
"""
_COUNTS = """
num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers depth num_decoder_layers
num_encoder_layers decoder_num_hidden_layers num_self_attends_per_block num_feedforward_networks
num_heads num_attention_heads n_head n_heads heads encoder_attention_heads decoder_attention_heads
num_key_value_heads num_kv_heads n_kv_heads decoder_num_attention_heads num_self_attention_heads
num_cross_attention_heads index_n_heads linear_num_key_heads linear_num_value_heads mamba_n_heads n_mamba_heads
num_query_groups num_local_experts num_experts n_routed_experts moe_num_experts num_experts_per_tok moe_topk moe_k
index_topk attn_layer_period expert_layer_period first_k_dense_replace
"""
_HEAD_WIDTHS = """
head_dim d_kv d_head v_head_dim qk_rope_head_dim qk_nope_head_dim index_head_dim kv_channels rotary_dim
attention_head_size linear_key_head_dim linear_value_head_dim mamba_d_head gated_norm_rank adapter_rank mamba_dt_rank
mamba_d_state groups_width
"""
_LENGTHS = """
max_position_embeddings n_positions n_ctx max_seq_len max_sequence_length original_max_position_embeddings
max_2d_position_embeddings num_latents
"""
_SIZES: dict[str, int] = {
    **dict.fromkeys(_WIDTHS.split(), 16),
    **dict.fromkeys(_INNER_WIDTHS.split(), 32),
    **dict.fromkeys(_COUNTS.split(), 2),
    **dict.fromkeys(_HEAD_WIDTHS.split(), 8),
    **dict.fromkeys(("qk_head_dim", "attention_head_dim", "mamba_headdim"), 16),
    **dict.fromkeys(_LENGTHS.split(), 64),
    **dict.fromkeys(("vocab_size", "entity_vocab_size", "num_hash_buckets"), len(WORDS)),
    **dict.fromkeys(("image_size", "img_size", "input_size"), IMAGE_SIZE),
    **dict.fromkeys(("window_size", "attn_layer_offset", "expert_layer_offset", "n_group", "topk_group"), 1),
    "patch_size": 16,
}
"""Largest value of a field; a smaller default stays."""
_STAGE_WIDTHS = ("hidden_sizes", "embed_dims", "embed_dim", "encoder_hidden_sizes", "stage_widths")
_TOKENS = {"pad": 0, "bos": 2, "cls": 2, "decoder_start": 2, "eos": 3, "sep": 3, "mask": 4}
"""Places of special tokens among `WORDS`; all others are the first word."""

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_DERIVED = ("id2label", "label2id", "dtype", "architectures", "out_features", "out_indices", "stage_names")
"""Fields that follow from others."""
_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

OVERRIDES: dict[str, dict[str, Any]] = {
    "bit": {"num_groups": 2},
    "efficientnet": {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128},
    "hgnet_v2": {
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 8, 16, 32],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 16, 32, 64],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 32, 64],
    },
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.25},
    "mobilevitv2": {"width_multiplier": 0.25, "base_attn_unit_dims": [32, 32, 32]},
    "textnet": {"stem_out_channels": 8},
    "canine": {"num_hash_buckets": 64},  # as many as positions
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "esm": {"vocab_size": len(WORDS), "pad_token_id": 0, "mask_token_id": 4},
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1], "num_decoder_layers": 1},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "layoutlmv3": {"coordinate_size": 3, "shape_size": 2, "visual_embed": False},
    "lilt": {"hidden_size": 24, "channel_shrink_ratio": 2},
    "markuplm": {
        "max_xpath_tag_unit_embeddings": 9,
        "max_xpath_subs_unit_embeddings": 9,
        "max_depth": 4,
        "tag_pad_id": 8,
        "subs_pad_id": 8,
        "xpath_unit_hidden_size": 4,
    },
    "ministral": {"head_dim": 8},
    "mistral4": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "perceiver": {"d_latents": 32},
    "reformer": {"axial_pos_embds": False, "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 2},
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "num_hidden_layers": 3,
        "attention_hidden_size": 32,
        "attention_head_dim": 16,
    },
    "zamba2": {
        "hybrid_layer_ids": [1],
        "layers_block_type": ["linear_attention", "hybrid"],
        "attention_hidden_size": 32,
        "attention_head_dim": 16,
    },
}
"""Fields of single architectures whose sizes depend on each other, by `model_type`, in nested configurations too."""


def tiny_config(model_type: str, **settings: Any) -> PreTrainedConfig:  # noqa: ANN401 (as configurations have them)
    """The configuration of a tiny model.

    Args:
        model_type: of the architecture, a key of `CONFIG_MAPPING`.
        settings: fields to set beside.
    """
    config_class = CONFIG_MAPPING[model_type]
    return config_class.from_dict({**_shrunk(config_class().to_dict()), "num_labels": LABELS, **settings})


def _shrunk(fields: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in fields.items() if name not in _DERIVED and value is not None}
    depth = next((fields[name] for name in _DEPTHS if isinstance(fields.get(name), int)), 0)
    a_layer = {
        name: _different(value)
        for name, value in fields.items()
        if isinstance(value, list) and len(value) == depth > 2 and "depths" not in fields
    }
    layers = max((len(kinds) for kinds in a_layer.values()), default=2)
    small = {name: _smaller(name, value) for name, value in fields.items()}
    # One layer of each kind, such as with full and with sliding attention.
    small |= {name: kinds + kinds[-1:] * (max(layers, 2) - len(kinds)) for name, kinds in a_layer.items()}
    small |= {name: max(layers, 2) for name in _DEPTHS if isinstance(fields.get(name), int) and fields[name] > 2}
    return {**small, **OVERRIDES.get(fields.get("model_type") or "", {})}


def _smaller(name: str, value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return _shrunk(value) if "model_type" in value or name.endswith("_config") else value
    if name.endswith(("_token_id", "_token_index", "_index", "_id")) and isinstance(value, int):
        return _TOKENS.get(name.removesuffix("_token_id"), min(value, len(WORDS) - 1))
    if isinstance(value, bool) or not isinstance(value, int | list | tuple):
        return value
    if isinstance(value, int):
        return min(value, _SIZES.get(name, value))
    if name in ("image_size", "input_size"):
        return [IMAGE_SIZE] * len(value)
    if name == "depths":
        return [1] * len(value)
    if name.endswith("num_heads") or name == "num_attention_heads":
        return [min(heads, 2) for heads in value]
    if name in _STAGE_WIDTHS:
        return [max(8, round(8 * width / min(value) / 8) * 8) for width in value]
    return list(value)


def _different(values: list[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]
