"""Where the journals of scripts are."""

from pathlib import Path

__all__ = ["journal_folder", "journals"]


def journal_folder(root: Path, target: str) -> Path:
    """Return the folder of the journal for what is served: one journal for each script."""
    from hashlib import sha256  # for which OpenSSL is loaded; those who only look do without

    digest = sha256(target.encode()).hexdigest()[:12]
    return root / "journals" / f"{Path(target).stem}-{digest}"


def journals(root: Path) -> list[Path]:
    """Return the files of all journals in this folder, the one that was used last first."""
    files = (root / "journals").glob("*/journal.db")
    return sorted(files, key=_used_at, reverse=True)


def _used_at(journal: Path) -> float:
    beside = (journal, journal.with_name("journal.db-wal"))
    return max((file.stat().st_mtime for file in beside if file.is_file()), default=0.0)
