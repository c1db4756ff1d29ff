"""What `make docs` adds to the pages in this folder: the reference, and the texts of the root.

MkDocs calls `on_config` and `on_files`; the rest can be called without it.
"""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
TEXTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def public_modules() -> list[str]:
    """Every module and package of which no part begins with an underscore, by name."""
    files = sorted(SOURCE.glob("sidestep/**/*.py"))
    names = [".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in files]
    modules = [name.removesuffix(".__init__") for name in names]
    return sorted(name for name in modules if not any(p[0] == "_" for p in name.split(".")))


def page_of(module: str) -> str:
    """Where the page of a module lies; a package is the index of its folder."""
    path = module.replace(".", "/")
    is_package = (SOURCE / path / "__init__.py").is_file()
    return f"reference/{path}/index.md" if is_package else f"reference/{path}.md"


def reference_pages() -> dict[str, str]:
    """The content of the page of every public module, by its place."""
    return {page_of(name): f"# `{name}`\n\n::: {name}\n" for name in public_modules()}


def reference_navigation() -> list[Any]:
    """The pages as MkDocs wants them: a list for a package, an entry for a module."""
    return _entries("sidestep", public_modules())


def text_pages() -> dict[str, str]:
    """The texts of the root, whose links are seen from here, by their place."""
    pages = {}
    for name, page in TEXTS.items():
        content = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, place in TEXTS.items():
            content = content.replace(f"]({other})", f"]({place})")
        pages[page] = content
    return pages


def on_config(config: Any) -> Any:
    """Puts the reference at the end of the navigation."""
    config.nav[-1] = {"Reference": reference_navigation()}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are in no file."""
    from mkdocs.structure.files import File  # only there while the pages are built

    for place, content in {**text_pages(), **reference_pages()}.items():
        files.append(File.generated(config, place, content=content))
    return files


def _entries(package: str, modules: list[str]) -> list[Any]:
    """The page of a package, then what it holds."""
    entries: list[Any] = [page_of(package)]
    for name in modules:
        parent, _, last = name.rpartition(".")
        if parent != package:
            continue
        is_package = page_of(name).endswith("/index.md")
        entries.append({last: _entries(name, modules) if is_package else page_of(name)})
    return entries
