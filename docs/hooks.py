"""What MkDocs calls: the reference pages are made while the site is built and are in no file."""

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for path, text in reference.pages().items():
        files.append(File.generated(config, path, content=text))
    return files
