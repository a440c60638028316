use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use crate::output::Failure;
use crate::pki::files;

/// A TOML file.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
}

/// A table, of which every setting is asked for by name. What nobody asked for is an error.
pub(super) struct Section<'a> {
    document: &'a Document,
    /// As the file writes it, such as `[[issuer]]`; empty for the file itself.
    title: &'static str,
    place: Range<usize>,
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
}

struct Entry<'a> {
    name: String,
    place: Range<usize>,
    value: Spanned<DeValue<'a>>,
}

impl Document {
    /// More than anybody writes.
    const MAX_BYTES: u64 = 1 << 20;

    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, Self::MAX_BYTES)
            .map_err(|error| files::cannot("read", path, &error))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Failure::config(format!("cannot read `{}`", path.display())).cause("it is not UTF-8")
        })?;
        Ok(Self { path: path.to_owned(), text: text.to_owned() })
    }

    /// Where the file is, which is what relative paths in it start from.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn root(&self) -> Result<Section<'_>, Failure> {
        let table = DeTable::parse(&self.text)
            .map_err(|error| self.wrong(error.span().unwrap_or(0..0), error.message()))?;
        let place = table.span();
        Ok(Section::new(self, "", place, table.into_inner()))
    }

    /// What is wrong in a place of the file.
    fn wrong(&self, place: Range<usize>, problem: &str) -> Failure {
        let before = self.text.get(..place.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Failure::config(format!("cannot use `{}`", self.path.display()))
            .cause(format!("line {line}, column {column}: {problem}"))
    }
}

impl<'a> Section<'a> {
    fn new(
        document: &'a Document,
        title: &'static str,
        place: Range<usize>,
        table: DeTable<'a>,
    ) -> Self {
        let entry = |(name, value): (Spanned<std::borrow::Cow<'a, str>>, _)| Entry {
            place: name.span(),
            name: name.into_inner().into_owned(),
            value,
        };
        let entries = table.into_iter().map(entry).collect();
        Self { document, title, place, entries, known: Vec::new() }
    }

    /// A setting that is text, read by `parse`.
    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        self.parsed(name, &value, &parse).map(Some)
    }

    /// A setting that is text or a list of texts, each read by `parse`.
    pub(super) fn texts<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Array(all) => {
                all.iter().map(|one| self.parsed(name, one, &parse)).collect::<Result<_, _>>()
            }
            _ => self.parsed(name, &value, &parse).map(|one| vec![one]),
        }
        .map(Some)
    }

    /// The tables of an array, as `[[name]]` writes it.
    pub(super) fn sections(
        &mut self,
        name: &'static str,
        title: &'static str,
    ) -> Result<Vec<Section<'a>>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(Vec::new());
        };
        let place = value.span();
        let wrong = |place| self.document.wrong(place, &format!("write `{title}` for each"));
        let DeValue::Array(all) = value.into_inner() else {
            return Err(wrong(place));
        };
        let section = |one: Spanned<DeValue<'a>>| {
            let place = one.span();
            match one.into_inner() {
                DeValue::Table(table) => Ok(Section::new(self.document, title, place, table)),
                _ => Err(wrong(place)),
            }
        };
        all.into_iter().map(section).collect()
    }

    /// What is wrong with the section as a whole.
    pub(super) fn wrong(&self, problem: &str) -> Failure {
        self.document.wrong(self.place.clone(), problem)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let Some(unknown) = self.entries.iter().min_by_key(|entry| entry.place.start) else {
            return Ok(());
        };
        let name = &unknown.name;
        let problem = match self.title {
            "" => format!("`{name}` is not known"),
            title => format!("`{name}` is not a setting of `{title}`"),
        };
        let known = self.known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let known = known.join(", ");
        let hint = match nearest(name, &self.known) {
            Some(meant) => format!("`{meant}` is; all of them are {known}"),
            None => format!("known are {known}"),
        };
        Err(self.document.wrong(unknown.place.clone(), &problem).hint(hint))
    }

    fn take(&mut self, name: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(name);
        let index = self.entries.iter().position(|entry| entry.name == name)?;
        Some(self.entries.swap_remove(index).value)
    }

    fn parsed<T>(
        &self,
        name: &str,
        value: &Spanned<DeValue<'a>>,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let wrong =
            |problem: &str| self.document.wrong(value.span(), &format!("`{name}`: {problem}"));
        let DeValue::String(text) = value.get_ref() else {
            return Err(wrong("text is wanted here"));
        };
        parse(text).map_err(|problem| wrong(&problem))
    }
}
