// tests/house/bad_header.h: the fault that house/headers_self_test has to find.
#pragma once

std::string text_without_its_header();
