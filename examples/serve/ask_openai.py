#!/usr/bin/env python3
"""ask_openai.py: a server by the `openai` package (pip install openai).

    tessera serve --model examples/models/shakespeare &
    examples/serve/ask_openai.py [http://127.0.0.1:8080/v1]

A chat needs a model with a chat template, or `tessera serve --chat-template FILE`.
"""
import os
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1",
                       api_key=os.environ.get("KEY", "none"))
model = client.models.list().data[0].id

whole = client.completions.create(model=model, prompt="ROMEO:", max_tokens=40, temperature=0)
print(whole.choices[0].text, whole.usage, sep="\n")

for piece in client.completions.create(model=model, prompt="JULIET:", max_tokens=40, seed=1, stream=True):
    print(piece.choices[0].text, end="", flush=True)
print()

try:
    with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": "Who is there?"}],
                                        max_tokens=60) as stream:
        for event in stream:
            if event.type == "content.delta":
                print(event.delta, end="", flush=True)
    print()
except openai.BadRequestError as error:
    print(error.body["message"])
