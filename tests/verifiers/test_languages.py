"""The language of a text, for the 30 that IFEval asks for."""

import pytest

from mixdistill.verifiers.languages import LANGUAGES, language

SAID = {
    "en": "The river is wide, and it was not easy to cross with the old boat that we had.",
    "de": "Der Fluss ist breit, und es war nicht leicht, ihn mit dem alten Boot zu überqueren.",
    "fr": "La rivière est large et il n'était pas facile de la traverser avec le vieux bateau que nous avions.",
    "es": "El río es ancho y no fue fácil cruzarlo con la vieja barca que teníamos para los viajes.",
    "pt": "O rio é largo e não foi fácil atravessá-lo com o velho barco que tínhamos para as viagens.",
    "it": "Il fiume è largo e non era facile attraversarlo con la vecchia barca che avevamo per i viaggi.",
    "pl": "Rzeka jest szeroka i nie było łatwo przepłynąć przez nią starą łodzią, którą mieliśmy.",
    "fi": "Joki on leveä, eikä se ollut helppo ylittää vanhalla veneellä, joka meillä oli.",
    "sw": "Mto huu ni mpana na haikuwa rahisi kuuvuka kwa mashua ya zamani ambayo tulikuwa nayo.",
    "vi": "Con sông rất rộng và không dễ để vượt qua bằng chiếc thuyền cũ mà chúng tôi đã có.",
    "ru": "Река широкая, и было нелегко переплыть её на старой лодке, которая у нас была.",
    "uk": "Річка широка, і було нелегко переплисти її на старому човні, який ми мали.",
    "bg": "Реката е широка и не беше лесно да се премине със старата лодка, която имахме за това.",
    "ar": "النهر واسع ولم يكن من السهل عبوره في القارب القديم الذي كان معنا في هذا اليوم.",
    "fa": "رودخانه پهن است و گذشتن از آن با قایق کهنه‌ای که داشتیم آسان نبود و این را همه می‌دانستند.",
    "ur": "دریا چوڑا ہے اور اسے پرانی کشتی سے پار کرنا آسان نہیں تھا جو ہمارے پاس تھی۔",
    "hi": "नदी चौड़ी है और पुरानी नाव से उसे पार करना आसान नहीं था जो हमारे पास थी।",
    "mr": "नदी रुंद आहे आणि जुन्या नावेतून ती ओलांडणे सोपे नव्हते असे ते म्हणाले.",
    "ne": "नदी फराकिलो छ र पुरानो डुङ्गाले यसलाई पार गर्न सजिलो थिएन भन्ने कुरा हो।",
    "bn": "নদীটি চওড়া এবং পুরানো নৌকায় পার হওয়া সহজ ছিল না।",
    "pa": "ਨਦੀ ਚੌੜੀ ਹੈ ਅਤੇ ਪੁਰਾਣੀ ਕਿਸ਼ਤੀ ਨਾਲ ਪਾਰ ਕਰਨਾ ਸੌਖਾ ਨਹੀਂ ਸੀ।",
    "gu": "નદી પહોળી છે અને જૂની હોડીથી પાર કરવી સહેલી ન હતી.",
    "ta": "ஆறு அகலமானது, பழைய படகில் கடப்பது எளிதாக இல்லை.",
    "te": "నది వెడల్పుగా ఉంది మరియు పాత పడవతో దాటడం సులభం కాదు.",
    "kn": "ನದಿ ಅಗಲವಾಗಿದೆ ಮತ್ತು ಹಳೆಯ ದೋಣಿಯಲ್ಲಿ ದಾಟುವುದು ಸುಲಭವಾಗಿರಲಿಲ್ಲ.",
    "ml": "നദി വീതിയുള്ളതാണ്, പഴയ വള്ളത്തിൽ കടക്കാൻ എളുപ്പമായിരുന്നില്ല.",
    "th": "แม่น้ำกว้างและไม่ง่ายที่จะข้ามด้วยเรือเก่าที่เรามี",
    "ko": "강은 넓고 우리가 가진 낡은 배로 건너기는 쉽지 않았다.",
    "ja": "川は広く、私たちの古い舟で渡るのは簡単ではなかった。",
    "he": "הנהר רחב ולא היה קל לחצות אותו בסירה הישנה שהייתה לנו.",
}


@pytest.mark.parametrize("code", sorted(SAID))
def test_a_sentence_is_told(code):
    assert language(SAID[code]) == code


def test_every_language_that_is_known_was_tried():
    assert tuple(sorted(SAID)) == LANGUAGES
    assert len(LANGUAGES) == 30


@pytest.mark.parametrize("text", ["", "42 + 7 = 49", "河水很宽", "Xyzzy plugh."])
def test_what_cannot_be_told_is_none(text):
    assert language(text) is None


def test_case_does_not_matter_and_a_quoted_word_does_not_turn_it():
    assert language(SAID["en"].upper()) == "en"
    assert language(f"{SAID['en']} They call it «река» there, and it is not the only one.") == "en"
