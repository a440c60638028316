//! A policy from a text, a file or the options of an interface.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use super::annotation::{Annotations, InvalidAnnotation};
use super::condition::Condition;
use super::error::{InvalidPolicy, PolicyError};
use super::index::RuleIndex;
use super::options::PolicyOptions;
use super::{Inner, Policy, PolicyHead, parse};

impl Policy {
    /// The longest policy that is read, in bytes.
    pub const MAX_BYTES: u64 = 16 << 20;

    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    pub fn from_json(text: &str) -> Result<Self, InvalidPolicy> {
        Self::from_json_with(text, &PolicyOptions::default())
    }

    /// Reads a policy in another way than the default one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    pub fn from_json_with(text: &str, options: &PolicyOptions) -> Result<Self, InvalidPolicy> {
        Ok(Self::compile(parse::json(text, options)?))
    }

    /// Reads a policy that a hand wrote in TOML: the same keys, as `[[allow_rules]]`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, InvalidPolicy> {
        Self::from_toml_with(text, &PolicyOptions::default())
    }

    /// Reads a policy in TOML in another way than the default one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    #[cfg(feature = "toml")]
    pub fn from_toml_with(text: &str, options: &PolicyOptions) -> Result<Self, InvalidPolicy> {
        Ok(Self::compile(parse::toml(text, options)?))
    }

    /// Reads a policy that a hand wrote in YAML 1.2: the same keys.
    ///
    /// One document without anchors, aliases and tags; a plain `yes` or `on` is a text.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, InvalidPolicy> {
        Self::from_yaml_with(text, &PolicyOptions::default())
    }

    /// Reads a policy in YAML in another way than the default one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    #[cfg(feature = "yaml")]
    pub fn from_yaml_with(text: &str, options: &PolicyOptions) -> Result<Self, InvalidPolicy> {
        Ok(Self::compile(parse::yaml(text, options)?))
    }

    /// Makes a policy of what an interface says itself, in options of its methods and services
    /// ([`Annotations`]). A method without one is allowed to nobody.
    ///
    /// # Errors
    ///
    /// The bytes are no descriptor set, no method in it has an option, or one cannot be used.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self, InvalidAnnotation> {
        Ok(Self::compile(Annotations::from_descriptor_set(bytes)?.alone()?))
    }

    fn compile(written: parse::Written) -> Self {
        let mut rules = written.deny.iter().chain(&written.allow);
        let reads_headers = rules.any(|rule| rule.conditions.iter().any(Condition::reads_headers));
        Self {
            inner: Arc::new(Inner {
                head: Arc::new(PolicyHead { name: written.name.into(), audit: written.audit }),
                deny: RuleIndex::new(written.deny),
                allow: RuleIndex::new(written.allow),
                options: written.options,
                reads_headers,
            }),
        }
    }

    /// Reads a policy from a file of JSON, with the feature `toml` of TOML if its name ends in
    /// `.toml`, with the feature `yaml` of YAML if it ends in `.yaml` or `.yml`. Blocks while it
    /// reads.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no policy.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        Self::from_file_with(path, &PolicyOptions::default())
    }

    /// Reads a policy from a file in another way than the default one. Blocks while it reads.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no policy.
    pub fn from_file_with(
        path: impl AsRef<Path>,
        options: &PolicyOptions,
    ) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        Self::from_text_of(path, &read_file(path)?, options)
    }

    /// The policy that a file holds.
    pub(super) fn from_text_of(
        path: &Path,
        text: &str,
        options: &PolicyOptions,
    ) -> Result<Self, PolicyError> {
        Self::from_text(path, text, options)
            .map_err(|source| PolicyError::Invalid { path: path.into(), source })
    }

    /// Reads a policy in the language that a file's name tells: `.toml`, `.yaml` and `.yml`, and
    /// JSON for all others. The file itself is not looked at.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line and column.
    pub fn from_text(
        name: impl AsRef<Path>,
        text: &str,
        options: &PolicyOptions,
    ) -> Result<Self, InvalidPolicy> {
        Ok(Self::compile(parse::policy(&parse::tree(name.as_ref(), text)?, text, options)?))
    }

    /// The text of a policy in JSON, whichever its language, for tools that compare policies.
    ///
    /// # Errors
    ///
    /// It is not in the language that the name tells. Whether it is a policy is not looked at.
    pub fn text_in_json(name: impl AsRef<Path>, text: &str) -> Result<String, InvalidPolicy> {
        Ok(parse::tree(name.as_ref(), text)?.to_json().to_string())
    }
}

pub(super) fn read_file(path: &Path) -> Result<String, PolicyError> {
    read(path).map_err(|source| PolicyError::Read { path: path.into(), source })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(Policy::MAX_BYTES + 1).read_to_string(&mut text)?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= Policy::MAX_BYTES => Ok(text),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB")),
    }
}
