"""Keys as Playwright names them, turned into the DevTools protocol's key events (US layout)."""

from dataclasses import dataclass, replace
from typing import Any

MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}  # Input.dispatchKeyEvent's bits


@dataclass(frozen=True, slots=True)
class Key:
    """One key stroke: `key` and `code` as in KeyboardEvent, `text` what it types ("" for none)."""

    key: str
    code: str
    number: int  # Windows virtual key code
    text: str = ""
    location: int = 0


def _letters() -> dict[str, Key]:
    keys = {}
    for letter in "abcdefghijklmnopqrstuvwxyz":
        code, number = f"Key{letter.upper()}", ord(letter.upper())
        keys[letter] = keys[code] = Key(letter, code, number, letter)
        keys[letter.upper()] = Key(letter.upper(), code, number, letter.upper())
    return keys


def _symbols() -> dict[str, Key]:
    keys = {}
    digits = [
        (f"Digit{digit}", ord(digit), digit, shifted) for digit, shifted in zip("1234567890", "!@#$%^&*()", strict=True)
    ]
    punctuation = [
        ("Backquote", 192, "`", "~"),
        ("Minus", 189, "-", "_"),
        ("Equal", 187, "=", "+"),
        ("BracketLeft", 219, "[", "{"),
        ("BracketRight", 221, "]", "}"),
        ("Backslash", 220, "\\", "|"),
        ("Semicolon", 186, ";", ":"),
        ("Quote", 222, "'", '"'),
        ("Comma", 188, ",", "<"),
        ("Period", 190, ".", ">"),
        ("Slash", 191, "/", "?"),
    ]
    for code, number, plain, shifted in digits + punctuation:
        keys[plain] = keys[code] = Key(plain, code, number, plain)
        keys[shifted] = Key(shifted, code, number, shifted)
    return keys


def _named() -> dict[str, Key]:
    keys = {
        name: Key(name, name, number)
        for name, number in {
            "Escape": 27, "Backspace": 8, "Tab": 9, "CapsLock": 20, "Delete": 46, "Insert": 45, "Home": 36,
            "End": 35, "PageUp": 33, "PageDown": 34, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
            "ArrowDown": 40, "ContextMenu": 93, "Pause": 19, "PrintScreen": 44, "ScrollLock": 145,
            "NumLock": 144,
        }.items()
    }  # fmt: skip
    keys |= {f"F{index}": Key(f"F{index}", f"F{index}", 111 + index) for index in range(1, 13)}
    keys["Enter"] = keys["\n"] = keys["\r"] = Key("Enter", "Enter", 13, "\r")
    keys["NumpadEnter"] = Key("Enter", "NumpadEnter", 13, "\r", 3)
    keys["Space"] = keys[" "] = Key(" ", "Space", 32, " ")
    for name, number in {"Shift": 16, "Control": 17, "Alt": 18, "Meta": 91}.items():
        keys[name] = keys[f"{name}Left"] = Key(name, f"{name}Left", number, location=1)
        keys[f"{name}Right"] = Key(name, f"{name}Right", number, location=2)
    keys["ControlOrMeta"] = keys["Control"]
    return keys


KEYS: dict[str, Key] = _letters() | _symbols() | _named()
_BY_CODE: dict[str, list[Key]] = {}
for _key in KEYS.values():
    _BY_CODE.setdefault(_key.code, []).append(_key)


class UnknownKey(Exception):
    """There is no key of that name."""


def chord(combination: str) -> list[dict[str, Any]]:
    """Input.dispatchKeyEvent's parameters for pressing and releasing e.g. `Enter`, `a`, `Control+Shift+t`."""
    names = _split(combination)
    events, held = [], 0
    for name in names[:-1]:
        key = _key_named(name)
        held |= MODIFIERS.get(key.key, 0)
        events.append(_event("rawKeyDown", key, held))
    last = _key_named(names[-1])
    if held & MODIFIERS["Shift"]:
        last = _shifted(last)
    if held & ~MODIFIERS["Shift"]:
        last = replace(last, text="")
    events.append(_event("keyDown" if last.text else "rawKeyDown", last, held | MODIFIERS.get(last.key, 0)))
    events.append(_event("keyUp", last, held))
    for name in reversed(names[:-1]):
        key = _key_named(name)
        held &= ~MODIFIERS.get(key.key, 0)
        events.append(_event("keyUp", key, held))
    return events


def modifier_mask(names: list[str]) -> int:
    mask = 0
    for name in names:
        mask |= MODIFIERS["Control" if name == "ControlOrMeta" else name]
    return mask


def _split(combination: str) -> list[str]:
    if combination.endswith("++") or combination == "+":
        return [part for part in combination[:-1].split("+") if part] + ["+"]
    return combination.split("+")


def _key_named(name: str) -> Key:
    try:
        return KEYS[name]
    except KeyError:
        raise UnknownKey(f'Unknown key: "{name[:40]}"') from None


def _shifted(key: Key) -> Key:
    return next((other for other in _BY_CODE[key.code] if other.text and other.text != key.text), key)


def _event(kind: str, key: Key, modifiers: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "type": kind,
        "modifiers": modifiers,
        "windowsVirtualKeyCode": key.number,
        "code": key.code,
        "key": key.key,
        "location": key.location,
    }
    if kind == "keyDown":
        event |= {"text": key.text, "unmodifiedText": key.text}
    return event
