"""The RPM: built by rpmbuild in a clean Debian, where its libraries are no RPMs, and unpacked there.

What SELinux does to hooks is for tests/unit/test_hookcheck.py: there is no Fedora here.
"""

from __future__ import annotations

from pathlib import Path

from tests.packages.cleantree import BUILD, unpacked

BUILT = """\
export DEB_PYTHON_INSTALL_LAYOUT=deb_system RPMBUILD='rpmbuild --nodeps'
unshare --net sh /mnt/packaging/build-rpm.sh"""


def test_it_is_built_and_its_program_runs(tmp_path: Path) -> None:
    with unpacked("trixie", tmp_path, BUILD) as tree:
        tree.script("apt-get -q update && apt-get -q -y --no-install-recommends install python3-pip")
        tree.script(f"{BUILT} /root")
        listed = tree.script("rpm -qpl /root/*.rpm").splitlines()
        for place in (
            *("/usr/bin/macmgr", "/usr/lib/systemd/system/macmgr.service"),
            *("/usr/share/zsh/site-functions/_macmgr", "/usr/share/macmgr/xml-schemas/macmgr-network.rng"),
        ):
            assert place in listed
        assert any(place.startswith("/usr/share/man/man1/macmgr.1") for place in listed)  # some rpms compress it
        assert [place for place in listed if place.startswith(("/etc", "/var", "/run"))] == []
        said = tree.script("rpm -qp --requires --recommends --scripts /root/*.rpm")
        assert "python3-pyroute2 >= " in said
        # hooks are put where the policy lets them run, and there is no enforcing SELinux here
        tree.script("rpm -i --nodeps /root/*.rpm")
        assert tree.run("macmgr", "--version").startswith("macmgr ")
        assert tree.path("/etc/libvirt/hooks/qemu.d/99-macmgr").is_file()
        assert '\nmode = "observe"\n' in tree.path("/etc/macmgr/macmgr.toml").read_text()
        tree.script("rpm -e --nodeps macmgr")
        assert not tree.path("/etc/libvirt/hooks").exists()
        assert not tree.path("/etc/macmgr").exists()
        assert not tree.path("/usr/bin/macmgr").exists()
