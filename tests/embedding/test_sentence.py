import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sidestep.embedding.config import SentenceConfig
from sidestep.embedding.encoding import encode_texts
from sidestep.embedding.sentence import load_sentence_encoder

TEXTS = ["steel drill", "", "red lipstick", "cordless drill", "pink lipstick", "drill bits"]
NAME = "nobody/no-such-encoder"


@pytest.fixture(scope="module")
def encoder(minilm):
    return load_sentence_encoder(SentenceConfig(model=str(minilm), batch_size=4), device="cpu")


def test_a_real_encoder_puts_like_items_near_each_other(encoder):
    vectors = encode_texts(encoder, TEXTS).vectors
    assert vectors.shape == (6, 384)
    assert not vectors[1].any()
    similarity = vectors @ vectors.T
    drills, lipsticks = [0, 3, 5], [2, 4]
    assert similarity[np.ix_(drills, drills)].min() > similarity[np.ix_(drills, lipsticks)].max()
    assert similarity[2, 4] > 0.7


def test_a_real_encoding_resumes_to_the_same_bits(encoder, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    whole = encode_texts(encoder, TEXTS, chunk_size=2)
    with pytest.raises(KeyboardInterrupt):
        encode_texts(encoder, TEXTS, unfinished=tmp_path, chunk_size=2, report=stop)
    resumed = encode_texts(encoder, TEXTS, unfinished=tmp_path, chunk_size=2)
    assert resumed.num_resumed == 2
    assert resumed.vectors.tobytes() == whole.vectors.tobytes()


def test_the_hash_follows_weights_settings_and_batch_size(encoder, minilm, tmp_path):
    def sha256(folder, batch_size=4):
        config = SentenceConfig(model=str(folder), batch_size=batch_size)
        return load_sentence_encoder(config, device="cpu").sha256

    changed = tmp_path / "changed"
    shutil.copytree(minilm, changed)
    pooling = changed / "1_Pooling" / "config.json"
    before = json.loads(pooling.read_text())
    pooling.write_text(
        json.dumps({**before, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    hashes = {encoder.sha256, sha256(minilm, batch_size=8), sha256(changed)}
    pooling.write_text(json.dumps(before))
    weights = load_file(changed / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 1
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    assert len(hashes | {sha256(changed)}) == 4


def test_a_name_is_looked_for_in_the_cache_before_any_network(
    encoder, minilm, tmp_path, monkeypatch
):
    commit, hub = "0" * 40, tmp_path / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(minilm, hub / "snapshots" / commit)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = load_sentence_encoder(SentenceConfig(model=NAME, batch_size=4), device="cpu")
    assert cached.sha256 == encoder.sha256


@pytest.mark.parametrize("model", ["./encoder", "/nowhere/encoder", "~/a/b/c", "models/my/encoder"])
def test_a_folder_that_is_not_there_is_named(model):
    with pytest.raises(FileNotFoundError, match="no folder here"):
        load_sentence_encoder(SentenceConfig(model=model))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"modules\.json is missing"):
        load_sentence_encoder(SentenceConfig(model=str(tmp_path)))
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(ValueError, match="cannot be loaded as a sentence encoder"):
        load_sentence_encoder(SentenceConfig(model=str(tmp_path)))


def test_a_name_without_a_network_asks_for_a_folder(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=f"{NAME}.*cannot be reached.*give its path"):
        load_sentence_encoder(SentenceConfig(model=NAME))
