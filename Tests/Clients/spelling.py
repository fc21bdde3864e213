"""spelling.py WORDS FILE...: prints each word of Markdown pages that neither aspell's English dictionary nor the file WORDS has.

Code is not looked at, and neither are words with a capital letter inside, digits, `_`, `/` or `(`, which are names. WORDS has a word a
line, in lower case. Ends with 1 where there is such a word, and where a word of WORDS is in no page.
"""
import re
import subprocess
import sys

WORD = re.compile(r"(?<![\w/.=+%&$#@-])[A-Za-z]['a-z]+(?![\w(/=]|\.\w|-\d)")


def words(text):
    text = re.sub(r"(?m)^( {4,}|\t).*$", "", text)
    text = re.sub(r"(?s)```.*?```|``[^`]*``|`[^`]*`|\]\([^)]*\)|<[^>]*>", " ", text)
    return {word.removesuffix("'s").strip("'") for word in WORD.findall(text)}


own = set(open(sys.argv[1], encoding="utf-8").read().split())
pages = {name: words(open(name, encoding="utf-8").read()) for name in sys.argv[2:]}
unknown = subprocess.run(
    ["aspell", "list", "--lang=en", "--encoding=utf-8", "--ignore=1"], input="\n".join(sorted(set().union(*pages.values()))),
    capture_output=True, text=True, check=True).stdout.split()
wrong = [word for word in unknown if word.lower() not in own]
for name, page in pages.items():
    for word in sorted(page & set(wrong)):
        print(f"{name}: {word}")
unused = own - {word.lower() for page in pages.values() for word in page}
for word in sorted(unused):
    print(f"{sys.argv[1]}: {word} is in no page")
sys.exit(1 if wrong or unused else 0)
