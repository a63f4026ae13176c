"""Sphinx's settings. `make docs` builds the site into build/docs; a warning, such as a broken link, is an error."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any

project = "qdfast"
version = release = installed_version(project)
project_copyright = "the authors of qdfast"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.autoprogram",
]
exclude_patterns = ["*.py"]
smartquotes = False  # they would turn --out into –out
default_role = "code"

myst_enable_extensions = ["attrs_block", "colon_fence"]
myst_heading_anchors = 3

# The reference is made from the docstrings without TensorFlow and what else only training and serving need.
autodoc_mock_imports = [
    "anyio",
    "grpc_health",
    "grpc_reflection",
    "jax",
    "jinja2",
    "keras",
    "matplotlib",
    "prometheus_client",
    "rapidjson",
    "scipy",
    "sklearn",
    "starlette",
    "tensorboard",
    "tensorflow",
    "tensorflow_serving",
    "uvicorn",
]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"qdfast {release}"
html_show_sphinx = False
html_theme_options: dict[str, Any] = {"top_of_page_buttons": []}
html_copy_source = False
