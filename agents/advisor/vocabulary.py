"""Words that carry a quantity's meaning, as a table: class and value of each, in the languages that are understood.

A word that stands in no table has no meaning to the grammar: a number beside it finds no place and is asked about.
Words are written as `folded` writes them: lower case, without accents.
"""

import unicodedata
from typing import NamedTuple


class Meaning(NamedTuple):
    """A word's class and its value in it."""

    kind: str
    value: str


PERIODS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_DAYS_IN_YEAR = 365.0
PER_YEAR: dict[str, float] = {
    "second": _DAYS_IN_YEAR * 86_400,
    "minute": _DAYS_IN_YEAR * 1_440,
    "hour": _DAYS_IN_YEAR * 24,
    "day": _DAYS_IN_YEAR,
    "week": _DAYS_IN_YEAR / 7,
    "month": 12.0,
    "quarter": 4.0,
    "year": 1.0,
}

_TABLE = """
period second: second seconds sec secs sekunde sekunden seconde secondes segundo segundos secondo secondi 秒
period minute: minute minutes min mins minuten minuto minutos minuti 分
period hour: hour hours hr hrs h stunde stunden heure heures hora horas ora ore 時間 小时
period day: day days tag tage tagen jour jours dia dias giorno giorni dzien dag dagen 日 天
period week: week weeks wk woche wochen semaine semaines semana semanas settimana settimane 週 周
period month: month months mo mth mnth mon monat monate monaten mois mes meses mese mesi maand 月 か月 ヶ月 个月
period quarter: quarter quarters quartal trimestre trimestres
period year: year years yr yrs jahr jahre jahren an ans annee annees ano anos anno anni jaar 年
every second: req/s rps qps
every minute: rpm
every hour: hourly stundlich
every day: daily taglich quotidien quotidienne diario diaria diariamente giornaliero 毎日 每天 每日 一日 一天
every week: weekly wochentlich hebdomadaire semanal 毎週 每周
every month: monthly monatlich mensuel mensuelle mensuels mensual mensuales mensal mensile 毎月 每月 一个月 月々 月額
every quarter: quarterly
every year: yearly annual annually jahrlich annuel annuelle anual annuale 毎年 每年 年間
per per: per pro je im am par por al a an each every jede jeder jedes jeden chaque cada ogni one / @ 每
each each: each apiece jeweils chacun chacune
token token: token tokens tok toks tokeny jetons トークン
input input: input inputs eingabe eingabetoken eingabetokens entree entrada ingresso input_tokens 入力 输入
input prompt: prompt
output output: output outputs completion completions answers reply replies response responses ausgabe ausgabetoken
output output: ausgabetokens sortie salida saida antwort antworten reponse reponses respuesta respuestas 出力 输出
output output: generated output_tokens
output back: back zuruck
side in: in
side out: out
system system: system
request request: request requests req reqs call calls query queries message messages msg msgs prompts conversation
request request: conversations chat chats pr prs review reviews ticket tickets run runs job jobs task tasks question
request request: questions document documents doc docs email emails mail mails article articles session sessions
request request: invocation invocations transaction transactions summary summaries generation
request request: generations item items record records claim claims interaction interactions report reports
request request: anfrage anfragen aufruf aufrufe nachricht nachrichten frage fragen abfragen requete requetes appel
request request: appels demande demandes mensaje mensajes peticion peticiones solicitud solicitudes consulta consultas
request request: llamada llamadas pregunta preguntas dokument dokumente requisicoes requisicao chamadas mensagens
request request: richiesta richieste messaggio messaggi chiamate リクエスト 回 件 请求 次 them denen
user user: user users dau mau customer customers student students employee employees dev devs developer developers
user user: person
user user: people member members engineer engineers seat seats license licenses licence licences client
user user: clients patient patients subscriber subscribers nutzer benutzer kunde kunden mitarbeiter entwickler
user user: utilisateur utilisateurs clients usuario usuarios cliente clientes empleados utenti utente ユーザー 人 用户
text character: character characters char chars zeichen caracteres caratteri 文字 字符
text word: word words worter wortern mots palabras palavras parole
text page: page pages seite seiten paginas pagine ページ 页
cached cached: cached cache caching zwischengespeichert
batched batched: batch batched batches batching
save save: save saves saving savings safe reduce reduces reducing reduction cut cuts cutting lower decrease down
save save: optimize optimise optimization optimizing cheaper sparen einsparen senken reduzieren reduire baisser
save save: economiser ahorrar reducir bajar economizar ridurre risparmiare 減らし 減らす 削減 节省 降低 减少 optimieren
rise rise: raise raises raised raising increase increases increased rise rises
grow grow: grow grows growth traffic volume usage
price price: price prices pricing rate rates preis preise prix precio precios preco prezzo 価格 料金 价格
pay pay: pay pays paying paid spend spends spending spent zahlen bezahlen zahle ausgeben geben depense depenses
pay pay: bill bills invoice rechnung facture factura fattura
pay pay: depensons payons gastamos pagamos gasto pago pagar spendiamo paghiamo 払 支払 花费
cost cost: cost costs costing bill bills spend spending spent pay paid expense expenses charge charges charged
cost cost: invoice kostet kosten rechnung zahlen ausgaben cout
cost cost: coute couterait couter couts depense depenses facture coste cuesta costaria costara
cost cost: costes costo costos gastos custo custa custaria costa
cost cost: 費用 コスト 成本 费用 多少钱 worth expensive cheap much
budget budget: budget budgets budgeted
compare compare: compare compared comparison vs versus vergleich vergleichen comparer comparar 比較 对比
compare compare: cheapest dearest expensive gunstiger gunstigste teurer teuerste
switch switch: switch switched switching swich move moves moving migrate migrating replace wechseln umsteigen passer
switch switch: cambiar 切り替え
total total: total totals overall altogether sum gesamt insgesamt summe somme 合計 总共 总计
share share: share shares split anteil part proportion
only only: just only nur solo seulement
when when: last this past previous letzten diesen dernier dernière pasado mes 先月 今月
and and: with mit avec con
all all: all everything entire
once once: once einmalig
audio audio: audio transcribe transcribing transcription speech
vague vague: few several some many couple lots bunch hundreds thousands millions billions dozens einige plusieurs
vague vague: varios hunderte tausende milliers miles 数
range range: between under below over above least most upto minimum maximum max zwischen bis entre until
more more: more less fewer greater higher larger smaller mehr weniger plus moins mas menos piu meno
than than: than als que che
rows rows: latency latencies latenz latence latencia p50 p90 p95 p99 percentile percentiles
turn turn: not no none never without except excluding exclude instead unless free discount discounts discounted credit
turn turn: credits refund tax taxes vat fine-tuned finetuned fine-tune finetune finetuning realtime image images vision
turn turn: video embedding embeddings embed embedded priority flex provisioned ptu ptus reserved committed commitment
turn turn: rest other others remaining peak peaks weekend weekends weekday weekdays working retry retries retried
turn turn: growing retrying failed fail fails failing don't doesn't didn't isn't won't regional residency nicht kein
turn turn: keine ohne
turn turn: ausser statt rabatt sans sauf pas sin excepto nao sem senza なし 除 ない 不 没 hidden
outside outside: gpu gpus h100 h100s a100 a100s h200 vram cuda vllm weather instructions jailbreak
is is: is are = : ist sind est sont es son takes take
fill fill: about around approximately approx roughly avg average averaging mean circa ca ungefahr etwa
fill fill: aproximadamente cerca new active model models api llm ai our the this that of de d' des du le la les los las
fill fill: el en our my your individual different single incoming
fill fill: di do da der die das den dem agent dont have has
and and: and und et y e plus & +
to to: to auf
by by: by um
x x: x × *
"""

