# `just` alone lists what there is. The checks themselves live in `.ci/run`.

_default:
    @{{ just_executable() }} --list --unsorted

# All checks, or only the named ones: just check fmt clippy
check *steps:
    .ci/run {{ steps }}

# The names of the checks
steps:
    .ci/run --list

# What a change needs most often while it is being written
quick:
    .ci/run fmt clippy test

# Format the code
fmt:
    cargo fmt --all

# A caller and a service with throw-away certificates, and what each of them saw
demo:
    cargo run --release -- demo

# Our clients and servers against those of Go, Java, Python and Node.js
interop *arguments:
    interop/run {{ arguments }}

# Known vulnerabilities in dependencies (needs a copy of the advisory database)
advisories:
    cargo deny check advisories

# The book, in target/book
book:
    mdbook build docs/book

# The book, in a browser
read:
    mdbook serve --open docs/book
