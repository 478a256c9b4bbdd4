"""mkdocs hook: the notebook tutorial.ipynb, as it is stored, becomes the page tutorial.md."""

import re
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page and the pictures that the notebook's cells have shown."""
    notebook = nbformat.read(Path(config.docs_dir) / "tutorial.ipynb", as_version=4)
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    pictures = resources["outputs"]
    # nbconvert calls every picture "png"; readers that cannot see them get the line above.
    text = re.sub(
        r"!\[(?:png|jpeg)\]\((\S+)\)", r"![picture made by the cell above](tutorial/\1)", text
    )
    files.append(File.generated(config, "tutorial.md", content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, f"tutorial/{name}", content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to the notebook, which hold in the repository, lead to its page on the site."""
    return markdown.replace("](tutorial.ipynb)", "](tutorial.md)")