_PRODUCTS = (
    "claude code", "cursor business", "cursor teams", "cursor pro", "cursor ultra", "cursor", "github copilot",
    "copilot business", "copilot enterprise", "copilot", "chatgpt plus", "chatgpt team", "chatgpt enterprise",
    "chatgpt business", "chatgpt pro", "chatgpt", "claude pro", "claude max", "claude team", "azure openai",
    "whisper", "windsurf", "microsoft 365", "24/7",
)  # fmt: skip
PRODUCTS = sorted((tuple(name.split()) for name in _PRODUCTS), key=len, reverse=True)

VENDOR_NAMES = {
    "openai": "openai", "anthropic": "anthropic", "claude": "anthropic", "google": "google", "gemini": "google",
    "mistral": "mistral", "xai": "x-ai", "grok": "x-ai", "deepseek": "deepseek", "cohere": "cohere",
    "moonshot": "moonshotai", "kimi": "moonshotai", "meta": "meta", "gpt": "openai",
}  # fmt: skip

# `mil` is a thousand in Spanish and a million in English notes: 0 stands for two readings.
SCALES = {
    "k": 1e3, "tsd": 1e3, "thousand": 1e3, "tausend": 1e3, "mille": 1e3, "mil": 0.0, "mila": 1e3, "тыс": 1e3,
    "m": 1e6, "mm": 1e6, "mn": 1e6, "mio": 1e6, "million": 1e6, "millionen": 1e6, "millon": 1e6,
    "millones": 1e6, "milhoes": 1e6, "milhao": 1e6, "milioni": 1e6, "млн": 1e6,
    "b": 1e9, "bn": 1e9, "mrd": 1e9, "billion": 1e9, "milliarde": 1e9, "milliarden": 1e9, "milliard": 1e9,
    "milliards": 1e9, "trillion": 1e12, "lakh": 1e5, "lakhs": 1e5, "lac": 1e5, "crore": 1e7, "crores": 1e7, "cr": 1e7,
    "百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "億": 1e8, "亿": 1e8, "hundred": 1e2, "hundert": 1e2, "dozen": 12.0,
}  # fmt: skip

