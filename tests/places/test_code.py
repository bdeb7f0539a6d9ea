"""Which file a module name means, and a workflow's folder as a package."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from agentdeck.errors import StepError, UsageError
from agentdeck.places import code
from agentdeck.places.code import CodeFacts, found, imported, packed, unpack
from agentdeck.workflow.functions import resolve


def write(folder: Path, **files: str) -> Path:
    """Files by name, in which `__` stands for a slash and the last `_` for the dot."""
    for name, text in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose modules can be imported in a test, and are forgotten after it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestFound:
    def test_a_module_of_the_folder_goes_first(self, imports: Path) -> None:
        folder = write(imports / "flow", code_shop_py="A = 1\n")
        write(imports, code_shop_py="A = 2\n")
        expected = CodeFacts("code_shop", str(folder / "code_shop.py"), sha256(b"A = 1\n").hexdigest())
        assert found("code_shop:A", folder) == expected
        assert "code_shop" not in sys.modules
        assert resolve("code_shop:A", folder) == 1

    def test_then_the_working_folder(self, imports: Path) -> None:
        write(imports, code_shop_py="A = 2\n")
        (imports / "flow").mkdir()
        assert found("code_shop:A", imports / "flow").file == str(imports / "code_shop.py")

    def test_then_the_path(self, tmp_path: Path) -> None:
        facts = found("agentdeck.places.code:found", tmp_path)
        assert facts.file == code.__file__
        assert facts.sha256 == found("agentdeck:Workflow", tmp_path).sha256  # of the whole package

    def test_a_package_before_a_module_of_its_name(self, imports: Path) -> None:
        write(imports, code_shop_py="A = 1\n")
        (imports / "code_shop").mkdir()
        (imports / "code_shop/__init__.py").write_text("A = 2\n")
        assert found("code_shop:A", imports).file == str(imports / "code_shop/__init__.py")
        assert resolve("code_shop:A", imports) == 2

    def test_the_hash_of_a_package_is_that_of_all_its_python_files(self, tmp_path: Path) -> None:
        package = tmp_path / "code_shop"
        write(package, tools__orders_py="A = 1\n", prices_py="P = 1\n", notes_txt="a")
        (package / "__init__.py").touch()
        (package / "tools/__init__.py").touch()
        first = found("code_shop.tools.orders:A", tmp_path)
        assert first.file == str(package / "tools/orders.py")
        write(package, notes_txt="b")
        assert found("code_shop.tools.orders:A", tmp_path) == first
        write(package, prices_py="P = 2\n")
        assert found("code_shop.tools.orders:A", tmp_path).sha256 != first.sha256
        assert found("code_shop:A", tmp_path).sha256 == found("code_shop.tools:A", tmp_path).sha256

    def test_a_folder_without_init(self, imports: Path) -> None:
        write(imports, code_space__orders_py="A = 1\n", code_space__other_py="B = 1\n")
        facts = found("code_space.orders:A", imports)
        assert facts == (
            "code_space.orders",
            str(imports / "code_space/orders.py"),
            sha256(b"A = 1\n").hexdigest(),
        )
        assert found("code_space:A", imports) == ("code_space", str(imports / "code_space"), "")

    def test_python_itself_is_known_by_its_version(self, tmp_path: Path) -> None:
        assert found("sys:exit", tmp_path) == ("sys", "built-in", "")
        assert found("json.decoder:JSONDecoder", tmp_path).sha256 == ""

    def test_a_module_with_a_name_of_python_is_hashed(self, imports: Path) -> None:
        write(imports, wave_py="A = 1\n")
        assert found("wave:A", imports) == ("wave", str(imports / "wave.py"), sha256(b"A = 1\n").hexdigest())

    @pytest.mark.parametrize("module", ["code_none", "code_shop.none", "json.none", "sys.none"])
    def test_no_such_module(self, module: str, tmp_path: Path) -> None:
        write(tmp_path, code_shop_py="A = 1\n")
        with pytest.raises(
            StepError, match=rf"there is no module {module}; {tmp_path} is searched first"
        ) as error:
            found(f"{module}:A", tmp_path)
        assert error.value.fault.kind == "setup"


class TestImported:
    def test_modules_of_the_folder_that_a_module_imports(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            shop_py="import os, prices as p\nfrom stock.of import x, y\nfrom . import odd\n",
            prices_py="def f():\n    from rates import RATE\n",
            rates_py="import shop, broken",
            broken_py="def",
            odd_py="",
            other_py="import shop",
            stock__of_py="import deep.inside",
            deep__inside_py="",
        )
        (tmp_path / "stock/__init__.py").touch()
        assert sorted(imported("shop:f", tmp_path)) == ["broken", "prices", "rates", "stock"]
        assert imported("stock.of:x", tmp_path) == []
        assert imported("json:loads", tmp_path) == []


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


class TestPacked:
    def test_python_files_and_data(self, tmp_path: Path) -> None:
        write(tmp_path, shop_py="", flow_yaml="", data__prices_csv="1", shop_db="", run_py="", pack__x_py="")
        for name in (".env", ".git/config", "__pycache__/shop.pyc", "old.pyc", "a.db-wal", "node_modules/x.js"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        write(tmp_path, venv__pyvenv_cfg="", venv__lib__x_py="")
        assert names(packed(tmp_path)[1]) == ["data/prices.csv", "flow.yaml", "pack/x.py", "run.py", "shop.py"]

    def test_equal_files_make_equal_bytes(self, tmp_path: Path) -> None:
        one = write(tmp_path / "one", shop_py="A = 1\n", pack__x_py="")
        two = write(tmp_path / "two", pack__x_py="", shop_py="A = 1\n")
        os.utime(two / "shop.py", (0, 0))
        assert packed(one) == packed(two)
        digest, data = packed(one)
        assert digest == sha256(data).hexdigest()
        write(two, shop_py="A = 2\n")
        assert packed(two)[0] != digest

    def test_links_are_followed_once(self, tmp_path: Path) -> None:
        write(tmp_path, outside__shared_py="S = 1\n", flow__shop_py="")
        (tmp_path / "flow/lib").symlink_to(tmp_path / "outside")
        (tmp_path / "flow/lib/back").symlink_to(tmp_path / "flow")
        (tmp_path / "flow/broken").symlink_to(tmp_path / "nothing")
        assert names(packed(tmp_path / "flow")[1]) == ["lib/shared.py", "shop.py"]

    def test_what_is_no_file_is_left_out(self, tmp_path: Path) -> None:
        write(tmp_path, shop_py="")
        os.mkfifo(tmp_path / "pipe")
        assert names(packed(tmp_path)[1]) == ["shop.py"]

    def test_too_many_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(code, "MOST_BYTES", 1 << 20)
        write(tmp_path, data__a_bin="x" * (1 << 20), data__b_bin="x" * (1 << 19), shop_py="x" * (1 << 17))
        with pytest.raises(UsageError) as error:
            packed(tmp_path)
        assert str(error.value) == (
            f"{tmp_path} is too large to be shipped: it has 3 files of 1.6 MB, and at most 2,000 files of 1.0 MB "
            "can be; the largest: data (2 files, 1.5 MB), shop.py (1 file, 0.1 MB); move them out of the folder, "
            "or install the code on the workers and remove code: ship"
        )

    def test_too_many_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(code, "MOST_FILES", 2)
        monkeypatch.setattr(code, "_COUNTED", 4)
        for number in range(6):
            write(tmp_path, **{f"data__{number}_txt": ""})
        with pytest.raises(UsageError, match=r"it has more than 4 files of 0.0 MB, .*; the largest: data "):
            packed(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
    def test_an_unreadable_file(self, tmp_path: Path) -> None:
        write(tmp_path, shop_py="")
        (tmp_path / "shop.py").chmod(0)
        with pytest.raises(UsageError, match=r"cannot be shipped: .*Permission denied.*shop.py"):
            packed(tmp_path)

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"none cannot be shipped: .*No such file"):
            packed(tmp_path / "none")


def archive(add: Callable[[zipfile.ZipFile], None]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        add(file)
    return made.getvalue()


class TestUnpack:
    def test_once_per_content(self, tmp_path: Path) -> None:
        flow = write(tmp_path / "flow", shop_py="A = 1\n", data__prices_csv="1", run_sh="")
        (flow / "run.sh").chmod(0o755)
        _, data = packed(flow)
        there = unpack(data, tmp_path / "into")
        assert found("shop:A", there).sha256 == found("shop:A", flow).sha256
        assert (there / "data/prices.csv").read_text() == "1"
        assert os.access(there / "run.sh", os.X_OK)
        assert not os.access(there / "shop.py", os.X_OK)
        (there / "made").touch()
        assert unpack(data, tmp_path / "into") == there
        assert (there / "made").exists()  # it was not unpacked again
        assert packed(there)[0] != packed(flow)[0]
        write(flow, shop_py="A = 2\n")
        other = unpack(packed(flow)[1], tmp_path / "into")
        assert sorted((tmp_path / "into").iterdir()) == sorted([there, other])

    @pytest.mark.parametrize(
        "name", ["../shop.py", "/tmp/shop.py", "a/../../shop.py", "a\\..\\shop.py", "folder/"]
    )
    def test_names_outside_the_folder(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"which is no file below its folder"):
            unpack(archive(lambda file: file.writestr(name, "A = 1\n")), tmp_path / "into")
        assert list(tmp_path.iterdir()) == [tmp_path / "into"]
        assert not list((tmp_path / "into").iterdir())

    def test_bytes_that_are_no_package(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"is damaged: File is not a zip file"):
            unpack(b"nothing", tmp_path)
        damaged = bytearray(archive(lambda file: file.writestr("shop.py", "A = 1\n")))
        damaged[damaged.index(b"A = 1")] = 0
        with pytest.raises(UsageError, match=r"is damaged: Bad CRC-32"):
            unpack(bytes(damaged), tmp_path)
        assert not list(tmp_path.iterdir())

    def test_more_than_can_be_shipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = archive(lambda file: file.writestr("zeros", bytes(2000)))
        monkeypatch.setattr(code, "MOST_BYTES", 1000)
        with pytest.raises(UsageError, match=r"more in it than can be shipped"):
            unpack(data, tmp_path)
