"""The facts about the PyTorch cases; a module, not run: `cases.py` goes through them."""


def check(case):
    pass
