"""Vocabulary of a text tower: the words that it learnt, and synonyms of them.

A tower that learned what "absent" does to a finding has no way to learn that "lacking" does the
same, unless somebody tells it; a dictionary of English can. The dictionary knows nothing of films
or labels: it gives a word the vector of words that the tower did learn.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ingest.training.captions import ABBREVIATIONS, SYNONYMS


@torch.no_grad()
def learn_synonyms(model: Any, tokenizer: Any) -> Any:
    """Widen the vocabulary of a text tower by the words of ``SYNONYMS`` and ``ABBREVIATIONS``.

    The vector of a new word is the mean of its synonyms' vectors; those that the tokenizer has no
    single token for count nothing. New words are read whole only: all others, misspelt ones too,
    keep their pieces.

    Args:
        model: a dual encoder with a BERT; changed in place.
        tokenizer: of its text tower; not changed.

    Returns:
        The tokenizer that knows the new words.
    """
    from tokenizers import AddedToken

    pieces = tokenizer.get_vocab()
    rows: Tensor = model.text_model.embeddings.word_embeddings.weight
    new: dict[str, Tensor] = {}
    for word, near in (SYNONYMS | ABBREVIATIONS).items():
        places = [pieces[one] for one in near if one in pieces]
        if places and word not in pieces:
            new[word] = rows[places].mean(0)
    wider = copy.deepcopy(tokenizer)
    wider.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in new])
    kept = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        torch.stack([*rows, *new.values()]), freeze=False, padding_idx=tokenizer.pad_token_id
    )
    model.text_model.embeddings.word_embeddings = kept
    model.config.text_config.vocab_size = model.text_model.config.vocab_size = len(wider)
    return wider


def with_vocabulary(tokenizer: Any, vocabulary: Mapping[str, int]) -> Any:
    """The same fast WordPiece tokenizer with other pieces.

    Args:
        tokenizer: not changed.
        vocabulary: piece -> number; special tokens included.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["vocab"] = dict(vocabulary)
    names = ("pad_token", "unk_token", "cls_token", "sep_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        **{name: getattr(tokenizer, name) for name in names},
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
    )
