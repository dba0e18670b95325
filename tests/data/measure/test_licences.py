"""Licences are known by their tag, their own words and their short forms; a doubt never makes one permissive."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.measure.licences import BSD, KINDS, PHRASES, PROPRIETARY, declared, joined, kind, stated

MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation"""
BSD_2 = "Redistribution and use in source and binary forms, with or without modification, are permitted provided that"
NO_NAMES = "Neither the name of X nor the names of its contributors may be used to endorse or promote products derived"
ANY_PURPOSE = "Permission to use, copy and/or distribute this software for any purpose with or without fee is granted"
GNU = "under the terms of the GNU {}General Public License as published by the Free Software Foundation; {}"
LATER = "either version {} of the License, or (at your option) any later version."


def one(text: str) -> str:
    """What one text states."""
    return stated(pa.array([text], pa.large_string()))[0]


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        ("MIT Licensed", "MIT"),
        ("@license MIT", "MIT"),
        (BSD_2, "BSD-2-Clause"),
        (f"{BSD_2} ... {NO_NAMES}", "BSD-3-Clause"),
        (f"{BSD_2} ... All advertising materials mentioning features or use of ... {NO_NAMES}", "BSD-4-Clause"),
        ("Distributed under the OSI-approved BSD 3-Clause License.", "BSD-3-Clause"),
        ("Use of this source code is governed by a BSD-style license that can be found in the LICENSE file.", BSD),
        ('Licensed under the Apache License, Version 2.0 (the "License");', "Apache-2.0"),
        ("see http://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        (f"{ANY_PURPOSE}, provided that this permission notice appear in all copies.", "ISC"),
        (f"{ANY_PURPOSE}. THE SOFTWARE IS PROVIDED", "0BSD"),
        ("This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0.", "MPL-2.0"),
        ("Mozilla Public License Version 2.0 ... means either the GNU General Public License, Version 2.0", "MPL-2.0"),
        (GNU.format("", LATER.format(2)), "GPL-2.0-or-later"),
        (GNU.format("", LATER.format(3)), "GPL-3.0-or-later"),
        (GNU.format("", "version 2 of the License."), "GPL-2.0-only"),
        (GNU.format("Lesser ", LATER.format("2.1")), "LGPL-2.1-or-later"),
        (GNU.format("Library ", LATER.format(2)), "LGPL-2.0-or-later"),
        (GNU.format("Affero ", LATER.format(3)), "AGPL-3.0-or-later"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\nEveryone is permitted to copy and distribute verbatim"
         " ... either version 3 of the License, or (at your option) any later version", "GPL-3.0-only"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2 ... with the GNU General Public License", "PSF-2.0"),
        ("Altered source versions must be plainly marked as such", "Zlib"),
        ("Boost Software License - Version 1.0", "BSL-1.0"),
        ("Proprietary and confidential", PROPRIETARY),
        ("# permission to speak; a licence to kill", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_text_states(text: str, licence: str) -> None:
    assert one(text) == licence
    framed = " */\n".join(f" * {line}" for line in text.split(" "))  # a word a line, within comment marks
    assert one(framed.upper()) == licence


@pytest.mark.parametrize(
    ("text", "licence", "of_kind"),
    [
        ("Apache License, Version 2.0 or the MIT license, at your option.", "Apache-2.0 OR MIT", "permissive"),
        ("Dual licensed under MIT license and GPLv2", "GPL-2.0-only OR MIT", "permissive"),
        ("parts under the MIT license, parts under GPLv3", "GPL-3.0-only AND MIT", "copyleft"),
        (f"MIT license. {GNU.format('', LATER.format(2))}", "GPL-2.0-or-later AND MIT", "copyleft"),
        (
            "MIT license. Everyone is permitted to copy GPLv3 ... you may at your option remove",
            "GPL-3.0-only AND MIT",
            "copyleft",
        ),
        ("MIT license. Proprietary and confidential.", f"{PROPRIETARY} AND MIT", "unknown"),
    ],
)
def test_several_licences(text: str, licence: str, of_kind: str) -> None:
    assert one(text) == licence
    assert kind(licence) == of_kind


@pytest.mark.parametrize(
    ("tag", "licence", "of_kind"),
    [
        ("// SPDX-License-Identifier: MIT\nint x;", "MIT", "permissive"),
        ("<!-- SPDX-License-Identifier: CC-BY-SA-4.0 -->", "CC-BY-SA-4.0", "copyleft"),
        ("/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */",
         "(GPL-2.0 WITH Linux-syscall-note) OR MIT", "permissive"),
        ("# spdx-license-identifier: gpl-2.0+\n# MIT License", "gpl-2.0+", "copyleft"),
        ("# SPDX-License-Identifier: House-1.0", "House-1.0", "unknown"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: MIT OR X-1", "MIT AND (MIT OR X-1)", "permissive"),
    ],
)  # fmt: skip
def test_tags(tag: str, licence: str, of_kind: str) -> None:
    assert one(tag) == licence
    assert kind(licence) == of_kind


@pytest.mark.parametrize("text", ["MIT (", "AND", "MIT OR", "MIT MIT", ")", "WITH x", "MIT WITH", "see LICENSE", "?"])
def test_what_is_no_expression_is_unknown(text: str) -> None:
    assert kind(text) == "unknown"
    assert declared(text) == ""


def test_declared() -> None:
    assert [declared(name) for name in ("mit", "MIT/Apache-2.0", "gpl-3.0", "other", "")] == [
        "mit", "MIT OR Apache-2.0", "gpl-3.0", "", ""
    ]  # fmt: skip
    assert kind("") == "none"


NAMES = st.sampled_from(["MIT", "GPL-2.0-only", "House-1.0", "Apache-2.0"])


@given(st.lists(NAMES, min_size=1, max_size=4), st.booleans())
def test_the_kind_of_several(names: list[str], either: bool) -> None:
    ranks = [KINDS.index(kind(name)) for name in names]
    assert kind(joined(names, either)) == KINDS[min(ranks) if either else max(ranks)]
    assert kind(f"({joined(names, either)}) AND MIT") == kind(joined(names, either))


@given(st.lists(st.sampled_from(sorted(p for phrases in PHRASES.values() for p in phrases)), max_size=4))
def test_whatever_stands_together_is_one_of_the_kinds(phrases: list[str]) -> None:
    found = one(" and also ".join(phrases))
    assert kind(found) in KINDS
    assert (kind(found) == "none") == (found == "")


def test_texts_do_not_run_into_each_other() -> None:
    assert stated(pa.chunked_array([["the MIT", "license of", "MIT license"], [""]], pa.large_string())) == [
        "", "", "MIT", ""
    ]  # fmt: skip
