"""What `mkdocs build` shows beside the pages of `docs/`: notebooks, and the cards that lie with what they describe.

A notebook becomes a page with the pictures it was committed with. A link that leaves `docs/`, as to a checkpoint's
card, brings that file into the site under `repository/`, and what it links to in turn, so that the same relative links
work in the repository and in the site.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
_DOCS, _REPOSITORY = "docs/", "repository/"
# Text, and a target that is neither an address nor an anchor of the same page.
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace notebooks by pages, and add what pages link to outside `docs/`."""
    pages = {}
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            pages[_DOCS + file.src_uri] = _add_notebook(files, config, file)
        elif file.src_uri.endswith(".md"):
            pages[_DOCS + file.src_uri] = file.content_string
    added = {uri.removeprefix(_REPOSITORY) for uri in _nav(config.nav) if uri.startswith(_REPOSITORY)}
    for path in sorted(added):
        pages[path] = _add(files, config, path)
    while pages:
        path, text = pages.popitem()
        for target in _links(path, text):
            if target.startswith(_DOCS) or target in added:
                continue
            added.add(target)
            text = _add(files, config, target)
            if target.endswith(".md"):
                pages[target] = text
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Turn links that hold in the repository into links that hold in the site."""
    folder = posixpath.dirname(page.file.src_uri)
    path = repository_path(page.file.src_uri)

    def in_site(link: re.Match[str]) -> str:
        target = _resolved(path, link[1])
        if target is None:
            return link[0]  # mkdocs says what is wrong with it
        return f"]({posixpath.relpath(site_uri(target), folder or '.')}{link[2] or ''})"

    return _LINK.sub(in_site, markdown)


def site_uri(path: str) -> str:
    """Where in the site a file of the repository is."""
    if path.startswith(_DOCS):
        return re.sub(r"\.ipynb$", ".md", path.removeprefix(_DOCS))
    return _REPOSITORY + path


def repository_path(uri: str) -> str:
    """Where in the repository a page of the site is."""
    return uri.removeprefix(_REPOSITORY) if uri.startswith(_REPOSITORY) else _DOCS + uri


def _nav(part: Any) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(part, str):
        yield part
        return
    for inner in part.values() if isinstance(part, dict) else part:
        yield from _nav(inner)


def _add(files: Files, config: MkDocsConfig, path: str) -> str:
    """Add a file of the repository; returns its text, "" for a picture."""
    files.append(File.generated(config, site_uri(path), abs_src_path=str(ROOT / path)))
    return (ROOT / path).read_text(encoding="utf-8") if path.endswith(".md") else ""


def _links(path: str, text: str) -> Iterator[str]:
    for link in _LINK.finditer(text):
        if (target := _resolved(path, link[1])) is not None:
            yield target


def _resolved(path: str, link: str) -> str | None:
    """The file of the repository that a link on the page `path` leads to, if there is one."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return target if (ROOT / target).is_file() else None


def _add_notebook(files: Files, config: MkDocsConfig, file: File) -> str:
    """Add the notebook's page and pictures; returns the page's text."""
    source = ROOT / _DOCS / file.src_uri
    notebook = nbformat.read(source, as_version=4)
    name = Path(file.src_uri).stem
    text, resources = MarkdownExporter().from_notebook_node(
        notebook, {"unique_key": name, "output_files_dir": f"{name}_files"}
    )
    text += f"\n[The notebook itself]({name}_files/{name}.ipynb)\n"
    folder = posixpath.dirname(file.src_uri)
    for picture, content in resources["outputs"].items():
        files.append(File.generated(config, posixpath.join(folder, picture), content=content))
    itself = posixpath.join(folder, f"{name}_files", f"{name}.ipynb")
    files.append(File.generated(config, itself, abs_src_path=str(source)))
    files.append(File.generated(config, site_uri(_DOCS + file.src_uri), content=text))
    return text
