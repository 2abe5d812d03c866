"""The files of the book: the project's pages, and what they link to, at the same paths."""

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).parents[2]
PAGES = ["README*.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/*.md", "docs/ja/*.md", "*/README.md",
         "examples/*/README.md"]
LINK = re.compile(r"\]\(([^)#\s]+)")


def slug(text, separator):
    """The anchor of a heading, as GitHub makes it."""
    kept = "".join(c for c in text.strip().lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", separator)


def on_config(config):
    config.mdx_configs["toc"] = {"slugify": slug, "permalink": True}
    return config


def on_files(files, config):
    pages = sorted({path for pattern in PAGES for path in PROJECT.glob(pattern)})
    wanted = {page.relative_to(PROJECT) for page in pages}
    for page in pages:
        for target in LINK.findall(page.read_text()):
            linked = (page.parent / target).resolve()
            if "://" not in target and linked.is_file():
                wanted.add(linked.relative_to(PROJECT))
    # What is left are the files of the theme.
    own = Files([file for file in files if file.src_dir != config.docs_dir])
    for path in sorted(wanted):
        own.append(File(str(path), str(PROJECT), config.site_dir, config.use_directory_urls))
    own.append(File("book.css", str(Path(__file__).parent), config.site_dir, False))
    return own
