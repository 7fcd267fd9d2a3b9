"""Train a small model of characters on Python's own code, some seconds on a CPU: python train.py --seed 0 --width 256."""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

CONTEXT, BATCH, EVERY = 16, 256, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    letters = sorted(set(text))
    tokens = torch.tensor([letters.index(letter) for letter in text])
    held_out = 9 * len(tokens) // 10
    model = nn.Sequential(
        nn.Embedding(len(letters), 32),
        nn.Flatten(),
        nn.Linear(32 * CONTEXT, asked.width),
        nn.GELU(),
        nn.Linear(asked.width, asked.width),
        nn.GELU(),
        nn.Linear(asked.width, len(letters)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def loss_at(starts_B: torch.Tensor) -> torch.Tensor:
        windows_BT = tokens[starts_B[:, None] + torch.arange(CONTEXT + 1)]
        return functional.cross_entropy(model(windows_BT[:, :-1]), windows_BT[:, -1])

    evaluated_B = torch.arange(held_out, len(tokens) - CONTEXT, 4)
    for step in range(1, asked.steps + 1):
        optimizer.zero_grad()
        loss_at(torch.randint(held_out - CONTEXT, (BATCH,))).backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                print(f"step:{step} val_loss:{loss_at(evaluated_B):.4f}")


if __name__ == "__main__":
    main()
