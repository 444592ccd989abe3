#!/usr/bin/env python3
"""Proves that each house check can fail: every check sees a small tree with one fault in it, and one without."""
import contextlib
import io
import pathlib
import shutil
import tempfile
import unittest

import check_config_fields
import check_docs
import check_files
import check_format
import check_includes
import check_scripts

HEADER = "#pragma once\n"


class TreeTest(unittest.TestCase):
    """Writes files into a temporary root and runs checks over it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def problems(self, check, name, text, **flags):
        """What `check` finds once `text` stands in the file `name`."""
        self.write(name, text)
        with contextlib.redirect_stdout(io.StringIO()):
            return check(self.root, **flags)

    def assert_finds(self, part, problems):
        self.assertTrue(any(part in problem for problem in problems), f"'{part}' not in {problems}")


class IncludesTest(TreeTest):
    def find(self, name, text):
        return self.problems(check_includes.check, name, text)

    def test_right_arrows_pass(self):
        text = '#include "data/x.h"\n#include "trainer/y.h"\n#include <vector>\n'
        self.assertEqual(self.find("trainer/a.cpp", text), [])
        self.assertEqual(self.find("parallel/mpi.cpp", "#include <mpi.h>\n"), [])
        self.assertEqual(self.find("attention/a.h", HEADER + "#include <ATen/core/Tensor.h>\n"), [])

    def test_wrong_arrow(self):
        self.assert_finds("data may include configs", self.find("data/a.cpp", '#include "trainer/x.h"\n'))

    def test_arrow_into_a_folder_that_knows_none(self):
        self.assert_finds("no other folder", self.find("parallel/a.h", HEADER + '#include "configs/x.h"\n'))

    def test_include_without_folder(self):
        self.assert_finds("folder/file.h", self.find("data/a.cpp", '#include "x.h"\n'))

    def test_torch_where_it_is_not_known(self):
        self.assert_finds("knows no LibTorch", self.find("configs/a.cpp", "#include <c10/util/Half.h>\n"))

    def test_torch_in_a_header(self):
        text = HEADER + "#include <ATen/ops/add.h>\n"
        self.assert_finds("at most", self.find("trainer/model/a.h", text))

    def test_wide_torch_header(self):
        self.assert_finds("too wide", self.find("attention/a.cpp", "#include <ATen/ATen.h>\n"))

    def test_mpi_outside_parallel(self):
        self.assert_finds("MPI and NCCL", self.find("launch/main.cpp", "#include <mpi.h>\n"))

    def test_mpi_in_a_header(self):
        self.assert_finds("MPI and NCCL", self.find("parallel/a.h", HEADER + "#include <mpi.h>\n"))

    def test_cuda_in_data(self):
        self.assert_finds("CUDA headers", self.find("data/a.cpp", "#include <cuda_runtime.h>\n"))

    def test_header_without_guard(self):
        self.assert_finds("#pragma once", self.find("data/a.h", "int f();\n"))


class FilesTest(TreeTest):
    def find(self, name, text):
        return self.problems(check_files.check, name, text)

    def test_plain_file_passes(self):
        self.assertEqual(self.find("data/a.cpp", "int f() { return 1; }  // see /usr/include\n"), [])

    def test_long_file(self):
        self.assert_finds("501 lines", self.find("data/a.cpp", "int f();\n" * 501))

    def test_long_script_without_suffix(self):
        self.assert_finds("501 lines", self.find("launch/x", "#!/bin/bash\n" + "true\n" * 500))

    def test_mark_of_unfinished_work(self):
        self.assert_finds("finish it", self.find("docs/a.md", "a " + "TO" + "DO: more\n"))

    def test_path_of_one_machine(self):
        self.assert_finds("one machine", self.find("docs/a.md", "cd /ho" + "me/me/dagpam\n"))


class ConfigFieldsTest(TreeTest):
    def find(self, reader):
        """Three fields: `width` occurs once in the schema, `kind` in two messages."""
        self.write("configs/run.proto", "\n".join([
            "message RunConfig {", "  optional ModelConfig model = 1;", "  optional LogConfig log = 2;", "}",
            "message ModelConfig {", "  enum Kind { A = 0; }", "  optional Kind kind = 1;  // x = 9",
            "  optional int64 width = 2;", "}",
            "message LogConfig {", "  optional int64 kind = 1;", "}", ""]))
        return self.problems(check_config_fields.check, "trainer/a.cpp", reader)

    def test_all_read(self):
        self.assertEqual(self.find("int a = c.model().kind() + m.width() + c.log().kind();"), [])
        self.assertEqual(self.find("const auto& l = c.log(); f(l.kind(), c.model()); g(const ModelConfig& m) "
                                   "{ m.has_kind(); m.width(); }"), [])

    def test_field_that_nothing_reads(self):
        self.assert_finds("ModelConfig.width", self.find("c.model().kind(); c.log().kind();"))

    def test_shared_name_read_from_the_other_message(self):
        self.assert_finds("LogConfig.kind", self.find("c.model().kind(); m.width(); c.log();"))

    def test_commented_reader(self):
        self.assert_finds("ModelConfig.width",
                          self.find("c.model().kind(); c.log().kind();  // m.width()"))


class FormatTest(TreeTest):
    def test_badly_formatted(self):
        if not check_format.formatter()[0]:
            self.skipTest(check_format.formatter()[1])
        self.write(".clang-format", "BasedOnStyle: Google\n")
        self.assertEqual(self.problems(check_format.check, "data/a.cpp", "int f() { return 1; }\n"), [])
        self.assert_finds("clang-format -i",
                          self.problems(check_format.check, "data/b.cpp", "int  f( ) {return 1 ;}\n"))


class ScriptsTest(TreeTest):
    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shell_fault(self):
        good = "#!/bin/bash\necho fine\n"
        self.assertEqual(self.problems(check_scripts.check, "launch/a", good, tool="shellcheck"), [])
        bad = "#!/bin/bash\nrm $1/*\n"
        self.assert_finds("SC2086", self.problems(check_scripts.check, "launch/b", bad, tool="shellcheck"))

    @unittest.skipUnless(shutil.which("codespell"), "codespell is not installed")
    def test_spelling(self):
        self.assertEqual(self.problems(check_scripts.check, "a.md", "the house\n", tool="codespell"), [])
        bad = "t" + "eh house\n"
        self.assert_finds("==> the", self.problems(check_scripts.check, "b.md", bad, tool="codespell"))


class DocsTest(TreeTest):
    PROGRAM = "#!/bin/sh\ncase \"$*\" in 'eval --help') echo '--json';; *) exit 2;; esac\n"

    def find(self, text):
        self.write("program", self.PROGRAM)
        (self.root / "program").chmod(0o755)
        return self.problems(check_docs.check, "docs/a.md", text, program=str(self.root / "program"))

    def test_known_command_and_link(self):
        self.assertEqual(self.find("Run `dagpam eval --json`, see [this](a.md#x).\n"), [])

    def test_unknown_command(self):
        self.assert_finds("dagpam guess", self.find("Run `dagpam guess`.\n"))

    def test_unknown_option(self):
        self.assert_finds("--sjon", self.find("```\nmpirun -n 2 build/bin/dagpam eval --sjon\n```\n"))

    def test_dead_link(self):
        self.assert_finds("nowhere.md", self.find("see [this](nowhere.md)\n"))


if __name__ == "__main__":
    unittest.main()
