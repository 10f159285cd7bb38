"""python plain_transformers.py FOLDER DECISIONS: what plain transformers decides where a policy decided, page by page.

A program of its own, which cannot import browser_control. DECISIONS is JSON, a list of {text, tokens, decisions}:
what the user says, the tokens that the policy answered with, and for each decision its position and the tokens that
the page admits there. Prints how many pages get the same answer, and how many prompts the same tokens.
"""

import json
import sys

sys.modules["browser_control"] = None  # type: ignore[assignment]

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

SYSTEM = "You operate a web page. Answer with the next action."


def main(folder: str, decisions: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    same = prompts = 0
    with open(decisions) as file:
        pages = json.load(file)
    for page in pages:
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": page["text"]}]
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        prompts += asked == page["prompt"]
        with torch.inference_mode():
            logits = model(torch.tensor([asked + page["tokens"]])).logits[0, len(asked) - 1 :]
        same += all(
            admitted[int(logits[position, admitted].argmax())] == page["tokens"][position]
            for position, admitted in page["decisions"]
        )
    print(json.dumps({"pages": len(pages), "same": same, "prompts": prompts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
