"""The default configuration: whole, true, put there once, and taken away only while it is ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from macmgr.config import AUDIT_NAMES, DAEMON_NAMES, HOOK_NAMES, TABLES, Config, read_config
from macmgr.errors import NotThere
from macmgr.installation import install_config, uninstall_config
from macmgr.model.intent import OBSERVE_ALL
from macmgr.options import OPTIONS
from macmgr.placing import Step

DEFAULT = Path(__file__).parents[2] / "packaging" / "macmgr.toml"


def uncommented(text: str) -> str:
    """The file with every setting in force: a comment of prose has a space after its sign, a setting has none."""
    return re.sub(r"(?m)^#(?=\S)", "", text)


def test_the_default_file_observes_and_changes_nothing_else() -> None:
    assert read_config(DEFAULT.read_bytes()) == (Config(modes=OBSERVE_ALL), [])


def test_it_manages_where_that_is_asked_for(tmp_path: Path) -> None:
    """One that is there is left as it is, whatever is asked for."""
    target = tmp_path / "macmgr.toml"
    install_config(target, manage=True)
    assert read_config(target.read_bytes()) == (Config(), [])
    install_config(target)
    assert read_config(target.read_bytes()) == (Config(), [])
    assert list(uninstall_config(target)) == [Step(target, "removed")]


def test_the_default_file_shows_every_setting_and_its_default() -> None:
    text = uncommented(DEFAULT.read_text())
    config, problems = read_config(text.encode())
    assert not problems
    names = set(re.findall(r"(?m)^(\w+) =", text))
    assert names == {*(option.toml for option in OPTIONS), "allow", "mode", *HOOK_NAMES, *DAEMON_NAMES, *AUDIT_NAMES}
    assert set(re.findall(r"(?m)^\[(\w+)", text)) == set(TABLES)
    assert (config.hook, config.strict) == (Config().hook, Config().strict)


def test_the_default_file_names_every_value() -> None:
    words = set(re.findall(r'"(\w+)"', DEFAULT.read_text()))
    assert words >= {value for option in OPTIONS for value in option.values if value != "no"} | {"ignore", "refuse"}


def test_installed_once_and_removed_without_a_trace(tmp_path: Path) -> None:
    target = tmp_path / "macmgr" / "macmgr.toml"
    assert install_config(target) == Step(target, "installed")
    assert target.read_bytes() == DEFAULT.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o644
    assert install_config(target) == Step(target, "already there")
    assert list(uninstall_config(target)) == [Step(target, "removed")]
    assert not target.parent.exists()
    assert not list(uninstall_config(target))


def test_a_changed_file_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "macmgr" / "macmgr.toml"
    install_config(target)
    target.write_text('[hook]\non_error = "refuse"\n')
    assert list(uninstall_config(target)) == [Step(target, "kept: changed")]
    assert [path.name for path in target.parent.iterdir()] == ["macmgr.toml"]


def test_somebody_elses_file_and_directory_are_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "macmgr.toml"
    target.write_text("# mine\n")
    assert install_config(target) == Step(target, "already there")
    assert not list(uninstall_config(target))
    assert [path.name for path in tmp_path.iterdir()] == ["macmgr.toml"]


def test_a_dangling_link_is_somebodys_too(tmp_path: Path) -> None:
    target = tmp_path / "macmgr.toml"
    target.symlink_to(tmp_path / "nowhere")
    assert install_config(target) == Step(target, "already there")
    assert not (tmp_path / "nowhere").exists()


def test_the_directory_stays_when_others_use_it(tmp_path: Path) -> None:
    target = tmp_path / "macmgr" / "macmgr.toml"
    install_config(target)
    other = target.with_name("notes")
    other.touch()
    list(uninstall_config(target))
    assert [path.name for path in target.parent.iterdir()] == ["notes"]


def test_a_place_that_cannot_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotThere, match="cannot be written"):
        install_config(tmp_path / "file" / "macmgr.toml")


def test_the_checksum_is_one_for_sha256sum(tmp_path: Path) -> None:
    install_config(tmp_path / "macmgr.toml")
    subprocess.run(["sha256sum", "--check", "--status", ".macmgr.toml.sha256"], cwd=tmp_path, check=True)
