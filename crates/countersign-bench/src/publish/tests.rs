//! The command as a whole, and names that have to agree with those of the suites.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use super::*;
use crate::report::{Chart, Made, Row};
use crate::suites::Names;

const BASELINE: &str = r#"{"made_with": {"architecture": "x86_64", "compiler": "rustc 1",
    "valgrind": "valgrind 3"}, "cases": {"a": {"instructions": 1234, "allocations": 4.224}}}"#;

const PAGE: &str = "# Costs\n<!-- machine -->\n<!-- /machine -->\n<!-- goals -->\n\
    <!-- /goals -->\nprose\n<!-- counts -->\n<!-- /counts -->\n<!-- calls -->\nold\n\
    <!-- /calls -->\n<!-- memory -->\nkept\n<!-- /memory -->\n";

fn calls(second: f64) -> Section {
    let mut section = Section::new("calls", "Calls", "µs per call", Chart::Bars);
    section.rows.push(Row::measured("tonic-tls mt", [1_000.0, 1_000.0]));
    section.rows.push(Row::measured("tonic-tls mt (again)", [1_000.0 * second; 2]));
    section.rows.push(Row::of("go", vec![None, Some(2_000.0)]));
    section.rows.push(Row::missing("java", "no\nJava"));
    section.compare("× tonic-tls mt", |_| Some("tonic-tls mt"));
    section.control("tonic-tls mt", "tonic-tls mt (again)");
    section.notes.push("a note".to_owned());
    section
}

struct Folder {
    folder: TempDir,
    options: PublishOptions,
}

