#!/usr/bin/env python3
"""Compares what qp computes of models of Hugging Face's transformers with what Python's PyTorch does.

    scripts/check/transformers_models.py [--qp target/release/qp] [--match NAME]

Makes small models of many kinds, for text, pictures and sound, with random weights; exports each as it is, quantized with
torchao in two ways and with PT2E, and traces it. Needs the packages of scripts/requirements-models.txt, torchao and
transformers.

Prints a line for each file; fails when an output differs by more than 1e-5 of its largest value, or when a file does not
run. What Python itself cannot export or quantize is named and does not count.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import torch
import transformers as hf
from exported import CHECKOUT, TOLERANCE, difference, with_pt2e

warnings.filterwarnings("ignore")
hf.logging.set_verbosity_error()

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {**SIZES, "vocab_size": 99, "max_position_embeddings": 64}
DECODER = {**TEXT, "use_cache": False}
PICTURE = {**SIZES, "image_size": 32, "patch_size": 8}
SOUND = {**SIZES, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16}


def models():
    """Name, model, inputs by the name that `forward` has for them."""
    tokens, mask = torch.randint(3, 90, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    picture, sound = torch.randn(2, 3, 32, 32), torch.randn(2, 4000)
    large = torch.randn(2, 3, 64, 64)
    text = {"input_ids": tokens, "attention_mask": mask}
    words = {"input_ids": tokens}
    pixels, wide, wave = {"pixel_values": picture}, {"pixel_values": large}, {"input_values": sound}
    yield "bert", lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)), text
    yield "distilbert", lambda: hf.DistilBertForSequenceClassification(hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=99)), text
    yield "roberta", lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**TEXT)), text
    yield "albert", lambda: hf.AlbertForSequenceClassification(hf.AlbertConfig(**TEXT, embedding_size=16)), text
    yield "electra", lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**TEXT, embedding_size=16)), text
    yield "deberta", lambda: hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(**TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"])), text
    yield "mobilebert", lambda: hf.MobileBertForSequenceClassification(hf.MobileBertConfig(**{**TEXT, "num_hidden_layers": 1}, embedding_size=16, intra_bottleneck_size=16)), text
    yield "mpnet", lambda: hf.MPNetForSequenceClassification(hf.MPNetConfig(**TEXT)), text
    yield "xlm_roberta", lambda: hf.XLMRobertaForTokenClassification(hf.XLMRobertaConfig(**TEXT)), text
    yield "modernbert", lambda: hf.ModernBertForSequenceClassification(hf.ModernBertConfig(**TEXT, pad_token_id=0, attn_implementation="sdpa")), text
    yield "llama", lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER, num_key_value_heads=2)), words
    yield "mistral", lambda: hf.MistralForCausalLM(hf.MistralConfig(**DECODER, num_key_value_heads=2, sliding_window=4)), words
    yield "qwen2", lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**DECODER, num_key_value_heads=2)), words
    yield "gemma", lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**DECODER, num_key_value_heads=2, head_dim=8)), words
    yield "gemma2", lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**DECODER, num_key_value_heads=2, head_dim=8)), words
    yield "phi", lambda: hf.PhiForCausalLM(hf.PhiConfig(**DECODER)), words
    yield "gpt2", lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=99, use_cache=False)), words
    yield "gpt_neox", lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**DECODER)), words
    yield "opt", lambda: hf.OPTForCausalLM(hf.OPTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, vocab_size=99, max_position_embeddings=64, word_embed_proj_dim=32, use_cache=False)), words
    yield "mamba", lambda: hf.MambaForCausalLM(hf.MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=99, use_cache=False)), words
    yield "t5_encoder", lambda: hf.T5EncoderModel(hf.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=99)), words
    yield "bart", lambda: hf.BartForSequenceClassification(hf.BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=99, eos_token_id=2, use_cache=False)), {"input_ids": torch.cat([tokens[:, :-1], torch.full((2, 1), 2)], 1)}
    yield "clip_text", lambda: hf.CLIPTextModel(hf.CLIPTextConfig(**TEXT)), words
    yield "vit", lambda: hf.ViTForImageClassification(hf.ViTConfig(**PICTURE)), pixels
    yield "deit", lambda: hf.DeiTForImageClassification(hf.DeiTConfig(**PICTURE)), pixels
    yield "beit", lambda: hf.BeitForImageClassification(hf.BeitConfig(**PICTURE)), pixels
    yield "dinov2", lambda: hf.Dinov2ForImageClassification(hf.Dinov2Config(**PICTURE)), pixels
    yield "siglip", lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**PICTURE)), pixels
    yield "clip_vision", lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**PICTURE)), pixels
    yield "swin", lambda: hf.SwinForImageClassification(hf.SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[1, 2], num_heads=[2, 4], window_size=4)), wide
    yield "swinv2", lambda: hf.Swinv2ForImageClassification(hf.Swinv2Config(image_size=64, patch_size=4, embed_dim=16, depths=[1, 2], num_heads=[2, 4], window_size=4)), wide
    yield "convnext", lambda: hf.ConvNextForImageClassification(hf.ConvNextConfig(hidden_sizes=[16, 16, 32, 64], depths=[1, 1, 1, 1])), wide
    yield "resnet", lambda: hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])), wide
    yield "mobilenet_v2", lambda: hf.MobileNetV2ForImageClassification(hf.MobileNetV2Config(depth_multiplier=0.25, image_size=64)), wide
    yield "mobilevit", lambda: hf.MobileViTForImageClassification(hf.MobileViTConfig(image_size=64, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 16, 16, 16, 16, 32], num_attention_heads=4)), wide
    yield "segformer", lambda: hf.SegformerForImageClassification(hf.SegformerConfig(hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4])), wide
    yield "pvt", lambda: hf.PvtForImageClassification(hf.PvtConfig(image_size=64, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4])), wide
    yield "efficientnet", lambda: hf.EfficientNetForImageClassification(hf.EfficientNetConfig(image_size=64, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320)), wide
    yield "poolformer", lambda: hf.PoolFormerForImageClassification(hf.PoolFormerConfig(hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1])), wide
    yield "yolos", lambda: hf.YolosForObjectDetection(hf.YolosConfig(**{**PICTURE, "image_size": [32, 32]}, num_detection_tokens=5)), pixels
    yield "wav2vec2", lambda: hf.Wav2Vec2ForSequenceClassification(hf.Wav2Vec2Config(**SOUND)), wave
    yield "hubert", lambda: hf.HubertForSequenceClassification(hf.HubertConfig(**SOUND)), wave
    yield "wavlm", lambda: hf.WavLMForSequenceClassification(hf.WavLMConfig(**SOUND)), wave
    yield "sew", lambda: hf.SEWForSequenceClassification(hf.SEWConfig(**{**SIZES, "conv_dim": (16,) * 13, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16, "squeeze_factor": 2})), wave
    yield "ast", lambda: hf.ASTForAudioClassification(hf.ASTConfig(**SIZES, max_length=64, num_mel_bins=32)), {"input_values": torch.randn(2, 64, 32)}
    yield "whisper_encoder", lambda: hf.WhisperForAudioClassification(hf.WhisperConfig(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=48, vocab_size=99, num_mel_bins=16, max_source_positions=50, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None)), {"input_features": torch.randn(2, 16, 100)}


def tensors(value):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


class Flat(torch.nn.Module):
    """A model with its inputs by position and its outputs as a tuple."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs):
        return tuple(tensors(self.model(**dict(zip(self.names, inputs)), return_dict=False)))


