//! Misuse that the types forbid, with the compiler's words stored in `compile_fail/`.

#[test]
fn misuse_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