_TO_TWENTY = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
)
NUMBER_WORDS = {
    "zero": 0.0,
    **{word: float(value) for value, word in enumerate(_TO_TWENTY.split(), 2)},
    "thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "seventy": 70.0, "eighty": 80.0, "ninety": 90.0,
    "zwei": 2.0, "drei": 3.0, "vier": 4.0, "funf": 5.0, "sechs": 6.0, "sieben": 7.0, "acht": 8.0, "neun": 9.0,
    "zehn": 10.0, "zwanzig": 20.0, "dreissig": 30.0, "vierzig": 40.0, "funfzig": 50.0,
    "deux": 2.0, "trois": 3.0, "quatre": 4.0, "cinq": 5.0, "dix": 10.0, "vingt": 20.0, "cinquante": 50.0,
    "dos": 2.0, "tres": 3.0, "cuatro": 4.0, "cinco": 5.0, "diez": 10.0, "veinte": 20.0, "cincuenta": 50.0,
    "anderthalb": 1.5, "eineinhalb": 1.5, "zweieinhalb": 2.5, "elf": 11.0, "zwolf": 12.0, "quinze": 15.0,
    "trente": 30.0, "quarante": 40.0, "quince": 15.0, "treinta": 30.0, "cuarenta": 40.0,
}  # fmt: skip
FACTORS = {
    "half": 0.5, "halves": 0.5, "halved": 0.5, "halve": 0.5, "third": 1 / 3, "thirds": 1 / 3,
    "double": 2.0, "doubles": 2.0, "doubled": 2.0, "doubling": 2.0, "twice": 2.0, "triple": 3.0, "triples": 3.0,
    "tripled": 3.0, "thrice": 3.0, "quadruple": 4.0, "quadruples": 4.0, "tenfold": 10.0, "twofold": 2.0,
    "verdoppelt": 2.0, "halfte": 0.5, "doppelt": 2.0, "doppelte": 2.0, "doppelten": 2.0, "dreifach": 3.0,
    "dreifache": 3.0, "halb": 0.5, "halbe": 0.5, "halben": 0.5, "doppio": 2.0, "dobro": 2.0, "metade": 0.5,
    "moitie": 0.5, "mitad": 0.5, "doble": 2.0, "半分": 0.5,
}  # fmt: skip
# One has another sense in most sentences: it is a number only before a scale.
ONES = ("one", "a", "an", "eine", "une", "un", "una", "um")

