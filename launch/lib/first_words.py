#!/usr/bin/env python3
"""Prints the first words of a text, 30 characters at most, from one line: a prompt for a sample."""
import sys


def main():
    with open(sys.argv[1], encoding="utf-8", newline="") as text:
        line = next((line.strip() for line in text if line.strip()), "")
    words = line[:31].rsplit(" ", 1)[0] if " " in line[:31] and len(line) > 30 else line[:30]
    print(words)


if __name__ == "__main__":
    main()
