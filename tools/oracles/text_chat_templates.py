"""Makes tests/golden/text/chat_templates.json: what transformers renders from chat templates.

Generator: transformers' own Jinja environment (render_jinja_template).  Made with transformers 5.23,
jinja2 3.1.6.  No randomness; the clock is fixed at 1700000000 (UTC).

Templates are written here from the facts of each model family's format.  Two published ones are
read from the shared data folder instead, by the test as well (cases with "template_from").

    python tools/oracles/text_chat_templates.py [SHARED_FOLDER]
"""

import datetime
import json
import pathlib
import sys

import transformers.utils.chat_template_utils as chat

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".." / "shared")
NOW = 1700000000

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}
{% else %}
{% set rest = messages %}{% set system = false %}
{% endif %}
{%- for m in rest -%}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('user and assistant must take turns') -}}
{%- endif -%}
{%- if loop.index0 == 0 and system != false -%}
{%- set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] -%}
{%- else -%}
{%- set text = m['content'] -%}
{%- endif -%}
{%- if m['role'] == 'user' -%}
{{- bos_token + '[INST] ' + text.strip() + ' [/INST]' -}}
{%- elif m['role'] == 'assistant' -%}
{{- ' ' + text.strip() + ' ' + eos_token -}}
{%- endif -%}
{%- endfor -%}"""
LLAMA3 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {{- "You have these functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system }}
{{- "<|eot_id|>" }}
{%- for m in messages %}
    {%- if not (m.role == 'ipython' or m.role == 'tool' or 'tool_calls' in m) %}
        {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'+ m['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in m %}
        {%- if not m.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time, please") }}
        {%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif m.role == "tool" or m.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if m.content is mapping or m.content is iterable %}
            {{- m.content | tojson }}
        {%- else %}
            {{- m.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set users = turns | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for m in turns %}
    {%- if not (m.role == "tool" or m.role == "tool_results" or (m.tool_calls is defined and m.tool_calls is not none)) %}
        {%- if (m["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("turns must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for m in turns %}
    {%- if m["role"] == "user" %}
        {%- if tools is not none and (m == users[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system is defined %}
            {{- "[INST] " + system + "\\n\\n" + m["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + m["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif m["role"] == "assistant" %}
        {{- " " + m["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("role " ~ m["role"] ~ " at " ~ loop.index0) }}
    {%- endif %}
{%- endfor %}
"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}"
    "{% if (m['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for m in turns -%}
    {%- set role = "model" if m['role'] == 'assistant' else m['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else "") }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for item in m['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("bad content") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""
PHI3 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{'<|system|>\n' + m['content'] + '<|end|>\n'}}"
    "{% elif m['role'] == 'user' %}{{'<|user|>\n' + m['content'] + '<|end|>\n'}}"
    "{% elif m['role'] == 'assistant' %}{{'<|assistant|>\n' + m['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = """{% for m in messages %}
{% if m['role'] == 'user' %}
{{ '<|user|>
' + m['content'] + eos_token }}
{% elif m['role'] == 'system' %}
{{ '<|system|>
' + m['content'] + eos_token }}
{% elif m['role'] == 'assistant' %}
{{ '<|assistant|>
'  + m['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather at a place, in °C <now> & 'later'",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "noop", "description": "Nothing", "parameters": {}}},
]
U = {"role": "user", "content": "What is 2+2?"}
A = {"role": "assistant", "content": " It is 4. \n"}
S = {"role": "system", "content": "Be brief.\n"}
U2 = {"role": "user", "content": "Řekni to česky: «čtyři» 🙂\n\nand <b>again</b>"}
THINK = {"role": "assistant", "content": "<think>\nhm, 2+2\n</think>\n\nFour."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"place": "Brno", "days": 2.0}}}],
}
CALL_TEXT = {
    "role": "assistant",
    "content": "Let me see.",
    "tool_calls": [
        {"function": {"name": "get_weather", "arguments": '{"place": "Brno"}'}},
        {"function": {"name": "noop", "arguments": {}}},
    ],
}
ANSWER = {"role": "tool", "content": "21 °C", "name": "get_weather"}
PARTS = {"role": "user", "content": [{"type": "text", "text": " Look: "}, {"type": "image"}, {"type": "text", "text": "nice"}]}
TALKS = [[U], [S, U], [U, A, U2], [S, U, A, U2], [U, A, U2, THINK], [S, U, THINK, U2]]
TOOL_TALKS = [[U, CALL, ANSWER], [S, U2, CALL, ANSWER, ANSWER, A, U], [U, CALL_TEXT, ANSWER, ANSWER]]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

# One feature each; rendered with `x` and friends below as variables.
SNIPPETS = r"""
{{ x }} {{ y.z }} {{ y['z'] }} {{ y.missing }}|{{ missing }}|
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 1.5 * 2 }} {{ 1e3 }} {{ 10 % 3 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }} {{ "a" "b" 'c' }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }}
{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' in 'abc' }} {{ 2 not in [1, 3] }} {{ 'z' in y }} {{ not x }} {{ none is none }}
{{ x if x else 'no' }} {{ 'yes' if none }}| {{ (1, 2) }} {{ [1, 'a', none, true, 1.5, {'k': 'v'}] }} {{ {'a': [1]} }}
{{ nums[0] }} {{ nums[-1] }} {{ nums[1:3] }} {{ nums[::-1] }} {{ nums[::2] }} {{ nums[-2:] }} {{ 'žluť'[1:3] }} {{ 'žluť'[-1] }} {{ nums[10] }}|{{ 'abc'[::-1] }}
{{ x | upper }} {{ x|lower|title }} {{ '  a b '|trim }}| {{ x | length }} {{ 'žluť' | length }} {{ nums | join(', ') }} {{ nums|first }} {{ nums|last }}
{{ missing | default('d') }} {{ '' | default('d') }}| {{ '' | default('d', true) }} {{ none | default('d', boolean=True) }} {{ none | d('q') }}
{{ 'aXbXc' | replace('X', '-') }} {{ 'aXbXc' | replace('X', '-', 1) }} {{ 'aXbXc'.replace('X', '') }}
{{ people | selectattr('age', '>', 30) | map(attribute='name') | join(' ') }} {{ people | rejectattr('age') | list }} {{ people | map(attribute='address.city', default='?') | list }}
{{ nums | select('even') | list }} {{ nums | reject('odd') | list }} {{ nums | map('string') | list }} {{ ['a', 'b'] | map('upper') | join }}
{{ y | tojson }} {{ people | tojson(indent=2) }} {{ 'é"\\<&>\n' | tojson }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': [1, 2.0, none, false]} | tojson(sort_keys=true) }} {{ [] | tojson(indent=2) }}
{{ y | items | list }} {{ y.items() | list }} {{ y.keys() | list }} {{ y.values() | list }} {{ y.get('z') }} {{ y.get('q') }} {{ y.get('q', 5) }}
{{ '3' | int + 1 }} {{ 'q' | int }} {{ 'q' | int(7) }} {{ '3.9' | int }} {{ '2.5' | float }} {{ 3 | float }} {{ 3.7 | int }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ -3 | abs }}
{{ 'a\nb\n\nc' | indent }} {{ 'a\nb' | indent(2, true) }} {{ 'a\n\nb' | indent(width=3, blank=true) }}
{{ '<a href="x">' | e }} {{ '<b>' | safe }} {{ 5 | string + '!' }} {{ 'abc' | list }} {{ 'hello wORLD' | capitalize }} {{ nums | sum }} {{ nums | max }} {{ nums | min }}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ nums | sort(reverse=true) }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ [1, 2, 1] | unique | list }} {{ nums | reverse | list }} {{ 'abc' | reverse }} {{ {'b': 2, 'a': 1} | dictsort }}
{{ ' ab '.strip() }}|{{ 'xxabxx'.strip('x') }}|{{ ' a'.lstrip() }}|{{ 'a '.rstrip() }}|{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a</think>b'.split('</think>')[-1] }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('q') }} {{ 'aba'.count('a') }} {{ '-'.join(['a', 'b']) }} {{ 'Ab'.upper() }} {{ 'Ab'.lower() }} {{ 'a b'.title() }} {{ 'ab'.capitalize() }} {{ '12'.isdigit() }} {{ 'a\nb'.splitlines() }}
{{ x is defined }} {{ missing is defined }} {{ missing is undefined }} {{ x is string }} {{ 1 is number }} {{ true is number }} {{ y is mapping }} {{ nums is sequence }} {{ nums is iterable }} {{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ true is true }} {{ 1 is true }} {{ none is not none }} {{ 'a' is in 'abc' }} {{ 3 is eq 3 }} {{ true is boolean }} {{ 1 is integer }} {{ 1.0 is float }} {{ x is not string }} {{ 1 is sameas 1 }} {{ 'A' is upper }} {{ 'a' is lower }}
{% for n in nums %}{{ loop.index }}/{{ loop.length }}:{{ n }}{{ ',' if not loop.last }}{{ loop.first }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }} {% else %}none{% endfor %}
{% for n in [] %}x{% else %}empty{% endfor %} {% for n in nums if n > 1 %}{{ n }}{{ loop.index }}{% endfor %} {% for a, b in [[1, 2], [3, 4]] %}{{ a }}-{{ b }} {% endfor %} {% for k, v in y.items() %}{{ k }}={{ v }};{% endfor %}{% for k in y %}{{ k }}{% endfor %}{% for c in 'žlu' %}{{ c }}.{% endfor %}
{% for n in nums %}{% if n == 2 %}{% continue %}{% endif %}{% if n == 4 %}{% break %}{% endif %}{{ n }}{% endfor %}
{% for a in [1, 2] %}{% for b in [1, 2] %}{{ loop.depth }}{{ a * b }}{{ loop.cycle('x', 'y') }} {% endfor %}{% if loop.changed(a) %}c{% endif %}{% endfor %}
{% set q = 1 %}{% for n in nums %}{% set q = n %}{% endfor %}{{ q }} {% set ns = namespace(v=0, w='a') %}{% for n in nums %}{% set ns.v = ns.v + n %}{% endfor %}{{ ns.v }}{{ ns.w }} {% if true %}{% set r = 5 %}{% endif %}{{ r }} {% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set block %}some {{ x }} text{% endset %}{{ block | upper }} {% set t | upper %}abc{% endset %}{{ t }} {% filter upper | replace('B', '-') %}abc{{ x }}{% endfilter %} {% with p = 1, q = 2 %}{{ p + q }}{% endwith %}
{% macro hi(name, greeting='Hello', n=1) %}{{ greeting }}, {{ name }}{{ '!' * n }}{% endmacro %}{{ hi('A') }} {{ hi('B', 'Hi') }} {{ hi('C', n=3) }} {{ hi(greeting='Yo', name='D') }}
{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}
a {# comment #} b {#- tight -#} c {{- ' d ' -}} e {% if true -%} f {%- endif %} g
  {% if true %}
  line
  {% endif %}
    {# alone #}
last {% raw %}{{ not }} {% this %}{% endraw %} {%+ if true %} x {% endif +%}
{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ dict(a=1, b='x') }} {{ strftime_now('%d %B %Y %H:%M') }} {% for i in range(2) %}{{ i }}{% endfor %}
{{ "tab\t nl\n quote\" \u00e9 \x41 \\ \101" }} {{ 'it''s' }} {{ "a" if 'b' == "b" }} {{ ({'a': {'b': [1, {'c': 5}]}}).a.b[1].c }} {{ y . z }} {{ (nums|length) - 1 }} {{ nums|length - 1 }}
{{ true and 'a' or 'b' }} {{ '' or 'x' }} {{ 0 and 1 }} {{ not (x and y) }} {{ 1 if 2 > 1 else 3 if 1 else 4 }} {{ 1 != 2 and not 3 == 4 }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1.0} }} {{ 'a' < 'b' }}
{{ -x|length }}
{{ (1,) }} {{ (1, 2) == [1, 2] }} {{ (1, 2) | tojson }} {{ (1, 2) + (3,) }}
{{ 'x' | nofilter }}
{{ missing.attribute }}
{{ 1 + 'a' }}
{{ x() }}
{{ missing() }}
{{ 1 is notest }}
{{ y['z'
{% if x %}
{% endfor %}
{% for x in 5 %}{% endfor %}
{{ 1 / 0 }}
{{ [1, 2] | join(missing.x) }}
{{ raise_exception('because ' ~ x) }}
{{ nums.append(5) }}
{{ ''.__class__ }}
""".strip("\n").split("\n")
# The lines on white space belong together.
START = next(i for i, s in enumerate(SNIPPETS) if s.startswith("a {# comment"))
SNIPPETS[START : START + 6] = ["\n".join(SNIPPETS[START : START + 6])]
VARIABLES = {
    "x": "Text",
    "y": {"z": "deep", "b": 2},
    "nums": [1, 2, 3, 4],
    "people": [
        {"name": "Ann", "age": 41, "address": {"city": "Brno"}},
        {"name": "Bob", "age": 25},
        {"name": "Cid", "age": 0},
    ],
}


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


def render(template, messages, add, variables):
    names = {"tools": None, "documents": None, **variables}
    chat._compile_jinja_template.cache_clear() if hasattr(chat._compile_jinja_template, "cache_clear") else None
    compiled = chat._compile_jinja_template(template)
    return compiled.render(messages=messages, add_generation_prompt=add, **names)


def main():
    chat.datetime = FixedTime
    cases = []

    def case(name, template, messages, add, variables, template_from=None):
        c = {"name": name, "messages": messages, "add": add, "variables": variables}
        if template_from:
            c["template_from"] = template_from
        else:
            c["template"] = template
        try:
            c["text"] = render(template, messages, add, variables)
        except Exception as e:  # the test asks only that Lathe refuses it too
            c["error"] = f"{type(e).__name__}: {e}"
        cases.append(c)

    families = {"chatml": CHATML, "llama2": LLAMA2, "llama3": LLAMA3, "mistral": MISTRAL, "gemma": GEMMA,
                "gemma3": GEMMA3, "phi3": PHI3, "zephyr": ZEPHYR}
    for name, template in families.items():
        for i, talk in enumerate(TALKS):
            case(f"{name} {i}", template, talk, i % 2 == 0, TOKENS)
    case("gemma3 parts", GEMMA3, [S, PARTS], True, TOKENS)
    for i, talk in enumerate(TOOL_TALKS[:2]):
        case(f"llama3 tools {i}", LLAMA3, talk, True, {**TOKENS, "tools": TOOLS})
    case("llama3 date", LLAMA3, [U], True, {**TOKENS, "date_string": "1 Jan 2026"})
    case("mistral tools", MISTRAL, [U, A, U2], False, {**TOKENS, "tools": TOOLS})
    for model in ["qwen2.5", "qwen3"]:
        path = f"data/tokenizers/{model}/tokenizer_config.json"
        template = json.loads((SHARED / path).read_text())["chat_template"]
        for i, talk in enumerate(TALKS + TOOL_TALKS):
            for tools in [None, TOOLS]:
                case(f"{model} {i}{' tools' if tools else ''}", template, talk, i != 3,
                     {"tools": tools} if tools else {}, path)
        case(f"{model} not thinking", template, [U], True, {"enable_thinking": False}, path)
        case(f"{model} reasoning", template, [U, {"role": "assistant", "content": "Four.", "reasoning_content": "\nhm\n"}],
             False, {}, path)
    for i, snippet in enumerate(SNIPPETS):
        case(f"snippet {i}", snippet, [], False, VARIABLES)
    out = ROOT / "tests/golden/text/chat_templates.json"
    out.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(cases)} cases, {sum('error' in c for c in cases)} of them errors")


main()