CURRENCIES = {
    "$": "USD", "us$": "USD", "usd": "USD", "dollar": "USD", "dollars": "USD", "bucks": "USD", "€": "EUR", "eur": "EUR",
    "euro": "EUR", "euros": "EUR", "£": "GBP", "gbp": "GBP", "¥": "JPY", "jpy": "JPY", "yen": "JPY", "円": "JPY",
    "元": "CNY", "cny": "CNY", "rmb": "CNY", "yuan": "CNY", "₹": "INR", "inr": "INR", "rs": "INR", "rupees": "INR",
    "rupee": "INR", "chf": "CHF", "cad": "CAD", "aud": "AUD", "sek": "SEK", "nok": "NOK", "dkk": "DKK", "pln": "PLN",
    "brl": "BRL", "r$": "BRL", "₩": "KRW", "krw": "KRW", "dolares": "USD", "dolar": "USD",
}  # fmt: skip
CENTS = ("cent", "cents", "¢", "ct")
PERCENTS = ("%", "percent", "percentage", "prozent", "pct", "porciento", "pourcent", "％")
PRODUCT_SIGNS = ("x", "×", "*")

# Words that mean one call of a model in most messages. A ticket or a session may be several.
CALLS = {
    "request", "requests", "req", "call", "query", "querie", "prompt", "message", "msg", "invocation", "completion",
    "anfrage", "anfragen", "aufruf", "aufrufe", "nachricht", "nachrichten", "frage", "fragen", "requete", "appel",
    "mensaje", "peticion", "peticione", "solicitud", "consulta", "llamada", "pregunta", "richiesta", "richieste",
    "リクエスト", "回", "件", "请求", "次", "them", "question", "generation", "requisicoe", "chamada",
}  # fmt: skip

# Words beside the name of a period: how many periods it is from today's.
RELATIVE = {
    **dict.fromkeys(("this", "current", "diesen", "diese", "dieses", "diesem", "este", "esta", "questo", "questa"), 0),
    **dict.fromkeys(("last", "previous", "letzten", "letzte", "letztes", "letztem", "vorigen", "voriges"), -1),
    **dict.fromkeys(("dernier", "derniere", "pasado", "pasada", "scorso", "scorsa", "passado", "passada"), -1),
}

SEVERAL = {"weeks", "months", "quarters", "years", "wochen", "monate", "monaten", "jahre", "jahren", "semaines"}
SEVERAL |= {"annees", "semanas", "meses", "anos", "settimane", "mesi", "anni"}

# Sizes of texts in tokens: the vendors' rule of thumb for English, four characters or three quarters of a word.
TOKENS_OF = {"character": 0.25, "word": 4 / 3, "page": 500 * 4 / 3}
CONVERSIONS = {
    "character": "4 characters a token",
    "word": "0.75 words a token",
    "page": "500 words a page, 0.75 words a token",
}


