"""Which language a text is in, by its script and, where several languages share one, by letters and common words.

For the 30 languages that IFEval asks for, by their ISO 639-1 codes. No model and no download: a text of a sentence or
more is told reliably, a few words may not be. `None` is "cannot be told", which is not "another language".
"""

from __future__ import annotations

import re
from collections import Counter

SCRIPTS = {
    "latin": "A-Za-zÀ-ÖØ-öø-ɏẠ-ỹ", "cyrillic": "Ѐ-ӿ", "arabic": "\u0600-\u06ff\u0750-\u077f", "devanagari": "ऀ-ॿ",
    "he": "֐-׿", "bn": "ঀ-৿", "pa": "਀-੿", "gu": "઀-૿", "ta": "஀-௿", "te": "ఀ-౿", "kn": "ಀ-೿", "ml": "ഀ-ൿ",
    "th": "฀-๿", "ko": "가-힯ᄀ-ᇿ", "kana": "぀-ヿ", "han": "㐀-鿿",
}  # fmt: skip
"""Script -> its characters. A script of one language is called by that one's code."""
_SCRIPTS = {name: re.compile(f"[{chars}]") for name, chars in SCRIPTS.items()}
_LETTERS = re.compile(r"[^\W\d_]+")
_MARKS = {
    "ur": "ٹڈڑںےھ", "fa": "پچژگ", "uk": "іїєґ", "ru": "ыэё",
    "pl": "ąćęłńśźż", "de": "üß", "es": "ñ¿¡", "pt": "ãõ", "fr": "œêîû",
    "vi": "ơưđăạảấầẩậắằẵặẹẻẽếềểệỉịọỏốồổộớờởợụủứừửữựỳỵỷỹ",
}  # fmt: skip
"""Language -> letters that it has and the others of its script, as far as they are told apart here, have not."""
_WORDS = {
    "latin": {
        "en": "the of and to is in that it for was with as on be are this you not have by from at or which a",
        "de": "der die das und ist nicht ein eine zu den mit sich auf für von dem des im auch es wir ich sie",
        "fr": "le la les des et est un une pas que dans pour qui sur avec ce il elle nous vous du au je",
        "es": "el la los las y es un una no que en para con por se del su lo como más al está yo",
        "pt": "o a os as e é um uma não que em para com por se do da no na mais como ao você eu",
        "it": "il la i gli le e è un una non che di per con si del della nel sono più come al questo",
        "pl": "i w nie na to się że z jest do jak o ale po co tak za od czy dla przez jego być",
        "fi": "ja on ei se että hän oli mutta ovat kun niin myös tai jos mitä olla minä sinä joka ole tämä",
        "sw": "na ya wa kwa ni katika la za kuwa hii yake hiyo cha kama au pia sana lakini hili wao vya ili",
        "vi": "và là của có không cho được một trong với những các này đã để người khi từ đó",
    },
    "cyrillic": {
        "ru": "и в не на что с он это как но по из за то все так его от было для мы они она же",
        "uk": "і в не на що з він це як але по із за та все так його від було для ми вони вона є",
        "bg": "и в не на че с той това как но по от за са е се да ще към бъде които много при като",
    },
    "arabic": {
        "ar": "في من على إلى أن هذا هذه التي الذي ما لا كان عن مع هو هي كل أو لم",
        "fa": "و در به از که این را با است برای آن یک خود تا کرد بر هم نیز می شود",
        "ur": "کے میں کی ہے اور سے کا کو پر نے یہ ہیں کہ نہیں اس بھی ایک تھا وہ",
    },
    "devanagari": {
        "hi": "के में है की और से का को पर यह हैं कि नहीं एक भी ने हो लिए जो था",
        "mr": "आहे आणि या च्या मध्ये आहेत हे ते तो नाही एक असे होते साठी पण केले त्या म्हणून",
        "ne": "छ र को मा का हो यो छन् पनि लागि गर्न भएको एक हुन्छ थियो तथा गरेको हरू",
    },
}
"""Script -> language -> words that most sentences of it have some of."""
_COMMON = {script: {code: set(words.split()) for code, words in by.items()} for script, by in _WORDS.items()}
LANGUAGES = tuple(sorted({"he", "bn", "pa", "gu", "ta", "te", "kn", "ml", "th", "ko", "ja"}
                         | {code for by in _WORDS.values() for code in by}))  # fmt: skip
MARKED = 3
"""What a letter of a language's own weighs, in common words."""


def language(text: str) -> str | None:
    """Code of the language that most of a text is in; None where that cannot be told."""
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    script = max(counts, key=lambda name: counts[name])
    if not counts[script]:
        return None
    if counts["kana"] and script in ("kana", "han"):
        return "ja"
    if script not in _COMMON:
        return None if script in ("han", "kana") else script
    found = _by_words(text.lower(), script)
    if len(found) > 1 and found[0][1] == found[1][1]:
        return None
    return found[0][0] if found else None


def _by_words(text: str, script: str) -> list[tuple[str, int]]:
    """(language, how much speaks for it), the most first; none that nothing speaks for."""
    votes: Counter[str] = Counter()
    # Combining vowels are no letters: in Devanagari and Arabic, words are what stands between blanks.
    words = _LETTERS.findall(text) if script in ("latin", "cyrillic") else re.split(r"[\s،۔।.,!?؟:;\"'()]+", text)
    for word in words:
        votes.update(code for code, common in _COMMON[script].items() if word in common)
    for code in _COMMON[script]:
        votes[code] += MARKED * sum(text.count(mark) for mark in _MARKS.get(code, ""))
    return [(code, n) for code, n in votes.most_common() if n]
