"""The words of a command line, before any parser sees them."""

from collections.abc import Sequence

__all__ = ["named_modules", "run_to_resume", "underscored"]


def underscored(arguments: list[str]) -> list[str]:
    """Words as jsonargparse knows them: --data-root=some-where becomes --data_root=some-where."""

    def spelled(argument: str) -> str:
        option, equals, value = argument.partition("=")
        return option.replace("-", "_").replace("__", "--", 1) + equals + value if option.startswith("--") else argument

    return [spelled(argument) for argument in arguments]


def run_to_resume(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The run that ``--resume RUN`` names, if it does, and the other words.

    Example:
        >>> run_to_resume(["fit", "--resume", "runs/first", "--epochs", "9"])
        ('runs/first', ['fit', '--epochs', '9'])
        >>> run_to_resume(["fit", "gaussian", "--run_dir", "runs/first", "--resume"])[0]
    """
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        following = words[index + 1 : index + 2]
        if option == "--resume" and equals:
            return value, [*words[:index], *words[index + 1 :]]
        if option == "--resume" and following and not following[0].startswith("--"):
            return following[0], [*words[:index], *words[index + 2 :]]
    return None, list(words)


def named_modules(words: Sequence[str]) -> tuple[set[str], list[str]]:
    """The modules that are named by ``--trust MODULE``, or by the recipe ``MODULE:FUNCTION``, and the other words.

    Example:
        >>> named_modules(["evaluate", "runs/mine", "--trust", "my_module"])
        ({'my_module'}, ['evaluate', 'runs/mine'])
    """
    modules, others = set(), list(words)
    while (index := next((i for i, w in enumerate(others) if w.partition("=")[0] == "--trust"), None)) is not None:
        _, equals, value = others.pop(index).partition("=")
        if not equals:
            value = others.pop(index) if index < len(others) else ""
        modules |= set(value.split(","))
    if others[:1] == ["fit"]:
        modules |= {word.partition(":")[0] for word in others[1:2] if ":" in word and not word.startswith("-")}
    return modules - {""}, others