impl Folder {
    fn with(page: &str, reports: &[(&str, Vec<Section>)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let options =
            PublishOptions { from: at("from"), to: at("performance"), counts: at("counts.json") };
        fs::create_dir(&options.from).expect("a folder");
        fs::write(&options.counts, BASELINE).expect("counts");
        fs::write(at("performance.md"), page).expect("a page");
        let machine = Machine::inspect("a core each");
        for (name, sections) in reports {
            let report = serde_json::json!({
                "command": format!("countersign-bench {name}"),
                "machine": &machine,
                "sections": sections,
            });
            let path = options.from.join(format!("{name}.json"));
            fs::write(path, report.to_string()).expect("a report");
        }
        Self { folder, options }
    }

    fn page(&self) -> String {
        fs::read_to_string(self.folder.path().join("performance.md")).expect("a page")
    }
}

#[test]
fn a_page_gets_tables_pairs_in_words_notes_and_charts() {
    let folder = Folder::with(PAGE, &[("calls", vec![calls(1.01)])]);
    run(&folder.options).expect("published");
    let page = folder.page();
    for part in [
        "* Begun ",
        "`countersign-bench calls`",
        "* `calls`: 1 to 2 rounds",
        "| 3 | TLS, a remembered JWT",
        "prose\n",
        "| a | 1,234 | 4.2 |",
        "| Variant | min, µs per call | q1 | median | q3 | rounds | × tonic-tls mt |",
        "| go | 2,000 | 2,000 | 2,000 | 2,000 | 1 | 2.00 |",
        "* A/A tonic-tls mt: 1.01 (1.01 to 1.01), valid\n",
        "* `java` is missing: no Java\n",
        "* a note\n",
        "![Calls](performance/calls.svg)",
        "<!-- memory -->\nkept\n<!-- /memory -->",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert!(!page.contains("old\n") && !page.contains("Void") && !page.contains('{'), "{page}");
    let chart = fs::read_to_string(folder.options.to.join("calls.svg")).expect("a chart");
    assert!(chart.starts_with("<svg"));
    // A second time changes nothing.
    run(&folder.options).expect("published");
    assert_eq!(folder.page(), page);
}

#[test]
fn a_void_pair_is_written_as_void() {
    let folder = Folder::with(PAGE, &[("calls", vec![calls(1.2)])]);
    run(&folder.options).expect("published");
    let page = folder.page();
    assert!(page.contains("* A/A tonic-tls mt: 1.20 (1.20 to 1.20), **void**"), "{page}");
    assert!(page.contains("**Void: an A/A pair strayed"), "{page}");
}

#[test]
fn a_missing_marker_is_named_and_nothing_is_written() {
    let page = PAGE.replace("<!-- calls -->\nold\n<!-- /calls -->\n", "");
    let folder = Folder::with(&page, &[("calls", vec![calls(1.0)])]);
    let error = run(&folder.options).expect_err("no place for `calls`");
    assert!(error.to_string().contains("<!-- calls -->"), "{error}");
    assert_eq!(folder.page(), page);
    assert!(!folder.options.to.exists());
}

#[test]
fn nothing_to_publish_is_an_error() {
    let folder = Folder::with(PAGE, &[]);
    assert!(run(&folder.options).is_err());
    fs::write(folder.options.from.join("other.json"), "{}").expect("a file");
    let error = run(&folder.options).expect_err("no report");
    assert!(error.to_string().contains("other.json"), "{error}");
}

#[test]
fn whole_valid_and_new_sections_win() {
    let made = |second: f64, date: &str, quick, only: Option<&str>| {
        let only = only.map(str::to_owned);
        let made = Made { date: date.to_owned(), quick, only, repeated: false };
        Section { made, ..calls(second) }
    };
    let old = || made(1.0, "2026-11-22 10:00 UTC", false, None);
    for (name, other, wins) in [
        ("newer", made(1.0, "2026-11-22 11:00 UTC", false, None), true),
        ("void", made(1.2, "2026-11-22 11:00 UTC", false, None), false),
        ("a look", made(1.0, "2026-11-22 11:00 UTC", true, None), false),
        ("a part", made(1.0, "2026-11-22 11:00 UTC", false, Some("go")), false),
        ("older", made(1.0, "2026-11-22 09:00 UTC", false, None), false),
    ] {
        let folder = Folder::with(PAGE, &[("all", vec![old()]), ("calls", vec![other])]);
        let reports = reports(&folder.options.from).expect("reports");
        let command = choose(&reports)[0].report.command.clone();
        assert_eq!(command == "countersign-bench calls", wins, "{name}");
    }
}

/// Sections and their rows. They are made once, as some take their time.
fn known() -> &'static [(String, Vec<String>)] {
    static KNOWN: LazyLock<Names> = LazyLock::new(|| crate::suites::names().expect("names"));
    &KNOWN
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn the_page_has_a_place_for_every_section() {
    let text = fs::read_to_string(repository("docs/book/src/performance.md")).expect("the page");
    let page = Page::parse(&text).expect("markers");
    let known = known();
    page.require(known.iter().map(|(section, _)| section.as_str())).expect("a place for each");
    page.require([MACHINE, GOALS, COUNTS]).expect("a place for each");
    for name in page.names() {
        let others = [MACHINE, GOALS, COUNTS];
        let is_known = others.contains(&name) || known.iter().any(|(section, _)| section == name);
        assert!(is_known, "no suite has a section `{name}`");
    }
}

#[test]
fn goals_name_rows_cases_and_tests_that_exist() {
    use definitions::GOALS;
    use goal::Find;
    let known = known();
    let baseline = Baseline::read(&repository("bench/baseline.json")).expect("a baseline");
    let row = |section: &str, row: &str| {
        let rows = known.iter().find(|(name, _)| name == section).map(|(_, rows)| rows);
        let rows = rows.unwrap_or_else(|| panic!("no section `{section}`"));
        assert!(rows.iter().any(|name| name == row), "no `{row}` in `{section}`: {rows:?}");
    };
    let case = |name: &str| assert!(baseline.cases.contains_key(name), "no case `{name}`");
    for check in GOALS.iter().flat_map(|goal| goal.checks) {
        match check.find {
            Find::Rounds { section, row: one, over }
            | Find::Minima { section, row: one, over }
            | Find::MedianMore { section, row: one, than: over } => {
                row(section, one);
                row(section, over);
            }
            Find::Median { section, row: one }
            | Find::Fact { section, row: one, .. }
            | Find::FactRatio { section, row: one, .. }
            | Find::Whole { section, row: one, .. } => row(section, one),
            Find::InstructionsMore { case: one, than: other }
            | Find::InstructionsOver { case: one, over: other }
            | Find::AllocationsMore { case: one, than: other } => {
                case(one);
                case(other);
            }
            Find::Allocations { case: one } => case(one),
            Find::Test { name, file } => {
                let path = repository("crates/countersign").join(file);
                let text = fs::read_to_string(path).expect("a file with tests");
                assert!(text.contains(&format!("fn {name}(")), "no test `{name}` in {file}");
            }
            Find::Lacking(_) => {}
        }
    }
}
