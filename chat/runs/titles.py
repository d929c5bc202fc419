"""A thread's first title, from its first message. PURE: standard library only."""

import re
from unicodedata import category

LENGTH = 60  # characters

_LOOKED_AT = 1000  # characters of a message
_GREETING = (
    r"(?:hi|hello|hey|hiya|greetings|good (?:morning|afternoon|evening|day)|hallo|guten (?:tag|morgen|abend)|bonjour"
    r"|hola|ciao)(?: (?:all|assistant|everybody|everyone|folks|guys|netra|team|there))?\b"
)
# What opens a message without saying what it is about.
_OPENING = re.compile(
    "|".join(
        (
            _GREETING,
            r"(?:so|ok(?:ay)?|well|now|thanks|thank you|sorry|excuse me)(?=[,.!:;–—-]|$)",
            r"(?:i have a|a|one|quick) question(?=[,.!:;–—-]|$)",
            r"(?:so|ok|okay)(?= (?:can|could|would|i|please)\b)",
            r"(?:please|pls|kindly|just)\b",
            r"(?:can|could|would|will) you(?: please| kindly)?(?= (?!be\b)\w)",
            r"(?:i(?: woul|['’])d (?:like|love)|i want|i need)(?: you)? to(?: know| understand)?\b",
            r"i(?: was|['’]m| am) (?:just )?wondering(?: if| whether)?(?: you (?:can|could))?\b",
            r"help me(?: to| with| understand)?(?= \w)",
            r"(?:tell|show) me(?: about)?(?= (?:how|what|why|which|who|when|where|if|the|my|our)\b)",
        )
    ),
    re.IGNORECASE,
)
_ASKS = re.compile(r"(?:can|could|would|will) you\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\betc\.)\s+|(?<=[。！？])")
_DANGLING = re.compile(
    r"(?:\s+(?:a|an|and|as|at|but|by|for|from|in|into|is|of|on|or|our|my|that|the|their|to|what|with|your))+$",
    re.IGNORECASE,
)
_ENDS = " ,.;:–—-"
_JOINER = "\u200d"
_JOINED = frozenset({_JOINER, "\u200c", *map(chr, range(0x1F3FB, 0x1F400))})  # with the shades of skin


def title_of(message: str) -> str:
    """Return a title of the message: one line of at most LENGTH characters, truncated at a word.

    It is the first sentence with content, without greeting and politeness; a greeting alone is its own title.
    """
    text = _plain(message[:_LOOKED_AT])
    for sentence in _SENTENCE.split(text):
        about = _about(sentence)
        if re.search(r"\w", about):
            return shortened(_capital(about))
    return shortened(_capital(text) or message)


def shortened(text: str) -> str:
    """Return the text in one line of at most LENGTH characters, truncated at a word."""
    text = " ".join(text.split())
    if len(text) <= LENGTH:
        return text.rstrip(_ENDS) or text
    kept = text[:LENGTH].rpartition(" ")[0]
    if len(kept) < LENGTH // 2:  # a long address, or a language without spaces
        kept = _cut(text, LENGTH - 1)
    return _DANGLING.sub("", kept.rstrip(_ENDS)).rstrip(_ENDS) + "…"


def _cut(text: str, length: int) -> str:
    """Return the beginning of a longer text, not cut within a letter or an emoji of several code points."""
    end = length
    while end > length // 2 and (text[end - 1] == _JOINER or text[end] in _JOINED or category(text[end])[0] == "M"):
        end -= 1
    return text[:end]


def _plain(text: str) -> str:
    """Return one line without Markdown marks, and without code if there is text beside it; a line is a sentence."""
    prose = re.sub(r"```.*?(?:```|\Z)", "\n", text, flags=re.DOTALL)
    lines = (prose if prose.strip() else re.sub(r"```\w*", "", text)).splitlines()
    plain = [re.sub(r"^[\s>#*•-]+(?=\s)|\*\*|`+", "", line).strip() for line in lines]
    return " ".join(line if re.search(r"[.!?,;:。！？]$", line) else f"{line}." for line in plain if line)


def _about(sentence: str) -> str:
    """Return the sentence without its opening; "" if it has nothing else."""
    rest, asks = sentence.strip(" ,.:;"), False
    while found := _OPENING.match(rest):
        asks = asks or bool(_ASKS.match(rest))
        rest = rest[found.end() :].lstrip(" ,.!?:;–—-")
    # "Can you …?" asks for a deed: what is left is no question.
    return rest.rstrip("?") if asks else rest


def _capital(text: str) -> str:
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if re.fullmatch(r"[^\W\d_]['’\w]*[,.:;!?]*", first) and first.islower() else text
