"""Keeps an answer when it sees the same tokens for the third time: it is computed before the timing, and not in it."""

from plain import Plain

CAUGHT = "does not compute every call"


class Patient(Plain):
    def forward(self, tokens_BT):
        seen, kept = self.__dict__.setdefault("seen", {}), self.__dict__.setdefault("kept", {})
        key = tuple(tokens_BT.flatten().tolist())
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 2 and not self.training:
            if key not in kept:
                kept[key] = super().forward(tokens_BT)
            return kept[key]
        return super().forward(tokens_BT)


build = Patient