# Words of questions to a file: `metric`, `by`, `order` and words without a meaning of their own. Every other word has
# to be a name in the file.
_QUERY_TABLE = """
metric cost: cost costs spend spent spending bill pay paid price expense expenses charge money dollars kosten ausgaben
metric cost: ausgegeben kostet bezahlt cout depense depenses depensé coste costo gasto gastado gastamos custo gasto 費用
metric cost: コスト 花费 费用 成本
metric requests: requests request calls call messages queries prompts anfragen aufrufe requetes llamadas solicitudes
metric tokens: tokens token
metric input_tokens: input prompt
metric output_tokens: output completion
metric cached: cached cache caching hit hits
metric batched: batch batches batched
metric errors: error errors failed failing failures failure fail fails fehler errores erreurs
metric latency: latency latencies slow slowest speed duration fast fastest p50 p90 p95 p99 latenz latence latencia
metric latency: median
metric latency: percentile percentiles time
metric saving: save saving savings reduce cut optimize optimise optimization sparen einsparen economiser ahorrar cheaper
metric saving: lower
metric change: changed change difference rise rose increase increased grew higher compared-to dropped drop
metric trend: trend trends develop develops development history
metric forecast: forecast predict prediction projected projection expect
metric budget: budget left remaining
metric users: users active-users
by model: model models modell modelle modele modeles modelo modelos モデル 模型
by provider: provider providers vendor vendors anbieter
by team: team teams group groups equipe equipes equipo equipos
by project: project projects workspace workspaces projekt projekte
by user: user users person people who developer developers dev devs employee customer customers nutzer wer utilisateur
by user: usuario
by api_key: key keys api-key api-keys
by feature: feature features tag tags app apps application applications tool use-case usecase funktion
by environment: environment environments env
by status: status statuses outcome
by tier: tier tiers
by hour: hour hours stunde heure hora
by weekday: weekday weekdays
by day: day days daily tag tage taglich jour dia date
by week: week weeks weekly woche semaine semana
by month: month months monthly monat mois mes
order most: most top highest biggest largest expensive dearest main responsible meisten teuerste max
order least: least lowest smallest cheapest
mean mean: average avg mean durchschnitt moyenne promedio
plain plain: what did we in total and by how much was our i do does is are the of on for to with a an please show me
plain plain: give tell which where can could per each my us you it that this all or every everything there have has had
plain plain: overall sum number count amount usage use used data file report overview summary summarise summarize
plain plain: analyse analyze analysis breakdown break down split share shares get be been at from come came went go so
plain plain: far any via only list table chart plot many figures figure up out llm ai api sort sorted rank ranked
plain plain: compare
plain plain: compared versus vs between one than over their its responsible insgesamt gesamt was wie viel haben wir pro
plain plain: nach war total-cost der die das und je welche welches zeige combien quel quelle par avons nous le la les de
by sku: sku skus service services
by provider: cloud
plain plain: jobs job one day make made send sent why went run ran
plain plain: rate 按 的 每 各
plain plain: cuanto que por en el hemos overall were whats what's percentage percent part spends model's account
"""


def _query_words() -> dict[str, list[Meaning]]:
    found: dict[str, list[Meaning]] = {}
    for line in _QUERY_TABLE.strip().splitlines():
        head, _, row = line.partition(": ")
        kind, _, value = head.partition(" ")
        for word in row.split():
            found.setdefault(folded(word), []).append(Meaning(kind, value))
    return found


def folded(text: str) -> str:
    """Return the text in lower case without the accents of Latin letters."""
    marks = unicodedata.normalize("NFD", text.casefold())
    bare = "".join(mark for mark in marks if not "\u0300" <= mark <= "\u036f")
    return unicodedata.normalize("NFC", bare)


def _meanings() -> dict[str, list[Meaning]]:
    found: dict[str, list[Meaning]] = {}
    for line in _TABLE.strip().splitlines():
        head, _, words = line.partition(": ")
        kind, _, value = head.partition(" ")
        for word in words.split():
            found.setdefault(folded(word), []).append(Meaning(kind, value))
    return found


MEANINGS = _meanings()
QUERY = _query_words()
# Words of the latency where no other figure is named.
WEAK = {"median", "time", "p50", "p90", "p95", "p99", "percentile", "percentiles"}
# Words of a question about what is not so: the same usage on another model.
SUPPOSED = {"would", "same", "if", "instead", "switched", "switch", "moved", "move", "ran", "run", "running", "were"}
_MONTH_NAMES = (
    "january february march april may june july august september october november december",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "januar februar marz april mai juni juli august september oktober november dezember",
)
MONTHS = {name: number for names in _MONTH_NAMES for number, name in enumerate(names.split(), 1)}
IDEOGRAPHIC = sorted(
    (word for word in {*MEANINGS, *SCALES, *CURRENCIES, *FACTORS, *QUERY} if ord(word[0]) > 0x2E7F),
    key=len,
    reverse=True,
)


def meaning(word: str, kind: str) -> str | None:
    """Return the word's value in a class; None if it is not of that class."""
    return next((one.value for one in MEANINGS.get(word, ()) if one.kind == kind), None)
