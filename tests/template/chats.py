"""chats.py: conversations, and the chat templates of chats/, for make_cases.py.

Each template writes the format that a family was trained on, with the means that templates of that family use; the texts
are our own, but for smollm2.jinja, which is that model's.
"""
import pathlib

_TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather at a \"place\".", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "Which <city>?"},
                                     "days": {"type": "integer", "enum": [1, 2]}}, "required": ["city"]}}}
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
_USER = {"role": "user", "content": "What is 2 + 2?  "}
_SYSTEM = {"role": "system", "content": " Answer in one word.\n"}
_ASSISTANT = {"role": "assistant", "content": "\nFour, of course: 4 < 5 & \"so\" on."}
_CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}}]}
_RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "{\"sky\": \"grey\"}"}


def _chat(messages, prompt=True, tools=None, **more):
    return {"messages": messages, "add_generation_prompt": prompt, "tools": tools, "documents": None, **_TOKENS, **more}


CONVERSATIONS = {
    "user": _chat([_USER]),
    "system": _chat([_SYSTEM, _USER]),
    "turns": _chat([_SYSTEM, _USER, _ASSISTANT, {"role": "user", "content": "日本語で 😀\n\nÜber <|im_end|>?"}]),
    "no_prompt": _chat([_USER, _ASSISTANT], False),
    "two_users": _chat([_USER, _USER]),
    "starts_with_assistant": _chat([_ASSISTANT, _USER]),
    "none": _chat([]),
    "tools": _chat([_SYSTEM, _USER, _CALL, _RESULT], True, [_TOOL]),
    "parts": _chat([{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"},
                                                  {"type": "text", "text": "what?"}]}]),
    "unknown_role": _chat([{"role": "judge", "content": "Hm."}]),
    "thinking": _chat([_USER, {"role": "assistant", "content": "<think>\n2+2\n</think>\n\n4"}, _USER], True,
                      enable_thinking=False),
}

TEMPLATES = {path.stem: path.read_bytes().decode() for path in sorted(pathlib.Path(__file__).parent.glob("chats/*.jinja"))}
