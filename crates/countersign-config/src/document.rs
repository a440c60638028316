use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::ConfigError;
use crate::nearest::nearest;

/// A TOML file.
///
/// `Debug` shows its path, and of sections their names and those of their settings, but no value.
pub struct Document {
    path: PathBuf,
    text: String,
}

/// A table, of which every setting is asked for by name. What nobody asked for is an error.
pub struct Section<'a> {
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
    /// The largest file that is read, in bytes: more than anybody writes.
    pub const MAX_BYTES: u64 = 1 << 20;

    /// Reads a file. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is larger than [`MAX_BYTES`](Self::MAX_BYTES), or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let cannot = || ConfigError::new(format!("cannot read `{}`", path.display()));
        let file = std::fs::File::open(path).map_err(|error| cannot().because(&error))?;
        let mut bytes = Vec::new();
        let read = file.take(Self::MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| cannot().because(&error))?;
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(cannot().with_cause("it is larger than 1 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| cannot().with_cause("it is not UTF-8"))?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Where the file is, which is what relative paths in it start from.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The file as one section.
    ///
    /// # Errors
    ///
    /// When it is not TOML.
    pub fn root(&self) -> Result<Section<'_>, ConfigError> {
        let table = DeTable::parse(&self.text)
            .map_err(|error| self.wrong(error.span().unwrap_or(0..0), error.message()))?;
        let place = table.span();
        Ok(Section::new(self, "", place, table.into_inner()))
    }

    /// What is wrong in a place of the file.
    fn wrong(&self, place: Range<usize>, problem: &str) -> ConfigError {
        let before = self.text.get(..place.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        ConfigError::new(format!("cannot use `{}`", self.path.display()))
            .with_cause(format!("line {line}, column {column}: {problem}"))
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

    /// A setting that is text, read by `parse`; `None` where it is not written.
    ///
    /// # Errors
    ///
    /// When it is something else than text, or `parse` says what is wrong with it.
    pub fn text<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        self.parsed(name, &value, &parse).map(Some)
    }

    /// A setting that is text or a list of texts, each read by `parse`.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text).
    pub fn texts<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
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

    /// The tables of an array, as `[[name]]` writes it; `title` is what errors call each.
    ///
    /// # Errors
    ///
    /// When it is something else than an array of tables.
    pub fn sections(
        &mut self,
        name: &'static str,
        title: &'static str,
    ) -> Result<Vec<Section<'a>>, ConfigError> {
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

    /// A path, which starts from the file's directory.
    ///
    /// # Errors
    ///
    /// When it is not text, or empty.
    pub fn path(&mut self, name: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        let document = self.document;
        self.text(name, |path| filled(path).map(|path| document.directory().join(path)))
    }

    /// A setting that is `true` or `false`; `false` where it is not written.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(false) };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong_setting(name, &value, "`true` or `false` is wanted here")),
        }
    }

    /// A whole number of seconds that is not zero.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let seconds = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match seconds.filter(|seconds| *seconds > 0) {
            Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
            None => Err(self.wrong_setting(name, &value, "a number of seconds is wanted here")),
        }
    }

    /// A table of texts, in the order of their names.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn pairs(&mut self, name: &'static str) -> Result<Vec<(String, String)>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let wrong = |place: &Spanned<DeValue<'_>>| {
            self.wrong_setting(name, place, "a table of texts is wanted here")
        };
        let DeValue::Table(table) = value.get_ref() else { return Err(wrong(&value)) };
        let mut pairs = Vec::new();
        for (name, value) in table.iter() {
            let DeValue::String(text) = value.get_ref() else { return Err(wrong(value)) };
            pairs.push((name.get_ref().to_string(), text.to_string()));
        }
        Ok(pairs)
    }

    /// A table of this name; `title` is what errors call it.
    ///
    /// # Errors
    ///
    /// When it is something else than a table.
    pub fn table(
        &mut self,
        name: &'static str,
        title: &'static str,
    ) -> Result<Option<Section<'a>>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let place = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Some(Section::new(self.document, title, place, table))),
            _ => Err(self.document.wrong(place, &format!("`{name}`: a table is wanted here"))),
        }
    }

    /// A setting that may not be left out was. To be said after [`finish`](Self::finish), which
    /// knows better if the name is only misspelt.
    pub fn missing(&self, name: &str) -> ConfigError {
        self.wrong(&format!("`{name}` is missing"))
    }

    /// What is wrong with the section as a whole, by an error and all its causes.
    pub fn wrong_because(&self, problem: &str, error: &dyn std::error::Error) -> ConfigError {
        let chain = ConfigError::new(problem).because(error);
        self.wrong(&chain.to_string())
    }

    /// What is wrong with the section as a whole.
    pub fn wrong(&self, problem: &str) -> ConfigError {
        self.document.wrong(self.place.clone(), problem)
    }

    /// Refuses what nobody asked for.
    ///
    /// # Errors
    ///
    /// With the name that was probably meant, and all that are known.
    pub fn finish(&self) -> Result<(), ConfigError> {
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
    ) -> Result<T, ConfigError> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(self.wrong_setting(name, value, "text is wanted here"));
        };
        parse(text).map_err(|problem| self.wrong_setting(name, value, &problem))
    }

    fn wrong_setting(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        problem: &str,
    ) -> ConfigError {
        self.document.wrong(value.span(), &format!("`{name}`: {problem}"))
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.entries.iter().map(|entry| &entry.name).collect();
        f.debug_struct("Section")
            .field("title", &self.title)
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

/// Text that is not empty.
///
/// # Errors
///
/// When it is.
pub fn filled(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}
