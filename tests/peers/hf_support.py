"""What the tests of Hugging Face folders share: transformers' side, the program's side, and how far apart they are.

A test runs under .deps/hf's Python, which launch/setup --hf makes; in_venv() sees to that.
"""
import os
import pathlib
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / ".deps" / "hf"
SOURCES = ROOT / "trainer" / "huggingface" / "python"
TOLERANCE = 2e-4  # of logits, float32

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests" / "launch"))


def in_venv():
    """Goes on under the environment's Python, or ends the test as skipped."""
    python = VENV / "bin" / "python"
    if not python.exists() or not (ROOT / ".deps" / "stamps" / "hf").exists():
        print("SKIPPED WHOLE: .deps/hf is not there: launch/setup --hf makes it")
        sys.exit(0)
    if pathlib.Path(sys.prefix) != VENV.resolve() and pathlib.Path(sys.prefix) != VENV:
        os.execv(python, [str(python), *sys.argv])
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1",
                      TOKENIZERS_PARALLELISM="false")


def offline_home(folder):
    """transformers copies the Python files of folders that it loads; not into the user's home. Before its import."""
    os.environ["HF_HOME"] = str(folder)


def model_classes():
    """(config, model) of the sources in the tree, as a folder that is loaded has them."""
    if "dagpam_hf" not in sys.modules:
        package = types.ModuleType("dagpam_hf")
        package.__path__ = [str(SOURCES)]
        sys.modules["dagpam_hf"] = package
    from dagpam_hf.configuration_dagpam import DaGPAMConfig
    from dagpam_hf.modeling_dagpam import DaGPAMForCausalLM
    DaGPAMConfig.register_for_auto_class()
    DaGPAMForCausalLM.register_for_auto_class("AutoModelForCausalLM")
    return DaGPAMConfig, DaGPAMForCausalLM


def stir(model, seed, size):
    """Noise on every parameter, so that none is at its start: biases, lambdas, gains too."""
    import torch
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model.eval()


def load(folder, **options):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **options).eval()


def program_logits(checkpoint, texts):
    """Logits [tokens, vocab] of each text of ids, by `dagpam logits`."""
    import program
    from safetensors.torch import load_file
    out = pathlib.Path(f"{checkpoint}.logits.safetensors")
    program.check("logits", "--checkpoint", checkpoint, "--out", out,
                  input="".join(f"{list(map(int, text))}\n" for text in texts))
    found = load_file(out)
    return [found[str(i)] for i in range(len(texts))]


def left_padded(texts, pad=0):
    """Ids and attention mask [texts, longest]."""
    import torch
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), pad)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, longest - len(text):] = torch.tensor(text)
        mask[row, longest - len(text):] = 1
    return ids, mask


def stepwise_logits(model, ids, mask, prompt):
    """Of a left-padded batch, token by token behind the first `prompt` ones, with the cache."""
    import torch
    out = model(ids[:, :prompt], attention_mask=mask[:, :prompt], use_cache=True)
    parts = [out.logits]
    for end in range(prompt + 1, ids.size(1) + 1):
        out = model(ids[:, end - 1:end], attention_mask=mask[:, :end], past_key_values=out.past_key_values,
                    use_cache=True)
        parts.append(out.logits)
    return torch.cat(parts, dim=1)


def differences(model, texts, expected):
    """Largest differences of logits from the program's: of each text alone, left-padded, and with the cache."""
    import torch
    with torch.no_grad():
        alone = max(float((model(torch.tensor([text])).logits[0] - rows).abs().max())
                    for text, rows in zip(texts, expected))
        ids, mask = left_padded(texts)
        whole = model(ids, attention_mask=mask).logits
        steps = stepwise_logits(model, ids, mask, min(map(len, texts)) - 1)

    def worst(logits):
        return max(float((logits[row, -len(rows):] - rows).abs().max()) for row, rows in enumerate(expected))

    return {"alone": alone, "padded": worst(whole), "cached": worst(steps)}