def with_torchao(config):
    import torchao.quantization as ao

    def convert(model, _):
        converted = copy.deepcopy(model)
        ao.quantize_(converted, getattr(ao, config)())
        return converted

    return convert


FORMS = {
    "float": lambda model, _: model,
    "weight_only_int8": with_torchao("Int8WeightOnlyConfig"),
    "dynamic_int8": with_torchao("Int8DynamicActivationInt8WeightConfig"),
    "pt2e": with_pt2e,
}


class Checker:
    def __init__(self, qp, folder):
        self.qp, self.folder, self.results = qp, folder, []

    def input_names(self, path):
        shown = subprocess.run([self.qp, "--format", "json", "-c", f"info '{path}'"], capture_output=True, text=True, check=False)
        return [value["name"] for value in json.loads(shown.stdout.splitlines()[-1])["inputs"]]

    def check(self, name, path, inputs, expected):
        given = []
        for index, value in enumerate(inputs):
            numpy.save(self.folder / f"{index}.npy", value.numpy())
            given.append(f"'{self.folder}/{index}.npy'")
        if len(given) > 1:
            given = [f"{name}={file}" for name, file in zip(self.input_names(path), given)]
        saved = self.folder / "outputs.npz"
        saved.unlink(missing_ok=True)
        line = f"load '{path}' --as m; input {' '.join(given)}; run m --save '{saved}'"
        shown = subprocess.run([self.qp, "-c", line], capture_output=True, text=True, check=False)
        if shown.returncode:
            worst, text = float("inf"), " ".join(shown.stderr.split())[:300]
        else:
            found = list(numpy.load(saved).values())
            worst = max((difference(one, other) for one, other in zip(found, expected)), default=float("inf"))
            worst = worst if len(found) == len(expected) else float("inf")
            text = f"{len(found)} of {len(expected)} outputs, largest difference {worst:.1e}"
        print(f"{name:36} {text}", flush=True)
        self.results.append(worst <= TOLERANCE)

    def model(self, name, make, inputs):
        torch.manual_seed(0)
        model = Flat(make().eval(), list(inputs)).eval()
        values = tuple(inputs.values())
        for form, convert in FORMS.items():
            path = self.folder / "model.pt2"
            try:
                converted = convert(model, values)
                torch.export.save(torch.export.export(converted, values), path)
                expected = tensors(converted(*values))
            except Exception as error:  # whatever Python cannot do is no fault of qp's
                print(f"{name + ' ' + form:36} Python: {' '.join(str(error).split())[:120]}", flush=True)
                continue
            self.check(f"{name} {form}", path, values, expected)
        try:
            traced = torch.jit.trace(model, values, check_trace=False, strict=False)
            traced.save(self.folder / "model.pt")
        except Exception as error:
            print(f"{name + ' traced':36} Python: {' '.join(str(error).split())[:120]}", flush=True)
            return
        self.check(f"{name} traced", self.folder / "model.pt", values, tensors(traced(*values)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", help="the program")
    parser.add_argument("--match", default="", help="only models with this in their name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        checker = Checker(str(arguments.qp), pathlib.Path(folder))
        for name, make, inputs in models():
            if arguments.match in name:
                checker.model(name, make, inputs)
    print(f"{sum(checker.results)} of {len(checker.results)} agree")
    sys.exit(not all(checker.results))


if __name__ == "__main__":
    main()
