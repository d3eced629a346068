import pytest

from tools import install_nginx, nginx


@pytest.fixture
def bare_system(tmp_path, monkeypatch):
    """A PATH of one folder that has only `env`, and a process that runs as root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return folder


def add_program(folder, name, text):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)


INSTALLS = """echo "$0 $*"
[ "$2" = update ] && exit 0
printf '#!/bin/sh\\n' > "${0%/*}/nginx"; /bin/chmod 755 "${0%/*}/nginx" """


def test_the_package_manager_installs_nginx_and_shows_its_commands(bare_system, capfd):
    add_program(bare_system, "apt-get", INSTALLS)

    assert install_nginx.main([]) == 0

    shown = [line for line in capfd.readouterr().out.splitlines() if line.startswith("+ ")]
    assert [line.split("apt-get ")[1] for line in shown] == ["update", "install --yes --no-install-recommends nginx"]


def test_an_nginx_that_is_there_is_not_installed_again(bare_system, capfd):
    add_program(bare_system, "apt-get", INSTALLS)
    add_program(bare_system, "nginx", "")

    assert install_nginx.main([]) == 0
    assert capfd.readouterr().out == f"nginx is installed: {bare_system / 'nginx'}\n"


@pytest.mark.usefixtures("bare_system")
def test_without_a_package_manager_the_supported_ones_are_named(capfd):
    assert install_nginx.main([]) == 1
    assert capfd.readouterr().err.startswith("make nginx: None of apt-get, dnf, apk, pacman, brew was found.")


def test_a_failing_package_manager_is_named_with_its_status(bare_system, capfd):
    add_program(bare_system, "apk", "echo no network; exit 7")

    assert install_nginx.main([]) == 1

    output = capfd.readouterr()
    assert output.out == "+ apk add nginx\nno network\n"
    assert output.err == "make nginx: `apk add nginx` ended with exit status 7; the reason is above.\n"


def test_a_package_manager_that_installs_nothing_is_named(bare_system, capfd):
    add_program(bare_system, "dnf", "exit 0")

    assert install_nginx.main([]) == 1
    assert "dnf installed nginx neither in PATH nor in" in capfd.readouterr().err


def test_without_root_and_sudo_nothing_is_installed(bare_system, monkeypatch, capfd):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    add_program(bare_system, "apt-get", INSTALLS)

    assert install_nginx.main([]) == 1

    assert "apt-get needs root privileges, and there is no sudo. Run it as root." in capfd.readouterr().err
    assert nginx.find() is None


def test_sudo_may_ask_for_a_password(bare_system, monkeypatch, capfd):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    add_program(bare_system, "apt-get", INSTALLS)
    add_program(bare_system, "sudo", '[ "$1" = -n ] && exit 1; echo as root; exec "$@"')

    assert install_nginx.main([]) == 0
    assert capfd.readouterr().out.count("as root") == 2


def test_brew_runs_without_root(bare_system, monkeypatch, capfd):
    monkeypatch.setattr("os.geteuid", lambda: 501)
    add_program(bare_system, "brew", INSTALLS)

    assert install_nginx.main([]) == 0
    assert "+ brew install nginx" in capfd.readouterr().out
