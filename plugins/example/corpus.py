"""Numbers in words, one sum a line: a text that is made, not read."""

import hashlib

from modbench.extend import Corpus, Text

ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def read(_path):
    lines = [f"{ONES[a]} and {ONES[b]} make {a + b}\n" for _ in range(30) for a in range(10) for b in range(10)]
    train, val = "".join(lines[:2700]).encode(), "".join(lines[2700:]).encode()
    return Text("counting", train, val, hashlib.sha256(train + val).hexdigest())


CORPUS = Corpus(read)
