"""Text as tokens, of which none is a control token, whatever a page says."""

from collections.abc import Sequence
from typing import Any


def plain(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens of each text; several texts are read on several cores.

    Args:
        tokenizer: a fast one of transformers', whose front end makes five times as much of each text.
    """
    backend = tokenizer.backend_tokenizer
    if not backend.encode_special_tokens:  # to set it waits for who reads, in another thread
        backend.encode_special_tokens = True
    read = backend.encode_batch_fast(list(texts), add_special_tokens=False)  # the same ids, and no places in the text
    return [tuple(each.ids) for each in read]
